"""Texts as numbers: how they are split, which word has which number, and what a model's file keeps of it."""

from __future__ import annotations

import copy
import pickle
import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pylstm

TEXTS = ["The film is good.", "这部电影很好", "The film is not good"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't panic, it\u2019s 3.5 GB (well-known)!", "don't|panic|,|it\u2019s|3.5|gb|(|well|-|known|)|!"),
        ("我爱你，GPT-4很好。2024年", "我|爱|你|，|gpt|-|4|很|好|。|2024|年"),
        ("コーヒーを飲む", "コ|ー|ヒ|ー|を|飲|む"),
        ("한국어 문장", "한국어|문장"),
        ("नमस्ते दुनिया", "नमस्ते|दुनिया"),
        ("می\u200cخواهم بروم", "می\u200cخواهم|بروم"),
        ("สวัสดี ok", "ส|วั|ส|ดี|ok"),
        ("👩\u200d💻 ❤\ufe0f ok", "👩\u200d💻|❤\ufe0f|ok"),
        ("葛\U000e0100城 𠀀", "葛\U000e0100|城|𠀀"),
        ("3,000.50 a.b '' 1.", "3,000.50|a|.|b|'|'|1|."),
        ("  \t\n\u3000", ""),
        ("ÀÉ e\u0301 É", "àé|é|é"),
    ],
)
def test_words(text, words):
    vocabulary = pylstm.Vocabulary([text])
    assert vocabulary.split(text) == (words.split("|") if words else [])
    assert len(vocabulary) == 2 + len({*words.split("|")} - {""})


@given(st.text())
def test_no_character_is_lost(text):
    """Whatever the text, its words hold all of it but spaces, one after another."""
    vocabulary = pylstm.Vocabulary([text], lowercase=False)
    normal = unicodedata.normalize("NFC", text)
    assert "".join(vocabulary.split(text)) == "".join(normal.split())
    characters = pylstm.Vocabulary([text], by="characters", min_count=1)
    assert characters.decode(characters.encode(text)) == normal
    assert vocabulary.split(vocabulary.decode(vocabulary.encode(text))) == vocabulary.split(text) or "\u200d" in text


def test_other_ways_to_split():
    assert pylstm.Vocabulary(["A b", "我"], by="characters").words[2:] == (" ", "A", "b", "我")
    spaced = pylstm.Vocabulary(["我们 喜欢 你", "don't."], by="spaces")
    assert spaced.split("我们  喜欢你.") == ["我们", "喜欢你."]
    ready = pylstm.Vocabulary([["我们", "New York"], ("喜欢",)])
    assert ready.encode([["new york", "x"], ["我们"]])[0].tolist() == [ready.id("new york"), 1]
    assert "new york" in ready
    assert "york" not in ready


def test_numbers_are_in_the_order_of_frequency_whatever_the_order_of_texts():
    words = pylstm.Vocabulary(TEXTS).words
    assert words[:7] == ("<padding>", "<unknown>", "film", "good", "is", "the", ".")
    for seed in range(5):
        texts = random.Random(seed).sample(TEXTS, 3)
        assert pylstm.Vocabulary(texts) == pylstm.Vocabulary(TEXTS)
        assert pylstm.Vocabulary(iter(texts)).words == words


def test_rare_words():
    texts = ["a a a b b c", "d"]
    assert pylstm.Vocabulary(texts).words[2:] == ("a", "b", "c", "d")
    rare = pylstm.Vocabulary(texts, min_count=2)
    assert rare.words[2:] == ("a", "b")
    assert rare.counts.tolist() == [0, 2, 3, 2]
    assert rare.encode(texts)[0].tolist() == [2, 2, 2, 3, 3, 1]
    small = pylstm.Vocabulary(texts, max_size=3)
    assert small.words[2:] == ("a",)
    assert len(pylstm.Vocabulary(texts, max_size=2)) == 2
    assert not rare.counts.flags.writeable


def test_of_many_words_those_that_occur_once_are_unknown():
    """So that training meets unknown words, as validation and production will."""
    many = ["a b c d e"] * 199 + ["a b c d"]
    assert pylstm.Vocabulary([*many]).id("e") != 1
    assert pylstm.Vocabulary([*many[:-1], "a b c once"]).id("once") != 1  # 999 words
    vocabulary = pylstm.Vocabulary([*many, "once"])
    assert vocabulary.id("once") == 1
    assert vocabulary.counts[1] == 1
    assert pylstm.Vocabulary([*many, "once"], min_count=1).id("once") != 1


