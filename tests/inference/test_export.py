"""Exports answer as the run does, in environments that have never heard of img2gps."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from img2gps import Localizer
from img2gps.cli.commands.export import FORMATS
from img2gps.cli.main import main
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.core.files import write_json
from img2gps.inference.app.model import CARD, OnnxModel
from img2gps.inference.deployed import Deployed
from img2gps.inference.export import formats
from img2gps.inference.export.check import TOLERANCE_M, answers, check, furthest_m, sample_pixels
from img2gps.inference.export.onnx_int8 import write_int8
from img2gps.inference.export.push import push
from img2gps.inference.export.submission import write_submission
from img2gps.inference.exported import read_exported, write_exported
from img2gps.inference.gallery import gallery_of, write_gallery
from img2gps.inference.localizer import load
from img2gps.inference.predict import Predictor
from img2gps.photos import decode
from tests.conftest import ROOT
from tests.helpers import course_evaluator
from tests.helpers.fresh import LEADERBOARD, fresh_python, run

ARCHITECTURES = ("resnet18", "efficientnet_lite0")


@pytest.fixture(scope="module")
def models(tiny_runs: dict[str, Path], shared_cache: Path) -> dict[str, Deployed]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMG2GPS_CACHE", str(shared_cache))
        return {name: load(str(folder), []) for name, folder in tiny_runs.items()}


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with what a course's evaluator has."""
    return fresh_python(tmp_path_factory.mktemp("course"), LEADERBOARD)


def labelled(photos: Path, path: Path, names: list[str]) -> Path:
    """A CSV beside the photos, as courses hand it out."""
    with (photos / "truth.csv").open() as file:
        truth = {Path(row["photo"]).name: row for row in csv.DictReader(file)}
    rows = [(name, truth[name]["true_lat_deg"], truth[name]["true_lon_deg"]) for name in names]
    lines = ["image_path,Latitude,Longitude", *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hand_in_gets_what_the_run_gets(
    architecture: str,
    models: dict[str, Deployed],
    tiny_runs: dict[str, Path],
    copied_quad_photos: Path,
    course: Path,
    workdir: Path,
) -> None:
    formats.export(models[architecture], workdir / "hand_in", "leaderboard")
    names = sorted(path.name for path in copied_quad_photos.glob("*.jpg"))[:40]
    table = labelled(copied_quad_photos, copied_quad_photos / "photos.csv", names)
    script = Path(course_evaluator.__file__)
    for with_path in ("no", "yes"):
        done = run(course, workdir, str(script), str(workdir / "hand_in"), str(table), with_path)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["modules"] == []
        assert found["tensors"] == len(torch.load(workdir / "hand_in" / "model.pt"))
        answered = np.array(found["predictions"])
        expected = network_answers(
            models[architecture], [copied_quad_photos / name for name in names]
        )
        apart = geo.distance_m(expected[:, 0], expected[:, 1], answered[:, 0], answered[:, 1])
        assert apart.max() < 0.01
        true = np.genfromtxt(table, delimiter=",", skip_header=1, usecols=(1, 2))
        assert found["mae_deg"] == pytest.approx(np.abs(answered - true).mean())
        away = geo.distance_m(true[:, 0], true[:, 1], answered[:, 0], answered[:, 1])
        assert found["mean_m"] == pytest.approx(away.mean(), rel=1e-4)


def network_answers(deployed: Deployed, photos: list[Path]) -> np.ndarray[Any, Any]:
    size = deployed.card.image_size
    pixels = np.stack([decode.decode(path.read_bytes(), size)[0] for path in photos])
    return answers(deployed.network, pixels)


def test_network_answers_as_the_run_itself(
    models: dict[str, Deployed], tiny_runs: dict[str, Path]
) -> None:
    for name, deployed in models.items():
        pixels = sample_pixels(deployed.folders, 32)
        with torch.inference_mode():
            found = deployed.network(torch.from_numpy(pixels)).degrees.numpy()
        expected = Predictor.load(tiny_runs[name]).positions(pixels)
        assert np.abs(found - expected).max() < 1e-9


def test_hand_in_keeps_the_row_of_a_photo_that_cannot_be_read(
    models: dict[str, Deployed], copied_quad_photos: Path, workdir: Path, course: Path
) -> None:
    formats.export(models["resnet18"], workdir / "hand_in", "leaderboard")
    good = sorted(path.name for path in copied_quad_photos.glob("*.jpg"))[:2]
    bad = copied_quad_photos / "broken.jpg"
    bad.write_text("no picture")
    table = copied_quad_photos / "with_bad.csv"
    table.write_text(f"Filepath,lat,lon\n{good[0]},1,2\nbroken.jpg,3,4\n{good[1]},5,6\n")
    code = (
        "import preprocess as p; X, y = p.prepare_data(r'{}'); "
        "print(len(X), {{x.shape for x in X}}, y.tolist(), int(X[1].min()), int(X[1].max()))"
    )
    done = run(course, workdir / "hand_in", "-c", code.format(table))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        "3 {torch.Size([3, 32, 32])} [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]] 128 128"
    )
    assert "broken.jpg: cannot be read" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_onnx_takes_any_number_of_photos_and_needs_no_torch(
    architecture: str, models: dict[str, Deployed], tmp_path: Path, workdir: Path
) -> None:
    pytest.importorskip("onnxruntime")
    deployed = models[architecture]
    formats.export(deployed, workdir / "onnx", "onnx")
    pixels = np.concatenate([sample_pixels(deployed.folders, 32)] * 5)[:37]
    np.save(workdir / "pixels.npy", pixels)
    code = """
import json, sys
import numpy as np, onnxruntime
model = onnxruntime.InferenceSession("onnx/model.onnx")
pixels = np.load("pixels.npy")
batches = [model.run(None, {"pixels": part}) for part in (pixels[:1], pixels[1:])]
out = [np.concatenate(parts).tolist() for parts in zip(*batches)]
print(json.dumps({"answers": out, "torch": "torch" in sys.modules}))
"""
    python = fresh_python(tmp_path / "env", ("onnxruntime", "numpy"))
    done = run(python, workdir, "-c", code)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["torch"]
    degrees, radius_m, strangeness = (np.array(column) for column in found["answers"])
    expected = answers(deployed.network, pixels)
    apart = geo.distance_m(expected[:, 0], expected[:, 1], degrees[:, 0], degrees[:, 1])
    assert apart.max() < 0.01
    assert deployed.card.trust is not None
    assert radius_m == pytest.approx(deployed.card.trust.radius_m)
    with torch.inference_mode():
        wanted = deployed.network.in_float32()(torch.from_numpy(pixels)).strangeness
    assert strangeness == pytest.approx(wanted.numpy(), abs=1e-3)


