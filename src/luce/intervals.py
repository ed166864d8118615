"""How sure a measured number is: exact, normal, logit, bootstrap and rank-based intervals.

Each interval holds the number that endless rows of the same kind would give, in about the share `level` of samples; its
`how` names the method. What is computed depends on the multiset of the rows, never on their order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from luce.errors import InputError

Floats: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]

DRAWS = 2000  # of a bootstrap: the ends of a 95 % interval are then good to about a tenth of its width

EXACT = "exact binomial (Clopper-Pearson)"
NO_ROWS = "no rows: nothing is known"
ONE_A_BIN = "no two rows have probabilities that are alike: nothing is known"
NORMAL = "normal, standard error of the mean"
FORESEEN = "normal, standard error that the probabilities foresee"
GROUPED = "normal, sums of rows that belong together"
WORTH = f"{EXACT}, of as many rows as those that belong together are worth"
ONE_ROW = "one row: nothing is known"
INFINITE = "a row has an infinite loss, so the mean is infinite"
BOOTSTRAP = f"bootstrap of the confusion matrix, {DRAWS:,} draws"
ROUNDED = 1e-12  # by which draws that are alike may differ
DEGENERATE = f"{BOOTSTRAP}, all alike: too narrow, see the exact intervals of precision and recall"
DELONG = "DeLong's standard error, logit"
PAIRS = "exact binomial of disjoint pairs of rows"
BOYD = "logit, binomial standard error (Boyd et al.)"
PROFILE = "profile likelihood"
MATCHED = "matched shares (Agresti-Min)"

_SETTLED = 1e-15  # a factor of the continued fraction this near to 1 changes nothing
_TERMS = 100_000  # of the continued fraction; near the mean about the square root of a + b are needed
_STEPS = 100  # of the search for a quantile; Newton's method needs about 8
_NEAR = 1e-12  # a relative step of Newton's method after which what is left is rounding
_TINY = 1e-300  # Lentz's stand-in for a zero below the line
_CELLS = 2_000_000  # counts that a block of bootstrap draws may hold
_HALF_LOG_TAU = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Interval:
    """A measured number, the ends of its interval, and the method in a few words."""

    value: float
    low: float
    high: float
    how: str


def checked_level(level: float) -> float:
    """The level as a float; raises InputError unless it lies between 0 and 1."""
    if isinstance(level, bool) or not isinstance(level, Real) or not 0 < level < 1:
        raise InputError(f"level is {level!r}: give a number between 0 and 1, such as 0.95")
    return float(level)


def checked_whole(value: int, name: str, least: int) -> int:
    """The value as an int; raises InputError unless it is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InputError(f"{name} is {value!r}: give a whole number of at least {least}")
    return int(value)


def normal_quantile(level: float) -> float:
    """The z for which a standard normal number lies in [-z, z] with probability `level`."""
    return -NormalDist().inv_cdf((1.0 - checked_level(level)) / 2.0)


# --- the beta distribution ---------------------------------------------------


def incomplete_beta(x: Floats, a: Floats, b: Floats) -> Floats:
    """The regularised incomplete beta function, the distribution function of Beta(a, b) at x.

    I_x(a, b) = x^a (1 - x)^b / (a B(a, b)) / (1 + d_1 / (1 + d_2 / (1 + ...))), from the nearer end

    x in [0, 1], a > 0, b > 0: float64 of one shape. Checked against SciPy to 1e-10, absolute.
    Source: DiDonato and Morris, ACM TOMS 18, 1992; the continued fraction by Lentz's method (Numerical Recipes 6.4).
    """
    far = x > (a + 1.0) / (a + b + 2.0)
    near_x, near_a, near_b = np.where(far, 1.0 - x, x), np.where(far, b, a), np.where(far, a, b)
    area = _beta_power(near_x, near_a, near_b) * _fraction(near_x, near_a, near_b) / near_a
    return np.where(far, 1.0 - area, area)


