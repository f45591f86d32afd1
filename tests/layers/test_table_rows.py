"""x as rows of a table: the bits of looking them up, and the gradients, up to rounding."""

from __future__ import annotations

import copy
import pickle

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import pylstm
from pylstm import TableRows, _core
from support.isas import isas, use_isa
from support.variants import VARIANTS

F64 = np.float64


def passes(layer, x, dy, lengths=None, threads=1):
    """Output and state of both kinds of calls, and the gradients: to the table, to the states, to the parameters."""
    inferred = layer(x, lengths=lengths, num_threads=threads)
    output, state, backward = layer.forward(x, lengths=lengths, num_threads=threads)
    grads = backward(dy)
    forward = [inferred[0], *_flat(inferred[1]), output, *_flat(state)]
    return forward, grads.x, {**grads.params, **{f"state{k}": d for k, d in enumerate(_flat(grads.state))}}


def _flat(state):
    return list(state) if isinstance(state, tuple) else [state]


def bits(arrays):
    return [np.ascontiguousarray(array).tobytes() for array in arrays]


@st.composite
def batches(draw):
    steps, batch = draw(st.integers(1, 12)), draw(st.integers(1, 9))
    num, width, hidden = draw(st.integers(1, 30)), draw(st.integers(1, 20)), draw(st.sampled_from([3, 8, 17, 33]))
    variant = draw(st.sampled_from(VARIANTS))
    options = {"num_layers": draw(st.integers(1, 2)), "bidirectional": draw(st.booleans()), "seed": 1}
    options |= {"batch_first": draw(st.booleans()), "dtype": draw(st.sampled_from(["float32", "float64"]))}
    layer = variant.make(pylstm, width, hidden, **options)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    table = rng.standard_normal((num, width)).astype(layer.dtype)
    ids = rng.integers(0, num, (batch, steps) if layer.batch_first else (steps, batch))
    ids = np.where(rng.random(ids.shape) < draw(st.sampled_from([0, 0.5, 0.95])), ids.flat[0], ids)  # one that repeats
    lengths = draw(st.none() | st.just(rng.integers(0, steps + 1, batch)))
    return layer, table, ids, lengths, rng


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(batches(), st.sampled_from([(1, 1, 1), (2, 1, 1), (1, 2, 1), (3, 2, 2)]), st.sampled_from(isas()))
def test_rows_by_symbol_have_the_bits_of_rows_looked_up(batch, split, isa):
    layer, table, ids, lengths, rng = batch
    dy = rng.standard_normal(layer(table[ids])[0].shape).astype(layer.dtype)
    with use_isa(isa):
        layer.load_state_dict(layer.state_dict())  # packed for it
        want, dx, d_params = passes(layer, table[ids], dy, lengths)
        d_table = np.zeros(table.shape, layer.dtype)
        np.add.at(d_table, ids, dx)
        found = []
        try:
            for way, cut in [(0, None), (1, None), (1, split)]:
                _core.force_plan(cut, once=way)
                found.append(passes(layer, TableRows(table, ids), dy, lengths, threads=16 if cut else 1))
        finally:
            _core.force_plan()
    tolerance = 100 * np.finfo(layer.dtype).eps
    for forward, d_rows, own in found:
        assert bits(forward) == bits(want)
        np.testing.assert_allclose(d_rows.dense(), d_table, rtol=0, atol=tolerance * max(1, abs(d_table).max()))
        for name, value in d_params.items():
            if name.startswith("weight_ih_l0"):
                np.testing.assert_allclose(own[name], value, rtol=0, atol=tolerance * max(1, abs(value).max()))
            else:
                assert bits([own[name]]) == bits([value])
    (_, one, own), (_, other, others) = found[1:]  # however the call is split
    assert bits([one.rows, one.values, *own.values()]) == bits([other.rows, other.values, *others.values()])
    if lengths is None:
        np.testing.assert_array_equal(one.rows, np.unique(ids))
    elif lengths.any():
        own = [(ids[n] if layer.batch_first else ids[:, n])[:length] for n, length in enumerate(lengths)]
        np.testing.assert_array_equal(one.rows, np.unique(np.concatenate(own)))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_gradients_are_central_differences(variant, once):
    once(1)
    layer = variant.make(pylstm, 5, 4, bidirectional=True, dtype=F64, seed=2)
    rng = np.random.default_rng(0)
    table, ids, lengths = rng.standard_normal((6, 5)), rng.integers(0, 5, (7, 3)), np.array([7, 2, 4])
    weight = rng.standard_normal(layer(table[ids], lengths=lengths)[0].shape)

    def loss():
        return float(np.sum(layer(TableRows(table, ids), lengths=lengths)[0] * weight))

    grads = layer.forward(TableRows(table, ids), lengths=lengths)[2](weight)
    d_table = grads.x.dense()
    for place in np.ndindex(table.shape):
        kept, found = table[place], []
        for step in (1e-6, -1e-6):
            table[place] = kept + step
            found.append(loss())
        table[place] = kept
        assert (found[0] - found[1]) / 2e-6 == pytest.approx(d_table[place], abs=1e-7)
    for name in [name for name in layer.params if name.startswith("weight_ih")]:
        own = layer.state_dict()
        for place in [(0, 0), (3, 2), (own[name].shape[0] - 1, 4)]:
            found = []
            for step in (1e-6, -1e-6):
                moved = copy.deepcopy(own)
                moved[name][place] += step
                layer.load_state_dict(moved)
                found.append(loss())
            layer.load_state_dict(own)
            assert (found[0] - found[1]) / 2e-6 == pytest.approx(grads.params[name][place], abs=1e-7)


