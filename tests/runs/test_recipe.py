"""The pieces of a recipe: each resumes to the last digit and predicts what it has written."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from img2gps import train
from img2gps.config.schema import AugmentationName
from img2gps.core.errors import BadInput
from img2gps.inference.predict import Predictor
from img2gps.runs.cached import dataset_of
from img2gps.runs.folder import CHECKPOINT, PREDICTIONS
from img2gps.runs.plan import plan_run
from tests.helpers.tiny import tiny_config

PIECES = (
    ("ema=0.9",),
    ("augmentation=[crop,colour]",),
    ("augmentation=rotate",),
    ("optimizer=adamw", "optimizer.backbone_lr=0.1", "optimizer.decay_norms=false"),
    ("loss=huber", "scheduler=cosine", "scheduler.warmup_epochs=1"),
    ("model.train=last_blocks", "loss=l2_m"),
)


def state(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / CHECKPOINT, weights_only=True)[
        "state_dict"
    ]
    return found


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece[0])
def test_a_run_that_failed_midway_ends_with_the_same_weights(
    piece: tuple[str, ...], workdir: Path
) -> None:
    words = (*piece, "max_epochs=3", "precision=fp32")

    def stop(epoch: int, _: object) -> None:
        if epoch == 2:
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        train.run(tiny_config(*words), on_epoch=stop)
    resumed = train.run(tiny_config(*words))
    assert resumed.resumed_epoch == 1
    whole = train.run(tiny_config(*words, "study=other"))
    first, second = state(resumed.folder), state(whole.folder)
    assert all(torch.equal(first[key], second[key]) for key in second)
    assert (resumed.folder / PREDICTIONS).read_bytes() == (whole.folder / PREDICTIONS).read_bytes()
    usual = train.run(tiny_config("max_epochs=3", "precision=fp32", "study=other"))
    assert usual.run_id != whole.run_id
    assert usual.value != whole.value


def test_averaged_weights_are_those_that_predict(workdir: Path) -> None:
    outcome = train.run(tiny_config("ema=0.9", "precision=fp32"))
    dataset = dataset_of(outcome.folder)
    assert dataset is not None
    with (outcome.folder / PREDICTIONS).open() as file:
        rows = list(csv.DictReader(file))
    photos = dataset.manifest["photo"].tolist()
    pixels = dataset.pixels()[[photos.index(row["photo"]) for row in rows]]
    written = [[float(row["pred_lat_deg"]), float(row["pred_lon_deg"])] for row in rows]
    assert Predictor.load(outcome.folder).positions(pixels) == pytest.approx(
        np.array(written), abs=1e-7
    )
    saved = torch.load(outcome.folder / CHECKPOINT, weights_only=True)
    assert "current_model_state" not in saved


def test_a_list_of_augmentations_is_applied_in_order() -> None:
    config = tiny_config("augmentation=[erase,colour]", "augmentation.strength=0.2")
    assert config.augmentation.names == [AugmentationName.erase, AugmentationName.colour]
    assert (config.augmentation.strength, config.augmentation.max_area) == (0.2, 0.2)
    assert tiny_config("augmentation=crop").augmentation.names == [AugmentationName.crop]


def test_newer_knobs_at_their_default_name_no_run(workdir: Path) -> None:
    identity = plan_run(tiny_config("augmentation=crop", "optimizer=adamw")).identity
    assert set(identity["augmentation"]) == {
        *("name", "strength", "min_area", "probability", "max_area"),
    }
    assert set(identity["optimizer"]) == {"name", "weight_decay", "betas", "momentum"}
    assert not {"ema", "loss", "head", "heads"} & identity.keys()


@pytest.mark.parametrize("ema", ["0", "1", "1.5"])
def test_an_average_that_forgets_all_or_nothing_is_refused(ema: str) -> None:
    with pytest.raises(BadInput, match=f"ema={ema}.*a decay between 0 and 1"):
        tiny_config(f"ema={ema}")
