"""A model's errors on photos that it did not learn from: all statements about it use these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from img2gps.config.schema import SplitKind
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.runs.folder import PREDICTIONS, PREDICTIONS_TEST
from img2gps.runs.records import read_result

_AT_RANDOM = ("", SplitKind.random)  # kinds of splits; older runs do not say theirs
_NEEDED = (
    "content",
    "lat_deg",
    "lon_deg",
    "pred_lat_deg",
    "pred_lon_deg",
    "mean_error_m",
    "spot",
    "known_spot",
)


@dataclass(frozen=True)
class HeldOut:
    """Errors of a model, or of the average of several, on photos that it did not learn from.

    Attributes:
        photos: one row a photo with `content`, label, answer, `error_m`, `mean_error_m`, `spot`
            and `known_spot`.
        what: "validation photos", "out-of-fold photos" or "test photos".
        ranked_cells: how many cells were compared on these photos before this one was chosen; 1
            where the photos selected nothing, so that the errors are not flattered.
        at_random: whether the photos were drawn at random from the ground, so that errors at
            neighbouring spots need not be alike.
    """

    photos: pd.DataFrame
    what: str
    ranked_cells: int = 1
    at_random: bool = True

    def without(self, contents: set[str]) -> HeldOut:
        """Return the errors on the other photos, which selected nothing."""
        rest = self.photos[~self.photos["content"].isin(contents)]
        if rest.empty:
            return self
        return HeldOut(rest, f"{self.what} that chose nothing", at_random=self.at_random)

    @property
    def flattered(self) -> bool:
        """Whether the model was chosen by its errors on these very photos."""
        return self.ranked_cells > 1


def validation(folders: Sequence[Path], ranked_cells: int = 1) -> HeldOut:
    """Return the validation errors of the average of some runs.

    A photo is answered by the average of those runs that did not learn from it: by all seeds of
    one split, or by the run of its own fold.
    """
    tables = [_read(folder / PREDICTIONS) for folder in folders]
    sets = {frozenset(table["content"]) for table in tables}
    what = "validation photos" if len(sets) == 1 else "out-of-fold photos"
    results = [read_result(folder) for folder in folders]
    at_random = all(result is None or result.split.kind in _AT_RANDOM for result in results)
    return HeldOut(averaged(tables), what, ranked_cells, at_random)


def tested(folder: Path) -> HeldOut | None:
    """Return the errors on the test part; None where nobody has looked at it."""
    path = folder / PREDICTIONS_TEST
    return HeldOut(averaged([_read(path)]), "test photos") if path.is_file() else None


def averaged(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return one row a photo: the mean answer of the tables that have it, and its error."""
    together = pd.concat(tables, ignore_index=True)
    first = together.groupby("content", sort=True).first()
    base = first["pred_lon_deg"].reindex(together["content"]).to_numpy()
    away = pd.Series(geo.wrap_lon_deg(together["pred_lon_deg"] - base))
    photos = first.reset_index()
    photos["pred_lat_deg"] = together.groupby("content")["pred_lat_deg"].mean().to_numpy()
    photos["pred_lon_deg"] = geo.wrap_lon_deg(
        photos["pred_lon_deg"] + away.groupby(together["content"]).mean().to_numpy()
    )
    photos["error_m"] = geo.distance_m(
        *(photos[name] for name in ("lat_deg", "lon_deg", "pred_lat_deg", "pred_lon_deg"))
    )
    return photos


def rmse_m(error_m: pd.Series[float]) -> float:
    """Return the root mean square of errors in metres."""
    return float(np.sqrt(np.mean(np.square(error_m))))


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"content": str})
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); repeat the run") from error
    if missing := [name for name in _NEEDED if name not in table]:
        raise BadInput(f"{path}: no column {', '.join(missing)}; repeat the run")
    return table
