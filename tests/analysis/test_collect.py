"""Studies from disk: nothing is lost in silence, nothing that differs is compared in silence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from img2gps.analysis import collect
from img2gps.core.errors import BadInput
from tests.helpers.fake_study import make_study
from tests.helpers.small_study import AXES, SMALL, A, B, C, D, load, run_folder, small


def edit_study(folder: Path, change: Any) -> None:
    path = folder / "study.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def test_every_planned_run_is_a_row_with_the_figures_of_its_result_json(tmp_path: Path) -> None:
    study = load(small(tmp_path))
    assert study.cells == [A, B, C, D]
    assert len(study.runs) == 8
    assert study.counts() == {"finished": 8}
    for row in study.runs.to_dict("records"):
        result = json.loads((Path(row["folder"]) / "result.json").read_text())
        assert row["val/rmse_m"] == result["metrics"]["val/rmse_m"] == row["value"]
        assert row["lr"] == result["swept"]["lr"]  # not the decayed one among the metrics
        assert row["batch_size"] == result["swept"]["batch_size"]
        assert row["baselines/knn/val/rmse_m"] == result["baselines"]["knn"]["val/rmse_m"]
        assert row["data/fingerprint"] == result["data"]["fingerprint"]
    assert study.axes == AXES
    assert study.synthetic


def test_history_and_predictions_are_those_of_pandas_read_csv(tmp_path: Path) -> None:
    study = load(small(tmp_path))
    folder = run_folder(study, C, 1)
    for found, file in (
        (study.history, "history.csv"),
        (study.predictions, "predictions.csv"),
        (study.predictions_best, "predictions_best.csv"),
    ):
        expected = pd.read_csv(folder / file, dtype={"content": str})
        own = found[(found["cell"] == C) & (found["seed"] == 1)].reset_index(drop=True)
        pd.testing.assert_frame_equal(own[list(expected)], expected, check_dtype=False)


def test_errors_are_a_matrix_of_cells_seeds_and_photos(tmp_path: Path) -> None:
    made = small(tmp_path)
    errors = load(made).errors()
    assert errors.cells == [A, B, C, D]
    assert errors.seeds == [0, 1]
    assert errors.photos == made.photos
    assert np.allclose(errors.error_m, made.errors_m)
    assert np.array_equal(errors.spot, made.spot)
    assert errors.true_error_m is not None
    assert errors.true_error_m.shape == (4, 2, 12)


def test_photos_are_aligned_by_content_whatever_their_order_or_name(tmp_path: Path) -> None:
    made = small(tmp_path)
    study = load(made)
    path = run_folder(study, B, 0) / "predictions.csv"
    table = pd.read_csv(path, dtype={"content": str})
    table["photo"] = "renamed/" + table["photo"]
    table.sample(frac=1, random_state=0).to_csv(path, index=False)
    again = load(made)
    assert len(again.groups()) == 1
    assert np.allclose(again.errors().error_m, made.errors_m)


def test_exact_duplicates_are_paired_one_to_one(tmp_path: Path) -> None:
    made = small(tmp_path)
    for path in made.folder.glob("*/predictions*.csv"):
        table = pd.read_csv(path, dtype={"content": str})
        table.loc[1, ["content", "lat_deg", "lon_deg"]] = table.loc[
            0, ["content", "lat_deg", "lon_deg"]
        ]
        table.to_csv(path, index=False)
    assert np.allclose(load(made).errors().error_m, made.errors_m)


def test_unfinished_runs_keep_their_state_and_reason(tmp_path: Path) -> None:
    states = {
        (A, 1): ("failed", "RuntimeError: out of memory"),
        (B, 0): ("pruned", "worse than the median at epoch 1"),
        (B, 1): ("diverged", "the loss is NaN at epoch 1"),
        (C, 0): ("running", ""),
        (D, 1): ("queued", ""),
    }
    study = load(small(tmp_path, states=states))
    found = study.runs.set_index(["cell", "seed"])
    for key, (state, reason) in states.items():
        assert (found.loc[key, "state"], found.loc[key, "reason"]) == (state, reason)
    assert study.counts() == {
        "finished": 3,
        "running": 1,
        "queued": 1,
        "pruned": 1,
        "diverged": 1,
        "failed": 1,
    }
    assert found.loc[(D, 1), "folder"] == ""
    errors = study.errors()
    assert errors.cells == [A, C, D]
    assert np.isnan(errors.error_m[0, 1]).all()
    assert not np.isnan(errors.error_m[0, 0]).any()


def test_a_run_without_result_json_is_missing_and_one_that_finished_since_counts(
    tmp_path: Path,
) -> None:
    made = small(tmp_path)
    study = load(made)
    gone = run_folder(study, A, 0)
    (gone / "result.json").unlink()
    edit_study(made.folder, lambda facts: facts["cells"][7].update(state="running"))
    found = load(made).runs.set_index(["cell", "seed"])
    assert found.loc[(A, 0), "state"] == "missing"
    assert found.loc[(A, 0), "reason"] == (
        f"study.json says finished, but s/{gone.name} has no readable result.json"
    )
    assert found.loc[(D, 1), "state"] == "finished"
    assert load(made).notes == [f"1 run without a readable result.json, left out: {gone.name}"]


def test_a_history_row_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    made = small(tmp_path, states={(A, 0): ("running", "")})
    path = run_folder(load(made), A, 0) / "history.csv"
    whole = path.read_text()
    path.write_text(whole + "2,0.001,0.5")
    own = load(made).history.query("cell == @A and seed == 0")
    assert list(own["epoch"]) == [1]


def test_linked_runs_are_found_in_other_studies_and_among_the_results(tmp_path: Path) -> None:
    made = small(tmp_path)
    study = load(made)
    first, second = run_folder(study, A, 0), run_folder(study, A, 1)
    results = tmp_path / "results"
    (results / "published").mkdir(parents=True)
    shutil.move(first, results / "published" / first.name)
    (made.folder.parent / "other").mkdir()
    shutil.move(second, made.folder.parent / "other" / second.name)
    edit_study(
        made.folder,
        lambda facts: facts["cells"][1].update(path=f"other/{second.name}", linked=True),
    )
    again = collect.load_study(made.folder, [made.folder.parent, results])
    assert again.counts() == {"finished": 8}
    assert np.allclose(again.errors().error_m, made.errors_m)


def test_plain_runs_without_a_study_json_make_a_study(tmp_path: Path) -> None:
    made = small(tmp_path, states={(D, 1): ("running", "")})
    (made.folder / "study.json").unlink()
    study = load(made)
    assert study.kind == "runs"
    assert study.axes == AXES
    assert set(study.cells) == {A, B, C, D}
    assert study.counts() == {"finished": 7, "running": 1}
    unfinished = study.runs[study.runs["state"] == "running"].iloc[0]
    assert (unfinished["cell"], unfinished["seed"]) == (D, 1)
    assert "interrupted" in unfinished["reason"]
    errors = study.errors()
    assert errors.error_m.shape == (4, 2, 12)


def test_a_single_run_is_a_study_of_one_cell(tmp_path: Path) -> None:
    made = small(tmp_path, axes={"lr": [0.001]}, seeds=(0,))
    (made.folder / "study.json").unlink()
    study = load(made)
    assert study.cells == ["model=resnet18,lr=0.001,batch_size=16"]
    assert study.errors().error_m.shape == (1, 1, 12)


def test_runs_that_no_cell_plans_are_noted(tmp_path: Path) -> None:
    made = small(tmp_path)
    edit_study(made.folder, lambda facts: facts["cells"].pop())
    study = load(made)
    assert len(study.runs) == 7
    assert study.notes[0].startswith("1 run in ")
    assert "without a planned cell, left out" in study.notes[0]


def test_pretrained_runs_never_share_a_ranking_with_runs_from_scratch(tmp_path: Path) -> None:
    made = small(tmp_path, weights=lambda params: "imagenet" if params["lr"] > 0.002 else "random")
    groups = load(made).groups()
    assert [(group.pretrained, set(group.runs["cell"])) for group in groups] == [
        (False, {A, B}),
        (True, {C, D}),
    ]
    assert groups[0].label.startswith("from scratch, random split")
    assert groups[0].warnings == [
        "the requested weights were not available (no network): trained from scratch"
    ]


def test_runs_validated_on_other_photos_never_share_a_ranking(tmp_path: Path) -> None:
    made = small(tmp_path)
    study = load(made)
    for seed in (0, 1):
        path = run_folder(study, D, seed) / "predictions.csv"
        table = pd.read_csv(path, dtype={"content": str})
        table.loc[len(table) - 1, "content"] = "another"
        table.to_csv(path, index=False)
    groups = load(made).groups()
    assert [set(group.runs["cell"]) for group in groups] == [{A, B, C}, {D}]
    assert "(set 1)" in groups[0].label


def test_other_data_or_code_within_a_ranking_is_a_warning(tmp_path: Path) -> None:
    made = small(
        tmp_path,
        commit=lambda params: "aaa1111" if params["batch_size"] == 8 else "bbb2222",
        fingerprint=lambda params: "feed" if params["lr"] < 0.002 else "beef",
    )
    (group,) = load(made).groups()
    assert group.warnings == [
        "runs of different data fingerprints in one ranking: feed (4 runs), beef (4 runs)",
        "runs of different code commits in one ranking: aaa1111 (4 runs), bbb2222 (4 runs)",
    ]


def test_runs_of_a_gpu_among_others_are_a_warning(tmp_path: Path) -> None:
    made = small(tmp_path)
    path = run_folder(load(made), A, 0) / "result.json"
    result = json.loads(path.read_text())
    result["hardware"]["gpu"] = "NVIDIA A100"
    path.write_text(json.dumps(result))
    (group,) = load(made).groups()
    assert group.warnings == [
        "runs of different devices in one ranking: NVIDIA A100 (1 run), the processor (7 runs)"
    ]


def test_runs_without_a_known_commit_are_named_as_such(tmp_path: Path) -> None:
    made = small(tmp_path)
    path = run_folder(load(made), A, 0) / "result.json"
    result = json.loads(path.read_text())
    result["code"]["commit"] = None
    path.write_text(json.dumps(result))
    (group,) = load(made).groups()
    assert group.warnings == [
        "runs of different code commits in one ranking: unknown (1 run), 0123abc (7 runs)"
    ]


def test_folds_of_a_cell_are_put_together_and_incomplete_ones_left_out(tmp_path: Path) -> None:
    axes = {"lr": [0.001, 0.003], "split.fold": [0, 1, 2]}
    made = small(tmp_path, axes=axes, split_kind="place_kfold")
    (group,) = load(made).groups()
    errors = load(made).errors()
    assert group.folds == 3
    assert errors.cells == ["lr=0.001", "lr=0.003"]
    assert errors.error_m.shape == (2, 2, 36)
    assert not np.isnan(errors.error_m).any()
    states = {("lr=0.003,split.fold=1", 1): ("failed", "disk full")}
    shutil.rmtree(made.folder)
    errors = load(small(tmp_path, axes=axes, split_kind="kfold", states=states)).errors()
    assert np.isnan(errors.error_m[1, 1]).all()
    assert not np.isnan(errors.error_m[:, 0]).any()


def test_some_folds_are_not_every_photo_and_other_folds_are_other_photos(tmp_path: Path) -> None:
    axes = {"lr": [0.001, 0.003], "split.fold": [0, 1]}
    (group,) = load(small(tmp_path, axes=axes, split_kind="kfold", folds=5)).groups()
    assert group.label == "pretrained, kfold split, 2 of 5 folds"
    made = small(tmp_path / "all", axes=axes, split_kind="kfold")
    (group,) = load(made).groups()
    assert group.label == "pretrained, kfold split, 2 folds, every photo validated once"
    edit_study(
        made.folder,
        lambda facts: facts.update(
            cells=[
                c
                for c in facts["cells"]
                if (c["params"]["lr"] < 0.002) == (c["params"]["split.fold"] == 0)
            ]
        ),
    )
    assert [set(group.runs["lr"]) for group in load(made).groups()] == [{0.001}, {0.003}]


def test_single_runs_that_differ_in_an_unlisted_knob_are_cells_of_their_own(tmp_path: Path) -> None:
    made = small(tmp_path, axes={"lr": [0.001, 0.002, 0.003]}, seeds=(0,))
    (made.folder / "study.json").unlink()
    for folder, drop_last in zip(sorted(made.folder.iterdir()), (False, True, False), strict=True):
        path = folder / "result.json"
        result = json.loads(path.read_text())
        result["swept"]["lr"] = 0.1
        split = {"train": "0a", "val": "0b"}
        result["identity"] = {"drop_last": drop_last, "seed": 0, "split": split, "lr": 0.1}
        if folder == max(made.folder.iterdir()):
            result["swept"]["lr"] = 0.2
        path.write_text(json.dumps(result))
        (folder / "config.yaml").write_text("split: {kind: random}\nlr: 0.1\n")
    study = load(made)
    assert study.axes == {"lr": [0.1, 0.2], "drop_last": [False, True]}
    assert len(study.errors().photos) == 12
    assert len(study.cells) == 3


def test_a_study_with_nothing_finished_is_readable_and_has_no_errors(tmp_path: Path) -> None:
    states = {(cell, seed): ("queued", "") for cell in (A, B, C, D) for seed in (0, 1)}
    study = load(small(tmp_path, states=states))
    assert study.counts() == {"queued": 8}
    assert study.groups() == []
    assert study.history.empty
    with pytest.raises(BadInput, match="s: no run has finished; run its cells first"):
        study.errors()


def test_an_empty_plan_is_readable(tmp_path: Path) -> None:
    made = small(tmp_path)
    edit_study(made.folder, lambda facts: facts.update(cells=[]))
    study = load(made)
    assert (len(study.runs), study.cells, study.groups()) == (0, [], [])


def test_a_cell_that_a_search_has_not_yet_drawn_is_counted(tmp_path: Path) -> None:
    made = small(tmp_path)
    queued = {"cell": "", "params": {}, "seed": 0, "run_id": "", "path": "", "state": "queued"}
    edit_study(made.folder, lambda facts: facts["cells"].append(queued))
    row = load(made).runs.iloc[-1]
    assert (row["cell"], row["state"], row["reason"], row["folder"]) == (
        "not yet chosen",
        "queued",
        "",
        "",
    )


def test_bad_folders_are_named_with_the_remedy(tmp_path: Path) -> None:
    empty = tmp_path / "runs" / "nothing"
    empty.mkdir(parents=True)
    with pytest.raises(BadInput, match=r"nothing: neither a study\.json nor run folders; name a"):
        collect.load_study(empty, [])
    (empty / "study.json").write_text('{"study": "x", ')
    with pytest.raises(BadInput, match=r"study\.json: not a readable study\.json; run the"):
        collect.load_study(empty, [])


def test_find_studies_lists_planned_studies_and_plain_runs(tmp_path: Path) -> None:
    made = small(tmp_path)
    root = made.folder.parent
    make_study(root, "plain", SMALL)
    (root / "plain" / "study.json").unlink()
    (root / "no study").mkdir()
    assert collect.find_studies(root) == [root / "plain", root / "s"]
    assert collect.find_studies(tmp_path / "nowhere") == []


def test_the_report_imports_neither_torch_nor_wandb_nor_optuna_nor_hydra() -> None:
    code = (
        "import importlib, pkgutil, sys, img2gps.report as package\n"
        "for m in pkgutil.walk_packages(package.__path__, 'img2gps.report.'):\n"
        "    importlib.import_module(m.name)\n"
        "bad = {'torch', 'wandb', 'optuna', 'hydra', 'pytorch_lightning', 'torchvision'}\n"
        "print(sorted(bad & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]"
