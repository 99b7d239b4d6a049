"""What an operator does when the ledger was lost: continue an older copy after the head that the coordinator has seen.

Nobody knows any more what the lost records charged, so everything that the shows of this studio had left counts as
spent. Shows that are ingested later start anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from federation.config import STUDIO_CONFIG, load_studio_config
from federation.plan import LedgerHead
from studio_node.catalogue import Catalogue
from studio_node.ledger import Ledger
from studio_node.ledger_file import LEDGER_FILE


@dataclass(frozen=True)
class Adoption:
    """A ledger that was continued: the head that was adopted, the new one, and the shows whose budget is spent."""

    adopted: LedgerHead
    head: LedgerHead
    exhausted: tuple[str, ...]


def adopt_head(home: Path, seen: LedgerHead, *, now: int) -> Adoption:
    """Continue the ledger of a studio's home after the coordinator's head; its runner must be stopped.

    Args:
        home: of the studio.
        seen: from the runner's journal, or from the coordinator.
        now: seconds since the epoch.

    Raises:
        LedgerError: nothing is lost, another process has the ledger open, or it does not hold.
        FedrotoError: settings or catalogue cannot be read.
    """
    config = load_studio_config(home / STUDIO_CONFIG)
    with Catalogue.open(home) as catalogue:
        ingested = {entry.show for entry in catalogue.packs()}
    with Ledger.open(home / LEDGER_FILE) as ledger:
        shows = sorted(ingested | set(config.shows) | set(ledger.state.shows))
        ledger.adopt(seen, shows, epsilon_lifetime=config.policy.epsilon_lifetime, now=now)
        return Adoption(seen, ledger.head, tuple(shows))
