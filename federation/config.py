"""The two settings files, ``studio.toml`` and ``federation.toml``, as frozen values.

An unknown key, a wrong type or a value out of range is an error that names the file and the key; nothing is guessed
and nothing is taken from the environment. The files hold no secret.
"""

from __future__ import annotations

import datetime
import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from federation.durable import read_bounded
from federation.errors import ConfigError, FedrotoError
from federation.plan import NOISE_MULTIPLIER_FLOOR, Aggregation, Name, SizeTier, UpdateBounds

CONFIG_BYTES_MAX = 1 << 20
STUDIO_CONFIG, FEDERATION_CONFIG = "studio.toml", "federation.toml"

ShowName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Settings = TypeVar("Settings", bound=BaseModel)
PLAIN_WORDS = {
    "extra_forbidden": "there is no such setting",
    "missing": "this setting is missing",
    "string_pattern_mismatch": "a name has lower-case letters (a show's upper-case ones, too), digits, dots, "
    "dashes and underscores, up to 63, and begins with a letter or digit",
}
"""For what pydantic says of a key, or as a pattern."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class StudioPolicy(_Frozen):
    """What a studio lets any coordinator's plan ask of it; a coordinator can neither see past it nor loosen it."""

    epsilon_lifetime: Annotated[float, Field(gt=0, le=100)] = 8.0  # of one shot, over everything ever trained
    epsilon_per_round_max: Annotated[float, Field(gt=0, le=100)] = 4.0
    noise_multiplier_min: Annotated[float, Field(ge=NOISE_MULTIPLIER_FLOOR, le=1e3)] = NOISE_MULTIPLIER_FLOOR
    steps_per_round_max: Annotated[int, Field(ge=1, le=10_000)] = 1000
    rounds_max: Annotated[int, Field(ge=1, le=100_000)] = 200
    windows_per_shot_max: Annotated[int, Field(ge=1, le=256)] = 64
    max_grad_norm_max: Annotated[float, Field(gt=0, le=1e3)] = 10.0
    base_releases_allowed: tuple[Annotated[int, Field(ge=1)], ...] = Field((), strict=False)  # empty: any
    reply_every_s: Annotated[int, Field(ge=0, le=24 * 3600)] = (
        0  # replies leave at multiples of it; 0: when ready
    )
    share_epsilon_left: bool = False  # with each update: what the ledger leaves a shot
    share_gain: bool = False  # one noised, charged number after a campaign, measured on held-back shots
    epsilon_per_gain_max: Annotated[float, Field(gt=0, le=100)] = 1.0


class ShowConsent(_Frozen):
    """Whether a show's plates and shapes may be trained on. Without an entry that says so, a show never is."""

    training_allowed: bool = False
    allowed_until: datetime.date | None = None  # the last day, inclusive, UTC
    allowed_by: Annotated[str, Field(max_length=200)] = ""  # who said so: a name, a contract, a ticket
    epsilon_lifetime: Annotated[float, Field(gt=0, le=100)] | None = None  # only below the studio's
    held_back: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        (), strict=False, max_length=10_000
    )  # ids of shots that are never trained on, for measuring what a release is worth

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Validate one show's consent.

        Raises:
            ConfigError: a field is out of range (says which).
        """
        return _validated(cls, fields, "the show's consent")

    def holds_on(self, day: datetime.date) -> bool:
        """Whether training is allowed on a day."""
        return self.training_allowed and (self.allowed_until is None or day <= self.allowed_until)


class StudioConfig(_Frozen):
    """A studio's settings (``studio.toml``)."""

    name: Name
    federation: Name
    policy: StudioPolicy = StudioPolicy()
    shows: dict[ShowName, ShowConsent] = Field(default_factory=dict)

    def epsilon_lifetime_of(self, show: str) -> float:
        """Return the lifetime cap of a show's shots: the studio's, or the show's own where that is smaller."""
        own = self.shows[show].epsilon_lifetime if show in self.shows else None
        return self.policy.epsilon_lifetime if own is None else min(own, self.policy.epsilon_lifetime)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> StudioConfig:
        """Validate settings that come from elsewhere than the file.

        Raises:
            ConfigError: a field is unknown, missing or out of range (says which).
        """
        return _validated(cls, fields, "the studio's settings")


