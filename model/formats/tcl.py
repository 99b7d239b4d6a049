"""Nuke's script text as Tcl words and braces, over bytes, with the place of everything.

Two views of the same text. ``commands`` cuts a script (or a node's body) into commands of words without
looking into braces. ``nested`` reads the inside of a braced word as a tree of groups and atoms. Both run in
linear time, nest without recursion, and answer malformed text with a FormatError that names the line. Bytes
need not be UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from model.errors import FormatError

NESTING_MAX = 200  # real scripts nest about 20 deep; a layer adds one level
WARNINGS_MAX = 100
NAME_MAX = 500  # bytes of a node's, layer's or shape's name; paths repeat the names around them

_SPACE = re.compile(rb"(?:[ \t\r]|\\\r?\n)+")
# Runs of groups without groups inside, most of a script with keys, are one step. Possessive: no way back in.
_BRACE_STEP = re.compile(rb"(?:\{[^{}\\]*+\}\s*+)++|[{}]|\\.", re.DOTALL)
_QUOTE_STEP = re.compile(rb'"|\\.', re.DOTALL)
_BARE = re.compile(rb"(?:[^\s;\\]|\\[^\r\n])+")
_NESTED_TOKEN = re.compile(
    rb"""(?:\s|\\\r?\n)*(?:(?P<brace>[{}])|(?P<bare>(?:[^\s{}"\\]|\\.)(?:[^\s{}\\]|\\.)*)|"""
    rb""""(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<end>\Z))""",
    re.DOTALL,
)
_ROWS = re.compile(rb"\{\s*+(?:\{[^{}\"\\]*+\}\s*+)++\}")
_ESCAPE = re.compile(rb"\\(\r?\n[ \t]*|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command: ``data[start:end]`` without its braces or quotes."""

    start: int
    end: int
    kind: str  # "bare", "quoted" or "braced"


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a script: its words and the span ``data[start:end]`` without the line end."""

    start: int
    end: int
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Atom:
    """A word without braces inside a nested text; ``text`` has its quotes taken off and escapes resolved."""

    text: bytes
    start: int


class Group:
    """A braced list inside a nested text: ``data[start:end]`` with its braces.

    Attributes:
        rows: the list is nothing but groups of plain words, as the keys of a number are; its items are then cut only
            when they are asked for.
    """

    __slots__ = ("_data", "_items", "end", "rows", "start")

    def __init__(
        self, data: bytes, start: int, end: int, items: tuple[Atom | Group, ...] | None = None
    ) -> None:
        self._data, self._items, self.start, self.end = data, items, start, end
        self.rows = items is None

    @property
    def items(self) -> tuple[Atom | Group, ...]:
        """What is in the list, in order."""
        if self._items is None:
            self._items = nested(self._data, self.start + 1, self.end - 1).items
        return self._items


def line_at(data: bytes, offset: int) -> int:
    """1-based line number of a byte offset."""
    return data.count(b"\n", 0, offset) + 1


def error_at(data: bytes, offset: int, message: str) -> FormatError:
    """A FormatError that points at a byte offset."""
    return FormatError(message, line=line_at(data, offset))


@dataclass
class Warnings:
    """What was left out of a file, with its line; only the first of very many, since each costs a look at the file."""

    texts: list[str] = field(default_factory=list)

    def add(self, data: bytes, offset: int, message: str) -> None:
        """Note one part of the file that was left out."""
        if len(self.texts) <= WARNINGS_MAX:
            self.add_at(line_at(data, offset), message)

    def add_at(self, line: int, message: str) -> None:
        """The same, where the line is known."""
        if len(self.texts) < WARNINGS_MAX:
            self.texts.append(f"line {line}: {message}")
        elif len(self.texts) == WARNINGS_MAX:
            self.texts.append("and more of the kind")


def text_of(raw: bytes) -> str:
    """Text for people and paths: UTF-8 where it is, else Latin-1, so that every byte string has one."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def unescaped(raw: bytes) -> bytes:
    """Resolve backslash escapes of a bare or quoted word."""
    if b"\\" not in raw:
        return raw

    def plain(match: re.Match[bytes]) -> bytes:
        escaped = match[1]
        return b" " if escaped.startswith((b"\n", b"\r\n")) else _ESCAPED.get(escaped, escaped)

    return _ESCAPE.sub(plain, raw)


def quoted(text: str) -> bytes:
    """A word in double quotes that reads back as ``text`` and has no live brackets, variables or braces."""
    escaped = re.sub(r'([\\"\[\]${}])', r"\\\1", text).replace("\n", "\\n").replace("\t", "\\t")
    return b'"' + escaped.replace("\r", "\\r").encode("utf-8") + b'"'


def commands(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Command]:
    """The commands in ``data[start:end]``, one by one; a line that begins with ``#`` is a comment.

    Raises:
        FormatError: a brace or quote that is never closed, or a brace closed that was not opened.
    """
    stop = len(data) if end is None else end
    at, words, first = start, list[Word](), start
    while at < stop:
        byte = data[at : at + 1]
        if byte in (b"\n", b";"):
            if words:
                yield Command(first, words[-1].end + (words[-1].kind != "bare"), tuple(words))
                words = []
            at += 1
            continue
        space = _SPACE.match(data, at, stop)
        if space:
            at = space.end()
            continue
        if not words:
            if byte == b"#":
                newline = data.find(b"\n", at, stop)
                at = stop if newline < 0 else newline
                continue
            first = at
        word, at = _word(data, at, stop)
        words.append(word)
    if words:
        yield Command(first, words[-1].end + (words[-1].kind != "bare"), tuple(words))


def _word(data: bytes, at: int, stop: int) -> tuple[Word, int]:
    byte = data[at : at + 1]
    if byte == b"{":
        end = _closing_brace(data, at, stop)
        return Word(at + 1, end, "braced"), end + 1
    if byte == b'"':
        for step in _QUOTE_STEP.finditer(data, at + 1, stop):
            if step[0] == b'"':
                return Word(at + 1, step.start(), "quoted"), step.end()
        raise error_at(data, at, "a quote is opened here and never closed; the file may be cut short")
    if byte == b"}":
        raise error_at(data, at, "a brace is closed that was never opened; the file may be damaged")
    bare = _BARE.match(data, at, stop)
    end = at + 1 if bare is None else bare.end()
    return Word(at, end, "bare"), end


def _closing_brace(data: bytes, at: int, stop: int) -> int:
    depth = 1
    for step in _BRACE_STEP.finditer(data, at + 1, stop):
        if step[0] == b"{":
            depth += 1
        elif step[0] == b"}":
            depth -= 1
            if depth == 0:
                return step.start()
    raise error_at(data, at, "a brace is opened here and never closed; the file may be cut short")


def nested(data: bytes, start: int, end: int) -> Group:
    """The inside of a braced word, ``data[start:end]``, as one group.

    Raises:
        FormatError: braces that do not match, a quote never closed, or more than ``NESTING_MAX`` levels.
    """
    open_items: list[list[Atom | Group]] = [[]]
    open_starts = [start]
    at = start
    while at < end:
        token = _NESTED_TOKEN.match(data, at, end)
        if token is None:
            raise error_at(data, at, f"cannot read {data[at : at + 20]!r}; a quote or escape is not complete")
        kind, at = token.lastgroup or "", token.end()
        text, place = token[kind], token.start(kind)
        rows = _ROWS.match(data, place, end) if text == b"{" and kind == "brace" else None
        if kind in ("bare", "quoted"):
            open_items[-1].append(Atom(unescaped(text), place))
        elif rows:
            at = rows.end()
            open_items[-1].append(Group(data, place, at))
        elif text == b"{":
            if len(open_items) > NESTING_MAX:
                raise error_at(data, place, f"braces nest more than {NESTING_MAX} deep")
            open_items.append([])
            open_starts.append(place)
        elif text == b"}":
            if len(open_items) == 1:
                raise error_at(data, place, "a brace is closed that was never opened")
            items = tuple(open_items.pop())
            open_items[-1].append(Group(data, open_starts.pop(), place + 1, items))
    if len(open_items) > 1:
        raise error_at(data, open_starts[-1], "a brace is opened here and never closed")
    return Group(data, start, end, tuple(open_items[0]))