@pytest.mark.slow
def test_torch_export_needs_torch_alone(
    models: dict[str, Deployed], tmp_path: Path, workdir: Path
) -> None:
    deployed = models["efficientnet_lite0"]
    formats.export(deployed, workdir / "out", "torch_export")
    pixels = sample_pixels(deployed.folders, 32)[:5]
    torch.save(torch.from_numpy(pixels), workdir / "pixels.pt")
    code = """
import torch
model = torch.export.load("out/model.pt2").module()
degrees, radius_m, strangeness = (tensor.numpy() for tensor in model(torch.load("pixels.pt")))
print(degrees.tolist())
"""
    done = run(fresh_python(tmp_path / "env", ("torch", "numpy")), workdir, "-c", code)
    assert done.returncode == 0, done.stderr
    found = np.array(json.loads(done.stdout))
    expected = answers(deployed.network, pixels)
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("onnx", ("onnxruntime", "numpy", "Pillow")),
        ("torch_export", ("torch", "numpy", "Pillow")),
        ("leaderboard", LEADERBOARD),
    ],
)
def test_code_in_the_card_answers_a_photo_as_it_is_typed(
    name: str,
    packages: tuple[str, ...],
    models: dict[str, Deployed],
    quad_photos: Path,
    tmp_path: Path,
    workdir: Path,
) -> None:
    pytest.importorskip("onnxruntime")
    formats.export(models["resnet18"], workdir / "out", name)
    shutil.copy(min(quad_photos.glob("*.jpg")), workdir / "out" / "photo.jpg")
    (workdir / "out" / "photos.csv").write_text("image_path,Latitude,Longitude\nphoto.jpg,1,2\n")
    card = (workdir / "out" / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    python = fresh_python(tmp_path / "env", packages)
    done = run(python, workdir / "out", "-c", f"{code}\nprint(degrees.tolist())")
    assert done.returncode == 0, done.stderr
    found = np.array(json.loads(done.stdout))
    expected = network_answers(models["resnet18"], [workdir / "out" / "photo.jpg"])
    assert furthest_m(expected, found) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("state_dict", 'torch.load("out/weights.pt", weights_only=True)'),
        ("hub", '__import__("safetensors.torch").torch.load_file("out/model.safetensors")'),
    ],
)
def test_tensors_are_what_the_card_says_to_who_has_never_heard_of_img2gps(
    name: str, read: str, models: dict[str, Deployed], tmp_path: Path, workdir: Path
) -> None:
    deployed = models["resnet18"]
    formats.export(deployed, workdir / "out", name)
    pixels = sample_pixels(deployed.folders, 32)[:5]
    np.save(workdir / "pixels.npy", pixels)
    code = f"""
import json, sys
import numpy as np, torch, torchvision
state = {read}
part = lambda start: {{k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}}
net = torchvision.models.resnet18()
net.fc = torch.nn.Identity()
net.load_state_dict(part("members.0.backbone."))
head = torch.nn.Linear(512, 2)
head.load_state_dict(part("members.0.head."))
own = part("members.0.")
images = torch.from_numpy(np.load("pixels.npy")).permute(0, 3, 1, 2).float()
with torch.inference_mode():
    scaled = head(net.eval()((images - own["mean"]) / own["std"])).double()
mean, rest, std = (own[f"degrees.{{key}}"].double() for key in ("mean", "rest", "std"))
print(json.dumps([((mean + rest) + std * scaled).tolist(), "img2gps" in sys.modules]))
"""
    python = fresh_python(tmp_path / "env", ("torch", "torchvision", "numpy", "safetensors"))
    done = run(python, workdir, "-c", code)
    assert done.returncode == 0, done.stderr
    found, imported = json.loads(done.stdout)
    assert not imported
    assert np.abs(np.array(found) - answers(deployed.network, pixels)).max() < 1e-6


