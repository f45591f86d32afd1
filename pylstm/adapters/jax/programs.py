"""How calls get into JAX' programs: as custom calls of XLA on the CPU, elsewhere as callbacks.

JAX' own callback (`jax.pure_callback`) puts every array on a device and takes it back, at every call; a custom call is
given the memory itself. The handler is part of the core, and needs nothing of JAX to be built.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from ... import _core
from . import calls

NAME = "pylstm_recurrent"


def _registered() -> bool:
    """False where JAX has no custom calls of this kind, or another version of their interface."""
    if not hasattr(jax, "ffi"):
        return False
    try:
        jax.ffi.register_ffi_target(NAME, _core.xla_handler(calls.run), platform="cpu")
    except Exception:  # whatever it is that JAX raises: the callback serves everybody
        return False
    return True


HANDLED = _registered()


def compute(call: calls.Call, shapes: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    """The results, of these shapes and dtypes."""
    described = tuple((tuple(one.shape), np.dtype(one.dtype).name) for one in shapes)
    return list(_compute(call.as_text(), described, HANDLED, *given))


# Outside of a user's jit, JAX would translate and compile both ways at each call.
@partial(jax.jit, static_argnums=(0, 1, 2))
def _compute(text: str, described: Any, handled: bool, *given: Any) -> Any:
    shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in described]

    def callback(*given: Any) -> Any:
        return jax.pure_callback(partial(_called, text, described), shapes, *given, vmap_method="sequential")

    def custom_call(*given: Any) -> Any:
        return jax.ffi.ffi_call(NAME, shapes, vmap_method="sequential")(*given, call=text)

    return jax.lax.platform_dependent(*given, cpu=custom_call, default=callback) if handled else callback(*given)


def _called(text: str, described: Any, *given: Any) -> list[Any]:
    outputs = [np.empty(shape, dtype) for shape, dtype in described]
    calls.run(text, [np.ascontiguousarray(np.asarray(one)) for one in given], outputs)
    return outputs
