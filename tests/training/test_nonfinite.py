"""NaN, infinity and overflow in training: an error, and nothing has changed; what is not finite is never the best."""

from __future__ import annotations

import math

import numpy as np
import pytest

import pylstm
from pylstm.training import gradients, schedules
from support.trainings import data, everything, net


def own_loss(bad_gradient, at):
    calls = [0]

    def loss(y, targets, lengths=None):  # noqa: ARG001
        calls[0] += 1
        d = (y - targets) / len(y)
        return float(np.mean((y - targets) ** 2)), np.full_like(d, bad_gradient) if calls[0] == at else d

    return loss


@pytest.mark.parametrize("kind", [pylstm.SGD, pylstm.Adagrad, pylstm.RMSprop, pylstm.Adam], ids=lambda k: k.__name__)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("clip", [{}, {"clip_norm": 1.0}, {"clip_value": 1.0}], ids=str)
def test_a_gradient_that_is_not_finite(kind, bad, clip):
    x, y = data()
    options = {"batch_size": 8, "verbose": 0, "shuffle": False, "seed": 3, **clip}
    twin, other = net(), kind(0.01)
    twin.fit(x[:8], y[:8], loss="mse", optimizer=other, **options)
    model, optimizer = net(), kind(0.01)
    with pytest.raises(FloatingPointError, match="finite"):
        model.fit(x, y, loss=own_loss(bad, 2), optimizer=optimizer, **options)
    masks, right = (everything(*each)["masks"] for each in ((model, optimizer), (twin, other)))
    assert masks == right  # those of the batch that failed are taken back
    assert all(np.isfinite(value).all() for value in model.params.values())
    assert set(optimizer.state_dict()["steps"].values()) == {1}


def test_a_failed_first_batch_is_as_no_fit():
    model, optimizer = net(), pylstm.Adam()
    before = everything(model, optimizer)
    x, y = data()
    with pytest.raises(FloatingPointError):
        model.fit(x, y, loss=own_loss(math.nan, 1), optimizer=optimizer, batch_size=8, seed=5, verbose=0)
    assert everything(model, optimizer) == before


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_by_hand(bad):
    table, linear, optimizer = pylstm.Embedding(9, 3, seed=0), pylstm.Linear(3, 2, seed=1), pylstm.Adam()
    layers = {"table": table, "linear": linear}
    good = {"weight": np.ones((2, 3), "f"), "bias": np.ones(2, "f")}
    rows = pylstm.RowGradient(np.array([1, 4]), np.full((2, 3), 0.5, "f"), (9, 3))
    optimizer.step(layers, {"table": {"weight": rows}, "linear": good})
    before = [layer.state_dict() for layer in layers.values()], optimizer.state_dict()
    for grads in (
        {"table": {"weight": rows}, "linear": {**good, "bias": np.array([1, bad], "f")}},
        {"table": {"weight": rows * bad}, "linear": good},
    ):
        with pytest.raises(FloatingPointError, match="nothing was updated"):
            optimizer.step(layers, grads)
    np.testing.assert_equal(([layer.state_dict() for layer in layers.values()], optimizer.state_dict()), before)


def test_finite_gradients_whose_sum_or_squares_overflow_are_no_false_alarm():
    linear, optimizer = pylstm.Linear(40, 50, seed=0), pylstm.SGD(1e-36)
    grads = {"weight": np.full((50, 40), 3e38, "f")}
    optimizer.step(linear, grads)
    optimizer.step(linear, grads, clip_norm=1.0)
    assert all(np.isfinite(value).all() for value in linear.params.values())
    double = pylstm.Linear(40, 50, seed=0, dtype="float64")
    optimizer.step(double, {"weight": np.full((50, 40), 1.7e308)}, clip_norm=1.0)  # no float is this norm


def test_a_gradient_too_large_for_the_parameters():
    linear, optimizer = pylstm.Linear(2, 2, seed=0), pylstm.SGD()
    before = linear.state_dict()
    with pytest.raises(FloatingPointError, match="not finite in float32"):
        optimizer.step(linear, {"weight": np.full((2, 2), 1e300)})
    np.testing.assert_equal(linear.state_dict(), before)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "bool", "float16", "float32", "float64"])
