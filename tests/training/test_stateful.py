"""States that go on from batch to batch."""

from __future__ import annotations

import re

import numpy as np
import pytest

import pylstm

SYMBOLS = 11


def chain(**options):
    lstm = pylstm.LSTM(5, 6, 2, batch_first=True, **options)
    return pylstm.Sequential([
        pylstm.Embedding(SYMBOLS, 5),
        pylstm.Residual([pylstm.GRU(5, 5, batch_first=True)]),
        lstm,
        pylstm.Linear(6 * lstm.num_directions, SYMBOLS),
    ], seed=0)  # fmt: skip


def size_of(outputs, targets, lengths):  # noqa: ARG001
    return float(np.abs(outputs).mean())


def long_text(rng, batches=4, rows=3, steps=5):
    """Whole rows, and the same in batches as they follow one another: (batches * rows, steps)."""
    whole = rng.integers(0, SYMBOLS, (rows, batches * steps + 1))
    x, y = (
        part.reshape(rows, batches, steps).swapaxes(0, 1).reshape(-1, steps) for part in (whole[:, :-1], whole[:, 1:])
    )
    return whole, x, y


@pytest.mark.parametrize("metrics", [["perplexity"], [size_of]], ids=["deferred", "outputs"])
def test_evaluation_is_that_of_the_whole(metrics):
    whole, x, y = long_text(np.random.default_rng(0))
    net = chain()
    options = {"loss": "cross_entropy", "metrics": metrics}
    expected = net.evaluate(whole[:, :-1], whole[:, 1:], **options)
    found = net.evaluate(x, y, stateful=True, batch_size=3, **options)
    assert found == pytest.approx(expected, rel=1e-5)
    assert net.evaluate(x, y, batch_size=3, **options)["loss"] != pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.parametrize("truncate", [None, 2])
def test_training_is_that_of_truncated_whole_sequences(truncate):
    """Batches of 5 steps that go on are a long sequence with an update after every 5 (or 2, 2, 1) steps, to the bit."""
    whole, x, y = long_text(np.random.default_rng(1))
    one, other = chain(dropout=0.3), chain(dropout=0.3)
    options = {"loss": "cross_entropy", "epochs": 2, "seed": 3, "verbose": 0, "batch_size": 3}
    if truncate is None:
        expected = one.fit(
            whole[:, :-1], whole[:, 1:], optimizer=pylstm.Adam(1e-2), truncate=5, shuffle=False, **options
        )
    else:  # pieces of a batch, by hand
        expected = None
        pieces = [
            (whole[:, a:b], whole[:, a + 1 : b + 1])
            for begin in range(0, 20, 5)
            for a, b in ((begin, begin + 2), (begin + 2, begin + 4), (begin + 4, begin + 5))
        ]
        one.fit(lambda: iter(pieces), optimizer=pylstm.Adam(1e-2), stateful=True, **options)
    found = other.fit(x, y, optimizer=pylstm.Adam(1e-2), stateful=True, truncate=truncate, **options)
    for name, value in one.params.items():
        assert value.tobytes() == other.params[name].tobytes(), name
    if expected is not None:
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("stride", "size", "fits"), [(6, 1, True), (2, 3, True), (1, 6, True), (1, 4, False), (6, 2, False)]
)
def test_windows_of_a_series_follow_one_another(stride, size, fits):
    """A window goes on where another one ends if so many strides are as long as it."""
    data = pylstm.windows(np.arange(43.0), past=6, future=1, stride=stride)
    data = pylstm.windows(np.arange(43.0)[: 43 - len(data.x) % size * stride], past=6, future=1, stride=stride)
    net = pylstm.Sequential([pylstm.LSTM(1, 3, batch_first=True), pylstm.LastStep(), pylstm.Linear(3, 1)], seed=0)
    options = {"loss": "mse", "stateful": True, "batch_size": size}
    if fits:
        follows = data.x[size:, 0, 0] == data.x[:-size, -1, 0] + 1
        assert follows.all()
        assert len(net.fit(data, verbose=0, validation_data=data, **options)["val_loss"]) == 1
        return
    said = f"the windows of x do not follow one another: each has 6 steps, .* {stride * size} steps behind"
    with pytest.raises(ValueError, match=said):
        net.fit(data, verbose=0, **options)
    with pytest.raises(ValueError, match=said):
        net.evaluate(data, **options)
    plain = np.array(data.x), np.array(data.y)
    if not len(plain[0]) % size:
        with pytest.raises(ValueError, match="the windows of x of validation_data do not follow"):
            net.fit(*plain, verbose=0, validation_data=data, **options)


