"""The desk in a real browser: open, drag, undo, accept, draw, export, re-import, kill and restore."""

from dataclasses import replace

import numpy as np
import pytest

from model.formats import nuke
from tests.pages.chromium import Browser, needs_chromium
from tests.pages.running_page import running_desk

pytestmark = needs_chromium
PLACE = """(() => { const d = fedrotoDesk, c = d.shapes.at({shape}), b = d.viewer.getBoundingClientRect(), v = d.view;
  return [b.left + v.x + v.zoom * c[6 * {point} + 2], b.top + v.y + v.zoom * c[6 * {point} + 3]] })()"""
KEYS = "JSON.stringify(fedrotoDesk.shapes.list.map((shape) => shape.keys))"
QUIET = "document.documentElement.dataset.left === '0'"


@pytest.fixture(scope="module")
def shot(made_once):
    return made_once[1]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("browser") / "work"


@pytest.fixture(scope="module")
def desk(shot, work, small_weights):
    with running_desk(shot, work, small_weights) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


def place(browser, point, shape=1):
    return browser.run(PLACE.replace("{shape}", str(shape)).replace("{point}", str(point)))


def at(browser, point, shape=1):
    """A point in plate pixels, as the page draws it."""
    return np.array(
        browser.run(f"[...fedrotoDesk.shapes.at({shape}).slice({6 * point + 2}, {6 * point + 4})]")
    )


def go(browser, frame):
    browser.run(f"fedrotoDesk.go({frame})")
    shown = f"document.getElementById('said').textContent.startsWith('frame {frame}')"
    browser.until(f"fedrotoDesk.plate.has({frame}) && {shown} && document.querySelector('.outline') !== null")


def test_of_a_burst_of_moves_only_the_last_is_sent_and_the_drop_is_never_lost(desk, browser, shot):
    browser.open(desk.address)
    browser.until("window.fedrotoDesk && fedrotoDesk.begun")
    browser.until(QUIET)
    keys = browser.run(KEYS)
    go(browser, shot.first_frame + 2)
    burst = """(() => { const d = fedrotoDesk; let sent = 0;
      const raw = d.connection.socket.send.bind(d.connection.socket);
      d.connection.socket.send = (data) => { sent += 1; raw(data); };
      for (let i = 0; i <= 200; i += 1) d.gesture({op: 'drag', gesture: 77, frame: d.shapes.frame, part: 1,
        drop: i === 200, exact: true, parts: [{shape: 1, points: [0]}]}, [10 + i / 10, 12], performance.now());
      return sent })()"""
    assert browser.run(burst) == 1
    browser.until(f"fedrotoDesk.shapes.list[0].keys.includes({shot.first_frame + 2})")
    np.testing.assert_allclose(at(browser, 0), [30, 12], atol=1e-4)
    browser.run("fedrotoDesk.act('undo')")
    browser.until(f"{KEYS} === '{keys}'")


def middle(browser, selector):
    """The place on screen of an element's middle."""
    return browser.run(
        f"(() => {{ const b = document.querySelector('{selector}').getBoundingClientRect(); "
        "return [b.left + b.width / 2, b.top + b.height / 2] })()"
    )


def on_timeline(browser, frame):
    """The place on screen of a frame's diamond."""
    return browser.run(
        "(() => { const t = fedrotoDesk.timeline, b = t.canvas.getBoundingClientRect(); "
        f"return [b.left + t.x({frame}), b.top + 38] }})()"
    )


def press(browser, key, until):
    browser.press(key)
    browser.until(until)


