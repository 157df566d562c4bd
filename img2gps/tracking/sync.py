"""Uploading what W&B lacks, run by run: safe to repeat and to interrupt at any moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from img2gps.config.schema import LoggerConfig, LoggerKind
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json
from img2gps.runs.folder import CONFIG, HISTORY, RESULT, History, list_folders, open_folder
from img2gps.tracking import mirror, session, study, uploads

MIRRORED = (LoggerKind.wandb, LoggerKind.wandb_offline)
NO_ANSWER = "W&B does not answer"
GIVE_UP_AFTER = 2  # runs in a row that the server did not take


@dataclass(frozen=True)
class Options:
    """What to upload, and where to.

    Attributes:
        project, entity: override what the runs' configurations say.
        every: also runs whose logger was csv, none or tensorboard.
        dry_run: only tell.
    """

    project: str | None = None
    entity: str | None = None
    every: bool = False
    dry_run: bool = False

    def of(self, logger: LoggerConfig) -> LoggerConfig:
        """A run's `logger` group, with these options' project and entity."""
        return replace(
            logger,
            project=self.project or logger.project,
            entity=self.entity or logger.entity,
        )


@dataclass(frozen=True)
class Line:
    """What happened with one run."""

    study: str
    run: str
    name: str
    outcome: str  # uploaded | would upload | up to date | skipped | no answer | failed | not tried
    detail: str = ""
    url: str = ""


def sync(root: Path, name: str | None, options: Options) -> Iterator[Line]:
    """Upload what W&B lacks of a study, or of all below `root`, a line for each run.

    Raises:
        BadInput: no such study, or no credentials.
    """
    studies = sorted({folder.parent for folder in list_folders(root)})
    studies = [folder for folder in studies if name in (None, folder.name)]
    files = [file for file in _orphans(root) if name in (None, _study_of(file).name)]
    if not studies and not files:
        there = ", ".join(sorted({folder.parent.name for folder in list_folders(root)}))
        wanted = f"{root / name}: no such study" if name else f"{root}: no runs"
        raise BadInput(f"{wanted}; there are: {there or 'none'}")
    if not options.dry_run:
        session.require_credentials()
    return _lines(root, studies, files, options)


def _lines(root: Path, studies: list[Path], files: list[Path], options: Options) -> Iterator[Line]:
    failures = 0
    for folder in studies:
        for run_folder in list_folders(root):
            if run_folder.parent != folder:
                continue
            if failures >= GIVE_UP_AFTER:
                yield Line(folder.name, run_folder.name, "", "not tried", NO_ANSWER)
                continue
            line = _one(run_folder, options)
            failures = failures + 1 if line.outcome == "no answer" else 0
            yield line
        if failures < GIVE_UP_AFTER:
            yield from _study(root, folder, options)
    for file in files:
        yield _file(file, options, tried=failures < GIVE_UP_AFTER)


def _one(folder: Path, options: Options) -> Line:
    try:
        about = mirror.read(folder)
    except BadInput as error:
        return Line(folder.parent.name, folder.name, "", "skipped", str(error))
    line = Line(folder.parent.name, folder.name, about.name(folder.parent), "skipped")
    logger = options.of(about.logger())
    result = read_json(folder / RESULT) or {}
    epochs = len(History(folder / HISTORY).rows())
    receipt = uploads.Receipt.find(folder, logger)
    if receipt is not None and receipt.covers(result, epochs):
        return replace(line, outcome="up to date", url=receipt.url)
    if logger.kind not in MIRRORED and not options.every:
        return replace(line, detail=f"logger={logger.kind}; --all uploads it too")
    if epochs == 0:
        return replace(line, detail="no epoch yet")
    if options.dry_run:
        return replace(line, outcome="would upload", detail=f"{epochs} epochs")
    try:
        with open_folder(folder):
            return _upload(line, folder, about, logger, receipt)
    except BadInput as error:  # it is running now
        return replace(line, detail=session.short(error))
    except Exception as error:  # the SDK raises all sorts
        return replace(line, outcome=_failure(error), detail=session.short(error))


def _failure(error: Exception) -> str:
    from wandb.errors import Error

    return "no answer" if isinstance(error, Error | TimeoutError) else "failed"


def _upload(
    line: Line,
    folder: Path,
    about: mirror.Description,
    logger: LoggerConfig,
    receipt: uploads.Receipt | None,
) -> Line:
    how = "from the run folder"
    files = uploads.local_files(folder.parent, about.run_id)
    file = files[-1] if files else None
    # Only the offline file has CPU and GPU use. It is tried once and only where nothing is at
    # W&B yet, because W&B would append its epochs to those that are there.
    if logger.system_metrics and receipt is None and file is not None:
        if uploads.is_stump(file):
            how = "from the run folder (the offline file is a stump)"
        elif not uploads.is_synced(file):
            uploads.Receipt.begun(logger, about.run_id).write(folder)
            if uploads.from_file(file, logger):
                how = "offline file, completed from the run folder"
    if receipt is None:
        done = uploads.from_folder(folder, about, logger)
    else:
        there = replace(logger, project=receipt.project, entity=receipt.entity or None)
        done = uploads.from_folder(folder, about, there, receipt.id)
        how = f"completed {how}" if receipt.url else how
    return replace(line, outcome="uploaded", detail=f"{done.epochs} epochs {how}", url=done.url)


def _study(root: Path, folder: Path, options: Options) -> Iterator[Line]:
    """Means of cells and Table 1, in the project of the study's first run."""
    if not (folder / "study.json").is_file():
        return
    first = mirror.of_study(folder)
    if first is None:
        return
    logger = options.of(first.logger())
    if logger.kind not in MIRRORED and not options.every:
        return
    outcome = "would upload" if options.dry_run else "uploaded"
    try:
        for name, epochs in study.publish(folder, logger, [root], dry_run=options.dry_run):
            yield Line(folder.name, "", name, outcome, f"{epochs} epochs" if epochs else "")
    except Exception as error:  # the SDK raises all sorts
        why = session.short(error)
        yield Line(folder.name, "", "means and Table 1", _failure(error), why)


def _orphans(root: Path) -> list[Path]:
    """Offline files whose run folder is gone."""
    found = sorted(root.glob("*/wandb/offline-run-*/run-*.wandb"))
    return [f for f in found if not (_study_of(f) / _run_of(f) / CONFIG).is_file()]


def _file(file: Path, options: Options, *, tried: bool) -> Line:
    line = Line(_study_of(file).name, _run_of(file), "", "skipped")
    if uploads.is_synced(file):
        return replace(line, outcome="up to date", detail="offline file; its run folder is gone")
    if uploads.is_stump(file):
        return replace(line, detail="stump: an offline file with nothing in it")
    if options.dry_run:
        return replace(line, outcome="would upload", detail="offline file; its run folder is gone")
    if not tried:
        return replace(line, outcome="not tried", detail=NO_ANSWER)
    place = LoggerConfig(LoggerKind.wandb, options.project or "", options.entity)
    if uploads.from_file(file, place):
        return replace(line, outcome="uploaded", detail="offline file; its run folder is gone")
    return replace(line, outcome="failed", detail=f"`wandb sync {file.parent}` says why")


def _study_of(file: Path) -> Path:
    return file.parent.parent.parent


def _run_of(file: Path) -> str:
    return file.stem.removeprefix("run-")