def test_exported_folder_is_the_same_model(models: dict[str, Deployed], workdir: Path) -> None:
    deployed = models["resnet18"]
    formats.export(deployed, workdir / "hub", "hub")
    again = read_exported(workdir / "hub")
    assert again.card == deployed.card
    pixels = torch.from_numpy(sample_pixels(deployed.folders, 32))
    with torch.inference_mode():
        for found, expected in zip(again.network(pixels), deployed.network(pixels), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("name", FORMATS)
def test_export_holds_nothing_of_this_machine_or_its_photos(
    name: str,
    models: dict[str, Deployed],
    tiny_runs: dict[str, Path],
    quad_photos: Path,
    workdir: Path,
) -> None:
    deployed = models["resnet18"]
    formats.export(deployed, workdir / "out", name)
    with (tiny_runs["resnet18"] / "predictions.csv").open() as file:
        photos = [row["photo"] for row in csv.DictReader(file)]
    home = str(Path.home())
    secret = [str(Path(formats.__file__).parents[3]), str(tiny_runs["resnet18"].parents[2])]
    secret += [*photos, *(path.name for path in quad_photos.glob("*.jpg")), "Exif\0\0"]
    secret += [home] if len(home) > 1 else []
    for path in (p for p in (workdir / "out").rglob("*") if p.is_file()):
        content = path.read_bytes()
        assert [word for word in secret if word.encode() in content] == [], path
        assert b"\xff\xd8\xff\xe0" not in content, path  # the start of a JPEG


def test_damaged_export_is_named(models: dict[str, Deployed], workdir: Path) -> None:
    formats.export(models["resnet18"], workdir / "hub", "hub")
    tensors = workdir / "hub" / "model.safetensors"
    whole = tensors.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"\x80\x04cos\nsystem\n", b""):
        tensors.write_bytes(damaged)
        with pytest.raises(BadInput, match="not an exported model that this version reads"):
            read_exported(workdir / "hub")
    tensors.write_bytes(whole)
    for text in ("", "[]", '{"schema": 1}', '{"schema": 99, "card": {}}'):
        (workdir / "hub" / "model.json").write_text(text)
        with pytest.raises(BadInput, match="not an exported model that this version reads"):
            read_exported(workdir / "hub")


@pytest.mark.parametrize("kind", ["hub", "app"])
def test_a_bit_that_changed_since_the_export_is_noticed(
    kind: str, models: dict[str, Deployed], workdir: Path
) -> None:
    pytest.importorskip("onnxruntime")
    formats.export(models["resnet18"], workdir / "out", kind)
    file = workdir / "out" / {"hub": "model.safetensors", "app": "model.onnx"}[kind]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BadInput, match=r"has changed since it was exported.*; export it again"):
        read_exported(workdir / "out") if kind == "hub" else OnnxModel(workdir / "out")


