"""Gathers the evidence of a span."""

from __future__ import annotations

from dataclasses import replace

from model.appearance import appearance_difference
from model.draft import Draft, SpanReference
from model.evidence import CANDIDATES, SpanEvidence
from model.matcher import COARSE_PX, FINE_PX, Matcher
from model.pictures import Pictures
from model.tracks import Points


def span_evidence(
    pictures: Pictures,
    first: int,
    last: int,
    keys: Points,
    *,
    matcher: Matcher | None = None,
) -> tuple[SpanEvidence, SpanReference]:
    """Gather the evidence for the frames between two neighbouring keys, from these two keys alone.

    The ``smooth`` candidate stands on the straight interpolation; `with_smooth` puts the application's own there,
    which depends on further keys. So evidence stays valid while the artist works elsewhere on the shape.

    Args:
        pictures: the shot.
        first: frame of the left key.
        last: frame of the right key, at least ``first + 2``.
        keys: [2, M, 2] the outline there, plate pixels.
        matcher: the frozen matcher; None leaves its candidates out.

    Returns:
        The evidence in units of the outline's size, and the reference that leads back to plate pixels.
    """
    draft = Draft(pictures, first, last, keys)
    draft.track()
    if matcher is not None:
        draft.match(matcher, COARSE_PX)
        draft.find_path()
        draft.match(matcher, FINE_PX)
    draft.find_path()
    if matcher is not None and matcher.edges is not None:
        draft.find_edges(matcher.edges)
    draft.carry_rigidly()
    draft.look()
    return draft.finished(), draft.reference


def with_smooth(
    evidence: SpanEvidence,
    reference: SpanReference,
    pictures: Pictures,
    first: int,
    keys: Points,
    smooth: Points,
) -> SpanEvidence:
    """Put the application's own interpolation [T, M, 2] (plate pixels) in place of the straight one.

    Args:
        evidence: what `span_evidence` gave.
        reference: its units.
        pictures: the shot.
        first: frame of the left key.
        keys: [2, M, 2] plate pixels, as given there.
        smooth: what an artist would see between the keys without any picture.
    """
    column = CANDIDATES.index("smooth")
    last = first + len(evidence.time) + 1
    points, appearance = evidence.points.copy(), evidence.appearance.copy()
    points[:, :, column] = (smooth - reference.origin) / reference.size
    if pictures.has(first) and pictures.has(last):
        for index, outline in enumerate(smooth):
            frame = first + 1 + index
            if pictures.has(frame):
                appearance[index, :, column] = appearance_difference(
                    pictures, (first, last), keys, frame, outline[:, None], size=reference.size
                )[:, 0]
    return replace(evidence, points=points, appearance=appearance)
