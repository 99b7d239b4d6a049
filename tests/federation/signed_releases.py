"""Manifests of releases, and folders signed with them: what each test of releases starts from and changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from federation.release_folder import measure
from federation.release_manifest import LISTED_FILES, ReleaseManifest
from federation.signing import sign_folder

BASE: dict[str, Any] = {
    "schema": "fedroto.release/1",
    "federation": "north",
    "number": 1,
    "parent": None,
    "restores": None,
    "campaign": None,
    "plan_digest": None,
    "rounds": 0,
    "architecture": "fusion-1",
    "frozen_digest": "cd" * 32,
    "privacy": None,
    "not_private": False,
    "created_at": 1_800_000_000,
    "files": {name: {"size_bytes": 12, "sha256": "ab" * 32} for name in LISTED_FILES},
}


def base_manifest(**changes: object) -> ReleaseManifest:
    """The manifest of a base, with changes."""
    return ReleaseManifest.from_fields({**BASE, **changes})


def sign_release(folder: Path, key: Path, **changes: object) -> None:
    """Write the manifest of what lies in a folder, a base's with changes, and sign both with a key's file."""
    files = {name: measure(folder / name) for name in LISTED_FILES}
    (folder / "manifest.json").write_bytes(base_manifest(files=files, **changes).to_bytes())
    sign_folder(folder, key)
