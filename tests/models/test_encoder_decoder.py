"""`EncoderDecoder`: what it writes, and what it is as an object."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import pylstm
from pylstm.decoding.beams import log_sums
from support.translators import BEGIN, END, FORMS, fitted, pairs, same, translator


def log_prob(model, source, target, cut):
    """As the search adds it up, from one pass over the whole target."""
    (logits,) = model.predict(([source], [target]))
    symbols = [*target] if cut else [*target, END]
    rows = logits[: len(symbols)]
    found = rows[np.arange(len(rows)), symbols].astype(np.float64) - log_sums(rows)
    total = 0.0
    for one in found:
        total += one
    return total


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_step_by_step_writes_with_the_bits_of_one_pass_over_the_target(form, dtype):
    model = translator(dtype=dtype, **FORMS[form])
    sources, _ = pairs(4, count=12)
    for options in ({"beam_size": 1}, {"beam_size": 5, "n_best": 3}, {"sample": True, "rng": 3, "n_best": 2}):
        found, scores = model.translate(sources, max_length=7, length_penalty=0.0, return_scores=True, **options)
        for source, some, own in zip(sources, found, scores, strict=True):
            some, own = (some, own) if options.get("n_best") else ([some], [own])
            assert own == sorted(own, reverse=True)
            for target, score in zip(some, own, strict=True):
                assert score == log_prob(model, source, target, len(target) == 7)
                assert not {BEGIN, END} & set(target)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_does_not_depend_on_the_batch(form):
    model = translator(dtype=np.float32, **FORMS[form])
    sources, _ = pairs(8, count=15)
    keep = {"return_attention": True} if model.attention else {}
    options = {"beam_size": 3, "max_length": 9, "n_best": 2, "return_scores": True, **keep}
    together = model.translate(sources, **options)
    alone = [model.translate([source], **options) for source in sources]
    for k, part in enumerate(together):
        for i, one in enumerate(part):
            assert len(one) == len(alone[i][k][0])
            for a, b in zip(one, alone[i][k][0], strict=True):
                np.testing.assert_array_equal(a, b)
    few = model.translate(sources[::-1], batch_size=2, **options)
    assert few[0][::-1] == together[0]
    assert few[1][::-1] == together[1]


def test_greedy_is_the_likeliest_symbol_each_time():
    model = translator("general", bidirectional=True)
    sources, _ = pairs(2, count=9)
    for source, found in zip(sources, model.translate(sources, beam_size=1, max_length=6), strict=True):
        target = []
        while len(target) < 6:
            logits = model.predict(([source], [target]))[0][-1]
            symbol = max((k for k in range(len(logits)) if k != BEGIN), key=lambda k: logits[k])
            if symbol == END:
                break
            target.append(symbol)
        assert found == target


def test_a_wide_beam_finds_the_best_of_everything():
    import itertools

    model = translator("additive", target=5)
    sources, _ = pairs(6, count=4)
    found, scores = model.translate(sources, 400, 4, 0.8, return_scores=True)
    for source, best, score in zip(sources, found, scores, strict=True):
        every = []
        for length in range(5):
            for target in itertools.product([s for s in range(5) if s not in (BEGIN, END)], repeat=length):
                total = log_prob(model, source, list(target), length == 4)
                every.append((total / ((5 + min(length + 1, 4)) / 6) ** 0.8, list(target)))
        assert (score, best) == max(every)


def test_weights_are_those_of_the_source_as_it_was_given():
    sources, _ = pairs(5, count=10)
    for reverse in (False, True):
        model = translator("dot", reverse_source=reverse, target=30)
        found, weights = model.translate(sources, beam_size=2, max_length=9, return_attention=True)
        assert any(len(one) > 3 for one in found)
        for source, target, own in zip(sources, found, weights, strict=True):
            assert own.shape == (len(target), len(source))
            if source:
                np.testing.assert_allclose(own.sum(axis=1), 1.0)
            own_order = source[::-1] if reverse else source
            keys, state = model.encoder[1](model.encoder[0](np.array([own_order], int)))
            y, _ = model.decoder[1](model.decoder[0]([[BEGIN, *target]]), state)
            _, expected = model.attention(y, keys)
            expected = expected[0, : len(target)]
            np.testing.assert_allclose(own, expected[:, ::-1] if reverse else expected, atol=1e-12)


def test_weights_have_a_row_for_each_symbol_but_the_end():
    sources, _ = pairs(5, count=10)
    found, weights = translator("dot", seed=7).translate(sources, max_length=40, return_attention=True)
    assert any(0 < len(one) < 40 for one in found)
    for source, target, own in zip(sources, found, weights, strict=True):
        assert own.shape == (len(target), len(source))


def test_nothing_to_translate_and_empty_sources():
    model = translator("additive", bidirectional=True)
    assert model.translate([]) == []
    assert model.translate([], return_scores=True, return_attention=True) == ([], [], [])
    alone = model.translate([[]], return_attention=True)
    among = model.translate([[3, 4], [], [1]], return_attention=True)
    assert alone[0][0] == among[0][1]
    assert alone[1][0].shape == (len(alone[0][0]), 0)
    model.fit([[], []], [[], [3]], verbose=0)
    assert model.predict(([], [])) == []


def test_padded_arrays_are_the_sequences_within_their_lengths():
    model = translator("dot")
    sources, targets = pairs(9, count=8)
    padded, wanted = np.full((8, 9), 10), np.full((8, 9), BEGIN)
    for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
        padded[i, : len(source)], wanted[i, : len(target)] = source, target
    lengths, ends = [len(one) for one in sources], [len(one) for one in targets]
    assert model.translate(padded, lengths=lengths) == model.translate(sources)
    assert model.evaluate(padded, wanted, lengths=lengths, target_lengths=ends) == model.evaluate(sources, targets)


@pytest.mark.parametrize("reverse_source", [False, True])
def test_lengths_of_all_steps_are_those_of_none(reverse_source):
    model = translator("additive", reverse_source=reverse_source)
    rng = np.random.default_rng(5)
    source, target = rng.integers(0, 11, (3, 6)), rng.integers(2, 9, (3, 4))
    whole = model(source, target)
    np.testing.assert_array_equal(model(source, target, lengths=([6] * 3, [4] * 3)), whole)
    assert not np.array_equal(model(source[:, ::-1], target), whole)


@pytest.mark.parametrize("index", range(3))
def test_sources_may_be_frames(index):
    """Features in place of symbols: targets of their number of frames, and which feature is on."""
    rng = np.random.default_rng(index)
    attention = [None, "additive", "general"][index]
    model = pylstm.EncoderDecoder(
        [pylstm.Linear(3, 8), pylstm.GRU(8, 16, batch_first=True, bidirectional=index == 1)],
        [pylstm.Embedding(5, 8), pylstm.GRU(8, 16, batch_first=True), pylstm.Linear(16, 5)],
        attention, begin=0, end=1, reverse_source=index == 2, seed=0,
    )  # fmt: skip
    symbols = [rng.integers(2, 5, rng.integers(0, 5)) for _ in range(200)]
    sources = [np.eye(3)[one - 2] + rng.normal(0, 0.1, (len(one), 3)) for one in symbols]
    before = model.evaluate(sources, symbols)["accuracy"]
    model.fit(sources, symbols, optimizer=pylstm.Adam(2e-2), epochs=12, seed=0, verbose=0)
    assert before < 0.4
    assert model.evaluate(sources, symbols)["accuracy"] > 0.65
    assert np.mean([len(a) == len(b) for a, b in zip(model.translate(sources), symbols, strict=True)]) > 0.7


# ---- the object ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_file_a_pickle_and_a_copy_hold_all_of_it(tmp_path, form):
    model = translator(dtype=np.float32, **FORMS[form])
    sources, targets = pairs(3, count=6)
    fitted(model)
    model.freeze("encoder")
    vocabulary = pylstm.Vocabulary([["a", "b"]])
    model.metadata = {"words": vocabulary}
    path = tmp_path / "m.npz"
    model.save(path)
    for other in (pylstm.load(path), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert type(other) is pylstm.EncoderDecoder
        assert repr(other) == repr(model)
        assert other.summary() == model.summary()
        assert other.metadata == {"words": vocabulary}
        assert (other.decoder[0] is other.encoder[0]) == (model.decoder[0] is model.encoder[0])
        assert list(other.params) == list(model.params)
        assert same(model.state_dict(), other.state_dict())
        assert not other.encoder[1].trainable
        assert other.translate(sources) == model.translate(sources)
        assert other.evaluate(sources, targets) == model.evaluate(sources, targets)
        other.unfreeze()
        fitted(other)
        assert not same(model.state_dict(), other.state_dict())


def test_in_another_model_it_is_a_part():
    inner = translator("general", dtype=np.float32)

    class Outer(pylstm.Model):
        def __init__(self):
            self.inner = inner

        def run(self, source, target):
            return self.inner(source, target) * 2.0

    source, target = np.array([[1, 2, 3]]), np.array([[0, 4, 5]])
    np.testing.assert_allclose(Outer()(source, target), inner(source, target) * 2)
    _, backward = Outer().forward(source, target)
    d = backward(np.ones((1, 3, 9), np.float32))[1]
    assert {f"inner.{name}" for name in inner.params} == set(d)


def test_summary_says_where_the_parameters_are():
    text = translator("additive", bidirectional=True, tie_embeddings=True, shared=True).summary()
    for part in ("encoder", "bridge", "h_l0: Linear(10, 6", "decoder", "Attention(6, 10", "the encoder's Embedding"):
        assert part in text
    model = translator("additive", bidirectional=True)
    assert f"Total: {model.num_parameters:,} parameters" in model.summary()


@pytest.mark.parametrize("front", [(), (pylstm.Conv1d(5, 5, 3, causal=True),), (pylstm.Dropout(0.1),)], ids=repr)
def test_summary_of_an_encoder_that_reads_features(front):
    encoder = [*front, pylstm.LSTM(5, 8, batch_first=True)]
    decoder = [pylstm.Embedding(9, 4), pylstm.LSTM(4, 8, batch_first=True), pylstm.Linear(8, 9)]
    text = pylstm.EncoderDecoder(encoder, decoder, begin=0, end=1, seed=0).summary()
    row = next(line for line in text.splitlines() if line.startswith("  LSTM(5, 8"))
    assert "(None, None, 8)" in row
    assert row.endswith(f"{encoder[-1].num_parameters}")
