"""The product's rounds in Flower's simulation engine, where ray is installed (``fedroto[simulation]``)."""

import json

import pytest


@pytest.mark.long  # ray alone takes half a minute to start
def test_studios_in_flowers_simulation_engine_close_every_round_with_signed_updates(tmp_path):
    pytest.importorskip("ray")
    from benchmarks.federation_simulation import simulate

    result = simulate(tmp_path / "fed", studios=6, rounds=3, parameters=100, value_bits=8)
    assert result.state == "complete"
    assert result.not_private
    assert [len(one.returned) for one in result.rounds] == [6, 6, 6]
    lines = (result.folder / "progress.jsonl").read_text().splitlines()
    assert not [line for line in map(json.loads, lines) if line["event"] == "studio.rejected"]
