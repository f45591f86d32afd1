"""The CTC loss beside its NumPy twin, PyTorch, all paths one by one, and numbers that others have published."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import pylstm
from pylstm.losses.ctc import ctc_loss_of
from pylstm.reference.ctc import ctc_of_one
from support.isas import isas, use_isa

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "golden" / "ctc" / "golden.npz"


def random_case(seed, dtype=np.float64):
    """Logits and ragged targets: some with repeats, some empty, some of exactly as many labels as there are steps."""
    rng = np.random.default_rng(seed)
    count, steps, classes = int(rng.integers(1, 6)), int(rng.integers(1, 30)), int(rng.integers(2, 40))
    blank = int(rng.integers(classes)) if seed % 2 else 0
    logits = rng.standard_normal((count, steps, classes)) * rng.choice([0.1, 1.0, 5.0, 30.0])
    lengths = rng.integers(0, steps + 1, count) if seed % 3 else np.full(count, steps)
    others = np.array([c for c in range(classes) if c != blank])
    few = others[: int(rng.integers(1, 4))] if seed % 5 == 0 else others  # so that labels repeat
    targets = [rng.choice(few, int(rng.integers(0, max(1, length) + (seed % 7 == 0)))) for length in lengths]
    return logits.astype(dtype), targets, lengths, blank


def padded(targets, fill=1):
    numbers = np.array([len(target) for target in targets], np.int64)
    array = np.full((len(targets), max(numbers, default=0)), fill, np.int64)
    for row, target in zip(array, targets, strict=True):
        row[: len(target)] = target
    return array, numbers


def of_twin(logits, targets, lengths, blank, zero_infinity=False):
    value, gradient = 0.0, np.zeros(logits.shape)
    for n, target in enumerate(targets):
        loss, d = ctc_of_one(logits[n, : lengths[n]], [int(label) for label in target], blank)
        if zero_infinity and np.isinf(loss):
            continue
        share = 1 / max(len(target), 1) / len(targets)
        value += loss * share
        gradient[n, : lengths[n]] = d * share
    return value, gradient


def of_torch(logits, targets, lengths, blank, zero_infinity=False):
    torch = pytest.importorskip("torch")
    array, numbers = padded(targets, blank + 1 if blank == 0 else 0)
    z = torch.tensor(logits, requires_grad=True)
    log_p = z.transpose(0, 1).log_softmax(-1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # more wait for each other on a busy machine
    loss = torch.nn.functional.ctc_loss(
        log_p, torch.tensor(array), torch.tensor(lengths), torch.tensor(numbers), blank, "mean", zero_infinity
    )
    loss.backward()
    torch.set_num_threads(before)
    return float(loss.detach()), z.grad.numpy()


def same(found, expected, error=1e-10):
    np.testing.assert_allclose(found[0], expected[0], rtol=error, atol=error)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=error)


@pytest.mark.parametrize("isa", isas())
def test_the_twin_agrees(isa):
    with use_isa(isa):
        for seed in range(40):
            logits, targets, lengths, blank = random_case(seed)
            for zero in (False, True):
                found = pylstm.ctc_loss(logits, targets, lengths, blank=blank, zero_infinity=zero)
                same(found, of_twin(logits, targets, lengths, blank, zero), 1e-11)


def agrees_with_torch(seeds):
    for seed in seeds:
        logits, targets, lengths, blank = random_case(seed)
        for zero in (False, True):
            found = pylstm.ctc_loss(logits, targets, lengths, blank=blank, zero_infinity=zero)
            want = of_torch(logits, targets, lengths, blank, zero)
            same(found, want)


def test_random_cases_have_the_numbers_of_torch():
    agrees_with_torch(range(60))


@pytest.mark.exhaustive
def test_1000_random_cases_have_the_numbers_of_torch():
    agrees_with_torch(range(1000))


def reads_as(path, blank):
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def by_all_paths(log_p, target, blank):
    """-log of the summed probability of the paths that read as the target, in plain Python."""
    total = 0.0
    for path in itertools.product(range(log_p.shape[1]), repeat=len(log_p)):
        if reads_as(path, blank) == tuple(target):
            total += float(np.exp(sum(log_p[t, label] for t, label in enumerate(path))))
    return -np.log(total) if total else np.inf


@pytest.mark.parametrize("blank", [0, 1, 2])
def test_all_paths_one_by_one(blank):
    rng = np.random.default_rng(blank)
    for steps in range(1, 6):
        z = rng.standard_normal((1, steps, 3)) * 2
        log_p = z[0] - np.log(np.exp(z[0]).sum(axis=1, keepdims=True))
        labels = [label for label in range(3) if label != blank]
        for size in range(5):
            for target in itertools.product(labels, repeat=size):
                value, gradient = pylstm.ctc_loss(z, [target], blank=blank)
                expected = by_all_paths(log_p, target, blank) / max(1, size)
                np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)
                assert np.isnan(gradient).all() if np.isinf(expected) else np.isfinite(gradient).all()


def test_gradients_are_central_differences():
    rng = np.random.default_rng(3)
    logits, step = rng.standard_normal((3, 7, 4)), 1e-5
    targets, lengths = [[1, 1, 2], [3], []], np.array([7, 5, 6])
    weights = np.array([0.5, 2.0, 1.0])

    def value():
        return pylstm.ctc_loss(logits, targets, lengths, sample_weight=weights)[0]

    gradient = pylstm.ctc_loss(logits, targets, lengths, sample_weight=weights)[1]
    for place in np.ndindex(logits.shape):
        kept = logits[place]
        logits[place] = kept + step
        more = value()
        logits[place] = kept - step
        less = value()
        logits[place] = kept
        assert abs((more - less) / (2 * step) - gradient[place]) < 1e-8


@pytest.mark.skipif(not GOLDEN.exists(), reason=f"{GOLDEN} is not here")
def test_numbers_that_others_have_published():
    golden = np.load(GOLDEN)
    for i in range(int(golden["brute_count"])):
        target = golden[f"brute{i}_target"]
        value, _ = pylstm.ctc_loss(golden[f"brute{i}_log_probs"][None], [target])
        np.testing.assert_allclose(value * max(1, len(target)), golden[f"brute{i}_loss"], rtol=1e-12, atol=1e-12)
    logits, blank = np.log(golden["tf_probs"]), int(golden["tf_blank"])
    for n in range(2):  # each by itself
        rows = slice(n, n + 1)
        numbers = golden["tf_target_lengths"][rows]
        value, _ = pylstm.ctc_loss(logits[rows], golden["tf_targets"][rows], target_lengths=numbers, blank=blank)
        np.testing.assert_allclose(value * numbers[0], golden["tf_losses"][n], rtol=1e-6)
    z = golden["torch_logits"].swapaxes(0, 1)  # time first
    lengths, targets = golden["torch_input_lengths"], golden["torch_targets"]
    numbers = golden["torch_target_lengths"]
    for zero, name in ((False, "inf"), (True, "zero")):
        found = pylstm.ctc_loss(z, targets, lengths, numbers, zero_infinity=zero)
        same(found, (golden[f"torch_mean_{name}_loss"], golden[f"torch_mean_{name}_grad"].swapaxes(0, 1)), 1e-12)
        for n, loss in enumerate(golden[f"torch_none_{name}_loss"]):
            rows = slice(n, n + 1)
            value, _ = pylstm.ctc_loss(z[rows], targets[rows], lengths[rows], numbers[rows], zero_infinity=zero)
            np.testing.assert_allclose(value * max(1, numbers[n]), loss, rtol=1e-12, atol=1e-12)


def test_float32_has_errors_no_larger_than_those_of_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    worst = np.zeros((2, 2))
    for steps, count, classes, size, spread in ((150, 8, 12, 7, 1), (300, 4, 500, 30, 1), (200, 4, 30, 20, 20)):
        logits = (rng.standard_normal((count, steps, classes)) * spread).astype(np.float32)
        targets = list(rng.integers(1, classes, (count, size)))
        lengths = np.full(count, steps)
        right = of_torch(logits.astype(np.float64), targets, lengths, 0)
        found = pylstm.ctc_loss(logits, targets)
        assert found[1].dtype == np.float32
        theirs = of_torch(logits, targets, lengths, 0)
        for row, (value, gradient) in zip(worst, (found, theirs), strict=True):
            row[0] += abs(value - right[0]) / right[0]
            row[1] += np.abs(gradient - right[1]).max() / np.abs(right[1]).max()
    assert torch is not None
    assert (worst[0] <= worst[1]).all()
    assert worst[0, 1] < 1e-6


def test_a_long_sequence_and_logits_far_apart():
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((1, 3000, 20)) * 200  # probabilities below the least float64
    target = rng.integers(1, 20, 900)
    found = pylstm.ctc_loss(logits, [target])
    assert np.isfinite(found[0])
    assert found[0] * len(target) > 2000  # exp(-745) is the least
    want = of_torch(logits, [target], np.array([3000]), 0)
    np.testing.assert_allclose(found[0], want[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], want[1], atol=1e-8 * np.abs(want[1]).max())


def bits(result):
    return np.float64(result[0]).tobytes(), result[1].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_threads_and_instruction_sets_with_fma_give_the_same_bits(dtype):
    rng = np.random.default_rng(5)
    for classes, size in ((12, 7), (77, 30), (1003, 12)):
        logits = rng.standard_normal((9, 60, classes)).astype(dtype)
        targets = [rng.integers(1, classes, rng.integers(0, size)) for _ in range(9)]
        lengths = rng.integers(20, 61, 9)
        found = {True: set(), False: set()}  # with fused multiply-add, and the baseline's, which has none
        before = pylstm.get_num_threads()
        try:
            for isa in isas():
                with use_isa(isa):
                    for threads in (1, 2, 3, 7, 16):
                        pylstm.set_num_threads(threads)
                        result = bits(pylstm.ctc_loss(logits, targets, lengths, zero_infinity=True))
                        found[isa != "baseline"].add(result)
        finally:
            pylstm.set_num_threads(before)
        assert max(map(len, found.values())) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sequence_has_the_same_bits_in_any_company(dtype):
    rng = np.random.default_rng(6)
    logits = rng.standard_normal((6, 40, 21)).astype(dtype)
    targets = [rng.integers(1, 21, size) for size in (0, 3, 9, 9, 20, 1)]
    lengths = np.array([40, 7, 33, 21, 40, 1])
    logits[:, -1] = np.where(lengths[:, None] < 40, np.nan, logits[:, -1])  # padding may be anything
    # with power-of-two weights whose sum is one, so that no scale is rounded
    weights = np.array([0.5, 0.125, 0.125, 0.125, 0.0625, 0.0625])
    value, gradient = pylstm.ctc_loss(logits, targets, lengths, sample_weight=weights)
    total = 0.0
    for n, length in enumerate(lengths):
        alone = pylstm.ctc_loss(logits[n : n + 1, :length], targets[n : n + 1])
        assert (alone[1][0] * dtype(weights[n])).tobytes() == gradient[n, :length].tobytes()
        assert not gradient[n, length:].any()
        total += alone[0] * weights[n]
    np.testing.assert_allclose(value, total, rtol=1e-14)


def test_layouts_dtypes_and_kinds_of_targets_have_the_same_bits():
    rng = np.random.default_rng(7)
    logits = rng.standard_normal((4, 20, 9))
    targets = rng.integers(1, 9, (4, 5))
    numbers = np.array([5, 0, 3, 4])
    lists = [[int(label) for label in row[:number]] for row, number in zip(targets, numbers, strict=True)]
    want = bits(pylstm.ctc_loss(logits, lists))
    junk = np.where(np.arange(5) < numbers[:, None], targets, -77)
    for given in (
        (logits, junk), (np.asfortranarray(logits), junk.astype(np.int16)),
        (np.repeat(logits, 2, axis=1)[:, ::2], junk), (logits.swapaxes(0, 1).copy().swapaxes(0, 1), junk[::-1][::-1]),
        (logits[::-1].copy()[::-1], junk), (logits.astype(">f8"), junk.astype(">i4")),
    ):  # fmt: skip
        for array in given:
            array.flags.writeable = False
        assert bits(pylstm.ctc_loss(given[0], given[1], target_lengths=numbers)) == want
    for given in (
        tuple(lists), [np.array(one, np.int8) for one in lists],
        [np.array(one, np.uint64 if i else np.int32) for i, one in enumerate(lists)], list(map(tuple, lists)),
    ):  # fmt: skip
        assert bits(pylstm.ctc_loss(logits, given)) == want
    full = pylstm.ctc_loss(logits, targets)
    assert bits(pylstm.ctc_loss(logits, targets, target_lengths=[5] * 4)) == bits(full)
    assert pylstm.ctc_loss(logits.astype(np.float32), lists)[1].dtype == np.float32
    assert pylstm.ctc_loss(logits.round().astype(np.int32), lists)[1].dtype == np.float32


def test_what_has_no_path():
    z = np.zeros((4, 3, 3))
    targets, lengths = [[1, 1, 2], [1, 2], [], [1]], [3, 3, 3, 0]
    value, gradient = pylstm.ctc_loss(z, targets, lengths)
    assert value == np.inf
    assert np.isnan(gradient[0]).all()
    assert np.isfinite(gradient[1:]).all()
    assert not gradient[3].any()
    value, gradient = pylstm.ctc_loss(z, targets, lengths, zero_infinity=True)
    assert np.isfinite(value)
    assert not gradient[[0, 3]].any()
    assert gradient[1:3].any()
    assert pylstm.ctc_loss(z[:1, :0], [[]])[0] == 0
    assert pylstm.ctc_loss(z[:0], [])[0] == 0
    assert pylstm.ctc_loss(np.zeros((0, 0, 3)), np.zeros((0, 4), int))[1].shape == (0, 0, 3)
    # a class without a chance
    z[0, :, 2] = -np.inf
    value, gradient = pylstm.ctc_loss(z[:1], [[1, 2]])
    assert value == np.inf
    assert np.isnan(gradient).all()
    assert pylstm.ctc_loss(z[:1], [[1]])[0] < 1
    assert pylstm.ctc_loss(z[:1], [[1, 2]], zero_infinity=True)[0] == 0


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_nan_stays_in_its_own_sequence(wrong):
    z = np.random.default_rng(0).standard_normal((3, 5, 4))
    whole = pylstm.ctc_loss(z, [[1], [2, 3], [3]])[1]
    z[1, 2, 1] = wrong
    for zero in (False, True):
        value, gradient = pylstm.ctc_loss(z, [[1], [2, 3], [3]], zero_infinity=zero)
        assert np.isnan(value)
        assert np.isnan(gradient[1]).all()
        assert gradient[[0, 2]].tobytes() == whole[[0, 2]].tobytes()
    # of weight 0 it may be anything
    value, gradient = pylstm.ctc_loss(z, [[1], [2, 3], [3]], sample_weight=[1, 0, 1])
    assert np.isfinite(value)
    assert not gradient[1].any()
    np.testing.assert_allclose(gradient[[0, 2]], whole[[0, 2]] * 1.5, rtol=1e-14)


def test_weights_do_what_repeating_does():
    rng = np.random.default_rng(8)
    z, targets = rng.standard_normal((3, 12, 5)), [[1, 2], [3], [4, 4, 1]]
    value, gradient = pylstm.ctc_loss(z, targets, sample_weight=[1, 3, 0])
    rows = [0, 1, 1, 1]
    again = pylstm.ctc_loss(z[rows], [targets[i] for i in rows])
    np.testing.assert_allclose(value, again[0], rtol=1e-14)
    np.testing.assert_allclose(gradient[0], again[1][0], rtol=1e-13)
    np.testing.assert_allclose(gradient[1], again[1][1:].sum(axis=0), rtol=1e-13)
    assert not gradient[2].any()
    nothing = pylstm.ctc_loss(z, targets, sample_weight=[0, 0, 0])
    assert nothing[0] == 0
    assert not nothing[1].any()


def test_without_a_gradient_the_same_value():
    for seed in range(20):
        logits, targets, lengths, blank = random_case(seed)
        without = ctc_loss_of(logits, targets, lengths, blank=blank, need_gradient=False)
        assert without.gradient is None
        assert np.float64(without.mean).tobytes() == bits(pylstm.ctc_loss(logits, targets, lengths, blank=blank))[0]
