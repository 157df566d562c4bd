"""Studies small enough to be committed: the same report, and the same runs found done."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from img2gps.cli.main import main
from img2gps.config.compose import config_to_dict, read_config
from img2gps.config.schema import DataConfig, DataKind
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.core.files import read_csv, write_json
from img2gps.report import build, paper
from img2gps.runs.folder import find_result
from img2gps.runs.records import StudyRun, read_result, read_study, write_result, write_study
from img2gps.runs.states import RunState
from img2gps.runs.winner import Winner, read_winner, write_winner
from img2gps.study.publish import publish
from tests.helpers.fake_study import FakeStudy, Options, make_study
from tests.helpers.tiny import tiny_config

WEIGHTS = {"weights": "/home/somebody/own.pth"}
AXES: dict[str, list[Any]] = {"lr": [0.001, 0.003], "batch_size": [8, 16]}


@pytest.fixture
def made(tmp_path: Path) -> FakeStudy:
    study = make_study(
        tmp_path / "runs", "s",
        Options(axes=AXES, seeds=(0, 1), states={("lr=0.003,batch_size=16", 1): ("queued", "")}),
    )  # fmt: skip
    for folder in study.folder.glob("*/"):
        (folder / "last.ckpt").write_bytes(b"0" * 1000)
        config = config_to_dict(
            replace(
                tiny_config(f"runs.root={tmp_path}/somebody"),
                data=DataConfig(DataKind.photos, "photos", "/home/somebody/photos"),
                weights="/home/somebody/own.pth",
            )
        )
        result = json.loads((folder / "result.json").read_text())
        result["weights"]["requested"] = config["weights"]
        write_json(folder / "result.json", result)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return study


def predictions(folder: Path) -> list[dict[str, str]]:
    found = []
    for path in sorted(folder.glob("*/predictions.csv")):
        with path.open() as file:
            found += list(csv.DictReader(file))
    return found


def test_the_copy_gives_the_same_numbers_without_weights(made: FakeStudy, tmp_path: Path) -> None:
    done = publish("s", tmp_path / "runs", tmp_path / "results")
    assert (done.runs, done.left_out) == (7, 1)
    copy = tmp_path / "results" / "s"
    assert not list(copy.rglob("*.ckpt"))
    assert done.size_bytes == sum(p.stat().st_size for p in copy.rglob("*") if p.is_file())
    own, others = (
        paper.numbers(build.load("s", [tmp_path / name])) for name in ("runs", "results")
    )
    assert own == others
    assert "WinnerBestEpochRmse" in own


def test_the_copy_counts_as_done_and_says_nothing_of_where_photos_lie(
    made: FakeStudy, tmp_path: Path
) -> None:
    path = made.folder / "study.json"
    command = "python -m img2gps.train -m data=photos 'data.root=/home/me/my photos' lr=0.1"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"command": command, "base_config": WEIGHTS})
    )
    publish("s", tmp_path / "runs", tmp_path / "results")
    for folder in made.folder.glob("*/"):
        found = find_result(folder.name, [tmp_path / "results"])
        assert found is not None
        config = read_config(found / "config.yaml")
        assert (config.data.kind, config.data.root, config.data.cache) == ("photos", None, None)
        assert config.weights == "own.pth"
        for name in ("config.yaml", "result.json"):
            assert "somebody" not in (found / name).read_text()
    study = json.loads((tmp_path / "results" / "s" / "study.json").read_text())
    assert study["base_config"] == {"weights": "own.pth"}
    assert study["command"] == "python -m img2gps.train -m data=photos data.root=DIR lr=0.1"


def test_aims_are_no_paths_and_runs_that_were_given_up_are_not_missing(
    made: FakeStudy, tmp_path: Path
) -> None:
    study = read_study(tmp_path / "runs", "s")
    aims = {"val/rmse_m": "minimize", "cost/seconds": "minimize", "model/flops": "minimize"}
    words = "python -m img2gps.train -m 'monitor=[val/rmse_m,cost/seconds,model/flops]'"
    given_up = StudyRun("lr=9", 1, run_id="x", path="s/x", state=RunState.pruned, reason="given up")
    runs = [replace(run, aims=dict.fromkeys(aims, 1.0)) for run in study.runs]
    write_study(tmp_path / "runs", replace(study, aims=aims, command=words, runs=[*runs, given_up]))
    winner = Winner("s", "lr=9", by="cost/seconds", front=[{"cell": "lr=9", "cost/seconds": 1.0}])
    write_winner(made.folder, winner)
    assert publish("s", tmp_path / "runs", tmp_path / "results").left_out == 1  # as without it
    copy = read_study(tmp_path / "results", "s")
    assert (copy.aims, copy.command) == (aims, words)
    assert copy.runs[0].aims == dict.fromkeys(aims, 1.0)
    assert read_winner(tmp_path / "results" / "s") == winner


def test_the_frozen_average_names_the_runs_of_the_copy(made: FakeStudy, tmp_path: Path) -> None:
    record = json.loads((made.folder / "study.json").read_text())
    (tmp_path / "runs" / "t").mkdir()
    (tmp_path / "runs" / "t" / "study.json").write_text(json.dumps(record | {"study": "t"}))
    runs = [run.path for run in read_study(tmp_path / "runs", "t").runs[:2]]
    write_winner(tmp_path / "runs" / "t", Winner("t", "a", path=runs[0], average=runs))
    publish("t", tmp_path / "runs", tmp_path / "results")
    winner = read_winner(tmp_path / "results" / "t")
    assert winner is not None
    assert winner.average == [path.replace("s/", "t/") for path in runs]
    assert winner.path == winner.average[0]
    assert all((tmp_path / "results" / path / "result.json").is_file() for path in winner.average)


@pytest.mark.parametrize("published_before", [True, False])
def test_runs_of_other_studies_are_linked_or_come_along(
    made: FakeStudy, tmp_path: Path, published_before: bool
) -> None:
    record = json.loads((made.folder / "study.json").read_text())
    other = tmp_path / "runs" / "t"
    other.mkdir()
    for cell in record["cells"]:
        cell["linked"] = bool(cell["path"])
    (other / "study.json").write_text(json.dumps(record | {"study": "t"}))
    if published_before:
        publish("s", tmp_path / "runs", tmp_path / "results")
    assert publish("t", tmp_path / "runs", tmp_path / "results").runs == 7
    cells = json.loads((tmp_path / "results" / "t" / "study.json").read_text())["cells"]
    where = "s" if published_before else "t"
    for cell in (cell for cell in cells if cell["state"] == "finished"):
        assert (cell["path"], cell["linked"]) == (f"{where}/{cell['run_id']}", published_before)
        assert (tmp_path / "results" / cell["path"] / "result.json").is_file()
    copied = len(list((tmp_path / "results" / "t").glob("*/result.json")))
    assert copied == (0 if published_before else 7)
    study = build.load("t", [tmp_path / "results"]).study
    assert study.counts() == {"finished": 7, "queued": 1}


def test_moved_positions_keep_their_errors_and_hide_the_place(
    made: FakeStudy, tmp_path: Path
) -> None:
    publish("s", tmp_path / "runs", tmp_path / "results", moved=True)
    before, after = (predictions(tmp_path / name / "s") for name in ("runs", "results"))
    assert len(before) == len(after) == 7 * 60
    for old, new in zip(before, after, strict=True):
        assert abs(float(new["lat_deg"])) < 0.01
        assert abs(float(new["lon_deg"])) < 0.01
        assert new["photo"] == new["content"][:12]
        assert new["taken_at"] == ""
        assert float(new["error_m"]) == pytest.approx(float(old["error_m"]), abs=5e-5)
        assert new["spot"] == old["spot"]
        error = geo.distance_m(
            *(float(new[k]) for k in ("lat_deg", "lon_deg", "pred_lat_deg", "pred_lon_deg"))
        )
        assert float(error) == pytest.approx(float(old["error_m"]), rel=1e-3)
    assert np.mean([float(row["lat_deg"]) for row in after]) == pytest.approx(0, abs=1e-9)
    own, others = (
        paper.numbers(build.load("s", [tmp_path / name])) for name in ("runs", "results")
    )
    for name in ("WinnerRmse", "CorrectedRmse", "MeanPredictorHigh"):
        assert own[name] == others[name]


def test_metres_and_degrees_are_kept_to_a_tenth_of_a_millimetre(
    made: FakeStudy, tmp_path: Path
) -> None:
    publish("s", tmp_path / "runs", tmp_path / "results")
    for run in read_study(tmp_path / "results", "s").runs[:-1]:
        for name in ("predictions.csv", "baselines.csv"):
            columns, exact = read_csv(tmp_path / "runs" / run.path / name)
            same, copied = read_csv(tmp_path / "results" / run.path / name)
            assert columns == same
            for old, new in zip(exact, copied, strict=True):
                for column in columns:
                    decimals = 4 if column.endswith("_m") else 9
                    if old[column] and column.endswith(("_m", "_deg")):
                        assert float(new[column]) == pytest.approx(
                            float(old[column]), abs=0.51 * 10**-decimals
                        )
                        assert len(new[column].partition(".")[2]) <= decimals
                    else:
                        assert new[column] == old[column]


def test_a_study_is_never_copied_onto_itself(made: FakeStudy, tmp_path: Path) -> None:
    before = (made.folder / "study.json").read_bytes()
    with pytest.raises(BadInput, match="is where the study lies; give another folder"):
        publish("s", tmp_path / "runs", tmp_path / "runs")
    assert (made.folder / "study.json").read_bytes() == before


def test_publishing_again_is_the_same(made: FakeStudy, tmp_path: Path) -> None:
    for _ in range(2):
        publish("s", tmp_path / "runs", tmp_path / "results")
    assert len(list((tmp_path / "results" / "s").glob("*/result.json"))) == 7


def linking_all_but_one(made: FakeStudy, results: Path, again: Path) -> str:
    """Let the study in `again` link its runs in `results` but for one; return that one's id."""
    record = json.loads((made.folder / "study.json").read_text())
    own = next(cell for cell in record["cells"] if cell["state"] == "finished")
    for cell in record["cells"]:
        if cell["state"] == "finished" and cell is not own:
            cell |= {"path": f"../{results.name}/s/{cell['run_id']}", "linked": True}
    again.mkdir(parents=True)
    shutil.copytree(made.folder / own["run_id"], again / "s" / own["run_id"])
    (again / "s" / "study.json").write_text(json.dumps(record))
    return str(own["run_id"])


