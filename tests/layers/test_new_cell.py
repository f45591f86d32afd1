"""A cell that only its own description, twin and signature know: calls, traces, pictures, files and bench take it as it
is. The description stands in for what the core would say of a file in csrc/cells/."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

import pylstm
from pylstm._cells import CELLS
from pylstm.layers.recurrent import Recurrent
from pylstm.layers.registry import _built_in
from pylstm.reference import cells
from pylstm.reference.layers import _NumPyBackend


class Tracked:
    """Two inner states, a vector of weights, no bias of the states; the letter z is no gate here, as it is in a GRU."""

    saves = ("h", "c", "e", "u", "z")
    meanings = {"u": "update gate: how much is new", "z": "candidate", "c": "what is kept", "e": "its trace"}  # noqa: RUF012

    def __init__(self, params):
        self.params = params

    def forward(self, a, state):
        h, c, e = state
        u, z = np.split(a + h @ self.params["weight_hh"].T, 2, axis=1)
        u, z = cells.sigmoid(u + self.params["weight_c"] * c), 3 * np.tanh(z)
        c_new = c + u * (z - c)
        e_new = 0.5 * (e + c_new)
        return (np.tanh(c_new - e_new), c_new, e_new), (h, c, e, u, z)

    def backward(self, saved, d_state, grads):
        raise NotImplementedError


DESCRIPTION = {
    "gates": ("u", "z"),
    "states": {"h": "output", "c": "hidden", "e": "hidden"},
    "records": {"u": "hidden", "z": "hidden"},
    "parameters": {
        "weight_ih": ("matrix", 2, "hidden", "input", False),
        "weight_hh": ("matrix", 2, "hidden", "output", False),
        "bias_ih": ("bias_of_x", 2, "hidden", "one", True),
        "weight_c": ("vector", 1, "hidden", "one", False),
    },
    "projects": False,
    "functions": {"u": "sigmoid", "h": "tanh"},
    "activations": 3,
}


class TRACKER(_NumPyBackend):
    def __init__(self, input_size, hidden_size, num_layers=1, **options):
        names = dict.fromkeys(("batch_first", "bidirectional"), False) | {"bias": True, "recurrent_bias": True}
        config = {**names, "dropout": 0.0, "dtype": np.float64, "seed": 0, **options}
        self._build(config.pop("seed"), input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, **config)

    @staticmethod
    def _choose_cell(config):  # noqa: ARG004
        return "tracked"

    def _configure_cell(self, config):  # noqa: ARG002
        return {}


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    monkeypatch.setitem(CELLS, "tracked", DESCRIPTION)
    monkeypatch.setitem(cells.BY_NAME, "tracked", Tracked)
    monkeypatch.setitem(_built_in, "TRACKER", TRACKER)
    monkeypatch.setattr(pylstm, "TRACKER", TRACKER, raising=False)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("recurrent_bias", [False, True])
def test_parameters(bias, recurrent_bias):
    layer = TRACKER(3, 5, 2, bidirectional=True, bias=bias, recurrent_bias=recurrent_bias)
    kinds = ["weight_ih", "weight_hh", *(["bias_ih"] if bias else []), "weight_c"]
    suffixes = ["_l0", "_l0_reverse", "_l1", "_l1_reverse"]
    assert list(layer.params) == [kind + suffix for suffix in suffixes for kind in kinds]
    assert layer.params["weight_ih_l1"].shape == (10, 10)
    assert layer.params["weight_c_l0"].shape == (5,)
    assert TRACKER._claims(layer._config()) == len(layer.params)
    assert Recurrent._config_names == TRACKER._config_names


def test_calls_and_traces():
    layer, rng = TRACKER(3, 5, bidirectional=True), np.random.default_rng(0)
    x, lengths = rng.standard_normal((6, 2, 3)), [6, 4]
    output, state = layer(x, tuple(rng.standard_normal((2, 2, 5)) for _ in range(3)), lengths=lengths)
    assert [part.shape for part in state] == [(2, 2, 5)] * 3
    output, state = layer(x, lengths=lengths)
    trace = layer.trace(x, lengths=lengths)
    assert list(trace) == [letter + suffix for suffix in ("_l0", "_l0_reverse") for letter in "uzhce"]
    np.testing.assert_allclose(np.concatenate([trace["h_l0"], trace["h_l0_reverse"]], axis=2), output, atol=1e-13)
    for letter, part in zip("hce", state, strict=True):
        np.testing.assert_allclose(trace[f"{letter}_l0"][[5, 3], [0, 1]], part[0], atol=1e-13)
        np.testing.assert_allclose(trace[f"{letter}_l0_reverse"][0], part[1], atol=1e-13)


def test_pictures():
    pytest.importorskip("matplotlib").use("Agg")
    trace = TRACKER(3, 5).trace(9 * np.random.default_rng(0).standard_normal((6, 3)))
    figure = pylstm.plot_trace(trace)
    shown = {ax.get_title(loc="left"): ax.images[0].get_clim() for ax in figure.axes if ax.images}
    assert list(shown) == [
        "u  update gate: how much is new  (l0)", "z  candidate  (l0)", "h  output  (l0)", "c  what is kept  (l0)",
        "e  its trace  (l0)",
    ]  # fmt: skip
    (low, high), *others = shown.values()
    assert (low, high) == (0, 1)
    assert all(low == -high for low, high in others)
    assert shown["z  candidate  (l0)"][1] == np.abs(trace["z_l0"]).max() > 1


def test_files(tmp_path):
    model = pylstm.Sequential([TRACKER(3, 5, 2, batch_first=True, recurrent_bias=False), pylstm.LastStep()])
    model.save(tmp_path / "model.npz")
    again = pylstm.load(tmp_path / "model.npz")
    x = np.random.default_rng(0).standard_normal((2, 6, 3))
    assert type(again.layers[0]) is TRACKER
    np.testing.assert_array_equal(again(x), model(x))


def test_the_bench(monkeypatch):
    if not (bench := Path(__file__).resolve().parents[2] / "bench").is_dir():
        pytest.skip("needs bench/ beside the tests")
    monkeypatch.syspath_prepend(str(bench))
    cases = importlib.import_module("cases")
    case = cases.Case("new", "tracker", T=3, N=2, I=4, H=5)
    assert case.about == (2, 3, ["h", "c", "e"])
    assert len(cases.make_data(case).d_state) == 3
