"""The learning rate that a short training with a rising one suggests, and what that leaves behind: nothing."""

from __future__ import annotations

import importlib.util
import os
import signal

import numpy as np
import pytest

import pylstm
from support.trainings import data, everything, net

pytestmark = pytest.mark.usefixtures("sigint_heard")

BASE = {"loss": "mse", "batch_size": 8, "seed": 0}


def linear_problem(seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((256, 4))
    y = x @ rng.standard_normal((4, 1)) + noise * rng.standard_normal((256, 1))
    return pylstm.Sequential([pylstm.Linear(4, 1, dtype=np.float64)], seed=seed), x, y


def test_rates_rise_and_losses_are_those_of_the_batches():
    model, (x, y) = net(), data()
    seen = []

    def loss(output, targets, lengths=None):  # noqa: ARG001
        value, gradient = pylstm.mse(output, targets)
        seen.append(value)
        return value, gradient

    found = model.find_learning_rate(
        x, y, optimizer=pylstm.SGD(), lowest=1e-5, highest=1e-2, steps=31, **BASE | {"loss": loss}
    )
    np.testing.assert_allclose(found.rates, np.geomspace(1e-5, 1e-2, 31), rtol=1e-9)
    assert found.losses.tolist() == pytest.approx(seen[-31:])
    assert found.smoothed.shape == found.rates.shape
    assert found.smoothed.std() < found.losses.std()


def test_the_weights_move_as_in_a_training_with_these_rates():
    x, y = data()
    found = net().find_learning_rate(x, y, optimizer=pylstm.Adam(5.0), lowest=1e-4, highest=1e-1, steps=12, **BASE)
    losses = []

    class Notes(pylstm.Callback):
        def end_batch(self, training):
            losses.append(training.batch_logs["loss"])

    net().fit(x, y, optimizer=pylstm.Adam(1e-4), epochs=4, verbose=0, callbacks=[Notes()],
              schedule=lambda step: 1000 ** (step / 11), **BASE)  # fmt: skip
    np.testing.assert_allclose(found.losses, losses, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_suggestion_lies_below_where_training_comes_apart(seed):
    """Of a linear problem the limit is known: 2 / the largest eigenvalue of the second derivatives."""
    model, x, y = linear_problem(seed)
    limit = 2 / np.linalg.eigvalsh(2 * x.T @ x / len(x)).max()
    found = model.find_learning_rate(x, y, loss="mse", optimizer=pylstm.SGD(), batch_size=64, seed=seed)
    assert limit / 200 < found.suggestion < limit
    assert found.suggestion < found.best < 4 * limit
    assert found.rates[-1] < 10.0  # it came apart before the end
    history = model.fit(x, y, loss="mse", optimizer=pylstm.SGD(found.suggestion), epochs=10, verbose=0, seed=0)
    assert history["loss"][-1] < 0.2 * history["loss"][0]


def test_nothing_to_learn_has_no_suggestion():
    model, x, y = linear_problem()
    best = np.linalg.lstsq(np.append(x, np.ones((256, 1)), axis=1), y, rcond=None)[0]
    model.load_state_dict({"0.weight": best[:4].T, "0.bias": best[4]})
    found = model.find_learning_rate(x, y, loss="mse", optimizer=pylstm.SGD(), batch_size=256, shuffle=False)
    assert found.suggestion is None
    assert "no suggestion" in repr(found)
    found.plot() if importlib.util.find_spec("matplotlib") else None


# ---- nothing changes -------------------------------------------------------------------------------------------------


class Fails:
    """A loss that fails after some calls."""

    def __init__(self, after, error):
        self.left, self.error = after, error

    def __call__(self, output, targets, lengths=None):  # noqa: ARG002
        self.left -= 1
        if self.left < 0:
            if self.error is None:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
            else:
                raise self.error
        return pylstm.mse(output, targets)


@pytest.mark.parametrize("ends", ["end", "error", "interrupts", "memory", "nan"])
def test_model_optimizer_and_what_is_drawn_next_stay_as_they_were(ends):
    loss = {"end": "mse", "error": Fails(20, KeyError("mine")), "interrupts": Fails(20, None),
            "memory": Fails(20, MemoryError()), "nan": "mse"}[ends]  # fmt: skip
    errors = {"error": KeyError, "interrupts": KeyboardInterrupt, "memory": MemoryError}
    model, (x, y), optimizer = net(), data(), pylstm.Adam(1e-2)
    model.fit(x, y, optimizer=optimizer, verbose=0, **BASE)
    before, drawn = everything(model, optimizer), np.random.get_state(legacy=False)["state"]["pos"]  # noqa: NPY002
    options = {**BASE, "loss": loss, "optimizer": optimizer, "highest": 1e30 if ends == "nan" else 10.0}
    if ends in errors:
        with pytest.raises(errors[ends]):
            model.find_learning_rate(x, y, **options)
    else:
        model.find_learning_rate(x, y, **options)
    assert everything(model, optimizer) == before
    assert np.random.get_state(legacy=False)["state"]["pos"] == drawn  # noqa: NPY002


def test_ctrl_c_gives_what_has_been_seen():
    model, (x, y) = net(), data()

    class Interrupts:
        left = 12

        def __call__(self, output, targets, lengths=None):  # noqa: ARG002
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)
            return pylstm.mse(output, targets)

    before = model.state_dict()
    found = model.find_learning_rate(x, y, optimizer=pylstm.SGD(), **BASE | {"loss": Interrupts()})
    assert 5 <= len(found.rates) <= 12
    assert all(value.tobytes() == before[name].tobytes() for name, value in model.params.items())


def test_ctrl_c_before_anything_can_be_told_is_heard():
    model, (x, y), optimizer = net(), data(), pylstm.Adam(3e-3)
    before = everything(model, optimizer)

    class Interrupts:
        left = 3

        def __call__(self, output, targets, lengths=None):  # noqa: ARG002
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)
            return pylstm.mse(output, targets)

    with pytest.raises(KeyboardInterrupt):
        model.find_learning_rate(x, y, optimizer=optimizer, **BASE | {"loss": Interrupts()})
    assert everything(model, optimizer) == before


