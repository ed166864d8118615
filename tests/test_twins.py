"""Twin rows: equal ones are found, counted and grouped as plain comparison does; nearly equal ones as well, and where
chance makes them they are not looked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luce import twins
from luce.labels import Labels, labels
from luce.schema import infer_schema, parse
from luce.table import Table

CELLS: dict[str, list[Any]] = {
    "number": [0.0, -0.0, 1.5, None, float("nan"), 1e300],
    "level": ["a", "b", " a", None, "", "가"],
    "flag": [True, False, None],
}


def read(columns: dict[str, list[Any]], kinds: dict[str, str] | None = None) -> tuple[dict[str, Any], Labels]:
    table = Table.of(columns)
    rows = table.without("y")
    return dict(parse(rows, infer_schema(rows, kinds))), labels(table, "y")


def plain_cell(value: Any) -> Any:
    """What a cell says, as docs/tables.md has it: blanks and NaN are missing, outer blanks and signs of 0 nothing."""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return None
    return value.strip() if isinstance(value, str) else value + 0.0


def plain_groups(columns: dict[str, list[Any]]) -> dict[tuple[Any, ...], list[int]]:
    groups = defaultdict(list)
    names = [name for name in columns if name != "y"]
    for row in range(len(columns["y"])):
        groups[tuple(plain_cell(columns[name][row]) for name in names)].append(row)
    return {key: rows for key, rows in groups.items() if len(rows) > 1}


def equal_rows_are_those_of_plain_comparison(columns: dict[str, list[Any]]) -> None:
    kinds = {"number": "number", "level": "category", "flag": "boolean"}
    parsed, target = read(columns, {name: kind for name, kind in kinds.items() if name in columns})
    found = twins.equal_rows(twins.row_sums(parsed), target)
    groups = list(plain_groups(columns).values())
    y = columns["y"]
    torn = [rows for rows in groups if len({y[row] for row in rows}) > 1]
    assert (found.rows, found.groups) == (sum(map(len, groups)), len(groups))
    assert found.extra == sum(len(rows) - 1 for rows in groups)
    assert (found.contradictory_rows, found.contradictory_groups) == (sum(map(len, torn)), len(torn))
    most = [max(sum(y[row] == label for row in rows) for label in set(y)) for rows in groups]
    assert found.lost == sum(len(rows) - best for rows, best in zip(groups, most, strict=True))
    told = {group.rows: (group.count, set(group.labels)) for group in found.listed}
    from_one = {tuple(row + 1 for row in rows[:20]): (len(rows), {y[row] for row in rows}) for rows in groups}
    assert told == from_one
    shape = [(len(group.labels) == 1, -group.count) for group in found.listed]
    assert shape == sorted(shape), "contradictory groups first, then the larger ones"


def rows_of(draw: Any, rows: int) -> dict[str, list[Any]]:
    columns = {name: draw(st.lists(st.sampled_from(c), min_size=rows, max_size=rows)) for name, c in CELLS.items()}
    classes = draw(st.lists(st.sampled_from(["u", "v", "w"]), min_size=rows - 2, max_size=rows - 2))
    return columns | {"y": ["u", "v", *classes]}


@settings(max_examples=80, deadline=None)
@given(st.data(), st.integers(3, 40))
def test_equal_rows_are_those_of_plain_comparison(data: st.DataObject, rows: int) -> None:
    equal_rows_are_those_of_plain_comparison(data.draw(st.composite(rows_of)(rows)))


def doubled(rows: int = 60, copies: int = 12, seed: int = 0) -> dict[str, list[Any]]:
    """Continuous rows, some of them given twice, some of those with another label."""
    rng = np.random.default_rng(seed)
    source = np.concatenate([np.arange(rows), rng.integers(0, rows, copies)])
    x = rng.normal(size=rows)
    number, y = x[source], np.array(["u", "v"])[(x[source] > 0).astype(int)]
    y[rows : rows + copies // 3] = "w"
    level, flag = np.array(["a", "b"])[source % 2], source % 3 == 0
    return {"number": number.tolist(), "level": level.tolist(), "flag": flag.tolist(), "y": y.tolist()}


def test_t06_duplicates_are_found_counted_and_grouped() -> None:
    equal_rows_are_those_of_plain_comparison(doubled())


def turned(rows: int = 200) -> dict[str, list[Any]]:
    """Two columns of the same numbers: (1, 2) and (2, 1) are different rows."""
    rng = np.random.default_rng(3)
    pairs = rng.integers(0, 15, (rows, 2)).astype(float)
    pairs[rows // 2 :] = pairs[: rows // 2, ::-1]
    y = np.array(["u", "v"])[rng.integers(0, 2, rows)]
    return {"number": pairs[:, 0].tolist(), "other": pairs[:, 1].tolist(), "y": y.tolist()}


def test_equal_cells_in_other_columns_make_no_twins() -> None:
    equal_rows_are_those_of_plain_comparison(turned())


TRUE_SUMS = twins.row_sums
SUM_FAULTS: dict[str, tuple[Callable[..., Any], dict[str, list[Any]]]] = {
    "a column is forgotten": (lambda columns: TRUE_SUMS(dict(list(columns.items())[1:])), doubled()),
    "columns are not told apart": (
        lambda columns: np.asarray(sum(twins._mixed(twins.cell_keys(column), 0) for column in columns.values())),
        turned(),
    ),
    "10 bits": (lambda columns: TRUE_SUMS(columns) >> np.uint64(54), doubled(1_000, 200)),
}


@pytest.mark.parametrize("fault", SUM_FAULTS)
def test_a_hash_that_mixes_rows_up_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sums, columns = SUM_FAULTS[fault]
    monkeypatch.setattr(twins, "row_sums", sums)
    with pytest.raises(AssertionError):
        equal_rows_are_those_of_plain_comparison(columns)


def test_lost_is_what_the_best_answers_still_get_wrong() -> None:
    parsed, target = read({"x": [1.0] * 5 + [2.0] * 4 + [3.0], "y": ["u", "u", "v", "v", "w", "u", "v", "v", "v", "u"]})
    found = twins.equal_rows(twins.row_sums(parsed), target)
    assert (found.lost, found.contradictory_rows) == (3 + 1, 9)


# --- nearly equal rows


def plain_near(columns: dict[str, list[Any]]) -> set[int]:
    """The rows that another, unequal row differs from in one column only, or in numbers by a step; pair by pair."""
    names = [name for name in columns if name != "y"]
    step = {name: 1e-3 * float(np.std(columns[name])) for name in names if isinstance(columns[name][0], float)}
    near = set()
    for a, b in combinations(range(len(columns["y"])), 2):
        differs = [name for name in names if columns[name][a] != columns[name][b]]

        def is_near(name: str, a: int = a, b: int = b) -> bool:
            return abs(columns[name][a] - columns[name][b]) <= step[name]

        if len(differs) == 1 or (differs and all(name in step and is_near(name) for name in differs)):
            near |= {a, b}
    return near


def planted(seed: int = 0) -> dict[str, list[Any]]:
    """150 continuous rows; ten of them come again with another number, ten with another level, ten moved a little."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(180, 5))
    x[150:] = x[:30]
    level = np.array(["red", "green", "blue"])[rng.integers(0, 3, 180)]
    level[150:] = level[:30]
    x[150:160, 2] += 1.0
    level[160:170] = np.where(level[160:170] == "red", "blue", "red")
    x[170:180] += 0.8e-3 * rng.uniform(-1, 1, (10, 5)) * x.std(axis=0)
    columns: dict[str, list[Any]] = {f"x{j}": x[:, j].tolist() for j in range(5)}
    return columns | {"level": level.tolist(), "y": np.array(["u", "v"])[np.arange(180) % 2].tolist()}


