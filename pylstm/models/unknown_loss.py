"""What `evaluate` says where it knows no loss."""

from __future__ import annotations


def which_loss(lost: str | None) -> str:
    """An error's text, with what to do. lost: what a function was called that a file or pickle did not hold."""
    if lost is None:
        return (
            "the model has not been trained with fit, and no loss is known: say which loss, as in "
            "evaluate(x, y, loss='cross_entropy')"
        )
    called = f", {lost}," if lost else ""
    return (
        f"the model was trained with a loss of your own{called} and files and pickles hold no functions: give it "
        f"again, evaluate(x, y, loss={lost or 'your_loss'}), with metrics=[..] of your own beside it"
    )
