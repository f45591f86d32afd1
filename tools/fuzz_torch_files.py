"""A coverage-guided fuzz of files in PyTorch's formats. `python tools/fuzz_torch_files.py --minutes 10`.

Good files of every kind are changed: bytes, opcodes and numbers of their pickles, entries of their archives, with
checksums and lengths that fit or do not. What reaches lines of the reader that no file has reached before is kept, and
changed further. A file is refused with a ValueError that has words, and the model is as it was; or it is loaded. Never
another exception, more than 64 MiB and eight times the file, or two seconds of the processor.
"""

from __future__ import annotations

import collections
import io
import pickletools
import struct
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np

import pylstm
from fuzz_loop import Finding, Promises, arguments, limited, run, search, words
from fuzz_mutations import INTERESTING, broken, pick

DATA = Path(__file__).resolve().parent.parent / "tests" / "files" / "data" / "torch"
PIECES = [
    b"(", b")", b"t", b"\x85", b"\x86", b"\x87", b"]", b"}", b"a", b"e", b"s", b"u", b"R", b"b", b"Q", b"q\0", b"q\1",
    b"h\0", b"h\1", b"h\2", b"h\5", b"N", b"\x88", b"\x89", b"K\0", b"K\2", b"M\xff\xff", b"J\xff\xff\xff\xff",
    b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0", b"G\x7f\xf0\0\0\0\0\0\0", b"X\1\0\0\0a", b"\x8c\x010", b"0", b"\x94",
    b"ctorch\nFloatStorage\n", b"ctorch\nBFloat16Storage\n", b"ctorch\nfloat16\n", b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n", b"ctorch\nSize\n", b".", b"\x93",
]  # fmt: skip


class WeightsPromises(Promises):
    def check(self, data: bytes) -> str:
        """How it went, or raises."""
        path = self.folder / "weights"
        path.write_bytes(data)
        how = "refused"
        model = pylstm.Linear(3, 2, bias=False)
        before = model.state_dict()["weight"]
        with limited(len(data)):
            for name in ("row", "transposed", "bfloat16", "expanded"):
                began = time.thread_time()
                try:
                    pylstm.from_torch(path, model, mapping={"weight": name})
                    how = "loaded"
                    before = model.state_dict()["weight"]
                except ValueError as error:
                    words(error)
                    if not np.array_equal(model.params["weight"], before, equal_nan=True):
                        raise Finding("a refused file has changed the model") from error
                self.in_time(began)
        return how


def seeds(_: Path) -> list[bytes]:
    """Good files: zips with and without checksums, streams, safetensors."""
    files = [(DATA / name).read_bytes() for name in ("kinds.pt", "kinds_before_1_6.pt")]
    kinds = (
        ("row", "F32", 0, 24),
        ("transposed", "F64", 24, 72),
        ("bfloat16", "BF16", 72, 84),
        ("expanded", "I8", 84, 90),
    )
    parts = [f'"{n}":{{"dtype":"{code}","shape":[2,3],"data_offsets":[{at},{end}]}}' for n, code, at, end in kinds]
    header = ("{" + ",".join(parts) + "}").encode()
    files.append(struct.pack("<Q", len(header)) + header + bytes(range(90)))
    return [*files, without_checksums(files[0])]


def without_checksums(data: bytes) -> bytes:
    """As PyTorch writes them where it is told to: a change gets past them."""
    changed, at = bytearray(data), data.find(b"PK\1\2")
    while at >= 0:
        changed[at + 16 : at + 20] = bytes(4)
        at = data.find(b"PK\1\2", at + 1)
    return bytes(changed)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Another file: mostly one that is right but for a few things."""
    for _ in range(int(pick([1, 1, 1, 2, 3], rng))):
        try:
            if data[:2] == b"PK" and rng.random() < 0.7:
                data = rewritten(data, rng)
            elif data[:1] == b"\x80" and rng.random() < 0.8:
                start = object_of(data)
                data = data[:start] + other_pickle(data[start:], rng)
            else:
                data = broken(data, rng)
        except Exception:  # noqa: PERF203  too broken to be taken apart
            data = broken(data, rng)
    return data[:100_000]


def rewritten(data: bytes, rng) -> bytes:
    """The archive again, with another pickle or other entries, and checksums that fit."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [[name, archive.read(name)] for name in archive.namelist()]
    at = int(rng.integers(len(entries)))
    kind = int(rng.integers(8))
    if kind < 5:
        entry = next(one for one in entries if one[0].endswith("data.pkl"))
        entry[1] = other_pickle(entry[1], rng)
    elif kind == 5:
        entries[at][1] = broken(entries[at][1], rng)
    elif kind == 6:
        entries.pop(at)
    else:
        entries[at][0] = pick(["kinds/data.pkl", "kinds/data/0", "data.pkl", "kinds/byteorder", "x/data/1"], rng)
    buffer = io.BytesIO()
    warnings.simplefilter("ignore")  # of names that are there twice
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if rng.random() < 0.05 else zipfile.ZIP_STORED) as archive:
        for name, value in entries:
            archive.writestr(zipfile.ZipInfo(name), value)
    return buffer.getvalue()


def object_of(data: bytes) -> int:
    """Where the fourth pickle of a stream begins, which has the tensors."""
    stream = io.BytesIO(data)
    for _ in range(3):
        collections.deque(pickletools.genops(stream), maxlen=0)
    return stream.tell()


def other_pickle(data: bytes, rng) -> bytes:
    """Another pickle, changed mostly where an opcode begins."""
    kind = int(rng.integers(6))
    opcodes = [(code.name, place) for code, _, place in pickletools.genops(data)]
    at = int(pick(opcodes, rng)[1])
    if kind == 0:
        return data[:at] + pick(PIECES, rng) + data[at:]
    if kind == 1:
        return data[:at] + pick(PIECES, rng) + data[at + int(rng.integers(1, 5)) :]
    if kind == 2:  # one of its numbers
        where = int(pick([place for code, place in opcodes if code == "BININT1"], rng))
        value = int(pick([n for n in INTERESTING if n < 2**80], rng)) * int(pick([1, -1], rng))
        number = value.to_bytes(11, "little", signed=True)
        return data[:where] + b"\x8a\x0b" + number + data[where + 2 :]
    if kind == 3:
        where = int(pick([place for code, place in opcodes if code == "BININT1"], rng))
        return data[: where + 1] + bytes([int(rng.integers(8))]) + data[where + 2 :]
    if kind == 4:  # a part of it twice
        a, b = sorted((at, int(pick(opcodes, rng)[1])))
        return data[:b] + data[a:b] + data[b:]
    return broken(data, rng)


def fuzz(seed: int, **options) -> collections.Counter:
    """As `search` does it; the good files are changed oftener."""
    return search(WeightsPromises, seeds, mutate, (tuple(range(4)),), seed, **options)


def main() -> None:
    run(arguments(__doc__.split("\n\n")[0], 10.0).parse_args(), WeightsPromises, fuzz)


if __name__ == "__main__":
    main()
