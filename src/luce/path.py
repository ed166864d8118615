"""Races of strengths of the L2 penalty, scored by the log loss of rows held out.

Each fold is fitted on all rows with weight 0 for its own, so no row is copied and the logits of the held-out rows are
there when the fit is. A fit starts at another to the same rows, or to fewer, so that nothing of the held-out rows is in
it. Equal rows share a fold: held-out rows are rows that the fit never saw, and a row of weight 2 is as good as the row
given twice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.features import Array, Features
from luce.functional import softmax
from luce.metric import PARTS, Metric
from luce.objective import MOST_LOGITS, Objective, logits_of_rows
from luce.run import now, piece
from luce.solver import Ended, Solution, approach, ended, minimise
from luce.splits import dealt_as_copies, kfold_of_groups
from luce.steps import Method, RowPoint, Start

FOLDS = 5
FOLD_SHARE = 5e-4  # how near the fits in the folds come (see approach): far below the noise of a held-out loss
MUCH_WORK = 1e7  # multiplications in a pass; with fewer they come nearer, as losses of few rows hang on single logits
COMMON_SHARE = 1e-3  # of the fits that some of them start at
STEP = 10.0**0.5  # from one strength to the next
LONG = 1e7  # multiplications in a pass, of a race whose fits a run keeps one by one
BEGIN = 6  # the first strength: a thousandth of the data's curvature, in factors of STEP
MOST_STRENGTHS = 20  # each way
CLEAR = 3.0  # standard errors of a difference that is no chance
LITTLE = 1e-3  # of the loss, or of 0.05 nats: less does not count, nor does a quarter of the loss's standard error
TOO_SHORT = 0.08  # of the length that logits should have: where more is lacking, a weaker penalty may be better, which
TOO_LONG = 0.03  # takes longer to fit; where they have more to spare, a stronger one
WEAKER = 3e-3  # of the loss that a weaker penalty must save where it takes longer to fit
NO_LOSS = 1e-3  # nats: below it there is nothing left to find
# What is believed of the penalty on the sum of losses, where columns are of a known scale, before any row is held out:
# log10 of it has Student's t. Its middle is that of weights which are normal with a deviation of 3/4, and of rows held
# out in turn each counts for half, as two that are alike by chance tell one another. (Measured: docs/solver.md.)
BELIEVED, WIDTH, FREEDOM, COUNTS_FOR = 0.25, 0.85, 5, 0.5
T = TypeVar("T")
FeaturesOf: TypeAlias = Callable[[NDArray[np.int64]], Features]
RULES = ("auto", "one-standard-error")


@dataclass(frozen=True, kw_only=True)
class HeldOutLogits:
    """The logits of every row from a fit that did not see it, (rows, outputs), and the rows that count, (rows,).

    rows: which rows all this is of, where they are a sample; None: all.
    """

    held_out: Array
    scored: NDArray[np.bool_]
    rows: NDArray[np.int64] | None = None


@dataclass(frozen=True, kw_only=True)
class Path(HeldOutLogits):
    """The strengths that were tried and how they did on rows held out.

    strengths: l2 from strong to weak; scores: mean log loss of the held-out rows, in nats; errors: standard error of
    each score; difference_errors: that of its difference from the best, row by row; folds: how many of the folds were
    scored: fewer where those made clear that it is not the best, and then the score is that of the best plus the
    difference on the rows of these folds; chosen: the index of the strength taken: the best score, together with what
    is believed beforehand where columns are of a known scale, or by the one-standard-error rule the strongest penalty
    whose score exceeds the best by at most one standard error of the difference. held_out: at the chosen strength;
    left_out: how many with weight were not scored, as their class had none outside their fold. Standard errors count
    equal rows as one.
    """

    strengths: Array
    scores: Array
    errors: Array
    difference_errors: Array
    folds: NDArray[np.int64]
    chosen: int
    left_out: int

    @property
    def l2(self) -> float:
        return float(self.strengths[self.chosen])


@dataclass(frozen=True)
class Problem:
    """What is fitted, but for the strengths: features, class codes, number of classes, weights of mean 1, settings.

    keys: (rows,) rows of one class and one key share a fold; None: hashes of the rows' numbers. strata: (rows,) what
    counts as the class there, where rows of several classes belong together. known_scale: whether columns are such
    that weights near 1 are to be expected, as an encoder makes them.
    """

    features: Features
    codes: NDArray[np.int32]
    classes: int
    weights: Array | None
    l1: float = 0.0
    intercept: bool = True
    threads: int = 1
    keys: NDArray[np.uint64] | None = None
    strata: NDArray[np.int64] | None = None
    known_scale: bool = False

    @property
    def outputs(self) -> int:
        return 1 if self.classes == 2 else self.classes

    @property
    def is_large(self) -> bool:
        """Whether the rows are not at hand, or their logits are more than are kept."""
        return not self.features.at_hand or self.features.rows * self.outputs > MOST_LOGITS

    @property
    def tells_by_rows(self) -> bool:
        """Whether weights are told by a number for each row and class."""
        return self.features.tells_by_rows and not self.is_large

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


@dataclass(frozen=True)
class Difference:
    """How much worse one strength did than the best so far, in nats, with its standard error; little: what is too
    little to count."""

    worse: float
    error: float
    little: float

    @property
    def level(self) -> bool:
        return abs(self.worse) <= self.little

    @property
    def clear(self) -> bool:
        """Beyond chance: that one of the two is better, or that it makes no difference."""
        chance = CLEAR * self.error
        return abs(self.worse) > max(chance, self.little) or abs(self.worse) + chance < self.little


@dataclass
class Scored:
    """A fit of a race: what stopped it early; what it says of the rows held out, (rows,) and (rows, outputs), and where
    it ended, with the parts of its metric and its facts: as long as the race, or one that goes on from its checkpoint,
    needs them. stretching: what `stretched` sums up to, where the race goes by it."""

    stopped: str
    losses: Array | None
    logits: Array | None
    start: Start | None
    curvature: tuple[Array, Array, Array, tuple[int, int, int, int]] | None
    stretching: tuple[float, float] | None = None

    @staticmethod
    def of(last: Ended, losses: Array | None, logits: Array | None) -> Scored:
        parts = None if last.metric is None or last.metric.parts is None else (*last.metric.parts, last.metric.facts())
        return Scored("", losses, logits, last.start, parts)

    def ended(self, objective: Objective) -> Ended | None:
        """Where it ended, for a fit of this objective or a near one to go on from."""
        if self.start is None or self.curvature is None:
            return None if self.start is None else Ended(self.start)
        *parts, facts = self.curvature
        metric = Metric(objective)
        metric.restore(dict(zip((*PARTS, "pairs"), (*parts, np.empty(0)), strict=True)), facts)
        return Ended(self.start, metric)

    def no_end(self) -> None:
        self.start = self.curvature = None


@dataclass
class Fold:
    """Rows held out, and which of them are scored; the problem of the rest, the classes left in it, and the last fit
    to them."""

    rows: NDArray[np.int64]
    scored: NDArray[np.bool_]
    rest: Problem
    left: NDArray[np.int64]
    last: Ended | None = None
    newest: Scored | None = None


def folds_of(problem: Problem, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The fold of each row, -1 for rows of weight 0."""
    counted = slice(None) if problem.weights is None else problem.weights > 0
    strata = problem.codes if problem.strata is None else problem.strata
    out = np.full(problem.features.rows, -1)
    out[counted] = kfold_of_groups(strata[counted], keys[counted], FOLDS)
    return out


