"""How good predictions are: labels against labels, and probabilities against labels.

Rows in error lines count from 0, as arrays do. Every mean over rows is a correctly rounded sum divided by its length,
so the order of the rows cannot change a metric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce.errors import InputError

Label: TypeAlias = str | int | bool
Classes: TypeAlias = Sequence[Label] | NDArray[Any]

SUM_TOLERANCE = 1e-5  # a row of float32 probabilities may miss 1 by about 1e-6

_KINDS: dict[type, str] = {str: "text", int: "integers", bool: "booleans"}
_LISTED = 5  # how many unknown labels an error line names
_LABEL_SHOWN = 60  # characters of a label that an error line repeats


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

    def _averages(self, weights: NDArray[np.float64]) -> Averages:
        total = float(weights.sum())
        precision, recall, f1 = (
            math.fsum((weights * score).tolist()) / total for score in (self.precision, self.recall, self.f1)
        )
        return Averages(precision, recall, f1)


# --- labels against labels ---------------------------------------------------


def confusion(y_true: ArrayLike, y_pred: ArrayLike, classes: Classes | None = None) -> NDArray[np.int64]:
    """Count the rows of each true class (rows) that were predicted as each class (columns).

    C[i, j] = #{r : y_true[r] = classes[i] and y_pred[r] = classes[j]}

    y_true, y_pred: labels (n,), all text, all integers or all booleans. classes: the K labels in the order wanted;
    by default the sorted union of both. Returns int64 (K, K). Raises InputError for unequal lengths, no rows, labels
    that are missing, of mixed types or not in `classes`.
    """
    truth, predicted, known = _paired_codes(y_true, y_pred, classes)
    size = len(known)
    counts = np.bincount(truth * size + predicted, minlength=size * size)
    return counts.reshape(size, size).astype(np.int64, copy=False)


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """The share of rows whose predicted label is the true one.

    y_true, y_pred: labels (n,). Raises InputError as `confusion` does.
    """
    truth, predicted, _ = _paired_codes(y_true, y_pred, None)
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
    truth, predicted, known = _paired_codes(y_true, y_pred, classes)
    size = len(known)
    support = np.bincount(truth, minlength=size).astype(np.int64, copy=False)
    chosen = np.bincount(predicted, minlength=size)
    hits = np.bincount(truth[truth == predicted], minlength=size)
    return ClassScores(
        classes=known,
        precision=_ratio(hits, chosen),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, chosen + support),
        support=support,
    )


# --- probabilities against labels --------------------------------------------


def log_loss(y_true: ArrayLike, probabilities: ArrayLike, classes: Classes) -> float:
    """The mean negative log probability of the true class, in nats; a true class with probability 0 gives inf.

    L = (1/n) sum_r -ln p[r, y_r], nothing clipped and nothing added

    y_true: labels (n,). probabilities: (n, K), columns in the order of `classes`, each row finite, in [0, 1] and
    summing to 1 within 1e-5. Raises InputError naming the row, and for labels that are not in `classes`.
    Source: Good, "Rational decisions", JRSS B 14, 1952.
    """
    codes, rows = _scored_rows(y_true, probabilities, classes)
    with np.errstate(divide="ignore"):  # ln 0 = -inf is the answer, not a mishap
        losses = 0.0 - np.log(rows[np.arange(len(codes)), codes])  # the 0.0 turns -0.0 into 0.0
    return _mean(losses)


def brier(y_true: ArrayLike, probabilities: ArrayLike, classes: Classes) -> float:
    """The mean squared distance between the probabilities and the one-hot truth, in [0, 2].

    B = (1/n) sum_r sum_k (p[r, k] - 1[y_r = k])^2

    Arguments and errors as in `log_loss`. Source: Brier, Monthly Weather Review 78, 1950.
    """
    codes, rows = _scored_rows(y_true, probabilities, classes)
    distance = rows.copy()
    distance[np.arange(len(codes)), codes] -= 1.0
    return _mean(np.square(distance).sum(axis=1))


# --- checks ------------------------------------------------------------------


def _mean(values: NDArray[np.float64]) -> float:
    return math.fsum(values.tolist()) / len(values)


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.zeros(len(below), dtype=np.float64)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio


def _paired_codes(
    y_true: ArrayLike, y_pred: ArrayLike, classes: Classes | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[Label, ...]]:
    truth, predicted = _labels(y_true, "y_true"), _labels(y_pred, "y_pred")
    if len(truth) != len(predicted):
        raise InputError(f"y_true has {len(truth)} rows but y_pred has {len(predicted)}; pass one label a row in each")
    if classes is None:
        _same_kind(predicted, "y_pred", truth, "y_true")
        known = tuple(sorted({*truth, *predicted}))
    else:
        known = _known_classes(classes)
    return _codes(truth, "y_true", known), _codes(predicted, "y_pred", known), known


def _scored_rows(
    y_true: ArrayLike, probabilities: ArrayLike, classes: Classes
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    known = _known_classes(classes)
    codes = _codes(_labels(y_true, "y_true"), "y_true", known)
    try:
        rows = np.asarray(probabilities)
    except ValueError as error:  # NumPy's word for rows of unequal length
        raise InputError(f"probabilities must be a rectangle of {len(known)} numbers a row") from error
    if rows.dtype.kind not in "fiub":
        raise InputError(f"probabilities must be real numbers, not {rows.dtype}")
    if rows.shape != (len(codes), len(known)):
        raise InputError(
            f"probabilities have the shape {rows.shape}; {len(codes)} rows of y_true and {len(known)} classes"
            f" need {(len(codes), len(known))}"
        )
    rows = rows.astype(np.float64, copy=False)
    _check_probabilities(rows, known)
    return codes, rows


def _check_probabilities(rows: NDArray[np.float64], known: tuple[Label, ...]) -> None:
    inside = (rows >= 0.0) & (rows <= 1.0)  # false for NaN as well
    if not inside.all():
        row, column = divmod(int(np.argmin(inside)), len(known))
        raise InputError(
            f"row {row} of probabilities (counting from 0) has {rows[row, column]:.6g} for class"
            f" {_quoted(known[column])}; each must lie in [0, 1]: pass probabilities, not logits or scores"
        )
    sums = rows.sum(axis=1)
    near = np.abs(sums - 1.0) <= SUM_TOLERANCE
    if not near.all():
        row = int(np.argmin(near))
        raise InputError(
            f"row {row} of probabilities (counting from 0) sums to {sums[row]:.8g}, not 1;"
            " pass the probabilities of every class"
        )


def _known_classes(classes: Classes) -> tuple[Label, ...]:
    known = _labels(classes, "classes")
    seen: set[Label] = set()
    for label in known:
        if label in seen:
            raise InputError(f"classes holds {_quoted(label)} twice; name each class once")
        seen.add(label)
    return tuple(known)


def _codes(labels: list[Label], name: str, known: tuple[Label, ...]) -> NDArray[np.int64]:
    _same_kind(labels, name, known, "classes")
    index = {label: code for code, label in enumerate(known)}
    codes = np.array([index.get(label, -1) for label in labels], dtype=np.int64)
    if codes.min() < 0:
        raise InputError(_unknown(labels, name, index))
    return codes


def _unknown(labels: list[Label], name: str, index: dict[Label, int]) -> str:
    strangers = list(dict.fromkeys(label for label in labels if label not in index))
    listed = ", ".join(map(_quoted, strangers[:_LISTED]))
    if len(strangers) > _LISTED:
        listed += f" and {len(strangers) - _LISTED} more"
    noun = "a label" if len(strangers) == 1 else f"{len(strangers)} labels"
    verb = "is" if len(strangers) == 1 else "are"
    return (
        f"{name} holds {noun} that {verb} not among the {len(index)} classes: {listed}; the first stands in row"
        f" {labels.index(strangers[0])} (counting from 0); leave these rows out or name the class"
    )


def _same_kind(labels: Sequence[Label], name: str, others: Sequence[Label], other_name: str) -> None:
    # Without this True would pass for 1, and the text "1" would be reported as merely unknown.
    kind, other = type(labels[0]), type(others[0])
    if kind is not other:
        raise InputError(
            f"{name} holds {_KINDS[kind]} but {other_name} holds {_KINDS[other]}; convert one to the other's type"
        )


def _labels(values: ArrayLike, name: str) -> list[Label]:
    """The labels as Python values of one kind; lists keep NumPy from turning 1 into "1" or cutting a final NUL."""
    found = [_plain(value) for value in _listed(values, name)]
    if not found:
        raise InputError(f"{name} is empty; pass at least one label")
    kinds = list(dict.fromkeys(map(type, found)))
    for kind in kinds:
        if kind not in _KINDS:
            row = next(row for row, value in enumerate(found) if type(value) is kind)
            raise InputError(
                f"row {row} of {name} (counting from 0) is {_quoted(found[row])};"
                " a label is text, an integer or a boolean, and none may be missing"
            )
    if len(kinds) > 1:
        row = next(row for row, value in enumerate(found) if type(value) is kinds[1])
        raise InputError(
            f"{name} mixes {_KINDS[kinds[0]]} and {_KINDS[kinds[1]]} (row {row}, counting from 0);"
            " make all labels one type"
        )
    return found


def _listed(values: ArrayLike, name: str) -> list[Any]:
    if isinstance(values, list | tuple):
        return list(values)
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{name} must be one-dimensional, one label a row, not of shape {array.shape}")
    # tolist() would turn dates in nanoseconds into integers.
    return list(array) if array.dtype.kind in "mM" else array.tolist()


def _plain(value: Any) -> Any:
    if type(value) in _KINDS:
        return value
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer) and not isinstance(value, np.timedelta64):
        return int(value)
    return str.__str__(value) if isinstance(value, str) else value


def _quoted(value: Any) -> str:
    # repr() keeps line ends and terminal escapes in labels from reaching the terminal.
    text = repr(value[:_LABEL_SHOWN]) if isinstance(value, str) else repr(value)
    cut = isinstance(value, str) and len(value) > _LABEL_SHOWN
    text = " ".join(text.split())[: 4 * _LABEL_SHOWN]
    return text + "…" if cut else text
