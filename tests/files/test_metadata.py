"""What saves, loads equal; what would not is refused at saving. Paths of checkpoints are known to be right at once."""

from __future__ import annotations

import os

import numpy as np
import pytest

import pylstm
from pylstm.files import plain, tensors
from support.files import filled
from support.trainings import Keeps

# ---- what saves, loads -----------------------------------------------------------------------------------------------


class Word(str):
    __slots__ = ()


def nest(depth):
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def loop():
    value: dict = {"b": []}
    value["b"].append(value)
    return value


def wide():
    value = [0]
    for _ in range(40):
        value = [value, value]
    return value


REFUSED = {
    "float_key": (
        {"a": {1.5: "a"}},
        TypeError,
        r"the keys of metadata\['a'\] must be str.* got float: 1.5; make .* so",
    ),
    "none_key": ({None: 1}, TypeError, r"the keys of metadata must be str, .* got NoneType.*list of \[key, value\]"),
    "bool_key": ({"a": {1: 2, False: 1}}, TypeError, "must be str.* got bool: False"),
    "deep_key": ({((1,),): 1}, TypeError, r"must be str.* got tuple: \(\(1,\),\)"),
    "large_key": ({2**61: 1, "a": 2}, ValueError, r"less than 2\^61; make them str"),
    "large_behind": ({("a", 1, 2**1000): 1}, ValueError, r"less than 2\^61; make them str"),
    "numpy_key": ({"a": {np.int64(3): 1}}, TypeError, r"got numpy.int64: .*3.*; take int\(key\)$"),
    "numpy_in_a_key": ({("a", np.uint8(3)): 1}, TypeError, r"got numpy.uint8: .*; take int\(key\)$"),
    "set": ({"a": {1}}, TypeError, r"JSON's types or tuples \(dict, list, tuple, str, int, .* got set: keep a list"),
    "integer_keys": ({"a": {i * 2: 0 for i in range(2**16 + 1)}}, ValueError, r"at most 65536 keys that are integers"),
    "tuple_keys": ({"a": {(i, "a"): 0 for i in range(2**12 + 1)}}, ValueError, r"4096 tuples with integers: make them"),
    "bytes": ({"a": [1, 2, 3, b"x"]}, TypeError, r"metadata\['a'\]\[3\] must be .* got bytes"),
    "nan": ({"a": [0, {"b": np.nan}]}, TypeError, r"metadata\['a'\]\[1\]\['b'\] must be .* finite float.* got nan"),
    "infinity": ({"a": -np.inf}, TypeError, r"metadata\['a'\] must be .* got -inf"),
    "numpy_integer": ({"a": np.int64(3)}, TypeError, r"metadata\['a'\] must be .* got numpy.int64: keep its .item"),
    "array": ({"a": np.zeros(2)}, TypeError, r"metadata\['a'\] must be .* got numpy.ndarray: keep its .tolist"),
    "surrogate": ({"a": ["x", "\ud800"]}, ValueError, r"metadata\['a'\]\[1\] holds half a character"),
    "surrogate_key": ({"a": {"\udfff": 1}}, ValueError, r"a key of metadata\['a'\] holds half a character"),
    "itself": ({"a": loop()}, ValueError, r"metadata\['a'\]\['b'\]\[0\] holds itself"),
    "deep": ({"a": nest(1000)}, ValueError, r"metadata\['a'\]\[0\].* is nested too deeply"),
    "wide": ({"a": wide()}, ValueError, "at most 524288 lists, tuples and dicts"),
    "long_number": ({"a": 10**1001}, ValueError, r"metadata\['a'\] is an integer of more than 1000 digits"),
    "same_key": ({"a": {Word("k"): 1}}, None, ""),
    "no_dict": ([("a", 1)], TypeError, "metadata must be a dict, got list"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_could_not_be_loaded_is_refused(tmp_path, suffix, fault):
    metadata, error, message = REFUSED[fault]
    model = filled(1.0)
    if error is None:
        model.save(tmp_path / f"m.{suffix}", metadata=metadata)
        assert pylstm.load(tmp_path / f"m.{suffix}").metadata == {"a": {"k": 1}}
        return
    with pytest.raises(error, match=message):
        model.save(tmp_path / f"m.{suffix}", metadata=metadata)
    assert model.metadata == {"value": 1.0}
    if fault != "wide":  # a second or two
        model.metadata = metadata  # or set by hand
        with pytest.raises(error, match=message):
            model.save(tmp_path / f"m.{suffix}")
    assert os.listdir(tmp_path) == []


def random_key(rng):
    kind = int(rng.integers(8))
    if kind > 2:
        return rng.bytes(2).hex() + '"\\'
    if kind == 2:
        return tuple(random_key(rng) for _ in range(3)) if rng.integers(2) else ("a",)
    return int(rng.integers(-(2**60), 2**60)) if kind else "tuple"


def random_value(rng, depth=0):
    kind = int(rng.integers(12 if depth < 5 else 7))
    if kind == 0:
        return "".join(chr(int(c)) for c in rng.integers(0, 0xD7FF, rng.integers(6)))
    if kind == 1:
        return "".join(str(rng.choice(['"', "\\", "\x00", "\u2028", "{", "[", ",", "\\ud800"])) for _ in range(5))
    if kind == 2:
        return int(rng.integers(-(2**63), 2**63)) ** int(rng.integers(1, 40))
    if kind == 3:
        return float(np.frombuffer(rng.bytes(8))[0]) if rng.integers(2) else float(rng.standard_normal())
    if kind in (4, 5, 6):
        return [None, True, False][kind - 4]
    if kind in (7, 8):
        items = [random_value(rng, depth + 1) for _ in range(int(rng.integers(4)))]
        return items if kind == 7 else tuple(items)
    if kind == 9:
        first = int(rng.integers(-9, 9))
        return {first + i: random_value(rng, depth + 1) for i in range(int(rng.integers(4)))}
    if kind == 10:
        return {str(rng.choice(["tuple", "dict", "range"])): random_value(rng, depth + 1)}
    return {random_key(rng): random_value(rng, depth + 1) for _ in range(3)}


def kinds(value):
    """The value, with what == does not tell apart: integers and bools, tuples."""
    if isinstance(value, dict):
        return {(type(key), key): kinds(item) for key, item in value.items()}
    return (type(value), [kinds(item) for item in value] if isinstance(value, (list, tuple)) else value)


def test_random_metadata_comes_back_equal_or_is_refused(tmp_path, suffix):
    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    path, model, saved = tmp_path / f"m.{suffix}", filled(1.0), 0
    for _ in range(60):
        metadata = {f"k{i}": random_value(rng) for i in range(5)}
        try:
            model.save(path, metadata=metadata)
        except (TypeError, ValueError) as error:
            assert "metadata" in str(error)  # noqa: PT017
            continue
        saved += 1
        assert kinds(pylstm.load(path).metadata) == kinds(metadata) == kinds(model.metadata)
    assert saved > 10


KEPT = {
    "labels": {0: "no", 1: "yes"},
    "far": {7: "a", -3: (1, [2, (3,)], {}), 2**60: ()},
    "pairs": {("a", "b"): 1, ("a", 2): (2,), "a": {"tuple": [1]}, (): {"dict": {"range": (0,)}}},
    "marks": [{"tuple": 1}, {"dict": [[1, 2]]}, {"range": [0, [1]]}, {"tuple": {1: 2}}],
}


def test_tuples_and_keys_come_back_as_they_were(tmp_path, suffix):
    model = filled(1.0)
    for metadata in (KEPT, {"a": [{"tuple": 1}]}, {"tuple": [1]}, {1: 2}, {("a",): {"b": (3,)}}):
        model.save(tmp_path / f"m.{suffix}", metadata=metadata)
        assert kinds(pylstm.load(tmp_path / f"m.{suffix}").metadata) == kinds(metadata) == kinds(model.metadata)
    outer = pylstm.Sequential([model, pylstm.Activation("tanh")])  # of an inner one, too
    outer.save(tmp_path / f"m.{suffix}")
    assert kinds(pylstm.load(tmp_path / f"m.{suffix}").layers[0].metadata) == kinds(metadata)


def test_nothing_is_shared(tmp_path):
    given = {"a": (1, [2, (3,)]), "b": np.float64(0.1)}
    model = filled(1.0)
    model.save(tmp_path / "m.npz", metadata=given)
    given["a"][1].append("later")
    assert model.metadata == {"a": (1, [2, (3,)]), "b": 0.1}
    assert type(model.metadata["b"]) is float
    assert pylstm.load(tmp_path / "m.npz").metadata == model.metadata


def deep(kind, levels):
    value = 0
    for _ in range(levels):
        value = {"tuple": (value,), "integer": {7: value, 3: 1}, "pair": {("a",): value}, "mark": {"tuple": value}}[
            kind
        ]
    return {"a": value, "odd": ()}


@pytest.mark.parametrize(("kind", "most"), [("tuple", 99), ("integer", 39), ("pair", 39), ("mark", 66)])
def test_what_is_saved_is_not_too_deep_to_load(tmp_path, kind, most):
    """As deep as it may be, and one deeper."""
    model, levels = filled(1.0), 1
    while True:
        try:
            model.save(tmp_path / "m.npz", metadata=deep(kind, levels))
        except ValueError as error:
            assert "nested too deeply" in str(error)  # noqa: PT017
            break
        levels += 1
    assert levels - 1 == most
    assert pylstm.load(tmp_path / "m.npz").metadata == deep(kind, levels - 1)


def test_a_number_as_long_as_there_may_be(tmp_path):
    model, metadata = filled(1.0), {"a": [-(2**3320 - 1), 2**3320 - 1]}
    model.save(tmp_path / "m.npz", metadata=metadata)
    assert pylstm.load(tmp_path / "m.npz").metadata == metadata


def test_a_vocabulary_of_250_000_words(tmp_path, suffix):
    words = [f"w\u00f6rt {i}" for i in range(250_000)]
    model, metadata = (
        filled(1.0),
        {"numbers": {word: i for i, word in enumerate(words)}, "words": dict(enumerate(words))},
    )
    model.save(tmp_path / f"m.{suffix}", metadata=metadata)
    assert pylstm.load(tmp_path / f"m.{suffix}").metadata == metadata


def test_sixty_mebibytes(tmp_path):
    model, metadata = filled(1.0), {"text": "x" * (60 << 20)}
    model.save(tmp_path / "m.npz", metadata=metadata)
    assert pylstm.load(tmp_path / "m.npz").metadata == metadata


def test_more_than_a_file_takes(tmp_path, monkeypatch, suffix):
    path, model = tmp_path / f"m.{suffix}", filled(1.0)
    monkeypatch.setattr(plain, "VALUES", 1000)
    with pytest.raises(ValueError, match=r"metadata\['a'\]\[1\]: .* at most 1000 values besides its parameters"):
        model.save(path, metadata={"a": [[0] * 500] * 3})
    monkeypatch.setattr(tensors, "HEADER_LIMIT", 100_000)
    if suffix == "safetensors":
        with pytest.raises(ValueError, match=r"take more than .* MB.*a name that ends in \.npz"):
            model.save(path, metadata={"a": "x" * 100_000})
    assert os.listdir(tmp_path) == []


def test_inner_metadata_is_kept(tmp_path, suffix):
    inner = filled(1.0)
    deeper = pylstm.Sequential([pylstm.Residual([inner]), pylstm.Activation("tanh")])
    deeper.metadata = {"deeper": ["ß"]}
    model = pylstm.Sequential([deeper])
    model.save(tmp_path / f"m.{suffix}")
    other = pylstm.load(tmp_path / f"m.{suffix}")
    assert other.layers[0].metadata == {"deeper": ["ß"]}
    assert other.layers[0].layers[0].layers[0].metadata == {"value": 1.0}
    inner.metadata = {"value": {3}}
    with pytest.raises(TypeError, match=r"metadata of an inner Sequential\['value'\] must be"):
        model.save(tmp_path / f"m.{suffix}")


class Mine(pylstm.Sequential):
    pass


@pytest.mark.parametrize("make", [lambda m: Mine(m.layers), lambda m: pylstm.Sequential([Mine(m.layers)])])
def test_a_subclass_is_refused_by_name(tmp_path, make):
    model = make(filled(1.0))
    with pytest.raises(TypeError, match=r"Mine is not a layer of pylstm.*make a Sequential of its \.layers"):
        model.save(tmp_path / "m.npz")
    keep = pylstm.ModelCheckpoint(tmp_path / "m.npz")
    x = np.zeros((4, 20), np.float32)
    before = model.state_dict()
    with pytest.raises(TypeError, match="Mine is not a layer"):  # before an epoch has been spent
        model.fit(x, x + 1, loss="mse", optimizer=pylstm.SGD(), callbacks=[keep], verbose=0)
    for name, value in model.params.items():
        np.testing.assert_array_equal(value, before[name])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("keys", [range(2**19 + 1), range(0, 2**17, 3)], ids=["range", "odd"])
def test_keys_are_counted_over_all_models_of_a_file(tmp_path, keys):
    """As they are when it is read."""
    inner, metadata = pylstm.Sequential([pylstm.Linear(2, 2)]), {"a": dict.fromkeys(keys, 0)}
    inner.metadata = metadata
    pylstm.Sequential([inner]).save(tmp_path / "one.npz")
    assert pylstm.load(tmp_path / "one.npz").layers[0].metadata == metadata
    with pytest.raises(ValueError, match=r"^metadata\['a'\]: a file holds at most [0-9]+ keys that .* keep a list of"):
        pylstm.Sequential([inner]).save(tmp_path / "two.npz", metadata=metadata)


def test_containers_as_deep_as_there_can_be(tmp_path):
    model = pylstm.Linear(2, 2)
    for _ in range(31):
        model = pylstm.Residual([model])
    model = pylstm.Sequential([model])
    model.save(tmp_path / "m.npz")
    assert repr(pylstm.load(tmp_path / "m.npz")) == repr(model)
    with pytest.raises(ValueError, match="32 deep"):
        pylstm.Sequential([model])


def test_more_layers_than_a_file_takes(tmp_path):
    part = pylstm.Activation("relu")
    with pytest.raises(ValueError, match="at most 16384 layers"):
        pylstm.Sequential([part] * 2**14).save(tmp_path / "m.npz")
    many = pylstm.Sequential([pylstm.RNN(1, 1, 2**14, batch_first=True)])
    with pytest.raises(ValueError, match="at most 65534 arrays"):
        many.save(tmp_path / "m.npz")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": np.zeros(3, np.int64)}, "callback0/a' is of int64"),
        ({"a": {3: 1}}, r"the keys of training\['callbacks'\]\[0\]\['state'\]\['a'\] must be str"),
        ({"a": object()}, r"training\['callbacks'\]\[0\]\['state'\]\['a'\] must be .* got object"),
        ({"a\0": np.zeros(3)}, "cannot be the name of an array"),
        ({"a": ["\ud800"]}, "half a character"),
    ],
)
def test_states_that_could_not_be_loaded_are_refused(tmp_path, state, message):
    x = np.zeros((4, 20), np.float32)
    keep = pylstm.ModelCheckpoint(tmp_path / "m.npz")
    with pytest.raises((TypeError, ValueError), match=message):
        filled(1.0).fit(x, x, loss="mse", optimizer=pylstm.SGD(), callbacks=[Keeps(state), keep], verbose=0)
    assert os.listdir(tmp_path) == []


