"""A proxy before the database of ledgers: many workers share its few connections.

The database decides who gets a run, through the proxy as without it. The gRPC server is Optuna's:
https://optuna.readthedocs.io/en/stable/reference/storages.html
"""

from __future__ import annotations

import logging
import socket
from concurrent.futures import ThreadPoolExecutor

from img2gps.core.errors import BadInput
from img2gps.core.hosts import is_loopback
from img2gps.study.storage import OPEN_TO_ALL, PROXY, masked, open_storage

log = logging.getLogger(__name__)

THREADS = 10  # each has at most one connection to the database at a time


def serve(url: str, host: str, port: int, *, expose: bool) -> None:
    """Pass calls on to the database until this process is told to end.

    Raises:
        BadInput: the ledger is in no database server, others could reach the proxy, or the port is
            taken.
    """
    _check_database(url)
    if not is_loopback(host):
        if not expose:
            raise BadInput(f"--host {host}: others could reach it. {OPEN_TO_ALL} If the network is "
                           "yours alone, add --expose")  # fmt: skip
        log.warning("others can reach this proxy. %s", OPEN_TO_ALL)
    _check_free(host, port)
    try:
        import grpc  # noqa: F401  # which Optuna loads in its first call
        from optuna.storages import get_storage, run_grpc_proxy_server
    except ImportError as error:
        raise BadInput("proxy: gRPC is not installed; run `pip install 'img2gps[grpc]'`") from error
    storage = get_storage(open_storage(url))  # with the cache that Optuna asks for
    log.info("the ledgers in %s are at %s%s:%d (stop with Ctrl-C)", masked(url), PROXY, host, port)
    calls = ThreadPoolExecutor(THREADS)
    try:
        run_grpc_proxy_server(storage, host=host, port=port, thread_pool=calls)
    finally:
        calls.shutdown(wait=False, cancel_futures=True)  # else this process answers them all first


def _check_database(url: str) -> None:
    if url.startswith(PROXY):
        raise BadInput(f"--storage {url}: is a proxy itself; give the database behind it")
    if "://" not in url or url.startswith("sqlite"):
        raise BadInput(
            f"--storage {url}: is a file, which Optuna's proxy does not support (it has handed one "
            "run to two workers); give a database server, postgresql://USER@HOST/DATABASE"
        )


def _check_free(host: str, port: int) -> None:
    """Refuse a port that is taken: gRPC would share it, and answer half of the calls."""
    try:
        with socket.create_server((host.strip("[]"), port)):
            pass
    except (OSError, OverflowError) as error:
        raise BadInput(
            f"--host {host} --port {port}: cannot be used ({error}); give another --port"
        ) from error
