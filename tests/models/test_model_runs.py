"""What a run leaves behind, and what may happen around it."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import pylstm
import pylstm.reference
from support.models import F64, RNG, Captioner, Each, linear


def test_inputs_and_constants_may_be_written_to_after_forward():
    weights, index = np.ones(3), np.array([0, 2])
    net = Each(lambda net, x: (net.linear(x) * weights)[:, index] ** 2 * x.sum(), linear=linear(**F64))
    x = RNG.standard_normal((4, 2))
    y, backward = net.forward(x)
    d = np.ones_like(y)
    expected = net.forward(x)[1](d)
    x += 1
    y *= 0
    weights += 5
    index[:] = 1
    net.load_state_dict({name: value * 0 for name, value in net.state_dict().items()})
    found = backward(d)
    np.testing.assert_array_equal(found[0], expected[0])
    for name, value in expected[1].items():
        np.testing.assert_array_equal(found[1][name], value)


def test_a_layer_replaced_between_forward_and_backward():
    net = Each(lambda net, x: net.linear(x), linear=linear())
    y, backward = net.forward(np.ones((1, 2)))
    net.linear = pylstm.Linear(5, 5)
    assert backward(np.ones_like(y))[1]["linear.weight"].shape == (3, 2)
    net.linear = linear()
    _, backward = net.forward(np.ones((1, 2)))
    del net.linear
    assert "linear.bias" in backward(np.ones_like(y))[1]


def test_10000_steps():
    net = Each(lambda net, x: _chain(net, x), linear=pylstm.Linear(1, 1, **F64))
    net.load_state_dict({"linear.weight": [[0.999]], "linear.bias": [0.1]})
    x = np.ones((1, 1))
    y, backward = net.forward(x)
    np.testing.assert_array_equal(net(x), y)
    dx, grads = backward(np.ones_like(y))
    h, d_weight = 1.0, 0.0
    for _ in range(5000):
        d_weight = 0.999 * d_weight + h
        h = h * 0.999 + 0.1
    assert dx[0, 0] == pytest.approx(0.999**5000, rel=1e-9)
    assert grads["linear.weight"][0, 0] == pytest.approx(d_weight, rel=1e-9)


def _chain(net, x):
    for _ in range(5000):
        x = net.linear(x).reshape(1, 1)
    return x


def test_recorded_memory_is_free_after_the_sweep():
    net = Each(lambda net, x: net.linear(x).tanh().exp() * x.sum(), linear=pylstm.Linear(100, 1000))
    x = np.ones((1000, 100), np.float32)
    for use in (lambda: net(x), lambda: net.forward(x)[1](None)):
        use()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    y, backward = net.forward(x)
    recorded = tracemalloc.get_traced_memory()[0] - before
    d = np.ones_like(y)
    grads = backward(d)
    gc.disable()
    try:
        after = tracemalloc.get_traced_memory()[0] - before - y.nbytes - d.nbytes - grads[0].nbytes
    finally:
        gc.enable()
        tracemalloc.stop()
    assert recorded > 8e6
    assert after < 1.5e6  # the gradients of the parameters, and what the interpreter keeps
    values = []
    net = Each(lambda net, x: values.append(x * 2) or x, linear=linear())  # noqa: ARG005
    net(np.ones(2))
    assert values[0]._run.tape is None


def test_a_value_that_is_kept_keeps_nothing_else():
    kept, watched = [], []

    def run(net, x):  # noqa: ARG001
        kept.append(x.tanh())
        big = np.ones(3).view(Watched)
        watched.append(weakref.ref(big))
        return x * big + 1  # the constant is copied

    net = Each(run)
    _, backward = net.forward(np.ones(3))
    gc.collect()
    assert watched[0]() is None
    nodes = weakref.ref(backward._tape)
    del backward
    gc.collect()
    assert nodes() is None
    with pytest.raises(RuntimeError, match="a run that is over"):
        kept[0] + 1
    with pytest.raises(RuntimeError, match="a run that is over"):
        kept[0].tanh()
    np.testing.assert_array_equal(kept[0].numpy(), np.tanh(np.ones(3)))
    with pytest.raises(TypeError, match="no plain array"):
        linear()(kept[0])
    net = Each(lambda net, x: x * kept[0])  # noqa: ARG005
    with pytest.raises(RuntimeError, match="different runs"):
        net.forward(np.ones(3))


class Watched(np.ndarray):
    pass


def test_an_error_in_run_leaves_nothing_behind():
    layer = linear()

    def run(net, x, stop):
        net.layer(x)
        if stop:
            raise stop
        return x * 1

    net = Each(run, layer=layer)
    for error in (ValueError("mine"), KeyboardInterrupt(), SystemExit(), MemoryError()):
        for call in (net, net.forward):
            with pytest.raises(type(error)):
                call(np.ones(2), error)
            assert type(layer(np.ones(2))) is np.ndarray
            assert type(net(np.ones(2), None)) is np.ndarray


def test_threads_may_run_one_model_at_once():
    net = Captioner(6, 9, 5, **F64)
    image, words = RNG.standard_normal((2, 6)), RNG.integers(0, 9, (2, 3))
    expected, expected_grads = net(image, words), net.forward(image, words)[1](np.ones((2, 3, 9)))[1]
    wrong = []

    def work():
        for _ in range(20):
            y, backward = net.forward(image, words)
            grads = backward(np.ones_like(y))[1]
            same = (net(image, words) == expected).all() and (y == expected).all()
            if not same or any((np.asarray(v) != np.asarray(grads[k])).any() for k, v in expected_grads.items()):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_value_in_another_thread_is_refused():
    found = []

    def run(net, x):
        def work():
            for use in (lambda: x * 2, lambda: net.layer(x)):
                try:
                    use()
                except (RuntimeError, TypeError) as error:  # noqa: PERF203
                    found.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return net.layer(x)

    Each(run, layer=linear()).forward(np.ones(2))
    assert "one thread" in found[0]
    assert "no plain array" in found[1]


def test_layers_inside_of_layers_compute_plainly():
    """A layer of one's own may call others: what it returns and its `backward` are its affair."""

    class Twice(pylstm.Layer):
        def __init__(self):
            super().__init__()
            self.inner = pylstm.Linear(2, 2, **F64)
            self.dtype, self._param_shapes = self.inner.dtype, self.inner._param_shapes

        @property
        def params(self):
            return self.inner.params

        def __call__(self, x, *, lengths=None):  # noqa: ARG002
            assert type(x) is np.ndarray
            return 2 * self.inner(x)

        def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
            y, backward = self.inner.forward(x)
            assert type(self.inner(x)) is np.ndarray
            return 2 * y, lambda dy: backward(2 * np.asarray(dy))

    net = Each(lambda net, x: net.twice(net.twice(x)).sum(), twice=Twice())
    x = RNG.standard_normal((3, 2))
    y, backward = net.forward(x)
    assert y == net(x)
    dx, grads = backward(1.0)
    w, b = (np.asarray(net.params[f"twice.{k}"]) for k in ("weight", "bias"))
    np.testing.assert_allclose(dx, np.ones((3, 2)) @ (2 * w) @ (2 * w), rtol=1e-12)
    np.testing.assert_allclose(grads["twice.bias"], 3 * 2 * np.ones(2) + 3 * np.ones(2) @ (2 * w) * 2, rtol=1e-12)
    assert b.shape == (2,)


