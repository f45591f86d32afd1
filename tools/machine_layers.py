"""Random programs on layers, closures of backward, streams, threads and forks. `python tools/machine_layers.py --help`

Hypothesis draws the steps. What is true is known twice: every result must have the bits of a fresh layer with the same
weights on fresh arrays, and be what `pylstm.reference` gives in the same dtype, up to rounding. A hang ends the process
with a traceback of every thread; a crash of the interpreter ends it by itself. The seed of a round is printed; the same
seed draws the same programs.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import faulthandler
import gc
import os
import pickle
import sys
import threading
import time
import warnings

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

import pylstm
from machine_truth import (
    PATIENCE,
    Case,
    Held,
    Streamed,
    Weights,
    call,
    check_call,
    close,
    edit,
    flat,
    forked,
    in_threads,
    same_bits,
    unlock,
)

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.sampled_from([1, 2, 3, 5, 17])
STEPS = st.sampled_from([0, 1, 2, 5, 40])
BATCHES = st.sampled_from([0, 1, 2, 3, 9])
THREADS = st.sampled_from([None, 1, 2, 3])
made: collections.Counter = collections.Counter()


class Machine(RuleBasedStateMachine):
    layers, held, streams = Bundle("layers"), Bundle("held"), Bundle("streams")

    def begin(self, name: str) -> None:
        made[name] += 1
        faulthandler.dump_traceback_later(PATIENCE, exit=True)

    def teardown(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        pylstm.set_num_threads(1)

    @initialize(target=streams, batch=st.sampled_from([1, 9]), seed=SEEDS)
    def first_stream(self, batch, seed):
        layer = pylstm.LSTM(3, 17, num_layers=2, seed=seed)
        zeros = [np.zeros((2, batch, 17), np.float32) for _ in range(2)]
        return Streamed(layer, layer.stream(batch), zeros)

    @initialize(target=held, seed=SEEDS, dropout=st.sampled_from([0.0, 0.5]))
    def first_held(self, seed, dropout):
        layer = pylstm.GRU(3, 5, num_layers=2, dropout=dropout, seed=seed)
        return Held(layer, Case.draw(layer, 5, 3, seed), True, None)

    @initialize(target=layers, seed=SEEDS, dtype=st.sampled_from(["float32", "float64"]))
    def first_layer(self, seed, dtype):
        return pylstm.LSTM(2, 3, dtype=dtype, seed=seed)

    @rule(
        target=layers, cls=st.sampled_from(["LSTM", "GRU", "RNN"]), input_size=SIZES, hidden_size=SIZES, seed=SEEDS,
        options=st.fixed_dictionaries({
            "num_layers": st.integers(1, 2), "bias": st.booleans(), "batch_first": st.booleans(),
            "bidirectional": st.booleans(), "recurrent_bias": st.booleans(), "dropout": st.sampled_from([0.0, 0.5]),
            "dtype": st.sampled_from(["float32", "float64"]),
        }),
        special=st.booleans(),
    )  # fmt: skip
    def make(self, cls, input_size, hidden_size, seed, options, special):
        self.begin("make")
        if special:
            special = {
                "LSTM": [{"proj_size": hidden_size * 2 // 3}, {"coupled": True, "peephole": True}],
                "GRU": [{"reset_after": False}, {"activation": ("leaky_relu", 0.2), "clip": 3.0}],
                "RNN": [{"nonlinearity": "relu"}, {"nonlinearity": "silu"}],
            }
            options |= special[cls][seed % 2]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(pylstm, cls)(input_size, hidden_size, **options, seed=seed)

    @rule(target=layers, layer=layers, how=st.sampled_from([copy.copy, copy.deepcopy, pickle.dumps]))
    def copy_layer(self, layer, how):
        self.begin("copy layer")
        twin = how(layer)
        return pickle.loads(twin) if isinstance(twin, bytes) else twin

    @rule(layer=layers, steps=STEPS, batch=BATCHES, seed=SEEDS, threads=THREADS, with_out=st.booleans())
    def call(self, layer, steps, batch, seed, threads, with_out):
        self.begin("call")
        case = Case.draw(layer, steps, batch, seed)
        given, options = case.twin(), {}
        if with_out:
            options["out"] = np.full((*case.x.shape[:-1], layer.num_directions * layer.output_size), 7, layer.dtype)
        got = call(layer, given, num_threads=threads, **options)
        check_call(Weights.of(layer), case, got)
        for array in got:
            array[...] = 7  # the caller's own

    @rule(target=held, layer=layers, steps=STEPS, batch=BATCHES, seed=SEEDS, threads=THREADS, need_dx=st.booleans())
    def forward(self, layer, steps, batch, seed, threads, need_dx):
        self.begin("forward")
        return Held(layer, Case.draw(layer, steps, batch, seed), need_dx, threads)

    @rule(one=held)
    def backward(self, one):
        self.begin("backward")
        one.check()

    @rule(one=held, which=st.integers(0, 20), seed=SEEDS)
    def edit_held(self, one, which, seed):
        self.begin("edit held")
        arrays = one.arrays()
        array = arrays[which % len(arrays)]
        if array is one.output:
            unlock(array)
        edit(array, seed)
        one.check()

    @rule(one=held)
    def overwrite_states(self, one):
        """States and lengths belong to the caller again."""
        self.begin("overwrite")
        for array in one.arrays():
            if array is not one.given.x and array is not one.output:
                with contextlib.suppress(ValueError):  # one element at many places
                    array[...] = 0
        one.check()

    @rule(one=consumes(held))
    def drop(self, one):
        self.begin("drop")
        del one.backward

    @rule(layer=layers, which=st.integers(0, 20), seed=SEEDS)
    def edit_params(self, layer, which, seed):
        self.begin("edit params")
        want = layer.state_dict()
        name = list(layer.params)[which % len(layer.params)]
        unlock(layer.params[name])
        edit(layer.params[name], seed)
        same_bits(list(layer.params.values()), list(want.values()), "parameters")

    @rule(layer=layers, seed=SEEDS)
    def load(self, layer, seed):
        self.begin("load")
        rng = np.random.default_rng(seed)
        bound = 1 / np.sqrt(layer.hidden_size)
        layer.load_state_dict({name: rng.uniform(-bound, bound, a.shape) for name, a in layer.params.items()})

    @rule(layer=layers, seed=SEEDS)
    def train(self, layer, seed):
        """A step of an optimizer, which writes into arrays that become the parameters."""
        self.begin("train")
        rng = np.random.default_rng(seed)
        before = layer.state_dict()
        grads = {name: rng.standard_normal(a.shape).astype(a.dtype) for name, a in before.items()}
        pylstm.SGD(0.01).step(layer, grads)
        rate = layer.dtype.type(0.01)
        close(list(layer.params.values()), [a - rate * grads[name] for name, a in before.items()], "a step of SGD")

    @rule(one=held, n=st.sampled_from([1, 2, 3]), what=st.sampled_from([gc.collect, pylstm.release_memory]))
    def settle(self, one, n, what):
        self.begin("settle")
        pylstm.set_num_threads(n)
        what()
        one.check()

    @rule(layer=layers, seed=SEEDS, one=held)
    def fail(self, layer, seed, one):
        """Calls that raise leave all as it was."""
        self.begin("fail")
        weights = Weights.of(layer)
        case = Case.draw(layer, 5, 2, seed)
        x, wide = case.x, np.zeros((2, 2, 99), layer.dtype)
        for wrong in (
            lambda: layer(wide), lambda: layer(x, 3), lambda: layer(x, lengths=[9, 9]), lambda: layer.forward(x, "x"),
            lambda: layer(x, out=x), lambda: layer(x, num_threads=0), lambda: layer.forward(x, need_dx=3),
            lambda: one.backward(np.zeros(3)), lambda: one.backward(None, "x"), lambda: layer.stream(0),
            lambda: layer.load_state_dict({}), lambda: layer.load_state_dict(dict.fromkeys(weights.params, 0)),
            lambda: pylstm.SGD(0.1).step(layer, {"nothing": x}), lambda: pylstm.set_num_threads(0),
        ):  # fmt: skip
            try:
                wrong()
            except (TypeError, ValueError):
                continue
            raise AssertionError("a wrong call was taken")
        after = Weights.of(layer)
        same_bits(list(after.params.values()), list(weights.params.values()), "parameters")
        assert after.dropout == weights.dropout
        one.check()

    # ---- streams -------------------------------------------------------------------------------------------------

    @rule(target=streams, layer=layers, batch=st.sampled_from([1, 2, 9]), threads=THREADS)
    def stream(self, layer, batch, threads):
        self.begin("stream")
        if layer.bidirectional:
            return multiple()
        zeros = [np.zeros((layer.num_layers, batch, size), layer.dtype) for size in layer._state_sizes]
        return Streamed(layer, layer.stream(batch, num_threads=threads), zeros)

    @rule(one=streams, steps=st.sampled_from([0, 1, 2, 7]), seed=SEEDS, how=st.sampled_from(["step", "out", "chunk"]))
    def advance(self, one, steps, seed, how):
        self.begin("advance")
        one.advance(steps, seed, how)

    @rule(one=streams, seed=SEEDS)
    def set_state(self, one, seed):
        self.begin("set state")
        seen = one.stream.state
        same_bits(list(flat(seen)), one.state, "a stream's state")
        for array in flat(seen):
            array[...] = 7
            edit(array, seed)
        rng = np.random.default_rng(seed)
        one.state = [rng.standard_normal(s.shape).astype(s.dtype) for s in one.state]
        given = tuple(s.copy() for s in one.state)
        one.stream.state = given if len(given) > 1 else given[0]
        for array in given:
            array[...] = 7
            edit(array, seed)

    @rule(one=streams)
    def reset(self, one):
        self.begin("reset")
        one.stream.reset()
        one.state = [np.zeros_like(s) for s in one.state]

    @rule(target=streams, one=streams, how=st.sampled_from(["copy", "deepcopy", "pickle"]))
    def copy_stream(self, one, how):
        self.begin("copy stream")
        if how == "pickle":
            twin = pickle.loads(pickle.dumps(one.stream))
        else:
            twin = getattr(copy, how)(one.stream)
        return Streamed(twin._layer, twin, [s.copy() for s in one.state])

    # ---- at once -------------------------------------------------------------------------------------------------

    def tasks(self, layer, held, stream, seed):
        case = Case.draw(layer, 5, 3, seed)
        weights = Weights.of(layer)
        return [
            lambda: check_call(weights, case, call(layer, case.twin(), num_threads=2)),
            lambda: [one.check() for one in held],
            lambda: [one.check() for one in reversed(held)],
            lambda: stream is not None and stream.advance(3, seed, "step"),
            lambda: (gc.collect(), pylstm.release_memory()),
        ]

    @rule(layer=layers, held=st.lists(held, max_size=3), seed=SEEDS)
    def at_once(self, layer, held, seed):
        self.begin("at once")
        in_threads(self.tasks(layer, held, None, seed))

    @rule(layer=layers, held=st.lists(held, max_size=3), stream=streams, seed=SEEDS)
    def at_once_with_a_stream(self, layer, held, stream, seed):
        self.begin("at once")
        in_threads(self.tasks(layer, held, stream, seed))

    @precondition(lambda _: hasattr(os, "fork"))
    @rule(layer=layers, held=st.lists(held, max_size=3), seed=SEEDS, busy=st.booleans())
    def fork(self, layer, held, seed, busy):
        self.begin("fork")
        tasks = self.tasks(layer, held, None, seed)
        if not busy:
            forked(tasks)
            return
        stop = threading.Event()
        twin = Weights.of(layer).layer(pylstm)
        case = Case.draw(twin, 40, 9, seed)

        def work():
            while not stop.is_set():
                call(twin, case, num_threads=2)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            forked(tasks)
        finally:
            stop.set()
            worker.join()


def run(seed: int, programs: int, steps: int = 40, shrink: bool = True) -> None:
    """So many programs from one seed; the first failure is raised, made small."""
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of setting a shape in place
        hypothesis.seed(seed)(Machine)
        run_state_machine_as_test(Machine, settings=settings(
            max_examples=programs, stateful_step_count=steps, deadline=None, database=None, phases=phases,
            suppress_health_check=list(HealthCheck), print_blob=False, report_multiple_bugs=False,
        ))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-shrink", action="store_true", help="report a failure as it was found")
    args = parser.parse_args()
    began = shown = time.monotonic()
    seed, rounds = args.seed, 0
    while True:
        try:
            run(seed + rounds, 5, shrink=not args.no_shrink)
        except BaseException:
            print(f"round of seed {seed + rounds}", file=sys.stderr, flush=True)
            raise
        rounds += 1
        now = time.monotonic()
        if now - shown > 10:
            shown = now
            print(f"{rounds} rounds, {sum(made.values()):,} steps", flush=True)
        if now - began > 60 * args.minutes:
            break
    print(", ".join(f"{name} {count:,}" for name, count in made.most_common()))
    print(f"{rounds} rounds from seed {seed}, {sum(made.values()):,} steps: no crash, no hang, no wrong answer")


if __name__ == "__main__":
    main()
