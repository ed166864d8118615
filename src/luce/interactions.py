"""Which pairs of columns act together: found on what held-out probabilities leave unexplained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.curves import Basis
from luce.features import Array

GRIDS = ((3, 2.0), (8, 4.0))  # parts of each column, and by how many units of curvature a cell is held back
MOST_COLUMNS = 64  # of more than these only those that tell most by themselves are paired


def strongest_pairs(
    bases: Sequence[Basis], parsed: Mapping[str, Any], residual: Array, curvature: Array, half: NDArray[np.bool_],
    count: int,
) -> list[tuple[str, str]]:  # fmt: skip
    """The pairs of columns that explain most of the residuals, at most `count`, the strongest first.

    residual: (n, K), [label is k] - p_k of rows held out; curvature: (n, K), p_k (1 - p_k). Each pair cuts the rows
    into the cells of a grid. A Newton step for each cell and class, w = sum r / (lambda + sum h), is worked out on one
    half of the rows and scored on the other, sum w r - w^2 h / 2 in nats, and the other way round: a pair that explains
    nothing gains nothing. Only pairs that gain are named.
    Source: Lou et al., Accurate intelligible models with pairwise interactions, KDD 2013 (the search on a grid).
    """
    score = _Score(residual, curvature, half)
    if len(bases) > MOST_COLUMNS:
        alone = [max(score.gain(b.cells(parsed[b.name], n), n + 1, held) for n, held in GRIDS) for b in bases]
        kept = sorted(np.argsort(-np.array(alone), kind="stable")[:MOST_COLUMNS].tolist())
        bases = [bases[i] for i in kept]
    gains = np.full((len(bases), len(bases)), -np.inf)
    for parts, held in GRIDS:
        cells = [b.cells(parsed[b.name], parts) for b in bases]
        for i in range(len(bases)):
            for j in range(i):
                gain = score.gain(cells[i] * (parts + 1) + cells[j], (parts + 1) ** 2, held)
                gains[j, i] = max(gains[j, i], gain)
    order = np.argsort(-gains, axis=None, kind="stable")[:count]
    first, second = np.unravel_index(order, gains.shape)
    found = zip(first.tolist(), second.tolist(), strict=True)
    return [(bases[i].name, bases[j].name) for i, j in found if gains[i, j] > 0]


class _Score:
    """The residuals and curvatures of both halves, as one list of numbers each."""

    def __init__(self, residual: Array, curvature: Array, half: NDArray[np.bool_]) -> None:
        self.classes = residual.shape[1]
        self.half = half.astype(np.int64)
        self.residual, self.curvature = residual.ravel(), curvature.ravel()

    def gain(self, cells: NDArray[np.int64], size: int, held: float) -> float:
        """What steps for the cells, learnt on each half, gain on the other, in nats."""
        place = ((self.half * size + cells) * self.classes)[:, np.newaxis] + np.arange(self.classes)
        shape = (2, size * self.classes)
        r = np.bincount(place.ravel(), self.residual, 2 * shape[1]).reshape(shape)
        h = np.bincount(place.ravel(), self.curvature, 2 * shape[1]).reshape(shape)
        step = (r / (held + h))[::-1]
        return float(np.sum(step * r - 0.5 * step * step * h))
