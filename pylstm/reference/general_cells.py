"""The cells whose functions are chosen, written as those in `cells.py`: f of the gates, g of what enters, h of what
leaves, each a name or a tuple of a name and its parameters; what goes into f and g is cut off at +-clip."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from . import meanings
from .activations import Array, Chosen, derivative, value

State = tuple[Array, ...]


class GeneralRNN:
    """h' = f(a + R h + b)."""

    saves: ClassVar[tuple[str, ...]] = ("h", "s")
    meanings: ClassVar[dict[str, str]] = {}

    def __init__(self, params: dict[str, Array], f: Chosen = "tanh", clip: float | None = None) -> None:
        self.params, self.f, self.clip = params, f, clip
        self.R, self.b = params["weight_hh"], params.get("bias_hh")

    def forward(self, a: Array, state: State) -> tuple[State, Any]:
        (h,) = state
        s = a + h @ self.R.T
        if self.b is not None:
            s = s + self.b
        return (value(self.f, s, self.clip),), (h, s)

    def backward(self, saved: Any, d_state: State, grads: dict[str, Array]) -> tuple[Array, State]:
        h, s = saved
        ds = d_state[0] * derivative(self.f, s, self.clip)
        grads["weight_hh"] += ds.T @ h
        if self.b is not None:
            grads["bias_hh"] += ds.sum(axis=0)
        return ds, (ds @ self.R,)


class GeneralLSTM:
    """Long short-term memory with peepholes, which are zero where there are none.

    s_i, s_f, s_g, s_o = a + R h + b    four blocks of columns; coupled: without s_f
    i = f(s_i + p_i c)
    f = f(s_f + p_f c)                  coupled: f = 1 - i
    g = g(s_g)
    c' = f c + i g
    o = f(s_o + p_o c')
    h' = o h(c')
    """

    saves: ClassVar[tuple[str, ...]] = ("h", "c", "s_i", "s_f", "s_g", "s_o", "i", "f", "g", "o", "c_new")
    meanings: ClassVar[dict[str, str]] = meanings.LSTM
    coupled: ClassVar[bool] = False

    def __init__(
        self,
        params: dict[str, Array],
        f: Chosen = "sigmoid",
        g: Chosen = "tanh",
        h: Chosen = "tanh",
        clip: float | None = None,
    ) -> None:
        self.params, self.f, self.g, self.h, self.clip = params, f, g, h, clip
        self.R, self.b = params["weight_hh"], params.get("bias_hh")
        self.p_i, self.p_f, self.p_o = (params.get(f"weight_c{gate}", np.zeros(1, self.R.dtype)) for gate in "ifo")

    def forward(self, a: Array, state: State) -> tuple[State, Any]:
        h, c = state
        s = a + h @ self.R.T
        if self.b is not None:
            s = s + self.b
        s_i, *s_f, s_g, s_o = np.split(s, 3 if self.coupled else 4, axis=1)
        s_i = s_i + self.p_i * c
        i, g = value(self.f, s_i, self.clip), value(self.g, s_g, self.clip)
        forget_sum = s_i if self.coupled else s_f[0] + self.p_f * c
        f = 1 - i if self.coupled else value(self.f, forget_sum, self.clip)
        c_new = f * c + i * g
        s_o = s_o + self.p_o * c_new
        o = value(self.f, s_o, self.clip)
        return (o * value(self.h, c_new), c_new), (h, c, s_i, forget_sum, s_g, s_o, i, f, g, o, c_new)

    def backward(self, saved: Any, d_state: State, grads: dict[str, Array]) -> tuple[Array, State]:
        h, c, s_i, s_f, s_g, s_o, i, f, g, o, c_new = saved
        dh_new, dc_new = d_state
        ds_o = dh_new * value(self.h, c_new) * derivative(self.f, s_o, self.clip)
        dc_new = dc_new + dh_new * o * derivative(self.h, c_new) + ds_o * self.p_o
        di, df = dc_new * g, dc_new * c
        dc = dc_new * f
        if self.coupled:
            di = di - df
        else:
            ds_f = df * derivative(self.f, s_f, self.clip)
            dc = dc + ds_f * self.p_f
        ds_i = di * derivative(self.f, s_i, self.clip)
        dc = dc + ds_i * self.p_i
        ds_g = dc_new * i * derivative(self.g, s_g, self.clip)
        ds = np.concatenate([ds_i, ds_g, ds_o] if self.coupled else [ds_i, ds_f, ds_g, ds_o], axis=1)
        grads["weight_hh"] += ds.T @ h
        if self.b is not None:
            grads["bias_hh"] += ds.sum(axis=0)
        if "weight_ci" in grads:
            grads["weight_ci"] += (ds_i * c).sum(axis=0)
            grads["weight_co"] += (ds_o * c_new).sum(axis=0)
        if "weight_cf" in grads:
            grads["weight_cf"] += (ds_f * c).sum(axis=0)
        return ds, (ds @ self.R, dc)


