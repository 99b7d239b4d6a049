"""Shape files under a coverage-guided fuzzer: a result or our own error, in bounded time and memory.

``python -m benchmarks.fuzz_formats FORMAT --runs 100000 --corpus FOLDER``, in an environment that has atheris (it is no
dependency of this project) and numpy; FORMAT is nk, fxs or json. The fuzzer starts from the scripts of the tests, keeps
every input that reaches new code, and stops at the first input that breaks a promise, which it writes to FOLDER.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import sys
import time
import zlib
from functools import lru_cache
from pathlib import Path

try:
    import atheris

    instrumented = atheris.instrument_imports(include=["model"])
except ImportError:  # the tests use the checks below without a fuzzer
    atheris, instrumented = None, contextlib.nullcontext()
with instrumented:
    from model.errors import FormatError, ModelError
    from model.formats import registry, roto_json
    from model.formats.nuke_editing import replace_shapes

SCRIPTS = Path(__file__).parent.parent / "tests" / "model" / "scripts"
WIDTH, HEIGHT = 1920, 1080
INPUT_BYTES_MAX = 16_384
MEMORY_MAX = 2 * 2**30  # bytes of address space, of the interpreter with numpy and the fuzzer
SECONDS_MAX = 10  # of CPU, for one input
HANG_SECONDS = 20 * SECONDS_MAX  # by the clock: the fuzzer may run in what time others leave
CHECKED_ONE_IN = 5  # of the files that were read: written in every format and read back
KEYS_WRITTEN_MAX = (
    2_000  # a handful of bytes may ask for a key on each of a million frames: that is told, not tried
)


@lru_cache
def seeds(kind: str) -> tuple[bytes, ...]:
    """Sound files of one format to begin with."""
    if kind == "json":
        return tuple(registry.JSON.dumps(_loaded(data, ".nk").shapes, "Roto1") for data in seeds("nk"))
    endings = {"nk": (".nk", ".gizmo"), "fxs": (".fxs",)}[kind]
    own = [path.read_bytes() for path in sorted(SCRIPTS.iterdir()) if path.suffix in endings]
    if kind == "fxs":
        own += [registry.SILHOUETTE.dumps(_loaded(data, ".nk").shapes, "Roto1") for data in seeds("nk")]
    return tuple(own)


def answer(data: bytes, kind: str) -> registry.ShapeFile | FormatError:
    """What is read of a file, or the error that says why not; anything else that is raised is a broken promise."""
    try:
        return _loaded(data, f".{kind}")
    except FormatError as error:
        return error


def check(data: bytes, kind: str) -> bool:
    """Read a file, and write some of what was read in every format; True where something was read.

    Raises:
        Exception: whatever breaks a promise: another error than ours, a line beyond the file, numbers that our own
            format does not bring back, a file of ours that cannot be read.
    """
    found = answer(data, kind)
    if isinstance(found, FormatError):
        if found.line is not None and not 1 <= found.line <= data.count(b"\n") + data.count(b"\r") + 1:
            raise AssertionError(f"line {found.line} is not in the file")
        return False
    shapes = found.shapes
    if zlib.crc32(data) % CHECKED_ONE_IN:
        return True
    if roto_json.loads(roto_json.dumps(shapes)) != shapes:
        raise AssertionError("our own format brings back something else")
    if kind == "nk" and replace_shapes(data, shapes.shapes, width=WIDTH, height=HEIGHT) != data:
        raise AssertionError("putting back what was read changes the script")
    if _span(found) > KEYS_WRITTEN_MAX:
        return True
    for known in (registry.NUKE, registry.GIZMO, registry.SILHOUETTE):
        try:
            written = known.dumps(shapes, "Roto1")
        except ModelError:
            continue  # coordinates beyond float32, keys too close
        back = _loaded(written, known.suffixes[0]).shapes
        if known is not registry.SILHOUETTE and len(back.shapes) != len(shapes.shapes):
            raise AssertionError(f"{known.name} holds {len(back.shapes)} of {len(shapes.shapes)} shapes")
    return True


def _loaded(data: bytes, ending: str) -> registry.ShapeFile:
    return registry.loads(data, Path(f"shapes{ending}"), width=WIDTH, height=HEIGHT)


def _span(found: registry.ShapeFile) -> float:
    """Over how many frames the keys of a file reach."""
    curves = [
        c for s in found.shapes.shapes for c in (s.keyed, s.opacity, s.lifetime.visibility, s.feather) if c
    ]
    times = [t for c in curves for t in (c.frames[0], c.frames[-1])]
    times += [t for s in found.shapes.shapes for level in s.transforms for t in level.key_times]
    times += [t for s in found.shapes.shapes for t in (s.lifetime.first, s.lifetime.last) if t is not None]
    first = found.shapes.first_frame
    times += [] if first is None else [float(first)]
    return max(times, default=0.0) - min(times, default=0.0)


def main() -> None:
    """Fuzz one format and print what was done."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("kind", choices=("nk", "fxs", "json"))
    arguments.add_argument("--runs", type=int, default=100_000)
    arguments.add_argument("--corpus", type=Path, required=True)
    arguments.add_argument("--seed", type=int, default=1)
    asked = arguments.parse_args()
    asked.corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(asked.kind)):
        (asked.corpus / f"seed{number}").write_bytes(data)
    done = {"inputs": 0, "read": 0, "worst_s": 0.0}

    def one(data: bytes) -> None:
        start = time.process_time()
        done["read"] += check(data, asked.kind)
        done["inputs"] += 1
        spent = time.process_time() - start
        if spent > SECONDS_MAX:
            raise AssertionError(f"one input took {spent:.1f} s of CPU")
        done["worst_s"] = max(done["worst_s"], spent)
        if done["inputs"] % 10_000 == 0 or done["inputs"] == asked.runs:
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(asked.kind, done | {"peak_mb": peak_mb}, file=sys.stderr, flush=True)

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    options = [
        f"-runs={asked.runs}",
        f"-seed={asked.seed}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-timeout={HANG_SECONDS}",
        "-rss_limit_mb=0",  # the address space is limited above
        f"-artifact_prefix={asked.corpus}/broken-",
    ]
    atheris.Setup([sys.argv[0], str(asked.corpus), *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
