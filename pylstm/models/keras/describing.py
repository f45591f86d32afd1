"""A chain of our layers as a Sequential of Keras 3: its config, and its weights as Keras has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..._arrays import Array
from ...files.keras.recurrent import theirs
from ...files.keras.storing import Layer, Part
from ...layers.activation import Activation
from ...layers.compiled import GRU, LSTM
from ...layers.convolution import Conv1d
from ...layers.dropout import Dropout
from ...layers.embedding import Embedding
from ...layers.layer import Layer as OurLayer
from ...layers.linear import Linear
from ...layers.normalization import LayerNorm
from ...layers.pooling import BothEnds, LastStep, MaxOverTime, MeanOverTime
from ...layers.recurrent_parameters import RecurrentParameters
from ..sequential import Sequential
from .activations import IN_CELLS
from .names import Names

Values = dict[str, Any]


class _Chain:
    """What has been described so far."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.configs: list[Values] = []
        self.layers: list[Layer] = []
        self._names = Names()

    def add(
        self, kind: str, values: Values, parts: list[tuple[str, list[Array]]] | None = None, trainable: bool = True
    ) -> None:
        name = self._names.of(kind)
        frozen = {} if trainable else {"trainable": False}  # which not every layer takes
        self.configs.append(_of_class(kind, {"name": name, "dtype": self.dtype, **frozen, **values}))
        self.layers.append(Layer(name, name, [Part(way, arrays) for way, arrays in parts or []]))


def _of_class(kind: str, values: Values) -> Values:
    return {"module": "keras.layers", "class_name": kind, "config": values, "registered_name": None}


def described(model: Sequential) -> tuple[Values, list[Layer]]:
    """Raises ValueError for a layer that Keras does not have."""
    layers = _flat(model)
    shape = model.shapes()[0]
    whole = isinstance(next((one for one in layers if one._param_shapes), None), Embedding)
    if not whole and len(shape) == 2 and model.metadata.get("input_axes") == 3:
        shape = (None, None, shape[1])  # as the file had it: layers that look at the last axis take both
    chain = _Chain(str(model.dtype))
    if shape[-1] is None and not whole:
        raise ValueError("the first layers do not say how many features the input has, which Keras wants to know")
    at = 0
    while at < len(layers):
        at += _describe(chain, layers[at], layers[at + 1] if at + 1 < len(layers) else None)
    entry = {
        "batch_shape": [None if n is None else int(n) for n in shape],
        "dtype": "int32" if whole else chain.dtype, "sparse": False, "ragged": False, "name": "input_layer",
    }  # fmt: skip
    values = {
        "name": "sequential", "dtype": chain.dtype,
        "layers": [_of_class("InputLayer", entry), *chain.configs],
    }  # fmt: skip
    config = {"module": "keras", "class_name": "Sequential", "config": values, "registered_name": None}
    return config, chain.layers


def _flat(model: Any) -> list[OurLayer]:
    found: list[OurLayer] = []
    for layer in model.layers:
        found += _flat(layer) if isinstance(layer, Sequential) else [layer]
    return found


def _describe(chain: _Chain, layer: Any, after: OurLayer | None) -> int:
    """How many of ours it was."""
    if isinstance(layer, RecurrentParameters):
        return _recurrent(chain, layer, after)
    describe = _PLAIN.get(type(layer))
    if describe is None:
        hint = ""
        if isinstance(layer, (LastStep, BothEnds)):
            hint = ", where it does not stand behind a recurrent layer: LastStep of one direction, BothEnds of two"
        raise ValueError(f"{layer!r} has no counterpart in Keras{hint}. What Keras has: {_known()}")
    describe(chain, layer)
    return 1


def _known() -> str:
    names = ["LSTM", "GRU", "RNN", "LastStep", "BothEnds", *(kind.__name__ for kind in _PLAIN)]
    return ", ".join(sorted(names))


