"""What a `Model` holds: names, parameters, files, copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import pylstm
import pylstm.reference
from support.models import RNG, Captioner, Holder, linear


def test_layers_are_found_and_named():
    shared = linear(bias=False)
    net = Holder(
        _own=linear(), number=3, none=None, word="x", shared=shared, again=shared, array=np.ones(3),
        dropout=pylstm.Dropout(), heads={"left": linear(bias=False), 2: [shared, linear(bias=False)]},
        deep=[(linear(bias=False), [{"a": pylstm.RNN(1, 2, bias=False)}])], model=Holder(inner=linear(bias=False)),
        chain=pylstm.Sequential([linear(bias=False), pylstm.Residual([pylstm.Linear(3, 3, bias=False)])]),
    )  # fmt: skip
    assert list(net.params) == [
        "_own.weight", "_own.bias", "shared.weight", "heads.left.weight", "heads.2.1.weight", "deep.0.0.weight",
        "deep.0.1.0.a.weight_ih_l0", "deep.0.1.0.a.weight_hh_l0", "model.inner.weight", "chain.0.weight",
        "chain.1.0.weight",
    ]  # fmt: skip
    assert net.num_parameters == sum(value.size for value in net.params.values())
    assert not net.params["shared.weight"].flags.writeable
    net.heads[2].append(linear())  # what is changed later is seen
    net.again = None
    assert "heads.2.2.bias" in net.params
    net.shared = None
    assert "heads.2.0.weight" in net.params
    del net.shared, net.heads
    assert len(net.params) == 8


def test_two_parameters_of_one_name_are_refused():
    net = Holder(a={"b": linear(), "b.c": linear()}, x={"1": linear(), 1: linear()})
    with pytest.raises(ValueError, match=r"two parameters would have the name x\.1\.weight"):
        len(net.params)
    with pytest.raises(ValueError, match="two parameters"):
        net.forward(np.ones(2))


def test_what_holds_itself():
    net = Holder(layer=linear(bias=False))
    net.me, net.list = net, [linear(bias=False)]
    net.list.append(net.list)
    assert list(net.params) == ["layer.weight", "list.0.weight"]


def test_state_dict():
    net, other = Captioner(6, 9, 5), Captioner(6, 9, 5)
    state = net.state_dict()
    other.load_state_dict(state)
    for name, value in other.params.items():
        np.testing.assert_array_equal(value, state[name])
    before = other.state_dict()
    for wrong, text in (
        ({**state, "more": np.ones(2)}, "unexpected more"),
        ({k: v for k, v in state.items() if k != "head.bias"}, "missing head.bias"),
        ({**{k: v * 0 for k, v in state.items()}, "head.bias": np.ones(4)}, r"head.bias must have shape \(9,\)"),
    ):
        with pytest.raises(ValueError, match=text):
            other.load_state_dict(wrong)
    for name, value in other.params.items():
        np.testing.assert_array_equal(value, before[name])


def test_parameters_inside_of_a_run():
    net = Holder(a=linear(), chain=pylstm.Sequential([linear()]))
    net.run = lambda x: x * net.state_dict()["a.weight"] * net.chain.state_dict()["0.weight"]
    y, _ = net.forward(np.ones(2, np.float32))
    np.testing.assert_array_equal(y, net.params["a.weight"] * net.params["chain.0.weight"])
    penalty = pylstm.value_and_grad(lambda net: sum((p**2).sum() for p in net.params.values()))
    with pytest.raises(TypeError, match="lose its gradient: call the layer"):
        penalty(net)


def test_layers_of_both_dtypes():
    net = Holder(a=linear(), b=linear(dtype=np.float64))
    net.load_state_dict(net.state_dict())
    assert {name: value.dtype for name, value in net.params.items()} == {
        "a.weight": np.float32, "a.bias": np.float32, "b.weight": np.float64, "b.bias": np.float64,
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_files_of_weights(tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    net, other, path = Captioner(6, 9, 5), Captioner(6, 9, 5), tmp_path / f"w{suffix}"
    net.save_weights(path)
    other.load_weights(path)
    for name, value in net.params.items():
        np.testing.assert_array_equal(other.params[name], value)
    before = Captioner(6, 9, 4).state_dict()
    small = Captioner(6, 9, 4)
    small.load_state_dict(before)
    with pytest.raises(ValueError, match=r"start\.weight must have shape \(4, 6\), got \(5, 6\)"):
        small.load_weights(path)
    for name, value in small.params.items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(pylstm.ModelFileError):
        pylstm.load(path)
    chain = pylstm.Sequential([linear()])
    chain.save(tmp_path / f"m{suffix}")
    with pytest.raises(pylstm.ModelFileError, match=r"pylstm\.load"):
        net.load_weights(tmp_path / f"m{suffix}")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(pylstm.ModelFileError):
        net.load_weights(path)
    with pytest.raises(FileNotFoundError):
        net.load_weights(tmp_path / f"none{suffix}")
    with pytest.raises(TypeError, match="path"):
        net.save_weights(3)


def test_pickle_and_copies():
    net = Captioner(6, 9, 5)
    net.again = [net.embed]
    image, words = RNG.standard_normal((2, 6)), RNG.integers(0, 9, (2, 3))
    for twin in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        np.testing.assert_array_equal(twin(image, words), net(image, words))
        assert twin.again[0] is twin.embed
        assert twin.embed is not net.embed
    assert copy.copy(net).embed is net.embed
    _, backward = net.forward(image, words)
    for spread in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            spread(backward)


def test_its_text():
    net = Captioner(6, 9, 5)
    assert repr(net) == (
        "Captioner(start=Linear(6, 5), embed=Embedding(9, 5), lstm=LSTM(5, 5, batch_first=True), head=Linear(5, 9))"
    )
