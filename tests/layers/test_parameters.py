"""Parameters: where they start, what may be loaded, and copies of layers."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

from support.compare import assert_same_bits
from support.problems import infer, problem, run


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
