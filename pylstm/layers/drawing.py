"""Drawing the parameters of a whole model anew, trained ones among them."""

from __future__ import annotations

import numpy as np

from .._active import ACTIVE
from .._interrupts import Uninterrupted
from .layer import Layer


def redraw(model: Layer, seed: int | None) -> None:
    """All parameters, and the seeds of dropout: all of them, or none.

    Raises TypeError, naming the class, for a layer of somebody's that has parameters and cannot draw them.
    """
    if ACTIVE.get() is not None:
        raise TypeError(f"{type(model).__name__}.redraw inside of a model's run would change what it computes with")
    layers = model._drawn_layers()
    for layer in layers:
        if type(layer)._reseed is Layer._reseed:
            raise TypeError(
                f"{type(layer).__name__} cannot draw its parameters anew: make a new one, or write "
                "_reseed(self, seed) in the class, which draws them from a numpy.random.SeedSequence"
            )
    params, dropout = dict(model.params), model._dropout_state()
    try:
        model._reseed(np.random.SeedSequence(seed))
    except BaseException:
        with Uninterrupted():
            model._set_params(params)
            model._set_dropout_state(dropout)
        raise
    for layer in layers:
        layer._learned = False
