"""Plain: cells as JSON has them, straight to Features, bit for bit as a table would give; what is odd is left to it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce._core import JsonRows
from luce.cells import LONGEST_MISSING, MISSING, TRUTHS, nfc
from luce.curves import IN_A_PAIR, LevelBasis, NumberBasis, curve_sizes, pair_sizes
from luce.encoder import CategoryPlan, DatePlan, beside, compressed
from luce.features import Array, Features
from luce.fitted import Fitted

WHITE = (  # Unicode's White_Space, what outer blanks of a cell are; Python's own strip takes four controls more
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
BLOCK = 128  # rows whose functions stay in the cache
_ISO = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBERS = {float, int, type(None)}
_TEXTS = {str, type(None)}
_TRUTHS = {bool, *_TEXTS}

Cells = Mapping[str, Sequence[Any]]


class OddError(Exception):
    """A cell that the rules of a table must read."""


def clean(cell: str) -> str | None:
    """A text cell as a level: NFC without outer white space; None where it counts as missing."""
    bare = nfc(cell.strip(WHITE))
    return None if bare.lower() in MISSING else bare


class Plain:
    """Reads the plain cells of one model's columns: numbers, truth values, texts, ISO dates, None; numbers may be a
    float64 array with NaN for None, images are an array of pixels."""

    def __init__(self, fitted: Fitted) -> None:
        encoder = fitted.encoder
        self.encoder = encoder
        kinds = {column.name: column for column in fitted.schema.columns}
        self._truths = {name for name, column in kinds.items() if column.kind == "boolean"}
        self._levels = {plan.name: _Lookup(plan) for plan in encoder.categories}
        self._iso = {name for name, column in kinds.items() if column.date_format in ("typed", "%Y-%m-%d")}
        plans = encoder.numbers
        self._mean = np.array([plan.mean for plan in plans])[:, np.newaxis]
        self._scale = np.array([plan.scale for plan in plans])[:, np.newaxis]
        self._linear_to = np.array([plan.linear_to for plan in plans])[:, np.newaxis]
        widths = [len(plan.names) for plan in plans]
        self._place = np.cumsum([0, *widths[:-1]]) if widths else np.empty(0, dtype=np.int64)
        self._flagged = np.flatnonzero([plan.missing for plan in plans])
        self._values = [
            (next(i for i, plan in enumerate(plans) if plan.name == v.name), _places(v.values), len(v.values))
            for v in encoder.values
        ]
        self._row = {plan.name: i for i, plan in enumerate(plans)}
        self._numbers = sum(widths)
        basis = encoder._basis
        self._pairs = [_pair(a, b, *pair_sizes(basis(a), basis(b))) for a, b in encoder.pairs]
        self._paired = list(dict.fromkeys(name for pair in encoder.pairs for name in pair))
        curves = [encoder._basis(name) for name in encoder.curves]
        self._curves = [(b, self._row[b.name], curve_sizes(b)) for b in curves if isinstance(b, NumberBasis)]
        dense = sum(len(plan.names) for plan in encoder._dense_plans())
        self._width = dense + sum(b.count for b, _, _ in self._curves) + sum(len(p[2]) for p in self._pairs)

    def features(self, cells: Cells, rows: int, threads: int = 1) -> Features:
        """Features of rows given as columns, one cell a row; raises OddError for what a table must read."""
        encoder = self.encoder
        x = self._matrix(cells, rows)
        codes = {plan.name: self._levels[plan.name].codes(cells[plan.name]) for plan in encoder.categories}
        dates = [_date(plan, cells[plan.name]) if plan.name in self._iso else _odd() for plan in encoder.dates]
        texts = [_texts(cells[plan.name]) for plan in encoder.texts]
        dense = self._dense(x, codes, dates, rows)
        if encoder.images:
            parts = [image.features(cells[image.name], threads) for image in encoder.images]  # type: ignore[arg-type]
            dense = np.concatenate([dense, *parts], axis=1) if dense.shape[1] or len(parts) > 1 else parts[0]
        found = self._assembled(x, codes, dates, dense)
        return (
            beside(found, [t.rows(own, threads) for t, own in zip(encoder.texts, texts, strict=True)])
            if texts
            else found
        )

    def coded_features(self, numbers: Array, codes: NDArray[np.int32]) -> Features:
        """Of a model of numbers, truth values and categories alone, as `json_columns` has them read: finite float64
        (columns, rows), NaN where missing, and codes of levels (columns, rows)."""
        x = numbers[: len(self.encoder.numbers)]
        by_name = {plan.name: own for plan, own in zip(self.encoder.categories, codes, strict=False)}
        return self._assembled(x, by_name, [], self._dense(x, by_name, [], x.shape[1]))

    def json_columns(self, columns: Sequence[tuple[str, str, bool]]) -> JsonRows | None:
        """The core's reader of columns, given by name, kind and whether a cell may be missing, in the order in which
        they stand in a row; None where it does not read such columns."""
        if not {kind for _, kind, _ in columns} <= {"number", "boolean", "category"}:
            return None
        own = {"category": list(self._levels), "number": list(self._row)}
        for name, kind, _ in columns:  # those that no feature comes from stand behind
            own["category" if kind == "category" else "number"].append(name)
        place = {name: i for names in own.values() for i, name in enumerate(dict.fromkeys(names))}
        levels = {name: lookup.levels for name, lookup in self._levels.items()}
        return JsonRows([(name, kind, place[name], miss, levels.get(name, ())) for name, kind, miss in columns])

    def _assembled(
        self, x: Array, codes: Mapping[str, NDArray[np.int32]], dates: Sequence[Any], dense: Any
    ) -> Features:
        blocks = [
            (count + 1, [np.array([places.get(cell, count) for cell in x[i].tolist()], dtype=np.int32)])
            for i, places, count in self._values
        ]
        blocks += [(len(d.names), own) for d, (_, own) in zip(self.encoder.dates, dates, strict=False)]
        blocks += [(len(plan.levels) + 2, [codes[plan.name]]) for plan in self.encoder.categories]
        return self.encoder._assemble(x.shape[1], dense, blocks)

    def texts(self, cells: Cells) -> list[str | None]:
        """The texts of the one column that the model reads."""
        return _texts(cells[self.encoder.texts[0].name])

    def _matrix(self, cells: Cells, rows: int) -> Array:
        """Numbers and truth values, (columns, rows), NaN where they are missing."""
        x = np.empty((len(self.encoder.numbers), rows))
        for row, plan in zip(x, self.encoder.numbers, strict=True):
            own, truth = cells[plan.name], plan.name in self._truths
            if isinstance(own, np.ndarray):
                row[:] = own
                continue
            if not set(map(type, own)) <= (_TRUTHS if truth else _NUMBERS):
                raise OddError
            try:
                row[:] = np.array([_truth(cell) for cell in own] if truth else own, dtype=np.float64)
            except OverflowError:  # a whole number beyond float64
                raise OddError from None
        if np.isinf(x).any():
            raise OddError
        return x

    def _dense(
        self, x: Array, codes: Mapping[str, NDArray[np.int32]], dates: Sequence[Any], rows: int
    ) -> NDArray[np.float32]:
        out = np.empty((rows, self._width), dtype=np.float32, order="F")
        turned = out.T
        gone = np.isnan(x)
        if len(x):
            with np.errstate(over="ignore"):
                z = compressed((x - self._mean) / self._scale, self._linear_to)
            if gone.any():
                z = np.where(np.isnan(z), 0.0, z)
            turned[self._place] = z
            turned[self._place[self._flagged] + 1] = gone[self._flagged]
        at = self._numbers
        for plan, (year, _) in zip(self.encoder.dates, dates, strict=True):
            hours = np.where(np.isnan(year), np.nan, 0.0)
            for number, values in ((plan.year, year), (plan.time, hours)):
                width = len(number.names)
                number.fill(values, out[:, at : at + width])
                at += width
        for basis, row, sizes in self._curves:
            basis.fill(x[row], sizes, turned[at : at + len(sizes)])
            at += len(sizes)
        for low in range(0, rows if self._pairs else 0, BLOCK):
            part = slice(low, low + BLOCK)
            self._join(x[:, part], {name: own[part] for name, own in codes.items()}, turned[at:, part])
        return out

    def _join(self, x: Array, codes: Mapping[str, NDArray[np.int32]], out: NDArray[np.float32]) -> None:
        """The columns of pairs of some rows, (columns, rows)."""
        at = 0
        found = {name: self._functions(name, x, codes) for name in self._paired}
        for first, second, i, j, sizes in self._pairs:
            out[at : at + len(sizes)] = found[first][i] * found[second][j] * sizes
            at += len(sizes)

    def _functions(self, name: str, x: Array, codes: Mapping[str, NDArray[np.int32]]) -> Array:
        basis = self.encoder._basis(name)
        if not isinstance(basis, LevelBasis):
            return basis.functions(x[self._row[name]], IN_A_PAIR)
        return basis.of_codes(self._levels[name].places_in(basis.levels)[codes[name]])


def _date(plan: DatePlan, cells: Sequence[Any]) -> tuple[Array, list[NDArray[np.int32]]]:
    """The years, and the codes of the rest."""
    days = [None if cell is None else _day(cell) for cell in cells]
    year = np.array([None if day is None else day.year for day in days], dtype=np.float64)
    parts = [(-1,) * 4 if day is None else (day.month, day.isoweekday(), 0, day.day) for day in days]
    return year, plan.placed(*np.array(parts, dtype=np.int64).reshape(-1, 4).T)


class _Lookup:
    """The code of each level of a category: its place, then one for unseen levels, then one for missing cells."""

    def __init__(self, plan: CategoryPlan) -> None:
        self.levels = plan.levels
        self.known: dict[str | None, int] = {level: k for k, level in enumerate(plan.levels)}
        self.known |= {cell: self.known[level] for cell, level in plan.spellings.items()}
        self.known[None] = len(plan.levels) + 1

    def codes(self, cells: Sequence[Any]) -> NDArray[np.int32]:
        known = self.known
        try:
            return np.fromiter(map(known.__getitem__, cells), np.int32, len(cells))
        except (KeyError, TypeError):  # a level that is new, or not clean
            if not set(map(type, cells)) <= _TEXTS:
                raise OddError from None
        return np.array([known[cell] if cell in known else self._odd(cell) for cell in cells], dtype=np.int32)

    def _odd(self, cell: str) -> int:
        return self.known.get(clean(cell), len(self.levels))

    def places_in(self, levels: Sequence[str]) -> NDArray[np.int64]:
        """Where the level of each code stands in another list, past its end for all others."""
        place = {level: k for k, level in enumerate(levels)}
        return np.array([*(place.get(level, len(levels)) for level in self.levels), len(levels), len(levels)])


def _truth(cell: Any) -> float | None:
    """0, 1, or None for a missing cell."""
    if cell is None or isinstance(cell, bool):
        return cell
    level = clean(cell)
    if level is None:
        return None
    found = TRUTHS.get(level.lower())
    return _odd() if found is None else found


def _day(cell: Any) -> datetime.date:
    if not isinstance(cell, str) or not _ISO.fullmatch(cell):
        raise OddError
    try:
        return datetime.date.fromisoformat(cell)
    except ValueError:
        raise OddError from None


def _odd() -> Any:
    raise OddError


def _texts(cells: Sequence[Any]) -> list[str | None]:
    if not set(map(type, cells)) <= _TEXTS:
        raise OddError
    return [None if cell is None or _says_missing(cell) else cell for cell in cells]


def _says_missing(cell: str) -> bool:
    return len(cell) <= LONGEST_MISSING and len(cell.encode()) <= LONGEST_MISSING and clean(cell) is None


def _pair(first: str, second: str, i: Any, j: Any, sizes: Array) -> tuple[str, str, Any, Any, Array]:
    return first, second, i, j, sizes[:, np.newaxis]


def _places(values: Sequence[float]) -> dict[float, int]:
    return {value: k for k, value in enumerate(values)}
