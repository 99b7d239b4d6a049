"""Which roto nodes a Nuke script holds, where they are, and the script's own format and frame range.

A script is a list of Tcl commands; a node is ``Class { knobs }``, nodes of a group follow it until ``end_group``.
Only roto nodes, groups and the root are looked into; everything else is skipped over as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from model.errors import FormatError
from model.formats.tcl import NAME_MAX, Command, Word, commands, error_at, text_of, unescaped

ROTO_CLASSES = frozenset({b"Roto", b"RotoPaint", b"SplineWarp3"})
GROUP_CLASSES = frozenset({b"Group", b"Gizmo", b"LiveGroup"})
SIZE_MAX = 64 * 1024 * 1024  # bytes of one script
GROUPS_MAX = 100  # groups inside groups
FORMAT_SIDE_MAX = 1_000_000  # px

_CLASS = re.compile(rb"[A-Za-z_]\w*")
# "width height x y right top pixel_aspect name"; only width and height are always there.
_FORMAT = re.compile(
    r"\s*(\d{1,7})\s+(\d{1,7})(?:\s|$)(?:(?:\s*-?\d{1,7}\s+){4}(\d{1,3}(?:\.\d{1,20})?)(?:\s|$))?"
)
_INTEGER = re.compile(r"[+-]?\d{1,9}(?:\.0*)?")


@dataclass(frozen=True)
class RotoNode:
    """A node with a ``curves`` knob.

    Attributes:
        name: with the groups around it, as ``Group1.Roto1``.
        class_name: ``Roto``, ``RotoPaint`` or ``SplineWarp3``.
        line: 1-based line where the node begins.
        depth: how many groups are around it.
        scope_end: byte offset where the list of nodes that it belongs to ends.
        curves: the span of the ``curves`` knob's value in the file, or None where the knob is at its default.
        knobs: the other knobs' values as text, by name.
    """

    name: str
    class_name: str
    line: int
    depth: int
    scope_end: int
    curves: Word | None
    knobs: dict[str, str]

    @property
    def own_name(self) -> str:
        """The node's name without the groups around it."""
        return self.knobs.get("name", self.class_name)

    def position(self) -> tuple[int, int]:
        """Where the node lies in the node graph, (0, 0) where that is not written."""
        x, y = (_integer(self.knobs.get(k, "")) for k in ("xpos", "ypos"))
        return x or 0, y or 0


@dataclass(frozen=True)
class Script:
    """Roto nodes in file order, and what the root says (None where it does not say)."""

    nodes: tuple[RotoNode, ...]
    width: int | None = None
    height: int | None = None
    first_frame: int | None = None
    last_frame: int | None = None
    pixel_aspect: float = 1.0


@dataclass
class _Scope:
    """The node list of one group, or of the script."""

    path: str
    found: list[RotoNode] = field(default_factory=list)


def read_script(data: bytes) -> Script:
    """Find the roto nodes of a script.

    Raises:
        FormatError: text that is no sequence of Tcl commands, too large or nested too deep.
    """
    if len(data) > SIZE_MAX:
        raise FormatError(f"the script has {len(data)} bytes; scripts of up to {SIZE_MAX} bytes are read")
    scopes = [_Scope("")]
    order: list[RotoNode] = []
    root: dict[str, str] = {}
    line, counted = 1, 0
    for command in commands(data):
        line, counted = line + data.count(b"\n", counted, command.start), command.start
        if data[command.start : command.end] == b"end_group" and len(scopes) > 1:
            order += _closed(scopes.pop(), command.start)
            continue
        class_name = _class_of(data, command)
        if class_name is None:
            continue
        body = command.words[-1]
        if class_name in ROTO_CLASSES:
            scopes[-1].found.append(_roto_node(data, command, class_name, scopes, line))
        elif class_name in GROUP_CLASSES:
            if len(scopes) > GROUPS_MAX:
                raise error_at(data, command.start, f"groups nest more than {GROUPS_MAX} deep")
            name = _knobs(data, body)[0].get("name", text_of(class_name))
            scopes.append(_Scope(f"{scopes[-1].path}{name}."))
        elif class_name == b"Root":
            root = _knobs(data, body)[0]
    while scopes:
        order += _closed(scopes.pop(), len(data))
    order.sort(key=lambda node: node.line)
    width, height, aspect = _format_of(root.get("format", ""))
    first, last = (_integer(root.get(k, "")) for k in ("first_frame", "last_frame"))
    return Script(tuple(order), width, height, first, last, aspect)


def _closed(scope: _Scope, end: int) -> list[RotoNode]:
    return [RotoNode(**{**vars(node), "scope_end": end}) for node in scope.found]


def _class_of(data: bytes, command: Command) -> bytes | None:
    """The class of the node that a command makes, or None where it makes none (or clones one)."""
    words = command.words
    if len(words) < 2 or words[-1].kind != "braced" or words[-2].kind != "bare":
        return None
    if len(words) > 2 and data[words[0].start : words[0].end] != b"clone":
        return None
    name = data[words[-2].start : words[-2].end]
    return name if _CLASS.fullmatch(name) else None


def _roto_node(data: bytes, command: Command, class_name: bytes, scopes: list[_Scope], line: int) -> RotoNode:
    knobs, curves = _knobs(data, command.words[-1])
    return RotoNode(
        name=scopes[-1].path + knobs.get("name", text_of(class_name)),
        class_name=text_of(class_name),
        line=line,
        depth=len(scopes) - 1,
        scope_end=len(data),
        curves=curves,
        knobs=knobs,
    )


def _knobs(data: bytes, body: Word) -> tuple[dict[str, str], Word | None]:
    """The knobs of a node as text by name, and the place of ``curves``, which is left out of them."""
    knobs: dict[str, str] = {}
    curves = None
    for command in commands(data, body.start, body.end):
        if len(command.words) < 2:
            continue
        first, value = command.words[0], command.words[1]
        name = data[first.start : first.end]
        if name == b"name" and value.end - value.start > NAME_MAX:
            raise error_at(data, value.start, f"a node's name has more than {NAME_MAX} characters")
        if name == b"curves":
            curves = value
        elif value.kind == "braced":
            knobs[text_of(name)] = text_of(data[value.start : value.end])
        else:
            knobs[text_of(name)] = text_of(unescaped(data[value.start : value.end]))
    return knobs, curves


def _format_of(text: str) -> tuple[int | None, int | None, float]:
    """Width, height and pixel aspect of a format; a size that cannot be is none."""
    match = _FORMAT.match(text)
    if match is None:
        return None, None, 1.0
    width, height = int(match[1]), int(match[2])
    if not (0 < width <= FORMAT_SIDE_MAX and 0 < height <= FORMAT_SIDE_MAX):
        return None, None, 1.0
    return width, height, float(match[3] or 1.0) or 1.0


def _integer(text: str) -> int | None:
    return int(float(text)) if _INTEGER.fullmatch(text.strip()) else None
