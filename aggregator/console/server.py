"""The console's web server: hands out the page, the state, the metrics and reports; it takes nothing in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from aggregator.console.metrics import CONTENT_TYPE, metrics
from aggregator.console.report import report
from aggregator.console.state import page_state
from aggregator.overview import Overview, Overviews
from aggregator.plan_cost import PlanCosts
from aggregator.presence import Presence
from federation.errors import FedrotoError
from federation.pages.guard import HEADERS, Secret
from federation.pages.serving import PAGE, Guarded, listening, page_address, page_files, page_server
from federation.pages.token_file import kept_token

Look = Callable[[str | None, bool], Overview]
FRESH = {**HEADERS, "Cache-Control": "no-store"}


def open_console(
    home: Path,
    *,
    port: int = 0,
    token_file: Path | None = None,
    on_open: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve a coordinator's console on 127.0.0.1 until it is interrupted; it reads and never writes.

    Args:
        home: the coordinator's.
        port: to listen on; 0 takes a free one.
        token_file: keeps the token over restarts; made if it is missing. None takes a new token.
        on_open: called with the page's address once it can be opened.

    Raises:
        ConfigError: the port is taken.
        IdentityError: the token's file is open to others or holds none.
    """
    secret = Secret.new("console", None if token_file is None else kept_token(token_file))
    with listening(port) as listener, Presence.of_home(home) as presence:
        overviews = Overviews(home, PlanCosts())
        app = console_app(
            lambda campaign, wait: overviews.take(
                now=time.time(), nodes=presence.nodes, campaign=campaign, wait=wait
            ),
            secret,
        )
        on_open(page_address(listener, secret))
        page_server(app).run(sockets=[listener])


def console_app(look: Look, secret: Secret) -> Any:
    """The application.

    Args:
        look: takes an overview of a campaign (None: the newest), waiting for its privacy cost or not.
        secret: token that every request needs.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    static = page_files("aggregator.console")

    def page() -> Response:
        data, kind = static[PAGE]
        return Response(data, headers={**FRESH, "Set-Cookie": secret.set_cookie()}, media_type=kind)

    def state(campaign: str | None = None) -> Response:
        try:
            return JSONResponse(page_state(look(campaign, False)), headers=FRESH)
        except FedrotoError as error:
            return JSONResponse({"error": str(error), "hint": error.hint}, 503, FRESH)

    def prometheus() -> Response:
        try:
            return Response(metrics(look(None, False)), headers=FRESH, media_type=CONTENT_TYPE)
        except FedrotoError as error:
            return Response(f"{error}\n", 503, FRESH, "text/plain")

    def run_report(campaign: str | None = None) -> Response:
        try:
            overview = look(campaign, True)
            name = "fedroto" if overview.campaign is None else overview.campaign.campaign
            saved = {"Content-Disposition": f'attachment; filename="{name}-report.html"'}
            return Response(report(overview), headers={**FRESH, **saved}, media_type="text/html")
        except FedrotoError as error:
            return Response(f"{error}\n", 503, FRESH, "text/plain")

    def static_file(file: str) -> Response:
        if file not in static:
            return Response("not here", 404, FRESH, "text/plain")
        data, kind = static[file]
        return Response(data, headers=FRESH, media_type=kind)

    app.add_api_route("/", page)
    app.add_api_route("/state.json", state)
    app.add_api_route("/metrics", prometheus)
    app.add_api_route("/report.html", run_report)
    app.add_api_route("/{file}", static_file)
    return Guarded(app, secret)
