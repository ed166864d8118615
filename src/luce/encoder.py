"""Encoder: a fitted, frozen plan from the columns of a table to Features.

A number becomes z = (x - mean) / scale, compressed by a logarithm far out or not, and, if cells were missing in
training, a 0/1 column "is missing" (z is then 0). A number with few different values, or whose values are codes, also
gets a column for each value.
A category becomes one column a level, one for all rare and unseen levels together, and one for missing cells.
A date becomes the standardised year and time of day, and the month and the weekday as categories.
An image becomes the responses of small filters (patches.py).
An embedding enters as it is, in its own kind of number: alone it is not even copied.
A text becomes its n-grams (text.py); then all columns are stored sparse, if few of the others are numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.cells import WHOLE_NUMBER
from luce.curves import IN_A_PAIR, Basis, LevelBasis, NumberBasis, counts_of, curve_sizes, pair_sizes
from luce.errors import ModelFileError
from luce.features import Array, Features
from luce.patches import PatchPlan
from luce.schema import Schema
from luce.text import RECIPES, SparseRows, TextPlan

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T", float, str)

TIMES = " × "  # between the names of a pair

NO_ARRAYS: Mapping[str, Any] = {}

LINEAR_TO = 1.5  # standard deviations; farther out a number counts by its logarithm, if not by all of itself
LEAST_COUNT = 2  # a level seen less often is rare: it shares the column of unseen levels, unless it will be met again
MET_AGAIN = 8  # so many times as many levels may be seen once as are seen twice, that those seen once are no rare ones
HOURS, DAYS, ROWS_EACH = 24, 31, 20  # of a day, of a month; rows that each of them has in the mean, at least
FEW_VALUES = 12  # a number with at most so many different values is also encoded value by value
CODE_ROWS = 3  # of each value of a number that may be a code, in the mean
VALUE_SIZE = 0.5  # what stands in such a column instead of 1: the penalty holds it back more than the number itself
MOST_BESIDE = 64  # numbers beside a text are stored sparse, as its n-grams are, if they are at most so many
MOST_LEVELS = 4_000  # of the more frequent levels at most so many have a column of their own


def compressed(z: NDArray[np.float64], upto: float | NDArray[np.float64] = LINEAR_TO) -> NDArray[np.float64]:
    """z up to `upto` in size, beyond it sign(z) (upto + ln(1 + |z| - upto)): outliers count less."""
    beyond = np.abs(z) > upto
    if not beyond.any():
        return z
    out, far, ends = z.copy(), z[beyond], np.broadcast_to(upto, z.shape)[beyond]
    out[beyond] = np.copysign(ends + np.log1p(np.minimum(np.abs(far) - ends, sys.float_info.max)), far)
    return out


@dataclass(frozen=True)
class NumberPlan:
    """One number: its column is (x - mean) / scale, compressed from `linear_to` on; `missing`: a column "is missing"
    follows."""

    name: str
    mean: float
    scale: float
    missing: bool
    linear_to: float = LINEAR_TO

    @staticmethod
    def fit(name: str, x: NDArray[np.float64]) -> NumberPlan:
        gone = np.isnan(x)
        missing = bool(gone.any())
        known = x[~gone] if missing else x
        mean = float(known.mean()) if len(known) else 0.0
        with np.errstate(over="ignore"):
            scale = float(known.std()) if len(known) else 1.0
        low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
        if ((known == low) | (known == high)).all():
            scale = float(high - low) / 2  # a flag, however rare, is scaled as if its two values were equally frequent
        usable = np.isfinite(mean) and np.isfinite(scale) and scale > abs(mean) * 1e-13
        if not usable:  # constant up to rounding, or beyond double: no information that a weight could use
            return NumberPlan(name, mean if np.isfinite(mean) else 0.0, np.inf, missing)
        return NumberPlan(name, mean, scale, missing)

    def uncompressed(self, x: NDArray[np.float64]) -> NumberPlan:
        """The same, straight as far as the numbers x lie."""
        known = x[~np.isnan(x)]
        with np.errstate(over="ignore"):
            farthest = float(np.abs((known - self.mean) / self.scale).max(initial=0.0))
        return replace(self, linear_to=max(farthest, LINEAR_TO)) if np.isfinite(farthest) else self

    def to_json(self) -> list[Any]:
        """Without `linear_to` where it is LINEAR_TO, as files of older versions have it."""
        more = [self.linear_to] if self.linear_to != LINEAR_TO else []
        return [self.name, self.mean, self.scale if np.isfinite(self.scale) else None, self.missing, *more]

    @property
    def names(self) -> list[str]:
        return [self.name] + ([f"{self.name} is missing"] if self.missing else [])

    def fill(self, x: NDArray[np.float64], out: NDArray[np.float32]) -> None:
        """out (n, 1 or 2) gets the columns."""
        with np.errstate(over="ignore"):
            z = compressed((x - self.mean) / self.scale, self.linear_to)
        gone = np.isnan(z)
        if gone.any():
            z = np.where(gone, 0.0, z)
        out[:, 0] = z
        if self.missing:
            out[:, 1] = np.isnan(x)


@dataclass(frozen=True)
class ValuesPlan:
    """A number told value by value: beside its number, a column for each value and one for all else."""

    name: str
    values: tuple[float, ...]

    @property
    def is_code(self) -> bool:
        """Whether the values are codes, and not few numbers."""
        return len(self.values) > FEW_VALUES

    @staticmethod
    def fit(name: str, x: NDArray[np.float64]) -> ValuesPlan | None:
        """None if the number has only two values (then its one column says all) or more than FEW_VALUES."""
        if len(np.unique(x[:4096])) > FEW_VALUES + 1:
            return None
        values, counts = np.unique(x[~np.isnan(x)], return_counts=True)
        if not 3 <= len(values) <= FEW_VALUES:
            return None
        return ValuesPlan(name, tuple(values[counts >= LEAST_COUNT].tolist()))

    @staticmethod
    def of_codes(name: str, x: NDArray[np.float64]) -> ValuesPlan | None:
        """For a number that may be a code (of a place, a shop, a kind): whole, with more than FEW_VALUES values that
        have CODE_ROWS rows each in the mean; None for any other, and for more than MOST_LEVELS values."""
        known = x[~np.isnan(x)]
        if not len(known) or not (known == np.rint(known)).all():
            return None
        values, counts = np.unique(known, return_counts=True)
        if not FEW_VALUES < len(values) <= min(MOST_LEVELS, len(known) / CODE_ROWS):
            return None
        kept = tuple(values[counts >= LEAST_COUNT].tolist())
        return ValuesPlan(name, kept) if kept else None

    @property
    def names(self) -> list[str]:
        return [f"{self.name} = {value:.15g}" for value in self.values] + [f"{self.name} = another value"]

    def codes(self, x: NDArray[np.float64]) -> NDArray[np.int32]:
        values = np.asarray(self.values)
        place = np.searchsorted(values, x)
        near = np.minimum(place, len(values) - 1)
        return np.where(values[near] == x, near, len(values)).astype(np.int32)


@dataclass(frozen=True)
class CategoryPlan:
    """One category: columns for the levels, then one for rare and unseen levels, then one for missing cells.

    A level seen once is rare if it will hardly be met again: with N1 levels seen once and N2 seen twice, each is met
    2 N2 / N1 times in as many rows more (Good, Biometrika 40, 1953, section 2). Identifiers are rare one and all.
    """

    name: str
    levels: tuple[str, ...]

    @staticmethod
    def fit(name: str, cells: pl.Series) -> CategoryPlan:
        counts = list(counts_of(cells))
        once, twice = (sum(count == times for _, count in counts) for times in (1, 2))
        least = 1 if once <= MET_AGAIN * twice else LEAST_COUNT
        kept = [(-count, level) for level, count in counts if count >= least]
        levels = [level for _, level in (sorted(kept)[:MOST_LEVELS] if len(kept) > MOST_LEVELS else kept)]
        return CategoryPlan(name, tuple(sorted(levels)))

    @cached_property
    def spellings(self) -> dict[str, str]:
        """Levels that are whole numbers, by how a column that has a gap is often written, and the other way round: 3 by
        3.0 and 3.0 by 3, but where both are levels."""
        wholes = ((whole, level) for level in self.levels if (whole := WHOLE_NUMBER.fullmatch(level)))
        other = {whole[1] if whole[2] else f"{whole[1]}.0": level for whole, level in wholes}
        return {cell: level for cell, level in other.items() if cell not in self.levels}

    @property
    def names(self) -> list[str]:
        return [f"{self.name} = {level}" for level in self.levels] + [
            f"{self.name}: rare or unseen",
            f"{self.name} is missing",
        ]

    @property
    def code(self) -> pl.Expr:
        """The column's place in the block of each cell, 0 to len(levels) + 1, int32."""
        import polars as pl

        other, cells = len(self.levels), pl.col(self.name)
        numbers = list(range(other))
        known = cells.replace_strict(self.levels, numbers, default=other, return_dtype=pl.Int32) if other else other
        return pl.when(cells.is_null()).then(other + 1).otherwise(known).cast(pl.Int32)


