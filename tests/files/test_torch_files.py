"""Weights of PyTorch's programs in our layers and models: outputs are PyTorch's. Files written by PyTorch lie in
data/torch; where PyTorch is installed, it writes others here."""

from __future__ import annotations

import datetime
import io
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

import pylstm
from pylstm.files.pytorch import archives
from support.examples import DATA as SHARED
from support.torch_files import Tagger, chain, refused

DATA = Path(__file__).parent / "data" / "torch"
REAL = SHARED / "pretrained"
both = pytest.mark.parametrize("end", [".pt", "_before_1_6.pt"])


@pytest.fixture(scope="module")
def values():
    with np.load(DATA / "values.npz") as file:
        return dict(file)


# ---- files that PyTorch wrote ----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("make", [Tagger, chain])
def test_a_checkpoint(values, end, make):
    """The weights are found beside the optimizer's state, by name and, in a Sequential, by what fits."""
    model = make()
    assert pylstm.from_torch(DATA / f"checkpoint{end}", model) is model
    np.testing.assert_allclose(model(values["x"]), values["y"], atol=1e-6)
    again = make()
    with open(DATA / f"checkpoint{end}", "rb") as file:
        pylstm.from_torch(io.BytesIO(file.read()), again, prefix="model_state_dict")
    assert all(np.array_equal(again.params[name], value) for name, value in model.params.items())


@both
@pytest.mark.parametrize("name", ["bfloat16", "float16", "float64", "transposed", "row", "expanded", "parameter",
                                  "integers", "bool"])  # fmt: skip
def test_kinds_of_tensors(values, end, name):
    layer = pylstm.Linear(3, 2, bias=False, dtype=np.float64)
    pylstm.from_torch(str(DATA / f"kinds{end}"), layer, mapping={"weight": name})
    assert np.array_equal(layer.params["weight"], values[name])


@both
def test_every_tensor_is_read_with_its_own_dtype(values, end):
    with archives.opened(DATA / f"kinds{end}") as (tree, read):
        assert tree.keys() == values.keys() - {"x", "y"}
        for name, tensor in tree.items():
            array = read(tensor)
            assert array.flags.c_contiguous
            assert array.flags.aligned
            assert np.array_equal(array, values[name])
            assert array.dtype == (values[name].dtype if values[name].dtype != bool else np.uint8)


def test_torch_is_not_imported():
    code = (
        "import sys, pylstm; assert 'pylstm.files' not in sys.modules;"
        f"pylstm.from_torch({str(DATA / 'kinds.pt')!r}, pylstm.Linear(3, 2, bias=False), mapping={{'weight': 'row'}});"
        "assert not {'torch', 'safetensors', 'pickle'} & (sys.modules.keys() - before)"
    ).replace("import sys, pylstm", "import sys, numpy; before = set(sys.modules); import pylstm")
    subprocess.run([sys.executable, "-P", "-c", code] if sys.version_info >= (3, 11) else [sys.executable, "-c", code],
                   check=True, cwd="/")  # fmt: skip


# ---- safetensors, and out again --------------------------------------------------------------------------------------


def test_to_torch(tmp_path):
    layer = pylstm.LSTM(3, 4, 2, bidirectional=True, proj_size=2, seed=0)
    weights = pylstm.to_torch(layer)
    assert list(weights) == list(layer.params)
    for name, value in weights.items():
        assert np.array_equal(value, layer.params[name])
        assert value.flags.c_contiguous
        assert value.flags.writeable
        assert value.dtype == np.float32
    path = tmp_path / "weights.safetensors"
    assert list(pylstm.to_torch(layer, path, prefix="encoder.")) == [f"encoder.{name}" for name in weights]
    other = pylstm.from_torch(path, pylstm.LSTM(3, 4, 2, bidirectional=True, proj_size=2), prefix="encoder")
    assert all(np.array_equal(other.params[name], value) for name, value in weights.items())
    single = pylstm.Sequential([pylstm.GRU(3, 2, batch_first=True, recurrent_bias=False), pylstm.Linear(2, 2)])
    both = pylstm.to_torch(single, path)
    assert list(both) == ["0.weight_ih_l0", "0.weight_hh_l0", "0.bias_ih_l0", "0.bias_hh_l0", "1.weight", "1.bias"]
    assert not both["0.bias_hh_l0"].any()
    again = pylstm.Sequential([pylstm.GRU(3, 2, batch_first=True, recurrent_bias=False), pylstm.Linear(2, 2)])
    pylstm.from_torch(path, again)
    assert all(np.array_equal(again.params[name], value) for name, value in single.params.items())
    with pytest.raises(ValueError, match="resets before the product"):
        pylstm.to_torch(pylstm.Sequential([pylstm.GRU(3, 2, batch_first=True, reset_after=False)]))
    with pytest.raises(ValueError, match=r"must end in \.safetensors.*torch\.save"):
        pylstm.to_torch(layer, tmp_path / "weights.pt")
    with pytest.raises(TypeError, match="model must be a layer"):
        pylstm.to_torch(weights)
    with pytest.raises(FileNotFoundError):
        pylstm.to_torch(layer, tmp_path / "nowhere" / "weights.safetensors")
    assert [one.name for one in tmp_path.iterdir()] == ["weights.safetensors"]


