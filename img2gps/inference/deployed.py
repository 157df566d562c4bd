"""A model ready to answer: its network, what is known of it, and where it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from img2gps.analysis.wording import cell_name
from img2gps.config.heads import MAPS_HEADS, SOLVED_HEADS, HeadsConfig
from img2gps.config.schema import DEFAULT_HEAD, Family, Precision
from img2gps.core.errors import BadInput
from img2gps.inference.card import Card, Expected, baseline_figures
from img2gps.inference.held_out import HeldOut
from img2gps.inference.network import Member, Network
from img2gps.inference.predict import Predictor
from img2gps.runs.records import RunResult, read_result

REMEMBERING_HEADS = ("knn", "kernel_ridge", "local_ridge", "match", "metric")
REMEMBERS = (
    "Its head answers by comparing a photo with the training photos, so it holds their features "
    "and positions, though no picture."
)


@dataclass(frozen=True)
class Head:
    """What a member's head is built from: its name, as the knob `head` has it, and its knobs."""

    name: str = DEFAULT_HEAD
    knobs: HeadsConfig = field(default_factory=HeadsConfig)

    @property
    def parts(self) -> tuple[str, ...]:
        """The heads whose answers are averaged; mostly one."""
        return tuple(self.name.split("+"))

    def own_knobs(self) -> dict[str, Any]:
        """Return the knobs of these heads alone, as plain values."""
        used = {*self.parts, "average"} if len(self.parts) > 1 else set(self.parts)
        return {name: knobs for name, knobs in asdict(self.knobs).items() if name in used}

    @property
    def is_solved(self) -> bool:
        """Whether it is computed from the training photos at once."""
        return all(part in SOLVED_HEADS for part in self.parts)

    @property
    def needs_maps(self) -> bool:
        """Whether it reads feature maps beside the features of the whole photo."""
        return any(part in MAPS_HEADS for part in self.parts)

    @property
    def remembers(self) -> bool:
        """Whether it holds features and positions of the training photos."""
        return any(part in REMEMBERING_HEADS for part in self.parts)


@dataclass(frozen=True)
class Deployed:
    """A model ready to answer.

    Attributes:
        network: from uint8 pixels to degrees.
        card: what is known of it.
        heads: of each member.
        folders: the run folders of its members, as far as they are at hand.
        exported: the folder that it was read from, if it was exported.
    """

    network: Network
    card: Card
    heads: tuple[Head, ...]
    folders: tuple[Path, ...] = ()
    exported: Path | None = None


def from_runs(folders: Sequence[Path], errors: HeldOut, *, title: str = "") -> Deployed:
    """Return the average of some finished runs, or the one run.

    Args:
        folders: run folders.
        errors: on photos that they did not learn from.
        title: what the card calls it; by default the study and the cell of the first run.

    Raises:
        BadInput: a folder without weights, runs of different picture sizes, or a model of the
            user's own, which cannot be built from a saved run.
    """
    predictors = [Predictor.load(folder) for folder in folders]
    results = [_result(folder) for folder in folders]
    sizes = sorted({predictor.config.image_size for predictor in predictors})
    if len(sizes) > 1:
        raise BadInput(f"runs with image_size={sizes}: an average takes one size; give other runs")
    members = [
        Member(one.regressor, one.scaler, bf16=one.precision is Precision.bf16)
        for one in predictors
    ]
    network = Network(members).eval()
    heads = tuple(Head(one.config.head, one.config.heads) for one in predictors)
    first = results[0]
    card = Card(
        title=title or f"{first.study}: {cell_name(_knobs(first, heads[0]))}",
        kind="run" if len(folders) == 1 else "average",
        runs=[result.run_id for result in results],
        models=[predictor.config.model for predictor in predictors],
        image_size=sizes[0],
        data={**vars(first.data), "split": first.split.kind},
        weights=first.weights.resolved,
        expected=Expected.measured(errors),
        baselines=baseline_figures(results),
        code=first.code,
        notes=[REMEMBERS] if any(head.remembers for head in heads) else [],
    )
    return Deployed(network, card, heads, tuple(folders))


def is_exportable(deployed: Deployed) -> bool:
    """Whether the architecture can be built again from its name."""
    return all(model.family is not Family.custom for model in deployed.card.models)


def _result(folder: Path) -> RunResult:
    result = read_result(folder)
    assert result is not None  # Predictor.load has read it
    return result


def _knobs(result: RunResult, head: Head) -> dict[str, object]:
    """Return the knobs that name a run; a head that is solved has no learning rate."""
    shown = ("model",) if head.is_solved else ("model", "lr", "batch_size")
    found = {key: result.swept[key] for key in shown if key in result.swept}
    return found if head.name == DEFAULT_HEAD else {**found, "head": head.name}
