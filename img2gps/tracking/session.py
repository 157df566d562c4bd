"""The W&B SDK as this project uses it: the only module that starts W&B runs.

wandb is imported inside functions: half a second that runs without it need not spend.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2gps.config.schema import LoggerConfig, LoggerKind
from img2gps.core.errors import BadInput
from img2gps.tracking.mirror import JOB_TYPE, Description

if TYPE_CHECKING:
    import wandb

SYNTHETIC = "synthetic"  # tag of runs on the built-in quad
SYNTHETIC_NOTE = "Synthetic photos (the built-in quad): this says nothing about real photos."
RETRY_SECONDS = 600  # after a failure, the runs of a study go offline at once for so long
FLUSH_SECONDS = 1  # of the offline file; W&B's 15 s would lose short runs that are killed
STEP_METRICS = (
    *("lr", "seconds", "train_seconds", "train/*", "val/*", "mean_predictor/*"),
    *("seed_mean/*", "seed_min/*", "seed_max/*"),
)


def quiet() -> None:
    """Before the first import: no telemetry, no words of W&B's own; a user's setting stays."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else posted even offline
    os.environ.setdefault("WANDB_SILENT", "true")


def mode() -> str:
    """`WANDB_MODE` as the user set it, or "online"."""
    return os.environ.get("WANDB_MODE", "online").lower()


def has_credentials() -> bool:
    """Whether W&B would find an API key, found out without asking anyone for one.

    Raises:
        wandb.errors.AuthenticationError: there is one of the wrong form.
    """
    quiet()
    # The SDK's own search (environment, netrc under old and new host names, settings): asking it
    # to log in would prompt at a terminal.
    from wandb.sdk.lib import wbauth

    found = wbauth.authenticate_session(
        host=server(), source="img2gps", prompt=False, update_session=False
    )
    return found is not None


def wanted(logger: LoggerConfig) -> bool:
    """Whether to try the server: asked for, allowed, a key there, and not out of reach lately.

    Raises:
        wandb.errors.AuthenticationError: the key has the wrong form.
    """
    asked = logger.kind is LoggerKind.wandb and mode() == "online"
    return asked and not recently_unreachable() and has_credentials()


def require_credentials() -> None:
    """Nothing if an API key is there.

    Raises:
        BadInput: there is none, or one of the wrong form.
    """
    from wandb.errors import AuthenticationError

    remedy = "run `wandb login`, or set WANDB_API_KEY"
    try:
        found = has_credentials()
    except AuthenticationError as error:
        raise BadInput(f"W&B: {short(error)}; {remedy}") from error
    if not found:
        raise BadInput(f"W&B: no API key; {remedy}")


def default_entity() -> str:
    """The account's own entity.

    Raises:
        BadInput: the server does not tell.
    """
    import wandb

    try:
        found = wandb.Api(timeout=20).default_entity
    except Exception as error:  # the SDK raises all sorts
        raise BadInput(f"W&B: {short(error)}; try again, or give --entity") from error
    if not found:
        raise BadInput("W&B: the account has no default entity; give --entity")
    return str(found)


_unreachable_at: float | None = None


def note_unreachable() -> None:
    """Let the next runs of this process go offline at once, not wait for the server one by one."""
    global _unreachable_at
    _unreachable_at = time.monotonic()


def restart() -> None:
    """Start W&B's service anew, which holds on to a run that it could not start."""
    import wandb

    wandb.teardown()


def recently_unreachable() -> bool:
    """Whether a run of this process waited for the server in vain a short time ago."""
    return _unreachable_at is not None and time.monotonic() - _unreachable_at < RETRY_SECONDS


def server() -> str:
    """Address of the W&B server that this process talks to."""
    quiet()
    import wandb

    return str(wandb.setup().settings.base_url)


def in_sweep() -> bool:
    """Whether a W&B sweep agent started this process: it gives project and id."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def start(
    about: Description,
    logger: LoggerConfig,
    directory: Path,
    *,
    online: bool,
    name: str,
    job_type: str = JOB_TYPE,
    run_id: str | None = None,
) -> wandb.Run:
    """A W&B run with its metrics defined, resumed if the server knows its id.

    Args:
        about: what the run is.
        logger: group `logger`.
        directory: below it W&B puts `wandb/`.
        online: False writes an offline file and touches no network.
        name: as listed.
        job_type: kind of run within its group.
        run_id: the id at the server where it is not the run's own (a sweep agent chose it).

    Raises:
        Exception: whatever the SDK raises where the server cannot be had within the timeout.
    """
    quiet()
    import wandb

    settings = wandb.Settings(
        mode="online" if online else "offline",
        silent=True,
        quiet=True,
        console="off",  # stdout of a study's process belongs to many runs
        save_code=False,
        disable_code=True,  # result.json has the commit; code is not sent away unasked
        disable_git=True,
        program="img2gps.train",
        host="",  # the machine's name
        x_disable_meta=True,  # user name, paths, command line
        x_disable_stats=not logger.system_metrics,
        x_disable_machine_info=not logger.system_metrics,
        x_save_requirements=False,
        x_transaction_log_flush_interval=FLUSH_SECONDS,
        init_timeout=logger.timeout_s,
        finish_timeout=logger.timeout_s,
        finish_timeout_raises=True,
    )
    directory.mkdir(parents=True, exist_ok=True)
    # A sweep agent ignores both with a warning each.
    place = {} if in_sweep() else {"project": logger.project, "entity": logger.entity}
    run = wandb.init(
        **place,  # type: ignore[arg-type]  # two of its many keywords
        id=None if in_sweep() else run_id or about.run_id,
        resume="allow",  # unset would append the epochs a second time
        reinit="create_new",  # of no consequence to other runs of this process
        dir=directory,
        group=about.study,
        job_type=job_type,
        tags=[*logger.tags, *([SYNTHETIC] if about.synthetic else [])] or None,
        notes=SYNTHETIC_NOTE if about.synthetic else None,
        name=name,
        config=about.flat_config(),
        settings=settings,
    )
    run.define_metric("epoch")
    for metric in STEP_METRICS:
        run.define_metric(metric, step_metric="epoch")
    return run


def log_rows(run: wandb.Run, rows: list[dict[str, Any]]) -> None:
    """Send history rows with their epoch as W&B's step.

    W&B drops steps that the server has already, so that a row is never there twice, whoever sends
    it again: a resumed run, or an upload that was interrupted.
    """
    for row in rows:
        run.log(row, step=row["epoch"], commit=True)


def short(error: BaseException) -> str:
    """The first line of an error's message, for a warning."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
