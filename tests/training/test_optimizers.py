"""Optimizers against PyTorch and their twins, rows of tables, bad input, going on later."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import pylstm
from pylstm import _core
from pylstm.layers.row_gradient import RowGradient
from pylstm.reference.adam import adam, textbook
from pylstm.training import schedules
from support.arrays import row_gradient
from support.steps import gradients, make_layer

KINDS = {
    "sgd": (pylstm.SGD, "SGD", {"lr": 0.1}, {}),
    "sgd_decay": (pylstm.SGD, "SGD", {"lr": 0.1, "weight_decay": 0.01}, {}),
    "momentum": (pylstm.SGD, "SGD", {"lr": 0.1, "momentum": 0.9}, {}),
    "nesterov": (pylstm.SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, {}),
    "adagrad": (pylstm.Adagrad, "Adagrad", {}, {}),
    "adagrad_decay": (pylstm.Adagrad, "Adagrad", {"lr": 0.1, "lr_decay": 0.01, "weight_decay": 0.01}, {}),
    "rmsprop": (pylstm.RMSprop, "RMSprop", {}, {}),
    "rmsprop_momentum": (pylstm.RMSprop, "RMSprop", {"alpha": 0.9, "momentum": 0.5, "weight_decay": 0.01}, {}),
    "adam": (pylstm.Adam, "Adam", {}, {}),
    "adam_decay": (pylstm.Adam, "Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.01}, {}),
    "adamw": (pylstm.AdamW, "AdamW", {}, {}),
    "adamw_decay": (pylstm.AdamW, "AdamW", {"lr": 0.01, "weight_decay": 0.1}, {}),
}


@pytest.fixture(params=KINDS, ids=str)
def kind(request):
    return KINDS[request.param]


def test_100_steps_follow_torch(kind):
    torch = pytest.importorskip("torch")
    make, name, options, _ = kind
    layer, optimizer = make_layer(), make(**options)
    leaves = {key: torch.tensor(value.copy(), requires_grad=True) for key, value in layer.params.items()}
    theirs = getattr(torch.optim, name)(leaves.values(), **options)
    rng = np.random.default_rng(0)
    start = layer.state_dict()
    for _ in range(100):
        grads = gradients(rng)
        optimizer.step(layer, grads)
        for key, leaf in leaves.items():
            leaf.grad = torch.tensor(grads[key])
        theirs.step()
        for key, leaf in leaves.items():
            np.testing.assert_allclose(layer.params[key], leaf.detach().numpy(), rtol=1e-9, atol=1e-12)
    assert (np.abs(layer.params["weight"] - start["weight"]) > 1e-3).any()


ADAMS = {
    "plain": (pylstm.Adam, {}),
    "decay": (pylstm.Adam, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.01}),
    "decoupled": (pylstm.AdamW, {"weight_decay": 0.1}),
    "lazy": (pylstm.Adam, {"lazy": True}),
}


@pytest.mark.parametrize("name", ["plain", "decay", "decoupled"])
def test_adam_follows_the_papers(name):
    """What the core multiplies with, too: the bits below take that from the optimizer."""
    make, options = ADAMS[name]
    layer, optimizer, rng = make_layer(), make(**options), np.random.default_rng(1)
    given = {
        "lr": optimizer.lr, "betas": optimizer.betas, "eps": optimizer.eps, "weight_decay": optimizer.weight_decay,
        "decoupled": make is pylstm.AdamW,
    }  # fmt: skip
    own = {key: (np.array(p), np.zeros(p.shape), np.zeros(p.shape)) for key, p in layer.params.items()}
    for step in range(1, 101):
        grads = gradients(rng)
        limit = 0.7 if step % 2 else math.inf
        optimizer.step(layer, grads, clip_value=0.7 if step % 2 else None)
        slots = optimizer.state_dict()["slots"]
        for key, (p, m, v) in own.items():
            own[key] = wanted = textbook(p, m, v, np.clip(grads[key], -limit, limit), step, **given)
            found = layer.params[key], slots[key]["mean"], slots[key]["square"]
            for a, b in zip(found, wanted, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ADAMS)
@pytest.mark.parametrize("isa", _core.available_isas())
def test_adam_of_the_core_is_its_numpy_twin(name, dtype, isa):
    """Bit for bit, on every ISA and number of threads, for arrays, rows of tables, and clipped gradients."""
    make, options = ADAMS[name]
    rng = np.random.default_rng(3)
    num, dim = 700, 251  # more numbers than one thread takes, and a rest behind the vectors
    before, threads = _core.isa(), pylstm.get_num_threads()
    pylstm.set_num_threads(int(rng.integers(1, 5)))
    _core.use_isa(isa)
    try:
        table, linear = pylstm.Embedding(num, dim, dtype=dtype, seed=0), pylstm.Linear(5, 7, dtype=dtype, seed=1)
        optimizer = make(**options)
        twins = [[np.array(p), np.zeros_like(p), np.zeros_like(p)] for p in
                 (table.params["weight"], linear.params["weight"], linear.params["bias"])]  # fmt: skip
        for step in range(1, 5):
            rows = row_gradient(rng, num, dim)
            rows = pylstm.RowGradient(rows.rows, rows.values.astype(dtype), rows.shape)
            small = {key: rng.standard_normal(value.shape).astype(dtype) for key, value in linear.params.items()}
            limit = 0.7 if step % 2 else math.inf
            optimizer.step({"t": table, "l": linear}, {"t": {"weight": rows}, "l": small},
                           clip_value=limit if step % 2 else None)  # fmt: skip
            factors = optimizer._factors(np.dtype(dtype), step, 1.0, limit)
            for twin, gradient in zip(twins, (rows.dense(), small["weight"], small["bias"]), strict=True):
                some = rows.rows if optimizer.lazy and twin is twins[0] else slice(None)
                parts = adam(*(array[some] for array in twin), gradient[some], factors)
                for array, new in zip(twin, parts, strict=True):
                    array[some] = new
    finally:
        _core.use_isa(before)
        pylstm.set_num_threads(threads)
    for twin, layer, key in zip(twins, (table, linear, linear), ("weight", "weight", "bias"), strict=True):
        assert np.array_equal(layer.params[key], twin[0])
        state = optimizer.state_dict()["slots"][("t." if layer is table else "l.") + key]
        assert np.array_equal(state["mean"], twin[1])
        assert np.array_equal(state["square"], twin[2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("eps", [0.0, 1e-8])
def test_adam_of_the_core_is_its_twin_among_denormals(dtype, eps):
    """Gradients, states and weights from the largest to denormals, which the core counts as zero."""
    rng = np.random.default_rng(8)
    tiny = float(np.finfo(dtype).tiny)
    low = math.log10(tiny) - 6

    def numbers(high):
        return (10.0 ** rng.uniform(low, high, (40, 30)) * rng.choice([-1, 0, 1], (40, 30))).astype(dtype)

    layer = pylstm.Linear(30, 40, bias=False, dtype=dtype, seed=0)
    layer.load_state_dict({"weight": numbers(0)})
    optimizer = pylstm.Adam(eps=eps, weight_decay=0.01)
    twin = [np.array(layer.params["weight"]), np.zeros((40, 30), dtype), np.zeros((40, 30), dtype)]
    seen = 0
    for step in range(1, 30):
        gradient = numbers(0 if step < 5 else low + 10)  # the states decay towards denormals
        optimizer.step(layer, {"weight": gradient})
        factors = optimizer._factors(np.dtype(dtype), step, 1.0, math.inf)
        twin = list(adam(*twin, gradient, factors))
        seen += int(((gradient != 0) & (np.abs(gradient) < tiny)).sum())
        state = optimizer.state_dict()["slots"]["weight"]
        for found, expected in zip((layer.params["weight"], state["mean"], state["square"]), twin, strict=True):
            np.testing.assert_array_equal(found, expected)
            assert np.isfinite(found).all()
    assert seen > 100


@pytest.mark.parametrize("kind", [pylstm.Adagrad, pylstm.RMSprop, pylstm.Adam, pylstm.AdamW], ids=lambda k: k.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_eps_divides_nothing_by_nothing(kind, dtype):
    layer, tiny = pylstm.Linear(4, 1, bias=False, dtype=dtype, seed=0), float(np.finfo(dtype).tiny)
    before = layer.params["weight"]
    optimizer = kind(0.1, eps=0.0, weight_decay=0.0)
    optimizer.step(layer, {"weight": np.array([[0.0, tiny / 8, math.sqrt(tiny) / 100, -1.0]], dtype)})
    moved = layer.params["weight"] - before
    assert np.isfinite(moved).all()
    assert np.abs(moved).max() < 1.1  # some learning rates, whatever the size of the gradient
    assert moved[0, 0] == 0
    assert moved[0, 3] > 0.01


def test_adam_of_the_core_refuses_what_would_be_a_wild_pointer():
    table = [np.zeros((4, 3), np.float32) for _ in range(3)]
    rows, values = np.array([1, 2]), np.zeros((2, 3), np.float32)
    factors = pylstm.Adam()._factors(np.dtype(np.float32), 1, 1.0, math.inf)
    _core.adam(table[0], *table, values, rows, None, False, factors, None)
    for wrong in (rows[::-1].copy(), rows + 2, rows - 2, np.array([1, 1]), np.array([1]), rows[None]):
        with pytest.raises(ValueError, match=r"rows|gradient"):
            _core.adam(table[0], *table, values, wrong, None, False, factors, None)
    with pytest.raises(TypeError):
        _core.adam(table[0], *table, values, rows.astype(np.int32), None, False, factors, None)
    with pytest.raises(TypeError):
        _core.adam(table[0], *table, values.astype(np.float64), rows, None, False, factors, None)
    with pytest.raises(ValueError, match="mean"):
        _core.adam(table[0], table[0], table[1][:2], table[2], values, rows, None, False, factors, None)
    for wrong, error in ((np.ones(3, np.uint8), ValueError), (np.ones(4, bool), TypeError), ([1] * 4, TypeError)):
        with pytest.raises(error, match="live"):
            _core.adam(table[0], *table, values, rows, wrong, False, factors, None)
    table[0].flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        _core.adam(table[0], *table, values, rows, None, False, factors, None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adam_of_the_core_fills_another_array_as_it_moves_one_in_place(dtype):
    rng = np.random.default_rng(2)
    factors = pylstm.Adam()._factors(np.dtype(dtype), 3, 0.5, 1.0)
    for size in (1, 7, 300, 20_000):  # rows of 13: enough for two threads in the end
        table = [rng.random((size, 13)).astype(dtype) for _ in range(3)]
        rows = np.flatnonzero(rng.random(size) < 0.3)
        values = rng.standard_normal((len(rows), 13)).astype(dtype)
        dense = rng.standard_normal((size, 13)).astype(dtype)
        for gradient, given, lazy in ((dense, None, False), (values, rows, False), (values, rows, True)):
            for threads in (1, 2, 3):
                want, got = ([array.copy() for array in table] for _ in range(2))
                _core.adam(want[0], *want, gradient, given, None, lazy, factors, threads)
                new = np.full_like(table[0], np.nan)
                _core.adam(new, *got, gradient, given, None, lazy, factors, threads)
                assert new.tobytes() == want[0].tobytes()
                assert got[0].tobytes() == table[0].tobytes()
                assert [a.tobytes() for a in got[1:]] == [a.tobytes() for a in want[1:]]


@pytest.mark.parametrize("decay", [{}, {"weight_decay": 0.1}])
@pytest.mark.parametrize("make", [pylstm.Adam, pylstm.AdamW])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_without_a_state_rest(dtype, make, decay):
    """Bits are those of a step over all rows; rows that rest are not even read."""
    rng = np.random.default_rng(3)
    optimizer = make(**{"weight_decay": 0.0, **decay})
    for size in (1, 9, 300, 60_000):  # rows of 13: enough of them move for two threads in the end
        table = [rng.standard_normal((size, 13)).astype(dtype), *(np.zeros((size, 13), dtype) for _ in range(2))]
        resting = np.arange(size) >= size // 4  # the frequent ones first
        for state in table[1:]:
            state[~resting] = rng.random((size // 4, 13))
        rows = np.flatnonzero(rng.random(size) < 0.1)
        values = rng.standard_normal((len(rows), 13)).astype(dtype)
        factors = optimizer._factors(np.dtype(dtype), 3, 0.5, 1.0)
        for threads in (1, 2, 3, 8):
            for apart in (False, True):
                want, got = ([array.copy() for array in table] for _ in range(2))
                live = (~resting).astype(np.uint8)
                if not decay:
                    got[1][resting] = np.nan  # what would show where it was read
                    got[1][rows] = want[1][rows]
                new = np.full_like(table[0], np.nan) if apart else got[0]
                _core.adam(want[0], *want, values, rows, None, False, factors, threads)
                _core.adam(new, *got, values, rows, live, False, factors, threads)
                assert new.tobytes() == want[0].tobytes()
                all_live = bool(decay) and make is pylstm.Adam  # each gets a mean of the decay
                assert np.array_equal(
                    np.flatnonzero(live), np.arange(size) if all_live else np.union1d(np.flatnonzero(~resting), rows)
                )
                moved = live.astype(bool)
                assert [a[moved].tobytes() for a in got[1:]] == [a[moved].tobytes() for a in want[1:]]


@pytest.mark.parametrize("between", ["nothing", "a dense gradient", "a state read", "lazy", "pickled", "decay"])
def test_rows_that_rest_are_known_whatever_comes_between(between):
    """Steps of some rows of a table, beside the same steps of dense gradients."""
    rng = np.random.default_rng(4)
    tables = [pylstm.Embedding(50, 6, dtype=np.float64, seed=0) for _ in range(2)]
    optimizers = [pylstm.Adam(0.1) for _ in range(2)]
    for k in range(12):
        rows = np.unique(rng.integers(0, 2 + 4 * k, 5))
        gradient = RowGradient(rows, rng.standard_normal((len(rows), 6)), (50, 6))
        if k == 5 and between == "a dense gradient":
            gradient = rng.standard_normal((50, 6))
        elif k == 5 and between == "a state read":
            for optimizer in optimizers:
                state = optimizer.state_dict()
                state["slots"]["weight"]["mean"][40:] = 1.0  # of rows that no gradient has named
                optimizer.load_state_dict(state)
        elif k == 5 and between == "pickled":
            optimizers = pickle.loads(pickle.dumps(optimizers))
        for optimizer in optimizers:
            optimizer.lazy = k in (5, 6) and between == "lazy"
            optimizer.weight_decay = 0.1 if k in (5, 6) and between == "decay" else 0.0
        dense = gradient if optimizers[0].lazy or not isinstance(gradient, RowGradient) else gradient.dense()
        for table, optimizer, given in zip(tables, optimizers, (gradient, dense), strict=True):
            optimizer.step(table, {"weight": given})
        states = [optimizer.state_dict()["slots"]["weight"] for optimizer in optimizers]
        for name in ("mean", "square"):
            assert states[0][name].tobytes() == states[1][name].tobytes()
        assert tables[0].params["weight"].tobytes() == tables[1].params["weight"].tobytes()


def test_rows_give_the_update_of_the_dense_gradient(kind):
    make, _, options, _ = kind
    rng = np.random.default_rng(1)
    num, dim = 40, 600  # several blocks
    tables = [pylstm.Embedding(num, dim, dtype=np.float64, seed=0) for _ in range(2)]
    optimizers = [make(**options) for _ in range(2)]
    for _ in range(12):
        grad = row_gradient(rng, num, dim)
        for table, optimizer, own in zip(tables, optimizers, (grad, grad.dense()), strict=True):
            optimizer.step(table, {"weight": own}, clip_norm=5.0, clip_value=0.9)
    np.testing.assert_allclose(tables[0].params["weight"], tables[1].params["weight"], rtol=1e-12, atol=1e-15)


def test_lazy_rows_move_only_when_named(kind):
    make, _, options, _ = kind
    rng = np.random.default_rng(2)
    table = pylstm.Embedding(10, 3, dtype=np.float64, seed=0)
    lazy = make(**options, lazy=True)
    lazy.step(table, {"weight": row_gradient(rng, 10, 3, [1, 4])})
    before = table.state_dict()["weight"]
    lazy.step(table, {"weight": row_gradient(rng, 10, 3, [4, 7, 7])})
    changed = (table.params["weight"] != before).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [4, 7]


def test_lazy_is_the_same_where_every_batch_names_every_row(kind):
    make, _, options, _ = kind
    rng = np.random.default_rng(3)
    tables = [pylstm.Embedding(6, 3000, dtype=np.float64, seed=0) for _ in range(2)]
    optimizers = [make(**options, lazy=lazy) for lazy in (True, False)]
    for _ in range(10):
        grad = row_gradient(rng, 6, 3000, np.arange(6))
        for table, optimizer in zip(tables, optimizers, strict=True):
            optimizer.step(table, {"weight": grad})
    np.testing.assert_array_equal(*(table.params["weight"] for table in tables))


def test_going_on_later_gives_the_same_bits(kind):
    make, _, options, _ = kind
    rng = np.random.default_rng(4)
    whole = [gradients(rng) for _ in range(10)]
    layer, optimizer = make_layer(), make(**options)
    for grads in whole[:5]:
        optimizer.step(layer, grads)
    other, later = make_layer(), make(**options)
    other.load_state_dict(layer.params)
    later.load_state_dict(optimizer.state_dict())
    for grads in whole[5:]:
        optimizer.step(layer, grads)
        later.step(other, grads)
    for name, value in layer.params.items():
        np.testing.assert_array_equal(value, other.params[name])
    with pytest.raises(ValueError, match="the state is of"):
        (pylstm.SGD if make is not pylstm.SGD else pylstm.Adam)().load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_are_left_alone_and_the_dtype_stays(kind, dtype):
    make, _, options, _ = kind
    layer = make_layer(dtype)
    grads = {name: value.astype(dtype) for name, value in gradients(np.random.default_rng(5)).items()}
    kept = {name: value.copy() for name, value in grads.items()}
    make(**options).step(layer, grads, clip_norm=0.1, clip_value=0.05)
    for name, value in grads.items():
        np.testing.assert_array_equal(value, kept[name])
        assert layer.params[name].dtype == dtype


def test_recurrent_layers_and_models_train_too():
    rng = np.random.default_rng(6)
    lstm = pylstm.LSTM(3, 4, seed=0)
    before = lstm.params
    x = rng.standard_normal((5, 2, 3)).astype(np.float32)
    output, _, backward = lstm.forward(x)
    grads = backward(np.ones_like(output))
    pylstm.SGD(0.1).step(lstm, grads.params)
    for name, value in lstm.params.items():
        np.testing.assert_allclose(value, before[name] - np.float32(0.1) * grads.params[name], rtol=1e-5, atol=1e-7)
    assert (lstm(x)[0] != output).any()  # the packed weights are new, too


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "grads", "message"),
    [
        (lambda a: a, {"nonsense": np.zeros(3)}, "no parameter 'nonsense'"),
        (lambda a: a, {"weight": np.zeros((5, 7))}, "must have shape \\(7, 5\\)"),
        (lambda a: {"a": a}, {"b": {}}, "names of layers"),
        (lambda a: {"a": a, "b": a}, {"a": {}}, "twice"),
        (lambda a: [a], {}, "mapping of names to layers"),
        (lambda a: {"a": a}, {"a": np.zeros(3)}, "map names to gradients"),
    ],
)
def test_gradients_that_do_not_fit(layers, grads, message):
    with pytest.raises((ValueError, TypeError), match=message):
        pylstm.SGD().step(layers(make_layer()), grads)


def test_state_of_another_model():
    optimizer = pylstm.Adam()
    optimizer.step(make_layer(), gradients(np.random.default_rng(0)))
    other = make_layer(shape=(3, 5))
    with pytest.raises(ValueError, match="another model"):
        optimizer.step(other, {"weight": np.zeros((3, 5))})


@pytest.mark.parametrize(
    "make",
    [
        lambda: pylstm.Adam(-1), lambda: pylstm.Adam(betas=(1.0, 0.9)), lambda: pylstm.SGD(0.1, nesterov=True),
        lambda: pylstm.SGD("fast"), lambda: pylstm.AdamW(lr=math.nan), lambda: pylstm.StepLR(0),
        lambda: pylstm.Cosine(-1), lambda: schedules.as_schedule(3),
        lambda: pylstm.SGD().step(make_layer(), {}, clip_norm=-1.0),
    ],
)  # fmt: skip
def test_bad_arguments(make):
    with pytest.raises((ValueError, TypeError)):
        make()
