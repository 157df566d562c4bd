"""Fixtures of the tests that talk to a W&B server on this machine."""

from tests.helpers.wandb_cases import (  # noqa: F401 - fixtures
    listening_fixture,
    offline_fixture,
    server_fixture,
)
