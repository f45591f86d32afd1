"""Every way to cut a call up gives the same bits: splits over threads, chunks of the input product, instruction sets.

The cost model would not choose most of these for problems as small as a test's, so they are forced.
"""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from pylstm import _core

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


def everything(t, layer, case, threads):
    results = t.run(layer, case, num_threads=threads)
    results.update({"call " + name: a for name, a in t.infer(layer, case, num_threads=threads).items()})
    return results


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("lengths", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_plan_gives_the_same_bits(t, variant, dtype, lengths, bidirectional, forced_plan):
    def make():  # the dropout mask of a fresh layer is that of the first call
        options = {"num_layers": 2, "dropout": 0.3, "bidirectional": bidirectional, "dtype": dtype}
        return variant.make(pylstm, 13, 37, seed=3, **options)

    case = t.problem(make(), 7, 11, 1, lengths=lengths, state=True)
    for isa in t.isas():
        with t.use_isa(isa):
            forced_plan((1, 1, 1), 0)
            expected = everything(t, make(), case, 1)
            assert all(a.any() for a in expected.values())
            for split, chunk_rows, threads in PLANS:
                forced_plan(split, chunk_rows)
                what = f"{isa} split={split} chunk_rows={chunk_rows}"
                t.assert_same_bits(everything(t, make(), case, threads), expected, what)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_instruction_sets_with_fma_agree(t, variant, dtype):
    fma = [name for name in t.isas() if name != "baseline"]
    if len(fma) < 2:
        pytest.skip(f"this machine has {fma}")
    results = []
    for name in fma:
        with t.use_isa(name):
            layer = variant.make(pylstm, 21, 43, num_layers=2, bidirectional=True, dtype=dtype, seed=4)
            results.append(everything(t, layer, t.problem(layer, 9, 5, 2, lengths=True, state=True), 1))
    for other in results[1:]:
        t.assert_same_bits(other, results[0], "avx512 and avx2")
