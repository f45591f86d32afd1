"""What a fault is."""

from __future__ import annotations

from typing import NamedTuple

PATIENCE = 240  # seconds for the tests of one fault, where it does not say otherwise


class Fault(NamedTuple):
    file: str
    old: str
    new: str
    tests: str  # arguments of pytest, without "tests/" in front
    patience: int = PATIENCE  # less where the fault makes a short test hang
