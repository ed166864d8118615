"""Rows that occur twice: equal ones, equal ones with different labels, and ones that are nearly equal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from luce.fitted import Label
from luce.grouping import as_numbers
from luce.labels import Labels
from luce.splits import spread_bits

if TYPE_CHECKING:
    import polars as pl

Keys = NDArray[np.uint64]

LISTED_GROUPS = 1_000  # the largest
LISTED_ROWS = 20  # of each group
MOST_CELLS = 50_000_000  # in which near twins are looked for
FINE = 1e-3  # standard deviations: numbers no further apart count as nearly equal
EXPECTED = 0.01  # pairs that chance may bring about: with more, near twins mean nothing

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Group:
    """Rows that go together, counted from 1 (the first 20 of `count`), and their different labels. differs: the column
    in which near twins differ, empty where several numbers differ a little."""

    rows: tuple[int, ...]
    count: int
    labels: tuple[Label, ...]
    differs: str = ""


@dataclass(frozen=True)
class Twins:
    """Groups of equal rows, the largest first (at most 1,000).

    rows: how many rows have a twin; groups: how many groups they form; extra: rows beyond the first of each group;
    contradictory_rows, contradictory_groups: of them those whose labels differ; lost: the rows among them that any
    model must get wrong, as it gives equal rows one answer.
    """

    rows: int
    groups: int
    extra: int
    contradictory_rows: int
    contradictory_groups: int
    lost: int
    listed: tuple[Group, ...]


@dataclass(frozen=True)
class NearTwins:
    """Rows that differ in one column only, or by less than a thousandth of a standard deviation in some numbers.

    rows: how many rows have a near twin that is no equal row; searched: among how many rows was looked; skipped: the
    columns in which a difference was not looked for, as chance brings about rows that agree in all others; everywhere:
    whether these are all columns.
    """

    rows: int
    searched: int
    skipped: tuple[str, ...]
    everywhere: bool
    listed: tuple[Group, ...]


def cell_keys(column: NDArray[np.float64] | pl.Series) -> Keys:
    """A whole number for each cell, equal where cells are: the bits of a number, the rank of a level; (n,) uint64."""
    if isinstance(column, np.ndarray) or column.dtype.is_temporal():
        return _bits(as_numbers(column))
    return column.rank("dense").fill_null(0).to_numpy().astype(np.uint64)


def _bits(x: NDArray[np.float64]) -> Keys:
    whole = np.where(np.isnan(x), np.nan, x + 0.0)  # one zero, one NaN
    return np.ascontiguousarray(whole).view(np.uint64)


def _mixed(keys: Keys, column: int) -> Keys:
    """The keys of a column's cells spread over 64 bits."""
    return spread_bits((keys + np.array([column + 1], dtype=np.uint64) * _GOLDEN) * _GOLDEN)


def row_sums(columns: Mapping[str, Any]) -> Keys:
    """A hash of each row, (n,) uint64: the sum of its cells' hashes, so that a column's part can be taken off again.

    Of n rows two different ones share a hash with a chance of about n^2 / 2^65: 7e-9 for half a million rows.
    """
    parts = (_mixed(cell_keys(column), j) for j, column in enumerate(columns.values()))
    return np.asarray(sum(parts, np.zeros(1, dtype=np.uint64)))


# ---------------------------------------------------------------------------------------------------------------------
# equal rows


def equal_rows(sums: Keys, target: Labels) -> Twins:
    """Groups of rows with one hash; those with contradictory labels come first, then the larger ones."""
    group, counts = np.unique(sums, return_inverse=True, return_counts=True)[1:]
    classes = len(target.classes)
    pairs, rows = np.unique(group * classes + target.codes, return_counts=True)
    owner = pairs // classes
    labels = np.bincount(owner)
    most = np.zeros(len(counts), dtype=np.int64)
    np.maximum.at(most, owner, rows)
    several, torn = counts > 1, labels > 1
    order = np.lexsort((-counts, ~torn))[: min(LISTED_GROUPS, int(several.sum()))]
    return Twins(
        rows=int(counts[several].sum()),
        groups=int(several.sum()),
        extra=int((counts[several] - 1).sum()),
        contradictory_rows=int(counts[torn].sum()),
        contradictory_groups=int(torn.sum()),
        lost=int((counts - most).sum()),
        listed=_listed(group, order, target),
    )


def _listed(
    group: NDArray[np.int64], wanted: NDArray[np.int64], target: Labels, differs: str = ""
) -> tuple[Group, ...]:
    """The wanted groups with their rows and labels."""
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group))
    found = []
    for g in wanted.tolist():
        rows = order[ends[g - 1] if g else 0 : ends[g]]
        labels = tuple(target.classes[k] for k in np.unique(target.codes[rows]).tolist())
        found.append(Group(tuple((rows[:LISTED_ROWS] + 1).tolist()), len(rows), labels, differs))
    return tuple(found)


# ---------------------------------------------------------------------------------------------------------------------
# near twins


