"""The W&B SDK as this project uses it. Only this module starts W&B runs.

wandb is imported inside functions, because the import takes half a second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2gps.config.schema import LoggerConfig, LoggerKind
from img2gps.core.errors import BadInput
from img2gps.tracking.content import Description

if TYPE_CHECKING:
    import wandb

SYNTHETIC = "synthetic"  # tag of runs on the built-in quad
SYNTHETIC_NOTE = "Synthetic photos (the built-in quad): this says nothing about real photos."
RETRY_SECONDS = 600  # after a failure, further runs go offline at once for this long
FLUSH_SECONDS = 1  # W&B's own 15 s would lose short runs that are killed
STEP_METRICS = (
    *("lr", "seconds", "train_seconds", "train/*", "val/*", "mean_predictor/*"),
    *("seed_mean/*", "seed_min/*", "seed_max/*"),
)


def quiet() -> None:
    """Switch off telemetry and W&B's own messages, unless the user has set them.

    Must be called before wandb is imported.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else errors are posted even offline
    os.environ.setdefault("WANDB_SILENT", "true")


def mode() -> str:
    """Return `WANDB_MODE` as the user set it, or "online"."""
    return os.environ.get("WANDB_MODE", "online").lower()


def has_credentials() -> bool:
    """Return whether W&B finds an API key. Nobody is asked for one.

    Raises:
        wandb.errors.AuthenticationError: the key has the wrong form.
    """
    quiet()
    # The SDK's own search covers environment, netrc and settings. Its login would prompt.
    from wandb.sdk.lib import wbauth

    found = wbauth.authenticate_session(
        host=server(), source="img2gps", prompt=False, update_session=False
    )
    return found is not None


def wanted(logger: LoggerConfig) -> bool:
    """Return whether to try the server: wanted, allowed, with a key, and reachable lately.

    Raises:
        wandb.errors.AuthenticationError: the key has the wrong form.
    """
    asked = LoggerKind.wandb in logger.kinds and mode() == "online"
    return asked and not recently_unreachable() and has_credentials()


def require_credentials() -> None:
    """Check that there is an API key.

    Raises:
        BadInput: there is none, or it has the wrong form.
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
    """Return the account's own entity.

    Raises:
        BadInput: the server does not say.
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
    """Send the next runs of this process offline at once, so that not each waits for the server."""
    global _unreachable_at
    _unreachable_at = time.monotonic()


def restart() -> None:
    """Restart W&B's service, because it holds on to a run that it could not start."""
    import wandb

    wandb.teardown()


def recently_unreachable() -> bool:
    """Return whether a run of this process recently failed to reach the server."""
    return _unreachable_at is not None and time.monotonic() - _unreachable_at < RETRY_SECONDS


def server() -> str:
    """Return the address of the W&B server that this process talks to."""
    quiet()
    import wandb

    return str(wandb.setup().settings.base_url)


def in_sweep() -> bool:
    """Return whether a W&B sweep agent started this process. It then sets project and id."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def start(
    about: Description,
    logger: LoggerConfig,
    directory: Path,
    *,
    online: bool,
    run_id: str | None = None,
) -> wandb.Run:
    """Start a W&B run with its metrics defined, or resume it if the server knows its id.

    Args:
        about: what the run is.
        logger: group `logger`.
        directory: where W&B makes its folder `wandb/`.
        online: False writes an offline file and touches no network.
        run_id: the id at the server if it is not the run's own, because a sweep agent chose it.

    Raises:
        Exception: whatever the SDK raises when the server does not answer within the timeout.
    """
    quiet()
    import wandb

    directory.mkdir(parents=True, exist_ok=True)
    # A sweep agent ignores project and entity, with a warning each.
    place = {} if in_sweep() else {"project": logger.project, "entity": logger.entity}
    run = wandb.init(
        **place,  # type: ignore[arg-type]  # two of its many keywords
        id=None if in_sweep() else run_id or about.run_id,
        resume="allow",  # unset would append the epochs a second time
        reinit="create_new",  # leaves other runs of this process alone
        dir=directory,
        group=about.study,
        job_type=about.job_type,
        tags=[*logger.tags, *([SYNTHETIC] if about.synthetic else [])] or None,
        notes=SYNTHETIC_NOTE if about.synthetic else None,
        name=about.name,
        config=about.flat_config(),
        settings=_settings(logger, online=online),
    )
    run.define_metric("epoch")
    for metric in STEP_METRICS:
        run.define_metric(metric, step_metric="epoch")
    return run


def _settings(logger: LoggerConfig, *, online: bool) -> wandb.Settings:
    """Return settings that send neither code nor facts about the machine unless asked to."""
    import wandb

    return wandb.Settings(
        mode="online" if online else "offline",
        silent=True,
        quiet=True,
        console="off",  # the output of a study's process belongs to many runs
        save_code=False,
        disable_code=True,  # code is not sent unasked; result.json has the commit
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


def log_rows(run: wandb.Run, rows: list[dict[str, Any]]) -> None:
    """Send history rows with their epoch as W&B's step.

    W&B drops steps that the server has already. So a resumed run, or an upload that is repeated
    after an interruption, doubles no row.
    """
    for row in rows:
        run.log(row, step=row["epoch"], commit=True)


@contextmanager
def finishing(run: wandb.Run, exit_code: int = 0) -> Iterator[None]:
    """Finish a W&B run when the block ends, with exit code 1 if the block raises."""
    try:
        yield
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish(exit_code=exit_code)


def short(error: BaseException) -> str:
    """Return the first line of an error's message, for a warning."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
