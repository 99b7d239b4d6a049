import base64
import shutil
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from federation import keys
from federation.documents import sign
from federation.errors import FedrotoError, IdentityError
from federation.flower.roster import public_key_pem


def test_a_node_key_is_what_flower_loads(tmp_path):
    made = keys.create_node_key(tmp_path / "keys")
    path = tmp_path / "keys" / "node_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    private = load_ssh_private_key(path.read_bytes(), None)
    assert isinstance(private.curve, ec.SECP384R1)
    public = load_ssh_public_key((tmp_path / "keys" / "node_key.pub").read_bytes())
    assert private.public_key() == public == made.private.public_key()
    loaded = keys.load_node_key(path)
    assert loaded.public == made.public
    assert loaded.private.private_numbers() == made.private.private_numbers()


@pytest.mark.parametrize(
    ("create", "load", "name"),
    [
        (keys.create_plan_key, keys.load_plan_key, "plan_key"),
        (keys.create_release_key, keys.load_release_key, "release_key"),
        (keys.create_node_key, lambda path: keys.load_node_key(path).private, "node_key"),
    ],
)
class TestEveryPrivateKey:
    def test_is_never_overwritten(self, tmp_path, create, load, name):
        create(tmp_path)
        before = (tmp_path / name).read_bytes()
        with pytest.raises(IdentityError, match="never overwritten"):
            create(tmp_path)
        assert (tmp_path / name).read_bytes() == before

    def test_is_refused_when_others_can_read_it(self, tmp_path, create, load, name):
        create(tmp_path)
        path = tmp_path / name
        path.chmod(0o640)
        with pytest.raises(IdentityError, match=r"mode 0640.*must be 0600") as raised:
            load(path)
        assert raised.value.hint == f"close it with: chmod 600 {path}"

    def test_round_trips(self, tmp_path, create, load, name):
        create(tmp_path)
        first, second = load(tmp_path / name), load(tmp_path / name)
        document = sign("plan", {"a": 1}, first)
        assert document.verified("plan", second.public_key()) == {"a": 1}

    def test_is_refused_when_it_is_rubbish(self, tmp_path, create, load, name):
        path = tmp_path / name
        path.write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----\nrubbish\n")
        path.chmod(0o600)
        with pytest.raises(IdentityError, match="private key"):
            load(path)
        with pytest.raises(IdentityError, match="cannot read"):
            load(tmp_path / "missing")


def test_each_loader_refuses_the_other_kinds(tmp_path):
    keys.create_plan_key(tmp_path)
    keys.create_release_key(tmp_path)
    with pytest.raises(IdentityError, match="not an Ed25519"):
        keys.load_plan_key(tmp_path / "release_key")
    with pytest.raises(IdentityError, match="not an EC P-256"):
        keys.load_release_key(tmp_path / "plan_key")
    with pytest.raises(IdentityError, match="OpenSSH"):
        keys.load_node_key(tmp_path / "plan_key")


def test_a_secret_is_32_bytes_and_private(tmp_path):
    path = tmp_path / "keys" / "superlink.secret"
    keys.create_secret(path)
    assert len(keys.read_private(path)) == 32
    with pytest.raises(IdentityError, match="never overwritten"):
        keys.create_secret(path)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
@pytest.mark.parametrize(
    "private", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_the_fingerprint_is_the_one_that_ssh_keygen_prints(tmp_path, private):
    path = tmp_path / "key.pub"
    path.write_bytes(keys.openssh_public(private.public_key()) + b"\n")
    printed = subprocess.run(["ssh-keygen", "-lf", path], capture_output=True, text=True, check=True).stdout
    assert printed.split()[1] == keys.fingerprint(private.public_key())


def test_public_keys_round_trip_and_foreign_kinds_are_refused():
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    assert keys.read_public_pem(keys.public_pem(public)) == public
    assert keys.read_openssh_public(keys.openssh_public(public)) == public
    foreign = rsa.generate_private_key(65537, 2048).public_key()
    for read, data in (
        (keys.read_public_pem, keys.public_pem(foreign)),
        (keys.read_openssh_public, keys.openssh_public(foreign)),
        (keys.read_public_pem, b"rubbish"),
        (keys.read_openssh_public, b"ssh-ed25519 rubbish"),
    ):
        with pytest.raises(FedrotoError):
            read(data)


def test_a_huge_or_special_file_is_no_key(tmp_path):
    huge = tmp_path / "huge"
    huge.write_bytes(b"x" * (keys.KEY_FILE_BYTES_MAX + 1))
    huge.chmod(0o600)
    with pytest.raises(IdentityError, match="no key"):
        keys.read_private(huge)
    with pytest.raises(IdentityError):
        keys.read_private(tmp_path)


def test_a_public_key_with_a_compressed_point_is_refused(tmp_path):
    kind, blob, *_ = keys.create_node_key(tmp_path).public.split()
    data = bytearray(base64.b64decode(blob))
    data[-97] = 2  # the point's first byte: 4 says that both coordinates follow
    line = kind + b" " + base64.b64encode(data)
    with pytest.raises(IdentityError, match="not an OpenSSH public key"):
        keys.read_openssh_public(line)
    with pytest.raises(IdentityError, match="cannot be read"):
        public_key_pem(line)
