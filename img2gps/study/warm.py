"""What older studies have found, as first observations for the sampler of a new one.

A run counts if its recipe differs from the new study's only in what that study varies: with the
values that the run has for these knobs, and with its seed, the new study would plan a run with the
same run id.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from img2gps.analysis.winner import FOLD_AXIS
from img2gps.core.errors import BadInput
from img2gps.runs.fetching import fetch
from img2gps.runs.folder import read_config_plain
from img2gps.runs.names import without_fold
from img2gps.runs.records import STUDY, StudyRecord, StudyRun, read_result, read_study
from img2gps.runs.states import RunState
from img2gps.study.differences import differences
from img2gps.study.space import Axis, Params, cell_id, text_of
from img2gps.study.spec import Runner, Spec

KEY = "hydra.sweeper.warm_start"

Found = tuple[Params, list[float], str]  # the knobs, the figures and the id of a run


@dataclass(frozen=True)
class Observation:
    """One cell of the new study as an older study has found it.

    Attributes:
        params: the knobs that the new study varies.
        values: the figure of each aim, the mean over the cell's runs.
        runs: the ids of these runs.
    """

    params: Params
    values: list[float]
    runs: list[str]

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned."""
        return cls(**{item.name: plain[item.name] for item in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def observations(spec: Spec, runner: Runner, name: str) -> list[Observation]:
    """Return what the finished runs of an older study say about the cells of a new one.

    Raises:
        BadInput: there is no such study, or none of its runs can be used; the message says why.
    """
    study, root = _read(spec, name)
    finished = [run for run in study.runs if run.state is RunState.finished]
    found: dict[str, list[Found]] = {}
    refused: Counter[str] = Counter()
    for run in finished:
        params = _params(spec, run, read_config_plain(run.folder(root)))
        result = read_result(run.folder(root))
        values = result.figures(spec.directions) if result else {}
        known = [value for value in values.values() if value is not None]
        if why := _outside(spec, params) or _differs(spec, runner, params, run, root):
            refused[why] += 1
        elif len(known) < len(spec.directions):
            refused[f"they have no {', '.join(spec.directions)}"] += 1
        else:
            found.setdefault(without_fold(cell_id(params)), []).append((params, known, run.run_id))
    whole = [own for own in found.values() if _has_all_folds(spec, own)]
    if not whole:
        refused["no cell has all the folds of this study"] += bool(found)
        why, count = refused.most_common(1)[0]
        raise BadInput(
            f"{KEY}={name}: none of its {len(finished)} finished runs can be used: "
            f"{why if count else 'none has finished'}; leave it out"
        )
    return [_observation(own) for own in whole]


def _read(spec: Spec, name: str) -> tuple[StudyRecord, Path]:
    if name == spec.name:
        raise BadInput(f"{KEY}={name}: is this study itself; leave it out")
    fetch(Path(spec.root), name)
    published = Path(spec.results or spec.root)
    own = (Path(spec.root) / name / STUDY).exists() or not (published / name / STUDY).exists()
    root = Path(spec.root) if own else published
    return read_study(root, name), root


def _params(spec: Spec, run: StudyRun, config: Mapping[str, Any]) -> Params:
    """Return a run's values of the knobs that the new study varies; of a group its choice."""
    found = {}
    for axis in spec.space.axes:
        value = run.params.get(axis.name, _value(config, axis.name))
        if isinstance(value, Mapping):
            value = value.get("name") or value.get("kind")
        found[axis.name] = value
    return spec.space.without_inactive({k: _in_axis(spec, k, v) for k, v in found.items()})


def _value(config: Mapping[str, Any], name: str) -> Any:
    node: Any = config
    for part in name.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _in_axis(spec: Spec, name: str, value: Any) -> Any:
    """Return the axis's own form of a value, because 1, 1.0 and true are equal to Python."""
    axis = next(axis for axis in spec.space.axes if axis.name == name)
    if not axis.listed and isinstance(value, int | float):
        return value if axis.whole else float(value)
    return next((v for v in axis.values if text_of(v) == text_of(value)), value)


def _outside(spec: Spec, params: Params) -> str:
    """Return which value the new study does not have; "" if it has all."""
    for axis in spec.space.axes:
        if axis.name in params and not _has(axis, params[axis.name]):
            return f"{axis.name}={text_of(params[axis.name])} is not in this study"
    return ""


def _has(axis: Axis, value: Any) -> bool:
    if axis.listed:
        return text_of(value) in map(text_of, axis.values)
    low, high = axis.interval
    whole = not axis.whole or isinstance(value, int)
    return isinstance(value, int | float) and low <= value <= high and whole


def _differs(spec: Spec, runner: Runner, params: Params, run: StudyRun, root: Path) -> str:
    """Return what else than the varied knobs differs; "" if nothing does."""
    try:
        ref = runner.identify(spec.overrides_of(params, run.seed))
    except BadInput as error:  # such as a knob that other settings of this study exclude
        return str(error)
    if ref.run_id == run.run_id:
        return ""
    result = read_result(run.folder(root))
    changed = differences(result.identity if result else {}, ref.identity)
    return f"they differ in {'; '.join(changed)[:200]}"


def _has_all_folds(spec: Spec, own: list[Found]) -> bool:
    folds = {params.get(FOLD_AXIS) for params, _, _ in own}
    return len(folds) == len(spec.folds_of(own[0][0]))


def _observation(own: list[Found]) -> Observation:
    means = [statistics.fmean(values) for values in zip(*(v for _, v, _ in own), strict=True)]
    params = {name: value for name, value in own[0][0].items() if name != FOLD_AXIS}
    return Observation(params, means, [run for _, _, run in own])