def beta_quantile(q: float, a: Floats, b: Floats) -> Floats:
    """The x at which I_x(a, b) = q, by Newton's method held inside a bracket.

    q in (0, 1); a > 0, b > 0: float64 of one shape (m,). Checked against SciPy to 1e-10, absolute.
    """
    low, high, x = np.zeros_like(a), np.ones_like(a), a / (a + b)
    for _ in range(_STEPS):
        miss = incomplete_beta(x, a, b) - q
        low, high = np.where(miss < 0.0, x, low), np.where(miss < 0.0, high, x)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = x - miss * x * (1.0 - x) / _beta_power(x, a, b)
        after = np.where((step >= low) & (step <= high), step, 0.5 * (low + high))  # false for NaN as well
        still = bool((np.abs(after - x) <= _NEAR * x).all())
        x = after
        if still:
            break
    return x


def _beta_power(x: Floats, a: Floats, b: Floats) -> Floats:
    # x^a (1 - x)^b / B(a, b) about its peak, so that nothing large cancels (Loader's saddle-point form).
    total = a + b
    off = x * total - a
    with np.errstate(divide="ignore"):  # ln 0 = -inf is right at both ends
        exponent = a * _log_ratio(x * total, a, off) + b * _log_ratio((1.0 - x) * total, b, -off)
    exponent += _stirling_error(total) - _stirling_error(a) - _stirling_error(b)
    return np.asarray(np.sqrt(a * b / (2.0 * math.pi * total)) * np.exp(exponent))


def _log_ratio(above: Floats, below: Floats, off: Floats) -> Floats:
    # ln(above / below), where off = above - below is known more exactly when the two are near
    return np.where(off < -0.5 * below, np.log(above / below), np.log1p(np.maximum(off / below, -0.5)))


def _stirling_error(z: Floats) -> Floats:
    # ln Gamma(z) less Stirling's (z - 1/2) ln z - z + ln(2 pi) / 2
    s = 1.0 / np.square(np.maximum(z, 15.0))
    series = (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s / 1188)))) / np.maximum(z, 15.0)
    small = [math.lgamma(v) - ((v - 0.5) * math.log(v) - v + _HALF_LOG_TAU) if v < 15.0 else 0.0 for v in z.tolist()]
    return np.where(z < 15.0, np.array(small), series)


