"""One column alone: the scores are those of plain counting, leaks are named, strong columns are asked about, noise is
left alone, and a class that one column tells apart is found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luce import alone
from luce.alone import FOLDS, Leak, Separation, coded, intervals_of
from luce.labels import Labels, labels
from luce.schema import infer_schema, parse
from luce.splits import row_keys
from luce.table import Table

N = 600


def read(columns: Mapping[str, Any], label: str = "y") -> tuple[Table, dict[str, Any], Labels]:
    table = Table.of(dict(columns))
    rows = table.without(label)
    return rows, dict(parse(rows, infer_schema(rows))), labels(table, label)


def leaks(columns: Mapping[str, Any]) -> list[Leak]:
    table, parsed, target = read(columns)
    return alone.leaks_of(list(coded(parsed, target)), table, target)


def separations(columns: Mapping[str, Any]) -> list[Separation]:
    _, parsed, target = read(columns)
    return alone.separations_of(list(coded(parsed, target)), parsed, target)


def classes(count: int = 3, rows: int = N, seed: int = 0) -> np.ndarray:
    return np.array(["ant", "bee", "cow", "dog"])[np.random.default_rng(seed).integers(0, count, rows)]


# --- how well a column predicts


def plain_scores(codes: list[int], target: list[int], bins: int, count: int) -> tuple[float, float]:
    """Accuracy and log loss of the table of the other folds, row by row in plain Python."""
    fold = [key % FOLDS for key in row_keys(len(codes), 0).tolist()]
    share = [(target.count(k) + 1) / (len(target) + count) for k in range(count)]
    right, loss = 0, 0.0
    for f in range(FOLDS):
        rows = [[share[k] for k in range(count)] for _ in range(bins)]
        for code, k, other in zip(codes, target, fold, strict=True):
            rows[code][k] += other != f
        for code, k, other in zip(codes, target, fold, strict=True):
            if other == f:
                right += rows[code].index(max(rows[code])) == k
                loss -= math.log(rows[code][k] / sum(rows[code]))
    return right / len(codes), loss / len(codes)


def scores_are_those_of_plain_counting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    level = rng.integers(0, 5, 200)
    y = np.where(rng.random(200) < 0.6, level % 3, rng.integers(0, 3, 200))
    cells = [None if code == 4 else f"level {code}" for code in level.tolist()]
    _, parsed, target = read({"x": cells, "y": np.array(["a", "b", "c"])[y]})
    column = next(iter(coded(parsed, target)))
    assert column.gaps and column.exact and not column.ordered
    assert column.codes.tolist() == level.tolist()  # levels by their text, missing cells last
    found = alone.out_of_fold(column.counts, False, True)
    assert found == pytest.approx(plain_scores(level.tolist(), y.tolist(), 5, 3), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_plain_counting(seed: int) -> None:
    scores_are_those_of_plain_counting(seed)


def test_scores_on_the_rows_that_were_counted_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    true = alone.out_of_fold

    def flattered(counts: np.ndarray, ordered: bool, gaps: bool) -> tuple[float, float]:
        return true(np.broadcast_to(counts.sum(axis=0) / FOLDS, counts.shape).astype(np.int64), ordered, gaps)

    monkeypatch.setattr(alone, "out_of_fold", flattered)
    with pytest.raises(AssertionError):
        scores_are_those_of_plain_counting(0)


def surprise(lines: list[list[int]]) -> float:
    sums = [sum(column) for column in zip(*lines, strict=True)]
    return sum(-rows * math.log(rows / sum(sums)) for rows in sums if rows)


def plain_cuts(lines: list[list[int]]) -> list[int]:
    """Cut by cut, the best of all places first, in plain Python: where the intervals start."""
    count = len(lines[0])
    least, starts = 0.5 * count * math.log(max(sum(map(sum, lines)), 2)), [0]
    while len(starts) < max(16, 2 * count):
        best = (least + 1e-9, 0)
        for a, b in zip(starts, [*starts[1:], len(lines)], strict=True):
            for at in range(a + 1, b):
                saved = surprise(lines[a:b]) - surprise(lines[a:at]) - surprise(lines[at:b])
                best = max(best, (saved, at))
        if not best[1]:
            break
        starts = sorted([*starts, best[1]])
    return starts


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(2, 4))
def test_intervals_save_what_the_best_cuts_save(seed: int, bins: int, count: int) -> None:
    """Of equal cuts another may be taken, so what is compared is the sum that they save, not where they lie."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.choice([0.5, 8, 60], (bins, count)))
    first = intervals_of(counts)
    assert np.all(np.diff(first) >= 0) and set(first) <= set(range(bins))
    starts = sorted(set(first.tolist()))
    lines = counts.tolist()

    def left(cuts: list[int]) -> float:
        return sum(surprise(lines[a:b]) for a, b in zip(cuts, [*cuts[1:], bins], strict=True))

    assert left(starts) == pytest.approx(left(plain_cuts(lines)), abs=1e-6 + 1e-9 * abs(surprise(lines)))


