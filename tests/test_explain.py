"""Explanations: contributions that add up exactly to the difference of the logits, by the columns of the table."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import Run, good, orders, refused, written

import luce
from luce.calibration import Calibration
from luce.classifier import Classifier
from luce.errors import InputError

pytest_plugins = ["commands"]

ROUNDING = 1e-9
"""Logits, back from probabilities, are right to some 1e-13 of their size, but for probabilities near 0."""


def fitted(classes: int = 3, rows: int = 400) -> tuple[Classifier, pl.DataFrame]:
    data = orders(rows)
    if classes == 2:
        data = data.filter(pl.col("label") != "unsure")
    return luce.Classifier().fit(data, "label"), data


def maps(outputs: int) -> list[Calibration]:
    """A calibration of each kind."""
    rng = np.random.default_rng(0)
    facts = (0.5, 0.4, 0.01, 100)
    vector = np.diag(rng.uniform(0.5, 2, outputs))
    out = [Calibration("none", np.eye(outputs), np.zeros(outputs), *facts)]
    out += [Calibration("temperature", 0.7 * np.eye(outputs), np.zeros(outputs), *facts)]
    out += [Calibration("vector", vector, rng.normal(size=outputs), *facts)]
    matrix = vector + 0.3 * rng.normal(size=(outputs, outputs))
    return out + ([Calibration("matrix", matrix, rng.normal(size=outputs), *facts)] if outputs > 1 else [])


@pytest.mark.parametrize("classes", [2, 3])
def test_contributions_add_up_to_the_difference_of_the_logits(classes: int) -> None:
    model, data = fitted(classes)
    for calibration in maps(1 if classes == 2 else classes):
        model._fitted = replace(model.fitted, calibration=calibration)
        p = model.predict_proba(data)
        for row in range(20):
            found = model.explain(data, row)
            a, b = model.fitted.classes.index(found.answer), model.fitted.classes.index(found.other)
            assert a == p[row].argmax()
            assert found.probabilities == (p[row, a], p[row, b])
            wanted = np.log(p[row, a]) - np.log(p[row, b])
            assert found.base + sum(c.amount for c in found.contributions) == pytest.approx(wanted, abs=ROUNDING)
            assert found.difference == pytest.approx(wanted, abs=ROUNDING)


def test_the_base_is_that_of_an_average_row_and_contributions_are_0_in_the_mean() -> None:
    model, data = fitted()
    found = [model.explain(data, row, "gone") for row in range(60) if model.predict(data[row])[0] == "stays"]
    assert len({e.base for e in found}) == 1
    every = [explained(model, data, row) for row in range(len(data))]
    for column in every[0]:
        assert np.mean([e[column] for e in every]) == pytest.approx(0.0, abs=1e-6)  # features are float32


def explained(model: Classifier, data: pl.DataFrame, row: int) -> dict[str, float]:
    """The contributions to "gone" against "stays", whichever is the answer."""
    p = model.predict_proba(data[row])[0]
    names = list(model.fitted.classes)
    dear = Classifier(costs={"gone": 1e9})
    dear._fitted = replace(
        model.fitted, costs=np.outer([1e9 * (c == "gone") + 1 for c in names], np.ones(3)) * (1 - np.eye(3))
    )
    found = dear.explain(data, row, "stays")
    assert found.answer == "gone" and p.shape == (3,)
    return {c.column: c.amount for c in found.contributions}


def test_a_column_that_is_changed_changes_its_own_contribution_alone() -> None:
    model, data = fitted()
    one = data[3]
    for column, value in {"price": 500.0, "grade": "실버", "member": False}.items():
        before = explained(model, one, 0)
        after = explained(model, one.with_columns(pl.lit(value).alias(column)), 0)
        assert all(after[c] == pytest.approx(before[c], abs=1e-12) for c in before if c != column)
    assert set(before) == set(data.columns) - {"label"} - {
        c.name for c in model.fitted.schema.columns if c.kind == "left out"
    }


def test_a_saved_model_explains_the_same(tmp_path: Any) -> None:
    model, data = fitted()
    model.save(tmp_path / "m.luce")
    assert luce.load(tmp_path / "m.luce").explain(data, 5) == model.explain(data, 5)


def test_a_wrong_sign_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand-made fault: of two classes the second's logit is used for the first."""
    model, data = fitted(2)
    rows = [row for row in range(20) if model.predict(data[row])[0] == model.classes_[0]]
    found = model.explain(data, rows[0])
    assert found.difference > 0
    swapped = replace(model.fitted, classes=model.fitted.classes[::-1])
    wrong = Classifier()
    wrong._fitted = swapped
    assert wrong.explain(data, rows[0]).answer != found.answer


