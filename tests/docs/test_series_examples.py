"""Examples of series and tables."""

from __future__ import annotations

import re
import wave

import numpy as np
import pytest

from support.examples import run

TINY = ["--past", 12, "--future", 6, "--stride", 6, "--epochs", 2, "--hidden", 8]


def test_forecast_of_the_series_it_draws(tmp_path):
    text = run(tmp_path, "forecast", "--hours", 4000, *TINY, "--epochs", 12, "--out", "model.npz")
    missing = float(re.search(r"([\d.]+)% of them missing", text)[1])
    assert 2 < missing < 20
    means = {
        name: float(mean)
        for name, mean in re.findall(r"^(persistence|linear regression|LSTM) .* (\S+) +\S+$", text, re.M)
    }
    assert means["LSTM"] < means["persistence"]
    assert means["linear regression"] < means["persistence"]
    for name in ("persistence", "linear regression"):
        change = abs(means["LSTM"] / means[name] - 1)
        found = re.search(rf"the LSTM's mean is ([\d.]+)% (below|above) that of {name}", text)
        assert float(found[1]) / 100 == pytest.approx(change, abs=0.01)
    assert (tmp_path / "model.npz").is_file()


@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=repr)
def test_forecast_reads_a_column_with_gaps(refused, tmp_path, ends):
    rows = [
        f"2024-01-{1 + hour // 24:02} {hour % 24:02}:00;{'' if hour % 7 == 3 else hour % 24};{hour}"
        for hour in range(600)
    ]
    del rows[100:120]
    path = tmp_path / "春.csv"
    path.write_bytes(ends.join(["\ufefftime;温度;count", *rows, ""]).encode())
    text = run(tmp_path, "forecast", "--data", path, "--column", "温度", *TINY)
    gaps = sum(hour % 7 == 3 or 100 <= hour < 120 for hour in range(600)) / 600
    assert f"温度: 600 steps of 1 h, {gaps:.1%} of them missing" in text
    assert "has no column 'x' of numbers; it has 温度, count" in refused("forecast", "--data", path, "--column", "x")
    assert "too few for windows" in refused("forecast", "--data", path, "--past", 400)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.__setitem__(9, "9 o'clock,3"), "line 10: \"9 o'clock\" is no time"),
        (lambda rows: rows.__setitem__(9, rows[9].split(",")[0] + ",warm"), "line 10: 'warm' is no number"),
        (lambda rows: rows.__setitem__(9, rows[9].split(",")[0] + ",inf"), "line 10: 'inf' is no number"),
        (lambda rows: rows.insert(9, rows[3]), "line 10: 2024-01-01T02:00 is not after the time before it"),
        (lambda rows: rows.__setitem__(9, rows[9].replace(":00,", ":17,")), "times that are not evenly spaced"),
        (lambda rows: rows.__setitem__(slice(1, None), [f"{row[:17]}," for row in rows[1:]]), "fewer than 20 numbers"),
    ],
    ids=["time", "number", "infinity", "order", "spacing", "nothing"],
)  # fmt: skip
def test_forecast_names_the_row_that_is_wrong(refused, tmp_path, change, message):
    rows = ["time,value", *(f"2024-01-{1 + hour // 24:02}T{hour % 24:02}:00,{hour}" for hour in range(300))]
    change(rows)
    (tmp_path / "series.csv").write_text("\n".join(rows), "utf-8")
    found = refused("forecast", "--data", tmp_path / "series.csv")
    assert message in found
    assert "expected a CSV file" in found


def test_forecast_refuses_cells_without_end(refused, tmp_path):
    (tmp_path / "one.json").write_text('[{"a": 1, "b": "' + "x" * 200_000 + '"}]', "utf-8")
    assert "is no CSV file: field larger than field limit" in refused("forecast", "--data", tmp_path / "one.json")


FEW = ["--past", 24, "--future", 12, "--hidden", 16, "--paths", 12, "--model", "s.npz"]


