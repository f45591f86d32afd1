"""Files in PyTorch's formats that would cost memory and time, and random changes: refused cheaply, or loaded."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pylstm
from support.torch_files import GOOD, HALF, as_zip, name, number, patched, tensor, text, weights

DATA = Path(__file__).parent / "data" / "torch"
MiB = 2**20

BOMBS = {
    "dicts": lambda: b"\x80\x02](" + b"}" * (4 * MiB) + b"e.",
    "marks": lambda: b"\x80\x02" + b"(" * (4 * MiB) + b".",
    "lists in lists": lambda: b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
    "tuples in tuples as a key": lambda: b"\x80\x02}N" + b"\x85" * 10**5 + b"Ns.",
    "dicts in dicts": lambda: b"\x80\x02" + (b"}" + text("a")) * 10**5 + b"N" + b"s" * 10**5 + b".",
    "nothing at all": lambda: b"\x80\x02" * (2 * MiB) + b"N.",
    "memoised": lambda: b"\x80\x04N" + b"\x94" * (4 * MiB) + b".",
    "texts": lambda: b"\x80\x02](" + b"\x8c\x02ab" * (3 * MiB // 2) + b"e.",
    "wide text": lambda: b"\x80\x02" + text("a" * (16 * MiB) + "\U0001f600") + b".",
    "items": lambda: b"\x80\x02](" + b"}K\0Ns" * MiB + b"e.",
    "keys of one hash": lambda: b"\x80\x02}(" + b"".join(
        number(i * (2**61 - 1)) + b"N" for i in range(1, 20_000)) + b"u.",
    "names and calls": lambda: b"\x80\x02](" + name("collections.OrderedDict") + b"q\0)R" + b"h\0)R" * MiB + b"e.",
    "names behind marks": lambda: b"\x80\x02" + b"(" * 10**5 + name("builtins.set") * 10**5 + b".",
    "OrderedDicts of one list": lambda: b"\x80\x02](" + name("collections.OrderedDict") + b"q\0](" + b"".join(
        text(f"{i}") + b"N\x86" for i in range(20_000)) + b"e\x85q\1" + b"h\0h\1R" * 100_000 + b"e.",
    "a dict at many places": lambda: b"\x80\x02}q\0" + b"".join(
        b"0}(" + b"".join(text(f"{k}") + b"h" + bytes([level]) for k in range(20)) + b"uq" + bytes([level + 1])
        for level in range(7)) + b".",
    "tensors at many places": lambda: b"\x80\x02}(" + text("t") + tensor() + b"uq\0" + b"".join(
        b"0}(" + b"".join(text(f"{k}" * 20) + b"h" + bytes([level]) for k in range(30)) + b"uq" + bytes([level + 1])
        for level in range(7)) + b".",
    "a dict in itself": lambda: b"\x80\x02}q\0" + text("a") + b"h\0s" + text("b") + tensor() + b"s.",
    "a text that is not there": lambda: b"\x80\x02X\xff\xff\xff\x7f" + b"a" * MiB + b".",
    "a text of 2^63 letters": lambda: b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"a" * MiB + b".",
    "a text of less than no letters": lambda: b"\x80\x02T\xff\xff\xff\xff" + b"a" * MiB + b".",
    "a long integer": lambda: b"\x80\x02\x8b\xff\xff\x0f\0" + b"\xff" * (2 * MiB) + b".",
    "a long name": lambda: b"\x80\x02c" + b"a" * (4 * MiB) + b"\n.",
    "long keys": lambda: weights(tensor(), b"".join(text(f"{i:08}" * 10**4) + tensor() for i in range(100))),
    "a shape of everything": lambda: weights(tensor(shape=(1,) * 10**4, strides=(1,) * 10**4)),
    "3,000 names of a tensor": lambda: weights(tensor(), b"".join(text(f"{i}") + tensor() for i in range(3_000))),
}  # fmt: skip

LOADER = """
import os, resource, signal, sys, time, pylstm
folder = sys.argv[1]
layer = pylstm.Linear(3, 2, bias=False)
pylstm.from_torch(os.path.join(folder, "good"), layer)
try:
    pylstm.from_torch({"x": layer.params["weight"]}, layer)
except ValueError:
    pass
signal.alarm(300)
for name in sorted(os.listdir(folder)):
    path = os.path.join(folder, name)
    now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (96 << 20) + 8 * os.path.getsize(path), resource.RLIM_INFINITY))
    began = time.thread_time()
    try:
        pylstm.from_torch(path, layer)
        how = "loaded 0"
    except ValueError as error:
        how = f"refused {len(str(error))}"
    except BaseException as error:
        how = f"{type(error).__name__} 0"
    print(name, how, time.thread_time() - began, flush=True)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit of memory, and /proc")
def test_hostile_files_cost_little(tmp_path):
    """Each within 96 MiB and eight times its own size, and some seconds."""
    names = {}
    for i, (what, make) in enumerate(BOMBS.items()):
        names[f"{i:02}"] = what
        (tmp_path / f"{i:02}").write_bytes(as_zip(make()))
    (tmp_path / "good").write_bytes(GOOD)
    found = subprocess.run(
        [sys.executable, "-c", LOADER, str(tmp_path)], capture_output=True, text=True, check=False, cwd="/"
    )
    lines = [line.split() for line in found.stdout.splitlines()]
    assert len(lines) == len(BOMBS) + 1, (lines[-1:], found.stderr[-2000:])
    for file, outcome, length, seconds in lines:
        what = names.get(file, "good")
        assert outcome == ("loaded" if what in ("good", "3,000 names of a tensor") else "refused"), what
        assert int(length) < 1500, what
        assert float(seconds) < 20, what  # a few at most; hours is what it must not be


# ---- random changes --------------------------------------------------------------------------------------------------


def without_checksums(data: bytes) -> bytes:
    """PyTorch may be told to leave them out, and then a change gets past them."""
    at = data.find(b"PK\1\2")
    while at >= 0:
        data = patched(data, at + 16, "<L", 0)
        at = data.find(b"PK\1\2", at + 1)
    return data


@pytest.mark.parametrize("file", ["kinds.pt", "kinds_before_1_6.pt", "checkpoint_before_1_6.pt", "safetensors"])
def test_random_changes(file):
    """Loaded, or refused with words."""
    rng = np.random.default_rng(0)
    good = HALF if file == "safetensors" else without_checksums((DATA / file).read_bytes())
    key = "embedding.weight" if "check" in file else "weight" if file == "safetensors" else "row"
    seen = {"loaded": 0, "refused": 0}
    for _ in range(300):
        data = bytearray(good)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(256) if rng.random() < 0.5 else data[at] ^ (1 << rng.integers(8))
        if rng.random() < 0.1:
            del data[int(rng.integers(len(data))) :]
        shape = (6, 3) if "check" in file else (2, 3)
        layer = pylstm.Linear(shape[1], shape[0], bias=False)
        before = layer.state_dict()["weight"]
        try:
            pylstm.from_torch(io.BytesIO(bytes(data)), layer, mapping={"weight": key})
            seen["loaded"] += 1
        except ValueError as error:
            words = str(error)
            assert 5 < len(words) < 3000
            assert np.array_equal(layer.params["weight"], before)
            seen["refused"] += 1
    assert min(seen.values()) > 10, seen
