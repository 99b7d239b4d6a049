"""The desk as a process: who may reach it, what it saves, and what a kill leaves behind."""

import http.client
import json
import socket

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from model.formats import nuke, roto_json, silhouette
from studio_node.desk.wire import decode, encode
from tests.pages.running_page import running_desk


@pytest.fixture(scope="module")
def shot(made_once):
    return made_once[0]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("desk") / "work"


@pytest.fixture(scope="module")
def desk(shot, work, small_weights):
    with running_desk(shot, work, small_weights) as running:
        running.cookie = get(running, f"/?token={running.token}").headers["Set-Cookie"].split(";")[0]
        yield running


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()


def get(desk, path, method="GET", **headers):
    line = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=20)
    line.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        line.putheader(name, value)
    line.endheaders()
    answer = Answer(line.getresponse())
    line.close()
    return answer


def page(desk, **headers):
    origin = headers.pop("origin", f"http://127.0.0.1:{desk.port}")
    asked = {"Cookie": getattr(desk, "cookie", ""), **headers}
    return connect(
        f"ws://127.0.0.1:{desk.port}/desk", origin=origin, additional_headers=asked, max_size=None, proxy=None
    )


def told(socket, op):
    """The next message of a kind."""
    while True:
        head, numbers = decode(socket.recv(timeout=20))
        if head["op"] in (op, "refused"):
            return head, numbers


def drain(socket):
    while True:
        socket.recv(timeout=20)


def test_only_the_loopback_listens(desk):
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in others - {"127.0.0.1"}:
        with pytest.raises(OSError):  # noqa: PT011 (refused or unreachable, both are right)
            socket.create_connection((address, desk.port), timeout=1)


def test_nothing_is_served_without_the_token(desk):
    for path in ("/", "/main.js", "/frame/1001.jpg", "/export/x.nk", "/nothing"):
        assert get(desk, path).status == 403
        assert get(desk, path, Host="evil.example", Cookie=desk.cookie).status == 421
    assert get(desk, "/", Cookie=desk.cookie, Origin="http://evil.example").status == 403
    assert get(desk, "/", "POST", Cookie=desk.cookie, **{"Content-Length": "0"}).status == 403


def test_the_page_comes_with_its_policy_and_the_token_only_as_a_cookie(desk):
    answer = get(desk, "/", Cookie=desk.cookie)
    assert answer.status == 200
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert desk.token.encode() not in answer.body
    assert b"//" not in answer.body.replace(b"<!doctype html>", b""), "nothing from outside"


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/opening.py",
        "/../opening.py",
        "//etc/passwd",
        "/static/../opening.py",
        "/export/..%2fdocument.json",
        "/export/../document.json",
        "/export/%2fetc%2fpasswd",
        "/frame/..%2f..%2fdocument.json",
        "/frame/1001.jpg%00.png",
        "/frame/-1.jpg",
        "/frame/99999999999999999999.jpg",
        "/index.html%00",
        "/document.json",
    ],
)
def test_no_path_leads_out_of_the_page(desk, path):
    answer = get(desk, path, Cookie=desk.cookie)
    assert answer.status in (404, 405, 422)
    assert b"root:" not in answer.body
    assert b"schema" not in answer.body


def test_a_frame_is_a_jpeg_of_the_plate(desk, work):
    answer = get(desk, "/frame/1003.jpg", Cookie=desk.cookie)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert answer.body[:2] == b"\xff\xd8"
    assert (work / "proxies").stat().st_mode & 0o777 == 0o700
    assert get(desk, "/frame/5.jpg", Cookie=desk.cookie).status == 404


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example"}, {"origin": None}, {"Cookie": ""}, {"Cookie": "fedroto_desk=guess"}],
)
def test_the_websocket_is_for_the_page_alone(desk, headers):
    with pytest.raises(InvalidStatus), page(desk, **headers) as socket:
        socket.recv(timeout=5)


