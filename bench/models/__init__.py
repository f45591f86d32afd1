"""Whole models beside those of other libraries: cases and data, the least time they could take, and the libraries.

A library is a module `<name>_peer.py` with a class `Peer`, and a line in `PEERS`. It is imported by a worker only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from cases import Array
from models.batches import Data
from models.cases import ModelCase
from models.losses import loss_of, valid

PEERS = {  # name -> the modules it needs
    "pylstm": ["pylstm"],
    "torch": ["torch"],
    "keras_tensorflow": ["keras", "tensorflow"],
    "keras_jax": ["keras", "jax"],
}


class ModelPeer(ABC):
    """One library's model of a case: what `worker.py` asks for."""

    version = "?"
    formulation = ""  # which of several ways was taken, for a library that has them
    loss = 0.0  # of the first batch with the first weights; `check` finds it
    case: ModelCase
    data: Data
    training: bool

    @abstractmethod
    def __init__(self, case: ModelCase, data: Data, *, training: bool, threads: int) -> None:
        """Everything that a user would do once: build the model, load the weights, prepare the batches."""

    @abstractmethod
    def run(self) -> Any:
        """What is timed. Training: a step on every batch. Inference: the outputs for every batch."""

    @abstractmethod
    def losses(self) -> list[float]:
        """Train on every batch, and the loss of each step."""

    @abstractmethod
    def outputs(self) -> Array:
        """The outputs for the first batch: (N, C), or (N, T, C) where only steps of a sequence count. Of a
        translator those for the true words before each, as in training, which all compute alike and at once: what it
        writes on its own hangs on the last bits, as soon as two words are about as likely."""

    def check(self) -> dict[str, Array]:
        """What all peers have to agree on. Called first, when the weights are those of `data`."""
        if self.training:
            losses = np.array(self.losses())
            self.loss = float(losses[0])
            # A wrong gradient shows in the losses of the steps that follow.
            return {"first loss": losses[:1], "losses": losses}
        outputs = self.outputs()
        self.loss = loss_of(self.case, self.data.batches[0], outputs)
        return {"outputs": valid(self.case, self.data.batches[0], outputs), "loss": np.array([self.loss])}

    def facts(self) -> dict[str, Any]:
        """What a reader wants to see beside the times."""
        return {"loss": self.loss, "batches": len(self.data.batches)}

    def prediction(self) -> dict[str, Any] | None:
        """There is no cost model of whole models."""
        return None
