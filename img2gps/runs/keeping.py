"""A run's folder and its copy in a store: fetched before the run, and sent while it goes on.

In the store, a run under way is one file, which takes the place of the one before in one step. So
whoever fetches it finds a checkpoint with the history that belongs to it. A run that has ended is
the files of its folder, with `result.json` written last.
"""

from __future__ import annotations

import logging
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from img2gps.core.signals import Interrupted
from img2gps.runs.fetching import PROGRESS, check_store, fetch_run, has_ended, note, noted
from img2gps.runs.folder import CHECKPOINT, RunFolder
from img2gps.runs.records import RESULT, STUDY
from img2gps.runs.store import PATIENCE_S, Absence, Store, StoreAway, patiently

log = logging.getLogger(__name__)

LEAVING_S = 10.0  # for the last checkpoint of a run that is interrupted
AFTER_FAILURE_S = 10.0  # for the record of a run that failed: another try will replace it
RECORD_PAUSE_S = 2.0  # between two records of a study
CALL_S = 60.0  # for a call to the store that is under way to end


class Keeper:
    """Sends a run's folder to its store. This one is of a run that has no store."""

    def checkpointed(self) -> None:
        """Take in that a checkpoint has been written."""


@contextmanager
def kept_in_store(folder: RunFolder, *, anew: bool = False) -> Iterator[Keeper]:
    """Fetch a run from its store, send its checkpoints inside, and send it whole at the end.

    Args:
        folder: the run's folder, locked.
        anew: whether the run is repeated from its start, so that the store's copy is deleted.

    Raises:
        StoreAway: the store cannot be reached. A run that has ended is whole in its folder.
    """
    store = Store.of(folder.path.parent.parent)
    if store is None:
        yield Keeper()
        return
    keeper = StoreKeeper(folder, store)
    keeper.begin(anew=anew)
    try:
        yield keeper
    except BaseException as error:
        keeper.leave(error)
        raise
    keeper.finish()


class StoreKeeper(Keeper):
    """Sends a run's folder to a store."""

    def __init__(self, folder: RunFolder, store: Store) -> None:
        self._folder, self._store = folder, store
        self._name = f"{folder.path.parent.name}/{folder.path.name}"
        self._result, self._progress = f"{self._name}/{RESULT}", f"{self._name}/{PROGRESS}"
        self._sender = Sender(self._send_progress, store)
        self._in_store: bytes | None = None  # the result that the store had

    def begin(self, *, anew: bool) -> None:
        """Bring the folder to what the store has, unless it has gone on from there by itself."""
        if anew:
            patiently(self._delete, self._store, first=True)
            return
        fetch = partial(fetch_run, self._folder, self._store, self._name)
        patiently(fetch, self._store, first=True)
        if noted(self._folder.path) is None:  # nothing tells yet that this machine may write there
            check_store(self._folder.path.parent.parent, PATIENCE_S)
        if self._result in (noted(self._folder.path) or {}):
            self._in_store = self._content()

    def checkpointed(self) -> None:
        """Send the checkpoint in the background."""
        self._sender.want()

    def finish(self) -> None:
        """Send a run that has ended, unless the store has it already."""
        self._sender.stop()
        if self._content() not in (None, self._in_store):
            kept = f"the run is whole in {self._folder.path}; "
            patiently(self._send_whole, self._store, kept=kept)

    def leave(self, error: BaseException) -> None:
        """Send what is of use of a run that did not come to its end."""
        if isinstance(error, Interrupted):
            if not self._sender.stop(LEAVING_S):
                log.warning("the last checkpoint is in %s alone", self._folder.path)
            return
        self._sender.stop()
        if isinstance(error, Exception) and self._content() not in (None, self._in_store):
            with suppress(StoreAway):
                patiently(self._send_whole, self._store, patience_s=AFTER_FAILURE_S)

    def _content(self) -> bytes | None:
        path = self._folder.path / RESULT
        return path.read_bytes() if path.is_file() else None

    def _send_progress(self) -> None:
        packed = self._folder.path / f".{PROGRESS}"
        try:
            pack(self._folder, packed)
            self._store.put(packed, self._progress)
        finally:
            packed.unlink(missing_ok=True)
        note(self._folder.path, self._store.listing(self._name))

    def _send_whole(self) -> None:
        listed = self._store.listing(self._name)
        if self._result in listed and has_ended(self._store, self._result):
            log.info("%s has this run already, from another machine", self._store.url)
            return
        files = {f"{self._name}/{name}": path for name, path in files_of(self._folder.path).items()}
        result = files.pop(self._result)
        self._store.remove([self._result])  # while its files change, the run is under way
        for name, path in files.items():
            self._store.put(path, name)
        kept = {*files, self._result, self._progress}
        self._store.remove(listed.keys() - kept)
        self._store.put(result, self._result)
        self._store.remove([self._progress])
        note(self._folder.path, self._store.listing(self._name))
        log.info("copied to %s/%s", self._store.url, self._name)

    def _delete(self) -> None:
        listed = self._store.listing(self._name)
        self._store.remove(sorted(listed, key=lambda name: name != self._result))


