"""The example that describes pictures."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np

from support.examples import ROOT, run


def test_captions_are_learned_saved_and_given_for_pictures_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PYLSTM_NUM_THREADS", "1")
    keep = ["--model", "m.npz", "--test"]
    first = run(tmp_path, "captions", *keep, "--epochs", 5)
    exact = {
        name: float(n) for name, n in re.findall(r"^(\w+): ([\d.]+)% of [\d,]+ captions exactly right", first, re.M)
    }
    assert exact["train"] > 30, first
    assert exact["test"] > 20, first
    assert "green triangle" in first
    run(tmp_path, "shapes", "drawn", "--count", 24, "--seed", 9)
    own = [tmp_path / "drawn" / f"{i:04}.png" for i in range(24)]
    again = run(tmp_path, "captions", *keep, "--describe", *own, "--picture", "sheet.png")
    assert "m.npz is loaded" in again
    assert "epoch" not in again
    assert re.findall(r"[\d.]+% of [\d,]+ captions", again) == re.findall(r"[\d.]+% of [\d,]+ captions", first)
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    true = [line.split("\t")[1] for line in (tmp_path / "drawn" / "captions.tsv").read_text("utf-8").splitlines()[1:]]
    said = [re.fullmatch(r".*png: (.*?) \(\d+%\).*", line)[1] for line in again.splitlines()[-24:]]
    colours = ["red", "green", "blue", "yellow", "black"]
    right = [[word for word in text.split() if word in colours] for text in true]
    assert np.mean([[w for w in text.split() if w in colours] == r for text, r in zip(said, right, strict=True)]) > 0.5


CAPTIONS = """
import sys
sys.path.insert(0, sys.argv[1])
import captions, numpy as np, pylstm
from pathlib import Path

rng = np.random.default_rng(0)
x, linear = rng.standard_normal((2, 6, 4, 3), dtype=np.float32), pylstm.Linear(27, 5, seed=0)
padded = np.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))
expected = np.empty((2, 3, 2, 5))
for n, i, j in np.ndindex(2, 3, 2):
    around = padded[n, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].ravel()
    expected[n, i, j] = np.maximum(0, linear.params["weight"] @ around + linear.params["bias"]) * 6**0.5
np.testing.assert_allclose(captions.convolved(x, linear), expected, rtol=1e-5, atol=1e-5)

model = captions.Captioner(7, 2, 6)
pixels, words = rng.random((3, 32, 32, 4), np.float32), rng.integers(2, 7, (3, 5))
whole, state = model(pixels, words), model.begin(pixels)
model.metadata = {"vocabulary": pylstm.Vocabulary([[captions.BORDER, *"abcd"]]), "mean": [0] * 4, "scale": [1] * 4}
describer = captions.Describer(model)
for step in range(5):
    logits, state = describer.step(words[:, step], state)
    assert np.isneginf(logits[:, :2]).all()  # never padding or an unknown word
    np.testing.assert_allclose(logits[:, 2:], whole[:, step, 2:], rtol=1e-4, atol=1e-5)

image = np.zeros((96, 64, 4), np.float32)
image[:48, :, 0] = 1
fitted = captions.fitted(image)
assert fitted.shape == (32, 32, 4)
assert fitted[:16, 6:26, 0].min() == 1 and fitted[16:].max() == 0 and fitted[:, :5].max() == 0
noise = rng.random((100, 100, 4), np.float32)
np.testing.assert_allclose(captions.fitted(noise)[0, 0], noise[:3, :3].mean((0, 1)), rtol=1e-5)
assert (captions.fitted(np.ones((3, 3, 4), np.float32)) == 1).all()
for text in ("flag, S\u00e3o Tom\u00e9", "a, b, c", "one"):
    assert captions.joined(captions.split(text)) == text
"""


def test_captions_convolve_step_and_fit_as_they_say(tmp_path):
    command = [sys.executable, "-c", CAPTIONS, str(ROOT / "examples")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr


def test_captions_name_the_row_that_is_wrong(refused, tmp_path):
    from matplotlib.image import imsave

    imsave(tmp_path / "a.png", np.zeros((8, 8, 3)))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:50])
    (tmp_path / "c.png").write_text("no picture", "utf-8")
    for rows, message in [
        (["a.png\ta thing\ttrain"] * 30 + ["x.png\ta thing\ttrain"], "line 32: there is no x.png"),
        (["a.png\ta thing\tlater"], "line 2: `split` is 'later'"),
        (["a.png\t\ttrain"], "line 2, has no file or no caption"),
        (["a.png"], "line 2, has no file or no caption"),
        (["b.png\ta thing\ttrain"], "b.png"),
        (["c.png\ta thing\ttrain"], "c.png"),
        (["a.png\ta thing\ttrain"] * 3, "holds 3 examples"),
        (["a.png\ta thing\ttest"] * 30, "0 of them to learn from"),
    ]:
        (tmp_path / "captions.tsv").write_text("\n".join(["file\tcaption\tsplit", *rows]), "utf-8")
        found = refused("captions", "--data", tmp_path)
        assert message in found
        assert len(found.splitlines()) == 1
    assert "there is no" in refused("captions", "--describe", tmp_path / "nothing.png")
    (tmp_path / "torn.npz").write_bytes(b"PK")
    assert "is no model" in refused("captions", "--model", tmp_path / "torn.npz")
    assert "there can be no folder" in refused("shapes", tmp_path / "torn.npz")
