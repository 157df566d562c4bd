"""Sending an exported folder to the Hugging Face Hub, only when that is asked for."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from img2gps.core.errors import BadInput

KINDS = {"hub": "model", "app": "space"}  # format to the hub's kind of repository


def push(folder: Path, repository: str, name: str) -> str:
    """Upload an exported folder; return its address.

    Args:
        folder: the exported folder.
        repository: OWNER/NAME at the hub.
        name: its format.

    Raises:
        BadInput: the hub's client is missing, or the hub refuses or cannot be reached.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise BadInput("--push: needs huggingface_hub; pip install huggingface_hub")
    from huggingface_hub import HfApi

    kind = KINDS[name]
    try:
        api = HfApi()
        address = api.create_repo(
            repository,
            repo_type=kind,
            exist_ok=True,
            private=True,
            space_sdk="docker" if kind == "space" else None,
        )
        api.upload_folder(repo_id=repository, folder_path=folder, repo_type=kind)
    except Exception as error:  # of the client, of HTTP or of the network
        reason = " ".join(str(error).split())[:300]
        raise BadInput(
            f"--push {repository}: the hub did not take it ({reason}); log in with hf auth login, "
            f"or upload {folder} yourself"
        ) from error
    return str(address)
