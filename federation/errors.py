"""Every error that fedroto raises on purpose.

    FedrotoError
    ├── ConfigError            a setting is unknown, missing or out of range
    ├── DocumentError          a document is malformed, too large or of another schema
    │   └── SignatureError     a signature is missing, wrong or by another key
    ├── PlanError              a training plan contradicts itself
    ├── MessageError           bytes between processes or parties break the message schema
    ├── IdentityError          a key or certificate is missing, foreign, revoked or expired
    ├── FlowerError            the installed Flower is not the one this adapter was written for, or it failed
    ├── RefusedError           the studio will not train on this instruction (carries the wire's code)
    │   └── BudgetError        the charge does not fit into what is left
    ├── LedgerError            the ledger is damaged, locked or behind what the coordinator has seen
    ├── EgressError            an update breaks what may leave
    ├── IngestError            a plate or shape file cannot become training data
    ├── RoundError             a round cannot go on
    └── ReleaseError           a release is tampered with, unsigned, older than the one held, or fails its check

Errors carry the values in their text and, where there is one, the next step in ``hint``. Only the CLI turns them
into terminal output; any other exception is a bug and keeps its traceback. What crosses the wire is never an error's
text but a :class:`RefusalCode`.
"""

from __future__ import annotations

from enum import IntEnum


class FedrotoError(Exception):
    """Base of all errors that fedroto raises on purpose.

    Attributes:
        hint: what the person can do next, or None.
        exit_code: the process exit status that the CLI ends with.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(FedrotoError):
    """A setting is unknown, missing or out of range."""

    exit_code = 2


class DocumentError(FedrotoError):
    """A document is malformed, too large or of another schema."""


class SignatureError(DocumentError):
    """A signature is missing, wrong or made by another key."""

    exit_code = 3


class PlanError(FedrotoError):
    """A training plan contradicts itself."""


class MessageError(FedrotoError):
    """Bytes between processes or parties break the message schema."""


class IdentityError(FedrotoError):
    """A key or certificate is missing, foreign, revoked or expired."""

    exit_code = 3


class FlowerError(FedrotoError):
    """The installed Flower is not the expected one, or a call to it failed."""


class RefusalCode(IntEnum):
    """Why a studio did not train: all that the coordinator is told.

    Values are part of the wire format and never change their meaning.
    """

    INTERNAL = 1  # something broke at the studio; its own log says what
    BUNDLE_MISMATCH = 2  # the app bundle is not the code that the studio has installed
    BAD_SIGNATURE = 3  # the plan or instruction is not signed by the studio's coordinator
    EXPIRED = 4  # the instruction or plan is past its expiry
    NOT_FOR_THIS_STUDIO = 5  # another studio, federation or size tier
    POLICY = 6  # the plan is outside the studio's policy
    BUDGET = 7  # the charge does not fit into the privacy budget
    NO_CONSENT = 8  # no show at the studio has consent for training at present
    LEDGER = 9  # the studio's ledger needs its operator
    MALFORMED = 10  # the message breaks its schema
    WRONG_BASE = 11  # the weights are not those that the instruction names
    RESEARCH_MODE = 12  # an unnoised research plan reached a studio node
    BUSY = 13  # the runner is not up; ask again


FINAL_REFUSALS = frozenset(set(RefusalCode) - {RefusalCode.INTERNAL, RefusalCode.BUSY, RefusalCode.EXPIRED})
"""Refusals that asking again in the same round cannot change."""


class RefusedError(FedrotoError):
    """The studio will not train on this instruction.

    The text is for the studio's own eyes; only ``code`` crosses the wire.
    """

    def __init__(self, code: RefusalCode, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class BudgetError(RefusedError):
    """The charge does not fit into what is left of the budget.

    Attributes:
        requested: epsilon that the account would stand at after the charge.
        limit: epsilon that the account may reach.
        spent: epsilon that the account stands at now.
    """

    def __init__(self, message: str, *, requested: float, limit: float, spent: float) -> None:
        super().__init__(
            RefusalCode.BUDGET,
            message,
            hint="nothing was trained and nothing left this machine; see: fedroto ledger show",
        )
        self.requested = requested
        self.limit = limit
        self.spent = spent


class LedgerError(FedrotoError):
    """The ledger is damaged, locked or behind what the coordinator has counter-signed."""

    exit_code = 4


class EgressError(FedrotoError):
    """An update breaks what may leave a studio."""

    exit_code = 4


class IngestError(FedrotoError):
    """A plate or shape file cannot become training data."""


class RoundError(FedrotoError):
    """A round cannot go on."""

    exit_code = 5


class ReleaseError(FedrotoError):
    """A release is tampered with, unsigned, older than the one held, or fails its check."""

    exit_code = 3
