"""fit, evaluate, predict: they learn, and what their options do; callbacks, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import threading

import numpy as np
import pytest

import pylstm
from support.fits import fit, model, same_bits, sequences

# ---- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_step", [False, True], ids=["sequence", "step"])
def test_it_learns(per_step):
    x, labels, tags = sequences(300)
    y = tags if per_step else labels
    net = model(per_step=per_step, dropout=0.1)
    start = net.evaluate(x, y, loss="cross_entropy" if per_step else "binary_cross_entropy")
    history = fit(net, x, y, per_step, epochs=12, validation_data=(x[:50], y[:50]), clip_norm=1.0)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    end = net.evaluate(x, y)
    assert end["accuracy"] > max(0.9, start["accuracy"] + 0.1)
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"}
    assert all(len(values) == 12 for values in history.values())
    assert history["val_loss"][-1] == pytest.approx(net.evaluate(x[:50], y[:50])["loss"], rel=1e-6)


def test_regression_with_mse():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6, 3)).astype(np.float32)
    y = x.sum(axis=(1, 2))[:, None]
    net = pylstm.Sequential([pylstm.GRU(3, 12, batch_first=True), pylstm.LastStep(), pylstm.Linear(12, 1)], seed=0)
    history = net.fit(x, y, loss=pylstm.mse, optimizer=pylstm.Adam(2e-2), epochs=15, seed=0, verbose=0)
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert "accuracy" not in history


def test_a_loss_and_a_metric_of_ones_own():
    def loss(y, targets, *, lengths):
        assert lengths is None
        return pylstm.mse(y, targets)

    def largest_error(y, targets, lengths):  # noqa: ARG001
        return np.abs(y - targets).max()

    x, _, _ = sequences(40)
    y = np.array([[len(s)] for s in x], np.float32)
    net = model(dropout=0.0)
    adam = pylstm.Adam(1e-2)
    history = net.fit(x, y, loss=loss, optimizer=adam, epochs=4, metrics=[largest_error], verbose=0, seed=0)
    assert history["largest_error"][-1] < history["largest_error"][0]
    assert net.evaluate(x, y)["loss"] == pytest.approx(float(((net.predict(x) - y) ** 2).mean()), rel=1e-4)


# ---- options ---------------------------------------------------------------------------------------------------------


def test_truncated_training_carries_the_state():
    """With a learning rate of 0 the chunks' losses are those of the whole sequence; gradients end at chunks."""
    x, _, tags = sequences()
    net = model(per_step=True, dropout=0.0)
    whole = fit(net, x, tags, True, optimizer=pylstm.SGD(0.0), epochs=1)
    cut = fit(net, x, tags, True, optimizer=pylstm.SGD(0.0), epochs=1, truncate=2)
    assert cut["loss"][0] == pytest.approx(whole["loss"][0], rel=1e-5)
    assert cut["accuracy"] == whole["accuracy"]
    one, other = model(per_step=True), model(per_step=True)
    fit(one, x, tags, True, truncate=3)
    fit(other, x, tags, True)
    assert not same_bits(one, other)
    with pytest.raises(ValueError, match="both ends"):
        fit(model(per_step=True, bidirectional=True), x, tags, True, truncate=3)


def test_class_weights():
    x = np.full((200, 4), 3)  # nothing to go by: the best guess is how often each class counts
    y = (np.random.default_rng(0).uniform(size=200) < 0.1).astype(int)
    rates = {}
    for weight in (None, "balanced", {0: 1.0, 1: 50.0}):
        net = model(dropout=0.0)
        fit(net, x, y, epochs=30, batch_size=200, class_weight=weight, optimizer=pylstm.Adam(0.03))
        rates[str(weight)] = float(net.predict(x, activation="sigmoid").mean())
    assert rates["None"] == pytest.approx(y.mean(), abs=0.05)
    assert rates["balanced"] == pytest.approx(0.5, abs=0.05)
    odds = 50 * y.mean() / (1 - y.mean())
    assert rates[str({0: 1.0, 1: 50.0})] == pytest.approx(odds / (1 + odds), abs=0.05)


