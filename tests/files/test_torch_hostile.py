"""Files in PyTorch's formats that are damaged, or made to do harm: a ValueError with words, little memory and time, and
nothing of a pickle is ever executed."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import pylstm

DATA = Path(__file__).parent / "data" / "torch"
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
SYSTEM = pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)
MiB = 2**20


# ---- pickles by hand -------------------------------------------------------------------------------------------------


def text(letters: str) -> bytes:
    data = letters.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(n: int) -> bytes:
    data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(full: str) -> bytes:
    module, _, last = full.rpartition(".")
    return b"c" + module.encode() + b"\n" + last.encode() + b"\n"


def group(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def numbers(*ns: int) -> bytes:
    return group(*map(number, ns))


def storage(key="0", count=6, kind="torch.FloatStorage", view=b"") -> bytes:
    return group(text("storage"), name(kind), text(key), text("cpu"), number(count), view) + b"Q"


def tensor(shape=(2, 3), strides=(3, 1), offset=0, of=None, function="torch._utils._rebuild_tensor_v2", more=b""):
    hooks = name("collections.OrderedDict") + b")R"
    data = storage() if of is None else of
    parts = (data, number(offset), numbers(*shape), numbers(*strides), b"\x89", hooks, more)
    return name(function) + group(*parts) + b"R"


def weights(value: bytes, more=b"") -> bytes:
    return b"\x80\x02}(" + text("weight") + value + more + b"u."


SIX = np.arange(6, dtype="<f4")


def as_zip(data: bytes, storages=None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", data)
        for key, value in ({"0": SIX.tobytes()} if storages is None else storages).items():
            archive.writestr(f"a/data/{key}", value)
    return buffer.getvalue()


def as_stream(data: bytes, storages=None, keys=None) -> bytes:
    storages = {"0": SIX.tobytes()} if storages is None else storages
    behind = b"".join(struct.pack("<q", len(value) // 4) + value for value in storages.values())
    return MAGIC + SYSTEM + data + pickle.dumps(list(storages) if keys is None else keys, 2) + behind


def safetensors(header: bytes, data=b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def load(data: bytes):
    layer = pylstm.Linear(3, 2, bias=False)
    before = layer.state_dict()
    try:
        return pylstm.from_torch(io.BytesIO(data), layer).params["weight"]
    except BaseException:
        assert np.array_equal(layer.params["weight"], before["weight"])
        raise


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

GOOD = as_zip(weights(tensor()))


def directory_of(data: bytes) -> int:
    return struct.unpack("<L", data[-6:-2])[0]


def directory_size(data: bytes) -> int:
    return struct.unpack("<L", data[-10:-6])[0]


def patched(data: bytes, at: int, form: str, value: int) -> bytes:
    size = struct.calcsize(form)
    return data[:at] + struct.pack(form, value) + data[at + size :]


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


HALF = safetensors(b'{"weight":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}', bytes(12))
ARCHIVES = {
    "empty": (b"", "nothing to read"),
    "cut off": (GOOD[:-30], "does not end as a zip"),
    "cut off in the middle": (GOOD[: len(GOOD) // 2], "does not end as a zip"),
    "compressed": (compressed(), "compressed"),
    "checksum of the pickle": (GOOD.replace(text("weight"), text("Weight")), "checksum of 'a/data.pkl'"),
    "checksum of a storage": (GOOD.replace(SIX.tobytes(), (SIX + 1).tobytes()), "checksum of 'a/data/0'"),
    "twice": (twice(), "is in it twice"),
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
    "safetensors of an unknown dtype": (HALF.replace(b"F16", b"F17"), "dtype that is not known: 'F17'"),
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


# ---- files that cost memory and time ---------------------------------------------------------------------------------

BOMBS = {
    "dicts": lambda: b"\x80\x02](" + b"}" * (4 * MiB) + b"e.",
    "marks": lambda: b"\x80\x02" + b"(" * (4 * MiB) + b".",
    "lists in lists": lambda: b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
    "tuples in tuples as a key": lambda: b"\x80\x02}N" + b"\x85" * 10**5 + b"Ns.",
    "dicts in dicts": lambda: b"\x80\x02" + (b"}" + text("a")) * 10**5 + b"N" + b"s" * 10**5 + b".",
    "nothing at all": lambda: b"\x80\x02" * (2 * MiB) + b"N.",
    "memoised": lambda: b"\x80\x04N" + b"\x94" * (4 * MiB) + b".",
    "texts": lambda: b"\x80\x02](" + b"\x8c\x02ab" * (3 * MiB // 2) + b"e.",
    "wide text": lambda: b"\x80\x02" + text("a" * (16 * MiB) + "\U0001f600") + b".",
    "items": lambda: b"\x80\x02](" + b"}K\0Ns" * MiB + b"e.",
    "keys of one hash": lambda: b"\x80\x02}(" + b"".join(
        number(i * (2**61 - 1)) + b"N" for i in range(1, 20_000)) + b"u.",
    "names and calls": lambda: b"\x80\x02](" + name("collections.OrderedDict") + b"q\0)R" + b"h\0)R" * MiB + b"e.",
    "OrderedDicts of one list": lambda: b"\x80\x02](" + name("collections.OrderedDict") + b"q\0](" + b"".join(
        text(f"{i}") + b"N\x86" for i in range(20_000)) + b"e\x85q\1" + b"h\0h\1R" * 100_000 + b"e.",
    "a dict at many places": lambda: b"\x80\x02}q\0" + b"".join(
        b"0}(" + b"".join(text(f"{k}") + b"h" + bytes([level]) for k in range(20)) + b"uq" + bytes([level + 1])
        for level in range(7)) + b".",
    "tensors at many places": lambda: b"\x80\x02}(" + text("t") + tensor() + b"uq\0" + b"".join(
        b"0}(" + b"".join(text(f"{k}" * 20) + b"h" + bytes([level]) for k in range(30)) + b"uq" + bytes([level + 1])
        for level in range(7)) + b".",
    "a dict in itself": lambda: b"\x80\x02}q\0" + text("a") + b"h\0s" + text("b") + tensor() + b"s.",
    "a text that is not there": lambda: b"\x80\x02X\xff\xff\xff\x7f" + b"a" * MiB + b".",
    "a text of 2^63 letters": lambda: b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"a" * MiB + b".",
    "a text of less than no letters": lambda: b"\x80\x02T\xff\xff\xff\xff" + b"a" * MiB + b".",
    "a long integer": lambda: b"\x80\x02\x8b\xff\xff\x0f\0" + b"\xff" * (2 * MiB) + b".",
    "a long name": lambda: b"\x80\x02c" + b"a" * (4 * MiB) + b"\n.",
    "long keys": lambda: weights(tensor(), b"".join(text(f"{i:08}" * 10**4) + tensor() for i in range(100))),
    "a shape of everything": lambda: weights(tensor(shape=(1,) * 10**4, strides=(1,) * 10**4)),
    "tensors": lambda: weights(tensor(), b"".join(text(f"{i}") + tensor() for i in range(3_000))),
}  # fmt: skip

LOADER = """
import os, resource, signal, sys, time, pylstm
folder = sys.argv[1]
layer = pylstm.Linear(3, 2, bias=False)
pylstm.from_torch(os.path.join(folder, "good"), layer)
try:
    pylstm.from_torch({"x": layer.params["weight"]}, layer)
