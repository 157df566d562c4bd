"""Uploading what W&B lacks, run by run. Safe to repeat, and to interrupt at any moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from img2gps.config.schema import LoggerConfig, LoggerKind
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.core.progress import watched
from img2gps.core.stores import url_of
from img2gps.runs.fetching import noted, send
from img2gps.runs.folder import HISTORY, UPLOADS, History, list_folders, open_folder
from img2gps.runs.records import RESULT, STUDY, StudyRecord, read_result
from img2gps.tracking import cells, content, session, uploads

MIRRORED = (LoggerKind.wandb, LoggerKind.wandb_offline)
GIVE_UP_AFTER = 2  # runs in a row that the server did not take


class Result(StrEnum):
    """What happened to a run's upload."""

    uploaded = "uploaded"
    would_upload = "would upload"
    up_to_date = "up to date"
    skipped = "skipped"
    no_answer = "no answer"
    failed = "failed"
    not_tried = "not tried"

    @property
    def is_missing(self) -> bool:
        """Whether W&B lacks the run for a reason that the user did not choose."""
        return self in (Result.no_answer, Result.failed, Result.not_tried)


@dataclass(frozen=True)
class Options:
    """What to upload, and where to.

    Attributes:
        project, entity: override what the runs' configurations say.
        every: also upload runs that were not mirrored there.
        dry_run: upload nothing, only say what would be uploaded.
    """

    project: str | None = None
    entity: str | None = None
    every: bool = False
    dry_run: bool = False

    def logger(self, about: content.Description) -> LoggerConfig:
        """Return a run's `logger` group, with these options' project and entity."""
        own = about.logger()
        return replace(own, project=self.project or own.project, entity=self.entity or own.entity)

    def includes(self, logger: LoggerConfig) -> bool:
        """Return whether runs with this logger are uploaded."""
        return self.every or not set(MIRRORED).isdisjoint(logger.kinds)


@dataclass(frozen=True)
class Line:
    """What happened with one run."""

    study: str
    run: str
    name: str
    outcome: Result
    detail: str = ""
    url: str = ""


def sync(root: Path, name: str | None, options: Options) -> Iterator[Line]:
    """Upload what W&B lacks of a study, or of all studies below `root`; yield a line for each run.

    Raises:
        BadInput: there is no such study, or there are no credentials.
    """
    chosen = choose_studies(root, name)
    if not options.dry_run:
        session.require_credentials()
    return _lines(chosen, options)


def choose_studies(root: Path, name: str | None) -> dict[Path, list[Path]]:
    """Return the run folders of a study, or of all studies below `root`, by the study's folder.

    Raises:
        BadInput: there is no such study, or there are no runs.
    """
    studies: dict[Path, list[Path]] = {}
    ended_only = url_of(root) is not None  # others may have gone on with the rest
    for folder in list_folders(root):
        if ended_only and not (folder / RESULT).is_file():
            continue
        studies.setdefault(folder.parent, []).append(folder)
    chosen = {folder: runs for folder, runs in studies.items() if name in (None, folder.name)}
    if not chosen:
        there = ", ".join(sorted(folder.name for folder in studies)) or "none"
        wanted = f"{root / name}: no such study" if name else f"{root}: no runs"
        raise BadInput(f"{wanted}; there are: {there}")
    return chosen


def _lines(studies: dict[Path, list[Path]], options: Options) -> Iterator[Line]:
    in_vain = 0
    for study_folder, runs in studies.items():
        study = content.find_study(study_folder)
        for folder in watched(runs, len(runs), f"W&B: {study_folder.name}"):
            if in_vain >= GIVE_UP_AFTER:
                why = "W&B does not answer"
                yield Line(study_folder.name, folder.name, "", Result.not_tried, why)
                continue
            line = _run(folder, study, options)
            in_vain = in_vain + 1 if line.outcome is Result.no_answer else 0
            yield line
            if not options.dry_run:
                _send_receipt(folder, line)
        if in_vain < GIVE_UP_AFTER:
            yield from _cells(study_folder, options)
            if not options.dry_run and (study_folder / UPLOADS).is_file():
                send(study_folder.parent, [f"{study_folder.name}/{UPLOADS}"])


def _send_receipt(folder: Path, line: Line) -> None:
    """Tell the store of an upload, so that other machines do not repeat it."""
    name = f"{folder.parent.name}/{folder.name}/{UPLOADS}"
    lacking = line.outcome is Result.up_to_date and name not in (noted(folder) or {})
    if line.outcome is Result.uploaded or lacking:
        send(folder.parent.parent, [name])


def _run(folder: Path, study: StudyRecord | None, options: Options) -> Line:
    line = Line(folder.parent.name, folder.name, "", Result.skipped)
    try:
        about = content.describe(folder, study)
    except BadInput as error:
        return replace(line, detail=str(error))
    line = replace(line, name=about.name)
    logger = options.logger(about)
    epochs = len(History(folder / HISTORY).rows())
    receipt = uploads.Receipt.find(folder, logger)
    if receipt is not None and receipt.covers(read_result(folder), epochs):
        return replace(line, outcome=Result.up_to_date, url=receipt.url)
    if not options.includes(logger):
        return replace(line, detail=f"logger={logger.kind}; --all uploads it too")
    if epochs == 0:
        return replace(line, detail="no epoch yet")
    if options.dry_run:
        return replace(line, outcome=Result.would_upload, detail=counted(epochs, "epoch"))
    try:
        with open_folder(folder):
            done = _upload(folder, about, logger, receipt)
    except BadInput as error:  # it is running now
        return replace(line, detail=session.short(error))
    except Exception as error:  # the SDK raises all sorts
        return replace(line, outcome=_failure(error), detail=session.short(error))
    how = "added to what was there" if receipt else "from the run folder"
    detail = f"{counted(done.epochs, 'epoch')} {how}"
    return replace(line, outcome=Result.uploaded, detail=detail, url=done.url)


def _upload(
    folder: Path,
    about: content.Description,
    logger: LoggerConfig,
    receipt: uploads.Receipt | None,
) -> uploads.Receipt:
    if receipt is None:
        return uploads.upload(folder, about, logger)
    there = replace(logger, project=receipt.project, entity=receipt.entity or None)
    return uploads.upload(folder, about, there, receipt.id)


def _failure(error: Exception) -> Result:
    from wandb.errors import Error

    return Result.no_answer if isinstance(error, Error | TimeoutError) else Result.failed


def _cells(study_folder: Path, options: Options) -> Iterator[Line]:
    """Upload the means of cells and the table, to the project of the study's first run."""
    first = content.first_run(study_folder) if (study_folder / STUDY).is_file() else None
    if first is None or not options.includes(logger := options.logger(first)):
        return
    outcome = Result.would_upload if options.dry_run else Result.uploaded
    roots = [study_folder.parent]
    try:
        for name, epochs in cells.publish(study_folder, logger, roots, dry_run=options.dry_run):
            detail = counted(epochs, "epoch") if epochs else ""
            yield Line(study_folder.name, "", name, outcome, detail)
    except Exception as error:  # the SDK raises all sorts
        why = session.short(error)
        yield Line(study_folder.name, "", "means and table", _failure(error), why)


def summary(lines: list[Line]) -> str:
    """Return how many runs had each result, such as "3 uploaded, 1 skipped"."""
    counts = Counter(line.outcome for line in lines)
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
