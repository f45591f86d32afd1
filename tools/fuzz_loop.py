"""What the fuzzers of files share: the search for files that reach new lines, and what a file may cost.

A fuzzer has good files, changes of them, and `Promises`, which tries one. What reaches lines of pylstm's that no file
has reached before is kept, and changed further; what breaks a promise is printed, and saved for `--replay`.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import hashlib
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pylstm
from fuzz_mutations import pick

try:
    import resource
except ImportError:  # Windows
    resource = None

ROOM, SECONDS = 64 << 20, 2.0
SOURCE = tuple(str(Path(pylstm.__file__).parent / part) for part in ("files", "training", "layers", "models"))


class Finding(AssertionError):
    """A file that breaks a promise."""


class Promises:
    """Tries files in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.slowest = folder, 0.0

    def check(self, data: bytes) -> str:
        """How it went, or raises."""
        raise NotImplementedError

    def in_time(self, began: float, most: float = SECONDS) -> None:
        took = time.thread_time() - began
        self.slowest = max(self.slowest, took)
        if took > most:
            raise Finding(f"took {took:.1f} seconds")


def words(error: Exception) -> None:
    if not 5 < len(str(error)) < 5000:
        raise Finding(f"an error of {len(str(error))} characters") from error


@contextlib.contextmanager
def limited(size: int):
    """A file that takes more memory than it may meets a MemoryError."""
    if resource is None or not os.path.exists("/proc/self/statm"):
        yield
        return
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM + 8 * size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class Coverage:
    """Which lines of the parts that read files have run, and what is new; with sys.monitoring each is paid for once."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()
        self.monitoring = getattr(sys, "monitoring", None)

    def __enter__(self):
        if self.monitoring is not None:
            with contextlib.suppress(ValueError):  # somebody else has it: blind, but it works
                self.monitoring.use_tool_id(self.monitoring.COVERAGE_ID, "fuzz")
                self.monitoring.register_callback(
                    self.monitoring.COVERAGE_ID, self.monitoring.events.LINE, self.line
                )  # fmt: skip
                self.monitoring.set_events(self.monitoring.COVERAGE_ID, self.monitoring.events.LINE)
        return self

    def __exit__(self, *_):
        if self.monitoring is not None and self.monitoring.get_tool(self.monitoring.COVERAGE_ID) == "fuzz":
            self.monitoring.set_events(self.monitoring.COVERAGE_ID, 0)
            self.monitoring.free_tool_id(self.monitoring.COVERAGE_ID)

    def line(self, code, number):
        if code.co_filename.startswith(SOURCE):
            self.seen.add((code.co_filename, number))
        return self.monitoring.DISABLE

    def trace(self, frame, event, argument):  # noqa: ARG002
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        self.seen.add((frame.f_code.co_filename, frame.f_lineno))
        return self.trace

    def news(self, call, *arguments):
        """The call's result, and whether a line has run that never ran before."""
        before = len(self.seen)
        old = sys.gettrace()
        try:
            if self.monitoring is None:
                sys.settrace(self.trace)
            result = call(*arguments)
        finally:
            if self.monitoring is None:
                sys.settrace(old)
        return result, len(self.seen) > before


def search(
    kind: type[Promises],
    good: Callable[[Path], list[bytes]],
    mutate: Callable[[bytes, np.random.Generator], bytes],
    favourites: tuple[tuple[int, ...], ...],
    seed: int,
    *,
    calls: int | None = None,
    minutes: float | None = None,
    found: Path | None = None,
    report: float = 30.0,
) -> collections.Counter:
    """How often each outcome came; with `found`, files that break a promise are kept there, else the first raises.

    good: makes good files, with a folder at hand. favourites: the places of those among them that are changed oftener.
    """
    outcomes: collections.Counter = collections.Counter()
    with tempfile.TemporaryDirectory() as name, Coverage() as coverage, contextlib.ExitStack() as last:
        last.callback(faulthandler.cancel_dump_traceback_later)
        promises = kind(Path(name))
        corpus = good(Path(name))
        often = [[corpus[place] for place in places] for places in favourites]
        for data in corpus:
            if coverage.news(promises.check, data)[0] == "refused":
                raise Finding("a good file is refused")
        began = shown = time.monotonic()
        number = 0
        while (calls is None or number < calls) and (minutes is None or time.monotonic() - began < 60 * minutes):
            rng = np.random.default_rng([seed, number])
            if number % 50 == 0:
                faulthandler.dump_traceback_later(120, exit=True)  # a file that hangs
            data = mutate(pick(pick([corpus, *often, corpus[-10:]], rng), rng), rng)
            try:
                outcome, new = coverage.news(promises.check, data)
            except Exception as error:
                if found is None:
                    raise Finding(f"file {number} of seed {seed}") from error
                keep(found, data, f"file {number} of seed {seed}")
                outcome, new = f"FOUND {type(error).__name__}", False
            outcomes[outcome] += 1
            if new or (outcome != "refused" and rng.random() < 0.01):
                corpus.append(data)
            number += 1
            if (now := time.monotonic()) - shown > report:
                shown = now
                print(f"{number:,} files, {number / (now - began):,.0f} a second, {len(corpus)} kept, "
                      f"{len(coverage.seen)} lines, slowest {promises.slowest:.2f} s", flush=True)  # fmt: skip
    return outcomes


def keep(folder: Path, data: bytes, what: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (hashlib.sha256(data).hexdigest()[:12] + (".npz" if data[:2] == b"PK" else ".safetensors"))
    path.write_bytes(data)
    print(f"{what}: {path}\n{traceback.format_exc()}", file=sys.stderr, flush=True)


def arguments(description: str, minutes: float) -> argparse.ArgumentParser:
    """What a fuzzer is told on the command line. minutes: by default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--found", type=Path, default=Path("fuzz_found"), help="where files that break a promise go")
    parser.add_argument("--replay", type=Path, nargs="*", help="files to try, and nothing else")
    return parser


def run(args: argparse.Namespace, kind: type[Promises], fuzz: Callable[..., collections.Counter]) -> None:
    """Does what it was told. Ends the process where a file breaks a promise."""
    warnings.simplefilter("ignore")
    if args.replay:
        with tempfile.TemporaryDirectory() as name:
            for path in args.replay:
                print(path, kind(Path(name)).check(path.read_bytes()))
        return
    outcomes = fuzz(args.seed, minutes=args.minutes, found=args.found)
    print(", ".join(f"{name} {count:,}" for name, count in outcomes.most_common()))
    if any(name.startswith("FOUND") for name in outcomes):
        sys.exit(f"some files break a promise: {args.found}")
