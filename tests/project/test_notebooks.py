"""The notebooks: kept without outputs, without logic of their own, and running."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient

from img2gps.photos import quad
from tests.helpers.fake_study import Options, make_study

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LOGIC = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.If, ast.For, ast.While, ast.Try, ast.BinOp)


def read(name: str) -> Any:
    return nbformat.read(FOLDER / name, as_version=4)  # type: ignore[no-untyped-call]  # no hints


def run(name: str, parameters: str, folder: Path) -> list[dict[str, Any]]:
    """Execute with other parameters; all data that the cells displayed."""
    notebook = read(name)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source = parameters
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return [
        output["data"]
        for c in notebook.cells
        for output in c.get("outputs", [])
        if "data" in output
    ]


def test_there_are_these() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "1_your_photos",
        "2_learning_rate_and_batch_size",
        "3_depth",
        "colab",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_without_outputs_and_valid(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(notebook)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_calls_the_package_and_holds_no_logic(path: Path) -> None:
    for cell in read(path.name).cells:
        if cell.cell_type != "code" or "parameters" in cell.metadata.get("tags", []):
            continue
        plain = TransformerManager().transform_cell(cell.source)  # type: ignore[no-untyped-call]  # no hints
        found = [node for node in ast.walk(ast.parse(plain)) if isinstance(node, LOGIC)]
        assert not found, cell.source


@pytest.mark.slow
def test_your_photos_shows_rejects_the_ground_and_what_a_split_gives_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_cache: Path
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))
    shown = run(
        "1_your_photos.ipynb",
        "from img2gps.photos import ingest\n"
        "SOURCE = ingest.QuadSource(n=48, width=96, height=72)\n"
        "IMAGE_SIZE = 64\n",
        tmp_path,
    )
    assert sum("image/svg+xml" in data for data in shown) == 2
    assert any("image/png" in data for data in shown)  # the contact sheet
    table = next(data["text/html"] for data in shown if "known_spots" in data.get("text/html", ""))
    assert "random" in table
    assert "place" in table


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "drawings", "said"),
    [
        ("2_learning_rate_and_batch_size.ipynb", 7, "learning rate | batch size 8 | batch size 16"),
        ("3_depth.ipynb", 4, "Share of the variance"),
    ],
)
def test_study_notebooks_show_the_answer_the_tables_and_the_figures(
    name: str, drawings: int, said: str, tmp_path: Path
) -> None:
    make_study(tmp_path / "runs", "table1", Options(epochs=3))
    shown = run(
        name, "from pathlib import Path\nSTUDY = 'table1'\nROOTS = [Path('runs')]", tmp_path
    )
    assert sum("image/svg+xml" in data for data in shown) == drawings
    text = "\n".join(data.get("text/markdown", "") for data in shown)
    assert "Lowest validation RMSE" in text
    assert "How sure:" in text
    assert "mean predictor" in text
    assert said in text


@pytest.mark.slow
def test_colab_page_installs_trains_and_reports_on_a_mounted_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "google").mkdir()
    (tmp_path / "google" / "colab.py").write_text(
        "class drive:\n    mount = staticmethod(lambda path: print('mounted', path))\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{FOLDER.parent}")
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "drive" / "img2gps"
    quad.render(quad.QuadSpec(n=12, width=96, height=72), folder / "photos", progress=False)
    run(
        "colab.ipynb",
        f"""DRIVE = {str(tmp_path / "drive")!r}
FOLDER = {str(folder)!r}
PHOTOS = "photos"
PACKAGE = "pip"  # is installed: nothing is fetched
LEDGER = "sqlite:///{tmp_path}/ledger.db"
SETTINGS = "split.n_val=4 image_size=32 max_epochs=1 weights=none baselines=false"
""",
        tmp_path,
    )
    assert (folder / "photos.html").is_file()
    study = json.loads((folder / "runs" / "colab" / "study.json").read_text())
    assert [cell["state"] for cell in study["cells"]] == ["finished"] * 4
    assert sum(cell["linked"] for cell in study["cells"]) == 1  # the single run is one of them
    assert (folder / "reports" / "colab" / "index.html").is_file()
