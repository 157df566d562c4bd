"""What this machine takes out of a store: a run to go on with, or the runs that a command reads.

Every folder notes what the store listed when the two were last the same. If the store lists the
same again, nobody else has sent anything since, and the folder is as new or newer.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import tarfile
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from img2gps.core import process
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_json
from img2gps.core.stores import MARK
from img2gps.runs.folder import (
    CHECKPOINT,
    NOTE,
    SUBMISSIONS,
    UPLOADS,
    WINNER,
    Locked,
    RunFolder,
    has_weights,
    open_folder,
)
from img2gps.runs.records import RESULT, STUDY, read_result, read_study, read_study_file
from img2gps.runs.store import Store, Vanished, patiently

log = logging.getLogger(__name__)

PROGRESS = "progress.tar"  # in the store: a run under way
AT_ONCE = 200  # runs that are locked and fetched together
READING_PATIENCE_S = 30.0
AGAIN_S = 5.0  # between two looks at the record of a study that is followed
PROBE = ".writable"  # in the store; not MARK, so that a copy of the store is a plain folder
RECORDS = (STUDY, WINNER, UPLOADS, *SUBMISSIONS)  # of a study, beside its runs
LISTED_S = 300.0  # after which a listing is made again to look for single runs

Listing = dict[str, str]


def note(folder: Path, listed: Listing) -> None:
    """Note that a folder is the same as what the store lists of it."""
    write_json(folder / NOTE, listed)


def noted(folder: Path) -> Listing | None:
    """Return what the store listed when the folder was last the same; None if it never was."""
    return read_json(folder / NOTE)


def fetch_run(folder: RunFolder, store: Store, name: str) -> None:
    """Bring a run's folder to what the store has, if another machine has changed that.

    The weights of a run that is never repeated are left to `fetch_weights`.
    """
    listed = store.listing(name)
    if not listed or listed == noted(folder.path):
        return
    result, progress = f"{name}/{RESULT}", f"{name}/{PROGRESS}"
    ended = result in listed and has_ended(store, result)
    folder.clear()
    if progress in listed and not ended:
        packed = folder.path / f".{PROGRESS}"
        store.get(progress, packed)
        _unpack(packed, folder.path)
        packed.unlink()
    else:
        without = {progress, f"{name}/{CHECKPOINT}"} if ended else {progress}
        for file in sorted(listed.keys() - without, key=lambda file: file == result):
            store.get(file, folder.path / file.removeprefix(f"{name}/"))
    note(folder.path, listed)


def has_ended(store: Store, result: str) -> bool:
    """Whether a result.json in the store is that of a run which is never repeated."""
    with tempfile.TemporaryDirectory() as folder:
        store.get(result, Path(folder) / RESULT)
        found = read_result(Path(folder))
    return found is not None and found.state.is_final


def _unpack(packed: Path, to: Path) -> None:
    with tarfile.open(packed) as archive:
        for member in archive:
            content = archive.extractfile(member)
            path = to / member.name
            if content is not None and path.resolve().is_relative_to(to.resolve()):
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(content, file)


def fetch_weights(folder: Path) -> None:
    """Fetch the checkpoint of a run that has ended, where the store has it and this machine not.

    Raises:
        StoreAway: the store cannot be reached.
    """
    store = Store.of(folder.parent.parent)
    if store is not None and not (folder / CHECKPOINT).is_file() and has_weights(folder):
        log.info("fetching the weights of %s from %s", folder.name, store.url)
        name = f"{folder.parent.name}/{folder.name}/{CHECKPOINT}"
        patiently(lambda: store.get(name, folder / CHECKPOINT), store)


def fetch(root: Path, study: str | None = None, *, runs: bool = True) -> None:
    """Bring a local copy to what its store has of runs that have ended, with one listing.

    Does nothing where `root` is a plain folder.

    Args:
        root: the folder of runs.
        study: the study whose runs are wanted; None for all.
        runs: whether more is wanted than the records of studies.

    Raises:
        StoreAway: the store cannot be reached.
    """
    store = Store.of(root)
    if store is None:
        return
    listed = patiently(store.listing, store, first=True, patience_s=READING_PATIENCE_S)
    records, folders = _sorted(listed)
    for name, own in records.items():
        if study in (None, name):
            patiently(partial(_fetch_record, root, store, name, own), store)
    if runs:
        wanted = folders if study is None else _of_study(root, study, folders)
        fetch_folders(root, store, wanted)


@contextmanager
def fetched_again(root: Path, study: str) -> Iterator[None]:
    """Fetch a study's record again and again in the block, and runs when more have ended.

    Does nothing in a plain folder. While the store cannot be reached, the newest record stays.
    """
    store, stopped = Store.of(root), threading.Event()
    if store is None:
        yield
        return

    def work() -> None:
        ended = _ended(root, study)
        while not stopped.wait(AGAIN_S):
            with suppress(Exception):  # whatever a store raises; the next try is soon
                _fetch_newest(root, store, study)
                if (now := _ended(root, study)) != ended:
                    fetch(root, study)
                    if not _is_worked_on(root / study):
                        _as_fetched(root / study)  # for a page that looks when it changed
                    ended = now

    threading.Thread(target=work, name="store", daemon=True).start()
    try:
        yield
    finally:
        stopped.set()


def _fetch_newest(root: Path, store: Store, study: str) -> None:
    """Fetch a study's record, unless this machine writes it, with a single request."""
    if not _is_worked_on(root / study):
        store.get(f"{study}/{STUDY}", root / study / STUDY)
        _as_fetched(root / study)


