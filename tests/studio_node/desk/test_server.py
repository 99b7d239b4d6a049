"""What the server sends: one at a time to each page, and a broken line is closed instead of left silent."""

import asyncio

from studio_node.desk.server import Pages


class Line:
    """A page's line that breaks, as a real one does, when two send at once; or when it is told to."""

    def __init__(self, breaks=False):
        self.sent, self.closed, self._busy, self._breaks = [], False, False, breaks

    async def send_bytes(self, data):
        if self._busy or self._breaks:
            raise RuntimeError("the line is broken")
        self._busy = True
        await asyncio.sleep(0)
        self._busy = False
        self.sent.append(data)

    async def close(self):
        self.closed = True


def test_messages_of_two_senders_neither_meet_nor_mix():
    async def both():
        pages, line = Pages(), Line()
        with pages.opened(line):
            await asyncio.gather(pages.send(line, [b"1", b"2"]), pages.tell_all([b"3", b"4"]))
        return line

    line = asyncio.run(both())
    assert line.sent == [b"1", b"2", b"3", b"4"]
    assert not line.closed


def test_a_broken_line_is_closed_and_the_others_are_told():
    async def tell():
        pages, broken, whole = Pages(), Line(breaks=True), Line()
        with pages.opened(broken), pages.opened(whole):
            await pages.tell_all([b"news"])
            await pages.tell_all([b"more"])
        return broken, whole

    broken, whole = asyncio.run(tell())
    assert broken.closed
    assert whole.sent == [b"news", b"more"]