def test_states_of_all_kinds_come_back(tmp_path):
    state = {"a": np.arange(3.0), "zero": np.array(2.5), "b": [1, None, "x", True, -np.inf], "c": np.float32(0.5)}
    x, path = np.zeros((4, 20), np.float32), tmp_path / "m.npz"
    keep = pylstm.ModelCheckpoint(path)
    options = {"loss": "mse", "verbose": 0, "epochs": 1}
    filled(1.0).fit(x, x, optimizer=pylstm.SGD(), callbacks=[Keeps(state), keep], **options)
    found = Keeps({})
    filled(1.0).fit(x, x, optimizer=pylstm.SGD(), callbacks=[found, keep], resume=path, **options)
    np.testing.assert_array_equal(found.state["a"], state["a"])
    assert found.state["zero"].shape == ()
    assert (found.state["b"], found.state["c"]) == ([1, None, "x", True, "-inf"], 0.5)


def test_a_loss_of_ones_own_does_not_become_the_librarys_by_its_name(tmp_path):
    def mse(y, targets, lengths=None):  # noqa: ARG001
        return 0.0, np.zeros_like(y)

    model, x = filled(1.0), np.zeros((4, 20), np.float32)
    for loss, want in [(mse, None), (pylstm.mse, "mse"), ("mse", "mse")]:
        model.fit(x, x, loss=loss, optimizer=pylstm.SGD(), verbose=0)
        model.save(tmp_path / "m.npz")
        assert pylstm.load(tmp_path / "m.npz")._loss == want


