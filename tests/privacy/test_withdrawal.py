"""A show is withdrawn from a studio that has trained on it."""

import json
from datetime import UTC, datetime

import pytest

from federation.config import load_studio_config
from federation.errors import IngestError, RefusalCode
from federation.messages import TrainRefusal
from studio_node import withdrawal
from studio_node.catalogue import Catalogue
from studio_node.egress import decode_reply
from studio_node.ledger_report import show_ledger
from studio_node.withdrawal import withdraw_show

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def trained(studio):
    answer = studio.rounds().answer(studio.request(plan=studio.plan()))
    assert not isinstance(decode_reply(answer.frame), TrainRefusal)
    return studio


def test_packs_are_gone_the_ledger_keeps_the_spend_and_a_report_says_so(trained):
    before = show_ledger(trained.home)
    show = before.accounts[0].show
    with Catalogue.open(trained.home) as catalogue:
        packs = [pack.path for pack in catalogue.packs(show=show)]
        others = [pack.path for pack in catalogue.packs() if pack.show != show]
    done = withdraw_show(trained.home, show, by="letter 12", now=NOW)
    assert not any(path.exists() for path in packs)
    assert all(path.exists() for path in others)
    assert show_ledger(trained.home) == before
    report = json.loads(done.report.read_text())
    assert (report["show"], report["by"], report["packs_deleted"]) == (show, "letter 12", len(packs))
    assert report["account"]["epsilon"] == before.accounts[0].epsilon > 0
    assert len(report["charges"]) == 1
    assert done.report.stat().st_mode & 0o777 == 0o600
    assert not load_studio_config(trained.home / "studio.toml").shows[show].training_allowed


def test_a_studio_whose_every_show_is_withdrawn_refuses_to_train(trained):
    for show in load_studio_config(trained.home / "studio.toml").shows:
        withdraw_show(trained.home, show, by="ann", now=NOW)
    reply = decode_reply(trained.rounds().answer(trained.request(plan=trained.plan(), server_round=2)).frame)
    assert isinstance(reply, TrainRefusal)
    assert reply.code is RefusalCode.NO_CONSENT


def test_a_withdrawal_that_was_cut_short_is_finished_by_asking_again(trained, monkeypatch):
    show = show_ledger(trained.home).accounts[0].show

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(withdrawal, "sync_folder", dies)
        with pytest.raises(KeyboardInterrupt):
            withdraw_show(trained.home, show, by="ann", now=NOW)
    assert not load_studio_config(trained.home / "studio.toml").shows[show].training_allowed
    done = withdraw_show(trained.home, show, by="ann", now=NOW)
    assert len(done.shots) > 0
    with Catalogue.open(trained.home) as catalogue:
        assert catalogue.packs(show=show) == ()


def test_a_show_that_is_not_there_is_an_error(studio):
    with pytest.raises(IngestError, match="there is no show 'kelpp' here; there are:"):
        withdraw_show(studio.home, "kelpp", by="ann", now=NOW)
