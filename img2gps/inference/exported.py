"""The folder that holds a whole model: model.json and model.safetensors, nothing to execute.

`model.json` says what the network is and what is known of it; `model.safetensors` has its tensors.
No training photo, name, path or EXIF is in either.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from img2gps.config.heads import HEADS, HeadsConfig
from img2gps.config.schema import Family
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, sha256_of, write_bytes_atomic, write_json
from img2gps.core.geo import LabelScaler
from img2gps.inference.card import Card
from img2gps.inference.deployed import Deployed, Head, is_exportable
from img2gps.inference.find import MODEL
from img2gps.inference.int8 import pack, unpack
from img2gps.inference.network import Member, Network
from img2gps.inference.trust import Trust
from img2gps.training import model
from img2gps.training.heads.build import build_head
from img2gps.training.weights import ResolvedWeights

SCHEMA = 1
TENSORS = "model.safetensors"
_TRUST = "trust."


def write_exported(deployed: Deployed, folder: Path, *, int8: bool = False) -> None:
    """Write a model so that `read_exported` gives it back; `int8` rounds its weights.

    Raises:
        BadInput: an architecture of the user's own, which only its own code can build.
    """
    if not is_exportable(deployed):
        names = ", ".join(one.name for one in deployed.card.models)
        raise BadInput(f"{names}: a model of your own cannot be built from its name; choose onnx")
    own, shared = _each_once(deployed.network.state_dict())
    tensors = {key: value.contiguous() for key, value in own.items()}
    trust = {key: value for key, value in tensors.items() if key.startswith(_TRUST)}
    if int8:  # but for what the answers are judged by
        tensors = pack({key: tensors[key] for key in tensors.keys() - trust.keys()}) | trust
    content = save(tensors)
    write_bytes_atomic(folder / TENSORS, content)
    bf16 = [member.bf16 for member in deployed.network.parts()]
    heads = [{"name": head.name, "knobs": head.own_knobs()} for head in deployed.heads]
    card = deployed.card.to_dict()
    digest = hashlib.sha256(content).hexdigest()
    plain = {"sha256": digest, "bf16": bf16, "heads": heads, "shared": shared, "card": card}
    write_json(folder / MODEL, {"schema": SCHEMA, **plain})


def _each_once(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return every tensor once, and of each further name the name that it is kept under.

    Members with frozen features have their backbone in common.
    """
    first: dict[tuple[object, ...], str] = {}
    shared = {}
    for name, value in tensors.items():
        place = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        if value.numel() and (kept := first.setdefault(place, name)) != name:
            shared[name] = kept
    return {name: value for name, value in tensors.items() if name not in shared}, shared


def read_exported(folder: Path) -> Deployed:
    """Read a model that was exported to a folder.

    Raises:
        BadInput: a file is missing, damaged, or not what `write_exported` writes; or a package
            that the architecture needs is missing.
    """
    plain = read_json(folder / MODEL)
    try:
        if plain is None or plain["schema"] != SCHEMA:
            raise ValueError(f"not of schema {SCHEMA}")
        if plain.get("sha256", digest := sha256_of(folder / TENSORS)) != digest:
            raise ValueError(f"{TENSORS} has changed since it was exported")
        card = Card.from_dict(plain["card"])
        tensors = unpack(load_file(folder / TENSORS))
        tensors |= {name: tensors[kept] for name, kept in plain.get("shared", {}).items()}
        trust = {k.removeprefix(_TRUST): v for k, v in tensors.items() if k.startswith(_TRUST)}
        heads = [_head(one) for one in plain["heads"]]
        members = _members(card, heads, [bool(value) for value in plain["bf16"]])
        network = Network(members, Trust.from_state(trust))
        network.load_state_dict(tensors)
    except (
        *(OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError),
        SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(
            f"{folder}: not an exported model that this version reads ({reason}); export it again"
        ) from error
    return Deployed(network.eval(), card, tuple(heads), exported=folder)


def _head(plain: Mapping[str, Any]) -> Head:
    """Read a head's name and knobs; what they may be is checked as in a configuration."""
    try:
        checked = OmegaConf.merge(OmegaConf.structured(HeadsConfig), plain["knobs"])
        knobs = OmegaConf.to_object(checked)
    except (OmegaConfBaseException, BadInput) as error:
        raise ValueError(f"head: {error}") from error
    assert isinstance(knobs, HeadsConfig)
    head = Head(str(plain["name"]), knobs)
    if unknown := [part for part in head.parts if part not in HEADS]:
        raise ValueError(f"head {unknown[0]}")
    return head


def _members(card: Card, heads: Sequence[Head], bf16: Sequence[bool]) -> list[Member]:
    """Return the architectures with no particular weights."""
    for one in card.models:
        # timm would fetch such a name, and a custom model's code comes from elsewhere.
        if one.family is Family.custom or not re.fullmatch(r"[\w.]+", one.name):
            raise ValueError(f"architecture {one.name}")
    unknown = LabelScaler(0.0, 1.0, 0.0, 1.0)
    none = ResolvedWeights("none", "none")
    with torch.random.fork_rng(devices=[]):  # building draws numbers
        return [
            Member(
                model.build(
                    one,
                    none,
                    partial(build_head, head.name, head.knobs),
                    maps=head.needs_maps,
                ),
                unknown,
                bf16=low,
            )
            for one, head, low in zip(card.models, heads, bf16, strict=True)
        ]
