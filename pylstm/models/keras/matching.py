"""Weights of a Keras file for a model that is there: which layer of the file is which of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ...files.hdf5.reading import Dataset, Group
from ...files.keras.containers import KerasFile
from ...files.keras.recurrent import GATES, from_cudnn, ours
from ...files.keras.weights import listed, texts
from ...layers.compiled import GRU, LSTM
from ...layers.convolution import Conv1d
from ...layers.embedding import Embedding
from ...layers.layer import Layer
from ...layers.linear import Linear
from ...layers.normalization import LayerNorm
from ...layers.recurrent_parameters import RecurrentParameters

Shapes = list[tuple[int, ...]]


class Theirs(NamedTuple):
    """A layer of the file: its names, and its arrays in Keras' order."""

    names: tuple[str, ...]
    arrays: list[Dataset]

    @property
    def shapes(self) -> Shapes:
        return [one.shape for one in self.arrays]


class Part(NamedTuple):
    """A layer of ours that is one of Keras': of several on top of each other, one."""

    name: str
    prefix: str
    layer: Any
    level: int


def into(file: KerasFile, model: Layer, mapping: Mapping[str, str] | None) -> None:
    """Load the weights into the model: all of them, or none where they do not fit."""
    wanted, given = parts_of(model), layers_of(file)
    if mapping is not None and not isinstance(mapping, Mapping):
        raise TypeError("mapping must be a dict: our name of a layer -> the file's")
    said = dict(mapping or {})
    if unknown := set(said) - {part.name for part in wanted}:
        raise ValueError(
            f"mapping names {', '.join(sorted(map(repr, unknown)))}, and the layers with weights are "
            f"{', '.join(repr(part.name) for part in wanted)}"
        )
    left, state = list(given), dict(model.state_dict())
    named = {part.name: _named(given, said[part.name]) for part in wanted if part.name in said}
    if len({id(theirs.arrays) for theirs in named.values()}) < len(named):
        raise ValueError(f"mapping names a layer of the file twice: {said!r:.300}")
    for theirs in named.values():
        left.remove(theirs)
    for part in wanted:
        found = named.get(part.name)
        if found is None:
            found = next((one for one in left if fits(part, one.shapes)), None)
            if found is None:
                raise ValueError(_missing(part, left))
            left.remove(found)
        elif not fits(part, found.shapes):
            raise ValueError(
                f"{found.names[0]!r} of the file, {_shown(found)}, does not fit {part.name!r}: {part.layer!r}"
            )
        for name, value in converted(part, [one.read() for one in found.arrays]).items():
            state[part.prefix + name] = value
    if left and not said:
        shown = ", ".join(f"{one.names[0]} {_shown(one)}" for one in left[:5])
        raise ValueError(
            f"the file has {len(left)} layers that the model does not: {shown}. mapping={{our name: theirs}} says "
            "which are wanted, and leaves the others aside"
        )
    model.load_state_dict(state)


def _shown(one: Theirs) -> str:
    return " ".join(map(str, one.shapes))[:200]


def _named(given: list[Theirs], name: str) -> Theirs:
    for one in given:
        if name in one.names:
            return one
    raise ValueError(f"the file has no layer {name!r}; it has {', '.join(one.names[0] for one in given)[:500]}")


def _missing(part: Part, left: list[Theirs]) -> str:
    near = "; ".join(f"{one.names[0]} {_shown(one)}" for one in left[:6]) or "nothing"
    return (
        f"the file has no layer for {part.name!r}, {part.layer!r}, whose weights Keras would have as "
        f"{' '.join(map(str, _forms(part)[0]))}; left in the file: {near}"
    )


# ---- ours ------------------------------------------------------------------------------------------------------------


def parts_of(model: Layer) -> list[Part]:
    """The layers that have weights, in their order."""
    found = []
    for prefix, layer in model._owners():
        if not layer._param_shapes:
            continue
        name = prefix.rstrip(".")
        if isinstance(layer, RecurrentParameters):
            several = layer.num_layers > 1
            found += [
                Part(f"{name}.{level}".lstrip(".") if several else name, prefix, layer, level)
                for level in range(layer.num_layers)
            ]
        elif isinstance(layer, (Linear, Embedding, LayerNorm, Conv1d)):
            found.append(Part(name, prefix, layer, 0))
        else:
            raise ValueError(f"{layer!r} has weights that no layer of Keras has: give the model without it")
    return found


def _kind(layer: Any) -> str:
    return "LSTM" if isinstance(layer, LSTM) else "GRU" if isinstance(layer, GRU) else "RNN"


