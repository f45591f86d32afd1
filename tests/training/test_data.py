"""Forms of data that fit, evaluate and predict take."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from pylstm.training import data
from support.fits import fit, model, same_bits, sequences


@pytest.mark.parametrize("per_step", [False, True], ids=["sequence", "step"])
def test_lists_and_padded_arrays_are_the_same(per_step):
    x, labels, tags = sequences()
    lengths = np.array([len(s) for s in x])
    padded = data.pad(x, 11, np.int64)
    padded[np.arange(11) >= lengths[:, None]] = 7  # whatever stands there
    y = tags if per_step else labels
    y_padded = data.pad(tags, 11, np.int64) if per_step else labels
    nets = [model(per_step=per_step) for _ in range(2)]
    histories = [
        fit(nets[0], x, y, per_step, validation_data=(x, y)),
        fit(nets[1], padded, y_padded, per_step, lengths=lengths, validation_data=(padded, y_padded, lengths)),
    ]
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert histories[0][name] == histories[1][name]
    assert same_bits(*nets)
    results = [nets[0].predict(x), nets[0].predict(padded, lengths=lengths)]
    if per_step:
        assert results[1].shape == (len(x), 11, 3)
        for row, wanted, length in zip(results[1], results[0], lengths, strict=True):
            np.testing.assert_array_equal(row[:length], wanted)
            assert (row[length:] == 0).all()
    else:
        np.testing.assert_array_equal(*results)


def test_predict_keeps_the_order_and_equals_one_by_one():
    x, _, _ = sequences(50)
    for per_step in (False, True):
        net = model(per_step=per_step)
        for got, s in zip(net.predict(x, batch_size=7), x, strict=True):
            np.testing.assert_allclose(got, net(s[None])[0], rtol=1e-5, atol=1e-6)
    probabilities = net.predict(x, activation="softmax")
    np.testing.assert_allclose(probabilities[3].sum(axis=-1), 1, rtol=1e-5)
    assert net.predict([]) == []
    assert model().predict(np.zeros((0, 4), int)).shape == (0, 1)


def test_batches_cover_everything_once_and_pad_little():
    x, _, _ = sequences(1000, longest=60)
    inputs = data.Sequences(x)
    rng = np.random.default_rng(0)
    batches = inputs.batches(16, rng)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    padded = sum(len(rows) * inputs.batch(rows)[0].shape[1] for rows in batches)
    assert padded < 1.1 * sum(map(len, x))
    again = inputs.batches(16, rng)
    assert any(a.tolist() != b.tolist() for a, b in zip(batches, again, strict=True))
    lengths = [len(x[rows[0]]) for rows in batches]
    assert sorted(lengths) != lengths  # not from short to long
    assert [rows.tolist() for rows in inputs.batches(300, None)][1] == list(range(300, 600))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [0, 1]}, "90 sequences and y 2"),
        ({"y": ["a"] * 90}, "y must hold real numbers, got list of dtype <U1: name the classes 0, 1, 2"),
        ({"x": [np.zeros((2, 2), int)] + [np.zeros(2, int)] * 89}, "differ in length only"),
        ({"x": [["a"]] * 90}, r"x\[0\] must hold real numbers"),
        ({"x": 3.5}, "array of numbers"),
        ({"lengths": [1] * 90}, "lengths of its own"),
        ({"loss": "hinge"}, "binary_cross_entropy"),
        ({"optimizer": "adm"}, "did you mean 'adam'"),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": 1.5}, "epochs"),
        ({"validation_data": ([1],)}, "validation_data"),
        ({"callbacks": [3]}, "callbacks"),
        ({"metrics": ["f1_mcro"]}, "metrics.*f1_micro"),
        ({"class_weight": "even"}, "balanced"),
        ({"x": [], "y": []}, "no sequences"),
        ({"truncate": 3}, "one output per step"),
        ({"callbacks": [pylstm.EarlyStopping()]}, "val_loss.*give validation_data"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments(change, message):
    x, y, _ = sequences()
    arguments = {"x": x, "y": y, "loss": "binary_cross_entropy", "optimizer": pylstm.Adam(), "verbose": 0, **change}
    with pytest.raises((TypeError, ValueError), match=message):
        model().fit(**arguments)


def test_targets_per_step_must_fit():
    x, y, tags = sequences()
    with pytest.raises(ValueError, match=r"y\[4\] must have a target for each"):
        fit(model(per_step=True), x, [*tags[:4], tags[4][1:].tolist() + [0, 0], *tags[5:]], True)
    with pytest.raises(ValueError, match="one output per step"):
        fit(model(per_step=True), x, y, True)
    with pytest.raises(ValueError, match="say which loss"):
        model().evaluate(x, y)


def test_sequences_of_signed_and_unsigned_integers_stay_integers():
    mixed = [np.array([1, 2], np.uint64), np.array([3]), []]
    plain = [np.array([1, 2]), np.array([3]), np.array([], np.int64)]
    tags = [np.array([0, 1], np.uint64), np.array([-100]), []]
    nets = [pylstm.Sequential([pylstm.Embedding(4, 3), pylstm.Linear(3, 2)], seed=0) for _ in range(2)]
    options = {"loss": "cross_entropy", "optimizer": pylstm.SGD(0.1), "verbose": 0, "seed": 0}
    found = [
        net.fit(x, y, **options)["loss"]
        for net, x, y in zip(nets, (mixed, plain), (tags, list(map(np.int64, tags))), strict=True)
    ]
    assert found[0] == found[1]
    for a, b in zip(nets[0].predict(mixed), nets[1].predict(plain), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=f"got {2**64 - 1}"):
        nets[0].fit(plain, [[0, 1], np.array([2**64 - 1], np.uint64), []], **options)
    with pytest.raises(ValueError, match=r"got -1 in y\[0\] at step 1"):  # no integers hold both
        nets[0].fit(plain, [[0, -1], np.array([2**64 - 1], np.uint64), []], **options)
