"""Which rows to train on and which to hold out: stratified by class, settled by a seed and the rows' indices alone."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from itertools import islice
from numbers import Real
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray

from luce.errors import InputError

Split: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]

# The increment and the two multipliers of splitmix64, and the largest number of 64 bits.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLY_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = np.uint64(0x94D049BB133111EB)
_MAX_UINT64 = 2**64 - 1

MANY_ALIKE = 20  # equal rows: copies are fewer, but for those that make up for a rare class
MANY_ROWS = 1 << 22
MOST_ASKED = 64  # columns


def row_keys(n: int, seed: int) -> NDArray[np.uint64]:
    """Give each row a pseudo-random 64-bit key that depends on the seed and the row's index alone.

    key_i = mix(seed + (i + 1) * 0x9E3779B97F4A7C15 mod 2^64), output i of the generator splitmix64. The steps of
    `mix` can be undone and the increment is odd, so no two rows share a key. Shape (n,), uint64.

    Raises InputError if n is negative or seed is not a whole number in [0, 2^64).
    Source: Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014, section 5.
    """
    n = _whole_number("the number of rows", n, 0, 2**63 - 1)
    seed = _whole_number("seed", seed, 0, _MAX_UINT64)
    keys = np.arange(1, n + 1, dtype=np.uint64)
    keys *= _GOLDEN
    # A one-element array, because NumPy warns when a scalar wraps round, and never when an array does.
    keys += np.array([seed], dtype=np.uint64)
    return spread_bits(keys)


def spread_bits(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The last steps of splitmix64, in place: neighbouring keys, different ones, become keys of no likeness."""
    keys ^= keys >> np.uint64(30)
    keys *= _MULTIPLY_1
    keys ^= keys >> np.uint64(27)
    keys *= _MULTIPLY_2
    keys ^= keys >> np.uint64(31)
    return keys


def holdout(codes: NDArray[np.integer], fraction: float, seed: int) -> Split:
    """Split the rows into training rows and held-out rows, each class in the same proportion.

    A class of c rows gives floor(fraction * c) rows, or one more where the largest remainders say so, until
    floor(fraction * n + 1/2) rows, and at least one, are held out. No class gives its last row: a class of one row
    stays in training, and the total falls short where too many classes are that small. In a class the rows of the
    smallest `row_keys` go. Only which rows share a class matters: renumbering the classes leaves the split as it is.

    codes: shape (n,), any integer dtype, from 0. Returns (training rows, held-out rows): ascending indices, int64.

    Raises InputError if fraction is not in (0, 1), seed is not a whole number in [0, 2^64), codes are no class codes,
    or no class has two rows.
    """
    fraction = _fraction(fraction)
    order, counts, first_keys = _rows_by_class(codes, seed)
    if counts.max() == 1:
        raise InputError(
            "no row can be held out: no class has more than one row, and a class's only row stays in training; "
            "add rows, or hold out none (--holdout 0)"
        )
    quotas = _quotas(counts, fraction, first_keys)
    held_out = np.empty(len(order), dtype=np.bool_)
    held_out[order] = _positions(counts) < np.repeat(quotas, counts)
    return _split(held_out)


def kfold(codes: NDArray[np.integer], folds: int, seed: int) -> list[Split]:
    """Split the rows `folds` times so that each row is held out exactly once, each class spread evenly over the folds.

    The rows are dealt to the folds in turn like cards, class after class and by `row_keys` in a class. So a fold holds
    floor(c / folds) or ceil(c / folds) rows of a class of c, and floor(n / folds) or ceil(n / folds) rows in all. A
    class of two or more rows keeps a training row in every fold; a class of one row has none in the fold that holds it
    out. Renumbering the classes leaves the folds as they are.

    codes: shape (n,), any integer dtype, from 0. Returns a list of (training rows, held-out rows), one pair a fold:
    ascending indices, int64.

    Raises InputError if folds is not a whole number in [2, n], seed is not a whole number in [0, 2^64), or codes are
    no class codes.
    """
    order, counts, first_keys = _rows_by_class(codes, seed)
    if len(order) < 2:
        raise InputError("k-fold cross-validation needs at least 2 rows and there is 1; add rows")
    folds = _whole_number("folds", folds, 2, len(order), " (the number of rows)")
    fold_of_row = np.empty(len(order), dtype=np.int64)
    fold_of_row[order] = (_positions(counts) + np.repeat(_dealt_before(counts, first_keys), counts)) % folds
    return [_split(fold_of_row == fold) for fold in range(folds)]


