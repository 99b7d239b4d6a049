"""Bad files and folders as a user of the command line meets them: a clear error, nothing half-written stays."""

import contextlib
import ctypes
import json
import os
import re
import resource
import shutil
import struct

import numpy as np
import pytest
import torch

from federation import keys
from model import weights
from model.network import Fusion, RotoModel
from model.procedural_settings import ShotSettings
from studio_node.written_shots import make_procedural_shots
from tests.federation.signed_releases import sign_release

SMALL = ShotSettings(
    width=72, height=56, frames=9, parts_chance=0.0, occluder_chance=0.0, blur_chance=0.0, size=(0.4, 0.5)
)
CAPABILITIES = 0x20080522  # version 3 of the kernel's structures
MAY_OVERRIDE_MODES = 0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory):
    """Weights without a matcher, which are quick."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    torch.manual_seed(5)
    weights.save(path, RotoModel(Fusion()).to_tensors(), {})
    return path


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "show"
    make_procedural_shots(folder, seed=11, count=1, settings=SMALL, artist_gap=4)
    return folder / "shot001"


@pytest.fixture
def show(made_once, tmp_path, small_weights, monkeypatch):
    """Copies of one small shot in the folder ``show``; ``show("a", "b")`` makes two."""
    torch.set_num_threads(1)
    monkeypatch.setattr("studio_node.ingest.base_path", lambda: small_weights)
    monkeypatch.setattr("studio_node.predict_shot.base_path", lambda: small_weights)

    def copies(*names):
        for name in names:
            shutil.copytree(made_once, tmp_path / "show" / name)
        return [tmp_path / "show" / name for name in names]

    return copies


def listing(folder):
    """Every path below a folder, hidden ones too, with its bytes."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@contextlib.contextmanager
def read_only(folder):
    """A folder that cannot be written into, not even by root."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("Ii", CAPABILITIES, 0))
    held = ctypes.create_string_buffer(24)
    assert libc.capget(header, held) == 0
    words = list(struct.unpack("6I", held.raw))
    words[0] &= ~MAY_OVERRIDE_MODES
    mode = folder.stat().st_mode
    folder.chmod(0o555)
    assert libc.capset(header, struct.pack("6I", *words)) == 0
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0
        folder.chmod(mode)


@contextlib.contextmanager
def full_disk():
    """No file may grow, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def with_expression(script):
    """The script with an expression in the place of its first tracked value's curve."""
    script.write_bytes(
        re.sub(
            rb"(\{px \{[^}]*\}\n\{)\{(?:\{[^{}]*\} ?)+\}",
            rb"\1{=sin(frame) x3f800000}",
            script.read_bytes(),
            count=1,
        )
    )
    assert b"=sin" in script.read_bytes()


def test_ingest_reports_each_bad_shot_by_itself_and_takes_the_rest(fedroto, homes, show, tmp_path):
    _, torn_frames, expression, no_roto, torn_script, no_shapes = show(
        "good", "torn_frames", "expression", "no_roto", "torn_script", "no_shapes"
    )
    truncate(torn_frames / "plate.1003.exr")
    (torn_frames / "plate.1006.exr").unlink()
    with_expression(expression / "shapes.nk")
    (no_roto / "shapes.nk").write_text("Blur {\n size 3\n}\n")
    truncate(torn_script / "shapes.nk")
    for path in (*no_shapes.glob("*.nk"), no_shapes / "truth.json"):
        path.unlink()
    line = ("studio", "ingest", "show", "--home", "node", "--show", "kelp", "--windows", "1")
    ended = fedroto(*line)
    assert ended.status == 0
    report = json.loads(fedroto(*line, "--force", "--json").out)
    taken = {shot["name"]: shot["problems"] for shot in report["shots"]}
    assert set(taken) == {"good", "torn_frames"}
    assert [problem.split(":")[0] for problem in taken["torn_frames"]] == ["frame 1003", "frame 1006"]
    reasons = {one["where"].rpartition("/")[2]: one["reason"] for one in report["rejected"]}
    assert set(reasons) == {"expression", "no_roto", "torn_script", "no_shapes"}
    assert len(set(reasons.values())) == 4
    for name, said in (("expression", "expression"), ("no_roto", "no roto node"), ("torn_script", "line")):
        assert said in reasons[name]
    for said in (*taken["torn_frames"], *reasons.values()):
        assert said in ended.out
    assert len(list((tmp_path / "node" / "packs").iterdir())) == 2


