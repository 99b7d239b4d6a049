import dataclasses
import json
import os
import shutil
import threading

import numpy as np
import pytest

from aggregator import registry as registry_module
from aggregator.registry import Draft, Registry, Training
from aggregator.release_check import BenchmarkRun, check_candidate
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
                    "trainable": [{"name": "a", "shape": [1]}],
                    "frozen_digest": "ab" * 32,
                }
            },
            "not the plan's",
        ),
        (
            {
                "model": {
                    "architecture": "fusion-1",
                    "trainable": [{"name": "a", "shape": [1]}],
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


STEPS = ["_build", "sign_folder", "read_release", "write_atomic", "publish_folder"]


@pytest.mark.parametrize("error", [Killed, lambda: FedrotoError("disk full")])
@pytest.mark.parametrize("step", STEPS)
def test_a_release_appears_whole_or_not_at_all(place, monkeypatch, step, error):
    registry, key, weights = place
    registry.publish(draft(weights), key)

    def fail(*_, **__):
        raise error()

    target = Registry if step == "_build" else registry_module
    with monkeypatch.context() as patched:
        patched.setattr(target, step, fail)
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
