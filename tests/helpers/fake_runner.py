"""A runner that trains nothing, whose runs end well, badly, or not at all.

A run's value follows from its overrides; each epoch is a line in its folder, from which it goes on.
Every run that is carried to its end appends its name to `executions.txt`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from img2gps.core import pulse
from img2gps.core.errors import BadInput, GpuFull
from img2gps.core.files import read_json, write_json
from img2gps.core.stores import url_of
from img2gps.runs.fetching import Finder
from img2gps.runs.folder import PREDICTIONS, Pruned, open_folder
from img2gps.runs.keeping import kept_in_store
from img2gps.runs.records import RESULT
from img2gps.runs.states import RunState
from img2gps.study.spec import Done, EpochHook, RunRef, Spec

EPOCHS = 3
MEAN_PREDICTOR = 89.0
M_PER_DEG = 111_195.0  # of latitude


class FakeRunner:
    """The override `behave=...` chooses what goes wrong, `pause=...` how long an epoch is.

    With `photos=N` runs leave predictions, whose RMSE is the run's value.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.weights: dict[str, dict[str, Any]] = {}

    def identify(self, overrides: list[str]) -> RunRef:
        settings = self._settings(overrides)
        identity = {k: v for k, v in settings.items() if k not in ("study", "pause")}
        name = hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest()[:10]
        return RunRef(name, f"{self.spec.name}/{name}", float(settings.get("cost", 1)), identity)

    def find(self, runs: Iterable[RunRef]) -> dict[str, Done]:
        runs, found = list(runs), {}
        Finder(Path(self.spec.root)).fetch([run.run_id for run in runs])
        for run in runs:
            for path in sorted(Path(self.spec.root).glob(f"*/{run.run_id}/{RESULT}")):
                result = read_json(path)
                if result and RunState(result["state"]).is_final:
                    study = path.parent.parent.name
                    done = {**result, "path": f"{study}/{run.run_id}", "skipped": True}
                    found[run.run_id] = Done.from_dict({**done, "linked": study != self.spec.name})
        return found

    def run(self, overrides: list[str], on_epoch: EpochHook) -> Done:
        settings, ref = self._settings(overrides), self.identify(overrides)
        folder = Path(self.spec.root) / ref.path
        with open_folder(folder) as opened, kept_in_store(opened) as keeper:
            if url_of(self.spec.root) and (folder / RESULT).exists():
                return next(iter(self.find([ref]).values()))
            progress = folder / "progress.txt"
            begun = len(progress.read_text().splitlines()) if progress.exists() else 0
            target = float(settings.get("lr", 0.5)) * 100 + int(settings["seed"])
            target += float(settings.get("fold_m", 0)) * int(settings.get("split.fold", 0))
            epochs = int(settings.get("epochs", EPOCHS))
            for epoch in range(begun + 1, epochs + 1):
                pulse.beat()
                time.sleep(float(settings.get("pause", 0)))
                if epoch == 2:
                    _misbehave(settings.get("behave", ""), folder)
                with progress.open("a") as file:
                    file.write(f"{epoch}\n")
                keeper.checkpointed()
                try:
                    on_epoch(epoch, {self.spec.monitor: target + 10 * (epochs - epoch)})
                except Pruned as end:
                    return Done(ref.run_id, ref.path, RunState.pruned, str(end), epochs=epoch)
            diverges = settings.get("behave") == "diverge"
            done = Done(
                ref.run_id,
                ref.path,
                RunState.diverged if diverges else RunState.finished,
                "loss is nan in epoch 3" if diverges else "",
                None if diverges else target,
                epochs,
                0.5,
                MEAN_PREDICTOR,
                begun,
                aims={aim: target if aim == self.spec.monitor else float(settings["batch_size"])
                      for aim in self.spec.aims},
            )  # fmt: skip
            told = Path(self.spec.root) / "executions.txt"
            repeated = (folder / RESULT).exists()
            # a kill between the two writes below makes no second execution
            if repeated or not told.exists() or ref.run_id not in told.read_text().split():
                with told.open("a") as file:
                    file.write(f"{ref.run_id}\n")
            if photos := int(settings.get("photos", 0)):
                _write_predictions(folder, photos, target)
            kept = {
                "metrics": {self.spec.monitor: done.value, **done.aims},
                "study": self.spec.name,
            }
            write_json(folder / RESULT, {**kept, "identity": ref.identity, **done.__dict__})
        return done

    def _settings(self, overrides: list[str]) -> dict[str, str]:
        return dict(line.split("=", 1) for line in [*self.spec.overrides, *overrides])


def _write_predictions(folder: Path, photos: int, rmse_m: float) -> None:
    """Write errors with this RMSE; the same photos are hard for all runs."""
    hard = [1 + 0.5 * ((7 * k) % 5) for k in range(photos)]
    own = hashlib.sha256(f"{rmse_m}".encode()).digest()
    error = [h * (1 + 0.1 * (own[k % 32] / 255 - 0.5)) for k, h in enumerate(hard)]
    scale = rmse_m / (sum(e**2 for e in error) / photos) ** 0.5
    rows = [
        f"{k}.jpg,{k:016x},{k % 45 / 1e4},0,{k % 45 / 1e4 + scale * e / M_PER_DEG},0,{scale * e},"
        f"{MEAN_PREDICTOR},{k % 45},1\n"
        for k, e in enumerate(error)
    ]
    header = "photo,content,lat_deg,lon_deg,pred_lat_deg,pred_lon_deg,error_m,mean_error_m,spot,"
    header += "known_spot\n"
    (folder / PREDICTIONS).write_text(header + "".join(rows))


def _misbehave(how: str, folder: Path) -> None:
    match how:
        case "raise":
            raise ValueError("the photo has\ntwo moons")
        case "raise_once" if not (folder / "raised").exists():
            (folder / "raised").touch()
            raise ValueError("a hiccup")
        case "hang":
            time.sleep(600)
        case "exit":
            raise SystemExit(0)
        case "bad_input":
            raise BadInput("lr=0: must be above 0")
        case "gpu_full_once" if not (folder / "full").exists():
            (folder / "full").touch()
            raise GpuFull("batch_size=9: the GPU has too little memory")
        case "segfault":
            ctypes.string_at(0)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
