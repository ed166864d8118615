"""The strength of the L2 penalty: a path from strong to weak, cross-validated log loss, the best or the simplest.

Each fold is fitted on all rows with weight 0 for its own, so no row is copied and the logits of the held-out rows are
there when the fit is; from one strength to the next the fits start where the last ones ended. Equal rows share a fold:
held-out rows are rows that the fit never saw, and a row of weight 2 is as good as the row given twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.features import Array, Features
from luce.objective import Objective
from luce.solver import Solution, Start, minimise
from luce.splits import kfold_of_groups

FOLDS = 5
FOLD_TOLERANCE = 1e-3  # relative gap of the fits in the folds: far below the noise of a held-out log loss
STEP = 10.0**0.5  # from one strength to the next
MOST_STRENGTHS = 40
NO_LOSS = 1e-3  # nats: below it there is nothing left to find
RULES = ("auto", "one-standard-error")


@dataclass(frozen=True)
class Path:
    """The strengths that were tried and how they did on rows held out.

    strengths: l2 from strong to weak; scores: mean log loss of the held-out rows, in nats; errors: standard error of
    each score; difference_errors: that of its difference from the best, row by row; chosen: the index of the strength
    taken: the best score, or by the one-standard-error rule the strongest penalty whose score exceeds the best by at
    most one standard error of the difference. held_out: the logits of every row from the fit that did not see it, at
    the chosen strength, (rows, outputs); left_out: how many rows were not scored, as their class had no weight outside
    their fold. Standard errors count equal rows as one.
    """

    strengths: Array
    scores: Array
    errors: Array
    difference_errors: Array
    chosen: int
    held_out: Array
    left_out: int = 0

    @property
    def l2(self) -> float:
        return float(self.strengths[self.chosen])


@dataclass(frozen=True)
class Problem:
    """What is fitted, but for the strengths: features, class codes, number of classes, weights of mean 1, settings."""

    features: Features
    codes: NDArray[np.int32]
    classes: int
    weights: Array | None
    l1: float = 0.0
    intercept: bool = True
    threads: int = 1

    @property
    def outputs(self) -> int:
        return 1 if self.classes == 2 else self.classes

    def objective(self, l2: float, prior: tuple[Array, Array] | None = None) -> Objective:
        """What is minimised at this strength."""
        total = float(self.features.rows if self.weights is None else self.weights.sum())
        return Objective(
            self.features, self.codes, self.classes, l2 * total, self.weights, self.threads,
            l1=self.l1 * total, intercept=self.intercept, prior=prior,
        )  # fmt: skip

    def solve(self, l2: float, tolerance: float, **how: Any) -> Solution:
        return minimise(self.objective(l2), tolerance, **how)

    def present(self) -> tuple[Problem, NDArray[np.int64]]:
        """The same without the classes that have no weight, and which are left."""
        left = np.flatnonzero(np.bincount(self.codes, weights=self.weights, minlength=self.classes) > 0)
        if len(left) == self.classes:
            return self, left
        place = np.zeros(self.classes, dtype=np.int32)
        place[left] = np.arange(len(left))
        codes = place[self.codes]  # rows of the classes that went have no weight
        return replace(self, codes=codes, classes=len(left)), left


ABSENT = -21.0  # the logit of a class that no row with weight belongs to, against a mean of 0


def with_absent(outputs: Array, classes: int, left: NDArray[np.int64], absent: Array | float) -> Array:
    """Numbers of the classes that are left, (n, outputs), as those of all, (n, classes); absent: what the others get.

    For logits that is ABSENT; for a point (columns + 1, outputs) 0, and ABSENT in its last row, the intercepts.
    """
    if len(left) == classes:
        return outputs
    out = np.empty((len(outputs), classes))
    out[:] = absent
    out[:, left] = np.concatenate([-0.5 * outputs, 0.5 * outputs], axis=1) if len(left) == 2 else outputs
    return out


class _Search:
    """The folds, where their last fits ended, and the losses at one strength after another."""

    def __init__(self, problem: Problem, seed: int, time_limit: float | None = None) -> None:
        self.problem = p = problem
        self.end = None if time_limit is None else time.monotonic() + time_limit
        self.weights = np.ones(p.features.rows) if p.weights is None else p.weights
        keys = p.features.hashes(seed, p.threads)
        counted = self.weights > 0
        fold_of_row = np.full(p.features.rows, -1)
        fold_of_row[counted] = kfold_of_groups(p.codes[counted], keys[counted], FOLDS)
        self.folds = [rows for f in range(FOLDS) if len(rows := np.flatnonzero(fold_of_row == f))]
        self.starts: list[Start | None] = [None] * len(self.folds)
        self.whole = [True] * len(self.folds)  # whether a fold's fit has rows of all classes
        self.scored = np.zeros(p.features.rows, dtype=np.bool_)
        for f, rows in enumerate(self.folds):
            seen = np.bincount(p.codes, weights=self._without(rows), minlength=p.classes) > 0
            self.scored[rows] = seen[p.codes[rows]] & (seen.sum() > 1)
            self.whole[f] = bool(seen.all())
        _, self.group = np.unique(keys ^ p.codes.astype(np.uint64), return_inverse=True)

    def _without(self, rows: NDArray[np.int64]) -> Array:
        rest = self.weights.copy()
        rest[rows] = 0.0
        return rest

    def start(self) -> Start | None:
        """Where a fit of all rows may start at the strength that was last tried."""
        return next((start for start, whole in zip(self.starts, self.whole, strict=True) if whole), None)

    def left(self) -> float | None:
        """The seconds that are left, if there is a limit."""
        return None if self.end is None else max(self.end - time.monotonic(), 1e-9)

    def losses_at(self, l2: float) -> tuple[Array, Array] | None:
        """The log loss and the logits of every row by the fold that holds it out, NaN where it is not scored; None if
        time ran out, or the penalty is so weak that a fit finds no end."""
        p = self.problem
        losses, logits = np.full(p.features.rows, np.nan), np.zeros((p.features.rows, p.outputs))
        for f, rows in enumerate(self.folds):
            if not self.scored[rows].any():
                continue
            part, left = replace(p, weights=self._without(rows)).present()
            solution = part.solve(l2, FOLD_TOLERANCE, start=self.starts[f], time_limit=self.left())
            if solution.certificate.stopped == "interrupted":
                raise KeyboardInterrupt
            if not solution.certificate.converged:
                return None
            self.starts[f] = solution.resume
            z = with_absent(np.ascontiguousarray(solution.logits[:, rows].T), p.classes, left, ABSENT)
            logits[rows] = z
            losses[rows] = row_losses(z, p.codes[rows])
        losses[~self.scored] = np.nan
        return losses, logits

    def mean(self, losses: Array) -> float:
        has = self.scored
        return float(np.sum(losses[has] * self.weights[has]) / np.sum(self.weights[has]))

    def error(self, losses: Array) -> float:
        """The standard error of the weighted mean, equal rows counted as one."""
        has = self.scored
        off = self.weights[has] * (losses[has] - self.mean(losses))
        together = np.bincount(self.group[has], weights=off)
        return float(np.sqrt(np.sum(together**2)) / np.sum(self.weights[has]))


def row_losses(logits: Array, codes: NDArray[np.int32]) -> Array:
    """The cross-entropy of each row, for logits (n, outputs), one output for two classes."""
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    total = np.empty(len(logits))
    _core.logsumexp(logits, 1, total, 1)
    return np.asarray(total - logits[np.arange(len(logits)), codes])


def _scale(problem: Problem) -> float:
    """The curvature of the mean loss along its steepest direction at W = 0: a penalty as strong halves a weight."""
    objective = replace(problem, l1=0.0).objective(0.0)
    point = objective.start()
    logits = objective.logits(point)
    _, gradient = objective.gradient_at(point, logits)
    gradient[-1] = 0.0
    square = float(np.sum(gradient**2))
    curvature = float(np.sum(gradient * objective.hessian_product(logits, gradient)))
    return curvature / square / objective.total if square > 0 and curvature > 0 else 1.0


def _least_spread(problem: Problem) -> float:
    """The least spread of a dense column; infinite without any, as sparse columns are of one scale."""
    centre, spread, _ = problem.features.energy(problem.threads)
    spread = spread[: len(centre)]
    return float(spread[spread > 1e-9 * np.abs(centre)].min(initial=np.inf))


def choose_l2(
    problem: Problem, rule: str = "auto", seed: int = 0, time_limit: float | None = None
) -> tuple[Path, Start | None] | None:
    """The strength with the least cross-validated log loss, on a grid of factors of sqrt(10).

    The grid begins where the penalty outweighs the data along their strongest direction and goes on to weaker ones
    until the loss has risen for good (twice in a row by more than its standard error, or four times), until there is
    next to none left, or until it has been level twice in a row, within a quarter of its standard error, at a strength
    that holds back no column, however small its numbers. If the first is the best, stronger ones are tried. Also gives
    where the final fit may start. None if no class has different rows in two folds, so that nothing can be held out, or
    if time ran out before one strength was scored.
    """
    search = _Search(problem, seed, time_limit)
    if not search.scored.any():
        return None
    first, floor = _scale(problem) * STEP, 0.01 * _least_spread(problem) ** 2
    tried: dict[float, Array] = {}
    best, kept, start = first, np.empty(0), None

    def go(strength: float, factor: float, most: int) -> None:
        nonlocal best, kept, start
        risen, level = 0, 0
        for _ in range(most):
            found = search.losses_at(strength)
            if found is None:
                return
            losses, logits = found
            tried[strength] = losses
            beyond = losses - tried[best]
            worse, noise = search.mean(beyond), 0.25 * search.error(losses)
            level = level + 1 if abs(worse) <= noise and strength != first else 0
            risen = risen + 1 if worse > noise else 0
            if strength == first or worse < 0:
                best, kept, start = strength, logits, search.start()
            if risen >= 4 or (risen >= 2 and worse > search.error(beyond)):
                return
            if search.mean(losses) < NO_LOSS or (level >= 2 and (factor > 1 or strength <= floor)):
                return
            strength *= factor if level < 2 else factor * factor

    go(first, 1 / STEP, MOST_STRENGTHS)
    if not tried:
        return None
    if best == first:
        search.starts = [None] * len(search.folds)
        go(first * STEP, STEP, MOST_STRENGTHS // 2)
    return _path(search, tried, best, kept, rule), start


def _path(search: _Search, tried: dict[float, Array], best: float, kept: Array, rule: str) -> Path:
    strengths = np.array(sorted(tried, reverse=True))
    losses = [tried[s] for s in strengths]
    scores = np.array([search.mean(row) for row in losses])
    errors = np.array([search.error(row) for row in losses])
    beyond = np.array([search.error(row - tried[best]) for row in losses])
    chosen = int(np.flatnonzero(strengths == best)[0])
    if rule == "one-standard-error":
        simplest = int(np.argmax(scores <= scores[chosen] + beyond))
        if simplest != chosen:
            search.end = None
            again = search.losses_at(float(strengths[simplest]))
            chosen, kept = simplest, kept if again is None else again[1]
    left_out = int(np.sum(~search.scored & (search.weights > 0)))
    return Path(strengths, scores, errors, beyond, chosen, kept, left_out)
