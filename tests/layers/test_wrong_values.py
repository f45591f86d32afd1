"""Every argument of every constructor and call, with values that are wrong: an error that names the argument."""

from __future__ import annotations

import decimal
import fractions
import re
import warnings

import numpy as np
import pytest

import pylstm
from pylstm import reference

X = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)  # T, N, I
IDS = np.array([[0, 1, 2], [3, 4, 0]])


class Refuses:
    """An object that lets nobody make an array of it."""

    def __array__(self, dtype=None, copy=None):
        raise LookupError("not today")


def itself() -> list:
    inner: list = []
    inner.append(inner)
    return inner


NO_NUMBERS = [
    None, int, object(), "3", b"3", bytearray(b"3"), 1j, [], [3], (3,), {}, set(), Ellipsis, lambda: 3, range(3),
    iter([3]), np.array([3.0, 4.0]), np.array(None), np.datetime64(3, "s"), decimal.Decimal(3),
]  # fmt: skip
WRONG = {
    "size": [*NO_NUMBERS, 0, -1, 2.0, float("nan"), float("inf"), True, np.True_, np.float32(3), np.array(3.0), 2**63,
             2**64, 10**400, -(10**400), 10**5000, fractions.Fraction(3)],
    "flag": [*NO_NUMBERS, 0, 1, "True", np.int8(1), float("nan")],
    "probability": [*NO_NUMBERS, -0.1, 1.1, float("nan"), float("inf"), True, 10**400, 10**5000,
                    fractions.Fraction(10**400), -np.float32(1)],
    "number": [*NO_NUMBERS, -1.0, float("nan"), float("inf"), True, 10**400],
    "seed": [value for value in NO_NUMBERS if value is not None] + [-1, 1.0, True, float("nan"), -(10**5000)],
    "dtype": [None, object(), "nonsense", b"x", 3, "f2", ">f4", "O", "S4", complex, [("a", "f4")], {}, np.zeros(2),
              pylstm.LSTM, float("nan")],
    "choice": [*NO_NUMBERS, "", "TANH", "tanh ", 0, True, np.array("tanh")],
    "threads": [value for value in NO_NUMBERS if value is not None] + [0, -1, 1.0, True, float("nan")],
    "array": [
        None, int, object(), "3", b"3", {}, {1}, Ellipsis, lambda: 3, iter([3]), (n for n in X), [None], [[1, 2], [3]],
        [[1, [2]]], itself(), 1j, Refuses(), 3, 2.5, True, np.array(None), np.array(3.0), [], [10**400],
        X.astype(object),
        X.astype(str), X.astype("S8"), X.astype(complex), X.astype("M8[s]"), X.astype("m8[s]"),
        X.astype(np.longdouble),
        np.ma.masked_array(X), np.zeros(X.shape, [("a", "f4")]), np.zeros((5, 3, 9), np.float32), X[None],
        X[0, :, :3].view(np.matrix), "x" * 5000, np.zeros(0), memoryview(b"abc"), bytearray(b"abc"), pylstm,
    ],
    "lengths": [
        int, object(), "abc", {}, Ellipsis, iter([5, 5, 5]), [None] * 3, [5, [5], 5], itself(), 5, [5.0] * 3,
        [True] * 3, [5, 5, 6], [-1, 5, 5], [5, 5], [10**400] * 3, [2**63] * 3, np.array([5, 5, 5], object),
        np.ma.masked_array([5, 5, 5]),
        np.zeros(3, [("a", "i4")]), np.array(5), [float("nan")] * 3, Refuses(), np.array([[5, 5, 5]]), [], "555",
    ],
    "ids": [
        None, int, object(), "3", b"3", {}, Ellipsis, iter([3]), [None], [[1, [2]]], itself(), 1j, Refuses(), 2.5, True,
        [0.0], float("nan"), [10**400], np.array(None), np.ma.masked_array([1]), np.zeros(3, [("a", "i4")]),
        X.astype("M8[s]"), [True], ["a"], np.array([1], object),
    ],
    "layers": [
        None, int, object(), "3", b"3", 3, 2.5, True, [], {}, set(), iter([]), [None], ["Linear"], [pylstm.Linear],
        pylstm.LSTM, itself(), [[pylstm.LastStep()]], {"a": pylstm.LastStep()}, (None for _ in range(3)),
        [pylstm.LSTM(4, 6)], np.zeros(3), [pylstm.Linear(4, 4), pylstm.Linear(4, 4, dtype=np.float64)],
    ],
    "state_dict": [None, int, object(), "3", b"3", 3, [], [("a", 1)], iter([]), {}, {1: 2}, {"weight": None}, {0: 1}],
}  # fmt: skip

