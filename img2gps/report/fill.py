"""Fill a Markdown document with the numbers of studies, read from their run folders.

The document contains blocks, which may also be part of a line:

    <!-- img2gps: table1 table summary -->
    the text here is replaced
    <!-- /img2gps -->

The name of the study is followed by one of these:

    answer                               the report's four sentences
    table KEY                            a table of the report, such as summary or table1_resnet18
    number NAME                          one number of numbers.tex, such as WinnerRmse
    cell KNOB=VALUE ...                  one cell: RMSE, interval, mean predictor on the same photos
    seconds KNOB=VALUE ...               mean seconds of a run of one cell
    rival [KNOB=VALUE ...]               the strongest answer without training on the photos of one
                                         cell, or of the lowest one: RMSE and name
    beats rival|mean [KNOB=VALUE ...]    whether that cell is shown to be better than its rival, or
                                         than the mean predictor
    versus STUDY                         this study's winner against another's, paired
    contrast A=1 [B=2] vs A=3 [where C=4]    difference of two choices, paired; where it is
                                         significant, with its p value after Holm's correction
                                         for all contrasts of the document
    verdict A=1 [B=2] vs A=3 [where C=4] [within METRES]    what may be said of that difference,
                                         such as "is worse", "is not shown to differ"
    command                              the command that ran the study
    figure NAME                          a figure of the report, such as ranking, with its title;
                                         its file goes into figures/ beside the document
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from img2gps.analysis.baselines import NAMES, Baseline
from img2gps.analysis.choices import ABSENT, NAME, fits, read_choice
from img2gps.analysis.contrast import Contrast, contrast
from img2gps.analysis.overview import Analysis
from img2gps.analysis.ranking import Cell, Ranking
from img2gps.analysis.stats import holm
from img2gps.analysis.wording import span
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.report import build, paper, several, tables
from img2gps.report.figures.base import Figure

FIGURES = "figures"  # the folder beside a document that its figures go into

Kind = Callable[[Analysis, Sequence[str]], str]  # from a study and words to the text of a block

BLOCK = re.compile(
    r"(?P<open><!-- img2gps: (?P<words>[^\n]*?) -->)"
    r"(?P<old>(?:(?!<!-- img2gps: ).)*?)(?P<close><!-- /img2gps -->)",
    re.DOTALL,
)
OPEN = re.compile(r"<!-- img2gps: [^\n]*")


def fill(
    text: str, roots: Sequence[Path], draw: Callable[[str, Figure], None] = lambda *_: None
) -> str:
    """Return the document with new text in every block.

    Args:
        text: the document.
        roots: where studies are looked for.
        draw: is given each figure of the document, with its file's path beside the document.

    Raises:
        BadInput: a block is not closed, or it asks for a study, table, number, cell or figure that
            does not exist.
    """
    if unclosed := OPEN.search(BLOCK.sub("", text)):
        raise BadInput(f"{unclosed[0]}: this block has no end; close it with <!-- /img2gps -->")

    @cache
    def load(name: str) -> Analysis:
        return build.load(name, roots)

    def versus(study: Analysis, words: Sequence[str]) -> str:
        (other,) = words
        return several.difference(load(other), study)

    corrected = _family(text, load)

    def contrasted(study: Analysis, words: Sequence[str]) -> str:
        found, p_value = _contrast(study, words), corrected[study.study.folder.name, *words]
        notes = list(found.notes)
        if _differs(found):
            tests = counted(len(corrected), "contrast")
            notes.append(f"p = {p_value:.2g} after Holm's correction for {tests}")
        return "; ".join([found.difference.removesuffix(")"), *notes]) + ")"

    def judged(study: Analysis, words: Sequence[str]) -> str:
        pair, margin_m = _margin(words)
        if margin_m is not None:
            return _equivalence(_contrast(study, pair, margin_m), margin_m)
        found = _contrast(study, pair)
        return _verdict(found, corrected[study.study.folder.name, *pair])

    drawn = cache(lambda study: build.figures(load(study)))

    def shown(study: Analysis, words: Sequence[str]) -> str:
        (name,) = words
        found = drawn(study.study.name)
        if name not in found:
            raise ValueError(f"no figure {name}; there are {', '.join(found)}")
        path = f"{FIGURES}/{study.study.name}-{name}.svg"
        draw(path, found[name])
        return f"![{found[name].title}]({path})"

    more: dict[str, Kind] = {
        "contrast": contrasted,
        "verdict": judged,
        "versus": versus,
        "figure": shown,
    }
    kinds = {**KINDS, **more}

    def replace(match: re.Match[str]) -> str:
        try:
            name, kind, *words = shlex.split(match["words"])
            found = kinds[kind](load(name), words)
        except (ValueError, KeyError) as error:
            raise BadInput(
                f"<!-- img2gps: {match['words']} -->: cannot be filled ({error}); after the "
                f"study's name comes one of {', '.join(kinds)} and what it takes"
            ) from error
        edge = "\n" if "\n" in match["old"] else ""
        return f"{match['open']}{edge}{found.strip()}{edge}{match['close']}"

    return BLOCK.sub(replace, text)


def _answer(study: Analysis, _: Sequence[str]) -> str:
    return " ".join(build.answer(study))


def _table(study: Analysis, words: Sequence[str]) -> str:
    (key,) = words
    found = {table.key: table for table in tables.study_tables(study)}
    if key not in found:
        raise ValueError(f"no table {key}; there are {', '.join(found)}")
    return found[key].markdown()


def _number(study: Analysis, words: Sequence[str]) -> str:
    (name,) = words
    found = paper.numbers(study)
    if name not in found:
        raise ValueError(f"no number {name}; numbers.tex of the report lists them")
    return found[name]


def _cell(study: Analysis, words: Sequence[str]) -> str:
    ranking, cell = _only_cell(study, words)
    mean = ranking.mean_predictor_of(cell).estimate
    said = [span(cell.interval), f"mean predictor {mean:.1f} m on the same photos"]
    return f"{cell.interval.estimate:.1f} m ({'; '.join([*said, *cell.interval.notes])})"


def _seconds(study: Analysis, words: Sequence[str]) -> str:
    ranking, cell = _only_cell(study, words)
    runs = ranking.group.runs
    seconds = runs.loc[runs["rank_cell"] == cell.cell, "cost/seconds"].astype(float)
    return f"{seconds.mean():.2g}" if seconds.mean() < 10 else f"{seconds.mean():,.0f}"


def _rival(study: Analysis, words: Sequence[str]) -> str:
    strongest = _strongest(*_cell_or_lowest(study, words))
    return f"{strongest.rmse_m:.1f} m ({NAMES[strongest.name]})"


def _strongest(ranking: Ranking, cell: Cell) -> Baseline:
    """Return the lowest of a cell's baselines."""
    place = ranking.errors.cells.index(cell.cell)
    own = [baseline for baseline in ranking.baselines if place in baseline.cells]
    return min(own, key=lambda baseline: baseline.rmse_m)


