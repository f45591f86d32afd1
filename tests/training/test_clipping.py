"""Clipping: the norm and the value of gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest

import pylstm
from support.arrays import row_gradient
from support.steps import gradients, make_layer


def test_clipping_follows_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    grads = gradients(rng)
    leaves = []
    for value in grads.values():
        leaf = torch.zeros(value.shape, dtype=torch.float64, requires_grad=True)
        leaf.grad = torch.tensor(value)
        leaves.append(leaf)
    for limit in (1e-3, 1e6):
        clipped, norm = pylstm.clip_norm(grads, limit)
        theirs = torch.nn.utils.clip_grad_norm_(leaves, limit)
        assert norm == pytest.approx(theirs.item(), rel=1e-12)
        for value, leaf in zip(clipped.values(), leaves, strict=True):
            np.testing.assert_allclose(value, leaf.grad.numpy(), rtol=1e-12)
            leaf.grad = torch.tensor(grads["weight" if value.ndim == 2 else "bias"])


def test_clipping_of_nested_and_row_gradients():
    rng = np.random.default_rng(8)
    rows = row_gradient(rng, 20, 3)
    tree = {"a": {"weight": rows}, "b": [{"x": rng.standard_normal(4)}, {"x": None}]}
    want = math.sqrt((rows.dense() ** 2).sum() + (tree["b"][0]["x"] ** 2).sum())
    assert pylstm.global_norm(tree) == pytest.approx(want, rel=1e-12)
    assert pylstm.global_norm(pylstm.clip_norm(tree, 0.5)[0]) == pytest.approx(0.5, rel=1e-5)
    cut = pylstm.clip_value(tree, 0.3)
    assert np.abs(cut["a"]["weight"].dense()).max() <= 0.3
    np.testing.assert_array_equal(cut["b"][0]["x"], np.clip(tree["b"][0]["x"], -0.3, 0.3))


def test_step_clips_as_the_functions_do():
    grads = gradients(np.random.default_rng(9))
    one, two = make_layer(), make_layer()
    pylstm.SGD(0.1).step(one, grads, clip_norm=0.7, clip_value=0.4)
    pylstm.SGD(0.1).step(two, pylstm.clip_norm(pylstm.clip_value(grads, 0.4), 0.7)[0])
    for name, value in one.params.items():
        np.testing.assert_allclose(value, two.params[name], rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_changes_nothing(bad):
    layer = make_layer()
    before = layer.state_dict()
    grads = gradients(np.random.default_rng(10))
    grads["bias"][3] = bad
    with pytest.raises(FloatingPointError, match="nothing was updated"):
        pylstm.Adam().step(layer, grads, clip_norm=1.0)
    for name, value in before.items():
        np.testing.assert_array_equal(layer.params[name], value)
