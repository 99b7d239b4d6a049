"""The training plan and the round's instruction: what a coordinator signs and a studio obeys or refuses.

Sampling, clipping, noise and accounting of a federated training all come from one :class:`TrainingPlan`. Its
constants are public and never computed from a studio's true number of shots. A studio's own policy bounds them
(``studio_node.policy``); a coordinator cannot push or loosen policy.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from federation.documents import PrivateKey, PublicKey, SignedDocument, canonical_json, digest, sign
from federation.errors import DocumentError, PlanError

PLAN_SCHEMA: Final = "fedroto.plan/1"
INSTRUCTION_SCHEMA: Final = "fedroto.instruction/1"
NOISE_MULTIPLIER_FLOOR = 0.8
"""Below this, privacy would live on subsampling amplification alone."""
PARAMETERS_MAX = 14_000_000

Aggregation = Literal["norm_clipped_mean", "median", "trimmed_mean", "geometric_median", "centred_clipping"]
STUDIOS_MIN: Final[dict[Aggregation, int]] = {
    "norm_clipped_mean": 1,
    "median": 3,
    "trimmed_mean": 4,  # with three it is the median
    "geometric_median": 3,
    "centred_clipping": 3,
}
"""How many studios a round needs before its rule can bear one that lies; the norm-clipped mean bears none by number."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Model = TypeVar("Model", bound=BaseModel)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TensorEntry(_Frozen):
    """One trainable tensor: its place in the packed float32 array follows from the order of the entries."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    shape: tuple[Annotated[int, Field(ge=1)], ...] = Field(strict=False)

    @property
    def size(self) -> int:
        """Number of float32 values."""
        return math.prod(self.shape)


class ModelSpec(_Frozen):
    """Which weights are trained, in which order they are packed, and what they stand on."""

    architecture: Name
    trainable: tuple[TensorEntry, ...] = Field(min_length=1, strict=False)
    frozen_digest: Sha256  # of the weights that are not trained (model.weights.frozen_digest)

    @property
    def parameters(self) -> int:
        """Length P of the packed array."""
        return sum(entry.size for entry in self.trainable)


class PrivacyConstants(_Frozen):
    """What the differential-privacy guarantee is computed from, and nothing else is.

    One step: every shot is included independently with ``sample_rate``; the gradient of the mean loss over
    ``windows_per_shot`` windows of an included shot is clipped jointly to ``max_grad_norm``; the sum gets Gaussian
    noise of standard deviation ``noise_multiplier * max_grad_norm``; the size tier's constant
    ``update_denominator`` divides it.
    """

    unit: Literal["shot"] = "shot"
    neighboring_relation: Literal["add_or_remove_one"] = "add_or_remove_one"
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    windows_per_shot: Annotated[int, Field(ge=1, le=256)]
    max_grad_norm: Annotated[float, Field(gt=0, le=1e3)]
    noise_multiplier: Annotated[float, Field(ge=0, le=1e3)]
    steps_per_round: Annotated[int, Field(ge=1, le=10_000)]


class SizeTier(_Frozen):
    """A public bucket of shot counts, agreed at enrolment.

    A wrong tier costs quality, never privacy.
    """

    shots_max: Annotated[int, Field(ge=1, le=100_000_000)]
    weight: Annotated[float, Field(gt=0, le=1e6)]  # of the studio's update in the mean
    update_denominator: Annotated[float, Field(gt=0)]  # what the noised sum of gradients is divided by
    delta: Annotated[float, Field(gt=0, le=1e-5)]


class UpdateBounds(_Frozen):
    """What an update may look like when it leaves a studio and when it enters the mean.

    With ``value_bits`` 8 an update crosses the wire as whole steps of the grid from -127 to 127, a byte a value.
    """

    norm_max: Annotated[float, Field(gt=0)]  # Euclidean; an update beyond it is scaled down, after noise
    grid: Annotated[float, Field(gt=0, le=1)]  # every value is a multiple of this power of two
    value_bits: Literal[8, 32] = 32

    @model_validator(mode="after")
    def _grid_is_a_power_of_two(self) -> Self:
        if math.frexp(self.grid)[0] != 0.5:
            raise ValueError(f"grid must be a power of two, got {self.grid}")
        return self


STEPS_MAX: Final = 127
"""Whole steps of the grid that a value of one byte can be, either way."""
_RANGE_RMS = 8.0


def byte_grid(norm_max: float, parameters: int) -> float:
    """Return the grid for values of one byte: a power of two by public constants alone.

    Its range reaches at least eight times as far as the values of an update of the largest norm are long on average,
    which noise leaves once in 10^15 values.
    """
    return float(2.0 ** math.ceil(math.log2(_RANGE_RMS * norm_max / math.sqrt(parameters) / STEPS_MAX)))


class GainConstants(_Frozen):
    """How a studio that shares its gain measures it: one noised number, on shots that it holds back from training.

    A shot's gain is the error of the weights that the campaign started from minus that of the weights after its last
    round, relative to the former, over ``windows_per_shot`` windows of the shot, cut to ``clip`` on either side. The
    sum over the studio's held-back shots gets Gaussian noise of standard deviation ``noise_multiplier * clip``. Whoever
    reads it divides by ``shots``, a public constant: it is the mean gain where a studio holds back that many.
    """

    clip: Annotated[float, Field(gt=0, le=1)]
    noise_multiplier: Annotated[float, Field(ge=NOISE_MULTIPLIER_FLOOR, le=1e3)]
    windows_per_shot: Annotated[int, Field(ge=1, le=256)]
    shots: Annotated[int, Field(ge=1, le=2000)]

    @property
    def bounds(self) -> UpdateBounds:
        """What the one number looks like: within what noise makes likely, on a thousandth of a shot's clip."""
        limit = self.clip * (self.shots + 6 * self.noise_multiplier)
        return UpdateBounds(norm_max=limit, grid=2.0 ** (math.floor(math.log2(self.clip)) - 10))

    @property
    def standard_error(self) -> float:
        """Of one studio's mean gain, by the noise alone."""
        return self.clip * self.noise_multiplier / self.shots


