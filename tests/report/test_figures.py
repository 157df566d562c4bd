from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from img2gps.analysis import collect
from img2gps.analysis.overview import analyse
from img2gps.analysis.photos import of_photos
from img2gps.analysis.profiles import profiles
from img2gps.analysis.scene import scene_of
from img2gps.analysis.stats import Interval
from img2gps.core import geo
from img2gps.report.figures import choose, curves, errors, grid, maps
from img2gps.report.figures.base import (
    COLOURS,
    DASHES,
    SHAPES,
    Figure,
    in_order,
    inline,
    listed,
    metres,
    round_edges,
    save,
)
from tests.helpers.fake_study import CENTRE, Options, Params, make_study

MEAN = 90.0


def test_front_shows_every_aim_against_the_first_and_names_its_cells(tmp_path: Path) -> None:
    study = make_study(tmp_path, "s", Options(n_val=40))
    path = study.folder / "study.json"
    plain = json.loads(path.read_text())
    plain["aims"] = {"val/rmse_m": "minimize", "cost/seconds": "minimize", "val/p90_m": "minimize"}
    for run in plain["cells"]:
        seconds = 10.0 * run["params"]["batch_size"]  # the fastest are not the best
        run["aims"] = {"val/rmse_m": run["value"], "cost/seconds": seconds, "val/p90_m": 1.0}
    path.write_text(json.dumps(plain))
    analysis = analyse(collect.load_study(study.folder, [tmp_path]))
    drawn = {f.name: f for f in choose.of_study(scene_of(analysis, analysis.rankings[0]))}
    figure = drawn["front"]
    assert "cells are not beaten by another cell in all of val/rmse_m, cost/seconds and" in (
        figure.title
    )
    assert "cost/seconds 80" in figure.alt  # the best of the fastest cells
    assert len(figure.spec["vconcat"]) == 2
    assert "seconds a run" in figure.svg
    save(figure, tmp_path / "figures")


def history(ends: dict[str, float], epochs: int = 5, seeds: int = 2) -> pd.DataFrame:
    """Straight lines from the mean predictor to `ends`, seeds 1 m apart around them."""
    rows = [
        {
            "label": label,
            "seed": seed,
            "fold": 0,
            "finished": True,
            "epoch": epoch,
            "train_mse": 1 / epoch,
            "rmse_m": MEAN + (end - MEAN) * epoch / epochs + seed - (seeds - 1) / 2,
        }
        for label, end in ends.items()
        for seed in range(seeds)
        for epoch in range(1, epochs + 1)
    ]
    return pd.DataFrame(rows)


def test_a_run_under_way_does_not_bend_the_curve_of_those_that_have_finished() -> None:
    rows = history({"a": 50.0, "b": 60.0}, epochs=3)
    rows.loc[(rows["label"] == "a") & (rows["seed"] == 1), "finished"] = False
    rows = rows[rows["finished"] | (rows["epoch"] < 3)]
    figure = curves.epochs(rows, name="epochs", legend="cell", mean_rmse_m=MEAN)
    band = values_with(figure, "epoch", "rmse_m_mean").query("label == 'a'").sort_values("epoch")
    only = rows.query("label == 'a' and seed == 0")
    assert band["rmse_m_mean"].to_list() == pytest.approx(only["rmse_m"].to_list())
    assert "Not finished: a." in figure.caption


def photos(n: int = 120, seed: int = 0, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    east, north = rng.uniform(-100, 100, (2, n))
    lat, lon = geo.from_east_north_m(east, north, *CENTRE)
    off = rng.normal(0, 30, (2, n))
    pred_lat, pred_lon = geo.from_east_north_m(east + off[0], north + off[1], *CENTRE)
    frame = {
        "photo": [f"p{i}.jpg" for i in range(n)],
        "content": [f"{i:x}" for i in range(n)],
        "lat_deg": lat,
        "lon_deg": lon,
        "pred_lat_deg": pred_lat,
        "pred_lon_deg": pred_lon,
        "error_m": np.hypot(*off),
        "east_m": off[0],
        "north_m": off[1],
        "mean_error_m": np.hypot(east, north),
        "spot": np.arange(n),
        "heading_deg": rng.uniform(0, 360, n),
        "taken_at": [f"2026-03-01T{8 + i % 10:02d}:30:00-05:00" for i in range(n)],
        "nearest_train_m": rng.uniform(0, 8, n),
    }
    return pd.DataFrame(frame | columns)


def cells(rmse: dict[str, float], same: tuple[str, ...] = (), **columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "cell": list(rmse),
            "label": list(rmse),
            "rmse_m": list(rmse.values()),
            "low_m": [v - 5 for v in rmse.values()],
            "high_m": [v + 6 for v in rmse.values()],
            "in_best_set": [label in same for label in rmse],
            "beats_mean": True,
            "reason": "",
        }
    )
    return frame.assign(**columns)


