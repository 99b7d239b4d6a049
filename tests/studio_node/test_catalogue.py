import datetime
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from federation.config import ShowConsent
from federation.errors import IngestError
from studio_node import catalogue_schema
from studio_node.catalogue import CATALOGUE_FILE, Catalogue, PackEntry, ShapeEntry
from studio_node.catalogue_search import ShotQuery, find_shots_like, shot_history, show_rows, statistics

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
SHAPES = (
    ShapeEntry("Roto1:Root/arm", "bezier", 12, 5, 3),
    ShapeEntry("Roto1:Root/leg", "bezier", 9, 1, 0, "one key"),
)


def _pack(home: Path, shot: str = "sh010", show: str = "kelp", name: str = "", **changes) -> PackEntry:
    path = home / "packs" / (name or f"{shot}.safetensors")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"pack")
    entry = PackEntry(
        shot, show, path, "e" * 64, "windows/1", "f" * 64, 3, 4, "/p/plate.%04d.exr", "/p/shapes.nk", 1001, 1040, 64, 48
    )  # fmt: skip
    return replace(entry, **changes)


def test_what_is_recorded_comes_back(tmp_path):
    pack = _pack(tmp_path)
    with Catalogue.open(tmp_path) as catalogue:
        assert catalogue.pack_of("sh010") is None
        assert catalogue.record(pack, SHAPES, now=NOW) is None
    with Catalogue.open(tmp_path) as catalogue:
        assert catalogue.packs() == (pack,)
        assert catalogue.pack_of("sh010") == pack
        assert catalogue.shapes("sh010") == SHAPES
        assert catalogue.packs(show="other") == ()


def test_the_catalogue_is_private_to_its_user_and_keeps_no_second_journal(tmp_path):
    with Catalogue.open(tmp_path) as catalogue:
        catalogue.record(_pack(tmp_path), (), now=NOW)
    assert (tmp_path / CATALOGUE_FILE).stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*-wal"))


def test_a_shot_that_is_ingested_again_keeps_its_id_and_gives_up_its_old_pack(tmp_path):
    old, new = _pack(tmp_path, name="old.safetensors"), _pack(tmp_path, name="new.safetensors", windows=9)
    with Catalogue.open(tmp_path) as catalogue:
        catalogue.record(old, SHAPES, now=NOW)
        assert catalogue.record(new, SHAPES[:1], now=NOW) == old.path
        assert catalogue.record(new, SHAPES[:1], now=NOW) is None
        assert catalogue.packs() == (new,)
        assert catalogue.shapes("sh010") == SHAPES[:1]


def test_a_shot_belongs_to_one_show_for_ever(tmp_path):
    with Catalogue.open(tmp_path) as catalogue:
        catalogue.record(_pack(tmp_path), SHAPES, now=NOW)
        with pytest.raises(IngestError, match="belongs to show 'kelp' for ever"):
            catalogue.record(_pack(tmp_path, show="other"), (), now=NOW)
        assert catalogue.pack_of("sh010").show == "kelp"


def test_a_shot_keeps_one_spelling(tmp_path):
    with Catalogue.open(tmp_path) as catalogue:
        catalogue.record(_pack(tmp_path), SHAPES, now=NOW)
        with pytest.raises(IngestError, match="in the catalogue as 'sh010'"):
            catalogue.check_shot("SH010", "kelp")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE shots SET show = 'other'",
        "UPDATE shots SET id = 'sh011'",
        "DELETE FROM shots",
        "INSERT OR REPLACE INTO shots VALUES ('sh010', 'kelp', 0)",
    ],
)
def test_the_database_itself_refuses_to_move_a_shot(tmp_path, statement):
    with Catalogue.open(tmp_path) as catalogue:
        catalogue.record(_pack(tmp_path), (), now=NOW)
    connection = sqlite3.connect(tmp_path / CATALOGUE_FILE)
    connection.execute("PRAGMA recursive_triggers=ON")
    with pytest.raises(sqlite3.IntegrityError, match="for ever"):
        connection.execute(statement)
    connection.close()


def test_a_failed_entry_leaves_the_former_one(tmp_path):
    good = _pack(tmp_path)
    with Catalogue.open(tmp_path) as catalogue:
        catalogue.record(good, SHAPES, now=NOW)
        with pytest.raises(IngestError, match="cannot be used"):
            catalogue.record(_pack(tmp_path, name="b.safetensors"), SHAPES + SHAPES[:1], now=NOW)
        assert catalogue.packs() == (good,)
        assert catalogue.shapes("sh010") == SHAPES


@pytest.mark.parametrize(
    ("consent", "trained"),
    [
        (None, False),
        (ShowConsent(), False),
        (ShowConsent(training_allowed=True), True),
        (ShowConsent(training_allowed=True, allowed_until=datetime.date(2026, 3, 1)), True),
        (ShowConsent(training_allowed=True, allowed_until=datetime.date(2026, 2, 28)), False),
    ],
)
def test_only_shows_with_consent_today_are_trained_on(tmp_path, consent, trained):
    pack = _pack(tmp_path)
    shows = {"other": ShowConsent(training_allowed=True)} | ({"kelp": consent} if consent else {})
    with Catalogue.open(tmp_path) as catalogue:
        catalogue.record(pack, SHAPES, now=NOW)
        assert catalogue.trainable_shots(shows, NOW) == ((pack,) if trained else ())