def test_norms_of_every_real_dtype(dtype):
    rng = np.random.default_rng(0)
    values = [rng.integers(0, 2 if dtype == "bool" else 120, shape).astype(dtype) for shape in [(30, 20), (7,)]]
    expected = math.sqrt(sum(float(np.sum(v.astype(float) ** 2)) for v in values))
    tree = {"a": values[0], "b": [values[1], None]}
    assert gradients.global_norm(tree) == pytest.approx(expected, rel=1e-6)
    clipped, norm = gradients.clip_norm(tree, 0.5)
    assert norm == pytest.approx(expected, rel=1e-6)
    assert clipped["a"].dtype == (dtype if dtype.startswith("float") else np.float64)
    assert gradients.global_norm(clipped) == pytest.approx(0.5, rel=1e-3)
    assert gradients.clip_value(tree, 0.5)["a"].max() == 0.5


def test_norms_neither_overflow_nor_vanish():
    for scale in (1e-35, 1e30):
        assert gradients.global_norm(np.full(4, scale, "f")) == pytest.approx(2 * scale, rel=1e-6)
    for scale in (1e-300, 1e300):
        assert gradients.global_norm(np.full(4, scale)) == pytest.approx(2 * scale, rel=1e-12)
    assert gradients.global_norm([np.zeros(3), None]) == 0
    for wrong in (np.ones(3) + 1j, np.array(["a"]), np.array([None])):
        for function in (gradients.global_norm, lambda g: gradients.clip_norm(g, 1.0)):
            with pytest.raises(TypeError, match="grads must hold real numbers"):
                function({"a": wrong})


# ---- data and weights, before training -------------------------------------------------------------------------------

X3, Y3, STEPS = np.zeros((64, 4, 3), "f"), np.zeros(64), np.zeros((64, 4))


def sequences_of(values, lengths):
    return [row[:length] for row, length in zip(values, lengths, strict=True)]


def recurrent(per_step=False):
    end = [] if per_step else [pylstm.LastStep()]
    layers = [pylstm.GRU(3, 4, batch_first=True), pylstm.Dropout(0.3), *end, pylstm.Linear(4, 1)]
    return pylstm.Sequential(layers, seed=0)


def spoilt(array, *places, to=math.nan):
    found = array.copy()
    for place in places:
        found[place] = to
    return found


