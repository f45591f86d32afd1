"""What an `EncoderDecoder` writes: batches of sources, encoded at once, written symbol by symbol."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..decoding.beams import best_sentences
from ..decoding.drawing import draw_sentences
from ..decoding.sampling import Way
from ..decoding.search import Hypothesis
from ..graph.functions import concatenate
from ..graph.recording import Run
from ..graph.structure import mapped
from ..graph.values import Value
from ..layers.linear import Linear, LinearSteps
from ..training.data import Sequences
from .decoder_parts import recurrent
from .decoder_passes import attended

if TYPE_CHECKING:
    from .encoder_decoder import EncoderDecoder

Step = Callable[..., tuple[Any, ...]]
_FEW = 16  # rows up to which weights that are packed once pay


def written(
    model: EncoderDecoder,
    sources: Sequences,
    batch_size: int,
    search: Callable[..., list[list[Hypothesis]]],
    keep_weights: bool,
) -> list[list[Hypothesis]]:
    """For each source what the search finds, in their order; with the weights of the source's steps as its trace."""
    found: list[Any] = [None] * len(sources)
    lengths = np.zeros(0, np.int64) if sources.lengths is None else sources.lengths
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        of_rows = _batch(model, rows, *sources.batch(rows), search, keep_weights)
        for row, some in zip(rows, of_rows, strict=True):
            found[row] = some
    return found


def _batch(
    model: EncoderDecoder,
    numbers: NDArray[np.intp],
    array: Any,
    lengths: Any,
    search: Callable[..., list[list[Hypothesis]]],
    keep_weights: bool,
) -> list[list[Hypothesis]]:
    run = Run(recording=False)

    def begin() -> Any:
        source = run.constant(array, "sources") if array.dtype.kind == "f" else array
        return model.begun(source, lengths)

    states, memory = mapped(lambda one: one.numpy() if isinstance(one, Value) else one, run.within(begin))
    count = len(array)
    for i, layer in enumerate(recurrent(model.decoder)):
        if states[i] is None:
            none = tuple(np.zeros((layer.num_layers, count, size), model.dtype) for size in layer._state_sizes)
            states[i] = none if len(none) > 1 else none[0]
    state: dict[str, Any] = {"states": list(states)}
    axis: dict[str, Any] = {"states": 1}
    if model.input_feeding:
        state["fed"], axis["fed"] = np.zeros((count, model.parts.width), model.dtype), 0
    shared = {"memory": memory} if memory is not None else None
    found = search(
        decoder_step(model, keep_weights), state, model.begin, model.end, axis=axis, shared=shared, numbers=numbers,
        never=None if model.begin == model.end else model.begin,
    )  # fmt: skip
    if not keep_weights:
        return found
    counts = memory[2]  # of what the encoder gives, which may be fewer steps than the source has
    return [[_in_order(model, one, count) for one in some] for some, count in zip(found, counts, strict=True)]


def _in_order(model: EncoderDecoder, one: Hypothesis, length: int) -> Hypothesis:
    """With the weights of its own symbols and steps alone, in the order in which the source was given."""
    weights = one.trace[: len(one.symbols), :length]
    return one._replace(trace=np.ascontiguousarray(weights[:, ::-1] if model.reverse_source else weights))


def decoder_step(model: EncoderDecoder, keep_weights: bool = False) -> Step:
    """A step function for `beam_search`: of state {"states", "fed"} and what sentences share, {"memory"}."""
    parts = model.parts
    direct = parts.embedding._gives_table_rows() and parts.middle[0]._takes_table_rows()  # as written here, both
    direct = direct and len(parts.before) == 1 and not model.input_feeding
    last = _quick(parts.head) if parts.head is not None else parts.logits

    def step(symbols: NDArray[np.int64], state: dict[str, Any], shared: Any = None) -> tuple[Any, ...]:
        given: Any = symbols[:, None]
        if direct:
            x: Any = parts.embedding.table_rows(given)
        else:
            x = given
            for layer in parts.before:
                x = layer(x)
        if model.input_feeding:
            x = concatenate([x, state["fed"][:, None]], axis=-1)
        states: list[Any] = []
        for layer in parts.middle:
            if layer.returns_state:
                x, after = layer(x, state["states"][len(states)])
                states.append(after)
            else:
                x = layer(x)
        new: dict[str, Any] = {"states": states}
        y = x[:, 0]
        weights = None
        if shared is not None:  # the rows of a sentence are queries to the keys of that sentence
            count = len(shared["memory"][0])
            vectors, weights = attended(model, y.reshape(count, -1, y.shape[-1]), shared["memory"])
            y, weights = vectors.reshape(len(symbols), -1), weights.reshape(len(symbols), -1)
        if model.input_feeding:
            new["fed"] = y
        for layer in parts.after:
            y = layer(y)
        return (last(y), new, weights) if keep_weights else (last(y), new)

    return step


def _quick(layer: Linear) -> Callable[[Any], Any]:
    """The layer's call; of a few rows with its packed weights, which gives the same bits."""
    if not layer._runs({"__call__": Linear.__call__}):
        return layer
    packed = LinearSteps(layer, None)
    return lambda x: packed.step(x) if len(x) <= _FEW else layer(x)


def by_beam(size: int, max_length: int, length_penalty: float, n_best: int) -> Callable[..., list[list[Hypothesis]]]:
    def search(step: Step, state: Any, begin: int, end: int, **options: Any) -> list[list[Hypothesis]]:
        return best_sentences(step, state, begin, end, size, max_length, length_penalty, n_best, **options)

    return search


def by_chance(
    way: Way, rng: np.random.Generator, max_length: int, length_penalty: float, count: int
) -> Callable[..., list[list[Hypothesis]]]:
    def search(step: Step, state: Any, begin: int, end: int, **options: Any) -> list[list[Hypothesis]]:
        return draw_sentences(
            step, state, begin, end, count, max_length, way, rng, length_penalty=length_penalty, **options
        )

    return search
