"""Functions of one column: their formula at the knots, straight between them, and how large products of two are."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import luce.curves
from luce.curves import (
    FUNCTIONS,
    IN_A_PAIR,
    KNOTS,
    LEAST_COUNT,
    LEVELS,
    PAIR_SIZE,
    SQUARE_SIZE,
    STEEP,
    LevelBasis,
    NumberBasis,
    curve_sizes,
    pair_sizes,
)

Array = np.ndarray

NAN = np.nan
ROUNDING = 1e-14
"""For numbers up to sqrt 2 that are worked out in some ten steps, each rounded by 2^-53 of them: 2e-15 and less."""

NUMBERS: dict[str, Array] = {
    "continuous": np.random.default_rng(0).normal(size=500),
    "skewed": np.random.default_rng(1).lognormal(0, 3, 500),
    "spike": np.concatenate([np.zeros(300), np.random.default_rng(2).normal(size=300)]),
    "counts": np.random.default_rng(3).poisson(3, 200).astype(float),
    "two values": np.array([5.0, 7.0, 7.0, 7.0]),
    "three values": np.array([1.0, 2.0, 4.0, 4.0]),
    "with gaps": np.array([1.5, NAN, 2.5, 9.0, NAN, -4.0, 2.5]),
    "tiny steps": np.array([0.0, 5e-324, 1e-300, 1.0]),
    "huge": np.array([-8e307, 1.0, 8e307]),
}

every_number = pytest.mark.parametrize("name", NUMBERS)


def fitted(x: Any) -> NumberBasis:
    basis = NumberBasis.fit("x", np.asarray(x, dtype=float))
    assert basis is not None
    return basis


def plain_places(x: Array) -> tuple[Array, Array]:
    """The values, and the middle of the room that each takes, if its room is the root of its count: 0 to 1."""
    values = sorted(set(x[~np.isnan(x)].tolist()))
    room = [float(np.sum(x == value)) ** 0.5 for value in values]
    middles = np.array([sum(room[:i]) + room[i] / 2 for i in range(len(values))])
    return np.array(values), (middles - middles[0]) / (middles[-1] - middles[0])


# --- numbers -------------------------------------------------------------------------------------------------------


def a_value_takes_the_root_of_its_count(basis: NumberBasis, x: Array) -> None:
    """1e-12: sums of up to 500 terms of one sign."""
    values, places = plain_places(x)
    kept = np.searchsorted(values, basis.knots)
    assert np.array_equal(values[kept], basis.knots)
    assert np.abs(places[kept] - basis.places).max() <= 1e-12


@every_number
def test_a_value_takes_room_by_the_root_of_its_count(name: str) -> None:
    basis = fitted(NUMBERS[name])
    a_value_takes_the_root_of_its_count(basis, NUMBERS[name])
    assert (basis.places[0], basis.places[-1]) == (0.0, 1.0)
    assert len(basis.knots) <= KNOTS
    if len(plain_places(NUMBERS[name])[0]) <= KNOTS:
        assert list(basis.knots) == plain_places(NUMBERS[name])[0].tolist()


def test_a_value_of_half_of_the_rows_does_not_take_half_of_the_room() -> None:
    """300 zeros take sqrt(300) of sqrt(300) + 300 parts, 5.5 %, and what is between two knots on each side. A hand-made
    fault, room by the count, gives them a half: both claims turn red."""
    x = NUMBERS["spike"]
    values, counts = np.unique(x, return_counts=True)
    middles = np.cumsum(counts) - counts / 2
    places = (middles - middles[0]) / (middles[-1] - middles[0])
    kept = np.unique(np.searchsorted(places, np.linspace(0, 1, KNOTS)))
    by_count = NumberBasis("x", tuple(values[kept].tolist()), tuple(places[kept].tolist()))

    def little_room(basis: NumberBasis) -> None:
        zero = basis.knots.index(0.0)
        assert basis.places[zero + 1] - basis.places[zero - 1] <= 0.055 + 2 / (KNOTS - 1)

    little_room(fitted(x))
    with pytest.raises(AssertionError):
        a_value_takes_the_root_of_its_count(by_count, x)
    with pytest.raises(AssertionError):
        little_room(by_count)


def at_the_knots_they_are_cosines(basis: NumberBasis) -> None:
    turns = min(FUNCTIONS, len(basis.knots) - 1)
    j, u = np.arange(1, turns + 1)[:, None], np.array(basis.places)
    found = basis.functions(np.array(basis.knots), turns)
    assert found.shape == (min(FUNCTIONS, len(basis.knots) - 1), len(basis.knots))
    assert np.abs(found - np.sqrt(2) * np.cos(np.pi * j * u)).max() <= ROUNDING


def between_knots_they_are_straight_and_beyond_them_constant(basis: NumberBasis) -> None:
    """Against np.interp, which is just that. Numbers of size 1e308 apart, a part of the way is rounded as ever."""
    knots, at_knots = np.array(basis.knots), basis.functions(np.array(basis.knots), FUNCTIONS)
    inside = knots[:-1] + np.diff(knots) * np.random.default_rng(0).random(len(knots) - 1)
    low, high = knots[0] - 1 - abs(knots[0]) / 9, knots[-1] + 1 + abs(knots[-1]) / 9
    x = np.concatenate([inside, [low, high, -1.7e308, 1.7e308]])
    wanted = [np.interp(x, knots, row) for row in at_knots]
    assert np.abs(basis.functions(x, FUNCTIONS) - wanted).max() <= ROUNDING
    assert np.array_equal(basis.functions(np.array([low, high]), FUNCTIONS), at_knots[:, [0, -1]])


def where_missing_they_are_0(basis: NumberBasis) -> None:
    found = basis.functions(np.array([NAN, basis.knots[0], NAN]), FUNCTIONS)
    assert (found[:, [0, 2]] == 0).all()
    assert (found[:, 1] == basis.functions(np.array([basis.knots[0]]), FUNCTIONS)[:, 0]).all()


def by_numpy(x: Array, knots: Array, table: Array, sizes: Array, out: Array, clip: bool = True) -> None:
    inside = np.clip(x, knots[0], knots[-1]) if clip else x
    place = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(knots) - 2)
    part = (inside - knots[place]) / (knots[place + 1] - knots[place])
    found = (table[place].T + part * np.diff(table, axis=0)[place].T) * sizes[:, np.newaxis]
    out[:] = np.where(np.isnan(x), 0.0, found)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("knots", [2, 3, 4, 5, 63, 64])
def test_the_core_rounds_as_the_formula_does(knots: int, dtype: type) -> None:
    """Bit for bit, into rows of a wider array."""
    rng = np.random.default_rng(knots)
    places, table, sizes = np.sort(rng.normal(size=knots)), rng.normal(size=(knots, 5)), rng.random(5)
    x = np.concatenate([places, rng.normal(size=200) * 3, [NAN, -1e308, 1e308]])
    wanted, wide = np.empty((5, len(x)), dtype), np.full((7, len(x) + 3), 9.0, dtype)
    by_numpy(x, places, table, sizes, wanted)
    luce.curves.bend(x, places, table, sizes, wide[1:6, 2:-1])
    assert wide[1:6, 2:-1].tobytes() == wanted.tobytes()
    wide[1:6, 2:-1] = 9.0
    assert (wide == 9.0).all()


CLAIMS = (at_the_knots_they_are_cosines, between_knots_they_are_straight_and_beyond_them_constant)


@every_number
def test_functions_are_cosines_at_the_knots_straight_between_constant_beyond_and_0_where_missing(name: str) -> None:
    basis = fitted(NUMBERS[name])
    for claim in (*CLAIMS, where_missing_they_are_0):
        claim(basis)


def test_functions_that_are_wrong_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand-made faults: no bound to the part of the way, another factor, a missing cell that is as the first knot."""
    basis = fitted(NUMBERS["continuous"])

    def beyond(x: Array, knots: Array, table: Array, sizes: Array, out: Array) -> None:
        by_numpy(np.where(x > knots[-1], 2 * knots[-1] - knots[-2], x), knots, table, sizes, out, clip=False)

    def known(x: Array, knots: Array, table: Array, sizes: Array, out: Array) -> None:
        by_numpy(np.where(np.isnan(x), knots[0], x), knots, table, sizes, out)

    for fault, claim in ((beyond, CLAIMS[1]), (known, where_missing_they_are_0)):
        with monkeypatch.context() as patch:
            patch.setattr(luce.curves, "bend", fault)
            with pytest.raises(AssertionError):
                claim(basis)
    monkeypatch.setattr(luce.curves, "ROOT", 1.0)
    with pytest.raises(AssertionError):
        CLAIMS[0](fitted(NUMBERS["continuous"]))


