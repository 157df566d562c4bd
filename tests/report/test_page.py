from __future__ import annotations

import base64
import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from img2gps.analysis import suspects
from img2gps.analysis.scene import Scene
from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.photos import ingest, thumbnails
from img2gps.photos.dataset import Dataset
from img2gps.report import build, gallery, page, several
from img2gps.report.figures import choose
from img2gps.report.figures.base import Figure
from img2gps.report.page import Page, render
from img2gps.report.steps import next_steps, with_override
from tests.helpers.fake_study import Options, make_study
from tests.helpers.photos import make_photo

EVIL = [
    "<script>alert(1)</script>.jpg",
    '"><img src=x onerror=alert(2)>.jpg',
    "</script><script>alert(3)</script>.jpg",
    "a&b 'c' `d`.jpg",
    "{{ 7 * 7 }}.jpg",
]
SMALL = Options(axes={"lr": [0.001, 0.003], "batch_size": [8, 16]}, epochs=3)


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self._script = True
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._script = self._script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[-1] += data
        else:
            self.text += data


def rename_photos(study: Path, names: list[str]) -> None:
    """Give the first photos of every run other names, as a user's folder might have."""
    for path in study.glob("*/predictions*.csv"):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row, name in zip(rows, names, strict=False):
            row["photo"] = name
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def report(root: Path, *names: str) -> tuple[Path, str]:
    path = build.report(names, roots=[root], out=root.parent / "reports")
    return path, path.read_text(encoding="utf-8")


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """One figure a page, for tests of its text: drawing takes most of a report's time."""
    draw = choose.curves_of_cells

    def one(scene: Scene) -> list[Figure]:
        return [figure for figure in [draw(scene)] if figure is not None]

    monkeypatch.setattr(choose, "of_study", one)


