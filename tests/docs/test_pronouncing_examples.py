"""`phonemes.py` and `pinyin.py`: models of other programs from their own files, beside plain NumPy."""

from __future__ import annotations

import importlib.util
import os
import pickle
import sys

import numpy as np
import pytest

from support.examples import DATA, ROOT, run

PRETRAINED = DATA / "pretrained"


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# ---- English ---------------------------------------------------------------------------------------------------------


def gru(x, h, w_ih, w_hh, b_ih, b_hh):
    """One step, as g2p_en's own code computes it."""
    (r, z, n), (hr, hz, hn) = np.split(w_ih @ x + b_ih, 3), np.split(w_hh @ h + b_hh, 3)
    z = sigmoid(z + hz)
    return (1 - z) * np.tanh(n + sigmoid(r + hr) * hn) + z * h


def spell(w, ids):
    """The phonemes that the weights write for the letters."""
    part = lambda name: [w[f"{name}_{end}"] for end in ("w_ih", "w_hh", "b_ih", "b_hh")]  # noqa: E731
    h, found, last = np.zeros(256), [], 2
    for i in ids:
        h = gru(w["enc_emb"][i], h, *part("enc"))
    for _ in range(20):
        h = gru(w["dec_emb"][last], h, *part("dec"))
        last = int((w["fc_w"] @ h + w["fc_b"]).argmax())
        if last == 3:
            break
        found.append(last)
    return found


