"""One run, from a configuration to a run folder.

python -m img2gps.train model=resnet18 lr=0.001
python -m img2gps.train data=photos data.root=DIR
python -m img2gps.train -m sweeps=table1
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from img2gps.config.schema import Config
    from img2gps.runs.outcome import Outcome
    from img2gps.runs.recorder import EpochHook
    from img2gps.training.weights import ResolvedWeights


def run(
    config: Config,
    *,
    on_epoch: EpochHook | None = None,
    weights: ResolvedWeights | None = None,
) -> Outcome:
    """Do the run, or go on with it, or find it done; all that it leaves is in its folder.

    `on_epoch(epoch, row)` is called when an epoch is on disk and may raise `runs.Pruned`.
    `weights` are those found once for a whole study.

    Raises:
        BadInput: the configuration cannot be carried out.
    """
    # Here and not above: --help and --cfg answer without waiting for torch and Lightning.
    from img2gps import tracking
    from img2gps.config.compose import config_to_dict
    from img2gps.core.geo import LabelScaler
    from img2gps.runs import outcome, resume
    from img2gps.runs.folder import open_folder
    from img2gps.runs.plan import plan
    from img2gps.runs.predictions import PredictionTable
    from img2gps.runs.recorder import Recorder
    from img2gps.runs.swept import swept
    from img2gps.training import loop, metrics, model
    from img2gps.training.data import PhotoData
    from img2gps.training.module import GeoRegression

    planned = plan(config, weights)
    dataset, split = planned.dataset, planned.split
    with open_folder(planned.folder) as folder:
        if (done := outcome.already_done(planned, folder)) is not None:
            return done
        start = resume.prepare(folder, config)
        loop.seed_everything(config.seed, start.threads)
        loop.warn_of_single_photo_batch(
            len(split.train), config.batch_size, drop_last=config.drop_last
        )

        lat, lon = dataset.lat_lon()
        scaler = LabelScaler.fit(lat[split.train], lon[split.train])
        module = GeoRegression(
            model.build(config.model, planned.weights),
            scaler,
            seed=config.seed,
            lr=config.lr,
            max_epochs=config.max_epochs,
            optimizer=config.optimizer,
            scheduler=config.scheduler,
            extra_metrics=metrics.load_extra(config.metrics),
            compile_model=config.trainer.compile,
        )
        data = PhotoData(
            pixels=dataset.pixels(),
            lat=lat,
            lon=lon,
            train=split.train,
            val=split.val,
            scaler=scaler,
            batch_size=config.batch_size,
            val_batch_size=config.val_batch_size,
            drop_last=config.drop_last,
            seed=config.seed,
            augmentation=config.augmentation,
            normalise=module.model.normalise,
        )
        table = PredictionTable(dataset, split)
        tracker = tracking.open_tracker(
            config.logger,
            folder.path,
            swept(config_to_dict(config), len(split.train)),
            table.mean_predictor_rmse_m(),
        )
        with outcome.recorded(planned, folder, table, module, start, tracker) as record:
            hooks = [hook for hook in (tracker.epoch, on_epoch) if hook is not None]
            recorder = Recorder(folder, table, hooks, mean_predictor_m=record.mean_predictor_m)
            trainer = loop.trainer(config, planned.precision, folder.checkpoint, recorder)
            loop.fit(trainer, module, data, folder.checkpoint if start.epoch else None)
            record.finish()
        return record.outcome


def main() -> None:
    """Command line: Hydra composes the configuration, `run` does the rest."""
    from img2gps.config import command_line as app

    app.main(run)


if __name__ == "__main__":
    main()
