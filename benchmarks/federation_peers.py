"""Overhead of a round, ours beside NVFlare's and stock Flower's, in the same run on the same machine.

From the project's root; NVFlare lies in a virtual environment of its own and is no dependency::

    python3 -m venv /tmp/nvflare && /tmp/nvflare/bin/pip install nvflare==2.9.0
    python -m benchmarks.federation_peers --nvflare /tmp/nvflare/bin/python --studios 3 --megabytes 1 --rounds 8

Nobody trains anything: each studio answers at once, so what is measured is transport, polls and aggregation. A round's
seconds are between the ends of two rounds (ours, Flower's) or between two arrivals at the first site (NVFlare's). Bytes
are what crossed the loopback of a network namespace of NVFlare's own, between its first and last round; ours are
counted by a relay in front of the fleet proxy. ``first_training_s`` is from nothing (no keys, no processes) to the
first site being asked for the first time; our light nodes have no torch to import, and stock Flower no keys to make.
Ours has TLS, signed questions and signed answers; NVFlare's POC has mutual TLS; stock Flower runs as its documentation
starts it, without TLS, an own process for every message.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.federation_scale import measure
from federation import child_process
from federation.cli.demo_processes import free_ports

PEERS = Path(__file__).parent / "peers"
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
PATIENCE_S, TRIES = 400.0, 12


def main() -> None:
    """Measure each system and print one JSON object a line, and at last the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nvflare", type=Path, help="Python of a virtual environment that has nvflare.")
    parser.add_argument("--only", nargs="+", default=["ours", "nvflare-poc", "nvflare-sim", "flower"])
    parser.add_argument("--studios", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=8)
    asked = parser.parse_args()
    systems: dict[str, Callable[[Path], dict[str, Any]]] = {
        "ours": lambda root: _ours(root, asked),
        "nvflare-poc": lambda root: _nvflare(root, "poc", asked),
        "nvflare-sim": lambda root: _nvflare(root, "sim", asked),
        "flower": lambda root: _flower(root, asked),
    }
    found = {}
    for name in asked.only:
        with tempfile.TemporaryDirectory(prefix="fedroto-peers-") as folder:
            found[name] = systems[name](Path(folder))
        load = round(os.getloadavg()[0], 1)
        print(json.dumps({"system": name, **found[name], "load_average": load}), flush=True)
    if "ours" in found:
        ours = found["ours"]["round_s_median"]
        ratios = {name: round(ours / one["round_s_median"], 2) for name, one in found.items()}
        print(json.dumps({"ours_over": ratios}), flush=True)


def _ours(root: Path, asked: argparse.Namespace) -> dict[str, Any]:
    told = measure(root, asked.studios, int(asked.megabytes * 1e6 / 4), asked.rounds)
    names = ("first_training_s", "round_s", "round_s_median", "bytes_over_raw_percent")
    return {name: told[name] for name in names}


def _nvflare(root: Path, mode: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Run NVFlare in a network namespace: it listens on every interface, and the loopback counts its bytes."""
    file, log, began = root / "times", root / "log", time.time()
    words = [
        asked.nvflare,
        PEERS / "nvflare_job.py",
        mode,
        asked.studios,
        asked.megabytes,
        asked.rounds,
        file,
    ]
    environment = {
        **os.environ,
        "NVFLARE_POC_WORKSPACE": str(root / "poc"),
        "HOME": str(root),
        "PATH": f"{asked.nvflare.parent}:{os.environ['PATH']}",
    }
    inside = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", *map(str, words)]
    with log.open("wb") as out:
        ended = subprocess.run(
            ["unshare", "--net", *inside],
            env=environment, stdout=out, stderr=out, timeout=PATIENCE_S, check=False, cwd=root,
        )  # fmt: skip
    if ended.returncode or not file.exists():
        raise SystemExit(log.read_text()[-3000:])
    lines = [tuple(map(float, line.split())) for line in file.read_text().splitlines()]
    raw = 2 * asked.megabytes * 1e6 * asked.studios * (len(lines) - 1)
    sent = lines[-1][1] - lines[0][1]
    over = {"bytes_over_raw_percent": round(100 * (sent / raw - 1), 2)}
    return {"first_training_s": round(lines[0][0] - began, 1)} | _rounds([at for at, _ in lines]) | over


def _flower(root: Path, asked: argparse.Namespace) -> dict[str, Any]:
    file, began = root / "times", time.time()
    port, *runtimes = free_ports(1 + asked.studios)
    home = root / "flwr"
    home.mkdir()
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    settings = {
        "parameters": int(asked.megabytes * 1e6 / 4),
        "rounds": asked.rounds,
        "studios": asked.studios,
        "file": f'"{file}"',
    }
    line = [
        _beside("flwr"),
        "run",
        str(PEERS / "flower_app"),
        "here",
        "--run-config",
        " ".join(f"{name}={value}" for name, value in settings.items()),
    ]
    environment = {**os.environ, **QUIET, "FLWR_HOME": str(home)}
    with _flower_processes(root, port, runtimes):
        for _ in range(TRIES):
            started = subprocess.run(line, env=environment, check=False, timeout=90, capture_output=True)
            if started.returncode == 0:
                break
            time.sleep(2)
        else:
            raise SystemExit(started.stdout.decode()[-2000:])
        until = time.monotonic() + PATIENCE_S
        while not file.exists() or len(file.read_text().splitlines()) < asked.rounds:
            if time.monotonic() > until:
                raise SystemExit("stock Flower did not finish in time")
            time.sleep(0.5)
    first = float(file.with_name("times.first").read_text())
    return {"first_training_s": round(first - began, 1)} | _rounds(list(map(float, file.read_text().split())))


@contextlib.contextmanager
def _flower_processes(root: Path, port: int, runtimes: list[int]) -> Iterator[None]:
    """Start a SuperLink and its SuperNodes as the documentation does."""
    lines = [[_beside("flower-superlink"), "--insecure", "--host", "127.0.0.1", "--port", str(port)]]
    for runtime in runtimes:
        lines.append(
            [_beside("flower-supernode"), "--insecure", "--superlink", f"127.0.0.1:{port}", "--port", str(runtime)]
        )  # fmt: skip
    bin_folder = Path(sys.executable).parent  # Flower starts its own programs by name
    children = []
    try:
        for number, line in enumerate(lines):
            home = root / f"node{number}"
            home.mkdir()
            with (root / f"{number}.log").open("wb") as log:
                environment = QUIET | {"FLWR_HOME": str(home), "PATH": f"{bin_folder}:{os.environ['PATH']}"}
                children.append(child_process.start(line, stdout=log, stderr=log, environment=environment))
            if number == 0:
                _wait_for_port(port)
        yield
    finally:
        child_process.stop(children, patience_s=10)


def _wait_for_port(port: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise SystemExit("Flower's SuperLink did not start in time")


def _rounds(ends: list[float]) -> dict[str, Any]:
    between = [after - before for before, after in pairwise(ends)]
    return {
        "round_s": [round(seconds, 2) for seconds in between],
        "round_s_median": round(statistics.median(between), 2),
    }


def _beside(program: str) -> str:
    return str(Path(sys.executable).with_name(program))


if __name__ == "__main__":
    main()
