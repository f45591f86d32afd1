"""What is found out about a training before it."""

from __future__ import annotations

from typing import Any

from ..training.optimizer import Optimizer
from ..training.optimizers import as_optimizer
from ..training.rate_finder import LearningRates, find
from .looking import Looked


class Tunable(Looked):
    """The part of `Trainable` that looks for what to train with."""

    def find_learning_rate(
        self,
        x: Any,
        y: Any = None,
        *,
        loss: Any,
        optimizer: Optimizer | str = "adam",
        lowest: float = 1e-6,
        highest: float = 10.0,
        steps: int = 120,
        **options: Any,
    ) -> LearningRates:
        """Which learning rate to train with: a short training, in which the rate rises from update to update (Smith
        2017).

        A copy of the model and of the optimizer is trained: here nothing changes, neither weights nor the optimizer nor
        what is drawn next, whatever ends it. It ends after `steps` updates, when the loss is far above its least, or,
        with what has been seen, on Ctrl-C.

        Args:
            x: as fit takes it.
            y: as fit takes it.
            loss: as fit takes it.
            optimizer: as fit takes it, but for the learning rate in it, which does not count.
            lowest: the first rate.
            highest: the last one.
            steps: updates, from 10; the data are gone through as often as it takes.
            options: of fit: batch_size, lengths, target_lengths, sample_weight, missing, class_weight, clip_norm,
                clip_value, truncate, micro_batch_size, shuffle, seed, check_finite.

        Returns:
            `LearningRates`: its `suggestion`, and a picture (`plot`). Take a rate near the suggestion, or somewhat
            below it, for a training with a constant rate.

        Raises:
            TypeError: an argument of the wrong kind, which is named; a model that cannot be copied.
            ValueError: an argument of the wrong value, which is named.
            FloatingPointError: the loss is not finite from the beginning.
            KeyboardInterrupt: Ctrl-C before there were enough updates, 5, to tell anything.
        """
        model: Any = self
        return find(model, x, y, as_optimizer(optimizer), lowest, highest, steps, {"loss": loss, **options})