def _as_fetched(folder: Path) -> None:
    """Give a record and the note of its copy one time, by which it is known to be a copy."""
    now = time.time_ns()
    for name in (STUDY, NOTE):
        with suppress(FileNotFoundError, PermissionError):  # the latter of another user's file
            os.utime(folder / name, ns=(now, now))


def _ended(root: Path, study: str) -> int:
    return sum(run.state.has_ended for run in read_study(root, study).runs)


class Finder:
    """Fetches runs by their ids, in whatever study of a store they lie.

    A run that is made at the moment is fetched by whoever makes it, so a listing may be old.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._store = root, Store.of(root)
        self._folders: dict[str, Listing] = {}
        self._listed_at = -math.inf

    def fetch(self, run_ids: Collection[str]) -> None:
        """Fetch those of the runs that have ended. Does nothing in a plain folder.

        Raises:
            StoreAway: the store cannot be reached.
        """
        if self._store is None:
            return
        if len(run_ids) > 1 or time.monotonic() - self._listed_at > LISTED_S:
            _, self._folders = _sorted(patiently(self._store.listing, self._store, first=True))
            self._listed_at = time.monotonic()
        ids = set(run_ids)
        found = {n: own for n, own in self._folders.items() if n.partition("/")[2] in ids}
        fetch_folders(self._root, self._store, found)


def fetch_folders(root: Path, store: Store, folders: dict[str, Listing]) -> None:
    """Fetch runs that have ended, without their weights, many files at once."""
    new = [name for name, own in folders.items() if _is_wanted(root, name, own)]
    if new:
        log.info("fetching %s from %s", counted(len(new), "run"), store.url)
    for start in range(0, len(new), AT_ONCE):
        some = {name: folders[name] for name in new[start : start + AT_ONCE]}
        patiently(partial(_fetch_some, root, store, some), store)


def _sorted(listed: Listing) -> tuple[dict[str, Listing], dict[str, Listing]]:
    """Return the files of each study's own, and those of each run that has ended."""
    records: dict[str, Listing] = defaultdict(dict)
    folders: dict[str, Listing] = defaultdict(dict)
    for name, signature in listed.items():
        match name.split("/"):
            case [study, record] if record in RECORDS:
                records[study][name] = signature
            case [study, run, *_, _]:
                folders[f"{study}/{run}"][name] = signature
    ended = {name: own for name, own in folders.items() if f"{name}/{RESULT}" in own}
    return records, ended