def test_gradients_are_those_of_torch(once):
    torch = pytest.importorskip("torch")
    once(1)
    layer = pylstm.LSTM(6, 9, 2, bidirectional=True, batch_first=True, dtype=F64, seed=4)
    embedding = pylstm.Embedding(12, 6, padding_idx=0, dtype=F64, seed=5)
    twin = torch.nn.LSTM(6, 9, 2, bidirectional=True, batch_first=True, dtype=torch.float64)
    twin.load_state_dict({name: torch.tensor(value) for name, value in layer.state_dict().items()})
    table = torch.nn.Embedding(12, 6, padding_idx=0, dtype=torch.float64)
    table.load_state_dict({"weight": torch.tensor(embedding.state_dict()["weight"])})
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 12, (5, 11))
    output, _, backward = layer.forward(embedding.table_rows(ids))
    theirs, _ = twin(table(torch.tensor(ids)))
    np.testing.assert_allclose(output, theirs.detach().numpy(), atol=1e-13)
    d = rng.standard_normal(output.shape)
    grads = backward(d)
    theirs.backward(torch.tensor(d))
    np.testing.assert_allclose(grads.x.dense(), table.weight.grad.numpy(), atol=1e-12)
    for name, parameter in twin.named_parameters():
        np.testing.assert_allclose(grads.params[name], parameter.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("way", [0, 1])
def test_backward_belongs_to_its_forward(way, once):
    """Whatever becomes of symbols and table meanwhile: an optimizer writes to the table in place."""
    once(way)
    rng = np.random.default_rng(2)
    layer, embedding = pylstm.GRU(6, 8, seed=1), pylstm.Embedding(9, 6, seed=2)
    ids, dy = rng.integers(0, 9, (10, 4)), rng.standard_normal((10, 4, 8)).astype("f4")
    want = layer.forward(embedding.table_rows(ids))[2](dy)
    mine = ids.copy()
    backward = layer.forward(embedding.table_rows(mine))[2]
    mine[:] = 10**9
    pylstm.SGD(1.0).step(embedding, {"weight": want.x})
    got = backward(dy)
    assert bits([got.x.rows, got.x.values, *got.params.values()]) == bits(
        [want.x.rows, want.x.values, *want.params.values()]
    )
    got.x.rows[:] = 0
    assert bits([backward(dy).x.rows]) == bits([want.x.rows])


@pytest.mark.parametrize("way", [0, 1])
def test_rows_that_no_symbol_names_are_not_read(way, once):
    once(way)
    layer = pylstm.LSTM(5, 7, seed=1)
    table = np.full((40, 5), np.nan, np.float32)
    table[[3, 39]] = 1
    ids = np.array([[3, 39], [39, 3], [8, 3], [3, 3]])  # 8 lies behind the end of its sequence
    output, _, backward = layer.forward(TableRows(table, ids), lengths=[2, 4])
    grads = backward(np.ones_like(output))
    assert np.isfinite(output).all()
    assert all(np.isfinite(value).all() for value in grads.params.values())
    assert np.isfinite(grads.x.values).all()


@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize("padding", [0, 4, -1])
def test_the_padding_row_gets_no_gradient(way, padding, once):
    once(way)
    layer, rng = pylstm.RNN(3, 4, seed=1), np.random.default_rng(3)
    ids = rng.permutation(np.arange(36) % 9).reshape(6, 6)
    rows = TableRows(rng.standard_normal((9, 3)), ids, padding)
    output, _, backward = layer.forward(rows)
    found = backward(np.ones_like(output)).x
    assert found.rows.tolist() == [i for i in range(9) if i != padding % 9]
    assert found.values.shape == (8, 3)
    assert layer.forward(rows, need_dx=False)[2](np.ones_like(output)).x is None


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint64, ">i4"])
def test_symbols_of_any_kind(dtype, once):
    once(1)
    layer, rng = pylstm.LSTM(4, 5, batch_first=True, seed=1), np.random.default_rng(4)
    table = rng.standard_normal((7, 8))[:, ::2]  # of another dtype, no contiguous rows
    ids = rng.integers(0, 7, (12, 8)).astype(dtype)[::-2, ::3]
    rows = TableRows(table, ids)
    assert bits([layer(rows)[0]]) == bits([layer(table[ids.astype(int)])[0]])
    assert bits([layer(TableRows(table, ids[0]))[0]]) == bits([layer(table[ids[0].astype(int)])[0]])
    assert bits([pylstm.reference.LSTM(4, 5, batch_first=True, seed=1)(rows)[0]]) == bits(
        [pylstm.reference.LSTM(4, 5, batch_first=True, seed=1)(table[ids.astype(int)])[0]]
    )
    assert rows.shape == (6, 3, 4)
    assert bits([np.asarray(rows)]) == bits([table[ids.astype(int)]])
    for twin in (copy.deepcopy(rows), pickle.loads(pickle.dumps(rows))):
        assert bits([np.asarray(twin)]) == bits([np.asarray(rows)])


