"""What stands for a layer of Keras in a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..._active import ACTIVE
from ..._arrays import Array
from ...files.keras.config import Config
from ...files.keras.weights import LayerWeights
from ...graph.values import Value
from ...layers.layer import Layer

Mask = NDArray[np.bool_] | None
MASK_SAID = "mask"  # among options: whether the graph says which mask a layer takes
CARRIED = "carried states"  # among options: the `States` of the call


class Tensor(NamedTuple):
    """What goes from layer to layer: a value (or a plain array of integers), and which of its steps count, (N, T)."""

    value: Any
    mask: Mask = None


Arrays = list[tuple[str, list[Array]]]  # the way to what has them, as `LayerWeights.take` has it; the arrays


class Step:
    """A layer of Keras.

    Attributes:
        config: of the layer.
        layers: what has its parameters here, by names of the layer's own; {"": layer} where it is one.
        stateful: whether a call goes on from the states that the one before has left.
    """

    stateful = False

    passes_mask: ClassVar[bool] = False  # whether the mask of what goes in is that of what comes out

    def __init__(self, config: Config, weights: LayerWeights, dtype: str) -> None:
        self.config, self.dtype = config, dtype
        self.layers: dict[str, Any] = {}
        self.build(config, weights)

    def build(self, config: Config, weights: LayerWeights) -> None:
        """Check the config, make the layers and take the weights."""

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:  # noqa: ARG002
        """What comes out: one, or several.

        Args:
            given: what it is called with, a list of one as a rule.
            options: what it is called with by name, `Tensor` in place of tensors.
        """
        if len(given) != 1:
            raise ValueError(f"{self.config!r} takes one input, got {len(given)}")
        x, mask = given[0]
        return Tensor(self.compute(x), mask if self.passes_mask else None)

    def compute(self, x: Any) -> Any:
        """Of one input, without its mask."""
        raise NotImplementedError

    def chain(self) -> list[Layer] | None:
        """The layers of ours that do the same one after the other, where nothing is masked; None: there are none."""
        return None

    def arrays(self) -> Arrays:
        """The weights as Keras has them."""
        return []

    @property
    def states(self) -> int:
        """How many of its arrays, the last ones, are no parameters to Keras."""
        return 0

    def check_options(self, options: Iterable[str], known: Iterable[str] = ()) -> None:
        """Raises ValueError for what the layer is called with by name and is not known."""
        if other := set(options) - {"training", MASK_SAID, CARRIED, *known}:
            raise ValueError(
                f"{self.config!r} is called with {', '.join(sorted(other))[:200]}, which is not read here: build this "
                "part as a pylstm.Model, and give it its weights with from_keras(path, model)"
            )


def sequences_of(given: list[Tensor], step: Step) -> tuple[Any, Mask]:
    """The first of what a layer is called with, and its mask. Raises ValueError unless it is (N, T, F)."""
    if not given:
        raise ValueError(f"{step.config!r} is called with nothing: the file is damaged")
    x = value_of(given[0].value, step.dtype)
    if x.ndim != 3:
        raise ValueError(f"{step.config!r} takes sequences, (N, T, F), and is called with {x.shape}")
    return x, given[0].mask


def value_of(x: Any, dtype: str) -> Any:
    """x as a value: integers become floats of that dtype."""
    if isinstance(x, Value):
        return x
    run: Any = ACTIVE.get()
    return run.constant(np.asarray(x, dtype), "x")


def one_output(step: Step, given: list[Tensor]) -> Tensor:
    """What a layer inside of another gives, of which one output is wanted."""
    found = step.run(given, {})
    if not isinstance(found, Tensor):
        raise ValueError(f"{step.config!r} must give one output inside of another layer")
    return found


Make = Callable[[Config, LayerWeights, str], Step]
