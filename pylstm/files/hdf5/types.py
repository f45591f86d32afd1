"""What numbers and texts of an HDF5 file are: its datatypes and dataspaces (HDF5 File Format Specification, IV.A)."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from ..strict_json import ModelFileError

_LARGEST = 2**62
_RANK = 32
_FLOATS = {  # size: bit offset, precision, where exponent and mantissa are and how many bits they have, bias
    2: (0, 16, 10, 5, 0, 10, 15),
    4: (0, 32, 23, 8, 0, 23, 127),
    8: (0, 64, 52, 11, 0, 52, 1023),
}
_BFLOAT16 = (0, 16, 7, 8, 0, 7, 127)
ADVICE = (
    "save the model again with today's Keras (model.save), which writes the plain kind; or rewrite the file by "
    "`h5repack -l CONTI -f NONE old.h5 new.h5`"
)


class Type(NamedTuple):
    """Of an element.

    code: NumPy's, with the byte order; "bf16"; "S" a text of `size` bytes; "O" a text of any length, elsewhere in the
    file; "" another one, which is not read.
    """

    code: str
    size: int
    what: str = ""  # for an error, where it is not read


def datatype(data: bytes) -> Type:
    if len(data) < 8:
        raise ModelFileError("a datatype is cut off")
    kind, flags, size = data[0] & 15, data[1], struct.unpack_from("<I", data, 4)[0]
    order = ">" if flags & 1 else "<"
    if kind == 0 and size in (1, 2, 4, 8):
        return Type(f"{order}{'i' if flags & 8 else 'u'}{size}", size)
    if kind == 1 and len(data) >= 20:
        form = struct.unpack_from("<2H4BI", data, 8)
        if size == 2 and form == _BFLOAT16 and order == "<":
            return Type("bf16", 2)
        if _FLOATS.get(size) == form and not flags & 0x40:
            return Type(f"{order}f{size}", size)
        return Type("", size, "floats of an unusual kind")
    if kind == 3:
        return Type("S", size)
    if kind == 8:  # what NumPy's bools are written as: names for some integers
        return datatype(data[8:16])
    if kind == 9 and flags & 15 == 1:
        return Type("O", size)
    names = {5: "opaque bytes", 6: "compounds, or complex numbers", 7: "references", 9: "lists of any length"}
    return Type("", size, names.get(kind, f"elements of class {kind}"))


def dataspace(data: bytes) -> tuple[int, ...] | None:
    """The shape; None: there are no elements at all."""
    if len(data) < 4 or data[0] not in (1, 2):
        raise ModelFileError("a dataspace is damaged")
    version, rank, at = data[0], data[1], 8 if data[0] == 1 else 4
    if version == 2 and data[3] == 2:
        return None
    if rank > _RANK or len(data) < at + 8 * rank:
        raise ModelFileError(f"a dataspace of {rank} axes is damaged")
    shape: tuple[int, ...] = struct.unpack_from(f"<{rank}Q", data, at)
    if math.prod(max(n, 1) for n in shape) > _LARGEST:
        raise ModelFileError(f"a dataspace claims the shape {shape!r:.200}")
    return shape
