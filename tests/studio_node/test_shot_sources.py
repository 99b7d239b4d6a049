import sys
import textwrap

import pytest

from federation.errors import IngestError
from model.formats import roto_json
from studio_node.catalogue import Catalogue
from studio_node.ingest import ingest
from studio_node.shot_sources import SourcedShot, load_source, shots_from
from studio_node.shot_windows import CutRecipe


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def database(show):
    """What a studio's database might hand out: shapes as values, plates by pattern."""

    def shots(name):
        assert name == "kelp"
        for shot in show:
            yield SourcedShot(shot.name, shot.plate, roto_json.loads(shot.truth_file.read_text()))

    return shots


def test_shapes_from_a_database_are_ingested_like_files_and_kept_private(home, database, small_weights):
    options = {"recipe": CutRecipe(windows=2, gaps=(2, 6)), "weights": small_weights, "source": database}
    report = ingest(home, [], "kelp", **options)
    assert [(shot.name, shot.state, shot.windows) for shot in report.shots] == [
        ("sh001", "new", 2),
        ("sh002", "new", 2),
    ]
    kept = home / "imported" / "kelp" / "sh001.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    with Catalogue.open(home) as catalogue:
        assert catalogue.pack_of("sh001").shapes_file == str(kept)
    before = kept.stat().st_mtime_ns
    assert {shot.state for shot in ingest(home, [], "kelp", **options).shots} == {"unchanged"}
    assert kept.stat().st_mtime_ns == before


def test_a_shot_that_cannot_be_is_reported_and_the_rest_goes_on(home, show, tmp_path):
    def shots(_):
        yield SourcedShot("../escape", show[0].plate, show[0].approved_file)
        yield SourcedShot("gone", tmp_path / "nowhere.%04d.exr", show[0].approved_file)
        yield SourcedShot("sh001", show[0].plate, show[0].approved_file)
        yield SourcedShot("sh001", show[1].plate, show[1].approved_file)

    found, rejected = shots_from(shots, "kelp", home, prefix="k_")
    assert [shot.name for shot in found] == ["k_sh001"]
    reasons = " | ".join(one.reason for one in rejected)
    assert "cannot name a shot" in reasons
    assert "no file matches" in reasons
    assert "named twice" in reasons


def test_a_dry_run_keeps_nothing_of_what_a_hook_names(home, database, small_weights):
    report = ingest(home, [], "kelp", weights=small_weights, source=database, dry_run=True)
    assert [(shot.name, shot.state) for shot in report.shots] == [("sh001", "new"), ("sh002", "new")]
    assert list(home.iterdir()) == []


def test_a_shot_that_a_folder_and_a_hook_both_name_is_taken_from_the_folder(
    home, database, show, small_weights
):
    report = ingest(home, [show[0].folder], "kelp", weights=small_weights, source=database, dry_run=True)
    assert sorted(shot.name for shot in report.shots) == ["sh001", "sh002"]
    assert "a folder holds a shot of this name" in report.rejected[0].reason


def test_a_hook_that_fails_says_where(home, show):
    def shots(_):
        yield SourcedShot("sh001", show[0].plate, show[0].approved_file)
        raise ConnectionError("the database is down")

    with pytest.raises(IngestError, match="failed after 1 shots: ConnectionError: the database is down"):
        shots_from(shots, "kelp", home)


def test_a_hook_is_found_by_module_and_function(tmp_path, monkeypatch):
    (tmp_path / "studio_pipeline.py").write_text(
        textwrap.dedent("""
            NUMBER = 3
            def shots(show):
                return []
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert list(load_source("studio_pipeline:shots")("kelp")) == []
    for name, said in {
        "studio_pipeline:absent": "no attribute 'absent'",
        "no_such_module:shots": "No module named",
        "studio_pipeline:NUMBER": "is no function but a int",
        "unregistered": "no import hook 'unregistered'",
    }.items():
        with pytest.raises(IngestError, match=said):
            load_source(name)
    sys.modules.pop("studio_pipeline", None)
