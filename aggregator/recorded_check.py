"""Reads a release's check back from its ``benchmark.json``: what it was measured by when it was made."""

from __future__ import annotations

import json
from typing import Final

from pydantic import TypeAdapter, ValidationError

from aggregator.release_check import CHECK_SCHEMA, ReleaseCheck
from federation.durable import read_bounded
from federation.errors import ReleaseError
from federation.release_folder import Release
from federation.release_manifest import BENCHMARK, BYTES_MAX

_CHECK: Final = TypeAdapter(ReleaseCheck)


def recorded_check(release: Release) -> ReleaseCheck:
    """Return the check that a verified release was published with.

    Raises:
        ReleaseError: the file is of another schema.
        FedrotoError: it cannot be read.
    """
    path = release.path / BENCHMARK
    try:
        fields = json.loads(read_bounded(path, BYTES_MAX[BENCHMARK]))
        if fields["schema"] != CHECK_SCHEMA:
            raise ReleaseError(f"{path} is {fields['schema']}, expected {CHECK_SCHEMA}")
        return _CHECK.validate_python(
            {name: fields.get(name) for name in ("gates", "candidate", "base", "gain")}
        )
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise ReleaseError(f"{path} is no release check of this version: {error}") from error
