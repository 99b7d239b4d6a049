"""Writes the tables of docs/attacks.md from runs of ``benchmarks.federation_attacks``, one file a seed.

python -m benchmarks.attack_table seed1.jsonl seed2.jsonl seed3.jsonl
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.federation_attacks import ATTACKS, DROPPED, SIZES
from federation.plan import STUDIOS_MIN

Cell = tuple[int, bool, str, str]  # studios, noise, attack, rule


def main() -> None:
    """Print both tables."""
    cells: dict[Cell, list[dict[str, Any]]] = defaultdict(list)
    for name in sys.argv[1:]:
        first, *rows = map(json.loads, Path(name).read_text().splitlines())
        for row in rows:
            key = (row["studios"], row["noise"], row["attack"], row["rule"])
            cells[key].append(row | {"base": first["base"]})
    for noise in (False, True):
        print(f"\n### {'With' if noise else 'Without'} noise\n")
        print(
            "| studios (liars) | attack | "
            + " | ".join(rule.replace("_", " ") for rule in STUDIOS_MIN)
            + " |"
        )
        print("|---" * (2 + len(STUDIOS_MIN)) + "|")
        for studios, liars in SIZES:
            for attack in (one for one in ATTACKS if one not in DROPPED):
                found = [_cell(cells.get((studios, noise, attack, rule), []), attack) for rule in STUDIOS_MIN]
                print(f"| {studios} ({liars}) | {attack} | " + " | ".join(found) + " |")


def _cell(rows: Sequence[dict[str, Any]], attack: str) -> str:
    if not rows or any("across" not in row for row in rows):
        return "-"
    others = _change(rows, "across")
    text = others
    if attack == "backdoor":
        text = f"{_change(rows, 'target')} / {others}"
    rolled = [row["rolled_back"] for row in rows if "rolled_back" in row]
    return f"{text}, back {sum(rolled)} of {len(rolled)}" if any(rolled) else text


def _change(rows: Sequence[dict[str, Any]], name: str) -> str:
    """Mean change from the base in percent, and its range over the seeds where that is wider than a point."""
    changes = [100 * (row[name] / row["base"][name] - 1) for row in rows]
    mean, low, high = sum(changes) / len(changes), min(changes), max(changes)
    digits = 0 if max(map(abs, changes)) >= 10 else 1
    span = f" ({low:+.{digits}f} to {high:+.{digits}f})" if high - low > 1 else ""
    return f"{mean:+.{digits}f}{span}"


if __name__ == "__main__":
    main()
