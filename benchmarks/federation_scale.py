"""What a round costs with many studios: time, bytes, processor and memory, over the real Fleet API and TLS.

From the project's root::

    python -m benchmarks.federation_scale --studios 3 10 30 --megabytes 1 --rounds 5
    python -m benchmarks.federation_scale --studios 3 10 --megabytes 50 --rounds 3

The coordinator is the product's own: ``fedroto coordinator serve`` and a campaign, each in its own processes. Studios
are light nodes, threads of one process: the product's Fleet connection and signature around an update that is drawn
once, so a round is nothing but overhead. A relay in front of the fleet proxy counts bytes as they are on the wire, TLS
included. The campaign is of mode research, which these nodes do not refuse; its weights are of any size.

``PARAMETERS_MAX`` bounds a plan's trained weights to 56 MB, so that is the largest size here.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Message

from aggregator.admission import admit
from aggregator.superlink import wait_until_healthy
from federation import child_process, set_up
from federation.cli.demo_processes import free_ports
from federation.config import FederationConfig, StudioConfig
from federation.errors import FedrotoError
from federation.flower.studio import FleetConnection
from federation.homes import StudioHome
from federation.keys import load_node_key
from federation.messages import TrainUpdate
from federation.plan import RoundInstruction
from federation.records import read_request, reply_records
from federation.set_up import load_kit
from federation.update_signature import UpdateSubject, sign_update
from model.weights import save
from studio_node.uplink import poll_pause_s

TICKS = os.sysconf("SC_CLK_TCK")
CAMPAIGN = """
import resource, sys, time
from pathlib import Path
from aggregator.campaign import BaseWeights, CampaignRequest, run_campaign
from aggregator.campaign_run import RUN_FILE
from aggregator.superlink import SuperLinkSettings
from federation.flower.coordinator import FederationRun
from model.network import RotoModel
from model.weights import TensorSpec
home, parameters, rounds, studios = Path(sys.argv[1]), *map(int, sys.argv[2:])
RotoModel.trainable_spec = staticmethod(lambda: TensorSpec(("w",), ((parameters,),)))
base = home / "scale.safetensors"
access = SuperLinkSettings.of_home(home).access()
settings = {"noise_multiplier": 0.0, "rounds": rounds, "quorum": studios, "deadline_s": 1200}
request = CampaignRequest("scale", BaseWeights(1, base), settings, "research")
def memory(field):  # not getrusage's, which begins with what the parent had
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
print("begin", time.time(), memory("VmRSS:"), flush=True)
result = run_campaign(home, request, lambda folder, bundle: FederationRun(access, folder / RUN_FILE, bundle))
used = resource.getrusage(resource.RUSAGE_SELF)
print("end", time.time(), memory("VmHWM:"), used.ru_utime + used.ru_stime, result.state, flush=True)
"""


def main() -> None:
    """Measure each number of studios and print one JSON object a line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studios", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--megabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for studios in arguments.studios:
        with tempfile.TemporaryDirectory(prefix="fedroto-scale-") as folder:
            found = measure(Path(folder), studios, int(arguments.megabytes * 1e6 / 4), arguments.rounds)
        print(json.dumps({"studios": studios, "megabytes": arguments.megabytes} | found), flush=True)


def measure(root: Path, studios: int, parameters: int, rounds: int) -> dict[str, Any]:
    """Run one federation and return what it cost."""
    began = time.time()
    dialled, fleet, service, superlink = free_ports(4)
    home, now = root / "fed", datetime.now(UTC)
    config = FederationConfig(
        name="scale", hosts=("localhost",), fleet_port=fleet, service_port=service, superlink_port=superlink
    )
    set_up.init_coordinator(home, config, now=now)
    values = np.random.default_rng(0).standard_normal(parameters).astype(np.float32)
    save(home / "scale.safetensors", {"fusion.w": values, "matcher.frozen": np.ones(3, np.float32)})
    homes = [_joined(root, home, f"s{index:03d}", now) for index in range(studios)]
    counter = ByteCounter(dialled, fleet)
    with (root / "serve.log").open("wb") as log:
        serve = child_process.start(
            [sys.executable, "-m", "federation.cli", "coordinator", "serve", "--home", str(home)],
            stdout=log, stderr=log,
        )  # fmt: skip
    nodes: list[LightNode] = []
    try:
        ca = (home / "ca.crt").read_bytes()
        wait_until_healthy(f"localhost:{fleet}", ca, 240)
        nodes = [LightNode(one, f"localhost:{dialled}", parameters) for one in homes]
        idle = {part: _memory(_process(home, part)) for part in ("superlink", "fleet-proxy")}
        said = _campaign(root, home, parameters, rounds, studios)
        cost = {part: _cost(_process(home, part), idle[part]) for part in idle}
    finally:
        for node in nodes:
            node.stop.set()
        child_process.stop([serve], patience_s=20)
        counter.close()
    begin, end = said["begin"], said["end"]
    raw = 2 * 4 * parameters * studios * rounds
    progress = [
        json.loads(line) for line in (home / "campaigns/scale/progress.jsonl").read_text().splitlines()
    ]
    closed = [one["at"] for one in progress if one["event"] == "round.closed"]
    between = [after - before for before, after in pairwise(closed)]
    return {
        "state": end[3],
        "first_question_s": round(min(node.asked_at for node in nodes) - begin[0], 2),
        "first_training_s": round(min(node.asked_at for node in nodes) - began, 1),
        "round_s": [round(seconds, 2) for seconds in between],
        "round_s_median": round(statistics.median(between), 2),
        "bytes_over_raw_percent": round(100 * (counter.total / raw - 1), 2),
        "coordinator": {
            "cpu_s_per_node_round": round(end[2] / studios / rounds, 3),
            "growth_over_idle_in_models": round((end[1] - begin[1]) * 1024 / (4 * parameters), 2),
            "peak_mb": round(end[1] / 1024),
        },
        **{
            part: {
                "cpu_s_per_node_round": round(used / studios / rounds, 3),
                "peak_mb": round(peak / 1024),
                "growth_over_idle_in_models": round(growth * 1024 / (4 * parameters), 2),
            }
            for part, (used, peak, growth) in cost.items()
        },
        "load_average": round(os.getloadavg()[0], 1),
    }


