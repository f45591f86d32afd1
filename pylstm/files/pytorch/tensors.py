"""What the pickles of PyTorch's tensors say: storages and views of them, none of which is read before it is asked for.

The functions that PyTorch's own reader would call (`torch/_utils.py`) are named here with what stands for them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ... import _arrays
from ..._arrays import Array
from ..sources import File
from ..strict_json import ModelFileError
from .pickles import ORDERED_DICT, Ignored, Made
from .spans import Span

_DIMENSIONS = 64  # PyTorch's own limit
_LARGEST = 2**60

# PyTorch's dtypes: bytes of an element, and NumPy's code without the byte order; None: no numbers that we take
DTYPES: dict[str, tuple[int, str | None]] = {
    "float64": (8, "f8"), "float32": (4, "f4"), "float16": (2, "f2"), "bfloat16": (2, "bf16"),
    "int64": (8, "i8"), "int32": (4, "i4"), "int16": (2, "i2"), "int8": (1, "i1"),
    "uint64": (8, "u8"), "uint32": (4, "u4"), "uint16": (2, "u2"), "uint8": (1, "u1"), "bool": (1, "u1"),
    "complex64": (8, None), "complex128": (16, None), "complex32": (4, None),
    "float8_e4m3fn": (1, None), "float8_e5m2": (1, None), "float8_e4m3fnuz": (1, None), "float8_e5m2fnuz": (1, None),
    "float8_e8m0fnu": (1, None),
}  # fmt: skip
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}  # fmt: skip


class Storage(NamedTuple):
    """Numbers in a file, as a pickle speaks of them: a part of the bytes that have this key."""

    key: str
    dtype: str | None  # None: bytes
    start: int  # in bytes
    nbytes: int


class FileTensor:
    """A view of a storage, checked to lie inside of it."""

    __slots__ = ("dtype", "offset", "shape", "storage", "strides")

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, dtype: str) -> None:
        if type(storage) is not Storage or not _is_size(offset) or not _are_sizes(shape) or not _are_sizes(strides):
            raise ModelFileError("shape, strides or place of one of its tensors are malformed")
        if len(shape) != len(strides):
            raise ModelFileError(f"a tensor of shape {shape!r:.200} has {len(strides)} strides")
        width = DTYPES[dtype][0]
        last = offset - 1 if 0 in shape else offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if (last + 1) * width > storage.nbytes or math.prod(shape) > _LARGEST:
            raise ModelFileError(
                f"a tensor of shape {shape!r:.200} and strides {strides!r:.200} goes beyond "
                f"the {storage.nbytes // width} numbers of its storage {storage.key[:80]!r}"
            )
        self.storage, self.offset, self.shape, self.strides, self.dtype = storage, offset, shape, strides, dtype

    def read(self, file: File, span: Span, order: str) -> Array:
        """A C-contiguous array of float16, float32, float64 or integers; bfloat16 becomes float32. Whole tensors of
        float32 and float64 are read-only: in memory that can become a parameter's, so that large ones are not copied.

        order: "<" or ">". As much is read as lies between the first number and the last.
        """
        width, code = DTYPES[self.dtype]
        if code is None:
            raise ModelFileError(f"a tensor of {self.dtype} cannot be taken: convert it in PyTorch, `.float()`")
        if 0 in self.shape:
            return np.empty(self.shape, np.float32)
        count = 1 + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        kind = np.dtype(order + (code if code != "bf16" else "u2"))
        if kind.char in "fd" and kind.isnative and count == math.prod(self.shape) and self._in_order():
            room = _arrays.room(self.shape, kind)
            span.fill(file, self.storage.start + self.offset * width, room.reshape(-1).view(np.uint8))
            return _arrays.handed_on(room)
        raw = np.empty(count, kind)
        span.fill(file, self.storage.start + self.offset * width, raw.view(np.uint8))
        steps = [step * width for step in self.strides]
        view = np.lib.stride_tricks.as_strided(raw, self.shape, steps, writeable=False)
        if code == "bf16":
            return widened(view)
        return np.ascontiguousarray(view, raw.dtype.newbyteorder("=")).reshape(self.shape)

    def _in_order(self) -> bool:
        """Whether its numbers stand one behind the other, as in C."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size > 1 and stride != step:
                return False
            step *= size
        return True


def widened(bits: Array) -> Array:
    """bfloat16, given as its 16 bits, as float32: the same numbers."""
    wide = bits.astype(np.uint32, order="C")
    wide <<= 16
    return wide.view(np.float32)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _are_sizes(values: Any) -> bool:
    return type(values) is tuple and len(values) <= _DIMENSIONS and all(map(_is_size, values))


# ---- what a pickle may name ------------------------------------------------------------------------------------------


def storage_of(pid: Any) -> Storage:
    """What stands for a persistent id: ("storage", class, key, device, number of elements), and in files of before 1.6
    a part of it, (key, offset, size)."""
    if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage":
        if type(pid) is tuple and pid and pid[0] == "module":
            raise ModelFileError(whole_module())
        raise ModelFileError("its pickle refers to something that is no storage")
    kind, key, count, part = pid[1], pid[2], pid[4], pid[5] if len(pid) == 6 else None
    if type(key) is int:
        key = str(key)
    if type(kind) is not _StorageKind or type(key) is not str or not _is_size(count):
        raise ModelFileError("its pickle speaks of a storage in another way than PyTorch does")
    width = DTYPES[kind.dtype][0] if kind.dtype else 1
    start = 0
    if part is not None:
        if type(part) is not tuple or len(part) != 3 or not _is_size(part[1]) or not _is_size(part[2]):
            raise ModelFileError("its pickle speaks of a part of a storage in another way than PyTorch does")
        start, count = part[1] * width, part[2]
    return Storage(key, kind.dtype, start, count * width)


