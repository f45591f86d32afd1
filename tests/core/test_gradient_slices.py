"""Weight gradients of small layers: a large batch is cut into slices of its sequences, whose gradients are added up on
their own and then to each other. Shapes alone say how many, so the bits are those of any number of threads.
"""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from pylstm import _core, reference
from support.compare import assert_close, assert_same_bits
from support.isas import isas, use_isa
from support.problems import Problem, exact_in_float32, problem, run, twin

# Sequences and steps, lengths or not: two slices, and four; of 1024 rows at least, also where lengths differ.
SHAPES = {"two": (37, 33, False), "two ragged": (35, 80, True), "four": (67, 17, False), "four ragged": (70, 40, True)}
# Groups of sequences x shares of the units: some are whole slices, others are not. None: the model's choice.
SPLITS = [(1, 2, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1), (5, 1, 1), None]


@pytest.fixture(params=SHAPES, ids=lambda name: name.replace(" ", "_"))
def shape(request):
    return SHAPES[request.param]


@pytest.fixture
def forced_plan():
    yield _core.force_plan
    _core.force_plan()


def gradients(layer, case, **options):
    return {name: array for name, array in run(layer, case, **options).items() if name.startswith("d_")}


def test_every_split_gives_the_same_bits(variant, shape, forced_plan):
    batch, steps, lengths = shape
    expected = {}
    for isa in isas():
        with use_isa(isa):
            layer = variant.make(pylstm, 3, 11, bidirectional=True, seed=1)
            case = problem(layer, steps, batch, 2, lengths=lengths, state=True)
            forced_plan()
            family = "baseline" if isa == "baseline" else "with fused multiply-add"
            first = expected.setdefault(family, gradients(layer, case, num_threads=1))
            assert_same_bits(gradients(layer, case, num_threads=1), first, isa)
            for split in SPLITS:
                forced_plan(split)
                threads = 2 if split is None else split[0] * split[1]
                assert_same_bits(gradients(layer, case, num_threads=threads), first, f"{isa} {split}")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gradients_are_those_of_the_reference(variant, shape, dtype):
    batch, steps, lengths = shape
    layer = exact_in_float32(variant.make(pylstm, 3, 11, bidirectional=True, dtype=dtype, seed=3))
    case = problem(layer, steps, batch, 4, lengths=lengths, state=True)
    want = gradients(twin(layer, reference, np.float64), case)
    tolerance = 1e-12 if dtype is np.float64 else 3e-5
    for threads in (1, 2):
        assert_close(gradients(layer, case, num_threads=threads), want, tolerance, f"{threads} threads", floor=1e-2)


def in_order(case, order):
    return Problem(
        case.x[:, order], tuple(s[:, order] for s in case.states), None, case.d_output[:, order],
        tuple(s[:, order] for s in case.d_states),
    )  # fmt: skip


@pytest.mark.parametrize(("batch", "slices"), [(31, 1), (32, 2), (64, 4)])
def test_slices_change_places(batch, slices):
    """a + b is b + a to the bit: that is how one sees from outside what was added up on its own."""
    layer = pylstm.LSTM(5, 9, seed=5)
    case = problem(layer, 40, batch, 6, state=True)
    halves = np.roll(np.arange(batch), batch // 2)
    mine, other = (gradients(layer, in_order(case, order)) for order in (np.arange(batch), halves))
    same = [np.array_equal(mine[name], other[name]) for name in mine if "weight" in name or "bias" in name]
    assert len(same) == 4
    assert all(same) if slices > 1 else not any(same)
    quarters = np.arange(batch).reshape(slices, -1)[[*range(1, slices), 0]].ravel()  # not the same pairs
    if slices == 4:
        other = gradients(layer, in_order(case, quarters))
        assert not np.array_equal(mine["d_weight_hh_l0"], other["d_weight_hh_l0"])


def test_wide_layers_and_few_rows_have_one_slice():
    def halves_matter(hidden, steps):
        layer = pylstm.LSTM(5, hidden, seed=7)
        case = problem(layer, steps, 32, 8, state=True)
        mine, other = (gradients(layer, in_order(case, np.roll(np.arange(32), shift))) for shift in (0, 16))
        return not np.array_equal(mine["d_weight_hh_l0"], other["d_weight_hh_l0"])

    assert [halves_matter(*size) for size in [(9, 32), (9, 31), (125, 32), (126, 32)]] == [False, True, False, True]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_gradients_are_added_to_what_is_there(shape, threads):
    batch, steps, lengths = shape
    layer = pylstm.GRU(3, 11, num_layers=2, dtype=np.float64, seed=9)
    case = problem(layer, steps, batch, 10, lengths=lengths)

    def into(threads):
        rng = np.random.default_rng(11)
        before = {name: rng.standard_normal(p.shape) for name, p in layer.params.items()}
        sums = {name: array.copy() for name, array in before.items()}
        _, _, backward = layer.forward(case.x, lengths=case.lengths, num_threads=threads)
        backward(case.d_output, case.d_states[0], _into=sums)
        return before, sums

    before, sums = into(threads)
    alone = gradients(layer, case)
    assert_close(sums, {name: before[name] + alone["d_" + name] for name in before}, 1e-13)
    assert_same_bits(sums, into(1)[1])
