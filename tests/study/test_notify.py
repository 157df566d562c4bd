"""Who is not watching is told how a study has ended, and no address is written down."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from img2gps.core.errors import BadInput
from img2gps.core.signals import Interrupted
from img2gps.study import notify
from img2gps.study.engine import run_study
from img2gps.study.spec import Spec
from tests.helpers.studies import fake_spec, url_of

pytestmark = pytest.mark.usefixtures("fake_runs")


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A web address, and what it was told."""
    told: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/secret", told
    server.shutdown()
    server.server_close()


def study(root: Path, *behaviour: str) -> Spec:
    return fake_spec(root, {"behave": list(behaviour)})


@pytest.mark.parametrize(
    ("behaviour", "state"), [(["well"], "finished"), (["well", "bad_input"], "runs failed")]
)
def test_an_address_is_told_how_a_study_ended(
    tmp_path: Path,
    hook: tuple[str, list[dict[str, str]]],
    behaviour: list[str],
    state: str,
) -> None:
    address, told = hook
    spec = study(tmp_path, *behaviour)
    with notify.telling(address, spec.root, spec.name):
        run_study(spec, url_of(spec), workers=0)
    (message,) = told
    assert message["state"] == state
    assert message["text"] == message["content"]
    assert message["text"].startswith(f"img2gps: study s: {state}: ")
    assert "best: behave=well" in message["text"]


def test_a_command_finds_it_in_its_environment(tmp_path: Path) -> None:
    spec = study(tmp_path, "well")
    command = f"echo $IMG2GPS_STUDY $IMG2GPS_STATE >>'{tmp_path}/told'"
    with notify.telling(command, spec.root, spec.name):
        run_study(spec, url_of(spec), workers=0)
    assert (tmp_path / "told").read_text() == "s finished\n"


@pytest.mark.parametrize(
    ("error", "state"), [(Interrupted(15), "interrupted"), (BadInput("lr=0: no"), "stopped")]
)
def test_an_early_end_is_told_and_raised(
    tmp_path: Path, hook: tuple[str, list[dict[str, str]]], error: BaseException, state: str
) -> None:
    address, told = hook
    with (
        pytest.raises(type(error)),
        notify.telling(address, str(tmp_path), "s"),
    ):
        raise error
    assert [message["state"] for message in told] == [state]


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/secret", "false", "/no/such/program x"])
def test_a_message_that_cannot_be_sent_stops_nothing_and_names_no_address(
    tmp_path: Path, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    spec = study(tmp_path, "well")
    with notify.telling(target, spec.root, spec.name):
        run_study(spec, url_of(spec), workers=0)
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("hydra.sweeper.notify: nobody was told that the study is finished (")
    assert "secret" not in line


def test_a_study_that_was_forgotten_meanwhile_has_ended_without_an_error(tmp_path: Path) -> None:
    command = f"echo $IMG2GPS_STATE: $IMG2GPS_TEXT >'{tmp_path}/told'"
    with notify.telling(command, str(tmp_path), "s"):
        pass
    assert (tmp_path / "told").read_text().startswith("ended: img2gps: study s: ended: s: ")


@pytest.mark.parametrize("target", ["", "ftp://host/x", "echo 'open"])
def test_a_target_that_can_be_told_nothing_is_refused(target: str) -> None:
    with pytest.raises(BadInput, match=r"hydra\.sweeper\.notify: "):
        notify.check(target)
