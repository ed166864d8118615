"""What a split promises: strata, every row once, no last row taken, the same rows for the same seed on any machine."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from luce import splits
from luce.errors import InputError
from luce.splits import (
    Split,
    _quotas,
    holdout,
    holdout_by_time,
    holdout_of_groups,
    kfold,
    kfold_of_groups,
    row_keys,
    strata_of_groups,
)

MAX_SEED = 2**64 - 1
SMALL = np.array([0, 1, 0, 1, 0, 2, 0, 1, 0, 1, 0, 0])

# All statistical checks of this file together give a false alarm with at most this probability for an ideal hash, the
# choice of seeds being the random event. The calls of assert_rates share it equally, and in a call its counts do.
FALSE_ALARM = 1e-6
CALLS = 5


def plain_key(seed: int, row: int) -> int:
    """splitmix64 with Python's own integers."""
    z = (seed + (row + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def tail_bound(hits: int, draws: int, rate: float) -> float:
    """A bound on the chance that a count is as far from draws * rate as `hits`, on its side.

    Chernoff's exp(-draws * KL(hits / draws || rate)), which holds for any number of draws, with replacement (binomial)
    and without (hypergeometric), and for sums of such counts: Hoeffding, Probability inequalities for sums of bounded
    random variables, 1963, sections 2 and 6.
    """
    share = hits / draws
    divergence = sum(p * math.log(p / q) for p, q in ((share, rate), (1 - share, 1 - rate)) if p > 0)
    return math.exp(-draws * divergence)


def assert_rates(hits: NDArray[np.int64], draws: int, rate: float) -> None:
    """Each of the counts fits the rate; the factor 2 is for the two sides."""
    limit = FALSE_ALARM / CALLS / (2 * hits.size)
    bounds = [tail_bound(int(h), draws, rate) for h in hits.ravel()]
    assert min(bounds) > limit, f"{hits.ravel()[np.argmin(bounds)]} of {draws} at the rate {rate}"


def class_counts(codes: NDArray[np.int64], rows: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    return np.bincount(codes[rows], minlength=classes)


def same(a: Split, b: Split) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


code_arrays = st.lists(st.integers(0, 6), min_size=2, max_size=80).map(lambda codes: np.array(codes, dtype=np.int64))
seeds = st.integers(0, MAX_SEED)


def test_row_keys_are_the_published_outputs_of_splitmix64() -> None:
    # The five outputs for the seed 1234567 by which implementations of splitmix64 are commonly checked.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert row_keys(5, 1234567).tolist() == expected
    assert row_keys(5, 1234567).dtype == np.uint64


@pytest.mark.parametrize("seed", [0, 1, 2**63, MAX_SEED])
def test_row_keys_agree_with_whole_number_arithmetic(seed: int) -> None:
    assert row_keys(50, seed).tolist() == [plain_key(seed, row) for row in range(50)]


def test_row_keys_depend_on_the_index_alone_and_never_repeat() -> None:
    keys = row_keys(100_000, 5)
    assert np.array_equal(row_keys(1_000, 5), keys[:1_000])
    assert np.unique(keys).size == keys.size
    assert row_keys(0, 5).size == 0


def test_holdout_pinned() -> None:
    train, held = holdout(SMALL, 0.25, 7)
    assert train.tolist() == [0, 2, 3, 4, 5, 6, 7, 9, 11]
    assert held.tolist() == [1, 8, 10]


def test_kfold_pinned() -> None:
    assert [held.tolist() for _, held in kfold(SMALL, 3, 7)] == [[0, 1, 2, 3], [4, 7, 10, 11], [5, 6, 8, 9]]


def test_holdout_takes_the_smallest_keys_of_each_class() -> None:
    codes = np.arange(60) % 3
    _, held = holdout(codes, 0.25, 11)
    expected = [row for c in range(3) for row in sorted(range(c, 60, 3), key=lambda r: plain_key(11, r))[:5]]
    assert held.tolist() == sorted(expected)


@given(code_arrays, st.integers(1, 999).map(lambda k: k / 1000), seeds)
def test_holdout_promises(codes: NDArray[np.int64], fraction: float, seed: int) -> None:
    counts = np.bincount(codes)
    if counts.max() == 1:
        with pytest.raises(InputError):
            holdout(codes, fraction, seed)
        return
    train, held = holdout(codes, fraction, seed)
    assert train.dtype == held.dtype == np.int64
    assert np.all(np.diff(train) > 0) and np.all(np.diff(held) > 0)
    assert np.array_equal(np.sort(np.concatenate((train, held))), np.arange(codes.size))
    exact = Fraction(str(fraction))
    given_up = class_counts(codes, held, counts.size).tolist()
    floors = [min(int(exact * c), max(c - 1, 0)) for c in counts.tolist()]
    most = [min(int(exact * c) + 1, max(c - 1, 0)) for c in counts.tolist()]
    assert all(low <= g <= high for low, g, high in zip(floors, given_up, most, strict=True))
    # Round half up, at least one row, and no more than the classes may give.
    assert held.size == min(max(1, int(exact * codes.size + Fraction(1, 2))), sum(most))


@given(code_arrays, st.integers(1, 999).map(lambda k: k / 1000), seeds)
def test_holdout_gives_the_odd_rows_to_the_largest_remainders(
    codes: NDArray[np.int64], fraction: float, seed: int
) -> None:
    counts = np.bincount(codes)
    assume(counts.max() > 1)
    given_up = class_counts(codes, holdout(codes, fraction, seed)[1], counts.size)
    shares = [Fraction(str(fraction)) * c for c in counts.tolist()]
    odd = [s - int(s) for s, g in zip(shares, given_up, strict=True) if g > int(s)]
    passed_over = [
        s - int(s) for s, g, c in zip(shares, given_up, counts.tolist(), strict=True) if g == int(s) and g < c - 1
    ]
    assert not odd or not passed_over or min(odd) >= max(passed_over)


@pytest.mark.parametrize(
    ("fraction", "rows", "expected"), [(0.29, 100, 29), (0.145, 100, 15), (0.5, 5, 3), (0.1, 3, 1)]
)
def test_holdout_counts_do_not_hang_on_the_last_bit(fraction: float, rows: int, expected: int) -> None:
    # 0.29 * 100 is 28.999999999999996 and 0.145 * 100 is 14.499999999999998 in float64.
    assert holdout(np.zeros(rows, dtype=np.int64), fraction, 0)[1].size == expected


def test_quotas_of_very_many_classes_never_run_below_the_shares() -> None:
    # The share of each class is 1.9999996, counted as 2 in whole millionths; 3,999,999 of 8,000,000 rows are wanted.
    counts = np.full(2_000_000, 4)
    assert np.all(_quotas(counts, 0.4999999, np.arange(counts.size, dtype=np.uint64)) == 2)


def test_holdout_of_equal_classes_shares_the_odd_rows_by_seed() -> None:
    # Four classes of 5 rows at 0.3: 1.5 rows each, 6 in all, so two classes give 2; not the same two for every seed.
    codes = np.repeat(np.arange(4), 5)
    patterns = {tuple(class_counts(codes, holdout(codes, 0.3, seed)[1], 4)) for seed in range(50)}
    assert all(sorted(p) == [1, 1, 2, 2] for p in patterns)
    assert len(patterns) == 6


def test_d15_a_class_of_one_row_stays_in_training() -> None:
    codes = np.array([0] * 40 + [1] + [2] * 40 + [3])
    for seed in range(20):
        for fraction in (0.01, 0.2, 0.5, 0.99):
            train, _ = holdout(codes, fraction, seed)
            assert {40, 81} <= set(train.tolist())


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999, 1 - 2**-53])
def test_holdout_leaves_every_class_a_training_row(fraction: float) -> None:
    codes = np.array([0, 0, 1, 1, 1, 2])
    train, held = holdout(codes, fraction, 3)
    assert set(codes[train]) == {0, 1, 2}
    assert held.size >= 1


def test_holdout_keeps_to_the_strata_where_small_classes_cannot_give() -> None:
    # 50 classes of one row give nothing; the two large ones give one row above their share of 5 and no more.
    codes = np.concatenate((np.repeat([50, 51], 25), np.arange(50)))
    assert np.array_equal(class_counts(codes, holdout(codes, 0.2, 0)[1], 52)[50:], [6, 6])


@pytest.mark.parametrize("codes", [[0], [0, 1, 2, 3]])
def test_d15_only_classes_of_one_row_are_refused(codes: list[int]) -> None:
    with pytest.raises(InputError, match=r"no row can be held out.*add rows"):
        holdout(np.array(codes), 0.5, 0)


@given(code_arrays, st.data(), seeds)
def test_kfold_promises(codes: NDArray[np.int64], data: st.DataObject, seed: int) -> None:
    folds = data.draw(st.integers(2, codes.size))
    splits = kfold(codes, folds, seed)
    assert len(splits) == folds
    assert np.array_equal(np.sort(np.concatenate([held for _, held in splits])), np.arange(codes.size))
    for train, held in splits:
        assert train.dtype == held.dtype == np.int64
        assert np.all(np.diff(train) > 0) and np.all(np.diff(held) > 0)
        assert np.array_equal(np.sort(np.concatenate((train, held))), np.arange(codes.size))
    per_class = np.array([class_counts(codes, held, 7) for _, held in splits])
    assert np.all(np.ptp(per_class, axis=0) <= 1)
    assert np.ptp(per_class.sum(axis=1)) <= 1
    counts = np.bincount(codes, minlength=7)
    assert np.all((counts - per_class)[:, counts > 1] >= 1)


@given(code_arrays, seeds, st.permutations(range(7)))
def test_splits_do_not_depend_on_how_the_classes_are_numbered(
    codes: NDArray[np.int64], seed: int, numbers: list[int]
) -> None:
    # Numbers with gaps, and equal in their low 40 bits, so that codes narrowed too far would run together.
    renumbered = np.array(numbers)[codes] * 2**40
    assert all(same(a, b) for a, b in zip(kfold(codes, 2, seed), kfold(renumbered, 2, seed), strict=True))
    if np.bincount(codes).max() > 1:
        assert same(holdout(codes, 0.3, seed), holdout(renumbered, 0.3, seed))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.int32, np.uint64])
