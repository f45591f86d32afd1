"""What could not be saved after the training is said before it, and nothing has changed."""

from __future__ import annotations

import os

import numpy as np
import pytest

import pylstm
from pylstm.files import strict_json, tensors
from support.trainings import Keeps, data, everything, net


class Strange(pylstm.Activation):
    def __init__(self):
        super().__init__("tanh")


def metadata(value):
    def change(model):
        model.metadata = {"a": value}
        return model

    return change


CASES = {
    "metadata": (metadata({1.5: 2}), [], TypeError, r"the keys of metadata\['a'\]"),
    "metadata of NumPy": (metadata(np.arange(3)), [], TypeError, r"numpy.ndarray: keep its .tolist"),
    "layer": (lambda m: pylstm.Sequential([*m.layers, Strange()]), [], TypeError, "Strange is not a layer"),
    "state": (lambda m: m, [Keeps({"a": {3: 1}})], TypeError, r"the keys of training\['callbacks'\]\[0\]\['state'\]"),
    "array of a state": (lambda m: m, [Keeps({"a": np.arange(3)})], TypeError, "callback0/a' is of int64"),
    "many": (lambda m: m, [pylstm.EarlyStopping(monitor="loss")], ValueError, "at most 20 arrays, and these are 44"),
    "text": (metadata("x" * 4000), [], ValueError, "take more than .* MiB of text"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_saved_is_said_before_the_first_epoch(tmp_path, monkeypatch, case):
    change, callbacks, error, message = CASES[case]
    model, optimizer = change(net()), pylstm.Adam()
    if case == "many":  # with what will be there then: the optimizer's state and the best weights
        monkeypatch.setattr(tensors, "_TENSORS_LIMIT", 20)
    if case == "text":
        monkeypatch.setattr(tensors, "TEXT_LIMIT", 4000)
        assert strict_json.TEXT_LIMIT == 2**28
    before = {**everything(model, optimizer), "metadata": None}
    epochs = []
    callbacks = [*callbacks, lambda epoch, _: epochs.append(epoch), pylstm.ModelCheckpoint(tmp_path / "m.npz")]
    with pytest.raises(error, match=message):
        model.fit(*data(), loss="mse", optimizer=optimizer, callbacks=callbacks, epochs=2, verbose=0, seed=1)
    assert epochs == []
    assert {**everything(model, optimizer), "metadata": None} == before
    assert os.listdir(tmp_path) == []


def test_a_callback_that_knows_nothing_before_it_begins(tmp_path):
    class Late(pylstm.Callback):
        def begin(self, training):  # noqa: ARG002
            self.count = 0

        def end_epoch(self, training):  # noqa: ARG002
            self.count += 1

        def state_dict(self):
            return {"count": self.count}

    callbacks = [Late(), pylstm.ModelCheckpoint(tmp_path / "m.npz")]
    net().fit(*data(), loss="mse", optimizer=pylstm.Adam(), callbacks=callbacks, verbose=0)
    assert os.listdir(tmp_path) == ["m.npz"]
