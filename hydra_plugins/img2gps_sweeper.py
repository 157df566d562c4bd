"""Where Hydra finds the sweeper: it takes only classes that a module of this namespace defines."""

from __future__ import annotations

from hydra.core.config_store import ConfigStore

from img2gps.study.sweeper import BaseSweeper, SweeperConfig


class StudySweeper(BaseSweeper):
    """Runs a study; everything is in `img2gps.study.sweeper`."""


ConfigStore.instance().store(
    group="hydra/sweeper", name="img2gps", node=SweeperConfig, provider="img2gps"
)
