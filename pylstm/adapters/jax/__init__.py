"""Functions for JAX, public in `pylstm.jax`."""