@pytest.mark.parametrize(
    "damage",
    [
        {"image_size": "32"},
        {"data": "quad"},
        {"expected": 3},
        {"expected": {"rmse_m": None}},
        {"expected": {"rmse_m": 60.0, "mean_predictor_rmse_m": "x"}},
    ],
)
def test_damaged_card_of_a_page_is_named(
    damage: dict[str, Any], models: dict[str, Deployed], workdir: Path
) -> None:
    pytest.importorskip("onnxruntime")
    write_json(workdir / CARD, models["resnet18"].card.to_dict() | damage)
    with pytest.raises(BadInput, match=r"no readable card\.json; export it with --format app"):
        OnnxModel(workdir)


def test_damaged_hand_in_says_which_file(
    models: dict[str, Deployed], course: Path, workdir: Path
) -> None:
    formats.export(models["resnet18"], workdir / "out", "leaderboard")
    code = ("-c", "from model import get_model; get_model()")
    weights = workdir / "out" / "model.pt"
    whole = weights.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"\x80\x04cos\nsystem\n"):
        weights.write_bytes(content)
        done = run(course, workdir / "out", *code)
        assert done.stderr.splitlines()[-1] == (
            f"ValueError: {weights}: damaged, or of another model; export it again"
        )
    weights.unlink()
    done = run(course, workdir / "out", *code)
    assert done.returncode == 0
    assert "model.pt: not found; load a state dict before you predict" in done.stderr


def test_export_that_answers_otherwise_is_refused(models: dict[str, Deployed]) -> None:
    network = models["resnet18"].network
    pixels = sample_pixels(models["resnet18"].folders, 32)
    metre_deg = 1 / 111_195
    north = np.array([1.5 * TOLERANCE_M * metre_deg, 0.0])
    moved = answers(network, pixels) + north
    with pytest.raises(BadInput, match=r"answers 1\.5 m away from the run"):
        check("DIR", network, lambda _: moved, pixels)


def test_card_has_figures_interval_mean_predictor_and_fingerprint(
    models: dict[str, Deployed], tiny_runs: dict[str, Path], workdir: Path
) -> None:
    deployed = models["resnet18"]
    formats.export(deployed, workdir / "out", "state_dict")
    card = (workdir / "out" / "README.md").read_text()
    result = json.loads((tiny_runs["resnet18"] / "result.json").read_text())
    assert f"| RMSE | {result['metrics']['val/rmse_m']:.1f} m (95 % interval" in card
    mean = result["mean_predictor/rmse_m"]
    assert f"| RMSE of always answering the mean position | {mean:.1f} m |" in card
    assert result["data"]["fingerprint"] in card
    assert "Its answers mean nothing for photos of a real place." in card
    assert "It holds no training photo, thumbnail, file name, path or EXIF." in card


@pytest.mark.slow
def test_hosted_app_needs_neither_torch_nor_photos(
    models: dict[str, Deployed], quad_photos: Path, tmp_path: Path, workdir: Path
) -> None:
    deployed = models["resnet18"]
    formats.export(deployed, workdir / "app", "app")
    lines = (workdir / "app" / "requirements.txt").read_text().splitlines()
    python = fresh_python(tmp_path / "env", tuple(line.split("==")[0] for line in lines))
    photo = sorted(quad_photos.glob("*.jpg"))[0]
    code = """
import json, sys
from img2gps.inference.app import model, serve
found = model.OnnxModel(model.Path(".")).locate(open(sys.argv[1], "rb").read(), "a.jpg")
heavy = [name for name in ("torch", "pandas", "scipy", "timm") if name in sys.modules]
print(json.dumps([found.lat_deg, found.lon_deg, found.radius_m, found.from_here, heavy]))
"""
    done = run(python, workdir / "app", "-c", code, str(photo))
    assert done.returncode == 0, done.stderr
    lat, lon, radius_m, from_here, heavy = json.loads(done.stdout)
    expected = network_answers(deployed, [photo])[0]
    assert (lat, lon) == pytest.approx(tuple(expected), abs=1e-6)
    assert deployed.card.trust is not None
    assert radius_m == pytest.approx(deployed.card.trust.radius_m)
    assert from_here is not None
    assert heavy == []
    refused = run(python, workdir / "app", "-m", "img2gps.inference.app", ".", "--host", "0.0.0.0")  # noqa: S104
    assert refused.returncode == 2
    assert "add --expose" in refused.stderr
    assert (workdir / "app" / "README.md").read_text().startswith("---\ntitle: ")


