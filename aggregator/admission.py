"""How a studio is admitted, or given a new key: its request in, its entry in the enrolment book and its kit out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aggregator.enrolment import EnrolledStudio, Enrolment
from aggregator.waiting_room import WaitingRoom
from federation import keys
from federation.config import FederationConfig, address, load_federation_config
from federation.documents import DOCUMENT_BYTES_MAX, digest
from federation.durable import make_private_dir, read_bounded, write_atomic
from federation.errors import IdentityError
from federation.flower.bundle import build_bundle, bundle_digest
from federation.homes import CoordinatorHome
from federation.provisioning import KIT_SCHEMA, JoinKit, JoinRequest


@dataclass(frozen=True)
class Admission:
    """An admitted studio.

    Attributes:
        studio: its name.
        size_tier: the bucket that was agreed, which may differ from the one asked for.
        fingerprint: of the node key in the request.
        kit: the file to send back; it holds no secret.
        plan_key: fingerprint to read out by phone.
    """

    studio: str
    size_tier: str
    fingerprint: str
    kit: Path
    plan_key: str


def admit(
    home: Path,
    request_file: Path,
    kit_file: Path | None,
    *,
    now: datetime,
    size_tier: str | None = None,
    confirm: Callable[[JoinRequest], bool],
) -> Admission:
    """Admit the studio of a join request; admitting the same request again writes the same kit.

    Args:
        home: the coordinator's.
        request_file: the ``.join-request`` that the studio sent.
        kit_file: where the kit goes; None puts ``<studio>.kit`` beside the request, or only where its studio fetches it
            if the request came over the line.
        now: the current time, with a time zone.
        size_tier: the bucket to agree to; None takes the one that was asked for.
        confirm: is shown the request and says whether its fingerprint was compared.

    Raises:
        IdentityError: the request is for another federation, was not confirmed, or the studio is enrolled otherwise.
        ConfigError: the size tier is not one of the federation's.
        SignatureError: the sender does not hold the node key.
        DocumentError: malformed.
    """
    places = CoordinatorHome(home)
    config = load_federation_config(places.config)
    request = _request(request_file, config)
    tier = size_tier or request.size_tier
    if tier not in config.size_tiers:
        raise IdentityError(
            f"size tier {tier!r} is none of this federation's: {', '.join(sorted(config.size_tiers))}"
        )
    _require_confirmed(request, confirm)
    with Enrolment(home) as enrolment:
        enrolled = enrolment.admit(request.studio, tier, request.node_public_key, now=int(now.timestamp()))
    return _admission(places, config, enrolled, request_file, kit_file, now)


def rotate(
    home: Path,
    request_file: Path,
    kit_file: Path | None,
    *,
    now: datetime,
    confirm: Callable[[JoinRequest], bool],
) -> Admission:
    """Give an admitted studio the new key of its request; the old one is refused from then on, for ever.

    The federation goes on: within seconds the roster knows the new key, and a running uplink takes it by itself.
    Doing it twice with the same request writes the same kit.

    Args:
        home: the coordinator's.
        request_file: what ``fedroto studio rotate`` wrote.
        kit_file: where the new kit goes; None as in :func:`admit`.
        now: the current time, with a time zone.
        confirm: is shown the request and says whether its fingerprint was compared.

    Raises:
        IdentityError: the request is for another federation, was not confirmed, or the studio is not admitted; or the
            key is or was in use.
        SignatureError: the sender does not hold the new key.
        DocumentError: malformed.
    """
    places = CoordinatorHome(home)
    config = load_federation_config(places.config)
    request = _request(request_file, config)
    with Enrolment(home) as enrolment:
        enrolment.studio(request.studio)
        _require_confirmed(request, confirm)
        enrolled = enrolment.rotate_key(request.studio, request.node_public_key, now=int(now.timestamp()))
    return _admission(places, config, enrolled, request_file, kit_file, now)


def _request(request_file: Path, config: FederationConfig) -> JoinRequest:
    request = JoinRequest.verified(read_bounded(request_file, 2 * DOCUMENT_BYTES_MAX))
    if request.federation != config.name:
        raise IdentityError(
            f"the join request is for federation {request.federation!r}, this one is {config.name!r}",
            hint="let the studio set up a home for this federation",
        )
    return request


def _require_confirmed(request: JoinRequest, confirm: Callable[[JoinRequest], bool]) -> None:
    if not confirm(request):
        raise IdentityError(
            f"studio {request.studio} was not admitted: its fingerprint {request.fingerprint} was not confirmed",
            hint="read it out by phone, then repeat with --fingerprint",
        )


def kept_kit(home: Path, node_public_key: str) -> Path:
    """Where the kit for a node key, one OpenSSH line, lies for its studio to fetch."""
    return CoordinatorHome(home).kits / f"{digest(node_public_key.encode())}.kit"


def _admission(
    places: CoordinatorHome,
    config: FederationConfig,
    studio: EnrolledStudio,
    request_file: Path,
    kit_file: Path | None,
    now: datetime,
) -> Admission:
    kit = _kit(places, config, studio, now)
    signed = kit.signed(keys.load_plan_key(places.keys / keys.PLAN_KEY))
    kept = kept_kit(places.root, studio.public_key)
    make_private_dir(kept.parent)
    write_atomic(kept, signed, mode=0o600)
    if kit_file is None and request_file.parent == places.waiting:
        kit_file = kept
    else:
        kit_file = kit_file or request_file.with_name(f"{studio.name}.kit")
        write_atomic(kit_file, signed)
    WaitingRoom(places.root).remove(studio.public_key)
    return Admission(
        studio.name, studio.size_tier, studio.fingerprint, kit_file, keys.fingerprint(kit.plan_key)
    )


def _kit(places: CoordinatorHome, config: FederationConfig, studio: EnrolledStudio, now: datetime) -> JoinKit:
    plan_key = keys.load_plan_key(places.keys / keys.PLAN_KEY).public_key()
    release_key = keys.load_release_key(places.keys / keys.RELEASE_KEY).public_key()
    return JoinKit.from_payload(
        {
            "schema": KIT_SCHEMA,
            "federation": config.name,
            "studio": studio.name,
            "size_tier": studio.size_tier,
            "node_key": studio.fingerprint,
            "fleet_address": address(config.hosts[0], config.fleet_port),
            "service_address": address(config.hosts[0], config.service_port),
            "ca_pem": read_bounded(places.ca, keys.KEY_FILE_BYTES_MAX).decode(),
            "plan_key_pem": keys.public_pem(plan_key).decode(),
            "release_key_pem": keys.public_pem(release_key).decode(),
            "bundle_digest": bundle_digest(build_bundle()),
            "created_at": int(now.timestamp()),
        }
    )
