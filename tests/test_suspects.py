"""Likely wrong labels: the order is that of the plain formula, planted errors come first, and their number is told."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import optimize, special

import luce
from luce import suspects
from luce.fitted import HeldOut
from luce.splits import row_keys
from luce.suspects import Ranking, Wrong, rank, wrong

# Held-out accuracy above 90 %; with 5 % of the labels flipped, 7 flips in 10 must be in the first tenth of the list.
SURE_TABLES = ["breast_cancer_wisconsin", "zoo", "dermatology", "kr_vs_kp", "car", "page_blocks", "segment", "nursery"]


def held_out(rows: int = 400, classes: int = 3, seed: int = 0) -> HeldOut:
    """Made-up probabilities, labels drawn by them, every seventh row without a score, and ties among the first rows."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.4), rows)
    p[:20] = p[0]
    codes = np.array([rng.choice(classes, p=line) for line in p], dtype=np.int32)
    return HeldOut(p, codes, np.arange(rows) % 7 != 3)


def planted(rows: int, wrong_share: float, classes: int = 4, seed: int = 0) -> tuple[HeldOut, np.ndarray]:
    """Calibrated probabilities of rows of which half are sure, and labels of which a share is another class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    p = np.where(np.arange(rows)[:, None] % 2 == 0, np.full(classes, 0.001), rng.dirichlet(np.full(classes, 2.0), rows))
    even = np.arange(0, rows, 2)
    p[even, truth[even]] = 1 - 0.001 * (classes - 1)
    drawn = np.array([rng.choice(classes, p=line) for line in p])
    flipped = rng.random(rows) < wrong_share
    given = np.where(flipped, (drawn + rng.integers(1, classes, rows)) % classes, drawn)
    return HeldOut(p, given.astype(np.int32), np.ones(rows, dtype=np.bool_)), flipped


# --- the claims


def plain_order(held: HeldOut) -> list[int]:
    """The rows by p(given) / (p(given) + p(best other)) in plain Python, those without a score last."""

    def score(row: int) -> tuple[bool, float]:
        p = held.probabilities[row].tolist()
        given = p.pop(int(held.codes[row]))
        return not held.scored[row], given / (given + max(p)) if held.scored[row] else 0.0

    return sorted(range(len(held.codes)), key=score)


def the_order_is_that_of_the_formula(held: HeldOut) -> None:
    found = suspects.rank(held)
    assert found.order.tolist() == plain_order(held)
    for row in range(len(held.codes)):
        p = held.probabilities[row].copy()
        given = held.codes[row]
        assert found.p_given[row] == p[given]
        p[given] = -1
        assert found.p_suggested[row] == p.max()
        if held.scored[row]:
            assert found.suggested[row] == p.argmax() != given
            assert found.doubted[row] == (found.p_suggested[row] > found.p_given[row])
        else:
            assert found.suggested[row] == -1 and math.isnan(found.score[row]) and not found.doubted[row]


def the_number_is_that_of_the_surest_rows(held: HeldOut) -> None:
    """Counted in plain Python: the surest rows and how many of them differ; the likeliest share of wrong labels beside
    any factor of the logits, and where it is less likely by 1.92 nats."""
    rows = np.flatnonzero(held.scored)
    keys = row_keys(len(rows), 0).tolist()
    surest = sorted(range(len(rows)), key=lambda place: (-held.probabilities[rows[place]].max(), keys[place]))
    size = min(max(math.ceil(0.3 * len(rows)), min(100, len(rows) // 2)), len(rows))
    differs = [int(held.probabilities[row].argmax() != held.codes[row]) for row in rows]
    disagree, doubted = sum(differs[place] for place in surest[:size]), sum(differs)
    found = suspects.wrong(held)
    assert (found.sure, found.disagree) == (size, disagree)
    if disagree > size / 4:
        assert found.rows is None and found.look == min(max(12, len(rows) // 100), doubted)
        return
    assert found.rows is not None and found.look == math.floor(found.rows.high)
    z, codes = np.log(held.probabilities[rows]), held.codes[rows]

    def best_at(share: float) -> float:
        """The largest log likelihood of any factor, by SciPy."""

        def lost(log_factor: float) -> float:
            q = special.softmax(math.exp(log_factor) * z, axis=1)[np.arange(len(rows)), codes]
            return -float(np.log((1 - share) * q + share * (1 - q) / (z.shape[1] - 1)).sum())

        return -min(optimize.minimize_scalar(lost, bounds=ends, method="bounded").fun for ends in PARTS)

    bounds = -12, math.log(0.5)
    top = optimize.minimize_scalar(lambda u: -best_at(math.exp(u)), bounds=bounds, method="bounded")
    most = max(-top.fun, best_at(0.0))
    value, low, high = (end / len(rows) for end in (found.rows.value, found.rows.low, found.rows.high))
    assert most - best_at(value) < 0.05  # nats: the factors that are tried are 6 % apart
    for end in (low, high):
        capped = end == doubted / len(rows) or end == 0.0
        assert capped or abs(most - best_at(end) - 1.92073) < 0.15  # between two shares, a straight line


def the_number_of_planted_errors_is_found(share: float) -> None:
    """Of 20,000 rows 10,000 are sure, each wrong with probability share beside the model's own doubt: a binomial count
    is off by more than 5.5 standard deviations with a chance below 1e-7 on either side; the factor is fitted too."""
    held, _ = planted(20_000, share)
    found = suspects.wrong(held).rows
    assert found is not None
    error = 5.5 * math.sqrt((share + 0.003) * (1 - share) / 10_000)
    assert abs(found.value / 20_000 - share) < error
    assert found.low / 20_000 - error / 5 < share < found.high / 20_000 + error / 5


PARTS = [(math.log(0.5), 0.0), (0.0, 1.4), (1.4, math.log(16.0))]  # of the logarithm of the factor


def test_overlap_is_no_error_of_labels() -> None:
    """Labels drawn by the very probabilities, none above 0.95: the interval holds 0, where a third of the rows are not
    of the most probable class; with a twentieth of other labels it holds these and not 0, of 20,000 rows."""
    rng = np.random.default_rng(0)
    for classes, wrong_share in ((2, 0.0), (4, 0.0), (2, 0.05), (4, 0.05)):
        p = 0.9 * special.softmax(3 * rng.normal(size=(20_000, classes)), axis=1) + 0.1 / classes
        drawn = (rng.random(20_000)[:, np.newaxis] > np.cumsum(p, axis=1)).sum(axis=1)
        flipped = rng.random(20_000) < wrong_share
        given = np.where(flipped, (drawn + rng.integers(1, classes, 20_000)) % classes, drawn)
        found = wrong(HeldOut(p, given.astype(np.int32), np.ones(20_000, dtype=np.bool_))).rows
        assert found is not None
        assert found.low <= flipped.sum() or wrong_share == 0.0, (classes, found)
        assert found.low == 0.0 if wrong_share == 0.0 else found.high > flipped.sum(), (classes, found)


def planted_errors_of_sure_rows_come_first() -> None:
    """A flipped label of a sure row is given 0.001 against 0.997: no other row but one by the model's doubt is below.
    500 flips of sure rows are expected, 15 rows by doubt; the seed is set, so nothing here is left to chance."""
    held, flipped = planted(20_000, 0.05)
    sure = np.arange(20_000) % 2 == 0
    first = suspects.rank(held).order[: int((flipped & sure).sum())]
    assert (flipped & sure)[first].mean() > 0.9


CASES = [held_out(), held_out(30, 2, 1), held_out(61, 5, 2), planted(3_000, 0.05)[0], planted(200, 0.6, 2, 3)[0]]


@pytest.mark.parametrize("held", CASES, ids=lambda held: f"{held.probabilities.shape}")
def test_the_order_is_that_of_the_formula(held: HeldOut) -> None:
    the_order_is_that_of_the_formula(held)


@pytest.mark.parametrize("held", CASES, ids=lambda held: f"{held.probabilities.shape}")
def test_the_number_is_that_of_the_surest_rows(held: HeldOut) -> None:
    the_number_is_that_of_the_surest_rows(held)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.2])
def test_the_number_of_planted_errors_is_found(share: float) -> None:
    the_number_of_planted_errors_is_found(share)


def test_planted_errors_of_sure_rows_come_first() -> None:
    planted_errors_of_sure_rows_come_first()


def test_where_classes_overlap_no_number_is_told() -> None:
    held = planted(2_000, 0.6)[0]
    assert wrong(held).rows is None
    assert wrong(held).look == 20


def test_the_same_rows_in_another_order_are_as_suspect() -> None:
    held, _ = planted(1_000, 0.05)
    turned = HeldOut(held.probabilities[::-1], held.codes[::-1], held.scored[::-1])
    assert np.array_equal(rank(held).score[::-1], rank(turned).score)


# --- hand-made faults: each must turn a claim red


def changed(function: Callable[..., Any], change: Callable[[HeldOut, Any], Any]) -> Callable[[HeldOut], Any]:
    return lambda held: change(held, function(held))


def reordered(key: Callable[[HeldOut, Ranking], np.ndarray]) -> Callable[[HeldOut], Ranking]:
    return changed(rank, lambda held, found: replace(found, order=np.argsort(key(held, found), kind="stable")))


RANK_FAULTS = {
    "the least suspect first": reordered(lambda held, found: -found.score),
    "by the suggested class alone": reordered(lambda held, found: -found.p_suggested),
    "rows without a score first": reordered(lambda held, found: np.nan_to_num(found.score, nan=-1.0)),
    "the given class may be suggested": changed(
        rank, lambda held, found: replace(found, suggested=held.probabilities.argmax(axis=1))
    ),
}


@pytest.mark.parametrize("fault", RANK_FAULTS)
def test_a_wrong_order_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "rank", RANK_FAULTS[fault])
    with pytest.raises(AssertionError):
        the_order_is_that_of_the_formula(held_out())


def test_an_order_by_the_row_is_noticed_by_the_planted_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "rank", reordered(lambda held, found: np.arange(len(held.codes))))
    with pytest.raises(AssertionError):
        planted_errors_of_sure_rows_come_first()


def from_all_rows(held: HeldOut) -> Wrong:
    """All rows count as sure: then every doubt of the model counts as an error of the label."""
    differs = (held.probabilities.argmax(axis=1) != held.codes)[held.scored]
    found = wrong(held)
    assert found.rows is not None
    return replace(found, sure=len(differs), rows=replace(found.rows, value=float(differs.sum())))


def test_a_count_over_all_rows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "wrong", from_all_rows)
    with pytest.raises(AssertionError):
        the_number_of_planted_errors_is_found(0.05)
    with pytest.raises(AssertionError):
        the_number_is_that_of_the_surest_rows(planted(3_000, 0.05)[0])


# --- real tables


@pytest.mark.parametrize("name", SURE_TABLES)
def test_flipped_labels_of_real_tables_are_among_the_first(name: str, shared_data: Path) -> None:
    """Seven flips in ten within the first tenth of the list, as promised; the seed is set, so chance has no part."""
    label = json.loads((shared_data / "manifest.json").read_text(encoding="utf-8"))[f"tables/{name}.parquet"]["label"]
    frame = pl.read_parquet(shared_data / "tables" / f"{name}.parquet")
    classes, codes = np.unique(frame[label].cast(pl.String).to_numpy(), return_inverse=True)
    rng, n = np.random.default_rng(0), len(codes)
    flipped = rng.choice(n, round(0.05 * n), replace=False)
    codes[flipped] = (codes[flipped] + rng.integers(1, len(classes), len(flipped))) % len(classes)
    found = luce.examine(frame.drop(label), classes[codes])
    assert found.ranking is not None
    first = found.ranking.order[: round(0.1 * n)]
    assert np.isin(flipped, first).mean() >= 0.7
    if n >= 1_000:
        assert found.wrong is not None and found.wrong.rows is not None
        assert 0.03 * n < found.wrong.rows.value < 0.08 * n
