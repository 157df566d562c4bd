"""Backbones, their weights and what is said when those are not available."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from img2gps.config.schema import Family, ModelConfig
from img2gps.core.errors import BadInput
from img2gps.training import model, weights

RESNET18 = ModelConfig("resnet18", Family.resnet, 18)
MOBILENET = ModelConfig("mobilenet_v2", Family.mobilenet, 2)
LITE0 = ModelConfig("efficientnet_lite0", Family.efficientnet_lite, 0)
SCRATCH = weights.ResolvedWeights("none", "none")


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch cache and no way to download."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    weights._imagenet.cache_clear()
    return tmp_path


def test_two_outputs_whatever_the_batch() -> None:
    net = model.build(RESNET18, SCRATCH).eval()
    assert net(torch.zeros(3, 3, 64, 64)).shape == (3, 2)


def test_parameter_count_is_torchvisions_less_the_classifier() -> None:
    # torchvision documents 11,689,512 for ResNet-18, of which 513,000 are the classifier's.
    count = model.count_parameters(model.build(RESNET18, SCRATCH))
    assert count == 11_689_512 - 513_000 + 2 * 512 + 2


def test_flops_are_torchvisions_figure() -> None:
    # torchvision documents 1.814 GFLOPS for ResNet-18, counting a multiply-add as one.
    flops = model.count_flops(model.build(RESNET18, SCRATCH), 224)
    assert flops / 2 == pytest.approx(1.814e9, rel=0.005)


def test_head_stays_float32_where_the_backbone_runs_in_bf16() -> None:
    net = model.build(RESNET18, SCRATCH).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.rand(2, 3, 64, 64)).dtype == torch.float32


@pytest.mark.parametrize(("lite", "millions"), [(0, 4.7), (1, 5.4), (2, 6.1)])
def test_imagenet_weights_come_out_of_the_package_index(lite: int, millions: float) -> None:
    config = ModelConfig(f"efficientnet_lite{lite}", Family.efficientnet_lite, lite)
    found = weights.resolve(config, "imagenet", required=True)
    assert found.resolved == "imagenet"
    assert len(found.sha256) == 64
    net = model.build(config, found)
    classifier = 1280 * 1000 + 1000
    assert model.count_parameters(net.backbone) + classifier == pytest.approx(
        millions * 1e6, rel=0.02
    )
    assert found.path is not None
    saved = torch.load(found.path, weights_only=True)
    first, last = next(iter(saved.values())), list(saved.values())[-3]
    loaded = list(net.backbone.state_dict().values())
    assert torch.equal(loaded[0], first)
    assert torch.equal(loaded[-1], last)  # before the classifier's weight and bias


def test_weights_that_cannot_be_had_are_said_loudly_and_recorded(
    no_weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = weights.resolve(RESNET18, "imagenet")
    assert found.resolved == "random"
    assert "no network" in found.reason
    assert "FROM SCRATCH" in caplog.text
    assert "give model=efficientnet_lite0, or give weights=none if that is meant" in caplog.text
    assert not found.pretrained


def test_required_weights_that_cannot_be_had_are_an_error(no_weights: Path) -> None:
    with pytest.raises(BadInput, match=r"weights=imagenet: no ImageNet weights for resnet18"):
        weights.resolve(RESNET18, "imagenet", required=True)


def test_cached_imagenet_weights_are_used_and_hashed(no_weights: Path) -> None:
    import torchvision

    path = no_weights / "checkpoints" / "resnet18-f37072fd.pth"
    path.parent.mkdir()
    state = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(state, path)
    found = weights.resolve(RESNET18, "imagenet")
    assert (found.resolved, found.path) == ("imagenet", str(path))
    assert torch.equal(
        model.build(RESNET18, found).backbone.state_dict()["conv1.weight"], state["conv1.weight"]
    )


def test_published_lite_weights_are_those_that_run_ids_name() -> None:
    assert weights.resolve(LITE0, "imagenet", required=True).sha256 == (
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    )


@pytest.fixture
def hub(no_weights: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A stand-in for timm's hub; the list has every name that is downloaded from it."""
    timm = pytest.importorskip("timm")
    create, asked = timm.create_model, []

    def download(name: str, *, pretrained: bool = False, **options: Any) -> torch.nn.Module:
        if pretrained:
            asked.append(name)
            torch.manual_seed(0)
        made: torch.nn.Module = create(name, pretrained=False, **options)
        return made

    monkeypatch.setattr(timm, "create_model", download)
    return asked


RESNET10T = ModelConfig("resnet10t", Family.timm)