def near_rows_are_those_of_plain_comparison(columns: dict[str, list[Any]]) -> None:
    parsed, target = read(columns)
    found = twins.near_rows(parsed, twins.row_sums(parsed), target)
    assert found.skipped == () and not found.everywhere and found.searched == len(columns["y"])
    near = plain_near(columns)
    assert {row - 1 for group in found.listed for row in group.rows} == near
    assert found.rows == len(near)
    for group in found.listed:
        a, b = (row - 1 for row in group.rows)
        differs = [name for name in columns if name != "y" and columns[name][a] != columns[name][b]]
        assert differs == [group.differs] if group.differs else len(differs) == 5
        assert set(group.labels) == {columns["y"][a], columns["y"][b]}


def test_near_rows_are_those_of_plain_comparison() -> None:
    columns = planted()
    near_rows_are_those_of_plain_comparison(columns)
    assert len(plain_near(columns)) == 60


TRUE_COLLECT = twins._collect
NEAR_FAULTS: dict[str, tuple[str, Callable[..., Any]]] = {
    "one column is not looked at": (
        "_collect",
        lambda keys, first, target, differs, *rest: (
            None if differs == "level" else TRUE_COLLECT(keys, first, target, differs, *rest)
        ),
    ),
    "numbers are near only if equal": ("FINE", 1e-15),
    "steps are of one grid": (
        "_near",
        lambda rest, steps, first: twins.row_sums({name: np.floor(x[first]) for name, x in steps.items()}),
    ),
    "every column is a surprise to itself": ("_match", lambda keys: 0.0),
}


@pytest.mark.parametrize("fault", NEAR_FAULTS)
def test_near_rows_that_are_missed_are_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, *NEAR_FAULTS[fault])
    with pytest.raises(AssertionError):
        near_rows_are_those_of_plain_comparison(planted())


def test_where_chance_makes_near_rows_none_are_looked_for() -> None:
    """All 3 * 4^4 rows of a plan: each has near rows, and none is a copy of another."""
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 4, np.arange(3), indexing="ij"), axis=-1).reshape(-1, 5)
    columns = {f"c{j}": [f"v{code}" for code in grid[:, j]] for j in range(5)}
    parsed, target = read(columns | {"y": np.array(["u", "v"])[grid.sum(axis=1) % 2].tolist()})
    found = twins.near_rows(parsed, twins.row_sums(parsed), target)
    assert found.everywhere and found.skipped == tuple(columns) and found.rows == 0


def test_near_rows_of_equal_rows_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = planted()
    twice = {name: column + column for name, column in columns.items()}
    parsed, target = read(twice)
    found = twins.near_rows(parsed, twins.row_sums(parsed), target)
    assert found.rows == 60
    monkeypatch.setattr(twins, "MOST_CELLS", 100 * len(parsed))
    limited = twins.near_rows(parsed, twins.row_sums(parsed), target)
    assert limited.searched == 100
    assert limited.rows == 0  # the rows that come again lie behind the limit


def test_each_pair_of_near_rows_is_listed_once() -> None:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=60).round(6).tolist() for name in "abcd"}
    for name, cells in columns.items():
        cells += [cells[k] + 1e-5 * (name == "a") for k in range(0, 60, 6)]
    parsed, target = read(columns | {"y": ["u", "v"] * 35})
    found = twins.near_rows(parsed, twins.row_sums(parsed), target)
    rows = [group.rows for group in found.listed]
    assert found.rows == 20 and len(rows) == len(set(rows)) == 10
