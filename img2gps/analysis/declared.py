"""What a study file declares for its report: a table that somebody published, and figures.

`hydra.sweeper.reference` and `hydra.sweeper.figures` are checked here when the study is planned
and read again from study.json when it is reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from img2gps.core.errors import BadInput

RMSE = "rmse_m"  # the figure of a cell; every other key of it is a knob
_NEEDS = "give label, source, cells (a list of knobs with rmse_m) and, if known, mean_predictor"
_LINES = "give kind: lines, name, x (a knob), names such as '{line}, batch {x}, {panel}' and start"


@dataclass(frozen=True)
class Reference:
    """A published table to show beside the study's own figures.

    Attributes:
        label: what its columns are headed by.
        source: where it is from and how it differs, for the legend.
        cells: knobs and `rmse_m` of each published cell, in metres.
        mean_predictor: RMSE of the mean predictor on those photos; None where it is not known.
    """

    label: str
    source: str
    cells: Sequence[Mapping[str, Any]]
    mean_predictor: float | None = None

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Reference | None:
        """Read `hydra.sweeper.reference`; None where the study declares none.

        Raises:
            BadInput: it lacks a part, or a figure is no number.
        """
        if not plain:
            return None
        try:
            cells = [{**cell, RMSE: float(cell[RMSE])} for cell in plain["cells"]]
            mean = plain.get("mean_predictor")
            mean = None if mean is None else float(mean)
            return cls(str(plain["label"]), str(plain["source"]), cells, mean)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"hydra.sweeper.reference: cannot be read ({error}); {_NEEDS}") from None

    def rmse_m(self, params: Mapping[str, Any], run: Mapping[Any, Any]) -> float | None:
        """Return the published figure of a cell; None where there is none for it.

        A published cell must name every knob of `params`, which are the cell's own, and agree in
        those and in all that it names besides with `run`, one run of the study.
        """
        known = {**run, **params}
        for cell in self.cells:
            knobs = {knob: value for knob, value in cell.items() if knob != RMSE}
            if set(params) <= set(knobs) and all(
                _same(known.get(knob), value) for knob, value in knobs.items()
            ):
                return float(cell[RMSE])
        return None


@dataclass(frozen=True)
class Lines:
    """A figure of RMSE against a knob, one line for each name that cells have in common.

    Attributes:
        name: of the figure's files.
        x: the knob on the horizontal axis.
        names: how cells' names are read: `{line}` and `{panel}` are parts, `{x}` stands for the
            knob's value.
        start: the `{line}` of the cells from which all lines start; "" where there is none.
    """

    name: str
    x: str
    names: str
    start: str = ""

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Lines:
        """Read one entry of `hydra.sweeper.figures`.

        Raises:
            BadInput: it is no figure that there is.
        """
        try:
            given = {str(key): str(value) for key, value in plain.items()}
            if given.pop("kind") != "lines":
                raise ValueError(f"kind {plain['kind']}")
            found = cls(**given)
            if not re.fullmatch(r"[A-Za-z0-9_-]+", found.name):
                raise ValueError(f"name {found.name}")
            if "{line}" not in found.names:
                raise ValueError("names without {line}")
            twice = [part for part in ("{line}", "{panel}", "{x}") if found.names.count(part) > 1]
            if twice:
                raise ValueError(f"names with {twice[0]} twice")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadInput(f"hydra.sweeper.figures: cannot be read ({error}); {_LINES}") from None
        return found

    def parts(self, name: str) -> dict[str, str] | None:
        """Return the parts of a cell's name; None where it is not of this form.

        >>> Lines("rules", "batch_size", "{line}, batch {x}").parts("lr x k, batch 8")
        {'line': 'lr x k', 'x': '8'}
        """
        pattern = re.sub(r"\\\{(line|panel|x)\\\}", r"(?P<\1>.+?)", re.escape(self.names))
        match = re.fullmatch(pattern, name)
        return match.groupdict() if match else None


def figures(plain: Sequence[Mapping[str, Any]]) -> list[Lines]:
    """Read `hydra.sweeper.figures`.

    Raises:
        BadInput: an entry is no figure that there is.
    """
    return [Lines.from_dict(entry) for entry in plain]


def _same(ours: Any, theirs: Any) -> bool:
    """Return whether two values of a knob are equal; 16 equals 16.0."""
    try:
        return float(ours) == float(theirs)
    except (TypeError, ValueError):
        return str(ours) == str(theirs)