class Sender:
    """Sends the newest state of something in a thread of its own, while others go on.

    What cannot be sent is tried again. Between two times it pauses as long as the first one took.
    """

    def __init__(self, send: Callable[[], None], store: Store, pause_s: float = 0.0) -> None:
        """Take what sends, where to, and how long to pause at least."""
        self._send, self._store, self._pause_s = send, store, pause_s
        self._wanted, self._stopping, self._sent = (threading.Event() for _ in range(3))
        self._thread: threading.Thread | None = None

    def want(self) -> None:
        """Ask for the state as it is now, or newer, to be sent."""
        self._sent.clear()
        self._wanted.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="store", daemon=True)
            self._thread.start()

    def stop(self, patience_s: float = 0.0) -> bool:
        """Stop sending, and return whether the newest state was sent, for which it waits."""
        if self._thread is None:
            return True
        sent = self._sent.wait(patience_s)
        self._stopping.set()
        self._wanted.set()
        self._thread.join(CALL_S if patience_s == 0 or sent else 0)
        return sent

    def _work(self) -> None:
        absence = Absence(self._store)
        while self._wanted.wait() and not self._stopping.is_set():
            self._wanted.clear()
            started = time.monotonic()
            try:
                self._send()
            except Exception as error:  # others go on, whatever the store says
                absence.note(error)
                self._wanted.set()
                self._stopping.wait(absence.pause())
            else:
                absence.end()
                self._sent.set()
                if self._wanted.is_set():  # asked for in the meantime
                    self._sent.clear()
                self._stopping.wait(max(self._pause_s, time.monotonic() - started))


def record_sender(root: str | Path, study: str) -> Sender | None:
    """Return what sends a study's record to the store; None for a plain folder."""
    store, name = Store.of(root), f"{study}/{STUDY}"
    if store is None:
        return None

    def send() -> None:
        store.put(Path(root) / name, name)

    return Sender(send, store, RECORD_PAUSE_S)


def files_of(folder: Path) -> dict[str, Path]:
    """Return the files of a run folder by their names in it, without hidden ones."""
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    hidden = {name for name in found if any(part.startswith(".") for part in name.parts)}
    return {name.as_posix(): path for name, path in found.items() if name not in hidden}


def pack(folder: RunFolder, to: Path) -> None:
    """Write what a run can go on from into one file.

    Checkpoints are opened first. They are only ever replaced, so the one that is open stays as it
    is, and the history that is read after it has its last epoch.
    """
    files = files_of(folder.path)
    inside = [name for name in files if name.endswith(".ckpt")]
    with tarfile.open(to, "w") as packed:
        for name in sorted(files, key=lambda name: (name not in inside, name != CHECKPOINT, name)):
            with suppress(FileNotFoundError), files[name].open("rb") as file:
                packed.addfile(packed.gettarinfo(arcname=name, fileobj=file), file)
