"""A campaign over the federation's own SuperLink, from the newest release: what ``fedroto coordinator run`` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aggregator.campaign import BaseWeights, CampaignRequest, run_campaign
from aggregator.campaign_result import CampaignResult
from aggregator.carried_rounds import CARRIED_FOLDER, CarriedCourier, carried_keys
from aggregator.courier import Courier
from aggregator.plan_builder import Setting
from aggregator.public_measure import PublicMeasure
from aggregator.registry import Registry
from aggregator.round_check import Measure
from aggregator.superlink import SuperLinkSettings
from federation.config import load_federation_config
from federation.errors import ReleaseError
from federation.flower.coordinator import FederationRun
from federation.homes import CoordinatorHome
from federation.keys import load_release_key, public_pem
from federation.model_spec import Tensors
from federation.plan import TrainingPlan
from federation.release_manifest import WEIGHTS

RUN_FILE = "flower_run.json"


def open_registry(home: Path) -> Registry:
    """Open the release registry of a coordinator's home.

    Raises:
        ConfigError: ``federation.toml`` is missing or wrong.
        IdentityError: the release key is missing or readable by others.
    """
    places = CoordinatorHome(home)
    release_key = load_release_key(places.release_private_key).public_key()
    return Registry(
        places.releases,
        federation=load_federation_config(places.config).name,
        release_key_pem=public_pem(release_key),
    )


def run(
    home: Path,
    campaign: str,
    overrides: Mapping[str, Setting],
    *,
    base: BaseWeights | None = None,
    carried: Sequence[str] = (),
    check_rounds: bool = True,
    progress: Callable[[str], None],
) -> CampaignResult:
    """Run a campaign from the newest release, or go on with the one of that name.

    Args:
        home: the coordinator's.
        campaign: its name.
        overrides: settings of the plan by name.
        base: other weights to begin with (``aggregator.restart``).
        carried: studios without any line, whose questions and answers are carried as files.
        check_rounds: measure the weights after every round on the public benchmark, and roll back what is worse.
        progress: told one sentence at a time.

    Raises:
        ReleaseError: there is no release to start from, or the newest one breaks a rule.
        FedrotoError: see :func:`aggregator.campaign.run_campaign`.
    """
    access = SuperLinkSettings.of_home(home).access()
    request = CampaignRequest(campaign, base or _newest(home), overrides)
    keys = carried_keys(home, carried)

    def courier(folder: Path, bundle: bytes) -> Courier:
        lined = FederationRun(access, folder / RUN_FILE, bundle)
        return CarriedCourier(lined, folder / CARRIED_FOLDER, keys) if keys else lined

    def measure(plan: TrainingPlan, tensors: Callable[[], Tensors]) -> Measure:
        return PublicMeasure(home, plan.model, tensors, progress)

    return run_campaign(
        home, request, courier, progress=progress, measure_factory=measure if check_rounds else None
    )


def _newest(home: Path) -> BaseWeights:
    release = open_registry(home).latest()
    if release is None:
        raise ReleaseError(
            "there is no release to start a campaign from",
            hint="publish the pretrained base first: fedroto coordinator release --base",
        )
    return BaseWeights(release.manifest.number, release.path / WEIGHTS)
