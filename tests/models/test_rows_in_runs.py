"""What an embedding gives in a model's run: rows of a table until somebody looks at their numbers."""

from __future__ import annotations

import threading
from contextvars import copy_context

import numpy as np
import pytest

import pylstm
from pylstm.graph import recording
from pylstm.graph.rows import Rows
from pylstm.layers.recurrent import Recurrent
from support.models import F64, Each

pytestmark = pytest.mark.usefixtures("however_few_symbols")

SYMBOLS, WIDTH = 11, 24


def bits(arrays):
    return [np.ascontiguousarray(array).tobytes() for array in arrays]


def parts(**more):
    make = {"batch_first": True, **F64}
    return {
        "embed": pylstm.Embedding(SYMBOLS, WIDTH, padding_idx=0, seed=1, **F64),
        "tag": pylstm.Embedding(3, 8, seed=2, **F64),
        "lstm": pylstm.LSTM(WIDTH, 6, 2, bidirectional=True, dropout=0.3, seed=3, **make),
        "gru": pylstm.GRU(WIDTH, 12, seed=4, **make),
        "wide": pylstm.RNN(WIDTH + 8, 12, seed=5, **make),
        **more,
    }


def taken(value):
    """The same value, looked up."""
    value.numpy()
    return value


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, SYMBOLS, (5, 9)), rng.integers(0, 3, (5, 9)), np.array([9, 0, 3, 9, 1])


NAMES = [
    "one", "two", "called twice", "another use", "another use first", "with a state", "side by side",
    "side by side and alone", "joined and looked at", "returned",
]  # fmt: skip


def compute(name, net, x, tag, lengths, see=lambda value: value):
    """What a run does with symbols; what an embedding gives goes through `see`."""
    e, t = see(net.embed(x)), see(net.tag(tag))
    match name:
        case "one":
            return net.lstm(e, lengths=lengths)[0]
        case "two":
            return net.lstm(e, lengths=lengths)[0] + net.gru(e, lengths=lengths)[0]
        case "called twice":
            return net.gru(e, lengths=lengths)[0] * net.gru(see(net.embed(tag)), lengths=lengths)[0]
        case "another use":
            return net.gru(e, lengths=lengths)[0] + e.tanh()[..., :12]
        case "another use first":
            return e.tanh()[..., :12] * net.gru(e, lengths=lengths)[0]
        case "with a state":
            return net.gru(e, see(net.embed(x[None, :, 0]))[..., :12], lengths=lengths)[0]
        case "side by side":
            return net.wide(pylstm.concatenate([e, t], axis=-1), lengths=lengths)[0]
        case "side by side and alone":
            y = net.wide(pylstm.concatenate((e, t), 2), lengths=lengths)[0]
            return y * net.gru(e, lengths=lengths)[0] + t.mean()
        case "joined and looked at":
            joined = pylstm.concatenate([e, t], axis=-1)
            return net.wide(joined, lengths=lengths)[0] + joined[..., 8:20]
        case "returned":
            return pylstm.concatenate([e, t], axis=-1)
    raise AssertionError(name)


def net_of(name, see=lambda value: value):
    return Each(lambda net, x, tag, lengths=None: compute(name, net, x, tag, lengths, see), **parts())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", NAMES)
def test_the_bits_and_gradients_of_rows_looked_up(name, seed, once):
    """Whatever the plan says, training and inference."""
    x, tag, lengths = data(seed)
    net, twin = net_of(name), net_of(name, see=taken)
    masks = net._dropout_state()
    for more in ({}, {"lengths": lengths}):
        twin._set_dropout_state(masks)
        wanted, back = twin.forward(x, tag, **more)
        d = np.random.default_rng(seed).standard_normal(wanted.shape)
        d_wanted = back(d)[1]
        inferred = twin(x, tag, **more)
        for way in (0, 1):
            once(way)
            net._set_dropout_state(masks)
            found, back = net.forward(x, tag, **more)
            assert bits([found]) == bits([wanted])
            for _ in range(2):
                d_inputs, grads = back(d, retain_graph=True)
                assert d_inputs == (None, None)
                assert grads.keys() == d_wanted.keys()
                for key, value in d_wanted.items():
                    np.testing.assert_allclose(np.asarray(grads[key]), np.asarray(value), rtol=0, atol=1e-12)
            for _ in range(3):  # the products of the table are kept by then
                assert bits([net(x, tag, **more)]) == bits([inferred])
        once(-1)


