"""What a training shows: a bar on a terminal, one line an epoch elsewhere, or nothing. And Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Mapping
from types import FrameType
from typing import Any

try:  # what `signal` wraps in enumerations, which cost more than a small step of an optimizer
    from _signal import getsignal as _get_handler  # type: ignore[import-not-found]
    from _signal import signal as _set_handler
except ImportError:  # an interpreter that has it elsewhere
    _get_handler, _set_handler = signal.getsignal, signal.signal


class Progress:
    """verbose 0: silent. 1: a tqdm bar per epoch where stderr is a terminal and tqdm is there, else as 2: a line."""

    def __init__(self, verbose: int, epochs: int) -> None:
        self.verbose, self.epochs = verbose, epochs
        self._bar: Any = None
        self._tqdm: Any = None
        if verbose == 1 and sys.stderr is not None and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._tqdm = tqdm

    def begin_epoch(self, epoch: int, batches: int) -> None:
        """Before the first batch."""
        if self._tqdm is not None:
            self._bar = self._tqdm(total=batches, desc=f"epoch {epoch + 1}/{self.epochs}", unit="batch")

    def batch(self, loss: float) -> None:
        """After each batch; `loss` is the mean so far."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
            self._bar.update()

    def end_epoch(self, epoch: int, logs: Mapping[str, float]) -> None:
        """After the last batch and validation."""
        figures = "  ".join(f"{name} {value:.4f}" for name, value in logs.items() if name not in ("lr", "seconds"))
        if self._bar is not None:
            self._bar.set_postfix_str(figures)
            self.close()
        elif self.verbose:
            print(f"epoch {epoch + 1}/{self.epochs}  {logs['seconds']:.1f} s  {figures}", flush=True)

    def say(self, text: str) -> None:
        """A line of its own."""
        if self.verbose:
            self.close()
            print(text, flush=True)

    def close(self) -> None:
        """Leave the terminal in order."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


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
