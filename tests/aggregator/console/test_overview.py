"""What is shown of a federation, and what never is."""

import io
import json
import re
import threading
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from coordinator_home import OUT
from rich.console import Console

from aggregator.console.metrics import metrics
from aggregator.console.report import report
from aggregator.console.state import page_state
from aggregator.console.tensorboard import export_tensorboard
from aggregator.enrolment import Enrolment
from aggregator.overview import Overviews
from aggregator.plan_cost import PlanCosts
from aggregator.presence import NodeSeen, Presence
from aggregator.round_state import Phase, Standing, Turn
from federation.cli.main import main
from federation.cli.status import _picture
from federation.config import FederationConfig
from federation.errors import ConfigError, FlowerError, RoundError
from federation.privacy import epsilon, event_of
from federation.set_up import init_coordinator


def cheap(plan, rounds, delta):
    return rounds / 4


@pytest.fixture
def look(home):
    overviews = Overviews(home.root, PlanCosts(cheap))

    def take(nodes=None, **options):
        return overviews.take(now=home.now, nodes=nodes, wait=True, **options)

    return take


def files(home):
    return {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}


def test_looking_writes_nothing(home, look):
    before = files(home)
    overview = look()
    page_state(overview), metrics(overview), report(overview)
    assert files(home) == before


def test_studios_are_shown_with_their_part_and_where_they_are(home, look):
    nodes = {"alder": NodeSeen(True, home.now), "birch": NodeSeen(False, home.now - 90)}
    studios = {one.name: one for one in look(nodes).studios}
    assert (studios["alder"].online, studios["birch"].online, studios["cedar"].online) == (True, False, False)
    assert (studios["birch"].last_seen, studios["cedar"].last_seen) == (home.now - 90, None)
    assert (studios["alder"].returned, studios["alder"].rounds) == (5, 5)
    assert (studios["hazel"].returned, studios["hazel"].late) == (3, 1)
    assert {one.online for one in look(None).studios} == {None}


def test_what_is_left_of_a_studios_budget_is_shown_only_where_it_shares_it(home, look):
    told = {one["name"]: one["epsilon_left"] for one in page_state(look())["studios"]}
    assert told == {"alder": None, "birch": 5.25, "cedar": None, "hazel": None, "rowan": None}
    assert 'fedroto_studio_epsilon_left{studio="birch"} 5.25' in metrics(look())
    assert metrics(look()).count("fedroto_studio_epsilon_left{") == 1
    assert report(look()).count("not shared") == 4


def test_a_studio_with_another_program_version_is_named(home, look):
    home.round(6, Phase.OPEN, {"rowan": Turn(Standing.REFUSED, reason="refused: bundle mismatch")})
    assert {one.name: one.installation for one in look().studios}["rowan"] == "other"


def test_a_revoked_studio_is_shown_as_such(home, look):
    with Enrolment(home.root) as enrolment:
        enrolment.revoke("birch", now=1)
    assert [one.name for one in look().studios if not one.admitted] == ["birch"]


def test_costs_follow_from_the_plan_by_round(home, look):
    costs = {one.tier: one for one in look().costs}
    assert set(costs) == {"s", "m"}
    assert (costs["s"].rounds, costs["s"].spent, costs["s"].planned) == (6, 1.5, 3.0)
    assert costs["s"].epsilon[1] == 0.25


def test_the_cost_shown_is_the_one_that_is_charged(home):
    (cost, _) = PlanCosts(points_max=0).costs(home.plan, 2, wait=True)
    assert cost.spent == epsilon([event_of(home.plan, rounds=2)], cost.delta)


def test_costs_that_are_not_computed_yet_are_said_to_be_unknown(home):
    go = threading.Event()
    costs = PlanCosts(lambda *_: go.wait(20) and 1.0)
    assert [(one.spent, one.planned) for one in costs.costs(home.plan, 3)] == [(None, None)] * 2
    go.set()
    assert costs.costs(home.plan, 3, wait=True)[0].spent == 1.0


def test_nothing_of_a_single_studios_training_is_shown(home, look):
    shown = json.dumps(page_state(look())) + metrics(look()) + report(look())
    found = re.search(r"(?i).{0,40}(\bloss\b|gradient|\bnorm\b|shots_max|num_examples)", shown)
    assert found is None, found[0]


def test_a_rounds_error_is_shown_only_where_its_mean_is_over_three_updates(home, look):
    home.round(7, Phase.CLOSED, {"birch": OUT, "cedar": OUT, "hazel": OUT})
    rounds = {one["number"]: one for one in page_state(look())["campaign"]["rounds"]}
    assert rounds[1]["error"] == pytest.approx(2.09)
    assert rounds[7]["error"] is None
    assert rounds[4]["error"] is None, "nothing was averaged"
    assert 'fedroto_round_error_percent{campaign="spring"} 1.97' in metrics(look())


def test_before_the_first_campaign_and_release_there_is_an_empty_page(home):
    for folder in ("campaigns", "releases"):
        (home.root / folder).rename(home.root / f"{folder}.away")
    overview = Overviews(home.root, PlanCosts(cheap)).take(now=1.0, nodes=None)
    state = page_state(overview)
    assert (state["campaign"], state["releases"], state["campaigns"]) == (None, [], [])
    assert state["commands"] == {"release the base": f"fedroto coordinator release --home {home.root} --base"}
    assert "fedroto_release_current" not in metrics(overview)
    with pytest.raises(RoundError, match="no campaign yet"):
        report(overview)


