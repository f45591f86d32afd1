"""What all examples do: samples, data of another form, wrong arguments, how they end."""

from __future__ import annotations

import re
import runpy
import signal
import subprocess
import sys

import pytest

from support.examples import ROOT, SAMPLES, run

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


def test_the_samples_are_what_their_maker_writes():
    maker = runpy.run_path(str(SAMPLES / "make_samples.py"))
    assert {path.name for path in SAMPLES.glob("*.t*")} == set(maker["SAMPLES"])
    for name, make in maker["SAMPLES"].items():
        assert (SAMPLES / name).read_text("utf-8").split("\n") == [*make(), ""]
        assert (SAMPLES / name).stat().st_size < 50_000


@pytest.mark.parametrize("name", ["reviews", "char_lm"])
def test_ctrl_c_ends_the_training_and_the_example_goes_on(tmp_path, sigint_heard, name):  # noqa: ARG001
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
    assert "epoch 1000/" not in text if name == "reviews" else "stopped: going on" in text


def test_binary_addition_is_right_for_every_pair(tmp_path):
    text = run(tmp_path, "binary_addition")
    assert "all 32,896 pairs whose sum fits into 8 bits: 100.00% right" in text
    assert max(abs(float(n)) for n in re.findall(r"([+-]\d\.\d\d)$", text, re.M)) > 0.9  # a unit follows the carry