def test_ingest_of_nothing_but_bad_shots_fails_and_writes_no_pack(fedroto, homes, show, tmp_path):
    (shot,) = show("torn")
    truncate(shot / "shapes.nk")
    ended = fedroto("studio", "ingest", "show", "--home", "node", "--show", "kelp", "--json")
    assert ended.status == 1
    assert len(json.loads(ended.out)["rejected"]) == 1
    assert not list((tmp_path / "node" / "packs").glob("*"))


def test_predict_goes_on_without_the_bad_frames_and_names_them(fedroto, show):
    (shot,) = show("shot")
    truncate(shot / "plate.1003.exr")
    (shot / "plate.1006.exr").unlink()
    line = ("predict", shot, "--shapes", shot / "artist.nk", "-o", "out.nk")
    ended = fedroto(*line)
    assert ended.status == 0
    assert "no picture for frame 1003, 1006" in ended.out
    (shape,) = json.loads(fedroto(*line, "--json").out)["shapes"]
    assert shape["missing"] == [1003, 1006]


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (with_expression, "PredictionError", "expression"),
        (lambda path: path.write_text("Blur {\n size 3\n}\n"), "NoRotoError", "no roto node"),
        (truncate, "FormatError", "line"),
        (lambda path: path.unlink(), "FedrotoError", "No such file"),
    ],
)
def test_predict_from_a_bad_script_writes_nothing(refused, show, tmp_path, damage, kind, said):
    (shot,) = show("shot")
    damage(shot / "artist.nk")
    error = refused("predict", shot, "--shapes", shot / "artist.nk", "-o", "out.nk", status=1)
    assert error["kind"] == kind
    assert said in error["error"]
    assert not (tmp_path / "out.nk").exists()


def test_an_unknown_key_in_either_settings_file_is_named_with_its_file(refused, homes, tmp_path):
    for settings, line in (
        ("node/studio.toml", ("ledger", "show", "--home", "node")),
        ("fed/federation.toml", ("coordinator", "run", "--home", "fed", "--campaign", "c")),
    ):
        path = tmp_path / settings
        path.write_text("quorom = 2\n" + path.read_text())
        error = refused(*line, status=2)
        assert settings in error["error"]
        assert "quorom: there is no such setting" in error["error"]
    assert "quorum" in error["hint"]


@pytest.fixture
def release(tmp_path, small_weights):
    """A signed release of the small weights in the folder ``copied``, its key in ``key.pub``."""
    key = keys.create_release_key(tmp_path / "keys")
    (tmp_path / "key.pub").write_bytes(keys.public_pem(key.public_key()))
    folder = tmp_path / "copied"
    folder.mkdir()
    shutil.copy(small_weights, folder / "weights.safetensors")
    (folder / "README.md").write_text("small")
    (folder / "benchmark.json").write_text("{}")
    sign_release(folder, tmp_path / "keys" / "release_key")
    return folder


PULL = ("pull", "releases", "--from", "copied", "--release-key", "key.pub")


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json", "README.md", "model.sig"])
def test_a_tampered_release_is_not_pulled(refused, release, tmp_path, name):
    flip_a_bit(release / name)
    assert "release" in refused(*PULL, status=3)["error"] or name in refused(*PULL, status=3)["error"]
    assert not [path for path in (tmp_path / "releases").iterdir() if path.name != ".lock"]


