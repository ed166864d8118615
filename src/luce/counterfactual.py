"""What would flip an answer: the smallest realistic change of one or two columns of a row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.cells import in_notation_of
from luce.curves import LevelBasis, NumberBasis
from luce.encoder import Encoder
from luce.features import Array
from luce.schema import Column
from luce.text import SparseRows

STEPS = 40  # values of a number that are tried, from its 1st to its 99th part of a hundred
FEW_STEPS = 12  # where two columns change
PROMISING = 8  # columns of which all pairs are tried
CLOSER = 3  # times that the way to the nearest of them is cut into as many parts
ROUND = 0.01  # of a change: to so much the new number is rounded
MOST_DECIMALS = 6  # a new number has no more than all those of its column, where these have at most so many
LEVEL_STEP = 0.5  # how far it is from one level of a category to another; a number goes from 0 to 1


@dataclass(frozen=True)
class Move:
    """One column that changes: its cell as it was given, and the new one, by value and as one would write it there."""

    column: str
    before: Any
    after: Any
    written: str


@dataclass(frozen=True)
class Counterfactual:
    """The moves that change the answer, the new answer, its probabilities (K,), and how far the moves are together:
    parts of the way through all training rows, a category counts as half."""

    moves: tuple[Move, ...]
    answer: Any
    probabilities: tuple[float, ...]
    distance: float

    def sentence(self) -> str:
        """In words."""
        parts = [f"{move.column} were {move.written} instead of {_shown(move.before)}" for move in self.moves]
        return f"{self.answer} if " + " and ".join(parts)


@dataclass(frozen=True)
class _Candidates:
    """New cells for one column, as `parse` gives them, and how far each is from the row's own."""

    column: str
    cells: Any
    distances: Array

    def few(self) -> _Candidates:
        """Some of them, spread over all distances."""
        order = np.argsort(self.distances, kind="stable")
        kept = order[np.unique(np.linspace(0, len(order) - 1, FEW_STEPS).astype(np.int64))]
        return _Candidates(self.column, self.cells[kept], self.distances[kept])


Answer = Callable[[Mapping[str, Any]], tuple[NDArray[np.int64], Array]]
Flip = tuple[float, dict[str, Any], int, Array]  # distance, new cells, code and probabilities of the answer


def counterfactual(
    encoder: Encoder, parsed: Mapping[str, Any], given: Mapping[str, Any], answer: Answer, to: int | None,
    keep: Collection[str], columns: Sequence[Column], classes: Sequence[Any],
) -> Counterfactual | None:  # fmt: skip
    """The nearest change of one column that makes the answer another one, or `to`; of two, if none of one does.

    parsed: the row's cells, of one row; given: them as they were given; columns: what they are; answer: codes
    and probabilities (n, K) of rows of such cells. Numbers move within the middle 98 % of the training rows (a yes/no
    to the other), categories to their more frequent levels; dates and texts stay. None where no such change does it.
    """
    own = int(answer(parsed)[0][0])
    every = [c for b in encoder.bases if b.name not in keep and (c := _candidates(b, parsed[b.name])) is not None]
    singles = [(c,) for c in every]
    tried = [_best(parsed, group, answer, own, to) for group in singles]
    found = [best for best, _ in tried if best is not None]
    if not found:
        order = np.argsort([-nearest for _, nearest in tried], kind="stable")[:PROMISING]
        few = [every[i].few() for i in order.tolist()]
        groups = [(few[i], few[j]) for i in range(len(few)) for j in range(i)]
        found = [best for group in groups if (best := _best(parsed, group, answer, own, to)[0]) is not None]
        found = sorted(found, key=lambda best: best[0])[:1]
    if not found:
        return None
    valued = {plan.name for plan in encoder.values}  # numbers of few values, between which are none
    numbers = (b for b in encoder.bases if isinstance(b, NumberBasis) and len(b.knots) > 2)
    between = {b.name: b for b in numbers if b.name not in valued}
    for i, best in enumerate(found):
        for name in [name for name in best[1] if name in between]:
            found[i] = best = _closer(between[name], parsed, best, answer, own, to)
    distance, moved, code, p = min(found, key=lambda best: best[0])
    known = {column.name: column for column in columns}
    moves = tuple(_move(known[name], given.get(name), cell) for name, cell in moved.items())
    return Counterfactual(moves, classes[code], tuple(p.tolist()), distance)


def _move(column: Column, before: Any, after: Any) -> Move:
    after = bool(after) if column.kind == "boolean" else after
    number = isinstance(after, int | float) and not isinstance(after, bool)
    return Move(
        column.name, before, after,
        in_notation_of(before, after, column.decimal_comma) if number else _shown(after),
    )  # fmt: skip


