"""Whose weights are whose: names, prefixes, mappings, what fits where only one thing can, and what an error says."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.torch_files import lstm_weights, refused


def test_what_stands_before_all_names_is_left_out():
    rng, layer = np.random.default_rng(0), pylstm.LSTM(3, 2, 2)
    for prefix in ("", "lstm.", "module.encoder.rnn."):
        given = lstm_weights(layer, rng, prefix)
        pylstm.from_torch(given, layer)
        assert all(np.array_equal(layer.params[name], given[prefix + name]) for name in layer.params)


def test_prefix():
    rng, layer = np.random.default_rng(0), pylstm.LSTM(3, 2)
    one, two = lstm_weights(layer, rng, "encoder.lstm."), lstm_weights(layer, rng, "decoder.lstm.")
    for prefix in ("decoder.lstm.", "decoder.lstm", "decoder"):
        pylstm.from_torch({**one, **two}, layer, prefix)
        assert np.array_equal(layer.params["bias_hh_l0"], two["decoder.lstm.bias_hh_l0"])
    flat = {name.replace(".lstm.", "_"): value for name, value in {**one, **two}.items()}
    pylstm.from_torch(flat, layer, prefix="encoder_")
    assert np.array_equal(layer.params["bias_hh_l0"], one["encoder.lstm.bias_hh_l0"])
    said = refused("prefix='encoder.lstm.' or prefix='decoder.lstm.' would fit", {**one, **two})
    assert "missing 'weight_ih_l0' (near: 'encoder.lstm.weight_ih_l0', 'decoder.lstm.weight_ih_l0')" in said
    refused(r"begins with prefix 'coder'; there are 8 tensors \('encoder', 'decoder'\)", {**one, **two}, "coder")


def test_mapping():
    rng, layer = np.random.default_rng(0), pylstm.LSTM(3, 2)
    given = lstm_weights(layer, rng, "a.b.")
    given["c.weight"] = rng.normal(size=(5, 2))
    names = {name: f"a.b.{name}" for name in layer.params}
    for mapping in ({"": "a.b"}, {"": "a.b."}, names, lambda name: f"a.b.{name}", names.__getitem__):
        fresh = pylstm.from_torch(given, pylstm.LSTM(3, 2), mapping=mapping)
        assert all(np.array_equal(fresh.params[name], given[f"a.b.{name}"]) for name in layer.params)
    model = pylstm.Sequential([pylstm.LSTM(3, 2, batch_first=True), pylstm.Linear(2, 5, bias=False)])
    for mapping in ({"0": "a.b", "1": "c"}, {"0.": "a.b.", "1.weight": "c.weight"}):
        pylstm.from_torch(given, model, mapping=mapping)
        assert np.array_equal(model.params["0.weight_hh_l0"], given["a.b.weight_hh_l0"])
        assert np.array_equal(model.params["1.weight"], given["c.weight"].astype("f4"))
    before = model.params["1.weight"]
    given = {name: value + 1 for name, value in given.items()}
    pylstm.from_torch(given, model, prefix="a", mapping={"0": "b", "1": None})  # None: it stays
    assert np.array_equal(model.params["0.weight_hh_l0"], given["a.b.weight_hh_l0"])
    assert np.array_equal(model.params["1.weight"], before)
    refused("unexpected 'c.bias'", {**given, "c.bias": np.ones(5)}, model=model, mapping={"0": "a.b", "1": "c"})
    refused("missing '1.weight'", given, model=model, mapping={"0": "a.b", "1": "d"})
    refused("mapping names 'a.b'.*our name: their name", given, model=model, mapping={"a.b": "0"})
    refused("must be a dict", given, model=model, mapping=3, error=TypeError)
    refused("must have names", given, model=model, mapping={"0": 3}, error=TypeError)
    refused("must be a name or None", given, model=model, mapping=lambda name: 3, error=TypeError)  # noqa: ARG005


def sequential(*names):
    """Three Linear(4, 4) after an LSTM(4, 4), as they are called in PyTorch, in that order."""
    rng = np.random.default_rng(0)
    found = lstm_weights(pylstm.LSTM(4, 4), rng, f"{names[0]}.")
    for name in names[1:]:
        found.update({f"{name}.weight": rng.normal(size=(4, 4)), f"{name}.bias": rng.normal(size=4)})
    return found


def linears(count=3):
    return pylstm.Sequential([pylstm.LSTM(4, 4, batch_first=True), *(pylstm.Linear(4, 4) for _ in range(count))])


def test_modules_that_are_numbered_come_in_their_order():
    given = sequential("net.0", "net.2", "net.4", "net.11")
    for order in (given, dict(sorted(given.items())), dict(reversed(given.items()))):
        model = pylstm.from_torch(order, linears())
        for ours, theirs in (("1", "net.2"), ("2", "net.4"), ("3", "net.11")):
            assert np.array_equal(model.params[f"{ours}.bias"], given[f"{theirs}.bias"].astype("f4"))


def test_modules_that_are_alike_need_a_mapping():
    given = sequential("lstm", "a", "b", "c")
    said = refused(r"'a', 'b', 'c' are alike.*mapping=\{'0': 'lstm', '1': '\?'", given, model=linears())
    assert "unexpected" in said
    model = pylstm.from_torch(given, linears(), mapping={"0": "lstm", "1": "c", "2": "a", "3": "b"})
    assert np.array_equal(model.params["1.bias"], given["c.bias"].astype("f4"))
    pylstm.from_torch(sequential("lstm", "a"), linears(1))
    refused("unexpected", sequential("lstm", "a", "b"), model=linears(1))  # a Linear too many
    refused("missing", sequential("lstm"), model=linears(1))


def test_a_model_with_names_is_not_guessed():
    class Net(pylstm.Model):
        def __init__(self):
            self.lstm, self.out = pylstm.LSTM(4, 4), pylstm.Linear(4, 4)

        def run(self, x):
            return self.out(self.lstm(x)[0])

    given = sequential("rnn", "fc")
    said = refused("these would fit: mapping=", given, model=Net())
    mapping = eval(said[said.index("mapping=") + len("mapping=") :])
    assert mapping == {"lstm": "rnn", "out": "fc"}
    pylstm.from_torch(given, Net(), mapping=mapping)
    pylstm.from_torch({f"module.{name}": value for name, value in sequential("lstm", "out").items()}, Net())


def test_a_cell():
    rng = np.random.default_rng(0)
    for layer in (pylstm.LSTM(3, 2), pylstm.GRU(3, 2), pylstm.RNN(3, 2)):
        given = {name.removesuffix("_l0"): value for name, value in lstm_weights(layer, rng).items()}
        for names in (given, {f"cell.{name}": value for name, value in given.items()}):
            pylstm.from_torch(names, layer)
            assert np.array_equal(layer.params["weight_hh_l0"], given["weight_hh"])
    refused("missing", given, model=pylstm.RNN(3, 2, 2))


def test_one_bias_of_two():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 2, 3)).astype("f4")
    for kind in (pylstm.LSTM, pylstm.RNN, pylstm.GRU):
        full = kind(3, 4, 2, bidirectional=True)
        given = lstm_weights(full, rng)
        if kind is pylstm.GRU:
            refused(
                "is not zero for the candidate", given, model=kind(3, 4, 2, bidirectional=True, recurrent_bias=False)
            )
            for name in given:
                if name.startswith("bias_hh"):
                    given[name][8:] = 0
        full.load_state_dict(given)
        single = pylstm.from_torch(given, kind(3, 4, 2, bidirectional=True, recurrent_bias=False))
        np.testing.assert_allclose(single(x)[0], full(x)[0], atol=1e-6)
    with pytest.raises(ValueError, match="reset_after=True"):
        pylstm.from_torch(given, pylstm.GRU(3, 4, 2, bidirectional=True, reset_after=False))


def test_what_does_not_fit_is_named_and_nothing_changes():
    given = lstm_weights(pylstm.LSTM(3, 2), np.random.default_rng(0))
    refused(r"'weight_hh_l0' must have shape \(8, 2\), got \(8, 3\)", {**given, "weight_hh_l0": np.ones((8, 3))})
    refused(r"missing 'bias_hh_l0' of shape \(8,\)", {n: v for n, v in given.items() if n != "bias_hh_l0"})
    refused(r"missing 'bias_hh_l0' \(near: 'b_hh_l0'\); unexpected 'b_hh_l0'",
            {**{n: v for n, v in given.items() if n != "bias_hh_l0"}, "b_hh_l0": given["bias_hh_l0"]})  # fmt: skip
    refused("unexpected 'x0', 'x1', .* and 92 more", {**given, **{f"x{i}": np.ones(3) for i in range(100)}})
    refused("weight_ih_l0 must hold real numbers", {**given, "weight_ih_l0": np.ones((8, 3), complex)}, error=TypeError)
    refused("must be a path, an open file or a state_dict, got ndarray", np.ones(3), error=TypeError)
    refused("must be a path, an open file or a state_dict, got None", None, error=TypeError)
    refused(r"got bytes: io\.BytesIO", b"PK\3\4", error=TypeError)
    refused("prefix must be a string", given, 3, error=TypeError)
    with pytest.raises(TypeError, match="model must be a layer"):
        pylstm.from_torch(given, pylstm.LSTM)
    with pytest.raises(TypeError, match=r"from_torch\(weights, model\)"):
        pylstm.from_torch(pylstm.LSTM(3, 2), given)


def test_checkpoints_with_several_parts():
    rng, layer = np.random.default_rng(0), pylstm.LSTM(3, 2)
    one, two = lstm_weights(layer, rng), lstm_weights(layer, rng, "lstm.")
    optimizer = {"state": {0: {"exp_avg": np.ones(3), "step": np.ones(())}}, "param_groups": [{"lr": 0.1}]}
    checkpoint = {"model": one, "ema": {"shadow": two}, "optimizer": optimizer, "epoch": np.float64(3), "seen": [1, 2]}
    refused("There are 4 tensors under 'model' .*, 4 tensors under 'ema.shadow' .*the state of an optimizer: prefix=",
            checkpoint)  # fmt: skip
    pylstm.from_torch(checkpoint, layer, prefix="ema.shadow.lstm")
    assert np.array_equal(layer.params["bias_hh_l0"], two["lstm.bias_hh_l0"])
    pylstm.from_torch(checkpoint, layer, prefix="ema")
    pylstm.from_torch(checkpoint, layer, prefix="model")
    assert np.array_equal(layer.params["bias_hh_l0"], one["bias_hh_l0"])
    alone = {"state_dict": two, "optimizers": [optimizer], "optimizer": optimizer, "steps": np.ones((), np.int64)}
    pylstm.from_torch(alone, layer, prefix="lstm")
    assert np.array_equal(layer.params["bias_hh_l0"], two["lstm.bias_hh_l0"])
    refused("no tensors in", {"epoch": 3})

    class Net(pylstm.Model):
        def __init__(self):
            self.model, self.ema = pylstm.LSTM(3, 2), pylstm.LSTM(3, 2)

        def run(self, x):
            return self.ema(self.model(x)[0])[0]

    net = pylstm.from_torch({"model": one, "ema": lstm_weights(layer, rng)}, Net())  # a dict for each attribute
    assert np.array_equal(net.params["model.bias_hh_l0"], one["bias_hh_l0"])
    held = {"a": one}
    held["a"]["self"] = held  # which holds itself
    pylstm.from_torch(held, layer, prefix="a")
