"""One time step of each cell, forward, and beside it backward: the chain rule, line by line, in reverse.

A cell holds its recurrent weights. All arrays have one row per sequence of the batch:

    a        W x + b, the input's share of the gates, one block of hidden_size columns per gate (N, G·H)
    state    what the cell carries from step to step, the output h first: (h,) or (h, c)
    saved    whatever backward wants to find again, under the names in `saves`
    `d_...`  the gradient of the loss to ...

`forward(a, state) -> (new state, saved)`. `backward(saved, d_new_state, grads) -> (da, d_state)` adds the gradients of
the cell's own parameters to the arrays in `grads`, because every time step uses the same ones.

`meanings` is what the letters of gates and inner states mean to a reader: titles of pictures.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np

from . import meanings
from .activations import Array, sigmoid
from .general_cells import CoupledLSTM, GeneralGRU, GeneralGRUResetBefore, GeneralLSTM, GeneralRNN

State = tuple[Array, ...]


class Cell(Protocol):
    """What the time loop needs to know of a cell."""

    params: dict[str, Array]
    saves: ClassVar[tuple[str, ...]]
    meanings: ClassVar[dict[str, str]]

    def __init__(self, params: dict[str, Array], **chosen: Any) -> None: ...

    def forward(self, a: Array, state: State) -> tuple[State, Any]: ...

    def backward(self, saved: Any, d_state: State, grads: dict[str, Array]) -> tuple[Array, State]: ...


# The derivatives, written with the function's value y, which is what has been saved.
def d_sigmoid(y: Array) -> Array:
    return (1 - y) * y


def d_tanh(y: Array) -> Array:
    return 1 - y * y


class RNN:
    """h' = tanh(a + R h + b)."""

    saves: ClassVar[tuple[str, ...]] = ("h", "h_new")
    meanings: ClassVar[dict[str, str]] = {}
    relu: ClassVar[bool] = False  # in place of tanh

    def __init__(self, params: dict[str, Array]) -> None:
        self.params = params
        self.R, self.b = params["weight_hh"], params.get("bias_hh")

    def forward(self, a: Array, state: State) -> tuple[State, Any]:
        (h,) = state
        s = a + h @ self.R.T
        if self.b is not None:
            s = s + self.b
        h_new = np.maximum(s, 0) if self.relu else np.tanh(s)
        return (h_new,), (h, h_new)

    def backward(self, saved: Any, d_state: State, grads: dict[str, Array]) -> tuple[Array, State]:
        h, h_new = saved
        (dh_new,) = d_state
        ds = dh_new * ((h_new > 0) if self.relu else d_tanh(h_new))
        grads["weight_hh"] += ds.T @ h
        if self.b is not None:
            grads["bias_hh"] += ds.sum(axis=0)
        dh = ds @ self.R
        return ds, (dh,)


class RNNRelu(RNN):
    """h' = max(0, a + R h + b)."""

    relu: ClassVar[bool] = True


