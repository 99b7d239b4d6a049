"""Weights tuned on an artist's own shots: no path that sends, publishes or builds upon weights takes them."""

import json

import numpy as np
import pytest

from aggregator.registry import Registry
from aggregator.release_check import BenchmarkRun, check_candidate
from aggregator.release_draft import Draft
from federation import keys
from federation.cli.main import main
from federation.errors import EgressError, RefusalCode, ReleaseError
from federation.messages import TrainRefusal, TrainUpdate, encode_reply
from federation.plan import LedgerHead, UpdateBounds
from federation.release_client import pull_folder
from federation.release_manifest import LISTED_FILES
from model.errors import PrivateWeightsError
from model.network import Fusion, RotoModel
from model.weights import load, load_public, pack, save
from model.weights_note import PRIVATE_NOTE, read_note
from studio_node.egress import ExpectedUpdate, inspect_frame
from studio_node.ingest import ingest
from tests.federation.signed_releases import sign_release

HEAD = LedgerHead(sequence=4, hash="e" * 64)


@pytest.fixture
def private_weights(tmp_path):
    path = tmp_path / "mine.safetensors"
    save(path, RotoModel(Fusion()).to_tensors(), PRIVATE_NOTE)
    return path


def test_the_mark_is_read_without_the_tensors_and_survives_loading(private_weights):
    assert "private" in read_note(private_weights)
    assert "private" in load(private_weights).metadata
    with pytest.raises(PrivateWeightsError, match="never sent"):
        load_public(private_weights)


def test_the_egress_door_lets_neither_the_file_nor_its_numbers_out(private_weights):
    numbers = pack(RotoModel.from_tensors(load(private_weights).tensors).fusion)
    expected = ExpectedUpdate("a" * 64, len(numbers), UpdateBounds(norm_max=1.0, grid=2.0**-10), HEAD)
    update = TrainUpdate(numbers, plan_digest="a" * 64, ledger_sequence=4, ledger_hash="e" * 64)
    refusal = encode_reply(TrainRefusal(RefusalCode.BUDGET))
    for frame in (private_weights.read_bytes(), encode_reply(update), refusal + private_weights.read_bytes()):
        with pytest.raises(EgressError):
            inspect_frame(frame, expected)


def test_a_coordinator_never_publishes_them(tmp_path, private_weights):
    key = keys.create_release_key(tmp_path / "keys")
    registry = Registry(
        tmp_path / "releases", federation="north", release_key_pem=keys.public_pem(key.public_key())
    )
    clips = tuple(f"clip {index}" for index in range(12))
    errors = np.linspace(1, 2, len(clips))
    run = BenchmarkRun("procedural/1", clips, {"model": tuple(errors / 2), "smooth": tuple(errors)})
    draft = Draft(private_weights, check_candidate(run, None), "fusion-1", "ab" * 32, 1_800_000_000, None)
    with pytest.raises(PrivateWeightsError):
        registry.publish(draft, tmp_path / "keys" / "release_key")
    assert registry.numbers() == ()


def test_nobody_takes_a_release_in_that_holds_them_though_it_is_signed(tmp_path, private_weights):
    key = keys.create_release_key(tmp_path / "keys")
    folder = tmp_path / "0001"
    folder.mkdir()
    for name in LISTED_FILES:
        (folder / name).write_text(name)
    (folder / "weights.safetensors").write_bytes(private_weights.read_bytes())
    sign_release(folder, tmp_path / "keys" / "release_key")
    with pytest.raises(ReleaseError, match="tuned on private shots"):
        pull_folder(folder, keys.public_pem(key.public_key()), tmp_path / "held")


def test_neither_a_studios_packs_nor_public_pretraining_build_upon_them(
    tmp_path, private_weights, monkeypatch, capsys
):
    home = tmp_path / "home"
    home.mkdir()
    with pytest.raises(PrivateWeightsError):
        ingest(home, [tmp_path], "show", weights=private_weights)
    command = ["fedroto", "model", "pretrain", str(tmp_path / "out.safetensors")]
    monkeypatch.setattr("sys.argv", [*command, "--matcher", str(private_weights), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert json.loads(capsys.readouterr().out)["kind"] == "PrivateWeightsError"
    assert not (tmp_path / "out.safetensors").exists()