def test_the_safetensors_library_agrees(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    layer = pylstm.LSTM(3, 4, seed=0)
    pylstm.to_torch(layer, tmp_path / "ours.safetensors")
    theirs = library.load_file(tmp_path / "ours.safetensors")
    assert all(np.array_equal(theirs[name], value) for name, value in layer.params.items())
    half = {name: value.astype(np.float16) for name, value in layer.params.items()}
    library.save_file(
        {**half, "count": np.ones((), np.int64), "none": np.ones((0, 3))}, tmp_path / "theirs.safetensors"
    )
    other = pylstm.from_torch(tmp_path / "theirs.safetensors", pylstm.LSTM(3, 4), mapping={})
    assert all(np.array_equal(other.params[name], value) for name, value in half.items())


def test_a_bfloat16_safetensors_file(tmp_path):
    bits = np.array([[0x3F80, 0xC049, 0x7F80], [0x0001, 0x8000, 0x4248]], "<u2")
    header = b'{"weight":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}'
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bits.tobytes())
    layer = pylstm.from_torch(tmp_path / "w.safetensors", pylstm.Linear(3, 2, bias=False))
    want = np.array([[1, -3.140625, np.inf], [9.183549615799121e-41, -0.0, 50]], "f4")
    assert np.array_equal(layer.params["weight"], want)
    assert np.signbit(layer.params["weight"][1, 1])


# ---- with PyTorch ----------------------------------------------------------------------------------------------------


def test_layers_beside_recurrent_ones(torch):
    """Embedding, Conv1d, LayerNorm and Linear, in an nn.Sequential and in one of ours."""
    modules = [torch.nn.Conv1d(5, 4, 3), torch.nn.LayerNorm(4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 2)]
    net = torch.nn.Sequential(*modules).eval()
    with torch.no_grad():
        net[1].weight.uniform_()
        x = torch.randn(2, 9, 5)
        want = net[1:](modules[0](x.transpose(1, 2)).transpose(1, 2)).numpy()
    ours = [pylstm.Conv1d(5, 4, 3), pylstm.LayerNorm(4), pylstm.Dropout(0.5), pylstm.Linear(4, 2)]
    model = pylstm.from_torch(net.state_dict(), pylstm.Sequential(ours))
    np.testing.assert_allclose(model(x.numpy()), want, atol=1e-6)
    fresh = torch.nn.Sequential(
        torch.nn.Conv1d(5, 4, 3), torch.nn.LayerNorm(4), torch.nn.Dropout(), torch.nn.Linear(4, 2)
    )
    fresh.load_state_dict({name: torch.from_numpy(value) for name, value in pylstm.to_torch(model).items()})
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in fresh.state_dict().items())


def test_a_shared_module_has_two_names_there_and_one_here(torch, tmp_path):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(3, 3)
            self.second, self.other = self.first, torch.nn.Linear(3, 3)

    class Ours(pylstm.Model):
        def __init__(self):
            self.first = pylstm.Linear(3, 3)
            self.second, self.other = self.first, pylstm.Linear(3, 3)

        def run(self, x):
            return self.other(self.second(self.first(x)))

    state = Net().state_dict()
    assert len(state) == 6
    for given in (state, *saved(torch, state, tmp_path)):
        model = pylstm.from_torch(given, Ours())
        assert np.array_equal(model.params["first.weight"], state["second.weight"].numpy())
    apart = {name: value.clone() for name, value in state.items()}
    refused("unexpected 'second.weight', 'second.bias'", apart, model=Ours())