def test_a_row_or_a_class_that_is_not_there_is_refused() -> None:
    model, data = fitted()
    with pytest.raises(InputError, match="no row 400"):
        model.explain(data, 400)
    with pytest.raises(InputError, match="'plague' is no class"):
        model.explain(data, 0, "plague")
    with pytest.raises(InputError, match="itself"):
        model.explain(data, 0, model.predict(data[0])[0])


def test_the_command_shows_what_adds_up(luce: Run) -> None:
    data = written(orders(200), "csv", "orders")
    good(luce("train", data, "--label", "label", "--out", "m.luce"))
    text = good(luce("explain", "m.luce", data, "--row", 3)).out
    amounts = [
        float(re.findall(r"[+-]\d+\.\d\d", line)[-1]) for line in text.splitlines() if re.search(r"[+-]\d+\.\d\d", line)
    ]
    assert sum(amounts[:-1]) == pytest.approx(amounts[-1], abs=0.01 * len(amounts))
    found = json.loads(good(luce("explain", "m.luce", data, "--row", 3, "--json")).out)
    total = found["base"] + sum(c["amount"] for c in found["contributions"])
    assert total == pytest.approx(found["difference"], abs=1e-9)
    assert f"{found['difference']:+.2f}" in text
    refused(luce("explain", "m.luce", data, "--row", 201), "200 rows")


@pytest.mark.parametrize("shape", [(14, 14, 1), (33, 30, 3), (9, 40, 1)])
def test_a_heat_map_adds_up_to_its_column(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    height, width, _ = shape
    images = rng.integers(0, 60, (60, *shape), dtype=np.uint8)
    y = np.array(["a", "b", "c"])[np.arange(60) % 3]
    images[y == "b", : height // 2, : width // 2] += 150
    images[y == "c", height // 2 :, width // 2 :] += 150
    model = luce.Classifier(l2=0.01).fit(images, y)
    (plan,) = model.fitted.encoder.images
    for views in (1, 2, 4) + ((8,) if height == width else ()):
        known = replace(plan, plan=replace(plan.plan, views=views if plan.plan.banks else 1))
        model._fitted = replace(model.fitted, encoder=replace(model.fitted.encoder, images=(known,)))
        for row in range(6):
            found = model.explain(images, row)
            cells = np.array(found.images[0].cells)
            assert found.images[0].column == found.contributions[0].column == "image"
            assert cells.shape == (min(height, 14), min(width, 14))
            # features are float32 and near 10 at most; a view alone is rounded otherwise than the mean of views
            assert cells.sum() == pytest.approx(found.contributions[0].amount, abs=1e-4)
    model._fitted = replace(model.fitted, encoder=replace(model.fitted.encoder, images=(plan,)))
    found = model.explain(images, 1, "a")  # what sets b apart lies in the upper left quarter
    cells = np.array(found.images[0].cells)
    down, across = len(cells) // 2, cells.shape[1] // 2
    others = cells[down:, :across], cells[:down, across:], cells[down:, across:]
    assert found.answer == "b" and cells[:down, :across].mean() > max(part.mean() for part in others)
