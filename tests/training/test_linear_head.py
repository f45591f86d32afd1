"""A `Linear` at a model's end with cross-entropy: trained and evaluated without its outputs, to the same numbers."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest

import pylstm
from pylstm import _core
from pylstm.layers.containers import Container
from pylstm.losses import linear_head
from pylstm.losses.by_name import loss_function
from pylstm.models.arguments import pair
from pylstm.training import evaluation
from pylstm.training.metrics import metric_functions
from pylstm.training.splitting import Data
from support.heads import C, Plain, Tied, chain, data


def outputs_seen(y, targets, lengths):  # noqa: ARG001
    """A metric that looks at the outputs: they have to be computed for it."""
    assert isinstance(y, np.ndarray)
    return 0.0


@pytest.fixture(autouse=True)
def however_few_rows(monkeypatch):
    monkeypatch.setattr(linear_head, "FEWEST_ROWS", 0)


def inner():
    first, last = (pylstm.Linear(9, n, dtype=np.float64) for n in (9, C))
    return pylstm.Sequential([pylstm.Residual([first]), last])


def train(model, x, y, metrics, **options):
    options = {"loss": "cross_entropy", "batch_size": 7, "epochs": 2, "seed": 3, "verbose": 0, **options}
    history = model.fit(x, y, optimizer=pylstm.Adam(1e-2), metrics=metrics, **options)
    del history["seconds"]
    return history


CASES = {
    "per step": (chain, {}, {}),
    "per sequence": (partial(chain, per_step=False), {"per_step": False}, {}),
    "no bias": (partial(chain, bias=False), {}, {}),
    "weighted": (chain, {}, {"class_weight": {1: 0.0, 2: 3.0}}),
    "ignored": (chain, {"nothing": 4}, {"loss": partial(pylstm.cross_entropy, ignore_index=4)}),
    "smoothed": (chain, {}, {"loss": partial(pylstm.cross_entropy, label_smoothing=0.2, class_weight={3: 0.0})}),
    "by function": (chain, {}, {"loss": pylstm.cross_entropy}),
    "truncated": (chain, {"ragged": False}, {"truncate": 4}),
    "reduced": (chain, {}, {"reduce": lambda grads, weight: (grads, weight)}),
    "in a chain": (lambda: chain(end=[inner()]), {}, {}),
    "a model": (Plain, {}, {}),
    "a shared layer": (Tied, {}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_are_those_of_computed_outputs(case, monkeypatch):
    make, of_data, options = CASES[case]
    x, y = data(**of_data)
    named = not isinstance(options.get("loss"), partial)
    metrics = ["accuracy", "perplexity"] if named else []
    kept = [make(), make()]
    taken = []
    core = _core.linear_cross_entropy
    monkeypatch.setattr(_core, "linear_cross_entropy", lambda *args: taken.append(1) or core(*args))
    want = train(kept[0], x, y, [*metrics, outputs_seen], validation_data=(x, y), **options)
    assert not taken
    got = train(kept[1], x, y, metrics, validation_data=(x, y), **options)
    assert taken
    assert got["loss"][1] < got["loss"][0]
    for name, values in got.items():
        np.testing.assert_allclose(values, want[name], rtol=1e-11, err_msg=name)
    for name, value in kept[0].params.items():
        np.testing.assert_allclose(kept[1].params[name], value, rtol=1e-8, atol=1e-11, err_msg=name)
    loss = options.get("loss", "cross_entropy")
    once, again = (one.evaluate(x, y, loss=loss, metrics=metrics, batch_size=3) for one in kept)
    assert once == pytest.approx(again, rel=1e-8)


def test_outputs_are_never_computed(monkeypatch):
    x, y = data()
    for model in (chain(), Plain()):
        with monkeypatch.context() as m:
            m.setattr(_core, "linear", lambda *_: pytest.fail("the outputs are computed"))
            history = train(model, x, y, None, validation_data=(x, y))
            figures = model.evaluate(x, y, metrics=["perplexity", "accuracy"])
        assert history["val_accuracy"][-1] == pytest.approx(figures["accuracy"])
        assert figures["perplexity"] == pytest.approx(np.exp(figures["loss"]))
        inside = [row.argmax(axis=1) == t for row, t in zip(model.predict(x), y, strict=True)]
        counts = np.concatenate(y) != -100
        assert figures["accuracy"] == pytest.approx(np.concatenate(inside)[counts].mean())


@pytest.mark.parametrize("kind", ["layer", "forward", "call", "chain", "model"])
def test_what_somebody_else_computes_is_left_to_them(kind, monkeypatch):
    """Subclasses with a forward pass of their own."""
    seen = []

    class Twice(pylstm.Linear):
        def __call__(self, x, *, lengths=None):
            seen.append("call")
            return 2 * super().__call__(x, lengths=lengths)

        def forward(self, x, *, lengths=None, need_dx=True):
            seen.append("forward")
            y, backward = super().forward(x, lengths=lengths, need_dx=need_dx)
            return 2 * y, lambda dy: backward(2 * dy)

    class Chain(pylstm.Sequential):
        def __call__(self, x, *, lengths=None):
            seen.append("call")
            return super().__call__(x, lengths=lengths)

        def forward(self, x, *, lengths=None, need_dx=True):
            seen.append("forward")
            return super().forward(x, lengths=lengths, need_dx=need_dx)

    class Net(Plain):
        def __call__(self, *inputs, **options):
            seen.append("call")
            return super().__call__(*inputs, **options)

        def forward(self, *inputs, **options):
            seen.append("forward")
            return super().forward(*inputs, **options)

    if kind == "forward":
        monkeypatch.delattr(Twice, "__call__")
    elif kind == "call":
        monkeypatch.delattr(Twice, "forward")
    if kind == "chain":
        model = Chain(chain().layers)
    elif kind == "model":
        model = Net()
    else:
        model = chain(end=[Twice(9, C, dtype=np.float64)])
    x, y = data()
    monkeypatch.setattr(_core, "linear_cross_entropy", lambda *_: pytest.fail("not asked"))
    train(model, x, y, None)
    model.evaluate(x, y)
    assert {"forward", "call"} - set(seen) == {"forward": {"call"}, "call": {"forward"}}.get(kind, set())


@pytest.mark.parametrize("place", ["class", "object", "chain's class", "model's object"])
def test_methods_that_somebody_replaced_are_called(place, monkeypatch):
    model = Plain() if place.startswith("model") else chain()
    layer = model if place.startswith("model") else model.layers[-1]
    where, name = {"class": (pylstm.Linear, "forward"), "chain's class": (Container, "vjp")}.get(
        place, (layer, "forward")
    )
    written, seen = getattr(where, name), []
    monkeypatch.setattr(where, name, lambda *args, **options: seen.append(name) or written(*args, **options))
    train(model, *data(), None)
    assert seen


def test_a_partial_of_a_class_with_a_call_of_its_own_is_called():
    class Doubled(partial):
        def __call__(self, *args, **options):
            return tuple(2 * part for part in super().__call__(*args, **options))

    x, y = data()
    one, two = (train(chain(), x, y, [], loss=kind(pylstm.cross_entropy), epochs=1) for kind in (partial, Doubled))
    assert two["loss"][0] > 1.5 * one["loss"][0]


@pytest.mark.parametrize(("rows", "labels", "whole"), [(47, 8, True), (48, 7, True), (48, 8, False)])
def test_few_rows_or_labels_are_computed_as_a_whole(rows, labels, whole, monkeypatch):
    monkeypatch.undo()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, 5)), rng.integers(0, labels, rows)
    calls = []
    for name in ("linear", "linear_cross_entropy"):
        core = getattr(_core, name)
        monkeypatch.setattr(_core, name, lambda *args, core=core, name=name: calls.append(name) or core(*args))
    models = [
        pylstm.Sequential([pylstm.Linear(5, 4), pylstm.Activation("tanh"), pylstm.Linear(4, labels)]) for _ in range(2)
    ]
    models[1].load_state_dict(models[0].state_dict())
    train(models[0], x, y, None, batch_size=rows, epochs=1)
    assert calls == ["linear", "linear" if whole else "linear_cross_entropy"]
    train(models[1], x, y, ["accuracy", outputs_seen], batch_size=rows, epochs=1)
    for a, b in zip(models[0].params.values(), models[1].params.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0 if whole else 1e-4, atol=0 if whole else 1e-6)


def test_values_of_linear_layers_are_computed_when_they_are_looked_at():
    """In a model whose loss takes its outputs uncomputed."""
    seen = {}

    class Net(Plain):
        def run(self, x, lengths=None):
            y = super().run(x, lengths=lengths)
            seen["shape"], seen["kind"], seen["y"] = y.shape, type(y), y
            seen["numbers"] = y.numpy().copy()
            return y

    class Kept(Plain):
        def run(self, x, lengths=None):
            seen["kept"] = super().run(x, lengths=lengths)
            return seen["kept"]

    x, y = data()
    looking, plain, kept = Net(), Plain(), Kept()
    history = train(looking, x, y, None)
    assert seen["shape"] == seen["numbers"].shape
    assert isinstance(seen["y"], pylstm.Value)
    assert history["loss"] == pytest.approx(train(plain, x, y, None)["loss"], rel=1e-11)
    train(kept, x, y, None, batch_size=20, epochs=1)
    before = seen["kept"].numpy()  # of a run that is over: of the parameters it had
    fresh = Plain()
    order = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(0, 0))).permutation(20)
    ordered = sorted(order.tolist(), key=lambda i: len(x[i]))
    for row, i in zip(before, ordered, strict=True):
        np.testing.assert_allclose(row[: len(x[i])], fresh.predict([x[i]])[0], rtol=1e-10)


def test_a_gradient_that_nobody_wants_is_not_computed(monkeypatch):
    def alone():
        return pylstm.Sequential([pylstm.Linear(9, C, dtype=np.float64)], seed=0)

    class Fixed(Plain):
        keeps_time = False

        def __init__(self):
            self.chain = alone()

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 9)), rng.integers(0, C, 60)
    core, found = _core.linear_cross_entropy, []
    monkeypatch.setattr(_core, "linear_cross_entropy", lambda *args: found.append(core(*args)) or found[-1])
    for make in (Fixed, alone):
        for options in ({}, {"reduce": lambda grads, weight: (grads, weight)}):
            once, again = (train(make(), x, y, metrics, **options) for metrics in ([], [outputs_seen]))
            assert once["loss"] == pytest.approx(again["loss"], rel=1e-11)
    assert {gradients[0] is None for _, gradients, _ in found} == {True}


def test_outputs_whose_computing_fails_are_computed_again(monkeypatch):
    class Net(Plain):
        def run(self, x, lengths=None):
            y = super().run(x, lengths=lengths)
            with monkeypatch.context() as m:
                m.setattr(_core, "linear", None)
                with pytest.raises(TypeError, match="not callable"):
                    y.numpy()
            return y

    x, y = data()
    assert train(Net(), x, y, None) == train(Plain(), x, y, None)


@pytest.mark.parametrize("metrics", [None, [outputs_seen]])
def test_outputs_of_a_run_that_is_over_lose_no_gradient_in_silence(metrics):
    class Cached(Plain):
        first = None

        def run(self, x, lengths=None):
            self.first = self.first or [super().run(x, lengths=lengths)]
            return self.first[0]

    model, (x, y) = Cached(), data(ragged=False)
    with pytest.raises(RuntimeError, match=r"Cached.run returned a value of a run that is over, and its gradient"):
        train(model, x, y, metrics, batch_size=10, epochs=1)
    assert Cached()(x[:2]).shape == (2, 6, C)


def test_errors_are_those_of_computed_outputs():
    x, y = data()
    wrong = [row.copy() for row in y]
    wrong[4][-1] = C
    for bad, more in [
        (wrong, {}),
        ([row + 0.5 for row in y], {}),
        ([np.stack([row, row], 1) for row in y], {}),
        (y, {"class_weight": {C: 1.0}}),
    ]:
        said = []
        for metrics in (None, [outputs_seen]):
            for model in (chain(), Plain()):
                before = model.state_dict()
                with pytest.raises((TypeError, ValueError)) as error:
                    train(model, x, bad, metrics, shuffle=False, **more)
                said.append(f"{error.type} {error.value}")
                assert all(np.array_equal(before[name], value) for name, value in model.params.items())
        assert len(set(said)) == 1, said
    with pytest.raises(ValueError, match=rf"targets must be labels in 0..{C - 1}, one per column of logits, got {C}"):
        train(chain(), x, wrong, None)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_changes_nothing(bad):
    x, y = data()
    model = chain()
    state = model.state_dict()
    state["2.bias"][3] = bad
    model.load_state_dict(state)
    with pytest.raises(FloatingPointError, match="the loss became nan in epoch 1"):
        train(model, x, y, None, check_finite=False)
    assert all(np.array_equal(state[name], value, equal_nan=True) for name, value in model.params.items())


def test_a_label_without_weight_counts_for_the_accuracy():
    x, y = data()
    model = chain()
    figures = []
    for metrics in (["accuracy"], ["accuracy", outputs_seen]):
        one = loss_function("cross_entropy", dict.fromkeys(range(0, C, 2), 0.0))
        inputs, targets = pair(model, Data(x, y), one)
        figures.append(evaluation.evaluate(model, inputs, targets, 6, one, metric_functions(metrics, "cross_entropy")))
    assert figures[0]["accuracy"] == figures[1]["accuracy"] > 0
    assert figures[0]["loss"] == pytest.approx(figures[1]["loss"], rel=1e-12)


def test_wrong_metrics():
    x, y = data()
    model = pylstm.Sequential([pylstm.Linear(3, 1)], seed=0)
    with pytest.raises(ValueError, match="perplexity, of metrics, needs the loss cross_entropy"):
        model.evaluate(np.zeros((4, 3)), np.zeros(4), loss="mse", metrics=["perplexity"])
    with pytest.raises(ValueError, match="metrics holds two that are named 'perplexity'"):
        chain().evaluate(x, y, loss="cross_entropy", metrics=["perplexity", "perplexity"])


MEMORY = """
import resource, sys
import numpy as np, pylstm
head = sys.argv[1] == "head"
rng = np.random.default_rng(0)
N, T, V, H = 20, 350, 10_000, 200
layers = [pylstm.Embedding(V, H), pylstm.LSTM(H, H, 2, batch_first=True)]
model = pylstm.Sequential([*layers, pylstm.Linear(H, V)] if head else layers, seed=0)
x = rng.integers(0, V, (N, T))
y = rng.integers(0, V, (N, T)) if head else np.zeros((N, T, H), np.float32)
loss = "cross_entropy" if head else lambda y, t, lengths=None: (0.0, np.full(y.shape, 1e-9, y.dtype))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.fit(x, y, loss=loss, optimizer=pylstm.Adam(1e-3), batch_size=N, verbose=0, seed=0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, before * 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs ru_maxrss in KiB")
def test_training_of_many_labels_takes_little_more_memory_than_without_them(tmp_path):
    """10,000 words at each of 7,000 steps: their logits alone are 280 MB."""
    most = {}
    for kind in ("head", "none"):
        run = subprocess.run(
            [sys.executable, "-c", MEMORY, kind], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        most[kind] = int(run.stdout.split()[0])
    assert most["head"] <= 1.3 * most["none"], most
