"""The notebooks: kept without outputs, without logic of their own, and running."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.fake_study import Options, make_study

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LOGIC = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.If, ast.For, ast.While, ast.Try, ast.BinOp)


def read(name: str) -> Any:
    return nbformat.read(FOLDER / name, as_version=4)  # type: ignore[no-untyped-call]


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


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "1_your_photos",
        "2_learning_rate_and_batch_size",
        "3_depth",
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
        found = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, LOGIC)]
        assert not found, cell.source


@pytest.mark.slow
def test_your_photos_shows_rejects_the_ground_and_what_a_split_gives_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_cache: Path
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))
    shown = run(
        "1_your_photos.ipynb",
        "from img2gps import ingest\n"
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
        ("2_learning_rate_and_batch_size.ipynb", 7, "lr | batch 8 | batch 16"),
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