def test_splits_do_not_depend_on_the_dtype_of_the_codes(dtype: type[np.integer]) -> None:
    codes = (np.arange(500) * 7) % 11
    before = codes.copy()
    assert same(holdout(codes, 0.2, 9), holdout(codes.astype(dtype), 0.2, 9))
    assert all(same(a, b) for a, b in zip(kfold(codes, 4, 9), kfold(codes.astype(dtype), 4, 9), strict=True))
    assert np.array_equal(codes, before)


def test_splits_of_other_seeds_differ() -> None:
    codes = np.arange(200) % 4
    for a, b in [(0, 1), (1, 2), (0, MAX_SEED), (2**32, 0)]:
        assert not same(holdout(codes, 0.25, a), holdout(codes, 0.25, b))
        assert not same(kfold(codes, 5, a)[0], kfold(codes, 5, b)[0])
    assert same(holdout(codes, 0.25, 3), holdout(codes, 0.25, np.int64(3)))


def test_holdout_is_uniform_over_rows() -> None:
    # Over 2,000 seeds each row is held out Binomial(2000, 1/4) times: 200 counts of rows.
    codes = np.arange(200) % 2
    hits = np.zeros(200, dtype=np.int64)
    for seed in range(2_000):
        hits[holdout(codes, 0.25, seed)[1]] += 1
    assert_rates(hits, 2_000, 0.25)


