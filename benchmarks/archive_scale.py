"""What an archive costs: ingest of a generated one, reading plates and packs, and memory, each against a peer.

    python -m benchmarks.archive_scale SCRATCH [--keyframes 1000000] [--windows 4] [--part plates|ingest|packs]

Bare reads are OpenImageIO's own, of the same files, in as many processes. Windows are cut without the matcher unless
``--matcher``: what is measured is the archive's machinery; the matcher's cost a window is known and stated apart.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import torch

from benchmarks.generated_archive import write_archive, write_hd_plate
from federation.plan import LedgerHead
from model import weights
from model.losses import window_loss
from model.network import Fusion, RotoModel
from model.weights import base_path
from studio_node.catalogue import Catalogue, PackEntry
from studio_node.fingerprints import plate_hashes
from studio_node.ingest import ingest
from studio_node.ingest_report import IngestStep
from studio_node.ledger import Reservation
from studio_node.packs import PackReader
from studio_node.plates import PlateSequence
from studio_node.sequences import find_sequence
from studio_node.shot_windows import CutRecipe

SHOW = "scale"
HD_FRAMES = 24
REPEATS = 3
READS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--keyframes", type=int, default=1_000_000)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--matcher", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--part", choices=PARTS, action="append", help="only this; packs reads what ingest has left"
    )
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    for part in given.part or PARTS:
        report = {"part": part, "cores": cores, "seed": given.seed, "load": os.getloadavg()[0]}
        report |= PARTS[part](given, cores)
        print(json.dumps(report, indent=2), flush=True)
        (given.scratch / f"archive_scale_{part}.json").write_text(json.dumps(report, indent=2) + "\n")


def plate_reads(given: argparse.Namespace, cores: int) -> dict[str, Any]:
    """Frames per second of HD plates: bare reads, and all that ingest does with a frame, turn by turn."""
    folders = [given.scratch / f"hd{number}" for number in range(cores)]
    for number, folder in enumerate(folders):
        if not folder.is_dir():
            write_hd_plate(folder, HD_FRAMES, seed=given.seed + number)
    seconds: dict[str, list[tuple[float, float]]] = {"bare float": [], "bare half": [], "ours": []}
    with ProcessPoolExecutor(cores, initializer=_one_thread) as pool:
        for _ in range(REPEATS):
            for name, work in (("bare float", _bare_float), ("bare half", _bare_half), ("ours", _ours)):
                started = time.monotonic()
                spent = sum(pool.map(work, folders))
                seconds[name].append((time.monotonic() - started, spent))
    frames = HD_FRAMES * cores
    found: dict[str, Any] = {"frames": frames}
    for name, taken in seconds.items():
        found[f"{name}: frames per s"] = _spread([frames / wall for wall, _ in taken])
        found[f"{name}: cpu ms a frame"] = _spread([1e3 * spent / frames for _, spent in taken])
    for name in ("bare float", "bare half"):
        for index, what in enumerate(("wall", "cpu")):
            pairs = zip(seconds[name], seconds["ours"], strict=True)
            found[f"ours over {name}, {what}"] = _spread([bare[index] / ours[index] for bare, ours in pairs])
    return found


def ingests(given: argparse.Namespace, cores: int) -> dict[str, Any]:
    """Generate an archive, ingest it, ingest it again unchanged."""
    archive, home = given.scratch / "archive", given.scratch / "home"
    if not archive.is_dir():
        write_archive(archive, given.keyframes, seed=given.seed, workers=cores)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    memory: list[tuple[int, int]] = []

    def watch(step: IngestStep) -> None:
        memory.append((_resident(os.getpid()), max(map(_resident, _children()), default=0)))
        if step.done % 10 == 0:
            print(step.text, step.seconds_left, flush=True)

    recipe = CutRecipe(windows=given.windows)
    options: dict[str, Any] = {"recipe": recipe, "weights": _weights(given), "workers": cores}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = ingest(home, [archive], SHOW, progress=watch, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    again = ingest(home, [archive], SHOW, **options)
    frames = sum(shot.frames for shot in report.shots)
    quarter = max(1, len(memory) // 4)
    script = next(archive.glob("*/shapes.nk"))
    return {
        "shots": len(report.shots),
        "rejected": len(report.rejected),
        "frames": frames,
        "keyframes": sum(shape.keyframes for shot in report.shots for shape in shot.shapes),
        "windows": report.windows,
        "looks_alike": sum(bool(shot.looks_like) for shot in report.shots),
        "script_bytes": script.stat().st_size,
        "seconds": report.seconds,
        "cpu_seconds": (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime),
        "again_unchanged": sum(shot.state == "unchanged" for shot in again.shots),
        "again_files_read": again.files_read,
        "again_seconds": again.seconds,
        "parent_mib_first_and_last_quarter": [
            max(parent for parent, _ in part) // 2**20 for part in (memory[:quarter], memory[-quarter:])
        ],
        "worker_mib_first_and_last_quarter": [
            max(child for _, child in part) // 2**20 for part in (memory[:quarter], memory[-quarter:])
        ],
        "catalogue_bytes": (home / "catalogue.sqlite").stat().st_size,
        "pack_bytes": sum(path.stat().st_size for path in (home / "packs").iterdir()),
    }


def pack_reads(given: argparse.Namespace, cores: int) -> dict[str, Any]:
    """Random windows per second, warm and cold, against what training consumes; one thread."""
    torch.set_num_threads(1)
    with Catalogue.open(given.scratch / "home") as catalogue:
        packs = catalogue.packs()
    rng = np.random.default_rng(given.seed)
    reservation = Reservation(LedgerHead(sequence=1, hash="a" * 64), [SHOW])

    def read(pack: PackEntry) -> Any:
        reader = PackReader.open(pack.path, reservation, show=SHOW, frozen_digest=pack.frozen_digest)
        return reader[int(rng.integers(len(reader)))]

    chosen = [packs[index] for index in rng.integers(len(packs), size=READS)]
    for pack in packs:
        read(pack)
    warm = _rate(lambda: [read(pack) for pack in chosen], READS)
    resident = _resident(os.getpid())
    _rate(lambda: [read(pack) for pack in chosen], READS)
    grown = _resident(os.getpid()) - resident
    cold_count = min(len(packs), 100)
    _forget(packs)
    cold = _rate(lambda: [read(pack) for pack in packs[:cold_count]], cold_count)
    fusion = Fusion()
    windows = [read(pack) for pack in chosen[:8]]

    def step() -> None:
        torch.autograd.grad(window_loss(fusion, windows), list(fusion.parameters()), allow_unused=True)

    consumed = _spread([_rate(step, len(windows)) for _ in range(REPEATS)])
    return {
        "packs": len(packs),
        "warm_windows_per_s": warm,
        "cold_windows_per_s": cold,
        "trained_windows_per_s": consumed,
        "warm_over_trained": warm / consumed["median"],
        "cold_over_trained": cold / consumed["median"],
        "bytes_grown_in_second_pass": grown,
    }


def _bare_float(folder: Path) -> float:
    return _bare(folder, oiio.FLOAT)


def _bare_half(folder: Path) -> float:
    return _bare(folder, oiio.HALF)


def _bare(folder: Path, sample: Any) -> float:
    started = time.process_time()
    for path in find_sequence(folder).files.values():
        file = oiio.ImageInput.open(str(path))
        file.read_image(0, 0, 0, 3, sample)
        file.close()
    return time.process_time() - started


def _ours(folder: Path) -> float:
    started = time.process_time()
    plate_hashes(PlateSequence.open(folder))
    return time.process_time() - started


def _one_thread() -> None:
    oiio.attribute("threads", 1)
    oiio.attribute("exr_threads", 1)


def _weights(given: argparse.Namespace) -> Path:
    if given.matcher:
        return base_path()
    path = given.scratch / "without_matcher.safetensors"
    torch.manual_seed(given.seed)
    weights.save(path, RotoModel(Fusion()).to_tensors(), {})
    return path


def _rate(work: Callable[[], object], count: int) -> float:
    started = time.monotonic()
    work()
    return count / (time.monotonic() - started)


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def _forget(packs: tuple[PackEntry, ...]) -> None:
    """Drop the files from the page cache."""
    os.sync()
    for pack in packs:
        with pack.path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _resident(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _children() -> list[int]:
    own = Path(f"/proc/{os.getpid()}/task")
    return [int(child) for task in own.iterdir() for child in (task / "children").read_text().split()]


PARTS = {"plates": plate_reads, "ingest": ingests, "packs": pack_reads}


if __name__ == "__main__":
    main()
