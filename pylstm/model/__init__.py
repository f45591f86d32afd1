"""Whole models: layers besides the recurrent ones, losses, optimizers, training, saving and looking inside."""

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
    "WarmUp",
    "binary_cross_entropy",
    "clip_norm",
    "clip_value",
    "cross_entropy",
    "global_norm",
    "load",
    "mse",
    "plot_history",
    "plot_trace",
]