class AnswerForm(_Frozen):
    """What an answer to a round's question has to be: so many float32 values on a grid, within a norm."""

    parameters: int
    bounds: UpdateBounds


class TrainingPlan(_Frozen):
    """The signed constants of one federated training (a campaign).

    Times are whole seconds since the epoch, UTC.
    """

    schema_: Literal["fedroto.plan/1"] = Field(PLAN_SCHEMA, alias="schema")
    federation: Name
    campaign: Name
    mode: Literal["private", "research"]  # research: no noise; simulations only; studio nodes refuse it
    created_at: Annotated[int, Field(ge=0)]
    expires_at: Annotated[int, Field(ge=0)]
    base_release: Annotated[int, Field(ge=1)]
    model: ModelSpec
    privacy: PrivacyConstants
    learning_rate: Annotated[float, Field(gt=0, le=1e3)]
    update: UpdateBounds
    rounds: Annotated[int, Field(ge=1, le=100_000)]
    quorum: Annotated[int, Field(ge=1)]
    deadline_s: Annotated[int, Field(ge=1, le=30 * 24 * 3600)]
    staleness_max: Literal[0, 1] = 1  # rounds by which a late reply may be late and still be used
    aggregation: Aggregation = "norm_clipped_mean"
    gain: GainConstants | None = None  # None: nobody is asked for its gain
    size_tiers: dict[Name, SizeTier]
    studios: dict[Name, Name]  # studio -> size tier

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True
    )

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        unknown = sorted(set(self.studios.values()) - set(self.size_tiers))
        if unknown:
            raise ValueError(f"studios name size tiers that the plan does not define: {', '.join(unknown)}")
        if not self.studios:
            raise ValueError("the plan names no studio")
        if self.quorum > len(self.studios):
            raise ValueError(f"quorum is {self.quorum} but the plan names {len(self.studios)} studios")
        if self.quorum < STUDIOS_MIN[self.aggregation]:
            raise ValueError(
                f"{self.aggregation} needs updates of {STUDIOS_MIN[self.aggregation]} studios, quorum is {self.quorum}"
            )
        if self.expires_at <= self.created_at:
            raise ValueError(f"expires_at {self.expires_at} is not after created_at {self.created_at}")
        if not 1 < self.model.parameters <= PARAMETERS_MAX:  # an answer of one value is a gain
            raise ValueError(
                f"{self.model.parameters} trainable values; at least 2, at most {PARAMETERS_MAX}"
            )
        if self.gain is not None and 2 * self.model.parameters > PARAMETERS_MAX:
            raise ValueError(
                f"asking for gains takes two sets of {self.model.parameters} values in one question; at most "
                f"{PARAMETERS_MAX} fit"
            )
        if self.update.value_bits == 8 and self.update.grid < byte_grid(
            self.update.norm_max, self.model.parameters
        ):
            raise ValueError(
                f"grid {self.update.grid} is too fine for values of one byte under norm_max {self.update.norm_max}; "
                "it has to be chosen with the number of weights (federation.plan.byte_grid)"
            )
        sigma = self.privacy.noise_multiplier
        if self.mode == "private" and sigma < NOISE_MULTIPLIER_FLOOR:
            raise ValueError(
                f"noise_multiplier {sigma} is below the floor of {NOISE_MULTIPLIER_FLOOR}; "
                "an unnoised run is mode 'research' and stays in simulations"
            )
        return self

    def payload(self) -> dict[str, Any]:
        """Return the plan as a JSON object, ready to sign."""
        return self.model_dump(mode="json", by_alias=True, exclude={"gain"} if self.gain is None else None)

    @property
    def gain_round(self) -> int | None:
        """Number of the question that asks for the gain, after the last round; None if nobody is asked."""
        return None if self.gain is None else self.rounds + 1

    def answer_form(self, server_round: int) -> AnswerForm:
        """Return what an answer to a round's question has to be."""
        if self.gain is not None and server_round == self.gain_round:
            return AnswerForm(parameters=1, bounds=self.gain.bounds)
        return AnswerForm(parameters=self.model.parameters, bounds=self.update)

    @property
    def digest(self) -> str:
        """The plan's id: SHA-256 of its canonical JSON."""
        return digest(canonical_json(self.payload()))

    @property
    def not_private(self) -> bool:
        """Whether updates of this plan carry no privacy guarantee."""
        return self.mode == "research"

    def tier_of(self, studio: str) -> SizeTier:
        """Return a studio's size tier.

        Raises:
            PlanError: the plan does not name the studio.
        """
        if studio not in self.studios:
            raise PlanError(
                f"plan {self.campaign} names no studio {studio!r}; it names {sorted(self.studios)}"
            )
        return self.size_tiers[self.studios[studio]]

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> TrainingPlan:
        """Validate a plan's JSON object.

        Raises:
            PlanError: a field is missing, unknown, of the wrong type or out of range; says which.
        """
        return _validated(cls, payload, "plan")

    def signed(self, private_key: PrivateKey) -> SignedDocument:
        """Sign the plan."""
        return sign("plan", self.payload(), private_key)

    @classmethod
    def verified(cls, data: bytes, public_key: PublicKey) -> TrainingPlan:
        """Read a signed plan.

        Raises:
            SignatureError: the signature is not by this key or does not hold.
            DocumentError: malformed.
            PlanError: the plan contradicts itself.
        """
        return cls.from_payload(SignedDocument.from_bytes(data).verified("plan", public_key))


