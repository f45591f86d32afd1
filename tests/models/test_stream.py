"""Whole chains step by step: what one call of the model gives, and one thread, one step at a time."""

import copy
import os
import pickle
import threading

import numpy as np
import pytest

from pylstm import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Adam,
    Columns,
    Dropout,
    Embedding,
    LastStep,
    Layer,
    Linear,
    Model,
    Residual,
    Sequential,
    sample,
)
from support.isas import isas, use_isa


def writer(dtype="float32"):
    return Sequential([
        Embedding(20, 5, dtype=dtype), Dropout(0.5), LSTM(5, 7, 2, batch_first=True, dtype=dtype),
        Residual([GRU(7, 7, batch_first=True, dtype=dtype), Linear(7, 7, dtype=dtype)]), Activation("tanh"),
        Linear(7, 20, dtype=dtype),
    ], seed=3)  # fmt: skip


def frames(dtype="float32"):
    return Sequential([RNN(4, 6, batch_first=True, dtype=dtype), Linear(6, 3, dtype=dtype)], seed=4)


def pairs(dtype="float32"):
    side = [Embedding(9, 3, dtype=dtype), Embedding(5, 2, dtype=dtype)]
    return Sequential([Columns(side), GRU(5, 4, batch_first=True, dtype=dtype), Linear(4, 2, dtype=dtype)], seed=5)


def given(model, batch, steps, seed=0):
    rng = np.random.default_rng(seed)
    first = model.layers[0]
    if isinstance(first, Embedding):
        return rng.integers(0, 20, (batch, steps))
    if isinstance(first, Columns):
        return rng.integers(0, 5, (batch, steps, 2))
    return rng.standard_normal((batch, steps, 4), dtype=np.float32)


@pytest.mark.parametrize("make", [writer, frames, pairs])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", isas())
def test_steps_and_chunks_have_the_bits_of_a_call(make, batch, dtype, isa):
    with use_isa(isa):
        model = make(dtype)
        x = given(model, batch, 9)
        whole = model(x)
        steps, chunks = model.stream(batch), model.stream(batch)
        for t in range(9):
            np.testing.assert_array_equal(steps.step(x[:, t]), whole[:, t])
        for begin, end in [(0, 4), (4, 5), (5, 9)]:
            np.testing.assert_array_equal(chunks(x[:, begin:end]), whole[:, begin:end])


@pytest.mark.parametrize("make", [writer, frames, pairs])
def test_one_sequence_without_its_axis(make):
    model = make()
    x = given(model, 1, 5)
    whole, stream = model(x)[0], model.stream()
    for t in range(3):
        np.testing.assert_array_equal(stream.step(x[0, t]), whole[t])
    np.testing.assert_array_equal(stream(x[0, 3:]), whole[3:])
    assert stream.is_finite().tolist() == [True]


def test_symbols_as_numbers_of_python_and_probabilities():
    model = writer()
    stream = model.stream()
    found = stream.step(7, activation="softmax")
    logits = model([[7]])[0, 0].astype(np.float64)
    np.testing.assert_allclose(found, np.exp(logits) / np.exp(logits).sum(), rtol=1e-5)


def test_state_reset_copies_and_pickles():
    model = writer()
    x = given(model, 2, 8)
    stream = model.stream(2)
    stream(x[:, :4])
    saved = stream.state
    assert [one is None for one in saved] == [True, True, False, False, True, True]
    copies = [copy.copy(stream), pickle.loads(pickle.dumps(stream))]
    rest = stream(x[:, 4:])
    for other in copies:
        np.testing.assert_array_equal(other(x[:, 4:]), rest)
    stream.state = saved
    np.testing.assert_array_equal(stream(x[:, 4:]), rest)
    stream.reset()
    np.testing.assert_array_equal(stream(x), model(x))
    kept = stream.state
    for array in kept[2]:
        array[:] = 0  # a copy
    np.testing.assert_array_equal(stream(x), model(np.tile(x, 2))[:, 8:])


def test_new_parameters_with_the_old_state():
    model, other = frames(), Sequential(frames().layers, seed=9)
    x = given(model, 2, 6)
    stream = model.stream(2)
    stream(x[:, :3])
    state = stream.state
    model.load_state_dict(other.state_dict())
    follower = other.stream(2)
    follower.state = state
    np.testing.assert_array_equal(stream.step(x[:, 3]), follower.step(x[:, 3]))