def test_a_model_of_ones_own_and_frozen_layers_are_copied():
    class Noisy(pylstm.Model):
        keeps_time = False

        def __init__(self):
            self.rng, self.calls = np.random.default_rng(0), []
            self.embed, self.head = pylstm.Embedding(20, 4, seed=0), pylstm.Linear(4, 1, seed=1)

        def run(self, x):
            self.calls.append(len(x))
            return self.head(self.embed(x).mean(axis=1) + self.rng.standard_normal(4))

    model, (x, y) = Noisy(), data()
    model.freeze("embed")
    state = model.rng.bit_generator.state
    found = model.find_learning_rate(x, y, optimizer=pylstm.SGD(), **BASE)
    assert len(found.rates) > 5
    assert model.calls == []
    assert model.rng.bit_generator.state == state


def test_what_cannot_be_copied_is_told():
    class Holds(pylstm.Model):
        keeps_time = False

        def __init__(self):
            self.head, self.lines = pylstm.Linear(4, 1), (line for line in "ab")

        def run(self, x):
            return self.head(x)

    with pytest.raises(TypeError, match="trains a copy, and Holds cannot be copied: TypeError"):
        Holds().find_learning_rate(np.ones((8, 4)), np.ones((8, 1)), loss="mse", optimizer=pylstm.SGD())


@pytest.mark.parametrize(("wrong", "message"), [
    ({"lowest": 0}, "lowest"), ({"highest": -1}, "highest"), ({"lowest": 1.0, "highest": 1.0}, "lowest must be below"),
    ({"steps": 9}, "steps"), ({"optimizer": "adam?"}, "optimizer"), ({"epochs": 3}, "takes no epochs"),
    ({"callbacks": []}, "takes no callbacks"), ({"loss": "huh"}, "loss"), ({"batch_size": 0}, "batch_size"),
    ({"y": np.ones((3, 1))}, "y"), ({"lr": 3}, "lr"),
])  # fmt: skip
def test_wrong_arguments_are_refused(wrong, message):
    model, (x, y) = net(), data()
    options = {"optimizer": pylstm.SGD(), **BASE, "x": x, "y": y, **wrong}
    with pytest.raises((TypeError, ValueError), match=message):
        model.find_learning_rate(options.pop("x"), options.pop("y"), **options)


def test_a_loss_that_is_never_finite_is_an_error():
    model, (x, y) = net(), data()

    def loss(output, targets, lengths=None):  # noqa: ARG001
        return np.nan, output * 0

    with pytest.raises(FloatingPointError, match="the loss became nan"):
        model.find_learning_rate(x, y, optimizer=pylstm.SGD(), **BASE | {"loss": loss})


def test_the_picture(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    model, x, y = linear_problem()
    found = model.find_learning_rate(x, y, loss="mse", optimizer=pylstm.SGD(), seed=0)
    figure = found.plot(tmp_path / "rates.png")
    ax = figure.axes[0]
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "learning rate"
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), found.rates)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), found.smoothed)
    assert any(f"{found.suggestion:.2g}" in text.get_text() for text in ax.texts)
    assert (tmp_path / "rates.png").stat().st_size > 5000
    plt.close(figure)


def test_the_same_seed_gives_the_same_losses():
    x, y = data()
    one, two = (net().find_learning_rate(x, y, optimizer=pylstm.Adam(), **BASE) for _ in range(2))
    assert one.losses.tobytes() == two.losses.tobytes()


def test_data_in_batches():
    x, y = np.random.default_rng(0).standard_normal((2, 64, 1)).astype(np.float32)
    x = np.repeat(x[:, None], 3, axis=1)

    def batches():
        for start in range(0, 64, 16):
            yield x[start : start + 16], y[start : start + 16]

    net = pylstm.Sequential([pylstm.LSTM(1, 4, batch_first=True), pylstm.LastStep(), pylstm.Linear(4, 1)], seed=0)
    found = net.find_learning_rate(batches, loss="mse", steps=30)
    want = net.find_learning_rate(x, y, loss="mse", steps=30, batch_size=16, shuffle=False)
    assert found.losses.tobytes() == want.losses.tobytes()