except ValueError:
    pass
signal.alarm(300)
for name in sorted(os.listdir(folder)):
    path = os.path.join(folder, name)
    now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (96 << 20) + 8 * os.path.getsize(path), resource.RLIM_INFINITY))
    began = time.thread_time()
    try:
        pylstm.from_torch(path, layer)
        how = "loaded 0"
    except ValueError as error:
        how = f"refused {len(str(error))}"
    except BaseException as error:
        how = f"{type(error).__name__} 0"
    print(name, how, time.thread_time() - began, flush=True)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit of memory, and /proc")
def test_hostile_files_cost_little(tmp_path):
    """Each within 96 MiB and eight times its own size, and some seconds."""
    names = {}
    for i, (what, make) in enumerate(BOMBS.items()):
        names[f"{i:02}"] = what
        (tmp_path / f"{i:02}").write_bytes(as_zip(make()))
    (tmp_path / "good").write_bytes(GOOD)
    found = subprocess.run(
        [sys.executable, "-c", LOADER, str(tmp_path)], capture_output=True, text=True, check=False, cwd="/"
    )
    lines = [line.split() for line in found.stdout.splitlines()]
    assert len(lines) == len(BOMBS) + 1, (lines[-1:], found.stderr[-2000:])
    for file, outcome, length, seconds in lines:
        what = names.get(file, "good")
        assert outcome == ("loaded" if what == "good" else "refused"), what
        assert int(length) < 1500, what
        assert float(seconds) < 20, what  # a few at most; hours is what it must not be


# ---- random changes --------------------------------------------------------------------------------------------------


def without_checksums(data: bytes) -> bytes:
    """PyTorch may be told to leave them out, and then a change gets past them."""
    at = data.find(b"PK\1\2")
    while at >= 0:
        data = patched(data, at + 16, "<L", 0)
        at = data.find(b"PK\1\2", at + 1)
    return data


@pytest.mark.parametrize("file", ["kinds.pt", "kinds_before_1_6.pt", "checkpoint_before_1_6.pt", "safetensors"])
def test_random_changes(file):
    """Loaded, or refused with words."""
    rng = np.random.default_rng(0)
    good = HALF if file == "safetensors" else without_checksums((DATA / file).read_bytes())
    key = "embedding.weight" if "check" in file else "weight" if file == "safetensors" else "row"
    seen = {"loaded": 0, "refused": 0}
    for _ in range(300):
        data = bytearray(good)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(256) if rng.random() < 0.5 else data[at] ^ (1 << rng.integers(8))
        if rng.random() < 0.1:
            del data[int(rng.integers(len(data))) :]
        shape = (6, 3) if "check" in file else (2, 3)
        layer = pylstm.Linear(shape[1], shape[0], bias=False)
        before = layer.state_dict()["weight"]
        try:
            pylstm.from_torch(io.BytesIO(bytes(data)), layer, mapping={"weight": key})
            seen["loaded"] += 1
        except ValueError as error:
            words = str(error)
            assert 5 < len(words) < 3000
            assert np.array_equal(layer.params["weight"], before)
            seen["refused"] += 1
    assert min(seen.values()) > 10, seen
