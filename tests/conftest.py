"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from img2gps.study.spec import RUNNER_VARIABLE
from tests.helpers.studies import FAKE

settings.register_profile("img2gps", deadline=None)  # a busy machine is no failure
settings.load_profile("img2gps")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_photos() -> Path:
    """Folder of real evaluation photos, which are never part of the project."""
    folder = Path(os.environ.get("IMG2GPS_REAL_PHOTOS", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder}; set IMG2GPS_REAL_PHOTOS")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _no_outside_world() -> None:
    """Nothing in a test may look for an account or send telemetry."""
    os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under `make test-all` a test that misses its server or browser has failed."""
    report = yield
    wanted = item.get_closest_marker("server") or item.get_closest_marker("browser")
    if report.skipped and wanted and os.environ.get("IMG2GPS_TEST_ALL"):
        report.outcome = "failed"
        report.longrepr = f"needs what `make servers` installs: {report.longrepr}"
    return report


@pytest.fixture
def fake_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have studies, and their workers, run `FakeRunner`s."""
    monkeypatch.setenv(RUNNER_VARIABLE, FAKE)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One dataset cache for the whole test run, also across xdist's processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def quad_photos(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """The files of quad_tiny with 48 photos; all tests share them and none writes there."""
    folder = tmp_path_factory.mktemp("photos") / "quad"
    from img2gps.photos import quad  # here: most tests need none of it

    quad.render(quad.QuadSpec(n=48, width=96, height=72), folder, threads=1, progress=False)
    before = sorted(folder.iterdir())
    yield folder
    assert sorted(folder.iterdir()) == before, "a test wrote to the photos that all tests share"


@pytest.fixture
def copied_quad_photos(quad_photos: Path, tmp_path: Path) -> Path:
    """A copy of quad_photos for a test that adds files of its own."""
    return Path(shutil.copytree(quad_photos, tmp_path / "copied_quad"))


@pytest.fixture
def workdir(tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with the shared dataset cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))
    return tmp_path
