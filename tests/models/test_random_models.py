"""Random models that are not a chain, against PyTorch and against central differences."""

from __future__ import annotations

import numpy as np
import pytest

from pylstm import _core
from support import programs
from support.programs import STEPS, WIDTH, Net

pytestmark = pytest.mark.usefixtures("however_few_symbols")

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

SETTINGS = hypothesis.settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)
NAMES = programs.UNARY + programs.BINARY + programs.LAYERS * 2
PLACES = st.integers(0, 9)
PROGRAMS = st.lists(st.tuples(st.sampled_from(NAMES), PLACES, PLACES, st.integers(0, 99)), min_size=3, max_size=9)


@pytest.fixture(autouse=True)
def plans():
    """Rows as short as these are looked up, unless it is forced."""
    _core.force_plan(once=1)
    yield
    _core.force_plan()


def inputs_of(seed, count=2):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(programs.SHAPE) for _ in range(count)]


def cotangents(outputs, seed):
    rng = np.random.default_rng(seed + 1)
    last, others = outputs
    return (rng.standard_normal(last.shape), {"others": [rng.standard_normal(o.shape) for o in others["others"]]})


def flat(outputs):
    return [outputs[0], *outputs[1]["others"]]


def assert_close(ours, theirs, name=""):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, name
    scale = max(1.0, float(np.abs(theirs).max(initial=0)))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9 * scale, err_msg=name)


def every_name_alone():
    return [[(name, 0, 1, 7), ("add", 2, 1, 0)] for name in programs.UNARY + programs.BINARY + programs.LAYERS]


@pytest.mark.parametrize("program", every_name_alone(), ids=lambda program: program[0][0])
def test_every_instruction_against_central_differences(program):
    net, x, lengths = Net(program), inputs_of(0), np.array([STEPS, 2])
    outputs, backward = net.forward(*x, lengths=lengths)
    d = cotangents(outputs, 0)
    d_inputs, d_params = backward(d)
    state = net.state_dict()

    def value(arrays, params):
        net.load_state_dict(params)
        return sum(float((y * own).sum()) for y, own in zip(flat(net(*arrays, lengths=lengths)), flat(d), strict=True))

    rng = np.random.default_rng(1)
    step = 1e-5
    if program[0][0] != "detach":  # which is no derivative
        for k in range(2):
            direction = rng.standard_normal(x[k].shape)
            moved = [[xi + sign * step * direction * (i == k) for i, xi in enumerate(x)] for sign in (1, -1)]
            slope = (value(moved[0], state) - value(moved[1], state)) / (2 * step)
            assert slope == pytest.approx((d_inputs[k] * direction).sum(), rel=2e-6, abs=2e-7)
    for name, gradient in d_params.items():
        direction = rng.standard_normal(state[name].shape)
        if name == "embedding.weight":
            direction[0] = 0  # padding_idx: not trained
        moved = [{**state, name: state[name] + sign * step * direction} for sign in (1, -1)]
        slope = (value(x, moved[0]) - value(x, moved[1])) / (2 * step)
        assert slope == pytest.approx((np.asarray(gradient) * direction).sum(), rel=2e-6, abs=2e-7), name


@SETTINGS
@hypothesis.given(program=PROGRAMS, seed=st.integers(0, 99), lengths=st.none() | st.just([STEPS, 0]) | st.just([1, 3]),
                  dtype=st.sampled_from(["float32", "float64"]))  # fmt: skip
def test_inference_has_the_bits_of_training(program, seed, lengths, dtype):
    net = Net(program, dtype)
    x = [a.astype(dtype) for a in inputs_of(seed)]
    outputs, backward = net.forward(*x, lengths=lengths)
    for ours, theirs in zip(flat(net(*x, lengths=lengths)), flat(outputs), strict=True):
        assert ours.dtype == theirs.dtype == dtype
        np.testing.assert_array_equal(ours, theirs)
    d_inputs, d_params = backward(cotangents(outputs, seed), retain_graph=True)
    again = backward(cotangents(outputs, seed))
    assert d_params.keys() == net.params.keys()
    for a, b in zip([*d_inputs, *d_params.values()], [*again[0], *again[1].values()], strict=True):
        assert np.asarray(a).dtype == dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


