"""A model ready to answer: its network, what is known of it, and where it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from img2gps.analysis.wording import cell_name
from img2gps.config.schema import Family, Precision
from img2gps.core.errors import BadInput
from img2gps.inference.card import Card, Expected, baseline_figures
from img2gps.inference.held_out import HeldOut
from img2gps.inference.network import Member, Network
from img2gps.inference.predict import Predictor
from img2gps.runs.records import RunResult, read_result


@dataclass(frozen=True)
class Deployed:
    """A model ready to answer.

    Attributes:
        network: from uint8 pixels to degrees.
        card: what is known of it.
        folders: the run folders of its members, as far as they are at hand.
        exported: the folder that it was read from, if it was exported.
    """

    network: Network
    card: Card
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
    first = results[0]
    card = Card(
        title=title or f"{first.study}: {cell_name(_knobs(first))}",
        kind="run" if len(folders) == 1 else "average",
        runs=[result.run_id for result in results],
        models=[predictor.config.model for predictor in predictors],
        image_size=sizes[0],
        data={**vars(first.data), "split": first.split.kind},
        weights=first.weights.resolved,
        expected=Expected.measured(errors),
        baselines=baseline_figures(results),
        code=first.code,
    )
    return Deployed(network, card, tuple(folders))


def is_exportable(deployed: Deployed) -> bool:
    """Whether the architecture can be built again from its name, with one linear layer as head."""
    linear = all(isinstance(member.head, nn.Linear) for member in deployed.network.parts())
    return linear and all(model.family is not Family.custom for model in deployed.card.models)


def _result(folder: Path) -> RunResult:
    result = read_result(folder)
    assert result is not None  # Predictor.load has read it
    return result


def _knobs(result: RunResult) -> dict[str, object]:
    shown = ("model", "lr", "batch_size")
    return {key: result.swept[key] for key in shown if key in result.swept}
