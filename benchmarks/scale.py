"""100,000 photos: ingest that stays linear and in bounded memory, a run that stays in the map.

The photos are small JPEGs made when they are read; the seconds include that. They are processor
time, so that they can be compared on a busy machine. A run is given some of its batches only: what
counts is that its memory does not grow with the number of photos.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness import WATCH_S, Row, Settings, watch
from img2gps.photos.sources import Item, Listing

TITLE = "Scale"
SIDE = 64  # px, of the cache
LINEAR = 1.25  # times the seconds a photo of the small set
GROWTH_MB = 300.0  # of anonymous memory: manifest and tables, some KB a photo, but no pixels


@dataclass(frozen=True)
class ManyPhotos:
    """A source of any number of photos; also `data._target_=benchmarks.scale.ManyPhotos`."""

    n: int

    def listing(self, cache_dir: Path, *, threads: int, progress: bool) -> Listing:
        """Photos are made when they are read."""
        return Listing(
            name=f"many-{self.n}",
            origin="generated photos",
            key=f"many {self.n}",
            items=lambda: _Items(self.n),
        )


class _Items(Sequence[Item]):
    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: Any) -> Any:
        if i >= self.n:
            raise IndexError(i)
        place = np.random.default_rng([i, 1]).random(2)
        label = 39.95 + place[0] / 100, -75.19 + place[1] / 100
        return Item(f"{i:06d}.jpg", str(i), lambda: _jpeg(i), label)


def _jpeg(i: int) -> bytes:
    """A picture unlike all others, small enough that making it costs little."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(i).integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
        (96, 72)
    ).save(out, "JPEG")
    return out.getvalue()


def child(n: int, cache: str, threads: int) -> None:
    """Ingest `n` photos; prints processor seconds and the largest anonymous memory, as JSON."""
    from img2gps.photos.ingest import ingest

    peak = [0.0]
    over = threading.Event()

    def look() -> None:
        while not over.wait(WATCH_S):
            peak[0] = max(peak[0], _anonymous_mb())

    thread = threading.Thread(target=look)
    thread.start()
    before, started = _anonymous_mb(), time.process_time()
    found = ingest(ManyPhotos(n), image_size=SIDE, cache_dir=cache, threads=threads, progress=False)
    seconds = time.process_time() - started
    over.set()
    thread.join()
    print(json.dumps({"n": len(found), "cpu_s": seconds, "grown_mb": peak[0] - before}))


def _group(folder: Path, n: int) -> Path:
    """A folder for `--config-dir` in which `data=many` is `ManyPhotos`."""
    path = folder / f"conf-{n}" / "data" / "many.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {
                "_target_": "benchmarks.scale.ManyPhotos",
                "n": n,
                "cache": str(folder),
            }
        )
    )
    return path.parent.parent


def _anonymous_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return float(line.split()[1]) * 1024 / 1e6
    return 0.0


def measure(settings: Settings) -> dict[str, Any]:
    """A small and a large set: ingest, then a run."""
    sizes, batches = ((40, 120), 2) if settings.quick else ((10_000, 100_000), 100)
    ingested, trained = [], []
    with tempfile.TemporaryDirectory() as name:
        for n in sizes:
            done = watch(
                [sys.executable, "-m", "benchmarks.scale", str(n), name,
                 str(settings.threads)], {}, settings.threads,
            )  # fmt: skip
            said = json.loads(done.output.strip().splitlines()[-1])
            ingested.append({**said, "seconds": done.seconds})
            run = watch(
                [sys.executable, "-m", "img2gps.train",
                 "--config-dir", str(_group(Path(name), n)), "data=many",
                 f"image_size={SIDE}", "batch_size=64",
                 "split.n_val=20", "max_epochs=1", f"trainer.limit_train_batches={batches}",
                 "weights=none", "logger=csv", "baselines=false", "trainer.progress_bar=false",
                 f"threads={settings.threads}"], {"PWD": name}, settings.threads,
            )  # fmt: skip
            trained.append(
                {"n": n, "anonymous_mb": run.anonymous_mb, "pixels_mb": n * SIDE**2 * 3 / 1e6,
                 "seconds": run.seconds}
            )  # fmt: skip
    return {"ingest": ingested, "run": trained}


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """Growth from the small to the large set."""
    small, large = measured["ingest"]
    per_photo = (large["cpu_s"] / large["n"]) / (small["cpu_s"] / small["n"])
    few, many = measured["run"]
    growth = many["anonymous_mb"] - few["anonymous_mb"]
    return [
        Row(
            f"ingest, seconds a photo at {large['n']:,} photos / at {small['n']:,}",
            f"{per_photo:.2f}; {1e3 * large['cpu_s'] / large['n']:.2f} ms of processor time a "
            f"photo; memory grows by {large['grown_mb']:.0f} MB and {small['grown_mb']:.0f} MB",
            f"<= {LINEAR}",
            per_photo <= LINEAR,
        ),
        Row(
            f"memory of a run on {many['n']:,} photos beyond that on {few['n']:,}",
            f"{growth:.0f} MB (pixels: {many['pixels_mb']:,.0f} MB)",
            f"<= {GROWTH_MB:.0f} MB",
            growth <= GROWTH_MB,
        ),
    ]


def main() -> None:
    """One ingest."""
    parser = argparse.ArgumentParser(description="ingest many photos")
    parser.add_argument("n", type=int)
    parser.add_argument("cache")
    parser.add_argument("threads", type=int)
    args = parser.parse_args()
    child(args.n, args.cache, args.threads)


if __name__ == "__main__":
    main()
