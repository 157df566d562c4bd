"""Near copies are found whatever was done to them, and lie on one side of every split."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from img2gps.config.schema import SplitConfig, SplitKind
from img2gps.photos.copies import are_copies, near_copies
from img2gps.photos.dataset import Dataset
from img2gps.photos.ingest import FolderSource, QuadSource, ingest
from img2gps.photos.look import COARSE, Look, look, looks
from img2gps.photos.split import make_split
from tests.helpers.photos import make_photo
from tests.photos.test_decode import noisy

LAT, LON = 39.9515, -75.1914


def run(root: Path, size: int = 64, **options: bool) -> Dataset:
    cache = root.parent / "cache"
    return ingest(FolderSource(root), image_size=size, cache_dir=cache, progress=False, **options)


def view(seed: int) -> Image.Image:
    """A picture with structure of every size, unlike those of other seeds."""
    rng = np.random.default_rng(seed)
    image = noisy((400, 300), seed)
    for _ in range(40):
        x, y = int(rng.integers(0, 400)), int(rng.integers(0, 300))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        image.paste(colour, (x, y, x + int(rng.integers(10, 120)), y + int(rng.integers(10, 90))))
    return image


def recoded(image: Image.Image, kind: str, **options: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(file)


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved again": lambda image: recoded(image, "JPEG", quality=40),
    "exported from HEIC": lambda image: recoded(image, "HEIF", quality=60),
    "halved": lambda image: image.resize((image.width // 2, image.height // 2)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "moved by 2 %": lambda image: image.crop((image.width // 50, 0, image.width, image.height)),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_copy_is_found_and_nothing_else(tmp_path: Path, edit: str) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for seed in range(8):
        make_photo(root / f"{seed}.jpg", LAT, LON, image=view(seed))
    make_photo(root / "copy of 3.jpg", LAT, LON, image=EDITS[edit](view(3)))
    found = run(root)
    grouped = found.manifest[found.manifest["group"] != ""]
    assert sorted(grouped["photo"]) == ["3.jpg", "copy of 3.jpg"]
    assert len(set(grouped["group"])) == 1
    assert sorted(found.summary["near_copies"][0]) == ["3.jpg", "copy of 3.jpg"]


@pytest.mark.parametrize("edit", EDITS)
def test_copies_of_another_data_set_are_found_and_nothing_else(tmp_path: Path, edit: str) -> None:
    for folder, edited, seeds in (("own", False, range(8)), ("others", True, (3, 9))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            image = EDITS[edit](view(seed)) if edited else view(seed)
            make_photo(tmp_path / folder / f"{seed}.jpg", LAT, LON, image=image)
    own, others = run(tmp_path / "own"), run(tmp_path / "others", size=96)
    found = are_copies(looks(others.pixels()), looks(own.pixels()))
    assert dict(zip(others.manifest["photo"], found, strict=True)) == {
        "3.jpg": True, "9.jpg": False,
    }  # fmt: skip


def test_a_photo_its_heic_and_a_copy_turned_upright_are_one_group(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    image = view(1)
    make_photo(
        root / "a.jpg", LAT, LON, image=image.transpose(Image.Transpose.ROTATE_90), orientation=6
    )
    make_photo(root / "a.heic", LAT, LON, image=image)
    make_photo(root / "a-edited.png", LAT, LON, image=EDITS["brighter"](image))
    make_photo(root / "b.jpg", LAT, LON, image=view(2))
    groups = run(root).manifest.set_index("photo")["group"]
    assert groups["b.jpg"] == ""
    assert len(set(groups.drop("b.jpg"))) == 1


def test_a_burst_is_looser_than_a_copy(tmp_path: Path) -> None:
    image = view(5)
    moved = image.crop((20, 12, 400, 300))  # 5 and 4 % of its sides
    agreement = float(look(square(moved))[COARSE:] @ look(square(image))[COARSE:]) / 250
    assert 0.4 < agreement < 0.6
    for folder, camera, second in (("burst", "1", 2), ("later", "1", 9), ("other", "2", 2)):
        root = tmp_path / folder / "photos"
        root.mkdir(parents=True)
        shots = (("a.jpg", image, 0, "1"), ("b.jpg", moved, second, camera))
        for name, shown, at, by in shots:
            taken = f"2024:05:01 12:00:0{at}"
            make_photo(root / name, LAT, LON, image=shown, taken_at=taken, camera=("Maker", by))
        groups = run(root).manifest["group"]
        assert (groups != "").all() == (folder == "burst")


def square(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("name", ["penn-quad", "seneca-aerial"])
def test_real_photos_have_no_copies_so_that_published_splits_stay(
    real_photos: Path, tmp_path: Path, name: str
) -> None:
    found = ingest(
        FolderSource(real_photos / name), image_size=224, cache_dir=tmp_path, progress=False
    ).manifest
    assert (found["group"] == "").all()
    for kind in (SplitKind.random, SplitKind.place, SplitKind.kfold):
        plain = make_split(found, SplitConfig(kind=kind, n_val=16))
        grouped = make_split(found, SplitConfig(kind=kind, n_val=16, group_near_copies=True))
        assert plain.val.tolist() == grouped.val.tolist()
        assert plain.train.tolist() == grouped.train.tolist()


def test_the_built_in_quad_has_no_groups(tmp_path: Path) -> None:
    found = ingest(
        QuadSource(n=40, width=64, height=48), image_size=32, cache_dir=tmp_path, progress=False
    )
    assert (found.manifest["group"] == "").all()


def test_one_of_each_keeps_the_largest_copy(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for seed in range(6):
        make_photo(root / f"{seed}.jpg", LAT + seed / 1e4, LON, image=view(seed))
    make_photo(root / "0 small.jpg", LAT, LON, image=EDITS["halved"](view(4)))
    make_photo(root / "9 grey.jpg", LAT, LON, image=EDITS["grey"](view(4)))
    every, kept = run(root), run(root, one_of_each=True)
    assert (len(every), len(kept)) == (8, 6)
    assert sorted(kept.manifest["photo"]) == [f"{seed}.jpg" for seed in range(6)]
    assert dict(zip(kept.rejects["file"], kept.rejects["reason"], strict=True)) == {
        "0 small.jpg": "a near copy of 4.jpg",
        "9 grey.jpg": "a near copy of 4.jpg",
    }
    kept.verify()
    assert kept.pixels().shape == (6, 64, 64, 3)
    assert kept.fingerprint != every.fingerprint


def looks_of(n: int, seed: int = 0) -> Look:
    """Looks of photos that have nothing in common."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(n, COARSE))
    coarse /= np.linalg.norm(coarse, axis=1, keepdims=True)
    return np.concatenate([coarse, rng.choice([-1, 1], (n, 250))], axis=1).astype(np.float32)


