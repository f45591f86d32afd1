"""Both backends against torch.nn, with the same parameters."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from pylstm import reference
from support.compare import assert_close
from support.problems import as_state, exact_in_float32, flat, problem, run, twin

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

TOLERANCE = 1e-12  # float64, relative to the largest element of each array


def torch_layer(layer, dtype):
    """The layer of torch.nn with the arguments and parameters of `layer`."""
    names = ["input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"]
    names += {"LSTM": ["proj_size"], "GRU": [], "RNN": ["nonlinearity"]}[type(layer).__name__]
    config = layer._config()
    other = getattr(torch.nn, type(layer).__name__)(**{name: config[name] for name in names}, dtype=dtype)
    other.load_state_dict({name: torch.from_numpy(value) for name, value in layer.state_dict().items()})
    return other


def run_torch(layer, other, case, dtype):
    """Every result of both passes, with the names of `t.run`."""

    def leaf(array):
        return torch.tensor(array, dtype=dtype, requires_grad=True)

    other.zero_grad()
    x = leaf(case.x)
    states = None if case.states is None else tuple(leaf(s) for s in case.states)
    given = x
    if case.lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor(case.lengths), batch_first=layer.batch_first, enforce_sorted=False
        )
    output, final = other(given, as_state(layer, states))
    if case.lengths is not None:
        steps = case.x.shape[1 if layer.batch_first else 0]
        output, _ = torch.nn.utils.rnn.pad_packed_sequence(output, layer.batch_first, total_length=steps)
    final = flat(final)
    results, d_results = [output, *final], [case.d_output, *case.d_states]
    torch.autograd.backward(results, [torch.tensor(d, dtype=dtype) for d in d_results])
    named = {"output": output, **{f"state[{k}]": s for k, s in enumerate(final)}, "d_x": x.grad}
    if states is not None:
        named.update({f"d_state[{k}]": s.grad for k, s in enumerate(states)})
    named.update({"d_" + name: p.grad for name, p in other.named_parameters()})
    return {name: value.detach().numpy() for name, value in named.items()}


@pytest.mark.parametrize("lengths", [False, True], ids=["full", "packed"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"num_layers": 2, "batch_first": True},
        {"num_layers": 2, "bidirectional": True},
        {"num_layers": 3, "bidirectional": True, "bias": False, "batch_first": True},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_both_passes(module, torch_variant, options, lengths):
    layer = torch_variant.make(module, 7, 10, dtype=np.float64, seed=1, **options)
    other = torch_layer(layer, torch.float64)
    for seed, state in enumerate([False, True]):
        case = problem(layer, 6, 5, seed, lengths=lengths, state=state)
        if lengths:
            case = case._replace(lengths=np.maximum(case.lengths, 1))  # packing refuses 0
        got = run(layer, case)
        if not state:  # torch gives no gradient to the zero state
            got = {name: value for name, value in got.items() if not name.startswith("d_state")}
        assert_close(got, run_torch(layer, other, case, torch.float64), TOLERANCE)


def test_names_order_and_shapes_of_parameters(module, torch_variant):
    layer = torch_variant.make(module, 7, 10, num_layers=2, bidirectional=True)
    other = torch_layer(layer, torch.float32)
    assert [(k, v.shape) for k, v in layer.params.items()] == [(k, tuple(v.shape)) for k, v in other.named_parameters()]
    assert layer.num_parameters == sum(p.numel() for p in other.parameters())


def test_state_dict_of_tensors(module):
    layer, other = module.LSTM(4, 5, seed=0), torch.nn.LSTM(4, 5)
    layer.load_state_dict(other.state_dict())
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(layer.params[name], value.numpy())
    with pytest.raises(TypeError, match="weight_ih_l0"):
        layer.load_state_dict(dict(other.named_parameters()))  # they require a gradient: torch wants a detach()


def test_tensors_as_arguments(module):
    layer = module.LSTM(4, 5, seed=0)
    x = torch.randn(3, 2, 4)
    np.testing.assert_array_equal(layer(x)[0], layer(x.numpy())[0])
    np.testing.assert_array_equal(layer(x, lengths=torch.tensor([1, 3]))[0], layer(x.numpy(), lengths=[1, 3])[0])
    with pytest.raises(TypeError, match="x cannot be made an array"):
        layer(x.requires_grad_())


def test_float32_is_as_accurate_as_torchs(torch_variant):
    """Error against the twin in float64, root mean square relative to that of the array.

    PyTorch sums in blocks, this library in one fused chain in the order of k (the price of equal bits); the fused steps
    make up for it in part. So up to twice torch's error, and a few eps for arrays in which torch is exact by luck.
    """
    plain = exact_in_float32(torch_variant.make(reference, 48, 64, num_layers=2, dtype=np.float64, seed=1))
    case = problem(plain, 40, 16, 2, state=True)
    want = run(plain, case)
    layer = twin(plain, pylstm, np.float32)
    got = run(layer, case)
    theirs = run_torch(layer, torch_layer(layer, torch.float32), case, torch.float32)

    def rms(a):
        return np.sqrt(np.mean(np.square(a, dtype=np.float64)))

    for name, expected in want.items():
        ours, torchs = (rms(r[name] - expected) / rms(expected) for r in (got, theirs))
        assert ours <= 2 * torchs + 4 * np.finfo(np.float32).eps, f"{name}: {ours:.2e}, torch {torchs:.2e}"