def test_early_stopping_restores_the_best_weights():
    x, y, _ = sequences(60)
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 2, 60)  # what cannot be learned: validation gets worse
    seen = []
    net = model(dropout=0.0)
    stopping = pylstm.EarlyStopping(patience=3)

    def remember(epoch, logs):
        seen.append((logs["val_loss"], net.state_dict()))
        assert epoch == len(seen) - 1

    history = fit(net, x, y, epochs=60, validation_data=(x, noise), callbacks=[remember, stopping],
                  optimizer=pylstm.Adam(3e-2))  # fmt: skip
    best = int(np.argmin(history["val_loss"]))
    assert len(seen) < 60
    assert len(seen) - 1 - best == 3
    assert stopping.best_epoch == best
    for name, value in seen[best][1].items():
        np.testing.assert_array_equal(net.params[name], value)


def test_a_function_ends_training():
    x, y, _ = sequences(30)
    history = fit(model(), x, y, epochs=10, callbacks=[lambda epoch, _: epoch == 2])
    assert len(history["loss"]) == 3


def test_checkpoints_of_the_best(tmp_path):
    x, y, _ = sequences(60)
    rng = np.random.default_rng(0)
    keep = pylstm.ModelCheckpoint(tmp_path / "m-{epoch}.npz", best_only=True)
    history = fit(model(), x, y, epochs=8, validation_data=(x, rng.integers(0, 2, 60)), callbacks=[keep],
                  optimizer=pylstm.Adam(3e-2))  # fmt: skip
    values = history["val_loss"]
    want = [f"m-{i + 1}.npz" for i, value in enumerate(values) if value < min(values[:i], default=np.inf)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(want)
    assert len(want) < 8


def test_schedule_changes_the_rate_and_leaves_the_optimizer_as_it_was():
    x, y, _ = sequences(30)
    optimizer = pylstm.SGD(0.5)
    history = fit(model(), x, y, epochs=4, schedule=pylstm.StepLR(2, 0.1), optimizer=optimizer)
    np.testing.assert_allclose(history["lr"], [0.5, 0.5, 0.05, 0.05])
    assert optimizer.lr == 0.5
    history = fit(model(), x, y, epochs=2, schedule=lambda epoch, _, __: 1 / (1 + epoch), optimizer=optimizer)
    np.testing.assert_allclose(history["lr"], [0.5, 0.25])


def test_a_loss_that_is_not_finite_leaves_the_model_alone():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, 3, 2)).astype(np.float32)
    net = pylstm.Sequential([pylstm.GRU(2, 3, batch_first=True), pylstm.LastStep(), pylstm.Linear(3, 1)], seed=0)
    before = net.state_dict()
    x[3, 1, 0] = np.nan
    with pytest.raises(FloatingPointError, match="epoch 1"):
        net.fit(x, np.zeros(16), loss="mse", optimizer=pylstm.SGD(), verbose=0, check_finite=False)
    for name, value in before.items():
        np.testing.assert_array_equal(net.params[name], value)


@pytest.mark.usefixtures("sigint_heard")
def test_ctrl_c_ends_at_a_batch_and_the_model_is_usable():
    x, y, _ = sequences(200)
    net = model()
    calls = []

    def loss(output, targets, *, lengths):  # noqa: ARG001
        calls.append(1)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return pylstm.binary_cross_entropy(output, targets)

    before = signal.getsignal(signal.SIGINT)
    history = net.fit(x, y, loss=loss, optimizer=pylstm.Adam(), batch_size=10, epochs=5, verbose=0)
    assert len(calls) == 5  # that batch was finished, and no other begun
    assert history == {}
    assert signal.getsignal(signal.SIGINT) is before
    assert np.isfinite(net.predict(x)).all()
    later = net.fit(x, y, loss="binary_cross_entropy", optimizer=pylstm.Adam(), epochs=1, verbose=0)
    assert len(later["loss"]) == 1


def test_fit_in_another_thread():
    x, y, _ = sequences(30)
    nets = [model(), model()]
    thread = threading.Thread(target=fit, args=(nets[0], x, y))
    thread.start()
    thread.join()
    fit(nets[1], x, y)
    assert same_bits(*nets)


def test_what_is_printed(capsys):
    x, y, _ = sequences(30)
    fit(model(), x, y, verbose=0)
    assert capsys.readouterr() == ("", "")
    history = fit(model(), x, y, verbose=1, epochs=2, validation_data=(x, y))
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2")
    assert f"val_loss {history['val_loss'][1]:.4f}" in lines[1]
    json.dumps(history)  # plain numbers
