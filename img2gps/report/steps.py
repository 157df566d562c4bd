"""Say what to do next with a study, and write the commands that do it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from img2gps.analysis.overview import Analysis
from img2gps.analysis.wording import knob_name, knob_value

SEEDS = "hydra.sweeper.seeds"
CONFIRM = "hydra.sweeper.confirm"
CELLS = "hydra.sweeper.cells"


@dataclass(frozen=True)
class Step:
    """What to do next, and the command that does it."""

    text: str
    command: str


def next_steps(analysis: Analysis) -> list[Step]:
    """Return what would make the answer better, each with the command that does it."""
    record, rankings = analysis.study.record, analysis.rankings
    if not record.command:
        return []
    if any(not run.state.has_ended for run in record.runs):
        return [Step("Finish the study", record.command)]
    if not rankings:
        return []
    if record.searched:
        return [] if record.confirmation else [_confirm(record.command)]
    steps = []
    if len(record.seeds) == 1 and not rankings[0].errors.seedless:
        first = record.seeds[0]
        text = "Run more seeds, because one seed proves nothing about a choice"
        seeds = f"[{first},{first + 1},{first + 2}]"
        steps.append(Step(text, with_override(record.command, SEEDS, seeds)))
    for edge in rankings[0].edges:
        if _listed(record.command, edge.axis):
            continue  # another cell has to be written out
        text = f"Extend the grid where the winner lies on its edge, to {knob_name(edge.axis)} "
        values = ",".join(map(knob_value, sorted([*record.axes[edge.axis], edge.suggestion])))
        command = with_override(record.command, edge.axis, values)
        steps.append(Step(text + knob_value(edge.suggestion), command))
    return steps


def _listed(command: str, knob: str) -> bool:
    """Whether a command writes out cells that set the knob."""
    words = [w for w in shlex.split(command) if w.lstrip("+").startswith(f"{CELLS}=")]
    return any(re.search(rf"[{{,\s]{re.escape(knob)}\s*:", word) for word in words)


def _confirm(command: str) -> Step:
    text = (
        "Run the best cells again with fresh seeds, because a lucky seed may have chosen the winner"
    )
    return Step(text, with_override(command, CONFIRM, "{top:3,seeds:5}"))


def with_override(command: str, key: str, value: object) -> str:
    """Return a command with one more override, which replaces the command's own for that key.

    >>> with_override("python -m img2gps.train -m lr=0.1,0.2 seed=1", "lr", 0.3)
    'python -m img2gps.train -m seed=1 lr=0.3'
    """
    words = [w for w in shlex.split(command) if w.lstrip("+").partition("=")[0] != key]
    return shlex.join([*words, f"{key}={value}"])
