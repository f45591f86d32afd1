"""Operators on 8-bit integers, computed as onnxruntime computes them."""

from __future__ import annotations
