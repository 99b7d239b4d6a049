"""Shots that a studio holds back from training, so that it can be measured on them what a release is worth.

Which ones is a person's choice, made before they are trained on and without looking at what training did; it stands in
``studio.toml`` beside the show's consent, and the runner asks it anew at every question.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from federation.config import STUDIO_CONFIG, load_studio_config
from federation.errors import IngestError
from federation.set_up import record_consent
from studio_node.catalogue import Catalogue


def hold_back(home: Path, shots: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Keep shots from training from now on, or none of them where one cannot be.

    Args:
        home: of the studio.
        shots: ids, as in the catalogue.

    Returns:
        All shots that are held back now, by show.

    Raises:
        IngestError: a shot is not in the catalogue, was trained on, or its show has no entry in ``studio.toml``.
    """
    config = load_studio_config(home / STUDIO_CONFIG)
    by_show: dict[str, list[str]] = {}
    with Catalogue.open(home) as catalogue:
        trained = {shot for (shot,) in catalogue.read("SELECT shot FROM trained")}
        for shot in shots:
            pack = catalogue.pack_of(shot)
            if pack is None:
                raise IngestError(
                    f"there is no shot {shot!r} with a pack here", hint="see: fedroto studio catalogue ls"
                )
            if pack.show not in config.shows:
                raise IngestError(
                    f"show {pack.show!r} of shot {shot!r} has no entry in {STUDIO_CONFIG}",
                    hint=f"say who allows it first: fedroto studio consent {pack.show} --by WHO",
                )
            if pack.shot_id in trained and pack.shot_id not in config.shows[pack.show].held_back:
                raise IngestError(
                    f"shot {shot!r} was trained on, so nothing that is measured on it proves anything"
                )
            by_show.setdefault(pack.show, []).append(pack.shot_id)
    for show, names in by_show.items():
        entry = config.shows[show].model_copy(update={"held_back": tuple(names)})
        config = record_consent(home, show, entry)
    return {show: entry.held_back for show, entry in config.shows.items() if entry.held_back}


def trained_shots(home: Path) -> frozenset[str]:
    """Names of the shots that training may have seen: those in the catalogue that are not held back."""
    held = {
        shot for entry in load_studio_config(home / STUDIO_CONFIG).shows.values() for shot in entry.held_back
    }
    with Catalogue.open(home) as catalogue:
        return frozenset(entry.shot_id for entry in catalogue.packs()) - held
