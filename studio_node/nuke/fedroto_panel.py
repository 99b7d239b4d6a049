"""The panel in Nuke: predict the selected Roto node's frames between its keys into a new node beside it.

The artist's node is never written to. Everything that touches the node graph runs on Nuke's main thread and is one
undo step; the prediction runs in another process, with progress and cancel.

Runs inside Nuke's Python (3.7 and later): standard library and nuke only.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import nuke
from fedroto_process import Cancelled, FedrotoProcess, PredictionFailed

ROTO_CLASSES = ("Roto", "RotoPaint")
UPSTREAM_MAX = 100
BESIDE = 110
ARTIST_KEYS_KNOB = "fedroto_artist_keys"
PLATE, EVERY, WEIGHTS = "plate", "a key on every n-th frame", "own weights (empty: as shipped)"

_process = FedrotoProcess()
_busy = threading.Lock()


def predict_selected() -> threading.Thread | None:
    """What the menu calls."""
    try:
        node = selected_roto()
        plate = plate_of(node)
        settings = asked(plate)
        if settings is None:
            return None
        request = dict(settings, script=script_of(node))
    except PredictionFailed as error:
        nuke.message(str(error))
        return None
    if not _busy.acquire(False):
        nuke.message("fedroto is predicting already; cancel that or wait for it")
        return None
    thread = threading.Thread(target=_predict, args=(node.fullName(), request), name="fedroto")
    thread.start()
    return thread


def selected_roto() -> Any:
    """The one Roto node that is selected."""
    nodes = [node for node in nuke.selectedNodes() if node.Class() in ROTO_CLASSES]
    if len(nodes) != 1:
        raise PredictionFailed(f"select one Roto node; {len(nodes)} are selected")
    return nodes[0]


def plate_of(node: Any) -> str:
    """The file of the Read node upstream, in Nuke's notation; empty where there is none to be sure of."""
    for _ in range(UPSTREAM_MAX):
        node = node.input(0)
        if node is None:
            return ""
        if node.Class() == "Read":
            if node["frame"].value():
                raise PredictionFailed(
                    f"{node.name()} shifts its frames; read the plate without a shift, on its own frame numbers"
                )
            return str(node["file"].value())
    return ""


def asked(plate: str) -> dict[str, Any] | None:
    """Ask the artist; None if they changed their mind."""
    panel = nuke.Panel("fedroto: predict between keys")
    panel.addFilenameSearch(PLATE, plate)
    panel.addSingleLineInput(EVERY, "1")
    panel.addFilenameSearch(WEIGHTS, "")
    if not panel.show():
        return None
    every = panel.value(EVERY).strip()
    if not every.isdigit() or int(every) < 1:
        raise PredictionFailed(f"'{every}' is no number of frames; give 1 or more")
    if not panel.value(PLATE).strip():
        raise PredictionFailed("there is no Read node above the Roto node; name the plate")
    weights = panel.value(WEIGHTS).strip()
    return {"plate": panel.value(PLATE).strip(), "every": int(every), "weights": weights or None}


def script_of(node: Any) -> str:
    """The node as script text: what a copy of it would put on the clipboard."""
    others = [other for other in nuke.selectedNodes() if other.fullName() != node.fullName()]
    try:
        for other in others:
            other.setSelected(False)
        with tempfile.TemporaryDirectory(prefix="fedroto-") as folder:
            path = Path(folder, "selected.nk")
            nuke.nodeCopy(str(path))
            return path.read_bytes().decode("utf-8", "surrogateescape")
    finally:
        for other in others:
            other.setSelected(True)


def _predict(name: str, request: dict[str, Any]) -> None:
    """Runs on a thread of its own: ask, show progress, hand the answer to the main thread."""
    try:
        task = nuke.ProgressTask("fedroto")

        def on_progress(text: str, percent: int) -> None:
            task.setMessage(text)
            task.setProgress(percent)

        result = _process.predict(request, on_progress, task.isCancelled)
        nuke.executeInMainThread(write_nodes, (name, result))
    except Cancelled:
        pass
    except PredictionFailed as error:
        nuke.executeInMainThread(nuke.message, (str(error),))
    finally:
        _busy.release()


def write_nodes(name: str, result: dict[str, Any]) -> None:
    """Make the new nodes beside the artist's, as one undo step, and say what to look at. On the main thread."""
    original = nuke.toNode(name)
    if original is None:
        nuke.message(f"{name} is gone; nothing was written")
        return
    around = name.rpartition(".")[0]
    nuke.Undo.begin("fedroto: predict " + name)
    try:
        with nuke.toNode(around) if around else nuke.root():
            for answer in result["nodes"]:
                _write_node(original, answer)
    except Exception:
        nuke.Undo.cancel()
        raise
    nuke.Undo.end()
    nuke.message(_told(result))


def _write_node(original: Any, answer: dict[str, Any]) -> None:
    node = nuke.nodes.Roto()
    node["curves"].fromScript(answer["curves"])
    node["output"].setValue("alpha")
    node["cliptype"].setValue("none")
    node["lifetime_type"].setValue("all frames")
    node["tile_color"].setValue(answer["tile_color"])
    node["label"].setValue(answer["label"])
    node.addKnob(nuke.Tab_Knob("fedroto"))
    node.addKnob(nuke.String_Knob(ARTIST_KEYS_KNOB, "keys by the artist"))
    node[ARTIST_KEYS_KNOB].setValue(answer["artist_keys"])
    node.setName(answer["name"])
    node.setXYpos(original.xpos() + BESIDE, original.ypos())


def _told(result: dict[str, Any]) -> str:
    lines = []
    for shape in result["shapes"]:
        line = "{}: least sure {:.2f}".format(shape["path"], shape["least_confidence"])
        if shape["next_key"] is not None:
            line += "; key frame {} next".format(shape["next_key"])
        if shape["missing"]:
            line += "; {} frame(s) without a picture".format(len(shape["missing"]))
        lines.append(line)
    lines += ["not predicted: {}: {}".format(one["where"], one["reason"]) for one in result["rejected"]]
    return "\n".join(lines)
