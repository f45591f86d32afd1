"""LSTM, GRU and RNN as modules of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.modules.rnn import RNNBase
from torch.nn.parameter import Parameter
from torch.nn.utils.rnn import PackedSequence

from . import operators
from .calls import Call, run
from .functions import NO_FORWARD_MODE, Recurrent
from .packed import Packing
from .spec import CELL_OF_MODE, Spec
from .transforms import Transformed
from .weights import DTYPES, Weights

_PLAIN = (Tensor, Parameter)
_PRESENT = attrgetter(
    "mode", "input_size", "hidden_size", "proj_size", "num_layers", "bidirectional", "bias", "batch_first"
)


class _Module(RNNBase):
    """What the three have in common. RNNBase has the constructor, the parameters and their names; nothing of its way to
    compute is used. The modules of torch.nn themselves are no base: torch.compile refuses whatever derives from them.
    """

    _state_names: tuple[str, ...] = ("hx",)

    # ---- calls ---------------------------------------------------------------------------------------------------

    def _run(self, given: Any, hx: Any) -> tuple[Any, Sequence[Tensor]]:
        """The output, packed if what is given is, and the final states."""
        packed = isinstance(given, PackedSequence)
        x = given.data if packed else given
        if not isinstance(x, Tensor):
            raise TypeError(f"input must be a tensor or a PackedSequence, got {_kind(x)}")
        weights = self._present_weights()
        states = [] if hx is None else self._take_states(hx)
        if not _alike(weights[0], x, states):
            x, states = self._check_tensors(x, states, weights[0])
        self._check_x(x, packed)
        batched = packed or x.dim() == 3
        if not batched:
            x = x.unsqueeze(0 if self.batch_first else 1)
        batch_sizes = given.batch_sizes if packed else None
        batch = self._batch(given, states) if packed else x.shape[0 if self.batch_first else 1]
        states = self._check_states(states, batch, batched)
        if packed and given.sorted_indices is not None:
            states = [one.index_select(1, given.sorted_indices) for one in states]

        narrow = None if weights[0].dtype in DTYPES else weights[0].dtype
        if narrow:  # float16 and bfloat16: computed in float32, and rounded then
            x, *rest = (one.float() for one in (x, *states, *weights))
            states, weights = rest[: len(states)], rest[len(states) :]
        output, *final = self._call(x, states, weights, batch_sizes, batch)
        if narrow:
            output, *final = (one.to(narrow) for one in (output, *final))

        if packed:
            if given.unsorted_indices is not None:
                final = [one.index_select(1, given.unsorted_indices) for one in final]
            result = PackedSequence(output, batch_sizes, given.sorted_indices, given.unsorted_indices)
            return result, final
        if not batched:
            return output.squeeze(0 if self.batch_first else 1), [one.squeeze(1) for one in final]
        return output, final

    def _present_weights(self) -> list[Tensor]:
        parameters = self._parameters
        try:
            return [parameters[name] for name in self._flat_weights_names]  # type: ignore[misc, unused-ignore]
        except KeyError:  # parametrized, pruned, ..: computed, or an attribute
            return [getattr(self, name) for name in self._flat_weights_names]

    def _call(
        self, x: Tensor, states: list[Tensor], weights: list[Tensor], batch_sizes: Tensor | None, batch: int
    ) -> Sequence[Tensor]:
        if torch.compiler.is_compiling():
            return self._compute(x, states, weights, batch_sizes, batch)
        try:
            return self._compute(x, states, weights, batch_sizes, batch)
        except (TypeError, ValueError, RuntimeError, AttributeError):
            self._check_parameters()  # which takes longer than small calls do
            raise

    def _compute(
        self, x: Tensor, states: list[Tensor], weights: list[Tensor], batch_sizes: Tensor | None, batch: int
    ) -> Sequence[Tensor]:
        seed, dropout = None, self.dropout if self.training and self.num_layers > 1 else 0.0
        if dropout:
            seed = torch.randint(2**63 - 1, (1,), dtype=torch.int64, device="cpu")
        tensors = [x, *states, *weights]
        grad = torch.is_grad_enabled() and any([one.requires_grad for one in tensors])  # noqa: C419 - sooner
        if torch.compiler.is_compiling() or not _plain(tensors):
            return self._call_watched(x, states, weights, batch_sizes, seed, batch, dropout, grad)
        weights_kept, spec = self._ready(dropout)
        packing = None if batch_sizes is None else Packing(batch_sizes.numpy(), x.shape[0])
        key = None if seed is None else (dropout, int(seed.item()), 0)
        call = Call(spec, weights_kept, packing, key)
        if grad:
            return Recurrent.apply(call, len(states), *tensors)  # type: ignore[no-any-return, no-untyped-call, unused-ignore]
        return run(call, x, states, weights, training=key is not None)[0]

    def _call_watched(
        self, x: Tensor, states: list[Tensor], weights: list[Tensor], batch_sizes: Tensor | None,
        seed: Tensor | None, batch: int, dropout: float, grad: bool,
    ) -> Sequence[Tensor]:  # fmt: skip
        """By an operator, which others can trace, transform or replace."""
        options = operators.options_of(self._new_spec(dropout), batch)
        compiling = torch.compiler.is_compiling()
        if not compiling:
            if any(one.device != x.device for one in weights):  # of which one on meta would make all so
                self._check_parameters()
            if torch._C._are_functorch_transforms_active():
                found = Transformed.apply(options, len(states), batch_sizes, seed, x, *states, *weights)  # type: ignore[no-untyped-call, unused-ignore]
                return found[: 1 + len(self._state_names)]  # type: ignore[no-any-return, unused-ignore]
            if any(_has_tangent(one) for one in (x, *states, *weights)):
                raise NotImplementedError(NO_FORWARD_MODE)
        # What is exported is rarely trained, and if it is, can do without a tape.
        kept = grad and compiling and not torch.compiler.is_exporting()
        operator = operators.recurrent_kept if kept else operators.recurrent
        found = operator(x, states, weights, batch_sizes, seed, *options)
        return found[: 1 + len(self._state_names)]  # type: ignore[no-any-return, unused-ignore]

    def _new_spec(self, dropout: float) -> Spec:
        cell = CELL_OF_MODE[self.mode]
        return Spec(
            f"{cell}_projected" if self.proj_size else cell,
            self.input_size, self.hidden_size, self.proj_size or self.hidden_size, self.num_layers,
            bool(self.bidirectional), self.bias, self.batch_first, dropout,
        )  # fmt: skip

    def _ready(self, dropout: float) -> tuple[Weights, Spec]:
        """What this module has packed, and what it is."""
        kept = self.__dict__.get("_kept")  # which copies do not have
        present = _PRESENT(self), dropout
        if kept is None or kept[1] != present:  # users set sizes, too, with new parameters
            packed = Weights() if kept is None else kept[0][0]
            self.__dict__["_kept"] = kept = ((packed, self._new_spec(dropout)), present)
        return kept[0]  # type: ignore[no-any-return, unused-ignore]

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call, unused-ignore]
        state.pop("_kept", None)
        return state

    # ---- checks --------------------------------------------------------------------------------------------------

    def _take_states(self, hx: Any) -> list[Tensor]:
        names = self._state_names
        states = [hx] if len(names) == 1 else hx
        if not isinstance(states, (tuple, list)) or len(states) != len(names):
            raise TypeError(f"hx must be {'a tuple (h_0, c_0)' if len(names) > 1 else 'a tensor'}, got {_kind(hx)}")
        for one in states:
            if not isinstance(one, Tensor):
                raise TypeError(
                    f"hx must be {'a tuple of tensors' if len(names) > 1 else 'a tensor'}, got {_kind(one)}"
                )
        return list(states)

    def _check_tensors(self, x: Tensor, states: list[Tensor], weight: Tensor) -> tuple[Tensor, list[Tensor]]:
        if weight.device.type not in ("cpu", "meta"):
            raise RuntimeError(
                f"pylstm computes on the CPU, and the parameters are on {weight.device}: move the module with "
                f"module.cpu(), or keep torch.nn.{type(self).__name__} there"
            )
        if not weight.dtype.is_floating_point:
            raise TypeError(f"the parameters must be of a floating-point dtype, got {weight.dtype}")
        if torch.is_autocast_enabled("cpu"):  # computed in the parameters' dtype, which is more than is asked for
            x = x.to(weight.dtype)
            states = [one.to(weight.dtype) for one in states]
        if weight.device.type == "meta" and x.device.type == "cpu":
            raise RuntimeError(
                "the parameters are on meta, which has no numbers: module.to_empty(device='cpu'), then load_state_dict "
                "or reset_parameters"
            )
        for name, one in zip(("input", *self._state_names), (x, *states), strict=False):
            if one.device != weight.device:
                raise RuntimeError(
                    f"{name} is on {one.device}, and the parameters on {weight.device}: {name}.to('{weight.device}')"
                )
            if one.dtype != weight.dtype:
                raise ValueError(
                    f"RNN {name} dtype ({one.dtype}) does not match weight dtype ({weight.dtype}). "
                    f"Convert input: {name}.to({weight.dtype}), or convert model: model.to({one.dtype})"
                )
        return x, states

    def _check_parameters(self) -> None:
        """Names what users have put in the place of a parameter and does not fit; where nothing is wrong, nothing."""
        spec = self._new_spec(0.0)
        weights = self._present_weights()
        for name, one, shape in zip(self._flat_weights_names, weights, spec.shapes, strict=False):
            if not isinstance(one, Tensor):
                raise TypeError(f"{name} must be a tensor, got {_kind(one)}")
            if tuple(one.shape) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(one.shape)}")
            if one.dtype != weights[0].dtype or one.device != weights[0].device:
                raise ValueError(
                    f"{name} must be {weights[0].dtype} on {weights[0].device} as {self._flat_weights_names[0]} is, "
                    f"got {one.dtype} on {one.device}"
                )

    def _check_x(self, x: Tensor, packed: bool) -> None:
        if x.is_nested or x.layout is not torch.strided:
            raise TypeError(
                "input must be a dense tensor, or a PackedSequence where lengths differ; "
                f"got a {'nested tensor' if x.is_nested else f'tensor of layout {x.layout}'}"
            )
        if packed and x.dim() != 2:
            raise RuntimeError(f"input.data must have 2 dimensions, got {x.dim()}")
        if not packed and x.dim() not in (2, 3):
            raise ValueError(
                f"{type(self).__name__}: Expected input to be 2D or 3D, got {x.dim()}D instead: (T, I) or "
                f"{'(N, T, I)' if self.batch_first else '(T, N, I)'}"
            )
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            )
        if not packed and x.shape[1 if self.batch_first and x.dim() == 3 else 0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")

    def _batch(self, packed: PackedSequence, states: list[Tensor]) -> int:
        """Of a packed sequence: where the shapes say it, torch.compile need not look at numbers."""
        if packed.sorted_indices is not None:
            return packed.sorted_indices.shape[0]  # type: ignore[no-any-return, unused-ignore]
        if states and states[0].dim() == 3:
            return states[0].shape[1]  # type: ignore[no-any-return, unused-ignore]
        return int(packed.batch_sizes[0])

    def _check_states(self, states: list[Tensor], batch: int, batched: bool) -> list[Tensor]:
        dims = 3 if batched else 2
        rows = self.num_layers * (2 if self.bidirectional else 1)
        for k, one in enumerate(states):
            name = f"hidden[{k}]" if len(states) > 1 else "hidden"
            if one.dim() != dims:
                kind = f"{'batched' if batched else 'unbatched'} {dims}-D input"
                raise RuntimeError(f"For {kind}, hx should also be {dims}-D but got {one.dim()}-D tensor")
            size = self.hidden_size if k else self.proj_size or self.hidden_size
            expected = (rows, batch, size) if batched else (rows, size)
            if tuple(one.shape) != expected:
                raise RuntimeError(f"Expected {name} size {expected}, got {list(one.shape)}")
        return states if batched else [one.unsqueeze(1) for one in states]


def _kind(value: Any) -> str:
    many = isinstance(value, (tuple, list))
    return f"a {type(value).__name__}" + (f" of {len(value)}" if many else "")


def _has_tangent(tensor: Tensor) -> bool:
    return forward_ad.unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call, unused-ignore]


def _alike(weight: Tensor, x: Tensor, states: list[Tensor]) -> bool:
    """Whether they are all on the CPU and of one dtype that is computed in, as they mostly are."""
    dtype = weight.dtype
    return (
        dtype in DTYPES
        and weight.is_cpu
        and x.dtype == dtype
        and x.is_cpu
        and all([one.dtype == dtype and one.is_cpu for one in states])  # noqa: C419 - sooner
    )


def _plain(tensors: list[Tensor]) -> bool:
    """Whether these are numbers in memory that nobody watches: no subclasses, modes, transforms or tracers."""
    if (
        torch._C._len_torch_dispatch_stack()
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
        or forward_ad._current_level >= 0
    ):
        return False
    return all([type(one) in _PLAIN and one.is_cpu for one in tensors])  # noqa: C419 - sooner


class LSTM(_Module):
    __doc__ = """`torch.nn.LSTM`, computed by pylstm.

    The constructor, the names and shapes of the parameters, calls, errors and results are those of torch.nn.LSTM;
    modules, checkpoints and optimizers made for one serve the other.

    Args:
        input_size: I, numbers per step that go in.
        hidden_size: H, hidden units.
        num_layers: layers on top of each other.
        bias: whether there are biases.
        batch_first: x and output are (N, T, ..) in place of (T, N, ..).
        dropout: probability with which the output of every layer but the last is dropped, in training.
        bidirectional: a second set of weights reads from the end to the beginning.
        proj_size: 0, or the size (below hidden_size) that h is projected to.
        device: "cpu" or "meta".
        dtype: float32 or float64; float16 and bfloat16 are computed in float32, and rounded then.
    """
    _state_names = ("hx", "cx")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, tuple[Tensor, Tensor]]:  # noqa: A002
        """Run the layer.

        Args:
            input: (T, N, I), with batch_first (N, T, I), (T, I) for one sequence, or a PackedSequence.
            hx: the initial state (h_0, c_0): (layers, N, S) and (layers, N, H), without N for one sequence. None is
                zero.

        Returns:
            The tuple (output, (h_n, c_n)), the output (T, N, directions·S) in the layout of the input or packed as it
            is.

        Raises:
            RuntimeError: shapes, another device; the second derivative.
            ValueError: another dtype than the parameters'; a number of dimensions.
        """
        output, (h, c) = self._run(input, hx)
        return output, (h, c)


class GRU(_Module):
    __doc__ = """`torch.nn.GRU`, computed by pylstm: all as in `LSTM`, but for proj_size, which there is none of."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Tensor]:  # noqa: A002
        """As `LSTM.forward`, with one tensor for a state: (output, h_n)."""
        output, (h,) = self._run(input, hx)
        return output, h


class RNN(_Module):
    __doc__ = """`torch.nn.RNN`, computed by pylstm: all as in `GRU`; the fourth argument is `nonlinearity`, "tanh" or
    "relu"."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            nonlinearity, args = args[3], args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Tensor]:  # noqa: A002
        """As `GRU.forward`."""
        output, (h,) = self._run(input, hx)
        return output, h
