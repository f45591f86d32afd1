"""What `EncoderDecoder` is given that it cannot use: refused by name, before anything has changed; and files of it."""

from __future__ import annotations

import io
import json
import math
import zipfile

import numpy as np
import pytest

import pylstm
from pylstm import LSTM, Activation, Dropout, Embedding, LastStep, Linear
from support.translators import BEGIN, END, pairs, translator


def encoder():
    return [Embedding(11, 4), LSTM(4, 6, batch_first=True)]


def decoder(wide=4, head=6):
    return [Embedding(9, 4), LSTM(wide, 6, batch_first=True), Linear(head, 9)]


def shared_dropout():
    drop = Dropout(0.5)
    return [Embedding(9, 4), drop, LSTM(4, 6, batch_first=True), drop, Linear(6, 9)]


MAKING = {
    "no list": ({"encoder": 3}, TypeError, "encoder must be a Sequential or a list"),
    "text": ({"encoder": "LSTM"}, TypeError, "encoder must be"),
    "no layers": ({"decoder": [3]}, TypeError, "decoder must hold layers"),
    "empty": ({"encoder": []}, ValueError, "encoder must have a recurrent layer"),
    "nothing recurrent": ({"encoder": [Embedding(9, 4)]}, ValueError, "encoder must have a recurrent layer"),
    "hidden": ({"encoder": [pylstm.Residual(LSTM(4, 4, batch_first=True))]}, ValueError, "inside of another layer"),
    "time first": ({"encoder": [Embedding(11, 4), LSTM(4, 6)]}, ValueError, "make LSTM.* with batch_first=True"),
    "pooling": ({"encoder": [*encoder(), LastStep()]}, ValueError, "layer 2 of encoder.* does not keep the steps"),
    "sizes": ({"encoder": [Embedding(11, 5), LSTM(4, 6, batch_first=True)]}, ValueError, "layer 1 of encoder"),
    "no embedding": ({"decoder": decoder()[1:]}, ValueError, "layer 0 of decoder must be an Embedding"),
    "no head": ({"decoder": decoder()[:2]}, ValueError, "decoder must end in a Linear"),
    "softmax": ({"decoder": [*decoder(), Activation("softmax")]}, ValueError, "decoder must end in a Linear"),
    "both ways": (
        {"decoder": [Embedding(9, 4), LSTM(4, 3, batch_first=True, bidirectional=True), Linear(6, 9)]},
        ValueError, "layer 1 of decoder must not be bidirectional",
    ),
    "decoder's sizes": ({"decoder": decoder(5)}, ValueError, "layer 1 of decoder takes 5 numbers, and gets 4"),
    "head's size": ({"decoder": decoder(4, 7)}, ValueError, "decoder gives 6 numbers to Linear.*, which takes 7"),
    "fed": ({"input_feeding": True}, ValueError, "takes 4 numbers, and gets 4 and the 6 that are fed back"),
    "another mask at each step": (
        {"input_feeding": True, "decoder": [
            Embedding(9, 4), LSTM(10, 6, batch_first=True), Dropout(0.2, same_for_all_steps=True),
            LSTM(6, 6, batch_first=True), Linear(6, 9),
        ]},
        ValueError, "input_feeding trains step by step",
    ),
    "more logits": (
        {"decoder": [Embedding(9, 4), LSTM(4, 6, batch_first=True), Linear(6, 10)]}, ValueError, "logits of 10 symbols",
    ),
    "one object twice": ({"decoder": shared_dropout()}, ValueError, "are the same Dropout object"),
    "dtypes": ({"encoder": [Embedding(11, 4), LSTM(4, 6, batch_first=True, dtype=float)]}, ValueError, "one dtype"),
    "score": ({"attention": "luong"}, ValueError, "score"),
    "attention": ({"attention": 3}, TypeError, "attention must be an Attention"),
    "attention's sizes": ({"attention": pylstm.Attention(5, 6)}, ValueError, "does not fit: .* give 6 numbers"),
    "dot": (
        {"attention": "dot", "encoder": [Embedding(11, 4), LSTM(4, 5, batch_first=True)]}, ValueError, "key_size",
    ),
    "copied": (
        {"bridge": "copy", "encoder": [Embedding(11, 4), LSTM(4, 3, batch_first=True, bidirectional=True)]},
        ValueError, "bridge='copy' needs states of one form",
    ),
    "bridge": ({"bridge": "none"}, ValueError, "bridge must be"),
    "begin": ({"begin": 9}, ValueError, "begin must be at most 8"),
    "end": ({"end": -1}, ValueError, "end must be at least 0"),
    "begin's kind": ({"begin": "<s>"}, TypeError, "begin"),
    "flag": ({"reverse_source": 1}, TypeError, "reverse_source"),
    "tied": ({"tie_embeddings": True, "decoder": decoder()[:2]}, ValueError, "which takes 4"),
    "tied padding": (
        {"tie_embeddings": True, "decoder": [Embedding(9, 6, padding_idx=0), LSTM(6, 6, batch_first=True)]},
        ValueError, "without padding_idx",
    ),
    "seed": ({"seed": -1}, ValueError, "seed"),
}  # fmt: skip


