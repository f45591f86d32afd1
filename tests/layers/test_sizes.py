"""Sizes out of the ordinary: huge ones, none at all, layers in layers in layers."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest

import pylstm
from pylstm import _checks, reference
from support.problems import flat

HUGE = [2**63 - 1, 2**62, 2**61, 2**50]


@pytest.mark.parametrize("size", HUGE)
def test_a_stream_of_more_sequences_than_memory_holds(module, size):
    layer = module.LSTM(4, 6)
    with pytest.raises(ValueError, match=f"batch_size={size} would need .* GiB"):
        layer.stream(size)
    with pytest.raises(ValueError, match="batch_size must be at most"):
        layer.stream(2**63)


def test_a_stream_without_memory_says_so(module, monkeypatch):
    layer = module.GRU(4, 6)

    def none(*_):
        raise MemoryError

    monkeypatch.setattr(layer, "_stepper", none)
    with pytest.raises(MemoryError, match="batch_size=3"):
        layer.stream(3)


@pytest.mark.parametrize("size", HUGE)
@pytest.mark.parametrize(
    "make",
    [
        lambda n: pylstm.LSTM(n, 4),
        lambda n: pylstm.GRU(4, n),
        lambda n: reference.RNN(n, n),
        lambda n: pylstm.Embedding(n, 2**30),
        lambda n: pylstm.Embedding(4, n),
        lambda n: pylstm.Linear(n, n),
        lambda n: pylstm.Linear(2, n),
    ],
)
def test_layers_larger_than_memory(make, size):
    with pytest.raises(ValueError, match=r"\(.*\d{10}.*would need [\d,]+ GiB for its parameters"):
        make(size)


@pytest.mark.parametrize("shape", [(2**40, 0, 4), (2**60, 0, 4), (3, 0, 4), (0, 3, 4), (0, 0, 4)], ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
def test_nothing_at_all_of_any_length(module, variant, shape, batch_first):
    """As many steps of no sequence as fit into a shape: no loop runs over them."""
    layer = variant.make(module, 4, 6, num_layers=2, bidirectional=True, batch_first=batch_first, seed=0)
    steps, batch, _ = shape
    front = (batch, steps) if batch_first else (steps, batch)
    try:
        x = np.zeros((*front, 4), np.float32)
        d = np.zeros((*front, 2 * layer.output_size), np.float32)
    except ValueError:
        pytest.skip("NumPy has no such shape")
    output, state = layer(x)
    assert output.shape == d.shape
    trained, _, backward = layer.forward(x)
    assert trained.shape == d.shape
    for d_output in (d, None):
        grads = backward(d_output)
        assert grads.x.shape == x.shape
        assert [g.shape for g in flat(grads.state)] == [s.shape for s in flat(state)]
        assert not any(value.any() for value in grads.params.values())


@pytest.mark.parametrize("shape", [(0, 2**40, 4), (0, 2**60, 4)], ids=str)
def test_states_of_more_sequences_than_memory_holds(shape):
    with pytest.raises((MemoryError, ValueError), match=r"not enough memory|too big|maximum"):
        pylstm.LSTM(4, 6)(np.zeros(shape, np.float32))


def test_an_empty_out_may_have_any_strides(module):
    layer = module.LSTM(1, 1, bidirectional=True)
    for shape in ((0, 0, 2), (0, 3, 2), (3, 0, 2)):
        for out in (
            np.full(shape, 7, np.float32),
            np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), shape, (4, 4, 8)),
        ):
            assert layer(np.zeros((*shape[:2], 1), np.float32), out=out)[0] is out


# ---- layers in layers ------------------------------------------------------------------------------------------------

CONTAINERS = [pylstm.Sequential, pylstm.Residual]


@pytest.mark.parametrize("kind", CONTAINERS)
def test_layers_nested_deeper_than_pythons_stack(kind):
    layer = pylstm.Linear(4, 4, seed=0)
    for _ in range(30):
        layer = kind([layer])
    x = np.ones((2, 3, 4), np.float32)
    y, backward = layer.forward(x)
    assert backward(y)[0].shape == x.shape
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(twin) == repr(layer)
        np.testing.assert_array_equal(twin(x), y)
    layer = kind([kind([layer])])
    with pytest.raises(ValueError, match="layers may hold layers that hold layers 32 deep"):
        kind([layer])


@pytest.mark.parametrize("kind", [*CONTAINERS, pylstm.Columns])
def test_layers_without_end(monkeypatch, kind):
    monkeypatch.setattr(_checks, "MOST_LAYERS", 50)
    with pytest.raises(ValueError, match="layers must hold at most 50"):
        kind(itertools.repeat(pylstm.Dropout(0.0)))
