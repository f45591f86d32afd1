"""Layers and models of one's own in files."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

import pylstm
from pylstm.layers import registry


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


class Scale(pylstm.Layer):
    """y = x times a number for each feature."""

    def __init__(self, size, factor=1.0, *, seed=None):
        super().__init__()
        self.size, self.factor = size, factor
        self._param_shapes = {"weight": (size,)}
        self._set_params({"weight": np.random.default_rng(seed).standard_normal(size).astype("f")})

    def __call__(self, x, *, lengths=None):  # noqa: ARG002
        return x * self.params["weight"] * np.float32(self.factor)

    def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
        weight, factor = self.params["weight"], np.float32(self.factor)

        def backward(dy):
            d_weight = (dy * x).reshape(-1, self.size).sum(axis=0) * factor
            return dy * weight * factor, {"weight": d_weight}

        return x * weight * factor, backward


class Tagger(pylstm.Model):
    keeps_time = True

    def __init__(self, words, size, tags=(3, 2), dtype="float64"):
        self.words, self.size, self.tags, self.dtypes = words, size, tags, dtype
        self.embed = pylstm.Embedding(words, size, dtype=dtype)
        self.lstm = pylstm.LSTM(size, size, 2, dropout=0.5, batch_first=True, dtype=dtype)
        self.drop = pylstm.Dropout(0.5)
        self.head = pylstm.Linear(size, sum(tags))  # of another dtype than the rest

    def get_config(self):
        return {"words": self.words, "size": self.size, "tags": self.tags, "dtype": self.dtypes}

    def run(self, x, lengths=None):
        y, _ = self.lstm(self.embed(x), lengths=lengths)
        return self.head(self.drop(y))


def tagger(**options):
    registry.register("my tagger")(Tagger)
    return Tagger(9, 4, **options)


def structure_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("structure.json"))


def rewritten(path, target, change):
    """The same file with another structure."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename == "structure.json":
                structure = json.loads(data)
                change(structure)
                data = json.dumps(structure).encode()
            new.writestr(zipfile.ZipInfo(entry.filename), data)
    return target


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_model_goes_to_a_file_and_back(tmp_path, suffix):
    model, path = tagger(), tmp_path / f"m.{suffix}"
    x = [np.arange(n) % 9 for n in (3, 5, 2, 4)]
    y = [w % 5 for w in x]
    model.fit(x, y, loss="cross_entropy", optimizer=pylstm.Adam(), epochs=2, verbose=0, seed=3)
    model.save(path, metadata={"words": ["a", "b"]})
    again = pylstm.load(path)
    assert type(again) is Tagger
    assert again.tags == [3, 2]  # as JSON has it
    assert again.metadata == model.metadata == {"words": ["a", "b"]}
    assert again._dropout_state() == model._dropout_state()
    assert again.params["lstm.weight_ih_l0"].dtype == np.float64
    assert all(map(np.array_equal, model.params.values(), again.params.values()))
    assert model.evaluate(x, y) == again.evaluate(x, y)
    for one in (model, again):  # the masks go on, too
        one.fit(x, y, loss="cross_entropy", optimizer=pylstm.Adam(), verbose=0)


def test_a_checkpoint_of_a_model_is_gone_on_from(tmp_path):
    x = [np.arange(n) % 9 for n in (3, 5, 2, 4, 6, 1)]
    y, path = [w % 5 for w in x], tmp_path / "c.npz"
    start = tagger()
    models = [tagger(), tagger(), tagger()]
    for model in models:
        model.load_state_dict(start.state_dict())
    whole, first, rest = models
    options = {"loss": "cross_entropy", "batch_size": 2, "verbose": 0, "seed": 5}
    history = whole.fit(x, y, optimizer=pylstm.Adam(), epochs=4, **options)
    callback = [pylstm.ModelCheckpoint(path)]
    first.fit(x, y, optimizer=pylstm.Adam(), epochs=2, callbacks=callback, **options)
    resumed = rest.fit(x, y, optimizer=pylstm.Adam(), epochs=4, callbacks=callback, resume=path, **options)
    assert resumed["loss"] == history["loss"]
    assert all(map(np.array_equal, whole.params.values(), rest.params.values()))


def test_a_layer_in_a_chain_and_a_model_in_it(tmp_path):
    registry.register(Scale)
    model = pylstm.Sequential([tagger(dtype="float32"), pylstm.Linear(5, 3), Scale(3, 2.5)])
    model.layers[0].metadata = {"of": "the inner one"}
    path = tmp_path / "m.npz"
    model.save(path)
    assert structure_of(path)["version"] == 1  # of chains, as before
    assert structure_of(path)["layers"][2] == {"class": "Scale", "config": {"size": 3, "factor": 2.5}}
    again, x = pylstm.load(path), np.arange(8).reshape(2, 4)
    assert np.array_equal(model(x), again(x))
    assert again.layers[0].metadata == {"of": "the inner one"}


