"""Which pairs of columns act together, and which numbers are codes: found on what held-out probabilities leave
unexplained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.curves import Basis
from luce.encoder import ValuesPlan
from luce.features import Array

GRIDS = ((3, 2.0), (8, 4.0))  # parts of each column, and by how many units of curvature a cell is held back
HELD = 4.0  # the same of a single value, whose column is held back as firmly (encoder.VALUE_SIZE)
MUCH = 3.0  # nats that the values of a number must gain in all: less is as often chance
MOST_COLUMNS = 64  # of more than these only those that tell most by themselves are paired
BLOCK = 4_000_000  # sums at a time


def strongest_pairs(
    bases: Sequence[Basis], parsed: Mapping[str, Any], residual: Array, curvature: Array, half: NDArray[np.bool_],
    fold: NDArray[np.int64], count: int, threads: int,
) -> list[list[tuple[str, str]]]:  # fmt: skip
    """The pairs of columns that explain most of the residuals, at most `count`, the strongest first: by all rows but
    those of fold 0, of fold 1, ..., and last by all rows.

    residual: (n, K), [label is k] - p_k of rows held out; curvature: (n, K), p_k (1 - p_k). Each pair cuts the rows
    into the cells of a grid. A Newton step for each cell and class, w = sum r / (lambda + sum h), is worked out on one
    half of the rows and scored on the other, sum w r - w^2 h / 2 in nats, and the other way round: a pair that explains
    nothing gains nothing. Only pairs that gain are named.
    Source: Lou et al., Accurate intelligible models with pairwise interactions, KDD 2013 (the search on a grid).
    """
    folds = int(fold.max()) + 1
    if len(bases) < 2:
        return [[] for _ in range(folds + 1)]
    search = _Search(bases, parsed, np.concatenate([residual, curvature], axis=1), half, fold, threads)
    size = len(bases)
    allowed = np.ones((folds + 1, size), dtype=bool)
    if size > MOST_COLUMNS:
        kept = np.argsort(-search.gains_alone(), axis=1, kind="stable")[:, :MOST_COLUMNS]
        allowed[:] = False
        np.put_along_axis(allowed, kept, True, axis=1)
    some = np.flatnonzero(allowed.any(axis=0))
    first, second = np.tril_indices(len(some), -1)
    pairs = np.stack([some[first], some[second]], axis=1).astype(np.int32)
    gains = search.gains(pairs)
    gains[~(allowed[:, pairs[:, 0]] & allowed[:, pairs[:, 1]])] = -np.inf
    out = []
    for row in gains:
        order = np.argsort(-row, kind="stable")[:count]
        out.append(
            [(bases[a].name, bases[b].name) for (a, b), gain in zip(pairs[order], row[order], strict=True) if gain > 0]
        )
    return out


def strongest_alone(
    bases: Sequence[Basis], parsed: Mapping[str, Any], residual: Array, curvature: Array, half: NDArray[np.bool_],
    fold: NDArray[np.int64], threads: int,
) -> list[list[str]]:  # fmt: skip
    """The columns that explain some of the residuals by themselves, the strongest first, as `strongest_pairs` finds
    pairs."""
    search = _Search(bases, parsed, np.concatenate([residual, curvature], axis=1), half, fold, threads)
    gains = search.gains_alone()
    order = np.argsort(-gains, axis=1, kind="stable")
    return [[bases[i].name for i in some if row[i] > 0] for row, some in zip(gains, order.tolist(), strict=True)]


def strongest_codes(
    plans: Sequence[ValuesPlan], parsed: Mapping[str, Any], residual: Array, curvature: Array, half: NDArray[np.bool_],
    fold: NDArray[np.int64],
) -> list[list[ValuesPlan]]:  # fmt: skip
    """The numbers whose single values explain some of the residuals, the strongest first, as `strongest_pairs` finds
    pairs: here the cells are the values."""
    folds = int(fold.max()) + 1
    gains = np.empty((folds + 1, len(plans)))
    group = 2 * fold + half
    for i, plan in enumerate(plans):
        size = len(plan.values) + 1
        cell = group * size + plan.codes(parsed[plan.name])
        sums = [np.bincount(cell, x, 2 * folds * size) for x in (*residual.T, *curvature.T)]
        by_fold = np.stack(sums, axis=-1).reshape(folds, 2, size, -1)
        total = by_fold.sum(axis=0)
        gains[:, i] = gain_of(np.concatenate([total - by_fold, total[np.newaxis]]), HELD)
    order = np.argsort(-gains, axis=1, kind="stable")
    return [[plans[i] for i in some if row[i] > MUCH] for row, some in zip(gains, order.tolist(), strict=True)]


class _Search:
    """Residuals and curvatures (n, 2 K) of rows in halves and folds, and their columns' cells by GRIDS."""

    def __init__(
        self, bases: Sequence[Basis], parsed: Mapping[str, Any], numbers: Array, half: NDArray[np.bool_],
        fold: NDArray[np.int64], threads: int,
    ) -> None:  # fmt: skip
        self.numbers, self.threads, self.folds = np.ascontiguousarray(numbers), threads, int(fold.max()) + 1
        self.group = (2 * fold + half).astype(np.uint8)
        self.codes = [np.stack([b.cells(parsed[b.name], parts) for b in bases]).astype(np.uint8) for parts, _ in GRIDS]

    def gains_alone(self) -> Array:
        """As `gains`, of each column by itself, (folds + 1, columns)."""
        return self.gains(np.repeat(np.arange(len(self.codes[0]), dtype=np.int32)[:, np.newaxis], 2, axis=1))

    def gains(self, pairs: NDArray[np.int32]) -> Array:
        """What each pair gains on its better grid, in nats: without each fold, and of all rows, (folds + 1, pairs)."""
        out = np.full((self.folds + 1, len(pairs)), -np.inf)
        for (parts, held), cells in zip(GRIDS, self.codes, strict=True):
            width = self.numbers.shape[1]
            size = 2 * self.folds * (parts + 1) ** 2 * width
            step = max(1, BLOCK // size)
            for at in range(0, len(pairs), step):
                some = pairs[at : at + step]
                sums = np.empty((len(some), size))
                _core.pair_sums(cells, parts + 1, self.group, 2 * self.folds, self.numbers, some, sums, self.threads)
                by_fold = sums.reshape(len(some), self.folds, 2, -1, width)
                total = by_fold.sum(axis=1)
                for f in range(self.folds + 1):
                    left = total if f == self.folds else total - by_fold[:, f]
                    out[f, at : at + step] = np.maximum(out[f, at : at + step], gain_of(left, held))
        return out


def gain_of(sums: Array, held: float) -> Array:
    """What steps for the cells, learnt on each half, gain on the other, in nats: sums (pairs, 2, cells, 2 K) of the
    residuals and of the curvatures."""
    r, h = np.split(sums, 2, axis=-1)
    step = (r / (held + h))[:, ::-1]
    return np.asarray(np.sum(step * (r - 0.5 * step * h), axis=(1, 2, 3)))
