"""Streaming through a whole chain: one step at a time, the states of its layers kept between calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks
from .._active import ACTIVE
from .._arrays import Array
from ..decoding.sampling import drawn, generator, way_of
from ..layers.activation import Activation
from ..layers.containers import Container
from ..layers.layer import Layer
from ..layers.stream import Exclusive
from .predictions import ACTIVATIONS, activated

if TYPE_CHECKING:
    from .sequential import Sequential


_IN_A_RUN = "a stream inside of a model's run would compute apart from it: call the model's layers"


class ModelStream:
    """The states of `batch_size` sequences that arrive at a chain step by step; any number of streams share it.

    Made by `model.stream(batch_size)`; starts at zero. Steps and chunks give what one whole call of the model gives.
    After a change of the model's parameters the next step uses the new ones and the old states. Streams can be copied
    (`copy.copy`) and pickled with their states.

    A stream is for one thread at a time: whatever a second one asks of it meanwhile raises RuntimeError. So does
    everything after a step that failed between two layers, and in a child that was forked in the middle of one, until
    `reset` is called or `state` is set: some layers have made the step and others have not.

    Attributes:
        batch_size: N, the number of sequences.

    >>> model = Sequential([Embedding(50, 8), LSTM(8, 16, batch_first=True), Linear(16, 50)], seed=0)
    >>> stream = model.stream()
    >>> logits = stream.step(7)                                       # a symbol in, (50,) out
    >>> symbol = int(stream.step(int(logits.argmax()), activation="softmax").argmax())
    """

    def __init__(self, model: Sequential, batch_size: int, num_threads: int | None) -> None:
        self._model, self.batch_size, self._num_threads = model, batch_size, num_threads
        self._steps = model._steps(batch_size, num_threads)
        self._exclusive = Exclusive()
        last: Layer = model
        while isinstance(last, Container) and getattr(last, "_is_chain", False):
            last = last.layers[-1]
        self._gives_probabilities = isinstance(last, Activation) and last.function == "softmax"

    def step(self, x: ArrayLike, *, activation: str | None = None) -> Array:
        """One step of every sequence.

        Args:
            x: (N,) integers for an embedding, else (N, F); without N for one sequence. Converted as in a call.
            activation: of the output, as `predict` has it: "softmax" for probabilities.

        Returns:
            The output (N, ..), or without N as x.

        Raises TypeError, ValueError or IndexError for a wrong x, as the layers do, and RuntimeError as the class says.
        """
        return self._moved(self._steps.step, x, activation)

    def draw(
        self,
        x: ArrayLike,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        rng: np.random.Generator | None = None,
    ) -> Any:
        """One step of every sequence, and from its outputs, logits, a symbol for each: what the next step takes.

        Args:
            x: as in `step`.
            temperature: as `sample` has it, as the others; 0 takes the most likely symbol.
            top_k: at most so many symbols.
            top_p: the probability that is enough.
            rng: a `numpy.random.Generator`, or None. A seed would draw the same number at each step.

        Returns:
            int64 (N,), or an int where the output has no N.

        Raises as `step` and `sample` do. Arguments are looked at before the step. Where the model's outputs give no
        probabilities (NaN, say), the step has been made.

        >>> model = Sequential([Embedding(50, 8), LSTM(8, 16, batch_first=True), Linear(16, 50)], seed=0)
        >>> stream, rng, symbol = model.stream(), np.random.default_rng(0), 7
        >>> text = [symbol := stream.draw(symbol, temperature=0.8, rng=rng) for _ in range(20)]
        """
        way = way_of(temperature, top_k, top_p)
        if rng is not None and not isinstance(rng, np.random.Generator):
            raise TypeError(
                f"rng must be a numpy.random.Generator or None, got {_checks.kind(rng)}: a seed would draw the same "
                "number at every step, so make one generator before them, rng = np.random.default_rng(seed)"
            )
        if self._gives_probabilities:
            raise TypeError("draw takes the outputs for logits, and the model's last layer makes probabilities of them")
        return drawn(self._moved(self._steps.step, x, None), way, generator(rng), "the outputs")

    def __call__(self, x: ArrayLike, *, activation: str | None = None) -> Array:
        """A chunk of steps.

        Args:
            x: (N, T) integers or (N, T, F); without N for one sequence. Converted as in a call.
            activation: as in `step`.

        Returns:
            The output of every step, (N, T, ..), or without N as x.

        Raises as `step` does.
        """
        return self._moved(self._steps, x, activation)

    @property
    def state(self) -> list[Any]:
        """Copies of the states, one per layer. A recurrent layer's is as its `Stream.state`, that of layers in a layer
        a list of theirs, and of others it is None. Assign such a list to set them."""
        with self._held():
            return self._steps.state

    @state.setter
    def state(self, value: list[Any]) -> None:
        with self._held(anew=True) as held:
            self._steps.check_state("state", value)
            before, held.torn = None if held.torn else self._steps.state, True
            try:
                self._steps.state = value
            except Exception:
                if before is not None:
                    self._steps.state, held.torn = before, False
                raise

    def reset(self) -> None:
        """Return to states of zeros."""
        with self._held(anew=True) as held:
            held.torn = True
            self._steps.reset()

    def is_finite(self) -> NDArray[np.bool_]:
        """Whether the states of each sequence hold neither NaN nor infinity: bool, (N,)."""
        with self._held():
            return np.broadcast_to(self._steps.is_finite(), self.batch_size).copy()

    # ---- one thread at a time, and whole steps -----------------------------------------------------------------------

    def _moved(self, move: Callable[[Any], Any], x: ArrayLike, activation: str | None) -> Array:
        if activation is not None:
            _checks.choice("activation", activation, ACTIVATIONS)
        if ACTIVE.get() is not None:
            raise TypeError(_IN_A_RUN)
        held, steps = self._exclusive, self._steps
        held.take()
        try:
            held.torn = True
            try:
                y = np.asarray(move(x))
            except BaseException:
                held.torn = steps.moved
                raise
            finally:
                steps.moved = False
            held.torn = False
        finally:
            held.give()
        return activated(activation, y)

    @contextmanager
    def _held(self, anew: bool = False) -> Iterator[Exclusive]:
        if ACTIVE.get() is not None:
            raise TypeError(_IN_A_RUN)
        with self._exclusive.held(anew):
            yield self._exclusive

    def __reduce__(self) -> tuple[Any, ...]:
        return ModelStream, (self._model, self.batch_size, self._num_threads), self.state

    def __setstate__(self, state: list[Any]) -> None:
        self._steps.state = state
