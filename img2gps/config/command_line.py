"""The command line of training: Hydra, one-line errors, signals and the exit status."""

from __future__ import annotations

import os
import shlex
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

from img2gps.config import habits, messages, usage
from img2gps.config.compose import HYDRA_DEFAULTS, load_config, register_sweeps
from img2gps.core.advice import next_step
from img2gps.core.errors import BadInput, ProcessLost
from img2gps.core.load import wait_passively
from img2gps.core.paths import package_folder
from img2gps.core.signals import Interrupted, raise_on_signals, received

if TYPE_CHECKING:
    from img2gps.config.schema import Config


class Ended(Protocol):
    """How a run ended, as far as this module needs it."""

    @property
    def went_wrong(self) -> bool:
        """Whether the run failed or diverged."""

    @property
    def value(self) -> float | None:
        """The monitored metric after the final epoch."""


def main(run: Callable[[Config], Ended]) -> None:
    """Compose the configuration from the command line, and train the run, or with -m the study.

    The exit status is 0 if it is done, 1 if it failed or diverged, 2 after bad input, and 130 or
    143 after an interruption.
    """
    wait_passively()  # for this process and the workers that it starts
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(usage.text())  # noqa: T201
        return
    # Otherwise Hydra prints its own lines and exits with 1 before an error gets here.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    register_sweeps()

    def task(cfg: DictConfig) -> float | None:
        try:
            return _task(run, cfg)
        except BadInput as error:  # Hydra lets a SystemExit pass without a word
            _exit(str(error))
        except ProcessLost as error:
            _exit(str(error), status=1)
        except Interrupted as error:
            _stopped(error)

    folder = str(package_folder("conf"))
    decorated = hydra.main(config_path=folder, config_name="train", **HYDRA_DEFAULTS)(task)
    raise_on_signals()
    try:
        sys.argv[1:] = habits.read_words(sys.argv[1:])
        usage.check_order(sys.argv[1:])
        decorated()
    except Interrupted as error:
        _stopped(error)
    except (HydraException, OmegaConfBaseException, BadInput, ValueError) as error:
        if stop := received():  # Hydra and OmegaConf raise errors of their own in its place
            _stopped(stop)
        if (message := _explain(error)) is None:
            raise
        _exit(message)
    finally:
        GlobalHydra.instance().clear()


def _explain(error: Exception) -> str | None:
    """Return what is wrong with the input, or None if the error is not the user's."""
    if isinstance(error, BadInput):
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return messages.describe(error)
    if "can be specified" in str(error):  # about Hydra's flags, such as -m --cfg job
        return f"{error}; leave one out"
    if "Config group override must be" in str(error) and (given := usage.group_of(sys.argv)):
        return f"{given}: not the name of a choice; see --help"
    return None


def _task(run: Callable[[Config], Ended], cfg: DictConfig) -> float | None:
    single = HydraConfig.get().mode is RunMode.RUN
    if single and HydraConfig.get().runtime.choices.get("sweeps"):
        raise BadInput("sweeps=...: names a study of many runs; add -m")
    config = load_config(cfg)
    outcome = run(config)
    if outcome.went_wrong:
        sys.exit(1)
    if single:
        study = shlex.quote(config.study)
        why = "tables and figures, beside the mean predictor"
        print(next_step(f"img2gps report {study}", why, config.runs.root), file=sys.stderr)  # noqa: T201
    return outcome.value


def _exit(message: str, status: int = 2) -> NoReturn:
    print(f"img2gps: error: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(status)


def _stopped(error: Interrupted) -> NoReturn:
    print(f"img2gps: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(error.status)
