"""The examples: on their samples, on a little of published data where it is there, and on data of another form."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import signal
import subprocess
import sys
import wave
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


SAMPLES = ROOT / "examples" / "data"
TAKE_FILES = {  # what a file should be, in the words of the errors
    "sentiment": "`label<TAB>text`",
    "reviews": "`label<TAB>text`",
    "tagging": "`WORD<TAB>TAG`",
    "poems": "one poem on each line",
    "ngram": "one text on each line",
    "char_lm": "a text",
    "words": "a text",
    "forecast": "a CSV file with a header",
    "alarm": "a WAV file (PCM)",
    "captions": "a table with columns `file` and `caption`",
    "series": "a CSV file with a header",
    "gestures": "a CSV file with columns `series`, `label` and numbers",
    "translate": "`English<TAB>Chinese`",
}


@pytest.fixture
def refused(monkeypatch, capsys):
    """A function that runs an example in this process, and returns what it ends with."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    known = set(sys.modules)

    def run_here(name, *arguments):
        path = ROOT / "examples" / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
        return ended.value.code if isinstance(ended.value.code, str) else capsys.readouterr().err

    yield run_here
    for module in set(sys.modules) - known:
        if getattr(sys.modules[module], "__file__", None) and "examples" in str(sys.modules[module].__file__):
            del sys.modules[module]


BAD_FILES = {
    "empty": b"",
    "blank": b" \n\n",
    "latin": "caf\xe9\tla vie\n".encode("latin-1") * 40,
    "utf16": ("good\tword\n" * 40).encode("utf-16"),
    "binary": b"PK\3\4\0\0\0" * 40,
    "short": b"good\tone two three\n\n",
}


@pytest.mark.parametrize("kind", [*BAD_FILES, "folder", "missing", "form"])
@pytest.mark.parametrize("name", TAKE_FILES)
def test_data_of_another_form_is_refused_with_what_was_expected(refused, tmp_path, name, kind):
    path = tmp_path / "data.tsv"
    if name == "alarm" and kind in ("latin", "utf16", "empty", "short"):
        pytest.skip("a sound is no text")
    if kind in BAD_FILES:
        path.write_bytes(BAD_FILES[kind])
    elif kind == "folder":
        path.mkdir()
    elif kind == "form":
        if name in ("poems", "ngram", "char_lm", "words"):
            pytest.skip("any text is of the form")
        path.write_text("date,value\n" + "2020-01-01,3\n" * 60, "utf-8")
    message = refused(name, "--data", path)
    assert message.startswith(f"{name}: ")
    assert len(message.splitlines()) == 1
    assert str(path) in message or kind == "short"
    assert TAKE_FILES[name] in message or kind == "short"
    wanted = {"missing": "there is no ", "utf16": "UTF-16", "latin": "0xe9 in line 1", "empty": "is empty"}
    assert wanted.get(kind, "") in message


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sentiment", ["--epochs", "0"]),
        ("sentiment", ["--epochs", "many"]),
        ("forecast", ["--column", "x"]),
        ("alarm", ["--minutes", "1"]),
        ("alarm", ["--model", "nowhere/model.npz"]),
        ("reviews", ["--seed", "-1"]),
        ("poems", ["--dropout", "1"]),
        ("poems", ["--out", "nowhere/model.npz"]),
        ("tagging", ["--out", "model.h5"]),
        ("sentiment", ["--picture", "picture.npz"]),
        ("binary_addition", ["--pairs", "99999"]),
        ("char_lm", ["--lr", "nan"]),
        ("captions", ["--picture", "sheet.npz"]),
        ("captions", ["--channels", "0"]),
        ("series", ["--column", "x"]),
        ("series", ["--paths", "0"]),
        ("gestures", ["--model", "model.h5"]),
        ("char_lm", ["--out", "x.foo"]),
        ("char_lm", ["--out", "nowhere/w.npz"]),
        ("forecast", ["--out", "x.foo"]),
        ("poems", ["--out", "x.foo"]),
        ("sentiment", ["--out", "x.foo"]),
        ("alarm", ["--model", "x.foo"]),
    ],
    ids=str,
)
def test_arguments_are_refused_before_anything_is_trained(refused, name, arguments):
    message = refused(name, *arguments)
    assert f"argument {arguments[0]}" in message
    assert "epoch 1" not in message
    assert "invalid" not in message


def test_line_ends_and_marks_of_other_systems_make_no_difference(tmp_path):
    common = runpy.run_path(str(ROOT / "examples" / "common.py"))
    raw = (SAMPLES / "emotions_zh.tsv").read_bytes()
    rows = common["read_labelled"](SAMPLES / "emotions_zh.tsv")
    assert len(rows) == raw.count(b"\n")
    for other in (
        b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n"),
        raw.replace(b"\n", b"\r"),
        raw.rstrip(),
        b"\n \n" + raw,
    ):
        (tmp_path / "other.tsv").write_bytes(other)
        assert common["read_labelled"](tmp_path / "other.tsv") == rows