def what_is_seen(monkeypatch):
    """What recurrent layers are called with."""
    seen, own = [], Recurrent._take_x

    def take(self, value):
        seen.append(type(value))
        return own(self, value)

    monkeypatch.setattr(Recurrent, "_take_x", take)
    return seen


@pytest.mark.parametrize("name", ["one", "two", "side by side", "side by side and alone", "with a state"])
def test_recurrent_layers_get_the_rows(name, once, monkeypatch):
    x, tag, _ = data()
    net = net_of(name)
    seen = what_is_seen(monkeypatch)
    for call in (net, net.forward):
        for way, kind in ((1, pylstm.TableRows), (0, np.ndarray)):
            if call == net and way == 0 and "side" not in name:
                continue  # inference hands on all, and counts them
            once(way)
            seen.clear()
            call(x, tag)
            assert set(seen) == {kind}


def test_what_pays_is_the_plans_affair(monkeypatch):
    """Where few repeat a recorded run looks the rows up, once for all layers."""
    net = Each(lambda net, x: (lambda e: net.lstm(e)[0] + net.gru(e)[0])(net.embed(x)),
               embed=pylstm.Embedding(900, 128, seed=1), lstm=pylstm.LSTM(128, 4, batch_first=True),
               gru=pylstm.GRU(128, 4, batch_first=True))  # fmt: skip
    seen = what_is_seen(monkeypatch)
    many = np.arange(900).reshape(30, 30)
    net.forward(many)
    assert seen == [np.ndarray] * 2
    seen.clear()
    net.forward(many % 50)
    assert seen == [pylstm.TableRows] * 2


def test_its_shape_is_no_look_at_its_numbers():
    def run(net, x):
        e = net.embed(x)
        assert (e.shape, e.ndim, e.size, len(e)) == ((5, 9, WIDTH), 3, 5 * 9 * WIDTH, 5)
        assert e.dtype == np.float64
        joined = pylstm.concatenate([e, e], axis=2)
        assert joined.shape == (5, 9, 2 * WIDTH)
        assert type(e) is type(joined) is Rows
        assert "Value(array" in repr(e)
        assert e.shape == (5, 9, WIDTH)
        assert type(e) is pylstm.Value
        return joined

    net, x = Each(run, **parts()), data()[0]
    rows = net.embed(x)
    for y in (net(x), net.forward(x)[0]):
        np.testing.assert_array_equal(y, np.concatenate([rows, rows], axis=-1))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("way", [0, 1])
def test_symbols_that_run_writes_to(way, training, once):
    """And those that the caller writes to before the backward pass."""
    once(way)

    def run(net, x):
        mine = x.copy()
        e = net.embed(mine)
        mine[:] = 10**6
        y = net.gru(e)[0]
        return y * net.gru(e)[0] + e[..., :12]

    x = data()[0]
    net = Each(run, **parts())
    plain = Each(lambda net, x: (lambda e: net.gru(e)[0] * net.gru(e)[0] + e[..., :12])(net.embed(x)), **parts())
    if not training:
        assert bits([net(x)]) == bits([plain(x)])
        return
    given = x.copy()
    y, back = net.forward(given)
    given[:] = -1
    other, wanted = plain.forward(x)
    assert bits([y]) == bits([other])
    for mine, value in zip(back(y)[1].values(), wanted(y)[1].values(), strict=True):
        assert bits([np.asarray(mine)]) == bits([np.asarray(value)])


def edits(embed):
    gradient = {"weight": np.ones((SYMBOLS, WIDTH))}
    return [
        lambda: pylstm.SGD(0.5).step(embed, gradient),  # in place
        lambda: embed.load_state_dict({"weight": gradient["weight"]}),
    ]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize("which", [0, 1])
