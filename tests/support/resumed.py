"""Trainings that are compared with ones that went on from a checkpoint."""

from __future__ import annotations

import pylstm
from support.trainings import data, net

OPTIONS = {"loss": "mse", "batch_size": 8, "verbose": 0}


def fit(model, epochs, callbacks, lr=1e-3, **options):
    return model.fit(
        *data(), optimizer=options.pop("optimizer", None) or pylstm.Adam(lr), epochs=epochs, callbacks=callbacks,
        **{**OPTIONS, "seed": 1, **options},
    )  # fmt: skip


def same(one, two):
    return all(value.tobytes() == two.params[name].tobytes() for name, value in one.params.items())


def whole(epochs=4):
    model = net()
    return model, fit(model, epochs, [])["loss"]


CALLER = fit.__code__.co_filename  # where warnings of `Sequential.fit` point to
