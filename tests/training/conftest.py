"""What tests of training share."""

from __future__ import annotations

import signal
import warnings

import pytest


@pytest.fixture
def sigint_heard():
    """Python's own handler: a process started in the background of a shell ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
