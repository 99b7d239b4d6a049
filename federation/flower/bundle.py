"""The app bundle (FAB) that a run carries: the source files of the installed packages, byte for byte.

Flower hands a run's bundle to every node to execute it. Ours is never executed: a studio builds the same bundle from
its own installation, and trains only if the two are equal. So the bytes must depend on the source files and nothing
else: sorted names, no compression, one fixed date and mode. This module imports no flwr, because the runner compares
digests too.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from federation.errors import FlowerError

PACKAGES = ("aggregator", "federation", "model", "studio_node")
BUNDLE_BYTES_MAX = 10 * (1 << 20)
"""Flower's limit for a FAB."""
FIXED_DATE = (2024, 10, 1, 0, 0, 0)
BUNDLE_VERSION = "1.0.0"
"""Version of the bundle's form; what is inside is told apart by its digest."""
MANIFEST = f"""\
[project]
name = "fedroto"
version = "{BUNDLE_VERSION}"
description = "Federated training of a rotoscoping model; compared with the installation, never executed"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "fedroto"

[tool.flwr.app.components]
serverapp = "aggregator:never_executed"
clientapp = "studio_node.client_app:app"
"""


@cache
def build_bundle() -> bytes:
    """Build the bundle from this installation (a checkout or a wheel: the same bytes).

    Built once per process: it stands for the code that the process has loaded.

    Raises:
        FlowerError: a package is missing, or the bundle is larger than Flower takes.
    """
    return bundle_of(dict(_source_files()))


def bundle_of(files: dict[str, bytes]) -> bytes:
    """Pack source files, by path, into a bundle.

    Raises:
        FlowerError: the bundle is larger than Flower takes.
    """
    contents = {"pyproject.toml": MANIFEST.encode()} | files
    lines = [
        f"{name},{hashlib.sha256(data).hexdigest()},{8 * len(data)}"
        for name, data in sorted(contents.items())
    ]
    contents[".info/CONTENT"] = "\n".join(lines).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, FIXED_DATE)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    bundle = buffer.getvalue()
    if len(bundle) > BUNDLE_BYTES_MAX:
        raise FlowerError(f"the app bundle has {len(bundle)} bytes; Flower takes {BUNDLE_BYTES_MAX}")
    return bundle


def bundle_digest(bundle: bytes) -> str:
    """Return the SHA-256 of a bundle's bytes, 64 hexadecimal digits; also Flower's name for it."""
    return hashlib.sha256(bundle).hexdigest()


def _source_files() -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise FlowerError(f"the package {package} is not installed", hint="install fedroto as a whole")
        root = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(root.rglob("*.py")):
            inside = path.relative_to(root)
            if "__pycache__" not in inside.parts:
                yield f"{package}/{inside.as_posix()}", path.read_bytes()