class Race:
    """The folds, where their last fits ended, and the losses at the strengths tried: places on a grid, from strong to
    weak by factors of STEP.

    A strength is scored fold by fold, and no further once it is clear whether it is better than the best so far.
    features_without: what the features are for a fold whose rows are these, where they too are chosen by labels. first:
    the strength at place 0. fold_of_row: as `folds_of`; -1 for rows that are never held out.
    """

    limit: int  # how many folds are scored

    def __init__(
        self, problem: Problem, seed: int, time_limit: float | None = None, features_without: FeaturesOf | None = None,
        first: float | None = None, fold_of_row: NDArray[np.int64] | None = None,
    ) -> None:  # fmt: skip
        self.problem = p = problem
        self.first = steepness(problem) if first is None else first
        self.end = None if time_limit is None else time.monotonic() + time_limit
        self.weights = np.ones(p.features.rows) if p.weights is None else p.weights
        keys = p.keys
        if keys is None:
            labels, keys = dealt_as_copies(p.codes, p.features.hashes(seed, p.threads), p.features.different())
            p = replace(p, strata=labels)
        if fold_of_row is None:
            fold_of_row = folds_of(p, keys)
        self.folds = []
        for f in range(int(fold_of_row.max()) + 1):
            rows = np.flatnonzero(fold_of_row == f)
            own = p.features if features_without is None else features_without(rows)
            rest, left = replace(p, weights=self._without(rows), features=own).present()
            scored = np.isin(p.codes[rows], left) & (len(left) > 1)
            if scored.any():
                self.folds.append(Fold(rows, scored, rest, left))
        self.limit = len(self.folds)
        strata = p.codes if p.strata is None else p.strata
        _, self.group = np.unique(keys ^ strata.astype(np.uint64), return_inverse=True)
        self.losses: dict[int, Array] = {}  # of every row at each place, NaN where it is not scored
        self.logits: dict[int, Array] = {}  # at the places that still count
        self.done: dict[int, int] = {}  # how many folds are scored
        self.stretching: dict[int, Array] = {}  # the sums of `stretched` over their rows
        self.best = 0
        self.is_long = now() is not None and p.features.stored * p.outputs >= LONG
        self.kept: dict[int, list[Scored]] = {}  # what a run has of the fits, by place
        self.alike = features_without is None
        self.roughs: list[Scored] = []
        self.common: dict[tuple[int, int], tuple[Ended | None, NDArray[np.int64]]] = {}

    def _without(self, rows: NDArray[np.int64]) -> Array:
        rest = self.weights.copy()
        rest[rows] = 0.0
        return rest

    def strength(self, place: int) -> float:
        return self.first * STEP**-place

    def start(self) -> Start | None:
        """Where a fit of all rows may start: the last one to rows of all classes; of fits that are told by rows, what
        they say of the rows that they have seen."""
        known = [fold for fold in self.folds if fold.last is not None and len(fold.left) == self.problem.classes]
        if self.problem.tells_by_rows and len(known) > 1:
            return _of_all_rows(known)
        if not self.alike:
            return None
        whole = (fold.last for fold in self.folds if len(fold.left) == self.problem.classes)
        return next((last.start for last in whole if last is not None), None)

    @property
    def _share(self) -> float:
        """How near the fits in the folds come."""
        p = self.problem
        return FOLD_SHARE * min(1.0, p.features.stored * p.outputs / MUCH_WORK)

    def score(self, place: int) -> bool:
        """One fold more. False if time ran out, or the penalty is so weak that the fit finds no end."""
        f = self.done.get(place, 0)
        fold = self.folds[f]
        self._open(place)
        near, last = fold.last, None
        if near is None and fold.newest is None:
            near = self._common(f, place)

        def scored() -> Scored:
            nonlocal last
            method, stopped = self._fit(fold.rest, place, self._share, near)
            last = ended(method)
            return self._of_fold(fold, method, stopped)

        found = self._piece("fold", scored)
        return not found.stopped and self._enter(place, f, found, last)

    def score_together(self, place: int) -> bool:
        """The folds that are still open, one for each thread at a time; for fits of one thread."""
        from concurrent.futures import ThreadPoolExecutor

        p, begun = self.problem, self.done.get(place, 0)
        self._open(place)

        lasts: list[Ended | None] = [None] * len(self.folds)

        def fit(f: int) -> Scored:
            fold = self.folds[f]
            method, stopped = self._fit(replace(fold.rest, threads=1), place, self._share, fold.last)
            lasts[f] = ended(method)
            found = self._of_fold(fold, method, stopped)
            if found.logits is not None:
                found.stretching = stretched(found.logits[fold.scored], p.codes[fold.rows][fold.scored])
            return found

        def scored() -> list[Scored]:
            with ThreadPoolExecutor(max(1, min(p.threads, self.limit - begun))) as pool:
                return list(pool.map(fit, range(begun, self.limit)))

        found = self._piece("folds", scored)
        if any(each.stopped for each in found):
            return False
        return all(self._enter(place, f, each, lasts[f]) for f, each in enumerate(found, begun))

    def _piece(self, name: str, work: Callable[[], T]) -> T:
        return piece(name, work, Scored, RowPoint) if self.is_long else work()

    def _open(self, place: int) -> None:
        if place not in self.losses:
            p = self.problem
            self.losses[place] = np.full(p.features.rows, np.nan)
            self.logits[place] = np.zeros((p.features.rows, p.outputs))

    def _of_fold(self, fold: Fold, method: Method, stopped: str) -> Scored:
        """What a fit without a fold says of its rows."""
        p, rows = self.problem, fold.rows
        if stopped:
            return Scored(stopped, None, None, None, None)
        z = with_absent(np.ascontiguousarray(logits_of_rows(method.logits, rows).T), p.classes, fold.left, ABSENT)
        losses = np.where(fold.scored, row_losses(z, p.codes[rows]), np.nan)
        return Scored.of(ended(method), losses, z)

    def _enter(self, place: int, f: int, found: Scored, last: Ended | None) -> bool:
        """last: where the fit ended, if it was made just now."""
        fold = self.folds[f]
        if found.logits is not None:  # or they have been let go of, as they were in the run that goes on
            self.logits[place][fold.rows] = found.logits
        assert found.losses is not None
        self.losses[place][fold.rows] = found.losses
        self.done[place] = f + 1
        if found.stretching is not None:
            self.stretching[place] = self.stretching.get(place, 0.0) + np.array(found.stretching)
        fold.last = last or found.ended(fold.rest.objective(self.strength(place)))
        if self.is_long:  # a run has it as long as it is needed
            if fold.newest is not None:
                fold.newest.no_end()
            fold.newest = found
            self.kept.setdefault(place, []).append(found)
        return True

    def keep_best(self) -> None:
        """Lets go of the logits at other places."""
        self.logits = {self.best: self.logits[self.best]}
        for place in [place for place in self.kept if place != self.best]:
            self._let_go(place)

    def _let_go(self, place: int) -> None:
        for each in self.kept.pop(place, ()):
            each.logits = None

    def _fit(self, rest: Problem, place: int, share: float, near: Ended | None) -> tuple[Method, str]:
        left = None if self.end is None else max(self.end - time.monotonic(), 1e-9)
        method, stopped = approach(rest.objective(self.strength(place)), share, near, left)
        if stopped == "interrupted":
            raise KeyboardInterrupt
        return method, stopped

    def _common(self, f: int, place: int) -> Ended | None:
        """A rough fit to two folds, from which the folds start that hold none of their rows out; None if there is none
        with the classes of the fold."""
        pair = next((pair for pair in ((0, 1), (2, 3)) if f not in pair and pair[1] < len(self.folds)), None)
        if pair is None or not self.alike:
            return None
        if pair not in self.common:
            others = np.concatenate([fold.rows for i, fold in enumerate(self.folds) if i not in pair])
            rest, left = replace(self.problem, weights=self._without(others)).present()
            self.common[pair] = (self._rough(rest, place) if len(left) > 1 else None), left
        last, left = self.common[pair]
        return last if np.array_equal(left, self.folds[f].left) else None

    def _rough(self, rest: Problem, place: int) -> Ended | None:
        """Where a rough fit ends; None if it finds no end."""
        last = None

        def fitted() -> Scored:
            nonlocal last
            method, stopped = self._fit(rest, place, COMMON_SHARE, None)
            last = ended(method)
            return Scored(stopped, None, None, None, None) if stopped else Scored.of(last, None, None)

        found = self._piece("rough", fitted)
        self.roughs.append(found)
        return None if found.stopped else last or found.ended(rest.objective(self.strength(place)))

    def let_go(self) -> None:
        """No fit will go on from those of this race."""
        for each in (*self.roughs, *(fold.newest for fold in self.folds)):
            if each is not None:
                each.no_end()
        self.roughs = []

    def score_all(self, place: int) -> bool:
        """The folds that are still open; all of them, where the logits are gone."""
        if place not in self.logits:
            self.forget(place)
        while self.done.get(place, 0) < self.limit:
            if not self.score(place):
                return False
        return True

    def compare(self, place: int) -> Difference | None:
        """With the best so far, on folds that both have been scored on; None if this one cannot be scored. If it is
        better it is the best from now on."""
        if place in self.losses and place not in self.logits and not self.decided(place):
            self.forget(place)
        while not self.decided(place):
            scored = self.score(place)
            while scored and self.done[self.best] < self.done[place]:
                scored = self.score(self.best)
            if not scored:
                self.forget(place)
                return None
        found = self.difference(place)
        if found.worse < 0 and (place in self.logits or self.score_all(place)):
            found = self.difference(place)
            if found.worse < 0:
                self.best = place
        self.keep_best()
        return found

    def decided(self, place: int) -> bool:
        """Whether it needs no further fold to be told from the best, or has none left."""
        done = self.done.get(place, 0)
        return done > 0 and (done == self.limit or self.difference(place).clear)

    def unlikely(self, place: int) -> float:
        """How much speaks against a strength before any row is held out, in nats a row."""
        p = self.problem
        if not p.known_scale:
            return 0.0
        off = (math.log10(self.strength(place) * self.weights.sum()) - BELIEVED) / WIDTH
        against = 0.5 * (FREEDOM + 1) * math.log1p(off**2 / FREEDOM)
        return against / (COUNTS_FOR * (1 + int(self.group.max())))

    def difference(self, place: int) -> Difference:
        """From the best so far, on the folds that both have been scored on, with what speaks against both."""
        losses, beyond = self.losses[place], self.losses[place] - self.losses[self.best]
        noise = 0.25 * self.error(losses) * (self.done[place] / self.limit) ** 0.5  # with all folds scored
        little = max(noise, LITTLE * max(self.mean(losses), 0.05))
        worse = self.mean(beyond) + self.unlikely(place) - self.unlikely(self.best)
        return Difference(worse, self.error(beyond), little)

    def may_be_better(self, place: int) -> bool:
        """Whether a neighbour of the best is worth a fit: a weaker penalty where the logits of the rows held out are
        TOO_SHORT, a stronger one where they are TOO_LONG, or if more is believed of it.

        Where weights are alike in scale, as those of n-grams and of filters are, the penalty that fits them is the one
        whose probabilities are calibrated.
        """
        slope, bend = self.stretching[self.best]
        lacks = -slope / max(bend, 1e-300)
        told = self.unlikely(self.best) - self.unlikely(place)
        little = LITTLE * max(self.mean(self.losses[self.best]), 0.05)
        return (lacks > TOO_SHORT if place > self.best else -lacks > TOO_LONG) or told > little

    def nothing_left(self) -> bool:
        """Whether the best loses so little that weaker penalties are not tried: n different rows say nothing of a loss
        below 1/n."""
        return self.mean(self.losses[self.best]) < max(NO_LOSS, 1.0 / (1 + int(self.group.max())))

    def settle(self) -> None:
        """Goes back to places that were compared with an earlier best, if they may be better than this one."""

        def open_to_doubt(place: int) -> bool:
            found = self.difference(place)
            return found.worse < 0 or not (found.clear or self.done[place] == self.limit)

        for _ in range(2 * len(self.losses)):  # scored anew a strength may change a little
            doubtful = next(filter(open_to_doubt, self.losses), None)
            if doubtful is None:
                break
            self.compare(doubtful)
        self.score_all(self.best)

    def may_gain(self) -> bool:
        """Whether what is nearest on both sides of the best leaves room for one that counts as better: a parabola
        through the three falls below the best by more than a quarter of what counts. Where one side was not tried, or
        the two are not equally far, it is enough that one of them is not level with the best."""
        best, tried = self.best, self.losses
        nearest = [max((p for p in tried if p < best), default=None), min((p for p in tried if p > best), default=None)]
        sides = [(abs(place - best), self.difference(place)) for place in nearest if place is not None]
        if len({by for by, _ in sides}) == 2 or len(sides) < 2:
            return not all(side.level for _, side in sides)
        (_, stronger), (_, weaker) = sides
        bend = max(stronger.worse + weaker.worse, 1e-300)
        return (stronger.worse - weaker.worse) ** 2 / (8 * bend) > 0.25 * min(stronger.little, weaker.little)

    def forget(self, place: int) -> None:
        for of in (self.losses, self.logits, self.done, self.stretching):
            of.pop(place, None)
        self._let_go(place)

    def mean(self, losses: Array) -> float:
        """The weighted mean over the rows that are scored."""
        has = np.isfinite(losses)
        return float(np.sum(losses[has] * self.weights[has]) / np.sum(self.weights[has]))

    def error(self, losses: Array) -> float:
        """The standard error of the weighted mean, equal rows counted as one."""
        has = np.isfinite(losses)
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


