import json
import os
import shutil

import pytest

from federation import durable, held_releases, keys
from federation.cli.main import main
from federation.errors import FedrotoError, ReleaseError
from federation.held_releases import HeldReleases, verified_release
from federation.release_client import pull_folder
from federation.release_folder import measure, read_release
from federation.release_log import ReleaseLog
from federation.release_manifest import BYTES_MAX, LISTED_FILES, ReleaseManifest
from tests.federation.signed_releases import sign_release


class Coordinator:
    """Makes signed release folders, honest or not."""

    def __init__(self, root):
        self.root = root
        self.key = keys.create_release_key(root / "keys")
        self.public = keys.public_pem(self.key.public_key())

    def say(self, *acts):
        """Write the log beside the releases: ``(number, reason of a withdrawal or None)``, in order."""
        log = ReleaseLog(federation="north")
        for at, (number, reason) in enumerate(acts):
            manifest = read_release(self.root / f"{number:04d}", self.public).manifest
            log = (
                log.promoting(manifest, at=at) if reason is None else log.withdrawing(manifest, reason, at=at)
            )
        (self.root / "log.json").write_bytes(log.to_bytes(self.key))

    def release(self, number, *, text="", folder="", card=None, **changes):
        path = self.root / (folder or f"{number:04d}")
        path.mkdir()
        for name in LISTED_FILES:
            (path / name).write_text(f"{name} of {number} {text}")
        if card is not None:
            (path / "README.md").write_text(card)
        sign_release(path, self.root / "keys" / "release_key", number=number, **changes)
        return path


@pytest.fixture
def coordinator(tmp_path):
    root = tmp_path / "coordinator"
    root.mkdir()
    return Coordinator(root)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "releases"


def held(home, coordinator):
    return HeldReleases(home, release_key_pem=coordinator.public, federation="north")


def test_a_folder_copied_by_hand_is_taken_in_whatever_its_name(coordinator, home, tmp_path):
    source = coordinator.release(1)
    shutil.copytree(source, tmp_path / "from a stick")
    said = []
    pulled = pull_folder(tmp_path / "from a stick", coordinator.public, home, said.append)
    assert (pulled.release.path, pulled.already_held) == (home / "0001", False)
    assert held(home, coordinator).latest() == pulled.release
    assert sorted(path.name for path in pulled.release.path.iterdir()) == sorted(BYTES_MAX)
    assert said == [f"release 1 is verified and ready in {home / '0001'}"]


def test_pulling_twice_fetches_once(coordinator, home):
    source = coordinator.release(1)
    pull_folder(source, coordinator.public, home)
    again = pull_folder(source, coordinator.public, home)
    assert (again.already_held, again.bytes_fetched) == (True, 0)


def test_an_older_release_is_refused_even_after_the_newer_one_was_removed(coordinator, home):
    first, second = coordinator.release(1), coordinator.release(2)
    pull_folder(first, coordinator.public, home)
    pull_folder(second, coordinator.public, home)
    with pytest.raises(ReleaseError, match="release 1 is older than release 2") as raised:
        pull_folder(first, coordinator.public, home)
    assert raised.value.hint
    shutil.rmtree(home / "0002")
    with pytest.raises(ReleaseError, match="older than release 2"):
        pull_folder(first, coordinator.public, home)
    with pytest.raises(ReleaseError, match="older than release 2"):
        held(home, coordinator).latest()
    assert pull_folder(second, coordinator.public, home).release.number == 2


def test_a_second_release_under_a_known_number_is_refused(coordinator, home):
    pull_folder(coordinator.release(2), coordinator.public, home)
    with pytest.raises(ReleaseError, match="two releases 2"):
        pull_folder(coordinator.release(2, text="changed", folder="other"), coordinator.public, home)


