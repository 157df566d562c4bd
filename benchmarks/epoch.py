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
from pathlib import Path
from typing import Any

from benchmarks import photos
from benchmarks.harness import Row, Settings, Watched, ratios, spread, watch
from img2gps.training import devices

TITLE = "A run against the plain loop"
EPOCHS = 3
LEAST = {("12-megapixel", "resnet18"): 5.0, ("12-megapixel", "resnet50"): 3.5,
         ("224 x 224", "resnet18"): 2.3}  # fmt: skip


def compare(
    folder: Path, name: str, *, rounds: int, n_val: int, size: int, settings: Settings
) -> dict[str, Any]:
    """Both ways, in turn."""
    scratch = Path(tempfile.mkdtemp())
    epochs: dict[str, list[float]] = {"plain": [], "ours": []}
    whole: dict[str, list[float]] = {"plain": [], "ours": []}
    memory: dict[str, list[float]] = {"plain": [], "ours": []}
    try:
        for turn in range(rounds):
            plain = watch(
                [sys.executable, "-m", "benchmarks.plain", str(folder), "--model", name,
                 "--epochs", str(EPOCHS), "--n-val", str(n_val), "--size", str(size),
                 "--threads", str(settings.threads), "--workers", str(settings.threads)],
                {}, settings.threads,
            )  # fmt: skip
            own = ours(folder, name, n_val, size, scratch, turn, settings)
            said = json.loads(plain.output.strip().splitlines()[-1])
            epochs["plain"].append(statistics.mean(said["epochs"][1:]))
            epochs["ours"].append((own.rows_s[-1] - own.rows_s[0]) / (len(own.rows_s) - 1))
            for way, seen in (("plain", plain), ("ours", own)):
                whole[way].append(seen.seconds)
                memory[way].append(seen.peak_mb)
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


def ours(
    folder: Path, name: str, n_val: int, size: int, scratch: Path, turn: int, settings: Settings
) -> Watched:
    """`python -m img2gps.train` on the same photos."""
    root = scratch / f"runs-{turn}"
    return watch(
        [sys.executable, "-m", "img2gps.train", "data=photos", f"data.root={folder}",
         f"split.n_val={n_val}", f"model={name}", f"max_epochs={EPOCHS}", f"image_size={size}",
         f"threads={settings.threads}", "weights=none", "logger=csv", "baselines=false",
         "trainer.progress_bar=false", f"runs.root={root}"],
        {"IMG2GPS_CACHE": str(scratch / "cache"), "PWD": str(scratch)}, settings.threads,
        rows=(root, "*/*/history.csv"),
    )  # fmt: skip


def measure(settings: Settings) -> dict[str, Any]:
    """Large and small photos, both depths."""
    native = devices.native_bf16()
    threads = settings.threads
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
    return {"native_bf16": native, "cases": compared}


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """Speed an epoch, whole process, memory."""
    out = []
    for case in measured["cases"]:
        what = f"{case['model']}, {case['photos']} {case['set']} JPEGs"
        least = LEAST.get((case["set"], case["model"])) if measured["native_bf16"] else None
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
