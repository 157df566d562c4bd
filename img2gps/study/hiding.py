"""Hiding what the files of a study say of the user's machine, such as where the photos are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from img2gps.config.schema import COSTS
from img2gps.runs.records import RunResult, StudyRecord, StudyRun
from img2gps.runs.states import RunState
from img2gps.runs.winner import Winner

PLACE = "DIR"  # stands for a path
NAMELESS = "photos"  # stands for the name of the data set
WITHHELD = "the message is withheld"
_PLACELESS: dict[str, dict[str, Any]] = {
    "data": {"root": None, "cache": None},
    "runs": {"root": "runs", "results": "results"},
}
_DATA_KNOBS = ("data.root", "data.cache")  # their values are paths, even without a slash
_TAKE_A_FOLDER = ("--config-dir", "-cd", "--config-path", "-cp")
_KIND_OF_ERROR = re.compile(r"\w*(?:Error|Exception)(?=: |$)")
_SLASHED = re.compile(
    r"(?P<kept>https?://(?!\S*@)\S+|hf[-_]hub:\S+|(?P<aims>['\"])monitor=\[[\w/,]*\](?P=aims)"
    r"|(?<![\w/])(?:(?:train|val|best|mean_predictor)/\w+|" + "|".join(COSTS) + r")(?![\w/]))"
    r"|(?:\b[A-Za-z]:\\|\\\\)[^\s'\"]+"
    r"|(?P<quote>['\"])(?:(?!(?P=quote)).)*/.*?(?P=quote)"
    r"|[^\s'\"=,;:()\[\]{}<>]*/[^\s'\"=,;()\[\]{}<>]*(?<![.:])"
)


@dataclass(frozen=True)
class Hider:
    """Replaces the user's paths in the records and configurations of a study.

    Attributes:
        known: paths that the study names, and what replaces each. Only these are found where they
            contain spaces, or no slash.
        moved: whether the name of the data set and the messages of errors are hidden too, because
            these may tell where the photos were taken.
    """

    known: dict[str, str]
    moved: bool

    @classmethod
    def of(cls, study: StudyRecord, *, moved: bool) -> Hider:
        """Return a hider that knows the paths in a study's configuration and axes."""
        data = study.base_config.get("data") or {}
        named = (data.get("root"), data.get("cache"), study.base_config.get("weights"))
        paths = [path for path in (*named, str(Path.home())) if path and "/" in path]
        varied = dict.fromkeys(_varied_paths(study, moved=moved))
        numbered = {path: f"{PLACE}{number}" for number, path in enumerate(varied, 1)}
        return cls({**dict.fromkeys(paths, PLACE), **numbered}, moved)

    def study(self, study: StudyRecord) -> StudyRecord:
        """Return a study's record without paths. What people wrote in their own words stays."""
        cleaned = replace(
            study,
            engine=None,
            command=self._command(study.command),
            base_config=self.config(study.base_config),
            runs=[replace(run, reason=self._reason(run)) for run in study.runs],
        )
        found = StudyRecord.from_dict(self.plain(cleaned.to_dict()))
        both = zip(found.runs, study.runs, strict=True)
        runs = [replace(run, name=old.name, path=old.path) for run, old in both]
        return replace(found, study=study.study, question=study.question, runs=runs)

    def result(self, result: RunResult) -> RunResult:
        """Return a run's result without paths."""
        weights = replace(result.weights, requested=_file_name(result.weights.requested))
        cleaned = replace(
            result,
            reason=self._reason(result),
            absent={what: self._error(why) for what, why in result.absent.items()},
            weights=weights,
            data=replace(result.data, name=NAMELESS) if self.moved else result.data,
        )
        return replace(RunResult.from_dict(self.plain(cleaned.to_dict())), study=result.study)

    def winner(self, winner: Winner) -> Winner:
        """Return a frozen winner without paths."""
        found = Winner.from_dict(self.plain(winner.to_dict()))
        return replace(
            found,
            study=winner.study,
            name=winner.name,
            path=winner.path,
            average=winner.average,
        )

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration, or a part of one, without paths."""
        found: dict[str, Any] = {
            key: dict(value) if isinstance(value, Mapping) else value
            for key, value in config.items()
        }
        for group, values in _PLACELESS.items():
            if group in found:
                found[group] |= {key: v for key, v in values.items() if key in found[group]}
        if "weights" in found:
            found["weights"] = _file_name(found["weights"])
        if self.moved and "data" in found:
            found["data"]["name"] = NAMELESS
        cleaned: dict[str, Any] = self.plain(found)
        return cleaned

    def plain(self, value: Any) -> Any:
        """Return a JSON value with every path in its strings replaced."""
        if isinstance(value, str):
            return _without_paths(self._without_known(value))
        if isinstance(value, Mapping):
            return {self._without_known(str(key)): self.plain(v) for key, v in value.items()}
        return [self.plain(item) for item in value] if isinstance(value, list) else value

    def _without_known(self, text: str) -> str:
        if text in self.known:
            return self.known[text]
        for path in sorted(self.known, key=len, reverse=True):
            # Without a slash it may be an ordinary word, and is a path only as a knob's value.
            found = re.escape(path) if "/" in path else rf"(?<==){re.escape(path)}(?=,|$)"
            text = re.sub(found, self.known[path], text)
        return text

    def _command(self, line: str) -> str:
        words = shlex.split(line)
        for i, word in enumerate(words):
            key, sign, value = word.partition("=")
            knob = key.lstrip("+")
            if knob == "data.name" and self.moved:
                words[i] = f"{key}={NAMELESS}"
            elif sign and (knob in _DATA_KNOBS or _without_paths(value) != value):
                words[i] = f"{key}={PLACE}"
            elif not sign and i and words[i - 1] in _TAKE_A_FOLDER:
                words[i] = PLACE
        return shlex.join(words)

    def _reason(self, ended: RunResult | StudyRun) -> str:
        return self._error(ended.reason) if ended.state is RunState.failed else ended.reason

    def _error(self, message: str) -> str:
        """Return an error's message, or its kind alone where the message may name a photo."""
        if not self.moved or not message:
            return message
        kind = _KIND_OF_ERROR.match(message)
        return f"{kind[0]}: {WITHHELD}" if kind else WITHHELD


def _varied_paths(study: StudyRecord, *, moved: bool) -> Iterator[str]:
    """Yield the paths among the values that a study varies."""
    always = (*_DATA_KNOBS, "data.name") if moved else _DATA_KNOBS
    for axis, values in study.axes.items():
        for value in values:
            if isinstance(value, str) and (axis in always or _without_paths(value) != value):
                yield value


def _without_paths(text: str) -> str:
    """Replace every path in a text, and keep the quotes around it.

    >>> _without_paths("No such file: 'my photos/a.jpg' (data.root=/x/y): val/rmse_m unknown")
    "No such file: 'DIR' (data.root=DIR): val/rmse_m unknown"
    """

    def replacement(found: re.Match[str]) -> str:
        quote = found["quote"] or ""
        return found["kept"] or f"{quote}{PLACE}{quote}"

    return _SLASHED.sub(replacement, text)


def _file_name(weights: str) -> str:
    """Return `weights=...` without the folder of a file.

    >>> _file_name("/home/me/own.pth"), _file_name("imagenet")
    ('own.pth', 'imagenet')
    """
    return Path(weights).name
