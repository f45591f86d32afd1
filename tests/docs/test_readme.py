"""The README's Python runs as it stands, block after block."""

from __future__ import annotations

import csv
import importlib.util
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import pages

README = Path(__file__).resolve().parents[2] / "README.md"

pytestmark = pytest.mark.skipif(not README.is_file(), reason="needs the README beside the tests")


KINDS = {
    "good": ["wonderful", "charming", "brilliant", "moving"],
    "bad": ["dull", "awful", "clumsy", "tedious"],
}
TEMPLATES = ["A {} film", "the story, in short, is {}", "What a {} piece of work!", "{} from start to end.",
             "the actors are {}, and so is the music"]  # fmt: skip
CHINESE_KINDS = {"good": ["精彩", "动人", "出色", "迷人"], "bad": ["无聊", "糟糕", "笨拙", "乏味"]}
CHINESE_TEMPLATES = ["一部{}的电影", "总之故事很{}", "这真是{}的作品！", "从头到尾都{}。", "演员{}，音乐也是"]


def write_sentences(path: Path, kinds: dict[str, list[str]], templates: list[str]) -> None:
    """Sentences of two kinds, told apart by one word among others."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for _, (label, words), template in itertools.product(range(5), kinds.items(), templates):
            writer.writerows([template.format(word), label] for word in words)


def write_pairs(path: Path) -> list[tuple[str, str]]:
    """Sentences and their translations, in which the adjective changes its place with nothing, and the verb is one."""
    people = {"I": "我", "we": "我们", "they": "他们", "Tom": "汤姆"}
    deeds = {"saw": "看见了", "bought": "买了", "lost": "丢了", "like": "喜欢"}
    looks = {"a good": "一本好", "an old": "一本旧", "a small": "一本小", "a red": "一本红"}
    pairs = [
        (f"{a} {b} {c} {d}.", f"{people[a]}{deeds[b]}{looks[c]}{things}。")
        for a, b, c, (d, things) in itertools.product(people, deeds, looks, [("book", "书"), ("dictionary", "词典")])
    ]
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    return pairs


def classified(names: dict[str, Any], text: str) -> str:
    return names["classes"][names["model"].predict(names["vocabulary"].encode([text]))[0].argmax()]


@pytest.fixture
def _one_thread_of_torch():
    """Its threads spin: on a busy machine, ten short epochs of two take minutes."""
    if importlib.util.find_spec("torch") is None:
        yield
        return
    torch = importlib.import_module("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread_of_torch")
def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # where the first example reads its data and saves its model
    write_sentences(tmp_path / "labelled.csv", KINDS, TEMPLATES)
    pairs = write_pairs(tmp_path / "pairs.tsv")
    blocks = list(pages.examples(README))
    assert len(blocks) >= 11
    for block in blocks:
        block.evaluate()
        if "labelled.csv" in block.parsed:  # the classifier has learned what its file teaches
            assert classified(block.namespace, "A charming film from start to end") == "good"
            assert classified(block.namespace, "what awful music") == "bad"
        if "pairs.tsv" in block.parsed:  # so has the translator
            names = block.namespace
            written = names["chinese"].decode(
                names["model"].translate(names["english"].encode([pairs[0][0], pairs[77][0]]))
            )
            assert written == [pairs[0][1], pairs[77][1]]
    names = blocks[0].namespace
    assert np.square(names["output"]).mean() < 1e-2  # the training example has learned its target
    assert names["stream"].state[0].any()


@pytest.mark.parametrize("what", ["labelled.csv", "pairs.tsv", "ctc"])
def test_a_whole_program_takes_fewer_than_twenty_lines(what):
    block = next(block.parsed for block in pages.examples(README) if what in block.parsed)
    assert len([line for line in block.splitlines() if line.strip()]) < 20


def test_the_classifier_takes_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_sentences(tmp_path / "labelled.csv", CHINESE_KINDS, CHINESE_TEMPLATES)
    block = next(iter(pages.examples(README)))
    block.evaluate()
    assert classified(block.namespace, "一部动人的作品") == "good"
    assert classified(block.namespace, "音乐很糟糕，故事也是") == "bad"
    assert block.namespace["vocabulary"].decode([1]) == "<unknown>"