def _fraction(x: Floats, a: Floats, b: Floats) -> Floats:
    total = a + b
    c, d = np.ones_like(x), 1.0 / _nonzero(1.0 - total * x / (a + 1.0))
    value = d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (total + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d = 1.0 / _nonzero(1.0 + term * d)
            c = _nonzero(1.0 + term / c)
            value = value * (c * d)
        if (np.abs(c * d - 1.0) <= _SETTLED).all():
            break
    return value


def _nonzero(value: Floats) -> Floats:
    return np.where(np.abs(value) < _TINY, _TINY, value)


# --- shares ------------------------------------------------------------------


def exact_ends(hits: NDArray[Any], rows: NDArray[Any], level: float = 0.95) -> tuple[Floats, Floats]:
    """The lower and upper ends of Clopper and Pearson's intervals for shares: coverage is never below `level`.

    low = the (1 - level) / 2 quantile of Beta(hits, rows - hits + 1); high = 1 - low of the misses

    hits, rows: (m,), 0 <= hits <= rows; 0 of 0 gives (0, 1). Returns two float64 (m,). Raises InputError for a level
    outside (0, 1). Source: Clopper and Pearson, Biometrika 26, 1934.
    """
    tail = (1.0 - checked_level(level)) / 2.0
    good, whole = np.asarray(hits, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    ends = _lower_end(tail, np.concatenate([good, whole - good]), np.concatenate([whole, whole]))
    return ends[: len(good)], 1.0 - ends[len(good) :]


def _lower_end(tail: float, hits: Floats, rows: Floats) -> Floats:
    low, some = np.zeros_like(hits), hits > 0
    if some.any():
        low[some] = beta_quantile(tail, hits[some], rows[some] - hits[some] + 1.0)
    return low


def shares(hits: NDArray[Any], rows: NDArray[Any], level: float = 0.95, effect: float = 1.0) -> list[Interval]:
    """The exact interval of each share hits / rows; 0 of 0 counts as the share 0, with the interval (0, 1).

    hits, rows: int64 (m,). effect: the `design_effect`, by which both are divided for the ends (Korn and Graubard,
    Survey Methodology 24, 1998). Raises InputError and source as `exact_ends`.
    """
    low, high = exact_ends(hits / effect, rows / effect, level)
    how = EXACT if effect == 1.0 else WORTH
    return [
        Interval(good / whole if whole else 0.0, bottom, top, how if whole else NO_ROWS)
        for good, whole, bottom, top in zip(hits.tolist(), rows.tolist(), low.tolist(), high.tolist(), strict=True)
    ]


def matched_difference(gained: int, lost: int, rows: int, level: float = 0.95, effect: float = 1.0) -> Interval:
    """The difference of two shares of the same rows, (gained - lost) / rows, half a row added to each of four cells.

    d = (gained - lost) / (rows + 2), variance = (gained + lost + 1 - (gained - lost)^2 / (rows + 2)) / (rows + 2)^2

    gained, lost: rows that only the first, or only the second, has right. effect: the `design_effect`, by which all are
    divided. Raises InputError for a level outside (0, 1). Source: Agresti and Min, Statistics in Medicine 24, 2005.
    """
    more, whole = (gained - lost) / effect, rows / effect + 2
    centre, error = more / whole, math.sqrt((gained + lost) / effect + 1 - more * more / whole) / whole
    width = normal_quantile(level) * error
    return Interval((gained - lost) / rows, max(centre - width, -1.0), min(centre + width, 1.0), MATCHED)


# --- means -------------------------------------------------------------------


def design_effect(values: Floats, groups: NDArray[Any]) -> float:
    """How many times larger the variance of a mean is than if the rows were drawn one by one, at least 1: rows that
    belong together say much the same.

    effect = [G / (G - 1) sum_g (sum_r (v_r - mean))^2] / [n / (n - 1) sum_r (v_r - mean)^2], r the rows of group g

    values: float64 (n,), finite. groups: (n,), rows of one value belong together. One group gives n; no variance, 1.
    Source: Kish, Survey Sampling, 1965, sections 5.4 and 6.5.
    """
    _, group = np.unique(groups, return_inverse=True)
    count, rows, off = int(group.max()) + 1, len(values), values - values.mean()
    if count < 2:
        return float(rows)
    sums = np.bincount(group, weights=off)
    alone = rows / (rows - 1) * float(off @ off)
    return max(1.0, count / (count - 1) * float(sums @ sums) / alone) if alone > 0 else 1.0


def mean_interval(
    values: Floats, level: float = 0.95, lowest: float = -math.inf, highest: float = math.inf,
    groups: NDArray[Any] | None = None, expected: Floats | None = None,
) -> Interval:  # fmt: skip
    """The normal interval of the mean of row values, cut where no mean can lie.

    mean +- z s / sqrt(n), s^2 = sum_r (v_r - mean)^2 / (n - 1), times the `design_effect` of the groups, if any; or
    with s^2 = sum_r expected_r / n, where that is more

    values: float64 (n,), n >= 1, in [lowest, highest]; correctly rounded sums. groups: as in `design_effect`. expected:
    (n,) the variance that each value has by the probabilities of its row: a loss that is large and rare may not have
    been met yet, and then the rows alone say that there is none. (Spiegelhalter, Stat. Med. 5, 1986.)
    An infinite value gives an infinite mean and ends (NaN within infinite ends where both signs occur); one row gives
    [lowest, highest]. Raises InputError for a level outside (0, 1).
    """
    z, rows = normal_quantile(level), len(values)
    if np.isnan(values).any() or len(np.unique(values[np.isinf(values)])) > 1:
        return Interval(math.nan, -math.inf, math.inf, INFINITE)
    mean = math.fsum(values.tolist()) / rows
    if math.isinf(mean):
        return Interval(mean, mean, mean, INFINITE)
    if rows == 1:
        return Interval(mean, lowest, highest, ONE_ROW)
    error = math.sqrt(math.fsum(np.square(values - mean).tolist()) / (rows - 1) / rows)
    if groups is not None:
        error *= math.sqrt(design_effect(values, groups))
    how = NORMAL if groups is None else GROUPED
    if expected is not None and (foreseen := math.sqrt(math.fsum(expected.tolist())) / rows) > error:
        error, how = foreseen, FORESEEN
    return Interval(mean, max(mean - z * error, lowest), min(mean + z * error, highest), how)


# --- ranks -------------------------------------------------------------------


def area(positives: Counts, negatives: Counts) -> float:
    """The area under the ROC curve, the chance that a positive row has the larger score, ties counting half.

    positives, negatives: int64 (m,), rows at each distinct score, ascending; NaN where either has none.
    Source: Mann and Whitney, Annals of Mathematical Statistics 18, 1947.
    """
    above, below = int(positives.sum()), int(negatives.sum())
    if not above or not below:
        return math.nan
    below_or_half = 2 * np.cumsum(negatives) - negatives  # doubled, so that everything is whole
    return int((positives * below_or_half).sum()) / (2 * above * below)


def area_interval(positives: Counts, negatives: Counts, level: float = 0.95, effect: float = 1.0) -> Interval:
    """The area under the ROC curve with DeLong's standard error, the interval built on the logit scale.

    variance = var(V10) / m + var(V01) / n, V10[i] = share of the n negatives below positive i (ties half), V01[j] =
    share of the m positives above negative j; logit ends = logit(A) +- z error / (A (1 - A)). Where that says nothing
    (A of 0 or 1, no variance, one row) the min(m, n) disjoint pairs of rows give an exact, wider interval.

    positives, negatives: as in `area`; O(m). No row on a side gives NaN in [0, 1]. effect: the `design_effect`, by
    which the variance is multiplied, or the pairs divided. Raises InputError for a level outside (0, 1). Source:
    DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988; Pepe, The Statistical Evaluation of Medical Tests, 2003,
    section 5.2 for the logit.
    """
    value = area(positives, negatives)
    if math.isnan(value):
        checked_level(level)
        return Interval(value, 0.0, 1.0, NO_ROWS)
    error = math.sqrt(effect * delong_variance(positives, negatives))
    if 0.0 < value < 1.0 and error > 0.0:  # false for NaN as well
        low, high = logit_ends(value, error / (value * (1.0 - value)), level)
        return Interval(value, low, high, DELONG)
    pairs = float(min(positives.sum(), negatives.sum())) / effect
    bottom, top = exact_ends(np.array([value * pairs]), np.array([pairs]), level)
    return Interval(value, float(bottom[0]), float(top[0]), PAIRS)


def delong_variance(positives: Counts, negatives: Counts) -> float:
    """DeLong's variance of the area under the ROC curve (see `area_interval`); NaN where a side has one row."""
    m, n = int(positives.sum()), int(negatives.sum())
    if m < 2 or n < 2:
        return math.nan
    value = area(positives, negatives)
    below = (np.cumsum(negatives) - 0.5 * negatives) / n
    above = (m - np.cumsum(positives) + 0.5 * positives) / m
    spread_10 = float((positives * np.square(below - value)).sum()) / (m - 1)
    spread_01 = float((negatives * np.square(above - value)).sum()) / (n - 1)
    return spread_10 / m + spread_01 / n


def average_precision_interval(value: float, positives: float, level: float = 0.95) -> Interval:
    """The logit-normal interval of an average precision, the standard error that of a binomial share of positives.

    logit ends = logit(A) +- z / sqrt(m A (1 - A)), m = positives; A of 1 takes the exact interval of m hits of m

    Raises InputError for a level outside (0, 1).
    Source: Boyd, Eng and Page, Area under the precision-recall curve, ECML PKDD 2013, section 3.
    """
    if not positives:
        checked_level(level)
        return Interval(math.nan, 0.0, 1.0, NO_ROWS)
    if value < 1.0:
        low, high = logit_ends(value, 1.0 / math.sqrt(positives * value * (1.0 - value)), level)
        return Interval(value, low, high, BOYD)
    bottom, top = exact_ends(np.array([positives]), np.array([positives]), level)
    return Interval(value, float(bottom[0]), float(top[0]), EXACT)


def logit_ends(value: float, error: float, level: float) -> tuple[float, float]:
    """The ends of a normal interval for logit(value), of standard error `error`, as shares; value in (0, 1)."""
    middle, width = math.log(value) - math.log1p(-value), normal_quantile(level) * error
    return _sigmoid(middle - width), _sigmoid(middle + width)


def _sigmoid(t: float) -> float:
    return 1.0 / (1.0 + math.exp(-t)) if t >= 0 else math.exp(max(t, -745.0)) / (1.0 + math.exp(max(t, -745.0)))


# --- the bootstrap of a confusion matrix -------------------------------------


def confusion_draws(
    counts: Counts, seed: int = 0, draws: int = DRAWS, effect: float = 1.0
) -> tuple[Counts, Counts, Counts]:
    """Hits, support and predicted rows of each class in confusion matrices drawn anew, as if rows were resampled.

    Each matrix ~ Multinomial(n, counts / n), which is what n rows drawn with replacement give, at a cost of `draws`
    times the cells that hold a row, whatever n is; n is divided by a `design_effect`.

    counts: int64 (K, K), true x predicted, n >= 1. Returns three int64 (draws, K): the diagonal, the row sums, the
    column sums. The same seed gives the same draws. Raises InputError for a seed that is no whole number >= 0.
    Source: Efron, Annals of Statistics 7, 1979.
    """
    rng = np.random.default_rng(checked_whole(seed, "seed", 0))
    size, (truth, predicted) = len(counts), np.nonzero(counts)
    cells, rows = counts[truth, predicted], int(counts.sum())
    worth = max(round(rows / effect), 1)
    block = max(1, _CELLS // len(cells))
    parts = []
    for start in range(0, draws, block):
        drawn = rng.multinomial(worth, cells / rows, size=min(block, draws - start))
        right = np.where(truth == predicted, drawn, 0)
        parts.append([_sums(right, truth, size), _sums(drawn, truth, size), _sums(drawn, predicted, size)])
    hits, support, chosen = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return hits, support, chosen


def percentile(value: float, draws: Floats, level: float = 0.95) -> Interval:
    """The percentile interval of bootstrap draws, widened to hold the value; draws that are NaN are left out.

    Draws that are nearly all alike (of a model without a mistake) give a width of 0, and `how` says so. Raises
    InputError for a level outside (0, 1). Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    section 13.3.
    """
    tail = (1.0 - checked_level(level)) / 2.0
    known = draws[~np.isnan(draws)]
    if math.isnan(value) or not len(known):
        return Interval(value, math.nan, math.nan, NO_ROWS)
    low, high = np.quantile(known, [tail, 1.0 - tail]).tolist()
    low, high = min(low, value), max(high, value)
    return Interval(value, low, high, BOOTSTRAP) if high - low > ROUNDED else Interval(value, value, value, DEGENERATE)


def _sums(drawn: Counts, group: Counts, size: int) -> Counts:
    """The sums of the columns of (draws, cells) that share a group, (draws, size)."""
    order = np.argsort(group, kind="stable")
    present, starts = np.unique(group[order], return_index=True)
    out = np.zeros((len(drawn), size), dtype=np.int64)
    out[:, present] = np.add.reduceat(drawn[:, order], starts, axis=1)
    return out