def test_keys_whole_shapes_layers_and_feather_by_hand(desk, browser, shot):
    browser.open(desk.address)
    browser.until("window.fedrotoDesk && fedrotoDesk.begun")
    browser.until(QUIET)
    first, keys = shot.first_frame, browser.run(KEYS)
    has_key = "fedrotoDesk.shapes.list[0].keys.includes({})".format

    # A key is set, moved in time on the timeline, and deleted.
    go(browser, first + 1)
    press(browser, "s", has_key(first + 1))
    browser.drag(on_timeline(browser, first + 1), on_timeline(browser, first + 2), held="Control")
    browser.until(f"{has_key(first + 2)} && !{has_key(first + 1)}")
    press(browser, "x", f"{KEYS} === '{keys}' && {QUIET}")

    # The whole shape is turned by the handle of its box: distances within it stay.
    press(browser, "t", "document.querySelector('[data-box=rotate]') !== null")
    before = [at(browser, point) for point in (0, 3)]
    handle = middle(browser, "[data-box=rotate]")
    browser.drag(handle, [handle[0] + 90, handle[1] + 60])
    browser.until(has_key(first + 2))
    after = [at(browser, point) for point in (0, 3)]
    assert np.linalg.norm(after[0] - before[0]) > 1
    np.testing.assert_allclose(
        np.linalg.norm(after[0] - after[1]), np.linalg.norm(before[0] - before[1]), rtol=1e-3
    )
    press(browser, "Control+z", f"{KEYS} === '{keys}'")

    # A B-spline shows its cage; a shape drawn here is a layer beside the script's, and both move together.
    browser.press("b")
    box = browser.run(
        "(() => { const b = fedrotoDesk.viewer.getBoundingClientRect(); return [b.left, b.top] })()"
    )
    count = browser.run("fedrotoDesk.shapes.list.length") + 1
    for x, y in ((300, 200), (400, 200), (420, 300), (300, 300)):
        browser.click((box[0] + x, box[1] + y))
    press(browser, "Enter", f"fedrotoDesk.shapes.list.length === {count}")
    browser.until("document.querySelector('.cage') !== null")
    assert browser.run("document.querySelectorAll('#shapes li.layer').length") == 2
    browser.click(middle(browser, "#shapes li[data-layer^=Roto] .name"), held="Shift")
    browser.until(f"fedrotoDesk.shapes.selected.size === {count}")
    press(browser, "t", "document.querySelector('[data-box=move]') !== null")
    before = [at(browser, 0, shape) for shape in (1, count)]
    start = middle(browser, "[data-box=move]")
    browser.drag(start, [start[0] + 30, start[1] - 20])
    browser.until(has_key(first + 2))
    moved = [at(browser, 0, shape) - was for shape, was in zip((1, count), before, strict=True)]
    np.testing.assert_allclose(moved[0], moved[1], atol=0.02)

    # An outline that nobody has in hand is taken in hand by a click, and painted again only when it changes.
    browser.run(f"fedrotoDesk.shapes.select([{count}]); fedrotoDesk.selectionChanged()")
    press(browser, "q", "document.querySelector('#layer-still [data-grab=\"1\"]') !== null")
    browser.until(QUIET)
    browser.page.wait_for_timeout(300)  # the last course may come just behind the news that none is left
    browser.run("window.stillPath = document.querySelector('#layer-still .outline')")
    start = place(browser, 0, count)
    browser.drag(start, [start[0] + 10, start[1]])
    browser.until(f"fedrotoDesk.shapes.find({count}).keys.length === 1")
    assert browser.run("document.querySelector('#layer-still .outline') === window.stillPath")
    browser.click(place(browser, 0, 1))
    browser.until("fedrotoDesk.shapes.selected.has(1)")

    # Shapes go into a new layer by G and out of it by dragging their row; H hides on a marked range; A/B swaps.
    browser.until(QUIET)
    browser.run("fedrotoDesk.shapes.select([1]); fedrotoDesk.selectionChanged()")
    browser.page.once("dialog", lambda dialog: dialog.accept("body"))
    press(browser, "g", "fedrotoDesk.shapes.find(1).path.includes('body/')")
    browser.page.drag_and_drop("#shapes li[data-shape='1'] .name", "#shapes li.layer[data-layer=''] .name")
    browser.until("!fedrotoDesk.shapes.find(1).path.includes(':')")
    press(browser, "Control+z", "fedrotoDesk.shapes.find(1).path.includes('body/')")
    browser.drag(on_timeline(browser, first + 1), on_timeline(browser, first + 2), held="Shift")
    press(browser, "h", "fedrotoDesk.shapes.find(1).alive?.slice(0, 4).join() === 'true,false,false,true'")
    press(browser, "h", "fedrotoDesk.shapes.find(1).alive === null")
    end = on_timeline(browser, shot.last_frame)
    browser.drag([end[0], end[1] + 38], [on_timeline(browser, first + 5)[0], end[1] + 38])
    browser.until(f"fedrotoDesk.shapes.find(1).last === {first + 5}")
    press(browser, "Control+z", "fedrotoDesk.shapes.find(1).last === null")
    go(browser, first + 2)
    press(browser, "4", "fedrotoDesk.shapes.comparisons.has('planar 1')")
    outline = "document.querySelector('.outline.selected').getAttribute('d')"
    ghost = "document.querySelector('.ghost').getAttribute('d')"
    shown = [browser.until(outline), browser.until(ghost)]
    press(browser, "c", f"{outline} === '{shown[1]}' && {ghost} === '{shown[0]}'")
    browser.until("document.querySelectorAll('.point').length === 0")  # B is looked at, not edited
    press(browser, "c", f"{outline} === '{shown[0]}'")
    press(browser, "1", "document.querySelector('.ghost') === null")

    # Hiding a layer hides its shapes; feather grows outwards and goes away again.
    browser.until(QUIET)
    browser.click(middle(browser, "#shapes li.layer button"))
    browser.until(f"!fedrotoDesk.shapes.find({count}).shown && fedrotoDesk.shapes.find(1).shown")
    browser.run("fedrotoDesk.shapes.select([1]); fedrotoDesk.selectionChanged()")
    press(browser, "e", "document.querySelector('.feather') !== null")
    press(browser, "Shift+E", "[...fedrotoDesk.shapes.featherAt(1)].every((v) => v === 0)")
    while not browser.run("document.querySelector('[data-do=undo]').disabled"):
        label = browser.run("document.querySelector('[data-do=undo]').title")
        browser.press("Control+z")
        browser.until(f"document.querySelector('[data-do=undo]').title !== '{label}'")
    assert browser.run(KEYS) == keys
    assert [error for error in browser.errors if "favicon" not in error] == []


