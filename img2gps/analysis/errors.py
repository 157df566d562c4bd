"""Errors of several runs on the same photos, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.analysis import stats
from img2gps.analysis.answers import read_answers
from img2gps.analysis.stats import Luck, Places, Strays
from img2gps.config.heads import SOLVED_HEADS
from img2gps.config.schema import SplitKind
from img2gps.core import geo
from img2gps.core.nested import flat
from img2gps.runs.folder import PREDICTIONS, read_config_plain
from img2gps.runs.records import PRETRAINED, read_result

BASELINES = ("mean", "knn", "ridge")  # <name>_error_m are their columns

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Errors in metres of several cells on the same photos; NaN where a cell lacks a seed.

    Photos are aligned by content, not by name. `true_error_m` is against the position without GPS
    noise, which only synthetic data know. `solved` says whose heads are solved at once, so that no
    seed changes their answers.
    """

    cells: list[str]
    seeds: list[int]
    photos: list[str]
    error_m: Floats  # (cells, seeds, photos)
    places: Places  # of the photos
    known_spot: Floats  # (photos,): 1, 0 or NaN
    true_error_m: Floats | None  # (cells, seeds, photos)
    left_out: list[int]  # by cell: photos that some other run lacks
    baseline_error_m: dict[str, Floats]  # by name, (cells, photos); NaN where it is not stored
    solved: NDArray[np.bool_]  # (cells,)
    away_m: Floats | None = None  # (2, cells, seeds, photos): how far east and north it answers

    @property
    def seedless(self) -> bool:
        """Whether no seed changes any of these answers."""
        return bool(self.solved.all())

    @cached_property
    def judged_m(self) -> Floats:
        """`error_m`, in which a cell that no seed changes has its one run twice.

        A second seed would answer alike. Seen twice, the run shows this, and no luck is assumed.
        """
        present = np.asarray(~np.isnan(self.error_m).any(axis=2))
        alone = self.solved & (present.sum(axis=1) == 1)
        if not alone.any():
            return self.error_m
        cells, seeds, photos = self.error_m.shape
        judged = np.full((cells, max(seeds, 2), photos), np.nan)
        judged[:, :seeds] = self.error_m
        for cell in np.flatnonzero(alone):
            own = int(present[cell].argmax())
            judged[cell, 0 if own else 1] = self.error_m[cell, own]
        return judged

    def luck_of(self, cell: int) -> Luck:
        """Return the luck of a cell's seeds."""
        return stats.NO_LUCK if self.solved[cell] else self.luck

    @cached_property
    def luck(self) -> Luck:
        """The luck of a seed, as far as these cells show it."""
        if self.seedless:
            return stats.NO_LUCK
        return stats.luck_of(self.error_m[~self.solved], self.places)

    @cached_property
    def strays(self) -> Strays:
        """The runs that went astray, and the share of each cell's runs that is expected to."""
        return stats.strays_of(self.error_m, self.luck, self.solved)

    def luck_without(self, cells: Sequence[int]) -> Luck:
        """Return the luck of a seed as far as the other cells show it."""
        if self.solved[list(cells)].all():
            return stats.NO_LUCK
        others = ~self.solved & ~np.isin(np.arange(len(self.cells)), cells)
        return stats.luck_of(self.error_m[others], self.places) if others.any() else stats.ASSUMED

    @property
    def spot(self) -> NDArray[np.int64]:
        """The spot of each photo."""
        return self.places.spot

    @property
    def n_spots(self) -> int:
        """The number of spots, which are what resampling draws."""
        return len(np.unique(self.spot))


def align(predictions: pd.DataFrame, rows: pd.DataFrame) -> Errors:
    """Return the errors of the runs in `rows` on the photos that all of them have.

    The cells are those that are ranked: the folds of a cell are put together.
    """
    cells = list(dict.fromkeys(rows["rank_cell"]))
    seeds = sorted({int(seed) for seed in rows["seed"]})
    table = predictions[predictions["run"].isin(rows.index)]
    cell = table["run"].map(rows["rank_cell"].map({name: i for i, name in enumerate(cells)}))
    seed = table["run"].map(rows["seed"].map({value: i for i, value in enumerate(seeds)}))
    place = pd.DataFrame({"cell": cell, "seed": seed}, dtype=np.int64)
    place["photo"] = _photos(place, table["content"])
    n_runs = len(place[["cell", "seed"]].drop_duplicates())
    in_all = (place.groupby("photo")["cell"].transform("size") == n_runs).to_numpy()
    lost = np.bincount(place["cell"][~in_all], minlength=len(cells))
    table, place = table[in_all], place[in_all]
    photo, names = pd.factorize(place["photo"])
    first = table[~place["photo"].duplicated().to_numpy()]
    index = (place["cell"].to_numpy(), place["seed"].to_numpy(), photo)
    shape = (len(cells), len(seeds), len(names))
    error = np.full(shape, np.nan)
    error[index] = table["error_m"]
    away = None
    if {"east_m", "north_m"} <= set(table):
        away = np.full((2, *shape), np.nan)
        for axis, column in enumerate(("east_m", "north_m")):
            away[axis][index] = table[column]
    true = None
    if "true_lat_deg" in table and bool(table["true_lat_deg"].notna().all()) and len(table):
        columns = ("true_lat_deg", "true_lon_deg", "pred_lat_deg", "pred_lon_deg")
        true = np.full(shape, np.nan)
        true[index] = geo.distance_m(*(table[column] for column in columns))
    return Errors(
        cells,
        seeds,
        [str(name) for name in first["photo"]],
        error,
        _places(first, rows),
        first["known_spot"].to_numpy(dtype=np.float64),
        true,
        [int(count) for count in lost],
        _baselines(table, place["cell"].to_numpy(), photo, (len(cells), len(names))),
        _solved(rows, cells),
        away,
    )


