"""A studio's signature over an update: one size, one value, and good for one answer to one question only."""

import dataclasses

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import MessageError, SignatureError
from federation.messages import UPDATE_SIGNATURE_BYTES, SignedUpdate, TrainUpdate
from federation.update_signature import UpdateSubject, require_signature, sign_update

KEY = ec.generate_private_key(ec.SECP384R1())
UPDATE = TrainUpdate(np.arange(8, dtype=np.float32) / 8, "a" * 64, 3, "b" * 64)
SUBJECT = UpdateSubject("spring", 4, "alder", "a" * 64, "c" * 64)


def test_it_holds_for_what_was_signed():
    require_signature(sign_update(UPDATE, SUBJECT, KEY), SUBJECT, KEY.public_key())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20))
def test_it_has_one_size_and_one_value(sequence, values):
    update = TrainUpdate(np.array(values, np.float32), "a" * 64, sequence, "b" * 64)
    signed = sign_update(update, SUBJECT, KEY)
    assert len(signed.signature) == UPDATE_SIGNATURE_BYTES
    assert sign_update(update, SUBJECT, KEY).signature == signed.signature


@pytest.mark.parametrize(
    "changed",
    [
        {"campaign": "autumn"},
        {"server_round": 5},
        {"studio": "birch"},
        {"plan_digest": "d" * 64},
        {"base_digest": "d" * 64},
    ],
)
def test_it_is_good_for_one_question(changed):
    signed = sign_update(UPDATE, SUBJECT, KEY)
    with pytest.raises(SignatureError, match="not what studio"):
        require_signature(signed, dataclasses.replace(SUBJECT, **changed), KEY.public_key())


@pytest.mark.parametrize(
    "changed",
    [
        {"update": -UPDATE.update},
        {"update": UPDATE.update[:-1]},
        {"plan_digest": "e" * 64},
        {"ledger_sequence": 4},
        {"ledger_hash": "e" * 64},
    ],
)
def test_it_is_good_for_one_answer(changed):
    signature = sign_update(UPDATE, SUBJECT, KEY).signature
    with pytest.raises(SignatureError):
        require_signature(
            SignedUpdate(dataclasses.replace(UPDATE, **changed), signature), SUBJECT, KEY.public_key()
        )


@pytest.mark.parametrize("signature", [bytes(96), b"\xff" * 96, bytes(range(96))])
def test_bytes_that_are_no_signature_are_refused(signature):
    with pytest.raises(SignatureError):
        require_signature(SignedUpdate(UPDATE, signature), SUBJECT, KEY.public_key())


def test_another_key_or_another_kind_of_key_is_refused():
    signed = sign_update(UPDATE, SUBJECT, KEY)
    for key in (ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()):
        with pytest.raises(SignatureError):
            require_signature(signed, SUBJECT, key.public_key())


@pytest.mark.parametrize("size", [0, 95, 97, 1000])
def test_a_signature_of_another_size_is_no_message(size):
    with pytest.raises(MessageError, match="96 bytes"):
        SignedUpdate(UPDATE, bytes(size))
