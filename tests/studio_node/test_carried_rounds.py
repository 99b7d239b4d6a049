"""A carried question at the studio: only its own coordinator's, only for it, only for this installation."""

from datetime import UTC, datetime

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from signed_instruction import PLAN_KEY, signed_instruction

from federation import certificates, keys, set_up
from federation.carried import verified_answer
from federation.config import StudioConfig
from federation.documents import SignatureError, digest
from federation.errors import IdentityError, MessageError, RefusalCode, RefusedError
from federation.flower.bundle import build_bundle, bundle_digest
from federation.messages import TrainRefusal, TrainRequest, TrainUpdate, encode_request
from federation.provisioning import KIT_SCHEMA, JoinKit
from federation.update_signature import UpdateSubject, require_signature
from studio_node.carried_rounds import answer_question

NOW = datetime.now(UTC)
DIGEST = bundle_digest(build_bundle())
UPDATE = TrainUpdate(np.ones(4, np.float32), "a" * 64, 7, "b" * 64)


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "node"
    config = StudioConfig.from_fields({"name": "alder", "federation": "north"})
    made = set_up.init_studio(home, config, size_tier="s", now=NOW)
    pem = keys.public_pem(PLAN_KEY.public_key()).decode()
    kit = JoinKit.from_payload(
        {
            "schema": KIT_SCHEMA,
            "federation": "north",
            "studio": "alder",
            "size_tier": "s",
            "node_key": made.fingerprint,
            "fleet_address": "localhost:9443",
            "service_address": "localhost:9444",
            "ca_pem": certificates.create_authority("north", now=NOW).certificate_pem.decode(),
            "plan_key_pem": pem,
            "release_key_pem": pem,
            "bundle_digest": DIGEST,
            "created_at": int(NOW.timestamp()),
        }
    )
    set_up.join(home, kit.signed(PLAN_KEY), now=NOW)
    return home


def question(folder, *, key=PLAN_KEY, **changed):
    instruction = signed_instruction(key, **({"bundle_digest": DIGEST} | changed))
    file = folder / "autumn.question"
    file.write_bytes(encode_request(TrainRequest(b"plan", instruction, np.zeros(4, np.float32))))
    return file


def test_the_runners_reply_comes_back_signed_by_the_node_key(home, tmp_path):
    asked = []
    file = question(tmp_path)
    result = answer_question(home, file, ask=lambda request: asked.append(request) or UPDATE)
    assert (result.campaign, result.server_round, result.refusal) == ("autumn", 7, None)
    assert result.answer == tmp_path / "autumn.answer"
    public = keys.load_node_key(home / "keys" / "node_key").private.public_key()
    reply = verified_answer(result.answer.read_bytes(), public, question_digest=digest(file.read_bytes()))
    np.testing.assert_array_equal(reply.content.update, UPDATE.update)
    require_signature(reply, UpdateSubject("autumn", 7, "alder", "a" * 64, "c" * 64), public)
    assert len(asked) == 1


def test_a_refusal_is_answered_as_one(home, tmp_path):
    result = answer_question(home, question(tmp_path), ask=lambda _: TrainRefusal(RefusalCode.NO_CONSENT))
    assert result.refusal is RefusalCode.NO_CONSENT
    assert result.answer.exists()


def test_a_runner_that_is_not_up_writes_no_answer(home, tmp_path):
    with pytest.raises(RefusedError, match="there is no answer yet"):
        answer_question(home, question(tmp_path), ask=lambda _: TrainRefusal(RefusalCode.BUSY))
    assert not (tmp_path / "autumn.answer").exists()


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"key": ed25519.Ed25519PrivateKey.generate()}, SignatureError),
        ({"studio": "birch"}, IdentityError),
        ({"bundle_digest": "f" * 64}, IdentityError),
    ],
)
def test_a_question_that_is_not_for_this_studio_never_reaches_the_runner(home, tmp_path, changed, error):
    with pytest.raises(error):
        answer_question(
            home, question(tmp_path, **changed), ask=lambda _: pytest.fail("the runner was asked")
        )


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d + b"x", lambda d: b"", lambda d: b"#" + d[1:]]
)
def test_a_damaged_question_is_refused(home, tmp_path, damage):
    file = question(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(MessageError):
        answer_question(home, file, ask=lambda _: pytest.fail("the runner was asked"))
