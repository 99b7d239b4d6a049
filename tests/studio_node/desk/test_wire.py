import struct

import numpy as np
import pytest

from federation.errors import MessageError
from studio_node.desk.wire import HEAD_BYTES_MAX, decode, encode


def test_a_message_comes_back():
    head, numbers = decode(encode({"op": "drag", "text": "é"}, [1.5, -2.0], [[3.0]]))
    assert head == {"op": "drag", "text": "é"}
    np.testing.assert_array_equal(numbers, [1.5, -2.0, 3.0])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        struct.pack("<I", 4) + b"null",
        struct.pack("<I", 2**31) + b"{}  ",
        struct.pack("<I", 4) + b"{}  ",
        struct.pack("<I", 12) + b'{"op":"a"}  ' + b"\x00" * 3,
        struct.pack("<I", 12) + b'{"op":"a"  ',
        struct.pack("<I", 8) + b'{"op":1}',
        encode({"op": "x", "pad": "y" * HEAD_BYTES_MAX}),
        encode({"op": "x"}, [float("nan")]),
        encode({"op": "x"}, [3e6]),
        struct.pack("<I", 9000) + b"[" * 9000,
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(MessageError):
        decode(data)