@pytest.mark.parametrize("name", MAKING)
def test_what_cannot_be_made(name):
    change, error, says = MAKING[name]
    given = {"encoder": encoder(), "decoder": decoder(), "begin": 0, "end": 1, **change}
    with pytest.raises(error, match=says):
        pylstm.EncoderDecoder(given.pop("encoder"), given.pop("decoder"), **given)


GOOD = pairs(3, count=6)


def changed(targets, index, value):
    return [value if i == index else one for i, one in enumerate(targets)]


FITTING = {
    "a symbol of the source": ((changed(GOOD[0], 2, [3, 11]), GOOD[1]), {}, IndexError, r"sources\[2\] holds 11"),
    "below 0": ((changed(GOOD[0], 1, [-1]), GOOD[1]), {}, IndexError, r"sources\[1\] holds -1"),
    "a symbol of the target": ((GOOD[0], changed(GOOD[1], 4, [9])), {}, IndexError, r"targets\[4\] holds 9"),
    "begin": ((GOOD[0], changed(GOOD[1], 5, [4, BEGIN])), {}, ValueError, r"targets\[5\] holds 0, .* the beginning"),
    "end": ((GOOD[0], changed(GOOD[1], 0, [END])), {}, ValueError, r"targets\[0\] holds 1, .* the end"),
    "numbers": ((GOOD[0], GOOD[1][:5]), {}, ValueError, "sources holds 6 sequences and targets 5"),
    "nothing": (([], []), {}, ValueError, "no sequences"),
    "text": ((["good morning"] * 6, GOOD[1]), {}, TypeError, r"sources\[0\] must be .* got text"),
    "words": (([["good", "morning"]] * 6, GOOD[1]), {}, TypeError, r"sources\[0\] must be .* got text"),
    "one text": (("good", "bad"), {}, TypeError, "targets must be a list"),
    "floats": ((changed(GOOD[0], 3, [1.5]), GOOD[1]), {}, TypeError, r"sources\[3\] must hold symbols"),
    "axes": ((changed(GOOD[0], 3, [[1], [2]]), GOOD[1]), {}, ValueError, r"sources\[3\] must be one sequence"),
    "a flat list": (([1, 2, 3], [[2]] * 3), {}, ValueError, r"sources\[0\] must be one sequence"),
    "none": ((GOOD[0], None), {}, TypeError, "y is missing"),
    "lengths of a list": (GOOD, {"lengths": [1] * 6}, ValueError, "the list sources"),
    "target_lengths of a list": (GOOD, {"target_lengths": [1] * 6}, ValueError, "the list targets"),
    "lengths that do not fit": (
        (np.zeros((6, 3), int), GOOD[1]), {"lengths": [4] * 6}, ValueError, "lengths",
    ),
    "validation": (
        GOOD, {"validation_data": (GOOD[0], changed(GOOD[1], 4, [9]))}, IndexError, r"validation_data: targets\[4\]",
    ),
    "another loss": (GOOD, {"loss": "ctc"}, ValueError, "loss must be of targets .* ctc is for labels without places"),
    "loss": (GOOD, {"loss": "mse"}, ValueError, "loss must be of labels"),
    "option": (GOOD, {"epoch": 3}, TypeError, "epoch"),
    "truncate": (GOOD, {"truncate": 3}, ValueError, "truncate is for Sequential"),
    "probability": (GOOD, {"scheduled_sampling": 1.5}, ValueError, "scheduled_sampling must be"),
    "no probability": (GOOD, {"scheduled_sampling": "all"}, TypeError, "scheduled_sampling must be"),
    "no arguments": (GOOD, {"scheduled_sampling": lambda: 0.5}, TypeError, "scheduled_sampling: .* is called with"),
    "callbacks": (GOOD, {"scheduled_sampling": 0.1, "callbacks": 3}, TypeError, "callbacks must be a list"),
    "samples": (GOOD, {"loss": pylstm.SampledSoftmax(10)}, ValueError, "num_samples must be at most"),
    "class weights": (GOOD, {"class_weight": {9: 2.0}}, ValueError, "class_weight"),
    "monitor": (GOOD, {"callbacks": [pylstm.EarlyStopping(monitor="bleu")]}, ValueError, "bleu"),
}  # fmt: skip


