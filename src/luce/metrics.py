"""How good predictions are: labels against labels, and probabilities against labels.

Rows in error lines count from 0, as arrays do. Every mean over rows is a correctly rounded sum divided by its length,
so the order of the rows cannot change a metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce import intervals
from luce.errors import InputError
from luce.intervals import Interval
from luce.scored import Classes, Label, paired_codes, place, quoted, sample, scored_rows

_BINS = 15  # of equal mass, for measures of calibration
_BINOMIAL = "normal for the squared error, binomial errors of the bins"


@dataclass(frozen=True)
class Averages:
    """Precision, recall and F1 averaged over classes."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Precision, recall, F1 (float64) and support (int64, rows of that true class), each of shape (K,)."""

    classes: tuple[Label, ...]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]

    def macro(self) -> Averages:
        """The plain mean over the classes; a class with no row counts as 0."""
        return self._averages(np.ones(len(self.classes)))

    def weighted(self) -> Averages:
        """The mean over the classes weighted by their support."""
        return self._averages(self.support.astype(np.float64))

    def micro(self) -> Averages:
        """All classes counted together; as each row has one true and one predicted class, all three are accuracy."""
        hits = np.rint(self.recall * self.support)
        share = int(hits.sum()) / int(self.support.sum())
        return Averages(share, share, share)

    def _averages(self, weights: NDArray[np.float64]) -> Averages:
        total = float(weights.sum())
        precision, recall, f1 = (
            math.fsum((weights * score).tolist()) / total for score in (self.precision, self.recall, self.f1)
        )
        return Averages(precision, recall, f1)


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Rates (float64) of rows called `class_` where its probability reaches each threshold, descending from inf."""

    class_: Label
    thresholds: NDArray[np.float64]
    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """Precision and recall (float64) at each threshold, ascending, and last the point (1, 0) without a threshold."""

    class_: Label
    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


@dataclass(frozen=True)
class BrierSplit:
    """The parts of the Brier score: binned forecasts' calibration + refinement, and what binning took away."""

    calibration: float
    refinement: float
    within: float


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of a reliability diagram, all (B,): mean probability, observed share of rows, and rows of each bin.

    low, high: the exact interval of the observed share. least, most: the smallest and largest probability in the bin.
    class_: the class whose probability is binned, or None for the most probable class of each row.
    """

    class_: Label | None
    probability: NDArray[np.float64]
    observed: NDArray[np.float64]
    count: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    least: NDArray[np.float64]
    most: NDArray[np.float64]


# --- labels against labels ---------------------------------------------------


def confusion(y_true: ArrayLike, y_pred: ArrayLike, classes: Classes | None = None) -> NDArray[np.int64]:
    """Count the rows of each true class (rows) that were predicted as each class (columns).

    C[i, j] = #{r : y_true[r] = classes[i] and y_pred[r] = classes[j]}

    y_true, y_pred: labels (n,), all text, all integers or all booleans. classes: the K labels in the order wanted;
    by default the sorted union of both. Returns int64 (K, K). Raises InputError for unequal lengths, no rows, labels
    that are missing, of mixed types or not in `classes`.
    """
    truth, predicted, known = paired_codes(y_true, y_pred, classes)
    size = len(known)
    counts = np.bincount(truth * size + predicted, minlength=size * size)
    return counts.reshape(size, size).astype(np.int64, copy=False)


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """The share of rows whose predicted label is the true one.

    y_true, y_pred: labels (n,). Raises InputError as `confusion` does.
    """
    truth, predicted, _ = paired_codes(y_true, y_pred, None)
    return int(np.count_nonzero(truth == predicted)) / len(truth)


def balanced_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """The mean recall over the classes that occur in y_true.

    y_true, y_pred: labels (n,). Raises InputError as `confusion` does.
    Source: Brodersen et al., "The balanced accuracy and its posterior distribution", ICPR 2010.
    """
    scores = precision_recall_f1(y_true, y_pred)
    return _mean(scores.recall[scores.support > 0])


def precision_recall_f1(y_true: ArrayLike, y_pred: ArrayLike, classes: Classes | None = None) -> ClassScores:
    """Precision, recall, F1 and support of each class; a ratio with nothing below the line is 0.

    precision = hits / predicted, recall = hits / support, F1 = 2 hits / (predicted + support)

    y_true, y_pred, classes and errors as in `confusion`. Returns ClassScores; its `macro()` and `weighted()` average.
    Source: van Rijsbergen, "Information Retrieval", 2nd edition, 1979, chapter 7.
    """
    truth, predicted, known = paired_codes(y_true, y_pred, classes)
    size = len(known)
    support = np.bincount(truth, minlength=size).astype(np.int64, copy=False)
    chosen = np.bincount(predicted, minlength=size)
    hits = np.bincount(truth[truth == predicted], minlength=size)
    return _class_scores(hits, support, chosen, known)


def matthews(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Matthews' correlation of the true and the predicted classes, for any number of classes; 0 where undefined.

    M = (n c - sum_k t_k q_k) / sqrt((n^2 - sum_k t_k^2)(n^2 - sum_k q_k^2)), c = hits, t = support, q = predicted rows

    y_true, y_pred: labels (n,). Raises InputError as `confusion` does.
    Source: Gorodkin, Computational Biology and Chemistry 28, 2004.
    """
    return float(_matthews(*_margins(confusion(y_true, y_pred))))


