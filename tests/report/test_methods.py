"""The methods paragraph says what was done in this study, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from img2gps.analysis import collect
from img2gps.analysis.overview import analyse
from img2gps.report.methods import methods, values_of
from tests.report.conftest import analysed

TRAINING = ("minimise", "adam", "learning rate 0.001", "epochs")


def told(root: Path, axes: dict[str, list[Any]], **options: Any) -> str:
    """Return the paragraph of a small study."""
    return methods(analysed(root, "s", axes=axes, **options))


def test_different_pretrained_weights_of_one_ranking_are_each_named(tmp_path: Path) -> None:
    starts = {"resnet18": "imagenet", "mine": "own"}
    text = told(tmp_path, {"model": [*starts]}, weights=lambda p: starts[p["model"]])
    assert "started from ImageNet weights or weights that the model itself loads" in text
    assert "from scratch" not in text


@pytest.mark.parametrize("resolved", ["none", "random"])
def test_a_ranking_without_pretraining_is_trained_from_scratch(
    resolved: str, tmp_path: Path
) -> None:
    text = told(tmp_path, {"lr": [0.001]}, weights=lambda _: resolved)
    assert "trained from scratch" in text


def test_solved_heads_are_not_said_to_be_trained(tmp_path: Path) -> None:
    text = told(tmp_path, {"head": ["kernel_ridge", "match+local_ridge"]}, seeds=(0,))
    assert "heads kernel_ridge, match+local_ridge" in text
    assert "nothing is trained by gradient descent" in text
    assert "Heads joined by + answer their average." in text
    assert not [part for part in TRAINING if part in text]


def test_solved_and_trained_heads_of_one_study_are_told_apart(tmp_path: Path) -> None:
    text = told(tmp_path, {"head": ["mlp", "knn"]})
    assert "Trained heads (mlp) minimise the mean squared error" in text
    assert "Solved heads (knn) are computed at once from frozen features" in text
    assert "but for solved heads, which no seed changes" in text


@pytest.mark.parametrize(
    ("knobs", "minimised"),
    [
        ({"loss": ["huber"]}, "the Huber loss of the distance in metres"),
        ({"loss": ["l2_m"]}, "the mean distance in metres"),
        ({"loss": ["nll"], "head": ["mixture"]}, "the negative log likelihood of the position"),
        ({"head": ["metric"]}, "a contrastive loss of photos of near and of far places"),
    ],
)
def test_what_training_minimises_is_that_of_the_runs(
    knobs: dict[str, list[Any]], minimised: str, tmp_path: Path
) -> None:
    text = told(tmp_path, knobs, seeds=(0,))
    assert f"minimise {minimised} with adam" in text
    assert "squared error" not in text


def test_both_losses_of_a_study_that_varies_the_loss_are_named(tmp_path: Path) -> None:
    text = told(tmp_path, {"loss": ["mse", "huber"]}, seeds=(0,))
    assert "squared error of the scaled coordinates or the Huber loss of the distance" in text


def test_training_that_stopped_early_took_at_most_the_planned_epochs(tmp_path: Path) -> None:
    study = analysed(tmp_path, "s", axes={"lr": [0.001]}, epochs=3).study
    path = next(study.folder.glob("*/result.json"))
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "cost": {**facts["cost"], "epochs": 2}}))
    stopped = analyse(collect.load_study(study.folder, [tmp_path]))
    assert "for at most 3 epochs" in methods(stopped)


def test_the_bootstrap_is_claimed_only_with_enough_spots(tmp_path: Path) -> None:
    few = told(tmp_path / "few", {"lr": [0.001, 0.003]}, n_val=20, n_spots=12)
    assert "bootstrap-t" not in few
    assert "Student's t" in few
    assert "the 12 spots at which the 20 validation photos were taken" in few
    many = told(tmp_path / "many", {"lr": [0.001, 0.003]})
    assert "bootstrap-t" in many
    assert "Student's t" not in many


def test_no_interval_is_described_where_all_photos_show_one_spot(tmp_path: Path) -> None:
    text = told(tmp_path, {"lr": [0.001, 0.003]}, n_val=8, n_spots=1)
    assert "No figure has an interval, because 8 photos of 1 spot cannot be resampled" in text
    assert not [part for part in ("bootstrap", "Cameron", "BBC-CV", "max-T") if part in text]


def test_a_variance_between_seeds_is_added_only_where_a_seed_matters(tmp_path: Path) -> None:
    solved = told(tmp_path / "solved", {"head": ["knn", "ridge"]})
    assert "Cameron" not in solved
    assert "no seed changes these answers" in solved
    single = told(tmp_path / "single", {"lr": [0.001, 0.003]}, seeds=(0,))
    assert "a variance between seeds that one seed cannot show (luck assumed: 3.2 %)" in single
    assert "mean over its seeds" not in single
    several = told(tmp_path / "several", {"lr": [0.001, 0.003]})
    assert "add the variance between seeds (Cameron" in several


def test_only_tests_that_gave_a_mark_are_named(tmp_path: Path) -> None:
    text = told(tmp_path, {"lr": [0.001, 0.003]}, seeds=(0,))
    assert "confidence set" not in text
    assert "max-T" not in text


def test_a_single_cell_is_not_corrected_for_having_been_selected(tmp_path: Path) -> None:
    assert "selected" not in told(tmp_path, {"lr": [0.001]})


def test_of_many_numbers_only_the_least_and_the_largest_are_named() -> None:
    rows = pd.DataFrame({"lr": np.geomspace(0.0001, 0.01, 9), "few": [0.1, 0.2, 0.1] * 3})
    assert values_of(rows, "lr") == "9 values from 0.0001 to 0.01"
    assert values_of(rows, "few") == "0.1, 0.2"
