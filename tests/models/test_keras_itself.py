"""Models that an installed Keras makes and predicts with: read here, they give its numbers, and written back, Keras
loads them and gives the same again."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

import pylstm

if "KERAS_BACKEND" not in os.environ:
    os.environ["KERAS_BACKEND"] = "torch"
pytest.importorskip("h5py")
keras = pytest.importorskip("keras")
L = keras.layers

from support.keras_models import VOCABULARY, F, N, T, drawn, sequences, symbols  # noqa: E402


def chain(*layers, x="sequences", mask=None):
    entry = keras.Input((None,), dtype="int32") if x == "symbols" else keras.Input((None, F))
    return drawn(keras.Sequential([entry, *layers])), (symbols if x == "symbols" else sequences)(mask)


def graph(build, *, x="sequences", mask=None):
    entry = keras.Input((None,), dtype="int32") if x == "symbols" else keras.Input((T, F))
    return drawn(keras.Model(entry, build(entry))), (symbols if x == "symbols" else sequences)(mask)


def outputs(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def check(tmp_path, made, kind=None, ends=(".keras", ".h5")):
    """Read from both kinds of files, and written back in both."""
    model, x = made
    wanted = outputs(model.predict(x, verbose=0))
    for end in ends:
        path = str(tmp_path / f"model{end}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(path)
        read = pylstm.from_keras(path)
        if kind is not None:
            assert isinstance(read, kind), read
        given = tuple(x) if isinstance(x, list) else (x,)
        found = outputs(read(*given))
        assert len(found) == len(wanted)
        for mine, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5)
        if not loads(path):  # what it has written itself, as .h5 with masks or attention
            continue
        again = str(tmp_path / f"again{end}")
        pylstm.to_keras(read, again)
        back = keras.models.load_model(again, compile=False)
        for mine, theirs in zip(outputs(back.predict(x, verbose=0)), wanted, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5)
    return read


def loads(path):
    if path.endswith(".keras"):
        return True
    try:
        keras.models.load_model(path, compile=False)
    except (ValueError, TypeError):
        return False
    return True


CELLS = {
    "lstm": lambda **k: L.LSTM(3, **k),
    "gru": lambda **k: L.GRU(3, **k),
    "gru_before": lambda **k: L.GRU(3, reset_after=False, **k),
    "rnn": lambda **k: L.SimpleRNN(3, **k),
    "relu": lambda **k: L.SimpleRNN(3, activation="relu", **k),
    "no_bias": lambda **k: L.LSTM(3, use_bias=False, **k),
    "no_bias_gru": lambda **k: L.GRU(3, use_bias=False, **k),
    "hard": lambda **k: L.LSTM(3, recurrent_activation="hard_sigmoid", activation="softsign", **k),
    "hard_gru": lambda **k: L.GRU(3, recurrent_activation="hard_sigmoid", activation="leaky_relu", **k),
    "elu": lambda **k: L.SimpleRNN(3, activation="elu", **k),
    "of_cell": lambda **k: L.RNN(L.GRUCell(3), **k),
    "of_cells": lambda **k: L.RNN([L.LSTMCell(2), L.GRUCell(4), L.SimpleRNNCell(3)], **k),
}
masks = pytest.mark.parametrize("mask", [None, "trailing", "holes"])


# every cell both ways and under every mask; with holes, every choice there is
RECURRENT = [
    (cell, mask, sequences_too, backwards)
    for cell in CELLS
    for mask in (None, "trailing", "holes")
    for sequences_too in (False, True)
    for backwards in (False, True)
    if sequences_too != backwards or (cell in ("lstm", "of_cells") and mask == "holes")
]


@pytest.mark.parametrize(("cell", "mask", "sequences_too", "backwards"), RECURRENT)
def test_recurrent(tmp_path, cell, mask, sequences_too, backwards):
    layers = [CELLS[cell](return_sequences=sequences_too, go_backwards=backwards)]
    made = chain(*([] if mask is None else [L.Masking()]), *layers, mask=mask)
    kind = pylstm.Sequential if mask is None and not backwards else pylstm.KerasModel
    check(tmp_path, made, kind, ends=(".keras",) if backwards else (".keras", ".h5"))


BOTH_WAYS = [
    (cell, mask, sequences_too, merge)
    for cell in ("lstm", "gru", "of_cells")
    for mask in (None, "trailing", "holes")
    for sequences_too in (False, True)
    for merge in ("concat", "sum", "mul", "ave", None)
    if merge == "concat" or (cell == "gru" and mask != "trailing")
]


@pytest.mark.parametrize(("cell", "mask", "sequences_too", "merge"), BOTH_WAYS)
def test_bidirectional(tmp_path, cell, mask, sequences_too, merge):
    def build(x):
        y = L.Masking()(x) if mask else x
        return L.Bidirectional(CELLS[cell](return_sequences=sequences_too), merge_mode=merge)(y)

    check(tmp_path, graph(build, mask=mask), ends=(".keras",))


@masks
@pytest.mark.parametrize("cell", ["lstm", "gru", "of_cells"])
def test_states_go_out_and_in(tmp_path, cell, mask):
    def build(x):
        y = L.Masking()(x) if mask else x
        first, *states = CELLS[cell](return_sequences=True, return_state=True)(y)
        if cell == "of_cells":  # which Keras gives, and takes no more
            return [
                first,
                *(one for state in states for one in (state if isinstance(state, (list, tuple)) else [state])),
            ]
        second, *after = CELLS[cell](return_sequences=True, return_state=True)(first, initial_state=states)
        last = CELLS[cell]()(second, initial_state=after)
        return [first, *states, second, *after, last]

    check(tmp_path, graph(build, mask=mask), pylstm.KerasModel)


@masks
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_states_of_two_directions(tmp_path, cell, mask):
    def build(x):
        y = L.Masking()(x) if mask else x
        first, *states = L.Bidirectional(CELLS[cell](return_sequences=True, return_state=True))(y)
        last = L.Bidirectional(CELLS[cell]())(first, initial_state=states)
        return [first, *states, last]

    check(tmp_path, graph(build, mask=mask), pylstm.KerasModel)


ONE_BY_ONE = {
    "dense": lambda: [L.Dense(5)],
    **{f"dense_{name}": (lambda name=name: [L.Dense(5, activation=name)]) for name in (
        "relu", "tanh", "sigmoid", "softmax", "hard_sigmoid", "elu", "selu", "softplus", "gelu", "softsign", "silu",
        "exponential", "mish", "relu6", "leaky_relu", "log_softmax", "hard_silu", "linear")},
    "activation": lambda: [L.Activation("gelu"), L.ReLU(), L.LeakyReLU(0.1), L.ELU(), L.Softmax()],
    "slope": lambda: [L.ReLU(negative_slope=0.2)],
    "dropouts": lambda: [L.Dropout(0.5), L.SpatialDropout1D(0.5), L.GaussianNoise(0.1), L.LSTM(3, dropout=0.3)],
    "every_step": lambda: [L.TimeDistributed(L.Dense(5, activation="tanh")), L.TimeDistributed(L.Activation("gelu"))],
    "layer_norm": lambda: [L.LayerNormalization(), L.LayerNormalization(epsilon=0.1, center=False),
                           L.LayerNormalization(scale=False)],
    "batch_norm": lambda: [L.BatchNormalization(), L.LSTM(3, return_sequences=True),
                           L.BatchNormalization(scale=False), L.BatchNormalization(center=False)],
    "average": lambda: [L.GlobalAveragePooling1D()], "max": lambda: [L.GlobalMaxPooling1D()],
    "keepdims": lambda: [L.GlobalAveragePooling1D(keepdims=True)],
    "flat": lambda: [L.Cropping1D((1, 0)), L.ZeroPadding1D((1, 2)), L.UpSampling1D(2)],
    "repeat": lambda: [L.LSTM(3), L.RepeatVector(4), L.LSTM(2, return_sequences=True)],
    "inside": lambda: [keras.Sequential([L.LSTM(3, return_sequences=True), L.BatchNormalization(), L.Dense(2)]),
                       L.Dense(2)],
    "every_vector": lambda: [L.TimeDistributed(L.LayerNormalization()), L.TimeDistributed(L.Dropout(0.2))],
    **{f"conv_{padding}_{size}_{stride}_{dilation}": (lambda p=padding, k=size, s=stride, d=dilation: [
        L.Conv1D(3, k, strides=s, padding=p, dilation_rate=d, activation="relu")])
       for padding in ("valid", "same", "causal") for size, stride, dilation in
       ((3, 1, 1), (2, 1, 1), (3, 2, 1), (2, 3, 1), (2, 1, 3))},
    **{f"{name}_{padding}_{size}_{stride}": (lambda n=name, p=padding, k=size, s=stride: [
        getattr(L, n)(k, strides=s, padding=p)])
       for name in ("MaxPooling1D", "AveragePooling1D") for padding in ("valid", "same")
       for size, stride in ((2, None), (3, 2), (3, 1))},
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_layers_one_after_another(tmp_path, name):
    check(tmp_path, chain(*ONE_BY_ONE[name]()), ends=(".keras", ".h5") if "_" not in name else (".keras",))


THROUGH = {
    "dense": lambda: L.Dense(3), "norm": lambda: L.LayerNormalization(), "spatial": lambda: L.SpatialDropout1D(0.1),
    "dropout": lambda: L.Dropout(0.1), "conv": lambda: L.Conv1D(3, 2, padding="same"),
    "batch": lambda: L.BatchNormalization(), "every_step": lambda: L.TimeDistributed(L.Dense(3)),
    "relu": lambda: L.Activation("relu"), "lstm": lambda: L.LSTM(3, return_sequences=True),
    "both": lambda: L.Bidirectional(L.GRU(2, return_sequences=True)),
    "reshape": lambda: L.Reshape((-1, 6)), "backwards": lambda: L.LSTM(3, return_sequences=True, go_backwards=True),
}  # fmt: skip


@pytest.mark.parametrize("name", THROUGH)
@pytest.mark.parametrize("mask", ["trailing", "holes"])
def test_what_becomes_of_a_mask(tmp_path, name, mask):
    """Which layers hand it on, Keras says by what comes out of a recurrent layer and a mean behind them."""

    def build(x):
        y = THROUGH[name]()(L.Embedding(VOCABULARY, 6, mask_zero=True)(x))
        return [L.GRU(2)(y), L.GlobalMaxPooling1D()(y)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a mask is destroyed
        check(tmp_path, graph(build, x="symbols", mask=mask), pylstm.KerasModel, ends=(".keras",))


@pytest.mark.parametrize("mask", ["trailing", "leading"])
def test_the_mean_of_what_counts(tmp_path, mask):
    made = chain(L.Embedding(VOCABULARY, 6, mask_zero=True), L.GlobalAveragePooling1D(), x="symbols", mask="trailing")
    x = made[1] if mask == "trailing" else made[1][:, ::-1].copy()
    check(tmp_path, (made[0], x), pylstm.KerasModel)


@pytest.mark.parametrize("merge", ["Concatenate", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"])
@pytest.mark.parametrize("masks_of", ["", "a", "ab"])
def test_merging(tmp_path, merge, masks_of):
    a, b = keras.Input((T,), dtype="int32"), keras.Input((T,), dtype="int32")
    left = L.Embedding(VOCABULARY, 3, mask_zero="a" in masks_of)(a)
    right = L.Embedding(VOCABULARY, 3, mask_zero="b" in masks_of)(b)
    y = getattr(L, merge)()([left, right])
    model = drawn(keras.Model([a, b], [y, L.LSTM(2)(y)]))
    check(tmp_path, (model, [symbols("trailing"), symbols("holes")]), pylstm.KerasModel, ends=(".keras",))


@pytest.mark.parametrize("axes", [(2, 2), (1, 1), (-1, -1), (2, 1)])
@pytest.mark.parametrize("normalize", [False, True])
def test_dot(tmp_path, axes, normalize):
    def build(x):
        other = L.Reshape((F, T))(x) if axes == (2, 1) else x
        return L.Dot(axes, normalize=normalize)([x, other])

    check(tmp_path, graph(build), pylstm.KerasModel, ends=(".keras",))


@pytest.mark.parametrize("sizes", [(1, 1), (2, 3), (3, 2)])
def test_dot_of_vectors(tmp_path, sizes):
    def build(x):
        sides = [x if n == 3 else L.Dense(F)(L.GlobalMaxPooling1D()(x)) for n in sizes]
        if sizes == (1, 1):
            sides = [L.LSTM(3)(x), L.LSTM(3)(x)]
        return L.Dot(axes=1 if sizes == (1, 1) else (1, 2) if sizes == (2, 3) else (2, 1))(sides)

    check(tmp_path, graph(build), pylstm.KerasModel, ends=(".keras",))


ATTENTIONS = {
    "attention": lambda q, v: L.Attention()([q, v]),
    "scaled": lambda q, v: L.Attention(use_scale=True)([q, v, v]),
    "causal": lambda q, v: L.Attention()([q, v], use_causal_mask=True),
    "scores": lambda q, v: L.Attention()([q, v], return_attention_scores=True)[1],
    "additive": lambda q, v: L.AdditiveAttention()([q, v]),
    "plain_additive": lambda q, v: L.AdditiveAttention(use_scale=False)([q, v]),
    "heads": lambda q, v: L.MultiHeadAttention(2, 3)(q, v),
    "heads_of_values": lambda q, v: L.MultiHeadAttention(2, 3, value_dim=5, use_bias=False)(q, v, key=v),
    "causal_heads": lambda q, v: L.MultiHeadAttention(2, 3)(q, v, use_causal_mask=True),
}


@pytest.mark.parametrize("name", ATTENTIONS)
@pytest.mark.parametrize("mask", [None, "trailing"])
def test_attention(tmp_path, name, mask):
    def build(x):
        embedded = L.Embedding(VOCABULARY, 6, mask_zero=mask is not None)(x)
        query = L.LSTM(6, return_sequences=True)(embedded)
        y = ATTENTIONS[name](query, embedded)
        return [y, L.GlobalAveragePooling1D()(y)]

    check(tmp_path, graph(build, x="symbols", mask=mask), pylstm.KerasModel)


def test_shared_layers_and_several_outputs(tmp_path):
    a, b = keras.Input((T, F), name="left"), keras.Input((T, F), name="right")
    shared = keras.Sequential([L.LSTM(3, return_sequences=True), L.GlobalMaxPooling1D()], name="tower")
    one = L.Dense(3, activation="tanh", name="one")
    y, z = one(shared(a)), one(shared(b))
    model = drawn(keras.Model([a, b], [L.Subtract()([y, z]), L.Concatenate(name="both")([y, z])]))
    check(tmp_path, (model, [sequences(), sequences()[::-1].copy()]), pylstm.KerasModel)


def test_reshaping(tmp_path):
    def build(x):
        y = L.Permute((2, 1))(x)
        return [L.Flatten()(y), L.Reshape((2, -1))(y), L.LSTM(2)(y)]

    check(tmp_path, graph(build), pylstm.KerasModel)


def test_names_of_inputs_and_outputs(tmp_path):
    entries = {"words": keras.Input((T,), dtype="int32", name="words"), "sizes": keras.Input((2,), name="sizes")}
    y = L.GRU(3)(L.Embedding(VOCABULARY, 4)(entries["words"]))
    model = drawn(keras.Model(entries, {"a": L.Dense(2)(y), "b": L.Dense(3)(entries["sizes"])}))
    x = {"words": symbols(), "sizes": sequences()[:, 0, :2].copy()}
    model.save(tmp_path / "model.keras")
    wanted = model.predict(x, verbose=0)
    read = pylstm.from_keras(tmp_path / "model.keras")
    for found in (read(x), read(*[x[name] for name in read.inputs])):
        assert found.keys() == wanted.keys()
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], atol=1e-5)


def test_weights_into_a_model(tmp_path):
    made, x = chain(L.Embedding(VOCABULARY, 4), L.Bidirectional(L.LSTM(3, return_sequences=True)), L.GRU(3),
                    L.LayerNormalization(), L.Dense(2), x="symbols")  # fmt: skip
    made.save_weights(tmp_path / "model.weights.h5")
    for extra in (False, True):
        mine = pylstm.Sequential([
            pylstm.Embedding(VOCABULARY, 4),
            pylstm.LSTM(4, 3, batch_first=True, bidirectional=True, recurrent_bias=extra),
            pylstm.GRU(6, 3, batch_first=True), pylstm.LastStep(), pylstm.LayerNorm(3, eps=1e-3), pylstm.Linear(3, 2),
        ])  # fmt: skip
        assert pylstm.from_keras(tmp_path / "model.weights.h5", mine) is mine
        np.testing.assert_allclose(mine(x), made.predict(x, verbose=0), atol=1e-5)


def test_training_is_that_of_keras(tmp_path):
    """One step of plain gradient descent from the same weights, through masks with holes, gives the same weights."""

    def build(x):
        y = L.Embedding(VOCABULARY, 6, mask_zero=True)(x)
        y = L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="sum")(y)
        return L.Dense(2)(L.LSTM(4)(L.LayerNormalization()(y)))

    model, x = graph(build, x="symbols", mask="holes")
    model.save(tmp_path / "model.keras")
    y = np.random.default_rng(5).normal(size=(N, 2)).astype(np.float32)
    mine = pylstm.from_keras(tmp_path / "model.keras")
    mine.fit(x, y, loss="mse", optimizer=pylstm.SGD(0.5), epochs=1, batch_size=N, shuffle=False, verbose=0)
    model.compile(keras.optimizers.SGD(0.5), "mse")
    model.fit(x, y, batch_size=N, epochs=1, shuffle=False, verbose=0)
    np.testing.assert_allclose(mine(x), model.predict(x, verbose=0), atol=1e-5)
    pylstm.to_keras(mine, tmp_path / "trained.keras")
    back = keras.models.load_model(tmp_path / "trained.keras", compile=False)
    np.testing.assert_allclose(back.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)
