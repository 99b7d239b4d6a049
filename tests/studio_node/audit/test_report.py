"""The audit's two files: signed JSON for machines, a page for people, each naming what the other holds."""

import json
import re
from datetime import UTC, datetime

import numpy as np
import planted_bugs
import pytest
from typer.testing import CliRunner

from federation import set_up
from federation.cli.main import app
from federation.config import PlanDefaults, StudioConfig
from federation.documents import digest
from federation.errors import DocumentError, EgressError, IdentityError, PlanError, SignatureError
from federation.homes import StudioHome
from federation.keys import create_plan_key, load_node_key
from studio_node.audit import auditor, reconstruction
from studio_node.audit.auditor import claimed_plan, run_audit
from studio_node.audit.canaries import CanaryResult, Claim
from studio_node.audit.findings import LABEL, Finding
from studio_node.audit.mechanism import draw_noise
from studio_node.audit.outward import rehearsal_plan
from studio_node.audit.reconstruction import attack_made_up_shot
from studio_node.audit.report import AuditReport
from studio_node.audit.report_files import check_report, write_report
from studio_node.audit.report_parts import certainty

NOW = 1_700_000_000


class NoRestart:
    """In place of new processes, which take seconds each; they have a test of their own."""

    def __init__(self, privacy) -> None:
        self._privacy = privacy

    def rows(self):
        return draw_noise(self._privacy, with_shot=False, trainers=1, steps=2)

    def stop(self) -> None: ...


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(auditor, "Restart", NoRestart)


@pytest.fixture(scope="module")
def attack():
    return attack_made_up_shot(claimed_plan(None, None).privacy, draws=3, gap=2)


def home(tmp_path):
    root = tmp_path / "node"
    config = StudioConfig.from_fields({"name": "alder", "federation": "north"})
    set_up.init_studio(root, config, size_tier="s", now=datetime.now(UTC))
    return root


def report(attack=None, *, holds: bool = True) -> AuditReport:
    claimed = claimed_plan(None, None)
    claim = Claim.of("autumn <1>", claimed.privacy, 5, claimed.delta, "1 of 20 rounds")
    result = CanaryResult(claim, 10_000, 5001, 71, 0.4, 0.3, 0.5 if holds else 9.0, 7.6, not holds)
    finding = Finding("noise", "Is there noise?", 0.5 if holds else float("inf"), 0.6, holds, "by <looking>")
    return AuditReport(
        3,
        NOW,
        "autumn",
        claimed.privacy,
        20,
        6.46,
        1e-5,
        {"fedroto": "1"},
        "alder",
        (finding,),
        (result,),
        attack,
    )


def test_without_noise_the_outline_is_rebuilt_and_with_it_is_not(attack):
    clean, *_, full, absent = attack.releases
    assert clean.noise_multiplier == 0
    assert clean.likeness > 0.95
    assert clean.error_px < 0.2 * attack.guess_error_px
    assert full.noise_multiplier == absent.noise_multiplier == PlanDefaults().noise_multiplier
    for noised in (full, absent):
        assert noised.error_px > 0.9 * attack.guess_error_px
        assert abs(noised.likeness) < 0.75


def test_the_plate_and_the_outlines_lie_on_each_other(attack):
    clean = attack.releases[0]
    assert attack.plate.shape == (160, 160, 3)
    assert ((attack.approved > -10) & (attack.approved < 170)).all()
    assert np.linalg.norm(clean.points - attack.approved, axis=1).mean() < 1.0
    assert np.linalg.norm(attack.predicted - attack.approved, axis=1).mean() < 10.0


def test_a_page_can_be_read_without_anything_else_and_says_what_it_is(tmp_path, attack):
    files = write_report(report(attack), tmp_path / "out", None)
    html = files.page.read_text()
    assert LABEL in html
    assert not re.search(r"<script|https?://(?!www.w3.org)|src=", html)
    assert html.count("data:image/png;base64,") == 1 + len(attack.releases)
    assert "Autumn &lt;1&gt;" in html
    assert "by &lt;looking&gt;" in html
    assert "Nothing contradicts the privacy that is claimed." in html
    assert "1 of 1 checks of the mechanism hold" in html
    assert "epsilon 6.46" in html
    payload = json.loads(files.document.read_bytes())
    assert not files.signed
    assert payload["label"] == LABEL
    assert payload["page_sha256"] == digest(files.page.read_bytes())
    assert payload["holds"] is True
    assert payload["reconstruction"]["releases"][0]["likeness"] > 0.9


def test_epsilon_is_said_in_plain_words():
    # of an even bet, by the definition: the odds move by a factor of at most e to the epsilon
    assert certainty(0) == 0.5
    assert certainty(np.log(3)) == pytest.approx(0.75)
    assert certainty(800) == 1.0


