"""The README's Python runs as it stands, block after block."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

README = Path(__file__).resolve().parents[2] / "README.md"

pytestmark = pytest.mark.skipif(not README.is_file(), reason="needs the README beside the tests")


def write_sentences(path: Path) -> None:
    """Sentences of two kinds, told apart by one word among others."""
    kinds = {
        "good": ["wonderful", "charming", "brilliant", "moving"],
        "bad": ["dull", "awful", "clumsy", "tedious"],
    }
    templates = ["A {} film", "the story , in short , is {}", "what a {} piece of work", "{} from start to end .",
                 "the actors are {} , and so is the music"]  # fmt: skip
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for _, (label, words), template in itertools.product(range(5), kinds.items(), templates):
            writer.writerows([template.format(word), label] for word in words)


def classified(names: dict[str, Any], text: str) -> str:
    return names["classes"][names["model"].predict([names["encode"](text)])[0].argmax()]


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 9
    monkeypatch.chdir(tmp_path)  # where the first example reads its data and saves its model
    write_sentences(tmp_path / "labelled.csv")
    names: dict[str, object] = {}
    for block in blocks:
        needed = [name for name in ("torch", "keras") if f"{name}." in block]
        if any(importlib.util.find_spec(name) is None for name in needed):
            continue
        names |= {name: importlib.import_module(name) for name in needed}
        exec(compile(block, str(README), "exec"), names)
        if "labelled.csv" in block:  # the classifier has learned what its file teaches
            assert classified(names, "A charming film from start to end") == "good"
            assert classified(names, "what awful music") == "bad"
    assert np.square(names["output"]).mean() < 1e-2  # the training example has learned its target
    assert names["stream"].state[0].any()


def test_a_csv_file_takes_fewer_than_twenty_lines():
    block = next(block for block in re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)
                 if "labelled.csv" in block)  # fmt: skip
    assert len([line for line in block.splitlines() if line.strip()]) < 20
