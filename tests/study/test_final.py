"""A study's final model: the average of a cell's runs, or a refit on every photo."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from img2gps import Localizer, train
from img2gps.analysis.collect import load_study
from img2gps.analysis.overview import analyse
from img2gps.cli.main import main
from img2gps.config.compose import read_config
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.inference.exported import read_exported
from img2gps.inference.localizer import load
from img2gps.runs.folder import CHECKPOINT, CONFIG, PREDICTIONS
from img2gps.runs.records import StudyRecord, StudyRun, write_study
from img2gps.runs.states import RunState
from img2gps.runs.winner import read_winner, write_winner
from img2gps.study.final import make_final
from img2gps.study.selection import select
from tests.helpers.tiny import tiny_config

SIZE = ("image_size=32", "max_epochs=1")


def study_of(root: Path, name: str, overrides: dict[str, tuple[str, ...]]) -> StudyRecord:
    """Train one run for each entry (cell to overrides) and record them as a study."""
    runs = []
    for cell, given in overrides.items():
        made = train.run(tiny_config(*SIZE, f"study={name}", f"runs.root={root}", *given))
        params = dict(pair.split("=") for pair in cell.split(",") if not pair.startswith("seed"))
        seed = next((int(p[5:]) for p in cell.split(",") if p.startswith("seed=")), 0)
        told = ",".join(f"{k}={v}" for k, v in params.items())
        path = f"{name}/{made.run_id}"
        runs.append(StudyRun(told, seed, params=params, run_id=made.run_id, path=path))
        runs[-1] = StudyRun(**{**vars(runs[-1]), "state": RunState.finished, "value": made.value})
    study = StudyRecord(name, runs=runs, seeds=sorted({run.seed for run in runs}))
    write_study(root, study)
    write_winner(root / name, select(study, root))
    return study


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """Runs of two studies: a cell with two seeds, and one with two folds."""
    folder = tmp_path_factory.mktemp("final") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMG2GPS_CACHE", str(shared_cache))
        study_of(folder, "seeds", {f"lr=0.001,seed={s}": (f"seed={s}",) for s in (0, 1)})
        folds = ("split=kfold", "split.folds=2")
        study_of(
            folder,
            "folds",
            {f"lr=0.001,split.fold={i}": (*folds, f"split.fold={i}") for i in (0, 1)},
        )
    return folder


def predictions(root: Path, name: str) -> list[pd.DataFrame]:
    return [pd.read_csv(path) for path in sorted(root.glob(f"{name}/*/{PREDICTIONS}"))]


def test_final_of_seeds_is_their_average(root: Path, shared_cache: Path) -> None:
    made, folder = make_final("seeds", root)
    assert (made.card.kind, len(made.card.runs)) == ("average", 2)
    one, two = predictions(root, "seeds")
    lat = (one["pred_lat_deg"] + two["pred_lat_deg"]) / 2
    lon = (one["pred_lon_deg"] + two["pred_lon_deg"]) / 2
    error = geo.distance_m(one["lat_deg"], one["lon_deg"], lat, lon)
    assert made.card.expected is not None
    assert made.card.expected.rmse_m == pytest.approx(float(np.sqrt(np.mean(error**2))), rel=1e-6)
    assert made.card.expected.what == "validation photos"
    again = read_exported(folder)
    assert again.card == made.card
    assert "the average of 2 networks" in (folder / "README.md").read_text()


def test_study_s_name_means_its_final_model(
    root: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch, quad_photos: Path
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))
    make_final("seeds", root)
    localizer = Localizer.load("seeds", [root])
    assert localizer.card.kind == "average"
    one, two = predictions(root, "seeds")
    photos = [quad_photos / name for name in one["photo"]]
    for i, position in enumerate(localizer.predict(photos, neighbours=2)):
        lat = (one["pred_lat_deg"][i] + two["pred_lat_deg"][i]) / 2
        assert position.lat_deg == pytest.approx(lat, abs=1e-7)
        assert len(position.neighbours) == 2  # its runs are still here


@pytest.mark.parametrize("name", ["seeds", "folds"])
def test_a_frozen_average_answers_with_all_runs_of_the_winning_cell(
    name: str, root: Path, tmp_path: Path, shared_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("final"))
    words = ["select", name, "--runs", str(tmp_path), "--again", "--hidden", "8"]
    for more in ([], ["--average"]):
        with pytest.raises(SystemExit, match="0"):
            main([*words, *more])
        found = read_winner(tmp_path / name)
        assert found is not None
        write_winner(tmp_path / name, replace(found, test={**(found.test or {}), "of": str(more)}))
    with pytest.raises(SystemExit, match="0"):
        main([*words[:5], "--average"])
    kept = read_winner(tmp_path / name)
    assert kept is not None
    assert kept.test is not None
    assert kept.test["of"] == "['--average']"  # not of the single run, which answers otherwise
    winner = read_winner(tmp_path / name)
    assert winner is not None
    assert winner.test is not None
    both = [pd.read_csv(path) for path in sorted((tmp_path / name).glob(f"*/{PREDICTIONS}"))]
    photos = pd.concat(both).groupby("content").mean(numeric_only=True)
    columns = ("lat_deg", "lon_deg", "pred_lat_deg", "pred_lon_deg")
    error = geo.distance_m(*(photos[column] for column in columns))
    expected_m = float(np.sqrt(np.mean(error**2)))
    assert winner.average_rmse_m == pytest.approx(expected_m, rel=1e-6)
    assert f"the average of its 2 runs, {expected_m:.2f} m" in capsys.readouterr().out
    deployed = load(name, [tmp_path])
    assert deployed.card.kind == "average"
    assert set(deployed.card.runs) == {Path(path).name for path in winner.average}


def test_one_run_that_was_frozen_does_not_become_an_average_by_itself(root: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["select", "seeds", "--runs", str(root), "--average"])


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """Runs of a study of three cells, whose rule averages the best two."""
    folder = tmp_path_factory.mktemp("top") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMG2GPS_CACHE", str(shared_cache))
        rates = ("0.0003", "0.001", "0.01")
        study = study_of(folder, "cells", {f"lr={lr}": (f"lr={lr}",) for lr in rates})
    (folder / "cells" / "winner.json").unlink()
    write_study(folder, replace(study, select={"top": 2}))
    return folder


def best_two(root: Path) -> list[Path]:
    tables = {path: pd.read_csv(path) for path in root.glob(f"cells/*/{PREDICTIONS}")}
    return sorted(tables, key=lambda path: float((tables[path]["error_m"] ** 2).mean()))[:2]


def rmse_of_mean_answer(files: list[Path]) -> float:
    photos = pd.concat(map(pd.read_csv, files)).groupby("content").mean(numeric_only=True)
    columns = ("lat_deg", "lon_deg", "pred_lat_deg", "pred_lon_deg")
    error = geo.distance_m(*(photos[column] for column in columns))
    return float(np.sqrt(np.mean(error**2)))


def test_rule_that_names_two_cells_answers_with_their_average(
    cells: Path, tmp_path: Path, shared_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(cells, tmp_path, dirs_exist_ok=True)
    with pytest.raises(SystemExit, match="0"):
        main(["select", "cells", "--runs", str(tmp_path)])
    said = capsys.readouterr().out
    winner = read_winner(tmp_path / "cells")
    assert winner is not None
    best = best_two(tmp_path)
    assert [path.parent.name for path in best] == [Path(path).name for path in winner.average]
    assert (winner.top, len(winner.cells)) == (2, 2)
    assert winner.average_rmse_m == pytest.approx(rmse_of_mean_answer(best), rel=1e-6)
    assert winner.average_expected_m is not None
    assert f"the average of all 2 runs of the 2 best cells, {winner.average_rmse_m:.2f} m" in said
    assert f"on these photos: expect {winner.average_expected_m:.2f} m" in said
    assert "note: the study's rule" not in said
    made, _ = make_final("cells", tmp_path)
    assert made.card.runs == [path.parent.name for path in best]
    assert made.card.title.endswith(" and 1 cell more")
    assert made.card.expected is not None
    assert made.card.expected.rmse_m == pytest.approx(winner.average_rmse_m)
    assert set(load("cells", [tmp_path]).card.runs) == set(made.card.runs)


def test_number_of_cells_that_the_rule_does_not_say_is_told(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(cells, tmp_path, dirs_exist_ok=True)
    words = ["select", "cells", "--runs", str(tmp_path)]
    for top, status in (("3", "0"), ("2", "2")):
        with pytest.raises(SystemExit, match=status):
            main([*words, "--top", top])
    said = capsys.readouterr()
    assert "the average of all 3 runs of the 3 best cells" in said.out
    assert "corrected for having been selected" not in said.out  # all cells answer
    assert "note: the study's rule does not say to average 3 cells" in said.out
    assert "--top: " in said.err
    assert "holds the winner that was frozen before" in said.err
    winner = read_winner(tmp_path / "cells")
    assert winner is not None
    assert winner.average_rmse_m == pytest.approx(
        rmse_of_mean_answer(sorted(tmp_path.glob(f"cells/*/{PREDICTIONS}"))), rel=1e-6
    )


def test_refit_of_several_cells_trains_each_of_them(
    cells: Path, tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))
    shutil.copytree(cells, tmp_path, dirs_exist_ok=True)
    with pytest.raises(SystemExit, match="0"):
        main(["select", "cells", "--runs", str(tmp_path)])
    rates = {read_config(path.parent / CONFIG).lr for path in best_two(tmp_path)}
    refit, _ = make_final("cells", tmp_path, refit=True)
    assert {read_config(folder / CONFIG).lr for folder in refit.folders} == rates
    folds, _ = make_final("cells", tmp_path, folds=2)
    assert sorted(read_config(folder / CONFIG).lr for folder in folds.folders) == sorted(
        [*rates, *rates]
    )


def test_card_says_which_runs_could_not_become_part_of_the_model(
    cells: Path, tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))
    shutil.copytree(cells, tmp_path, dirs_exist_ok=True)
    with pytest.raises(SystemExit, match="0"):
        main(["select", "cells", "--runs", str(tmp_path)])
    (best_two(tmp_path)[1].parent / CHECKPOINT).unlink()
    made, folder = make_final("cells", tmp_path)
    assert len(made.card.runs) == 1
    note = "1 run of 2 had no weights and did not become part of it."
    assert note in made.card.notes
    assert note in (folder / "README.md").read_text()
    (best_two(tmp_path)[0].parent / CHECKPOINT).unlink()
    with pytest.raises(BadInput, match=r"has no weights; .* train it here with: python -m"):
        make_final("cells", tmp_path)


def test_each_fold_is_judged_on_photos_that_it_did_not_see(root: Path) -> None:
    made, folder = make_final("folds", root)
    card = (folder / "README.md").read_text()
    n_train = made.card.data["n_train"]
    assert f"About {n_train} photos for each of its 2 networks, other ones for each, of" in card
    assert "app.py" not in card  # which is not there
    expected = made.card.expected
    assert expected is not None
    together = pd.concat(predictions(root, "folds"))
    assert (expected.what, expected.n_photos) == ("out-of-fold photos", len(together))
    assert expected.rmse_m == pytest.approx(float(np.sqrt(np.mean(together["error_m"] ** 2))))


def test_the_interval_of_folds_is_the_reports(root: Path) -> None:
    made, _ = make_final("folds", root)
    expected = made.card.expected
    assert expected is not None
    ranking = analyse(load_study(root / "folds", [root])).rankings[0]
    shown = ranking.winner.interval
    # the same photos in another order draw other resamples
    assert (expected.low_m, expected.high_m) == pytest.approx((shown.low, shown.high), rel=0.01)


def test_refit_trains_on_every_photo_and_keeps_the_honest_error(
    root: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))
    average, _ = make_final("folds", root)
    made, _ = make_final("folds", root, refit=True)
    assert made.card.kind == "refit"
    assert made.card.data["n_train"] == made.card.data["n"] == 48
    assert made.card.expected == average.card.expected
    assert made.card.trust is not None
    assert not made.card.trust.knows_strangers
    result = json.loads((made.folders[0] / "result.json").read_text())
    assert (result["data"]["n_val"], result["metrics"]["val/rmse_m"]) == (0, None)
    again = load("folds", [root])
    assert again.card.notes == made.card.notes


def test_unselected_study_is_told_the_command(root: Path, tmp_path: Path) -> None:
    write_study(tmp_path, StudyRecord("new"))
    with pytest.raises(BadInput, match="run: img2gps select new"):
        make_final("new", tmp_path)
    with pytest.raises(BadInput, match="nowhere: no such study"):
        make_final("nowhere", tmp_path)


def test_folds_of_its_own_measure_on_photos_that_chose_nothing(
    tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))
    root = tmp_path / "runs"
    study_of(root, "two", {f"lr={lr}": (f"lr={lr}",) for lr in ("0.001", "0.01")})
    average, _ = make_final("two", root)
    assert average.card.expected is not None
    assert average.card.expected.flattered
    made, _ = make_final("two", root, folds=2)
    expected, trust = made.card.expected, made.card.trust
    assert expected is not None
    assert trust is not None
    chose = set(predictions(root, "two")[0]["content"])
    folds = pd.concat(predictions(root, "two_folds"))
    rest = folds[~folds["content"].isin(chose)]
    assert (expected.n_photos, expected.flattered) == (len(folds) - len(chose), False)
    assert expected.rmse_m == pytest.approx(float(np.sqrt(np.mean(rest["error_m"] ** 2))))
    assert (trust.n_photos, trust.ranked_cells) == (expected.n_photos, 1)
    assert made.card.kind == "average"


def test_members_with_frozen_features_keep_their_backbone_once(
    tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))
    frozen = ("model=efficientnet_lite0", "weights=imagenet", "model.train=head", "head=ridge",
              "split=kfold", "split.folds=2")  # fmt: skip
    study_of(
        tmp_path,
        "frozen",
        {f"head=ridge,split.fold={i}": (*frozen, f"split.fold={i}") for i in (0, 1)},
    )
    made, folder = make_final("frozen", tmp_path)
    assert (folder / "model.safetensors").stat().st_size < 20e6  # the backbone has 3.4 million
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    here, there = (
        np.array([[p.lat_deg, p.lon_deg] for p in Localizer(deployed).predict(list(pixels))], float)
        for deployed in (made, read_exported(folder))
    )
    np.testing.assert_allclose(there, here, atol=1e-6)
