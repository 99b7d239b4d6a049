"""``fedroto demo``: a real federation of three studios on this machine, and a prediction for an artist.

Every step is a ``fedroto`` command run as a process of its own, as its user would run it.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from federation.cli.demo_processes import DemoProcesses, command, free_ports
from federation.cli.output import Json, progress, show
from federation.errors import ConfigError, FedrotoError

FEDERATION, CAMPAIGN = "demo", "demo-1"
STUDIOS = ("alder", "birch", "cedar")
SHOTS = 4
FRAMES = 17
WINDOWS, CLIP_WINDOWS = 6, 12
WIDTH, HEIGHT = 240, 160
CLIPS_PER_STUDIO = 4
KINDS: dict[str, dict[str, object]] = {  # the studios' material differs, as that of real ones does
    "alder": {"seed": 11, "count": SHOTS, "deformation": 0.2, "motion": 1.3},
    "birch": {"seed": 12, "count": SHOTS, "deformation": 1.5},
    "cedar": {"seed": 13, "count": SHOTS, "contrast": 0.6},
    "artist": {"seed": 99, "count": 1},
}
PLAN = {"rounds": 3, "steps_per_round": 4, "deadline_s": 120, "windows_per_shot": 4}


def register(app: typer.Typer) -> None:
    """Add the demo to the command tree."""
    app.command(epilog="Example: fedroto demo --folder first-try")(demo)


def demo(
    folder: Path = typer.Option(
        Path("fedroto-demo"), help="New folder for everything; a number is added if it is there."
    ),
    clips: Path | None = typer.Option(
        None, help="Real footage instead: frames, masks and shapes, a folder each."
    ),
    hold_out: int = typer.Option(0, help="With --clips: which fifth of the clips is the artist's, 0 to 4."),
    as_json: bool = Json,
) -> None:
    """Run a real federation of three studios on this machine and give an artist predicted keyframes."""
    started = time.monotonic()

    def tell(line: str) -> None:
        progress(f"[{time.monotonic() - started:5.1f} s] {line}")

    signal.signal(signal.SIGTERM, _interrupt)  # so that being stopped also stops every process
    root = _new_folder(folder)
    result = Demo(root, clips, hold_out, tell).run()
    show(
        result,
        as_json,
        lambda done: (
            f"report  {done['report']}\n" + "\n".join(f"keys    {path}" for path in done["predictions"])
        ),
    )


@dataclass
class Demo:
    """One run of the demo in its folder."""

    root: Path
    clips: Path | None
    hold_out: int
    tell: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def coordinator(self) -> Path:
        """The coordinator's home."""
        return self.root / "coordinator"

    def studio(self, name: str) -> Path:
        """A studio's home."""
        return self.root / "studios" / name

    def run(self) -> dict[str, Any]:
        """Run all stages; every process that was started is stopped, whatever happens."""
        self.tell(f"everything of this demo lies in {self.root}")
        with DemoProcesses(self.root / "logs", self.tell) as processes:
            with self._stage("plates and shapes"):
                artist_shots = self._make_material(processes)
            with self._stage("coordinator and studios set up, each with keys of its own"):
                self._set_up_coordinator(processes)
                self._join(processes)
            with self._stage("studios ingest; the base is checked, signed and published as release 1"):
                base, ingested = self._ingest_and_release_base(processes)
            with self._stage("federation starts"):
                self._start(processes)
            with self._stage("rounds"):
                campaign = self._run_rounds(processes)
            with self._stage("release check of the candidate"):
                candidate = self._release(processes)
            with self._stage("artist pulls and predicts"):
                pulled, outputs = self._predict(processes, artist_shots)
            with self._stage("report"):
                report = self._report(
                    processes, ingested, campaign, [base, candidate], pulled, artist_shots, outputs
                )
            self.tell("stopping every process")
        return {
            "folder": self.root,
            "report": report,
            "predictions": outputs,
            "release": pulled,
            "campaign": campaign["state"],
            "seconds": self.seconds,
        }

    def _make_material(self, processes: DemoProcesses) -> list[Path]:
        """Write the studios' shots and the artist's; returns the artist's shot folders."""
        plates = self.root / "plates"
        if self.clips is None:
            commands = {
                f"plates-{name}": command(
                    "plates make", plates / name, frames=FRAMES, width=WIDTH, height=HEIGHT, **kind
                )
                for name, kind in KINDS.items()
            }
        else:
            commands = {
                f"plates-{name}": [*command("plates make", plates / name, clips=self.clips), *_names(clips)]
                for name, clips in _share_clips(self.clips, self.hold_out).items()
            }
        made = processes.run_side_by_side(commands)
        return [Path(shot["folder"]) for shot in made["plates-artist"]["shots"]]

    def _set_up_coordinator(self, processes: DemoProcesses) -> None:
        fleet, service, superlink = free_ports(3)
        processes.run(
            "coordinator-init",
            command(
                "coordinator init",
                home=self.coordinator,
                name=FEDERATION,
                host="127.0.0.1",
                fleet_port=fleet,
                service_port=service,
                superlink_port=superlink,
            ),
        )

    def _join(self, processes: DemoProcesses) -> None:
        asked = processes.run_side_by_side(
            {
                name: command(
                    "studio init", home=self.studio(name), name=name, federation=FEDERATION, tier="xs"
                )
                for name in STUDIOS
            }
        )
        for name in STUDIOS:
            request, fingerprint = asked[name]["request"], asked[name]["fingerprint"]
            admitted = processes.run(
                f"admit-{name}",
                command("coordinator admit", request, home=self.coordinator, fingerprint=fingerprint),
            )
            processes.run(
                f"join-{name}",
                command(
                    "studio join", admitted["kit"], home=self.studio(name), fingerprint=admitted["plan_key"]
                ),
            )

    def _ingest_and_release_base(
        self, processes: DemoProcesses
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        processes.run_side_by_side(
            {
                f"consent-{name}": command(
                    "studio consent", f"{name}-show", home=self.studio(name), by="the demo"
                )
                for name in STUDIOS
            }
        )
        ingests = {
            name: command(
                "studio ingest",
                self.root / "plates" / name,
                home=self.studio(name),
                show=f"{name}-show",
                workers=1,  # the studios' ingests run side by side
                windows=WINDOWS if self.clips is None else CLIP_WINDOWS,
            )
            for name in STUDIOS
        }
        release = command("coordinator release", "--base", home=self.coordinator)
        done = processes.run_side_by_side({"release-1": release, **ingests})
        return done["release-1"], {name: done[name] for name in STUDIOS}

    def _start(self, processes: DemoProcesses) -> None:
        processes.start("coordinator", command("coordinator serve", home=self.coordinator))
        for name in STUDIOS:
            processes.start(f"studio-{name}", command("studio run", home=self.studio(name)))

    def _run_rounds(self, processes: DemoProcesses) -> dict[str, Any]:
        settings = [part for name, value in PLAN.items() for part in ("--set", f"{name}={value}")]
        return processes.run(
            "rounds", [*command("coordinator run", home=self.coordinator, campaign=CAMPAIGN), *settings]
        )

    def _release(self, processes: DemoProcesses) -> dict[str, Any]:
        return processes.run(
            "release-candidate",
            command("coordinator release", home=self.coordinator, campaign=CAMPAIGN),
            statuses=(0, 1),  # 1: it did not pass, which is an honest outcome
        )

    def _predict(self, processes: DemoProcesses, shots: Sequence[Path]) -> tuple[int, list[Path]]:
        artist = self.root / "artist"
        pulled = processes.run("pull", command("pull", artist / "releases", home=self.studio(STUDIOS[0])))
        outputs = {shot: artist / f"{shot.name}_fedroto.nk" for shot in shots}
        processes.run_side_by_side(
            {
                f"predict-{shot.name}": command(
                    "predict", shot, shapes=shot / "artist.nk", output=output, release=pulled["path"]
                )
                for shot, output in outputs.items()
            }
        )
        return int(pulled["number"]), list(outputs.values())

    def _report(
        self,
        processes: DemoProcesses,
        ingested: dict[str, dict[str, Any]],
        campaign: dict[str, Any],
        releases: list[dict[str, Any]],
        pulled: int,
        shots: Sequence[Path],
        outputs: Sequence[Path],
    ) -> Path:
        from federation.cli.demo_measure import measure_prediction
        from federation.cli.demo_report import DemoFacts, StudioFacts, render
        from federation.durable import write_atomic

        told = processes.run_side_by_side(
            {
                f"{what.replace(' ', '-')}-{name}": command(what, home=self.studio(name))
                for name in STUDIOS
                for what in ("ledger show", "ledger verify", "egress log")
            }
        )
        studios = [
            StudioFacts(
                name,
                ingested[name],
                told[f"ledger-show-{name}"],
                told[f"ledger-verify-{name}"],
                told[f"egress-log-{name}"],
            )
            for name in STUDIOS
        ]
        plan_file = self.coordinator / "campaigns" / CAMPAIGN / "plan.json"
        facts = DemoFacts(
            "procedural" if self.clips is None else "clips",
            studios,
            campaign,
            releases,
            json.loads(json.loads(plan_file.read_text())["payload"]),
            pulled,
            [
                found
                for shot, output in zip(shots, outputs, strict=True)
                for found in measure_prediction(shot, output)
            ],
            outputs,
            self.seconds,
            _isolation(self.studio(STUDIOS[0])),
        )
        report = self.root / "report.html"
        write_atomic(report, render(facts).encode())
        return report

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.tell(name)
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _new_folder(folder: Path) -> Path:
    for number in range(1, 1000):
        root = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            root.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise FedrotoError(
                f"cannot make the folder {root}: {error.strerror}", hint="choose another with --folder"
            ) from error
        return root.resolve()
    raise ConfigError(f"{folder} and 998 numbered folders beside it are there already; choose another one")


def _share_clips(clips: Path, hold_out: int) -> dict[str, list[str]]:
    """Deal the clips by kind: every fifth one from ``hold_out`` on to the artist, the rest to the studios."""
    try:
        manifest = json.loads((clips / "manifest.json").read_text())["clips"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{clips} has no readable manifest.json with a list of clips: {error}",
            hint="each clip needs frames/ and shapes.json; manifest.json lists name and object_class",
        ) from error
    if len(manifest) < 5 * len(STUDIOS):
        raise ConfigError(f"{clips} lists {len(manifest)} clips; at least {5 * len(STUDIOS)} are needed")
    if not 0 <= hold_out < 5:
        raise ConfigError(f"--hold-out is {hold_out}, expected 0 to 4")
    names = [one["name"] for one in sorted(manifest, key=lambda one: (one["object_class"], one["name"]))]
    artist = names[hold_out::5]
    rest = [name for name in names if name not in artist]
    shares = {"artist": artist}
    for index, studio in enumerate(STUDIOS):
        shares[studio] = rest[index * CLIPS_PER_STUDIO : (index + 1) * CLIPS_PER_STUDIO]
    return shares


def _names(clips: Sequence[str]) -> list[str]:
    return [part for name in clips for part in ("--name", name)]


def _isolation(home: Path) -> str:
    """What the runner said when it started."""
    log = home / "logs" / "runner.log"
    lines = [line for line in log.read_text(errors="replace").splitlines() if '"isolated"' in line]
    return str(json.loads(lines[-1])["text"]) if lines else "the runner's log says nothing"
