"""Schedules of the learning rate."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.steps import gradients, make_layer


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (pylstm.StepLR(3, 0.5), "StepLR", {"step_size": 3, "gamma": 0.5}),
        (pylstm.Cosine(8, 0.1), "CosineAnnealingLR", {"T_max": 8, "eta_min": 0.1}),
        (pylstm.WarmUp(4), "LinearLR", {"start_factor": 0.25, "total_iters": 3}),
    ],
)
def test_schedules_follow_torch(ours, theirs, options):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = getattr(torch.optim.lr_scheduler, theirs)(optimizer, **options)
    for epoch in range(9):
        assert ours.factor(epoch, 0, 1) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(("monitor", "mode", "sign"), [("val_loss", "min", 1), ("val_accuracy", "max", -1)])
def test_plateau_follows_torch(monitor, mode, sign):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode, factor=0.5, patience=2)
    ours = pylstm.ReduceOnPlateau(0.5, 2, monitor)
    rng = np.random.default_rng(0)
    for value in sign * np.round(rng.uniform(0, 1, 40), 2) + 2:
        optimizer.step()
        theirs.step(value)
        ours.end_epoch({monitor: value})
        assert ours.factor(0, 0, 1) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        ours.load_state_dict(ours.state_dict())


def test_warm_up_then_cosine():
    schedule = pylstm.WarmUp(2, pylstm.Cosine(10))
    factors = [schedule.factor(e, b, 4) for e in range(12) for b in range(4)]
    np.testing.assert_allclose(factors[:8], np.arange(1, 9) / 8)
    assert factors[8] == 1
    assert (np.diff(factors[8:]) < 0).all()


def test_a_step_gives_new_read_only_arrays():
    """Of all layers but Embedding, which says that training writes to its table."""
    layer = make_layer()
    before = dict(layer.params)
    kept = layer.state_dict()
    pylstm.Adam(0.1).step(layer, gradients(np.random.default_rng(0)))
    for name, value in layer.params.items():
        assert (value != kept[name]).any()
        np.testing.assert_array_equal(before[name], kept[name])
        with pytest.raises(ValueError, match="read-only"):
            value[...] = 0
