"""Models of ONNX files: called, streamed, and where they are layers one after another, made into a `Sequential`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._arrays import Array
from ..files.onnx.chain import Chain, NoChain
from ..files.onnx.model import Value, read
from ..files.onnx.program import Program
from ..files.onnx.states import find_states
from ..files.strict_json import ModelFileError
from .onnx_inputs import differing, listed, take_input
from .onnx_stream import OnnxStream
from .sequential import Sequential

_NEAR = 1e-3  # how far a Sequential may be from its file, beside the largest number: other sums, and float16's


class OnnxModel:
    """A graph of an ONNX file: `from_onnx` makes it.

    Attributes:
        inputs: a tuple of its inputs, each with `name`, `dtype` and `shape`, in which a name or None stands for a size
            that is not fixed; None for a shape that the file does not say.
        outputs: the same of its outputs.
        metadata: a dict of the texts that the file holds beside the graph.
    """

    def __init__(self, program: Program, metadata: dict[str, str]) -> None:
        self._program, self.metadata = program, metadata
        self.inputs, self.outputs = tuple(program.inputs), tuple(program.graph.outputs)

    def __call__(self, *arrays: ArrayLike, **named: ArrayLike) -> Any:
        """Compute the outputs.

        Args:
            arrays: the inputs in their order.
            named: inputs by name; `model(**{"input:0": x})` for names that are none of Python's.

        Returns:
            One array, or a tuple in the order of the outputs. They are the caller's own.

        Raises:
            TypeError: an input is missing, is given twice, or is of a kind that cannot be converted.
            ValueError: an input has another shape than the graph says, or a node cannot be computed of it; the error
                names the input or the node.
        """
        given = self._given(arrays, named)
        taken = [take_input(value, given[value.name]) for value in self.inputs]
        try:
            found = [_own(array, taken) for array in self._program.run(taken)]
        except ValueError as error:
            if hint := differing(self.inputs, taken):
                raise ValueError(f"{error}. {hint}") from error
            raise
        return found[0] if len(found) == 1 else tuple(found)

    def __deepcopy__(self, memo: Any) -> OnnxModel:
        return OnnxModel(self._program, dict(self.metadata))  # a program never changes

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            "the model of an ONNX file is not pickled: give the file's path, and read it with from_onnx there"
        )

    def _given(self, arrays: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        names = [value.name for value in self.inputs]
        if len(arrays) > len(names):
            raise TypeError(f"the model has {len(names)} inputs ({listed(names)}), and {len(arrays)} were given")
        given = dict(zip(names, arrays, strict=False))
        for name, array in named.items():
            if name not in names:
                raise TypeError(f"there is no input {name!r}, but {listed(names)}{_checks.did_you_mean(name, names)}")
            if name in given:
                raise TypeError(f"input {name!r} is given twice")
            given[name] = array
        if missing := [name for name in names if name not in given]:
            raise TypeError(f"the input {missing[0]!r} is missing: the model takes {listed(names)}")
        return given

    def stream(self, batch_size: int = 1, *, states: Mapping[str, str] | None = None, **fixed: ArrayLike) -> OnnxStream:
        """An `OnnxStream`, which keeps the states that the graph takes and gives.

        Args:
            batch_size: N, sequences that move on together.
            states: {input: output} of the states; None: those that go into the initial states of recurrent nodes and
                come out of their final ones.
            fixed: inputs that stay the same, by name, e.g. sr=16000.

        Raises ValueError for a graph without states among its inputs and outputs, saying what else to do, and for names
        that are not among them.
        """
        batch_size = _checks.size("batch_size", batch_size)
        return OnnxStream(self, batch_size, self._states(states), fixed)

    def _states(self, states: Mapping[str, str] | None) -> dict[str, str]:
        if states is not None and not isinstance(states, Mapping):
            raise TypeError(f"states must be a dict {{input: output}}, got {_checks.kind(states)}")
        if states is None:
            if found := find_states(self._program):
                return found
            raise ValueError(
                "the graph has no states among its inputs and outputs that can be told: states={input: output} says "
                "which they are. Of a graph that begins at zero, model.to_sequential().stream() goes step by step"
            )
        names, outputs = [one.name for one in self.inputs], [one.name for one in self.outputs]
        for one, other in states.items():
            if one not in names or other not in outputs:
                raise ValueError(
                    f"states has {one!r}: {other!r}, and must name an input ({listed(names)}) and an output "
                    f"({listed(outputs)})"
                )
        if not states:
            raise ValueError("states is empty: without states there is nothing to stream")
        return dict(states)

    def to_sequential(self, output: str | None = None) -> Sequential:
        """The same as a `Sequential`, which can be trained, saved and streamed: layers with the file's weights.

        A `Sequential` takes and gives sequences first, (N, T, ..), whichever way round the file has them. That it
        computes the same is tried with random inputs.

        Args:
            output: the name of the output it ends with; None: the first one. Other outputs are left out.

        Raises:
            ValueError: the graph is not one layer after another from an input to that output, or has operators that no
                layer computes; it says which node that is.
        """
        names = [one.name for one in self.outputs]
        if output is not None and output not in names:
            raise ValueError(f"there is no output {output!r}, but {listed(names)}")
        at = 0 if output is None else names.index(output)
        try:
            chain = Chain(self._program, self._program.outputs[at])
        except NoChain as error:
            raise ValueError(
                f"the graph is no chain of layers: {error}. It can be called as it is; to train it, make the model in "
                "pylstm and set its weights from the file's"
            ) from None
        model = Sequential(chain.layers)
        self._compare(chain, model, at)
        return model

    def _compare(self, chain: Chain, model: Sequential, at: int) -> None:
        """Raises ValueError if a model does not compute what the graph does."""
        rng = np.random.default_rng(0)
        sizes = {"N": 2, "T": 5, "F": 0}
        value = next(one for one in self.inputs if one.name == chain.name)
        shape = [sizes[axis] for axis in chain.input]
        for place, size in enumerate(value.shape or ()):
            if isinstance(size, int):
                shape[place] = size
        first: Any = model[0]
        if value.dtype is not None and value.dtype.kind in "iu":
            x = rng.integers(0, first.num, shape)
        else:
            known = first.input_shape()
            if chain.input[-1] == "F" and not shape[-1]:
                shape[-1] = known[-1] if known is not None else 3
            if "F" in chain.input[:-1] and not shape[chain.input.index("F")]:
                shape[chain.input.index("F")] = first.in_size
            x = rng.normal(size=shape).astype(value.dtype or np.float32)
        others = [one for one in self.inputs if one is not value]
        if others:
            raise ValueError(
                f"the graph has other inputs besides {value.name!r}: {listed([one.name for one in others])}"
            )
        expected = self._program.run([x])[at]
        wanted = [axis for axis in ("N", "T", "F") if axis in chain.input]
        y = model(x.transpose([chain.input.index(axis) for axis in wanted]))
        expected = expected.transpose([chain.output.index(axis) for axis in ("N", "T", "F") if axis in chain.output])
        if y.shape != expected.shape or np.abs(y - expected).max(initial=0) > _NEAR * (
            1 + np.abs(expected).max(initial=0)
        ):
            raise ValueError(
                "the graph's layers are joined in a way that no chain of ours is: it can be called as it is"
            )

    def __repr__(self) -> str:
        return f"OnnxModel({_shown(self.inputs)} -> {_shown(self.outputs)})"


def from_onnx(path: str | os.PathLike[str] | BinaryIO) -> OnnxModel:
    """Read an ONNX file: recurrent nodes run in pylstm's core, the others on NumPy and pylstm's matrix products.

    Nothing but NumPy is needed. A file is data: nothing of it is executed, and what it claims is checked before memory
    is taken for it. Tensors in files of their own are read from the model's folder only.

    Args:
        path: of an .onnx file, or a file that is open for bytes.

    Returns:
        An `OnnxModel`: call it with the inputs in their order, or by name.

    Raises:
        ModelFileError: (a ValueError) the file is damaged, no ONNX model, or has an operator that is not computed; it
            names the node, and says what to do.
        OSError: the file cannot be read.
        TypeError: path is no path.
    """
    name = "the model"
    given: Any = path
    if isinstance(path, (str, os.PathLike)):
        name = _checks.path("path", path).name
        contents = read(path)
    elif callable(getattr(path, "read", None)):
        data = path.read()
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"path is a file whose read gives {_checks.kind(data)}: open it with mode 'rb'")
        contents = read(data)
    else:
        hint = ": io.BytesIO(path) makes a file of them" if isinstance(given, (bytes, bytearray)) else ""
        raise TypeError(f"path must be a path or a file that is open for bytes, got {_checks.kind(path)}{hint}")
    try:
        program = Program(contents)
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error}") from None
    return OnnxModel(program, contents.metadata)


def _own(array: Array, given: list[Array]) -> Array:
    """An output that is neither a constant of the model nor an input of the caller's."""
    if not array.flags.writeable or any(np.may_share_memory(array, one) for one in given):
        return array.copy()
    return array


def _shown(values: tuple[Value, ...]) -> str:
    shown = []
    for value in values:
        sizes = "?" if value.shape is None else ", ".join("?" if size is None else str(size) for size in value.shape)
        shown.append(f"{value.name}: {value.dtype or 'float32'} ({sizes})")
    return "; ".join(shown)
