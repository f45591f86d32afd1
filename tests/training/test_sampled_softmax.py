"""`SampledSoftmax`: the value and gradients of its definition, and a training with it."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pylstm
from pylstm import _core
from pylstm.layers.linear import LinearOutputs
from pylstm.layers.row_gradient import RowGradient
from pylstm.losses.by_name import loss_function
from pylstm.losses.sampled_softmax import sampled_loss
from pylstm.reference import sampled_softmax as twin

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "golden" / "sampled_softmax" / "golden.npz"
V, C = 30, 25


def of_samples(hidden, weight, bias, targets, sampled, expected, class_weight=None, need_dx=True):
    """`sampled_loss` with targets of which -100 does not count."""
    outputs = LinearOutputs(hidden, weight, bias, need_dx)
    counts, order = targets != -100, np.argsort(sampled)
    labels = targets[counts]
    weights = None if class_weight is None else class_weight[labels]
    return sampled_loss(
        outputs, counts, labels, weights, sampled[order], np.log(expected)[sampled[order]], np.log(expected)[labels]
    )


def problem(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    rows, size, classes = (int(rng.integers(1, most)) for most in (40, 12, 60))
    hidden, weight = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, size), (classes, size)))
    bias = rng.standard_normal(classes).astype(dtype) if seed % 3 else None
    targets = rng.integers(0, classes, rows)
    targets[rng.random(rows) < 0.2] = -100
    sampled = rng.permutation(classes)[: int(rng.integers(1, classes + 1))]
    class_weight = None if seed % 2 else rng.random(classes).astype(dtype)
    return hidden, weight, bias, targets, sampled, rng.uniform(0.01, 1, classes), class_weight


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_twin(dtype, tolerance):
    for seed in range(40):
        *given, class_weight = problem(seed, dtype)
        if (given[3] == -100).all():
            continue
        value, gradients = twin.sampled_softmax(*given, class_weight=class_weight)
        loss = of_samples(*given, class_weight)
        assert loss.mean == pytest.approx(value, rel=tolerance, abs=tolerance)
        d_hidden, d_params = loss.gradient
        assert list(d_params) == ["weight"] if given[2] is None else ["weight", "bias"]
        for got, want in zip([d_hidden, *map(np.asarray, d_params.values())], gradients, strict=False):
            assert got.dtype == dtype
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def test_central_differences():
    for seed in range(8):
        *given, class_weight = problem(seed)
        gradients = of_samples(*given, class_weight).gradient
        d = [gradients[0], *map(np.asarray, gradients[1].values())]
        rng = np.random.default_rng(1)
        for place, gradient in enumerate(d):
            direction = rng.standard_normal(gradient.shape)
            means = []
            for step in (1e-5, -1e-5):
                moved = list(given)
                moved[place] = moved[place] + step * direction
                means.append(of_samples(*moved, class_weight).mean)
            assert (means[0] - means[1]) / 2e-5 == pytest.approx((gradient * direction).sum(), rel=1e-6, abs=1e-9)


@pytest.mark.skipif(not GOLDEN.is_file(), reason="needs the golden values beside the project")
def test_golden_values_of_tensorflow():
    golden = dict(np.load(GOLDEN))
    order, labels = np.argsort(golden["sampled"]), golden["labels"][:, 0]
    for dtype, tolerance in ((np.float32, 2e-5), (np.float64, 2e-6)):
        for row, want in enumerate(golden["loss"]):  # as one row each: TensorFlow gives a loss per row
            weight, bias, x = (golden[name].astype(dtype) for name in ("weights", "biases", "x"))
            loss = sampled_loss(
                LinearOutputs(x[row : row + 1], weight, bias), np.ones(1, bool), labels[row : row + 1], None,
                golden["sampled"][order], np.log(golden["sampled_expected"].astype("d"))[order],
                np.log(golden["true_expected"].astype("d"))[row : row + 1],
            )  # fmt: skip
            assert loss.mean == pytest.approx(want, rel=tolerance)


def test_formula_in_torch():
    """With accidental hits removed by a large number, as TensorFlow does; and the gradients."""
    torch = pytest.importorskip("torch")
    for seed in (1, 3, 4, 7):
        hidden, weight, bias, targets, sampled, expected, _ = problem(seed)
        if not (targets >= 0).all():
            targets = np.maximum(targets, 0)
        tensors = [torch.tensor(a, requires_grad=True) for a in (hidden, weight, bias) if a is not None]
        t, s, log_q = torch.tensor(targets), torch.tensor(sampled), torch.tensor(np.log(expected))
        offset = -log_q if bias is None else tensors[2] - log_q
        z = tensors[0] @ tensors[1][s].T + offset[s]
        z = z - (t[:, None] == s[None]) * 1e37
        z = torch.cat([(tensors[0] * tensors[1][t]).sum(1, keepdim=True) + offset[t][:, None], z], dim=1)
        value = torch.nn.functional.cross_entropy(z, torch.zeros(len(t), dtype=torch.long))
        value.backward()
        loss = of_samples(hidden, weight, bias, targets, sampled, expected)
        assert loss.mean == pytest.approx(value.item(), rel=1e-12)
        got = [loss.gradient[0], *map(np.asarray, loss.gradient[1].values())]
        for one, tensor in zip(got, tensors, strict=True):
            np.testing.assert_allclose(one, tensor.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_gradients_of_rows_only():
    hidden, weight, bias, targets, sampled, expected, _ = problem(4)
    _, d_params = of_samples(hidden, weight, bias, targets, sampled, expected).gradient
    for gradient, parameter in zip(d_params.values(), (weight, bias), strict=True):
        assert isinstance(gradient, RowGradient)
        assert gradient.shape == parameter.shape
        assert gradient.rows.tolist() == sorted({*sampled.tolist(), *targets[targets >= 0].tolist()})
        assert str(len(gradient.rows)) in repr(gradient)


def test_all_samples_with_equal_counts_are_the_full_softmax():
    """Every class drawn: what is left out is the label itself, once."""
    hidden, weight, bias, targets, _, _, class_weight = problem(4)
    loss = of_samples(hidden, weight, bias, targets, np.arange(len(weight)), np.ones(len(weight)), class_weight)
    kept = {} if class_weight is None else {"class_weight": class_weight}
    value, gradients = pylstm.linear_cross_entropy(hidden, weight, bias, targets, **kept)
    assert loss.mean == pytest.approx(value, rel=1e-12)
    for got, want in zip([loss.gradient[0], *map(np.asarray, loss.gradient[1].values())], gradients, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-14)


def test_nothing_but_hits_and_nothing_that_counts():
    hidden, weight, expected = np.ones((2, 3)), np.ones((4, 3)), np.full(4, 0.5)
    loss = of_samples(hidden, weight, None, np.array([2, 2]), np.array([2]), expected)
    assert (loss.total, loss.weight) == (0, 2)
    assert not np.asarray(loss.gradient[1]["weight"]).any()
    loss = of_samples(hidden * np.nan, weight, np.ones(4), np.array([-100, -100]), np.array([2]), expected)
    assert (loss.total, loss.weight, loss.mean) == (0, 0, 0)
    assert not loss.gradient[0].any()
    assert not np.asarray(loss.gradient[1]["weight"]).any()


def test_large_logits():
    rng = np.random.default_rng(0)
    hidden, weight = (rng.standard_normal(shape).astype("f") * 100 for shape in ((20, 8), (50, 8)))
    targets, sampled, expected = rng.integers(0, 50, 20), np.arange(0, 50, 2), np.full(50, 1e-30)
    loss = of_samples(hidden, weight, None, targets, sampled, expected)
    value, gradients = twin.sampled_softmax(hidden.astype("d"), weight.astype("d"), None, targets, sampled, expected)
    assert loss.mean == pytest.approx(value, rel=1e-5)
    assert np.isfinite(np.asarray(loss.gradient[1]["weight"])).all()
    np.testing.assert_allclose(loss.gradient[0], gradients[0], atol=1e-2)


# ---- in fit ----------------------------------------------------------------------------------------------------------


def chain(per_step=True, bias=True, seed=0, dtype=np.float64, dropout=0.0):
    layers = [pylstm.Embedding(V, 6, dtype=dtype), pylstm.LSTM(6, 9, batch_first=True, dtype=dtype)]
    layers += [pylstm.Dropout(dropout)] * bool(dropout) + ([] if per_step else [pylstm.LastStep()])
    return pylstm.Sequential([*layers, pylstm.Linear(9, C, bias, dtype=dtype)], seed=seed)


class Plain(pylstm.Model):
    """Its last layer is used in the middle, too."""

    keeps_time = True

    def __init__(self):
        self.embed = pylstm.Embedding(V, C, dtype=np.float64, seed=1)
        self.lstm = pylstm.LSTM(C, C, batch_first=True, dtype=np.float64, seed=2)
        self.head = pylstm.Linear(C, C, dtype=np.float64, seed=3)

    def run(self, x, lengths=None):
        y, _ = self.lstm(self.head(self.embed(x)).tanh(), lengths=lengths)
        return self.head(y)


class InModel(pylstm.Model):
    keeps_time = True

    def __init__(self):
        self.chain = chain()

    def run(self, x, lengths=None):
        return self.chain(x, lengths=lengths)


def data(per_step=True, ragged=True, n=20):
    rng = np.random.default_rng(0)
    x = [rng.integers(0, V, length) for length in (rng.integers(1, 9, n) if ragged else np.full(n, 6))]
    y = [row % C for row in x] if per_step else np.array([row[-1] % C for row in x])
    if per_step:
        y[0][0] = -100
    else:
        y[3] = -100
    return (x, y) if ragged else (np.array(x), np.array(y))


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
    "a chain in a model": (InModel, {}, {}),
    "a shared layer": (Plain, {}, {}),
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


# ---- errors ----------------------------------------------------------------------------------------------------------


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
        (Plain, pylstm.SampledSoftmax(C + 1, "unigram"), {}, ValueError, "num_samples.*25.*26"),
        (chain, pylstm.SampledSoftmax(2, np.ones(C + 1)), {}, ValueError, "distribution.*26.*25"),
        (activation_behind, pylstm.SampledSoftmax(2), {}, ValueError, "SampledSoftmax.*Linear.*last layer"),
        (linear_of_ones_own, pylstm.SampledSoftmax(2), {}, ValueError, "SampledSoftmax.*Linear.*last layer"),
        (Twice, pylstm.SampledSoftmax(2), {}, TypeError, "one output"),
        (chain, pylstm.SampledSoftmax, {}, TypeError, "loss"),
        (chain, pylstm.SampledSoftmax(2), {"class_weight": [1.0, 2.0]}, ValueError, "class_weight"),
        (chain, pylstm.SampledSoftmax(2), {"class_weight": "balanced"}, ValueError, "class_weight"),
        (chain, pylstm.SampledSoftmax(2), {"metrics": ["precision"]}, TypeError, "metrics"),
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
        train(net, x, y)