def test_a_threshold_between_many_values_is_found() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=2_000)
    found = leaks({"x": x, "noise": rng.normal(size=2_000), "y": np.where(x > 0.37, "high", "low")})
    assert [(leak.column, leak.how, leak.firm) for leak in found] == [("x", "alone", False)]
    # 128 intervals of equal size: the threshold costs half of one, or 0.4 %, in the mean, and never more than one.
    assert found[0].accuracy > 1 - 2 / 128


# --- leaks


Y = classes()
NOISE = np.random.default_rng(5).normal(size=N)
NAMES = {"ant": "K1", "bee": "K2", "cow": "K3"}
FIRM = {
    "the label": ("equal", Y),
    "in capitals": ("equal", np.char.upper(Y)),
    "other names": ("one-to-one", [NAMES[y] for y in Y]),
    "numbers": ("one-to-one", [10.5 * list(NAMES).index(y) for y in Y]),
    "a missing cell for one class": ("one-to-one", [None if y == "bee" else NAMES[y] for y in Y]),
}


def firm_leaks_are_named(name: str) -> None:
    how, column = FIRM[name]
    found = leaks({"x": column, "noise": NOISE, "y": Y})
    assert [(leak.column, leak.how, leak.firm) for leak in found] == [("x", how, True)]
    assert found[0].accuracy == 1.0


@pytest.mark.parametrize("name", FIRM)
def test_t07_a_column_that_is_the_label_is_named(name: str) -> None:
    firm_leaks_are_named(name)


@pytest.mark.parametrize("fault", ["_one_to_one", "out_of_fold"])
def test_a_leak_that_is_missed_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer: Callable[..., Any] = (lambda column: False) if fault == "_one_to_one" else (lambda *args: (0.5, 9.0))
    monkeypatch.setattr(alone, fault, answer)
    with pytest.raises(AssertionError):
        firm_leaks_are_named("other names")


def test_in_few_rows_one_to_one_may_be_chance() -> None:
    found = leaks({"x": ["u", "v", "u", "v", "v", "u"], "y": ["a", "b", "a", "b", "b", "a"]})
    assert [(leak.how, leak.firm) for leak in found] == [("one-to-one", False)]


def test_a_strong_column_is_asked_about_and_a_weaker_one_is_not() -> None:
    rng = np.random.default_rng(2)
    for right, expected in ((0.98, ["alone"]), (0.9, [])):
        guess = np.where(rng.random(N) < right, Y, np.array(["ant", "bee", "cow"])[rng.integers(0, 3, N)])
        found = leaks({"x": guess, "noise": NOISE, "y": Y})
        assert [leak.how for leak in found] == expected, right
        assert all(not leak.firm for leak in found)


def test_a_finer_code_of_the_label_is_said_to_be_one() -> None:
    rng = np.random.default_rng(3)
    found = leaks({"x": [f"{y}{digit}" for y, digit in zip(Y, rng.integers(0, 10, N), strict=True)], "y": Y})
    assert found[0].how == "alone" and found[0].detail == "each of its 30 values goes with one class only"


def test_noise_is_no_leak() -> None:
    """300 columns that know nothing of the label. For one of them to explain three quarters of it by chance is out of
    all proportion (600 labels), and the claims of gaps and values allow one in a million for all columns together."""
    rng = np.random.default_rng(4)
    columns: dict[str, Any] = {f"n{j}": rng.normal(size=N) for j in range(100)}
    columns |= {f"c{j}": [str(code) for code in rng.integers(0, 2 + j, N)] for j in range(100)}
    columns |= {f"g{j}": np.where(rng.random(N) < j / 110, np.nan, rng.normal(size=N)) for j in range(1, 101)}
    assert leaks(columns | {"y": Y}) == []
    assert leaks(columns | {"y": np.where(np.arange(N) % 20 == 0, "rare", "common")}) == []
    assert separations(columns | {"y": Y}) == []


