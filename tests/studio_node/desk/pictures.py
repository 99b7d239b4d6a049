"""Makes the pictures of docs/tutorial-artist.md from the desk itself, on a made plate.

``python -m tests.studio_node.desk.pictures docs/images``
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from model.procedural import ShotSettings
from model.weights import base_path
from studio_node.written_shots import make_procedural_shots
from tests.pages.chromium import Browser
from tests.pages.running_page import running_desk

QUIET = "document.documentElement.dataset.left === '0'"
SETTINGS = ShotSettings(
    frames=41, width=960, height=540, figures=1, contrast=1.3, motion=0.8, deformation=1.0
)
PLACE = """(() => { const d = fedrotoDesk, c = d.shapes.at(1), b = d.viewer.getBoundingClientRect(), v = d.view;
  return [b.left + v.x + v.zoom * c[6 * POINT + 2], b.top + v.y + v.zoom * c[6 * POINT + 3]] })()"""

ON_PLATE = """(() => { const d = fedrotoDesk, b = d.viewer.getBoundingClientRect(), v = d.view;
  return [b.left + v.x + v.zoom * X, b.top + v.y + v.zoom * Y] })()"""


def save(browser: Browser, path: Path) -> None:
    time.sleep(0.5)
    browser.screenshot(path)


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shot = make_procedural_shots(
            Path(folder, "made"), seed=9, count=1, settings=SETTINGS, prefix="sh", artist_gap=20
        )[0]
        desk = running_desk(shot, Path(folder, "work"), base_path())
        with desk, Browser(width=1360, height=860) as browser:
            browser.open(desk.address)
            browser.until("window.fedrotoDesk && fedrotoDesk.begun")
            browser.until(QUIET, 900)
            browser.run("fedrotoDesk.shapes.select([1]); fedrotoDesk.selectionChanged()")
            browser.run("fedrotoDesk.act('worst')")
            browser.until("fedrotoDesk.plate.has(fedrotoDesk.shapes.frame)")
            save(browser, target / "desk-predicted.jpg")
            browser.run("fedrotoDesk.act('track')")
            browser.until("fedrotoDesk.shapes.comparisons.has('track 1')", 60)
            save(browser, target / "desk-compared.jpg")
            browser.run("fedrotoDesk.act('model')")
            start = browser.run(PLACE.replace("POINT", "3"))
            browser.drag(start, [start[0] + 26, start[1] - 18], steps=12)
            save(browser, target / "desk-corrected.jpg")
            browser.until(QUIET, 120)
            drawn = browser.run("fedrotoDesk.shapes.list.length") + 1
            browser.press("b")
            for x, y in ((230, 110), (380, 130), (400, 250), (240, 240)):
                browser.click(browser.run(ON_PLATE.replace("X", str(x)).replace("Y", str(y))))
            browser.press("Enter")
            browser.until(f"fedrotoDesk.shapes.list.length === {drawn}")
            browser.run(f"fedrotoDesk.shapes.select([1, {drawn}]); fedrotoDesk.selectionChanged()")
            browser.run("fedrotoDesk.setTool('transform'); fedrotoDesk.act('onion')")
            save(browser, target / "desk-transform.jpg")
            browser.run("fedrotoDesk.setTool('select'); fedrotoDesk.act('onion')")
            browser.run("fedrotoDesk.settings.matte = document.getElementById('matte').value = 'green'")
            browser.run("fedrotoDesk.accept(fedrotoDesk.shapes.shot.first, fedrotoDesk.shapes.shot.last)")
            browser.until("fedrotoDesk.shapes.list[0].accepted.length > 0")
            save(browser, target / "desk-matte.jpg")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
