"""Opens a desk on a shot: plate, shapes or autosave, weights, threads, and the server that carries them."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import cv2
import torch

from federation.durable import make_private_dir, read_bounded
from federation.errors import ConfigError
from federation.pages.guard import Secret
from federation.pages.serving import listening, page_address, page_server
from model.pictures import Pictures
from model.shapes import ShapeSet
from studio_node.desk.desk import Desk
from studio_node.desk.document import DeskShape, Document
from studio_node.desk.messages import Shot
from studio_node.desk.predictor import Predictor
from studio_node.desk.proxies import Proxies
from studio_node.desk.server import desk_app, tell_of_predictions
from studio_node.desk.session import Session
from studio_node.desk.store import DeskStore
from studio_node.desk.wire import MESSAGE_BYTES_MAX
from studio_node.movies import FIRST_FRAME
from studio_node.plates import PlateSequence
from studio_node.predict_shot import Beyond, load_model
from studio_node.shape_files import SHAPE_BYTES_MAX, read_shapes

MEMORY_SHARE: Final = 0.2
"""Share of the machine's memory that working images may take, and again as much for dense flow."""
MEMORY_BYTES_MIN: Final = 256 * 2**20
FRAME_RATE: Final = 24.0


@dataclass(frozen=True)
class OpenedDesk:
    """What the artist is told when the page is ready.

    Attributes:
        address: the page's address with its token; it opens the desk to whoever has it.
        work: the folder with autosave, proxies and exports.
        shapes: how many shapes are on the desk.
        restored: whether they came from the autosave.
        notes: what the artist should know.
    """

    address: str
    work: Path
    shapes: int
    restored: bool
    notes: tuple[str, ...]


def open_desk(
    plate: str | Path,
    shapes_file: Path | None = None,
    *,
    work: Path | None = None,
    weights: Path | None = None,
    port: int = 0,
    fresh: bool = False,
    trust_plate_size: bool = False,
    colour_space: str | None = None,
    movie_start: int = FIRST_FRAME,
    frame_rate: float = FRAME_RATE,
    on_open: Callable[[OpenedDesk], None] = lambda opened: None,
) -> None:
    """Open a desk and serve it on 127.0.0.1 until it is interrupted.

    Args:
        plate: the plate: a pattern, a folder or a file (``find_sequence``).
        shapes_file: shapes to begin with, ``.nk`` or ``.json``; None begins with an empty desk.
        work: folder for autosave, proxies and exports; None takes ``<plate>.desk`` in the present folder.
        weights: a release's folder, a weights file, or None for the base weights of the package.
        port: to listen on; 0 takes a free one.
        fresh: begin from the shape file although there is an autosave, which is set aside.
        trust_plate_size: see ``read_shapes``.
        colour_space: what the plate's files hold, see ``PlateSequence``.
        movie_start: frame number of a movie's first picture.
        frame_rate: for playback, frames per second.
        on_open: called once the page can be opened.

    Raises:
        ConfigError: another desk has the work folder open, or the port is taken.
        PlateError, FormatError, IngestError, WeightsError: what was given cannot be opened.
        FedrotoError: the disk refused.
    """
    torch.set_num_threads(
        1
    )  # two busy threads on two cores cost more than they bring, and the page needs one
    cv2.setNumThreads(1)
    memory = max(MEMORY_BYTES_MIN, int(MEMORY_SHARE * _memory_bytes()))
    sequence = PlateSequence.open(
        plate, movie_start=movie_start, colour_space=colour_space, cache_bytes=memory
    )
    name = _name_of(sequence)
    folder = Path(f"{name}.desk") if work is None else work
    model, _ = load_model(weights)
    drawn = _read(shapes_file, sequence, trust_plate_size=trust_plate_size)
    store = DeskStore(folder, width=sequence.width, height=sequence.height)
    with closing(store), listening(port) as listener:
        session, source, notes, restored = _begin(store, sequence, shapes_file, drawn, fresh=fresh)
        shot = Shot(
            name,
            sequence.width,
            sequence.height,
            sequence.first_frame,
            sequence.last_frame,
            frame_rate,
            sequence.linear,
            tuple(problem.frame for problem in sequence.problems),
        )
        keyed = [one.shape for one in session.document.shapes]
        predictor = Predictor(model, Pictures(Beyond.around(sequence, keyed), cache_bytes=memory))
        proxies = Proxies(sequence, folder / "proxies", predictor.frames_needed)
        desk = Desk(shot, session, store, predictor, source=source)
        secret = Secret.new("desk")
        make_private_dir(folder / "exports")
        app, pages = desk_app(desk, proxies, secret, folder / "exports", name)
        address = page_address(listener, secret)
        opened = OpenedDesk(address, folder, len(keyed), restored, notes)

        async def serve() -> None:
            predictor.on_result = tell_of_predictions(desk, pages, asyncio.get_running_loop())
            predictor.start()
            proxies.start()
            on_open(opened)
            await page_server(app, message_bytes_max=MESSAGE_BYTES_MAX).serve(sockets=[listener])

        try:
            asyncio.run(serve())
        finally:
            proxies.stop()
            predictor.stop()


