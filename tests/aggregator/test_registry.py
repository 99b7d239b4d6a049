import dataclasses
import json
import os
import shutil
import threading

import numpy as np
import pytest

from aggregator import registry as registry_module
from aggregator import release_draft
from aggregator.registry import Registry
from aggregator.release_check import BenchmarkRun, check_candidate
from aggregator.release_draft import Draft, Training
from federation import durable, keys
from federation.errors import FedrotoError, IdentityError, ReleaseError
from federation.plan import TrainingPlan
from federation.release_manifest import BYTES_MAX, privacy_of

CLIPS = tuple(f"clip {index}" for index in range(12))


def passing_check(factor=0.5):
    errors = np.linspace(1, 2, len(CLIPS))
    run = BenchmarkRun("procedural/1", CLIPS, {"model": tuple(errors * factor), "Nuke smooth": tuple(errors)})
    return check_candidate(run, None)


@pytest.fixture
def place(tmp_path):
    """A registry, its private release key and a weights file."""
    key = keys.create_release_key(tmp_path / "keys")
    weights = tmp_path / "candidate.safetensors"
    weights.write_bytes(b"weights")
    registry = Registry(
        tmp_path / "releases", federation="north", release_key_pem=keys.public_pem(key.public_key())
    )
    return registry, tmp_path / "keys" / "release_key", weights


def draft(weights, **changes):
    fields = {
        "weights": weights,
        "check": passing_check(),
        "architecture": "fusion-1",
        "frozen_digest": "ab" * 32,
        "created_at": 1_800_000_000,
    }
    return Draft(**{**fields, **changes})


def training(plan_fields, **changes):
    plan = TrainingPlan.from_payload({**plan_fields, **changes})
    return Training(plan, rounds=3, privacy=privacy_of(plan, rounds=3, epsilon=lambda delta: 2.5))


def test_releases_are_numbered_upwards_and_read_back_verified(place, plan_fields):
    registry, key, weights = place
    assert registry.latest() is None
    base = registry.publish(draft(weights), key)
    assert (base.number, base.manifest.parent, base.manifest.privacy) == (1, None, None)
    assert base.weights.read_bytes() == b"weights"
    weights.write_bytes(b"trained weights")
    second = registry.publish(draft(weights, training=training(plan_fields)), key)
    assert second.manifest.parent == 1
    assert second.manifest.plan_digest == TrainingPlan.from_payload(plan_fields).digest
    assert second.manifest.privacy.size_tiers["s"].epsilon == 2.5
    assert registry.numbers() == (1, 2)
    assert registry.latest() == second
    assert registry.get(1) == base
    assert sorted(path.name for path in second.path.iterdir()) == sorted(BYTES_MAX)


def test_card_and_benchmark_say_what_the_check_measured(place, plan_fields):
    registry, key, weights = place
    registry.publish(draft(weights), key)
    release = registry.publish(draft(weights, training=training(plan_fields)), key)
    card = (release.path / "README.md").read_text()
    assert "| **this release** | 0.750 |" in card
    assert "2 studios (2 of size tier s)" in card
    assert "| s | 2.50 | 1e-05 |" in card
    benchmark = json.loads((release.path / "benchmark.json").read_bytes())
    assert benchmark["passed"] is True
    assert [gate["why"] for gate in benchmark["gates"]] == [gate.why for gate in draft(weights).check.gates]
    assert str(registry.root) not in card + json.dumps(benchmark)


def test_a_candidate_that_did_not_pass_is_not_published(place):
    registry, key, weights = place
    with pytest.raises(
        ReleaseError, match="did not pass the release check: not shown to be better than Nuke"
    ):
        registry.publish(draft(weights, check=passing_check(1.0)), key)
    assert registry.numbers() == ()


