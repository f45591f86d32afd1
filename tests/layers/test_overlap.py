"""`out` that shares memory with what is read, in whatever clothes, or with itself: refused, never wrong numbers."""

from __future__ import annotations

import array as arrays
import ctypes
import itertools
import mmap

import numpy as np
import pytest

from pylstm import _arrays

RNG = np.random.default_rng(0)


class Interface:
    def __init__(self, a):
        self.__array_interface__, self.held = a.__array_interface__, a


class Method:
    def __init__(self, a):
        self.held = a

    def __array__(self, dtype=None, copy=None):
        return self.held


class Struct(Interface):
    def __init__(self, a):
        self.__array_struct__, self.held = a.__array_struct__, a


def torch_tensor(a):
    return pytest.importorskip("torch").from_numpy(a)


CLOTHES = {
    "array": lambda a: a,
    "subclass": lambda a: a.view(type("Sub", (np.ndarray,), {})),
    "read-only view": lambda a: np.asarray(Interface(a)) if a.setflags(write=False) else a[...],
    "memoryview": memoryview,
    "__array_interface__": Interface,
    "__array_struct__": Struct,
    "__array__": Method,
    "torch": torch_tensor,
    "ctypes": lambda a: ctypes.cast(a.ctypes.data, ctypes.POINTER(ctypes.c_float)) and np.ctypeslib.as_array(
        ctypes.cast(a.ctypes.data, ctypes.POINTER(ctypes.c_float)), a.shape),
}  # fmt: skip


def rooms():
    """Flat memory of 400 float32 that several objects can look at."""
    yield "NumPy", np.zeros(400, np.float32)
    yield "array", np.frombuffer(arrays.array("f", [0.0] * 400), np.float32)
    yield "bytearray", np.frombuffer(bytearray(1600), np.float32)
    yield "mmap", np.frombuffer(mmap.mmap(-1, 1600), np.float32)


@pytest.mark.parametrize("clothes", CLOTHES)
@pytest.mark.parametrize("room", range(4))
def test_whatever_x_and_state_come_as(module, clothes, room):
    wear = CLOTHES[clothes]
    memory = list(rooms())[room][1]
    memory[...] = RNG.standard_normal(400).astype(np.float32)
    kept = memory.copy()
    layer = module.GRU(6, 6, seed=1)
    x, apart = memory[:90].reshape(5, 3, 6), memory[200:290].reshape(5, 3, 6)
    state = memory[100:118].reshape(1, 3, 6)
    for start in (0, 1, 17, 89):
        out = memory[start : start + 90].reshape(5, 3, 6)
        with pytest.raises(ValueError, match="out must not overlap x or state"):
            layer(wear(x), out=out)
    for start in (101, 117):
        out = memory[start : start + 90].reshape(5, 3, 6)
        with pytest.raises(ValueError, match="out must not overlap x or state"):
            layer(wear(x), wear(state), out=out)
    assert memory.tobytes() == kept.tobytes()
    want = layer(x.copy(), state.copy())[0]
    assert layer(wear(x), wear(state), out=apart)[0].tobytes() == want.tobytes()


@pytest.mark.parametrize("clothes", CLOTHES)
def test_steps_of_a_stream(module, clothes):
    wear = CLOTHES[clothes]
    layer = module.RNN(6, 6, seed=1)
    memory = RNG.standard_normal(100).astype(np.float32)
    kept = memory.copy()
    stream = layer.stream(3)
    for start in (0, 1, 17):
        with pytest.raises(ValueError, match="out must not overlap"):
            stream.step(wear(memory[:18].reshape(3, 6)), out=memory[start : start + 18].reshape(3, 6))
    assert memory.tobytes() == kept.tobytes()
    want = layer.stream(3).step(memory[:18].reshape(3, 6).copy())
    assert stream.step(wear(memory[:18].reshape(3, 6)), out=memory[18:36].reshape(3, 6)).tobytes() == want.tobytes()


def test_what_is_converted_first_may_be_overwritten(module):
    layer = module.LSTM(6, 6, seed=1)
    memory = RNG.standard_normal(180)
    x = memory.reshape(5, 6, 6)
    want = layer(x)[0]
    out = memory.view(np.float32)[:180].reshape(5, 6, 6)
    assert layer(x, out=out)[0].tobytes() == want.tobytes()


def places(a):
    """The number of the first byte of every element."""
    index = np.indices(a.shape).reshape(a.ndim, -1)
    return sorted((np.array(a.strides) @ index).tolist())


def test_out_that_overlaps_itself(module):
    """As many strides as come to mind, against a count of the places in memory."""
    layer = module.RNN(2, 3, seed=0)
    x = RNG.standard_normal((4, 5, 2)).astype(np.float32)
    want = layer(x)[0]
    room = np.zeros(3000, np.float32)
    refused = taken = 0
    for _ in range(400):
        steps = (
            RNG.integers(-40, 41, 2) if RNG.random() < 0.7 else RNG.choice([-15, -12, -3, 0, 1, 2, 3, 12, 15, 16], 2)
        )
        strides = (int(steps[0]) * 4, int(steps[1]) * 4, 4)
        out = np.lib.stride_tricks.as_strided(room[1500:], (4, 5, 3), strides)
        at = places(out)
        shared = any(b - a < 4 for a, b in itertools.pairwise(at))
        try:
            layer(x, out=out)
        except ValueError as error:
            assert str(error) == "out has several elements at one place in memory"  # noqa: PT017
            refused += 1
        else:
            assert not shared, strides
            np.testing.assert_array_equal(out, want)
            taken += 1
    assert refused > 100
    assert taken > 20


def test_no_slice_counts_as_overlapping_itself():
    for _ in range(500):
        base = np.zeros(RNG.integers(1, 9, 3), np.float32).transpose(RNG.permutation(3))
        part = base[tuple(
            slice(*sorted(RNG.integers(0, n + 1, 2).tolist()), int(RNG.integers(1, 4)))
            if RNG.random() < 0.6 else slice(None, None, int(RNG.choice([-3, -2, -1, 1]))) for n in base.shape
        )]  # fmt: skip
        assert not _arrays._may_overlap_itself(part), (base.shape, base.strides, part.shape, part.strides)


def test_a_dtype_that_is_equal_and_another_object(module):
    """As arrays of ctypes have, those of some pickles, and any with metadata."""
    layer = module.GRU(4, 6, seed=0)
    x = RNG.standard_normal((3, 4)).astype(np.float32)
    want = layer.stream(3).step(x)
    same = np.dtype("f4", metadata={"unit": "m"})
    out = np.zeros((3, 6), np.float32)
    assert layer.stream(3).step(x.view(same), out=out.view(same)).tobytes() == want.tobytes()
    assert out.tobytes() == want.tobytes()
    memory = np.zeros((3, 6), np.float32).view(type("Sub", (np.ndarray,), {}))
    assert layer.stream(3).step(x, out=memory) is memory
    assert memory.tobytes() == want.tobytes()
    assert layer(x[None].view(same))[0].tobytes() == want.tobytes()
    assert layer.forward(x[None].view(same))[0].tobytes() == want.tobytes()
