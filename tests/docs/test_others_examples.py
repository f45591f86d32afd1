"""`voice.py` and `headlines.py`: models of ONNX and Keras files of others."""

from __future__ import annotations

import re

import numpy as np
import pytest

import pylstm
from support.examples import DATA, run

PRETRAINED = DATA / "pretrained"


def test_speech_is_found_where_it_is(tmp_path):
    folder = PRETRAINED / "silero_vad"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    weights = folder / "silero_vad_16k_op15.onnx"
    picture = tmp_path / "voice.png"
    said = run(tmp_path, "voice", folder / "test_first_12.8s.wav", "--weights", weights, "--picture", picture)
    found = [tuple(map(float, span)) for span in re.findall(r"speech from +([\d.]+) to +([\d.]+)", said)]
    with np.load(folder / "golden_op15_400frames.npz") as golden:
        speaks = golden["prob"] > 0.5
    inside = np.zeros(400, bool)
    for begin, end in found:
        inside[round(begin / 0.032) : round(end / 0.032)] = True
    assert 2 <= len(found) <= 8
    assert inside[speaks].mean() > 0.95  # a pause of less than a tenth of a second ends nothing
    assert (inside == speaks).mean() > 0.95
    assert picture.stat().st_size > 1000
    assert "speech from" in run(tmp_path, "voice", "--weights", weights)


def test_other_files_are_no_detectors(refused, tmp_path):
    assert "there is no" in refused("voice", "--weights", tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("model")
    assert "expected silero_vad_16k_op15.onnx" in refused("voice", "--weights", tmp_path / "text.onnx")
    pylstm.to_onnx(pylstm.LSTM(3, 2, seed=0), tmp_path / "other.onnx")
    assert "expected silero_vad_16k_op15.onnx" in refused("voice", "--weights", tmp_path / "other.onnx")


def test_headlines_are_of_words(tmp_path):
    folder = PRETRAINED / "textgenrnn"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    said = run(tmp_path, "headlines", "--weights", folder, "--count", 12, "--begin", "Why ", "--temperature", 0.3)
    texts = [line[2:] for line in said.splitlines() if line.startswith("  ")]
    assert len(texts) == 12
    assert all(text.startswith("Why ") for text in texts)
    words = " ".join(texts).lower().split()
    assert {"the", "a", "to"} & {*words}
    assert len({*texts}) > 6
    again = run(tmp_path, "headlines", "--weights", folder, "--count", 12, "--begin", "Why ", "--temperature", 0.3)
    assert said == again


def test_other_folders_are_no_writers(refused, tmp_path):
    (tmp_path / "textgenrnn_vocab.json").write_text('{"a": 1, "<s>": 2}')
    assert "there is no" in refused("headlines", "--weights", tmp_path)
    pylstm.to_keras(pylstm.Sequential([pylstm.Linear(2, 3, seed=0)]), tmp_path / "model.weights.h5")
    (tmp_path / "model.weights.h5").rename(tmp_path / "textgenrnn_weights.hdf5")
    assert "holds something else" in refused("headlines", "--weights", tmp_path)
    (tmp_path / "textgenrnn_vocab.json").write_text('{"a": 1}')
    assert "holds something else" in refused("headlines", "--weights", tmp_path)
