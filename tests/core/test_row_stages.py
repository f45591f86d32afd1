"""Stages of whole rows, constants, masks and gradients of records, in cells that are for tests alone (row_cells.h).

They are in a build with -DPYLSTM_TEST_CELLS=ON: `nox -s asan`. tests/core/kernels.cpp runs them without Python.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

from pylstm import _core
from pylstm.reference.dropout import philox
from support.isas import isas, use_isa

Array = np.ndarray[Any, Any]
CELLS = _core.cells()
CONSTANTS = {"eps": 1e-2, "keep": 0.3, "clip": 0.6, "zoneout": 0.3, "dropout": 0.4}
KEY = (0.0, 2**40 + 3, 7)  # no dropout between layers, seed, call
SHAPES = [(6, 5, 4, 33), (3, 1, 2, 1), (4, 9, 7, 64), (5, 3, 3, 100)]  # T, N, I, H: around the edges of lines

pytestmark = pytest.mark.skipif("layer_norm_rnn" not in CELLS, reason="needs a build with PYLSTM_TEST_CELLS")


# ---- the twins: one step in NumPy ------------------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def normalised(a: Array, eps: float) -> Array:
    return (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(1, keepdims=True) + eps)


class Masks:
    """Those of one step, all sequences and one direction of `directions`; their means in inference."""

    def __init__(self, training: bool, n: int, t: int, width: int, direction: int, directions: int) -> None:
        self.place = (training, n, t, width, direction, directions)

    def __call__(self, number: int, p: float, each_step: bool, kept: float) -> Array:
        training, n, t, width, direction, directions = self.place
        if not training:
            return np.array((1 - p) * kept)
        _, seed, call = KEY
        j = np.arange((width + 3) // 4, dtype=np.uint64)
        counter = [j, *(np.full_like(j, c) for c in (n, t if each_step else 0, call * directions + direction))]
        key = (seed & 0xFFFFFFFF, ((seed >> 32) + 0x85EBCA6B * (number + 1)) & 0xFFFFFFFF)
        words = np.stack(philox(*counter, key), axis=-1).reshape(-1)[:width]
        return np.where(words >= int(p * 2**32), kept, 0.0)


def layer_norm_rnn(x: Array, h: Array, p: dict[str, Array], c: dict[str, float], _masks: Masks) -> tuple[Array]:
    a = x @ p["weight_ih"].T + p["bias_ih"] + h @ p["weight_hh"].T
    return (np.tanh(p["gain"] * normalised(a, c["eps"]) + p["shift"]),)


def layer_norm_lstm(
    x: Array, h: Array, cell: Array, p: dict[str, Array], c: dict[str, float], _masks: Masks
) -> tuple[Array, Array]:
    def gates(of: str) -> Array:
        return np.concatenate([p[of + gate] for gate in "ifgo"])

    sums = normalised(x @ p["weight_ih"].T, c["eps"]) * gates("gain_x")
    sums = sums + normalised(h @ p["weight_hh"].T, c["eps"]) * gates("gain_h") + gates("bias_")
    i, f, g, o = np.split(sums, 4, axis=1)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(normalised(cell, c["eps"]) * p["gain_c"] + p["bias_c"]), cell


def clipped_rnn(x: Array, h: Array, p: dict[str, Array], c: dict[str, float], _masks: Masks) -> tuple[Array]:
    a = x @ p["weight_ih"].T + p["bias_ih"] + h @ p["weight_hh"].T + p["bias_hh"]
    return (np.clip(a / np.abs(a).max(1, keepdims=True) + c["keep"] * h, -c["clip"], c["clip"]),)


def zoneout_rnn(x: Array, h: Array, p: dict[str, Array], c: dict[str, float], masks: Masks) -> tuple[Array]:
    zone = masks(0, c["zoneout"], True, 1)
    drop = masks(1, c["dropout"], False, 1 / (1 - c["dropout"]))
    n = np.tanh(x @ p["weight_ih"].T + p["bias_ih"] + (drop * h) @ p["weight_hh"].T)
    return (zone * n + (1 - zone) * h,)


TWINS: dict[str, Callable[..., tuple[Array, ...]]] = {
    "layer_norm_rnn": layer_norm_rnn, "layer_norm_lstm": layer_norm_lstm, "clipped_rnn": clipped_rnn,
    "zoneout_rnn": zoneout_rnn,
}  # fmt: skip


# ---- a layer of such a cell ------------------------------------------------------------------------------------------


class Problem:
    """Random weights, inputs, states and lengths; `moved` by a factor along one random way per array."""

    def __init__(self, name: str, shape: tuple[int, int, int, int], dtype: str, both_ways: bool = False) -> None:
        self.name, self.dtype, self.directions = name, np.dtype(dtype), 1 + both_ways
        self.steps, self.batch, self.width, self.hidden = shape
        rng = np.random.default_rng(sum(shape))
        sizes = {"input": self.width, "hidden": self.hidden, "output": self.hidden}

        def draw(*size: int) -> Array:
            return rng.standard_normal(size)

        self.arrays = {"x": draw(self.steps, self.batch, self.width)}
        self.states = [f"state {name}" for name in CELLS[name]["states"]]
        self.arrays |= {state: draw(self.directions, self.batch, self.hidden) for state in self.states}
        for direction in range(self.directions):
            for parameter, (_, blocks, rows, columns, _) in CELLS[name]["parameters"].items():
                shape_ = (blocks * sizes[rows], *((sizes[columns],) if columns != "one" else ()))
                scale = 0.7 if columns == "one" else 1.5 / np.sqrt(shape_[1])
                self.arrays[f"{parameter} {direction}"] = scale * draw(*shape_)
        self.d_output = draw(self.steps, self.batch, self.directions * self.hidden).astype(dtype)
        self.d_states = tuple(draw(self.directions, self.batch, self.hidden).astype(dtype) for _ in self.states)
        self.ways = {what: draw(*array.shape) for what, array in self.arrays.items()}
        self.lengths = rng.integers(0, self.steps + 1, self.batch)
        self.lengths[0] = self.steps
        self.constants = {name: CONSTANTS[name] for name in CELLS[name]["constants"]}

    def moved(self, what: str = "", by: float = 0) -> dict[str, Array]:
        arrays = {key: array + by * self.ways[key] if key == what else array for key, array in self.arrays.items()}
        return {key: array.astype(self.dtype) for key, array in arrays.items()}

    def network(self, arrays: dict[str, Array]) -> _core.Network:
        params = [[arrays[f"{p} {d}"] for p in CELLS[self.name]["parameters"]] for d in range(self.directions)]
        sizes = self.width, self.hidden, self.hidden, 1
        return _core.Network(self.name, self.dtype, *sizes, self.directions == 2, params, list(self.constants.values()))

    def run(
        self, threads: int = 1, how: Literal["infer", "train", "backward"] = "backward", **moved: Any
    ) -> dict[str, Array]:
        """Outputs, final states and, with "backward", all gradients, under the names of what they belong to."""
        arrays = self.moved(**moved)
        network = self.network(arrays)
        out = _core.empty((self.steps, self.batch, self.directions * self.hidden), self.dtype)
        states = tuple(arrays[state] for state in self.states)
        lengths = self.lengths.astype(np.int64)
        if how == "infer":
            final = network.infer(arrays["x"], states, lengths, out, threads)
            return {"output": out, **{f"final {i}": array for i, array in enumerate(final)}}
        final, tape = network.train(arrays["x"], states, lengths, out, KEY, threads)
        if how == "train":
            return {"output": out, **{f"final {i}": array for i, array in enumerate(final)}}
        dx, d_states, d_params = tape.backward(self.d_output, self.d_states, True, threads)
        assert dx is not None
        found = {"output": out, **{f"final {i}": array for i, array in enumerate(final)}, "x": dx}
        found |= dict(zip(self.states, d_states, strict=True))
        for direction, row in enumerate(d_params):
            for parameter, array in zip(CELLS[self.name]["parameters"], row, strict=True):
                assert array is not None
                found[f"{parameter} {direction}"] = array
        return found

    def twin(self, training: bool) -> dict[str, Array]:
        arrays = self.moved()
        output = np.zeros((self.steps, self.batch, self.directions * self.hidden))
        final = [arrays[state].astype(np.float64) for state in self.states]
        for d in range(self.directions):
            params = {p: arrays[f"{p} {d}"].astype(np.float64) for p in CELLS[self.name]["parameters"]}
            for n in range(self.batch):
                times = list(range(self.lengths[n]))
                for t in times[::-1] if d else times:
                    states = TWINS[self.name](
                        arrays["x"][t, n : n + 1].astype(np.float64), *(s[d, n : n + 1] for s in final), params,
                        self.constants, Masks(training, n, t, self.hidden, d, self.directions),
                    )  # fmt: skip
                    for kept, new in zip(final, states, strict=True):
                        kept[d, n] = new[0]
                    output[t, n, d * self.hidden : (d + 1) * self.hidden] = states[0][0]
        return {"output": output, **{f"final {i}": array for i, array in enumerate(final)}}

    def loss(self, found: dict[str, Array]) -> float:
        pairs = [(found["output"], self.d_output)]
        pairs += [(found[f"final {i}"], d) for i, d in enumerate(self.d_states)]
        return float(sum(np.sum(a.astype(np.float64) * d) for a, d in pairs))


problems = pytest.mark.parametrize("shape", SHAPES, ids=str)
names = pytest.mark.parametrize("name", TWINS)


@names
@problems
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", isas())
def test_forward_equals_the_twin(name: str, shape: Any, dtype: str, isa: str) -> None:
    with use_isa(isa):
        problem = Problem(name, shape, dtype, both_ways=True)
        for found, training in ((problem.run(how="train"), True), (problem.run(how="infer"), False)):
            for what, array in problem.twin(training).items():
                bound = 1e-12 if dtype == "float64" else 2e-5
                np.testing.assert_allclose(found[what], array, rtol=bound, atol=bound, err_msg=what)


@names
@problems
def test_gradients_are_central_differences(name: str, shape: Any) -> None:
    problem = Problem(name, shape, "float64", both_ways=True)
    gradients, eps = problem.run(), 1e-6
    for what, way in problem.ways.items():
        above, below = (problem.loss(problem.run(what=what, by=by, how="train")) for by in (eps, -eps))
        expected, found = (above - below) / (2 * eps), np.sum(gradients[what] * way)
        assert abs(found - expected) < 2e-7 * (1 + abs(expected)), what


@names
@problems
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_do_not_depend_on_how_a_call_is_cut_up(name: str, shape: Any, dtype: str) -> None:
    problem = Problem(name, shape, dtype, both_ways=True)
    bits = {}
    for isa in isas():
        with use_isa(isa), contextlib.ExitStack() as stack:
            stack.callback(_core.force_plan)
            _core.force_plan((1, 1, 1), 0)
            expected = problem.run()
            bits[isa] = expected
            for split in [(1, 1, 1), (1, 2, 1), (1, 3, 1), (2, 2, 1), (2, 1, 2), (1, 2, 2), (1, 7, 1)]:
                for chunk in (0, 8):
                    _core.force_plan(split, chunk)
                    for what, array in problem.run(threads=16).items():
                        assert array.tobytes() == expected[what].tobytes(), f"{isa} {split} {chunk}: {what}"
    fused = [found for isa, found in bits.items() if isa != "baseline"]
    for found in fused[1:]:
        for what, array in found.items():
            assert array.tobytes() == fused[0][what].tobytes(), what


@names
@pytest.mark.parametrize("threads", [1, 2])
def test_a_stream_has_the_bits_of_a_call(name: str, threads: int) -> None:
    problem = Problem(name, (6, 5, 4, 33), "float32")
    problem.lengths[:] = problem.steps
    arrays = problem.moved()
    expected = problem.run(how="infer")
    stream = problem.network(arrays).stream(problem.batch, threads)
    with stream.hold(True):
        stream.put(tuple(arrays[state] for state in problem.states))
    out = _core.empty((problem.batch, problem.hidden), problem.dtype)
    for t in range(problem.steps):
        assert stream.step(np.ascontiguousarray(arrays["x"][t]), out)
        assert out.tobytes() == expected["output"][t].tobytes()
    for i, state in enumerate(stream.states):
        assert state.tobytes() == expected[f"final {i}"].tobytes()


@pytest.mark.parametrize("constants", [[], [1.0, 2.0]])
def test_the_number_of_constants_is_checked(constants: list[float]) -> None:
    problem = Problem("layer_norm_rnn", SHAPES[0], "float32")
    problem.constants = dict(enumerate(constants))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="constants: expected 1 numbers, got"):
        problem.network(problem.moved())


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_probabilities_are_checked(p: float) -> None:
    problem = Problem("zoneout_rnn", SHAPES[0], "float32")
    problem.constants["dropout"] = p
    with pytest.raises(ValueError, match=r"constants: expected 'dropout' in 0\.\.1, got"):
        problem.network(problem.moved())


def test_masks_need_a_seed() -> None:
    problem = Problem("zoneout_rnn", SHAPES[0], "float32")
    arrays = problem.moved()
    out = _core.empty((problem.steps, problem.batch, problem.hidden), problem.dtype)
    with pytest.raises(ValueError, match="dropout: the cell draws masks and needs a seed"):
        problem.network(arrays).train(arrays["x"], (None,), None, out, None, 1)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_masks_of_nothing_and_of_everything(p: float) -> None:
    problem = Problem("zoneout_rnn", SHAPES[0], "float64")
    problem.constants |= {"zoneout": p, "dropout": 0.0}
    final = problem.run(how="train")["final 0"]
    if p == 1:  # every unit stays as it is
        assert np.array_equal(final, problem.arrays["state h"])
    else:
        np.testing.assert_allclose(final, problem.twin(False)["final 0"], rtol=1e-12, atol=1e-12)


def test_the_core_names_constants_and_masks() -> None:
    assert CELLS["zoneout_rnn"]["masks"] == ("zone", "drop")
    assert CELLS["layer_norm_lstm"]["functions"] == {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"}
    assert CELLS["layer_norm_lstm"]["activations"] == 5
    assert CELLS["clipped_rnn"]["constants"] == ("keep", "clip")
    assert CELLS["clipped_rnn"]["records"] == {"a": "hidden", "most": "one"}
