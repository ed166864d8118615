"""Where images lie: folders, archives and columns hold the same images; every fault of a place is one plain line."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pictures import encoded, folder_of, noise, pets, refused, tar_of, zip_of

import luce.image_files
from luce.errors import LimitError
from luce.images import Images, read_images

PNG = encoded(noise(6, 8))


def short_names(read: Images, source: Path) -> list[str]:
    return [name.removeprefix(str(source)).lstrip(":/ ") for name in read.names]


def same(a: Images, b: Images) -> bool:
    return (
        np.array_equal(a.pixels, b.pixels)
        and np.array_equal(a.rows, b.rows)
        and np.array_equal(a.labels, b.labels)
        and a.notes == b.notes
    )


# --- folders ---------------------------------------------------------------------------------------------------------


def test_folders_are_the_classes_in_the_order_of_their_names(tmp_path):
    read = read_images(folder_of(tmp_path, pets()))
    assert short_names(read, tmp_path) == [
        "bird/x.webp", "bird/y.tif", "cat/a.png", "cat/b.jpg", "cat/more/c.bmp", "dog/a.png", "dog/b.gif",
    ]  # fmt: skip
    assert read.labels.tolist() == ["bird"] * 2 + ["cat"] * 3 + ["dog"] * 2
    assert read.labels.dtype.kind == "U"
    assert read.rows.tolist() == list(range(7))


def test_a_folder_a_zip_and_a_tar_hold_the_same(tmp_path, monkeypatch):
    files = {"readme.txt": b"x", "dog/notes.xml": b"x", "eel/": b"", "loose.png": PNG, **pets()}
    folder = read_images(folder_of(tmp_path / "pets", files))
    assert len(folder.pixels) == 7
    shuffled = dict(sorted(files.items(), key=lambda item: item[0][::-1]))
    for data in (files, shuffled):
        for archive in (
            zip_of(tmp_path / "a.zip", data),
            zip_of(tmp_path / "b.zip", data, zipfile.ZIP_STORED),
            tar_of(tmp_path / "a.tar", data),
            tar_of(tmp_path / "a.tar.gz", data),
            tar_of(tmp_path / "a.tgz", data),
        ):
            read = read_images(archive)
            assert same(read, folder), archive
            assert short_names(read, archive) == short_names(folder, tmp_path / "pets")
    monkeypatch.setattr(luce.image_files, "HELD", 2000)  # too little to keep the archive: it is gone through again
    assert same(read_images(tmp_path / "a.tar.gz"), folder)


def test_what_systems_leave_behind_is_passed_over(tmp_path):
    plain = read_images(folder_of(tmp_path / "a", pets()))
    behind = {".DS_Store": b"x", "cat/.DS_Store": b"x", "dog/Thumbs.db": b"x", "cat/._a.png": b"x", ".git/a.png": b"x"}
    behind |= {"__MACOSX/cat/._a.png": b"x", "dog/desktop.ini": b"x"}
    assert same(read_images(folder_of(tmp_path / "b", pets() | behind)), plain)
    assert same(read_images(zip_of(tmp_path / "b.zip", pets() | behind)), plain)


@pytest.mark.parametrize("above", ["top/", "top/inner/"])
def test_a_folder_that_stands_alone_is_entered(tmp_path, above):
    plain = read_images(folder_of(tmp_path / "a", pets()))
    inside = {above + name: data for name, data in pets().items()}
    for source in (folder_of(tmp_path / "b", inside), zip_of(tmp_path / "b.zip", inside)):
        read = read_images(source)
        assert read.labels.tolist() == plain.labels.tolist()
        assert (read.pixels == plain.pixels).all()


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "Testing"), ("train", "val", "test")])
def test_of_a_split_the_part_to_train_on_is_read(tmp_path, parts):
    files = {f"all/{part}/{name}": data for part in parts for name, data in pets().items()}
    read = read_images(folder_of(tmp_path, files))
    assert sorted(set(read.labels)) == ["bird", "cat", "dog"]
    assert len(read.pixels) == 7
    assert all(f"/{parts[0]}/" in name for name in read.names)
    assert f"the images in all/{parts[0]} are read, not those in all/{sorted(parts)[0]}" in read.notes[0] or (
        parts[0] == "Training" and "not those in all/Testing" in read.notes[0]
    )


def test_train_is_a_class_beside_other_vehicles(tmp_path):
    read = read_images(folder_of(tmp_path, {"train/a.png": PNG, "test/a.png": PNG, "bus/a.png": PNG}))
    assert read.labels.tolist() == ["bus", "test", "train"]


def test_a_folder_without_folders_is_unlabelled(tmp_path):
    read = read_images(folder_of(tmp_path, {"b.png": PNG, "a.png": PNG}))
    assert read.labels is None
    assert short_names(read, tmp_path) == ["a.png", "b.png"]


def test_what_is_left_out_is_named(tmp_path):
    files = pets() | {"eel/": b"", "fox/notes.txt": b"x", "z.png": PNG, "cat/list.csv": b"x"}
    notes = read_images(folder_of(tmp_path, files)).notes
    assert "2 folder(s) without an image are left out: eel, fox" in notes
    assert "1 image(s) outside the folders of the classes are left out: z.png" in notes
    assert "2 file(s) that are no images by their names are left out: cat/list.csv, fox/notes.txt" in notes


def test_one_class_alone_cannot_be_trained_on_but_predicted(tmp_path):
    folder_of(tmp_path, {"cat/a.png": PNG, "cat/b.png": PNG})
    refused(tmp_path, 'holds the images of one class alone, "cat"; put each class in a folder of its own')
    assert read_images(tmp_path, size=(6, 8)).labels.tolist() == ["cat", "cat"]


def test_names_of_folders_are_composed(tmp_path):
    name = unicodedata.normalize("NFD", "강아지")
    assert name != "강아지"
    read = read_images(folder_of(tmp_path, {f"{name}/a.png": PNG, "고양이/a.png": PNG}))
    assert read.labels.tolist() == ["강아지", "고양이"]


def test_links_are_followed_but_not_in_circles(tmp_path, no_hang):
    folder_of(tmp_path, pets())
    (tmp_path / "cat" / "again").symlink_to(tmp_path)
    (tmp_path / "wolf").symlink_to(tmp_path / "dog")
    labels = read_images(tmp_path).labels.tolist()
    assert labels.count("wolf") == 2
    assert labels.count("cat") == 3


def test_a_pipe_and_a_lost_link_are_named(tmp_path, no_hang):
    folder_of(tmp_path, pets())
    os.mkfifo(tmp_path / "cat" / "p.png")
    refused(tmp_path, "cat/p.png: is a pipe or a device, not a file")
    (tmp_path / "cat" / "p.png").unlink()
    (tmp_path / "cat" / "l.png").symlink_to("nowhere")
    refused(tmp_path, "cat/l.png: cannot be read (No such file or directory)")


def test_images_of_kinds_that_are_not_read_are_no_loss_unsaid(tmp_path):
    for name in ("photo.HEIC", "raw.dng"):
        files = pets() | {f"cat/{name}": PNG}
        said = f"cat/{name}: is an image of a kind that is not read ({Path(name).suffix.lower()}); convert it"
        for source in (
            folder_of(tmp_path / name, files),
            zip_of(tmp_path / "a.zip", files),
            tar_of(tmp_path / "a.tgz", files),
        ):
            refused(source, said)
            assert len(read_images(source, skip_bad=True).pixels) == 7


@pytest.mark.parametrize(
    ("files", "part"),
    [
        ({"a/": b""}, "holds no image; images are files named .png .jpg"),
        ({"a/b.txt": b"x", "c.csv": b"x"}, "holds no image, but 2 other file(s) (a/b.txt, c.csv)"),
        ({".hidden/a.png": PNG}, "holds no image;"),
    ],
)
def test_a_place_without_images_says_so(tmp_path, files, part):
    for source in (
        folder_of(tmp_path / "a", files),
        zip_of(tmp_path / "a.zip", files),
        tar_of(tmp_path / "a.tar", files),
    ):
        refused(source, part)


def test_no_such_place(tmp_path):
    refused(tmp_path / "nowhere", "nowhere: cannot be read: No such file or directory")


# --- archives --------------------------------------------------------------------------------------------------------


def test_an_archive_writes_nothing_and_its_names_lead_nowhere(tmp_path):
    files = {"../../x/a.png": PNG, "/etc/b.png": PNG, "y\\c.png": PNG, "./y/d.png": PNG}
    for archive in (zip_of(tmp_path / "a.zip", files), tar_of(tmp_path / "a.tar", files)):
        before = sorted(tmp_path.iterdir())
        read = read_images(archive)
        assert read.labels.tolist() == ["etc", "x", "y", "y"]
        assert short_names(read, archive) == ["etc/b.png", "x/a.png", "y/c.png", "y/d.png"]
        assert sorted(tmp_path.iterdir()) == before


def test_the_last_of_one_name_counts(tmp_path):
    first, last = np.zeros((4, 4), np.uint8), np.full((4, 4), 9, np.uint8)
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for label, picture in (("x", first), ("y", first), ("x", last)):
            data = encoded(picture)
            member = tarfile.TarInfo(f"{label}/a.png")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert read_images(path).pixels[:, 0, 0, 0].tolist() == [9, 0]


def test_links_in_a_tar_are_counted(tmp_path):
    path = tar_of(tmp_path / "a.tar", pets())
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "a.png"
        archive.addfile(link)
    read = read_images(path)
    assert len(read.pixels) == 7
    assert "1 link(s) in the archive are left out" in read.notes


@pytest.mark.parametrize("encoding", ["cp949", "utf-8"])
def test_names_in_an_older_encoding_are_read(tmp_path, encoding):
    path = zip_of(tmp_path / "a.zip", {"AAAA/a.png": PNG, "BBBB/a.png": PNG})
    new = "고양".encode(encoding)[:4].ljust(4, b"x") if encoding == "cp949" else "é".encode() + b"te"
    path.write_bytes(path.read_bytes().replace(b"AAAA", new))  # as a writer does that sets no mark for UTF-8
    assert set(read_images(path).labels) == {new.decode(encoding), "BBBB"}
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT, encoding="cp949") as archive:
        for label in ("고양이", "개"):
            member = tarfile.TarInfo(f"{label}/a.png")
            member.size = len(PNG)
            archive.addfile(member, io.BytesIO(PNG))
    assert read_images(tar).labels.tolist() == ["개", "고양이"]


def test_a_bomb_is_refused_by_what_it_claims(tmp_path, monkeypatch):
    zeros = {"a/a.bmp": b"BM" + bytes(3_000_000), "b/b.bmp": b"BM" + bytes(3_000_000)}
    bombs = zip_of(tmp_path / "a.zip", zeros), tar_of(tmp_path / "a.tar.gz", zeros)
    for bomb in bombs:
        refused(bomb, "damaged")  # below the floor: they are opened, and are no images
    monkeypatch.setattr(luce.image_files, "FLOOR", 1000)
    for bomb in bombs:
        refused(bomb, "grows more than MAX_GZIP_RATIO (250) times; unpack it", kind=LimitError)
    huge = tar_of(tmp_path / "b.tar.gz", pets() | {"zeros.bin": bytes(9_000_000)})  # no image, and yet gone through
    refused(huge, "grows more than MAX_GZIP_RATIO", kind=LimitError)
    monkeypatch.setattr(luce.image_files, "MAX_FILES", 6)
    refused(tar_of(tmp_path / "c.tar", pets()), "holds more than MAX_FILES (6) files", kind=LimitError)


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_a_heavy_member_is_not_read(tmp_path, monkeypatch, pack):
    path = pack(tmp_path / ("a.zip" if pack is zip_of else "a.tgz"), pets() | {"cat/z.bmp": bytes(9000)})
    monkeypatch.setattr(luce.image_files, "MAX_FILE_BYTES", 8000)
    refused(path, "cat/z.bmp: has 9,000 bytes, more than MAX_FILE_BYTES", kind=LimitError)
    assert len(read_images(path, skip_bad=True).pixels) == 7


def test_an_encrypted_member_is_named(tmp_path):
    path = zip_of(tmp_path / "a.zip", pets())
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")  # the last entry of the directory
    data[at + 8] |= 1
    path.write_bytes(bytes(data))
    refused(path, "bird/y.tif: is encrypted; unpack the archive with its password")


def test_a_damaged_member_is_named_and_can_be_left_out(tmp_path):
    path = zip_of(tmp_path / "a.zip", pets())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("cat/a.png").header_offset
    data = bytearray(path.read_bytes())
    data[start + 60] ^= 0xFF
    path.write_bytes(bytes(data))
    refused(path, "cat/a.png: is damaged in the archive (")
    assert len(read_images(path, skip_bad=True).pixels) == 6


def test_an_archive_that_is_cut_off_is_refused_even_where_bad_images_are_skipped(tmp_path):
    packed = tar_of(tmp_path / "a.tar.gz", pets()).read_bytes()
    plain = tar_of(tmp_path / "a.tar", pets()).read_bytes()
    zipped = zip_of(tmp_path / "a.zip", pets()).read_bytes()
    wrong = bytearray(gzip.compress(plain + bytes(1 << 18)))  # the checksum lies far behind the last member
    wrong[-8] ^= 1
    cases = {
        "b.tar.gz": [packed[:-4], packed[: len(packed) // 2], packed[:-20], bytes(wrong)],
        "b.tar": [plain[:700], plain[:1500]],
        "b.zip": [zipped[:-30], zipped[: len(zipped) // 2]],
    }
    for name, broken in cases.items():
        for data in broken:
            (tmp_path / name).write_bytes(data)
            refused(tmp_path / name, f"{name}: is damaged or cut off: ", "; fetch it again", skip_bad=True)


@pytest.mark.parametrize(
    ("name", "data", "part"),
    [
        ("a.tar.gz", gzip.compress(b"x" * 2000, mtime=0), "is damaged or cut off"),
        (
            "a.gz",
            gzip.compress(b"x" * 2000, mtime=0),
            "is a gzip file that holds neither a tar archive nor an IDX file",
        ),
        ("a.tar.xz", b"\xfd7zXZ\0\0", "is an xz file of a kind that is not read; name it unpacked"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive of a kind that is not read"),
        ("a.rar", b"Rar!\x1a\x07", "is an archive of a kind that is not read"),
    ],
)
def test_archives_that_are_not_read_say_so(write, name, data, part):
    refused(write(data, name), part)


# --- columns ---------------------------------------------------------------------------------------------------------


def test_cells_are_paths_bytes_or_both(tmp_path):
    folder_of(tmp_path, pets())
    paths = ["cat/a.png", "dog/a.png", "cat/b.jpg"]
    by_path = read_images(paths, base=tmp_path)
    assert by_path.names.tolist() == paths
    assert by_path.labels is None
    data = [(tmp_path / path).read_bytes() for path in paths]
    records = [{"bytes": each, "path": path} for each, path in zip(data, paths, strict=True)]
    sources: list[object] = [
        [tmp_path / path for path in paths],
        tuple(str(tmp_path / path) for path in paths),
        data,
        records,
        np.array([str(tmp_path / path) for path in paths]),
        np.array(data, dtype=object),
        pl.Series(data),
        pl.Series(records),
        pd.Series([str(tmp_path / path) for path in paths]),
        pa.chunked_array([data]),
        [bytearray(data[0]), memoryview(data[1]), tmp_path / paths[2]],
    ]
    for source in sources:
        assert (read_images(source).pixels == by_path.pixels).all()
    assert read_images(data).names.tolist() == ["images[0]", "images[1]", "images[2]"]
    assert read_images(records, size=(6, 8)).names.tolist() == paths


@pytest.mark.parametrize(
    ("cell", "part"),
    [
        (None, "images[1]: is missing; give a path or the bytes of an image file, or leave such images out"),
        ("", "is missing"),
        (float("nan"), "images[1]: is missing"),
        (7, "images[1]: is of type int"),
        ({"bytes": None, "path": None}, "images[1]: is missing"),
        ("https://example.org/a.png", "https://example.org/a.png: is a web address, not a path; fetch it first"),
        ("nowhere.png", "nowhere.png: cannot be read (No such file or directory)"),
        (".", ".: cannot be read (Is a directory)"),
        ("a\0b.png", "cannot be read (embedded null byte)"),
        (b"", "images[1]: is empty"),
    ],
)
def test_a_cell_that_is_no_image_is_named(cell, part):
    refused([PNG, cell, PNG], part)
    read = read_images([PNG, cell, PNG], skip_bad=True, labels=["a", "b", "c"])
    assert read.rows.tolist() == [0, 2]
    assert read.labels.tolist() == ["a", "c"]


def test_no_cells_are_no_images():
    refused([], "there is no image in an empty list")
    refused([None, None], "images[0]: is missing", "1 more cannot be read either")
