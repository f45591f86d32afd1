"""Files in PyTorch's formats that are damaged, or made to do harm: a ValueError with words, little memory and time, and
nothing of a pickle is ever executed."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

import pylstm
from support.torch_files import (
    GOOD,
    HALF,
    MAGIC,
    SIX,
    SYSTEM,
    as_stream,
    as_zip,
    directory_of,
    directory_size,
    group,
    load,
    name,
    number,
    numbers,
    patched,
    safetensors,
    storage,
    tensor,
    text,
    weights,
)  # fmt: skip

MiB = 2**20


@pytest.fixture(params=[as_zip, as_stream], ids=["zip", "stream"])
def write(request):
    return request.param


def test_a_pickle_by_hand(write):
    assert np.array_equal(load(write(weights(tensor()))), SIX.reshape(2, 3))
    assert np.array_equal(load(write(weights(tensor(strides=(1, 2))))), SIX.reshape(3, 2).T)
    assert np.array_equal(load(write(weights(tensor(strides=(0, 1), offset=3)))), [[3, 4, 5]] * 2)
    assert np.array_equal(load(write(weights(tensor(strides=(1, 1))))), [[0, 1, 2], [1, 2, 3]])  # shared numbers
    old = tensor(function="torch._utils._rebuild_tensor").replace(
        b"\x89" + name("collections.OrderedDict") + b")R", b""
    )
    assert np.array_equal(load(write(weights(old))), SIX.reshape(2, 3))
    parameter = name("torch._utils._rebuild_parameter") + group(tensor(), b"\x88", b"N") + b"R"
    assert np.array_equal(load(write(weights(parameter))), SIX.reshape(2, 3))
    view = group(text("v"), number(2), number(4))  # a part of a storage
    assert np.array_equal(
        load(as_stream(weights(tensor(strides=(0, 1), of=storage(view=view), offset=1)))), [[3, 4, 5]] * 2
    )


# ---- tensors and storages that are not right -------------------------------------------------------------------------

WRONG = {
    "offset": (tensor(offset=1), "goes beyond the 6 numbers"),
    "strides": (tensor(strides=(4, 1)), "goes beyond"),
    "negative stride": (tensor(strides=(-3, 1)), "malformed"),
    "negative offset": (tensor(offset=-1), "malformed"),
    "negative shape": (tensor(shape=(-2, 3)), "malformed"),
    "shape beyond any memory": (tensor(shape=(2**59, 2**59), strides=(0, 0)), "goes beyond"),
    "shape beyond 64 bits": (tensor(shape=(2**70, 1), strides=(0, 0)), "malformed"),
    "shape that fits, expanded": (tensor(shape=(10**6, 10**6), strides=(0, 0)), r"must have shape \(2, 3\)"),
    "no strides": (tensor(strides=()), "has 0 strides"),
    "many dimensions": (tensor(shape=(1,) * 100, strides=(1,) * 100), "malformed"),
    "shape of floats": (tensor().replace(numbers(2, 3), b"G@\0\0\0\0\0\0\0" * 2 + b"\x86"), "malformed"),
    "shape of bools": (tensor().replace(numbers(2, 3), b"\x88\x88\x86"), "malformed"),
    "storage that is missing": (tensor(of=storage("1")), "its storage '1' is missing|does not fit"),
    "storage that is longer": (tensor(of=storage(count=7)), "is cut off"),
    "storage of less than nothing": (tensor(of=storage(count=-6)), "in another way than PyTorch"),
    "storage of no kind": (tensor(of=storage(kind="torch.Size")), "in another way than PyTorch"),
    "storage of bytes": (tensor(of=storage(kind="torch.storage.UntypedStorage", count=24)), "without a dtype"),
    "quantised": (tensor(function="torch._utils._rebuild_qtensor"), "quantised"),
    "no storage": (tensor(of=number(3)), "without a dtype"),
    "another module": (name("torch.nn.modules.linear.Linear") + b")R", "whole module"),
    "a parameter of nothing": (name("torch._utils._rebuild_parameter") + group(number(3)) + b"R", "no tensor"),
    "other arguments": (name("torch._utils._rebuild_tensor_v2") + numbers(3) + b"R", "other arguments"),
    "a number": (number(3), "no tensors in|storages does not fit"),
    "text": (text("weight"), "no tensors in|storages does not fit"),
    "complex": (tensor(of=storage(kind="torch.ComplexFloatStorage", count=3)), "goes beyond"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_wrong_tensors(write, what):
    value, match = WRONG[what]
    with pytest.raises(ValueError, match=match) as caught:
        load(write(weights(value)))
    assert len(str(caught.value)) < 1500


# ---- nothing is executed ---------------------------------------------------------------------------------------------


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


EVIL = {
    "os.system": lambda mark: Evil(os.system, f"touch {mark}"),
    "exec": lambda mark: Evil(exec, f"open({mark!r}, 'w')"),
    "open": lambda mark: Evil(open, mark, "w"),
    "eval in a list": lambda mark: [{"a": (Evil(eval, f"open({mark!r}, 'w')"),)}],
    "subprocess": lambda mark: Evil(subprocess.run, ["touch", mark]),
    "getattr": lambda mark: Evil(getattr, Path(mark), "touch"),
    "own class": lambda mark: Evil(Evil, mark),
}


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("what", EVIL)
def test_nothing_of_a_pickle_is_executed(write, tmp_path, what, protocol):
    mark = str(tmp_path / "executed")
    data = pickle.dumps({"weight": np.float32(1), "evil": EVIL[what](mark)}, protocol)
    for one in (data, pickle.dumps(EVIL[what](mark), protocol)):
        with pytest.raises(pylstm.ModelFileError):
            load(write(one))
        with pytest.raises(pylstm.ModelFileError):
            load(one)
    assert not os.path.exists(mark)


@pytest.mark.parametrize(
    "full", ["builtins.eval", "os.system", "torch.load", "torch._utils.os.system", "torch.hub.load", "numpy.load",
             "torch.storage._load_from_bytes", "pylstm.load", "copyreg._reconstructor", "builtins.__import__",
             "importlib.import_module", "torch.nn.Module"],
)  # fmt: skip
def test_other_names_are_refused(write, full):
    with pytest.raises(pylstm.ModelFileError, match=r"besides its tensors|whole module"):
        load(write(weights(tensor(), text("x") + name(full))))
    with pytest.raises(pylstm.ModelFileError, match=r"besides its tensors|whole module"):
        load(write(weights(tensor(), text("x") + name(full) + group(text("a")) + b"R")))


def test_other_opcodes_are_refused(write):
    for code in range(256):
        data = b"\x80\x02}" + bytes([code]) * 3 + b"."
        with pytest.raises(ValueError, match=r"\w"):
            load(write(data))


# ---- archives that are not right -------------------------------------------------------------------------------------


def compressed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", weights(tensor()))
        archive.writestr("a/data/0", bytes(200 * MiB))  # a bomb
    return buffer.getvalue()


def twice() -> bytes:
    at = directory_of(GOOD)
    entry = GOOD[at:-22]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 4, 4, 2 * len(entry), at, 0)
    return GOOD[:at] + entry + entry + end


def nested() -> bytes:
    """A storage within another one's bytes, header and all."""
    name, numbers = b"a/data/1", SIX.tobytes()
    inner = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0, zlib.crc32(numbers), 24, 24, len(name), 0)
    inner += name + numbers
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", weights(tensor()))
        archive.writestr("a/data/0", inner)
    data = buffer.getvalue()
    place, at = data.index(inner), directory_of(data)
    fields = (20, 20, 0, 0, 0, 0, zlib.crc32(numbers), 24, 24, len(name), 0, 0, 0, 0, 0, place)
    whole = data[:-22] + struct.pack("<4s6H3L5H2L", b"PK\1\2", *fields) + name
    return whole + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, len(whole) - at, at, 0)


