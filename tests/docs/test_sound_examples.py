"""Examples that hear."""

from __future__ import annotations

import re
import runpy
import wave

import numpy as np
import pytest

from support.examples import ROOT, run


def test_speech_of_the_sample_is_written(tmp_path):
    pytest.importorskip("matplotlib")
    few = ["--model", "speech.npz", "--test", "--epochs", 14]
    first = run(tmp_path, "speech", *few, "--picture", "p.png")
    rates = [float(rate) for rate in re.findall(r"label error rate ([\d.]+)%", first)]
    assert len(rates) == 2
    assert max(rates) < 40
    assert (tmp_path / "p.png").is_file()
    sound = np.random.default_rng(0).normal(0, 1000, 8000).astype("<i2")
    with wave.open(str(tmp_path / "own.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(sound.tobytes())
    again = run(tmp_path, "speech", *few, "--listen", "own.wav")
    assert "speech.npz is loaded" in again
    assert "epoch" not in again
    assert re.search(r"own.wav: [\d ]*$", again, re.M)
    assert re.findall(r"label error rate.*", again) == re.findall(r"label error rate.*", first)


def test_speech_is_written_while_it_is_heard(monkeypatch):
    """Frame by frame a network that only looks back, here one that nobody has trained, writes what it does at once."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    speech = runpy.run_path(str(ROOT / "examples" / "speech.py"))
    args = type("", (), {"streaming": True, "hidden": 12, "dropout": 0.0, "seed": 3})
    model = speech["network"](args)
    model.metadata = {"mean": np.zeros(80).tolist(), "scale": np.ones(80).tolist(), "streaming": True}
    some = speech["spoken"](4, 0)
    whole = speech["written"](model, some, 1)
    assert len({tuple(digits) for digits in whole}) > 1
    for one, expected in zip(some, whole, strict=True):
        listener, digits, rng = speech["Listener"](model), [], np.random.default_rng(1)
        left = one.samples
        while len(left):
            count = int(rng.integers(1, 900))
            digits += listener.hear(left[:count])
            left = left[count:]
        assert digits == expected


def test_speech_reads_recipes(refused, tmp_path):
    (tmp_path / "recordings").mkdir()
    rows = ["utt,speaker,transcript,gap_ms,files"]
    rows += [f"u{i},{'ab'[i % 2]},{i % 10}{i % 7},90,{i % 10}.wav {i % 7}.wav" for i in range(50)]
    for digit in range(10):
        with wave.open(str(tmp_path / "recordings" / f"{digit}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            tone = 9000 * np.sin(np.arange(2000) * (0.1 + 0.2 * digit))
            file.writeframes(tone.astype("<i2").tobytes())
    for part in ("train", "test"):
        (tmp_path / f"digit_strings_{part}.csv").write_text("\n".join(rows) + "\n", "utf-8")
    tiny = ["--data", tmp_path, "--epochs", 1, "--hidden", 4]
    text = run(tmp_path, "speech", *tiny, "--without", "a", "--test")
    assert "test, a, who was never heard: label error rate" in text
    assert "the speakers are a, b" in refused("speech", *tiny, "--without", "c")
    (tmp_path / "recordings" / "3.wav").unlink()
    assert "3.wav" in refused("speech", *tiny)
    rows[3] = rows[3].replace(",90,", ",long,")
    (tmp_path / "digit_strings_train.csv").write_text("\n".join(rows) + "\n", "utf-8")
    assert "'long' as a gap in line 4" in refused("speech", *tiny)
    assert "there is no folder" in refused("speech", "--data", tmp_path / "nowhere")
    assert "expected a WAV file of 8000" in refused("speech", "--listen", tmp_path / "nowhere.wav")


def test_alarm_detects_more_than_thresholds_do(tmp_path):
    text = run(tmp_path, "alarm", "--minutes", 30)
    found = {name: int(count) for name, count in re.findall(r"alarm by (\w+): (\d+) of \d+ faults", text)}
    assert found["GRU"] > 2 * max(found["level"], found["bands"])
    assert max(map(float, re.findall(r"without fault, ([\d.]+) an hour", text))) < 20
    assert re.search(r"from 200 samples to the answer: median \d+ us", text)


def test_alarm_loads_the_model_that_it_saved(tmp_path):
    few = ["--minutes", 3, "--epochs", 2, "--model", "alarm.npz"]
    first, again = run(tmp_path, "alarm", *few), run(tmp_path, "alarm", *few)
    assert "epoch 2/2" in first
    assert "alarm.npz is loaded" in again
    assert "epoch" not in again
    assert re.findall(r"alarm by .*|  \d+ false .*", again) == re.findall(r"alarm by .*|  \d+ false .*", first)


def test_alarm_reads_sounds(refused, tmp_path):
    rng = np.random.default_rng(0)
    for name, seconds in (("well", 400), ("watched", 125), ("short", 3)):
        noise = rng.normal(0, 2000, (500 * seconds, 2))
        if name == "watched":
            noise[500 * 60 : 500 * 80] += 9000 * np.sin(np.arange(500 * 20))[:, None]
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as file:
            file.setparams((2, 2, 500, 0, "NONE", ""))
            file.writeframes(noise.astype("<i2").tobytes())
    well = ["--data", tmp_path / "well.wav", "--epochs", 2]
    text = run(tmp_path, "alarm", *well, "--watch", tmp_path / "watched.wav")
    assert re.search(r"alarm by GRU: \d+ in 2.1 minutes, .* an hour: at .*6[0-2] s", text), text
    assert "3.0 s; expected a WAV file" in refused("alarm", "--data", tmp_path / "short.wav")
    assert "--watch needs --data" in refused("alarm", "--watch", tmp_path / "watched.wav")
    (tmp_path / "torn.npz").write_bytes(b"PK")
    assert "is no model" in refused("alarm", *well, "--model", tmp_path / "torn.npz")
