"""fit, evaluate and predict of `Model`: several inputs and outputs, targets of their own lengths, losses that see more;
and training in several processes through `reduce`."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import pylstm


class Captioner(pylstm.Model):
    """An image and the words so far; an output per word."""

    def __init__(self, size=5, words=7, dtype="float32", seed=0):
        seeds = np.random.SeedSequence(seed).spawn(4)
        self.start = pylstm.Linear(3, size, dtype=dtype, seed=seeds[0])
        self.embed = pylstm.Embedding(words, size, padding_idx=0, dtype=dtype, seed=seeds[1])
        self.lstm = pylstm.LSTM(size, size, batch_first=True, dtype=dtype, seed=1)
        self.head = pylstm.Linear(size, words, dtype=dtype, seed=seeds[3])

    def run(self, image, words, lengths=None):
        h = self.start(image).tanh()
        y, _ = self.lstm(self.embed(words), (h[None], h[None] * 0), lengths=lengths)
        return self.head(y)


class Tagger(pylstm.Model):
    keeps_time = True

    def __init__(self):
        self.embed = pylstm.Embedding(7, 4, seed=0)
        self.lstm = pylstm.LSTM(4, 5, batch_first=True, seed=1)
        self.head = pylstm.Linear(5, 3, seed=2)

    def run(self, x, lengths=None):
        return self.head(self.lstm(self.embed(x), lengths=lengths)[0])


def tagger_as_a_chain():
    return pylstm.Sequential([
        pylstm.Embedding(7, 4, seed=0), pylstm.LSTM(4, 5, batch_first=True, seed=1), pylstm.Linear(5, 3, seed=2)
    ])  # fmt: skip


def captions(count=24, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((count, 3)).astype("f")
    words = [rng.integers(1, 7, rng.integers(1, 9)) for _ in range(count)]
    return images, words, [np.roll(w, -1) for w in words]


def fit(model, *args, **options):
    return model.fit(*args, **{"loss": "cross_entropy", "optimizer": pylstm.Adam(0.02), "batch_size": 8, "epochs": 3,
                               "seed": 1, "verbose": 0, **options})  # fmt: skip


def test_a_model_trains_to_the_bits_of_the_chain_that_it_is():
    _, x, _ = captions()
    y = [w % 3 for w in x]
    model, chain = Tagger(), tagger_as_a_chain()
    history, other = (fit(one, x, y, validation_data=(x, y), clip_norm=1.0) for one in (model, chain))
    assert history["loss"][-1] < history["loss"][0]
    for name in ("loss", "val_loss", "accuracy"):
        assert history[name] == other[name]
    for mine, theirs in zip(model.params.values(), chain.params.values(), strict=True):
        assert np.array_equal(mine, theirs)
    assert model.evaluate(x, y) == chain.evaluate(x, y)
    mine, theirs = (one.predict(x, activation="softmax") for one in (model, chain))
    assert all(map(np.array_equal, mine, theirs))
    padded, lengths = np.zeros((len(x), 9), int), np.array([len(w) for w in x])
    for row, w in zip(padded, x, strict=True):
        row[: len(w)] = w
    assert np.array_equal(model.predict(padded, lengths=lengths), chain.predict(padded, lengths=lengths))


@pytest.mark.parametrize("form", ["tuple", "dict", "padded"])
def test_several_inputs_and_targets_of_their_own_lengths(form):
    images, words, targets = captions()
    lengths = np.array([len(w) for w in words])
    more = {}
    x = {"words": words, "image": images} if form == "dict" else (images, words)
    y = targets
    if form == "padded":
        x, y = (images, np.zeros((24, 12), int)), np.zeros((24, 12), int)
        for k, (w, t) in enumerate(zip(words, targets, strict=True)):
            x[1][k, : len(w)], y[k, : len(t)] = w, t
        more = {"lengths": (None, lengths), "target_lengths": lengths}
    model = Captioner()
    history = fit(model, x, y, epochs=20, **more)
    assert history["loss"][-1] < 0.85 * history["loss"][0]
    found = model.evaluate(x, y, batch_size=5, **more)
    total = count = 0.0
    for image, word, target in zip(images, words, targets, strict=True):
        logits = model(image[None], word[None])
        value, _ = pylstm.cross_entropy(logits, target[None])
        total, count = total + value * len(word), count + len(word)
    assert np.isclose(found["loss"], total / count, rtol=1e-5)
    twin = Captioner()  # whatever the form, the same bits
    fit(twin, (images, words), targets, epochs=20)
    assert all(np.array_equal(a, b) for a, b in zip(model.params.values(), twin.params.values(), strict=True))


class Several(pylstm.Model):
    def __init__(self):
        self.a, self.b = pylstm.Linear(3, 2, seed=0), pylstm.Linear(4, 2, seed=1)

    def run(self, x, z, lengths=None):
        assert lengths is None
        return {"sum": self.a(x) + self.b(z), "product": self.a(x) * self.b(z)}


def test_several_outputs_targets_and_a_loss_of_ones_own():
    rng = np.random.default_rng(3)
    x, z = rng.standard_normal((20, 3)).astype("f"), rng.standard_normal((20, 4)).astype("f")
    goal = Several()(x[::-1].copy(), z)
    seen = []

    def loss(outputs, targets, lengths=None, inputs=None):
        assert lengths is None
        seen.append((set(outputs), set(targets), len(inputs[0])))
        parts = {key: pylstm.mse(outputs[key], targets[key]) for key in outputs}
        return sum(value for value, _ in parts.values()), {key: d for key, (_, d) in parts.items()}

    def error(outputs, targets, lengths):
        assert lengths is None
        return abs(outputs["sum"] - targets["sum"]).max()

    model = Several()
    history = fit(model, (x, z), goal, loss=loss, epochs=30, metrics=[error])
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert seen[0] == ({"sum", "product"}, {"sum", "product"}, 8)
    predicted = model.predict((x, z), batch_size=7)
    assert predicted.keys() == goal.keys()
    assert np.array_equal(predicted["sum"], model(x, z)["sum"])
    with pytest.raises(TypeError, match="mse is for a model of one output, and this one gives a dict of 2"):
        fit(Several(), (x, z), goal, loss="mse")


def test_a_loss_sees_what_it_names():
    images, words, targets = captions()
    labels = [t[: 1 + len(t) // 2] for t in targets]
    seen = []

    def loss(outputs, targets, lengths=None, target_lengths=None, input_lengths=None, mask=None, **other):
        seen.append((outputs.shape, targets.shape, lengths, target_lengths, input_lengths, mask, other))
        return 1.0, np.zeros_like(outputs), float(target_lengths.sum())

    for make, x in ((Captioner, (images, words)), (Tagger, words), (tagger_as_a_chain, words)):
        seen.clear()
        model = make()
        history = fit(model, x, labels, loss=loss, epochs=1, shuffle=False)
        assert history["loss"] == [1.0]
        for k, (outputs, padded, lens, own, given, mask, other) in enumerate(seen):
            want = np.array([len(w) for w in words[8 * k : 8 * k + 8]])
            assert list(given) == list(want)
            assert list(own) == [1 + n // 2 for n in want]
            assert padded == (8, max(own))
            assert outputs[:2] == (8, max(want))
            if model.keeps_time:
                assert list(lens) == list(want)
                assert np.array_equal(mask, np.arange(max(want)) < want[:, None])
            else:
                assert lens is None
                assert mask is None
            assert other == {}
    with pytest.raises(ValueError, match="must have a target for each of the"):
        fit(tagger_as_a_chain(), words, labels)


def test_balanced_classes_of_targets_with_lengths_of_their_own():
    _, x, _ = captions()
    y = [w % 3 for w in x]

    class Silent(Tagger):
        keeps_time = None

    models = [Silent(), tagger_as_a_chain()]
    for model in models:
        fit(model, x, y, class_weight="balanced")
    assert all(map(np.array_equal, models[0].params.values(), models[1].params.values()))


def test_the_weight_of_a_loss_of_ones_own():
    """A third result is what its values are averaged by: as the library's own, whatever the batches."""
    _, x, _ = captions()
    y = [w % 3 for w in x]

    def loss(outputs, targets, lengths=None):
        return *pylstm.cross_entropy(outputs, targets, lengths=lengths), float(lengths.sum())

    a, b = (fit(Tagger(), x, y, loss=one, metrics=[]) for one in (loss, "cross_entropy"))
    assert np.allclose(a["loss"], b["loss"], rtol=1e-6)


