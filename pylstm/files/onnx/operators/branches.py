"""`If`: two rows of steps, of which one runs."""

from __future__ import annotations

from typing import Any

from ...._arrays import Array


class Branches:
    """Of an `If`: the steps of both branches and where their outputs are."""

    def __init__(self, then_steps: Any, then_outputs: list[int], else_steps: Any, else_outputs: list[int]) -> None:
        self._then, self._else = (then_steps, then_outputs), (else_steps, else_outputs)
        every = [step for steps in (then_steps, else_steps) for step in steps]
        self.own = {place for step in every for place in step.outputs}
        inner = {place for step in every for place in step.inputs}
        inner |= {place for step in every if step.branches is not None for place in step.branches.reads}
        self.reads = (inner | {*then_outputs, *else_outputs}) - self.own

    def chosen(self, condition: Array) -> tuple[Any, list[int]]:
        """Steps and outputs of the branch that a condition means."""
        if condition.size != 1:
            raise ValueError(f"a condition has shape {condition.shape}, and must be one bool")
        return self._then if condition.item() else self._else
