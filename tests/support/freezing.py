"""Models with several parts that can be frozen, data for them, and what of them has changed."""

from __future__ import annotations

import numpy as np

import pylstm


def chain(**options):
    return pylstm.Sequential([
        pylstm.Embedding(12, 4),
        pylstm.Sequential([pylstm.LSTM(4, 5, 2, batch_first=True, **options), pylstm.GRU(5, 6, batch_first=True)]),
        pylstm.LastStep(),
        pylstm.Linear(6, 5),
        pylstm.Activation("tanh"),
        pylstm.Linear(5, 1),
    ], seed=0)  # fmt: skip


class Shared(pylstm.Model):
    """A model with a layer that is called twice, and layers in lists and dicts."""

    keeps_time = False

    def __init__(self):
        self.embed = pylstm.Embedding(12, 4, seed=1)
        self.rnns = [pylstm.LSTM(4, 4, batch_first=True, seed=2), pylstm.GRU(4, 4, batch_first=True, seed=3)]
        self.heads = {"one": pylstm.Sequential([pylstm.Linear(4, 4, seed=4)]), "two": pylstm.Linear(4, 1, seed=5)}

    def run(self, x, lengths=None):
        y, _ = self.rnns[0](self.embed(x), lengths=lengths)
        y, _ = self.rnns[0](y, lengths=lengths)
        y, _ = self.rnns[1](y, lengths=lengths)
        return self.heads["two"](self.heads["one"](y[:, -1]).tanh())


NAMES = {chain: ["0", "1.0", "1.1", "3", "5"], Shared: ["embed", "rnns.0", "rnns.1", "heads.one.0", "heads.two"]}


def data(seed=0, count=40):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 12, (count, 7)), rng.integers(0, 2, count)


def changed(net, before):
    return {name for name, value in net.params.items() if value.tobytes() != before[name].tobytes()}


def of(names, params):
    return {one for one in params if any(one.startswith(f"{name}.") for name in names)}
