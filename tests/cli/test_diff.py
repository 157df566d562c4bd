"""`img2gps diff`: keys that differ and errors photo by photo."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from img2gps.analysis import compare, stats
from img2gps.cli.main import main
from tests.helpers.fake_study import Options, make_study


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two runs of one study: a good and a useless one, seen from the folder above `runs`."""
    axes = {"lr": [0.001, 0.003]}
    effect = {0.001: 45.0, 0.003: 88.0}
    make_study(
        tmp_path / "runs",
        "s",
        Options(axes=axes, seeds=(0,), epochs=2, effect=lambda params: effect[params["lr"]]),
    )
    monkeypatch.chdir(tmp_path)
    entries = json.loads((tmp_path / "runs" / "s" / "study.json").read_text())["cells"]
    first, second = (tmp_path / "runs" / entry["path"] for entry in entries)
    return first, second


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["diff", *arguments])
    out, err = capsys.readouterr()
    return int(str(ended.value.code)), out, err


def test_keys_that_differ_are_named_and_no_others(pair: tuple[Path, Path]) -> None:
    first, second = pair
    config = yaml.safe_load((second / "config.yaml").read_text())
    config["optimizer"] = {"name": "adamw", "weight_decay": 0.01}
    (second / "config.yaml").write_text(yaml.safe_dump(config))
    result = json.loads((second / "result.json").read_text())
    result["code"]["commit"] = "fffffff"
    (second / "result.json").write_text(json.dumps(result))
    assert sorted(compare.compare(first, second).keys) == [
        ("lr", "0.001", "0.003"),
        ("optimizer.name", "(absent)", "adamw"),
        ("optimizer.weight_decay", "(absent)", "0.01"),
        ("result.code.commit", "0123abc", "fffffff"),
    ]


def test_photos_carry_both_errors_and_the_paired_interval_is_that_of_stats(
    pair: tuple[Path, Path],
) -> None:
    first, second = pair
    a, b = (pd.read_csv(folder / "predictions.csv") for folder in pair)
    found = compare.compare(first, second)
    expected = {
        photo: (x, y) for photo, x, y in zip(a["photo"], a["error_m"], b["error_m"], strict=True)
    }
    assert {p.photo: (p.a_m, p.b_m) for p in found.photos} == expected
    apart = [abs(photo.difference_m) for photo in found.photos]
    assert apart == sorted(apart, reverse=True)
    assert found.difference == stats.difference_interval(b["error_m"], a["error_m"], a["spot"])
    rmse = [float(np.sqrt(np.mean(t["error_m"] ** 2))) for t in (a, b)]
    assert found.rmse_m == pytest.approx(rmse)
    assert "the first run is better on photos like these" in found.summary()[1]


def test_a_run_compared_with_itself_does_not_differ(pair: tuple[Path, Path]) -> None:
    found = compare.compare(pair[0], pair[0])
    assert found.keys == []
    assert {photo.difference_m for photo in found.photos} == {0.0}
    assert found.difference is not None
    assert found.difference.estimate == 0.0
    assert "the same for every photo" in found.summary()[1]


def test_only_common_photos_are_compared(pair: tuple[Path, Path]) -> None:
    first, second = pair
    table = pd.read_csv(second / "predictions.csv", dtype={"content": str})
    table.iloc[10:].to_csv(second / "predictions.csv", index=False)
    found = compare.compare(first, second)
    assert len(found.photos) == 50
    assert found.only == (10, 0)
    assert "Left out: 10 and 0 photos that one run has." in found.summary()
    table["content"], table["photo"] = "other" + table["content"], "other" + table["photo"]
    table.to_csv(second / "predictions.csv", index=False)
    assert compare.compare(first, second).summary() == [
        "No validation photo in common: the errors cannot be compared."
    ]


