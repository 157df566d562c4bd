"""What a race has decided, look by look: recorded with the runs on which each decision was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from img2gps.core.counted import counted


@dataclass(frozen=True)
class Rules:
    """What the user asks of a race.

    Attributes:
        margin_m: differences up to this do not matter.
        give_up_below: the race ends once no cell has this chance of being dropped by all the seeds
            and folds that are left.
    """

    margin_m: float = 0.0
    give_up_below: float = 0.2


@dataclass(frozen=True)
class Drop:
    """A cell that is out of the race.

    Attributes:
        rival: the cell that it is shown to be worse than; "" if a run of its own did not finish.
        difference_m: RMSE of the cell less that of the rival, in metres.
    """

    cell: str
    reason: str
    rival: str = ""
    difference_m: float | None = None


@dataclass(frozen=True)
class Look:
    """One decision of a race. It is never made again.

    Attributes:
        number: of the look, from 1.
        runs: ids of the runs that were judged, by cell.
        rmse_m: RMSE of each cell on its runs so far.
        kept: the cells still in the race, the lowest RMSE first.
        following: keys of the runs that come next.
        seeds: how many seeds a cell could have.
        chance: how likely the seeds and folds that are left are to drop another cell.
        end: why the race has ended; "" if it goes on.
    """

    number: int
    runs: dict[str, list[str]]
    rmse_m: dict[str, float]
    dropped: list[Drop]
    kept: list[str]
    following: list[str]
    seeds: int
    chance: float = 0.0
    end: str = ""
    at: str = ""

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `asdict` returned; keys of other versions are passed over."""
        given = _known(cls, plain)
        return cls(**{**given, "dropped": [Drop(**_known(Drop, d)) for d in plain["dropped"]]})

    def lines(self) -> list[str]:
        """Return the decision in words."""
        runs = counted(sum(map(len, self.runs.values())), "run")
        lines = [f"  dropped {drop.cell}: {drop.reason}" for drop in self.dropped]
        if self.kept and not self.end:
            follow = counted(len(self.following), "run")
            verb = "follows" if len(self.following) == 1 else "follow"
            lines.append(f"  {counted(len(self.kept), 'cell')} left; {follow} {verb}")
        head = f"look {self.number}, {runs} of {counted(len(self.runs), 'cell')}"
        return [f"{head}:" if lines else head, *lines]


@dataclass(frozen=True)
class RaceRecord:
    """A race as far as it has come."""

    margin_m: float = 0.0
    give_up_below: float = 0.0
    looks: list[Look] = field(default_factory=list)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned."""
        looks = [Look.from_dict(look) for look in plain.get("looks", [])]
        return cls(**{**_known(cls, plain), "looks": looks})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @property
    def kept(self) -> list[str]:
        """The cells still in the race, the lowest RMSE first; empty before the first look."""
        return self.looks[-1].kept if self.looks else []

    def lines(self) -> list[str]:
        """Return the whole race in words."""
        if not self.looks:
            return ["race: no look yet"]
        last = self.looks[-1]
        lines = [line for look in self.looks for line in look.lines()]
        if not last.end:
            return [*lines, f"race: still open after look {last.number}{_left(last)}"]
        return [*lines, f"race: ended after look {last.number}: {last.end}{_left(last)}"]


def _left(look: Look) -> str:
    return f"; left: {'; '.join(look.kept)}" if look.kept else ""


def _known(kind: type[Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    names = {item.name for item in fields(kind)}
    return {key: value for key, value in plain.items() if key in names}
