"""The softmax family on arrays of any library, any axis and any strides; docs/numerics.md states the error of each.

float32 and float64 stay what they are; float16 and bfloat16 are worked in float32 and rounded back; all else is read as
float64. NumPy, PyTorch and JAX arrays on the CPU, and whatever speaks DLPack, come back as what they were.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luce import _core
from luce.arrays import BRAIN, Give, adopt, array_of, half_of, in_memory_order, recorded, wants_gradient
from luce.errors import InputError, LimitError

Floats = NDArray[np.floating]

MOST_CELLS = 1 << 33  # of a one-hot matrix
ALONE = 1 << 16  # fewer numbers than this are not worth a second thread
SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def available_threads(threads: int | None = None) -> int:
    """How many threads to use: as asked, else LUCE_NUM_THREADS, else the processors this process may run on."""
    if threads is None:
        text = os.environ.get("LUCE_NUM_THREADS", "")
        if not text:
            return _processors()
        if not text.isdecimal() or int(text) < 1:
            raise InputError(f"LUCE_NUM_THREADS is {text!r}: set it to a whole number from 1 on, or unset it")
        threads = int(text)
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        raise InputError(f"threads is {threads!r}: give a whole number from 1 on, or None for all processors")
    return int(threads)


def show_config() -> dict[str, Any]:
    """What does the work here: the instruction set of the core (see LUCE_CPU in docs/numerics.md) and the threads."""
    return {"instruction_set": _core.instruction_set(), "threads": available_threads()}


def _processors() -> int:
    """The processors this process may run on, and no more than its control group's share of time."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        return allowed if quota == "max" else max(1, min(allowed, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        return allowed


# ---------------------------------------------------------------------------------------------------------------------
# one way in and out for every function


def _floats(values: NDArray[Any], what: str) -> Floats:
    if values.dtype.kind == "f" and not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if values.dtype == SINGLE or values.dtype == DOUBLE:
        return values
    if values.dtype == BRAIN:
        return (values.view(np.uint16).astype(np.uint32) << 16).view(SINGLE)
    if half_of(values.dtype):
        return values.astype(SINGLE)
    if values.dtype.kind not in "biuf":
        raise InputError(f"{what} must be real numbers, not {values.dtype}")
    return values.astype(DOUBLE)


def _taken(values: Any, what: str) -> tuple[Floats, Give]:
    """Numbers to work on, and the way back: to the library they came from, and to half precision if they had it."""
    array, give = adopt(values, what)
    floats = _floats(array, what)
    if half_of(array.dtype):
        narrow = array.dtype
        return floats, lambda result: give(_narrowed(result, narrow))
    return floats, give


def _narrowed(result: NDArray[Any], narrow: np.dtype[Any]) -> NDArray[Any]:
    """The numbers in half precision, rounded to nearest, ties to even."""
    if narrow != BRAIN:
        return result.astype(narrow)
    bits = result.astype(SINGLE).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> 16 & np.uint32(1))
    return (np.where(np.isnan(result), bits | np.uint32(0x400000), rounded) >> 16).astype(np.uint16).view(BRAIN)


def _axis_of(z: Floats, axis: int) -> int:
    if z.ndim == 0:
        raise InputError("logits is a single number: give one number for each class")
    if not isinstance(axis, (int, np.integer)) or not -z.ndim <= axis < z.ndim:
        raise InputError(f"axis {axis} does not exist in logits of {z.ndim} dimensions")
    if z.shape[axis] == 0:
        raise InputError("logits have no classes: the axis has length 0")
    return int(axis) % z.ndim


def _masked(z: Floats, where: Any) -> Floats:
    """The logits with -inf where the mask is false."""
    mask = array_of(adopt(where, "where")[0], "where")
    if mask.dtype != np.bool_:
        raise InputError(f"where holds {mask.dtype}: give true for what counts and false for what does not")
    try:
        return np.where(np.broadcast_to(mask, z.shape), z, z.dtype.type(-np.inf))
    except ValueError:
        raise InputError(f"where has shape {mask.shape}, which does not fit logits of shape {z.shape}") from None


