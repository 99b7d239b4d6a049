"""Clips to measure on: real layout and written shots, groups by manifest, `fedroto model` on them."""

import json

import cv2
import numpy as np
import pytest

from federation.cli import main as cli
from federation.errors import IngestError
from model.evaluation import measure
from model.formats import roto_json
from model.methods import CLASSICAL
from model.rasteriser import coverage
from studio_node.clip_folders import clip_names, read_clips


@pytest.fixture
def clips(tmp_path):
    """Two clips of a moving square in the layout of DAVIS, one of them with masks."""
    folder = tmp_path / "clips"
    for name in ("plain", "masked"):
        (folder / name / "frames").mkdir(parents=True)
        square = np.array([[9.5, 9.5], [29.5, 9.5], [29.5, 29.5], [9.5, 29.5]])
        shapes = []
        for t in range(5):
            shape = square + np.array([2.0 * t, t])
            picture = np.full((48, 64, 3), 60, np.uint8)
            cv2.fillPoly(picture, [shape.astype(np.int32)], (200, 180, 40))
            cv2.imwrite(str(folder / name / "frames" / f"{t:05d}.png"), picture)
            if name == "masked":
                (folder / name / "masks").mkdir(exist_ok=True)
                matte = coverage(shape + 0.5, 48, 64) > 0.5
                cv2.imwrite(str(folder / name / "masks" / f"{t:05d}.png"), 255 * matte.astype(np.uint8))
            shapes.append(shape.tolist())
        clip = {
            "name": name,
            "width": 64,
            "height": 48,
            "convention": "pixel centre at integer",
            "shapes": shapes,
        }
        (folder / name / "shapes.json").write_text(json.dumps(clip))
    manifest = {"clips": [{"name": "plain", "suitable": True}, {"name": "masked", "suitable": False}]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_real_clips_are_read_with_masks_groups_and_plate_pixels(clips):
    assert clip_names(clips) == ["masked", "plain"]
    masked, plain = read_clips(clips)
    assert (masked.group, plain.group) == ("hard", "suitable")
    assert plain.masks is None
    assert plain.outline[0, 0].tolist() == [10.0, 10.0]
    assert masked.masks(masked.frames.first_frame).sum() == 400
    (score,) = measure(masked, 4, {"smooth": CLASSICAL["smooth"]})
    assert score.mean_iou == pytest.approx(1)


def test_every_shape_of_a_written_shot_is_a_clip(show):
    found = list(read_clips(show[0].folder.parent))
    assert [clip.name for clip in found] == ["sh001/figure1", "sh002/figure1"]
    truth = roto_json.loads(show[0].truth_file.read_text()).shapes[0]
    assert np.allclose(found[0].outline[:, ::4], [truth.at(frame)[:, 1] for frame in truth.key_frames])


def test_what_is_no_clip_is_named(clips, tmp_path):
    with pytest.raises(IngestError, match="it has: masked, plain"):
        list(read_clips(clips, ["bear"]))
    with pytest.raises(IngestError, match="at all"):
        list(read_clips(tmp_path / "nothing"))
    (clips / "manifest.json").write_text("[]")
    with pytest.raises(IngestError, match="suitable"):
        list(read_clips(clips))


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs a command line in this process: exit code, output."""

    def run(*words):
        monkeypatch.setattr("sys.argv", ["fedroto", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr()

    return run


def test_evaluate_and_compare_on_a_folder_go_on_past_a_bad_clip(show, small_weights, tmp_path, run):
    folder = show[0].folder.parent
    (folder / "sh002" / "truth.json").write_text("{}")
    code, said = run(
        "model", "evaluate", small_weights, "--clips", folder, "--gaps", "4,50", "--keys", "--json"
    )
    assert code == 0, said.err
    result = json.loads(said.out)
    assert {row["method"] for row in result["scores"]} == {"smooth", "track", "planar", "flow", "model"}
    played = result["keys"]["sh001/figure1"]
    classical = {"smooth", "track", "planar", "flow"}
    assert set(played) == classical | {"model", "model, suggested", "model, halving"}
    assert all(0 <= len(one["keys"]) - 2 <= one["looks"] for one in played.values())
    assert set(result["skipped"]) == {"sh002", "sh001/figure1 at gap 50"}

    page = tmp_path / "page.html"
    shown = [small_weights, small_weights, folder, "--gaps", "4", "-o", page]
    code, said = run("model", "compare", *shown)
    assert code == 0, said.err
    assert "left out: sh002" in said.out
    html = page.read_text()
    assert html.count("<figure>") >= 1
    assert "both are far off: sh001/figure1" in html
    assert "B is worse: " not in html  # they are the same
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("words", "said"), [(["--gaps", "x"], "whole numbers"), (["--clips", "nowhere"], "no clips")]
)
def test_wrong_gaps_and_folders_are_refused(small_weights, run, words, said):
    code, output = run("model", "evaluate", small_weights, "--clips", "procedural", *words)
    assert code == 2
    assert said in output.err
