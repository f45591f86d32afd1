"""Whole models: layers besides the recurrent ones, losses, optimizers, training, saving and looking inside."""

from ..graph import (
    Value,
    concatenate,
    exp,
    log,
    log_softmax,
    matmul,
    relu,
    sigmoid,
    softmax,
    sqrt,
    stack,
    stop_gradient,
    tanh,
    where,
)
from ..models import Model, value_and_grad
from .basic import Activation, Dropout, Embedding, Linear
from .callbacks import Callback, EarlyStopping, ModelCheckpoint
from .containers import Columns, Residual
from .files import ModelFileError
from .gradients import clip_norm, clip_value, global_norm
from .layer import Layer
from .losses import binary_cross_entropy, cross_entropy, mse
from .optimizer import Optimizer
from .optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from .plots import plot_history, plot_trace
from .pooling import LastStep, MaxOverTime, MeanOverTime
from .rows import RowGradient
from .saving import load
from .schedules import Cosine, ReduceOnPlateau, Schedule, StepLR, WarmUp
from .sequential import Sequential

__all__ = [
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "Callback",
    "Columns",
    "Cosine",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "LastStep",
    "Layer",
    "Linear",
    "MaxOverTime",
    "MeanOverTime",
    "Model",
    "ModelCheckpoint",
    "ModelFileError",
    "Optimizer",
    "RMSprop",
    "ReduceOnPlateau",
    "Residual",
    "RowGradient",
    "Schedule",
    "Sequential",
    "StepLR",
    "Value",
    "WarmUp",
    "binary_cross_entropy",
    "clip_norm",
    "clip_value",
    "concatenate",
    "cross_entropy",
    "exp",
    "global_norm",
    "load",
    "log",
    "log_softmax",
    "matmul",
    "mse",
    "plot_history",
    "plot_trace",
    "relu",
    "sigmoid",
    "softmax",
    "sqrt",
    "stack",
    "stop_gradient",
    "tanh",
    "value_and_grad",
    "where",
]
