from pathlib import Path

import pytest

from model.errors import PlateError
from studio_node.sequences import FRAMES_MAX, describe_frames, find_sequence, find_sequences


def _touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    "pattern", ["plate.%04d.exr", "plate.####.exr", "plate.@@@@.exr", "plate.#.exr", "plate.%d.exr", ""]
)
def test_every_way_to_name_a_plate_finds_the_same_files(tmp_path, pattern):
    _touch(tmp_path, "plate.1001.exr", "plate.1002.exr", "plate.1004.exr", "notes.txt")
    sequence = find_sequence(tmp_path / pattern)
    assert (sequence.first_frame, sequence.last_frame) == (1001, 1004)
    assert sequence.missing == (1003,)
    assert sequence.files[1002] == tmp_path / "plate.1002.exr"


def test_the_extension_may_be_in_any_case(tmp_path):
    _touch(tmp_path, "plate.1001.EXR", "plate.1002.exr")
    assert sorted(find_sequence(tmp_path / "plate.%04d.exr").files) == [1001, 1002]
    assert sorted(find_sequence(tmp_path).files) == [1001, 1002]


def test_the_name_before_the_number_is_matched_as_it_is_written(tmp_path):
    _touch(tmp_path, "Plate.1001.exr", "plate.1002.exr", "plateX1003.exr")
    assert sorted(find_sequence(tmp_path / "plate.%04d.exr").files) == [1002]


def test_the_number_of_digits_is_a_minimum_without_leading_zeros(tmp_path):
    _touch(tmp_path, "p.0999.exr", "p.1000.exr", "p.10000.exr", "p.01001.exr", "p.12.exr")
    assert sorted(find_sequence(tmp_path / "p.%04d.exr").files) == [999, 1000, 10000]


def test_text_after_the_number_belongs_to_the_name(tmp_path):
    _touch(tmp_path, "p.1001_left.exr", "p.1002_left.exr", "p.1001_right.exr")
    assert sorted(find_sequence(tmp_path / "p.####_left.exr").files) == [1001, 1002]
    assert len(find_sequences(tmp_path)) == 2


def test_a_folder_with_two_sequences_lists_them(tmp_path):
    _touch(tmp_path, "a.1001.exr", "a.1002.exr", "b.0001.png")
    with pytest.raises(PlateError, match=r"2 sequences: a\.%04d\.exr 1001-1002; b\.%04d\.png 1-1"):
        find_sequence(tmp_path)


def test_hidden_files_and_unnumbered_stills_are_no_frames(tmp_path):
    _touch(tmp_path, "a.1001.jpg", "._a.1001.jpg", ".a.1002.jpg", "thumbnail.jpg")
    assert sorted(find_sequence(tmp_path).files) == [1001]


def test_one_file_stands_for_its_sequence_and_a_still_for_itself(tmp_path):
    _touch(tmp_path, "plate.1001.exr", "plate.1002.exr", "still.png", "other.1001.exr")
    assert sorted(find_sequence(tmp_path / "plate.1002.exr").files) == [1001, 1002]
    assert dict(find_sequence(tmp_path / "still.png").files) == {1: tmp_path / "still.png"}


def test_a_part_of_a_sequence_keeps_its_frame_numbers(tmp_path):
    _touch(tmp_path, *(f"p.{f}.exr" for f in range(1001, 1011)))
    part = find_sequence(tmp_path, first_frame=1003, last_frame=1005)
    assert sorted(part.files) == [1003, 1004, 1005]
    with pytest.raises(PlateError, match="has frames 1001-1010, none in 1-5"):
        find_sequence(tmp_path, first_frame=1, last_frame=5)


def test_two_files_for_one_frame_are_named(tmp_path):
    _touch(tmp_path, "p.1001.exr", "p.1001.EXR")
    with pytest.raises(PlateError, match=r"frame 1001 exists twice .*p\.1001\.EXR and p\.1001\.exr"):
        find_sequence(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent.%04d.exr", "no file matches"),
        ("absent.exr", "does not exist"),
        ("nowhere/p.%04d.exr", "the folder .* does not exist"),
        ("p.%04d.####.exr", "2 frame tokens"),
        ("p.%V.%04d.exr", "view token"),
        ("notes.txt", "no plate file"),
    ],
)
def test_a_plate_that_is_not_there_says_what_was_looked_for(tmp_path, name, said):
    _touch(tmp_path, "p.1001.exr", "notes.txt")
    with pytest.raises(PlateError, match=said):
        find_sequence(tmp_path / name)


def test_a_folder_without_plates_says_which_files_are_plates(tmp_path):
    with pytest.raises(PlateError, match=r"holds no plate files .*\.exr"):
        find_sequence(tmp_path)


def test_numbers_too_far_apart_are_no_frame_numbers(tmp_path):
    _touch(tmp_path, "p.1.exr", f"p.{FRAMES_MAX + 1}.exr")
    with pytest.raises(PlateError, match=f"more than {FRAMES_MAX} frames"):
        find_sequence(tmp_path)


def test_frames_are_described_as_runs():
    assert describe_frames([1004, 1001, 1002, 1003, 1010]) == "1001-1004, 1010"
    assert describe_frames([]) == ""
