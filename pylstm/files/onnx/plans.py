"""A program for inputs of known shapes: what follows from the shapes alone is computed once, and of its branches those
are left that run. A step of a stream has few numbers, and would else take longer to look at shapes than to compute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._arrays import Array

_MOST = 2**16  # numbers that are kept of what follows from shapes
_VIEWS = ("Squeeze", "Unsqueeze", "Reshape", "Flatten", "Identity", "Dropout")
# Whose outputs have shapes that follow from those of their inputs ..
_BY_SHAPES = {
    "Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat",
    "Conv", "ConvTranspose", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Flatten", "Floor", "GRU", "Gather",
    "GatherElements", "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual",
    "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LSTM", "LayerNormalization", "LeakyRelu", "Less",
    "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool", "Mean", "Min", "Mul", "Neg", "Not", "Or", "PRelu",
    "Pow", "RNN", "Reciprocal", "Relu", "ReverseSequence", "Selu", "Shape", "Sigmoid", "Sign", "Size", "Softmax",
    "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tanh", "Transpose", "Where",
}  # fmt: skip
# .. and the numbers of those from the second on, or from this one
_BY_NUMBERS = {
    "Expand": 1, "Pad": 1, "ReduceL2": 1, "ReduceMax": 1, "ReduceMean": 1, "ReduceMin": 1, "ReduceSum": 1, "Reshape": 1,
    "Slice": 1, "Split": 1, "Squeeze": 1, "Tile": 1, "Unsqueeze": 1, "ConstantOfShape": 0, "Range": 0,
}  # fmt: skip


class Plan:
    """The steps for inputs of these shapes and dtypes.

    Attributes:
        values: what is known, at its places.
        steps: (what computes it, places of its inputs, that of its output or several, places that are emptied).
        outputs: places.
    """

    def __init__(self, program: Any, given: list[Array]) -> None:
        """Runs the program; raises what it raises."""
        self.values: list[Any] = list(program.values)
        self._now: list[Any] = list(program.values)
        self._fixed = {place for place, value in enumerate(program.values) if value is not None}
        self._shaped = set(self._fixed)  # whose shapes follow from those of the inputs
        self._same: dict[int, int] = {}  # place -> the one that has the same array
        self._left = _MOST
        for place, array in zip(program.input_places, given, strict=True):
            self._now[place] = array
            self._shaped.add(place)
        steps: list[tuple[Any, list[int], list[int], bool]] = []
        self._follow(program.steps, steps)
        self.outputs = [self._of(place) for place in program.outputs]
        self.steps = _with_drops(steps, self.outputs)
        del self._now, self._fixed, self._shaped, self._same

    def run(self, values: list[Any]) -> list[Array]:
        """The outputs; values: a copy of the plan's, with the inputs in their places."""
        for compute, inputs, output, drops in self.steps:
            found = compute(*[values[place] for place in inputs])
            if type(output) is int:
                values[output] = found if type(found) is np.ndarray else np.asarray(found)
            else:
                for place, array in zip(output, found, strict=False):
                    values[place] = array if array is None or type(array) is np.ndarray else np.asarray(array)
            for place in drops:
                values[place] = None
        return [values[place] for place in self.outputs]

    # ---- making it -----------------------------------------------------------------------------------------------

    def _of(self, place: int) -> int:
        return self._same.get(place, place)

    def _follow(self, steps: list[Any], made: list[Any]) -> None:
        for step in steps:
            if step.branches is not None:
                self._choose(step, made)
            else:
                self._step(step, made)

    def _choose(self, step: Any, made: list[Any]) -> None:
        condition = self._of(step.inputs[0])
        body, found = step.branches.chosen(self._now[condition])
        if condition not in self._fixed:  # which of them runs is seen when it does
            raise NotFixedError
        self._follow(body, made)
        for place, inner in zip(step.outputs, found, strict=True):
            self._alias(place, self._of(inner))

    def _step(self, step: Any, made: list[Any]) -> None:
        inputs = [self._of(place) for place in step.inputs]
        arrays = [self._now[place] for place in inputs]
        results = step.compute(*arrays)
        results = [np.asarray(results)] if step.single else list(results)
        name = "" if step.node.domain else step.node.operator
        known = [place < 2 or place in self._fixed for place in inputs]
        shaped = self._is_shaped(name, inputs, known)
        fixed = all(known) or (name in ("Shape", "Size") and inputs[0] in self._shaped)
        room = sum(one.size for one in results if one is not None)
        for place, array in zip(step.outputs, results, strict=False):
            self._now[place] = array
            if shaped and place > 1:
                self._shaped.add(place)
        if fixed and room <= self._left:
            self._left -= room
            for place, array in zip(step.outputs, results, strict=False):
                if place > 1 and array is not None:
                    own = array if not array.flags.writeable else array.copy()
                    own.setflags(write=False)
                    self.values[place] = self._now[place] = own
                    self._fixed.add(place)
            return
        if shaped and step.single and (name in _VIEWS or name == "Cast") and results[0].dtype == arrays[0].dtype:
            if results[0].shape == arrays[0].shape:
                self._alias(step.outputs[0], inputs[0])
            else:
                made.append((_shaped_as(results[0].shape), inputs[:1], step.outputs, True))
            return
        compute = step.compute
        ready = getattr(compute, "ready_for", None)
        if shaped and ready is not None:
            constants = [array if there else None for array, there in zip(arrays, known, strict=True)]
            compute = ready(constants, arrays[0]) or compute
        made.append((compute, inputs, step.outputs, step.single))

    def _is_shaped(self, name: str, inputs: list[int], known: list[bool]) -> bool:
        first = _BY_NUMBERS.get(name)
        if first is None and name not in _BY_SHAPES:
            return False
        shaped = all(place < 2 or place in self._shaped for place in inputs)
        return shaped and (first is None or all(known[first:]))

    def _alias(self, place: int, other: int) -> None:
        self._same[place] = other
        self._now[place] = self._now[other]


class NotFixedError(Exception):
    """The shapes do not say which branch runs."""


def _shaped_as(shape: tuple[int, ...]) -> Callable[[Array], Array]:
    return lambda x: x.reshape(shape)


def _with_drops(steps: list[tuple[Any, list[int], list[int], bool]], outputs: list[int]) -> list[Any]:
    """Steps that lead to the outputs, each with the places that nobody reads behind it."""
    wanted, kept = set(outputs), []
    own = {place for _, _, places, _ in steps for place in places}
    for compute, inputs, places, single in reversed(steps):
        if wanted.isdisjoint(places):
            continue
        last = {place for place in inputs if place not in wanted and place in own}
        last |= {place for place in places if place not in wanted}
        wanted.update(inputs)
        kept.append((compute, tuple(inputs), places[0] if single else tuple(places), tuple(sorted(last))))
    return kept[::-1]
