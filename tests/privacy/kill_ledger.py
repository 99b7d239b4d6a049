"""Kill a process that charges, over and over, and look for a touched round that was not charged.

    python tests/privacy/kill_ledger.py --kills 1000

A child process reserves, then notes durably that it has touched data, then records the round as done, as fast as it
can; it is killed with SIGKILL at a random moment. After each kill the ledger must open and hold, and every round that
was touched must be charged. More charges than touched rounds are fine: that is a charge that stands.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from federation.errors import LedgerError
from federation.plan import RoundInstruction
from studio_node.ledger import Ledger
from studio_node.ledger_file import LEDGER_FILE
from studio_node.ledger_records import Charge

KILLS_PER_LEDGER = 40
CHARGE = Charge(
    sample_rate=0.01,
    noise_multiplier=100.0,
    steps=1,
    max_grad_norm=1.0,
    windows_per_shot=1,
    update_denominator=1.0,
    delta=1e-5,
)


@dataclass
class Outcome:
    """What the kills did.

    Attributes:
        kills: how many.
        touched: rounds whose data were touched.
        charged: rounds charged.
        under_counts: touched rounds without a charge; must be 0.
        over_counts: charged rounds that never touched data.
        refused: openings refused after a kill; must be 0.
    """

    kills: int = 0
    touched: int = 0
    charged: int = 0
    under_counts: int = 0
    over_counts: int = 0
    refused: int = 0


def instruction(server_round: int) -> RoundInstruction:
    """A question of its own for each round."""
    fields = {
        "federation": "north",
        "campaign": "autumn",
        "plan_digest": "a" * 64,
        "server_round": server_round,
        "studio": "alpha",
        "base_digest": "b" * 64,
        "bundle_digest": "c" * 64,
        "issued_at": 0,
        "expires_at": 1,
    }
    return RoundInstruction.model_validate(fields)


def charge_for_ever(home: Path, first_round: int) -> None:
    """Reserve, touch, done; until killed. Touched rounds go to a file, synced, as an update's way out would be."""
    touched = os.open(home / "touched", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    server_round = first_round
    while True:
        with Ledger.open(home / LEDGER_FILE) as ledger:
            for _ in range(3):
                reservation = ledger.reserve(
                    instruction(server_round),
                    CHARGE,
                    {"kelp": 100.0},
                    dataset_digest="d" * 64,
                    now=server_round,
                )
                reservation.touch("kelp")
                os.write(touched, f"{server_round}\n".encode())
                os.fsync(touched)
                ledger.done(reservation.head.sequence, "e" * 64, now=server_round)
                server_round += 1


def kill_once(home: Path, first_round: int, delay_s: float, *, at_once: bool) -> None:
    """Let a child charge for a moment, then kill it; ``at_once`` counts the moment from its birth."""
    came, gone = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            Ledger.open(home / LEDGER_FILE).close()
            os.write(gone, b".")
            charge_for_ever(home, first_round)
        except BaseException as error:
            sys.stderr.write(f"the child ended by itself: {error!r}\n")
        finally:
            os._exit(1)
    os.close(gone)
    if not at_once:
        os.read(came, 1)
    os.close(came)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def check(home: Path, outcome: Outcome) -> int:
    """Compare what was touched with what is charged; returns the next free round."""
    text = (home / "touched").read_text() if (home / "touched").exists() else ""
    touched = {int(line) for line in text.splitlines()}
    try:
        with Ledger.open(home / LEDGER_FILE) as ledger:
            charged = {reserved.record.server_round for reserved in ledger.state.rounds.values()}
    except LedgerError:
        outcome.refused += 1
        return 1
    outcome.under_counts += len(touched - charged)
    return max(charged | touched, default=0) + 1


def tally(home: Path, outcome: Outcome) -> None:
    """Add a finished ledger to the outcome."""
    touched = len((home / "touched").read_text().splitlines()) if (home / "touched").exists() else 0
    with Ledger.open(home / LEDGER_FILE) as ledger:
        charged = len(ledger.state.rounds)
    outcome.touched += touched
    outcome.charged += charged
    outcome.over_counts += charged - touched


def run(kills: int, folder: Path, *, seed: int) -> Outcome:
    """Kill ``kills`` times; a new ledger every now and then keeps opening quick."""
    rng = random.Random(seed)
    outcome = Outcome()
    while outcome.kills < kills:
        home = Path(tempfile.mkdtemp(dir=folder))
        first_round = 1
        for _ in range(min(KILLS_PER_LEDGER, kills - outcome.kills)):
            kill_once(home, first_round, rng.uniform(0.0, 0.2), at_once=rng.random() < 0.2)
            outcome.kills += 1
            first_round = check(home, outcome)
        tally(home, outcome)
    return outcome


def main() -> None:
    """Run the long form and print its outcome as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="of the moments, not of anything private")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(arguments.kills, Path(folder), seed=arguments.seed)
    print(json.dumps(asdict(outcome)))
    sys.exit(1 if outcome.under_counts or outcome.refused else 0)


if __name__ == "__main__":
    main()
