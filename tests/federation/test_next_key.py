"""A studio's next node key: made beside the one in use, adopted whole."""

import stat
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from federation import certificates, keys, set_up
from federation.config import StudioConfig
from federation.errors import IdentityError
from federation.next_key import adopt_next_key, made_next_key, next_key, next_key_path
from federation.provisioning import KIT_SCHEMA, JoinKit, JoinRequest
from federation.studio_rotation import begin_rotation, send_rotation

NOW = datetime(2026, 11, 1, tzinfo=UTC)
PLAN_KEY = ed25519.Ed25519PrivateKey.generate()


def kit(node_key):
    return JoinKit.from_payload(
        {
            "schema": KIT_SCHEMA,
            "federation": "north",
            "studio": "alder",
            "size_tier": "m",
            "node_key": node_key,
            "fleet_address": "localhost:9443",
            "service_address": "localhost:1",  # nobody is there
            "ca_pem": certificates.create_authority("north", now=NOW).certificate_pem.decode(),
            "plan_key_pem": keys.public_pem(PLAN_KEY.public_key()).decode(),
            "release_key_pem": keys.public_pem(PLAN_KEY.public_key()).decode(),
            "bundle_digest": "b" * 64,
            "created_at": int(NOW.timestamp()),
        }
    ).signed(PLAN_KEY)


@pytest.fixture
def studio(tmp_path):
    home = tmp_path / "node"
    config = StudioConfig.from_fields({"name": "alder", "federation": "north"})
    made = set_up.init_studio(home, config, size_tier="s", now=NOW)
    set_up.join(home, kit(made.fingerprint), now=NOW)
    return home


def in_use(home):
    return keys.load_node_key(home / "keys" / "node_key").public


def test_a_rotation_leaves_the_key_in_use_and_proves_the_next_one(studio):
    before = in_use(studio)
    begun = begin_rotation(studio, now=NOW)
    request = JoinRequest.verified(begun.request.read_bytes())
    assert in_use(studio) == before
    assert request.node_public_key.encode() == next_key(studio).public != before
    assert (request.studio, request.size_tier, request.fingerprint) == ("alder", "m", begun.fingerprint)
    assert stat.S_IMODE(next_key_path(studio).stat().st_mode) == 0o600


def test_beginning_twice_gives_the_same_key(studio):
    assert begin_rotation(studio, now=NOW).fingerprint == begin_rotation(studio, now=NOW).fingerprint


def test_a_request_that_cannot_go_over_the_line_is_left_as_a_file(studio):
    begun = begin_rotation(studio, now=NOW)
    sent = send_rotation(studio, begun)
    assert (sent.sent_to, sent.request, sent.fingerprint) == (None, begun.request, begun.fingerprint)
    assert "does not answer" in sent.why_not_sent


def test_a_studio_that_has_not_joined_cannot_rotate(tmp_path):
    config = StudioConfig.from_fields({"name": "alder", "federation": "north"})
    set_up.init_studio(tmp_path / "node", config, size_tier="s", now=NOW)
    with pytest.raises(IdentityError, match="has not joined"):
        begin_rotation(tmp_path / "node", now=NOW)


def test_adopting_puts_the_next_key_in_place_and_keeps_the_old_one_closed(studio):
    before = in_use(studio)
    made = made_next_key(studio).public
    assert adopt_next_key(studio)
    assert in_use(studio) == made
    assert (studio / "keys" / "node_key.pub").read_bytes().strip() == made
    replaced = studio / "keys" / "node_key.replaced"
    assert keys.load_node_key(replaced).public == before
    assert not adopt_next_key(studio)


def test_an_adoption_that_was_killed_before_the_rename_is_finished_by_the_next(studio, monkeypatch):
    before, made = in_use(studio), made_next_key(studio).public

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", _only_node_key(killed))
    with pytest.raises(KeyboardInterrupt):
        adopt_next_key(studio)
    assert in_use(studio) == before
    monkeypatch.undo()
    assert adopt_next_key(studio)
    assert in_use(studio) == made


def _only_node_key(killed):
    from pathlib import Path

    replace = Path.replace
    return lambda path, target: killed() if path.parent.name == "next" else replace(path, target)


def test_a_next_key_that_others_can_read_is_never_adopted(studio):
    before = in_use(studio)
    made_next_key(studio)
    next_key_path(studio).chmod(0o644)
    with pytest.raises(IdentityError, match="open to other users"):
        adopt_next_key(studio)
    assert in_use(studio) == before


def test_the_new_kit_is_taken_in_with_the_next_key_and_after_it(studio):
    begun = begin_rotation(studio, now=NOW)
    set_up.join(studio, kit(begun.fingerprint), now=NOW)
    assert (
        keys.fingerprint(keys.load_node_key(studio / "keys" / "node_key").private.public_key())
        == begun.fingerprint
    )
    assert next_key(studio) is None
    set_up.join(studio, kit(begun.fingerprint), now=NOW)  # once more changes nothing


def test_a_kit_for_neither_key_changes_nothing(studio):
    made_next_key(studio)
    before = in_use(studio)
    with pytest.raises(IdentityError, match="node key"):
        set_up.join(studio, kit("SHA256:" + "A" * 43), now=NOW)
    assert in_use(studio) == before
    assert next_key(studio) is not None