def test_a_layer_of_several_inputs_and_outputs():
    class Mix(pylstm.Layer):
        def __call__(self, a, b, *, lengths=None):  # noqa: ARG002
            return a * b, a + b

        def forward(self, a, b, *, lengths=None, need_dx=True):
            assert need_dx
            return self(a, b, lengths=lengths), lambda dp, ds: (
                tuple((0 if dp is None else dp * o) + (0 if ds is None else ds) for o in (b, a)), {},
            )  # fmt: skip

    def run(net, a, b):
        product, total = net.mix(a, b)
        product, _ = net.mix(product, total)
        return product

    net, (a, b) = Each(run, mix=Mix()), RNG.standard_normal((2, 3))
    y, backward = net.forward(a, b)
    np.testing.assert_array_equal(y, a * b * (a + b))
    (da, db), _ = backward(np.ones(3))
    np.testing.assert_allclose(da, 2 * a * b + b * b, rtol=1e-12)
    np.testing.assert_allclose(db, 2 * a * b + a * a, rtol=1e-12)


def test_a_model_in_a_model_and_recursion():
    class Tree(pylstm.Model):
        def __init__(self):
            self.join = pylstm.Linear(4, 2, seed=0, **F64)

        def run(self, left, right):
            left, right = (self(*x) if isinstance(x, tuple) else x for x in (left, right))
            return self.join(pylstm.concatenate([left, right])).tanh()

    a, b, c = RNG.standard_normal((3, 2))
    net = Tree()
    y, backward = net.forward((a, b), (b, (c, a)))
    np.testing.assert_array_equal(net((a, b), (b, (c, a))), y)
    d_inputs, grads = backward(np.ones(2))
    assert list(grads) == ["join.weight", "join.bias"]
    eps = np.array([1e-6, 0])
    slope = (net((a + eps, b), (b, (c, a))) - net((a - eps, b), (b, (c, a)))).sum() / 2e-6
    assert d_inputs[0][0][0] == pytest.approx(slope, rel=1e-6)


