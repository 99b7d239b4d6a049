"""The console in a real browser: what it shows, that it follows what happens, and that its death changes nothing."""

import os
import stat
from urllib.parse import urlsplit

import pytest
from coordinator_home import OUT, REFUSED_BUDGET
from running_console import RunningConsole

from aggregator.round_state import Phase
from federation.errors import IdentityError
from federation.pages.guard import Secret
from federation.pages.token_file import kept_token
from tests.pages.chromium import Browser, needs_chromium

pytestmark = needs_chromium
TEXT = "document.getElementById('{}').innerText"


def test_a_coordinators_look_at_the_federation(home, tmp_path):
    lock = home.run()
    earlier = home.root / "campaigns" / "autumn" / "plan.json"
    earlier.parent.mkdir()
    earlier.write_bytes((home.root / "campaigns" / "spring" / "plan.json").read_bytes())
    os.utime(earlier, (0, 0))
    with RunningConsole(home.root) as console, Browser(width=1300, height=1400) as browser:
        text = lambda place: browser.run(TEXT.format(place))  # noqa: E731
        browser.open(console.address)
        browser.until("document.querySelectorAll('#rounds tbody tr').length === 6")
        assert "token" not in browser.run("location.href"), "the token left the address bar"

        assert text("headline").startswith("Round 6: 3 of 5 returned, 2.3 MB each.")
        assert (text("federation"), text("state")) == ("north", "running")
        assert browser.run("document.getElementById('campaign').value") == "spring", "the one that is shown"
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), (
            "nothing lies beside the page"
        )
        assert "DEGRADED, 2 of 5 returned, 2 late, 2.3 MB each; quorum is 3: nothing was averaged" in text(
            "rounds"
        )
        assert "missing: birch (no answer), cedar (refused: busy), hazel (no answer)" in text("rounds")
        assert browser.run("document.querySelectorAll('#rounds .dot.refused').length") == 2
        assert "27% less\nerror than planar_closed" in text("tiles")
        assert "nobody knows who is online" in text("superlink")
        assert "withdrawn: loses thin shapes on motion blur" in text("releases")
        assert f'fedroto coordinator rollback --home {home.root} --reason "..."' in text("commands")
        assert browser.run("document.querySelectorAll('#benchmark canvas').length") == 1
        assert browser.run("document.querySelectorAll('#benchmark-rounds canvas').length") == 1
        assert "planar_closed2.900 %" in "".join(text("benchmark").split("\n")), "where each curve stands now"

        browser.run("document.querySelector('details.release summary').click()")
        browser.until("document.querySelector('details.release').open")
        assert "better than planar_closed" in text("releases")

        browser.until(f"{TEXT.format('costs')}.includes('4.')")  # the accountant has answered
        assert browser.run("document.querySelectorAll('#privacy canvas').length") == 1

        home.round(6, Phase.CLOSED, {"rowan": OUT})
        home.round(7, Phase.OPEN, {"cedar": REFUSED_BUDGET, "rowan": OUT})
        browser.until(f"{TEXT.format('headline')}.startsWith('Round 7: 3 of 5 returned')")
        assert "round 6: 4 of 5 returned" in text("feed")
        assert browser.run("document.querySelector('details.release').open"), (
            "news close nothing that was opened"
        )
        browser.screenshot(tmp_path / "console.png")

        foreign = [at for at in browser.requests if urlsplit(at).netloc != urlsplit(console.address).netloc]
        assert [at for at in foreign if not at.startswith("data:")] == []
        assert browser.errors == []

        before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
        console.kill()
        browser.until("document.getElementById('link').className === 'lost'")
        assert text("headline").startswith("Round 7"), "what was seen last stays"
        assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before
    os.close(lock)


def test_who_may_read_what(home, tmp_path):
    kept = tmp_path / "console.token"
    with RunningConsole(home.root, "--token-file", kept) as console:
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert kept.read_text().strip() == console.token
        scraped = console.get("/metrics", token="none", Authorization=f"Bearer {console.token}")
        assert scraped[1].startswith("# HELP fedroto_campaign_running")
        assert console.get("/metrics")[1].startswith("# HELP fedroto_campaign_running")
        assert console.get("/state.json")[0] == 200
        for path in ("/", "/state.json", "/metrics", "/report.html", "/main.js"):
            assert console.get(path, token="wrong")[0] == 403
            assert console.get(path, Host="evil.example")[0] == 421
            assert console.get(path, Origin="http://evil.example")[0] == 403
        for path in ("/nothing", "/..%2Fpyproject.toml", "/uPlot.LICENSE.txt"):
            assert console.get(path)[0] == 404
        status, body = console.get("/state.json?campaign=autumn")
        assert status == 503
        assert "there are: spring" in body
        (home.registry.root / "log.json").write_text("{}")
        status, body = console.get("/state.json")
        assert status == 503
        assert "signed document" in body
    assert console.said == ""
    assert Secret.new("console", kept_token(kept)).token == console.token, "it outlives the console"
    kept.chmod(0o644)
    with pytest.raises(IdentityError, match="open to other users"):
        kept_token(kept)
    kept.chmod(0o600)
    kept.write_text("short")
    with pytest.raises(IdentityError, match="holds no token"):
        kept_token(kept)
