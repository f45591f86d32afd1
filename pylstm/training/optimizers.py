"""Optimizers: the updates of PyTorch's of the same names, with its defaults. What they share says `Optimizer`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import _checks, _core
from .._arrays import Array
from ..layers.row_gradient import RowGradient
from .block_optimizer import BlockOptimizer
from .optimizer import Moving, Optimizer, Update


@functools.cache
def _least_eps(dtype: np.dtype[Any]) -> float:
    """What an eps is at least: with 0, a gradient of 0, or one whose square vanishes, would be divided by nothing."""
    return math.sqrt(float(np.finfo(dtype).tiny))


class SGD(BlockOptimizer):
    """Gradient descent, as torch.optim.SGD: p -= lr g.

    With momentum b = momentum b + g; p -= lr b, with nesterov p -= lr (g + momentum b).

    Args:
        lr: the learning rate, from 0.
        momentum: the share of the last step that is taken again.
        nesterov: look ahead by the momentum (Nesterov 1983); needs a momentum.
        weight_decay: weight_decay·p is added to g.
        lazy: leave rows of a table that a batch does not name as they are; see `Optimizer`.
    """

    _slots = ("momentum",)

    def __init__(
        self,
        lr: float = 1e-3,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        lazy: bool = False,
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, lazy=lazy)
        self.momentum = _checks.non_negative("momentum", momentum)
        self.nesterov = _checks.flag("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")

    def _used_slots(self) -> tuple[str, ...]:
        return self._slots if self.momentum else ()

    def _rows_only(self) -> bool:
        return self.momentum == 0.0 and self.weight_decay == 0.0

    def _update(self, p: Array, g: Array, slots: list[Array], a: Array, step: int) -> None:  # noqa: ARG002
        if self.weight_decay:
            g += np.multiply(p, self.weight_decay, out=a)
        if self.momentum:
            (b,) = slots
            b *= self.momentum
            b += g
            if self.nesterov:
                g += np.multiply(b, self.momentum, out=a)
            else:
                g = b
        p -= np.multiply(g, self.lr, out=a)


class Adagrad(BlockOptimizer):
    """Steps that become smaller where gradients were large (Duchi et al. 2011), as torch.optim.Adagrad.

    s += g²; p -= lr g / (sqrt(s) + eps)

    Args:
        lr: the learning rate, from 0.
        lr_decay: lr becomes lr / (1 + steps·lr_decay).
        eps: added to the root. Less than 1e-19 in float32 and 1e-154 in float64 counts as that much.
        weight_decay: weight_decay·p is added to g.
        lazy: leave rows of a table that a batch does not name as they are; see `Optimizer`.
    """

    _slots = ("sum",)

    def __init__(
        self, lr: float = 1e-2, *, lr_decay: float = 0.0, eps: float = 1e-10, weight_decay: float = 0.0,
        lazy: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(lr, weight_decay=weight_decay, lazy=lazy)
        self.lr_decay, self.eps = _checks.non_negative("lr_decay", lr_decay), _checks.non_negative("eps", eps)

    def _rows_only(self) -> bool:
        return self.weight_decay == 0.0

    def _update(self, p: Array, g: Array, slots: list[Array], a: Array, step: int) -> None:
        if self.weight_decay:
            g += np.multiply(p, self.weight_decay, out=a)
        (s,) = slots
        s += np.multiply(g, g, out=a)
        np.sqrt(s, out=a)
        a += max(self.eps, _least_eps(p.dtype))
        g /= a
        g *= self.lr / (1 + (step - 1) * self.lr_decay)
        p -= g


class RMSprop(BlockOptimizer):
    """Steps divided by a running mean of the gradient's size (Hinton 2012), as torch.optim.RMSprop.

    v = alpha v + (1-alpha) g²; p -= lr g / (sqrt(v) + eps)

    Args:
        lr: the learning rate, from 0.
        alpha: how slowly v changes, in 0..1.
        eps: added to the root. Less than 1e-19 in float32 and 1e-154 in float64 counts as that much.
        momentum: the share of the last step that is taken again.
        weight_decay: weight_decay·p is added to g.
        lazy: leave rows of a table that a batch does not name as they are; see `Optimizer`.
    """

    _slots = ("square", "momentum")

    def __init__(
        self, lr: float = 1e-2, alpha: float = 0.99, *, eps: float = 1e-8, momentum: float = 0.0,
        weight_decay: float = 0.0, lazy: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(lr, weight_decay=weight_decay, lazy=lazy)
        self.alpha, self.eps = _checks.probability("alpha", alpha), _checks.non_negative("eps", eps)
        self.momentum = _checks.non_negative("momentum", momentum)

    def _used_slots(self) -> tuple[str, ...]:
        return self._slots if self.momentum else self._slots[:1]

    def _update(self, p: Array, g: Array, slots: list[Array], a: Array, step: int) -> None:  # noqa: ARG002
        if self.weight_decay:
            g += np.multiply(p, self.weight_decay, out=a)
        v = slots[0]
        v *= self.alpha
        np.multiply(g, g, out=a)
        a *= 1 - self.alpha
        v += a
        np.sqrt(v, out=a)
        a += max(self.eps, _least_eps(p.dtype))
        g /= a
        if self.momentum:
            b = slots[1]
            b *= self.momentum
            b += g
            g = b
        p -= np.multiply(g, self.lr, out=a)


def _adam_factors(
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
    scale: float = 1.0,
    limit: float = math.inf,
) -> tuple[float, ...]:
    """What step number `step` (from 1) multiplies with, in the order in which the core takes them.

    The textbook's quotient lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps), multiplied through by sqrt(1-b2^t), is
    m / (sqrt(v) + eps') rate: the corrections of the bias are two numbers a step.
    """
    b1, b2 = betas
    root = math.sqrt(1 - b2**step)
    shrink, decay = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    return (scale, limit, shrink, decay, b1, 1 - b1, b2, math.sqrt(1 - b2), eps * root, lr * root / (1 - b1**step))


class Adam(Optimizer):
    """Kingma & Ba 2015, as torch.optim.Adam.

    With t the number of steps::

        m = b1 m + (1-b1) g
        v = b2 v + (1-b2) g²
        p -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)

    Args:
        lr: the learning rate, from 0.
        betas: (b1, b2), how slowly m and v change, each in 0..1.
        eps: added to the root. Less than 1e-19 in float32 and 1e-154 in float64 counts as that much.
        weight_decay: weight_decay·p is added to g: see `AdamW` for the better way.
        lazy: leave rows of a table that a batch does not name as they are; see `Optimizer`.
    """

    _slots = ("mean", "square")
    _decoupled: ClassVar[bool] = False

    def __init__(
        self, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), *, eps: float = 1e-8,
        weight_decay: float = 0.0, lazy: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(lr, weight_decay=weight_decay, lazy=lazy)
        given: Any = betas
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise TypeError(f"betas must be two numbers, e.g. (0.9, 0.999), got {given!r}")
        b1, b2 = (_checks.probability("betas", beta) for beta in given)
        if 1.0 in (b1, b2):
            raise ValueError(f"betas must be below 1, got {betas}")
        self.betas, self.eps = (b1, b2), _checks.non_negative("eps", eps)
        self._known: tuple[Any, tuple[float, ...]] = None, ()
        self._live: dict[str, tuple[list[Array], NDArray[np.uint8]]] = {}  # the state that it was made of, and it

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_live": {}}  # which names arrays of the state again

    def _factors(self, dtype: np.dtype[Any], step: int, scale: float, limit: float) -> tuple[float, ...]:
        # the same for all parameters of a step, as a rule: working them out for each took 5 of a small LSTM's 54 us
        key = self.lr, self.betas, self.eps, self.weight_decay, dtype, step, scale, limit
        if key != self._known[0]:
            found = _adam_factors(self.lr, self.betas, self.eps, self.weight_decay, self._decoupled, step, scale, limit)
            self._known = key, (*found[:-2], max(found[-2], _least_eps(dtype)), found[-1])
        return self._known[1]

    def _dense(self, p: Moving, gradient: Array, step: int, scale: float, limit: float) -> Update:
        factors = self._factors(p.new.dtype, step, scale, limit)
        yield
        mean, square = p.slots
        self._live.pop(p.name, None)
        _core.adam(p.new, p.old, mean, square, gradient, None, None, False, factors, None)

    def _all_rows(self, p: Moving, gradient: RowGradient, step: int, scale: float, limit: float) -> Update:
        factors = self._factors(p.new.dtype, step, scale, limit)
        live = None if self.lazy or self.weight_decay else self._live_rows(p)
        yield
        mean, square = p.slots
        self._live.pop(p.name, None)
        if live is not None:
            self._live[p.name] = p.slots, live
        _core.adam(p.new, p.old, mean, square, gradient.values, gradient.rows, live, self.lazy, factors, None)

    def _live_rows(self, p: Moving) -> NDArray[np.uint8]:
        """Rows of a table whose state may be other than zero. The others need no update, and are words that no batch
        has held yet: 0.46 of the time for 8 batches of 14,322 words in Zipf's distribution."""
        slots, live = self._live.get(p.name, ((), None))
        if live is None or any(a is not b for a, b in zip(slots, p.slots, strict=True)):
            live = np.logical_or.reduce([slot.any(axis=1) for slot in p.slots]).view(np.uint8)
        return live

    _touched_rows = _all_rows


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), as torch.optim.AdamW.

    Before each step of `Adam` p -= lr·weight_decay·p.

    Args:
        lr: the learning rate, from 0.
        betas: as of Adam.
        eps: as of Adam.
        weight_decay: the share of p that goes in a step, times lr.
        lazy: leave rows of a table that a batch does not name as they are; see `Optimizer`.
    """

    _decoupled = True

    def __init__(
        self, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), *, eps: float = 1e-8,
        weight_decay: float = 1e-2, lazy: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(lr, betas, eps=eps, weight_decay=weight_decay, lazy=lazy)


BY_NAME: dict[str, Callable[[], Optimizer]] = {
    "sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "adagrad": Adagrad,
}  # fmt: skip


def as_optimizer(optimizer: object) -> Optimizer:
    """What fit was given, or a new one of that name with its defaults. Raises TypeError or ValueError."""
    if isinstance(optimizer, str):
        name = optimizer.lower() if optimizer.lower() in BY_NAME else optimizer  # "Adam", as the class is called
        return BY_NAME[_checks.choice("optimizer", name, tuple(BY_NAME))]()
    if not isinstance(optimizer, Optimizer):
        call = ": call it" if isinstance(optimizer, type) and issubclass(optimizer, Optimizer) else ""
        raise TypeError(
            f"optimizer must be an optimizer, e.g. pylstm.Adam(1e-3), or a name, e.g. 'adam', got "
            f"{_checks.kind(optimizer)}{call}"
        )
    return optimizer
