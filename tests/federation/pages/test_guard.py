import pytest

from federation.pages.guard import HEADERS, Asked, Secret, refusal

SECRET = Secret("right-token", "fedroto_desk_1")
COOKIE = "other=1; fedroto_desk_1=right-token"
HOST = "127.0.0.1:8123"


def asked(method="GET", query="", *, websocket=False, **headers):
    return Asked(method, query, {"host": HOST, **headers}, websocket=websocket)


@pytest.mark.parametrize(
    "request_",
    [
        asked(query="token=right-token"),
        asked(cookie=COOKIE),
        asked(authorization="Bearer right-token"),
        asked(cookie=COOKIE, origin=f"http://{HOST}"),
        asked(cookie=COOKIE, origin=f"http://{HOST}", websocket=True),
        asked(
            cookie=COOKIE, host="localhost:9000", origin="http://localhost:9000", websocket=True
        ),  # a tunnel
        asked(cookie=COOKIE, host="[::1]:9000"),
    ],
)
def test_the_artists_own_browser_passes(request_):
    assert refusal(request_, SECRET) is None


@pytest.mark.parametrize(
    "request_",
    [
        asked(),
        asked(query="token=wrong"),
        asked(query="token="),
        asked(authorization="Bearer wrong"),
        asked(authorization="Basic right-token"),
        asked(authorization="Bearer right-token", origin=f"http://{HOST}", websocket=True),
        asked(cookie="fedroto_desk_1=right-toke"),
        asked(cookie="fedroto_desk_2=right-token"),
        asked(cookie="fedroto_desk_1=é"),
        asked(cookie=COOKIE, host="evil.example"),
        asked(cookie=COOKIE, host="127.0.0.1.evil.example:8123"),
        asked(cookie=COOKIE, host="evil.example:127.0.0.1"),
        asked(cookie=COOKIE, host=""),
        asked(cookie=COOKIE, origin="http://evil.example"),
        asked(cookie=COOKIE, origin="null"),
        asked(cookie=COOKIE, origin=f"http://{HOST}.evil.example"),
        asked(cookie=COOKIE, origin="http://127.0.0.1:9999", websocket=True),  # another local page
        asked(cookie=COOKIE, websocket=True),  # no origin: not a page
        asked("POST", cookie=COOKIE),
        asked(
            query="token=right-token", origin=f"http://{HOST}", websocket=True
        ),  # the cookie alone opens it
    ],
)
def test_anybody_else_is_refused_with_a_sentence(request_):
    status, why = refusal(request_, SECRET)
    assert status in (403, 421)
    assert "right-token" not in why


def test_the_cookie_is_for_no_script_and_no_other_site():
    cookie = Secret.new("desk").set_cookie()
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert Secret.new("desk").token != Secret.new("desk").token


def test_the_page_may_load_nothing_from_outside():
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
