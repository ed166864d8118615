"""The softmax family on arrays: any axis, any strides; float32 stays float32, all else is float64."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce import _core
from luce.errors import InputError, LimitError

Floats = NDArray[np.floating]

MOST_CELLS = 1 << 33  # of a one-hot matrix


def available_threads(threads: int | None = None) -> int:
    """How many threads to use: as asked, else LUCE_NUM_THREADS, else the processors this process may run on."""
    if threads is None:
        text = os.environ.get("LUCE_NUM_THREADS", "")
        if not text:
            return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if not text.isdecimal() or int(text) < 1:
            raise InputError(f"LUCE_NUM_THREADS is {text!r}: set it to a whole number from 1 on, or unset it")
        threads = int(text)
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        raise InputError(f"threads is {threads!r}: give a whole number from 1 on, or None for all processors")
    return int(threads)


def array_of(values: ArrayLike, what: str) -> NDArray[Any]:
    """NumPy's array of the values; rows of different lengths raise InputError."""
    try:
        return np.asarray(values)
    except ValueError:
        raise InputError(f"{what} cannot be made an array: its rows have different lengths or kinds") from None


def _floats(values: ArrayLike, what: str) -> Floats:
    array = array_of(values, what)
    if array.dtype == np.float32 or array.dtype == np.float64:
        return array
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what} must be real numbers, not {array.dtype}")
    return array.astype(np.float64)


def _rows(logits: ArrayLike, axis: int) -> tuple[Floats, tuple[int, ...]]:
    """The logits as contiguous rows along the axis, and the shape with that axis last."""
    z = _floats(logits, "logits")
    if z.ndim == 0:
        raise InputError("logits is a single number: give one number for each class")
    if not -z.ndim <= axis < z.ndim:
        raise InputError(f"axis {axis} does not exist in logits of {z.ndim} dimensions")
    z = np.moveaxis(z, axis, -1)
    if z.shape[-1] == 0:
        raise InputError("logits have no classes: the axis has length 0")
    return np.ascontiguousarray(z).reshape(-1, z.shape[-1]), z.shape


def _temperature(value: float) -> float:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not (number and np.isfinite(value) and value > 0):
        raise InputError(f"temperature is {value!r}: give a number above 0")
    return float(value)


def _along_axis(logits: ArrayLike, axis: int, temperature: float, logarithms: bool) -> Floats:
    rows, shape = _rows(logits, axis)
    out = np.empty_like(rows)
    threads = available_threads() if rows.size > 1 << 16 else 1
    _core.softmax(rows, _temperature(temperature), logarithms, out, threads)
    return np.moveaxis(out.reshape(shape), -1, axis)


def softmax(logits: ArrayLike, axis: int = -1, temperature: float = 1.0) -> Floats:
    """Probabilities from logits: p_i = exp(z_i / T) / sum_j exp(z_j / T) along the axis.

    logits: real numbers of any shape with at least one dimension; float32 gives float32, else float64.
    A logit of -inf has probability 0; a row with NaN or +inf, or of -inf alone, is NaN as a whole.
    Raises InputError for text, an empty axis, or a temperature that is not above 0.
    Source: Bridle 1990, Probabilistic interpretation of feedforward classification network outputs.
    """
    return _along_axis(logits, axis, temperature, logarithms=False)


def log_softmax(logits: ArrayLike, axis: int = -1, temperature: float = 1.0) -> Floats:
    """Logarithms of the probabilities: z_i / T - logsumexp(z / T), exact also where the probability is near 1.

    Shapes, dtypes, special values and errors as for `softmax`; in nats.
    """
    return _along_axis(logits, axis, temperature, logarithms=True)


def logsumexp(logits: ArrayLike, axis: int = -1) -> Floats:
    """ln sum_j exp(z_j) along the axis, without overflow; the axis is taken out of the shape.

    All -inf gives -inf, any +inf gives +inf, any NaN gives NaN. Dtypes and errors as for `softmax`.
    """
    rows, shape = _rows(logits, axis)
    totals = np.empty(len(rows))
    _core.logsumexp(rows, totals, available_threads() if rows.size > 1 << 16 else 1)
    return totals.reshape(shape[:-1]).astype(rows.dtype, copy=False)


def sigmoid(logits: ArrayLike) -> Floats:
    """1 / (1 + exp(-z)) for each number: the softmax of (0, z), the probability of the second of two classes.

    float32 gives float32, all else float64; NaN stays NaN.
    """
    z = _floats(logits, "logits")
    flat = np.ascontiguousarray(z).reshape(-1)
    out = np.empty_like(flat)
    _core.sigmoid(flat, out, available_threads() if flat.size > 1 << 16 else 1)
    return out.reshape(z.shape)


def _class_codes(labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    codes = array_of(labels, "labels")
    if codes.dtype.kind not in "iu":
        raise InputError(f"labels must be class numbers 0 to {classes - 1}, not {codes.dtype}")
    wrong = np.flatnonzero((codes.reshape(-1) < 0) | (codes.reshape(-1) >= classes))
    if len(wrong):
        value = codes.reshape(-1)[wrong[0]]
        raise InputError(f"label {value} in row {wrong[0]}: class numbers run from 0 to {classes - 1}")
    return codes.astype(np.int64)


def cross_entropy(logits: ArrayLike, labels: ArrayLike) -> float:
    """The mean over rows of logsumexp(z_i) - z_i[y_i], in nats.

    logits: (n, K); labels: (n,) class numbers 0..K-1. Raises InputError for labels out of range or shapes that differ.
    """
    z = _floats(logits, "logits")
    if z.ndim != 2 or len(z) == 0:
        raise InputError(f"logits must be rows x classes with at least one row, not of shape {z.shape}")
    codes = _class_codes(labels, z.shape[1])
    if codes.shape != (len(z),):
        raise InputError(f"labels have shape {codes.shape}: give one for each of the {len(z)} rows of logits")
    logs = log_softmax(z.astype(np.float64))
    return float(-logs[np.arange(len(z)), codes].mean())


def _one_list(labels: ArrayLike) -> NDArray[Any]:
    array = array_of(labels, "labels")
    if array.ndim != 1:
        raise InputError(f"labels must be one list, not of shape {array.shape}")
    return array


def one_hot(labels: ArrayLike, classes: int | Sequence[object] | None = None) -> NDArray[np.float64]:
    """Rows with a 1 at the label's class and 0 elsewhere: (n, K) float64.

    labels: (n,) class numbers; or, with `classes` a sequence of labels, any of these labels.
    classes: how many there are (default: the largest number + 1). Raises InputError for labels out of range.
    """
    if classes is not None and not isinstance(classes, int):
        place = {c: i for i, c in enumerate(classes)}
        values = _one_list(labels).tolist()
        unknown = [v for v in values if v not in place]
        if unknown:
            raise InputError(f"label {unknown[0]!r} is not one of the {len(place)} classes")
        labels, classes = np.array([place[v] for v in values], dtype=np.int64), len(place)
    array = _one_list(labels)
    if classes is None:
        classes = int(array.max()) + 1 if array.size and array.dtype.kind in "iu" else 0
    if classes < 0:
        raise InputError(f"classes is {classes}: give how many there are")
    codes = _class_codes(array, classes) if array.size else np.zeros(0, dtype=np.int64)
    if len(codes) * classes > MOST_CELLS:
        raise LimitError(f"{len(codes)} labels of {classes} classes are more than {MOST_CELLS} cells (MOST_CELLS)")
    out = np.zeros((len(codes), classes))
    out[np.arange(len(codes)), codes] = 1.0
    return out
