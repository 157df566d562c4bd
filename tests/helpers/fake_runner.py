"""A runner that trains nothing: what a study does with runs that end well, badly, or not at all.

A run's value follows from its overrides; each epoch is a line in its folder, from which it goes on.
Every run that is carried to its end appends its name to `executions.txt`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import time
from pathlib import Path

from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_json
from img2gps.runs.folder import FINAL_STATES, RESULT, Pruned, open_folder
from img2gps.study.spec import Done, EpochHook, Planned, Spec

EPOCHS = 3
MEMORY_GROUP = "IMG2GPS_TEST_MEMORY_GROUP"  # folder of a control group with little memory
MEAN_PREDICTOR = 89.0


class FakeRunner:
    """The override `behave=...` chooses what goes wrong, `pause=...` how long an epoch is."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def plan(self, overrides: list[str]) -> Planned:
        settings = _settings(overrides)
        identity = {k: v for k, v in settings.items() if k not in ("study", "pause")}
        name = hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest()[:10]
        return Planned(name, f"{self.spec.name}/{name}", float(settings.get("cost", 1)), identity)

    def find(self, planned: Planned) -> Done | None:
        for path in sorted(Path(self.spec.root).glob(f"*/{planned.run_id}/{RESULT}")):
            result = read_json(path)
            if result and result["state"] in FINAL_STATES:
                study = path.parent.parent.name
                done = {**result, "path": f"{study}/{planned.run_id}", "skipped": True}
                return Done(**{**done, "linked": study != self.spec.name})
        return None

    def run(self, overrides: list[str], on_epoch: EpochHook) -> Done:
        settings, planned = _settings(overrides), self.plan(overrides)
        folder = Path(self.spec.root) / planned.path
        with open_folder(folder):
            progress = folder / "progress.txt"
            begun = len(progress.read_text().splitlines()) if progress.exists() else 0
            target = float(settings.get("lr", 0.5)) * 100 + int(settings["seed"])
            epochs = int(settings.get("epochs", EPOCHS))
            for epoch in range(begun + 1, epochs + 1):
                time.sleep(float(settings.get("pause", 0)))
                if epoch == 2:
                    _misbehave(settings.get("behave", ""), folder)
                with progress.open("a") as file:
                    file.write(f"{epoch}\n")
                try:
                    on_epoch(epoch, {self.spec.monitor: target + 10 * (epochs - epoch)})
                except Pruned as end:
                    return Done(planned.run_id, planned.path, "pruned", str(end), epochs=epoch)
            state = "diverged" if settings.get("behave") == "diverge" else "finished"
            done = Done(
                planned.run_id,
                planned.path,
                state,
                "loss is nan in epoch 3" if state == "diverged" else "",
                target if state == "finished" else None,
                epochs,
                0.5,
                MEAN_PREDICTOR,
                begun,
            )
            told = Path(self.spec.root) / "executions.txt"
            repeated = (folder / RESULT).exists()
            # a kill between the two writes below makes no second execution
            if repeated or not told.exists() or planned.run_id not in told.read_text().split():
                with told.open("a") as file:
                    file.write(f"{planned.run_id}\n")
            write_json(folder / RESULT, done.__dict__)
        return done


def _settings(overrides: list[str]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in overrides)


def _misbehave(how: str, folder: Path) -> None:
    match how:
        case "raise":
            raise ValueError("the photo has\ntwo moons")
        case "raise_once" if not (folder / "raised").exists():
            (folder / "raised").touch()
            raise ValueError("a hiccup")
        case "exit":
            raise SystemExit(0)
        case "bad_input":
            raise BadInput("lr=0: must be above 0")
        case "segfault":
            ctypes.string_at(0)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "out_of_memory":
            (Path(os.environ[MEMORY_GROUP]) / "cgroup.procs").write_text(str(os.getpid()))
            bytearray(b"1") * 2**29