class TestAgainstTorch:
    """Values and all gradients in float64."""

    @SETTINGS
    @hypothesis.given(
        program=PROGRAMS, seed=st.integers(0, 99), lengths=st.none() | st.just([STEPS, 1]) | st.just([2, 3])
    )
    def test_random_programs(self, program, seed, lengths):
        self.compare(program, seed, lengths)

    @pytest.mark.parametrize("seed", range(6))
    @pytest.mark.parametrize("name", ["lstm_of_symbols", "rnn_of_symbols", "lookup_twice", "columns"])
    def test_symbols(self, name, seed):
        self.compare([(name, 0, 1, seed), ("tanh", 2, 0, 0)], seed, [None, [STEPS, 1]][seed % 2])

    def compare(self, program, seed, lengths):
        torch = pytest.importorskip("torch")
        theirs = make_theirs(torch)
        _core.force_plan(once=seed % 3 != 0)
        net, x = Net(program), inputs_of(seed)
        outputs, backward = net.forward(*x, lengths=lengths)
        d_outputs = cotangents(outputs, seed)
        d_inputs, d_params = backward(d_outputs)

        twin = theirs(net)
        tensors = [torch.tensor(a, requires_grad=True) for a in x]
        expected = programs.run(program, list(tensors), lengths, twin)
        for ours, other in zip(flat(outputs), flat(expected), strict=True):
            assert_close(ours, other.detach().numpy())
        loss = sum((y * torch.tensor(d)).sum() for y, d in zip(flat(expected), flat(d_outputs), strict=True))
        params = dict(twin.parameters)
        found = torch.autograd.grad(loss, [*tensors, *params.values()], allow_unused=True)
        for ours, other, tensor in zip(d_inputs, found, tensors, strict=False):
            assert_close(ours, torch.zeros_like(tensor) if other is None else other)
        for (name, tensor), other in zip(params.items(), found[2:], strict=True):
            assert_close(d_params[name], torch.zeros_like(tensor) if other is None else other, name)
        assert params.keys() == d_params.keys()


def make_theirs(torch):
    """The instructions in PyTorch, with the parameters of a net."""

    class Theirs:
        def __init__(self, net):
            self.parameters = {name: torch.tensor(np.array(p), requires_grad=True) for name, p in net.params.items()}
            self.modules = {}
            for name, cell in net.cells.items():
                module = getattr(torch.nn, type(cell).__name__)(
                    cell.input_size, cell.hidden_size, cell.num_layers, batch_first=True,
                    bidirectional=cell.bidirectional, dtype=torch.float64,
                )  # fmt: skip
                self.modules[name] = module, f"cells.{name}."
            self.modules["chain"] = torch.nn.RNN(WIDTH, WIDTH, batch_first=True, dtype=torch.float64), "chain.2.0."
            self.concatenate, self.stack, self.where = torch.cat, torch.stack, torch.where

        def amax(self, x, axis):
            return x.amax() if axis is None else x.amax(axis, keepdim=True)

        def tensor(self, array):
            return torch.tensor(array)

        def detach(self, x):
            return x.detach()

        def linear(self, k, x, name=None):
            name = name or f"linears.{k}"
            return torch.nn.functional.linear(x, self.parameters[f"{name}.weight"], self.parameters.get(f"{name}.bias"))

        def embed(self, ids):
            return torch.nn.functional.embedding(ids, self.parameters["embedding.weight"], padding_idx=0)

        def embed_second(self, ids):
            return torch.nn.functional.embedding(ids, self.parameters["second.weight"])

        def chain(self, x):
            h = self.linear(0, x, "chain.0").tanh()
            return h + self.recurrent("chain", h, None, None)[0]

        def inner(self, x):
            return self.linear(1, self.linear(0, x, "inner.own").sigmoid()) + x

        def recurrent(self, name, x, state, lengths):
            module, prefix = self.modules[name]
            own = {key: self.parameters[prefix + key] for key, _ in module.named_parameters()}
            if lengths is None:
                return torch.func.functional_call(module, own, (x, state))
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), True, enforce_sorted=False)
            output, final = torch.func.functional_call(module, own, (packed, state))
            return torch.nn.utils.rnn.pad_packed_sequence(output, True, total_length=STEPS)[0], final

    return Theirs


def test_the_names_of_what_the_net_holds():
    net = Net([])
    assert list(net.params) == [
        "linears.0.weight", "linears.0.bias", "linears.1.weight", "linears.1.bias",
        *(f"cells.{name}.{key}" for name, cell in net.cells.items() for key in cell.params),
        "embedding.weight", "second.weight", "chain.0.weight", "chain.0.bias",
        *(f"chain.2.0.{key}" for key in net.cells["lstm"].params), "inner.own.weight",
    ]  # fmt: skip