@pytest.mark.parametrize("checkout", ["results", "elsewhere"])
@pytest.mark.parametrize("moved", [False, True])
def test_a_published_study_grows_by_the_runs_of_one_that_links_it(
    made: FakeStudy, tmp_path: Path, moved: bool, checkout: str
) -> None:
    results, out = tmp_path / "results", tmp_path / checkout
    publish("s", tmp_path / "runs", results, moved=moved)
    if out != results:
        shutil.copytree(results, out)
    own = linking_all_but_one(made, results, tmp_path / "again")
    before = predictions(out / "s")
    shutil.rmtree(out / "s" / own)
    kept = {path: path.read_bytes() for path in out.glob("s/*/*")}
    assert publish("s", tmp_path / "again", out, moved=moved).runs == 7
    if moved or out == results:
        assert {path: path.read_bytes() for path in kept} == kept
    assert len(list(out.glob("s/*/result.json"))) == 7
    cells = json.loads((out / "s" / "study.json").read_text())["cells"]
    assert all(not cell["linked"] for cell in cells)
    for old, new in zip(before, predictions(out / "s"), strict=True):
        for key in ("lat_deg", "lon_deg", "pred_lat_deg", "pred_lon_deg"):
            assert float(new[key]) == pytest.approx(float(old[key]), abs=2e-9), key  # 0.2 mm