@pytest.mark.parametrize("name", sorted(BYTES_MAX))
def test_a_tampered_folder_leaves_nothing_behind(coordinator, home, name):
    source = coordinator.release(1)
    data = bytearray((source / name).read_bytes())
    data[len(data) // 2] ^= 1
    (source / name).write_bytes(bytes(data))
    with pytest.raises(FedrotoError):
        pull_folder(source, coordinator.public, home)
    assert held(home, coordinator).numbers() == ()
    assert held(home, coordinator).newest_seen() is None
    assert [path.name for path in home.iterdir() if path.name != ".lock"] == []


def test_a_manifest_changed_together_with_its_file_is_still_refused(coordinator, home):
    source = coordinator.release(1)
    (source / "weights.safetensors").write_text("evil weights")
    fields = json.loads((source / "manifest.json").read_bytes())
    fields["files"]["weights.safetensors"] = measure(source / "weights.safetensors")
    (source / "manifest.json").write_bytes(ReleaseManifest.from_fields(fields).to_bytes())
    with pytest.raises(ReleaseError, match="not what was signed"):
        pull_folder(source, coordinator.public, home)


def test_a_release_of_another_key_is_refused(coordinator, home, tmp_path):
    (tmp_path / "impostor").mkdir()
    impostor = Coordinator(tmp_path / "impostor")
    with pytest.raises(ReleaseError):
        pull_folder(impostor.release(1), coordinator.public, home)


@pytest.mark.parametrize("name", sorted(BYTES_MAX))
def test_an_incomplete_folder_is_refused(coordinator, home, name):
    source = coordinator.release(1)
    (source / name).unlink()
    with pytest.raises(FedrotoError, match=name):
        pull_folder(source, coordinator.public, home)
    assert held(home, coordinator).numbers() == ()


def test_signed_weights_without_privacy_or_of_another_federation_are_refused(coordinator, home):
    research = {"parent": 1, "campaign": "lab", "plan_digest": "ef" * 32, "rounds": 1, "not_private": True}
    with pytest.raises(ReleaseError, match="NOT PRIVATE"):
        pull_folder(coordinator.release(2, **research), coordinator.public, home)
    foreign = coordinator.release(3, federation="south")
    with pytest.raises(ReleaseError, match="of federation 'south'"):
        pull_folder(foreign, coordinator.public, home, federation="north")
    assert pull_folder(foreign, coordinator.public, home).release.number == 3


def test_a_file_beyond_its_limit_is_not_copied(coordinator, home):
    source = coordinator.release(1)
    with (source / "README.md").open("wb") as file:
        os.truncate(file.fileno(), BYTES_MAX["README.md"] + 1)
    with pytest.raises(FedrotoError, match="more than"):
        pull_folder(source, coordinator.public, home)


def test_a_damaged_held_copy_is_replaced_by_an_intact_one(coordinator, home):
    source = coordinator.release(1)
    pull_folder(source, coordinator.public, home)
    (home / "0001" / "weights.safetensors").write_text("bit rot")
    with pytest.raises(ReleaseError):
        held(home, coordinator).latest()
    assert not pull_folder(source, coordinator.public, home).already_held
    assert held(home, coordinator).latest().number == 1
    assert {path.name for path in home.iterdir()} == {".lock", "newest.json", "release_key.pub", "0001"}


class Killed(BaseException):
    """Stands for a kill at a point."""


@pytest.mark.parametrize("step", ["read_release", "write_atomic", "publish_folder"])
def test_a_pull_that_is_killed_is_taken_up_again(coordinator, home, monkeypatch, step):
    first, second = coordinator.release(1), coordinator.release(2)
    pull_folder(first, coordinator.public, home)

    def fail(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(held_releases, step, fail)
        with pytest.raises(Killed):
            pull_folder(second, coordinator.public, home)
    assert held(home, coordinator).numbers() == (1,)
    assert pull_folder(second, coordinator.public, home).release.number == 2
    assert {path.name for path in home.iterdir()} == {
        ".lock",
        "newest.json",
        "release_key.pub",
        "0001",
        "0002",
    }


def test_half_written_leftovers_in_a_workshop_do_no_harm(coordinator, home):
    source = coordinator.release(1)
    manifest = ReleaseManifest.from_bytes((source / "manifest.json").read_bytes())
    home.mkdir()
    workshop = held(home, coordinator).workshop(manifest)
    durable.temporary_beside(workshop / "README.md").write_text("half")
    assert pull_folder(source, coordinator.public, home).release.number == 1


def test_only_one_pull_at_a_time(coordinator, home):
    source = coordinator.release(1)
    with held(home, coordinator).locked(), pytest.raises(ReleaseError, match="another process is pulling"):
        pull_folder(source, coordinator.public, home)


def test_a_damaged_record_of_the_newest_is_said_and_never_ignored(coordinator, home):
    source = coordinator.release(1)
    pull_folder(source, coordinator.public, home)
    for text in ("", "{}", '{"number":0,"manifest_digest":""}'):
        (home / "newest.json").write_text(text)
        with pytest.raises(ReleaseError, match="is damaged"):
            held(home, coordinator).latest()
        with pytest.raises(ReleaseError, match="is damaged"):
            pull_folder(source, coordinator.public, home)


def test_no_release_held_says_how_to_get_one(coordinator, home):
    with pytest.raises(ReleaseError, match="no release is held") as raised:
        held(home, coordinator).latest()
    assert "fedroto pull" in raised.value.hint


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(coordinator, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FedrotoError, match="cannot keep releases"):
        pull_folder(coordinator.release(1), coordinator.public, tmp_path / "file" / "releases")


class TestAWithdrawal:
    @pytest.fixture
    def withdrawn(self, coordinator, home):
        """Releases 1 and 2 are held; then 2 is withdrawn, which the reader has not heard yet."""
        first, second = coordinator.release(1), coordinator.release(2)
        coordinator.say((1, None), (2, None))
        pull_folder(first, coordinator.public, home)
        pull_folder(second, coordinator.public, home)
        coordinator.say((1, None), (2, None), (2, "fails on motion blur"))
        return first, second

    def test_is_told_with_its_reason_and_nobody_goes_back_without_knowing(self, coordinator, home, withdrawn):
        first, second = withdrawn
        with pytest.raises(
            ReleaseError, match="release 2 was withdrawn by the coordinator: fails on motion blur"
        ):
            pull_folder(second, coordinator.public, home)
        with pytest.raises(
            ReleaseError, match=r"fails on motion blur; what stands is the older release 1"
        ) as raised:
            pull_folder(first, coordinator.public, home)
        assert "--go-back" in raised.value.hint

    def test_ends_the_use_of_what_is_held(self, coordinator, home, withdrawn):
        assert held(home, coordinator).latest().number == 2
        with pytest.raises(ReleaseError):
            pull_folder(withdrawn[1], coordinator.public, home)
        for use in (held(home, coordinator).latest, lambda: verified_release(home)):
            with pytest.raises(ReleaseError, match="what stands is the older release 1"):
                use()
        with pytest.raises(ReleaseError, match="release 2 was withdrawn"):
            verified_release(home / "0002")
        assert verified_release(home / "0001").number == 1

    def test_lets_a_person_go_back_knowingly(self, coordinator, home, withdrawn):
        pulled = pull_folder(withdrawn[0], coordinator.public, home, go_back=True)
        assert (pulled.release.number, [entry.number for entry in pulled.withdrawn]) == (1, [2])
        assert held(home, coordinator).latest().number == 1
        with pytest.raises(ReleaseError, match="release 2 was withdrawn"):
            pull_folder(withdrawn[1], coordinator.public, home, go_back=True)

    def test_is_followed_by_the_next_release_without_a_question(self, coordinator, home, withdrawn):
        third = coordinator.release(3, restores=1)
        coordinator.say((1, None), (2, None), (2, "fails on motion blur"), (3, None))
        pulled = pull_folder(third, coordinator.public, home)
        assert [(entry.number, entry.reason) for entry in pulled.withdrawn] == [(2, "fails on motion blur")]
        assert held(home, coordinator).latest().number == 3

    def test_cannot_be_hidden_again(self, coordinator, home, withdrawn):
        with pytest.raises(ReleaseError):
            pull_folder(withdrawn[1], coordinator.public, home)
        for acts in ([(1, None), (2, None)], [(1, None), (2, None), (1, "other")]):
            coordinator.say(*acts)
            with pytest.raises(ReleaseError, match="does not go on from the one that was here before"):
                pull_folder(withdrawn[1], coordinator.public, home)
        (coordinator.root / "log.json").unlink()
        with pytest.raises(ReleaseError, match="was withdrawn"):
            pull_folder(withdrawn[1], coordinator.public, home)

    def test_of_an_older_release_does_not_disturb(self, coordinator, home):
        coordinator.release(1)
        second = coordinator.release(2)
        coordinator.say((1, None), (2, None), (1, "bad"))
        assert pull_folder(second, coordinator.public, home).withdrawn == ()

    def test_is_no_way_back_behind_a_release_that_stands(self, coordinator, home):
        releases = [coordinator.release(number) for number in (1, 2, 3)]
        coordinator.say((1, None), (2, None), (3, None), (3, "bad"))
        held_log = (coordinator.root / "log.json").read_bytes()
        (coordinator.root / "log.json").unlink()
        pull_folder(releases[2], coordinator.public, home)
        (coordinator.root / "log.json").write_bytes(held_log)
        with pytest.raises(ReleaseError, match="release 1 is older than release 3"):
            pull_folder(releases[0], coordinator.public, home, go_back=True)
        assert pull_folder(releases[1], coordinator.public, home, go_back=True).release.number == 2


def test_a_log_of_another_federation_is_refused(coordinator, home):
    source = coordinator.release(1)
    (coordinator.root / "log.json").write_bytes(ReleaseLog(federation="south").to_bytes(coordinator.key))
    with pytest.raises(ReleaseError, match="of federation 'south'"):
        pull_folder(source, coordinator.public, home, federation="north")


def test_another_signed_release_than_the_one_in_the_log_is_refused(coordinator, home):
    coordinator.release(1)
    coordinator.say((1, None))
    other = coordinator.release(1, text="changed", folder="other")
    with pytest.raises(ReleaseError, match="the coordinator's log says"):
        pull_folder(other, coordinator.public, home)


def test_pull_shows_the_card_of_what_it_took_in(tmp_path, monkeypatch, capsys):
    coordinator = Coordinator(tmp_path)
    card = "---\nrelease: 1\n---\n\n# Release 1 of north\n\nA draft is a draft.\n"
    source = coordinator.release(1, card=card)
    (tmp_path / "key.pub").write_bytes(coordinator.public)
    command = [
        "pull",
        str(tmp_path / "held"),
        "--from",
        str(source),
        "--release-key",
        str(tmp_path / "key.pub"),
    ]
    monkeypatch.setattr("sys.argv", ["fedroto", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.endswith("# Release 1 of north\n\nA draft is a draft.\n")
    assert "release: 1" not in said
