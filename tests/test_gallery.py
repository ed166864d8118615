"""The images of a page: the PNG of a picture, which rows are shown, what cells do, and that the page holds them."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Run, good, orders
from pages import Node, agrees, at, tree
from pictures import encoded, folder_of
from PIL import Image

import luce as library
from luce import gallery as gallery_of
from luce.errors import InputError
from luce.images import read_images
from luce.page import page, shown
from luce.png import png
from luce.table import Table
from luce.trial import Trained

pytest_plugins = ["commands"]

CLASSES = ["<b>left", "right", "up"]
CORNERS = {"<b>left": (8, 2), "right": (8, 11), "up": (1, 6)}  # the first line and column of what a class shows
SIDE, ROWS = 16, 150


def drawn(label: str, rng: np.random.Generator, channels: int) -> np.ndarray:
    """A bright square where the class has it, on noise."""
    image = rng.integers(0, 60, (SIDE, SIDE, channels), dtype=np.uint8)
    line, column = CORNERS[label]
    image[line : line + 4, column : column + 4] += np.uint8(rng.integers(60, 190))
    return image


def labelled(channels: int = 1, wrong: float = 0.12) -> tuple[np.ndarray, list[str]]:
    """Images, and their labels, of which some are wrong."""
    rng = np.random.default_rng(channels)
    truth = [CLASSES[k % 3] for k in range(ROWS)]
    pixels = np.stack([drawn(label, rng, channels) for label in truth])
    said = [CLASSES[int(rng.integers(3))] if rng.random() < wrong else label for label in truth]
    return pixels, said


@pytest.fixture(scope="module", params=[1, 3])
def data(request: pytest.FixtureRequest) -> Table:
    pixels, labels = labelled(request.param)
    return Table.of(read_images(pixels, labels=labels))


@pytest.fixture(scope="module")
def trained(data: Table) -> Trained:
    return library.train(data, "label", classifier=library.Classifier(l2=0.01))


@pytest.fixture(scope="module")
def told(trained: Trained, data: Table) -> tuple[dict[str, Any], Any]:
    known, pixels = shown(trained.classifier, trained.report, data)
    return json.loads(json.dumps(known, allow_nan=False)), pixels


def decoded(node: Node) -> np.ndarray:
    kind, _, text = node.attributes["src"].partition(",")
    assert kind == "data:image/png;base64"
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
    return image if image.ndim == 3 else image[:, :, np.newaxis]


# --- PNG -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 3), (5, 3, 1), (3, 5, 3), (28, 28, 1), (40, 60, 3)])
@pytest.mark.parametrize("kind", ["noise", "ramp across", "ramp down", "flat"])
def test_a_png_holds_the_pixels(shape: tuple[int, int, int], kind: str) -> None:
    lines, columns, channel = np.indices(shape)
    pixels = {
        "noise": np.random.default_rng(0).integers(0, 256, shape),
        "ramp across": 7 * columns + 90 * channel,
        "ramp down": 9 * lines + 90 * channel,
        "flat": np.full(shape, 255),
    }[kind].astype(np.uint8)
    image = Image.open(io.BytesIO(png(pixels)))
    assert (image.format, image.mode) == ("PNG", "L" if shape[2] == 1 else "RGB")
    assert (np.asarray(image).reshape(shape) == pixels).all()


def test_the_parts_of_a_png_have_their_sums() -> None:
    data = png(np.zeros((2, 3, 1), np.uint8))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, kinds = 8, []
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        kinds.append(data[place + 4 : place + 8])
        assert data[place + 8 + size : place + 12 + size] == zlib.crc32(
            data[place + 4 : place + 8 + size]
        ).to_bytes(4, "big")  # fmt: skip
        place += 12 + size
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize("axis", [0, 1])
def test_smooth_pictures_are_written_by_differences(axis: int) -> None:
    steps = np.random.default_rng(0).integers(-2, 3, (64, 64, 1))
    pixels = (128 + np.cumsum(steps, axis=axis)).astype(np.uint8)
    plain = zlib.compress(np.insert(pixels[:, :, 0], 0, 0, axis=1).tobytes(), 9)
    assert len(png(pixels)) < 0.8 * len(plain)


# --- which rows ----------------------------------------------------------------------------------


def test_mistakes_are_those_of_rows_held_out_the_surest_first(trained: Trained, told: Any) -> None:
    held, classes = trained.classifier.held_out, trained.classifier.fitted.classes
    assert held is not None
    p, codes = held.probabilities, held.codes
    wrong = [i for i in range(ROWS) if held.scored[i] and int(np.argmax(p[i])) != codes[i]]
    wrong.sort(key=lambda i: -max(p[i]))
    expected = [(i + 1, classes[codes[i]], classes[int(np.argmax(p[i]))], max(p[i]), p[i][codes[i]]) for i in wrong]
    found = told[0]["images"]
    keys = ("row", "true", "answer", "probability", "true_probability")
    assert len(wrong) > 5
    assert [tuple(each[key] for key in keys) for each in found["wrong"]] == expected[: gallery_of.WRONG]
    assert found["mistakes"] == len(wrong) and found["scored"] == int(held.scored.sum())


def test_right_answers_are_the_ends_of_each_class(trained: Trained, told: Any) -> None:
    held, classes = trained.classifier.held_out, trained.classifier.fitted.classes
    assert held is not None
    found = told[0]["images"]["right"]
    assert len(found) == 6
    for k, label in enumerate(classes):
        own = [i for i in range(ROWS) if held.codes[i] == k and int(np.argmax(held.probabilities[i])) == k]
        sure = [held.probabilities[i][k] for i in own]
        best, least = found[2 * k], found[2 * k + 1]
        assert (best["true"], best["sure"], least["sure"]) == (label, True, False)
        assert (best["probability"], least["probability"]) == (max(sure), min(sure))
        assert {best["row"] - 1, least["row"] - 1} <= set(own)


def test_at_most_so_many_mistakes_and_classes_are_shown(
    monkeypatch: pytest.MonkeyPatch, trained: Trained, data: Table
) -> None:
    monkeypatch.setattr(gallery_of, "WRONG", 4)
    monkeypatch.setattr(gallery_of, "CLASSES", 2)
    p = np.tile([0.5, 0.3, 0.2], (ROWS, 1))
    codes = np.repeat([0, 1, 2], [20, 50, 80])
    found = gallery_of.gallery(trained.classifier, data, p, codes)
    assert found is not None
    assert [each["row"] for each in found.facts["wrong"]] == [21, 22, 23, 24]
    assert found.facts["mistakes"] == 130 and found.facts["more"] == 1
    assert [each["class"] for each in found.facts["columns"][0]["classes"]] == [CLASSES[1], CLASSES[2]]
    assert found.facts["columns"][0]["classes"][0]["rows"] == 50


def test_rows_that_were_not_held_out_do_not_count(trained: Trained, data: Table) -> None:
    p, codes = np.tile([0.5, 0.3, 0.2], (ROWS, 1)), np.repeat([0, 1, 2], [20, 50, 80])
    scored = np.arange(ROWS) % 50 == 5
    found = gallery_of.gallery(trained.classifier, data, p, codes, scored)
    assert found is not None
    assert [each["row"] for each in found.facts["wrong"]] == [56, 106]
    assert [(each["row"], each["sure"]) for each in found.facts["right"]] == [(6, True)]
    assert (found.facts["scored"], found.facts["mistakes"]) == (3, 2)


def test_answers_follow_the_costs(data: Table) -> None:
    model = library.Classifier(l2=0.01, costs={"up": 1e6}).fit(data, "label")
    held = model.held_out
    assert held is not None
    found = gallery_of.gallery(model, data, held.probabilities, held.codes, held.scored)
    assert found is not None
    assert {each["answer"] for each in found.facts["wrong"]} == {"up"}
    assert all(each["probability"] == held.probabilities[each["row"] - 1, 2] for each in found.facts["wrong"])


# --- what speaks for a class ---------------------------------------------------------------------


def covered(image: np.ndarray, line: int, column: int) -> np.ndarray:
    """An image with one cell of the grid in the colour of its border."""
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    out = image.copy()
    (top, bottom), (left, right) = gallery_of.grid(len(image))[line], gallery_of.grid(len(image))[column]
    out[top:bottom, left:right] = np.sort(edge, axis=0)[(len(edge) - 1) // 2]
    return out


@pytest.mark.parametrize("kind", ["three classes", "two classes", "beside a number"])
def test_cells_are_the_falls_of_the_models_own_logits(kind: str) -> None:
    pixels, labels = labelled(1, wrong=0.05)
    keep = [i for i, label in enumerate(labels) if kind != "two classes" or label != "up"]
    pixels, labels = pixels[keep], [labels[i] for i in keep]
    columns: dict[str, Any] = {"photo": pixels, "label": labels}
    if kind == "beside a number":
        columns["size"] = [0.1 * k + (label == "up") for k, label in enumerate(labels)]
    model = library.Classifier(l2=0.01).fit(columns, "label")
    fitted = model.fitted
    assert [image.name for image in fitted.encoder.images] == ["photo"]
    found = gallery_of.covered_effect(fitted, "photo", pixels[4:5])

    def logits(image: np.ndarray) -> np.ndarray:
        row = {"photo": image[np.newaxis]} | ({"size": [1.25]} if "size" in columns else {})
        z = fitted.logits(fitted.features(Table.of(row)), 1)[0]
        return z - z.mean() if len(z) > 1 else z

    whole = logits(pixels[4])
    for line, column in ((0, 0), (3, 1), (4, 5), (6, 6)):
        fall = whole - logits(covered(pixels[4], line, column))
        assert found[line, column] == pytest.approx(fall, abs=1e-5 * np.abs(whole).max())  # features are float32


def test_cells_speak_where_the_class_has_its_square(told: Any) -> None:
    for each in told[0]["images"]["columns"][0]["classes"]:
        cells = np.array(each["cells"])
        line, column = np.unravel_index(cells.argmax(), cells.shape)
        top, left = CORNERS[each["class"]]
        middle = gallery_of.grid(SIDE)[line][0] + 1, gallery_of.grid(SIDE)[column][0] + 1
        assert abs(middle[0] - top - 1.5) <= 3 and abs(middle[1] - left - 1.5) <= 3, (each["class"], middle)
        assert each["least"] == cells.min() and each["most"] == cells.max() > 0
        assert each["covered"] == gallery_of.MOST_COVERED


def test_of_two_classes_the_first_has_the_second_s_cells_turned_round() -> None:
    pixels, labels = labelled(1)
    keep = [i for i, label in enumerate(labels) if label != "up"]
    model = library.Classifier(l2=0.01).fit({"x": pixels[keep], "y": [labels[i] for i in keep]}, "y")
    codes = np.array([CLASSES.index(labels[i]) for i in keep])
    found = gallery_of._column(model.fitted, "x", pixels[keep], codes, [0, 1], 1)["classes"]
    for k, (top, left) in enumerate((CORNERS[CLASSES[0]], CORNERS[CLASSES[1]])):
        cells = np.array(found[k]["cells"])
        line, column = np.unravel_index(cells.argmax(), cells.shape)
        assert top - 3 <= gallery_of.grid(SIDE)[line][0] <= top + 4
        assert left - 3 <= gallery_of.grid(SIDE)[column][0] <= left + 4


def test_mean_images_are_the_means_of_their_rows(trained: Trained, told: Any, data: Table) -> None:
    pixels = data.column("image").to_numpy()
    labels = np.array(data.column("label").to_list())
    for k, label in enumerate(trained.classifier.fitted.classes):
        mean = pixels[labels == label].astype(float).mean(axis=0)
        assert np.abs(told[1][f"images.columns.0.classes.{k}"] - mean).max() <= 0.5


def test_filters_are_shown_one_by_one(trained: Trained, told: Any) -> None:
    """Grey is 0, the largest number of a filter black or white; every number is a square of the sheet."""
    plan = trained.classifier.fitted.encoder.images[0].plan
    known, pixels = told
    assert known["images"]["columns"][0]["filters"] == [
        {"side": b.side << b.halved, "count": len(b.filters)} for b in plan.banks
    ]
    for i, bank in enumerate(plan.banks):
        sheet, side = pixels[f"images.columns.0.filters.{i}"], bank.side * gallery_of.ZOOM
        for k, own in enumerate(bank.filters):
            line, place = divmod(k, gallery_of.ACROSS)
            tile = sheet[line * (side + 2) + 1 :, place * (side + 2) + 1 :][:side, :side]
            numbers = tile[:: gallery_of.ZOOM, :: gallery_of.ZOOM].transpose(2, 0, 1).ravel() / 127.5 - 1.0
            assert numbers == pytest.approx(own / np.abs(own).max(), abs=0.5 / 127.5 + 1e-6)  # rounded to a shade
            assert np.array_equal(tile, tile[:: gallery_of.ZOOM, :: gallery_of.ZOOM].repeat(4, 0).repeat(4, 1))


def test_the_grid_holds_every_pixel_once() -> None:
    for side in (1, 3, 7, 16, 28, 100):
        places = [place for first, end in gallery_of.grid(side) for place in range(first, end)]
        assert places == list(range(side))
        assert len(gallery_of.grid(side)) == min(side, gallery_of.CELLS)


def test_large_images_are_shown_by_means_of_blocks() -> None:
    image = np.arange(300 * 200 * 3, dtype=np.uint32).reshape(300, 200, 3).astype(np.uint8)
    small = gallery_of.smaller(image)
    assert small.shape == (100, 66, 3)
    assert small[5, 7, 1] == np.rint(image[15:18, 21:24, 1].mean())
    assert gallery_of.smaller(image[:128, :100]) is not None and gallery_of.smaller(image[:128, :100]).shape[0] == 128


# --- the page ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_page_holds_the_images(told: Any, data: Table, lang: str) -> None:
    known, pixels = told
    text = page(known, lang, pixels)
    (section,) = tree(text).all("section", id="images")
    (wrong, right) = section.all("ul", class_="thumbs")
    whole = data.column("image").to_numpy()
    for listed, rows in ((wrong, known["images"]["wrong"]), (right, known["images"]["right"])):
        for node, each in zip(listed.all("li"), rows, strict=True):
            (image,) = node.all("img")
            assert (decoded(image) == whole[each["row"] - 1]).all()
            assert each["true"] in image.attributes["alt"] and each["answer"] in node.text()
            sizes = {int(image.attributes[side]) for side in ("width", "height")}
            assert sizes == {96} and image.attributes["class"] == "coarse"
    assert all(
        each["true"] in node.text() for node, each in zip(wrong.all("li"), known["images"]["wrong"], strict=True)
    )
    faces = section.all("div", class_="face")
    assert len(faces) == 3
    for k, face in enumerate(faces):
        assert (decoded(face.all("img")[0]) == pixels[f"images.columns.0.classes.{k}"]).all()
        assert CLASSES[k] in face.all("img")[0].attributes["alt"]
        (below,) = face.all("image")
        assert below.attributes["href"] == face.all("img")[0].attributes["src"]
        steps = [node.attributes["class"] for node in face.all("path")]
        assert "h5" in steps or "hm5" in steps
        assert {child for sign in face.all("g", class_="signs") for child in sign.text()} <= {"+", "−"}
    assert not tree(text).all("b", onload=None) or "<b>left" not in text
    for node in section.all():
        if "data-fact" in node.attributes:
            assert agrees(node.text(), at(known, node.attributes["data-fact"]))
    assert page(known, lang, pixels) == text


def test_signs_follow_the_cells(told: Any) -> None:
    known, pixels = told
    face = tree(page(known, "en", pixels)).all("div", class_="face")[0]
    cells = np.array(known["images"]["columns"][0]["classes"][0]["cells"])
    steps = np.rint(5 * cells / np.abs(cells).max())
    signs = {(float(t.attributes["x"]), float(t.attributes["y"])): t.text() for t in face.all("text")}
    assert len(signs) == int((steps != 0).sum())
    for (x, y), sign in signs.items():
        assert sign == ("+" if steps[int(y // 20), int(x // 20)] > 0 else "−")


def test_the_facts_are_json_without_pixels_and_the_page_needs_none(told: Any) -> None:
    known, pixels = told
    assert "data:image" not in json.dumps(known)
    (section,) = tree(page(known, "en")).all("section", id="images")
    assert not section.all("img") and not section.all("image")
    assert len(section.all("li")) == len(tree(page(known, "en", pixels)).all("section", id="images")[0].all("li"))


def test_models_without_images_have_no_such_section() -> None:
    trained = library.train(orders(200), "label")
    known, pixels = shown(trained.classifier, trained.report, Table.of(orders(200)))
    assert "images" not in known and not pixels
    root = tree(page(known, "en", pixels))
    assert not root.all("section", id="images") and not root.all("img") and not root.all("a", href="#images")


def test_write_report_shows_the_images_of_its_data(trained: Trained, data: Table, tmp_path: Path) -> None:
    for file, given in (("a.html", data), ("b.html", data), ("c.html", None)):
        library.write_report(tmp_path / file, trained.classifier, trained.report, lang="en", data=given)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text == page(*[shown(trained.classifier, trained.report, data)[k] for k in (0,)], "en",
                        shown(trained.classifier, trained.report, data)[1])  # fmt: skip
    assert (tmp_path / "b.html").read_text(encoding="utf-8") == text
    assert 'id="images"' not in (tmp_path / "c.html").read_text(encoding="utf-8")
    few = Table(data.frame[:7], data.source)
    with pytest.raises(InputError, match="data has 7 rows: give those of the report, or those just fitted to"):
        library.write_report(tmp_path / "d.html", trained.classifier, trained.report, lang="en", data=few)
    assert not (tmp_path / "d.html").exists()


def test_a_page_of_evaluated_rows_shows_their_images(trained: Trained, data: Table) -> None:
    some = Table(data.frame[20:60], data.source)
    report = trained.classifier.evaluate(some)
    known, pixels = shown(trained.classifier, report, some)
    answers = report.probabilities.argmax(axis=1)
    assert known["images"]["scored"] == 40
    assert known["images"]["mistakes"] == int((answers != report.codes).sum())
    whole = some.column("image").to_numpy()
    for k, each in enumerate(known["images"]["wrong"]):
        assert (pixels[f"images.wrong.{k}.0"] == whole[each["row"] - 1]).all()
    assert "saved model on the rows given" in tree(page(known, "en", pixels)).text()


def test_a_column_of_paths_tells_the_files(luce: Run, tmp_path: Path) -> None:
    pixels, labels = labelled(1, wrong=0.1)
    folder_of(tmp_path / "set", {f"{i}.png": encoded(image[:, :, 0]) for i, image in enumerate(pixels)})
    (tmp_path / "set" / "9.png").write_bytes(b"no image")
    lines = [f"{i}.png,{i % 7},{label}" for i, label in enumerate(labels)]
    (tmp_path / "set" / "rows.csv").write_text("\n".join(["photo,day,kind", *lines]), encoding="utf-8")
    train = ("train", "set/rows.csv", "--label", "kind", "--as", "photo=image", "--skip-bad", "--lang", "en")
    ran = good(luce(*train, "--report", "r.html", "--json"))
    known = json.loads(ran.out)
    for each in known["images"]["wrong"] + known["images"]["right"]:
        place = int(each["file"].removesuffix(".png"))
        assert each["row"] == place + 1 - (place > 9) and each["true"] == labels[place]
    root = tree((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "How well “kind” is predicted" in root.all("h1")[0].text()
    assert "by 2 columns" in root.all("header")[0].text()
    assert " --label kind" in root.all("section", id="card")[0].text()


def test_a_loaded_model_tells_of_images_whatever_it_was_fitted_to(
    trained: Trained, data: Table, tmp_path: Path
) -> None:
    trained.classifier.save(tmp_path / "m.luce")
    loaded = library.load(tmp_path / "m.luce")
    known, pixels = shown(loaded, loaded.evaluate(data), data)
    assert len(known["images"]["columns"][0]["classes"]) == 3 and pixels


def test_the_commands_write_the_images_of_a_folder(luce: Run, tmp_path: Path) -> None:
    pixels, labels = labelled(1, wrong=0.1)
    names = {"<b>left": "l", "right": "r", "up": "u"}
    files = {f"{names[label]}/{i}.png": encoded(pixels[i, :, :, 0]) for i, label in enumerate(labels)}
    folder_of(tmp_path / "set", files)
    ran = good(luce("train", "set", "--report", "r.html", "--json"))
    known = json.loads(ran.out)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    root = tree(text)
    shown_rows = len(known["images"]["wrong"]) + len(known["images"]["right"])
    sheets = len(known["images"]["columns"][0]["filters"])
    assert sheets == len(root.all("img", class_="sheet")) >= 1
    assert len(root.all("img")) == shown_rows + 3 + sheets
    assert "http" not in re.sub(r"http-equiv|https?://www.w3.org[^\"]*", "", text) and "url(" not in text
    assert at(known, "schema.columns.0.kind") == "image" and "missing" not in known["schema"]["columns"][0]
    for each in known["images"]["wrong"]:
        row = sorted(files).index(each["file"].removeprefix("set/"))
        assert each["row"] == row + 1 and Path(each["file"]).parts[-2] == each["true"]
    names = [
        node.attributes["title"]
        for node in root.all("section", id="images")[0].all("bdi")
        if node.attributes.get("title")
    ]
    assert [each["file"] for each in known["images"]["wrong"] + known["images"]["right"]] == names
    heading, card = root.all("h1")[0].text(), root.all("section", id="card")[0].text()
    assert heading == "How well the model predicts" and "luce train setluce" in card
    assert "tells 3 classes apart by images and has learnt from 150 of them" in root.all("header")[0].text()
    assert "Categories" not in card and "nearly equal" not in root.text()
    good(luce("evaluate", "model.luce", "set", "--report", "e.html"))
    assert tree((tmp_path / "e.html").read_text(encoding="utf-8")).all("section", id="images")