def test_unknown_words_are_trained_and_come_out_of_validation_as_they_do_of_production():
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in rng.zipf(1.4, 3000)]
    texts = [" ".join(words[i : i + 6]) for i in range(0, 3000, 6)]
    vocabulary = pylstm.Vocabulary(texts[:400])
    x, validation = vocabulary.encode(texts[:400]), vocabulary.encode(texts[400:])
    assert any((ids == vocabulary.unknown).any() for ids in x)
    layers = [pylstm.Embedding(len(vocabulary), 4, padding_idx=0), pylstm.GRU(4, 4, batch_first=True),
              pylstm.MaxOverTime(), pylstm.Linear(4, 2)]  # fmt: skip
    model = pylstm.Sequential(layers, seed=0)
    before = model.params["0.weight"].copy()
    model.fit(x, rng.integers(0, 2, 400), loss="cross_entropy", optimizer=pylstm.Adam(), seed=0, verbose=0)
    assert (model.params["0.weight"][1] != before[1]).all()
    assert not model.params["0.weight"][0].any()
    model.predict(validation)


def test_decode():
    vocabulary = pylstm.Vocabulary(TEXTS)
    assert vocabulary.decode(vocabulary.encode("the film, 很好 film 好")) == "the film <unknown> 很好 film 好"
    assert vocabulary.decode([vocabulary.encode("很好"), []]) == ["很好", ""]
    assert vocabulary.decode(np.array([[2, 3, 0, 0], [0, 2, 0, 1]])) == ["film good", "film <unknown>"]
    spaced = pylstm.Vocabulary(["我们 喜欢"], by="spaces")
    assert spaced.decode(spaced.encode("喜欢 我们")) == "喜欢 我们"


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda _: pylstm.Vocabulary("a text"), TypeError, r"several texts, .* got a single string: \[text\]"),
        (lambda _: pylstm.Vocabulary(5), TypeError, "texts must be several texts, a list, e.g., got int"),
        (lambda _: pylstm.Vocabulary(b"ab"), TypeError, "got bytes"),
        (lambda _: pylstm.Vocabulary(["a", None]), TypeError, r"texts\[1\] must be a string, or .* got None"),
        (lambda v: v.encode(["a", float("nan")]), TypeError, r"texts\[1\] must be a string, .* got float"),
        (lambda v: v.encode([["a", 2]]), TypeError, r"texts\[0\]\[1\] must be a string, got int"),
        (lambda v: v.encode(None), TypeError, "texts must be several texts"),
        (lambda v: v.split(1), TypeError, "must be a string"),
        (lambda _: pylstm.Vocabulary([], by="letters"), ValueError, "by must be 'words' or 'characters' or 'spaces'"),
        (lambda _: pylstm.Vocabulary([], min_count=0), ValueError, "min_count must be at least 1"),
        (lambda _: pylstm.Vocabulary([], max_size=1), ValueError, "max_size must be at least 2"),
        (lambda _: pylstm.Vocabulary([], lowercase="no"), TypeError, "lowercase must be True or False"),
        (lambda v: v.decode([2, 99]), IndexError, r"ids must be in 0\.\.13, got 99"),
        (lambda v: v.decode([[2], [-1]]), IndexError, r"ids\[1\] must be in 0\.\.13, got -1"),
        (lambda v: v.decode([2.0]), TypeError, "ids must be integers"),
        (lambda v: v.decode([[[2], [2, 3]]]), ValueError, r"ids\[0\] cannot be made an array"),
        (lambda v: v.decode(2), TypeError, "ids must be integers"),
        (lambda _: pylstm.Vocabulary.from_dict([]), TypeError, "a vocabulary is made of a dict, got list"),
        (lambda v: setattr(v, "words", ()), AttributeError, "words|set"),
    ],
)  # fmt: skip
def test_wrong_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call(pylstm.Vocabulary(TEXTS))


