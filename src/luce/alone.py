"""What one column alone says about the label: leaks, and classes that a single threshold or value tells apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from luce import cells
from luce.fitted import Label
from luce.grouping import as_numbers
from luce.labels import Labels
from luce.splits import row_keys
from luce.table import Table

if TYPE_CHECKING:
    import polars as pl

How: TypeAlias = Literal["equal", "one-to-one", "alone", "missing", "filled in", "value"]
Counts: TypeAlias = NDArray[np.int64]

FOLDS = 5
BINS = 128  # of a number with more different values
CELLS = 4_000_000  # counts of one category: beyond, its rarest levels count as one
EXPLAINED = 0.75  # of the label's uncertainty: a column that explains more alone is asked about
EXPLAINED_BY_GAPS = 0.25  # the same for whether a cell is missing
MOSTLY = 0.8  # of what a column explains: then it is its missing cells that tell
RARE_CLASS = 0.2  # share of a class up to which a value of its own is worth a word
VALUE_ROWS = 10
VALUE_SHARE = 0.1  # of the class that must have the value
CHANCE = math.log(1e6)  # what is firmly said has a chance below one in a million to be a coincidence
MOST_CLASSES = 200  # whose pairs are compared


@dataclass(frozen=True)
class Leak:
    """A column that gives the label away. accuracy, log_loss: of a table of this column alone, on rows that it was not
    made of; explained: the share of the log loss of the class shares that it saves; firm: no coincidence, no skill."""

    column: str
    how: How
    accuracy: float
    log_loss: float
    explained: float
    firm: bool
    detail: str


@dataclass(frozen=True)
class Separation:
    """A class that one column tells from another class, or from all others (other is None), without a mistake."""

    column: str
    class_: Label
    other: Label | None
    rule: str
    rows: int


@dataclass(frozen=True, eq=False)
class Coded:
    """A column as bins: codes (n,) int64; counts (FOLDS, bins, classes); if `gaps`, the last bin holds missing cells.

    ordered: bins are intervals of a number, ascending; exact: a bin holds one value.
    """

    name: str
    codes: Counts
    counts: Counts
    gaps: bool
    ordered: bool
    exact: bool

    @property
    def total(self) -> Counts:
        return np.asarray(self.counts.sum(axis=0))


def coded(parsed: Mapping[str, Any], target: Labels) -> Iterator[Coded]:
    """Each column as bins with their classes, fold by fold; a row's fold is a hash of its index."""
    n, classes = len(target.codes), len(target.classes)
    fold = (row_keys(n, 0) % np.uint64(FOLDS)).astype(np.int64)
    for name, column in parsed.items():
        ordered = isinstance(column, np.ndarray) or column.dtype.is_temporal()
        if ordered:
            codes, bins, gaps, exact = _bins_of_numbers(as_numbers(column))
        else:
            codes, bins, gaps, exact = _bins_of_levels(column, CELLS // (FOLDS * classes))
        cell = (fold * bins + codes) * classes + target.codes
        counts = np.bincount(cell, minlength=FOLDS * bins * classes).reshape(FOLDS, bins, classes)
        yield Coded(name, codes, counts, gaps, ordered, exact)


def _bins_of_numbers(x: NDArray[np.float64]) -> tuple[Counts, int, bool, bool]:
    gone = np.isnan(x)
    known = np.sort(x[~gone])
    values = known[np.concatenate([[True], known[1:] != known[:-1]])] if len(known) else known
    exact = len(values) <= BINS
    edges = values if exact else np.unique(known[np.arange(BINS) * len(known) // BINS])
    codes = np.searchsorted(edges, x, side="right") - 1
    codes[gone] = len(edges)
    return codes, len(edges) + bool(gone.any()), bool(gone.any()), exact


def _bins_of_levels(column: pl.Series, most: int) -> tuple[Counts, int, bool, bool]:
    """Levels in the order of their text; with more than `most` the rarest share one bin."""
    ranks = column.rank("dense").fill_null(0).to_numpy().astype(np.int64) - 1
    gone, levels = ranks < 0, int(ranks.max()) + 1
    exact = levels <= most
    if not exact:
        rows = np.bincount(ranks[~gone], minlength=levels)
        place = np.full(levels, most - 1)
        place[np.argsort(-rows, kind="stable")[: most - 1]] = np.arange(most - 1)
        ranks, levels = np.where(gone, -1, place[ranks]), most
    ranks[gone] = levels
    return ranks, levels + bool(gone.any()), bool(gone.any()), exact


# ---------------------------------------------------------------------------------------------------------------------
# how well it predicts


def out_of_fold(counts: Counts, ordered: bool, gaps: bool) -> tuple[float, float]:
    """Accuracy and log loss of a table of classes by bins, on the rows of each fold from the rows of the others.

    p(k | bin) = (rows of k in the bin + share of k) / (rows in the bin + 1), where neighbouring bins of a number are
    taken together by the splits of `intervals_of`. counts: (folds, bins, classes). Log loss in nats.
    """
    total, loss, right = counts.sum(axis=0), 0.0, 0
    for held in counts:
        rest = total - held
        if ordered:
            known = len(rest) - gaps
            place = np.arange(len(rest))
            place[:known] = intervals_of(rest[:known])
            sums = np.zeros_like(rest)
            np.add.at(sums, place, rest)
            rest = sums[place]
        share = (total.sum(axis=0) + 1.0) / (total.sum() + total.shape[1])
        p = (rest + share) / (rest.sum(axis=1, keepdims=True) + 1.0)
        loss -= float((held * np.log(p)).sum())
        right += int(held[np.arange(len(held)), p.argmax(axis=1)].sum())
    return right / int(total.sum()), loss / int(total.sum())


def intervals_of(counts: Counts) -> Counts:
    """Bins (bins, classes) in their order, cut into intervals: the first bin of each bin's interval, (bins,) int64.

    A cut is made where it lowers the sum of -rows ln share most, the best cut first, while it saves more than
    classes/2 * ln(rows) nats (the BIC), up to 2 * classes intervals and at least 16.
    """
    first = np.zeros(len(counts), dtype=np.int64)
    least = 0.5 * counts.shape[1] * math.log(max(int(counts.sum()), 2))
    found = [(*_cut(counts), 0, len(counts))] if len(counts) else []
    for _ in range(max(16, 2 * counts.shape[1]) - 1):
        if not found or max(found)[0] <= least:
            break
        best = max(found)
        found.remove(best)
        _, at, start, end = best
        first[start + at : end] = start + at
        found += [
            (*_cut(counts[start : start + at]), start, start + at),
            (*_cut(counts[start + at : end]), start + at, end),
        ]
    return first


def _cut(counts: Counts) -> tuple[float, int]:
    """How much the best cut of these bins saves, in nats, and how many bins lie before it."""
    if len(counts) < 2:
        return 0.0, 1
    left = np.cumsum(counts, axis=0)
    whole = left[-1:]
    saved = float(_surprise(whole)[0]) - _surprise(left[:-1]) - _surprise(whole - left[:-1])
    return float(saved.max()), int(saved.argmax()) + 1


def _surprise(counts: Counts) -> NDArray[np.float64]:
    """-sum_k rows_k ln(rows_k / rows) of each line of counts."""
    rows = counts.sum(axis=-1)
    return np.asarray(rows * np.log(np.maximum(rows, 1)) - (counts * np.log(np.maximum(counts, 1))).sum(axis=-1))


# ---------------------------------------------------------------------------------------------------------------------
# leaks


def leaks_of(columns: list[Coded], table: Table, target: Labels) -> list[Leak]:
    """The columns that give the label away, the firm ones first, then by how much of it they explain."""
    found = [leak for column in columns if (leak := _leak(column, len(columns), table, target)) is not None]
    return sorted(found, key=lambda leak: (not leak.firm, -leak.explained, leak.column))


def _leak(column: Coded, tried: int, table: Table, target: Labels) -> Leak | None:
    total = column.total
    per_class = total.sum(axis=0)
    entropy = float(_surprise(per_class)) / int(per_class.sum())
    gaps = _gaps(column, tried, entropy, target)
    # The table's own rows flatter it: what explains too little of them explains no more of others.
    in_sample = float(_surprise(total).sum()) / int(per_class.sum())
    if in_sample <= (1 - EXPLAINED) * entropy:
        accuracy, loss = out_of_fold(column.counts, column.ordered, column.gaps)
        explained, one_to_one = 1 - loss / entropy, _one_to_one(column)
        by_gaps = not one_to_one and gaps is not None and gaps.explained >= MOSTLY * explained
        if not by_gaps and (explained >= EXPLAINED or one_to_one):
            how, firm, detail = _whole(column, tried, table, target)
            return Leak(column.name, how, accuracy, loss, explained, firm, detail)
    return gaps or _value(column, tried, entropy, table, target)


def _one_to_one(column: Coded) -> bool:
    """Whether each value goes with one class and each class with one value."""
    pairs = column.total > 0
    return column.exact and pairs.shape[0] == pairs.shape[1] and bool((pairs.sum(axis=0) == 1).all())


def _coincidences(per_class: Counts) -> float:
    """The logarithm of the ways to deal the labels to the rows: a column of their own is one of them."""
    return math.lgamma(int(per_class.sum()) + 1) - sum(math.lgamma(int(rows) + 1) for rows in per_class)


def _whole(column: Coded, tried: int, table: Table, target: Labels) -> tuple[How, bool, str]:
    """What a column is that predicts nearly everything: the label itself, its other name, or a strong predictor."""
    pairs = column.total
    firm = _coincidences(pairs.sum(axis=0)) - math.log(tried) > CHANCE
    if _one_to_one(column):
        first = np.unique(column.codes, return_index=True)[1]
        named = [cells.as_text(table.column(column.name))[int(row)] for row in first]
        classes = [target.classes[int(k)] for k in pairs.argmax(axis=1)]
        same = [str(name).strip().lower() for name in named] == [str(class_).lower() for class_ in classes]
        shown = ", ".join(
            f"{cells.shown(n, 20)} is {cells.shown(c, 20)}" for n, c in list(zip(named, classes, strict=True))[:3]
        )
        return ("equal" if same else "one-to-one"), firm, "" if same else shown
    several = 3 * len(pairs) <= int(pairs.sum())
    pure = column.exact and several and bool(((pairs > 0).sum(axis=1) <= 1).all())
    detail = f"each of its {len(pairs):,} values goes with one class only" if pure else ""
    return "alone", False, detail


def _gaps(column: Coded, tried: int, entropy: float, target: Labels) -> Leak | None:
    """Whether a cell is missing tells the class, or only rows of one class have the column filled in."""
    if not column.gaps:
        return None
    two = np.stack([column.counts[:, :-1].sum(axis=1), column.counts[:, -1]], axis=1)
    accuracy, loss = out_of_fold(two, False, False)
    filled, gone = two.sum(axis=0)
    shares = column.total.sum(axis=0) / column.total.sum()
    if 1 - loss / entropy >= EXPLAINED_BY_GAPS:
        k = int((gone / (filled + gone)).argmax())
        shown = cells.shown(target.classes[k], 30)
        detail = f"missing in {_share(gone[k], filled[k] + gone[k])} of the rows of class {shown}, in "
        detail += f"{_share(gone.sum() - gone[k], (filled + gone).sum() - filled[k] - gone[k])} of the others"
        return Leak(column.name, "missing", accuracy, loss, 1 - loss / entropy, False, detail)
    k, rows = int(filled.argmax()), int(filled.sum())
    if filled[k] == rows >= VALUE_ROWS and -rows * math.log(shares[k]) - math.log(tried) > CHANCE:
        detail = f"filled in for {rows:,} rows, all of class {cells.shown(target.classes[k], 30)}"
        return Leak(column.name, "filled in", accuracy, loss, 1 - loss / entropy, False, detail)
    return None


def _value(column: Coded, tried: int, entropy: float, table: Table, target: Labels) -> Leak | None:
    """A value that only rows of the rarer of two classes have, and many of them.

    Of several classes one often has a value of its own; that is told by `separations_of`.
    """
    if not column.exact or len(target.classes) > 2:
        return None
    total, per_class = column.total, column.total.sum(axis=0)
    rows, k = total.sum(axis=1), total.argmax(axis=1)
    share = per_class[k] / per_class.sum()
    odds = -rows * np.log(share) - math.log(tried * len(total))
    own = (total.max(axis=1) == rows) & (share <= RARE_CLASS) & (odds > CHANCE)
    own &= (rows >= VALUE_ROWS) & (rows >= VALUE_SHARE * per_class[k])
    if not own.any():
        return None
    best = int(np.argmax(np.where(own, rows, 0)))
    cell = cells.as_text(table.column(column.name))[int((column.codes == best).argmax())]
    class_ = cells.shown(target.classes[int(k[best])], 30)
    value = "a missing cell" if column.gaps and best == len(total) - 1 else cells.shown(cell, 30)
    detail = f"all {int(rows[best]):,} rows with {value} are of class {class_}"
    accuracy, loss = out_of_fold(column.counts, column.ordered, column.gaps)
    return Leak(column.name, "value", accuracy, loss, 1 - loss / entropy, False, detail)


def _share(part: Any, whole: Any) -> str:
    return f"{100 * int(part) / max(int(whole), 1):.1f} %"


# ---------------------------------------------------------------------------------------------------------------------
# classes that one column tells apart


def separations_of(columns: list[Coded], parsed: Mapping[str, Any], target: Labels) -> list[Separation]:
    """Classes that a threshold of a number, or a value, tells from all others, then pairs that no such class is in.

    Said only where the chance of a coincidence, over all columns and classes, is below one in a million. A class with a
    missing cell in a number is told apart by no threshold of it.
    """
    per_class, classes = np.bincount(target.codes, minlength=len(target.classes)), target.classes
    if len(per_class) > MOST_CLASSES:
        return []
    found: dict[tuple[int, int], Separation] = {}
    order, starts = np.argsort(target.codes, kind="stable"), np.cumsum(per_class) - per_class
    for column in columns:
        if column.ordered:
            said = _thresholds(as_numbers(parsed[column.name])[order], starts, target)
        else:
            said = _values(column, per_class, target)
        for k, other, rule in said:
            rows = per_class[k] + (0 if other < 0 else per_class[other])
            if (k, other) not in found and _no_coincidence(per_class, k, other, len(columns)):
                rest = None if other < 0 else classes[other]
                found[k, other] = Separation(column.name, classes[k], rest, rule, int(rows))
    whole = {k for k, other in found if other < 0}
    kept = [pair for pair in found if pair[1] < 0 or not set(pair) & whole]
    return [found[pair] for pair in sorted(kept, key=lambda pair: (pair[1] >= 0, pair))]


def _no_coincidence(per_class: Counts, k: int, other: int, tried: int) -> bool:
    rest = int(per_class.sum() - per_class[k]) if other < 0 else int(per_class[other])
    ways = _coincidences(np.array([per_class[k], rest]))
    return ways - math.log(2 * tried * len(per_class) ** (1 if other < 0 else 2)) > CHANCE


def _thresholds(x: NDArray[np.float64], starts: Counts, target: Labels) -> Iterator[tuple[int, int, str]]:
    """Classes below or above all others (-1), and pairs of which one lies below the other, with the rule; x: the
    numbers class after class."""
    low, high = np.minimum.reduceat(x, starts), np.maximum.reduceat(x, starts)
    below = high[:, None] < low[None, :]  # false for NaN
    for k in range(len(low)):
        rest = np.arange(len(low)) != k
        if below[k, rest].all():
            yield k, -1, f"at most {high[k]:.6g}, all others at least {low[rest].min():.6g}"
        elif below[rest, k].all():
            yield k, -1, f"at least {low[k]:.6g}, all others at most {high[rest].max():.6g}"
    for k, other in np.argwhere(below).tolist():
        rule = f"{cells.shown(target.classes[k], 20)} at most {high[k]:.6g}, the other at least {low[other]:.6g}"
        yield min(k, other), max(k, other), rule


def _values(column: Coded, per_class: Counts, target: Labels) -> Iterator[tuple[int, int, str]]:
    """Classes whose rows all have one value that no other class has (-1), or that another class does not have."""
    total = column.total if column.exact else np.zeros((0, len(per_class)), dtype=np.int64)
    for level, k in np.argwhere((total == per_class) & (total > 0)).tolist():
        absent = np.flatnonzero(total[level] == 0).tolist()
        if len(absent) == len(per_class) - 1:
            yield k, -1, "a value of its own"
        for other in absent:
            rule = f"one value for {cells.shown(target.classes[k], 20)}, others for the other"
            yield min(k, other), max(k, other), rule