class LSTM:
    """Long short-term memory with forget gate and optional projection.

    i, f, g, o = a + R h + b        the four blocks of columns, through
    i = sigmoid(i)                  input gate: how much of the candidate enters
    f = sigmoid(f)                  forget gate: how much of the old cell stays
    g = tanh(g)                     candidate
    o = sigmoid(o)                  output gate: how much of the cell shows
    c' = f c + i g
    m  = o tanh(c')
    h' = m, or P m with a projection
    """

    saves: ClassVar[tuple[str, ...]] = ("h", "c", "i", "f", "g", "o", "tanh_c", "m")
    meanings: ClassVar[dict[str, str]] = meanings.LSTM

    def __init__(self, params: dict[str, Array]) -> None:
        self.params = params
        self.R, self.b, self.P = params["weight_hh"], params.get("bias_hh"), params.get("weight_hr")

    def forward(self, a: Array, state: State) -> tuple[State, Any]:
        h, c = state
        s = a + h @ self.R.T
        if self.b is not None:
            s = s + self.b
        i, f, g, o = np.split(s, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c_new = f * c + i * g
        tanh_c = np.tanh(c_new)
        m = o * tanh_c
        h_new = m if self.P is None else m @ self.P.T
        return (h_new, c_new), (h, c, i, f, g, o, tanh_c, m)

    def backward(self, saved: Any, d_state: State, grads: dict[str, Array]) -> tuple[Array, State]:
        h, c, i, f, g, o, tanh_c, m = saved
        dh_new, dc_new = d_state
        if self.P is None:
            dm = dh_new
        else:
            grads["weight_hr"] += dh_new.T @ m
            dm = dh_new @ self.P
        do = dm * tanh_c
        dc_new = dc_new + dm * o * d_tanh(tanh_c)  # c' reaches the loss through m, too
        df = dc_new * c
        dc = dc_new * f
        di = dc_new * g
        dg = dc_new * i
        ds = np.concatenate([di * d_sigmoid(i), df * d_sigmoid(f), dg * d_tanh(g), do * d_sigmoid(o)], axis=1)
        grads["weight_hh"] += ds.T @ h
        if self.b is not None:
            grads["bias_hh"] += ds.sum(axis=0)
        dh = ds @ self.R
        return ds, (dh, dc)


class GRU:
    """Gated recurrent unit, the reset gate after the recurrent product (PyTorch, cuDNN).

    u = R h + b                     the three blocks of columns r, z, n, as in a
    r = sigmoid(a_r + u_r)          reset gate: how much the candidate sees of the past
    z = sigmoid(a_z + u_z)          update gate: how much of the past stays
    n = tanh(a_n + r u_n)           candidate
    h' = (1 - z) n + z h
    """

    saves: ClassVar[tuple[str, ...]] = ("h", "r", "z", "n", "u_n")
    meanings: ClassVar[dict[str, str]] = meanings.GRU

    def __init__(self, params: dict[str, Array]) -> None:
        self.params = params
        self.R, self.b = params["weight_hh"], params.get("bias_hh")

    def forward(self, a: Array, state: State) -> tuple[State, Any]:
        (h,) = state
        u = h @ self.R.T
        if self.b is not None:
            u = u + self.b
        (a_r, a_z, a_n), (u_r, u_z, u_n) = np.split(a, 3, axis=1), np.split(u, 3, axis=1)
        r = sigmoid(a_r + u_r)
        z = sigmoid(a_z + u_z)
        n = np.tanh(a_n + r * u_n)
        h_new = (1 - z) * n + z * h
        return (h_new,), (h, r, z, n, u_n)

    def backward(self, saved: Any, d_state: State, grads: dict[str, Array]) -> tuple[Array, State]:
        h, r, z, n, u_n = saved
        (dh_new,) = d_state
        dz = dh_new * (h - n)
        dn = dh_new * (1 - z)
        da_n = dn * d_tanh(n)
        dr = da_n * u_n
        da_r = dr * d_sigmoid(r)
        da_z = dz * d_sigmoid(z)
        da = np.concatenate([da_r, da_z, da_n], axis=1)
        du = np.concatenate([da_r, da_z, da_n * r], axis=1)
        grads["weight_hh"] += du.T @ h
        if self.b is not None:
            grads["bias_hh"] += du.sum(axis=0)
        dh = dh_new * z + du @ self.R
        return da, (dh,)


class GRUResetBefore:
    """Gated recurrent unit, the reset gate before the recurrent product (Cho et al. 2014).

    r = sigmoid(a_r + R_r h + b_r)
    z = sigmoid(a_z + R_z h + b_z)
    n = tanh(a_n + R_n (r h) + b_n)     a second product, which has to wait for r
    h' = (1 - z) n + z h
    """

    saves: ClassVar[tuple[str, ...]] = ("h", "r", "z", "n", "q")
    meanings: ClassVar[dict[str, str]] = meanings.GRU

    def __init__(self, params: dict[str, Array]) -> None:
        self.params = params
        R, b = params["weight_hh"], params.get("bias_hh")
        self.hidden = H = R.shape[1]
        self.R_rz, self.R_n = R[: 2 * H], R[2 * H :]
        self.b_rz = None if b is None else b[: 2 * H]
        self.b_n = None if b is None else b[2 * H :]

    def forward(self, a: Array, state: State) -> tuple[State, Any]:
        (h,) = state
        H = self.hidden
        s_rz = a[:, : 2 * H] + h @ self.R_rz.T
        if self.b_rz is not None:
            s_rz = s_rz + self.b_rz
        r, z = np.split(sigmoid(s_rz), 2, axis=1)
        q = r * h
        s_n = a[:, 2 * H :] + q @ self.R_n.T
        if self.b_n is not None:
            s_n = s_n + self.b_n
        n = np.tanh(s_n)
        h_new = (1 - z) * n + z * h
        return (h_new,), (h, r, z, n, q)

    def backward(self, saved: Any, d_state: State, grads: dict[str, Array]) -> tuple[Array, State]:
        h, r, z, n, q = saved
        (dh_new,) = d_state
        dz = dh_new * (h - n)
        dn = dh_new * (1 - z)
        ds_n = dn * d_tanh(n)
        dq = ds_n @ self.R_n
        dr = dq * h
        ds_rz = np.concatenate([dr * d_sigmoid(r), dz * d_sigmoid(z)], axis=1)
        ds = np.concatenate([ds_rz, ds_n], axis=1)
        grads["weight_hh"][: 2 * self.hidden] += ds_rz.T @ h
        grads["weight_hh"][2 * self.hidden :] += ds_n.T @ q
        if self.b_n is not None:
            grads["bias_hh"] += ds.sum(axis=0)
        dh = dh_new * z + dq * r + ds_rz @ self.R_rz
        return ds, (dh,)


BY_NAME: dict[str, type[Cell]] = {  # the names are the core's; the last ones take their functions, too
    "lstm": LSTM,
    "lstm_projected": LSTM,
    "gru_after": GRU,
    "gru_before": GRUResetBefore,
    "rnn_tanh": RNN,
    "rnn_relu": RNNRelu,
    "lstm_general": GeneralLSTM,
    "lstm_coupled": CoupledLSTM,
    "gru_after_general": GeneralGRU,
    "gru_before_general": GeneralGRUResetBefore,
    "rnn_general": GeneralRNN,
}
