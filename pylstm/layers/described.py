"""How a layer tells what it is: for files, for people who print it, and for pickles."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import numpy as np

from .parameters import ParameterSet, outside


class Described(ParameterSet):
    """What has a constructor whose arguments tell everything but the parameters."""

    _config_names: ClassVar[tuple[str, ...]] = ()  # the constructor's arguments but for the seed; saved with a model
    _config_defaults: ClassVar[dict[str, Any]] = {}  # of those that came later: a file has them where they differ

    _fixed: ClassVar[tuple[str, ...]] = ()  # attributes that decide the parameters' shapes, or where memory is read

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._fixed and name in vars(self):
            raise AttributeError(f"{name} is fixed when a layer is made")
        object.__setattr__(self, name, value)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make a layer like this one: what a file holds of a registered class (`pylstm.register`).

        Returns:
            Name -> value, in JSON's types. By default the constructor's arguments but for the seed, each the attribute
            of that name.

        Raises TypeError if there is no such attribute.
        """
        config: dict[str, Any] = {}
        for name, argument in inspect.signature(type(self)).parameters.items():
            if name == "seed" or argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
                continue
            if not hasattr(self, name):
                raise TypeError(
                    f"{type(self).__name__} must keep its argument {name!r} in an attribute of that name, or write "
                    "get_config(self), which returns the arguments: a file holds them"
                )
            value = getattr(self, name)
            config[name] = str(np.dtype(value)) if name == "dtype" else value
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A layer from what `get_config` gave.

        Args:
            config: as a file holds it: tuples have become lists.

        Returns:
            A new object; by default what the constructor makes of the arguments.
        """
        return cls(**config)

    def _config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._config_names}

    def __repr__(self) -> str:
        defaults: dict[str, Any] = {}
        for kind in reversed(type(self).__mro__[:-1]):  # a subclass may have a constructor of its own
            if (constructor := vars(kind).get("__init__")) is not None:
                arguments = inspect.signature(constructor).parameters
                defaults.update({name: argument.default for name, argument in arguments.items()})
        parts: list[str] = []
        for name, value in self._config().items():
            default = defaults.get(name, inspect.Parameter.empty)
            if default is inspect.Parameter.empty or not parts:
                parts.append(repr(value))
            elif value != default:
                parts.append(f"{name}={value if name == 'dtype' else repr(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __getstate__(self) -> dict[str, Any]:
        # the parameters' memory does not pickle: it is made anew
        state = {name: value for name, value in self.__dict__.items() if name not in _NOT_PICKLED}
        return {"attributes": state, "params": outside().run(dict, self._params)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["attributes"])
        if state["params"]:
            self._set_params(state["params"])


_NOT_PICKLED = ("_params", "_table", "_edition", "_fitting")