def table(n: int) -> pd.DataFrame:
    return pd.DataFrame({"original": [f"{i:06d}" for i in range(n)], "camera": "", "taken_at": ""})


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_twenty_thousand_copies_of_one_photo_are_one_group(noise: float) -> None:
    rng = np.random.default_rng(0)
    looks = np.repeat(looks_of(1), 20_000, axis=0)
    looks += (noise * rng.normal(size=looks.shape)).astype(np.float32)
    assert set(near_copies(looks, table(20_000))) == {"000000"}


def test_copies_among_thousands_are_found() -> None:
    rng = np.random.default_rng(1)
    looks = looks_of(3000)
    copies = looks[:500].copy()
    flipped = rng.random((500, 250)) < 0.1
    copies[:, COARSE:] *= np.where(flipped, -1, 1)
    found = near_copies(np.concatenate([looks, copies]), table(3500))
    expected = [f"{i:06d}" if i < 500 else "" for i in range(3000)] + [
        f"{i:06d}" for i in range(500)
    ]
    assert found == expected


@pytest.mark.parametrize("kind", list(SplitKind))
def test_near_copies_lie_on_one_side_of_every_split(kind: SplitKind) -> None:
    rng = np.random.default_rng(0)
    n = 200
    group = np.array(["" if i >= 120 else f"g{i // 3}" for i in range(n)])
    manifest = pd.DataFrame(
        {
            "lat_deg": LAT + rng.normal(0, 1e-3, n),
            "lon_deg": LON + rng.normal(0, 1e-3, n),
            "gps_error_m": np.nan,
            "session": [f"s{i % 10}" for i in range(n)],
            "content": [f"c{i}" for i in range(n)],
            "original": [f"o{i}" for i in range(n)],
            "group": group,
        }
    )
    apart = make_split(manifest, SplitConfig(kind=kind, n_val=40))
    assert set(group[apart.val]) & set(group[apart.train]) - {""}
    for seed in range(10):
        config = SplitConfig(kind=kind, n_val=40, n_test=20, seed=seed, group_near_copies=True)
        split = make_split(manifest, config)
        sides = [set(group[rows]) - {""} for rows in (split.train, split.val, split.test)]
        assert sum(map(len, sides)) == len(set.union(*sides))
        assert len(split.val) > 0