def zip64(count: int, size: int, start: int) -> bytes:
    here = len(GOOD) - 22
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    return GOOD[:here] + record + struct.pack("<4sLQL", b"PK\6\7", 0, here, 1) + GOOD[here:]


def wide_entry() -> bytes:
    """The last entry's place in a zip64 field, as in files of more than 4 GiB."""
    at = directory_of(GOOD)
    last = GOOD.rfind(b"PK\1\2")
    place = struct.unpack("<L", GOOD[last + 42 : last + 46])[0]
    entry = patched(patched(GOOD[last:-22], 42, "<L", 2**32 - 1), 30, "<H", 20)
    extra = struct.pack("<HHL", 99, 4, 0) + struct.pack("<HHQ", 1, 8, place)
    whole = GOOD[:last] + entry + extra
    return whole + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, len(whole) - at, at, 0)


def test_an_entry_of_zip64():
    assert np.array_equal(load(wide_entry()), SIX.reshape(2, 3))


ARCHIVES = {
    "empty": (b"", "nothing to read"),
    "cut off": (GOOD[:-30], "does not end as a zip"),
    "cut off in the middle": (GOOD[: len(GOOD) // 2], "does not end as a zip"),
    "compressed": (compressed(), "compressed"),
    "checksum of the pickle": (GOOD.replace(text("weight"), text("Weight")), "checksum of 'a/data.pkl'"),
    "checksum of a storage": (GOOD.replace(SIX.tobytes(), (SIX + 1).tobytes()), "checksum of 'a/data/0'"),
    "twice": (twice(), "is in it twice"),
    "one in another": (nested(), "entries overlap"),
    "place of an entry": (patched(GOOD, directory_of(GOOD) + 42, "<L", 7), "not where the list"),
    "place behind the end": (patched(GOOD, directory_of(GOOD) + 42, "<L", 2**31), "not where the list"),
    "size of an entry": (patched(GOOD, directory_of(GOOD) + 20, "<Q", 2**30 + (2**30 << 32)), "not where the list"),
    "zip64 of absurd count": (zip64(2**40, directory_size(GOOD), directory_of(GOOD)), "claims 1099511627776 entries"),
    "zip64 of absurd start": (zip64(2, 100, 2**60), "not where its end"),
    "zip64 without its numbers": (patched(GOOD, directory_of(GOOD) + 42, "<L", 2**32 - 1), "contents is damaged"),
    "npz": (b"PK\3\4" + b"", "cut off"),
    "stream cut off": (as_stream(weights(tensor()))[:-4], "cut off"),
    "stream without storages": (as_stream(weights(tensor()), {}), "is missing"),
    "stream of another count": (as_stream(weights(tensor()), {"0": SIX.tobytes()}).replace(
        struct.pack("<q", 6) + SIX.tobytes(), struct.pack("<q", 2**62) + SIX.tobytes()), "claims"),
    "stream of a negative count": (as_stream(weights(tensor())).replace(
        struct.pack("<q", 6) + SIX.tobytes(), struct.pack("<q", -1) + SIX.tobytes()), "claims"),
    "stream of keys twice": (as_stream(weights(tensor()), keys=["0", "0"]), "does not fit"),
    "stream of keys that are none": (as_stream(weights(tensor()), keys={"0": 1}), "list of its storages"),
    "stream of another version": (MAGIC[:-3] + b"\0\0." + SYSTEM, "version of torch.save|names|cut off"),
    "a pickle": (pickle.dumps({"weight": SIX}), "it is a pickle, and not one of torch.save's"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "JSON": (b'{"weight_map": {"a": "b"}}', "JSON"),
    "text": (b"These are no weights", "it begins with b'These ar"),
    "half of a safetensors file": (HALF[:-1], "the file holds 11"),
    "safetensors that overlap": (safetensors(
        b'{"weight":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"U8","shape":[12],"data_offsets":[0,12]}}',
        bytes(12)), "overlap"),
    "safetensors of another size": (HALF.replace(b"[0,12]", b"[0,11]"), "size of its shape"),
    "safetensors of an unknown dtype": (HALF.replace(b"F16", b"F17"), "dtype that is known, not 'F17'"),
    "safetensors of float8": (safetensors(
        b'{"weight":{"dtype":"F8_E5M2","shape":[2,3],"data_offsets":[0,6]}}', bytes(6)), "float8_e5m2 cannot be taken"),
    "safetensors of a negative shape": (HALF.replace(b"[2,3]", b"[-2,-3]"), "cut off|malformed|JSON|begins"),
    "safetensors of keys twice": (safetensors(b'{"a":{},"a":{}}'), "duplicate|malformed"),
    "safetensors of a list": (safetensors(b"{}"), "no tensors"),
}  # fmt: skip


@pytest.mark.parametrize("what", ARCHIVES)
def test_wrong_archives(what):
    data, match = ARCHIVES[what]
    with pytest.raises(ValueError, match=match) as caught:
        load(data)
    assert len(str(caught.value)) < 1500


def test_places_that_hold_no_weights(tmp_path):
    layer = pylstm.Linear(3, 2, bias=False)
    with pytest.raises(FileNotFoundError):
        pylstm.from_torch(tmp_path / "nothing.pt", layer)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        pylstm.from_torch(tmp_path, layer)
    pylstm.Sequential([pylstm.Linear(3, 2)]).save(tmp_path / "own.npz")
    with pytest.raises(
        pylstm.ModelFileError, match=r"own\.npz: it is a model of pylstm's own, which pylstm\.load reads"
    ):
        pylstm.from_torch(tmp_path / "own.npz", layer)
    np.savez(tmp_path / "arrays.npz", weight=np.ones((2, 3)))
    with pytest.raises(pylstm.ModelFileError, match=r"give np\.load\(path\)"):
        pylstm.from_torch(tmp_path / "arrays.npz", layer)
    with np.load(tmp_path / "arrays.npz") as file:
        assert pylstm.from_torch(file, layer).params["weight"].all()
    with pytest.raises(TypeError, match="mode 'rb'"):
        pylstm.from_torch(io.StringIO("text"), layer)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(pylstm.ModelFileError, match="no regular file"):
            pylstm.from_torch(tmp_path / "pipe", layer)


def test_a_stream_without_an_end_is_not_read_for_ever():
    class Zeros:
        left = 10

        def read(self, size):
            self.left -= 1
            assert self.left, "it is read on and on"
            return bytes(min(size, 20))

    with pytest.raises(pylstm.ModelFileError, match="it begins with"):
        pylstm.from_torch(Zeros(), pylstm.Linear(3, 2))


def test_what_has_no_shape_is_no_tensor():
    class Nothing:
        shape, dtype = None, "float32"

    layer = pylstm.Linear(3, 2, bias=False)
    pylstm.from_torch({"weight": np.ones((2, 3)), "more": Nothing()}, layer)
    assert layer.params["weight"].all()
    with pytest.raises(ValueError, match="no tensors"):
        pylstm.from_torch({"weight": Nothing()}, layer)
