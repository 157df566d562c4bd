"""Warnings about runs that are ranked together although more than their cells differs."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from img2gps.core.counted import counted

_ALIKE = {
    "data/fingerprint": "data fingerprints",
    "code/version": "code versions",
    "code/commit": "code commits",
    "precision": "precisions",
}


def mixtures(rows: pd.DataFrame) -> list[str]:
    """Return what a reader must know about the runs of one ranking."""
    found = [_different(rows[column], what) for column, what in _ALIKE.items() if column in rows]
    if "hardware/gpu" in rows:
        found.append(_different(rows["hardware/gpu"].replace("", "the processor"), "devices"))
    if "weights/resolved" in rows and bool((rows["weights/resolved"] == "random").any()):
        reasons = ", ".join(filter(None, dict.fromkeys(rows["weights/reason"].dropna())))
        found.append(f"the requested weights were not available ({reasons}): trained from scratch")
    if "absent/baselines" in rows and bool((missing := rows["absent/baselines"].dropna()).size):
        why = ", ".join(dict.fromkeys(missing.astype(str)))
        found.append(f"{counted(len(missing), 'run')} without baselines ({why})")
    if "code/dirty" in rows and (count := int(rows["code/dirty"].eq(True).sum())):
        were = "was" if count == 1 else "were"
        found.append(f"{counted(count, 'run')} {were} made with uncommitted changes to the code")
    return [warning for warning in found if warning]


def _different(values: pd.Series[str], what: str) -> str:
    counts = Counter(values.fillna("unknown").astype(str))
    if len(counts) < 2:
        return ""
    shown = (value[:7] if what == "code commits" else value for value in counts)
    parts = [
        f"{value} ({counted(n, 'run')})" for value, n in zip(shown, counts.values(), strict=True)
    ]
    return f"runs of different {what} in one ranking: {', '.join(parts)}"
