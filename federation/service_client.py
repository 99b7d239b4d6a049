"""What a studio asks of the coordinator's service with its node key: to be let in, its kit, where the rounds stand.

Only processes that cannot read plates call it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import grpc
from cryptography.hazmat.primitives.asymmetric import ec

from federation.errors import FedrotoError, IdentityError, RoundError
from federation.proto import coordinator_pb2 as wire
from federation.proto import coordinator_pb2_grpc as wire_grpc
from federation.service_call import sign_call
from federation.service_channel import CALL_SECONDS, PASSING, open_channel, require_certificate

_PACKAGE = "/fedroto.coordinator.v1"


class Standing(StrEnum):
    """Where a node key stands at the coordinator."""

    UNKNOWN = "unknown"
    WAITING = "waiting"
    ADMITTED = "admitted"
    REVOKED = "revoked"


@dataclass(frozen=True)
class RoundsView:
    """Where a campaign stands, as an admitted studio is told.

    Attributes:
        state: complete, running, degraded or stopped.
        server_round: the newest; 0 before the first.
        phase: of that round.
        named: studios of the plan.
        returned: studios whose update of that round is in.
        deadline_at: of that round, seconds since the epoch.
        standing: this studio's own, in that round.
    """

    campaign: str
    state: str
    rounds_planned: int
    server_round: int
    phase: str
    named: int
    returned: int
    quorum: int
    deadline_at: float
    standing: str


class ServiceClient:
    """A studio's connection to the service; use as a context manager."""

    def __init__(
        self,
        address: str,
        ca_pem: bytes,
        *,
        federation: str,
        node_key: ec.EllipticCurvePrivateKey,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing is dialled before the first call.

        Args:
            address: ``host:port``.
            ca_pem: the federation's CA certificate; no other authority is trusted.
            federation: its name.
            node_key: the studio's.
            clock: seconds since the epoch.
        """
        self.address = address
        self._federation, self._node_key, self._clock = federation, node_key, clock
        self._channel = open_channel(address, ca_pem)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def submit(self, join_request: bytes, *, as_studio: bool = False) -> Standing:
        """Leave a join request with the coordinator; doing it again changes nothing.

        Args:
            join_request: the file's bytes.
            as_studio: sign the call with this node key, which is admitted: the request is for the next one.

        Raises:
            IdentityError: the coordinator refuses it, or the server's certificate is not the federation's.
            FedrotoError: the coordinator does not answer; try again.
        """
        stub = wire_grpc.EnrolmentStub(self._channel)
        signed = self._signed("Enrolment/Submit") if as_studio else {"timeout": CALL_SECONDS}
        return _standing(
            self._call(lambda: stub.Submit(wire.SubmitRequest(join_request=join_request), **signed))
        )

    def standing(self) -> Standing:
        """Return where this node key stands; raises as :meth:`submit`."""
        stub = wire_grpc.EnrolmentStub(self._channel)
        signed = self._signed("Enrolment/GetStanding")
        return _standing(self._call(lambda: stub.GetStanding(wire.GetStandingRequest(), **signed)))

    def kit(self) -> bytes:
        """Return this studio's join kit, unverified.

        Raises:
            IdentityError: the key is not admitted; and as :meth:`submit`.
        """
        stub = wire_grpc.EnrolmentStub(self._channel)
        signed = self._signed("Enrolment/GetKit")
        return bytes(self._call(lambda: stub.GetKit(wire.GetKitRequest(), **signed)).kit)

    def rounds(self, campaign: str | None = None) -> RoundsView:
        """Return where a campaign stands; None asks for the one that something happened in last.

        Raises:
            RoundError: there is no such campaign.
            IdentityError: the key is not admitted; and as :meth:`submit`.
        """
        stub = wire_grpc.RoundsStub(self._channel)
        signed = self._signed("Rounds/GetStatus")
        told = self._call(lambda: stub.GetStatus(wire.GetStatusRequest(campaign=campaign or ""), **signed))
        return RoundsView(**{name: getattr(told, name) for name in RoundsView.__dataclass_fields__})

    def _signed(self, method: str) -> dict[str, Any]:
        entry = sign_call(self._federation, f"{_PACKAGE}.{method}", self._node_key, now=int(self._clock()))
        return {"metadata": (entry,), "timeout": CALL_SECONDS}

    def _call(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except grpc.RpcError as error:
            require_certificate(error, self.address)
            details = f"the coordinator at {self.address} refused: {error.details()}"
            if error.code() in PASSING:
                raise FedrotoError(
                    f"the coordinator at {self.address} does not answer ({error.code().name}: {error.details()})",
                    hint="try again later; fedroto doctor names what is in the way",
                ) from error
            raise (RoundError if error.code() == grpc.StatusCode.NOT_FOUND else IdentityError)(
                details
            ) from error


def _standing(told: wire.Standing) -> Standing:
    return Standing(wire.Standing.State.Name(told.state).lower())
