"""Pickles read as data: the opcodes that a state_dict takes, and nothing that could run anything.

A pickle is a program for a small machine with a stack, and two of its opcodes are why unpickling a stranger's file is
dangerous: GLOBAL imports whatever it names, REDUCE calls it. Here GLOBAL asks a table that the caller gives, which has
functions of this library's own, and REDUCE calls those alone. The opcodes are described in CPython's
Lib/pickletools.py. What is made of a pickle takes at most some times its memory, and 48 MiB.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from ..sources import File
from ..strict_json import ModelFileError

_WINDOW = 2**16  # bytes that are read at once
_LINE = 512  # of the names in a GLOBAL
_LONG = 64  # bytes of an integer
_ROOM, _PER_BYTE = 48 << 20, 3  # what may be made of a pickle: bytes, and so many more for each of its own
# What the opcodes make takes, at most, in bytes
_CONTAINER, _ITEM, _MEMO, _VALUE = 120, 170, 100, 60


class Made:
    """What a GLOBAL may name: `make` gets the arguments of a REDUCE; None: it is a value, not to be called."""

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Callable[..., Any] | None = None) -> None:
        self.name, self.make = name, make


class Ignored:
    """In place of an object that stands beside weights and says nothing of them: a path, a device, a random number."""

    __slots__ = ()


class Bytes:
    """A part of a file, byte by byte from its beginning."""

    def __init__(self, file: File, at: int, stop: int) -> None:
        self.file, self.at, self.stop = file, at, stop  # `at`: of the byte behind the window
        self.window, self.used = b"", 0

    @property
    def place(self) -> int:
        """Where the next byte stands in the file."""
        return self.at - len(self.window) + self.used

    def take(self, count: int) -> bytes:
        end = self.used + count
        if end > len(self.window):
            if count > self.stop - self.place:
                raise ModelFileError("its pickle is cut off")
            self.window = self.window[self.used :]
            more = min(max(_WINDOW, count), self.stop - self.at)
            self.window += self.file.get(self.at, more)
            self.at, self.used, end = self.at + more, 0, count
        part = self.window[self.used : end]
        self.used = end
        return part

    def line(self) -> str:
        letters = bytearray()
        while (letter := self.take(1)) != b"\n":
            letters += letter
            if len(letters) > _LINE:
                raise ModelFileError("its pickle names something of an absurdly long name")
        return letters.decode("utf-8")


def interpret(
    source: Bytes, find: Callable[[str, str, bool], Any], persistent: Callable[[Any], Any] | None = None
) -> Any:
    """The one value of a pickle, which ends where `source` is then.

    find: (module, name, whether it is the first thing of all) -> what stands for it; raises for what it does not know.
    persistent: what stands for an id, e.g. for a storage.

    Raises ModelFileError for other opcodes, or one that does not fit what is on the stack.
    """
    machine = _Machine(source, find, persistent)
    try:
        return machine.run()
    except (IndexError, KeyError):  # of an empty stack, of what was never remembered
        raise ModelFileError("its pickle is damaged: it takes what is not there") from None


class _Machine:
    def __init__(self, source: Bytes, find: Any, persistent: Any) -> None:
        self.take, self.line, self.source = source.take, source.line, source
        self.find, self.persistent = find, persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the marks
        self.memo: dict[int, Any] = {}
        self.room = _ROOM + _PER_BYTE * (source.stop - source.place)
        self.begun = False  # whether anything was named already

    def run(self) -> Any:
        take, actions = self.take, _ACTIONS
        while (code := take(1)) != b".":
            found = actions[code[0]]
            if found is None:
                raise ModelFileError(
                    f"its pickle has the opcode {code!r}, which no state_dict has: nothing of it is read"
                )
            action, cost = found
            self.room -= cost
            if self.room < 0:
                raise ModelFileError("its pickle makes far more objects than a file of its size has weights")
            action(self)
        if self.below or len(self.stack) != 1:
            raise ModelFileError("its pickle is damaged: it does not end with one value")
        return self.stack.pop()

    # ---- numbers and text ----------------------------------------------------------------------------------------

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def push_long(self, form: str) -> None:
        count = self.number(form)
        if not 0 <= count <= _LONG:
            raise ModelFileError("its pickle has an absurdly long integer")
        self.stack.append(int.from_bytes(self.take(count), "little", signed=True))

    def push_text(self, form: str, encoding: str | None) -> None:
        """encoding: None is bytes."""
        count = self.number(form)
        if count < 0:
            raise ModelFileError("its pickle has a text of less than no letters")
        self.room -= 4 * count
        if self.room < 0:
            raise ModelFileError("its pickle has an absurdly long text")
        data = self.take(count)
        self.stack.append(data if encoding is None else data.decode(encoding))

    # ---- containers ----------------------------------------------------------------------------------------------

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        items = self.stack
        self.stack = self.below.pop()
        return items

    def push_marked(self) -> None:
        items = tuple(self.marked())
        self.stack.append(items)

    def last(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise IndexError
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return items

    def extend(self, items: list[Any] | tuple[Any, ...]) -> None:
        if type(self.stack[-1]) is list:
            self.stack[-1].extend(items)
        elif type(self.stack[-1]) is not Ignored:
            raise ModelFileError("its pickle is damaged: it adds to what is no list")

    def set_items(self, items: list[Any] | tuple[Any, ...]) -> None:
        target = self.stack[-1]
        self.room -= _ITEM * (len(items) // 2)
        if len(items) % 2 or type(target) not in (dict, Ignored):
            raise ModelFileError("its pickle is damaged: it sets items of what is no dict")
        if type(target) is dict:
            for i in range(0, len(items), 2):
                target[_key(items[i])] = items[i + 1]

    # ---- objects -------------------------------------------------------------------------------------------------

    def named(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise ModelFileError("its pickle is damaged: a name is no text")
        # so they begin, since 1.6 and before; looked at once: there may be very many marks, and names behind them
        first = not self.begun and (not any([*self.below, self.stack]) or self.stack == ["module"])
        self.begun = True
        self.stack.append(self.find(module, name, first))

    def call(self) -> None:
        function, arguments = self.last(2)
        if type(function) is not Made or function.make is None or type(arguments) is not tuple:
            raise ModelFileError("its pickle calls what is no function")
        self.room -= _ITEM * sum([len(one) for one in arguments if type(one) in (tuple, list)])
        if self.room < 0:
            raise ModelFileError("its pickle makes far more objects than a file of its size has weights")
        try:
            self.stack.append(function.make(*arguments))
        except TypeError:
            raise ModelFileError(f"its pickle gives {function.name} other arguments than PyTorch does") from None

    def build(self) -> None:
        """The state of an object: of an OrderedDict its `_metadata`, of a tensor what is no number of it."""
        self.last(1)
        if self.stack[-1] is None or type(self.stack[-1]) in (str, int, float, bool, tuple, list, Made):
            raise ModelFileError("its pickle is damaged: it gives a state to what has none")

    def push_persistent(self) -> None:
        if self.persistent is None:
            raise ModelFileError("its pickle refers to things outside of it")
        self.stack.append(self.persistent(self.stack.pop()))

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def named_by_stack(self) -> None:
        self.named(*self.last(2))


def _key(key: Any) -> Any:
    """One that a dict may have: whatever hashes at once, and not to the same as thousands of others."""
    if type(key) is str or key is None or type(key) is bool or (type(key) is int and -(2**63) <= key < 2**64):
        return key
    raise ModelFileError("its pickle has a dict with keys that are neither text nor integers")


def _pairs(items: Any = ()) -> dict[Any, Any]:
    """An OrderedDict, empty or of pairs, as Python 2 wrote it."""
    if type(items) not in (tuple, list) or any(type(pair) not in (tuple, list) or len(pair) != 2 for pair in items):
        raise TypeError
    return {_key(key): value for key, value in items}


ORDERED_DICT = Made("OrderedDict", _pairs)
_Action = tuple[Callable[[_Machine], object], int]
_KNOWN: dict[int, _Action] = {
    code[0]: (action, cost)
    for code, cost, action in (
        (b"\x80", _VALUE, lambda m: m.take(1)),  # the protocol
        (b"\x95", _VALUE, lambda m: m.take(8)),  # a frame
        (b"N", _VALUE, lambda m: m.stack.append(None)),
        (b"\x88", _VALUE, lambda m: m.stack.append(True)),
        (b"\x89", _VALUE, lambda m: m.stack.append(False)),
        (b"J", _VALUE, lambda m: m.stack.append(int.from_bytes(m.take(4), "little", signed=True))),
        (b"K", _VALUE, lambda m: m.stack.append(m.take(1)[0])),
        (b"M", _VALUE, lambda m: m.stack.append(int.from_bytes(m.take(2), "little"))),
        (b"\x8a", _VALUE, lambda m: m.push_long("<B")),
        (b"\x8b", _VALUE, lambda m: m.push_long("<i")),
        (b"G", _VALUE, lambda m: m.stack.append(m.number(">d"))),
        (b"X", _VALUE, lambda m: m.push_text("<I", "utf-8")),
        (b"\x8c", _VALUE, lambda m: m.push_text("<B", "utf-8")),
        (b"\x8d", _VALUE, lambda m: m.push_text("<Q", "utf-8")),
        (b"T", _VALUE, lambda m: m.push_text("<i", "latin-1")),  # str of Python 2
        (b"U", _VALUE, lambda m: m.push_text("<B", "latin-1")),
        (b"B", _VALUE, lambda m: m.push_text("<I", None)),
        (b"C", _VALUE, lambda m: m.push_text("<B", None)),
        (b"\x8e", _VALUE, lambda m: m.push_text("<Q", None)),
        (b"\x96", _VALUE, lambda m: m.push_text("<Q", None)),  # a bytearray
        (b"(", _CONTAINER, lambda m: m.mark()),
        (b")", _VALUE, lambda m: m.stack.append(())),
        (b"t", _CONTAINER, lambda m: m.push_marked()),
        (b"\x85", _CONTAINER, lambda m: m.stack.append(m.last(1))),
        (b"\x86", _CONTAINER, lambda m: m.stack.append(m.last(2))),
        (b"\x87", _CONTAINER, lambda m: m.stack.append(m.last(3))),
        (b"]", _CONTAINER, lambda m: m.stack.append([])),
        (b"\x8f", _CONTAINER, lambda m: m.stack.append([])),  # a set, of which nothing is asked
        (b"a", _VALUE, lambda m: m.extend(m.last(1))),
        (b"e", _VALUE, lambda m: m.extend(m.marked())),
        (b"\x90", _VALUE, lambda m: m.extend(m.marked())),
        (b"}", _CONTAINER, lambda m: m.stack.append({})),
        (b"s", _VALUE, lambda m: m.set_items(m.last(2))),
        (b"u", _VALUE, lambda m: m.set_items(m.marked())),
        (b"c", _CONTAINER, lambda m: m.named(m.line(), m.line())),
        (b"\x93", _CONTAINER, lambda m: m.named_by_stack()),
        (b"R", 2 * _CONTAINER, lambda m: m.call()),
        (b"\x81", 2 * _CONTAINER, lambda m: m.call()),  # of a class
        (b"b", _VALUE, lambda m: m.build()),
        (b"Q", 2 * _CONTAINER, lambda m: m.push_persistent()),
        (b"q", _MEMO, lambda m: m.remember(m.take(1)[0])),
        (b"r", _MEMO, lambda m: m.remember(m.number("<I"))),
        (b"\x94", _MEMO, lambda m: m.remember(len(m.memo))),
        (b"h", _VALUE, lambda m: m.stack.append(m.memo[m.take(1)[0]])),
        (b"j", _VALUE, lambda m: m.stack.append(m.memo[m.number("<I")])),
        (b"0", _VALUE, lambda m: m.stack.pop()),
    )
}
_ACTIONS = [_KNOWN.get(code) for code in range(256)]
