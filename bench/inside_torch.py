"""`pylstm.torch` beside `torch.nn` in one program of PyTorch's, call by call in turns.

A case of cases.py: in training, gradients to x and all parameters. A ragged x is packed before; "packing" has PyTorch's
own functions for that around it, with their gradients. "step" is one step of one sequence, with gradients recorded and
without. Both compute from the same numbers, and have to agree.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import pylstm.torch
from cases import BY_NAME, TOLERANCE, Case, Data, make_data

LIBRARIES = {"pylstm.torch": pylstm.torch, "torch.nn": torch.nn}
NAMES = ["ragged_emotion", "gru512", "step"]
SHORTEST = 0.05  # seconds of a turn


def program(library: Any, case: Case, data: Data, mode: str) -> Callable[[], list[Any]]:
    """A call, and its results."""
    module = getattr(library, case.cell.upper())(
        case.I, case.H, case.layers, bidirectional=case.bidirectional, dtype=getattr(torch, case.dtype)
    )
    module.load_state_dict({name: torch.from_numpy(value) for name, value in data.weights.items()})
    x = torch.from_numpy(data.x).requires_grad_(mode != "inference")
    lengths = None if data.lengths is None else torch.from_numpy(data.lengths)
    d_output, *d_states = (torch.from_numpy(value) for value in (data.d_output, *data.d_state))
    around = mode == "packing"
    packed: Any = None
    if lengths is not None and not around:
        packed = pack_padded_sequence(x.detach(), lengths, enforce_sorted=False)
        d_output = pack_padded_sequence(d_output, lengths, enforce_sorted=False).data
        x = packed.data.requires_grad_(x.requires_grad)

    def forward() -> list[Any]:
        given = x if packed is None else packed
        if around and lengths is not None:
            given = pack_padded_sequence(x, lengths, enforce_sorted=False)
        output, state = module(given)
        if around:
            output, _ = pad_packed_sequence(output, total_length=case.T)
        elif packed is not None:
            output = output.data
        return [output, *(state if isinstance(state, tuple) else (state,))]

    def inference() -> list[Any]:
        with torch.inference_mode():
            return forward()

    def training() -> list[Any]:
        found = forward()
        return [*found, *torch.autograd.grad(found, [x, *module.parameters()], [d_output, *d_states])]

    return {"inference": inference, "recorded": forward}.get(mode, training)


def check(case: Case, ours: list[Any], theirs: list[Any]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        if (a - b).norm() > TOLERANCE[case.dtype] * b.norm():
            raise SystemExit(f"{case.name}: the results differ")


def compare(case: Case, mode: str, rounds: int) -> dict[str, Any]:
    """Medians of milliseconds a call by library, and of the ratio of neighbouring turns."""
    data = make_data(case)
    runs = {name: program(library, case, data, mode) for name, library in LIBRARIES.items()}
    check(case, *(run() for run in runs.values()))
    began = time.perf_counter()
    runs["torch.nn"]()
    calls = max(1, int(SHORTEST / (time.perf_counter() - began)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in sorted(runs, reverse=number % 2 == 1):
            began = time.perf_counter()
            for _ in range(calls):
                runs[name]()
            times[name].append((time.perf_counter() - began) / calls * 1e3)
    ours, theirs = times.values()
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return {
        "case": case.name, "mode": mode, "calls": calls, "ratio": statistics.median(ratios),
        "ratios": ratios, "ms": {name: statistics.median(one) for name, one in times.items()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=NAMES, choices=list(BY_NAME))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="where all figures go")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    results = []
    for case in (BY_NAME[name] for name in args.cases):
        modes = ["inference", "recorded"] if case.T * case.N == 1 else ["training"] + ["packing"] * case.ragged
        for mode in modes:
            found = compare(case, mode, args.rounds)
            results.append(found)
            spread = f"{found['ratios'][0]:.2f} to {found['ratios'][-1]:.2f}"
            ms = ", ".join(f"{name} {value:.3g} ms" for name, value in found["ms"].items())
            print(f"{case.name:16}{mode:11}{ms}; torch.nn / pylstm {found['ratio']:.2f} ({spread})", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"threads": args.threads, "results": results}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
