"""Recurrent layers as functions for JAX; an optional extra, `pip install 'pylstm[jax]'`."""

try:
    from jax import pure_callback as _needed  # noqa: F401
except ImportError as error:
    raise ImportError("pylstm.jax needs JAX: pip install 'pylstm[jax]'") from error

from .adapters.jax.functions import gru, lstm, rnn

__all__ = ["gru", "lstm", "rnn"]
