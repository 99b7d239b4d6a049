"""The ledger's records: their form, their encoding, their hash. Pure, no disk.

Rules (docs/privacy.md):
  1. A record is canonical JSON; its hash covers all of it, a random salt and the hash of the record before.
  2. A charge is a ``reserve`` record. It counts from the moment it is written, whatever becomes of the round.
  3. ``done`` says which update the charge bought. ``abort`` gives a charge back, and only the process that made it
     may do so, before it has opened a pack. ``adopt`` continues a ledger that was restored from a backup.
  4. Sequence numbers rise by one; only ``adopt`` jumps, over records that were lost.
  5. An account belongs to one show; its Rényi order never changes; a charge goes to every show that it includes.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from federation.documents import canonical_json, digest
from federation.errors import LedgerError
from federation.plan import GainConstants, LedgerHead, Name, Sha256, SizeTier, TrainingPlan
from federation.privacy import PrivacyEvent

RECORD_SCHEMA: Final = "fedroto.ledger/1"
GENESIS: Final = LedgerHead(sequence=0, hash="0" * 64)

ShowName = Annotated[str, Field(min_length=1, max_length=200)]
Salt = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Question = tuple[str, int, str, str]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True
    )


class Charge(_Part):
    """The constants of one charged round: what the accountant needs, and what an auditor asks for beside it.

    Of a gain ``max_grad_norm`` is the bound of a shot's gain.
    """

    unit: Literal["shot"] = "shot"
    neighboring_relation: Literal["add_or_remove_one"] = "add_or_remove_one"
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    noise_multiplier: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=1)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    windows_per_shot: Annotated[int, Field(ge=1)]
    update_denominator: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, lt=1)]

    @property
    def event(self) -> PrivacyEvent:
        """What the accountant sees of it."""
        return PrivacyEvent(self.sample_rate, self.noise_multiplier, self.steps)

    @classmethod
    def of(cls, plan: TrainingPlan, tier: SizeTier) -> Charge:
        """Return the charge of one round of a plan in a size tier."""
        constants = plan.privacy
        return cls(
            unit=constants.unit,
            neighboring_relation=constants.neighboring_relation,
            sample_rate=constants.sample_rate,
            noise_multiplier=constants.noise_multiplier,
            steps=constants.steps_per_round,
            max_grad_norm=constants.max_grad_norm,
            windows_per_shot=constants.windows_per_shot,
            update_denominator=tier.update_denominator,
            delta=tier.delta,
        )

    @classmethod
    def of_gain(cls, gain: GainConstants, tier: SizeTier) -> Charge:
        """Return the charge of sharing the gain: one noised sum, in which every held-back shot takes part."""
        return cls(
            sample_rate=1.0,
            noise_multiplier=gain.noise_multiplier,
            steps=1,
            max_grad_norm=gain.clip,
            windows_per_shot=gain.windows_per_shot,
            update_denominator=float(gain.shots),
            delta=tier.delta,
        )


class AccountCharge(_Part):
    """One show that a charge includes, and the order of its Rényi filter, fixed by the show's first charge."""

    show: ShowName
    renyi_order: Annotated[int, Field(ge=2)]


class _Record(_Part):
    schema_: Literal["fedroto.ledger/1"] = Field(RECORD_SCHEMA, alias="schema")
    sequence: Annotated[int, Field(ge=1)]
    previous: Sha256
    salt: Salt  # so that a hash which leaves the studio tells nothing about the record
    time: Annotated[int, Field(ge=0)]  # seconds since the epoch, UTC

    def encoded(self) -> bytes:
        """Return the record's canonical JSON."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


class ReserveRecord(_Record):
    """A charge, durable before any data are touched."""

    type: Literal["reserve"] = "reserve"
    federation: Name
    studio: Name
    campaign: Name
    server_round: Annotated[int, Field(ge=1)]
    plan_digest: Sha256
    base_digest: Sha256
    attempt: Annotated[int, Field(ge=1)]  # of this question; each one is charged
    charge: Charge
    accountant: Annotated[str, Field(max_length=100)]
    accounts: tuple[AccountCharge, ...] = Field(min_length=1, strict=False)
    dataset_digest: Sha256  # of the included shots' ids

    @property
    def question(self) -> Question:
        """What was asked (as ``RoundInstruction.question``)."""
        return (self.campaign, self.server_round, self.plan_digest, self.base_digest)

    @model_validator(mode="after")
    def _shows_are_distinct(self) -> Self:
        if len({account.show for account in self.accounts}) != len(self.accounts):
            raise ValueError("a charge names a show twice")
        return self


class DoneRecord(_Record):
    """The update that a charge bought: kept for sending again, never computed again."""

    type: Literal["done"] = "done"
    reserve: Annotated[int, Field(ge=1)]  # sequence of the reserve record
    update_digest: Sha256  # of the stored reply's bytes


class AbortRecord(_Record):
    """A charge given back: its process stopped before it had opened a pack."""

    type: Literal["abort"] = "abort"
    reserve: Annotated[int, Field(ge=1)]


class AdoptRecord(_Record):
    """A restored ledger continued after the head that the coordinator has seen.

    The records between are lost. What they cost is assumed: ``charges`` for each of ``accounts``, or, if it is
    empty, everything that these accounts had left.
    """

    type: Literal["adopt"] = "adopt"
    adopted: LedgerHead
    accounts: tuple[AccountCharge, ...] = Field(strict=False)
    charges: tuple[Charge, ...] = Field(strict=False)


Record = ReserveRecord | DoneRecord | AbortRecord | AdoptRecord
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="type")])


def record_hash(data: bytes) -> str:
    """Return the hash of an encoded record; it covers the hash of the record before."""
    return digest(b"fedroto:ledger\0" + data)


def decode_record(data: bytes) -> Record:
    """Read one record.

    Raises:
        LedgerError: not canonical JSON, or a field is missing, unknown or out of range.
    """
    try:
        record = _RECORD.validate_python(json.loads(data))
    except (ValidationError, ValueError, RecursionError) as error:
        raise LedgerError(f"a ledger record is malformed: {str(error).splitlines()[0]}") from error
    if record.encoded() != data:
        raise LedgerError(f"ledger record {record.sequence} is not in its canonical form")
    return record


def as_json(data: bytes) -> dict[str, Any]:
    """Return an encoded record as a JSON object, for showing and exporting."""
    fields: dict[str, Any] = json.loads(data)
    return fields
