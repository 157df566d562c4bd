"""Train one run, from a configuration to a run folder.

python -m img2gps.train model=resnet18 lr=0.001
python -m img2gps.train data=photos data.root=DIR
python -m img2gps.train -m sweeps=table1
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from img2gps.core.load import CpuTime, wait_passively

if TYPE_CHECKING:
    from img2gps.config.schema import Config, Precision
    from img2gps.runs.outcome import Outcome
    from img2gps.runs.plan import OpenData
    from img2gps.runs.recorder import EpochHook
    from img2gps.training.weights import ResolvedWeights

log = logging.getLogger(__name__)


def run(
    config: Config,
    *,
    on_epoch: EpochHook | None = None,
    weights: ResolvedWeights | None = None,
    precision: Precision | None = None,
    opened: OpenData | None = None,
) -> Outcome:
    """Train a run, resume it, or find that it has ended. Everything it leaves is in its folder.

    Args:
        config: the checked configuration.
        on_epoch: called with the epoch and its metrics once they are on disk; may raise
            `runs.folder.Pruned`.
        weights: the starting weights that a study has resolved once for all its runs.
        precision: what `precision=auto` stands for in all runs of a study.
        opened: data sets and splits that other runs of this process have opened.

    Raises:
        BadInput: the configuration cannot be carried out.
    """
    cpu_time = CpuTime.now()
    wait_passively()
    # Imported here so that --help and --cfg answer without waiting for torch and Lightning.
    from img2gps.photos.resemblance import log_resemblance
    from img2gps.runs import resume
    from img2gps.runs.assembling import assemble
    from img2gps.runs.folder import open_folder
    from img2gps.runs.keeping import kept_in_store
    from img2gps.runs.leading import leading
    from img2gps.runs.outcome import ResultWriter, ended_before
    from img2gps.runs.plan import plan_run
    from img2gps.runs.predictions import PredictionTable
    from img2gps.runs.recorder import Recorder
    from img2gps.tracking import open_tracker
    from img2gps.training import loop

    planned = plan_run(config, weights, opened, precision)
    dataset, split = planned.dataset, planned.split
    with open_folder(planned.folder) as folder, kept_in_store(folder, anew=config.force) as keeper:
        if (ended := ended_before(planned, folder)) is not None:
            return ended
        start = resume.prepare(folder, planned)
        log.info("trains on %d photos, validates on %d", len(split.train), len(split.val))
        log_resemblance(dataset.manifest, split, config.split)
        module, data = assemble(planned, start.threads)
        table = PredictionTable(dataset, split)
        writer = ResultWriter(planned, folder, start, module, table)
        mean_predictor_m = table.mean_predictor_rmse_m()
        tracker = open_tracker(config.logger, folder.path, writer.swept, mean_predictor_m)
        loop.warn_if_busy(cpu_time, start.threads, config.trainer.devices)
        with writer.recording(tracker):
            hooks = [tracker.epoch, on_epoch] if on_epoch else [tracker.epoch]
            recorder = Recorder(folder, table, hooks)
            with leading(planned, start) as module.team:
                data.team = module.team
                trainer = loop.make_trainer(
                    config,
                    planned.precision,
                    folder.checkpoint,
                    recorder,
                    keeper.checkpointed,
                    module.team,
                )
                loop.fit(trainer, module, data, folder.checkpoint, start.checkpoint)
            writer.finish()
        return writer.outcome


def main() -> None:
    """Run from the command line: Hydra composes the configuration for `run`."""
    from img2gps.config import command_line

    command_line.main(run)


if __name__ == "__main__":
    main()
