"""What fails in the middle of training, resuming or a step: everything is as it was, or as the last batch left it."""

from __future__ import annotations

import copy
import signal
import warnings

import numpy as np
import pytest

import pylstm
from pylstm import _arrays
from pylstm.training.block_optimizer import BlockOptimizer
from support.trainings import data, everything, net

pytestmark = pytest.mark.usefixtures("sigint_heard")
OPTIONS = {"loss": "mse", "batch_size": 8, "verbose": 0}


class Broken(pylstm.Callback):
    def __init__(self, where):
        self.where = where

    def begin(self, training):  # noqa: ARG002
        if self.where == "begin":
            raise RuntimeError("mine")

    def end_epoch(self, training):
        if self.where == training.epoch:
            raise RuntimeError("mine")

    def end(self, training):
        if self.where == "end":
            raise RuntimeError("mine")
        self.error = training.error


def broken(*args, **options):  # noqa: ARG001
    raise RuntimeError("mine")


FAILS = {
    "callback": {"callbacks": [Broken("begin")]},
    "monitor": {"callbacks": [pylstm.EarlyStopping()]},
    "checkpoint": {"callbacks": [pylstm.ModelCheckpoint("x.npz", best_only=True)]},
    "plateau": {"schedule": pylstm.ReduceOnPlateau()},
    "warm-up": {"schedule": pylstm.WarmUp(2, pylstm.ReduceOnPlateau())},
    "schedule": {"schedule": broken},
    "metric": {"metrics": [broken]},
    "loss": {"loss": broken},
    "targets": {"loss": "cross_entropy", "metrics": []},
    "clip": {"clip_norm": -1.0},
    "callbacks": {"callbacks": pylstm.EarlyStopping()},
    "resume": {"resume": "nowhere.npz"},
}


@pytest.mark.parametrize("case", FAILS)
def test_a_fit_that_fails_before_its_first_update_changes_nothing(case):
    model, optimizer = net(), pylstm.Adam()
    x, y = data()
    model.fit(x, y, optimizer=optimizer, metrics=[], seed=1, **OPTIONS)
    optimizer.lr = 0.25
    before = everything(model, optimizer)
    stop = pylstm.EarlyStopping(monitor="loss")
    stop.best_epoch = 7
    mine = {**OPTIONS, "optimizer": optimizer, "seed": 2, "schedule": pylstm.StepLR(1), **FAILS[case]}
    if isinstance(mine.get("callbacks", []), list):
        mine["callbacks"] = [stop, *mine.get("callbacks", [])]
    with pytest.raises((RuntimeError, ValueError, TypeError, OSError)):
        model.fit(x, y, **mine)
    assert everything(model, optimizer) == before
    assert stop.best_epoch == 7


def test_a_resume_that_fails_changes_nothing(tmp_path):
    x, y = data()
    path = tmp_path / "c.npz"
    net().fit(x, y, optimizer=pylstm.Adam(), callbacks=[pylstm.ModelCheckpoint(path)], seed=1, **OPTIONS)

    class Refuses(pylstm.ModelCheckpoint):
        def load_state_dict(self, state):  # noqa: ARG002
            raise RuntimeError("mine")

    Refuses.__name__ = "ModelCheckpoint"
    for keep, schedule in [(Refuses(path), None), (pylstm.ModelCheckpoint(path), pylstm.ReduceOnPlateau())]:
        model, optimizer = net(5), pylstm.Adam(0.3)
        model.fit(x, y, optimizer=optimizer, seed=3, **OPTIONS)
        before = everything(model, optimizer)
        with pytest.raises((RuntimeError, ValueError)):
            model.fit(x, y, optimizer=optimizer, callbacks=[keep], schedule=schedule, resume=path, epochs=3, seed=4,
                      **OPTIONS)  # fmt: skip
        assert everything(model, optimizer) == before


def test_a_resume_behind_the_end_of_early_stopping_trains_no_more(tmp_path):
    x, y = data()
    model = net()
    keep = [pylstm.EarlyStopping(1, "lr"), pylstm.ModelCheckpoint(tmp_path / "c.npz")]  # the first epoch is the best
    history = model.fit(x, y, optimizer=pylstm.Adam(), callbacks=keep, epochs=9, seed=1, **OPTIONS)
    assert len(history["loss"]) == 2
    again = net(5)
    keep = [pylstm.EarlyStopping(1, "lr"), pylstm.ModelCheckpoint(tmp_path / "c.npz")]
    resumed = again.fit(x, y, optimizer=pylstm.Adam(), callbacks=keep, epochs=9, resume=tmp_path / "c.npz", **OPTIONS)
    assert resumed == history
    np.testing.assert_equal(again.state_dict(), model.state_dict())


