"""The gRPC calls by which a studio joins: its request in, where it stands, its kit out.

None of them admits anybody: that is a person's act, with the fingerprint compared by phone. The service holds no key
but the server's; a kit was signed when the studio was admitted and lies ready.
"""

from __future__ import annotations

import logging
from pathlib import Path

import grpc

from aggregator.admission import kept_kit
from aggregator.callers import Callers, refuse
from aggregator.enrolment import Enrolment
from aggregator.waiting_room import REQUEST_BYTES_MAX, WaitingRoom
from federation.documents import DOCUMENT_BYTES_MAX
from federation.durable import read_bounded
from federation.errors import DocumentError, FedrotoError, IdentityError
from federation.proto import coordinator_pb2 as wire
from federation.proto import coordinator_pb2_grpc as wire_grpc
from federation.provisioning import JoinRequest

SERVICE = "/fedroto.coordinator.v1.Enrolment"
log = logging.getLogger(__name__)


class EnrolmentServicer(wire_grpc.EnrolmentServicer):  # type: ignore[misc]  # generated without types
    """Answers the three calls."""

    def __init__(self, home: Path, federation: str, callers: Callers) -> None:
        self._home, self._federation, self._callers = home, federation, callers
        self._room = WaitingRoom(home)

    def Submit(self, request: wire.SubmitRequest, context: grpc.ServicerContext) -> wire.Standing:
        """Let a request wait, unless its key is decided on already."""
        if len(request.join_request) > REQUEST_BYTES_MAX:
            refuse(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                f"a join request has at most {REQUEST_BYTES_MAX} bytes",
            )
        try:
            asked = JoinRequest.verified(request.join_request)
        except (DocumentError, IdentityError) as error:
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if asked.federation != self._federation:
            refuse(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the request is for federation {asked.federation}, this one is {self._federation}",
            )
        self._require_present_key(asked, context)
        state = self._state(asked.node_public_key)
        if state in (wire.Standing.UNKNOWN, wire.Standing.WAITING):
            try:
                self._room.put(asked, request.join_request)
            except IdentityError as error:
                refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
            except FedrotoError as error:
                log.error("a join request cannot be kept: %s", error)
                refuse(
                    context, grpc.StatusCode.UNAVAILABLE, "the coordinator's disk refuses; try again later"
                )
            state = wire.Standing.WAITING
        return wire.Standing(state=state)

    def GetStanding(self, request: wire.GetStandingRequest, context: grpc.ServicerContext) -> wire.Standing:
        """Say where the caller's key stands."""
        return wire.Standing(state=self._state(self._callers.key(context, f"{SERVICE}/GetStanding")))

    def GetKit(self, request: wire.GetKitRequest, context: grpc.ServicerContext) -> wire.GetKitResponse:
        """Hand an admitted studio its kit."""
        studio = self._callers.studio(context, f"{SERVICE}/GetKit")
        try:
            kit = read_bounded(kept_kit(self._home, studio.public_key), 2 * DOCUMENT_BYTES_MAX)
        except FedrotoError as error:
            log.error("the kit of %s cannot be read: %s", studio.name, error)
            refuse(
                context, grpc.StatusCode.NOT_FOUND, "the kit is not here; the coordinator has to admit again"
            )
        return wire.GetKitResponse(kit=kit)

    def _require_present_key(self, asked: JoinRequest, context: grpc.ServicerContext) -> None:
        """End a call that brings another key for an admitted studio unless its present key signed the call."""
        with Enrolment(self._home) as enrolment:
            holder = next((one for one in enrolment.studios() if one.name == asked.studio), None)
        if holder is None or not holder.is_admitted or holder.public_key == asked.node_public_key:
            return
        if not self._callers.has_signed(context):
            refuse(
                context,
                grpc.StatusCode.PERMISSION_DENIED,
                f"studio {asked.studio} is admitted with another key; its next key comes with the present one's "
                "signature (fedroto studio rotate), or, where that is lost, as a file by another way",
            )
        if self._callers.studio(context, f"{SERVICE}/Submit").name != asked.studio:
            refuse(context, grpc.StatusCode.PERMISSION_DENIED, "the call is signed by another studio's key")

    def _state(self, node_public_key: str) -> wire.Standing.State:
        with Enrolment(self._home) as enrolment:
            if enrolment.holder(node_public_key) is not None:
                return wire.Standing.ADMITTED
            if enrolment.is_retired(node_public_key):
                return wire.Standing.REVOKED
        return wire.Standing.WAITING if self._room.holds(node_public_key) else wire.Standing.UNKNOWN