def missing_cells_that_tell_are_named() -> None:
    rng = np.random.default_rng(6)
    y = np.array(["lives", "dies"])[(rng.random(N) < 0.4).astype(int)]
    telling = np.where((y == "dies") & (rng.random(N) < 0.95), np.nan, rng.normal(size=N))
    only = np.where((y == "lives") & (rng.random(N) < 0.1), rng.normal(size=N), np.nan)
    idle = np.where(rng.random(N) < 0.5, np.nan, rng.normal(size=N))
    found = {leak.column: leak for leak in leaks({"telling": telling, "only": only, "idle": idle, "y": y})}
    gone = np.isnan(telling)
    assert {name: leak.how for name, leak in found.items()} == {"telling": "missing", "only": "filled in"}
    dies = 100 * gone[y == "dies"].mean()
    assert found["telling"].detail == f"missing in {dies:.1f} % of the rows of class 'dies', in 0.0 % of the others"
    assert found["only"].detail == f"filled in for {int((~np.isnan(only)).sum())} rows, all of class 'lives'"


def test_missing_cells_that_tell_are_named() -> None:
    missing_cells_that_tell_are_named()


def test_a_doctor_blind_to_missing_cells_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "_gaps", lambda *arguments: None)
    with pytest.raises(AssertionError):
        missing_cells_that_tell_are_named()


def test_a_value_that_only_the_rare_class_has_is_named() -> None:
    rng = np.random.default_rng(7)
    rare = rng.random(2_000) < 0.05
    heat = np.where(rare & (rng.random(2_000) < 0.4), 1, 0)
    found = leaks({"heat": heat, "noise": rng.normal(size=2_000), "y": np.where(rare, "fails", "runs")})
    assert [(leak.column, leak.how) for leak in found] == [("heat", "value")]
    assert found[0].detail == f"all {heat.sum()} rows with '1' are of class 'fails'"


# --- classes that one column tells apart


def plain_separations(table: pl.DataFrame, label: str) -> set[tuple[str, str, str | None]]:
    """Every class and column of numbers that a threshold tells from all others, by looking at every row."""
    found = set()
    for name, class_ in product([c for c in table.columns if c != label], table[label].unique()):
        own = table.filter(pl.col(label) == class_)[name].to_list()
        rest = table.filter(pl.col(label) != class_)[name].to_list()
        whole = all(x is not None and x == x for x in own + rest)
        if whole and (max(own) < min(rest) or min(own) > max(rest)):
            found.add((name, class_, None))
    return found


def classes_told_apart_are_found() -> None:
    rng = np.random.default_rng(8)
    y = classes(4)
    frame = pl.DataFrame(
        {
            "size": np.where(y == "cow", 9.0, 0.0) + rng.random(N),
            "near": np.where(y == "dog", 1.0, 0.0) + rng.random(N) * 1.1,  # but for some rows
            "holes": np.where(rng.random(N) < 0.02, np.nan, np.where(y == "ant", -9.0, 0.0) + rng.random(N)),
            "y": y,
        }
    )
    found = separations(frame.to_dict())
    assert {(s.column, s.class_, s.other) for s in found} == plain_separations(frame, "y") == {("size", "cow", None)}
    low, high = frame.filter(pl.col("y") != "cow")["size"].max(), frame.filter(pl.col("y") == "cow")["size"].min()
    assert found[0].rule == f"at least {high:.6g}, all others at most {low:.6g}"
    assert found[0].rows == int((y == "cow").sum())


def test_classes_told_apart_are_found() -> None:
    classes_told_apart_are_found()


@pytest.mark.parametrize("change", [lambda x: -np.abs(x), lambda x: np.nan_to_num(x, nan=0.0), lambda x: x * 0])
def test_a_wrong_threshold_is_noticed(change: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    true = alone.as_numbers
    monkeypatch.setattr(alone, "as_numbers", lambda column: change(true(column)))
    with pytest.raises(AssertionError):
        classes_told_apart_are_found()


def test_values_and_pairs_that_tell_apart_are_found() -> None:
    rng = np.random.default_rng(9)
    y = classes(4)
    own = np.where(y == "bee", "stripes", np.array(["plain", "dots"])[rng.integers(0, 2, N)])
    x = np.select([y == "ant", y == "cow"], [-4.0, 4.0], 0) + 3 * (2 * rng.random(N) - 1)  # ant and cow never meet
    found = {(s.column, s.class_, s.other): s.rule for s in separations({"own": own, "x": x, "y": y})}
    assert set(found) == {("own", "bee", None), ("x", "ant", "cow")}
    assert found["own", "bee", None] == "a value of its own"
    assert found["x", "ant", "cow"].startswith("'ant' at most -1.")
