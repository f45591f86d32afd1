"""What users keep of a model: its file, and what belongs to it there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from ..files import saving
from ..files.streams import place_of
from .looking import Looked


class Savable(Looked):
    """The part of `Trainable` that goes into files."""

    @property
    def metadata(self) -> dict[str, Any]:
        """A dict that is saved with the model, for what belongs to it and is none of its layers, such as a vocabulary.

        `save` says what it may hold.
        """
        found: dict[str, Any] = self.__dict__.setdefault("_metadata", {})
        return found

    @metadata.setter
    def metadata(self, value: dict[str, Any]) -> None:
        self.__dict__["_metadata"] = value

    def save(
        self,
        path: str | os.PathLike[str] | BinaryIO,
        *,
        metadata: Mapping[str, Any] | None = None,
        format: str | None = None,  # noqa: A002 - as other libraries call it
    ) -> None:
        """Write structure, parameters and `metadata` to one file. Read it with `pylstm.load`.

        Written beside its place and renamed, so that no half-written file is ever found, whoever else writes it at the
        same time; a file that is there keeps its mode, and a link stays one.

        Args:
            path: ends in .npz, or in .safetensors (an optional extra). Or a file that is open for bytes: an open file,
                `io.BytesIO`, a stream that cannot seek. It is written to where it is, once the model is whole in
                memory, and not closed; where a write fails at a file's end, what it left is cut off again.
            format: "npz" or "safetensors". None: what the path's or file's name ends in; for a file object without
                such a name "npz".
            metadata: a dict of your own, kept as `model.metadata`; None: that of the model as it is. It is loaded equal
                as it was saved: dicts, lists, tuples, str, bool, None, finite floats, integers of up to 1000 digits, a
                `Vocabulary`; 198 in each other, where a tuple counts twice and a dict with other keys than str five
                times. Keys are str, integers below 2^61, or tuples of these; of integers that do not count up by one
                there may be 65,536, of those that do 2^20, and 4,096 tuples that hold integers. With the structure 256
                MiB of text at most, of .safetensors 100 MB; 2^24 values and 2^19 lists, tuples and dicts.

        Raises:
            TypeError: metadata of other kinds, naming its place; layers and models that are neither the library's own
                nor registered (`pylstm.register`).
            ValueError: what cannot be loaded again.
            ValueError: a file that is closed or not open for writing; a format other than what the name ends in.
            OSError: the file cannot be written.

        After an error nothing has changed.
        """
        model: Any = self
        place_of(path, format, writing=True)
        before = self.metadata
        if metadata is not None:
            self.metadata = saving.metadata_of(metadata, "metadata")
        try:
            saving.save(model, path, format=format)
        except BaseException:
            self.metadata = before
            raise

    def __getstate__(self) -> dict[str, Any]:
        model: Any = self
        state = super().__getstate__()
        saving.without_functions(model, state["attributes"])
        return state
