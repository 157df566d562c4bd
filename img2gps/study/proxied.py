"""A ledger behind `img2gps proxy`, as its workers see it."""

from __future__ import annotations

import grpc
from optuna.storages import GrpcStorageProxy
from optuna.storages._grpc.auto_generated.api_pb2_grpc import StorageServiceStub
from optuna.storages._grpc.client import GrpcClientCache

# gRPC itself would wait for up to two minutes before it looks for a proxy that is back.
CHANNEL = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 10_000),
]


class ProxiedStorage(GrpcStorageProxy):
    """Optuna's client, which looks for a proxy that is away every ten seconds at least."""

    def _setup(self) -> None:
        self._channel = grpc.insecure_channel(f"{self._host}:{self._port}", options=CHANNEL)
        self._stub = StorageServiceStub(self._channel)  # type: ignore[no-untyped-call]  # generated
        self._cache = GrpcClientCache(self._stub)
