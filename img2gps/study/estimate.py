"""What a study will cost, before anything runs."""

from __future__ import annotations

from img2gps.study.spec import Spec


def report(spec: Spec, workers: int) -> None:
    raise NotImplementedError
