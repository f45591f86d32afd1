"""Predictions for data that come batch by batch, as those for all of it at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._arrays import Array
from ..training.batches import Source, inputs_of


def in_batches(x: Any, lengths: Any, predict: Callable[[Any, Any], Any]) -> Any:
    """What `predict`, a function of x and lengths, gives for all batches that x gives, as one."""
    if lengths is not None:
        raise TypeError("x gives batches, and lengths belongs into them: (x, None, lengths)")
    found, sizes, as_list = [], [], False
    for number, item in enumerate(Source(x).items(0), start=1):
        some, lens = inputs_of(item)
        try:
            found.append(predict(some, lens))
        except (TypeError, ValueError, IndexError) as error:
            if type(error) not in (TypeError, ValueError, IndexError):
                raise
            raise type(error)(f"batch {number}: {error}") from error
        first = _first(some)
        as_list |= isinstance(first, (list, tuple))
        sizes.append(len(first))
    return _joined(found, sizes, as_list)


def _first(x: Any) -> Any:
    """One of several inputs, which are as many sequences."""
    if isinstance(x, dict):
        return next(iter(x.values()))
    return x[0] if isinstance(x, tuple) else x


def _joined(found: list[Any], sizes: list[int], as_list: bool) -> Any:
    """Outputs of batches, one after another. as_list: outputs per step may be lists of them."""
    one = found[0]
    if isinstance(one, dict):
        return {key: _joined([each[key] for each in found], sizes, as_list) for key in one}
    if isinstance(one, (list, tuple)):
        if as_list and isinstance(one, list) and [len(each) for each in found] == sizes:
            return [row for each in found for row in each]
        return type(one)(_joined([each[i] for each in found], sizes, as_list) for i in range(len(one)))
    return _stacked([np.asarray(each) for each in found])


def _stacked(arrays: list[Array]) -> Array:
    """(N, ..), with zeros behind the steps of batches that are shorter."""
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1 and len({shape[1:] for shape in shapes}) == 1 and all(shapes):
        steps = max(shape[0] for shape in shapes)
        out = np.zeros((sum(map(len, arrays)), steps, *arrays[0].shape[2:]), np.result_type(*arrays))
        start = 0
        for array in arrays:
            out[start : start + len(array), : array.shape[1]] = array
            start += len(array)
        return out
    return np.concatenate(arrays)