def test_weights_without_privacy_are_never_published(place, plan_fields):
    registry, key, weights = place
    registry.publish(draft(weights), key)
    plan = TrainingPlan.from_payload({**plan_fields, "mode": "research"})
    with pytest.raises(ReleaseError, match="NOT PRIVATE"):
        registry.publish(draft(weights, training=Training(plan, 3, None)), key)
    assert registry.numbers() == (1,)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"federation": "south"}, "of federation south"),
        ({"base_release": 7}, "release 7, which is not here"),
        (
            {
                "model": {
                    "architecture": "fusion-2",
                    "trainable": [{"name": "a", "shape": [2]}],
                    "frozen_digest": "ab" * 32,
                }
            },
            "not the plan's",
        ),
        (
            {
                "model": {
                    "architecture": "fusion-1",
                    "trainable": [{"name": "a", "shape": [2]}],
                    "frozen_digest": "00" * 32,
                }
            },
            "not the plan's",
        ),
    ],
)
def test_a_training_that_does_not_belong_here_is_refused(place, plan_fields, changes, said):
    registry, key, weights = place
    registry.publish(draft(weights), key)
    with pytest.raises(ReleaseError, match=said):
        registry.publish(draft(weights, training=training(plan_fields, **changes)), key)


def test_a_number_is_never_given_twice(place):
    registry, key, weights = place
    registry.publish(draft(weights), key)
    shutil.rmtree(registry.publish(draft(weights), key).path)
    assert registry.numbers() == (1,)
    assert registry.publish(draft(weights), key).number == 3


@pytest.mark.parametrize("name", sorted(BYTES_MAX))
def test_a_release_that_was_changed_on_disk_is_not_served_nor_is_an_older_one_in_its_place(place, name):
    registry, key, weights = place
    registry.publish(draft(weights), key)
    newest = registry.publish(draft(weights), key)
    path = newest.path / name
    path.write_bytes(path.read_bytes()[:-1] + b"#")
    with pytest.raises(ReleaseError):
        registry.latest()
    assert registry.get(1).number == 1


@pytest.mark.parametrize("added", [".gitattributes", "pickle.bin"])
def test_a_file_that_does_not_belong_is_refused(place, added):
    registry, key, weights = place
    release = registry.publish(draft(weights), key)
    (release.path / added).write_text("")
    with pytest.raises(ReleaseError, match=f"does not belong: {added}"):
        registry.get(1)


def test_a_release_moved_to_another_number_is_refused(place):
    registry, key, weights = place
    registry.publish(draft(weights), key).path.rename(registry.root / "0005")
    with pytest.raises(ReleaseError, match="release 5 says that it is release 1"):
        registry.get(5)


def test_a_link_instead_of_a_file_and_a_huge_file_are_refused(place, tmp_path):
    registry, key, weights = place
    release = registry.publish(draft(weights), key)
    card = release.path / "README.md"
    data = card.read_bytes()
    card.rename(tmp_path / "card")
    card.symlink_to(tmp_path / "card")
    with pytest.raises(ReleaseError, match="not a plain file"):
        registry.get(1)
    card.unlink()
    with card.open("wb") as file:
        os.truncate(file.fileno(), BYTES_MAX["README.md"] + 1)
    with pytest.raises(ReleaseError, match="at most"):
        registry.get(1)
    card.write_bytes(data)
    assert registry.get(1) == release


def test_another_federations_registry_refuses_the_release(place):
    registry, key, weights = place
    registry.publish(draft(weights), key)
    other = Registry(registry.root, federation="south", release_key_pem=registry.release_key_pem)
    with pytest.raises(ReleaseError, match="of federation 'north', expected 'south'"):
        other.latest()


def test_what_is_not_there_is_said(place):
    registry, key, weights = place
    with pytest.raises(ReleaseError, match="no release 1; there are none"):
        registry.get(1)
    registry.publish(draft(weights), key)
    with pytest.raises(ReleaseError, match=r"no release 2; there are \[1\]"):
        registry.get(2)


class Killed(BaseException):
    """Stands for a kill at a point: nothing catches it on purpose."""


STEPS = [
    (registry_module, "build_release"),
    (release_draft, "sign_folder"),
    (registry_module, "read_release"),
    (registry_module, "write_atomic"),
    (registry_module, "publish_folder"),
]


