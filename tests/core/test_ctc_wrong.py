"""What the CTC loss refuses, and labels that change while it looks at them."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import pylstm

Z = np.zeros((2, 4, 3))
WRONG = [
    ((Z[0], [[1], [1]]), {}, ValueError, r"logits must have shape \(N, T, C\)"),
    ((Z[:, :, :0], [[], []]), {}, ValueError, "logits must have shape"),
    ((Z.astype(complex), [[1], [1]]), {}, TypeError, "logits must hold real numbers"),
    ((np.ma.zeros((2, 4, 3)), [[1], [1]]), {}, TypeError, "logits .* masked"),
    ((Z, [[1]]), {}, ValueError, "targets must hold 2 sequences.* got 1"),
    ((Z, [[1], [3]]), {}, ValueError, r"0..2 but the blank 0.* got 3 in targets\[1\] at place 0"),
    ((Z, [[], [1, 2, -1]]), {}, ValueError, r"got -1 in targets\[1\] at place 2"),
    ((Z, [[], [1, 0]]), {}, ValueError, r"got the blank, 0 in targets\[1\] at place 1"),
    ((Z, [[1], [2]]), {"blank": 2}, ValueError, r"got the blank, 2 in targets\[1\]"),
    ((Z, [[1], np.array([2**63 + 1], np.uint64)]), {}, ValueError, r"got 9223372036854775807 in targets\[1\]"),
    ((Z, [np.array([2**64 - 1], np.uint64), []]), {}, ValueError, r"got 18446744073709551615 in targets\[0\]"),
    ((Z, [[1], [1.0]]), {}, TypeError, r"targets\[1\] must hold labels, integers, got dtype float64"),
    ((Z, [[1], [True]]), {}, TypeError, r"targets\[1\] must hold labels, integers, got dtype bool"),
    ((Z, ["a", "b"]), {}, ValueError, r"targets\[0\] must be a sequence"),
    ((Z, [[1], None]), {}, ValueError, r"targets\[1\] must be a sequence"),
    ((Z, [[[1]], [[1]]]), {}, ValueError, r"targets\[0\] must be a sequence of labels, got shape \(1, 1\)"),
    ((Z, 3), {}, ValueError, "targets must be a list of sequences"),
    ((Z, np.ones(2, int)), {}, ValueError, r"array \(N, S\), got an array of shape \(2,\)"),
    ((Z, np.ones((3, 1), int)), {}, ValueError, "targets must hold 2 sequences.* got 3"),
    ((Z, np.ones((2, 1))), {}, TypeError, "targets must hold labels, integers, got dtype float64"),
    ((Z, [[1], [1]], [5, 4]), {}, ValueError, r"lengths must lie in 0..4, got 4..5"),
    ((Z, [[1], [1]], [4]), {}, ValueError, r"lengths must have shape \(2,\)"),
    ((Z, [[1], [1]], [4.0, 4.0]), {}, TypeError, "lengths must be integers"),
    ((Z, [[1], [1]], None, [2, 1]), {}, ValueError, r"target_lengths must lie in 0..1, got 1..2"),
    ((Z, [[1], [1]], None, [-1, 1]), {}, ValueError, r"target_lengths must lie in 0..1, got -1..1"),
    ((Z, [[1], [1]], None, [1]), {}, ValueError, r"target_lengths must have shape \(2,\)"),
    ((Z, [[1], [1]], None, [1.0, 1.0]), {}, TypeError, "target_lengths must be integers"),
    ((Z, [[1], [1, 2]], None, [1, 1]), {}, ValueError, "targets cannot be made an array"),
    ((Z, [[1], [1]]), {"blank": 3}, ValueError, r"blank must be a class in 0..2, got 3"),
    ((Z, [[1], [1]]), {"blank": -1}, ValueError, "blank"),
    ((Z, [[1], [1]]), {"blank": 1.0}, TypeError, "blank"),
    ((Z, [[1], [1]]), {"zero_infinity": 1}, TypeError, "zero_infinity"),
    ((Z, [[1], [1]]), {"sample_weight": [1]}, ValueError, "sample_weight"),
    ((Z, [[1], [1]]), {"sample_weight": [-1, 1]}, ValueError, "sample_weight"),
    ((Z, [[1], [1]]), {"sample_weight": [1e308, 1e308]}, ValueError, "sample_weight must hold finite numbers from 0"),
    ((Z, [[1], [1]]), {"sample_weight": np.ones((2, 4))}, ValueError, "sample_weight"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_wrong_arguments_are_named(case):
    arguments, options, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        pylstm.ctc_loss(*arguments, **options)


def test_the_core_itself_refuses_what_would_lead_out_of_bounds():
    from pylstm import _core

    z = np.zeros((2, 4, 3))
    good = {
        "lengths": np.array([4, 4]), "labels": np.array([1, 2, 1]), "target_lengths": np.array([1, 2]), "blank": 0,
        "scale": np.ones(2), "zero_infinity": False, "need_gradient": True, "num_threads": 1,
    }  # fmt: skip
    assert np.isfinite(_core.ctc(z, **good)[0]).all()
    for wrong in (
        {"lengths": np.array([4, 5])}, {"lengths": np.array([-1, 4])}, {"lengths": np.array([4])},
        {"labels": np.array([1, 2, 3])}, {"labels": np.array([1, -1, 1])}, {"labels": np.array([1, 0, 1])},
        {"labels": np.array([1, 2])}, {"labels": np.array([1, 2, 1, 1])}, {"target_lengths": np.array([-1, 4])},
        {"target_lengths": np.array([2**62, 2**62])}, {"target_lengths": np.array([3])}, {"blank": 3}, {"blank": -1},
        {"scale": np.ones(3)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}|labels"):
            _core.ctc(z, **{**good, **wrong})
    with pytest.raises(TypeError):
        _core.ctc(z, **{**good, "labels": np.array([1, 2, 1], np.int32)})


def test_targets_and_lengths_that_another_thread_writes_to():
    z = np.zeros((8, 50, 6))
    targets, lengths, numbers = np.ones((8, 9), np.int64), np.full(8, 50), np.full(8, 9)
    done = threading.Event()

    def write():
        while not done.is_set():
            targets[:] = 2**40
            lengths[:], numbers[:] = 2**40, 2**40
            targets[:], lengths[:], numbers[:] = 1, 50, 9

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    try:
        for _ in range(300):
            try:
                assert np.isfinite(pylstm.ctc_loss(z, targets, lengths, numbers)[0])
            except ValueError:  # noqa: PERF203
                seen += 1
    finally:
        done.set()
        writer.join()
    assert seen < 300
