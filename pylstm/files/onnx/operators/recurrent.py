"""LSTM, GRU and RNN nodes: what a file says of them, in a layer of ours where the core has the cell.

Gates come as i, o, f, c (LSTM) and z, r, h (GRU), and ours are i, f, g, o and r, z, n. W is (D, gates·H, I), R
(D, gates·H, H), B (D, 2·gates·H) with the biases of x before those of h, P (D, 3·H) the peepholes i, o, f. Y is
(T, D, N, H).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...._arrays import Array
from ....layers.compiled import GRU, LSTM, RNN
from .activations import Function, ours, read_activations
from .indexing import reversed_steps
from .recurrent_steps import direction_of_steps
from .registry import Call, Compute, operator

RECURRENT = ("LSTM", "GRU", "RNN")
ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # our gate -> the place of theirs
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_COUPLED = (0, 3, 1)  # i, g, o
_DIRECTIONS = ("forward", "reverse", "bidirectional")


@dataclass(frozen=True)
class Kind:
    """What a recurrent node is, apart from its weights."""

    operator: str
    hidden_size: int | None
    direction: str
    layout: int
    activations: list[tuple[Function, ...]]
    clip: float | None
    coupled: bool
    reset_after: bool

    @property
    def directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    def is_layer(self) -> bool:
        """Whether a layer of ours computes it: one with the same functions both ways."""
        return len(set(self.activations)) == 1


def read_kind(call: Call, name: str) -> Kind:
    """What the attributes say."""
    direction = call.choice("direction", "forward", _DIRECTIONS)
    layout = call.integer("layout", 0)
    if layout not in (0, 1):
        raise call.error(f"its layout is {layout}, and must be 0 or 1")
    clip = call.number("clip", None)
    call.ignore("output_sequence")
    coupled = call.flag("input_forget", 0) if name == "LSTM" else False
    reset_after = call.flag("linear_before_reset", 0) if name == "GRU" else False
    directions = 2 if direction == "bidirectional" else 1
    return Kind(
        name, call.integer("hidden_size", None), direction, layout,
        read_activations(call, _DEFAULTS[name], directions), clip if clip and clip > 0 else None, coupled, reset_after,
    )  # fmt: skip


class RecurrentNode:
    """Computes a node.

    Attributes:
        kind: what it is.
        layer: the layer of ours that has its weights; None where they come while the model runs, or the core has no
            such cell.
    """

    def __init__(self, kind: Kind, call: Call) -> None:
        self.kind, self.outputs, self._error = kind, call.outputs, call.error
        weights = [call.constant(at) for at in (1, 2, 3, 7)]
        given = [at < len(call.node.inputs) and bool(call.node.inputs[at]) for at in (1, 2, 3, 7)]
        self.layer: Any = None
        if all(array is not None or not there for array, there in zip(weights, given, strict=True)):
            try:
                w, r, b, p = checked(kind, *weights)
            except ValueError as error:
                raise call.error(str(error)) from None
            if kind.is_layer():
                self.layer = layer_of(kind, w, r, b, p)

    def __call__(
        self, x: Array, w: Array, r: Array, b: Array | None = None, lengths: Array | None = None,
        initial_h: Array | None = None, initial_c: Array | None = None, p: Array | None = None,
    ) -> Any:  # fmt: skip
        """Y, Y_h and Y_c, as many as the node has outputs; of one the array itself."""
        kind = self.kind
        given = x.dtype
        states = [initial_h, initial_c][: 2 if kind.operator == "LSTM" else 1]
        if kind.layout:
            x = x.swapaxes(0, 1)
            states = [None if one is None else one.swapaxes(0, 1) for one in states]
        if x.ndim != 3:
            raise ValueError("X must have 3 axes")
        layer = self.layer
        if layer is None:
            w, r, b, p = checked(kind, w, r, b, p)
            if kind.is_layer():
                layer = layer_of(kind, w, r, b, p)
        self._check(x, w, lengths, states)
        if layer is not None:
            y, after = self._by_layer(layer, x, lengths, states)
        else:
            y, after = self._by_steps(x, (w, r, b, p), lengths, states)
        if lengths is not None and not lengths.all():  # of sequences without steps onnxruntime gives no initial state
            after = [np.where((lengths == 0)[:, None], one.dtype.type(0), one) for one in after]
        if kind.layout:
            y, after = y.transpose(1, 0, 2, 3), [one.swapaxes(0, 1) for one in after]
        else:
            y = y.swapaxes(1, 2)
        found = tuple(one.astype(given, copy=False) for one in (y, *after))[: self.outputs]
        return found if self.outputs > 1 else found[0]

    def ready_for(self, known: list[Array | None], x: Array) -> Compute | None:  # noqa: ARG002
        """Without looks at what shapes have said already. Of states the layer says what is wrong with them."""
        layer, kind = self.layer, self.kind
        if layer is None or kind.layout or kind.direction == "reverse" or x.ndim != 3 or x.dtype != layer.dtype:
            return None
        outputs, both = self.outputs, kind.operator == "LSTM"

        def compute(x: Array, *others: Array | None) -> Any:
            states = others[4 : 6 if both else 5]
            if others[3:4] != (None,) or len(states) != 1 + both or any(one is None for one in states):
                return self(x, *others)  # type: ignore[arg-type]
            y, after = layer(x, states if both else states[0])
            y = y.reshape(len(x), x.shape[1], kind.directions, layer.hidden_size).swapaxes(1, 2)
            found = (y, *(after if both else (after,)))[:outputs]
            return found if outputs > 1 else found[0]

        return compute

    def _check(self, x: Array, w: Array, lengths: Array | None, states: list[Array | None]) -> None:
        steps, batch, _ = x.shape
        if x.shape[2] != w.shape[2]:
            raise ValueError(f"X has {x.shape[2]} numbers per step, and W is for {w.shape[2]}")
        if lengths is not None and (
            lengths.shape != (batch,) or (batch and (lengths.min() < 0 or lengths.max() > steps))
        ):
            raise ValueError(f"sequence_lens must be {batch} integers in 0..{steps}, one for each sequence")
        shape = (self.kind.directions, batch, w.shape[1] // len(ORDER[self.kind.operator]))
        for name, state in zip(("initial_h", "initial_c"), states, strict=False):
            if state is not None and state.shape != shape:
                raise ValueError(f"{name} must be {shape} (directions, batch, hidden_size), and is {state.shape}")

    def _by_layer(
        self, layer: Any, x: Array, lengths: Array | None, states: list[Array | None]
    ) -> tuple[Array, list[Array]]:
        """Y as (T, N, D, H), and the states."""
        turned = self.kind.direction == "reverse"
        if turned:
            x = reversed_steps(x, lengths)
        state: Any = None
        if any(one is not None for one in states):
            like = next(one for one in states if one is not None)
            filled = [np.zeros(like.shape, layer.dtype) if one is None else one for one in states]
            state = tuple(filled) if self.kind.operator == "LSTM" else filled[0]
        output, after = layer(x, state, lengths=lengths)
        y = output.reshape(*x.shape[:2], self.kind.directions, layer.hidden_size)
        if turned:
            y = reversed_steps(y, lengths)
        return y, list(after) if isinstance(after, tuple) else [after]

    def _by_steps(
        self, x: Array, weights: tuple[Any, ...], lengths: Array | None, states: list[Array | None]
    ) -> tuple[Array, list[Array]]:
        found = []
        for d in range(self.kind.directions):
            own = [None if one is None else one[d] for one in weights]
            begin = [None if one is None else one[d] for one in states]
            backwards = self.kind.direction == "reverse" or d == 1
            x_d = reversed_steps(x, lengths) if backwards else x
            y, after = direction_of_steps(self.kind, self.kind.activations[d], x_d, own, lengths, begin)
            found.append((reversed_steps(y, lengths) if backwards else y, after))
        y = np.stack([one for one, _ in found], axis=2)
        return y, [np.stack(states) for states in zip(*[after for _, after in found], strict=True)]


def checked(
    kind: Kind, w: Array | None, r: Array | None, b: Array | None, p: Array | None
) -> tuple[Array, Array, Array | None, Array | None]:
    """The weights, as float32 or float64. Raises ValueError for shapes that are not those of such a node."""
    gates, directions = len(ORDER[kind.operator]), kind.directions
    if w is None or r is None or w.ndim != 3 or r.ndim != 3:
        raise ValueError("W and R must have 3 axes")
    size = kind.hidden_size or w.shape[1] // gates
    wanted = {
        "W": (w, (directions, gates * size, w.shape[2])), "R": (r, (directions, gates * size, size)),
        "B": (b, (directions, 2 * gates * size)), "P": (p, (directions, 3 * size)),
    }  # fmt: skip
    for name, (array, shape) in wanted.items():
        if array is not None and array.shape != shape:
            hint = ""
            if name == "R" and array.ndim == 3 and array.shape[2] != size:
                hint = (
                    ": a projection (proj_size), which ONNX does not have and some exporters write all the same; "
                    "load the weights with pylstm.from_torch"
                )
            raise ValueError(f"{name} has shape {array.shape} and must have {shape}{hint}")
    if size < 1 or w.shape[2] < 1:
        raise ValueError(f"W has shape {w.shape}: sizes must be above 0")
    dtype = np.float64 if w.dtype == np.float64 else np.float32
    return tuple(None if one is None else one.astype(dtype, copy=False) for one in (w, r, b, p))  # type: ignore[return-value]


def layer_of(kind: Kind, w: Array, r: Array, b: Array | None, p: Array | None) -> Any:
    """A layer of ours with these weights, time first; of the direction "reverse" it runs forward."""
    size, gates = r.shape[2], len(ORDER[kind.operator])
    functions = [ours(one) for one in kind.activations[0]]
    options: dict[str, Any] = {
        "bias": b is not None, "bidirectional": kind.directions == 2, "clip": kind.clip, "dtype": w.dtype, "seed": 0,
    }  # fmt: skip
    layer: Any
    if kind.operator == "LSTM":
        f, g, h = functions
        layer = LSTM(
            w.shape[2], size, recurrent_activation=f, activation=g, output_activation=h, peephole=p is not None,
            coupled=kind.coupled, **options,
        )  # fmt: skip
    elif kind.operator == "GRU":
        f, g = functions
        layer = GRU(w.shape[2], size, reset_after=kind.reset_after, recurrent_activation=f, activation=g, **options)
    else:
        layer = RNN(w.shape[2], size, nonlinearity=functions[0], **options)
    weights = {}
    for d in range(kind.directions):
        suffix = "_l0_reverse" if d else "_l0"
        parts = {"weight_ih": w[d], "weight_hh": r[d]}
        if b is not None:
            parts["bias_ih"], parts["bias_hh"] = b[d, : gates * size], b[d, gates * size :]
        for name, array in parts.items():
            weights[name + suffix] = reordered(kind, array)
        if p is not None:
            for letter, part in zip("iof", np.split(p[d], 3), strict=True):
                if not (kind.coupled and letter == "f"):
                    weights[f"weight_c{letter}{suffix}"] = part
    layer.load_state_dict(weights)
    return layer


def reordered(kind: Kind, array: Array) -> Array:
    """Rows in the order of our gates, from theirs; where the gates are coupled there are none of the forget gate."""
    order, count = ORDER[kind.operator], len(ORDER[kind.operator])
    if kind.coupled:
        order = _COUPLED
    rows = array.reshape(count, -1, *array.shape[1:])[list(order)]
    return rows.reshape(-1, *array.shape[1:])


def _add(name: str, most: int) -> None:
    for since in (1, 7, 14, 22):

        @operator(name, 3, most, since=since)
        def build(call: Call) -> Compute:
            return RecurrentNode(read_kind(call, name), call)


_add("LSTM", 8)
_add("GRU", 6)
_add("RNN", 6)
