"""Training once more from the middle of an old campaign: from the last weights that hold nothing of a studio that left.

The rounds that are kept have already cost the remaining studios' shots their privacy, so they count in the release that
comes of it: the new plan keeps the old one's privacy constants, and a note in the new campaign's folder says how many
rounds went before.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggregator.campaign import CAMPAIGNS_FOLDER, BaseWeights
from aggregator.campaign_run import open_registry
from aggregator.departure import campaign_part, releases_with
from aggregator.enrolment import enrolled_studios
from aggregator.plan_builder import Setting
from aggregator.round_store import RoundStore, disk_guard
from federation.documents import canonical_json
from federation.durable import make_private_dir, read_bounded, write_atomic
from federation.errors import PlanError, RoundError
from federation.homes import CoordinatorHome
from federation.keys import PLAN_KEY, load_plan_key
from federation.model_spec import with_trained
from federation.plan import Name, PrivacyConstants, Sha256, TrainingPlan
from federation.release_manifest import WEIGHTS

RESTART_FILE: Final = "restart.json"
RESTART_SCHEMA: Final = "fedroto.restart/1"
CHECKPOINT_FILE: Final = "checkpoint.safetensors"
KEPT: Final = tuple(
    name for name in PrivacyConstants.model_fields if name not in ("unit", "neighboring_relation")
)


class Restart(BaseModel):
    """What a campaign goes on from, if not from a release.

    Attributes:
        campaign: the old one.
        plan_digest: its plan's id.
        rounds: its rounds whose weights are the new campaign's base.
        without: the studio that left.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)
    schema_: Literal["fedroto.restart/1"] = Field(RESTART_SCHEMA, alias="schema")
    campaign: Name
    plan_digest: Sha256
    rounds: Annotated[int, Field(ge=1)]
    without: Name


def prepare_restart(
    home: Path, campaign: str, *, old: str, without: str, settings: Mapping[str, Setting]
) -> tuple[BaseWeights, dict[str, Setting]]:
    """Return the weights that a new campaign begins with and the settings that it keeps.

    Args:
        home: the coordinator's.
        campaign: the new one.
        old: the campaign to go on from.
        without: the studio that left; its key has to be withdrawn.
        settings: of the new plan; those of privacy have to be the old plan's.

    Raises:
        RoundError: the old campaign is not there, holds nothing of the studio, or started from weights that do.
        PlanError: the studio is still admitted, or a setting of privacy differs.
        ReleaseError: the release that the old campaign started from is not there.
    """
    if any(one.name == without and one.is_admitted for one in enrolled_studios(home)):
        raise PlanError(
            f"studio {without} is still admitted, so the new plan would name it",
            hint=f"fedroto coordinator revoke {without}",
        )
    part = campaign_part(home, old, without)
    if part is None:
        raise RoundError(f"no round of campaign {old} was averaged with an update of {without}")
    store = RoundStore(home / CAMPAIGNS_FOLDER / old)
    plan = _plan(home, store)
    kept = {name: getattr(plan.privacy, name) for name in KEPT}
    other = [name for name, value in settings.items() if name in kept and value != kept[name]]
    if other:
        raise PlanError(
            f"a restart keeps the privacy of campaign {old}: {other[0]} is {kept[other[0]]}, not {settings[other[0]]}"
        )
    if plan.base_release in releases_with(home, without):
        raise RoundError(
            f"campaign {old} started from release {plan.base_release}, which was itself made with updates of {without}",
            hint=f"go on from an older campaign; see: fedroto coordinator revoke {without}",
        )
    base = open_registry(home).get(plan.base_release).path / WEIGHTS
    if part.last_without > 0:
        base = _checkpoint(home, campaign, store, plan, part.last_without, without)
    return BaseWeights(plan.base_release, base), {**settings, **kept}


def read_restart(folder: Path) -> Restart | None:
    """Return what a campaign went on from, or None if it began from a release.

    Raises:
        RoundError: the note is damaged.
    """
    path = folder / RESTART_FILE
    if not path.exists():
        return None
    with disk_guard():
        data = read_bounded(path, 4096)
    try:
        return Restart.model_validate_json(data)
    except ValidationError as error:
        raise RoundError(f"{path} is damaged, so the rounds that went before cannot be counted") from error


def _checkpoint(
    home: Path, campaign: str, store: RoundStore, plan: TrainingPlan, rounds: int, without: str
) -> Path:
    from model.weights import save  # imports torch, which the command line does not need

    packed = store.read_weights(rounds)
    if packed is None:
        raise RoundError(f"the weights after round {rounds} are missing in {store.folder}")
    folder = home / CAMPAIGNS_FOLDER / campaign
    path = folder / CHECKPOINT_FILE
    note = Restart(campaign=plan.campaign, plan_digest=plan.digest, rounds=rounds, without=without)
    with disk_guard():
        make_private_dir(folder)
        write_atomic(folder / RESTART_FILE, canonical_json(note.model_dump(mode="json", by_alias=True)))
        save(path, with_trained(store.read_base(), plan.model, packed), {"campaign": plan.campaign})
    return path


def _plan(home: Path, store: RoundStore) -> TrainingPlan:
    document = store.read_plan()
    if document is None:
        raise RoundError(f"campaign {store.folder.name} has not begun")
    return TrainingPlan.verified(document, load_plan_key(CoordinatorHome(home).keys / PLAN_KEY).public_key())
