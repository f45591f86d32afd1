"""A graph that is one way from an input to an output, as layers of ours.

The way is followed with the meaning of every axis: steps, sequences, directions, features. What a file writes in many
nodes around a recurrent one (transposes, squeezes, sizes that are computed) says nothing else than which axis is which.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import Array
from ...layers.activation import Activation
from ...layers.compiled import GRU, LSTM, RNN
from ...layers.embedding import Embedding
from ...layers.layer import Layer
from ...layers.linear import Linear
from ...layers.normalization import LayerNorm
from ...layers.pooling import BothEnds, LastStep, MaxOverTime, MeanOverTime
from .operators.recurrent import RECURRENT, RecurrentNode
from .program import NOTHING, Program, Step

BATCH, TIME, EITHER = "N", "T", ("a", "b")  # what the first two axes of an input may be
FEATURE, DIRECTION, ONE, LAST, ENDS = "F", "D", "1", "L", "E"
_SKIPPED = {"Identity", "Dropout", "Cast"}
_ACTIVATIONS = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid"}


class NoChain(ValueError):
    """A graph that is not one layer after another."""


class Chain:
    """The layers of a graph.

    Attributes:
        layers: ours, with the file's weights, batch first.
        input, output: what the axes of the file's input and output are, e.g. ["T", "N", "F"].
    """

    def __init__(self, program: Program, output: int) -> None:
        self._program = program
        try:
            self._follow(program, output)
        except (MemoryError, NoChain):
            raise
        except Exception as error:  # of nodes that could not run, either: wrong axes, weights that do not fit
            raise NoChain(f"its nodes do not fit each other ({type(error).__name__}: {str(error)[:200]})") from error

    def _follow(self, program: Program, output: int) -> None:
        if len(program.inputs) < 1:
            raise NoChain("it has no inputs")
        self._steps, start = _way(program, output)
        value = next(one for one in program.inputs if program.names[one.name] == start)
        self.name = value.name
        self.layers: list[Layer] = []
        self._known: dict[str, str] = {}
        self._directions = 1
        self._after_last = False
        integers = value.dtype is not None and value.dtype.kind in "iu"
        rank = len(value.shape) if value.shape is not None else 2 if integers else 3
        if rank not in ((1, 2) if integers else (2, 3)):
            raise NoChain(f"its input has {rank} axes")
        axes = [*EITHER[: rank if integers else rank - 1], *([] if integers else [FEATURE])]
        begin = list(axes)
        place = start
        skip = 0
        for at, step in enumerate(self._steps):
            if skip:
                skip -= 1
                continue
            following = self._steps[at + 1] if at + 1 < len(self._steps) else None
            axes, skip = self._step(step, following, place, axes)
            place = self._steps[at + skip].outputs[0] if skip else _output(step, self._steps, at, output)
        if len(begin) > (1 if integers else 2):
            self._known.setdefault("a", BATCH)
        self._known.setdefault("b", TIME if self._known.get("a", BATCH) == BATCH else BATCH)
        self._known.setdefault("a", BATCH)
        self.input, self.output = self._named(begin), self._named(axes)
        if (
            self.output[-1] != FEATURE
            or DIRECTION in self.output
            or sorted(self.output) not in (["F", "N"], ["F", "N", "T"])
        ):
            raise NoChain("its output is not (sequences, features), or (sequences, steps, features)")

    def _named(self, axes: list[str]) -> list[str]:
        return [self._known.get(axis, axis) for axis in axes]

    # ---- one node ----------------------------------------------------------------------------------------------------

    def _step(self, step: Step, following: Step | None, place: int, axes: list[str]) -> tuple[list[str], int]:
        """The axes behind it, and how many of the next steps belong to it."""
        name = step.node.operator
        if step.branches is not None or step.node.domain:
            raise NoChain(f"{step.node} is no layer")
        if name in _SKIPPED:
            return axes, 0
        if name in RECURRENT:
            return self._recurrent(step, following, axes), 0
        move = getattr(self, f"_{name.lower()}", None)
        if name in _ACTIVATIONS:
            self._add(Activation(_ACTIVATIONS[name]))
            return axes, 0
        if move is None or not (len(step.inputs) > 0):
            raise NoChain(f"{step.node} is no layer")
        found = move(step, following, place, axes)
        return found if isinstance(found, tuple) else (found, 0)

    def _add(self, layer: Layer) -> None:
        self.layers.append(layer)

    def _constant(self, step: Step, at: int) -> Array | None:
        return self._program.values[step.inputs[at]] if at < len(step.inputs) and step.inputs[at] != NOTHING else None

    def _needed(self, step: Step, at: int) -> Array:
        array = self._constant(step, at)
        if array is None:
            raise NoChain(f"{step.node} computes with what is no constant")
        return array

    def _gather(self, step: Step, following: Step | None, place: int, axes: list[str]) -> list[str]:  # noqa: ARG002
        table = self._constant(step, 0)
        axis = step.node.attributes.get("axis", 0)
        if table is not None:
            if table.ndim != 2 or axis != 0 or self.layers or FEATURE in axes or table.dtype.char not in "fd":
                raise NoChain(f"{step.node} looks up something else than rows of a table")
            embedding = Embedding(*table.shape, dtype=table.dtype)
            embedding.load_state_dict({"weight": table})
            self._add(embedding)
            return [*axes, FEATURE]
        index = self._needed(step, 1)
        if index.size != 1 or index.ndim > 1:
            raise NoChain(f"{step.node} takes several places")
        return self._taken(step, axes, axis % len(axes), int(index.ravel()[0]), keeps=index.ndim == 1)

    def _taken(self, step: Step, axes: list[str], at: int, index: int, keeps: bool) -> list[str]:
        """One place of an axis."""
        rest = [*axes[:at], *([ONE] if keeps else []), *axes[at + 1 :]]
        if axes[at] in (DIRECTION, ONE) and index in (0, -1) and self._directions == 1:
            return rest
        if self._known.get(axes[at], axes[at]) == TIME and index == -1:
            self._add(LastStep())
            return rest
        raise NoChain(f"{step.node} takes one place of an axis, which no layer does")

    def _slice(self, step: Step, following: Step | None, place: int, axes: list[str]) -> list[str]:  # noqa: ARG002
        starts, ends = self._needed(step, 1).ravel().tolist(), self._needed(step, 2).ravel().tolist()
        given = self._constant(step, 3)
        over = range(len(starts)) if given is None else given.ravel().tolist()
        strides = self._constant(step, 4)
        for at, start, end in zip(over, starts, ends, strict=True):
            if start == 0 and end > 2**31:
                continue
            if start != -1 or end < 2**31 or len(starts) != 1 or (strides is not None and strides.ravel()[0] != 1):
                raise NoChain(f"{step.node} takes some places of an axis, which no layer does")
            axes = self._taken(step, axes, at % len(axes), -1, keeps=True)
        return axes

    def _transpose(self, step: Step, following: Step | None, place: int, axes: list[str]) -> list[str]:  # noqa: ARG002
        perm = step.node.attributes.get("perm") or range(len(axes))[::-1]
        if len(perm) != len(axes):
            raise NoChain(f"{step.node} is for another number of axes")
        return [axes[at] for at in perm]

    def _squeeze(self, step: Step, following: Step | None, place: int, axes: list[str]) -> list[str]:  # noqa: ARG002
        given = step.node.attributes.get("axes")
        array = self._constant(step, 1)
        over = [axis % len(axes) for axis in (given or (array.ravel().tolist() if array is not None else []))]
        if not over or any(axes[at] != ONE and (axes[at] != DIRECTION or self._directions > 1) for at in over):
            raise NoChain(f"{step.node} leaves out axes that are none of size 1")
        return [axis for at, axis in enumerate(axes) if at not in over]

    def _reshape(self, step: Step, following: Step | None, place: int, axes: list[str]) -> list[str]:  # noqa: ARG002
        if DIRECTION not in axes:
            raise NoChain(f"{step.node} puts axes together that are not two directions'")
        at = axes.index(DIRECTION)
        if self._directions > 1 and axes[at + 1 :] != [FEATURE]:
            raise NoChain(f"{step.node} puts two directions together where they are not beside the features")
        return [axis for axis in axes if axis != DIRECTION]

    def _recurrent(self, step: Step, following: Step | None, axes: list[str]) -> list[str]:
        node: RecurrentNode = step.compute
        if node.layer is None or node.kind.direction == "reverse":
            raise NoChain(f"{step.node} is no layer of ours: its direction is reverse, or it has other weights")
        if any(place != NOTHING for place in step.inputs[4:]):
            raise NoChain(f"{step.node} has initial states or lengths that come from the graph")
        if node.kind.layout:
            raise NoChain(f"{step.node} has the layout with sequences first")
        if len(axes) != 3 or axes[2] != FEATURE:
            raise NoChain(f"{step.node} does not take (steps, sequences, features)")
        for axis, meaning in zip(axes, (TIME, BATCH), strict=False):
            if self._known.setdefault(axis, meaning) != meaning and axis != meaning:
                raise NoChain(f"{step.node} takes sequences where another node takes steps")
        self._directions = node.kind.directions
        self._add(_batch_first(node.layer))
        if following is not None and following.inputs and _reads(following, step) == 1:
            self._add(LastStep() if self._directions == 1 else BothEnds())
            return [DIRECTION, axes[1], FEATURE]
        if following is not None and _reads(following, step) == 2:
            raise NoChain(f"{step.node}: its c is read, which no layer gives")
        return [axes[0], DIRECTION, axes[1], FEATURE]

    def _gemm(self, step: Step, following: Step | None, place: int, axes: list[str]) -> list[str]:  # noqa: ARG002
        options = step.node.attributes
        weight = self._needed(step, 1)
        if options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0 or options.get("transA", 0):
            raise NoChain(f"{step.node} is no linear layer")
        bias = self._needed(step, 2) if len(step.inputs) > 2 and step.inputs[2] != NOTHING else None
        return self._linear(step, axes, weight if options.get("transB", 0) else weight.T, bias)

    def _linear(self, step: Step, axes: list[str], weight: Array, bias: Array | None) -> list[str]:
        if axes[-1] != FEATURE or weight.ndim != 2 or weight.dtype.char not in "fd":
            raise NoChain(f"{step.node} is no linear layer")
        out, size = weight.shape
        layer = Linear(size, out, bias is not None, dtype=weight.dtype)
        weights = {"weight": weight}
        if bias is not None:
            if bias.size not in (1, out):
                raise NoChain(f"{step.node} adds something else than a bias")
            weights["bias"] = np.broadcast_to(bias.reshape(-1), (out,))
        layer.load_state_dict(weights)
        self._add(layer)
        return axes

    def _matmul(self, step: Step, following: Step | None, place: int, axes: list[str]) -> list[str]:  # noqa: ARG002
        if step.inputs[0] != place:
            raise NoChain(f"{step.node} is no linear layer")
        return self._linear(step, axes, self._needed(step, 1).T, self._constant(step, 2))

    def _softmax(self, step: Step, following: Step | None, place: int, axes: list[str]) -> list[str]:  # noqa: ARG002
        axis = step.node.attributes.get("axis", -1 if self._program.version("") >= 13 else 1)
        if axis % len(axes) != len(axes) - 1:
            raise NoChain(f"{step.node} is over another axis than the last one")
        self._add(Activation("softmax"))
        return axes

    def _layernormalization(self, step: Step, following: Step | None, place: int, axes: list[str]) -> list[str]:  # noqa: ARG002
        if step.node.attributes.get("axis", -1) % len(axes) != len(axes) - 1 or axes[-1] != FEATURE:
            raise NoChain(f"{step.node} is over other axes than the last one")
        weight = self._needed(step, 1)
        bias = self._needed(step, 2) if len(step.inputs) > 2 else np.zeros_like(weight)
        layer = LayerNorm(weight.size, step.node.attributes.get("epsilon", 1e-5), dtype=weight.dtype)
        layer.load_state_dict({"weight": weight, "bias": bias})
        self._add(layer)
        return axes

    def _over_time(self, step: Step, layer: Layer, axes: list[str]) -> list[str]:
        array = self._constant(step, 1)
        over = step.node.attributes.get("axes") or (array.ravel().tolist() if array is not None else [])
        if len(over) != 1 or self._known.get(axes[over[0] % len(axes)]) != TIME:
            raise NoChain(f"{step.node} is not over the steps")
        self._add(layer)
        at = over[0] % len(axes)
        keep = [ONE] if step.node.attributes.get("keepdims", 1) else []
        return [*axes[:at], *keep, *axes[at + 1 :]]

    def _reducemean(self, step: Step, following: Step | None, place: int, axes: list[str]) -> list[str]:  # noqa: ARG002
        return self._over_time(step, MeanOverTime(), axes)

    def _reducemax(self, step: Step, following: Step | None, place: int, axes: list[str]) -> list[str]:  # noqa: ARG002
        return self._over_time(step, MaxOverTime(), axes)

    def _conv(self, step: Step, following: Step | None, place: int, axes: list[str]) -> list[str]:  # noqa: ARG002
        layer = getattr(step.compute, "layer", None)
        if len(axes) != 3 or axes[1] != FEATURE or layer is None:
            raise NoChain(f"{step.node} is no convolution over the steps that a layer computes")
        for axis, meaning in ((axes[0], BATCH), (axes[2], TIME)):
            if self._known.setdefault(axis, meaning) != meaning:
                raise NoChain(f"{step.node} takes sequences where another node takes steps")
        self._add(_copy(layer))
        return axes


def _reads(step: Step, before: Step) -> int:
    """Which output of a step another one reads."""
    return next((at for at, place in enumerate(before.outputs) if place in step.inputs and place > 1), 0)


def _output(step: Step, steps: list[Step], at: int, output: int) -> int:
    """The place through which the way goes on."""
    if at + 1 == len(steps):
        return output
    return next(place for place in steps[at + 1].inputs if place in step.outputs and place > 1)


def _copy(layer: Any) -> Layer:
    copy: Layer = type(layer).from_config(layer.get_config())
    copy.load_state_dict(layer.state_dict())
    return copy


def _batch_first(layer: Any) -> Layer:
    """The same layer, with sequences first."""
    kind = next(one for one in (LSTM, GRU, RNN) if isinstance(layer, one))
    copy: Layer = kind.from_config({**layer.get_config(), "batch_first": True})
    copy.load_state_dict(layer.state_dict())
    return copy


# What computes sizes: beside the way, and not on it
_SIZES = {"Shape", "Size"}


def _way(program: Program, output: int) -> tuple[list[Step], int]:
    """The steps that lead to an output, and the place of the input that they begin with."""
    inputs = {program.names[one.name] for one in program.inputs}
    made = {place: step for step in program.steps for place in step.outputs if place > 1}
    steps: list[Step] = []
    place, seen = output, 0
    while place not in inputs:
        seen += 1
        if place not in made or seen > 10_000:
            raise NoChain("its output is a constant")
        step = made[place]
        steps.append(step)
        if step.branches is not None:
            raise NoChain(f"{step.node} chooses what to compute")
        data = [at for at in step.inputs if at > 1 and program.values[at] is None and not _is_size(made, at)]
        if step.node.operator in RECURRENT:
            if any(at in step.inputs[3:] for at in data if at != step.inputs[0]):
                raise NoChain(f"{step.node} has weights, states or lengths that come from the graph")
            data = [step.inputs[0]]
        if len(set(data)) != 1:
            raise NoChain(f"{step.node} joins several values")
        place = data[0]
    return steps[::-1], place


def _is_size(made: dict[int, Step], place: int) -> bool:
    """Whether a value is computed of sizes only."""
    todo, seen = [place], set()
    while todo:
        step = made.get(at := todo.pop())
        if step is None:
            return False
        if at in seen or step.node.operator in _SIZES:
            continue
        seen.add(at)
        todo += [one for one in step.inputs if one > 1 and one in made]
        if not any(one in made for one in step.inputs if one > 1):
            return False
    return True
