"""Who may talk to a page's server: this machine's browser, on the server's own page, with the server's token.

Such a server listens on the loopback only. That alone would let any web page that the person visits, and any other
user of the machine, reach it; so every request needs the token (from the start address, then as a cookie that no script
can read; a program sends it as a bearer), a Host that is a loopback name (a page that rebinds its name to 127.0.0.1 has
its own), and, for anything but plain reading, an Origin that is the page itself. The rules are pure; the server only
asks them.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs, urlsplit

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Sent with every answer: nothing is loaded from anywhere else, and no other page may frame or read this one."""


@dataclass(frozen=True)
class Secret:
    """The token of one server and the name of its cookie (cookies do not know ports, so each server has its own)."""

    token: str
    cookie: str

    @classmethod
    def new(cls, page: str, token: str | None = None) -> Secret:
        """A token that nobody can guess.

        Args:
            page: "desk" or "console"; stands in the cookie's name.
            token: that was kept from an earlier start (``federation.pages.token_file``).
        """
        return cls(token or secrets.token_urlsafe(32), f"fedroto_{page}_{secrets.token_hex(4)}")

    def set_cookie(self) -> str:
        """The header that hands the token to the browser, for this page's own requests only."""
        return f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"


@dataclass(frozen=True)
class Asked:
    """What a request says about itself."""

    method: str
    query: str
    headers: Mapping[str, str]
    websocket: bool = False


def refusal(asked: Asked, secret: Secret) -> tuple[int, str] | None:
    """Why a request is refused, as a status and a sentence; None where it may pass."""
    host = asked.headers.get("host", "")
    if _name(host) not in LOOPBACK:
        return 421, "this page answers to 127.0.0.1 and localhost only; use the address that was printed"
    origin = asked.headers.get("origin")
    if origin is None:
        if asked.websocket or asked.method not in ("GET", "HEAD"):
            return 403, "the request does not say which page it comes from"
    elif urlsplit(origin).scheme not in ("http", "https") or urlsplit(origin).netloc != host:
        return 403, "the request comes from another page"
    if not any(hmac.compare_digest(given.encode(), secret.token.encode()) for given in _given(asked, secret)):
        return 403, "the token is missing or of another page; open the whole address that was printed"
    return None


def _given(asked: Asked, secret: Secret) -> list[str]:
    given = [] if asked.websocket else parse_qs(asked.query).get("token", [])
    scheme, _, bearer = asked.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and not asked.websocket:
        given.append(bearer.strip())
    try:
        morsel = SimpleCookie(asked.headers.get("cookie", "")).get(secret.cookie)
    except CookieError:
        morsel = None
    return given if morsel is None else [*given, morsel.value]


def _name(host: str) -> str:
    """The host without its port."""
    return host if host.endswith("]") else host.rpartition(":")[0] or host
