"""A look at what would leave a studio before it does: stored updates, and the form of the next one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from federation.documents import digest
from federation.messages import TrainUpdate, encode_reply
from studio_node.egress import decode_reply, fields_of
from studio_node.egress_log import EgressField
from studio_node.stored_updates import UPDATES_FOLDER, StoredUpdates

ZERO_DIGEST = "0" * 64


@dataclass(frozen=True)
class StoredUpdateView:
    """One stored update: the very bytes that left, or that leave when the coordinator asks again."""

    path: Path
    campaign: str
    size_bytes: int
    sha256: str
    fields: tuple[EgressField, ...]


@dataclass(frozen=True)
class EgressPreview:
    """What would leave.

    Attributes:
        stored: the updates on disk.
        form: fields of any update of the installed network, here of zeros; every update has this size, its array a
            quarter of it where the signed plan says ``value_bits`` 8.
        form_bytes: that size.
    """

    stored: tuple[StoredUpdateView, ...]
    form: tuple[EgressField, ...]
    form_bytes: int


def preview_egress(home: Path) -> EgressPreview:
    """Show what would leave the studio at ``home``, field by field.

    Raises:
        EgressError: a stored update is not what an update is.
        FedrotoError: a stored update cannot be read.
    """
    from model.network import RotoModel  # imports torch: seconds

    parameters = RotoModel.trainable_spec().size
    form = TrainUpdate(np.zeros(parameters, np.float32), ZERO_DIGEST, 0, ZERO_DIGEST)
    stored = tuple(
        StoredUpdateView(path, path.parent.name, len(frame), digest(frame), fields_of(decode_reply(frame)))
        for path, frame in StoredUpdates(home / UPDATES_FOLDER).frames()
    )
    return EgressPreview(stored, fields_of(form), len(encode_reply(form)))
