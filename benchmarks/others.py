"""Ingest, the study's ledger and the report: measured by modules that also stand alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import optuna

from benchmarks import ingest as reading
from benchmarks import ledger as trials
from benchmarks import photos
from benchmarks.harness import Comparison, Row, Settings, watch

LEAST = {"transpose_first": 4.0, "transpose_last": 3.2}
GUARD_COST = 1.05
CALLED = {"transpose_first": "exif_transpose + resize", "transpose_last": "full decode + resize"}


def _measure_ingest(settings: Settings) -> dict[str, Any]:
    if settings.quick:
        folder, rounds, n = photos.folder(12, (96, 72), settings.threads), 1, 4
    else:
        folder = settings.photos or photos.folder(112, photos.LARGE, settings.threads)
        rounds, n = 5, 24
    return reading.compare(sorted(folder.glob("*.jpg"))[:n], 224, settings.threads, rounds)


def _ingest_rows(measured: Mapping[str, Any]) -> list[Row]:
    speed = measured["photos_per_s"]
    return [
        Row(
            f"ingest / {CALLED[way]}, 12-megapixel JPEGs, {measured['threads']} threads",
            f"{ratio:.2f}; {speed['ingest']:.0f} photos/s and {speed[way]:.0f}; mean difference "
            f"{measured['mean_difference_grey_levels'][way]:.2f} grey levels; the most that "
            f"libjpeg can give, with nothing but a decode to an eighth of the size, is "
            f"{measured['most_speed_up'][way]:.2f}",
            f">= {LEAST[way]}",
            ratio >= LEAST[way],
        )
        for way, ratio in measured["speed_up"].items()
    ] + [
        Row(
            f"ingest / the same without worker processes, {measured['threads']} threads",
            f"{cost:.2f}; {speed['ingest']:.0f} photos/s, {speed['unguarded']:.0f}",
            f"<= {GUARD_COST}",
            cost <= GUARD_COST,
        )
        for cost in [measured["guard_cost"]]
    ]


def _measure_ledger(settings: Settings) -> dict[str, Any]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sizes, n = ((10, 20), 5) if settings.quick else ((1000, 10_000), 200)
    return {"sizes": [trials.measure(size, n, None) for size in sizes]}


def _ledger_rows(measured: Mapping[str, Any]) -> list[Row]:
    few, many = measured["sizes"]
    ratio = many["mean_s"] / few["mean_s"]
    return [
        Row(
            f"ledger's cost of a trial at {many['finished']:,} finished / at {few['finished']:,}",
            f"{ratio:.2f}; {1e3 * many['mean_s']:.1f} ms; opening takes {many['opening_s']:.1f} s",
            f"<= {trials.MUST_RATIO:.0f}",
            ratio <= trials.MUST_RATIO and few["mean_s"] < trials.MUST_S,
        )
    ]


def _measure_report(settings: Settings) -> dict[str, Any]:
    runs, epochs = (12, 3) if settings.quick else (1000, 15)
    done = watch(
        [sys.executable, "-m", "benchmarks.report", "--runs", str(runs), "--epochs", str(epochs),
         "--limit", "100000"], {}, settings.threads,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.output[done.output.index("{") :])
    return found


def _report_rows(measured: Mapping[str, Any]) -> list[Row]:
    seconds = measured["seconds"]
    return [
        Row(
            f"`img2gps report` on a study of {measured['runs']:,} runs",
            f"{seconds['report_command']:.1f} s, of processor time "
            f"{seconds['report_command_cpu']:.1f} s",
        )
    ]


ingest = Comparison("Ingest", _measure_ingest, _ingest_rows)
ledger = Comparison("Ledger", _measure_ledger, _ledger_rows)
report = Comparison("Report", _measure_report, _report_rows)
