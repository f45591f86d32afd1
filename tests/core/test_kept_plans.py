"""A shape is planned once, in a table of fixed size that nobody waits for."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

import pylstm
from pylstm import _core
from support.compare import assert_same_bits
from support.problems import infer, problem, run


@pytest.fixture
def network():
    _core.force_plan()  # forgets all plans
    yield pylstm.LSTM(24, 100, num_layers=2, bidirectional=True, seed=0)._packed()
    _core.force_plan()


def made():
    return _core.plan_counts()[0]


def random_shapes(rng, count):
    """(steps, batch, backward, threads)"""
    return [
        (int(rng.integers(1, 200)), int(rng.integers(1, 300)), bool(rng.integers(2)), int(rng.integers(1, 65)))
        for _ in range(count)
    ]


def test_a_second_call_plans_nothing(variant):
    layer = variant.make(pylstm, 13, 37, num_layers=2, bidirectional=True, dropout=0.2, seed=1)
    case = problem(layer, 9, 5, 1, lengths=True, state=True)
    _core.force_plan()
    run(layer, case, num_threads=64), infer(layer, case, num_threads=64)
    before = made()
    assert before > 0
    other = problem(layer, 9, 5, 2, lengths=True, state=True)._replace(lengths=case.lengths)
    for again in (case, other):
        run(layer, again, num_threads=64), infer(layer, again, num_threads=64)
    layer.load_state_dict({name: 2 * value for name, value in layer.params.items()})  # packed anew
    run(layer, case, num_threads=64)
    assert made() == before
    infer(layer, problem(layer, 10, 5, 1), num_threads=64)
    assert made() == before + 1
    infer(layer, case, num_threads=63)
    assert made() == before + 1 + _core.has_openmp  # without it, every call has one thread


def test_a_kept_plan_is_the_one_that_was_made(network):
    shapes = random_shapes(np.random.default_rng(1), 100)
    first = [network.plan(*shape) for shape in shapes]
    before = made()
    kept = [network.plan(*shape) for shape in shapes]
    assert kept == first
    assert made() - before < 10  # but for those that more than three others have driven out
    fresh = []
    for shape in shapes:
        _core.force_plan()
        fresh.append(network.plan(*shape))
    assert kept == fresh
    assert len({plan[0] for plan in fresh}) > 20


def test_what_differs_in_anything_has_a_plan_of_its_own():
    def plan(steps=50, batch=64, backward=False, threads=8, **options):
        options = {"input": 64, "hidden": 96, "layers": 1, "bidirectional": False, "dtype": np.float32} | options
        layer = pylstm.LSTM(
            options["input"], options["hidden"], num_layers=options["layers"], bidirectional=options["bidirectional"],
            dtype=options["dtype"], seed=0,
        )  # fmt: skip
        return layer._packed().plan(steps, batch, backward, threads)

    changes = [
        {}, {"steps": 51}, {"batch": 65}, {"backward": True}, {"threads": 9}, {"input": 65}, {"hidden": 97},
        {"layers": 2}, {"bidirectional": True}, {"dtype": np.float64},
    ]  # fmt: skip
    _core.force_plan()
    for change in changes:
        before = made()
        plan(**change)
        assert made() == before + 1, change
    before = made()
    kept = [plan(**change) for change in changes]
    assert made() == before
    for change, was in zip(changes, kept, strict=True):
        _core.force_plan()
        assert plan(**change) == was


def test_any_number_of_shapes_leaves_the_table_as_large_as_it_is(network):
    _, kept, most = _core.plan_counts()
    assert kept == 0
    shapes = [(steps, batch, False, 4) for steps in range(1, 101) for batch in range(1, 41)]
    for shape in shapes:
        network.plan(*shape)
    count, kept, _ = _core.plan_counts()
    assert most // 2 < kept <= most < len(shapes)
    network.plan(*shapes[-1])  # those seen last are there
    assert made() == count


def test_forced_plans_take_effect_at_once_and_end_at_once(network):
    free = network.plan(50, 64, False, 8)
    _core.force_plan((3, 2, 1), 77)
    for _ in range(2):
        assert network.plan(50, 64, False, 8)[:2] == ((3, 2, 1), 77)
    assert network.plan(50, 64, False, 5)[0] != (3, 2, 1)  # more workers than the call may use
    _core.force_plan((1, 2, 2))
    assert network.plan(50, 64, False, 8)[0] == (1, 2, 2)
    assert network.plan(50, 64, True, 8)[0] == (1, 2, 1)
    _core.force_plan()
    assert network.plan(50, 64, False, 8) == free


def test_plans_of_many_threads_are_right_while_the_table_overflows_and_is_forgotten(network):
    rng = np.random.default_rng(3)
    shapes = random_shapes(rng, 800)  # more than there is room for
    expected = {shape: network.plan(*shape) for shape in shapes}
    wrong, over = [], threading.Event()

    def ask(seed):
        order = np.random.default_rng(seed)
        while not over.is_set():
            shape = shapes[order.integers(len(shapes))]
            if network.plan(*shape) != expected[shape]:
                wrong.append(shape)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        _core.force_plan()
        over.wait(0.01)
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_calls_of_many_threads_follow_plans_that_change_under_them(network):
    layer = pylstm.LSTM(13, 37, bidirectional=True, seed=3)
    case = problem(layer, 7, 11, 1, lengths=True, state=True)
    expected = run(layer, case, num_threads=1)
    failures, over = [], threading.Event()

    def call(seed):
        threads = 1 + seed % 4
        try:
            while not over.is_set():
                assert_same_bits(run(layer, case, num_threads=threads), expected, f"{threads} threads")
        except BaseException as error:  # shown below, in the thread of the test
            failures.append(error)

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for caller in callers:
        caller.start()
    for split in [(2, 1, 1), (1, 2, 1), None, (1, 1, 2), (2, 2, 1), None] * 3:
        _core.force_plan(split, 20)
        over.wait(0.01)
    over.set()
    for caller in callers:
        caller.join()
    assert not failures
    _core.force_plan()
    made_before = made()
    network.plan(3, 3, False, 3)
    assert made() == made_before + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_plans_whatever_its_parents_threads_were_writing(network):
    shapes = random_shapes(np.random.default_rng(4), 600)
    expected = [network.plan(*shape) for shape in shapes]
    over = threading.Event()

    def ask(seed):
        order = np.random.default_rng(seed)
        while not over.is_set():
            network.plan(*shapes[order.integers(len(shapes))])

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # a child that hangs dies, and the parent sees how
                same = [network.plan(*shape) for shape in shapes] == expected
                _core.force_plan()  # whoever was writing, all places can be written to
                network.plan(*shapes[0])
                before = made()
                same = same and network.plan(*shapes[0]) == expected[0] and made() == before
                os._exit(0 if same else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()
