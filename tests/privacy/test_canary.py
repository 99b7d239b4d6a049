"""The bytes on the wire between uplinks and SuperLink, decrypted: no picture, no name, no path, and nothing unnamed.

One real round's traffic is taken off by a relay that ends TLS with the federation's own certificate
(``tests/end_to_end/wire_recorder.py``), then searched for everything that a studio keeps: its plates as pixels and as
files, its shapes, its training windows, its names and folders.
"""

import base64
import hashlib
import re
import zlib

import numpy as np
import pytest
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2, run_pb2
from flwr.proto.fab_pb2 import GetFabRequest
from google.protobuf.message import Message as Proto
from real_federation import CANARY, STUDIOS, canary_picture
from safetensors.numpy import load_file

from federation.flower.objects import IncomingMessage
from federation.messages import SignedUpdate, encode_reply
from federation.records import read_reply
from model.formats import nuke
from studio_node.egress import decode_reply
from studio_node.pictures import read_pixels
from studio_node.plates import PlateSequence

pytestmark = pytest.mark.timeout(900)
PIXELS = 12  # of a row: enough bytes that none is found by chance
CALLS = {
    "activate-node": fleet_pb2.ActivateNodeRequest,
    "deactivate-node": fleet_pb2.DeactivateNodeRequest,
    "send-node-heartbeat": heartbeat_pb2.SendNodeHeartbeatRequest,
    "pull-messages": fleet_pb2.PullMessagesRequest,
    "push-messages": fleet_pb2.PushMessagesRequest,
    "get-run": run_pb2.GetRunRequest,
    "get-fab": GetFabRequest,
    "push-object": message_pb2.PushObjectRequest,
    "pull-object": message_pb2.PullObjectRequest,
    "confirm-message-received": message_pb2.ConfirmMessageReceivedRequest,
}
HEADERS = {
    "host", "accept", "accept-encoding", "connection", "user-agent", "content-type", "content-length",
    "flwr-public-key", "flwr-signature", "flwr-timestamp", "flwr-package-name", "flwr-package-version",
    "flwr-component-name",
}  # fmt: skip


@pytest.fixture(scope="module")
def sent(real_federation):
    """All that studios sent, decrypted."""
    return b"".join(bytes(one.sent) for one in real_federation.recorder.connections)


@pytest.fixture(scope="module")
def answered(real_federation):
    """All that they were answered: plans, instructions, weights, the app bundle."""
    return b"".join(bytes(one.answered) for one in real_federation.recorder.connections)


@pytest.fixture(scope="module")
def calls(real_federation):
    """Every call that a studio made: its name and its protobuf."""
    found = []
    for request in real_federation.recorder.requests():
        name = request.path.removeprefix("/v1/fleet/")
        proto = CALLS[name]()
        proto.ParseFromString(request.body)
        found.append((name, proto))
    return found


PRODUCT_NAMES = ("plate.10", "shapes.nk", "catalogue.sqlite", "studio.toml", "ledger.sqlite")
"""Names of files that a studio has; the coordinator's app bundle, which it is sent, may say them, too."""


def names(federation):
    """What a studio calls things, and where it keeps them."""
    shots = federation.shots("alder")
    yield from (CANARY, CANARY.upper(), f"{CANARY}_hero", str(federation.root), str(shots[0]))
    yield from (path.name for path in shots)
    yield from PRODUCT_NAMES


def rows(array, count=6):
    """A few runs of pixels out of a picture [H, W, C]."""
    height, width = array.shape[:2]
    for row in np.linspace(1, height - 2, count).astype(int):
        column = int(row * 7 % (width - PIXELS))
        yield array[row, column : column + PIXELS]


def pixel_secrets(federation):
    """The plates of every studio, canary picture first, in each form that the product has them in."""
    yield from (row for row in rows(canary_picture()))
    yield from (row.astype(np.float16) for row in rows(canary_picture()))
    for studio in STUDIOS:
        for shot in federation.shots(studio):
            plates = sorted(shot.glob("plate.*.exr"))
            sequence = PlateSequence.open(shot)
            for plate, frame in ((plates[0], sequence.first_frame), (plates[-1], sequence.last_frame)):
                linear = read_pixels(plate)[1][:40, :40]
                working = sequence.working(frame)[:40, :40]
                for picture in (linear, linear.astype(np.float16), working, working / np.float32(255)):
                    yield from rows(picture, 3)
                    yield from rows(picture[..., 1:2], 3)


