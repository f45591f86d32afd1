"""`pylstm.torch`: the results, gradients, parameters and errors of torch.nn's modules."""

from __future__ import annotations

import copy
import io
import pickle
import threading
import warnings

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import pylstm.torch
from pylstm.adapters.pytorch import calls, tapes, weights

KINDS = [
    ("LSTM", {}),
    ("LSTM", {"proj_size": 3, "bidirectional": True, "num_layers": 2}),
    ("LSTM", {"bias": False, "batch_first": True, "num_layers": 2}),
    ("GRU", {"batch_first": True}),
    ("GRU", {"bidirectional": True, "num_layers": 3}),
    ("RNN", {"bias": False}),
    ("RNN", {"nonlinearity": "relu", "bidirectional": True, "batch_first": True}),
]
INPUTS = ["batch", "one", "packed", "packed_sorted", "packed_even"]


def pair(name, **options):
    """The same module of torch.nn and of pylstm."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(4, 5, dtype=torch.float64, **options)
    ours = getattr(pylstm.torch, name)(4, 5, dtype=torch.float64, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def make_input(kind, batch_first):
    torch.manual_seed(1)
    if kind.startswith("packed"):
        lengths = {"packed": [3, 7, 1, 5], "packed_sorted": [7, 5, 5, 2], "packed_even": [4, 4, 4, 4]}[kind]
        parts = [torch.randn(one, 4, dtype=torch.float64) for one in lengths]
        packed = pack_sequence(parts, enforce_sorted=kind != "packed")
        return packed, packed.data.requires_grad_(), 4
    x = torch.randn((6, 4) if kind == "one" else (3, 6, 4), dtype=torch.float64, requires_grad=True)
    return x, x, None if kind == "one" else 3 if batch_first else 6


def results(found):
    output, state = found
    return [
        output.data if isinstance(output, PackedSequence) else output,
        *(state if type(state) is tuple else [state]),
    ]


def gradients(found, sources):
    torch.manual_seed(2)
    loss = sum((one * torch.randn(one.shape, dtype=one.dtype)).sum() for one in results(found))
    return torch.autograd.grad(loss, sources)


def close(ours, theirs, **bounds):
    torch.testing.assert_close(ours, theirs, **bounds)


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize(("name", "options"), KINDS)
@pytest.mark.parametrize("given", [False, True], ids=["zeros", "states"])
def test_results_and_gradients_are_those_of_torch(name, options, kind, given):
    found = []
    for module in pair(name, **options):
        x, leaf, batch = make_input(kind, module.batch_first)
        rows = module.num_layers * (2 if module.bidirectional else 1)
        sizes = [module.proj_size or 5, 5][: 2 if name == "LSTM" else 1]
        shapes = [(rows, size) if batch is None else (rows, batch, size) for size in sizes]
        states = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes] if given else []
        hx = None if not given else tuple(states) if name == "LSTM" else states[0]
        run = module(x, hx)
        with torch.no_grad():
            close(results(module(x, hx)), [one.detach() for one in results(run)])
        found.append([*results(run), *gradients(run, [leaf, *states, *module.parameters()])])
    for ours, theirs in zip(*found, strict=True):
        close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_gradcheck(name, options):
    module = getattr(pylstm.torch, name)(2, 5, dtype=torch.float64, **options)
    for one in list(module.parameters())[2:]:
        one.requires_grad_(False)  # what is frozen gets none; the first two are enough
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    sources = (x, *list(module.parameters())[:2])
    assert torch.autograd.gradcheck(lambda *_: tuple(results(module(x))), sources)


def same(ours, theirs):
    """Both compute the same from the parameters of the first."""
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        close(results(ours(x)), results(theirs(x)))
    close(gradients(ours(x), list(ours.parameters())), gradients(theirs(x), list(theirs.parameters())))


def test_edits_of_parameters_by_any_route_take_effect():
    ours, theirs = pair("RNN")
    same(ours, theirs)
    weight = ours.weight_ih_l0

    def by_optimizer():
        ours(torch.ones(2, 1, 4, dtype=torch.float64))[0].sum().backward()
        torch.optim.SGD(ours.parameters(), 0.1).step()

    routes = [
        lambda: weight.data.mul_(2),
        lambda: weight.data.neg_(),
        lambda: np.add(weight.detach().numpy(), 1, out=weight.detach().numpy()),
        lambda: weight.detach().numpy().__setitem__((4, 3), 7.0),
        lambda: setattr(weight, "data", torch.randn(5, 4, dtype=torch.float64)),
        lambda: setattr(weight, "data", torch.randn(4, 5, dtype=torch.float64).t()),
        lambda: setattr(ours.weight_hh_l0, "data", ours.weight_hh_l0.data.t()),  # at the same place
        lambda: setattr(ours, "weight_ih_l0", torch.nn.Parameter(torch.randn(5, 4, dtype=torch.float64))),
        lambda: ours.share_memory(),
        lambda: ours.weight_ih_l0.data.zero_(),
        by_optimizer,
        lambda: ours.load_state_dict(pair("RNN")[1].state_dict(), assign=True),
    ]
    for route in routes:
        route()
        same(ours, theirs)


def test_nothing_aligned_is_copied():
    x = torch.randn(6, 3, 4)
    assert np.shares_memory(calls.array(x), x.numpy())
    for batch_first in (False, True):
        module = pylstm.torch.GRU(4, 5, batch_first=batch_first)
        call = calls.Call(module._ready(0.0)[1], module._ready(0.0)[0], None, None)
        seen = calls._time_major(call, x)
        assert np.shares_memory(seen, x.numpy())
        assert seen.shape == ((3, 6, 4) if batch_first else (6, 3, 4))


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_output_edited_in_place_before_the_gradient(name):
    ours, theirs = pair(name)
    x = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True)
    mine = torch.autograd.grad(ours(x)[0].relu_().sum(), [x, *ours.parameters()])
    close(mine, torch.autograd.grad(theirs(x)[0].relu().sum(), [x, *theirs.parameters()]))


@pytest.mark.parametrize("what", ["x", "parameter"])
def test_inputs_edited_in_place_before_the_gradient_are_refused(what):
    ours, _ = pair("LSTM")
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    loss = ours(x)[0].sum()
    with torch.no_grad():
        (x if what == "x" else ours.weight_hh_l0).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_second_derivatives_and_forward_mode_are_refused():
    ours, _ = pair("GRU")
    x = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(ours(x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        first.sum().backward()
    with torch.autograd.forward_ad.dual_level(), torch.no_grad():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        with pytest.raises(NotImplementedError, match="forward mode"):
            ours(dual)


def test_the_tape_goes_with_the_gradient():
    ours, _ = pair("LSTM")
    output, _ = ours(torch.randn(6, 3, 4, dtype=torch.float64))
    before = len(tapes._HELD)
    output.sum().backward()
    assert len(tapes._HELD) == before - 1
    with pytest.raises(RuntimeError, match="second time"):
        output.sum().backward()


def test_dropout_follows_torchs_seed():
    module = pylstm.torch.LSTM(4, 50, num_layers=2, dropout=0.5)
    x = torch.randn(6, 3, 4)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(module(x)[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    with torch.no_grad():
        torch.manual_seed(1)
        close(module(x)[0], found[0].detach())  # in training mode also where no gradient is recorded
    assert torch.equal(module.eval()(x)[0], module(x)[0])
    close(pylstm.torch.LSTM(4, 5, num_layers=2, dropout=1.0, bias=False)(x)[0], torch.zeros(6, 3, 5))


def test_other_dtypes_and_autocast():
    for dtype in (torch.float16, torch.bfloat16):
        ours, theirs = (one.to(dtype) for one in pair("GRU"))
        x = torch.randn(6, 3, 4, dtype=dtype)
        output, h = ours(x)
        assert output.dtype == h.dtype == dtype
        close(output, theirs(x)[0], rtol=2e-2, atol=2e-2)
        output.float().sum().backward()
        assert ours.weight_ih_l0.grad.dtype == dtype
    ours, theirs = (one.float() for one in pair("LSTM"))
    x = torch.randn(6, 3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = ours(x.bfloat16())
        assert output.dtype == torch.float32
        close(output, theirs(x)[0].float(), rtol=3e-2, atol=3e-2)


def test_copies_and_files():
    ours, theirs = pair("LSTM", num_layers=2)
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    want = ours(x)[0]
    saved = io.BytesIO()
    torch.save(ours, saved)
    saved.seek(0)
    whole = torch.load(saved, weights_only=False)
    for one in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), whole):
        assert torch.equal(one(x)[0], want)
        one.weight_hh_l0.data.zero_()
        assert torch.equal(ours(x)[0], want)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)


def test_replace_recurrent_keeps_parameters_hooks_and_sharing():
    model = torch.nn.ModuleDict({"a": torch.nn.LSTM(4, 5), "b": torch.nn.Sequential(torch.nn.GRU(4, 5)).eval()})
    model["again"] = model["a"]
    before = list(model.parameters())
    called = []
    handle = model["a"].register_forward_hook(lambda *_: called.append(1))
    x = torch.randn(6, 3, 4)
    want = [model["a"](x)[0], model["b"](x)[0]]
    assert pylstm.torch.replace_recurrent(model) is model
    assert type(model["a"]) is pylstm.torch.LSTM
    assert type(model["b"][0]) is pylstm.torch.GRU
    assert model["again"] is model["a"]
    assert not model["b"][0].training
    assert all(one is other for one, other in zip(before, model.parameters(), strict=True))
    close([model["a"](x)[0], model["b"](x)[0]], want)
    handle.remove()
    model["a"](x)
    assert len(called) == 2
    assert type(pylstm.torch.replace_recurrent(torch.nn.RNN(4, 5))) is pylstm.torch.RNN


def test_replace_recurrent_names_what_it_leaves():
    class Own(torch.nn.LSTM):
        pass

    with pytest.warns(UserWarning, match=r"1 \(its class Own is derived from LSTM\)"):
        model = pylstm.torch.replace_recurrent(torch.nn.Sequential(torch.nn.GRU(4, 5), Own(4, 5)))
    assert type(model[1]) is Own
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got dict"):
        pylstm.torch.replace_recurrent({})


@pytest.mark.parametrize("way", ["prune", "parametrize"])
def test_pruned_and_parametrized(way):
    _, theirs = pair("LSTM")
    if way == "prune":
        prune.l1_unstructured(theirs, "weight_hh_l0", 0.5)
    else:
        parametrizations.weight_norm(theirs, "weight_hh_l0")
    ours = pylstm.torch.replace_recurrent(theirs)
    assert isinstance(ours, pylstm.torch.LSTM)
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    for _ in range(2):
        close(ours(x)[0], theirs(x)[0])
        ours(x)[0].sum().backward()
        with torch.no_grad():
            for one in ours.parameters():
                one.sub_(one.grad)


def test_threads_share_a_module():
    module = pylstm.torch.LSTM(4, 32)
    x = torch.randn(20, 8, 4)
    want = torch.autograd.grad(module(x)[0].sum(), list(module.parameters()))
    found = []

    def run():
        found.extend(torch.autograd.grad(module(x)[0].sum(), list(module.parameters())) for _ in range(10))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 40
    assert all(torch.equal(a, b) for one in found for a, b in zip(one, want, strict=True))


def test_wrong_arguments():
    ours = pylstm.torch.LSTM(4, 5)
    x = torch.randn(6, 3, 4)
    h = torch.zeros(1, 3, 5)
    for error, text, args in [
        (ValueError, "2D or 3D, got 1D", (x[0, 0],)),
        (ValueError, r"dtype \(torch.int64\) does not match weight dtype", (x.long(),)),
        (RuntimeError, "Expected 4, got 3", (x[..., :3],)),
        (RuntimeError, "sequence length to be larger than 0", (x[:0],)),
        (RuntimeError, r"hidden\[1\] size \(1, 3, 5\), got \[1, 2, 5\]", (x, (h, h[:, :2]))),
        (RuntimeError, "should also be 3-D but got 2-D", (x, (h[0], h[0]))),
        (TypeError, r"tuple \(h_0, c_0\), got a Tensor", (x, h)),
        (TypeError, "input must be a tensor or a PackedSequence, got a list", ([1],)),
        (ValueError, "never rise", (PackedSequence(x[0], torch.tensor([1, 2])),)),
        (RuntimeError, "input is on meta", (x.to("meta"),)),
    ]:
        with pytest.raises(error, match=text):
            ours(*args)
    with pytest.raises(ValueError, match="proj_size"):
        pylstm.torch.GRU(4, 5, proj_size=2)
    assert ours(x[:, :0])[0].shape == (6, 0, 5)


def test_kept_weights_are_bounded(monkeypatch):
    monkeypatch.setattr(weights, "_KEPT", {})
    monkeypatch.setattr(weights, "MOST_PLACES", 3)
    modules = [pylstm.torch.GRU(4, 5) for _ in range(5)]
    found = [weights.kept_for(one._new_spec(0.0), one._present_weights()) for one in modules]
    assert len(weights._KEPT) == 3
    assert weights.kept_for(modules[4]._new_spec(0.0), modules[4]._present_weights()) is found[4]


def test_one_layer_warns_of_dropout():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pylstm.torch.LSTM(4, 5, dropout=0.5)
    assert "num_layers" in str(caught[0].message)
