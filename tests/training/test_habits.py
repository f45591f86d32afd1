"""The last part of the data put aside, optimizers and losses by name, and what a file keeps of them."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import pylstm

RNG = np.random.default_rng(4)
N, T, F, C = 24, 6, 3, 12
X, LABELS = RNG.standard_normal((N, T, F)).astype("f"), RNG.integers(0, C, N)
LENGTHS, TIMES = RNG.integers(1, T + 1, N), RNG.integers(1, 3, N)
LENGTHS[5] = LENGTHS[-1] = T


def net(out, per_step=False, seed=0):
    end = [] if per_step else [pylstm.LastStep()]
    return pylstm.Sequential([pylstm.LSTM(F, 5, batch_first=True), *end, pylstm.Linear(5, out)], seed=seed)


# ---- the last part --------------------------------------------------------------------------------------------------


def figures(history):
    return {name: value for name, value in history.items() if name != "seconds"}


@pytest.mark.parametrize("form", ["array", "lengths", "lists", "several"])
def test_validation_split(form):
    """As if the last part had been given: 24 sequences, of which Keras keeps int(24 * 0.7) = 16."""
    options = {"loss": "cross_entropy", "epochs": 2, "seed": 0, "verbose": 0, "optimizer": pylstm.SGD(0.1)}
    y = RNG.integers(0, C, (N, T))
    x, more, make = X, {}, lambda: net(C, True)

    def cut(a, some):
        return {k: v[some] for k, v in a.items()} if isinstance(a, dict) else a[some]

    if form == "lengths":
        more = {"lengths": LENGTHS}
    elif form == "lists":
        x, y = ([row[:n] for row, n in zip(a, LENGTHS, strict=True)] for a in (X, y))
    elif form == "several":
        x, y, make = {"a": X, "b": X[:, 0]}, y[:, 0], Both
    first, last = slice(None, 16), slice(16, None)
    expected_model, model = make(), make()
    expected = expected_model.fit(
        cut(x, first), y[first], validation_data=(cut(x, last), y[last], *(v[last] for v in more.values())),
        sample_weight=TIMES[first] + 1, **{k: v[first] for k, v in more.items()}, **options,
    )  # fmt: skip
    found = model.fit(
        x, y, validation_split=0.3, sample_weight=np.r_[TIMES[first] + 1, np.ones(N - 16)], **more, **options
    )
    assert figures(found) == figures(expected)
    for name, value in expected_model.params.items():
        assert value.tobytes() == model.params[name].tobytes()


class Both(pylstm.Model):
    keeps_time = False

    def __init__(self):
        self.lstm = pylstm.LSTM(F, 5, batch_first=True, seed=0)
        self.head = pylstm.Linear(5 + F, C, seed=1)

    def run(self, a, b):
        return self.head(pylstm.concatenate([self.lstm(a)[0][:, -1], b], axis=1))


def test_the_split_of_a_mapped_file_copies_nothing(tmp_path):
    from pylstm.training.splitting import Data, split

    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    for part in split(Data(x, LABELS), 0.25, several=False):
        assert np.shares_memory(part.x, x)


# ---- names and files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "made"), [("sgd", pylstm.SGD), ("adam", pylstm.Adam), ("adamw", pylstm.AdamW),
                                            ("rmsprop", pylstm.RMSprop), ("adagrad", pylstm.Adagrad)])  # fmt: skip
def test_optimizers_by_name(name, made):
    models = [net(C), net(C)]
    for model, optimizer in zip(models, (name, made()), strict=True):
        model.fit(X, LABELS, loss="cross_entropy", optimizer=optimizer, epochs=2, seed=0, verbose=0)
    for key, value in models[0].params.items():
        assert value.tobytes() == models[1].params[key].tobytes()
    if name == "adam":  # which is what one gets without
        model = net(C)
        model.fit(X, LABELS, loss="cross_entropy", epochs=2, seed=0, verbose=0)
        assert all(value.tobytes() == model.params[key].tobytes() for key, value in models[0].params.items())


@pytest.mark.parametrize("loss", ["mae", "huber", "quantile", pylstm.Huber(0.25), pylstm.QuantileLoss(0.9), pylstm.mae,
                                  pylstm.QuantileLoss((0.1, 0.9)), pylstm.CrossEntropy(label_smoothing=0.2)],
)  # fmt: skip
@pytest.mark.parametrize("end", [".npz", ".safetensors"])
def test_evaluate_after_loading(tmp_path, loss, end):
    if end == ".safetensors":
        pytest.importorskip("safetensors")
    classes = isinstance(loss, pylstm.CrossEntropy)
    several = loss == pylstm.QuantileLoss((0.1, 0.9))
    y = LABELS if classes else RNG.standard_normal(N)
    names = ["f1", "top_3", "accuracy"] if classes else [] if several else ["rmse", "mae"]
    model = net(C if classes else 2 if several else 1)
    keep = pylstm.ModelCheckpoint(str(tmp_path / f"m{end}"))
    model.fit(X, y, loss=loss, metrics=[*names, counts], callbacks=[keep], verbose=0, seed=0)
    expected = model.evaluate(X, y)
    del expected["counts"]  # a function is no part of a file
    assert pylstm.load(tmp_path / f"m{end}").evaluate(X, y) == expected
    assert copy.deepcopy(model)._loss == ("mae" if loss is pylstm.mae else loss)
    again = net(C if classes else 2 if several else 1)
    again.fit(X, y, loss=loss, metrics=[*names, counts], callbacks=[keep], verbose=0, epochs=2, resume="auto")
    straight = net(C if classes else 2 if several else 1)
    straight.fit(X, y, loss=loss, verbose=0, epochs=2, seed=0)
    for name, value in straight.params.items():
        assert value.tobytes() == again.params[name].tobytes()


@pytest.mark.parametrize("monitor", ["val_f1", "val_auc", "val_recall_macro", "val_top_2", "val_accuracy", "val_rmse"])
def test_of_scores_the_largest_is_the_best(monitor):
    from pylstm.losses.saved import larger_is_better

    class Best(pylstm.EarlyStopping):
        def end_epoch(self, training):
            training.logs[monitor] = values[training.epoch]
            self.state = training.model.state_dict() if training.epoch == 1 else getattr(self, "state", None)
            super().end_epoch(training)

    values = [0.2, 0.9, 0.4] if monitor != "val_rmse" else [0.9, 0.1, 0.4]
    model, best = net(C), Best(patience=5, monitor=monitor)
    model.fit(X, LABELS, loss="cross_entropy", epochs=3, callbacks=[best], verbose=0)
    assert all((model.params[name] == value).all() for name, value in best.state.items())
    assert larger_is_better(monitor) == (monitor != "val_rmse")


def counts(y, targets, lengths):  # noqa: ARG001
    return float(len(y))


def test_weighted_training_resumes_with_the_same_bits(tmp_path):
    options = {"loss": "cross_entropy", "sample_weight": TIMES, "validation_split": 0.25, "seed": 4, "verbose": 0,
               "metrics": ["auc"], "batch_size": 5}  # fmt: skip
    straight, resumed = net(C), net(C)
    history = straight.fit(X, LABELS, epochs=3, **options)
    keep = [pylstm.ModelCheckpoint(str(tmp_path / "m.npz"))]
    net(C).fit(X, LABELS, epochs=1, callbacks=keep, **options)
    found = resumed.fit(X, LABELS, epochs=3, callbacks=keep, resume=str(tmp_path / "m.npz"), **options)
    for name, value in straight.params.items():
        assert value.tobytes() == resumed.params[name].tobytes()
    np.testing.assert_equal(figures(found), figures(history))  # of an area that there is not, too


@pytest.mark.parametrize(("function", "loss"), [("sigmoid", "binary_cross_entropy"), ("softmax", "cross_entropy")])
def test_a_sigmoid_or_softmax_before_a_loss_of_logits_is_told(function, loss):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 3, 2)), rng.integers(0, 2, 8)
    inner = pylstm.Sequential([pylstm.Linear(4, 1 if function == "sigmoid" else 2), pylstm.Activation(function)])
    net = pylstm.Sequential([pylstm.LSTM(2, 4, batch_first=True), pylstm.LastStep(), inner], seed=0)
    with pytest.warns(UserWarning, match=f"ends in a sigmoid or softmax, and {loss} puts one around") as said:
        net.fit(x, y, loss=loss, verbose=0)
    assert said[0].filename == __file__


def test_a_split_of_windows_that_have_targets_in_common_is_refused():
    x, y = pylstm.windows(np.arange(60.0), 6, 4)
    net = pylstm.Sequential([pylstm.LSTM(1, 3, batch_first=True), pylstm.LastStep(), pylstm.Linear(3, 4)], seed=0)
    with pytest.raises(ValueError, match=r"numbers of y in both parts.*split\(0\.8\)"):
        net.fit(x, y, loss="mse", validation_split=0.2, verbose=0)
    apart = pylstm.windows(np.arange(60.0), 6, 4, stride=4)
    assert net.fit(apart.x, apart.y, loss="mse", validation_split=0.2, verbose=0)["val_loss"]
    turned = np.zeros((6, 20, 4)).transpose(1, 2, 0)[:, :, 0]  # rows that lie in each other, and have nothing in common
    assert net.fit(np.zeros((20, 5, 1)), turned, loss="mse", validation_split=0.2, verbose=0)["val_loss"]


def test_metrics_with_options_are_in_the_file(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 3, 2)), rng.standard_normal((12, 1))
    net = pylstm.Sequential([pylstm.LSTM(2, 4, batch_first=True), pylstm.LastStep(), pylstm.Linear(4, 1)], seed=0)
    net.fit(x, y, loss="mse", metrics=[pylstm.Huber(0.3), "mae", pylstm.QuantileLoss(0.9)], verbose=0)
    net.save(tmp_path / "m.npz")
    assert pylstm.load(tmp_path / "m.npz").evaluate(x, y) == net.evaluate(x, y)
