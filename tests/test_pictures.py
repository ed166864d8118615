"""Images as columns: from files to predictions, beside other columns, in model files, in commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from claims import same_bits

import luce
from luce.container import read_container, write_container
from luce.errors import InputError, ModelFileError
from luce.images import read_images
from luce.path import FOLDS
from luce.pictures import seconds_of
from luce.schema import infer_schema, parse
from luce.table import Table

Image = pytest.importorskip("PIL.Image")

SIDE = 16


def drawn(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Crosses, rings and bars somewhere in noise, uint8 (n, 16, 16)."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (rows, SIDE, SIDE)).astype(np.uint8)
    names = np.array(["bar", "cross", "ring"])[rng.integers(0, 3, rows)]
    for image, name in zip(pixels, names, strict=True):
        top, left = rng.integers(0, SIDE - 8, 2)
        part = image[top : top + 8, left : left + 8]
        if name == "bar":
            part[3:5, :] = 220
        elif name == "cross":
            part[3:5, :] = part[:, 3:5] = 220
        else:
            part[0, 1:7] = part[7, 1:7] = part[1:7, 0] = part[1:7, 7] = 220
    return pixels, names


def in_folders(folder: Path, pixels: np.ndarray, names: np.ndarray) -> Path:
    for i, (image, name) in enumerate(zip(pixels, names, strict=True)):
        (folder / str(name)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / str(name) / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def model() -> luce.Classifier:
    return luce.Classifier().fit(*drawn(300))


def test_shapes_are_told_apart_wherever_they_stand(model: luce.Classifier) -> None:
    """Pixels tell them less well: the same bar has other pixels one line further down."""
    new, truth = drawn(300, 1)
    assert np.mean(model.predict(new) == truth) > 0.98
    flat = luce.SoftmaxRegression().fit(drawn(300)[0].reshape(300, -1), drawn(300)[1])
    assert flat.score(new.reshape(300, -1), truth) < 0.95


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_has_the_same_bits(threads: int, model: luce.Classifier) -> None:
    other = luce.Classifier(threads=threads).fit(*drawn(300))
    assert same_bits(other.predict_proba(drawn(50, 1)[0]), model.predict_proba(drawn(50, 1)[0]))


def test_a_row_has_the_same_bits_in_any_batch(model: luce.Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    new, _ = drawn(100, 1)
    whole = model.predict_proba(new)
    assert same_bits(np.concatenate([model.predict_proba(new[:1]), model.predict_proba(new[1:])]), whole)
    monkeypatch.setattr("luce.classifier.IMAGES_AT_ONCE", 7)
    assert same_bits(model.predict_proba(new), whole)


def test_no_held_out_row_has_been_seen() -> None:
    """Labels drawn by lot: what is held out is guessed, whatever the model has learnt by heart."""
    pixels, _ = drawn(250)
    labels = np.random.default_rng(5).integers(0, 2, 250)
    model = luce.Classifier(l2=1e-7).fit(pixels, labels)
    held = model.held_out
    assert held is not None
    assert np.mean(model.predict(pixels) == labels) > 0.9
    assert np.mean(held.probabilities.argmax(axis=1) == held.codes) < 0.65


def test_equal_images_are_held_out_together() -> None:
    """Each image five times: were its equals in other folds, labels by lot would be known."""
    pixels, _ = drawn(40)
    labels = np.random.default_rng(5).integers(0, 2, 40)
    model = luce.Classifier(l2=1e-7).fit(np.repeat(pixels, 5, axis=0), np.repeat(labels, 5))
    held = model.held_out
    assert held is not None
    assert np.mean(held.probabilities.argmax(axis=1) == held.codes) < 0.75


def test_a_saved_model_has_the_same_bits_and_a_broken_one_is_refused(model: luce.Classifier, tmp_path: Path) -> None:
    new, _ = drawn(20, 1)
    model.save(tmp_path / "m.luce")
    assert same_bits(luce.load(tmp_path / "m.luce").predict_proba(new), model.predict_proba(new))
    arrays, facts = read_container(tmp_path / "m.luce")
    for name in ("image0_means", "image0_filters0"):
        for change in (lambda a: a[:-1], lambda a: a.astype(np.float64), lambda a: a[..., np.newaxis]):
            broken = dict(arrays) | {name: np.ascontiguousarray(change(arrays[name]))}
            write_container(tmp_path / "broken.luce", broken, facts)
            with pytest.raises(ModelFileError):
                luce.load(tmp_path / "broken.luce")


def test_images_stand_beside_other_columns(tmp_path: Path) -> None:
    """The label needs both: a bar, and on the left."""
    pixels, names = drawn(400)
    side = np.random.default_rng(0).choice(["left", "right"], 400)
    label = (side == "left") & (names == "bar")
    table = {"picture": pixels, "side": side.tolist(), "age": np.arange(400.0) % 37}
    model = luce.Classifier().fit(table, label)
    new, truth = drawn(200, 1)
    other = np.random.default_rng(1).choice(["left", "right"], 200)
    rows = {"picture": new, "side": other.tolist(), "age": np.zeros(200)}
    wanted = (other == "left") & (truth == "bar")
    assert np.mean(model.predict(rows) == wanted) > 0.95
    assert model.fitted.encoder.sources[-1] == "side"
    found = model.explain(rows, 3)
    assert {c.column: c.value for c in found.contributions}["picture"] == "16 x 16 pixels"
    amounts = sum(c.amount for c in found.contributions) + found.base
    p = model.predict_proba(rows)[3]
    assert amounts == pytest.approx(abs(np.log(p[1]) - np.log(p[0])), abs=1e-6)
    model.save(tmp_path / "m.luce")
    assert same_bits(luce.load(tmp_path / "m.luce").predict_proba(rows), model.predict_proba(rows))


def test_paths_and_bytes_are_images_where_it_is_said(
    model: luce.Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, names = drawn(60)
    folder = in_folders(tmp_path / "shapes", pixels, names)
    paths = [f"shapes/{name}/{i:03d}.png" for i, name in enumerate(names)]
    monkeypatch.chdir(tmp_path)
    kinds = {"image": "image"}
    of_paths = luce.Classifier(kinds=kinds).fit({"image": paths}, names)
    of_bytes = luce.Classifier(kinds=kinds).fit(
        {"image": pl.Series([(tmp_path / p).read_bytes() for p in paths])}, names
    )
    cells = [(tmp_path / p).read_bytes() for p in paths]
    assert same_bits(of_bytes.predict_proba({"image": cells}), of_bytes.predict_proba({"image": pl.Series(cells)}))
    of_pixels = luce.Classifier().fit({"image": pixels}, names)
    wanted = of_pixels.predict_proba({"image": pixels})
    assert same_bits(of_paths.predict_proba({"image": paths}), wanted)
    assert same_bits(of_bytes.predict_proba({"image": paths}), wanted)
    assert same_bits(of_pixels.predict_proba(read_images(folder)), of_pixels.predict_proba(read_images(folder).pixels))
    with pytest.raises(InputError, match=r"column .image.*no-such\.png"):
        of_paths.predict({"image": ["no-such.png"]})
    with pytest.raises(InputError, match="images"):
        luce.Classifier(kinds={"x": "image"}).fit({"x": [1.0, 2.0, 3.0]}, ["a", "b", "a"])


def test_pixels_of_another_size_are_brought_to_it(model: luce.Classifier) -> None:
    large = np.random.default_rng(0).integers(0, 256, (3, 40, 24, 3)).astype(np.uint8)
    wanted = read_images(large, size=(SIDE, SIDE), channels=1).pixels
    assert same_bits(model.predict_proba(large), model.predict_proba(wanted))
    with pytest.raises(InputError, match=r"holds float64 from 0\.0 to 7\.0"):
        model.predict(np.full((3, SIDE, SIDE), 7.0) * (np.arange(3) > 0)[:, None, None])


def test_small_and_plain_images_have_a_model_too() -> None:
    """Smaller than any patch; all alike, so that nothing can be told."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (90, 5, 4)).astype(np.uint8)
    bright = small.mean(axis=(1, 2)) > 127
    assert np.mean(luce.Classifier().fit(small, bright).predict(small) == bright) > 0.9
    grey = np.full((40, SIDE, SIDE), 77, dtype=np.uint8)
    p = luce.Classifier().fit(grey, np.arange(40) % 4 == 0).predict_proba(grey[:1])
    assert p[0, 1] == pytest.approx(0.25, abs=0.02)


