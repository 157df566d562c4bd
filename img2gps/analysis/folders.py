"""One CSV file of many run folders as one table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

TEXT_COLUMNS = ("photo", "content", "taken_at")


def long_table(
    rows: pd.DataFrame, file: str, text_columns: Sequence[str] = TEXT_COLUMNS
) -> pd.DataFrame:
    """Read one CSV file of many runs as one table, with `run, run_id, cell, seed` in front.

    `run` is the row's index in `rows`. A last line that a kill cut short is left out, and so is a
    file that is no table or has rows longer than its header. What should be a number and is none
    becomes NaN. Files with the same header are parsed together, so that a thousand small files take
    as long as a large one.
    """
    texts: dict[str, list[tuple[Any, str]]] = {}
    for run, folder in zip(rows.index, rows["folder"], strict=True):
        try:
            text = (Path(str(folder)) / file).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError):
            continue
        header, _, body = text.partition("\n")
        body = body[: body.rfind("\n") + 1]
        if body and _fits(header, body):
            texts.setdefault(header, []).append((run, body))
    found = [
        table
        for header, bodies in texts.items()
        for table in _readable(header, bodies, text_columns)
    ]
    if not found:
        return pd.DataFrame(columns=["run", "run_id", "cell", "seed"])
    table = pd.concat(found, ignore_index=True)
    front = rows.loc[table["run"], ["run_id", "cell", "seed"]].reset_index(drop=True)
    return pd.concat([table[["run"]], front, table.drop(columns="run")], axis=1)


def _fits(header: str, body: str) -> bool:
    """Whether no row has more fields than the header; parsing would shift them, or all rows."""
    if '"' not in header + body:
        commas = header.count(",")
        return all(row.count(",") <= commas for row in body.splitlines())
    try:
        rows = list(csv.reader(io.StringIO(f"{header}\n{body}", newline="")))
    except csv.Error:
        return False
    return all(len(row) <= len(rows[0]) for row in rows)


def _readable(
    header: str, bodies: Sequence[tuple[Any, str]], text_columns: Sequence[str]
) -> list[pd.DataFrame]:
    """Parse the bodies of CSV files with one header, without those that are no such table."""
    try:
        return [_parsed(header, bodies, text_columns)]
    except (ValueError, csv.Error):
        if len(bodies) == 1:
            return []
        half = len(bodies) // 2
        parts = bodies[:half], bodies[half:]
        return [table for part in parts for table in _readable(header, part, text_columns)]


def _parsed(
    header: str, bodies: Sequence[tuple[Any, str]], text_columns: Sequence[str]
) -> pd.DataFrame:
    """Parse the bodies of CSV files with one header, and add the run that each row is of."""
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
    for name in table.columns.difference(texts):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table.assign(run=np.repeat([run for run, _ in bodies], counts))
