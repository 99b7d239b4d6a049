import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import release
from federation.errors import ReleaseError
from federation.plan import TrainingPlan
from federation.release_card import CardFacts, card
from federation.release_manifest import BYTES_MAX, NewestSeen, ReleaseManifest, privacy_of
from tests.federation.signed_releases import BASE

FILES = BASE["files"]
PRIVACY = {
    "unit": "shot",
    "neighboring_relation": "add_or_remove_one",
    "sample_rate": 0.25,
    "noise_multiplier": 2.0,
    "max_grad_norm": 1.0,
    "steps": 15,
    "size_tiers": {"s": {"epsilon": 2.5, "delta": 1e-5}},
}
TRAINED = {
    **BASE,
    "number": 3,
    "parent": 2,
    "campaign": "autumn",
    "plan_digest": "ef" * 32,
    "rounds": 3,
    "privacy": PRIVACY,
}
RESEARCH = {**TRAINED, "privacy": None, "not_private": True}


@pytest.mark.parametrize("fields", [BASE, TRAINED, RESEARCH])
def test_a_manifest_survives_its_bytes(fields):
    manifest = ReleaseManifest.from_fields(copy.deepcopy(fields))
    assert ReleaseManifest.from_bytes(manifest.to_bytes()) == manifest
    assert json.loads(manifest.to_bytes()) == fields
    assert manifest.weights_sha256 == "ab" * 32


@pytest.mark.parametrize(
    ("base", "change", "said"),
    [
        (BASE, {"schema": "fedroto.release/2"}, "schema"),
        (BASE, {"note": 1}, "note"),
        (BASE, {"number": 0}, "number"),
        (BASE, {"number": 1.0}, "number"),
        (BASE, {"campaign": "autumn"}, "all given or, for a base, all null"),
        (BASE, {"rounds": 1}, "do not go with parent None"),
        (BASE, {"privacy": PRIVACY}, "privacy is given for every training"),
        (BASE, {"not_private": True}, "made on public data"),
        (TRAINED, {"parent": 3}, "cannot descend"),
        (TRAINED, {"parent": None}, "all given or"),
        (TRAINED, {"plan_digest": None}, "all given or"),
        (TRAINED, {"rounds": 0}, "0 rounds"),
        (TRAINED, {"privacy": None}, "privacy is given"),
        (TRAINED, {"not_private": True}, "privacy is given"),
        (
            TRAINED,
            {"privacy": {**PRIVACY, "size_tiers": {"s": {"epsilon": float("inf"), "delta": 1e-5}}}},
            "epsilon",
        ),
        (TRAINED, {"privacy": {**PRIVACY, "size_tiers": {}}}, "size_tiers"),
        (TRAINED, {"privacy": {**PRIVACY, "size_tiers": {"s": {"epsilon": 1.0, "delta": 1e-3}}}}, "delta"),
        (BASE, {"files": {}}, "files lists"),
        (BASE, {"files": {**FILES, "../x": FILES["README.md"]}}, "files lists"),
        (BASE, {"files": {**FILES, "README.md": {"size_bytes": 1 << 30, "sha256": "ab" * 32}}}, "at most"),
        (BASE, {"files": {**FILES, "README.md": {"size_bytes": 1, "sha256": "AB" * 32}}}, "sha256"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(base, change, said):
    with pytest.raises(ReleaseError, match=said):
        ReleaseManifest.from_fields({**base, **change})


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"\xff", b"[" * 50_000, b" " * (BYTES_MAX["manifest.json"] + 1)]
)
def test_rubbish_is_no_manifest(data):
    with pytest.raises(ReleaseError):
        ReleaseManifest.from_bytes(data)


def test_a_number_that_json_reads_as_infinity_is_refused():
    data = ReleaseManifest.from_fields(TRAINED).to_bytes().replace(b'"epsilon":2.5', b'"epsilon":1e999')
    with pytest.raises(ReleaseError, match="epsilon"):
        ReleaseManifest.from_bytes(data)


@given(number=st.integers(1, 999_999))
def test_every_number_has_one_folder_name(number):
    assert release.number_of_folder(release.folder_name(number)) == number


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1",
        "0000",
        "001",
        "00001",
        "0001 ",
        "-001",
        "highest",
        "0001.old",
        "१२३४",
        "1234567",
        ".0001",
        "0001\n",
    ],
)
def test_what_is_no_release_folder_has_no_number(name):
    assert release.number_of_folder(name) is None


