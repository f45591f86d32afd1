"""Models that take weights of PyTorch's programs, and files in its formats written by hand."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

import pylstm


class Tagger(pylstm.Model):
    def __init__(self, **options):
        self.embedding = pylstm.Embedding(6, 3)
        self.gru = pylstm.GRU(3, 4, bidirectional=True, batch_first=True, **options)
        self.head = pylstm.Linear(8, 2)

    def run(self, x):
        return self.head(self.gru(self.embedding(x))[0])


def chain(seed=None):
    return pylstm.Sequential(
        [pylstm.Embedding(6, 3), pylstm.GRU(3, 4, bidirectional=True, batch_first=True), pylstm.Dropout(0.5),
         pylstm.Linear(8, 2)], seed=seed,
    )  # fmt: skip


def lstm_weights(layer, rng, prefix=""):
    return {prefix + name: rng.normal(size=value.shape).astype("f4") for name, value in layer.params.items()}


def refused(match, *args, error=ValueError, model=None, **options):
    """from_torch raises, and the model is as before."""
    model = pylstm.LSTM(3, 2) if model is None else model
    before = model.state_dict()
    with pytest.raises(error, match=match) as caught:
        pylstm.from_torch(args[0], model, *args[1:], **options)
    assert 10 < len(str(caught.value)) < 3000
    assert all(np.array_equal(value, before[name]) for name, value in model.params.items())
    return str(caught.value)


# ---- files by hand -------------------------------------------------------------------------------------------------

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
SYSTEM = pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)


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


GOOD = as_zip(weights(tensor()))


def directory_of(data: bytes) -> int:
    return struct.unpack("<L", data[-6:-2])[0]


def directory_size(data: bytes) -> int:
    return struct.unpack("<L", data[-10:-6])[0]


def patched(data: bytes, at: int, form: str, value: int) -> bytes:
    size = struct.calcsize(form)
    return data[:at] + struct.pack(form, value) + data[at + size :]


HALF = safetensors(b'{"weight":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}', bytes(12))