LAYERS = {
    "LSTM": ({"num_layers": 2, "bidirectional": True, "proj_size": 3}, 5, 6),
    "GRU": ({"num_layers": 2, "bidirectional": True}, 5, 6),
    "RNN": ({"nonlinearity": "relu", "num_layers": 2, "bias": False, "batch_first": True}, 5, 6),
}  # fmt: skip


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def saved(torch, thing, folder):
    """As PyTorch writes it: both generations, other pickle protocols, without checksums."""
    options = [
        {}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4},
        {"_use_new_zipfile_serialization": False, "pickle_protocol": 5},
    ]  # fmt: skip
    for i, one in enumerate(options):
        torch.save(thing, folder / f"{i}.pt", **one)
        yield folder / f"{i}.pt"
    crc = torch.serialization.get_crc32_options() if hasattr(torch.serialization, "get_crc32_options") else None
    if crc is not None:
        torch.serialization.set_crc32_options(False)
        try:
            torch.save(thing, folder / "no_crc.pt")
        finally:
            torch.serialization.set_crc32_options(crc)
        yield folder / "no_crc.pt"


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_layers_give_the_outputs_of_torch(torch, tmp_path, name):
    options, inputs, hidden = LAYERS[name]
    module = getattr(torch.nn, name)(inputs, hidden, **options)
    x = np.random.default_rng(0).normal(size=(7, 4, inputs)).astype("f4")
    with torch.no_grad():
        want = module(torch.from_numpy(x))[0].numpy()
    state = module.state_dict()
    for given in (state, *saved(torch, state, tmp_path), OrderedDict((k, v.numpy()) for k, v in state.items())):
        layer = pylstm.from_torch(given, getattr(pylstm, name)(inputs, hidden, **options))
        np.testing.assert_allclose(layer(x)[0], want, atol=1e-6)
    fresh = getattr(torch.nn, name)(inputs, hidden, **options)
    fresh.load_state_dict({key: torch.from_numpy(value) for key, value in pylstm.to_torch(layer).items()})
    with torch.no_grad():
        assert np.array_equal(fresh(torch.from_numpy(x))[0].numpy(), want)


