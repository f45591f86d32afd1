"""`Value`: what `Model.run` computes with in place of arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .._arrays import Array, real_array
from . import operations
from .marked import plain_copy

if TYPE_CHECKING:
    from .recording import Recorder

_METHODS = (
    "exp, log, log_softmax, matmul (@), max, mean, relu, reshape, sigmoid, softmax, sqrt, sum, swapaxes, tanh, "
    "abs, transpose, + - * / **, indexing; pylstm.concatenate, pylstm.stack, pylstm.where"
)
_ESCAPE = "; value.numpy() gives its numbers as a plain array, without a gradient"


class Place:
    """The place of a gradient in a sweep. It holds nothing, so that a tape is no chain of objects.

    This one is for what the layers of a chain hand to each other: its form is their affair.
    """

    __slots__ = ()


class Slot(Place):
    """The place of a value's gradient, an array of this shape and dtype."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype


class Value:
    """An array inside `Model.run`: what is computed with it is recorded, in training, for the backward pass.

    Attributes as an array's: shape, ndim, size, dtype (float32 or float64), T, len(), iteration over the first axis.
    Operations: + - * / with values, arrays and numbers (broadcast), `**` by a number, @; indexing by integers, slices,
    None, Ellipsis, arrays of integers or bools; the methods below, and `pylstm.concatenate`, `stack`, `where`. A plain
    array takes the value's dtype. `a += b` is `a = a + b`: a value never changes.

    Everything else raises TypeError, so that no gradient is lost in silence. By name it may be: `value.numpy()` is a
    read-only plain array, `value.detach()` a value through which no gradient flows.

    In inference the same methods compute the same numbers, and nothing is recorded. A value is of use in its own run
    only; what `run` returns comes out as plain arrays. In a model's run:

    >>> class Attention(pylstm.Model):
    ...     def __init__(self, size):
    ...         self.query = pylstm.Linear(size, size)
    ...     def run(self, y, keys):                                               # (N, T, H) and (N, K, H)
    ...         weights = (self.query(y) @ keys.swapaxes(1, 2)).softmax()         # (N, T, K)
    ...         return weights @ keys                                             # (N, T, H)
    >>> Attention(4)(np.ones((2, 5, 4)), np.ones((2, 3, 4))).shape
    (2, 5, 4)
    """

    __slots__ = ("_data", "_held", "_run", "_slot")
    _data: Array
    _run: Recorder
    _slot: Place | None  # None: no gradient flows here
    _held: bool  # whether something recorded may read the array again

    def __init__(self) -> None:
        raise TypeError("values are made by a model's run: float inputs are values, and so is what layers return")

    # ---- as an array ----------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes, a tuple."""
        return self._data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self._data.dtype

    @property
    def T(self) -> Value:
        """The axes in reverse order."""
        return self.transpose()

    def __len__(self) -> int:
        if not self._data.ndim:
            raise TypeError("a value of no axes has no len()")
        return len(self._data)

    def __iter__(self) -> Iterator[Value]:
        return (self[k] for k in range(len(self)))

    def __repr__(self) -> str:
        return f"Value({self._data!r})"

    def numpy(self) -> Array:
        """The numbers as a read-only plain array: what is computed from it has no gradient."""
        view = self._data.view()
        view.setflags(write=False)
        return view

    def detach(self) -> Value:
        """A value of the same numbers through which no gradient flows."""
        self._held = True
        return self._run.detached(self)

    # ---- operations ------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Value:
        return self._with(operations.add, other)

    def __radd__(self, other: Any) -> Value:
        return self._with(operations.add, other, reflected=True)

    def __sub__(self, other: Any) -> Value:
        return self._with(operations.subtract, other)

    def __rsub__(self, other: Any) -> Value:
        return self._with(operations.subtract, other, reflected=True)

    def __mul__(self, other: Any) -> Value:
        return self._with(operations.multiply, other)

    def __rmul__(self, other: Any) -> Value:
        return self._with(operations.multiply, other, reflected=True)

    def __truediv__(self, other: Any) -> Value:
        return self._with(operations.divide, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self._with(operations.divide, other, reflected=True)

    def __matmul__(self, other: Any) -> Value:
        return self._with(operations.matmul, other)

    def __rmatmul__(self, other: Any) -> Value:
        return self._with(operations.matmul, other, reflected=True)

    def __pow__(self, exponent: Any) -> Value:
        if isinstance(exponent, np.ndarray) and exponent.ndim == 0:
            exponent = exponent[()]
        if isinstance(exponent, (bool, np.bool_)) or not isinstance(exponent, (int, float, np.integer, np.floating)):
            raise TypeError(
                f"** takes a plain number, got {type(exponent).__name__}: use (b * a.log()).exp() for a ** b"
            )
        number = exponent.item() if isinstance(exponent, np.generic) else exponent
        return self._run.apply(operations.power, (self,), {"exponent": number})

    def __neg__(self) -> Value:
        return self._run.apply(operations.negative, (self,), {})

    def __pos__(self) -> Value:
        return self

    def __getitem__(self, index: Any) -> Value:
        """Integers, slices, None, Ellipsis, arrays of integers or bools, as NumPy indexes."""
        return self._run.apply(operations.getitem, (self,), {"index": _index(index)})

    def matmul(self, other: Any) -> Value:
        """`self @ other`: of the last two axes; the others broadcast."""
        made: Value = self @ other
        return made

    def reshape(self, *shape: Any) -> Value:
        """The same numbers in another shape; -1 stands for what is left."""
        sizes = shape[0] if len(shape) == 1 else shape
        return self._run.apply(operations.reshape, (self,), {"shape": sizes})

    def transpose(self, *axes: Any) -> Value:
        """The axes in this order; none: in reverse."""
        order = axes[0] if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], (tuple, list))) else axes
        return self._run.apply(operations.transpose, (self,), {"axes": tuple(order) if order else None})

    def swapaxes(self, axis1: int, axis2: int) -> Value:
        """Two axes exchanged."""
        return self._run.apply(operations.swapaxes, (self,), {"axis1": axis1, "axis2": axis2})

    def sum(self, axis: operations.Axis = None, keepdims: bool = False) -> Value:
        """The sum over axes (None: all)."""
        return self._run.apply(operations.sum_over, (self,), {"axis": axis, "keepdims": keepdims})

    def mean(self, axis: operations.Axis = None, keepdims: bool = False) -> Value:
        """The mean over axes (None: all)."""
        return self._run.apply(operations.mean_over, (self,), {"axis": axis, "keepdims": keepdims})

    def max(self, axis: operations.Axis = None, keepdims: bool = False) -> Value:
        """The largest number over axes (None: all); several equal ones share the gradient evenly."""
        return self._run.apply(operations.max_over, (self,), {"axis": axis, "keepdims": keepdims})

    def tanh(self) -> Value:
        """The hyperbolic tangent."""
        return self._run.apply(operations.tanh, (self,), {})

    def sigmoid(self) -> Value:
        """1 / (1 + exp(-x))."""
        return self._run.apply(operations.sigmoid, (self,), {})

    def relu(self) -> Value:
        """max(x, 0); the derivative at 0 is 0."""
        return self._run.apply(operations.relu, (self,), {})

    def abs(self) -> Value:
        """The absolute value; the derivative at 0 is 0."""
        return self._run.apply(operations.absolute, (self,), {})

    def __abs__(self) -> Value:
        return self.abs()

    def exp(self) -> Value:
        """The exponential."""
        return self._run.apply(operations.exp, (self,), {})

    def log(self) -> Value:
        """The natural logarithm."""
        return self._run.apply(operations.log, (self,), {})

    def sqrt(self) -> Value:
        """The square root."""
        return self._run.apply(operations.sqrt, (self,), {})

    def softmax(self, axis: int = -1) -> Value:
        """exp(x) / sum(exp(x)) over an axis."""
        return self._run.apply(operations.softmax, (self,), {"axis": axis})

    def log_softmax(self, axis: int = -1) -> Value:
        """log(softmax(x)), without the overflow."""
        return self._run.apply(operations.log_softmax, (self,), {"axis": axis})

    def _with(self, operation: Callable[..., Any], other: Any, reflected: bool = False) -> Value:
        if not isinstance(other, Value):
            if not isinstance(other, _NUMBERS):
                return NotImplemented  # type: ignore[no-any-return]
            other = plain_like(other, self._data.dtype, self._run)
        return self._run.apply(operation, (other, self) if reflected else (self, other), {})

    # ---- what would lose a gradient ----------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        operation = _UFUNCS.get(ufunc)
        if kwargs.get("out") is not None:
            raise TypeError("an array cannot take in a value in place: write a = a + value, which makes a new value")
        if operation is None or method != "__call__" or kwargs:
            raise TypeError(f"np.{ufunc.__name__} of a value is not recorded: use {_METHODS}{_ESCAPE}")
        return operation(*inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in FUNCTIONS:
            return FUNCTIONS[function](*args, **kwargs)
        raise TypeError(
            f"np.{getattr(function, '__name__', function)} of a value is not recorded: use {_METHODS}{_ESCAPE}"
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise TypeError(
            "a value of a model's run is no plain array: call the layer itself, layer(value), and operations on "
            f"values: {_METHODS}{_ESCAPE}"
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"a value has no {name!r}: use {_METHODS}{_ESCAPE}")

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError(
            "values never change, and cannot be assigned to: collect the parts in a list and pylstm.stack or "
            "pylstm.concatenate them, or take pylstm.where(mask, a, b)"
        )

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a value is neither true nor false: decide by value.numpy(), or choose by pylstm.where(mask, a, b)"
        )

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a value is of use in its own run only and cannot be copied or pickled: keep value.numpy()")

    __hash__ = object.__hash__


def _refuse(name: str, what: str) -> None:
    def method(self: Value, *args: Any) -> NoReturn:  # noqa: ARG001
        raise TypeError(what)

    method.__name__ = name
    setattr(Value, name, method)


for _name in ("__float__", "__int__", "__index__", "__complex__"):
    _refuse(_name, "a value as a plain number would lose its gradient: use value.numpy(), which says so")
for _name in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
    _refuse(_name, "comparing values is not recorded: compare value.numpy(), and choose by pylstm.where(mask, a, b)")
for _name in (
    "__floordiv__", "__rfloordiv__", "__mod__", "__rmod__", "__divmod__", "__rdivmod__", "__invert__",
    "__rpow__", "__and__", "__or__", "__xor__", "__rand__", "__ror__", "__rxor__", "__lshift__", "__rshift__",
    "__round__",
):  # fmt: skip
    _refuse(_name, f"{_name.strip('_')} of a value is not recorded: use {_METHODS}{_ESCAPE}")


# ---- values and plain arrays -------------------------------------------------------------------------------------


def new_value(data: Array, run: Recorder, slot: Place | None, held: bool = False) -> Value:
    value: Value = object.__new__(Value)
    value._data, value._run, value._slot, value._held = data, run, slot, held
    return value


_NUMBERS = (int, float, np.number, np.bool_, np.ndarray, list, tuple)


def plain_like(other: Any, dtype: np.dtype[Any], run: Recorder) -> Value:
    """A number or plain array as a value of that dtype. Recorded runs take a copy: `backward` may read it again."""
    array = real_array("the other operand", other, dtype)
    if run.tape is not None and not isinstance(other, (int, float)):  # of whatever lends its memory: tensors, too
        array = array.copy()
    return new_value(array, run, None)


def _index(index: Any) -> Any:
    """An index as NumPy takes it, of copies: callers may write to their arrays before the backward pass."""
    if isinstance(index, tuple):
        return tuple(_entry(entry) for entry in index)
    return _entry(index)


def _entry(entry: Any) -> Any:
    if entry is None or entry is Ellipsis or isinstance(entry, slice):
        return entry
    if isinstance(entry, (int, np.integer)) and not isinstance(entry, bool):
        return int(entry)
    if isinstance(entry, (list, np.ndarray)):
        array = plain_copy(entry)
        if array.size == 0 and isinstance(entry, list):
            array = array.astype(np.int64)
        if array.dtype.kind in "iub":
            return array
    raise TypeError(
        "an index is made of integers, slices, None, Ellipsis, and plain arrays of integers or bools, "
        f"got {type(entry).__name__}"
    )


def _by_operator(operation: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def run(a: Any, b: Any) -> Any:
        made = a._with(operation, b) if isinstance(a, Value) else b._with(operation, a, reflected=True)
        if made is NotImplemented:
            raise TypeError(f"{operation.__name__} takes values, arrays and numbers")
        return made

    return run


# NumPy's functions of the same name: how an array on the left of an operator asks, and harmless to write
_UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: _by_operator(operations.add),
    np.subtract: _by_operator(operations.subtract),
    np.multiply: _by_operator(operations.multiply),
    np.true_divide: _by_operator(operations.divide),
    np.matmul: _by_operator(operations.matmul),
    np.negative: Value.__neg__,
    np.absolute: Value.abs,
    np.tanh: Value.tanh,
    np.exp: Value.exp,
    np.log: Value.log,
    np.sqrt: Value.sqrt,
}

# likewise; what is in it is in `functions`
FUNCTIONS: dict[Any, Callable[..., Any]] = {}