def data_of(figure: Figure) -> list[pd.DataFrame]:
    return [pd.DataFrame(rows) for rows in figure.spec["datasets"].values()]


def values_with(figure: Figure, *columns: str) -> pd.DataFrame:
    found = [d for d in data_of(figure) if set(columns) <= set(d.columns)]
    assert found, f"no data set has {columns}"
    return found[0]


def test_curves_are_the_mean_over_seeds_with_the_lowest_and_the_highest_seed() -> None:
    figure = curves.epochs(
        history({"0.001": 60.0, "0.005": 89.0}), name="e", legend="learning rate", mean_rmse_m=MEAN
    )
    band = values_with(figure, "rmse_m_mean").set_index(["label", "epoch"])
    assert band.loc[("0.001", 5), "rmse_m_mean"] == pytest.approx(60.0)
    assert band.loc[("0.001", 5), "rmse_m_min"] == pytest.approx(59.5)
    assert band.loc[("0.001", 5), "rmse_m_max"] == pytest.approx(60.5)
    assert figure.title.replace("\u00a0", " ") == (
        "Learning rate 0.001 ends lowest, at 60.0 m; "
        "0.005 stays near or above the mean predictor's 90.0 m"
    )


def test_curves_say_so_when_nothing_was_learned_or_one_seed_ran() -> None:
    figure = curves.epochs(
        history({"a": 89.0, "b": 95.0}, seeds=1), name="e", legend="model", mean_rmse_m=MEAN
    )
    assert figure.title.startswith("No model gets clearly below the mean predictor's 90.0")
    assert "Each line is one seed" in figure.caption


def test_curves_show_the_six_best_lines_and_count_the_others() -> None:
    ends = {f"cell{i}": 60.0 + i for i in range(9)}
    figure = curves.epochs(history(ends), name="e", legend="cell", mean_rmse_m=MEAN)
    shown = values_with(figure, "rmse_m_mean")
    assert set(shown["label"]) == {f"cell{i}" for i in range(6)}
    assert "best 6 of 9" in figure.caption


def test_lines_differ_in_dash_and_shape_too_for_black_and_white() -> None:
    assert len(COLOURS) == len({tuple(d) for d in DASHES}) == len(set(SHAPES)) == 6
    figure = curves.epochs(
        history({"a": 60.0, "b": 70.0}), name="e", legend="model", mean_rmse_m=MEAN
    )
    text = str(figure.spec)
    assert "strokeDash" in text
    assert "triangle-up" in text or "square" in text