@pytest.mark.parametrize("name", ["continuous", "skewed"])
def test_the_mean_square_is_about_1_and_no_two_are_alike(name: str) -> None:
    """Places of different values are even, and over even places the mean square of sqrt(2) cos(pi j u) is 1 and
    products of two are 0 in the mean. A line between two of 64 knots lies below the arc: the square is less by
    (pi j / 63)^2 / 6, 0.027 for j = 8; the rest is for rows that are not even between two knots, as many again."""
    f = fitted(NUMBERS[name]).functions(NUMBERS[name], FUNCTIONS)
    products = f @ f.T / f.shape[1]
    assert np.abs(products - np.eye(FUNCTIONS)).max() <= 0.06


def test_fewer_functions_are_the_first_ones() -> None:
    basis = fitted(NUMBERS["continuous"])
    x = NUMBERS["skewed"]
    assert np.array_equal(basis.functions(x, 3), basis.functions(x, FUNCTIONS)[:3])
    assert basis.orders(3).tolist() == [1, 2, 3]
    assert fitted([1, 2, 2]).orders(3).tolist() == [1], "two values have one function"
    assert fitted([1, 2, 2]).functions(np.array([1.0, 2.0]), 5) == pytest.approx(
        np.sqrt(2) * np.array([[1, -1]]), abs=ROUNDING
    )


