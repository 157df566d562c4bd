"""Tables: every number with its interval, mark and reason."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from img2gps.analysis import collect, stats
from img2gps.analysis.answer import sentences
from img2gps.analysis.overview import Analysis, analyse
from img2gps.report import build, entries, paper, tables
from img2gps.report.methods import methods
from img2gps.report.table import Entry, Table
from img2gps.runs.records import read_study, write_study
from tests.conftest import ROOT
from tests.helpers.fake_study import Options, make_study
from tests.report.conftest import WINNER, analysed, effect


def named(found: list[Table], key: str) -> Table:
    return next(table for table in found if table.key == key)


def fields(table: Table) -> dict[tuple[str, str], Entry]:
    """Entries by row head and column."""
    return {
        (row[0].text, column): entry
        for row in table.rows
        for column, entry in zip(table.header, row, strict=True)
    }


def legend(table: Table) -> str:
    return "\n".join(
        n if isinstance(n, str) else f"{n[0].text} {n[1]}" for n in [*table.legend, *table.warnings]
    )


def test_table_1_has_the_published_layout_one_table_a_model(table1: Analysis) -> None:
    found = tables.study_tables(table1)
    assert [table.key for table in found] == [
        "summary",
        "radius",
        "table1_resnet18",
        "table1_resnet50",
        "best_epoch_resnet18",
        "best_epoch_resnet50",
        "cells",
        "missing",
    ]
    grid = named(found, "table1_resnet18")
    assert grid.header[:4] == ["learning rate", "batch size 8", "batch size 16", "batch size 32"]
    assert [row[0].text for row in grid.rows] == ["0.001", "0.003", "0.005", "mean predictor"]
    assert named(found, "table1_resnet50").header == grid.header[:4]


def test_figures_of_table_1_are_the_means_of_the_runs_final_rmse(table1: Analysis) -> None:
    done = table1.study.finished
    expected = done.groupby(["model", "lr", "batch_size"], as_index=False)["val/rmse_m"].mean()
    assert len(expected) == 17
    for model, lr, batch, value in expected.itertuples(index=False):
        grid = fields(named(tables.study_tables(table1), f"table1_{model}"))
        entry = grid[(str(lr), f"batch size {batch}")]
        assert entry.number == pytest.approx(value, abs=1e-6)
        assert entry.text == f"{value:.1f}"
        assert entry.interval is not None
        assert entry.interval[0] < value < entry.interval[1]


def test_only_the_winner_is_bold_and_its_edge_is_marked(table1: Analysis) -> None:
    found = tables.study_tables(table1)
    for key in ("table1_resnet18", "table1_resnet50", "cells"):
        bold = [entry for row in named(found, key).rows for entry in row if entry.bold]
        assert len(bold) == (0 if key == "table1_resnet50" else 1)
    winner = fields(named(found, "table1_resnet18"))[("0.001", "batch size 16")]
    assert winner.bold
    assert entries.EDGE in winner.marks
    below = legend(named(found, "table1_resnet18"))
    assert (
        "‡ winner on the grid's edge; learning rate 0.001 is the end of its axis: extend to 0.0003"
        in below
    )
    assert "The lowest cell is elsewhere: resnet18" in legend(named(found, "table1_resnet50"))


def test_marks_say_what_the_joint_tests_found_and_are_explained(table1: Analysis) -> None:
    (ranking,) = table1.rankings
    by_cell = {cell.cell: cell for cell in ranking.cells}
    assert by_cell[WINNER].beats_mean is True
    assert sum(cell.in_best_set is True for cell in ranking.cells) == 1
    grid = named(tables.study_tables(table1), "table1_resnet18")
    useless = fields(grid)[("0.003", "batch size 8")]
    assert entries.MEAN in useless.marks
    assert entries.SAME not in useless.marks
    assert f"† {entries.MEAN.meaning}" in legend(grid)
    few = fields(named(tables.study_tables(table1), "table1_resnet50"))[("0.005", "batch size 32")]
    assert entries.FEWER in few.marks


def test_cells_close_to_the_winner_carry_the_mark_of_the_confidence_set(tmp_path: Path) -> None:
    study = analysed(tmp_path, effect=lambda p: 60.0 if p["lr"] == 0.001 else 88.0)
    same = {cell.cell for cell in study.rankings[0].cells if cell.in_best_set}
    errors = study.rankings[0].errors
    found = stats.confidence_set(stats.resample(errors.error_m, errors.spot, n=10_000))
    expected = {cell for cell, kept in zip(errors.cells, found.marked, strict=True) if kept}
    assert same == expected
    assert len(same) > 1
    grid = named(tables.study_tables(study), "table1_resnet18")
    assert f"* {entries.SAME.meaning}" in legend(grid)


def test_a_missing_cell_is_a_dash_with_the_reason_below(table1: Analysis) -> None:
    for key in ("table1_resnet18", "best_epoch_resnet18"):
        grid = named(tables.study_tables(table1), key)
        entry = fields(grid)[("0.005", "batch size 8")]
        assert entry.text == "-"
        assert "a 3 failed: RuntimeError: 50% of <memory> & more" in legend(grid)
    gone = named(tables.study_tables(table1), "missing")
    assert [[entry.text for entry in row] for row in gone.rows] == [
        [
            "resnet18, learning rate 0.005, batch size 8",
            "-",
            "3 failed: RuntimeError: 50% of <memory> & more",
        ],
        ["resnet50, learning rate 0.005, batch size 32", "yes", "1 diverged: the loss is NaN"],
    ]


def published() -> dict[str, Any]:
    """What sweeps/table1.yaml declares."""
    plain = yaml.safe_load((ROOT / "sweeps" / "table1.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = plain["hydra"]["sweeper"]["reference"]
    return found


def test_a_declared_reference_stands_beside_our_figures_of_the_same_model(tmp_path: Path) -> None:
    study = analysed(tmp_path, reference=published())
    assert "published" not in " ".join(named(tables.study_tables(study), "table1_resnet50").header)
    grid = named(tables.study_tables(study), "table1_resnet18")
    found = fields(grid)
    assert found[("0.001", "published, batch size 16")].text == "68.78"
    assert found[("0.005", "published, batch size 8")].text == "-"
    assert found[("mean predictor", "published, batch size 8")].text == "89.0"
    assert "other photos" in legend(grid)
    needed = next(
        r for r in named(tables.study_tables(study), "summary").rows if "needed" in r[0].text
    )
    assert "68.78 from 70.12 m" in needed[2].text


def test_without_a_reference_no_published_figure_is_shown(table1: Analysis) -> None:
    text = "".join(table.markdown() for table in tables.study_tables(table1))
    assert "published" not in text
    assert "needed" not in text


@pytest.mark.parametrize(
    ("axes", "swept"),
    [
        ({}, {"model": "resnet50"}),  # fixed, so that no cell names it
        ({"optimizer": ["adam", "sgd"]}, {"model": "resnet18"}),  # of which the reference is silent
    ],
)
def test_a_reference_of_another_model_or_with_fewer_axes_is_not_shown(
    axes: dict[str, list[Any]], swept: dict[str, str], tmp_path: Path
) -> None:
    grid: dict[str, list[Any]] = {"lr": [0.001, 0.003], "batch_size": [8, 16], **axes}
    made = make_study(tmp_path, "s", Options(axes=grid, epochs=2, reference=published()))
    for path in made.folder.glob("*/result.json"):
        result = json.loads(path.read_text())
        path.write_text(json.dumps({**result, "swept": {**result["swept"], **swept}}))
    study = analyse(collect.load_study(made.folder, []))
    assert "published" not in "".join(t.markdown() for t in tables.study_tables(study))


def test_the_mean_predictor_is_in_every_table_of_figures(table1: Analysis) -> None:
    (ranking,) = table1.rankings
    first = table1.study.predictions.query("cell == @WINNER and seed == 0")
    expected = float(np.sqrt(np.mean(first["mean_error_m"] ** 2)))
    assert ranking.mean_predictor.estimate == pytest.approx(expected)
    for table in tables.study_tables(table1):
        if table.key in ("missing", "radius"):  # the latter has its radius, not its RMSE
            continue
        row = next(row for row in table.rows if row[0].text == "mean predictor")
        assert f"{expected:.1f}" in [entry.text for entry in row]


def test_the_best_epoch_table_is_called_optimistic_and_is_never_higher(table1: Analysis) -> None:
    found = tables.study_tables(table1)
    final, best = (fields(named(found, f"{k}_resnet18")) for k in ("table1", "best_epoch"))
    assert named(found, "best_epoch_resnet18").caption.startswith("Optimistic")
    for key, entry in best.items():
        if entry.number is not None:
            assert entry.number <= (final[key].number or 0) + 1e-6  # m; files round


def test_published_runs_have_their_best_epochs_too_but_for_folds(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003], "batch_size": [8, 16]}
    found = {}
    for name, more in (("grid", {}), ("folds", {"split.fold": [0, 1]})):
        study = make_study(tmp_path, name, Options(axes={**axes, **more}, epochs=4))
        for file in study.folder.rglob("predictions_best.csv"):  # not published
            file.unlink()
        found[name] = analyse(collect.load_study(study.folder, [tmp_path]))
    keys = {name: {table.key for table in tables.study_tables(a)} for name, a in found.items()}
    assert "best_epoch" in keys["grid"]
    assert "best_epoch" not in keys["folds"]
    study_json = json.loads((tmp_path / "grid" / "study.json").read_text())
    for cell in found["grid"].rankings[0].cells:
        paths = [tmp_path / run["path"] for run in study_json["cells"] if run["cell"] == cell.cell]
        curves = [pd.read_csv(path / "history.csv")["val/rmse_m"] for path in paths]
        assert cell.best_rmse_m == pytest.approx(np.mean([curve.min() for curve in curves]))


def test_the_lowest_known_best_epoch_is_bold_and_without_any_there_is_no_such_table(
    tmp_path: Path,
) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003], "batch_size": [8, 16]}
    made = make_study(tmp_path, "s", Options(axes=axes, seeds=(0,), epochs=2, effect=effect))
    first, *others = json.loads((made.folder / "study.json").read_text())["cells"]
    (tmp_path / first["path"] / "history.csv").unlink()
    found = tables.study_tables(analyse(collect.load_study(made.folder, [tmp_path])))
    best = fields(named(found, "best_epoch"))
    assert [key for key, entry in best.items() if entry.bold] == [("0.001", "batch size 16")]
    for run in others:
        (tmp_path / run["path"] / "history.csv").unlink()
    found = tables.study_tables(analyse(collect.load_study(made.folder, [tmp_path])))
    assert "best_epoch" not in {table.key for table in found}


def test_summary_sets_the_corrected_and_the_test_figure_beside_the_lowest(
    table1: Analysis,
) -> None:
    (ranking,) = table1.rankings
    summary = named(tables.study_tables(table1), "summary")
    found = {row[0].text: row[1] for row in summary.rows}
    assert found["lowest validation RMSE"].number == ranking.winner.interval.estimate
    assert found["corrected for the selection"].number == ranking.corrected.corrected
    run = table1.study.finished.query("cell == @WINNER and seed == 0")["folder"].item()
    test = pd.read_csv(Path(run) / "predictions_test.csv")
    expected = float(np.sqrt(np.mean(test["error_m"] ** 2)))
    assert found["test part"].number == pytest.approx(expected, abs=1e-6)
    assert ranking.truth is not None
    assert found["truth, test photos"].number == ranking.truth.test_m
    assert "Only the corrected and the test figure" in legend(summary)
    assert {"known spots", "new spots", "nearest neighbours", "ridge regression"} <= set(found)


def test_truth_is_the_error_against_positions_without_noise(table1: Analysis) -> None:
    from img2gps.core.geo import distance_m

    rows = table1.study.predictions.query("cell == @WINNER")
    error = distance_m(
        rows["true_lat_deg"], rows["true_lon_deg"], rows["pred_lat_deg"], rows["pred_lon_deg"]
    )
    by_seed = pd.Series(error**2).groupby(rows["seed"].to_numpy()).mean()
    truth = table1.rankings[0].truth
    assert truth is not None
    assert truth.validation_m == pytest.approx(float(np.sqrt(by_seed).mean()))


def test_synthetic_photos_are_named_above_every_table_and_real_ones_are_not(
    table1: Analysis, tmp_path: Path
) -> None:
    assert all(table.banner == tables.SYNTHETIC for table in tables.study_tables(table1))
    real = analysed(tmp_path, synthetic=False, seeds=(0, 1))
    assert all(table.banner == "" for table in tables.study_tables(real))
    assert real.rankings[0].truth is None


def test_a_cell_with_one_lucky_seed_cannot_win(tmp_path: Path) -> None:
    states = {(WINNER, 1): ("failed", "disk full"), (WINNER, 2): ("queued", "")}
    study = analysed(tmp_path, states=states)
    (ranking,) = study.rankings
    lowest = min(ranking.cells, key=lambda cell: cell.interval.estimate)
    assert lowest.cell == WINNER
    assert ranking.winner.cell != WINNER
    assert (lowest.win_share, lowest.in_best_set, ranking.candidates) == (0.0, None, 17)
    note = "1 cell lacks a finished seed: shown, but cannot win."
    assert note in ranking.notes
    grid = named(tables.study_tables(study), "table1_resnet18")
    assert fields(grid)[("0.001", "batch size 16")].marks == (entries.FEWER,)
    assert note in legend(grid)


def test_a_study_half_way_has_a_provisional_winner(tmp_path: Path) -> None:
    axes = {"lr": [0.001, 0.003], "batch_size": [16]}
    states = {(f"lr={lr},batch_size=16", 1): ("running", "") for lr in (0.001, 0.003)}
    study = analysed(tmp_path, axes=axes, seeds=(0, 1), states=states)
    (ranking,) = study.rankings
    assert ranking.winner.params["lr"] == 0.001
    assert ranking.notes[0].startswith("Provisional: no cell has all its seeds finished")


def test_one_seed_gives_no_mark_and_says_so(tmp_path: Path) -> None:
    study = analysed(tmp_path, seeds=(0,))
    (ranking,) = study.rankings
    assert {(cell.in_best_set, cell.beats_mean) for cell in ranking.cells} == {(None, None)}
    grid = named(tables.study_tables(study), "table1_resnet18")
    assert "The cells have one seed (luck assumed: 3.2 %) and get no mark." in legend(grid)
    assert "one seed, luck assumed: 3.2 % [95 % interval over spots and seeds; 60 photos" in legend(
        grid
    )
    used = {mark for row in grid.rows for entry in row for mark in entry.marks}
    assert used == {entries.EDGE}
    assert (
        "with one seed per cell, differences may be the luck of the seed" in sentences(ranking)[2]
    )


def test_cells_with_one_seed_beside_cells_with_several_are_told_apart(tmp_path: Path) -> None:
    axes = {"lr": [0.001, 0.003, 0.005]}
    make_study(tmp_path, "s", Options(axes=axes, seeds=(0, 1), effect=lambda _: 40.0, kind="race"))
    record = read_study(tmp_path, "s")
    runs = [run for run in record.runs if (run.cell, run.seed) != ("lr=0.005", 1)]
    write_study(tmp_path, replace(record, runs=runs))
    study = analyse(collect.load_study(tmp_path / "s", [tmp_path]))
    _, _, sure, mean = sentences(study.rankings[0])
    assert "How sure: 1 of 3 cells has one seed, so differences from it may be" in sure
    assert mean.endswith("; all 2 cells with several seeds are shown to do better.")


def test_few_spots_are_called_unreliable(tmp_path: Path) -> None:
    study = analysed(tmp_path, n_val=20, n_spots=12)
    grid = named(tables.study_tables(study), "table1_resnet18")
    assert "Intervals are unreliable: 12 validation spots, fewer than 30." in legend(grid)
    assert sum("unreliable" in note for note in build.notes(study)) == 1


def test_photos_of_one_spot_give_no_interval_and_no_corrected_figure(tmp_path: Path) -> None:
    axes = {"lr": [0.001, 0.003]}
    named = Options(axes=axes, n_val=8, n_spots=1, name=lambda p: f"rate {p['lr']}")
    make_study(tmp_path, "s", named)
    study = analyse(collect.load_study(tmp_path / "s", [tmp_path]))
    found = {table.key: table for table in tables.study_tables(study)}
    below = legend(found["cells"])
    assert "bold: the lowest of this ranking." in below.splitlines()
    assert "mean over 3 seeds; no interval, because 8 photos of 1 spot" in below
    assert "Only a test figure may be called" in legend(found["summary"])
    text = "".join(table.markdown() for table in found.values())
    assert "m against the winner, no paired 95 % interval" in text
    assert "interval no interval" not in text
    assert not re.search(r"\bnan\b", text)
    assert {row[-2].text for row in found["cells"].rows[:-1]} == {"-"}  # chosen
    assert "WinnerChosenPercent" not in paper.numbers(study)


def test_pretrained_and_from_scratch_are_two_labelled_rankings(tmp_path: Path) -> None:
    study = analysed(tmp_path, weights=lambda p: "imagenet" if p["model"] == "resnet18" else "none")
    assert [ranking.group.pretrained for ranking in study.rankings] == [False, True] or [
        ranking.group.pretrained for ranking in study.rankings
    ] == [True, False]
    found = tables.study_tables(study)
    grids = [table for table in found if "table1" in table.key]
    assert {re.search(r"\[(pretrained|from scratch)", t.caption)[1] for t in grids} == {  # type: ignore[index]  # None fails the test
        "pretrained",
        "from scratch",
    }
    assert len({table.key for table in found}) == len(found)
    assert any("not comparable" in note for note in study.notes)


def test_mixed_code_versions_are_said_below_the_table(tmp_path: Path) -> None:
    study = analysed(tmp_path, commit=lambda p: f"c{p['batch_size']}")
    grid = named(tables.study_tables(study), "table1_resnet18")
    assert "different code commits in one ranking: c8 (18 runs), c16 (18 runs)" in legend(grid)


def test_a_searched_study_limits_its_correction_to_the_cells_tried(tmp_path: Path) -> None:
    study = analysed(tmp_path, kind="tpe")
    (ranking,) = study.rankings
    assert any("searched by tpe" in note for note in ranking.notes)
    assert ranking.importance == []
    assert "not a grid (tpe)" in ranking.no_importance


def test_importance_is_given_on_a_full_grid_only(table1: Analysis, tmp_path: Path) -> None:
    assert "1 of 18 cells of the full grid" in table1.rankings[0].no_importance
    study = analysed(tmp_path, seeds=(0, 1))
    table = named(tables.study_tables(study), "importance")
    shares = [row[1].number or 0.0 for row in table.rows]
    assert sum(shares) == pytest.approx(1.0)
    assert [row[0].text for row in table.rows][:3] == ["model", "learning rate", "batch size"]
    assert table.rows[-1][0].text == "seeds"


def test_luck_is_given_where_seeds_are_crossed(tmp_path: Path) -> None:
    axes = {"order_seed": [0, 1, 2], "split.seed": [0, 1]}
    study = analysed(tmp_path, axes=axes, effect=lambda _: 60.0)
    table = named(tables.study_tables(study), "luck")
    assert [row[0].text for row in table.rows] == [
        "initial weights", "order of the photos", "split", "interactions", "all together",
    ]  # fmt: skip
    assert study.luck is not None
    together = study.luck.components[-1]
    assert table.rows[-1][1].number == pytest.approx(100 * np.sqrt(together.variance))
    assert "from 18 runs: seed \N{MULTIPLICATION SIGN} order seed" in legend(table)
    plain = analysed(tmp_path, "plain", axes={"lr": [0.001, 0.003]}, effect=lambda _: 60.0)
    assert all(table.key != "luck" for table in tables.study_tables(plain))


def test_axes_other_than_the_published_ones_get_the_general_table(tmp_path: Path) -> None:
    axes = {"scheduler": ["none", "cosine"], "optimizer.weight_decay": [0.0, 0.01]}
    study = analysed(
        tmp_path, axes=axes, effect=lambda p: 50.0 if p["scheduler"] == "none" else 80.0
    )
    found = tables.study_tables(study)
    assert [table.key for table in found] == ["summary", "radius", "cells", "importance"]
    cells = named(found, "cells")
    assert cells.header[:3] == ["scheduler", "weight decay", "RMSE (m)"]
    figures = [row[2].number or 0.0 for row in cells.rows[:-1]]
    assert figures == sorted(figures)


def test_the_share_in_which_a_cell_was_chosen_is_of_resampled_spots_and_seeds(
    table1: Analysis, tmp_path: Path
) -> None:
    chosen = "chosen: share of resamples of the photos' spots{} in which the cell has the lowest"
    assert chosen.format(" and seeds") in legend(named(tables.study_tables(table1), "cells"))
    single = analysed(tmp_path, axes={"lr": [0.001, 0.003]}, seeds=(0,))
    assert chosen.format("") in legend(named(tables.study_tables(single), "cells"))


def test_a_study_that_varies_only_the_seed_names_its_cell_and_the_mean_predictor(
    tmp_path: Path,
) -> None:
    study = analysed(tmp_path, axes={})
    found = tables.study_tables(study)
    cells = named(found, "cells")
    assert cells.header[:2] == ["cell", "RMSE (m)"]
    assert [row[0].text for row in cells.rows] == ["base", "mean predictor"]
    assert named(found, "summary").rows[0][2].text == "base"


def test_a_named_cell_is_compared_with_the_winner(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(epochs=2, effect=effect))
    path = made.folder / "study.json"
    facts = json.loads(path.read_text())
    for cell in facts["cells"]:
        if cell["cell"] == "model=resnet18,lr=0.001,batch_size=32":
            cell["name"] = "baseline"
    path.write_text(json.dumps(facts))
    study = analyse(collect.load_study(made.folder, []))
    row = next(r for r in tables.summary(study.rankings[0]).rows if r[0].text == "baseline")
    assert re.search(r"\+\d+\.\d m against the winner, paired 95 % interval", row[2].text)


def test_folds_get_the_nadeau_bengio_mean(tmp_path: Path) -> None:
    axes = {"lr": [0.001, 0.003], "split.fold": [0, 1, 2]}
    study = analysed(
        tmp_path,
        axes=axes,
        split_kind="kfold",
        n_val=30,
        n_spots=20,
        effect=lambda p: 50.0 if p["lr"] == 0.001 else 88.0,
    )
    (ranking,) = study.rankings
    done = study.study.finished.query("lr == 0.001")
    by_fold = done.groupby("split.fold")["val/rmse_m"].mean()
    expected = stats.fold_mean(by_fold, 681, 30)
    assert ranking.folds == expected
    found = {row[0].text: row[1] for row in tables.summary(ranking).rows}
    assert found["mean of 3 folds"].number == pytest.approx(float(by_fold.mean()))


def test_cells_that_answer_together_are_said_with_what_to_expect_of_them(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(epochs=2, effect=effect))
    path = made.folder / "study.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "select": {"top": 2}}))
    found = analyse(collect.load_study(made.folder, []))
    errors = found.rankings[0].errors
    assert errors.away_m is not None
    best = np.argsort(stats.cell_rmse(errors.error_m))[:2]
    east, north = errors.away_m[:, best].mean(axis=(1, 2))
    rmse_m = float(np.sqrt((east**2 + north**2).mean()))
    said = f"its 2 best cells answer together: the average of their runs gets {rmse_m:.1f} m here"
    assert [note for note in found.notes if said in note and "cells, expect " in note]


def test_cell_that_lacks_a_seed_does_not_answer_with_the_best(tmp_path: Path) -> None:
    options = Options(epochs=2, effect=effect)
    whole = make_study(tmp_path, "whole", options)
    lowest = analyse(collect.load_study(whole.folder, [])).rankings[0].winner.cell
    lacking = replace(options, states={(lowest, 1): ("failed", "no room")})
    made = make_study(tmp_path, "s", lacking)
    path = made.folder / "study.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "select": {"top": 2}}))
    found = analyse(collect.load_study(made.folder, []))
    ranking = found.rankings[0]
    assert lowest in ranking.errors.cells
    assert ranking.errors.away_m is not None
    complete = [i for i, cell in enumerate(ranking.errors.cells) if cell != lowest]
    rmse = stats.cell_rmse(ranking.errors.error_m[complete])
    best = np.array(complete)[np.argsort(rmse)[:2]]
    east, north = ranking.errors.away_m[:, best].mean(axis=(1, 2))
    rmse_m = float(np.sqrt((east**2 + north**2).mean()))
    said = f"average of their runs gets {rmse_m:.1f} m here; corrected for having been selected "
    (note,) = [note for note in found.notes if "answer together" in note]
    assert f"{said}among {len(complete)} cells" in note


def test_another_frozen_winner_or_rule_is_said(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(epochs=2, effect=effect))
    (made.folder / "winner.json").write_text(json.dumps({"cell": "model=resnet50,lr=0.001"}))
    path = made.folder / "study.json"
    facts = json.loads(path.read_text())
    facts["select"] = {"by": "val/median_m", "aggregate": "mean"}
    path.write_text(json.dumps(facts))
    notes = analyse(collect.load_study(made.folder, [])).notes
    assert notes == [
        "The study selects by the mean of val/median_m; this report ranks by the mean of "
        "val/rmse_m.",
        f"img2gps select has frozen model=resnet50,lr=0.001; the lowest RMSE here is that of "
        f"{WINNER}.",
    ]


def test_later_looks_at_the_test_part_are_counted(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(epochs=2, effect=effect, n_test=40))
    for looks, said in ((1, False), (3, True)):
        frozen = {"cell": WINNER, "test_looks": looks}
        (made.folder / "winner.json").write_text(json.dumps(frozen))
        study = analyse(collect.load_study(made.folder, []))
        note = "The test part has been used 3 times: it is no longer a clean test set."
        assert (note in study.rankings[0].notes) is said
        assert study.notes == []


def test_a_study_without_any_finished_run_has_its_missing_cells(tmp_path: Path) -> None:
    axes = {"lr": [0.001], "batch_size": [8]}
    states = {("lr=0.001,batch_size=8", 0): ("queued", "")}
    study = analysed(tmp_path, axes=axes, seeds=(0,), states=states)
    assert [table.key for table in tables.study_tables(study)] == ["missing"]
    assert study.notes == ["Of 1 planned runs: 1 queued."]
    assert tables.comparison([study]).rows[0][1].text == "no run has finished"
    files = paper.pack(study)
    assert files["methods.txt"] == "No run has finished.\n"
    assert r"\newcommand{\igpsRunsQueued}{1}" in files["numbers.tex"]


def test_finished_runs_without_predictions_are_said_to_lack_them(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes={"lr": [0.001]}, epochs=2))
    for file in made.folder.glob("*/predictions.csv"):
        file.unlink()
    study = analyse(collect.load_study(made.folder, [tmp_path]))
    lack = "3 finished runs have no readable predictions.csv, the answers photo by photo"
    first, sure, mean = build.answer(study)
    assert first == "No answer yet: of 3 planned runs, 3 finished."
    assert sure == f"How sure: nothing can be compared, because {lack}."
    assert re.search(r"gets \d+\.\d\sm", mean)
    assert methods(study) == f"{lack}.\n"
    assert tables.comparison([study]).rows[0][1].text == lack


def test_folds_that_are_not_complete_are_said_to_be_missing(tmp_path: Path) -> None:
    axes = {"lr": [0.001], "split.fold": [0, 1]}
    states = {("lr=0.001,split.fold=1", 0): ("failed", "no room")}
    study = analysed(tmp_path, axes=axes, seeds=(0,), split_kind="kfold", states=states)
    assert study.rankings == []
    assert "because no cell has finished all its folds" in build.answer(study)[1]


def test_the_answer_is_what_was_learned_the_winner_certainty_and_mean_predictor(
    table1: Analysis,
) -> None:
    (ranking,) = table1.rankings
    learned, first, second, third = sentences(ranking)
    assert learned.startswith("Shown to have learned: the lowest cell gets")
    assert first.startswith(
        "Lowest validation RMSE: resnet18, learning rate 0.001, batch size 16, "
    )
    assert f"expect {ranking.corrected.corrected:.1f} m" in first
    assert "all 15 other cells are statistically distinguishable from it" in second
    assert "16 of 17 cells are not shown to do better" in third
    assert f"{ranking.mean_predictor.estimate:.1f} m" in third


HOSTILE = Table(
    "x_y",
    "<script>alert(1)</script> & 5 % of _a_|b",
    ["<b>", "a|b", "c"],
    [[Entry("<img src=x>"), Entry("1_0 %", bold=True, number=10.0), Entry("50$ #1 {x} ~^ \\")]],
    [(entries.SAME, "<i> & more"), "plain *text*"],
    banner="<u>",
)


class Texts(HTMLParser):
    """Tag names and texts of a piece of HTML."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_html_is_balanced_and_holds_the_users_text_as_text() -> None:
    page = Texts(HOSTILE.html())
    assert page.open == []
    assert not {"script", "img", "b", "i", "u"} & set(page.tags)
    assert "<img src=x>" in page.texts
    assert "<script>alert(1)</script> & 5 % of _a_|b" in page.texts