def test_one_hot_input_is_a_table_too(once):
    once(1)
    layer, ids = pylstm.LSTM(6, 9, seed=1), np.random.default_rng(5).integers(0, 6, (20, 3))
    assert bits([layer(TableRows(np.eye(6), ids))[0]]) == bits([layer(np.eye(6)[ids])[0]])


def test_the_reference_gives_the_gradient_to_the_table():
    rng = np.random.default_rng(6)
    layer = pylstm.LSTM(4, 5, dtype=F64, seed=1)
    twin = pylstm.reference.LSTM(4, 5, dtype=F64, seed=1)
    rows = TableRows(rng.standard_normal((6, 4)), rng.integers(0, 6, (30, 2)), 3)
    d = rng.standard_normal((30, 2, 5))
    mine, theirs = layer.forward(rows)[2](d).x, twin.forward(rows)[2](d).x
    np.testing.assert_array_equal(mine.rows, theirs.rows)
    np.testing.assert_allclose(mine.values, theirs.values, atol=1e-12)


def test_wrong_arguments():
    table, ids = np.zeros((5, 3), np.float32), np.zeros((4, 2), int)
    for wrong, error, says in [
        ((table[0], ids), ValueError, r"table must have shape \(num, dim\), got \(3,\)"),
        ((table, ids + 0.5), TypeError, "symbols must hold integers"),
        ((table, ids + 5), IndexError, r"symbols holds 5, but the rows of the table are 0\.\.4"),
        ((table, ids - 1), IndexError, "symbols holds -1"),
        ((table, ids, 5), ValueError, "padding_idx"),
        (("x", ids), TypeError, "table"),
    ]:
        with pytest.raises(error, match=says):
            TableRows(*wrong)
    layer = pylstm.LSTM(3, 4)
    for rows in (TableRows(table[:, :2], ids), TableRows(table, ids[None]), TableRows(table, 1)):
        with pytest.raises(ValueError, match=r"x must have shape \(T, N, 3\), or \(T, 3\) for one sequence, got"):
            layer(rows)
    rows = TableRows(table, ids)
    ids[1, 1] = 5  # since then
    for call in (layer, layer.forward, np.asarray):
        with pytest.raises(IndexError, match="5"):
            call(rows)
    with pytest.raises(ValueError, match="without a copy"):
        rows.__array__(copy=False)
    with pytest.raises(ValueError, match="lengths"):
        layer(TableRows(table, ids * 0), lengths=[1, 9])
    out = np.zeros((4, 2, 4), np.float32)
    with pytest.raises(ValueError, match="overlap"):
        layer(TableRows(out.reshape(-1)[:15].reshape(5, 3), ids * 0), out=out)


