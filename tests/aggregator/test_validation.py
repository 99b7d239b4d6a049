import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aggregator.validation import Expectation, Fault, inspect_update, norm_allowance
from federation.plan import LedgerHead, UpdateBounds

PLAN, OTHER = "a" * 64, "b" * 64
BOUNDS = UpdateBounds(norm_max=1.0, grid=2.0**-10)
SEEN = LedgerHead(sequence=7, hash="c" * 64)
NEWER = LedgerHead(sequence=8, hash="d" * 64)


def expectation(seen=SEEN, parameters=4):
    return Expectation(PLAN, parameters, BOUNDS, seen)


def packed(*values):
    return np.array(values, np.float32)


GOOD = packed(0.5, -0.25, 0.0, 0.125)


def fault_of(update=GOOD, plan=PLAN, head=NEWER, expected=None):
    rejection = inspect_update(update, plan, head, expected or expectation())
    return None if rejection is None else rejection.fault


def test_a_good_update_passes():
    assert fault_of() is None


def test_the_first_update_of_a_studio_may_have_any_ledger_head():
    assert fault_of(head=LedgerHead(sequence=0, hash="e" * 64), expected=expectation(seen=None)) is None


@pytest.mark.parametrize(
    ("update", "fault"),
    [
        (np.array([127, -127, 0, 3], np.int8), None),
        (np.array([-128, 0, 0, 0], np.int8), Fault.OFF_GRID),
        (np.array([127, 127, 127, 127], np.int8), Fault.NORM),
        (np.array([1, 1, 1], np.int8), Fault.LENGTH),
        (GOOD, Fault.DTYPE),
    ],
)
def test_a_plan_of_one_byte_a_value_takes_whole_steps_within_its_range(update, fault):
    bounds = UpdateBounds(norm_max=1.5, grid=2.0**-7, value_bits=8)
    assert fault_of(update, expected=Expectation(PLAN, 4, bounds, SEEN)) == fault


def test_a_plan_of_float32_takes_no_bytes():
    assert fault_of(np.zeros(4, np.int8)) == Fault.DTYPE


@pytest.mark.parametrize(
    ("update", "fault"),
    [
        (packed(np.nan, 0, 0, 0), Fault.NOT_FINITE),
        (packed(0, np.inf, 0, -np.inf), Fault.NOT_FINITE),
        (packed(0.5, 0.5, 0.5), Fault.LENGTH),
        (packed(0.5, 0.5, 0.5, 0, 0), Fault.LENGTH),
        (packed(0.5), Fault.LENGTH),
        (GOOD.reshape(2, 2), Fault.LENGTH),
        (np.float32(0.5), Fault.LENGTH),
        (GOOD.astype(np.float64), Fault.DTYPE),
        (GOOD.astype(np.complex64), Fault.DTYPE),
        (GOOD.astype(np.int32), Fault.DTYPE),
        (GOOD.astype(object), Fault.DTYPE),
        (packed(0.5, 0.0001, 0, 0), Fault.OFF_GRID),
        (packed(1e-40, 0, 0, 0), Fault.OFF_GRID),
        (packed(1, 1, 1, 1), Fault.NORM),
        (packed(3e38, 3e38, 3e38, 3e38), Fault.NORM),
    ],
)
def test_each_kind_of_bad_array_has_its_own_fault(update, fault):
    assert fault_of(update) is fault


def test_an_answer_to_another_plan_is_dropped():
    assert fault_of(plan=OTHER) is Fault.PLAN


def test_a_ledger_that_went_back_is_caught():
    assert fault_of(head=LedgerHead(sequence=6, hash="d" * 64)) is Fault.LEDGER_BEHIND


def test_another_ledger_of_the_same_length_is_caught():
    assert fault_of(head=LedgerHead(sequence=7, hash="d" * 64)) is Fault.LEDGER_FORKED


def test_the_ledger_head_that_was_counter_signed_is_still_good():
    assert fault_of(head=SEEN) is None


def test_the_text_says_the_values():
    wrong_length = inspect_update(packed(0.5), PLAN, NEWER, expectation())
    assert wrong_length is not None
    assert "[1]" in wrong_length.text
    assert "[4]" in wrong_length.text
    rolled_back = inspect_update(GOOD, PLAN, LedgerHead(sequence=3, hash="d" * 64), expectation())
    assert rolled_back is not None
    assert "3 records" in rolled_back.text
    assert "7 were counter-signed" in rolled_back.text


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, 50, elements=st.floats(-1, 1)))
def test_what_an_honest_studio_scales_and_rounds_is_never_dropped(raw):
    length = np.linalg.norm(raw)
    scaled = raw if length <= BOUNDS.norm_max else raw * (BOUNDS.norm_max / length)
    update = (np.rint(scaled / BOUNDS.grid) * BOUNDS.grid).astype(np.float32)
    assert fault_of(update, expected=expectation(parameters=50)) is None


def test_the_allowance_for_rounding_is_small():
    assert norm_allowance(BOUNDS, 4) < 0.001
    update = packed(1 + 2 * BOUNDS.grid, 0, 0, 0)
    assert fault_of(update) is Fault.NORM