LSTM, EMBEDDING = pylstm.LSTM(4, 6, seed=0), pylstm.Embedding(5, 4, seed=0)
SIZES = {"input_size": "size", "hidden_size": "size", "num_layers": "size", "dropout": "probability", "seed": "seed"}
FLAGS = dict.fromkeys(("bias", "batch_first", "bidirectional", "recurrent_bias"), "flag")
RECURRENT = {**SIZES, **FLAGS, "dtype": "dtype"}
CONSTRUCTORS = {
    "LSTM": ({"input_size": 4, "hidden_size": 6}, {**RECURRENT, "proj_size": "proj"}),
    "GRU": ({"input_size": 4, "hidden_size": 6}, {**RECURRENT, "reset_after": "flag"}),
    "RNN": ({"input_size": 4, "hidden_size": 6}, {**RECURRENT, "nonlinearity": "choice"}),
    "Embedding": ({"num": 4, "dim": 6}, {"num": "size", "dim": "size", "padding_idx": "index", "std": "number",
                                         "dtype": "dtype", "seed": "seed"}),
    "Linear": ({"in_features": 4, "out_features": 6}, {"in_features": "size", "out_features": "size", "bias": "flag",
                                                       "dtype": "dtype", "seed": "seed"}),
    "Dropout": ({}, {"p": "probability", "same_for_all_steps": "flag", "seed": "seed"}),
    "Activation": ({}, {"function": "choice"}),
    "Residual": ({}, {"layers": "layers"}),
    "Columns": ({}, {"layers": "layers"}),
    "Sequential": ({"layers": [pylstm.Linear(4, 4)]}, {"layers": "layers", "seed": "seed"}),
}  # fmt: skip
WRONG["shape"] = [
    None, int, object(), "abc", b"abc", 3, 2.5, True, {}, {3}, Ellipsis, iter([3]), range(3), np.zeros(3, int),
    [None, "3"],
    (-1, 4), (2.0, 4), (True, 4), (float("nan"), 4), (object(), 4), ((3,), 4), (10**5000 * -1, 4),
]  # fmt: skip
WRONG["proj"] = [value for value in WRONG["size"] if type(value) is not int or value != 0] + [6, 7]
WRONG["index"] = [
    value for value in WRONG["size"] if value is not None and (type(value) is not int or value not in (0, -1))
]


def short(value: object) -> str:
    if type(value) is int and value.bit_length() > 99:
        return f"{'-' if value < 0 else ''}a number of {value.bit_length()} bits"
    text = "itself" if type(value) is list and value and value[0] is value else repr(value)
    return re.sub(r"\s+", " ", re.sub(r" at 0x\w+", "", text))[:60]


def expect(call, name: str, value: object, promised=(TypeError, ValueError)) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call(value)
        except promised as error:
            assert re.search(rf"\b{name}\b", str(error)), f"{name}={short(value)}: {error!r} does not name it"  # noqa: PT017
        except BaseException as error:
            raise AssertionError(f"{name}={short(value)}: {error!r}") from error
        else:
            raise AssertionError(f"{name}={short(value)} was taken")


@pytest.mark.parametrize(
    ("cls", "name"), [(cls, name) for cls, (_, names) in CONSTRUCTORS.items() for name in names], ids=str
)
def test_constructors(cls, name):
    good, kinds = CONSTRUCTORS[cls]
    modules = (pylstm, reference) if cls in ("LSTM", "GRU", "RNN") else (pylstm,)
    for module in modules:
        for value in WRONG[kinds[name]]:
            expect(lambda v, m=module: getattr(m, cls)(**{**good, name: v}), name, value)


