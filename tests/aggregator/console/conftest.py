import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # coordinator_home.py
from coordinator_home import HomeInProgress, made_home

made: list[HomeInProgress] = []


@pytest.fixture
def home(tmp_path, tmp_path_factory, plan_fields):
    """A coordinator's home in the middle of a campaign; made once, copied for each test."""
    if not made:
        made.append(made_home(tmp_path_factory.mktemp("coordinator") / "fed", plan_fields, now=time.time()))
    return made[0].copied_to(tmp_path / "fed")
