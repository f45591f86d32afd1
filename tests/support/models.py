"""Models that several tests use."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm

RNG = np.random.default_rng(0)
F64 = {"dtype": np.float64}


class Captioner(pylstm.Model):
    """The example of the documentation."""

    def __init__(self, image_size, words, size, **make):
        self.start, self.embed = pylstm.Linear(image_size, size, **make), pylstm.Embedding(words, size, **make)
        self.lstm = pylstm.LSTM(size, size, batch_first=True, **make)
        self.head = pylstm.Linear(size, words, **make)

    def run(self, image, words, lengths=None):
        h = self.start(image).tanh()
        y, _ = self.lstm(self.embed(words), (h[None], h[None] * 0), lengths=lengths)
        return self.head(y)


class Translator(pylstm.Model):
    """Encoder, decoder and attention, one step at a time with input feeding."""

    def __init__(self, words, size, **make):
        self.source, self.target = pylstm.Embedding(words, size, **make), pylstm.Embedding(words, size, **make)
        self.encoder = pylstm.GRU(size, size, batch_first=True, bidirectional=True, **make)
        self.bridge, self.keys = pylstm.Linear(2 * size, size, **make), pylstm.Linear(2 * size, size, **make)
        self.cell = pylstm.GRU(3 * size, size, batch_first=True, **make)
        self.mix, self.head = pylstm.Linear(3 * size, 2 * size, **make), pylstm.Linear(2 * size, words, **make)

    def run(self, source, target, lengths):
        read, ends = self.encoder(self.source(source), lengths=lengths)
        state = self.bridge(pylstm.concatenate([ends[0], ends[1]], axis=-1)).tanh()[None]
        keys, inside = self.keys(read), np.arange(source.shape[1]) < np.asarray(lengths)[:, None]
        fed, logits = None, []
        for step in self.target(target).swapaxes(0, 1):
            fed = (step[:, None] * 0)[..., :1] @ np.zeros((1, read.shape[-1])) if fed is None else fed
            y, state = self.cell(pylstm.concatenate([step[:, None], fed], axis=-1), state)
            scores = pylstm.where(inside[:, None], y @ keys.swapaxes(1, 2), -1e9)
            fed = self.mix(pylstm.concatenate([scores.softmax() @ read, y], axis=-1)).tanh()
            logits.append(self.head(fed)[:, 0])
        return pylstm.stack(logits, axis=1)


class Holder(pylstm.Model):
    def __init__(self, **attributes):
        vars(self).update(attributes)

    def run(self, x):
        return x * 1


class Held(pylstm.Model):
    """Layers one after the other, as a chain calls them; in a model's `run`."""

    keeps_time = True

    def __init__(self, *held):
        self.held = held

    def run(self, x):
        for layer in self.held:
            x = layer(x)
            x = x[0] if layer.returns_state else x
        return x


class Each(pylstm.Model):
    """`function(self, *inputs)` as `run`."""

    def __init__(self, function, **layers):
        self.function = function
        vars(self).update(layers)

    def run(self, *inputs, **kwargs):
        return self.function(self, *inputs, **kwargs)


def linear(**options):
    return pylstm.Linear(2, 3, **options)


def check_gradients(net, value, rel=1e-6):
    """d_params of `value_and_grad(value)` against central differences along random directions."""
    _, grads = pylstm.value_and_grad(value)(net)
    assert grads.keys() == net.params.keys()
    state, rng = net.state_dict(), np.random.default_rng(1)
    for name, gradient in grads.items():
        direction = rng.standard_normal(state[name].shape)
        found = []
        for sign in (1, -1):
            net.load_state_dict({**state, name: state[name] + sign * 1e-5 * direction})
            found.append(float(np.asarray(value(net))))
        slope = (found[0] - found[1]) / 2e-5
        assert slope == pytest.approx((np.asarray(gradient) * direction).sum(), rel=rel, abs=1e-8), name
    net.load_state_dict(state)
