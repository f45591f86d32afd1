"""Which step stands for which class of Keras."""

from __future__ import annotations

from ...files.keras.config import MODELS, Config
from ...files.keras.weights import LayerWeights
from .attention import DotAttention, MultiHeadAttention
from .bidirectional import Bidirectional
from .convolving import Convolution, GlobalPooling, Pooling
from .merging import Dot, Merge
from .noise import Noise
from .normalizing import BatchNormalization, LayerNormalization
from .plain import (
    ActivationStep,
    Dense,
    DropoutStep,
    EmbeddingStep,
    Identity,
    InputStep,
    Masking,
    Reshaping,
    TimeDistributed,
)
from .recurrent import Recurrent
from .step import Make, Step

STEPS: dict[str, Make] = {
    "InputLayer": InputStep, "Dense": Dense, "TimeDistributedDense": Dense, "Embedding": EmbeddingStep,
    "Masking": Masking, "Conv1D": Convolution, "Convolution1D": Convolution, "Dot": Dot,
    "LayerNormalization": LayerNormalization, "BatchNormalization": BatchNormalization,
    "Attention": DotAttention, "AdditiveAttention": DotAttention, "MultiHeadAttention": MultiHeadAttention,
    "Bidirectional": Bidirectional,
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU"), Recurrent),
    **dict.fromkeys(("Dropout", "SpatialDropout1D"), DropoutStep),
    **dict.fromkeys(("GaussianNoise", "GaussianDropout", "AlphaDropout"), Noise),
    **dict.fromkeys(("Identity", "ActivityRegularization"), Identity),
    **dict.fromkeys(("Activation", "ReLU", "LeakyReLU", "ELU", "Softmax"), ActivationStep),
    **dict.fromkeys(("Flatten", "Reshape", "Permute", "RepeatVector", "ZeroPadding1D", "Cropping1D", "UpSampling1D"),
                    Reshaping),
    **dict.fromkeys(("Concatenate", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Merge"), Merge),
    **dict.fromkeys(("GlobalMaxPooling1D", "GlobalMaxPool1D", "GlobalAveragePooling1D", "GlobalAvgPool1D"),
                    GlobalPooling),
    **dict.fromkeys(("MaxPooling1D", "MaxPool1D", "AveragePooling1D", "AvgPool1D"), Pooling),
}  # fmt: skip


def step_of(config: Config, weights: LayerWeights, dtype: str) -> Step:
    """Raises ModelFileError for what is not read."""
    if config.kind == "TimeDistributed":
        inner = config.inner("layer")
        return TimeDistributed(config, weights, dtype, step_of(inner, weights.inside("layer"), dtype))
    made = STEPS.get(config.kind) if config.is_layer else None
    if made is None:
        hint = "of a program's own or of another kind than are read here"
        if config.kind in ("Lambda", "TFOpLambda") or not config.is_layer:
            hint = "a function of a program, which reading does not run"
        if config.kind in MODELS:
            hint = "a model inside of a layer"
        raise config.wrong(
            f"it is {hint}. Read are {', '.join(sorted({'TimeDistributed', *STEPS}))}. Build the network as a "
            "pylstm.Model, and give it the weights: from_keras(path, model)"
        )
    return made(config, weights, dtype)
