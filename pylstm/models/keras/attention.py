"""Attention, AdditiveAttention and MultiHeadAttention of Keras."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...files.keras.config import Config
from ...files.keras.weights import LayerWeights, read
from ...graph.functions import where
from ...layers.dropout import Dropout
from ...layers.linear import Linear
from .scale import Scale
from .step import Arrays, Mask, Step, Tensor, value_of


def _causal(queries: int, keys: int) -> np.ndarray[Any, Any]:
    return np.tri(queries, keys, dtype=bool)[None]


class DotAttention(Step):
    """Attention and AdditiveAttention: what each query takes from the values."""

    def build(self, config: Config, weights: LayerWeights) -> None:
        self.additive = config.kind == "AdditiveAttention"
        if config.get("score_mode", "dot") != "dot":
            raise config.wrong(f"its score_mode {config.get('score_mode')!r:.80} is not read: dot")
        self.scaled = config.flag("use_scale", self.additive)
        self.causal = config.flag("causal")
        if self.scaled:
            given = weights.take("", 1)[0]
            array = read(given, (None,) if self.additive else (), f"the scale of {config!r}").reshape(-1)
            layer = Scale(len(array), bias=False, dtype=self.dtype)
            layer.load_state_dict({"weight": array})
            self.layers = {"": layer}
        rate = config.number("dropout", 0.0)
        if rate:
            self.layers = {"scale": self.layers[""], "dropout": Dropout(rate)} if self.layers else {"": Dropout(rate)}
        self.scale = self.layers.get("scale", self.layers.get("")) if self.scaled else None
        self.drop = self.layers.get("dropout", self.layers.get("")) if rate else None

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:
        self.check_options(options, ("use_causal_mask", "return_attention_scores"))
        if len(given) not in (2, 3):
            raise ValueError(f"{self.config!r} takes query, value and perhaps key, got {len(given)} inputs")
        query, value = (value_of(one.value, self.dtype) for one in given[:2])
        key = value_of(given[2].value, self.dtype) if len(given) > 2 else value
        query_mask, value_mask = given[0].mask, given[1].mask
        scores = self._scores(query, key)
        inside: Mask = None if value_mask is None else value_mask[:, None]
        if self.causal or options.get("use_causal_mask"):
            causal = _causal(*scores.shape[-2:])
            inside = causal if inside is None else causal & inside
        if inside is not None:
            scores = where(np.broadcast_to(inside, scores.shape), scores, scores - 1e9)
        weights = scores.softmax()
        context = (weights if self.drop is None else self.drop(weights)) @ value
        if query_mask is not None:
            context = where(query_mask[..., None], context, 0.0)
        first = Tensor(context, query_mask)
        return [first, Tensor(weights)] if options.get("return_attention_scores") else first

    def _scores(self, query: Any, key: Any) -> Any:
        if not self.additive:
            scores = query @ key.swapaxes(-2, -1)
            return scores if self.scale is None else self.scale(scores[..., None])[..., 0]
        hidden = (query[:, :, None] + key[:, None]).tanh()
        return (hidden if self.scale is None else self.scale(hidden)).sum(axis=-1)

    def arrays(self) -> Arrays:
        if self.scale is None:
            return []
        weight = self.scale.params["weight"]
        return [("", [weight if self.additive else weight.reshape(())])]


def _plain_mask(given: Any) -> Mask:
    if isinstance(given, Tensor):
        value = given.value if isinstance(given.value, np.ndarray) else given.value.numpy()
        return np.asarray(value != 0)
    return None


_PARTS = ("query", "key", "value")


class MultiHeadAttention(Step):
    def build(self, config: Config, weights: LayerWeights) -> None:
        if config.get("attention_axes") not in (None, [1]) or config.get("output_shape") is not None:
            raise config.wrong("attention_axes and output_shape are not read")
        self.heads, self.size = config.size("num_heads"), config.size("key_dim")
        self.value_size = config.size("value_dim", self.size) if config.get("value_dim") else self.size
        bias = self.bias = config.flag("use_bias", True)
        for name in (*_PARTS, "output"):
            size = self.value_size if name in ("value", "output") else self.size
            taken = weights.take(f"{name}_dense", 1 + bias)
            what = f"the weights of {config!r}"
            form = (self.heads, size, None) if name == "output" else (None, self.heads, size)
            kernel = read(taken[0], form, what)
            kernel = kernel.reshape(-1, kernel.shape[-1]) if name == "output" else kernel.reshape(len(kernel), -1)
            layer = Linear(kernel.shape[0], kernel.shape[1], bias=bias, dtype=self.dtype, seed=0)
            state: dict[str, Any] = {"weight": kernel.T}
            if bias:
                state["bias"] = read(taken[1], (None,) if name == "output" else form[1:], what).reshape(-1)
            layer.load_state_dict(state)
            self.layers[name] = layer
        self.drop = Dropout(config.number("dropout", 0.0)) if config.number("dropout", 0.0) else None
        if self.drop is not None:
            self.layers["dropout"] = self.drop

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:
        self.check_options(
            options, ("query", "value", "key", "use_causal_mask", "return_attention_scores", "attention_mask")
        )
        found = dict(zip(("query", "value", "key"), given, strict=False))
        found.update({name: options[name] for name in _PARTS if isinstance(options.get(name), Tensor)})
        if "query" not in found or "value" not in found:
            raise ValueError(f"{self.config!r} takes query and value, and perhaps key")
        query, value = found["query"], found["value"]
        key = found.get("key", value)
        parts = {
            name: self._split(self.layers[name](value_of(one.value, self.dtype)))
            for name, one in zip(_PARTS, (query, key, value), strict=True)
        }
        scores = (parts["query"] * (1 / math.sqrt(self.size))) @ parts["key"].swapaxes(2, 3)  # (N, heads, Q, K)
        inside = self._inside(query.mask, value.mask, found["key"].mask if "key" in found else None, scores, options)
        if inside is not None:
            scores = where(np.broadcast_to(inside[:, None], scores.shape), scores, scores - 3e38)
        weights = scores.softmax()
        context = ((weights if self.drop is None else self.drop(weights)) @ parts["value"]).swapaxes(1, 2)
        size, steps = context.shape[:2]
        y = self.layers["output"](context.reshape(size, steps, self.heads * self.value_size))
        first = Tensor(y, query.mask)
        return [first, Tensor(weights)] if options.get("return_attention_scores") else first

    def _split(self, x: Any) -> Any:
        """(N, T, heads * size) -> (N, heads, T, size)."""
        return x.reshape(*x.shape[:2], self.heads, x.shape[2] // self.heads).swapaxes(1, 2)

    def _inside(self, query: Mask, value: Mask, key: Mask, scores: Any, options: dict[str, Any]) -> Mask:
        found = [one for one in (
            None if query is None else query[:, :, None],
            None if value is None else value[:, None],
            None if key is None else key[:, None],
            _causal(*scores.shape[-2:]) if options.get("use_causal_mask") else None,
            _plain_mask(options.get("attention_mask")),
        ) if one is not None]  # fmt: skip
        made: Mask = None
        for one in found:
            made = one if made is None else made & one
        return made

    def arrays(self) -> Arrays:
        found: Arrays = []
        for name in (*_PARTS, "output"):
            params = self.layers[name].params
            size = self.value_size if name in ("value", "output") else self.size
            kernel = params["weight"].T
            if name == "output":
                own = [kernel.reshape(self.heads, size, -1), *([params["bias"]] if self.bias else [])]
            else:
                own = [kernel.reshape(-1, self.heads, size)]
                own += [params["bias"].reshape(self.heads, size)] if self.bias else []
            found.append((f"{name}_dense", own))
        return found
