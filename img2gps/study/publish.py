"""A finished study made small enough to be committed: its record and its runs without weights.

Resuming and reports look for such copies below `results/`. Where the photos were taken can be kept
back: everything that a report says of errors stays true.
"""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import yaml

from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_atomic, write_csv, write_json
from img2gps.runs import study_record as record
from img2gps.runs.folder import (
    CONFIG,
    HISTORY,
    PREDICTIONS,
    PREDICTIONS_TEST,
    RESULT,
    WINNER,
    find_result,
)
from img2gps.runs.study_record import STUDY

TABLES = (PREDICTIONS, PREDICTIONS_TEST)
COPIED = (HISTORY, *TABLES, RESULT)  # result.json last: with it a run counts as done
POSITIONS = ("", "pred_", "true_")  # what stands before lat_deg and lon_deg
PRIVATE = ("photo", "taken_at")
NAMELESS = "photos"
PLACE = "DIR"
_TAKE_A_FOLDER = ("--config-dir", "-cd", "--config-path", "-cp")
_METRIC = re.compile(r"(train|val)/\w+")
# What config.yaml says instead of where things lay on somebody's machine.
_PLACELESS: dict[str, dict[str, Any]] = {
    "data": {"root": None, "cache": None},
    "runs": {"root": "runs", "results": "results"},
}

Row = dict[str, str]


@dataclass(frozen=True)
class Published:
    """What was written."""

    folder: Path
    runs: int
    left_out: int  # planned, but not ended
    size_bytes: int


def publish(study: str, root: Path, out: Path, *, moved: bool = False) -> Published:
    """Copy a study to `out/<study>/` with all its runs, but for those that are published already.

    Args:
        study: name of a study below `root`.
        root: where its run folders are.
        out: where the copy goes; runs there that belong to other studies are linked.
        moved: write positions as if the middle of all photos were at 0 N, 0 E, and leave out the
            photos' names and times; all runs are copied then, as the middle is the study's own.

    Raises:
        BadInput: no such study, or none of its runs has ended.
    """
    if root.resolve() == out.resolve():
        raise BadInput(f"--out {out}: is where the study lies; give another folder")
    planned = record.read(root, study)
    ended = [
        (cell, folder)
        for cell in planned["cells"]
        if cell["path"] and ((folder := record.run_folder(root, cell)) / RESULT).is_file()
    ]
    if not ended:
        raise BadInput(f"{study}: none of its runs has ended; go on with: {planned['command']}")
    origin = _middle([folder for _, folder in ended]) if moved else None
    target = out / study
    for cell, folder in ended:
        there = None if moved else find_result(cell["run_id"], [out])
        if there is None or there.parent == target:
            there = target / cell["run_id"]
            _copy_run(folder, there, origin)
        path = there.relative_to(out)
        cell |= {"path": path.as_posix(), "linked": path.parts[0] != study}
    planned |= {
        "engine": None,
        "command": _command(planned["command"], moved=moved),
        "base_config": _anonymous(planned.get("base_config") or {}, moved=moved),
    }
    hide = _hider(planned["axes"])
    write_json(target / STUDY, hide(planned))
    if winner := read_json(root / study / WINNER):
        write_json(target / WINNER, hide(winner))
    written = [path for path in target.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in written)
    return Published(target, len(ended), len(planned["cells"]) - len(ended), size)


def _command(line: str, *, moved: bool) -> str:
    """A command without where things lie on somebody's machine.

    >>> _command("train --config-dir /home/me -m +data.root=~/photos monitor=val/mse", moved=False)
    'train --config-dir DIR -m +data.root=DIR monitor=val/mse'
    """
    words = shlex.split(line)
    for i, word in enumerate(words):
        key, sign, value = word.partition("=")
        knob = key.lstrip("+")
        if knob == "data.name" and moved:
            words[i] = f"{key}={NAMELESS}"
        elif sign and (knob == "data.root" or ("/" in value and not _METRIC.fullmatch(value))):
            words[i] = f"{key}={PLACE}"
        elif not sign and i and words[i - 1] in _TAKE_A_FOLDER:
            words[i] = PLACE
    return shlex.join(words)


