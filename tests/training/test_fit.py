"""fit, evaluate, predict: batches, determinism, going on later, callbacks, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import pylstm
from pylstm.training import data

SYMBOLS = 12


def model(seed=0, per_step=False, dropout=0.3, dtype=np.float32, **options):
    recurrent = pylstm.LSTM(8, 10, 2, batch_first=True, dropout=dropout, dtype=dtype, **options)
    width = 20 if options.get("bidirectional") else 10
    layers = [pylstm.Embedding(SYMBOLS, 8, padding_idx=0, dtype=dtype), recurrent, pylstm.Dropout(dropout)]
    if per_step:
        return pylstm.Sequential([*layers, pylstm.Linear(width, 3, dtype=dtype)], seed=seed)
    return pylstm.Sequential([*layers, pylstm.LastStep(), pylstm.Linear(width, 1, dtype=dtype)], seed=seed)


def sequences(count=90, longest=9, seed=0):
    rng = np.random.default_rng(seed)
    x = [rng.integers(1, SYMBOLS, n) for n in rng.integers(1, longest + 1, count)]
    return x, np.array([int((s <= 3).any()) for s in x]), [s % 3 for s in x]


def fit(net, x, y, per_step=False, optimizer=None, **options):
    loss = "cross_entropy" if per_step else "binary_cross_entropy"
    defaults = {"epochs": 3, "batch_size": 16, "verbose": 0, "seed": 5}
    return net.fit(x, y, loss=loss, optimizer=optimizer or pylstm.Adam(1e-2), **{**defaults, **options})


def same_bits(a, b):
    return all(a.params[name].tobytes() == value.tobytes() for name, value in b.params.items())


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


# ---- forms of data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_step", [False, True], ids=["sequence", "step"])
def test_lists_and_padded_arrays_are_the_same(per_step):
    x, labels, tags = sequences()
    lengths = np.array([len(s) for s in x])
    padded = data.pad(x, 11, np.int64)
    padded[np.arange(11) >= lengths[:, None]] = 7  # whatever stands there
    y = tags if per_step else labels
    y_padded = data.pad(tags, 11, np.int64) if per_step else labels
    nets = [model(per_step=per_step) for _ in range(2)]
    histories = [
        fit(nets[0], x, y, per_step, validation_data=(x, y)),
        fit(nets[1], padded, y_padded, per_step, lengths=lengths, validation_data=(padded, y_padded, lengths)),
    ]
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert histories[0][name] == histories[1][name]
    assert same_bits(*nets)
    results = [nets[0].predict(x), nets[0].predict(padded, lengths=lengths)]
    if per_step:
        assert results[1].shape == (len(x), 11, 3)
        for row, wanted, length in zip(results[1], results[0], lengths, strict=True):
            np.testing.assert_array_equal(row[:length], wanted)
            assert (row[length:] == 0).all()
    else:
        np.testing.assert_array_equal(*results)


def test_predict_keeps_the_order_and_equals_one_by_one():
    x, _, _ = sequences(50)
    for per_step in (False, True):
        net = model(per_step=per_step)
        for got, s in zip(net.predict(x, batch_size=7), x, strict=True):
            np.testing.assert_allclose(got, net(s[None])[0], rtol=1e-5, atol=1e-6)
    probabilities = net.predict(x, activation="softmax")
    np.testing.assert_allclose(probabilities[3].sum(axis=-1), 1, rtol=1e-5)
    assert net.predict([]) == []
    assert model().predict(np.zeros((0, 4), int)).shape == (0, 1)


def test_batches_cover_everything_once_and_pad_little():
    x, _, _ = sequences(1000, longest=60)
    inputs = data.Sequences(x)
    rng = np.random.default_rng(0)
    batches = inputs.batches(16, rng)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    padded = sum(len(rows) * inputs.batch(rows)[0].shape[1] for rows in batches)
    assert padded < 1.1 * sum(map(len, x))
    again = inputs.batches(16, rng)
    assert any(a.tolist() != b.tolist() for a, b in zip(batches, again, strict=True))
    lengths = [len(x[rows[0]]) for rows in batches]
    assert sorted(lengths) != lengths  # not from short to long
    assert [rows.tolist() for rows in inputs.batches(300, None)][1] == list(range(300, 600))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [0, 1]}, "90 sequences and y 2"),
        ({"y": ["a"] * 90}, "y must hold numbers"),
        ({"x": [np.zeros((2, 2), int)] + [np.zeros(2, int)] * 89}, "differ in length only"),
        ({"x": [["a"]] * 90}, "must hold numbers"),
        ({"x": 3.5}, "array of numbers"),
        ({"lengths": [1] * 90}, "lengths of its own"),
        ({"loss": "hinge"}, "binary_cross_entropy"),
        ({"optimizer": "adam"}, "Adam"),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": 1.5}, "epochs"),
        ({"validation_data": ([1],)}, "validation_data"),
        ({"callbacks": [3]}, "callbacks"),
        ({"metrics": ["f1"]}, "metrics"),
        ({"class_weight": "even"}, "balanced"),
        ({"x": [], "y": []}, "no sequences"),
        ({"truncate": 3}, "one output per step"),
        ({"callbacks": [pylstm.EarlyStopping()]}, "val_loss.*give validation_data"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments(change, message):
    x, y, _ = sequences()
    arguments = {"x": x, "y": y, "loss": "binary_cross_entropy", "optimizer": pylstm.Adam(), "verbose": 0, **change}
    with pytest.raises((TypeError, ValueError), match=message):
        model().fit(**arguments)


def test_targets_per_step_must_fit():
    x, y, tags = sequences()
    with pytest.raises(ValueError, match=r"y\[4\] must have a target for each"):
        fit(model(per_step=True), x, [*tags[:4], tags[4][1:].tolist() + [0, 0], *tags[5:]], True)
    with pytest.raises(ValueError, match="one output per step"):
        fit(model(per_step=True), x, y, True)
    with pytest.raises(ValueError, match="say which loss"):
        model().evaluate(x, y)


# ---- the same bits ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits():
    x, y, _ = sequences()
    nets = [model() for _ in range(3)]
    histories = [fit(net, x, y, seed=seed) for net, seed in zip(nets, (1, 1, 2), strict=True)]
    assert same_bits(nets[0], nets[1])
    assert histories[0]["loss"] == histories[1]["loss"]
    assert not same_bits(nets[0], nets[2])


PROGRAM = """
import hashlib, sys
import numpy as np, pylstm
rng = np.random.default_rng(0)
x = [rng.integers(1, 300, n) for n in rng.integers(1, 40, 200)]
y = [s % 50 for s in x]
net = pylstm.Sequential([
    pylstm.Embedding(300, 48), pylstm.LSTM(48, 64, 2, batch_first=True, bidirectional=True, dropout=0.2),
    pylstm.Dropout(0.2), pylstm.Linear(128, 50),
], seed=0)
adam = pylstm.Adam(1e-2)
net.fit(x, y, loss="cross_entropy", optimizer=adam, batch_size=64, epochs=2, clip_norm=1.0, seed=1, verbose=0)
from pylstm import _core
from pylstm.training.gradients import sum_of_squares
parts = [v for v in net.params.values()]
for shape in [(1, 20000, 1), (8192, 128, 1), (1, 8192, 128), (900, 256, 700), (300, 3000, 40), (3, 30000, 2)]:
    for dtype in (np.float32, np.float64):
        a, b = (rng.standard_normal(s).astype(dtype) for s in (shape[:2], shape[1:]))
        y = _core.linear(a, b.T.copy(), None, None)
        parts += [y, np.array(sum_of_squares(a)), *_core.linear_backward(a, b.T.copy(), y, True, True, None)]
