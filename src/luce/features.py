"""Features: the numbers a linear model sees, [dense | sparse]; the one module that knows how they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce import _core


@dataclass(frozen=True)
class Features:
    """A design matrix of `rows` x (dense columns + sparse columns).

    dense: (rows, p) float32 or float64, any strides, or None.
    starts, indices: the sparse part in compressed rows, int64 and int32; values float32, or None when each is 1.
    """

    rows: int
    dense: NDArray[np.floating] | None = None
    starts: NDArray[np.int64] | None = None
    indices: NDArray[np.int32] | None = None
    values: NDArray[np.float32] | None = None
    sparse_columns: int = 0

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
        single = dense is not None and dense.dtype == np.float32
        return _core.Design(
            dense32=dense if single else None,
            dense64=None if single else dense,
            starts=self.starts,
            indices=self.indices,
            values=self.values,
            sparse_columns=self.sparse_columns,
            rows=self.rows,
        )

    def logits(self, weights: NDArray[np.float64], bias: NDArray[np.float64], threads: int) -> NDArray[np.float64]:
        """X W + b, class by class: (outputs, rows) for weights of (columns, outputs)."""
        out = np.empty((weights.shape[1], self.rows))
        _core.forward(self.design, weights, bias, out, threads)
        return out

    def frequent_columns(self, count: int) -> NDArray[np.int64]:
        """The dense columns, then the sparse columns that most rows store something in: at most `count`, ascending."""
        p = self.dense_columns
        if p >= count or self.indices is None:
            return np.arange(min(p, count))
        stored = np.bincount(self.indices, minlength=self.sparse_columns)
        order = np.argsort(-stored, kind="stable")[: count - p]
        return np.concatenate([np.arange(p), p + np.sort(order)])

    def submatrix(self, rows: NDArray[np.int64], columns: NDArray[np.int64], padded: int) -> NDArray[np.float64]:
        """Some rows and some ascending columns, then a column of ones, then zeros: (rows, padded) float64."""
        out = np.zeros((len(rows), padded))
        p = self.dense_columns
        dense = columns[columns < p]
        if self.dense is not None and len(dense):
            out[:, : len(dense)] = self.dense[np.ix_(rows, dense)]
        out[:, len(columns)] = 1.0
        if len(dense) < len(columns):
            row, column, value = self._entries(rows)
            place = np.full(self.sparse_columns, -1)
            place[columns[len(dense) :] - p] = np.arange(len(dense), len(columns))
            known = place[column] >= 0
            np.add.at(out.reshape(-1), row[known] * padded + place[column[known]], value[known])
        return out

    def weighted_squares(self, rows: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """sum_i w_mi x_ij^2 over some rows, for weights (m, rows): (m, columns)."""
        p = self.dense_columns
        out = np.zeros((len(weights), self.columns))
        if self.dense is not None:
            for first in range(0, len(rows), 1024):
                part = slice(first, first + 1024)
                squares = self.dense[rows[part]].astype(np.float64) ** 2
                out[:, :p] += np.einsum("mi,ij->mj", weights[:, part], squares)
        if self.sparse_columns:
            row, column, value = self._entries(rows)
            for m, w in enumerate(weights):
                out[m, p:] = np.bincount(column, weights=w[row] * value**2, minlength=self.sparse_columns)
        return out

    def _entries(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """What the rows store in the sparse part: the place of the row among `rows`, the sparse column, the value."""
        assert self.starts is not None and self.indices is not None
        counts = self.starts[rows + 1] - self.starts[rows]
        row = np.repeat(np.arange(len(rows)), counts)
        entry = np.repeat(self.starts[rows] - (np.cumsum(counts) - counts), counts) + np.arange(len(row))
        value = np.ones(len(entry)) if self.values is None else self.values[entry].astype(np.float64)
        return row, self.indices[entry], value
