"""A coverage-guided fuzz of model files. `python tools/fuzz_files.py --minutes 60`; `--help` says more.

Files are taken apart, changed and put together again, so that checksums, offsets and lengths fit and the change gets
past them: values of the structure, entries of a header, numbers of a shape, fields of a zip; and bytes anywhere. What
reaches lines of pylstm's that no file has reached before is kept, and changed further.

What may happen: the file is refused with a ValueError that has words; or it is loaded (and resumed from, where it is a
checkpoint), saved, and loaded again with the same bits. Never another exception, more than 64 MiB and eight times the
file, or two seconds of the processor. A refused resume must leave everything as it was. What breaks this is printed,
and saved for `--replay`. With `--atheris` the library of that name (`pip install atheris`) chooses what to keep.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import faulthandler
import hashlib
import os
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

import pylstm
from fuzz_mutations import mutate, pick
from pylstm.losses import by_name as losses
from pylstm.training import checkpoint, resuming
from pylstm.training import loop as training

try:
    import resource
except ImportError:  # Windows
    resource = None

ROOM, SECONDS = 64 << 20, 2.0
SOURCE = tuple(str(Path(pylstm.__file__).parent / part) for part in ("files", "training", "layers", "models"))
# ---- what must hold --------------------------------------------------------------------------------------------------


class Finding(AssertionError):
    """A file that breaks a promise."""


class Promises:
    """Tries files in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.slowest, self.count = folder, 0.0, 0

    def check(self, data: bytes) -> str:
        """How it went, or raises."""
        end = "npz" if data[:2] == b"PK" else "safetensors"
        path, again = self.folder / f"m.{end}", self.folder / f"again.{end}"
        path.write_bytes(data)
        with limited(len(data)):
            began = time.thread_time()
            try:
                model = pylstm.load(path)
            except ValueError as error:
                words(error)
                model = None
            self.in_time(began)
            if model is None:
                return "refused"
            before = state_of(model)
            model.save(again)
            same("loaded", state_of(pylstm.load(again)), before)
            how = self.resume(path, again)
            self.in_time(began, 4 * SECONDS)  # many loads and saves
        self.run(model)
        return how

    def in_time(self, began: float, most: float = SECONDS) -> None:
        took = time.thread_time() - began
        self.slowest = max(self.slowest, took)
        if took > most:
            raise Finding(f"took {took:.1f} seconds")

    def resume(self, path: Path, again: Path) -> str:
        run = begun(path)
        before = copy.deepcopy(everything(run))
        try:
            run.epoch = checkpoint.restore(run, resuming.find(run, path, [])) - 1
        except ValueError as error:
            words(error)
            same("a refused resume", everything(run), before)
            return "loaded"
        run.save(again)
        other = begun(again)
        other.epoch = checkpoint.restore(other, resuming.find(other, again, [])) - 1
        same("resumed", everything(other), everything(run))
        return "resumed"

    def run(self, model) -> None:
        """A small model computes, or says why not."""
        shape = model.input_shape()
        if model.num_parameters > 10_000 or shape is None or (shape[-1] or 1) > 100:
            return
        x = np.zeros((2, *((3,) * (len(shape) == 3)), shape[-1] or 1), np.float32)
        if model.params and next(iter(model.params)).endswith("0.weight") and "Embedding" in repr(model):
            x = np.zeros((2, 3) if shape[-1] is None else x.shape, np.int64)
        try:
            with np.errstate(all="ignore"):
                model.forward(x)
                model.forward(x)
        except (ValueError, TypeError, IndexError) as error:
            words(error)


def words(error: Exception) -> None:
    if not 5 < len(str(error)) < 5000:
        raise Finding(f"an error of {len(str(error))} characters") from error


def begun(path: Path) -> training.Training:
    """A fit of this very model, right before it resumes."""
    run = training.Training(
        pylstm.load(path), pylstm.Adam(), losses.loss_function("mse"), {},
        pylstm.WarmUp(1, pylstm.ReduceOnPlateau(patience=0)), [pylstm.EarlyStopping(9)],
        remembered=("mse", []), seed=None, clip_norm=None, clip_value=None, truncate=None,
    )  # fmt: skip
    run.callbacks.append(pylstm.ModelCheckpoint(path))
    for callback in run.callbacks:
        callback.begin(run)
    return run


def state_of(model):
    return (
        repr(model), model._dropout_state(), model._loss, model._metrics, metadata(model),
        {name: (str(value.dtype), value.shape, value.tobytes()) for name, value in model.params.items()},
    )  # fmt: skip


def metadata(container):
    inner = [metadata(layer) for layer in container.layers if hasattr(layer, "layers")]
    return getattr(container, "metadata", None), inner


def everything(run):
    slots = run.optimizer.state_dict().pop("slots")
    arrays = {n: {k: (v.shape, v.tobytes()) for k, v in own.items()} for n, own in slots.items()}
    numbers, more = checkpoint.capture(run)
    more = {name: (value.shape, value.tobytes()) for name, value in more.items()}
    return [state_of(run.model), arrays, more, repr({**numbers, "entropy": run.entropy})]


def same(what, got, want) -> None:
    if got != want:
        raise Finding(f"{what}: not the same again")


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


# ---- the loop --------------------------------------------------------------------------------------------------------