def kappa(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Cohen's kappa, agreement beyond chance; NaN where both sides hold one and the same class alone.

    kappa = (n c - sum_k t_k q_k) / (n^2 - sum_k t_k q_k), the letters as in `matthews`

    y_true, y_pred: labels (n,). Raises InputError as `confusion` does.
    Source: Cohen, Educational and Psychological Measurement 20, 1960.
    """
    return float(_kappa(*_margins(confusion(y_true, y_pred))))


def top_k_accuracy(y_true: ArrayLike, probabilities: ArrayLike, classes: Classes, k: int) -> float:
    """The share of rows with at most k classes, the true one among them, at least as probable as the true one.

    Ties count against the row: a class as probable as the true one takes its place.
    k: a whole number from 1 to K. Other arguments and errors as in `log_loss`.
    """
    codes, rows = scored_rows(y_true, probabilities, classes)
    if intervals.checked_whole(k, "k", 1) > rows.shape[1]:
        raise InputError(f"k is {k}, but there are {rows.shape[1]} classes; give a whole number up to that")
    own = rows[np.arange(len(codes)), codes]
    return int(np.count_nonzero((rows >= own[:, np.newaxis]).sum(axis=1) <= k)) / len(codes)


# --- probabilities against labels --------------------------------------------


def log_loss(y_true: ArrayLike, probabilities: ArrayLike, classes: Classes) -> float:
    """The mean negative log probability of the true class, in nats; a true class with probability 0 gives inf.

    L = (1/n) sum_r -ln p[r, y_r], nothing clipped and nothing added

    y_true: labels (n,). probabilities: (n, K), columns in the order of `classes`, each row finite, in [0, 1] and
    summing to 1 within 1e-5. Raises InputError naming the row, and for labels that are not in `classes`.
    Source: Good, "Rational decisions", JRSS B 14, 1952.
    """
    return _mean(_log_losses(*scored_rows(y_true, probabilities, classes)))


def brier(y_true: ArrayLike, probabilities: ArrayLike, classes: Classes) -> float:
    """The mean squared distance between the probabilities and the one-hot truth, in [0, 2].

    B = (1/n) sum_r sum_k (p[r, k] - 1[y_r = k])^2

    Arguments and errors as in `log_loss`. Source: Brier, Monthly Weather Review 78, 1950.
    """
    return _mean(_distances(*scored_rows(y_true, probabilities, classes)))


def roc_curve(y_true: ArrayLike, probabilities: ArrayLike, classes: Classes, class_: Label) -> RocCurve:
    """The rates of true and false alarms of one class against the rest, at each distinct probability.

    true_positive_rate = #{p >= t, own} / #own, false_positive_rate = #{p >= t, other} / #other; the first t is inf

    Arguments and errors as in `log_loss`; InputError also where class_ is no class, has no row, or has every row.
    Source: Fawcett, Pattern Recognition Letters 27, 2006.
    """
    known, scores, positives, negatives = _one_class(y_true, probabilities, classes, class_)
    own, other = int(positives.sum()), int(negatives.sum())
    if not own or not other:
        raise InputError(f"class {quoted(known)} has {own} of {own + other} rows; a ROC curve needs rows on both sides")
    return RocCurve(
        class_=known,
        thresholds=np.concatenate([[math.inf], scores[::-1]]),
        false_positive_rate=np.concatenate([[0], np.cumsum(negatives[::-1])]) / other,
        true_positive_rate=np.concatenate([[0], np.cumsum(positives[::-1])]) / own,
    )


def precision_recall_curve(
    y_true: ArrayLike, probabilities: ArrayLike, classes: Classes, class_: Label
) -> PrecisionRecallCurve:
    """Precision and recall of one class against the rest, at each distinct probability as the threshold.

    precision = #{p >= t, own} / #{p >= t}, recall = #{p >= t, own} / #own

    Arguments and errors as in `log_loss`; InputError also where class_ is no class or has no row.
    Source: Davis and Goadrich, ICML 2006.
    """
    known, scores, positives, negatives = _one_class(y_true, probabilities, classes, class_)
    if not positives.any():
        raise InputError(f"class {quoted(known)} has no row; a precision-recall curve needs at least one")
    hits, called = (np.cumsum(part[::-1])[::-1] for part in (positives, positives + negatives))
    return PrecisionRecallCurve(known, scores, np.append(hits / called, 1.0), np.append(hits / hits[0], 0.0))


def roc_auc(y_true: ArrayLike, probabilities: ArrayLike, classes: Classes) -> NDArray[np.float64]:
    """The area under each class's ROC curve, one against the rest: the chance that a row of the class is rated above
    another, ties counting half.

    Arguments and errors as in `log_loss`. Returns float64 (K,), NaN where a class has no row or every row.
    Source: Hanley and McNeil, Radiology 143, 1982.
    """
    codes, rows = scored_rows(y_true, probabilities, classes)
    return np.array([intervals.area(*_tally(rows[:, k], codes == k)[1:]) for k in range(rows.shape[1])])


def average_precision(y_true: ArrayLike, probabilities: ArrayLike, classes: Classes) -> NDArray[np.float64]:
    """The mean precision over the rows of each class, at the threshold of each row's own probability.

    AP = sum_t (recall_t - recall_(t-1)) precision_t over the distinct probabilities t, descending

    Arguments and errors as in `log_loss`. Returns float64 (K,), NaN where a class has no row.
    Source: Boyd, Eng and Page, ECML PKDD 2013, section 2.
    """
    codes, rows = scored_rows(y_true, probabilities, classes)
    return np.array([_average_precision(*_tally(rows[:, k], codes == k)[1:]) for k in range(rows.shape[1])])


# --- calibration -------------------------------------------------------------


def brier_split(y_true: ArrayLike, probabilities: ArrayLike, classes: Classes, *, bins: int = _BINS) -> BrierSplit:
    """The Brier score as calibration + refinement of binned forecasts, + what lies within the bins.

    calibration = sum_k sum_b (n_kb / n)(s_kb - o_kb)^2, refinement = sum_k sum_b (n_kb / n) o_kb (1 - o_kb)

    Each class's probabilities fall in `bins` bins of equal mass (equal ones stay together); s is the mean probability
    and o the observed share of a bin. calibration + refinement is, up to rounding, the Brier score of the forecasts
    that put s for p; `within` is the score of the forecasts less that, so the three add up to `brier`. Other
    arguments and errors as in `log_loss`; InputError also for bins below 1.
    Source: Murphy, Journal of Applied Meteorology 12, 1973; Stephenson, Coelho and Jolliffe, Weather and Forecasting
    23, 2008, for the part within bins.
    """
    codes, rows = scored_rows(y_true, probabilities, classes)
    calibration, refinement = [], []
    for k in range(rows.shape[1]):
        b = _bins(rows[:, k], codes == k, bins)
        calibration.extend((b.count * np.square(b.mean - b.share)).tolist())
        refinement.extend((b.count * b.share * (1.0 - b.share)).tolist())
    parts = math.fsum(calibration) / len(codes), math.fsum(refinement) / len(codes)
    return BrierSplit(*parts, within=_mean(_distances(codes, rows)) - sum(parts))


def ece(
    y_true: ArrayLike, probabilities: ArrayLike, classes: Classes, *, bins: int = _BINS, debiased: bool = True
) -> float:
    """The calibration error of the most probable class (the first of equals), root mean square, without its bias.

    E^2 = sum_b (n_b / n) [(s_b - o_b)^2 - o_b (1 - o_b) / (n_b - 1)], ece = sqrt(max(E^2, 0))

    bins: equal mass, equal probabilities stay together; s is the mean probability and o the share of right rows of a
    bin. The term taken away is what chance alone adds; debiased=False keeps it. A bin of one row tells nothing and is
    left out (NaN where no other is). This is the error of binned forecasts, at most that of the forecasts themselves.
    Other arguments and errors as in `log_loss`; InputError also for bins below 1.
    Source: Kumar, Liang and Ma, Verified uncertainty calibration, NeurIPS 2019, section 4.
    """
    codes, rows = scored_rows(y_true, probabilities, classes)
    return _root(_squared_error(_top_bins(codes, rows, bins), debiased)[0])


def classwise_ece(
    y_true: ArrayLike, probabilities: ArrayLike, classes: Classes, *, bins: int = _BINS, debiased: bool = True
) -> float:
    """The calibration error of the probabilities of all classes: the root of the mean over classes of E^2 in `ece`.

    sqrt(max((1/K) sum_k E_k^2, 0)), E_k^2 from the bins of class k's probability and the share of rows of class k

    Arguments and errors as in `ece`. Source: Kumar, Liang and Ma, NeurIPS 2019, definition 2.3 (marginal calibration).
    """
    codes, rows = scored_rows(y_true, probabilities, classes)
    return _root(_mean(np.array([_squared_error(b, debiased)[0] for b in _class_bins(codes, rows, bins)])))


def reliability(
    y_true: ArrayLike,
    probabilities: ArrayLike,
    classes: Classes,
    class_: Label | None = None,
    *,
    bins: int = _BINS,
    level: float = 0.95,
) -> Reliability:
    """The bins of a reliability diagram, of one class's probability or, without `class_`, of the most probable class.

    bins: equal mass, as in `ece`; fewer where many probabilities are equal. level: of the exact interval of each
    observed share. Other arguments and errors as in `log_loss`; InputError also for class_ that is no class, bins
    below 1 and level outside (0, 1). Source: Murphy and Winkler, JRSS C 26, 1977.
    """
    codes, rows = scored_rows(y_true, probabilities, classes)
    if class_ is None:
        known, b = None, _top_bins(codes, rows, bins)
    else:
        known, k = place(class_, classes)
        b = _bins(rows[:, k], codes == k, bins)
    low, high = intervals.exact_ends(b.hits, b.count, level)
    return Reliability(known, b.mean, b.share, b.count, low, high, b.least, b.most)


# --- how sure ----------------------------------------------------------------


def measure(
    y_true: ArrayLike,
    probabilities: ArrayLike,
    classes: Classes,
    *,
    predicted: ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> dict[str, Interval]:
    """Each metric of one number with its interval, by name.

    accuracy: exact; balanced_accuracy, matthews, kappa, and precision, recall, f1 as _macro and as _weighted:
    percentiles of 2,000 confusion matrices drawn anew; log_loss, brier: normal, from the standard error of the mean;
    ece, classwise_ece: normal for E^2 with the binomial errors of the bins, then the root (no lower than 0).

    predicted: labels (n,), by default the most probable class, the first of equals. seed: of the drawn matrices.
    groups: (n,), rows of one value belong together and say much the same: intervals are as wide as the sums of groups
    show (`intervals.design_effect`, of the log losses and of right answers). Other arguments and errors as in
    `log_loss`; InputError also for a level outside (0, 1) and a negative seed.
    """
    codes, rows, guess, known = sample(y_true, probabilities, classes, predicted)
    counts = _counted(codes, guess, len(known))
    hits, effect = np.array([np.trace(counts)]), 1.0
    if groups is not None:
        effect = intervals.design_effect((guess == codes).astype(np.float64), groups)
    out = {"accuracy": intervals.shares(hits, np.array([len(codes)]), level, effect)[0]}
    scores = _class_scores(*_margins(counts), known)
    macro, weighted = scores.macro(), scores.weighted()  # correctly rounded, as `balanced_accuracy` is
    values = _scalars(*_margins(counts)) | {
        "balanced_accuracy": _mean(scores.recall[scores.support > 0]),
        "precision_macro": macro.precision,
        "recall_macro": macro.recall,
        "f1_macro": macro.f1,
        "precision_weighted": weighted.precision,
        "recall_weighted": weighted.recall,
        "f1_weighted": weighted.f1,
    }
    draws = _scalars(*intervals.confusion_draws(counts, seed, effect=effect))
    out |= {name: intervals.percentile(float(values[name]), draws[name], level) for name in values}
    of_losses, of_distances = _foreseen(rows)
    out["log_loss"] = intervals.mean_interval(_log_losses(codes, rows), level, 0.0, math.inf, groups, of_losses)
    out["brier"] = intervals.mean_interval(_distances(codes, rows), level, 0.0, 2.0, groups, of_distances)
    out["ece"] = _error_interval([_top_bins(codes, rows, _BINS)], level, effect)
    out["classwise_ece"] = _error_interval(_class_bins(codes, rows, _BINS), level, effect)
    return out


def measure_classes(
    y_true: ArrayLike,
    probabilities: ArrayLike,
    classes: Classes,
    *,
    predicted: ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
    effect: float = 1.0,
) -> dict[Label, dict[str, Interval]]:
    """Precision, recall, f1, roc_auc and average_precision of each class with their intervals.

    precision, recall: exact; f1: percentiles of drawn confusion matrices, or from 0 to 1 where no row is of the class;
    roc_auc: DeLong's standard error on the logit scale; average_precision: Boyd's logit interval. effect:
    `intervals.design_effect`, of rows that belong together. Other arguments and errors as in `measure`.
    """
    codes, rows, guess, known = sample(y_true, probabilities, classes, predicted)
    counts = _counted(codes, guess, len(known))
    hits, support, chosen = _margins(counts)
    ratios = intervals.shares(np.concatenate([hits, hits]), np.concatenate([chosen, support]), level, effect)
    drawn_hits, drawn_support, drawn_chosen = intervals.confusion_draws(counts, seed, effect=effect)
    f1, drawn_f1 = _ratio(2 * hits, support + chosen), _ratio(2 * drawn_hits, drawn_support + drawn_chosen)
    out: dict[Label, dict[str, Interval]] = {}
    for k, label in enumerate(known):
        _, positives, negatives = _tally(rows[:, k], codes == k)
        precise = _average_precision(positives, negatives)
        out[label] = {
            "precision": ratios[k],
            "recall": ratios[len(known) + k],
            "f1": intervals.percentile(float(f1[k]), drawn_f1[:, k], level) if support[k] else ratios[len(known) + k],
            "roc_auc": intervals.area_interval(positives, negatives, level, effect),
            "average_precision": intervals.average_precision_interval(precise, int(support[k]) / effect, level),
        }
    return out


def difference(
    y_true: ArrayLike, first: ArrayLike, second: ArrayLike, classes: Classes, *, level: float = 0.95
) -> dict[str, Interval]:
    """How much the first model's log_loss, brier and accuracy exceed the second's on the same rows.

    log_loss, brier: the normal interval of the mean of the rows' differences, which the pairing makes narrow; accuracy:
    Agresti and Min's interval of matched shares, from the rows that one model alone has right.

    first, second: probabilities (n, K). Other arguments and errors as in `log_loss`; InputError also for a level
    outside (0, 1).
    """
    codes, one = scored_rows(y_true, first, classes)
    _, two = scored_rows(y_true, second, classes)
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, and the interval says so
        losses = _log_losses(codes, one) - _log_losses(codes, two)
    right, other = one.argmax(axis=1) == codes, two.argmax(axis=1) == codes
    gained, lost = int(np.count_nonzero(right & ~other)), int(np.count_nonzero(other & ~right))
    return {
        "log_loss": intervals.mean_interval(losses, level),
        "brier": intervals.mean_interval(_distances(codes, one) - _distances(codes, two), level, -2.0, 2.0),
        "accuracy": intervals.matched_difference(gained, lost, len(codes), level),
    }


# --- from counts -------------------------------------------------------------


def _margins(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    return np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)


def _counted(truth: NDArray[np.int64], predicted: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    counts = np.bincount(truth * size + predicted, minlength=size * size)
    return counts.reshape(size, size).astype(np.int64, copy=False)


def _class_scores(
    hits: NDArray[np.int64], support: NDArray[np.int64], chosen: NDArray[np.int64], known: tuple[Label, ...]
) -> ClassScores:
    return ClassScores(
        classes=known,
        precision=_ratio(hits, chosen),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, chosen + support),
        support=support,
    )


def _matthews(hits: NDArray[Any], support: NDArray[Any], chosen: NDArray[Any]) -> NDArray[np.float64]:
    true, guessed = support.astype(np.float64), chosen.astype(np.float64)
    rows = true.sum(axis=-1)
    above = rows * hits.sum(axis=-1) - (true * guessed).sum(axis=-1)
    below = (rows**2 - (true**2).sum(axis=-1)) * (rows**2 - (guessed**2).sum(axis=-1))
    return _ratio(above, np.sqrt(below))


def _kappa(hits: NDArray[Any], support: NDArray[Any], chosen: NDArray[Any]) -> NDArray[np.float64]:
    true, guessed = support.astype(np.float64), chosen.astype(np.float64)
    rows, chance = true.sum(axis=-1), (true * guessed).sum(axis=-1)
    below = rows**2 - chance
    return np.where(below > 0, _ratio(rows * hits.sum(axis=-1) - chance, below), math.nan)


def _scalars(
    hits: NDArray[np.int64], support: NDArray[np.int64], chosen: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """The metrics of one confusion matrix, or of many: the last axis is the classes."""
    recall, present = _ratio(hits, support), (support > 0).sum(axis=-1)
    precision, f1 = _ratio(hits, chosen), _ratio(2 * hits, support + chosen)
    share = support / support.sum(axis=-1, keepdims=True)
    return {
        "balanced_accuracy": recall.sum(axis=-1) / present,
        "precision_macro": precision.mean(axis=-1),
        "recall_macro": recall.mean(axis=-1),
        "f1_macro": f1.mean(axis=-1),
        "precision_weighted": (share * precision).sum(axis=-1),
        "recall_weighted": (share * recall).sum(axis=-1),
        "f1_weighted": (share * f1).sum(axis=-1),
        "matthews": _matthews(hits, support, chosen),
        "kappa": _kappa(hits, support, chosen),
    }


def _tally(
    scores: NDArray[np.float64], own: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """The distinct scores, ascending, and how many rows of the class and of the rest have each."""
    order = np.argsort(scores)
    ranked = scores[order] + 0.0  # turns -0.0 into 0.0
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    positives = np.diff(np.cumsum(own[order])[last], prepend=0)
    return ranked[last], positives, np.diff(last, prepend=-1) - positives


def _one_class(
    y_true: ArrayLike, probabilities: ArrayLike, classes: Classes, class_: Label
) -> tuple[Label, NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    codes, rows = scored_rows(y_true, probabilities, classes)
    known, k = place(class_, classes)
    return known, *_tally(rows[:, k], codes == k)


def _average_precision(positives: NDArray[np.int64], negatives: NDArray[np.int64]) -> float:
    own, rest = positives[::-1], negatives[::-1]
    hits = np.cumsum(own)
    if not hits[-1]:
        return math.nan
    return math.fsum((own * (hits / (hits + np.cumsum(rest)))).tolist()) / int(hits[-1])


# --- bins --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Bins:
    mean: NDArray[np.float64]
    share: NDArray[np.float64]
    hits: NDArray[np.int64]
    count: NDArray[np.int64]
    least: NDArray[np.float64]
    most: NDArray[np.float64]


def _bins(p: NDArray[np.float64], hit: NDArray[np.bool_], bins: int) -> _Bins:
    # Cut at probabilities, not at ranks: equal ones share a bin, whatever the order of the rows.
    wanted, rows = intervals.checked_whole(bins, "bins", 1), len(p)
    order = np.argsort(p)
    ranked = p[order] + 0.0
    places = np.unique(np.arange(1, min(wanted, rows)) * rows // min(wanted, rows))
    starts = np.unique(np.append(np.searchsorted(ranked, ranked[places]), 0))
    ends = np.append(starts[1:], rows)
    count, hits = ends - starts, np.diff(np.cumsum(hit[order])[ends - 1], prepend=0)
    mean = np.add.reduceat(ranked, starts) / count
    return _Bins(mean, hits / count, hits, count, ranked[starts], ranked[ends - 1])


def _top_bins(codes: NDArray[np.int64], rows: NDArray[np.float64], bins: int) -> _Bins:
    return _bins(rows.max(axis=1), rows.argmax(axis=1) == codes, bins)


def _class_bins(codes: NDArray[np.int64], rows: NDArray[np.float64], bins: int) -> list[_Bins]:
    return [_bins(rows[:, k], codes == k, bins) for k in range(rows.shape[1])]


def _squared_error(b: _Bins, debiased: bool) -> tuple[float, float]:
    """E^2 of `ece` and its standard error: the bins' squared distances from a binomial share, one independent of the
    other; Var (s - o)^2 = 4 (s - o)^2 v + 2 v^2, v = o (1 - o) / n_b with one hit and one miss added, and the bias of
    (s - o)^2 taken away, down to what calibrated forecasts have."""
    kept = b.count > (1 if debiased else 0)
    if not kept.any():
        return math.nan, math.nan
    n, share = b.count[kept], b.share[kept]
    weight, square = n / n.sum(), np.square(b.mean[kept] - share)
    chance = share * (1.0 - share) / (n - 1) if debiased else np.zeros(len(n))
    added = (b.hits[kept] + 1) / (n + 2)
    v = added * (1.0 - added) / n
    least = np.square(weight) * 2.0 * np.square(v)
    variance = max(float((np.square(weight) * 4.0 * square * v - least).sum()), float(least.sum()))
    return math.fsum((weight * (square - chance)).tolist()), math.sqrt(variance)


def _root(square: float) -> float:
    return square if math.isnan(square) else math.sqrt(max(square, 0.0))


def _error_interval(parts: list[_Bins], level: float, effect: float = 1.0) -> Interval:
    # The parts share their rows; the mean of their standard errors is the most that the mean's can be.
    square, error = (_mean(np.array(column)) for column in zip(*(_squared_error(b, True) for b in parts), strict=True))
    width = intervals.normal_quantile(level) * error * math.sqrt(effect)
    if math.isnan(square):
        return Interval(square, 0.0, 1.0, intervals.ONE_A_BIN)
    return Interval(_root(square), _root(square - width), min(_root(square + width), 1.0), _BINOMIAL)


# --- row losses --------------------------------------------------------------


def _log_losses(codes: NDArray[np.int64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):  # ln 0 = -inf is the answer, not a mishap
        return 0.0 - np.log(rows[np.arange(len(codes)), codes])  # the 0.0 turns -0.0 into 0.0


def _distances(codes: NDArray[np.int64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    distance = rows.copy()
    distance[np.arange(len(codes)), codes] -= 1.0
    return np.asarray(np.square(distance).sum(axis=1))


def _foreseen(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The variances of the log loss and of the squared distance of each row, if its classes have its probabilities."""
    logs = np.log(np.where(rows > 0, rows, 1.0))
    square = np.square(rows).sum(axis=1)
    of_loss = (rows * np.square(logs)).sum(axis=1) - np.square((rows * logs).sum(axis=1))
    of_distance = 4.0 * ((rows**3).sum(axis=1) - np.square(square))  # of |p|^2 - 2 p_y + 1
    return np.maximum(of_loss, 0.0), np.maximum(of_distance, 0.0)


# --- means and ratios ------------------------------------------------------------------


def _mean(values: NDArray[np.float64]) -> float:
    return math.fsum(values.tolist()) / len(values)


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.zeros(np.shape(below), dtype=np.float64)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio
