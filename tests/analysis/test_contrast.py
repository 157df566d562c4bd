"""One choice against another: pairs that agree in all else, and figures by numpy by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from img2gps.analysis import collect, stats
from img2gps.analysis.choices import read_choice
from img2gps.analysis.contrast import contrast
from img2gps.analysis.study import Study
from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from tests.helpers.fake_study import FakeStudy, Options, make_study

AXES: dict[str, list[Any]] = {"model": ["resnet18", "resnet50"], "lr": [0.001, 0.003]}


def load(made: FakeStudy) -> Study:
    return collect.load_study(made.folder, [made.folder.parent])


def name_cells(made: FakeStudy, named: dict[str, dict[str, Any]]) -> None:
    path = made.folder / "study.json"
    facts = json.loads(path.read_text())
    facts["named_cells"] = named
    for entry in facts["cells"]:
        entry["name"] = next(
            (n for n, cell in named.items() if cell.items() <= entry["params"].items()), ""
        )
    path.write_text(json.dumps(facts))


def test_difference_is_the_mean_over_pairs_of_cells_that_agree_in_all_else(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes=AXES))
    found = contrast(load(made), {"model": "resnet50"}, {"model": "resnet18"})
    rmse = np.sqrt((made.errors_m**2).mean(axis=2)).mean(axis=1)  # 18/.001, 18/.003, 50/.001, ...
    assert found.pairs == 2
    assert found.interval.estimate == pytest.approx((rmse[2] + rmse[3] - rmse[0] - rmse[1]) / 2)
    assert (found.this_m, found.that_m) == pytest.approx((rmse[2:].mean(), rmse[:2].mean()))


def test_one_pair_is_the_paired_difference_of_two_cells(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes=AXES))
    study = load(made)
    found = contrast(study, {"lr": "0.003"}, {"lr": "0.001"}, {"model": "resnet18"})
    assert found.pairs == 1
    luck = study.errors().luck  # of all cells
    paired = stats.difference_interval(made.errors_m[1], made.errors_m[0], made.spot, luck=luck)
    figures = ("estimate", "low", "high", "se_photos", "se_seeds")
    for name in figures:
        assert getattr(found.interval, name) == pytest.approx(getattr(paired, name)), name


def test_names_pair_by_what_the_star_stands_for(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.002, 0.004, 0.008], "optimizer": ["sgd", "adam"]}
    made = make_study(tmp_path, "s", Options(axes=axes, effect=lambda p: 50 + 2000 * p["lr"]))
    name_cells(
        made,
        {
            "fixed, batch 8": {"lr": 0.001},
            "scaled, batch 8": {"lr": 0.002},
            "fixed, batch 16": {"lr": 0.004},
            "scaled, batch 64": {"lr": 0.008},
        },
    )
    found = contrast(load(made), {"name": "scaled, *"}, {"name": "fixed, *"})
    assert found.pairs == 2  # batch 8 with either optimiser; the others have no partner
    rmse = np.sqrt((made.errors_m**2).mean(axis=2)).mean(axis=1).reshape(4, 2)
    assert found.interval.estimate == pytest.approx((rmse[1] - rmse[0]).mean())


def test_a_difference_that_is_there_is_called_so_and_none_is_not(tmp_path: Path) -> None:
    apart = make_study(tmp_path / "a", "s", Options(axes=AXES, effect=lambda p: 50 + 1e4 * p["lr"]))
    found = contrast(load(apart), {"lr": "0.003"}, {"lr": "0.001"})
    assert found.verdict == "higher"
    assert contrast(load(apart), {"lr": "0.001"}, {"lr": "0.003"}).verdict == "lower"
    same = make_study(tmp_path / "b", "s", Options(axes=AXES, effect=lambda _: 60.0))
    assert contrast(load(same), {"lr": "0.003"}, {"lr": "0.001"}).verdict == "not distinguishable"


def test_only_cells_validated_on_the_same_photos_are_paired(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes=AXES))
    study = load(made)
    for folder in study.runs[study.runs["model"] == "resnet50"]["folder"]:
        path = Path(folder) / "predictions.csv"
        path.write_text(path.read_text().replace(",0000000000", ",ffffffffff"))
    with pytest.raises(BadInput, match="no finished cells with model=resnet50 and with"):
        contrast(load(made), {"model": "resnet50"}, {"model": "resnet18"})
    where = {"model": "resnet50"}
    assert contrast(load(made), {"lr": "0.003"}, {"lr": "0.001"}, where).pairs == 1


def test_pairs_on_different_photos_are_different_questions(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes={"split": ["random", "place"], "lr": [0.1, 0.2]}))
    study = load(made)
    for folder in study.runs[study.runs["split"] == "place"]["folder"]:
        path = Path(folder) / "predictions.csv"
        path.write_text(path.read_text().replace(",0000000000", ",ffffffffff"))
    with pytest.raises(BadInput, match="pairs on 2 sets of validation photos"):
        contrast(load(made), {"lr": "0.2"}, {"lr": "0.1"})
    assert contrast(load(made), {"lr": "0.2"}, {"lr": "0.1"}, {"split": "place"}).pairs == 1


def test_values_are_compared_as_they_are_typed(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"drop_last": [False, True], "lr": [1e-05, 0.001]}
    made = make_study(tmp_path, "s", Options(axes=axes, effect=lambda _: 60.0))
    found = contrast(load(made), {"drop_last": "true"}, {"drop_last": "false"}, {"lr": "0.00001"})
    assert found.pairs == 1


def test_pretrained_against_scratch_is_said(tmp_path: Path) -> None:
    made = make_study(
        tmp_path,
        "s",
        Options(axes=AXES, weights=lambda p: "imagenet" if p["lr"] == 0.001 else "none"),
    )
    found = contrast(load(made), {"lr": "0.003"}, {"lr": "0.001"})
    assert "pretrained runs are compared with runs from scratch" in found.notes


def test_a_knob_that_is_not_varied_is_named_with_those_that_are(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes=AXES))
    with pytest.raises(BadInput, match="depth: not varied by s; one of model, lr, name"):
        contrast(load(made), {"depth": "18"}, {"depth": "50"})
    with pytest.raises(BadInput, match="lr: give KNOB=VALUE"):
        read_choice(["lr"])


def test_command_prints_difference_and_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, "s", Options(axes=AXES, effect=lambda p: 50 + 1e4 * p["lr"]))
    with pytest.raises(SystemExit) as end:
        main(["contrast", "s", "--runs", str(tmp_path), "--this", "lr=0.003", "--that", "lr=0.001"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "2 pairs of cells" in out
    assert out.rstrip().endswith("higher")


def test_sides_of_several_knobs_are_paired_and_ambiguous_ones_refused(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes=AXES))
    found = contrast(
        load(made), {"model": "resnet50"}, {"model": "resnet18", "lr": "0.001"}, {"lr": "0.001"}
    )
    assert found.pairs == 1
    said = "lr=0.003: fits model=resnet18,lr=0.003 and model=resnet50,lr=0.003, which the other"
    with pytest.raises(BadInput, match=said):
        contrast(load(made), {"lr": "0.003"}, {"model": "resnet18"})


def test_a_side_against_itself_has_no_interval(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes=AXES))
    found = contrast(load(made), {"lr": "0.001"}, {"lr": "0.001"})
    assert found.difference == "+0.0 m (no interval, 2 pairs of cells)"


def test_a_value_that_is_null_is_not_a_knob_that_does_not_exist(tmp_path: Path) -> None:
    decay = "optimizer.weight_decay"
    made = make_study(tmp_path, "s", Options(axes={decay: [None, 0.01, 0.1], "lr": [0.1, 0.2]}))
    path = made.folder / "study.json"
    facts = json.loads(path.read_text())
    for entry in facts["cells"]:
        if entry["params"][decay] == 0.1:  # such as SGD, which has no weight decay here
            del entry["params"][decay]
    path.write_text(json.dumps(facts))
    found = contrast(load(made), {decay: "null"}, {decay: "absent"})
    rmse = np.sqrt((made.errors_m**2).mean(axis=2)).mean(axis=1)
    assert found.pairs == 2
    assert (found.this_m, found.that_m) == pytest.approx((rmse[:2].mean(), rmse[4:].mean()))


def test_a_pair_has_a_chance_and_a_margin_says_whether_both_are_as_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, "s", Options(axes=AXES))
    words = ["contrast", "s", "--this", "lr=0.003", "--that", "lr=0.001", "--runs", str(tmp_path)]
    pair = [*words, "--where", "model=resnet18"]
    with pytest.raises(SystemExit, match="0"):
        main([*pair, "--margin", "60"])
    shown = capsys.readouterr().out
    assert "chance that a run of the first beats one of the second" in shown
    assert "within a margin of 60 m they are equivalent (90 % interval " in shown
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--margin", "1"])
    shown = capsys.readouterr().out
    assert "chance" not in shown  # two pairs
    assert "within a margin of 1 m they are not shown to be equivalent" in shown
    with pytest.raises(SystemExit, match="2"):
        main([*pair, "--margin", "0"])
    assert "--margin 0: not above 0" in capsys.readouterr().err


def test_a_margin_that_is_none_is_refused_before_the_study_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["contrast", "nowhere", "--this", "lr=1", "--that", "lr=2", "--runs", str(tmp_path)]
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--margin", "0"])
    assert "--margin 0: not above 0" in capsys.readouterr().err


def test_cells_that_answer_alike_have_no_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_study(tmp_path, "s", Options(axes={"lr": [0.001, 0.003]}))
    runs = json.loads((made.folder / "study.json").read_text())["cells"]
    folders = {(run["params"]["lr"], run["seed"]): tmp_path / run["path"] for run in runs}
    for (lr, seed), folder in folders.items():
        if lr == 0.003:  # such as a knob that a solved head does not read
            shutil.copy(folders[0.001, seed] / "predictions.csv", folder)
    words = ["--this", "lr=0.003", "--that", "lr=0.001", "--margin", "5"]
    with pytest.raises(SystemExit, match="0"):
        main(["contrast", "s", *words, "--runs", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "nan" not in shown
    assert "as many other photos: 50% (no interval)" in shown
    assert "they are not shown to be equivalent (no interval)" in shown


def test_cells_that_lack_seeds_are_named(tmp_path: Path) -> None:
    lost = {("model=resnet50,lr=0.001", seed): ("failed", "boom") for seed in (1, 2)}
    study = load(make_study(tmp_path, "s", Options(axes=AXES, states=lost)))
    notes = contrast(study, {"model": "resnet50"}, {"model": "resnet18"}).notes
    assert "model=resnet50,lr=0.001 lacks 2 of 3 seeds" in notes
    where = {"lr": "0.003"}
    assert not contrast(study, {"model": "resnet50"}, {"model": "resnet18"}, where).notes


@pytest.mark.parametrize("lacking", [(0, 1), (1,)])
def test_cells_with_some_of_their_folds_are_left_out_or_said_to_have_only_these(
    tmp_path: Path, lacking: tuple[int, ...]
) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003], "split.fold": [0, 1, 2]}
    states = {
        (f"lr={lr},split.fold=2", seed): ("queued", "") for lr in axes["lr"] for seed in lacking
    }
    options = Options(axes=axes, seeds=(0, 1), split_kind="kfold", states=states)
    found = contrast(load(make_study(tmp_path, "s", options)), {"lr": "0.003"}, {"lr": "0.001"})
    if lacking == (0, 1):
        assert "2 of 3 folds" in found.notes
    else:
        assert not any("folds" in note for note in found.notes)
        assert found.interval.n_seeds == 1


@pytest.mark.parametrize("lacking", [(0.001, 0.003), (0.001, 0.003, 0.005)])
def test_cells_that_lack_a_fold_are_compared_whatever_folds_other_cells_have(
    tmp_path: Path, lacking: tuple[float, ...]
) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003, 0.005], "split.fold": [0, 1, 2]}
    states = {
        (f"lr={lr},split.fold=2", seed): ("failed", "boom") for lr in lacking for seed in (0, 1)
    }
    options = Options(axes=axes, seeds=(0, 1), split_kind="kfold", states=states)
    made = make_study(tmp_path, "s", options)
    found = contrast(load(made), {"lr": "0.003"}, {"lr": "0.001"})
    assert "2 of 3 folds" in found.notes
    assert found.interval.n_photos == 2 * options.n_val