@pytest.mark.parametrize("moved", [False, True])
def test_links_into_a_checkout_that_is_gone_are_found_in_this_one(
    made: FakeStudy, tmp_path: Path, moved: bool
) -> None:
    gone, out = tmp_path / "gone", tmp_path / "results"
    publish("s", tmp_path / "runs", gone, moved=moved)
    own = linking_all_but_one(made, gone, tmp_path / "again")
    shutil.move(gone, out)
    shutil.rmtree(out / "s" / own)
    assert publish("s", tmp_path / "again", out, moved=moved).runs == 7
    cells = json.loads((out / "s" / "study.json").read_text())["cells"]
    finished = [cell for cell in cells if cell["state"] == "finished"]
    assert {cell["path"] for cell in finished} == {f"s/{cell['run_id']}" for cell in finished}


def test_finished_runs_that_are_nowhere_are_named_and_nothing_is_written(
    made: FakeStudy, tmp_path: Path
) -> None:
    linking_all_but_one(made, tmp_path / "gone", tmp_path / "again")
    said = r"s: 6 finished runs cannot be found where .*gone/s/.*forget s "
    with pytest.raises(BadInput, match=said):
        publish("s", tmp_path / "again", tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_moved_runs_of_another_study_are_put_among_those_of_this_one(
    made: FakeStudy, tmp_path: Path
) -> None:
    publish("s", tmp_path / "runs", tmp_path / "moved", moved=True)
    linking_all_but_one(made, tmp_path / "moved", tmp_path / "again")
    publish("s", tmp_path / "again", tmp_path / "results", moved=True)
    old, new = (predictions(tmp_path / name / "s") for name in ("moved", "results"))
    for key in ("lat_deg", "lon_deg", "pred_lat_deg", "pred_lon_deg"):
        same = pytest.approx([float(row[key]) for row in old], abs=1e-9)
        assert [float(row[key]) for row in new] == same, key


def test_runs_without_a_common_photo_are_not_moved_beside_each_other(
    made: FakeStudy, tmp_path: Path
) -> None:
    publish("s", tmp_path / "runs", tmp_path / "moved", moved=True)
    own = linking_all_but_one(made, tmp_path / "moved", tmp_path / "again")
    path = tmp_path / "again" / "s" / own / "predictions.csv"
    path.write_text("\n".join(
        line if not number else ",".join([f"p{number}", f"other{number}", *line.split(",")[2:]])
        for number, line in enumerate(path.read_text().splitlines())
    ))  # fmt: skip
    with pytest.raises(BadInput, match=r"on none of the photos of the other.*runs\.results=null"):
        publish("s", tmp_path / "again", tmp_path / "results", moved=True)
    assert not (tmp_path / "results").exists()


def test_nothing_to_publish_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere: no such study below"):
        publish("nowhere", tmp_path, tmp_path / "results")
    states = {("lr=0.001", 0): ("queued", "")}
    make_study(tmp_path, "s", Options(axes={"lr": [0.001]}, seeds=(0,), states=states))
    with pytest.raises(BadInput, match="none of its runs has ended; go on with: python -m"):
        publish("s", tmp_path, tmp_path / "results")


def test_command_says_how_much_was_written(
    made: FakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["publish", "s", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "results")])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "7 runs" in out
    assert "1 planned run without a result" in out