def _of_study(root: Path, study: str, folders: dict[str, Listing]) -> dict[str, Listing]:
    """Return a study's runs, and those of other studies that it links."""
    path = root / study / STUDY
    linked = {run.path for run in read_study_file(path).runs} if path.is_file() else set()
    return {n: own for n, own in folders.items() if n.startswith(f"{study}/") or n in linked}


def _is_wanted(root: Path, name: str, own: Listing) -> bool:
    before = noted(root / name)
    if before is not None:
        return before != own
    result = read_result(root / name)
    return result is None or not result.state.is_final  # else it ended here and is yet to be sent


def _fetch_record(root: Path, store: Store, study: str, own: Listing) -> None:
    """Fetch the records of a study, unless this machine writes them at the moment."""
    folder = root / study
    if own == noted(folder) or _is_worked_on(folder):
        return
    for name in own:
        store.get(name, root / name)
    note(folder, own)
    _as_fetched(folder)


def _is_worked_on(folder: Path) -> bool:
    """Whether an engine of this machine writes this copy of a record.

    It does if the record has changed since it was fetched. Otherwise the engine writes another
    copy, such as that of another user, and sends it to the store.
    """
    record, fetched = folder / STUDY, folder / NOTE
    engine = read_study_file(record).engine if record.is_file() else None
    if not process.is_local(engine) or process.known_dead(engine):
        return False
    return not fetched.is_file() or record.stat().st_mtime_ns != fetched.stat().st_mtime_ns


def _fetch_some(root: Path, store: Store, folders: dict[str, Listing]) -> None:
    with ExitStack() as locks:
        wanted: dict[str, Path] = {}
        mine = []
        for name, own in folders.items():
            try:
                folder = locks.enter_context(open_folder(root / name))
            except Locked:  # it is being trained or fetched here
                continue
            folder.clear()
            mine.append(name)
            weights, progress = f"{name}/{CHECKPOINT}", f"{name}/{PROGRESS}"
            wanted |= {file: root / file for file in own.keys() - {weights, progress}}
        results = [f"{name}/{RESULT}" for name in mine]
        try:
            store.get_all({file: path for file, path in wanted.items() if file not in results})
            store.get_all({file: wanted[file] for file in results})
        except Vanished as error:
            raise BadInput(
                f"{store.url}: another machine repeats a run and has deleted {error}; give the "
                "same command again"
            ) from error
        for name in mine:
            note(root / name, folders[name])


def check_store(root: str | Path, patience_s: float = READING_PATIENCE_S) -> None:
    """Check that a store can be read and written before anything is begun.

    Raises:
        StoreAway: it cannot.
    """
    if (store := Store.of(root)) is not None:
        mark = Path(root) / MARK
        patiently(lambda: store.put(mark, PROBE), store, first=True, patience_s=patience_s)


def remove_records(root: Path, study: str, kept: Collection[str] = ()) -> None:
    """Delete a study's own files, none of its runs, from the store; nothing for a plain folder.

    Raises:
        StoreAway: the store cannot be reached; the same call again deletes the rest.
    """
    store = Store.of(root)
    if store is None:
        return
    listed = patiently(
        partial(store.listing, study), store, first=True, patience_s=READING_PATIENCE_S
    )
    own = [name for name in listed if name.split("/") == [study, Path(name).name]]
    gone = [name for name in own if Path(name).name not in kept]
    patiently(partial(store.remove, gone), store, patience_s=READING_PATIENCE_S)


def send(root: Path, names: Sequence[str]) -> None:
    """Send files that a command has written into a local copy, by their names below it."""
    store = Store.of(root)
    if store is None:
        return
    for name in names:
        patiently(partial(store.put, root / name, name), store)
    for folder in {Path(name).parent.as_posix() for name in names}:
        if folder.count("/"):  # of a run; other machines may have written a study's record since
            note(root / folder, patiently(partial(store.listing, folder), store))
