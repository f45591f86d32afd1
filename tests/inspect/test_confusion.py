"""The confusion matrix: counted again by hand, in every form that labels have."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

import pylstm

RNG = np.random.default_rng(6)
Y, P = RNG.integers(0, 4, 200), RNG.integers(0, 4, 200)
BY_HAND = np.array([[np.sum((np.equal(Y, i)) & (np.equal(P, j))) for j in range(4)] for i in range(4)])


def test_counts():
    found = pylstm.confusion_matrix(Y, P)
    matrix, labels = found
    assert labels == (0, 1, 2, 3)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, BY_HAND)
    for y, p in ((Y[:, None], P), (Y.astype(float), P.astype(np.uint8)), (Y.tolist(), P.tolist()),
                 (Y.reshape(20, 10), P.reshape(20, 10))):  # fmt: skip
        np.testing.assert_array_equal(pylstm.confusion_matrix(y, p).matrix, BY_HAND)
    names = pylstm.confusion_matrix(Y, P, labels=["a", "b", "c", "d", "e"])
    assert names.labels == ("a", "b", "c", "d", "e")
    np.testing.assert_array_equal(names.matrix[:4, :4], BY_HAND)
    assert not names.matrix[4].any()
    assert not names.matrix[:, 4].any()


def test_texts():
    names = np.array(["天", "b", "a", "c"])
    found = pylstm.confusion_matrix(names[Y], names[P].tolist())
    assert found.labels == ("a", "b", "c", "天")
    order = [2, 1, 3, 0]
    np.testing.assert_array_equal(found.matrix, BY_HAND[np.ix_(order, order)])
    own = pylstm.confusion_matrix(names[Y], names[P], labels=names.tolist())
    np.testing.assert_array_equal(own.matrix, BY_HAND)


def test_steps():
    lengths = np.array([3, 0, 7, 5])
    y, p = RNG.integers(0, 3, (4, 7)), RNG.integers(0, 3, (4, 7))
    lists = [row[:n] for row, n in zip(y, lengths, strict=True)], [row[:n] for row, n in zip(p, lengths, strict=True)]
    expected = pylstm.confusion_matrix(np.concatenate(lists[0]), np.concatenate(lists[1]), labels=range(3)).matrix
    assert expected.sum() == 15
    np.testing.assert_array_equal(pylstm.confusion_matrix(y, p, lengths=lengths, labels=range(3)).matrix, expected)
    np.testing.assert_array_equal(pylstm.confusion_matrix(*lists, labels=range(3)).matrix, expected)
    hidden = y.copy()
    hidden[2] = -100  # left out by the losses
    assert pylstm.confusion_matrix(hidden, p, lengths=lengths, labels=range(3)).matrix.sum() == 8


@pytest.mark.parametrize(("normalize", "axis"), [("true", 1), ("predicted", 0), ("all", None)])
def test_shares(normalize, axis):
    found = pylstm.confusion_matrix(Y, P, labels=range(5), normalize=normalize).matrix
    np.testing.assert_allclose(found[:4, :4], BY_HAND / BY_HAND.sum(axis=axis, keepdims=True))
    assert not found[4].any()
    assert not np.isnan(found).any()


def test_with_what_a_model_predicts():
    x = RNG.standard_normal((90, 6, 2)).astype(np.float32)
    y = (x.sum(axis=(1, 2)) > 0).astype(int)
    model = pylstm.Sequential([pylstm.GRU(2, 8, batch_first=True), pylstm.LastStep(), pylstm.Linear(8, 2)], seed=0)
    model.fit(x, y, loss="cross_entropy", optimizer=pylstm.Adam(0.02), epochs=8, verbose=0, seed=0)
    found = pylstm.confusion_matrix(y, model.predict_classes(x), labels=["down", "up"])
    assert np.trace(found.matrix) / 90 == pytest.approx(model.evaluate(x, y)["accuracy"])


def test_of_nothing():
    assert pylstm.confusion_matrix([], []).matrix.shape == (0, 0)
    np.testing.assert_array_equal(pylstm.confusion_matrix([], [], labels=["a", "b"]).matrix, np.zeros((2, 2)))
    assert pylstm.confusion_matrix([[], [1]], [[], [1]]).matrix.tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(("y", "p", "options", "error", "text"), [
    ([0, 1], [0], {}, ValueError, "y holds 2 classes and predicted 1"),
    ([0, 1.5], [0, 1], {}, TypeError, "y must hold classes"),
    ([0, 1], [0.2, 0.8], {}, TypeError, r"predicted must hold classes, whole numbers or texts \(predict_classes"),
    ([0, np.nan], [0, 1], {}, TypeError, "y must hold classes"),
    ([0, -1], [0, 1], {}, ValueError, "y must hold classes 0 .. 1, got -1"),
    ([0, 1], [0, -100], {}, ValueError, "predicted must hold classes 0 .. 1, got -100"),
    ([0, 3], [0, 1], {"labels": ["a", "b"]}, ValueError, "y must hold classes 0 .. 1, got 3"),
    (["a"], [0], {}, TypeError, "both be numbers of classes, or both texts"),
    (["a"], ["x"], {"labels": ["a", "b"]}, ValueError, "predicted holds 'x', which is none of labels"),
    ([0], [0], {"labels": "ab"}, TypeError, "labels must be a list of names, got str"),
    ([0], [0], {"labels": ["a", "a"]}, ValueError, "labels must differ"),
    ([0], [0], {"labels": 3}, TypeError, "labels must be a list"),
    ([10**9], [0], {}, ValueError, "at most 8192 classes"),
    ([0], [0], {"normalize": "rows"}, ValueError, "normalize"),
    ([0], [0], {"lengths": [1]}, ValueError, r"lengths needs y of shape \(N, T\)"),
    ([[0, 1]], [[0]], {}, ValueError, "y holds 2 classes and predicted 1"),
    ([[0], [1]], [[0], [1]], {"lengths": [1, 1]}, ValueError, "lists of sequences have lengths of their own"),
    (None, [0], {}, TypeError, "y must hold classes"), (3, 3, {}, TypeError, "y must hold classes"),
    ([0j], [0], {}, TypeError, "y must hold classes"),
    ([[0, [1]]], [[0, 1]], {}, TypeError, r"y\[0\] must hold classes"),
    ([[0], [1, 1]], [[0, 1], [1]], {}, ValueError, r"y\[0\] holds 1 classes and predicted\[0\] 2"),
    (np.zeros((2, 3), int), np.zeros((3, 2), int), {}, ValueError, "y holds 6 classes and predicted 6, of 2 and 3"),
])  # fmt: skip
def test_wrong_arguments(y, p, options, error, text):
    with pytest.raises(error, match=text):
        pylstm.confusion_matrix(y, p, **options)


# ---- pictures --------------------------------------------------------------------------------------------------------


def ticks(ax):
    return [label.get_text() for label in ax.get_xticklabels()], [label.get_text() for label in ax.get_yticklabels()]


def test_the_picture(plt, tmp_path):  # noqa: ARG001
    found = pylstm.confusion_matrix(Y, P, labels=["a", "b", "$", " "])
    figure = pylstm.plot_confusion_matrix(found, path=tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 3000
    ax = figure.axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), BY_HAND)
    assert ticks(ax) == (["a", "b", r"\$", "␣"],) * 2
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("predicted", "true", "confusion matrix")
    for text in ax.texts:
        j, i = text.get_position()
        assert int(text.get_text()) == BY_HAND[i, j]
    shares = pylstm.plot_confusion_matrix(pylstm.confusion_matrix(Y, P, normalize="true"), title="shares")
    assert ticks(shares.axes[0])[0] == ["0", "1", "2", "3"]
    assert shares.axes[0].texts[0].get_text() == f"{BY_HAND[0, 0] / BY_HAND[0].sum():.2f}"
    many = pylstm.plot_confusion_matrix(np.eye(100))
    assert not many.axes[0].texts
    pylstm.plot_confusion_matrix(np.zeros((2, 2)))


def test_labels_in_chinese(plt, chinese, only_latin):  # noqa: ARG001
    found = pylstm.confusion_matrix(Y, P, labels=["好", "学习", "天地", "d"])
    with pytest.warns(UserWarning, match="no font has these characters, so classes are numbered"):
        figure = pylstm.plot_confusion_matrix(found, title="好")
    assert ticks(figure.axes[0])[0] == ["0", "1", "2", "3"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
        figure = pylstm.plot_confusion_matrix(found, font=chinese)
        figure.canvas.draw()
    assert ticks(figure.axes[0])[0] == ["好", "学习", "天地", "d"]


@pytest.mark.parametrize(("matrix", "labels", "text"), [
    (np.zeros((2, 3)), None, r"matrix must be numbers \(K, K\)"), ([], None, "matrix must be"),
    ([["a"]], None, "matrix must be"), (np.zeros((2, 2)), ["a"], "labels must be 2 names, got 1"),
    (np.zeros((2, 2)), "ab", "labels must be 2 names"),
])  # fmt: skip
def test_wrong_arguments_of_the_picture(plt, matrix, labels, text):  # noqa: ARG001
    with pytest.raises(ValueError, match=text):
        pylstm.plot_confusion_matrix(matrix, labels)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    found = pylstm.confusion_matrix(Y, P)  # the numbers need none
    for draw in (lambda: pylstm.plot_confusion_matrix(found), lambda: pylstm.plot_saliency([1.0]),
                 lambda: pylstm.plot_trace({"h_l0": np.zeros((2, 3))})):  # fmt: skip
        with pytest.raises(ImportError, match=r"pictures need matplotlib: pip install 'pylstm\[train\]'"):
            draw()


def test_names_without_an_order_are_refused():
    with pytest.raises(TypeError, match="labels must be a list of names, got set"):
        pylstm.confusion_matrix([0, 1], [1, 1], labels={"no", "yes"})


def test_texts_as_columns_of_tables_have_them_and_masks():
    y, predicted = ["a", "b", "b"], ["a", "a", "b"]
    want = pylstm.confusion_matrix(y, predicted)
    got = pylstm.confusion_matrix(np.array(y, object), np.array(predicted, object))
    assert got.labels == want.labels
    np.testing.assert_array_equal(got.matrix, want.matrix)
    with pytest.raises(TypeError, match="y must hold classes, got a masked array"):
        pylstm.confusion_matrix(np.ma.array([0, 1], mask=[0, 1]), [0, 0])
