"""Labels that are likely wrong: a ranking of all rows by probabilities of fits that did not see them, and how many."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luce.fitted import HeldOut
from luce.functional import softmax
from luce.intervals import PROFILE, Interval
from luce.splits import row_keys

SURE_SHARE = 0.3  # of the rows: those that the model is surest of tell how many labels are wrong
SURE_ROWS = 100  # at least so many, or half of all
FEW_SUSPECTS = 12  # worth a look where nothing can be estimated, or one row in a hundred
MOST_WRONG = 0.25  # disagreement of the surest rows above which classes overlap too much to tell
MOST_ASKED, MOST_NUMBERS = 20_000, 3_000_000  # rows, and probabilities, that tell how many labels are wrong
FACTORS = np.geomspace(0.5, 16.0, 61)  # of logits: those of rows of which some are labelled wrong are too small
LAPSES = 120  # shares of wrong labels that are tried
HALF_CHI = 1.92073  # half the 95 % point of chi-squared of one degree of freedom


@dataclass(frozen=True, eq=False)
class Ranking:
    """Every row by how much its label is in doubt; all arrays but `order` are in the order of the rows.

    order: (n,) int64, rows counted from 0, the most suspect first, rows without a score last. score: (n,) float64 in
    [0, 1], NaN without: of the two classes given and suggested, the probability that it is the given one. given: (n,)
    the code of the label; suggested: (n,) int64, the most probable class but that, -1 without a score. p_given,
    p_suggested: (n,) float64.
    """

    order: NDArray[np.int64]
    score: NDArray[np.float64]
    given: NDArray[np.int32]
    suggested: NDArray[np.int64]
    p_given: NDArray[np.float64]
    p_suggested: NDArray[np.float64]

    @property
    def doubted(self) -> NDArray[np.bool_]:
        """The rows for which another class is more probable than the given one, (n,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.score < 0.5)


@dataclass(frozen=True)
class Wrong:
    """How many labels are wrong, and that `disagree` of the `sure` rows that the model is surest of have another label.

    rows: the count with the ends of its 95 % interval; None where the classes overlap so much that not even the surest
    rows can tell. look: how many rows of the ranking are worth a look, the upper end of the interval.
    """

    sure: int
    disagree: int
    rows: Interval | None
    look: int


def rank(held: HeldOut) -> Ranking:
    """Rank the rows by the score  p(given) / (p(given) + p(suggested)), the smallest first.

    p are the out-of-fold probabilities of HeldOut, (n, K); suggested is the most probable class but the given one. Rows
    of equal score stay in their order. The score orders as the ratio of the two does.

    Source: the idea of ranking by out-of-fold probabilities is that of Northcutt, Jiang and Chuang, Confident learning,
    JAIR 70, 2021, section 3; of its scores and this one, this one found most planted errors (docs/doctor.md).
    """
    rows, scored = np.arange(len(held.codes)), held.scored
    others = held.probabilities.astype(np.float64)
    p_given = others[rows, held.codes]
    others[rows, held.codes] = -1.0
    suggested = others.argmax(axis=1)
    p_suggested = others[rows, suggested]
    score = np.full(len(rows), np.nan)
    np.divide(p_given, p_given + p_suggested, out=score, where=scored)
    order = np.argsort(score, kind="stable")  # NaN comes last
    return Ranking(order, score, held.codes, np.where(scored, suggested, -1), p_given, p_suggested)


def wrong(held: HeldOut) -> Wrong:
    """Estimate how many labels are wrong, beside those that probabilities foresee where classes overlap.

    A label is drawn by softmax(t log p), p (n, K) being the out-of-fold probabilities of HeldOut, and with
    probability e it is another class, each with the same chance; t, e = the likeliest, rows = n e with the ends of its
    profile likelihood (95 %), at most as many as have another label than the most probable class. Overlap wears off as
    a model gets surer, wrong labels do not: that tells them apart. Of many rows some, by a hash of their index, tell it
    for all.
    `sure` rows have the largest max_k p_k (30 % of the n scored rows, or 100, or half of them), ties by that hash;
    `disagree` of them have another label than the most probable class.

    Sources: Angluin and Laird, Learning from noisy examples, Machine Learning 2, 1988, for such labels; Wichmann and
    Hill, The psychometric function I, Perception and Psychophysics 63, 2001, for the fit of lapses; Venzon and
    Moolgavkar, Applied Statistics 37, 1988, for the interval.
    """
    p, codes = held.probabilities[held.scored], held.codes[held.scored]
    n, differs = len(codes), p.argmax(axis=1) != codes
    sure = min(max(math.ceil(SURE_SHARE * n), min(SURE_ROWS, n // 2), 1), n)
    disagree, doubted = int(differs[np.lexsort((row_keys(n, 0), -p.max(axis=1)))[:sure]].sum()), int(differs.sum())
    if disagree > MOST_WRONG * sure:
        return Wrong(sure, disagree, None, min(max(FEW_SUSPECTS, n // 100), doubted))
    some = np.argsort(row_keys(n, 0), kind="stable")[: min(MOST_ASKED, MOST_NUMBERS // p.shape[1])]
    value, low, high = (min(n * share, float(doubted)) for share in _lapses(p[some].astype(np.float64), codes[some]))
    return Wrong(sure, disagree, Interval(value, low, high, PROFILE), math.floor(high))


def _lapses(p: NDArray[np.float64], codes: NDArray[np.int32]) -> tuple[float, float, float]:
    """The likeliest share of labels that are another class than drawn, and the ends of its 95 % interval."""
    n, others = len(codes), p.shape[1] - 1
    z = np.log(np.maximum(p, 1e-300))
    shares = np.append(0.0, np.geomspace(0.25 / n, 0.5, LAPSES))
    profile = np.full(len(shares), -np.inf)
    for factor in FACTORS:
        q = softmax(factor * z)[np.arange(n), codes][:, np.newaxis]
        given = (1.0 - shares) * q + shares * (1.0 - q) / others
        profile = np.maximum(profile, np.log(np.maximum(given, 1e-300)).sum(axis=0))
    best = int(profile.argmax())
    value = float(shares[best])
    if 1 < best < LAPSES:  # the top of a parabola, over the logarithm
        left, middle, right = profile[best - 1 : best + 2]
        value *= (shares[best + 1] / shares[best]) ** (0.5 * (left - right) / (left - 2 * middle + right))
    inside = np.flatnonzero(profile >= profile[best] - HALF_CHI)
    first, last = int(inside[0]), int(inside[-1])
    ends = [float(shares[first]), float(shares[last])]
    for side, (i, beyond) in enumerate(((first, first - 1), (last, last + 1))):
        if 0 <= beyond < len(shares):
            part = (profile[i] - profile[best] + HALF_CHI) / (profile[i] - profile[beyond])
            ends[side] += float(part * (shares[beyond] - shares[i]))
    return value, min(ends[0], value), max(ends[1], value)