def test_kfold_is_uniform_over_folds() -> None:
    # 60 rows of one class and 5 folds: over 2,000 seeds each row falls into each fold Binomial(2000, 1/5) times.
    codes = np.zeros(60, dtype=np.int64)
    hits = np.zeros((60, 5), dtype=np.int64)
    for seed in range(2_000):
        for fold, (_, held) in enumerate(kfold(codes, 5, seed)):
            hits[held, fold] += 1
    assert_rates(hits, 2_000, 0.2)


def test_holdout_is_uniform_within_a_large_table() -> None:
    # 2^18 rows, a quarter held out: the count in a block of 2^14 consecutive rows, and in a residue class modulo 16, is
    # hypergeometric with 2^14 draws at the rate 1/4. 4 seeds, 16 blocks and 16 residues: 128 counts.
    n, parts = 2**18, 16
    codes = np.zeros(n, dtype=np.int64)
    hits = []
    for seed in (0, 1, 2, MAX_SEED):
        _, held = holdout(codes, 0.25, seed)
        hits += [np.bincount(held // (n // parts), minlength=parts), np.bincount(held % parts, minlength=parts)]
    assert_rates(np.array(hits), n // parts, 0.25)


def test_holdout_of_neighbouring_seeds_and_rows_is_independent() -> None:
    # A quarter of 2^17 rows is held out. Of the 2^15 rows that one seed holds out, the next seed holds out a quarter,
    # give or take chance. The even and the odd rows are two classes, so they are drawn apart: of the 2^14 even rows
    # held out, a quarter have a held-out neighbour. 8 counts each.
    n = 2**17
    sets = [np.isin(np.arange(n), holdout(np.arange(n) % 2, 0.25, seed)[1]) for seed in range(9)]
    over_seeds = [int(np.sum(a & b)) for a, b in pairwise(sets)]
    over_rows = [int(np.sum(s[0::2] & s[1::2])) for s in sets[:8]]
    assert_rates(np.array(over_seeds), n // 4, 0.25)
    assert_rates(np.array(over_rows), n // 8, 0.25)


@pytest.mark.parametrize("held", [range(4096), range(0, 16384, 4)])
def test_the_uniformity_check_refuses_a_regular_split(held: range) -> None:
    rows = np.array(held)
    counts = np.array([np.bincount(rows // 1024, minlength=16), np.bincount(rows % 16, minlength=16)])
    with pytest.raises(AssertionError, match="at the rate"):
        assert_rates(counts, 1024, 0.25)


@pytest.mark.parametrize("fraction", [0, 1, 0.0, 1.0, -0.1, 1.5, 20, math.nan, math.inf, True, "0.2", None, 10**400])
def test_holdout_refuses_a_fraction_outside_0_and_1(fraction: float) -> None:
    with pytest.raises(InputError, match=r"fraction must be .* above 0 and below 1"):
        holdout(SMALL, fraction, 0)


@pytest.mark.parametrize("seed", [-1, 2**64, pytest.param(10**5000, id="huge"), 1.0, "1", None])
def test_a_seed_that_is_no_64_bit_whole_number_is_refused(seed: int) -> None:
    for split in (lambda: row_keys(3, seed), lambda: holdout(SMALL, 0.5, seed), lambda: kfold(SMALL, 2, seed)):
        with pytest.raises(InputError, match="seed must be") as caught:
            split()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folds", [-1, 0, 1, 13, 2.0, "3"])
def test_kfold_refuses_folds_outside_2_and_the_number_of_rows(folds: int) -> None:
    with pytest.raises(InputError, match="folds must be"):
        kfold(SMALL, folds, 0)


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (np.array([], dtype=np.int64), "no rows"),
        (np.array([0.0, 1.0]), "float64.*encode the labels"),
        (np.array(["a", "b"]), "encode the labels"),
        (np.array([True, False]), "bool.*encode the labels"),
        (np.zeros((2, 2), dtype=np.int64), "2-dimensional"),
        (np.array([0, 0, -1, 1]), r"row 2 \(from 0\) has class code -1"),
    ],
)
def test_codes_that_are_no_class_codes_are_refused(codes: NDArray[np.integer], words: str) -> None:
    for split in (lambda: holdout(codes, 0.5, 0), lambda: kfold(codes, 2, 0)):
        with pytest.raises(InputError, match=words) as caught:
            split()
        assert "\n" not in str(caught.value)


def test_one_row_makes_no_folds_and_a_negative_number_of_rows_no_keys() -> None:
    with pytest.raises(InputError, match="at least 2 rows"):
        kfold(np.array([0]), 2, 0)
    with pytest.raises(InputError, match="number of rows must be from 0"):
        row_keys(-1, 0)


# --- whole groups


def of_groups(rows: int = 600, groups: int = 60, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Class codes that lean on the group, and groups of unequal sizes."""
    rng = np.random.default_rng(seed)
    group = np.minimum(rng.geometric(3.0 / groups, rows), groups)
    return (group % 3 + (rng.random(rows) < 0.2)).astype(np.int64), group


def groups_are_whole_and_classes_stay(codes: NDArray[np.int64], group: NDArray[np.int64], fraction: float) -> None:
    """No group on both sides, each row once, each class in training, and per stratum no farther from its share than
    half its largest group (a group is taken while that brings the count nearer), where no class had to be returned."""
    train, held = splits.holdout_of_groups(codes, group, fraction, 5)
    assert train.dtype == held.dtype == np.int64
    assert np.all(np.diff(train) > 0) and np.all(np.diff(held) > 0)
    assert np.array_equal(np.sort(np.concatenate((train, held))), np.arange(codes.size))
    assert len(train) and len(held)
    assert not set(group[train].tolist()) & set(group[held].tolist())
    assert set(codes[train].tolist()) == set(codes.tolist())
    by_group = {g: codes[group == g].tolist() for g in set(group.tolist())}
    stratum = {g: max(sorted(set(its)), key=its.count) for g, its in by_group.items()}
    taken = set(group[held].tolist())
    for k in set(stratum.values()):
        sizes = {g: len(by_group[g]) for g in by_group if stratum[g] == k}
        wanted, got = fraction * sum(sizes.values()), sum(sizes[g] for g in sizes if g in taken)
        assert got <= wanted + max(sizes.values()) / 2 + 1e-6
        left = [size for g, size in sizes.items() if g not in taken]
        assert not left or got + min(left) / 2 > wanted - max(sizes.values()) or len(sizes) < 4


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_t09_groups_are_whole_and_classes_stay(fraction: float, seed: int) -> None:
    groups_are_whole_and_classes_stay(*of_groups(seed=seed), fraction)


GROUP_FAULTS = {
    "a random split": lambda codes, group, fraction, seed: holdout(codes, fraction, seed),
    "the groups alone, whatever the class": lambda codes, group, fraction, seed: tuple(
        np.flatnonzero((group == codes.argmin()) ^ side) for side in (True, False)
    ),
    "the last class is held out": lambda codes, group, fraction, seed: tuple(
        np.flatnonzero(np.isin(group, group[codes == codes.max()]) ^ side) for side in (True, False)
    ),
    "hardly a row": lambda codes, group, fraction, seed: tuple(
        np.flatnonzero((group == group.max()) ^ side) for side in (True, False)
    ),
}


@pytest.mark.parametrize("fault", GROUP_FAULTS)
def test_a_split_of_groups_that_is_none_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "holdout_of_groups", GROUP_FAULTS[fault])
    with pytest.raises(AssertionError):
        groups_are_whole_and_classes_stay(*of_groups(), 0.5)


@given(code_arrays, st.data(), st.integers(1, 99).map(lambda k: k / 100), seeds)
def test_groups_of_any_shape_stay_whole(
    codes: NDArray[np.int64], data: st.DataObject, fraction: float, seed: int
) -> None:
    group = np.array(data.draw(st.lists(st.integers(0, 5), min_size=codes.size, max_size=codes.size)))
    owners = [set(group[codes == k].tolist()) for k in set(codes.tolist())]
    try:
        train, held = holdout_of_groups(codes, group, fraction, seed)
    except InputError:  # one group, or each holds all rows of some class
        assert len(set(group.tolist())) == 1 or set(group.tolist()) <= {next(iter(o)) for o in owners if len(o) == 1}
        return
    assert len(train) and len(held) and len(train) + len(held) == codes.size
    assert not set(group[train].tolist()) & set(group[held].tolist())
    assert set(codes[train].tolist()) == set(codes.tolist())


def test_the_names_of_the_groups_do_not_matter_and_the_seed_does() -> None:
    codes, group = of_groups()
    plain = holdout_of_groups(codes, group, 0.2, 7)
    assert same(plain, holdout_of_groups(codes, np.array([f"site {-g}" for g in group]), 0.2, 7))
    assert same(plain, holdout_of_groups(codes, -group * 0.5, 0.2, 7))
    assert not same(plain, holdout_of_groups(codes, group, 0.2, 8))


def test_holdout_of_groups_pinned() -> None:
    codes, group = SMALL, np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    assert holdout_of_groups(codes, group, 0.3, 7)[1].tolist() == [8, 9, 10, 11]


def large_and_small_groups_are_held_out_alike() -> None:
    """200 groups of 20 rows and 4,000 of one: half of the rows are of the small ones, and so are half of those held
    out, within a tenth (in the mean of twenty seeds; the large ones are some 50 of 1,600 rows, give or take 6)."""
    group = np.concatenate([np.repeat(np.arange(200), 20), 200 + np.arange(4_000)])
    codes = group % 2
    shares = [float((group[holdout_of_groups(codes, group, 0.2, seed)[1]] >= 200).mean()) for seed in range(20)]
    assert abs(np.mean(shares) - 0.5) < 0.05


def test_large_and_small_groups_are_held_out_alike() -> None:
    large_and_small_groups_are_held_out_alike()


def test_keys_that_tell_the_size_of_a_group_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least key of all rows of a group is the smaller, the more rows it has."""

    def least(codes: Any, groups: Any, seed: int) -> Any:
        strata, _ = strata_of_groups(codes, groups, seed)
        _, group = np.unique(groups, return_inverse=True)
        smallest = np.full(int(group.max()) + 1, 2**64 - 1, dtype=np.uint64)
        np.minimum.at(smallest, group, row_keys(len(codes), seed))
        return strata, smallest[group]

    monkeypatch.setattr("luce.splits.strata_of_groups", least)
    with pytest.raises(AssertionError):
        large_and_small_groups_are_held_out_alike()


def test_strata_are_the_commonest_class_and_make_folds_of_whole_groups() -> None:
    codes, group = of_groups()
    strata, keys = strata_of_groups(codes, group, 3)
    row = row_keys(codes.size, 3)
    for g in set(group.tolist()):
        its = codes[group == g].tolist()
        assert set(strata[group == g].tolist()) == {max(sorted(set(its)), key=its.count)}
        assert set(keys[group == g].tolist()) == {row[group == g][0]}
    folds = kfold_of_groups(strata, keys, 4)
    assert all(len(set(folds[group == g].tolist())) == 1 for g in set(group.tolist()))
    # By class and key alone a group would be dealt to several folds: that is why the stratum is needed.
    assert any(len(set(kfold_of_groups(codes, keys, 4)[group == g].tolist())) > 1 for g in set(group.tolist()))


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (np.zeros(12), "all rows are of one group"),
        (np.arange(11), "there are 11 groups for 12 rows"),
        (np.zeros((12, 2)), "2 dimensions"),
        (np.array([None, *"abcdefghijk"], dtype=object), "cannot be compared"),
        (np.where(SMALL == 0, 0, np.where(SMALL == 1, 1, 2)), "each holds all rows of some class"),
    ],
)
def test_groups_that_cannot_be_split_are_refused(group: NDArray[np.generic], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        holdout_of_groups(SMALL, group, 0.3, 0)
    assert "\n" not in str(caught.value)


# --- time


def the_latest_rows_are_held_out(values: NDArray[np.generic], fraction: float) -> None:
    """By trying every cut between two times in plain Python: the nearest count, of two as near the smaller one."""
    train, held = splits.holdout_by_time(values, fraction)
    assert train.dtype == held.dtype == np.int64
    assert np.array_equal(np.sort(np.concatenate((train, held))), np.arange(values.size))
    assert np.all(np.diff(train) > 0) and np.all(np.diff(held) > 0)
    known = [row for row in range(values.size) if values[row] == values[row]]
    cuts = sorted({values[row] for row in known})[1:]
    counts = [sum(bool(values[row] >= cut) for row in known) for cut in cuts]
    wanted = Fraction(str(fraction)) * values.size
    count = min(counts, key=lambda c: (abs(c - wanted), c))
    cut = cuts[counts.index(count)]
    assert held.tolist() == [row for row in known if values[row] >= cut]


times = st.lists(st.one_of(st.integers(0, 12), st.just(None)), min_size=2, max_size=60)


@given(times, st.integers(1, 99).map(lambda k: k / 100))
def test_the_latest_rows_are_held_out(drawn: list[int | None], fraction: float) -> None:
    assume(len(set(drawn) - {None}) > 1)
    the_latest_rows_are_held_out(np.array([np.nan if t is None else t for t in drawn]), fraction)
    days = [np.datetime64("NaT") if t is None else np.datetime64("2024-02-25") + t for t in drawn]
    the_latest_rows_are_held_out(np.array(days, dtype="datetime64[us]"), fraction)


TIME_FAULTS = {
    "the last rows of the file": lambda v, f: (
        np.arange(len(v) - round(f * len(v))),
        np.arange(len(v))[-round(f * len(v)) :],
    ),
    "the earliest rows": lambda v, f: holdout_by_time(-v, f),
    "ties on both sides": lambda v, f: (
        np.sort(np.argsort(v)[: -round(f * len(v))]),
        np.sort(np.argsort(v)[-round(f * len(v)) :]),
    ),
    "missing times are the latest": lambda v, f: holdout_by_time(np.nan_to_num(v, nan=1e9), f),
}


@pytest.mark.parametrize("fault", TIME_FAULTS)
def test_a_split_that_is_none_by_time_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.array([3.0, 1, 2, np.nan, 3, 3, 1, 0, 4, 4, 4, 2, np.nan])
    the_latest_rows_are_held_out(values, 0.3)
    monkeypatch.setattr(splits, "holdout_by_time", TIME_FAULTS[fault])
    with pytest.raises(AssertionError):
        the_latest_rows_are_held_out(values, 0.3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(5), "1 different times"),
        (np.full(5, np.nan), "0 different times"),
        (np.array(["2024", "2025"]), "numbers or dates"),
        (np.zeros((2, 2)), "one-dimensional"),
    ],
)
def test_times_that_put_rows_in_no_order_are_refused(values: NDArray[np.generic], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        holdout_by_time(values, 0.5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, math.nan, True, "0.2", None])
def test_splits_by_groups_and_time_refuse_the_fractions_that_holdout_does(fraction: float) -> None:
    for split in (lambda: holdout_of_groups(SMALL, SMALL, fraction, 0), lambda: holdout_by_time(SMALL, fraction)):
        with pytest.raises(InputError, match=r"fraction must be .* above 0 and below 1"):
            split()
