"""The keys of studios and coordinators: made, stored, loaded, and named for people.

| key          | owner       | kind              | file form            | signs                               |
|--------------|-------------|-------------------|----------------------|-------------------------------------|
| node key     | studio      | EC P-384          | OpenSSH              | Flower's requests, its join request |
| plan key     | coordinator | Ed25519           | PKCS#8 PEM           | plans, instructions, join kits      |
| release key  | coordinator | EC P-256          | PKCS#8 PEM           | releases (OpenSSF Model Signing)    |
| secret       | coordinator | 32 random bytes   | raw                  | nothing: SuperLink's own processes  |

The kinds are what Flower (an EC key on a NIST curve, in OpenSSH form) and Model Signing (ECDSA, no Ed25519) accept.
Private files are 0600 and are refused when others can read them.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from federation.documents import PrivateKey, PublicKey
from federation.durable import make_private_dir, write_atomic
from federation.errors import IdentityError

NODE_KEY, PLAN_KEY, RELEASE_KEY = "node_key", "plan_key", "release_key"
KEY_FILE_BYTES_MAX = 16 * 1024
SECRET_BYTES = 32


class NodeKey(NamedTuple):
    """A studio's node key.

    Attributes:
        private: EC P-384.
        public: its public half, one OpenSSH line without a comment.
    """

    private: ec.EllipticCurvePrivateKey
    public: bytes


def create_node_key(directory: Path) -> NodeKey:
    """Make a studio's key pair as ``node_key`` (0600) and ``node_key.pub`` in a private folder.

    Raises:
        IdentityError: the folder holds a node key already.
        FedrotoError: the disk refused.
    """
    private = ec.generate_private_key(ec.SECP384R1())
    data = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    if (directory / NODE_KEY).exists():
        raise _already_there(directory / NODE_KEY)
    public = openssh_public(private.public_key())
    make_private_dir(directory)
    write_atomic(
        directory / f"{NODE_KEY}.pub", public + b"\n"
    )  # first: a private key never lacks its public half
    store_private(directory / NODE_KEY, data)
    return NodeKey(private, public)


def load_node_key(path: Path) -> NodeKey:
    """Load a studio's node key from its OpenSSH file.

    Raises:
        IdentityError: missing, readable by others, not OpenSSH, or not EC P-384.
    """
    try:
        private = serialization.load_ssh_private_key(read_private(path), password=None)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IdentityError(f"{path} holds no OpenSSH private key without passphrase: {error}") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP384R1):
        raise IdentityError(f"{path} is not an EC P-384 key; Flower's nodes sign with one")
    return NodeKey(private, openssh_public(private.public_key()))


def create_plan_key(directory: Path) -> ed25519.Ed25519PrivateKey:
    """Make the coordinator's Ed25519 key for plans, instructions and kits as ``plan_key`` in a private folder.

    Raises:
        IdentityError: the folder holds a plan key already.
        FedrotoError: the disk refused.
    """
    private = ed25519.Ed25519PrivateKey.generate()
    store_private(directory / PLAN_KEY, private_pem(private))
    return private


def load_plan_key(path: Path) -> ed25519.Ed25519PrivateKey:
    """Load the coordinator's plan key.

    Raises:
        IdentityError: missing, readable by others, not PEM, or not Ed25519.
    """
    private = _load_private_pem(path)
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise IdentityError(f"{path} is not an Ed25519 key; plans and instructions are signed with one")
    return private


def create_release_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    """Make the coordinator's EC P-256 key for releases as ``release_key`` in a private folder.

    Raises:
        IdentityError: the folder holds a release key already.
        FedrotoError: the disk refused.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    store_private(directory / RELEASE_KEY, private_pem(private))
    return private


def load_release_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Load the coordinator's release key.

    Raises:
        IdentityError: missing, readable by others, not PEM, or not EC P-256.
    """
    private = _load_private_pem(path)
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise IdentityError(f"{path} is not an EC P-256 key; releases are signed with one")
    return private


def create_secret(path: Path) -> None:
    """Write 32 random bytes (0600), the secret between a SuperLink and the processes that it trusts.

    Raises:
        IdentityError: the file is there already.
        FedrotoError: the disk refused.
    """
    store_private(path, os.urandom(SECRET_BYTES))


def fingerprint(public_key: PublicKey) -> str:
    """Name a key for people to compare by phone: ``SHA256:...``, as ``ssh-keygen -l`` prints it."""
    blob = base64.b64decode(openssh_public(public_key).split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def openssh_public(public_key: PublicKey) -> bytes:
    """Write a public key as one OpenSSH line without a comment."""
    return public_key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def read_openssh_public(line: bytes) -> PublicKey:
    """Read a public key from one OpenSSH line.

    Raises:
        IdentityError: not one, or neither EC nor Ed25519.
    """
    try:
        public = serialization.load_ssh_public_key(line)
    except (
        ValueError,
        NotImplementedError,
        UnsupportedAlgorithm,
    ) as error:  # the second for a compressed point
        raise IdentityError(f"not an OpenSSH public key: {error}") from error
    if not isinstance(public, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise IdentityError(f"the public key is a {type(public).__name__}; expected EC or Ed25519")
    return public


def public_pem(public_key: PublicKey) -> bytes:
    """Write a public key as PEM (SubjectPublicKeyInfo)."""
    return public_key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def read_public_pem(data: bytes) -> PublicKey:
    """Read a public key from PEM.

    Raises:
        IdentityError: not PEM, or neither EC nor Ed25519.
    """
    try:
        public = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IdentityError(f"not a public key in PEM: {error}") from error
    if not isinstance(public, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise IdentityError(f"the public key is a {type(public).__name__}; expected EC or Ed25519")
    return public


def private_pem(private_key: PrivateKey) -> bytes:
    """Write a private key as unencrypted PKCS#8 PEM; whoever stores it keeps it 0600."""
    return private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_private(path: Path) -> bytes:
    """Read a private file that nobody but its owner may read.

    Raises:
        IdentityError: missing, too large, not a plain file, or open to others (names the mode and the remedy).
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise IdentityError(f"{path} is not a plain file")
            if status.st_mode & 0o077:
                raise IdentityError(
                    f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}); "
                    "a private key must be 0600",
                    hint=f"close it with: chmod 600 {path}",
                )
            data = file.read(KEY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise IdentityError(f"cannot read the private file {path}: {error.strerror}") from error
    if len(data) > KEY_FILE_BYTES_MAX:
        raise IdentityError(f"{path} has more than {KEY_FILE_BYTES_MAX} bytes; that is no key")
    return data


def store_private(path: Path, data: bytes) -> None:
    """Write a private file (0600) in a private folder (0700), once: an existing one is never replaced.

    Raises:
        IdentityError: the file is there already.
        FedrotoError: the disk refused.
    """
    if path.exists():
        raise _already_there(path)
    make_private_dir(path.parent)
    write_atomic(path, data, mode=0o600)


def _already_there(path: Path) -> IdentityError:
    return IdentityError(
        f"{path} is there already and is never overwritten",
        hint="a key that is lost or stolen is replaced by hand: move it away first",
    )


def _load_private_pem(path: Path) -> object:
    try:
        return serialization.load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IdentityError(f"{path} holds no private key in unencrypted PEM: {error}") from error
