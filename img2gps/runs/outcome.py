"""How a run ends: its result.json, which is written last, and the `Outcome` that is returned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from img2gps.config.compose import config_to_dict
from img2gps.core import hardware
from img2gps.core.errors import BadInput, ProcessLost
from img2gps.runs.baselines import baselines, write_errors
from img2gps.runs.folder import BASELINES, PREDICTIONS, Diverged, Pruned, RunFolder, find_result
from img2gps.runs.plan import RunPlan
from img2gps.runs.predictions import PredictionTable
from img2gps.runs.records import RunResult, WeightsFacts, now, read_result, write_result
from img2gps.runs.result import (
    best_metrics,
    cost,
    data_facts,
    final_metrics,
    skill,
    split_facts,
)
from img2gps.runs.resume import Start
from img2gps.runs.states import RunState
from img2gps.runs.swept import swept
from img2gps.runs.tracker import Tracker
from img2gps.training import devices, metrics, model
from img2gps.training.heads.build import chosen_settings
from img2gps.training.latency import prediction_ms
from img2gps.training.module import GeoRegression

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        value: the monitored metric after the final epoch.
        resumed_epoch: the epoch after which the run went on; 0 if it started anew.
        skipped: whether the run had ended before.
    """

    run_id: str
    folder: Path
    state: RunState
    reason: str
    value: float | None
    resumed_epoch: int = 0
    skipped: bool = False

    @property
    def went_wrong(self) -> bool:
        """Whether the run failed or diverged, so that the exit status is 1."""
        return self.state.went_wrong

    @classmethod
    def of(cls, result: RunResult, folder: Path, monitor: str, *, skipped: bool = False) -> Self:
        """Return the outcome that a result stands for."""
        value = result.metrics.get(monitor)
        resumed = 0 if skipped else result.resumed_epoch
        return cls(result.run_id, folder, result.state, result.reason, value, resumed, skipped)


def ended_before(planned: RunPlan, folder: RunFolder) -> Outcome | None:
    """Return the outcome of a run that has ended in its own folder and need not be repeated.

    Published runs have no weights. Studies treat them as finished; a single run trains again.
    """
    config = planned.config
    if config.force:
        return None
    result = read_result(folder.path)
    if result is not None and result.state.is_final:
        log.info("already %s, not run again (force=true repeats it)", result.state)
        _log_end(result, folder.path)
        return Outcome.of(result, folder.path, config.aims[0], skipped=True)
    published = [Path(config.runs.results)] if config.runs.results else []
    if found := find_result(planned.run_id, published):
        log.info("published in %s without weights; it runs here so that you have them", found)
    return None


