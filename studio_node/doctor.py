"""What ``fedroto doctor`` looks at in a studio's home."""

from __future__ import annotations

import json
import math
import socket
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from federation.config import load_studio_config
from federation.doctor import disk, files, installation
from federation.doctor.finding import Examination, Finding, fail, found, ok, warn
from federation.doctor.line import Line, examine_line
from federation.errors import FedrotoError
from federation.flower.bundle import build_bundle, bundle_digest
from federation.homes import StudioHome
from federation.keys import fingerprint, load_node_key
from federation.provisioning import JoinKit
from federation.set_up import load_kit

CA_WARN_DAYS = 90
EXR_SIDE = 16
RUNNER_TIMEOUT_S = 5.0
JOURNAL_TAIL_BYTES = 64 * 1024
NVIDIA_DEVICE = Path("/dev/nvidiactl")


def examine_studio(home: Path, *, now: datetime, dial: bool = True) -> Examination:
    """Look at everything that a studio's node needs, from the disk to the coordinator's answer.

    Args:
        home: the studio's.
        now: the current time, with a time zone.
        dial: False looks at nothing beyond this machine.
    """
    places = StudioHome(home)
    findings = [
        *found("settings", lambda: _settings(places)),
        *found("opencv", installation.one_opencv),
        *found("flower", installation.flower),
        *found("telemetry", installation.telemetry_off),
        *found("disk", lambda: disk.free_space(home)),
        *found("file-system", lambda: disk.local_file_system(home)),
        *found("sqlite", lambda: disk.sqlite_locks(home)),
        *found("key-files", lambda: files.private("key-files", (places.node_key.parent, places.node_key))),
        *found("packs", lambda: files.private("packs", _pack_paths(home))),
        *found("exr", exr_round_trip),
        *found("gpu", graphics_card),
        *found("ledger", lambda: _ledger(home)),
        *found("timing", lambda: _timing(places)),
    ]
    try:
        kit = load_kit(home)
    except FedrotoError as error:
        hint = error.hint or "take the join kit in again: fedroto studio join KIT"
        findings.append(fail("kit", str(error), hint))
    else:
        findings += found("kit", lambda: _kit(places, kit))
        findings += found(
            "authority",
            lambda: files.certificate(
                "authority",
                places.coordinator / "ca.crt",
                now=now,
                warn_days=CA_WARN_DAYS,
                remedy="ask the coordinator for a new kit",
            ),
        )
        findings += found("runner", lambda: _runner(home))
        findings += found("uplink", lambda: _uplink(home))
        if dial:
            ca_pem = kit.ca_pem.encode()
            findings += examine_line(Line("fleet", kit.fleet_address, ca_pem, "http"), now=now)
            findings += examine_line(Line("releases", kit.service_address, ca_pem, "grpc"), now=now)
    return Examination("studio", home, tuple(findings))


def exr_round_trip() -> Finding:
    """Write an EXR through OpenImageIO and read it back.

    Raises:
        PlateError: it cannot be done.
    """
    try:
        import numpy as np

        from studio_node.pictures import read_pixels, write_exr
    except ImportError as error:
        return fail("exr", f"OpenImageIO cannot be loaded: {error}", "pip install openimageio")
    ramp = np.linspace(0, 2, EXR_SIDE * EXR_SIDE * 3, dtype=np.float32).reshape(EXR_SIDE, EXR_SIDE, 3)
    with tempfile.TemporaryDirectory(prefix="fedroto-doctor-") as folder:
        path = Path(folder, "probe.exr")
        write_exr(path, ramp)
        _, pixels = read_pixels(path)
    if pixels.shape != ramp.shape or not np.allclose(pixels, ramp, atol=1e-3):
        return fail("exr", "an EXR reads back with other pixels than were written", "reinstall openimageio")
    return ok("exr", "EXR is written and read through OpenImageIO")


def graphics_card(device: Path = NVIDIA_DEVICE) -> Finding:
    """Look whether a graphics card is there and torch can use it; training works without one."""
    if not device.exists():
        return ok("gpu", "no graphics card: training runs on the CPU")
    import torch  # seconds; only where there is a card to ask about

    if torch.cuda.is_available():
        return ok("gpu", f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}")
    return warn(
        "gpu",
        f"{device} is there, but torch {torch.__version__} cannot use it",
        "install a torch build for this card's driver; until then training runs on the CPU",
    )


def _settings(places: StudioHome) -> Finding:
    config = load_studio_config(places.config)
    allowed = sum(consent.training_allowed for consent in config.shows.values())
    text = f"studio {config.name} of federation {config.federation}; {allowed} shows may be trained on"
    if not allowed:
        return warn("settings", text, "record consent: fedroto studio consent SHOW --by WHO")
    return ok("settings", text)


def _pack_paths(home: Path) -> Iterator[Path]:
    for folder in (home / "packs", home / "updates"):
        yield folder
        yield from folder.rglob("*.safetensors")
    yield home / "ledger.sqlite"


