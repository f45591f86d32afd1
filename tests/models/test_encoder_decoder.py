"""`EncoderDecoder`: what it writes, what it learns, and what it refuses."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import pylstm
from pylstm.decoding.beams import log_sums
from support.translators import BEGIN, END, pairs, translator

WRITING = {
    "plain": {},
    "additive": {"attention": "additive", "bidirectional": True, "reverse_source": True},
    "dot": {"attention": "dot", "layers": 2, "dropout": 0.3},
    "feeding": {"attention": "general", "input_feeding": True, "stacked": True, "layers": 2},
    "feeding alone": {"input_feeding": True, "cell": "GRU"},
    "tied": {"attention": "additive", "tie_embeddings": True, "shared": True},
}


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
@pytest.mark.parametrize("form", WRITING)
def test_step_by_step_writes_with_the_bits_of_one_pass_over_the_target(form, dtype):
    model = translator(dtype=dtype, **WRITING[form])
    sources, _ = pairs(4, count=12)
    for options in ({"beam_size": 1}, {"beam_size": 5, "n_best": 3}, {"sample": True, "rng": 3, "n_best": 2}):
        found, scores = model.translate(sources, max_length=7, length_penalty=0.0, return_scores=True, **options)
        for source, some, own in zip(sources, found, scores, strict=True):
            some, own = (some, own) if options.get("n_best") else ([some], [own])
            assert own == sorted(own, reverse=True)
            for target, score in zip(some, own, strict=True):
                assert score == log_prob(model, source, target, len(target) == 7)
                assert not {BEGIN, END} & set(target)


@pytest.mark.parametrize("form", WRITING)
def test_what_is_written_does_not_depend_on_the_batch(form):
    model = translator(dtype=np.float32, **WRITING[form])
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


# ---- what it learns --------------------------------------------------------------------------------------------------


def words(seed, count, longest=5):
    rng = np.random.default_rng(seed)
    return [(2 + rng.permutation(8)[: rng.integers(0, longest + 1)]).tolist() for _ in range(count)]


def small(attention, size=48, encoder_size=None, **options):
    half = encoder_size or size
    return pylstm.EncoderDecoder(
        [pylstm.Embedding(10, 16), pylstm.LSTM(16, half, batch_first=True, bidirectional=half < size)],
        [pylstm.Embedding(10, 16), pylstm.LSTM(16 + (size if options.get("input_feeding") else 0), size,
                                               batch_first=True), pylstm.Linear(size, 10)],
        attention, begin=0, end=1, seed=0, **options,
    )  # fmt: skip


def right(model, sources, targets):
    return np.mean([one == other for one, other in zip(model.translate(sources, 2), targets, strict=True)])


def learned(model, sources, targets, epochs, batch_size, **options):
    return model.fit(
        sources, targets, optimizer=pylstm.Adam(1e-2), epochs=epochs, batch_size=batch_size, clip_norm=1.0, seed=0,
        schedule=pylstm.Cosine(epochs), verbose=0, **options,
    )  # fmt: skip


def test_reversing_is_learned_without_attention():
    sources, new = words(0, 3000, 4), words(1, 200, 4)
    model = small(None, 64)
    learned(model, sources, [one[::-1] for one in sources], 12, 64)
    assert right(model, new, [one[::-1] for one in new]) == 1.0


def test_copying_is_learned_with_attention_which_looks_at_what_is_copied():
    sources, new = words(2, 2000), words(3, 200)
    model = small("general", 48, 24, reverse_source=True)
    history = learned(model, sources, sources, 14, 32, validation_data=(new, new), metrics=["accuracy", "perplexity"],
                      callbacks=[pylstm.EarlyStopping(3)])  # fmt: skip
    assert history["val_accuracy"][-1] == 1.0
    assert history["val_perplexity"][-1] == pytest.approx(np.exp(history["val_loss"][-1]))
    assert right(model, new, new) == 1.0
    _, weights = model.translate(new, return_attention=True)
    hits = np.concatenate([own.argmax(axis=1) == np.arange(len(own)) for own in weights if own.size])
    assert hits.mean() > 0.8


def test_input_feeding_learns_too():
    sources, new = words(4, 900, 3), words(5, 100, 3)
    model = small("additive", 32, input_feeding=True)
    learned(model, sources, sources, 8, 16)
    assert right(model, new, new) == 1.0


# ---- training --------------------------------------------------------------------------------------------------------


def test_gradients_are_those_of_central_differences():
    for form in ("additive", "feeding", "tied"):
        model = translator(**WRITING[form])
        sources, targets = pairs(1, count=4, longest=4)
        before, weight = model.state_dict(), {}
        model.fit(sources, targets, optimizer=pylstm.SGD(1.0), verbose=0)
        grads = {name: before[name] - value for name, value in model.state_dict().items()}
        rng = np.random.default_rng(0)
        for name, value in before.items():
            index = tuple(int(rng.integers(n)) for n in value.shape)
            losses = []
            for h in (1e-5, -1e-5):
                weight = {n: v.copy() for n, v in before.items()}
                weight[name][index] += h
                model.load_state_dict(weight)
                losses.append(model.evaluate(sources, targets)["loss"])
            assert grads[name][index] == pytest.approx((losses[0] - losses[1]) / 2e-5, abs=3e-9), name


def fitted(model, **options):
    sources, targets = pairs(3, count=20)
    given = {"optimizer": pylstm.Adam(1e-2), "epochs": 2, "batch_size": 6, "seed": 1, "verbose": 0, **options}
    history = model.fit(sources, targets, **given)
    return history, model.state_dict()


def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a)


def test_pieces_of_a_batch_add_up_and_batches_that_come_one_by_one_train_as_all_do():
    sources, targets = pairs(3, count=20)
    whole = fitted(translator("general"), batch_size=20, epochs=1)[1]
    pieces = fitted(translator("general"), batch_size=20, epochs=1, micro_batch_size=7)[1]
    for name in whole:
        np.testing.assert_allclose(pieces[name], whole[name], atol=1e-9)
    cuts = [slice(0, 7), slice(7, 13), slice(13, 20)]
    model, other = translator("general"), translator("general")
    model.fit(lambda: ((sources[some], targets[some]) for some in cuts), optimizer=pylstm.Adam(1e-2), verbose=0)
    optimizer = pylstm.Adam(1e-2)
    for some in cuts:
        other.fit(sources[some], targets[some], optimizer=optimizer, shuffle=False, verbose=0)
    assert same(model.state_dict(), other.state_dict())


def test_weights_of_sentences_and_a_split():
    sources, targets = pairs(3, count=20)
    twice = translator("dot")
    twice.fit(sources + sources[:10], targets + targets[:10], optimizer=pylstm.SGD(0.1), batch_size=30, verbose=0)
    weighed = translator("dot")
    weighed.fit(sources, targets, sample_weight=[2.0] * 10 + [1.0] * 10, optimizer=pylstm.SGD(0.1), batch_size=20,
                verbose=0)  # fmt: skip
    for name, value in twice.state_dict().items():
        np.testing.assert_allclose(weighed.params[name], value, atol=1e-12)
    history, _ = fitted(translator("dot"), validation_split=0.2, metrics=["perplexity"])
    assert {"val_loss", "val_perplexity", "perplexity"} <= history.keys()


@pytest.mark.parametrize("tied", [False, True])
def test_sampled_softmax(tied):
    model = translator("general", target=60, dtype=np.float32, tie_embeddings=tied)
    loss = pylstm.SampledSoftmax(59, "unigram")
    sources, targets = pairs(3, count=60, target=60)
    before = model.evaluate(sources, targets)["loss"]
    model.fit(sources, targets, loss=loss, optimizer=pylstm.Adam(1e-2), epochs=5, seed=0, verbose=0)
    assert model.evaluate(sources, targets)["loss"] < before - 0.3


def test_logits_are_not_computed_in_training_nor_rows_of_the_tables_looked_up(monkeypatch):
    """Where there are enough of them: the loss makes both of a `Linear` by blocks, and layers take symbols."""
    from pylstm.layers.linear import LinearOutputs
    from pylstm.layers.table_rows import TableRows

    rng = np.random.default_rng(0)
    sources = [rng.integers(0, 30, rng.integers(5, 9)) for _ in range(64)]
    targets = [rng.integers(2, 30, rng.integers(5, 9)) for _ in range(64)]
    seen = []

    def unless_logits(inner):
        def method(outputs, *rest):
            assert len(outputs.weight) < 300, "logits computed"
            return inner(outputs, *rest)

        return method

    for tied in (False, True):
        head = [] if tied else [pylstm.Linear(24, 300)]
        model = pylstm.EncoderDecoder(
            [pylstm.Embedding(300, 32), pylstm.LSTM(32, 24, batch_first=True)],
            [pylstm.Embedding(300, 32), pylstm.LSTM(32, 24, batch_first=True), *head],
            "general", begin=BEGIN, end=END, tie_embeddings=tied,
        )  # fmt: skip
        with monkeypatch.context() as patch:
            for name in ("compute", "backward"):
                patch.setattr(LinearOutputs, name, unless_logits(getattr(LinearOutputs, name)))
            patch.setattr(pylstm.LSTM, "_train", watch(pylstm.LSTM._train, seen))
            model.fit(sources, targets, batch_size=64, verbose=0)
    assert seen
    assert set(seen) == {TableRows}


def watch(inner, seen):
    def _train(layer, x, *rest):
        seen.append(type(x))
        return inner(layer, x, *rest)

    return _train


def test_scheduled_sampling():
    plain = fitted(translator("general"))[1]
    none = fitted(translator("general"), scheduled_sampling=0.0)[1]
    assert same(plain, none)
    some = fitted(translator("general"), scheduled_sampling=0.5)[1]
    again = fitted(translator("general"), scheduled_sampling=0.5)[1]
    assert same(some, again)
    assert not same(plain, some)
    asked = []

    def rising(epoch, batch, batches):
        asked.append((epoch, batch, batches))
        return min(1.0, 0.5 * epoch)

    model = translator("general")
    first = fitted(model, scheduled_sampling=rising)[1]
    assert asked == [(epoch, batch, 4) for epoch in (0, 1) for batch in range(4)]
    assert not same(first, plain)
    assert "_sampling" not in vars(model)
    always = fitted(translator("dot", input_feeding=True), scheduled_sampling=1.0, micro_batch_size=3)[1]
    assert all(np.isfinite(value).all() for value in always.values())


def test_with_probability_0_step_by_step_gives_the_gradients_of_one_pass():
    model, other = translator("additive", layers=2, stacked=True), translator("additive", layers=2, stacked=True)
    fitted(model, epochs=1, optimizer=pylstm.SGD(1.0), batch_size=20)
    from pylstm.models import decoder_passes

    other.input_feeding = False
    at_once = decoder_passes.at_once
    import pylstm.models.encoder_decoder as module

    try:
        module.at_once = lambda m, target, states, memory, ends: decoder_passes.step_by_step(
            m, target, states, memory, ends, None
        )
        fitted(other, epochs=1, optimizer=pylstm.SGD(1.0), batch_size=20)
    finally:
        module.at_once = at_once
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(other.params[name], value, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("sampling", [None, 0.3])
def test_a_training_goes_on_with_the_same_bits(tmp_path, sampling):
    options = {"epochs": 4, "scheduled_sampling": sampling} if sampling else {"epochs": 4}
    _, whole = fitted(translator("general", dropout=0.2, dtype=np.float32), **options)
    path = tmp_path / "m.npz"
    save = pylstm.ModelCheckpoint(path)
    fitted(translator("general", dropout=0.2, dtype=np.float32), **{**options, "epochs": 2}, callbacks=[save])
    _, resumed = fitted(
        translator("general", dropout=0.2, dtype=np.float32, seed=5), **options, callbacks=[save], resume=path
    )
    assert same(whole, resumed)


def test_freezing_and_drawing_anew():
    model = translator("general", bidirectional=True, dtype=np.float32)
    before = model.state_dict()
    model.freeze("encoder", "bridge")
    after = fitted(model)[1]
    for name in before:
        assert np.array_equal(before[name], after[name]) == name.startswith(("encoder", "bridge")), name
    tied = translator("general", tie_embeddings=True, dtype=np.float32)
    tied.freeze("decoder.0")
    kept = tied.params["decoder.0.weight"].copy()
    fitted(tied)
    assert np.array_equal(tied.params["decoder.0.weight"], kept)
    model.redraw(seed=3)
    other = translator("general", bidirectional=True, dtype=np.float32, seed=7)
    other.redraw(seed=3)
    assert same(model.state_dict(), other.state_dict())


# ---- the object ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", WRITING)
def test_a_file_a_pickle_and_a_copy_hold_all_of_it(tmp_path, form):
    model = translator(dtype=np.float32, **WRITING[form])
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
