"""A run is decided before it trains: what it cannot have is refused, and its id says what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from img2gps import training
from img2gps.config.compose import read_config
from img2gps.config.schema import Precision
from img2gps.core.errors import BadInput
from img2gps.runs.folder import CONFIG
from img2gps.runs.identity import run_identity
from img2gps.runs.names import run_id
from img2gps.runs.plan import check_machine, plan_run
from img2gps.runs.records import RESULT, RunResult, read_result
from img2gps.training.weights import ResolvedWeights
from tests.conftest import ROOT
from tests.helpers.tiny import config as composed
from tests.helpers.tiny import tiny_config


def test_accelerator_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("gpu", "cuda", "mps"):
        with pytest.raises(BadInput, match=f"accelerator={name}: torch finds none here; leave it"):
            check_machine(tiny_config(f"trainer.accelerator={name}"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_machine(tiny_config("trainer.accelerator=gpu"))


def test_runs_root_that_is_a_file_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(BadInput, match=rf"^runs.root={file}/runs: {file} is no folder that you"):
        plan_run(tiny_config(f"runs.root={file}/runs"))


def test_missing_folder_is_named(tmp_path: Path) -> None:
    missing = composed("data=photos", f"data.root={tmp_path / 'nowhere'}", "weights=none")
    with pytest.raises(BadInput, match=r"nowhere: no such file or folder; give data.root=PATH"):
        plan_run(missing)


PUBLISHED = sorted(path.parent for path in (ROOT / "results").glob(f"*/*/{RESULT}"))


def rebuilt_id(folder: Path, result: RunResult, **changes: object) -> str:
    """Compute a published run's id anew. Only data and split are not in its files."""
    config = replace(read_config(folder / CONFIG), **changes)  # type: ignore[arg-type]  # any knob
    found = result.weights
    weights = ResolvedWeights(found.requested, found.resolved, found.reason, found.sha256)
    data, split = result.data.fingerprint, result.identity["split"]
    return run_id(
        run_identity(config, data, split, weights.identity(), Precision(result.precision))
    )


def test_every_published_run_id_is_rebuilt_from_its_configuration() -> None:
    assert len(PUBLISHED) > 100
    for folder in PUBLISHED:
        result = read_result(folder)
        assert result is not None
        assert rebuilt_id(folder, result) == folder.name


def test_a_newer_version_of_the_training_gives_every_run_another_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = read_result(PUBLISHED[0])
    assert result is not None
    before = rebuilt_id(PUBLISHED[0], result)
    monkeypatch.setattr(training, "TRAINING_VERSION", 2)
    second = rebuilt_id(PUBLISHED[0], result)
    monkeypatch.setattr(training, "TRAINING_VERSION", 3)
    assert len({before, second, rebuilt_id(PUBLISHED[0], result)}) == 3


def test_seeds_of_order_and_augmentation_are_in_the_id_only_where_they_change_a_run() -> None:
    def identifier(*overrides: str) -> str:
        config = composed("weights=none", *overrides)
        return run_id(run_identity(config, "d", {}, {}, Precision.fp32))

    plain, cropped = identifier("seed=3"), identifier("seed=3", "augmentation=crop")
    assert identifier("seed=3", "order_seed=3", "augmentation_seed=3") == plain
    assert identifier("seed=3", "augmentation_seed=8") == plain  # nothing is changed at random
    assert identifier("seed=3", "augmentation=crop", "augmentation_seed=3") == cropped
    others = [
        identifier("seed=3", "order_seed=8"),
        identifier("seed=8", "order_seed=3"),
        identifier("seed=3", "augmentation=crop", "augmentation_seed=8"),
    ]
    assert len({plain, cropped, *others}) == 5


def test_one_network_has_one_id_whichever_group_it_was_named_in() -> None:
    by_group, by_name = (
        composed(*words).model
        for words in (("model=resnet18",), ("model=resnet50", "model.name=resnet18"))
    )
    assert by_group == by_name
    assert composed("model=resnet18", "model.name=wide_resnet50_2").model.depth == 50
