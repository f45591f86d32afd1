"""What a training shows: a bar on a terminal, one line an epoch elsewhere, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


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
