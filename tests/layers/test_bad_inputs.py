"""Arrays and other arguments of a call that raise, and what is said about them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 3, 4)).astype(np.float32)  # T, N, I


BAD_KINDS = {
    "None": lambda a: None,  # noqa: ARG005
    "object": lambda a: a.astype(object),
    "strings": lambda a: a.astype(str),
    "complex": lambda a: a.astype(complex),
    "datetime": lambda a: a.astype("M8[s]"),
    "timedelta": lambda a: a.astype("m8[s]"),
    "long double": lambda a: a.astype(np.longdouble),
    "masked": np.ma.masked_array,
    "records": lambda a: np.zeros(a.shape, [("a", "f4")]),
    "dict": lambda a: {"a": a},
}


@pytest.mark.parametrize(
    ("argument", "kind"),
    [
        (argument, kind)
        for argument in ("x", "state", "d_output", "d_state")
        for kind in BAD_KINDS
        if kind != "None" or argument == "x"  # in the others, None is zero
    ],
)
def test_kinds_that_raise(gru, argument, kind):
    state = np.zeros((4, 3, 6), np.float32)
    output, _, backward = gru.forward(X)
    arrays = {"x": X, "state": state, "d_output": output, "d_state": state}
    bad = BAD_KINDS[kind](arrays[argument])
    call = {
        "x": [lambda: gru(bad), lambda: gru.forward(bad)],
        "state": [lambda: gru(X, bad), lambda: gru.forward(X, bad)],
        "d_output": [lambda: backward(bad)],
        "d_state": [lambda: backward(None, bad)],
    }[argument]
    for function in call:
        with pytest.raises(TypeError, match=f"^{argument} must "):
            function()


@pytest.mark.parametrize("shape", [(), (4,), (5, 3), (5, 3, 5), (5, 4, 3), (1, 5, 3, 4), (0,)])
def test_shapes_of_x_that_raise(lstm, shape):
    with pytest.raises(ValueError, match=r"^x must have shape \(T, N, 4\), or \(T, 4\) for one sequence") as raised:
        lstm(np.zeros(shape, np.float32))
    assert str(raised.value).endswith(f"got {shape}")


def test_shape_of_x_is_told_in_the_layers_layout(module):
    with pytest.raises(ValueError, match=r"\(N, T, 4\)"):
        module.LSTM(4, 6, batch_first=True)(np.zeros((2, 3, 5)))


def test_ragged_lists_raise(lstm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy before 1.24 warns, and makes an object array
        with pytest.raises((ValueError, TypeError), match=r"^x "):
            lstm([[[1, 2, 3, 4]], [[1, 2, 3]]])


H, C = np.zeros((1, 3, 6), np.float32), np.zeros((1, 3, 6), np.float32)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (H, TypeError, r"state must be a tuple \(h, c\), got ndarray"),
        ("hc", TypeError, "state must be a tuple"),
        ({"h": H, "c": C}, TypeError, "state must be a tuple"),
        ((H,), ValueError, "state must be a tuple .* got 1 items"),
        ((H, C, C), ValueError, "got 3 items"),
        ((H, None), TypeError, r"state\[1\] must hold real numbers .* got None"),
        ((H[:, :2], C), ValueError, r"state\[0\] must have shape \(1, 3, 6\), got \(1, 2, 6\)"),
        ((H, C[0]), ValueError, r"state\[1\] must have shape \(1, 3, 6\), got \(3, 6\)"),
    ],
)
def test_states_that_raise(lstm, state, error, message):
    with pytest.raises(error, match=message):
        lstm(X, state)
    with pytest.raises(error, match=message):
        lstm.forward(X, state)


def test_states_with_projection_differ_in_size(module):
    layer = module.LSTM(4, 6, proj_size=2)
    h = np.zeros((1, 3, 2), np.float32)
    _, (h_n, c_n) = layer(X, (h, C))
    assert h_n.shape == (1, 3, 2)
    assert c_n.shape == (1, 3, 6)
    with pytest.raises(ValueError, match=r"state\[0\] must have shape \(1, 3, 2\)"):
        layer(X, (H, C))


def test_state_of_one_sequence_has_no_batch_axis(gru):
    state = RNG.standard_normal((4, 6)).astype(np.float32)
    output, final = gru(X[:, 0], state)
    assert output.shape == (5, 12)
    assert final.shape == (4, 6)
    with pytest.raises(ValueError, match=r"state must have shape \(4, 6\), got \(4, 1, 6\)"):
        gru(X[:, 0], state[:, None])
    with pytest.raises(ValueError, match=r"state must have shape \(4, 3, 6\), got \(4, 6\)"):
        gru(X, state)


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([5, 5, 6], ValueError, r"lengths must lie in 0\.\.5, got 5\.\.6"),
        ([5, -1, 3], ValueError, r"lengths must lie in 0\.\.5, got -1\.\.5"),
        (np.array([5, 2**64 - 1, 3], np.uint64), ValueError, "lengths must lie in"),
        ([5, 5], ValueError, r"lengths must have shape \(3,\)"),
        ([[5, 5, 5]], ValueError, "lengths must have shape"),
        (5, ValueError, "lengths must have shape"),
        ([], ValueError, "lengths must have shape"),
        ([5.0, 5.0, 5.0], TypeError, "lengths must be integers, got dtype float64"),
        ([True, True, True], TypeError, "lengths must be integers"),
        (["5", "5", "5"], TypeError, "lengths must be integers"),
        (np.array([5, 5, 5], object), TypeError, "lengths must be integers"),
        (np.ma.masked_array([5, 5, 5]), TypeError, "masked"),
    ],
)
def test_lengths_that_raise(lstm, lengths, error, message):
    with pytest.raises(error, match=message):
        lstm(X, lengths=lengths)
    with pytest.raises(error, match=message):
        lstm.forward(X, lengths=lengths)


def test_lengths_need_a_batch(lstm):
    with pytest.raises(ValueError, match="lengths"):
        lstm(X[:, 0], lengths=[5])


@pytest.mark.parametrize(
    ("threads", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError), ("1", TypeError)]
)
def test_numbers_of_threads_that_raise(lstm, threads, error):
    with pytest.raises(error, match="num_threads"):
        lstm(X, num_threads=threads)
    with pytest.raises(error, match="num_threads"):
        lstm.forward(X, num_threads=threads)


def test_need_dx_is_a_flag(lstm):
    with pytest.raises(TypeError, match="need_dx"):
        lstm.forward(X, need_dx=1)
    assert lstm.forward(X, need_dx=False)[2](None).x is None


@pytest.mark.parametrize(
    "shape", [(5, 3, 6), (3, 5, 12), (5, 12), (1, 5, 3, 12)], ids=str
)  # (5, 3, 12) is the right one
def test_shapes_of_d_output_that_raise(gru, shape):
    backward = gru.forward(X)[2]
    with pytest.raises(ValueError, match=r"d_output must have shape \(5, 3, 12\)"):
        backward(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=r"d_state must have shape \(4, 3, 6\)"):
        backward(None, np.zeros((4, 3, 5), np.float32))
