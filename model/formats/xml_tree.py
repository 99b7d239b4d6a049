"""XML as a small tree with the line of every element, for files that strangers wrote.

No document types (and so no entities), a bounded depth and number of elements: a damaged or hostile file gets a
FormatError with its line, never all memory.
"""

from __future__ import annotations

import re
import xml.parsers.expat as expat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn
from xml.sax.saxutils import escape, quoteattr

from model.errors import FormatError

SIZE_MAX = 256 * 2**20  # bytes of one file
DEPTH_MAX = 200
ELEMENTS_MAX = 3_000_000  # a point is one element
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(slots=True)
class Element:
    """One element: its name, attributes, children in order, own text without that of the children, and line."""

    name: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, name: str) -> Iterator[Element]:
        """The children of this name."""
        return (child for child in self.children if child.name == name)

    def first(self, name: str) -> Element | None:
        """The first child of this name."""
        return next(self.all(name), None)

    def fail(self, message: str) -> FormatError:
        """A FormatError that points at this element."""
        return FormatError(message, line=self.line)


class _Builder:
    """Builds the tree from the parser's events."""

    def __init__(self, parser: expat.XMLParserType) -> None:
        self.parser = parser
        self.root: Element | None = None
        self.open: list[Element] = []
        self.texts: list[list[str]] = []
        self.elements = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        if len(self.open) >= DEPTH_MAX or self.elements > ELEMENTS_MAX:
            self.refuse(f"elements nest more than {DEPTH_MAX} deep, or there are more than {ELEMENTS_MAX}")
        element = Element(name, attributes, self.parser.CurrentLineNumber)
        if self.open:
            self.open[-1].children.append(element)
        elif self.root is None:
            self.root = element
        self.open.append(element)
        self.texts.append([])

    def end(self, _name: str) -> None:
        self.open.pop().text = "".join(self.texts.pop())

    def data(self, text: str) -> None:
        if self.texts:
            self.texts[-1].append(text)

    def doctype(self, *_parts: object) -> None:
        self.refuse("a document type is no part of a shape file; remove it")

    def refuse(self, message: str) -> NoReturn:
        raise FormatError(message, line=self.parser.CurrentLineNumber)


def parse(data: bytes) -> Element:
    """The root element of an XML file.

    Raises:
        FormatError: text that is not XML, has a document type, or is larger or deeper than shape files are.
    """
    if len(data) > SIZE_MAX:
        raise FormatError(f"the file has {len(data)} bytes; files of up to {SIZE_MAX} bytes are read")
    parser = expat.ParserCreate()
    parser.buffer_text = True
    builder = _Builder(parser)
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = builder.doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise FormatError(f"not XML: {expat.ErrorString(error.code)}", line=error.lineno) from error
    except (
        LookupError,
        ValueError,
    ) as error:  # an encoding that Python does not know or that is no text encoding
        raise FormatError(f"not XML that we read: {error}", line=1) from error
    if builder.root is None:
        raise FormatError("not XML: the file holds no element")
    return builder.root


def text(value: str) -> str:
    """Text as the content of an element; control characters, which XML cannot hold, become spaces."""
    return escape(_printable(value))


def attribute(value: str) -> str:
    """Text as the value of an attribute, with its quotes."""
    return quoteattr(_printable(value))


def _printable(value: str) -> str:
    return _NO_XML.sub(" ", value)