def calls():
    """Name of the call, argument, kind of argument, function of the value."""
    for module in (pylstm, reference):
        layer = module.LSTM(4, 6, seed=0)
        gru = module.GRU(4, 6, seed=0)
        label = module.__name__
        for run, what in ((layer, "call"), (layer.forward, "forward"), (layer.trace, "trace")):
            yield f"{label} {what}", "x", "array", lambda v, run=run: run(v)
            yield f"{label} {what}", "state", "array", lambda v, run=run: run(X, (v, v) if v is not None else 3)
            yield f"{label} {what}", "lengths", "lengths", lambda v, run=run: run(X, lengths=v)
        for run in (layer, layer.forward):
            yield f"{label} {run}", "num_threads", "threads", lambda v, run=run: run(X, num_threads=v)
        yield f"{label} forward", "need_dx", "flag", lambda v, layer=layer: layer.forward(X, need_dx=v)
        yield f"{label} out", "out", "array", lambda v, layer=layer: layer(X, out=v if v is not None else 3)
        back, gru_back = layer.forward(X)[2], gru.forward(X)[2]
        yield f"{label} backward", "d_output", "array", lambda v, b=back: b(v if v is not None else "x")
        yield f"{label} backward", "d_state", "array", lambda v, b=gru_back: b(None, v if v is not None else "x")
        yield f"{label} gru", "state", "array", lambda v, g=gru: g(X, v if v is not None else "x")
        yield f"{label} stream", "batch_size", "size", layer.stream
        yield f"{label} stream", "num_threads", "threads", lambda v, layer=layer: layer.stream(num_threads=v)
        yield f"{label} load", "state_dict", "state_dict", layer.load_state_dict
        yield f"{label} load", "weight_ih_l0", "array", lambda v, s=layer: s.load_state_dict(
            {**s.state_dict(), "weight_ih_l0": v})  # fmt: skip
        stream = layer.stream(3)
        yield f"{label} step", "x", "array", stream.step
        yield f"{label} chunk", "x", "array", stream
        yield f"{label} step out", "out", "array", lambda v, s=stream: s.step(X[0], out=v if v is not None else 3)
        yield f"{label} state", "state", "array", lambda v, s=stream: setattr(s, "state", v)
        yield f"{label} state", "state", "array", lambda v, s=stream: setattr(s, "state", (v, v))
    rows = X.swapaxes(0, 1)
    for layer in (
        pylstm.Linear(4, 4, seed=0), pylstm.Dropout(seed=0), pylstm.Activation("tanh"), pylstm.Activation("softmax"),
        pylstm.LastStep(), pylstm.BothEnds(), pylstm.MeanOverTime(), pylstm.MaxOverTime(),
        pylstm.Residual([pylstm.Linear(4, 4, seed=0)]), pylstm.Sequential([pylstm.Linear(4, 4, seed=0)]),
        pylstm.Sequential([pylstm.LSTM(4, 6, batch_first=True, seed=0), pylstm.LastStep()]),
    ):  # fmt: skip
        pools = not layer.keeps_time
        kind = "any" if isinstance(layer, (pylstm.Dropout, pylstm.Activation)) else "pooled" if pools else "rows"
        if isinstance(layer, pylstm.Sequential) and pools:
            kind = "array"
        for run in (layer, layer.forward):
            yield f"{layer!r} {run is layer}", "x", kind, run
            if pools:
                yield f"{layer!r}", "lengths", "lengths", lambda v, run=run: run(rows, lengths=v)
        back = layer.forward(rows)[1]
        yield f"{layer!r} backward", "dy", "array", lambda v, b=back: b(v)
        if isinstance(layer, pylstm.Linear):
            yield f"{layer!r} load", "state_dict", "state_dict", layer.load_state_dict
    columns = pylstm.Columns([EMBEDDING])
    for run in (EMBEDDING, EMBEDDING.forward, columns, columns.forward):
        yield f"{run!r}", "x", "ids", run
    for layer in (EMBEDDING, columns, pylstm.Linear(4, 4), pylstm.LastStep(), pylstm.Dropout(), pylstm.Residual([
        pylstm.Linear(4, 4)]), pylstm.Sequential([pylstm.LSTM(4, 6, batch_first=True)])):  # fmt: skip
        yield f"{layer!r} output_shape", "shape", "shape", layer.output_shape
    yield "embedding backward", "dy", "array", EMBEDDING.forward(IDS)[1]


# what layers of the last axis take, of any shape, and a pooling
WRONG["rows"] = [v for v in WRONG["array"] if not (isinstance(v, np.ndarray) and v.shape == (1, *X.shape))]
WRONG["any"] = [
    v for v in WRONG["array"]
    if not isinstance(v, (bool, int, float, memoryview, bytearray)) and not (
        isinstance(v, np.ndarray) and type(v) is not np.ma.MaskedArray and v.dtype.char in "?bhilfd")
    and not (isinstance(v, list) and len(v) == 0)
]  # fmt: skip
WRONG["pooled"] = [
    v for v in WRONG["array"]
    if not (isinstance(v, np.ndarray) and type(v) is not np.ma.MaskedArray and v.ndim in (2, 3)
            and v.dtype.char in "?bhilfd")
]  # fmt: skip


@pytest.mark.parametrize(("what", "name", "kind", "call"), list(calls()), ids=lambda v: v if isinstance(v, str) else "")
def test_calls(what, name, kind, call):  # noqa: ARG001
    promised = (TypeError, ValueError, IndexError) if kind == "ids" else (TypeError, ValueError)
    for value in WRONG[kind]:
        expect(call, "weight|state_dict|missing" if name == "state_dict" else name, value, promised)