@pytest.mark.parametrize("moved", [False, True])
def test_no_path_of_the_users_machine_is_in_a_copy(
    made: FakeStudy, tmp_path: Path, moved: bool
) -> None:
    custom = {
        "_target_": "mine.Source",
        "table": "/home/somebody/t.csv",
        "files": ["/home/somebody"],
    }
    own = {"name": "secret_garden", "kind": "custom", "custom": custom}
    metrics = {"mine": {"_target_": "mine.Metric", "table": "somebody/t.csv"}}
    command = (
        "/home/somebody/bin/python -m img2gps.train --config-dir /home/somebody -m "
        "data.name=secret_garden monitor=val/median_m "
        "'+hydra.sweeper.select.by=val/p90_m' +data.table=/home/somebody/t.csv"
    )
    base = {
        "data": own,
        "model": {"name": "m", "custom": {"weights": "/home/somebody/w"}},
        "metrics": metrics,
        "logger": {"tags": ["see /home/somebody/notes"]},
    }
    study = replace(read_study(tmp_path / "runs", "s"), command=command, base_config=base)
    write_study(tmp_path / "runs", study)
    for folder in made.folder.glob("*/"):
        config = yaml.safe_load((folder / "config.yaml").read_text()) | base
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        result = read_result(folder)
        assert result is not None
        identity = {"model": base["model"], "metrics": metrics}
        write_result(folder, replace(result, identity=identity))
    publish("s", tmp_path / "runs", tmp_path / "results", moved=moved)
    texts = [p.read_text() for p in (tmp_path / "results").rglob("*") if p.is_file()]
    assert not any("somebody" in text for text in texts)
    assert any("secret_garden" in text for text in texts) != moved
    copy = read_study(tmp_path / "results", "s")
    name = "photos" if moved else "secret_garden"
    assert copy.command == (
        f"DIR -m img2gps.train --config-dir DIR -m data.name={name} monitor=val/median_m "
        "+hydra.sweeper.select.by=val/p90_m +data.table=DIR"
    )
    assert copy.base_config["data"]["custom"]["_target_"] == "mine.Source"
    assert copy.base_config["logger"] == {"tags": ["see DIR"]}


