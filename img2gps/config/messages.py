"""Errors of Hydra and OmegaConf as one line that names the key, the value and the remedy."""

from __future__ import annotations

import difflib
import re
import shlex
from typing import Any, cast

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from img2gps.core.paths import package_folder

SWEEPER, SWEEPER_FILE = "hydra.sweeper.", "hydra/sweeper/img2gps"
_TYPES = {
    "Float": "a number",
    "Integer": "a whole number",
    "Int": "a whole number",
    "Boolean": "true or false",
    "Bool": "true or false",
    "Str": "a text",
}
# A pattern of the library's text, and our line: {key} is the key that the error names, {0} and
# {1} are what the pattern's groups have found.
_LINES = (
    (
        r"(?:Ambiguous value for argument|Sweep parameters) '(.*)'",
        "{0}: several values need -m: python -m img2gps.train -m {quoted}; one value with commas "
        "is a list, KEY=[A,B], or a text quoted twice, 'KEY=\"A,B\"'",
    ),
    (
        r"(?:already at|[Mm]ultiple values for) '?([\w./]+\w)",
        "{0}: exists already; write {0}=VALUE once, without a +",
    ),
    (r"Cannot convert '(?:List|Dict)Config' to string: '(.*)'", "{key}={0}: not a text"),
    (r"Missing mandatory value: (\S+)", "{0}: has no value; give {0}=VALUE"),
    (r"missing mandatory value", "{key}: has no value; give {key}=VALUE"),
    (
        r"Value '(.*)' (?:is not a valid|of type '\w+' could not be converted to) (\w+)",
        "{key}={0}: not {type}",
    ),
    # Python names the two types in the order in which any code of the process first named them.
    (r"Value '(.*)' of type '\w+' is incompatible .*Union\[(int|float)", "{key}={0}: not a number"),
    (r"is not a ListConfig", "{key}: not a list; write {key}=[VALUE,VALUE]"),
    (
        r"Interpolation key '([^']+)' not found",
        "{key}: refers to ${{{0}}}, which does not exist; name a key that does",
    ),
    (r"Invalid value '(.*)', expected one of \[(.*)\]", "{key}={0}: no such choice; one of: {1}"),
    (r"Incompatible value 'None' for field of type '(\w+)'", "{key}=null: needs {type}"),
)


def groups() -> list[str]:
    """Return the groups of the configuration, such as `model`."""
    conf = package_folder("conf")
    return sorted(path.name for path in conf.iterdir() if path.is_dir() and path.name != "hydra")


def describe(error: Exception) -> str:
    """Return what an error of Hydra or OmegaConf means to whoever typed the command."""
    text = str(error)
    if (override := getattr(error, "override", None)) is not None:
        return _unreadable(str(override))
    if text.startswith("Error merging override") and isinstance(error.__cause__, Exception):
        return describe(error.__cause__)
    key = getattr(error, "full_key", None) or _first(r"full_key: (\S+)", text) or ""
    for pattern, line in _LINES:
        if found := re.search(pattern, text):
            given = ["", *found.groups()]
            kind = _TYPES.get(given[-1].capitalize(), given[-1])
            return line.format(*given[1:], key=key, quoted=shlex.quote(given[-1]), type=kind)
    if unknown := _first(r"Could not (?:override|delete from config\.) '([^']+)'", text):
        inside = str(getattr(error.__cause__, "full_key", ""))
        return _unknown(inside if inside.startswith(f"{unknown}.") else unknown)
    if unknown := _first(r"Key '([^']+)' (?:is )?not in '?\w+'?", text):
        return _unknown(key or unknown)
    if choice := _first(r"Could not find '([^']+)'", text):
        group, _, option = choice.rpartition("/")
        available = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE)
        return f"{group or option}={option}: no such choice; one of: {', '.join(available)}"
    first = text.strip().partition("\n")[0].strip() or type(error).__name__
    return f"{key}: {first}" if key and key not in first else " ".join(first.split())


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


def _unreadable(override: str) -> str:
    """Say what is wrong with an argument that Hydra's grammar does not allow."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        return f"{override or repr('')}: not an override; write KEY=VALUE, such as lr=0.001"
    if function := _first(r"^(choice|range|interval|glob|sort|shuffle|tag|int|float)\(", value):
        return (
            f"{override}: {function}(...) cannot be read; write choice(A,B), range(1,4) or "
            "interval(0.001,0.1), with numbers in the latter two and every bracket closed"
        )
    from hydra.core.override_parser.types import Quote, QuotedString

    twice = shlex.quote(f"{key}={QuotedString(value, Quote.double).with_quotes()}")
    return f"{override}: no readable value; quote one with special characters twice: {twice}"


def _unknown(key: str) -> str:
    """Say of a key that does not exist where it belongs, or which key it resembles."""
    group, _, name = key.partition(".")
    if group == "metrics":
        name = name.partition(".")[0]
        return f"{key}: no such metric; add it: +metrics.{name}._target_=package.function"
    choices = _choices(group)
    if choices and name == "_target_":
        return (
            f"{key}: belongs into a file FOLDER/{group}/NAME.yaml; then give --config-dir FOLDER "
            f"{group}=NAME"
        )
    if name and (having := [choice for choice, inner in choices.items() if name in inner]):
        meant = " or ".join(f"{group}={choice}" for choice in having)
        return f"{key}: the chosen {group} has no such key; it belongs to {meant}"
    known_here = _sweeper_keys() if key.startswith(SWEEPER) else known_keys()
    above = key.rpartition(".")[0] + "."
    if key.startswith(SWEEPER) and above != SWEEPER:
        beside = [known.removeprefix(above) for known in known_here if known.startswith(above)]
        if beside:
            return f"{key}: no such key; {above[:-1]} has {', '.join(beside)}"
    close = [known for known in difflib.get_close_matches(key, known_here, n=2) if known != key]
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{key}: no such key{meant}; see --cfg job for all keys"


def _sweeper_keys() -> list[str]:
    """Return the options of a study, which the sweeper has registered with Hydra."""
    registered = ConfigStore.instance().load(f"{SWEEPER_FILE}.yaml").node
    options = cast(dict[str, Any], OmegaConf.to_container(registered))
    inside = [f"{name}.{key}" for name, node in options.items() if isinstance(node, dict)
              for key in node]  # fmt: skip
    return [SWEEPER + name for name in (*options, *inside)]


def _choices(group: str) -> dict[str, list[str]]:
    """Return the keys in the file of each choice of a group."""
    files = sorted((package_folder("conf") / group).glob("*.yaml"))
    return {path.stem: list(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in files}


def known_keys() -> list[str]:
    """Return every key of conf/: those of its root, the groups, and those inside them."""
    conf = package_folder("conf")
    root = yaml.safe_load((conf / "train.yaml").read_text(encoding="utf-8"))
    known = list(root)
    known += [
        f"{key}.{name}" for key, node in root.items() if isinstance(node, dict) for name in node
    ]
    for group in sorted(path.name for path in conf.iterdir() if path.is_dir()):
        inner = (name for choice in _choices(group).values() for name in choice)
        known += [group, *(f"{group}.{name}" for name in inner)]
    return [name for name in known if name.partition(".")[0] not in ("defaults", "hydra")]
