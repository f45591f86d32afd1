"""What a seed draws: everything that is new, and nothing that was trained or loaded; `redraw` draws all."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import pylstm
from support.trainings import data

OPTIONS = {"loss": "mse", "batch_size": 8, "verbose": 0, "seed": 1}


def body():
    return [pylstm.Embedding(20, 4), pylstm.LSTM(4, 5, 2, batch_first=True, dropout=0.2), pylstm.LastStep()]


def head():
    return [pylstm.Dropout(0.3), pylstm.Linear(5, 1)]


def net(seed=0):
    return pylstm.Sequential([*body(), *head()], seed=seed)


def same(a, b):
    return [name for name, value in a.params.items() if value.tobytes() == b.params[name].tobytes()]


BODY = ["0.weight", *(f"1.{n}_l{k}" for k in range(2) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))]


def by_fit(model, folder):  # noqa: ARG001
    model.fit(*data(), optimizer=pylstm.Adam(), **OPTIONS)
    return model


def by_step(model, folder):  # noqa: ARG001
    y, backward = model.forward(data()[0])
    pylstm.SGD(0.1).step(model, backward(np.ones_like(y))[1])
    return model


def by_state(model, folder):  # noqa: ARG001
    model.load_state_dict(net(7).state_dict())
    return model


def by_layer(model, folder):  # noqa: ARG001
    for layer, other in zip(model.layers, net(7).layers, strict=True):
        layer.load_state_dict(other.state_dict())
    return model


def by_file(model, folder):
    model.save(folder / "m.npz")
    return pylstm.load(folder / "m.npz")


def by_resume(model, folder):
    keep = [pylstm.ModelCheckpoint(folder / "c.npz")]
    net(7).fit(*data(), optimizer=pylstm.Adam(), callbacks=keep, **OPTIONS)
    model.fit(*data(), optimizer=pylstm.Adam(), callbacks=keep, resume=folder / "c.npz", **OPTIONS)
    return model


LEARN = [by_fit, by_step, by_state, by_layer, by_file, by_resume]


@pytest.mark.parametrize("learn", LEARN)
@pytest.mark.parametrize("pass_on", [None, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
                         ids=["itself", "copy", "pickle"])  # fmt: skip
def test_a_seed_leaves_what_was_trained_or_loaded(tmp_path, learn, pass_on):
    old = learn(net(), tmp_path)
    if pass_on is not None:
        old = pass_on(old)
    before = old.state_dict()
    one, two = (pylstm.Sequential([*copy.deepcopy(old.layers[:3]), *head()], seed=1) for _ in range(2))
    for name in BODY:
        np.testing.assert_array_equal(one.params[name], before[name])
    fresh = net(1)
    assert same(one, fresh) == ["4.weight", "4.bias"]  # new layers, drawn as they always were
    assert one._dropout_state()[2:] == two._dropout_state()[2:] == fresh._dropout_state()[2:]
    assert one._dropout_state() == two._dropout_state()  # masks follow the seed, in trained layers, too


def test_layers_deep_inside_are_known_by_themselves():
    trained = pylstm.Linear(4, 4)
    trained.load_state_dict({"weight": np.full((4, 4), 2.0), "bias": np.zeros(4)})
    model = pylstm.Sequential([pylstm.Residual([trained, pylstm.Linear(4, 4)]), pylstm.Linear(4, 1)], seed=3)
    new = [pylstm.Residual([pylstm.Linear(4, 4), pylstm.Linear(4, 4)]), pylstm.Linear(4, 1)]
    other = pylstm.Sequential(new, seed=3)
    assert same(model, other) == [name for name in other.params if not name.startswith("0.0.")]
    assert (model.params["0.0.weight"] == 2.0).all()


def test_the_same_seed_gives_new_layers_the_same_bits_whatever_they_had():
    layers = [*body(), *head()]
    first = pylstm.Sequential(layers, seed=4).state_dict()
    pylstm.Sequential(layers, seed=5)  # the same objects, drawn again
    again = pylstm.Sequential(layers, seed=4)
    for name, value in first.items():
        np.testing.assert_array_equal(again.params[name], value)


@pytest.mark.parametrize("learn", LEARN)
def test_redraw_draws_all(tmp_path, learn):
    model = learn(net(), tmp_path)
    model.redraw(4)
    fresh = net(4)
    assert len(same(model, fresh)) == len(fresh.params)
    assert model._dropout_state() == fresh._dropout_state()
    again = pylstm.Sequential(model.layers, seed=5)  # what was redrawn is as new
    assert len(same(again, net(5))) == len(fresh.params)
    model.redraw()
    assert same(model, fresh) == []


class Pair(pylstm.Model):
    def __init__(self):
        self.one, self.two = pylstm.Linear(3, 3, seed=0), pylstm.Linear(3, 1, seed=1)

    def run(self, x):
        return self.two(self.one(x).tanh())


def test_redraw_of_a_model_of_ones_own():
    one, two = Pair(), Pair()
    one.load_state_dict({name: value * 0 for name, value in one.params.items()})
    one.redraw(2)
    two.redraw(2)
    assert len(same(one, two)) == 4
    assert all(value.any() for value in one.params.values())


class Scale(pylstm.Layer):
    def __init__(self):
        super().__init__()
        self._param_shapes = {"scale": (1,)}
        self._set_params({"scale": np.ones(1, np.float32)})

    def __call__(self, x, *, lengths=None):  # noqa: ARG002
        return x * self.params["scale"]

    def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
        return self(x), lambda dy: (dy, {"scale": (dy * x).sum()[None]})


def test_a_layer_that_cannot_draw_is_named_and_nothing_is_drawn():
    model = pylstm.Sequential([pylstm.Linear(2, 2), Scale()], seed=0)
    before = model.state_dict()
    with pytest.raises(TypeError, match="Scale cannot draw its parameters anew"):
        model.redraw(1)
    for name, value in before.items():
        np.testing.assert_array_equal(model.params[name], value)
    with pytest.raises(TypeError, match="seed"):
        net().redraw("1")


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_redraw_that_fails_changes_nothing(monkeypatch, error):
    model = net()
    by_fit(model, None)
    before, masks = model.state_dict(), model._dropout_state()

    def fails(self, seed):  # noqa: ARG001
        raise error

    monkeypatch.setattr(pylstm.Linear, "_reseed", fails)
    with pytest.raises(error):
        model.redraw(1)
    for name, value in before.items():
        np.testing.assert_array_equal(model.params[name], value)
    assert model._dropout_state() == masks
    monkeypatch.undo()
    kept = pylstm.Sequential(model.layers, seed=9)  # and counts as trained still
    assert len(same(kept, model)) == len(before)


def test_a_resume_that_fails_leaves_new_layers_new(tmp_path):
    class Fails(pylstm.ModelCheckpoint):
        def end(self, training):  # noqa: ARG002
            raise RuntimeError("mine")

    Fails.__name__ = "ModelCheckpoint"
    path = tmp_path / "c.npz"
    net(7).fit(*data(), optimizer=pylstm.Adam(), callbacks=[pylstm.ModelCheckpoint(path)], **OPTIONS)
    model = net()
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(*data(), optimizer=pylstm.Adam(), callbacks=[Fails(path)], resume=path, **OPTIONS)
    again = pylstm.Sequential(model.layers, seed=5)
    assert len(same(again, net(5))) == len(again.params)