def kfold_of_groups(codes: NDArray[np.integer], keys: NDArray[np.uint64], folds: int) -> NDArray[np.int64]:
    """The fold of each row, in [0, folds): rows of one class and one key stay together.

    The groups of a class are dealt to the folds in turn by their keys, class after class, as `kfold` deals rows. With
    keys that are hashes of the rows' numbers, equal rows never lie on both sides of a split, their order means
    nothing, and a row given twice is as good as a row of weight 2.
    """
    least = np.full(int(codes.max()) + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(least, codes, keys)
    turn = np.argsort(np.argsort(least, kind="stable"))  # renumbering the classes leaves their turns as they are
    order = np.lexsort((keys, turn[codes]))
    code, key = codes[order], keys[order]
    fold = np.empty(len(codes), dtype=np.int64)
    fold[order] = np.concatenate(([0], np.cumsum((code[1:] != code[:-1]) | (key[1:] != key[:-1])))) % folds
    return fold


def keys_of_copies(
    codes: NDArray[np.integer], keys: NDArray[np.uint64], different: Iterable[int] | None
) -> NDArray[np.uint64]:
    """Keys that rows share only as copies of one row; rows that are equal by nature get keys of their own.

    A fit that has seen a copy of a held-out row knows its answer. But where there are few different rows, to hold out
    all that are equal tells how a fit does on rows unlike any it saw, and rows to come will not be so. Equal rows of
    one class (keys: hashes of the rows' numbers) are no copies where they are more than MANY_ALIKE and a fifth of their
    class; none is where there are fewer combinations of the columns' values than rows. Where no column alone tells most
    of the different rows apart, as a text or an exact measurement does, equal rows of several classes are no copies
    either, and none is where there are MANY_ALIKE of each in the mean. What tells such rows apart is their order, which
    means nothing. Where all rows are equal, there is nothing to tell.

    codes, keys: shape (n,). different: how many different values each column has, more than n for texts; of the first
    MOST_ASKED columns; None: not known, and no column is taken to tell most rows apart. Returns uint64 (n,).
    """
    ordered = np.sort(keys)
    kinds = 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))
    del ordered
    if kinds in (1, len(keys)):
        return keys
    few, telling = _told(different, kinds, len(keys)) if different is not None else (False, False)
    by_nature = few or (not telling and kinds * MANY_ALIKE <= len(keys))
    out, of_class = keys.copy(), np.bincount(codes)
    # Equal rows of several classes get other keys too: classes are told by the keys of all their rows.
    names = np.zeros(len(of_class), dtype=np.uint64)
    for begin in range(0, len(keys), MANY_ROWS):
        np.add.at(names, codes[begin : begin + MANY_ROWS], spread_bits(keys[begin : begin + MANY_ROWS].copy()))
    parts = 16 if len(keys) > MANY_ROWS else 1  # by the first bits of the keys, so that few indices are held at once
    for part in range(parts):
        rows = np.flatnonzero(keys >> np.uint64(60) == part) if parts > 1 else np.arange(len(keys))
        rows = rows[np.lexsort((codes[rows], keys[rows]))]
        key, code = keys[rows], codes[rows]
        other = np.concatenate(([True], key[1:] != key[:-1]))
        new = other | np.concatenate(([True], code[1:] != code[:-1]))
        size = np.diff(np.flatnonzero(new), append=len(rows))
        classes = np.bincount(np.cumsum(other)[new] - 1)  # that each key has
        many = (size > MANY_ALIKE) & (size * 5 > of_class[code[new]])
        mixed = (classes[np.cumsum(other)[new] - 1] > 1) & (not telling)
        alone = np.repeat(many | mixed | by_nature, size)
        turn = (np.arange(len(rows)) - np.repeat(np.flatnonzero(new), size)).astype(np.uint64)
        out[rows[alone]] = spread_bits((key[alone] ^ names[code[alone]]) + (turn[alone] + np.uint64(1)) * _GOLDEN)
    return out