def _solved(rows: pd.DataFrame, cells: Sequence[str]) -> NDArray[np.bool_]:
    """Return which cells no seed changes."""
    first = rows.drop_duplicates("rank_cell").set_index("rank_cell").loc[list(cells)]
    return np.asarray(solved_runs(first), dtype=np.bool_)


def solved_runs(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return which runs no seed changes: heads that are solved at once, on pretrained features.

    Random features are drawn by the seed.
    """
    if "head" not in rows or "weights/resolved" not in rows:
        return pd.Series(data=False, index=rows.index)
    solved = rows["head"].map(lambda head: set(str(head).split("+")) <= set(SOLVED_HEADS))
    return solved & rows["weights/resolved"].isin(PRETRAINED)


def _places(photos: pd.DataFrame, rows: pd.DataFrame) -> Places:
    at_random = "split/kind" not in rows or bool(rows["split/kind"].eq(SplitKind.random).all())
    return places_of(photos, at_random=at_random)


def places_of(photos: pd.DataFrame, *, at_random: bool) -> Places:
    """Return where photos were taken, with positions unless they were drawn at random."""
    spot = photos["spot"].to_numpy(dtype=np.int64)
    if at_random or photos.empty:
        return Places(spot)
    lat, lon = (photos[name].to_numpy(np.float64) for name in ("lat_deg", "lon_deg"))
    metres = geo.to_east_north_m(lat, lon, *geo.mean_position(lat, lon))
    return Places(spot, np.stack(metres, axis=1))


def _baselines(
    table: pd.DataFrame, cell: NDArray[np.int64], photo: NDArray[np.intp], shape: tuple[int, int]
) -> dict[str, Floats]:
    """Return the errors of the baselines of each cell, which have no seed."""
    found = {}
    for name in BASELINES:
        known = table[name + "_error_m"].notna() if name + "_error_m" in table else pd.Series()
        if known.any():
            found[name] = np.full(shape, np.nan)
            found[name][cell[known], photo[known]] = table.loc[known, name + "_error_m"]
    return found


def _photos(place: pd.DataFrame, content: pd.Series[str]) -> pd.Series[int]:
    """Number the photos, the same in every run.

    Exact duplicates share their content: the k-th of one run belongs to the k-th of another.
    """
    numbered = place.assign(content=pd.factorize(content)[0])
    numbered["copy"] = numbered.groupby(["cell", "seed", "content"], sort=False).cumcount()
    return numbered.groupby(["content", "copy"], sort=False).ngroup()


def align_runs(folders: Sequence[Path]) -> tuple[Errors | None, list[Path]]:
    """Return the errors of two runs, each as a cell, and the folders without readable answers.

    There are no errors where one of them has no answers.
    """
    rows = pd.DataFrame({"folder": list(map(str, folders)), "seed": 0})
    rows["run_id"] = rows["cell"] = rows["rank_cell"] = rows.index.astype(str)
    known = [flat(read_config_plain(folder)) for folder in folders]
    rows["split/kind"] = [config.get("split.kind") for config in known]
    rows["head"] = [config.get("head") for config in known]
    results = [read_result(folder) for folder in folders]
    rows["weights/resolved"] = ["" if one is None else one.weights.resolved for one in results]
    table = read_answers(rows, PREDICTIONS)
    if lacking := [folder for run, folder in enumerate(folders) if run not in set(table["run"])]:
        return None, lacking
    first, second = (table[table["run"] == run] for run in rows.index)
    return align(table.assign(content=pd.concat(common_photos(first, second))), rows), []


def common_photos(
    ours: pd.DataFrame, theirs: pd.DataFrame
) -> tuple[pd.Series[str], pd.Series[str]]:
    """Return what tells the photos of two tables of predictions apart.

    It is their content, or where no content is common, as with other image sizes, their name and
    position.
    """
    if set(ours["content"]) & set(theirs["content"]):
        return ours["content"], theirs["content"]
    first, second = (
        table["photo"]
        + table["lat_deg"].map(" {:.6f}".format)
        + table["lon_deg"].map(" {:.6f}".format)
        for table in (ours, theirs)
    )
    return first, second
