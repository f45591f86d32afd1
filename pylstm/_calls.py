"""Counting calls, for dropout: without a lock."""

from __future__ import annotations

import operator

_MOST = 2**62  # calls from one start: more than anybody makes


class Calls:
    """Numbers `start`, `start + 1` ... 2**bits - 1, 0 ...; each is given out once, to whichever thread asks.

    A lock would hang a signal handler that calls a layer while the thread it interrupted holds it, and a child forked
    while another thread does. An iterator over a range moves on in one step of the interpreter, and needs none.
    """

    __slots__ = ("_bits", "_left", "_modulus", "_start")

    def __init__(self, start: int = 0, bits: int = 32) -> None:
        self._start, self._bits, self._modulus = start, bits, int(2**bits)
        self._left = iter(range(_MOST))

    def next(self) -> int:
        """The present number; the next call gets another one."""
        return (self._start + next(self._left)) % self._modulus

    @property
    def present(self) -> int:
        """The number that `next` would give, without taking it."""
        return (self._start + _MOST - operator.length_hint(self._left)) % self._modulus

    def __reduce__(self) -> tuple[type[Calls], tuple[int, int]]:
        return Calls, (self.present, self._bits)

    def __repr__(self) -> str:
        return f"Calls({self.present}, bits={self._bits})"