print(pylstm.get_num_threads(), hashlib.sha256(b"".join(v.tobytes() for v in parts)).hexdigest())
"""


@pytest.mark.slow
def test_the_same_bits_for_any_number_of_threads(tmp_path):
    """Of this library and of what it takes from NumPy."""
    found = {}
    for threads in (1, 2, 3):
        names = ("PYLSTM_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
        env = {**os.environ, **dict.fromkeys(names, str(threads))}
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        count, digest = run.stdout.split()
        found[count] = digest
    assert len(set(found.values())) == 1, found
    assert "1" in found


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("per_step", [False, True], ids=["sequence", "truncated"])
def test_resume_equals_uninterrupted(tmp_path, per_step, suffix):
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    x, labels, tags = sequences()
    y = tags if per_step else labels
    options = {"validation_data": (x[:30], y[:30]), "clip_norm": 1.0}
    if per_step:
        options["truncate"] = 4

    def extras(lr=1e-2):
        return {
            "optimizer": pylstm.Adam(lr),
            "schedule": pylstm.WarmUp(1, pylstm.ReduceOnPlateau(0.5, 0, threshold=0.5)),
        }

    def callbacks(name):
        path = tmp_path / f"{name}.{suffix}"
        return {"callbacks": [pylstm.ModelCheckpoint(path), pylstm.EarlyStopping(patience=50)]}, path

    whole = model(per_step=per_step)
    kept, _ = callbacks("whole")
    want = fit(whole, x, y, per_step, epochs=6, **options, **extras(), **kept)
    assert len(set(want["lr"])) > 2  # the schedule had something to remember

    first = model(per_step=per_step)
    kept, path = callbacks("parts")
    fit(first, x, y, per_step, epochs=3, **options, **extras(), **kept)
    second = model(seed=99, per_step=per_step)  # other weights and another rate: the file's count
    kept, _ = callbacks("parts")
    got = fit(second, x, y, per_step, epochs=6, resume=path, **options, **extras(0.5), **kept, seed=77)
    assert same_bits(whole, second)
    for name in want:
        if name != "seconds":
            assert got[name] == want[name], name
    assert same_bits(pylstm.load(path), pylstm.load(tmp_path / f"whole.{suffix}"))


def test_resume_refuses_what_does_not_fit(tmp_path):
    x, y, _ = sequences(30)
    path = tmp_path / "c.npz"
    net = model()
    fit(net, x, y, epochs=1, callbacks=[pylstm.ModelCheckpoint(path)])
    with pytest.raises(ValueError, match="other callbacks"):
        fit(model(), x, y, resume=path)
    keep = [pylstm.ModelCheckpoint(path)]
    with pytest.raises(ValueError, match="another model"):
        fit(model(bidirectional=True), x, y, resume=path, callbacks=keep)
    with pytest.raises(ValueError, match="not of SGD"):
        fit(model(), x, y, resume=path, callbacks=keep, optimizer=pylstm.SGD(0.1))
    net.save(path)
    with pytest.raises(ValueError, match="without the state of a training"):
        fit(model(), x, y, resume=path, callbacks=keep)
    with pytest.raises(FileNotFoundError):
        fit(model(), x, y, resume=tmp_path / "none.npz", callbacks=keep)


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
        net.fit(x, np.zeros(16), loss="mse", optimizer=pylstm.SGD(), verbose=0)
    for name, value in before.items():
        np.testing.assert_array_equal(net.params[name], value)


@pytest.fixture
def sigint_heard():
    """Python's own handler: a process started in the background of a shell ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
