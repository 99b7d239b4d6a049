import sqlite3

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from aggregator.enrolment import ENROLMENT_FILE, Enrolment, StudioState
from federation.errors import FedrotoError, IdentityError
from federation.keys import fingerprint, openssh_public
from federation.plan import LedgerHead


def new_key(curve=None):
    return openssh_public(ec.generate_private_key(curve or ec.SECP384R1()).public_key()).decode()


KEYS = [new_key() for _ in range(3)]


@pytest.fixture
def book(tmp_path):
    with Enrolment(tmp_path) as enrolment:
        yield enrolment


def head(sequence, digit="a"):
    return LedgerHead(sequence=sequence, hash=digit * 64)


def test_an_admitted_studio_is_there_after_reopening(book, tmp_path):
    book.admit("ash", "s", KEYS[0] + " somebody@somewhere\n", now=5)
    book.close()
    with Enrolment(tmp_path) as again:
        studio = again.studio("ash")
    assert (studio.size_tier, studio.public_key, studio.changed_at) == ("s", KEYS[0], 5)
    assert studio.is_admitted
    assert studio.seen_head is None
    assert studio.fingerprint.startswith("SHA256:")


def test_admitting_twice_changes_nothing(book):
    first = book.admit("ash", "s", KEYS[0], now=5)
    assert book.admit("ash", "s", KEYS[0], now=9) == first


@pytest.mark.parametrize(("tier", "key"), [("m", 0), ("s", 1)])
def test_an_admitted_studio_is_not_changed_by_admitting_it_otherwise(book, tier, key):
    before = book.admit("ash", "s", KEYS[0], now=5)
    with pytest.raises(IdentityError, match="admitted already"):
        book.admit("ash", tier, KEYS[key], now=6)
    assert book.studio("ash") == before


def test_one_key_cannot_be_two_studios(book):
    book.admit("ash", "s", KEYS[0], now=5)
    with pytest.raises(IdentityError, match="studio ash's"):
        book.admit("birch", "s", KEYS[0], now=6)
    assert [studio.name for studio in book.studios()] == ["ash"]


def test_a_revoked_key_never_comes_back_for_anybody(book):
    book.admit("ash", "s", KEYS[0], now=5)
    assert book.revoke("ash", now=6).state is StudioState.REVOKED
    assert book.revoke("ash", now=7).changed_at == 6
    for name in ("ash", "birch"):
        with pytest.raises(IdentityError, match="cannot come back"):
            book.admit(name, "s", KEYS[0], now=8)


def test_a_revoked_studio_comes_back_with_a_new_key_and_its_ledger_goes_on(book):
    book.admit("ash", "s", KEYS[0], now=5)
    book.record_head("ash", head(7))
    book.revoke("ash", now=6)
    again = book.admit("ash", "m", KEYS[1], now=7)
    assert again.is_admitted
    assert (again.size_tier, again.seen_head) == ("m", head(7))


def test_a_rotated_key_replaces_the_old_one_for_ever(book):
    book.admit("ash", "s", KEYS[0], now=5)
    assert book.rotate_key("ash", KEYS[1], now=6).public_key == KEYS[1]
    with pytest.raises(IdentityError, match="cannot come back"):
        book.rotate_key("ash", KEYS[0], now=7)
    book.revoke("ash", now=8)
    with pytest.raises(IdentityError, match="revoked"):
        book.rotate_key("ash", KEYS[2], now=9)


def test_ledger_heads_only_go_forward(book):
    book.admit("ash", "s", KEYS[0], now=5)
    book.record_head("ash", head(7), 4.5)
    book.record_head("ash", head(6, "b"), 6.0)
    book.record_head("ash", head(7, "c"))
    assert (book.studio("ash").seen_head, book.studio("ash").epsilon_left) == (head(7), 4.5)
    book.record_head("ash", head(8, "d"))
    assert book.studio("ash").seen_head == head(8, "d")
    assert book.studio("ash").epsilon_left is None, "it shares it no more"


def test_not_even_sql_takes_a_ledger_head_back(book, tmp_path):
    book.admit("ash", "s", KEYS[0], now=5)
    book.record_head("ash", head(7))
    book.close()
    connection = sqlite3.connect(tmp_path / ENROLMENT_FILE)
    with pytest.raises(sqlite3.IntegrityError, match="never goes back"):
        connection.execute("UPDATE studios SET head_sequence = 3")
    connection.close()


@pytest.mark.parametrize(
    "key",
    [
        "not a key",
        "",
        new_key(ec.SECP256R1()),
        openssh_public(ed25519.Ed25519PrivateKey.generate().public_key()).decode(),
    ],
)
def test_a_key_that_is_no_node_key_is_refused(book, key):
    with pytest.raises(IdentityError):
        book.admit("ash", "s", key, now=5)
    assert book.studios() == ()


@pytest.mark.parametrize("name", ["", "Ash", "../ash", "a/b", "-ash", "a" * 64])
def test_a_name_that_is_no_name_is_refused(book, name):
    with pytest.raises(IdentityError, match="not a name"):
        book.admit(name, "s", KEYS[0], now=5)


def test_an_unknown_studio_is_named_together_with_the_known_ones(book):
    book.admit("ash", "s", KEYS[0], now=5)
    with pytest.raises(IdentityError, match=r"no studio is called 'oak'; enrolled: ash"):
        book.studio("oak")
    with pytest.raises(IdentityError):
        book.record_head("oak", head(1))


def test_a_folder_that_is_missing_or_a_file_that_is_no_database_says_which(tmp_path):
    with pytest.raises(FedrotoError, match=r"studios\.sqlite"):
        Enrolment(tmp_path / "nowhere")
    (tmp_path / ENROLMENT_FILE).write_bytes(b"this is not SQLite" * 100)
    with pytest.raises(FedrotoError, match=r"studios\.sqlite: file is not a database"):
        Enrolment(tmp_path)


def test_fingerprints_are_those_that_people_compare(book):
    studio = book.admit("ash", "s", KEYS[0], now=5)
    from federation.keys import read_openssh_public

    assert studio.fingerprint == fingerprint(read_openssh_public(KEYS[0].encode()))