@pytest.mark.parametrize("name", FITTING)
def test_what_cannot_be_trained_on_changes_nothing(name):
    data, options, error, says = FITTING[name]
    model = translator("general", dropout=0.1, dtype=np.float32)
    before, masks = model.state_dict(), model._dropout_state()
    with pytest.raises(error, match=says):
        model.fit(*data, **{"verbose": 0, **options})
    assert all(np.array_equal(before[n], v) for n, v in model.state_dict().items())
    assert model._dropout_state() == masks
    assert "_sampling" not in vars(model)


def test_a_function_that_gives_no_probability_ends_the_training_at_that_batch():
    model = translator(dtype=np.float32)
    with pytest.raises(ValueError, match="scheduled_sampling must give a probability, got 2 in epoch 1"):
        model.fit(*GOOD, scheduled_sampling=lambda epoch: epoch + 2, verbose=0)
    assert "_sampling" not in vars(model)
    same = pylstm.EncoderDecoder(
        encoder(), [Embedding(9, 4), Dropout(0.2, same_for_all_steps=True), LSTM(4, 6, batch_first=True), Linear(6, 9)],
        begin=0, end=1,
    )  # fmt: skip
    with pytest.raises(ValueError, match="scheduled_sampling trains step by step"):
        same.fit(*GOOD, scheduled_sampling=0.5, verbose=0)


def test_a_fit_that_is_refused_within_fit_leaves_the_sampling_of_the_other_one():
    class Nested(pylstm.Callback):
        def end_epoch(self, training):
            with pytest.raises(RuntimeError, match="in the middle of fit"):
                training.model.fit(*GOOD, scheduled_sampling=0.1, verbose=0)

    options = {"scheduled_sampling": 0.9, "epochs": 2, "seed": 0, "verbose": 0}
    model, other = translator(dtype=np.float32), translator(dtype=np.float32)
    other.fit(*GOOD, **options)
    model.fit(*GOOD, **options, callbacks=[Nested()])
    assert all(np.array_equal(other.params[n], v) for n, v in model.params.items())
    assert "_sampling" not in vars(model)