@pytest.mark.parametrize("x", [[], [NAN, NAN], [3.5, 3.5, NAN], [-1.2e308, 1.2e308], [-1.7e308, 0.0, 1.7e308]])
def test_numbers_without_two_values_or_with_ends_too_far_apart_have_no_functions(x: list[float]) -> None:
    with np.errstate(over="ignore"):  # the difference that shows it
        assert NumberBasis.fit("x", np.array(x)) is None


def test_neither_missing_cells_nor_the_order_of_rows_change_the_functions() -> None:
    x = NUMBERS["spike"]
    gaps = np.insert(x, [0, 40, 300], NAN)
    assert fitted(gaps) == fitted(x) == fitted(np.random.default_rng(0).permutation(x))


@every_number
def test_a_row_alone_has_the_bits_that_it_has_among_others(name: str) -> None:
    basis, x = fitted(NUMBERS[name]), np.append(NUMBERS[name][:60], [NAN, -1e300, 1e300])
    whole = basis.functions(x, FUNCTIONS)
    for i in range(len(x)):
        assert basis.functions(x[i : i + 1], FUNCTIONS).tobytes() == whole[:, i].tobytes()


def test_places_and_numbers_are_two_names_of_one_thing() -> None:
    """Back and forth over a difference of neighbours: 2^-53 of 1 for each of four steps, and room for steep ones."""
    for name in ("continuous", "spike", "counts", "three values"):
        basis = fitted(NUMBERS[name])
        u = np.linspace(0, 1, 200)
        assert np.abs(basis.places_of(basis.at(u)) - u).max() <= 1e-12
        assert np.isnan(basis.places_of(np.array([NAN]))[0])
        assert basis.places_of(np.array([-1e9, 1e9])).tolist() == [0.0, 1.0]


@every_number
@pytest.mark.parametrize("parts", [3, 8])
def test_cells_are_equal_parts_of_the_room_and_one_more_for_missing(name: str, parts: int) -> None:
    basis, x = fitted(NUMBERS[name]), NUMBERS[name]
    u = basis.places_of(x)
    wanted = [parts if np.isnan(place) else min(int(place * parts), parts - 1) for place in u.tolist()]
    off = basis.cells(x, parts) - np.array(wanted)
    at_an_edge = np.abs(u * parts - np.round(u * parts)) < 1e-12  # rounding may put it on either side
    assert (off[~at_an_edge] == 0).all()
    assert np.abs(off).max() <= 1
    assert basis.cells(np.array([-1.7e308, 1.7e308, NAN]), parts).tolist() == [0, parts - 1, parts]


# --- categories ----------------------------------------------------------------------------------------------------


def levels(cells: list[Any]) -> tuple[LevelBasis, pl.Series]:
    column = pl.Series("c", cells, dtype=pl.String)
    basis = LevelBasis.fit("c", column)
    assert basis is not None
    return basis, column


TOWNS = ["Bonn"] * 5 + ["Rom"] * 3 + [None] * 4 + ["Ulm"] * 2 + ["Oslo"]


def they_are_0_in_the_mean_of_the_training_rows(basis: LevelBasis, column: pl.Series) -> None:
    assert np.abs(basis.functions(column, 99).mean(axis=1)).max() <= ROUNDING


def test_a_level_has_a_function_that_is_0_in_the_mean_of_the_training_rows() -> None:
    basis, column = levels(TOWNS)
    assert basis.levels == ("Bonn", "Rom", "Ulm"), f"Oslo has fewer rows than {LEAST_COUNT}"
    assert basis.shares == (5 / 15, 3 / 15, 2 / 15)
    cells = np.array(TOWNS, dtype=object)
    wanted = [np.sqrt(2) * ((cells == name) - np.mean(cells == name)) for name in basis.levels]
    assert np.abs(basis.functions(column, 99) - wanted).max() <= ROUNDING
    they_are_0_in_the_mean_of_the_training_rows(basis, column)
    of_the_known = LevelBasis("c", basis.levels, (5 / 11, 3 / 11, 2 / 11))  # a hand-made fault
    with pytest.raises(AssertionError):
        they_are_0_in_the_mean_of_the_training_rows(of_the_known, column)


