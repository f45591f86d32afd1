"""The operators around recurrent nodes, on the cases of ONNX's own tests."""

from __future__ import annotations

import importlib
import io
import warnings

import numpy as np
import pytest

import pylstm
from pylstm.files.onnx.operators.known import known_operators

# modules of the cases; those of all operators take a minute to make
MODULES = [
    "argmax", "clip", "concat", "conv", "gather", "gemm", "matmul", "pad", "reducemean", "slice", "softmax", "split",
    "squeeze", "topk", "transpose", "where",
]  # fmt: skip


def test_the_cases_of_onnx():
    pytest.importorskip("onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import onnx.backend.test.case.node as collected

        for name in MODULES:
            importlib.import_module(f"{collected.__name__}.{name}")
        cases = list(collected._NodeTestCases)
    right, wrong = 0, []
    known = set(known_operators())
    for case in cases:
        arrays = [np.asarray(one) for inputs, outputs in case.data_sets for one in [*inputs, *outputs]]
        if not {node.op_type for node in case.model.graph.node} <= known or any(
            array.dtype.kind not in "fiub" or array.dtype.itemsize > 8 or array.dtype.isbuiltin != 1 for array in arrays
        ):
            continue
        try:
            model = pylstm.from_onnx(io.BytesIO(case.model.SerializeToString()))
        except pylstm.ModelFileError:
            wrong.append(case.name)
            continue
        for inputs, outputs in case.data_sets:
            found = model(*inputs)
            for one, other in zip(found if isinstance(found, tuple) else (found,), outputs, strict=False):
                same = one.shape == np.shape(other) and one.dtype == np.asarray(other).dtype
                if not same or not np.allclose(one, other, rtol=2e-3 if one.dtype == "f2" else 1e-4, atol=1e-4):
                    wrong.append(case.name)
        right += 1
    assert right > 80
    assert len(wrong) <= 4, wrong  # training's forms, several outputs of pooling
