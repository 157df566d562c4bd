"""From study folders to a report: read, measure, draw, and write the page with its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from img2gps.analysis import collect
from img2gps.analysis.answer import sentences
from img2gps.analysis.overview import Analysis, Searched, analyse
from img2gps.analysis.photos import of_photos
from img2gps.analysis.profiles import profiles
from img2gps.analysis.ranking import Ranking
from img2gps.analysis.scene import Scene, scene_of
from img2gps.analysis.study import Study
from img2gps.analysis.suspects import MIN_CELLS, learned, suspects
from img2gps.analysis.tuning import tuning_curve
from img2gps.core.errors import BadInput
from img2gps.core.progress import watched
from img2gps.photos.dataset import Dataset
from img2gps.report import gallery, page, paper, several, tables
from img2gps.report.figures import choose
from img2gps.report.figures.base import Figure, listed, metres, save
from img2gps.report.page import Link, Page
from img2gps.report.steps import next_steps
from img2gps.report.table import Table
from img2gps.runs.cached import dataset_of
from img2gps.runs.records import StudyRecord

_SHOWN_SUSPECTS = 20


def find(name: str, roots: Sequence[Path]) -> Path:
    """Return the folder of a study below the first root that has it.

    Raises:
        BadInput: no root has it; the message lists the studies that there are.
    """
    for root in roots:
        if (root / name).is_dir():
            return root / name
    known = f"there are: {', '.join(names(roots))}"
    raise BadInput(f"study {name!r}: not below {listed([str(r) for r in roots])}; {known}")


def names(roots: Sequence[Path]) -> list[str]:
    """Return the names of all studies below the roots, sorted.

    Raises:
        BadInput: there is none.
    """
    found = sorted({folder.name for root in roots for folder in collect.find_studies(root)})
    if not found:
        below = listed([str(root) for root in roots])
        raise BadInput(
            f"no study and no runs below {below}: nothing to report; run one "
            "(python -m img2gps.train) or give --runs"
        )
    return found


def load(name: str, roots: Sequence[Path]) -> Analysis:
    """Read and measure a study below the first root that has it.

    Raises:
        BadInput: it is not there or damaged.
    """
    return analyse(collect.load_study(find(name, roots), roots))


def figures(analysis: Analysis) -> dict[str, Figure]:
    """Return the figures of the first ranking by name, as the page has them; for notebooks."""
    found = choose.of_study(scene_of(analysis, _first(analysis)))
    return {figure.name: figure for figure in found}


def report(
    studies: Sequence[str],
    *,
    roots: Sequence[Path],
    out: Path,
    importance: Callable[[StudyRecord], Searched | None] = lambda _: None,
) -> Path:
    """Write the report of one study, or of several and their comparison, and return the page.

    Args:
        studies: their names below the roots.
        roots: where run folders are, the first being where new ones go.
        out: `out/<study>/index.html` is written, for several studies `out/<a>+<b>/index.html`.
        importance: of the knobs of a search, which needs Optuna.

    Raises:
        BadInput: a study that is not there or damaged.
    """
    read = [load(name, roots) for name in dict.fromkeys(studies)]
    analyses = [replace(one, searched=importance(one.study.record)) for one in read]
    pages = [_study(found, out / found.study.name) for found in analyses]
    if len(pages) == 1:
        return pages[0]
    folder = out / "+".join(found.study.name for found in analyses)
    return write(several.page_of(analyses, folder), folder)


def _study(analysis: Analysis, folder: Path) -> Path:
    """Write one study's report into `folder`."""
    ranking = _first(analysis)
    dataset = None if ranking is None else _dataset(ranking)
    drawing = scene_of(analysis, ranking, _others(analysis.study, ranking, dataset))
    pack = paper.pack(analysis)
    paper.write(folder, pack)
    shown = _page(analysis, pack)
    shown.sections = _sections(analysis)
    drawn = choose.of_study(drawing)
    shown.figures = drawn
    for figure in watched(drawn, len(drawn), f"figures of {analysis.study.name}"):
        save(figure, folder / "figures")
    if ranking is not None:
        shown.left_out = choose.left_out(drawn)
        shown.gallery = gallery.gallery(of_photos(drawing.winners_predictions), dataset)
        _add_suspects(shown, ranking, analysis.study.predictions, folder)
        _add_curves(shown, drawing, folder)
    return write(shown, folder)


def _first(analysis: Analysis) -> Ranking | None:
    """Return the ranking that answer and figures are about."""
    return analysis.rankings[0] if analysis.rankings else None


def _page(analysis: Analysis, pack: Mapping[str, str]) -> Page:
    """Return the page with all that is text."""
    study = analysis.study
    shown = analysis.rankings[0].group if analysis.rankings else study
    return Page(
        name=study.name,
        question=study.record.question,
        source=str(study.folder),
        answer=answer(analysis),
        counts=study.counts(),
        banners=[tables.SYNTHETIC] if shown.synthetic else [],
        next_steps=next_steps(analysis),
        notes=notes(analysis),
        methods=pack["methods.txt"].splitlines(),
        commands=pack["commands.sh"].splitlines(),
        files=[Link(name, name) for name in pack if "/" not in name],
    )