# ---- several processes -----------------------------------------------------------------------------------------------


class Team:
    """As many ranks as threads: `reduce` meets the others and adds up."""

    def __init__(self, ranks):
        self.meet, self.slots = threading.Barrier(ranks, timeout=60), [None] * ranks

    def reduce_of(self, rank):
        def reduce(grads, weight):
            self.slots[rank] = dict(grads), weight
            self.meet.wait()
            total = {}
            for given, _ in self.slots:
                for name, gradient in given.items():
                    total[name] = total[name] + gradient if name in total else gradient
            weights = sum(own for _, own in self.slots)
            self.meet.wait()
            return total, weights

        return reduce


def train_in_ranks(make, x, y, ranks, **options):
    """Batch b of rank r is every ranks-th row of batch b of the whole."""
    team, models, errors = Team(ranks), [make() for _ in range(ranks)], []
    size = options["batch_size"]
    rows = [[i for i in range(len(y)) if i % size % ranks == rank] for rank in range(ranks)]

    def part(data, own):
        if isinstance(data, tuple):
            return tuple(part(one, own) for one in data)
        return data[own] if isinstance(data, np.ndarray) else [data[i] for i in own]

    def run(rank):
        try:
            fit(models[rank], part(x, rows[rank]), part(y, rows[rank]), shuffle=False, reduce=team.reduce_of(rank),
                **{**options, "batch_size": size // ranks, "optimizer": options["optimizer"]()})  # fmt: skip
        except Exception as error:
            errors.append(error)
            if not isinstance(error, FloatingPointError):  # which all of them raise, each when it has met the others
                team.meet.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return models, errors


@pytest.mark.parametrize("clip", [None, 0.3])
def test_ranks_with_shards_go_the_way_of_one_with_all(clip):
    images, words, targets = captions(48)

    def make():
        return Captioner(dtype="float64")

    options = {"batch_size": 8, "epochs": 4, "clip_norm": clip, "optimizer": lambda: pylstm.Adam(0.02)}
    models, errors = train_in_ranks(make, (images, words), targets, 2, **options)
    assert errors == []
    alone = make()
    fit(alone, (images, words), targets, shuffle=False, **{**options, "optimizer": pylstm.Adam(0.02)})
    start = make()
    for name, value in alone.params.items():
        assert np.array_equal(models[0].params[name], models[1].params[name]), name
        assert np.allclose(value, models[0].params[name], rtol=1e-9, atol=1e-11), name
        assert name == "embed.weight" or not np.allclose(value, start.params[name], rtol=1e-3)


def test_a_mean_of_local_means_would_be_another_way():
    """The shards differ in their number of steps: what the weights are for."""
    images, words, targets = captions(48)
    models = []
    for weigh in (True, False):
        team, pair = Team(2), [Captioner(dtype="float64") for _ in range(2)]

        def run(rank, team=team, pair=pair, weigh=weigh):
            inner = team.reduce_of(rank)

            def reduce(grads, weight):
                if weigh:
                    return inner(grads, weight)
                total, ranks = inner({name: gradient * (1 / weight) for name, gradient in grads.items()}, 1.0)
                return total, ranks

            own = [i for i in range(48) if i % 2 == rank]
            fit(pair[rank], (images[own], [words[i] for i in own]), [targets[i] for i in own], batch_size=4,
                shuffle=False, reduce=reduce)  # fmt: skip

        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        models.append(pair[0])
    assert not np.allclose(models[0].params["head.weight"], models[1].params["head.weight"], rtol=1e-6)


def test_a_rank_whose_loss_is_not_finite_does_not_leave_the_others_waiting():
    images, words, targets = captions(16)
    images = images.copy()
    images[1, 0] = np.nan
    models, errors = train_in_ranks(
        Captioner, (images, words), targets, 2, batch_size=8, epochs=1, optimizer=lambda: pylstm.Adam(0.02)
    )
    assert [type(error) for error in errors] == [FloatingPointError] * 2
    start = Captioner()
    for model in models:
        assert all(np.array_equal(a, b) for a, b in zip(model.params.values(), start.params.values(), strict=True))


def test_alone_reduce_changes_rounding_only():
    _, x, _ = captions()
    y, weights = [w % 3 for w in x], []

    def reduce(grads, weight):
        weights.append(weight)
        assert isinstance(grads["0.weight"], pylstm.RowGradient)
        return grads, weight

    a, b = tagger_as_a_chain(), tagger_as_a_chain()
    fit(a, x, y, shuffle=False, epochs=1, reduce=reduce)
    fit(b, x, y, shuffle=False, epochs=1)
    assert weights == [sum(len(w) for w in x[k : k + 8]) for k in range(0, 24, 8)]
    for mine, theirs in zip(a.params.values(), b.params.values(), strict=True):
        assert np.allclose(mine, theirs, rtol=1e-4, atol=1e-6)


# ---- wrong calls -----------------------------------------------------------------------------------------------------

images, words, targets = captions()
padded = np.ones((24, 6), int)
six = np.full(24, 5)
named = {"image": images, "words": words}


class Short(pylstm.Model):
    def __init__(self):
        self.embed = pylstm.Embedding(7, 7, seed=0)

    def run(self, x):
        return self.embed(x)


def fitted(x=(images, words), y=targets, **options):
    return lambda: fit(Captioner(), x, y, **options)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (fitted((images[:3], words)), ValueError, r"x\[0\] holds 3 sequences and x\[1\] 24"),
        (fitted(y=targets[:3]), ValueError, "x holds 24 sequences and y 3"),
        (fitted((images, padded), lengths=six), TypeError, "lengths must be a tuple of 2"),
        (fitted({**named, "words": padded}, lengths={"word": six}), TypeError, "'word'"),
        (fitted({"image": images, "word": words}), ValueError, "x lacks 'words'"),
        (fitted({**named, "z": images}), ValueError, "x has 'z', which Captioner.run does not take"),
        (fitted({3: images}), TypeError, "keys of x must be names"),
        (fitted(()), ValueError, "x holds no inputs"),
        (fitted((images, padded), padded, lengths=(None, six)), ValueError, "keeps_time"),
        (fitted(y=padded, target_lengths=six + 2), ValueError, r"0\.\.6"),
        (fitted(truncate=3), ValueError, "truncate is for Sequential"),
        (fitted(reduce=3), TypeError, "reduce must be a function"),
        (fitted(reduce=lambda *given: given[0]), TypeError, "reduce must return"),
        (fitted(reduce=lambda *given: ({}, given[1])), ValueError, "of the names"),
        (fitted(reduce=lambda *given: (given[0], "x")), TypeError, "a number for the"),
        (fitted(reduce=lambda *given: (given[0], np.inf)), FloatingPointError, "the loss became inf"),
        (lambda: Captioner().predict((images, words)), ValueError, "Captioner does not say whether it gives one"),
        (lambda: pylstm.Sequential([Captioner()]), ValueError, "Captioner does not say whether"),
        (lambda: fit(Several(), (images, images), {}), ValueError, "y holds no targets"),
        (lambda: fit(Short(), words, targets), TypeError, "Short.run takes no lengths: write run"),
    ],
)
def test_wrong_calls(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
