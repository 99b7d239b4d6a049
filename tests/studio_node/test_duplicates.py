import datetime
import shutil
import sqlite3

import numpy as np
import pytest

from federation.config import ShowConsent
from federation.errors import IngestError
from studio_node.catalogue import CATALOGUE_FILE, Catalogue
from studio_node.cutting import Reading
from studio_node.duplicates import lookalikes, merge, tell_apart
from studio_node.ingest import ingest
from studio_node.pictures import read_pixels, write_exr
from studio_node.shot_windows import CutRecipe

NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
CONSENT = {"kelp": ShowConsent(training_allowed=True)}


@pytest.fixture
def run(tmp_path, show, small_weights):
    home = tmp_path / "home"
    home.mkdir()

    def run(**options):
        return ingest(
            home,
            [tmp_path / "show"],
            "kelp",
            recipe=CutRecipe(windows=2, gaps=(2, 6)),
            weights=small_weights,
            reading=Reading(),
            **options,
        )

    return run


@pytest.fixture
def redelivered(run, show, tmp_path):
    """``sh001`` and ``sh002``, and ``sh001_v2``: the first one graded anew."""
    folder = tmp_path / "show" / "sh001_v2"
    shutil.copytree(show[0].folder, folder)
    for path in sorted(folder.glob("*.exr")):
        write_exr(path, (read_pixels(path)[1] * np.float32(1.4)).astype(np.float32))
    report = run()
    assert [shot.name for shot in report.shots if shot.looks_like] == ["sh001_v2"]
    return tmp_path / "home"


def _trainable(catalogue):
    return [pack.shot_id for pack in catalogue.trainable_shots(CONSENT, NOW)]


def test_a_redelivery_is_proposed_and_neither_is_trained_on_until_a_person_decides(redelivered):
    with Catalogue.open(redelivered) as catalogue:
        (pair,) = lookalikes(catalogue)
        assert (pair.shot, pair.other, pair.trained) == ("sh001", "sh001_v2", ())
        assert pair.likeness > 0.6
        assert _trainable(catalogue) == ["sh002"]


def test_merged_shots_are_one_for_ever(redelivered, run, show):
    packs = set((redelivered / "packs").iterdir())
    with Catalogue.open(redelivered) as catalogue:
        merge(catalogue, "sh001", "SH001_V2", by="ann", now=NOW)
        assert lookalikes(catalogue) == ()
        assert _trainable(catalogue) == ["sh001", "sh002"]
        with pytest.raises(IngestError, match="was merged into 'sh001' already"):
            merge(catalogue, "sh002", "sh001_v2", by="ann", now=NOW)
        with pytest.raises(IngestError, match="stands for 'sh001_v2' too"):
            merge(catalogue, "sh002", "sh001", by="ann", now=NOW)
    assert len(packs - set((redelivered / "packs").iterdir())) == 1
    report = run()
    assert [shot.name for shot in report.shots] == ["sh001", "sh002"]
    assert "merged into 'sh001' by ann" in report.rejected[0].reason
    connection = sqlite3.connect(redelivered / CATALOGUE_FILE)
    with pytest.raises(sqlite3.IntegrityError, match="never unsaid"):
        connection.execute("DELETE FROM merges")
    connection.close()


def test_a_third_delivery_is_proposed_against_the_shot_that_was_kept(redelivered, run, show, tmp_path):
    with Catalogue.open(redelivered) as catalogue:
        merge(catalogue, "sh001", "sh001_v2", by="ann", now=NOW)
    shutil.copytree(show[0].folder, tmp_path / "show" / "sh001_v3")
    assert {shot.name: shot.looks_like for shot in run().shots if shot.looks_like} == {"sh001_v3": ("sh001",)}


def test_a_name_that_was_trained_on_is_never_given_up(redelivered):
    with Catalogue.open(redelivered) as catalogue:
        catalogue.mark_trained(["sh001_v2"], NOW)
        assert _trainable(catalogue) == ["sh001_v2", "sh002"]
        assert lookalikes(catalogue)[0].trained == ("sh001_v2",)
        with pytest.raises(IngestError, match="was trained on under its own name") as refused:
            merge(catalogue, "sh001", "sh001_v2", by="ann", now=NOW)
        assert "catalogue merge sh001_v2 sh001" in refused.value.hint
        assert catalogue.pack_of("sh001_v2") is not None
        merge(catalogue, "sh001_v2", "sh001", by="ann", now=NOW)
        assert _trainable(catalogue) == ["sh001_v2", "sh002"]


def test_shots_that_are_told_apart_are_both_trained_on_and_not_asked_about_again(redelivered, run):
    with Catalogue.open(redelivered) as catalogue:
        assert tell_apart(catalogue, "sh001_v2", "sh001", by="ann", now=NOW) == ("sh001", "sh001_v2")
        assert _trainable(catalogue) == ["sh001", "sh001_v2", "sh002"]
        with pytest.raises(IngestError, match="were not found to look alike"):
            tell_apart(catalogue, "sh001", "sh002", by="ann", now=NOW)
    run(force=True)
    with Catalogue.open(redelivered) as catalogue:
        assert lookalikes(catalogue) == ()


@pytest.mark.parametrize(
    ("kept", "given_up", "said"), [("sh001", "sh001", "into itself"), ("sh001", "x", "no shot 'x'")]
)
def test_a_merge_that_cannot_be_says_why(redelivered, kept, given_up, said):
    with Catalogue.open(redelivered) as catalogue, pytest.raises(IngestError, match=said):
        merge(catalogue, kept, given_up, by="ann", now=NOW)
