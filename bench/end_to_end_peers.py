"""The models of `end_to_end_systems.py`, built and trained as a user of each library would.

Every class trains one part of an epoch per call of `part`: batches in a new random order, a progress bar nowhere, loss
and accuracy kept. Libraries are imported when a model is built, so that a process holds one of them only.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np

from end_to_end_systems import Data, System, make_data

WARM_BATCHES = 3  # compile, allocate, start threads


class Peer(Protocol):
    version: str
    parameters: int

    def part(self, size: int) -> tuple[float, float]:
        """Train on the first `size` sequences: seconds and mean loss."""


class PylstmPeer:
    def __init__(self, system: System, data: Data, threads: int) -> None:
        import pylstm

        pylstm.set_num_threads(threads)
        self.version = pylstm.__version__
        layers: list[Any] = []
        if system.vocabulary:
            layers.append(pylstm.Embedding(system.vocabulary, system.width, padding_idx=0, std=0.05))
        layers += [
            pylstm.LSTM(
                system.width, system.hidden, num_layers=system.layers, batch_first=True, recurrent_bias=False, seed=0
            ),
            pylstm.LastStep(),
            *([pylstm.Dropout(system.dropout)] if system.dropout else []),
            pylstm.Linear(system.hidden, system.classes),
        ]
        self.model = pylstm.Sequential(layers, seed=0)
        self.parameters = self.model.num_parameters
        self.loss = "binary_cross_entropy" if system.classes == 1 else "cross_entropy"
        self.optimizer = pylstm.Adam(1e-3)
        self.batch_size = system.batch_size
        self.x: Any = data.x
        if data.lengths is not None:
            self.x = [row[:length] for row, length in zip(data.x, data.lengths, strict=True)]
        self.y = data.y

    def part(self, size: int) -> tuple[float, float]:
        began = time.perf_counter()
        history = self.model.fit(
            self.x[:size],
            self.y[:size],
            loss=self.loss,
            optimizer=self.optimizer,
            batch_size=self.batch_size,
            verbose=0,
        )
        return time.perf_counter() - began, history["loss"][0]


class TorchPeer:
    """`by_length`: batches of sentences of similar length, which PyTorch leaves to its users."""

    def __init__(self, system: System, data: Data, threads: int, by_length: bool = False) -> None:
        import torch

        torch.manual_seed(0)
        torch.set_num_threads(threads)
        self.torch, self.system, self.by_length = torch, system, by_length
        self.version = torch.__version__
        layers: dict[str, Any] = {}
        if system.vocabulary:
            layers["embedding"] = torch.nn.Embedding(system.vocabulary, system.width, padding_idx=0)
        layers["lstm"] = torch.nn.LSTM(system.width, system.hidden, num_layers=system.layers, batch_first=True)
        layers["dropout"] = torch.nn.Dropout(system.dropout)
        layers["linear"] = torch.nn.Linear(system.hidden, system.classes)
        self.layers = torch.nn.ModuleDict(layers)
        self.parameters = sum(p.numel() for p in self.layers.parameters())
        self.optimizer = torch.optim.Adam(self.layers.parameters(), lr=1e-3)
        binary = system.classes == 1
        self.loss = torch.nn.BCEWithLogitsLoss() if binary else torch.nn.CrossEntropyLoss()
        # indexed as tensors, not fetched one by one through a DataLoader: that would cost as much as the model
        self.x = torch.from_numpy(data.x)
        self.y = torch.from_numpy(data.y).float()[:, None] if binary else torch.from_numpy(data.y)
        self.lengths = None if data.lengths is None else torch.from_numpy(data.lengths)

    def logits(self, rows: Any) -> Any:
        x = self.x[rows]
        if self.lengths is None:
            output, _ = self.layers["lstm"](self.layers["embedding"](x) if self.system.vocabulary else x)
            last = output[:, -1]
        else:
            lengths = self.lengths[rows]
            vectors = self.layers["embedding"](x[:, : int(lengths.max())])
            packed = self.torch.nn.utils.rnn.pack_padded_sequence(
                vectors, lengths, batch_first=True, enforce_sorted=False
            )
            last = self.layers["lstm"](packed)[1][0][-1]
        return self.layers["linear"](self.layers["dropout"](last))

    def part(self, size: int) -> tuple[float, float]:
        began = time.perf_counter()
        order: Any = self.torch.randperm(size)
        if self.by_length and self.lengths is not None:
            order = order[self.torch.argsort(self.lengths[order], stable=True)]
        batches = order.split(self.system.batch_size)
        total, right = 0.0, 0
        for i in self.torch.randperm(len(batches)).tolist():
            y = self.y[batches[i]]
            self.optimizer.zero_grad()
            logits = self.logits(batches[i])
            loss = self.loss(logits, y)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(y)
            found = (logits > 0) == (y > 0.5) if self.system.classes == 1 else logits.argmax(1) == y
            right += int(found.sum())
        return time.perf_counter() - began, total / size


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what C++ writes to stderr."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


class KerasPeer:
    """`jit`: jit_compile=True, which Keras leaves off where there is no GPU."""

    def __init__(self, system: System, data: Data, threads: int, jit: bool = False) -> None:
        with _silent():  # TensorFlow's greetings
            import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        import keras

        keras.utils.set_random_seed(0)
        self.version = f"{keras.__version__} (TensorFlow {tf.__version__})"
        binary = system.classes == 1
        shape = data.x.shape[1:]
        layers: list[Any] = [keras.layers.Input(shape, dtype="int32" if system.vocabulary else "float32")]
        if system.vocabulary:
            layers.append(keras.layers.Embedding(system.vocabulary, system.width, mask_zero=system.ragged))
        layers += [
            keras.layers.LSTM(system.hidden, return_sequences=k + 1 < system.layers) for k in range(system.layers)
        ]
        if system.dropout:
            layers.append(keras.layers.Dropout(system.dropout))
        layers.append(keras.layers.Dense(system.classes, activation="sigmoid" if binary else "softmax"))
        self.model = keras.Sequential(layers)
        self.parameters = self.model.count_params()
        self.model.compile(
            loss="binary_crossentropy" if binary else "sparse_categorical_crossentropy",
            optimizer=keras.optimizers.Adam(1e-3), metrics=["accuracy"], jit_compile=True if jit else "auto",
        )  # fmt: skip
        self.batch_size = system.batch_size
        self.x, self.y = data.x.astype(np.int32) if system.vocabulary else data.x, data.y
        began = [0.0]
        self.seconds = seconds = [0.0]

        class Clock(keras.callbacks.Callback):  # type: ignore[misc]
            """From the epoch's begin to its end: what a call of fit prepares once is not a part of every epoch."""

            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
                began[0] = time.perf_counter()

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
                seconds[0] = time.perf_counter() - began[0]

        self.clock = Clock()

    def part(self, size: int) -> tuple[float, float]:
        history = self.model.fit(
            self.x[:size], self.y[:size], batch_size=self.batch_size, epochs=1, verbose=0, callbacks=[self.clock]
        )
        return self.seconds[0], float(history.history["loss"][0])


