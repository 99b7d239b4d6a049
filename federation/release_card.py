"""A release's model card: what people read, written from the manifest's figures and the check's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from federation.release_manifest import ReleaseManifest, ReleasePrivacy


@dataclass(frozen=True)
class CardFacts:
    """What a card says, none of it from a studio's private data.

    Attributes:
        federation: its name.
        number: of the release.
        parent: number of the release that the training started from, or None for a base.
        campaign: name of the training, or None for a base.
        rounds: federated rounds averaged in.
        studios_by_tier: how many studios of each public size tier the plan named.
        architecture: of the network.
        privacy: the guarantee, or None for a base.
        created_at: seconds since the epoch, UTC.
        benchmark: which public benchmark, with its version and size.
        errors: mean boundary error on it by method, in percent of the outline's size; "model" is this release.
        error_before: that of the release before this one, on the same clips, or None for a first release.
        verdict: the release check's sentences, one per gate.
    """

    federation: str
    number: int
    parent: int | None
    campaign: str | None
    rounds: int
    studios_by_tier: Mapping[str, int]
    architecture: str
    privacy: ReleasePrivacy | None
    created_at: int
    benchmark: str
    errors: Mapping[str, float]
    error_before: float | None
    verdict: Sequence[str]


def card(facts: CardFacts) -> str:
    """Write the card: Markdown with a YAML head."""
    sections = [
        f"# Release {facts.number} of {facts.federation}",
        "Predicts the in-between keyframes of a rotoscope shape from an artist's own keyframes and the plate, "
        "with a confidence per point and frame.",
        "## Trained on",
        _training(facts),
        "## Public benchmark",
        f"{facts.benchmark}. Mean boundary error in percent of the outline's size (square root of its area); lower "
        "is better.",
        _table(facts.errors, facts.error_before),
        "\n".join(f"- {sentence}" for sentence in facts.verdict),
        "## Privacy",
        _privacy(facts.privacy),
        "## Intended use",
        "Drafts of in-between keyframes, which an artist reviews frame by frame. The artist's own keyframes are kept "
        "exactly; predicted keys are marked and go to a node or layer of their own.",
        "## Limits",
        "- A prediction is a draft: where confidence is low, set a key.\n"
        "- Motion blur, occlusion by other objects and long gaps between keys raise the error.\n"
        "- The figures above are from the public benchmark; a studio measures the gain on its own shots at home.\n"
        "- The weights are checked by their signature (model.sig, OpenSSF Model Signing) before every first use.",
    ]
    head = _head(facts.federation, facts.number, facts.parent, facts.architecture, facts.created_at)
    return head + "\n\n" + "\n\n".join(sections) + "\n"


def restored_card(text: str, *, number: int, old: ReleaseManifest, reason: str, created_at: int) -> str:
    """Write the card of a release that brings an older one's weights back.

    Args:
        text: the older one's card.
        number: of the new release.
        old: the older one's manifest.
        reason: why it comes back.
        created_at: of the new release, seconds since the epoch, UTC.
    """
    body = text.partition("\n---\n")[2].strip()
    return (
        _head(old.federation, number, old.parent, old.architecture, created_at)
        + f"\n\n# Release {number} of {old.federation}: the weights of release {old.number} again\n\n"
        f"Why: {reason}. Numbers of releases only go up, so the older weights come back under a new one. What follows "
        f"is the card of release {old.number}; every number in it holds for these weights.\n\n#{body}\n"
    )


def _head(federation: str, number: int, parent: int | None, architecture: str, created_at: int) -> str:
    made = datetime.fromtimestamp(created_at, UTC)
    return "\n".join(
        [
            "---",
            "library_name: fedroto",
            "license: apache-2.0",
            "pipeline_tag: video-to-video",
            "tags: [rotoscoping, federated-learning, differential-privacy]",
            f'federation: "{federation}"',
            f"release: {number}",
            f"parent: {parent if parent is not None else 'null'}",
            f'architecture: "{architecture}"',
            f"created: {made:%Y-%m-%d}",
            "---",
        ]
    )


def _training(facts: CardFacts) -> str:
    base = "Procedural plates with exact shapes, made by a program that anyone can run again; no picture of a studio."
    if facts.parent is None:
        return base
    tiers = ", ".join(
        f"{count} of size tier {tier}" for tier, count in sorted(facts.studios_by_tier.items()) if count
    )
    return (
        f"Release {facts.parent}, trained on by {sum(facts.studios_by_tier.values())} studios ({tiers}) in "
        f"{facts.rounds} federated rounds of campaign {facts.campaign}. Plates and shapes stayed in the studios; only "
        "noised differences of weights left them. Shot counts are known as public size tiers only."
    )


def _privacy(privacy: ReleasePrivacy | None) -> str:
    if privacy is None:
        return "No private data was used, so there is nothing to protect."
    rows = "\n".join(
        f"| {name} | {tier.epsilon:.2f} | {tier.delta:g} |"
        for name, tier in sorted(privacy.size_tiers.items())
    )
    return (
        "Each studio's updates are differentially private by themselves (local noise, no trust in the coordinator "
        "needed). The unit is one shot; neighbouring data sets differ by one shot added or removed.\n\n"
        f"| size tier | epsilon | delta |\n|---|---|---|\n{rows}\n\n"
        f"{privacy.steps} noised steps, sample_rate {privacy.sample_rate:g}, noise_multiplier "
        f"{privacy.noise_multiplier:g}, max_grad_norm {privacy.max_grad_norm:g}. This is the cost of this training "
        "alone; earlier trainings on the same shots add to it, and each studio's ledger holds the sum. It protects "
        "shots, not the style of a show with many shots."
    )


def _table(errors: Mapping[str, float], before: float | None) -> str:
    named = {"**this release**" if name == "model" else name: error for name, error in errors.items()}
    if before is not None:
        named["the release before"] = before
    rows = sorted(named.items(), key=lambda item: item[1])
    body = "\n".join(f"| {name} | {error:.3f} |" for name, error in rows)
    return f"| method | error (%) |\n|---|---|\n{body}"
