"""What this machine can do at best, measured in the same run as everything else. `python bench/calibrate.py`

With a C compiler, calibrate.c is built (bench time only; pylstm needs no compiler at run time) and measures in a
process of its own: a bare loop of fused multiply-adds, plain reading, two threads meeting. Without one, NumPy's matrix
product stands for the multiply-adds and its dot product for reading: both stay below the machine, so that the shares of
the limit come out too high; the report says which of the two it was. An activation's cost comes from pylstm's own
kernels, on an array that lies in L1.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("calibrate.c")
FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-pthread"]
LEVELS = ["l1", "l2", "l3", "memory"]
USUAL_CACHES = {"l1": 32 << 10, "l2": 512 << 10, "l3": 8 << 20}
# How often a cell of an LSTM calls each activation; the weights of their mean.
CALLS = {"sigmoid": 3, "tanh": 2}


@dataclass(frozen=True)
class Calibration:
    """Rates are FLOP/s and bytes/s, of all `threads` together (`all`) or of a single one (`one`)."""

    how: str
    threads: int
    clock: float  # cycles of a core per second
    caches: dict[str, int]  # bytes: of one core's l1 and l2, of the l3 they share
    one: dict[str, float]  # float32, float64: FLOP/s; l1, l2, l3, memory: bytes/s read
    all: dict[str, float]
    barrier: float = 0.0  # seconds until all threads have met
    activation: dict[str, dict[str, float]] = field(default_factory=dict)  # dtype -> name -> seconds per element

    def kappa(self, dtype: str) -> float:
        """Seconds per activation on one core: the mean over those of an LSTM's cell."""
        costs = self.activation[dtype]
        return sum(costs[name] * calls for name, calls in CALLS.items()) / sum(CALLS.values())

    def at_pace(self, pace: float) -> Calibration:
        """The same machine when its cores run `pace` times as fast: its memory and last cache do not change."""
        own = ["float32", "float64", "l1", "l2"]

        def scaled(rates: dict[str, float]) -> dict[str, float]:
            return {name: rate * (pace if name in own else 1) for name, rate in rates.items()}

        activation = {dtype: {k: cost / pace for k, cost in costs.items()} for dtype, costs in self.activation.items()}
        return replace(self, clock=self.clock * pace, one=scaled(self.one), all=scaled(self.all), activation=activation)

    def read_rate(self, bytes_per_core: float) -> float:
        """Bytes/s that one core reads, while all do, out of the smallest cache that holds this many bytes."""
        for level in ["l1", "l2"]:
            if bytes_per_core <= self.caches[level]:
                return self.all[level] / self.threads
        level = "l3" if bytes_per_core * self.threads <= self.caches["l3"] else "memory"
        return self.all[level] / self.threads


def cache_bytes() -> dict[str, int]:
    """Sizes of the caches as Linux tells them. (sysconf tells a virtual machine the size of its host's L3.)"""
    found = dict(USUAL_CACHES)
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            kind, level, size = [(index / name).read_text().strip() for name in ("type", "level", "size")]
        except OSError:
            continue
        if kind != "Instruction" and f"l{level}" in found and (number := re.fullmatch(r"(\d+)([KM]?)", size)):
            found[f"l{level}"] = int(number[1]) << {"": 0, "K": 10, "M": 20}[number[2]]
    return found


