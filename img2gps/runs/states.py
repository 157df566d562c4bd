"""The states of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum


class RunState(StrEnum):
    """The state of a run. A run ends in one of the last five."""

    queued = "queued"
    running = "running"
    finished = "finished"
    pruned = "pruned"
    diverged = "diverged"
    failed = "failed"
    missing = "missing"  # study.json says that it ended, but its result is gone

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to the run by itself."""
        return self not in (RunState.queued, RunState.running)

    @property
    def went_wrong(self) -> bool:
        """Whether the run failed or diverged."""
        return self in (RunState.failed, RunState.diverged)

    @property
    def is_final(self) -> bool:
        """Whether the run is never repeated unless the user forces it."""
        return self in (RunState.finished, RunState.diverged)


def count_states(states: Iterable[RunState]) -> dict[RunState, int]:
    """Count states; every state has an entry, in a fixed order."""
    found = Counter(states)
    return {state: found[state] for state in RunState}
