"""Every way to cut a call up gives the same bits: splits over threads, chunks of the input product, instruction sets.

The cost model would not choose most of these for problems as small as a test's, so they are forced.
"""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from pylstm import _core
from support.compare import assert_same_bits
from support.isas import isas, use_isa
from support.problems import infer, problem, run

# (rows, units, directions), rows of an input chunk (0: fused, -1: the model's choice), threads
PLANS = [
    ((1, 1, 1), 64, 1),
    ((2, 1, 1), 0, 2),
    ((1, 2, 1), 0, 2),
    ((1, 2, 1), 100, 2),
    ((1, 1, 2), 0, 2),
    ((3, 2, 1), -1, 7),
    ((2, 2, 2), 40, 8),
    (None, -1, 16),
]


@pytest.fixture
def forced_plan():
    yield _core.force_plan
    _core.force_plan()


def everything(layer, case, threads):
    results = run(layer, case, num_threads=threads)
    results.update({"call " + name: a for name, a in infer(layer, case, num_threads=threads).items()})
    return results


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("lengths", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_plan_gives_the_same_bits(variant, dtype, lengths, bidirectional, forced_plan):
    def make():  # the dropout mask of a fresh layer is that of the first call
        options = {"num_layers": 2, "dropout": 0.3, "bidirectional": bidirectional, "dtype": dtype}
        return variant.make(pylstm, 13, 37, seed=3, **options)

    case = problem(make(), 7, 11, 1, lengths=lengths, state=True)
    for isa in isas():
        with use_isa(isa):
            forced_plan((1, 1, 1), 0)
            expected = everything(make(), case, 1)
            assert all(a.any() for a in expected.values())
            for split, chunk_rows, threads in PLANS:
                forced_plan(split, chunk_rows)
                what = f"{isa} split={split} chunk_rows={chunk_rows}"
                assert_same_bits(everything(make(), case, threads), expected, what)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_instruction_sets_with_fma_agree(variant, dtype):
    fma = [name for name in isas() if name != "baseline"]
    if len(fma) < 2:
        pytest.skip(f"this machine has {fma}")
    results = []
    for name in fma:
        with use_isa(name):
            layer = variant.make(pylstm, 21, 43, num_layers=2, bidirectional=True, dtype=dtype, seed=4)
            results.append(everything(layer, problem(layer, 9, 5, 2, lengths=True, state=True), 1))
    for other in results[1:]:
        assert_same_bits(other, results[0], "avx512 and avx2")


def test_the_cost_model_splits_sensibly():
    def split(layer, steps, batch, threads, backward=False):
        return layer._packed().plan(steps, batch, backward, threads)[0]

    tiny, wide = pylstm.LSTM(4, 8, seed=0), pylstm.LSTM(512, 512, seed=0)
    assert split(tiny, 1, 1, 64) == (1, 1, 1)  # tiny work never wakes the pool
    if _core.isa() != "baseline":  # whose vectors are a quarter as long
        assert split(pylstm.LSTM(40, 128, seed=0), 1, 1, 64) == (1, 1, 1)  # a streamed step
    rows, units, _ = split(wide, 100, 1, 16)
    assert rows == 1  # one sequence cannot be split by rows
    assert units > 4
    both = pylstm.LSTM(64, 64, bidirectional=True, seed=0)
    for threads in (1, 2, 3, 8, 16, 64):
        for layer, batch in ((wide, 1), (wide, 64), (both, 32), (tiny, 500)):
            for backward in (False, True):
                parts = split(layer, 50, batch, threads, backward)
                assert 1 <= np.prod(parts) <= threads
                cycles = [layer._packed().plan(50, batch, backward, n)[2] for n in range(1, threads + 1)]
                assert cycles == sorted(cycles, reverse=True)  # more threads are never predicted to be slower
