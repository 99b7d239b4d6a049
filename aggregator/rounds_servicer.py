"""The gRPC call by which an admitted studio sees where rounds stand, and itself in them; of others it sees counts."""

from __future__ import annotations

import logging
from pathlib import Path

import grpc

from aggregator.callers import Callers, refuse
from aggregator.campaign_status import campaign_status
from federation.errors import FedrotoError, RoundError
from federation.proto import coordinator_pb2 as wire
from federation.proto import coordinator_pb2_grpc as wire_grpc

SERVICE = "/fedroto.coordinator.v1.Rounds"
log = logging.getLogger(__name__)


class RoundsServicer(wire_grpc.RoundsServicer):  # type: ignore[misc]  # generated without types
    """Answers the one call."""

    def __init__(self, home: Path, callers: Callers) -> None:
        self._home, self._callers = home, callers

    def GetStatus(self, request: wire.GetStatusRequest, context: grpc.ServicerContext) -> wire.RoundStatus:
        """Say where a campaign stands."""
        studio = self._callers.studio(context, f"{SERVICE}/GetStatus")
        try:
            status = campaign_status(self._home, request.campaign or None)
        except RoundError:
            refuse(context, grpc.StatusCode.NOT_FOUND, "there is no such campaign")
        except FedrotoError as error:
            log.error("the status cannot be read: %s", error)  # it names paths
            refuse(context, grpc.StatusCode.UNAVAILABLE, "the status cannot be read; try again later")
        answer = wire.RoundStatus(
            campaign=status.campaign,
            state=status.state,
            rounds_planned=status.rounds_planned,
            named=status.studios,
            quorum=status.quorum,
        )
        if status.rounds:
            newest = status.rounds[-1]
            answer.server_round, answer.phase = newest.server_round, newest.phase
            answer.returned, answer.deadline_at = len(newest.returned), newest.deadline_at
            own = [one.standing for one in newest.studios if one.studio == studio.name]
            answer.standing = own[0] if own else "not of this campaign"
        return answer
