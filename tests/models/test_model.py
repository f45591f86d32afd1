"""`Model` and `value_and_grad`: what they promise besides right numbers."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import pylstm
import pylstm.reference

RNG = np.random.default_rng(0)
F64 = {"dtype": np.float64}


class Captioner(pylstm.Model):
    """The example of the documentation."""

    def __init__(self, image_size, words, size, **make):
        self.start, self.embed = pylstm.Linear(image_size, size, **make), pylstm.Embedding(words, size, **make)
        self.lstm = pylstm.LSTM(size, size, batch_first=True, **make)
        self.head = pylstm.Linear(size, words, **make)

    def run(self, image, words, lengths=None):
        h = self.start(image).tanh()
        y, _ = self.lstm(self.embed(words), (h[None], h[None] * 0), lengths=lengths)
        return self.head(y)


class Translator(pylstm.Model):
    """Encoder, decoder and attention, one step at a time with input feeding."""

    def __init__(self, words, size, **make):
        self.source, self.target = pylstm.Embedding(words, size, **make), pylstm.Embedding(words, size, **make)
        self.encoder = pylstm.GRU(size, size, batch_first=True, bidirectional=True, **make)
        self.bridge, self.keys = pylstm.Linear(2 * size, size, **make), pylstm.Linear(2 * size, size, **make)
        self.cell = pylstm.GRU(3 * size, size, batch_first=True, **make)
        self.mix, self.head = pylstm.Linear(3 * size, 2 * size, **make), pylstm.Linear(2 * size, words, **make)

    def run(self, source, target, lengths):
        read, ends = self.encoder(self.source(source), lengths=lengths)
        state = self.bridge(pylstm.concatenate([ends[0], ends[1]], axis=-1)).tanh()[None]
        keys, inside = self.keys(read), np.arange(source.shape[1]) < np.asarray(lengths)[:, None]
        fed, logits = None, []
        for step in self.target(target).swapaxes(0, 1):
            fed = (step[:, None] * 0)[..., :1] @ np.zeros((1, read.shape[-1])) if fed is None else fed
            y, state = self.cell(pylstm.concatenate([step[:, None], fed], axis=-1), state)
            scores = pylstm.where(inside[:, None], y @ keys.swapaxes(1, 2), -1e9)
            fed = self.mix(pylstm.concatenate([scores.softmax() @ read, y], axis=-1)).tanh()
            logits.append(self.head(fed)[:, 0])
        return pylstm.stack(logits, axis=1)


def check_gradients(net, value, rel=1e-6):
    """d_params of `value_and_grad(value)` against central differences along random directions."""
    _, grads = pylstm.value_and_grad(value)(net)
    assert grads.keys() == net.params.keys()
    state, rng = net.state_dict(), np.random.default_rng(1)
    for name, gradient in grads.items():
        direction = rng.standard_normal(state[name].shape)
        found = []
        for sign in (1, -1):
            net.load_state_dict({**state, name: state[name] + sign * 1e-5 * direction})
            found.append(float(np.asarray(value(net))))
        slope = (found[0] - found[1]) / 2e-5
        assert slope == pytest.approx((np.asarray(gradient) * direction).sum(), rel=rel, abs=1e-8), name
    net.load_state_dict(state)


def cross_entropy(logits, targets):
    rows = np.arange(targets.size)
    return -pylstm.log_softmax(logits.reshape(targets.size, -1))[rows, targets.reshape(-1)].mean()


def test_the_captioner():
    net = Captioner(6, 9, 5, **F64)
    image, words, targets = RNG.standard_normal((3, 6)), RNG.integers(0, 9, (3, 4)), RNG.integers(0, 9, (3, 4))
    logits, backward = net.forward(image, words, lengths=[4, 2, 3])
    assert logits.shape == (3, 4, 9)
    np.testing.assert_array_equal(net(image, words, lengths=[4, 2, 3]), logits)
    (d_image, d_words), d_params = backward(np.ones_like(logits))
    assert d_image.shape == image.shape
    assert d_words is None
    assert isinstance(d_params["embed.weight"], pylstm.RowGradient)
    check_gradients(net, lambda net: cross_entropy(net(image, words), targets))


def test_encoder_decoder_with_attention():
    net = Translator(7, 4, **F64)
    source, target = RNG.integers(0, 7, (3, 5)), RNG.integers(0, 7, (3, 4))
    lengths = np.array([5, 2, 3])
    check_gradients(net, lambda net: cross_entropy(net(source, target, lengths=lengths), target))
    padded = source.copy()
    padded[1, 2:] = 6
    np.testing.assert_array_equal(net(padded, target, lengths=lengths), net(source, target, lengths=lengths))


def test_it_learns_with_an_optimizer():
    net, adam = Captioner(3, 5, 8), pylstm.Adam(1e-2)
    net._reseed(np.random.SeedSequence(0))
    image, words = RNG.standard_normal((4, 3)), RNG.integers(0, 5, (4, 6))
    losses = []
    for _ in range(60):
        value, grads = pylstm.value_and_grad(lambda net, *x: cross_entropy(net(*x), words))(net, image, words)
        adam.step(net, grads, clip_norm=1.0)
        losses.append(value)
    assert type(losses[0]) is float
    assert losses[-1] < losses[0] / 4


# ---- names and parameters --------------------------------------------------------------------------------------------


class Holder(pylstm.Model):
    def __init__(self, **attributes):
        vars(self).update(attributes)

    def run(self, x):
        return x * 1


def linear(**options):
    return pylstm.Linear(2, 3, **options)


def test_layers_are_found_and_named():
    shared = linear(bias=False)
    net = Holder(
        _own=linear(), number=3, none=None, word="x", shared=shared, again=shared, array=np.ones(3),
        dropout=pylstm.Dropout(), heads={"left": linear(bias=False), 2: [shared, linear(bias=False)]},
        deep=[(linear(bias=False), [{"a": pylstm.RNN(1, 2, bias=False)}])], model=Holder(inner=linear(bias=False)),
        chain=pylstm.Sequential([linear(bias=False), pylstm.Residual([pylstm.Linear(3, 3, bias=False)])]),
    )  # fmt: skip
    assert list(net.params) == [
        "_own.weight", "_own.bias", "shared.weight", "heads.left.weight", "heads.2.1.weight", "deep.0.0.weight",
        "deep.0.1.0.a.weight_ih_l0", "deep.0.1.0.a.weight_hh_l0", "model.inner.weight", "chain.0.weight",
        "chain.1.0.weight",
    ]  # fmt: skip
    assert net.num_parameters == sum(value.size for value in net.params.values())
    assert not net.params["shared.weight"].flags.writeable
    net.heads[2].append(linear())  # what is changed later is seen
    net.again = None
    assert "heads.2.2.bias" in net.params
    net.shared = None
    assert "heads.2.0.weight" in net.params
    del net.shared, net.heads
    assert len(net.params) == 8


def test_two_parameters_of_one_name_are_refused():
    net = Holder(a={"b": linear(), "b.c": linear()}, x={"1": linear(), 1: linear()})
    with pytest.raises(ValueError, match=r"two parameters would have the name x\.1\.weight"):
        len(net.params)
    with pytest.raises(ValueError, match="two parameters"):
        net.forward(np.ones(2))


def test_what_holds_itself():
    net = Holder(layer=linear(bias=False))
    net.me, net.list = net, [linear(bias=False)]
    net.list.append(net.list)
    assert list(net.params) == ["layer.weight", "list.0.weight"]


def test_state_dict():
    net, other = Captioner(6, 9, 5), Captioner(6, 9, 5)
    state = net.state_dict()
    other.load_state_dict(state)
    for name, value in other.params.items():
        np.testing.assert_array_equal(value, state[name])
    before = other.state_dict()
    for wrong, text in (
        ({**state, "more": np.ones(2)}, "unexpected more"),
        ({k: v for k, v in state.items() if k != "head.bias"}, "missing head.bias"),
        ({**{k: v * 0 for k, v in state.items()}, "head.bias": np.ones(4)}, r"head.bias must have shape \(9,\)"),
    ):
        with pytest.raises(ValueError, match=text):
            other.load_state_dict(wrong)
    for name, value in other.params.items():
        np.testing.assert_array_equal(value, before[name])


def test_layers_of_both_dtypes():
    net = Holder(a=linear(), b=linear(dtype=np.float64))
    net.load_state_dict(net.state_dict())
    assert {name: value.dtype for name, value in net.params.items()} == {
        "a.weight": np.float32, "a.bias": np.float32, "b.weight": np.float64, "b.bias": np.float64,
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_files_of_weights(tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    net, other, path = Captioner(6, 9, 5), Captioner(6, 9, 5), tmp_path / f"w{suffix}"
    net.save_weights(path)
    other.load_weights(path)
    for name, value in net.params.items():
        np.testing.assert_array_equal(other.params[name], value)
    before = Captioner(6, 9, 4).state_dict()
    small = Captioner(6, 9, 4)
    small.load_state_dict(before)
    with pytest.raises(ValueError, match=r"start\.weight must have shape \(4, 6\), got \(5, 6\)"):
        small.load_weights(path)
    for name, value in small.params.items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(pylstm.ModelFileError):
        pylstm.load(path)
    chain = pylstm.Sequential([linear()])
    chain.save(tmp_path / f"m{suffix}")
    with pytest.raises(pylstm.ModelFileError, match=r"pylstm\.load"):
        net.load_weights(tmp_path / f"m{suffix}")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(pylstm.ModelFileError):
        net.load_weights(path)
    with pytest.raises(FileNotFoundError):
        net.load_weights(tmp_path / f"none{suffix}")
    with pytest.raises(TypeError, match="path"):
        net.save_weights(3)


def test_pickle_and_copies():
    net = Captioner(6, 9, 5)
    net.again = [net.embed]
    image, words = RNG.standard_normal((2, 6)), RNG.integers(0, 9, (2, 3))
    for twin in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        np.testing.assert_array_equal(twin(image, words), net(image, words))
        assert twin.again[0] is twin.embed
        assert twin.embed is not net.embed
    assert copy.copy(net).embed is net.embed
    _, backward = net.forward(image, words)
    for spread in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            spread(backward)


def test_its_text():
    net = Captioner(6, 9, 5)
    assert repr(net) == (
        "Captioner(start=Linear(6, 5), embed=Embedding(9, 5), lstm=LSTM(5, 5, batch_first=True), head=Linear(5, 9))"
    )


# ---- gradients -------------------------------------------------------------------------------------------------------


class Each(pylstm.Model):
    """`function(self, *inputs)` as `run`."""

    def __init__(self, function, **layers):
        self.function = function
        vars(self).update(layers)

    def run(self, *inputs, **kwargs):
        return self.function(self, *inputs, **kwargs)


def test_uses_of_a_layer_add_up_rows_too():
    embed = pylstm.Embedding(6, 2, padding_idx=0, **F64)
    net = Each(lambda net, ids: net.embed(ids) * 2 + net.embed(ids[::-1]) + net.embed(np.array([1, 1, 0])), embed=embed)
    ids = np.array([3, 0, 3])
    _, backward = net.forward(ids)
    d = np.arange(6.0).reshape(3, 2)
    none, grads = backward(d)
    assert none is None
    rows = grads["embed.weight"]
    assert isinstance(rows, pylstm.RowGradient)
    assert rows.rows.tolist() == [1, 3]
    expected = np.zeros((6, 2))
    np.add.at(expected, ids, 2 * d + d[::-1])
    np.add.at(expected, [1, 1], d[:2])
    expected[0] = 0
    np.testing.assert_allclose(rows.dense(), expected, rtol=1e-15)


def test_a_layer_once_per_step_is_one_call_over_all_steps():
    """Gradients of the parameters are added up in place from step to step."""
    for make in (pylstm.LSTM, pylstm.GRU, pylstm.RNN, pylstm.reference.LSTM):
        layer = make(3, 4, 2, seed=0, **F64)

        def steps(net, x):
            state, ys = None, []
            for t in range(len(x)):
                y, state = net.layer(x[t : t + 1], state)
                ys.append(y)
            return pylstm.concatenate(ys), state

        x = RNG.standard_normal((7, 2, 3))
        (y, state), backward = Each(steps, layer=layer).forward(x)
        whole_y, whole_state, whole_backward = layer.forward(x)
        np.testing.assert_array_equal(y, whole_y)
        d = RNG.standard_normal(y.shape)
        d_state = tuple(RNG.standard_normal(s.shape) for s in state) if isinstance(state, tuple) else state * 2
        dx, grads = backward((d, d_state))
        expected = whole_backward(d, d_state)
        np.testing.assert_allclose(dx, expected.x, rtol=1e-12, atol=1e-12)
        for name, value in expected.params.items():
            np.testing.assert_allclose(grads[f"layer.{name}"], value, rtol=1e-12, atol=1e-12)
        assert np.shares_memory(np.asarray(whole_state), 1) is False


def test_gradients_that_are_not_reached_are_zero():
    net = Each(lambda net, x: net.used(x), used=linear(), unused=linear(), rows=pylstm.Embedding(4, 2))
    x = np.ones((1, 2), np.float32)
    y, backward = net.forward(x)
    dx, grads = backward(None)
    np.testing.assert_array_equal(dx, np.zeros_like(x))
    assert list(grads) == list(net.params)
    for name, value in grads.items():
        value = np.asarray(value)
        assert value.shape == net.params[name].shape
        assert not value.any()
    pylstm.SGD(0.1).step(net, grads)
    value, grads = pylstm.value_and_grad(lambda net, x: (net(x) * 0).sum())(net, x)
    assert value == 0.0
    assert y.dtype == np.float32


def test_forms_of_outputs_and_inputs():
    def run(net, pair, more):  # noqa: ARG001
        a, b = pair
        return {"sum": a + b, "both": [a * 2, (b, None)], "plain": np.arange(2), "same": more["x"], "word": "yes"}

    net, (a, b, c) = Each(run), RNG.standard_normal((3, 2))
    outputs, backward = net.forward((a, b), {"x": c, "n": 3})
    assert outputs["word"] == "yes"
    assert outputs["both"][1][1] is None
    np.testing.assert_array_equal(outputs["plain"], [0, 1])
    np.testing.assert_array_equal(outputs["same"], c)
    ((da, db), more), grads = backward(
        {"both": [None, (np.array([1.0, 2]), None)], "same": np.ones(2)}, retain_graph=True
    )
    np.testing.assert_array_equal(da, [0, 0])
    np.testing.assert_array_equal(db, [1, 2])
    np.testing.assert_array_equal(more["x"], [1, 1])
    assert more["n"] is None
    assert grads == {}
    for wrong, error, text in (
        (np.ones(2), TypeError, "d_outputs must be a dict"),
        ({"no": None}, None, "d_outputs has a key.*'no'"),
        ({"sum": np.ones(3)}, ValueError, r"d_outputs\['sum'\] must have the shape of the output, \(2,\)"),
        ({"sum": ["x"]}, TypeError, r"d_outputs\['sum'\] must hold real numbers"),
        ({"both": [None]}, ValueError, r"d_outputs\['both'\] must have 2 items"),
        ({"both": 1.0}, TypeError, r"d_outputs\['both'\] must be a tuple of 2"),
        ({"plain": np.ones(2)}, ValueError, r"d_outputs\['plain'\] must be None"),
    ):
        with pytest.raises(error or ValueError, match=text):
            backward(wrong)
    backward(None)  # and none of that has used it up
    with pytest.raises(RuntimeError, match=r"backward has run already.*retain_graph"):
        backward(None)


def test_one_value_as_several_outputs():
    net = Each(lambda net, x: (x, x, x * 2, x[:1]))  # noqa: ARG005
    x = np.ones(2)
    outputs, backward = net.forward(x)
    dx, _ = backward((np.array([1.0, 0]), np.array([10.0, 0]), None, np.array([100.0])))
    np.testing.assert_array_equal(dx, [111, 0])
    assert not any(np.may_share_memory(a, b) for i, a in enumerate(outputs) for b in [x, *outputs[:i]])
    assert not any(np.may_share_memory(a, x) for a in net(x))


def test_gradients_are_arrays_of_their_own():
    net = Each(lambda net, a, b, c: (a + b, c))  # noqa: ARG005
    (y, _), backward = net.forward(*np.ones((3, 4)))
    d = np.ones(4)
    d_inputs, _ = backward((d, d), retain_graph=True)
    arrays = [d, y, *d_inputs]
    assert not any(np.may_share_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
    for array in d_inputs:
        array += 7
    for before in backward((d, d))[0]:
        np.testing.assert_array_equal(before, np.ones(4))


def test_need_dx():
    net = Captioner(6, 9, 5)
    image, words = RNG.standard_normal((2, 6)).astype(np.float32), RNG.integers(0, 9, (2, 3))
    y, backward = net.forward(image, words, need_dx=False)
    d_inputs, grads = backward(np.ones_like(y))
    assert d_inputs == (None, None)
    _, backward = net.forward(image, words)
    other = backward(np.ones_like(y))[1]
    for name, value in grads.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(other[name]))


def test_layers_that_the_model_does_not_hold_are_refused():
    hidden = {linear()}
    with pytest.raises(ValueError, match=r"Linear\(2, 3\) was called, but the model does not hold it"):
        Each(lambda net, x: net.layers.copy().pop()(x), layers=hidden).forward(np.ones(2))
    with pytest.raises(ValueError, match="net does not hold it"):
        pylstm.value_and_grad(lambda net, x: (net(x) + next(iter(hidden))(x)).sum())(linear(), np.ones(2))
    Each(lambda net, x: pylstm.Activation("tanh")(x)).forward(np.ones(2))  # noqa: ARG005 without parameters it is no matter
    net = Each(lambda net, x: net.layers.copy().pop()(x), layers=hidden)
    assert net(np.ones(2)).shape == (3,)


def test_constants_reach_the_layers_recorded():
    """A plain array in `run` is as good as a value: the layer's gradients are not lost."""
    net = Each(lambda net: net.linear(net.embed(np.arange(3))).sum(), embed=pylstm.Embedding(4, 2), linear=linear())
    y, backward = net.forward()
    d_inputs, grads = backward(1.0)
    assert d_inputs == ()
    assert grads["embed.weight"].rows.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(grads["linear.bias"], [3, 3, 3])
    assert y.shape == ()


