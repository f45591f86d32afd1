"""Whole models as plain Python: captioning, translation, learning."""

from __future__ import annotations

import numpy as np

import pylstm
import pylstm.reference
from support.models import F64, RNG, Captioner, Translator, check_gradients


def cross_entropy(logits, targets):
    rows = np.arange(targets.size)
    return -pylstm.log_softmax(logits.reshape(targets.size, -1))[rows, targets.reshape(-1)].mean()


def test_the_captioner():
    net = Captioner(6, 9, 5, **F64)
    image, words, targets = RNG.standard_normal((3, 6)), RNG.integers(0, 9, (3, 4)), RNG.integers(0, 9, (3, 4))
    logits, backward = net.forward(image, words, lengths=[4, 2, 3])
    assert logits.shape == (3, 4, 9)
    np.testing.assert_array_equal(net(image, words, lengths=[4, 2, 3]), logits)
    (d_image, d_words), d_params = backward(np.ones_like(logits))
    assert d_image.shape == image.shape
    assert d_words is None
    assert isinstance(d_params["embed.weight"], pylstm.RowGradient)
    check_gradients(net, lambda net: cross_entropy(net(image, words), targets))


def test_encoder_decoder_with_attention():
    net = Translator(7, 4, **F64)
    source, target = RNG.integers(0, 7, (3, 5)), RNG.integers(0, 7, (3, 4))
    lengths = np.array([5, 2, 3])
    check_gradients(net, lambda net: cross_entropy(net(source, target, lengths=lengths), target))
    padded = source.copy()
    padded[1, 2:] = 6
    np.testing.assert_array_equal(net(padded, target, lengths=lengths), net(source, target, lengths=lengths))


def test_it_learns_with_an_optimizer():
    net, adam = Captioner(3, 5, 8), pylstm.Adam(1e-2)
    net._reseed(np.random.SeedSequence(0))
    image, words = RNG.standard_normal((4, 3)), RNG.integers(0, 5, (4, 6))
    losses = []
    for _ in range(60):
        value, grads = pylstm.value_and_grad(lambda net, *x: cross_entropy(net(*x), words))(net, image, words)
        adam.step(net, grads, clip_norm=1.0)
        losses.append(value)
    assert type(losses[0]) is float
    assert losses[-1] < losses[0] / 4
