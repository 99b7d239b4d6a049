"""What crosses the socket towards the network: an image canary, a path and a shot's name must not be in it."""

import base64
import socket
import threading

import numpy as np
import pytest

from federation.documents import digest
from federation.errors import RefusalCode
from federation.journal import Journal
from federation.messages import TrainRefusal, TrainUpdate, encode_request, read_reply
from studio_node import local_round
from studio_node.egress import EgressDoor
from studio_node.egress_log import EGRESS_LOG, EgressLog, read_log
from studio_node.reply_schedule import ReplySchedule
from studio_node.runner import serve_one

CANARY = 0.7312451
SHOW, SHOT = "canaryshow", "canaryshot_0042"
SECRETS = [SHOW, SHOT, "/plates/secret", "roto.nk", "packs/", ".safetensors"]


@pytest.fixture
def studio(tmp_path):
    from studio_under_test import StudioUnderTest, window

    studio = StudioUnderTest.made(tmp_path / "studio", {"kelp": 2})
    studio.consent(SHOW, True)
    studio.add_shot(SHOW, SHOT, [window(n, canary=CANARY) for n in range(3)])
    return studio


class Wire:
    """A socket pair with the runner's own loop at one end; keeps every byte that comes out."""

    def __init__(self, studio) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(60)
        self.bytes_out = b""
        door = EgressDoor(EgressLog(studio.home / EGRESS_LOG))
        rounds, journal, schedule = studio.rounds(), Journal(None, "runner"), ReplySchedule(studio.home)

        def serve() -> None:
            with theirs:
                while serve_one(theirs, rounds, door, journal, schedule):
                    pass

        self._thread = threading.Thread(target=serve, daemon=True)
        self._thread.start()

    def ask(self, request):
        start = len(self.bytes_out)
        self.ours.sendall(request if isinstance(request, bytes) else encode_request(request))
        reply = read_reply(self._read)
        return reply, self.bytes_out[start:]

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.ours.recv(count - len(data))
            assert part
            data += part
        self.bytes_out += data
        return data

    def finish(self) -> bytes:
        """Close our side and return all that came, to the last byte."""
        self.ours.shutdown(socket.SHUT_WR)
        while part := self.ours.recv(4096):
            self.bytes_out += part
        self._thread.join(timeout=20)
        return self.bytes_out


def spellings(secret: bytes):
    """The ways in which bytes could hide in other bytes."""
    yield secret
    yield secret[::-1]
    yield secret.hex().encode()
    yield digest(secret).encode()
    yield bytes.fromhex(digest(secret))
    for shift in range(3):  # base64 has three phases
        yield base64.b64encode(bytes(shift) + secret)[4:-4] or secret


def assert_clean(data: bytes) -> None:
    for secret in SECRETS:
        for spelling in (*spellings(secret.encode()), secret.encode("utf-16-le"), secret.encode("utf-32-le")):
            assert spelling not in data, secret
    for value in (np.float32(CANARY), np.float64(CANARY), np.float16(CANARY)):
        block = np.full(2, value).tobytes()
        for spelling in spellings(block):
            assert spelling not in data
    assert np.uint8(round(CANARY * 255)).tobytes() * 16 not in data


def test_the_search_would_find_a_canary():
    for leak in (
        SHOT.encode(),
        np.full(9, CANARY, np.float32).tobytes(),
        b"at /plates/secret/0001.exr: no such file",
    ):
        with pytest.raises(AssertionError):
            assert_clean(bytes(100) + leak + bytes(7))


def test_no_secret_crosses_the_socket_in_updates_or_refusals(studio, monkeypatch):
    wire = Wire(studio)
    plan = studio.plan(privacy_sample_rate=1.0, privacy_windows_per_shot=3)
    sizes = set()
    for server_round in (1, 1, 2):  # trained, sent again, trained
        reply, data = wire.ask(studio.request(server_round, plan))
        assert isinstance(reply, TrainUpdate)
        sizes.add(len(data))
    assert len(sizes) == 1  # whatever was drawn, the size is the same
    refused, _ = wire.ask(studio.request(studio="beta"))
    assert refused == TrainRefusal(RefusalCode.NOT_FOR_THIS_STUDIO)

    def crash(*_, **__):
        raise RuntimeError(f"{SHOT} at /plates/secret/0001.exr: no such file")

    monkeypatch.setattr(local_round, "train_update", crash)
    internal, data = wire.ask(studio.request(3, plan))
    assert internal == TrainRefusal(RefusalCode.INTERNAL)
    assert len(data) == 11
    assert SHOT in studio.journal()  # the text is at home, where it belongs
    studio.consent(SHOW, False)
    studio.consent("kelp", False)
    assert wire.ask(studio.request(4, plan))[0] == TrainRefusal(RefusalCode.NO_CONSENT)
    assert wire.ask(b"FRTO" + bytes(60))[0] == TrainRefusal(RefusalCode.MALFORMED)
    everything = wire.finish()
    assert_clean(everything)
    history = read_log(studio.home)
    assert history.size_bytes == len(everything)  # the log accounts for every byte
    assert_clean((studio.home / EGRESS_LOG).read_bytes())


def test_an_update_is_no_function_of_one_shot_that_anybody_could_read_off(studio):
    """With one shot in the batch at the plan's noise, the update hides the direction of its gradient."""
    wire = Wire(studio)
    plan = studio.plan(privacy_sample_rate=1.0, privacy_windows_per_shot=3)
    first, _ = wire.ask(studio.request(1, plan))
    second, _ = wire.ask(studio.request(2, plan))
    wire.finish()
    a, b = first.update.astype(np.float64), second.update.astype(np.float64)
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    assert abs(cosine) < 0.05  # the same shots, the same weights: without noise it would be near 1