def test_the_core_trusts_no_symbols():
    ids = np.array([[0, 7], [3, -1]])
    for num in (1, 4, 7):
        with pytest.raises(IndexError, match=f"of a table of {num}"):
            _core.symbols(ids, None, num, 64)
    with pytest.raises(IndexError):
        _core.symbols(ids, np.array([2, 2]), 8, 64)
    assert _core.symbols(ids, np.array([2, 0]), 8, 64) is None  # what no sequence reaches is not looked at
    network = pylstm.LSTM(64, 4)._packed()
    found = _core.symbols(np.zeros((9, 2), np.int64), None, 3, 64)
    assert found.rows.tolist() == [0]
    for table, error in [(np.zeros((3, 63), "f4"), ValueError), (np.zeros((3, 64)), TypeError), (None, TypeError)]:
        with pytest.raises(error):
            network.infer((table, found), (None, None), None, np.empty((9, 2, 4), "f4"), None)
    with pytest.raises(ValueError, match="out"):
        network.infer((np.zeros((3, 64), "f4"), found), (None, None), None, np.empty((8, 2, 4), "f4"), None)


def test_what_pays():
    """Many distinct symbols, or few numbers a row: looked up, as before."""
    some, all_ = np.arange(100).reshape(10, 10) % 20, np.arange(100).reshape(10, 10)
    assert _core.symbols(some, None, 100, 128) is not None
    assert _core.symbols(all_, None, 100, 128) is None
    assert _core.symbols(some, None, 100, 8) is None


@pytest.mark.parametrize("both_ways", [False, True])
def test_a_chain_hands_its_recurrent_layer_rows_of_the_table(both_ways, once):
    rng = np.random.default_rng(7)
    x, lengths = rng.integers(0, 11, (6, 9)), np.array([9, 4, 1, 0, 7, 9])
    model = pylstm.Sequential(
        [pylstm.Embedding(11, 24, padding_idx=0), pylstm.GRU(24, 8, batch_first=True, bidirectional=both_ways)], seed=1
    )
    found = []
    for way in (0, 1):
        once(way)
        y, backward = model.forward(x, lengths=lengths)
        dx, d_params = backward(np.cos(y))
        assert dx is None
        assert bits([y]) == bits([model(x, lengths=lengths)])
        found.append((y, d_params))
    (y, looked_up), (other, by_symbol) = found
    assert bits([y]) == bits([other])
    for name, value in looked_up.items():
        np.testing.assert_allclose(np.asarray(value), np.asarray(by_symbol[name]), atol=1e-5)
    assert 0 not in by_symbol["0.weight"].rows


