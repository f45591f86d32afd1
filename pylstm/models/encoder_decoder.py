"""`EncoderDecoder`: sequences to sequences of other lengths, as translations are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import _checks
from ..graph.deferred import DeferringRun
from ..graph.recording import Run
from ..layers.attention import Attention
from ..layers.layer import Layer, Shape
from ..layers.linear import Linear
from ..layers.registry import built_in
from ..training.callbacks import callback_list
from ..training.data import Batch, Inputs
from ..training.scheduled_sampling import ScheduledSampling
from ..training.splitting import Data
from ..training.under_way import refuse_again
from .bridges import Bridge
from .decoder_parts import DecoderParts, check_apart, flat, output_width, recurrent
from .decoder_passes import Coins, at_once, encoded, headed, step_by_step
from .naming import named_layers
from .sequence_pairs import as_sequences, as_symbols, refuse
from .summaries import table
from .writing import Writing


@built_in
class EncoderDecoder(Writing):
    """A model that reads a sequence and writes another one: translation, summaries, spelling to sound.

    The encoder reads the source; its final states, through a bridge, are the initial ones of the decoder, which writes
    the target symbol by symbol (Sutskever et al. 2014; Cho et al. 2014). With an attention the decoder weighs the
    encoder's outputs in each step, and what goes on to the head is tanh(W [context; h]) (Luong et al. 2015). In
    training it is given the true symbols, one step late (teacher forcing), so that all steps are computed at once.

    Sources and targets are lists of sequences of symbols, of any lengths; begin and end are added here. Targets may be
    empty, and sources, too.

    Args:
        encoder: a `Sequential` or a list of layers that keep the steps, as a rule an `Embedding` and recurrent layers
            with batch_first=True. Sources are what its first layer takes: symbols, or (T, F) features.
        decoder: the same: first an `Embedding`, then recurrent layers, not bidirectional, and last a `Linear`, the
            logits; other layers among them have to work step by step, such as `Dropout`. With an attention the layer
            behind the recurrent ones takes any number: that of the vector which the attention makes. The embedding may
            be the encoder's own object, if source and target share their symbols.
        attention: an `Attention` between what the decoder's and the encoder's last layers give, or its score:
            "additive", "general", "dot" or "scaled_dot". None: the states alone tell the decoder of the source.
        begin: the symbol that the decoder reads first.
        end: the one that it writes last.
        bridge: "copy": the final states as they are; "linear": tanh of a learned layer for each state of each layer,
            both directions side by side; "zero": none, the attention tells. "auto": copied if they are of one form,
            else linear.
        reverse_source: whether the encoder reads from the last step to the first (Sutskever et al. 2014).
        input_feeding: whether the vector of the attention (without one the output) of a step goes into the next one
            beside its symbol (Luong et al. 2015): the first recurrent layer's input is as much larger. Training then
            goes step by step.
        tie_embeddings: whether the decoder's embedding is the weight of the head, too (Press & Wolf 2017): the decoder
            then has no `Linear` at its end, and as many numbers come there as the embedding has.
        seed: draw the parameters anew from this number, and the seeds of dropout. What has been trained or loaded stays
            as it is.

    Raises TypeError or ValueError for a wrong argument, and ValueError for sizes that do not fit.

    Attributes:
        encoder: the layers, a tuple.
        decoder: the layers, a tuple.
        attention: the `Attention`, or None.
        combine: the `Linear` that makes a vector of the context and the decoder's output, or None.
        bridge: the linear layers of the bridge by the states they make: "h_l0", "c_l0", ..
        begin, end, reverse_source, input_feeding, tie_embeddings: as given.

    >>> import numpy as np, pylstm
    >>> rng = np.random.default_rng(0)
    >>> sources = [rng.integers(2, 8, rng.integers(1, 6)).tolist() for _ in range(600)]
    >>> targets = [source[::-1] for source in sources]                      # to be learned: to write backwards
    >>> model = EncoderDecoder([Embedding(8, 16), LSTM(16, 32, batch_first=True)],
    ...                        [Embedding(8, 16), LSTM(16, 32, batch_first=True), Linear(32, 8)],
    ...                        attention="dot", begin=0, end=1, seed=0)
    >>> history = model.fit(sources, targets, optimizer=Adam(1e-2), epochs=12, seed=0, verbose=0)
    >>> model.translate([[2, 3, 4], [7, 5]], beam_size=4)
    [[4, 3, 2], [5, 7]]
    """

    _config_names = (
        "begin", "end", "bridge", "reverse_source", "input_feeding", "tie_embeddings", "shared"
    )  # fmt: skip
    _part_names = ("encoder", "decoder", "attention")
    keeps_time = None
    _own_steps = True
    _target_name = "targets"
    _loss: Any = "cross_entropy"
    _sampling: ScheduledSampling | None = None  # while fit runs

    def __init__(
        self,
        encoder: Any,
        decoder: Any,
        attention: Attention | str | None = None,
        *,
        begin: int,
        end: int,
        bridge: str = "auto",
        reverse_source: bool = False,
        input_feeding: bool = False,
        tie_embeddings: bool = False,
        seed: int | None = None,
    ) -> None:
        number = _checks.seed_value("seed", seed)
        layers = flat("encoder", encoder), flat("decoder", decoder)
        if isinstance(attention, str):
            attention = self._attention_of(*layers, attention)
        self._configure(
            *layers, attention, begin=begin, end=end, bridge=bridge, reverse_source=reverse_source,
            input_feeding=input_feeding, tie_embeddings=tie_embeddings,
        )  # fmt: skip
        for layer in self._own_layers():
            layer._reseed(np.random.SeedSequence())
        if number is not None:
            self._reseed_fresh(np.random.SeedSequence(number))

    def _configure(
        self,
        encoder: tuple[Layer, ...],
        decoder: tuple[Layer, ...],
        attention: Layer | None,
        *,
        begin: int,
        end: int,
        bridge: str,
        reverse_source: bool,
        input_feeding: bool,
        tie_embeddings: bool,
    ) -> None:
        """All but the parameters of the layers that are made here."""
        self.encoder, self.decoder = encoder, decoder
        if attention is not None and not isinstance(attention, Attention):
            raise TypeError(f"attention must be an Attention or the name of its score, got {_checks.kind(attention)}")
        self.attention = attention
        self.reverse_source = _checks.flag("reverse_source", reverse_source)
        self.input_feeding = _checks.flag("input_feeding", input_feeding)
        self.tie_embeddings = _checks.flag("tie_embeddings", tie_embeddings)
        check_apart(encoder, decoder, attention)
        self.parts = parts = DecoderParts(decoder, self.tie_embeddings)
        width = output_width("encoder", encoder, _input_of(encoder))
        parts.fit_sizes(attention is not None, self.input_feeding)
        if self.input_feeding:
            self._check_step_by_step("input_feeding", parts.middle)
        self.combine: Linear | None = None
        dtypes = {
            str(layer.dtype) for layer in (*encoder, *decoder, attention) if layer is not None and layer._param_shapes
        }
        if len(dtypes) > 1:
            raise ValueError(f"the layers must have one dtype, got {' and '.join(sorted(dtypes))}")
        dtype = parts.embedding.dtype
        if attention is not None:
            if (attention.query_size, attention.key_size) != (parts.query, width):
                raise ValueError(
                    f"{attention!r} does not fit: the decoder's recurrent layers give {parts.query} numbers, the "
                    f"encoder {width}"
                )
            self.combine = _bare(width + parts.query, parts.width, dtype, bias=False)
        self.begin = _checks.integer("begin", begin, 0, parts.embedding.num - 1)
        self.end = _checks.integer("end", end, 0, parts.classes - 1)
        self._bridge = Bridge(bridge, recurrent(encoder), recurrent(decoder))
        self.bridge = {name: _bare(*sizes, dtype) for name, sizes in self._bridge.sizes.items()}
        parts.names = named_layers(self)  # once: a batch asks several times

    @staticmethod
    def _attention_of(encoder: tuple[Layer, ...], decoder: tuple[Layer, ...], score: str) -> Attention:
        last = recurrent(decoder)[-1]
        query = last.output_size * last.num_directions
        return Attention(query, output_width("encoder", encoder, _input_of(encoder)), score=score, dtype=last.dtype)

    def _own_layers(self) -> list[Linear]:
        return [*([] if self.combine is None else [self.combine]), *self.bridge.values()]

    # ---- what is computed ----------------------------------------------------------------------------------------

    def run(self, source: Any, target: Any = None, lengths: Any = None, coins: Coins | None = None) -> Any:
        """Logits (N, T', V) of each symbol of the target, given the source and the true symbols before it.

        Args:
            source: (N, T) symbols, or (N, T, F).
            target: (N, T') symbols that the decoder reads: begin, and then the target's own.
            lengths: of both, a tuple; None for one without.
            coins: for training alone.
        """
        if target is None:
            raise TypeError(
                "target is missing: model(source, target) gives the logits of one, and translate(sources) writes one"
            )
        own, ends = _both(lengths)
        states, memory = self.begun(source, own)
        symbols = np.asanyarray(target)
        if self.input_feeding or (coins is not None and coins.probability):
            y = step_by_step(self, symbols, states, memory, ends, coins)
        else:
            y = at_once(self, symbols, states, memory, ends)
        return headed(self, y, ends)

    def begun(self, source: Any, lengths: Any) -> tuple[list[Any], Any]:
        """The decoder's initial states, and what its attention looks at, or None."""
        (keys, counts), found = encoded(self, source, lengths)
        states = self._bridge.cross(found, self.bridge)
        return states, None if self.attention is None else self.attention.prepare(keys, lengths=counts)

    def _trained(self, batch: Batch, state: Any, deferred: bool = False) -> tuple[Any, Callable[[Any], Any], Any]:
        if self._sampling is None:
            return super()._trained(batch, state, deferred)
        run = DeferringRun(recording=True) if deferred else Run(recording=True)
        options = {"lengths": batch.lengths, "coins": Coins(*self._sampling.next())}
        outputs, run_back = self._recorded(run, batch.inputs, False, options)
        return outputs, lambda d_outputs: run_back(d_outputs)[1], None

    def output_lengths(self, lengths: Any) -> Any:
        """Of the targets."""
        return _both(lengths)[1]

    # ---- as a model to train ---------------------------------------------------------------------------------------

    def fit(  # type: ignore[override]
        self,
        sources: Any,
        targets: Any = None,
        *,
        loss: Any = "cross_entropy",
        scheduled_sampling: float | Callable[..., float] | None = None,
        callbacks: Iterable[object] = (),
        **options: Any,
    ) -> dict[str, list[float]]:
        """Train the model. All symbols of all sources and targets are looked at first.

        Args:
            sources: a list of sequences, or what gives batches (sources, targets), as `Model.fit` takes them. A padded
                array with `lengths`, too.
            targets: a list of sequences of symbols, without begin and end: neither may occur in them. A padded array
                with `target_lengths`, too.
            loss: "cross_entropy", `CrossEntropy`, or of many symbols `SampledSoftmax`.
            scheduled_sampling: how likely the decoder reads, in place of the true symbol, one that it has drawn from
                what it gave a step before (Bengio et al. 2015): a probability, or a function of (epoch), (step) or
                (epoch, batch, batches), all from 0. Training then goes step by step.
            callbacks: as `Model.fit` takes them.
            options: all others of `Model.fit`: optimizer, batch_size, epochs, validation_data=(sources, targets),
                metrics=["perplexity", "accuracy"], clip_norm, schedule, seed, resume, ..

        Returns:
            The history, as `Model.fit` does. Loss and figures are means over all symbols of targets, and their ends.

        Raises as `Model.fit` does; IndexError for symbols that an embedding does not have, ValueError for begin and end
        in targets, naming the place.
        """
        if scheduled_sampling is None:
            return super().fit(sources, targets, loss=loss, callbacks=callbacks, **options)
        own = ScheduledSampling(scheduled_sampling)
        self._check_step_by_step("scheduled_sampling", self.decoder)
        callbacks = [own, *callback_list(callbacks)]  # gone through once: it may be a generator
        refuse_again(self)  # before the other one's sampling is replaced
        self._sampling = own
        try:
            return super().fit(sources, targets, loss=loss, callbacks=callbacks, **options)
        finally:
            vars(self).pop("_sampling", None)

    def _check_step_by_step(self, name: str, layers: Iterable[Layer]) -> None:
        for layer in layers:
            if getattr(layer, "same_for_all_steps", False):
                raise ValueError(f"{name} trains step by step, and {layer!r} drops the same of all steps")

    def _data(self, data: Data) -> Data:
        targets = as_symbols("targets", data.y, data.target_lengths, self.parts.classes, self.parts.embedding)
        sources = as_sequences("sources", data.x, data.lengths)
        if len(sources) != len(targets):
            raise ValueError(f"sources holds {len(sources)} sequences and targets {len(targets)}")
        refuse("targets", targets, self.end, "the end")
        if self.begin != self.end:
            refuse("targets", targets, self.begin, "the beginning")
        end = np.array([self.end])
        ended = [np.concatenate([target, end]) for target in targets]
        return data._replace(x=(sources, targets), y=ended, lengths=None, target_lengths=None)

    def _inputs(self, x: Any, lengths: Any) -> Inputs:
        if not isinstance(x, tuple) or len(x) != 2:
            raise TypeError(
                f"x must be a tuple (sources, targets), of which the model gives logits, got {_checks.kind(x)}: "
                "translate(sources) writes targets"
            )
        own, ends = _both(lengths)
        targets = as_symbols("targets", x[1], ends, self.parts.embedding.num, self.parts.embedding)
        begin = np.array([self.begin])  # np.insert would take 25 us for each target: 2 % of a step
        begun = [np.concatenate([begin, target]) for target in targets]
        return Inputs((self._sources(x[0], own), begun), several=True, rows=False)

    def _output_form(self, inputs: Inputs) -> Shape | None:  # noqa: ARG002
        return (None, None, self.parts.classes)

    def _may_misread(self, inputs: Inputs) -> bool:  # noqa: ARG002
        return False

    def _no_outputs(self, inputs: Inputs) -> Any:  # noqa: ARG002
        return []

    # ---- the object --------------------------------------------------------------------------------------------------

    def _parts(self) -> list[tuple[str, Layer]]:
        return self.parts.names

    def _file_parts(self) -> dict[str, list[Layer]]:
        """What a file says of the model's layers, the ones that are made here left out."""
        attention: list[Layer] = [] if self.attention is None else [self.attention]
        decoder = self.decoder[1:] if self._shares() is not None else self.decoder
        return {"encoder": list(self.encoder), "decoder": list(decoder), "attention": attention}

    def _shares(self) -> int | None:
        """The place of the encoder's layer that is the decoder's embedding, too."""
        return next((i for i, layer in enumerate(self.encoder) if layer is self.decoder[0]), None)

    def _config(self) -> dict[str, Any]:
        return {**self._options(), "shared": self._shares()}

    def _options(self) -> dict[str, Any]:
        return {
            "begin": self.begin, "end": self.end, "bridge": self._bridge.kind, "reverse_source": self.reverse_source,
            "input_feeding": self.input_feeding, "tie_embeddings": self.tie_embeddings,
        }  # fmt: skip

    @classmethod
    def _from_parts(cls, parts: dict[str, list[Layer]], config: dict[str, Any]) -> EncoderDecoder:
        """What `_file_parts` and `_config` tell, without parameters of the layers that are made here. Raises TypeError
        or ValueError."""
        options = dict(config)
        shared = options.pop("shared")
        encoder, decoder = flat("encoder", parts["encoder"]), list(parts["decoder"])
        if shared is not None:
            decoder.insert(0, encoder[_checks.integer("shared", shared, 0, len(encoder) - 1)])
        if len(parts["attention"]) > 1:
            raise ValueError("there must be one attention at most")
        model = cls.__new__(cls)
        model._configure(encoder, flat("decoder", decoder), next(iter(parts["attention"]), None), **options)
        return model

    def summary(self) -> str:
        """A table of the layers, their parts in the model, and numbers of parameters, with the totals. A layer that is
        in two places is counted once."""
        return table(self, _input_of(self.encoder))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options().items())
        encoder, decoder = (", ".join(map(repr, layers)) for layers in (self.encoder, self.decoder))
        return f"EncoderDecoder([{encoder}], [{decoder}], {self.attention!r}, {options})"

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state["attributes"].pop("_sampling", None)
        return state


def _bare(inputs: int, outputs: int, dtype: Any, bias: bool = True) -> Linear:
    """A linear layer without parameters: nothing is allocated yet."""
    layer = Linear.__new__(Linear)
    layer._configure(in_features=inputs, out_features=outputs, bias=bias, dtype=dtype)
    return layer


def _input_of(layers: tuple[Layer, ...]) -> Shape:
    """What a chain takes, a batch of sequences."""
    shape = next((shape for layer in layers if (shape := layer.input_shape()) is not None), (None, None))
    return (shape[0], None, shape[1]) if len(shape) == 2 and shape[1] is not None else shape


def _both(lengths: Any) -> tuple[Any, Any]:
    """Of the source and of the target."""
    if lengths is None:
        return None, None
    if not isinstance(lengths, tuple) or len(lengths) != 2:
        raise TypeError(f"lengths must be a tuple, of the sources and of the targets, got {_checks.kind(lengths)}")
    return lengths
