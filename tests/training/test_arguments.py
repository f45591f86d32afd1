"""Wrong arguments of training, argument by argument: an error that names it, and nothing has changed."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

import pylstm
from pylstm.losses import classification as losses
from pylstm.training import gradients, metrics, schedules

NUMBERS = [None, "x", math.nan, math.inf, -1.0, [], {}, float, True, np.float32("nan"), 10**400]
COUNTS = [None, "x", 1.5, -1, [], {}, int, True, math.nan, np.float64(2.0)]
FLAGS = [None, "x", 1, 0.0, [], bool]
TEXTS = [None, 3, [], str, b"x"]
NO_DATA = [None, "x", {}, 3.0, [], [None], ["a"], [[1], ["b"]], np.array(["a"]), np.ma.masked_array([[1]], [[True]]),
           np.ones(3) + 1j, object(), int, [[1, 2], [[1], [2]]]]  # fmt: skip
OPTIMIZERS = [pylstm.SGD, pylstm.Adagrad, pylstm.RMSprop, pylstm.Adam, pylstm.AdamW]

CONSTRUCTORS = [
    *((kind, {}, name, NUMBERS) for kind in OPTIMIZERS for name in ("lr", "weight_decay")),
    *((kind, {}, "lazy", FLAGS) for kind in OPTIMIZERS),
    *((kind, {}, "eps", NUMBERS) for kind in OPTIMIZERS[1:]),
    *((kind, {}, "betas", [None, 0.9, "ab", (0.9,), (0.9, 1.0), (0.9, math.nan), (0.9, "x"), (1, 2, 3), {}, tuple])
      for kind in OPTIMIZERS[3:]),
    (pylstm.SGD, {}, "momentum", NUMBERS),
    (pylstm.SGD, {"momentum": 0.9}, "nesterov", FLAGS),
    (pylstm.SGD, {}, "nesterov", [True]),
    (pylstm.Adagrad, {}, "lr_decay", NUMBERS),
    (pylstm.RMSprop, {}, "alpha", [*NUMBERS, 1.5]),
    (pylstm.RMSprop, {}, "momentum", NUMBERS),
    (pylstm.StepLR, {}, "step_size", COUNTS),
    (pylstm.StepLR, {"step_size": 1}, "gamma", NUMBERS),
    (pylstm.Cosine, {}, "epochs", [*NUMBERS, 0]),
    (pylstm.Cosine, {"epochs": 3}, "minimum", NUMBERS),
    (pylstm.WarmUp, {}, "epochs", COUNTS),
    (pylstm.WarmUp, {}, "then", [5, "x", [], pylstm.StepLR, {}]),
    (pylstm.ReduceOnPlateau, {}, "gamma", NUMBERS),
    (pylstm.ReduceOnPlateau, {}, "patience", COUNTS),
    (pylstm.ReduceOnPlateau, {}, "monitor", TEXTS),
    (pylstm.ReduceOnPlateau, {}, "threshold", NUMBERS),
    (pylstm.ReduceOnPlateau, {}, "minimum", NUMBERS),
    (pylstm.EarlyStopping, {}, "patience", COUNTS),
    (pylstm.EarlyStopping, {}, "monitor", TEXTS),
    (pylstm.EarlyStopping, {}, "min_delta", NUMBERS),
    (pylstm.EarlyStopping, {}, "mode", [*TEXTS, "best"]),
    (pylstm.EarlyStopping, {}, "restore_best", FLAGS),
    (pylstm.ModelCheckpoint, {}, "path", TEXTS),
    (pylstm.ModelCheckpoint, {"path": "x.npz"}, "every", COUNTS),
    (pylstm.ModelCheckpoint, {"path": "x.npz"}, "best_only", FLAGS),
    (pylstm.ModelCheckpoint, {"path": "x.npz"}, "monitor", TEXTS),
    (pylstm.ModelCheckpoint, {"path": "x.npz"}, "mode", [*TEXTS, "best"]),
]  # fmt: skip

LAYERS = [pylstm.Embedding(9, 3), pylstm.LSTM(3, 4, batch_first=True), pylstm.LastStep(), pylstm.Dropout()]
MODEL = pylstm.Sequential([*LAYERS, pylstm.Linear(4, 2)], seed=0)
X, Y = np.arange(24).reshape(6, 4) % 9, np.arange(6) % 2
BOUND = {"x": X, "y": Y, "loss": "cross_entropy", "optimizer": pylstm.Adam(), "verbose": 0}


def odd(*args):  # noqa: ARG001
    return "a word"


def returns(value):
    def function(*args, **options):  # noqa: ARG001
        return value

    return function


def named(name):
    def metric(*args):  # noqa: ARG001
        return 1.0

    metric.__name__ = name
    return metric


FIT = {
    "x": NO_DATA,
    "y": [*NO_DATA, Y[:3], np.array([0, 1, 2, 3, 4, 9]), np.zeros((6, 3), int), Y + 0.5, np.zeros((6, 2))],
    "loss": [None, "x", 3, [], {}, losses.Loss, returns(3), returns((1.0, np.ones(3))),
             returns(("x", np.ones((6, 2)))), returns((1.0, "x"))],
    "optimizer": [None, "sgdd", 3, pylstm.Adam, {}],
    "batch_size": [*COUNTS, 0],
    "epochs": COUNTS,
    "lengths": ["x", 3, [1.5] * 6, [9] * 6, [-1] * 6, [1, 2], {}, int],
    "validation_data": ["x", 3, (X,), (X, Y, None, None), (X, Y[:3]), (None, Y), (X, None), (X[:0], Y[:0]), ([], []),
                        {"x": X, "y": Y}, X, (X, Y, [9] * 6)],
    "metrics": ["accuracy", "x", 3, ["x"], [None], {"a": odd}, [odd], [float], [named("loss")], [named("lr")],
                [named("seconds")], [named("val_loss")], ["accuracy", "accuracy"]],
    "class_weight": ["x", {0: "a"}, {0: None}, {0: -1.0}, {0: math.nan}, {5: 1.0}, {"a": 1.0}, {-1: 1.0}, [1.0], 3.0,
                     [1.0, math.nan], int],
    "callbacks": [None, 3, "x", pylstm.EarlyStopping(), pylstm.EarlyStopping, [pylstm.EarlyStopping], [None], ["x"], {},
                  [pylstm.EarlyStopping()], [pylstm.ModelCheckpoint("x.npz", best_only=True)]],
    "clip_norm": [*NUMBERS[1:], 0],
    "clip_value": [*NUMBERS[1:], 0],
    "schedule": ["x", 3, [], {}, pylstm.StepLR, odd, returns(None), returns(-1), returns(math.nan)],
    "truncate": [*COUNTS[1:], 0, 2],
    "stateful": FLAGS,
    "shuffle": FLAGS,
    "seed": COUNTS[1:],
    "resume": ["nowhere.npz", 3, {}, [], int, b"x"],
    "verbose": [None, "x", 1.5, -1, [], int],
}  # fmt: skip
ALSO = {"optimizer": "optimizer|Adam", "callbacks": "callback|watches", "resume": "resume|nowhere|suffix|npz",
        "y": "y |targets", "loss": "loss", "x": "x", "lengths": "length", "clip_value": "clip_value",
        "schedule": "schedule", "metrics": "metric"}  # fmt: skip
WRONG = (TypeError, ValueError, OSError)  # OSError: of a file that is not there


def state():
    return (copy.deepcopy(MODEL.state_dict()), MODEL._dropout_state(), MODEL._loss, MODEL._metrics,
            BOUND["optimizer"].state_dict())  # fmt: skip


def cases(table):
    for what, options, name, values in table:
        for i, value in enumerate(values):
            yield pytest.param(what, options, name, value, id=f"{what.__name__}-{name}-{i}")


@pytest.mark.parametrize(("what", "options", "name", "value"), cases(CONSTRUCTORS))
def test_constructors(what, options, name, value):
    with pytest.raises((TypeError, ValueError), match=name):
        what(**{**options, name: value})


@pytest.mark.parametrize(("name", "value"), [
    pytest.param(name, value, id=f"{name}-{i}") for name, values in FIT.items() for i, value in enumerate(values)
])  # fmt: skip
def test_fit(name, value):
    before = state()
    with pytest.raises(WRONG, match=ALSO.get(name, name)):
        MODEL.fit(**{**BOUND, name: value})
    np.testing.assert_equal(state(), before)


@pytest.mark.parametrize(("name", "value"), [
    pytest.param(name, value, id=f"{name}-{i}") for name in ("x", "y", "lengths", "loss", "metrics", "batch_size")
    for i, value in enumerate(FIT[name]) if not (name == "loss" and value is None)
])  # fmt: skip
def test_evaluate(name, value):
    before = state()
    with pytest.raises(WRONG, match=ALSO.get(name, name)):
        MODEL.evaluate(**{"x": X, "y": Y, "loss": "cross_entropy", name: value})
    np.testing.assert_equal(state(), before)


@pytest.mark.parametrize(("name", "value"), [
    *(("x", value) for value in NO_DATA if not isinstance(value, list) or value),
    *(("lengths", value) for value in FIT["lengths"]),
    *(("activation", value) for value in ("x", 3, [], str)),
    *(("batch_size", value) for value in FIT["batch_size"] if value is not None),
], ids=repr)  # fmt: skip
def test_predict(name, value):
    with pytest.raises((TypeError, ValueError), match=ALSO.get(name, name)):
        MODEL.predict(**{"x": X, name: value})
    with pytest.raises((TypeError, ValueError), match="activation"):
        MODEL.predict(X[:0], activation="x")


@pytest.mark.parametrize("target", [99, 2, -3, "x", 1.5, [], {}, int, math.nan, True], ids=repr)
def test_saliency(target):
    with pytest.raises((TypeError, ValueError), match="target"):
        MODEL.saliency(X, target)


@pytest.mark.parametrize("layers", [None, 3, "x", {"a": 3}, {"a": None}, pylstm.Linear], ids=repr)
def test_layers_of_a_step(layers):
    with pytest.raises(TypeError, match="layers"):
        pylstm.SGD().step(layers, {})


@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
@pytest.mark.parametrize("value", [*NUMBERS[1:], 0], ids=lambda value: repr(value)[:20])
def test_clipping(name, value):
    layer = pylstm.Linear(2, 2)
    with pytest.raises((TypeError, ValueError), match=name):
        pylstm.SGD().step(layer, {"weight": np.ones((2, 2))}, **{name: value})
    with pytest.raises((TypeError, ValueError), match=r"max_norm|limit"):
        getattr(gradients, name)({"weight": np.ones((2, 2))}, value)


@pytest.mark.parametrize("history", [None, 3, [], "x"], ids=repr)
def test_plots(history):
    pytest.importorskip("matplotlib")
    with pytest.raises((TypeError, ValueError), match="history"):
        pylstm.plot_history(history)
    with pytest.raises((TypeError, ValueError), match="trace"):
        pylstm.plot_trace(history)


# ---- what lists mean -------------------------------------------------------------------------------------------------


def test_rows_of_features_whose_first_is_of_integers():
    model = pylstm.Sequential([pylstm.Linear(2, 1)], seed=0)
    x = [[1, 2], [0.5, 1.5], [3, 4]]
    np.testing.assert_array_equal(model.predict(x), model.predict(np.array(x)))
    np.testing.assert_array_equal(model.predict([[1, 2], [3, 4]]), model.predict(np.array([[1, 2], [3, 4]])))
    assert model.predict(x).shape == (3, 1)
    unknown = pylstm.Sequential([pylstm.Activation("tanh")])  # takes what comes: all of the items decide
    np.testing.assert_array_equal(unknown.predict(x), np.tanh(np.array(x)))
    with pytest.raises(ValueError, match="x cannot be made an array"):
        unknown.predict([[1, 2], [0.5]])
    with pytest.raises(TypeError, match=r"x\[1\] must hold integers"):
        MODEL.predict([[1, 2], [0.5, 1.5]])
    assert MODEL.predict([[1, 2], [3], []]).shape == (3, 2)


@pytest.mark.parametrize("first", [pylstm.Dropout(0.5), pylstm.Activation("relu"), pylstm.Residual([pylstm.Dropout()])])
def test_a_model_of_float64_rounds_no_list(first):
    model = pylstm.Sequential([first, pylstm.Linear(2, 1, dtype="float64")], seed=0)
    for x in ([[0.1, 0.2], [2.0**-40, 1.0]], [[2**53 - 1, 1], [3, 4]]):
        expected = model(np.array(x, np.float64))
        for given in (x, np.array(x)):
            np.testing.assert_array_equal(model(given), expected)
        np.testing.assert_array_equal(model.predict(x), expected)
    pooled = pylstm.Sequential([pylstm.MeanOverTime(), pylstm.Linear(2, 1, dtype="float64")], seed=0)
    x = [[[0.1, 0.3]], [[0.7, 0.9]]]
    np.testing.assert_array_equal(pooled(x), pooled(np.array(x)))
    inner = pylstm.Residual([pylstm.Linear(2, 2, dtype="float64", seed=0)])
    np.testing.assert_array_equal(inner([[0.1, 0.2]]), inner(np.array([[0.1, 0.2]])))


def test_binary_targets_past_a_length_may_be_anything():
    rng = np.random.default_rng(0)
    logits, targets, lengths = rng.standard_normal((2, 3)), rng.integers(0, 2, (2, 3)).astype(float), [3, 1]
    value, gradient = losses.binary_cross_entropy(logits, targets, lengths=lengths, class_weight=[1.0, 3.0])
    for padding in (math.nan, -100, 7):
        targets[1, 1:] = padding
        found = losses.binary_cross_entropy(logits, targets, lengths=lengths, class_weight=[1.0, 3.0])
        assert found[0] == value
        np.testing.assert_array_equal(found[1], gradient)
    targets[1, 0] = 7
    with pytest.raises(ValueError, match=r"targets must lie in 0\.\.1"):
        losses.binary_cross_entropy(logits, targets, lengths=lengths)


def test_balanced_weights_need_labels():
    with pytest.raises(ValueError, match="class_weight"):
        MODEL.fit(X, Y / 2, loss="binary_cross_entropy", optimizer=pylstm.SGD(), class_weight="balanced")
    with pytest.raises(ValueError, match="class_weight"):
        MODEL.fit(X, Y, loss="mse", optimizer=pylstm.SGD(), class_weight="balanced")


def test_metrics_and_schedules_of_ones_own_have_names():
    assert list(metrics.metric_functions([named("a"), named("b")], "mse")) == ["a", "b"]
    assert schedules.WarmUp(1, lambda *_: 0.5).factor(1, 0, 1) == 0.5  # a function is a schedule there, too
