"""Layers of a model by their places."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import pylstm

RNG = np.random.default_rng(5)


def model():
    return pylstm.Sequential(
        [
            pylstm.Embedding(9, 5), pylstm.LSTM(5, 6, batch_first=True), pylstm.Residual(pylstm.Linear(6, 6)),
            pylstm.LastStep(), pylstm.Linear(6, 3),
        ],
        seed=int(RNG.integers(1000)),
    )  # fmt: skip


def test_by_place():
    net = model()
    assert len(net) == 5
    assert list(net) == list(net.layers)
    assert list(reversed(net)) == list(reversed(net.layers))
    for place in range(-5, 5):
        assert net[place] is net.layers[place]
        assert net[np.int32(place)] is net.layers[place]
    assert net[2][0] is net.layers[2].layers[0]
    assert len(net[2]) == 1
    assert net[0] in net
    assert pylstm.Linear(6, 3) not in net
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert len(again) == 5
        assert again[0] is not net[0]


def test_a_slice_shares_the_layers():
    net, x = model(), RNG.integers(0, 9, (4, 7))
    body, head = net[:-1], net[-1]
    assert type(body) is type(net[1:3]) is pylstm.Sequential
    assert body.layers == net.layers[:-1]
    np.testing.assert_array_equal(head(body(x)), net(x))
    np.testing.assert_array_equal(net[1::2][0].params["weight_ih_l0"], net.params["1.weight_ih_l0"])
    before = net(x)
    body.fit(x, RNG.standard_normal((4, 6)), loss="mse", optimizer=pylstm.Adam(0.1), verbose=0)
    assert not np.array_equal(net(x), before)
    np.testing.assert_array_equal(head(body(x)), net(x))
    np.testing.assert_array_equal(body.params["0.weight"], net.params["0.weight"])
    net.metadata["words"] = ["a"]
    assert net[:2].metadata == {}
    assert len(net[:]) == 5
    assert net[:] is not net


def test_a_slice_saves_and_loads(tmp_path):
    net, x = model(), RNG.integers(0, 9, (4, 7))
    net[:3].save(tmp_path / "part.npz")
    np.testing.assert_array_equal(pylstm.load(tmp_path / "part.npz").predict(x), net[:3].predict(x))


@pytest.mark.parametrize(
    ("place", "error", "text"),
    [
        (5, IndexError, "there is no layer 5: the Sequential has 5"),
        (-6, IndexError, "there is no layer -6: the Sequential has 5"),
        ("0", TypeError, r"by place, model\[0\] or model\[:2\], got str"),
        (1.0, TypeError, "got float"),
        (True, TypeError, "got bool"),
        ((0, 1), TypeError, "got tuple"),
        (None, TypeError, "got None"),
        (slice(5, 9), ValueError, r"\[5:9\] holds no layer: the Sequential has 5"),
        (slice(2, 2), ValueError, "holds no layer"),
        (slice(None, 1.5), TypeError, "a slice of a model has whole numbers"),
        (slice(None, None, 2), ValueError, "layer 1 does not fit"),
    ],
)
def test_wrong_places(place, error, text):
    net = model()
    with pytest.raises(error, match=text):
        net[place]


def test_what_cannot_be_cut_or_changed():
    net = model()
    with pytest.raises(TypeError, match=r"a Residual cannot be cut: take some of its \.layers"):
        net[2][:1]
    with pytest.raises(TypeError, match="does not support item assignment"):
        net[0] = pylstm.Embedding(9, 5)
    with pytest.raises(TypeError, match="must be a list of layers, got Sequential"):
        pylstm.Sequential(net)


def test_a_layer_by_place_inside_of_a_run():
    class Net(pylstm.Model):
        def __init__(self):
            self.chain = pylstm.Sequential([pylstm.Linear(3, 4), pylstm.Activation("tanh"), pylstm.Linear(4, 2)])

        def run(self, x):
            return self.chain[-1](self.chain[:2](x))

    net, x = Net(), RNG.standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_array_equal(net(x), net.chain(x))
    y, backward = net.forward(x)
    _, whole = net.chain.forward(x)
    d = RNG.standard_normal(y.shape).astype(np.float32)
    mine, theirs = backward(d)[1], whole(d)[1]
    for name, value in theirs.items():
        np.testing.assert_array_equal(mine[f"chain.{name}"], value)