def stretched(logits: Array, codes: NDArray[np.int32]) -> tuple[float, float]:
    """The first and second derivative of the sum of losses by a factor on all logits (n, outputs), at 1."""
    z = np.concatenate([np.zeros_like(logits), logits], axis=1) if logits.shape[1] == 1 else logits
    p = softmax(z)
    mean = np.einsum("ij,ij->i", p, z)
    return float(np.sum(mean - z[np.arange(len(z)), codes])), float(np.sum(p * (z - mean[:, np.newaxis]) ** 2))


def stretch_of(logits: Array, codes: NDArray[np.int32]) -> float:
    """The factor, by a step of Newton's from 1, that logits (n, outputs) times it lose least by."""
    slope, bend = stretched(logits, codes)
    return 1.0 - slope / bend if bend > 0 else 1.0


def steepness(problem: Problem) -> float:
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


def choose_by_race(
    problem: Problem, rule: str, seed: int, time_limit: float | None
) -> tuple[Path, Start | None] | None:
    """The strength with the least cross-validated log loss, on a grid of factors of sqrt(10).

    The search begins at a thousandth of the data's curvature along their strongest direction. It goes in steps of 10 to
    weaker penalties until the loss has risen (twice in a row, or once by more than its standard error), until there is
    next to none left, or until it is level at a strength that holds back no column, however small its numbers. If the
    first is the best, or level with it, stronger ones are tried; then the strengths beside the best. A strength is
    given up as soon as the folds so far show it to be worse. Also gives where the final fit may start. None if no class
    has different rows in two folds, so that nothing can be held out, or if time ran out before one strength was scored.
    """
    search = Race(problem, seed, time_limit)
    if not search.folds:
        return None
    floor = 0.01 * _least_spread(problem) ** 2
    search.best = BEGIN
    if not search.score(BEGIN):
        return None

    def go(way: int) -> None:
        place, risen, level = BEGIN, 0, 0
        for _ in range(MOST_STRENGTHS):
            if way > 0 and search.nothing_left():
                return
            place += way * (2 if level == 0 else 4)
            found = search.compare(place)
            if found is None:
                return
            level = level + 1 if found.level else 0
            risen = risen + 1 if found.worse > found.little else 0
            if risen >= 2 or (risen and found.worse > found.error):
                return
            if level >= 2 if way < 0 else level and search.strength(place) <= floor:
                return

    go(1)
    if search.best == BEGIN or search.difference(BEGIN).level:
        go(-1)
    for by in (2, 1):
        if search.may_gain():
            for place in (search.best - by, search.best + by):
                if place not in search.losses and not (place > search.best and search.nothing_left()):
                    search.compare(place)
    search.settle()
    chosen = search.best
    if rule == "one-standard-error":
        chosen = _simplest(search)
    return path_of(search, chosen), search.start()


