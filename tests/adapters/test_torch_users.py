"""`pylstm.torch` in what users build around modules: tied and parametrized weights, old pickles, workers, odd input."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint_sequential

import pylstm.torch

close = torch.testing.assert_close
X = torch.linspace(-1, 1, 40).reshape(5, 2, 4)


def pair(name="LSTM", *sizes, **options):
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*(sizes or (4, 5)), **options)
    ours = getattr(pylstm.torch, name)(*(sizes or (4, 5)), **options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def grads(module):
    return [one.grad for one in module.parameters()]


def test_tied_parameters_share_their_gradient():
    found = []
    for module in pair("GRU", 5, 5, num_layers=2):
        module.weight_ih_l1 = module.weight_ih_l0
        module.weight_hh_l1 = module.weight_hh_l0
        module.weight_hh_l0.data.mul_(0.5)
        module(torch.ones(3, 2, 5))[0].sum().backward()
        found.append(grads(module))
    assert len(found[0]) == 6
    close(*found)
    found = []
    for module in pair("RNN", 5, 5, bias=False):  # one matrix in both places
        module.weight_ih_l0 = module.weight_hh_l0
        module(torch.ones(3, 2, 5))[0].sum().backward()
        found.append(grads(module))
    close(*found)


def test_a_module_that_is_called_twice_and_the_accumulation_of_gradients():
    found = []
    for module in pair("GRU", 4, 4):
        for _ in range(2):
            output, h = module(X)
            module(output, h)[0].pow(2).sum().backward()
        found.append(grads(module))
    close(*found)


def test_parametrizations_come_and_go():
    module = parametrizations.weight_norm(pair()[1], "weight_hh_l0")
    before = copy.deepcopy(module)  # which PyTorch refuses once one of its own has run
    want = module(X)[0]
    ours = pylstm.torch.replace_recurrent(module)
    close(ours(X)[0], want)
    close(copy.deepcopy(pylstm.torch.replace_recurrent(before))(X)[0], want)
    parametrize.remove_parametrizations(ours, "weight_hh_l0")
    assert type(ours) is pylstm.torch.LSTM
    close(ours(X)[0], want)


def test_state_dicts_go_both_ways_strictly():
    ours, theirs = pair("LSTM", 4, 5, 2, bidirectional=True, proj_size=3)
    with torch.no_grad():
        for one in ours.parameters():
            one.mul_(0.7)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    close(ours(X)[0], theirs(X)[0])
    with pytest.raises(RuntimeError, match="size mismatch for weight_hh_l0"):
        ours.load_state_dict(torch.nn.LSTM(4, 6, 2, bidirectional=True, proj_size=3).state_dict())


def test_pickles_of_older_versions():
    _, theirs = pair()
    state = theirs.__getstate__()
    del state["proj_size"]  # which came with 1.8
    old = torch.nn.LSTM.__new__(torch.nn.LSTM)
    old.__setstate__(state)
    model = pylstm.torch.replace_recurrent(torch.nn.Sequential(old))
    close(model(X)[0], theirs(X)[0])
    saved = io.BytesIO()
    torch.save(model, saved)
    saved.seek(0)
    close(torch.load(saved, weights_only=False)(X)[0], theirs(X)[0])
    close(pickle.loads(pickle.dumps(model))(X)[0], theirs(X)[0])


def test_inference_mode():
    ours, theirs = pair()
    with torch.inference_mode():
        found = ours(X)[0]
        inside = X + 1
        close(ours(inside)[0], theirs(inside)[0])
    assert found.is_inference()
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        ours(inside)
    close(ours(X)[0], found.clone())


class _Collate:
    """Runs in a DataLoader's worker: a forked process in which the module has run before."""

    def __init__(self, module):
        self.module = module

    def __call__(self, parts):
        output = self.module(torch.stack(parts, 1))[0]
        (grad,) = torch.autograd.grad(output.sum(), self.module.weight_hh_l0)
        return output.detach(), grad


def test_workers_of_a_loader():
    ours, _ = pair()
    want = _Collate(ours)([X[:, 0], X[:, 1]])
    loader = torch.utils.data.DataLoader(
        [X[:, 0], X[:, 1]] * 2, batch_size=2, num_workers=1, collate_fn=_Collate(ours), multiprocessing_context="fork"
    )
    found = list(loader)
    assert len(found) == 2
    for one in found:
        close(tuple(one), want)