def _hider(axes: Mapping[str, Sequence[Any]]) -> Callable[[Any], Any]:
    """Replaces the places that a study varies, such as data.root, wherever a record has them."""
    paths = (values for axis, values in axes.items() if axis != "model.name")
    values = dict.fromkeys(v for of_axis in paths for v in of_axis if isinstance(v, str))
    places = [value for value in values if "/" in value and not _METRIC.fullmatch(value)]
    names = {place: f"{PLACE}{number}" for number, place in enumerate(places, 1)}
    longest_first = sorted(names, key=len, reverse=True)

    def hide(value: Any) -> Any:
        if isinstance(value, str):
            for place in longest_first:
                value = value.replace(place, names[place])
            return value
        if isinstance(value, Mapping):
            return {hide(key): hide(item) for key, item in value.items()}
        return [hide(item) for item in value] if isinstance(value, list) else value

    return hide


def _anonymous(config: Mapping[str, Any], *, moved: bool) -> dict[str, Any]:
    """A configuration, or a part of one, without places and, moved, without the data's name."""
    found: dict[str, Any] = {k: dict(v) if isinstance(v, dict) else v for k, v in config.items()}
    for group, values in _PLACELESS.items():
        if group in found:
            found[group] |= {key: value for key, value in values.items() if key in found[group]}
    for group in ("data", "model"):
        if (found.get(group) or {}).get("custom"):
            found[group]["custom"] = _placeless(found[group]["custom"])
    if "weights" in found:
        found["weights"] = _last_part(found["weights"])
    if moved and "data" in found:
        found["data"]["name"] = NAMELESS
    return found


def _placeless(value: Any) -> Any:
    """Arguments of a user's own class, without paths."""
    if isinstance(value, dict):
        return {key: _placeless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_placeless(item) for item in value]
    return PLACE if isinstance(value, str) and "/" in value else value


def _last_part(weights: str) -> str:
    """`weights=...` without the folder that a file lies in.

    >>> _last_part("/home/me/own.pth"), _last_part("imagenet")
    ('own.pth', 'imagenet')
    """
    return Path(weights).name


def _copy_run(source: Path, target: Path, origin: tuple[float, float] | None) -> None:
    target.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((source / CONFIG).read_text(encoding="utf-8"))
    config = _anonymous(config, moved=origin is not None)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    write_atomic(target / CONFIG, partial(_print, text=text))
    for name in COPIED:
        if not (source / name).is_file():
            continue
        if origin is not None and name in TABLES:
            columns, rows = _read(source / name)
            write_csv(target / name, columns, [_moved(row, *origin) for row in rows])
        elif name == RESULT:
            result = read_json(source / name) or {}
            result["weights"]["requested"] = _last_part(result["weights"]["requested"])
            if "model" in (identity := result.get("identity") or {}):
                identity["model"] |= {"custom": _placeless(identity["model"].get("custom"))}
            if origin is not None:
                result["data"]["name"] = NAMELESS  # the folder's
            write_json(target / name, result)
        else:
            shutil.copyfile(source / name, target / name)


def _read(path: Path) -> tuple[Sequence[str], list[Row]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        return reader.fieldnames or (), list(reader)


def _middle(folders: Sequence[Path]) -> tuple[float, float]:
    """Mean position of all photos that any of the runs was validated on."""
    labels = {
        row["content"]: (float(row["lat_deg"]), float(row["lon_deg"]))
        for folder in folders
        if (folder / PREDICTIONS).is_file()
        for row in _read(folder / PREDICTIONS)[1]
    }
    if not labels:
        raise BadInput("no run has predictions, so there are no positions to move")
    return geo.mean_position(*zip(*(labels[key] for key in sorted(labels)), strict=True))


def _moved(row: Mapping[str, str], lat0: float, lon0: float) -> dict[str, Any]:
    """The row with its positions at the same metres from 0 N, 0 E, without name and time."""
    out: dict[str, Any] = {**row, **dict.fromkeys(PRIVATE, "")}
    out["photo"] = row["content"][:12]
    for prefix in POSITIONS:
        lat, lon = f"{prefix}lat_deg", f"{prefix}lon_deg"
        if row[lat]:
            east, north = geo.to_east_north_m(float(row[lat]), float(row[lon]), lat0, lon0)
            new_lat, new_lon = geo.from_east_north_m(east, north, 0.0, 0.0)
            out |= {lat: repr(float(new_lat)), lon: repr(float(new_lon))}
    return out


def _print(file: TextIO, text: str) -> None:
    file.write(text)
