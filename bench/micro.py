"""Micro-bench of the kernels, one thread, each instruction set of this machine in turn. `python bench/micro.py`

- activations: ns per element on an array in L1, what a call costs taken out
- tile: GFLOP/s of one LSTM step by its number of rows, bias to output: the micro-kernel and the cell. The weights, 512
  KiB in float32, stay in L2. With few rows the input product runs ahead, many steps at once, as it always does then.
- packing: GB/s from weights as users have them to panels as the kernel wants them
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import pylstm
from calibrate import fastest, slope
from pylstm import _core

DTYPES = ["float32", "float64"]
ROWS = [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 32, 64]
WIDTH = 128  # I and H of the tile's layer
PACKED = [128, 512, 1024]
Found = dict[str, dict[str, float]]  # what -> at which size -> figure


def activations(dtype: str) -> Found:
    """ns per element."""
    rng = np.random.default_rng(0)
    most = 16384 // np.dtype(dtype).itemsize

    def call(name: str, size: int) -> Callable[[], Any]:
        return functools.partial(_core.activation, name, rng.standard_normal(size).astype(dtype))

    names = ["exp", "sigmoid", "tanh"]
    return {"activations, ns": {n: 1e9 * slope(functools.partial(call, n), most // 4, most, 300) for n in names}}


def tile(dtype: str) -> Found:
    """GFLOP/s of a step, from calls of two lengths, so that neither the call nor the first step counts."""
    layer = pylstm.LSTM(WIDTH, WIDTH, dtype=dtype, seed=0)
    rates = {}
    for rows in ROWS:

        def call(steps: int, rows: int = rows) -> Callable[[], Any]:
            x = np.zeros((steps, rows, WIDTH), dtype)
            out = np.empty_like(x)
            return functools.partial(layer, x, out=out, num_threads=1)

        calls = max(1, 60 // rows)
        seconds = slope(call, 16, 64, calls)
        rates[f"{rows} rows"] = 2 * 4 * WIDTH * 2 * WIDTH * rows / seconds * 1e-9
    return {"tile, GFLOP/s": rates}


def packing(dtype: str) -> Found:
    """GB/s, weights read."""
    rates = {}
    for size in PACKED:
        layer = pylstm.LSTM(size, size, dtype=dtype, seed=0)

        def pack(layer: pylstm.LSTM = layer) -> None:
            layer._parameters_changed()
            layer._packed()

        bytes_read = sum(value.nbytes for value in layer.state_dict().values())
        rates[f"H={size}"] = bytes_read / fastest(pack, 1) * 1e-9
    return {"packing, GB/s": rates}


def measure() -> dict[str, Found]:
    """ISA and dtype -> what -> at which size -> figure. Leaves the ISA as it was."""
    before, found = _core.isa(), {}
    for isa in _core.available_isas():
        _core.use_isa(isa)
        for dtype in DTYPES:
            found[f"{isa} {dtype}"] = activations(dtype) | tile(dtype) | packing(dtype)
    _core.use_isa(before)
    return found


def show(found: dict[str, Found]) -> None:
    """A table per kind: a line for every ISA and dtype."""
    for what, sizes in next(iter(found.values())).items():
        print(f"\n{what:<20}" + "".join(f"{size:>9}" for size in sizes))
        for name, kinds in found.items():
            digits = 3 if what.endswith("ns") else 1
            print(f"  {name:<18}" + "".join(f"{value:9.{digits}f}" for value in kinds[what].values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    began = time.perf_counter()
    found = measure()
    show(found)
    print(f"\n{time.perf_counter() - began:.0f} s")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