def other_secrets(federation):
    """Plate files as they are, shapes, and training windows."""
    for studio in STUDIOS:
        for shot in federation.shots(studio):
            data = (shot / "plate.1001.exr").read_bytes()
            yield from (np.frombuffer(data[at : at + 24], np.uint8) for at in range(600, 3000, 600))
            for shape in nuke.loads((shot / "shapes.nk").read_bytes(), height=96).shapes.shapes:
                for key in shape.controls[:3]:
                    yield key[:2, 1]
                    yield key[:2, 1].astype(np.float32)
        for pack in (federation.home(studio) / "packs").glob("*.safetensors"):
            for tensor in load_file(pack).values():
                flat = tensor.ravel()
                yield from (flat[at : at + 8] for at in range(0, flat.size - 8, max(8, flat.size // 3)))


def secrets(federation):
    """Everything to look for, as bytes under a description; what is too plain to tell from chance is left out."""
    for name in names(federation):
        yield name, name.encode()
    for kind, arrays in (("pixels", pixel_secrets(federation)), ("data", other_secrets(federation))):
        for array in arrays:
            data = np.ascontiguousarray(array).tobytes()
            if len(data) >= 12 and len(set(data)) >= 6:
                yield f"{kind} {array.dtype}", data


def forms_of_a_name(name):
    """The ways in which a name could stand in other bytes, beside plainly."""
    yield from (name, name[::-1], name.decode().encode("utf-16-le"))
    for digest in (hashlib.sha256(name), hashlib.md5(name), hashlib.sha1(name)):
        yield digest.digest()
        yield digest.hexdigest().encode()


def unpacked(data, depth=2):
    """Whatever zlib, gzip, hexadecimal and base64 make of the data, wherever they could begin."""
    if depth == 0:
        return
    for out in (*inflated(data), *decoded(data)):
        yield out
        yield from unpacked(out, depth - 1)


def inflated(data):
    for start in re.finditer(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08", data):
        stream = zlib.decompressobj(wbits=47)
        try:
            out = stream.decompress(data[start.start() : start.start() + (1 << 22)], 1 << 24)
        except zlib.error:
            continue
        if len(out) >= 8:
            yield out


def decoded(data):
    for run in re.findall(rb"[A-Za-z0-9+/_-]{10,}", data):
        text = run.replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):
            yield base64.b64decode(text[start:] + b"A" * ((start - len(text)) % 4))
        for digits in re.findall(rb"[0-9A-Fa-f]{16,}", run):
            for start in range(2):
                yield bytes.fromhex(digits[start : start + (len(digits) - start) // 2 * 2].decode())


def leaks(data, wanted):
    """Descriptions of the secrets that are found in the data."""
    everything = bytes(9).join([data, *unpacked(data)])
    found = set()
    for what, secret in wanted:
        forms = [secret] if what.startswith(("pixels ", "data ")) else forms_of_a_name(secret)
        if any(form in everything for form in forms):
            found.add(what)
    return found


def test_nothing_of_a_studios_material_is_on_the_wire(real_federation, sent, answered):
    wanted = list(secrets(real_federation))
    assert len(wanted) > 300
    assert leaks(sent, wanted) == set()
    assert leaks(answered, [one for one in wanted if one[0] not in PRODUCT_NAMES]) == set()


@pytest.mark.parametrize(
    "form",
    [
        lambda secret: secret,
        lambda secret: b"at " + secret + b": no such file",
        lambda secret: secret.hex().encode(),
        lambda secret: base64.b64encode(b"x" + secret + b"yz"),
        lambda secret: base64.urlsafe_b64encode(secret),
        lambda secret: zlib.compress(b"some of " + secret + bytes(50)),
        lambda secret: zlib.compress(secret * 3, wbits=31),
        lambda secret: base64.b64encode(zlib.compress(b"a picture" + secret)),
    ],
)
def test_the_search_finds_each_kind_of_secret_in_each_form_that_is_planted(real_federation, sent, form):
    wanted = list(secrets(real_federation))
    kinds = {what: secret for what, secret in reversed(wanted)}
    assert {"pixels uint8", "pixels float16", "pixels float32", "data float32", "data float64"} <= set(kinds)
    some = sent[: 1 << 16]
    for what, secret in kinds.items():
        assert what in leaks(some + form(secret) + some, [(what, secret)]), what


def test_the_search_finds_a_canary_picture_that_is_sent_as_the_product_would(real_federation, sent):
    """A row of the working image as the trackers see it, and as the network sees it."""
    (shot, *_) = real_federation.shots("alder")
    sequence = PlateSequence.open(shot)
    working = sequence.working(sequence.first_frame)
    wanted = list(secrets(real_federation))
    for leaked in (working, working / np.float32(255), read_pixels(sorted(shot.glob("plate.*.exr"))[0])[1]):
        assert leaks(sent[:4096] + np.ascontiguousarray(leaked).tobytes(), wanted)


def test_the_recording_is_the_decrypted_wire(real_federation, sent):
    assert b"POST /v1/fleet/push-object HTTP/1.1" in sent
    for studio in STUDIOS:
        folder = real_federation.coordinator / "campaigns" / "first" / "round_0001"
        update = decode_reply((folder / f"update_{studio}.frame").read_bytes()).update
        assert update.tobytes() in sent


def test_only_a_nodes_calls_are_made_with_known_headers_and_fields(real_federation, calls):
    for request in real_federation.recorder.requests():
        assert request.method == "POST"
        assert set(request.headers) <= HEADERS
    for name, proto in calls:
        again = CALLS[name]()
        again.CopyFrom(proto)
        again.DiscardUnknownFields()
        assert again == proto
        for text in texts(proto):
            assert re.fullmatch(r"[0-9a-f]{64}|[0-9a-f-]{36}|[0-9]{1,20}|train|", text), (name, text)


def texts(proto: Proto):
    """Every text of a message and of the messages in it; an object's content has its own tests."""
    for descriptor, value in proto.ListFields():
        values = value if descriptor.is_repeated else [value]
        for one in values:
            if isinstance(one, Proto):
                yield from texts(one)
            elif isinstance(one, str):
                yield one


def sent_messages(calls):
    """Each reply that was announced, built from the objects that were uploaded for it, and their bytes."""
    objects = {proto.object_id: proto.object_content for name, proto in calls if name == "push-object"}
    for name, proto in calls:
        if name == "push-messages":
            (announced,), (tree,) = proto.messages_list, proto.message_object_trees
            assert list(proto.clientapp_runtime_list) == [0.0]  # how long training took is nobody's business
            incoming = IncomingMessage(announced, tree)
            assert incoming.fetch(objects.__getitem__)
            yield incoming.build(), proto


def test_a_reply_holds_the_update_the_plan_id_and_the_ledger_head_and_nothing_else(real_federation, calls):
    replies = [message for message, _ in sent_messages(calls)]
    updates = [reply.content for one in replies if isinstance(reply := read_reply(one.content), SignedUpdate)]
    rounds = (real_federation.coordinator / "campaigns" / "first").glob("round_000[12]")
    frames = [path for folder in rounds for path in folder.glob("update_*.frame")]
    assert len(frames) == 2 * len(STUDIOS)
    for frame in frames:
        taken = decode_reply(frame.read_bytes())
        (sent,) = [one for one in updates if one.update.tobytes() == taken.update.tobytes()]
        assert (sent.plan_digest, sent.ledger_sequence, sent.ledger_hash) == (
            taken.plan_digest, taken.ledger_sequence, taken.ledger_hash,
        )  # fmt: skip
    for message in replies:
        assert not message.has_error()
        assert message.metadata.message_type == "train"
        assert re.fullmatch(r"[0-9]+", message.metadata.group_id)
        keys = {name: set(record) for name, record in message.content.items()}
        signed = isinstance(reply := read_reply(message.content), SignedUpdate)
        assert keys == {"0": {"piece", "signature"} if signed else {"piece"}}
        assert message.content["0"]["piece"] == encode_reply(reply.content if signed else reply)


def uploaded(calls):
    """Bytes of each uploaded object by its name."""
    return {proto.object_id: len(proto.object_content) for name, proto in calls if name == "push-object"}


def names_in(tree):
    yield tree.object_id
    for child in tree.children:
        yield from names_in(child)


def test_a_reply_has_room_for_its_update_and_little_else(calls):
    sizes, belonging = uploaded(calls), set()
    for message, announced in sent_messages(calls):
        reply = read_reply(message.content)
        array = reply.content.update.nbytes if isinstance(reply, SignedUpdate) else 0
        objects = list(names_in(announced.message_object_trees[0]))
        assert array <= sum(sizes[name] for name in objects) < array + 2048
        belonging |= set(objects)
    assert belonging == set(sizes)  # no object was uploaded that belongs to no reply


def test_the_size_of_an_update_depends_neither_on_the_studio_nor_on_the_round(calls):
    sizes = uploaded(calls)
    totals = [
        sum(sizes[name] for name in names_in(announced.message_object_trees[0])) + announced.ByteSize()
        for message, announced in sent_messages(calls)
        if isinstance(read_reply(message.content), SignedUpdate)
    ]
    assert len(totals) >= 2 * len(STUDIOS)
    assert max(totals) - min(totals) <= 16  # numbers have more or fewer digits
