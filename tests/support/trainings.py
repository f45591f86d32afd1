"""A small training, and all that it may change."""

from __future__ import annotations

import copy

import numpy as np

import pylstm


def net(seed=0):
    layers = [pylstm.Embedding(20, 4), pylstm.LSTM(4, 5, 2, batch_first=True, dropout=0.2), pylstm.LastStep()]
    return pylstm.Sequential([*layers, pylstm.Dropout(0.3), pylstm.Linear(5, 1)], seed=seed)


def data(seed=0, count=24):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 20, (count, 6)), rng.standard_normal((count, 1)).astype("f")


def everything(model, optimizer):
    """All that a step or fit may change, in a form that compares."""
    state = optimizer.state_dict()
    return {
        "params": {name: value.tobytes() for name, value in model.params.items()},
        "slots": {(name, slot): a.tobytes() for name, own in state["slots"].items() for slot, a in own.items()},
        "steps": state["steps"],
        "lr": state["lr"],
        "masks": model._dropout_state(),
        "fit": (model._loss, model._metrics),
        "metadata": copy.deepcopy(model.metadata),
    }


class Keeps(pylstm.Callback):
    """A callback whose state is what it was given."""

    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = dict(state)
