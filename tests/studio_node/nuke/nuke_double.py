"""A stand-in for the part of Nuke's Python API that the panel calls, as strict as Nuke: what it does not have, fails.

Nuke needs a licence, so no test can run it. Names, arguments and behaviour follow Foundry's Python reference (13 to
17): the node graph may only be touched on the main thread, an unknown knob raises NameError, ``fromScript`` of a
curves knob takes the text between the file's outer braces, and whatever happens between ``Undo.begin`` and ``end`` is
one step. What Nuke itself makes of the text is checked by a person: docs/nuke.md.
"""

from __future__ import annotations

import copy
import itertools
import threading
import types
from pathlib import Path

from model.formats import nuke as nuke_format

ROTO_KNOBS = {"curves", "output", "cliptype", "lifetime_type", "tile_color", "label", "selected", "name"}
READ_KNOBS = {"file", "first", "last", "frame", "frame_mode"}


class Knob:
    def __init__(self, name, value=""):
        self._name, self._value = name, value

    def value(self):
        return self._value

    def setValue(self, value):
        expected = int if self._name == "tile_color" else str
        if not isinstance(value, expected):
            raise TypeError(f"knob {self._name} takes {expected.__name__}, not {value!r}")
        self._value = value

    def fromScript(self, text):
        if self._name == "curves" and not text.startswith("{{v "):
            raise ValueError("the curves knob's text begins with '{{v '")
        self._value = text

    def toScript(self):
        return self._value


class Node:
    def __init__(self, graph, class_name, name, knobs, place=(0, 0)):
        self._graph, self._class, self._name, self._place = graph, class_name, name, place
        self._knobs = {known: Knob(known, knobs.get(known, "")) for known in knobs}
        self._user_knobs, self._inputs, self._selected = [], {}, False

    def Class(self):
        return self._class

    def name(self):
        return self._name.rpartition(".")[2]

    def fullName(self):
        return self._name

    def setName(self, name):
        self._graph.on_main_thread()
        taken = {other._name for other in self._graph.all if other is not self}
        names = itertools.chain([name], (f"{name}{number}" for number in itertools.count(1)))
        self._name = next(free for free in names if free not in taken)  # as Nuke uncollides

    def __getitem__(self, name):
        if name not in self._knobs:
            raise NameError(f"knob {name} does not exist")
        return self._knobs[name]

    def addKnob(self, knob):
        self._graph.on_main_thread()
        self._user_knobs.append(knob._name)
        self._knobs[knob._name] = knob

    def input(self, number):
        return self._inputs.get(number)

    def setSelected(self, selected):
        self._graph.on_main_thread()
        self._selected = bool(selected)

    def xpos(self):
        return self._place[0]

    def ypos(self):
        return self._place[1]

    def setXYpos(self, x, y):
        self._place = (int(x), int(y))

    def text(self):
        """The node as script text."""
        lines = [f"{self._class} {{"]
        for name, knob in self._knobs.items():
            if name == "curves" and knob.value():
                lines.append(f" curves {{{knob.value()}}}")
            elif name in self._user_knobs and knob.value():
                quoted = knob.value().replace("\\", "\\\\").replace('"', '\\"')
                lines += [f" addUserKnob {{1 {name}}}", f' {name} "{quoted}"']
        return "\n".join([*lines, f" name {self._name}", "}\n"])


class Around:
    """The root, to create nodes in."""

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        return False


