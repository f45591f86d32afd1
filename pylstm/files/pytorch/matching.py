"""Whose parameters the tensors of a state_dict are: by name, by a mapping, or by what fits where only one thing can."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ... import _checks
from ...layers.gru import GRUFront
from ...layers.layer import Layer
from ...layers.recurrent_parameters import RecurrentParameters
from .parts import Tensors, memory, shown

Names = Callable[[str], "str | None"]
_NEAR = 1000  # names that are looked through for one that is near
_THEIRS = re.compile(r"(weight|bias)(_[ih]h|_hr)?(_l\d+)?(_reverse)?")  # what PyTorch calls parameters


class Wanted(NamedTuple):
    """A parameter of ours."""

    shape: tuple[int, ...]
    cell: str | None  # its name in an nn.LSTMCell, GRUCell or RNNCell
    recurrent_bias: str | None  # the tensor that is added to it, where ours has one bias and PyTorch's two


class Fit(NamedTuple):
    """What was found for a model, and what is wrong with it."""

    taken: dict[str, str | None]  # ours -> theirs; None: it stays
    added: dict[str, str]  # ours -> theirs, to be added to it
    missing: list[str]
    unexpected: list[str]
    shapes: list[str]  # ours, of other shapes

    @property
    def good(self) -> bool:
        return not (self.missing or self.unexpected or self.shapes)


def wanted_by(model: Layer, *, by_name: bool = True) -> dict[str, Wanted]:
    """Name -> what is wanted, for every parameter of a layer or model.

    by_name: whether the names are to mean what they mean in PyTorch.
    """
    wanted = {name: Wanted(shape, None, None) for name, shape in model._param_shapes.items()}
    for prefix, layer in model._owners():
        if not isinstance(layer, RecurrentParameters):
            continue
        if by_name and isinstance(layer, GRUFront) and not layer.reset_after:
            raise ValueError(
                f"{prefix or 'the layer'}: PyTorch's GRU resets after the product and this one before it, so weights "
                "of the one mean nothing to the other: make it with reset_after=True, or say by mapping whose they are"
            )
        if by_name and (options := layer._own_options()):
            raise ValueError(
                f"{prefix or 'the layer'}: PyTorch has no layer with {' or '.join(options)} as {layer!r} has, so "
                "weights of the one mean nothing to the other: make it without, or say by mapping whose they are"
            )
        single = layer.num_layers == 1 and not layer.bidirectional
        for name in layer._param_shapes:
            cell = prefix + name.removesuffix("_l0") if single and name.endswith("_l0") else None
            other = None
            if name.startswith("bias_ih") and not layer.recurrent_bias:
                other = prefix + name.replace("bias_ih", "bias_hh", 1)
            wanted[prefix + name] = wanted[prefix + name]._replace(cell=cell, recurrent_bias=other)
    return wanted


def match(model: Layer, tensors: Tensors, mapping: Any) -> Fit:
    """What fits, all of it. Raises ValueError saying what does not, and TypeError for a wrong mapping."""
    wanted = wanted_by(model, by_name=mapping is None)
    if mapping is not None:
        names = _function(mapping, wanted)
        fit = named(wanted, tensors, names, mapped=True)
        if not fit.good:
            raise ValueError(_message(model, wanted, tensors, fit, ""))
        return fit
    first = named(wanted, tensors, lambda name: name)
    if first.good:
        return first
    if common := _common(tensors):
        fit = named(wanted, tensors, lambda name: common + name)
        if fit.good:
            return fit
    pairs, why = modules(wanted, tensors)
    if pairs is not None:
        fit = named(wanted, tensors, _function(pairs, wanted))
        only_places = all(part.isdigit() for name in wanted for part in name.split(".")[:-1])
        if fit.good and only_places:
            return fit
        if fit.good:
            why = f"these would fit: mapping={_short(pairs)}"
    raise ValueError(_message(model, wanted, tensors, first, why))


def named(wanted: Mapping[str, Wanted], tensors: Tensors, names: Names, *, mapped: bool = False) -> Fit:
    """What there is of these names.

    mapped: somebody said which they are; then only tensors beside those that are taken are looked for.
    """
    fit = Fit({}, {}, [], [], [])
    for name, want in wanted.items():
        theirs = names(name)
        if theirs is None:
            fit.taken[name] = None
            continue
        cell = names(want.cell) if want.cell and not mapped else theirs.removesuffix("_l0") if want.cell else None
        if theirs not in tensors and cell is not None and cell in tensors:
            theirs = cell
        if theirs not in tensors:
            fit.missing.append(name)
            continue
        fit.taken[name] = theirs
        if tuple(tensors[theirs].shape) != want.shape:
            fit.shapes.append(name)
        if want.recurrent_bias:
            begin, _, end = theirs.rpartition("bias_ih")
            other = f"{begin}bias_hh{end}"
            if other != theirs and other in tensors and tuple(tensors[other].shape) == want.shape:
                fit.added[name] = other
    used = {*fit.taken.values(), *fit.added.values()}
    same = {memory(tensors[name]) for name in used if name is not None}
    left = [name for name in tensors if name not in used and memory(tensors[name]) not in same]
    if mapped:
        beside = {name.rpartition(".")[0] for name in used if name is not None}
        left = [n for n in left if n.rpartition(".")[0] in beside and _THEIRS.fullmatch(n.rpartition(".")[2])]
    fit.unexpected.extend(left)
    return fit


def _common(tensors: Tensors) -> str:
    """What all names begin with, up to a dot."""
    parts = [name.split(".")[:-1] for name in tensors]
    if not parts:
        return ""
    low, high = min(parts), max(parts)
    count = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return "".join(f"{part}." for part in low[:count])


# ---- a mapping -------------------------------------------------------------------------------------------------------


def _function(mapping: Any, wanted: Mapping[str, Wanted]) -> Names:
    """Our name -> theirs. Of a mapping, the longest of its keys that the name is, or begins with, decides."""
    if isinstance(mapping, Mapping):
        return _Mapped(mapping, wanted)
    if not callable(mapping):
        raise TypeError(
            f"mapping must be a dict {{our name: their name}} or a function of our name, got {_checks.kind(mapping)}"
        )

    def names(ours: str) -> str | None:
        theirs = mapping(ours)
        if theirs is not None and not isinstance(theirs, str):
            raise TypeError(f"mapping({ours!r}) must be a name or None, got {_checks.kind(theirs)}")
        return theirs

    return names


class _Mapped:
    """Names by a dict of parameters' and layers' names."""

    def __init__(self, mapping: Mapping[Any, Any], wanted: Mapping[str, Wanted]) -> None:
        self.mapping: dict[str, str | None] = {}
        places = {name[:at] for name in wanted for at, letter in enumerate(name) if letter == "."} | {""}
        for key, value in mapping.items():
            if not isinstance(key, str) or not (value is None or isinstance(value, str)):
                raise TypeError(f"mapping must have names, {{ours: theirs}}, got {key!r:.80}: {value!r:.80}")
            ours = key.rstrip(".")
            if ours not in wanted and ours not in places:
                known = [*wanted, *sorted(places - {""})]
                raise ValueError(
                    f"mapping names {key[:80]!r}, and the model has {shown(known)}"
                    f"{_checks.did_you_mean(key[:80], known[:_NEAR])}; it is {{our name: their name}}"
                )
            self.mapping[ours] = value.rstrip(".") if value is not None else None

    def __call__(self, ours: str) -> str | None:
        if ours in self.mapping:
            return self.mapping[ours]
        module, rest = ours, ""
        while module:
            module, _, last = module.rpartition(".")
            rest = f"{last}.{rest}" if rest else last
            if module in self.mapping:
                theirs = self.mapping[module]
                return theirs if theirs is None else f"{theirs}.{rest}" if theirs else rest
        return ours


# ---- by what fits ----------------------------------------------------------------------------------------------------

_Form = frozenset[tuple[str, tuple[int, ...]]]  # of a module: names and shapes of its tensors


def modules(wanted: Mapping[str, Wanted], tensors: Tensors) -> tuple[dict[str, str] | None, str]:
    """Our module -> theirs, where there is one way only; or None, and why."""
    theirs: dict[_Form, list[str]] = {}
    for module, form in _forms({name: tuple(tensor.shape) for name, tensor in tensors.items()}).items():
        theirs.setdefault(form, []).append(module)
    ours = _our_forms(wanted)
    count = sum(map(len, theirs.values()))
    if count != len(ours):
        return None, ""
    found: dict[str, list[str]] = {}
    for module, forms in ours.items():
        found[module] = [one for form in forms for one in theirs.get(form, [])]
        if not found[module]:
            return None, ""
    if all(len(one) == 1 for one in found.values()):
        pairs = {module: one[0] for module, one in found.items()}
        return (pairs, "") if len(set(pairs.values())) == count else (None, "")
    ours_in_order, in_order = _in_order(list(found)), _in_order([one for same in theirs.values() for one in same])
    if ours_in_order is not None and in_order is not None:
        by_place = dict(zip(ours_in_order, in_order, strict=True))
        if all(by_place[module] in found[module] for module in found):
            return by_place, ""
    several = next(one for one in found.values() if len(one) > 1)
    guess = {module: one[0] for module, one in found.items() if len(one) == 1}
    return None, (
        f"{shown(several)} are alike, so that it takes a mapping to say which is which: "
        f"mapping={_short({**guess, **{m: '?' for m, one in found.items() if len(one) > 1}})}"
    )


def _forms(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, _Form]:
    grouped: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for name, shape in shapes.items():
        module, _, last = name.rpartition(".")
        grouped.setdefault(module, []).append((last, shape))
    return {module: frozenset(form) for module, form in grouped.items()}


def _our_forms(wanted: Mapping[str, Wanted]) -> dict[str, list[_Form]]:
    """The forms that each of our modules can have in PyTorch: with one bias or two, as a layer or a cell."""
    plain = _forms({name: want.shape for name, want in wanted.items()})
    with_bias: dict[str, tuple[int, ...]] = {}
    for name, want in wanted.items():
        with_bias[name] = want.shape
        if want.recurrent_bias:
            with_bias[want.recurrent_bias] = want.shape
    both = _forms(with_bias)
    found = {}
    for module, form in plain.items():
        forms = {form, both[module]}
        if any(want.cell and name.rpartition(".")[0] == module for name, want in wanted.items()):
            forms |= {frozenset((name.removesuffix("_l0"), shape) for name, shape in one) for one in tuple(forms)}
        found[module] = list(forms)
    return found


def _place(module: str) -> tuple[int, ...] | None:
    parts = module.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() and len(part) < 10 for part in parts) else None


def _in_order(names: list[str]) -> list[str] | None:
    """Modules of one nn.Sequential, which number says in which order they run."""
    common = _common(dict.fromkeys(f"{name}.x" for name in names))
    places = [(_place(name[len(common) :]), name) for name in names]
    if any(place is None for place, _ in places):
        return None
    return [name for _, name in sorted(places, key=lambda pair: pair[0] or ())]


# ---- messages --------------------------------------------------------------------------------------------------------


def _message(model: Layer, wanted: Mapping[str, Wanted], tensors: Tensors, fit: Fit, why: str) -> str:
    said = []
    if fit.missing:
        near = [_near(name, wanted[name].shape, tensors, fit) for name in fit.missing[:8]]
        more = len(fit.missing) - len(near)
        said.append("missing " + ", ".join(near) + (f" and {more} more" if more else ""))
    if fit.unexpected:
        said.append("unexpected " + shown(fit.unexpected))
    for name in fit.shapes[:8]:
        theirs = fit.taken[name]
        shape = tuple(tensors[str(theirs)].shape)
        told = f"{str(theirs)[:80]!r}" + ("" if theirs == name else f" for {name}")
        said.append(f"{told} must have shape {wanted[name].shape}, got {shape!r:.200}")
    first = next(iter(wanted), "")
    if fit.missing and first:
        begins = [name[: -len(first)] for name in tensors if name.endswith(first) and name != first]
        whole = [begin for begin in begins if all(begin + name in tensors for name in wanted)]
        if whole:
            why = f"{' or '.join(f'prefix={begin!r}' for begin in whole[:4])} would fit"
    if why:
        said.append(why)
    elif fit.missing and fit.unexpected:
        said.append("prefix= chooses a part of them, mapping={ours: theirs} names them one by one or layer by layer")
    return f"these weights do not fit {repr(model)[:400]}: " + "; ".join(said)


def _near(name: str, shape: tuple[int, ...], tensors: Tensors, fit: Fit) -> str:
    """A missing name, and which one may be meant."""
    free = fit.unexpected[:_NEAR]
    same = [one for one in free if tuple(tensors[one].shape) == shape]
    last = name.rpartition(".")[2]
    found = [one for one in same if one.rpartition(".")[2] == last]
    found = found or difflib.get_close_matches(name, same, n=2, cutoff=0.0)
    found = found or difflib.get_close_matches(name, free, n=1, cutoff=0.6)
    return repr(name) + (f" (near: {shown(found[:2])})" if found else f" of shape {shape}")


def _short(pairs: Mapping[str, str]) -> str:
    text = "{" + ", ".join(f"{ours!r}: {theirs[:80]!r}" for ours, theirs in list(pairs.items())[:12]) + "}"
    return text if len(pairs) <= 12 else text[:-1] + ", ..}"
