"""The log of releases: which were handed out, which one stands now, which were withdrawn and why.

A release's folder never changes; what the coordinator says about it later stands here. The log is one document signed
with the release key, ``log.json``, and is only ever added to: each entry holds the hash of the one before, so a reader
who has seen a log refuses every later one that left something out (a hidden withdrawal, another release under a known
number). Two studios that compare their logs' heads by phone know that they were told the same.

Rules:
    1. Entries are numbered 1, 2, 3, ... and chained by SHA-256 over their canonical JSON.
    2. Numbers of promoted releases only go up, so "newest" and "current" never part.
    3. A withdrawal is for ever: a withdrawn release is never promoted (again). Its predecessor's weights come back
       under a new, higher number.

Everything here is pure but for the signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from federation.documents import PrivateKey, PublicKey, SignedDocument, canonical_json, digest, sign
from federation.errors import DocumentError, ReleaseError
from federation.plan import Name, Sha256
from federation.release_manifest import NUMBER_MAX, ReleaseManifest

LOG_FILE, LOG_KIND = "log.json", "release-log"
LOG_SCHEMA: Final = "fedroto.release-log/1"
NOTHING_BEFORE: Final = "0" * 64
ENTRIES_MAX: Final = 500  # keeps the signed document within what the service sends in one message
REASON_CHARACTERS_MAX: Final = 200


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class LogEntry(_Frozen):
    """One thing that the coordinator said about a release.

    Attributes:
        sequence: of the entry, from 1.
        at: seconds since the epoch, UTC.
        act: whether the release is handed out from here on, or never again.
        number: of the release.
        manifest_digest: names exactly that release.
        reason: of a withdrawal, for those who hold it; empty for a promotion.
        previous: SHA-256 of the entry before; of the first, zeros.
    """

    sequence: Annotated[int, Field(ge=1)]
    at: Annotated[int, Field(ge=0)]
    act: Literal["promoted", "withdrawn"]
    number: Annotated[int, Field(ge=1, le=NUMBER_MAX)]
    manifest_digest: Sha256
    reason: Annotated[str, Field(max_length=REASON_CHARACTERS_MAX)]
    previous: Sha256

    @property
    def digest(self) -> str:
        """SHA-256 of the entry's canonical JSON."""
        return digest(canonical_json(self.model_dump(mode="json")))


class ReleaseLog(_Frozen):
    """What a coordinator has said about its releases, in order."""

    schema_: Literal["fedroto.release-log/1"] = Field(LOG_SCHEMA, alias="schema")
    federation: Name
    entries: Annotated[tuple[LogEntry, ...], Field(max_length=ENTRIES_MAX, strict=False)] = ()

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        before, highest, withdrawn = NOTHING_BEFORE, 0, set[int]()
        for place, entry in enumerate(self.entries, 1):
            if entry.sequence != place or entry.previous != before:
                raise ValueError(f"entry {place} does not follow the one before it")
            if entry.number in withdrawn:
                raise ValueError(f"entry {place} speaks of release {entry.number}, which was withdrawn")
            if entry.act == "withdrawn":
                withdrawn.add(entry.number)
            elif entry.number <= highest:
                raise ValueError(f"entry {place} promotes release {entry.number} after {highest}")
            else:
                highest = entry.number
            before = entry.digest
        return self

    @property
    def head(self) -> str:
        """SHA-256 of the newest entry: who has the same head was told the same."""
        return self.entries[-1].digest if self.entries else NOTHING_BEFORE

    @property
    def promoted(self) -> Mapping[int, LogEntry]:
        """Entries of the releases that were ever handed out, by number, oldest first."""
        return {entry.number: entry for entry in self.entries if entry.act == "promoted"}

    @property
    def withdrawn(self) -> Mapping[int, LogEntry]:
        """Entries of the releases that were withdrawn, by number."""
        return {entry.number: entry for entry in self.entries if entry.act == "withdrawn"}

    @property
    def standing(self) -> tuple[int, ...]:
        """Numbers of the releases that are handed out, oldest first."""
        return tuple(number for number in self.promoted if number not in self.withdrawn)

    @property
    def current(self) -> int | None:
        """Number of the newest release that stands, or None."""
        return self.standing[-1] if self.standing else None

    def promoting(self, manifest: ReleaseManifest, *, at: int) -> ReleaseLog:
        """Return the log with a release promoted.

        Raises:
            ReleaseError: it was withdrawn, or a newer one was promoted before.
        """
        return self._with("promoted", manifest, "", at)

    def withdrawing(self, manifest: ReleaseManifest, reason: str, *, at: int) -> ReleaseLog:
        """Return the log with a release withdrawn.

        Raises:
            ReleaseError: it is withdrawn already, or the reason is missing or too long.
        """
        if not reason.strip():
            raise ReleaseError("a withdrawal needs a reason: those who hold the release will read it")
        return self._with("withdrawn", manifest, reason.strip(), at)

    def _with(
        self, act: Literal["promoted", "withdrawn"], manifest: ReleaseManifest, reason: str, at: int
    ) -> ReleaseLog:
        entry = {
            "sequence": len(self.entries) + 1,
            "at": at,
            "act": act,
            "number": manifest.number,
            "manifest_digest": manifest.digest,
            "reason": reason,
            "previous": self.head,
        }
        entries = [one.model_dump(mode="json") for one in self.entries]
        return ReleaseLog.from_fields(
            {"schema": LOG_SCHEMA, "federation": self.federation, "entries": [*entries, entry]}
        )

    def extends(self, older: ReleaseLog) -> bool:
        """Whether nothing that ``older`` says is missing or different here."""
        return (self.federation, self.entries[: len(older.entries)]) == (older.federation, older.entries)

    def to_bytes(self, release_key: PrivateKey) -> bytes:
        """Sign the log and write ``log.json``."""
        return sign(LOG_KIND, self.model_dump(mode="json", by_alias=True), release_key).to_bytes()

    @classmethod
    def verified(cls, data: bytes, release_key: PublicKey) -> ReleaseLog:
        """Read ``log.json`` once its signature holds.

        Raises:
            SignatureError: signed by another key, or changed after signing.
            ReleaseError: it breaks a rule.
            DocumentError: it is no signed document.
        """
        return cls.from_fields(SignedDocument.from_bytes(data).verified(LOG_KIND, release_key))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> ReleaseLog:
        """Validate a log's fields.

        Raises:
            ReleaseError: it breaks a rule; says which.
        """
        try:
            return cls.model_validate(dict(fields))
        except (ValidationError, DocumentError) as error:
            first = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else error
            said = str(first).removeprefix("Value error, ")
            raise ReleaseError(f"the log of releases breaks a rule: {said}") from error
