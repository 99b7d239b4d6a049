"""Every question that a studio must refuse, put to a real runner by the command that a studio has for it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from studio_under_test import StudioUnderTest

from federation.documents import sign
from federation.flower.bundle import build_bundle, bundle_digest
from federation.messages import TrainRequest, encode_request
from federation.plan import LedgerHead
from studio_node import node
from studio_node.ledger_report import show_ledger

ROOT = Path(__file__).parents[2]
OURS = bundle_digest(build_bundle())
DAY_S = 24 * 3600


@pytest.fixture
def asked(tmp_path):
    """A studio with a floor of its own under the noise, its runner, and the command; returns what the command did."""
    studio = StudioUnderTest.made(tmp_path / "node", {"kelp": 2}, noise_multiplier_min=3.0)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    runner = subprocess.Popen(
        node.services(studio.home)[0].argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    runner.stdout.readline()

    def asked(request: TrainRequest) -> tuple[str | None, str]:
        """The refusal (None: an update), and what the studio reads about it."""
        question = tmp_path / "one.question"
        question.write_bytes(encode_request(request))
        before = len(studio.journal())
        done = subprocess.run(
            [sys.executable, "-m", "federation.cli", "round", "answer", question, "--home", studio.home, "--json"],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        result = json.loads(done.stdout)
        if "error" in result:
            return "not asked", result["error"]
        refusal = result["refusal"]
        assert (done.returncode == 0) == (refusal is None)
        return refusal, studio.journal()[before:]

    asked.studio = studio
    yield asked
    runner.terminate()
    runner.wait(timeout=20)


def with_plan(studio: StudioUnderTest, **privacy: float) -> TrainRequest:
    """A question whose plan no honest coordinator could write, signed with the true key nevertheless."""
    good = studio.plan()
    payload = good.payload()
    plan = sign("plan", payload | {"privacy": payload["privacy"] | privacy}, studio.plan_key)
    instruction = studio.instruction(good, bundle_digest=OURS).signed(studio.plan_key).to_bytes()
    return TrainRequest(plan.to_bytes(), instruction, studio.weights)


@pytest.mark.long
def test_each_bad_question_is_refused_clearly_and_costs_nothing(asked):
    studio = asked.studio
    now = int(time.time())
    plan = studio.plan()
    good = studio.request(plan=plan, bundle_digest=OURS)
    past = studio.plan(created_at=now - 90, expires_at=now - 60)
    forged = studio.instruction(
        plan, bundle_digest=OURS, seen_head=LedgerHead(sequence=9, hash="9" * 64)
    ).signed(ed25519.Ed25519PrivateKey.generate())
    for name, request, code, said in (
        ("q above 1", with_plan(studio, sample_rate=1.5), "MALFORMED", "sample_rate"),
        ("sigma below every floor", with_plan(studio, noise_multiplier=0.5), "MALFORMED", "0.5"),
        ("sigma below ours", studio.request(plan=studio.plan(privacy_noise_multiplier=2.0), bundle_digest=OURS),
         "POLICY", "noise_multiplier is 2, this studio's policy asks for at least 3"),
        ("an expired instruction", studio.request(plan=plan, bundle_digest=OURS, expires_at=now - 60),
         "EXPIRED", "the instruction expired"),
        ("an expired plan", studio.request(plan=past, bundle_digest=OURS),
         "EXPIRED", "the plan expired"),
        ("another studio's question", studio.request(plan=plan, bundle_digest=OURS, studio="beta"),
         "not asked", "the question is for studio beta"),
        ("another studio's plan", studio.request(plan=studio.plan(studios={"beta": "s"}), bundle_digest=OURS),
         "NOT_FOR_THIS_STUDIO", "does not name this studio"),
        ("a forged counter-signature", TrainRequest(good.plan, forged.to_bytes(), good.weights),
         "not asked", "not by the expected key"),
        ("a counter-signature of a record that never was",
         studio.request(plan=plan, bundle_digest=OURS, seen=LedgerHead(sequence=9, hash="9" * 64)),
         "LEDGER", "the coordinator has seen record 9"),
    ):  # fmt: skip
        refusal, text = asked(request)
        assert (name, refusal) == (name, code)
        assert said in text, f"{name}: {text}"
    assert show_ledger(studio.home).charges == ()
    assert asked(good)[0] is None
    refusal, text = asked(studio.request(plan=plan, bundle_digest=OURS))
    assert refusal is None
    assert "stored update sent again" in text  # a replay costs nothing and tells nothing new
    assert len(show_ledger(studio.home).charges) == 1


@pytest.mark.long
def test_a_clock_that_jumped_back_is_refused_by_the_running_studio(asked):
    studio = asked.studio
    later = int(time.time()) + DAY_S
    ahead = studio.plan(expires_at=later + DAY_S)
    answer = studio.rounds().answer(
        studio.request(plan=ahead, issued_at=later, expires_at=later + 60), now=later
    )
    assert answer.expected is not None  # charged tomorrow; today that is before the newest record
    refusal, text = asked(studio.request(2, ahead, bundle_digest=OURS))
    assert refusal == "LEDGER"
    assert "jumped back" in text
    assert len(show_ledger(studio.home).charges) == 1