def near_rows(columns: Mapping[str, Any], sums: Keys, target: Labels) -> NearTwins:
    """Rows that agree in all columns but one, or in all up to a thousandth of a standard deviation.

    Each column in turn is taken off the hashes, and equal ones are found by sorting: columns * n ln n steps. A column
    is skipped if rows that agree in all others are no surprise: if independent columns with the same values would bring
    about more than 0.01 such pairs. So are numbers that differ a little. Of equal rows the first is compared.
    """
    searched = min(len(sums), max(1, MOST_CELLS // max(len(columns), 1)))
    first = np.sort(np.unique(sums[:searched], return_index=True)[1])
    keys = {name: cell_keys(column)[:searched] for name, column in columns.items()}
    chances = {name: _match(each) for name, each in keys.items()}
    pairs, whole = 2 * math.log(searched) - math.log(2), sum(chances.values())
    found: list[Group] = []
    has = np.zeros(searched, dtype=np.bool_)
    skipped = []
    for j, (name, each) in enumerate(keys.items()):
        if pairs + whole - chances[name] > math.log(EXPECTED):
            skipped.append(name)
            continue
        _collect(sums[first] - _mixed(each[first], j), first, target, name, has, found)
    steps = {name: x for name, column in columns.items() if (x := _in_steps(column[:searched])) is not None}
    chances |= {name: _match(_bits(np.floor(x / 2))) for name, x in steps.items()}  # of a step either way
    if pairs + sum(chances.values()) <= math.log(EXPECTED):
        rest = row_sums({name: column[:searched] for name, column in columns.items() if name not in steps})
        listed, alike = {each.rows for each in found}, list[Group]()
        _collect(_near(np.broadcast_to(rest, searched), steps, first), first, target, "", has, alike)
        found += [each for each in alike if each.rows not in listed]
    found.sort(key=lambda each: (-len(each.labels), each.rows))
    return NearTwins(int(has.sum()), searched, tuple(skipped), len(skipped) == len(keys), tuple(found[:LISTED_GROUPS]))


def _collect(
    keys: Keys, first: NDArray[np.int64], target: Labels, differs: str, has: NDArray[np.bool_], found: list[Group]
) -> None:
    """Mark the rows whose key another row has, and note their groups."""
    group, counts = np.unique(keys, return_inverse=True, return_counts=True)[1:]
    several = np.flatnonzero(counts > 1)
    if not len(several):
        return
    has[first[counts[group] > 1]] = True
    part = Labels(target.codes[first], target.classes)
    for each in _listed(group, several[:LISTED_GROUPS], part, differs):
        found.append(Group(tuple((first[np.array(each.rows) - 1] + 1).tolist()), each.count, each.labels, differs))


def _match(keys: Keys) -> float:
    """The logarithm of the chance that two rows drawn at random agree in a column."""
    counts = np.unique(keys, return_counts=True)[1].astype(np.float64)
    return math.log(float(np.square(counts).sum()) / float(counts.sum()) ** 2)


def _in_steps(column: NDArray[np.float64] | pl.Series) -> NDArray[np.float64] | None:
    """Numbers in steps of FINE; None for a column that is none, or of one value."""
    if not isinstance(column, np.ndarray):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        step = FINE * float(np.nanstd(column)) if np.isfinite(column).any() else 0.0
        return column / step if step > 0 and math.isfinite(step) else None


def _near(rest: Keys, steps: Mapping[str, NDArray[np.float64]], first: NDArray[np.int64]) -> Keys:
    """A key for each of the rows `first`, equal for those that have the same rest and numbers within a step, or are
    joined by others: each is compared with those behind it in the order of one column, as long as these are near."""
    x = np.stack([column[first] for column in steps.values()], axis=1) if steps else np.zeros((len(first), 1))
    gone = np.isnan(x)
    x[gone] = 0.0
    rest = rest[first] + np.asarray(row_sums({str(j): gone[:, j].astype(np.float64) for j in range(x.shape[1])}))
    telling = int(np.argmax([len(np.unique(np.floor(column))) for column in x.T]))
    order = np.lexsort((x[:, telling], rest))
    x, rest = np.ascontiguousarray(x[order]), rest[order]
    own = np.arange(len(order))
    at, left = own, MOST_CELLS // x.shape[1]
    pairs: list[NDArray[np.int64]] = []
    for ahead in range(1, len(order)):
        at = at[at + ahead < len(order)]
        at = at[(rest[at + ahead] == rest[at]) & (x[at + ahead, telling] - x[at, telling] <= 1.0)]
        left -= len(at)
        if not len(at) or left < 0:
            break
        close = at[(np.abs(x[at + ahead] - x[at]) <= 1.0).all(axis=1)]
        pairs.append(np.stack([close, close + ahead]))
    low, high = np.concatenate(pairs, axis=1) if pairs else np.empty((2, 0), dtype=np.int64)
    while (own[low] != own[high]).any():  # the least place of all that are joined
        least = np.minimum(own[low], own[high])
        np.minimum.at(own, low, least)
        np.minimum.at(own, high, least)
    out = np.empty(len(order), dtype=np.uint64)
    out[order] = own
    return out
