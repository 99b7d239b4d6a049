import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import keys
from federation.documents import DOCUMENT_BYTES_MAX, sign
from federation.errors import DocumentError, ReleaseError, SignatureError
from federation.release_log import ENTRIES_MAX, LOG_KIND, NOTHING_BEFORE, ReleaseLog
from tests.federation.signed_releases import base_manifest

EMPTY = ReleaseLog(federation="north")


def manifest(number, created_at=0):
    return base_manifest(number=number, created_at=created_at)


def promoted(*numbers):
    log = EMPTY
    for number in numbers:
        log = log.promoting(manifest(number), at=number)
    return log


def test_an_empty_log_hands_out_nothing():
    assert (EMPTY.current, EMPTY.standing, EMPTY.head) == (None, (), NOTHING_BEFORE)


def test_the_newest_that_stands_is_current():
    log = promoted(1, 2, 5)
    assert (log.current, log.standing) == (5, (1, 2, 5))
    withdrawn = log.withdrawing(manifest(5), " fails on motion blur ", at=9)
    assert (withdrawn.current, withdrawn.standing) == (2, (1, 2))
    assert withdrawn.withdrawn[5].reason == "fails on motion blur"
    assert withdrawn.promoting(manifest(6), at=10).current == 6
    assert (
        withdrawn.withdrawing(manifest(2), "too", at=10).withdrawing(manifest(1), "too", at=11).current
        is None
    )


def test_a_release_that_was_never_handed_out_can_be_withdrawn_and_then_never_is():
    log = promoted(1).withdrawing(manifest(2), "trained on the wrong shows", at=3)
    assert log.current == 1
    with pytest.raises(ReleaseError, match="release 2, which was withdrawn"):
        log.promoting(manifest(2), at=4)


@pytest.mark.parametrize("number", [1, 2])
def test_numbers_of_promoted_releases_only_go_up(number):
    with pytest.raises(ReleaseError, match=f"promotes release {number} after 2"):
        promoted(1, 2).promoting(manifest(number), at=5)


def test_a_release_is_withdrawn_once_and_with_a_reason():
    log = promoted(1).withdrawing(manifest(1), "bad", at=2)
    with pytest.raises(ReleaseError, match="which was withdrawn"):
        log.withdrawing(manifest(1), "bad", at=3)
    with pytest.raises(ReleaseError, match="needs a reason"):
        promoted(1).withdrawing(manifest(1), "  ", at=3)
    with pytest.raises(ReleaseError, match="at most 200"):
        promoted(1).withdrawing(manifest(1), "x" * 201, at=3)


def test_a_log_goes_on_from_every_log_that_it_grew_from_and_from_no_other():
    log = promoted(1, 2)
    longer = log.withdrawing(manifest(2), "bad", at=3)
    for older in (EMPTY, promoted(1), log, longer):
        assert longer.extends(older)
    assert not log.extends(longer)
    other = promoted(1).promoting(manifest(2, created_at=7), at=2)
    assert not other.extends(log)
    assert not longer.extends(ReleaseLog(federation="south"))
    assert len({one.head for one in (EMPTY, promoted(1), log, longer, other)}) == 5


@given(
    place=st.integers(0, 3), field=st.sampled_from(["at", "number", "reason", "previous", "manifest_digest"])
)
def test_no_entry_can_be_changed_without_breaking_the_chain(place, field):
    log = promoted(1, 2, 3).withdrawing(manifest(3), "bad", at=4).promoting(manifest(4), at=5)
    fields = log.model_dump(mode="json", by_alias=True)
    entry = fields["entries"][place]
    entry[field] = {"at": 99, "number": 77, "reason": "changed", "previous": "cd" * 32}.get(field, "cd" * 32)
    with pytest.raises(ReleaseError, match="breaks a rule"):
        ReleaseLog.from_fields(fields)


@pytest.mark.parametrize("change", [lambda e: e.pop(0), lambda e: e.pop(1), lambda e: e.reverse()])
def test_no_entry_can_be_left_out_or_moved(change):
    fields = promoted(1, 2, 3).model_dump(mode="json", by_alias=True)
    change(fields["entries"])
    with pytest.raises(ReleaseError, match="does not follow"):
        ReleaseLog.from_fields(fields)


class TestTheSignedLog:
    @pytest.fixture
    def key(self, tmp_path):
        return keys.create_release_key(tmp_path / "keys")

    def test_survives_its_bytes(self, key):
        log = promoted(1, 2).withdrawing(manifest(2), 'fails on "blur"', at=3)
        assert ReleaseLog.verified(log.to_bytes(key), key.public_key()) == log

    def test_of_another_key_is_refused(self, key, tmp_path):
        other = keys.create_release_key(tmp_path / "other")
        with pytest.raises(SignatureError, match="not by the expected key"):
            ReleaseLog.verified(promoted(1).to_bytes(other), key.public_key())

    def test_changed_after_signing_is_refused(self, key):
        data = promoted(1).to_bytes(key).replace(b"promoted", b"promotes")
        with pytest.raises(SignatureError, match="changed after signing"):
            ReleaseLog.verified(data, key.public_key())

    def test_of_another_kind_is_refused(self, key):
        payload = promoted(1).model_dump(mode="json", by_alias=True)
        with pytest.raises(SignatureError, match="expected a signed release-log"):
            ReleaseLog.verified(sign("plan", payload, key).to_bytes(), key.public_key())

    @pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[" * 9999])
    def test_rubbish_is_refused(self, key, data):
        with pytest.raises(DocumentError):
            ReleaseLog.verified(data, key.public_key())

    @pytest.mark.parametrize(
        "payload", [{}, {"schema": "fedroto.release-log/1", "federation": "north", "x": 1}]
    )
    def test_signed_rubbish_is_refused(self, key, payload):
        with pytest.raises(ReleaseError, match="breaks a rule"):
            ReleaseLog.verified(sign(LOG_KIND, payload, key).to_bytes(), key.public_key())


def test_the_longest_log_fits_into_one_message():
    entry = EMPTY.promoting(manifest(1), at=0).entries[0].model_dump(mode="json")
    entry |= {"number": 999_999, "at": 2_000_000_000, "reason": "x" * 200}
    assert len(json.dumps(json.dumps([entry]))) * ENTRIES_MAX < 500_000 < DOCUMENT_BYTES_MAX
