"""Level 1: is the noised update really all that leaves? The real round, from shots to the frame at the egress door."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federation.errors import EgressError
from federation.messages import TrainUpdate, encode_reply
from federation.model_spec import ARCHITECTURE, TRAINABLE_PREFIX
from federation.plan import LedgerHead, PrivacyConstants, TrainingPlan
from model.network import RotoModel
from model.weights import pack
from studio_node.audit import made_up
from studio_node.audit.bounds import spread_floor
from studio_node.audit.findings import Finding
from studio_node.audit.mechanism import ALARM
from studio_node.egress import ExpectedUpdate, decode_reply, inspect_frame
from studio_node.roto_training import OpenShot, train_update

ROUNDS = 16
"""Half of them with one shot more; enough to see a weight that carries less than a tenth of its noise."""
HEAD = LedgerHead(sequence=1, hash="a" * 64)
KNOWN_FIELDS = ("update", "plan_digest", "ledger_sequence", "ledger_hash", "epsilon_left")


def check_outward(privacy: PrivacyConstants) -> list[Finding]:
    """Send rounds on two neighbouring made-up data sets to the egress door and look at what would leave.

    Args:
        privacy: whose ``max_grad_norm`` and ``noise_multiplier`` are claimed.
    """
    plan = rehearsal_plan(privacy)
    shots: list[OpenShot] = [_shot(1), _shot(2)]
    replies, lengths, held = [], set(), ""
    for server_round in range(ROUNDS):
        try:
            frame = _frame(plan, shots[: 1 + server_round % 2])
            inspect_frame(frame, ExpectedUpdate.of(plan, 1, HEAD, replay=False))
        except EgressError as error:
            held = str(error)
            break
        lengths.add(len(frame))
        replies.append(decode_reply(frame))
    beside = 0 if held else _values_beside(replies)
    fields = Finding.below(
        "fields",
        "Does anything leave besides the noised update that depends on the shots?",
        float(len(lengths) - 1 + beside) if not held else float("inf"),
        0.0,
        held
        or f"fields and lengths that differ between {ROUNDS} rounds with and without one shot, unknown fields included",
    )
    if held:
        return [fields]
    updates = np.array([reply.update for reply in replies if isinstance(reply, TrainUpdate)], np.float64)
    return [fields, _noise_in_every_value(updates, privacy)]


def rehearsal_plan(privacy: PrivacyConstants) -> TrainingPlan:
    """A plan of the audit's own for the real network, under which an update is exactly what one step released."""
    spec = RotoModel.trainable_spec()
    names = zip(spec.names, spec.shapes, strict=True)
    constants = {"sample_rate": 1.0, "steps_per_round": 1, "windows_per_shot": 2}
    return TrainingPlan.from_payload(
        {
            "schema": "fedroto.plan/1",
            "federation": "audit",
            "campaign": "audit",
            "mode": "private",
            "created_at": 0,
            "expires_at": 1,
            "base_release": 1,
            "model": {
                "architecture": ARCHITECTURE,
                "trainable": [{"name": f"{TRAINABLE_PREFIX}{n}", "shape": list(s)} for n, s in names],
                "frozen_digest": "0" * 64,
            },
            "privacy": privacy.model_copy(update=constants).model_dump(),
            "learning_rate": 1.0,
            "update": {"norm_max": 1e9, "grid": 2.0**-20},
            "rounds": 1,
            "quorum": 1,
            "deadline_s": 1,
            "size_tiers": {
                "audit": {"shots_max": 1, "weight": 1.0, "update_denominator": 1.0, "delta": 1e-5}
            },
            "studios": {"audit": "audit"},
        }
    )


def _frame(plan: TrainingPlan, shots: Sequence[OpenShot]) -> bytes:
    made_up.set_every_seed(0)
    update = train_update(plan, "audit", pack(made_up.fusion(1)), shots)
    return encode_reply(TrainUpdate(update, plan.digest, HEAD.sequence, HEAD.hash))


def _shot(seed: int) -> OpenShot:
    windows = [made_up.window(10 * seed + k) for k in range(2)]
    return lambda: windows


def _values_beside(replies: Sequence[Any]) -> int:
    """Count values that leave beside the update and are unknown or not the same in every round."""
    fields = {field.name for reply in replies for field in dataclasses.fields(reply)}
    unknown = fields - set(KNOWN_FIELDS)
    steady = {name for name in fields - {"update"} if len({getattr(reply, name) for reply in replies}) == 1}
    return len(unknown | (fields - {"update"} - steady))


def _noise_in_every_value(updates: NDArray[np.float64], privacy: PrivacyConstants) -> Finding:
    rounds, values = updates.shape
    spread = updates.var(axis=0, ddof=1) / (privacy.noise_multiplier * privacy.max_grad_norm) ** 2
    floor = spread_floor(rounds - 1, ALARM / values)
    return Finding.below(
        "every value",
        "Is any value of the update that leaves without noise, a metric among them?",
        float(floor / max(float(spread.min()), 1e-300)),
        1.0,
        f"the quietest of {values} values over {rounds} rounds of the real network, as a share of the least noise that "
        "it can honestly show",
    )
