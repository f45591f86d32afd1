"""Modules for PyTorch, public in `pylstm.torch`."""
