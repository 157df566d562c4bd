"""What may be concluded from a study: rankings, marks, importance."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics.pairwise import haversine_distances

from img2gps.analysis import stats
from img2gps.analysis.answer import sentences
from img2gps.analysis.checks import importance
from img2gps.analysis.collect import load_study
from img2gps.analysis.contrast import contrast
from img2gps.analysis.overview import analyse
from img2gps.analysis.radius import scores
from img2gps.analysis.ranking import Ranking
from img2gps.analysis.scene import scene_of
from img2gps.analysis.tuning import tuning_curve
from img2gps.study.selection import select
from tests.conftest import ROOT
from tests.helpers.fake_study import KNN, Options, make_study


def test_zero_is_the_same_value_however_it_is_written(tmp_path: Path) -> None:
    axes = {"weight_decay": [0, 0.01], "lr": [0.001, 0.003]}
    made = make_study(tmp_path, "s", Options(axes=axes))
    (ranking,) = analyse(load_study(made.folder, [])).rankings
    assert ranking.no_importance == ""
    assert {effect.axes for effect in ranking.importance} >= {("weight_decay",), ("lr",)}


def test_a_list_of_cells_has_no_edge_where_none_differ_in_one_knob_alone(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003], "weight_decay": [0.1, 0.2]}
    made = make_study(tmp_path, "s", Options(axes=axes))
    (ranking,) = analyse(load_study(made.folder, [])).rankings
    assert [edge.axis for edge in ranking.edges] == ["lr", "weight_decay"]
    study = json.loads((made.folder / "study.json").read_text())
    diagonal = [(0.001, 0.1), (0.003, 0.2)]
    study["cells"] = [
        cell
        for cell in study["cells"]
        if (cell["params"]["lr"], cell["params"]["weight_decay"]) in diagonal
    ]
    (made.folder / "study.json").write_text(json.dumps(study))
    (ranking,) = analyse(load_study(made.folder, [])).rankings
    assert ranking.edges == []


def test_cells_of_a_list_are_not_called_missing_from_a_grid(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003], "head": ["knn", "ridge"]}
    made = make_study(tmp_path, "s", Options(axes=axes))
    study = load_study(made.folder, [])
    errors = analyse(study).rankings[0].errors
    listed: list[dict[str, Any]] = [{"lr": 0.001}, {"head": "knn"}]  # each has a knob of its own
    assert importance(study, errors, listed) == ([], "the cells are a list, not a grid")


def fold_study(tmp_path: Path, **changes: Any) -> Ranking:
    axes: dict[str, list[Any]] = {"lr": [0.001], "split.fold": [0, 1, 2]}
    options = Options(axes=axes, split_kind="kfold", n_val=30, n_spots=20, **changes)
    made = make_study(tmp_path, "s", options)
    return analyse(load_study(made.folder, [])).rankings[0]


def test_baselines_of_folds_are_pooled_as_the_cells_are(tmp_path: Path) -> None:
    ranking = fold_study(tmp_path)
    for stored in (True, False):  # photo by photo, or by the results' figures alone
        rmse = {baseline.name: baseline.rmse_m for baseline in ranking.baselines}
        assert rmse["mean"] == pytest.approx(
            float(np.sqrt(np.mean(ranking.errors.baseline_error_m["mean"][0] ** 2)))
        )
        assert rmse["knn"] == pytest.approx(KNN * rmse["mean"])
        assert [b.name for b in ranking.baselines if b.interval] == (
            ["mean", "knn", "ridge"] if stored else ["mean"]
        )
        assert (ranking.winner.beats_baselines is None) is not stored
        for path in tmp_path.glob("s/*/baselines.csv"):
            path.unlink()
        ranking = analyse(load_study(tmp_path / "s", [])).rankings[0]


def test_each_number_of_training_photos_has_its_own_baselines(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes={"split.n_train": [170, 681]}, n_val=40))
    for path in made.folder.glob("*/result.json"):
        result = json.loads(path.read_text())
        n_train = yaml.safe_load((path.parent / "config.yaml").read_text())["split.n_train"]
        result["data"]["n_train"] = n_train
        result["baselines"]["knn"]["val/rmse_m"] = 80.0 if n_train == 170 else 60.0
        path.write_text(json.dumps(result))
        (path.parent / "baselines.csv").unlink()
    (ranking,) = analyse(load_study(made.folder, [])).rankings
    neighbours = [b for b in ranking.baselines if b.name == "knn"]
    assert [(b.n_train, b.rmse_m, list(b.cells)) for b in neighbours] == [
        (170, 80.0, [0]),
        (681, 60.0, [1]),
    ]
    own = 60.0 if ranking.winner.params["split.n_train"] == 681 else 80.0
    assert own in [baseline.rmse_m for baseline in ranking.rivals]


def test_cells_that_beat_the_mean_predictor_may_not_beat_the_neighbours(tmp_path: Path) -> None:
    rmse = {0.001: 69.0, 0.003: 30.0, 0.005: 88.0}  # the neighbours: 0.82 of some 89 m
    made = make_study(
        tmp_path, "s", Options(axes={"lr": list(rmse)}, effect=lambda p: rmse[p["lr"]])
    )
    (ranking,) = analyse(load_study(made.folder, [])).rankings
    assert [cell.beats_mean for cell in ranking.cells] == [True, True, False]
    assert [cell.beats_baselines for cell in ranking.cells] == [False, True, False]
    assert sentences(ranking)[0].startswith("Shown to have learned: the lowest cell gets 3")
    assert ranking.rivals[0].name == "knn"


def test_the_first_sentence_names_the_stronger_answer_without_training(tmp_path: Path) -> None:
    worse = make_study(tmp_path, "worse", Options(axes={"lr": [0.1]}, effect=lambda _: 88.0))
    (ranking,) = analyse(load_study(worse.folder, [])).rankings
    assert "(nearest neighbours of frozen features)" in (first := sentences(ranking)[0])
    assert first.startswith("Beaten by an answer without training: the lowest cell gets")
    one = make_study(
        tmp_path, "one", Options(axes={"lr": [0.1]}, effect=lambda _: 30.0, seeds=(0,))
    )
    (ranking,) = analyse(load_study(one.folder, [])).rankings
    assert sentences(ranking)[0].startswith("Not shown to have learned more than an answer without")
    assert sentences(ranking)[0].endswith("); no verdict rests on one seed.")


def test_the_first_sentence_says_why_an_interval_without_0_is_not_enough() -> None:
    study = load_study(Path(__file__).parents[2] / "results" / "frozen_penn", [])
    ranking = analyse(study).rankings[0]
    assert ranking.over_strongest is not None
    assert ranking.over_strongest.high < 0
    first = sentences(ranking)[0]
    assert first.startswith("Not shown to have learned more than an answer without")
    assert first.endswith("; the test that allows for 7 cells does not confirm it.")


def test_the_first_sentence_names_another_answer_that_may_be_as_good() -> None:
    study = load_study(Path(__file__).parents[2] / "results" / "heads_trained", [])
    ranking = analyse(study).rankings[0]
    assert [rival.name for rival in ranking.rivals] == ["ridge", "knn", "mean"]
    assert ranking.winner.beats == {"mean": True, "knn": False, "ridge": True}
    assert not ranking.winner.beats_baselines
    assert sentences(ranking)[0].endswith(
        "; it is not shown to be better than the nearest neighbours of frozen features."
    )


def test_heads_that_no_seed_changes_are_judged_on_one(tmp_path: Path) -> None:
    axes = {"head": ["knn", "match+ridge"]}
    solved = Options(axes=axes, effect=lambda p: 30.0 if p["head"] == "knn" else 80.0, seeds=(0,))
    (ranking,) = analyse(load_study(make_study(tmp_path, "s", solved).folder, [])).rankings
    assert [cell.in_best_set for cell in ranking.cells] == [True, False]
    assert ranking.winner.interval.se_seeds == 0
    assert not any("seed" in note for note in ranking.notes)
    assert sentences(ranking)[0].startswith("Shown to have learned")
    assert "(no seed changes it, 95 % interval" in sentences(ranking)[1]
    trained = replace(solved, axes={"head": ["knn", "mlp"]})
    (ranking,) = analyse(load_study(make_study(tmp_path, "t", trained).folder, [])).rankings
    assert [cell.in_best_set for cell in ranking.cells] == [None, None]
    assert [cell.beats_baselines for cell in ranking.cells] == [True, None]
    assert sentences(ranking)[0].startswith("Shown to have learned: the lowest cell")
    assert "(no seed changes it, 95 % interval" in sentences(ranking)[1]
    assert any(note.startswith("Some cells have one seed") for note in ranking.notes)
    assert sentences(ranking)[2].startswith(
        "How sure: 1 of 2 cells has one seed, so differences from it"
    )
    assert sentences(ranking)[3].endswith("; the cell that could be tested is shown to do better.")
    assert not ranking.cells[0].interval.notes
    assert any("one seed" in note for note in ranking.cells[1].interval.notes)
    lowest = replace(trained, effect=lambda p: 80.0 if p["head"] == "knn" else 30.0)
    (ranking,) = analyse(load_study(make_study(tmp_path, "u", lowest).folder, [])).rankings
    assert sentences(ranking)[0].endswith("); no verdict rests on one seed.")


def test_average_of_the_seeds_is_scored_by_its_mean_answer(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes={"lr": [0.001, 0.003]}, seeds=(0, 1, 2)))
    study = load_study(made.folder, [])
    (ranking,) = analyse(study).rankings
    for cell in ranking.cells:
        runs = study.runs.index[study.runs["cell"] == cell.cell]
        table = study.predictions[study.predictions["run"].isin(runs)]
        mean = table.groupby("content")[["pred_lat_deg", "pred_lon_deg", "lat_deg", "lon_deg"]]
        places = np.radians(mean.mean().to_numpy())
        distances = np.diag(haversine_distances(places[:, :2], places[:, 2:])) * 6_371_008.8
        assert cell.averaged_rmse_m == pytest.approx(np.sqrt(np.mean(distances**2)), abs=0.05)
        assert cell.averaged_rmse_m < cell.interval.estimate


def test_one_seed_has_no_average(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes={"lr": [0.001, 0.003]}, seeds=(0,)))
    (ranking,) = analyse(load_study(made.folder, [])).rankings
    assert all(np.isnan(cell.averaged_rmse_m) for cell in ranking.cells)


@pytest.mark.parametrize("fresh", ["finished", "running"])
def test_fresh_seeds_alone_rank_the_cells_that_a_search_has_confirmed(
    tmp_path: Path, fresh: str
) -> None:
    made = make_study(tmp_path, "s", Options(axes={"lr": [0.001, 0.003, 0.005]}, n_val=40))
    path = made.folder / "study.json"
    plain = json.loads(path.read_text())
    best = ["lr=0.001", "lr=0.003"]
    plain["kind"] = "tpe"
    plain["cells"] = [c for c in plain["cells"] if c["seed"] == 0 or c["cell"] in best]
    plain["confirmation"] = {"cells": best, "seeds": [1, 2], "values": [1.0, 2.0], "trials": 3}
    last = plain["cells"][-2]
    if fresh == "running":
        last["state"] = fresh
        (made.folder / last["run_id"] / "result.json").unlink()
    path.write_text(json.dumps(plain))

    analysis = analyse(load_study(made.folder, []))
    (ranking,) = analysis.rankings
    values = {(c["cell"], c["seed"]): c["value"] for c in plain["cells"]}
    found = {cell.cell: cell.run_rmse_m for cell in ranking.cells}
    seeds = (1, 2) if fresh == "finished" else (0,)
    assert found["lr=0.001"] == pytest.approx([values["lr=0.001", seed] for seed in seeds])
    assert found["lr=0.005"] == pytest.approx([values["lr=0.005", 0]])
    if fresh == "finished":
        assert ranking.candidates == 2
        assert ranking.winner.cell in best
        winning = scene_of(analysis, ranking).winners_predictions
        assert set(winning["seed"]) == {1, 2}


MIXED: dict[str, float] = {"knn": 40.0, "ridge": 45.0, "mlp": 80.0}


def test_trained_heads_lend_no_luck_to_heads_that_no_seed_changes(tmp_path: Path) -> None:
    options = Options(axes={"head": list(MIXED)}, effect=lambda p: MIXED[p["head"]], seeds=(0,))
    ranking = analyse(load_study(make_study(tmp_path, "s", options).folder, [])).rankings[0]
    errors, found = ranking.errors, ranking.corrected.interval
    assert not errors.luck.cells  # of one seed each: the trained head's luck is assumed
    assert found is not None
    assert found.se_seeds == 0
    assert not found.notes
    alone = stats.selection_corrected(errors.error_m[:2], errors.places, luck=stats.NO_LUCK)
    assert alone.interval is not None
    for name in ("estimate", "low", "high"):  # the trained head is never chosen
        assert getattr(found, name) == pytest.approx(getattr(alone.interval, name), rel=0.01)
    own = contrast(ranking.study, {"head": "ridge"}, {"head": "knn"}).interval
    data = errors.error_m[1], errors.error_m[0], errors.places
    exact = stats.difference_interval(*data, luck=stats.NO_LUCK)
    for name in ("estimate", "low", "high", "se_photos", "se_seeds"):
        assert getattr(own, name) == pytest.approx(getattr(exact, name)), name


ALL_BUT_KNN: dict[str, bool | None] = {"mean": True, "knn": False, "ridge": True}


def test_the_first_sentence_counts_the_cells_that_were_tested(tmp_path: Path) -> None:
    lost = {(f"lr={lr}", 1): ("failed", "boom") for lr in range(3, 9)}
    options = Options(
        axes={"lr": list(range(1, 9))},
        effect=lambda p: 55.0 if p["lr"] == 1 else 75.0,
        seeds=(0, 1, 2),
        states=lost,
    )
    ranking = analyse(load_study(make_study(tmp_path, "s", options).folder, [])).rankings[0]
    assert ranking.candidates == 2
    ranking = replace(ranking, winner=replace(ranking.winner, beats=ALL_BUT_KNN))
    assert ranking.over_strongest is not None
    assert ranking.over_strongest.high < 0
    assert "the test that allows for 8 cells does not confirm it" in sentences(ranking)[0]


def test_baselines_whose_errors_one_cell_lacks_are_named_as_not_compared(tmp_path: Path) -> None:
    options = Options(axes={"lr": [1, 2]}, effect=lambda p: 30.0 * p["lr"])
    made = make_study(tmp_path, "s", options)
    for path in made.folder.glob("*/config.yaml"):
        if yaml.safe_load(path.read_text())["lr"] == 1:
            (path.parent / "baselines.csv").unlink()
    (ranking,) = analyse(load_study(made.folder, [])).rankings
    assert ranking.winner.beats == {"mean": True, "knn": None, "ridge": None}
    first = sentences(ranking)[0]
    assert first.startswith("Not shown to have learned more than an answer without training")
    assert "does not confirm" not in first


@pytest.mark.parametrize("axis", [[1, 2], [1, 2, 3]])
def test_a_single_cell_with_all_its_seeds_is_not_said_to_have_one_seed(
    tmp_path: Path, axis: list[int]
) -> None:
    lost = {(f"lr={lr}", 1): ("failed", "boom") for lr in axis[1:]}
    made = make_study(tmp_path, "s", Options(axes={"lr": axis}, states=lost))
    (ranking,) = analyse(load_study(made.folder, [])).rankings
    assert sentences(ranking)[2].startswith(
        "How sure: only one cell has all its seeds, so nothing was compared; "
    )


@pytest.mark.parametrize("n_spots", [1, 2, 3])
def test_a_handful_of_spots_can_be_ranked(tmp_path: Path, n_spots: int) -> None:
    for seed in range(4):
        options = Options(axes={"lr": [1, 2, 3]}, n_val=8, n_spots=n_spots, seed=seed)
        made = make_study(tmp_path, f"s{seed}", options)
        (ranking,) = analyse(load_study(made.folder, [])).rankings
        sure = sentences(ranking)[2]
        assert ("all photos are of one spot" in sure) is (ranking.errors.n_spots == 1)
        assert "inf" not in sure
        assert "interval no interval" not in " ".join(sentences(ranking))


def test_the_deployed_run_by_spots_has_no_luck_of_a_seed(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes={"lr": [1, 2]}, n_test=40))
    (ranking,) = analyse(load_study(made.folder, [])).rankings
    assert ranking.test_by_spots
    assert ranking.test is not None
    for found in (ranking.test, *ranking.test_by_spots.values()):
        assert found.se_seeds == 0
    assert ranking.known_spots is not None
    assert ranking.known_spots.se_seeds > 0  # of the validation part, which all seeds answer


def test_the_mean_predictor_is_that_of_the_cells_own_training_photos() -> None:
    results = ROOT / "results"
    ranking = analyse(load_study(results / "depth_vs_data", [results])).rankings[0]
    by_photos = {b.n_train: b for b in ranking.baselines if b.name == "mean"}
    assert len(by_photos) > 1
    for cell in ranking.cells:
        place = ranking.errors.cells.index(cell.cell)
        own = next(baseline for baseline in by_photos.values() if place in baseline.cells)
        assert ranking.mean_predictor_of(cell).estimate == pytest.approx(own.rmse_m)
    assert ranking.mean_predictor == ranking.mean_predictor_of(ranking.winner)


def test_heads_on_random_features_are_changed_by_the_seed(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"head": ["knn", "ridge"]}
    for start, luck_free in (("imagenet", True), ("random", False)):
        options = Options(axes=axes, seeds=(0,), weights=lambda _, start=start: start)  # type: ignore[misc]  # defaults in a lambda
        made = make_study(tmp_path, start, options)
        (ranking,) = analyse(load_study(made.folder, [])).rankings
        assert ranking.errors.solved.all() == luck_free
        assert ("no seed changes it" in sentences(ranking)[1]) == luck_free


def test_rounding_in_heads_that_no_seed_changes_says_nothing_of_the_luck(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"head": ["linear", "mlp", "knn", "ridge"]}
    made = make_study(tmp_path, "s", Options(axes=axes, seeds=(0, 1, 2)))
    errors = analyse(load_study(made.folder, [])).rankings[0].errors
    error = errors.error_m.copy()
    rounding = 1 + 1e-6 * np.random.default_rng(0).standard_normal(error[2:].shape)
    error[2:] = error[2:, :1] * rounding
    trained = stats.luck_of(error[:2], errors.places)
    assert replace(errors, error_m=error).luck == trained
    assert stats.luck_of(error, errors.places).relative < trained.relative


def test_the_radius_is_that_of_the_seed_that_is_deployed(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes={"lr": [0.001]}, seeds=(3, 1, 2)))
    study = load_study(made.folder, [tmp_path])
    (ranking,) = analyse(study).rankings
    deployed = select(study.record, tmp_path).seed
    errors = ranking.errors
    own = errors.error_m[0, errors.seeds.index(deployed)]
    assert deployed == 3
    assert ranking.radius.radius_m == scores(own, errors.spot).quantile(0.9)


def test_each_cell_is_shown_beside_the_mean_predictor_of_its_own_training_photos(
    tmp_path: Path,
) -> None:
    made = make_study(
        tmp_path,
        "s",
        Options(axes={"n": [50, 681]}, effect=lambda params: {50: 90.0, 681: 60.0}[params["n"]]),
    )
    study = load_study(made.folder, [tmp_path])
    for run in study.record.runs:
        if run.params["n"] == 50:
            path = made.folder / run.run_id / "predictions.csv"
            table = pd.read_csv(path, dtype={"content": str})
            table.assign(mean_error_m=1.5 * table["mean_error_m"]).to_csv(path, index=False)
    (ranking,) = analyse(load_study(made.folder, [tmp_path])).rankings
    own = ranking.errors.baseline_error_m["mean"][ranking.errors.cells.index("n=681")]
    assert ranking.winner.cell == "n=681"
    expected = scores(own, ranking.errors.spot).quantile(0.9)
    assert ranking.radius.mean_predictor_m == pytest.approx(expected)


def test_a_cell_in_two_rankings_has_its_runs_in_each(tmp_path: Path) -> None:
    rates = [0.001 * n for n in range(1, 9)]
    made = make_study(tmp_path, "s", Options(axes={"lr": rates}, seeds=(0, 1, 2), epochs=2))
    study = load_study(made.folder, [tmp_path])
    for run in study.record.runs:
        if run.seed == 2:  # validated on other photos
            path = made.folder / run.run_id / "predictions.csv"
            table = pd.read_csv(path, dtype={"content": str})
            table.assign(content="f" + table["content"]).to_csv(path, index=False)
    analysis = analyse(load_study(made.folder, [tmp_path]))
    assert len(analysis.rankings) == 2
    for ranking, seeds in zip(analysis.rankings, ({0, 1}, {2}), strict=True):
        scene = scene_of(analysis, ranking)
        assert set(scene.cells["cell"]) == {f"lr={rate}" for rate in rates}
        assert scene.cells["rmse_m"].notna().all()
        assert set(scene.winners_predictions["seed"]) == seeds
        assert set(scene.curves["seed"]) == seeds
        curve = tuning_curve(scene)
        assert curve is not None
        runs = [run for cell in ranking.cells for run in cell.run_rmse_m]
        assert curve.table["expected_m"].iloc[0] == pytest.approx(np.mean(runs), abs=1e-3)
