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

    def sparse_counts(self) -> NDArray[np.float64]:
        """How many rows store something in each sparse column."""
        if self.indices is None:
            return np.zeros(0)
        return np.bincount(self.indices, minlength=self.sparse_columns).astype(np.float64)

    def submatrix(self, rows: NDArray[np.int64], sparse: NDArray[np.int64], padded: int) -> NDArray[np.float64]:
        """The rows' dense columns, the named sparse columns and a column of ones, as (len(rows), padded) float64."""
        out = np.zeros((len(rows), padded))
        p = self.dense_columns
        if self.dense is not None:
            out[:, :p] = self.dense[rows]
        out[:, p + len(sparse)] = 1.0
        if self.starts is None or self.indices is None or len(sparse) == 0:
            return out
        place = np.full(self.sparse_columns, -1)
        place[sparse] = np.arange(len(sparse))
        counts = self.starts[rows + 1] - self.starts[rows]
        row_of = np.repeat(np.arange(len(rows)), counts)
        first = np.repeat(self.starts[rows] - (np.cumsum(counts) - counts), counts)
        entry = first + np.arange(len(row_of))
        column = place[self.indices[entry]]
        value = np.ones(len(entry)) if self.values is None else self.values[entry].astype(np.float64)
        known = column >= 0
        np.add.at(out, (row_of[known], p + column[known]), value[known])
        return out
