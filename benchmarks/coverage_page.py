"""What the benchmark of coverage has measured: rows that are judged, and the tables of its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from benchmarks.coverage import (
    ALL_KEPT,
    BEST,
    CASES,
    CONDITIONS,
    FALSE_EQUAL,
    FALSE_MARK,
    KINDS,
    LUCKS,
    OF_CROSSED,
    SEEDS,
    SOLVED_KEPT,
    TWO_SIDED,
    crossed_case,
)
from benchmarks.harness import Row

LEAST = 0.95
MOST = 0.05
CROSSING = (
    "The number of seeds crossed with the luck and one condition at a time. The three shares are "
    "those of the interval of a cell, of a difference and of the corrected winner, each of which "
    "must be 93 to 97 %:"
)


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """Return a row for each kind of interval and mark in each case."""
    return [
        Row(f"{case['text']}: {text}", written(kind, case[kind]), *_judged(kind, case[kind]))
        for case in measured["cases"]
        for kind, text in KINDS.items()
        if kind in case
    ]


def _judged(kind: str, share: float) -> tuple[str, bool]:
    if kind in (BEST, ALL_KEPT, SOLVED_KEPT):
        return f"at least {LEAST:.0%}", share >= LEAST
    if kind in (FALSE_MARK, FALSE_EQUAL):
        return f"at most {MOST:.0%}", share <= MOST
    low, high = TWO_SIDED
    return f"{low:.0%} to {high:.0%}", low <= share <= high


def written(kind: str, share: float) -> str:
    """Return a share with as many digits as show that it misses its mark, if it does."""
    short = f"{share:.1%}"
    hidden = _judged(kind, float(short[:-1]) / 100)[1] and not _judged(kind, share)[1]
    return f"{share:.2%}" if hidden else short


def page(measured: Mapping[str, Any]) -> str:
    """Return both tables as Markdown: all figures of some cases, and the crossed ones."""
    return f"{matrix(measured)}\n\n{CROSSING}\n\n{crossing(measured)}"


def matrix(measured: Mapping[str, Any]) -> str:
    """Return the shares as a Markdown table, one row a case; what misses its mark is bold."""
    heads = ["studies with", *KINDS.values()]
    lines = [_line(heads), "|---" + "|---:" * len(KINDS) + "|"]
    whole = {case.text for case in CASES}
    for case in measured["cases"]:
        if case["text"] in whole:
            lines.append(_line([case["text"], *(_entry(case, kind) for kind in KINDS)]))
    return "\n".join([*lines, _line(["must be", *(_judged(kind, 0.0)[0] for kind in KINDS)])])


def crossing(measured: Mapping[str, Any]) -> str:
    """Return the crossed cases as a Markdown table, with a row for each condition and luck."""
    known = {case["text"]: case for case in measured["cases"]}
    seeds = ("1 seed" if number == 1 else f"{number} seeds" for number in SEEDS)
    lines = [_line(["studies with", *seeds]), "|---" + "|---:" * len(SEEDS) + "|"]
    for condition, luck in product(CONDITIONS, LUCKS):
        found = [known.get(crossed_case(condition, luck, number).text) for number in SEEDS]
        entries = [" / ".join(_entry(case or {}, kind) for kind in OF_CROSSED) for case in found]
        lines.append(_line([f"{condition}, luck {100 * luck:g} %", *entries]))
    return "\n".join(lines)


def _entry(case: Mapping[str, Any], kind: str) -> str:
    if kind not in case:
        return "-"
    text = written(kind, case[kind])
    return text if _judged(kind, case[kind])[1] else f"**{text}**"


def _line(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entries)} |"
