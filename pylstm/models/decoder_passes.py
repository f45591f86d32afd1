"""A decoder over its targets: all steps at once, or one after another where each needs what the one before wrote.

Everything here is written once, for a model's run and for plain arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._active import ACTIVE
from ..decoding.sampling import sample
from ..graph.functions import concatenate, stack, tanh
from ..graph.values import Value

if TYPE_CHECKING:
    from .encoder_decoder import EncoderDecoder


class Coins(NamedTuple):
    """Of scheduled sampling: how likely a step reads what was written, and who decides."""

    probability: float
    rng: np.random.Generator


def encoded(model: EncoderDecoder, source: Any, lengths: Any) -> tuple[Any, list[Any]]:
    """The encoder's outputs, and the final states of its recurrent layers."""
    if not isinstance(source, Value):
        source = np.asanyarray(source)
        if source.ndim > 1 and source.shape[1] == 0:  # all sources are empty
            source = np.zeros((len(source), 1, *source.shape[2:]), source.dtype)
            lengths = np.zeros(len(source), np.int64)
    if model.reverse_source:
        source = _reversed(source, lengths)
    x, states = source, []
    for layer in model.encoder:
        if layer.returns_state:
            x, state = layer(x, lengths=lengths)
            states.append(state)
        else:
            x = layer(x, lengths=lengths)
            lengths = None if lengths is None else layer.output_lengths(lengths)
    return (x, lengths), states


def _reversed(source: Any, lengths: Any) -> Any:
    if lengths is None:
        return source[:, ::-1]
    steps, counts = np.arange(source.shape[1]), np.asarray(lengths)[:, None]
    order = np.where(steps < counts, counts - 1 - steps, steps)
    return source[np.arange(len(order))[:, None], order]


def at_once(model: EncoderDecoder, target: Any, states: list[Any], memory: Any, lengths: Any) -> Any:
    """What the head takes, (N, T, A), of targets that are all known."""
    x = target
    for layer in model.parts.before:
        x = layer(x, lengths=lengths)
    y, _ = advanced(model, x, states, lengths)
    return y if memory is None else attended(model, y, memory)[0]


def step_by_step(
    model: EncoderDecoder, target: Any, states: list[Any], memory: Any, lengths: Any, coins: Coins | None
) -> Any:
    """The same where a step takes the attentional vector of the one before it, or, by coins, its symbol."""
    count, steps = target.shape
    symbols = coins is not None and coins.probability > 0.0
    x = None
    if not symbols:
        x = target
        for layer in model.parts.before:
            x = layer(x, lengths=lengths)
    fed: Any = np.zeros((count, model.parts.width), model.dtype)
    written = target[:, 0] if steps else None
    found: list[Any] = []
    for t in range(steps):
        if x is not None:
            given = x[:, t : t + 1]
        else:
            if t and coins is not None:
                written = _mixed(model, target[:, t], found[-1], coins, None if lengths is None else lengths > t)
            given = np.asarray(written)[:, None]
            for layer in model.parts.before:
                given = layer(given)
        if model.input_feeding:
            given = concatenate([given, fed[:, None]], axis=-1)
        ends = None if lengths is None else (np.asarray(lengths) > t).astype(np.int64)
        y, states = advanced(model, given, states, ends)
        fed = y[:, 0]
        if memory is not None:
            fed = attended(model, fed, memory)[0]
        found.append(fed)
    if not found:
        return np.zeros((count, 0, model.parts.width), model.dtype)
    return stack(found, axis=1)


def advanced(model: EncoderDecoder, x: Any, states: list[Any], lengths: Any) -> tuple[Any, list[Any]]:
    """The decoder's recurrent layers, and their states after it."""
    after: list[Any] = []
    for layer in model.parts.middle:
        if layer.returns_state:
            x, state = layer(x, states[len(after)], lengths=lengths)
            after.append(state)
        else:
            x = layer(x, lengths=lengths)
    return x, after


def attended(model: EncoderDecoder, y: Any, memory: Any) -> tuple[Any, Any]:
    """tanh(W [context; y]) (Luong et al. 2015), and the weights of the source's steps."""
    context, weights = model.attention(y, memory)  # type: ignore[misc]
    return tanh(model.combine(concatenate([context, y], axis=-1))), weights  # type: ignore[misc]


def headed(model: EncoderDecoder, y: Any, lengths: Any = None) -> Any:
    """Logits."""
    for layer in model.parts.after:
        y = layer(y, lengths=lengths)
    return model.parts.logits(y)


def _mixed(model: EncoderDecoder, truth: Any, before: Any, coins: Coins, inside: Any) -> Any:
    """The symbols that a step reads: by the toss of a coin the true one, or one drawn from what the step before gave.
    No gradient flows through what is drawn."""
    own = coins.rng.random(len(truth)) < coins.probability
    rows = np.flatnonzero(own if inside is None else own & inside)
    if not len(rows):
        return truth
    vectors = before.numpy()[rows] if isinstance(before, Value) else before[rows]
    run: Any = ACTIVE.get()
    logits = headed(model, vectors) if run is None else run.before.run(headed, model, vectors)
    mixed = np.array(truth)
    mixed[rows] = np.minimum(sample(logits, rng=coins.rng), model.parts.embedding.num - 1)
    return mixed
