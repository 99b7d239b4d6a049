"""The desk's web server: a thin shell that checks who asks, hands messages to the desk and pictures to the page."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import Response

from federation.errors import FedrotoError, MessageError
from federation.pages.guard import HEADERS, Secret
from federation.pages.serving import PAGE, Guarded, page_files
from model.errors import ModelError
from studio_node.desk.desk import Desk
from studio_node.desk.exports import Export, export_mattes, export_shapes
from studio_node.desk.heads import shape_ids
from studio_node.desk.proxies import Proxies
from studio_node.desk.wire import decode, encode

_log = logging.getLogger(__name__)


class Pages:
    """The open pages; one sends at a time to each: two at once break the line, and then the page waits for ever."""

    def __init__(self) -> None:
        self._open: dict[WebSocket, asyncio.Lock] = {}

    async def send(self, page: WebSocket, messages: list[bytes]) -> None:
        """Send to one page, all messages in one go; one that is gone is forgotten, and opens a new line if it lives."""
        turn = self._open.get(page)
        if turn is None:
            return
        async with turn:
            try:
                for message in messages:
                    await page.send_bytes(message)
            except (RuntimeError, WebSocketDisconnect):
                self._open.pop(page, None)
                with contextlib.suppress(RuntimeError):
                    await page.close()

    async def tell_all(self, messages: list[bytes]) -> None:
        """Send to every page."""
        for page in list(self._open):
            await self.send(page, messages)

    @contextlib.contextmanager
    def opened(self, page: WebSocket) -> Any:
        """While the page is open."""
        self._open[page] = asyncio.Lock()
        try:
            yield
        finally:
            self._open.pop(page, None)


def desk_app(desk: Desk, proxies: Proxies, secret: Secret, exports: Path, name: str) -> tuple[Any, Pages]:
    """The application of one desk.

    Args:
        desk: the artist's desk.
        proxies: pictures of the plate.
        secret: token that every request needs.
        exports: folder that exports are written to.
        name: of exported files, without ending.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    static, pages = page_files("studio_node.desk"), Pages()
    written: dict[str, Path] = {}

    def answer(data: bytes, kind: str, **headers: str) -> Response:
        return Response(data, media_type=kind, headers={**HEADERS, "Cache-Control": "no-store", **headers})

    def page() -> Response:
        data, kind = static[PAGE]
        return answer(data, kind, **{"Set-Cookie": secret.set_cookie()})

    def frame_picture(number: int, whole: bool = False) -> Response:
        try:
            data = proxies.jpeg(number, whole=whole)
        except (ModelError, FedrotoError) as error:
            return Response(str(error), 404, HEADERS, "text/plain")
        if data is None:
            return Response("the plate has no picture for this frame", 404, HEADERS, "text/plain")
        return answer(data, "image/jpeg", **{"Cache-Control": "private, max-age=86400"})

    def export_file(file: str) -> Response:
        path = written.get(file)
        if path is None:
            return Response("no such export", 404, HEADERS, "text/plain")
        return answer(
            path.read_bytes(),
            "application/octet-stream",
            **{"Content-Disposition": f'attachment; filename="{file}"'},
        )

    def static_file(file: str) -> Response:
        if file not in static:
            return Response("not here", 404, HEADERS, "text/plain")
        return answer(*static[file])

    async def export(socket: WebSocket, head: dict[str, Any]) -> None:
        """Write files on a thread: mattes of a long shot take minutes, and the page goes on meanwhile."""
        loop = asyncio.get_running_loop()

        def progress(done: int, total: int) -> None:
            message = encode({"op": "exporting", "done": done, "total": total})
            asyncio.run_coroutine_threadsafe(pages.send(socket, [message]), loop)

        kind: Any = head.get("format")
        try:
            drawn = desk.drawn(shape_ids(head) if "shapes" in head else None)
            if kind in ("png", "exr"):
                done: Export = await asyncio.to_thread(export_mattes, drawn, exports, name, kind, progress)
            else:
                done = await asyncio.to_thread(export_shapes, drawn, exports, name, kind)
        except (ModelError, FedrotoError) as error:
            hint = getattr(error, "hint", None)
            await pages.send(socket, [encode({"op": "refused", "text": str(error), "hint": hint})])
            return
        link = None
        if done.path.is_file():
            written[done.path.name] = done.path
            link = f"export/{done.path.name}"
        message = {"op": "exported", "path": str(done.path), "link": link, "notes": list(done.notes)}
        await pages.send(socket, [encode(message)])

    async def connected(socket: WebSocket) -> None:
        await socket.accept()
        tasks: set[asyncio.Task[None]] = set()
        with pages.opened(socket):
            await pages.send(socket, desk.hello())
            with contextlib.suppress(WebSocketDisconnect):
                while True:
                    data = await socket.receive_bytes()
                    try:
                        head, numbers = decode(data)
                    except MessageError as error:
                        await pages.send(
                            socket, [encode({"op": "refused", "text": str(error), "hint": None})]
                        )
                        continue
                    if head["op"] == "export":
                        task = asyncio.create_task(export(socket, head))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                        continue
                    replies, news = desk.handle(head, numbers)
                    proxies.look_at(desk.focus)
                    await pages.send(socket, replies)
                    await pages.tell_all(news)

    app.add_api_route("/", page, include_in_schema=False)
    app.add_api_route("/frame/{number}.jpg", frame_picture, include_in_schema=False)
    app.add_api_route("/export/{file}", export_file, include_in_schema=False)
    app.add_api_websocket_route("/desk", connected)
    app.add_api_route("/{file}", static_file, include_in_schema=False)
    return Guarded(app, secret), pages


def tell_of_predictions(desk: Desk, pages: Pages, loop: asyncio.AbstractEventLoop) -> Callable[[int], None]:
    """What the predictor's thread calls: the news is taken in and sent on the server's loop."""

    async def tell(shape_id: int) -> None:
        await pages.tell_all(desk.predicted(shape_id))

    def on_result(shape_id: int) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(partial(_start, tell(shape_id)))

    return on_result


_running: set[asyncio.Task[None]] = set()


def _start(work: Any) -> None:
    task = asyncio.ensure_future(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