def test_an_iterator_goes_on_from_epoch_to_epoch():
    """Two epochs of two batches each are one of four, to the bit; a function begins anew."""
    _, x, y = long_text(np.random.default_rng(5))
    batches = [(x[i : i + 3], y[i : i + 3]) for i in range(0, 12, 3)]
    options = {"loss": "cross_entropy", "stateful": True, "seed": 1, "verbose": 0}
    one, other, anew = chain(), chain(), chain()
    one.fit(lambda: iter(batches), optimizer=pylstm.Adam(1e-2), **options)
    other.fit(iter(batches), optimizer=pylstm.Adam(1e-2), steps_per_epoch=2, epochs=2, **options)
    for name, value in one.params.items():
        assert value.tobytes() == other.params[name].tobytes(), name
    losses = anew.fit(
        lambda: iter(batches), optimizer=pylstm.SGD(0.0), steps_per_epoch=2, epochs=2, **options
    )["loss"]  # fmt: skip
    assert losses[0] == losses[1]


def test_states_of_an_iterator_are_in_no_checkpoint(tmp_path):
    _, x, y = long_text(np.random.default_rng(5))
    batches = [(x[i : i + 3], y[i : i + 3]) for i in range(0, 12, 3)]
    with pytest.raises(
        ValueError, match=r"stateful: x is an iterator, .* which a checkpoint does not hold: leave resume"
    ):
        chain().fit(iter(batches), loss="cross_entropy", stateful=True, steps_per_epoch=2, epochs=2, verbose=0,
                    resume="auto", callbacks=[pylstm.ModelCheckpoint(tmp_path / "m.npz")])  # fmt: skip


def test_another_way_to_carry_states_is_told(tmp_path):
    _, x, y = long_text(np.random.default_rng(6))
    path = tmp_path / "m.npz"
    options = {"loss": "cross_entropy", "batch_size": 3, "verbose": 0}
    chain().fit(x, y, stateful=True, callbacks=[pylstm.ModelCheckpoint(path)], **options)
    with pytest.warns(UserWarning, match="resume with another") as told:
        chain().fit(x, y, truncate=2, epochs=2, resume=path, **options,
                    callbacks=[pylstm.ModelCheckpoint(path)])  # fmt: skip
    texts = sorted(str(one.message) for one in told)
    assert texts == [
        "resume with another stateful: what fit is given counts, False, not True",
        "resume with another truncate: what fit is given counts, 2, not None",
    ]
    assert {one.filename for one in told} == {__file__}


def test_epochs_begin_with_zero():
    _, x, y = long_text(np.random.default_rng(2))
    net = chain()
    history = net.fit(
        x, y, loss="cross_entropy", optimizer=pylstm.SGD(0.0), epochs=3, batch_size=3, stateful=True, verbose=0,
        validation_data=(x, y),
    )  # fmt: skip
    assert history["loss"][0] == history["loss"][1] == history["loss"][2]
    assert history["val_loss"] == pytest.approx(history["loss"], rel=1e-6)
    assert history["val_loss"][0] == net.evaluate(x, y, batch_size=3, stateful=True)["loss"]


def test_lengths_end_where_sequences_end():
    """A state is the one at a sequence's own end, and later batches begin with it."""
    _, x, y = long_text(np.random.default_rng(3), batches=2)
    net = chain()
    lengths = np.array([5, 3, 4, 5, 5, 5])
    found = net.evaluate(x, y, lengths=lengths, loss="cross_entropy", batch_size=3, stateful=True)
    total = 0.0
    for row in range(3):
        both = np.concatenate([x[row, : lengths[row]], x[row + 3]])
        targets = np.concatenate([y[row, : lengths[row]], y[row + 3]])
        total += net.evaluate(both[None], targets[None], loss="cross_entropy")["loss"] * len(both)
    assert found["loss"] == pytest.approx(total / lengths.sum(), rel=1e-5)


