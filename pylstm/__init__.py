"""Recurrent networks on the CPU: LSTM, GRU and RNN layers, forward and backward, NumPy arrays in and out."""

try:
    from . import _core
except ImportError as error:
    from pathlib import Path as _Path

    if (_Path(__file__).parent.parent / "csrc").is_dir():
        raise ImportError(
            "this is pylstm's source folder, which has no compiled core. Install it (`pip install .`) and run from "
            "another folder, or as `python examples/x.py` or `pytest`, which do not put this folder on the path."
        ) from error
    raise

from typing import TYPE_CHECKING as _TYPE_CHECKING

from ._names import lazy as _lazy
from .config import get_num_threads, release_memory, set_num_threads, show_config
from .layers.compiled import GRU, LSTM, RNN
from .layers.recurrent import Gradients
from .layers.stream import Stream

if _TYPE_CHECKING:  # what _names imports on first use, once more for readers of types
    from . import model as model
    from . import reference as reference
    from .data.audio import deltas as deltas
    from .data.audio import log_mel as log_mel
    from .data.audio import mfcc as mfcc
    from .data.audio import read_wav as read_wav
    from .data.series import Windows as Windows
    from .data.series import windows as windows
    from .data.texts import TextBatches as TextBatches
    from .data.texts import text_batches as text_batches
    from .data.vocabulary import Vocabulary as Vocabulary
    from .decoding.beams import beam_search as beam_search
    from .decoding.ctc import Labelling as Labelling
    from .decoding.ctc import ctc_decode as ctc_decode
    from .decoding.sampling import sample as sample
    from .files.onnx.exporting import to_onnx as to_onnx
    from .files.pytorch.exporting import to_torch as to_torch
    from .files.pytorch.loading import from_torch as from_torch
    from .files.strict_json import ModelFileError as ModelFileError
    from .graph.functions import concatenate as concatenate
    from .graph.functions import exp as exp
    from .graph.functions import log as log
    from .graph.functions import log_softmax as log_softmax
    from .graph.functions import matmul as matmul
    from .graph.functions import relu as relu
    from .graph.functions import sigmoid as sigmoid
    from .graph.functions import softmax as softmax
    from .graph.functions import sqrt as sqrt
    from .graph.functions import stack as stack
    from .graph.functions import stop_gradient as stop_gradient
    from .graph.functions import tanh as tanh
    from .graph.functions import where as where
    from .graph.values import Value as Value
    from .inspect.attention_plot import plot_attention as plot_attention
    from .inspect.confusion import ConfusionMatrix as ConfusionMatrix
    from .inspect.confusion import confusion_matrix as confusion_matrix
    from .inspect.confusion import plot_confusion_matrix as plot_confusion_matrix
    from .inspect.history import plot_history as plot_history
    from .inspect.input_gradients import saliency as saliency
    from .inspect.plots import plot_trace as plot_trace
    from .inspect.saliency_plot import plot_saliency as plot_saliency
    from .layers.activation import Activation as Activation
    from .layers.attention import Attention as Attention
    from .layers.attention_memory import AttentionMemory as AttentionMemory
    from .layers.containers import Columns as Columns
    from .layers.containers import Residual as Residual
    from .layers.convolution import Conv1d as Conv1d
    from .layers.dropout import Dropout as Dropout
    from .layers.embedding import Embedding as Embedding
    from .layers.layer import Layer as Layer
    from .layers.linear import Linear as Linear
    from .layers.normalization import LayerNorm as LayerNorm
    from .layers.pooling import BothEnds as BothEnds
    from .layers.pooling import LastStep as LastStep
    from .layers.pooling import MaxOverTime as MaxOverTime
    from .layers.pooling import MeanOverTime as MeanOverTime
    from .layers.registry import register as register
    from .layers.row_gradient import RowGradient as RowGradient
    from .layers.table_rows import TableRows as TableRows
    from .losses.classification import binary_cross_entropy as binary_cross_entropy
    from .losses.classification import cross_entropy as cross_entropy
    from .losses.ctc import ctc_loss as ctc_loss
    from .losses.linear_head import linear_cross_entropy as linear_cross_entropy
    from .losses.objects import CTC as CTC
    from .losses.objects import CrossEntropy as CrossEntropy
    from .losses.objects import Huber as Huber
    from .losses.objects import QuantileLoss as QuantileLoss
    from .losses.regression import huber as huber
    from .losses.regression import mae as mae
    from .losses.regression import mse as mse
    from .losses.sampled_softmax import SampledSoftmax as SampledSoftmax
    from .models.encoder_decoder import EncoderDecoder as EncoderDecoder
    from .models.gradients import value_and_grad as value_and_grad
    from .models.keras.exporting import to_keras as to_keras
    from .models.keras.keras_model import KerasModel as KerasModel
    from .models.keras.loading import from_keras as from_keras
    from .models.loading import load as load
    from .models.model import Model as Model
    from .models.onnx_model import OnnxModel as OnnxModel
    from .models.onnx_model import from_onnx as from_onnx
    from .models.onnx_stream import OnnxStream as OnnxStream
    from .models.sequential import Sequential as Sequential
    from .models.stream import ModelStream as ModelStream
    from .training.averaging import EMA as EMA
    from .training.averaging import SWA as SWA
    from .training.callbacks import Callback as Callback
    from .training.callbacks import EarlyStopping as EarlyStopping
    from .training.callbacks import ModelCheckpoint as ModelCheckpoint
    from .training.gradients import clip_norm as clip_norm
    from .training.gradients import clip_value as clip_value
    from .training.gradients import global_norm as global_norm
    from .training.optimizer import Optimizer as Optimizer
    from .training.optimizers import SGD as SGD
    from .training.optimizers import Adagrad as Adagrad
    from .training.optimizers import Adam as Adam
    from .training.optimizers import AdamW as AdamW
    from .training.optimizers import RMSprop as RMSprop
    from .training.rate_finder import LearningRates as LearningRates
    from .training.schedules import Cosine as Cosine
    from .training.schedules import ReduceOnPlateau as ReduceOnPlateau
    from .training.schedules import Schedule as Schedule
    from .training.schedules import StepLR as StepLR
    from .training.schedules import WarmUp as WarmUp

__version__ = _core.version

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Gradients",
    "Stream",
    "get_num_threads",
    "model",
    "reference",
    "release_memory",
    "set_num_threads",
    "show_config",
]

__getattr__, __dir__ = _lazy(__name__)
