"""Columns that look like groups of rows or like time are named, and columns that only sound so are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from luce import hints
from luce.hints import hints_of, words_of
from luce.labels import labels
from luce.schema import infer_schema, parse
from luce.table import Table

ROWS = 400
RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 60, ROWS)
NOISE = RNG.normal(size=ROWS)
Y = np.array(["a", "b"])[RNG.integers(0, 2, ROWS)]


def found(name: str, values: Any, y: Any = Y, strong: bool = False) -> str | None:
    """What the column is said to look like."""
    table = Table.of({name: values, "noise": NOISE, "label of the row": y})
    rows = table.without("label of the row")
    schema = infer_schema(rows)
    target = labels(table, "label of the row")
    said = hints_of(rows, schema, parse(rows, schema), target, [name] if strong else [])
    assert all(hint.column == name and hint.option == f"--{hint.kind} {name!r}" for hint in said)
    return said[0].kind if said else None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("PatientID", "patient id"),
        ("patient_id", "patient id"),
        ("visit Date", "visit date"),
        ("환자 번호", "환자 번호"),
    ],
)
def test_words_of_a_name(name: str, words: str) -> None:
    assert words_of(name) == words.split()


GROUPS = [
    "patient",
    "patient_id",
    "PatientID",
    "user id",
    "customer no",
    "household.nr",
    "sample-uid",
    "환자",
    "환자번호",
]
NO_GROUPS = ["education-num", "number of visitors", "id", "family history", "customer calls", "postal code", "age", "x"]


def groups_are_named() -> None:
    for name in GROUPS:
        assert found(name, IDS) == "group", name
        assert found(name, [f"P{i}" for i in IDS]) == "group", name


def others_are_not() -> None:
    for name in NO_GROUPS:
        assert found(name, IDS) is None, name
    assert found("patient_id", RNG.permutation(ROWS) * 7) is None  # each row its own
    assert found("patient_id", np.arange(ROWS) % 3) is None  # three values are no groups
    assert found("patient_id", NOISE) is None


def times_are_named() -> None:
    """T09."""
    days = (np.datetime64("2024-01-01") + RNG.integers(0, 300, ROWS)).astype(str)
    assert found("visit", days) == "time"
    assert found("year", RNG.integers(1990, 2020, ROWS)) == "time"
    assert found("event_time", RNG.integers(1_500_000_000, 1_700_000_000, ROWS)) == "time"
    assert found("x", np.sort(NOISE)) == "time"
    assert found("x", -np.sort(NOISE)) == "time"
    nearly = np.sort(NOISE)
    nearly[[10, 300]] = nearly[[300, 10]]
    assert found("x", nearly) == "time"


def sorted_by_class_is_no_time() -> None:
    order = np.argsort(Y, kind="stable")
    assert found("x", np.arange(ROWS) * 0.5 + 0.1 * NOISE**2, Y[order]) is None
    assert found("playtime", RNG.integers(0, 90, ROWS)) is None
    assert found("time in hospital", RNG.integers(1, 15, ROWS)) is None
    assert found("years of work", RNG.integers(0, 40, ROWS)) is None
    assert found("x", np.repeat(np.arange(20), ROWS // 20)) is None  # 19 steps up may be a sorted category


CLAIMS = [groups_are_named, others_are_not, times_are_named, sorted_by_class_is_no_time]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_claim(claim: Any) -> None:
    claim()


FAULTS: dict[str, tuple[Any, str, Any]] = {
    "no name is one of groups": (groups_are_named, "names_groups", lambda name: False),
    "every name is one of groups": (others_are_not, "names_groups", lambda name: True),
    "a group for every row": (others_are_not, "LEAST_A_GROUP", 0.5),
    "no column is time": (times_are_named, "_time", lambda *arguments: ""),
    "only rows in strict order": (times_are_named, "IN_ORDER", 1.0),
    "any order is time": (sorted_by_class_is_no_time, "STEPS", 5),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, name, value = FAULTS[fault]
    claim()
    monkeypatch.setattr(hints, name, value)
    with pytest.raises(AssertionError):
        claim()


def test_levels_that_tell_the_label_are_asked_about_as_groups() -> None:
    boats = [f"boat {i}" for i in RNG.integers(0, 40, ROWS)]
    assert found("boat", boats, strong=True) == "group"
    assert found("boat", boats) is None
    assert found("boat", [f"boat {i}" for i in RNG.integers(0, 10, ROWS)], strong=True) is None
    assert found("boat", IDS, strong=True) is None  # a number that predicts well is a quantity