# ---- paths of checkpoints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{epoch.__class__}.npz", "holds {epoch.__class__}"),
        ("{epoch[0]}.npz", "holds {epoch"),
        ("{}.npz", "holds {}"),
        ("{0}.npz", "holds {0}"),
        ("{epoch!r}.npz", "holds {epoch}"),
        ("{epoch:{loss}}.npz", "holds {epoch}"),
        ("{epoch", "expected '}'"),
        ("epoch}.npz", "Single '}'"),
        ("{epoch:q}.npz", "Unknown format code"),
        ("{loss:d}.npz", "Unknown format code"),
        ("m.pkl", "must end in .npz or .safetensors"),
    ],
)
def test_paths_that_cannot_be_filled_are_refused_at_once(path, message):
    with pytest.raises(ValueError, match=message):
        pylstm.ModelCheckpoint(path)


def test_unknown_figures_are_refused_before_the_first_epoch(tmp_path):
    model, x = filled(1.0), np.zeros((4, 20), np.float32)
    before = model.state_dict()
    keep = pylstm.ModelCheckpoint(tmp_path / "{y}.npz")
    with pytest.raises(ValueError, match=r"holds \{y\}, but there are only epoch, loss, lr, seconds$"):
        model.fit(x, x + 1, loss="mse", optimizer=pylstm.SGD(), callbacks=[keep], verbose=0)
    for name, value in model.params.items():
        np.testing.assert_array_equal(value, before[name])


def test_paths_with_figures_and_braces(tmp_path):
    model, x = filled(0.5), np.zeros((4, 20), np.float32)
    keep = pylstm.ModelCheckpoint(tmp_path / "{{a}}-{epoch:03d}-{loss:.1f}-{val_loss:.1f}.npz")
    options = {"loss": "mse", "optimizer": pylstm.SGD(0.0), "verbose": 0, "validation_data": (x, x)}
    model.fit(x, model(x), callbacks=[keep], **options)
    (name,) = os.listdir(tmp_path)
    assert name.startswith("{a}-001-0.0-")


class Adds(pylstm.Callback):
    def end_epoch(self, training):
        training.logs["mine"] = 3.0


def test_a_callbacks_own_figure_may_stand_in_a_path(tmp_path):
    model, x = filled(0.5), np.zeros((4, 20), np.float32)
    keep = [Adds(), pylstm.ModelCheckpoint(tmp_path / "{mine:.0f}.npz")]
    model.fit(x, x, loss="mse", optimizer=pylstm.SGD(), callbacks=keep, verbose=0)
    assert os.listdir(tmp_path) == ["3.npz"]