class Failing(Layer):
    """y = x, until it is told not to."""

    steps_apart = True
    fails = None

    def __call__(self, x, **_):
        if self.fails:
            raise self.fails
        return np.asarray(x)

    def forward(self, x, **_):
        return np.asarray(x), lambda dy: (dy, {})


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_step_that_fails_between_layers_is_not_gone_on_with(error):
    last = Failing()
    model = Sequential([GRU(4, 3, batch_first=True), last], seed=0)
    x = given(frames(), 2, 5)
    stream = model.stream(2)
    stream.step(x[:, 0])
    state = stream.state
    last.fails = error
    with pytest.raises(type(error)):
        stream.step(x[:, 1])
    last.fails = None
    for use in (lambda: stream.step(x[:, 1]), lambda: stream.state, stream.is_finite, lambda: pickle.dumps(stream)):
        with pytest.raises(RuntimeError, match="half a step, which failed"):
            use()
    stream.state = state
    np.testing.assert_array_equal(stream.step(x[:, 1]), model(x[:, :2])[:, 1])


def test_a_wrong_x_changes_nothing():
    model = writer()
    stream = model.stream(2)
    x = given(model, 2, 4)
    stream(x[:, :2])
    for wrong, kind in [
        ([7, 20], IndexError),
        ([[1, 2, 3]], ValueError),
        ([0.5, 1.5], TypeError),
        ([1, 2, 3], ValueError),
    ]:
        with pytest.raises(kind):
            stream.step(wrong)
    np.testing.assert_array_equal(stream(x[:, 2:]), model(x)[:, 2:])


def test_states_that_do_not_fit_change_nothing():
    model = writer()
    stream = model.stream(2)
    x = given(model, 2, 4)
    stream(x[:, :2])
    good = stream.state
    bad_inner = [*good[:3], [np.zeros((1, 3, 7), np.float32), None], *good[4:]]
    for wrong, kind, text in [
        (None, TypeError, "state must be a list"), (good[:2], ValueError, "6 states"),
        ([np.zeros(3), *good[1:]], ValueError, r"state\[0\] must be None"),
        ([*good[:2], None, *good[3:]], ValueError, r"state\[2\]"),
        ([*good[:3], [], *good[4:]], ValueError, r"state\[3\] must hold 2"), (bad_inner, ValueError, "state"),
    ]:  # fmt: skip
        with pytest.raises(kind, match=text):
            stream.state = wrong
    np.testing.assert_array_equal(stream(x[:, 2:]), model(x)[:, 2:])


