"""Which inputs of a graph are states, and which outputs are these states a step later."""

from __future__ import annotations

from typing import Any

from .model import Value
from .operators.recurrent import RECURRENT
from .program import NOTHING, Program, Step

Ends = frozenset[tuple[int, int]]  # (number of a recurrent node, 1: h or 2: c)
_NONE: frozenset[Any] = frozenset()


class _Flow:
    """Follows values through a graph, all branches included: what inputs go into the initial states of recurrent nodes,
    and what outputs are made of their final ones."""

    def __init__(self, program: Program) -> None:
        self.inputs = {program.names[one.name]: frozenset([one.name]) for one in program.inputs}
        self.ends: dict[int, Ends] = {}
        self.begins: dict[tuple[int, int], frozenset[str]] = {}
        self._count = 0
        self._follow(program.steps)

    def _follow(self, steps: list[Step]) -> None:
        for step in steps:
            if step.branches is not None:
                for body, found in (step.branches._then, step.branches._else):
                    self._follow(body)
                    for place, inner in zip(step.outputs, found, strict=False):
                        self._add(place, self._of(self.inputs, [inner]), self._of(self.ends, [inner]))
            elif step.node.operator in RECURRENT and not step.node.domain:
                self._recurrent(step)
            else:
                for place in step.outputs:
                    self._add(place, self._of(self.inputs, step.inputs), self._of(self.ends, step.inputs))

    def _recurrent(self, step: Step) -> None:
        for which in (1, 2):
            at = which + 4
            begin = step.inputs[at] if len(step.inputs) > at else NOTHING
            if begin != NOTHING:
                self.begins[self._count, which] = self.inputs.get(begin, _NONE)
            if len(step.outputs) > which:
                self._add(step.outputs[which], _NONE, frozenset([(self._count, which)]))
        self._count += 1

    def _of(self, known: dict[int, Any], places: list[int]) -> Any:
        return frozenset().union(*[known.get(place, _NONE) for place in places])

    def _add(self, place: int, inputs: frozenset[str], ends: Ends) -> None:
        self.inputs[place] = self.inputs.get(place, _NONE) | inputs
        self.ends[place] = self.ends.get(place, _NONE) | ends


def fits(one: Value, other: Value) -> bool:
    """Whether an output can be given as that input."""
    if one.dtype != other.dtype:
        return False
    if one.shape is None or other.shape is None:
        return True
    return len(one.shape) == len(other.shape) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in zip(one.shape, other.shape, strict=True)
    )


def find_states(program: Program) -> dict[str, str]:
    """Input -> output, of the states that a graph takes and gives; empty if it has none, or they cannot be told."""
    flow = _Flow(program)
    begins: dict[str, set[tuple[int, int]]] = {}
    for end, names in flow.begins.items():
        for name in names:
            begins.setdefault(name, set()).add(end)
    found: dict[str, str] = {}
    for one in program.inputs:
        wanted = begins.get(one.name)
        if not wanted:
            continue
        for output in program.graph.outputs:
            place = program.names[output.name]
            ends = flow.ends.get(place, _NONE)
            # a branch for no state at all has nodes of its own, which begin at zero
            others = any(flow.begins.get(end) for end in ends - wanted)
            if wanted <= ends and not others and fits(one, output) and output.name not in found.values():
                found[one.name] = output.name
                break
    return found