class ResultWriter:
    """Writes result.json once the run has ended, and then holds its outcome."""

    def __init__(
        self,
        planned: RunPlan,
        folder: RunFolder,
        start: Start,
        module: GeoRegression,
        table: PredictionTable,
    ) -> None:
        self.planned, self.folder, self.start = planned, folder, start
        self.module, self.table = module, table
        self.swept = swept(config_to_dict(planned.config), len(planned.split.train))
        self.started_at = now()
        self.result: RunResult | None = None
        self._mean_predictor_m = table.mean_predictor_rmse_m()
        self._absent: dict[str, str] = {}  # what could not be computed, and why

    @property
    def outcome(self) -> Outcome:
        """How the run ended; available once it has."""
        assert self.result is not None
        return Outcome.of(self.result, self.folder.path, self.planned.config.aims[0])

    @contextmanager
    def recording(self, tracker: Tracker) -> Iterator[None]:
        """Write the result of a run that is pruned, diverges or fails inside.

        An interruption, or a process that was killed, leaves no result, so that the run can go on.
        The tracker's `finish` is called in every case.
        """
        exit_code = 1
        try:
            yield
            exit_code = 0
        except Pruned as end:
            self._write(RunState.pruned, str(end))
            exit_code = 0
        except Diverged as end:
            self._write(RunState.diverged, str(end))
        except (BadInput, ProcessLost):
            raise
        except Exception as error:
            self._write(RunState.failed, f"{type(error).__name__}: {error}")
            raise
        finally:
            tracker.finish(self.result, exit_code)

    def finish(self) -> None:
        """Write the predictions of the final epoch, and then the result."""
        rows, label, predicted = self.module.position_errors("val").arrays()
        columns = label[:, 0], label[:, 1], predicted[:, 0], predicted[:, 1]
        self.table.write(self.folder.path / PREDICTIONS, rows, *columns[2:])
        if len(rows) < len(self.planned.split.val):  # because of trainer.limit_val_batches
            self._mean_predictor_m = self.table.mean_predictor_rmse_m(rows)
        spread = metrics.bias_and_spread(*columns) if len(rows) else {}
        self._write(RunState.finished, "", spread)

    def _write(
        self, state: RunState, reason: str, bias_and_spread: Mapping[str, Any] | None = None
    ) -> None:
        self.result = self._result(state, reason, bias_and_spread or {})
        write_result(self.folder.path, self.result)
        _log_end(self.result, self.folder.path)

    def _result(
        self, state: RunState, reason: str, bias_and_spread: Mapping[str, Any]
    ) -> RunResult:
        planned, config = self.planned, self.planned.config
        history = self.folder.history.rows()
        final = final_metrics(history)
        comparable = state is not RunState.failed and len(planned.split.val) > 0
        found = self._baselines() if config.baselines and comparable else {}
        described = self._model()
        return RunResult(
            run_id=planned.run_id,
            study=config.study,
            state=state,
            reason=reason,
            metrics=final,
            best=best_metrics(history),
            mean_predictor_rmse_m=self._mean_predictor_m,
            skill=skill(final.get("val/rmse_m"), self._mean_predictor_m),
            **bias_and_spread,
            converged_epoch=metrics.converged_epoch([row["val/rmse_m"] for row in history]),
            data=data_facts(planned.dataset, planned.split),
            split=split_facts(config.split, planned.dataset, planned.split),
            baselines={"mean": {"val/rmse_m": self._mean_predictor_m}, **found},
            swept=self.swept,
            model=described,
            weights=WeightsFacts(**planned.weights.record()),
            cost=replace(
                cost(history),
                peak_gpu_memory_mb=devices.peak_gpu_memory_mb(config.trainer.accelerator),
                predict_ms=self._predict_ms(),
            ),
            code=hardware.code(),
            versions=hardware.versions(),
            hardware=self._hardware(),
            precision=str(planned.precision),
            threads=self.start.threads,
            devices=config.trainer.devices,
            strategy=str(config.trainer.strategy) if config.trainer.devices > 1 else None,
            seed=config.seed,
            absent=self._absent,
            identity=planned.identity,
            started_at=self.started_at,
            resumed_epoch=self.start.epoch,
            finished_at=now(),
        )

    def _baselines(self) -> dict[str, dict[str, Any]]:
        data = self.planned.dataset, self.planned.split
        found = self._attempt("baselines", lambda: baselines(*data)) or {}
        path = self.folder.path / BASELINES
        self._attempt("baselines", lambda: write_errors(path, *data, found))
        return {name: baseline.figures for name, baseline in found.items()}

    def _hardware(self) -> dict[str, Any]:
        speed = self.planned.speed
        measured = {"speed": speed.record()} if speed else {}
        return {
            **hardware.describe(devices.gpu_name(self.planned.config.trainer.accelerator)),
            **measured,
        }

    def _model(self) -> dict[str, Any]:
        regressor, size = self.module.model, self.planned.config.image_size
        return {
            "name": self.planned.config.model.name,
            "parameters": model.count_parameters(self.module),
            "flops": self._attempt("flops", lambda: model.count_flops(regressor, size)),
            **chosen_settings(regressor.head),
        }

    def _predict_ms(self) -> float | None:
        size = self.planned.config.image_size
        return self._attempt("predict_ms", lambda: prediction_ms(self.module.model, size))

    def _attempt(self, what: str, compute: Callable[[], T]) -> T | None:
        """Compute what only describes the run. A failure is noted and never loses the run."""
        try:
            return compute()
        except Exception as error:  # a user's own model or file can raise anything
            self._absent[what] = f"{type(error).__name__}: {error}"
            log.warning("%s: not available (%s)", what, self._absent[what])
            return None


def _log_end(result: RunResult, folder: Path) -> None:
    """Log one line with the run's RMSE beside that of the mean predictor."""
    rmse, mean = result.metrics.get("val/rmse_m"), result.mean_predictor_rmse_m
    if result.state is RunState.finished and result.data.n_val == 0:
        log.info("finished: no photo was held out, so no error is known -> %s", folder)
        return
    if result.state is not RunState.finished or rmse is None or mean is None:
        log.info("%s: %s -> %s", result.state, result.reason, folder)
        return
    share = "unknown" if result.skill is None else f"{result.skill:.2f}"
    log.info(
        "finished: validation RMSE %.2f m after the final epoch; the mean predictor gets %.2f m "
        "(skill %s) -> %s", rmse, mean, share, folder,
    )  # fmt: skip