def test_markdown_keeps_its_columns_and_escapes_markup() -> None:
    lines = [line for line in HOSTILE.markdown().splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}
    assert r"**1\_0 %**" in lines[2]
    assert r"\<img src=x\>" in lines[2]


def latex_is_sound(text: str) -> None:
    """Braces balance, rows have as many fields as columns, no bare special character."""
    bare = re.sub(r"\\[{}&%$#_]", "", text)
    assert bare.count("{") == bare.count("}")
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert columns is not None
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    for row in filter(None, (line.strip() for line in body.splitlines())):
        assert row.endswith(r"\\")
        assert len(re.findall(r"(?<!\\)&", row)) == len(columns[1]) - 1
    assert not re.search(r"(?<!\\)[%#]", text)
    assert not re.search("[†‡§±\N{MULTIPLICATION SIGN}]", text)


def test_latex_is_sound_for_hostile_text_and_for_a_real_study(table1: Analysis) -> None:
    latex_is_sound(HOSTILE.latex())
    assert r"50\$ \#1 \{x\} \textasciitilde{}\textasciicircum{} \textbackslash{}" in HOSTILE.latex()
    for table in tables.study_tables(table1):
        latex_is_sound(table.latex())
        assert r"\toprule" in table.latex()


def test_csv_holds_the_numbers_in_full(table1: Analysis) -> None:
    grid = named(tables.study_tables(table1), "table1_resnet18")
    rows = list(csv.reader(io.StringIO(grid.csv())))
    assert rows[0] == grid.header
    assert float(rows[1][2]) == table1.rankings[0].winner.interval.estimate
    assert rows[3][1] == "-"


def test_every_format_shows_every_figure_and_the_legend(table1: Analysis) -> None:
    for table in tables.study_tables(table1):
        for source in (table.markdown(), table.latex(), html.unescape(table.html())):
            for row in table.rows:
                for entry in row:
                    if entry.number is not None:
                        assert entry.text.replace("%", "") in source.replace("\\", "")
        assert len(table.legend) + len(table.warnings) == table.html().count("<li>")


def test_comparison_has_one_row_a_ranking_with_its_own_mean_predictor(
    table1: Analysis, tmp_path: Path
) -> None:
    other = analysed(tmp_path, "places", split_kind="place", seeds=(0, 1))
    table = tables.comparison([table1, other])
    assert [row[0].text for row in table.rows] == ["table1", "places"]
    assert "place split" in table.rows[1][1].text
    assert table.rows[0][4].number == table1.rankings[0].corrected.corrected
    assert table.rows[1][5].number == other.rankings[0].mean_predictor.estimate
