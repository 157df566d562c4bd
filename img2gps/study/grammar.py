"""Axes from override lines in Hydra's grammar, such as `lr=0.001,0.003`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType, Sweep
from hydra.errors import HydraException

from img2gps.core.errors import BadInput
from img2gps.study.space import Axis, text_of


def parse_axes(lines: Sequence[str]) -> tuple[list[Axis], list[str]]:
    """Sort overrides into axes (`lr=0.001,0.003`, `lr=interval(1e-4,1e-2)`) and fixed ones.

    A later value for the same knob replaces an earlier one; a line that adds or deletes a key
    (`+key=1`, `~key`) leaves the lines before it as they are. A fixed value for a knob that was
    an axis leaves an axis with that one value, so that a study stays the same study if the
    command line narrows it.

    Raises:
        BadInput: a line is not in Hydra's grammar.
    """
    parser = OverridesParser.create()
    axes: dict[str, Axis] = {}
    fixed: dict[str, str] = {}
    for line in lines:
        try:
            override = parser.parse_override(line)
        except HydraException as error:
            reason = " ".join(str(error).split())
            raise BadInput(f"{line}: not an override ({reason}); write key=value,value") from error
        name = str(override.key_or_group)
        prefix = override.get_key_element().removesuffix(name)
        if override.is_sweep_override():
            if any(isinstance(v, Sweep) for v in getattr(override.value(), "list", ())):
                raise BadInput(f"{line}: a range or an interval stands alone; list its values")
            axes[name] = _axis(name, prefix, override)
            fixed.pop(name, None)
        elif name in axes and not override.is_delete():
            axes[name] = Axis(name, (override.value(),), prefix=prefix)
        else:
            fixed[name if override.type is OverrideType.CHANGE else line] = line
    return list(axes.values()), list(fixed.values())


def _axis(name: str, prefix: str, override: Any) -> Axis:
    if override.is_interval_sweep():
        interval = override.value()
        if not interval.start < interval.end:
            raise BadInput(f"{name}: an interval from {interval.start} to {interval.end} is empty")
        whole = isinstance(interval.start, int) and isinstance(interval.end, int)
        log = "log" in interval.tags
        if log and interval.start <= 0:
            raise BadInput(f"{name}: a log interval must begin above 0, not at {interval.start}")
        return Axis(name, (), interval.start, interval.end, log, whole, prefix)
    parser = OverridesParser.create()
    texts = override.sweep_string_iterator()
    values = tuple(parser.parse_override(f"{name}={text}").value() for text in texts)
    # By their text, because 1, 1.0 and true are equal to Python and different to a knob.
    distinct = {text_of(value): _frozen(value) for value in values}
    return Axis(name, tuple(distinct.values()), prefix=prefix)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def as_lines(params: Mapping[str, Any]) -> Iterator[str]:
    """Return a study file's `params` as override lines; a YAML list becomes a choice."""
    for name, value in params.items():
        if isinstance(value, str):
            yield f"{name}={value}"
        else:
            values = value if isinstance(value, list | tuple) else [value]
            yield f"{name}=choice({','.join(text_of(item) for item in values)})"