BAD_X = spoilt(X3, (40, 2, 1), (41, 3, 0), (63, 0, 2))
EVERY = np.full(64, 4)
ROWS = pylstm.Sequential([pylstm.Linear(3, 1)], seed=0)
NOT_FINITE = {
    "x": (recurrent(), BAD_X, Y3, {}, r"x\[40\] holds NaN at step 2, feature 1; 3 of 64 sequences do"),
    "padded x": (recurrent(), BAD_X, Y3, {"lengths": spoilt(EVERY, 41, to=3)},
                 r"x\[40\] holds NaN at step 2, feature 1; 2 of 64 sequences do"),
    "a list": (recurrent(), sequences_of(BAD_X, spoilt(EVERY, 40, 41, to=2)), Y3, {},
               r"x\[63\] holds NaN at step 0, feature 2; 1 of 64 sequences does"),
    "infinity": (recurrent(), spoilt(X3, (5, 1, 0), to=np.inf), Y3, {}, r"x\[5\] holds infinity at step 1, feature 0"),
    "minus infinity": (ROWS, spoilt(X3[:, 0], (5, 1), to=-np.inf), Y3, {}, r"x\[5\] holds -infinity at feature 1; 1"),
    "float64": (ROWS, spoilt(X3[:, 0].astype(float), (5, 1)), Y3, {}, r"x\[5\] holds NaN at feature 1"),
    "float16": (ROWS, spoilt(X3[:, 0].astype("e"), (5, 1)), Y3, {}, r"x\[5\] holds NaN at feature 1"),
    "beyond float32": (recurrent(), spoilt(X3.astype(float), (5, 1, 2), (9, 0, 0), to=-1e39), Y3, {},
                       r"x\[5\] holds -1e\+39 \(not finite in float32\) at step 1, feature 2; 2 of 64"),
    "y beyond float32": (recurrent(), X3, spoilt(Y3, 7, to=1e39), {}, r"y\[7\] holds 1e\+39 \(not finite in"),
    "validation y beyond float32": (recurrent(), X3, Y3, {"validation_data": (X3, spoilt(Y3, 7, to=1e39))},
                                    r"validation_data: y\[7\] holds 1e\+39 \(not finite in float32\); 1 of 64"),
    "y": (recurrent(), X3, spoilt(Y3, 7, 9), {}, r"y\[7\] holds NaN; 2 of 64 targets do"),
    "y of columns": (recurrent(), X3, spoilt(Y3[:, None], (7, 0)), {}, r"y\[7\] holds NaN"),
    "y per step": (recurrent(True), X3, spoilt(STEPS[..., None], (7, 2), (8, 3)), {"lengths": spoilt(EVERY, 8, to=3)},
                   r"y\[7\] holds NaN at step 2, column 0; 1 of 64 targets does"),
    "y in a list": (recurrent(True), list(X3), list(spoilt(STEPS, (7, 2))), {}, r"y\[7\] holds NaN at step 2"),
    "validation x": (recurrent(), X3, Y3, {"validation_data": (BAD_X, Y3)}, r"validation_data: x\[40\] holds NaN"),
    "validation y": (recurrent(), X3, Y3, {"validation_data": (X3, spoilt(Y3, 1))}, r"validation_data: y\[1\] holds"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_FINITE)
def test_numbers_that_are_not_finite_are_named_before_training(case, monkeypatch):
    model, x, y, options, message = NOT_FINITE[case]
    optimizer = pylstm.Adam()
    before = everything(model, optimizer)
    trained = []
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "_trained", lambda *_: trained.append(1))
        with pytest.raises(ValueError, match=f"{message}.*check_finite=False"):
            model.fit(x, y, loss="mse", optimizer=optimizer, batch_size=8, seed=1, verbose=0, **options)
    assert not trained
    assert everything(model, optimizer) == before
    if not case.startswith("validation"):
        with pytest.raises(FloatingPointError):
            model.fit(x, y, loss="mse", optimizer=optimizer, verbose=0, check_finite=False, **options)


def test_what_does_not_count_may_be_anything():
    lengths = np.array([4, 2, 3, 1])
    x, y = np.zeros((4, 4, 3), "f"), np.zeros((4, 4))
    for row, target, length in zip(x, y, lengths, strict=True):
        row[length:], target[length:] = math.nan, math.inf
    options = {"loss": "mse", "optimizer": pylstm.SGD(), "verbose": 0, "lengths": lengths}
    history = recurrent(True).fit(x, y, validation_data=(x, y, lengths), **options)
    assert math.isfinite(history["val_loss"][0])
    history = recurrent().fit(x, np.zeros(4), **options)
    assert math.isfinite(history["loss"][0])


def test_large_numbers_whose_sum_overflows_are_finite():
    x = np.full((64, 3), 3e38, "f")
    x[::2] *= -1
    model = pylstm.Sequential([pylstm.Activation("tanh"), pylstm.Linear(3, 1)], seed=0)
    model.fit(x, Y3, loss="mse", optimizer=pylstm.SGD(), verbose=0)


def test_numbers_that_something_else_takes_may_be_as_large_as_their_dtype_allows():
    x, y = np.full((8, 3), 1e39), np.full(8, 1e39)
    squashed = pylstm.Sequential([pylstm.Activation("tanh"), pylstm.Linear(3, 1)], seed=0)
    squashed.fit(x, np.zeros(8), loss="mse", optimizer=pylstm.SGD(), verbose=0)
    double = pylstm.Sequential([pylstm.Linear(3, 1, dtype="float64")], seed=0)
    double.fit(x * 1e-39, y, loss="mse", optimizer=pylstm.SGD(1e-9), verbose=0)

    def of_logarithms(outputs, targets, lengths=None):  # noqa: ARG001
        return pylstm.mse(outputs, np.log10(targets))

    ROWS.fit(x * 1e-39, y, loss=of_logarithms, optimizer=pylstm.SGD(), verbose=0)


