"""What a model that writes symbol by symbol gives its users: `translate`."""

from __future__ import annotations

from typing import Any

from .. import _checks
from .._arrays import array_of
from ..decoding.sampling import Random, generator, way_of
from ..layers.attention import Attention
from ..layers.embedding import Embedding
from ..layers.layer import Layer
from ..training.data import Sequences
from .model import Model
from .sequence_pairs import as_sequences, as_symbols
from .translating import by_beam, by_chance, written


class Writing(Model):
    """The part of `EncoderDecoder` that writes."""

    encoder: tuple[Layer, ...]
    attention: Attention | None

    def translate(
        self,
        sources: Any,
        beam_size: int = 4,
        max_length: int = 80,
        length_penalty: float = 0.6,
        *,
        lengths: Any = None,
        n_best: int = 1,
        return_scores: bool = False,
        return_attention: bool = False,
        sample: bool = False,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        rng: Random = None,
        batch_size: int = 64,
    ) -> Any:
        """What the model writes for each source.

        Args:
            sources: as fit takes them.
            beam_size: hypotheses that go on (`beam_search`); 1 is greedy: the likeliest symbol each time.
            max_length: symbols written, and the end among them; what has not ended by then is cut.
            length_penalty: scores are log p / ((5 + length) / 6) ** length_penalty.
            lengths: (N,) integers, of padded sources.
            n_best: sentences wanted of each source.
            return_scores: whether to return their scores.
            return_attention: whether to return the weights of the source's steps for each symbol.
            sample: draw the sentences at random in place of the beam search.
            temperature: of the draws, as `pylstm.sample` takes it.
            top_k: of the draws.
            top_p: of the draws.
            rng: of the draws: a `numpy.random.Generator`, or a seed.
            batch_size: sources that are written for together.

        Returns:
            A list of lists of ints, one for each source, without end, and without begin, which is never written. With
            return_scores a tuple of these and a list of floats, with return_attention a last list of arrays (symbols,
            steps of the source, or of what a Conv1d in the encoder makes of them), in the order in which the source was
            given. With n_best above 1 each item is a list of up to n_best, the best one first.

        Raises:
            TypeError: an argument of the wrong kind, which is named; return_attention without an attention.
            ValueError: an argument of the wrong value; logits that are NaN, naming the sentence.
            IndexError: symbols in sources that the encoder does not have.
        """
        wanted = _checks.integer("n_best", n_best)
        keep = _checks.flag("return_attention", return_attention)
        scores = _checks.flag("return_scores", return_scores)
        size = _checks.integer("batch_size", batch_size)
        most, penalty = (
            _checks.integer("max_length", max_length),
            _checks.non_negative("length_penalty", length_penalty),
        )
        beam = _checks.size("beam_size", beam_size)
        if keep and self.attention is None:
            raise TypeError("return_attention needs a model with an attention")
        if _checks.flag("sample", sample):
            search = by_chance(way_of(temperature, top_k, top_p), generator(rng), most, penalty, wanted)
        elif _checks.number("temperature", temperature) != 1.0 or any(one is not None for one in (top_k, top_p, rng)):
            raise TypeError("temperature, top_k, top_p and rng are of draws: say sample=True")
        elif wanted > beam:
            raise ValueError(f"n_best must be at most beam_size, {beam}, got {wanted}")
        else:
            search = by_beam(beam, most, penalty, wanted)
        items = Sequences(self._sources(sources, lengths), rows=False, name="sources")
        model: Any = self
        found = written(model, items, size, search, keep)
        parts = ["symbols", *(["score"] if scores else []), *(["trace"] if keep else [])]
        given = [[[getattr(one, part) for one in some] for some in found] for part in parts]
        results = [[some[0] for some in each] for each in given] if wanted == 1 else given
        return tuple(results) if len(results) > 1 else results[0]

    def _sources(self, given: Any, lengths: Any) -> list[Any]:
        first = self.encoder[0]
        if isinstance(first, Embedding):
            return as_symbols("sources", given, lengths, first.num, first)
        items = as_sequences("sources", given, lengths)
        width = (first.input_shape() or (None,))[-1]
        for i, item in enumerate(items):
            shape = array_of(f"sources[{i}]", item).shape
            if len(shape) != 2 or width not in (None, shape[1]):
                raise ValueError(f"sources[{i}] must have shape (T, {width}), as {first!r} takes it, got {shape}")
        return items