def _ledger(home: Path) -> Finding:
    from studio_node.ledger_file import LEDGER_FILE
    from studio_node.ledger_report import show_ledger, verify_ledger

    if not (home / LEDGER_FILE).exists():
        return ok("ledger", "no ledger yet: nothing was ever charged")
    verified = verify_ledger(home)
    if not verified.intact:
        return fail(
            "ledger",
            f"the ledger does not hold ({verified.records} records were read): {verified.problem}",
            "stop the node, keep the file as it is, put back the newest backup, and see: fedroto ledger verify",
        )
    view = show_ledger(home)
    left = ", ".join(f"{one.show}: {one.charges_left} charges left" for one in view.accounts)
    text = f"the chain holds, {verified.records} records; {left or 'nothing charged'}"
    spent = [one.show for one in view.accounts if one.charges_left == 0]
    if spent:
        return warn(
            "ledger",
            f"{text}; the budget of {', '.join(spent)} is used up: plans like the last one are refused",
            "withdraw consent for these shows, or raise epsilon_lifetime in studio.toml deliberately",
        )
    return ok("ledger", text)


def _timing(places: StudioHome) -> Finding:
    every_s = load_studio_config(places.config).policy.reply_every_s
    taken = [event.get("taken_s") for event in _newest_events(places.root / "runner.jsonl")]
    longest_s = max((one for one in taken if isinstance(one, int | float)), default=0.0)
    enough_s = 60 * math.ceil(max(1.5 * longest_s, 60) / 60)
    if longest_s <= every_s != 0:
        return ok("timing", f"answers leave at multiples of {every_s} s; none took longer")
    if every_s:
        what = f"an answer took {longest_s:.0f} s, longer than reply_every_s of {every_s} s"
    else:
        what = f"answers leave when they are ready (the longest took {longest_s:.0f} s)"
    return warn(
        "timing",
        f"{what}: how long a round takes hints at how many shots it drew",
        f"set reply_every_s = {enough_s} in studio.toml, if the coordinator's deadline leaves that much",
    )


def _kit(places: StudioHome, kit: JoinKit) -> Finding:
    is_runners_half = not places.node_key.parent.exists()  # two users, two folders: see docs/deployment.md
    key = (
        kit.node_key if is_runners_half else fingerprint(load_node_key(places.node_key).private.public_key())
    )
    if key != kit.node_key:
        return fail(
            "kit",
            f"the join kit is for node key {kit.node_key}, this home has {key}",
            "send the new .join-request to the coordinator and take in the kit that comes back",
        )
    ours = bundle_digest(build_bundle())
    if ours != kit.bundle_digest:
        return fail(
            "kit",
            f"the join kit was made for another installation: it names bundle {kit.bundle_digest[:12]}, this "
            f"installation is {ours[:12]}; every instruction will be refused",
            "install the same release of fedroto on both sides, then let the coordinator admit again for a new kit",
        )
    half = "; no node key here: this is the runner's half" if is_runners_half else ""
    return ok(
        "kit", f"joined {kit.federation} in size tier {kit.size_tier}; the installation is the kit's{half}"
    )


def _runner(home: Path) -> Finding:
    from studio_node.runner_client import connect_unix

    path = home / "run" / "runner.sock"
    if not path.exists():
        return warn("runner", "no runner is up: there is no socket", "start it: fedroto studio run")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(RUNNER_TIMEOUT_S)
        try:
            connect_unix(connection, path)
        except ConnectionRefusedError:
            what = f"{path} is there and nobody listens: the runner was killed"
            return fail("runner", what, f"start it again: fedroto studio run; see {home / 'logs'}")
        except TimeoutError:
            what = f"the runner does not take a connection within {RUNNER_TIMEOUT_S:g} s"
            return fail("runner", what, f"see {home / 'runner.jsonl'}; stop it and start it again")
    return ok("runner", "the runner takes connections")


def _uplink(home: Path) -> Finding:
    path = home / "uplink.jsonl"
    if not path.exists():
        return warn("uplink", "no uplink was ever up", "start it: fedroto studio run")
    event = _newest_event(path)
    said = f"the uplink's newest word, of {event.get('time', '?')}: {event.get('text', '?')}"
    if event.get("event") == "revoked":
        return fail("uplink", said, "ask the coordinator; for a new key: fedroto studio rotate")
    if event.get("event") in ("trouble", "bundle_mismatch", "app_error", "no_bundle", "stop"):
        return warn("uplink", said, "see the other findings, and fedroto studio run")
    return ok("uplink", said)


def _newest_event(path: Path) -> dict[str, object]:
    return next(_newest_events(path), {})


def _newest_events(path: Path) -> Iterator[dict[str, object]]:
    """The last events of a journal, the newest first; none where there is no journal."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - JOURNAL_TAIL_BYTES))
        lines = file.read().splitlines()
    for line in reversed(lines):
        try:
            event = json.loads(line)
        except ValueError:  # torn by a kill, or cut by the seek
            continue
        if isinstance(event, dict):
            yield event
