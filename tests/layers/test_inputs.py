"""The front of the layers: which arguments are taken, how, and what is said about the others."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

from pylstm import reference
from support.compare import assert_same_bits
from support.problems import as_state, flat, infer, problem, run

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 3, 4)).astype(np.float32)  # T, N, I


@pytest.fixture
def lstm(module):
    return module.LSTM(4, 6, seed=1)


@pytest.fixture
def gru(module):
    return module.GRU(4, 6, num_layers=2, bidirectional=True, seed=1)


# ---- constructor -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "options", "error", "message"),
    [
        ("LSTM", {"input_size": 0}, ValueError, "input_size must be at least 1, got 0"),
        ("LSTM", {"input_size": -3}, ValueError, "input_size"),
        ("LSTM", {"input_size": 4.0}, TypeError, "input_size must be an integer, got float"),
        ("LSTM", {"input_size": True}, TypeError, "input_size"),
        ("LSTM", {"input_size": "4"}, TypeError, "input_size"),
        ("LSTM", {"input_size": None}, TypeError, "input_size must be an integer, got None"),
        ("GRU", {"hidden_size": 0}, ValueError, "hidden_size"),
        ("GRU", {"hidden_size": np.float64(6)}, TypeError, "hidden_size"),
        ("RNN", {"num_layers": 0}, ValueError, "num_layers"),
        ("RNN", {"num_layers": np.True_}, TypeError, "num_layers"),
        ("LSTM", {"bias": 1}, TypeError, "bias must be True or False, got int"),
        ("LSTM", {"batch_first": None}, TypeError, "batch_first"),
        ("GRU", {"bidirectional": "yes"}, TypeError, "bidirectional"),
        ("GRU", {"recurrent_bias": 0}, TypeError, "recurrent_bias"),
        ("GRU", {"reset_after": 1}, TypeError, "reset_after"),
        ("LSTM", {"dropout": -0.1}, ValueError, "dropout"),
        ("LSTM", {"dropout": 1.1}, ValueError, "dropout"),
        ("LSTM", {"dropout": float("nan")}, ValueError, "dropout"),
        ("LSTM", {"dropout": float("inf")}, ValueError, "dropout"),
        ("LSTM", {"dropout": True}, TypeError, "dropout"),
        ("LSTM", {"dropout": "0.5"}, TypeError, "dropout"),
        ("LSTM", {"proj_size": -1}, ValueError, "proj_size"),
        ("LSTM", {"proj_size": 6}, ValueError, "proj_size must be smaller than hidden_size=6, got 6"),
        ("LSTM", {"proj_size": False}, TypeError, "proj_size"),
        ("RNN", {"nonlinearity": "sigmoid"}, ValueError, "nonlinearity must be 'tanh' or 'relu', got 'sigmoid'"),
        ("RNN", {"nonlinearity": None}, TypeError, "nonlinearity"),
        ("LSTM", {"dtype": np.float16}, TypeError, "dtype must be float32 or float64"),
        ("LSTM", {"dtype": ">f4"}, TypeError, "dtype"),
        ("LSTM", {"dtype": None}, TypeError, "dtype"),
        ("LSTM", {"dtype": "nonsense"}, TypeError, "dtype"),
        ("LSTM", {"dtype": np.complex64}, TypeError, "dtype"),
        ("LSTM", {"seed": -1}, ValueError, "seed"),
        ("LSTM", {"seed": 1.0}, TypeError, "seed"),
        ("LSTM", {"seed": True}, TypeError, "seed"),
    ],
)
def test_bad_constructor_arguments(module, cls, options, error, message):
    with pytest.raises(error, match=message):
        getattr(module, cls)(**{"input_size": 4, "hidden_size": 6, **options})


def test_numpy_scalars_are_numbers(module):
    layer = module.LSTM(np.int64(4), np.uint8(6), dropout=np.float32(0), bias=np.True_, dtype="float64")
    assert type(layer.input_size) is int
    assert type(layer.dropout) is float
    assert layer.bias is True
    assert layer.dtype == np.float64


def test_dropout_without_a_second_layer_warns_here(module):
    with pytest.warns(UserWarning, match="num_layers=1") as record:
        module.GRU(4, 6, dropout=0.5)
    assert record[0].filename == __file__


def test_attributes_cannot_be_changed(module, variant):
    layer = variant.make(module, 4, 6)
    for name in (*layer._config_names, "num_directions", "output_size"):
        with pytest.raises(AttributeError, match=name):
            setattr(layer, name, getattr(layer, name))


@pytest.mark.parametrize(
    ("cls", "args", "options", "text"),
    [
        ("LSTM", (4, 6), {}, "LSTM(4, 6)"),
        (
            "LSTM",
            (4, 6, 2, False, True),
            {"dropout": 0.5, "bidirectional": True, "proj_size": 3, "dtype": np.float64},
            "LSTM(4, 6, num_layers=2, bias=False, batch_first=True, dropout=0.5, bidirectional=True, proj_size=3, "
            "dtype=float64)",
        ),
        ("GRU", (4, 6), {"reset_after": False, "recurrent_bias": False}, None),
        ("RNN", (4, 6, 3, "relu"), {}, "RNN(4, 6, num_layers=3, nonlinearity='relu')"),
    ],
)
def test_repr(module, cls, args, options, text):
    text = text or "GRU(4, 6, reset_after=False, recurrent_bias=False)"
    assert repr(getattr(module, cls)(*args, **options)) == text


# ---- parameters ------------------------------------------------------------------------------------------------------


def test_parameters_start_like_pytorchs(module):
    layer = module.LSTM(30, 25, seed=5)
    for value in layer.params.values():
        assert np.abs(value).max() <= 1 / 5
        assert np.abs(value).max() > 0.9 / 5
        assert abs(value.mean()) < 0.04
    same, other = module.LSTM(30, 25, seed=5), module.LSTM(30, 25, seed=6)
    double = module.LSTM(30, 25, seed=5, dtype=np.float64)
    for name, value in layer.params.items():
        assert np.array_equal(value, same.params[name])
        assert np.array_equal(value, double.params[name].astype(np.float32))
        assert not np.array_equal(value, other.params[name])


def test_number_of_parameters(module):
    assert module.LSTM(256, 128).num_parameters == 4 * 128 * (256 + 128 + 2)
    assert module.LSTM(256, 128, recurrent_bias=False).num_parameters == 197_120
    assert module.GRU(3, 5, 2, bidirectional=True, bias=False).num_parameters == 2 * 15 * (3 + 5) + 2 * 15 * (10 + 5)
    assert module.LSTM(3, 5, proj_size=2).num_parameters == 20 * (3 + 2 + 2) + 2 * 5


def test_params_cannot_be_edited(lstm):
    weight = lstm.params["weight_ih_l0"]
    with pytest.raises(ValueError, match="read-only"):
        weight[0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        weight.flags.writeable = True
    with pytest.raises(ValueError, match="WRITEABLE"):
        weight.base.flags.writeable = True
    with pytest.raises(TypeError):
        lstm.params["weight_ih_l0"] = weight
    with pytest.raises(AttributeError):
        lstm.params = {}


def test_state_dict_is_a_copy(lstm):
    state = lstm.state_dict()
    assert list(state) == list(lstm.params)
    state["weight_ih_l0"][...] = 7
    assert not (lstm.params["weight_ih_l0"] == 7).any()
    before = lstm.params["weight_ih_l0"]
    lstm.load_state_dict(state)
    assert (lstm.params["weight_ih_l0"] == 7).all()
    assert not (before == 7).any()
    state["weight_ih_l0"][...] = 8
    assert (lstm.params["weight_ih_l0"] == 7).all()


def test_state_dict_converts(lstm):
    state = {name: value.astype(">f8")[::-1].tolist()[::-1] for name, value in lstm.params.items()}
    state["bias_ih_l0"] = np.arange(24)
    lstm.load_state_dict(state)
    assert lstm.params["bias_ih_l0"].dtype == np.float32
    assert np.array_equal(lstm.params["bias_ih_l0"], np.arange(24))


@pytest.mark.parametrize(
    ("change", "error", "messages"),
    [
        (lambda s: s.pop("weight_hh_l0"), ValueError, ["missing weight_hh_l0"]),
        (lambda s: s.update(weight_ih_l1=0), ValueError, ["unexpected weight_ih_l1"]),
        (
            lambda s: s.update(extra=s.pop("bias_ih_l0"), bias_hh_l0=np.zeros(23)),
            ValueError,
            ["missing bias_ih_l0", "unexpected extra", r"bias_hh_l0 must have shape \(24,\), got \(23,\)"],
        ),
        (lambda s: s.update(weight_hh_l0=s["weight_hh_l0"].T), ValueError, [r"weight_hh_l0 must have shape \(24, 6\)"]),
        (lambda s: s.update(bias_ih_l0=np.zeros(24, complex)), TypeError, ["bias_ih_l0 .* complex128"]),
        (lambda s: s.update(bias_hh_l0=None), TypeError, ["bias_hh_l0 .* None"]),
    ],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(lstm, change, error, messages):
    before = lstm.state_dict()
    state = {name: value + 1 for name, value in before.items()}
    change(state)
    with pytest.raises(error) as raised:
        lstm.load_state_dict(state)
    for message in messages:
        assert raised.match(message)
    for name, value in before.items():
        assert np.array_equal(lstm.params[name], value)


def test_a_state_dict_is_a_mapping(lstm):
    with pytest.raises(TypeError, match="mapping"):
        lstm.load_state_dict(list(lstm.params.items()))


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies(module, variant, make):
    layer = variant.make(module, 4, 6, num_layers=2, dropout=0.5, batch_first=True, dtype=np.float64)
    case = problem(layer, 5, 3, 0, lengths=True, state=True)
    layer.forward(case.x)
    other = make(layer)
    assert repr(other) == repr(layer)
    assert_same_bits(infer(other, case), infer(layer, case))
    assert_same_bits(run(other, case), run(layer, case))  # the next dropout mask, too
    with pytest.raises(ValueError, match="read-only"):
        other.params["weight_ih_l0"][0, 0] = 1
    layer.load_state_dict({name: value * 2 for name, value in layer.params.items()})
    assert not np.array_equal(other.params["weight_ih_l0"], layer.params["weight_ih_l0"])


def test_pickling_does_not_warn(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = module.LSTM(4, 6, dropout=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(layer))


# ---- arrays: kinds that work -----------------------------------------------------------------------------------------


def misaligned(array):
    room = np.zeros(array.nbytes + 1, np.uint8)[1:]
    result = room.view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def in_records(array):
    """A field of records, so that strides are no multiple of the itemsize."""
    records = np.zeros(array.shape[:2], [("odd", "u1"), ("x", array.dtype, array.shape[2:])])
    records["x"] = array
    return records["x"]


def strided(array):
    room = np.zeros([2 * n + 1 for n in array.shape], array.dtype)
    view = room[1::2, 1::2, 1::2]
    view[...] = array
    return view


KINDS = {
    "lists": lambda a: a.tolist(),
    "float64": lambda a: a.astype(np.float64),
    "big-endian": lambda a: a.astype(">f4"),
    "big-endian float64": lambda a: a.astype(">f8"),
    "Fortran": np.asfortranarray,
    "swapped axes": lambda a: a.swapaxes(0, 1).copy().swapaxes(0, 1),
    "reversed": lambda a: a[::-1].copy()[::-1],
    "reversed everywhere": lambda a: a[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "strided": strided,
    "rows of a wider array": lambda a: np.concatenate([a, a], axis=2)[:, :, : a.shape[2]],
    "read-only": read_only,
    "misaligned": misaligned,
    "misaligned float64": lambda a: misaligned(a.astype(np.float64)),
    "field of records": in_records,
    "subclass": lambda a: a.view(type("Sub", (np.ndarray,), {})),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_kinds_of_arrays(module, variant, kind, batch_first):
    """Any way to hold the same numbers gives the same bits, in every argument."""
    convert = KINDS[kind]
    layer = variant.make(module, 4, 6, batch_first=batch_first, seed=1)
    case = problem(layer, 5, 3, 0, state=True)
    want = run(layer, case)

    def given(array):
        return convert(array.astype(np.float32))

    state = as_state(layer, tuple(given(s) for s in case.states))
    d_state = as_state(layer, tuple(given(d) for d in case.d_states))
    output, final, backward = layer.forward(given(case.x), state, lengths=[5, 5, 5])
    grads = backward(given(case.d_output), d_state)
    got = {"output": output, "d_x": grads.x}
    got.update({f"state[{k}]": s for k, s in enumerate(flat(final))})
    got.update({f"d_state[{k}]": s for k, s in enumerate(flat(grads.state))})
    got.update({"d_" + name: value for name, value in grads.params.items()})
    assert_same_bits({name: got[name] for name in want}, want)
    assert_same_bits({"output": layer(given(case.x), state)[0]}, {"output": want["output"]})


def normalised(array, shape):
    """What every backend may rely on."""
    size = array.itemsize
    return (
        type(array) is np.ndarray
        and array.shape == shape
        and array.dtype == np.float32
        and array.dtype.isnative
        and array.flags.aligned
        and (shape[-1] == 1 or array.strides[-1] == size)
        and all(step % size == 0 for n, step in zip(shape, array.strides, strict=True) if n > 1)
    )


class Spy(reference.LSTM):
    """Looks at what the front hands to a backend."""

    def inspect(self, x, states, lengths):
        shape = (1, 3, 6)
        assert normalised(x, (5, 3, 4))
        assert all(normalised(s, shape) and s.flags.c_contiguous for s in states)
        assert lengths.dtype == np.int64
        assert lengths.flags.c_contiguous
        self.seen = x, states, lengths

    def _infer(self, x, states, lengths, out, num_threads):
        self.inspect(x, states, lengths)
        return super()._infer(x, states, lengths, out, num_threads)

    def _train(self, x, states, lengths, *options):
        self.inspect(x, states, lengths)
        final, run_backward = super()._train(x, states, lengths, *options)

        def inspect_backward(d_output, d_states):
            assert normalised(d_output, (5, 3, 6))
            assert all(normalised(d, (1, 3, 6)) and d.flags.c_contiguous for d in d_states)
            return run_backward(d_output, d_states)

        return final, inspect_backward


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_backends_see_normalised_arrays(kind, batch_first):
    layer = Spy(4, 6, batch_first=batch_first)
    case = problem(layer, 5, 3, 0, state=True)
    x, d_output, *others = (
        KINDS[kind](a.astype(np.float32)) for a in (case.x, case.d_output, *case.states, *case.d_states)
    )
    lengths = np.array([5, 5, 3])
    layer(x, others[:2], lengths=lengths)
    layer.forward(x, others[:2], lengths=lengths)[2](d_output, others[2:])
    assert not np.shares_memory(layer.seen[2], lengths)
    for state in layer.seen[1]:  # training keeps copies, since callers reuse their buffers
        assert not any(isinstance(given, np.ndarray) and np.shares_memory(state, given) for given in others)


def test_what_is_normalised_already_is_not_copied():
    wide = np.zeros((10, 3, 9), np.float32)
    state = (np.zeros((1, 3, 6), np.float32), np.zeros((1, 3, 6), np.float32))
    for x in (wide[:5, :, :4].copy(), wide[:5, :, 2:6], wide[8::-2, ::-1, :4]):
        layer, swapped = Spy(4, 6), Spy(4, 6, batch_first=True)
        layer(x, state, lengths=[5, 5, 5])
        swapped(x.swapaxes(0, 1), state, lengths=[5, 5, 5])
        for spy in (layer, swapped):
            assert np.shares_memory(spy.seen[0], x)
            assert all(np.shares_memory(a, b) for a, b in zip(spy.seen[1], state, strict=True))


def test_strides_of_axes_of_one_element(module):
    """They may be anything, and mean nothing."""
    layer = module.LSTM(4, 6, seed=1)
    for shape in [(1, 3, 4), (5, 1, 4), (1, 1, 4)]:
        x = RNG.standard_normal(shape).astype(np.float32)
        records = np.zeros(shape[:1], [("x", "f4", shape[1:]), ("odd", "u1")])
        records["x"] = x
        np.testing.assert_array_equal(layer(records["x"])[0], layer(x)[0])
        records = np.zeros(shape[:2], [("x", "f4", shape[2:]), ("odd", "u1")])
        records["x"] = x
        np.testing.assert_array_equal(layer.forward(records["x"])[0], layer(x)[0])


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", ">i2", "i4", "u4", "i8", "u8", "f2", ">f2", "f4", "f8"])
def test_dtypes(lstm, dtype):
    x = (RNG.standard_normal((5, 3, 4)) * 3).clip(0).astype(dtype)
    np.testing.assert_array_equal(lstm(x)[0], lstm(x.astype(np.float32))[0])
    assert lstm(x)[0].dtype == np.float32


def test_broadcast_inputs(module, variant):
    layer = variant.make(module, 4, 6, seed=1)
    for shape in [(1, 3, 4), (5, 1, 4), (1, 1, 4), (5, 3, 1), (1, 1, 1)]:
        x = np.broadcast_to(RNG.standard_normal(shape).astype(np.float32), (5, 3, 4))
        want, _, want_backward = layer.forward(x.copy())
        output, _, backward = layer.forward(x)
        np.testing.assert_array_equal(output, want)
        np.testing.assert_array_equal(layer(x)[0], want)
        ones = np.broadcast_to(np.float32(1), output.shape)
        np.testing.assert_array_equal(backward(ones).x, want_backward(ones.copy()).x)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (5, 0), (0, 0)])
@pytest.mark.parametrize("lengths", [False, True])
def test_empty(module, variant, steps, batch, batch_first, lengths):
    layer = variant.make(module, 4, 6, num_layers=2, bidirectional=True, batch_first=batch_first, seed=1)
    case = problem(layer, steps, batch, 0, state=True)
    if lengths:
        case = case._replace(lengths=[0] * batch)
    results = run(layer, case)
    assert results["output"].shape == case.d_output.shape
    assert results["d_x"].shape == case.x.shape
    for k, state in enumerate(case.states):
        np.testing.assert_array_equal(results[f"state[{k}]"], state)
        np.testing.assert_array_equal(results[f"d_state[{k}]"], case.d_states[k])
    for name in layer.params:
        assert results["d_" + name].shape == layer.params[name].shape
        assert not results["d_" + name].any()
    assert_same_bits(infer(layer, case), {name: results[name] for name in infer(layer, case)})


def test_one_empty_sequence_without_a_batch_axis(lstm):
    output, (h, c) = lstm(np.zeros((0, 4), np.float32))
    assert output.shape == (0, 6)
    assert not h.any()
    assert not c.any()


@pytest.mark.parametrize("kind", [list, tuple, np.int8, np.uint64, ">i4", "strided"])
def test_lengths_of_any_integer_kind(lstm, kind):
    want = lstm(X, lengths=np.array([5, 0, 2]))[0]
    if kind in (list, tuple):
        lengths = kind([5, 0, 2])
    else:
        lengths = np.array([5, 9, 0, 9, 2, 9])[::2] if kind == "strided" else np.array([5, 0, 2]).astype(kind)
    np.testing.assert_array_equal(lstm(X, lengths=lengths)[0], want)


# ---- arrays: kinds that raise ----------------------------------------------------------------------------------------

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


# ---- out -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
def test_out_is_written_and_returned(module, variant, batch_first):
    layer = variant.make(module, 4, 6, num_layers=2, bidirectional=True, batch_first=batch_first, seed=1)
    case = problem(layer, 5, 3, 0, lengths=True, state=True)
    want = infer(layer, case)
    shape = want["output"].shape
    outs = {
        "C": np.empty(shape, np.float32),
        "swapped": np.empty((shape[1], shape[0], shape[2]), np.float32).swapaxes(0, 1),
        "reversed": np.empty(shape, np.float32)[::-1, ::-1],
        "in a wider array": np.empty((shape[0], shape[1], shape[2] + 7), np.float32)[:, :, 3 : 3 + shape[2]],
    }
    for name, out in outs.items():
        out[...] = np.nan
        got = infer(layer, case, out=out)
        assert got["output"] is out
        assert_same_bits(got, want, name)


def test_nothing_beside_out_is_written(lstm):
    room = np.full((7, 5, 10), 9, np.float32)
    lstm(X, lengths=[5, 0, 2], out=room[1:6, 1:4, 2:8])
    room[1:6, 1:4, 2:8] = 9
    assert (room == 9).all()


def test_out_of_one_sequence(lstm):
    out = np.full((5, 6), np.nan, np.float32)
    output, _ = lstm(X[:, 1], out=out)
    assert output is out
    np.testing.assert_array_equal(out, lstm(X[:, 1])[0])


def test_outs_that_raise(lstm):
    good = np.empty((5, 3, 6), np.float32)
    table = [
        (good.tolist(), TypeError, "out must be a NumPy array, got list"),
        (np.ma.masked_array(good), TypeError, "out must be a NumPy array"),
        (good.astype(np.float64), TypeError, "out must have dtype float32"),
        (good.astype(">f4"), TypeError, "native byte order"),
        (good.swapaxes(0, 1), ValueError, r"out must have shape \(5, 3, 6\), got \(3, 5, 6\)"),
        (good[:, 0], ValueError, "out must have shape"),
        (read_only(good), ValueError, "out is read-only"),
        (np.asfortranarray(good), ValueError, "last axis contiguous"),
        (good[:, :, ::-1], ValueError, "last axis contiguous"),
        (misaligned(good), ValueError, "aligned"),
        (np.lib.stride_tricks.as_strided(good, (5, 3, 6), (0, 24, 4)), ValueError, "one place in memory"),
    ]
    for out, error, message in table:
        with pytest.raises(error, match=message):
            lstm(X, out=out)


def test_out_must_not_overlap_what_is_read(module):
    layer = module.LSTM(6, 6, seed=1)
    room = np.zeros((12, 3, 6), np.float32)
    for start in (0, 1, 4):
        with pytest.raises(ValueError, match="out must not overlap"):
            layer(room[:5], out=room[start : start + 5])
    h, c = room[10:11], np.zeros((1, 3, 6), np.float32)
    for state in ((h, c), [c, h]):
        with pytest.raises(ValueError, match="out must not overlap"):
            layer(room[:5], state, out=room[6:11])
    layer(room[:5], (h, c), out=room[5:10])  # beside each other is fine
    layer(room[::2], out=room[1::2])  # and so is in between


# ---- backward --------------------------------------------------------------------------------------------------------


def gradients(grads):
    return {"x": grads.x, **{str(k): s for k, s in enumerate(flat(grads.state))}, **grads.params}


def test_backward_again_and_after_other_calls(module, variant):
    layer = variant.make(module, 4, 6, num_layers=2, bidirectional=True, dropout=0.5, seed=1)
    d = RNG.standard_normal((5, 3, 2 * layer.output_size)).astype(np.float32)
    _, _, backward = layer.forward(X, lengths=[5, 0, 3])
    first = gradients(backward(d))
    kept = {name: value.copy() for name, value in first.items()}
    layer.forward(X[::-1])[2](d)
    layer(X[:2])
    again = gradients(backward(d))
    assert_same_bits(again, kept)
    assert_same_bits(first, kept)  # what was handed out has not been touched
    for name in first:
        assert not np.shares_memory(first[name], again[name])
        first[name][...] = 0  # and belongs to the caller
    assert_same_bits(gradients(backward(d)), kept)


def test_backward_does_not_depend_on_buffers_of_the_caller(module, variant):
    layer = variant.make(module, 4, 6, seed=1)
    case = problem(layer, 5, 3, 0, state=True)
    states = tuple(s.astype(np.float32) for s in case.states)
    lengths = np.array([5, 2, 3])
    d = case.d_output.astype(np.float32)
    _, final, backward = layer.forward(X, as_state(layer, states), lengths=lengths)
    want = gradients(backward(d))
    for array in (*states, *flat(final), lengths):
        array[...] = 0
    assert_same_bits(gradients(backward(d)), want)


def test_what_backward_reads_is_read_only(gru):
    output, state, _ = gru.forward(X)
    with pytest.raises(ValueError, match="read-only"):
        output[0] = 0
    state[...] = 0
    output, _ = gru(X)
    output[...] = 0


def test_inputs_are_not_changed(module, variant):
    layer = variant.make(module, 4, 6, num_layers=2, bidirectional=True, dropout=0.3, seed=1)
    case = problem(layer, 5, 3, 0, lengths=True, state=True)
    arrays = [case.x, case.lengths, case.d_output, *case.states, *case.d_states]
    arrays = [a if a.dtype == np.int64 else a.astype(np.float32) for a in arrays]
    x, lengths, d_output, *others = arrays
    before = [a.copy() for a in arrays]
    half = len(others) // 2
    backward = layer.forward(x, as_state(layer, tuple(others[:half])), lengths=lengths)[2]
    backward(d_output, as_state(layer, tuple(others[half:])))
    layer(x, as_state(layer, tuple(others[:half])), lengths=lengths)
    for array, kept in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_returned_states_are_fresh(module, variant):
    layer = variant.make(module, 4, 6, seed=1)
    _, state = layer(X)
    for steps in (0, 5):
        _, final = layer(X[:steps], state)
        for old, new in zip(flat(state), flat(final), strict=True):
            assert not np.shares_memory(old, new)


def test_gradients_have_the_keys_of_params(gru):
    grads = gru.forward(X)[2]()
    assert list(grads.params) == list(gru.params)
    assert not any(value.any() for value in grads.params.values())
