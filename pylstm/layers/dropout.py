"""Dropout: in training, numbers dropped at random."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._active import ACTIVE, refuse_in_training
from .._arrays import Array, float_array
from .._calls import Calls
from .layer import Backward, Layer, Params, SeedLike, generator, gradient_like, seed_number
from .registry import built_in


@built_in
class Dropout(Layer):
    """In training, zeroes each element with probability p and grows the rest by 1/(1-p) (Srivastava et al. 2014).

    Active in `forward` only; a call gives x itself. x and y: any shape, float32 or float64. Masks follow from the seed,
    the number of calls so far and an element's place: no hidden order of drawing.

    Args:
        p: in 0..1.
        same_for_all_steps: drop a feature of a sequence in all its steps (Gal & Ghahramani 2016).
        seed: the masks follow from it.

    Raises TypeError or ValueError for a wrong argument, naming it.
    """

    _config_names = ("p", "same_for_all_steps")
    steps_apart = True
    _asks = True
    _hands_on_x = True
    p: float
    same_for_all_steps: bool

    def __init__(self, p: float = 0.5, *, same_for_all_steps: bool = False, seed: SeedLike = None) -> None:
        self._configure(p=p, same_for_all_steps=same_for_all_steps)
        self._seed, self._calls = int(generator(seed).integers(0, 2**64, dtype=np.uint64)), 0

    def _configure(self, *, p: float, same_for_all_steps: bool) -> None:
        super().__init__()
        self.p = _checks.probability("p", p)
        self.same_for_all_steps = _checks.flag("same_for_all_steps", same_for_all_steps)
        self._seed, self._calls = 0, 0

    @property
    def _calls(self) -> int:
        """How many masks were drawn from the seed."""
        return self._counter.present

    @_calls.setter
    def _calls(self, number: int) -> None:
        self._counter = Calls(number, bits=64)

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        self._seed, self._calls = seed_number(seed), 0

    _seed_dropout = _reseed

    def _dropout_state(self) -> list[int]:
        return [self._seed, self._calls]

    def _set_dropout_state(self, state: list[int]) -> None:
        self._seed, self._calls = state

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        if (run := ACTIVE.get()) is not None:
            return run.call(self, (x,), {"lengths": lengths})  # type: ignore[no-any-return]
        return float_array("x", x).view()

    def _factors(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """0 or 1/(1-p) for each element."""
        if self.same_for_all_steps and len(shape) >= 2:
            shape = (*shape[:-2], 1, shape[-1])
        call = self._counter.next()  # threads that share a layer must not share a mask
        if self.p >= 1.0:
            return np.zeros(shape, dtype)
        # Philox4x64 (Salmon et al. 2011) is counter-based: the key is the seed, the call number the counter's top word.
        # Raw words, since only those are the same in every version of NumPy.
        bits = np.random.Philox(key=self._seed, counter=np.array([0, 0, 0, call], np.uint64))
        count = math.prod(shape)
        words = np.asarray(bits.random_raw((count + 3) // 4), dtype="<u8").view("<u2")[:count]
        keep = words >= np.uint16(min(round(self.p * 2**16), 2**16 - 1))
        return np.asarray(keep.reshape(shape) * dtype.type(1.0 / (1.0 - self.p)), dtype)

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,  # noqa: ARG002
        need_dx: bool = True,
    ) -> tuple[Array, Backward]:
        if ACTIVE.get() is not None:
            refuse_in_training(self, "forward")
        array = float_array("x", x)
        factors = None if self.p == 0.0 else self._factors(array.shape, array.dtype)
        y = array.view() if factors is None else array * factors
        form = y.shape, y.dtype

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            d = gradient_like(dy, form)
            return (None if not need_dx else d if factors is None else d * factors), {}

        return y, backward

    def _without_dropout(self) -> Layer:
        return Dropout(0.0, seed=0)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state["attributes"]["_calls"] = state["attributes"].pop("_counter").present
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        attributes = dict(state["attributes"])
        self._calls = attributes.pop("_calls")
        super().__setstate__({**state, "attributes": attributes})