def test_several_inputs_and_targets_are_named():
    class Two(pylstm.Model):
        def __init__(self):
            self.a, self.b = pylstm.Linear(3, 2, seed=0), pylstm.Linear(2, 2, seed=1)

        def run(self, left, right):
            return {"sum": self.a(left) + self.b(right)}

    def loss(outputs, targets, lengths=None):  # noqa: ARG001
        value, gradient = pylstm.mse(outputs["sum"], targets["sum"])
        return value, {"sum": gradient}

    left, right, goal = np.zeros((8, 3)), np.zeros((8, 2)), np.zeros((8, 2))
    options = {"loss": loss, "optimizer": pylstm.SGD(), "verbose": 0}
    with pytest.raises(ValueError, match=r"x\['right'\]\[3\] holds NaN at feature 1"):
        Two().fit({"left": left, "right": spoilt(right, (3, 1))}, {"sum": goal}, **options)
    with pytest.raises(ValueError, match=r"y\['sum'\]\[3\] holds infinity at column 1"):
        Two().fit((left, right), {"sum": spoilt(goal, (3, 1), to=np.inf)}, **options)


@pytest.mark.parametrize(("bad", "word"), [(math.nan, "NaN"), (-math.inf, "-infinity")])
def test_weights_that_are_not_finite_are_named(bad, word):
    model, optimizer = recurrent(), pylstm.Adam()
    model.load_state_dict({**model.state_dict(), "3.weight": np.array([[0, 0, bad, bad]])})
    with pytest.raises(ValueError, match=rf"3\.weight holds {word} at \[0, 2\].*check_finite=False"):
        model.fit(X3, Y3, loss="mse", optimizer=optimizer, verbose=0)
    assert not optimizer.state_dict()["steps"]


@pytest.mark.parametrize("value", [None, 1, "x", "auto"])
def test_check_finite_is_a_flag(value):
    with pytest.raises(TypeError, match="check_finite must be True or False"):
        recurrent().fit(X3, Y3, loss="mse", optimizer=pylstm.SGD(), verbose=0, check_finite=value)


# ---- schedules, learning rates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 1e306, "x", None])
@pytest.mark.parametrize("at", [0, 4])
def test_a_factor_that_is_no_number(value, at):
    calls = [0]

    def mine(epoch, batch, batches):  # noqa: ARG001
        calls[0] += 1
        return value if calls[0] == at + 1 else 1.0

    model, optimizer = net(), pylstm.Adam(1e3 if value == 1e306 else 1e-3)
    before = everything(model, optimizer)
    with pytest.raises((ValueError, TypeError), match="the schedule mine must give"):
        model.fit(*data(), loss="mse", optimizer=optimizer, batch_size=8, epochs=3, schedule=mine, verbose=0, seed=1)
    after = everything(model, optimizer)
    assert after["lr"] == before["lr"]
    assert set(after["steps"].values()) == ({at} if at else set())
    if at == 0:
        assert after == before
    assert all(np.isfinite(value).all() for value in model.params.values())


def test_updates_that_overflow_the_weights_are_told_at_the_end_of_the_epoch():
    model = net()
    stop = pylstm.EarlyStopping(monitor="loss")
    best = []

    def rate(epoch, batch, batches):
        if epoch == 1:
            best[:] = best or [model.state_dict()]
        return 3e38 if epoch == 1 and batch == batches - 1 else 1e-9

    x, y = data()
    with pytest.raises(FloatingPointError, match="overflow"):
        model.fit(x, 1000 * y, loss="mse", optimizer=pylstm.SGD(1.0), batch_size=8, epochs=3, schedule=rate,
                  callbacks=[stop], verbose=0, seed=1)  # fmt: skip
    np.testing.assert_equal(model.state_dict(), best[0])  # those of the first epoch, which was the best
    with pytest.raises(ValueError, match="lr must be a number that the layers' dtype can hold"):
        model.fit(*data(), loss="mse", optimizer=pylstm.SGD(1e39), verbose=0)


