import sqlite3

import pytest

from aggregator.database import open_database, writing
from federation.errors import FedrotoError

SCHEMA = "CREATE TABLE IF NOT EXISTS t (x INTEGER) STRICT;"


def insert(connection, path, *values):
    with writing(connection, path):
        for value in values:
            if isinstance(value, BaseException):
                raise value
            connection.execute("INSERT INTO t VALUES (?)", (value,))


def test_a_commit_is_on_the_disk_when_it_returns(tmp_path):
    connection = open_database(tmp_path / "a.sqlite", SCHEMA)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_a_transaction_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.sqlite"
    connection = open_database(path, SCHEMA)
    with writing(connection, path):
        connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(FedrotoError, match=r"a\.sqlite"):
        insert(connection, path, 2, "no number")
    with pytest.raises(KeyboardInterrupt):
        insert(connection, path, 3, KeyboardInterrupt())
    assert connection.execute("SELECT x FROM t").fetchall() == [(1,)]
    connection.close()


def test_a_writer_that_holds_the_file_too_long_is_an_error_and_not_a_hang(tmp_path, monkeypatch):
    monkeypatch.setattr("aggregator.database.BUSY_S", 0.05)
    path = tmp_path / "a.sqlite"
    first, second = open_database(path, SCHEMA), open_database(path, SCHEMA)
    first.execute("BEGIN EXCLUSIVE")
    with pytest.raises(FedrotoError, match="locked"), writing(second, path):
        pass
    first.close()
    second.close()


def test_a_file_that_is_no_database_says_so(tmp_path):
    (tmp_path / "a.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(FedrotoError, match="not a database"):
        open_database(tmp_path / "a.sqlite", SCHEMA)
    with pytest.raises(sqlite3.Error):
        sqlite3.connect(tmp_path / "a.sqlite").execute("SELECT * FROM t")
