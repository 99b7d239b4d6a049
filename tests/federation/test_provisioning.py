import json
import stat
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import keys
from federation.config import FederationConfig, StudioConfig
from federation.documents import SignedDocument, sign
from federation.errors import DocumentError, FedrotoError, IdentityError, SignatureError
from federation.homes import CoordinatorHome, StudioHome
from federation.provisioning import JoinKit, JoinRequest
from federation.set_up import init_coordinator, init_studio, join, load_kit, renew_server_certificate

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
BUNDLE = "ab" * 32


@pytest.fixture
def studio(tmp_path):
    config = StudioConfig(name="northlight", federation="north")
    return init_studio(tmp_path / "studio", config, size_tier="s", now=NOW)


@pytest.fixture
def coordinator(tmp_path):
    config = FederationConfig(name="north", hosts=("agg.example.org",))
    return init_coordinator(tmp_path / "coordinator", config, now=NOW)


def kit_for(studio, coordinator, /, **changes):
    home = CoordinatorHome(coordinator.home)
    plan_key = keys.load_plan_key(home.keys / "plan_key")
    release_key = keys.load_release_key(home.keys / "release_key")
    request = JoinRequest.verified(studio.request.read_bytes())
    fields = {
        "schema": "fedroto.join-kit/1",
        "federation": request.federation,
        "studio": request.studio,
        "size_tier": request.size_tier,
        "node_key": request.fingerprint,
        "fleet_address": "agg.example.org:9443",
        "service_address": "agg.example.org:9444",
        "ca_pem": home.ca.read_text(),
        "plan_key_pem": keys.public_pem(plan_key.public_key()).decode(),
        "release_key_pem": keys.public_pem(release_key.public_key()).decode(),
        "bundle_digest": BUNDLE,
        "created_at": int(NOW.timestamp()),
    }
    return JoinKit.from_payload({**fields, **changes}).signed(plan_key)


def test_a_studio_asks_is_admitted_and_joins(studio, coordinator):
    request = JoinRequest.verified(studio.request.read_bytes())
    assert (request.studio, request.federation, request.size_tier) == ("northlight", "north", "s")
    assert request.fingerprint == studio.fingerprint
    kit_file = kit_for(studio, coordinator)
    kit = join(
        studio.home, kit_file, now=NOW, bundle_digest=BUNDLE, plan_key_fingerprint=coordinator.plan_key
    )
    assert load_kit(studio.home) == kit
    folder = StudioHome(studio.home).coordinator
    assert sorted(path.name for path in folder.iterdir()) == [
        "ca.crt",
        "kit.json",
        "plan_key.pub",
        "release_key.pub",
    ]
    assert (folder / "ca.crt").read_bytes() == CoordinatorHome(coordinator.home).ca.read_bytes()


def test_neither_the_request_nor_the_kit_holds_a_secret(studio, coordinator):
    sent = studio.request.read_bytes() + kit_for(studio, coordinator)
    assert b"PRIVATE" not in sent
    for home in (studio.home, coordinator.home):
        for path in (home / "keys").iterdir():
            if path.suffix != ".pub":
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
                lines = [line for line in path.read_bytes().splitlines() if not line.startswith(b"-----")]
                assert max(lines[-2:], key=len) not in sent, path


def test_the_request_file_begins_with_a_line_that_ssh_keygen_reads(studio):
    line = studio.request.read_bytes().splitlines()[0]
    assert keys.fingerprint(keys.read_openssh_public(line)) == studio.fingerprint


@given(position=st.integers(0, 100_000), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_no_changed_bit_of_a_request_or_a_kit_is_accepted_as_something_else(files, position, bit):
    request, kit = files
    for data, form in ((request, JoinRequest), (kit, JoinKit)):
        changed = bytearray(data)
        changed[position % len(data)] ^= 1 << bit
        try:
            read = form.verified(bytes(changed))
        except FedrotoError:
            continue
        # the only changes that may pass are of white space around the document
        assert read == form.verified(data)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    config = StudioConfig(name="northlight", federation="north")
    studio = init_studio(folder / "studio", config, size_tier="s", now=NOW)
    coordinator = init_coordinator(
        folder / "coordinator", FederationConfig(name="north", hosts=("agg.example.org",)), now=NOW
    )
    return studio.request.read_bytes(), kit_for(studio, coordinator)


def test_a_request_that_names_another_key_than_its_signer_is_refused(studio, tmp_path):
    request = JoinRequest.verified(studio.request.read_bytes())
    thief = keys.create_node_key(tmp_path / "thief")
    with pytest.raises(IdentityError, match="not with another"):
        request.signed(thief.private)
    forged = sign("join-request", request.payload(), thief.private)
    with pytest.raises(DocumentError, match="another node key"):
        JoinRequest.verified(thief.public + b"\n" + forged.to_bytes())


def test_a_kit_signed_by_somebody_else_is_refused_once_the_coordinator_is_known(
    studio, coordinator, tmp_path
):
    join(studio.home, kit_for(studio, coordinator), now=NOW)
    before = {path: path.read_bytes() for path in StudioHome(studio.home).coordinator.iterdir()}
    config = FederationConfig(name="north", hosts=("evil.example.org",))
    impostor = init_coordinator(tmp_path / "impostor", config, now=NOW)
    with pytest.raises(SignatureError, match="not by the expected key"):
        join(studio.home, kit_for(studio, impostor), now=NOW)
    assert {path: path.read_bytes() for path in before} == before
    join(studio.home, kit_for(studio, coordinator), now=NOW)  # the known coordinator may send another kit


def test_a_kit_that_carries_another_plan_key_than_its_signers_is_refused(studio, coordinator, tmp_path):
    other = keys.create_plan_key(tmp_path / "other")
    _, document = kit_for(studio, coordinator).split(b"\n", 1)
    payload = json.loads(SignedDocument.from_bytes(document.strip()).payload)
    with pytest.raises(IdentityError, match="not with another"):
        JoinKit.from_payload(payload).signed(other)
    forged = keys.openssh_public(other.public_key()) + b"\n" + sign("join-kit", payload, other).to_bytes()
    with pytest.raises(DocumentError, match="another plan key"):
        JoinKit.verified(forged)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"studio": "southlight"}, "studio is southlight, expected northlight"),
        ({"federation": "south"}, "federation is south"),
        ({"node_key": "SHA256:" + "A" * 43}, "node key is SHA256"),
        ({"bundle_digest": "cd" * 32}, "installation's digest"),
    ],
)
def test_a_kit_for_somebody_else_changes_nothing(studio, coordinator, changes, said):
    with pytest.raises(IdentityError, match=said):
        join(studio.home, kit_for(studio, coordinator, **changes), now=NOW, bundle_digest=BUNDLE)
    with pytest.raises(IdentityError, match="has not joined"):
        load_kit(studio.home)


