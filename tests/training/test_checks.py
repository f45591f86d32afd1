"""Nothing is trained before everything that can be known is checked, and after the error everything is as before."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pytest

import pylstm
from support.trainings import everything

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((24, 5, 3)).astype("f"), np.arange(24) % 3
LISTS = [RNG.integers(0, 7, n) for n in RNG.integers(1, 6, 24)]
TAGS = [s % 3 for s in LISTS]


def chain(per_step=False):
    end = [] if per_step else [pylstm.LastStep()]
    return pylstm.Sequential(
        [pylstm.GRU(3, 4, batch_first=True), pylstm.Dropout(0.3), *end, pylstm.Linear(4, 3)], seed=0
    )


def words(per_step=True):
    end = [] if per_step else [pylstm.MeanOverTime()]
    return pylstm.Sequential([pylstm.Embedding(7, 4), pylstm.Dropout(0.3), *end, pylstm.Linear(4, 3)], seed=0)


@pylstm.register
class Net(pylstm.Model):
    keeps_time = False

    def __init__(self):
        self.lstm, self.drop = pylstm.LSTM(3, 4, batch_first=True, seed=0), pylstm.Dropout(0.3, seed=1)
        self.head = pylstm.Linear(4, 3, seed=2)
        self.runs = 0

    def run(self, x, lengths=None):
        self.runs += 1
        self.seen = x
        y, _ = self.lstm(x, lengths=lengths)
        return self.head(self.drop(y[:, -1]))


def changed(values, at, to):
    found = np.array(values) if isinstance(values, np.ndarray) else list(values)
    found[at] = to
    return found


def cross_entropy_of_mine(y, targets, *, lengths=None):  # noqa: ARG001
    return pylstm.cross_entropy(y, targets)


LAST = len(Y) - 1
LATE = changed(Y, LAST, 3)
stop, keep = pylstm.EarlyStopping, pylstm.ModelCheckpoint
VALID = {"validation_data": (X[:6], Y[:6])}

# what is wrong, and what the error says
CASES = {
    "monitor": ({"callbacks": [stop(monitor="val_acc")], **VALID}, r"did you mean 'val_accuracy'\?"),
    "monitor without val": ({"callbacks": [stop(monitor="acc")]}, r"did you mean 'accuracy'\?"),
    "no validation": ({"callbacks": [stop()]}, "give validation_data"),
    "no validation, misspelt": ({"callbacks": [stop(monitor="val_acc")]}, "give validation_data.*'val_accuracy'"),
    "monitor of a checkpoint": ({"callbacks": [keep("m.npz", best_only=True, monitor="los")]}, r"mean 'loss'\?"),
    "monitor of a schedule": ({"schedule": pylstm.ReduceOnPlateau(monitor="val_los"), **VALID}, r"'val_loss'\?"),
    "folder": ({"callbacks": [keep("nowhere/m.npz")]}, "no folder to write to.*nowhere"),
    "folder is a file": ({"callbacks": [keep("file/m.npz")]}, "no folder to write to.*file"),
    "a folder in its place": ({"callbacks": [keep("folder.npz")]}, "[Dd]irectory"),
    "a name too long": ({"callbacks": [keep("m" * 300 + ".npz")]}, "name too long"),
    "a figure of validation": ({"callbacks": [keep("{val_loss}.npz")]}, r"holds \{val_loss\}, but"),
    "a figure": ({"callbacks": [keep("{acc}.npz")]}, r"holds \{acc\}, but.*; did you mean 'accuracy'\?"),
    "an epoch": ({"callbacks": [keep("{epohc}.npz")]}, r"holds \{epohc\}, but.*; did you mean 'epoch'\?"),
    "arity of a callback": ({"callbacks": [lambda logs: logs]}, r"callback <lambda> is called with \(epoch, logs\)"),
    "arity of a metric": ({"metrics": [lambda y, t: y - t]}, r"metric <lambda> is called with \(outputs, targets, l"),
    "arity of a loss": ({"loss": lambda y, t: (0.0, y - t)}, r"loss function is called with \(outputs, targets, len"),
    "arity of a schedule": ({"schedule": lambda rate: rate}, r"called with \(epoch, batch, batches\).*or of \(step"),
    "arity of reduce": ({"reduce": lambda grads: grads}, r"reduce is called with \(grads, weight\)"),
    "a late label": ({"y": LATE}, r"labels in 0\.\.2, one per column of logits, got 3 in y\[23\]"),
    "a late label of a partial": ({"y": LATE, "loss": partial(pylstm.cross_entropy, ignore_index=9), "metrics": []},
                                  r"got 3 in y\[23\]"),
    "a late label that is not whole": ({"y": changed(Y.astype("f"), LAST, 1.5)}, r"got 1\.5 of .* in y\[23\]"),
    "a late label of two classes": ({"y": changed(np.eye(3)[Y], LAST, [1, 1, 0])}, r"got \[1\. 1\. 0\.\] in y\[23\]"),
    "a negative label": ({"y": changed(Y, LAST, -1)}, r"got -1 in y\[23\]"),
    "a late probability": ({"y": changed(np.zeros((24, 3)), LAST, 1.5), "loss": "binary_cross_entropy"}, r"y\[23\]"),
    "targets of mse": ({"y": np.zeros((24, 2)), "loss": "mse"}, r"shape \(N, 3\), got shape \(24, 2\)"),
    "a class weight too many": ({"class_weight": {3: 1.0}}, "class_weight names label 3"),
    "validation labels": ({"validation_data": (X, LATE)}, r"validation_data: targets.* got 3 in y\[23\]"),
    "validation x": ({"validation_data": (X[..., :2], Y)}, r"validation_data: x must give batches \(N, T, 3\)"),
    "validation y": ({"validation_data": (X, np.zeros((24, 4)))}, r"validation_data: y must hold targets"),
    "axes of validation y": ({"loss": cross_entropy_of_mine, "validation_data": (X, Y[:, None]), "metrics": []},
                             "validation_data: y has shape .* other axes than y of the training"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("make", [chain, Net], ids=["chain", "model"])
def test_known_before_training(case, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder.npz").mkdir()
    there = sorted(os.listdir(tmp_path))
    options, message = CASES[case]
    if case == "validation x" and make is Net:
        message = "validation_data: x must have shape"
    begun = []

    class Begins(pylstm.EarlyStopping):
        def begin(self, training):
            begun.append(training)

    Begins.__module__ = pylstm.EarlyStopping.__module__
    model, optimizer = make(), pylstm.Adam()
    model.fit(X, Y, loss="cross_entropy", optimizer=optimizer, seed=1, verbose=0)
    before = everything(model, optimizer)
    given = {"x": X, "y": Y, "loss": "cross_entropy", "batch_size": 4, "epochs": 2, "shuffle": False, **options}
    given["callbacks"] = [pylstm.EarlyStopping(monitor="loss"), *options.get("callbacks", [])]
    monkeypatch.setattr(pylstm.EarlyStopping, "begin", lambda *_: begun.append(1))
    trained = []
    monkeypatch.setattr(pylstm.Linear, "forward", lambda *_, **__: trained.append(1))
    monkeypatch.setattr(pylstm.Linear, "vjp", lambda *_, **__: trained.append(1))
    with pytest.raises((TypeError, ValueError, OSError), match=message):
        model.fit(**given, optimizer=optimizer, verbose=0)
    assert not trained
    assert not begun
    assert everything(model, optimizer) == before
    assert sorted(os.listdir(tmp_path)) == there


def test_symbols_that_the_table_does_not_have():
    bad = changed(LISTS, LAST, np.array([1, 7]))
    padded = np.array([1, 2, 9]) * np.ones((24, 1), int)
    model, optimizer = words(), pylstm.SGD()
    before = everything(model, optimizer)
    options = {"loss": "cross_entropy", "optimizer": optimizer, "batch_size": 2, "shuffle": False, "verbose": 0}
    for x, y, more in [
        (bad, [s % 3 for s in bad], {}),
        (LISTS, TAGS, {"validation_data": (bad, [s % 3 for s in bad])}),
        (padded, padded % 3, {"lengths": [2] * 23 + [3]}),
    ]:
        with pytest.raises(IndexError, match=r"x holds [79], but the rows of Embedding"):
            model.fit(x, y, **more, **options)
    assert everything(model, optimizer) == before
    model.fit(padded, padded % 3, lengths=[2] * 24, **options)  # nothing behind a length counts


class Symbols(pylstm.Model):
    keeps_time = False

    def __init__(self, change=None):
        self.table, self.head = pylstm.Embedding(7, 4, seed=0), pylstm.Linear(4, 3, seed=1)
        self.change = change

    def run(self, x, lengths=None):  # noqa: ARG002
        return self.head(self.table(x if self.change is None else self.change(x))[:, 0])


@pytest.mark.parametrize("form", ["array", "list", "two"])
def test_symbols_that_the_table_of_a_model_does_not_have(form):
    class Two(Symbols):
        def run(self, left, right):
            return self.head(self.table(right)[:, 0] + self.table(left)[:, 0])

    good = [RNG.integers(0, 7, 5) for _ in range(24)]
    bad = changed(good, LAST, np.array([1, 2, 3, 4, 7]))
    good, bad = (x if form == "list" else np.array(x) for x in (good, bad))
    if form == "two":
        good, bad = (good, good), (good, bad)
    model, optimizer = Two() if form == "two" else Symbols(), pylstm.SGD()
    before = everything(model, optimizer)
    options = {"loss": "cross_entropy", "optimizer": optimizer, "batch_size": 4, "shuffle": False, "verbose": 0}
    for x, more in [(bad, {}), (good, {"validation_data": (bad, Y)})]:
        with pytest.raises(IndexError, match=r"x holds 7, but the rows of Embedding"):
            model.fit(x, Y, **more, **options)
    assert everything(model, optimizer) == before


def test_symbols_that_a_model_changes_where_it_must_are_its_own_business():
    x = changed(RNG.integers(0, 7, (24, 5)), LAST, 9)

    def change(x):
        return x % 7 if x.max() > 6 else x

    Symbols(change).fit(x, Y, loss="cross_entropy", optimizer=pylstm.SGD(), batch_size=4, shuffle=False, verbose=0)


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    def refuse(path, flags, *more, **options):
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", path)
        return right(path, flags, *more, **options)

    right = os.open
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError) as caught:
        chain().fit(X, Y, loss="cross_entropy", optimizer=pylstm.SGD(), verbose=0,
                    callbacks=[pylstm.ModelCheckpoint(tmp_path / "m.npz")])  # fmt: skip
    assert caught.value.filename == str(tmp_path)


def test_a_folder_with_the_epoch_in_its_name_is_known_later(tmp_path):
    (tmp_path / "1").mkdir()
    chain().fit(X, Y, loss="cross_entropy", optimizer=pylstm.SGD(), verbose=0,
                callbacks=[pylstm.ModelCheckpoint(tmp_path / "{epoch}" / "m.npz")])  # fmt: skip
    assert (tmp_path / "1" / "m.npz").exists()


def test_a_checkpoint_that_is_there_stays_until_it_is_replaced(tmp_path):
    path = tmp_path / "m.npz"
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match="did you mean"):
        chain().fit(X, Y, loss="cross_entropy", optimizer=pylstm.SGD(), verbose=0,
                    callbacks=[pylstm.ModelCheckpoint(path), pylstm.EarlyStopping(monitor="los")])  # fmt: skip
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["m.npz"]


def test_figures_that_somebody_adds_are_known_at_the_end_of_the_epoch(tmp_path):
    class Adds(pylstm.Callback):
        def end_epoch(self, training):
            training.logs["mine"] = 1.0

    watch = [Adds(), pylstm.EarlyStopping(monitor="mine"), pylstm.ModelCheckpoint(tmp_path / "{mine}.npz")]
    chain().fit(X, Y, loss="cross_entropy", optimizer=pylstm.SGD(), verbose=0, callbacks=watch)
    assert [p.name for p in tmp_path.iterdir()] == ["1.0.npz"]


@pytest.mark.parametrize("make", [chain, Net], ids=["chain", "model"])
def test_the_checks_leave_no_trace_in_what_is_trained(make, monkeypatch):
    """The same bits as without them, and the look at a model's own run shows in nothing."""
    options = {"loss": "cross_entropy", "epochs": 2, "batch_size": 5, "seed": 3, "verbose": 0}
    checked, plain = make(), make()
    checked.fit(X, Y, optimizer=pylstm.Adam(), validation_data=(X, Y), **options)
    monkeypatch.setattr("pylstm.training.loop.before_training", lambda *_, **__: None)
    plain.fit(X, Y, optimizer=pylstm.Adam(), validation_data=(X, Y), **options)
    assert getattr(checked, "runs", 0) == getattr(plain, "runs", 0)
    for name, value in plain.params.items():
        assert checked.params[name].tobytes() == value.tobytes()
    assert checked._dropout_state() == plain._dropout_state()


