"""Records read what is in the files, of older versions too, and write it back unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from img2gps.core.errors import BadInput
from img2gps.runs.records import (
    RESULT,
    STUDY,
    RunResult,
    StudyRecord,
    read_result,
    read_study,
    write_result,
    write_study,
)
from img2gps.runs.states import RunState
from tests.conftest import ROOT

RESULTS = sorted((ROOT / "results").glob(f"*/*/{RESULT}"))
STUDIES = sorted((ROOT / "results").glob(f"*/{STUDY}"))


def test_every_published_result_comes_back_unchanged() -> None:
    assert RESULTS
    for path in RESULTS:
        plain = json.loads(path.read_text(encoding="utf-8"))
        again = RunResult.from_dict(plain).to_dict()
        assert again == {"absent": {}, **plain}, path


def test_every_published_study_comes_back_unchanged() -> None:
    assert STUDIES
    for path in STUDIES:
        plain = json.loads(path.read_text(encoding="utf-8"))
        again = StudyRecord.from_dict(plain).to_dict()
        assert again == {"reference": {}, "figures": [], **plain}, path


def test_a_result_without_most_keys_has_defaults_and_keeps_unknown_ones(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text('{"run_id": "a1", "state": "pruned", "later": 1, "data": null}')
    result = read_result(tmp_path)
    assert result is not None
    assert (result.run_id, result.state, result.data.n) == ("a1", RunState.pruned, 0)
    assert result.to_dict()["later"] == 1
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result


UNREADABLE = (
    *("", "[]", "{", '{"state": "asleep"}', '{"data": 3}'),
    '{"state": "finished", "metrics": {"val/rmse_m": "abc"}}',
    '{"state": "finished", "swept": [1]}',
)


@pytest.mark.parametrize("text", UNREADABLE)
def test_an_unreadable_result_counts_as_none(text: str, tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text(text)
    assert read_result(tmp_path) is None


UNREADABLE_STUDIES = (
    *("", "{}", '{"cells": [1]}', '{"cells": [{"seed": 0}]}'),
    '{"cells": [{"cell": "a", "seed": 0, "value": "x"}]}',
    '{"cells": [], "updated_at": 5}',
)


@pytest.mark.parametrize("text", UNREADABLE_STUDIES)
def test_an_unreadable_study_is_named_with_the_remedy(text: str, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / STUDY).write_text(text)
    with pytest.raises(BadInput, match="not a readable study"):
        read_study(tmp_path, "s")


def test_a_study_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    write_study(tmp_path, StudyRecord("other"))
    with pytest.raises(BadInput, match=r"mine: no such study below .*; studies there: other"):
        read_study(tmp_path, "mine")


def test_queued_and_running_are_the_states_that_have_not_ended() -> None:
    assert [state for state in RunState if not state.has_ended] == ["queued", "running"]
