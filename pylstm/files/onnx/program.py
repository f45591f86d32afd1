"""A graph made ready to run: a row of steps over numbered values, with what is known beforehand computed once.

A value has a place in one list, that of the whole file, graphs in nodes included. A step says which places it reads,
which it fills, and which nobody reads after it: these are emptied, so that memory is that of what is still needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import _checks
from ..._active import ACTIVE
from ..._arrays import Array
from ..strict_json import ModelFileError
from .folding import Folding, is_zero
from .model import Contents, Graph, Node
from .operators.branches import Branches
from .operators.known import build
from .operators.products import LinearNode, linear_layer
from .operators.recurrent import RECURRENT
from .operators.registry import Call
from .plans import NotFixedError, Plan
from .writing import PRODUCER

_PLANS, _SHAPES = 8, 64  # shapes for which a program is kept ready, and those that have come once
NOTHING, WASTE = 0, 1  # places: of an input that is left out, and for outputs that nobody wants
_FAILS = (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError, OverflowError, AttributeError, AssertionError)


@dataclass
class Step:
    """One node: what computes it, and the places of its values."""

    node: Node
    compute: Any
    inputs: list[int]
    outputs: list[int]
    single: bool
    branches: Branches | None = None
    drops: tuple[int, ...] = ()


class Program:
    """The steps of a file.

    Attributes:
        steps: in the order in which they run.
        values: a list with the constants at their places, to be copied for each run.
        names: name -> place, of the outermost graph.
        zeros: places whose values are zeros of some shape.
        made: place -> the step whose output it is, of the outermost graph.
    """

    def __init__(self, contents: Contents) -> None:
        self.graph, self.opsets = contents.graph, contents.opsets
        self.ours = contents.producer == PRODUCER  # whose sums have the order of our layers
        self.values: list[Array | None] = [None, None]
        self.zeros: set[int] = set()
        self.made: dict[int, Step] = {}
        self._folding = Folding(contents.size)
        self.names: dict[str, int] = {}
        self.inputs = [one for one in contents.graph.inputs if one.name not in contents.graph.constants]
        self.input_places = [self._new(self.names, one.name, "an input of the graph") for one in self.inputs]
        self._plans: dict[Any, Plan | None] = {}  # by shapes; None: there is none for them
        self._seen: dict[Any, None] = {}  # shapes that have come once
        self.steps = self._graph(contents.graph, self.names)
        self.outputs = [self._place(self.names, one.name, "the graph's outputs name") for one in contents.graph.outputs]
        self.made = {place: step for step in self.steps for place in step.outputs if place != WASTE}
        self.steps = _needed(fused(self.steps, self.outputs, self.values), self.outputs)
        used = {*self.outputs, *_used(self.steps)}
        for place in range(len(self.values)):
            if place not in used:
                self.values[place] = None

    def version(self, domain: str) -> int:
        return self.opsets.get(domain, 1 if domain else 0)

    # ---- making ready ------------------------------------------------------------------------------------------------

    def _new(self, names: dict[str, int], name: str, what: str, node: object = "") -> int:
        if name in names:
            raise ModelFileError(f"{what}{node} has the name {name[:80]!r}, which another value has")
        names[name] = place = len(self.values)
        self.values.append(None)
        return place

    def _place(self, names: dict[str, int], name: str, who: object, what: str = "") -> int:
        if name not in names:
            later = any(name in node.outputs for node in self.graph.nodes)
            order = "only a later node gives: nodes must come in the order in which they run"
            why = order if later else f"nothing before gives{_checks.did_you_mean(name, names)}"
            raise ModelFileError(f"{who}{what} {name[:80]!r}, which {why}")
        return names[name]

    def _graph(self, graph: Graph, names: dict[str, int]) -> list[Step]:
        for name, array in graph.constants.items():
            self.values[self._new(names, name, "a constant")] = array
        steps: list[Step] = []
        for node in graph.nodes:
            self._node(node, names, steps)
        return steps

    def _node(self, node: Node, names: dict[str, int], steps: list[Step]) -> None:
        inputs = [self._place(names, name, node, " takes") if name else NOTHING for name in node.inputs]
        outputs = [self._new(names, name, "an output of ", node) if name else WASTE for name in node.outputs]
        while inputs and inputs[-1] == NOTHING:
            inputs.pop()
        node.inputs = node.inputs[: len(inputs)]
        if node.operator in RECURRENT and not node.domain:  # states of zeros are as good as none, for any batch
            for at in range(5, len(inputs)):
                if at < 7 and self._is_zero(inputs[at]):
                    inputs[at] = NOTHING
        constants = [self.values[place] for place in inputs]
        call = Call(node, self.version(node.domain), constants, self)
        call.zeros = [place in self.zeros for place in inputs]
        if node.operator == "If" and not node.domain:
            self._if(call, node, names, inputs, outputs, steps)
            return
        compute = build(call)
        single = len(outputs) == 1
        if is_zero(node, call):
            self.zeros.update(outputs)
        if all(place == NOTHING or self.values[place] is not None for place in inputs):
            found = self._folding.compute(node, compute, constants)
            if found is not None:
                for place, array in zip(outputs, [found] if single else found, strict=False):
                    if place != WASTE:
                        self.values[place] = array
                return
        steps.append(Step(node, compute, inputs, outputs, single))

    def _is_zero(self, place: int) -> bool:
        array = self.values[place]
        return place in self.zeros or (array is not None and not array.any())

    def _if(
        self, call: Call, node: Node, names: dict[str, int], inputs: list[int], outputs: list[int], steps: list[Step]
    ) -> None:
        if len(inputs) != 1:
            raise node.error(f"has {len(inputs)} inputs and must have 1")
        condition = call.constant(0)
        parts: list[tuple[list[Step], list[int]]] = []
        for name in ("then_branch", "else_branch"):
            graph = call.graph(name)
            if condition is not None and bool(condition.ravel()[:1].any()) != (name == "then_branch"):
                parts.append(([], []))
                continue
            inner = dict(names)
            if graph.inputs:
                raise node.error(f"its {name} has inputs, which it must not")
            body = self._graph(graph, inner)
            found = [self._place(inner, one.name, f"an output of the {name} of {node} is") for one in graph.outputs]
            if len(found) < len(outputs):
                raise node.error(f"its {name} has {len(found)} outputs, and it has {len(outputs)}")
            found = found[: len(outputs)]
            parts.append((_needed(body, found), found))
        call.check_all_read()
        branches = Branches(*parts[0], *parts[1])
        steps.append(Step(node, None, inputs, outputs, len(outputs) == 1, branches))

    # ---- running -----------------------------------------------------------------------------------------------------

    def run(self, given: list[Array]) -> list[Array]:
        """The outputs, from the inputs in their order."""
        if (run := ACTIVE.get()) is not None:  # in a model's run layers of ours compute as outside of it
            return run.before.run(self.run, given)
        shapes = tuple([(array.shape, array.dtype.char) for array in given])
        with np.errstate(all="ignore"):
            plan = self._plans.get(shapes)
            if plan is not None:
                values = list(plan.values)
                for place, array in zip(self.input_places, given, strict=True):
                    values[place] = array
                try:
                    return plan.run(values)
                except _FAILS:  # of numbers: below it is said which node it is
                    pass
            elif shapes not in self._plans:
                self._look_at(shapes, given)
            values = list(self.values)
            for place, array in zip(self.input_places, given, strict=True):
                values[place] = array
            run_steps(self.steps, values)
        return [values[place] for place in self.outputs]

    def _look_at(self, shapes: Any, given: list[Array]) -> None:
        """Make a plan for shapes that come a second time."""
        if shapes not in self._seen:
            self._seen[shapes] = None
            _shorten(self._seen, _SHAPES)
            return
        try:
            self._plans[shapes] = Plan(self, given)
        except (NotFixedError, *_FAILS):
            self._plans[shapes] = None
        _shorten(self._plans, _PLANS)


def _shorten(kept: dict[Any, Any], most: int) -> None:
    """Leave out what came first. Other threads may do the same meanwhile."""
    for key in list(kept)[: max(len(kept) - most, 0)]:
        kept.pop(key, None)


def fused(steps: list[Step], outputs: list[int], values: list[Any]) -> list[Step]:
    """The same steps, in which a product with constants and the sum behind it that adds constants are one."""
    readers: dict[int, int] = {}
    for step in steps:
        for place in _reads(step):
            readers[place] = readers.get(place, 0) + 1
    made = {step.outputs[0]: step for step in steps if isinstance(step.compute, LinearNode) and len(step.inputs) == 2}
    for step in steps:
        if step.node.operator != "Add" or step.node.domain or len(step.inputs) != 2:
            continue
        for x, bias in (step.inputs, step.inputs[::-1]):
            before = made.get(x)
            if before is None or readers.get(x) != 1 or x in outputs or values[bias] is None:
                continue
            weight = before.inputs[1]
            layer = linear_layer(values[weight], values[bias])
            if layer is not None:
                step.node, step.compute, step.inputs = before.node, LinearNode(layer), [before.inputs[0], weight, bias]
                break
    return steps


def run_steps(steps: list[Step], values: list[Any]) -> None:
    """Fill the places of the steps' outputs."""
    for step in steps:
        outputs = step.outputs
        if step.branches is not None:
            try:
                body, found = step.branches.chosen(values[step.inputs[0]])
            except ValueError as error:
                raise ValueError(f"{step.node}: {error}") from None
            run_steps(body, values)
            results: Any = [values[place] for place in found]
            for place in found:
                if place in step.branches.own:
                    values[place] = None
            for place, array in zip(outputs, results, strict=True):
                values[place] = array
        else:
            arrays = [values[place] for place in step.inputs]
            try:
                results = step.compute(*arrays)
            except MemoryError:
                raise
            except _FAILS as error:
                raise _about(step, arrays, error) from error
            if step.single:
                values[outputs[0]] = results if type(results) is np.ndarray else np.asarray(results)
            else:
                for place, array in zip(outputs, results, strict=False):
                    values[place] = array if array is None or type(array) is np.ndarray else np.asarray(array)
        for place in step.drops:
            values[place] = None


def _about(step: Step, arrays: list[Any], error: Exception) -> ValueError:
    shown = ", ".join("nothing" if one is None else f"{one.dtype} {one.shape}" for one in arrays[:8])
    message = str(error)
    if message.startswith("node "):
        return ValueError(message)
    return ValueError(f"{step.node}: {message[:500] or type(error).__name__}. It was given {shown}")


def _reads(step: Step) -> set[int]:
    found = set(step.inputs)
    if step.branches is not None:
        found |= step.branches.reads
    return found


def _used(steps: list[Step]) -> set[int]:
    return {place for step in steps for place in _reads(step)}


def _needed(steps: list[Step], outputs: list[int]) -> list[Step]:
    """The steps that lead to these outputs; each drops what nobody reads behind it."""
    wanted, kept = set(outputs), []
    own = {place for step in steps for place in step.outputs}
    for step in reversed(steps):
        if not wanted.intersection(step.outputs):
            continue
        step.outputs = [place if place in wanted else WASTE for place in step.outputs]
        reads = _reads(step)
        last = (reads - wanted) & own
        if WASTE in step.outputs:
            last.add(WASTE)
        step.drops = tuple(sorted(last))
        wanted |= reads
        kept.append(step)
    return kept[::-1]
