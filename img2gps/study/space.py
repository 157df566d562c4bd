"""The space that a study varies: axes, conditions between them, and the cells of a grid.

A *cell* is one point of the space as plain values, `{"model": "resnet18", "lr": 0.001}`. Its id is
the same as a line of overrides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from img2gps.core.errors import BadInput
from img2gps.study.require import check_requirements, meets

Params = dict[str, Any]

PLAIN_TEXT = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/+@-]*")  # Hydra's grammar takes it without quotes
BASE_CELL = "base"  # the cell of a study that varies only the seed
RESERVED_TEXT = frozenset({"true", "false", "null", "nan", "inf"})


@dataclass(frozen=True)
class Axis:
    """One knob: listed `values`, or the interval from `low` to `high` (searched studies only)."""

    name: str
    values: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = False  # whole numbers only
    prefix: str = ""  # Hydra's + or ++, for the override

    @property
    def listed(self) -> bool:
        """Whether the values can be enumerated."""
        return self.low is None or self.high is None

    @property
    def interval(self) -> tuple[float, float]:
        """Return both ends of an axis that is not listed."""
        if self.low is None or self.high is None:
            raise ValueError(f"{self.name} is listed")
        return self.low, self.high


def text_of(value: Any) -> str:
    """Return a value in Hydra's override grammar.

    >>> [text_of(v) for v in (0.001, True, None, "step", "a b", [1, "x"])]
    ['0.001', 'true', 'null', 'step', "'a b'", '[1,x]']
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case list() | tuple():
            return "[" + ",".join(text_of(item) for item in value) + "]"
        case Mapping():
            return "{" + ",".join(f"{k}:{text_of(v)}" for k, v in value.items()) + "}"
    text = str(value)
    if PLAIN_TEXT.fullmatch(text) and text.lower() not in RESERVED_TEXT:
        return text
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.single).with_quotes()


def cell_id(params: Mapping[str, Any]) -> str:
    """Return the cell as one line, such as `model=resnet18,lr=0.001`."""
    return ",".join(f"{key}={text_of(value)}" for key, value in params.items()) or BASE_CELL


