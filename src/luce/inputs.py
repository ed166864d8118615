"""What users give to a fit or a prediction, checked once: matrices, labels and weights of any library."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce import _core
from luce.arrays import array_of
from luce.errors import InputError, KindError, LuceWarning, inert, warn
from luce.features import Features
from luce.functional import available_threads

LARGEST = 1e100  # numbers farther out would overflow when squared and summed
EXACT_IN_SINGLE = (np.bool_, np.int8, np.int16, np.uint16, np.float16)
NATIVE = (np.uint8, np.float16, np.float32, np.float64)
BLOCK_BYTES = 1 << 20


def is_sparse(X: object) -> bool:
    """Whether this is a matrix or array of scipy.sparse, which is not imported for the question."""
    return hasattr(X, "tocsr") and hasattr(X, "nnz") and hasattr(X, "shape")


def names_of(X: object) -> NDArray[np.object_] | None:
    """The column names of a data frame, if they are all strings; None for arrays and frames without."""
    columns = getattr(X, "columns", None)
    if columns is None or is_sparse(X) or isinstance(X, np.ndarray):
        return None
    names = np.asarray(list(columns), dtype=object)
    kinds = {isinstance(name, str) for name in names}
    if kinds == {True, False}:
        raise InputError(
            "X's columns mix names of type str with others: Feature names are only supported if all input features "
            "have string names; rename them, or give the values alone"
        )
    return names if kinds == {True} else None


def features_of(
    X: Any, columns: int | None = None, model: str = "SoftmaxRegression", threads: int | None = None
) -> Features:
    """X (n, d) as the solver sees it, without a copy where its kind allows: float16, float32, float64 and uint8 arrays
    of any strides, read-only and memory-mapped ones, and compressed rows of scipy.sparse whose columns ascend.
    `columns`: how many a fit of `model` saw. threads: that may put columns in order; None means all processors.

    Raises InputError for anything but finite numbers in rows and columns.
    """
    features = _sparse(X, threads) if is_sparse(X) else _dense(X)
    if columns is not None and features.columns != columns:
        raise InputError(
            f"X has {features.columns} features, but {model} is expecting {columns} features as input: "
            "give the columns that the model was fitted on"
        )
    return features


def _dense(X: Any) -> Features:
    x = array_of(X, "X")
    if x.dtype.kind == "O":
        x = _numbers(x)
    if x.dtype.kind == "c":
        raise InputError(f"X holds {x.dtype}: Complex data not supported; give its parts as columns of their own")
    if x.dtype.kind not in "biuf":
        raise InputError(f"X holds {x.dtype}, not numbers: use luce.Classifier for tables with text or categories")
    if x.ndim != 2:
        raise InputError(
            f"X has {x.ndim} dimensions, give rows x columns: Reshape your data with reshape(-1, 1) for a single "
            "column, reshape(1, -1) for a single row"
        )
    _some(x.shape)
    x = native(x)
    if (place := first_beyond(x)) is not None:
        raise InputError(_unusable(x[place], *place))
    return Features(len(x), dense=x)


def native(x: NDArray[Any]) -> NDArray[Any]:
    """Numbers (n, d) of a kind that the core reads: the same array if it is, else a copy."""
    if x.dtype.newbyteorder("=") not in NATIVE:
        x = x.astype(np.float32 if x.dtype in EXACT_IN_SINGLE else np.float64)
    if not x.dtype.isnative or x.strides[0] % x.itemsize or x.strides[1] % x.itemsize or not x.flags.aligned:
        x = x.astype(x.dtype.newbyteorder("="))
    return x


def first_beyond(x: NDArray[Any]) -> tuple[int, int] | None:
    """The row and column of the first number that is NaN or beyond LARGEST in size, or None; x (n, d), of a kind that
    the core reads, is gone through in blocks of rows, so that a file need never be in memory whole."""
    step = max(1, BLOCK_BYTES // max(x.shape[1] * x.itemsize, 1))
    for start in range(0, len(x), step) if x.dtype.kind == "f" else ():
        block = x[start : start + step]
        if x.dtype == np.float16:  # by its bits: NumPy compares halves one by one
            if not ((block.view(np.uint16) & 0x7FFF) >= 0x7C00).any():
                continue
        elif max(float(block.max()), -float(block.min())) <= LARGEST:  # false if any number is NaN
            continue
        row, column = np.argwhere(~(np.abs(block.astype(np.float64)) <= LARGEST))[0]
        return start + int(row), int(column)
    return None


def _numbers(x: NDArray[Any]) -> NDArray[Any]:
    """Python objects as float64; what is no number is named with its place."""
    try:
        return x.astype(np.float64)
    except (TypeError, ValueError):
        for place, value in np.ndenumerate(x):
            try:
                float(value)
            except (TypeError, ValueError):
                where = f"row {place[0]}" + (f", column {place[1]}" if len(place) > 1 else "")
                raise KindError(
                    f"X has {inert(repr(value))} in {where}: argument must be a string of digits or a number; "
                    "use luce.Classifier for tables with text, categories or missing cells"
                ) from None
        raise KindError("X holds objects that are no numbers: use luce.Classifier for tables with text") from None


def _some(shape: tuple[int, ...]) -> None:
    if shape[0] == 0:
        raise InputError(
            f"X has 0 rows and {shape[1]} columns: found array with 0 sample(s) while a minimum of 1 is required"
        )
    if shape[1] == 0:
        raise InputError(
            f"X has {shape[0]} rows, 0 columns: 0 feature(s) (shape=({shape[0]}, 0)) while a minimum of 1 is required."
        )


def _unusable(value: Any, row: int, column: int) -> str:
    if np.isfinite(value):
        return f"X has {value} in row {row}, column {column}: rescale the column, numbers beyond 1e100 overflow"
    what = "contains NaN" if np.isnan(value) else "contains infinity"
    return f"X has {value} in row {row}, column {column}: Input X {what}; fill or drop it, or use luce.Classifier"


def _sparse(X: Any, threads: int | None) -> Features:
    if X.ndim != 2:
        raise InputError(f"X has {X.ndim} dimensions: give rows x columns")
    _some(X.shape)
    if X.dtype.kind not in "biuf":
        what = "Complex data not supported" if X.dtype.kind == "c" else "give numbers"
        raise InputError(f"X holds {X.dtype}: {what}")
    if X.shape[1] > np.iinfo(np.int32).max:
        raise InputError(f"X has {X.shape[1]} columns: at most {np.iinfo(np.int32).max} can be told apart")
    x = X if X.format == "csr" else X.tocsr()
    ordered = x.has_canonical_format  # columns ascend, and none is met twice in a row
    values = x.data
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float32 if values.dtype in (*EXACT_IN_SINGLE, np.uint8) else np.float64)
    if len(values) and not float(np.abs([values.max(), values.min()]).max()) <= LARGEST:
        entry = int(np.flatnonzero(~(np.abs(values) <= LARGEST))[0])
        row = int(np.searchsorted(x.indptr, entry, side="right")) - 1
        raise InputError(_unusable(values[entry], row, int(x.indices[entry])))
    if x.indices.dtype != np.int32 and len(x.indices) and not 0 <= x.indices.min() <= x.indices.max() < X.shape[1]:
        raise InputError(f"X has an entry in a column that is none of its {X.shape[1]}: make the matrix anew")
    starts, indices = np.ascontiguousarray(x.indptr, dtype=np.int64), np.ascontiguousarray(x.indices, dtype=np.int32)
    values = np.ascontiguousarray(values)
    if not ordered:
        indices, values = indices[: starts[-1]].copy(), values[: starts[-1]].copy()
        if _core.sort_rows(starts, indices, values, available_threads(threads)):
            x = x.copy()
            x.sum_duplicates()
            return _sparse(x, threads)
    return Features(x.shape[0], starts=starts, indices=indices, values=values, sparse_columns=x.shape[1])


def classes_of(y: ArrayLike, rows: int) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """The distinct labels in ascending order, and the place of each row's label among them.

    Labels are ints, bools, strings or whole floats. Raises InputError for others, a mixture, or a single class.
    """
    labels = _labels(y, rows)
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"y has one class only ({classes[0]!r}): at least two are needed to tell apart")
    return classes, codes.astype(np.int32)


def codes_among(
    y: ArrayLike, classes: NDArray[Any], rows: int, hint: str = "name every class that there is"
) -> NDArray[np.int32]:
    """The place of each row's label among classes that are known, in any order; raises InputError, which ends with the
    hint, for a label that is none."""
    labels = _labels(y, rows)
    if (labels.dtype.kind in "U") != (classes.dtype.kind in "U"):
        raise InputError(f"y holds {labels.dtype}, but the classes are {classes.tolist()[:5]!r}")
    order = np.argsort(classes, kind="stable")
    codes = order[np.minimum(np.searchsorted(classes, labels, sorter=order), len(classes) - 1)]
    unknown = np.flatnonzero(classes[codes] != labels)
    if len(unknown):
        row = int(unknown[0])
        raise InputError(
            f"y has {labels[row].item()!r} in row {row}, which is none of the classes {classes.tolist()[:5]!r}: {hint}"
        )
    return codes.astype(np.int32)


def _labels(y: ArrayLike, rows: int) -> NDArray[Any]:
    if y is None:
        raise InputError("y is None: SoftmaxRegression requires y to be passed, but the target y is None")
    labels = array_of(np.array(y, dtype=object) if isinstance(y, (list, tuple)) else y, "y")
    if labels.ndim == 2 and labels.shape[1] == 1 and len(labels) == rows:
        labels = _as_row(labels)
    if labels.ndim != 1 or len(labels) != rows:
        raise InputError(f"y has shape {labels.shape}: give one label for each of the {rows} rows of X")
    if labels.dtype.kind == "O":
        labels = _of_one_kind(labels)
    if labels.dtype.kind == "f":
        whole = np.isfinite(labels) & (labels == np.floor(labels))
        if not whole.all():
            row = int(np.flatnonzero(~whole)[0])
            kind = "Unknown label type: continuous" if np.isfinite(labels[row]) else "Input y contains NaN or infinity"
            raise InputError(f"y has {labels[row]} in row {row}, {kind}: give classes, whole numbers or strings")
    elif labels.dtype.kind not in "biuU":
        raise InputError(f"y holds {labels.dtype}: labels must be whole numbers, bools or strings")
    return labels


def _as_row(labels: NDArray[Any]) -> NDArray[Any]:
    kind = getattr(sys.modules.get("sklearn.exceptions"), "DataConversionWarning", LuceWarning)
    warn("A column-vector y was passed when a 1d array was expected: give y.ravel()", kind)
    return labels.ravel()


def _of_one_kind(labels: NDArray[Any]) -> NDArray[Any]:
    """Python objects as an array of strings, ints, bools or floats; a mixture, or anything else, raises InputError."""
    values = [v.item() if isinstance(v, np.generic) else v for v in labels.tolist()]
    kinds = {str: "text", bool: "bool", int: "number", float: "number"}
    first = kinds.get(type(values[0]))
    if first is None:
        raise InputError(f"y has {values[0]!r} in row 0: labels must be whole numbers, bools or strings")
    odd = next((i for i, v in enumerate(values) if kinds.get(type(v)) != first), None)
    if odd is not None:
        raise InputError(f"y mixes kinds of labels: row {odd} is {values[odd]!r}, row 0 is {values[0]!r}")
    return np.array(values)


def weights_of(sample_weight: ArrayLike | None, rows: int) -> NDArray[np.float64] | None:
    """The weights of the rows, float64; raises InputError unless they are finite, at least 0 and not all 0."""
    if sample_weight is None:
        return None
    given = array_of(sample_weight, "sample_weight")
    if given.dtype.kind not in "biuf":
        raise InputError(f"sample_weight holds {given.dtype}: give numbers of at least 0")
    weights = given.astype(np.float64)
    if weights.ndim == 0:
        weights = np.full(rows, float(weights))
    if weights.shape != (rows,):
        raise InputError(f"sample_weight has shape {weights.shape}: give one number for each of the {rows} rows of X")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise InputError(f"sample_weight is {weights[bad[0]]} in row {bad[0]}: weights must be finite and at least 0")
    if not weights.any():
        raise InputError("sample_weight is zero in every row: at least one row must count")
    return weights


def _class_weights(
    given: Mapping[Any, float] | str | None,
    classes: NDArray[Any],
    codes: NDArray[np.int32],
    weights: NDArray[np.float64] | None,
) -> NDArray[np.float64] | None:
    """The weight of each row by its class, (n,): None for 1; "balanced" for n / (K count of the class), rows counted by
    their weights; or a mapping from labels to weights, 1 for those it does not name."""
    if given is None:
        return None
    counts = np.bincount(codes, weights=weights, minlength=len(classes)).astype(np.float64)
    if isinstance(given, str):
        if given != "balanced":
            raise InputError(f"class_weight is {given!r}: give None, 'balanced', or a weight for each class")
        return np.asarray((counts.sum() / (len(classes) * np.where(counts > 0, counts, np.inf)))[codes])
    if not isinstance(given, Mapping):
        raise InputError(f"class_weight is a {type(given).__name__}: give None, 'balanced', or a weight for each class")
    known = classes.tolist()
    for label, weight in given.items():
        if not (isinstance(weight, (int, float, np.number)) and np.isfinite(weight) and weight >= 0):
            raise InputError(f"class_weight of {label!r} is {weight!r}: weights must be finite and at least 0")
    unknown = [label for label in given if label not in known]
    if len(unknown) == len(given) and given:
        raise InputError(f"class_weight names no class of y: it has {unknown[:5]!r}, y has {known[:5]!r}")
    return np.array([float(given.get(label, 1.0)) for label in known])[codes]


def row_weights(
    sample_weight: ArrayLike | None,
    class_weight: Mapping[Any, float] | str | None,
    classes: NDArray[Any],
    codes: NDArray[np.int32],
) -> NDArray[np.float64] | None:
    """The weight of each row, by itself and by its class, (n,); None where each is 1."""
    weights = weights_of(sample_weight, len(codes))
    of_classes = _class_weights(class_weight, classes, codes, weights)
    if of_classes is None or weights is None:
        return weights if of_classes is None else of_classes
    return np.asarray(weights * of_classes)