def test_dropout_is_active_in_forward_only():
    net = Each(lambda net, x: net.dropout(x) + net.chain(x), dropout=pylstm.Dropout(0.5, seed=0),
               chain=pylstm.Sequential([pylstm.Dropout(0.5, seed=1)]))  # fmt: skip
    x = np.ones((20, 20))
    np.testing.assert_array_equal(net(x), 2 * x)
    state = net._dropout_state()
    y, backward = net.forward(x)
    assert set(np.unique(y)) == {0, 2, 4}
    np.testing.assert_array_equal(backward(np.ones_like(x))[0], y)
    assert (net.forward(x)[0] != y).any()
    net._set_dropout_state(state)
    np.testing.assert_array_equal(net.forward(x)[0], y)
    for seed in (5, 5):
        net._seed_dropout(np.random.SeedSequence(seed))
        again = net.forward(x)[0]
    net._seed_dropout(np.random.SeedSequence(5))
    np.testing.assert_array_equal(net.forward(x)[0], again)


def test_containers_inside():
    columns = pylstm.Columns([pylstm.Embedding(4, 2, **F64), pylstm.Embedding(5, 3, **F64)])
    chain = pylstm.Sequential(
        [pylstm.GRU(5, 5, batch_first=True, **F64), pylstm.LastStep(), pylstm.Linear(5, 2, **F64)]
    )
    net = Each(lambda net, x, lengths: net.chain(net.columns(x), lengths=lengths).sum(), columns=columns, chain=chain)
    x = np.stack([RNG.integers(0, 4, (3, 4)), RNG.integers(0, 5, (3, 4))], axis=-1)
    twin = pylstm.Sequential([columns, *chain.layers])
    lengths = [4, 1, 2]
    y, backward = net.forward(x, lengths=lengths)
    theirs, their_backward = twin.forward(x, lengths=lengths)
    assert y == theirs.sum() == net(x, lengths=lengths)
    ours, expected = backward(1.0)[1], their_backward(np.ones_like(theirs))[1]
    for mine, other in zip(ours.values(), expected.values(), strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))


def test_a_model_as_a_layer_of_a_sequential():
    class Shaped(Each):
        keeps_time = True

        def input_shape(self):
            return (None, None, 2)

        def output_shape(self, shape):
            return (*shape[:-1], 3)

    inner = Shaped(lambda net, x, lengths=None: net.layer(x, lengths=lengths)[0].tanh(),
                   layer=pylstm.LSTM(2, 3, batch_first=True, **F64))  # fmt: skip
    chain = pylstm.Sequential([inner, pylstm.LastStep()])
    x = RNG.standard_normal((2, 4, 2))
    y, backward = chain.forward(x, lengths=[4, 2])
    np.testing.assert_array_equal(chain(x, lengths=[4, 2]), y)
    dx, grads = backward(np.ones_like(y))
    assert dx.shape == x.shape
    assert list(grads) == [f"0.layer.{name}" for name in inner.layer.params]