def race_from(
    problem: Problem, near: float, folds: int, features_without: FeaturesOf | None = None, seed: int = 0
) -> Race | None:
    """A race that begins at a strength that did well on other features of the same rows, or where a race usually does
    if that is weaker, and goes on to its neighbours as long as they do better; on so many of the folds, until `finish`.
    None if nothing can be held out."""
    race = Race(problem, seed, features_without=features_without)
    near = min(near, race.first * STEP**-BEGIN)  # where little was found before, near is so strong that nothing shows
    race.limit, race.first, race.best = min(folds, len(race.folds)), near, 0
    if not race.folds or not race.score(0):
        return None
    for way in (1, -1):
        place = way
        while race.best == place - way:
            found = race.compare(place)
            if found is None or found.level:
                break
            place += way
        if race.best != 0:
            break
    race.settle()
    return race


def race_side_by_side(
    problem: Problem, near: float, folds: int, fold_of_row: NDArray[np.int64], features_without: FeaturesOf
) -> Race | None:
    """A race that begins at a strength and goes on to its neighbours as long as they do better, to those alone that may
    (`may_be_better`), on so many folds, which are fitted side by side. None if nothing can be held out."""
    race = Race(problem, 0, features_without=features_without, first=near, fold_of_row=fold_of_row)
    race.limit, race.best = min(folds, len(race.folds)), 0
    if not race.folds or not race.score_together(0):
        return None
    for way in (-1, 1):
        place = way
        while race.best == place - way and abs(place) < MOST_STRENGTHS and race.may_be_better(place):
            if (way > 0 and race.nothing_left()) or not race.score_together(place):
                break
            found = race.difference(place)
            if found.worse < (-WEAKER * race.mean(race.losses[race.best]) if way > 0 else 0.0):
                race.best = place
            race.keep_best()
            if way > 0 and found.level:
                break
            place += way
        if race.best != 0:
            break
    return race


