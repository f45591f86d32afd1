"""Attention: what each step of one sequence takes from all steps of another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _checks
from .._active import ACTIVE, refuse_in_training
from .._arrays import Array, length_array, real_array
from . import attention_scores
from .attention_memory import AttentionMemory, checked_memory, inside_of, refuse_from_elsewhere
from .layer import VJP, Layer, Outputs, Params, SeedLike, Shape, generator, gradient_like, sizes
from .registry import built_in

SCORES = ("additive", "general", "dot", "scaled_dot")
_PREPARE: Any = object()  # in place of a query: the keys' part alone


class _Inputs(NamedTuple):
    """Of a call, checked: query (N, Q, query_size), and what it looks at."""

    query: Array
    one_step: bool  # whether the query came as (N, query_size)
    memory: AttentionMemory
    inside: NDArray[np.bool_] | None  # (N, 1, K)


@built_in
class Attention(Layer):
    """A weighted mean of the keys for every query, more of those that fit it: context = weights @ keys.

    weights = softmax over the keys of the scores between a query q and each key k:

    - "additive": v . tanh(query_weight q + key_weight k + bias) (Bahdanau et al. 2015, with a bias that starts at 0);
    - "general": q . (weight k) (Luong et al. 2015);
    - "dot": q . k (Luong et al. 2015);
    - "scaled_dot": q . k / sqrt(query_size) (Vaswani et al. 2017).

    The parameters: of "additive" query_weight (size, query_size), key_weight (size, key_size), bias (size,) and v
    (size,); of "general" weight (query_size, key_size); the others have none. Matrices and v start uniform within
    ±1/sqrt(fan-in).

    All queries in one call give the bits of one call for each, and a padded batch those of each sequence alone. A
    decoder that goes step by step has `prepare` multiply the keys once.

    Args:
        query_size: numbers of a query.
        key_size: numbers of a key; of "dot" and "scaled_dot" they have to be as many as a query's.
        size: of the hidden layer of "additive"; None: query_size. The others have none.
        score: "additive", "general", "dot" or "scaled_dot".
        dtype: float32 or float64.
        seed: the initial values follow from it.

    Raises TypeError or ValueError for a wrong argument, naming it.

    >>> import numpy as np, pylstm
    >>> attention = pylstm.Attention(8, 6, seed=0)
    >>> query, keys = np.ones((2, 3, 8)), np.ones((2, 5, 6))
    >>> context, weights = attention(query, keys, lengths=[5, 2])
    >>> context.shape, weights.shape, weights[1, 0]
    ((2, 3, 6), (2, 3, 5), array([0.5, 0.5, 0. , 0. , 0. ], dtype=float32))
    """

    _config_names = _fixed = ("query_size", "key_size", "size", "score", "dtype")
    _asks = True
    query_size: int
    key_size: int
    size: int | None
    score: str

    def __init__(
        self,
        query_size: int,
        key_size: int,
        size: int | None = None,
        score: str = "additive",
        *,
        dtype: DTypeLike = np.float32,
        seed: SeedLike = None,
    ) -> None:
        self._configure(query_size=query_size, key_size=key_size, size=size, score=score, dtype=dtype)
        _checks.parameter_bytes(self, self._param_shapes, self.dtype)
        self._reseed_from(generator(seed))

    def _configure(self, *, query_size: int, key_size: int, size: int | None, score: str, dtype: DTypeLike) -> None:
        self.query_size = _checks.size("query_size", query_size)
        self.key_size = _checks.size("key_size", key_size)
        self.score = _checks.choice("score", score, SCORES)
        self.dtype = _checks.real_dtype("dtype", dtype)
        hidden = None if size is None else _checks.size("size", size)
        self.size = self.query_size if self.score == "additive" and hidden is None else hidden
        self._scale = 1.0
        self._param_shapes = {}
        if self.score == "additive":
            width = self.query_size if hidden is None else hidden
            self._param_shapes = {
                "query_weight": (width, self.query_size), "key_weight": (width, self.key_size),
                "bias": (width,), "v": (width,),
            }  # fmt: skip
            return
        if self.size is not None:
            raise ValueError(f"size must be None where score is {self.score!r}: only 'additive' has a hidden layer")
        if self.score == "general":
            self._param_shapes = {"weight": (self.query_size, self.key_size)}
        elif self.query_size != self.key_size:
            raise ValueError(
                f"key_size must be query_size where score is {self.score!r}, got {self.key_size} and "
                f"{self.query_size}: 'general' and 'additive' take any"
            )
        elif self.score == "scaled_dot":
            self._scale = 1.0 / math.sqrt(self.query_size)

    def _reseed_from(self, rng: np.random.Generator) -> None:
        self._set_params({
            name: np.zeros(shape, self.dtype) if name == "bias"
            else rng.uniform(-1, 1, shape).astype(self.dtype) / self.dtype.type(math.sqrt(shape[-1]))
            for name, shape in self._param_shapes.items()
        })  # fmt: skip

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        self._reseed_from(generator(seed))

    def _runs_alike(self) -> bool:
        return True

    # ---- calls -------------------------------------------------------------------------------------------------------

    def __call__(
        self, query: ArrayLike, keys: ArrayLike | AttentionMemory | None = None, *, lengths: ArrayLike | None = None
    ) -> Any:
        """Inference; in a model's run, part of it.

        Args:
            query: (N, Q, query_size), or (N, query_size): one step.
            keys: (N, K, key_size), or what `prepare` made of them.
            lengths: (N,) integers in 0..K: how many keys each sequence has; None: all K.

        Returns:
            The tuple (context, weights), of shapes (N, Q, key_size) and (N, Q, K), or (N, key_size) and (N, K). Weights
            past a length are 0; a length of 0 gives a context of 0.

        Raises TypeError or ValueError, naming the argument.
        """
        if (run := ACTIVE.get()) is not None:
            refuse_from_elsewhere(keys, self._key_weight if run.tape is not None and self._trainable else None)
            return run.call(self, (query, keys), {"lengths": lengths})
        if query is _PREPARE:
            return self._memory_of(keys, lengths)
        inputs = self._checked(query, keys, lengths)
        _, weights, context = self._attended(inputs)
        return (context[:, 0], weights[:, 0]) if inputs.one_step else (context, weights)

    def prepare(self, keys: ArrayLike, *, lengths: ArrayLike | None = None) -> AttentionMemory:
        """The keys multiplied by their weights, once for all queries that come one after another; in a model's run,
        part of it.

        Args:
            keys: (N, K, key_size).
            lengths: as in a call.

        Returns:
            An `AttentionMemory`, which calls take in place of keys and lengths; their results are the same to the bit.
            It belongs to the parameters of now: when they have changed, prepare the keys anew.

        Raises TypeError or ValueError, naming the argument.

        >>> attention = pylstm.Attention(8, 6, seed=0)
        >>> memory = attention.prepare(np.ones((2, 5, 6)), lengths=[5, 2])
        >>> context, weights = attention(np.ones((2, 8)), memory)         # one step of a decoder
        >>> context.shape, weights.shape
        ((2, 6), (2, 5))
        """
        return self(_PREPARE, keys, lengths=lengths)  # type: ignore[no-any-return]

    def forward(
        self, query: ArrayLike, keys: Any = None, *, lengths: ArrayLike | None = None, need_dx: bool = True
    ) -> tuple[Any, VJP]:
        """Training.

        Args:
            query: as in a call.
            keys: as in a call.
            lengths: as in a call.
            need_dx: False leaves out the gradient to the query.

        Returns:
            The tuple ((context, weights), backward). `backward(d_context, d_weights)` takes the gradients to both, None
            for one that is zero, and returns ((d_query, d_keys), d_params). Where keys came as a memory, d_keys is one,
            with the gradients to its arrays, for the `backward` of `prepare_vjp`, which has those to the keys and to
            what they were multiplied with; here these are 0. In a model's run all of this is done.

        Raises TypeError or ValueError, naming the argument.
        """
        if ACTIVE.get() is not None:
            refuse_in_training(self, "forward")
        if query is _PREPARE:
            memory, memory_backward = self.prepare_vjp(keys, lengths=lengths, need_dx=need_dx)

            def prepared_backward(d_memory: Any, into: Any = None) -> tuple[Outputs, Params]:
                d_keys, d_params = memory_backward(d_memory, into)
                return (None, d_keys), d_params

            return memory, prepared_backward
        run_back = None
        if not isinstance(keys, AttentionMemory):
            keys, run_back = self.prepare_vjp(keys, lengths=lengths)
            lengths = None
        inputs, params = self._checked(query, keys, lengths), self._params._arrays
        queries, weights, context = self._attended(inputs)
        one_step = inputs.one_step
        results = (context[:, 0], weights[:, 0].copy()) if one_step else (context, weights.copy())
        forms = [(one.shape, one.dtype) for one in results]

        def backward(d_context: Any = None, d_weights: Any = None, into: Any = None) -> tuple[Outputs, Params]:
            if isinstance(d_context, tuple) and len(d_context) == 2 and d_weights is None:  # in the form of the outputs
                d_context, d_weights = d_context
            ds = [
                None if d is None else gradient_like(d, form)
                for d, form in zip((d_context, d_weights), forms, strict=True)
            ]
            if one_step:
                ds = [None if d is None else d[:, None] for d in ds]
            d_query, d_memory, d_params = self._gradients(inputs, queries, weights, params, *ds)
            wanted = None if not need_dx else d_query[:, 0] if one_step else d_query
            if run_back is None:
                return (wanted, d_memory), self._all_params(d_params, into)
            d_keys, of_keys = run_back(d_memory, d_params)
            return (wanted, d_keys), self._all_params({**of_keys, **d_params}, into)

        return results, backward

    def _all_params(self, gradients: Mapping[str, Any], into: Any) -> Params:
        """In the order of `params`, with zeros for those that a part of the layer has none of: the other part gives
        them. Not again where there are sums (`into`) already."""
        if not self._trainable:
            return {}
        known = into or {}
        return {
            name: gradients[name] if name in gradients else np.zeros(shape, self.dtype)
            for name, shape in self._param_shapes.items()
            if name in gradients or name not in known
        }

    def vjp(self, query: ArrayLike, *inputs: Any, **options: Any) -> tuple[Outputs, VJP]:
        outputs, backward = self.forward(query, *inputs, **options)
        return ((outputs,) if query is _PREPARE else outputs), backward

    def prepare_vjp(
        self, keys: ArrayLike, *, lengths: ArrayLike | None = None, need_dx: bool = True
    ) -> tuple[AttentionMemory, Any]:
        """`prepare` for training outside of a model's run.

        Args:
            keys: (N, K, key_size).
            lengths: as in a call.
            need_dx: False leaves out the gradient to the keys.

        Returns:
            The tuple (memory, backward). `backward(d_memory)` takes the sum of the gradients that calls gave to the
            memory and returns (d_keys, d_params), in which what the keys are not multiplied with is 0.

        Raises TypeError or ValueError, naming the argument.
        """
        if ACTIVE.get() is not None:
            refuse_in_training(self, "prepare_vjp", "call attention.prepare(keys), which is recorded")
        memory = self._memory_of(keys, lengths)
        array, name, params, trained = memory.keys, self._key_weight, self._params._arrays, self._trainable
        forms = [(one.shape, one.dtype) for one in memory[:2]]

        def backward(d_memory: Any, into: Any = None) -> tuple[Array | None, Params]:
            if not isinstance(d_memory, tuple) or len(d_memory) != 3:
                raise TypeError(f"d_memory must be an AttentionMemory of gradients, got {_checks.kind(d_memory)}")
            d_keys, d = (
                np.zeros(*form) if d is None else gradient_like(d, form)
                for d, form in zip(d_memory[:2], forms, strict=True)
            )
            if name is None:
                return (d_keys + d if need_dx else None), {}
            weight, has_bias = params[name], "bias" in params
            dx, found = attention_scores.multiplied_backward(array, weight, has_bias, d, need_dx, trained)
            return (None if dx is None else d_keys + dx), self._all_params(
                dict(zip((name, "bias"), found, strict=False)), into
            )

        return memory, backward

    # ---- what is computed --------------------------------------------------------------------------------------------

    @property
    def _key_weight(self) -> str | None:
        """The parameter that keys are multiplied with."""
        return {"additive": "key_weight", "general": "weight"}.get(self.score)

    def _memory_of(self, keys: Any, lengths: ArrayLike | None) -> AttentionMemory:
        """A memory of arrays of its own, in which what stands past a length is 0 (it may be anything: NaN, too)."""
        if keys is None or isinstance(keys, AttentionMemory):
            self._refuse_keys(keys)
        array = real_array("keys", keys, self.dtype)
        if array.ndim != 3 or array.shape[2] != self.key_size:
            raise ValueError(f"keys must have shape (N, K, {self.key_size}), got {array.shape}")
        batch, count, _ = array.shape
        counts = np.full(batch, count, np.int64) if lengths is None else length_array(lengths, count, batch)
        inside = inside_of(counts, count)
        if inside is None:
            array = np.array(array, order="C")  # a memory is kept for long, and callers may write to theirs
        else:
            array = np.where(inside.reshape(batch, count, 1), array, self.dtype.type(0))
        params, projected = self._params._arrays, array
        if self._key_weight is not None:
            projected = attention_scores.multiplied(array, params[self._key_weight], params.get("bias"))
        return AttentionMemory(array, projected, counts)

    def _refuse_keys(self, keys: object) -> NoReturn:
        if keys is None:
            raise TypeError(
                "Attention takes a query and keys, attention(query, keys): a chain of layers hands on one input, so "
                "call it in the run of a Model"
            )
        raise TypeError("keys must be an array where they are prepared, got an AttentionMemory, which they are already")

    def _checked(self, query: Any, keys: Any, lengths: ArrayLike | None) -> _Inputs:
        array = real_array("query", query, self.dtype).view()  # backward reads it again
        one_step = array.ndim == 2
        if array.ndim not in (2, 3) or array.shape[-1] != self.query_size:
            raise ValueError(
                f"query must have shape (N, Q, {self.query_size}), or (N, {self.query_size}) for one step, got "
                f"{array.shape}"
            )
        if isinstance(keys, AttentionMemory):
            if lengths is not None:
                raise TypeError("lengths must be given to prepare, which has them in the memory, and not to the call")
            width = self.key_size if self._key_weight is None else self._param_shapes[self._key_weight][0]
            memory = checked_memory(keys, self.key_size, width, self.dtype)
        else:
            memory = self._memory_of(keys, lengths)
        if len(memory.keys) != len(array):
            raise ValueError(f"query must have the N of keys, {len(memory.keys)}, got shape {array.shape}")
        inside = inside_of(memory.lengths, memory.keys.shape[1])
        return _Inputs(array[:, None] if one_step else array, one_step, memory, inside)

    def _attended(self, inputs: _Inputs) -> tuple[Array, Array, Array]:
        """(what the scores were computed with of the queries, weights, context)."""
        params, memory = self._params._arrays, inputs.memory
        queries = inputs.query
        if self.score == "additive":
            queries = attention_scores.multiplied(queries, params["query_weight"], None)
            scores = attention_scores.additive(queries, memory.projected, params["v"], memory.lengths)
        else:
            scores = attention_scores.dot(queries, memory.projected, self._scale)
        weights = attention_scores.weights_of(scores, inputs.inside)
        return queries, weights, attention_scores.context_of(weights, memory.keys)

    def _gradients(
        self,
        inputs: _Inputs,
        queries: Array,
        weights: Array,
        params: Any,
        d_context: Array | None,
        d_weights: Array | None,
    ) -> tuple[Array, AttentionMemory, Params]:
        """To the query, the memory, and the parameters that the query is multiplied with."""
        memory = inputs.memory
        d_keys: Array | None = None
        if d_context is not None:
            d_own, d_keys = attention_scores.context_backward(weights, memory.keys, d_context)
            d_weights = d_own if d_weights is None else d_own + d_weights
        if d_weights is None:
            d_weights = np.zeros_like(weights)
        d_scores = attention_scores.weights_backward(d_weights, weights, inputs.inside)
        projected = memory.projected
        if self.score != "additive":
            d_query, d_projected = attention_scores.dot_backward(queries, projected, self._scale, d_scores)
            return d_query, AttentionMemory(d_keys, d_projected, None), {}
        d_queries, d_projected, d_v = attention_scores.additive_backward(
            queries, projected, params["v"], memory.lengths, d_scores
        )
        weight, trained = params["query_weight"], self._trainable
        dx, found = attention_scores.multiplied_backward(inputs.query, weight, False, d_queries, True, trained)
        assert dx is not None
        return (
            dx,
            AttentionMemory(d_keys, d_projected, None),
            {"v": d_v} if not found else {"v": d_v, "query_weight": found[0]},
        )

    def output_shape(self, shape: Shape) -> Shape:
        """That of the context, for queries of this shape."""
        shape = sizes(shape)
        if shape and shape[-1] not in (None, self.query_size):
            raise ValueError(f"{self!r} cannot take queries of {shape[-1]} features")
        return (*shape[:-1], self.key_size)

    def input_shape(self) -> Shape:
        return (None, self.query_size)
