"""The search for pairs: its formula against a plain loop, what it names first, and that noise gains nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import luce.interactions
from luce import _core
from luce.curves import Basis, LevelBasis, NumberBasis
from luce.interactions import GRIDS, gain_of, strongest_pairs

Array = np.ndarray
Labels = tuple[Array, Array]  # residuals and curvatures

MOST_BY_CHANCE = 2 * np.log(112 * 1e6)
"""Nats, 37.1. Where the labels are nothing but noise of a known share p = 1/2, residuals are r = +-1/2 and h = 1/4: a
step w learnt on one half gains w r - w^2 h / 2 for a row of the other, and E exp of that, cosh(w / 2) exp(-w^2 / 8), is
at most 1. So a half gains t or more with a chance of at most exp(-t) (Markov), both together 2 t with 2 exp(-t); of 28
pairs on 2 grids any, 2 ln 112e6 nats, with a chance of 1e-6, were the seed drawn anew."""


def drawn(rows: int, columns: int, seed: int, kind: str = "numbers") -> tuple[list[Basis], dict[str, Any]]:
    """Columns of noise, c0, c1, ...; numbers, categories of 4 levels, or both in turn."""
    rng, bases, cells = np.random.default_rng(seed), list[Basis | None](), dict[str, Any]()
    for j in range(columns):
        name = f"c{j}"
        if kind == "numbers" or (kind == "both" and j % 2):
            cells[name] = rng.normal(size=rows)
            bases.append(NumberBasis.fit(name, cells[name]))
        else:
            cells[name] = pl.Series(name, rng.choice(["a", "b", "c", "d"], rows))
            bases.append(LevelBasis.fit(name, cells[name]))
    return [basis for basis in bases if basis is not None], cells


def of_labels(y: Array, classes: int) -> Labels:
    """Residuals and curvatures where nothing is known but that all classes are equally frequent."""
    p = np.full((len(y), classes), 1 / classes) if classes > 2 else np.full((len(y), 1), 0.5)
    told = (y[:, None] == np.arange(classes)) if classes > 2 else y[:, None] == 1
    return told - p, p * (1 - p)


def side(cells: Any) -> Array:
    """Which half of its values each cell is in, 0 or 1."""
    return (cells > 0).astype(int) if isinstance(cells, np.ndarray) else cells.is_in(["a", "b"]).to_numpy().astype(int)


def halves(rows: int) -> Array:
    return np.random.default_rng(99).random(rows) < 0.5


def folds(rows: int, count: int = 5) -> Array:
    return np.random.default_rng(98).integers(0, count, rows)


def search(
    bases: list[Basis], cells: dict[str, Any], labels: Labels, count: int = 25, threads: int = 1, half: Any = None
) -> list[list[set[str]]]:
    """The pairs that are named without each of five folds, and by all rows."""
    rows = len(labels[0])
    half = halves(rows) if half is None else half
    return [
        [set(pair) for pair in named]
        for named in strongest_pairs(bases, cells, *labels, half, folds(rows), count, threads)
    ]


# --- the formula ---------------------------------------------------------------------------------------------------


def plain_gain(cells: Array, labels: Labels, half: Array, held: float) -> float:
    """A step for each cell and class, learnt on the rows of one half, scored on those of the other."""
    total, (residual, curvature) = 0.0, labels
    for learns in (True, False):
        for cell in set(cells.tolist()):
            for k in range(residual.shape[1]):
                on, off = (half == learns) & (cells == cell), (half != learns) & (cells == cell)
                w = residual[on, k].sum() / (held + curvature[on, k].sum())
                total += w * residual[off, k].sum() - w * w * curvature[off, k].sum() / 2
    return total


def plain_gains(bases: list[Basis], cells: dict[str, Any], labels: Labels, half: Array) -> dict[frozenset[str], float]:
    """What each pair gains on its better grid."""
    out = {}
    for j, second in enumerate(bases):
        for first in bases[:j]:
            found = []
            for parts, held in GRIDS:
                a, b = first.cells(cells[first.name], parts), second.cells(cells[second.name], parts)
                found.append(plain_gain(100 * a + b, labels, half, held))
            out[frozenset((first.name, second.name))] = max(found)
    return out


def part(cells: dict[str, Any], labels: Labels, rows: Array) -> tuple[dict[str, Any], Labels]:
    return {name: column[np.flatnonzero(rows)] for name, column in cells.items()}, (labels[0][rows], labels[1][rows])


def pairs_are_those_of_the_largest_plain_gains(classes: int) -> None:
    """Without each fold, and of all rows. No two of the gains are nearer than sums of 400 numbers in another order."""
    bases, cells = drawn(400, 5, 0, "both")
    y = (side(cells["c0"]) ^ side(cells["c1"])) + (side(cells["c2"]) & side(cells["c3"])) * (classes > 2)
    labels, half, fold = of_labels(y, classes), halves(400), folds(400)
    found = search(bases, cells, labels, 99)
    assert len(found) == 6
    for f in range(6):
        gains = plain_gains(bases, *part(cells, labels, fold != f), half[fold != f])
        assert min(abs(a - b) for a in gains.values() for b in gains.values() if a != b) > 1e-9
        wanted = sorted((pair for pair in gains if gains[pair] > 0), key=lambda pair: -gains[pair])
        assert wanted[0] == {"c0", "c1"}
        assert found[f] == wanted


@pytest.mark.parametrize("classes", [2, 3])
def test_the_pairs_are_those_of_the_largest_plain_gains(classes: int) -> None:
    pairs_are_those_of_the_largest_plain_gains(classes)


@pytest.mark.parametrize("width", [1, 3])
def test_the_gain_of_sums_is_that_of_a_plain_loop(width: int) -> None:
    """1e-9: sums of 300 numbers of size 1 in another order."""
    rng = np.random.default_rng(width)
    labels = rng.normal(size=(300, width)), rng.random((300, width))
    cells, half = rng.integers(0, 16, 300), halves(300)
    sums = np.zeros((1, 2, 16, 2 * width))
    np.add.at(sums[0], (half.astype(int), cells), np.concatenate(labels, axis=1))
    for held in (0.5, 2.0, 4.0):
        wanted = plain_gain(cells, labels, half, held)
        assert abs(wanted) > 1, "else the bound says little"
        assert gain_of(sums, held)[0] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_sums_of_the_cells_of_a_pair_are_plain_sums_in_the_order_of_the_rows(threads: int) -> None:
    rng = np.random.default_rng(0)
    codes, group = rng.integers(0, 4, (6, 500)).astype(np.uint8), rng.integers(0, 3, 500).astype(np.uint8)
    numbers = rng.normal(size=(500, 2))
    pairs = np.array([[0, 5], [3, 3], [4, 1]], dtype=np.int32)
    out = np.full((3, 3 * 4 * 4 * 2), np.nan)
    _core.pair_sums(codes, 4, group, 3, numbers, pairs, out, threads)
    for found, (a, b) in zip(out.reshape(3, 3, 4, 4, 2), pairs, strict=True):
        wanted = np.zeros((3, 4, 4, 2))
        np.add.at(wanted, (group, codes[a], codes[b]), numbers)
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("fault", ["code", "group", "pair", "below", "rows", "out"])
def test_sums_of_what_does_not_belong_together_are_refused(fault: str) -> None:
    """Each would read or write beyond its array."""
    codes, group, numbers = np.zeros((2, 5), np.uint8), np.zeros(5, np.uint8), np.zeros((5, 2))
    pairs, out = np.array([[0, 1]], np.int32), np.zeros((1, 2 * 3 * 3 * 2))
    _core.pair_sums(codes, 3, group, 2, numbers, pairs, out, 1)
    if fault == "code":
        codes[1, 4] = 3
    elif fault == "group":
        group[4] = 2
    elif fault in ("pair", "below"):
        pairs[0, 1] = 2 if fault == "pair" else -1
    elif fault == "rows":
        numbers = numbers[:4].copy()
    else:
        out = out[:, 1:].copy()
    with pytest.raises(ValueError, match=r"beyond|not there|one group|out must be"):
        _core.pair_sums(codes, 3, group, 2, numbers, pairs, out, 1)


def test_blocks_threads_and_the_names_of_the_halves_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bases, cells = drawn(400, 6, 0, "both")
    labels = of_labels(side(cells["c0"]) ^ side(cells["c1"]), 2)
    wanted = search(bases, cells, labels)
    assert search(bases, cells, labels, threads=2) == wanted
    assert search(bases, cells, labels, half=~halves(400)) == wanted
    assert search(bases, cells, labels, count=2) == [named[:2] for named in wanted]
    monkeypatch.setattr(luce.interactions, "BLOCK", 1)
    assert search(bases, cells, labels) == wanted


def the_rows_of_a_fold_have_no_say_in_its_pairs() -> None:
    """Whatever their labels are. All rows together do change."""
    bases, cells = drawn(300, 6, 5)
    labels, fold = of_labels(side(cells["c0"]) ^ side(cells["c1"]), 2), folds(300)
    before = search(bases, cells, labels)
    turned = labels[0].copy()
    turned[fold == 2] *= -3
    after = search(bases, cells, (turned, labels[1]))
    assert after[2] == before[2]
    assert after[5] != before[5]


def test_the_rows_of_a_fold_have_no_say_in_its_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    the_rows_of_a_fold_have_no_say_in_its_pairs()
    true = _core.pair_sums

    def mixed(codes: Any, parts: int, group: Array, *rest: Any) -> None:
        """A hand-made fault: the folds of some rows are mistaken."""
        wrong = group.copy()
        wrong[::7] = (wrong[::7] + 2) % 10
        true(codes, parts, wrong, *rest)

    monkeypatch.setattr(_core, "pair_sums", mixed)
    with pytest.raises(AssertionError):
        the_rows_of_a_fold_have_no_say_in_its_pairs()


# --- what it finds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", ["numbers", "categories", "both"])
def test_two_columns_that_only_tell_something_together_are_named_first(kind: str, classes: int) -> None:
    bases, cells = drawn(1000, 8, 1, kind)
    y = side(cells["c2"]) ^ side(cells["c5"])
    y[::10] = classes - 1  # noise
    for named in search(bases, cells, of_labels(y, classes)):
        assert named[0] == {"c2", "c5"}


def test_noise_gains_no_more_than_it_may_by_chance_and_a_pair_that_tells_gains_more() -> None:
    bases, cells = drawn(2000, 8, 2)
    noise = np.random.default_rng(3).integers(0, 2, 2000)
    found = plain_gains(bases, cells, of_labels(noise, 2), halves(2000))
    assert len(found) == 28
    assert max(found.values()) <= MOST_BY_CHANCE
    told = side(cells["c0"]) ^ side(cells["c7"])
    assert max(plain_gains(bases, cells, of_labels(told, 2), halves(2000)).values()) > 5 * MOST_BY_CHANCE


def not_every_pair_of_noise_is_named() -> None:
    """60 tables of two columns each. A pair of noise is named with a chance of 0.46 (of 2,000 tables of this size); 50
    or more of 60 then are with one of 3e-9. Scored on the rows that the steps were learnt on, all are named."""
    named = 0
    for seed in range(60):
        bases, cells = drawn(200, 2, 100 + seed)
        y = np.random.default_rng(1000 + seed).integers(0, 2, 200)
        named += len(search(bases, cells, of_labels(y, 2))[5])
    assert named < 50


def test_not_every_pair_of_noise_is_named() -> None:
    not_every_pair_of_noise_is_named()


def test_steps_that_are_scored_on_the_rows_they_were_learnt_on_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand-made fault: the sums of both halves are those of all rows."""
    true = luce.interactions.gain_of
    monkeypatch.setattr(
        luce.interactions,
        "gain_of",
        lambda sums, held: true(np.repeat(sums.sum(axis=1, keepdims=True), 2, axis=1), held),
    )
    with pytest.raises(AssertionError):
        not_every_pair_of_noise_is_named()
    with pytest.raises(AssertionError):
        pairs_are_those_of_the_largest_plain_gains(2)


def test_of_many_columns_those_that_tell_most_by_themselves_are_paired(monkeypatch: pytest.MonkeyPatch) -> None:
    bases, cells = drawn(600, 6, 4)
    labels = of_labels(side(cells["c1"]) | side(cells["c4"]), 2)  # each tells something alone
    assert search(bases, cells, labels, 1)[5] == [{"c1", "c4"}]
    monkeypatch.setattr(luce.interactions, "MOST_COLUMNS", 2)
    assert search(bases, cells, labels) == [[{"c1", "c4"}]] * 6
    monkeypatch.setattr(luce.interactions, "MOST_COLUMNS", 3)
    found = search(bases, cells, labels)[5]
    assert found[0] == {"c1", "c4"} and len(set.union(*found)) <= 3


def test_one_column_makes_no_pair() -> None:
    bases, cells = drawn(50, 1, 0)
    assert search(bases, cells, of_labels(np.arange(50) % 2, 2)) == [[]] * 6


def test_no_column_makes_no_pair() -> None:
    assert search([], {}, of_labels(np.arange(50) % 2, 2)) == [[]] * 6
