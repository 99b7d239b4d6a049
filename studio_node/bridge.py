"""The other end of the Nuke panel: predictions over stdin and stdout, one JSON object a line, in a process of its own.

Nuke has a Python and a torch of its own that ours would clash with, so nothing of ours is loaded there. Nothing
listens on any port: who started the process holds both ends. It stays, so that only the first prediction waits for
the program to load; to cancel a prediction, end the process.

A request ``{"id", "plate", "script", "every", "method", "weights"}`` (script: the copied Roto node as ``.nk`` text) is
answered by ``{"id", "progress": {"shape", "done", "of"}}`` any number of times and then by ``{"id", "result"}`` or
``{"id", "error", "hint"}``. Text that is not UTF-8 travels as lone surrogates (``surrogateescape``).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from federation.errors import FedrotoError
from model.errors import ModelError
from model.formats.nuke import ARTIST_KEYS_KNOB
from model.formats.nuke_script import RotoNode, read_script
from model.methods import require_method
from studio_node.predict_shot import PredictionReport, predict_shot

PROTOCOL: Final = 1
LINE_CHARACTERS_MAX: Final = 128 * 2**20
Say = Callable[[dict[str, Any]], None]


class Request(BaseModel):
    """What the panel asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: int
    plate: str = Field(min_length=1)
    script: str
    every: int = 1
    method: str = "model"
    weights: str | None = None


def serve(lines: Iterable[str], say: Say) -> None:
    """Answer requests until there are no more lines.

    Args:
        lines: one JSON object each.
        say: sends one object to the panel.
    """
    say({"ready": PROTOCOL})
    for line in lines:
        number = None
        try:
            number, request = _request(line)
            say({"id": number, "result": _answer(request, say)})
        except (ModelError, FedrotoError, ValueError) as error:
            say({"id": number, "error": str(error), "hint": getattr(error, "hint", None)})


def _request(line: str) -> tuple[int, Request]:
    if len(line) > LINE_CHARACTERS_MAX:
        raise ValueError(f"a request of {len(line)} characters; at most {LINE_CHARACTERS_MAX} are read")
    try:
        request = Request.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"the panel's request cannot be read: {where}: {first['msg']}") from error
    return request.id, request


def _answer(request: Request, say: Say) -> dict[str, Any]:
    def progress(shape: str, done: int, of: int) -> None:
        say({"id": request.id, "progress": {"shape": shape, "done": done, "of": of}})

    with tempfile.TemporaryDirectory(prefix="fedroto-") as folder:
        before, after = Path(folder, "before.nk"), Path(folder, "after.nk")
        before.write_bytes(request.script.encode("utf-8", "surrogateescape"))
        report = predict_shot(
            request.plate,
            before,
            after,
            method=require_method(request.method),
            weights=None if request.weights is None else Path(request.weights),
            every=request.every,
            progress=progress,
        )
        written = after.read_bytes()
    known = {node.name for node in read_script(request.script.encode("utf-8", "surrogateescape")).nodes}
    new = [node for node in read_script(written).nodes if node.name not in known]
    return {"nodes": [_node(node, written) for node in new], **_facts(report)}


def _node(node: RotoNode, script: bytes) -> dict[str, Any]:
    """A new node as the panel is to make it: the text for its curves and what its knobs say."""
    curves = b"" if node.curves is None else script[node.curves.start : node.curves.end]
    return {
        "name": node.own_name,
        "curves": curves.decode("utf-8", "surrogateescape"),
        "label": node.knobs["label"],
        "tile_color": int(node.knobs["tile_color"], 16),
        "artist_keys": node.knobs[ARTIST_KEYS_KNOB],
    }


def _facts(report: PredictionReport) -> dict[str, Any]:
    return {
        "shapes": [
            {
                "path": one.path,
                "least_confidence": min(one.confidence),
                "next_key": one.next_key,
                "missing": list(one.missing),
            }
            for one in report.shapes
        ],
        "rejected": [{"where": one.where, "reason": one.reason} for one in report.rejected],
    }