def test_a_resume_behind_the_last_epoch_whose_end_fails_changes_nothing(tmp_path):
    class Fails(pylstm.ModelCheckpoint):
        def end(self, training):  # noqa: ARG002
            raise RuntimeError("mine")

    Fails.__name__ = "ModelCheckpoint"
    x, y = data()
    path = tmp_path / "c.npz"
    net().fit(x, y, optimizer=pylstm.Adam(), callbacks=[pylstm.ModelCheckpoint(path)], epochs=2, seed=1, **OPTIONS)
    model, optimizer = net(5), pylstm.Adam(0.3)
    before = everything(model, optimizer)
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(x, y, optimizer=optimizer, callbacks=[Fails(path)], resume=path, epochs=2, **OPTIONS)
    assert everything(model, optimizer) == before


def test_an_optimizer_with_a_step_of_its_own_is_known_to_have_stepped():
    class Own(pylstm.SGD):
        def step(self, layers, grads, **options):  # noqa: ARG002
            layers.load_state_dict({name: value * 0.5 for name, value in layers.params.items()})

    x, y = data()
    model, fails = net(), Broken(0)
    before = model._dropout_state()
    with pytest.raises(RuntimeError, match="mine") as caught:
        model.fit(x, y, optimizer=Own(), callbacks=[fails], seed=1, **OPTIONS)
    assert fails.error is caught.value  # the end was told, and nothing undone but in the middle of training
    assert model._dropout_state() != before


def in_the_middle(model, name, error):
    """Makes the n-th call of a layer's forward raise."""
    layer = model.layers[2]
    right = layer.forward
    calls = [0]

    def forward(*args, **options):
        calls[0] += 1
        if calls[0] == name:
            raise error
        return right(*args, **options)

    layer.forward = forward


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), RuntimeError()], ids=lambda e: type(e).__name__)
def test_a_failure_in_a_batch_leaves_what_the_batch_before_left(error):
    x, y = data()
    twin, other = net(), pylstm.Adam()
    seen = []

    def look(*_):
        seen.append(everything(twin, other))
        return 1.0

    twin.fit(x, y, optimizer=other, seed=1, shuffle=False, schedule=look, **OPTIONS)
    model, optimizer = net(), pylstm.Adam()
    in_the_middle(model, 3, error)
    with pytest.raises(type(error)):
        model.fit(x, y, optimizer=optimizer, seed=1, shuffle=False, **OPTIONS)
    now = everything(model, optimizer)
    assert all(now[part] == seen[2][part] for part in ("params", "slots", "steps", "lr", "masks"))


@pytest.mark.parametrize("where", ["callback", "metric", "twice Ctrl-C"])
def test_the_best_weights_are_restored_when_an_exception_ends_training(where):
    x, y = data()
    model, weights = net(), []
    stop = pylstm.EarlyStopping(monitor="fig")
    last = Broken(3 if where == "callback" else None)

    def fig(*_):
        if where != "callback" and len(weights) == 3:
            if where == "metric":
                raise RuntimeError("mine")
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return [3.0, 1.0, 2.0, 4.0][len(weights)]

    def keep(epoch, logs):  # noqa: ARG001
        weights.append(model.state_dict())

    with pytest.raises((RuntimeError, KeyboardInterrupt)) as caught:
        model.fit(x, y, optimizer=pylstm.SGD(0.1), callbacks=[keep, stop, last], metrics=[fig], epochs=5, **OPTIONS)
    np.testing.assert_equal(model.state_dict(), weights[1])
    assert last.error is caught.value


def test_every_callback_ends_though_one_fails():
    model, weights = net(), []
    stop = pylstm.EarlyStopping(monitor="lr")  # the first is the best
    keep = lambda epoch, logs: weights.append(model.state_dict())  # noqa: ARG005, E731
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(*data(), optimizer=pylstm.SGD(0.1), callbacks=[keep, Broken("end"), stop], epochs=3, **OPTIONS)
    np.testing.assert_equal(model.state_dict(), weights[0])


