"""The packages that are installed: those that must be, and those that must not be beside each other."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable

from federation.doctor.finding import Finding, fail, ok
from federation.flower.version import FLOWER_SERIES, check_flower_version, flower_reports_home

OPENCV_WHEELS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
"""All four unpack into the same folder ``cv2`` and overwrite each other."""


def one_opencv(path: Iterable[str] | None = None) -> Finding:
    """Look whether exactly one of OpenCV's wheels is installed.

    Args:
        path: folders to look in, as ``sys.path``; None takes this process's own.
    """
    folders = sys.path if path is None else list(path)
    installed = sorted(
        {
            name
            for distribution in importlib.metadata.distributions(path=folders)
            if (name := str(distribution.metadata["Name"]).lower().replace("_", "-")) in OPENCV_WHEELS
        }
    )
    if len(installed) == 1:
        return ok("opencv", f"{installed[0]} is the only OpenCV wheel")
    if not installed:
        return fail("opencv", "no OpenCV wheel is installed", "pip install opencv-python")
    return fail(
        "opencv",
        f"{' and '.join(installed)} are installed together: they overwrite each other's files in cv2",
        f"pip uninstall -y {' '.join(installed)} && pip install opencv-python",
    )


def flower() -> Finding:
    """Look whether the installed Flower is of the series that fedroto was written for."""
    return ok("flower", f"flwr {check_flower_version()}, of series {FLOWER_SERIES}")


def telemetry_off() -> Finding:
    """Look whether Flower, as this process has loaded it, would report anything home."""
    if flower_reports_home():
        return fail(
            "telemetry",
            "Flower's telemetry is on in this process: flwr was loaded before fedroto could switch it off",
            "export FLWR_TELEMETRY_ENABLED=0 in the environment of every process, and look for what loads flwr first",
        )
    return ok("telemetry", "Flower's telemetry is off")
