"""Labels that are likely wrong: a ranking of all rows by probabilities of fits that did not see them, and how many."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luce.fitted import HeldOut
from luce.intervals import Interval, shares
from luce.splits import row_keys

SURE_SHARE = 0.3  # of the rows: those that the model is surest of tell how many labels are wrong
SURE_ROWS = 100  # at least so many, or half of all
FEW_SUSPECTS = 12  # worth a look where nothing can be estimated, or one row in a hundred
MOST_WRONG = 0.25  # disagreement of the surest rows above which classes overlap too much to tell


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
    """How many labels are wrong: `disagree` of the `sure` rows that the model is surest of, carried over to all rows.

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
    """Estimate how many labels are wrong from the rows that the model is surest of.

    rows = n * disagree / sure, where `sure` rows have the largest max_k p_k (30 % of the n scored rows, or 100, or half
    of them) and `disagree` of these have another label than the most probable class; at most as many as have so in all.
    Where a model is surest classes hardly overlap, so disagreement is error of the label, if labels are as often wrong
    there as elsewhere. The interval is the exact binomial one of the share. Ties are settled by a hash of the row's
    index.
    """
    p, codes = held.probabilities[held.scored], held.codes[held.scored]
    n, differs = len(codes), p.argmax(axis=1) != codes
    sure = min(max(math.ceil(SURE_SHARE * n), min(SURE_ROWS, n // 2), 1), n)
    disagree, doubted = int(differs[np.lexsort((row_keys(n, 0), -p.max(axis=1)))[:sure]].sum()), int(differs.sum())
    if disagree > MOST_WRONG * sure:
        return Wrong(sure, disagree, None, min(max(FEW_SUSPECTS, n // 100), doubted))
    share = shares(np.array([disagree]), np.array([sure]))[0]
    value, low, high = (min(n * end, float(doubted)) for end in (share.value, share.low, share.high))
    return Wrong(sure, disagree, Interval(value, low, high, share.how), math.floor(high))
