"""The model card: what the model is, its errors, its training data and its limits."""

from __future__ import annotations

from img2gps import __version__
from img2gps.inference.card import Card, Expected
from img2gps.inference.find import MADE_BY

NO_PHOTO = "It holds no training photo, thumbnail, file name, path or EXIF."
PRIVACY = (
    f"{NO_PHOTO} Its weights and the "
    "mean training position say where the photos were taken, and a model can repeat what it has "
    "seen: do not publish one that was trained on photos of places that must stay private."
)


def model_card(card: Card, usage: str, checked_m: float | None = None) -> str:
    """Return the card as Markdown.

    Args:
        card: what is known of the model.
        usage: how the files of this export are used, as Markdown.
        checked_m: how far the reloaded export answered from the model itself.
    """
    sections = [
        f"# {card.title}",
        _summary(card),
        "## How to use it",
        usage,
        "## How far off it is",
        *_errors(card),
        "## What it was trained on",
        _data(card),
        "## Limits",
        *_limits(card),
        "## Privacy",
        PRIVACY,
        "## Where it comes from",
        _origin(card, checked_m),
    ]
    return "\n\n".join(sections) + "\n"


def _summary(card: Card) -> str:
    names = ", ".join(dict.fromkeys(model.name for model in card.models))
    members = f"the average of {len(card.models)} networks" if len(card.models) > 1 else "a network"
    return (
        f"A photo goes in, latitude and longitude come out. The model is {members} ({names}) that "
        f"looks at the photo squashed to {card.image_size} x {card.image_size} pixels."
    )


def _errors(card: Card) -> list[str]:
    expected = card.expected
    if expected is None:
        return ["No honest figure is known: no photo was held out."]
    interval = _interval(expected)
    rows = [
        f"| RMSE | {expected.rmse_m:.1f} m{interval} |",
        f"| median error | {expected.median_m:.1f} m |",
    ]
    for name, value in (
        ("RMSE near training photos", expected.known_spots_rmse_m),
        ("RMSE on new spots", expected.new_spots_rmse_m),
        ("RMSE of always answering the mean position", expected.mean_predictor_rmse_m),
    ):
        if value is not None:
            rows.append(f"| {name} | {value:.1f} m |")
    for name, rmse in card.baselines.items():
        if name != "mean":
            rows.append(f"| RMSE of {name} on frozen features, without training | {rmse:.1f} m |")
    table = "\n".join([f"| on {expected.n_photos} {expected.what} | |", "|---|---|", *rows])
    return [table, *_flattery(expected)]


def _flattery(expected: Expected) -> list[str]:
    if not expected.flattered:
        return []
    return [
        f"These photos also chose the model among {expected.ranked_cells} cells, which flatters "
        "its figures."
    ]


def _interval(expected: Expected) -> str:
    if expected.low_m is None or expected.high_m is None:
        return ""
    return f" (95 % interval {expected.low_m:.1f} to {expected.high_m:.1f} m)"


def _data(card: Card) -> str:
    data = card.data
    made = ", which is synthetic: no camera ever saw it" if card.synthetic else ""
    photos = f"{data.get('n_train')} photos"
    if len(card.runs) > 1 and str(data.get("split")).endswith("kfold"):
        photos = f"About {photos} for each of its {len(card.runs)} networks, other ones for each,"
    return (
        f"{photos} of the data set {data.get('name')}{made} (fingerprint "
        f"`{data.get('fingerprint')}`). The network started from {_start(card.weights)}."
    )


def _start(weights: str) -> str:
    known = {"imagenet": "ImageNet weights", "file": "weights from a file"}
    return known.get(weights, "random weights")


def _limits(card: Card) -> list[str]:
    limits = [
        "It answers with a position on the ground that it was trained on for every picture, also "
        "for one from elsewhere.",
        "Its figures hold for photos taken as the training photos were: the same cameras, season "
        "and way of holding them.",
        *card.notes,
    ]
    if card.synthetic:
        limits.insert(0, "Its answers mean nothing for photos of a real place.")
    return ["\n".join(f"- {limit}" for limit in limits)]


def _origin(card: Card, checked_m: float | None) -> str:
    runs = ", ".join(f"`{run}`" for run in card.runs)
    lines = [f"Run {runs}, {MADE_BY} {__version__}."]
    if checked_m is not None:
        lines.append(
            f"The exported files were loaded again and answered within {checked_m:.3f} m of the "
            "model itself."
        )
    return " ".join(lines)