class Coverage:
    """Which lines of the parts that read files have run, and what is new; with sys.monitoring each is paid for once."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()
        self.monitoring = getattr(sys, "monitoring", None)

    def __enter__(self):
        if self.monitoring is not None:
            with contextlib.suppress(ValueError):  # somebody else has it: blind, but it works
                self.monitoring.use_tool_id(self.monitoring.COVERAGE_ID, "fuzz_files")
                self.monitoring.register_callback(
                    self.monitoring.COVERAGE_ID, self.monitoring.events.LINE, self.line
                )  # fmt: skip
                self.monitoring.set_events(self.monitoring.COVERAGE_ID, self.monitoring.events.LINE)
        return self

    def __exit__(self, *_):
        if self.monitoring is not None and self.monitoring.get_tool(self.monitoring.COVERAGE_ID) == "fuzz_files":
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


def seeds(folder: Path) -> list[bytes]:
    """Good files: models of every kind of layer, and checkpoints."""
    every = pylstm.Sequential(
        [
            pylstm.Columns([pylstm.Embedding(3, 2, padding_idx=0), pylstm.Embedding(2, 1)]),
            pylstm.Dropout(0.25, same_for_all_steps=True),
            pylstm.LSTM(3, 2, 2, batch_first=True, bidirectional=True, proj_size=1, dropout=0.1),
            pylstm.Residual([pylstm.GRU(2, 2, batch_first=True, reset_after=False)]),
            pylstm.RNN(2, 2, nonlinearity="relu", batch_first=True, recurrent_bias=False),
            pylstm.Sequential([pylstm.Linear(2, 2, bias=False), pylstm.Activation("tanh")]),
            pylstm.MaxOverTime(),
        ],
        seed=0,
    )
    every.layers[5].metadata = {"inner": ["x"]}
    every.metadata = {"words": {"a": 1, "ß": 2}, "numbers": [0.5, None, True], "odd": {3: (1, "a"), ("b", 1): {0: ()}}}
    small = pylstm.Sequential([pylstm.Linear(1, 1)], seed=0)
    paths = []
    for end in ("npz", "safetensors"):
        for name, model in (("every", every), ("small", small)):
            paths.append(folder / f"{name}.{end}")
            model.save(paths[-1])
        paths.append(folder / f"checkpoint.{end}")
        net = pylstm.Sequential(
            [pylstm.Dropout(0.1), pylstm.GRU(1, 2, 2, dropout=0.1, batch_first=True), pylstm.Linear(2, 1)], seed=0
        )
        x = np.ones((2, 3, 1), np.float32)
        keep = [pylstm.EarlyStopping(9), pylstm.ModelCheckpoint(paths[-1])]
        net.fit(
            x, x, loss="mse", optimizer=pylstm.Adam(), epochs=2, validation_data=(x, x), seed=0, verbose=0,
            schedule=pylstm.WarmUp(1, pylstm.ReduceOnPlateau(patience=0)), callbacks=keep,
        )  # fmt: skip
    return [path.read_bytes() for path in paths]


def fuzz(seed: int, *, calls: int | None = None, minutes: float | None = None, found: Path | None = None,
         report: float = 30.0) -> collections.Counter:  # fmt: skip
    """How often each outcome came; with `found`, files that break a promise are kept there, else the first raises."""
    outcomes: collections.Counter = collections.Counter()
    with tempfile.TemporaryDirectory() as name, Coverage() as coverage, contextlib.ExitStack() as last:
        last.callback(faulthandler.cancel_dump_traceback_later)
        promises = Promises(Path(name))
        corpus = seeds(Path(name))
        for data in corpus:
            if coverage.news(promises.check, data)[0] == "refused":
                raise Finding("a good file is refused")
        began = shown = time.monotonic()
        number = 0
        while (calls is None or number < calls) and (minutes is None or time.monotonic() - began < 60 * minutes):
            rng = np.random.default_rng([seed, number])
            if number % 50 == 0:
                faulthandler.dump_traceback_later(120, exit=True)  # a file that hangs
            data = mutate(pick(pick([corpus, corpus[:6], [corpus[2], corpus[5]], corpus[-10:]], rng), rng), rng)
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


def with_atheris(minutes: float, seed: int, found: Path) -> None:
    """libFuzzer's choice of what to keep, our changes. Ends the process."""
    import atheris

    for name in (
        "files.tensors",
        "files.strict_json",
        "files.marks",
        "files.reading",
        "files.structure",
        "training.checkpoint",
        "layers.containers",
    ):
        module = sys.modules[f"pylstm.{name}"]
        for value in list(vars(module).values()):
            if callable(value) and getattr(value, "__module__", "") == module.__name__ and hasattr(value, "__code__"):
                atheris.instrument_func(value)
    folder = Path(tempfile.mkdtemp())
    promises = Promises(folder)
    (folder / "seeds").mkdir()
    for i, data in enumerate(seeds(folder)):
        (folder / "seeds" / str(i)).write_bytes(data)

    def one(data: bytes) -> None:
        try:
            promises.check(data)
        except Exception:
            keep(found, data, "atheris")

    def other(data: bytes, most: int, number: int) -> bytes:
        return mutate(data, np.random.default_rng(number))[:most]

    options = [f"-max_total_time={int(60 * minutes)}", f"-seed={seed + 1}", "-rss_limit_mb=0", "-max_len=200000"]
    atheris.Setup([sys.argv[0], *options, str(folder / "seeds")], one, custom_mutator=other)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--found", type=Path, default=Path("fuzz_found"), help="where files that break a promise go")
    parser.add_argument("--replay", type=Path, nargs="*", help="files to try, and nothing else")
    parser.add_argument("--atheris", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.replay:
        with tempfile.TemporaryDirectory() as name:
            for path in args.replay:
                print(path, Promises(Path(name)).check(path.read_bytes()))
        return
    if args.atheris:
        with_atheris(args.minutes, args.seed, args.found)
        return
    outcomes = fuzz(args.seed, minutes=args.minutes, found=args.found)
    print(", ".join(f"{name} {count:,}" for name, count in outcomes.most_common()))
    if any(name.startswith("FOUND") for name in outcomes):
        sys.exit(f"some files break a promise: {args.found}")


if __name__ == "__main__":
    main()
