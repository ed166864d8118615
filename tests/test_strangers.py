"""Cells that a model knows little of are told, and no table is a stranger to itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import polars as pl
import pytest
from commands import Run, good

from luce.classifier import Classifier
from luce.prediction import Counts
from luce.strangers import FAR, FEW, Strangers, strangers_among
from luce.table import Table

pytest_plugins = ["commands"]


def rates(mark: str) -> str:
    """40 rows from 1.1 to 5.0 %, with or without the sign."""
    return "rate,y\n" + "".join(f"{(k + 11) / 10:.1f}{mark},{'yes' if k > 25 else 'no'}\n" for k in range(40))


@pytest.mark.parametrize("command", ["predict", "evaluate", "explain"])
def test_numbers_in_another_unit_are_told(luce: Run, write: Callable[..., Path], command: str) -> None:
    good(luce("train", write(rates("%")), "--label", "y", "--out", "m.luce"))
    assert "far from" not in good(luce(command, "m.luce", write(rates("%")))).err
    told = good(luce(command, "m.luce", write(rates("")))).err
    count, among = (1, 1) if command == "explain" else (40, 40)
    assert f"note: column rate: {count} of {among} number(s) are far from those of training (such as 1.1; mean" in told
    assert re.search(r"mean there 0\.0305\): are they in the same unit\?\n$", told)


def test_numbers_of_a_smaller_unit_are_told() -> None:
    """Ages in tens of years are never ten deviations off, but all below the least of training."""
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, 200)
    frame = pl.DataFrame({"age": age, "y": np.where(age + rng.normal(0, 9, 200) > 50, "a", "b")})
    fitted = Classifier(effects="linear").fit(frame, "y").fitted
    told = lambda x: [s for each in strangers_among(fitted, {"age": x}, 1) if (s := each.sentence)]  # noqa: E731
    assert told(age / 10) == [
        "column age: 200 of 200 number(s) lie outside those of training (18 to 79): are they in the same unit?"
    ]
    assert told(age[:5] / 10) == told(age.astype(float)) == []
    fresh = rng.integers(12, 86, 200).astype(float)  # a tenth of a wider range lie outside
    assert told(fresh) == []


def test_no_numbers_are_far_from_themselves() -> None:
    """The worst numbers for Chebyshev's bound: all equal but one in a hundred, as far off as can be."""
    y = np.arange(1000) % 2
    for far in (1.0, 1e6):
        x = np.zeros(1000)
        x[::100] = far
        x[50::200] = -far
        model = Classifier(effects="linear").fit(pl.DataFrame({"x": x, "y": y}), "y")
        found = strangers_among(model.fitted, {"x": x}, 1)[0]
        assert found.count <= FEW * found.among
        assert found.sentence == ""


def test_d16_levels_unseen_and_gaps_are_told() -> None:
    frame = pl.DataFrame({"town": ["Oslo", "Bern"] * 20, "x": np.sin(np.arange(40)), "y": ["a", "b"] * 20})
    rows = {"town": ["Bern", "Graz", None, "Wien"], "x": [0.5, None, 0.25, None]}
    fitted = Classifier(effects="linear").fit(frame, "y").fitted
    assert [each.sentence for each in strangers_among(fitted, fitted.parsed(Table.of(rows)), 1)] == [
        "column town: 2 cell(s) rare or unseen in training, such as 'Graz'",
        "",
        "column town: 1 of 4 cell(s) are missing, and none was in training",
        "column x: 2 of 4 cell(s) are missing, and none was in training",
    ]
    again = Classifier(effects="linear").fit(pl.concat([frame, pl.DataFrame({**rows, "y": ["a"] * 4})]), "y").fitted
    assert not [each for each in strangers_among(again, again.parsed(Table.of(rows)), 1) if each.kind == "gap"]


def test_blocks_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"x": rng.standard_normal(60), "town": ["Bern", "Oslo"] * 30, "y": ["a", "b"] * 30})
    fitted = Classifier(effects="linear").fit(frame, "y").fitted
    x = np.array([0.0, np.nan, 3 * FAR, -3 * FAR, 0.5])
    cells = {"x": x, "town": pl.Series(["Bern", None, "Paris", "Oslo", "Rome"])}
    whole, parts, later = Counts(), Counts(), Counts()
    whole.see(fitted, cells, 1)
    parts.see(fitted, {name: column[:3] for name, column in cells.items()}, 1)
    later.see(fitted, {name: column[3:] for name, column in cells.items()}, 1)
    parts.add(later)
    assert parts.strangers == whole.strangers
    mean = float(frame["x"].mean())  # type: ignore[arg-type]
    assert whole.strangers["x", "number"] == Strangers("x", "number", 2, 4, "30", pytest.approx(mean), ANY, 2)
    assert whole.strangers["town", "category"] == Strangers("town", "category", 2, 4, "Paris")
