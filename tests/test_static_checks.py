"""Formatting, lint, strict types and import directions hold for the whole tree."""

import pytest

from tests.static_checks import CHECKS, running


@pytest.mark.parametrize("check", CHECKS)
def test_static_check_passes(check):
    code, said = running[check].finished(timeout_s=230)
    assert code == 0, said[-8000:]