def test_a_layer_that_derives_from_an_embedding_is_called_itself(once):
    once(1)

    class Louder(pylstm.Embedding):
        def __call__(self, x, **options):
            return 2 * super().__call__(x, **options)

        def forward(self, x, **options):
            y, backward = super().forward(x, **options)
            return 2 * y, lambda dy: backward(2 * dy)

    x = np.arange(30).reshape(3, 10) % 4
    own, plain = Louder(4, 32, seed=1), pylstm.Embedding(4, 32, seed=1)
    lstm = pylstm.LSTM(32, 6, batch_first=True, seed=2)
    model = pylstm.Sequential([own, lstm])
    assert bits([model(x), model.forward(x)[0]]) == bits(2 * [lstm(2 * plain(x))[0]])


def test_inside_of_a_models_run_a_table_is_refused():
    class Net(pylstm.Model):
        def __init__(self):
            self.embedding, self.lstm = pylstm.Embedding(5, 3, seed=1), pylstm.LSTM(3, 4, batch_first=True, seed=1)

        def run(self, x):
            return self.lstm(self.embedding.table_rows(x))[0]

    with pytest.raises(TypeError, match="gradients would be lost"):
        Net().forward(np.zeros((2, 3), int))


# ---- inference keeps the products of a table ------------------------------------------------------------------------


def kept_table(layer):
    return None if layer._kept is None else layer._kept.table


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
@pytest.mark.parametrize("isa", isas())
def test_products_are_kept_when_as_many_rows_were_multiplied_as_the_table_has(variant, isa):
    rng = np.random.default_rng(8)
    with use_isa(isa):
        layer = variant.make(pylstm, 24, 20, num_layers=2, bidirectional=True, batch_first=True, seed=1)
        embedding = pylstm.Embedding(300, 24, seed=2)
        ids = rng.integers(0, 100, (7, 30))
        lengths = rng.integers(0, 31, 7)
        want = bits([layer(embedding(ids))[0], layer(embedding(ids), lengths=lengths)[0]])
        made = []
        for _ in range(5):
            rows = embedding.table_rows(ids)
            got = [layer(rows, num_threads=2)[0], layer(rows, lengths=lengths, num_threads=2)[0]]
            assert bits(got) == want
            made.append(kept_table(layer))
        assert made[0] is None
        assert made[-1] is not None
        assert made[-1] is made[-2]
        for few in (ids[:1, :1], ids[:, :0], ids[:0]):  # in any case, then
            assert bits([layer(embedding.table_rows(few))[0]]) == bits([layer(embedding(few))[0]])
        output = layer.forward(embedding.table_rows(ids))[0]
        assert bits([output]) == want[:1]


@pytest.mark.parametrize("batch_first", [False, True])
def test_streams_take_rows(batch_first):
    layer, embedding = pylstm.GRU(24, 8, batch_first=batch_first, seed=1), pylstm.Embedding(6, 24, seed=2)
    ids = np.random.default_rng(10).integers(0, 6, (4, 9) if batch_first else (9, 4))
    stream, other = layer.stream(4), layer.stream(4)
    for _ in range(3):
        assert bits([stream(embedding.table_rows(ids))]) == bits([other(embedding(ids))])
    step, out = (ids[:, 0] if batch_first else ids[0]), np.empty((4, 8), np.float32)
    assert bits([stream.step(embedding.table_rows(step), out=out)]) == bits([other.step(embedding(step))])
    with pytest.raises(ValueError, match="batch_size=4"):
        stream(embedding.table_rows(ids[:3, :3]))