class PlanDefaults(_Frozen):
    """What a new training plan is filled with; the signed plan is what counts.

    A campaign costs one shot epsilon 2.95 at delta 1e-5. ``max_grad_norm`` is about the median norm of a shot's
    gradient. A ``learning_rate`` of 0 stands for the largest from 0.1 to 0.6 at which the studios' noise fits in
    ``norm_max`` (``aggregator.learning_rate``): in a tier s update it has the norm 3.5 at 0.1, in one of tier m 2.1 at
    0.6 (measured: benchmarks/privacy_results.md, benchmarks/federation_log.md).
    """

    rounds: Annotated[int, Field(ge=1, le=100_000)] = 8
    quorum: Annotated[int, Field(ge=1)] = 3
    deadline_s: Annotated[int, Field(ge=1, le=30 * 24 * 3600)] = 3600
    steps_per_round: Annotated[int, Field(ge=1, le=10_000)] = 5
    sample_rate: Annotated[float, Field(gt=0, le=1)] = 0.25
    windows_per_shot: Annotated[int, Field(ge=1, le=256)] = 8
    max_grad_norm: Annotated[float, Field(gt=0, le=1e3)] = 0.5
    noise_multiplier: Annotated[float, Field(ge=NOISE_MULTIPLIER_FLOOR, le=1e3)] = 2.5
    learning_rate: Annotated[float, Field(ge=0, le=1e3)] = 0.0  # 0: by the noise of the studios
    norm_max: Annotated[float, Field(gt=0)] = 3.0
    grid: Annotated[float, Field(gt=0, le=1)] = 2.0**-20
    value_bits: Literal[8, 32] = 32
    aggregation: Aggregation = "norm_clipped_mean"
    gain_noise_multiplier: Annotated[float, Field(ge=0, le=1e3)] = 0.0  # 0: no studio is asked for its gain
    gain_clip: Annotated[float, Field(gt=0, le=1)] = 0.1
    gain_windows_per_shot: Annotated[int, Field(ge=1, le=256)] = 16
    gain_shots: Annotated[int, Field(ge=1, le=2000)] = 20

    @model_validator(mode="after")
    def _grid_is_a_power_of_two(self) -> Self:
        UpdateBounds(norm_max=self.norm_max, grid=self.grid)
        return self


SHOTS_MAX_BY_TIER = {"xs": 20, "s": 200, "m": 2000, "l": 10_000, "xl": 100_000}
WEIGHT_MAX = 25.0
"""Cap on a tier's weight, in units of tier s: beyond it one large studio alone would be the mean."""


def default_size_tiers(sample_rate: float) -> dict[str, SizeTier]:
    """Return the five public size tiers.

    A tier's update denominator is the batch that a half-full studio of the tier draws, ``sample_rate * shots_max /
    2``. The noise of its averaged gradient goes with one over it, so the weight by inverse noise variance goes with
    its square (1 for tier s), capped at ``WEIGHT_MAX``. Delta is 1e-5 up to 10,000 shots and 1/(10 N) above.
    """
    return {
        name: SizeTier(
            shots_max=shots,
            weight=min((shots / SHOTS_MAX_BY_TIER["s"]) ** 2, WEIGHT_MAX),
            update_denominator=sample_rate * shots / 2,
            delta=1e-5 if shots <= 10_000 else 1 / (10 * shots),
        )
        for name, shots in SHOTS_MAX_BY_TIER.items()
    }


class FederationConfig(_Frozen):
    """A coordinator's settings (``federation.toml``)."""

    name: Name
    hosts: tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] = Field(min_length=1, strict=False)
    fleet_port: Port = 9443  # fleet proxy: what studios' uplinks dial
    service_port: Port = 9444  # gRPC: joining, rounds, releases
    superlink_port: Port = 9100  # loopback only
    plan: PlanDefaults = PlanDefaults()
    size_tiers: dict[Name, SizeTier] = Field(
        default_factory=lambda: default_size_tiers(PlanDefaults().sample_rate)
    )

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> FederationConfig:
        """Validate settings that come from elsewhere than the file.

        Raises:
            ConfigError: a field is unknown, missing or out of range (says which).
        """
        return _validated(cls, fields, "the federation's settings")

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if len({self.fleet_port, self.service_port, self.superlink_port}) < 3:
            raise ValueError("fleet_port, service_port and superlink_port must differ")
        if not self.size_tiers:
            raise ValueError("size_tiers names no tier")
        return self

    @property
    def fleet_address(self) -> str:
        """``host:port`` that uplinks dial."""
        return address(self.hosts[0], self.fleet_port)

    @property
    def service_address(self) -> str:
        """``host:port`` of the gRPC service."""
        return address(self.hosts[0], self.service_port)


def address(host: str, port: int) -> str:
    """Write ``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def load_studio_config(path: Path) -> StudioConfig:
    """Read ``studio.toml``.

    Raises:
        ConfigError: missing, not TOML, or a key is unknown, missing or out of range (says which).
    """
    return _load(StudioConfig, path)


def load_federation_config(path: Path) -> FederationConfig:
    """Read ``federation.toml``.

    Raises:
        ConfigError: missing, not TOML, or a key is unknown, missing or out of range (says which).
    """
    return _load(FederationConfig, path)


def _load(cls: type[Settings], path: Path) -> Settings:
    try:
        fields = tomllib.loads(read_bounded(path, CONFIG_BYTES_MAX).decode())
    except FedrotoError as error:
        raise ConfigError(str(error), hint=error.hint) from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return _validated(cls, fields, str(path))


def _validated(cls: type[Settings], fields: Mapping[str, Any], source: str) -> Settings:
    try:
        return cls.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        what = PLAIN_WORDS.get(first["type"], first["msg"])
        raise ConfigError(f"{source}: {where}: {what}", hint=_nearest_key(cls, first)) from error


def _nearest_key(cls: type[BaseModel], detail: object) -> str | None:
    """Suggest the key that an unknown one was probably meant to be."""
    if not isinstance(detail, dict) or detail["type"] != "extra_forbidden":
        return None
    known = {
        name
        for model in (cls, StudioPolicy, ShowConsent, PlanDefaults, SizeTier)
        for name in model.model_fields
    }
    near = difflib.get_close_matches(str(detail["loc"][-1]), sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else None
