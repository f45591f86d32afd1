"""What all optimizers share: pairing layers with gradients, clipping, blocks, rows of tables, going on later."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .. import _checks
from .._arrays import Array, number_array
from .._interrupts import Uninterrupted
from ..layers.containers import refuse_shared
from ..layers.layer import Gradient, Layer
from ..layers.row_gradient import RowGradient
from .gradients import all_finite, norm_scale
from .gradients import clip_value as clipped

_SMALLEST_MAX = float(np.finfo(np.float32).max)

# An update of one parameter: up to its one `yield` it takes the memory it needs, behind it it writes.
Update = Iterator[None]
Group = tuple[str, Layer, dict[str, Gradient]]  # what stands before its names, a layer, its gradients


class Moving(NamedTuple):
    """A parameter in an update, with all in C order and of one shape.

    Attributes:
        name: the parameter's, behind its layer's.
        new: the array to fill.
        old: the values so far; `new` itself where the update is in place.
        slots: the state, which moves in place.
    """

    name: str
    new: Array
    old: Array
    slots: list[Array]

    def reshaped(self, *shape: int) -> Moving:
        new = self.new.reshape(shape)
        old = new if self.old is self.new else self.old.reshape(shape)
        return Moving(self.name, new, old, [slot.reshape(shape) for slot in self.slots])

    def block(self, part: slice) -> tuple[Array, list[Array]]:
        """Some of the parameter, with its values so far, to be moved in place; and of its state."""
        some = self.new[part]
        if self.old is not self.new:
            some[...] = self.old[part]
        return some, [slot[part] for slot in self.slots]


class Optimizer(abc.ABC):
    """Base of the optimizers: the updates of PyTorch's of the same names, with its defaults.

    State is kept per parameter, by name, in the optimizer: a second training with the same object goes on.

    Tables with row gradients (`Embedding`, and the last layer with `SampledSoftmax`): SGD without momentum and Adagrad
    touch the rows that a batch names, which is the whole update. With momentum (SGD, RMSprop, Adam, AdamW), rows not
    named move on, too, as with the dense gradient. `lazy=True` leaves rows that a batch does not name exactly as they
    are, state and weight decay included (as torch.optim.SparseAdam): another algorithm, and a faster one for large
    vocabularies.

    Attributes:
        lr: the learning rate. It may be changed between steps.

    In a training loop of one's own::

        optimizer = Adam(1e-3)
        optimizer.step(layer, dparams)                                   one layer, what its backward returned
        optimizer.step({"embed": embed, "lstm": lstm}, {"embed": d, "lstm": grads.params}, clip_norm=1.0)
    """

    _slots: ClassVar[tuple[str, ...]] = ()

    def __init__(self, lr: float, *, weight_decay: float = 0.0, lazy: bool = False) -> None:
        self.lr = _checks.non_negative("lr", lr)
        self.weight_decay = _checks.non_negative("weight_decay", weight_decay)
        self.lazy = _checks.flag("lazy", lazy)
        self._state: dict[str, dict[str, Array]] = {}
        self._steps: dict[str, int] = {}
        self._updates = 0  # steps of this object that were taken

    @abc.abstractmethod
    def _dense(self, p: Moving, gradient: Array, step: int, scale: float, limit: float) -> Update:
        """Update p and its state with a gradient cut to +-limit and then scaled; all are flat, of one size."""

    @abc.abstractmethod
    def _all_rows(self, p: Moving, gradient: RowGradient, step: int, scale: float, limit: float) -> Update:
        """The same for a table: rows that the gradient does not name have a gradient of zero."""

    @abc.abstractmethod
    def _touched_rows(self, p: Moving, gradient: RowGradient, step: int, scale: float, limit: float) -> Update:
        """The same, rows that the gradient does not name left as they are."""

    def _rows_only(self) -> bool:
        """Whether rows with a zero gradient stay as they are anyway."""
        return False

    def _used_slots(self) -> tuple[str, ...]:
        return self._slots

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What was pickled; its arrays may lie in a file (joblib's `mmap_mode`), which training must not write to."""
        vars(self).update(state)
        self._state = {
            name: {slot: array if array.base is None and array.flags.writeable else np.array(array)
                   for slot, array in slots.items()}
            for name, slots in self._state.items()
        }  # fmt: skip

    # ---- steps ---------------------------------------------------------------------------------------------------

    def step(
        self,
        layers: Layer | Mapping[str, Layer],
        grads: Any,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        """Update the layers' parameters: all of them, or none.

        Args:
            layers: a layer or model, or a mapping of names to layers.
            grads: what backward gave for it (name -> gradient), or a mapping of the same names to such; a list of
                several is added up. Parameters without one stay, and so do those of frozen layers (`trainable`).
            clip_norm: scale all gradients so that their global norm is at most this (Pascanu et al. 2013).
            clip_value: cut every number of the gradients to -clip_value..clip_value (before the norm is taken).

        Raises:
            TypeError: what does not fit, by its kind.
            ValueError: what does not fit, by its value.
            FloatingPointError: a gradient is not finite (with clip_value, too).
            MemoryError: there is no room for the state.

        Nothing has been changed then. A Ctrl-C waits until the step is done.
        """
        lr = _checks.non_negative("lr", self.lr)
        limit = math.inf if clip_value is None else _checks.positive("clip_value", clip_value)
        if clip_norm is not None:
            clip_norm = _checks.positive("clip_norm", clip_norm)
        groups = self._pair(layers, grads)
        if lr > _SMALLEST_MAX and any(lr > float(np.finfo(layer.dtype).max) for _, layer, _ in groups):
            raise ValueError(f"lr must be a number that the layers' dtype can hold, got {lr}")
        scale = self._scale([own for _, _, own in groups], clip_norm, clip_value)
        updates: list[Update] = []
        states, steps, begun = dict(self._state), dict(self._steps), list[tuple[Layer, dict[str, Array]]]()
        for prefix, layer, own in groups:
            arrays = layer._begin_update(list(own))
            begun.append((layer, {name: new for name, (new, _) in arrays.items()}))
            for name, (new, old) in arrays.items():
                key = prefix + name
                if key not in states:
                    states[key] = {slot: np.zeros(new.shape, new.dtype) for slot in self._used_slots()}
                steps[key] = steps.get(key, 0) + 1
                p = Moving(key, new, old, list(states[key].values()))
                gradient = _as_dtype(name, own[name], new.dtype)
                updates.append(self._update_of(p, gradient, steps[key], scale, limit))
        for update in updates:
            next(update)
        with Uninterrupted():  # all or nothing from here on
            for update in updates:
                next(update, None)
            for layer, filled in begun:
                layer._end_update(filled)
            self._state, self._steps = states, steps
            self._updates += 1

    def _scale(self, grads: list[dict[str, Gradient]], clip_norm: float | None, clip_value: float | None) -> float:
        """What to multiply the gradients by, which are seen to be finite."""
        scale, seen = 1.0, False
        if clip_norm is not None:
            scale = norm_scale(grads if clip_value is None else clipped(grads, clip_value), clip_norm)
            seen = clip_value is None and not math.isnan(scale)  # a cut hides infinities
        if not seen:
            with np.errstate(over="ignore", invalid="ignore"):
                for own in grads:
                    for name, gradient in own.items():
                        if not all_finite(_numbers(gradient)):
                            raise FloatingPointError(f"the gradient of {name} is not finite: nothing was updated")
        return scale

    def _pair(self, layers: Any, grads: Any) -> list[Group]:
        if isinstance(layers, Layer):
            layers, grads, dot = {"": layers}, {"": grads}, ""
        elif isinstance(layers, Mapping):
            dot = "."
        else:
            raise TypeError(f"layers must be a layer or a mapping of names to layers, got {_checks.kind(layers)}")
        if not isinstance(grads, Mapping):
            raise TypeError(f"grads must map names of layers to their gradients, got {_checks.kind(grads)}")
        if unknown := [str(name) for name in grads if name not in layers]:
            raise ValueError(
                f"grads must have names of layers, {', '.join(map(str, layers))}, got {', '.join(unknown)}"
            )
        for name, layer in layers.items():
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{name!r}] must be a layer, got {_checks.kind(layer)}")
        if len({id(layer) for layer in layers.values()}) < len(layers):
            raise ValueError("a layer stands in layers twice: give its gradients as a list instead")
        if len(layers) > 1:  # inside of one it has been seen already
            refuse_shared((f"layers[{name!r}]", layer) for name, layer in layers.items())
        groups: list[Group] = []
        keys: set[str] = set()
        slots = self._used_slots()
        for name, own in grads.items():
            layer, prefix = layers[name], f"{name}{dot}" if name else ""
            merged = _merge(layer, layer._param_shapes, own)
            if len(trained := layer._trained_shapes()) < len(layer._param_shapes):
                merged = {key: gradient for key, gradient in merged.items() if key in trained}
            dtypes = layer._param_dtypes()
            for key, gradient in merged.items():
                self._check_state(prefix + key, gradient.shape, dtypes[key], slots)
                if prefix + key in keys:
                    raise ValueError(f"two parameters would have the name {prefix + key}: name the layers differently")
                keys.add(prefix + key)
            groups.append((prefix, layer, merged))
        return groups

    def _check_state(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], slots: tuple[str, ...]) -> None:
        state = self._state.get(name)
        if state is None:
            return
        if tuple(state) != slots:
            raise ValueError(f"the optimizer's state of {name} is not that of {self!r}")
        for slot in state.values():
            if slot.shape != shape or slot.dtype != dtype:
                raise ValueError(
                    f"the optimizer's state of {name} is of another shape or dtype, {slot.shape} of {slot.dtype}, not "
                    f"{tuple(shape)} of {dtype}: of another model?"
                )

    def _update_of(self, p: Moving, gradient: Gradient, step: int, scale: float, limit: float) -> Update:
        if not isinstance(gradient, RowGradient):
            return self._dense(p.reshaped(-1), gradient.reshape(-1), step, scale, limit)
        few = self.lazy or self._rows_only()
        if p.new.ndim == 1:  # a vector has rows of one number, which one by one take longer than all of them
            if not few:
                return self._dense(p, gradient.dense(), step, scale, limit)
            gradient = RowGradient(gradient.rows, gradient.values[:, None], (len(p.new), 1))
            p = p.reshaped(-1, 1)
        if few:
            return self._touched_rows(p, gradient, step, scale, limit)
        return self._all_rows(p, gradient, step, scale, limit)

    # ---- going on later ------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on from, as copies.

        Returns:
            A dict with the keys type, lr, steps (name -> int) and slots (name -> slot -> array).
        """
        slots = {name: {slot: array.copy() for slot, array in own.items()} for name, own in self._state.items()}
        return {"type": type(self).__name__, "lr": self.lr, "steps": dict(self._steps), "slots": slots}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of an optimizer of the same class and options.

        Raises TypeError and ValueError for anything else; nothing has changed then.
        """
        self.lr, self._steps, self._state = self._checked_state(state)

    def _checked_state(self, state: Any) -> tuple[float, dict[str, int], dict[str, dict[str, Array]]]:
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a mapping that state_dict() returned, got {_checks.kind(state)}")
        if missing := [name for name in ("type", "lr", "steps", "slots") if name not in state]:
            raise ValueError(f"the state of the optimizer is malformed: it lacks {', '.join(missing)}")
        if state["type"] != type(self).__name__:
            raise ValueError(f"the state is of {state['type']}, not of {type(self).__name__}")
        for name in ("steps", "slots"):
            if not isinstance(state[name], Mapping):
                raise TypeError(f"{name} of the state must be a mapping of names, got {_checks.kind(state[name])}")
        lr = _checks.non_negative("lr of the state", state["lr"])
        steps = {
            str(n): _checks.integer(f"steps of {n} in the state", count, maximum=2**63)
            for n, count in state["steps"].items()
        }
        slots: dict[str, dict[str, Array]] = {}
        for name in state["steps"]:
            own = state["slots"].get(name, {})
            if not isinstance(own, Mapping) or tuple(own) != self._used_slots():
                raise ValueError(f"the state of {name} is not that of {self!r}")
            slots[name] = {
                slot: np.array(number_array(f"{slot} of {name} in the state", array)) for slot, array in own.items()
            }
            if any(array.dtype.char not in "fd" for array in slots[name].values()):
                raise TypeError(f"the state of {name} must hold float32 or float64")
        return lr, steps, slots

    def __repr__(self) -> str:
        options = [f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_")]
        return f"{type(self).__name__}({', '.join(options)})"


def _merge(layer: Layer, shapes: Mapping[str, tuple[int, ...]], own: Any) -> dict[str, Gradient]:
    """One mapping of names to gradients out of one or a list of them; None is no gradient."""
    total: dict[str, Gradient] = {}
    for some in own if isinstance(own, (list, tuple)) else [own]:
        if not isinstance(some, Mapping):
            raise TypeError(f"grads must map names to gradients, got {_checks.kind(some)}")
        for name, value in some.items():
            if name not in shapes:
                raise ValueError(f"{layer!r} has no parameter {name!r}")
            if value is None:
                continue
            if isinstance(value, RowGradient):
                gradient: Gradient = _checked_rows(name, value)
            else:
                gradient = number_array(f"the gradient of {name}", value)
            if gradient.shape != shapes[name]:
                raise ValueError(f"the gradient of {name} must have shape {shapes[name]}, got {tuple(gradient.shape)}")
            total[name] = total[name] + gradient if name in total else gradient
    return total


def _checked_rows(name: str, gradient: RowGradient) -> RowGradient:
    rows: Any = gradient.rows
    values, shape = number_array(f"the gradient of {name}", gradient.values), gradient.shape
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "iu" or rows.ndim != 1:
        raise TypeError(f"the rows of the gradient of {name} must be an array of integers (K,)")
    if values.shape != (len(rows), *gradient.shape[1:]):
        raise ValueError(
            f"the gradient of {name} must hold values {(len(rows), *gradient.shape[1:])}, got {values.shape}"
        )
    if len(rows) and (rows[0] < 0 or rows[-1] >= gradient.shape[0] or not (rows[1:] > rows[:-1]).all()):
        raise ValueError(f"the rows of the gradient of {name} must be rows of the table, ascending, each once")
    return RowGradient(rows, values, shape)


def _numbers(gradient: Gradient) -> Array:
    return gradient.values if isinstance(gradient, RowGradient) else gradient


def _as_dtype(name: str, gradient: Gradient, dtype: np.dtype[Any]) -> Gradient:
    """The gradient, C-contiguous and of the parameter's dtype, which has to be wide enough for it."""
    numbers = _numbers(gradient)
    if numbers.dtype == dtype and numbers.flags.c_contiguous and isinstance(gradient, np.ndarray):
        return gradient
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(numbers, dtype).reshape(numbers.shape)
        if numbers.dtype != dtype and not all_finite(array):
            raise FloatingPointError(f"the gradient of {name} is not finite in {dtype}: nothing was updated")
    if not isinstance(gradient, RowGradient):
        return array
    return RowGradient(np.ascontiguousarray(gradient.rows, np.int64), array, gradient.shape)
