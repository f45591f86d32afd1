"""What the tests of model files share."""

from __future__ import annotations

import numpy as np

import pylstm


def filled(value, size=20):
    """A model whose parameters all are `value`: a mixture of two shows."""
    model = pylstm.Sequential([pylstm.Linear(size, size), pylstm.Linear(size, size)], seed=0)
    model.load_state_dict({name: np.full(p.shape, value) for name, p in model.params.items()})
    model.metadata = {"value": value}
    return model


def check_whole(model):
    """A filled one, and nothing else."""
    value = model.metadata["value"]
    for name, array in model.params.items():
        np.testing.assert_array_equal(array, np.float32(value), err_msg=name)


def every_layer(dtype=np.float32, seed=0):
    """A model with every kind of layer."""
    return pylstm.Sequential(
        [
            pylstm.Columns([pylstm.Embedding(9, 4, padding_idx=0, dtype=dtype), pylstm.Embedding(5, 2, dtype=dtype)]),
            pylstm.Dropout(0.25, same_for_all_steps=True),
            pylstm.LSTM(6, 5, 2, batch_first=True, bidirectional=True, proj_size=3, dropout=0.1, dtype=dtype),
            pylstm.Residual([pylstm.GRU(6, 6, batch_first=True, reset_after=False, dtype=dtype)]),
            pylstm.RNN(6, 4, nonlinearity="relu", batch_first=True, recurrent_bias=False, dtype=dtype),
            pylstm.Sequential([pylstm.Linear(4, 4, bias=False, dtype=dtype), pylstm.Activation("tanh")]),
            pylstm.MaxOverTime(),
            pylstm.Linear(4, 3, dtype=dtype),
        ],
        seed=seed,
    )


def ids():
    """Input of every_layer."""
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(0, 9, (4, 7)), rng.integers(0, 5, (4, 7))], axis=-1)


def small():
    return pylstm.Sequential(
        [pylstm.Embedding(6, 3), pylstm.GRU(3, 4, batch_first=True), pylstm.LastStep(), pylstm.Linear(4, 1)], seed=0
    )
