"""Hyper-parameters and parameters of the recurrent layers: checked, drawn, pickled; sizes and seeds in a model."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .. import _checks
from .._calls import Calls
from .._cells import CELLS, parameter_shapes
from .._warn import warn
from .cell_functions import differing
from .layer import Layer, Shape, seed_number, sizes
from .parameters import outside


def _present(cell: str, bias: bool, recurrent_bias: bool, peephole: bool) -> list[str]:
    """The parameters of one layer and direction that there are."""
    absent = () if bias and recurrent_bias else ("bias_of_states",) if bias else ("bias_of_x", "bias_of_states")
    absent = absent if peephole else (*absent, "vector")
    parameters = CELLS[cell]["parameters"].items()
    return [name for name, (kind, _, _, _, optional) in parameters if not (optional and kind in absent)]


class RecurrentParameters(Layer):
    """Hyper-parameters and parameters of a recurrent layer.

    Attributes (fixed once the layer is made): input_size, hidden_size, num_layers, bias, batch_first, dropout,
    bidirectional, recurrent_bias, dtype; num_directions (1 or 2); output_size (of one direction).

    Parameters of layer k have PyTorch's names, order and shapes (G gates of H hidden units, S = output_size):
    weight_ih_l{k} (G·H, I), weight_hh_l{k} (G·H, S), bias_ih_l{k} and bias_hh_l{k} (G·H,), for an LSTM with projection
    weight_hr_l{k} (S, H); the reverse direction has the suffix `_reverse`. I is input_size in the first layer and
    num_directions·S in the others. `bias=False` has no bias, `recurrent_bias=False` no bias_hh.
    """

    _config_names: ClassVar[tuple[str, ...]] = (  # the constructor's arguments, in the order `repr` shows them
        "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "recurrent_bias",
        "dtype",
    )  # fmt: skip

    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    recurrent_bias: bool
    num_directions: int
    output_size: int
    _cell_name: str  # in the core
    _state_names: tuple[str, ...]
    _state_sizes: tuple[int, ...]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._fixed = (*cls._config_names, "num_directions", "output_size")

    @abc.abstractmethod
    def _parameters_changed(self) -> None:
        """Called whenever `params` holds other arrays than before: drop what was derived from the old ones."""

    # ---- construction --------------------------------------------------------------------------------------------

    def _build(self, seed: object, **config: Any) -> None:
        """The whole constructor: check, draw the parameters, choose the dropout seed."""
        self._configure(**config)
        if self.dropout > 0 and self.num_layers == 1:
            warn(
                f"dropout acts on the output of every layer but the last, so dropout={self.dropout} "
                "has no effect with num_layers=1",
            )
        self._draw(_checks.seed_value("seed", seed))

    def _draw(self, seed: int | None) -> None:
        """Draw the parameters and the seed of dropout."""
        rng = np.random.default_rng(seed)
        bound = 1.0 / math.sqrt(self.hidden_size)
        # drawn in float64 whatever the dtype: layers that differ in dtype only start from the same values
        params = {name: rng.uniform(-bound, bound, shape) for name, shape in self._param_shapes.items()}
        self._dropout_seed = int(rng.integers(0, 2**64, dtype=np.uint64))
        self._dropout_calls = 0
        self._set_params({name: value.astype(self.dtype) for name, value in params.items()})

    def _configure(self, **config: Any) -> None:
        """Check and set the hyper-parameters and what follows from them."""
        values: dict[str, Any] = {
            "input_size": _checks.size("input_size", config["input_size"]),
            "hidden_size": _checks.size("hidden_size", config["hidden_size"]),
            "num_layers": _checks.integer("num_layers", config["num_layers"], maximum=_checks.MOST_LAYERS),
            "dropout": _checks.probability("dropout", config["dropout"]),
            "dtype": _checks.real_dtype("dtype", config["dtype"]),
        }
        for name in ("bias", "batch_first", "bidirectional", "recurrent_bias"):
            values[name] = _checks.flag(name, config[name])
        values.update(self._configure_cell({**config, **values}))
        values["num_directions"] = 2 if values["bidirectional"] else 1
        self.__dict__.update({"output_size": values["hidden_size"], **values})
        self._cell_name = self._choose_cell(values)
        states = CELLS[self._cell_name]["states"]
        self._state_names = tuple(states)
        self._state_sizes = tuple(
            self.output_size if width == "output" else self.hidden_size for width in states.values()
        )
        self._dropout_seed = self._dropout_calls = 0
        self._param_shapes = self._shapes()
        _checks.parameter_bytes(self, self._param_shapes, self.dtype)

    @abc.abstractmethod
    def _configure_cell(self, config: dict[str, Any]) -> dict[str, Any]:
        """The hyper-parameters that only this cell has, checked; the others in `config` are so already. Where its
        output is of another size than its gates, `output_size` among them."""

    @staticmethod
    @abc.abstractmethod
    def _choose_cell(config: Mapping[str, Any]) -> str:
        """The name in the core of the cell that these hyper-parameters mean; where they are wrong, that of any."""

    def _chosen(self) -> dict[str, Any]:
        """Of a cell whose functions are chosen: what they are, by ONNX' letters, and `clip`."""
        return {}

    def _own_options(self) -> list[str]:
        """The options of the cell that are not what they are if nothing is said."""
        return differing(self._config(), self._config_defaults)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        cell = self._cell_name
        kinds = _present(cell, self.bias, self.recurrent_bias, getattr(self, "peephole", False))
        inputs, hidden, output = self.input_size, self.hidden_size, self.output_size
        return parameter_shapes(cell, kinds, inputs, hidden, output, self.num_layers, self.bidirectional)

    @classmethod
    def _claims(cls, config: Mapping[str, Any]) -> int:
        if type(config["num_layers"]) is not int:
            return 0  # refused later
        flags = (config.get(name) is True for name in ("bias", "recurrent_bias", "peephole"))
        each = _present(cls._choose_cell(config), *flags)
        return config["num_layers"] * len(each) * (2 if config["bidirectional"] is True else 1)

    # ---- as a layer of a model -----------------------------------------------------------------------------------

    def output_shape(self, shape: Shape) -> Shape:
        shape = sizes(shape)
        if len(shape) != 3 or shape[2] not in (None, self.input_size):
            raise ValueError(f"{self!r} takes (N, T, {self.input_size}) and cannot follow an output of shape {shape}")
        return (*shape[:2], self.num_directions * self.output_size)

    def input_shape(self) -> Shape:
        return (None, None, self.input_size)

    def _check_carry(self, option: str) -> None:
        if self.bidirectional:
            raise ValueError(f"{option} cannot carry a state through {self!r}, which reads from both ends")

    def _without_dropout(self) -> Layer:
        if self.dropout == 0.0:
            return self
        twin: RecurrentParameters = type(self).__new__(type(self))
        twin._configure(**{**self._config(), "dropout": 0.0})
        twin._params = self._params
        twin._parameters_changed()
        return twin

    _call_bits = 32

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        self._draw(seed_number(seed))

    def _seed_dropout(self, seed: np.random.SeedSequence) -> None:
        self._set_dropout_state([seed_number(seed), 0])

    def _dropout_state(self) -> list[int]:
        return [self._dropout_seed, self._dropout_calls]

    def _set_dropout_state(self, state: list[int]) -> None:
        self._dropout_seed, self._dropout_calls = state

    # ---- the object ----------------------------------------------------------------------------------------------

    @property
    def _dropout_calls(self) -> int:
        """How many masks of dropout were drawn from the seed."""
        return self._calls.present

    @_dropout_calls.setter
    def _dropout_calls(self, number: int) -> None:
        self._calls = Calls(number)

    def _config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._config_names}

    def __getstate__(self) -> dict[str, Any]:
        return {
            "config": self._config(),
            "params": outside().run(dict, self._params),
            "dropout": (self._dropout_seed, self._dropout_calls),
            "learned": self._learned,
            "trainable": self._trainable,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._configure(**state["config"])
        self._dropout_seed, self._dropout_calls = state["dropout"]
        self._set_params({name: value.astype(self.dtype, copy=False) for name, value in state["params"].items()})
        self._learned = state.get("learned", False)  # of an older version: not known to be trained
        self._trainable = state.get("trainable", True)
