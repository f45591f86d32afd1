"""A coverage-guided fuzz of ONNX files. `python tools/fuzz_onnx_files.py --minutes 10`.

Good files are changed: numbers, texts and messages of theirs, with lengths that fit, or bytes wherever they are. What
reaches lines of the reader that no file has reached before is kept, and changed further. A file is refused with a
ValueError that has words, or it is loaded, and its states and layers are looked for. Never another exception, more than
64 MiB and eight times the file, or two seconds of the processor.
"""

from __future__ import annotations

import collections
import time
from pathlib import Path

import numpy as np

import pylstm
from fuzz_loop import Promises, arguments, limited, run, search, words
from fuzz_mutations import INTERESTING, broken, pick
from pylstm.files.onnx.chain import Chain
from pylstm.files.onnx.protobuf import SPAN, VARINT, fields, span_field, varint

DATA = Path(__file__).resolve().parent.parent / "tests" / "files" / "data" / "onnx"
TEXTS = [
    b"LSTM", b"GRU", b"RNN", b"Constant", b"ConstantOfShape", b"Expand", b"Tile", b"Range", b"Concat", b"Gather",
    b"Add", b"MatMul", b"Slice", b"Reshape", b"If", b"Loop", b"Split", b"Pad", b"Cast", b"OneHot", b"Squeeze",
    b"Transpose", b"", b"value", b"axis", b"perm", b"hidden_size", b"direction", b"reverse", b"activations", b"Relu",
    b"com.microsoft", b"location", b"../x", b"/etc/passwd", b"model.onnx", b"\xff", b"a" * 300,
]  # fmt: skip


class OnnxPromises(Promises):
    def check(self, data: bytes) -> str:
        """How it went, or raises."""
        path = self.folder / "model.onnx"
        path.write_bytes(data)
        how = "refused"
        began = time.thread_time()
        with limited(len(data)):
            try:
                model = pylstm.from_onnx(path)
                how = "loaded"
                repr(model)
                if model.outputs:
                    Chain(model._program, model._program.outputs[0])
                how = "a chain"
                model.stream()
            except ValueError as error:
                words(error)
        self.in_time(began)
        return how


def seeds(folder: Path) -> list[bytes]:
    """Good files: those of PyTorch, and ours."""
    files = [path.read_bytes() for path in sorted(DATA.glob("*.onnx"))]
    for name, model in {
        "a": pylstm.Sequential([pylstm.Conv1d(2, 3, 3, padding=1), pylstm.LSTM(3, 2, batch_first=True),
                                pylstm.LastStep(), pylstm.LayerNorm(2), pylstm.Linear(2, 1)], seed=0),
        "b": pylstm.GRU(2, 2, num_layers=2, bidirectional=True, batch_first=True, seed=0),
    }.items():  # fmt: skip
        pylstm.to_onnx(model, folder / f"{name}.onnx", lengths=name == "b", states=name == "b")
        files.append((folder / f"{name}.onnx").read_bytes())
    return files


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Another file: mostly one that is right but for a few things."""
    for _ in range(int(pick([1, 1, 1, 2, 3], rng))):
        data = other_message(data, rng, 0) if rng.random() < 0.85 else broken(data, rng)
    return data[:100_000]


def other_message(data: bytes, rng, depth: int) -> bytes:
    """A message with another field somewhere in it; bytes that are none are changed as bytes."""
    try:
        parts = [(number, wire, bytes(value) if isinstance(value, memoryview) else value)
                 for number, wire, value in fields(memoryview(data))]  # fmt: skip
    except ValueError:
        return other_bytes(data, rng)
    if not parts:
        return other_bytes(data, rng)
    at = int(rng.integers(len(parts)))
    number, wire, value = parts[at]
    kind = int(rng.integers(12))
    if kind == 0:
        parts.pop(at)
    elif kind == 1:
        parts.insert(int(rng.integers(len(parts) + 1)), parts[at])
    elif kind == 2:
        parts[at] = (int(rng.integers(1, 26)), wire, value)
    elif wire == VARINT:
        parts[at] = (number, wire, int(pick([n for n in INTERESTING if n < 2**64], rng)) * int(pick([1, 1, -1], rng)))
    elif wire == SPAN:
        deeper = depth < 8 and len(value) > 1 and rng.random() < 0.85
        parts[at] = (number, wire, other_message(value, rng, depth + 1) if deeper else other_bytes(value, rng))
    else:
        parts[at] = (number, wire, rng.bytes(len(value)))
    return b"".join(field(*part) for part in parts)


def field(number: int, wire: int, value) -> bytes:
    if wire == VARINT:
        return varint(number << 3 | VARINT) + varint(value)
    if wire == SPAN:
        return span_field(number, value)
    return varint(number << 3 | wire) + value


def other_bytes(data: bytes, rng) -> bytes:
    kind = int(rng.integers(4))
    if kind == 0 or not data:
        return bytes(pick(TEXTS, rng))
    if kind == 1:
        return varint(int(pick([n for n in INTERESTING if n < 2**64], rng)))
    if kind == 2:
        return data * int(pick([2, 3, 30], rng)) if len(data) < 1000 else data[: len(data) // 2]
    return broken(data, rng)


def fuzz(seed: int, **options) -> collections.Counter:
    """As `search` does it; the good files are changed oftener."""
    return search(OnnxPromises, seeds, mutate, (tuple(range(7)),), seed, **options)


def main() -> None:
    run(arguments(__doc__.split("\n\n")[0], 10.0).parse_args(), OnnxPromises, fuzz)


if __name__ == "__main__":
    main()
