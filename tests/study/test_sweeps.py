"""Every study in sweeps/ composes, asks a question, and plans runs that a configuration allows."""

from __future__ import annotations

import json
import math
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from img2gps.config.compose import config_to_dict, register_sweeps
from img2gps.core.errors import BadInput
from img2gps.core.nested import flat
from img2gps.core.paths import package_folder
from img2gps.study.budget import Budget
from img2gps.study.composing import Composer
from img2gps.study.spec import Confirm, Spec
from img2gps.study.sweeper import BaseSweeper, _check_knobs, adhoc_name

SWEEPS = package_folder("sweeps")
NAMES = sorted(path.stem for path in SWEEPS.glob("*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    register_sweeps()
    with initialize_config_dir(str(package_folder("conf")), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


def study(name: str, *more: str) -> Spec:
    """What `-m sweeps=NAME` plans."""
    overrides = [f"sweeps={name}", *more]
    cfg = compose("train", overrides, return_hydra_config=True)
    cfg.hydra.job.config_name = "train"
    options = {key: value for key, value in cfg.hydra.sweeper.items() if key != "_target_"}
    options.pop("_recursive_", None)
    sweeper = BaseSweeper(**options)
    sweeper.setup(hydra_context=None, task_function=None, config=cfg)  # type: ignore[arg-type]  # no Hydra around it
    return sweeper.spec([line for line in overrides if not line.startswith("hydra.")])


def test_the_studies_of_the_plan_are_there() -> None:
    wanted = {
        "table1", "table1_quick", "lr_edge", "lr_decay", "scaling_rule", "last_batch",
        "depth_vs_data", "table1_race", "splits", "augmentation", "tpe_hyperband",
    }  # fmt: skip
    assert wanted <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_file_opens_with_its_question(name: str) -> None:
    text = (SWEEPS / f"{name}.yaml").read_text()
    first = text.splitlines()[0]
    question = yaml.safe_load(text)["hydra"]["sweeper"]["question"]
    assert first.startswith("# ")
    assert first.endswith("?")
    assert question.endswith("?")
    assert question.rstrip("?").split(",")[0] in first


def _recipe(name: str) -> dict[str, Any]:
    """The keys that a recipe sets; the groups that it chooses are left out."""
    plain: dict[str, Any] = yaml.safe_load(
        (package_folder("conf") / "recipe" / f"{name}.yaml").read_text()
    )
    return {key: value for key, value in plain.items() if key != "defaults"}


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_a_valid_configuration(name: str) -> None:
    spec = study(name)
    assert spec.name == name
    assert spec.question
    composer = Composer(spec)
    seen: dict[str, set[str]] = {knob: set() for knob in spec.space.names}
    for params in spec.space.corners() if spec.searched else spec.space.grid():
        new = [knob for knob, value in params.items() if repr(value) not in seen[knob]]
        if not new:
            continue  # each value once: composing every cell would take minutes
        for knob in new:
            seen[knob].add(repr(params[knob]))
        loaded = composer.load(spec.overrides_of(params))
        assert loaded.study == name
        plain = config_to_dict(loaded)
        for knob, value in params.items():
            if knob == "recipe":  # sets other keys, unless the cell itself does
                for key, own in flat(_recipe(value)).items():
                    if key not in params and key.split(".")[0] not in params:
                        assert flat(plain)[key] == own, key
                continue
            node: Any = plain
            for part in knob.split("."):
                node = node[part]
            several = isinstance(value, list | tuple)  # chained augmentations
            if isinstance(node, dict):
                node = list(node["chain"]) if several else node.get("name") or node.get("kind")
            assert node == (list(value) if several else value), knob


def test_table1_is_the_published_grid_with_three_seeds() -> None:
    spec = study("table1")
    cells = spec.space.grid()
    assert len(cells) == 18
    assert {tuple(cell.values()) for cell in cells} == {
        (model, lr, batch)
        for model in ("resnet18", "resnet50")
        for lr in (0.001, 0.003, 0.005)
        for batch in (8, 16, 32)
    }
    assert spec.seeds == (0, 1, 2)
    assert spec.named_cells == {"baseline": {"lr": 0.001, "batch_size": 32}}
    assert spec.base["max_epochs"] == 15
    assert (spec.pruner, spec.first_rung) == ("none", 6)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("hydra.sweeper.first_rung=-3", "first_rung=-3: give 1 or more epochs"),
        (
            "monitor=[val/rmse_m,cost/seconds]",
            "monitor=[val/rmse_m,cost/seconds]: a pruner judges runs by one aim; give one, or "
            "hydra.sweeper.pruner=none",
        ),
        ("monitor=val/within_25m", "more is better; give hydra.sweeper.direction=maximize"),
        ("+hydra.sweeper.select.aggregate=best", "select.aggregate=best: give one of"),
    ],
)
def test_what_a_search_cannot_do_is_said_before_anything_runs(more: str, said: str) -> None:
    with pytest.raises(BadInput, match=re.escape(said)):
        study("tpe_hyperband", more)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["hydra.sweeper.margin_m=-1"], "margin_m=-1.0: give metres, 0 or more"),
        (["hydra.sweeper.margin_m=nan"], "margin_m=nan: give metres, 0 or more"),
        (["hydra.sweeper.give_up_below=1"], "give_up_below=1.0: give a probability"),
        (["hydra.sweeper.direction=maximize"], "a race looks for the lowest error"),
        (
            ["monitor=[val/rmse_m,cost/seconds]"],
            "monitor=[val/rmse_m,cost/seconds]: a race compares its cells by one aim; mark it with "
            "+hydra.sweeper.select.by=val/rmse_m",
        ),
        (["monitor=val/mean_m"], "monitor=val/mean_m: a race compares squared errors"),
        (["hydra.sweeper.seeds=[]"], "seeds=[]: a race gives more seeds to the cells in doubt"),
        (["seed=3"], "seeds=[]: a race gives more seeds to the cells in doubt"),
        (["model=resnet18", "lr=0.001", "batch_size=8"], "sampler=race: there is one cell"),
        (
            ["hydra.sweeper.params.lr='interval(0.001,0.01)'"],
            "n_trials: a race over an interval needs a number",
        ),
        (["hydra.sweeper.sampler=grid", "hydra.sweeper.margin_m=3"], "only a race has a margin"),
        (["hydra.sweeper.require=['lr > 1']"], "none of the 18 cells meets lr > 1; loosen it"),
    ],
)
def test_what_a_race_cannot_do_is_said_before_anything_runs(more: list[str], said: str) -> None:
    with pytest.raises(BadInput, match=re.escape(said)):
        study("table1_race", *more)


