from functools import partial

import pytest

from federation.worker_pool import in_processes
from model.benchmark_evidence import dumps
from model.public_benchmark import build_clips


def test_two_processes_gather_the_evidence_of_one_to_the_byte():
    alone, shared = (build_clips(None, count=2, spread=partial(in_processes, workers=n)) for n in (1, 2))
    assert dumps(alone) == dumps(shared)


def test_a_failure_is_raised_where_its_result_is_due():
    results = in_processes(partial(divmod, 6), [3, 0, 2], workers=2)
    assert next(results) == (2, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
