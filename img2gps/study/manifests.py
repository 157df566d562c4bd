"""What the manifests of workers on other machines have in common."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from img2gps.core.errors import BadInput
from img2gps.core.files import write_bytes_atomic
from img2gps.core.stores import url_of

STORE_VARIABLES = "AWS_"  # beginning of the names of those that tell how to reach a store
LONGEST_NAME = 24  # of a study in a name that Kubernetes accepts, which has at most 63 characters


def check_ledger(url: str) -> None:
    """Refuse a ledger that workers on other machines cannot reach.

    Raises:
        BadInput: the ledger is a file.
    """
    if "://" not in url or url.startswith("sqlite"):
        raise BadInput(
            "hydra.sweeper.storage: is a file, which workers on other machines cannot open; give "
            "a database, hydra.sweeper.storage=postgresql://USER@HOST/DATABASE"
        )


def check_shared(root: Path, volume: str | None) -> None:
    """Refuse a folder of runs that workers on other machines do not see.

    Raises:
        BadInput: it is neither a store nor in the folder at which workers mount a volume.
    """
    if url_of(root) is not None:
        return
    if not volume:
        raise BadInput(
            "hydra.sweeper.launcher.volume: is needed, because workers share the folder of runs; "
            "give volume: NAME, or keep the runs in a store, runs.root=s3://BUCKET/FOLDER"
        )
    here = shared_folder()
    if not root.resolve().is_relative_to(here):
        raise BadInput(
            f"runs.root={root}: is outside the current folder {here}, in which workers mount "
            "their volume; start the study in a folder that holds the photos and the runs"
        )


def shared_folder() -> Path:
    """Return the folder at which workers mount their volume: the current one.

    Every path below it then means the same on all machines.
    """
    return Path.cwd()


def store_variables(root: Path) -> list[str]:
    """Return the names of the environment variables that workers need to reach a store."""
    if url_of(root) is None:
        return []
    return sorted(name for name in os.environ if name.startswith(STORE_VARIABLES))


def plain_name(study: str) -> str:
    """Return the study's name in lower-case letters, digits and hyphens.

    >>> plain_name("Lr & batch_size")
    'lr-batch-size'
    """
    return re.sub("[^a-z0-9]+", "-", study.lower())[:LONGEST_NAME].strip("-") or "study"


def label(study: str) -> str:
    """Return what all workers of a study are labelled with, and those of no other study."""
    return f"{plain_name(study)}-{hashlib.sha256(study.encode()).hexdigest()[:6]}"


def unique_name(study: str) -> str:
    """Return a name for the workers that are submitted now."""
    return f"img2gps-{label(study)}-{time.strftime('%m%d-%H%M%S', time.gmtime())}"


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice, so that people can edit one of them."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return that nothing becomes a reference."""
        return True


def write(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest as YAML."""
    text = yaml.dump(manifest, Dumper=_Plain, sort_keys=False, width=100)
    write_bytes_atomic(path, text.encode())