def test_models_that_cannot_stream():
    class Sums(Layer):
        def __call__(self, x, **_):
            return np.cumsum(x, axis=1)

        def forward(self, x, **_):
            return self(x), lambda dy: (dy, {})

    class Longer(Linear):
        def __call__(self, x, **_):
            return np.cumsum(super().__call__(x), axis=1)

    class Own(LSTM):
        def __call__(self, x, *rest, **more):
            return super().__call__(x, *rest, **more)

    both = LSTM(4, 3, bidirectional=True, batch_first=True)
    for layers, text in [
        ([both], "bidirectional"), ([GRU(4, 3, batch_first=True), LastStep()], "LastStep.* cannot stream"),
        ([Sums()], "steps_apart = True"), ([Longer(4, 4)], "cannot stream"),
        ([Own(4, 3, batch_first=True)], "__call__ of its own"), ([Residual([Sums()])], "steps_apart"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=text):
            Sequential(layers).stream()
    for size in (0, -1):
        with pytest.raises(ValueError, match="batch_size"):
            frames().stream(size)
    with pytest.raises(ValueError, match="activation"):
        frames().stream().step(np.zeros(4, np.float32), activation="soft")


def test_inside_of_a_models_run_a_stream_is_refused():
    inner = frames()
    before = inner.stream(1)

    class Outer(Model):
        keeps_time = True

        def __init__(self):
            self.inner = inner

        def run(self, x):
            (inner.stream(1) if self.makes else before).step(np.zeros((1, 4), np.float32))
            return self.inner(x)

    net = Outer()
    x = np.zeros((1, 2, 4), np.float32)
    for net.makes in (False, True):
        with pytest.raises(TypeError, match="run"):
            net.forward(x)


def test_one_thread_at_a_time():
    entered, leave = threading.Event(), threading.Event()

    class Slow(Failing):
        steps_apart = True  # a subclass that is called otherwise has to say it again

        def __call__(self, x, **_):
            entered.set()
            assert leave.wait(60)
            return np.asarray(x)

    stream = Sequential([GRU(4, 3, batch_first=True), Slow()], seed=0).stream(1)
    thread = threading.Thread(target=stream.step, args=(np.zeros((1, 4), np.float32),))
    thread.start()
    try:
        assert entered.wait(60)
        for use in (lambda: stream.step(np.zeros((1, 4))), stream.reset, lambda: stream.state):
            with pytest.raises(RuntimeError, match="another thread"):
                use()
    finally:
        leave.set()
        thread.join()
    stream.reset()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_in_the_middle_of_another_threads_step_has_half_of_it():
    entered, leave = threading.Event(), threading.Event()

    class Slow(Failing):
        steps_apart = True

        def __call__(self, x, **_):
            if threading.current_thread() is not threading.main_thread():
                entered.set()
                assert leave.wait(60)
            return np.asarray(x)

    model = Sequential([GRU(4, 3, batch_first=True), Slow()], seed=0)
    stream, x = model.stream(1), given(frames(), 1, 3)
    thread = threading.Thread(target=stream.step, args=(x[:, 0],))
    thread.start()
    assert entered.wait(60)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with pytest.raises(RuntimeError, match="reset"):
                stream.step(x[:, 1])
            stream.reset()
            code = int(not np.array_equal(stream(x), model(x)))
        finally:
            os._exit(code)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(stream(x[:, 1:]), model(x)[:, 1:])


# ---- symbols, through the multiplied table ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    lambda d: [Embedding(6, 3, dtype=d), LSTM(3, 5, batch_first=True, dtype=d), Linear(5, 6, dtype=d)],
    lambda d: [Embedding(6, 3, dtype=d), Dropout(0.5), GRU(3, 5, 2, batch_first=True, dtype=d), Linear(5, 2, dtype=d)],
    lambda d: [Embedding(6, 3, 0, dtype=d), RNN(3, 5, batch_first=True, dtype=d), Dropout(0.5), Linear(5, 40, dtype=d)],
    lambda d: [Sequential([Embedding(6, 3, dtype=d), LSTM(3, 5, proj_size=2, batch_first=True, dtype=d)])],
])  # fmt: skip
@pytest.mark.parametrize("batch", [1, 2, 70])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", isas())
def test_symbols_before_and_behind_the_multiplied_table(make, batch, dtype, isa):
    with use_isa(isa):
        model = Sequential(make(dtype), seed=1)
        x = np.random.default_rng(0).integers(0, 6, (batch, 20))
        whole = model(x)
        stream, other = model.stream(batch), model.stream(batch, num_threads=1)
        for t in range(20):
            symbols = x[:, t].copy() if t % 3 else x[:, t].astype(np.int32)
            np.testing.assert_array_equal(stream.step(symbols), whole[:, t])
            np.testing.assert_array_equal(other.step(x[:, t].tolist() if t % 2 else symbols), whole[:, t])
        assert stream.step(x[:, 0]).flags.writeable


def symbol_model(seed=0):
    return Sequential([Embedding(6, 3), LSTM(3, 5, batch_first=True), Linear(5, 6)], seed=seed)


def fed(stream, symbols):
    return [stream.step(symbol) for symbol in symbols]


def test_one_symbol_as_any_integer():
    model, symbols = symbol_model(), [1, 5, 0, 0, 3, 2, 1, 4] * 3
    whole = model([symbols])[0]
    for kind in (int, np.int64, np.int32, np.uint8, np.array):
        np.testing.assert_array_equal(fed(model.stream(), map(kind, symbols)), whole)


@pytest.mark.parametrize("wrong", [6, -1, 2**70, -(2**70), True, 1.0, None, "a", [1, 2], np.array([1, 1]), [[1]]])
def test_a_wrong_symbol_behind_the_table_changes_nothing(wrong):
    model = symbol_model()
    stream = model.stream()
    before = [1, 5, 0, 0, 3, 2, 1, 4] * 2
    fed(stream, before)
    with pytest.raises((TypeError, ValueError, IndexError, OverflowError)):
        stream.step(wrong)
    np.testing.assert_array_equal(stream.step(3), model([[*before, 3]])[0, -1])


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_new_parameters_of_any_layer_behind_the_table(changed):
    model, other, symbols = symbol_model(), symbol_model(9), [1, 5, 0, 0, 3, 2, 1, 4]
    stream = model.stream()
    fed(stream, symbols * 2)
    state = stream.state
    model.layers[changed].load_state_dict(other.layers[changed].state_dict())
    fresh = Sequential([copy.deepcopy(layer) for layer in model.layers]).stream()
    fresh.state = state
    np.testing.assert_array_equal(fed(stream, symbols * 2), fed(fresh, symbols * 2))


