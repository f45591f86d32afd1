"""What training asks of a loss, whatever it was given as."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .loss import Loss
from .targets import Form


class LossFunction:
    """A loss in one run of fit or evaluate.

    Attributes:
        name: what errors call it.
        own: the function of somebody's own that it is; None: it is the library's.
        takes_linear: whether it can be called with `LinearOutputs`.
        takes_logits: whether it puts the outputs through a sigmoid or softmax itself.
        converts_targets: whether it computes with the targets in the dtype of the outputs.
        label_ignored: the label that does not count, if it takes labels of classes; else None.
        wants: what it is given by name beside the lengths, in `more`.
        without_places: whether targets are sequences of lengths of their own, none of it for a step, with one loss for
            each; batches of them are lists.
    """

    name: str
    own: Callable[..., Any] | None = None
    takes_linear: bool = False
    takes_logits: bool = False
    converts_targets: bool = False
    label_ignored: int | None = None
    wants: frozenset[str] = frozenset()
    without_places: bool = False

    def __call__(
        self,
        y: Any,
        targets: Any,
        lengths: Any = None,
        *,
        need_gradient: bool = True,
        need_largest: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> Loss:
        """Of a batch; targets may be `Weighted`."""
        raise NotImplementedError

    def fitted(self, shape: tuple[int, ...], targets: Any, lengths: Any) -> Any:  # noqa: ARG002
        """The targets of a batch as it takes them for outputs of this shape, of whatever form they were given in."""
        return targets

    def check_outputs(self, outputs: Any) -> None:
        """Raises TypeError for outputs of a form that it does not take."""

    def check_targets(self, form: Form, part: Any) -> None:
        """Raises TypeError or ValueError if it would refuse any of the targets in `part`, a `Counted`. form: of the
        outputs."""

    def check_room(self, part: Any, steps: Any, counts: Any) -> None:
        """Raises ValueError for a target in `part` that does not fit into the steps (N,) of its output. counts: (N,),
        whether a sequence counts, or None."""

    def check_takes_weights(self) -> None:
        """Raises TypeError for a function that weights would not reach."""
