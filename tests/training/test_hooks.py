# ruff: noqa: ARG002, ARG005 - callbacks and functions as users write them
"""What callbacks are told batch by batch, and those of other libraries; schedules as plain functions."""

from __future__ import annotations

import copy
import functools
import itertools

import numpy as np
import pytest

import pylstm
from pylstm.training.callbacks import callback_list
from support.fits import fit, model, same_bits, sequences

# ---- a hook per batch ------------------------------------------------------------------------------------------------


class Notes(pylstm.Callback):
    def __init__(self):
        self.found = []

    def end_batch(self, training):
        state = training.epoch, training.batch, training.batches, training.epochs
        self.found.append((*state, training.batch_logs["loss"], training.batch_logs["lr"], training.model.state_dict()))


def test_a_callback_hears_of_every_update():
    x, y, _ = sequences(count=40)
    notes, net = Notes(), model()
    history = fit(net, x, y, epochs=2, callbacks=[notes], schedule=pylstm.StepLR(1, 0.5))
    assert [note[:4] for note in notes.found] == [(e, b, 3, 2) for e in range(2) for b in range(3)]
    assert [note[5] for note in notes.found] == [1e-2] * 3 + [5e-3] * 3
    weights = [note[6] for note in notes.found]
    assert all((one["4.bias"] != two["4.bias"]).any() for one, two in itertools.pairwise(weights))
    assert weights[-1]["4.bias"].tobytes() == net.params["4.bias"].tobytes()
    losses = np.array([note[4] for note in notes.found]).reshape(2, 3)
    assert losses.min(axis=1).tolist() <= history["loss"] <= losses.max(axis=1).tolist()
    other = model()
    fit(other, x, y, epochs=2, schedule=pylstm.StepLR(1, 0.5))
    assert same_bits(net, other)


def test_each_piece_of_long_sequences_is_an_update():
    x, _, y = sequences(count=20)
    notes = Notes()
    fit(model(per_step=True), x, y, per_step=True, epochs=1, truncate=3, callbacks=[notes], batch_size=20)
    assert len(notes.found) == -(-max(map(len, x)) // 3)


def test_a_hook_of_an_object_counts_and_wrong_ones_are_refused_before_training():
    x, y, _ = sequences()
    calls, callback, net = [], pylstm.Callback(), model()
    callback.end_batch = lambda training: calls.append(training.batch)
    fit(net, x, y, epochs=1, callbacks=[callback])
    assert calls == list(range(6))

    class Wrong(pylstm.Callback):
        def end_batch(self, batch, logs):
            raise AssertionError

    before = net.state_dict()
    with pytest.raises(TypeError, match=r"Wrong.end_batch is called with \(training\), and takes \(batch, logs\)"):
        fit(net, x, y, callbacks=[Wrong()])
    assert all(value.tobytes() == before[name].tobytes() for name, value in net.params.items())


def test_an_error_in_a_hook_ends_training_behind_the_update():
    x, y, _ = sequences()

    class Fails(pylstm.Callback):
        def end_batch(self, training):
            if training.batch == 2:
                raise KeyError("mine")

    net, other, notes = model(), model(), Notes()
    with pytest.raises(KeyError, match="mine"):
        fit(net, x, y, callbacks=[Fails()])
    fit(other, x, y, callbacks=[notes], epochs=1)
    assert notes.found[2][6]["4.bias"].tobytes() == net.params["4.bias"].tobytes()


# ---- callbacks of other libraries ------------------------------------------------------------------------------------


class Bare:
    def on_epoch_end(self, epoch, logs=None):
        raise AssertionError


class Derived(pylstm.Callback):
    def on_train_begin(self, logs=None):
        raise AssertionError

    def on_batch_end(self, batch, logs=None):
        raise AssertionError


class Called(Bare):
    def __call__(self, epoch, logs):
        raise AssertionError


class Begins:
    def on_epoch_begin(self, epoch, logs=None):
        raise AssertionError


@pytest.mark.parametrize(("callback", "message"), [
    (Bare(), r"Bare has the methods of another .* pylstm.Callback: on_epoch_end becomes end_epoch\(self, training\)"),
    (Bare, "Bare has the methods of another library's callbacks"),
    (Derived(), r"on_train_begin becomes begin\(self, training\); on_batch_end becomes end_batch\(self, training\)"),
    (Called(), r"on_epoch_end becomes end_epoch\(self, training\)"),
    (Begins(), "on_epoch_begin has no other"),
], ids=["plain", "class", "derived", "callable", "begin"])  # fmt: skip
def test_callbacks_of_other_libraries_are_told_what_to_do(callback, message):
    x, y, _ = sequences()
    net = model()
    before = net.state_dict()
    with pytest.raises(TypeError, match=message):
        fit(net, x, y, callbacks=[callback])
    assert all(value.tobytes() == before[name].tobytes() for name, value in net.params.items())


def test_what_a_base_of_another_library_has_is_not_listed():
    base = type("Callback", (), {name: lambda self, *_: None for name in ("on_train_begin", "on_train_end")})
    base.__module__ = "keras.src.callbacks.callback"
    mine = type("Mine", (base,), {"on_epoch_end": lambda self, epoch, logs=None: None})
    x, y, _ = sequences()
    with pytest.raises(TypeError, match="Mine has the methods") as said:
        fit(model(), x, y, callbacks=[mine()])
    assert "on_train_end" not in str(said.value)


def test_two_metrics_of_one_name_are_refused_before_training():
    x, y, _ = sequences()
    net = model()
    before = net.state_dict()
    for two in (["accuracy"] * 2, [lambda *_: 0.0, lambda *_: 1.0]):
        with pytest.raises(ValueError, match="metrics holds two that are named"):
            fit(net, x, y, metrics=two)
    assert all(value.tobytes() == before[name].tobytes() for name, value in net.params.items())


# ---- schedules as plain functions ------------------------------------------------------------------------------------


class OfStep:
    def __call__(self, step):
        return 1.0 / (1 + step)


@pytest.mark.parametrize(("schedule", "twin"), [
    (lambda epoch: 0.5**epoch, lambda epoch, _, __: 0.5**epoch),
    (lambda epoch, base=0.5: base**epoch, lambda epoch, _, __: 0.5**epoch),
    (lambda step: 0.9**step, lambda epoch, batch, batches: 0.9 ** (epoch * batches + batch)),
    (OfStep(), lambda epoch, batch, batches: 1.0 / (1 + epoch * batches + batch)),
    (functools.partial(lambda base, step: base**step, 0.9), lambda epoch, batch, n: 0.9 ** (epoch * n + batch)),
    (lambda *three: 1.0 / (1 + sum(three)), lambda epoch, batch, batches: 1.0 / (1 + epoch + batch + batches)),
    (pylstm.WarmUp(1, lambda step: 0.9**step), pylstm.WarmUp(1, lambda e, b, n: 0.9 ** (e * n + b))),
], ids=["epoch", "default", "step", "object", "partial", "all", "warm-up"])  # fmt: skip
def test_functions_of_the_epoch_and_of_the_step(schedule, twin):
    x, y, _ = sequences()
    nets, rates = [], []
    for one in (schedule, twin):
        notes = Notes()
        nets.append(model())
        fit(nets[-1], x, y, epochs=3, schedule=one, callbacks=[notes])
        rates.append([note[5] for note in notes.found])
    assert rates[0] == rates[1]
    assert len(set(rates[0])) > 2
    assert same_bits(*nets)


def test_a_function_follows_torch():
    torch = pytest.importorskip("torch")
    x, y, _ = sequences(count=48)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    theirs = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.95**step)
    notes = Notes()
    fit(model(), x, y, epochs=2, schedule=lambda step: 0.95**step, callbacks=[notes])
    for note in notes.found:
        assert note[5] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("wrong", [lambda rate: rate, lambda epoch, lr: lr, lambda: 1.0, lambda *, epoch: epoch])
