"""Rows in a folder whose passes are made by the workers of an engine, each over its part; and the fit to them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.engine import Each, Engine
from luce.engine import Parts as Workers
from luce.errors import InputError
from luce.features import Array, Features
from luce.path import Problem
from luce.shard import Folder, Piece, Targets, mapped
from luce.solver import Progress, Solution

_keys = itertools.count(1)


@dataclass(frozen=True)
class PartedFeatures(Features):
    """Features that lie in a folder, where sums over rows are those of workers, chunk by chunk: the bits are those of
    one machine, for any number of workers. What else is asked for is read from the folder.

    bounds: (parts + 1,) the rows where parts begin, and the end.
    """

    workers: Workers | None = None
    bounds: tuple[int, ...] = ()

    at_hand: ClassVar[bool] = False

    def _each(self, method: str, *arguments: Any) -> list[Any]:
        assert self.workers is not None
        return self.workers.each(method, *arguments)

    def labels(self, codes: NDArray[np.int32], weights: Array | None, classes: int) -> Any:
        key, parts = next(_keys), list(itertools.pairwise(self.bounds))
        return Each([Targets(key, codes[a:b], None if weights is None else weights[a:b], classes) for a, b in parts])

    def cross_entropy_chunks(
        self, weights: Array, bias: Array, labels: Any, correction: Array | None, threads: int, single: bool
    ) -> Array:
        return np.concatenate(self._each("cross_entropy_chunks", weights, bias, labels, correction, 1, single))

    def intercept_chunks(self, weights: Array, bias: Array, labels: Any, threads: int) -> Array:
        return np.concatenate(self._each("intercept_chunks", weights, bias, labels, 1))

    def row_curvature(self, weights: Array, bias: Array, labels: Any, threads: int) -> Array:
        return np.concatenate(self._each("row_curvature", weights, bias, labels, 1))

    def column_sums(self, threads: int) -> Array:
        return np.concatenate(self._each("column_sums", 1))

    def column_squares(self, centre: Array, threads: int) -> Array:
        return np.concatenate(self._each("column_squares", centre, 1))

    def row_energy(self, centre: Array, variance: Array, threads: int) -> Array:
        return np.concatenate(self._each("row_energy", centre, variance, 1))

    def logits(self, weights: Array, bias: Array, threads: int, single: bool = False) -> Array:
        return np.concatenate(self._each("logits", weights, bias, 1, single), axis=1)

    def hashes(self, seed: int, threads: int) -> NDArray[np.uint64]:
        return np.concatenate(self._each("hashes", seed, 1))

    def entries(self) -> NDArray[np.int64]:
        return np.asarray(np.sum(self._each("entries"), axis=0))

    @cached_property
    def can_be_single(self) -> bool:
        return bool(self._each("can_be_single")[0])

    def take(self, rows: NDArray[np.int64]) -> Features:
        """Some rows, copied from the folder. Those taken last are kept, as they are asked for thrice where curvature
        is taken."""
        last: tuple[NDArray[np.int64], Features] | None = self.__dict__.get("_taken")
        if last is None or not np.array_equal(last[0], rows):
            last = self.__dict__["_taken"] = rows.copy(), super().take(rows)
        return last[1]

    def submatrix(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], centre: Array, spread: Array, threads: int
    ) -> NDArray[np.float32]:
        return self.take(rows).submatrix(np.arange(len(rows)), columns, centre, spread, threads)

    def weighted_squares(self, rows: NDArray[np.int64], weights: Array, threads: int) -> Array:
        return self.take(rows).weighted_squares(np.arange(len(rows)), weights, threads)


def bounds_of(rows: int, columns: int, outputs: int, workers: int) -> tuple[int, ...]:
    """Where parts begin, and the end: at chunks of the widest pass, about as many in each part; no part is empty, so
    there may be fewer than workers."""
    widest = max((columns + 1) * outputs + 1, outputs**2)
    each, chunks = _core.chunks(rows, widest, rows)
    parts = max(min(workers, chunks), 1)
    return (*(chunks * part // parts * each for part in range(parts)), rows)


@contextmanager
def parted(
    folder: str | os.PathLike[str], engine: Engine, classes: int | None = None, sparse_columns: int | None = None
) -> Iterator[tuple[PartedFeatures, Folder]]:
    """The rows of a folder (see shard.mapped) with workers of an engine, and what the folder holds; the workers end
    with the context. classes: by default one more than the largest code.

    Raises InputError where the folder does not hold what it should, EngineError where a worker fails.
    """
    whole = mapped(folder, sparse_columns)
    f, known = whole.features, _classes(whole, classes)
    bounds = bounds_of(f.rows, f.columns, 1 if known == 2 else known, engine.workers)
    place = os.path.abspath(folder)
    pieces = [Piece(place, first, end, f.rows, f.sparse_columns) for first, end in itertools.pairwise(bounds)]
    workers = engine.start(pieces)
    try:
        yield (
            PartedFeatures(
                f.rows, f.dense, f.starts, f.indices, f.values, f.sparse_columns, workers=workers, bounds=bounds
            ),
            whole,
        )
    finally:
        workers.close()


def _classes(whole: Folder, classes: int | None) -> int:
    low, high = int(whole.codes.min(initial=0)), int(whole.codes.max(initial=0))
    known = high + 1 if classes is None else classes
    if low < 0 or high >= known or known < 2:
        raise InputError(
            f"codes.npy holds {low} to {high}: {known} classes have 0 to {known - 1}, and there are two or more"
        )
    return known


def fit_parts(
    folder: str | os.PathLike[str],
    l2: float,
    engine: Engine,
    *,
    classes: int | None = None,
    sparse_columns: int | None = None,
    intercept: bool = True,
    tolerance: float = 1e-6,
    threads: int = 1,
    progress: Progress | None = None,
    time_limit: float | None = None,
) -> Solution:
    """The fit of solver.minimise to the rows of a folder (see shard.mapped), by the workers of an engine.

    The point and the certificate have the bits of a fit in one process that keeps no logits (solver.FarNewton), for any
    engine and number of workers. threads: those of this process, which takes the curvature. Weights should have a mean
    of 1, as l2 is per row. Logits of the solution can no longer be asked for.

    Raises InputError where the folder does not hold what it should, EngineError where a worker fails.
    """
    with parted(folder, engine, classes, sparse_columns) as (features, whole):
        problem = Problem(
            features, whole.codes, _classes(whole, classes), whole.weights, intercept=intercept, threads=threads
        )
        return problem.solve(l2, tolerance, progress=progress, time_limit=time_limit)
