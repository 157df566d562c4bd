"""The runner of real studies: plans a run as the command line does, and trains it."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2gps.config.schema import Family, Precision, TrainedPart
from img2gps.core.errors import BadInput
from img2gps.runs.fetching import Finder
from img2gps.runs.records import RESULT, RunResult, read_result
from img2gps.runs.states import RunState
from img2gps.study.composing import Composer
from img2gps.study.spec import Done, EpochHook, RunRef, Spec

if TYPE_CHECKING:
    from img2gps.config.schema import Config
    from img2gps.runs.plan import RunPlan
    from img2gps.training.weights import ResolvedWeights

# Seconds of an epoch relative to ResNet-18, measured on two cores in bf16. Only the order of the
# runs depends on them.
RELATIVE_SECONDS = {
    "resnet18": 1.0,
    "resnet34": 1.8,
    "resnet50": 2.6,
    "resnet101": 4.6,
    "efficientnet_lite0": 1.7,
    "mobilenet_v2": 1.5,
    "efficientnet_lite1": 2.3,
    "efficientnet_lite2": 2.9,
}
USUAL_SECONDS = 2.0  # of a model not listed
COLLECT_EVERY_S = 5.0


class TrainRunner:
    """Runs `img2gps.train.run`.

    Weights are resolved once per study and kept in its spec, and so is the precision that
    `precision=auto` stands for. Data sets and splits are opened once.
    """

    def __init__(self, spec: Spec) -> None:
        from img2gps.runs.plan import OpenData

        self.spec = spec
        self.composer = Composer(spec)
        self.weights: dict[str, dict[str, Any]] = dict(spec.weights)
        self._resolved: dict[str, ResolvedWeights] = {}
        self._data = OpenData()
        self._finder = Finder(Path(spec.root))
        self._collect_at = 0.0
        known = spec.identity.get("identity", {}).get("precision")
        varied = "precision" in spec.space.names
        self._precision = Precision(known) if known and not varied else None

    def identify(self, overrides: list[str]) -> RunRef:
        """Name the run; opens its data set and resolves its weights if no run before has."""
        planned = self.plan_run(overrides)
        config = planned.config
        cost = (
            RELATIVE_SECONDS.get(config.model.name, USUAL_SECONDS)
            * config.epochs
            * len(planned.split.train)
            * config.image_size**2
        )
        return RunRef(planned.run_id, self._path(planned.folder), cost, planned.identity)

    def plan_run(self, overrides: list[str]) -> RunPlan:
        """Decide a run: its data set, split, weights and precision."""
        from img2gps.runs.plan import plan_run

        config = self.composer.load(overrides)
        weights = self.resolve_weights(config)
        planned = plan_run(config, weights, self._data, self._precision)
        frozen = config.model.train is TrainedPart.head  # always fp32, whatever the others take
        varied = "precision" in self.spec.space.names
        if config.precision is Precision.auto and not varied and not frozen:
            self._precision = planned.precision  # the first run decides for the whole study
        return planned

    def resolve_weights(self, config: Config) -> ResolvedWeights:
        """Return the weights that all runs of the study with this model start from.

        Raises:
            BadInput: the study started with weights that are missing now or have changed.
        """
        from img2gps.training import weights

        key = f"{config.model.name} {config.weights}"
        if config.model.family is Family.timm:  # its resnet50 has other weights than torchvision's
            key = f"timm {key}"
        if key not in self._resolved:
            before = self.weights.get(key)
            found: ResolvedWeights | None
            if before is None:
                required = config.weights_required
                found = weights.resolve(config.model, config.weights, required=required)
            else:
                found = weights.find_again(weights.ResolvedWeights(**before), config.model)
            if found is None:
                raise BadInput(
                    f"weights={config.weights}: the file that study={self.spec.name} started with "
                    "is missing or has changed; put it back, or give study=NAME for a new study"
                )
            self._resolved[key], self.weights[key] = found, asdict(found)
        return self._resolved[key]

    def _path(self, folder: Path) -> str:
        return Path(os.path.relpath(folder, self.spec.root)).as_posix()

    def find(self, runs: Iterable[RunRef]) -> dict[str, Done]:
        """Return the runs that ended in their own folder or finished in any other study's."""
        roots = [Path(root) for root in (self.spec.root, self.spec.results) if root]
        studies = [path for root in roots if root.is_dir() for path in sorted(root.iterdir())]
        runs, found = list(runs), {}
        self._finder.fetch([run.run_id for run in runs])
        for run in runs:
            own = Path(self.spec.root, run.path)
            for folder in (own, *(study / run.run_id for study in studies)):
                # Not read before it is known to exist: most runs are in no other study.
                result = read_result(folder) if os.path.exists(f"{folder}/{RESULT}") else None  # noqa: PTH110
                if result is None or not result.state.is_final:
                    continue
                if folder == own or result.state is RunState.finished:
                    found[run.run_id] = self._done(folder, result, skipped=True)
                    break
        return found

    def run(self, overrides: list[str], on_epoch: EpochHook) -> Done:
        """Train, or go on training."""
        from img2gps import train

        config = self.composer.load(overrides)
        try:
            outcome = train.run(
                config,
                on_epoch=on_epoch,
                weights=self.resolve_weights(config),
                precision=self._precision,
                opened=self._data,
            )
        finally:
            self._collect()
        result = read_result(outcome.folder)
        assert result is not None  # train.run has just written or read it
        return self._done(
            outcome.folder, result, skipped=outcome.skipped, resumed=outcome.resumed_epoch
        )

    def _collect(self) -> None:
        """Free what finished runs leave behind, not after each of many short ones.

        Trainer, module and loaders refer to each other, so that without this a worker would hold
        the tensors of several runs: gigabytes.
        """
        if time.monotonic() < self._collect_at:
            return
        gc.collect()
        if not gc.get_freeze_count():
            gc.freeze()  # the libraries stay, and visiting them takes 0.2 s each time
        self._collect_at = time.monotonic() + COLLECT_EVERY_S

    def _done(self, folder: Path, result: RunResult, *, skipped: bool, resumed: int = 0) -> Done:
        path = self._path(folder)
        return Done(
            run_id=result.run_id,
            path=path,
            state=result.state,
            reason=result.reason,
            value=result.metrics.get(self.spec.monitor),
            aims=result.figures(self.spec.aims),
            epochs=result.cost.epochs,
            seconds=result.cost.seconds,
            mean_predictor=result.mean_predictor_rmse_m,
            n_val=result.data.n_val,
            resumed_epoch=resumed,
            linked=skipped and Path(path).parts[0] != self.spec.name,
            skipped=skipped,
        )
