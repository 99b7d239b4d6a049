import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.documents import (
    DOCUMENT_BYTES_MAX,
    SignedDocument,
    canonical_json,
    key_id,
    sign,
)
from federation.errors import DocumentError, SignatureError

ED25519 = ed25519.Ed25519PrivateKey.generate()
P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
KEYS = [ED25519, P256, P384]
PAYLOAD = {"studio": "northlight", "number": 3, "list": [1.5, None, "é"]}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('aé\n"\\'),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("key", KEYS)
def test_a_signed_document_survives_its_bytes(key):
    document = SignedDocument.from_bytes(sign("plan", PAYLOAD, key).to_bytes())
    assert document.verified("plan", key.public_key()) == PAYLOAD
    assert document.key_id == key_id(key.public_key())


@given(payload=st.dictionaries(st.text("abc", max_size=4), json_values, max_size=4))
@settings(max_examples=80, deadline=None)
def test_any_json_object_is_signed_and_read_back(payload):
    document = SignedDocument.from_bytes(sign("plan", payload, ED25519).to_bytes())
    assert document.verified("plan", ED25519.public_key()) == payload
    assert canonical_json(json.loads(document.payload)) == document.payload


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7), which=st.sampled_from([0, 1]))
@settings(max_examples=150, deadline=None)
def test_no_changed_bit_yields_another_payload(position, bit, which):
    key = KEYS[which]
    data = bytearray(sign("plan", PAYLOAD, key).to_bytes())
    data[position % len(data)] ^= 1 << bit
    with pytest.raises(DocumentError):
        SignedDocument.from_bytes(bytes(data)).verified("plan", key.public_key())


@given(cut=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_no_truncated_document_is_read(cut):
    data = sign("plan", PAYLOAD, ED25519).to_bytes()
    with pytest.raises(DocumentError):
        SignedDocument.from_bytes(data[: cut % len(data)])


@given(data=st.binary(max_size=200))
@settings(max_examples=80, deadline=None)
def test_rubbish_is_a_document_error(data):
    with pytest.raises(DocumentError):
        SignedDocument.from_bytes(data)


def test_a_signature_for_one_kind_serves_for_no_other():
    document = sign("plan", PAYLOAD, ED25519)
    with pytest.raises(SignatureError, match="expected a signed instruction, got a signed plan"):
        document.verified("instruction", ED25519.public_key())
    renamed = SignedDocument("instruction", document.payload, document.key_id, document.signature)
    with pytest.raises(SignatureError, match="does not hold"):
        renamed.verified("instruction", ED25519.public_key())


def test_a_boundary_between_kind_and_payload_cannot_be_moved():
    document = sign("plan", {}, ED25519)
    moved = SignedDocument("pla", b"n\0{}", document.key_id, document.signature)
    with pytest.raises(SignatureError):
        moved.verified("pla", ED25519.public_key())


def test_another_key_is_refused_even_when_it_claims_the_expected_id():
    other = ed25519.Ed25519PrivateKey.generate()
    document = sign("plan", PAYLOAD, other)
    with pytest.raises(SignatureError, match="not by the expected key") as raised:
        document.verified("plan", ED25519.public_key())
    assert "phone" in raised.value.hint
    lying = SignedDocument("plan", document.payload, key_id(ED25519.public_key()), document.signature)
    with pytest.raises(SignatureError, match="changed after signing"):
        lying.verified("plan", ED25519.public_key())


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), {1, 2}, b"x", object(), "\ud800"]
)
def test_what_json_cannot_say_is_not_signed(value):
    with pytest.raises(DocumentError, match="canonical JSON"):
        sign("plan", {"value": value}, ED25519)


@pytest.mark.parametrize("payload", [b'{"a":NaN}', b'{"a":Infinity}', b"[1]", b"3", b"", b"[" * 100_000])
def test_a_signed_payload_that_is_no_plain_json_object_is_refused(payload):
    signature = ED25519.sign(b"fedroto:plan\0" + payload)
    document = SignedDocument("plan", payload, key_id(ED25519.public_key()), signature)
    with pytest.raises(DocumentError):
        document.verified("plan", ED25519.public_key())


def envelope(**changes):
    fields = json.loads(sign("plan", PAYLOAD, ED25519).to_bytes())
    fields.update(changes)
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"note": "hi"}, "text fields"),
        ({"kind": ...}, "text fields"),
        ({"signature": 3}, "text fields"),
        ({"payload": {"a": 1}}, "text fields"),
        ({"schema": "fedroto.signed/2"}, "schema is 'fedroto.signed/2'"),
        ({"signature": "not base64!"}, "base64"),
        ({"kind": float("nan")}, "NaN"),
        ({"payload": "\ud800"}, "not UTF-8"),
    ],
)
def test_an_envelope_with_other_fields_is_refused(changes, said):
    with pytest.raises(DocumentError, match=said):
        SignedDocument.from_bytes(envelope(**changes))


def test_an_empty_or_foreign_signature_is_refused():
    for signature in (b"", b"\0" * 64, b"\0" * 10_000):
        document = SignedDocument.from_bytes(envelope(signature=base64.b64encode(signature).decode()))
        with pytest.raises(SignatureError):
            document.verified("plan", ED25519.public_key())


def test_nothing_beyond_the_size_limit_is_parsed():
    with pytest.raises(DocumentError, match=f"at most {DOCUMENT_BYTES_MAX}"):
        SignedDocument.from_bytes(b" " * (DOCUMENT_BYTES_MAX + 1))


def test_two_equal_objects_have_one_canonical_form():
    assert (
        canonical_json({"b": 1, "a": "é"}) == canonical_json({"a": "é", "b": 1}) == '{"a":"é","b":1}'.encode()
    )
