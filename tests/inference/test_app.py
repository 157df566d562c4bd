"""The page to drop photos on: answers, limits, privacy, and a real browser."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from img2gps.cli.commands import app as command
from img2gps.cli.main import parser
from img2gps.core.errors import BadInput
from img2gps.inference.app.serve import _listen, serve
from img2gps.inference.app.server import Limits, create
from img2gps.inference.inputs import Photo, read_input
from img2gps.inference.position import Answered, Position, position_of
from tests.helpers.browser import Page, drive
from tests.helpers.photos import make_photo


class Fixed:
    """A model that always answers the same, for the tests of what is around it."""

    def __init__(self, wait_s: float = 0.0) -> None:
        self.card: dict[str, Any] = {"title": "study: cell", "data": {"synthetic": False}}
        self.ground = np.array([[39.9510, -75.1925], [39.9525, -75.1905]])
        self.wait_s = wait_s

    def locate(self, photo: Photo, name: str) -> Position:
        time.sleep(self.wait_s)
        read = read_input(photo, 32, name)
        if read.pixels is None:
            return position_of(read, None)
        return position_of(read, Answered(39.952, -75.191, 50.0, 0.5))

    def decided(self, photo: Photo) -> str:
        return "data:image/gif;base64,AAAA"


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(create(Fixed()), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    return make_photo(tmp_path / "a.jpg", 39.9521, -75.1912).read_bytes()


def test_json_endpoint_answers_a_photo(client: TestClient, photo: bytes) -> None:
    found = client.post("/api/predict?name=IMG%201.jpg", content=photo)
    assert found.status_code == 200
    answer = found.json()
    assert (answer["photo"], answer["lat_deg"], answer["radius_m"]) == ("IMG 1.jpg", 39.952, 50.0)
    assert answer["from_here"] is True
    assert answer["true_lat_deg"] == pytest.approx(39.9521)
    assert client.get("/api/card").json() == Fixed().card


def test_a_name_is_decoded_once(client: TestClient, photo: bytes) -> None:
    name = "50%20 off.jpg"  # the file is called so
    found = client.post("/api/predict", params={"name": name}, content=photo)
    assert found.json()["photo"] == name


def test_what_is_no_photo_gets_its_reason(client: TestClient) -> None:
    found = client.post("/api/predict", content=b"hello")
    assert found.status_code == 422
    assert found.json()["error"].startswith("not a picture that can be read")
    empty = client.post("/api/predict", content=b"")
    assert (empty.status_code, empty.json()) == (400, {"error": "no photo in the body"})


def test_names_are_escaped_on_the_page(client: TestClient, photo: bytes) -> None:
    found = client.post("/page/answer?name=%3Cscript%3Ealert(1)%3C/script%3E", content=photo)
    assert "<script>" not in found.json()["html"]
    assert "&lt;script&gt;" in found.json()["html"]
    svg = client.post("/page/map", json=[found.json()["position"]]).text
    assert "<script>" not in svg
    assert svg.startswith('<svg class="map few single"')


@pytest.mark.parametrize(
    "body",
    [
        b"[",
        b"{}",
        b"[1]",
        b'[{"photo": "a", "lat_deg": "x"}]',
        b"3",
        b'[{"photo": "a", "lat_deg": NaN}]',
        b'[{"photo": "a", "lat_deg": 1' + 400 * b"0" + b"}]",  # too large for a float
    ],
)
def test_map_of_nonsense_is_refused(body: bytes, client: TestClient) -> None:
    assert client.post("/page/map", content=body).status_code == 400


def test_photo_that_is_too_large_is_not_read(photo: bytes) -> None:
    limits = Limits(photo_bytes=1_000_000)
    with TestClient(create(Fixed(), limits=limits), base_url="http://127.0.0.1") as client:
        found = client.post("/api/predict", content=b"\0" * 1_000_001)
        assert (found.status_code, found.json()["error"]) == (
            413,
            "more than 1 MB; send a smaller photo",
        )
        assert client.post("/api/predict", content=photo).status_code == 200


def test_answer_that_takes_too_long_is_given_up(photo: bytes) -> None:
    slow = Fixed(wait_s=1.0)
    limits = Limits(seconds=0.1)
    with TestClient(create(slow, limits=limits), base_url="http://127.0.0.1") as client:
        assert client.post("/api/predict", content=photo).status_code == 503


def test_another_site_s_name_does_not_lead_here() -> None:
    with TestClient(create(Fixed()), base_url="http://evil.example") as client:
        assert client.get("/").status_code == 400


def test_pages_may_load_nothing_from_elsewhere_and_are_not_kept(client: TestClient) -> None:
    found = client.get("/")
    policy = found.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert found.headers["cache-control"] == "no-store"
    assert "http://" not in found.text.replace("http://127.0.0.1", "")


def test_study_s_report_is_the_second_tab(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>the report</h1>")
    app = create(Fixed(), study=tmp_path)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert 'href="study/"' in client.get("/").text
        assert "the report" in client.get("/study/").text
        assert client.get("/study/../../etc/passwd").status_code == 404


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("--run mine", True),
        ("--run mine --expose", False),  # a report has photos, which others must not see
        ("--run mine --expose --with-gallery", True),
        ("--run ../reports/mine", False),
        ("--run other", False),
    ],
)
def test_report_is_shown_only_of_a_study_and_to_those_who_may_see_photos(
    words: str, shown: bool, workdir: Path
) -> None:
    report = workdir / "reports" / "mine"
    report.mkdir(parents=True)
    (report / "index.html").write_text("")
    args = parser().parse_args(["app", *words.split()])
    assert command.find_report(args) == (Path("reports/mine") if shown else None)


def test_nothing_is_exposed_without_the_word_for_it() -> None:
    with pytest.raises(BadInput, match=r"--host 0\.0\.0\.0: anyone who reaches .* add --expose"):
        serve(Fixed(), host="0.0.0.0", port=0)  # noqa: S104 - refused
    with pytest.raises(BadInput, match=r"--port 99999: .*ports go up to 65535\); give another"):
        serve(Fixed(), host="127.0.0.1", port=99999)


def test_an_address_that_cannot_be_had_is_refused_with_the_reason_in_whatever_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no such family")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(BadInput, match=r"cannot listen on ::1 \(no such family\); give another"):
        _listen("::1", 0)


def test_address_that_is_printed_can_be_reached_at_once() -> None:
    listening = _listen("127.0.0.1", 0)
    with listening, socket.create_connection(listening.getsockname(), timeout=5):
        pass


@pytest.fixture
def served(tiny_runs: dict[str, Path], shared_cache: Path, workdir: Path) -> Iterator[str]:
    """The address of the app around a real run, in a process of its own."""
    run = str(tiny_runs["resnet18"])
    code = "from img2gps.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "app", "--run", run, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert match is not None, process.communicate()[1]
    yield match[0]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "IMG_" not in out + err  # no name of a photo is logged
    assert err == "img2gps: interrupted\n"
    assert "Traceback" not in err


def test_uploads_at_once_get_their_own_answers_and_one_that_breaks_off_harms_none(
    served: str, quad_photos: Path
) -> None:
    photos = [path.read_bytes() for path in sorted(quad_photos.glob("*.jpg"))[:8]]

    def ask(photo: bytes) -> dict[str, Any]:
        found = httpx.post(f"{served}/api/predict?name=a", content=photo, timeout=60)
        answer: dict[str, Any] = found.json()
        return answer

    alone = [ask(photo) for photo in photos]
    host, port = served.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as half:
        head = f"POST /api/predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9999\r\n\r\n"
        half.sendall(head.encode() + photos[0][:100])
    with ThreadPoolExecutor(len(photos)) as pool:
        together = list(pool.map(ask, photos))
    assert together == alone
    assert len({answer["lat_deg"] for answer in alone}) == len(photos)


@pytest.mark.browser
def test_browser_uploads_a_real_photo_and_shows_where_it_was_taken(
    served: str, real_photos: Path, tmp_path: Path
) -> None:
    photo = next((real_photos / "penn-quad-full").glob("*.jpg"))
    bad = tmp_path / "notes.jpg"
    bad.write_text("no picture")

    async def use(page: Page) -> None:
        await page.open(served)
        await page.upload("#files", [photo])
        await page.until("document.body.dataset.done === '1'")
        text = await page.value("document.querySelector('#answers').innerText")
        assert photo.name in text
        assert " m from the position in the photo" in text
        assert "Training photos that look most alike" in text
        shown = "document.querySelector('#answers li > img').naturalWidth"
        await page.until(f"{shown} > 1000")
        answers = "document.querySelectorAll('#map svg .answer').length"
        assert await page.value(answers) == 1
        await page.value("document.querySelector('#explain').click()")
        await page.upload("#files", [photo, bad])
        await page.until("document.body.dataset.done === '3'")
        assert await page.value("document.querySelectorAll('.pair img').length") >= 1
        assert "not a picture that can be read" in await page.value("document.body.innerText")

    page = drive(tmp_path / "profile", use)
    assert page.complaints == []
    assert {url.split("/")[2] for url in page.requested if url.startswith("http")} == {
        served.removeprefix("http://")
    }