def test_a_batch_that_is_wrong_is_named_and_leaves_the_model_as_the_one_before_did():
    model, other = translator(dtype=np.float32), translator(dtype=np.float32)
    other.fit(*GOOD, optimizer=pylstm.SGD(0.1), batch_size=6, shuffle=False, verbose=0)
    with pytest.raises(IndexError, match=r"batch 2 of epoch 1: sources\[0\] holds 99"):
        model.fit(lambda: iter([GOOD, ([[99]], [[2]])]), optimizer=pylstm.SGD(0.1), verbose=0)
    assert all(np.array_equal(other.params[n], v) for n, v in model.params.items())


WRITING = {
    "beam": ({"beam_size": 0}, ValueError, "beam_size must be at least 1, got 0"),
    "beam's kind": ({"beam_size": 2.0}, TypeError, "beam_size"),
    "length": ({"max_length": 0}, ValueError, "max_length must be at least 1"),
    "penalty": ({"length_penalty": -0.1}, ValueError, "length_penalty"),
    "nan": ({"length_penalty": math.nan}, ValueError, "length_penalty"),
    "large": ({"length_penalty": 1e4}, ValueError, "length_penalty must not be so large"),
    "draws": ({"top_k": np.array([1, 2])}, TypeError, "say sample=True"),
    "best": ({"n_best": 5}, ValueError, "n_best must be at most beam_size, 4"),
    "flag": ({"return_scores": 1}, TypeError, "return_scores"),
    "temperature": ({"temperature": 0.5}, TypeError, "say sample=True"),
    "negative": ({"sample": True, "temperature": -1}, ValueError, "temperature"),
    "top": ({"sample": True, "top_k": 0}, ValueError, "top_k"),
    "rng": ({"sample": True, "rng": "seed"}, TypeError, "rng"),
    "batch": ({"batch_size": 0}, ValueError, "batch_size"),
    "attention": ({"return_attention": True}, TypeError, "needs a model with an attention"),
    "symbols": ({"sources": [[3], [11]]}, IndexError, r"sources\[1\] holds 11"),
    "text": ({"sources": ["good"]}, TypeError, "got text"),
    "one": ({"sources": [3, 4]}, ValueError, r"sources\[0\] must be one sequence"),
    "lengths": ({"sources": np.zeros((2, 3), int), "lengths": [4, 1]}, ValueError, "lengths"),
}


@pytest.mark.parametrize("name", WRITING)
def test_what_cannot_be_translated(name):
    change, error, says = WRITING[name]
    with pytest.raises(error, match=says):
        translator(dtype=np.float32).translate(**{"sources": GOOD[0], **change})


def test_nan_in_the_weights_is_told_by_the_sentence():
    model = translator("additive")
    broken = {name: value * np.nan if name.endswith(".bias") else value for name, value in model.state_dict().items()}
    model.load_state_dict(broken)
    for options in ({}, {"sample": True}):
        with pytest.raises(ValueError, match=r"NaN for symbol 1 of sentence \d"):
            model.translate(GOOD[0], **options)
    with pytest.raises(ValueError, match=r"decoder.2.bias"):
        model.fit(*GOOD, verbose=0)
    model = translator("additive")
    broken = model.state_dict()
    broken["encoder.0.weight"][10] = np.nan
    model.load_state_dict(broken)
    sources = [[1] * n for n in (7, 3, 5, 0, 4, 6)]
    sources[4][0] = 10
    for batch_size in (1, 3, 64):
        with pytest.raises(ValueError, match="NaN for symbol 1 of sentence 4"):
            model.translate(sources, batch_size=batch_size)


def test_logits_that_allow_nothing_but_begin():
    model = translator(dtype=np.float32)
    weights = model.state_dict()
    weights["decoder.2.bias"][:] = -np.inf
    weights["decoder.2.bias"][BEGIN] = 0
    model.load_state_dict(weights)
    for options in ({}, {"sample": True}):
        with pytest.raises(ValueError, match=r"-inf"):
            model.translate(GOOD[0], **options)