def test_a_federations_first_commands_are_told(tmp_path):
    home = tmp_path / "fed"
    init_coordinator(home, FederationConfig(name="north", hosts=("localhost",)), now=datetime.now(UTC))
    state = page_state(Overviews(home, PlanCosts(cheap)).take(now=1.0, nodes=None))
    assert list(state["commands"]) == ["release the base", "admit a studio"]


def test_another_campaign_is_an_error_that_names_those_there_are(look):
    with pytest.raises(RoundError, match="there are: spring"):
        look(campaign="autumn")


def test_a_release_is_verified_again_when_its_files_change(home, look):
    assert look().releases.releases[0].state == "current"
    card = home.registry.root / "0004" / "README.md"
    card.write_text(card.read_text() + " ")
    with pytest.raises(Exception, match=r"README\.md was changed"):
        look()


class TestMetrics:
    SAMPLE = re.compile(
        r'(fedroto_[a-z_]+)(\{([a-z]+="([^"\\\n]|\\[\\n"])*",?)*\})? (NaN|[+-]?Inf|-?[0-9.e+-]+)'
    )

    def test_are_in_the_text_format(self, look):
        typed, names = set(), []
        for line in metrics(look()).splitlines():
            if line.startswith("# TYPE "):
                typed.add(line.split()[2])
            elif not line.startswith("# HELP "):
                match = self.SAMPLE.fullmatch(line)
                assert match, line
                names.append(match[1])
        assert set(names) == typed

    def test_hold_the_figures(self, home, look):
        text = metrics(look({"alder": NodeSeen(True, home.now)}))
        for line in (
            'fedroto_rounds{campaign="spring",phase="degraded"} 1.0',
            'fedroto_studio_online{studio="alder",tier="m"} 1.0',
            'fedroto_epsilon_spent{campaign="spring",tier="m",delta="1e-05"} 1.5',
            "fedroto_release_current 4.0",
            "fedroto_releases_withdrawn 1.0",
        ):
            assert f"{line}\n" in text


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attributes):
        assert tag != "script"
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "link", "line", "polyline", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("line", "polyline", "circle"):
            assert self.open.pop() == tag


def test_a_report_is_one_whole_file_with_nothing_from_outside(look):
    text = report(look())
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.links == ["data:,"]
    for part in (
        "campaign spring",
        "quorum is 3: nothing was averaged",
        "cedar (refused: busy)",
        "planar_closed",
        "Public benchmark, round by round",
    ):
        assert part in text


def test_what_a_studio_says_cannot_become_markup(home, look):
    home.round(6, Phase.DEGRADED, {"rowan": Turn(Standing.REFUSED, reason="<script>alert(1)</script>")})
    assert "<script" not in report(look())


def test_tensorboard_gets_every_curve(look, tmp_path):
    pytest.importorskip("tensorboardX")
    assert export_tensorboard(look(), tmp_path / "runs") > 40
    (file,) = (tmp_path / "runs" / "spring").iterdir()
    data = file.read_bytes()
    for name in (b"rounds/returned", b"epsilon/tier_m", b"benchmark/model", b"benchmark/planar_closed"):
        assert name in data
    with pytest.raises(ConfigError, match="is there already"):
        export_tensorboard(look(), tmp_path / "runs")


class TestPresence:
    def test_keeps_the_newest_answer_and_forgets_it_when_the_superlink_is_down(self):
        answers = [{"alder": NodeSeen(True, 1.0)}, FlowerError("down")]

        def ask():
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        presence = Presence(ask)
        assert presence.nodes is None
        presence.look()
        assert presence.nodes["alder"].online
        presence.look()
        assert presence.nodes is None

    def test_asks_again_and_again_until_it_is_closed(self):
        asked = threading.Semaphore(0)
        with Presence(lambda: asked.release() or {}, period_s=0.01):
            for _ in range(3):
                assert asked.acquire(timeout=20)


def test_status_shows_the_same_in_a_terminal_and_as_json(home, capsys, monkeypatch):
    monkeypatch.setattr("aggregator.plan_cost._charged", cheap)
    monkeypatch.setenv("COLUMNS", "160")
    for options, shown in (([], None), (["--json"], json.loads)):
        monkeypatch.setattr(
            "sys.argv", ["fedroto", "coordinator", "status", "--home", str(home.root), *options]
        )
        with pytest.raises(SystemExit):
            main()
        out = capsys.readouterr().out
        if shown is not None:
            assert shown(out)["campaign"]["campaign"] == "spring"
            continue
        for part in (
            "north: spring is stopped: round 6 of 12, 5 studios, quorum 3",
            "round 6: 3 of 5 returned, 2.3 MB each",
            "tier m 1.500 of 3.000",
            "DEGRADED",
            "not known (no SuperLink)",
            "loses thin shapes on motion blur",
        ):
            assert part in out


def test_a_small_terminal_shows_what_is_newest(home):
    overview = Overviews(home.root, PlanCosts(cheap)).take(now=1.0, nodes=None)
    drawn = Console(width=160, record=True, file=io.StringIO())
    drawn.print(_picture(overview, lines=24))
    shown = drawn.export_text()
    assert len(shown.splitlines()) < 24
    for part in ("round 6: 3 of 5 returned", "hazel", "withdrawn"):
        assert part in shown