def test_the_first_error_is_heard_where_warnings_are_errors():
    fails = [Broken("end"), Broken(1)]  # one error in the end, and before it one behind an epoch
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError, match="mine"):  # not the warning about the second one
            net().fit(*data(), optimizer=pylstm.SGD(0.1), callbacks=fails, epochs=3, **OPTIONS)


# ---- a step ----------------------------------------------------------------------------------------------------------


def layers_and_grads(dtype="float32"):
    layers = {"table": pylstm.Embedding(9, 3, seed=0, dtype=dtype), "linear": pylstm.Linear(3, 2, seed=1, dtype=dtype)}
    rows = pylstm.RowGradient(np.array([1, 4]), np.full((2, 3), 0.5, dtype), (9, 3))
    grads = {"table": {"weight": rows}, "linear": {"weight": np.ones((2, 3), dtype), "bias": np.ones(2, dtype)}}
    return layers, grads


def rows(indices, values, shape=(9, 3)):
    return {"table": {"weight": pylstm.RowGradient(indices, values, shape)}}


ONES = np.ones((2, 3), "f")
BAD_GRADS = {
    "shape": {"linear": {"weight": np.ones((2, 3)), "bias": np.ones(3)}},
    "broadcast": {"linear": [{"weight": np.ones((2, 3))}, {"weight": np.ones(3)}]},
    "name": {"linear": {"weight": np.ones((2, 3)), "bias": np.ones(2), "bias2": np.ones(2)}},
    "None under a strange name": {"linear": {"bias2": None}},
    "dtype": {"linear": {"weight": np.ones((2, 3)), "bias": np.array(["a", "b"])}},
    "complex": {"linear": {"bias": np.ones(2) + 1j}},
    "ragged": {"linear": {"bias": [[1], [1, 2]]}},
    "masked": {"linear": {"bias": np.ma.masked_array(np.ones(2), [True, False])}},
    "no mapping": {"linear": np.ones(2)},
    "layer": {"other": {}},
    "rows out of range": rows(np.array([1, 9]), ONES),
    "negative rows": rows(np.array([-1, 2]), ONES),
    "rows twice": rows(np.array([2, 2]), ONES),
    "rows of floats": rows(np.array([1.0, 2.0]), ONES),
    "rows no array": rows([1, 2], ONES),
    "values": rows(np.array([1]), ONES),
    "table": rows(np.array([1, 2]), ONES, (8, 3)),
}


@pytest.mark.parametrize("case", BAD_GRADS)
@pytest.mark.parametrize("kind", [pylstm.SGD, pylstm.Adam], ids=lambda k: k.__name__)
def test_gradients_that_do_not_fit_change_nothing(case, kind):
    layers, grads = layers_and_grads()
    optimizer = kind(0.1)
    optimizer.step(layers, grads)
    before = [layer.state_dict() for layer in layers.values()], optimizer.state_dict()
    bad = BAD_GRADS[case]
    with pytest.raises((TypeError, ValueError), match=r"grad|parameter|table") as caught:
        optimizer.step(layers, {**grads, **bad} if case != "layer" else {**grads, "other": {}})
    assert str(caught.value)
    np.testing.assert_equal(([layer.state_dict() for layer in layers.values()], optimizer.state_dict()), before)


def test_the_state_of_another_model_changes_nothing():
    layers, grads = layers_and_grads()
    optimizer = pylstm.Adam()
    optimizer.step({"linear": layers["linear"]}, {"linear": grads["linear"]})
    wide, wide_grads = layers_and_grads("float64")
    before = [layer.state_dict() for layer in wide.values()], optimizer.state_dict()
    with pytest.raises(ValueError, match=r"state of linear\.weight is of another shape or dtype"):
        optimizer.step(wide, wide_grads)
    np.testing.assert_equal(([layer.state_dict() for layer in wide.values()], optimizer.state_dict()), before)
    optimizer.lr = float("nan")
    with pytest.raises(ValueError, match="lr must be finite"):
        optimizer.step(layers, grads)


def test_out_of_memory_before_the_first_write(monkeypatch):
    """What a step needs is made beforehand: here the slots of the second parameter do not fit."""
    for kind in (pylstm.Adam, pylstm.RMSprop, pylstm.SGD):
        layers, grads = layers_and_grads()
        optimizer = kind(0.1)
        before = [layer.state_dict() for layer in layers.values()], optimizer.state_dict()
        calls = [0]
        right = kind._dense

        def scarce(self, *args, right=right, calls=calls):
            calls[0] += 1
            if calls[0] == 2:
                raise MemoryError
            return right(self, *args)

        monkeypatch.setattr(kind, "_dense", scarce)
        with pytest.raises(MemoryError):
            optimizer.step(layers, grads)
        monkeypatch.undo()
        np.testing.assert_equal(([layer.state_dict() for layer in layers.values()], optimizer.state_dict()), before)


