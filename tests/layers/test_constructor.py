"""What constructors take and refuse, and what a layer then says of itself."""

from __future__ import annotations

import numpy as np
import pytest


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
        ("RNN", {"nonlinearity": "sigmoidal"}, ValueError, "nonlinearity must be .*'tanh'.*, got 'sigmoidal'"),
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
