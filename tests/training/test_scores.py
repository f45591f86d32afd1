"""Metrics by name over a whole set: exact for any batches, with ties, lengths, ignored labels and weights."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

import pylstm

RNG = np.random.default_rng(1)
N, T, C = 60, 5, 4
LENGTHS = RNG.integers(1, T + 1, N)
LENGTHS[7] = T
INSIDE = np.arange(T) < LENGTHS[:, None]


def given(width):
    layer = pylstm.Linear(width, width, dtype=np.float64)
    layer.load_state_dict({"weight": np.eye(width), "bias": np.zeros(width)})
    return pylstm.Sequential([layer])


def coarse(*shape):
    """Numbers with many ties."""
    return RNG.integers(-3, 4, shape) / 2


# ---- brute force, over rows -----------------------------------------------------------------------------------------


def brute_area(scores, yes, weights):
    above = below = 0.0
    for s, w in zip(scores[yes], weights[yes], strict=True):
        for r, v in zip(scores[~yes], weights[~yes], strict=True):
            above += w * v * (1.0 if s > r else 0.5 if s == r else 0.0)
            below += w * v
    return above / below if below else math.nan


def brute_counts(labels, found, weights, c):
    right = weights[(labels == c) & (found == c)].sum()
    predicted, true = weights[found == c].sum(), weights[labels == c].sum()
    precision = right / predicted if predicted else 0.0
    recall = right / true if true else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}, true


def brute_labels(z, labels, weights):
    """Of rows (R, C), labels (R,) and weights."""
    found = z.argmax(axis=1)
    classes = z.shape[1]
    occurring = [c for c in range(classes) if weights[(labels == c) | (found == c)].sum()]
    each = {c: brute_counts(labels, found, weights, c) for c in occurring}
    expected = {"accuracy": (weights * (labels == found)).sum() / weights.sum()}
    for name in ("precision", "recall", "f1"):
        macro = np.mean([each[c][0][name] for c in occurring])
        expected[f"{name}_macro"] = macro
        expected[name] = macro if classes > 2 else brute_counts(labels, found, weights, 1)[0][name]
        expected[f"{name}_weighted"] = sum(each[c][0][name] * each[c][1] for c in occurring) / weights.sum()
        expected[f"{name}_micro"] = expected["accuracy"]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    areas = [brute_area(p[:, c].round(12), labels == c, weights) for c in ([1] if classes == 2 else range(classes))]
    expected["auc"] = np.nanmean(areas)
    for k in (1, 2, 3):
        order = np.argsort(-z, axis=1, kind="stable")[:, :k]
        expected[f"top_{k}"] = (weights * (order == labels[:, None]).any(axis=1)).sum() / weights.sum()
    log_p = np.log(p[np.arange(len(p)), labels])
    expected["perplexity"] = math.exp(-(weights * log_p).sum() / weights.sum())
    return expected


def brute_numbers(y, t, weights):
    d = y - t
    return {
        "mae": (weights * np.abs(d)).sum() / weights.sum(),
        "mse": (weights * d * d).sum() / weights.sum(),
        "rmse": math.sqrt((weights * d * d).sum() / weights.sum()),
        "huber": (weights * np.where(np.abs(d) < 1, d * d / 2, np.abs(d) - 0.5)).sum() / weights.sum(),
        "quantile": (weights * np.abs(d) / 2).sum() / weights.sum(),
    }


def agree(found, expected):
    assert found.keys() - {"loss"} == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, err_msg=name)


# ---- tests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("classes", [2, C])
@pytest.mark.parametrize("size", [7, 64])
def test_labels(classes, size, weighted):
    z, labels = coarse(N, classes), RNG.integers(0, classes, N)
    labels[::9] = -100
    weights = RNG.integers(0, 3, N) * 0.5 if weighted else None
    w = (np.ones(N) if weights is None else weights) * (labels != -100)
    expected = brute_labels(z[w > 0], labels[w > 0], w[w > 0])
    found = given(classes).evaluate(z, labels, loss="cross_entropy", metrics=list(expected), batch_size=size,
                                    sample_weight=weights)  # fmt: skip
    agree(found, expected)


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
def test_labels_of_steps(weighted):
    z, labels = coarse(N, T, C), RNG.integers(0, C, (N, T))
    weights = RNG.random((N, T)) if weighted else None
    w = INSIDE * (1.0 if weights is None else weights)
    z[~INSIDE] = np.nan  # which nobody looks at
    expected = brute_labels(z[INSIDE], labels[INSIDE], w[INSIDE])
    model, names = given(C), list(expected)
    for lists in (False, True):
        x, y, options = z, labels, {"lengths": LENGTHS, "sample_weight": weights}
        if lists:
            x, y = ([row[:n] for row, n in zip(a, LENGTHS, strict=True)] for a in (z, labels))
            own = None if weights is None else [row[:n] for row, n in zip(weights, LENGTHS, strict=True)]
            options = {"sample_weight": own}
        agree(model.evaluate(x, y, loss="cross_entropy", metrics=names, batch_size=11, **options), expected)


@pytest.mark.parametrize("columns", [1, 3])
def test_yes_or_no(columns):
    z, t, weights = coarse(N, columns), RNG.integers(0, 2, (N, columns)), RNG.integers(0, 3, N)
    w = np.repeat(weights[:, None], columns, axis=1).astype(float)
    names = ["accuracy", "precision", "recall", "f1", "f1_micro", "f1_weighted", "auc"]
    each = [brute_counts(t[:, k], (z[:, k] > 0) * 1, w[:, k], 1) for k in range(columns)]
    expected = {name: np.mean([one[0][name] for one in each]) for name in ("precision", "recall", "f1")}
    expected["accuracy"] = (w * ((z > 0) == t)).sum() / w.sum()
    expected["auc"] = np.mean([brute_area(z[:, k], t[:, k] > 0, w[:, k]) for k in range(columns)])
    expected["f1_micro"] = brute_counts(t.ravel(), (z > 0).ravel() * 1, w.ravel(), 1)[0]["f1"]
    expected["f1_weighted"] = sum(s["f1"] * true for s, true in each) / sum(true for _, true in each)
    for y in (t, t.astype(float), *([t[:, 0]] if columns == 1 else [])):
        found = given(columns).evaluate(z, y, loss="binary_cross_entropy", metrics=names, batch_size=8,
                                        sample_weight=weights)  # fmt: skip
        agree(found, expected)


@pytest.mark.parametrize("loss", ["mse", "mae", pylstm.Huber(0.4), "own"])
def test_numbers(loss):
    z, t, weights = RNG.standard_normal((N, T, 2)) * 2, RNG.standard_normal((N, T, 2)), RNG.random((N, T))

    def own(y, targets, lengths=None, sample_weight=None):  # noqa: ARG001
        return ((y - targets) ** 2).mean()

    loss = own if loss == "own" else loss
    for w in (None, weights):
        inside = INSIDE * (1.0 if w is None else w)
        expected = brute_numbers(z, t, np.repeat(inside[..., None], 2, axis=2))
        found = given(2).evaluate(
            z, t, loss=loss, metrics=list(expected), lengths=LENGTHS, sample_weight=w, batch_size=9
        )
        agree(found, expected)


def test_against_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    z, labels, w = coarse(N, C), RNG.integers(0, C, N), RNG.random(N)
    p = np.round(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), 12)  # equal ones are equal to the last bit, then
    found = given(C).evaluate(z, labels, loss="cross_entropy", metrics=["f1", "auc", "precision_weighted"],
                              sample_weight=w)  # fmt: skip
    np.testing.assert_allclose(found["f1"], metrics.f1_score(labels, z.argmax(1), average="macro", sample_weight=w))
    np.testing.assert_allclose(found["auc"], metrics.roc_auc_score(labels, p, multi_class="ovr", sample_weight=w))


def test_losses_as_metrics():
    z, t = RNG.standard_normal((N, 1)), RNG.standard_normal(N)
    metrics = [pylstm.QuantileLoss(0.9), pylstm.Huber(0.2), pylstm.mae]
    found = given(1).evaluate(z, t, loss="mse", metrics=metrics, batch_size=7)
    assert list(found) == ["loss", "quantile_0.9", "huber", "mae"]
    for name, loss in zip(list(found)[1:], metrics, strict=True):
        np.testing.assert_allclose(found[name], loss(z, t)[0], rtol=1e-12)


def test_perplexity_is_of_the_plain_cross_entropy():
    z, labels = coarse(N, C), RNG.integers(0, C, N)
    plain = given(C).evaluate(z, labels, loss="cross_entropy", metrics=["perplexity"])
    smooth = given(C).evaluate(z, labels, loss=pylstm.CrossEntropy(label_smoothing=0.3), metrics=["perplexity"])
    assert smooth["loss"] != plain["loss"]
    np.testing.assert_allclose(smooth["perplexity"], plain["perplexity"], rtol=1e-12)


@pytest.mark.parametrize(
    "loss",
    [
        "cross_entropy",
        pylstm.CrossEntropy(),
        pylstm.CrossEntropy(label_smoothing=0.3),
        pylstm.SampledSoftmax(4),
        functools.partial(pylstm.cross_entropy, class_weight={0: 7.0, 1: 0.0}),
    ],
    ids=["name", "object", "smoothed", "sampled", "partial"],
)
@pytest.mark.parametrize("classes", [C, 12])
def test_perplexity_has_no_weights_of_classes(loss, classes):
    z, labels = RNG.standard_normal((N, classes)), RNG.integers(0, classes, N)
    weights = {} if isinstance(loss, functools.partial) else {"class_weight": {0: 7.0, 1: 0.0}}
    plain = given(classes).evaluate(z, labels, loss="cross_entropy", metrics=["perplexity"])["perplexity"]
    history = given(classes).fit(
        z, labels, loss=loss, optimizer=pylstm.SGD(0.0), metrics=["perplexity"],
        validation_data=(z, labels), batch_size=N, verbose=0, **weights,
    )  # fmt: skip
    np.testing.assert_allclose(history["val_perplexity"], plain, rtol=1e-12)
    np.testing.assert_allclose(history.get("perplexity", plain), plain, rtol=1e-12)
    assert abs(math.log(plain) - history["val_loss"][0]) > 1e-3


@pytest.mark.parametrize("metric", ["mae", "rmse", "huber", pylstm.mae, pylstm.Huber(0.3)], ids=str)
def test_metrics_of_one_output_are_refused_for_two(metric):
    class Two(pylstm.Model):
        keeps_time = False

        def __init__(self):
            self.a, self.b = pylstm.Linear(3, 1, seed=0), pylstm.Linear(3, 1, seed=1)

        def run(self, x, lengths=None):  # noqa: ARG002
            return self.a(x), self.b(x)

    def loss(outputs, targets, lengths=None):  # noqa: ARG001
        return ((outputs[0] - targets[0]) ** 2).mean() + ((outputs[1] - targets[1]) ** 2).mean()

    model, x, y = Two(), coarse(N, 3), (coarse(N, 1), coarse(N, 1))
    before = model.state_dict()
    what = r"of metrics, is for a model of one output, and this one gives a tuple of 2: give a function \(outputs, t"
    with pytest.raises(TypeError, match=what):
        model.fit(x, y, loss=loss, metrics=[metric], verbose=0)
    assert all(value.tobytes() == before[name].tobytes() for name, value in model.params.items())
    with pytest.raises(TypeError, match=what):
        model.evaluate(x, y, loss=loss, metrics=[metric])

    def of_the_first(outputs, targets, lengths):  # noqa: ARG001
        return abs(outputs[0] - targets[0]).mean()

    assert "of_the_first" in model.evaluate(x, y, loss=loss, metrics=[of_the_first])


def test_an_area_without_any_yes_is_nan():
    assert math.isnan(given(1).evaluate(coarse(9, 1), np.zeros(9), loss="binary_cross_entropy", metrics=["auc"])["auc"])


def test_history_and_validation():
    x, y = RNG.standard_normal((50, 3, 2)).astype("f"), RNG.integers(0, 3, 50)
    model = pylstm.Sequential([pylstm.GRU(2, 4, batch_first=True), pylstm.LastStep(), pylstm.Linear(4, 3)], seed=0)
    names = ["accuracy", "f1", "auc", "top_2", "perplexity"]
    history = model.fit(x, y, loss="cross_entropy", metrics=names, epochs=2, validation_split=0.4, verbose=0, seed=0,
                        callbacks=[pylstm.EarlyStopping(monitor="val_f1", mode="max", restore_best=False)])  # fmt: skip
    assert set(history) == {"loss", "val_loss", "lr", "seconds", *names, *(f"val_{name}" for name in names)}
    again = model.evaluate(x[30:], y[30:])  # those of fit
    for name in names:
        np.testing.assert_allclose(history[f"val_{name}"][-1], again[name], rtol=1e-6)


@pytest.mark.parametrize(("loss", "metric", "text"), [
    ("mse", "f1", "f1, of metrics, needs the loss binary_cross_entropy or cross_entropy"),
    ("ctc", "accuracy", "accuracy, .* cross_entropy; of ctc there is label_error_rate"),
    ("mse", "auc", "needs the loss"), ("mse", "perplexity", "needs the loss cross_entropy"),
    ("binary_cross_entropy", "top_5", "needs the loss cross_entropy"),
    ("cross_entropy", "mae", "mae, of metrics, needs a loss of numbers"),
    ("mse", "acc", "did you mean 'accuracy'"), ("mse", "roc_auc", "did you mean 'auc'"),
    ("cross_entropy", "f1_makro", "did you mean 'f1_macro'"), ("cross_entropy", "top_0", "top_5"),
    ("cross_entropy", "percision", "did you mean 'precision'"), ("mse", pylstm.QuantileLoss([0.1, 0.2]), "several"),
    ("mse", pylstm.CrossEntropy(), "needs the loss cross_entropy"),
])  # fmt: skip
def test_names(loss, metric, text):
    before = given(2)
    with pytest.raises(ValueError, match=text):
        before.fit(coarse(6, 2), np.zeros(6), loss=loss, metrics=[metric])
    assert before._loss is None