def test_the_command_prints_keys_summary_and_photos(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    first, second = pair
    status, out, _ = run(capsys, first.name, second.name[:6], "--photos", "3", "--csv", "d.csv")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["key", first.name, second.name]
    assert lines[1].split() == ["lr", "0.001", "0.003"]
    assert "60 common validation photos of 45 spots; the mean predictor gets" in out
    assert "paired 95 % interval" in out
    assert len([line for line in lines if line.startswith("val/IMG_")]) == 3
    assert "57 more photos" in out
    written = pd.read_csv("d.csv")
    assert len(written) == 60
    assert list(written) == ["photo", "a_m", "b_m", "difference_m"]
    assert np.allclose(written["b_m"] - written["a_m"], written["difference_m"])


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_printed(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = pair
    status, out, err = run(capsys, str(first), str(second), "--csv", str(first))
    assert (status, out) == (2, "")
    assert err == f"img2gps: error: --csv {first}: is a folder; name a file\n"


def test_a_run_without_predictions_still_has_its_keys(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = pair
    (second / "predictions.csv").unlink()
    status, out, _ = run(capsys, str(first), str(second))
    assert status == 0
    assert "0.003" in out
    assert f"No readable predictions.csv in {second.name}: the errors cannot be compared." in out
    status, out, err = run(capsys, str(first), str(second), "--csv", "d.csv")
    assert status == 2
    assert "0.003" in out
    assert err.startswith("img2gps: error: --csv d.csv: not written, because the runs have no ")


def test_an_unknown_or_ambiguous_run_is_bad_input(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = pair
    status, _, err = run(capsys, first.name, "nowhere")
    assert status == 2
    assert err.startswith("img2gps: error: nowhere: no such run below runs, results; give a run")
    shutil.copytree(first, first.parent.parent / "other" / first.name)
    status, _, err = run(capsys, first.name, first.name)
    assert status == 2
    assert "several runs are called so" in err


def test_names_with_markup_are_printed_as_they_are(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in pair:
        path = folder / "predictions.csv"
        path.write_text(path.read_text().replace("val/IMG_", "[red]x_"))
    _, out, _ = run(capsys, *map(str, pair), "--photos", "1")
    assert "[red]x_" in out


def test_photos_at_other_image_sizes_are_the_same_photos(pair: tuple[Path, Path]) -> None:
    table = pd.read_csv(pair[1] / "predictions.csv")
    table["content"] = "of another size " + table["content"]
    table.to_csv(pair[1] / "predictions.csv", index=False)
    found = compare.compare(*pair)
    assert found.difference is not None
    assert found.difference.n_photos == 60
    assert found.only == (0, 0)


def test_runs_split_by_place_without_a_common_photo_are_not_compared(
    pair: tuple[Path, Path],
) -> None:
    for folder in pair:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["split"] = {**config.get("split", {}), "kind": "place"}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    table = pd.read_csv(pair[1] / "predictions.csv")
    table = table.assign(content="other" + table["content"], photo="other" + table["photo"])
    table.to_csv(pair[1] / "predictions.csv", index=False)
    said = compare.compare(*pair).summary()
    assert said == ["No validation photo in common: the errors cannot be compared."]


def test_heads_that_no_seed_changes_have_no_luck_of_a_seed(pair: tuple[Path, Path]) -> None:
    trained = compare.compare(*pair)
    assert any("luck of the seed" in line for line in trained.summary())
    for folder in pair:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({**config, "head": "knn+ridge"}))
    solved = compare.compare(*pair)
    assert not any("luck of the seed" in line for line in solved.summary())
    assert solved.difference is not None
    assert trained.difference is not None
    assert solved.difference.se_seeds == 0 < trained.difference.se_seeds
    assert solved.difference.se_photos == pytest.approx(trained.difference.se_photos)


def test_positions_count_where_photos_were_not_drawn_at_random() -> None:
    results = Path(__file__).parents[2] / "results" / "seneca_aerial"  # split by place
    found = compare.compare(results / "c9d2f9f279", results / "0c058704a5").difference
    assert found is not None
    assert found.alike_m > 0