def test_a_table_that_changes_before_the_rows_are_read(which, way, training, once):
    once(way)
    x, tag, _ = data()
    kept = []

    def run(net, x, tag):
        e, other = net.embed(x), net.embed(x)
        joined = pylstm.concatenate([e, net.tag(tag)], axis=-1)
        edits(net.embed)[which]()
        kept.append(other)
        return net.gru(e)[0] + net.wide(joined)[0] + e[..., :12]

    net = Each(run, **parts())
    e = net.embed(x)
    joined = np.concatenate([e, net.tag(tag)], axis=-1)
    want = net.gru(e)[0] + net.wide(joined)[0] + e[..., :12]
    y = net.forward(x, tag)[0] if training else net(x, tag)
    assert bits([y]) == bits([want])
    assert (net.embed(x) != e).any()
    assert bits([kept[0].numpy()]) == bits([e])  # the run is over


def test_what_is_kept_of_a_run_has_the_numbers_of_then():
    kept = []
    net = Each(lambda net, x: kept.append(net.embed(x)) or net.gru(net.embed(x))[0], **parts())
    x = data()[0]
    before = net.embed(x)
    for call in (net, net.forward):
        call(x)
    edits(net.embed)[0]()
    assert bits([value.numpy() for value in kept]) == bits([before] * 2)
    call = Each(lambda net, x: net.gru(kept[0])[0] + x, **parts())
    for one in (call, call.forward):
        with pytest.raises(RuntimeError, match="different runs"):
            one(x)


def test_threads_that_run_one_model(once):
    once(1)
    net = net_of("side by side and alone")
    batches = [data(seed)[:2] for seed in range(4)]
    want, found = [], {}
    for x, tag in batches:
        y, back = net.forward(x, tag)
        want.append(bits([y, *map(np.asarray, back(np.cos(y))[1].values())]))

    def work(k):
        for _ in range(10):
            y, back = net.forward(*batches[k])
            assert bits([net(*batches[k])]) == bits([y])
            found[k] = bits([y, *map(np.asarray, back(np.cos(y))[1].values())])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[k] for k in range(4)] == want


def test_a_value_of_one_run_in_another_thread(once):
    once(1)
    errors = []

    def run(net, x):
        e = net.embed(x)

        def other():
            for use in (lambda: net.gru(e), lambda: pylstm.concatenate([e, e], -1), lambda: e * 2):
                with pytest.raises(RuntimeError, match="in one thread"):
                    use()
                errors.append(use)

        thread = threading.Thread(target=copy_context().run, args=(other,))
        thread.start()
        thread.join()
        return net.gru(e)[0]

    net = Each(run, **parts())
    net.forward(data()[0])
    assert len(errors) == 3


@pytest.mark.parametrize("way", [0, 1])
def test_value_and_grad_nested_models_and_containers(way, once):
    once(way)
    x, tag, lengths = data()
    layers = parts()
    chain = pylstm.Sequential([pylstm.Columns([layers["embed"], layers["tag"]]), layers["wide"]])
    inner = Each(lambda net, e: net.gru(e)[0], gru=layers["gru"])

    def run(net, x, tag, lengths):
        return net.chain(np.stack([x, tag], -1), lengths=lengths) * net.inner(net.embed(x))

    net = Each(run, embed=layers["embed"], chain=chain, inner=inner)
    y, back = net.forward(x, tag, lengths=lengths)
    assert bits([net(x, tag, lengths=lengths)]) == bits([y])
    grads = back(np.cos(y))[1]

    def loss(net, x, tag):
        return (net(x, tag, lengths=lengths) * np.cos(y)).sum()

    for name, value in pylstm.value_and_grad(loss)(net, x, tag)[1].items():
        np.testing.assert_allclose(np.asarray(value), np.asarray(grads[name]), rtol=0, atol=1e-12)
    by_hand = layers["wide"](np.concatenate([layers["embed"](x), layers["tag"](tag)], -1), lengths=lengths)[0]
    assert bits([y]) == bits([by_hand * layers["gru"](layers["embed"](x))[0]])


