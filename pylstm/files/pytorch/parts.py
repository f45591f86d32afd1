"""The weights in what a program saved: a state_dict, or a checkpoint that has some of them among other things."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ... import _checks
from ..strict_json import ModelFileError
from .tensors import FileTensor

_DEPTH = 8  # of dicts in each other
_NAME = 400  # characters
_ITEMS = 2**17
_SHOWN = 8

Tensors = dict[str, Any]  # name -> what has a shape


class Part(NamedTuple):
    """A dict with tensors in it."""

    path: str  # the keys that lead to it, with dots; "": all of it
    tensors: Tensors
    optimizer: bool  # whether it is of an optimizer's state


def parts_of(tree: Any) -> list[Part]:
    """The dicts with tensors in a tree of dicts."""
    if not isinstance(tree, Mapping):
        raise ModelFileError(f"weights are a dict of names and tensors, a state_dict, and this is {_checks.kind(tree)}")
    walk = _Walk()
    walk.through(tree, "", False)
    return walk.found


class _Walk:
    """Through the dicts in a dict. One may stand at several places; in a file of a stranger's at very many."""

    def __init__(self) -> None:
        self.found: list[Part] = []
        self.above: list[int] = []
        self.room = _ITEMS

    def through(self, tree: Mapping[Any, Any], path: str, optimizer: bool) -> None:
        if id(tree) in self.above or len(self.above) > _DEPTH:
            return
        self.above.append(id(tree))
        optimizer = optimizer or ("param_groups" in tree and "state" in tree)
        own: Tensors = {}
        inner: list[tuple[str, Mapping[Any, Any]]] = []
        for key, value in tree.items():
            self.room -= 1
            if self.room < 0:
                raise ModelFileError(f"there are more than {_ITEMS} items in the dicts in it")
            if is_tensor(value):
                if str(key) in own:
                    raise ModelFileError(f"two tensors have the name {str(key)[:80]!r}")
                _joined(path, key)
                own[str(key)] = value
            elif isinstance(value, Mapping):
                inner.append((_joined(path, key), value))
        if own:
            self.found.append(Part(path, own, optimizer))
        for name, value in inner:
            self.through(value, name, optimizer)
        self.above.pop()


def _joined(path: str, key: Any) -> str:
    name = f"{path}.{key}" if path else str(key)
    if len(name) > _NAME:
        raise ModelFileError(f"the name {name[:80]!r}.. has {len(name)} characters")
    return name


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of a file, an array, or a tensor of any library; a number is none."""
    if isinstance(value, (FileTensor, np.ndarray)):
        return True
    shaped = hasattr(getattr(value, "shape", None), "__len__")  # None: of an empty dataset of h5py's, e.g.
    return shaped and hasattr(value, "dtype") and not isinstance(value, np.generic)


def memory(value: Any) -> Any:
    """What two names of one tensor have in common: a module that is shared has several in a state_dict."""
    if isinstance(value, FileTensor):
        return value.storage, value.offset, value.shape, value.strides
    if callable(place := getattr(value, "data_ptr", None)):
        try:
            return place(), tuple(value.shape)
        except Exception:  # of a tensor that has no memory, each in its own way
            return id(value)
    return id(value)


def live_array(name: str, value: Any) -> Any:
    """An array of what is in memory, without importing its library; whatever is no tensor of PyTorch's stays itself."""
    if not callable(getattr(value, "detach", None)) or not callable(getattr(value, "numpy", None)):
        return value
    try:
        tensor = value.detach().cpu()
        if str(tensor.dtype).endswith("bfloat16"):
            tensor = tensor.float()  # NumPy has no such dtype
        return tensor.numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:  # sparse, quantised, without numbers ..
        raise ValueError(f"{name} cannot be taken as an array: {str(error)[:300]}") from error


def select(parts: list[Part], prefix: str) -> Tensors:
    """The tensors whose names begin with the prefix, which is left out then. Names are those of the one state_dict
    there is; where there are several, the keys that lead to them stand before, and may in any case."""
    weights = [part for part in parts if not part.optimizer and any(len(t.shape) for t in part.tensors.values())]
    if not prefix:
        return weights[0].tensors if len(weights) == 1 else flat(weights)
    every = flat(parts)
    for names in (every, weights[0].tensors if len(weights) == 1 else {}):
        for begin in (prefix if prefix.endswith(".") else f"{prefix}.", prefix):
            if found := {name[len(begin) :]: value for name, value in names.items() if name.startswith(begin)}:
                return found
    raise ValueError(f"no tensor's name begins with prefix {prefix[:80]!r}; there are {described(parts)}")


def flat(parts: list[Part]) -> Tensors:
    """All tensors, under the keys that lead to them."""
    tensors: Tensors = {}
    for part in parts:
        for name, value in part.tensors.items():
            full = f"{part.path}.{name}" if part.path else name
            if full in tensors:
                raise ModelFileError(f"two tensors have the name {full[:80]!r}")
            tensors[full] = value
    return tensors


def described(parts: list[Part]) -> str:
    """For messages: what there is, and how it is called."""
    said = []
    for part in parts:
        if part.optimizer:
            continue
        begins = list(dict.fromkeys(name.partition(".")[0] for name in part.tensors))
        place = f"under {part.path[:80]!r} " if part.path else ""
        said.append(f"{len(part.tensors)} tensors {place}({shown(begins)})")
    if any(part.optimizer for part in parts):
        said.append("the state of an optimizer")
    return shown(said, quote=False)


def shown(names: Iterable[str], quote: bool = True) -> str:
    """Some of the names, and how many more there are."""
    every = list(names)
    words = [repr(name[:80]) if quote else name[:300] for name in every[:_SHOWN]]
    return ", ".join(words) + (f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else "")
