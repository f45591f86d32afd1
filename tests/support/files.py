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