@pytest.mark.parametrize("error", [Killed, lambda: FedrotoError("disk full")])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[1])
def test_a_release_appears_whole_or_not_at_all(place, monkeypatch, step, error):
    registry, key, weights = place
    registry.publish(draft(weights), key)

    def fail(*_, **__):
        raise error()

    with monkeypatch.context() as patched:
        patched.setattr(*step, fail)
        # A real kill also skips the cleaning up.
        patched.setattr(registry_module.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises((Killed, FedrotoError)):
            registry.publish(draft(weights), key)
    assert registry.numbers() == (1,)
    assert registry.latest().number == 1
    following = registry.publish(draft(weights), key)
    assert following.number in (2, 3)  # a number may be lost, never given twice
    leftovers = [
        path.name for path in registry.root.iterdir() if path.name.startswith(durable.TEMPORARY_PREFIX)
    ]
    assert leftovers == []


def test_everything_is_on_the_disk_before_the_release_has_its_name(place, monkeypatch):
    registry, key, weights = place
    synced, renamed = [], []
    real_sync, real_rename = durable._sync, type(registry.root).rename
    monkeypatch.setattr(
        durable, "_sync", lambda path: (synced.append((path.name, bool(renamed))), real_sync(path))
    )

    def rename(self, target):
        if target.name == "0001":
            renamed.append(True)
        return real_rename(self, target)

    monkeypatch.setattr(type(registry.root), "rename", rename)
    registry.publish(draft(weights), key)
    assert set(BYTES_MAX) <= {name for name, after in synced if not after}
    assert (registry.root.name, True) in synced


def test_two_publishers_get_two_numbers(place):
    registry, key, weights = place
    numbers, errors = [], []

    def publish():
        try:
            numbers.append(registry.publish(draft(weights), key).number)
        except FedrotoError as error:
            errors.append(error)

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert sorted(numbers) == [1, 2, 3, 4]


def test_a_key_open_to_others_publishes_nothing(place):
    registry, key, weights = place
    key.chmod(0o644)
    with pytest.raises(IdentityError, match="0644"):
        registry.publish(draft(weights), key)
    assert registry.numbers() == ()


def test_a_key_other_than_the_registrys_publishes_nothing(place, tmp_path):
    registry, _, weights = place
    keys.create_release_key(tmp_path / "other")
    with pytest.raises(ReleaseError):
        registry.publish(draft(weights), tmp_path / "other" / "release_key")
    assert registry.numbers() == ()


def test_missing_and_huge_weights_publish_nothing(place, tmp_path):
    registry, key, weights = place
    with pytest.raises(FedrotoError, match="cannot read"):
        registry.publish(draft(tmp_path / "missing"), key)
    with weights.open("wb") as file:
        os.truncate(file.fileno(), BYTES_MAX["weights.safetensors"] + 1)
    with pytest.raises(FedrotoError, match="more than"):
        registry.publish(draft(weights), key)
    assert registry.numbers() == ()


def test_a_damaged_highest_number_stops_publishing_and_says_what_to_do(place):
    registry, key, weights = place
    registry.publish(draft(weights), key)
    (registry.root / "highest").write_text("many")
    with pytest.raises(ReleaseError, match="does not hold a number") as raised:
        registry.publish(draft(weights), key)
    assert "highest release number" in raised.value.hint


def test_a_draft_is_a_plain_value(place):
    one = draft(place[2])
    assert dataclasses.replace(one, architecture="fusion-2").architecture == "fusion-2"
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.architecture = "x"


class TestHandingOut:
    @pytest.fixture
    def two(self, place):
        """Two releases that stand."""
        registry, key, weights = place
        registry.publish(draft(weights), key)
        weights.write_bytes(b"worse weights")
        registry.publish(draft(weights, created_at=1_900_000_000), key)
        return registry, key, weights

    def test_a_held_release_is_not_handed_out_before_it_is_promoted(self, two):
        registry, key, weights = two
        held = registry.publish(draft(weights), key, promote=False)
        assert (registry.latest().number, registry.log().standing) == (2, (1, 2))
        assert registry.promote(held.number, key) == held
        assert registry.latest() == held
        with pytest.raises(ReleaseError, match="promotes release 3 after 3"):
            registry.promote(3, key)
        with pytest.raises(ReleaseError, match="there is no release 9"):
            registry.promote(9, key)

    def test_a_withdrawn_release_is_not_handed_out_but_kept(self, two):
        registry, key, _ = two
        registry.withdraw(2, "fails on motion blur", key)
        assert registry.latest().number == 1
        assert registry.get(2).number == 2
        with pytest.raises(ReleaseError, match="was withdrawn"):
            registry.promote(2, key)

    def test_a_rollback_brings_the_older_weights_back_under_a_higher_number(self, two):
        registry, key, _ = two
        back = registry.roll_back("fails on motion blur", key)
        assert (back.number, back.manifest.restores) == (3, 1)
        assert registry.latest() == back
        assert back.weights.read_bytes() == b"weights"
        assert (back.path / "benchmark.json").read_bytes() == (
            registry.root / "0001/benchmark.json"
        ).read_bytes()
        card = (back.path / "README.md").read_text()
        assert "# Release 3 of north: the weights of release 1 again" in card
        assert "release 2 was withdrawn: fails on motion blur" in card
        assert "## Release 1 of north" in card
        assert "release: 3\n" in card
        assert card.count("\n---\n") == 1
        assert registry.roll_back("this one, too", key).manifest.restores == 1

    def test_a_rollback_goes_to_the_release_that_was_named_if_it_stands(self, two):
        registry, key, weights = two
        registry.publish(draft(weights), key)
        with pytest.raises(ReleaseError, match=r"no release 3 to go back to; standing: \(1, 2\)"):
            registry.roll_back("bad", key, to=3)
        assert registry.numbers() == (1, 2, 3)
        assert registry.roll_back("bad", key, to=1).manifest.restores == 1

    def test_the_only_release_cannot_be_rolled_back(self, place):
        registry, key, weights = place
        with pytest.raises(ReleaseError, match="no release stands"):
            registry.roll_back("bad", key)
        registry.publish(draft(weights), key)
        with pytest.raises(ReleaseError, match="no release beneath to go back to"):
            registry.roll_back("bad", key)
        assert registry.latest().number == 1

    def test_a_campaign_from_a_release_that_was_withdrawn_since_is_not_published(self, two, plan_fields):
        registry, key, weights = two
        trained = training(plan_fields, base_release=2)
        registry.withdraw(2, "poisoned", key)
        with pytest.raises(ReleaseError, match="release 2, which was withdrawn since: poisoned"):
            registry.publish(draft(weights, training=trained), key)

    @pytest.mark.parametrize("step", ["build_restored", "read_release", "publish_folder", "write_atomic"])
    def test_a_rollback_that_is_killed_leaves_the_old_state_and_can_be_repeated(self, two, monkeypatch, step):
        registry, key, _ = two

        def fail(*_, **__):
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(registry_module, step, fail)
            with pytest.raises(Killed):
                registry.roll_back("bad", key)
        assert (registry.latest().number, registry.log().withdrawn) == (2, {})
        assert registry.roll_back("bad", key).manifest.restores == 1

    def test_a_log_that_was_changed_or_signed_by_another_key_hands_nothing_out(self, two, tmp_path):
        registry, _, _ = two
        path = registry.root / "log.json"
        good = path.read_bytes()
        path.write_bytes(good.replace(b"promoted", b"withdraw"))
        with pytest.raises(FedrotoError, match="changed after signing"):
            registry.latest()
        other = keys.create_release_key(tmp_path / "other")
        path.write_bytes(registry_module.ReleaseLog(federation="north").to_bytes(other))
        with pytest.raises(FedrotoError, match="not by the expected key"):
            registry.latest()

    def test_a_release_exchanged_for_another_signed_one_under_its_number_is_refused(self, two):
        registry, key, weights = two
        shutil.rmtree(registry.root / "0002")
        release_draft.build_release(registry.root / "0002", 2, "north", draft(weights), key)
        assert registry.get(2).number == 2
        with pytest.raises(ReleaseError, match="the coordinator's log says"):
            registry.latest()
