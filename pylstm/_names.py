"""Where the public names live, and how a package hands them out: imported on first use.

A script that only runs a layer does not wait for training, files and pictures, which would double `import pylstm`.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

_MODULES = {
    "config": "get_num_threads release_memory set_num_threads show_config",
    "data.audio": "deltas log_mel mfcc read_wav",
    "data.series": "Windows windows",
    "data.texts": "TextBatches text_batches",
    "data.vocabulary": "Vocabulary",
    "decoding.beams": "beam_search",
    "decoding.ctc": "Labelling ctc_decode",
    "decoding.sampling": "sample",
    "files.onnx.exporting": "to_onnx",
    "files.pytorch.exporting": "to_torch",
    "files.pytorch.loading": "from_torch",
    "files.strict_json": "ModelFileError",
    "graph.functions": (
        "concatenate exp log log_softmax matmul relu sigmoid softmax sqrt stack stop_gradient tanh where"
    ),
    "graph.values": "Value",
    "inspect.attention_plot": "plot_attention",
    "inspect.confusion": "ConfusionMatrix confusion_matrix plot_confusion_matrix",
    "inspect.history": "plot_history",
    "inspect.input_gradients": "saliency",
    "inspect.plots": "plot_trace",
    "inspect.saliency_plot": "plot_saliency",
    "layers.activation": "Activation",
    "layers.attention": "Attention",
    "layers.attention_memory": "AttentionMemory",
    "layers.compiled": "GRU LSTM RNN",
    "layers.containers": "Columns Residual",
    "layers.convolution": "Conv1d",
    "layers.dropout": "Dropout",
    "layers.embedding": "Embedding",
    "layers.layer": "Layer",
    "layers.linear": "Linear",
    "layers.normalization": "LayerNorm",
    "layers.pooling": "BothEnds LastStep MaxOverTime MeanOverTime",
    "layers.recurrent": "Gradients",
    "layers.registry": "register",
    "layers.row_gradient": "RowGradient",
    "layers.stream": "Stream",
    "layers.table_rows": "TableRows",
    "losses.classification": "binary_cross_entropy cross_entropy",
    "losses.ctc": "ctc_loss",
    "losses.linear_head": "linear_cross_entropy",
    "losses.objects": "CTC CrossEntropy Huber QuantileLoss",
    "losses.regression": "huber mae mse",
    "losses.sampled_softmax": "SampledSoftmax",
    "models.encoder_decoder": "EncoderDecoder",
    "models.gradients": "value_and_grad",
    "models.keras.exporting": "to_keras",
    "models.keras.keras_model": "KerasModel",
    "models.keras.loading": "from_keras",
    "models.loading": "load",
    "models.model": "Model",
    "models.onnx_model": "OnnxModel from_onnx",
    "models.onnx_stream": "OnnxStream",
    "models.sequential": "Sequential",
    "models.stream": "ModelStream",
    "training.averaging": "EMA SWA",
    "training.callbacks": "Callback EarlyStopping ModelCheckpoint",
    "training.gradients": "clip_norm clip_value global_norm",
    "training.optimizer": "Optimizer",
    "training.optimizers": "SGD Adagrad Adam AdamW RMSprop",
    "training.rate_finder": "LearningRates",
    "training.schedules": "Cosine ReduceOnPlateau Schedule StepLR WarmUp",
}
PLACES = {name: module for module, names in _MODULES.items() for name in names.split()}  # name -> module in pylstm
_ROOT = __name__.partition(".")[0]
_OPTIONAL = ("jax", "sklearn", "torch")  # modules for the libraries of these names


def of_library(thing: Any) -> bool:
    """Whether a class or function is written here, and not by somebody who uses pylstm."""
    return str(thing.__module__).partition(".")[0] == _ROOT


def lazy(package: str, places: Mapping[str, str] | None = None) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package: its modules, and the public names in them.

    places: name -> module in the package; None: of the library's names those that live in it.
    """
    inside = package[len(_ROOT) + 1 :]
    own = {name: f"{package}.{module}" for name, module in (places or {}).items()}
    if places is None:
        own = {name: f"{_ROOT}.{module}" for name, module in PLACES.items() if f"{module}.".startswith(inside)}

    def get(name: str) -> Any:
        where = own.get(name, f"{package}.{name}")
        if name.startswith("_") or (name not in own and importlib.util.find_spec(where) is None):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(where)
        if name not in own:
            return module
        value = getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        modules = [m.name for m in pkgutil.iter_modules(sys.modules[package].__path__) if not m.name.startswith("_")]
        absent = {name for name in modules if name in _OPTIONAL and importlib.util.find_spec(name) is None}
        return sorted({*vars(sys.modules[package]), *own, *modules} - absent)

    return get, names
