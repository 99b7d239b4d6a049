"""The fleet proxy as an ASGI application, in front of an upstream in memory."""

import asyncio

import httpx
import pytest

from aggregator.fleet_proxy import FLEET_CALLS, ROUTES, FleetProxy, ProxyLimits
from aggregator.request_rate import RequestRate

PULL = "/v1/fleet/pull-messages"


class Upstream:
    """Remembers what reached it."""

    def __init__(self, status=200, body=b"answer", headers=None, error=None):
        self.seen = []
        self.answer = (status, body, headers or {})
        self.error = error
        self.hold = None

    async def __call__(self, request):
        self.seen.append(request)
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        status, body, headers = self.answer
        return httpx.Response(status, content=body, headers=headers)


def proxy_of(upstream, **limits):
    client = httpx.AsyncClient(transport=httpx.MockTransport(upstream), base_url="https://superlink")
    return FleetProxy(client, ProxyLimits(**limits))


async def ask(proxy, method, path, *, parts=(b"body",), headers=(), client=("10.0.0.1", 5000), query=b""):
    """Send one request as an ASGI server would; returns status, headers, body."""
    queue = list(parts)
    sent = []

    async def receive():
        if not queue:
            return {"type": "http.disconnect"}
        part = queue.pop(0)
        if part is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": part, "more_body": bool(queue)}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": list(headers),
        "client": client,
    }
    await proxy(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def ask_once(proxy, method, path, **options):
    return asyncio.run(ask(proxy, method, path, **options))


@pytest.mark.parametrize("call", FLEET_CALLS)
def test_node_calls_reach_the_superlink(call):
    upstream = Upstream()
    assert ask_once(proxy_of(upstream), "POST", f"/v1/fleet/{call}")[::2] == (200, b"answer")
    assert str(upstream.seen[0].url) == f"https://superlink/v1/fleet/{call}"
    assert upstream.seen[0].content == b"body"


def test_the_list_of_routes_is_exactly_what_a_node_needs():
    assert {(method, path.decode()) for method, path in ROUTES} == {
        ("GET", "/health"),
        ("POST", "/v1/fleet/activate-node"),
        ("POST", "/v1/fleet/deactivate-node"),
        ("POST", "/v1/fleet/send-node-heartbeat"),
        ("POST", "/v1/fleet/pull-messages"),
        ("POST", "/v1/fleet/push-messages"),
        ("POST", "/v1/fleet/get-run"),
        ("POST", "/v1/fleet/get-fab"),
        ("POST", "/v1/fleet/push-object"),
        ("POST", "/v1/fleet/pull-object"),
        ("POST", "/v1/fleet/confirm-message-received"),
    }


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", PULL, b""),
        ("PUT", PULL, b""),
        ("POST", PULL + "/", b""),
        ("POST", PULL, b"a=1"),
        ("POST", "/v1/fleet/PULL-MESSAGES", b""),
        ("POST", "/v1/fleet/pull%2dmessages", b""),
        ("POST", "//v1/fleet/pull-messages", b""),
        ("POST", "/v1/fleet/../control/list-runs", b""),
        ("POST", "https://superlink/v1/fleet/pull-messages", b""),
        ("POST", "/v1/fleet/register-node", b""),
        ("POST", "/v1/control/start-run", b""),
        ("POST", "/v1/runtime/acquire-task", b""),
        ("GET", "/docs", b""),
        ("GET", "/openapi.json", b""),
        ("HEAD", "/health", b""),
    ],
)
def test_everything_else_is_404_and_never_reaches_the_superlink(method, path, query):
    upstream = Upstream()
    assert ask_once(proxy_of(upstream), method, path, query=query)[0] == 404
    assert upstream.seen == []


def test_only_the_headers_that_a_node_needs_are_forwarded():
    upstream = Upstream(headers={"content-type": "application/x-protobuf", "set-cookie": "a", "server": "b"})
    kept = [(b"flwr-signature", b"s"), (b"flwr-public-key", b"k"), (b"flwr-timestamp", b"t")]
    dropped = [
        (b"flwr-task-token", b"x"),
        (b"cookie", b"x"),
        (b"authorization", b"x"),
        (b"x-forwarded-for", b"x"),
    ]
    _, headers, _ = ask_once(proxy_of(upstream), "POST", PULL, headers=kept + dropped)
    seen = upstream.seen[0].headers
    assert [(name, seen[name.decode()].encode()) for name, _ in kept] == kept
    assert not any(name.decode() in seen for name, _ in dropped)
    assert headers == {b"content-type": b"application/x-protobuf", b"content-length": b"6"}