class LedgerHead(_Frozen):
    """A ledger's newest record: how many records it holds and the last one's hash."""

    sequence: Annotated[int, Field(ge=0)]
    hash: Sha256


class RoundInstruction(_Frozen):
    """What one studio is asked to do in one round.

    ``seen_head`` is the newest ledger head that the coordinator has from this studio: signed with the instruction it
    is the coordinator's counter-signature, by which a restored backup or a cut tail of the ledger is caught.
    """

    schema_: Literal["fedroto.instruction/1"] = Field(INSTRUCTION_SCHEMA, alias="schema")
    federation: Name
    campaign: Name
    plan_digest: Sha256
    server_round: Annotated[int, Field(ge=1)]
    studio: Name
    base_digest: Sha256  # of the packed float32 array that came with it: what an update is a difference to
    bundle_digest: Sha256  # of the Flower app bundle; must equal the studio's own installation
    issued_at: Annotated[int, Field(ge=0)]
    expires_at: Annotated[int, Field(ge=0)]
    seen_head: LedgerHead | None = None

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True
    )

    def payload(self) -> dict[str, Any]:
        """Return the instruction as a JSON object, ready to sign."""
        return self.model_dump(mode="json", by_alias=True)

    def signed(self, private_key: PrivateKey) -> SignedDocument:
        """Sign the instruction."""
        return sign("instruction", self.payload(), private_key)

    @classmethod
    def verified(cls, data: bytes, public_key: PublicKey) -> RoundInstruction:
        """Read a signed instruction.

        Raises:
            SignatureError: the signature is not by this key or does not hold.
            DocumentError: malformed.
        """
        payload = SignedDocument.from_bytes(data).verified("instruction", public_key)
        return _validated(cls, payload, "instruction")

    @property
    def question(self) -> tuple[str, int, str, str]:
        """What makes two instructions the same question, to be answered with the same stored update."""
        return (self.campaign, self.server_round, self.plan_digest, self.base_digest)


def _validated(cls: type[Model], payload: dict[str, Any], what: str) -> Model:
    try:
        return cls.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or what
        kind = PlanError if what == "plan" else DocumentError
        raise kind(f"the {what} is not valid at {where}: {first['msg']}") from error