def test_a_contradiction_stands_in_both_files(tmp_path):
    files = write_report(report(holds=False), tmp_path, None)
    payload = json.loads(files.document.read_bytes())
    assert payload["holds"] is False
    assert payload["findings"][0]["measured"] == "inf"
    assert payload["canaries"][0]["fires"] is True
    html = files.page.read_text()
    assert "A CLAIM IS CONTRADICTED" in html
    assert "<span class=bad>contradicted</span>" in html


def test_a_report_is_signed_by_the_node_key_and_a_changed_one_is_refused(tmp_path):
    root = home(tmp_path)
    outcome = run_audit(1, tmp_path / "out", now=NOW, home=root)
    assert outcome.report.holds
    assert outcome.files.signed
    key = load_node_key(StudioHome(root).node_key).private.public_key()
    payload = check_report(tmp_path / "out", key)
    assert (payload["studio"], payload["level"], payload["time"]) == ("alder", 1, NOW)
    assert {finding["name"] for finding in payload["findings"]} >= {"sensitivity", "repeats", "every value"}
    assert re.fullmatch(r"[0-9a-f]{64}", payload["installation"]["installed code, sha256"])
    command = ["audit", "--check", str(tmp_path / "out"), "--json"]
    by_home = CliRunner().invoke(app, [*command, "--home", str(root)])
    by_key = CliRunner().invoke(app, [*command, "--key", str(root / "keys" / "node_key.pub")])
    assert json.loads(by_home.stdout) == json.loads(by_key.stdout)
    assert json.loads(by_key.stdout)["studio"] == "alder"
    data, page = outcome.files.document.read_bytes(), outcome.files.page.read_bytes()
    outcome.files.page.write_bytes(page.replace(b"holds", b"fails"))
    with pytest.raises(SignatureError, match="not the page"):
        check_report(tmp_path / "out", key)
    outcome.files.page.write_bytes(page)
    changed = data.replace(b'\\"level\\":1', b'\\"level\\":3')
    assert changed != data
    outcome.files.document.write_bytes(changed)
    with pytest.raises(SignatureError):
        check_report(tmp_path / "out", key)
    assert CliRunner().invoke(app, command).exit_code != 0  # no key named


def test_the_command_ends_with_the_privacy_guards_status_where_a_claim_fails(tmp_path, monkeypatch):
    planted_bugs.noise_scaled(monkeypatch, 0.9)
    monkeypatch.setattr(auditor, "check_outward", lambda privacy: [])
    result = CliRunner().invoke(app, ["audit", "--output", str(tmp_path), "--json"])
    assert result.exit_code == EgressError.exit_code
    payload = json.loads(result.stdout)
    assert payload["holds"] is False
    assert {f["name"] for f in payload["findings"] if not f["holds"]} >= {"noise, empty batch"}
    assert "level 1" in result.stderr


def test_a_plan_is_read_signed_or_not_and_its_constants_are_claimed(tmp_path):
    plan = rehearsal_plan(claimed_plan(None, None).privacy)
    signed, plain = tmp_path / "signed.json", tmp_path / "plain.json"
    signed.write_bytes(plan.signed(create_plan_key(tmp_path / "keys")).to_bytes())
    plain.write_text(json.dumps(plan.payload()))
    for path in (signed, plain):
        claimed = claimed_plan(path, None)
        assert claimed.privacy == plan.privacy
        assert "not checked" in claimed.name
        assert (
            claimed_plan(path, home(tmp_path / path.stem)) == claimed
        )  # has not joined: nothing to check with


def test_plans_that_claim_nothing_or_are_nothing_are_refused(tmp_path):
    plan = rehearsal_plan(claimed_plan(None, None).privacy).payload()
    path = tmp_path / "plan.json"
    path.write_text(
        json.dumps(plan | {"mode": "research", "privacy": plan["privacy"] | {"noise_multiplier": 0.0}})
    )
    with pytest.raises(PlanError, match="without noise"):
        claimed_plan(path, None)
    for text in ("no JSON", "[1]", '{"schema": "fedroto.signed/1"}'):
        path.write_text(text)
        with pytest.raises((DocumentError, PlanError)):
            claimed_plan(path, None)
    with pytest.raises(PlanError, match="not 4"):
        run_audit(4, tmp_path, now=NOW)
    with pytest.raises(IdentityError):
        run_audit(1, tmp_path, now=NOW, home=tmp_path)


def test_the_likelihoods_weight_is_the_losss():
    import inspect

    from model.losses import frame_losses

    assert f"{reconstruction._LIKELIHOOD:g} * likelihood" in inspect.getsource(frame_losses)
