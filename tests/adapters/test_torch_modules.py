"""PyTorch's own samples of recurrent modules (its module database) on pylstm's: results, gradients, errors."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("expecttest", reason="PyTorch's testing tools need it")
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

import pylstm.torch

INFOS = [info for info in module_db if info.module_cls in (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN)]
close = torch.testing.assert_close


def made(info, sample, dtype, training):
    """pylstm's module and PyTorch's of a sample, with the same parameters."""
    args, options = sample.constructor_input.args, sample.constructor_input.kwargs
    theirs = info.module_cls(*args, **options).to(dtype).train(training)
    ours = getattr(pylstm.torch, info.module_cls.__name__)(*args, **options).to(dtype).train(training)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def flat(found):
    return [one for part in found for one in (part if isinstance(part, tuple) else (part,))]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.module_cls.__name__)
def test_samples(info, dtype, training):
    samples = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training)
    assert len(samples) >= 16
    for sample in samples:
        given, options = sample.forward_input.args, sample.forward_input.kwargs
        ours, theirs = made(info, sample, dtype, training)
        found = flat(ours(*given, **options))
        close(found, flat(theirs(*given, **options)))
        leaves = [one for one in flat(given) if isinstance(one, torch.Tensor)] + list(ours.parameters())
        wanted = [one for one in flat(given) if isinstance(one, torch.Tensor)] + list(theirs.parameters())
        close(
            torch.autograd.grad([one.sum() for one in found], leaves),
            torch.autograd.grad([one.sum() for one in flat(theirs(*given, **options))], wanted),
            **({"rtol": 1e-5, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-9}),
        )
        if sample.reference_fn is not None:
            close(ours(*given, **options), sample.reference_fn(ours, *given, **options))
        if dtype == torch.float64 and not training:
            assert torch.autograd.gradcheck(lambda *_: tuple(flat(ours(*given, **options))), tuple(leaves[:1]))  # noqa: B023


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.module_cls.__name__)
def test_errors(info):
    samples = info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=False, training=False
    )
    assert samples
    for sample in samples:
        inner = sample.module_error_input
        args, options = inner.constructor_input.args, inner.constructor_input.kwargs
        cls = getattr(pylstm.torch, info.module_cls.__name__)
        if sample.error_on == ModuleErrorEnum.CONSTRUCTION_ERROR:
            with pytest.raises(sample.error_type, match=sample.error_regex):
                cls(*args, **options)
        else:
            with pytest.raises(sample.error_type, match=sample.error_regex):
                cls(*args, **options)(*inner.forward_input.args, **inner.forward_input.kwargs)
