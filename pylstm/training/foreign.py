"""Callbacks written for other libraries: what they are told."""

from __future__ import annotations

# method of Keras' and Lightning's callbacks -> what does the same here
_NAMES = {
    "on_train_begin": "begin(self, training)",
    "on_train_start": "begin(self, training)",
    "on_fit_start": "begin(self, training)",
    "on_epoch_end": "end_epoch(self, training)",
    "on_train_epoch_end": "end_epoch(self, training)",
    "on_validation_end": "end_epoch(self, training)",
    "on_validation_epoch_end": "end_epoch(self, training)",
    "on_batch_end": "end_batch(self, training)",
    "on_train_batch_end": "end_batch(self, training)",
    "on_train_end": "end(self, training)",
    "on_fit_end": "end(self, training)",
}
# those that have no other here
_BEFORE = ("on_epoch_begin", "on_epoch_start", "on_train_epoch_start", "on_batch_begin", "on_train_batch_begin",
           "on_train_batch_start", "on_test_begin", "on_test_end")  # fmt: skip
_LIBRARIES = ("keras", "tf_keras", "tensorflow", "lightning", "pytorch_lightning")


def refuse_foreign(callback: object) -> None:
    """Raises TypeError for a callback with methods that another library calls and fit does not."""
    own = [name for name in (*_NAMES, *_BEFORE) if _is_users(callback, name)]
    if not own:
        return
    instead = [f"{name} becomes {_NAMES[name]}" for name in own if name in _NAMES]
    instead += [f"{name} has no other: what begins an epoch ends the one before, and begin comes before the first"
                for name in own if name in _BEFORE][:1]  # fmt: skip
    name = callback.__name__ if isinstance(callback, type) else type(callback).__name__
    raise TypeError(
        f"callbacks: {name} has the methods of another library's callbacks, which fit does not call. Derive it from "
        f"pylstm.Callback: {'; '.join(instead)}. The figures are training.logs, the model is training.model, and "
        "training.stop() ends training"
    )


def _is_users(callback: object, name: str) -> bool:
    """Whether somebody wrote that method: bases of those libraries have all of them."""
    if name in getattr(callback, "__dict__", {}):
        return True
    classes = callback.__mro__ if isinstance(callback, type) else type(callback).__mro__
    owner = next((one for one in classes if name in vars(one)), None)
    return owner is not None and owner.__module__.partition(".")[0] not in _LIBRARIES
