"""Examples that read and write texts."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

from support.examples import ROOT, run


def test_labels_have_to_differ(refused, tmp_path):
    path = tmp_path / "one.tsv"
    path.write_text("good\ta b c\n" * 40, "utf-8")
    assert "1 labels" in refused("reviews", "--data", path)
    assert "one label only, 'good'" in refused("sentiment", "--data", path)


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


def test_translations_of_the_sample(refused, tmp_path):
    tiny = ["--epochs", 2, "--hidden", 16, "--embed", 16, "--batch", 32, "--model", "m.npz"]
    bleu = importlib.util.find_spec("sacrebleu") is not None
    picture = ["--picture", "a.png"] if importlib.util.find_spec("matplotlib") else []
    sentence = "We saw a dog."
    for to in ("zh", "en"):
        sampled = ["--sampled", 20] if to == "en" else []
        first = run(tmp_path, "translate", *tiny, "--to", to, *sampled, *(["--test"] if bleu else []))
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
