"""What all optimizers share: pairing layers with gradients, clipping, blocks, rows of tables, going on later."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .. import _checks
from .._arrays import Array
from .._recurrent import Recurrent
from .containers import AnyLayer, as_layer
from .gradients import norm_scale
from .layer import Gradient, Layer
from .rows import RowGradient

_BLOCK = 2**15  # numbers updated at once: parameter, gradient, state and scratch stay in the core's cache together


class Optimizer(abc.ABC):
    """Base of the optimizers. `lr` may be changed between steps. State is kept per parameter, by name."""

    _slots: ClassVar[tuple[str, ...]] = ()

    def __init__(self, lr: float, *, weight_decay: float = 0.0, lazy: bool = False) -> None:
        self.lr = _checks.non_negative("lr", lr)
        self.weight_decay = _checks.non_negative("weight_decay", weight_decay)
        self.lazy = _checks.flag("lazy", lazy)
        self._state: dict[str, dict[str, Array]] = {}
        self._steps: dict[str, int] = {}

    @abc.abstractmethod
    def _dense(self, p: Array, gradient: Array, slots: list[Array], step: int, scale: float, limit: float) -> None:
        """Update p and its state in place with a gradient cut to +-limit and then scaled; all are flat, of one size."""

    @abc.abstractmethod
    def _all_rows(
        self, p: Array, gradient: RowGradient, slots: list[Array], step: int, scale: float, limit: float
    ) -> None:
        """The same for a table: rows that the gradient does not name have a gradient of zero."""

    @abc.abstractmethod
    def _touched_rows(
        self, p: Array, gradient: RowGradient, slots: list[Array], step: int, scale: float, limit: float
    ) -> None:
        """The same, rows that the gradient does not name left as they are."""

    def _rows_only(self) -> bool:
        """Whether rows with a zero gradient stay as they are anyway."""
        return False

    def _used_slots(self) -> tuple[str, ...]:
        return self._slots

    # ---- steps ---------------------------------------------------------------------------------------------------

    def step(
        self,
        layers: AnyLayer | Mapping[str, AnyLayer],
        grads: Any,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        """Update the layers' parameters.

        layers: a layer or model, or a mapping of names to layers. grads: what backward gave for it (name -> gradient),
            or a mapping of the same names to such; a list of several is added up. Parameters without one stay.
        clip_norm: scale all gradients so that their global norm is at most this (Pascanu et al. 2013).
        clip_value: cut every number of the gradients to -clip_value..clip_value (before the norm is taken).

        Raises ValueError for unknown names and wrong shapes; FloatingPointError if the norm is not finite. Nothing has
        been changed then.
        """
        groups = self._pair(layers, grads)
        limit = math.inf if clip_value is None else _checks.positive("clip_value", clip_value)
        if clip_norm is None:
            scale = 1.0
        else:
            given = [own for _, _, own in groups]
            if clip_value is not None:
                from .gradients import clip_value as clip

                given = clip(given, limit)
            scale = norm_scale(given, clip_norm)
            if math.isnan(scale):
                raise FloatingPointError("the norm of the gradients is not finite: nothing was updated")
        for prefix, layer, own in groups:
            arrays = layer._begin_update(list(own))
            for name, p in arrays.items():
                self._step_one(prefix + name, p, own[name], scale, limit)
            layer._end_update(arrays)

    def _pair(self, layers: Any, grads: Any) -> list[tuple[str, Layer, dict[str, Gradient]]]:
        if isinstance(layers, (Layer, Recurrent)):
            layers, grads, prefix = {"": layers}, {"": grads}, ""
        elif isinstance(layers, Mapping):
            prefix = "."
        else:
            raise TypeError(f"layers must be a layer or a mapping of names to layers, got {_checks.kind(layers)}")
        if not isinstance(grads, Mapping) or (unknown := [name for name in grads if name not in layers]):
            raise ValueError(f"grads must have names of layers, got {_checks.kind(grads)}: {unknown or ''}")
        if len({id(layer) for layer in layers.values()}) < len(layers):
            raise ValueError("a layer stands in layers twice: give its gradients as a list instead")
        groups = []
        for name, own in grads.items():
            layer = as_layer(layers[name])
            merged = _merge(own)
            for key, gradient in merged.items():
                shape = layer._param_shapes.get(key)
                if shape is None:
                    raise ValueError(f"{layers[name]!r} has no parameter {key!r}")
                if tuple(gradient.shape) != shape:
                    raise ValueError(f"the gradient of {key} must have shape {shape}, got {tuple(gradient.shape)}")
                state = self._state.get((name + prefix if name else "") + key)
                if state is not None and any(slot.shape != shape for slot in state.values()):
                    raise ValueError(f"the optimizer's state of {key} is of another shape: of another model?")
            groups.append((name + prefix if name else "", layer, merged))
        return groups

    def _step_one(self, name: str, p: Array, gradient: Gradient, scale: float, limit: float) -> None:
        state = self._state.get(name)
        if state is None:
            state = self._state[name] = {slot: np.zeros(p.shape, p.dtype) for slot in self._used_slots()}
        step = self._steps[name] = self._steps.get(name, 0) + 1
        slots = list(state.values())
        if not isinstance(gradient, RowGradient):
            flat = np.ascontiguousarray(gradient, p.dtype).reshape(-1)
            self._dense(p.reshape(-1), flat, [s.reshape(-1) for s in slots], step, scale, limit)
        elif self.lazy or self._rows_only():
            self._touched_rows(p, gradient, slots, step, scale, limit)
        else:
            self._all_rows(p, gradient, slots, step, scale, limit)

    # ---- going on later ------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on from: {"type", "lr", "steps": name -> int, "slots": name -> {slot: array}}. Copies."""
        slots = {name: {slot: array.copy() for slot, array in own.items()} for name, own in self._state.items()}
        return {"type": type(self).__name__, "lr": self.lr, "steps": dict(self._steps), "slots": slots}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of an optimizer of the same class and options."""
        if state["type"] != type(self).__name__:
            raise ValueError(f"the state is of {state['type']}, not of {type(self).__name__}")
        slots = {name: {slot: np.array(array) for slot, array in own.items()} for name, own in state["slots"].items()}
        for name in state["steps"]:
            if tuple(slots.get(name, {})) != self._used_slots():
                raise ValueError(f"the state of {name} is not that of {self!r}")
        self.lr, self._steps, self._state = float(state["lr"]), dict(state["steps"]), {
            name: slots.get(name, {}) for name in state["steps"]
        }  # fmt: skip

    def __repr__(self) -> str:
        options = [f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_")]
        return f"{type(self).__name__}({', '.join(options)})"


class BlockOptimizer(Optimizer):
    """Updates written in NumPy, a block of numbers at a time."""

    @abc.abstractmethod
    def _update(self, p: Array, g: Array, slots: list[Array], a: Array, step: int) -> None:
        """Update p and its state in place; all arrays are of one shape. g and the scratch a may be overwritten."""

    def _dense(self, p: Array, gradient: Array, slots: list[Array], step: int, scale: float, limit: float) -> None:
        g, a = (np.empty(min(_BLOCK, p.size), p.dtype) for _ in range(2))
        for start in range(0, p.size, _BLOCK):
            part = slice(start, start + _BLOCK)
            some = p[part]
            scaled = _prepared(gradient[part], g[: some.size], scale, limit)
            self._update(some, scaled, [s[part] for s in slots], a[: some.size], step)

    def _all_rows(
        self, p: Array, gradient: RowGradient, slots: list[Array], step: int, scale: float, limit: float
    ) -> None:
        """The dense update, block by block, without ever making the dense gradient."""
        count = max(1, _BLOCK // p.shape[1])
        g, a = (np.empty((count, p.shape[1]), p.dtype) for _ in range(2))
        edges = np.searchsorted(gradient.rows, np.arange(0, len(p) + count, count))
        for k, start in enumerate(range(0, len(p), count)):
            part = slice(start, start + count)
            some, own = p[part], slice(edges[k], edges[k + 1])
            rows, values = gradient.rows[own] - start, gradient.values[own]
            values = _prepared(values, np.empty_like(values), scale, limit)
            dense = g[: len(some)]
            dense[...] = 0
            dense[rows] = values
            self._update(some, dense, [s[part] for s in slots], a[: len(some)], step)

    def _touched_rows(
        self, p: Array, gradient: RowGradient, slots: list[Array], step: int, scale: float, limit: float
    ) -> None:
        count = max(1, _BLOCK // p.shape[1])
        g, a = (np.empty((count, p.shape[1]), p.dtype) for _ in range(2))
        for start in range(0, len(gradient.rows), count):
            rows = gradient.rows[start : start + count]
            own = [array.take(rows, axis=0) for array in (p, *slots)]
            scaled = _prepared(gradient.values[start : start + count], g[: len(rows)], scale, limit)
            self._update(own[0], scaled, own[1:], a[: len(rows)], step)
            for array, new in zip((p, *slots), own, strict=True):
                array[rows] = new


def _merge(own: Any) -> dict[str, Gradient]:
    """One mapping of names to gradients out of one or a list of them; None is no gradient."""
    total: dict[str, Gradient] = {}
    for some in own if isinstance(own, (list, tuple)) else [own]:
        if not isinstance(some, Mapping):
            raise TypeError(f"grads must map names to gradients, got {_checks.kind(some)}")
        for name, value in some.items():
            if value is not None:
                gradient = value if isinstance(value, RowGradient) else np.asarray(value)
                total[name] = total[name] + gradient if name in total else gradient
    return total


def _prepared(gradient: Array, out: Array, scale: float, limit: float) -> Array:
    if limit != math.inf:
        gradient = np.clip(gradient, -limit, limit, out=out)
    if scale != 1.0 or gradient is not out:
        np.multiply(gradient, scale, out=out)
    return out