FAILED = {
    "FileNotFoundError: [Errno 2] No such file: '/home/somebody/my garden/IMG_7.jpg'": (
        "FileNotFoundError: [Errno 2] No such file: 'DIR'",
        "FileNotFoundError: the message is withheld",
    ),
    "data.root=/home/some body/garden: no such file or folder; give data.root=PATH": (
        "data.root=DIR: no such file or folder; give data.root=PATH",
        "the message is withheld",
    ),
    "see somebody/runs/worker-0.log": ("see DIR", "the message is withheld"),
}


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("reason", FAILED)
def test_messages_of_errors_are_published_without_paths(
    tmp_path: Path, reason: str, moved: bool
) -> None:
    states = {("lr=0.1", 1): ("failed", reason)}
    make_study(tmp_path / "runs", "s", Options(axes={"lr": [0.1]}, states=states))
    data = {"root": "/home/some body/garden", "cache": None}
    study = replace(read_study(tmp_path / "runs", "s"), base_config={"data": data})
    write_study(tmp_path / "runs", study)
    weights = "own.pth is not cached: cannot be written below /home/somebody/.cache"
    for run in study.runs:
        folder = run.folder(tmp_path / "runs")
        result = read_result(folder)
        assert result is not None
        why = replace(result.weights, reason=weights)
        absent = {"baselines": reason, "flops": ""}
        write_result(folder, replace(result, weights=why, absent=absent))
    publish("s", tmp_path / "runs", tmp_path / "results", moved=moved)
    expected = FAILED[reason][moved]
    copy = read_study(tmp_path / "results", "s")
    assert [run.reason for run in copy.runs] == ["", expected, ""]
    for run in copy.runs:
        result = read_result(run.folder(tmp_path / "results"))
        assert result is not None
        assert result.reason == run.reason
        assert result.absent == {"baselines": expected, "flops": ""}
        assert result.weights.reason == "own.pth is not cached: cannot be written below DIR"


@pytest.mark.parametrize("state", ["pruned", "diverged"])
def test_reasons_that_no_error_gave_are_kept(tmp_path: Path, state: str) -> None:
    states = {("lr=0.1", 1): (state, "in epoch 3: too far from the best")}
    make_study(tmp_path / "runs", "s", Options(axes={"lr": [0.1]}, states=states))
    publish("s", tmp_path / "runs", tmp_path / "results", moved=True)
    copy = read_study(tmp_path / "results", "s")
    assert [run.reason for run in copy.runs] == ["", "in epoch 3: too far from the best", ""]


def test_folders_that_a_study_varies_are_numbered_also_without_a_slash(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"data.root": ["garden", "park"], "scheduler": ["step"]}
    make_study(tmp_path / "runs", "garden", Options(axes=axes, seeds=(0,)))
    study = read_study(tmp_path / "runs", "garden")
    write_study(tmp_path / "runs", replace(study, question="Does the garden need a park?"))
    publish("garden", tmp_path / "runs", tmp_path / "results")
    copy = read_study(tmp_path / "results", "garden")
    assert copy.axes == {"data.root": ["DIR1", "DIR2"], "scheduler": ["step"]}
    assert [run.cell for run in copy.runs] == [
        "data.root=DIR1,scheduler=step",
        "data.root=DIR2,scheduler=step",
    ]
    assert [run.params["data.root"] for run in copy.runs] == ["DIR1", "DIR2"]
    assert copy.question == "Does the garden need a park?"
    assert all(run.path.startswith("garden/") for run in copy.runs)


def test_places_that_a_study_varies_are_numbered_wherever_they_stand(tmp_path: Path) -> None:
    places = ["/home/somebody/a", "/home/somebody/a/b"]
    made = make_study(tmp_path / "runs", "s", Options(axes={"data.root": places, "lr": [0.1]}))
    for folder in made.folder.glob("*/"):
        (folder / "config.yaml").write_text(yaml.safe_dump(config_to_dict(tiny_config())))
    winner = {"cell": f"data.root={places[1]},lr=0.1", "params": {"data.root": places[1]}}
    write_json(made.folder / "winner.json", winner)
    publish("s", tmp_path / "runs", tmp_path / "results")
    copy = tmp_path / "results" / "s"
    for name in ("study.json", "winner.json"):
        assert "somebody" not in (copy / name).read_text()
    study = json.loads((copy / "study.json").read_text())
    assert study["axes"]["data.root"] == ["DIR1", "DIR2"]
    cells = {cell["cell"] for cell in study["cells"]}
    assert cells == {"data.root=DIR1,lr=0.1", "data.root=DIR2,lr=0.1"}
    assert json.loads((copy / "winner.json").read_text())["params"] == {"data.root": "DIR2"}