def test_models_give_the_outputs_of_torch(torch, tmp_path):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(6, 3)
            self.gru = torch.nn.GRU(3, 4, bidirectional=True, batch_first=True)
            self.head = torch.nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.gru(self.embedding(x))[0])

    net, x = Net(), np.random.default_rng(0).integers(0, 6, (3, 5))
    optimizer = {"state": {0: {"exp_avg": torch.ones(3), "step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}
    with torch.no_grad():
        want = net(torch.from_numpy(x)).numpy()
    checkpoint = {
        "model_state_dict": net.state_dict(), "optimizer": optimizer, "epoch": 3, "device":
        torch.device("cpu"), "dtype": torch.float16, "loss": torch.tensor(0.5), "best": np.float64(0.5),
        "random": torch.get_rng_state(), "folder": Path("runs"), "shape": torch.Size([2, 3]), "set": {1, 2},
        "more random": np.random.RandomState(0).get_state(), "date": datetime.datetime(2026, 1, 1),
        "numbers": [1, -1, 300, 70_000, 2**40, -(2**70), 0.5, None, True, "\u4e2d", b"x"],
    }  # fmt: skip
    for make in (Tagger, chain):
        for path in saved(torch, checkpoint, tmp_path):
            model = pylstm.from_torch(path, make(), prefix="model_state_dict")
            np.testing.assert_allclose(model(x), want, atol=1e-6)
        for prefix, given in (("", net.state_dict()), ("model_state_dict", checkpoint)):
            np.testing.assert_allclose(pylstm.from_torch(given, make(), prefix)(x), want, atol=1e-6)
    fresh = Net()
    tagger = pylstm.from_torch(net.state_dict(), Tagger())
    fresh.load_state_dict({name: torch.from_numpy(value) for name, value in pylstm.to_torch(tagger).items()})
    with torch.no_grad():
        assert np.array_equal(fresh(torch.from_numpy(x)).numpy(), want)


def test_live_tensors(torch):
    weight = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    kinds = {
        "parameter": torch.nn.Parameter(weight), "bfloat16": weight.to(torch.bfloat16), "half": weight.half(),
        "transposed": weight.T.contiguous().T, "integers": weight.to(torch.int32), "negative": torch._neg_view(weight),
    }  # fmt: skip
    layer = pylstm.Linear(3, 2, bias=False)
    for name, tensor in kinds.items():
        if name != "negative":
            pylstm.from_torch({"weight": tensor}, layer)
            assert np.array_equal(layer.params["weight"], tensor.detach().float().numpy()), name
    for tensor in (kinds["negative"], weight.detach().to_sparse(), torch.empty(2, 3, device="meta")):
        refused("weight cannot be taken as an array", {"weight": tensor}, model=layer)
    refused(r"got Linear: give its \.state_dict\(\)", torch.nn.Linear(3, 2), model=layer, error=TypeError)
    given = torch.ones(2, 3)
    pylstm.from_torch({"weight": given}, layer)
    given.zero_()
    assert layer.params["weight"].all()


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_what_is_not_weights_is_refused_with_advice(torch, tmp_path):
    module = torch.nn.Linear(3, 2)
    for path in saved(torch, module, tmp_path):
        refused(r"whole module \(torch.nn.modules.linear.Linear\).*torch.save\(model.state_dict\(\)", path)
    for path in saved(torch, {"model": module}, tmp_path):
        refused("whole module", path)
    for path in saved(torch, {"model": module.state_dict(), "own": LAYERS.__class__, "e": Unknown()}, tmp_path):
        refused(r"an object of '.*Unknown' besides its tensors.*checkpoint\[\"state_dict\"\]", path)
    torch.save([torch.ones(3)], tmp_path / "list.pt")
    refused("a state_dict, and this is list", tmp_path / "list.pt", error=pylstm.ModelFileError)
    torch.jit.save(torch.jit.trace(module, torch.ones(1, 3)), tmp_path / "script.pt")
    refused("TorchScript program.*torch.jit.load", tmp_path / "script.pt")
    for tensor in (torch.ones(2, 3).to_sparse(), torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.qint8)):
        for path in saved(torch, {"weight": tensor}, tmp_path):
            refused("sparse, quantised|besides its tensors", path)
    for path in saved(torch, {"weight": torch.ones(2, 3, dtype=torch.complex64)}, tmp_path):
        refused("of complex64 cannot be taken", path, model=pylstm.Linear(3, 2, bias=False))


class Unknown:
    pass


# ---- real models -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason=f"there is no {REAL}")
def test_silero_vad():
    """The LSTM cell of a real voice-activity detector, by its prefix; its golden states."""
    folder = REAL / "silero_vad"
    with np.load(folder / "golden_op15_400frames.npz") as golden:
        layer = pylstm.from_torch(
            folder / "weights_from_op15_onnx.safetensors", pylstm.LSTM(128, 128), prefix="lstm_cell"
        )
        output, (h, c) = layer(golden["lstm_input"])
        np.testing.assert_allclose(output, golden["h"], atol=1e-5)
        np.testing.assert_allclose(c[0], golden["c"][-1], atol=1e-5)
        np.testing.assert_allclose(h[0], golden["h"][-1], atol=1e-5)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"there is no {REAL}")
def test_g2pm():
    """Chinese polyphones: embedding, bidirectional LSTM, two linear layers; named as PyTorch names them."""
    folder = REAL / "g2pM"
    model = pylstm.Sequential(
        [pylstm.Embedding(5398, 64), pylstm.LSTM(64, 32, bidirectional=True, batch_first=True), pylstm.Linear(64, 32),
         pylstm.Activation("relu"), pylstm.Linear(32, 876)]
    )  # fmt: skip
    with np.load(folder / "weights.npz") as weights, np.load(folder / "golden.npz") as golden:
        pylstm.from_torch(weights, model)
        logits = model(golden["ids"], lengths=golden["lengths"])[tuple(golden["which"].T)]
        np.testing.assert_allclose(logits, golden["logits"], atol=1e-4)
        assert np.array_equal(logits.argmax(1), golden["predictions"])


@pytest.mark.skipif(not REAL.is_dir(), reason=f"there is no {REAL}")
def test_g2p_en():
    """The GRU encoder of letters, whose names are PyTorch's but for their spelling."""
    folder = REAL / "g2p_en"
    names = {"0.weight": "enc_emb", "1.weight_ih_l0": "enc_w_ih", "1.weight_hh_l0": "enc_w_hh",
             "1.bias_ih_l0": "enc_b_ih", "1.bias_hh_l0": "enc_b_hh"}  # fmt: skip
    model = pylstm.Sequential([pylstm.Embedding(29, 256), pylstm.GRU(256, 256, batch_first=True)])
    with np.load(folder / "weights.npz") as weights, np.load(folder / "golden.npz") as golden:
        pylstm.from_torch(weights, model, mapping=names)
        output = model(golden["ids"], lengths=golden["lengths"])
        for i, length in enumerate(golden["lengths"]):
            np.testing.assert_allclose(output[i, :length], golden["encoder_output"][i, :length], atol=1e-5)