def test_calls_by_hand_that_do_not_fit():
    model = translator()
    for given in ([1, 2], {"source": [1]}, ([1],)):
        with pytest.raises(TypeError, match="lengths must be a tuple"):
            model(np.zeros((1, 2), int), np.zeros((1, 2), int), lengths=given)
    with pytest.raises(TypeError, match=r"translate\(sources\) writes"):
        model.predict(GOOD[0])
    for call in (model, model.forward):
        with pytest.raises(TypeError, match=r"target is missing: .* translate\(sources\) writes"):
            call(np.zeros((1, 2), int))
    spoken = pylstm.EncoderDecoder([LSTM(3, 6, batch_first=True)], decoder(), begin=BEGIN, end=END)
    with pytest.raises(ValueError, match=r"sources\[1\] cannot be made an array"):
        spoken.translate([[[1, 2, 3]], [[1, 2, 3], [1]]])


# ---- files -----------------------------------------------------------------------------------------------------------


def rewritten(model, change):
    """A file of the model whose description has been changed."""
    file = io.BytesIO()
    model.save(file)
    made = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if data[:1] == b"{":
                spec = json.loads(data)
                change(spec)
                data = json.dumps(spec).encode()
            new.writestr(name, data)
    made.seek(0)
    return made


def deep(spec):
    for _ in range(40):
        inner = {name: spec["model"][name] for name in ("class", "parts", "config")}
        spec["model"] = {**inner, "parts": {**inner["parts"], "encoder": [inner]}}


CHANGES = {
    "nothing": (dict.copy, None),
    "a part is missing": (lambda spec: spec["model"]["parts"].pop("decoder"), "lacks decoder"),
    "another part": (lambda spec: spec["model"]["parts"].update(more=[]), "unknown keys: more"),
    "parts that are none": (lambda spec: spec["model"].update(parts=[]), "malformed"),
    "layers that are none": (lambda spec: spec["model"]["parts"].update(encoder=3), "malformed"),
    "no layers": (lambda spec: spec["model"]["parts"].update(encoder=[]), "recurrent layer"),
    "two attentions": (lambda spec: spec["model"]["parts"]["attention"].extend(
        spec["model"]["parts"]["attention"] * 2), "one attention"),
    "no attention": (lambda spec: spec["model"]["parts"].update(attention=[]), "decoder gives 6 numbers"),
    "another attention": (lambda spec: spec["model"]["parts"].update(
        attention=spec["model"]["parts"]["encoder"][:1]), "attention must be"),
    "an option is missing": (lambda spec: spec["model"]["config"].pop("end"), "lacks end|missing"),
    "another option": (lambda spec: spec["model"]["config"].update(x=1), "unknown keys: x"),
    "begin": (lambda spec: spec["model"]["config"].update(begin=10**9), "begin must be at most"),
    "begin's kind": (lambda spec: spec["model"]["config"].update(begin=None), "begin"),
    "bridge": (lambda spec: spec["model"]["config"].update(bridge=["copy"]), "bridge"),
    "shared": (lambda spec: spec["model"]["config"].update(shared=7), "shared must be at most"),
    "shared's kind": (lambda spec: spec["model"]["config"].update(shared="0"), "shared"),
    "sizes": (lambda spec: spec["model"]["parts"]["encoder"][1]["config"].update(hidden_size=10**6),
        "the encoder 2000000"),
    "layers": (lambda spec: spec["model"]["parts"]["decoder"][1]["config"].update(num_layers=60000),
        "claims 240000 tensors"),
    "depth": (deep, "nested too deeply"),
    "code": (lambda spec: spec["model"]["parts"]["encoder"][0].update({"class": "os.system"}), "unknown layer"),
    "metadata": (lambda spec: spec["model"].update(metadata=3), "unknown keys: metadata"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_was_changed_is_refused(name):
    model = translator("general", bidirectional=True, dtype=np.float32)
    change, says = CHANGES[name]
    if says is None:
        assert pylstm.load(rewritten(model, change)).translate(GOOD[0]) == model.translate(GOOD[0])
        return
    with pytest.raises(pylstm.ModelFileError, match=says):
        pylstm.load(rewritten(model, change))
