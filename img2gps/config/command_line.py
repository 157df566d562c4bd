"""Hydra around a run: where the configuration is, exit status, one-line errors, signals."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, Protocol

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from img2gps.config import messages, usage
from img2gps.config.compose import HYDRA_DEFAULTS, load_config, register_sweeps
from img2gps.core.errors import BadInput
from img2gps.core.paths import package_folder
from img2gps.core.signals import Interrupted, raise_on_signals, received

if TYPE_CHECKING:
    from img2gps.config.schema import Config


class Ended(Protocol):
    """What a run came to, as far as this module needs it."""

    @property
    def went_wrong(self) -> bool:
        """Whether the run failed or diverged."""

    @property
    def value(self) -> float | None:
        """The monitored metric after the final epoch."""


def main(run: Callable[[Config], Ended]) -> None:
    """Compose the configuration from the command line and run it (or the study, with -m).

    Exit status: 0 done, 1 failed or diverged, 2 bad input, 130 or 143 interrupted.
    """
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(usage.text())  # noqa: T201
        return
    # Without it Hydra prints its own lines and exits with 1 before an error reaches us.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    register_sweeps()

    def task(cfg: DictConfig) -> float | None:
        try:
            return _task(run, cfg)
        except BadInput as error:  # SystemExit passes through Hydra without a word added
            _exit(str(error))
        except Interrupted as error:
            _stopped(error)

    folder = str(package_folder("conf"))
    decorated = hydra.main(config_path=folder, config_name="train", **HYDRA_DEFAULTS)(task)
    raise_on_signals()
    try:
        usage.check_order(sys.argv[1:])
        decorated()
    except (HydraException, OmegaConfBaseException, BadInput) as error:
        if stop := received():  # Hydra and OmegaConf put errors of their own in its place
            _stopped(stop)
        _exit(messages.describe(error) if not isinstance(error, BadInput) else str(error))
    except ValueError as error:
        if "can be specified" in str(error):  # of Hydra's own flags, such as -m --cfg job
            _exit(f"{error}; leave one out")
        if "Config group override must be" in str(error) and (given := usage.group_of(sys.argv)):
            _exit(f"{given}: not the name of a choice; see --help")
        raise
    except Interrupted as error:
        _stopped(error)
    finally:
        GlobalHydra.instance().clear()


def _task(run: Callable[[Config], Ended], cfg: DictConfig) -> float | None:
    single = HydraConfig.get().mode is RunMode.RUN
    if single and HydraConfig.get().runtime.choices.get("sweeps"):
        raise BadInput("sweeps=...: names a study of many runs; add -m")
    outcome = run(load_config(cfg))
    if outcome.went_wrong:
        sys.exit(1)
    return outcome.value


def _exit(message: str) -> NoReturn:
    print(f"img2gps: error: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(2)


def _stopped(error: Interrupted) -> NoReturn:
    print(f"img2gps: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(error.status)
