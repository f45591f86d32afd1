"""Linear layers beside PyTorch's `F.linear`: forward, and forward with the gradients to x, weight and bias.

    python bench/products.py                       # float32, all threads of this machine
    python bench/products.py --threads 1 --rounds 15

One process for each library; they take turns sample by sample, and rest in between until the other's threads have
stopped spinning. Printed are medians of a sample's call, the ratio pair by pair, and in brackets how much of the
machine's multiply-adds each takes: of what a bare loop of them keeps up for as long as a sample, in the same rounds.
PyTorch flushes denormals, as pylstm does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from calibrate import Machine

# rows, in, out
SHAPES = [(900, 256, 5000), (640, 200, 10000), (4096, 512, 512), (2048, 100, 17), (8192, 256, 1), (32, 128, 10)]
SAMPLE_SECONDS, REST_SECONDS = 0.06, 0.12
LIBRARIES = ["pylstm", "torch"]

Call = Callable[[], Any]


def arrays(shape: tuple[int, int, int]) -> list[np.ndarray[Any, Any]]:
    """x, weight, bias and the gradient to y."""
    rows, width, out = shape
    rng = np.random.default_rng(0)
    return [rng.standard_normal(size, dtype=np.float32) for size in ((rows, width), (out, width), (out,), (rows, out))]


def pylstm_calls(shape: tuple[int, int, int], threads: int) -> dict[str, Call]:
    import pylstm
    from pylstm import Linear

    pylstm.set_num_threads(threads)
    x, weight, bias, d_y = arrays(shape)
    layer = Linear(shape[1], shape[2])
    layer.load_state_dict({"weight": weight, "bias": bias})

    def both() -> None:
        layer.forward(x)[1](d_y)

    return {"forward": lambda: layer(x), "forward+backward": both}


def torch_calls(shape: tuple[int, int, int], threads: int) -> dict[str, Call]:
    import torch
    from torch.nn.functional import linear

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    x, weight, bias, d_y = map(torch.from_numpy, arrays(shape))
    wanted = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]

    def forward() -> None:
        with torch.inference_mode():
            linear(x, weight, bias)

    def both() -> None:
        torch.autograd.grad(linear(*wanted), wanted, d_y)

    return {"forward": forward, "forward+backward": both}


def serve(library: str, threads: int) -> None:
    """The child: a line [shape, pass] in, the median seconds of a call out."""
    make = {"pylstm": pylstm_calls, "torch": torch_calls}[library]
    known: dict[int, dict[str, Call]] = {}
    for line in sys.stdin:
        index, what = json.loads(line)
        if index not in known:
            known = {index: make(SHAPES[index], threads)}
        call = known[index][what]
        call()
        call()
        times: list[float] = []
        end = time.perf_counter() + SAMPLE_SECONDS
        while time.perf_counter() < end or len(times) < 3:
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        print(statistics.median(times), flush=True)


class Child:
    """A program that serves one library: a line of JSON in, seconds out."""

    def __init__(self, program: str, library: str, threads: int) -> None:
        command = [sys.executable, program, "--serve", library, "--threads", str(threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def sample(self, *request: Any) -> float:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._process.args!r} has ended")
        time.sleep(REST_SECONDS)
        return float(answer)

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def measure(children: dict[str, Child], machine: Machine, index: int, what: str, rounds: int) -> dict[str, float]:
    """Medians over the rounds: seconds of each library, their ratio, and the machine's multiply-adds per second."""
    times: dict[str, list[float]] = {library: [] for library in children}
    rates = []
    for _ in range(rounds):
        for library, child in children.items():
            times[library].append(child.sample(index, what))
        if now := machine.now(SAMPLE_SECONDS):
            rates.append(now[0])
            time.sleep(REST_SECONDS)
    ratios = [theirs / own for own, theirs in zip(times["pylstm"], times["torch"], strict=True)]
    found = {library: statistics.median(seconds) for library, seconds in times.items()}
    found["ratio"] = statistics.median(ratios)
    if rates:
        found["rate"] = statistics.median(rates)
    return found


def told(found: dict[str, float], library: str, flops: float) -> str:
    """A library's time, and its share of the multiply-adds where the machine's rate is known."""
    seconds = found[library]
    share = f" ({flops / seconds / found['rate']:4.0%})" if "rate" in found else ""
    return f"{seconds * 1e6:8.0f} us{share}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--shapes", default="", help="their numbers from 0, with commas; all of them by default")
    parser.add_argument("--serve", choices=LIBRARIES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.threads)
        return
    chosen = [int(word) for word in args.shapes.split(",") if word] or range(len(SHAPES))
    children = {library: Child(__file__, library, args.threads) for library in LIBRARIES}
    with Machine(args.threads) as machine:
        for index in chosen:
            rows, width, out = SHAPES[index]
            for what, products in (("forward", 1), ("forward+backward", 3)):
                found = measure(children, machine, index, what, args.rounds)
                flops = 2.0 * rows * width * out * products
                times = ", ".join(f"{library} {told(found, library, flops)}" for library in LIBRARIES)
                print(f"{rows:>5} x {width} x {out:<6} {what:<17} {times}  x {found['ratio']:.2f}", flush=True)
    for child in children.values():
        child.end()


if __name__ == "__main__":
    main()
