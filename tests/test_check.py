"""Example rows and measured rows of a model: what a file holds of them, and what they show."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import orders, reviews
from serving import drawn, models

import luce
from luce.cells import DATE_FORMATS
from luce.check import ROWS, cells_of, computed_by, difference, examples
from luce.container import read_container, write_container
from luce.errors import ModelFileError
from luce.fitted import Measured
from luce.table import Table

__all__ = ["models"]


def recomputed(model: luce.Classifier) -> np.ndarray:
    check = model.fitted.check
    assert check is not None
    return model.predict_proba(Table.of(cells_of(model.fitted, check.columns)))


def test_a_loaded_model_gives_the_bits_of_its_fit(models: dict[str, Path]) -> None:
    for path in models.values():
        model = luce.load(path)
        check = model.fitted.check
        assert check is not None and check.computed_by == computed_by()
        assert check.probabilities.shape == (ROWS, len(model.classes_))
        assert recomputed(model).tobytes() == check.probabilities.tobytes()
        assert difference(model.fitted, check.probabilities) is None


@pytest.mark.parametrize("name", ["orders", "reviews", "bars"])
def test_another_instruction_set_is_within_its_tolerance(models: dict[str, Path], name: str) -> None:
    code = (
        "import sys, luce\nfrom luce.check import cells_of, difference\nfrom luce.table import Table\n"
        "m = luce.load(sys.argv[1]); p = m.predict_proba(Table.of(cells_of(m.fitted, m.fitted.check.columns)))\n"
        "assert luce.show_config()['instruction_set'] == 'portable'\nassert difference(m.fitted, p) is None"
    )
    subprocess.run([sys.executable, "-c", code, models[name]], env=os.environ | {"LUCE_CPU": "portable"}, check=True)


def test_a_change_of_the_model_is_seen(models: dict[str, Path]) -> None:
    """On the same machine any changed bit is, elsewhere what is beyond 1e-6."""
    fitted = luce.load(models["orders"]).fitted
    assert fitted.check is not None
    p = fitted.check.probabilities
    nudged = p.copy()
    nudged[0, 0] = np.nextafter(p[0, 0], 1)
    other = replace(fitted, check=replace(fitted.check, computed_by="another machine"))
    assert difference(fitted, nudged) is not None
    assert difference(other, nudged) is None
    assert difference(other, p + 2e-6) is not None
    assert difference(other, np.full_like(p, np.nan)) is not None


def test_the_rows_come_from_the_schema_and_from_no_row() -> None:
    """Two tables of the same columns and ends, shuffled between, have the same example rows."""
    frame = orders()
    fitted = luce.Classifier().fit(frame, "label").fitted
    rows = examples(fitted.schema, fitted.encoder)
    assert set(rows) == {"price", "count", "member", "grade", "day"}
    assert all(len(cells) == ROWS for cells in rows.values())
    given = {tuple(row.values()) for row in frame.drop("label").iter_rows(named=True)}
    assert not given & set(zip(*rows.values(), strict=True))
    assert (
        rows["price"][0] == frame["price"].min()
        and rows["price"][3] is None
        and rows["price"][5] > frame["price"].max()
    )
    assert None in rows["grade"] and "a level that nobody has seen ☂" in rows["grade"]
    text = luce.Classifier().fit(reviews(), "label").fitted
    words = examples(text.schema, text.encoder)["review"]
    assert not set(words) & set(reviews()["review"].to_list())
    assert any("가" <= letter <= "힣" for letter in words[1])


@pytest.mark.parametrize("form", DATE_FORMATS)
def test_every_form_of_dates_has_example_rows(form: str) -> None:
    """They are read by the same rules as the rows of the table."""
    plain = form.replace("%.f", "").replace("%#z", "Z")
    dates = [datetime.datetime(2020 + i % 5, 1, 31, 10 + i % 5, 30).strftime(plain) for i in range(20)]
    model = luce.Classifier(kinds={"date": "date"}).fit(
        {"date": dates, "x": np.arange(20.0)}, [i % 2 for i in range(20)]
    )
    assert model.fitted.check is not None
    assert np.isfinite(model.fitted.check.probabilities).all()


def test_the_same_model_is_the_same_file(models: dict[str, Path], tmp_path: Path) -> None:
    for path in models.values():
        luce.load(path).save(tmp_path / "again.luce")
        assert (tmp_path / "again.luce").read_bytes() == path.read_bytes()


def test_measured_rows_are_those_held_out(tmp_path: Path) -> None:
    trained = luce.train(orders(600), "label")
    measured, report = trained.classifier.fitted.measured, trained.report
    assert measured is not None and report is not None
    assert len(measured.codes) == report.rows
    assert np.array_equal(measured.codes, report.codes)
    assert np.array_equal(measured.probabilities, report.probabilities.astype(np.float32))
    assert luce.train(orders(), "label", held_out=0).classifier.fitted.measured is None
    assert luce.Classifier().fit(orders(), "label").fitted.measured is None


def test_measured_rows_have_bounds() -> None:
    rng = np.random.default_rng(0)
    for rows, classes, size in ((9_000, 2, 20e6), (9_000, 500, 20e6), (300, 3, 40_000.0)):
        p = rng.dirichlet(np.ones(classes), rows)
        found = Measured.of(p, rng.integers(0, classes, rows), size)
        assert found is not None
        assert len(found.codes) <= Measured.MOST
        assert found.probabilities.nbytes + found.codes.nbytes <= min(1 << 20, size / 20)
    assert Measured.of(p, np.zeros(300, dtype=np.int64), 100.0) is None


def test_a_class_that_the_measured_part_lacks_has_probability_0() -> None:
    days = np.datetime64("2024-01-01") + np.arange(200)
    labels = [*(["gone", "stays"] * 99), "gone", "late"]
    with pytest.warns(luce.LuceWarning, match="not measured"):
        trained = luce.train({"x": np.arange(200.0) % 7, "day": days}, labels, time="day")
    measured = trained.classifier.fitted.measured
    assert measured is not None
    assert trained.classifier.classes_.tolist() == ["gone", "late", "stays"]
    assert (measured.probabilities[:, 1] == 0).all() and set(measured.codes.tolist()) == {0, 2}


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays, facts: arrays.update(check=arrays["check"] + 2.0),
        lambda arrays, facts: arrays.update(check=arrays["check"][:, :2]),
        lambda arrays, facts: arrays.pop("check"),
        lambda arrays, facts: facts["check"].pop("computed_by"),
        lambda arrays, facts: facts["check"].update(computed_by="a\nb"),
        lambda arrays, facts: facts["check"]["columns"].pop("price"),
        lambda arrays, facts: facts["check"]["columns"].update(price=[1.0]),
        lambda arrays, facts: facts["check"]["columns"].update(price=["x"] * ROWS),
        lambda arrays, facts: facts["check"]["columns"].update(grade=[1] * ROWS),
        lambda arrays, facts: arrays.update(measured=arrays["measured"] + np.float32(1)),
        lambda arrays, facts: arrays.update(measured=arrays["measured"][:-1]),
        lambda arrays, facts: arrays.update(measured_codes=arrays["measured_codes"] + np.int32(9)),
        lambda arrays, facts: arrays.pop("measured_codes"),
        lambda arrays, facts: facts["training"].update(ink={"a": "blue"}),
    ],
)
def test_broken_parts_are_refused(models: dict[str, Path], tmp_path: Path, change: Any) -> None:
    arrays, facts = read_container(models["orders"])
    facts = json.loads(json.dumps(facts))
    change(arrays, facts)
    write_container(tmp_path / "broken.luce", arrays, facts)
    with pytest.raises(ModelFileError):
        luce.load(tmp_path / "broken.luce")


def test_what_images_are_drawn_with() -> None:
    from luce.pictures import ink_of

    images = drawn(40)[0][:, :, :, np.newaxis]
    rng = np.random.default_rng(0)
    assert ink_of(images) == "light on dark"
    assert ink_of(255 - images) == "dark on light"
    assert ink_of(np.repeat(images, 3, axis=3)) is None  # in colour
    assert ink_of(rng.integers(0, 256, images.shape, dtype=np.uint8)) is None  # no ground
    assert ink_of(images // 4 + 96) is None  # neither light nor dark