def _read(path: Path | None, plate: PlateSequence, *, trust_plate_size: bool) -> ShapeSet:
    if path is None:
        return ShapeSet((), plate.width, plate.height)
    return read_shapes(path, width=plate.width, height=plate.height, trust_plate_size=trust_plate_size)


def _begin(
    store: DeskStore, plate: PlateSequence, shapes_file: Path | None, drawn: ShapeSet, *, fresh: bool
) -> tuple[Session, Path | None, tuple[str, ...], bool]:
    """The session to go on with: the autosave where there is one, else the shape file."""
    digest = "" if shapes_file is None else sha256(read_bounded(shapes_file, SHAPE_BYTES_MAX)).hexdigest()
    opened = {
        "plate": str(plate.files.pattern),
        "shapes": "" if shapes_file is None else str(shapes_file.resolve()),
        "sha256": digest,
    }
    if fresh:
        store.set_aside()
    restored = store.restore()
    if restored is not None:
        session, former = restored
        notes = ["the autosave was restored; --fresh begins from the shape file instead"]
        if Path(former["plate"]).name != Path(opened["plate"]).name:
            raise ConfigError(
                f"{store.folder} holds work on {former['plate']}, not on {opened['plate']}",
                hint="name another folder with --work, or begin anew with --fresh",
            )
        if shapes_file is not None and former["sha256"] != digest:
            notes.append(
                "the shape file is not the one that this work began from; its changes are not on the desk"
            )
        source = Path(former["shapes"]) if former["shapes"] else None
        return session, source if source is not None and source.exists() else None, tuple(notes), True
    notes = [
        f"'{shape.path}' can be seen but not edited: {shape.read_only_reason}"
        for shape in drawn.shapes
        if shape.read_only_reason is not None
    ]
    shapes = tuple(DeskShape.imported(number, shape) for number, shape in enumerate(drawn.shapes, 1))
    session = Session(Document(shapes, len(shapes) + 1))
    store.begin(session, opened)
    return session, shapes_file, tuple(notes), False


def _name_of(plate: PlateSequence) -> str:
    """A name for files from the plate's: ``sh010.%04d.exr`` gives ``sh010``; ``plate.%04d.exr`` its folder's."""
    pattern = Path(plate.files.pattern)
    stem = re.split(r"[._-]?(?:%0?\d*d|#+|@+)", pattern.name)[0].strip("._- ") or "shot"
    if stem.lower() in ("plate", "frame", "bg", "shot") and pattern.resolve().parent.name:
        stem = pattern.resolve().parent.name
    return re.sub(r"[^A-Za-z0-9_.-]", "_", stem)[:60] or "shot"


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
