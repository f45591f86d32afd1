"""`EncoderDecoder` with layers of one's own, an encoder that gives fewer steps, and callbacks of a generator."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.translators import BEGIN, END, pairs, translator


@pytest.mark.parametrize("reverse", [False, True])
def test_weights_of_an_encoder_that_gives_fewer_steps_do_not_depend_on_the_batch(reverse):
    parts = translator("general", dtype=np.float64)
    encoder = [parts.encoder[0], pylstm.Conv1d(5, 5, 2, stride=2, dtype=np.float64, seed=0), parts.encoder[1]]
    model = pylstm.EncoderDecoder(encoder, parts.decoder, "general", begin=BEGIN, end=END, reverse_source=reverse)
    sources, _ = pairs(5, count=10)
    found, weights = model.translate(sources, max_length=9, return_attention=True)
    for source, target, own in zip(sources, found, weights, strict=True):
        (alone,), (expected,) = model.translate([source], max_length=9, return_attention=True)
        assert alone == target
        assert own.shape == (len(target), len(source) // 2)
        np.testing.assert_array_equal(own, expected)


class Twice(pylstm.Embedding):
    def __call__(self, x, **options):
        return super().__call__(x, **options) * 2


def test_an_embedding_of_ones_own_is_called_in_each_step():
    parts = translator("general")
    own = Twice(parts.decoder[0].num, parts.decoder[0].dim, dtype=np.float64, seed=3)
    model = pylstm.EncoderDecoder(
        parts.encoder, [own, *parts.decoder[1:]], parts.attention, begin=BEGIN, end=END, seed=0
    )  # fmt: skip
    sources, _ = pairs(3)
    options = {"beam_size": 1, "length_penalty": 0.0, "max_length": 6}
    found, scores = model.translate(sources, **options, return_scores=True)
    logits = model.predict((sources, found))
    for target, score, each in zip(found, scores, logits, strict=True):
        written = [*target, END][:6]
        log_p = each - np.log(np.exp(each).sum(axis=1, keepdims=True))
        assert log_p[np.arange(len(written)), written].sum() == pytest.approx(score)


def test_callbacks_that_a_generator_gives_are_called_with_scheduled_sampling_too():
    seen = []
    model, (sources, targets) = translator(), pairs(3)
    model.fit(
        sources, targets, epochs=2, scheduled_sampling=0.5, verbose=0,
        callbacks=(one for one in [lambda epoch, _: seen.append(epoch)]),
    )  # fmt: skip
    assert seen == [0, 1]