@pytest.mark.parametrize("in_chain", [False, True])
def test_the_look_takes_back_what_a_run_of_somebodys_own_changes(in_chain):
    class Noise(pylstm.Layer):
        keeps_time = True

        def __init__(self):
            super().__init__()
            self.rng, self.old = np.random.default_rng(0), np.random.RandomState(1)
            self.calls = 0

        def __call__(self, x, *, lengths=None):  # noqa: ARG002
            self.calls, self.seen = self.calls + 1, x
            return x + self.rng.standard_normal() + self.old.standard_normal() + np.random.standard_normal()  # noqa: NPY002

        def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
            return self(x, lengths=lengths), lambda dy: (dy, {})

    class Inner(Net):
        def __init__(self):
            super().__init__()
            self.noise = [Noise()]

        def run(self, x, lengths=None):
            return super().run(self.noise[0](x), lengths=lengths)

    class Outer(pylstm.Model):
        keeps_time = False

        def __init__(self):
            self.inner = {"net": Inner()}

        def run(self, x, lengths=None):
            return self.inner["net"](x, lengths=lengths)

    model = Outer()
    inner = model.inner["net"]
    noise = inner.noise[0]
    if in_chain:
        noise = Noise()
        model = pylstm.Sequential([noise, *chain().layers])

    def state():
        return [sorted(vars(noise)), noise.calls, noise.rng.bit_generator.state, noise.old.get_state(legacy=False),
                np.random.get_state(legacy=False), inner.runs, hasattr(inner, "seen")]  # fmt: skip  # noqa: NPY002

    before = state()
    with pytest.raises(ValueError, match=r"got 3 in y\[23\]"):
        model.fit(X, LATE, loss="cross_entropy", optimizer=pylstm.SGD(), verbose=0)
    np.testing.assert_equal(state(), before)


def test_prediction_leaves_attributes_alone():
    """Threads predict with one model at the same time."""

    class Sets(Net):
        def run(self, x, lengths=None):  # noqa: ARG002
            self.seen = x.shape
            self.runs += 1
            return self.head(pylstm.concatenate([x, x[:, :1]], axis=1))

    model = Sets()
    model.predict(X[:, 0])
    assert model.seen == (24, 3)
    assert model.runs == 1


def test_a_look_at_truncated_training_is_as_long_as_its_pieces():
    steps = []

    class Notes(pylstm.Layer):
        keeps_time = steps_apart = True

        def __call__(self, x, *, lengths=None):  # noqa: ARG002
            steps.append(x.shape[1])
            return x

        def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
            return self(x, lengths=lengths), lambda dy: (dy, {})

    model = pylstm.Sequential([Notes(), pylstm.GRU(3, 4, batch_first=True), pylstm.Linear(4, 1)], seed=0)
    x, y = np.zeros((2, 60, 3), "f"), np.zeros((2, 60, 1), "f")
    for lengths in (None, [60, 50]):
        model.fit(x, y, loss="mse", optimizer=pylstm.SGD(), truncate=20, lengths=lengths, verbose=0)
    assert steps == 8 * [20]
