"""A real object store on this machine: moto's server, which speaks S3."""

from __future__ import annotations

import logging

import boto3
import pytest
import requests
import s3fs
from moto.server import ThreadedMotoServer

BUCKET = "quad-runs"
SECRET = "7h1s-1s-s3cr3t"  # noqa: S105


class ObjectStore:
    """An S3 server with one bucket. It keeps its objects while it is stopped."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it tells of each request
        self._port = 0
        self.start()
        requests.post(f"{self.endpoint}/moto-api/reset", timeout=10)  # of other tests
        s3fs.S3FileSystem.clear_instance_cache()  # whose clients know the server by another port
        self.client.create_bucket(Bucket=BUCKET)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/runs"

    @property
    def client(self) -> boto3.client:
        return boto3.client("s3", endpoint_url=self.endpoint)

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()
        _, self._port = self._server.get_host_and_port()

    def stop(self) -> None:
        self._server.stop()

    def names(self) -> list[str]:
        """The names of all objects below the URL."""
        found = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return sorted(one["Key"].removeprefix("runs/") for one in found)


def opened(monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """Start an object store that this process and its children use for s3://."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store = ObjectStore()
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
    return store