def luminance(colour: str) -> float:
    """WCAG 2 relative luminance."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_the_first_colours_have_contrast_on_white() -> None:
    for colour in COLOURS[:3]:  # what nearly all figures use
        assert 1.05 / (luminance(colour) + 0.05) > 3.0  # WCAG 2.1, 1.4.11


def test_error_lines_are_as_long_as_the_ellipsoid_says_and_axes_are_equal() -> None:
    table = photos(40)
    figure = maps.positions(table)
    lines = values_with(figure, "to_east")
    assert list(lines["photo"]) == list(table["photo"])
    length = np.hypot(lines["to_east"] - lines["east"], lines["to_north"] - lines["north"])
    geodesic = pyproj.Geod(ellps="WGS84").inv(
        table["lon_deg"], table["lat_deg"], table["pred_lon_deg"], table["pred_lat_deg"]
    )[2]
    np.testing.assert_allclose(length, geodesic, rtol=0.006)
    spec = figure.spec
    layer = spec["layer"][0]
    x, y = (layer["encoding"][axis]["scale"]["domain"] for axis in "xy")
    width, height = spec.get("width", layer.get("width")), spec.get("height", layer.get("height"))
    assert width / (x[1] - x[0]) == pytest.approx(height / (y[1] - y[0]), rel=0.01)


def test_positions_say_when_predictions_stay_near_the_middle() -> None:
    assert "spread 0.31 times as wide" in maps.positions(photos(), spread_ratio=0.31).title
    assert maps.positions(photos(), spread_ratio=0.97).title.startswith("Half of the photos")


def test_seeds_are_averaged_as_mean_squares_photo_by_photo() -> None:
    two = pd.concat([photos(5, error_m=3.0), photos(5, error_m=4.0)])
    merged = of_photos(two)
    assert len(merged) == 5
    np.testing.assert_allclose(merged["error_m"], math.sqrt((9 + 16) / 2))


def test_histogram_counts_every_photo_and_title_gives_the_quantiles() -> None:
    table = photos(101, error_m=np.arange(101.0))
    figure = errors.distribution(table)
    bars, step = values_with(figure, "from", "photos"), values_with(figure, "x", "y")
    assert bars["photos"].sum() == step["y"].iloc[:-1].sum() == 101  # the last step has no width
    assert "within 50.0\u00a0m, nine in ten within 90.0\u00a0m" in figure.title
    cumulative = values_with(figure, "who", "share")
    model = cumulative[cumulative["who"] == "the winner"]
    assert model["share"].iloc[-1] == 1.0
    assert (model[model["error_m"] <= 49]["share"].max()) == pytest.approx(50 / 101)


@given(st.floats(0.5, 5000), st.integers(2, 40))
def test_bin_edges_start_at_zero_and_cover_the_largest_error(top: float, bins: int) -> None:
    edges = round_edges(top, bins)
    assert edges[0] == 0
    assert edges[-1] >= top * 0.999
    np.testing.assert_allclose(np.diff(edges), edges[1], rtol=1e-9)


def test_a_random_heading_is_not_made_a_finding() -> None:
    claimed = [
        errors.by_heading(photos(80, seed=seed), mean_rmse_m=MEAN).title.startswith("Photos facing")  # type: ignore[union-attr]  # None fails
        for seed in range(20)
    ]
    assert sum(claimed) <= 2  # at the 1 % level


def test_a_real_effect_of_the_heading_is_named() -> None:
    heading = np.repeat([350.0, 95.0, 178.0, 272.0], 20)
    error = np.where(heading == 178.0, 80.0, 20.0) + np.arange(80) % 7
    figure = errors.by_heading(photos(80, heading_deg=heading, error_m=error), mean_rmse_m=MEAN)
    assert figure is not None
    assert figure.title.startswith("Photos facing S are worst")
    bins = values_with(figure, "group", "n").set_index("group")
    assert bins.loc["N", "photos"] == 20  # 350 degrees is north
    assert bins.loc["S", "rmse_m"] == pytest.approx(
        math.sqrt(np.mean(error[heading == 178.0] ** 2))
    )


def test_photos_of_one_spot_count_once_in_the_test() -> None:
    """Eight spots with ten equal photos each are eight observations, not eighty."""
    spot = np.repeat(np.arange(16), 5)
    heading = np.where(spot < 8, 0.0, 180.0)
    error = 30.0 + 10 * np.random.default_rng(1).normal(size=16)[spot]
    figure = errors.by_heading(
        photos(80, spot=spot, heading_deg=heading, error_m=error), mean_rmse_m=MEAN
    )
    assert figure is not None
    assert figure.title.startswith("These 80 photos show no difference")


def test_the_clock_of_the_photo_counts_not_utc() -> None:
    taken = ["2026-03-01T23:30:00-05:00"] * 60 + ["2026-03-01T01:10:00+00:00"] * 60
    figure = errors.by_hour(photos(taken_at=taken), mean_rmse_m=MEAN)
    assert figure is not None
    assert set(values_with(figure, "group", "n")["group"]) == {"22-24 h", "00-02 h"}


def test_without_headings_times_or_distances_there_is_no_figure() -> None:
    empty = photos(heading_deg=np.nan, taken_at="", nearest_train_m=np.nan)
    for draw in (errors.by_heading, errors.by_hour, errors.by_nearest):
        assert draw(empty, mean_rmse_m=MEAN) is None
        assert draw(photos(9), mean_rmse_m=MEAN) is None


def test_coverage_points_to_the_corner_with_few_photos_and_large_errors() -> None:
    table = photos(400, seed=3)
    east, north = geo.to_east_north_m(table["lat_deg"], table["lon_deg"], *CENTRE)
    corner = (east > 60) & (north < -60)
    table["error_m"] = np.where(corner, 150.0, 20.0)
    others = table[~corner]
    figure = maps.coverage(table, pd.concat([others] * 4 + [table[corner].head(3)]))
    assert figure is not None
    assert "other photos there, RMSE 150\u00a0m" in figure.title
    assert " east" in figure.title
    assert " south" in figure.title


def test_tiles_hold_the_rmse_of_their_photos() -> None:
    table = photos(200)
    figure = maps.coverage(table, None)
    assert figure is not None
    assert "others are not available" in figure.caption
    tiles = values_with(figure, "e0", "rmse_m")
    assert tiles["photos"].sum() == 200
    lat0, lon0 = geo.mean_position(table["lat_deg"], table["lon_deg"])
    east, north = geo.to_east_north_m(table["lat_deg"], table["lon_deg"], lat0, lon0)
    for tile in tiles.dropna(subset=["rmse_m"]).to_dict("records"):
        inside = (east >= tile["e0"]) & (east < tile["e1"])
        inside &= (north >= tile["n0"]) & (north < tile["n1"])
        by_hand = math.sqrt(np.mean(table["error_m"].to_numpy()[inside] ** 2))
        assert tile["rmse_m"] == pytest.approx(by_hand)


def test_heat_map_frames_the_lowest_and_marks_what_does_not_beat_the_mean() -> None:
    table = cells({"a": 70.0, "b": 60.0, "c": 88.0, "d": math.nan}, same=("a", "b"))
    table = table.assign(lr=[0.001, 0.001, 0.003, 0.003], batch_size=[8, 16, 8, 16])
    table.loc[2, "beats_mean"] = False
    table.loc[3, "reason"] = "failed: out of memory"
    figure = grid.heat_map(table, axes=grid.Axes("lr", "batch_size"), winner="b", mean_rmse_m=MEAN)
    shown = values_with(figure, "row", "text").set_index(["row", "column"])
    assert list(shown["text"]) == ["70.0", "60.0", "88.0 †", "-"]
    assert shown.loc[("0.001", "16"), "weight"] == "bold"
    assert shown.loc[("0.003", "16"), "why"] == "failed: out of memory"
    assert "1 of the 2 other cells cannot be told apart" in figure.title


def test_heat_map_says_that_no_other_cell_can_be_told_apart() -> None:
    table = cells({"a": 60.0, "b": 61.0}, same=("a", "b")).assign(lr=[1, 1], batch_size=[8, 16])
    figure = grid.heat_map(table, axes=grid.Axes("lr", "batch_size"), winner="a", mean_rmse_m=MEAN)
    assert "; no other cell can be told apart from it" in figure.title


def test_letters_on_the_tiles_contrast_with_cividis() -> None:
    """cividis reversed: the lowest value is bright and carries black letters."""
    table = cells({"a": 60.0, "b": 90.0}).assign(lr=[1, 1], batch_size=[8, 16])
    figure = grid.heat_map(table, axes=grid.Axes("lr", "batch_size"), winner="a", mean_rmse_m=MEAN)
    letters = values_with(figure, "letter").set_index("column")["letter"]
    assert letters["8"] == "#000000"
    assert letters["16"] == "#ffffff"


def test_a_diverged_cell_owns_neither_colours_nor_axes_and_its_figure_is_shown() -> None:
    wild = cells({"a": 60.0, "b": 70.0, "c": 525_503.9}).assign(lr=[1, 2, 3], batch_size=8)
    wild.loc[1, "high_m"] = 271.0
    ceiling = 2 * MEAN
    tiles = grid.heat_map(wild, axes=grid.Axes("lr", "batch_size"), winner="a", mean_rmse_m=MEAN)
    assert "525,503.9" in set(values_with(tiles, "row", "text")["text"])
    colours = tiles.spec["layer"][0]["encoding"]["color"]["scale"]
    assert colours["domain"] == [60.0, ceiling]
    ranked = grid.ranking(wild, winner="a", mean_rmse_m=MEAN)
    shown = values_with(ranked, "rmse_m_drawn")
    assert shown[["rmse_m_drawn", "low_m_drawn", "high_m_drawn"]].max().max() == ceiling
    words = {text.replace("\u00a0", " ") for text in values_with(ranked, "end")["text"]}
    assert words == {"\u2192 271 m", "\u2192 525,504 m"}
    effects = grid.effects(
        wild.assign(batch_size=[8, 8, 16]), ["lr", "batch_size"], mean_rmse_m=MEAN, share={}
    )
    assert values_with(effects, "level")["rmse_m"].max() == ceiling
    assert "1 value, up to 525,504" in effects.caption


def test_a_wild_first_epoch_is_cut_and_said() -> None:
    table = history({"a": 50.0, "b": 60.0})
    table.loc[table["epoch"] == 1, "rmse_m"] = 4000.0
    figure = curves.epochs(table, name="e", legend="lr", mean_rmse_m=MEAN)
    text = figure.caption.replace("\u00a0", " ")
    assert f"Cut at {2 * MEAN:.0f} m: 2 values, up to 4,000 m." in text
    panel = figure.spec["hconcat"][1]["layer"][0]["layer"][1]
    assert panel["encoding"]["y"]["scale"]["domainMax"] == 2 * MEAN
    assert panel["mark"]["clip"] is True


def test_ranking_is_sorted_and_the_expected_error_stands_on_top() -> None:
    expected = [{"label": "corrected", "rmse_m": 66.0, "low_m": 60.0, "high_m": 75.0}]
    figure = grid.ranking(
        cells({"b": 70.0, "a": 60.0, "c": 88.0}, same=("a", "b")),
        winner="a",
        mean_rmse_m=MEAN,
        expected=expected,
    )
    shown = values_with(figure, "kind", "label")
    assert list(shown["label"]) == ["corrected", "a", "b", "c"]
    assert list(shown["kind"]) == [grid.EXPECTED, grid.SAME, grid.SAME, grid.WORSE]
    assert figure.title == "2 of 3 cells, the lowest included, cannot be told apart"


def test_ranking_without_a_comparison_claims_none() -> None:
    table = cells({"a": 60.0, "b": 61.0}).assign(in_best_set=None)
    figure = grid.ranking(table, winner="a", mean_rmse_m=MEAN)
    assert "which others could be as good is not known" in figure.title


def test_effects_state_the_largest_share_or_why_there_is_none() -> None:
    table = cells({"a": 60.0, "b": 80.0, "c": 62.0, "d": 81.0})
    table = table.assign(lr=[0.001, 0.003] * 2, batch_size=[8, 8, 16, 16])
    axes = ["lr", "batch_size"]
    shared = grid.effects(table, axes, mean_rmse_m=MEAN, share={"lr": 0.9, "batch_size": 0.05})
    assert shared.title == "Most of the variance between runs comes with learning rate: 90 %"
    plain = grid.effects(table, axes, mean_rmse_m=MEAN, share={}, no_share="a search")
    assert plain.title.replace("\u00a0", " ") == (
        "RMSE varies most with learning rate: 19.5 m between its levels' means"
    )
    assert "a search" in plain.caption


@pytest.mark.parametrize(
    ("rmse", "low_m", "finding"),
    [
        ([90.0, 75.0, 60.0], 2.0, "and still improves: take more photos"),
        ([90.0, 75.0, 60.0], -2.0, "which may be chance"),
        ([90.0, 75.0, 60.0], math.nan, "which may be chance"),
        ([90.0, 60.0, 62.0], -5.0, "More photos from 200 to 400 photos did not help r18"),
    ],
)
def test_learning_curve_says_whether_more_photos_would_help(
    rmse: list[float], low_m: float, finding: str
) -> None:
    points = cells(dict(zip("abc", rmse, strict=True))).assign(label="r18", n_train=[100, 200, 400])
    gain = Interval(rmse[1] - rmse[2], low_m, 28.0, 4.0, 1.0, 3, 45, 60)
    assert finding in curves.learning_curve(points, mean_rmse_m=MEAN, last_step=gain).title


def test_rules_of_scaling_start_from_the_reference_and_the_lowest_is_named(tmp_path: Path) -> None:
    def name(params: Params) -> str:
        if params["batch_size"] == 32:
            return "reference, batch 32, equal epochs"
        rule = "lr fixed" if params["lr"] == 0.001 else "lr x k"
        return f"{rule}, batch {params['batch_size']}, equal epochs"

    axes: dict[str, list[Any]] = {
        "optimizer": ["sgd", "adam"],
        "batch_size": [8, 32, 128],
        "lr": [0.001, 0.004],
    }
    worse = {("sgd", 0.004): 30.0, ("adam", 0.004): 20.0}
    options = Options(
        axes=axes,
        name=name,
        epochs=2,
        n_val=300,
        figures=[
            {
                "kind": "lines",
                "name": "scaling",
                "x": "batch_size",
                "names": "{line}, batch {x}, {panel}",
                "start": "reference",
            }
        ],
        effect=lambda p: 50.0 + worse.get((p["optimizer"], p["lr"]), 0.0),
        states={
            (f"optimizer={o},batch_size=32,lr=0.004", seed): ("pruned", "")
            for o in ("sgd", "adam")
            for seed in (0, 1, 2)
        },
    )
    study = make_study(tmp_path, "scaling", options)
    found = analyse(collect.load_study(study.folder, [tmp_path]))
    figures = choose.of_study(scene_of(found, found.rankings[0]))
    (figure,) = (figure for figure in figures if figure.name == "scaling")
    assert figure.title == "Lowest on average, of 2 panels: lr fixed in 2"
    drawn = pd.DataFrame([row for rows in figure.spec["datasets"].values() for row in rows])
    lines = drawn.dropna(subset=["line"]).groupby(["panel", "line"])["x"].agg(sorted)
    assert set(lines.index) == {
        (f"optimizer {optimizer}, equal epochs", rule)
        for optimizer in ("sgd", "adam")
        for rule in ("lr fixed", "lr x k")
    }
    assert all(sizes == [8, 32, 128] for sizes in lines)


def test_a_named_cell_stands_for_all_that_it_sets(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"model": ["resnet18", "resnet50"], "max_epochs": [9, 15]}
    options = Options(axes=axes, epochs=2, name=lambda params: f"{params['max_epochs']} epochs")
    study = make_study(tmp_path, "named", options)
    found = analyse(collect.load_study(study.folder, [tmp_path]))
    figures = {f.name: f for f in choose.of_study(scene_of(found, found.rankings[0]))}
    assert {"grid", "epochs_by_name", "epochs_by_model"} <= set(figures)
    assert "epochs_by_max_epochs" not in figures
    assert re.search(r"cell 9 epochs, model resnet18: \d", figures["grid"].alt)


def test_cost_names_a_cheaper_cell_that_cannot_be_told_from_the_best() -> None:
    table = cells({"dear": 60.0, "cheap": 61.0, "bad": 85.0}, same=("dear", "cheap"))
    table = table.assign(group="m", seconds=[200.0, 50.0, 10.0], epochs=15.0)
    figure = curves.cost(table, mean_rmse_m=MEAN)
    assert figure.title == (
        "cheap takes 25% of the best cell's seconds and cannot be told apart from it"
    )
    alone = curves.cost(table.assign(in_best_set=[True, False, False]), mean_rmse_m=MEAN)
    assert "no much cheaper one is known to be as good" in alone.title
    assert curves.cost(table, mean_rmse_m=MEAN, column="epochs").name == "cost_epochs"
    ends = json.dumps(curves.cost(table.assign(seconds=[0.1, 5.0, 90.0]), mean_rmse_m=MEAN).spec)
    assert '"domain": [0.0, ' in ends  # no run takes less than no time
    close = curves.cost(table.assign(seconds=[200.0, 184.0, 100.0]), mean_rmse_m=MEAN)
    assert "no much cheaper one" in close.title  # 92 % of the seconds is no finding


@pytest.fixture(scope="module")
def fake_figures(tmp_path_factory: pytest.TempPathFactory) -> list[Figure]:
    root = tmp_path_factory.mktemp("runs")
    study = make_study(root, "table1", Options(epochs=6))
    found = analyse(collect.load_study(study.folder, [root]))
    return choose.of_study(scene_of(found, found.rankings[0]))


def test_a_grid_study_carries_the_study_s_figures(fake_figures: list[Figure]) -> None:
    names = [figure.name for figure in fake_figures]
    assert names[:3] == ["grid", "ranking", "epochs_by_lr"]
    assert {"epochs_by_model", "positions", "distribution", "effects"} <= set(names)
    assert {"error_by_nearest", "error_by_heading", "error_by_hour", "coverage"} <= set(names)
    assert len(set(names)) == len(names)
    assert "cost" in choose.left_out(fake_figures)  # all cells of the fake cost the same


def test_every_figure_has_a_finding_a_caption_and_a_text_for_who_cannot_see_it(
    fake_figures: list[Figure],
) -> None:
    for figure in fake_figures:
        assert len(figure.title) > 15
        assert not figure.title.endswith(".")
        assert len(figure.caption) > 15
        assert any(char.isdigit() for char in figure.alt), figure.name
        assert "nan" not in (figure.title + figure.caption + figure.alt).lower(), figure.name


def axis_titles(node: Any) -> list[tuple[str, Any]]:
    found = []
    if isinstance(node, dict):
        for axis in ("x", "y"):
            channel = node.get("encoding", {}).get(axis)
            if isinstance(channel, dict) and "field" in channel and "title" in channel:
                found.append((axis, channel["title"]))
        for value in node.values():
            found += axis_titles(value)
    if isinstance(node, list):
        for item in node:
            found += axis_titles(item)
    return found


def test_axes_are_labelled_and_lengths_have_their_unit(fake_figures: list[Figure]) -> None:
    for figure in fake_figures:
        titles = [str(title) for _, title in axis_titles(figure.spec) if title]
        assert titles, figure.name
        for title in titles:
            if "RMSE" in title or title.startswith("error"):
                assert "(m)" in title, (figure.name, title)


def test_figures_with_an_rmse_axis_carry_the_mean_predictor(fake_figures: list[Figure]) -> None:
    for figure in fake_figures:
        if figure.name.startswith(("ranking", "epochs", "error_by", "effects")):
            assert "mean predictor" in str(figure.spec) + figure.caption, figure.name


def test_figures_with_an_rmse_axis_say_where_the_floor_is(fake_figures: list[Figure]) -> None:
    names = ("grid", "ranking", "epochs", "error_by", "effects", "tuning", "cost")
    for figure in fake_figures:
        if figure.name.startswith(names):
            assert "floor" in str(figure.spec) + figure.caption, figure.name


def test_a_floor_near_the_errors_is_a_line_and_one_far_below_leaves_the_axis_alone() -> None:
    shown = cells({"a": 60.0, "b": 70.0}, same=("a",))
    near = grid.ranking(shown, winner="a", mean_rmse_m=MEAN, floor_m=50.0)
    assert values_with(near, "value", "text")["text"].tolist() == [f"mean predictor {metres(MEAN)}"]
    assert [50.0] in [list(d["value"]) for d in data_of(near) if "value" in d]
    far = grid.ranking(shown, winner="a", mean_rmse_m=MEAN, floor_m=5.0)
    assert [5.0] not in [list(d["value"]) for d in data_of(far) if "value" in d]
    assert "\u2190 floor 5.0" in str(far.spec)
    unknown = grid.ranking(shown, winner="a", mean_rmse_m=MEAN)
    assert "floor" not in str(unknown.spec)


def test_profiles_draw_six_lines_and_name_where_half_of_the_photos_are() -> None:
    at = np.linspace(0, 100, 11)
    rows = [
        {
            "label": label,
            "half_m": end / 2,
            "at_m": x,
            "share": min(x / end, 1),
            "low": 0.0,
            "high": 1.0,
        }
        for label, end in [*((f"cell {i}", 50.0 + i) for i in range(9)), ("mean predictor", 90.0)]
        for x in at
    ]
    figure = errors.profiles(pd.DataFrame(rows))
    assert figure is not None
    drawn = values_with(figure, "label", "share")
    assert drawn["label"].nunique() == 6
    assert f"within {metres(25.0)}, the mean predictor within {metres(45.0)}" in figure.title
    assert "all 9 cells" in figure.caption


def test_profiles_of_a_study_are_those_of_its_photos(tmp_path: Path) -> None:
    study = make_study(tmp_path, "s", Options(seeds=(0, 1)))
    analysis = analyse(collect.load_study(study.folder, [tmp_path]))
    found = profiles(scene_of(analysis, analysis.rankings[0]))
    last = found[found["label"] == "mean predictor"]
    assert found["label"].nunique() == len(study.true_rmse_m) + 1
    first = analysis.rankings[0]
    lowest = first.errors.error_m[first.errors.cells.index(first.winner.cell)]
    own = found[found["label"] == found["label"].iloc[0]]
    for _, row in own.iloc[::20].iterrows():
        assert row["share"] == pytest.approx((lowest <= row["at_m"]).mean())
        assert row["low"] <= row["share"] <= row["high"]
    assert last["share"].iloc[0] == 0.0


def test_figures_are_written_as_svg_and_png(fake_figures: list[Figure], tmp_path: Path) -> None:
    figure = fake_figures[1]
    svg = save(figure, tmp_path)
    titled = ElementTree.parse(tmp_path / "ranking.svg").getroot()  # noqa: S314 - ours
    texts = " ".join(
        "".join(node.itertext()) for node in titled.iter() if node.tag.endswith("text")
    )
    assert figure.title[:30] in texts
    with Image.open(tmp_path / "ranking.png") as png:
        assert png.width == pytest.approx(2 * float(titled.attrib["width"]), abs=2)
    assert figure.title[:30] not in svg  # the page says it as text


def test_the_same_figure_gives_the_same_svg_with_ids_of_its_own(
    fake_figures: list[Figure], tmp_path: Path
) -> None:
    grid_map = fake_figures[0]  # its legend's gradient has an id
    svg = save(grid_map, tmp_path)
    assert svg == save(grid_map, tmp_path)
    assert 'id="grid-0"' in svg
    assert "url(#grid-0)" in svg


def test_user_text_is_escaped_in_svg_and_in_its_label(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>\"&"
    figure = grid.ranking(cells({evil: 60.0, "b": 70.0}), winner=evil, mean_rmse_m=MEAN)
    svg = inline(save(figure, tmp_path), figure.alt)
    root = ElementTree.fromstring(svg)  # noqa: S314 - ours
    assert not [node for node in root.iter() if node.tag.endswith("script")]
    assert evil in root.attrib["aria-label"]
    assert "<script" not in svg
    assert "width" not in root.attrib  # the page decides


def test_ink_follows_the_page_but_tiles_keep_their_letters(
    fake_figures: list[Figure], tmp_path: Path
) -> None:
    svg = inline(save(fake_figures[0], tmp_path), "")
    assert "var(--ink)" in svg
    assert "var(--muted)" in svg
    assert "#ffffff" in svg or "white" in svg


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([0.01, 0.001, 0.003], ["0.001", "0.003", "0.01"]),
        ([16, 8, 128], ["8", "16", "128"]),
        (["sgd", "adam"], ["adam", "sgd"]),
        (["none", 3, True], ["3", "none", "true"]),
        (["1362 photos", "170 photos"], ["170 photos", "1362 photos"]),
    ],
)
def test_levels_are_ordered_as_numbers_where_they_are(
    levels: list[object], expected: list[str]
) -> None:
    assert in_order(levels) == expected


def test_words_are_joined_and_lengths_rounded() -> None:
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([]) == ""
    assert metres(99.94).split() == ["99.9", "m"]
    assert metres(1234.4).split() == ["1,234", "m"]


def named_study(root: Path, axes: dict[str, list[Any]], names: dict[str, str]) -> Path:
    """A fake study whose cells have names, by the beginning of their parameters."""
    study = make_study(root, "s", Options(axes=axes, seeds=(0,), epochs=2))
    path = study.folder / "study.json"
    facts = json.loads(path.read_text())
    for cell in facts["cells"]:
        cell["name"] = next((n for key, n in names.items() if cell["cell"].startswith(key)), "")
    path.write_text(json.dumps(facts))
    return study.folder


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (
            {"lr=0.001": "as published", "lr=0.002": "doubled"},
            [
                "batch size 8, as published",
                "batch size 16, as published",
                "batch size 8, doubled",
                "batch size 16, doubled",
            ],
        ),
        (
            {"lr=0.001,batch_size=16": "baseline"},
            [
                "learning rate 0.001, batch size 8",
                "learning rate 0.001, batch size 16 (baseline)",
                "learning rate 0.002, batch size 8",
                "learning rate 0.002, batch size 16",
            ],
        ),
    ],
    ids=["all-named", "one-named"],
)
def test_cells_are_called_by_what_varies_and_by_their_names(
    tmp_path: Path, names: dict[str, str], labels: list[str]
) -> None:
    folder = named_study(tmp_path, {"lr": [0.001, 0.002], "batch_size": [8, 16]}, names)
    found = analyse(collect.load_study(folder, [tmp_path]))
    scene = scene_of(found, found.rankings[0])
    assert list(scene.cells["label"]) == labels


def test_a_knob_that_only_some_cells_have_is_no_axis_of_a_figure(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"head": ["mlp", "ridge"], "model": ["a", "b"], "k": [1, 2]}
    folder = named_study(tmp_path, axes, {})
    path = folder / "study.json"
    facts = json.loads(path.read_text())
    facts["cells"] = [
        c for c in facts["cells"] if c["params"]["head"] == "mlp" or c["params"]["k"] == 1
    ]
    for cell in facts["cells"]:
        if cell["params"]["head"] == "ridge":
            del cell["params"]["k"]
            cell["cell"] = cell["cell"].replace(",k=1", "")
    path.write_text(json.dumps(facts))
    found = analyse(collect.load_study(folder, [tmp_path]))
    scene = scene_of(found, found.rankings[0])

    assert scene.everywhere == ["head", "model"]
    for figure in choose.of_study(scene):
        assert "nan" not in f"{figure.title} {figure.caption} {figure.alt}"
        assert figure.name != "grid"  # two cells would lie on one tile


def test_searched_values_get_as_many_digits_as_keep_cells_apart(tmp_path: Path) -> None:
    folder = named_study(tmp_path, {"lr": [0.0012345, 0.0012349, 0.02]}, {})
    found = analyse(collect.load_study(folder, [tmp_path]))
    labels = list(scene_of(found, found.rankings[0]).cells["label"])
    assert labels == [f"learning rate {value}" for value in ("0.0012345", "0.0012349", "0.02")]


def test_a_searched_knob_is_drawn_on_a_log_axis_without_level_means() -> None:
    lr = np.geomspace(1e-4, 1e-1, 12)
    table = cells({f"c{i}": 60.0 + i for i in range(12)}).assign(lr=lr, optimizer=["a", "b"] * 6)
    figure = grid.effects(
        table, ["lr", "optimizer"], mean_rmse_m=MEAN, share={}, no_share="not a grid (tpe)"
    )
    assert "log scale" in str(figure.spec)
    # thirds of twelve values: means 61.5, 65.5 and 69.5
    assert figure.title.replace("\u00a0", " ").startswith(
        "RMSE varies most with learning rate: 8.0 m between its lowest, middle and highest thirds"
    )


def test_many_photos_are_thinned_on_the_map_and_the_title_is_of_all() -> None:
    table = photos(500)
    figure = maps.positions(table)
    assert len(values_with(figure, "to_east")) == maps.MOST_LINES
    assert f"{maps.MOST_LINES} of 500 validation photos" in figure.caption
    assert metres(float(np.median(table["error_m"]))) in figure.title
