"""A studio's replies leave on its own schedule, whatever became of the question."""

import select
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from studio_under_test import StudioUnderTest

from federation.errors import RefusalCode
from federation.messages import TrainRefusal, TrainUpdate, encode_request
from studio_node.egress import EgressDoor, decode_reply
from studio_node.egress_log import EGRESS_LOG, EgressLog
from studio_node.reply_schedule import ReplySchedule
from studio_node.runner import serve_one

EVERY_S = 3600


@pytest.fixture
def studio(tmp_path) -> StudioUnderTest:
    return StudioUnderTest.made(tmp_path / "studio", {"kelp": 2}, reply_every_s=EVERY_S)


def served(studio, data: bytes) -> tuple[list[float], bytes]:
    """Serve one question; returns how long the reply was held, during which nothing may be on the line, and it."""
    uplink, runner = socket.socketpair()
    held = []

    def sleep(seconds: float) -> None:
        held.append(seconds)
        assert not select.select([uplink], [], [], 0)[0]

    def serve() -> None:
        door = EgressDoor(EgressLog(studio.home / EGRESS_LOG))
        rounds = studio.rounds()
        serve_one(runner, rounds, door, rounds._journal, ReplySchedule(studio.home, sleep=sleep))
        runner.shutdown(socket.SHUT_WR)

    with uplink, runner, ThreadPoolExecutor() as pool:
        uplink.settimeout(60)
        serving = pool.submit(serve)
        uplink.sendall(data)
        uplink.shutdown(socket.SHUT_WR)
        frame = b"".join(iter(lambda: uplink.recv(1 << 20), b""))
        serving.result()
    return held, frame


def test_updates_replays_refusals_and_nonsense_all_wait_for_the_same_moment(studio):
    plan = studio.plan()
    asked = encode_request(studio.request(1, plan))
    trained, first = served(studio, asked)
    replayed, again = served(studio, asked)
    refused, refusal = served(studio, encode_request(studio.request(1, plan, studio="beta")))
    malformed, nonsense = served(studio, b"\x00" * 64)
    assert isinstance(decode_reply(first), TrainUpdate)
    assert again == first
    assert decode_reply(refusal) == TrainRefusal(RefusalCode.NOT_FOR_THIS_STUDIO)
    assert decode_reply(nonsense) == TrainRefusal(RefusalCode.MALFORMED)
    for held in (trained, replayed, refused, malformed):
        assert len(held) == 1
        assert 0 < held[0] <= EVERY_S


def test_a_round_that_takes_longer_leaves_at_the_next_multiple_and_without_a_schedule_at_once(
    studio, tmp_path
):
    held = []
    schedule = ReplySchedule(studio.home, sleep=held.append)
    schedule.wait(10.0)
    schedule.wait(EVERY_S + 600.0)
    assert held == [EVERY_S - 10.0, EVERY_S - 600.0]
    plain = StudioUnderTest.made(tmp_path / "plain", {"kelp": 1})
    ReplySchedule(plain.home, sleep=held.append).wait(10.0)
    assert len(held) == 2
