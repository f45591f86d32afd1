"""A loss that no file can hold: `evaluate` says what to do."""

from __future__ import annotations

import copy
import io
import json
import pickle
import zipfile
from functools import partial

import numpy as np
import pytest

import pylstm

RNG = np.random.default_rng(2)
X, Y = RNG.standard_normal((20, 3)), RNG.integers(0, 2, 20)


def absolute(y, targets, lengths=None):  # noqa: ARG001
    t = np.asarray(targets, y.dtype)[:, None]
    return float(np.abs(y - t).mean()), np.sign(y - t) / y.size


class Weighted:
    def __call__(self, y, targets, lengths=None):
        return absolute(y, targets, lengths)


def trained(loss, outputs=1, **options):
    net = pylstm.Sequential([pylstm.Linear(3, outputs)], seed=0)
    net.fit(X, Y, loss=loss, optimizer=pylstm.Adam(), verbose=0, **options)
    return net


def through_a_file(net):
    buffer = io.BytesIO()
    net.save(buffer)
    buffer.seek(0)
    return pylstm.load(buffer)


WAYS = {"file": through_a_file, "pickle": lambda net: pickle.loads(pickle.dumps(net)), "copy": copy.deepcopy}
TEXT = (
    r"trained with a loss of your own{} and files and pickles hold no functions: give it again, "
    r"evaluate\(x, y, loss={}\)"
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("loss", "outputs", "called"),
    [
        (absolute, 1, "absolute"),
        (partial(pylstm.cross_entropy, label_smoothing=0.1), 2, r"functools.partial\(cross_entropy, ...\)"),
        (lambda *args, lengths=None: absolute(*args, lengths), 1, None),
        (Weighted(), 1, "Weighted"),
    ],
    ids=["function", "partial", "lambda", "object"],
)
def test_evaluate_says_what_to_do(way, loss, outputs, called):
    net = trained(loss, outputs)
    again = WAYS[way](WAYS[way](net))
    text = TEXT.format(f", {called}," if called else "", called or "your_loss")
    with pytest.raises(ValueError, match=text):
        again.evaluate(X, Y)
    assert again.evaluate(X, Y, loss=loss) == net.evaluate(X, Y)
    again.fit(X, Y, loss="mse", optimizer=pylstm.Adam(), verbose=0) if outputs == 1 else None
    if outputs == 1:  # the loss of now counts
        assert WAYS[way](again).evaluate(X, Y)["loss"] == again.evaluate(X, Y)["loss"]


@pytest.mark.parametrize("way", WAYS)
def test_what_can_be_held_is_held(way):
    def bias(y, targets, lengths):  # noqa: ARG001
        return float(y.mean())

    net = trained(pylstm.mse, metrics=[bias])
    assert WAYS[way](net).evaluate(X, Y)["loss"] == net.evaluate(X, Y)["loss"]
    untrained = WAYS[way](pylstm.Sequential([pylstm.Linear(3, 1)]))
    with pytest.raises(ValueError, match=r"not been trained with fit, and no loss is known: .*loss='cross_entropy'"):
        untrained.evaluate(X, Y)


@pytest.mark.parametrize("name", [1, ["absolute"], "a\nb", "x" * 1000, True, {}])
def test_a_hostile_name(name, tmp_path):
    path, other = tmp_path / "m.npz", tmp_path / "n.npz"
    trained(absolute).save(path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename == "structure.json":
                structure = json.loads(data)
                assert structure["own_loss"] == "absolute"
                data = json.dumps(structure | {"own_loss": name}).encode()
            new.writestr(zipfile.ZipInfo(info.filename), data)
    with pytest.raises(pylstm.ModelFileError, match="the name of the loss is malformed"):
        pylstm.load(other)
