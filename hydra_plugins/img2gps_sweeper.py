"""The sweeper that Hydra finds: through the entry point of the package, or by its namespace.

Hydra 1.3 searches this namespace for classes that a module itself defines. Hydra 1.4 wants the
entry point `hydra.plugins` that pyproject.toml declares.
"""

from __future__ import annotations

from hydra.core.config_store import ConfigStore

from img2gps.study.options import SweeperConfig
from img2gps.study.sweeper import BaseSweeper


class StudySweeper(BaseSweeper):
    """Runs a study; `img2gps.study.sweeper` has the code."""


ConfigStore.instance().store(
    group="hydra/sweeper", name="img2gps", node=SweeperConfig, provider="img2gps"
)