def _beats(study: Analysis, words: Sequence[str]) -> str:
    against = words[0] if words else ""
    if against not in ("rival", "mean"):
        raise ValueError(f"beats {against}: give rival or mean, such as beats rival lr=0.001")
    ranking, cell = _cell_or_lowest(study, words[1:])
    name = _strongest(ranking, cell).name if against == "rival" else "mean"
    return "is shown to be better" if cell.beats[name] else "is not shown to be better"


def _cell_or_lowest(study: Analysis, words: Sequence[str]) -> tuple[Ranking, Cell]:
    if words:
        return _only_cell(study, words)
    first = study.rankings[0]
    return first, first.winner


def _only_cell(study: Analysis, words: Sequence[str]) -> tuple[Ranking, Cell]:
    """Return the one cell that has these values, and its ranking."""
    wanted = read_choice(words)
    fitting = [
        (ranking, cell)
        for ranking in study.rankings
        for cell in ranking.cells
        if all(
            fits(cell.name if knob == NAME else cell.params.get(knob, ABSENT), value) is not None
            for knob, value in wanted.items()
        )
    ]
    if len(fitting) != 1:
        raise ValueError(f"{len(fitting)} cells fit {' '.join(words)}")
    return fitting[0]


def _family(text: str, load: Callable[[str], Analysis]) -> dict[tuple[str, ...], float]:
    """Return the p values of all contrasts of a document, corrected as one family."""
    found: dict[tuple[str, ...], float] = {}
    for match in BLOCK.finditer(text):
        try:
            words = shlex.split(match["words"]) if " vs " in match["words"] else []
            pair, margin_m = _margin(words[2:])
        except ValueError:
            continue  # filling it says what is wrong
        if words[1:2] in (["contrast"], ["verdict"]) and margin_m is None:
            p_value = _contrast(load(words[0]), pair).interval.p_value
            found[words[0], *pair] = 1.0 if math.isnan(p_value) else p_value
    return dict(zip(found, holm(list(found.values())), strict=True))


def _verdict(found: Contrast, corrected_p: float) -> str:
    """Return what a difference allows to say, given its p value among all of the document."""
    if math.isnan(found.interval.p_value):
        return "has no interval"
    if _differs(found):
        word = "better" if found.interval.estimate < 0 else "worse"
        return f"is {word}" if corrected_p < 0.05 else f"may be {word} (a hint)"
    return "is not shown to differ"


def _differs(found: Contrast) -> bool:
    """Return whether both the bootstrap's interval and Student's t tell a difference from 0."""
    return found.interval.p_value < 0.05 and found.interval.low * found.interval.high > 0


def _equivalence(found: Contrast, margin_m: float) -> str:
    assert found.equivalence is not None
    shown = "is" if found.equivalence.shown else "is not shown to be"
    return f"{shown} equivalent within {margin_m:g} m"


def _margin(words: Sequence[str]) -> tuple[Sequence[str], float | None]:
    """Return the choices, and the margin behind `within`."""
    if list(words[-2:-1]) != ["within"]:
        return words, None
    margin_m = float(words[-1])
    if not margin_m > 0:
        raise ValueError(f"within {words[-1]}: give metres above 0")
    return words[:-2], margin_m


def _contrast(study: Analysis, words: Sequence[str], margin_m: float | None = None) -> Contrast:
    parts: list[list[str]] = [[]]
    for word in words:
        if word in ("vs", "where"):
            parts.append([])
        else:
            parts[-1].append(word)
    this, that, where = (*map(read_choice, parts), {})[:3]
    return contrast(study.study, this, that, where, margin_m)


def _command(study: Analysis, _: Sequence[str]) -> str:
    return f"```sh\n{study.study.record.command}\n```"


KINDS: dict[str, Kind] = {
    "answer": _answer,
    "table": _table,
    "number": _number,
    "cell": _cell,
    "seconds": _seconds,
    "rival": _rival,
    "beats": _beats,
    "command": _command,
}