def _sections(analysis: Analysis) -> list[page.Section]:
    """Return the study's tables by what a reader looks for."""
    layout = (  # anchor, heading, keys of tables begin with, folded
        ("winner", "The winner", ("summary", "radius"), False),
        ("table1", "RMSE by cell", ("table1",), False),
        ("best-epoch", "Best epoch (optimistic)", ("best_epoch",), True),
        ("luck", "Where the luck of a run comes from", ("luck",), False),
        ("cells", "All cells", ("cells", "importance"), True),
        ("missing", "Not complete", ("missing",), False),
    )
    found: dict[str, list[Table]] = {anchor: [] for anchor, *_ in layout}
    for table in tables.study_tables(analysis):
        kind = re.sub(r"^ranking\d+_", "", table.key)
        anchor = next(a for a, _, keys, _ in layout if kind.startswith(keys))
        found[anchor].append(table)
    return [
        page.Section(f"section-{anchor}", title, found[anchor], folded)
        for anchor, title, _, folded in layout
        if found[anchor]
    ]


def write(shown: Page, folder: Path) -> Path:
    """Write the page into `folder`, whole or not at all, and return its path."""
    return paper.write(folder, {"index.html": page.render(shown)})[0]


def answer(analysis: Analysis) -> list[str]:
    """Return the answer in a few sentences, also where nothing can be ranked."""
    if analysis.rankings:
        first, *rest = sentences(analysis.rankings[0])
        if len(analysis.rankings) > 1:
            first = f"{first.removesuffix('.')} ({analysis.rankings[0].group.label})."
        return [first, *rest]
    study = analysis.study
    known = pd.to_numeric(study.column("mean_predictor/rmse_m"), errors="coerce").dropna()
    mean = (
        f"The mean predictor, which looks at no photo, gets {metres(float(known.median()))}."
        if len(known)
        else "What the mean predictor gets will be known once a run has finished."
    )
    states = listed([f"{count} {state}" for state, count in study.counts().items()])
    unsure = "nothing can be compared until runs have finished"
    if not study.finished.empty:
        unsure = f"nothing can be compared, because {study.why_unranked}"
    return [
        f"No answer yet: of {len(study.runs)} planned runs, {states or 'none has begun'}.",
        f"How sure: {unsure}.",
        mean,
    ]


def notes(analysis: Analysis) -> list[str]:
    """Return what a reader must know before believing the numbers."""
    found, ranking = list(analysis.notes), _first(analysis)
    if ranking is not None:
        found += [*ranking.winner.interval.own_notes, *ranking.notes]
        if len(analysis.rankings) > 1:
            found.append(f"Answer and figures: {ranking.group.label}.")
    return list(dict.fromkeys(note[:1].upper() + note[1:] for note in found))


def _dataset(ranking: Ranking) -> Dataset | None:
    """Open the data set of the ranked runs, if its cache is on this machine."""
    return dataset_of(Path(str(ranking.group.runs["folder"].iloc[0])))


def _others(study: Study, ranking: Ranking | None, dataset: Dataset | None) -> pd.DataFrame | None:
    """Return the labels of the photos that no run was validated on; None if not available.

    Folds have none: each trains on what the others are validated on.
    """
    if dataset is None or ranking is None or ranking.group.folds > 1:
        return None
    others = ~dataset.manifest["content"].isin(set(study.predictions["content"]))
    return dataset.manifest.loc[others, ["lat_deg", "lon_deg"]]


def _add_curves(shown: Page, drawing: Scene, folder: Path) -> None:
    """Write the tuning curve and the error profiles of all cells to files beside the page."""
    tuned = tuning_curve(drawing)
    tables = {"profiles.csv": profiles(drawing)}
    if tuned is not None:
        tables["tuning.csv"] = tuned.table
    for name, table in tables.items():
        table.to_csv(folder / name, index=False, lineterminator="\n", float_format="%.7g")
        shown.files.append(Link(name, name))


def _add_suspects(shown: Page, ranking: Ranking, predictions: pd.DataFrame, folder: Path) -> None:
    """Show the first suspects on the page and write all of them to a file beside it."""
    cells = predictions["run"].map(ranking.group.runs["rank_cell"])
    table = predictions.assign(rank_cell=cells).dropna(subset=["rank_cell"])
    found = suspects(table)
    found.to_csv(folder / "suspects.csv", index=False, lineterminator="\n", float_format="%.7g")
    rows = found.head(_SHOWN_SUSPECTS).to_dict("records")
    shown.suspects = [{str(key): value for key, value in row.items()} for row in rows]
    count = len(learned(table))
    shown.no_suspects = (
        "No photo is wrong in most of the cells that beat the mean predictor."
        if count >= MIN_CELLS
        else f"Suspects need {MIN_CELLS} cells that beat the mean predictor; here {count}."
    )
    shown.files.append(Link("suspects.csv", "suspects.csv"))
