"""Which Flower this adapter was written for, and the environment that its processes run in."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from federation.errors import FlowerError

FLOWER_SERIES = "1.41"
FLOWER_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }
)
"""Nothing that we start reports home, looks for updates or installs packages."""


def check_flower_version() -> str:
    """Return the installed flwr's version if it is of the series that this adapter was written for.

    Raises:
        FlowerError: flwr is missing or of another series.
    """
    try:
        installed = importlib.metadata.version("flwr")
    except importlib.metadata.PackageNotFoundError as error:
        raise FlowerError("flwr is not installed", hint="install fedroto with its dependencies") from error
    if not installed.startswith(FLOWER_SERIES + "."):
        raise FlowerError(
            f"flwr {installed} is installed; this release of fedroto is written for flwr {FLOWER_SERIES}",
            hint=f"pip install 'flwr=={FLOWER_SERIES}.*'",
        )
    return installed


def flower_environment(flower_home: Path) -> dict[str, str]:
    """Return the environment of a process that runs Flower.

    The parent's own FLWR_* variables are not inherited: one of them could move the database, open further APIs or
    share a home folder between processes.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLWR_")}
    return kept | dict(FLOWER_ENVIRONMENT) | {"FLWR_HOME": str(flower_home)}


def flower_reports_home() -> bool:
    """Whether Flower's telemetry is on in this process: it is where flwr was loaded before this package."""
    from flwr.supercore import telemetry  # seconds; only asked by ``fedroto doctor``

    return bool(telemetry.FLWR_TELEMETRY_ENABLED == "1")