def test_race_with_several_aims_compares_the_one_that_is_marked() -> None:
    aims = ("monitor=[val/rmse_m,cost/seconds]", "+hydra.sweeper.select.by=val/rmse_m")
    race = study("table1_race", *aims)
    assert race.monitor == "val/rmse_m"
    assert race.aims == {"val/rmse_m": "minimize", "cost/seconds": "minimize"}


@pytest.mark.parametrize("plus", ["", "+"])
def test_confirmation_and_budget_are_given_on_the_command_line(plus: str) -> None:
    more = (f"{plus}hydra.sweeper.confirm={{top:2}}", f"{plus}hydra.sweeper.budget={{runs:40}}")
    spec = study("tpe_hyperband", *more)
    assert spec.confirm == Confirm(top=2, seeds=5)
    assert spec.budget == Budget(runs=40)


def test_search_takes_seeds_constraints_and_older_studies() -> None:
    spec = study(
        "tpe_hyperband", "hydra.sweeper.seeds=[0,1]", "hydra.sweeper.warm_start=table1",
        "hydra.sweeper.require='lr < 1'",
    )  # fmt: skip
    assert (spec.seeds, spec.warm_start, spec.space.require) == ((0, 1), ("table1",), ("lr < 1",))
    assert spec.repeated


def test_table1_race_has_the_cells_of_table1() -> None:
    race = study("table1_race")
    assert race.space.grid() == study("table1").space.grid()
    assert race.seeds == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("knob", ["threads", "logger", "logger.project", "runs.root", "study"])
def test_what_cannot_change_a_result_is_no_knob(knob: str) -> None:
    with pytest.raises(BadInput, match=f"{knob}: cannot change a result"):
        _check_knobs(["lr", knob])


def test_two_studies_at_a_time_are_refused() -> None:
    with pytest.raises(BadInput, match="sweeps: one study at a time; give one name, sweeps=NAME"):
        _check_knobs(["sweeps"])


def test_where_a_source_of_ones_own_finds_its_photos_is_no_part_of_the_study() -> None:
    own = "+data._target_=mine.Source"
    here, there = (study("table1_quick", own, f"+data.table={place}") for place in ("a", "b"))
    assert here.base == there.base
    assert here.overrides != there.overrides


@pytest.mark.parametrize("reference", ["${lr}", "${..lr}"])
def test_what_refers_to_a_varied_knob_is_no_part_of_the_base_configuration(reference: str) -> None:
    decay = f"optimizer.weight_decay={reference}"
    one, other = (study("table1", decay, f"lr={rate}") for rate in (0.1, 0.2))
    assert one.base["optimizer"]["weight_decay"] == reference
    assert one.base == other.base


