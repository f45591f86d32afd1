"""Weights of PyTorch's programs, in and out, without PyTorch: `loading` puts them into a model, `exporting` takes them
out; `archives` reads the files that torch.save writes, with `pickles`, `tensors` and `zips`, `safetensors` the others;
`parts` finds the weights in a checkpoint, `matching` says whose they are."""

from ..._names import lazy

__getattr__, __dir__ = lazy(__name__)
