"""The built-in quad as a source."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from img2gps.photos.sources.base import Item, Listing
from img2gps.photos.sources.folder import FolderSource


@dataclass(frozen=True)
class QuadSource:
    """The built-in synthetic quad, rendered once into the cache and then read like a folder."""

    n: int = 741
    width: int | None = None  # None: the scene's own
    height: int | None = None
    seed: int = 0
    part: Literal["main", "test_known", "test_new"] = "main"
    name: str | None = None

    def listing(self, cache_dir: Path, *, threads: int, progress: bool) -> Listing:
        """List the photos of the scene, which are rendered when they are first read."""
        from img2gps.photos import quad

        size = {"width": self.width, "height": self.height}
        chosen = {key: value for key, value in size.items() if value is not None}
        spec = quad.QuadSpec(n=self.n, seed=self.seed, part=self.part, **chosen)
        digest = hashlib.sha256(f"quad {quad.QUAD_VERSION} {spec!r}".encode()).hexdigest()
        folder = cache_dir / f"quad-photos-{digest[:12]}"

        def items() -> Sequence[Item]:
            quad.render(spec, folder, threads=threads, progress=progress)
            with (folder / "truth.csv").open(newline="", encoding="utf-8") as file:
                truth = {row["photo"]: row for row in csv.DictReader(file)}
            photos = FolderSource(folder).listing(cache_dir, threads=threads, progress=progress)
            return [replace(item, columns=_truth(truth[item.photo])) for item in photos.items()]

        return Listing(
            name=self.name or "quad",
            origin="the built-in quad",
            key=digest,
            items=items,
            synthetic=True,
            version=quad.QUAD_VERSION,
        )


def _truth(row: Mapping[str, str]) -> dict[str, Any]:
    return {
        "true_lat_deg": float(row["true_lat_deg"]),
        "true_lon_deg": float(row["true_lon_deg"]),
        "session": row["session"],
    }