PEERS: dict[str, tuple[list[str], Any, dict[str, Any]]] = {  # name -> the modules it needs, its class, arguments
    "pylstm": (["pylstm"], PylstmPeer, {}),
    "torch": (["torch"], TorchPeer, {}),
    "torch_by_length": (["torch"], TorchPeer, {"by_length": True}),
    "keras": (["keras", "tensorflow"], KerasPeer, {}),
    "keras_jit": (["keras", "tensorflow"], KerasPeer, {"jit": True}),
}


def serve(connection: Connection, name: str, system: System, threads: int, batches: int) -> None:
    """What a process does: says what it is, or an exception's text; then trains a part whenever asked."""
    try:
        _, kind, options = PEERS[name]
        data = make_data(system, batches)
        peer: Peer = kind(system, data, threads, **options)
        peer.part(min(batches, WARM_BATCHES) * system.batch_size)
        connection.send({"version": peer.version, "parameters": peer.parameters, "note": data.note})
        while (request := connection.recv()) != "end":
            if request == "profile":
                import end_to_end_profile

                connection.send(end_to_end_profile.profile(peer, batches * system.batch_size))
            else:
                seconds, loss = peer.part(batches * system.batch_size)
                if not math.isfinite(loss):
                    raise FloatingPointError(f"the loss became {loss}")
                connection.send({"seconds": seconds, "loss": loss})
    except EOFError:  # the parent has gone
        pass
    except Exception as error:
        connection.send({"error": f"{type(error).__name__}: {error}"})