@pytest.mark.parametrize("name", ["state_dict", "hub"])
def test_folder_with_files_of_the_user_is_left_alone(
    name: str, models: dict[str, Deployed], workdir: Path
) -> None:
    project = workdir / "project"
    project.mkdir()
    (project / "README.md").write_text("# My project\n")
    with pytest.raises(BadInput, match="holds files that are not an export; give a new folder"):
        formats.export(models["resnet18"], project, name)
    assert [path.name for path in project.iterdir()] == ["README.md"]
    formats.export(models["resnet18"], workdir / "out", name)
    formats.export(models["resnet18"], workdir / "out", name)  # an earlier export is replaced


def test_an_export_over_another_leaves_none_of_its_photos(
    models: dict[str, Deployed], workdir: Path
) -> None:
    folder = workdir / "out"
    formats.export(models["resnet18"], folder, "hub")
    found = gallery_of(models["resnet18"])
    assert found is not None
    write_gallery(found, folder, models["resnet18"].card.runs)
    (folder / "notes.txt").write_text("of the user")
    formats.export(models["resnet18"], folder, "state_dict")
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "notes.txt",
        "weights.pt",
    ]


def test_code_of_the_user_is_left_alone_beside_an_export(
    models: dict[str, Deployed], workdir: Path
) -> None:
    formats.export(models["resnet18"], workdir / "out", "state_dict")
    (workdir / "out" / "img2gps").mkdir()
    (workdir / "out" / "img2gps" / "mine.py").touch()
    formats.export(models["resnet18"], workdir / "out", "hub")
    assert (workdir / "out" / "img2gps" / "mine.py").is_file()


def test_all_that_exports_write_is_known(models: dict[str, Deployed], workdir: Path) -> None:
    for name in ("hub", "leaderboard", "state_dict"):
        formats.export(models["resnet18"], workdir / name, name)
        assert {path.name for path in (workdir / name).iterdir()} <= set(formats.WRITTEN)


def test_command_knows_every_format() -> None:
    assert set(FORMATS) == set(formats.FORMATS)


def test_container_file_is_the_one_that_exports_have() -> None:
    inside = Path(formats.__file__).with_name("standalone") / "Dockerfile"
    assert (ROOT / "Dockerfile.app").read_text() == inside.read_text()


@pytest.mark.slow
def test_eight_bits_are_smaller_and_their_price_is_measured(
    models: dict[str, Deployed], tiny_runs: dict[str, Path], workdir: Path
) -> None:
    pytest.importorskip("onnxruntime")
    deployed = models["resnet18"]
    formats.export(deployed, workdir / "onnx", "onnx")
    price = write_int8(deployed, workdir / "onnx")
    assert price.int8_bytes < 0.35 * price.bytes
    result = json.loads((tiny_runs["resnet18"] / "result.json").read_text())
    assert price.rmse_m == pytest.approx(result["metrics"]["val/rmse_m"], abs=1.0)  # bf16 there
    assert abs(price.int8_rmse_m - price.rmse_m) <= price.moved_m + 1e-6
    assert price.moved_m < 20


def test_rounded_weights_travel_in_a_quarter_of_the_size(
    models: dict[str, Deployed], workdir: Path
) -> None:
    deployed = models["efficientnet_lite0"]
    write_exported(deployed, workdir / "exact")
    write_exported(deployed, workdir / "rounded", int8=True)
    sizes = [(workdir / n / "model.safetensors").stat().st_size for n in ("exact", "rounded")]
    assert sizes[1] < 0.3 * sizes[0]
    pixels = sample_pixels(deployed.folders, 32)
    rounded = read_exported(workdir / "rounded")
    assert furthest_m(answers(deployed.network, pixels), answers(rounded.network, pixels)) < 10
    state, again = deployed.network.state_dict(), rounded.network.state_dict()
    weight = state["members.0.backbone.conv_head.weight"]
    step = weight.flatten(1).abs().amax(dim=1) / 127
    off = (again["members.0.backbone.conv_head.weight"] - weight).flatten(1).abs().amax(dim=1)
    assert (off <= step / 2 + 1e-7).all()


@pytest.mark.parametrize(
    "model", [{"name": "hf-hub:someone/else", "family": "timm"}, {"name": "x", "family": "custom"}]
)
def test_tampered_architecture_fetches_and_imports_nothing(
    model: dict[str, str], models: dict[str, Deployed], workdir: Path
) -> None:
    write_exported(models["resnet18"], workdir / "hub")
    path = workdir / "hub" / "model.json"
    plain = json.loads(path.read_text())
    plain["card"]["models"] = [model]
    path.write_text(json.dumps(plain))
    with pytest.raises(BadInput, match=f"architecture {model['name']}"):
        read_exported(workdir / "hub")


