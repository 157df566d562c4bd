"""Documents whose figures are those of the run folders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from img2gps.analysis.contrast import Contrast, contrast
from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.report import build, paper, several
from img2gps.report.fill import fill
from tests.helpers.fake_study import Options, make_study

AXES: dict[str, list[Any]] = {"model": ["resnet18"], "lr": [0.001, 0.003], "batch_size": [8, 16]}
TEXT = """# A paper

<!-- img2gps: s answer -->
stale words
<!-- /img2gps -->

The winner gets <!-- img2gps: s number WinnerRmse -->0<!-- /img2gps --> m.

<!-- img2gps: s table table1_resnet18 -->
<!-- /img2gps -->

Against 0.003:
<!-- img2gps: s contrast lr=0.001 vs lr=0.003 where batch_size=8 --><!-- /img2gps -->;
itself <!-- img2gps: s versus s --><!-- /img2gps -->;
alone <!-- img2gps: s cell lr=0.001 batch_size=8 --><!-- /img2gps -->,
which took <!-- img2gps: s seconds lr=0.001 batch_size=8 --><!-- /img2gps --> s.
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_study(tmp_path, "s", Options(axes=AXES, n_val=20, n_spots=20))
    return tmp_path


def test_figure_of_the_report_is_written_beside_the_document_with_its_finding(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = root / "paper.md"
    document.write_text("<!-- img2gps: s figure ranking -->\n<!-- /img2gps -->\n")
    with pytest.raises(SystemExit, match="0"):
        main(["report", "--runs", str(root), "--fill", str(document)])
    title = build.figures(build.load("s", [root]))["ranking"].title
    assert f"![{title}](figures/s-ranking.svg)" in document.read_text()
    drawn = (root / "figures" / "s-ranking.svg").read_text()
    assert drawn.startswith("<svg")
    assert title.split()[0] in drawn
    with pytest.raises(BadInput, match="no figure nothing; there are grid, ranking"):
        fill("<!-- img2gps: s figure nothing --><!-- /img2gps -->", [root])


def test_every_kind_of_block_is_filled_and_filling_again_changes_nothing(root: Path) -> None:
    filled = fill(TEXT, [root])
    study = build.load("s", [root])
    assert f"-->{several.difference(study, study)}<!--" in filled
    number = paper.numbers(study)["WinnerRmse"]
    assert f"gets <!-- img2gps: s number WinnerRmse -->{number}<!-- /img2gps --> m." in filled
    assert " ".join(build.answer(study)) in filled
    assert "| 0.001 |" in filled
    assert "95 % interval" in filled.partition("Against 0.003")[2]
    assert "mean predictor" in filled.partition("alone")[2]
    assert "-->206<!" in filled.partition("which took")[2]  # 15 epochs of 13.7 s
    assert "stale words" not in filled
    assert filled.startswith("# A paper\n")
    assert fill(filled, [root]) == filled


@pytest.mark.parametrize(("low", "phrase"), [(0.2, "is worse"), (-0.2, "is not shown to differ")])
def test_no_verdict_contradicts_the_interval_beside_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, low: float, phrase: str
) -> None:
    def drawn(*args: Any) -> Contrast:
        found = contrast(*args)
        return replace(found, interval=replace(found.interval, low=low, high=6.0, p_value=0.03))

    monkeypatch.setattr("img2gps.report.fill.contrast", drawn)
    words = "lr=0.003 vs lr=0.001"
    blocks = [f"<!-- img2gps: s {kind} {words} -->" for kind in ("verdict", "contrast")]
    filled = fill("".join(f"{block}<!-- /img2gps -->" for block in blocks), [root])
    assert f"{blocks[0]}{phrase}<" in filled
    assert ("Holm's correction" in filled) == (low > 0)


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        ("lr=0.001 vs lr=0.003", "is better"),
        ("lr=0.003 vs lr=0.001", "is worse"),
        ("batch_size=8 vs batch_size=16 where lr=0.003", "is not shown to differ"),
        ("batch_size=8 vs batch_size=16 within 100", "is equivalent within 100 m"),
        ("lr=0.003 vs lr=0.001 within 1", "is not shown to be equivalent within 1 m"),
    ],
)
def test_a_verdict_says_what_the_difference_allows(root: Path, words: str, phrase: str) -> None:
    block = f"<!-- img2gps: s verdict {words} -->"
    assert fill(f"{block}what once held<!-- /img2gps -->", [root]) == (
        f"{block}{phrase}<!-- /img2gps -->"
    )


