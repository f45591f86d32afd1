"""Frozen layers: who says which they are, and what keeps knowing of it."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest

import pylstm
from support.fits import fit, model, same_bits, sequences
from support.freezing import Shared, chain, changed, data, of

# ---- who says what is frozen -----------------------------------------------------------------------------------------


def flags(net):
    return [layer.trainable for _, layer in net._owners()]


def test_layers_are_named_by_objects_names_and_places():
    net = chain()
    ways = [["1"], [1], [-5], [net.layers[1]], ["1.0", net.layers[1].layers[1]], ["1.0", "1.1"]]
    for way in ways:
        net.freeze(*way)
        assert flags(net) == [True, False, False, True, True]
        assert not net.layers[1].trainable
        assert net.trainable
        net.unfreeze(*way)
        assert all(flags(net))
    net.freeze()
    assert not any(flags(net))
    assert not net.trainable
    net.layers[3].trainable = True
    assert net.trainable
    net.trainable = True
    assert all(flags(net))
    shared = Shared()
    shared.freeze("heads", shared.rnns[0])
    assert flags(shared) == [True, False, True, False, False]
    assert pylstm.Sequential([pylstm.Dropout()]).trainable


@pytest.mark.parametrize(("wrong", "message"), [
    ("3.weight", "is a parameter, and layers are frozen as a whole: give '3'"),
    ("2", "no layer with parameters has the name '2': there are 0, 1.0, 1.1, 3, 5"),
    ("1.2", "did you mean '1.[01]'"),
    (6, "layer 6 is not there: the model has 6"),
    (True, "its name or its place must be given, got bool"),
    (None, "must be given, got None"),
    (2.0, "must be given, got float"),
    ([0], "must be given, got list"),
    (pylstm.Linear(2, 2), r"Linear\(2, 2\) is not in the model"),
], ids=str)  # fmt: skip
def test_what_is_no_layer_of_the_model_is_refused(wrong, message):
    net = chain()
    for method in (net.freeze, net.unfreeze):
        with pytest.raises((TypeError, ValueError), match=message):
            method(0, wrong)
        assert all(flags(net))
    with pytest.raises(TypeError, match="trainable must be True or False"):
        net.trainable = 1


def test_nothing_is_frozen_in_the_middle_of_a_run():
    class Freezes(Shared):
        def run(self, x, lengths=None):
            self.attempt()
            return super().run(x, lengths)

    net = Freezes()
    net.attempt = lambda: net.freeze("embed")
    with pytest.raises(TypeError, match="inside of a model's run"):
        net.forward(data()[0])
    net.attempt = lambda: setattr(net.embed, "trainable", False)
    with pytest.raises(TypeError, match="inside of a model's run"):
        net.forward(data()[0])
    assert all(flags(net))


def test_a_backward_belongs_to_what_was_frozen_in_its_forward():
    net, x = chain(), data()[0]
    y, backward = net.forward(x)
    net.freeze(3)
    assert backward(np.ones_like(y))[1].keys() == net.params.keys()
    y, backward = net.forward(x)
    net.unfreeze()
    assert "3.weight" not in backward(np.ones_like(y))[1]


def test_a_model_that_is_frozen_as_a_whole_is_refused():
    net = chain()
    net.freeze()
    with pytest.raises(ValueError, match=re.escape("nothing to train: model.unfreeze(..)")):
        fit(net, *data())


def test_a_layer_of_ones_own_is_frozen_though_it_gives_its_gradients():
    class Scale(pylstm.Layer):
        def __init__(self):
            super().__init__()
            self._param_shapes = {"factor": (1,)}
            self._set_params({"factor": np.ones(1, "f")})

        def __call__(self, x, *, lengths=None):  # noqa: ARG002
            return x * self.params["factor"]

        def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
            factor = self.params["factor"]
            return x * factor, lambda dy: (dy * factor, {"factor": (dy * x).sum(keepdims=True).reshape(1)})

    for place in (1, 2):
        layers = [pylstm.Embedding(12, 4), pylstm.LSTM(4, 5, batch_first=True), pylstm.LastStep(), pylstm.Linear(5, 1)]
        layers.insert(place, Scale())
        net = pylstm.Sequential(layers)
        net.freeze(place)
        before = net.state_dict()
        fit(net, *data(), optimizer=pylstm.AdamW(0.1, weight_decay=0.5))
        assert changed(net, before) == net.params.keys() - {f"{place}.factor"}
        optimizer = pylstm.AdamW(0.1, weight_decay=0.5)
        optimizer.step(net.layers[place], {"factor": np.ones(1, "f")})
        assert net.params[f"{place}.factor"] == 1
        assert not optimizer.state_dict()["slots"]


# ---- keeping it ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [
    copy.deepcopy,
    lambda net: pickle.loads(pickle.dumps(net)),
    lambda net: (net.save("m.npz"), pylstm.load("m.npz"))[1],
], ids=["deepcopy", "pickle", "file"])  # fmt: skip
def test_copies_and_files_keep_it(copied, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = chain()
    net.freeze("0", "1.1")
    assert flags(copied(net)) == [False, True, False, True, True]
    net.unfreeze()
    assert all(flags(copied(net)))


def test_a_registered_model_keeps_it(tmp_path):
    @pylstm.register("test_freezing.Kept")
    class Kept(Shared):
        pass

    net = Kept()
    net.freeze("rnns", "heads.two")
    net.save(tmp_path / "m.npz")
    assert flags(pylstm.load(tmp_path / "m.npz")) == flags(net) == [True, False, False, True, False]


def test_summary_counts():
    net = chain()
    assert net.summary().endswith(f"\nTrainable: {net.num_parameters:,}, frozen: 0")
    net.freeze(0, "1.1")
    frozen = sum(value.size for name, value in net.params.items() if name.startswith(("0.", "1.1.")))
    text = net.summary()
    assert text.endswith(f"\nTrainable: {net.num_parameters - frozen:,}, frozen: {frozen:,}")
    assert [" (frozen)" in line for line in text.splitlines()[2:10]] == [True, *[False] * 2, True, *[False] * 4]


def test_resumed_training_keeps_it(tmp_path, no_warnings):  # noqa: ARG001
    x, y, _ = sequences()

    def trained(epochs, **options):
        net = model()
        net.freeze(0)
        fit(net, x, y, epochs=epochs, callbacks=[pylstm.ModelCheckpoint(tmp_path / "c.npz")], **options)
        return net

    straight = trained(4)
    trained(2)
    resumed = trained(4, resume=tmp_path / "c.npz")
    assert same_bits(straight, resumed)
    assert flags(pylstm.load(tmp_path / "c.npz")) == flags(straight)


def test_resuming_with_other_frozen_layers_says_which_count(tmp_path):
    x, y, _ = sequences()
    net = model()
    net.freeze(0)
    fit(net, x, y, epochs=1, callbacks=[pylstm.ModelCheckpoint(tmp_path / "c.npz")])
    other = model()
    with pytest.warns(UserWarning, match="other frozen layers: those of the model that is trained count, none, not 0"):
        fit(other, x, y, epochs=2, callbacks=[pylstm.ModelCheckpoint(tmp_path / "c.npz")], resume="auto")
    assert changed(other, net.state_dict()) == net.params.keys()


def test_unfrozen_layers_join_a_kept_optimizer():
    net, optimizer = chain(), pylstm.Adam(1e-2)
    net.freeze(0, 1)
    fit(net, *data(), optimizer=optimizer, epochs=1, batch_size=20)
    steps = optimizer.state_dict()["steps"]
    net.unfreeze()
    net.freeze(5)
    kept = net.state_dict()
    slots = optimizer.state_dict()["slots"]["5.weight"]["mean"].tobytes()
    fit(net, *data(), optimizer=optimizer, epochs=1, batch_size=20)
    after = optimizer.state_dict()
    assert set(steps) == of(["3", "5"], net.params)
    assert after["steps"] == dict.fromkeys(net.params, 2) | dict.fromkeys(of(["3"], net.params), 4)
    assert changed(net, kept) == net.params.keys() - of(["5"], net.params)
    assert after["slots"]["5.weight"]["mean"].tobytes() == slots


def test_a_callback_that_freezes_everything_before_a_head_of_many_labels():
    """Training goes on, and changes nothing more."""

    class Freezes(pylstm.Callback):
        def end_epoch(self, training):
            training.model.trainable = False

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 4, 3)), rng.integers(0, 20, 16)
    net = pylstm.Sequential([pylstm.LSTM(3, 4, batch_first=True), pylstm.LastStep(), pylstm.Linear(4, 20)], seed=0)
    history = net.fit(x, y, loss="cross_entropy", epochs=4, shuffle=False, callbacks=[Freezes()], verbose=0)
    assert history["loss"][0] > history["loss"][1] == history["loss"][2] == history["loss"][3]
