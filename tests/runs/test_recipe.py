"""The pieces of a recipe: each resumes to the last digit and predicts what it has written."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from img2gps import train
from img2gps.config.schema import AugmentationName
from img2gps.core.errors import BadInput
from img2gps.inference.predict import Predictor
from img2gps.runs.cached import dataset_of
from img2gps.runs.folder import CHECKPOINT, HISTORY, PREDICTIONS
from img2gps.runs.plan import open_dataset, plan_run
from img2gps.runs.records import RESULT, read_result
from img2gps.runs.states import RunState
from img2gps.training.inner import hold_out_inner
from tests.helpers.tiny import tiny_config

PIECES = (
    ("ema=0.9",),
    ("augmentation=[crop,colour]",),
    ("augmentation=rotate",),
    ("optimizer=adamw", "optimizer.backbone_lr=0.1", "optimizer.decay_norms=false"),
    ("loss=huber", "scheduler=cosine", "scheduler.warmup_epochs=1"),
    ("model.train=last_blocks", "loss=l2_m"),
    ("min_image_size=32",),
    ("model.test_views=3",),
    ("data.weight_by_error=true",),
    ("patience=5",),
)


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / HISTORY).open() as file:
        timed = ("train_seconds", "seconds")
        return [{k: v for k, v in row.items() if k not in timed} for row in csv.DictReader(file)]


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


def test_training_stops_once_an_inner_part_of_the_training_photos_says_so(workdir: Path) -> None:
    words = ("patience=1", "max_epochs=40", "lr=0.01", "model.train=head", "split=kfold")
    stopped = train.run(tiny_config(*words))
    inner = [float(row["inner/rmse_m"]) for row in history(stopped.folder)]
    assert len(inner) < 40
    assert inner[-1] >= min(inner[:-1])
    assert all(later < earlier for earlier, later in pairwise(inner[:-1]))
    saved = torch.load(stopped.folder / CHECKPOINT, weights_only=True)
    assert saved["optimizer_states"] == []
    result = read_result(stopped.folder)
    assert result is not None
    assert (result.state, result.cost.epochs) == (RunState.finished, len(inner))


def test_a_run_that_was_killed_after_it_had_stopped_trains_no_further(workdir: Path) -> None:
    words = ("patience=1", "max_epochs=40", "lr=0.01", "model.train=head", "split=kfold")
    first = train.run(tiny_config(*words))
    epochs, answers = history(first.folder), (first.folder / PREDICTIONS).read_bytes()
    (first.folder / RESULT).unlink()
    again = train.run(tiny_config(*words))
    assert again.resumed_epoch == len(epochs)
    assert history(again.folder) == epochs
    assert (again.folder / PREDICTIONS).read_bytes() == answers


@pytest.mark.parametrize("split", ["random", "place"])
def test_photos_that_stop_the_training_neither_train_nor_validate(
    split: str, workdir: Path
) -> None:
    config = tiny_config("data.n=120", f"split={split}")
    planned = plan_run(config)
    without, inner = hold_out_inner(planned.dataset, planned.split, config.split)
    assert len(inner)
    assert not set(inner) & {*without.train, *without.val}
    assert set(without.train) | set(inner) <= set(planned.split.train)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("loss=nll",), "loss=nll: head=linear gives no density; give head=mixture"),
        (("loss=nll", "head=mixture+mlp"), "loss=nll: head=mlp gives no density"),
        (
            ("data.weight_by_error=true", "head=cells"),
            "data.weight_by_error=true: head=cells does not use it; give one of head=linear, mlp",
        ),
        (("min_image_size=80",), "min_image_size=80: must lie between 32 and 64"),
        (
            ("min_image_size=32", "model.train=head"),
            "min_image_size=32: a backbone that is not trained sees one size only",
        ),
        (("model.test_views=7",), "model.test_views=7: must lie between 1 and 6"),
        (("patience=0",), "patience=0: must be above 0 epochs"),
    ],
)
def test_pieces_that_cannot_work_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        tiny_config(*words)


def test_weights_by_error_need_photos_that_say_their_error(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("data.weight_by_error=true")
    dataset = open_dataset(config)
    silent = replace(dataset, manifest=dataset.manifest.assign(gps_error_m=np.nan))
    monkeypatch.setattr("img2gps.runs.plan.open_dataset", lambda _: silent)
    with pytest.raises(BadInput, match="none of the 48 photos says how exact its position is"):
        plan_run(config)


def test_the_likelihood_is_the_loss_that_a_mixture_has_anyway(workdir: Path) -> None:
    words = ("head=mixture", "precision=fp32", "max_epochs=1")
    values = {train.run(tiny_config(*words, loss)).value for loss in ("loss=mse", "loss=nll")}
    assert len(values) == 1


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
    newer = {"ema", "loss", "head", "heads", "min_image_size", "patience", "weight_by_error"}
    assert not newer & identity.keys()
    assert set(identity["model"]) == {"name", "family", "depth", "custom"}


@pytest.mark.parametrize("ema", ["0", "1", "1.5"])
def test_an_average_that_forgets_all_or_nothing_is_refused(ema: str) -> None:
    with pytest.raises(BadInput, match=f"ema={ema}.*a decay between 0 and 1"):
        tiny_config(f"ema={ema}")