def test_a_hub_that_cannot_be_reached_is_asked_once(
    no_weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    timm = pytest.importorskip("timm")
    constants = pytest.importorskip("huggingface_hub.constants")
    asked, offline = [], []

    def refuse(address: tuple[str, int], *_: object) -> None:
        asked.append(address)
        raise OSError(101, "Network is unreachable")

    def create(*_: object, **__: object) -> None:
        offline.append(constants.is_offline_mode())
        raise RuntimeError("offline mode is enabled")

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr(timm, "create_model", create)
    with caplog.at_level(logging.INFO):
        found = weights.resolve(RESNET10T, "imagenet")
    assert asked == [("huggingface.co", 443)]
    assert offline == [True]
    assert not constants.is_offline_mode()  # only while it was asked
    assert found.reason == (
        "cannot be downloaded: huggingface.co cannot be reached (Network is unreachable)"
    )
    assert caplog.messages[0].startswith("asking the hub for the weights of resnet10t")


def test_timm_weights_are_made_once_and_no_part_of_them_is_ever_seen(
    hub: list[str], no_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    save = torch.save

    def watch(state: object, path: Path) -> None:
        save(state, path)
        seen.append([file.name for file in (no_weights / "checkpoints").glob("timm*.pth")])

    monkeypatch.setattr(torch, "save", watch)
    first = weights.resolve(RESNET10T, "imagenet")
    weights._imagenet.cache_clear()
    assert weights.resolve(RESNET10T, "imagenet") == first
    assert hub == ["resnet10t"]
    assert seen == [[]]  # while the file is written, it has another name


def test_timm_weights_are_known_by_their_values_however_they_were_saved(
    hub: list[str], no_weights: Path
) -> None:
    first = weights.resolve(RESNET10T, "imagenet")
    assert first.path is not None
    path = Path(first.path)
    state, before = torch.load(path, weights_only=True), path.read_bytes()
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert path.read_bytes() != before
    assert weights.resolve(RESNET10T, "imagenet").sha256 == first.sha256
    assert weights.find_again(first, RESNET10T) == first
    state["conv1.0.weight"][0, 0, 0, 0] += 1
    torch.save(state, path)
    assert weights.find_again(first, RESNET10T) is None


def test_a_study_that_knows_timm_weights_by_their_file_goes_on(
    hub: list[str], no_weights: Path
) -> None:
    found = weights.resolve(RESNET10T, "imagenet")
    assert found.path is not None
    digest = hashlib.sha256(Path(found.path).read_bytes()).hexdigest()
    before = replace(found, sha256=digest)
    assert weights.find_again(before, RESNET10T) == before


def test_fallback_never_shares_an_identity_with_the_real_weights() -> None:
    real = weights.ResolvedWeights("imagenet", "imagenet", sha256="ab")
    fallback = weights.ResolvedWeights("imagenet", "random", "no network")
    assert real.identity() != fallback.identity()
    assert fallback.identity() == SCRATCH.identity()  # the same training


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"layer.weight": torch.zeros(2)}, path)
    found = weights.resolve(RESNET18, str(path))
    with pytest.raises(BadInput, match=r"belongs to another architecture \(120 tensors missing"):
        model.build(RESNET18, found)


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemError('unpickled')",))


def test_pickled_code_in_a_weights_file_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"conv1.weight": _Evil()}))
    with pytest.raises(BadInput, match="not a plain state dict"):
        model.build(RESNET18, weights.resolve(RESNET18, str(path)))


def test_missing_weights_file_is_named() -> None:
    with pytest.raises(BadInput, match=r"weights=nowhere.pth: no such file"):
        weights.resolve(RESNET18, "nowhere.pth")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(BadInput, match=r"model.name=resnet19: no resnet; one of: resnet18"):
        model.build(ModelConfig("resnet19", Family.resnet, 19), SCRATCH)
    with pytest.raises(BadInput, match=r"model.name=nonsense: no model of timm"):
        model.build(ModelConfig("nonsense", Family.timm), SCRATCH)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "lcnet_050", "resnet10t"])
def test_any_timm_model_gives_two_outputs(name: str) -> None:
    config = ModelConfig(name, Family.timm)
    made = model.build(config, SCRATCH).eval()
    assert made(torch.zeros(1, 3, 64, 64)).shape == (1, 2)
    model.check_image_size(config, 64)


def test_a_size_that_a_transformer_cannot_take_is_refused() -> None:
    config = ModelConfig("vit_tiny_patch16_224", Family.timm)
    model.check_image_size(config, 224)
    with pytest.raises(BadInput, match="takes pictures of 224 pixels only; give image_size=224"):
        model.check_image_size(config, 112)


def test_a_cache_that_cannot_be_written_is_no_weights(
    no_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/proc/nowhere")
    found = weights.resolve(ModelConfig("resnet34", Family.resnet), "imagenet")
    assert found.resolved == "random"
    assert "cannot be downloaded" in found.reason


def test_mobilenet_is_torchvisions_less_the_classifier() -> None:
    # torchvision documents 3,504,872 parameters, of which 1,281,000 are the classifier's.
    made = model.build(MOBILENET, SCRATCH)
    assert model.count_parameters(made.backbone) == 3_504_872 - 1_281_000
    assert made.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 2)


def test_weights_of_the_package_index_fit_mobilenet_whatever_their_names(
    no_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    reason = weights.resolve(MOBILENET, "imagenet").reason
    assert "try: img2gps weights fetch mobilenet_v2" in reason
    state = model.build(MOBILENET, SCRATCH).backbone.state_dict()
    renamed = {f"layer{i}": torch.full_like(value, 1) for i, value in enumerate(state.values())}
    path = weights.mobilenet_in_cache()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(renamed, path)
    weights._imagenet.cache_clear()
    found = weights.resolve(MOBILENET, "imagenet", required=True)
    loaded = model.build(MOBILENET, found).backbone.state_dict()
    assert all(bool((value == 1).all()) for value in loaded.values())
