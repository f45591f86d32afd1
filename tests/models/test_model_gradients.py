"""Forms, sums and owners of the gradients of `Model` and `value_and_grad`."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
import pylstm.reference
from support.models import F64, RNG, Captioner, Each, check_gradients, linear


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


def test_outputs_that_would_hide_values():
    def generator(net, x):
        yield net.layer(x)

    async def coroutine(net, x):
        return net.layer(x)

    def begun(net, x):
        made = coroutine(net, x)
        made.close()  # which nobody will wait for
        return made

    for run in (generator, begun, lambda net, x: map(net.layer, [x]), lambda net, x: ({net.layer(x)}, 1)):
        for call in (Each(run, layer=linear()), Each(run, layer=linear()).forward):
            with pytest.raises(TypeError, match="run must return values, in tuples, lists and dicts"):
                call(np.ones(2))


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
    check_gradients(gru, lambda net: net(x[:, None])[0].sum())


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
