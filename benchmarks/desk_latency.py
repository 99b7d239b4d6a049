"""How long an artist waits at the desk, measured in a real browser.

``python -m benchmarks.desk_latency [--width 2048 --height 1152 --frames 100]`` makes a procedural shot, opens the desk
on it as an artist does, and measures in Chromium

* opening: from the command to the page, to the first predicted span, to all of the first shape roughly, to all of it;
* dragging: from each pointer move to the redrawn frame, the whole range between the neighbouring keys included, for a
  shape over all frames; with ``--early`` as soon as the first span is there, while proxies and predictions are made;
  when they are at rest; and while the prediction works behind.

Numbers depend on what else the machine does: the load average is printed beside them. ``echo -19
>/proc/self/autogroup`` in the same shell before it (Linux, as root) gives it the processors before all other work.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from model.procedural_settings import ShotSettings
from model.weights import base_path
from studio_node.written_shots import WrittenShot, make_procedural_shots

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.pages.chromium import Browser, chromium_path
from tests.pages.running_page import running_desk

POINT = """(() => { const d = fedrotoDesk, c = d.shapes.at(1), b = d.viewer.getBoundingClientRect(), v = d.view;
  return [b.left + v.x + v.zoom * c[2], b.top + v.y + v.zoom * c[3]] })()"""
ROUGH = """(() => { const c = fedrotoDesk.shapes.courses.get(1); return c ? [...c.states] : [] })()"""
HELD, PENDING, PREDICTED, ROUGHLY = 0, 1, 2, 5


def share(sorted_values, part):
    return sorted_values[min(int(part * len(sorted_values)), len(sorted_values) - 1)]


def told(name, values):
    values = sorted(values)
    facts = {"n": len(values), "p50": round(share(values, 0.5), 1), "p95": round(share(values, 0.95), 1)}
    print(f"{name}: {facts['n']} moves, p50 {facts['p50']} ms, p95 {facts['p95']} ms", flush=True)
    return facts


def states(browser):
    return browser.run(ROUGH)


def server_cpu_s(desk):
    """Seconds of processor time that the desk's server has used: what a crowded machine does not stretch."""
    fields = Path(f"/proc/{desk.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def opening(browser, desk, began, *, stages=3):
    """Seconds from the command to each stage, and of the server's processor time until then."""
    found = {"command to address": time.monotonic() - began}
    browser.open(desk.address)
    browser.until("window.fedrotoDesk && fedrotoDesk.begun", 120)
    found["page"] = time.monotonic() - began
    wanted = {
        "first span": lambda s: PREDICTED in s or ROUGHLY in s,
        "first shape, roughly": lambda s: s and PENDING not in s,
        "first shape": lambda s: s and PENDING not in s and ROUGHLY not in s,
    }
    for name, reached in list(wanted.items())[:stages]:
        while not reached(states(browser)):
            time.sleep(0.1)
            if time.monotonic() - began > 900:
                raise TimeoutError(name)
        found[name] = time.monotonic() - began
        found[f"{name}, server cpu"] = server_cpu_s(desk)
        print(f"opening, {name}: {found[name]:.1f} s, server cpu {server_cpu_s(desk):.1f} s", flush=True)
    return {name: round(value, 2) for name, value in found.items()}


def dragged(browser, frame, moves):
    """Latencies of one drag of a point on a frame."""
    browser.run(f"fedrotoDesk.go({frame})")
    browser.until(f"fedrotoDesk.plate.has({frame})", 120)
    time.sleep(0.3)
    browser.run("fedrotoDesk.latencies.length = 0")
    start = browser.run(POINT)
    browser.drag(start, [start[0] + 60, start[1] + 35], steps=moves)
    time.sleep(0.5)
    return browser.run("fedrotoDesk.latencies")


def kept_shots(place):
    """Shots that an earlier run has made in a folder."""
    for folder in sorted(place.iterdir()) if place.exists() else ():
        frames = sorted(int(plate.name.split(".")[1]) for plate in folder.glob("plate.*.exr"))
        pattern = folder / "plate.%04d.exr"
        yield WrittenShot(folder.name, folder, pattern, frames[0], frames[-1], (), ())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--height", type=int, default=1152)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--gap", type=int, default=25, help="frames between the artist's keys")
    parser.add_argument("--moves", type=int, default=120)
    parser.add_argument("--shot", type=Path, help="folder for the made shot, kept and used again as it is")
    parser.add_argument("--cold", action="store_true", help="end after measuring the opening")
    parser.add_argument("--early", action="store_true", help="only: drag as soon as the first span is there")
    options = parser.parse_args()
    if chromium_path() is None:
        sys.exit("skipped: no chromium on this machine")
    with tempfile.TemporaryDirectory() as folder:
        place = options.shot or Path(folder) / "made"
        settings = ShotSettings(frames=options.frames, width=options.width, height=options.height)
        shot = next(iter(kept_shots(place)), None)
        if shot is None:
            shot = make_procedural_shots(place, seed=3, count=1, settings=settings, artist_gap=options.gap)[0]
        began = time.monotonic()
        work = Path(folder) / "work"
        with running_desk(shot, work, base_path()) as desk, Browser() as browser:
            facts = {
                "opening s": opening(browser, desk, began, stages=1 if options.early else 3),
                "load": [round(v, 1) for v in os.getloadavg()],
            }
            middle = (shot.first_frame + shot.last_frame) // 2
            if options.early:
                early = dragged(browser, shot.first_frame + 3, options.moves)
                facts["drag ms, while opening"] = told("drag, while opening", early)
            elif not options.cold:
                browser.until("document.documentElement.dataset.left === '0'", 900)
                facts["drag ms, at rest"] = told("drag, at rest", dragged(browser, middle + 3, options.moves))
                busy = dragged(browser, middle + 6, options.moves)
                facts["drag ms, while predicting"] = told("drag, while predicting", busy)
            facts["load after"] = [round(value, 1) for value in os.getloadavg()]
    print(json.dumps({**vars(options), "shot": str(options.shot), "cores": os.cpu_count(), **facts}))


if __name__ == "__main__":
    main()
