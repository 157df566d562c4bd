"""What the runs of a study have spent of its budget."""

from __future__ import annotations

from collections.abc import Sequence

from img2gps.runs.states import RunState
from img2gps.study.budget import Budget
from img2gps.study.trials import Entry


def broken_limit(budget: Budget, runs: Sequence[Entry], max_epochs: int) -> str:
    """Return which limit another run of so many epochs would break; "" if none.

    A run under way counts with all its epochs.
    """
    begun = [run for run in runs if _counts(run)]
    if budget.runs is not None and len(begun) >= budget.runs:
        return f"budget.runs={budget.runs}"
    epochs = sum(_epochs(run, max_epochs) for run in begun)
    if budget.epochs is not None and epochs + max_epochs > budget.epochs:
        return f"budget.epochs={budget.epochs}"
    return ""


def _counts(run: Entry) -> bool:
    """Whether a run has used the budget; a linked run was never attempted here."""
    return run.state is RunState.running or (run.state.has_ended and run.attempts > 0)


def _epochs(run: Entry, max_epochs: int) -> int:
    if run.state is RunState.running:
        return int(run.params.get("max_epochs", max_epochs))
    return (run.done.epochs if run.done else run.epochs) or 0
