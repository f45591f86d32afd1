"""Which numbers of a file are whose."""

from __future__ import annotations

import re
from typing import Any

from ..._arrays import Array
from ..hdf5.reading import Dataset, Group
from ..strict_json import ModelFileError

_STATE = re.compile(r"(moving_mean|moving_variance|running_mean|running_std)[^/]*$")
_UNREAD = ("seed_generator", "_random_generator")  # numbers that no output depends on


class LayerWeights:
    """The numbers of a layer, and of the layers in it, taken one after the other.

    They are asked for by the way from the layer to what has them ("cell", "forward_layer/cell"), and in the order in
    which Keras has them in a list: by one of both, files find them.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def take(self, way: str, count: int, state: int = 0) -> list[Dataset]:
        """The next `count`; state: how many of them, the last ones, are no parameters. Raises ModelFileError."""
        raise NotImplementedError

    def inside(self, way: str) -> LayerWeights:
        """Those of what is in the layer, in which ways begin there."""
        raise NotImplementedError

    def done(self) -> None:
        """Raises ModelFileError where something has not been taken."""
        raise NotImplementedError


class Listed(LayerWeights):
    """Of .h5 files: a list for each layer of the model."""

    def __init__(self, name: str, arrays: list[tuple[str, Dataset]]) -> None:
        super().__init__(name)
        self.own = [one for path, one in arrays if not _STATE.search(path)]
        self.states = [one for path, one in arrays if _STATE.search(path)]

    def take(self, way: str, count: int, state: int = 0) -> list[Dataset]:  # noqa: ARG002
        found, self.own = self.own[: count - state], self.own[count - state :]
        states, self.states = self.states[:state], self.states[state:]
        if len(found) + len(states) < count:
            raise ModelFileError(f"the layer {self.name!r:.100} must have {count} arrays more than the file has for it")
        return found + states

    def inside(self, way: str) -> LayerWeights:  # noqa: ARG002
        return self

    def done(self) -> None:
        if left := len(self.own) + len(self.states):
            raise ModelFileError(f"the layer {self.name!r:.100} has {left} arrays more than its config says")


class Stored(LayerWeights):
    """Of .keras and .weights.h5: a group for everything that has numbers."""

    def __init__(self, name: str, group: Group | None, taken: set[str] | None = None) -> None:
        super().__init__(name)
        self.group, self.taken = group, set() if taken is None else taken
        self.outer = taken is None

    def take(self, way: str, count: int, state: int = 0) -> list[Dataset]:  # noqa: ARG002
        place = self.group.group(f"{way}/vars") if self.group else None
        found = _numbered(place)
        if len(found) != count:
            raise ModelFileError(
                f"the layer {self.name!r:.100} must have {count} arrays{f' in {way}' if way else ''}, and the file has "
                f"{len(found)}"
            )
        if place is not None:
            self.taken.add(place.name)
        return found

    def inside(self, way: str) -> LayerWeights:
        return Stored(self.name, self.group.group(way) if self.group else None, self.taken)

    def done(self) -> None:
        if self.outer and self.group is not None:
            _check_taken(self.group, self.taken, self.name)


def _numbered(group: Group | None) -> list[Dataset]:
    if group is None:
        return []
    found = []
    for i in range(len(group.items)):
        one = group.items.get(str(i))
        if not isinstance(one, Dataset):
            raise ModelFileError(f"the arrays in {group.name!r:.200} are not numbered from 0")
        found.append(one)
    return found


def _check_taken(group: Group, taken: set[str], name: str) -> None:
    for key, item in group.items.items():
        if not isinstance(item, Group) or key.startswith(_UNREAD):
            continue
        if key == "vars" and item.items and item.name not in taken:
            raise ModelFileError(
                f"the layer {name!r:.100} has {len(item.items)} arrays in {item.name!r:.200} that its config does not "
                "tell of"
            )
        _check_taken(item, taken, name)


def listed(root: Group, name: str) -> Listed:
    """Of the layer of this name, in a .h5 file."""
    group = root.group(name)
    if group is None:
        raise ModelFileError(f"the file has no weights for the layer {name!r:.100}")
    arrays = []
    for path in texts(group, "weight_names"):
        one = group.find(path)
        if not isinstance(one, Dataset):
            raise ModelFileError(f"the array {path!r:.200} of the layer {name!r:.100} is missing")
        arrays.append((path, one))
    return Listed(name, arrays)


def texts(group: Group, name: str) -> list[str]:
    """An attribute that is a list of str; Keras cuts long ones into several."""
    found: list[str] = []
    if name in group.attributes:
        parts = [group.attributes[name]]
    else:
        parts, i = [], 0
        while f"{name}{i}" in group.attributes:
            parts.append(group.attributes[f"{name}{i}"])
            i += 1
        if not parts:
            raise ModelFileError(f"the group {group.name!r:.200} has no {name}")
    for part in parts:
        found += part if isinstance(part, list) else []
    return found


def read(dataset: Dataset, shape: tuple[int | None, ...], what: str) -> Array:
    """The numbers. Raises ModelFileError for another shape; None stands for any size."""
    if len(dataset.shape) != len(shape) or any(
        wanted is not None and wanted != found for wanted, found in zip(shape, dataset.shape, strict=True)
    ):
        shown: Any = tuple("any" if n is None else n for n in shape)
        raise ModelFileError(f"{what} must have the shape {shown}, and in the file it has {dataset.shape}")
    array = dataset.read()
    if array.dtype.kind not in "fiu":
        raise ModelFileError(f"{what} is of {array.dtype}, and floats are wanted")
    return array