@pytest.mark.parametrize("way", [0, 1])
def test_layers_of_somebodys_own_get_arrays(way, once):
    once(way)

    class Louder(pylstm.GRU):
        def __call__(self, x, *given, **options):
            assert type(x) is np.ndarray
            return super().__call__(2 * x, *given, **options)

        def vjp(self, x, *given, **options):
            assert type(x) is np.ndarray
            outputs, back = super().vjp(2 * x, *given, **options)

            def twice(*d, **more):
                (dx, d_state), d_params = back(*d, **more)
                return (2 * dx, d_state), d_params

            return outputs, twice

    class Shifted(pylstm.Embedding):
        def __call__(self, x, **options):
            return super().__call__((np.asarray(x) + 1) % SYMBOLS, **options)

        def forward(self, x, **options):
            return super().forward((np.asarray(x) + 1) % SYMBOLS, **options)

    x = data()[0]
    make = {"gru": Louder(WIDTH, 12, seed=4, batch_first=True, **F64), "embed": Shifted(SYMBOLS, WIDTH, seed=1, **F64)}
    net = Each(lambda net, x: net.gru(net.embed(x))[0], **make)
    plain = Each(lambda net, x: net.gru(2 * net.embed((x + 1) % SYMBOLS))[0], gru=parts()["gru"],
                 embed=pylstm.Embedding(SYMBOLS, WIDTH, seed=1, **F64))  # fmt: skip
    y, back = net.forward(x)
    other, wanted = plain.forward(x)
    assert bits([y, net(x)]) == bits([other] * 2)
    for mine, value in zip(back(y)[1].values(), wanted(y)[1].values(), strict=True):
        np.testing.assert_allclose(np.asarray(mine), np.asarray(value), rtol=0, atol=1e-12)
    mixed = Each(lambda net, x: net.gru(net.embed(x))[0], gru=pylstm.GRU(WIDTH, 4, batch_first=True, seed=1),
                 embed=parts()["embed"])  # fmt: skip
    y, back = mixed.forward(x)  # a layer of another dtype than the table
    assert y.dtype == np.float32
    assert back(y)[1]["embed.weight"].values.dtype == np.float64


@pytest.mark.parametrize("way", [0, 1])
def test_wrong_calls_say_what_they_said(way, once):
    once(way)
    x, tag, _ = data()
    for use, error, says in [
        (lambda net: net.gru(net.tag(tag))[0], ValueError, r"x must have shape \(N, T, 24\)"),
        (lambda net: net.gru(net.embed(x[None]))[0], ValueError, r"x must have shape \(N, T, 24\)"),
        (lambda net: net.gru(net.embed(x + SYMBOLS))[0], IndexError, "rows of Embedding"),
        (lambda net: net.gru(net.embed(x * 0.5))[0], TypeError, "must hold integers"),
        (lambda net: net.gru(net.embed(net.embed(x)))[0], TypeError, "must hold integers"),
        (lambda net: net.gru(net.embed(x), lengths=[99])[0], ValueError, "lengths"),
        (lambda net: pylstm.concatenate([net.embed(x), net.tag(tag[:2])], -1), ValueError, "dimension"),
        (lambda net: np.asarray(net.embed(x)), TypeError, "no plain array"),
    ]:
        net = Each(use, **parts())
        for call in (net, net.forward):
            with pytest.raises(error, match=says):
                call()


@pytest.mark.parametrize("shape", [(), (9,), (0, 4), (4, 0)])
def test_odd_shapes(shape, once):
    once(1)
    x = np.random.default_rng(1).integers(0, 3, shape)
    recurrent = len(shape) > 0
    net = Each(lambda net, x: (lambda e: net.wide(e)[0] if recurrent else e)(
        pylstm.concatenate([net.embed(x), net.tag(x)], -1)), **parts())  # fmt: skip
    joined = np.concatenate([net.embed(x), net.tag(x)], -1)
    y, back = net.forward(x)
    assert bits([y, net(x)]) == bits([net.wide(joined)[0] if recurrent else joined] * 2)
    assert back(np.ones_like(y))[1]["tag.weight"].shape == (3, 8)


def test_a_few_symbols_are_looked_up(monkeypatch):
    class Net(pylstm.Model):
        def __init__(self):
            self.embed, self.lstm = pylstm.Embedding(9, 4, seed=0), pylstm.LSTM(4, 3, batch_first=True, seed=1)

        def run(self, x):
            seen.append(type(rows := self.embed(x)))
            return self.lstm(rows)[0]

    monkeypatch.setattr(recording, "FEWEST_SYMBOLS", 64)
    net, seen = Net(), []
    few, many = np.arange(63).reshape(1, 63) % 9, np.arange(64).reshape(1, 64) % 9
    y, d = net.forward(few)[0], net(many)
    assert [kind.__name__ for kind in seen] == ["Value", "Rows"]
    np.testing.assert_array_equal(y, d[:, :63])
