"""What a user types wrong gets one line with key, value and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from img2gps import config as configuration
from img2gps.config import Config, Precision, SplitKind
from img2gps.errors import BadInput
from img2gps.plan import plan
from tests.tiny import tiny_config

CONF = configuration.package_folder("conf")
GROUPS = ("data", "split", "model", "optimizer", "scheduler", "augmentation", "logger")
NEEDS = {
    "data=photos": "data.root=.",
    "data=csv": "data.root=.",
    "data=huggingface": "data.root=.",
    "model=timm": "model.name=resnet18",
}


def compose_plain(*overrides: str) -> Config:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return configuration.load(compose("train", overrides=list(overrides)))


def test_defaults_are_the_studys() -> None:
    config = compose_plain()
    assert (config.lr, config.batch_size, config.val_batch_size) == (0.001, 16, 32)
    assert (config.max_epochs, config.image_size, config.model.name) == (15, 224, "resnet18")
    assert (config.scheduler.step_size, config.scheduler.gamma) == (5, 0.1)
    assert (config.data.n, config.split.n_val, config.split.kind) == (741, 60, SplitKind.random)
    assert config.optimizer.name == "adam"
    assert not config.drop_last


@pytest.mark.parametrize(
    "choice", [f"{g}={p.stem}" for g in GROUPS for p in sorted((CONF / g).glob("*.yaml"))]
)
def test_every_shipped_choice_composes(choice: str) -> None:
    needs = NEEDS.get(choice)
    compose_plain(choice, *([needs] if needs else []))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("lr=0", "lr=0.0: must be above 0"),
        ("lr=-0.1", "lr=-0.1: must be above 0"),
        ("lr=fast", "lr=fast: not a number"),
        ("lr=nan", "lr=nan: must be above 0"),
        ("batch_size=0", "batch_size=0: must be above 0"),
        ("batch_size=1.5", "batch_size=1.5: not a whole number"),
        ("batch_size=null", "batch_size=null: needs a whole number"),
        ("max_epochs=-1", "max_epochs=-1: must be above 0"),
        ("image_size=8", "image_size=8: must lie between 32 and 2048"),
        ("seed=-1", "seed=-1: must lie between 0 and 4294967295"),
        ("precision=fp16", "precision=fp16: no such choice; one of: auto, fp32, bf16"),
        ("split.n_val=1.5", "split.n_val=1.5: give a count or a fraction below 1"),
        ("split.n_val=-3", "split.n_val=-3.0: give a count"),
        ("scheduler.gamma=0", "scheduler.gamma=0.0: must lie in (0, 1]"),
        ("scheduler.step_size=0", "scheduler.step_size=0: must be above 0 epochs"),
        ("study=../elsewhere", "study=../elsewhere: a folder name"),
        ("drop_last=perhaps", "drop_last=perhaps: not true or false"),
        ("data=photos", "data.root: has no value; give data.root=PATH"),
        ("+surprise=1", "surprise: no such key"),
        ("+optimizer.lr=1", "optimizer.lr: no such key"),
        ("threads=0", "threads=0: must lie between 1"),
    ],
)
def test_impossible_value_is_one_line_with_key_value_and_remedy(override: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        compose_plain(override)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("modle=resnet18", "modle: no such key; did you mean model?"),
        ("optimizer.nam=x", "optimizer.nam: no such key; did you mean optimizer.name?"),
        ("model=resnet19", "model=resnet19: no such choice; one of: "),
        (
            "split=byplace",
            "split=byplace: no such choice; one of: kfold, place, place_kfold, random, time",
        ),
    ],
)
def test_hydras_own_errors_become_one_line(override: str, said: str) -> None:
    with pytest.raises(HydraException) as caught:
        compose_plain(override)
    message = configuration.describe(caught.value)
    assert message.startswith(said)
    assert "\n" not in message


def test_missing_folder_is_named(tmp_path: Path) -> None:
    missing = compose_plain("data=photos", f"data.root={tmp_path / 'nowhere'}")
    with pytest.raises(BadInput, match=r"nowhere: no such file or folder; give data.root=PATH"):
        plan(missing)


def test_plain_values_and_back() -> None:
    config = tiny_config("seed=0", "precision=bf16", "split=place", "split.block_m=30")
    assert configuration.from_dict(configuration.to_dict(config)) == config
    assert config.precision is Precision.bf16


def test_saved_config_is_data_and_calls_nothing(tmp_path: Path) -> None:
    plain = configuration.to_dict(tiny_config())
    target = tmp_path / "called"
    plain["model"] = {
        "name": "mine",
        "family": "custom",
        "custom": {"_target_": "pathlib.Path.touch", "self": str(target)},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(plain))
    assert configuration.read(path).model.name == "mine"
    assert not target.exists()


def test_yaml_with_a_python_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("lr: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(BadInput, match=r"not a readable config.yaml"):
        configuration.read(path)


def test_own_class_in_a_group_keeps_its_arguments() -> None:
    config = compose_plain("+model._target_=torch.nn.Identity", "+model.width=3")
    assert config.model.family == "custom"
    assert config.model.custom == {"_target_": "torch.nn.Identity", "width": 3, "depth": 18}
