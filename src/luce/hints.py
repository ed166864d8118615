"""Columns that make a random split a lie: groups of rows that belong together, and time."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from luce import cells
from luce.grouping import as_numbers
from luce.labels import Labels
from luce.schema import Schema
from luce.table import Table

GROUP_WORDS = frozenset(
    (
        "patient subject user customer client person participant respondent member household family visitor"
        " device machine sensor school hospital clinic site center centre batch lot author speaker writer account"
        " company store shop seller driver vehicle animal donor specimen"
        " 환자 피험자 대상자 고객 사용자 회원 가구 학교 병원 기관 기기 장비 매장 지점 작성자 화자"
    ).split()
)
NUMBERING = frozenset("id ids uid uuid 번호 아이디 식별자".split())
WEAK_NUMBERING = frozenset("no nr num number code key index 코드".split())  # only behind a word of groups
TIME_WORDS = frozenset("date datetime timestamp 날짜 일자 일시 시각".split())
YEAR_WORDS = frozenset("year yr 연도 년도".split())

_NUMBERS = NUMBERING | WEAK_NUMBERING

LEAST_GROUPS = 5
LEAST_A_GROUP = 1.5  # rows of a group, in the mean: below it nearly every row is a group of its own
MOST_A_GROUP = 200  # in the mean, where no name says that they are groups
LEVELS = 20  # values of a strong predictor from which on it is asked whether they are groups
STEPS = 30  # changes from row to row from which on it is no coincidence that they go one way
IN_ORDER = 0.98  # (changes one way - changes the other way) / changes
EPOCHS = ((1e8, 4.2e9), (1e11, 4.2e12))  # seconds and milliseconds since 1970


@dataclass(frozen=True)
class Hint:
    """A column that looks like groups of rows, or like time; `why` says what makes it look so."""

    column: str
    kind: Literal["group", "time"]
    why: str

    @property
    def option(self) -> str:
        """What `luce doctor` is asked with to measure the difference."""
        return f"--{self.kind} {cells.shown(self.column, 60)}"


def hints_of(
    table: Table, schema: Schema, parsed: Mapping[str, Any], target: Labels, strong: Collection[str]
) -> list[Hint]:
    """The columns that look like groups or time. strong: columns that predict nearly everything alone."""
    found = []
    # Rows that are sorted by class are not where time put them.
    by_class = bool(np.count_nonzero(np.diff(target.codes)) < 2 * len(target.classes))
    for column in schema.columns:
        why = _time(column.name, column.kind, parsed.get(column.name), by_class)
        if why:
            found.append(Hint(column.name, "time", why))
        elif why := _group(table, column.name, column.name in strong):
            found.append(Hint(column.name, "group", why))
    return found


def words_of(name: str) -> list[str]:
    """The words of a column's name, small: of "PatientID", "patient_id" and "patient id" alike patient and id."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return [word.lower() for word in re.split(r"[\W_]+", spaced) if word]


def names_groups(name: str) -> bool:
    """Whether a name says that equal values belong together: patient, patient_id, customer no, household_id."""
    words = words_of(name)
    if len(words) == 1:
        return words[0] in GROUP_WORDS or any(
            words[0] == group + number for group in GROUP_WORDS for number in _NUMBERS
        )
    return bool(words) and (words[-1] in NUMBERING or (words[-1] in WEAK_NUMBERING and words[-2] in GROUP_WORDS))


def _group(table: Table, name: str, strong: bool) -> str:
    """Why a column looks like groups ("" if it does not): many values, several rows a value, and its name or its hold
    on the label says that rows of a value belong together."""
    series = table.frame.get_column(name)
    family = cells.family(series.dtype)
    if family not in ("text", "number") or not (names_groups(name) or (strong and family == "text")):
        return ""
    present = len(series) - series.null_count()
    values = series.drop_nulls().n_unique()
    fractions = series.dtype.is_float() and not bool((series.drop_nulls() == series.drop_nulls().floor()).all())
    if values < LEAST_GROUPS or present < LEAST_A_GROUP * values or fractions:
        return ""
    counts = f"{values:,} values in {present:,} rows"
    if names_groups(name):
        return f"its name says so, and it has {counts}"
    strong_groups = values >= LEVELS and present <= MOST_A_GROUP * values
    return f"it has {counts} and tells the label nearly alone" if strong_groups else ""


def _time(name: str, kind: str, column: Any, by_class: bool) -> str:
    """Why a column looks like time ("" if it does not): dates, rows in its order, or numbers under such a name."""
    if column is None:
        return ""
    if kind == "date":
        return "it holds dates"
    if kind != "number":
        return ""
    x = as_numbers(column)
    known = x[~np.isnan(x)]
    steps = np.sign(np.diff(known))
    changes, way = int(np.abs(steps).sum()), abs(int(steps.sum()))
    if not by_class and changes >= STEPS and way >= IN_ORDER * changes:
        return "the rows are in its order"
    words = set(words_of(name))
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    if words & YEAR_WORDS and 1800 <= low < high <= 2200 and bool((known == np.floor(known)).all()):
        return "it holds years"
    since = any(start <= low < high <= end for start, end in EPOCHS)
    if since and (words & TIME_WORDS or words & {"time", "at", "ts", "시간"}):
        return "its name says so, and it counts seconds"
    return ""
