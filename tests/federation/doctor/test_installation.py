"""Packages as an installer leaves them: real metadata folders on a search path."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from federation.doctor.installation import flower, one_opencv


def install(site, name, version="4.10.0"):
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_one_opencv_wheel_is_ok(tmp_path):
    install(tmp_path, "opencv-python")
    assert one_opencv([str(tmp_path)]).verdict == "ok"


@pytest.mark.parametrize(
    "twin", ["opencv-python-headless", "opencv_contrib_python", "OpenCV-contrib-python-headless"]
)
def test_two_opencv_wheels_fail_by_name(tmp_path, twin):
    install(tmp_path / "a", "opencv-python")
    install(tmp_path / "b", twin)
    finding = one_opencv([str(tmp_path / "a"), str(tmp_path / "b")])
    assert finding.verdict == "fail"
    assert twin.lower().replace("_", "-") in finding.what
    assert "pip uninstall" in finding.next_step


def test_the_same_wheel_seen_twice_is_one(tmp_path):
    install(tmp_path / "a", "opencv-python")
    install(tmp_path / "b", "opencv-python")
    assert one_opencv([str(tmp_path / "a"), str(tmp_path / "b")]).verdict == "ok"


def test_no_opencv_fails(tmp_path):
    assert one_opencv([str(tmp_path)]).verdict == "fail"


def test_this_installation_is_in_order():
    assert one_opencv().verdict == "ok"
    assert flower().verdict == "ok"


def test_another_flower_is_a_failure_with_the_command_that_mends_it(tmp_path):
    install(tmp_path, "flwr", "1.40.2")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from federation.doctor.finding import found; "
        "from federation.doctor.installation import flower; print(found('flower', flower)[0])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "flwr 1.40.2 is installed" in result.stdout
    assert "pip install 'flwr==1.41.*'" in result.stdout


def test_telemetry_that_was_switched_on_before_us_is_found():
    code = (
        "import flwr.supercore.telemetry; from federation.doctor.installation import telemetry_off; "
        "print(telemetry_off().verdict)"
    )
    environment = os.environ | {"FLWR_TELEMETRY_ENABLED": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout.strip() == "fail"


def _modules_that_load_flower():
    root = Path(__file__).parent.parent.parent.parent
    for package in ("federation", "studio_node", "aggregator"):
        for path in sorted((root / package).rglob("*.py")):
            if re.search(r"^(from|import) flwr", path.read_text(), re.MULTILINE):
                yield ".".join(path.relative_to(root).with_suffix("").parts)


@pytest.mark.parametrize("module", list(_modules_that_load_flower()))
def test_no_module_of_ours_loads_flower_with_its_telemetry_on(module):
    code = f"import {module}; from federation.flower.version import flower_reports_home; print(flower_reports_home())"
    environment = os.environ | {"FLWR_TELEMETRY_ENABLED": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout.strip() == "False"
