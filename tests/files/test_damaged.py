"""A damaged or hostile file does no harm, and the error says what is wrong with it."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import threading
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

import pylstm
from pylstm.files import safetensors_header
from pylstm.files import tensors as files
from support.files import every_layer, small


def npz_parts(model):
    """Name -> bytes of the members of a good file."""
    buffer = io.BytesIO()
    parts = {}
    for name, value in model.params.items():
        buffer = io.BytesIO()
        np.save(buffer, value)
        parts[name + ".npy"] = buffer.getvalue()
    return parts


def structure_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("structure.json"))


def write_npz(path, structure, parts, compression=zipfile.ZIP_STORED):
    text = structure if isinstance(structure, (str, bytes)) else json.dumps(structure)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("structure.json", text)
        for name, data in parts.items():
            archive.writestr(name, data)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.npz"
    small().save(path)
    return structure_of(path), npz_parts(small()), tmp_path / "bad.npz"


def npy(array, allow_pickle=False):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def header(text):
    data = text.encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(data)) + data


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch /tmp/pylstm_was_here",))


ARRAYS = {
    "wrong_shape": (lambda a: npy(a.T.copy()), r"must be float32 of shape \(6, 3\), got float32 of shape \(3, 6\)"),
    "wrong_dtype": (lambda a: npy(a.astype(np.float64)), "must be float32 .* got float64"),
    "integers": (lambda a: npy(a.astype(np.int32)), "not a plain array of float32"),
    "big_endian": (lambda a: npy(a.astype(">f4")), "not a plain array"),
    "fortran": (lambda a: npy(np.asfortranarray(a)), "not a plain array"),
    "objects": (lambda a: npy(np.array([[Bomb()] * 3] * 6, object), True), "not a plain array"),  # noqa: ARG005
    "pickle": (lambda a: pickle.dumps(Bomb()), "is not an array"),  # noqa: ARG005
    "cut_off": (lambda a: npy(a)[:-4], "does not have the size of its shape"),
    "too_long": (lambda a: npy(a) + b"1234", "does not have the size of its shape"),
    "code": (lambda a: header("{'descr': '<f4', 'fortran_order': False, 'shape': (print(1),), }\n"), "not a plain"),  # noqa: ARG005
    "huge": (lambda a: header("{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999, 3), }\n"), "size"),  # noqa: ARG005
    "negative": (lambda a: header("{'descr': '<f4', 'fortran_order': False, 'shape': (-6, 3), }\n"), "not a plain"),  # noqa: ARG005
    "nothing": (lambda a: b"", "is not an array"),  # noqa: ARG005
}  # fmt: skip


@pytest.mark.parametrize("fault", ARRAYS)
def test_bad_arrays(good, fault):
    structure, parts, path = good
    make, message = ARRAYS[fault]
    parts["0.weight.npy"] = make(small().params["0.weight"])
    write_npz(path, structure, parts)
    with pytest.raises(pylstm.ModelFileError, match=message):
        pylstm.load(path)
    assert not os.path.exists("/tmp/pylstm_was_here")


def change(**values):
    return lambda s: s.update(values)


def config(index, **values):
    return lambda s: s["layers"][index]["config"].update(values)


def nested(depth):
    def apply(structure):
        spec = {"class": "LastStep", "config": {}}
        for _ in range(depth):
            spec = {"class": "Residual", "layers": [spec]}
        structure["layers"].append(spec)

    return apply


STRUCTURES = {
    "format": (change(format="keras"), "not a model of pylstm"),
    "version": (change(version=3), "has version 3 of the format, and this pylstm knows 1"),
    "extra_key": (change(code="import os"), "unknown keys: code"),
    "missing_key": (lambda s: s.pop("dropout"), "lacks dropout"),
    "unknown_class": (lambda s: s["layers"][2].update({"class": "os.system"}), "unknown layer 'os.system'"),
    "abstract_class": (lambda s: s["layers"][2].update({"class": "Layer"}), "unknown layer"),
    "class_no_text": (lambda s: s["layers"][2].update({"class": [1]}), "malformed"),
    "extra_argument": (config(0, std=3), "unknown keys: std"),
    "missing_argument": (lambda s: s["layers"][0]["config"].pop("num"), "lacks num"),
    "wrong_argument": (config(1, hidden_size=-4), "hidden_size"),
    "text_argument": (config(1, hidden_size="4"), "hidden_size"),
    "wrong_dtype": (config(0, dtype="object"), "unknown dtype"),
    "huge_table": (config(0, num=10**15), "must be float32 of shape"),
    "huge_layer": (config(1, hidden_size=10**9), "do not fit|must be float32 of shape|would need"),
    "many_layers": (config(1, num_layers=10**9), "claims 4000000000 tensors"),
    "time_major": (config(1, batch_first=False), "batch_first"),
    "sizes": (config(3, in_features=7), "does not fit"),
    "more_layers": (lambda s: s["layers"].append({"class": "Linear", "config": {"in_features": 1, "out_features": 1,
                    "bias": True, "dtype": "float32"}}), "missing tensors: 4.weight"),
    "fewer_layers": (lambda s: s["layers"].pop(), "unknown tensors: 3.weight, 3.bias"),
    "no_layers": (change(layers=[]), "malformed"),
    "layers_no_list": (change(layers={"a": 1}), "malformed"),
    "nested": (nested(40), "nested too deeply"),
    "dropout": (change(dropout=[1]), "dropout is malformed"),
    "dropout_text": (change(dropout=["1", "2"]), "dropout is malformed"),
    "loss": (change(loss="eval"), "unknown loss"),
    "loss_list": (change(loss=["mse"]), "unknown loss"),
    "loss_object": (change(loss={"name": "eval"}), "unknown loss"),
    "loss_name": (change(loss={"name": []}), "unknown loss"),
    "loss_none": (change(loss={}), "unknown loss"),
    "loss_option": (change(loss={"name": "huber", "delta": -1}), "unknown loss.*delta"),
    "loss_options": (change(loss={"name": "huber", "epsilon": 1}), "unknown loss.*epsilon"),
    "loss_infinity": (change(loss={"name": "huber", "delta": 10**400}), "unknown loss.*delta"),
    "loss_nested": (change(loss={"name": "quantile", "q": [[0.5], 0.5]}), "unknown loss"),
    "loss_many": (change(loss={"name": "quantile", "q": [0.5] * 70000}), "unknown loss"),
    "metrics_words": (change(metrics="f1"), "unknown metrics"),
    "metrics_numbers": (change(metrics=["f1", 1]), "unknown metrics"),
    "metrics_many": (change(metrics=["f1"] * 1000), "unknown metrics"),
    "metrics_large": (change(metrics=["top_" + "9" * 5000]), "unknown metrics"),
    "metrics": (change(metrics=["f2"]), "unknown metrics"),
    "metrics_kind": (change(metrics=[{"name": "adam"}]), "unknown metrics"),
    "metrics_nameless": (change(metrics=[{}]), "unknown metrics"),
    "metrics_list": (change(metrics=[{"name": []}]), "unknown metrics"),
    "metrics_option": (change(metrics=[{"name": "huber", "delta": "x"}]), "unknown metrics"),
    "metadata": (change(metadata=[1]), "metadata is malformed"),
    "training": (change(training=[1]), "training is malformed"),
}  # fmt: skip


@pytest.mark.parametrize("fault", STRUCTURES)
def test_bad_structures(good, fault):
    structure, parts, path = good
    damage, message = STRUCTURES[fault]
    damage(structure)
    write_npz(path, structure, parts)
    with pytest.raises(pylstm.ModelFileError, match=message):
        pylstm.load(path)


TEXTS = {
    "no_json": ("{]", "is not JSON"),
    "duplicate": ('{"format": "pylstm model", "format": "pylstm model"}', "duplicate key 'format'"),
    "nan": ('{"format": NaN}', "NaN is not a number"),
    "infinity": ('{"format": -Infinity}', "-Infinity is not a number"),
    "deep": ("[" * 100_000, "nested too deeply|is not JSON"),
    "list": ("[1, 2]", "not a model of pylstm"),
    "long_number": ('{"format": ' + "9" * 10_000 + "}", "is not JSON|not a model"),
    "no_utf8": (b'{"\xff": 1}', "damaged"),
    "empty": ("", "is not JSON"),
}


@pytest.mark.parametrize("fault", TEXTS)
def test_bad_texts(good, fault):
    _, parts, path = good
    text, message = TEXTS[fault]
    write_npz(path, text, parts)
    with pytest.raises(pylstm.ModelFileError, match=message):
        pylstm.load(path)


def test_a_compression_bomb_is_refused(good):
    structure, parts, path = good
    structure["layers"][0]["config"].update(num=2**26, dim=3)
    parts["0.weight.npy"] = header(
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**26}, 3), }}\n"
    ) + bytes(2**24)  # fmt: skip
    write_npz(path, structure, parts, zipfile.ZIP_DEFLATED)
    with pytest.raises(pylstm.ModelFileError, match="is compressed"):
        pylstm.load(path)


def test_entries_that_share_their_bytes_are_refused(good):
    """Overlapping entries: many claims on one piece of the file."""
    structure, parts, path = good
    write_npz(path, structure, parts)
    data = bytearray(path.read_bytes())
    count = len(parts) + 1
    end = data.rfind(b"PK\x05\x06")
    size, start = struct.unpack("<LL", data[end + 12 : end + 20])
    directory = bytes(data[start : start + size])
    extra = b"".join(directory.replace(b"0.weight.npy", b"%d.weightnpy" % k).replace(b"weightnpy", b"weigh.npy")
                     for k in range(1, 8))  # fmt: skip
    data[start : start + size] = directory + extra
    end = data.rfind(b"PK\x05\x06")
    data[end + 8 : end + 20] = struct.pack("<HHLL", count * 8, count * 8, len(directory + extra), start)
    path.write_bytes(data)
    with pytest.raises(pylstm.ModelFileError):
        pylstm.load(path)


def test_duplicate_entries_and_strangers(good):
    structure, parts, path = good
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile finds duplicates odd, too
        archive.writestr("structure.json", json.dumps(structure))
        for name, value in [*parts.items(), *parts.items()]:
            archive.writestr(name, value)
    with pytest.raises(pylstm.ModelFileError, match=r"duplicate entry '0\.weight\.npy'"):
        pylstm.load(path)
    write_npz(path, structure, {**parts, "evil.py": b"import os"})
    with pytest.raises(pylstm.ModelFileError, match=r"unknown entry 'evil\.py'"):
        pylstm.load(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(pylstm.ModelFileError, match="not a model"):
        pylstm.load(path)


def safetensors_bytes(tensors, text, length=None):
    """A file with the given header entries: name -> (dtype, shape, offsets), and the bytes that follow."""
    entries = {"__metadata__": {"pylstm": text}} if text is not None else {}
    entries.update({k: {"dtype": d, "shape": s, "data_offsets": o} for k, (d, s, o) in tensors[0].items()})
    data = json.dumps(entries).encode()
    return struct.pack("<Q", len(data) if length is None else length) + data + tensors[1]


@pytest.mark.parametrize(
    ("tensors", "text", "length", "message"),
    [
        (({}, b""), "{}", 2**62, "header claims 4611686018427387904 bytes"),
        (({}, b""), None, None, "not a model"),
        (({"a": ("F16", [1], [0, 2])}, b"12"), "{}", None, "must be of float32 or float64"),
        (({"a": ("F32", [10**12], [0, 4])}, b"1234"), "{}", None, "size of its shape"),
        (({"a": ("F32", [-1], [0, 4])}, b"1234"), "{}", None, "malformed"),
        (({"a": ("F32", [1.0], [0, 4])}, b"1234"), "{}", None, "malformed"),
        (({"a": ("F32", [1], [0, 4, 5])}, b"1234"), "{}", None, "malformed"),
        (({"a": ("F32", [1], [0, 4]), "b": ("F32", [1], [0, 4])}, b"1234"), "{}", None, "overlap"),
        (({"a": ("F32", [1], [4, 8])}, b"12345678"), "{}", None, "gaps"),
        (({"a": ("F32", [1], [0, 4])}, b"12345678"), "{}", None, "holds 8"),
        (({"a": ("F32", [1], [0, 4])}, b""), "{}", None, "holds 0"),
        (({}, b""), "LONG", None, "absurdly long"),
        (({}, b""), "LONGER", None, "header claims"),
    ],
)
def test_bad_safetensors(tmp_path, monkeypatch, tensors, text, length, message):
    pytest.importorskip("safetensors")
    path = tmp_path / "bad.safetensors"
    if text is not None and "LONG" in text:
        monkeypatch.setattr(files, "TEXT_LIMIT", 2**20)
        monkeypatch.setattr(safetensors_header, "HEADER_LIMIT", 2**21)
        text = "x" * (2**20 + 1 if text == "LONG" else 2**21)
    path.write_bytes(safetensors_bytes(tensors, text, length))
    with pytest.raises(pylstm.ModelFileError, match=message):
        pylstm.load(path)


def damaged(data, rng):
    """One of many ways to break a file."""
    data = bytearray(data)
    kind = rng.integers(6)
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    if kind == 1:  # bits
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] ^= 1 << rng.integers(8)
    elif kind == 2:  # bytes where the directory and the headers are
        places = np.r_[0:200, len(data) - 800 : len(data)]
        for at in rng.choice(places[(places >= 0) & (places < len(data))], rng.integers(1, 6)):
            data[at] = rng.integers(256)
    elif kind == 3:  # a number made huge
        at = int(rng.integers(len(data) - 8))
        data[at : at + 4] = b"\xff\xff\xff\x7f"
    elif kind == 4:  # a piece cut out or doubled
        a, b = sorted(rng.integers(0, len(data), 2))
        data = data[:a] + data[b:] if rng.integers(2) else data[:b] + data[a:b] + data[b:]
    else:  # another digit in the text
        digits = [i for i, byte in enumerate(data[:4000]) if 48 <= byte < 58]
        data[digits[rng.integers(len(digits))]] = 48 + rng.integers(10)
    return bytes(data)


@pytest.mark.slow
def test_a_thousand_damaged_files(tmp_path, suffix):
    """Each is refused with a ModelFileError, or is still a sound model; none takes more memory than a few times its
    size, hangs, or raises anything else."""
    model, path = every_layer(), tmp_path / f"m.{suffix}"
    model.save(path)
    data, want = path.read_bytes(), model.state_dict()
    pylstm.load(path)  # imports done before memory is measured
    rng = np.random.default_rng(0)
    refused = sound = 0
    tracemalloc.start()
    for _ in range(1000):
        broken = damaged(data, rng)
        path.write_bytes(broken)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        try:
            other = pylstm.load(path)
        except pylstm.ModelFileError:
            refused += 1
        else:
            sound += 1
            assert all(other.params[name].dtype == np.float32 for name in want)
        peak = tracemalloc.get_traced_memory()[1] - before
        assert peak < 20 * len(data) + 2**20, f"{peak} bytes for a file of {len(broken)}"
    tracemalloc.stop()
    assert refused > 600
    if suffix == "npz":
        assert sound < 200  # its checksums leave little undetected
    assert threading.active_count() < 10


def test_checkpoints_with_strange_states(tmp_path):
    """The part that only resume reads: malformed numbers are a ModelFileError there, and load does not mind them."""
    x, y = np.zeros((8, 3), int), np.zeros(8)
    path, bad = tmp_path / "c.npz", tmp_path / "bad.npz"
    options = {"loss": "binary_cross_entropy", "verbose": 0}
    keep = [pylstm.ModelCheckpoint(path)]
    small().fit(x, y, optimizer=pylstm.Adam(), callbacks=keep, **options)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if name != "structure.json"}
    for key, value in [("epoch", "x"), ("optimizer", 3), ("optimizer", {"type": "Adam"}), ("callbacks", [1]),
                       ("history", {"loss": [[]]}), ("entropy", None), ("schedule", 3)]:  # fmt: skip
        structure = structure_of(path)
        structure["training"][key] = value
        write_npz(bad, structure, parts)
        assert pylstm.load(bad).num_parameters == small().num_parameters
        if key == "schedule":
            continue  # a constant rate has no state, and does not look
        net = small()
        with pytest.raises(ValueError, match=r"malformed|callbacks|not that of|convert|literal"):
            net.fit(x, y, optimizer=pylstm.Adam(), callbacks=keep, resume=bad, **options)
        for name, array in small().params.items():
            np.testing.assert_array_equal(net.params[name], array)