class _StorageKind(NamedTuple):
    dtype: str | None


class _Dtype(NamedTuple):
    name: str


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> FileTensor:
    if type(storage) is not Storage or storage.dtype is None:
        raise ModelFileError("a tensor has a storage without a dtype")
    return FileTensor(storage, offset, shape, strides, storage.dtype)


def _tensor_of_dtype(
    storage: Any, offset: Any, shape: Any, strides: Any, _: Any, __: Any, dtype: Any, *___: Any
) -> Any:
    if type(dtype) is not _Dtype:
        raise ModelFileError("a tensor has no dtype")
    return FileTensor(storage, offset, shape, strides, dtype.name)


def _parameter(tensor: Any, *_: Any) -> FileTensor:
    if type(tensor) is not FileTensor:
        raise ModelFileError("its pickle has a parameter that is no tensor")
    return tensor


def _of_type(function: Any, _: Any, arguments: Any, __: Any) -> Any:
    """A tensor with attributes of its own."""
    if type(function) is not Made or function.make not in (_tensor, _tensor_of_dtype) or type(arguments) is not tuple:
        raise ModelFileError("its pickle has a tensor of a class that is not PyTorch's")
    return function.make(*arguments)


def _size(shape: Any = ()) -> Any:
    return shape


def _ignored(*_: Any) -> Ignored:
    return Ignored()


def _defaultdict(*_: Any) -> dict[Any, Any]:
    return {}


_KNOWN: dict[str, Any] = {
    "collections.OrderedDict": ORDERED_DICT,
    "torch._utils._rebuild_tensor": Made("a tensor", _tensor),
    "torch._utils._rebuild_tensor_v2": Made("a tensor", _tensor),
    "torch._utils._rebuild_tensor_v3": Made("a tensor", _tensor_of_dtype),
    "torch._utils._rebuild_parameter": Made("a parameter", _parameter),
    "torch._utils._rebuild_parameter_with_state": Made("a parameter", _parameter),
    "torch._tensor._rebuild_from_type_v2": Made("a tensor", _of_type),
    "numpy.ndarray": Made("ndarray"),
    "torch.nn.parameter.Parameter": Made("Parameter"),
    "torch.Tensor": Made("Tensor"),
    "torch.Size": Made("a shape", _size),
    "torch.storage.UntypedStorage": _StorageKind(None),
    **{f"torch.{name}": _StorageKind(dtype) for name, dtype in _STORAGES.items()},
    **{f"torch.storage.{name}": _StorageKind(dtype) for name, dtype in _STORAGES.items()},
    **{f"torch.{name}": _Dtype(name) for name in DTYPES},
    # what checkpoints have besides: none of it is looked at
    **{
        name: Made(name, _ignored)
        for name in (
            "_codecs.encode", "argparse.Namespace", "datetime.datetime", "datetime.timedelta",
            "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
            "numpy._core.multiarray._reconstruct",
            "numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer", "numpy.dtype",
            "numpy.dtypes.Float64DType", "numpy.dtypes.Float32DType", "numpy.dtypes.Int64DType",
            "pathlib.Path", "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath", "torch.device",
            "torch.layout", "torch.serialization._get_layout",
        )
    },
    "collections.defaultdict": Made("defaultdict", _defaultdict),
    "collections.Counter": Made("Counter", _defaultdict),
    **{f"{builtins}.{name}": Made(name, _ignored) for builtins in ("builtins", "__builtin__")
       for name in ("set", "int", "float", "complex", "bool", "str", "list", "dict")},
}  # fmt: skip
_OTHER_TENSORS = ("_rebuild_sparse_tensor", "_rebuild_qtensor", "_rebuild_nested_tensor", "_rebuild_meta_tensor")


def find(module: str, name: str, first: bool) -> Any:
    """What stands for a name in a pickle."""
    full = f"{module}.{name}"
    known = _KNOWN.get(full)
    if known is not None:
        return known
    if name.startswith(_OTHER_TENSORS):
        raise ModelFileError(
            f"it has a tensor that is sparse, quantised, nested or without numbers ({full:.120}): "
            "save an ordinary one, `tensor.to_dense()` or `.dequantize()`"
        )
    if first or full.startswith("torch.nn."):
        raise ModelFileError(whole_module(full))
    raise ModelFileError(
        f"it holds an object of {full[:120]!r} besides its tensors, and reading that would run code of a program's. "
        "Save the weights alone, in PyTorch: checkpoint = torch.load(path, weights_only=False); "
        'torch.save(checkpoint["state_dict"], "weights.pt"), with the key that your checkpoint has for them'
    )


def whole_module(name: str = "torch.nn.Module") -> str:
    """What an error says of a file that has a whole module."""
    return (
        f"it is a whole module ({name:.120}), whose pickle would run its program's code. Save its weights, in PyTorch: "
        'model = torch.load(path, weights_only=False); torch.save(model.state_dict(), "weights.pt")'
    )
