"""`EncoderDecoder` beside the same network in PyTorch, which goes sentence by sentence and step by step."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.translators import BEGIN, pairs, torch_loss, translator

pytest.importorskip("torch")

FORMS = {
    "plain": {},
    "reversed": {"reverse_source": True},
    "gru": {"cell": "GRU"},
    "rnn": {"cell": "RNN"},
    "additive": {"attention": "additive"},
    "general": {"attention": "general", "reverse_source": True},
    "dot": {"attention": "dot"},
    "scaled_dot": {"attention": "scaled_dot", "bidirectional": True},
    "bidirectional": {"attention": "additive", "bidirectional": True},
    "stacked": {"attention": "general", "layers": 2},
    "stacked objects": {"attention": "additive", "layers": 2, "stacked": True, "bidirectional": True},
    "deeper decoder": {"layers": 1, "decoder_layers": 3},
    "deeper encoder": {"layers": 3, "decoder_layers": 1, "bidirectional": True},
    "other cell": {"cell": "GRU", "decoder_cell": "LSTM", "attention": "dot"},
    "no cells": {"decoder_cell": "GRU"},
    "feeding": {"attention": "additive", "input_feeding": True, "reverse_source": True},
    "feeding without attention": {"input_feeding": True},
    "feeding, stacked": {"attention": "general", "input_feeding": True, "layers": 2, "bidirectional": True},
    "linear bridge": {"bridge": "linear", "layers": 2, "stacked": True},
    "no bridge": {"bridge": "zero", "attention": "additive", "bidirectional": True},
    "shared": {"shared": True, "attention": "dot"},
    "tied": {"tie_embeddings": True, "attention": "additive"},
    "tied without attention": {"tie_embeddings": True},
    "all one": {"tie_embeddings": True, "shared": True, "attention": "general", "input_feeding": True},
}


@pytest.mark.parametrize("form", FORMS)
def test_logits_and_gradients_are_pytorchs(form):
    """In one batch of sentences of all lengths; the gradients are what an update by plain descent in fit subtracts."""
    model = translator(**FORMS[form])
    sources, targets = pairs(len(form))
    loss, grads, logits = torch_loss(model, sources, targets)
    for found, expected in zip(model.predict((sources, targets)), logits, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert model.evaluate(sources, targets)["loss"] == pytest.approx(loss, abs=1e-11)
    before = model.state_dict()
    history = model.fit(sources, targets, optimizer=pylstm.SGD(1.0), batch_size=len(sources), verbose=0)
    assert history["loss"][0] == pytest.approx(loss, abs=1e-11)
    assert grads.keys() == before.keys()
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(before[name] - value, grads[name], rtol=0, atol=1e-9, err_msg=name)
        assert np.abs(grads[name]).max() > 1e-6 or name.endswith("attention.bias"), name


@pytest.mark.parametrize("form", ["bidirectional", "feeding", "tied"])
def test_forward_and_backward_by_hand(form):
    """On padded arrays, with whatever stands in the padding."""
    model = translator(**FORMS[form])
    sources, targets = pairs(3)
    _, grads, logits = torch_loss(model, sources, targets)
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, 9, (7, 8)), rng.integers(0, 9, (7, 9))
    lengths = np.array([len(one) for one in sources]), np.array([len(one) + 1 for one in targets])
    for i, (one, other) in enumerate(zip(sources, targets, strict=True)):
        source[i, : len(one)], target[i, : len(other) + 1] = one, [BEGIN, *other]
    found, backward = model.forward(source, target, lengths=lengths)
    d, total = np.zeros_like(found), sum(lengths[1])
    for i, expected in enumerate(logits):
        np.testing.assert_allclose(found[i, : len(expected)], expected, rtol=0, atol=1e-10)
        p = np.exp(expected - expected.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(len(p)), [*targets[i], 1]] -= 1
        d[i, : len(p)] = p / total
    d_inputs, d_params = backward(d)
    assert d_inputs == (None, None)
    for name, value in d_params.items():
        np.testing.assert_allclose(np.asarray(value), grads[name], rtol=0, atol=1e-9, err_msg=name)