def test_what_is_held_back_is_the_same_each_time_and_not_learned_from(tmp_path):
    common = runpy.run_path(str(ROOT / "examples" / "common.py"))
    (tmp_path / "train.tsv").write_text("".join(f"{i % 2}\tsentence {i}\n" for i in range(200)), "utf-8")
    for path, sizes in ((tmp_path / "train.tsv", (160, 20, 20)), (tmp_path, (180, 20, 0))):
        parts = common["load"](path, common["read_labelled"], "a file", [".tsv"])
        assert parts == common["load"](path, common["read_labelled"], "a file", [".tsv"])
        assert tuple(map(len, parts)) == sizes
        assert len({row for part in parts for row in part}) == 200
    labels = {label for label, _ in common["load"](tmp_path / "train.tsv", common["read_labelled"], "", [".tsv"])[1]}
    assert labels == {"0", "1"}  # in a file where they take turns, too


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (MemoryError("1 TiB"), "not enough memory: 1 TiB")]
)
def test_an_example_ends_with_one_line(capsys, error, code):
    def main():
        raise error

    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "examples" / "common.py"))["run"](main)
    found = ended.value.code
    assert found == code if isinstance(code, int) else code in found
    assert capsys.readouterr().err.count("stopped") == (code == 130)


def test_labels_have_to_differ(refused, tmp_path):
    path = tmp_path / "one.tsv"
    path.write_text("good\ta b c\n" * 40, "utf-8")
    assert "1 labels" in refused("reviews", "--data", path)
    assert "one label only, 'good'" in refused("sentiment", "--data", path)


def test_the_samples_are_what_their_maker_writes():
    maker = runpy.run_path(str(SAMPLES / "make_samples.py"))
    assert {path.name for path in SAMPLES.glob("*.t*")} == set(maker["SAMPLES"])
    for name, make in maker["SAMPLES"].items():
        assert (SAMPLES / name).read_text("utf-8").split("\n") == [*make(), ""]
        assert (SAMPLES / name).stat().st_size < 50_000


def test_sentiment_of_the_samples(tmp_path):
    for task, example in (("english", "the acting is weak"), ("chinese", "谢谢你一直陪着我")):
        last = run(tmp_path, "sentiment", "--task", task, "--epochs", 1).splitlines()[-2:]
        assert re.search(r"accuracy [\d.]+% of \d+ sentences; naive Bayes on the same features [\d.]+%", last[0])
        assert example in last[1]


def test_reviews_of_the_sample_need_the_order_of_words(tmp_path):
    text = run(tmp_path, "reviews", "--lengths", "--epochs", 30, "--test")
    found, counted = re.search(r"held back: accuracy ([\d.]+)%.* ([\d.]+)%", text).groups()
    assert float(found) > 80 > float(counted)
    assert "least sure:" in text
    assert "test: loss" in text


def test_tagging_of_the_sample_goes_by_the_context(tmp_path):
    text = run(tmp_path, "tagging")
    found, usual = re.search(r"dev: ([\d.]+)%.* ([\d.]+)%", text).groups()
    assert float(found) > float(usual)
    assert "They/PRON duck/VERB behind/ADP the/DET old/ADJ saw/NOUN" in text


def test_tagging_reads_a_treebank_as_it_is_published(tmp_path):
    words = ["1\tI\tI\tPRON" + "\t_" * 6, "2-3\tdidn't" + "\t_" * 8, "2\tdid\tdo\tAUX" + "\t_" * 6,
             "3\tn't\tnot\tPART" + "\t_" * 6, "3.1\tgo" + "\t_" * 8]  # fmt: skip
    for part, count in (("train", 40), ("dev", 8), ("test", 8)):
        (tmp_path / f"xx-ud-{part}.conllu").write_bytes("\r\n".join(["# text = I", *words, ""] * count).encode())
    text = run(tmp_path, "tagging", "--data", tmp_path, "--epochs", 1, "--hidden", 4, "--test")
    assert "dev: " in text
    assert "of 24 words right" in text


def test_poems_and_ngrams_of_the_sample(tmp_path):
    text = run(tmp_path, "poems", "--epochs", 1, "--hidden", 16, "--embed", 8, "--test", "--picture", "p.png")
    assert "4-gram with Kneser-Ney smoothing" in text
    assert (tmp_path / "p.png").is_file()
    figures = re.findall(r"known: ([\d.]+)$", run(ROOT, "ngram", "--order", 3), re.M)
    assert float(figures[2]) < float(figures[1]) < float(figures[0])