def _of_all_rows(folds: list[Fold]) -> Start | None:
    """Each row as the fits say that have seen it, in their mean."""
    points = [(fold, fold.last.start) for fold in folds if fold.last is not None]
    known = [(fold, point) for fold, point in points if isinstance(point, RowPoint)]
    if len(known) < len(folds):
        return None
    a, count = np.zeros_like(known[0][1].a), np.zeros(known[0][1].a.shape[1])
    for fold, point in known:
        seen = np.ones(len(count))
        seen[fold.rows] = 0.0
        a += point.a * point.penalty * seen
        count += seen
    bias = np.mean([point.b for _, point in known], axis=0)
    penalty = known[0][1].penalty
    return RowPoint(a / (penalty * np.maximum(count, 1.0)), bias, penalty)


def finish(race: Race) -> tuple[Path, Start | None]:
    """The best of a race on all folds, and where a fit of all rows may start."""
    race.limit = len(race.folds)

    def finished() -> tuple[Path, Start | None]:
        (race.score_together if race.problem.tells_by_rows else race.score_all)(race.best)
        return path_of(race, race.best), race.start()

    found = piece("finish", finished, Path, RowPoint) if race.is_long else finished()
    race.let_go()
    return found


def _simplest(search: Race) -> int:
    """The strongest penalty whose score exceeds the best by at most a standard error of the difference."""
    simplest, best = search.best, None
    while search.best != best:  # one that is tried on the way may be better
        simplest = best = search.best
        while (found := search.compare(simplest - 1)) is not None and found.worse <= found.error:
            simplest -= 1
        search.settle()
    search.score_all(simplest)
    return simplest


def path_of(search: Race, chosen: int) -> Path:
    """What has been tried so far."""
    places = sorted(search.losses)
    losses = [search.losses[place] for place in places]
    beyond = [row - search.losses[search.best] for row in losses]
    best = search.mean(search.losses[search.best])
    return Path(
        strengths=np.array([search.strength(place) for place in places]),
        scores=np.array([best + search.mean(row) for row in beyond]),
        errors=np.array([search.error(row) for row in losses]),
        difference_errors=np.array([search.error(row) for row in beyond]),
        folds=np.array([search.done[place] for place in places]),
        chosen=places.index(chosen),
        held_out=search.logits[chosen],
        scored=(scored := np.isfinite(search.losses[chosen])),
        left_out=int(np.sum(~scored & (search.weights > 0))),
    )
