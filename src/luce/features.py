"""Features: the numbers a linear model sees, [dense | sparse]; the one module that knows how they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luce import _core

Array = NDArray[np.float64]

MANY_COLUMNS = 4_096
MANY_DENSE = 1_024
WIDE_SPARSE = 512
ENTRIES_AT_ONCE = 1 << 22
LEAST_ALONE = 0.1  # the share of numbers alone in their columns from which it pays to set them apart
MOST_PARTED = 1 << 26  # numbers of which the others are copied for that


@dataclass(frozen=True)
class Features:
    """A design matrix of `rows` x (dense columns + sparse columns).

    dense: (rows, p) uint8 (numbers 0 to 255), float16, float32 or float64, any strides, or None.
    starts, indices: the sparse part in compressed rows, int64 and int32; values float32 or float64, or None when each
    is 1.
    """

    rows: int
    dense: NDArray[np.floating] | NDArray[np.uint8] | None = None
    starts: NDArray[np.int64] | None = None
    indices: NDArray[np.int32] | None = None
    values: NDArray[np.floating] | None = None
    sparse_columns: int = 0

    at_hand: ClassVar[bool] = True  # whether the rows are in this process, so that logits of them may be kept

    @property
    def all_rows(self) -> int:
        """How many rows these are some of, if they begin and are cut as chunks of more rows (core/chunks.h)."""
        return self.rows

    @property
    def dense_columns(self) -> int:
        return 0 if self.dense is None else self.dense.shape[1]

    @property
    def columns(self) -> int:
        return self.dense_columns + self.sparse_columns

    @property
    def stored(self) -> int:
        """How many numbers one pass over the matrix touches."""
        return self.rows * self.dense_columns + (0 if self.indices is None else len(self.indices))

    @cached_property
    def design(self) -> _core.Design:
        """The matrix as the core sees it; borrows the arrays."""
        dense: Any = self.dense
        values: Any = self.values
        dtype = None if dense is None else dense.dtype
        return _core.Design(
            dense8=dense if dtype == np.uint8 else None,
            dense16=dense if dtype == np.float16 else None,
            dense32=dense if dtype == np.float32 else None,
            dense64=dense if dtype == np.float64 else None,
            starts=self.starts,
            indices=self.indices,
            values=values if values is None or values.dtype == np.float32 else None,
            doubles=values if values is not None and values.dtype == np.float64 else None,
            sparse_columns=self.sparse_columns,
            rows=self.rows,
        )

    @property
    def tells_by_rows(self) -> bool:
        """Whether weights are better told by a number a row: all sparse, with more columns than rows, or very many; or
        all dense, of many columns."""
        if self.dense is None:
            return self.sparse_columns > min(self.rows, MANY_COLUMNS)
        wide = self.indices is None and self.dense.dtype in (np.float16, np.float32)
        return wide and self.dense_columns >= MANY_DENSE and self.dense.strides[1] == self.dense.itemsize

    def shared(self, threads: int) -> Shared | None:
        """A sparse matrix without the numbers that are alone in their columns, if these are many. Worked out once."""
        if "_shared" not in self.__dict__:
            self.__dict__["_shared"] = self._part(threads)
        found: Shared | None = self.__dict__["_shared"]
        return found

    def _part(self, threads: int) -> Shared | None:
        if self.dense is not None or self.stored > MOST_PARTED:
            return None
        met = np.empty(self.sparse_columns, dtype=np.uint8)
        alone = _core.meet_columns(self.design, met, threads)
        if not LEAST_ALONE * self.stored < alone < self.stored:
            return None
        each, squares = np.empty(self.rows, dtype=np.int64), np.empty(self.rows)
        _core.part_rows(self.design, met, each, squares, threads)
        place = np.cumsum(met > 1, dtype=np.int32)
        columns = int(place[-1])
        place -= 1
        starts = np.concatenate([[0], np.cumsum(each)])
        indices = np.empty(starts[-1], dtype=np.int32)
        values = np.empty(len(indices), dtype=np.float32 if self.values is None else self.values.dtype)
        _core.shared_entries(self.design, met, place, starts, indices, values, threads)
        rest = Features(self.rows, None, starts, indices, values, columns)
        return Shared(rest, squares, met, place)

    @cached_property
    def row_space(self) -> _core.RowSpace:
        """A sparse matrix by its columns: X X', and the columns whose X'R stands out."""
        return _core.RowSpace(self.design)

    def between(self, first: int, end: int) -> Features:
        """Rows first to end - 1, not copied."""
        dense = None if self.dense is None else self.dense[first:end]
        if self.starts is None or self.indices is None:
            return Features(end - first, dense=dense)
        stored = slice(self.starts[first], self.starts[end])
        values = None if self.values is None else self.values[stored]
        starts = self.starts[first : end + 1] - self.starts[first]
        return Features(end - first, dense, starts, self.indices[stored], values, self.sparse_columns)

    def take(self, rows: NDArray[np.int64]) -> Features:
        """Some rows, copied."""
        dense = None if self.dense is None else self.dense[rows]
        if self.starts is None or self.indices is None:
            return Features(len(rows), dense=dense)
        first, stored = self.starts[rows], np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(stored)])
        entries = np.repeat(first - starts[:-1], stored) + np.arange(starts[-1])
        values = None if self.values is None else self.values[entries]
        return Features(len(rows), dense, starts, self.indices[entries], values, self.sparse_columns)

    def take_columns(self, columns: NDArray[np.int64]) -> Features:
        """Some ascending columns of a matrix that is all sparse, copied."""
        assert self.dense is None and self.starts is not None and self.indices is not None
        place = np.full(self.sparse_columns, -1, dtype=np.int32)
        place[columns] = np.arange(len(columns))
        indices = place[self.indices]
        kept = indices >= 0
        starts = np.concatenate([[0], np.cumsum(kept)])[self.starts]
        values = None if self.values is None else self.values[kept]
        return Features(self.rows, None, starts, indices[kept], values, len(columns))

    def times(self, factors: Array) -> Features:
        """The same with each column multiplied by a factor, (columns,), copied."""
        dense, values, p = self.dense, self.values, self.dense_columns
        if dense is not None:
            own = np.float64 if dense.dtype == np.float64 else np.float32
            dense = np.multiply(dense, factors[:p], dtype=own, casting="same_kind")
        if self.indices is not None:
            each = factors[p:][self.indices]
            values = each.astype(np.float32) if values is None else (values * each).astype(values.dtype)
        return Features(self.rows, dense, self.starts, self.indices, values, self.sparse_columns)

    def transposed_product(self, residual: Array, threads: int) -> Array:
        """X'R for R (outputs, rows): (columns, outputs)."""
        out = np.empty((self.columns, len(residual)))
        _core.transposed_product(self.design, residual, out, threads)
        return out

    @property
    def can_be_single(self) -> bool:
        """Whether a pass that may calculate in float32 would: a wide dense part that holds float32, float16
        or uint8."""
        return self.design.can_be_single

    def logits(self, weights: Array, bias: Array, threads: int, single: bool = False) -> Array:
        """X W + b, class by class: (outputs, rows) for weights of (columns, outputs). single: float32 will do."""
        out = np.empty((weights.shape[1], self.rows))
        _core.forward(self.design, weights, bias, out, threads, single)
        return out

    def labels(self, codes: NDArray[np.int32], weights: Array | None, classes: int) -> _core.Labels:
        """The class codes and weights of the rows as the passes below see them; borrows the arrays."""
        return _core.Labels(codes, weights, classes)

    def _chunks(self, layout: int, width: int) -> Array:
        """Room for sums over rows, `width` numbers a chunk, in the chunks of a pass that sums `layout` numbers."""
        return np.empty((_core.chunks(self.rows, layout, self.all_rows)[1], width))

    def cross_entropy_chunks(
        self, weights: Array, bias: Array, labels: _core.Labels, correction: Array | None, threads: int, single: bool
    ) -> Array:
        """The gradient of the loss at X W + b and, last, the loss, chunk by chunk: (chunks, width); correction: as in
        Objective.gradient_at."""
        width = (self.columns + 1) * weights.shape[1] + 1
        out = self._chunks(width, width)
        _core.cross_entropy_chunks(
            self.design, self.all_rows, weights, bias, labels, correction, out, threads, single
        )  # fmt: skip
        return out

    def cross_entropy(
        self, weights: Array, bias: Array, labels: _core.Labels, correction: Array | None, threads: int, single: bool
    ) -> tuple[float, Array]:
        """The loss at X W + b and its gradient, (columns + 1, outputs), in one read of X."""
        out = added(self.cross_entropy_chunks(weights, bias, labels, correction, threads, single), threads)
        return float(out[-1]), out[:-1].reshape(self.columns + 1, -1)

    def intercept_chunks(self, weights: Array, bias: Array, labels: _core.Labels, threads: int) -> Array:
        """sum_i s_i (diag p_i - p_i p_i') at X W + b, chunk by chunk: (chunks, outputs^2)"""
        width = weights.shape[1] ** 2
        out = self._chunks(width, width)
        _core.intercept_curvature_chunks(self.design, self.all_rows, weights, bias, labels, out, threads)
        return out

    def intercept_curvature(self, weights: Array, bias: Array, labels: _core.Labels, threads: int) -> Array:
        """The same added up, (outputs, outputs), in one read of X."""
        return added(self.intercept_chunks(weights, bias, labels, threads), threads).reshape(len(bias), len(bias))

    def row_curvature(self, weights: Array, bias: Array, labels: _core.Labels, threads: int) -> Array:
        """s_i sum_k p_ik (1 - p_ik) at X W + b, (rows,), in one read of X."""
        out = np.empty(self.rows)
        _core.row_curvature_at(self.design, weights, bias, labels, out, threads)
        return out

    def energy(self, threads: int) -> tuple[Array, Array, Array]:
        """The mean of each dense column, the spread of every column (1 for a constant one), and how much each row
        stands out, 1 in the mean (core/gram.h). Worked out once."""
        found = self.__dict__.get("_energy")
        if found is None:
            centre = added(self.column_sums(threads), threads) / self.rows
            variance = added(self.column_squares(centre, threads), threads) / self.rows
            spread = np.where(variance > 0, np.sqrt(variance), 1.0)
            found = centre, spread, self.row_energy(centre, variance, threads)
            self.__dict__["_energy"] = found
        return found

    def column_sums(self, threads: int) -> Array:
        """The sums of the dense columns, chunk by chunk: (chunks, dense columns)."""
        out = self._chunks(self.columns, self.dense_columns)
        _core.column_sums(self.design, self.all_rows, out, threads)
        return out

    def column_squares(self, centre: Array, threads: int) -> Array:
        """The same of (x - centre)^2, and of x^2 for sparse columns: (chunks, columns)."""
        out = self._chunks(self.columns, self.columns)
        _core.column_squares(self.design, self.all_rows, centre, out, threads)
        return out

    def row_energy(self, centre: Array, variance: Array, threads: int) -> Array:
        """How much each row stands out, (rows,)."""
        out = np.empty(self.rows)
        _core.row_energy(self.design, centre, variance, out, threads)
        return out

    def means(self) -> Array:
        """The mean of each column, (columns,)."""
        if not self.at_hand:
            dense = self.energy(1)[0]  # as any number of threads has it
        else:
            dense = np.empty(0) if self.dense is None else self.dense.mean(axis=0, dtype=np.float64)
        indices = self.indices
        if indices is None:
            return np.asarray(dense)
        sums = np.zeros(self.sparse_columns)
        step = max(len(indices), 1) if self.at_hand else ENTRIES_AT_ONCE
        for i in range(0, len(indices), step):
            values = None if self.values is None else self.values[i : i + step]
            sums += np.bincount(indices[i : i + step], weights=values, minlength=self.sparse_columns)
        return np.concatenate([dense, sums / self.rows])

    def hashes(self, seed: int, threads: int) -> NDArray[np.uint64]:
        """A hash of the numbers of each row; rows of equal numbers have equal ones, however they are stored."""
        out = np.empty(self.rows, dtype=np.uint64)
        _core.row_hash(self.design, seed, out, threads)
        return out

    def different(self) -> Iterator[int]:
        """How many different values each column has, no column read before its turn; that of a text, of more than
        WIDE_SPARSE sparse columns, first, as more than there are rows."""
        if self.sparse_columns > WIDE_SPARSE:
            yield self.rows + 1
        for column in [] if self.dense is None else self.dense.T:
            yield len(np.unique(column))
        stored = self.entries() if self.sparse_columns else np.empty(0, dtype=np.int64)
        for j in np.flatnonzero(stored).tolist():
            assert self.indices is not None
            own = np.ones(1) if self.values is None else np.unique(self.values[self.indices == j])
            yield len(own) + int(stored[j] < self.rows and bool((own != 0).all()))

    def entries(self) -> NDArray[np.int64]:
        """How many rows store something in each sparse column, (sparse columns,)."""
        out = np.zeros(self.sparse_columns, dtype=np.int64)
        indices = np.empty(0, dtype=np.int32) if self.indices is None else self.indices
        for i in range(0, len(indices), ENTRIES_AT_ONCE):
            out += np.bincount(indices[i : i + ENTRIES_AT_ONCE], minlength=self.sparse_columns)
        return out

    def squares(self, weights: Array | None) -> Array:
        """sum_i s_i x_ij^2 of each sparse column, (sparse columns,)."""
        assert self.starts is not None and self.indices is not None
        out, step = np.zeros(self.sparse_columns), max(1, ENTRIES_AT_ONCE * self.rows // max(len(self.indices), 1))
        for i in range(0, self.rows, step):
            part = self.between(i, min(i + step, self.rows))
            assert part.starts is not None and part.indices is not None
            each = np.ones(part.rows) if weights is None else weights[i : i + step]
            each = np.repeat(each, np.diff(part.starts))
            if part.values is not None:
                each *= part.values.astype(np.float64) ** 2
            out += np.bincount(part.indices, weights=each, minlength=self.sparse_columns)
        return out

    def frequent_columns(self, count: int) -> NDArray[np.int64]:
        """The dense columns, then the sparse columns that most rows store something in: at most `count`, ascending."""
        p = self.dense_columns
        if p >= count or self.indices is None:
            return np.arange(min(p, count))
        order = np.argsort(-self.entries(), kind="stable")[: count - p]
        return np.concatenate([np.arange(p), p + np.sort(order)])

    def submatrix(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], centre: Array, spread: Array, threads: int
    ) -> NDArray[np.float32]:
        """Some rows and some ascending columns (the dense ones minus their centre, all divided by their spread), a
        column of ones, then zeros up to a multiple of 32 columns; float32."""
        out = np.empty((len(rows), (len(columns) + 40) // 32 * 32), dtype=np.float32)
        _core.submatrix(self.design, rows, columns, centre, spread, out, threads)
        return out

    def weighted_squares(self, rows: NDArray[np.int64], weights: Array, threads: int) -> Array:
        """sum_i w_mi x_ij^2 over some rows, for weights (m, rows): (m, columns)."""
        out = np.empty((len(weights), self.columns))
        _core.weighted_squares(self.design, rows, weights, out, threads)
        return out


@dataclass(frozen=True)
class Shared:
    """A sparse matrix X without the numbers that are each the only one of their column: X X' is that of `features` plus
    the diagonal `alone`, (rows,).

    met, place: how many numbers each column of X has, at most 2, and where it is among those of `features`.
    """

    features: Features
    alone: Array
    met: NDArray[np.uint8]
    place: NDArray[np.int32]

    def spread(self, whole: Features, product: Array, residual: Array, out: Array, threads: int) -> None:
        """out (columns, outputs) = X'R of the whole, for the product that `features` have with R (outputs, rows)."""
        _core.spread_product(whole.design, self.met, self.place, product, residual, out, threads)


def joined(parts: Sequence[Features]) -> Features:
    """Rows of the same columns below each other, copied."""
    first = parts[0]
    dense = None if first.dense is None else np.concatenate([part.dense for part in parts if part.dense is not None])
    rows = sum(part.rows for part in parts)
    if first.starts is None:
        return Features(rows, dense)
    stored = [np.diff(part.starts) for part in parts if part.starts is not None]
    starts = np.concatenate([[0], np.cumsum(np.concatenate(stored))])
    indices = np.concatenate([part.indices for part in parts if part.indices is not None])
    values = None if first.values is None else np.concatenate([p.values for p in parts if p.values is not None])
    return Features(rows, dense, starts, indices, values, first.sparse_columns)


def added(parts: Array, threads: int) -> Array:
    """Sums over rows, chunk by chunk (chunks, width), added in order: (width,)."""
    out = np.empty(parts.shape[1])
    _core.add_chunks(parts, out, threads)
    return out


def dense_row(features: Features) -> Array:
    """The numbers of a single row, (columns,)."""
    out = np.zeros(features.columns)
    if features.dense is not None:
        out[: features.dense_columns] = features.dense[0]
    if features.indices is not None:
        values = np.ones(len(features.indices)) if features.values is None else features.values
        np.add.at(out, features.dense_columns + features.indices, values)
    return out