def test_an_artists_way_through_the_desk(desk, browser, shot, work, small_weights):
    browser.open(desk.address)
    browser.until("window.fedrotoDesk && fedrotoDesk.begun")
    assert browser.run("location.href") == f"http://127.0.0.1:{desk.port}/", "the token left the address bar"
    browser.until(QUIET)
    keys = browser.run(KEYS)

    # Between keys: predicted; a drag makes a key, its neighbours follow, and one undo takes it back.
    first = shot.first_frame
    go(browser, first + 2)
    browser.until("document.getElementById('said').textContent.includes('predicted')")
    before = [at(browser, point) for point in (0, 1)]
    start = place(browser, 0)
    browser.drag(start, [start[0] + 40, start[1] + 20])
    browser.until(f"fedrotoDesk.shapes.list[0].keys.includes({first + 2})")
    zoom = browser.run("fedrotoDesk.view.zoom")
    np.testing.assert_allclose(at(browser, 0), before[0] + np.array([40, 20]) / zoom, atol=0.2)
    assert np.linalg.norm(at(browser, 1) - before[1]) > 0.05
    assert "your key" in browser.run("document.getElementById('said').textContent")
    browser.press("Control+z")
    browser.until(f"{KEYS} === '{keys}'")
    browser.until("document.querySelector('[data-do=undo]').disabled")

    # Alt moves this point alone.
    start = place(browser, 0)
    browser.drag(start, [start[0] + 30, start[1]], held="Alt")
    browser.until(f"fedrotoDesk.shapes.list[0].keys.includes({first + 2})")
    np.testing.assert_allclose(at(browser, 1), before[1], atol=1e-3)
    browser.until(QUIET)

    # Accept, and see what is left.
    go(browser, first + 1)
    browser.press("a")
    browser.until(f"fedrotoDesk.shapes.list[0].accepted.includes({first + 1})")
    browser.press("w")
    browser.until(f"fedrotoDesk.shapes.frame !== {first + 1}")

    # Draw a triangle.
    number = browser.run("fedrotoDesk.shapes.list.length") + 1
    browser.press("v")
    box = browser.run(
        "(() => { const b = fedrotoDesk.viewer.getBoundingClientRect(); return [b.left, b.top] })()"
    )
    for x, y in ((300, 200), (500, 200), (400, 380)):
        browser.click((box[0] + x, box[1] + y))
    browser.press("Enter")
    browser.until(f"fedrotoDesk.shapes.list.length === {number}")
    assert browser.run(f"fedrotoDesk.shapes.list[{number - 1}].points") == 3

    # Export; what Nuke will read holds the artist's key, exactly.
    browser.run("fedrotoDesk.send({op: 'export', format: 'nk'})")
    path = browser.until("document.documentElement.dataset.exported")
    drawn = nuke.loads((work / "exports" / path.rpartition("/")[2]).read_bytes(), height=56, width=72).shapes
    mine = [shape for shape in drawn.shapes if "_fedroto" in shape.path]
    assert len(mine) == number
    artist = {int(f) for f, who in zip(mine[0].frames, mine[0].key_sources, strict=True) if who == "artist"}
    assert artist == {*shot.artist_keys, first + 2}
    go(browser, first + 2)
    np.testing.assert_allclose(mine[0].at(first + 2)[0, 1], at(browser, 0), atol=1e-3)

    # What was exported opens again on another desk: keys are keys, and what was predicted is kept as accepted.
    exported = replace(shot, folder=work / "exports")
    (work / "exports" / "artist.nk").write_bytes((work / "exports" / path.rpartition("/")[2]).read_bytes())
    with running_desk(exported, work / "again", small_weights) as reopened:
        browser.open(reopened.address)
        browser.until("window.fedrotoDesk && fedrotoDesk.begun")
        listed = "fedrotoDesk.shapes.list.filter((shape) => shape.path.includes('_fedroto'))"
        assert browser.run(f"{listed}[0].keys") == sorted(artist)
        assert browser.run(f"{listed}[0].accepted.length") == shot.last_frame - shot.first_frame + 1 - len(
            artist
        )
    browser.open(desk.address)
    browser.until("window.fedrotoDesk && fedrotoDesk.begun")

    # The server is killed: the page says so, and a new desk shows the same work.
    shown = browser.run(KEYS)
    desk.kill()
    browser.until("document.documentElement.dataset.connected === 'false'")
    assert "saved" in browser.run("document.getElementById('notice').textContent")
    own = [
        error for error in browser.errors if "WebSocket" not in error and "CONNECTION_REFUSED" not in error
    ]
    assert own == []
    here = tuple(f"http://127.0.0.1:{port}/" for port in (desk.port, reopened.port))
    outside = [url for url in browser.requests if not url.startswith((*here, "data:", "blob:"))]
    assert outside == []
    with running_desk(shot, work, small_weights) as again:
        browser.open(again.address)
        browser.until("window.fedrotoDesk && fedrotoDesk.begun")
        assert browser.run(KEYS) == shown
