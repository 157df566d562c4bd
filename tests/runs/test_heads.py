"""Every head through a whole run: folder, identity, features computed once, prediction."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from img2gps import train
from img2gps.config.heads import HEADS, TRAINED_HEADS
from img2gps.core.errors import BadInput
from img2gps.inference.predict import Predictor
from img2gps.runs.cached import dataset_of
from img2gps.runs.folder import CHECKPOINT, HISTORY, PREDICTIONS
from img2gps.runs.plan import plan_run
from img2gps.runs.records import RESULT
from img2gps.training import frozen
from tests.helpers.tiny import TINY, tiny_config

FROZEN = ("model=efficientnet_lite0", "model.train=head", "weights=imagenet", "precision=fp32")
ROOT = Path(__file__).resolve().parents[2]
AVERAGES = ("linear+knn", "knn+kernel_ridge", "mixture+match", "match+local_ridge")


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / RESULT).read_text())
    return found


def predicted(folder: Path) -> NDArray[np.float64]:
    with (folder / PREDICTIONS).open() as file:
        rows = csv.DictReader(file)
        return np.array([[float(row["pred_lat_deg"]), float(row["pred_lon_deg"])] for row in rows])


@pytest.mark.parametrize("head", [*HEADS, *AVERAGES])
def test_a_run_of_a_head_predicts_what_it_has_written(head: str, workdir: Path) -> None:
    outcome = train.run(tiny_config(*FROZEN, f"head={head}"))
    found = result(outcome.folder)
    assert found["state"] == "finished"
    assert found["cost"]["epochs"] == (2 if set(head.split("+")) & set(TRAINED_HEADS) else 1)
    dataset = dataset_of(outcome.folder)
    assert dataset is not None
    with (outcome.folder / PREDICTIONS).open() as file:
        names = [row["photo"] for row in csv.DictReader(file)]
    rows = [dataset.manifest["photo"].tolist().index(name) for name in names]
    again = Predictor.load(outcome.folder).positions(dataset.pixels()[rows])
    assert again == pytest.approx(predicted(outcome.folder), abs=1e-7)


@pytest.mark.parametrize("head", ["mlp", "cells", "knn", "match+local_ridge"])
def test_two_runs_of_a_head_agree_to_the_last_digit(head: str, workdir: Path) -> None:
    first = train.run(tiny_config(*FROZEN, f"head={head}")).folder
    second = train.run(tiny_config(*FROZEN, f"head={head}", "study=other")).folder
    assert (first / PREDICTIONS).read_bytes() == (second / PREDICTIONS).read_bytes()


@pytest.mark.parametrize("head", ["mlp", "cells", "mixture", "metric", "linear+knn"])
def test_a_head_that_failed_midway_goes_on_to_the_same_weights(head: str, workdir: Path) -> None:
    words = (*FROZEN, f"head={head}", "max_epochs=4")

    def stop(epoch: int, _: object) -> None:
        if epoch == 3:
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        train.run(tiny_config(*words), on_epoch=stop)
    resumed = train.run(tiny_config(*words))
    assert resumed.resumed_epoch == 2
    whole = train.run(tiny_config(*words, "study=other"))
    assert (resumed.folder / PREDICTIONS).read_bytes() == (whole.folder / PREDICTIONS).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("head", ["metric", "match+kernel_ridge"])
def test_a_head_killed_at_a_random_moment_ends_the_same(head: str, workdir: Path) -> None:
    words = (*FROZEN, f"head={head}", "max_epochs=6")
    whole = train.run(tiny_config(*words, "study=other"))
    folder = workdir / "runs" / "default" / whole.run_id
    command = [sys.executable, "-m", "img2gps.train", *TINY, *words]
    for _ in range(2):
        process = subprocess.Popen(command, cwd=workdir, stderr=subprocess.DEVNULL)
        while process.poll() is None and not folder.is_dir():
            time.sleep(0.01)
        time.sleep(random.Random(time.time_ns()).uniform(0, 1))
        process.kill()
        process.wait()
    subprocess.run(command, cwd=workdir, check=True)
    assert (folder / PREDICTIONS).read_bytes() == (whole.folder / PREDICTIONS).read_bytes()
    first, second = (
        torch.load(path / CHECKPOINT, weights_only=True)["state_dict"]
        for path in (folder, whole.folder)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_runs_share_the_features_of_a_data_set(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.run(tiny_config(*FROZEN, "head=knn"))

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(frozen, "compute_features", refuse)
    for words in ("head=ridge", "head=linear", "split.seed=1"):
        assert train.run(tiny_config(*FROZEN, words)).state == "finished"


def test_the_checkpoint_of_a_frozen_run_leaves_the_backbone_out(workdir: Path) -> None:
    folder = train.run(tiny_config(*FROZEN, "head=ridge")).folder
    state = torch.load(folder / CHECKPOINT, weights_only=True)["state_dict"]
    assert {name for name in state if "head" in name} == {"model.head.weight", "model.head.bias"}
    assert not [name for name in state if "backbone" in name]


def test_a_backbone_that_was_drawn_is_kept_in_the_checkpoint(workdir: Path) -> None:
    words = (*FROZEN[:2], "weights=none", "head=knn")
    outcome = train.run(tiny_config(*words))
    dataset = dataset_of(outcome.folder)
    assert dataset is not None
    answers = Predictor.load(outcome.folder).positions(dataset.pixels()[:3])
    assert np.isfinite(answers).all()
    state = torch.load(outcome.folder / CHECKPOINT, weights_only=True)["state_dict"]
    assert [name for name in state if "backbone" in name]


def test_the_result_names_what_was_chosen(workdir: Path) -> None:
    found = result(train.run(tiny_config(*FROZEN, "head=knn")).folder)["model"]
    assert found["heads.knn.k"] in (1, 3, 5, 10, 20, 50)
    assert found["heads.knn.temperature"] > 0


def test_a_mixture_reports_how_well_its_density_fits(workdir: Path) -> None:
    words = (*FROZEN, "head=mixture", "monitor=val/nll")
    found = result(train.run(tiny_config(*words)).folder)["metrics"]
    assert 0 < found["val/nll"] < 30
    assert 0 <= found["val/coverage_50"] <= found["val/coverage_90"] <= 1
    with pytest.raises(BadInput, match="monitor=val/nll: not a metric of an epoch"):
        tiny_config(*FROZEN, "head=linear", "monitor=val/nll").check_trainable()


def test_a_solved_head_needs_one_epoch_whatever_max_epochs_says(workdir: Path) -> None:
    folder = train.run(tiny_config(*FROZEN, "head=ridge", "max_epochs=9")).folder
    assert len((folder / HISTORY).read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "same"),
    [
        ("heads.mlp.width=7", True),  # a knob of a head that is not in use
        ("heads.knn.k=3", False),
        ("head=knn+ridge", False),
        ("model.train=last_blocks", False),
    ],
)
def test_run_id_has_the_knobs_of_the_heads_in_use(words: str, same: bool, workdir: Path) -> None:
    base: tuple[str, ...] = (*FROZEN, "head=linear+knn", "weights=none")
    if "last_blocks" in words:
        base = ("model=resnet18", "weights=none")
    one, other = plan_run(tiny_config(*base)), plan_run(tiny_config(*base, words))
    assert (one.run_id == other.run_id) is same


def test_defaults_add_nothing_to_the_identity(workdir: Path) -> None:
    identity = plan_run(tiny_config()).identity
    assert "head" not in identity
    assert set(identity["model"]) == {"name", "family", "depth", "custom"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("head=knnn",),
            "head=knnn: no head; one of: linear, mlp, cells, mixture, metric, knn, ridge, "
            "kernel_ridge, local_ridge, match",
        ),
        (("head=knn+knn",), r"head=knn\+knn: a head is named twice"),
        (("head=knn",), r"head=knn: needs a backbone that is not trained; add model.train=head"),
        (("heads.knn.k=0",), r"heads.knn.k=0: must be above 0"),
        (("heads.match.blend=inf",), "heads.match.blend=inf: must be a number, 0 or more"),
        (("heads.kernel_ridge.width=1e20",), "heads.kernel_ridge.width=1e"),
        (("heads.local_ridge.width=1e20",), "heads.local_ridge.width=1e"),
    ],
)
def test_a_head_that_cannot_be_is_refused(
    words: tuple[str, ...], message: str, workdir: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        tiny_config(*words)


def test_a_batch_of_one_photo_is_refused_for_an_mlp(workdir: Path) -> None:
    with pytest.raises(BadInput, match=r"a batch of one photo \(of 36\) with head=mlp leaves"):
        plan_run(tiny_config(*FROZEN, "head=mlp", "batch_size=35", "weights=none"))


@pytest.mark.parametrize(
    ("batch_size", "message"), [(28, "a batch of one photo (of 29)"), (35, "no batch")]
)
def test_photos_that_decide_when_to_stop_are_in_no_batch(
    batch_size: int, message: str, workdir: Path
) -> None:
    words = (*FROZEN, "head=mlp", "weights=none", "patience=1", f"batch_size={batch_size}")
    if batch_size == 35:
        plan_run(tiny_config(*words))  # 36 training photos would end on a batch of one
    with pytest.raises(BadInput, match=re.escape(message)):
        plan_run(tiny_config(*words, f"drop_last={batch_size > 29}"))


def test_only_the_blocks_of_the_coarsest_map_are_trained(workdir: Path) -> None:
    words = ("weights=none", "model.train=last_blocks", "max_epochs=1")
    folder = train.run(tiny_config("model=resnet18", *words)).folder
    frozen_run = train.run(tiny_config("model=resnet18", *words, "lr=1e-9", "seed=0")).folder
    states = [
        torch.load(path / CHECKPOINT, weights_only=True)["state_dict"]
        for path in (folder, frozen_run)
    ]
    moved = {
        name.removeprefix("model.backbone.").split(".")[0]
        for name, value in states[0].items()
        if "backbone" in name and not torch.allclose(value, states[1][name], atol=1e-6)
    }
    assert moved == {"layer4"}


@pytest.mark.parametrize("head", ["cells", "mixture"])
def test_heads_with_a_loss_of_their_own_train_a_backbone_too(head: str, workdir: Path) -> None:
    words = ("weights=none", "precision=fp32", f"head={head}")
    outcome = train.run(tiny_config(*words))
    usual = train.run(tiny_config("weights=none", "precision=fp32"))
    assert outcome.state == "finished"
    assert outcome.run_id != usual.run_id
    dataset = dataset_of(outcome.folder)
    assert dataset is not None
    assert np.isfinite(Predictor.load(outcome.folder).positions(dataset.pixels()[:4])).all()


def test_what_a_head_is_drawn_from_does_not_depend_on_earlier_runs(workdir: Path) -> None:
    code = (
        "from img2gps import train; from tests.helpers.tiny import tiny_config; import sys;"
        f"words = {(*FROZEN, 'head=mlp')!r};"
        "[train.run(tiny_config(*words, f'seed={s}', 'logger=none')) for s in sys.argv[1:]]"
    )
    for name, seeds in (("one", ["7"]), ("two", ["3", "7"])):
        folder = workdir / name
        folder.mkdir()
        command = [sys.executable, "-c", code, *seeds]
        subprocess.run(command, cwd=folder, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    alone, after = (
        {
            path.parent.name: path.read_bytes()
            for path in workdir.glob(f"{name}/runs/*/*/{PREDICTIONS}")
        }
        for name in ("one", "two")
    )
    (run_id,) = alone
    assert alone[run_id] == after[run_id]