def test_a_class_whose_module_is_not_imported(tmp_path):
    path = tmp_path / "m.npz"
    tagger().save(path)
    registry._registered.clear()
    with pytest.raises(pylstm.ModelFileError, match="unknown layer 'my tagger': if it is a class of your own, import"):
        pylstm.load(path)


class Forgetful(pylstm.Model):
    def __init__(self, size, depth=2):
        self.size = size
        self.layers = [pylstm.Linear(size, size) for _ in range(depth)]

    def run(self, x):
        return self.layers[0](x)


class Other(pylstm.Model):
    def __init__(self, size):
        self.head = pylstm.Linear(size, 2)

    def get_config(self):
        return {"width": 3}

    def run(self, x):
        return self.head(x)


class Unplain(Other):
    def get_config(self):
        return {"size": np.float32}


def test_what_cannot_be_made_again_is_not_written(tmp_path):
    path = tmp_path / "m.npz"
    with pytest.raises(TypeError, match=r"Tagger is not a layer of pylstm.*@pylstm\.register"):
        Tagger(9, 4).save(path)
    with pytest.raises(TypeError, match=r"is not a layer of pylstm.*@pylstm\.register"):  # before an epoch
        Tagger(9, 4).fit([[1]], [[1]], loss="cross_entropy", optimizer=pylstm.Adam(), verbose=0,
                         callbacks=[pylstm.ModelCheckpoint(path)])  # fmt: skip
    for kind in (Forgetful, Other, Unplain):
        pylstm.register(kind)
    with pytest.raises(TypeError, match="Forgetful must keep its argument 'depth' in an attribute"):
        Forgetful(3).save(path)
    with pytest.raises(TypeError, match="Other cannot be made of what its get_config gives"):
        Other(3).save(path)
    with pytest.raises(TypeError, match=r"the arguments of Unplain\['size'\] must be of JSON's types"):
        Unplain(3).save(path)
    assert not path.exists()

    class Derived(Tagger):  # a class of its own, which nobody registered
        pass

    tagger()
    with pytest.raises(TypeError, match="Derived is not a layer of pylstm"):
        Derived(9, 4).save(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s["model"].update(config={"words": 9}), "my tagger cannot be made of the arguments.*TypeError"),
        (lambda s: s["model"].update(config={"words": -1, "size": 4}), "my tagger cannot be made.*ValueError"),
        (lambda s: s["model"].update(config=[9, 4]), "the arguments of my tagger are malformed"),
        (lambda s: s["model"].pop("config"), "my tagger lacks config"),
        (lambda s: s["model"].update(code="x"), "my tagger has unknown keys: code"),
        (lambda s: s["model"].update(metadata=3), "metadata is malformed"),
        (lambda s: s["model"]["config"].update(size=5), "must be .* of shape"),
        (lambda s: s["model"]["config"].update(tags=[3, 2, 1]), "head.weight must be float32 of shape"),
        (lambda s: s.update(layers=[]), "unknown keys: layers"),
        (lambda s: s.update(version=1), "lacks layers"),
        (lambda s: s.update(version=3), "it has version 3 of the format, and this pylstm knows 1 and 2"),
        (lambda s: s.update(model={"class": "Linear", "config": {}}), "lacks"),
        (lambda s: s.update(model={"class": "os.system", "config": {}}), "unknown layer 'os.system'"),
        (lambda s: s.update(model={"class": "LastStep", "config": {}}), "a LastStep is no model"),
        (lambda s: s.update(dropout=[1]), "the state of dropout is malformed"),
        (lambda s: s["dropout"].__setitem__(1, 2**32), "the state of dropout is malformed"),  # of the LSTM
    ],
)
def test_changed_files(tmp_path, change, text):
    good = tmp_path / "good.npz"
    tagger().save(good)
    assert type(pylstm.load(rewritten(good, tmp_path / "same.npz", dict.copy))) is Tagger
    with pytest.raises(pylstm.ModelFileError, match=text):
        pylstm.load(rewritten(good, tmp_path / "bad.npz", change))


def test_registering():
    assert pylstm.register(Tagger) is Tagger
    assert pylstm.register(Tagger) is Tagger  # once more, as a notebook's cell does
    again = type("Tagger", (Tagger,), {"__module__": Tagger.__module__, "__qualname__": Tagger.__qualname__})
    assert pylstm.register(again) is again
    assert registry.registered_name(Tagger) is None
    for name in ("Linear", "Tagger"):
        with pytest.raises(ValueError, match=f"the name '{name}' is taken"):
            pylstm.register(name)(Other)
    with pytest.raises(ValueError, match="the library's own"):
        pylstm.register("mine")(pylstm.Linear)
    for wrong in (dict, lambda: 3):
        with pytest.raises(TypeError, match="register is for classes of layers and models"):
            pylstm.register("dict")(wrong)
    with pytest.raises(TypeError, match="name must be a string"):
        pylstm.register(3)
    for name in ("", "x" * 201, "a\nb"):
        with pytest.raises(ValueError, match="printable characters"):
            pylstm.register(name)
