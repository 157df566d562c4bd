"""What a user types wrong gets one line with key, value and remedy."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torchvision
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from img2gps.config import messages, usage
from img2gps.config.compose import config_from_dict, config_to_dict, load_config, read_config
from img2gps.config.schema import EPOCH_METRICS, MODEL_NAMES, Config, Family, Precision, SplitKind
from img2gps.core.errors import BadInput
from img2gps.core.paths import package_folder
from img2gps.training import metrics
from tests.helpers.tiny import tiny_config

CONF = package_folder("conf")
GROUPS = ("data", "split", "model", "optimizer", "scheduler", "augmentation", "logger")
NEEDS = {
    "data=photos": "data.root=.",
    "data=csv": "data.root=.",
    "data=huggingface": "data.root=.",
    "model=timm": "model.name=resnet18",
}


def compose_plain(*overrides: str) -> Config:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return load_config(compose("train", overrides=list(overrides)))


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
        ("weights=[a,b]", "weights=['a', 'b']: not a text"),
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
        ("trainer.accelerator=xyz", "trainer.accelerator=xyz: no such choice; one of: auto, cpu,"),
        ("trainer.devices=banana", "trainer.devices=banana: give how many train the run together"),
        ("trainer.devices=0", "trainer.devices=0: give how many train the run together, from 1"),
        ("trainer.devices=[0,1]", "trainer.devices=[0, 1]: give how many train"),
        ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0: give a count"),
        ("trainer.limit_train_batches=-1", "trainer.limit_train_batches=-1: give a count"),
        ("trainer.limit_val_batches=1.5", "trainer.limit_val_batches=1.5: give a count"),
        ("trainer.limit_val_batches=two", "trainer.limit_val_batches=two: not a number"),
        ("optimizer.betas=[0.9]", "optimizer.betas=[0.9]: must be two numbers in [0, 1)"),
        ("optimizer.betas=[0.9,1.0]", "optimizer.betas=[0.9,1.0]: must be two numbers"),
        ("optimizer.betas=0.9", "optimizer.betas: not a list; write optimizer.betas=[VALUE"),
        ("model.name=banana", "model.name=banana: no resnet; one of: resnet18, resnet34"),
        ("model=timm", "model.name: has no value; give model.name=VALUE"),
        ("~lr", "lr: has no value; give lr=VALUE"),
        ("monitor=foo/bar", "monitor=foo/bar: not a metric of an epoch; give one of: train/"),
        ("monitor=[]", "monitor=: not a metric of an epoch"),
        ("monitor=cost/seconds", "monitor=cost/seconds: not a metric of an epoch"),
        ("monitor=[val/rmse_m,cost/euro]", "monitor=cost/euro: not a figure of a run; give one of"),
        ("monitor=[val/rmse_m,val/rmse_m]", "monitor=[val/rmse_m,val/rmse_m]: an aim is"),
        ("monitor=val/nope", "monitor=val/nope: not a metric of an epoch; give one of: train/"),
        ("+metrics.mine=3", "metrics.mine=3: give metrics.mine._target_=package.function"),
        (
            "+metrics.rmse_m._target_=numpy.mean",
            "metrics=rmse_m: a metric of that name exists; give another name",
        ),
        ("trainer.gradient_clip_val=inf", "trainer.gradient_clip_val=inf: must be above 0"),
        ("runs.root='a::b'", "runs.root=a::b: neither a folder nor the URL of a store"),
        ("runs.root='~nobody-here/x'", "runs.root=~nobody-here/x: no such user's home"),
        ("scheduler.warmup_epochs=15", "scheduler.warmup_epochs=15: lr is reached only after"),
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
        ("data.subset=x", "data.subset: the chosen data has no such key; it belongs to data=hug"),
        ("loss._target_=x.y", "loss._target_: belongs into a file FOLDER/loss/NAME.yaml; then"),
        ("metrics.mine=x", "metrics.mine: no such metric; add it: +metrics.mine._target_="),
        ("+lr=1", "lr: exists already; write lr=VALUE once, without a +"),
        ("+model=resnet50", "model: exists already; write model=VALUE once, without a +"),
        ("~modle", "modle: no such key; did you mean model?"),
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
    message = messages.describe(caught.value)
    assert message.startswith(said)
    assert "\n" not in message


def test_plain_values_and_back() -> None:
    config = tiny_config("seed=0", "precision=bf16", "split=place", "split.block_m=30")
    assert config_from_dict(config_to_dict(config)) == config
    assert config.precision is Precision.bf16


@pytest.mark.parametrize(
    "changed",
    [
        ["recipe=accurate", "min_image_size=48", "augmentation=[crop,colour]", "ema=null"],
        ["optimizer=sgd", "seed=3", "weights=none", "precision=bf16", "split=place_kfold"],
        ["data=photos", "data.root=/photos", "model.train=head", "head=knn+ridge"],
        ["+loss._target_=mine.Loss", "+loss.sizes={a: [1, 2], b: null}", "+loss.on=true"],
    ],
)
def test_plain_values_are_those_of_omegaconf(changed: list[str]) -> None:
    config = compose_plain(*changed)
    expected = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert repr(config_to_dict(config)) == repr(expected)


def test_saved_config_is_data_and_calls_nothing(tmp_path: Path) -> None:
    plain = config_to_dict(tiny_config())
    target = tmp_path / "called"
    plain["model"] = {
        "name": "mine",
        "family": "custom",
        "custom": {"_target_": "pathlib.Path.touch", "self": str(target)},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(plain))
    assert read_config(path).model.name == "mine"
    assert not target.exists()


def test_yaml_with_a_python_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("lr: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(BadInput, match=r"not a readable config.yaml"):
        read_config(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"3\n", "no keys in it"),
        (b"study: \xff\n", "can't decode byte"),
        (b"lr: [0.1\n  seed: {", "while parsing a flow"),
        (b"lr: 0.1\n", "has no value"),
        (b"data: 3\n", ""),
    ],
)
def test_saved_config_that_is_none_is_one_line(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"not a readable config.yaml") as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_saved_config_of_a_machine_with_a_gpu_is_read_without_one(tmp_path: Path) -> None:
    plain = config_to_dict(tiny_config())
    plain["trainer"]["accelerator"] = "tpu"
    plain["monitor"] = "val/that_was_removed"
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(plain))
    assert read_config(path).trainer.accelerator == "tpu"


@pytest.mark.parametrize(
    ("given", "meant"), [("1", 1), ("1.0", 1.0), ("2", 2), ("3.0", 3), ("0.5", 0.5), ("null", 1.0)]
)
def test_batch_limits_mean_what_they_mean_to_lightning(given: str, meant: float) -> None:
    config = compose_plain(f"trainer.limit_train_batches={given}").trainer
    trainer = pl.Trainer(
        limit_train_batches=config.limit_train_batches, logger=False, accelerator="cpu",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    assert trainer.limit_train_batches == meant
    assert type(trainer.limit_train_batches) is type(meant)


def test_one_batch_and_all_batches_are_told_apart_after_saving() -> None:
    for given, kind in (("1", int), ("1.0", float)):
        config = compose_plain(f"trainer.limit_val_batches={given}")
        again = config_from_dict(yaml.safe_load(yaml.safe_dump(config_to_dict(config))))
        assert type(again.trainer.limit_val_batches) is kind


def test_batch_limits_stand_in_run_ids_as_before() -> None:
    trainers = [
        asdict(compose_plain(f"trainer.limit_train_batches={n}").trainer) for n in ("2", "2.0")
    ]
    assert [json.dumps(t["limit_train_batches"]) for t in trainers] == ["2.0", "2.0"]
    assert compose_plain().trainer.limit_train_batches is None


def test_monitor_takes_every_figure_of_an_epoch_and_a_users_own() -> None:
    figures = {f"val/{name}" for name in metrics.summarise(np.ones(3))}
    assert set(EPOCH_METRICS) == {"train/mse", "train/rmse_m", "val/mse"} | figures
    own = ("+metrics.mine._target_=numpy.mean", "monitor=val/mine")
    assert compose_plain(*own).monitor == "val/mine"


def test_warm_up_must_leave_an_epoch_at_the_set_lr() -> None:
    assert compose_plain("scheduler.warmup_epochs=2", "max_epochs=3").scheduler.warmup_epochs == 2
    with pytest.raises(BadInput, match=r"warmup_epochs=3: .* max_epochs=3; give fewer"):
        compose_plain("scheduler.warmup_epochs=3", "max_epochs=3")


def test_model_names_are_the_librarys() -> None:
    known = torchvision.models.list_models(module=torchvision.models)
    plain = re.compile(r"(wide_)?resne(x)?t\d+(_\w+)?")
    assert set(MODEL_NAMES[Family.resnet]) == {n for n in known if plain.fullmatch(n)}
    timm = pytest.importorskip("timm")
    assert {f"tf_{name}" for name in MODEL_NAMES[Family.efficientnet_lite]} == set(
        timm.list_models("tf_efficientnet_lite*")
    )


def test_own_class_in_a_group_keeps_its_arguments() -> None:
    config = compose_plain("+model._target_=torch.nn.Identity", "+model.width=3")
    assert config.model.family == "custom"
    assert config.model.custom == {"_target_": "torch.nn.Identity", "width": 3, "depth": 18}


def test_home_stands_for_the_folder_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    chosen = compose_plain("runs.root='~/runs'", "runs.results='~/results'").runs
    assert (chosen.root, chosen.results) == (f"{tmp_path}/runs", f"{tmp_path}/results")


def test_the_override_that_names_no_choice_is_the_one_that_is_blamed() -> None:
    assert usage.group_of(["model=resnet18", "data=null"]) == "data=null"
    assert usage.group_of(["lr=3", "model=3"]) == "model=3"


def test_a_saved_config_looks_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    plain = config_to_dict(compose_plain("data=quad"))
    plain["data"]["name"] = "${oc.env:MY_SECRET}"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))
    with pytest.raises(BadInput, match=r"a reference \$\{...\} in it") as caught:
        read_config(tmp_path / "config.yaml")
    assert "hunter2" not in str(caught.value)