def test_hooks_of_those_who_share_gradients():
    """Hooks of parameters run once each, when the gradient is there: that is what data-parallel training waits for."""
    ours, theirs = pair("LSTM", 4, 5, 2)
    seen = []
    for name, one in ours.named_parameters():
        one.register_post_accumulate_grad_hook(lambda p, name=name: seen.append((name, p.grad is not None)))
    ours.register_full_backward_hook(lambda *_: seen.append(("module", True)))
    x = X.clone().requires_grad_()
    ours(x)[0].sum().backward()
    theirs(X)[0].sum().backward()
    assert sorted(seen) == sorted([(name, True) for name in [*dict(ours.named_parameters()), "module"]])
    close(grads(ours), grads(theirs))


def test_checkpoints_of_a_chain():
    class Output(torch.nn.Module):
        def forward(self, found):
            return found[0]

    chain = torch.nn.Sequential(pylstm.torch.LSTM(4, 5), Output(), pylstm.torch.GRU(5, 5), Output())
    found = []
    for way in (chain, lambda x: checkpoint_sequential(chain, 2, x, use_reentrant=False)):
        x = X.clone().requires_grad_()
        way(x).pow(2).sum().backward()
        found.append(x.grad)
    close(*found)


def test_units_that_grow_in_place():
    ours, theirs = pair()
    ours(X)
    torch.manual_seed(1)
    for module in (ours, theirs):
        module.hidden_size = 6
        for name, shape in [
            ("weight_ih_l0", (24, 4)),
            ("weight_hh_l0", (24, 6)),
            ("bias_ih_l0", 24),
            ("bias_hh_l0", 24),
        ]:
            setattr(module, name, torch.nn.Parameter(torch.full(shape if isinstance(shape, tuple) else (shape,), 0.1)))
    close(ours(X)[0], theirs(X)[0])


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (torch.zeros(20, 6), ValueError, r"weight_hh_l0 must have shape \(20, 5\), got \(20, 6\)"),
        (torch.zeros(20, 5, dtype=torch.float64), ValueError, "weight_hh_l0 must be torch.float32 on cpu"),
        (torch.zeros(20, 5, device="meta"), ValueError, "weight_hh_l0 must be .* got torch.float32 on meta"),
        (None, TypeError, "weight_hh_l0 must be a tensor, got a NoneType"),
    ],
)
@pytest.mark.parametrize("grad", [True, False])
def test_what_does_not_fit_is_named(value, error, text, grad):
    ours, _ = pair()
    ours(X)
    ours.weight_hh_l0 = None if value is None else torch.nn.Parameter(value)
    with torch.set_grad_enabled(grad), pytest.raises(error, match=text):
        ours(X)


def test_input_that_is_no_dense_tensor():
    ours, _ = pair()
    with pytest.raises(TypeError, match=r"dense tensor, or a PackedSequence .* got a nested tensor"):
        ours(torch.nested.nested_tensor([X[:, 0], X[:3, 0]]))
    with pytest.raises(TypeError, match=r"layout torch\.sparse_coo"):
        ours(X[:, 0].to_sparse())
    with pytest.raises(RuntimeError, match=r"parameters are on meta, which has no numbers: module\.to_empty"):
        pylstm.torch.LSTM(4, 5, device="meta")(X)


def test_forward_mode_says_what_to_do():
    ours, _ = pair()
    for transform in (torch.func.jacfwd, torch.func.hessian):
        with pytest.raises(NotImplementedError, match=r"forward mode .* keep the module as torch.nn's"):
            transform(lambda x: ours(x)[0].sum())(X)


def test_replacing_where_there_is_nothing_says_so():
    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = [torch.nn.LSTM(4, 5)]

    for model in (Hidden(), torch.nn.Sequential(torch.nn.LSTMCell(4, 5))):
        with pytest.warns(UserWarning, match="found no torch.nn.LSTM, GRU or RNN: modules in plain lists"):
            pylstm.torch.replace_recurrent(model)
    model = pylstm.torch.replace_recurrent(torch.nn.Sequential(torch.nn.GRU(4, 5)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pylstm.torch.replace_recurrent(model)
