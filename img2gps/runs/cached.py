"""Find the data set that a run was trained on again, to show its photos."""

from __future__ import annotations

from pathlib import Path

from img2gps.core.paths import cache_folder
from img2gps.photos.dataset import Dataset, find_dataset
from img2gps.runs.folder import read_config_plain
from img2gps.runs.records import read_result


def dataset_of(folder: Path) -> Dataset | None:
    """Open the data set of a run; None where its cache is not on this machine.

    Looks where the run's configuration keeps caches, then where they are kept by default.
    """
    result = read_result(folder)
    if result is None or not result.data.fingerprint:
        return None
    data = read_config_plain(folder).get("data")
    own = data.get("cache") if isinstance(data, dict) else None
    folders = [*([Path(own).expanduser()] if own else []), cache_folder()]
    return find_dataset(result.data.fingerprint, result.data.image_size, folders)