def test_a_text_is_learned_from_what_lies_before_the_batch():
    """Which of two symbols comes is known two batches before: only a state that goes on can tell."""
    rng = np.random.default_rng(4)
    starts = rng.integers(1, 3, 400)
    text = np.concatenate([[one, 0, 0, 0, 0, one] for one in starts])
    batches = pylstm.text_batches(text, batch_size=8, steps=3)
    losses = {}
    for stateful in (False, True):
        net = pylstm.Sequential(
            [pylstm.Embedding(3, 8), pylstm.LSTM(8, 16, batch_first=True), pylstm.Linear(16, 3)], seed=0
        )
        net.fit(
            batches, loss="cross_entropy", optimizer=pylstm.Adam(1e-2), epochs=12, stateful=stateful, seed=0, verbose=0
        )
        losses[stateful] = net.evaluate(batches, stateful=stateful)["loss"]
    assert losses[True] < 0.75 * losses[False]


def test_resumed_training_is_the_same(tmp_path):
    _, x, y = long_text(np.random.default_rng(5))
    nets = [chain(dropout=0.2) for _ in range(2)]
    options = {"loss": "cross_entropy", "batch_size": 3, "stateful": True, "seed": 1, "verbose": 0}
    nets[0].fit(x, y, optimizer=pylstm.Adam(1e-2), epochs=4, **options)
    path = tmp_path / "half.npz"
    nets[1].fit(x, y, optimizer=pylstm.Adam(1e-2), epochs=2, callbacks=[pylstm.ModelCheckpoint(path)], **options)
    again = pylstm.load(path)
    again.fit(
        x, y, optimizer=pylstm.Adam(1e-2), epochs=4, resume=path, callbacks=[pylstm.ModelCheckpoint(path)], **options
    )
    for name, value in nets[0].params.items():
        assert value.tobytes() == again.params[name].tobytes()


class Whole(pylstm.Sequential):
    def __call__(self, x, *, lengths=None):
        return super().__call__(x, lengths=lengths)


class Own(pylstm.Model):
    keeps_time = True

    def __init__(self):
        self.net = chain()

    def run(self, x):
        return self.net(x)


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (chain, {"batch_size": 5}, "x holds 12 sequences, which is no multiple of batch_size, 5"),
        (chain, {"batch_size": 3, "micro_batch_size": 1}, "micro_batch_size and stateful: only one"),
        (chain, {"batch_size": 3, "validation_data": 7}, "x of validation_data holds 7 sequences"),
        (lambda: chain(bidirectional=True), {"batch_size": 3}, "stateful cannot carry a state through .* both ends"),
        (Own, {"batch_size": 3}, "stateful is for Sequential"),
        (lambda: Whole(chain().layers), {"batch_size": 3}, "stateful cannot carry a state through Whole"),
    ],
    ids=["count", "micro", "validation", "bidirectional", "model", "own call"],
)
def test_what_cannot_go_on_is_refused_before_training(make, options, words):
    _, x, y = long_text(np.random.default_rng(6))
    net = make()
    if "validation_data" in options:
        options = {**options, "validation_data": (x[:7], y[:7])}
    before = net.state_dict()
    with pytest.raises(ValueError, match=words):
        net.fit(x, y, loss="cross_entropy", stateful=True, verbose=0, **options)
    assert all(value.tobytes() == net.params[name].tobytes() for name, value in before.items())
    if len(options) == 1:
        with pytest.raises(ValueError, match=words):
            net.evaluate(x, y, loss="cross_entropy", stateful=True, **options)


def test_batches_of_another_size():
    rng = np.random.default_rng(7)
    pieces = [(rng.integers(0, SYMBOLS, (n, 4)), rng.integers(0, SYMBOLS, (n, 4))) for n in (3, 3, 2)]
    with pytest.raises(
        ValueError, match=re.escape("batch 3 of epoch 1: stateful: it has 2 sequences, and the batch before it 3")
    ):
        chain().fit(lambda: iter(pieces), loss="cross_entropy", stateful=True, verbose=0)
