"""Files of models loaded, beside the programs that they are of: onnxruntime, Keras and PyTorch.

python bench/loading.py --data FOLDER [--rounds 5] [--json result.json]

FOLDER holds `pretrained/silero_vad` and `formats/keras`; a PyTorch file of 48 MiB is made here. In every round each
library has a process of its own, which imports it, loads the file, and loads it again some times; they take turns, and
medians count. Loading is all until the model can be called, and its import stands apart.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

AGAIN = 7
Load = Callable[[Path], Any]


def ours_onnx() -> Load:
    import pylstm

    return pylstm.from_onnx


def onnxruntime() -> Load:
    import onnxruntime

    return lambda path: onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def ours_keras() -> Load:
    import pylstm

    return pylstm.from_keras


def keras() -> Load:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    return lambda path: keras.models.load_model(path, compile=False)


def ours_torch() -> Load:
    import pylstm

    lstm, head = pylstm.LSTM(1024, 1024, seed=0), pylstm.Linear(1024, 4096, seed=0)

    def load(path: Path) -> None:
        pylstm.from_torch(path, lstm, prefix="lstm.")
        pylstm.from_torch(path, head, prefix="head.")

    return load


def torch() -> Load:
    import torch

    model = _torch_model(torch)

    def load(path: Path) -> None:
        model.load_state_dict(torch.load(path, weights_only=True))

    return load


def _torch_model(torch: Any) -> Any:
    return torch.nn.ModuleDict({"lstm": torch.nn.LSTM(1024, 1024), "head": torch.nn.Linear(1024, 4096)})


def make_torch_file(path: Path) -> None:
    import torch

    torch.save(_torch_model(torch).state_dict(), path)


CASES: dict[str, tuple[str, Callable[[], Load], Callable[[], Load]]] = {
    "silero_vad_16k_op15.onnx": ("pretrained/silero_vad", ours_onnx, onnxruntime),
    "seq_text.keras": ("formats/keras", ours_keras, keras),
    "fun_attention.keras": ("formats/keras", ours_keras, keras),
    "seq_text.h5": ("formats/keras", ours_keras, keras),
    "lstm_48_mib.pt": ("", ours_torch, torch),
}
NAMES = {onnxruntime: "onnxruntime", keras: "Keras", torch: "PyTorch"}


def work(library: Callable[[], Load], path: Path, pipe: Any) -> None:
    """Sends seconds: of the import, of the first time, and of the others in the middle."""
    began = time.perf_counter()
    load = library()
    times = [time.perf_counter() - began]
    for _ in range(1 + AGAIN):
        began = time.perf_counter()
        kept = load(path)
        times.append(time.perf_counter() - began)
        del kept
    pipe.send((times[0], times[1], statistics.median(times[2:])))


def contest(sides: tuple[Callable[[], Load], Callable[[], Load]], path: Path, rounds: int) -> list[list[float]]:
    """Of each library its three medians."""
    context = multiprocessing.get_context("spawn")
    found: list[list[Any]] = [[], []]
    for _ in range(rounds):
        for times, library in zip(found, sides, strict=True):
            here, there = context.Pipe()
            process = context.Process(target=work, args=(library, path, there))
            process.start()
            there.close()
            times.append(here.recv())
            process.join()
    return [[statistics.median(column) for column in zip(*times, strict=True)] for times in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results: dict[str, Any] = {}
    print(
        "ms: import + first time, again\n| file | pylstm | other | | times as fast at first | again |\n"
        + "|---" * 6
        + "|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in given.cases:
            place, mine, theirs = CASES[name]
            path = given.data / place / name if place else Path(folder) / name
            if not place:
                process = multiprocessing.get_context("spawn").Process(target=make_torch_file, args=(path,))
                process.start()
                process.join()
            a, b = contest((mine, theirs), path, given.rounds)
            results[name] = {"pylstm": a, NAMES[theirs]: b, "ratio": [y / x for x, y in zip(a, b, strict=True)]}
            shown = [f"{1e3 * one[0]:.0f} + {1e3 * one[1]:.1f}, {1e3 * one[2]:.2f}" for one in (a, b)]
            ratios = [f"{b[at] / a[at]:.1f}" for at in (1, 2)]
            print(f"| {name} | {shown[0]} | {shown[1]} | {NAMES[theirs]} | {ratios[0]} | {ratios[1]} |", flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
