"""A whole model that writes, one symbol at a time: `model.stream()` beside PyTorch, with one stream and with many.

    python bench/generating.py                       # float32, all threads of this machine
    python bench/generating.py --threads 1 --rounds 15 --streams 1,64,1024

The model is *characters* of bench/end_to_end.py: 98 symbols, embedding 64, LSTM 256, Linear 98. Every symbol that
comes out is the next step's input: the one with the largest logit (greedy), or one drawn with temperature 0.8
(drawn). PyTorch steps `nn.LSTM` or `nn.LSTMCell`, whichever is faster, in inference mode and with denormals flushed as
pylstm flushes them. Weights are the same, and the greedy symbols of 50 steps have to be.

One process for each; they take turns sample by sample, and rest in between until the other's threads have stopped
spinning. Printed are medians, and the ratio of each round's samples.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from products import Child

SYMBOLS, EMBEDDING, HIDDEN = 98, 64, 256
TEMPERATURE = 0.8
SAMPLE_SECONDS, STEPS, WARM_UP = 0.15, 20, 150
LIBRARIES = ["pylstm", "torch LSTM", "torch LSTMCell"]
WAYS = ["greedy", "drawn"]

Step = Callable[[Any], Any]  # symbols (N,) -> the next ones


def weights() -> dict[str, np.ndarray[Any, Any]]:
    """As pylstm names them. Larger than those of a new model, so that no two logits are nearly equal."""
    rng, gates = np.random.default_rng(0), 4 * HIDDEN
    shapes = {
        "0.weight": (SYMBOLS, EMBEDDING),
        "1.weight_ih_l0": (gates, EMBEDDING),
        "1.weight_hh_l0": (gates, HIDDEN),
        "1.bias_ih_l0": (gates,),
        "1.bias_hh_l0": (gates,),
        "2.weight": (SYMBOLS, HIDDEN),
        "2.bias": (SYMBOLS,),
    }
    scales = {name: 1.0 if name == "0.weight" else 0.1 for name in shapes}
    return {name: (scales[name] * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def pylstm_step(streams: int, threads: int, way: str) -> tuple[Step, Any]:
    import pylstm

    pylstm.set_num_threads(threads)
    layers = [
        pylstm.Embedding(SYMBOLS, EMBEDDING),
        pylstm.LSTM(EMBEDDING, HIDDEN, batch_first=True),
        pylstm.Linear(HIDDEN, SYMBOLS),
    ]
    model = pylstm.Sequential(layers)
    model.load_state_dict(weights())
    stream, rng = model.stream(streams), np.random.default_rng(0)
    temperature = 0.0 if way == "greedy" else TEMPERATURE
    return lambda x: stream.draw(x, temperature=temperature, rng=rng), np.arange(streams) % SYMBOLS


def torch_step(streams: int, threads: int, way: str, cell: bool) -> tuple[Step, Any]:
    import torch

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.inference_mode().__enter__()
    given = {name: torch.from_numpy(array) for name, array in weights().items()}
    embedding, head = torch.nn.Embedding(SYMBOLS, EMBEDDING), torch.nn.Linear(HIDDEN, SYMBOLS)
    embedding.load_state_dict({"weight": given["0.weight"]})
    head.load_state_dict({name: given[f"2.{name}"] for name in ("weight", "bias")})
    state = [torch.zeros(streams, HIDDEN), torch.zeros(streams, HIDDEN)]
    recurrent: Any = torch.nn.LSTMCell(EMBEDDING, HIDDEN) if cell else torch.nn.LSTM(EMBEDDING, HIDDEN)
    own = {name: given[f"1.{name if not cell else name + '_l0'}"] for name in recurrent.state_dict()}
    recurrent.load_state_dict(own)
    if not cell:
        state = [part[None] for part in state]

    def logits(x: Any) -> Any:
        if cell:
            state[:] = recurrent(embedding(x), (state[0], state[1]))
            return head(state[0])
        y, after = recurrent(embedding(x)[None], (state[0], state[1]))
        state[:] = after
        return head(y[0])

    def step(x: Any) -> Any:
        z = logits(x)
        return z.argmax(-1) if way == "greedy" else torch.multinomial(torch.softmax(z / TEMPERATURE, -1), 1)[:, 0]

    return step, torch.arange(streams) % SYMBOLS


def made(library: str, streams: int, threads: int, way: str) -> tuple[Step, Any]:
    if library == "pylstm":
        return pylstm_step(streams, threads, way)
    return torch_step(streams, threads, way, cell=library == "torch LSTMCell")


def serve(library: str, threads: int) -> None:
    """The child: a line [streams, way] in, the median seconds of a step out; [streams, "check"] gives a number that
    stands for the greedy symbols of 50 steps."""
    known: dict[str, tuple[Step, Any]] = {}
    for line in sys.stdin:
        streams, way = json.loads(line)
        if way == "check":
            step, x = made(library, streams, threads, "greedy")
            total = 0
            for number in range(50):
                x = step(x)
                total = (31 * total + number * int(x.sum())) % 2**40
            print(total, flush=True)
            continue
        key = f"{streams} {way}"
        if key not in known:
            step, x = made(library, streams, threads, way)
            for _ in range(WARM_UP):
                x = step(x)
            known = {key: (step, x)}
        step, x = known[key]
        times: list[float] = []
        end = time.perf_counter() + SAMPLE_SECONDS
        while time.perf_counter() < end or len(times) < 3:
            began = time.perf_counter()
            for _ in range(STEPS):
                x = step(x)
            times.append((time.perf_counter() - began) / STEPS)
        known[key] = step, x
        print(statistics.median(times), flush=True)


def measure(children: dict[str, Child], streams: int, way: str, rounds: int) -> None:
    times: dict[str, list[float]] = {library: [] for library in children}
    for round_ in range(rounds + 1):
        for library, child in children.items():
            seconds = child.sample(streams, way)
            if round_:  # the first one warms up
                times[library].append(seconds)
    found = {library: statistics.median(seconds) for library, seconds in times.items()}
    best = min((library for library in children if library != "pylstm"), key=found.__getitem__)
    ratio = statistics.median(theirs / own for own, theirs in zip(times["pylstm"], times[best], strict=True))
    shown = ", ".join(f"{library} {seconds * 1e6:7.1f}" for library, seconds in found.items())
    rate = streams / found["pylstm"]
    print(f"{streams:>5} streams, {way:<7} us a step: {shown}   x {ratio:.2f}   {rate:,.0f} symbols/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--streams", default="1,64", help="how many at once, with commas (default: 1,64)")
    parser.add_argument("--serve", choices=LIBRARIES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.threads)
        return
    children = {library: Child(__file__, library, args.threads) for library in LIBRARIES}
    for streams in map(int, args.streams.split(",")):
        checks = {library: child.sample(streams, "check") for library, child in children.items()}
        if len(set(checks.values())) > 1:
            raise SystemExit(f"the libraries write differently with {streams} streams: {checks}")
        for way in WAYS:
            measure(children, streams, way, args.rounds)
    for child in children.values():
        child.end()


if __name__ == "__main__":
    main()
