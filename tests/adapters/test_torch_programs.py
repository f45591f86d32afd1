"""`pylstm.torch` under what looks at programs: compilers, exporters, transforms, checkpoints, modes."""

from __future__ import annotations

import io

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils.rnn import pack_sequence
from torch.utils.checkpoint import checkpoint

import pylstm.torch
from pylstm.adapters.pytorch import operators

close = torch.testing.assert_close


class Net(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.recurrent = pylstm.torch.LSTM(3, 4, batch_first=True, **options)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x):
        output, (h, c) = self.recurrent(torch.tanh(x) * 2)
        return self.head(output.relu()).sum() + h.sum() * c.sum()


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_training(backend):
    torch._dynamo.reset()
    net, x = Net(num_layers=2), torch.randn(5, 6, 3, requires_grad=True)
    try:
        fast = torch.compile(net, fullgraph=True, backend=backend)
        fast(x)
    except torch._inductor.exc.InductorError as error:
        pytest.skip(f"inductor has no compiler here: {error}")
    sources = [x, *net.parameters()]
    for _ in range(2):
        close(torch.autograd.grad(fast(x), sources), torch.autograd.grad(net(x), sources))
        net.recurrent.weight_hh_l0.data.mul_(0.5)
    with torch.no_grad():
        close(fast(x), net(x))


def test_compiled_dropout():
    torch._dynamo.reset()
    net = Net(num_layers=2, dropout=0.5)
    fast, x = torch.compile(net, fullgraph=True, backend="aot_eager"), torch.randn(5, 6, 3)
    assert fast(x) != fast(x)
    fast(x).backward()
    assert net.recurrent.weight_ih_l0.grad.abs().sum() > 0


@pytest.mark.parametrize("strict", [True, False])
def test_export(strict):
    net, x = Net(bidirectional=False).eval(), torch.randn(5, 6, 3)
    batch = torch.export.Dim("batch", min=2, max=50)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: batch},), strict=strict)
    saved = io.BytesIO()
    torch.export.save(program, saved)
    saved.seek(0)
    again = torch.export.load(saved).module()
    for given in (x, torch.randn(9, 6, 3)):
        close(again(given), net(given))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LSTM", {"proj_size": 2}),
        ("GRU", {"batch_first": True, "bidirectional": True}),
        ("RNN", {"num_layers": 2, "bias": False}),
    ],
)
def test_opcheck(name, options):
    module = getattr(pylstm.torch, name)(3, 4, dtype=torch.float64, **options)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    spec, weights = module._new_spec(0.0), module._present_weights()
    batch = x.shape[0 if module.batch_first else 1]
    states = [
        torch.randn(spec.state_rows, batch, size, dtype=torch.float64, requires_grad=True) for size in spec.state_sizes
    ]
    for operator in (operators.recurrent, operators.recurrent_kept):
        torch.library.opcheck(operator, (x, states, weights, None, None, *operators.options_of(spec, batch)))


def test_opcheck_packed():
    module = pylstm.torch.GRU(3, 4, dtype=torch.float64)
    packed = pack_sequence([torch.randn(length, 3, dtype=torch.float64) for length in (5, 3)])
    options = operators.options_of(module._new_spec(0.0), 2)
    given = (packed.data.requires_grad_(), [], module._present_weights(), packed.batch_sizes, None, *options)
    torch.library.opcheck(operators.recurrent, given)


def test_gradients_for_each_sample_and_ensembles():
    module, x = pylstm.torch.LSTM(3, 4), torch.randn(7, 5, 2, 3)
    parameters = dict(module.named_parameters())

    def loss(values, given):
        return torch.func.functional_call(module, values, (given,))[0].pow(2).sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    want = torch.autograd.grad(loss(parameters, x[2]), list(parameters.values()))
    close([one[2] for one in found.values()], list(want))
    modules = [pylstm.torch.GRU(3, 4) for _ in range(3)]
    stacked, _ = torch.func.stack_module_state(modules)
    call = torch.func.vmap(lambda p, given: torch.func.functional_call(modules[0], p, (given,))[0], in_dims=(0, None))
    close(call(stacked, x[0])[1], modules[1](x[0])[0])


def test_jacobians():
    module, x = pylstm.torch.GRU(2, 3, dtype=torch.float64), torch.randn(3, 1, 2, dtype=torch.float64)

    def run(given):
        return module(given)[0]

    close(torch.func.jacrev(run)(x), torch.autograd.functional.jacobian(run, x))
    with pytest.raises(RuntimeError, match="jvp"):
        torch.func.jacfwd(run)(x)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.func.grad(lambda a: torch.func.grad(lambda b: run(b).sum())(a).sum())(x)


@pytest.mark.parametrize("way", ["reentrant", "hooks", "on_cpu"])
def test_saved_tensors_that_go_elsewhere(way):
    module, x = pylstm.torch.LSTM(3, 4, 2, dropout=0.3), torch.randn(5, 2, 3, requires_grad=True)

    def run(given):
        return module(given)[0].pow(2).sum()

    torch.manual_seed(1)
    want = torch.autograd.grad(run(x), x)[0]
    torch.manual_seed(1)
    if way == "on_cpu":
        with torch.autograd.graph.save_on_cpu():
            loss = run(x)
    else:
        loss = checkpoint(run, x, use_reentrant=way == "reentrant")
    loss.backward()
    close(x.grad, want)


def test_tensors_without_numbers():
    module, x = pylstm.torch.LSTM(3, 4), torch.randn(5, 2, 3)
    with FakeTensorMode():
        output, _ = pylstm.torch.LSTM(3, 4)(torch.randn(5, 2, 3))
        assert output.shape == (5, 2, 4)
    empty = pylstm.torch.LSTM(3, 4, device="meta")
    output, _ = empty(torch.randn(5, 2, 3, device="meta"))
    assert output.device.type == "meta"
    empty.to_empty(device="cpu").load_state_dict(module.state_dict(), assign=True)
    with torch.device("meta"):  # for what is made inside, which is nothing to us
        close(empty(x)[0], module(x)[0])


def test_tracers_see_the_call():
    module, x = pylstm.torch.LSTM(3, 4), torch.randn(5, 2, 3)
    graph = torch.fx.experimental.proxy_tensor.make_fx(lambda given: module(given)[0])(x)
    close(graph(x + 1), module(x + 1)[0])
    traced = torch.jit.trace(module, (x,), check_trace=False)
    close(traced(x + 1)[0], module(x + 1)[0])