def test_a_changed_parameter_takes_effect():
    rng = np.random.default_rng(9)
    layer, embedding = pylstm.LSTM(32, 8, batch_first=True, seed=1), pylstm.Embedding(20, 32, seed=2)
    model = pylstm.Sequential([embedding, layer])
    ids = rng.integers(0, 20, (5, 12))
    optimizer, gradient = pylstm.SGD(0.1), {"weight": rng.standard_normal((20, 32))}

    def edit_weights():
        layer.load_state_dict({name: value * 2 for name, value in layer.params.items()})

    for change in [
        lambda: optimizer.step(embedding, gradient),  # in place
        lambda: embedding.load_state_dict({"weight": gradient["weight"]}),
        edit_weights,
        lambda: model.fit(ids, np.zeros((5, 12, 8)), loss="mse", optimizer=optimizer, epochs=1, verbose=0),
    ]:
        for _ in range(3):
            before = model(ids)
        assert kept_table(layer) is not None
        rows = embedding.table_rows(ids)  # of before, too
        change()
        want = layer(embedding(ids))[0]
        assert bits([model(ids)]) == bits([want])
        assert bits([want]) != bits([before])
        assert bits([layer(rows)[0]]) == bits([layer(np.asarray(rows))[0]])
        assert kept_table(layer) is None


def test_an_update_that_fails_keeps_nothing():
    layer, embedding = pylstm.LSTM(32, 8, seed=1), pylstm.Embedding(4, 32, seed=2)
    ids = np.arange(60).reshape(12, 5) % 4
    table, _ = embedding._begin_update(["weight"])["weight"]
    for _ in range(3):
        layer(embedding.table_rows(ids))
        table[0] += 1  # whoever has it writes to it at any time
        assert bits([layer(embedding.table_rows(ids))[0]]) == bits([layer(embedding(ids))[0]])
    assert kept_table(layer) is None


def test_tables_of_somebodys_own_and_large_ones_are_not_kept(monkeypatch):
    layer, embedding = pylstm.LSTM(32, 8, seed=1), pylstm.Embedding(4, 32, seed=2)
    ids = np.arange(60).reshape(12, 5) % 4
    table = np.ones((4, 32), np.float32)
    for factor in (1, 2, 3):
        table *= factor
        assert bits([layer(TableRows(table, ids))[0]]) == bits([layer(table[ids])[0]])
    monkeypatch.setattr("pylstm.layers.compiled.MOST_KEPT", 500)  # 4 rows of 32 numbers have 512 bytes
    for _ in range(3):
        layer(embedding.table_rows(ids))
        assert kept_table(layer) is None
    other = pylstm.LSTM(32, 8, dtype=F64, seed=1)  # for which the table is converted
    for _ in range(3):
        other(embedding.table_rows(ids))
        assert kept_table(other) is None


def test_copies_and_pickles_start_without():
    layer, embedding = pylstm.LSTM(32, 8, seed=1), pylstm.Embedding(4, 32, seed=2)
    model = pylstm.Sequential([embedding, pylstm.LSTM(32, 8, batch_first=True, seed=1)])
    ids = np.arange(60).reshape(12, 5) % 4
    for _ in range(3):
        layer(embedding.table_rows(ids))
        y = model(ids)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert kept_table(twin.layers[1]) is None
        for _ in range(3):
            assert bits([twin(ids)]) == bits([y])
        assert kept_table(twin.layers[1]) is not None


def test_the_core_takes_no_table_of_another_network():
    one, other = pylstm.LSTM(8, 4, seed=1)._packed(), pylstm.LSTM(8, 4, dtype=F64, seed=1)._packed()
    table = one.multiplied(np.zeros((3, 8), "f4"), None)
    ids = np.zeros((5, 2), np.int64)
    whole, named = _core.symbols(ids, None, 3, 8, True), _core.symbols(np.zeros((50, 2), np.int64), None, 3, 64)
    states, out = (None, None), np.empty((5, 2, 4), "f4")
    one.infer((table, whole), states, None, out, None)
    for network, x in [
        (other, (table, whole)),
        (pylstm.LSTM(8, 4, seed=1)._packed(), (table, whole)),
        (one, (table, _core.symbols(ids, None, 2, 8, True))),
        (one, (table, named)),
        (one, (np.zeros((3, 8), "f4"), whole)),
    ]:
        with pytest.raises(ValueError, match="x: "):
            network.infer(x, states, None, out, None)
    with pytest.raises(ValueError, match="x: "):
        one.train((table, whole), states, None, out, None, None)
    with pytest.raises(IndexError):
        _core.symbols(ids + 3, None, 3, 8, True)
