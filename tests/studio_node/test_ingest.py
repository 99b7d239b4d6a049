import contextlib
import datetime
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from federation.config import ShowConsent
from federation.errors import IngestError
from federation.model_spec import frozen_digest
from federation.plan import LedgerHead
from model.formats import nuke, roto_json
from model.frames import ArrayFrames
from model.keyframes import Keyed
from model.shapes import Lifetime, Shape
from model.weights import load
from studio_node import cutting
from studio_node.catalogue import Catalogue
from studio_node.cutting import Reading
from studio_node.ingest import LOCK_FILE, ingest
from studio_node.ledger import Reservation
from studio_node.packs import PackReader
from studio_node.pictures import write_exr
from studio_node.shape_conversion import convert
from studio_node.shot_windows import KEY_WEIGHT, CutRecipe, approved_outlines, unusable_reason

RECIPE = CutRecipe(windows=2, gaps=(2, 6))


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def run(home, show, small_weights, tmp_path):
    def run(show_name="kelp", sources=None, **options):
        options = {"recipe": RECIPE, "weights": small_weights} | options
        return ingest(home, sources or [tmp_path / "show"], show_name, **options)

    return run


def _packs(home):
    return sorted((home / "packs").iterdir())


def _reasons(report):
    return " | ".join(f"{one.where}: {one.reason}" for one in report.rejected)


def _with_expression(data: bytes) -> bytes:
    changed, times = re.subn(
        rb"(\{px \{[^}]*\}\n\{)\{(?:\{[^{}]*\} ?)+\}", rb"\1{=sin(frame) x3f800000}", data, count=1
    )
    assert times == 1
    return changed


def test_a_folder_of_shots_becomes_packs_and_catalogue_entries(run, home, small_weights):
    said = []
    report = run(progress=said.append)
    assert [(shot.name, shot.state, shot.frames, shot.windows) for shot in report.shots] == [
        ("sh001", "new", 9, 2),
        ("sh002", "new", 9, 2),
    ]
    assert (report.shapes, report.keyframes, report.windows, report.rejected) == (2, 18, 4, ())
    assert any("sh002 (2 of 2): new, 2 windows" in step.text for step in said)
    assert (said[-1].done, said[-1].total, said[-1].seconds_left) == (2, 2, 0)
    digest = frozen_digest(load(small_weights).tensors)
    with Catalogue.open(home) as catalogue:
        packs = catalogue.trainable_shots(
            {"kelp": ShowConsent(training_allowed=True)}, datetime.datetime.now(datetime.UTC)
        )
    assert [pack.shot_id for pack in packs] == ["sh001", "sh002"]
    assert [path.stat().st_mode & 0o777 for path in _packs(home)] == [0o600, 0o600]
    assert (home / "packs").stat().st_mode & 0o777 == 0o700
    reservation = Reservation(LedgerHead(sequence=1, hash="a" * 64), ["kelp"])
    for pack in packs:
        windows = PackReader.open(pack.path, reservation, show="kelp", frozen_digest=digest)
        assert len(windows) == pack.windows == 2
        assert all(window.weight.any() for window in windows)


def test_unchanged_shots_are_skipped_and_changed_ones_replace_their_pack(run, home, show):
    run()
    before = {path: path.stat().st_mtime_ns for path in _packs(home)}
    assert [shot.state for shot in run().shots] == ["unchanged", "unchanged"]
    assert {path: path.stat().st_mtime_ns for path in _packs(home)} == before
    write_exr(show[0].folder / "plate.1004.exr", np.full((56, 72, 3), 0.3, np.float32))
    report = run()
    assert [(shot.name, shot.state) for shot in report.shots] == [
        ("sh001", "updated"),
        ("sh002", "unchanged"),
    ]
    after = _packs(home)
    assert len(after) == 2
    assert len(set(after) & set(before)) == 1
    with Catalogue.open(home) as catalogue:
        assert {pack.path for pack in catalogue.packs()} == set(after)


