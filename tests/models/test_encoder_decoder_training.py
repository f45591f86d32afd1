"""Training of `EncoderDecoder`: what it learns, and what a batch of it computes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import pylstm
from pylstm.training.scheduled_sampling import ScheduledSampling
from support.translators import BEGIN, END, FORMS, fitted, pairs, same, translator

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
        model = translator(**FORMS[form])
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


def test_every_batch_and_every_piece_of_one_has_coins_of_its_own_which_follow_from_the_seed():
    def drawn(seed):
        own, found = ScheduledSampling(0.5), []
        own.begin(training := SimpleNamespace(entropy=seed, epoch=0, batch=0))
        for training.epoch, training.batch in [(0, 0), (0, 0), (0, 1), (1, 0), (1, 0), (1, 0), (1, 1)]:
            probability, rng = own.next()
            assert probability == 0.5
            found.append(rng.random())
        return found

    assert drawn(3) == drawn(3)
    assert len({*drawn(3), *drawn(4)}) == 14


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


def test_backward_holds_the_table_that_tied_logits_came_from():
    model = translator("additive", tie_embeddings=True)
    outputs, backward = model.forward(np.array([[2, 3, 4]]), np.array([[0, 5, 6]]))
    d = np.random.default_rng(0).standard_normal(outputs.shape)
    first = backward(d, retain_graph=True)[1]
    pylstm.SGD(1.0).step(model, first)
    again = backward(d)[1]
    for name, value in first.items():
        np.testing.assert_array_equal(*(one.dense() if hasattr(one, "dense") else one for one in (again[name], value)))


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
