import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from studio_under_test import StudioUnderTest

torch.set_num_threads(1)


@pytest.fixture
def studio(tmp_path) -> StudioUnderTest:
    return StudioUnderTest.made(tmp_path / "studio", {"kelp": 3, "moss": 2})
