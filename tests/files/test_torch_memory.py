"""Tensors of PyTorch's files become parameters where they were read to, without a copy, and nobody can edit them."""

from __future__ import annotations

import io

import numpy as np
import pytest

import pylstm
from pylstm import _arrays
from support.torch_files import SIX, as_stream, as_zip, tensor, weights


def file_of(make=as_zip, **options):
    """One tensor, "weight", of the numbers in SIX."""
    return io.BytesIO(make(weights(tensor(**options))))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [as_zip, as_stream])
@pytest.mark.parametrize(("options", "places"), [
    ({}, [[0, 1, 2], [3, 4, 5]]),
    ({"strides": (1, 2)}, [[0, 2, 4], [1, 3, 5]]),
    ({"shape": (1, 3), "strides": (77, 1), "offset": 2}, [[2, 3, 4]]),
    ({"shape": (3, 1), "strides": (1, 5), "offset": 3}, [[3], [4], [5]]),
    ({"shape": (2, 3), "strides": (0, 1)}, [[0, 1, 2], [0, 1, 2]]),
    ({"shape": (2, 2), "strides": (3, 2)}, [[0, 2], [3, 5]]),
    ({"shape": (1, 1), "strides": (9, 9), "offset": 5}, [[5]]),
])  # fmt: skip
def test_tensors_of_every_layout(make, dtype, options, places):
    layer = pylstm.Linear(np.shape(places)[1], len(places), bias=False, dtype=dtype)
    pylstm.from_torch(file_of(make, **options), layer)
    found = layer.params["weight"]
    assert type(found) is np.ndarray
    assert found.dtype == dtype
    assert found.tolist() == SIX.reshape(-1)[np.array(places)].tolist()


def bases(array):
    """The array and what its memory belongs to."""
    while isinstance(array, np.ndarray):
        yield array
        array = array.base


@pytest.mark.parametrize("options", [{}, {"strides": (1, 2)}])
def test_nobody_can_edit_them(options):
    model = pylstm.Sequential([pylstm.Linear(3, 2, bias=False)])
    pylstm.from_torch(file_of(**options), model)
    before = model[0].params["weight"].tolist()
    for array in bases(model[0].params["weight"]):
        with pytest.raises(ValueError, match=r"cannot set WRITEABLE flag|read-only"):
            array.setflags(write=True)
    seen = model[0].params["weight"]
    seen.shape = (6,)  # of this view alone
    assert model[0].params["weight"].tolist() == before
    model(np.ones((1, 3)))


def test_what_was_read_is_not_copied(monkeypatch):
    made = []

    def room(*args):
        made.append(_arrays._core.sealable(*args))
        return made[-1]

    monkeypatch.setattr(_arrays, "room", room)
    layer = pylstm.from_torch(file_of(), pylstm.Linear(3, 2, bias=False))
    assert len(made) == 1
    assert np.shares_memory(made[0], layer.params["weight"])
    x = np.ones((4, 3), np.float32)
    np.testing.assert_allclose(layer(x), x @ SIX.reshape(2, 3).T)


def test_training_goes_on_from_them():
    """New numbers come into memory of their own: what was given out before stays."""
    model = pylstm.from_torch(file_of(), pylstm.Sequential([pylstm.Linear(3, 2, bias=False)]))
    first = model[0].params["weight"]
    before = first.copy()
    model.fit(np.ones((4, 3)), np.zeros((4, 2)), loss="mse", optimizer=pylstm.SGD(0.1), verbose=0)
    assert (first == before).all()
    assert (model[0].params["weight"] != before).any()


class Halved(pylstm.Linear):
    def load_state_dict(self, state_dict):
        for value in state_dict.values():
            value *= 0.5
        super().load_state_dict(state_dict)


def test_a_layer_of_ones_own_may_edit_what_it_is_given():
    layer = pylstm.from_torch(file_of(), Halved(3, 2, bias=False))
    assert layer.params["weight"].tolist() == (SIX.reshape(2, 3) / 2).tolist()
