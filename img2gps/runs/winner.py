"""winner.json: the cell that `img2gps select` has frozen, and how often it was tested.

This module alone reads and writes the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_json
from img2gps.runs.folder import WINNER

SCHEMA = 1


@dataclass(frozen=True)
class Winner:
    """A frozen winner.

    Attributes:
        cell: the cell without its fold.
        where: the values that limited the selection to some cells of the study.
        by: the metric that decided.
        prefer: the aim that `--prefer` named; "" where the study's rule decided.
        front: of a study with several aims, the cells that no other cell beats in all of them,
            each with `cell` and its figures.
        value: the metric, aggregated over the seeds.
        values: the metric for each of `seeds`; the folds of a seed are pooled.
        folds: how many folds the cell has; 0 without a k-fold split.
        seed: the first seed of the study, whose run is deployed.
        run_id, path, run_value: the deployed run, its folder below the runs root, its own figure.
        top: how many of the best cells answer together; 1 for the winning cell alone.
        cells: these cells, the winning one first; empty where it answers alone.
        average: folders below the runs root of the runs whose answers are averaged, the deployed
            one first; empty where that run answers alone.
        average_rmse_m: of their average on photos that they did not learn from.
        average_expected_m: the same, corrected for having been selected on these photos; None
            where the rule is not the mean RMSE, or the cells were not selected among others.
        mean_predictor: RMSE of the mean predictor on the same photos, in metres.
        candidates: cells that took part.
        left_out: cells that lacked a finished run.
        weights: the kinds of weights that the candidates started from.
        val_runs, val_cells: runs of all studies that were validated on the same photos when the
            winner was frozen, and their cells.
        test: figures on the test part; None as long as nobody has looked.
        test_looks: how often the test part was used, with any winner.
        selections: how often a winner was selected.
    """

    study: str = ""
    cell: str = ""
    name: str = ""
    where: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    by: str = "val/rmse_m"
    prefer: str = ""
    front: list[dict[str, Any]] = field(default_factory=list)
    aggregate: str = "mean"
    value: float = 0.0
    values: list[float] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    folds: int = 0
    seed: int = 0
    run_id: str = ""
    path: str = ""
    run_value: float = 0.0
    top: int = 1
    cells: list[str] = field(default_factory=list)
    average: list[str] = field(default_factory=list)
    average_rmse_m: float | None = None
    average_expected_m: float | None = None
    mean_predictor: float | None = None
    candidates: int = 0
    left_out: int = 0
    weights: list[str] = field(default_factory=list)
    val_runs: int = 0
    val_cells: int = 0
    n_test: int = 0
    test: dict[str, Any] | None = None
    test_looks: int = 0
    selections: int = 0
    frozen_at: str = ""

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what winner.json holds; what an older file does not say has its default.

        Raises:
            TypeError: a value is of another type than its default.
        """
        known = {item.name for item in fields(cls)}
        winner = cls(**{k: v for k, v in plain.items() if k in known and v is not None})
        for name, default in vars(cls()).items():
            kinds = (int, float) if isinstance(default, float) else type(default)
            if default is not None and not isinstance(getattr(winner, name), kinds):
                raise TypeError(f"{name} is of the wrong type")
        return winner

    def to_dict(self) -> dict[str, Any]:
        """Return what winner.json holds."""
        return {"schema": SCHEMA, **vars(self)}


def read_winner(study: Path) -> Winner | None:
    """Read the frozen winner from a study's folder; None where there is none.

    Raises:
        BadInput: the file cannot be read, and with it how often the test part was looked at.
    """
    path = study / WINNER
    if not path.exists():
        return None
    plain = read_json(path)
    try:
        if plain is not None:
            return Winner.from_dict(plain)
    except TypeError:
        pass
    raise BadInput(
        f"{path}: not a readable record of a winner; restore it from a copy, or delete it, which "
        "also forgets how often a winner was selected and the test part was looked at"
    )


def write_winner(study: Path, winner: Winner) -> None:
    """Freeze a winner in a study's folder."""
    write_json(study / WINNER, winner.to_dict())