def _forms(part: Part) -> list[Shapes]:
    """The shapes that Keras may have for it, the usual ones first."""
    layer = part.layer
    if isinstance(layer, Embedding):
        return [[(layer.num, layer.dim)]]
    if isinstance(layer, LayerNorm):
        return [[(layer.size,), (layer.size,)]]
    if isinstance(layer, Conv1d):
        return [[(layer.kernel_size, layer.in_size, layer.out_size), *[(layer.out_size,)] * layer.bias]]
    if isinstance(layer, Linear):
        size = layer.params["weight"].shape
        return [[size[::-1], *[(size[0],)] * ("bias" in layer._param_shapes)]]
    if getattr(layer, "proj_size", 0):
        raise ValueError(f"{layer!r} has a projection, which Keras does not have")
    kind, units, twice = _kind(layer), layer.hidden_size, layer.num_directions
    width = GATES[kind] * units
    size = layer.params[f"weight_ih_l{part.level}"].shape[1]
    kernels: Shapes = [(size, width), (units, width)]
    if not layer.bias:
        return [kernels * twice]
    after = kind == "GRU" and layer.reset_after
    biases = [(2, width), (2 * width,)] if after else [(width,), (2 * width,)] if kind == "LSTM" else [(width,)]
    forms = [[*kernels, bias] * twice for bias in biases]
    if kind != "RNN" and not after:
        forms.append([(size, units), (units, units), (units,)] * GATES[kind] * twice)
    return forms


def fits(part: Part, shapes: Shapes) -> bool:
    return shapes in _forms(part)


def converted(part: Part, arrays: list[Array]) -> dict[str, Array]:
    """Our parameters of Keras' arrays."""
    layer = part.layer
    if isinstance(layer, Embedding):
        return {"weight": arrays[0]}
    if isinstance(layer, (Linear, Conv1d, LayerNorm)):
        names = ["weight", "bias"]
        return {name: one.T if one.ndim > 1 else one for name, one in zip(names, arrays, strict=False)}
    kind, found = _kind(layer), {}
    count = len(arrays) // layer.num_directions
    for direction in range(layer.num_directions):
        suffix = f"_l{part.level}{'_reverse' if direction else ''}"
        own = arrays[direction * count : (direction + 1) * count]
        if count == 3 and own[2].ndim == 1 and own[2].size == 2 * own[1].shape[1]:
            own = from_cudnn(kind, own)
        made = ours(kind, own)
        if "bias_hh" in made and not layer.recurrent_bias:
            raise ValueError(f"Keras has two biases for {part.name!r}, {layer!r}: make it with recurrent_bias=True")
        if layer.bias and layer.recurrent_bias and "bias_hh" not in made:
            made["bias_hh"] = np.zeros_like(made["bias_ih"])
        found.update({name + suffix: value for name, value in made.items()})
    return found


# ---- theirs ----------------------------------------------------------------------------------------------------------


def layers_of(file: KerasFile) -> list[Theirs]:
    """The layers of the file that have arrays."""
    if file.legacy:
        found = []
        for name in texts(file.root, "layer_names"):
            own = listed(file.root, name)
            found.append(Theirs((name,), own.own + own.states))
    else:
        found = _grouped(file.root)
    return [one for one in found if one.arrays]


def _grouped(group: Group) -> list[Theirs]:
    inside = group.group("layers") or group.group("_layer_checkpoint_dependencies")
    if inside is None:
        return []
    found = []
    for key, item in sorted(inside.items.items(), key=lambda pair: _natural(pair[0])):
        if not isinstance(item, Group):
            continue
        nested = _grouped(item)
        if nested:
            found += nested
            continue
        marked = item.group("vars")
        name = marked.attributes.get("name") if marked is not None else None
        names = (name, key) if isinstance(name, str) else (key,)
        found.append(Theirs(names, _arrays(item)))
    return found


def _natural(key: str) -> tuple[str, int]:
    """lstm_2 comes before lstm_10."""
    start, _, number = key.rpartition("_")
    return (start, int(number)) if start and number.isdecimal() and len(number) < 9 else (key, 0)


def _arrays(group: Group) -> list[Dataset]:
    """All in a layer: those of its own, and of what is in it, forwards before backwards."""
    found: list[Dataset] = []
    own = group.group("vars")
    if own is not None:
        found += [own.items[str(i)] for i in range(len(own.items)) if isinstance(own.items.get(str(i)), Dataset)]  # type: ignore[misc]
    rest = [(key, item) for key, item in group.items.items() if isinstance(item, Group) and key != "vars"]
    for key, item in sorted(rest, key=lambda pair: (pair[0].startswith("backward"), *_natural(pair[0]))):
        if not key.startswith(("seed_generator", "_")):
            found += _arrays(item)
    return found
