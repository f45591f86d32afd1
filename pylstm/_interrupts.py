"""Ctrl-C: heard at the next good moment, or kept waiting while something changes that must be whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

try:  # what `signal` wraps in enumerations, which cost more than a small step of an optimizer
    from _signal import getsignal as _get_handler  # type: ignore[import-not-found]
    from _signal import signal as _set_handler
except ImportError:  # an interpreter that has it elsewhere
    _get_handler, _set_handler = signal.getsignal, signal.signal


class Interrupts:
    """Within `with`, the first Ctrl-C only sets `asked`; a second one raises KeyboardInterrupt as ever.

    Python lets only the main thread handle signals: elsewhere nothing changes.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
            if self._before is signal.default_int_handler:  # a program's own handler is left in charge
                signal.signal(signal.SIGINT, self._handle)
            else:
                self._before = None
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            signal.default_int_handler(number, frame)
        self.asked = True

    def __exit__(self, *exception: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


class Uninterrupted:
    """Within `with`, a Ctrl-C waits for the end of the block: for updates that must be whole or not at all."""

    def __init__(self) -> None:
        self._before: Any = None
        self._came: tuple[int, FrameType | None] | None = None

    def __enter__(self) -> Uninterrupted:
        if threading.current_thread() is threading.main_thread():
            before = _get_handler(signal.SIGINT)
            if callable(before):  # not SIG_DFL, SIG_IGN, or a handler that is none of Python's
                _set_handler(signal.SIGINT, self._keep)
                self._before = before
        return self

    def _keep(self, number: int, frame: FrameType | None) -> None:
        self._came = number, frame

    def __exit__(self, *exception: object) -> None:
        if self._before is not None:
            _set_handler(signal.SIGINT, self._before)
            if self._came is not None:
                self._before(*self._came)