def _recurrent(chain: _Chain, layer: Any, after: OurLayer | None) -> int:
    """With the pooling behind it, which Keras has inside."""
    if getattr(layer, "proj_size", 0):
        raise ValueError(f"{layer!r} has a projection, which Keras does not have")
    if not layer.batch_first:
        raise ValueError(f"{layer!r} has the time first: Keras has the batch first")
    if any(getattr(layer, name, None) for name in ("peephole", "coupled", "clip", "output_activation")):
        raise ValueError(
            f"{layer!r} has peepholes, coupled gates, a clip or an output_activation: Keras has none of them"
        )
    last = isinstance(after, BothEnds if layer.bidirectional else LastStep)
    kind = "LSTM" if isinstance(layer, LSTM) else "GRU" if isinstance(layer, GRU) else "RNN"
    name = {"RNN": "SimpleRNN"}.get(kind, kind)
    resets = getattr(layer, "reset_after", False)
    function = _function(layer, "nonlinearity" if kind == "RNN" else "activation")
    for level in range(layer.num_layers):
        own: Values = {
            "units": layer.hidden_size, "use_bias": layer.bias, "activation": function,
            "return_sequences": not (last and level == layer.num_layers - 1), "return_state": False,
        }  # fmt: skip
        if kind != "RNN":
            own["recurrent_activation"] = _function(layer, "recurrent_activation")
        if kind == "GRU":
            own["reset_after"] = resets
        arrays = [theirs(kind, layer.params, f"_l{level}{end}", resets)
                  for end in ("", "_reverse")[: layer.num_directions]]  # fmt: skip
        if layer.bidirectional:
            inner = _of_class(name, {"name": f"forward_{name.lower()}", "dtype": chain.dtype, **own})
            parts = [("forward_layer/cell", [*arrays[0]]), ("backward_layer/cell", [*arrays[1]])]
            chain.add("Bidirectional", {"merge_mode": "concat", "layer": inner}, parts, layer.trainable)
        else:
            chain.add(name, own, [("cell", arrays[0])], layer.trainable)
        if layer.dropout and level < layer.num_layers - 1:
            chain.add("Dropout", {"rate": layer.dropout})
    return 2 if last else 1


def _function(layer: Any, argument: str) -> str:
    """What Keras 3 calls a function of a cell."""
    value = getattr(layer, argument)
    for name, ours in IN_CELLS.items():
        if ours == value and not name.endswith("_of_2"):
            return name
    raise ValueError(
        f"{layer!r} has {argument}={value!r}, which today's Keras does not have under a name; its hard_sigmoid is "
        "('hard_sigmoid', 1 / 6, 0.5), its leaky_relu ('leaky_relu', 0.2)"
    )


# ---- the others ------------------------------------------------------------------------------------------------------


def _linear(chain: _Chain, layer: Any) -> None:
    params = layer.params
    size, bias = params["weight"].shape[0], "bias" in params
    chain.add("Dense", {"units": size, "use_bias": bias, "activation": "linear"},
              [("", [params["weight"].T, *([params["bias"]] if bias else [])])], layer.trainable)  # fmt: skip


def _embedding(chain: _Chain, layer: Any) -> None:
    chain.add("Embedding", {"input_dim": layer.num, "output_dim": layer.dim, "mask_zero": False},
              [("", [layer.params["weight"]])], layer.trainable)  # fmt: skip


def _convolution(chain: _Chain, layer: Any) -> None:
    if layer.padding:
        chain.add("ZeroPadding1D", {"padding": [layer.padding, layer.padding]})
    params = layer.params
    chain.add(
        "Conv1D",
        {"filters": layer.out_size, "kernel_size": [layer.kernel_size], "strides": [layer.stride],
         "padding": "causal" if layer.causal else "valid", "dilation_rate": [layer.dilation], "groups": 1,
         "use_bias": layer.bias, "activation": "linear"},
        [("", [params["weight"].transpose(2, 1, 0), *([params["bias"]] if layer.bias else [])])],
        layer.trainable,
    )  # fmt: skip


def _norm(chain: _Chain, layer: Any) -> None:
    params = layer.params
    values = {"axis": -1, "epsilon": layer.eps}
    chain.add("LayerNormalization", values, [("", [params["weight"], params["bias"]])], layer.trainable)


def _dropout(chain: _Chain, layer: Any) -> None:
    if layer.same_for_all_steps:
        chain.add("SpatialDropout1D", {"rate": layer.p})
    else:
        chain.add("Dropout", {"rate": layer.p})


def _activation(chain: _Chain, layer: Any) -> None:
    chain.add("Activation", {"activation": layer.function})


_PLAIN: dict[type, Callable[[_Chain, Any], None]] = {
    Linear: _linear, Embedding: _embedding, Conv1d: _convolution, LayerNorm: _norm, Dropout: _dropout,
    Activation: _activation,
    MaxOverTime: lambda chain, _: chain.add("GlobalMaxPooling1D", {}),
    MeanOverTime: lambda chain, _: chain.add("GlobalAveragePooling1D", {}),
}  # fmt: skip
