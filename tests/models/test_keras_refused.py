"""Files of Keras that are damaged, or hold what is not read: which error says so."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

import pylstm
from pylstm.files.hdf5.writing import Tree, written
from support.keras_files import file_of, layer, tensor

CELL = {"lstm/cell": [np.ones((4, 4)), np.ones((1, 4)), np.ones(4)]}


def one(kind, name="lstm", weights=None, **values):
    layers = [layer("InputLayer", "x"), layer(kind, name, tensor("x"), **values)]
    return file_of(layers, CELL if weights is None else weights, input_layers=["x", 0, 0], output_layers=[name, 0, 0])


@pytest.mark.parametrize(("make", "words"), [
    (lambda: one("Lambda"), "a function of a program, which reading does not run"),
    (lambda: one("Wonderful"), "'lstm'.*Read are"),
    (lambda: one("LSTM", units=1, recurrent_activation="gelu"), "recurrent_activation is 'gelu', and cells here have"),
    (lambda: one("LSTM", units=1, activation="mine"), "'mine'.*known are"),
    (lambda: one("LSTM", units=2), r"must have the shape"),
    (lambda: one("LSTM", units=2**60), "whole number"),
    (lambda: one("LSTM", units=1, use_bias=False), "must have 2 arrays in cell, and the file has 3"),
    (lambda: one("LSTM", units=1, weights={}), "must have 3 arrays in cell, and the file has 0"),
    (lambda: one("Dense", units=1), "must have 2 arrays"),
    (lambda: one("LSTM", units="1"), "units must be a whole number"),
    (lambda: one("LSTM", units=1, dropout=3.0), "dropout must be in"),
    (lambda: one("Flatten", weights={"flatten": [np.ones(3)]}), "that its config does not tell of"),
    (lambda: one("Bidirectional", layer=layer("Dense", "d")), "only recurrent layers are read"),
    (lambda: one("Permute", weights={}, dims=[2, 2]), "dims"),
    (lambda: one("LayerNormalization", weights={}, axis=1), "the last one"),
    (lambda: one("Attention", weights={}, score_mode="concat"), "score_mode"),
    (lambda: file_of([], {}), "no list of layers"),
    (lambda: file_of([layer("InputLayer", "x")] * 2, {}, input_layers=[], output_layers=[]), "have the name 'x'"),
    (lambda: file_of([layer("InputLayer", "x")], {}, "Mine"), "from_keras\\(path, model\\)"),
    (lambda: file_of([layer("InputLayer", "x")], {}, input_layers=["x", 0, 0], output_layers=["y", 0, 0]), "'y'"),
    (lambda: file_of([layer("InputLayer", "x")], {}, input_layers=["x", 0, 0], output_layers=["x", 3, 0]), "call 3"),
    (lambda: file_of([layer("InputLayer", "x"), layer("Add", "a", [tensor("x"), tensor("b")]),
                      layer("Flatten", "b", tensor("a"))], {}, input_layers=["x", 0, 0], output_layers=["b", 0, 0]),
     "needs its own output"),
])  # fmt: skip
def test_what_is_refused_says_why(make, words):
    with pytest.raises(pylstm.ModelFileError, match=words):
        pylstm.from_keras(make())


def test_weights_alone_need_a_model(tmp_path):
    pylstm.to_keras(pylstm.Sequential([pylstm.Linear(2, 1)]), tmp_path / "m.weights.h5")
    with pytest.raises(pylstm.ModelFileError, match="no config"):
        pylstm.from_keras(tmp_path / "m.weights.h5")


@pytest.mark.parametrize("end", [".keras", ".h5"])
def test_damaged_files(tmp_path, end):
    """Cut anywhere or with changed bytes, a file is refused, or read as a model: there is no other exception."""
    path = tmp_path / f"m{end}"
    pylstm.to_keras(pylstm.Sequential([pylstm.LSTM(3, 2, batch_first=True), pylstm.Linear(2, 1)]), path)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for cut in range(0, len(data), len(data) // 40):
        with pytest.raises(pylstm.ModelFileError):
            pylstm.from_keras(io.BytesIO(data[:cut]))
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            changed[int(rng.integers(len(data)))] = int(rng.integers(256))
        try:
            pylstm.from_keras(io.BytesIO(changed))
        except pylstm.ModelFileError as error:
            words(error)


def words(error):
    assert len(str(error)) > 15


def test_a_refused_file_leaves_the_model_as_it_was():
    model = pylstm.Sequential([pylstm.LSTM(4, 1, batch_first=True), pylstm.Linear(1, 2)])
    before = model.state_dict()
    with pytest.raises(ValueError, match="no layer for '1'"):
        pylstm.from_keras(one("LSTM", units=1), model)
    assert all(np.array_equal(model.params[name], value) for name, value in before.items())


def test_a_compressed_archive_is_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", " " * 10**6)
        archive.writestr("model.weights.h5", bytes(10**6))
    with pytest.raises(pylstm.ModelFileError, match="compressed"):
        pylstm.from_keras(io.BytesIO(buffer.getvalue()))


def test_weights_of_another_model_are_found():
    layers = [layer("InputLayer", "x"), layer("Dense", "mine", tensor("x"), units=1)]
    file = file_of(
        layers, {"dense": [np.ones((2, 1)), np.ones(1)]}, input_layers=["x", 0, 0], output_layers=["mine", 0, 0]
    )
    assert pylstm.from_keras(file)(np.ones((1, 2), np.float32)).shape == (1, 1)
    root = Tree()
    root.at("layers/dense/vars").attributes["name"] = "other"
    for at, array in enumerate((np.ones((2, 1)), np.ones(1))):
        root.at("layers/dense/vars").items[str(at)] = array
    with zipfile.ZipFile(file) as archive:
        config = archive.read("config.json")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", written(root))
    with pytest.raises(pylstm.ModelFileError, match="two models"):
        pylstm.from_keras(io.BytesIO(buffer.getvalue()))