@pytest.fixture(scope="module")
def phonemes():
    """The example as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples"))
        yield importlib.import_module("phonemes")
    for name in ("phonemes", "common"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def english(tmp_path_factory):
    """A file of random weights, and they."""
    rng = np.random.default_rng(0)
    shapes = {"enc_emb": (29, 256), "dec_emb": (74, 256), "fc_w": (74, 256), "fc_b": (74,)} | {
        f"{part}_{kind}": (768, 256) if kind[0] == "w" else (768,)
        for part in ("enc", "dec") for kind in ("w_ih", "w_hh", "b_ih", "b_hh")
    }  # fmt: skip
    weights = {name: rng.standard_normal(shape).astype(np.float32) * 0.15 for name, shape in shapes.items()}
    path = tmp_path_factory.mktemp("english") / "checkpoint20.npz"
    np.savez(path, **weights)
    return path, weights


def test_words_are_spelled_as_numpy_spells_them(phonemes, english):
    path, weights = english
    words = ["a", "lstm", "Straße", "encyclopaedia", "x" * 40, "rhythm", "bcdfg"]
    found = phonemes.spoken(phonemes.speaker(path), words)
    right = [spell(weights, phonemes.letters(word)) for word in words]
    assert found == [" ".join(phonemes.PHONEMES[i] for i in ids) for ids in right]
    assert len({*found}) > 3


def test_words_are_spelled_as_their_own_program_does(phonemes, tmp_path):
    if not (PRETRAINED / "g2p_en").is_dir():
        pytest.skip(f"there is no g2p_en in {PRETRAINED}")
    golden = np.load(PRETRAINED / "g2p_en" / "golden.npz")
    assert list(golden["graphemes"]) == phonemes.LETTERS
    assert list(golden["phoneme_names"]) == phonemes.PHONEMES
    said = run(tmp_path, "phonemes", *golden["words"], "--weights", PRETRAINED / "g2p_en" / "weights.npz")
    for word, right in zip(golden["words"], golden["phonemes"], strict=True):
        assert f"{word}  {right}\n" in said


def test_other_weights_are_refused(refused, tmp_path, english):
    if importlib.util.find_spec("g2p_en") is None:
        assert "`pip install --no-deps g2p_en" in refused("phonemes")
    assert "there is no" in refused("phonemes", "--weights", tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("weights")
    assert "cannot read" in refused("phonemes", "--weights", tmp_path / "text.npz")
    np.savez(tmp_path / "few.npz", **{name: one for name, one in english[1].items() if name != "dec_b_hh"})
    assert "missing 'decoder.1.bias_hh_l0'" in refused("phonemes", "--weights", tmp_path / "few.npz")


# ---- Chinese ---------------------------------------------------------------------------------------------------------

CHARACTERS = ["<PAD>", "<UNK>", "시", "끝", *"银行里人不长城很校得高。"]
READINGS = {"行": ["xing2", "hang2", "heng2"], "长": ["chang2", "zhang3"], "得": ["de2", "de5", "dei3"]}
CLASSES = [reading for some in READINGS.values() for reading in some]


def lstm(w, x, end):
    """The states after each step, PyTorch's layout."""
    h = c = np.zeros(w["lstm.weight_hh_l0"].shape[1])
    states = []
    for step in x:
        gates = w["lstm.weight_ih_l0" + end] @ step + w["lstm.bias_ih_l0" + end]
        i, f, g, o = np.split(gates + w["lstm.weight_hh_l0" + end] @ h + w["lstm.bias_hh_l0" + end], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return states


def hear(w, sentence):
    """The reading that the weights choose at each character that has several."""
    ids = [CHARACTERS.index(one) if one in CHARACTERS else 1 for one in ("시", *sentence, "끝")]
    x = w["embedding.weight"][ids]
    both = zip(lstm(w, x, ""), lstm(w, x[::-1], "_reverse")[::-1], strict=True)
    found = []
    for character, states in zip(sentence, list(both)[1:-1], strict=True):
        hidden = np.maximum(w["logit_layer.0.weight"] @ np.concatenate(states) + w["logit_layer.0.bias"], 0)
        best = int((w["logit_layer.2.weight"] @ hidden + w["logit_layer.2.bias"]).argmax())
        found.append(CLASSES[best] if character in READINGS else "kao3" if character == "高" else character)
    return found


@pytest.fixture(scope="module")
def chinese(tmp_path_factory):
    """A folder with files as g2pM has them, of random weights; and they."""
    rng = np.random.default_rng(1)
    shapes = {"embedding.weight": (len(CHARACTERS), 8), "logit_layer.0.weight": (6, 10), "logit_layer.0.bias": (6,),
              "logit_layer.2.weight": (len(CLASSES), 6), "logit_layer.2.bias": (len(CLASSES),)} | {
        f"lstm.{kind}_l0{end}": shape for end in ("", "_reverse")
        for kind, shape in {"weight_ih": (20, 8), "weight_hh": (20, 5), "bias_ih": (20,), "bias_hh": (20,)}.items()
    }  # fmt: skip
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    weights["logit_layer.2.bias"] *= 0.1
    folder = tmp_path_factory.mktemp("chinese")
    for name, value in {
        "np_ckpt": weights,
        "char2idx": {one: i for i, one in enumerate(CHARACTERS)},
        "class2idx": {one: i for i, one in enumerate(CLASSES)},
        "digest_cedict": READINGS | {"高": ["kao3"]},
    }.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(value, protocol=3))
    return folder, weights


def test_sentences_are_read_as_numpy_reads_them(chinese, tmp_path):
    folder, weights = chinese
    sentences = ["银行里人行不行。", "长", "校长长得很高，得", "城" * 30 + "行长"]
    said = run(tmp_path, "pinyin", *sentences, "--weights", folder)
    right = [hear(weights, sentence) for sentence in sentences]
    assert len({one for some in right for one in some} & {*CLASSES}) > 2
    for sentence, readings in zip(sentences, right, strict=True):
        assert f"{sentence}  {' '.join(readings)}\n" in said


def test_pickles_run_nothing(refused, chinese, tmp_path):
    for path in chinese[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "class2idx.pkl").write_bytes(pickle.dumps({"a": Evil()}))
    assert "names posix.mkdir" in refused("pinyin", "--weights", tmp_path)
    assert not (tmp_path / "made").exists()
    (tmp_path / "class2idx.pkl").write_bytes(pickle.dumps([1, 2]))
    assert "holds something else" in refused("pinyin", "--weights", tmp_path)
    (tmp_path / "np_ckpt.pkl").write_bytes(b"\x80\x03}q\x00(")
    assert "cannot be read" in refused("pinyin", "--weights", tmp_path)
    (tmp_path / "np_ckpt.pkl").unlink()
    assert "there is no" in refused("pinyin", "--weights", tmp_path)