def test_value_and_grad_of_other_things():
    layer, chain = linear(**F64), pylstm.Sequential([pylstm.Linear(2, 2, **F64), pylstm.Activation("tanh")])
    x = RNG.standard_normal((5, 2))
    for net in (layer, chain):
        check_gradients(net, lambda net: (pylstm.matmul(net(x), np.ones(net(x).shape[-1])) ** 2).mean())
    _, grads = pylstm.value_and_grad(lambda nets, x: (nets["a"](x).sum() - nets["b"][0](x).sum()) ** 2)(
        {"a": layer, "b": [chain]}, x
    )
    assert list(grads) == ["a.weight", "a.bias", "b.0.0.weight", "b.0.0.bias"]
    pylstm.Adam(1e-3).step({"a": layer, "b": chain}, {"a": {n: grads[f"a.{n}"] for n in layer.params}})
    gru = pylstm.GRU(2, 3, **F64)
    check_gradients(gru, lambda net: net(x[:, None])[0].sum() if isinstance(net(x)[1], np.ndarray) else net(x)[0].sum())


def test_bad_calls_of_value_and_grad():
    x, layer = np.ones((1, 2)), linear()
    for function, text in (
        (lambda net, x: net(x), r"one number.*\(1, 3\)"),
        (lambda net, x: float(net(x).sum().numpy()), "scalar value.*float"),
        (lambda net, x: (net(x).sum(), 1), "scalar value.*tuple"),
        (lambda net, x: None, "NoneType"),  # noqa: ARG005
    ):
        with pytest.raises(TypeError, match=text):
            pylstm.value_and_grad(function)(layer, x)
    with pytest.raises(TypeError, match="takes a function"):
        pylstm.value_and_grad(3)
    with pytest.raises(TypeError, match="net must be a model, a layer"):
        pylstm.value_and_grad(lambda net, x: layer(x).sum())(3, x)  # noqa: ARG005
    assert type(layer(x)) is np.ndarray


def test_inputs():
    seen = []
    net = Each(lambda net, *x, **more: seen.append((x, more)))  # noqa: ARG005
    net(
        np.ones(2),
        [1.5, 2],
        [1, 2],
        np.arange(3, dtype=np.int8),
        True,
        3.5,
        "word",
        None,
        lengths=None,
        scale=np.ones(2),
    )
    x, more = seen[0]
    kinds = [pylstm.Value, pylstm.Value, np.ndarray, np.ndarray, bool, float, str, type(None)]
    assert [type(item) for item in x] == kinds
    assert list(more) == ["scale"]
    for wrong in (np.ones(2, complex), np.array(["a"]), np.array([None]), np.ma.masked_array([1.0], [True])):
        with pytest.raises(TypeError, match=r"inputs\[1\]"):
            net(np.ones(2), wrong)
    with pytest.raises(TypeError, match=r"abstract.*run"):
        pylstm.Model()


# ---- runs ------------------------------------------------------------------------------------------------------------


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
