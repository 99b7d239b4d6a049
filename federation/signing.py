"""Signing and verifying a release's folder in the OpenSSF Model Signing format, with the official package.

The signature ``model.sig`` is a sigstore bundle over the SHA-256 of every other file of the folder; it is made and
checked offline with the coordinator's EC P-256 release key. Anyone can check it without fedroto:

    python -m model_signing verify key FOLDER --signature FOLDER/model.sig --public_key release_key.pub

The package is imported on first use (half a second). It imports OpenSSL without declaring it, and it cannot use
Ed25519 keys.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature

from federation.errors import ReleaseError
from federation.keys import load_release_key
from federation.release_manifest import SIGNATURE

if TYPE_CHECKING:
    from model_signing.hashing import Config as HashingConfig


def sign_folder(folder: Path, release_key: Path) -> Path:
    """Sign every file of a release's folder; returns the signature's path.

    Args:
        folder: the release, all but its signature.
        release_key: the coordinator's private key, EC P-256 PEM, 0600.

    Raises:
        IdentityError: the key is missing, readable by others or of another kind.
        ReleaseError: a file cannot be hashed, or is a link.
    """
    from model_signing.signing import Config

    load_release_key(release_key)  # for our own errors and the check of its mode
    folder = folder.absolute()  # the package takes a relative signature's path as relative to the folder
    signature = folder / SIGNATURE
    try:
        config = Config()  # type: ignore[no-untyped-call]
        config = config.use_elliptic_key_signer(private_key=release_key)
        config.set_hashing_config(_hashing(signature)).sign(folder, signature)
    except (ValueError, OSError) as error:
        raise ReleaseError(f"the release in {folder} cannot be signed: {error}") from error
    return signature


def verify_folder(folder: Path, release_key_pem: bytes) -> None:
    """Check that a release's folder is exactly what the coordinator signed (rule 2 of ``federation.release``).

    Args:
        folder: the release with its signature.
        release_key_pem: the coordinator's public key, PEM.

    Raises:
        ReleaseError: unsigned, signed by another key, or a file was changed, added or taken away.
    """
    from model_signing.verifying import Config

    folder = folder.absolute()
    signature = folder / SIGNATURE
    hint = "do not use it; fetch it again, and tell the coordinator if that does not help"
    with tempfile.NamedTemporaryFile(prefix="fedroto-", suffix=".pub") as key:
        key.write(release_key_pem)
        key.flush()
        try:
            config = Config()  # type: ignore[no-untyped-call]
            config = config.use_elliptic_key_verifier(public_key=key.name)
            config.set_hashing_config(_hashing(signature)).verify(folder, signature)
        except InvalidSignature as error:
            raise ReleaseError(
                f"the signature of {folder} does not hold: it was changed after signing", hint=hint
            ) from error
        except Exception as error:  # the package lets whatever a damaged bundle causes pass through
            raise ReleaseError(f"{folder} is not what was signed: {_difference(error)}", hint=hint) from error


def _hashing(signature: Path) -> HashingConfig:
    from model_signing.hashing import Config

    # Git's own files are not overlooked here, unlike in the package's default.
    config = Config()  # type: ignore[no-untyped-call]
    return config.set_ignored_paths(paths=[signature], ignore_git_paths=False)


def _difference(error: Exception) -> str:
    """Say which files differ; the package's own text drowns their names in raw digests."""
    text = str(error).replace("\\'", "'")
    changed = re.findall(r"Hash mismatch for '([^']+)'", text)
    others = re.findall(r"(?:Extra|Missing) files [^']*'[^']*': [^'\"]+", text)
    said = [f"{name} was changed" for name in changed] + others
    return "; ".join(said) or text[:200] or type(error).__name__
