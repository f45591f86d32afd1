"""What stands for tuples and odd keys in a file, made by a stranger: read as it is meant, or refused, and cheaply."""

from __future__ import annotations

import json
import sys
import zipfile

import pytest

import pylstm
from support.files import filled


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    path = tmp_path_factory.mktemp("marks") / "m.npz"
    filled(1.0, 3).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def load(tmp_path, members):
    def load(metadata, **more):
        structure = {**json.loads(members["structure.json"]), "metadata": metadata, "marked": True, **more}
        with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
            for name, data in members.items():
                archive.writestr(name, json.dumps(structure) if name == "structure.json" else data)
        return pylstm.load(tmp_path / "m.npz").metadata

    return load


PRIME = sys.hash_info.modulus
WORDS = {"by": "words", "lowercase": True, "unknown_count": 1, "words": ["a", "b"], "counts": [2, 1]}


def vocabulary(**changed):
    return {"a": {"pylstm.Vocabulary": {**WORDS, **changed}}}


BAD = {
    "vocabulary of no dict": {"a": {"pylstm.Vocabulary": ["a"]}},
    "vocabulary of nothing": {"a": {"pylstm.Vocabulary": {}}},
    "vocabulary and more": vocabulary(more=1),
    "vocabulary by letters": vocabulary(by="letters"),
    "vocabulary by a list": vocabulary(by=["words"]),
    "vocabulary of 1": vocabulary(lowercase=1),
    "vocabulary of no list": vocabulary(words="ab"),
    "vocabulary of numbers": vocabulary(words=["a", 1]),
    "vocabulary of lists": vocabulary(words=["a", ["b"]]),
    "word twice": vocabulary(words=["a", "a"]),
    "counts of no list": vocabulary(counts={"a": 1}),
    "count too few": vocabulary(counts=[1]),
    "count below 0": vocabulary(counts=[1, -1]),
    "count too large": vocabulary(counts=[1, 2**63]),
    "count of true": vocabulary(counts=[1, True]),
    "count of none": vocabulary(unknown_count=None),
    "tuple of no list": {"a": {"tuple": 1}},
    "dict of no list": {"a": {"dict": {"b": 1}}},
    "pair of one": {"a": {"dict": [[1]]}},
    "no pair": {"a": {"dict": ["ab"]}},
    "key that is a list": {"a": {"dict": [[[1], 1]]}},
    "key that is a bool": {"a": {"dict": [[True, 1]]}},
    "key that is a float": {"a": {"dict": [[1.5, 1]]}},
    "key that is None": {"a": {"dict": [[None, 1]]}},
    "key that is a dict": {"a": {"dict": [[{"dict": []}, 1]]}},
    "tuple in a key": {"a": {"dict": [[{"tuple": [{"tuple": []}]}, 1]]}},
    "key twice": {"a": {"dict": [[1, 1], [1, 2]]}},
    "tuple twice": {"a": {"dict": [[{"tuple": ["a"]}, 1], [{"tuple": ["a"]}, 2]]}},
    "range of words": {"a": {"range": ["a", []]}},
    "range from true": {"a": {"range": [True, []]}},
    "range of one": {"a": {"range": [1]}},
    "range of no list": {"a": {"range": [0, 3]}},
    "range too far": {"a": {"range": [2**63, [1]]}},
    "not a dict": {"tuple": []},
    "large key": {"a": {"dict": [[PRIME, 1]]}},
    "large key below": {"a": {"dict": [[-PRIME, 1]]}},
    "large key in a tuple": {"a": {"dict": [[{"tuple": [PRIME]}, 1]]}},
    "large key behind": {"a": {"dict": [[{"tuple": [1, PRIME]}, 1]]}},
    "keys": {"a": {"dict": [[i * 3, 1] for i in range(2**16 + 1)]}},
    "keys of many": {"a": [{"dict": [[i, 1]]} for i in range(2**16 + 1)]},
    "ranges": {"a": [{"range": [5, [0] * 2**19]}] * 2, "b": {"range": [7, [0]]}},
    "tuples": {"a": {"dict": [[{"tuple": [i, 1]}, 1] for i in range(2**12 + 1)]}},
}


@pytest.mark.parametrize("name", BAD)
def test_marks_that_do_not_fit_are_refused(load, name):
    with pytest.raises(pylstm.ModelFileError, match=r"metadata (is malformed|has more than)"):
        load(BAD[name])


def test_a_vocabulary_of_a_file_is_one(load):
    found = load(vocabulary())["a"]
    assert found.encode("A b c").tolist() == [2, 3, 1]
    assert found.counts.tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize("marked", [False, 1, None, "x", []])
def test_a_word_that_is_not_true(load, marked):
    with pytest.raises(pylstm.ModelFileError, match="metadata is malformed"):
        load({"a": 1}, marked=marked)


def test_what_is_not_marked_is_read_as_it_stands(tmp_path):
    model = filled(1.0, 3)
    metadata = {"a": {"tuple": [1]}, "b": [{"dict": [[1, 2]]}]}  # as files of before may have it
    model.save(tmp_path / "m.npz", metadata=metadata)
    with zipfile.ZipFile(tmp_path / "m.npz") as archive:
        structure = json.loads(archive.read("structure.json"))
    assert structure["metadata"] == metadata
    assert "marked" not in structure
    assert pylstm.load(tmp_path / "m.npz").metadata == metadata


def test_keys_of_one_hash_cost_little(load):
    """As many as there may be, chosen to have as much in common as there can be."""
    found = load({"a": {"dict": [[i << 44, 1] for i in range(2**16)]}})
    assert len(found["a"]) == 2**16
    load({"a": {"dict": [[{"tuple": [-1 - i % 2, i >> 1]}, 1] for i in range(2**12)]}})  # hash(-1) == hash(-2)