class Machine:
    """The compiled calibration, or its stand-in. A context manager: the program lives in a temporary folder."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._folder = tempfile.TemporaryDirectory(prefix="pylstm-bench-")
        self._program, self.how = build(Path(self._folder.name))

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def calibrate(self) -> Calibration:
        caches = cache_bytes()
        if self._program:
            sizes = [str(caches[level]) for level in ("l1", "l2", "l3")]
            found = json.loads(_output([self._program, str(self.threads), *sizes]))
            found.pop("vector_bytes")
        else:
            one, every = (_numpy_rates(count, caches) for count in (1, self.threads))
            found = {"one": one, "all": every, "clock": clock_from_system()}
        return Calibration(self.how, self.threads, caches=caches, activation=_activations(), **found)

    def now(self, seconds: float = 0.1) -> tuple[float, float] | None:
        """FLOP/s of float32 that a loop of multiply-adds keeps up for so long, and seconds until all threads have met,
        at this moment. Neighbours of a virtual machine slow it down for minutes; and its cores meet the faster, the
        closer to each other they have been put."""
        if not self._program:
            return None
        rate, meeting = json.loads(_output([self._program, str(self.threads), str(seconds)]))
        return rate, meeting


def build(folder: Path) -> tuple[str, str]:
    """The program and how it was made; an empty name where there is no compiler, or one that does not know this CPU."""
    for name in [os.environ.get("CC", ""), "cc", "gcc", "clang"]:
        if not name or not shutil.which(name):
            continue
        program = str(folder / "calibrate")
        if subprocess.run([name, *FLAGS, "-o", program, str(SOURCE)], capture_output=True, check=False).returncode:
            continue
        return program, f"calibrate.c, {_output([name, '--version']).splitlines()[0]}"
    return "", "NumPy's products, for want of a C compiler: shares of the limit come out too high"


def _output(command: list[str], **environment: str) -> str:
    return subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def clock_from_system() -> float:
    """Cycles per second by /proc/cpuinfo, else 3 GHz."""
    try:
        found = re.search(r"^cpu MHz\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return float(found[1]) * 1e6 if found else 3e9


def _activations() -> dict[str, dict[str, float]]:
    """Nothing where pylstm is not installed."""
    try:
        found: dict[str, dict[str, float]] = json.loads(_output([sys.executable, __file__, "--child", "activations"]))
    except subprocess.CalledProcessError:
        return {}
    return found


def _numpy_rates(threads: int, caches: dict[str, int]) -> dict[str, float]:
    """In a process of its own, since a BLAS counts its threads once."""
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"]
    command = [sys.executable, __file__, "--child", "numpy", json.dumps(caches), str(threads)]
    found: dict[str, float] = json.loads(_output(command, **dict.fromkeys(names, str(threads))))
    return found


def fastest(run: Callable[[], Any], calls: int, attempts: int = 15) -> float:
    """Seconds per call, the best of some attempts."""
    least = math.inf
    for _ in range(attempts):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        least = min(least, (time.perf_counter() - start) / calls)
    return least


def slope(run: Callable[[int], Callable[[], Any]], small: int, large: int, calls: int) -> float:
    """Seconds per element, without what a call costs: from the times for two sizes."""
    return (fastest(run(large), calls) - fastest(run(small), calls)) / (large - small)


def measure_activations() -> dict[str, dict[str, float]]:
    """dtype -> name -> seconds per element, 16 KiB at most: in and out fit L1 together."""
    import numpy as np

    from pylstm import _core

    rng = np.random.default_rng(0)

    def call(name: str, dtype: str, size: int) -> Callable[[], Any]:
        return functools.partial(_core.activation, name, rng.standard_normal(size).astype(dtype))

    return {
        dtype: {name: slope(functools.partial(call, name, dtype), most // 4, most, 500) for name in CALLS}
        for dtype, most in [("float32", 4096), ("float64", 2048)]
    }


def measure_numpy(caches: dict[str, int], threads: int) -> dict[str, float]:
    """The stand-ins: a large matrix product, and dot(x, x), which reads x once as the second operand is then in L1."""
    import numpy as np

    found = {}
    for dtype in ["float32", "float64"]:
        a = np.ones((2048, 2048), dtype)
        out = np.empty_like(a)
        found[dtype] = 2 * 2048**3 / fastest(functools.partial(np.matmul, a, a, out=out), 1, attempts=5)
    sizes = {"l1": caches["l1"] // 2, "l2": caches["l2"] // 2, "l3": caches["l3"] // 4, "memory": caches["l3"] * 4}
    for level, size in sizes.items():

        def dot(count: int) -> Callable[[], Any]:
            x = np.ones(count, np.float32)
            return functools.partial(np.dot, x, x)

        most = size // 4
        own = threads if level in ("l1", "l2") else 1  # what every core has one of, and what they share
        calls = max(1, (1 << 25) // size)
        found[level] = own * 4 / max(slope(dot, most // 4, most, calls), 1e-13)
    return found


def describe(found: Calibration) -> str:
    """A few lines for the report."""
    cores = f"{found.threads} thread" + "s" * (found.threads > 1)
    lines = [f"machine, by {found.how}:"]
    for dtype in ["float32", "float64"]:
        one, every = found.one[dtype] / 1e9, found.all[dtype] / 1e9
        lines.append(f"  {dtype} multiply-adds  {one:6.0f} GFLOP/s on one thread, {every:6.0f} on {cores}")
    for level in LEVELS:
        size = f"{found.caches[level] >> 10} KiB" if level in found.caches else ""
        one, every = found.one[level] / 1e9, found.all[level] / 1e9
        lines.append(f"  reading {level:<6} {size:>11}  {one:6.0f} GB/s on one thread, {every:6.0f} on {cores}")
    for dtype, costs in found.activation.items():
        text = ", ".join(f"{name} {cost * 1e9:.3f} ns" for name, cost in costs.items())
        lines.append(f"  activations in {dtype}: {text}; mean of an LSTM's {found.kappa(dtype) * 1e9:.3f} ns")
    barrier = f", {found.threads} threads meet in {found.barrier * 1e9:.0f} ns" if found.barrier else ""
    lines.append(f"  clock {found.clock / 1e9:.2f} GHz{barrier}")
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:3] == ["--child", "activations"]:
        print(json.dumps(measure_activations()))
    elif sys.argv[1:3] == ["--child", "numpy"]:
        print(json.dumps(measure_numpy(json.loads(sys.argv[3]), int(sys.argv[4]))))
    else:
        with Machine(len(os.sched_getaffinity(0))) as machine:
            found = machine.calibrate()
        print(json.dumps(asdict(found), indent=1) if "--json" in sys.argv else describe(found))


if __name__ == "__main__":
    main()