def _candidates(basis: NumberBasis | LevelBasis, cells: Any) -> _Candidates | None:
    import polars as pl

    if isinstance(basis, LevelBasis):
        levels = [level for level in basis.levels if level != cells[0]]
        return (
            _Candidates(basis.name, pl.Series(basis.name, levels), np.full(len(levels), LEVEL_STEP)) if levels else None
        )
    if np.isnan(cells[0]):
        return None  # what a cell that is not known would be is no change of it
    few = len(basis.knots) <= STEPS
    values = np.asarray(basis.knots) if few else np.unique(basis.at(np.linspace(0.01, 0.99, STEPS)))
    values = np.unique(_written(values, _decimals(basis)))
    values = values[values != cells[0]]
    distances = np.abs(basis.places_of(values) - basis.places_of(cells))
    if len(basis.knots) == 2:
        distances = np.full(len(values), LEVEL_STEP)
    return _Candidates(basis.name, values, distances) if len(values) else None


def _best(
    parsed: Mapping[str, Any], group: tuple[_Candidates, ...], answer: Answer, own: int, to: int | None
) -> tuple[Flip | None, float]:
    """The nearest of all combinations that changes the answer; and how probable the other classes get at most."""
    sizes = [len(c.distances) for c in group]
    places = np.stack([grid.ravel() for grid in np.meshgrid(*map(np.arange, sizes), indexing="ij")])
    rows = places.shape[1]
    cells = {name: _repeated(column, rows) for name, column in parsed.items()}
    cells |= {c.column: c.cells[place] for c, place in zip(group, places, strict=True)}
    codes, p = answer(cells)
    wanted = codes != own if to is None else codes == to
    nearest = float((1.0 - p[:, own]).max() if to is None else p[:, to].max())
    if not wanted.any():
        return None, nearest
    distances = np.sum([c.distances[place] for c, place in zip(group, places, strict=True)], axis=0)
    i = int(np.argmin(np.where(wanted, distances, np.inf)))
    moved = {c.column: c.cells[int(place[i])] for c, place in zip(group, places, strict=True)}
    return (float(distances[i]), {name: _plain(cell) for name, cell in moved.items()}, int(codes[i]), p[i]), nearest


def _closer(
    basis: NumberBasis, parsed: Mapping[str, Any], best: Flip, answer: Answer, own: int, to: int | None
) -> Flip:
    """The same with the number of one column as near to the row's own as does it, in few digits."""
    name, (distance, moved, code, p) = basis.name, best
    given, decimals = float(parsed[name][0]), _decimals(basis)
    low, high = basis.at(np.array([0.01, 0.99]))
    start, end = float(np.clip(given, low, high)), float(moved[name])

    def first(values: Array) -> int | None:
        """The first that does it; its answer is kept."""
        nonlocal code, p
        cells = {column: _repeated(cell, len(values)) for column, cell in parsed.items()}
        cells |= {other: _all_of(parsed[other], cell, len(values)) for other, cell in moved.items()}
        codes, shares = answer(cells | {name: values})
        wanted = codes != own if to is None else codes == to
        if not wanted.any():
            return None
        i = int(np.argmax(wanted))
        code, p = int(codes[i]), shares[i]
        return i

    for _ in range(CLOSER):
        values = _written(np.linspace(start, end, STEPS + 1), decimals)
        values = values[np.append(True, np.diff(values) != 0) & (values != given)]
        i = first(values)
        if i is None:
            return best
        start, end = float(values[max(i - 1, 0)]), float(values[i])
    finest = -np.inf if decimals is None else -decimals
    step = 10.0 ** max(np.floor(np.log10(ROUND * abs(end - given))), finest)
    rounded = float(f"{(np.ceil if end > given else np.floor)(round(end / step, 6)) * step:.12g}")
    nearer = abs(rounded - given) <= abs(float(moved[name]) - given)
    if nearer and first(np.array([rounded])) is not None:
        end = rounded
    own_place, before, after = basis.places_of(np.array([given, float(moved[name]), end])).tolist()
    distance += abs(after - own_place) - abs(before - own_place)
    return distance, moved | {name: _plain(end)}, code, p


def _decimals(basis: NumberBasis) -> int | None:
    """With how many decimals the numbers of a column are written, None where they are more than MOST_DECIMALS."""
    knots = np.asarray(basis.knots)
    fits = (d for d in range(MOST_DECIMALS + 1) if np.allclose(knots.round(d), knots, rtol=1e-12, atol=0))
    return next(fits, None)


def _written(values: Array, decimals: int | None) -> Array:
    return values if decimals is None else values.round(decimals)


def _all_of(like: Any, cell: Any, rows: int) -> Any:
    """A new cell so many times, as `parse` gives a column."""
    import polars as pl

    if isinstance(like, np.ndarray):
        return np.full(rows, cell, dtype=np.float64)
    return pl.Series(like.name, [cell] * rows, dtype=like.dtype)


def repeated(row: SparseRows, rows: int) -> SparseRows:
    """A single row so many times."""
    starts = np.arange(rows + 1, dtype=np.int64) * len(row.indices)
    return SparseRows(starts, np.tile(row.indices, rows), np.tile(row.values, rows), row.columns)


def _repeated(column: Any, rows: int) -> Any:
    return np.repeat(column, rows, axis=0) if isinstance(column, np.ndarray) else column.new_from_index(0, rows)


def _plain(cell: Any) -> Any:
    cell = cell.item() if isinstance(cell, np.generic) else cell
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def _shown(cell: Any) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return "missing" if cell is None or cell == "" else f"{cell:.6g}" if isinstance(cell, float) else str(cell)