def test_series_gives_intervals_both_ways_and_loads_what_it_saved(refused, tmp_path):
    text = run(tmp_path, "series", "--hours", 6000, "--epochs", 25, *FEW, "--picture", "p.png")
    missing = [float(share) for share in re.findall(r"([\d.]+)%", re.search(r"missing: (.*)", text)[1])]
    assert len(missing) == 3
    assert all(2 < share < 20 for share in missing)
    table = {name: [float(n) for n in numbers.replace("%", "").split()] for name, numbers in re.findall(
        r"^(persistence|linear regression|LSTM at once|LSTM step by step) +([\d.% ]+)$", text, re.M)}  # fmt: skip
    assert len(table) == 4
    for name, (*errors, pinball, inside, width) in table.items():
        assert 60 < inside < 100, name
        assert 0 < pinball < errors[-1] < width
    assert table["LSTM at once"][4] < table["persistence"][4]
    assert table["LSTM step by step"][-3] < table["persistence"][-3]  # the pinball loss
    for name in ("LSTM at once", "LSTM step by step"):
        change = table[name][-3] / table["linear regression"][-3] - 1
        found = re.search(rf"pinball loss of {name} is ([\d.]+)% (below|above)", text)
        assert float(found[1]) / 100 == pytest.approx(abs(change), abs=0.01)
        assert (found[2] == "below") == (change < 0)
    again = run(tmp_path, "series", "--hours", 6000, *FEW)
    assert "epoch" not in again
    assert again.count("is loaded") == 2
    assert again.splitlines()[-6:] == [line for line in text.splitlines() if "drawn" not in line][-6:]
    assert "saved with past 24, and here it is 48" in refused("series", "--hours", 6000, *FEW[2:-1], tmp_path / "s.npz")


def test_series_reads_columns_with_gaps(tmp_path):
    rows = [
        f"2024-01-{1 + i // 24:02} {i % 24:02}:00,{i % 24},{'' if i % 5 == 2 else i % 7},{i % 24 // 2}"
        for i in range(600)
    ]
    (tmp_path / "s.csv").write_text("\n".join(["time,a,b,c", *rows]), "utf-8")
    text = run(tmp_path, "series", "--data", "s.csv", "--column", "a", *FEW[:-2], "--epochs", 1)
    assert "missing: a 0.0%, b 20.0%, c 0.0%" in text
    assert "\na: mean absolute error" in text


def test_gestures_need_the_order(tmp_path, monkeypatch):
    monkeypatch.setenv("PYLSTM_NUM_THREADS", "1")
    first = run(tmp_path, "gestures", "--epochs", 8, "--test", "--model", "g.npz", "--picture", "g.png")
    found = re.findall(r"^\w+: ([\d.]+)% of \d+ series right; .* extremes ([\d.]+)%, .* label ([\d.]+)%", first, re.M)
    for ours, linear, usual in found:
        assert float(ours) > float(linear) > float(usual)
    again = run(tmp_path, "gestures", "--test", "--model", "g.npz")
    assert "epoch" not in again
    assert again.splitlines()[-2:] == first.splitlines()[-3:-1]
    assert (tmp_path / "g.png").is_file()


def test_gestures_read_tables_and_sounds(refused, tmp_path):
    rows = [f"{n},{'up' if n % 2 else 'down'},{step * (1 if n % 2 else -1)},{'' if step % 3 else n}"
            for n in range(40) for step in range(5 + n % 4)]  # fmt: skip
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["series,label,x,y", *rows]), "utf-8")
    text = run(tmp_path, "gestures", "--data", path, "--epochs", 30, "--hidden", 8)
    assert "32 series of 5 to 8 steps, 2 labels" in text
    assert "dev: 100.0% of 4 series right" in text
    for change, message in [
        (lambda rows: rows.__setitem__(3, "0,up,1,1"), "line 5: series '0' has no label, another one than before"),
        (lambda rows: rows.__setitem__(3, "0,down,warm,1"), "line 5: could not convert string to float: 'warm'"),
        (lambda rows: rows.__setitem__(3, "0,down,inf,1"), "line 5 holds infinity"),
        (lambda rows: rows.__setitem__(3, "0,down,1"), "line 5 has 3 cells, and the header 4"),
        (lambda rows: rows.append("0,down,1,1"), "has no label, another one than before, or rows elsewhere"),
    ]:
        wrong = list(rows)
        change(wrong)
        path.write_text("\n".join(["series,label,x,y", *wrong]), "utf-8")
        assert message in refused("gestures", "--data", path)
    path.unlink()
    t = np.arange(3000) / 8000
    for n in range(40):
        pitch = (400 if n % 2 else 1500) * (1 + 0.01 * n)
        with wave.open(str(tmp_path / f"{'low' if n % 2 else 'high'}_{n}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes((9000 * np.sin(2 * np.pi * pitch * t[: 1000 + 50 * n])).astype("<i2").tobytes())
    own = sorted(tmp_path.glob("high_*.wav"))[:2]
    text = run(tmp_path, "gestures", "--data", tmp_path, "--epochs", 4, "--hidden", 8, "--classify", *own)
    assert "dev: 100.0% of 4 series right" in text
    assert all(": high (" in line for line in text.splitlines()[-2:])
    (tmp_path / "low_99.wav").write_bytes(b"RIFF")
    assert "is no WAV file" in refused("gestures", "--data", tmp_path)
