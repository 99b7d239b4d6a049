"""What a release says of itself: the manifest, a frozen value that cannot contradict itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from federation.documents import canonical_json, digest
from federation.errors import ReleaseError
from federation.plan import Name, Sha256, TrainingPlan

RELEASE_SCHEMA: Final = "fedroto.release/1"
NUMBER_MAX: Final = 999_999
WEIGHTS, CARD, BENCHMARK = "weights.safetensors", "README.md", "benchmark.json"
MANIFEST, SIGNATURE = "manifest.json", "model.sig"
LISTED_FILES: Final = (WEIGHTS, CARD, BENCHMARK)
"""Files that the manifest lists with size and hash; it cannot list itself nor the signature over it."""
BYTES_MAX: Final[Mapping[str, int]] = {
    WEIGHTS: 64 << 20,
    CARD: 256 << 10,
    BENCHMARK: 4 << 20,
    MANIFEST: 64 << 10,
    SIGNATURE: 256 << 10,
}
"""Size limit of every file of a release, bytes; its keys are the five names."""


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True
    )


class FileEntry(_Frozen):
    """One file's size and hash."""

    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class TierPrivacy(_Frozen):
    """What the guarantee is for studios of one size tier."""

    epsilon: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, le=1e-5)]


class ReleasePrivacy(_Frozen):
    """The guarantee of the training that made a release, from the signed plan's constants and nothing else.

    Guarantee: for every studio by itself, the updates that made this release are (epsilon, delta)-differentially
    private with respect to adding or removing one shot, whoever else took part. Earlier releases that a shot also
    trained add to it; the studio's own ledger has the sum.
    """

    unit: Literal["shot"] = "shot"
    neighboring_relation: Literal["add_or_remove_one"] = "add_or_remove_one"
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    noise_multiplier: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=1)]  # noised steps in all: rounds x steps per round
    size_tiers: dict[Name, TierPrivacy] = Field(min_length=1)


class ReleaseManifest(_Frozen):
    """What a release is, where it comes from, and what is in it.

    Attributes:
        number: of the release, from 1, only ever going up.
        parent: number of the release that the training started from; None for a base made on public data only.
        restores: number of the older release whose weights these are again, after a withdrawal; None otherwise.
        campaign: name of the training; None for a base.
        plan_digest: the signed plan's id; None for a base.
        rounds: federated rounds that were averaged in; 0 for a base.
        architecture: of the network, as the plan names it.
        frozen_digest: of the tensors that are not trained.
        privacy: the guarantee; None for a base, which has seen no studio's data, and for research without noise.
        not_private: whether the training went without noise (research); such weights never leave a simulation.
        created_at: seconds since the epoch, UTC.
        files: size and hash of each of ``LISTED_FILES``.
    """

    schema_: Literal["fedroto.release/1"] = Field(RELEASE_SCHEMA, alias="schema")
    federation: Name
    number: Annotated[int, Field(ge=1, le=NUMBER_MAX)]
    parent: Annotated[int, Field(ge=1)] | None
    restores: Annotated[int, Field(ge=1)] | None
    campaign: Name | None
    plan_digest: Sha256 | None
    rounds: Annotated[int, Field(ge=0)]
    architecture: Name
    frozen_digest: Sha256
    privacy: ReleasePrivacy | None
    not_private: bool
    created_at: Annotated[int, Field(ge=0)]
    files: dict[str, FileEntry]

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        trained = self.parent is not None
        if trained != (self.campaign is not None) or trained != (self.plan_digest is not None):
            raise ValueError("parent, campaign and plan_digest are all given or, for a base, all null")
        if trained != (self.rounds > 0):
            raise ValueError(f"{self.rounds} rounds do not go with parent {self.parent}")
        if self.not_private and not trained:
            raise ValueError("a base is made on public data; not_private is for trainings without noise")
        if (self.privacy is not None) != (trained and not self.not_private):
            raise ValueError("privacy is given for every training with noise, and for nothing else")
        if self.parent is not None and self.parent >= self.number:
            raise ValueError(f"release {self.number} cannot descend from release {self.parent}")
        if self.restores is not None and self.restores >= self.number:
            raise ValueError(f"release {self.number} cannot bring release {self.restores} back")
        if set(self.files) != set(LISTED_FILES):
            raise ValueError(f"files lists {sorted(self.files)}, expected {sorted(LISTED_FILES)}")
        for name, entry in self.files.items():
            if entry.size_bytes > BYTES_MAX[name]:
                raise ValueError(f"{name} has {entry.size_bytes} bytes; at most {BYTES_MAX[name]}")
        return self

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file."""
        return self.files[WEIGHTS].sha256

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest's canonical JSON: names this release and no other."""
        return digest(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Write ``manifest.json``."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> ReleaseManifest:
        """Validate a manifest's fields (rule 3).

        Raises:
            ReleaseError: a field is missing, unknown, of the wrong type or out of range; says which.
        """
        try:
            return cls.model_validate(dict(fields))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise ReleaseError(f"the release's manifest is not valid at {where}: {first['msg']}") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> ReleaseManifest:
        """Read ``manifest.json`` (rule 3).

        Raises:
            ReleaseError: too large, not JSON, or not valid.
        """
        if len(data) > BYTES_MAX[MANIFEST]:
            raise ReleaseError(f"the release's manifest has {len(data)} bytes; at most {BYTES_MAX[MANIFEST]}")
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ReleaseError(f"the release's manifest is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise ReleaseError("the release's manifest is not a JSON object")
        return cls.from_fields(fields)


class NewestSeen(_Frozen):
    """The newest release that a reader has ever taken in: what it will not go back behind."""

    number: Annotated[int, Field(ge=1)]
    manifest_digest: Sha256


def privacy_of(plan: TrainingPlan, *, rounds: int, epsilon: Callable[[float], float]) -> ReleasePrivacy:
    """Return the guarantee that a plan gives after a number of rounds.

    Args:
        plan: the signed plan.
        rounds: rounds that studios were asked to train, whether or not all were averaged in.
        epsilon: from a delta, the privacy loss of that many rounds (``federation.privacy``).
    """
    constants = plan.privacy
    return ReleasePrivacy(
        sample_rate=constants.sample_rate,
        noise_multiplier=constants.noise_multiplier,
        max_grad_norm=constants.max_grad_norm,
        steps=rounds * constants.steps_per_round,
        size_tiers={
            name: TierPrivacy(epsilon=epsilon(tier.delta), delta=tier.delta)
            for name, tier in plan.size_tiers.items()
        },
    )
