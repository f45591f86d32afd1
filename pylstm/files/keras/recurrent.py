"""Weights of recurrent layers, as Keras has them and as we do.

Keras has a kernel (I, gH), a recurrent kernel (H, gH) and a bias, gates side by side: i, f, c, o of an LSTM, z, r, h of
a GRU. Its bias is one, but that of a GRU with reset_after, (2, 3H). Ours have PyTorch's: the gates i, f, g, o and
r, z, n, one below the other, and two biases or one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..._arrays import Array

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_OF_GATE = {"LSTM": (0, 6, 3, 9), "GRU": (0, 3, 6)}  # places of a gate's kernel among the arrays of Keras 1


def ours(kind: str, arrays: Sequence[Array]) -> dict[str, Array]:
    """Our parameters, "weight_ih" .. "bias_hh", of Keras' arrays.

    kind: "LSTM", "GRU" or "RNN"; arrays of Keras 1 come gate by gate. bias_hh is there where Keras has two biases.
    """
    if kind in _OF_GATE and len(arrays) == 3 * GATES[kind]:
        arrays = [np.concatenate([arrays[at + k] for at in _OF_GATE[kind]], axis=-1) for k in range(3)]
    kernel, recurrent, *biases = arrays
    found = {"weight_ih": _gates(kind, kernel.T), "weight_hh": _gates(kind, recurrent.T)}
    for bias in biases:
        if bias.ndim == 2:
            found["bias_ih"], found["bias_hh"] = (_gates(kind, one) for one in bias)
        else:
            found["bias_ih"] = _gates(kind, bias)
    return found


def theirs(kind: str, params: Mapping[str, Array], suffix: str, after: bool) -> list[Array]:
    """Keras' arrays of our parameters.

    after: whether it is a GRU with reset_after, which has two biases; all others have the sum.
    """
    arrays = [_gates(kind, params[f"{name}{suffix}"]).T for name in ("weight_ih", "weight_hh")]
    if (first := params.get(f"bias_ih{suffix}")) is None:
        return arrays
    second = params.get(f"bias_hh{suffix}")
    if kind == "GRU" and after:
        arrays.append(np.stack([_gates(kind, first), _gates(kind, np.zeros_like(first) if second is None else second)]))
    else:
        arrays.append(_gates(kind, first if second is None else first + second))
    return arrays


def from_cudnn(kind: str, arrays: Sequence[Array]) -> list[Array]:
    """Arrays of CuDNNLSTM and CuDNNGRU as those of LSTM and of GRU with reset_after."""
    kernel, recurrent, bias = arrays
    gates = GATES[kind]
    kernel = np.hstack([one.T.reshape(one.shape, order="F") for one in np.hsplit(kernel, gates)])
    recurrent = np.hstack([one.T for one in np.hsplit(recurrent, gates)])
    halves = bias.reshape(2, -1)
    return [kernel, recurrent, halves if kind == "GRU" else halves.sum(axis=0)]


def _gates(kind: str, array: Array) -> Array:
    """z, r, h in place of r, z, n, and the other way round: the first two of three are exchanged."""
    if kind != "GRU":
        return array
    first, second, third = np.split(array, 3)
    return np.concatenate([second, first, third])