def test_missing_rare_and_unseen_levels_are_alike() -> None:
    basis, _ = levels(TOWNS)
    found = basis.functions(pl.Series("c", [None, "Oslo", "Paris"], dtype=pl.String), 99)
    assert np.abs(found + np.sqrt(2) * np.array(basis.shares)[:, None]).max() <= ROUNDING
    assert basis.cells(pl.Series("c", ["Ulm", "Bonn", None, "Paris", "Rom"]), 2).tolist() == [2, 0, 2, 2, 1]


def test_the_more_frequent_levels_have_functions_and_of_equals_the_first_by_name() -> None:
    cells = [f"{k:02}" for k in range(12) for _ in range(3)] + ["zz"] * 4
    basis, _ = levels(cells)
    assert basis.levels == ("zz", *(f"{k:02}" for k in range(LEVELS - 1)))
    assert basis == levels(cells[::-1])[0]


def test_of_two_levels_one_function_says_all() -> None:
    basis, column = levels(["a"] * 3 + ["b"] * 2)
    assert basis.count == 1
    they_are_0_in_the_mean_of_the_training_rows(basis, column)
    assert len(set(basis.functions(column, 1)[0].tolist())) == 2


@pytest.mark.parametrize("cells", [[], [None, None], ["a"] * 5, ["a"] * 5 + ["b"], ["a", "b", "c"]])
def test_a_category_without_two_levels_has_no_functions(cells: list[Any]) -> None:
    assert LevelBasis.fit("c", pl.Series("c", cells, dtype=pl.String)) is None


# --- sizes ---------------------------------------------------------------------------------------------------------


def test_the_last_function_of_many_values_is_the_square() -> None:
    """Over u it has mean 0 and mean square 1; at the knots it is a parabola. 1e-12: sums of 64 terms."""
    for name in NUMBERS:
        basis = fitted(NUMBERS[name])
        assert basis.squared == (len(basis.knots) > FUNCTIONS) and basis.count == len(curve_sizes(basis))
        if not basis.squared:
            continue
        knots, u = np.array(basis.knots), np.array(basis.places)
        f = basis.functions(knots, basis.count)[-1]
        assert abs(np.trapezoid(f, u)) < 1e-12 and np.trapezoid(f**2, u) == pytest.approx(1.0, abs=1e-12)
        x = (knots - np.trapezoid(knots, u)) / (knots[-1] - knots[0])
        slope, height = np.polyfit(x**2, f, 1)
        assert np.abs(slope * x**2 + height - f).max() < 1e-10 * np.abs(f).max() and slope > 0
        assert np.array_equal(basis.functions(np.array([knots[-1] + 5.0]), basis.count)[-1], f[-1:])


def test_a_function_that_turns_more_often_is_smaller() -> None:
    basis = fitted(NUMBERS["continuous"])
    sizes = [1 / j**STEEP for j in range(1, FUNCTIONS + 1)]
    assert curve_sizes(basis) == pytest.approx([*sizes, SQUARE_SIZE], rel=1e-14)
    assert curve_sizes(fitted([1, 2, 3, 3])).tolist() == pytest.approx([1, 2**-STEEP], rel=1e-14)


def plain_sizes(first: list[int], second: list[int]) -> list[tuple[int, int, float]]:
    """All products of functions that turn i and j times, i + j at most one more than IN_A_PAIR."""
    every = [(a, b, i, j) for a, i in enumerate(first) for b, j in enumerate(second)]
    return [(a, b, PAIR_SIZE / (i * j)) for a, b, i, j in every if i + j <= IN_A_PAIR + 1]


def test_a_pair_is_made_of_products_that_do_not_turn_too_often() -> None:
    number, few, town = fitted(NUMBERS["continuous"]), fitted([1, 2, 4, 4]), levels(TOWNS)[0]
    orders: list[tuple[Any, list[int]]] = [(number, [1, 2, 3, 4, 5]), (few, [1, 2]), (town, [1, 1, 1])]
    for first, i in orders:
        for second, j in orders:
            found = [(int(a), int(b), float(size)) for a, b, size in zip(*pair_sizes(first, second), strict=True)]
            assert found == plain_sizes(i, j)
    assert [len(pair_sizes(number, second)[2]) for second, _ in orders] == [15, 9, 15]