def strata_of_copies(codes: NDArray[np.integer], keys: NDArray[np.uint64]) -> NDArray[np.int64] | None:
    """What counts as the class of each row where copies of one row have several labels, which are to stay together:
    the most frequent; None where none have. keys: as `keys_of_copies` gives them."""
    order = np.argsort(keys, kind="stable")
    alike = keys[order][1:] == keys[order][:-1]
    if alike.all() or not (alike & (codes[order][1:] != codes[order][:-1])).any():
        return None
    return strata_of_groups(codes, keys, 0)[0]


def dealt_as_copies(
    codes: NDArray[np.integer], keys: NDArray[np.uint64], different: Iterable[int] | None
) -> tuple[NDArray[np.int64] | None, NDArray[np.uint64]]:
    """What `kfold_of_groups` is to deal rows by so that copies of one row stay together, whatever their labels: strata,
    None where they are the codes, and keys."""
    keys = keys_of_copies(codes, keys, different)
    return strata_of_copies(codes, keys), keys


def strata_of_groups(
    codes: NDArray[np.integer], groups: NDArray[Any], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The stratum and the key of each row's group: its most frequent class, and the `row_keys` of its first row, which
    says nothing of how many rows it has.

    `kfold_of_groups(strata, keys, folds)` then keeps whole groups together, whatever the classes of their rows.

    codes: shape (n,), any integer dtype, from 0. groups: shape (n,), values that can be sorted; rows of one value are
    one group, and only that matters: renaming the groups changes nothing. Returns int64 (n,) and uint64 (n,).

    Raises InputError as `holdout_of_groups` does.
    """
    present, code = np.unique(_class_codes(codes), return_inverse=True)
    group, _ = _groups(groups)
    if len(group) != len(code):
        raise InputError(f"there are {len(group)} groups for {len(code)} rows; give one for each row")
    keys = row_keys(len(code), seed)
    first = np.unique(group, return_index=True)[1]
    pair, rows = np.unique(group * len(present) + code, return_counts=True)
    owner, class_ = pair // len(present), pair % len(present)
    # Sorted by group, then by rows: the last pair of a group is its most frequent class, the first of equals.
    last = np.cumsum(np.bincount(owner)) - 1
    stratum = present[class_[np.lexsort((-class_, rows, owner))][last]].astype(np.int64)
    return stratum[group], keys[first][group]


def holdout_of_groups(codes: NDArray[np.integer], groups: NDArray[Any], fraction: float, seed: int) -> Split:
    """Split whole groups (patients, sites, series) into training and held-out rows, classes in near proportion.

    Groups are put together by their most frequent class, and by the `row_keys` of their first rows within it. There
    a group is held out if that brings the held-out rows nearer to fraction * (rows of these groups). A class keeps a
    group in training: its only one, or if all would be held out, the smallest. At least one group is held out and one
    stays. Renaming the groups leaves the split as it is.

    codes: shape (n,), any integer dtype, from 0. groups: shape (n,), values that can be sorted. Returns (training
    rows, held-out rows): ascending indices, int64.

    Raises InputError for a fraction outside (0, 1), a seed that is not a whole number in [0, 2^64), codes that are no
    class codes, another number of groups, fewer than two groups, or classes that leave none to hold out.
    """
    fraction = _fraction(fraction)
    strata, keys = strata_of_groups(codes, groups, seed)
    group, counts = _groups(groups)
    present, code = np.unique(codes, return_inverse=True)
    pair = np.unique(group * len(present) + code)
    owner, class_ = pair // len(present), pair % len(present)
    free = np.ones(len(counts), dtype=np.bool_)
    free[owner[np.bincount(class_)[class_] == 1]] = False
    if not free.any():
        raise InputError(
            "no group can be held out: each holds all rows of some class, which must stay in training; give more groups"
        )
    first = np.unique(group, return_index=True)[1]
    held = _held_groups(strata[first], keys[first], counts, free, fraction)
    by_size = np.lexsort((keys[first], counts))
    for k in np.setdiff1d(class_[held[owner]], class_[~held[owner]]).tolist():
        its = by_size[np.isin(by_size, owner[class_ == k])]
        if held[its].all():
            held[its[0]] = False
    return _split(held[group])


def _held_groups(
    strata: NDArray[np.int64],
    keys: NDArray[np.uint64],
    counts: NDArray[np.int64],
    free: NDArray[np.bool_],
    fraction: float,
) -> NDArray[np.bool_]:
    """Which of the free groups to hold out: in each stratum, by key, those that bring it nearer to its share."""
    held, wanted = np.zeros(len(counts), dtype=np.bool_), np.bincount(strata, weights=counts) * fraction
    taken: dict[int, int] = {}
    order = np.lexsort((keys, strata))
    for place in order[free[order]].tolist():
        stratum, rows = int(strata[place]), int(counts[place])
        before = taken.get(stratum, 0)
        # In whole millionths of a row, as in _quotas: nearer or as near with the group as without it.
        if round((2 * before + rows) * 1e6) <= round(2e6 * float(wanted[stratum])):
            held[place], taken[stratum] = True, before + rows
    smallest = np.lexsort((keys, counts, ~free))[0]
    if held.all() or not held.any():
        held[smallest] = not held[smallest]
    return held


def holdout_by_time(values: NDArray[Any], fraction: float) -> Split:
    """Hold out the latest rows: train on the past, measure on what came after.

    With n rows the cut lies between two different times, where the number of rows after it is nearest to
    fraction * n (of two as near the later one), so rows of one time stay on one side, and each side has a time.
    Rows without a time (NaN, NaT) go to training.

    values: shape (n,), numbers or datetime64. Returns (training rows, held-out rows): ascending indices, int64.

    Raises InputError for a fraction outside (0, 1), values of another kind, or fewer than two different times.
    """
    fraction, values = _fraction(fraction), np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "iufM":
        raise InputError(f"times must be a one-dimensional array of numbers or dates, and these are {values.dtype}")
    known = ~(np.isnat(values) if values.dtype.kind == "M" else np.isnan(values))
    times, counts = np.unique(values[known], return_counts=True)
    if len(times) < 2:
        raise InputError(f"there are {len(times)} different times; two or more are needed to hold out the latest rows")
    after = np.cumsum(counts[::-1])[::-1][1:]  # rows from the second time on, from the third on, ...
    off = np.rint(np.abs(after - fraction * len(values)) * 1e6)
    cut = times[len(times) - 1 - int(np.argmin(off[::-1]))]
    held = known.copy()
    held[known] = values[known] >= cut
    return _split(held)


def _told(different: Iterable[int], kinds: int, rows: int) -> tuple[bool, bool]:
    """Whether columns of so many different values each have no more combinations than there are rows, and if they have
    more, whether one of them alone has most of the `kinds` of rows."""
    combinations, telling = 1, False
    for count in islice(different, MOST_ASKED):
        combinations = min(combinations * max(count, 1), rows + 1)
        telling |= 2 * count > kinds
        if telling and combinations > rows:
            break
    return combinations <= rows, telling and combinations > rows


def _rows_by_class(
    codes: NDArray[np.integer], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """The rows sorted by class and by key in a class; the rows of each class present; the smallest key of each."""
    codes = _class_codes(codes)
    keys = row_keys(len(codes), seed)
    order = np.argsort(keys)
    # Narrow codes make the stable sort a radix sort, and the whole twice as fast as one lexsort.
    narrow = codes.astype(np.min_scalar_type(int(codes.max())))[order]
    by_class = np.argsort(narrow, kind="stable")
    order, narrow = order[by_class], narrow[by_class]
    starts = np.flatnonzero(np.concatenate(([True], narrow[1:] != narrow[:-1])))
    counts = np.diff(starts, append=len(order))
    return order.astype(np.int64, copy=False), counts.astype(np.int64, copy=False), keys[order[starts]]


def _quotas(counts: NDArray[np.int64], fraction: float, first_keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The rows to hold out of each class, by largest remainder; of equal remainders the smallest key goes first."""
    # Whole millionths of a row: 0.29 * 100 has to be 29, and equal shares have to tie, whatever the last bit says.
    floors, remainders = np.divmod(np.rint(counts * fraction * 1e6).astype(np.int64), 1_000_000)
    total = max(1, (round(int(counts.sum()) * fraction * 1e6) + 500_000) // 1_000_000)
    quotas = np.minimum(floors, counts - 1)
    can_give = np.flatnonzero(quotas < counts - 1)
    by_remainder = can_give[np.lexsort((first_keys[can_give], -remainders[can_give]))]
    quotas[by_remainder[: max(0, total - int(quotas.sum()))]] += 1
    return quotas


def _dealt_before(counts: NDArray[np.int64], first_keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The rows dealt before each class, if the classes come in the order of their smallest keys."""
    turn = np.argsort(first_keys)
    before = np.empty_like(counts)
    before[turn] = np.cumsum(counts[turn]) - counts[turn]
    return before


def _positions(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ..., c - 1 for each class of c rows, one class after another."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1], dtype=np.int64) - np.repeat(ends - counts, counts)


def _groups(groups: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each row's group, from 0, and the rows of each group."""
    groups = np.asarray(groups)
    if groups.ndim != 1:
        raise InputError(
            f"groups must be one-dimensional, one value for each row, and these have {groups.ndim} dimensions"
        )
    try:
        _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    except TypeError:
        raise InputError("groups hold values that cannot be compared; make them all text or all numbers") from None
    if len(counts) < 2:
        raise InputError("all rows are of one group; two groups or more are needed to hold some out")
    return group.astype(np.int64), counts.astype(np.int64)


def _fraction(fraction: float) -> float:
    if not (isinstance(fraction, Real) and 0 < fraction < 1):
        raise InputError("fraction must be a number above 0 and below 1; 0.25 holds out a quarter of the rows")
    return float(fraction)


def _split(held_out: NDArray[np.bool_]) -> Split:
    train, held = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    return train.astype(np.int64, copy=False), held.astype(np.int64, copy=False)


def _class_codes(codes: NDArray[np.integer]) -> NDArray[np.integer]:
    codes = np.asarray(codes)
    if codes.size == 0:
        raise InputError("there are no rows to split; give at least 2")
    if codes.ndim != 1 or not np.issubdtype(codes.dtype, np.integer):
        raise InputError(
            f"class codes must be a one-dimensional array of whole numbers, and these are {codes.ndim}-dimensional of "
            f"dtype {codes.dtype}; encode the labels as 0, 1, 2, ... first"
        )
    if codes.min() < 0:
        row = int(np.argmax(codes < 0))
        raise InputError(f"row {row} (from 0) has class code {codes[row]}; leave out the rows that have no class")
    return codes


def _whole_number(name: str, value: SupportsIndex, low: int, high: int, limit_is: str = "") -> int:
    """The value as an int in [low, high]; the error leaves the value out, which could be of any length."""
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} must be a whole number, not a {type(value).__name__}") from None
    if not low <= number <= high:
        raise InputError(f"{name} must be from {low} to {high}{limit_is}")
    return number
