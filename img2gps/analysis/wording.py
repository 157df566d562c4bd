"""The one wording of knobs, cells and intervals, for tables, figures and the terminal alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from img2gps.analysis.stats import Interval

# Knobs whose key is not the common word for them.
KNOB_NAMES = {
    "name": "cell",  # the study's own name for all that a cell sets
    "lr": "learning rate",
    "n_train": "training photos",
    "split.n_train": "training photos",
    "data.n": "photos",
    "max_epochs": "epochs",
    "image_size": "image size (px)",
    "depth": "depth (layers)",
    "optimizer.weight_decay": "weight decay",
}
BY_ITSELF = ("model",)  # knobs whose values need no name beside them


def knob_name(key: str) -> str:
    """Return what a knob is called in a sentence, in a table's head and on an axis.

    >>> knob_name("lr"), knob_name("batch_size"), knob_name("scheduler.step_size")
    ('learning rate', 'batch size', 'scheduler step size')
    """
    return KNOB_NAMES.get(key, key.replace(".", " ").replace("_", " "))


def knob_value(value: object, digits: int = 6) -> str:
    """Return a knob's value as people write it: 0.001 and 16, not 1e-03 and 16.0.

    >>> knob_value(0.001), knob_value(16.0), knob_value(False), knob_value(None)
    ('0.001', '16', 'false', 'null')
    """
    if value is None:
        return "null"
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float | np.floating | int | np.integer):
        return f"{value:.{digits}g}"
    return str(value)


def cell_name(params: Mapping[str, Any], digits: int = 6) -> str:
    """Return a cell in words.

    >>> cell_name({"model": "resnet18", "lr": 0.001, "batch_size": 16, "scheduler": "step"})
    'resnet18, learning rate 0.001, batch size 16, scheduler step'
    """
    return ", ".join(
        knob_value(value) if key in BY_ITSELF else f"{knob_name(key)} {knob_value(value, digits)}"
        for key, value in params.items()
    )


def tenths(value: float, sign: str = "") -> str:
    """Return a number with one decimal, or with up to three that show on which side of 0 it is.

    >>> tenths(61.26), tenths(-0.04), tenths(0.012, "+"), tenths(-0.0)
    ('61.3', '-0.04', '+0.01', '0.0')
    """
    for digits in (1, 2, 3):
        text = f"{value:{sign}.{digits}f}"
        if float(text):
            return text
    return f"{value + 0.0:{sign}.1f}"  # of -0.0, too, the sum is 0.0


def span(interval: Interval, sign: str = "") -> str:
    """Return the ends of an interval in metres, with `sign` + also that of positive ones.

    >>> span(Interval(70.0, 61.26, 80.0, 4.0, 1.0, 3, 45, 60))
    '61.3 to 80.0 m'
    """
    if np.isnan(interval.low):
        return "no interval"
    return f"{tenths(interval.low, sign)} to {tenths(interval.high, sign)} m"


def named_span(interval: Interval, name: str = "95 % interval", sign: str = "") -> str:
    """Return an interval's name with its ends as `span` writes them, or that there is none.

    >>> named_span(Interval(70.0, 61.26, 80.0, 4.0, 1.0, 3, 45, 60))
    '95 % interval 61.3 to 80.0 m'
    >>> named_span(Interval(70.0, np.nan, np.nan, 0.0, 1.0, 3, 1, 8), "paired 95 % interval")
    'no paired 95 % interval'
    >>> named_span(Interval(1.5, -2.0, 5.0, 1.0, 1.0, 3, 45, 60), sign="+")
    '95 % interval -2.0 to +5.0 m'
    """
    return f"no {name}" if np.isnan(interval.low) else f"{name} {span(interval, sign)}"
