"""Conformal sets: the classes that a row may have, with a promise how often the true one is among them, class by class.

A score tells how strange a class is for a row, given its probabilities p:

    lac  1 - p_k
    aps  the sum of all p_j that are at least p_k

Scores of the true classes of rows that the model never saw are sorted for each class; a new row's set holds class k if
its score is at most the r-th of the n_k, r = ceil((n_k + 1) coverage). Then of the rows of each class that are drawn as
those were, a share of at least `coverage` has its class in the set. With fewer than coverage / (1 - coverage) rows no
score is large enough for that promise: such a class is in every set.
Source: Vovk, Conditional validity of inductive conformal predictors, 2012 (by class); Sadinle, Lei and Wasserman, JASA
114, 2019 (lac); Romano, Sesia and Candes, NeurIPS 2020 (aps, here without its random tie).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.errors import InputError, ModelFileError
from luce.features import Array

METHODS = ("lac", "aps")
NUMBERS_AT_ONCE = 1 << 22
BALANCING = 50  # rounds at most; they come nearer by the overlap of the classes
MOST = 1_000  # scores of a class that are kept: of more, so many evenly among them, and the next larger one counts


@dataclass(frozen=True)
class Conformal:
    """The scores of held-out rows by class. counts: rows of each class, (K,); scores: for each method those that are
    kept, ascending in each class, class after class."""

    counts: NDArray[np.int64]
    scores: Mapping[str, Array]

    @staticmethod
    def of(probabilities: Array, codes: NDArray[np.integer]) -> Conformal:
        """From probabilities (n, K) of rows that the model never saw, and their class codes."""
        counts = np.bincount(codes, minlength=probabilities.shape[1]).astype(np.int64)
        scores, step = {}, max(NUMBERS_AT_ONCE // len(counts), 1)
        for method in METHODS:
            found = np.empty(len(codes))
            for i in range(0, len(codes), step):
                own = codes[i : i + step]
                found[i : i + step] = _scores(probabilities[i : i + step], method)[np.arange(len(own)), own]
            parts = [np.sort(found[codes == k])[_ranks(int(n)) - 1] for k, n in enumerate(counts)]
            scores[method] = np.concatenate(parts)
        return Conformal(counts, scores)

    def thresholds(self, coverage: float, method: str = "lac") -> Array:
        """The largest score of each class that a set holds, (K,); infinite where there are too few rows."""
        coverage = _checked(coverage, method)
        out, first = np.full(len(self.counts), np.inf), 0
        for k, n in enumerate(self.counts.tolist()):
            ranks = _ranks(n)
            place = int(np.searchsorted(ranks, math.ceil((n + 1) * coverage - 1e-9)))
            if place < len(ranks):
                out[k] = self.scores[method][first + place]
            first += len(ranks)
        return out

    def sets(self, probabilities: Array, coverage: float, method: str = "lac") -> NDArray[np.bool_]:
        """Which classes are in the set of each row, (n, K); the most probable one always is."""
        inside = _scores(probabilities, method) <= self.thresholds(coverage, method)
        inside[np.arange(len(inside)), probabilities.argmax(axis=1)] = True
        return np.asarray(inside)

    def too_few(self, coverage: float) -> NDArray[np.int64]:
        """The classes that have too few rows for this coverage."""
        return np.flatnonzero(np.isinf(self.thresholds(coverage)))


def with_means(p: Array, wanted: Array) -> Array:
    """Probabilities (n, K) of held-out rows, p_k exp(b_k) / sum_j p_j exp(b_j), with b such that their means are
    `wanted`, (K,): those of the model itself on its own rows.

    The fits of the folds saw the classes in slightly other shares. Where a class can hardly be told, its probabilities
    differ so little from row to row that this alone would move all of them to one side of a threshold.
    """
    out = p
    for _ in range(BALANCING):
        factor = wanted / np.maximum(out.mean(axis=0), 1e-300)
        out = out * factor
        out /= out.sum(axis=1, keepdims=True)
        if np.abs(factor - 1.0).max() < 1e-9:
            break
    return np.asarray(out)


def _checked(coverage: float, method: str) -> float:
    if not (isinstance(coverage, (int, float)) and not isinstance(coverage, bool) and 0 < coverage < 1):
        raise InputError(f"coverage is {coverage!r}: give a share between 0 and 1, such as 0.95")
    if method not in METHODS:
        raise InputError(f"method is {method!r}: give one of {', '.join(METHODS)}")
    return float(coverage)


def _ranks(n: int) -> NDArray[np.int64]:
    """The ranks that are kept of n scores, from 1 to n."""
    if n <= MOST:
        return np.arange(1, n + 1)
    return np.ceil(np.linspace(1, n, MOST)).astype(np.int64)


def _scores(p: Array, method: str) -> Array:
    """The score of every class for each row, (n, K)."""
    if method == "lac":
        return np.asarray(1.0 - p)
    order = np.argsort(-p, axis=1, kind="stable")
    sums = np.cumsum(np.take_along_axis(p, order, axis=1), axis=1)
    ranked = np.take_along_axis(p, order, axis=1)
    for j in range(p.shape[1] - 2, -1, -1):  # equal probabilities have equal scores
        same = ranked[:, j] == ranked[:, j + 1]
        sums[same, j] = sums[same, j + 1]
    out = np.empty_like(p)
    np.put_along_axis(out, order, sums, axis=1)
    return out


def arrays_of(conformal: Conformal) -> dict[str, Any]:
    """As a model file keeps them."""
    return {"conformal_counts": conformal.counts} | {f"conformal_{m}": conformal.scores[m] for m in METHODS}


def from_arrays(arrays: Mapping[str, Any], classes: int) -> Conformal | None:
    """What `arrays_of` gave; None where there is none. Raises ModelFileError if a part is wrong."""
    if "conformal_counts" not in arrays:
        return None
    counts = arrays["conformal_counts"]
    if counts.dtype != np.int64 or counts.shape != (classes,) or (counts < 0).any() or (counts >= 1 << 53).any():
        raise ModelFileError("its counts of held-out rows do not belong to its classes")
    ends = np.cumsum([len(_ranks(int(n))) for n in counts])
    scores = {m: arrays[f"conformal_{m}"] for m in METHODS}
    for found in scores.values():
        parts = np.split(found, ends[:-1]) if found.ndim == 1 else []
        rising = all((np.diff(part) >= 0).all() for part in parts)
        if found.dtype != np.float64 or found.shape != (ends[-1],) or not rising:
            raise ModelFileError("its scores of held-out rows are broken")
    return Conformal(counts, scores)