def test_only_files_that_changed_are_read_again(run, show):
    hour_ago = time.time_ns() - 3600 * 10**9
    for shot in show:
        for path in shot.folder.iterdir():
            os.utime(path, ns=(hour_ago, hour_ago))
    assert run().files_read == 2 * 10  # nine frames and the shapes
    assert run().files_read == 0
    write_exr(show[0].folder / "plate.1004.exr", np.full((56, 72, 3), 0.3, np.float32))
    assert [(shot.state, shot.files_read) for shot in run().shots] == [("updated", 1), ("unchanged", 0)]
    (show[1].folder / "shapes.nk").touch()
    report = run()
    assert [(shot.state, shot.windows) for shot in report.shots] == [("unchanged", 2), ("unchanged", 2)]


def test_a_dry_run_says_what_would_be_and_writes_nothing(run, home, show):
    show[1].approved_file.write_text("Roto {")
    report = run(dry_run=True)
    assert [(shot.name, shot.state, shot.frames) for shot in report.shots] == [("sh001", "new", 9)]
    assert [shape.skipped for shape in report.shots[0].shapes] == [None]
    assert len(report.rejected) == 1
    assert list(home.iterdir()) == []
    run()
    before = sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*"))
    write_exr(show[0].folder / "plate.1004.exr", np.full((56, 72, 3), 0.3, np.float32))
    assert [shot.state for shot in run(dry_run=True).shots] == ["updated"]
    assert sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*")) == before


def test_workers_cut_the_same_packs_and_one_that_dies_takes_only_its_shot(run, home, show, tmp_path):
    run()
    alone = {path.name: path.read_bytes() for path in _packs(home)}

    def kill_a_worker(step):
        if step.done == 0 and "found" in step.text:
            threading.Thread(target=_kill_first_child, daemon=True).start()

    report = run(force=True, workers=2, progress=kill_a_worker)
    assert [shot.state for shot in report.shots] == ["updated"]
    assert "was killed by signal 9" in _reasons(report)
    assert {path.name: path.read_bytes() for path in _packs(home)} == alone


def _kill_first_child():
    while True:
        for stat in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                command = stat.read_bytes()
                parent = int(re.search(r"PPid:\s+(\d+)", stat.with_name("status").read_text())[1])
                if b"studio_node.cutting" in command and parent == os.getpid():
                    os.kill(int(stat.parent.name), signal.SIGKILL)
                    return
        time.sleep(0.01)


def test_the_same_files_give_the_same_pack_whatever_else_the_studio_has(run, home, show):
    run()
    together = {path.name: path.read_bytes() for path in _packs(home)}
    assert [shot.state for shot in run(force=True).shots] == ["updated", "updated"]
    assert {path.name: path.read_bytes() for path in _packs(home)} == together
    shutil.rmtree(home)
    home.mkdir()
    shutil.rmtree(show[0].folder)
    run()
    (alone,) = _packs(home)
    assert alone.read_bytes() == together[alone.name]


def test_other_settings_or_weights_make_another_pack(run, home, show):
    run()
    report = run(recipe=replace(RECIPE, windows=1))
    assert [(shot.state, shot.windows) for shot in report.shots] == [("updated", 1)] * 2
    assert len(_packs(home)) == 2


def test_a_short_shot_gives_fewer_windows_than_the_recipe_allows(run, show):
    assert [shot.windows for shot in run(recipe=replace(RECIPE, windows=50)).shots] == [4, 4]


def test_a_shot_that_was_moved_is_unchanged(run, home, show, tmp_path):
    run()
    (tmp_path / "archive").mkdir()
    moved = [shutil.move(shot.folder, tmp_path / "archive" / shot.name) for shot in show]
    assert [shot.state for shot in run(sources=[tmp_path / "archive"]).shots] == ["unchanged"] * len(moved)


