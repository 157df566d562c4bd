"""The text of `python -m img2gps.train --help`, and checks of the order of its arguments.

Hydra's own help parses every file of every group again for each of them, which takes seconds.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from img2gps.config.messages import groups, known_keys
from img2gps.core.errors import BadInput
from img2gps.core.paths import package_folder

USAGE = """\
Train and validate a model on photos with positions; with -m run a study of many such runs.

  python -m img2gps.train model=resnet18 lr=0.001
  python -m img2gps.train data=photos data.root=DIR
  python -m img2gps.train -m model=resnet18,resnet50 lr=0.001,0.003 batch_size=8,16
  python -m img2gps.train -m sweeps=table1

--cfg job shows the whole configuration of a command line; --hydra-help describes the rest. Options
come first. A value with special characters is quoted twice: 'data.root="/x/Münster (2)"'.

Groups, given as GROUP=CHOICE; --cfg job --package GROUP shows what is in one
{groups}

Knobs, given as KEY=VALUE, with their defaults
{knobs}
"""


def text() -> str:
    """Return examples, groups with their choices, and the root knobs with their comments."""
    choices = "\n".join(f"  {name} = {' | '.join(found)}" for name, found in _choices().items())
    _defaults, *blocks = (package_folder("conf") / "train.yaml").read_text("utf-8").split("\n\n")
    wanted = [block for block in blocks if not block.startswith("hydra:")]
    knobs = "\n".join(f"  {line}".rstrip() for line in "\n\n".join(wanted).splitlines())
    return USAGE.format(groups=choices, knobs=knobs)


def words() -> list[str]:
    """Return what may be typed: `GROUP=CHOICE` for every choice, and `KEY=` for every knob."""
    choices = _choices()
    chosen = [f"{group}={choice}" for group, found in choices.items() for choice in found]
    return [*chosen, *(f"{key}=" for key in dict.fromkeys(known_keys()) if key not in choices)]


def check_order(arguments: Sequence[str]) -> None:
    """Refuse an option between overrides, because argparse would reject what follows it.

    Raises:
        BadInput: an option is misplaced; the message has the right command line.
    """
    given = [i for i, argument in enumerate(arguments) if _is_override(argument)]
    options = [i for i, argument in enumerate(arguments) if argument.startswith("-")]
    between = [i for i in options if given and given[0] < i < given[-1]]
    if not between:
        return
    first = next(i for i in given if i > between[0])  # a word in between is the option's value
    moved = [*arguments[between[0] : first], *arguments[: between[0]], *arguments[first:]]
    raise BadInput(
        f"{arguments[between[0]]}: comes before all KEY=VALUE; write "
        f"python -m img2gps.train {shlex.join(moved)}"
    )


def group_of(arguments: Sequence[str]) -> str | None:
    """Return the override that Hydra rejects as a choice of a group, such as `model=3` or `=3`."""
    known = [*groups(), "sweeps", ""]
    given = [a for a in arguments if a.lstrip("+").partition("=")[0] in known]
    named = re.compile(r"[^=]+=(?!null$)[A-Za-z_][\w,-]*")
    return next(iter([a for a in given if not named.fullmatch(a)] or given), None)


def _is_override(argument: str) -> bool:
    return argument.startswith("~") or (not argument.startswith("-") and "=" in argument)


def _choices() -> dict[str, list[str]]:
    """Return the choices of every group."""
    folders = {group: package_folder("conf") / group for group in groups()}
    folders["sweeps"] = package_folder("sweeps")
    return {
        name: sorted(path.stem for path in folder.glob("*.yaml"))
        for name, folder in folders.items()
    }
