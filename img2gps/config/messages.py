"""One line, with key, value and remedy, out of the errors of Hydra and OmegaConf."""

from __future__ import annotations

import difflib
import re
import shlex

import yaml

from img2gps.core.paths import package_folder

_TYPES = {
    "Float": "a number",
    "Integer": "a whole number",
    "Int": "a whole number",
    "Boolean": "true or false",
    "Bool": "true or false",
    "Str": "a text",
}


def describe(error: Exception) -> str:
    """One line (key, value, remedy) out of an error of Hydra's or OmegaConf's."""
    text = str(error)
    if (override := getattr(error, "override", None)) is not None:
        return _not_parsed(str(override))
    if text.startswith("Error merging override") and isinstance(error.__cause__, Exception):
        return describe(error.__cause__)
    if several := _first(r"(?:Ambiguous value for argument|Sweep parameters) '(.*)'", text):
        return (
            f"{several}: several values need -m: python -m img2gps.train -m "
            f"{shlex.quote(several)}; one value with commas is a list, KEY=[A,B], or a text quoted "
            "twice, 'KEY=\"A,B\"'"
        )
    if present := _first(r"(?:already at|[Mm]ultiple values for) '?([\w./]+\w)", text):
        return f"{present}: is there already; write {present}=VALUE once, without a +"
    if gone := _first(r"Could not delete from config. '([^']+)' does not exist", text):
        return _unknown(gone)
    key = getattr(error, "full_key", None) or _first(r"full_key: (\S+)", text) or ""
    first = text.strip().splitlines()[0].strip() if text.strip() else type(error).__name__
    missing = _first(r"Missing mandatory value: (\S+)", text)
    if missing := missing or (key if "missing mandatory value" in text else ""):
        return f"{missing}: has no value; give {missing}=VALUE"
    if wrong := re.search(r"Value '(.*)' is not a valid (\w+)", text):
        return f"{key}={wrong[1]}: not {_TYPES.get(wrong[2].capitalize(), wrong[2])}"
    if wrong := re.search(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", text):
        return f"{key}={wrong[1]}: not {_TYPES.get(wrong[2], wrong[2])}"
    # Python names the two types in the order in which any code of the process first did.
    if wrong := re.search(r"Value '(.*)' of type '\w+' is incompatible .*Union\[(int|float)", text):
        return f"{key}={wrong[1]}: not a number"
    if "is not a ListConfig" in text:
        return f"{key}: not a list; write {key}=[VALUE,VALUE]"
    if source := _first(r"Interpolation key '([^']+)' not found", text):
        return f"{key}: refers to ${{{source}}}, and there is no such key; name one that is"
    if choice := re.search(r"Invalid value '(.*)', expected one of \[(.*)\]", text):
        return f"{key}={choice[1]}: no such choice; one of: {choice[2]}"
    if null := _first(r"Incompatible value 'None' for field of type '(\w+)'", text):
        return f"{key}=null: needs {_TYPES.get(null.capitalize(), null)}"
    if unknown := _first(r"Could not override '([^']+)'", text):
        return _unknown(unknown)
    if unknown := _first(r"Key '([^']+)' (?:is )?not in '?\w+'?", text):
        return _unknown(key or unknown)
    if choice := re.search(r"Could not find '([^']+)'", text):
        group, _, option = choice[1].rpartition("/")
        available = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE)
        return f"{group or option}={option}: no such choice; one of: {', '.join(available)}"
    return f"{key}: {first}" if key and key not in first else " ".join(first.split())


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


def _not_parsed(override: str) -> str:
    """What is wrong with an argument that is not in Hydra's grammar."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        return f"{override or repr('')}: not an override; write KEY=VALUE, such as lr=0.001"
    if function := _first(r"^(choice|range|interval|glob|sort|shuffle|tag|int|float)\(", value):
        return (
            f"{override}: {function}(...) cannot be read so; write choice(A,B), range(1,4) or "
            "interval(0.001,0.1), with numbers in the latter two and every bracket closed"
        )
    from hydra.core.override_parser.types import Quote, QuotedString

    twice = shlex.quote(f"{key}={QuotedString(value, Quote.double).with_quotes()}")
    return f"{override}: no readable value; one with special characters is quoted twice: {twice}"


def _unknown(key: str) -> str:
    """A key that is not there: of another choice of its group, or mistyped."""
    group, _, name = key.partition(".")
    if group == "metrics":
        name = name.partition(".")[0]
        return f"{key}: no such metric; add it: +metrics.{name}._target_=package.function"
    if name and (choices := _choices_with(group, name)):
        told = " or ".join(f"{group}={choice}" for choice in choices)
        return f"{key}: no key of the chosen {group}; it belongs to {told}"
    close = [known for known in difflib.get_close_matches(key, _keys(), n=2) if known != key]
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{key}: no such key{meant}; see --cfg job for all keys"


def _choices_with(group: str, name: str) -> list[str]:
    """The shipped choices of a group whose files have the key."""
    files = sorted((package_folder("conf") / group).glob("*.yaml"))
    return [path.stem for path in files if name in yaml.safe_load(path.read_text(encoding="utf-8"))]


def _keys() -> list[str]:
    """Every key of conf/: those of its root, its groups, and what is in their files."""
    conf = package_folder("conf")
    known = list(yaml.safe_load((conf / "train.yaml").read_text(encoding="utf-8")))
    for path in sorted(conf.glob("*/*.yaml")):
        group = path.parent.name
        inner = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        known += [group, *(f"{group}.{name}" for name in inner)]
    return [name for name in known if name.partition(".")[0] not in ("defaults", "hydra")]
