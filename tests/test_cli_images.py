"""Commands on images: folders, single pictures, tables that name pictures, bad files, IDX files."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import Run, refused
from test_pictures import drawn, in_folders

from luce import load
from luce.images import read_images

pytest_plugins = ["commands"]

Image = pytest.importorskip("PIL.Image")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "images" / "mnist"


def test_a_folder_is_trained_on_and_predicted(luce: Run, tmp_path: Path) -> None:
    pixels, names = drawn(150)
    folder = in_folders(tmp_path / "shapes", pixels, names)
    done = luce("train", str(folder), "--out", str(tmp_path / "m.luce"))
    assert done.code == 0
    assert "images (1): image" in done.err + done.out
    new, truth = drawn(30, 1)
    loose = tmp_path / "new"
    loose.mkdir()
    for i, image in enumerate(new):
        Image.fromarray(image).resize((40, 40)).save(loose / f"{i:02d}.png")
    done = luce("predict", str(tmp_path / "m.luce"), str(loose))
    lines = done.out.splitlines()
    assert lines[0] == "image,prediction,p:bar,p:cross,p:ring"
    assert [line.split(",")[0].endswith(f"{i:02d}.png") for i, line in enumerate(lines[1:])] == [True] * 30
    assert np.mean([line.split(",")[1] for line in lines[1:]] == truth) > 0.8
    one = luce("predict", str(tmp_path / "m.luce"), str(loose / "03.png"))
    assert one.out.splitlines()[1] == lines[4]
    refused(luce("predict", str(tmp_path / "m.luce"), str(loose / "*.png")), "*.png", "give the folder")
    done = luce("evaluate", str(tmp_path / "m.luce"), str(folder))
    assert done.code == 0
    assert "accuracy" in done.out
    done = luce("explain", str(tmp_path / "m.luce"), str(loose / "03.png"))
    assert "16 x 16 pixels" in done.out


def test_a_bad_image_stops_the_work_or_is_left_out_if_asked(luce: Run, tmp_path: Path) -> None:
    pixels, names = drawn(60)
    folder = in_folders(tmp_path / "shapes", pixels, names)
    (folder / "ring" / "bad.png").write_bytes(b"no image")
    done = luce("train", str(folder), "--out", str(tmp_path / "m.luce"))
    assert done.code != 0
    assert "bad.png" in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "m.luce").exists()
    done = luce("train", str(folder), "--out", str(tmp_path / "m.luce"), "--skip-bad")
    assert done.code == 0
    assert "1 image(s) that cannot be read are left out" in done.err
    for command in ("predict", "evaluate"):
        assert luce(command, str(tmp_path / "m.luce"), str(folder)).code != 0
        assert luce(command, str(tmp_path / "m.luce"), str(folder), "--skip-bad").code == 0


def test_a_budget_of_time_is_kept_or_refused_in_a_line(luce: Run, tmp_path: Path) -> None:
    folder = in_folders(tmp_path / "shapes", *drawn(60))
    done = luce("train", str(folder), "--holdout", "0", "--out", str(tmp_path / "m.luce"), "--budget", "0.0001")
    assert done.code == 0
    assert "they enter as pixels" in done.err
    assert "image: 256 pixels" in done.out
    done = luce("train", str(folder), "--out", str(tmp_path / "other.luce"), "--budget", "soon")
    assert done.code == 1
    assert done.err.strip() == "luce: budget is 'soon': give seconds above 0, such as 30s, 2min or 90"
    assert not (tmp_path / "other.luce").exists()


def test_a_table_may_name_its_images(luce: Run, tmp_path: Path) -> None:
    pixels, names = drawn(90)
    in_folders(tmp_path / "shapes", pixels, names)
    lines = [f"shapes/{name}/{i:03d}.png,{i % 7},{name}" for i, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("photo,age,shape\n" + "\n".join(lines) + "\n")
    model, table = str(tmp_path / "m.luce"), str(tmp_path / "t.csv")
    done = luce("train", table, "--label", "shape", "--as", "photo=image", "--out", model)
    assert done.code == 0
    assert "images (1): photo" in done.err + done.out
    assert len(luce("predict", model, table).out.splitlines()) == 91
    done = luce("predict", model, str(tmp_path / "shapes"))
    assert done.code != 0
    assert "reads other columns too" in done.err


@pytest.mark.parametrize("form", ["records", "bytes"])
def test_images_inside_parquet_files_are_found(luce: Run, tmp_path: Path, form: str) -> None:
    """As records of bytes and a path, as data sets have them, or as bytes; in one file or in many, where a list beside
    them is left out."""
    pixels, names = drawn(90)
    folder = tmp_path / "shards"
    folder.mkdir()
    cells: list[object] = []
    for i, image in enumerate(pixels):
        Image.fromarray(image.squeeze()).save(encoded := io.BytesIO(), "PNG")
        data = encoded.getvalue()
        cells.append({"bytes": data, "path": f"{i}.png"} if form == "records" else data)
    whole = pl.DataFrame({"scan": cells, "shape": names, "tags": [[i] for i in range(90)]})
    for part in range(2):
        whole[45 * part : 45 * part + 45].write_parquet(folder / f"{part}.parquet")
    model, one = str(tmp_path / "m.luce"), str(folder / "0.parquet")
    for data, rows in ((one, 45), (str(folder), 90)):
        done = luce("train", data, "--label", "shape", "--out", model)
        assert done.code == 0
        assert "images (1): scan" in done.err + done.out
        assert done.err.count('note: column "tags" is of the type List(Int64), which is not read') == 1
        assert len(luce("predict", model, str(folder / "*.parquet")).out.splitlines()) == 91
        assert f"evaluated: {rows} rows" in luce("evaluate", model, data).out
        assert f"{rows} rows" in luce("doctor", data, "--label", "shape").out
    inside = read_images([data["bytes"] if isinstance(data, dict) else data for data in cells]).pixels
    assert np.array_equal(inside.squeeze(), pixels.squeeze())
    said = refused(luce("train", str(folder), "--label", "shape", "--out", model, "--memory", "40KB"))
    assert "the images in column 'scan' take more than a quarter of the memory that is allowed" in said


@pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not here: ../shared/data")
def test_mnist_from_the_idx_files(luce: Run, tmp_path: Path) -> None:
    """3,000 of the digits; 95 %: what pixels alone reach with them is about 88 %."""
    for part, kind, offset in (("images", "idx3", 16), ("labels", "idx1", 8)):
        raw = gzip.decompress((DATA / f"train-{part}-{kind}-ubyte.gz").read_bytes())
        each = 784 if part == "images" else 1
        head = raw[:4] + (3000).to_bytes(4, "big") + raw[8:offset]
        (tmp_path / f"train-{part}-{kind}-ubyte").write_bytes(head + raw[offset : offset + 3000 * each])
    done = luce("train", str(tmp_path / "train-images-idx3-ubyte"), "--holdout", "0", "--out", str(tmp_path / "m.luce"))
    assert done.code == 0
    test = read_images(DATA / "t10k-images-idx3-ubyte.gz")
    model = load(tmp_path / "m.luce")
    assert np.mean(model.predict(test.pixels[:2000]) == test.labels[:2000]) > 0.95
