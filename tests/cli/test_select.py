"""`img2gps select`: the rule was written down before, the test part is looked at once."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from img2gps.analysis.winner import read_rule
from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_csv, write_json
from img2gps.runs.records import StudyRecord
from img2gps.runs.winner import Winner, write_winner
from img2gps.study import selection


def cell(name: str, seed: int, value: float | None, state: str = "finished") -> dict[str, Any]:
    run_id = f"{name}{seed}"
    return {
        "cell": name, "name": "", "params": {"lr": name}, "seed": seed, "run_id": run_id,
        "path": f"s/{run_id}", "state": state, "reason": "", "value": value, "linked": False,
    }  # fmt: skip


# b has the luckiest single run, a the best mean; c lacks a seed.
CELLS = [
    cell("a", 0, 63.0), cell("a", 1, 60.0), cell("a", 2, 61.5),
    cell("b", 0, 70.0), cell("b", 1, 50.0), cell("b", 2, 69.0),
    cell("c", 0, 40.0), cell("c", 1, None, "failed"), cell("c", 2, 41.0),
]  # fmt: skip


def write(
    root: Path, cells: list[dict[str, Any]], n_test: int = 0, **changes: Any
) -> dict[str, Any]:
    study = {
        "schema": 1, "study": "s", "monitor": "val/rmse_m", "direction": "minimize",
        "seeds": [0, 1, 2], "select": {"by": "val/rmse_m", "aggregate": "mean"},
        "command": "python -m img2gps.train -m sweeps=s", "cells": cells, **changes,
    }  # fmt: skip
    write_json(root / "s" / "study.json", study)
    for run in cells:
        result = {
            "state": run["state"], "metrics": {"val/median_m": 100.0 - (run["value"] or 0)},
            "mean_predictor/rmse_m": 89.0, "data": {"n_test": n_test},
            "weights": {"resolved": "none"},
        }  # fmt: skip
        write_json(root / run["path"] / "result.json", result)
    return study


def select(study: dict[str, Any], root: Path, where: dict[str, str] | None = None) -> Winner:
    asked = selection.Asked(where or {})
    return selection.select(StudyRecord.from_dict(study), root, asked=asked)


def command(root: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["select", "s", "--runs", str(root), *words])
    assert isinstance(end.value.code, int)
    return end.value.code


def winner(root: Path) -> dict[str, Any]:
    found = read_json(root / "s" / "winner.json")
    assert found is not None
    return found


def test_lowest_mean_over_seeds_wins_and_its_first_seed_is_deployed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, CELLS)
    assert command(tmp_path) == 0
    said = capsys.readouterr().out
    assert "chosen" not in said  # there is no front of a single aim
    assert "  1 cell lacks a finished seed and did not take part\n" in said
    found = winner(tmp_path)
    assert found["front"] == []
    assert (found["cell"], found["seed"], found["path"]) == ("a", 0, "s/a0")
    assert found["value"] == pytest.approx(statistics.fmean([63.0, 60.0, 61.5]))
    assert found["run_value"] == 63.0  # not 60.0, its luckiest
    assert (found["candidates"], found["left_out"]) == (2, 1)
    assert found["mean_predictor"] == 89.0


@pytest.mark.parametrize(("start", "said"), [("imagenet", True), ("random", False)])
def test_pretrained_cells_beside_cells_from_scratch_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], start: str, said: bool
) -> None:
    write(tmp_path, CELLS)  # without weights, which is from scratch as `random` is
    for run in CELLS[:3]:
        path = tmp_path / run["path"] / "result.json"
        result = read_json(path)
        assert result is not None
        write_json(path, {**result, "weights": {"resolved": start}})
    assert command(tmp_path) == 0
    out = capsys.readouterr().out
    assert ("pretrained cells and cells from scratch were compared" in out) == said


def test_the_studys_own_rule_decides(tmp_path: Path) -> None:
    by_median = {"by": "val/rmse_m", "aggregate": "median"}
    study = write(
        tmp_path, [*CELLS[:3], cell("b", 0, 61.0), cell("b", 1, 99.0), cell("b", 2, 60.0)]
    )
    assert select(study, tmp_path).cell == "a"
    assert select({**study, "select": by_median}, tmp_path).cell == "b"
    assert select({**study, "direction": "maximize"}, tmp_path).cell == "b"
    other = {"by": "val/median_m", "aggregate": "mean"}  # here 100 - val/rmse_m
    assert select({**study, "select": other}, tmp_path).cell == "b"
    with pytest.raises(BadInput, match=r"select.by=val/x: not among the metrics; one of: val/med"):
        select({**study, "select": {"by": "val/x"}}, tmp_path)
    with pytest.raises(BadInput, match=r"select.aggregate=min: give one of mean, median"):
        select({**study, "select": {"aggregate": "min"}}, tmp_path)


def test_more_photos_within_reach_are_better_whatever_the_study_minimises(tmp_path: Path) -> None:
    study = write(tmp_path, CELLS, select={"by": "val/within_25m"})
    for run in CELLS:
        path = tmp_path / run["path"] / "result.json"
        result = read_json(path)
        assert result is not None
        within = 1 - (run["value"] or 0) / 100
        write_json(path, {**result, "metrics": {"val/within_25m": within}})
    assert select(study, tmp_path).cell == "a"
    study["select"]["direction"] = "minimize"
    assert select(study, tmp_path).cell == "b"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"aggregate": "best"}, "select.aggregate=best: give one of mean, median"),
        ({"direction": "down"}, "select.direction=down: give minimize or maximize"),
        ({"metric": "x"}, "select.metric: no such key; one of by, aggregate, direction, top"),
        ({"top": 0}, "select.top=0: give the number of cells to average, such as 3"),
        ({"top": "3"}, "select.top=3: give the number of cells to average"),
        ({"top": True}, "select.top=True: give the number of cells to average"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read_rule(given, "val/rmse_m", "minimize")


def test_a_study_without_a_complete_cell_has_no_winner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, CELLS[6:])
    assert command(tmp_path) == 2
    assert "no cell has all its seeds finished" in capsys.readouterr().err


def test_the_winner_stays_frozen_when_the_study_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, CELLS)
    command(tmp_path)
    frozen = winner(tmp_path)
    write(tmp_path, [*CELLS, *(cell("d", seed, 30.0) for seed in range(3))])
    capsys.readouterr()
    assert command(tmp_path) == 0
    assert winner(tmp_path) == frozen
    assert "its rule would now select d" in capsys.readouterr().out
    command(tmp_path, "--again")
    assert (winner(tmp_path)["cell"], winner(tmp_path)["selections"]) == ("d", 2)


@pytest.mark.parametrize("content", ["[]", "{", '{"test_looks": "many"}', '{"seeds": 3}'])
def test_a_damaged_record_of_a_winner_is_named_and_stays(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, CELLS)
    path = tmp_path / "s" / "winner.json"
    path.write_text(content)
    assert command(tmp_path) == 2
    assert f"{path}: not a readable record of a winner; restore it" in capsys.readouterr().err
    assert path.read_text() == content


def test_the_test_part_is_looked_at_once_and_later_looks_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looked: list[Path] = []

    def evaluate(
        folder: Path, hidden: int, looking: Callable[[], None], others: list[Path]
    ) -> dict[str, float]:
        assert not others
        looking()
        assert winner(tmp_path)["test_looks"] == len(looked) + 1  # counted before
        looked.append(folder)
        return {"test/rmse_m": 66.0, "n_test": 30}

    monkeypatch.setattr("img2gps.inference.evaluate.evaluate_test", evaluate)
    write(tmp_path, CELLS, n_test=30)
    command(tmp_path)
    assert looked == [tmp_path / "s/a0"]
    assert winner(tmp_path)["test"] == {"test/rmse_m": 66.0, "n_test": 30}
    command(tmp_path)
    command(tmp_path)
    assert len(looked) == 1
    assert winner(tmp_path)["test_looks"] == 1
    capsys.readouterr()
    command(tmp_path, "--look")
    assert (len(looked), winner(tmp_path)["test_looks"]) == (2, 2)
    assert "has been used 2 times" in capsys.readouterr().out
    command(tmp_path, "--again")
    assert winner(tmp_path)["test_looks"] >= 2  # selecting anew does not reset the count


def of_fold(split: str, lr: float, fold: int, value: float) -> dict[str, Any]:
    name = f"lr={lr},split={split},split.fold={fold}"
    params = {"lr": lr, "split": split, "split.fold": fold}
    return {**cell(name, 0, value), "params": params}


def validated(root: Path, run: dict[str, Any], *photos: str) -> None:
    rows = [{"content": photo, "lat_deg": "1", "lon_deg": "2"} for photo in photos]
    write_csv(root / run["path"] / "predictions.csv", list(rows[0]), rows)


def test_folds_win_together_and_never_by_the_easiest(tmp_path: Path) -> None:
    cells = [
        of_fold("kfold", 0.1, 0, 20.0), of_fold("kfold", 0.1, 1, 90.0),
        of_fold("kfold", 0.2, 0, 50.0), of_fold("kfold", 0.2, 1, 60.0),
    ]  # fmt: skip
    study = write(tmp_path, cells)
    found = select(study, tmp_path)
    assert (found.cell, found.folds, found.candidates) == ("lr=0.2,split=kfold", 2, 2)
    assert found.value == pytest.approx(((50.0**2 + 60.0**2) / 2) ** 0.5)
    assert found.path.endswith("split.fold=00")  # the first fold, the first seed
    cells[3]["state"] = "failed"
    assert select(write(tmp_path, cells), tmp_path).cell == "lr=0.1,split=kfold"


def test_cells_validated_on_different_photos_have_no_common_winner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [
        of_fold("kfold", 0.1, 0, 50.0), of_fold("kfold", 0.2, 0, 60.0),
        of_fold("place_kfold", 0.1, 0, 40.0), of_fold("place_kfold", 0.2, 0, 30.0),
    ]  # fmt: skip
    write(tmp_path, cells)
    for run, photos in zip(cells, ("ab", "ab", "ac", "ac"), strict=True):
        validated(tmp_path, run, *photos)
    assert command(tmp_path) == 2
    assert "validated in 2 ways" in (said := capsys.readouterr().err)
    assert "such as --where split=kfold" in said
    assert command(tmp_path, "--where", "split=kfold") == 0
    assert winner(tmp_path)["cell"] == "lr=0.1,split=kfold"
    assert command(tmp_path) == 0  # frozen
    assert command(tmp_path, "--where", "split=place_kfold") == 2
    assert "--again selects anew" in capsys.readouterr().err
    assert command(tmp_path, "--where", "split=place_kfold", "--again") == 0
    assert winner(tmp_path)["cell"] == "lr=0.2,split=place_kfold"
    assert command(tmp_path, "--where", "depth=18", "--again") == 2
    assert "--where depth=...: s does not vary it; name one of lr, split" in capsys.readouterr().err


def test_sizes_of_pictures_are_named_as_what_keeps_cells_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [{**cell(f"s{size}", 0, 50.0), "params": {"image_size": size}} for size in (64, 112)]
    write(tmp_path, cells, seeds=[0])
    for run, photos in zip(cells, ("ab", "cd"), strict=True):
        validated(tmp_path, run, *photos)
    assert command(tmp_path) == 2
    said = capsys.readouterr().err
    assert "such as --where image_size=64 (image_size: photos are told apart by their pix" in said


def test_a_look_that_could_not_be_taken_is_not_counted(tmp_path: Path) -> None:
    write(tmp_path, CELLS, n_test=30)
    assert command(tmp_path) == 2  # its run has no checkpoint
    assert winner(tmp_path)["test_looks"] == 0


def test_the_same_photos_with_other_labels_are_other_photos(tmp_path: Path) -> None:
    cells = [{**cell(name, 0, 50.0), "params": {"data.root": name}} for name in "ab"]
    study = write(tmp_path, cells, seeds=[0])
    for run, lat in zip(cells, ("1.0", "2.0"), strict=True):
        row = {"content": "p", "lat_deg": lat, "lon_deg": "3.0"}
        write_csv(tmp_path / run["path"] / "predictions.csv", list(row), [row])
    with pytest.raises(BadInput, match=r"validated in 2 ways.* --where data\.root=a"):
        select(study, tmp_path)
    assert select(study, tmp_path, where={"data.root": "b"}).cell == "b"


def test_values_asked_for_are_compared_as_numbers_and_missing_ones_named(tmp_path: Path) -> None:
    cells = [{**cell("a", 0, 50.0), "params": {"lr": 0.001}}]
    study = write(tmp_path, cells, seeds=[0])
    assert select(study, tmp_path, where={"lr": "1e-3"}).cell == "a"
    cells[0]["params"]["drop_last"] = True
    assert select(study, tmp_path, where={"drop_last": "true"}).cell == "a"
    with pytest.raises(BadInput, match=r"--where lr=0\.5: no such cell in s"):
        select(study, tmp_path, where={"lr": "0.5"})


def test_a_winner_frozen_over_what_no_rule_allows_now_is_still_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [of_fold("kfold", 0.1, 0, 50.0), of_fold("place_kfold", 0.1, 0, 40.0)]
    study = write(tmp_path, cells)
    frozen = select(study, tmp_path)
    for run in cells:
        path = tmp_path / run["path"] / "result.json"
        kind = {"split": {"kind": run["params"]["split"]}}
        write_json(path, {**(read_json(path) or {}), **kind})
    write_winner(tmp_path / "s", frozen)
    assert command(tmp_path) == 0
    assert (
        "note: the rule would select no winner now: study=s: its cells" in capsys.readouterr().out
    )
    write_winner(tmp_path / "s", replace(frozen, cell=cells[1]["cell"]))
    write(tmp_path, cells[1:])
    assert command(tmp_path) == 0
    assert "has gone on" not in capsys.readouterr().out


@pytest.mark.parametrize("hidden", ["1", "-2", "7"])
def test_hidden_photos_come_in_halves(
    tmp_path: Path, hidden: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, CELLS)
    assert command(tmp_path, f"--hidden={hidden}") == 2
    assert f"--hidden {hidden}: give an even number, such as 2000" in capsys.readouterr().err


def test_average_that_does_worse_than_its_best_cell_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write(tmp_path, CELLS, select={"by": "val/rmse_m", "aggregate": "mean", "top": 2})
    found = replace(select({**study, "select": {}}, tmp_path), top=2, cells=["a", "b"])
    for average_rmse_m, said in ((found.value - 1, False), (found.value + 1, True)):
        averaged = replace(found, average=["s/a0", "s/b0"], average_rmse_m=average_rmse_m)
        write_winner(tmp_path / "s", averaged)
        command(tmp_path)
        assert ("note: the average does worse than" in capsys.readouterr().out) == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--top=-1",), "--top -1: give the number of cells to average, such as 3"),
        (("--top=3",), "--top 3: 2 cells of s can win; give --top 2, or fewer"),
        (("--top=2", "--where", "lr=a"), "--top 2: 1 cell of s can win; give --top 1, or fewer"),
    ],
)
def test_more_cells_than_there_are_cannot_be_averaged(
    tmp_path: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, CELLS)
    assert command(tmp_path, *words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "s" / "winner.json").exists()


def test_a_run_whose_result_is_damaged_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = write(tmp_path, CELLS)
    (tmp_path / "s" / "b1" / "result.json").write_text('{"state": "fini')
    assert select(study, tmp_path).cell == "a"
    assert "run b1: no readable result.json; it is left out" in caplog.text


def test_preferred_aim_takes_from_the_front_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = {"a": 300.0, "b": 20.0, "c": 400.0}
    cells = [
        {**cell(name, seed, value), "aims": {"val/rmse_m": value, "cost/seconds": seconds[name]}}
        for name, value in (("a", 60.0), ("b", 70.0), ("c", 65.0))
        for seed in (0, 1, 2)
    ]
    write(tmp_path, cells, aims={"val/rmse_m": "minimize", "cost/seconds": "minimize"})
    assert command(tmp_path, "--prefer", "cost/seconds") == 0
    said = capsys.readouterr().out
    assert "chosen best in cost/seconds, as --prefer asks, from 2 cells that no other" in said
    assert "    a: val/rmse_m 60.00 m, cost/seconds 300\n" in said
    assert "    b: val/rmse_m 70.00 m, cost/seconds 20 <- chosen\n" in said
    assert (winner(tmp_path)["cell"], winner(tmp_path)["prefer"]) == ("b", "cost/seconds")
    assert command(tmp_path, "--prefer", "val/rmse_m") == 2
    assert "--prefer: " in capsys.readouterr().err
    assert command(tmp_path, "--prefer", "val/rmse_m", "--again") == 0
    assert winner(tmp_path)["cell"] == "a"


def test_a_damaged_or_cut_table_of_predictions_is_named(tmp_path: Path) -> None:
    study = write(tmp_path, CELLS[:6])
    (tmp_path / "s" / "b1" / "predictions.csv").write_text("rubbish\n1\n")
    with pytest.raises(BadInput, match=r"b1/predictions.csv: no column content; repeat the run"):
        select(study, tmp_path)
    (tmp_path / "s" / "b1" / "predictions.csv").write_text("content,lat_deg,lon_deg\na1,1.0,2.")
    with pytest.raises(BadInput, match=r"b1/predictions.csv: the end of the file is missing"):
        select(study, tmp_path)
    for row in ("a1,,2.0", "a1", ",1.0,2.0"):
        (tmp_path / "s" / "b1" / "predictions.csv").write_text(f"content,lat_deg,lon_deg\n{row}\n")
        with pytest.raises(
            BadInput, match=r"b1/predictions.csv: a photo lacks its content or posi"
        ):
            select(study, tmp_path)
    (tmp_path / "s" / "b1" / "predictions.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match=r"b1/predictions.csv: is no text; repeat the run"):
        select(study, tmp_path)


def test_a_run_without_the_predictions_that_others_have_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = write(tmp_path, CELLS[:6])
    for run in CELLS[:5]:
        table = tmp_path / run["path"] / "predictions.csv"
        table.write_text("content,lat_deg,lon_deg\na1,1.0,2.0\n")
    assert select(study, tmp_path).cell == "a"
    assert caplog.messages == ["run b2: no predictions.csv; img2gps report leaves it out"]
