"""What a measure is taken of: labels and probabilities as users give them, checked, as class codes and float64 rows."""

from __future__ import annotations

from collections.abc import Sequence
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


def sample(
    y_true: ArrayLike, probabilities: ArrayLike, classes: Classes, predicted: ArrayLike | None
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], tuple[Label, ...]]:
    """True codes, rows of probabilities, predicted codes (by default the most probable), and the classes."""
    codes, rows = scored_rows(y_true, probabilities, classes)
    known = _known_classes(classes)
    if predicted is None:
        return codes, rows, rows.argmax(axis=1), known
    labels = _labels(predicted, "predicted")
    if len(labels) != len(codes):
        raise InputError(f"y_true has {len(codes)} rows but predicted has {len(labels)}; pass one label a row in each")
    return codes, rows, _codes(labels, "predicted", known), known


def place(class_: Label, classes: Classes) -> tuple[Label, int]:
    """The class as it is known, and its column."""
    known, label = _known_classes(classes), _plain(class_)
    for k, each in enumerate(known):
        if type(each) is type(label) and each == label:
            return each, k
    raise InputError(f"class_ {quoted(label)} is not among the {len(known)} classes; name one of them")


def paired_codes(
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


def scored_rows(
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
            f" {quoted(known[column])}; each must lie in [0, 1]: pass probabilities, not logits or scores"
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
            raise InputError(f"classes holds {quoted(label)} twice; name each class once")
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
    listed = ", ".join(map(quoted, strangers[:_LISTED]))
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
                f"row {row} of {name} (counting from 0) is {quoted(found[row])};"
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


def quoted(value: Any) -> str:
    # repr() keeps line ends and terminal escapes in labels from reaching the terminal.
    text = repr(value[:_LABEL_SHOWN]) if isinstance(value, str) else repr(value)
    cut = isinstance(value, str) and len(value) > _LABEL_SHOWN
    text = " ".join(text.split())[: 4 * _LABEL_SHOWN]
    return text + "…" if cut else text
