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

import collections
import copy
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import pylstm
from fuzz_loop import SECONDS, Finding, Promises, arguments, keep, limited, run, search, words
from fuzz_mutations import mutate
from pylstm.losses import by_name as losses
from pylstm.training import checkpoint, resuming
from pylstm.training import loop as training

# ---- what must hold --------------------------------------------------------------------------------------------------


class ModelPromises(Promises):
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
    inner = [metadata(layer) for layer in getattr(container, "layers", ()) if hasattr(layer, "layers")]
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


def seeds(folder: Path) -> list[bytes]:
    """Good files: models of every kind of layer, and checkpoints."""
    every = pylstm.Sequential(
        [
            pylstm.Columns([pylstm.Embedding(3, 2, padding_idx=0), pylstm.Embedding(2, 1)]),
            pylstm.Dropout(0.25, same_for_all_steps=True),
            pylstm.LSTM(3, 2, 2, batch_first=True, bidirectional=True, proj_size=1, dropout=0.1),
            pylstm.Residual([pylstm.GRU(2, 2, batch_first=True, reset_after=False)]),
            pylstm.RNN(2, 2, nonlinearity="relu", batch_first=True, recurrent_bias=False),
            pylstm.LSTM(2, 2, batch_first=True, coupled=True, peephole=True, activation=("elu", 0.5), clip=3.0),
            pylstm.Sequential([pylstm.Linear(2, 2, bias=False), pylstm.Activation("tanh")]),
            pylstm.Conv1d(2, 2, 2, dilation=2, causal=True),
            pylstm.LayerNorm(2),
            pylstm.MaxOverTime(),
        ],
        seed=0,
    )
    every.layers[5].metadata = {"inner": ["x"]}
    every.metadata = {"words": {"a": 1, "ß": 2}, "numbers": [0.5, None, True], "odd": {3: (1, "a"), ("b", 1): {0: ()}}}
    small = pylstm.Sequential([pylstm.Linear(1, 1)], seed=0)
    shared = pylstm.Embedding(3, 2)
    pair = pylstm.EncoderDecoder(
        [shared, pylstm.LSTM(2, 1, batch_first=True, bidirectional=True)],
        [shared, pylstm.GRU(2, 2, batch_first=True)],
        "additive", begin=0, end=1, tie_embeddings=True, seed=0,
    )  # fmt: skip
    paths = []
    for end in ("npz", "safetensors"):
        for name, model in (("every", every), ("small", small), ("pair", pair)):
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


def fuzz(seed: int, **options) -> collections.Counter:
    """As `search` does it; the good files are changed oftener, and of them the checkpoints."""
    return search(ModelPromises, seeds, mutate, (tuple(range(8)), (3, 7)), seed, **options)


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
    promises = ModelPromises(folder)
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
    parser = arguments(__doc__.split("\n\n")[0], 60.0)
    parser.add_argument("--atheris", action="store_true")
    args = parser.parse_args()
    if args.atheris and not args.replay:
        warnings.simplefilter("ignore")
        with_atheris(args.minutes, args.seed, args.found)
        return
    run(args, ModelPromises, fuzz)


if __name__ == "__main__":
    main()
