"""Tables of photos and overrides: what they may look like, and what is said of bad rows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from img2gps.core.errors import BadInput
from img2gps.photos.exif.times import parse_time
from img2gps.photos.ingest import (
    CsvSource,
    FolderSource,
)
from img2gps.photos.sources import position_tables
from tests.helpers.ingested import NULL_ISLAND, ingested, reasons
from tests.helpers.photos import make_photo

LAT, LON = 39.9515, -75.1914


def test_overrides_correct_and_exclude_by_name(root: Path, cache: Path) -> None:
    make_photo(root / "off.jpg", None, None, seed=8)
    (root / "overrides.csv").write_text(
        "photo,lat,lon,exclude,reason\n"
        "a.jpg,10,20,,\n"
        "e.jpg,,,yes,my thumb\n"
        "off.jpg,11,21,,\n"
        "gone.jpg,1,1,,\n"
        "d.png,95,1,,\n"
    )
    found = ingested(FolderSource(root), cache)
    rows = found.manifest.set_index("photo")
    assert list(rows.loc["a.jpg", ["lat_deg", "lon_deg"]]) == [10, 20]
    assert list(rows.loc["off.jpg", ["lat_deg", "lon_deg"]]) == [11, 21]
    assert rows.loc["a.jpg", "note"] == "by overrides.csv"
    assert rows.loc["d.png", "lat_deg"] == pytest.approx(LAT + 3e-4)
    assert reasons(found) == {
        "day 2/e.jpg": "excluded by overrides.csv: my thumb",
        "overrides.csv, row 5": "no photo called 'gone.jpg'",
        "overrides.csv, row 6": "lat is '95'",
    }


def test_changed_overrides_change_the_cache(root: Path, cache: Path) -> None:
    before = ingested(FolderSource(root), cache)
    (root / "overrides.csv").write_text("photo,lat,lon\na.jpg,10,20\n")
    assert ingested(FolderSource(root), cache).fingerprint != before.fingerprint


def test_a_name_that_two_photos_have_needs_its_path(root: Path, cache: Path) -> None:
    make_photo(root / "day 2" / "a.jpg", LAT, LON, seed=60)
    (root / "overrides.csv").write_text("photo,exclude\na.jpg,1\nday 2/evening/f.webp,1\n")
    found = ingested(FolderSource(root), cache)
    assert reasons(found)["overrides.csv, row 2"] == "2 photos called 'a.jpg'"
    assert reasons(found)["day 2/evening/f.webp"] == "excluded by overrides.csv"


@pytest.mark.parametrize(
    "table",
    [
        "path,lat,lon\na.jpg,10.5,20.25\n",
        "image_path,Latitude,Longitude\na.jpg,10.5,20.25\n",
        "\ufeffFileName;Latitude;lng\na.jpg;10,5;20,25\n",
        "lon\tLAT\timage\n20.25\t10.5\ta.jpg\n",
        'id,GPS Latitude,GPS Longitude,Photo\n1,"10.5","20.25","./a.jpg"\n',
        "name,path,lat,lon\nStatue 3,a.jpg,10.5,20.25\n",
    ],
)
def test_csv_headers_and_separators_are_understood(root: Path, cache: Path, table: str) -> None:
    (root / "labels.csv").write_text(table, encoding="utf-8")
    found = ingested(CsvSource(root / "labels.csv"), cache)
    assert found.name == "labels"
    assert found.manifest["photo"].tolist() == ["a.jpg"]
    assert found.manifest[["lat_deg", "lon_deg"]].to_numpy().tolist() == [[10.5, 20.25]]
    assert found.manifest["taken_at"].tolist() == ["2024-05-01T10:00:00"]  # still from EXIF


def test_csv_columns_win_over_exif(root: Path, cache: Path) -> None:
    (root / "t.csv").write_text(
        "path,lat,lon,heading,accuracy,timestamp,session\na.jpg,1,2,90.5,3.5,2020-01-01T00:00:00,x\n"
    )
    row = ingested(CsvSource(root / "t.csv"), cache).manifest.iloc[0]
    assert list(row[["heading_deg", "gps_error_m", "taken_at", "session"]]) == [
        *(90.5, 3.5, "2020-01-01T00:00:00", "x")
    ]


def test_what_no_photo_can_have_is_left_out_of_a_tables_columns(root: Path, cache: Path) -> None:
    (root / "t.csv").write_text(
        "path;lat;lon;accuracy;heading\na.jpg;1;2;-1;inf\nb.JPG;1;3;4,5;-90\n"
    )
    rows = ingested(CsvSource(root / "t.csv"), cache).manifest.set_index("photo")
    assert rows.loc[["a.jpg"], ["gps_error_m", "heading_deg"]].isna().all(axis=None)
    assert list(rows.loc["b.JPG", ["gps_error_m", "heading_deg"]]) == [4.5, 270.0]


def test_a_photos_own_error_is_not_that_of_another_label(root: Path, cache: Path) -> None:
    make_photo(root / "a.jpg", LAT, LON, gps_error_m=14.0)
    assert ingested(FolderSource(root), cache).manifest["gps_error_m"].max() == 14.0
    (root / "overrides.csv").write_text("photo,lat,lon\na.jpg,10,20\n")
    assert ingested(FolderSource(root), cache).manifest["gps_error_m"].isna().all()
    (root / "overrides.csv").write_text("photo,lat,lon,accuracy\na.jpg,10,20,0.5\n")
    assert ingested(FolderSource(root), cache).manifest["gps_error_m"].max() == 0.5


def test_a_photo_corrected_twice_is_corrected_once_and_said(root: Path, cache: Path) -> None:
    (root / "overrides.csv").write_text("photo,lat,lon\na.jpg,10,20\na.jpg,30,40\n")
    found = ingested(FolderSource(root), cache)
    assert found.manifest.set_index("photo").loc["a.jpg", "lat_deg"] == 10
    assert reasons(found) == {"overrides.csv, row 3": "a.jpg is in a row above"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-01-01 10:00:00", "2020-01-01T10:00:00"),
        ("2020-01-01T10:00:00Z", "2020-01-01T10:00:00+00:00"),
        ("2020:01:01 10:00:00", "2020-01-01T10:00:00"),
        ("yesterday", "2024-05-01T10:00:00"),  # then EXIF's
    ],
)
def test_csv_times_are_brought_to_iso_8601(
    root: Path, cache: Path, text: str, expected: str
) -> None:
    (root / "t.csv").write_text(f"path,lat,lon,time\na.jpg,1,2,{text}\n")
    assert ingested(CsvSource(root / "t.csv"), cache).manifest["taken_at"].tolist() == [expected]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb.jpg", r"a\x0ab.jpg"),
        ("a\rb.jpg", r"a\x0db.jpg"),
        (" a .jpg", " a .jpg"),
        ('a",b.jpg', 'a",b.jpg'),
        ("=1+1.jpg", "=1+1.jpg"),
        ("NA.jpg", "NA.jpg"),
        ("写真 📷.jpg", "写真 📷.jpg"),
    ],
)
def test_any_file_name_survives_the_manifest(
    tmp_path: Path, cache: Path, name: str, shown: str
) -> None:
    (tmp_path / "photos").mkdir()
    make_photo(tmp_path / "photos" / name, LAT, LON)
    make_photo(tmp_path / "photos" / f"x{name}", None, None)
    found = ingested(FolderSource(tmp_path / "photos"), cache)
    assert found.manifest["photo"].tolist() == [shown]
    assert found.rejects["file"].tolist() == [f"x{shown}"]


def test_csv_rows_that_cannot_be_used_are_named(root: Path, cache: Path) -> None:
    outside = make_photo(root.parent / "outside.jpg", 1, 1)
    (root / "link.jpg").symlink_to(outside)
    (root / "t.csv").write_text(
        "path,lat,lon\na.jpg,1,2\n../outside.jpg,1,2\n"
        f"{outside},1,2\nlink.jpg,1,2\ngone.jpg,1,2\nb.JPG,x,2\nc.heic,1,200\n,1,2\na.jpg,1,2\n"
    )
    found = ingested(CsvSource(root / "t.csv"), cache)
    assert found.manifest["photo"].tolist() == ["a.jpg"]
    why = reasons(found)
    for name in ("../outside.jpg", str(outside), "link.jpg"):
        assert why[name] == "leads out of the CSV's folder"
    assert why["gone.jpg"] == "cannot be opened: No such file or directory"
    assert why["b.JPG"] == "lat is 'x'"
    assert why["c.heic"] == "lon is '200'"
    assert why["row 9"] == "no path"
    assert why["a.jpg"] == "listed again in row 10"


def test_a_label_of_null_island_is_refused_and_the_other_rows_are_used(
    root: Path, cache: Path
) -> None:
    (root / "t.csv").write_text(
        f"path,lat,lon\na.jpg,{LAT},{LON}\nb.JPG,0,0\nc.heic,{LAT},{LON + 1e-3}\nd.png,0,9\n"
    )
    (root / "overrides.csv").write_text("photo,lat,lon\na.jpg,0.0,-0.0\nd.png,39.9525,-75.1914\n")
    found = ingested(CsvSource(root / "t.csv"), cache)
    assert sorted(found.manifest["photo"]) == ["a.jpg", "c.heic", "d.png"]
    assert found.manifest["lat_deg"].between(39.95, 39.96).all()
    assert reasons(found) == {"b.JPG": NULL_ISLAND, "overrides.csv, row 2": NULL_ISLAND}
    assert set(found.rejects["remedy"]) == {"give its true position, or remove the row"}


def test_csv_may_lead_outside_where_allowed(root: Path, cache: Path) -> None:
    make_photo(root.parent / "outside.jpg", 1, 1)
    (root / "t.csv").write_text("path,lat,lon\n../outside.jpg,1,2\n")
    found = ingested(CsvSource(root / "t.csv", allow_outside=True), cache)
    assert found.manifest["photo"].tolist() == ["../outside.jpg"]


@pytest.mark.parametrize("coding", ["cp1252", "utf-8"])
def test_a_table_and_overrides_in_the_coding_of_excel_are_read(
    root: Path, cache: Path, coding: str
) -> None:
    (root / "a.jpg").rename(os.fsdecode(os.fsencode(root) + b"/M\xfcnster 1.jpg"))  # in Latin-1
    (root / "b.JPG").rename(root / "Münster 2.jpg")
    (root / "t.csv").write_bytes(
        "path;lat;lon;session\nMünster 1.jpg;1,5;2;Münster\nMünster 2.jpg;1;2;Köln\n".encode(coding)
    )
    found = ingested(CsvSource(root / "t.csv"), cache)
    sessions_of = found.manifest.set_index("photo")["session"].to_dict()
    assert sessions_of == {r"M\xfcnster 1.jpg": "Münster", "Münster 2.jpg": "Köln"}
    (root / "overrides.csv").write_bytes("photo,exclude\nMünster 2.jpg,1\n".encode(coding))
    assert (
        reasons(ingested(FolderSource(root), cache))["Münster 2.jpg"] == "excluded by overrides.csv"
    )


@pytest.mark.parametrize("given", ["/dev/zero", "."])
def test_a_table_that_is_no_file_is_refused_at_once(given: str, cache: Path) -> None:
    with pytest.raises(BadInput, match=f"^{given}: not a regular file; give a CSV file$"):
        ingested(CsvSource(given), cache)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"type": "FeatureCollection", "features": ' + b"[1]" * 9999, "no GeoJSON feature coll"),
        (b"spam and eggs " * 999 + b"\n1\n", r"\.\.\.'\); name the columns"),
        (b"PK\3\4" + bytes(range(256)) * 999, "a spreadsheet or an archive; give a CSV file"),
    ],
)
def test_what_is_no_table_is_not_printed_whole(
    tmp_path: Path, cache: Path, content: bytes, message: str
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(BadInput, match=message) as refusal:
        ingested(CsvSource(tmp_path / "t.csv"), cache)
    assert len(str(refusal.value)) < 400


def test_a_quoted_decimal_comma_is_read_also_between_commas(root: Path, cache: Path) -> None:
    (root / "t.csv").write_text('path,lat,lon\na.jpg,"39,95","-75,25"\n')
    found = ingested(CsvSource(root / "t.csv"), cache).manifest
    assert found[["lat_deg", "lon_deg"]].to_numpy().tolist() == [[39.95, -75.25]]


def test_csv_without_the_columns_says_which(root: Path, cache: Path) -> None:
    (root / "t.csv").write_text("path,x,y\na.jpg,1,2\n")
    with pytest.raises(BadInput, match=r"no column for lat, lon \(found: 'path, x, y'\)"):
        ingested(CsvSource(root / "t.csv"), cache)
    with pytest.raises(BadInput, match="give a CSV file"):
        ingested(CsvSource(root / "none.csv"), cache)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file (0 bytes); give a CSV file"),
        ("\ufeff\n", "empty; give a header line and one row a photo"),
        ("path,lat,lon\n", "no rows below its header; add one a photo (path, lat, lon)"),
    ],
)
def test_csv_without_rows_says_so(root: Path, cache: Path, text: str, message: str) -> None:
    (root / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as refusal:
        ingested(CsvSource(root / "t.csv"), cache)
    assert str(refusal.value) == f"{root / 't.csv'}: {message}"


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_tables_of_spreadsheets_are_read(root: Path, cache: Path, coding: str) -> None:
    table = "path\tlat\tlon\r\na.jpg\t10.5\t20.25\r\n"
    mark = "" if coding == "utf-16" else "\ufeff"
    (root / "t.csv").write_bytes((mark + table).encode(coding))
    found = ingested(CsvSource(root / "t.csv"), cache)
    assert found.manifest[["lat_deg", "lon_deg"]].to_numpy().tolist() == [[10.5, 20.25]]


@pytest.mark.parametrize("before", ["sep=;\n", "SEP=;\r\n", "\n\n", "\r\n \r\nsep=;\r\n"])
def test_lines_before_the_header_of_a_table_are_left_out(
    root: Path, cache: Path, before: str
) -> None:
    table = f"{before}path;lat;lon\na.jpg;10,5;20,25\n"
    (root / "t.csv").write_text(table, encoding="utf-8-sig", newline="")
    found = ingested(CsvSource(root / "t.csv"), cache)
    assert found.manifest[["lat_deg", "lon_deg"]].to_numpy().tolist() == [[10.5, 20.25]]


def test_a_column_without_a_name_keeps_its_place(root: Path, cache: Path) -> None:
    (root / "t.csv").write_text("\tpath\tlat\tlon\n0\ta.jpg\t10\t20\n")  # by pandas
    found = ingested(CsvSource(root / "t.csv"), cache)
    assert found.manifest[["lat_deg", "lon_deg"]].to_numpy().tolist() == [[10, 20]]


@pytest.mark.parametrize("name", ["\u00e9.jpg", "e\u0301.jpg"])
def test_tables_and_overrides_name_a_photo_in_either_spelling_of_its_accents(
    root: Path, cache: Path, name: str
) -> None:
    shutil.copy(root / "a.jpg", root / name)
    other = ({"\u00e9.jpg", "e\u0301.jpg"} - {name}).pop()
    (root / "t.csv").write_text(f"path,lat,lon\n{other},10,20\n", encoding="utf-8")
    assert ingested(CsvSource(root / "t.csv"), cache).manifest["photo"].tolist() == [name]
    (root / "overrides.csv").write_text(f"photo,lat,lon\n{other},30,40\n", encoding="utf-8")
    labels = ingested(FolderSource(root), cache).manifest.set_index("photo")["lat_deg"]
    assert labels[name] == 30


def test_a_row_whose_path_no_file_can_have_is_named(root: Path, cache: Path) -> None:
    (root / "t.csv").write_text("path,lat,lon\na.jpg,1,2\nb\x00.jpg,1,2\n")
    found = ingested(CsvSource(root / "t.csv"), cache)
    assert found.manifest["photo"].tolist() == ["a.jpg"]
    assert list(reasons(found).values()) == ["not a file's name"]


def test_times_at_which_no_photo_was_taken_are_none(root: Path, cache: Path) -> None:
    for text in ("9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00+14:00"):
        (root / "t.csv").write_text(f"path,lat,lon,time\na.jpg,1,2,{text}\n")
        found = ingested(CsvSource(root / "t.csv"), cache).manifest
        assert found["taken_at"].tolist() == ["2024-05-01T10:00:00"]  # EXIF's
    assert parse_time("9999:12:31 23:59:59", offset="-10:00") == ""
    assert parse_time("0001:01:01 00:00:00", offset="+14:00") == ""
    assert parse_time("2024:05:01 10:00:00", offset="+24:00") == "2024-05-01T10:00:00"
    assert parse_time("2024:05:01 10:00:00", "٣") == "2024-05-01T10:00:00"


def test_a_folder_whose_positions_are_in_a_table_says_so(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "campus"
    folder.mkdir()
    for i in range(3):
        make_photo(folder / f"{i}.jpg", None, None, seed=i)
    (folder / "notes.csv").write_text("photo,weather\n0.jpg,rain\n")
    (folder / "overrides.csv").write_text("photo,lat,lon\n")
    with pytest.raises(BadInput, match="export originals"):
        ingested(FolderSource(folder), cache)
    table = folder / "metadata.csv"
    table.write_text(f"path,lat,lon\n0.jpg,{LAT},{LON}\n")

    assert position_tables(folder) == [table]
    with pytest.raises(BadInput, match=f"give {table} in place of the folder"):
        ingested(FolderSource(folder), cache)