@dataclass(frozen=True)
class Space:
    """All axes of a study.

    Attributes:
        cells: points that are not a product; each is crossed with the axes.
        when: conditions under which a knob exists, such as
            `{"optimizer.weight_decay": {"optimizer": ("adamw",)}}`.
        require: constraints that every cell meets, such as `batch_size * lr <= 0.1`.
    """

    axes: tuple[Axis, ...] = ()
    cells: tuple[Params, ...] = ()
    when: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    require: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Return every varied knob, those of the listed cells first."""
        listed = [name for cell in self.cells for name in cell]
        return list(dict.fromkeys([*listed, *(axis.name for axis in self.axes)]))

    def values(self) -> dict[str, list[Any]]:
        """Return the values of each knob in order; of an interval its two ends."""
        found: dict[str, list[Any]] = {name: [] for name in self.names}
        for cell in self.cells:
            for name, value in cell.items():
                if value not in found[name]:
                    found[name].append(value)
        for axis in self.axes:
            found[axis.name] = list(axis.values) if axis.listed else [axis.low, axis.high]
        return found

    def active(self, name: str, params: Mapping[str, Any]) -> bool:
        """Whether a knob exists for these values of the knobs that it depends on."""
        return all(
            other in params and params[other] in allowed
            for other, allowed in self.when.get(name, {}).items()
        )

    def first(self) -> Params:
        """Return one point, to try a configuration with."""
        point = dict(self.cells[0]) if self.cells else {}
        for axis in self.axes:
            low = axis.values[0] if axis.listed else axis.interval[0]
            point[axis.name] = int(low) if axis.whole else low
        point = self.without_inactive(point)
        if not meets(point, self.require) and all(axis.listed for axis in self.axes):
            return self.grid()[0]
        return point

    def corners(self) -> list[Params]:
        """Return points that together have every listed value and both ends of every interval."""
        first = self.first()
        found = [first]
        for cell in self.cells[1:]:
            found.append(self.without_inactive({**first, **cell}))
        for axis in self.axes:
            for value in axis.values if axis.listed else axis.interval:
                whole = int(value) if axis.whole else value
                met = {k: v[0] for k, v in self.when.get(axis.name, {}).items()}
                found.append(self.without_inactive({**first, **met, axis.name: whole}))
        return list({cell_id(point): point for point in found}.values())

    def grid(self) -> list[Params]:
        """Return every cell once that meets the constraints, in the order written.

        Raises:
            BadInput: an axis is an interval, which cannot be enumerated, or no cell is left.
        """
        found = self._every()
        kept = [cell for cell in found if meets(cell, self.require)]
        if found and not kept:
            raise BadInput(
                f"hydra.sweeper.require: none of the {len(found)} cells meets "
                f"{' and '.join(self.require)}; loosen it"
            )
        return kept

    def left_out(self) -> list[str]:
        """Return the cells that do not meet the constraints."""
        if not self.require or not all(axis.listed for axis in self.axes):
            return []
        return [cell_id(cell) for cell in self._every() if not meets(cell, self.require)]

    def _every(self) -> list[Params]:
        for axis in self.axes:
            if not axis.listed:
                raise BadInput(
                    f"{axis.name}: an interval cannot be enumerated; list values, or search it "
                    "with hydra.sweeper.sampler=tpe hydra.sweeper.n_trials=N"
                )
        found: dict[str, Params] = {}
        for listed in self.cells or ({},):
            for params in self._product(listed):
                found.setdefault(cell_id(params), params)
        return list(found.values())

    def _product(self, listed: Params) -> list[Params]:
        """Return a listed cell crossed with the axes, in the order written.

        Axis by axis, because the whole product of axes that exclude each other would be huge.
        """
        points = [dict(listed)]
        for axis in self.by_dependence():
            points = [
                extended
                for point in points
                for extended in (
                    [{**point, axis.name: value} for value in axis.values]
                    if self.active(axis.name, point)
                    else [point]
                )
            ]
        index = {
            axis.name: {text_of(v): i for i, v in enumerate(axis.values)} for axis in self.axes
        }

        def written(point: Params) -> list[int]:
            return [of[text_of(point[name])] if name in point else 0 for name, of in index.items()]

        names = [*listed, *index]
        ordered = sorted(points, key=written)
        return [self.without_inactive({n: p[n] for n in names if n in p}) for p in ordered]

    def without_inactive(self, params: Params) -> Params:
        """Return the point without the knobs whose conditions it does not meet."""
        kept = dict(params)
        while dropped := [name for name in kept if not self.active(name, kept)]:
            for name in dropped:
                del kept[name]
        return kept

    def by_dependence(self) -> list[Axis]:
        """Return the axes, each after those that its conditions name."""
        left, ordered = list(self.axes), list[Axis]()
        drawn = {name for cell in self.cells for name in cell}
        while left:
            ready = [a for a in left if set(self.when.get(a.name, {})) <= drawn]
            ordered += ready  # never empty, because `space` refuses circles
            drawn |= {axis.name for axis in ready}
            left = [axis for axis in left if axis.name not in drawn]
        return ordered

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """Return the point as Hydra overrides, groups before the values inside them."""
        prefix = {axis.name: axis.prefix for axis in self.axes}
        names = sorted(params, key=lambda name: "." in name)
        return [f"{prefix.get(name, '')}{name}={text_of(params[name])}" for name in names]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Space:
        """Read what `to_dict` returned; JSON makes lists of tuples."""
        axes = tuple(Axis(**{**axis, "values": tuple(axis["values"])}) for axis in plain["axes"])
        require = tuple(plain.get("require", ()))
        return cls(axes, tuple(plain["cells"]), _conditions(plain["when"]), require)


def space(
    axes: Iterable[Axis],
    cells: Sequence[Mapping[str, Any]] = (),
    when: Mapping[str, Mapping[str, Any]] | None = None,
    require: Sequence[str] = (),
) -> Space:
    """Return a checked space.

    Raises:
        BadInput: a knob is given twice, or a condition names a knob that is not varied or that
            depends on itself.
    """
    made = Space(
        tuple(axes), tuple(dict(cell) for cell in cells), _conditions(when or {}), tuple(require)
    )
    check_requirements(made.require, made.names)
    twice = {axis.name for axis in made.axes} & {name for cell in made.cells for name in cell}
    if twice:
        raise BadInput(f"{min(twice)}: both in params and in cells; keep one of them")
    for name, conditions in made.when.items():
        for unknown in [n for n in (name, *conditions) if n not in made.names]:
            raise BadInput(
                f"when.{name}: {unknown} is not varied by this study; add it to params, or leave "
                "the condition out"
            )
        if _reaches(name, name, made.when):
            raise BadInput(f"when.{name}: depends on itself; break the circle of conditions")
    return made


def _conditions(when: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, tuple[Any, ...]]]:
    def listed(value: Any) -> tuple[Any, ...]:
        return tuple(value) if isinstance(value, list | tuple) else (value,)

    return {name: {k: listed(v) for k, v in others.items()} for name, others in when.items()}


def _reaches(start: str, goal: str, when: Mapping[str, Mapping[str, Any]]) -> bool:
    seen: set[str] = set()
    left = list(when.get(start, {}))
    while left:
        name = left.pop()
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            left += when.get(name, {})
    return False


def name_of(params: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the study's name for this cell, the one that fixes most of its values; else ""."""
    fitting = [
        name
        for name, wanted in named.items()
        if all(key in params and params[key] == value for key, value in wanted.items())
    ]
    return max(fitting, key=lambda name: len(named[name]), default="")
