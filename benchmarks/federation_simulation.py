"""A hundred studios in Flower's simulation engine: the product's own round loop, validation and signatures, no network.

    pip install 'fedroto[simulation]'
    python -m benchmarks.federation_simulation --studios 100 --rounds 50

For research on rounds: the ServerApp is the coordinator's campaign over Flower's ``Grid`` instead of its SuperLink; the
ClientApp answers signed instructions with signed updates. Studios train nothing here: an update is noise within the
plan's bounds (``answer``, which a study replaces). Mode research: what comes out is NOT PRIVATE and no studio's node
answers such a plan.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from aggregator.campaign import BaseWeights, CampaignRequest, run_campaign
from aggregator.campaign_result import CampaignResult
from aggregator.courier import Pace
from aggregator.enrolment import Enrolment
from federation import set_up
from federation.config import FederationConfig
from federation.documents import PublicKey
from federation.flower.coordinator import Reply
from federation.flower.roster import Node
from federation.keys import PLAN_KEY, load_plan_key, openssh_public, public_pem
from federation.messages import PackedUpdate, TrainRequest, TrainUpdate
from federation.plan import RoundInstruction, TrainingPlan
from federation.records import read_request, reply_records
from federation.update_signature import UpdateSubject, sign_update
from model.network import RotoModel
from model.weights import TensorSpec, save
from studio_node.private_training import bounded_update

CAMPAIGN, TTL_S = "simulation", 3600.0


class GridCourier:
    """The coordinator's line over Flower's ``Grid``; fulfils ``aggregator.courier.Courier``."""

    def __init__(self, grid: Grid, studios: Mapping[str, bytes]) -> None:
        """Give every virtual node a studio to play.

        Args:
            grid: of the simulation.
            studios: name -> public key, PEM; as many as there are nodes.
        """
        self._grid = grid
        while len(ids := sorted(grid.get_node_ids())) < len(studios):
            time.sleep(0.1)
        self._nodes = [
            Node(node, name, key, True, 0.0) for node, (name, key) in zip(ids, studios.items(), strict=True)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open."""

    def open(self) -> None:
        """Nothing to open again."""

    def nodes(self) -> Sequence[Node]:
        """Return all nodes; they are always there."""
        return self._nodes

    def push(self, node_id: int, content: RecordDict, ttl_s: float, *, server_round: int = 0) -> str:
        """Ask a node."""
        message = Message(
            content, dst_node_id=node_id, message_type="train", ttl=ttl_s, group_id=str(server_round)
        )
        (message_id,) = self._grid.push_messages([message])
        return message_id

    def pull(self, message_ids: Iterable[str]) -> Iterator[Reply]:
        """Yield the replies that have arrived."""
        for message in self._grid.pull_messages(list(message_ids)):
            asked = message.metadata.reply_to_message_id
            if message.has_error():
                yield Reply(asked, None, int(message.error.code))
            else:
                yield Reply(asked, message.content, None)

    def finish(self, *, completed: bool, details: str = "") -> None:
        """The engine ends the run by itself."""


def client_app(home: Path) -> ClientApp:
    """Return the app that plays any studio of a home: the instruction says which."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        plan_key = load_plan_key(home / "keys" / PLAN_KEY).public_key()
        signed = answer(read_request(message.content), plan_key, home)
        return Message(signed, reply_to=message)

    return app


def answer(request: TrainRequest, plan_key: PublicKey, home: Path) -> RecordDict:
    """Answer a request as the studio that it names: noise of the plan's norm, signed by that studio's node key."""
    plan = TrainingPlan.verified(request.plan, plan_key)
    instruction = RoundInstruction.verified(request.instruction, plan_key)
    rng = np.random.default_rng([instruction.server_round, *instruction.studio.encode()])
    moved = request.weights + rng.standard_normal(request.weights.size).astype(np.float32)
    values: PackedUpdate = bounded_update(moved, request.weights, plan.update)
    update = TrainUpdate(values, plan.digest, instruction.server_round, f"{instruction.server_round:064x}")
    node_key = load_der_private_key((home / "nodes" / instruction.studio).read_bytes(), None)
    assert isinstance(node_key, ec.EllipticCurvePrivateKey)
    return reply_records(sign_update(update, UpdateSubject.of(instruction), node_key))


def simulate(home: Path, studios: int, rounds: int, parameters: int, **settings: Any) -> CampaignResult:
    """Run a campaign of so many studios in Flower's simulation engine.

    Args:
        home: an empty folder; becomes a coordinator's home.
        studios: how many.
        rounds: how many.
        parameters: trained weights.
        settings: of the plan.
    """
    from flwr.simulation import run_simulation  # needs ray

    public = _federation(home, studios)
    RotoModel.trainable_spec = staticmethod(lambda: TensorSpec(("w",), ((parameters,),)))  # type: ignore[method-assign]
    base = home / "base.safetensors"
    save(base, {"fusion.w": np.zeros(parameters, np.float32), "matcher.frozen": np.ones(3, np.float32)})
    plan = {"noise_multiplier": 0.0, "rounds": rounds, "quorum": studios, "deadline_s": int(TTL_S)} | settings
    request = CampaignRequest(CAMPAIGN, BaseWeights(1, base), plan, "research")
    results: list[CampaignResult] = []
    server = ServerApp()

    @server.main()
    def run(grid: Grid, context: Context) -> None:
        courier = GridCourier(grid, public)
        results.append(run_campaign(home, request, lambda folder, bundle: courier, pace=Pace(poll_s=0.02)))

    run_simulation(
        server,
        client_app(home),
        studios,
        backend_config={"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": os.cpu_count() or 1}},
    )
    (result,) = results
    return result


def _federation(home: Path, studios: int) -> dict[str, bytes]:
    """Set up a coordinator's home with so many admitted studios; returns their public keys by name."""
    set_up.init_coordinator(
        home, FederationConfig(name="simulation", hosts=("localhost",)), now=datetime.now(UTC)
    )
    (home / "nodes").mkdir()
    public = {}
    with Enrolment(home) as enrolment:
        for number in range(studios):
            name, key = f"s{number:03d}", ec.generate_private_key(ec.SECP384R1())
            secret = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            (home / "nodes" / name).write_bytes(secret)
            enrolment.admit(name, "s", openssh_public(key.public_key()).decode(), now=int(time.time()))
            public[name] = public_pem(key.public_key())
    return public


def main() -> None:
    """Run one simulation and print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studios", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--parameters", type=int, default=1000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fedroto-simulation-") as folder:
        home, begin = Path(folder) / "fed", time.time()
        result = simulate(home, asked.studios, asked.rounds, asked.parameters)
        lines = map(json.loads, (home / "campaigns" / CAMPAIGN / "progress.jsonl").read_text().splitlines())
        closed = [line["at"] for line in lines if line["event"] == "round.closed"]
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(
        json.dumps(
            {
                "studios": asked.studios,
                "rounds": len(result.rounds),
                "state": result.state,
                "whole_s": round(time.time() - begin, 1),
                "first_round_closed_s": round(closed[0] - begin, 1),
                "round_s_median": round(median(b - a for a, b in pairwise(closed)), 2),
                "cpu_s": round(sum(one.ru_utime + one.ru_stime for one in used), 1),
                "load_average": round(os.getloadavg()[0], 1),
            }
        )
    )


if __name__ == "__main__":
    from benchmarks import federation_simulation  # ray's workers import the app by this name

    federation_simulation.main()