class LightNode:
    """A studio's Flower node that answers every instruction with the same signed numbers."""

    def __init__(self, home: Path, address: str, parameters: int) -> None:
        kit = load_kit(home)
        self._plan_key, self._key = kit.plan_key, load_node_key(StudioHome(home).node_key).private
        self.stop, self.asked_at = threading.Event(), float("inf")
        rng = np.random.default_rng(list(kit.studio.encode()))
        self._update = (rng.integers(-3, 4, parameters) * 2.0**-20).astype(np.float32)
        self._connection = FleetConnection(
            address, kit.ca_pem.encode(), self._key, home / "node.json", self.stop
        )
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        busy_at = time.monotonic()
        while not self.stop.is_set():
            asked_at = time.monotonic()
            try:
                if not self._connection.active:
                    self._connection.activate()
                message = self._connection.receive()
                if message is not None:
                    self.asked_at = min(self.asked_at, time.time())
                    self._connection.send(Message(self._reply(message), reply_to=message))
                    busy_at = asked_at = time.monotonic()
            except FedrotoError:
                pass
            now = time.monotonic()
            self.stop.wait(poll_pause_s(now - busy_at, now - asked_at))
        self._connection.close()

    def _reply(self, message: Message) -> Any:
        instruction = RoundInstruction.verified(read_request(message.content).instruction, self._plan_key)
        number = instruction.server_round  # other bytes each round: Flower does not send an object twice
        update = TrainUpdate(
            np.roll(self._update, number),
            instruction.plan_digest,
            number,
            f"{number:064x}",
        )
        return reply_records(sign_update(update, UpdateSubject.of(instruction), self._key))


class ByteCounter:
    """Passes connections on and counts their bytes, both ways."""

    def __init__(self, port: int, upstream: int) -> None:
        self.total, self._lock = 0, threading.Lock()
        self._upstream = upstream
        self._server = socket.create_server(("127.0.0.1", port), backlog=512)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no further connection."""
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._upstream))
            except OSError:
                return
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 18):
                with self._lock:
                    self.total += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


def _joined(root: Path, coordinator: Path, name: str, now: datetime) -> Path:
    home = root / "studios" / name
    config = StudioConfig(name=name, federation="scale")
    made = set_up.init_studio(home, config, size_tier="s", now=now)
    admission = admit(coordinator, made.request, None, now=now, confirm=lambda request: True)
    set_up.join(home, admission.kit.read_bytes(), now=now)
    return home


def _campaign(root: Path, home: Path, parameters: int, rounds: int, studios: int) -> dict[str, list[Any]]:
    """Run the campaign's process; returns the numbers of its two lines."""
    with (root / "campaign.out").open("wb") as out, (root / "campaign.log").open("wb") as log:
        arguments = [str(home), str(parameters), str(rounds), str(studios)]
        child = child_process.start([sys.executable, "-c", CAMPAIGN, *arguments], stdout=out, stderr=log)
        status = child.wait(1800)
    if status:
        raise SystemExit((root / "campaign.log").read_text()[-3000:])
    lines = (root / "campaign.out").read_text().split("\n")
    return {words[0]: [_number(word) for word in words[1:]] for words in map(str.split, lines) if words}


def _number(word: str) -> Any:
    try:
        return float(word)
    except ValueError:
        return word


def _process(home: Path, part: str) -> int:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if part in words and str(home) in words:
            return int(entry.name)
    raise SystemExit(f"{part} is not there")


def _memory(process: int, field: str = "VmRSS") -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _cost(process: int, idle: int) -> tuple[float, int, int]:
    """Processor seconds, peak memory and its growth over idle, kB."""
    words: Sequence[str] = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    peak = _memory(process, "VmHWM")
    return (int(words[11]) + int(words[12])) / TICKS, peak, peak - idle


if __name__ == "__main__":
    main()