def test_a_pulled_release_predicts_by_its_folder_or_as_the_newest(fedroto, release, show, tmp_path):
    (shot,) = show("shot")
    assert fedroto(*PULL).status == 0
    outputs = []
    for folder in ("releases/0001", "releases"):
        line = ("predict", shot, "--shapes", shot / "artist.nk", "-o", "out.nk", "--release", folder)
        told = json.loads(fedroto(*line, "--json").out)
        assert told["weights"] == str(tmp_path / "releases" / "0001" / "weights.safetensors")
        outputs.append((tmp_path / "out.nk").read_bytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json", "benchmark.json", "model.sig"])
def test_a_release_that_was_tampered_with_after_the_pull_predicts_nothing(
    fedroto, refused, release, show, tmp_path, name
):
    (shot,) = show("shot")
    assert fedroto(*PULL).status == 0
    flip_a_bit(tmp_path / "releases" / "0001" / name)
    for folder in ("releases/0001", "releases"):
        line = ("predict", shot, "--shapes", shot / "artist.nk", "-o", "out.nk", "--release", folder)
        error = refused(*line, status=3)
        assert error["kind"] == "ReleaseError"
        assert "fetch it again" in error["hint"]
    assert not (tmp_path / "out.nk").exists()
    assert fedroto(*PULL).status == 0  # what the hint says
    assert fedroto(*line).status == 0


def test_a_release_that_was_never_pulled_predicts_nothing(refused, release, show):
    (shot,) = show("shot")
    error = refused(
        "predict", shot, "--shapes", shot / "artist.nk", "-o", "o.nk", "--release", "copied", status=3
    )
    assert "was not pulled" in error["error"]
    assert "fedroto pull" in error["hint"]


def test_releases_of_another_key_do_not_come_into_the_same_folder(fedroto, refused, release, tmp_path):
    assert fedroto(*PULL).status == 0
    other = keys.create_release_key(tmp_path / "other")
    (tmp_path / "key.pub").write_bytes(keys.public_pem(other.public_key()))
    before = listing(tmp_path / "releases")
    error = refused(*PULL, status=3)
    assert keys.fingerprint(other.public_key()) in error["error"]
    assert listing(tmp_path / "releases") == before


WRITERS = {
    "predict": ("predict", "show/shot", "--shapes", "show/shot/artist.nk", "-o", "place/out.nk"),
    "plates": ("plates", "make", "place", "--count", "1", "--frames", "3", "--width", "48", "--height", "48"),
    "pull": ("pull", "place", "--from", "copied", "--release-key", "key.pub"),
    "studio": ("studio", "init", "--home", "place/home", "--name", "birch", "--federation", "north"),
    "coordinator": ("coordinator", "init", "--home", "place/home", "--name", "south", "--host", "localhost"),
    "kit": (
        *("coordinator", "admit", "node/alder.join-request", "--home", "fed", "--kit", "place/alder.kit"),
        *("--fingerprint", "FINGERPRINT"),
    ),
    "demo": ("demo", "--folder", "place/demo"),
}


@pytest.mark.parametrize(
    ("writer", "trouble"),
    [
        (writer, trouble)
        for writer in WRITERS
        for trouble in ("read-only", "full")
        if (writer, trouble) != ("demo", "full")  # its first file would be a process's log
    ],
)
def test_a_place_that_cannot_be_written_is_an_error_and_nothing_stays(
    fedroto, refused, homes, release, show, tmp_path, writer, trouble
):
    show("shot")
    place = tmp_path / "place"
    place.mkdir()
    known = keys.fingerprint(keys.load_node_key(tmp_path / "node" / "keys" / "node_key").private.public_key())
    line = [known if word == "FINGERPRINT" else word for word in WRITERS[writer]]
    with read_only(place) if trouble == "read-only" else full_disk():
        error = refused(*line, status=1)
    assert "cannot" in error["error"] or "disk" in error["error"]
    assert [path for path in place.rglob("*") if path.is_file() and path.stat().st_size] == []
    if writer != "demo":
        assert fedroto(*line).status == 0  # and it works once the place is in order


def test_ingest_into_a_home_that_cannot_be_written_is_an_error(fedroto, refused, homes, show, tmp_path):
    show("shot")
    line = ("studio", "ingest", "show", "--home", "node", "--show", "kelp", "--windows", "1")
    before = listing(tmp_path / "node")
    with read_only(tmp_path / "node"):
        assert "node" in refused(*line, status=1)["error"]
    assert listing(tmp_path / "node") == before
    assert fedroto(*line).status == 0


def test_an_output_that_is_a_folder_is_an_error(refused, show, tmp_path):
    (shot,) = show("shot")
    (tmp_path / "out.nk").mkdir()
    error = refused("predict", shot, "--shapes", shot / "artist.nk", "-o", "out.nk", status=1)
    assert "Is a directory" in error["error"]


def test_a_ledger_export_that_cannot_be_written_leaves_nothing(refused, homes, tmp_path):
    from studio_node.ledger import Ledger

    Ledger.open(tmp_path / "node" / "ledger.sqlite").close()
    (tmp_path / "place").mkdir()
    with read_only(tmp_path / "place"):
        refused("ledger", "export", "place/ledger.jsonl", "--home", "node", status=1)
    assert list((tmp_path / "place").iterdir()) == []


def test_the_small_weights_are_what_the_network_reads(small_weights):
    assert np.isfinite(
        np.concatenate([t.ravel() for t in weights.load(small_weights).tensors.values()])
    ).all()
