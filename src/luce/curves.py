"""Functions of one column, and products of two, that let a linear model bend: curves, and maps of pairs.

A number x becomes u(x) in [0, 1], its place among the training rows, and that the functions sqrt(2) cos(pi j u),
j = 1 .. J; linear in between a few knots. A value counts by the square root of how often it was seen, so that one
that half of all rows have does not take half of the room. A category becomes a function a level. Two columns together
become the products of their functions. A function that turns more often is smaller, so that one penalty on all weights
holds it back more: it enters a curve as 1 / j^STEEP, and a pair as PAIR_SIZE / (i j). Few rows lie far out, where u
hardly moves: there the square of the distance from the mean goes on.
Source: Wahba, Spline models for observational data, SIAM 1990, chapters 1 and 10 (smoothing and its tensor products).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from luce._core import bend
from luce.features import Array

if TYPE_CHECKING:
    import polars as pl

KNOTS = 64  # of a number at most; between them all is linear
FUNCTIONS = 8  # of a curve at most
IN_A_PAIR = 5  # of each column of a pair at most; i + j of a product is at most one more
LEVELS = 8  # of a category in a pair: the more frequent ones
STEEP = 1.5
SQUARE_SIZE = 0.5
PAIR_SIZE = 0.7
LEAST_COUNT = 2  # a level that fewer rows have has no function
ROOT = math.sqrt(2.0)  # makes the mean square of a function about 1


@dataclass(frozen=True)
class NumberBasis:
    """The functions of a number or a yes/no: knots, ascending, and the place u of each in [0, 1]; `squared`: the square
    is the last of them.

    A missing cell has 0 in all of them.
    """

    name: str
    knots: tuple[float, ...]
    places: tuple[float, ...]
    squared: bool = False

    @staticmethod
    def fit(name: str, x: Array) -> NumberBasis | None:
        """None for a number with fewer than two values, or values so large that they cannot be subtracted."""
        values, counts = np.unique(x[~np.isnan(x)], return_counts=True)
        if len(values) < 2 or not np.isfinite(values[-1] - values[0]):
            return None
        share = np.sqrt(counts)
        middle = np.cumsum(share) - share / 2
        places = (middle - middle[0]) / (middle[-1] - middle[0])
        if len(values) > KNOTS:
            kept = np.unique(np.searchsorted(places, np.linspace(0.0, 1.0, KNOTS)))
            values, places = values[kept], places[kept]
        return NumberBasis(name, tuple(values.tolist()), tuple(places.tolist()), len(values) > FUNCTIONS)

    @property
    def count(self) -> int:
        """How many functions there are."""
        return min(FUNCTIONS, len(self.knots) - 1) + self.squared

    def orders(self, count: int) -> Array:
        """How often each of the first functions turns, from 1; the square is none of these."""
        return np.arange(1.0, min(count, self.count - self.squared) + 1)

    @cached_property
    def _table(self) -> Array:
        """The functions at the knots, (knots, count)."""
        turns = range(1, self.count - self.squared + 1)
        found = [[ROOT * math.cos(math.pi * j * u) for j in turns] for u in self.places]
        return np.array([[*row, s] for row, s in zip(found, self._square(), strict=True)] if self.squared else found)

    def _square(self) -> list[float]:
        """The squared distance from the mean at the knots, over u of mean 0 and mean square 1."""
        first, last = self.knots[0], self.knots[-1]
        u, x = self.places, [(knot - first) / (last - first) for knot in self.knots]
        ends = [u[0], *u, u[-1]]
        share = [(after - before) / 2 for before, after in zip(ends, ends[2:], strict=False)]

        def mean(values: list[float]) -> float:
            return math.fsum(s * value for s, value in zip(share, values, strict=True))

        middle = mean(x)
        square = [(each - middle) ** 2 for each in x]
        height = mean(square)
        size = math.sqrt(mean([(each - height) ** 2 for each in square]))
        return [(each - height) / size for each in square]

    @cached_property
    def _tables(self) -> list[Array]:
        """Of the first 0, 1, 2 ... functions."""
        return [np.ascontiguousarray(self._table[:, :count]) for count in range(self.count + 1)]

    @cached_property
    def _knots(self) -> Array:
        return np.array(self.knots)

    def _place(self, x: Array) -> tuple[NDArray[np.int64], Array, NDArray[np.bool_]]:
        """The knot before each number, the part of the way to the next, and what is missing."""
        knots = self._knots
        gone = np.isnan(x)
        x = np.clip(np.where(gone, knots[0], x), knots[0], knots[-1])
        place = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
        return place, (x - knots[place]) / (knots[place + 1] - knots[place]), gone

    def at(self, u: Array) -> Array:
        """The numbers at these places."""
        return np.interp(u, self.places, self.knots)

    def places_of(self, x: Array) -> Array:
        """The place of each number, NaN where it is missing."""
        return np.interp(x, self.knots, self.places)

    def functions(self, x: Array, count: int) -> Array:
        """The first `count` of the functions, (count or fewer, n): linear between knots, constant beyond the ends."""
        out = np.empty((min(count, self.count), len(x)))
        self.fill(x, np.ones(len(out)), out)
        return out

    def fill(self, x: Array, sizes: Array, out: NDArray[np.float32] | Array) -> None:
        """The first functions, each by its size, into `out`, (len(sizes), n), float32 or float64."""
        table = self._tables[len(sizes)]
        bend(np.ascontiguousarray(x, dtype=np.float64), self._knots, table, sizes, out)

    def cells(self, x: Array, parts: int) -> NDArray[np.int64]:
        """Which of so many equal parts of [0, 1] the place of each number is in; `parts` where it is missing."""
        place, part, gone = self._place(x)
        places = np.asarray(self.places)
        u = places[place] + part * np.diff(places)[place]
        return np.where(gone, parts, np.minimum((u * parts).astype(np.int64), parts - 1))

    def to_json(self) -> list[Any]:
        """Without `squared` where it is not, as files of older versions have it."""
        return [self.name, list(self.knots), list(self.places), *([True] if self.squared else [])]


@dataclass(frozen=True)
class LevelBasis:
    """The functions of a category: sqrt(2) ([cell is the level] - share of the level), for the more frequent levels."""

    name: str
    levels: tuple[str, ...]
    shares: tuple[float, ...]

    @staticmethod
    def fit(name: str, cells: pl.Series) -> LevelBasis | None:
        """None for a category with fewer than two levels."""
        kept = sorted((-n, level) for level, n in counts_of(cells) if n >= LEAST_COUNT)[:LEVELS]
        if len(kept) < 2:
            return None
        return LevelBasis(name, tuple(level for _, level in kept), tuple(-n / len(cells) for n, _ in kept))

    @property
    def count(self) -> int:
        """How many functions there are: of two levels the second says all."""
        return 1 if len(self.levels) == 2 else len(self.levels)

    def orders(self, count: int) -> Array:
        return np.ones(self.count)

    def _codes(self, cells: pl.Series) -> NDArray[np.int64]:
        """The place of each level, len(levels) for all others and for missing cells."""
        import polars as pl

        other = len(self.levels)
        codes = cells.replace_strict(self.levels, list(range(other)), default=other, return_dtype=pl.Int64)
        return np.asarray(codes.fill_null(other).to_numpy())

    def functions(self, cells: pl.Series, count: int) -> Array:
        """All of them, (functions, n)."""
        return self.of_codes(self._codes(cells))

    def of_codes(self, codes: NDArray[np.integer]) -> Array:
        """The same for places of levels, (n,), len(levels) for all others."""
        first = len(self.levels) - self.count
        return np.stack([ROOT * ((codes == k) - self.shares[k]) for k in range(first, len(self.levels))])

    def cells(self, cells: pl.Series, parts: int) -> NDArray[np.int64]:
        """The place of each of the first levels; `parts` for all others and for missing cells."""
        return np.minimum(self._codes(cells), parts)

    def to_json(self) -> list[Any]:
        return [self.name, list(self.levels), list(self.shares)]


Basis = NumberBasis | LevelBasis


def counts_of(cells: pl.Series) -> Iterator[tuple[str, int]]:
    """Each level of a category and its number of cells, in no order."""
    found = cells.drop_nulls().alias("level").value_counts(name="cells")
    return zip(found["level"].to_list(), found["cells"].to_list(), strict=True)


def curve_sizes(basis: Basis) -> Array:
    """How large each function of a curve is, (J,)."""
    squared = isinstance(basis, NumberBasis) and basis.squared
    return np.append(basis.orders(FUNCTIONS) ** -STEEP, [SQUARE_SIZE] * squared)


def pair_sizes(first: Basis, second: Basis) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """The products that make up a pair: the place of each factor among the functions, and how large it is."""
    i, j = first.orders(IN_A_PAIR), second.orders(IN_A_PAIR)
    a, b = np.nonzero(np.add.outer(i, j) <= IN_A_PAIR + 1)
    return a, b, PAIR_SIZE / (i[a] * j[b])
