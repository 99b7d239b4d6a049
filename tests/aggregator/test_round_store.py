import dataclasses
import errno
import os
import stat

import numpy as np
import pytest

from aggregator.round_events import StudioNode
from aggregator.round_state import Pending, Phase, Standing, Turn, open_round
from aggregator.round_store import RoundRecord, RoundStore, UsedUpdate
from federation.durable import TEMPORARY_PREFIX
from federation.errors import RoundError
from federation.messages import SignedUpdate, TrainUpdate
from federation.model_spec import packed_digest

WEIGHTS = np.linspace(-3, 3, 50, dtype=np.float32)
UPDATE = TrainUpdate(WEIGHTS / 8, "a" * 64, 12, "b" * 64)
SIGNED = SignedUpdate(UPDATE, bytes(range(96)))


@pytest.fixture
def store(tmp_path):
    return RoundStore(tmp_path / "spring")


def record(**changes):
    state = open_round(2, studios=("ash", "birch"), quorum=1, now=1000.25, deadline_s=60)
    state = dataclasses.replace(
        state,
        phase=Phase.OPEN,
        turns={
            "ash": Turn(
                Standing.ASKED, pending=(Pending("1.2.abc", 2**63 + 5, 1001.5),), asks=1, asked_at=1001.5
            ),
            "birch": Turn(Standing.REJECTED, reason="norm: too long", was_online=True),
        },
        late={"ash": Turn(Standing.ACCEPTED, size_bytes=9)},
    )
    return dataclasses.replace(RoundRecord(2, "c" * 64, state), **changes)


def test_what_is_written_is_read_back_equal(store):
    used = (UsedUpdate("ash", 1, "d" * 64),)
    written = record(attempt=3, used=used, weights_digest="e" * 64)
    store.write_record(written)
    assert RoundStore(store.folder).read_record(2) == written


def test_the_roster_is_not_stored(store):
    state = dataclasses.replace(record().state, nodes=(StudioNode("ash", 1, True, 5.0),))
    store.write_record(record(state=state))
    assert store.read_record(2) == record()


def test_updates_are_read_back_bit_by_bit_with_the_digest_of_their_file(store):
    store.write_record(record())
    size_bytes = store.write_update(2, 2, "ash", SIGNED)
    store.write_update(2, 1, "birch", SIGNED)
    update, digest = store.read_update(2, 2, "ash")
    np.testing.assert_array_equal(update.update, UPDATE.update)
    assert (store.folder / "round_0002" / "update_ash.signature").read_bytes() == SIGNED.signature
    assert (update.ledger_sequence, update.ledger_hash) == (12, "b" * 64)
    assert digest == store.read_update(2, 1, "birch")[1]
    assert store.stored_updates(2) == {("ash", 2): size_bytes, ("birch", 1): size_bytes}
    assert store.stored_updates(3) == {}


def test_weights_are_read_back_bit_by_bit(store):
    store.write_weights(0, WEIGHTS)
    np.testing.assert_array_equal(store.read_weights(0, packed_digest(WEIGHTS)), WEIGHTS)
    assert store.read_weights(1) is None
    assert store.read_record(1) is None


def test_files_are_private(store):
    store.write_record(record())
    store.write_update(2, 2, "ash", SIGNED)
    store.write_weights(2, WEIGHTS)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in store.folder.rglob("*")}
    assert modes.pop("round_0002") == 0o700
    assert set(modes.values()) == {0o600}


def test_leftovers_of_a_killed_process_are_removed(store):
    store.write_record(record())
    for folder in (store.folder, store.folder / "round_0002"):
        (folder / f"{TEMPORARY_PREFIX}round.json-123").write_text("half")
    RoundStore(store.folder)
    assert not list(store.folder.rglob(f"{TEMPORARY_PREFIX}*"))


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
@pytest.mark.parametrize("name", ["round.json", "update_ash.frame", "weights.safetensors"])
def test_a_damaged_file_is_named_and_not_believed(store, name, cut):
    store.write_record(record())
    store.write_update(2, 2, "ash", SIGNED)
    store.write_weights(2, WEIGHTS)
    path = store.folder / "round_0002" / name
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RoundError, match=rf"{name.replace('.', '.')} is damaged") as caught:
        {
            "round.json": lambda: store.read_record(2),
            "update_ash.frame": lambda: store.read_update(2, 2, "ash"),
            "weights.safetensors": lambda: store.read_weights(2),
        }[name]()
    assert "round_0002" in (caught.value.hint or "")


def test_weights_that_were_exchanged_or_flipped_are_noticed(store):
    store.write_weights(0, WEIGHTS)
    with pytest.raises(RoundError, match="damaged"):
        store.read_weights(0, "f" * 64)
    path = store.folder / "round_0000" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(RoundError, match="damaged"):
        store.read_weights(0)


def test_a_round_file_of_another_round_is_not_taken(store):
    store.write_record(record())
    (store.folder / "round_0003").mkdir()
    (store.folder / "round_0002" / "round.json").rename(store.folder / "round_0003" / "round.json")
    with pytest.raises(RoundError, match="of round 2"):
        store.read_record(3)


def test_a_file_that_is_too_large_is_not_read(store):
    store.write_record(record())
    (store.folder / "round_0002" / "round.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(RoundError, match="more than"):
        store.read_record(2)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_read_only_folder_or_a_full_disk_is_a_round_error_with_the_path_and_leaves_nothing(
    store, monkeypatch, code
):
    store.write_record(record())
    before = sorted(store.folder.rglob("*"))

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as local:
        local.setattr(os, "fsync", refuse)
        with pytest.raises(RoundError, match=rf"update_ash\.signature: {os.strerror(code)}") as caught:
            store.write_update(2, 2, "ash", SIGNED)
    assert "what studios have sent is kept" in (caught.value.hint or "")
    assert sorted(store.folder.rglob("*")) == before


def test_a_folder_that_cannot_be_made_is_a_round_error(tmp_path):
    (tmp_path / "campaigns").write_text("a file")
    with pytest.raises(RoundError, match="campaigns"):
        RoundStore(tmp_path / "campaigns" / "spring")