@pytest.mark.parametrize("status", [200, 401, 403, 404, 415, 500])
def test_what_the_superlink_says_is_passed_on(status):
    assert ask_once(proxy_of(Upstream(status)), "POST", PULL)[0] == status


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("down"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut")]
)
def test_a_superlink_that_is_away_is_502(error):
    assert ask_once(proxy_of(Upstream(error=error)), "POST", PULL)[0] == 502
    assert ask_once(proxy_of(Upstream(error=error)), "GET", "/health")[0] == 502


def test_a_body_declared_too_long_is_refused_unread():
    upstream = Upstream()
    proxy = proxy_of(upstream, body_bytes_max=10)
    headers = [(b"content-length", b"11")]
    assert ask_once(proxy, "POST", PULL, headers=headers, parts=(None,))[0] == 413
    assert ask_once(proxy, "POST", PULL, headers=[(b"content-length", b"-1")])[0] == 413
    assert upstream.seen == []


def test_a_body_that_grows_too_long_is_refused_while_it_is_read():
    upstream = Upstream()
    proxy = proxy_of(upstream, body_bytes_max=10, body_timeout_s=1)
    assert ask_once(proxy, "POST", PULL, parts=(b"12345", b"67890", b"1", None))[0] == 413
    assert ask_once(proxy, "POST", PULL, parts=(b"12345", b"67890"))[0] == 200
    assert len(upstream.seen) == 1


def test_a_body_that_never_ends_is_given_up():
    upstream = Upstream()
    proxy = proxy_of(upstream, body_timeout_s=0.05)
    assert ask_once(proxy, "POST", PULL, parts=(b"1", None, b"2"))[0] == 503
    assert upstream.seen == []


def test_a_connection_beyond_its_rate_is_told_to_try_again_and_others_are_not():
    upstream = Upstream()
    proxy = proxy_of(upstream, requests_burst=3, requests_per_s=0.001)

    async def many():
        greedy = [(await ask(proxy, "POST", PULL))[0] for _ in range(5)]
        other = (await ask(proxy, "POST", PULL, client=("10.0.0.1", 5001)))[0]
        return greedy, other

    assert asyncio.run(many()) == ([200, 200, 200, 503, 503], 200)


def test_the_default_rate_lets_a_message_of_hundreds_of_objects_through():
    rate = RequestRate(ProxyLimits().requests_burst, ProxyLimits().requests_per_s)
    assert all(rate.allows("studio", now=0.0) for _ in range(500))


def test_a_bucket_fills_again_with_time_and_never_over_its_burst():
    rate = RequestRate(burst=2, per_s=1.0)
    assert [rate.allows("a", 0.0) for _ in range(3)] == [True, True, False]
    assert [rate.allows("a", 1.0), rate.allows("a", 1.0)] == [True, False]
    assert [rate.allows("a", 100.0) for _ in range(3)] == [True, True, False]


def test_buckets_do_not_pile_up():
    rate = RequestRate(burst=1, per_s=0.0, callers_max=10)
    for port in range(100):
        rate.allows(("10.0.0.1", port), 0.0)
    assert len(rate._buckets) == 10


def test_one_host_cannot_take_all_places():
    upstream = Upstream()
    proxy = proxy_of(upstream, requests_at_once_per_host=2)

    async def crowd():
        upstream.hold = asyncio.Event()
        waiting = [asyncio.create_task(ask(proxy, "POST", PULL, client=("10.0.0.1", p))) for p in (1, 2)]
        while len(upstream.seen) < 2:
            await asyncio.sleep(0)
        third = (await ask(proxy, "POST", PULL, client=("10.0.0.1", 3)))[0]
        other = asyncio.create_task(ask(proxy, "POST", PULL, client=("10.0.0.2", 1)))
        while len(upstream.seen) < 3:
            await asyncio.sleep(0)
        upstream.hold.set()
        statuses = [(await task)[0] for task in (*waiting, other)]
        return third, statuses, (await ask(proxy, "POST", PULL))[0]

    assert asyncio.run(crowd()) == (503, [200, 200, 200], 200)


def test_the_proxy_itself_never_says_401_or_403():
    upstream = Upstream()
    proxy = proxy_of(upstream, body_bytes_max=1, requests_burst=1)
    statuses = {
        ask_once(proxy, method, path, client=("10.0.0.1", port))[0]
        for port, (method, path) in enumerate(
            [("POST", PULL), ("POST", PULL), ("GET", "/"), ("POST", "/v1/control/start-run")]
        )
    }
    assert statuses <= {404, 413, 503}


def test_a_websocket_is_closed():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(proxy_of(Upstream())({"type": "websocket"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
