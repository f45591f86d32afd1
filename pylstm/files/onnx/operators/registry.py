"""Which function computes an operator, by name and by the version of the operators that a file names."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import numpy as np

from .... import _checks
from ...._arrays import Array
from ..model import Graph, Node

Compute = Callable[..., Any]  # arrays in the order of the node's inputs, None for one left out -> array, or a tuple
Build = Callable[["Call"], Compute]


class ForShapes:
    """What computes a node, and of what is known of its inputs makes something faster.

    `ready_for(known, x)`: known has the inputs that are the same in every call, None in place of the others; x is a
    first input of the shape and dtype that all will have. A function for such inputs, or None.
    """

    def __init__(self, compute: Compute, ready_for: Callable[[list[Array | None], Array], Compute | None]) -> None:
        self._compute, self.ready_for = compute, ready_for

    def __call__(self, *arrays: Array | None) -> Any:
        return self._compute(*arrays)


MICROSOFT = "com.microsoft"
_KNOWN: dict[tuple[str, str], list[tuple[int, Build, int, int | None]]] = {}
_ANY = 2**31


def operator(
    name: str, least: int, most: int | None = None, *, since: int = 1, domain: str = ""
) -> Callable[[Build], Build]:
    """Decorator of a function that makes what computes a node.

    least, most: how many inputs it has; most -1: any number; None: exactly `least`.
    since: the first version of the operators for which it is right, until that of the next one.
    """

    def add(build: Build) -> Build:
        entry = (since, build, least, least if most is None else _ANY if most < 0 else most)
        known = _KNOWN.setdefault((domain, name), [])
        known.append(entry)
        known.sort(key=lambda one: one[0])
        return build

    return add


def known_operators() -> list[str]:
    """Names of all, sorted."""
    return sorted(f"{domain}.{name}" if domain else name for domain, name in _KNOWN)


# how many outputs a node may have: one, and of these more
_OUTPUTS = {
    "LSTM": 3, "GRU": 2, "RNN": 2, "Split": _ANY, "TopK": 2, "Dropout": 2, "MaxPool": 2, "BatchNormalization": 5,
    "LayerNormalization": 3, "DynamicQuantizeLinear": 3, "DynamicQuantizeLSTM": 3,
}  # fmt: skip
_REFUSED = {
    "Loop": "a loop whose steps are nodes",
    "Scan": "a loop whose steps are nodes",
    "SequenceConstruct": "lists of tensors",
    "SequenceAt": "lists of tensors",
    "Optional": "values that may be missing",
}
_ADVICE = {
    "Loop": "export the recurrent layer itself, so that the file has an LSTM, GRU or RNN node (torch.onnx.export of "
    "nn.LSTM, nn.GRU, nn.RNN does); of a Keras model read the .keras file in place of keras.export's",
    "RandomNormal": "export the model for inference: model.eval() in PyTorch",
}
_ADVICE["Scan"] = _ADVICE["Loop"]
_ADVICE["RandomNormalLike"] = _ADVICE["RandomUniform"] = _ADVICE["RandomUniformLike"] = _ADVICE["RandomNormal"]


def build(call: Call) -> Compute:
    """What computes a node. Raises ModelFileError, naming the node, for what is not known."""
    node = call.node
    entries = _KNOWN.get((node.domain, node.operator))
    if entries is None:
        what = _REFUSED.get(node.operator)
        advice = _ADVICE.get(node.operator)
        near = ""
        if what is None:
            names = {name.lower(): name for domain, name in _KNOWN if domain == node.domain}
            close = difflib.get_close_matches(node.operator.lower()[:80], names, n=1, cutoff=0.85)
            near = f"; did you mean {names[close[0]]!r}?" if close else ""
        raise node.error(
            f"{'is ' + what + ', which' if what else 'is an operator that'} pylstm does not compute{near}"
            + (f": {advice}" if advice else "; onnxruntime may, or export the part around the recurrent layers alone")
        )
    fit = [entry for entry in entries if entry[0] <= call.version]
    if not fit:
        raise node.error(f"exists from opset {entries[0][0]} on, and the file says {call.version}")
    _, make, least, most = fit[-1]
    count = len(node.inputs)
    if not least <= count <= (most or 0):
        wanted = f"{least}" if least == most else f"{least} or more" if most == _ANY else f"{least} to {most}"
        raise node.error(f"has {count} inputs and must have {wanted}")
    outputs = len(node.outputs)
    if outputs > _OUTPUTS.get(node.operator, 1):
        raise node.error(f"has {outputs} outputs and must have {_OUTPUTS.get(node.operator, 1)} at most")
    if any(not name for name in node.inputs[:least]):
        raise node.error("lacks an input that it must have")
    compute = make(call)
    call.check_all_read()
    return compute


class Call:
    """A node as what builds its computation sees it: attributes, and those of its inputs that are constants."""

    def __init__(self, node: Node, version: int, constants: list[Array | None], program: Any = None) -> None:
        self.node, self.version, self.constants, self.program = node, version, constants, program
        self.outputs = len(node.outputs)
        self.zeros: list[bool] = [False] * len(constants)  # whether inputs are zeros of whatever shape
        self._read: set[str] = set()

    def error(self, message: str) -> ValueError:
        return self.node.error(message)

    def check_all_read(self) -> None:
        if unknown := sorted(set(self.node.attributes) - self._read):
            raise self.node.error(
                f"has the attribute {unknown[0][:80]!r}, which is not known of it in opset {self.version}"
            )

    def ignore(self, *names: str) -> None:
        """Attributes without a meaning here."""
        self._read.update(names)

    def has(self, name: str) -> bool:
        return name in self.node.attributes

    def _get(self, name: str, kind: type | tuple[type, ...], what: str, default: Any) -> Any:
        self._read.add(name)
        if name not in self.node.attributes:
            if default is ...:
                raise self.node.error(f"lacks the attribute {name!r}")
            return default
        value = self.node.attributes[name]
        if not isinstance(value, kind):
            raise self.node.error(f"its attribute {name!r} must be {what}, and is {_checks.kind(value)}")
        return value

    def integer(self, name: str, default: Any = ...) -> Any:
        return self._get(name, int, "an integer", default)

    def flag(self, name: str, default: int) -> bool:
        return bool(self.integer(name, default))

    def number(self, name: str, default: Any = ...) -> Any:
        return self._get(name, (float, int), "a number", default)

    def text(self, name: str, default: str) -> str:
        value = self._get(name, (bytes, str), "a text", default)
        return value if isinstance(value, str) else value.decode("utf-8", "replace")

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise self.node.error(f"its attribute {name!r} is {value[:80]!r}, and must be {' or '.join(choices)}")
        return value

    def integers(self, name: str, default: Any = ...) -> Any:
        value = self._get(name, list, "a list of integers", default)
        if value is not default and not all(isinstance(one, int) for one in value):
            raise self.node.error(f"its attribute {name!r} must be a list of integers")
        return value

    def numbers(self, name: str, default: Any = ...) -> Any:
        value = self._get(name, list, "a list of numbers", default)
        if value is not default and not all(isinstance(one, (float, int)) for one in value):
            raise self.node.error(f"its attribute {name!r} must be a list of numbers")
        return value

    def texts(self, name: str, default: Any = ...) -> Any:
        value = self._get(name, list, "a list of texts", default)
        if value is default:
            return value
        if not all(isinstance(one, bytes) for one in value):
            raise self.node.error(f"its attribute {name!r} must be a list of texts")
        return [one.decode("utf-8", "replace") for one in value]

    def array(self, name: str, default: Any = ...) -> Any:
        return self._get(name, np.ndarray, "a tensor", default)

    def graph(self, name: str) -> Graph:
        return self._get(name, Graph, "a graph", ...)  # type: ignore[no-any-return]

    def constant(self, place: int) -> Array | None:
        """The input of that place, if it is known before the model runs."""
        return self.constants[place] if place < len(self.constants) else None