class Nuke(types.ModuleType):
    """Stands in ``sys.modules`` as ``nuke``."""

    def __init__(self, artist_file, plate, answers):
        """A script of one Read and the Roto nodes of a real ``.nk`` below it.

        Args:
            artist_file: the ``.nk``.
            plate: what its Read reads.
            answers: what the artist types into the panel, by label; None presses Cancel.
        """
        super().__init__("nuke")
        self._main, self._calls = threading.get_ident(), []
        self.all, self.messages, self.undone, self.tasks = [], [], [], []
        self._answers, self._undo = answers, None
        data = artist_file.read_bytes()
        read = Node(self, "Read", "Read1", dict.fromkeys(READ_KNOBS, ""))
        read["file"].setValue(str(plate))
        self.all.append(read)
        for found in nuke_format.read_script(data).nodes:
            knobs = dict.fromkeys(ROTO_KNOBS, "")
            knobs["curves"] = data[found.curves.start : found.curves.end].decode()
            node = Node(self, found.class_name, found.name, knobs, (40, 60))
            node._inputs[0] = read
            self.all.append(node)
        self.nodes = types.SimpleNamespace(Roto=self._new_roto)
        self.Undo = types.SimpleNamespace(begin=self._begin, end=self._end, cancel=self._cancel)
        self.Tab_Knob = lambda name: Knob(name)
        self.String_Knob = lambda name, label: Knob(name)
        self.ProgressTask = self._task
        self.Panel = self._panel

    def on_main_thread(self):
        if threading.get_ident() != self._main:
            raise RuntimeError("the node graph was touched off the main thread")

    def selectedNodes(self):
        self.on_main_thread()
        return [node for node in self.all if node._selected]

    def toNode(self, name):
        self.on_main_thread()
        return next((node for node in self.all if node._name == name), None)

    def root(self):
        return Around()

    def nodeCopy(self, path):
        self.on_main_thread()
        head = "set cut_paste_input [stack 0]\nversion 13.2 v5\n"
        Path(path).write_text(head + "".join(node.text() for node in self.selectedNodes()))

    def _new_roto(self):
        self.on_main_thread()
        if self._undo is None:
            raise RuntimeError("a node was made outside an undo step")
        node = Node(self, "Roto", f"Roto{len(self.all) + 1}", dict.fromkeys(ROTO_KNOBS, ""))
        self.all.append(node)
        return node

    def _begin(self, name):
        self.on_main_thread()
        assert self._undo is None, "undo steps do not nest here"
        self._undo = (name, list(self.all))

    def _end(self):
        self.undone.append(self._undo)
        self._undo = None

    def _cancel(self):
        self.all, self._undo = self._undo[1], None

    def undo(self):
        """What Ctrl+Z does."""
        self.all = self.undone.pop()[1]

    def message(self, text):
        self.on_main_thread()
        self.messages.append(text)

    def executeInMainThread(self, call, args=(), kwargs=None):
        if threading.get_ident() == self._main:
            raise RuntimeError("the main thread asked itself")
        self._calls.append((call, args, kwargs or {}))

    def run_main_thread(self):
        """What Nuke's event loop does between two frames."""
        while self._calls:
            call, args, kwargs = self._calls.pop(0)
            call(*args, **kwargs)

    def _task(self, name):
        task = Task(name)
        self.tasks.append(task)
        return task

    def _panel(self, title):
        return Panel(self._answers)


class Task:
    cancel_at = None

    def __init__(self, name):
        self.said, self.percents = [], []

    def setMessage(self, text):
        self.said.append(text)

    def setProgress(self, percent):
        if not isinstance(percent, int) or not 0 <= percent <= 100:
            raise TypeError(f"progress is a whole number of percent, not {percent!r}")
        self.percents.append(percent)

    def isCancelled(self):
        return Task.cancel_at is not None and len(self.said) >= Task.cancel_at


class Panel:
    def __init__(self, answers):
        self._answers, self._values = copy.copy(answers), {}

    def addFilenameSearch(self, label, value):
        self._values[label] = value

    def addSingleLineInput(self, label, value):
        self._values[label] = value

    def show(self):
        if self._answers is None:
            return 0
        unknown = set(self._answers) - set(self._values)
        assert not unknown, f"the panel has no field {unknown}"
        self._values.update(self._answers)
        return 1

    def value(self, label):
        return self._values[label]
