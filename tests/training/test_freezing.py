"""Frozen layers: what stays as it is, and what is not computed."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.fits import fit, same_bits
from support.freezing import NAMES, Shared, chain, changed, data, of


@pytest.mark.parametrize("make", [chain, Shared])
def test_frozen_layers_keep_their_bits_and_have_no_state_in_the_optimizer(make):
    rng = np.random.default_rng(0)
    for _ in range(8):
        net, names = make(), NAMES[make]
        frozen = [name for name in names if rng.random() < 0.5][: len(names) - 1]
        net.freeze(*frozen) if frozen else None
        before, optimizer = net.state_dict(), pylstm.AdamW(1e-2, weight_decay=0.1)
        fit(net, *data(), optimizer=optimizer, clip_norm=0.5, epochs=1)
        learned = net.params.keys() - of(frozen, net.params)
        assert changed(net, before) == learned
        assert optimizer.state_dict()["slots"].keys() == learned == optimizer.state_dict()["steps"].keys()


@pytest.mark.parametrize("make", [chain, Shared])
def test_the_other_gradients_and_that_to_x_stay_as_they_were(make):
    x, _ = data(3, 9)
    rng, group = np.random.default_rng(1), "1" if make is chain else "rnns"
    for frozen in (["0"], ["1.0"], ["1.1", "3"], ["0", "1"], ["5"], ["0", "1.1", "5"]):
        names = [dict(zip(NAMES[chain], NAMES[make], strict=True)).get(name, group) for name in frozen]
        net = make()
        y, backward = net.forward(x)
        d = rng.standard_normal(y.shape).astype("f")
        want = backward(d)[1]
        net.freeze(*names)
        y_frozen, backward = net.forward(x)
        assert y_frozen.tobytes() == y.tobytes()
        got = backward(d)[1]
        assert got.keys() == want.keys() - of(names, want)
        for name, value in got.items():
            one, other = (np.asarray(getattr(array, "values", array)) for array in (value, want[name]))
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", [pylstm.LSTM, pylstm.GRU, pylstm.RNN])
def test_a_frozen_layer_gives_the_gradient_to_x_alone(cell, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5, 4)).astype(dtype)
    head = pylstm.Linear(6, 3, dtype=dtype, seed=1)
    net = pylstm.Sequential([cell(4, 6, batch_first=True, dtype=dtype, seed=0), head])
    d = rng.standard_normal((3, 5, 3)).astype(dtype)
    want = net.forward(x)[1](d)[0]
    net.trainable = False
    got, d_params = net.forward(x)[1](d)
    assert d_params == {}
    np.testing.assert_allclose(got, want, rtol=1e-5 if dtype == np.float32 else 1e-13, atol=1e-6)
    assert net.forward(x, need_dx=False)[1](d) == (None, {})
    assert net.layers[0].forward(x)[2](np.zeros((3, 5, 6), dtype)).params == {}
    assert head.forward(np.zeros((2, 6), dtype))[1](np.zeros((2, 3), dtype))[1] == {}
    table = pylstm.Embedding(5, 2, dtype=dtype)
    table.trainable = False
    assert table.forward([1, 2])[1](np.zeros((2, 2), dtype)) == (None, {})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", [pylstm.LSTM, pylstm.GRU, pylstm.RNN])
@pytest.mark.parametrize("symbols", [False, True])
def test_a_frozen_recurrent_layer_computes_no_gradients_of_parameters_and_has_the_bits_of_the_others(
    cell, dtype, symbols
):
    """Up to the table, whose rows are summed in the same order."""
    rng = np.random.default_rng(0)
    layer = cell(5, 9, 2, batch_first=True, bidirectional=True, dtype=dtype, seed=0)
    x = rng.standard_normal((40, 11, 5)).astype(dtype)
    if symbols:
        x = pylstm.Embedding(6, 5, dtype=dtype, seed=1).table_rows(rng.integers(0, 6, (40, 11)))
    lengths = rng.integers(0, 12, 40)
    for threads in (1, 2):
        y, _, backward = layer.forward(x, lengths=lengths, num_threads=threads)
        d = rng.standard_normal(y.shape).astype(dtype)
        want = backward(d)
        layer.trainable = False
        got = layer.forward(x, lengths=lengths, num_threads=threads)[2](d)
        layer.trainable = True
        assert got.params == {}
        one, other = (np.asarray(grads.x) for grads in (got, want))
        assert one.tobytes() == other.tobytes()
        for mine, theirs in zip(got.state, want.state, strict=True):
            assert mine.tobytes() == theirs.tobytes()


def test_the_core_leaves_out_the_gradients_of_parameters():
    layer, asked = pylstm.LSTM(3, 4, batch_first=True), []

    class Tape:
        def __init__(self, tape):
            self.tape = tape

        def backward(self, *args):
            found = self.tape.backward(*args)
            asked.append([one is None for row in found[2] for one in row])
            return found

    class Network:
        def __init__(self, network):
            self.network = network

        def train(self, *args):
            states, tape = self.network.train(*args)
            return states, Tape(tape)

    network = layer._packed()
    layer._packed = lambda: Network(network)
    for trainable in (True, False):
        layer.trainable = trainable
        y, _, backward = layer.forward(np.ones((2, 3, 3), "f"))
        backward(np.ones_like(y))
    assert asked == [[False] * 4, [True] * 4]


def test_gradients_beside_frozen_layers_are_central_differences():
    rng = np.random.default_rng(0)
    x, d = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 2))
    net = pylstm.Sequential([
        pylstm.Linear(3, 3, dtype=np.float64), pylstm.LSTM(3, 4, batch_first=True, dtype=np.float64), pylstm.LastStep(),
        pylstm.Linear(4, 2, dtype=np.float64),
    ], seed=3)  # fmt: skip
    net.freeze(1, 3)
    _, backward = net.forward(x)
    dx, d_params = backward(d)
    for _ in range(20):
        direction = rng.standard_normal(x.shape)
        difference = ((net(x + 1e-6 * direction) - net(x - 1e-6 * direction)) * d).sum() / 2e-6
        assert difference == pytest.approx((dx * direction).sum(), rel=1e-6, abs=1e-8)
    values = net.state_dict()
    for name, gradient in d_params.items():
        direction = rng.standard_normal(gradient.shape)
        found = []
        for step in (1e-6, -1e-6):
            net.load_state_dict({**values, name: values[name] + step * direction})
            found.append((net(x) * d).sum())
        assert (found[0] - found[1]) / 2e-6 == pytest.approx((gradient * direction).sum(), rel=1e-6, abs=1e-8)


def test_training_follows_torch_with_parameters_that_need_no_gradient():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 5, 3)), rng.integers(0, 2, 16)
    net = pylstm.Sequential([
        pylstm.LSTM(3, 4, batch_first=True, dtype=np.float64), pylstm.GRU(4, 4, batch_first=True, dtype=np.float64),
        pylstm.LastStep(), pylstm.Linear(4, 2, dtype=np.float64),
    ], seed=0)  # fmt: skip
    lstm, gru, head = torch.nn.LSTM(3, 4, batch_first=True), torch.nn.GRU(4, 4, batch_first=True), torch.nn.Linear(4, 2)
    theirs = torch.nn.ModuleList([lstm, gru, head]).double()
    for k, module in zip((0, 1, 3), theirs, strict=True):
        module.load_state_dict({n: torch.tensor(v) for n, v in net.layers[k].state_dict().items()})
    net.freeze(1)
    gru.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in theirs.parameters() if p.requires_grad], 1e-2, weight_decay=0.1)
    mine = pylstm.AdamW(1e-2, weight_decay=0.1)
    for step in range(6):
        if step == 3:  # the optimizer stays: what is new in it begins
            net.unfreeze()
            gru.requires_grad_(True)
            optimizer.add_param_group({"params": list(gru.parameters())})
        net.fit(x, y, loss="cross_entropy", optimizer=mine, batch_size=16, clip_norm=0.1, shuffle=False, verbose=0)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(gru(lstm(torch.tensor(x))[0])[0][:, -1]), torch.tensor(y))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.1)
        optimizer.step()
    for k, module in zip((0, 1, 3), theirs, strict=True):
        for name, value in module.state_dict().items():
            np.testing.assert_allclose(net.layers[k].params[name], value.numpy(), rtol=1e-6, atol=1e-9)


def test_what_lies_before_the_first_trainable_layer_keeps_nothing_for_a_backward_pass(monkeypatch):
    calls = []
    for cell in (pylstm.LSTM, pylstm.GRU):
        train = cell._train
        monkeypatch.setattr(cell, "_train", lambda *a, _f=train: calls.append(type(a[0]).__name__) or _f(*a))
    for make in (chain, Shared):
        net = make()
        x, y = data()
        fit(net, x, y, epochs=1, batch_size=40)
        assert calls
        calls.clear()
        net.freeze(*NAMES[make][:3])
        fit(net, x, y, epochs=1, batch_size=40)
        assert not calls


def test_dropout_goes_on_in_a_frozen_layer():
    net, other = chain(dropout=0.5), chain(dropout=0.5)
    other.freeze(0, 1)
    x, _ = data()
    y, _ = net.forward(x)
    again, _ = other.forward(x)
    assert y.tobytes() == again.tobytes() != net.forward(x)[0].tobytes()


def test_states_go_on_through_frozen_layers():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 12, 3)).astype("f"), rng.standard_normal((4, 12, 1)).astype("f")

    def trained(frozen):
        net = pylstm.Sequential([pylstm.LSTM(3, 4, batch_first=True), pylstm.Linear(4, 1)], seed=0)
        losses = net.fit(x, y, loss="mse", optimizer=pylstm.SGD(0.0), truncate=5, verbose=0, seed=0) if frozen else None
        if frozen:
            net.freeze(0)
        return losses, net.fit(x, y, loss="mse", optimizer=pylstm.SGD(0.0), truncate=5, verbose=0, seed=0)["loss"]

    before, after = trained(True)
    assert before["loss"] == after == trained(False)[1]  # with a learning rate of 0 only the states can differ


def test_the_same_bits_for_any_number_of_threads():
    nets = []
    for threads in (1, 2, 3):
        net = chain(dropout=0.3)
        net.freeze(0, "1.1")
        before = pylstm.get_num_threads()
        pylstm.set_num_threads(threads)
        try:
            fit(net, *data())
        finally:
            pylstm.set_num_threads(before)
        nets.append(net)
    assert same_bits(nets[0], nets[1])
    assert same_bits(nets[0], nets[2])
