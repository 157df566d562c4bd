"""A saved run used again: without its photos, without calling what its configuration names."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from img2gps import train
from img2gps.core.errors import BadInput
from img2gps.core.files import write_json
from img2gps.inference.evaluate import evaluate_test
from img2gps.inference.predict import Predictor
from img2gps.photos import quad
from img2gps.runs import outcome, resume
from img2gps.runs.folder import (
    CHECKPOINT,
    CONFIG,
    PREDICTIONS,
    PREDICTIONS_TEST,
    WINNER,
    RunFolder,
    resolve_folder,
)
from img2gps.runs.records import RESULT, STUDY
from tests.helpers.photos import make_photo
from tests.helpers.tiny import TINY, config, tiny_config


@pytest.fixture
def photos(workdir: Path) -> Path:
    folder = workdir / "photos"
    quad.render(quad.QuadSpec(n=20, width=96, height=72), folder, threads=1, progress=False)
    return folder


def own_photos(*more: str) -> outcome.Outcome:
    """A tiny run on a folder of photos that is named relative to the working directory."""
    shared = [line for line in TINY if not line.startswith("data")]
    own = ("data=photos", "data.root=photos", "split.n_val=6", "image_size=32", "max_epochs=1")
    return train.run(config(*shared, *own, *more))


def test_a_run_predicts_when_its_training_photos_are_gone(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_photos().folder.resolve()
    picture = np.zeros((1, 32, 32, 3), np.uint8)
    before = Predictor.load(folder).positions(picture)
    shutil.rmtree(photos)
    monkeypatch.chdir("/")
    assert np.array_equal(Predictor.load(folder).positions(picture), before)


def test_a_test_part_is_scored_from_any_working_directory(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_photos("split.n_test=4").folder.resolve()
    monkeypatch.chdir("/")
    assert evaluate_test(folder)["n_test"] == 4


def test_photos_that_came_later_do_not_become_test_photos(photos: Path) -> None:
    folder = own_photos("split.n_test=4").folder
    make_photo(photos / "new.jpg", 39.9530, -75.1900, seed=99)
    with pytest.raises(BadInput, match="or their division have changed since it was trained"):
        evaluate_test(folder)
    (photos / "new.jpg").unlink()
    saved = yaml.safe_load((folder / CONFIG).read_text())
    saved["split"]["n_test"] = 8
    (folder / CONFIG).write_text(yaml.safe_dump(saved))
    with pytest.raises(BadInput, match="or their division have changed since it was trained"):
        evaluate_test(folder)


def test_a_source_named_in_a_saved_run_is_never_called(photos: Path, tmp_path: Path) -> None:
    folder = own_photos("split.n_test=4").folder
    saved = yaml.safe_load((folder / CONFIG).read_text())
    called = tmp_path / "called"
    saved["data"] |= {"kind": "custom"}
    saved["data"]["custom"] = {"_target_": "os.makedirs", "name": str(called)}
    (folder / CONFIG).write_text(yaml.safe_dump(saved))
    with pytest.raises(BadInput, match=r"photos come from a source of your own .* never imported"):
        evaluate_test(folder)
    assert not called.exists()


def test_hidden_photos_are_of_known_and_new_spots_as_they_were_made(workdir: Path) -> None:
    folder = train.run(tiny_config("max_epochs=1")).folder
    figures = evaluate_test(folder, hidden=8)
    with (folder / PREDICTIONS_TEST).open() as file:
        rows = list(csv.DictReader(file))
    for name, part in (("known_spots", "test_known"), ("new_spots", "test_new")):
        chosen = [row for row in rows if row["photo"].startswith(f"{part}/")]
        assert len(chosen) == 4
        assert {row["known_spot"] for row in chosen} == {str(int(part == "test_known"))}
        errors = np.array([float(row["error_m"]) for row in chosen])
        assert figures[f"test/{name}_rmse_m"] == pytest.approx(np.sqrt(np.mean(errors**2)))


def test_an_average_is_scored_by_the_mean_of_its_members_answers(workdir: Path) -> None:
    first, second = (train.run(tiny_config("max_epochs=1", f"seed={i}")).folder for i in (0, 1))

    def scored(folder: Path, *others: Path) -> np.ndarray:
        evaluate_test(folder, hidden=8, others=others)
        with (folder / PREDICTIONS_TEST).open() as file:
            rows = list(csv.DictReader(file))
        return np.array([[float(row["pred_lat_deg"]), float(row["pred_lon_deg"])] for row in rows])

    alone = [scored(first), scored(second)]
    assert scored(first, second) == pytest.approx(np.mean(alone, axis=0), abs=1e-7)


def test_a_spot_that_the_split_holds_out_is_new_to_the_run(workdir: Path) -> None:
    folder = train.run(tiny_config("max_epochs=1", "split.n_train=4")).folder
    evaluate_test(folder, hidden=40)
    with (folder / PREDICTIONS_TEST).open() as file:
        rows = [row for row in csv.DictReader(file) if row["photo"].startswith("test_known/")]
    assert {row["known_spot"] for row in rows} == {"0", "1"}


FROZEN = ("model=efficientnet_lite0", "model.train=head", "weights=imagenet", "precision=fp32")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("runs.keep_optimizer=true",),
        ("ema=0.9",),
        (*FROZEN, "head=mlp"),
        (*FROZEN, "head=linear+knn"),
    ],
)
def test_a_kill_while_the_result_is_written_loses_no_training(
    words: tuple[str, ...], workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train.run(tiny_config("study=whole", *words))

    def killed(path: Path, value: object) -> None:
        raise KeyboardInterrupt(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(outcome, "write_result", killed)
        with pytest.raises(KeyboardInterrupt):
            train.run(tiny_config(*words))
    (folder,) = (path.parent for path in Path("runs/default").glob("*/config.yaml"))
    assert resume.checkpoint_epoch(RunFolder(folder), 2) == 2
    done = train.run(tiny_config(*words))
    assert done.resumed_epoch == 2
    weights = [
        torch.load(path / CHECKPOINT, weights_only=True)["state_dict"]
        for path in (whole.folder, done.folder)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert (whole.folder / PREDICTIONS).read_text() == (done.folder / PREDICTIONS).read_text()


def test_mean_predictor_is_that_of_the_photos_that_were_validated(workdir: Path) -> None:
    folder = train.run(
        tiny_config("max_epochs=1", "val_batch_size=4", "trainer.limit_val_batches=2")
    ).folder
    with (folder / PREDICTIONS).open() as file:
        mean = [float(row["mean_error_m"]) for row in csv.DictReader(file)]
    result = json.loads((folder / RESULT).read_text())
    assert len(mean) == 8
    expected = np.sqrt(np.mean(np.square(mean)))
    assert result["mean_predictor/rmse_m"] == pytest.approx(expected)
    assert result["skill"] == pytest.approx(1 - result["metrics"]["val/rmse_m"] ** 2 / expected**2)


def test_a_studys_name_stands_for_its_frozen_winner(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "s" / "0123456789"
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text("{}")
    (folder.parent / STUDY).write_text("{}")
    with pytest.raises(BadInput, match="a study of which img2gps select has frozen the winner"):
        resolve_folder("s", [tmp_path / "runs"])
    write_json(tmp_path / "runs" / "s" / WINNER, {"path": "s/0123456789"})
    assert resolve_folder("s", [tmp_path / "runs"]) == folder
