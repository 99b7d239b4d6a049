"""A small federation made with the real commands as real processes: two studios, and a recorder on their wire.

One studio's show, shots, shape and folders are named after a canary and its plates hold a canary picture: the
recording must hold nothing of them (``tests/privacy/test_canary.py``).
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from wire_recorder import WireRecorder

from federation import child_process
from federation.cli.demo_processes import DemoProcesses, command, free_ports

CANARY = "kestrelcanary"
SHOWS = {"alder": f"{CANARY}-show", "birch": "heron"}
STUDIOS = tuple(SHOWS)
SHOT = {"frames": 13, "width": 96, "height": 96, "count": 2}
PLAN = {
    "rounds": 2,
    "quorum": 2,
    "deadline_s": 150,
    "steps_per_round": 3,
    "sample_rate": 0.5,
    "noise_multiplier": 8.0,
    "windows_per_shot": 2,
}
PATIENCE_S = 200.0
"""For anything that takes seconds on an idle machine."""


def wait_for(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Return the first true result of a condition."""
    deadline = time.monotonic() + patience_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"no {what} within {patience_s:g} s"
        time.sleep(0.02)
    return result


def processes_with(*words: object) -> list[int]:
    """Process ids of the command lines that hold all of these words."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if line and all(str(word) in line for word in words) and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


@dataclass
class RealFederation:
    """The federation in its folder.

    Attributes:
        root: holds everything.
        told: result of each command, by the name it was run under.
        children: ``coordinator serve`` and each ``studio run``.
        recorder: on the wire between uplinks and fleet proxy.
    """

    root: Path
    told: dict[str, Any] = field(default_factory=dict)
    children: dict[str, child_process.Child] = field(default_factory=dict)
    recorder: WireRecorder = field(init=False)

    @cached_property
    def processes(self) -> DemoProcesses:
        return DemoProcesses(self.root / "logs", lambda line: None)

    @property
    def coordinator(self) -> Path:
        return self.root / "coordinator"

    def home(self, studio: str) -> Path:
        return self.root / "studios" / studio

    def shots(self, studio: str) -> list[Path]:
        return sorted(path for path in (self.root / "plates" / SHOWS[studio]).iterdir() if path.is_dir())

    # Setting up

    def make(self) -> None:
        """Everything up to the artist's prediction."""
        self.processes.__enter__()
        self._make_plates()
        self._set_up_coordinator()
        self._join()
        self.run(
            "release-1", command("coordinator release", "--base", home=self.coordinator), statuses=(0, 1)
        )
        self._ingest()
        self.recorder.start()
        self.start()
        self.run("rounds", self.campaign("first", **PLAN))
        self.run(
            "release-2",
            command("coordinator release", home=self.coordinator, campaign="first"),
            statuses=(0, 1),
        )
        self._predict()
        for studio in STUDIOS:
            self.look(studio)

    def run(self, name: str, line: list[str], *, statuses: tuple[int, ...] = (0,)) -> dict[str, Any]:
        self.told[name] = self.processes.run(name, line, statuses=statuses)
        return self.told[name]

    def campaign(self, name: str, **settings: object) -> list[str]:
        """The command line that runs a campaign."""
        sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return [*command("coordinator run", home=self.coordinator, campaign=name), *sets]

    def look(self, studio: str) -> dict[str, Any]:
        """Read a studio's ledger and egress log as its people do; returned and kept under its name."""
        home = self.home(studio)
        self.told[studio] = self.processes.run_side_by_side(
            {
                "ledger": command("ledger show", home=home),
                "verified": command("ledger verify", home=home),
                "egress": command("egress log", home=home),
            }
        )
        return self.told[studio]

    def _make_plates(self) -> None:
        plates = self.root / "plates"
        made = {
            f"plates-{studio}": command("plates make", plates / show, seed=number, **SHOT)
            for number, (studio, show) in enumerate(SHOWS.items())
        }
        artist = command("plates make", plates / "artist", **{**SHOT, "seed": 9, "count": 1})
        self.told |= self.processes.run_side_by_side({**made, "plates-artist": artist})
        for shot in self.shots("alder"):
            hide_canary(shot.rename(shot.with_name(f"{CANARY}-{shot.name}")))

    def _set_up_coordinator(self) -> None:
        dialled, fleet, service, superlink = free_ports(4)
        self.run(
            "coordinator-init",
            command(
                "coordinator init",
                home=self.coordinator,
                name="north",
                host="127.0.0.1",
                fleet_port=dialled,
                service_port=service,
                superlink_port=superlink,
            ),
        )
        self.recorder = WireRecorder(dialled, fleet, self.coordinator)
        self._fleet_ports = dialled, fleet

    def _join(self) -> None:
        for studio in STUDIOS:
            init = command("studio init", home=self.home(studio), name=studio, federation="north", tier="xs")
            asked = self.run(f"init-{studio}", init)
            admit = command("coordinator admit", asked["request"], home=self.coordinator)
            admitted = self.run(f"admit-{studio}", [*admit, "--fingerprint", asked["fingerprint"]])
            joins = command("studio join", admitted["kit"], home=self.home(studio))
            self.run(f"join-{studio}", [*joins, "--fingerprint", admitted["plan_key"]])
            self.run(
                f"consent-{studio}",
                command("studio consent", SHOWS[studio], home=self.home(studio), by="the test"),
            )
        # The kits name the recorder's port; the fleet proxy itself listens on another one.
        settings = self.coordinator / "federation.toml"
        dialled, fleet = self._fleet_ports
        text, times = re.subn(rf"fleet_port = {dialled}\b", f"fleet_port = {fleet}", settings.read_text())
        assert times == 1
        settings.write_text(text)

    def _ingest(self) -> None:
        self.told |= self.processes.run_side_by_side(
            {
                f"ingest-{studio}": command(
                    "studio ingest",
                    self.root / "plates" / SHOWS[studio],
                    home=self.home(studio),
                    show=SHOWS[studio],
                    workers=1,  # the studios' ingests run side by side
                    windows=3,
                )
                for studio in STUDIOS
            }
        )

    def _predict(self) -> None:
        pulled = self.run("pull", command("pull", self.root / "releases", home=self.home("birch")))
        (shot,) = (self.root / "plates" / "artist").glob("shot*")
        output = self.root / "predicted.nk"
        self.run(
            "predict",
            command("predict", shot, shapes=shot / "artist.nk", output=output, release=pulled["path"]),
        )

    # Processes

    def start(self) -> None:
        """Start those standing processes that do not run."""
        self._keep("coordinator", command("coordinator serve", home=self.coordinator))
        for studio in STUDIOS:
            self._keep(studio, command("studio run", home=self.home(studio)))

    def _keep(self, name: str, line: list[str]) -> None:
        child = self.children.get(name)
        if child is None or child.poll() is not None:
            with (self.root / "logs" / f"{name}.log").open("ab") as log:
                self.children[name] = child_process.start(
                    [sys.executable, "-m", "federation.cli", *line],
                    stdout=log,
                    stderr=log,
                    environment={"OMP_NUM_THREADS": "1"},
                )

    def kill(self, name: str) -> None:
        """Kill -9 of the ``coordinator serve`` or ``studio run`` of this name, and of nothing that it started."""
        child = self.children.pop(name)
        child.kill()
        child.wait()

    def stop(self) -> None:
        """Stop every process."""
        child_process.stop(reversed(self.children.values()), patience_s=30)
        self.children.clear()
        self.processes.stop_all()

    def standing(self, *words: object) -> list[int]:
        """Every process of this federation, whoever started it, whose command line holds these words."""
        return processes_with(self.root, *words)

    def process(self, studio: str, part: str) -> int:
        """Process id of a studio's ``runner`` or ``uplink``; waits until there is one."""
        return wait_for(lambda: processes_with("studio", part, self.home(studio)), f"{part} of {studio}")[0]

    def begin(self, name: str, line: list[str]) -> child_process.Child:
        """Start a command whose result is read with :meth:`end`."""
        with (
            (self.root / "logs" / f"{name}.json").open("wb") as out,
            (self.root / "logs" / f"{name}.log").open("wb") as log,
        ):
            return child_process.start(
                [sys.executable, "-m", "federation.cli", *line, "--json"], stdout=out, stderr=log
            )

    def end(self, name: str, child: child_process.Child, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for a command that was begun, at most so long, and return its result with its ``status``."""
        try:
            status = child.wait(patience_s)
        finally:
            child_process.stop([child], patience_s=0)
        said = (self.root / "logs" / f"{name}.json").read_text()
        try:
            return {**json.loads(said), "status": status}
        except ValueError as error:
            log = (self.root / "logs" / f"{name}.log").read_text()
            raise AssertionError(
                f"{name} ended with {status} and said {said[-500:]!r}; its log: {log[-2000:]}"
            ) from error

    def journal(self, studio: str, part: str) -> list[dict[str, Any]]:
        """Events that a studio's runner or uplink has noted."""
        path = self.home(studio) / f"{part}.jsonl"
        text = path.read_text() if path.exists() else ""
        return [record for line in text.splitlines() if (record := _record(line)) is not None]

    def events(self, studio: str, part: str, event: str, about: str = "") -> list[dict[str, Any]]:
        """Those of one kind whose text names something."""
        return [one for one in self.journal(studio, part) if one["event"] == event and about in one["text"]]


def _record(line: str) -> dict[str, Any] | None:
    """A journal's line; None if a kill tore it, and the next process wrote on behind it."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def hide_canary(shot: Path) -> None:
    """Paint the canary into every plate of a shot and name its shape after it."""
    from studio_node.pictures import read_pixels, write_exr

    picture = canary_picture()
    for plate in sorted(shot.glob("plate.*.exr")):
        pixels = read_pixels(plate)[1].copy()
        pixels[: picture.shape[0], : picture.shape[1]] = picture
        plate.unlink()
        write_exr(plate, pixels)
    script = shot / "shapes.nk"
    text = script.read_bytes()
    assert b"figure1" in text
    script.write_bytes(text.replace(b"figure1", f"{CANARY}_hero".encode()))


def canary_picture() -> Any:
    """A picture [40, 40, 3] of scene-linear noise that no plate has by itself."""
    import numpy as np

    return np.random.default_rng(77).uniform(0.02, 0.9, (40, 40, 3)).astype(np.float32)


@pytest.fixture(scope="session")
def real_federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealFederation]:
    """The federation after two rounds, a release check, a pull and a prediction; its processes run on."""
    federation = RealFederation(tmp_path_factory.mktemp("federation"))
    try:
        federation.make()
        yield federation
    finally:
        federation.stop()
        if hasattr(federation, "recorder"):
            federation.recorder.stop()
        left = federation.standing()
        for process in left:
            os.kill(process, signal.SIGKILL)
    assert left == []