def test_a_weight_that_was_infinite_before_is_the_users():
    model = pylstm.Sequential([pylstm.Linear(3, 2, seed=0)])
    model.load_state_dict({**model.state_dict(), "0.bias": np.array([0, -np.inf])})
    model.fit(np.ones((8, 3)), np.zeros(8, int), loss="cross_entropy", optimizer=pylstm.SGD(), verbose=0,
              check_finite=False)  # fmt: skip


# ---- figures that are NaN --------------------------------------------------------------------------------------------


def fit_with(figures, callback):
    """fit with a metric of these values, epoch by epoch."""
    model, epoch, weights = net(), [-1], []

    def fig(y, targets, lengths):  # noqa: ARG001
        return figures[epoch[0]]

    def schedule(number, batch, batches):  # noqa: ARG001
        epoch[0] = number
        return 1.0

    def keep(number, logs):  # noqa: ARG001
        weights.append(model.state_dict())

    model.fit(*data(), loss="mse", optimizer=pylstm.SGD(0.1), metrics=[fig], epochs=len(figures), schedule=schedule,
              callbacks=[keep, callback], verbose=0, seed=0)  # fmt: skip
    return model, weights


@pytest.mark.parametrize("mode", ["min", "max"])
def test_early_stopping_takes_no_nan_for_the_best(mode):
    sign = 1 if mode == "min" else -1
    figures = [math.nan, sign * 3.0, math.nan, sign * 1.0, sign * 2.0, math.nan, sign * 2.0, sign * 2.0]
    stop = pylstm.EarlyStopping(patience=3, monitor="fig", mode=mode)
    model, weights = fit_with(figures, stop)
    assert stop.best_epoch == 3
    assert len(weights) == 7
    np.testing.assert_equal(model.state_dict(), weights[3])
    stop = pylstm.EarlyStopping(patience=3, monitor="fig", mode=mode)
    model, weights = fit_with([math.nan] * 5, stop)
    assert stop.best_epoch is None
    assert len(weights) == 3
    np.testing.assert_equal(model.state_dict(), weights[-1])


def test_checkpoints_of_the_best_are_never_of_nan(tmp_path):
    keep = pylstm.ModelCheckpoint(tmp_path / "{epoch}.npz", best_only=True, monitor="fig")
    fit_with([math.nan, 2.0, math.nan, 1.0], keep)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2.npz", "4.npz"]


def test_reduce_on_plateau_after_nan():
    schedule = schedules.ReduceOnPlateau(0.5, patience=1, monitor="loss")
    factors = []
    for value in [math.nan, 3.0, 2.0, 1.0, math.nan, math.nan, 0.5]:
        schedule.end_epoch({"loss": value})
        factors.append(schedule.factor(0, 0, 1))
    assert factors == [1, 1, 1, 1, 1, 0.5, 0.5]
    schedule = schedules.ReduceOnPlateau(0.5, patience=1, monitor="accuracy")
    for value in [math.inf, 1.0, 2.0]:  # an infinity that is the best stays so
        schedule.end_epoch({"accuracy": value})
    assert schedule.factor(0, 0, 1) == 0.5


def test_a_warm_up_hides_its_epochs_from_what_follows():
    told = []

    class Then(schedules.Schedule):
        def factor(self, epoch, batch, batches):  # noqa: ARG002
            told.append(epoch)
            return 1.0

        def end_epoch(self, logs):
            told.append(logs["loss"])

    warm = schedules.WarmUp(2, Then())
    for epoch in range(4):
        warm.factor(epoch, 0, 1)
        warm.end_epoch({"loss": 10.0 + epoch})
    assert told == [0, 12.0, 1, 13.0]