def test_a_verdict_among_others_is_a_hint(root: Path) -> None:
    verdict = "<!-- img2gps: s verdict lr=0.001 vs lr=0.003 where batch_size=16 -->"
    others = "".join(
        f"<!-- img2gps: s contrast {words} --><!-- /img2gps -->"
        for words in (
            "lr=0.001 vs lr=0.003 where batch_size=8",
            "batch_size=8 vs batch_size=16",
            "batch_size=8 vs batch_size=16 where lr=0.003",
        )
    )
    # p = 0.022, and 0.088 after Holm's correction for four contrasts
    assert f"{verdict}is better<" in fill(f"{verdict}<!-- /img2gps -->", [root])
    assert f"{verdict}may be better (a hint)<" in fill(
        f"{verdict}<!-- /img2gps -->{others}", [root]
    )


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        # The mean predictor gets about 89 m and the neighbours 0.82 of that, which 40 m is far
        # below and 95 m above.
        ("beats rival lr=0.001", "is shown to be better"),
        ("beats mean lr=0.001", "is shown to be better"),
        ("beats rival lr=0.003", "is not shown to be better"),
        ("beats mean lr=0.003", "is not shown to be better"),
        ("beats rival", "is shown to be better"),
    ],
)
def test_a_cell_is_said_to_beat_an_answer_without_training_only_where_that_is_shown(
    tmp_path: Path, words: str, phrase: str
) -> None:
    true = {0.001: 40.0, 0.003: 95.0}
    options = Options(
        axes={"lr": list(true)}, n_val=60, n_spots=40, effect=lambda params: true[params["lr"]]
    )
    make_study(tmp_path, "s", options)
    block = f"<!-- img2gps: s {words} -->"
    assert fill(f"{block}<!-- /img2gps -->", [tmp_path]) == f"{block}{phrase}<!-- /img2gps -->"


def test_the_strongest_answer_without_training_is_the_lowest_of_those_stored(root: Path) -> None:
    block = "<!-- img2gps: s rival lr=0.001 batch_size=8 -->"
    filled = fill(f"{block}<!-- /img2gps -->", [root])
    path = next((root / "s").glob("*/result.json"))
    stored = json.loads(path.read_text())["baselines"]
    lowest = min(stored, key=lambda name: stored[name]["val/rmse_m"])
    name = {"knn": "nearest neighbours of frozen features", "ridge": "ridge regression"}[lowest]
    assert filled.startswith(f"{block}{stored[lowest]['val/rmse_m']:.1f} m ({name}")


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("s guess x", "one of answer, table, number"),
        ("s table nonsense", "no table nonsense; there are summary"),
        ("s number Nonsense", "no number Nonsense"),
        ("s cell lr=0.001", "2 cells fit lr=0.001"),
        ("s beats everyone", "beats everyone: give rival or mean, such as beats rival lr=0.001"),
        ("s beats", "give rival or mean, such as beats rival lr=0.001"),
        ("nowhere answer", "study 'nowhere': not below"),
        ("s", "cannot be filled"),
        ("s verdict lr=0.003 vs lr=0.001 within abc", "could not convert string to float"),
        ("s verdict lr=0.003 vs lr=0.001 within -5", "within -5: give metres above 0"),
        ("s verdict name='open vs lr=0.001", "No closing quotation"),
    ],
)
def test_a_block_that_cannot_be_filled_is_named(root: Path, block: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        fill(f"<!-- img2gps: {block} --><!-- /img2gps -->", [root])


def test_a_block_without_an_end_is_named_and_takes_nothing_with_it(root: Path) -> None:
    open_block = "<!-- img2gps: s number Runs -->12\n\nA paragraph of my own.\n\n"
    with pytest.raises(BadInput, match=r"s number Runs -->12: this block has no end; close it"):
        fill(open_block + TEXT, [root])
    with pytest.raises(BadInput, match="this block has no end"):
        fill(TEXT + open_block, [root])


def test_command_replaces_the_document_and_says_when_nothing_changed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = root / "page.md"
    page.write_text(TEXT)
    for said in ("filled anew", "up to date"):
        with pytest.raises(SystemExit) as end:
            main(["report", "--runs", str(root), "--fill", str(page)])
        assert end.value.code == 0
        assert capsys.readouterr().out == f"{page}: {said}\n"


def test_several_documents_are_filled_by_one_command(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [root / "a.md", root / "b.md"]
    for page in pages:
        page.write_text(TEXT)
    with pytest.raises(SystemExit) as end:
        main(["report", "--runs", str(root), "--fill", *map(str, pages)])
    assert end.value.code == 0
    assert capsys.readouterr().out.count("filled anew") == 2
    assert all("stale words" not in page.read_text() for page in pages)


def test_a_document_that_is_not_there_is_bad_input(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["report", "--fill", str(root / "none.md")])
    assert end.value.code == 2
    assert "none.md: No such file" in capsys.readouterr().err
    (root / "latin.md").write_bytes("é".encode("latin-1"))
    with pytest.raises(SystemExit) as end:
        main(["report", "--fill", str(root / "latin.md")])
    assert end.value.code == 2
    assert "latin.md: not UTF-8; name a Markdown file in UTF-8" in capsys.readouterr().err