@dataclass(frozen=True)
class DatePlan:
    """One date: year and time of day as numbers, month and weekday as categories; hours, days: and the hour, and the
    day of the month, where there are rows enough to tell them apart."""

    name: str
    year: NumberPlan
    time: NumberPlan
    hours: bool = False
    days: bool = False

    @staticmethod
    def fit(name: str, cells: pl.Series) -> DatePlan:
        (year, time), present = _year_and_hours(cells), len(cells) - cells.null_count()
        plans = NumberPlan.fit(f"{name}: year", year), NumberPlan.fit(f"{name}: time of day", time)
        several = [found.n_unique() > 2 for found in (cells.dt.hour(), cells.dt.day())]
        hours, days = (
            many and present >= ROWS_EACH * count for many, count in zip(several, (HOURS, DAYS), strict=True)
        )
        return DatePlan(name, *plans, hours, days)

    def to_json(self) -> list[Any]:
        """Without hours and days, where there are none, as files of older versions have it."""
        more = [self.hours, self.days] if self.hours or self.days else []
        return [self.name, self.year.to_json(), self.time.to_json(), *more]

    @property
    def names(self) -> list[str]:
        names = [f"{self.name}: month = {m}" for m in range(1, 13)] + [f"{self.name} is missing"]
        names += [f"{self.name}: weekday = {d}" for d in ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")]
        names += [f"{self.name}: hour = {h}" for h in range(HOURS if self.hours else 0)]
        return names + [f"{self.name}: day = {d}" for d in range(1, DAYS + 1 if self.days else 1)]

    def codes(self, cells: pl.Series) -> list[NDArray[np.int32]]:
        """The places of a date's names, (rows,) each."""
        parts = (cells.dt.month(), cells.dt.weekday(), cells.dt.hour(), cells.dt.day())
        return self.placed(*(part.cast(int).fill_null(-1).to_numpy() for part in parts))

    def placed(
        self, month: NDArray[np.int64], weekday: NDArray[np.int64], hour: NDArray[np.int64], day: NDArray[np.int64]
    ) -> list[NDArray[np.int32]]:
        """The same from numbers as calendars have them, Monday 1, and -1 where there is no date, which counts as the
        month that is missing."""
        parts = [(month, -1), (weekday, 12)]
        parts += [(hour, 20)] if self.hours else []
        parts += [(day, 19 + (HOURS if self.hours else 0))] if self.days else []
        return [np.where(part < 0, 12, part + first).astype(np.int32) for part, first in parts]


def _year_and_hours(cells: pl.Series) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    year = cells.dt.year().cast(float).to_numpy()
    hours = cells.dt.hour().cast(float).to_numpy() + cells.dt.minute().cast(float).to_numpy() / 60
    return year, hours


@dataclass(frozen=True)
class ImagePlan:
    """What is made of the images of one column: the features of its plan less their means, (columns,) float32."""

    name: str
    plan: PatchPlan
    means: NDArray[np.float32]

    def features(self, images: NDArray[np.uint8], threads: int) -> NDArray[np.float32]:
        found = self.plan.features(images, threads)
        found -= self.means
        return found


@dataclass(frozen=True)
class EmbeddingPlan:
    """A column of vectors of `width` numbers, which are features as they are."""

    name: str
    width: int


@dataclass(frozen=True)
class Encoder:
    """The fitted plan; `Encoder.fit(schema, parsed)`, then `transform(parsed)` for any rows of the same schema.

    bases: the functions of every column that has some; curves: the numbers whose functions are features; pairs: the
    columns whose products are. texts: the n-grams of text columns, which are settled by labels (wording.py). images:
    the filters of image columns (pictures.py).
    """

    numbers: tuple[NumberPlan, ...]
    values: tuple[ValuesPlan, ...]
    dates: tuple[DatePlan, ...]
    categories: tuple[CategoryPlan, ...]
    bases: tuple[Basis, ...] = ()
    curves: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    texts: tuple[TextPlan, ...] = ()
    images: tuple[ImagePlan, ...] = ()
    embeddings: tuple[EmbeddingPlan, ...] = ()

    @staticmethod
    def fit(schema: Schema, parsed: Mapping[str, Any], some: Mapping[str, Any] | None = None) -> Encoder:
        """some: cells of some rows, which say enough of where numbers lie; None: all do."""
        kind = {c.name: c.kind for c in schema.columns}
        numbers = [n for n in kind if kind[n] in ("number", "boolean")]
        some = parsed if some is None else some
        values = (ValuesPlan.fit(n, some[n]) for n in numbers)
        return Encoder(
            tuple(NumberPlan.fit(n, parsed[n]) for n in numbers),
            tuple(v for v in values if v is not None and v.values),
            tuple(DatePlan.fit(n, parsed[n]) for n in kind if kind[n] == "date"),
            tuple(CategoryPlan.fit(n, parsed[n]) for n in kind if kind[n] == "category"),
            tuple(b for n in kind if (b := _basis(n, kind[n], some)) is not None),
            embeddings=tuple(EmbeddingPlan(n, parsed[n].shape[1]) for n in kind if kind[n] == "embedding"),
        )

    @property
    def can_bend(self) -> tuple[str, ...]:
        """The numbers that a curve would tell more of than their columns do: those of many values."""
        few = {v.name for v in self.values}
        return tuple(b.name for b in self.bases if isinstance(b, NumberBasis) and b.count > 2 and b.name not in few)

    def uncompressed(self, parsed: Mapping[str, Any]) -> Encoder:
        """The same, whose numbers count by all of themselves as far as these cells lie."""
        return replace(self, numbers=tuple(p.uncompressed(parsed[p.name]) for p in self.numbers))

    @property
    def is_uncompressed(self) -> bool:
        """Whether numbers count by all of themselves as far as those of training lie."""
        return any(p.linear_to > LINEAR_TO for p in self.numbers)

    def with_values(self, plans: Sequence[ValuesPlan]) -> Encoder:
        """The same with these numbers told value by value too."""
        both = {v.name: v for v in (*self.values, *plans)}
        return replace(self, values=tuple(both[p.name] for p in self.numbers if p.name in both))

    def part(self, column: str) -> Encoder:
        """What it makes of one column, or of a pair named "a × b", alone; its features are those whose `columns` say
        so, in order."""
        pairs = tuple(pair for pair in self.pairs if TIMES.join(pair) == column)
        concerned = {column, *(name for pair in pairs for name in pair)}
        return Encoder(
            tuple(p for p in self.numbers if p.name == column),
            tuple(v for v in self.values if v.name == column),
            tuple(d for d in self.dates if d.name == column),
            tuple(c for c in self.categories if c.name == column),
            tuple(b for b in self.bases if b.name in concerned),
            tuple(name for name in self.curves if name == column),
            pairs,
            tuple(t for t in self.texts if t.name == column),
            tuple(i for i in self.images if i.name == column),
            tuple(e for e in self.embeddings if e.name == column),
        )

    @property
    def names(self) -> list[str]:
        """What each column of the features is, in order."""
        dense = [name for p in self._dense_plans() for name in p.names]
        dense += [f"{name}: bend {j}" for name in self.curves for j in range(1, self._basis(name).count + 1)]
        dense += [f"{TIMES.join(pair)}: {k + 1}" for pair in self.pairs for k in range(self._width(pair))]
        dense += [f"{i.name}: response {j}" for i in self.images for j in range(i.plan.columns)]
        dense += [f"{e.name}: {j}" for e in self.embeddings for j in range(e.width)]
        values = [name for v in self.values for name in v.names]
        dates = [name for d in self.dates for name in d.names]
        known = dense + values + dates + [name for c in self.categories for name in c.names]
        return known + [f"{t.name}: n-gram {bucket}" for t in self.texts for bucket in t.buckets.tolist()]

    @property
    def width(self) -> int:
        """How many features there are."""
        return sum(count for _, count in self._parts())

    @cached_property
    def sources(self) -> list[str]:
        """Each column, and each pair, that features come from, once."""
        return list(dict.fromkeys(column for column, count in self._parts() if count))

    @cached_property
    def owner(self) -> NDArray[np.int64]:
        """The place in `sources` of what each feature comes from."""
        place = {column: i for i, column in enumerate(self.sources)}
        parts = [(place[column], count) for column, count in self._parts() if count]
        return np.repeat([i for i, _ in parts], [count for _, count in parts]).astype(np.int64)

    @property
    def columns(self) -> list[str]:
        """The column of the table, or the pair "a × b", that each column of the features comes from, in order."""
        return [column for column, count in self._parts() for _ in range(count)]

    def _parts(self) -> list[tuple[str, int]]:
        """In the order of the features: what they come from, and how many there are."""
        parts = [(p.name, len(p.names)) for p in self.numbers]
        parts += [(d.name, len(p.names)) for d in self.dates for p in (d.year, d.time)]
        parts += [(name, self._basis(name).count) for name in self.curves]
        parts += [(TIMES.join(pair), self._width(pair)) for pair in self.pairs]
        parts += [(i.name, i.plan.columns) for i in self.images]
        parts += [(e.name, e.width) for e in self.embeddings]
        parts += [(v.name, len(v.names)) for v in self.values] + [(d.name, len(d.names)) for d in self.dates]
        parts += [(c.name, len(c.names)) for c in self.categories]
        return parts + [(t.name, len(t.buckets)) for t in self.texts]

    @property
    def dense_width(self) -> int:
        """How many columns of the features hold a number in every row."""
        kept = {t.name for t in self.texts} | {c.name for c in self.categories}
        sparse = sum(len(v.names) for v in self.values) + sum(len(d.names) for d in self.dates)
        return sum(count for name, count in self._parts() if name not in kept) - sparse

    @cached_property
    def _by_name(self) -> dict[str, Basis]:
        return {basis.name: basis for basis in self.bases}

    def _basis(self, name: str) -> Basis:
        return self._by_name[name]

    def _width(self, pair: tuple[str, str]) -> int:
        """How many products a pair has."""
        return len(pair_sizes(*map(self._basis, pair))[2])

    def _dense_plans(self) -> list[NumberPlan]:
        return [*self.numbers, *(p for d in self.dates for p in (d.year, d.time))]

    def transform(
        self, parsed: Mapping[str, Any], threads: int = 1, texts: Sequence[SparseRows] | None = None
    ) -> Features:
        """Features of the rows: dense float32 (an embedding that stands alone as it is), one stored 1 a category (two
        to four a date) in the sparse part. texts: the n-grams of the text columns, if they are known already."""
        rows = len(next(iter(parsed.values()))) if parsed else 0
        if texts is None:
            texts = [t.rows(parsed[t.name].to_list(), threads) for t in self.texts]
        dense = self._dense(rows, parsed)
        parts = [i.features(parsed[i.name], threads) for i in self.images]
        parts += [parsed[e.name] for e in self.embeddings]
        if parts:
            dense = np.concatenate([dense, *parts], axis=1) if dense.shape[1] or len(parts) > 1 else parts[0]
        found = self._assemble(rows, dense, self._codes(parsed))
        return beside(found, texts) if texts else found

    def of_texts(self, texts: Sequence[str | None], threads: int) -> Features:
        """Features of rows that are texts, where nothing but one text column is read."""
        (plan,) = self.texts
        return beside(Features(len(texts)), [plan.rows(texts, threads)])

    def _dense(self, rows: int, parsed: Mapping[str, Any]) -> NDArray[np.float32]:
        values = [(p, parsed[p.name]) for p in self.numbers]
        for d in self.dates:
            values += zip((d.year, d.time), _year_and_hours(parsed[d.name]), strict=True)
        width = sum(len(p.names) for p, _ in values) + sum(self._basis(name).count for name in self.curves)
        out = np.empty((rows, width + sum(map(self._width, self.pairs))), dtype=np.float32, order="F")
        at = 0
        for plan, x in values:
            width = len(plan.names)
            plan.fill(x, out[:, at : at + width])
            at += width
        for row in self._bends(parsed):
            out[:, at] = row
            at += 1
        return out

    def _bends(self, parsed: Mapping[str, Any]) -> Iterator[Array]:
        """The columns of the curves, then of the pairs."""
        for name in self.curves:
            basis = self._basis(name)
            yield from basis.functions(parsed[name], basis.count) * curve_sizes(basis)[:, np.newaxis]
        names = {name for pair in self.pairs for name in pair}
        found = {name: self._basis(name).functions(parsed[name], IN_A_PAIR) for name in names}
        for first, second in self.pairs:
            for i, j, size in zip(*pair_sizes(self._basis(first), self._basis(second)), strict=True):
                yield found[first][i] * found[second][j] * size

    def _codes(self, parsed: Mapping[str, Any]) -> list[tuple[int, list[NDArray[np.int32]]]]:
        """Per block of sparse columns: its width, and the codes within it (each row has one of each)."""
        import polars as pl

        blocks = [(len(v.values) + 1, [v.codes(parsed[v.name])]) for v in self.values]
        blocks += [(len(d.names), d.codes(parsed[d.name])) for d in self.dates]
        if self.categories:  # one query for all of them: each costs more than its work on a small table
            cells = pl.DataFrame([parsed[c.name] for c in self.categories])
            coded = cells.select([c.code.alias(c.name) for c in self.categories])
            blocks += [(len(c.levels) + 2, [coded[c.name].to_numpy()]) for c in self.categories]
        return blocks

    def _assemble(
        self, rows: int, dense: NDArray[np.float32], blocks: list[tuple[int, list[NDArray[np.int32]]]]
    ) -> Features:
        offset, codes = 0, []
        for width, members in blocks:
            codes += [member + np.int32(offset) for member in members]
            offset += width
        have = dense if dense.shape[1] else None
        if not codes:
            return Features(rows, dense=have)
        indices = np.stack(codes, axis=1, dtype=np.int32).reshape(-1)
        starts = np.arange(rows + 1, dtype=np.int64) * len(codes)
        weights = np.ones(len(codes), dtype=np.float32)
        weights[: len(self.values)] = VALUE_SIZE
        values = np.tile(weights, rows) if self.values else None
        return Features(rows, dense=have, starts=starts, indices=indices, values=values, sparse_columns=offset)

    def to_json(self) -> dict[str, Any]:
        """All but the arrays, which `arrays` has."""
        facts: dict[str, Any] = {
            "numbers": [p.to_json() for p in self.numbers],
            "values": [[v.name, list(v.values)] for v in self.values],
            "dates": [d.to_json() for d in self.dates],
            "categories": [[c.name, list(c.levels)] for c in self.categories],
        }
        if self.bases:
            facts["bases"] = [b.to_json() for b in self.bases]
            facts |= {"curves": list(self.curves), "pairs": [list(pair) for pair in self.pairs]}
        if self.images:
            facts["images"] = [[i.name, i.plan.to_json()] for i in self.images]
        if self.embeddings:
            facts["embeddings"] = [[e.name, e.width] for e in self.embeddings]
        if self.texts:
            facts["texts"] = [[t.name, t.recipe.name] for t in self.texts]
        return facts

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The n-grams of the texts and their scales, and the filters of the images, by name."""
        out: dict[str, NDArray[Any]] = {}
        for i, t in enumerate(self.texts):
            out |= {f"text{i}_buckets": t.buckets.astype(np.int32), f"text{i}_scale": t.scale}
        for i, image in enumerate(self.images):
            out |= image.plan.arrays(f"image{i}") | {f"image{i}_means": image.means}
        return out

    @staticmethod
    def from_json(facts: Mapping[str, Any], schema: Schema, arrays: Mapping[str, Any] = NO_ARRAYS) -> Encoder:
        """The plan that `to_json` wrote; raises ModelFileError if a part is wrong or does not belong to the schema."""
        encoder = Encoder(
            tuple(_number(*entry) for entry in facts["numbers"]),
            tuple(ValuesPlan(_text(name), _ascending(values, _finite)) for name, values in facts["values"]),
            tuple(_date(*entry) for entry in facts["dates"]),
            tuple(CategoryPlan(_text(name), _ascending(levels, _text)) for name, levels in facts["categories"]),
            tuple(_basis_of(*entry) for entry in facts.get("bases", [])),
            tuple(map(_text, facts.get("curves", []))),
            tuple((_text(a), _text(b)) for a, b in facts.get("pairs", [])),
            tuple(_text_plan(i, arrays, *entry) for i, entry in enumerate(facts.get("texts", []))),
            tuple(
                _image_plan(_text(name), PatchPlan.from_json(entry, arrays, f"image{i}"), arrays[f"image{i}_means"])
                for i, (name, entry) in enumerate(facts.get("images", []))
            ),
            tuple(_embedding(*entry) for entry in facts.get("embeddings", [])),
        )
        kind = {c.name: c.kind for c in schema.columns}
        numbers = [n for n in kind if kind[n] in ("number", "boolean")]
        few = [v.name for v in encoder.values]
        fits = (
            [p.name for p in encoder.numbers] == numbers
            and [d.name for d in encoder.dates] == [n for n in kind if kind[n] == "date"]
            and [c.name for c in encoder.categories] == [n for n in kind if kind[n] == "category"]
            and [t.name for t in encoder.texts] == [n for n in kind if kind[n] == "text"][: len(encoder.texts)]
            and [i.name for i in encoder.images] == [n for n in kind if kind[n] == "image"][: len(encoder.images)]
            and [e.name for e in encoder.embeddings] == [n for n in kind if kind[n] == "embedding"]
            and few == [n for n in numbers if n in few]
            and all(v.values for v in encoder.values)
            and _bases_fit(encoder, kind)
        )
        if not fits:
            raise ModelFileError("its encoder does not belong to its columns")
        return encoder


def _date(name: Any, year: Any, time: Any, hours: Any = False, days: Any = False) -> DatePlan:
    """Files of older versions know no hours and days."""
    if not (isinstance(hours, bool) and isinstance(days, bool)):
        raise ModelFileError("the hours or days of a date are broken")
    return DatePlan(_text(name), _number(*year), _number(*time), hours, days)


def _number(name: Any, mean: Any, scale: Any, missing: Any, linear_to: Any = LINEAR_TO) -> NumberPlan:
    """Files of older versions know no `linear_to`."""
    if (
        not isinstance(missing, bool)
        or (scale is not None and not _finite(scale) > 0)
        or _finite(linear_to) < LINEAR_TO
    ):
        raise ModelFileError("the scale of a number is broken")
    wide = np.inf if scale is None else float(scale)
    return NumberPlan(_text(name), _finite(mean), wide, missing, float(linear_to))


def _embedding(name: Any, width: Any) -> EmbeddingPlan:
    if not isinstance(width, int) or isinstance(width, bool) or not 0 < width < 1 << 31:
        raise ModelFileError("the width of an embedding is broken")
    return EmbeddingPlan(_text(name), width)


def _text_plan(i: int, arrays: Mapping[str, NDArray[Any]], name: Any, recipe: Any) -> TextPlan:
    buckets, scale = arrays[f"text{i}_buckets"], arrays[f"text{i}_scale"]
    sound = buckets.dtype == np.int32 and scale.dtype == np.float32 and buckets.shape == scale.shape == (len(scale),)
    if (
        not sound
        or (buckets < 0).any()
        or (buckets >= _core.BUCKETS).any()
        or len(np.unique(buckets)) < len(buckets)
        or not (scale > 0).all()
    ):
        raise ModelFileError("the n-grams of a text are broken")
    if not np.isfinite(scale).all():
        raise ModelFileError("the scale of an n-gram is not finite")
    return TextPlan(_text(name), RECIPES[recipe], buckets.astype(np.uint32), scale)


def _image_plan(name: str, plan: PatchPlan, means: NDArray[Any]) -> ImagePlan:
    if means.dtype != np.float32 or means.shape != (plan.columns,) or not np.isfinite(means).all():
        raise ModelFileError("the means of an image's features are broken")
    return ImagePlan(name, plan, means)


def beside(features: Features, texts: Sequence[SparseRows]) -> Features:
    """Features with the n-grams of texts behind them; few dense columns become sparse ones."""
    rows, p = features.rows, features.dense_columns
    parts: list[tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], int]] = []
    dense = features.dense
    if dense is not None and p <= MOST_BESIDE:
        each = np.tile(np.arange(p, dtype=np.int32), rows)
        parts.append((np.arange(rows + 1, dtype=np.int64) * p, each, np.ascontiguousarray(dense).reshape(-1), p))
        dense = None
    if features.indices is not None and features.starts is not None:
        ones = np.ones(len(features.indices), dtype=np.float32)
        values = ones if features.values is None else features.values.astype(np.float32)
        parts.append((features.starts, features.indices, values, features.sparse_columns))
    parts += [(t.starts, t.indices, t.values, t.columns) for t in texts]
    if len(parts) == 1:
        starts, indices, values, columns = parts[0]
        return Features(rows, dense, starts, indices, values, columns)
    starts = np.sum([part[0] for part in parts], axis=0)
    indices, values = np.empty(starts[-1], dtype=np.int32), np.empty(starts[-1], dtype=np.float32)
    at, offset = starts[:-1].copy(), 0
    for own, places, numbers, columns in parts:
        stored = np.diff(own)
        where = np.repeat(at - own[:-1], stored) + np.arange(own[-1])
        indices[where], values[where] = places + np.int32(offset), numbers
        at += stored
        offset += columns
    return Features(rows, dense, starts, indices, values, offset)


def _basis(name: str, kind: str, parsed: Mapping[str, Any]) -> Basis | None:
    if kind in ("number", "boolean"):
        return NumberBasis.fit(name, parsed[name])
    return LevelBasis.fit(name, parsed[name]) if kind == "category" else None


def _basis_of(name: Any, ends: Any, shares: Any, squared: Any = False) -> Basis:
    """The basis that its `to_json` wrote; files of older versions know no `squared`."""
    if not ends or not isinstance(ends, list) or not isinstance(shares, list) or len(ends) != len(shares):
        raise ModelFileError("the functions of a column are broken")
    if isinstance(ends[0], str):
        levels, found = tuple(map(_text, ends)), tuple(map(_finite, shares))
        if len(set(levels)) != len(levels) or not all(0 <= share <= 1 for share in found):
            raise ModelFileError("the levels of a column are broken")
        return LevelBasis(_text(name), levels, found)
    knots, places = _ascending(ends, _finite), _ascending(shares, _finite)
    if len(knots) < 2 or places[0] != 0 or places[-1] != 1 or not np.isfinite(knots[-1] - knots[0]):
        raise ModelFileError("the knots of a column are broken")
    if not isinstance(squared, bool):
        raise ModelFileError("the functions of a column are broken")
    return NumberBasis(_text(name), knots, places, squared)


def _bases_fit(encoder: Encoder, kind: Mapping[str, str]) -> bool:
    """Whether the functions belong to columns of their kind, and curves and pairs to functions."""
    of_kind = {NumberBasis: ("number", "boolean"), LevelBasis: ("category",)}
    names = [b.name for b in encoder.bases]
    numbers = {b.name for b in encoder.bases if isinstance(b, NumberBasis)}
    return (
        len(set(names)) == len(names)
        and all(kind.get(b.name) in of_kind[type(b)] for b in encoder.bases)
        and set(encoder.curves) <= numbers
        and len(set(encoder.curves)) == len(encoder.curves)
        and all(a != b and {a, b} <= set(names) for a, b in encoder.pairs)
        and len(set(encoder.pairs)) == len(encoder.pairs)
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ModelFileError("a name is no text")
    return value


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
        raise ModelFileError("a number is missing or not finite")
    return float(value)


def _ascending(values: Any, checked: Callable[[Any], T]) -> tuple[T, ...]:
    if not isinstance(values, list):
        raise ModelFileError("the values of a column are no list")
    out = tuple(checked(value) for value in values)
    if any(not a < b for a, b in pairwise(out)):
        raise ModelFileError("the values of a column are doubled or out of order")
    return out