def test_submission_answers_every_row_of_the_table(
    models: dict[str, Deployed],
    copied_quad_photos: Path,
    workdir: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = [path.name for path in sorted(copied_quad_photos.glob("IMG*.jpg"))[:3]]
    table = copied_quad_photos / "hidden.csv"
    table.write_text("id,Image_Path\n" + "".join(f"{i},{n}\n" for i, n in enumerate(names)))
    with table.open("a") as file:
        file.write("3,gone.jpg\n4\n")
    localizer = Localizer(models["resnet18"])
    assert write_submission(localizer, table, workdir / "submission.csv") == 5
    with (workdir / "submission.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["Image_Path", "Latitude", "Longitude"]
    assert [row["Image_Path"] for row in rows] == [*names, "gone.jpg", ""]
    found = [(float(row["Latitude"]), float(row["Longitude"])) for row in rows]
    for position, answer in zip(
        localizer.predict(copied_quad_photos / n for n in names), found, strict=False
    ):
        assert answer == (position.lat_deg, position.lon_deg)
    grey = localizer.predict(np.full((40, 40, 3), 128, np.uint8))[0]
    assert found[3:] == [(grey.lat_deg, grey.lon_deg)] * 2  # as the hand-in's prepare_data has it
    assert "gone.jpg: cannot be opened" in caplog.text


def test_gallery_travels_only_when_asked(
    tiny_runs: dict[str, Path], quad_photos: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = str(tiny_runs["resnet18"])
    for folder, extra in (("without", []), ("with", ["--with-gallery"])):
        with pytest.raises(SystemExit) as end:
            main(["export", "--run", run_folder, "--to", folder, "--format", "hub", *extra])
        assert end.value.code == 0
    assert "holds thumbnails and positions of 36 training photos" in capsys.readouterr().out
    assert sorted(p.name for p in Path("without").iterdir()) == [
        "README.md", "app.py", "model.json", "model.safetensors",
    ]  # fmt: skip
    assert "It holds thumbnails and positions of 36" in (Path("with") / "README.md").read_text()
    photo = sorted(quad_photos.glob("IMG*.jpg"))[0]
    own = Localizer.load(run_folder).predict([photo], neighbours=3)[0].neighbours
    far = Localizer.load("with").predict([photo], neighbours=3)[0].neighbours
    assert [one.similarity for one in far] == pytest.approx([one.similarity for one in own])
    assert [one.thumbnail for one in far] == [one.thumbnail for one in own]
    assert all(one.photo.startswith("training photo ") for one in far)
    assert Localizer.load("without").predict([photo], neighbours=3)[0].neighbours == ()
    photos = Path("with") / "gallery.json"
    photos.write_text(photos.read_text().replace("data:image/jpeg;base64,", "http://a/", 1))
    with pytest.raises(BadInput, match=r"gallery\.json: damaged"):
        Localizer.load("with").predict([photo], neighbours=3)
    plain = json.loads(photos.read_text())
    write_json(photos, plain | {"runs": ["0123456789"]})
    with pytest.raises(BadInput, match=r"gallery\.json: .* of another model"):
        Localizer.load("with").predict([photo], neighbours=3)


@pytest.mark.parametrize(
    ("name", "command"),
    [("hub", "img2gps predict PHOTO.jpg --run out"), ("state_dict", "cat out/README.md")],
)
def test_next_command_is_one_that_reads_this_format(
    name: str,
    command: str,
    tiny_runs: dict[str, Path],
    workdir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = str(tiny_runs["resnet18"])
    with pytest.raises(SystemExit) as end:
        main(["export", "--run", run, "--to", "out", "--format", name])
    assert end.value.code == 0
    assert f"next: {command}" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--int8"], ["--push", "a/b"], ["--submission", "a.csv"]])
def test_option_of_another_format_is_refused(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["export", "--run", "x", "--to", "y", "--format", "state_dict", *option])
    assert end.value.code == 2
    assert f"{option[0]}: goes with --format" in capsys.readouterr().err


def test_push_that_the_hub_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(hub.HfApi, "create_repo", refuse)
    with pytest.raises(BadInput, match=r"--push a/b: the hub did not take it \(no network\)"):
        push(tmp_path, "a/b", "hub")
