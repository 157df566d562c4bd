"""Runs of a study that are finished with another precision than the one that it takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from img2gps.config.schema import Precision
from img2gps.runs.names import run_id
from img2gps.runs.states import RunState
from img2gps.study.spec import Runner, RunRef, Spec


def precision_hint(spec: Spec, runner: Runner, missing: Iterable[RunRef]) -> str:
    """Return how to link the missing runs that are finished with another precision; "" if none is.

    `precision=auto` stands for what is fastest on this machine, and the precision is part of the
    run id. Runs that were published on another machine may therefore not be found.
    """
    if spec.base.get("precision") != Precision.auto:
        return ""
    missing = [ref for ref in missing if "precision" in ref.identity]
    for precision in (Precision.bf16, Precision.fp32):
        others = [_with(ref, precision) for ref in missing]
        found = runner.find(others).values()
        if count := sum(done.state is RunState.finished for done in found):
            own = next(iter(missing)).identity["precision"]
            return (
                f"note: {count} of these runs are finished elsewhere with precision={precision}, "
                f"and this machine takes {own}; give precision={precision} study=NAME to link them "
                "instead of training"
            )
    return ""


def _with(ref: RunRef, precision: Precision) -> RunRef:
    identifier = run_id({**ref.identity, "precision": str(precision)})
    return replace(ref, run_id=identifier, path=str(PurePosixPath(ref.path).with_name(identifier)))
