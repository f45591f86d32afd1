"""Files of Keras, written here without Keras."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np

from pylstm.files.hdf5.writing import Tree, written


def file_of(layers, weights, kind="Functional", **ends):
    """A .keras file of layers as Keras 3 describes them; weights: group -> list of arrays."""
    root = Tree()
    for way, arrays in weights.items():
        for at, array in enumerate(arrays):
            root.at(f"layers/{way}/vars").items[str(at)] = np.asarray(array, np.float32)
    config = {"module": "keras", "class_name": kind, "config": {"name": "m", "layers": layers, **ends}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", config if isinstance(config, bytes) else json.dumps(config))
        archive.writestr("model.weights.h5", written(root))
    return io.BytesIO(buffer.getvalue())


def tensor(name, call=0, output=0):
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, call, output]}}


def layer(kind, name, *inputs, **values):
    nodes = [{"args": list(inputs), "kwargs": {}}] if inputs else []
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **values}, "name": name,
            "inbound_nodes": nodes}  # fmt: skip


def masked_model():
    rng = np.random.default_rng(7)
    layers = [
        layer("InputLayer", "x", dtype="int32", batch_shape=[None, None]),
        layer("Embedding", "words", tensor("x"), input_dim=6, output_dim=3, mask_zero=True),
        layer("LSTM", "lstm", tensor("words"), units=2, return_sequences=True),
        layer("BatchNormalization", "norm", tensor("lstm"), momentum=0.5),
        layer("GlobalAveragePooling1D", "mean", tensor("norm")),
        layer("Dense", "out", tensor("mean"), units=2),
    ]
    weights = {
        "embedding": [rng.normal(size=(6, 3))],
        "lstm/cell": [rng.normal(size=(3, 8)), rng.normal(size=(2, 8)), rng.normal(size=8)],
        "batch_normalization": [rng.normal(size=2), rng.normal(size=2), rng.normal(size=2), rng.uniform(size=2)],
        "dense": [rng.normal(size=(2, 2)), rng.normal(size=2)],
    }
    return file_of(layers, weights, input_layers=[["x", 0, 0]], output_layers=[["out", 0, 0]])


def h5_of(version, config, weights):
    root = Tree({"keras_version": version, "model_config": json.dumps(config)})
    own = root.at("model_weights")
    own.attributes["layer_names"] = list(weights)
    for name, arrays in weights.items():
        own.at(name).attributes["weight_names"] = [f"{name}/{k}:0" for k in range(len(arrays))]
        for k, array in enumerate(arrays):
            own.at(f"{name}/{name}").items[f"{k}:0"] = np.asarray(array, np.float32)
    return io.BytesIO(written(root))