def test_char_lm_of_its_own_text_and_of_another(tmp_path):
    tiny = ["--hidden", 8, "--batch", 4, "--chunk", 8, "--sample", 20, "--epochs", 0.01, "--out", "w.npz"]
    assert "held out: " in run(tmp_path, "char_lm", *tiny)
    (tmp_path / "text").write_bytes(
        "春眠不覺曉，處處聞啼鳥。\r\n".encode("utf-8-sig") + "花落知多少。\r\n".encode() * 99
    )
    assert "read back: the same figure" in run(tmp_path, "char_lm", *tiny, "--data", "text")


def test_words_of_a_text_are_learned_once(tmp_path):
    (tmp_path / "text").write_text("the cat sat on the mat . the dog lay on the rug . " * 60, "utf-8")
    tiny = ["--data", "text", "--hidden", 8, "--embed", 8, "--batch", 2, "--epochs", 1, "--model", "w.npz", "--test"]
    first = run(tmp_path, "words", *tiny, "--sampled", 4)
    assert "epoch 1/1" in first
    again = run(tmp_path, "words", *tiny, "--prompt", "the dog")
    assert "w.npz is loaded" in again
    assert "epoch" not in again
    assert "\nthe dog" in again
    found = [re.findall(r"perplexity per word [\d.]+; trigram .* smoothing [\d.]+", text) for text in (first, again)]
    assert found[0] == found[1]
    assert len(found[0]) == 2


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


@pytest.mark.parametrize("name", ["reviews", "char_lm"])
def test_ctrl_c_ends_the_training_and_the_example_goes_on(tmp_path, name):
    tiny = (
        ["--epochs", "1000"]
        if name == "reviews"
        else ["--hidden", "8", "--batch", "2", "--chunk", "8", "--sample", "9"]
    )
    command = [sys.executable, "-u", str(ROOT / "examples" / f"{name}.py"), *tiny]
    with subprocess.Popen(command, cwd=tmp_path, stdout=-1, stderr=-1, text=True, encoding="utf-8") as example:
        for line in example.stdout:
            if line.startswith("epoch 2/") or "chars/s" in line:
                break
        example.send_signal(signal.SIGINT)
        text, errors = example.communicate()
    assert example.returncode == 0, errors
    assert "Traceback" not in errors
    assert "held " in text


def test_translations_of_the_sample(refused, tmp_path):
    tiny = ["--epochs", 2, "--hidden", 16, "--embed", 16, "--batch", 32, "--model", "m.npz"]
    bleu = importlib.util.find_spec("sacrebleu") is not None
    picture = ["--picture", "a.png"] if importlib.util.find_spec("matplotlib") else []
    sentence = "We saw a dog."
    for to in ("zh", "en"):
        first = run(tmp_path, "translate", *tiny, "--to", to, *(["--test"] if bleu else []))
        assert "epoch 2/2" in first
        assert "words a second" in first
        if to == "en":
            break
        again = run(tmp_path, "translate", *tiny, "--to", to, "--translate", sentence, *picture)
        assert "m.npz is loaded" in again
        assert "epoch" not in again
        assert f"\n{sentence} -> " in again
        if bleu:
            assert re.search(r"BLEU [\d.]+ of 54 sentences", first)
            assert re.search(r"6 to 9 +\d+ +[\d.]+", first)
        if picture:  # so soon it may write nothing, and says so
            assert (tmp_path / "a.png").is_file() == ("is drawn in a.png" in again) != ("nothing to draw" in again)
        (tmp_path / "m.npz").unlink()
    assert "holds a model that writes en" in refused("translate", "--model", tmp_path / "m.npz", "--translate", "a b")
    assert "has to be even" in refused("translate", "--hidden", 7)


def test_binary_addition_is_right_for_every_pair(tmp_path):
    text = run(tmp_path, "binary_addition")
    assert "all 32,896 pairs whose sum fits into 8 bits: 100.00% right" in text
    assert max(abs(float(n)) for n in re.findall(r"([+-]\d\.\d\d)$", text, re.M)) > 0.9  # a unit follows the carry


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
    assert "is no model of" in refused("series", "--hours", 6000, *FEW[2:-1], tmp_path / "s.npz")


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


@pytest.mark.parametrize("to", ["zh", "en"])
def test_translate(some, tmp_path, to):
    data = some("translation_en_zh", 120) / "translation_en_zh"
    text = run(tmp_path, "translate", "--data", data, "--epochs", 1, "--hidden", 16, "--embed", 16, "--to", to)
    assert "words a second" in text
    assert len(text.strip().splitlines()) > 20


def test_kneser_ney_is_a_distribution(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
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
