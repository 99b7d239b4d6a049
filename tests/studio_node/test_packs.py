from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from federation.errors import IngestError, LedgerError
from federation.plan import LedgerHead
from model.evidence import SpanEvidence, evidence_shapes
from model.windows import Window
from studio_node.ledger import Reservation
from studio_node.packs import PackHeader, PackReader, write_pack

DIGEST = "d" * 64


def _window(seed: int, frames: int = 3, samples: int = 8) -> Window:
    rng = np.random.default_rng(seed)
    arrays = {k: rng.random(s, dtype=np.float32) for k, s in evidence_shapes(frames, samples).items()}
    truth = rng.random((frames, samples, 2), dtype=np.float32)
    return Window(SpanEvidence(**arrays), truth, np.ones(frames, np.float32))


def _header(windows: int, **changes) -> PackHeader:
    return PackHeader(
        **{
            "shot": "sh010",
            "show": "kelp",
            "epoch": "e" * 64,
            "recipe": "r",
            "frozen_digest": DIGEST,
            "windows": windows,
        }
        | changes
    )


def _reservation(*shows: str) -> Reservation:
    return Reservation(LedgerHead(sequence=1, hash="a" * 64), shows or ("kelp",))


@pytest.fixture
def pack(tmp_path) -> Path:
    path = tmp_path / "packs" / "sh010.safetensors"
    write_pack(path, [_window(1), _window(2, frames=5)], _header(2))
    return path


def _open(path: Path, **changes) -> PackReader:
    return PackReader.open(path, _reservation(), **{"show": "kelp", "frozen_digest": DIGEST} | changes)


def test_windows_come_back_as_they_were_written(pack):
    reader = _open(pack)
    assert len(reader) == 2
    for read, written in zip(reader, [_window(1), _window(2, frames=5)], strict=True):
        for name, array in written.to_tensors().items():
            np.testing.assert_array_equal(read.to_tensors()[name], array)
    assert reader[-1].truth.shape[0] == 5
    assert len(reader[:1]) == 1
    with pytest.raises(IndexError):
        reader[2]


def test_a_pack_and_its_folder_are_private(pack):
    assert pack.stat().st_mode & 0o777 == 0o600
    assert pack.parent.stat().st_mode & 0o777 == 0o700
    assert list(pack.parent.iterdir()) == [pack]


def test_the_same_windows_give_the_same_bytes(pack):
    before = pack.read_bytes()
    assert write_pack(pack, [_window(1), _window(2, frames=5)], _header(2)) == len(before)
    assert pack.read_bytes() == before


@pytest.mark.parametrize(
    "proof", [None, object(), LedgerHead(sequence=1, hash="a" * 64), {"shows": ["kelp"]}]
)
def test_a_pack_is_not_opened_without_a_reservation(pack, proof):
    with pytest.raises(LedgerError, match="charge the round first"):
        PackReader.open(pack, proof, show="kelp", frozen_digest=DIGEST)


def test_a_pack_of_a_show_that_was_not_charged_is_not_opened(pack):
    reservation = _reservation("other")
    with pytest.raises(LedgerError, match="does not include show 'kelp'"):
        PackReader.open(pack, reservation, show="kelp", frozen_digest=DIGEST)
    assert not reservation.touched


def test_opening_a_pack_makes_the_charge_final(pack):
    reservation = _reservation()
    PackReader.open(pack, reservation, show="kelp", frozen_digest=DIGEST)
    assert reservation.touched


def test_a_pack_cut_with_other_frozen_weights_is_refused(pack):
    with pytest.raises(
        IngestError, match="cut with frozen weights dddddddddddd, the plan asks for 999999999999"
    ):
        _open(pack, frozen_digest="9" * 64)


def test_a_pack_of_another_show_than_the_catalogue_says_is_refused(tmp_path):
    path = tmp_path / "packs" / "a.safetensors"
    write_pack(path, [_window(1)], _header(1, show="other"))
    with pytest.raises(IngestError, match="of show 'other', the catalogue says 'kelp'"):
        _open(path)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.99])
def test_a_damaged_pack_is_refused(pack, keep):
    data = pack.read_bytes()
    pack.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(IngestError, match="cannot be used"):
        _open(pack)


def test_a_pack_that_is_gone_says_which(pack):
    pack.unlink()
    with pytest.raises(IngestError, match=r"sh010\.safetensors cannot be used"):
        _open(pack)


def test_a_foreign_safetensors_file_is_no_pack(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(IngestError, match="its header is not that of a pack"):
        _open(path)


def test_a_window_that_lost_an_array_is_refused(pack):
    with safetensors.safe_open(pack, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del tensors["w00001.truth"]
    safetensors.numpy.save_file(tensors, pack, metadata)
    with pytest.raises(IngestError, match="truth"):
        _open(pack)[1]


@pytest.mark.parametrize("count", [0, 2])
def test_a_pack_whose_header_counts_wrongly_is_not_written(tmp_path, count):
    with pytest.raises(IngestError, match="cannot hold 0 windows"):
        write_pack(tmp_path / "packs" / "a.safetensors", [], _header(count))
    assert not (tmp_path / "packs").exists()
