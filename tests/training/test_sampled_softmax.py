"""`SampledSoftmax`: training with classes drawn."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import numpy as np
import pytest

import pylstm
from pylstm import _core
from pylstm.losses.by_name import loss_function
from support.heads import C, Plain, Tied, chain, data


def train(model, x, y, loss=None, optimizer=None, **options):
    options = {"batch_size": 7, "epochs": 2, "seed": 3, "verbose": 0, **options}
    loss = pylstm.SampledSoftmax(10) if loss is None else loss
    history = model.fit(x, y, loss=loss, optimizer=optimizer or pylstm.Adam(1e-2), **options)
    del history["seconds"]
    return history


def bits(model):
    return {name: value.tobytes() for name, value in model.params.items()}


ALL = {"distribution": np.ones(C), "num_samples": C}  # every class, each as often as all others
CASES = {
    "per step": (chain, {}, {}),
    "per sequence": (partial(chain, per_step=False), {"per_step": False}, {}),
    "no bias": (partial(chain, bias=False), {}, {}),
    "not ragged": (chain, {"ragged": False}, {}),
    "weighted": (chain, {}, {"class_weight": {1: 0.0, 2: 3.0}}),
    "truncated": (chain, {"ragged": False}, {"truncate": 4}),
    "reduced": (chain, {}, {"reduce": lambda grads, weight: (grads, weight)}),
    "clipped": (chain, {}, {"clip_norm": 0.05, "clip_value": 0.01}),
    "in a chain": (lambda: pylstm.Sequential([*chain().layers[:2], pylstm.Sequential(chain().layers[2:])]), {}, {}),
    "a chain in a model": (Plain, {}, {}),
    "a shared layer": (Tied, {}, {}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("optimizer", [pylstm.Adam, pylstm.SGD, partial(pylstm.RMSprop, momentum=0.5)])
def test_with_every_class_drawn_it_is_the_full_softmax(case, optimizer):
    """Nearly: all are drawn with the same expected count, which makes no difference then."""
    make, of_data, options = CASES[case]
    x, y = data(**of_data)
    kept = [make(), make()]
    losses = ["cross_entropy", pylstm.SampledSoftmax(**ALL)]
    want, got = (
        train(
            net, x, y, loss, optimizer(lr=1e-2), validation_data=(x, y), metrics=["accuracy", "perplexity"], **options
        )
        for net, loss in zip(kept, losses, strict=True)
    )
    assert got.keys() == want.keys() - {"accuracy", "perplexity"}
    for name, values in got.items():
        np.testing.assert_allclose(values, want[name], rtol=1e-8, err_msg=name)
    for name, value in kept[0].params.items():
        np.testing.assert_allclose(kept[1].params[name], value, rtol=1e-6, atol=1e-9, err_msg=name)
    assert kept[1].evaluate(x, y) == pytest.approx(kept[0].evaluate(x, y), rel=1e-8)


def test_lazy_steps_leave_other_rows_alone():
    x, y = data()
    y = [np.full(len(row), 3) for row in x]
    rare = np.full(C, 1e-150)
    rare[[3, 5, 6]] = 1
    for optimizer in (pylstm.Adam(1e-2, lazy=True), pylstm.RMSprop(lazy=True), pylstm.SGD(0.1), pylstm.Adagrad()):
        net = chain()
        before = net.layers[-1].state_dict()
        train(net, x, y, pylstm.SampledSoftmax(2, rare), optimizer)
        for name, value in net.layers[-1].params.items():
            moved = np.flatnonzero((value != before[name]).reshape(C, -1).any(axis=1))
            assert set(moved) <= {3, 5, 6}, (optimizer, name)
            assert 3 in moved


@pytest.mark.parametrize("distribution", ["log_uniform", "unigram", np.arange(1.0, C + 1)], ids=str)
def test_the_same_seed_gives_the_same_bits(distribution):
    x, y = data()
    loss = pylstm.SampledSoftmax(10, distribution)
    found = []
    threads = pylstm.get_num_threads()
    try:
        for number in (1, 2, 3):
            pylstm.set_num_threads(number)
            net = chain(dtype=np.float32, dropout=0.2)
            other = pickle.loads(pickle.dumps(loss)) if number == 2 else copy.deepcopy(loss) if number == 3 else loss
            history = train(net, x, y, other)
            found.append((history, bits(net)))
    finally:
        pylstm.set_num_threads(threads)
    assert found[0] == found[1] == found[2]
    net = chain(dtype=np.float32, dropout=0.2)
    assert train(net, x, y, loss, seed=4)["loss"] != found[0][0]["loss"]


def test_one_loss_in_several_fits_and_epochs():
    """The same object again begins as a new one would; samples differ from batch to batch and epoch to epoch."""
    x, y = data()
    loss = pylstm.SampledSoftmax(3)
    first, second = (train(chain(), x, y, loss, pylstm.SGD(0.0), epochs=3) for _ in range(2))
    assert first == second
    assert len(set(first["loss"])) == 3  # nothing is learned: the samples are others


def test_resumed_training_is_as_if_never_interrupted(tmp_path):
    x, y = data()
    path = str(tmp_path / "training.npz")

    def run(net, epochs, **options):
        saved = [pylstm.ModelCheckpoint(path)]
        return train(net, x, y, pylstm.SampledSoftmax(6, "unigram"), epochs=epochs, callbacks=saved, **options)

    straight, resumed = chain(dropout=0.2), chain(dropout=0.2)
    want = run(straight, 5)
    run(chain(dropout=0.2), 3)
    got = run(resumed, 5, resume=path)
    assert got == want
    assert bits(resumed) == bits(straight)


def test_it_learns():
    """The next of 200 symbols, with 20 samples; all of them are asked for in the end."""
    x = (np.arange(13)[None] + np.arange(0, 200, 2)[:, None]) % 200
    layers = [pylstm.Embedding(200, 24), pylstm.LSTM(24, 48, batch_first=True), pylstm.Linear(48, 200)]
    for distribution in ("log_uniform", "unigram"):
        net = pylstm.Sequential(layers, seed=0)
        loss = pylstm.SampledSoftmax(20, distribution)
        options = {"batch_size": 10, "epochs": 25, "validation_data": (x, (x + 1) % 200), "metrics": ["perplexity"]}
        history = train(net, x, (x + 1) % 200, loss, pylstm.Adam(1e-2, lazy=True), **options)
        assert history["val_perplexity"][-1] < 1.5
        assert net.evaluate(x, (x + 1) % 200, metrics=["accuracy"])["accuracy"] > 0.97


def test_processes_that_share_batches_go_the_way_of_one():
    """With the same seed they draw the same classes."""
    x, y = data(ragged=False)
    want = chain()
    train(want, x, y, pylstm.SampledSoftmax(6), pylstm.SGD(0.1), batch_size=20, epochs=1)
    parts = [slice(0, 8), slice(8, None)]
    sent = []
    for part in parts:
        train(
            chain(), x[part], y[part], pylstm.SampledSoftmax(6), pylstm.SGD(0.0), batch_size=20, epochs=1,
            reduce=lambda grads, weight: sent.append((grads, weight)) or (grads, weight),
        )  # fmt: skip
    (first, weight), (second, other) = sent
    total = {name: first[name] + second[name] for name in first}, weight + other
    got = chain()
    train(
        got, x[:8], y[:8], pylstm.SampledSoftmax(6), pylstm.SGD(0.1), batch_size=20, epochs=1, reduce=lambda *_: total
    )
    for name, value in want.params.items():
        np.testing.assert_allclose(got.params[name], value, rtol=1e-9, atol=1e-12)


def test_unigram_counts_what_counts():
    """Targets past a length, and -100, are none."""
    x = np.zeros((3, 4), np.int64)
    y = np.array([[1, 1, 2, -100], [1, 7, 7, 7], [-100, 9, 9, 9]])
    seen = loss_function(pylstm.SampledSoftmax(2, "unigram"))
    seen.count(y, np.array([4, 1, 1]))
    assert seen._frequencies(10).tolist() == [1, 3, 1, 1, 1, 1, 1, 1, 1, 1]
    got = []
    with pytest.MonkeyPatch.context() as patch:
        inner = type(seen).count
        patch.setattr(type(seen), "count", lambda self, t, n: (inner(self, t, n), got.append(self)))
        train(chain(), x, y, pylstm.SampledSoftmax(2, "unigram"), lengths=[4, 1, 1], batch_size=2, epochs=1)
    assert got[0]._frequencies(10).tolist() == [1, 3, 1, 1, 1, 1, 1, 1, 1, 1]


def test_figures_of_training_need_no_full_softmax(monkeypatch):
    x, y = data()
    calls = []
    core = _core.linear_cross_entropy
    monkeypatch.setattr(_core, "linear_cross_entropy", lambda *args: calls.append(1) or core(*args))
    monkeypatch.setattr(pylstm.losses.linear_head, "FEWEST_ROWS", 0)
    net = chain()
    assert train(net, x, y).keys() == {"loss", "lr"}
    assert not calls

    def outputs_seen(y, targets, lengths):  # noqa: ARG001
        return float(y.shape[-1])

    history = train(net, x, y, validation_data=(x, y), metrics=["accuracy", "perplexity", outputs_seen])
    assert history.keys() == {"loss", "val_loss", "val_accuracy", "val_perplexity", "val_outputs_seen", "lr"}
    assert history["val_outputs_seen"] == [C, C]
    np.testing.assert_allclose(history["val_perplexity"], np.exp(history["val_loss"]))
    assert net.evaluate(x, y, metrics=[])["loss"] == pytest.approx(net.evaluate(x, y, loss="cross_entropy")["loss"])
    assert net.evaluate(x, y, loss=pylstm.SampledSoftmax(2)).keys() == {"loss", "accuracy"}


def test_saved_and_copied_models(tmp_path):
    x, y = data()
    net = chain()
    train(net, x, y, pylstm.SampledSoftmax(4, np.ones(C)))
    want = net.evaluate(x, y)
    net.save(tmp_path / "net.npz")
    assert pylstm.load(tmp_path / "net.npz").evaluate(x, y) == want
    for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert other.evaluate(x, y) == want


@pytest.mark.parametrize(("given", "error", "text"),
    [
        ((0,), ValueError, "num_samples"),
        ((-3,), ValueError, "num_samples"),
        ((2.5,), TypeError, "num_samples"),
        (("10",), TypeError, "num_samples"),
        ((10, "uniform"), ValueError, "distribution.*log_uniform.*uniform"),
        ((10, None), TypeError, "distribution"),
        ((10, [[1, 2]]), ValueError, r"distribution.*\(1, 2\)"),
        ((1, []), ValueError, "distribution"),
        ((1, [1.0, 0.0]), ValueError, "distribution.*above 0.*class 1"),
        ((1, [1.0, -1.0]), ValueError, "distribution.*above 0.*class 1"),
        ((1, [np.nan, 1.0]), ValueError, "distribution.*nan.*class 0"),
        ((1, [np.inf, 1.0]), ValueError, "distribution.*inf.*class 0"),
        ((1, [1.0, 1e-300]), ValueError, "distribution.*1e-300"),
        ((1, ["a"]), TypeError, "distribution"),
        ((1, np.ones(3) * 1j), TypeError, "distribution"),
        ((1, np.ma.masked_array([1.0, 2.0], [True, False])), TypeError, "distribution.*masked"),
        ((3, [1.0, 2.0]), ValueError, "num_samples.*2.*3"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_arguments(given, error, text):
    with pytest.raises(error, match=text):
        pylstm.SampledSoftmax(*given)


class Twice(pylstm.Model):
    keeps_time = True

    def __init__(self):
        self.chain = chain()

    def run(self, x, lengths=None):
        y = self.chain(x, lengths=lengths)
        return y, y


def activation_behind():
    return pylstm.Sequential([*chain().layers, pylstm.Activation("tanh")])


class OwnLinear(pylstm.Linear):
    def __call__(self, x, *, lengths=None):
        return super().__call__(x, lengths=lengths)


def linear_of_ones_own():
    return pylstm.Sequential([*chain().layers[:-1], OwnLinear(9, C, dtype=np.float64)])


def counted_targets(x, y):
    return x, [row * 1000 for row in y]


@pytest.mark.parametrize(("make", "loss", "options", "error", "text"),
    [
        (chain, pylstm.SampledSoftmax(C + 1), {}, ValueError, "num_samples.*25.*26"),
        (Tied, pylstm.SampledSoftmax(C + 1, "unigram"), {}, ValueError, "num_samples.*25.*26"),
        (chain, pylstm.SampledSoftmax(2, np.ones(C + 1)), {}, ValueError, "distribution.*26.*25"),
        (activation_behind, pylstm.SampledSoftmax(2), {}, ValueError, "SampledSoftmax.*Linear.*last layer"),
        (linear_of_ones_own, pylstm.SampledSoftmax(2), {}, ValueError, "SampledSoftmax.*Linear.*last layer"),
        (Twice, pylstm.SampledSoftmax(2), {}, TypeError, "one output"),
        (chain, pylstm.SampledSoftmax, {}, TypeError, "loss"),
        (chain, pylstm.SampledSoftmax(2), {"class_weight": [1.0, 2.0]}, ValueError, "class_weight"),
        (chain, pylstm.SampledSoftmax(2), {"class_weight": "balanced"}, ValueError, "class_weight"),
        (chain, pylstm.SampledSoftmax(2), {"metrics": ["hinge"]}, ValueError, "metrics"),
        (chain, pylstm.SampledSoftmax(2), {"y": [[C] * 3] * 20}, ValueError, "targets.*25"),
        (chain, pylstm.SampledSoftmax(2, "unigram"), {"y": [[C] * 3] * 20}, ValueError, "targets.*25"),
        (chain, pylstm.SampledSoftmax(2, "unigram"), {"y": [[0.5] * 3] * 20}, TypeError, "targets"),
    ],
)  # fmt: skip
def test_errors_before_anything_changed(make, loss, options, error, text):
    x, y = data()
    if "y" in options:
        x, y, options = [[1, 2, 3]] * 20, options["y"], {}
    net, optimizer = make(), pylstm.Adam(1e-2)
    before, masks = bits(net), net._dropout_state()
    with pytest.raises(error, match=text):
        train(net, x, y, loss, optimizer, **options)
    assert bits(net) == before
    assert net._dropout_state() == masks
    assert net._loss is None
    assert not optimizer.state_dict()["steps"]


def test_what_was_given_cannot_be_changed_behind_its_back():
    p = np.arange(1.0, C + 1)
    loss = pylstm.SampledSoftmax(3, p)
    p[:] = np.nan
    loss.distribution[:] = 0
    np.testing.assert_allclose(loss.distribution, np.arange(1, C + 1) / C)
    assert (loss.num_samples, pylstm.SampledSoftmax(4, "unigram").distribution) == (3, "unigram")
    assert "3" in repr(loss)
    assert repr(pylstm.SampledSoftmax(4, "unigram")) == "SampledSoftmax(4, 'unigram')"
    with pytest.raises(AttributeError):
        loss.num_samples = 5


def test_infinite_weights_end_training():
    x, y = data()
    net = chain()
    state = net.state_dict()
    net.load_state_dict({**state, list(state)[-1]: np.full(C, np.inf)})
    with pytest.raises(FloatingPointError):
        train(net, x, y, check_finite=False)
