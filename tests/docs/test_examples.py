"""The examples that train whole models: on a little of their data where it is there; without data, a clear message."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"


def run(cwd, name, *arguments, expect=0):
    """What the example printed."""
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *map(str, arguments)]
    env = {**os.environ, "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == expect, done.stderr
    return done.stdout if expect == 0 else done.stderr


@pytest.fixture
def some(tmp_path):
    """A function that copies the first lines of a folder's files."""

    def copy(folder, lines):
        if not (DATA / folder).is_dir():
            pytest.skip(f"there is no {folder} in {DATA}")
        (tmp_path / folder).mkdir()
        for path in [*(DATA / folder).glob("*.tsv"), *(DATA / folder).glob("*.txt")]:
            text = path.read_text("utf-8").splitlines()[:: 1 if "ewt" in folder else 10][:lines]
            (tmp_path / folder / path.name).write_text("\n".join(text) + "\n", "utf-8")
        return tmp_path

    return copy


@pytest.mark.parametrize("name", ["sentiment", "reviews", "tagging", "poems"])
def test_without_data_the_message_says_what_is_missing(tmp_path, name):
    message = run(tmp_path, name, "--data", tmp_path, expect=1)
    assert message.startswith(f"{name}: there is no ")
    assert "--data" in message
    assert len(message.splitlines()) == 1


def test_binary_addition_is_right_for_every_pair(tmp_path):
    text = run(tmp_path, "binary_addition")
    assert "all 32,896 pairs whose sum fits into 8 bits: 100.00% right" in text
    assert max(abs(float(n)) for n in re.findall(r"([+-]\d\.\d\d)$", text, re.M)) > 0.9  # a unit follows the carry


@pytest.mark.parametrize("options", [[], ["--plain"], ["--task", "chinese", "--test"]], ids=" ".join)
def test_sentiment(some, tmp_path, options):
    data = some("emotion_zh" if "chinese" in options else "sentiment_en", 200)
    text = run(tmp_path, "sentiment", "--data", data, "--epochs", 2, "--out", "m.npz", *options)
    assert "accuracy" in text.splitlines()[-2]
    assert ("197,120" in text) == ("--plain" in options)
    import pylstm

    assert pylstm.load(tmp_path / "m.npz").metadata.keys() == {"labels", "tables"}


@pytest.mark.parametrize("options", [[], ["--lengths", "--test"]], ids=" ".join)
def test_reviews(some, tmp_path, options):
    data = some("sentiment_en", 200) / "sentiment_en"
    text = run(tmp_path, "reviews", "--data", data, "--epochs", 2, *options)
    for number in ("320,000", "53,200", "101", "Total: 373,301 parameters"):
        assert number in text


def test_tagging(some, tmp_path):
    text = run(tmp_path, "tagging", "--data", some("tagging_ud_ewt", 8000) / "tagging_ud_ewt", "--epochs", 6)
    assert float(re.search(r"dev: ([\d.]+)% of", text)[1]) > 50
    assert "duck/" in text


def test_poems(some, tmp_path):
    data = some("tang_poems", 150) / "tang_poems"
    text = run(tmp_path, "poems", "--data", data, "--epochs", 2, "--hidden", 32, "--out", "p.npz")
    assert "4-gram with Kneser-Ney smoothing" in text
    assert "poems written are in metre" in text
    assert (tmp_path / "p.npz").is_file()


def test_kneser_ney_is_a_distribution():
    spec = importlib.util.spec_from_file_location("ngram", ROOT / "examples" / "ngram.py")
    ngram = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ngram)
    rng = np.random.default_rng(0)
    texts = ["".join("abcdefghij"[min(9, n)] for n in rng.geometric(0.3, 12) - 1) for _ in range(300)]
    model = ngram.KneserNey(texts, 3)
    for context in [("a", "b"), ("j", "j"), (ngram.START, ngram.START), ("x", "a"), ("x", "y")]:
        total = sum(model.probability(symbol, context) for symbol in [*"abcdefghij", ngram.END])
        assert total == pytest.approx(1, abs=1e-9)
    assert model.perplexity(texts) < model.perplexity(["jihgfedcba"] * 3)
    assert model.perplexity(texts) < ngram.KneserNey(texts, 1).perplexity(texts)
