"""The files of run folders as tables and flat mappings; nothing of studies."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from img2gps.runs.folder import CONFIG

TEXT_COLUMNS = ("photo", "content", "taken_at")
_TO_ROOT = ("metrics", "swept")  # their keys stand at the root of a row, without a prefix
_LEFT_OUT = ("identity",)  # the configuration once more


def read_config(folder: Path) -> dict[str, Any]:
    """A run's config.yaml as plain data; empty where there is no readable one."""
    try:
        value = yaml.load(
            (folder / CONFIG).read_text(encoding="utf-8"),
            Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),  # noqa: S506 - safe loaders only
        )
    except (OSError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}


def dotted(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as one flat mapping.

    >>> dotted({"lr": 0.1, "split": {"kind": "random"}})
    {'lr': 0.1, 'split.kind': 'random'}
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        flat |= dotted(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def flatten(result: Mapping[str, Any]) -> dict[str, Any]:
    """result.json as one flat row: keys joined by "/", `metrics` and `swept` at the root.

    >>> flatten({"metrics": {"val/rmse_m": 60.0}, "data": {"n": 741}})
    {'val/rmse_m': 60.0, 'data/n': 741}
    """
    flat: dict[str, Any] = {}
    for key, value in result.items():
        if not isinstance(value, Mapping):
            flat[key] = value
        elif key not in (*_TO_ROOT, *_LEFT_OUT):
            flat |= {f"{key}/{name}": item for name, item in flatten(value).items()}
    # `swept` last: a metric called lr is the decayed one
    return {**(result.get("metrics") or {}), **flat, **(result.get("swept") or {})}


def long_table(
    rows: pd.DataFrame, file: str, text_columns: Sequence[str] = TEXT_COLUMNS
) -> pd.DataFrame:
    """One CSV file of many runs as one table, with `run, run_id, cell, seed` in front.

    `run` is the row's index in `rows`. A last line cut short by a kill is left out. Files with the
    same header are parsed in one go: a thousand small files cost as much as one large one.
    """
    texts: dict[str, list[tuple[Any, str]]] = {}
    for run, folder in zip(rows.index, rows["folder"], strict=True):
        try:
            text = (Path(str(folder)) / file).read_text(encoding="utf-8")
        except OSError:
            continue
        header, _, body = text.partition("\n")
        body = body[: body.rfind("\n") + 1]
        if body:
            texts.setdefault(header, []).append((run, body))
    found = [_parsed(header, bodies, text_columns) for header, bodies in texts.items()]
    if not found:
        return pd.DataFrame(columns=["run", "run_id", "cell", "seed"])
    table = pd.concat(found, ignore_index=True)
    front = rows.loc[table["run"], ["run_id", "cell", "seed"]].reset_index(drop=True)
    return pd.concat([table[["run"]], front, table.drop(columns="run")], axis=1)


def _parsed(
    header: str, bodies: Sequence[tuple[Any, str]], text_columns: Sequence[str]
) -> pd.DataFrame:
    """Bodies of CSV files with one header, and which run each row is of."""
    names = next(csv.reader([header]))
    texts = [name for name in names if name in text_columns]
    whole = "".join(body for _, body in bodies)
    counts = [body.count("\n") for _, body in bodies]
    if '"' in whole:  # a quoted name may hold a line break: count what the CSV rules say
        counts = [sum(1 for _ in csv.reader(io.StringIO(body))) for _, body in bodies]
    table = pd.read_csv(
        io.StringIO(whole),
        names=names,
        dtype=dict.fromkeys(texts, str),
        keep_default_na=False,
        na_values={name: [""] for name in names if name not in texts},
    )
    return table.assign(run=np.repeat([run for run, _ in bodies], counts))