def test_functions_of_anything_else_are_refused_before_training(wrong):
    x, y, _ = sequences()
    with pytest.raises(TypeError, match=r"is called with \(epoch, batch, batches\).*or write it as .*\(epoch\)"):
        fit(model(), x, y, schedule=wrong)


def test_a_checkpoint_in_the_middle_of_an_epoch_is_refused(tmp_path):
    class Saves(pylstm.Callback):
        def end_batch(self, training):
            training.save(tmp_path / "c.npz")

    x = np.random.default_rng(0).standard_normal((8, 3, 2))
    net = pylstm.Sequential([pylstm.LSTM(2, 3, batch_first=True), pylstm.LastStep(), pylstm.Linear(3, 1)], seed=0)
    with pytest.raises(ValueError, match=r"a checkpoint is of the end of an epoch.*training\.model\.save"):
        net.fit(x, x[:, 0, :1], loss="mse", callbacks=[Saves()], verbose=0)
    assert not list(tmp_path.iterdir())


def test_averages_are_called_first_and_checkpoints_last_whatever_is_derived_from_them():
    class Mine(pylstm.ModelCheckpoint):
        """Somebody's own."""

    class Average(pylstm.EMA):
        """Somebody's own."""

    given = [Mine("m.npz"), pylstm.EarlyStopping(), pylstm.ModelCheckpoint("n.npz"), pylstm.Callback(), Average(0.5)]
    assert [type(one).__name__ for one in callback_list(given)] == [
        "Average", "EarlyStopping", "Callback", "Mine", "ModelCheckpoint"
    ]  # fmt: skip


# ---- training within training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["begin", "end_batch", "end_epoch", "end", "function"])
def test_fit_within_the_models_own_fit_is_refused(hook):
    x, y, _ = sequences(count=40)
    asked, errors = iter([x[:5]]), []
    net, plain, other = model(), model(), model(seed=3)
    fit(plain, x, y, epochs=2)
    before = other.state_dict()

    def again(*_):
        with pytest.raises(RuntimeError, match="this model is in the middle of fit"):
            fit(net, asked, None)
        errors.append(hook)
        if len(errors) == 1:
            fit(other, x, y, epochs=1)
            fit(copy.deepcopy(net), x, y, epochs=1)
            net.find_learning_rate(x, y, loss="binary_cross_entropy", steps=10)

    callback = pylstm.Callback()
    if hook == "function":
        callback = again
    else:
        setattr(callback, hook, again)
    fit(net, x, y, epochs=2, callbacks=[callback])
    assert errors
    assert len(list(asked)) == 1  # nothing was taken of it
    assert same_bits(net, plain)
    assert any((value != before[name]).any() for name, value in other.params.items())
    fit(net, x, y, epochs=1)  # it is over


def test_a_fit_that_ends_in_an_error_is_over():
    x, y, _ = sequences(count=40)
    net = model()

    def fail(*_):
        raise KeyError("mine")

    with pytest.raises(KeyError):
        fit(net, x, y, callbacks=[fail])
    fit(net, x, y, epochs=1)