def test_a_seed_that_refers_to_another_key_is_refused() -> None:
    with pytest.raises(BadInput, match=r"seed: refers to another key.*seeds="):
        study("table1", "seed=${batch_size}")
    assert study("table1", "split.seed=${seed}").seeds == (0, 1, 2)


def test_studies_begun_before_go_on() -> None:
    """A published record, made by another version of this code."""
    path = Path(__file__).parents[2] / "results" / "scaling_rule" / "study.json"
    begun = flat(json.loads(path.read_text())["base_config"])
    now = flat(json.loads(json.dumps(study("scaling_rule", "weights=none").base)))
    assert begun == {key: value for key, value in now.items() if key in begun}
    assert (
        adhoc_name({"lr": 0.1}, Composer(study("lr_decay")).load(["weights=none"]))
        == "adhoc-6d77d735"
    )


def test_scaling_rule_follows_its_rules_and_matches_steps() -> None:
    spec = study("scaling_rule")
    by_name = spec.named_cells
    for name, cell in by_name.items():
        k = cell["batch_size"] / 32
        factor = {"reference": 1.0, "lr fixed": 1.0, "lr x k": k, "lr x sqrt(k)": math.sqrt(k)}
        assert cell["lr"] == pytest.approx(0.001 * factor[name.split(",")[0]], rel=1e-3)
        steps = math.ceil(681 / cell["batch_size"]) * cell["max_epochs"]
        if name.endswith("equal steps"):
            assert steps == pytest.approx(528, rel=0.03)
            assert cell["scheduler.step_size"] == pytest.approx(cell["max_epochs"] / 3, abs=0.5)
        else:
            assert (cell["max_epochs"], cell["scheduler.step_size"]) == (15, 5)
    assert len(by_name) == 26
    assert {cell["optimizer"] for cell in spec.space.grid()} == {"sgd", "adam"}


def test_smaller_training_parts_get_as_many_steps_as_the_study() -> None:
    for name, cell in study("depth_vs_data").named_cells.items():
        photos = cell["split.n_train"]
        assert name == f"{photos} photos"
        if photos <= 681:
            assert photos * cell["max_epochs"] == pytest.approx(681 * 15, rel=0.01)


def test_search_space_holds_table1s_cells_and_weight_decay_only_for_adamw() -> None:
    spec = study("tpe_hyperband")
    axes = {axis.name: axis for axis in spec.space.axes}
    assert {"resnet18", "resnet50"} <= set(axes["model"].values)
    assert axes["lr"].log
    assert axes["lr"].interval == (0.0001, 0.01)
    assert {8, 16, 32} <= set(axes["batch_size"].values)
    decay = "optimizer.weight_decay"
    assert spec.space.active(decay, {"optimizer": "adamw"})
    assert not spec.space.active(decay, {"optimizer": "adam"})
    assert spec.kind == "tpe"
    assert spec.first_rung == 6  # after the scheduler's first drop, at 5


def test_command_line_narrows_a_study_without_leaving_it() -> None:
    narrow, full = study("table1", "model=resnet18", "hydra.sweeper.seeds=[0]"), study("table1")
    assert narrow.name == "table1"
    assert len(narrow.space.grid()) == 9
    assert narrow.seeds == (0,)
    assert narrow.base == full.base
    assert study("table1", "seed=2").seeds == (2,)
    assert full.seeds == (0, 1, 2)


def test_workers_compose_what_the_engine_composes(tmp_path: Path) -> None:
    spec = study("lr_decay")
    assert Path(spec.config_dir) == package_folder("conf")
    assert spec.config_name == "train"
    assert Spec.from_dict(spec.to_dict()) == spec


def test_a_password_stays_out_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "hydra.sweeper.storage=postgresql://me:secret@db/x"
    monkeypatch.setattr(sys, "argv", ["train", "-m", url, "lr=0.1,0.2"])
    spec = study("table1")
    assert "secret" not in str(spec.to_dict())
    assert "postgresql://me:***@db/x" in spec.command


def test_hydra_finds_the_sweeper_without_loading_optuna_or_torch() -> None:
    code = (
        "import sys, hydra_plugins.img2gps_sweeper\n"
        "print([m for m in ('optuna', 'torch', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hydra_1_4_finds_the_sweeper_by_its_entry_point() -> None:
    from hydra_plugins.img2gps_sweeper import StudySweeper

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (target,) = project["entry-points"]["hydra.plugins"].values()
    assert pkgutil.resolve_name(target) is StudySweeper