VOCABULARIES = {
    "words": pylstm.Vocabulary(TEXTS),
    "characters": pylstm.Vocabulary(TEXTS, by="characters", min_count=2),
    "odd words": pylstm.Vocabulary(['"', "\\", "\u2028", "<padding>", "<unknown>", "tuple", ""], by="spaces"),
    "none": pylstm.Vocabulary([]),
}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_it_is_saved_with_the_model(tmp_path, name):
    """Wherever in metadata it stands, beside what looks like it."""
    vocabulary = VOCABULARIES[name]
    metadata = {"vocabulary": vocabulary, "more": [(vocabulary,), {2: vocabulary}], "as dict": vocabulary.to_dict(),
                "like": {"pylstm.Vocabulary": 1}}  # fmt: skip
    inner = pylstm.Sequential([pylstm.Linear(2, 2)])
    inner.metadata = {"vocabulary": vocabulary}
    model = pylstm.Sequential([inner, pylstm.Linear(2, 2)])
    for path in (tmp_path / "m.npz", tmp_path / "m.safetensors"):
        model.save(path, metadata=metadata)
        loaded = pylstm.load(path)
        assert loaded.metadata == metadata
        found = loaded.metadata["vocabulary"]
        assert type(found) is pylstm.Vocabulary
        assert found.counts.tolist() == vocabulary.counts.tolist()
        text = "The film 很坏 tuple"
        assert found.encode(text).tolist() == vocabulary.encode(text).tolist()
        assert loaded.layers[0].metadata == {"vocabulary": vocabulary}


def test_what_cannot_be_saved_is_refused(tmp_path):
    class Own(pylstm.Vocabulary):
        pass

    model = pylstm.Sequential([pylstm.Linear(2, 2)])
    for wrong, error, words in [
        (Own(TEXTS), TypeError, r"metadata\['v'\] must be of .*or a Vocabulary, got .*Own"),
        (pylstm.Vocabulary(["\udcff"]), ValueError, r"a word of metadata\['v'\] holds half a character"),
    ]:
        with pytest.raises(error, match=words):
            model.save(tmp_path / "m.npz", metadata={"v": wrong})
    deep = pylstm.Vocabulary(TEXTS)
    for _ in range(195):
        deep = [deep]
    model.save(tmp_path / "m.npz", metadata={"v": deep})
    assert pylstm.load(tmp_path / "m.npz").metadata == {"v": deep}
    with pytest.raises(ValueError, match="nested too deeply"):
        model.save(tmp_path / "m.npz", metadata={"v": [deep]})


def test_the_object():
    vocabulary = pylstm.Vocabulary(TEXTS)
    assert repr(vocabulary) == "Vocabulary of 14 numbers, by='words', lowercase=True"
    for other in (copy.copy(vocabulary), copy.deepcopy(vocabulary), pickle.loads(pickle.dumps(vocabulary)),
                  pylstm.Vocabulary.from_dict(vocabulary.to_dict())):  # fmt: skip
        assert other == vocabulary
        assert hash(other) == hash(vocabulary)
    assert vocabulary != pylstm.Vocabulary(TEXTS, lowercase=False)
    assert vocabulary != pylstm.Vocabulary([*TEXTS, "film"])
    assert vocabulary != list(vocabulary.words)


def test_a_file_line_by_line(tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    with (tmp_path / "texts.txt").open(encoding="utf-8") as file:
        assert pylstm.Vocabulary(file) == pylstm.Vocabulary(TEXTS)


@pytest.mark.parametrize("by", ["words", "characters", "spaces"])
def test_the_mark_at_the_beginning_of_a_file_is_no_word(by):
    texts = ["\ufeff好 film", "好 film"]
    vocabulary, plain = (pylstm.Vocabulary(some, by=by) for some in (texts, [texts[1]] * 2))
    assert vocabulary.words == plain.words
    assert np.array_equal(*vocabulary.encode(texts))
    assert vocabulary.encode(texts[0]).tolist() == plain.encode(texts[1]).tolist()
    assert vocabulary.split(texts[0]) == plain.split(texts[1])
    assert pylstm.Vocabulary([["\ufeff好", "film"]]).words == pylstm.Vocabulary([["\ufeff", "好", "film"]]).words
    assert pylstm.Vocabulary([["\ufeff好", "film"], []]).words[2:] == ("film", "好")


def test_a_file_with_a_mark_is_read_as_one_without(tmp_path):
    for name, encoding in (("with.txt", "utf-8-sig"), ("without.txt", "utf-8")):
        (tmp_path / name).write_text("good film\nbad film\n", encoding)
    with open(tmp_path / "with.txt", encoding="utf-8") as one, open(tmp_path / "without.txt", encoding="utf-8") as two:
        assert pylstm.Vocabulary(one) == pylstm.Vocabulary(two)
