"""What several test files share: the variants of layers, random problems for them, and comparisons."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

import pylstm
import pylstm.reference


class Variant(NamedTuple):
    """A kind of layer: the class' name and the options that make it."""

    name: str
    cls: str
    options: dict
    projection: bool = False

    def make(self, module, input_size, hidden_size, **options):
        if self.projection:
            options["proj_size"] = hidden_size * 2 // 3  # 0, that is none, for the smallest layers
        return getattr(module, self.cls)(input_size, hidden_size, **self.options, **options)


VARIANTS = [
    Variant("lstm", "LSTM", {}),
    Variant("lstm_projection", "LSTM", {}, projection=True),
    Variant("gru_after", "GRU", {"reset_after": True}),
    Variant("gru_before", "GRU", {"reset_after": False}),
    Variant("rnn_tanh", "RNN", {"nonlinearity": "tanh"}),
    Variant("rnn_relu", "RNN", {"nonlinearity": "relu"}),
]
BIASES = {"both": {}, "single": {"recurrent_bias": False}, "none": {"bias": False}}


@pytest.fixture(params=VARIANTS, ids=lambda v: v.name)
def variant(request):
    return request.param


@pytest.fixture(params=[v for v in VARIANTS if v.name != "gru_before"], ids=lambda v: v.name)
def torch_variant(request):
    """The variants that torch.nn has, too."""
    return request.param


@pytest.fixture(params=BIASES)
def bias(request):
    """Constructor options for both biases, one, or none."""
    return BIASES[request.param]


@pytest.fixture(params=["fast", "reference"])
def module(request):
    """Where LSTM, GRU and RNN come from: both backends have the same front."""
    return pylstm if request.param == "fast" else pylstm.reference


class Problem(NamedTuple):
    """Inputs of a forward and a backward pass, all in float64 with values that float32 holds exactly."""

    x: np.ndarray
    states: tuple | None
    lengths: np.ndarray | None
    d_output: np.ndarray
    d_states: tuple


def ragged(rng, steps, batch):
    """Lengths with a zero and a full one wherever there is room."""
    lengths = rng.integers(0, steps + 1, batch)
    lengths[rng.integers(batch)] = steps
    if batch > 1:
        lengths[np.argmin(lengths)] = 0
    return lengths


def problem(layer, steps, batch, seed, *, lengths=False, state=False):
    """A random problem for `layer`; `lengths` and `state` say whether it has them."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32).astype(np.float64)

    count = layer.num_layers * layer.num_directions
    sizes = (layer.output_size, layer.hidden_size)[: 2 if hasattr(layer, "proj_size") else 1]
    x = normal(steps, batch, layer.input_size)
    d_output = normal(steps, batch, layer.num_directions * layer.output_size)
    if layer.batch_first:
        x, d_output = x.swapaxes(0, 1).copy(), d_output.swapaxes(0, 1).copy()
    initial, d_states = (tuple(normal(count, batch, size) for size in sizes) for _ in range(2))
    return Problem(
        x, initial if state else None, ragged(rng, steps, batch) if lengths else None, d_output, d_states
    )  # fmt: skip


def as_state(layer, states, dtype=None):
    """A tuple of arrays as `layer` takes it."""
    if states is None:
        return None
    if dtype is not None:
        states = tuple(s.astype(dtype) for s in states)
    return states if hasattr(layer, "proj_size") else states[0]


def flat(value):
    return value if isinstance(value, tuple) else (value,)


def run(layer, case, **options):
    """Every result of both passes, name -> array."""
    dtype = layer.dtype
    x, d_output = case.x.astype(dtype), case.d_output.astype(dtype)
    state = as_state(layer, case.states, dtype)
    output, final, backward = layer.forward(x, state, lengths=case.lengths, **options)
    grads = backward(d_output, as_state(layer, case.d_states, dtype))
    results = {"output": output}
    results.update({f"state[{k}]": s for k, s in enumerate(flat(final))})
    if grads.x is not None:
        results["d_x"] = grads.x
    results.update({f"d_state[{k}]": s for k, s in enumerate(flat(grads.state))})
    results.update({"d_" + name: grad for name, grad in grads.params.items()})
    return results


def infer(layer, case, **options):
    """Output and states of inference, name -> array."""
    state = as_state(layer, case.states, layer.dtype)
    output, final = layer(case.x.astype(layer.dtype), state, lengths=case.lengths, **options)
    return {"output": output, **{f"state[{k}]": s for k, s in enumerate(flat(final))}}


def twin(layer, module, dtype):
    """The same layer, with the same parameters, of another module and dtype."""
    config = {**layer._config(), "dtype": dtype}
    other = getattr(module, type(layer).__name__)(**config, seed=0)
    other.load_state_dict(layer.params)
    return other


def exact_in_float32(layer):
    """Round the parameters so that float32 and float64 layers have the same."""
    layer.load_state_dict({name: value.astype(np.float32) for name, value in layer.params.items()})
    return layer


def assert_close(got, want, tolerance, what="", floor=0.0):
    """Every array within `tolerance` of its counterpart, relative to the largest element of the latter.

    The terms of a gradient may cancel and leave an array small in every element, but not its rounding errors: an
    array counts as at least `floor` times the largest of its pass.
    """
    assert got.keys() == want.keys()
    largest = {}
    for name, expected in want.items():
        back = name.startswith("d_")
        largest[back] = max(largest.get(back, 1e-30), np.abs(expected).max(initial=0))
    for name, expected in want.items():
        assert got[name].shape == expected.shape, (what, name)
        assert np.isfinite(got[name]).all(), (what, name)
        if expected.size:
            scale = max(np.abs(expected).max(), floor * largest[name.startswith("d_")])
            error = np.abs(got[name].astype(np.float64) - expected).max() / max(scale, 1e-30)
            assert error <= tolerance, f"{what} {name}: {error:.2e} > {tolerance:.2e}"


def assert_same_bits(got, want, what=""):
    assert got.keys() == want.keys()
    for name, expected in want.items():
        assert got[name].dtype == expected.dtype, (what, name)
        assert np.ascontiguousarray(got[name]).tobytes() == np.ascontiguousarray(expected).tobytes(), (what, name)


def isas():
    """The instruction sets that this machine and build can run."""
    return list(pylstm._core.available_isas())


@contextlib.contextmanager
def use_isa(name):
    """Layers made inside run on this instruction set."""
    before = pylstm._core.isa()
    pylstm._core.use_isa(name)
    try:
        yield name
    finally:
        pylstm._core.use_isa(before)


@pytest.fixture(scope="session")
def t():
    """The helpers above: in importlib mode, test files cannot import from each other."""
    return SimpleNamespace(
        Problem=Problem, problem=problem, run=run, infer=infer, twin=twin, as_state=as_state, flat=flat, isas=isas,
        use_isa=use_isa, assert_close=assert_close, assert_same_bits=assert_same_bits,
        exact_in_float32=exact_in_float32, ragged=ragged,
    )  # fmt: skip
