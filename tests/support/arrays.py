"""Copies of an array that lie in memory in other ways."""

from __future__ import annotations

import numpy as np


def misaligned(array):
    room = np.zeros(array.nbytes + 1, np.uint8)[1:]
    result = room.view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def in_records(array):
    """A field of records, so that strides are no multiple of the itemsize."""
    records = np.zeros(array.shape[:2], [("odd", "u1"), ("x", array.dtype, array.shape[2:])])
    records["x"] = array
    return records["x"]


def strided(array):
    room = np.zeros([2 * n + 1 for n in array.shape], array.dtype)
    view = room[1::2, 1::2, 1::2]
    view[...] = array
    return view
