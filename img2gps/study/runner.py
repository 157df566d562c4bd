"""The real runner: composes a cell's configuration as the command line would, and trains it."""

from __future__ import annotations

import gc
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2gps.core.errors import BadInput
from img2gps.core.files import read_json
from img2gps.runs.folder import FINAL_STATES, RESULT, find_result
from img2gps.study.spec import Done, EpochHook, Planned, Spec

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from img2gps.config.schema import Config
    from img2gps.runs.plan import RunPlan
    from img2gps.training.weights import ResolvedWeights

# Seconds of an epoch against ResNet-18's, measured on two cores in bf16. They order cells; nothing
# else depends on them.
RELATIVE_SECONDS = {
    "resnet18": 1.0,
    "resnet34": 1.8,
    "resnet50": 2.6,
    "resnet101": 4.6,
    "efficientnet_lite0": 1.7,
    "efficientnet_lite1": 2.3,
    "efficientnet_lite2": 2.9,
}
USUAL_SECONDS = 2.0  # of a model not listed


class TrainRunner:
    """Runs `img2gps.train.run`. Weights are resolved once per study and kept in its spec."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.weights: dict[str, dict[str, Any]] = dict(spec.weights)
        self._resolved: dict[str, ResolvedWeights] = {}
        self._loaded: dict[tuple[str, ...], Config] = {}

    def load(self, overrides: list[str]) -> Config:
        """The checked configuration of these overrides."""
        *shared, last = overrides or [""]
        if not last.startswith("seed="):
            return self._load(tuple(overrides))
        return replace(self._load(tuple(shared)), seed=int(last.removeprefix("seed=")))

    def _load(self, overrides: tuple[str, ...]) -> Config:
        """Composing takes longer than all the rest of planning, and seeds differ in a number."""
        from img2gps.config.compose import load_config

        if overrides not in self._loaded:
            self._loaded = {overrides: load_config(self.compose(list(overrides)))}
        return self._loaded[overrides]

    def compose(self, overrides: list[str]) -> DictConfig:
        """What the command line with these overrides composes, not checked yet."""
        from hydra import compose, initialize_config_dir
        from hydra.core.global_hydra import GlobalHydra

        from img2gps.config.compose import register_sweeps

        if not GlobalHydra.instance().is_initialized():
            register_sweeps()
            initialize_config_dir(self.spec.config_dir, version_base="1.3")
        searched = ",".join(self.spec.searchpath)
        path = [f"hydra.searchpath=[{searched}]"] if searched else []
        return compose(self.spec.config_name, [*path, *overrides])

    def plan(self, overrides: list[str]) -> Planned:
        """Name the run: opens the data set, divides it, resolves the weights."""
        planned = self.plan_fully(overrides)
        config = planned.config
        cost = (
            RELATIVE_SECONDS.get(config.model.name, USUAL_SECONDS)
            * config.max_epochs
            * len(planned.split.train)
            * config.image_size**2
        )
        return Planned(planned.run_id, self._path(planned.folder), cost, planned.identity)

    def plan_fully(self, overrides: list[str]) -> RunPlan:
        """The run decided: with its data set, split, weights and precision."""
        from img2gps.runs.plan import plan

        config = self.load(overrides)
        return plan(config, self._weights(config))

    def _weights(self, config: Config) -> ResolvedWeights:
        from img2gps.config.schema import Family
        from img2gps.training import weights

        key = f"{config.model.name} {config.weights}"
        if config.model.family is Family.timm:  # whose resnet50 is not torchvision's
            key = f"timm {key}"
        if key not in self._resolved:
            begun = self.weights.get(key)
            found: ResolvedWeights | None
            if begun is None:
                required = config.weights_required
                found = weights.resolve(config.model, config.weights, required=required)
            else:
                found = weights.find_again(weights.ResolvedWeights(**begun), config.model)
            if found is None:
                raise BadInput(
                    f"weights={config.weights}: the file is gone or is not the one that study="
                    f"{self.spec.name} was begun with; put that one back, or give study=NAME for a "
                    "new study"
                )
            self._resolved[key], self.weights[key] = found, asdict(found)
        return self._resolved[key]

    def _path(self, folder: Path) -> str:
        return Path(os.path.relpath(folder, self.spec.root)).as_posix()

    def find(self, planned: Planned) -> Done | None:
        """The run in its own folder, in another study's, or among the published results."""
        own = Path(self.spec.root) / planned.path
        roots = [Path(root) for root in (self.spec.root, self.spec.results) if root]
        for folder in (own, find_result(planned.run_id, roots)):
            result = folder and read_json(folder / RESULT)
            if folder and result and result.get("state") in FINAL_STATES:
                return self._done(folder, result, skipped=True)
        return None

    def run(self, overrides: list[str], on_epoch: EpochHook) -> Done:
        """Train, or go on training."""
        from img2gps import train

        config = self.load(overrides)
        try:
            outcome = train.run(config, on_epoch=on_epoch, weights=self._weights(config))
        finally:
            # Trainer, module and loaders refer to each other: without this a worker would hold the
            # tensors of its last runs until Python happens to look, gigabytes of them.
            gc.collect()
        result = read_json(outcome.folder / RESULT) or {}
        return self._done(
            outcome.folder, result, skipped=outcome.skipped, resumed=outcome.resumed_epoch
        )

    def _done(
        self, folder: Path, result: dict[str, Any], *, skipped: bool, resumed: int = 0
    ) -> Done:
        cost = result.get("cost") or {}
        path = self._path(folder)
        return Done(
            run_id=result["run_id"],
            path=path,
            state=result["state"],
            reason=result.get("reason") or "",
            value=(result.get("metrics") or {}).get(self.spec.monitor),
            epochs=cost.get("epochs"),
            seconds=cost.get("seconds"),
            mean_predictor=result.get("mean_predictor/rmse_m"),
            resumed_epoch=resumed,
            linked=skipped and Path(path).parts[0] != self.spec.name,
            skipped=skipped,
        )