def test_many_images_are_held_out_in_two_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luce.pictures.MANY_READ", 100)
    pixels, names = drawn(200)
    held = luce.Classifier().fit(pixels, names).held_out
    assert held is not None
    assert abs(np.mean(held.scored) - 2 / FOLDS) < 0.02


def test_images_that_tell_nothing_are_left_out() -> None:
    """Noise beside a column that says all: the model keeps the column alone."""
    noise = np.random.default_rng(0).integers(0, 255, (200, SIDE, SIDE)).astype(np.uint8)
    table = Table.of({"picture": noise, "x": np.linspace(-1, 1, 200) + 0.01 * np.sin(np.arange(200))})
    schema = infer_schema(table)
    label = np.array(table.frame["x"].to_numpy() > 0)
    model = luce.Classifier().fit(table, label)
    assert not model.fitted.encoder.images
    assert {c.name: c.kind for c in schema.columns} == {"picture": "image", "x": "number"}
    assert parse(table, schema)["picture"].shape == (200, SIDE, SIDE, 1)


# --- ways to look, and a budget of time ----------------------------------------------------------------------------


def leaning(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strokes of 5 or 7 pixels in noise that lean to the left or to the right: images, whether long, which way."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 90, (rows, SIDE, SIDE)).astype(np.uint8)
    long, right = rng.integers(0, 2, rows) == 1, rng.integers(0, 2, rows) == 1
    for image, is_long, way in zip(pixels, long, right, strict=True):
        size = 7 if is_long else 5
        top, left = rng.integers(0, SIDE - size, 2)
        for i in range(size):
            image[top + i, left + (i if way else size - 1 - i)] = 180
    return pixels, long, right


def views_of(model: luce.Classifier) -> int:
    return model.fitted.encoder.images[0].plan.views


def test_mirror_images_count_as_one_only_where_labels_allow() -> None:
    """How long a stroke is does not depend on which way it leans; which way it leans does."""
    pixels, long, right = leaning(300, 0)
    length = luce.Classifier().fit(pixels, long)
    assert views_of(length) > 1
    assert views_of(luce.Classifier().fit(pixels, right)) == 1
    new = leaning(50, 1)[0]
    mirrored = length.predict_proba(np.ascontiguousarray(new[:, :, ::-1]))
    assert np.allclose(length.predict_proba(new), mirrored, atol=1e-3)  # sums of float32 in another order


@pytest.mark.parametrize(
    ("said", "seconds"), [("30s", 30), ("2min", 120), ("90", 90), (" 1.5 h ", 5400), (45, 45), (0.5, 0.5), ("3 M", 180)]
)
def test_a_budget_is_a_time(said: str | float, seconds: float) -> None:
    assert seconds_of(said) == seconds


@pytest.mark.parametrize(
    "said", ["", "soon", "0", "0s", "-3", "1e3", "30 years", "inf", float("nan"), "1 2", None, "9" * 400]
)
def test_a_budget_that_is_none_is_refused(said: object) -> None:
    with pytest.raises(InputError, match=r"budget is .*: give seconds above 0"):
        seconds_of(said)  # type: ignore[arg-type]


def test_a_budget_chooses_how_images_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a set speed: no time for patches, time for few filters, time for the first rung alone, time for all."""
    monkeypatch.setattr("luce.pictures._speed", lambda threads: 2.0**33)
    pixels, names = drawn(90)
    filters: list[list[int]] = []
    for budget in (1e-4, 0.4, 1.1, 1e6):
        model = luce.Classifier(budget=budget).fit(pixels, names)
        filters.append([len(bank.filters) for bank in model.fitted.encoder.images[0].plan.banks])
        notes = " ".join(model.fitted.facts["notes"])
        assert ("as pixels" in notes, "untried" in notes) == (budget < 0.1, 0.1 < budget < 10)
    assert filters[:3] == [[], [24], [64]]
    whole = luce.Classifier().fit(pixels, names)
    assert same_bits(model.predict_proba(pixels), whole.predict_proba(pixels))


def test_a_bad_budget_is_told_before_any_work() -> None:
    with pytest.raises(InputError, match="budget is 'soon'"):
        luce.Classifier(budget="soon").fit(*drawn(30))