def test_a_plan_key_other_than_the_one_read_out_by_phone_is_refused(studio, coordinator):
    with pytest.raises(IdentityError, match="plan key's fingerprint"):
        join(studio.home, kit_for(studio, coordinator), now=NOW, plan_key_fingerprint=coordinator.release_key)


def test_an_expired_authority_is_refused(studio, coordinator):
    with pytest.raises(IdentityError, match="expired"):
        join(studio.home, kit_for(studio, coordinator), now=NOW + timedelta(days=4000))


@pytest.mark.parametrize(
    "changes", [{"ca_pem": "x"}, {"plan_key_pem": "x"}, {"fleet_address": "a"}, {"note": "hi"}]
)
def test_a_kit_with_unreadable_or_unknown_parts_is_malformed(studio, coordinator, changes):
    with pytest.raises(DocumentError, match=next(iter(changes)) if "pem" not in str(changes) else "PEM"):
        kit_for(studio, coordinator, **changes)


def test_a_kit_changed_on_disk_is_refused(studio, coordinator):
    join(studio.home, kit_for(studio, coordinator), now=NOW)
    path = StudioHome(studio.home).coordinator / "kit.json"
    path.write_bytes(path.read_bytes().replace(b"9443", b"9445"))
    with pytest.raises(SignatureError, match="changed after signing"):
        load_kit(studio.home)


@pytest.mark.parametrize("data", [b"", b"rubbish", b"rubbish\nrubbish", b"x" * 5000 + b"\n{}"])
def test_rubbish_is_neither_a_request_nor_a_kit(data):
    for form in (JoinRequest, JoinKit):
        with pytest.raises(DocumentError, match="the file is no join"):
            form.verified(data)


def test_a_request_is_no_kit(studio):
    with pytest.raises(SignatureError, match="expected a signed join-kit"):
        JoinKit.verified(studio.request.read_bytes())


def test_a_home_is_set_up_once(studio, coordinator):
    with pytest.raises(IdentityError, match="set up already"):
        init_studio(studio.home, StudioConfig(name="a", federation="b"), size_tier="s", now=NOW)
    with pytest.raises(IdentityError, match="set up already"):
        init_coordinator(coordinator.home, FederationConfig(name="a", hosts=("h",)), now=NOW)


def test_a_set_up_that_was_killed_goes_on_with_the_keys_it_has(studio, coordinator):
    StudioHome(studio.home).config.unlink()
    config = StudioConfig(name="northlight", federation="north")
    assert init_studio(studio.home, config, size_tier="s", now=NOW).fingerprint == studio.fingerprint
    home = CoordinatorHome(coordinator.home)
    before = {path: path.read_bytes() for path in (*home.keys.iterdir(), home.ca)}
    home.config.unlink()
    (home.keys / "superlink.secret").unlink()
    config = FederationConfig(name="north", hosts=("agg.example.org",))
    assert init_coordinator(coordinator.home, config, now=NOW) == coordinator
    kept = {path for path in before if path.name != "superlink.secret"}
    assert all(path.read_bytes() == before[path] for path in kept)


def test_a_renewed_certificate_keeps_authority_and_key(coordinator):
    home = CoordinatorHome(coordinator.home)
    key, old = (home.keys / "server.key").read_bytes(), home.server_certificate.read_bytes()
    config = FederationConfig(name="north", hosts=("new.example.org",))
    until = renew_server_certificate(coordinator.home, config, now=NOW + timedelta(days=300))
    assert until.date() == (NOW + timedelta(days=697)).date()
    assert home.server_certificate.read_bytes() != old
    assert (home.keys / "server.key").read_bytes() == key


def test_a_size_tier_that_is_no_name_is_refused_before_anything_is_sent(tmp_path):
    config = StudioConfig(name="northlight", federation="north")
    with pytest.raises(DocumentError, match="size_tier"):
        init_studio(tmp_path / "s", config, size_tier="Ten Shots", now=NOW)
    assert not StudioHome(tmp_path / "s").config.exists()
