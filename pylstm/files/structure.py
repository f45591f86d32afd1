"""What is true of the structure in every model's file, written or read: its words, and how much one may declare."""

from __future__ import annotations

from .marks import KeyCounts, Unmarking
from .strict_json import ModelFileError

FORMAT, VERSION = "pylstm model", 1
CUSTOM_VERSION = 2  # of files whose model is a registered class, in place of layers one after another
MODEL = "Sequential"  # what a file holds, and the one class with metadata
LAYERS = 2**14  # in a file: the description of one takes few bytes, and the layer itself a thousand
NAMES = 2**18  # of parameters, counted again for each container around them
TRAINING = "training/"  # before the names of a checkpoint's own tensors


class Budget:
    """What a file may still declare: layers, names of parameters over all containers, tensors that it holds."""

    def __init__(self, layers: int, names: int, tensors: int) -> None:
        self.layers, self.names, self.tensors, self.all_tensors = layers, names, tensors, tensors
        self.unmarking, self.counts = Unmarking(), KeyCounts()

    def take_layer(self) -> None:
        self.layers -= 1
        if self.layers < 0:
            raise ValueError(f"a file holds at most {LAYERS} layers, the containers among them")

    def take_names(self, count: int) -> None:
        self.names -= count  # each container has a list of all names below it
        if self.names < 0:
            raise ValueError(f"there are more than {NAMES} names of parameters in containers in containers")

    def take_tensors(self, name: str, count: int) -> None:
        """Of a recurrent layer, whose few bytes can declare any number of tensors. Called before there is anything."""
        self.tensors -= count
        if self.tensors < 0:
            raise ModelFileError(f"{name} claims {count} tensors, and the file has {self.all_tensors} for all layers")