def test_a_malformed_message_is_answered_and_a_huge_one_ends_the_line(desk):
    with page(desk) as socket:
        told(socket, "state")
        socket.send(b"\xff\xff\xff\xff")
        assert told(socket, "refused")[0]["text"]
        for junk in ({"op": "look", "frame": "here"}, {"op": "export", "format": "nk", "shapes": [[1]]}):
            socket.send(encode(junk))
            assert told(socket, "refused")[0]["text"]
        socket.send(b"\0" * (1 << 23))
        with pytest.raises(ConnectionClosed):
            drain(socket)


def test_exports_are_what_other_programs_read(desk, shot, work):
    with page(desk) as socket:
        state, _ = told(socket, "state")
        while state["left"]:
            state, _ = told(socket, "state")
        for kind in ("nk", "fxs", "json", "png"):
            socket.send(encode({"op": "export", "format": kind}))
            done, _ = told(socket, "exported")
            assert done["op"] == "exported", done
            assert any("not in this file" in note for note in done["notes"]) == (kind in ("nk", "fxs"))
        socket.send(encode({"op": "export", "format": "../../x"}))
        assert "cannot be exported" in told(socket, "exported")[0]["text"]
    name = next((work / "exports").glob("*.nk")).stem
    script = get(desk, f"/export/{name}.nk", Cookie=desk.cookie).body
    original = shot.artist_file.read_bytes()
    assert script.startswith(original[:200])
    back = nuke.loads(script, height=56, width=72).shapes
    drawn = [shape for shape in back.shapes if "_fedroto" in shape.path]
    assert drawn
    assert {"artist", "predicted"} == set(drawn[0].key_sources)
    keys = [int(f) for f, who in zip(drawn[0].frames, drawn[0].key_sources, strict=True) if who == "artist"]
    assert keys == list(shot.artist_keys)
    whole = roto_json.loads((work / "exports" / f"{name}.json").read_text())
    np.testing.assert_allclose(whole.shapes[0].controls, drawn[0].controls, atol=1e-3)
    session = silhouette.loads((work / "exports" / f"{name}.fxs").read_bytes()).shapes.shapes[0]
    assert set(session.key_sources) == {"artist", "predicted"}
    for frame in (keys[0], keys[0] + 1):
        np.testing.assert_allclose(session.at(frame), drawn[0].at(frame), atol=1e-2)
    assert len(list((work / "exports" / f"{name}-mattes").glob("matte.*.png"))) == 9


def test_a_killed_server_loses_no_step(desk, shot, work, small_weights):
    with page(desk) as socket:
        told(socket, "state")
        for gesture, frame in enumerate((shot.first_frame + 1, shot.first_frame + 3), 1):
            head = {"op": "drag", "parts": [{"shape": 1, "points": [0]}], "part": 1, "gesture": gesture}
            socket.send(encode({**head, "frame": frame, "drop": True, "id": gesture}, [11.25, 7.5 * gesture]))
            assert told(socket, "done")[0]["op"] == "done"
        desk.kill()
    with running_desk(shot, work, small_weights) as again:
        assert again.facts["restored"]
        again.cookie = get(again, f"/?token={again.token}").headers["Set-Cookie"].split(";")[0]
        assert again.token != desk.token
        assert get(again, "/", Cookie=desk.cookie).status == 403
        with page(again) as socket:
            course, numbers = told(socket, "course")
            state, _ = told(socket, "state")
            assert set(state["shapes"][0]["keys"]) >= {shot.first_frame + 1, shot.first_frame + 3}
            shown = numbers[: course["frames"] * course["points"] * 6].reshape(course["frames"], -1, 3, 2)
            np.testing.assert_array_equal(shown[3, 0, 1], [11.25, 15.0])
            socket.send(encode({"op": "undo"}))
            while (
                shot.first_frame + 3 in state["shapes"][0]["keys"]
            ):  # states of finished predictions come too
                state, _ = told(socket, "state")
    assert again.process.returncode in (0, 130)
    assert again.token not in again.said
    assert "Traceback" not in again.said


def test_a_shape_file_is_never_written_to(shot, desk):
    assert json.dumps(shot.artist_file.stat().st_mode)  # still there
    assert b"_fedroto" not in shot.artist_file.read_bytes()