def test_one_bad_shot_is_reported_with_its_line_and_the_rest_goes_on(run, show):
    text = show[0].approved_file.read_bytes()
    show[0].approved_file.write_bytes(text[: len(text) // 2])
    report = run()
    assert [shot.name for shot in report.shots] == ["sh002"]
    (bad,) = report.rejected
    assert bad.where == str(show[0].folder)
    assert isinstance(bad.line, int)
    assert str(bad.line) in bad.reason


def test_a_shot_that_broke_keeps_its_former_pack(run, home, show):
    run()
    before = _packs(home)
    show[0].approved_file.write_text("Roto {")
    assert "the shot's former pack stays as it was" in _reasons(run())
    assert _packs(home) == before


def test_a_script_without_roto_is_reported(run, show):
    show[0].approved_file.write_text("Blur {\n size 3\n}\n")
    assert "no roto node" in _reasons(run())


def test_damaged_and_missing_frames_are_reported_and_the_shot_is_used(run, show):
    (show[0].folder / "plate.1003.exr").write_bytes(b"x" * 300)
    (show[0].folder / "plate.1006.exr").unlink()
    shot = run().shots[0]
    assert (shot.name, shot.windows) == ("sh001", 2)
    assert [problem.split(":")[0] for problem in shot.problems] == ["frame 1003", "frame 1006"]


def test_mixed_resolutions_reject_the_shot_and_name_the_frames(run, show):
    for frame in (1005, 1006, 1007):
        write_exr(show[1].folder / f"plate.{frame}.exr", np.zeros((56, 80, 3), np.float32))
    report = run()
    assert [shot.name for shot in report.shots] == ["sh001"]
    assert "80x56 float on 1005-1007" in _reasons(report)


def test_a_shot_may_be_a_movie(run, show):
    for path in show[0].folder.glob("*.exr"):
        path.unlink()
    writer = cv2.VideoWriter(
        str(show[0].folder / "sh001_v001.mov"), cv2.VideoWriter.fourcc(*"mp4v"), 24.0, (72, 56)
    )
    for level in range(9):
        writer.write(np.full((56, 72, 3), 20 * level, np.uint8))
    writer.release()
    shot = run(reading=Reading(movie_start=1001)).shots[0]
    assert (shot.name, shot.frames, shot.windows, shot.problems) == ("sh001", 9, 2, ())


def test_a_shape_with_an_expression_is_skipped_with_the_reason(run, home, show):
    show[0].approved_file.write_bytes(_with_expression(show[0].approved_file.read_bytes()))
    report = run()
    assert [shot.name for shot in report.shots] == ["sh002"]
    assert "no training window" in _reasons(report)
    assert "expression" in _reasons(report)


def test_other_shapes_of_a_script_with_a_bad_one_are_used(run, home, show):
    approved = nuke.loads(show[0].approved_file.read_bytes(), height=56).shapes
    (good,) = approved.shapes
    open_one = replace(good, name="hair", path="", closed=False)
    still = Shape.from_keys("still", [1001], good.controls[:1])
    show[0].approved_file.write_bytes(nuke.dumps(replace(approved, shapes=(good, open_one, still))))
    shot = run().shots[0]
    assert shot.windows == 2
    skipped = {shape.path.split("/")[-1].split(":")[-1]: shape.skipped for shape in shot.shapes}
    assert skipped[good.name] is None
    assert "open spline" in skipped["hair"]
    assert "keys on 1 frame" in skipped["still"]


def test_shapes_may_come_as_json(run, show):
    show[0].approved_file.unlink()
    show[0].truth_file.rename(show[0].folder / "shapes.json")
    assert [shot.name for shot in run().shots] == ["sh001", "sh002"]


@pytest.mark.parametrize("ending", [".gizmo", ".fxs"])
def test_shapes_may_come_in_any_artists_format(run, show, ending):
    scripts = [shot.folder / "shapes.nk" for shot in show]
    for script in scripts:
        convert(script, script.with_suffix(ending))
        script.unlink()
    report = run()
    assert (report.rejected, report.shapes, report.keyframes) == ((), 2, 18)


def test_shapes_for_pictures_of_another_size_are_refused_unless_the_plate_is_trusted(run, show):
    for shot in show:
        drawn = roto_json.loads(shot.truth_file.read_text())
        shot.approved_file.write_bytes(nuke.dumps(replace(drawn, width=1920, height=1080)))
    assert _reasons(run()).count("for pictures of 1920x1080, the plate has 72x56") == 2
    assert len(run(reading=Reading(trust_plate_size=True)).shots) == 2


def test_only_the_file_called_shapes_is_taken_among_several(run, show):
    show[0].approved_file.rename(show[0].folder / "roto_v002.nk")
    report = run()
    assert [shot.name for shot in report.shots] == ["sh002"]
    assert "several shape files (artist.nk, roto_v002.nk)" in _reasons(report)


def test_folders_that_are_no_shot_say_what_they_lack(run, show, tmp_path):
    (tmp_path / "show" / "notes").mkdir()
    for path in show[0].folder.glob("*.nk"):
        path.unlink()
    show[0].truth_file.unlink()
    for path in show[1].folder.glob("*.exr"):
        path.unlink()
    reasons = _reasons(run())
    assert "there are plates but no shapes" in reasons
    assert "there are shapes (shapes.nk) but no plate files" in reasons
    assert "notes" not in reasons


def test_a_folder_with_two_plates_lists_them(run, show):
    for frame in (1001, 1002):
        write_exr(show[0].folder / f"clean.{frame}.exr", np.zeros((56, 72, 3), np.float32))
    assert "2 sequences: clean.%04d.exr 1001-1002; plate.%04d.exr 1001-1009" in _reasons(run())


def test_a_prediction_is_not_taken_for_approved_work(run, show):
    shapes = roto_json.loads(show[0].truth_file.read_text())
    (shape,) = shapes.shapes
    guessed = replace(shape, key_sources=("artist",) + ("predicted",) * 8, key_confidence=np.full(9, 0.5))
    show[0].approved_file.unlink()
    (show[0].folder / "shapes.json").write_text(roto_json.dumps(replace(shapes, shapes=(guessed,))))
    assert "its keys are predicted" in _reasons(run())
    named = nuke.loads(nuke.dumps(shapes, "Roto1_fedroto"), height=56).shapes.shapes[0]
    assert "predicted" in unusable_reason(
        named, ArrayFrames([np.zeros((56, 72, 3), np.uint8)] * 9, first_frame=1001)
    )


def test_a_shot_of_another_show_is_rejected_and_a_prefix_makes_it_another_shot(run, home):
    run()
    report = run(show_name="other")
    assert report.shots == ()
    assert _reasons(report).count("belongs to show 'kelp' for ever") == 2
    prefixed = run(show_name="other", prefix="other_")
    assert [shot.name for shot in prefixed.shots] == ["other_sh001", "other_sh002"]
    assert len(_packs(home)) == 4


def test_the_same_shot_name_in_two_folders_is_used_once(run, show, tmp_path):
    shutil.copytree(show[0].folder, tmp_path / "show" / "redelivery" / "sh001")
    report = run()
    assert sorted(shot.name for shot in report.shots) == ["sh001", "sh002"]
    assert "shot 'sh001' was found at" in _reasons(report)


@pytest.mark.parametrize("moment", ["write_pack", "record"])
def test_an_ingest_that_dies_leaves_whole_packs_only_and_can_run_again(run, home, moment, monkeypatch):
    with monkeypatch.context() as patched:
        if moment == "write_pack":
            patched.setattr(cutting, "write_pack", _dies)
        else:
            patched.setattr(Catalogue, "record", _dies)
        with pytest.raises(KeyboardInterrupt):
            run()
    (home / "packs").mkdir(mode=0o700, exist_ok=True)
    (home / "packs" / ".fedroto-tmp-sh001.safetensors-00").write_bytes(b"half")
    with Catalogue.open(home) as catalogue:
        assert catalogue.packs() == ()
    assert [shot.state for shot in run().shots] == ["new", "new"]
    with Catalogue.open(home) as catalogue:
        assert sorted(pack.path for pack in catalogue.packs()) == _packs(home)


@pytest.mark.long
def test_an_ingest_killed_at_any_moment_resumes_with_nothing_lost_or_doubled(
    run, home, show, tmp_path, small_weights
):
    run()
    whole = {path.name: path.read_bytes() for path in _packs(home)}
    code = (
        "import sys; from pathlib import Path; from studio_node.ingest import ingest; "
        "from studio_node.shot_windows import CutRecipe; home, source, weights = map(Path, sys.argv[1:4]); "
        "workers = int(sys.argv[4]); "
        "print('ready', flush=True); "
        "[ingest(home, [source], 'kelp', recipe=CutRecipe(2, (2, 6)), weights=weights, force=True, workers=workers) "
        "for _ in range(99)]"
    )
    for kill in range(20):
        command = [
            sys.executable,
            "-c",
            code,
            str(home),
            str(tmp_path / "show"),
            str(small_weights),
            str(1 + kill % 2),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout.readline()
        time.sleep(0.3 * kill if kill % 2 else 0.05 * kill)  # worker processes need a while to start
        process.kill()
        process.wait()
        assert len(run().shots) == 2
        assert {path.name: path.read_bytes() for path in _packs(home)} == whole


def _dies(*_args, **_options):
    raise KeyboardInterrupt


def test_a_pack_that_was_deleted_is_cut_again(run, home):
    run()
    _packs(home)[0].unlink()
    assert sorted(shot.state for shot in run().shots) == ["unchanged", "updated"]
    assert len(_packs(home)) == 2


def test_a_second_ingest_at_the_same_time_is_refused(run, home):
    with (home / LOCK_FILE).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(IngestError, match="another ingest is running"):
            run()
    assert len(run().shots) == 2


def test_a_show_without_consent_is_noted(run, home):
    assert "is unknown" in run().notes[0]
    settings = 'name = "north"\nfederation = "fed"\n'
    (home / "studio.toml").write_text(settings)
    assert "no consent" in run().notes[0]
    (home / "studio.toml").write_text(settings + "[shows.kelp]\ntraining_allowed = true\n")
    assert run().notes == ()


@pytest.mark.parametrize("name", ["", "../other", "a b", "x" * 64])
def test_a_show_name_that_settings_could_not_hold_is_refused(run, name):
    with pytest.raises(IngestError, match="cannot name a show"):
        run(show_name=name)


def test_a_source_that_is_no_folder_is_an_error(run, tmp_path):
    with pytest.raises(IngestError, match="is no folder"):
        run(sources=[tmp_path / "nowhere"])


def test_a_home_that_is_not_there_is_an_error(show, tmp_path, small_weights):
    with pytest.raises(IngestError, match="is no studio home"):
        ingest(tmp_path / "nowhere", [tmp_path / "show"], "kelp", weights=small_weights)


def test_frames_outside_keys_lifetime_and_visibility_count_nothing():
    controls = np.zeros((2, 4, 3, 2))
    controls[:, :, 1] = [[0, 0], [20, 0], [20, 20], [0, 20]]
    controls[1, :, 1, 0] += 8
    visible = Keyed(np.array([0.0, 6.0]), np.array([1.0, 0.0]), np.zeros(2), np.zeros(2))
    frames = ArrayFrames([np.zeros((32, 48, 3), np.uint8)] * 12, first_frame=0)
    weights = {}
    for name, lifetime in {
        "always": Lifetime(),
        "range": Lifetime(4, 7),
        "hidden": Lifetime(visibility=visible),
    }.items():
        shape = Shape.from_keys("box", [2, 10], controls, kind="polygon", lifetime=lifetime)
        truth, weight = approved_outlines(shape, frames)
        assert truth.shape == (12, 4, 2)
        weights[name] = weight.tolist()
        np.testing.assert_allclose(truth[6, 0], shape.at(6)[0, 1])
    key = KEY_WEIGHT
    assert weights["always"] == [0, 0, key, 1, 1, 1, 1, 1, 1, 1, key, 0]
    assert weights["range"] == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]
    assert weights["hidden"] == [0, 0, key, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_a_shape_keyed_outside_the_plate_says_so():
    controls = np.zeros((2, 3, 3, 2))
    controls[:, :, 1] = [[0, 0], [20, 0], [20, 20]]
    shape = Shape.from_keys("a", [1, 20], controls)
    frames = ArrayFrames([np.zeros((32, 48, 3), np.uint8)] * 3, first_frame=1001)
    assert "keys 1-20 lie outside the plate 1001-1003" in unusable_reason(shape, frames)
