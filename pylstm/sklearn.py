"""Estimators for scikit-learn on sequences; an optional extra, `pip install 'pylstm[sklearn]'`."""

try:
    from sklearn.utils.validation import validate_data as _newest  # noqa: F401 - what 1.6 brought
except ImportError as error:
    raise ImportError("pylstm.sklearn needs scikit-learn 1.6 or newer: pip install 'pylstm[sklearn]'") from error

from .adapters.scikit_learn.classifier import SequenceClassifier
from .adapters.scikit_learn.regressor import SequenceRegressor

__all__ = ["SequenceClassifier", "SequenceRegressor"]
