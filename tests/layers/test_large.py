"""Sizes that few machines see: sequences of 10,000 steps, weights that saturate, more than 2^31 numbers."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
import pylstm.reference
from support.problems import problem, run, twin

STEPS = 10_000


def against_float64(make, x, d_output, params=None):
    """RMS errors of float32, relative to float64 by the reference: name -> (error, size)."""
    layer = make(pylstm, dtype=np.float32)
    if params is not None:
        layer.load_state_dict(params(layer))
    plain = make(pylstm.reference, dtype=np.float64)
    plain.load_state_dict(layer.params)
    results = []
    for one in (layer, plain):
        output, _, backward = one.forward(x.astype(one.dtype))
        grads = backward(d_output.astype(one.dtype))
        results.append({"output": output, "d_x": grads.x, **grads.params})
    return layer, results


def rms(a):
    return float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))


def torch_errors(name, layer, x, d_output, want):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, name)(layer.input_size, layer.hidden_size)
    theirs.load_state_dict({key: torch.tensor(value.copy()) for key, value in layer.params.items()})
    leaf = torch.tensor(x.astype(np.float32), requires_grad=True)
    output, _ = theirs(leaf)
    (output * torch.tensor(d_output.astype(np.float32))).sum().backward()
    got = {"output": output.detach().numpy(), "d_x": leaf.grad.numpy()}
    got.update({key: value.grad.numpy() for key, value in theirs.named_parameters()})
    return {key: rms(got[key] - want[key]) for key in got}


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("weights", ["as drawn", "large"])
def test_ten_thousand_steps_are_as_exact_as_pytorchs(name, weights):
    """Errors against float64, of the output and every gradient, next to those of PyTorch's float32 on the same numbers.

    Up to twice PyTorch's, or a few units in the last place of the array: which of two float32 programs is nearer in one
    array is chance.
    """
    rng = np.random.default_rng(0)
    x, d_output = rng.standard_normal((STEPS, 2, 8)), rng.standard_normal((STEPS, 2, 16))

    def make(module, **options):
        return getattr(module, name)(8, 16, seed=0, **options)

    def large(layer):  # 5 times as large: gates saturate, and the RNN is chaotic unless its recurrence is left alone
        return {k: v * (1 if name == "RNN" and "weight_hh" in k else 5) for k, v in layer.params.items()}

    layer, (got, want) = against_float64(make, x, d_output, large if weights == "large" else None)
    theirs = torch_errors(name, layer, x, d_output, want)
    for key, expected in want.items():
        assert np.isfinite(got[key]).all()
        floor = 8 * np.finfo(np.float32).eps * rms(expected)
        assert rms(got[key] - expected) <= 2 * theirs[key] + floor, key


@pytest.mark.parametrize("scale", [100, 1e10, 1e30])
def test_saturated_gates_stay_finite_and_right(variant, scale):
    """Weights far beyond what is trained: every gate at its end, no NaN, the values of the reference."""
    unbounded = variant.name in ("lstm_coupled", "gru_before_general") and scale > 100  # elu, leaky_relu
    if unbounded or variant.name == "rnn_relu":
        pytest.skip("without a bound there is no end to saturate at")
    layer = variant.make(pylstm, 8, 16, seed=0)
    layer.load_state_dict({name: value * np.float32(scale) for name, value in layer.params.items()})
    case = problem(layer, 7, 5, 0, state=True)
    got = run(layer, case)
    assert all(np.isfinite(got[name]).all() for name in ("output", "d_x"))
    want = run(twin(layer, pylstm.reference, np.float64), case)
    if variant.projection and scale > 100:  # h has no bound of its own, and rounding decides on which side a gate ends
        return
    largest = np.abs(want["output"]).max()
    np.testing.assert_allclose(got["output"], want["output"], rtol=0, atol=1e-4 * max(1, largest))


@pytest.mark.exhaustive
def test_more_than_2_to_the_31_numbers():
    """An output of 2^31 + 2^26 numbers, 8.9 GB: indices pass 32 bits. x is one row, seen again and again."""
    steps, batch = 33 * 2**10, 2**16
    assert steps * batch > 2**31
    layer = pylstm.RNN(1, 1, seed=0)
    row = np.random.default_rng(0).standard_normal((1, batch, 1)).astype(np.float32)
    output, state = layer(np.broadcast_to(row, (steps, batch, 1)))
    want, last = layer(np.broadcast_to(row[:, -3:], (steps, 3, 1)))
    assert output.size > 2**31
    assert output[:, -3:].tobytes() == want.tobytes()
    assert state[:, -3:].tobytes() == last.tobytes()
