"""A studio that has joined, with real packs on disk, and the coordinator that asks it: no network, no Flower."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from federation import certificates, keys, set_up
from federation.config import ShowConsent, StudioConfig
from federation.journal import Journal
from federation.messages import TrainRequest
from federation.model_spec import ARCHITECTURE, TRAINABLE_PREFIX, packed_digest
from federation.plan import LedgerHead, RoundInstruction, TrainingPlan
from federation.provisioning import KIT_SCHEMA, JoinKit
from model.evidence import SpanEvidence, evidence_shapes
from model.network import Fusion, RotoModel
from model.weights import pack
from model.windows import Window
from studio_node.catalogue import Catalogue, PackEntry, ShapeEntry
from studio_node.local_round import LocalRounds
from studio_node.packs import PackHeader, write_pack

FROZEN_DIGEST = "d" * 64
NAME, FEDERATION, TIER = "alpha", "north", "s"


class Silence:
    """An echo that says nothing."""

    def write(self, text: str) -> None: ...

    def flush(self) -> None: ...


def window(seed: int, *, frames: int = 4, samples: int = 12, canary: float | None = None) -> Window:
    """A window of plausible random evidence; ``canary`` fills its truth instead."""
    rng = np.random.default_rng(seed)
    arrays = {k: rng.random(s, dtype=np.float32) for k, s in evidence_shapes(frames, samples).items()}
    arrays["available"] = np.ones_like(arrays["available"])
    arrays["context"] = arrays["context"] + 5.0
    truth = rng.random((frames, samples, 2), dtype=np.float32)
    if canary is not None:
        truth[:] = canary
    return Window(SpanEvidence(**arrays), truth, np.ones(frames, np.float32))


@dataclass
class StudioUnderTest:
    """A studio's home and its coordinator's plan key."""

    home: Path
    plan_key: ed25519.Ed25519PrivateKey
    kit: JoinKit
    weights: np.ndarray = field(default_factory=lambda: pack(Fusion()))

    @classmethod
    def made(
        cls, home: Path, shots: Mapping[str, int], *, consent: Mapping[str, bool] | None = None, **policy: Any
    ) -> StudioUnderTest:
        """Set up, join, and ingest ``shots`` shots a show."""
        now = datetime.now(UTC)
        config = StudioConfig.from_fields(
            {
                "name": NAME,
                "federation": FEDERATION,
                "policy": policy,
                "shows": {show: {"training_allowed": (consent or {}).get(show, True)} for show in shots},
            }
        )
        made = set_up.init_studio(home, config, size_tier=TIER, now=now)
        plan_key = ed25519.Ed25519PrivateKey.generate()
        kit = JoinKit.from_payload(
            {
                "schema": KIT_SCHEMA,
                "federation": FEDERATION,
                "studio": NAME,
                "size_tier": TIER,
                "node_key": made.fingerprint,
                "fleet_address": "127.0.0.1:9443",
                "service_address": "127.0.0.1:9444",
                "ca_pem": certificates.create_authority(FEDERATION, now=now).certificate_pem.decode(),
                "plan_key_pem": keys.public_pem(plan_key.public_key()).decode(),
                "release_key_pem": keys.public_pem(
                    ec.generate_private_key(ec.SECP256R1()).public_key()
                ).decode(),
                "bundle_digest": "b" * 64,
                "created_at": int(now.timestamp()),
            }
        )
        set_up.join(home, kit.signed(plan_key), now=now)
        studio = cls(home, plan_key, kit)
        for show, count in shots.items():
            for index in range(count):
                studio.add_shot(show, f"{show}_{index:03d}", [window(100 * index + n) for n in range(3)])
        return studio

    def add_shot(
        self, show: str, shot: str, windows: list[Window], *, frozen_digest: str = FROZEN_DIGEST
    ) -> PackEntry:
        """Write a pack and enter it into the catalogue."""
        path = self.home / "packs" / f"{shot}.safetensors"
        header = PackHeader(shot, show, "e" * 64, "test", frozen_digest, len(windows))
        size = write_pack(path, windows, header)
        entry = PackEntry(
            shot, show, path, header.epoch, header.recipe, frozen_digest, len(windows), size,
            "/plates/secret/%04d.exr", "/plates/secret/roto.nk", 1, 4, 64, 48,
        )  # fmt: skip
        with Catalogue.open(self.home) as catalogue:
            catalogue.record(
                entry, [ShapeEntry("roto", "bezier", 12, 2, len(windows))], now=datetime.now(UTC)
            )
        return entry

    def consent(self, show: str, allowed: bool) -> None:
        set_up.record_consent(self.home, show, ShowConsent(training_allowed=allowed))

    def plan(self, **changes: Any) -> TrainingPlan:
        """A plan for this studio; ``privacy_<name>`` changes a privacy constant."""
        now = int(time.time())
        spec = RotoModel.trainable_spec()
        payload: dict[str, Any] = {
            "schema": "fedroto.plan/1",
            "federation": FEDERATION,
            "campaign": "autumn",
            "mode": "private",
            "created_at": now - 10,
            "expires_at": now + 10_000,
            "base_release": 1,
            "model": {
                "architecture": ARCHITECTURE,
                "trainable": [
                    {"name": f"{TRAINABLE_PREFIX}{n}", "shape": list(s)}
                    for n, s in zip(spec.names, spec.shapes, strict=True)
                ],
                "frozen_digest": FROZEN_DIGEST,
            },
            "privacy": {
                "unit": "shot",
                "neighboring_relation": "add_or_remove_one",
                "sample_rate": 0.5,
                "windows_per_shot": 2,
                "max_grad_norm": 1.0,
                "noise_multiplier": 4.0,
                "steps_per_round": 1,
            },
            "learning_rate": 0.1,
            "update": {"norm_max": 1.0, "grid": 2.0**-20},
            "rounds": 50,
            "quorum": 1,
            "deadline_s": 60,
            "staleness_max": 1,
            "aggregation": "norm_clipped_mean",
            "size_tiers": {
                "s": {"shots_max": 200, "weight": 1.0, "update_denominator": 25.0, "delta": 1e-5},
                "m": {"shots_max": 2000, "weight": 9.0, "update_denominator": 250.0, "delta": 1e-5},
            },
            "studios": {NAME: TIER},
        }
        for name, value in changes.items():
            if name.startswith("privacy_"):
                payload["privacy"][name.removeprefix("privacy_")] = value
            else:
                payload[name] = value
        return TrainingPlan.from_payload(payload)

    def instruction(self, plan: TrainingPlan, server_round: int = 1, **changes: Any) -> RoundInstruction:
        now = int(time.time())
        fields: dict[str, Any] = {
            "federation": plan.federation,
            "campaign": plan.campaign,
            "plan_digest": plan.digest,
            "server_round": server_round,
            "studio": NAME,
            "base_digest": packed_digest(self.weights),
            "bundle_digest": "b" * 64,
            "issued_at": now,
            "expires_at": now + 600,
            "seen_head": None,
        }
        return RoundInstruction.model_validate({"schema": "fedroto.instruction/1", **fields, **changes})

    def request(
        self,
        server_round: int = 1,
        plan: TrainingPlan | None = None,
        *,
        seen: LedgerHead | None = None,
        **changes: Any,
    ) -> TrainRequest:
        """What the coordinator asks, signed."""
        plan = plan or self.plan()
        instruction = self.instruction(plan, server_round, seen_head=seen, **changes)
        return TrainRequest(
            plan.signed(self.plan_key).to_bytes(), instruction.signed(self.plan_key).to_bytes(), self.weights
        )

    def rounds(self) -> LocalRounds:
        return LocalRounds(self.home, self.kit, Journal(self.home / "runner.jsonl", "runner", echo=Silence()))

    def journal(self) -> str:
        path = self.home / "runner.jsonl"
        return path.read_text() if path.exists() else ""
