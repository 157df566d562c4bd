"""Sessions: photos that were taken in one go."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

GAP = timedelta(minutes=30)  # a longer pause starts a new session


def seconds(taken_at: str) -> float:
    """Return a time in seconds since 1970; one without a time zone counts as UTC."""
    moment = datetime.fromisoformat(taken_at)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def sessions(taken_at: Iterable[str]) -> list[str]:
    """Return the session of each photo, named by its first photo's time; "" without a time.

    Moments are compared in UTC if every time has an offset. Otherwise they are compared as the
    camera's clock showed them, because cameras in one place share a time zone.
    """
    texts = list(taken_at)
    moments = {i: datetime.fromisoformat(text) for i, text in enumerate(texts) if text}
    if all(moment.tzinfo for moment in moments.values()):
        clock = {i: moment.astimezone(UTC) for i, moment in moments.items()}
    else:
        clock = {i: moment.replace(tzinfo=UTC) for i, moment in moments.items()}
    names = [""] * len(texts)
    last: datetime | None = None
    name = ""
    for i in sorted(clock, key=lambda i: (clock[i], texts[i])):
        if last is None or clock[i] - last > GAP:
            name = moments[i].strftime("%Y-%m-%d %H:%M:%S")
        names[i], last = name, clock[i]
    return names
