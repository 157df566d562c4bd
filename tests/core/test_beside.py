"""Work that another thread does while a block lasts."""

from __future__ import annotations

import threading

import pytest

from img2gps.core.beside import beside


def test_work_goes_on_while_the_block_lasts_and_has_ended_after_it() -> None:
    done: list[str] = []
    begun = threading.Event()

    def work(ended: threading.Event) -> None:
        begun.set()
        assert ended.wait(10)
        done.append("ended")

    with beside(work, "a name"):
        assert begun.wait(10)
        assert "a name" in [thread.name for thread in threading.enumerate()]
        assert not done
    assert done == ["ended"]


def test_work_ends_too_where_the_block_fails() -> None:
    done: list[str] = []

    def work(ended: threading.Event) -> None:
        assert ended.wait(10)
        done.append("ended")

    with pytest.raises(ValueError, match="failed"), beside(work, "a name"):
        raise ValueError("failed")
    assert done == ["ended"]
