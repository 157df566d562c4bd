"""What a planned run trains, and the batches that it trains on."""

from __future__ import annotations

from functools import partial

from img2gps.core.geo import LabelScaler
from img2gps.runs.plan import RunPlan
from img2gps.training import loop, model
from img2gps.training.augment import own_augmentation
from img2gps.training.data import PhotoData
from img2gps.training.frozen import make_data
from img2gps.training.heads.build import build_head
from img2gps.training.module import GeoRegression
from img2gps.training.sharding import check_shardable


def assemble(planned: RunPlan, threads: int) -> tuple[GeoRegression, PhotoData]:
    """Return the module and the data of a run; sets all seeds and the number of threads first."""
    config, dataset, split = planned.config, planned.dataset, planned.split
    own_augmentation(config.augmentation)  # one that cannot be called is refused at once
    loop.seed_everything(config.seed, threads)
    lat, lon = dataset.lat_lon()
    scaler = LabelScaler.fit(lat[split.train], lon[split.train])
    regressor = model.build(
        config.model,
        planned.weights,
        partial(build_head, config.head, config.heads),
        maps=config.needs_maps,
    )
    if config.trainer.is_sharded:
        check_shardable(regressor)
    module = GeoRegression(regressor, scaler, config)
    data = make_data(dataset, split, scaler, config, regressor, planned.weights)
    return module, data