def test_training_in_between_is_noticed():
    model, symbols = symbol_model(), [1, 5, 0, 0, 3, 2, 1, 4]
    stream = model.stream()
    for _ in range(3):
        fed(stream, symbols)
        stream.reset()
        model.fit([symbols], [symbols], loss="cross_entropy", optimizer=Adam(0.1), epochs=2, verbose=0)
        np.testing.assert_array_equal(fed(stream, symbols), model([symbols])[0])
        stream.reset()


def test_models_with_packed_weights_pickle_and_copy():
    model, symbols = symbol_model(), [1, 5, 0, 0, 3, 2, 1, 4] * 2
    fed(model.stream(), symbols)
    for made in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        np.testing.assert_array_equal(fed(made.stream(), symbols), model([symbols])[0])


def test_a_linear_layer_of_ones_own_and_one_with_few_outputs():
    class Twice(Linear):
        steps_apart = True

        def __call__(self, x, **_):
            return 2 * super().__call__(x)

    for last in (Twice(6, 3), Linear(6, 1), Linear(6, 2, bias=False), Linear(6, 500)):
        model = Sequential([RNN(4, 6, batch_first=True), last], seed=0)
        x = given(frames(), 3, 4)
        whole, stream = model(x), model.stream(3)
        for t in range(4):
            np.testing.assert_array_equal(stream.step(x[:, t]), whole[:, t])


# ---- drawn symbols ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5, "top_k": 4}, {"top_p": 0.6}, {"temperature": 0}], ids=str)
def test_draws_are_those_of_the_outputs(options):
    model = symbol_model()
    for batch, symbol in ((1, 2), (1, np.array([2])), (3, np.array([0, 5, 2]))):
        stream, same = model.stream(batch), model.stream(batch)
        rng, own = np.random.default_rng(0), np.random.default_rng(0)
        other = symbol
        for _ in range(12):
            symbol = stream.draw(symbol, rng=rng, **options)
            other = sample(same.step(other), rng=own, **options)
            assert type(symbol) is type(other)
            np.testing.assert_array_equal(symbol, other)


def test_draws_of_a_model_that_takes_features():
    model = frames()
    x = given(model, 2, 6)
    stream = model.stream(2)
    drawn = [stream.draw(x[:, t], temperature=0) for t in range(6)]
    np.testing.assert_array_equal(np.stack(drawn, axis=1), model(x).argmax(-1))
    assert type(model.stream().draw(x[0, 0].tolist())) is int


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"temperature": -1}, ValueError, "temperature"), ({"top_k": 0}, ValueError, "top_k"),
        ({"top_p": 2}, ValueError, "top_p"), ({"rng": 3}, TypeError, "a seed would draw the same number"),
        ({"rng": np.random}, TypeError, "rng must be a numpy.random.Generator"), ({"x": 6}, IndexError, "holds 6"),
    ],
)  # fmt: skip
def test_a_wrong_draw_makes_no_step(options, kind, text):
    model = symbol_model()
    stream = model.stream()
    stream.step(1)
    with pytest.raises(kind, match=text):
        stream.draw(**{"x": 2, **options})
    np.testing.assert_array_equal(stream.step(2), model([[1, 2]])[0, 1])


def test_a_draw_that_finds_no_probabilities_has_made_the_step():
    class Nans(Layer):
        steps_apart, on = True, False

        def __call__(self, x, **_):
            return np.array([[0.0], [np.nan]]) if self.on else np.asarray(x)

        def forward(self, x, **_):
            raise NotImplementedError

    last = Nans()
    model = Sequential([GRU(4, 2, batch_first=True), last], seed=0)
    x = given(frames(), 2, 3)
    whole, stream = model(x), model.stream(2)
    stream.step(x[:, 0])
    last.on = True
    with pytest.raises(ValueError, match=r"the outputs\[1\] must hold a finite number .* got NaN"):
        stream.draw(x[:, 1])
    last.on = False
    np.testing.assert_array_equal(stream.step(x[:, 2]), whole[:, 2])
    assert stream.is_finite().all()


def test_probabilities_are_not_drawn_from_as_logits():
    for last in (Activation("softmax"), Sequential([Activation("softmax")])):
        stream = Sequential([RNN(4, 3, batch_first=True), last], seed=0).stream()
        with pytest.raises(TypeError, match="makes probabilities"):
            stream.draw(np.zeros(4, np.float32))
    assert type(Sequential([RNN(4, 3, batch_first=True), Activation("tanh")]).stream().draw([0.0] * 4)) is int
