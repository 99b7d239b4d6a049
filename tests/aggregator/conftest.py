import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def quick_disk(monkeypatch):
    """Skip waiting for the disk: kills within a test do not lose what the operating system holds."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr("aggregator.database.SYNCHRONOUS", "OFF")