def _temperature(value: float) -> float:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not (number and np.isfinite(value) and value > 0):
        raise InputError(f"temperature is {value!r}: give a number above 0")
    return float(value)


def _target(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A view of the array that results are to be written into."""
    target, _ = adopt(out, "out")
    if target.shape != shape or target.dtype != dtype or not target.flags.writeable:
        state = "" if target.flags.writeable else ", read-only"
        found = f"{target.dtype} of shape {target.shape}{state}"
        raise InputError(f"out is {found}: give a writeable {dtype} array of shape {shape}")
    return target


def _room(shape: tuple[int, ...], z: Floats, target: NDArray[Any] | None) -> Floats:
    """Where results are made: in the target if the core can write there and it does not lie on z, else a new array."""
    if target is not None and target.dtype == z.dtype and target.flags.carray and not np.may_share_memory(target, z):
        return target
    return np.empty(shape, dtype=z.dtype)


def _threads(size: int) -> int:
    return available_threads() if size > ALONE else 1


def _given(result: Floats, give: Give, target: NDArray[Any] | None, out: Any) -> Any:
    """The result as the kind that came in, or in the array that was given for it."""
    if target is None:
        return give(result)
    if not np.may_share_memory(result, target):
        target[...] = _narrowed(result, target.dtype)
    return out


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """The array in C order and aligned; a copy if it is not."""
    return np.require(array, requirements=("C", "A"))


def _side_by_side(z: Floats, axis: int | None) -> tuple[Floats, tuple[int, ...], int]:
    """The numbers in an order of axes that lies side by side in memory, that order, and where the axis is in it."""
    order = in_memory_order(z) if z.flags.aligned else None
    if order is None:
        z, order = _plain(z), tuple(range(z.ndim))
    return z.transpose(order), order, 0 if axis is None else order.index(axis)


def _room_beside(z: Floats, order: tuple[int, ...], target: NDArray[Any] | None) -> Floats:
    """As `_room`, for numbers in this order of axes, which the core may also replace in their own place."""
    if target is not None and target.dtype == z.dtype:
        turned = target.transpose(order)
        same_place = turned.__array_interface__["data"] == z.__array_interface__["data"]
        if turned.flags.carray and (same_place or not np.may_share_memory(turned, z)):
            return turned
    return np.empty_like(z)


def _along_axis(logits: Any, axis: int, temperature: float, where: Any, out: Any, logarithms: bool) -> Any:
    if wants_gradient(logits):
        return recorded(
            logits,
            lambda z: _along_axis(z, axis, temperature, where, None, logarithms),
            lambda z, g: _pulled_back(z, g, axis, temperature, where, logarithms),
            out,
        )
    array, give = adopt(logits, "logits")
    half = half_of(array.dtype)
    if half and where is None and array.flags.c_contiguous and array.flags.aligned:
        place, temperature = _axis_of(array, axis), _temperature(temperature)
        target = None if out is None else _target(out, array.shape, array.dtype)
        if place == array.ndim - 1:
            result = _room_beside(array, tuple(range(array.ndim)), target)
            bits = array.view(np.uint16), half == "bfloat16", temperature, logarithms, result.view(np.uint16)
            _core.softmax_half(*bits, _threads(array.size))
            return _given(result, give, target, out)
    z, give = _taken(logits, "logits")
    place, temperature = _axis_of(z, axis), _temperature(temperature)
    if where is not None:
        z = _masked(z, where)
    target = None if out is None else _target(out, z.shape, adopt(logits, "logits")[0].dtype)
    z, order, place = _side_by_side(z, place)
    result = _room_beside(z, order, target)
    _core.softmax(z, place, temperature, logarithms, result, _threads(z.size))
    return _given(result.transpose(np.argsort(order)), give, target, out)


def softmax(logits: Any, axis: int = -1, *, temperature: float = 1.0, where: Any = None, out: Any = None) -> Any:
    """Probabilities from logits: p_i = exp(z_i / T) / sum_j exp(z_j / T) along the axis.

    logits: real numbers of any shape with at least one dimension, in any library's array; the result has their shape
    and kind. where: true for the classes that count (broadcast to the shape); the others have probability 0. out: an
    array of the result's shape and dtype to write into, which may be `logits` itself.
    A logit of -inf has probability 0; a row with NaN or +inf, or of -inf alone, is NaN as a whole.
    Error: at most 0.51 ulp in float32, 3 ulp in float64 (docs/numerics.md).
    Raises InputError for text, an empty axis, a temperature that is not above 0, shapes that do not fit.
    Source: Bridle 1990, Probabilistic interpretation of feedforward classification network outputs.
    """
    if type(logits) is np.ndarray and out is None and where is None and temperature == 1.0 and logits.size < ALONE:
        try:  # the short way of small calls: the core refuses whatever it does not suit
            result = np.empty_like(logits)
            _core.softmax(logits, axis, 1.0, False, result, 1)
            return result
        except (TypeError, ValueError):
            pass
    return _along_axis(logits, axis, temperature, where, out, logarithms=False)


def log_softmax(logits: Any, axis: int = -1, *, temperature: float = 1.0, where: Any = None, out: Any = None) -> Any:
    """Logarithms of the probabilities, in nats: z_i / T - logsumexp(z / T), exact also where the probability is near 1.

    Arguments, special values and errors as for `softmax`. Error: at most 0.51 ulp in float32, 2.5 ulp in float64.
    """
    if type(logits) is np.ndarray and out is None and where is None and temperature == 1.0 and logits.size < ALONE:
        try:  # the short way of small calls: the core refuses whatever it does not suit
            result = np.empty_like(logits)
            _core.softmax(logits, axis, 1.0, True, result, 1)
            return result
        except (TypeError, ValueError):
            pass
    return _along_axis(logits, axis, temperature, where, out, logarithms=True)


def logsumexp(logits: Any, axis: int = -1, *, where: Any = None, out: Any = None) -> Any:
    """ln sum_j exp(z_j) along the axis, without overflow; the axis is taken out of the shape.

    All -inf gives -inf, any +inf gives +inf, any NaN gives NaN. Arguments and errors as for `softmax`.
    Error: at most 0.51 ulp in float32; 2.5 ulp in float64 where it is not small beside the largest logit.
    """
    if wants_gradient(logits):
        return recorded(
            logits,
            lambda z: logsumexp(z, axis, where=where),
            lambda z, g: softmax(z, axis, where=where) * g.unsqueeze(axis),
            out,
        )
    z, give = _taken(logits, "logits")
    place = _axis_of(z, axis)
    if where is not None:
        z = _masked(z, where)
    shape = z.shape[:place] + z.shape[place + 1 :]
    target = None if out is None else _target(out, shape, adopt(logits, "logits")[0].dtype)
    total = _room(shape, z, target)
    _core.logsumexp(_plain(z), place, total, _threads(z.size))
    return _given(total, give, target, out)


def sigmoid(logits: Any, *, out: Any = None) -> Any:
    """1 / (1 + exp(-z)) for each number: the softmax of (0, z), the probability of the second of two classes.

    Arrays of any shape, kind and dtype as for `softmax`; NaN stays NaN. Error: 0.51 ulp in float32, 3 ulp in float64.
    """
    return _each(logits, out, logarithm=False)


def log_sigmoid(logits: Any, *, out: Any = None) -> Any:
    """ln(1 / (1 + exp(-z))) for each number, exact in both tails; otherwise as `sigmoid`."""
    return _each(logits, out, logarithm=True)


def _each(logits: Any, out: Any, logarithm: bool) -> Any:
    if wants_gradient(logits):
        return recorded(
            logits,
            lambda z: _each(z, None, logarithm),
            lambda z, g: g * sigmoid(-z) * (1.0 if logarithm else sigmoid(z)),
            out,
        )
    z, give = _taken(logits, "logits")
    target = None if out is None else _target(out, z.shape, adopt(logits, "logits")[0].dtype)
    flat, order, _ = _side_by_side(z, None)
    result = _room_beside(flat, order, target)
    _core.sigmoid(flat, logarithm, result, _threads(z.size))
    return _given(result.transpose(np.argsort(order)), give, target, out)


def softmax_vjp(logits: Any, cotangent: Any, axis: int = -1, *, temperature: float = 1.0, where: Any = None) -> Any:
    """The reverse derivative of softmax: J' g = p (g - sum_j p_j g_j) / T along the axis, p = softmax(z / T).

    cotangent: g, of the shape of the logits. The sum is taken of g less its value at the most probable class, so that
    nothing cancels where a probability is near 1; a class of probability 0 has derivative 0. Worked in float64; the
    result has the shape, dtype and kind of the logits.
    """
    return _pulled_back(logits, cotangent, axis, temperature, where, logarithms=False)


def softmax_jvp(logits: Any, tangent: Any, axis: int = -1, *, temperature: float = 1.0, where: Any = None) -> Any:
    """The forward derivative of softmax along a tangent t: J t = p (t - sum_j p_j t_j) / T.

    J = (diag p - p p') / T is symmetric: the numbers are those of `softmax_vjp`, and so are the arguments.
    """
    return _pulled_back(logits, tangent, axis, temperature, where, logarithms=False)


def _pulled_back(logits: Any, cotangent: Any, axis: int, temperature: float, where: Any, logarithms: bool) -> Any:
    """The reverse derivative of softmax or log-softmax, in the dtype and kind of the logits."""
    array, give = adopt(logits, "logits")
    z = _floats(array, "logits").astype(DOUBLE)
    place = _axis_of(z, axis)
    g = _floats(adopt(cotangent, "the cotangent")[0], "the cotangent").astype(DOUBLE)
    if g.shape != z.shape:
        raise InputError(f"the cotangent has shape {g.shape}, the logits have {z.shape}: give them one shape")
    p = softmax(z, place, temperature=temperature, where=where)
    if logarithms:
        possible = z > -np.inf if where is None else _masked(z, where) > -np.inf
        change = np.where(possible, g - p * np.where(possible, g, 0.0).sum(axis=place, keepdims=True), 0.0)
    else:
        from_top = g - np.take_along_axis(g, p.argmax(axis=place, keepdims=True), axis=place)
        change = p * (from_top - np.where(p > 0, p * from_top, 0.0).sum(axis=place, keepdims=True))
        change = np.where(p == 0, 0.0, change)
    change = change / temperature
    return give(_narrowed(change, array.dtype) if half_of(array.dtype) else change.astype(_floats(array, "").dtype))


# ---------------------------------------------------------------------------------------------------------------------
# loss


def _class_codes(labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    codes = array_of(labels, "labels")
    if codes.dtype.kind not in "iu":
        raise InputError(f"labels must be class numbers 0 to {classes - 1}, not {codes.dtype}")
    wrong = np.flatnonzero((codes.reshape(-1) < 0) | (codes.reshape(-1) >= classes))
    if len(wrong):
        value = codes.reshape(-1)[wrong[0]]
        raise InputError(f"label {value} in row {wrong[0]}: class numbers run from 0 to {classes - 1}")
    return codes.astype(np.int64)


def cross_entropy(
    logits: Any, labels: Any, *, class_weight: Any = None, sample_weight: Any = None, label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> float:  # fmt: skip
    """The mean cross-entropy of rows, in nats: sum_i w_i sum_k t_ik (logsumexp(z_i) - z_ik) / sum_i w_i.

    logits: (n, K). labels: (n,) class numbers 0..K-1, or (n, K) target probabilities t. label_smoothing e: targets
    become (1 - e) t + e / K. class_weight: (K,), w_i is the weight of the row's class (for targets, their mean of it);
    sample_weight: (n,), w_i is multiplied by it. ignore_index: rows with this label do not count.
    Raises InputError for labels out of range, negative weights or targets, shapes that differ, and no row that counts.
    """
    weights = class_weight, sample_weight
    return _cross_entropy(logits, labels, weights, label_smoothing, ignore_index, with_gradient=False, out=None)[0]


def cross_entropy_with_gradient(
    logits: Any, labels: Any, *, class_weight: Any = None, sample_weight: Any = None, label_smoothing: float = 0.0,
    ignore_index: int | None = None, out: Any = None,
) -> tuple[float, Any]:  # fmt: skip
    """The loss of `cross_entropy` and its gradient by the logits, w_i (p_i - t_i) / sum w, in their dtype and kind.

    out: an array of the gradient's shape and dtype to write it into. At the label of a row p - 1 is taken from the
    other probabilities, so that it keeps its digits where p is near 1. Error: at most 4 ulp of each of its numbers.
    """
    weights = class_weight, sample_weight
    return _cross_entropy(logits, labels, weights, label_smoothing, ignore_index, with_gradient=True, out=out)


def _cross_entropy(
    logits: Any, labels: Any, weights: tuple[Any, Any], smoothing: float, ignore: int | None, with_gradient: bool,
    out: Any,
) -> tuple[float, Any]:  # fmt: skip
    z, give = _taken(logits, "logits")
    if z.ndim != 2 or len(z) == 0:
        raise InputError(f"logits must be rows x classes with at least one row, not of shape {z.shape}")
    if z.shape[1] == 0:
        raise InputError("logits have no classes: the axis has length 0")
    if not (isinstance(smoothing, (int, float)) and 0.0 <= smoothing <= 1.0):
        raise InputError(f"label_smoothing is {smoothing!r}: give a number from 0 to 1")
    target = None if out is None else _target(out, z.shape, adopt(logits, "logits")[0].dtype)
    found = adopt(labels, "labels")[0]
    soft = found.ndim == 2 and found.dtype.kind == "f"
    if not soft and found.shape != (len(z),):
        raise InputError(f"labels have shape {found.shape}: give one for each of the {len(z)} rows of logits")
    if soft or smoothing:
        loss, gradient = _against_targets(z, found, weights, smoothing, ignore, with_gradient)
    else:
        loss, gradient = _against_labels(z, found, weights, ignore, with_gradient, target)
    return loss, None if gradient is None else _given(gradient, give, target, out)


def _against_labels(
    z: Floats, labels: NDArray[Any], weights: tuple[Any, Any], ignore: int | None, with_gradient: bool,
    target: NDArray[Any] | None,
) -> tuple[float, Floats | None]:  # fmt: skip
    """Loss and gradient for one class number a row, by the core."""
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels must be class numbers 0 to {z.shape[1] - 1}, not {labels.dtype}")
    codes = _plain(labels.astype(np.int64, copy=False))
    share: NDArray[np.float64] | None = None
    if ignore is not None or any(w is not None for w in weights):
        counted = np.ones(len(z), dtype=bool) if ignore is None else labels != ignore
        codes = _class_codes(np.where(counted, labels, 0), z.shape[1])
        share = _shares(counted, codes, z.shape[1], weights)
    gradient = _room(z.shape, z, target) if with_gradient else None
    scale = 1.0 / len(z) if share is None else 1.0
    total, outside = _core.loss_of_logits(_plain(z), codes, share, scale, gradient, _threads(z.size))
    if outside >= 0:
        _class_codes(labels, z.shape[1])
    return (total / len(z) if share is None else total), gradient


def _shares(counted: NDArray[Any], labels: NDArray[Any], classes: int, weights: tuple[Any, Any]) -> NDArray[np.float64]:
    """The weights of the rows, of sum 1; labels are class numbers, or target probabilities (n, K)."""
    by_class, by_row = weights
    share = counted * _weights_of(by_row, len(counted), "sample_weight")
    if by_class is not None:
        each = _weights_of(by_class, classes, "class_weight")
        share = share * (each[labels] if labels.ndim == 1 else (labels * each).sum(axis=1))
    most = share.max(initial=0.0)
    if not most > 0:
        raise InputError("no row counts: every label is ignored or every weight is 0")
    share = share / most
    return np.asarray(share / share.sum())


def _against_targets(
    z: Floats, labels: NDArray[Any], weights: tuple[Any, Any], smoothing: float, ignore: int | None, with_gradient: bool
) -> tuple[float, Floats | None]:
    """Loss and gradient for target probabilities (n, K)."""
    rows, classes = z.shape
    targets, counted = _targets(labels, rows, classes, ignore)
    share = _shares(counted, targets, classes, weights)
    if smoothing:
        targets = (1.0 - smoothing) * targets + smoothing / classes
    logs = log_softmax(z.astype(DOUBLE))
    each = -np.multiply(targets, logs, out=np.zeros_like(logs), where=targets > 0).sum(axis=1)
    loss = float((share * np.where(share > 0, each, 0.0)).sum())
    if not with_gradient:
        return loss, None
    gradient = np.where(targets == 1.0, np.expm1(logs), np.exp(logs) - targets)
    return loss, np.where(share[:, None] > 0, share[:, None] * gradient, 0.0).astype(z.dtype)


def _targets(labels: NDArray[Any], rows: int, classes: int, ignore: int | None) -> tuple[Floats, NDArray[Any]]:
    """Target probabilities (n, K) and which rows count, from class numbers or targets."""
    if labels.ndim == 2:
        if labels.shape != (rows, classes):
            raise InputError(
                f"targets have shape {labels.shape}: give ({rows}, {classes}), one row for each of the logits"
            )
        wrong = np.argwhere(~((labels >= 0) & (labels <= 1)))
        if len(wrong):
            row, column = wrong[0]
            raise InputError(f"target {labels[row, column]} in row {row}: targets are probabilities, from 0 to 1")
        return labels.astype(DOUBLE), np.ones(rows, dtype=bool)
    counted = np.ones(rows, dtype=bool)
    if ignore is not None and labels.dtype.kind in "iu":
        counted = labels != ignore
        labels = np.where(counted, labels, 0)
    targets = np.zeros((rows, classes))
    targets[np.arange(rows), _class_codes(labels, classes)] = 1.0
    return targets, counted


def _weights_of(weights: Any, count: int, what: str) -> Floats:
    if weights is None:
        return np.ones(count)
    found = _floats(adopt(weights, what)[0], what).astype(DOUBLE)
    if found.shape != (count,):
        raise InputError(f"{what} has shape {found.shape}: give {count} numbers")
    if not (np.isfinite(found) & (found >= 0)).all():
        raise InputError(
            f"{what} holds {found[~(np.isfinite(found) & (found >= 0))][0]}: weights are numbers from 0 on"
        )
    return found


# ---------------------------------------------------------------------------------------------------------------------
# labels and decisions


def top_k(logits: Any, k: int, axis: int = -1) -> tuple[Any, Any]:
    """The k largest numbers along the axis, in falling order, and their places: (values, indices).

    The axis has length k in both; equal numbers keep the order of their places, NaN comes first. Raises InputError for
    k below 1 or above the number of classes.
    """
    array, give = adopt(logits, "logits")
    z = _floats(array, "logits")
    place = _axis_of(z, axis)
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= z.shape[place]:
        raise InputError(f"k is {k!r}: give a whole number from 1 to {z.shape[place]}, the number of classes")
    falling = np.where(np.isnan(z), -np.inf, -z)
    order = np.argsort(falling, axis=place, kind="stable").take(np.arange(k), axis=place)
    return give(np.take_along_axis(array, order, axis=place)), give(order)


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