def test_consent_runs_in_whole_days_of_utc(tmp_path):
    shows = {"kelp": ShowConsent(training_allowed=True, allowed_until=datetime.date(2026, 3, 1))}
    west = datetime.timezone(datetime.timedelta(hours=-8))
    with Catalogue.open(tmp_path) as catalogue:
        catalogue.record(_pack(tmp_path), (), now=NOW)
        assert catalogue.trainable_shots(shows, datetime.datetime(2026, 3, 1, 15, tzinfo=west))
        assert not catalogue.trainable_shots(shows, datetime.datetime(2026, 3, 1, 17, tzinfo=west))


def test_deleting_a_pack_file_withdraws_its_shot(tmp_path):
    shows = {"kelp": ShowConsent(training_allowed=True)}
    kept, withdrawn = _pack(tmp_path), _pack(tmp_path, "sh020")
    with Catalogue.open(tmp_path) as catalogue:
        for pack in (kept, withdrawn):
            catalogue.record(pack, (), now=NOW)
        withdrawn.path.unlink()
        assert catalogue.trainable_shots(shows, NOW) == (kept,)


def test_a_damaged_or_foreign_file_is_refused_and_kept(tmp_path):
    path = tmp_path / CATALOGUE_FILE
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(IngestError, match="cannot be used"):
        Catalogue.open(tmp_path)
    assert path.read_bytes().startswith(b"this is no database")
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=7")
    connection.close()
    with pytest.raises(IngestError, match="has version 7, this fedroto has 2"):
        Catalogue.open(tmp_path)


def test_a_catalogue_of_the_first_version_is_carried_over_and_its_shots_count_as_trained(tmp_path):
    connection = sqlite3.connect(tmp_path / CATALOGUE_FILE, isolation_level=None)
    for statement in catalogue_schema.FIRST:
        connection.execute(statement)
    connection.execute("INSERT INTO shows VALUES ('kelp', 7)")
    connection.execute("INSERT INTO shots VALUES ('sh010', 'kelp', 7)")
    connection.execute(
        "INSERT INTO packs VALUES ('sh010', 'a.safetensors', 'e', 'r', 'f', 3, 4, 'p', 's', 1, 2, 64, 48, 8)"
    )
    connection.execute("PRAGMA user_version=1")
    connection.close()
    with Catalogue.open(tmp_path) as catalogue:
        assert catalogue.pack_of("sh010").epoch == "e"
        assert catalogue.read("SELECT * FROM trained") == [("sh010", 7)]
        assert catalogue.read("SELECT shot, epoch, windows, made_at FROM versions") == [("sh010", "e", 3, 8)]


def test_every_ingest_adds_a_version_and_none_is_ever_forgotten(tmp_path):
    with Catalogue.open(tmp_path) as catalogue:
        for epoch in ("a", "b"):
            catalogue.record(_pack(tmp_path, epoch=epoch * 64), SHAPES, now=NOW)
        history = shot_history(catalogue, "sh010")
        assert [version.epoch[0] for version in history.versions] == ["a", "b"]
        assert (history.shot.versions, history.shot.shapes, history.shot.skipped, history.shot.keyframes) == (
            2,
            1,
            1,
            5,
        )
        with pytest.raises(IngestError, match="never unsaid"):
            catalogue.read("DELETE FROM versions")


def test_shots_are_found_by_what_is_known_of_them(tmp_path):
    other = (ShapeEntry("Roto1:Root/head", "bezier", 9, 20, 3),)
    with Catalogue.open(tmp_path) as catalogue:
        catalogue.record(_pack(tmp_path), SHAPES, now=NOW)
        catalogue.record(_pack(tmp_path, "sh020"), other, now=NOW)
        catalogue.record(_pack(tmp_path, "ab010", "other"), other, now=NOW)
        catalogue.mark_trained(["sh020"], NOW)

        def found(**query):
            return [row.shot_id for row in find_shots_like(catalogue, ShotQuery(**query))]

        assert found() == ["ab010", "sh010", "sh020"]
        assert found(name="SH*") == ["sh010", "sh020"]
        assert found(show="other") == ["ab010"]
        assert found(shape="HEAD") == ["ab010", "sh020"]
        assert found(keyframes_min=6, untrained=True) == ["ab010"]
        assert found(with_problems=True) == ["sh010"]


def test_shows_are_summed_up_with_their_consent(tmp_path):
    until = datetime.date(2026, 2, 28)
    shows = {
        "kelp": ShowConsent(training_allowed=True, allowed_by="contract 12"),
        "past": ShowConsent(training_allowed=True, allowed_until=until),
    }
    with Catalogue.open(tmp_path) as catalogue:
        catalogue.record(_pack(tmp_path), SHAPES, now=NOW)
        catalogue.record(_pack(tmp_path, "sh020"), SHAPES, now=NOW)
        rows = {row.name: row for row in show_rows(catalogue, shows)}
        kelp = rows["kelp"]
        assert (kelp.shots, kelp.shapes, kelp.keyframes, kelp.windows, kelp.frames) == (2, 2, 10, 6, 80)
        assert kelp.consent_text(NOW.date()) == "yes, by contract 12"
        assert rows["past"].consent_text(NOW.date()) == "ended 2026-02-28"
        assert statistics(catalogue).skipped == (("one key", 2),)


def test_a_home_that_is_not_there_says_how_to_make_one(tmp_path):
    with pytest.raises(IngestError, match="is no studio home") as caught:
        Catalogue.open(tmp_path / "nowhere")
    assert "studio init" in caught.value.hint