class CoupledLSTM(GeneralLSTM):
    """That whose forget gate is 1 - i (Greff et al. 2015)."""

    meanings: ClassVar[dict[str, str]] = meanings.COUPLED
    coupled: ClassVar[bool] = True


class GeneralGRU:
    """Gated recurrent unit, the reset gate after the recurrent product.

    u = R h + b
    r = f(a_r + u_r)
    z = f(a_z + u_z)
    n = g(a_n + r u_n)
    h' = (1 - z) n + z h
    """

    saves: ClassVar[tuple[str, ...]] = ("h", "s_r", "s_z", "s_n", "r", "z", "n", "u_n")
    meanings: ClassVar[dict[str, str]] = meanings.GRU

    def __init__(
        self, params: dict[str, Array], f: Chosen = "sigmoid", g: Chosen = "tanh", clip: float | None = None
    ) -> None:
        self.params, self.f, self.g, self.clip = params, f, g, clip
        self.R, self.b = params["weight_hh"], params.get("bias_hh")

    def forward(self, a: Array, state: State) -> tuple[State, Any]:
        (h,) = state
        u = h @ self.R.T
        if self.b is not None:
            u = u + self.b
        (a_r, a_z, a_n), (u_r, u_z, u_n) = np.split(a, 3, axis=1), np.split(u, 3, axis=1)
        s_r, s_z = a_r + u_r, a_z + u_z
        r, z = value(self.f, s_r, self.clip), value(self.f, s_z, self.clip)
        s_n = a_n + r * u_n
        n = value(self.g, s_n, self.clip)
        return ((1 - z) * n + z * h,), (h, s_r, s_z, s_n, r, z, n, u_n)

    def backward(self, saved: Any, d_state: State, grads: dict[str, Array]) -> tuple[Array, State]:
        h, s_r, s_z, s_n, r, z, n, u_n = saved
        (dh_new,) = d_state
        da_n = dh_new * (1 - z) * derivative(self.g, s_n, self.clip)
        da_r = da_n * u_n * derivative(self.f, s_r, self.clip)
        da_z = dh_new * (h - n) * derivative(self.f, s_z, self.clip)
        da = np.concatenate([da_r, da_z, da_n], axis=1)
        du = np.concatenate([da_r, da_z, da_n * r], axis=1)
        grads["weight_hh"] += du.T @ h
        if self.b is not None:
            grads["bias_hh"] += du.sum(axis=0)
        return da, (dh_new * z + du @ self.R,)


class GeneralGRUResetBefore(GeneralGRU):
    """The same, the reset gate before the recurrent product: n = g(a_n + R_n (r h) + b_n)."""

    saves: ClassVar[tuple[str, ...]] = ("h", "s_r", "s_z", "s_n", "r", "z", "n", "q")

    def forward(self, a: Array, state: State) -> tuple[State, Any]:
        (h,) = state
        H = h.shape[1]
        s = a if self.b is None else a + self.b
        s_r, s_z = np.split(s[:, : 2 * H] + h @ self.R[: 2 * H].T, 2, axis=1)
        r, z = value(self.f, s_r, self.clip), value(self.f, s_z, self.clip)
        q = r * h
        s_n = s[:, 2 * H :] + q @ self.R[2 * H :].T
        n = value(self.g, s_n, self.clip)
        return ((1 - z) * n + z * h,), (h, s_r, s_z, s_n, r, z, n, q)

    def backward(self, saved: Any, d_state: State, grads: dict[str, Array]) -> tuple[Array, State]:
        h, s_r, s_z, s_n, r, z, n, q = saved
        (dh_new,) = d_state
        H = h.shape[1]
        ds_n = dh_new * (1 - z) * derivative(self.g, s_n, self.clip)
        dq = ds_n @ self.R[2 * H :]
        ds_r = dq * h * derivative(self.f, s_r, self.clip)
        ds_z = dh_new * (h - n) * derivative(self.f, s_z, self.clip)
        ds_rz = np.concatenate([ds_r, ds_z], axis=1)
        ds = np.concatenate([ds_rz, ds_n], axis=1)
        grads["weight_hh"][: 2 * H] += ds_rz.T @ h
        grads["weight_hh"][2 * H :] += ds_n.T @ q
        if self.b is not None:
            grads["bias_hh"] += ds.sum(axis=0)
        return ds, (dh_new * z + dq * r + ds_rz @ self.R[: 2 * H],)
