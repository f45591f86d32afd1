"""BatchNormalization of Keras in training, without Keras."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import pylstm
from support.keras_files import file_of, layer, tensor

F, N, T = 3, 4, 5
X = np.random.default_rng(0).normal(2, 3, size=(N, T, F))
MASK = np.random.default_rng(1).random((N, T)) < 0.6
MOVING = ("moving_mean", "moving_variance")


def one(masked=False, every_step=False, dtype="float64", layers=(), **values):
    """(BatchNormalization), or behind a Masking, or inside of a TimeDistributed."""
    rng = np.random.default_rng(2)
    count = 2 + values.get("scale", True) + values.get("center", True)
    arrays = [rng.uniform(0.5, 1.5, size=F) for _ in range(count)]
    values = {"dtype": dtype, "momentum": 0.9, **values}
    norm = layer("BatchNormalization", "norm", tensor("mask" if masked else "x"), **values)
    name, group = "norm", "batch_normalization"
    if every_step:
        norm = layer("TimeDistributed", "steps", tensor("mask" if masked else "x"), layer=norm, dtype=dtype)
        name, group = "steps", "time_distributed/layer"
    masking = [layer("Masking", "mask", tensor("x"), dtype=dtype)] * masked
    made = file_of([layer("InputLayer", "x"), *masking, norm, *layers], {group: arrays},
                   input_layers=["x", 0, 0], output_layers=[name, 0, 0])  # fmt: skip
    return pylstm.from_keras(made)


def moving(model, name="norm"):
    return [model.state_dict()[f"layers.{name}.{one}"] for one in MOVING]


def masked(x=X):
    return np.where(MASK[..., None], x, 0.0)


@pytest.mark.parametrize("with_mask", [False, True])
def test_it_is_the_batch_that_counts(with_mask):
    model, x = one(with_mask), masked() if with_mask else X
    before, params = moving(model), model.state_dict()
    y, _ = model.forward(x)
    rows = x[MASK] if with_mask else x.reshape(-1, F)
    mean, variance = rows.mean(axis=0), rows.var(axis=0)
    wanted = (x - mean) / np.sqrt(variance + 1e-3) * params["layers.norm.weight"] + params["layers.norm.bias"]
    np.testing.assert_allclose(y, wanted, atol=1e-6)
    for old, new, found in zip(before, moving(model), (mean, variance), strict=True):
        np.testing.assert_allclose(new, 0.9 * old + 0.1 * found, atol=1e-6)


@pytest.mark.parametrize("with_mask", [False, True])
def test_every_step_for_itself_inside_of_time_distributed(with_mask):
    model, x = one(with_mask, every_step=True), masked() if with_mask else X
    mean, _ = moving(model, "steps")
    y, _ = model.forward(x)
    params = model.state_dict()
    for t in range(T):
        rows = x[MASK[:, t], t] if with_mask else x[:, t]
        wanted = (x[:, t] - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + 1e-3)
        wanted = wanted * params["layers.steps.weight"] + params["layers.steps.bias"]
        np.testing.assert_allclose(y[:, t], wanted, rtol=1e-4, atol=1e-4)
        mean = 0.9 * mean + 0.1 * rows.mean(axis=0)
    np.testing.assert_allclose(moving(model, "steps")[0], mean, atol=1e-5)
    np.testing.assert_allclose(one(with_mask, True)(x), one(with_mask)(x), atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"scale": False, "center": False}])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("with_mask", [False, True])
def test_gradients_are_those_of_differences(with_mask, frozen, options):
    model, rng = one(with_mask, **options), np.random.default_rng(3)
    if frozen:
        model.freeze()
    start, x = model.state_dict(), masked() if with_mask else X

    def output(x, params=start):
        model.load_state_dict(params)
        return model.forward(x)

    y, backward = output(x)
    dy = rng.normal(size=y.shape)
    dx, grads = backward(dy)
    assert set(grads) == (set() if frozen else {name for name in start if not name.endswith(MOVING)})
    step = 1e-5
    for name, value in [("x", x), *((name, start[name]) for name in grads)]:
        for at in [tuple(int(rng.integers(n)) for n in value.shape) for _ in range(12)]:
            if name == "x" and with_mask and not MASK[at[:2]]:
                continue  # what is 0 is masked: a little more is another mask
            sides = []
            for sign in (1, -1):
                changed = value.copy()
                changed[at] += sign * step
                found = output(changed) if name == "x" else output(x, {**start, name: changed})
                sides.append(float((found[0] * dy).sum()))
            own = (dx if name == "x" else grads[name])[at]
            np.testing.assert_allclose(own, (sides[0] - sides[1]) / (2 * step), rtol=1e-5, atol=1e-7, err_msg=name)


def test_nothing_moves_but_in_training():
    for model in (one(), one(trainable=False)):
        before, y = moving(model), model(X)
        np.testing.assert_array_equal(model.predict(X), y)
        model.evaluate(X, np.zeros((N, T, F)), loss="mse")
        frozen = not model.layers["norm"].trainable
        model.freeze()
        np.testing.assert_allclose(model.forward(X)[0], y)
        assert all(np.array_equal(a, b) for a, b in zip(before, moving(model), strict=True))
        model.unfreeze()
        model.forward(X)
        assert not any(np.array_equal(a, b) for a, b in zip(before, moving(model), strict=True))
        assert frozen == (model._graph.config.layers["norm"].get("trainable") is False)


def test_everything_holds_the_moving_ones(tmp_path):
    model = one(dtype="float32")
    x = X.astype(np.float32)
    model.fit(x, x * 0, loss="mse", epochs=3, verbose=0)
    model.save_weights(tmp_path / "m.npz")
    pylstm.to_keras(model, tmp_path / "m.keras")
    pylstm.to_keras(model, tmp_path / "m.weights.h5")
    others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), pylstm.from_keras(tmp_path / "m.keras")]
    for read in (lambda new: new.load_weights(tmp_path / "m.npz"),
                 lambda new: new.load_state_dict(model.state_dict()),
                 lambda new: pylstm.from_keras(tmp_path / "m.weights.h5", new)):  # fmt: skip
        others.append(one(dtype="float32"))
        read(others[-1])
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(moving(other), moving(model), strict=True))
        assert np.array_equal(other(x), model(x))


def test_weights_decay_and_the_moving_ones_do_not():
    model = one(momentum=1.0)
    before = moving(model)
    model.fit(X, X, loss="mse", optimizer=pylstm.AdamW(0.1, weight_decay=0.5), epochs=3, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, moving(model), strict=True))


def test_a_batch_that_fails_moves_nothing():
    model = one(dtype="float32")
    before = moving(model)

    def loss(output, targets, lengths=None):  # noqa: ARG001
        return float("nan"), output * 0

    with pytest.raises(FloatingPointError):
        model.fit(X.astype(np.float32), X, loss=loss, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, moving(model), strict=True))


def test_one_mask_of_nothing_and_nothing_at_all():
    model = one(masked=True, dtype="float32")
    y, backward = model.forward(np.zeros((2, 3, F), np.float32))
    assert np.isfinite(y).all()
    assert np.isfinite(backward(np.ones_like(y))[0]).all()
    assert one()(X[:0]).shape == (0, T, F)
    with pytest.raises(ValueError, match="x is empty"):
        one().forward(X[:0])


def test_looks_move_nothing():
    model = one()
    before = moving(model)
    pylstm.inspect.saliency(model, X.astype(np.float32), output=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, moving(model), strict=True))


def test_a_model_of_the_users_around_it():
    class Around(pylstm.Model):
        def __init__(self):
            self.inner, self.head = one(dtype="float32"), pylstm.Linear(F, 1)

        def run(self, x):
            return self.head(self.inner(x))

    model, x = Around(), X.astype(np.float32)
    before = moving(model.inner)
    model.fit(x, np.zeros((N, T, 1), np.float32), loss="mse", verbose=0)
    assert not np.array_equal(before, moving(model.inner))


@pytest.mark.parametrize(("options", "words"), [
    ({"momentum": 1.5}, "momentum must be in 0..1"), ({"momentum": "a"}, "momentum must be a number"),
    ({"renorm": True}, "renorm is not read"), ({"epsilon": -1.0}, "epsilon must be above 0"),
    ({"axis": 1}, "only the last one"),
])  # fmt: skip
def test_what_is_refused(options, words):
    with pytest.raises(pylstm.ModelFileError, match=words):
        one(**options)
