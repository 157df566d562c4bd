"""Hiding what the files of a study say of the user's machine, such as where the photos lie."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from img2gps.runs.records import RunResult, RunState, StudyRecord, StudyRun

PLACE = "DIR"  # stands for a path
NAMELESS = "photos"  # stands for the name of the data set
WITHHELD = "the message is withheld"
_PLACELESS: dict[str, dict[str, Any]] = {
    "data": {"root": None, "cache": None},
    "runs": {"root": "runs", "results": "results"},
}
_DATA_KNOBS = ("data.root", "data.cache")  # their values are places, also without a slash
_TAKE_A_FOLDER = ("--config-dir", "-cd", "--config-path", "-cp")
_KIND_OF_ERROR = re.compile(r"\w*(?:Error|Exception)(?=: |$)")
_SLASHED = re.compile(
    r"(?P<kept>https?://[^\s@]+|\b(?:train|val|best|mean_predictor)/\w+)"
    r"|(?P<quote>['\"])(?:(?!(?P=quote)).)*/.*?(?P=quote)"
    r"|[^\s'\"=,;:()\[\]{}<>]*/[^\s'\"=,;()\[\]{}<>]*(?<![.:])"
)
_ABSOLUTE = re.compile(
    r"(?P<kept>https?://[^\s@]+)"
    r"|(?P<quote>['\"])[~/](?:(?!(?P=quote)).)*(?P=quote)"
    r"|(?<![\w./~*])(?:~[\w.-]*)?/[^\s'\",;()\[\]{}<>]+(?<![.:])"
)


@dataclass(frozen=True)
class Hider:
    """Replaces the paths of the user's machine in the records and configurations of a study.

    Attributes:
        places: paths that the study's configuration names, and what replaces each.
        moved: whether the name of the data set and the messages of errors are hidden too, because
            these may tell where the photos were taken.
    """

    places: dict[str, str]
    moved: bool

    @classmethod
    def of(cls, study: StudyRecord, *, moved: bool) -> Hider:
        """Return a hider that knows the paths in a study's configuration and axes."""
        config = study.base_config
        data, runs = config.get("data") or {}, config.get("runs") or {}
        named = (data.get("root"), data.get("cache"), runs.get("root"), config.get("weights"))
        known = [str(path) for path in (*named, Path.home()) if path and "/" in str(path)]
        varied = dict.fromkeys(_varied_places(study, moved=moved))
        numbered = {place: f"{PLACE}{number}" for number, place in enumerate(varied, 1)}
        return cls({**dict.fromkeys(known, PLACE), **numbered}, moved)

    def study(self, study: StudyRecord) -> StudyRecord:
        """Return a study's record without paths."""
        cleaned = replace(
            study,
            engine=None,
            command=self._command(study.command),
            base_config=self.config(study.base_config),
            runs=[replace(run, reason=self._reason(run)) for run in study.runs],
        )
        found = StudyRecord.from_dict(self.plain(cleaned.to_dict()))
        return replace(found, study=study.study)

    def result(self, result: RunResult) -> RunResult:
        """Return a run's result without paths."""
        weights, identity = result.weights, dict(result.identity)
        if "model" in identity:
            identity["model"] = _without_custom_paths(identity["model"])
        if "metrics" in identity:
            identity["metrics"] = _slashless(identity["metrics"])
        cleaned = replace(
            result,
            reason=self._reason(result),
            absent={what: self._error(why) for what, why in result.absent.items()},
            weights=replace(
                weights,
                requested=_file_name(weights.requested),
                reason=_replaced(_SLASHED, self._known(weights.reason)),
            ),
            identity=identity,
            data=replace(result.data, name=NAMELESS) if self.moved else result.data,
        )
        return replace(RunResult.from_dict(self.plain(cleaned.to_dict())), study=result.study)

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration, or a part of one, without paths."""
        found: dict[str, Any] = {
            key: dict(value) if isinstance(value, Mapping) else value
            for key, value in config.items()
        }
        for group, values in _PLACELESS.items():
            if group in found:
                found[group] |= {key: v for key, v in values.items() if key in found[group]}
        for group in ("data", "model"):
            if group in found:
                found[group] = _without_custom_paths(found[group])
        if found.get("metrics"):
            found["metrics"] = _slashless(found["metrics"])
        if "weights" in found:
            found["weights"] = _file_name(found["weights"])
        if self.moved and "data" in found:
            found["data"]["name"] = NAMELESS
        cleaned: dict[str, Any] = self.plain(found)
        return cleaned

    def plain(self, value: Any) -> Any:
        """Return a JSON value with the absolute and the known paths in its strings replaced."""
        if isinstance(value, str):
            return _replaced(_ABSOLUTE, self._known(value))
        if isinstance(value, Mapping):
            return {self._known(str(key)): self.plain(item) for key, item in value.items()}
        return [self.plain(item) for item in value] if isinstance(value, list) else value

    def _known(self, text: str) -> str:
        if text in self.places:
            return self.places[text]
        for place in sorted(self.places, key=len, reverse=True):
            # A name without a slash may be an ordinary word: only as a knob's value it is a place.
            found = re.escape(place) if "/" in place else rf"(?<==){re.escape(place)}(?=,|$)"
            text = re.sub(found, self.places[place], text)
        return text

    def _command(self, line: str) -> str:
        words = shlex.split(line)
        for i, word in enumerate(words):
            key, sign, value = word.partition("=")
            knob = key.lstrip("+")
            if knob == "data.name" and self.moved:
                words[i] = f"{key}={NAMELESS}"
            elif sign and (knob in _DATA_KNOBS or _is_path(value)):
                words[i] = f"{key}={PLACE}"
            elif not sign and i and words[i - 1] in _TAKE_A_FOLDER:
                words[i] = PLACE
        return shlex.join(words)

    def _reason(self, ended: RunResult | StudyRun) -> str:
        return self._error(ended.reason) if ended.state is RunState.failed else ended.reason

    def _error(self, message: str) -> str:
        """Return an error's message without paths, or its kind alone where it may name a photo."""
        if not self.moved or not message:
            return _replaced(_SLASHED, self._known(message))
        kind = _KIND_OF_ERROR.match(message)
        return f"{kind[0]}: {WITHHELD}" if kind else WITHHELD