def test_a_folder_holds_exactly_the_five_files():
    release.check_names(list(BYTES_MAX))
    with pytest.raises(ReleaseError, match=r"missing: model\.sig"):
        release.check_names([name for name in BYTES_MAX if name != "model.sig"])
    with pytest.raises(ReleaseError, match=r"does not belong: \.gitattributes"):
        release.check_names([*BYTES_MAX, ".gitattributes"])


def test_contents_are_those_that_the_manifest_names():
    manifest = ReleaseManifest.from_fields(BASE)
    release.check_contents(manifest, manifest.files)
    for name in FILES:
        changed = {**manifest.files, name: manifest.files[name].model_copy(update={"sha256": "00" * 32})}
        with pytest.raises(ReleaseError, match=name):
            release.check_contents(manifest, changed)
        with pytest.raises(ReleaseError, match=name):
            release.check_contents(
                manifest, {key: value for key, value in manifest.files.items() if key != name}
            )


def test_number_and_federation_are_those_that_were_asked_for():
    manifest = ReleaseManifest.from_fields(TRAINED)
    release.check_identity(manifest, number=3, federation="north")
    release.check_identity(manifest, number=3, federation=None)
    with pytest.raises(ReleaseError, match="says that it is release 3"):
        release.check_identity(manifest, number=4, federation="north")
    with pytest.raises(ReleaseError, match="of federation 'north'"):
        release.check_identity(manifest, number=3, federation="south")


def test_weights_without_privacy_never_pass():
    with pytest.raises(ReleaseError, match="NOT PRIVATE"):
        release.check_identity(ReleaseManifest.from_fields(RESEARCH), number=3, federation="north")


def test_a_reader_never_goes_back():
    manifest = ReleaseManifest.from_fields(TRAINED)
    release.check_not_going_back(manifest, None)
    release.check_not_going_back(manifest, NewestSeen(number=2, manifest_digest="00" * 32))
    release.check_not_going_back(manifest, NewestSeen(number=3, manifest_digest=manifest.digest))
    with pytest.raises(ReleaseError, match="older than release 4"):
        release.check_not_going_back(manifest, NewestSeen(number=4, manifest_digest=manifest.digest))
    with pytest.raises(ReleaseError, match="two releases 3"):
        release.check_not_going_back(manifest, NewestSeen(number=3, manifest_digest="00" * 32))


def test_the_privacy_figures_come_from_the_plan(plan_fields):
    plan = TrainingPlan.from_payload(plan_fields)
    asked = []
    privacy = privacy_of(plan, rounds=2, epsilon=lambda delta: asked.append(delta) or 1.5)
    assert asked == [1e-5]
    assert privacy.steps == 2 * plan.privacy.steps_per_round
    assert privacy.size_tiers["s"].epsilon == 1.5
    assert (privacy.sample_rate, privacy.noise_multiplier) == (0.25, 2.0)


def facts(**changes):
    fields = {
        "federation": "north",
        "number": 3,
        "parent": 2,
        "campaign": "autumn",
        "rounds": 3,
        "studios_by_tier": {"s": 2, "m": 1},
        "architecture": "fusion-1",
        "privacy": ReleaseManifest.from_fields(TRAINED).privacy,
        "created_at": 1_800_000_000,
        "benchmark": "procedural/1, 24 clips",
        "errors": {"model": 1.25, "Nuke smooth": 2.5},
        "error_before": 1.5,
        "verdict": ["better than Nuke smooth: by a lot"],
    }
    return CardFacts(**{**fields, **changes})


def test_the_card_of_a_trained_release_says_what_it_must():
    text = card(facts())
    assert text.startswith("---\nlibrary_name: fedroto\n")
    for part in (
        "release: 3",
        "| s | 2.50 | 1e-05 |",
        "one shot",
        "3 studios (1 of size tier m, 2 of size tier s)",
        "| **this release** | 1.250 |\n| the release before | 1.500 |\n| Nuke smooth | 2.500 |",
        "- better than Nuke smooth: by a lot",
        "## Intended use",
        "## Limits",
        "noise_multiplier 2",
    ):
        assert part in text, part


def test_the_card_of_a_base_claims_no_studio_and_no_privacy_cost():
    text = card(facts(parent=None, campaign=None, rounds=0, studios_by_tier={}, privacy=None, number=1))
    assert "No private data was used" in text
    assert "parent: null" in text
    assert "epsilon" not in text
