"""How a studio's and a coordinator's home come to be, and how a studio takes in its join kit.

Setting up may be killed at any point and run again: keys that are there are kept, and the settings file, written last,
says that the home is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from federation import certificates, keys
from federation.config import FederationConfig, ShowConsent, StudioConfig, load_studio_config
from federation.config_text import federation_toml, studio_toml
from federation.documents import DOCUMENT_BYTES_MAX
from federation.durable import make_private_dir, read_bounded, write_atomic
from federation.errors import IdentityError
from federation.homes import CoordinatorHome, StudioHome
from federation.next_key import adopt_next_key, next_key
from federation.provisioning import REQUEST_SCHEMA, JoinKit, JoinRequest

Key = TypeVar("Key")


@dataclass(frozen=True)
class StudioSetUp:
    """A studio home that was set up.

    Attributes:
        home: its folder.
        request: the join request's file, to be sent to the coordinator; it holds no secret.
        fingerprint: the node key's, to be compared by phone.
    """

    home: Path
    request: Path
    fingerprint: str


@dataclass(frozen=True)
class CoordinatorSetUp:
    """A coordinator home that was set up; the fingerprints are to be read out to studios by phone."""

    home: Path
    plan_key: str
    release_key: str


def init_studio(root: Path, config: StudioConfig, *, size_tier: str, now: datetime) -> StudioSetUp:
    """Set up a studio: node key, join request, settings.

    Args:
        root: the studio's home; made if need be.
        config: its name, its federation, and policy.
        size_tier: the public bucket of shot counts that it asks for.
        now: time of the request, with a time zone.

    Raises:
        IdentityError: the home is set up already.
        DocumentError: the size tier is no name.
        FedrotoError: the disk refused.
    """
    home = StudioHome(root)
    _refuse_second_set_up(home.config)
    make_private_dir(root)
    node_key = _kept_or_made(
        home.node_key, keys.load_node_key, lambda: keys.create_node_key(home.node_key.parent)
    )
    request = JoinRequest.from_payload(
        {
            "schema": REQUEST_SCHEMA,
            "federation": config.federation,
            "studio": config.name,
            "size_tier": size_tier,
            "node_public_key": node_key.public.decode(),
            "created_at": int(now.timestamp()),
        }
    )
    path = root / f"{config.name}.join-request"
    write_atomic(path, request.signed(node_key.private))
    write_atomic(home.config, studio_toml(config).encode())
    return StudioSetUp(root, path, request.fingerprint)


def join(
    root: Path,
    kit_file: bytes,
    *,
    now: datetime,
    bundle_digest: str | None = None,
    plan_key_fingerprint: str | None = None,
) -> JoinKit:
    """Take a coordinator's join kit into a studio's home, after every check that a machine can do.

    Args:
        root: the studio's home.
        kit_file: the kit's bytes.
        now: the current time, with a time zone.
        bundle_digest: digest of the app bundle that this installation would build; None leaves that check to the
            uplink, which repeats it for every message.
        plan_key_fingerprint: what the coordinator read out by phone, if it is known.

    Raises:
        SignatureError: the kit is not signed by the coordinator that this studio knows.
        IdentityError: it is for another studio, federation, node key or installation; the fingerprint differs; or
            its certificate is expired.
        FedrotoError: malformed, or the disk refused.
    """
    home = StudioHome(root)
    config = load_studio_config(home.config)
    held = home.coordinator / "plan_key.pub"
    plan_key = keys.read_public_pem(read_bounded(held, keys.KEY_FILE_BYTES_MAX)) if held.exists() else None
    kit = JoinKit.verified(kit_file, plan_key=plan_key)
    node_key = keys.fingerprint(keys.load_node_key(home.node_key).private.public_key())
    pending = next_key(root)
    is_rotated = pending is not None and kit.node_key == keys.fingerprint(pending.private.public_key())
    expected = {
        "federation": (kit.federation, config.federation),
        "studio": (kit.studio, config.name),
        "node key": (kit.node_key, kit.node_key if is_rotated else node_key),
        "installation's digest": (kit.bundle_digest, bundle_digest or kit.bundle_digest),
        "plan key's fingerprint": (
            keys.fingerprint(kit.plan_key),
            plan_key_fingerprint or keys.fingerprint(kit.plan_key),
        ),
    }
    for what, (theirs, ours) in expected.items():
        if theirs != ours:
            raise IdentityError(
                f"the join kit's {what} is {theirs}, expected {ours}; nothing was changed",
                hint="compare with the coordinator by phone, and take a kit that was made for this studio",
            )
    certificates.days_left(kit.ca_pem.encode(), now=now)
    make_private_dir(home.coordinator)
    write_atomic(home.coordinator / "ca.crt", kit.ca_pem.encode())
    write_atomic(home.coordinator / "release_key.pub", kit.release_key_pem.encode())
    write_atomic(held, kit.plan_key_pem.encode())
    if is_rotated:  # the uplink may have done so already; the old key is retired at the coordinator
        adopt_next_key(root)
    write_atomic(home.coordinator / "kit.json", kit_file)
    return kit


def record_consent(root: Path, show: str, consent: ShowConsent) -> StudioConfig:
    """Write one show's consent into the studio's settings; every other setting stays, comments of one's own do not.

    A cap of the show's own stays as well where ``consent`` names none: raising it takes an edit of the file. Shots that
    are held back stay so.

    Raises:
        ConfigError: the settings are not valid, or the show's name is none.
    """
    home = StudioHome(root)
    config = load_studio_config(home.config)
    before = config.shows.get(show)
    if before is not None:
        cap = before.epsilon_lifetime if consent.epsilon_lifetime is None else consent.epsilon_lifetime
        kept = tuple(dict.fromkeys((*before.held_back, *consent.held_back)))
        consent = consent.model_copy(update={"epsilon_lifetime": cap, "held_back": kept})
    fields = config.model_dump(mode="python")
    fields["shows"] = {**fields["shows"], show: consent.model_dump(mode="python")}
    changed = StudioConfig.from_fields(fields)
    write_atomic(home.config, studio_toml(changed).encode())
    return changed


def load_kit(root: Path) -> JoinKit:
    """Read the kit of a studio that has joined.

    Raises:
        IdentityError: the studio has not joined.
        SignatureError: the kit on disk was changed.
        DocumentError: malformed.
    """
    folder = StudioHome(root).coordinator
    if not (folder / "kit.json").exists():
        raise IdentityError(
            f"the studio at {root} has not joined a federation",
            hint="send the .join-request to the coordinator, then: fedroto studio join KIT",
        )
    plan_key = keys.read_public_pem(read_bounded(folder / "plan_key.pub", keys.KEY_FILE_BYTES_MAX))
    return JoinKit.verified(read_bounded(folder / "kit.json", 2 * DOCUMENT_BYTES_MAX), plan_key=plan_key)


def init_coordinator(root: Path, config: FederationConfig, *, now: datetime) -> CoordinatorSetUp:
    """Set up a coordinator: authority, server certificate, plan key, release key, SuperLink secret, settings.

    Args:
        root: the coordinator's home; made if need be.
        config: its name, hosts and ports.
        now: time of issue, with a time zone.

    Raises:
        IdentityError: the home is set up already.
        IdentityError: a host is neither a DNS name nor an address.
        FedrotoError: the disk refused.
    """
    home = CoordinatorHome(root)
    _refuse_second_set_up(home.config)
    make_private_dir(root)
    plan_key = _kept_or_made(
        home.keys / keys.PLAN_KEY, keys.load_plan_key, lambda: keys.create_plan_key(home.keys)
    )
    release_key = _kept_or_made(
        home.keys / keys.RELEASE_KEY, keys.load_release_key, lambda: keys.create_release_key(home.keys)
    )
    secret = home.keys / "superlink.secret"
    if not secret.exists():
        keys.create_secret(secret)
    authority = _authority(home, config.name, now)
    _server_certificate(home, authority, config, now)
    write_atomic(home.plan_key, keys.public_pem(plan_key.public_key()))
    write_atomic(home.release_key, keys.public_pem(release_key.public_key()))
    make_private_dir(home.releases)
    write_atomic(home.config, federation_toml(config).encode())
    return CoordinatorSetUp(
        root, keys.fingerprint(plan_key.public_key()), keys.fingerprint(release_key.public_key())
    )


def renew_server_certificate(root: Path, config: FederationConfig, *, now: datetime) -> datetime:
    """Issue the server's certificate anew for the same key; returns until when it holds.

    Raises:
        IdentityError: the authority's files are missing or do not belong together, or a host is no host.
        FedrotoError: the disk refused.
    """
    home = CoordinatorHome(root)
    _server_certificate(home, _authority(home, config.name, now), config, now)
    pem = read_bounded(home.server_certificate, keys.KEY_FILE_BYTES_MAX)
    return certificates.read_certificate(pem).not_valid_after_utc


def _authority(home: CoordinatorHome, federation: str, now: datetime) -> certificates.Authority:
    """Load the authority, or make it: the certificate is written first, so a key never lacks its certificate."""
    key_path = home.keys / "ca.key"
    if key_path.exists():
        certificate = read_bounded(home.ca, keys.KEY_FILE_BYTES_MAX)
        return certificates.Authority.from_pem(certificate, keys.read_private(key_path))
    authority = certificates.create_authority(federation, now=now)
    write_atomic(home.ca, authority.certificate_pem)
    keys.store_private(key_path, authority.key_pem)
    return authority


def _server_certificate(
    home: CoordinatorHome, authority: certificates.Authority, config: FederationConfig, now: datetime
) -> None:
    key_path = home.keys / "server.key"
    key = keys.load_release_key(key_path) if key_path.exists() else None
    issued = certificates.issue_server_certificate(authority, config.hosts, now=now, key=key)
    if key is None:
        keys.store_private(key_path, issued.key_pem)
    write_atomic(home.server_certificate, issued.certificate_pem)


def _kept_or_made(path: Path, load: Callable[[Path], Key], make: Callable[[], Key]) -> Key:
    return load(path) if path.exists() else make()


def _refuse_second_set_up(config: Path) -> None:
    if config.exists():
        raise IdentityError(
            f"{config.parent} is set up already; its keys are never replaced",
            hint="choose another folder, or move this one away",
        )