def _varied_places(study: StudyRecord, *, moved: bool) -> Iterator[str]:
    """Yield the values that are paths among all that a study varies."""
    always = (*_DATA_KNOBS, "data.name") if moved else _DATA_KNOBS
    for axis, values in study.axes.items():
        for value in values:
            if isinstance(value, str) and (
                axis in always or (axis != "model.name" and _is_path(value))
            ):
                yield value


def _is_path(value: str) -> bool:
    """Return whether a value looks like a path and not like a metric such as val/rmse_m."""
    return "/" in value and not re.fullmatch(r"(train|val)/\w+", value)


def _replaced(paths: re.Pattern[str], text: str) -> str:
    """Replace every path in a text, and keep the quotes around it.

    >>> _replaced(_SLASHED, "No such file: 'my photos/a.jpg' (data.root=/x/y): val/rmse_m unknown")
    "No such file: 'DIR' (data.root=DIR): val/rmse_m unknown"
    """

    def place(found: re.Match[str]) -> str:
        quote = found["quote"] or ""
        return found["kept"] or f"{quote}{PLACE}{quote}"

    return paths.sub(place, text)


def _without_custom_paths(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration group without paths in the arguments of a user's own class."""
    custom = {"custom": _slashless(group["custom"])} if group.get("custom") else {}
    return {**group, **custom}


def _slashless(value: Any) -> Any:
    """Replace every string with a slash in it."""
    if isinstance(value, Mapping):
        return {key: _slashless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_slashless(item) for item in value]
    return PLACE if isinstance(value, str) and "/" in value else value


def _file_name(weights: str) -> str:
    """Return `weights=...` without the folder of a file.

    >>> _file_name("/home/me/own.pth"), _file_name("imagenet")
    ('own.pth', 'imagenet')
    """
    return Path(weights).name