@pytest.fixture(scope="module")
def table1(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The whole study with file names, a question and a reason that a browser might run."""
    root = tmp_path_factory.mktemp("table1") / "runs"
    failed = {("model=resnet50,lr=0.005,batch_size=32", s): ("failed", EVIL[0]) for s in range(3)}
    study = make_study(root, "table1", Options(epochs=6, states=failed))
    rename_photos(study.folder, EVIL)
    facts = json.loads((study.folder / "study.json").read_text())
    facts["question"] = f"Which one? {EVIL[2]}"
    (study.folder / "study.json").write_text(json.dumps(facts))
    return report(root, "table1")


def test_page_opens_with_the_answer_and_the_synthetic_banner(table1: tuple[Path, str]) -> None:
    text = Elements(table1[1]).text
    answer = text[text.index("Lowest validation RMSE") :]
    assert text.index("Lowest validation RMSE") < text.index("How far to trust this")
    assert "corrected for having been selected" in answer
    assert "How sure:" in answer
    assert "mean predictor" in answer
    assert text.index("Synthetic photos:") < text.index("Lowest validation RMSE")


def test_nothing_on_the_page_is_fetched(table1: tuple[Path, str]) -> None:
    elements = Elements(table1[1]).found
    for tag, attributes in elements:
        for key in ("src", "srcset", "action", "poster", "data"):
            assert (attributes.get(key) or "data:").startswith("data:"), (tag, attributes)
        if tag == "link":
            assert attributes["href"] == "data:,"
        if tag == "a":  # followed only when clicked, and only to files beside the page
            assert not (attributes["href"] or "").startswith(("http", "//"))
    assert not [tag for tag, _ in elements if tag in ("iframe", "object", "embed", "base")]
    policy = next(a["content"] for _, a in elements if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_hostile_texts_stay_texts(table1: tuple[Path, str]) -> None:
    elements = Elements(table1[1])
    assert len([tag for tag, _ in elements.found if tag == "script"]) == 3
    for tag, attributes in elements.found:
        assert not [key for key in attributes if key.startswith("on")], (tag, attributes)
    assert all("alert(" not in script for script in elements.scripts[1:])
    assert EVIL[0] in elements.text  # the reason, as it was
    assert "49.jpg" not in elements.text  # the name is not a template
    specs = json.loads(elements.scripts[0])
    names = {
        r["photo"]
        for d in specs["specs"]["positions"]["datasets"].values()
        for r in d
        if "photo" in r
    }
    assert set(EVIL) <= names


def test_page_is_small_and_every_figure_is_a_file_too(table1: tuple[Path, str]) -> None:
    path, html = table1
    assert len(html.encode()) < 3_000_000
    figures = [a["id"] for tag, a in Elements(html).found if tag == "figure" and "id" in a]
    drawn = [
        str(name).removeprefix("figure-") for name in figures if str(name).startswith("figure-")
    ]
    assert len(drawn) >= 10
    for name in drawn:
        assert (path.parent / "figures" / f"{name}.svg").stat().st_size > 1000
        assert (path.parent / "figures" / f"{name}.png").stat().st_size > 1000
    for tag, attributes in Elements(html).found:
        href = attributes.get("href") or ""
        if tag == "a" and not href.startswith("#"):
            assert (path.parent / href).is_file(), href


def test_every_picture_has_a_text_instead(table1: tuple[Path, str]) -> None:
    ids = [a["id"] for _, a in Elements(table1[1]).found if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in Elements(table1[1]).found:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes["role"] == "img"
            assert len(attributes["aria-label"] or "") > 20


def test_light_dark_and_print_are_provided_for(table1: tuple[Path, str]) -> None:
    assert "@media (prefers-color-scheme: dark)" in table1[1]
    assert "@media print" in table1[1]


@pytest.mark.usefixtures("few_figures")
def test_the_same_runs_give_the_same_page(tmp_path: Path) -> None:
    make_study(tmp_path / "runs", "s", SMALL)
    assert report(tmp_path / "runs", "s")[1] == report(tmp_path / "runs", "s")[1]


@pytest.mark.parametrize("state", ["queued", "running", "failed", "diverged", "pruned"])
@pytest.mark.usefixtures("few_figures")
def test_a_study_without_a_finished_run_gives_a_useful_page(tmp_path: Path, state: str) -> None:
    states = {(f"lr={lr}", 0): (state, "because") for lr in (0.001, 0.003)}
    make_study(
        tmp_path / "runs",
        "s",
        Options(axes={"lr": [0.001, 0.003]}, seeds=(0,), epochs=6, states=states),
    )
    _, html = report(tmp_path / "runs", "s")
    text = Elements(html).text
    assert f"No answer yet: of 2 planned runs, 2 {state}." in text
    assert f"2 {state}" in text
    if state != "queued":
        assert "because" in text
        assert "figure-epochs" in html


@pytest.mark.usefixtures("few_figures")
def test_a_half_finished_study_shows_what_there_is_and_counts_the_rest(tmp_path: Path) -> None:
    states = {("lr=0.003,batch_size=16", s): ("queued", "") for s in range(3)}
    states[("lr=0.003,batch_size=8", 2)] = ("diverged", "loss became NaN")
    options = Options(axes=SMALL.axes, epochs=3, states=states)
    make_study(tmp_path / "runs", "s", options)
    text = Elements(report(tmp_path / "runs", "s")[1]).text
    assert "8 finished" in text
    assert "3 queued" in text
    assert "loss became NaN" in text
    assert "fewer seeds than planned" in text


@pytest.mark.usefixtures("few_figures")
def test_plain_runs_without_a_study_json_get_their_report(tmp_path: Path) -> None:
    study = make_study(
        tmp_path / "runs",
        "default",
        Options(axes={"lr": [0.001]}, seeds=(0,), n_val=12, n_spots=8, epochs=2, synthetic=False),
    )
    (study.folder / "study.json").unlink()
    _, html = report(tmp_path / "runs", "default")
    text = Elements(html).text
    assert "there is only one cell" in text
    assert "Synthetic" not in text
    assert "Not drawn, with what each would need" in text


@pytest.mark.usefixtures("few_figures")
def test_two_studies_are_compared_photo_by_photo(tmp_path: Path) -> None:
    """The same fake photos: the difference of the winners is that of their seeds' mean RMSE."""
    root = tmp_path / "runs"
    best = {}
    for name, batch_size in (("a", 16), ("b", 8)):  # the fake's truth: 69 and 78 m
        options = Options(axes={"lr": [0.001], "batch_size": [batch_size]}, epochs=2)
        study = make_study(root, name, options)
        best[name] = np.sqrt((study.errors_m[0] ** 2).mean(axis=-1)).mean()
    path, html = report(root, "b", "a")
    assert path.parent.name == "b+a"
    text = Elements(html).text
    difference = best["b"] - best["a"]
    word = "higher" if difference > 0 else "lower"
    assert f"b has an RMSE {abs(difference):.1f} m {word} than a on their 60 common photos" in text
    assert "which excludes 0" in text
    assert "were chosen on these photos" not in text  # each study has one cell
    assert (root.parent / "reports" / "a" / "index.html").is_file()


def test_winners_that_were_chosen_on_the_photos_are_said_to_be(tmp_path: Path) -> None:
    for name, rates in (("a", [0.001, 0.003]), ("b", [0.001, 0.003, 0.005])):
        make_study(tmp_path, name, Options(axes={"lr": rates}, epochs=1))
    said = several.difference(*(build.load(name, [tmp_path]) for name in ("a", "b")))
    assert said.startswith("b has an RMSE")
    assert "the winners were chosen on these photos, among 3 and 2 cells" in said


@pytest.mark.usefixtures("few_figures")
def test_studies_on_different_photos_are_not_called_comparable(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    make_study(root, "a", Options(axes={"lr": [0.001]}, epochs=2))
    other = make_study(root, "b", Options(axes={"lr": [0.001]}, epochs=2, seed=7))
    for file in other.folder.glob("*/predictions*.csv"):
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        table["content"] = "f" + table["content"]
        table.to_csv(file, index=False)
    text = Elements(report(root, "a", "b")[1]).text
    assert "cannot be compared: they have no validation photo in common" in text
    assert "validated on different photos" in text


@pytest.mark.usefixtures("few_figures")
def test_a_comparison_names_studies_in_which_nothing_has_finished(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    axes = {"lr": [0.001]}
    queued = {("lr=0.001", 0): ("queued", "")}
    make_study(root, "done", Options(axes=axes, seeds=(0,), epochs=2))
    for name in ("waiting", "idle"):
        make_study(root, name, Options(axes=axes, seeds=(0,), states=queued))
    one = Elements(report(root, "done", "waiting")[1]).text
    assert "Without a figure: in waiting no run has finished." in one
    both = Elements(report(root, "waiting", "idle")[1]).text
    assert "No answer yet: in waiting and idle no run has finished." in both


def test_an_unknown_study_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    make_study(tmp_path / "runs", "there", SMALL)
    with pytest.raises(BadInput, match=r"study 'nope': .*there are: there"):
        report(tmp_path / "runs", "nope")


@pytest.mark.usefixtures("few_figures")
def test_command_writes_a_page_for_each_study_and_prints_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_study(tmp_path / "runs", "a", SMALL)
    make_study(tmp_path / "results", "b", SMALL)
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with pytest.raises(SystemExit) as done:
        main(["report", "--open"])
    assert done.value.code == 0
    assert opened == [(tmp_path / "reports" / "b" / "index.html").as_uri()]
    printed = capsys.readouterr().out.split()
    assert printed == ["reports/a/index.html", "reports/b/index.html"]
    assert all(Path(path).is_file() for path in printed)


def test_command_without_any_runs_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as done:
        main(["report"])
    assert done.value.code == 2
    assert "no study and no runs below runs and results" in capsys.readouterr().err


def test_report_needs_neither_torch_nor_wandb_nor_optuna_nor_hydra(tmp_path: Path) -> None:
    make_study(tmp_path / "runs", "s", SMALL)
    code = (
        "import sys\n"
        "from img2gps.cli.main import main\n"
        "from img2gps.report.figures import choose\n"
        "choose.of_study = lambda scene: []  # only for speed: all of it is imported\n"
        "try:\n    main(['report', 's'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'torchvision', 'pytorch_lightning', 'wandb', 'optuna', 'hydra'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_json_in_a_script_cannot_end_it() -> None:
    value = {"name": "</script><!--<script>\u2028&", "n": [1, 2.5, None]}
    text = str(page.json_for_script(value))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_an_empty_page_renders() -> None:
    html = render(Page(name="n", question="", source="s", answer=["a"], counts={}))
    assert Elements(html).text.count("How it was made") == 2  # contents and heading


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(6):
        make_photo(folder / f"{i}.jpg", 39.95 + i * 1e-4, -75.19, seed=i)
    return ingest.ingest(
        ingest.FolderSource(folder),
        image_size=32,
        cache_dir=tmp_path_factory.mktemp("cache"),
        threads=1,
        progress=False,
    )


def of_dataset(dataset: Dataset) -> pd.DataFrame:
    n = len(dataset)
    return pd.DataFrame(
        {
            "photo": dataset.manifest["photo"],
            "content": dataset.manifest["content"],
            "error_m": np.arange(n) * 10.0,
            "east_m": [0.0, 1.0, 0.0, -1.0, 1.0, -1.0],
            "north_m": [1.0, 0.0, -1.0, 0.0, 1.0, -1.0],
            "mean_error_m": 50.0,
            "nearest_train_m": np.nan,
        }
    )


def test_gallery_shows_best_and_worst_with_the_pixels_of_the_cache(dataset: Dataset) -> None:
    found = gallery.gallery(of_dataset(dataset), dataset, n=2)
    assert [p.error_m for p in found.best] == [0.0, 10.0]
    assert [p.error_m for p in found.worst] == [50.0, 40.0]
    assert [p.towards for p in found.worst] == ["south-west", "north-east"]
    assert found.missing == ""
    first = found.best[0]
    data = base64.b64decode(first.thumbnail.removeprefix("data:image/jpeg;base64,"))
    row = dataset.manifest.iloc[0]
    with Image.open(io.BytesIO(data)) as image:
        assert image.height == thumbnails.HEIGHT_PX
        assert image.width / image.height == pytest.approx(
            row["width_px"] / row["height_px"], rel=0.03
        )
        colour = np.asarray(image.convert("RGB"), dtype=float).mean(axis=(0, 1))
    np.testing.assert_allclose(colour, dataset.pixels()[0].mean(axis=(0, 1)), atol=6)


def test_gallery_without_the_cache_says_so(dataset: Dataset) -> None:
    found = gallery.gallery(of_dataset(dataset), None)
    assert "not cached on this machine" in found.missing
    assert len(found.best) == len(found.worst) == 3  # none is shown twice
    assert not any(photo.thumbnail for photo in found.best + found.worst)


def predictions(n_cells: int, n: int = 40, rmse: float = 20.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    tables = []
    for cell in range(n_cells):
        east, north = rng.normal(0, rmse / np.sqrt(2), (2, n))
        tables.append(
            pd.DataFrame(
                {
                    "rank_cell": f"c{cell}",
                    "seed": 0,
                    "photo": [f"p{i}" for i in range(n)],
                    "content": [f"{i:x}" for i in range(n)],
                    "lat_deg": 39.95,
                    "lon_deg": -75.19,
                    "east_m": east,
                    "north_m": north,
                    "mean_error_m": 60.0,
                    "gps_error_m": 5.0,
                    "nearest_train_m": 3.0,
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    return table.assign(error_m=np.hypot(table["east_m"], table["north_m"]))


def shifted(table: pd.DataFrame, photo: str, east_m: float) -> pd.DataFrame:
    """All predictions of one photo moved: what a wrong label looks like."""
    here = table["photo"] == photo
    table.loc[here, "east_m"] += east_m
    return table.assign(error_m=np.hypot(table["east_m"], table["north_m"]))


def test_a_photo_with_a_wrong_label_is_the_first_suspect() -> None:
    found = suspects.suspects(shifted(predictions(8), "p7", 200.0))
    first = found.iloc[0]
    assert first["photo"] == "p7"
    assert first["wrong_in"] == first["cells"] == 8
    assert first["hint"] == suspects.CHECK_GPS
    assert first["east_m"] == pytest.approx(200.0, abs=25)
    assert list(found.columns) == list(suspects.COLUMNS)


def test_cells_that_learned_nothing_accuse_nobody() -> None:
    table = predictions(8)
    table["mean_error_m"] = 1.0  # the mean predictor beats them all
    assert suspects.suspects(shifted(table, "p7", 200.0)).empty
    assert suspects.suspects(shifted(predictions(2), "p7", 200.0)).empty  # too few cells


@pytest.mark.parametrize(("rmse_m", "said"), [(40.0, "is shown"), (89.0, "is not shown")])
def test_answer_about_a_single_cell_speaks_of_one(tmp_path: Path, rmse_m: float, said: str) -> None:
    options = Options(axes={"lr": [0.001]}, effect=lambda _: rmse_m)
    make_study(tmp_path, "one", options)
    assert f"the cell {said} to do better." in build.answer(build.load("one", [tmp_path]))[-1]


def test_suspects_of_folds_are_photos_that_most_ranked_cells_get_wrong(
    tmp_path: Path, few_figures: None
) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003, 0.005, 0.007], "split.fold": [0, 1]}
    options = Options(axes=axes, seeds=(0,), split_kind="kfold", effect=lambda _: 60.0)
    make_study(tmp_path / "runs", "s", options)
    folder = report(tmp_path / "runs", "s")[0].parent
    table = pd.read_csv(folder / "suspects.csv")
    assert len(table)
    assert set(table["cells"]) == {4}  # not 8 runs, each of which knows half of the photos
    assert (table["wrong_in"] >= 3).all()
    assert (table["agreement_m"] > 0).all()


def test_cells_that_learned_nothing_are_not_said_to_have_been_asked(
    tmp_path: Path, few_figures: None
) -> None:
    axes = {"lr": [0.001, 0.003, 0.005]}
    rmse = {0.001: 60.0, 0.003: 120.0, 0.005: 130.0}
    options = Options(axes=axes, n_val=100, effect=lambda p: rmse[p["lr"]])
    make_study(tmp_path / "runs", "s", options)
    html = report(tmp_path / "runs", "s")[1]
    assert "Suspects need 3 cells that beat the mean predictor; here 1." in html


def test_a_cell_that_lacks_a_seed_is_nowhere_called_the_winner(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003], "batch_size": [8, 16]}
    rmse = {(0.001, 8): 50.0, (0.001, 16): 60.0, (0.003, 8): 75.0, (0.003, 16): 80.0}
    states = {("lr=0.001,batch_size=8", 2): ("running", "")}
    options = Options(axes=axes, effect=lambda p: rmse[p["lr"], p["batch_size"]], states=states)
    make_study(tmp_path / "runs", "s", options)
    analysis = build.load("s", [tmp_path / "runs"])
    assert analysis.rankings[0].winner.cell == "lr=0.001,batch_size=16"
    drawn = build.figures(analysis)
    assert drawn["grid"].title.startswith(
        "Lowest of the cells with all their seeds at learning rate 0.001 and batch size 16"
    )
    assert (
        "Lowest of the cells with all their seeds: learning rate 0.001, batch size 16"
        in drawn["ranking"].title
    )
    assert "not compared" in str(drawn["ranking"].spec)
    assert "Not finished: 8." in drawn["epochs_by_batch_size"].caption
    assert "8 ends lowest" not in drawn["epochs_by_batch_size"].title


def test_one_bad_study_does_not_keep_the_others_from_their_pages(
    tmp_path: Path,
    few_figures: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # away from results/
    root, out = tmp_path / "runs", tmp_path / "out"
    for name in ("a", "b", "c"):
        make_study(root, name, Options(axes={"lr": [0.001]}, seeds=(0,)))
    (root / "b" / "study.json").write_text("{")
    words = ["report", "--runs", str(root), "--out", str(out)]
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr()
    assert end.value.code == 2
    assert (out / "a" / "index.html").is_file()
    assert (out / "c" / "index.html").is_file()
    assert "b/study.json: not a readable study.json" in said.err
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as end:
        main(["report", "a", "--runs", str(root), "--out", str(tmp_path / "file")])
    assert end.value.code == 2
    assert "Not a directory; give --out=FOLDER that you may write to" in capsys.readouterr().err


def test_the_page_says_what_to_do_next_with_commands_that_do_it(tmp_path: Path) -> None:
    options = Options(axes={"lr": [0.001, 0.003]}, seeds=(0,), effect=lambda p: 2e4 * p["lr"] + 30)
    make_study(tmp_path, "s", options)
    steps = next_steps(build.load("s", [tmp_path]))
    command = "python -m img2gps.train -m sweeps=s"
    assert [step.command for step in steps] == [
        f"{command} 'hydra.sweeper.seeds=[0,1,2]'",
        f"{command} lr=0.0003,0.001,0.003",
    ]
    make_study(tmp_path, "half", replace(options, states={("lr=0.003", 0): ("queued", "")}))
    (step,) = next_steps(build.load("half", [tmp_path]))
    assert (step.text, step.command) == ("Finish the study", f"{command.removesuffix('s')}half")
    make_study(tmp_path, "searched", replace(options, kind="tpe"))
    (step,) = next_steps(build.load("searched", [tmp_path]))
    assert step.command == f"{command}earched 'hydra.sweeper.confirm={{top:3,seeds:5}}'"


@pytest.mark.parametrize(
    ("cells", "extended"),
    [("[{lr:0.001},{lr:0.003}]", False), ("[{weight_decay:0.1,name:lr}]", True)],
)
def test_a_knob_that_a_list_of_cells_sets_is_not_extended_as_an_axis(
    tmp_path: Path, cells: str, extended: bool
) -> None:
    options = Options(axes={"lr": [0.001, 0.003]}, effect=lambda p: 2e4 * p["lr"] + 30)
    made = make_study(tmp_path, "s", options)
    path = made.folder / "study.json"
    facts = json.loads(path.read_text())
    facts["command"] = f"python -m img2gps.train -m 'hydra.sweeper.cells={cells}'"
    path.write_text(json.dumps(facts))
    steps = next_steps(build.load("s", [tmp_path]))
    assert any("Extend the grid" in step.text for step in steps) == extended


def test_a_next_step_replaces_what_the_command_says_of_the_same_knob() -> None:
    command = "python -m img2gps.train -m sweeps=s 'hydra.sweeper.seeds=[7]' +lr=0.1 'study=a b'"
    assert with_override(command, "hydra.sweeper.seeds", "[7,8,9]") == (
        "python -m img2gps.train -m sweeps=s +lr=0.1 'study=a b' 'hydra.sweeper.seeds=[7,8,9]'"
    )
    assert with_override(command, "lr", "0.05,0.1,0.2").endswith("'study=a b' lr=0.05,0.1,0.2")


def test_banner_and_warnings_stand_once_on_the_page(table1: tuple[Path, str]) -> None:
    html = table1[1]
    assert html.count("Synthetic photos:") == 1
    markdown = (table1[0].parent / "tables" / "summary.md").read_text(encoding="utf-8")
    assert "Synthetic photos:" in markdown