def test_ctrl_c_waits_for_the_end_of_a_step():
    class Slow(BlockOptimizer):
        def _update(self, p, g, slots, a, step):  # noqa: ARG002
            signal.raise_signal(signal.SIGINT)
            p -= g

    layers, grads = layers_and_grads()
    twins, _ = layers_and_grads()
    pylstm.SGD(1.0).step(twins, grads)
    optimizer = Slow(1.0)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(layers, grads)
    for layer, twin in zip(layers.values(), twins.values(), strict=True):
        np.testing.assert_equal(layer.state_dict(), twin.state_dict())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_state_that_does_not_fit_changes_nothing():
    layers, grads = layers_and_grads()
    optimizer = pylstm.Adam()
    optimizer.step(layers, grads)
    before = optimizer.state_dict()
    for bad in (
        None, {}, {**before, "type": "SGD"}, {**before, "lr": "x"}, {**before, "lr": float("nan")},
        {**before, "steps": 3}, {**before, "steps": {"linear.weight": -1}}, {**before, "steps": {"linear.weight": 1.5}},
        {**before, "slots": {}}, {**before, "slots": dict.fromkeys(before["slots"], 3)},
        {**before, "slots": {name: {"mean": "x", "square": "y"} for name in before["slots"]}},
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match="state"):
            optimizer.load_state_dict(bad)
        np.testing.assert_equal(optimizer.state_dict(), before)


# ---- one object at two places ----------------------------------------------------------------------------------------


def test_one_object_at_two_places_is_refused():
    lstm, linear, drop = pylstm.LSTM(4, 4, batch_first=True), pylstm.Linear(4, 4), pylstm.Dropout()
    table = pylstm.Embedding(5, 4)
    inner = pylstm.Residual([linear])
    for layers, places in [
        ([lstm, lstm], r"layers\[0\] and layers\[1\] are the same LSTM object"),
        ([lstm, pylstm.Residual([drop, lstm])], r"layers\[0\] and layers\[1\].layers\[1\] are the same LSTM"),
        ([inner, pylstm.Activation("tanh"), inner], r"layers\[0\].layers\[0\] and layers\[2\].layers\[0\] .* Linear"),
        ([drop, linear, drop], "Dropout"),
        ([pylstm.Sequential([lstm]), pylstm.Residual([pylstm.Sequential([lstm])])], "LSTM"),
    ]:
        with pytest.raises(ValueError, match=places):
            pylstm.Sequential(layers)
    with pytest.raises(ValueError, match="Embedding"):
        pylstm.Columns([table, table])
    with pytest.raises(ValueError, match=r"layers\['a'\] and layers\['b'\].layers\[0\] are the same Linear"):
        pylstm.SGD().step({"a": linear, "b": pylstm.Sequential([linear])}, {})
    tanh = pylstm.Activation("tanh")
    model = pylstm.Sequential([lstm, tanh, copy.deepcopy(lstm), tanh, linear])  # without a state: may be shared
    assert model.num_parameters == 2 * lstm.num_parameters + linear.num_parameters


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_parameters_that_cannot_all_be_loaded_change_none(monkeypatch, error):
    def made(seed):
        inner = pylstm.Sequential([pylstm.GRU(3, 4, batch_first=True), pylstm.LastStep()])
        return pylstm.Sequential([pylstm.Embedding(6, 3), inner, pylstm.Linear(4, 2)], seed=seed)

    frozen, new = _arrays.frozen, made(1).state_dict()
    for last in range(20):
        model, left = made(0), last
        before = model.state_dict()

        def fail(array):
            nonlocal left
            left -= 1
            if left < 0:
                raise error
            return frozen(array)

        with monkeypatch.context() as patch:
            patch.setattr(_arrays, "frozen", fail)
            try:
                model.load_state_dict(new)
            except error:
                pass
            else:
                break
        assert all(np.array_equal(value, before[name]) for name, value in model.params.items())
    assert last > 4
    assert all(np.array_equal(value, new[name]) for name, value in model.params.items())
