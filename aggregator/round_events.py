"""What can happen in a round, and what the round asks to be done: the vocabulary of ``aggregator.round_state``."""

from __future__ import annotations

from dataclasses import dataclass

from federation.errors import RefusalCode


@dataclass(frozen=True)
class StudioNode:
    """A studio's Flower node as the SuperLink lists it."""

    studio: str
    node_id: int
    online: bool
    activated_at: float


@dataclass(frozen=True)
class RosterSeen:
    """The SuperLink's list of nodes, of the plan's studios only."""

    nodes: tuple[StudioNode, ...]


@dataclass(frozen=True)
class Asked:
    """A message went out."""

    studio: str
    message_id: str
    node_id: int


@dataclass(frozen=True)
class AskFailed:
    """A message could not be sent."""

    studio: str
    reason: str


@dataclass(frozen=True)
class UpdateAccepted:
    """An update passed validation and is on disk."""

    studio: str
    server_round: int
    size_bytes: int


@dataclass(frozen=True)
class UpdateRejected:
    """An update broke a rule of validation."""

    studio: str
    server_round: int
    reason: str


@dataclass(frozen=True)
class UpdateUnused:
    """A late update came that the plan does not use."""

    studio: str
    server_round: int
    reason: str


@dataclass(frozen=True)
class StudioRefused:
    """A studio answered that it did not train."""

    studio: str
    server_round: int
    message_id: str
    code: RefusalCode


@dataclass(frozen=True)
class ReplyLost:
    """Flower says that a message gets no answer.

    Attributes:
        final: whether asking again cannot help.
    """

    studio: str
    server_round: int
    message_id: str
    reason: str
    final: bool = False


@dataclass(frozen=True)
class StudioRevoked:
    """The coordinator withdrew a studio's key."""

    studio: str


@dataclass(frozen=True)
class Ticked:
    """Time passed."""


@dataclass(frozen=True)
class Broke:
    """The coordinator cannot go on."""

    reason: str


ReplyEvent = UpdateAccepted | UpdateRejected | UpdateUnused | StudioRefused | ReplyLost
Event = RosterSeen | Asked | AskFailed | ReplyEvent | StudioRevoked | Ticked | Broke


@dataclass(frozen=True)
class AskStudio:
    """Send a studio its signed instruction."""

    studio: str
    node_id: int


@dataclass(frozen=True)
class PullReplies:
    """Fetch the replies to these messages."""

    message_ids: tuple[str, ...]


Action = AskStudio | PullReplies
