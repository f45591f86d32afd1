"""Indices as nodes: integers, slices, None, and arrays of integers, as NumPy reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import Array

_FAR = 2**62


def indexed(run: Any, name: str, x: Array, index: Any) -> str:
    """The name of x[index]."""
    graph, entries = run.graph, _entries(x, index)
    several = any(isinstance(entry, np.ndarray) for entry in entries)
    axis, out = 0, 0
    drops: list[int] = []
    adds: list[int] = []
    picks: list[tuple[int, Any]] = []  # axes that arrays, and integers beside them, are for
    places: list[int] = []  # of these among the entries
    for place, entry in enumerate(entries):
        if entry is None:
            adds.append(out)
            out += 1
            continue
        if isinstance(entry, slice):
            name = _cut(run, name, axis, entry)
            out += 1
        elif several:
            if not picks:
                out += np.broadcast(*[np.asarray(one) for one in entries if isinstance(one, (int, np.ndarray))]).ndim
            picks.append((axis, entry))
            places.append(place)
        else:
            run.notes.sizes.append((entry,))
            name = graph.part(name, axis, entry, entry + 1 if entry != -1 else _FAR)
            drops.append(axis)
        axis += 1
    if picks:
        apart = places[-1] - places[0] >= len(places)
        if apart and (adds or entries[0] is None):
            raise ValueError("arrays as indices with None between them are not written to ONNX files: index twice")
        name = _picked(run, name, x.ndim, picks, apart)
    if drops:
        name = graph.squeezed(name, *drops)
    return graph.unsqueezed(name, *adds) if adds else name


def _entries(x: Array, index: Any) -> list[Any]:
    """An entry for each axis, and None's."""
    entries = list(index) if isinstance(index, tuple) else [index]
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, np.ndarray) and entry.dtype.kind == "b":
            if entry.ndim != 1 or getattr(entry, "mark", None):
                raise ValueError(
                    "an array of bools as an index is written to ONNX files where it has one axis and is known "
                    "beforehand: choose with pylstm.where(mask, a, b)"
                )
            entry = np.flatnonzero(entry)
        found.append(entry)
    used = sum(entry is not None and entry is not Ellipsis for entry in found)
    rest = [slice(None)] * (x.ndim - used)
    at = next((k for k, entry in enumerate(found) if entry is Ellipsis), len(found))
    return [*found[:at], *rest, *found[at + 1 :]]


def _cut(run: Any, name: str, axis: int, entry: slice) -> str:
    start, stop, step = entry.start, entry.stop, entry.step or 1
    if start is None and stop is None and step == 1:
        return name
    low = (0 if step > 0 else _FAR) if start is None else int(start)
    high = (_FAR if step > 0 else -_FAR) if stop is None else int(stop)
    run.notes.sizes.append((low, high, step))
    parts = [run.graph.integers(one) for one in (low, high, axis, step)]
    return run.graph.node("Slice", [name, *parts])  # type: ignore[no-any-return]


def _picked(run: Any, name: str, ndim: int, picks: list[tuple[int, Any]], apart: bool) -> str:
    """What arrays pick; apart: whether other entries are between them, so that their axes come first."""
    graph = run.graph
    if len(picks) == 1:
        return graph.node("Gather", [name, run.named_symbols(picks[0][1])], axis=picks[0][0])  # type: ignore[no-any-return]
    axes = [axis for axis, _ in picks]
    arrays = [np.asarray(entry) for _, entry in picks]
    shape = np.broadcast_shapes(*[one.shape for one in arrays])
    parts = []
    for array, (_, entry) in zip(arrays, picks, strict=True):
        if array.shape != shape and getattr(entry, "mark", None):
            raise ValueError("arrays of symbols as indices are written to ONNX files beside such of the same shape")
        own = entry if array.shape == shape else np.broadcast_to(array, shape)
        parts.append(graph.unsqueezed(run.named_symbols(own), len(shape)))
    rest = [axis for axis in range(ndim) if axis not in axes]
    turned = graph.transposed(name, *axes, *rest)
    found = graph.node("GatherND", [turned, graph.node("Concat", parts, axis=len(shape))])
    before = 0 if apart else sum(axis < axes[0] for axis in rest)
    if not before:
        return found  # type: ignore[no-any-return]
    count = len(shape)
    behind = range(count + before, count + len(rest))
    return graph.transposed(found, *range(count, count + before), *range(count), *behind)  # type: ignore[no-any-return]
