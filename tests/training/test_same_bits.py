"""Training gives the same bits again: seeds, threads, going on later."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import pylstm
from support.fits import fit, model, same_bits, sequences


def test_the_same_seed_gives_the_same_bits():
    x, y, _ = sequences()
    nets = [model() for _ in range(3)]
    histories = [fit(net, x, y, seed=seed) for net, seed in zip(nets, (1, 1, 2), strict=True)]
    assert same_bits(nets[0], nets[1])
    assert histories[0]["loss"] == histories[1]["loss"]
    assert not same_bits(nets[0], nets[2])


PROGRAM = """
import hashlib, sys
import numpy as np, pylstm
rng = np.random.default_rng(0)
x = [rng.integers(1, 300, n) for n in rng.integers(1, 40, 200)]
y = [s % 50 for s in x]
net = pylstm.Sequential([
    pylstm.Embedding(300, 48), pylstm.LSTM(48, 64, 2, batch_first=True, bidirectional=True, dropout=0.2),
    pylstm.Dropout(0.2), pylstm.Linear(128, 50),
], seed=0)
adam = pylstm.Adam(1e-2)
net.fit(x, y, loss="cross_entropy", optimizer=adam, batch_size=64, epochs=2, clip_norm=1.0, seed=1, verbose=0)
from pylstm import _core
from pylstm.training.gradients import sum_of_squares
parts = [v for v in net.params.values()]
for shape in [(1, 20000, 1), (8192, 128, 1), (1, 8192, 128), (900, 256, 700), (300, 3000, 40), (3, 30000, 2)]:
    for dtype in (np.float32, np.float64):
        a, b = (rng.standard_normal(s).astype(dtype) for s in (shape[:2], shape[1:]))
        y = _core.linear(a, b.T.copy(), None, None)
        parts += [y, np.array(sum_of_squares(a)), *_core.linear_backward(a, b.T.copy(), y, True, True, None)]
print(pylstm.get_num_threads(), hashlib.sha256(b"".join(v.tobytes() for v in parts)).hexdigest())
"""


@pytest.mark.slow
def test_the_same_bits_for_any_number_of_threads(tmp_path):
    """Of this library and of what it takes from NumPy."""
    found = {}
    for threads in (1, 2, 3):
        names = ("PYLSTM_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
        env = {**os.environ, **dict.fromkeys(names, str(threads))}
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        count, digest = run.stdout.split()
        found[count] = digest
    assert len(set(found.values())) == 1, found
    assert "1" in found


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("per_step", [False, True], ids=["sequence", "truncated"])
def test_resume_equals_uninterrupted(tmp_path, per_step, suffix):
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    x, labels, tags = sequences()
    y = tags if per_step else labels
    options = {"validation_data": (x[:30], y[:30]), "clip_norm": 1.0}
    if per_step:
        options["truncate"] = 4

    def extras(lr=1e-2):
        return {
            "optimizer": pylstm.Adam(lr),
            "schedule": pylstm.WarmUp(1, pylstm.ReduceOnPlateau(0.5, 0, threshold=0.5)),
        }

    def callbacks(name):
        path = tmp_path / f"{name}.{suffix}"
        return {"callbacks": [pylstm.ModelCheckpoint(path), pylstm.EarlyStopping(patience=50)]}, path

    whole = model(per_step=per_step)
    kept, _ = callbacks("whole")
    want = fit(whole, x, y, per_step, epochs=6, **options, **extras(), **kept)
    assert len(set(want["lr"])) > 2  # the schedule had something to remember

    first = model(per_step=per_step)
    kept, path = callbacks("parts")
    fit(first, x, y, per_step, epochs=3, **options, **extras(), **kept)
    second = model(seed=99, per_step=per_step)  # other weights and another rate: the file's count
    kept, _ = callbacks("parts")
    with pytest.warns(UserWarning, match="another learning rate: the checkpoint's counts, 0.01"):
        got = fit(second, x, y, per_step, epochs=6, resume=path, **options, **extras(0.5), **kept, seed=77)
    assert same_bits(whole, second)
    for name in want:
        if name != "seconds":
            assert got[name] == want[name], name
    assert same_bits(pylstm.load(path), pylstm.load(tmp_path / f"whole.{suffix}"))


def test_resume_refuses_what_does_not_fit(tmp_path):
    x, y, _ = sequences(30)
    path = tmp_path / "c.npz"
    net = model()
    fit(net, x, y, epochs=1, callbacks=[pylstm.ModelCheckpoint(path)])
    keep = [pylstm.ModelCheckpoint(path)]
    with pytest.raises(ValueError, match="another model"):
        fit(model(bidirectional=True), x, y, resume=path, callbacks=keep)
    with pytest.raises(ValueError, match="not of SGD"):
        fit(model(), x, y, resume=path, callbacks=keep, optimizer=pylstm.SGD(0.1))
    net.save(path)
    with pytest.raises(ValueError, match="without the state of a training"):
        fit(model(), x, y, resume=path, callbacks=keep)
    with pytest.raises(FileNotFoundError):
        fit(model(), x, y, resume=tmp_path / "none.npz", callbacks=keep)
