"""A run against the plain loop, as whole processes: seconds an epoch, in all, and memory.

`benchmarks.plain` and `python -m img2gps.train` take turns on the same photos. An epoch of ours is
from one line of history.csv to the next: training, two validations, checkpoint. The first epoch of
both is not counted. The first process of ours reads the photos into the dataset cache; the others
find it there.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import photos
from benchmarks.harness import Row, Settings, Watched, config, ratios, spread, watch
from img2gps.config.schema import Accelerator
from img2gps.core.paths import cache_folder
from img2gps.training.speed import measure_speed

TITLE = "A run against the plain loop"
EPOCHS = 3
LEAST = {
    "bf16": {("12-megapixel", "resnet18"): 5.0, ("12-megapixel", "resnet50"): 3.5,
             ("224 x 224", "resnet18"): 2.3},
    "fp32": {("12-megapixel", "resnet18"): 3.0, ("12-megapixel", "resnet50"): 2.0},
}  # by what precision=auto takes  # fmt: skip


def compare(
    folder: Path, name: str, *, rounds: int, n_val: int, size: int, settings: Settings
) -> dict[str, Any]:
    """Both ways, in turn."""
    scratch = Path(tempfile.mkdtemp())
    epochs: dict[str, list[float]] = {"plain": [], "ours": []}
    whole: dict[str, list[float]] = {"plain": [], "ours": []}
    memory: dict[str, list[float]] = {"plain": [], "ours": []}
    try:
        speed = cache_folder() / "speed"  # auto is decided once on a machine, not in each epoch
        if speed.is_dir():
            shutil.copytree(speed, scratch / "cache" / "speed")
        for turn in range(rounds):
            what = f"{name}, {len(list(folder.glob('*.jpg')))} photos of {folder.name}"
            found = settings.part(
                f"{what}, round {turn + 1} of {rounds}",
                partial(one_round, folder, name, n_val, size, scratch, turn, settings),
            )
            for way, seen in found.items():
                epochs[way].append(seen["epoch_s"])
                whole[way].append(seen["whole_s"])
                memory[way].append(seen["peak_mb"])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {
        "model": name,
        "photos": len(list(folder.glob("*.jpg"))),
        "epochs": EPOCHS,
        "epoch_s": epochs,
        "whole_s": whole,
        "peak_mb": memory,
        "faster": ratios(epochs["plain"], epochs["ours"]),
        "whole_faster": ratios(whole["plain"], whole["ours"]),
        "memory": ratios(memory["ours"], memory["plain"]),
    }


def one_round(
    folder: Path, name: str, n_val: int, size: int, scratch: Path, turn: int, settings: Settings
) -> dict[str, dict[str, float]]:
    """A process of each way, one after the other."""
    plain = watch(
        [sys.executable, "-m", "benchmarks.plain", str(folder), "--model", name,
         "--epochs", str(EPOCHS), "--n-val", str(n_val), "--size", str(size),
         "--workers", str(settings.threads)],
        {}, None,
    )  # fmt: skip
    said = json.loads(plain.output.strip().splitlines()[-1])
    own = ours(folder, name, n_val, size, scratch, turn, settings)
    epoch_s = {
        "plain": statistics.mean(said["epochs"][1:]),
        "ours": (own.rows_s[-1] - own.rows_s[0]) / (len(own.rows_s) - 1),
    }
    return {
        way: {"epoch_s": epoch_s[way], "whole_s": seen.seconds, "peak_mb": seen.peak_mb}
        for way, seen in (("plain", plain), ("ours", own))
    }


def ours(
    folder: Path, name: str, n_val: int, size: int, scratch: Path, turn: int, settings: Settings
) -> Watched:
    """`python -m img2gps.train` on the same photos."""
    root = scratch / f"runs-{turn}"
    return watch(
        [sys.executable, "-m", "img2gps.train", "data=photos", f"data.root={folder}",
         f"split.n_val={n_val}", f"model={name}", f"max_epochs={EPOCHS}", f"image_size={size}",
         "weights=none", "logger=csv", "baselines=false",
         "trainer.progress_bar=false", f"runs.root={root}"],
        {"IMG2GPS_CACHE": str(scratch / "cache"), "PWD": str(scratch)}, settings.threads,
        rows=(root, "*/*/history.csv"),
    )  # fmt: skip


def measure(settings: Settings) -> dict[str, Any]:
    """Large and small photos, both depths."""
    threads = settings.threads
    chosen_model = config("model=resnet18").model
    auto = measure_speed(chosen_model, 224, Accelerator.auto).precision
    if settings.quick:
        cases = [("small", photos.folder(12, (96, 72), threads), "resnet18")]
        chosen = {"rounds": 1, "n_val": 4, "size": 64}
    else:
        large = settings.photos or photos.folder(112, photos.LARGE, threads)
        small = photos.folder(112, photos.SMALL, threads)
        cases = [
            ("12-megapixel", large, "resnet18"),
            ("12-megapixel", large, "resnet50"),
            ("224 x 224", small, "resnet18"),
        ]
        chosen = {"rounds": settings.rounds or 3, "n_val": 16, "size": 224}
    compared = [
        {"set": kind, **compare(folder, name, **chosen, settings=settings)}
        for kind, folder, name in cases
    ]
    return {"auto": str(auto), "cases": compared}


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """Speed an epoch, whole process, memory."""
    out = []
    for case in measured["cases"]:
        what = f"{case['model']}, {case['photos']} {case['set']} JPEGs"
        least = LEAST[measured["auto"]].get((case["set"], case["model"]))
        epoch, memory = case["epoch_s"], case["peak_mb"]
        out += [
            Row(
                f"epoch of the plain loop / ours, {what}",
                f"{spread(case['faster'])}; {statistics.median(epoch['plain']):.1f} s and "
                f"{statistics.median(epoch['ours']):.1f} s; whole process of {case['epochs']} "
                f"epochs {spread(case['whole_faster'])}",
                f">= {least}" if least else "",
                case["faster"]["median"] >= least if least else None,
            ),
            Row(
                f"peak memory, ours / plain loop, {what}",
                f"{spread(case['memory'])}; {statistics.median(memory['ours']):.0f} MB and "
                f"{statistics.median(memory['plain']):.0f} MB",
                "<= 1.0",
                case["memory"]["median"] <= 1.0,
            ),
        ]
    return out
