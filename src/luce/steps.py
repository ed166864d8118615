"""What the solvers share: the points they start from, and the step along a direction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.features import Array
from luce.objective import Gap, Logits, Objective

LINE_SLOPE = 0.3  # how exact the step along a direction is
NARROW = 0.02  # or how near the ends are between which it lies, of the farther one: at a kink the slope never falls
LINE = 64  # bytes of a line of the cache
NEVER = -1e30  # the intercept of a class that is none: core/class_blocks.h


@dataclass(frozen=True)
class RowPoint:
    """Weights X'A and intercepts b, for A (outputs, rows); at the optimum of a problem with this penalty A would be
    the residuals s (y - p) / penalty."""

    a: Array
    b: Array
    penalty: float


@dataclass(frozen=True)
class ColumnPoint:
    """Weights that are 0 but in some ascending columns: (len(columns) + 1, outputs), the last row the intercepts."""

    columns: NDArray[np.int64]
    weights: Array


def in_lines(shape: tuple[int, ...], kind: type = np.float32) -> NDArray[Any]:
    """Zeros that begin with a line of the cache: a pass over blocks takes a fifth longer where registers lie across."""
    count, size = math.prod(shape), np.dtype(kind).itemsize
    room: NDArray[Any] = np.zeros(count + LINE // size, dtype=kind)
    first = -room.ctypes.data % LINE // size
    return room[first : first + count].reshape(shape)


@dataclass(frozen=True)
class BlockPoint:
    """Weights in blocks of classes (core/class_blocks.h): (blocks, columns + 1, classes of a block) float32, the last
    row the intercepts, which `bias` (blocks * classes of a block,) has in float64."""

    numbers: NDArray[np.float32]
    bias: Array
    classes: int

    @staticmethod
    def of(point: Array) -> BlockPoint:
        """From (columns + 1, classes)."""
        rows, classes = point.shape
        blocks = -(-classes // _core.BLOCK)
        out = BlockPoint(in_lines((blocks, rows, _core.BLOCK)), np.full(blocks * _core.BLOCK, NEVER), classes)
        for b, block in enumerate(out.numbers):
            part = point[:, b * _core.BLOCK : (b + 1) * _core.BLOCK]
            block[:, : part.shape[1]] = part
        out.bias[:classes] = 0.0
        out.move_bias(point[-1])
        return out

    def copy(self) -> BlockPoint:
        numbers = in_lines(self.numbers.shape)
        numbers[...] = self.numbers
        return BlockPoint(numbers, self.bias.copy(), self.classes)

    def let_go(self) -> None:
        """Of its numbers, of which there may be very many, when they are needed no more."""
        object.__setattr__(self, "numbers", in_lines((0, 0, 0)))

    def move_bias(self, step: Array) -> None:
        """Adds to the intercepts, (classes,)."""
        self.bias[: self.classes] += step
        self.numbers[:, -1] = self.bias.reshape(-1, _core.BLOCK)

    def whole(self) -> Array:
        """(columns + 1, classes)"""
        out = np.empty((self.numbers.shape[1], self.classes))
        for b, block in enumerate(self.numbers):
            part = out[:, b * _core.BLOCK : (b + 1) * _core.BLOCK]
            part[:] = block[:, : part.shape[1]]
        out[-1] = self.bias[: self.classes]
        return out

    def square(self) -> float:
        """|W|^2"""
        return sum(float(np.einsum("jc,jc->", w, w)) for w in (b[:-1].astype(np.float64) for b in self.numbers))

    def of_columns(self, place: NDArray[np.int64], columns: int) -> BlockPoint:
        """For other columns: those that are now `place`, -1 for one that is gone; 0 for new ones."""
        kept = np.flatnonzero(place >= 0)
        numbers = in_lines((len(self.numbers), columns + 1, _core.BLOCK))
        for old, new in zip(self.numbers, numbers, strict=True):
            new[place[kept]] = old[kept]
            new[-1] = old[-1]
        return BlockPoint(numbers, self.bias.copy(), self.classes)


Start: TypeAlias = Array | RowPoint | ColumnPoint | BlockPoint


def of_columns(start: Start | None, place: NDArray[np.int64], columns: int) -> Start | None:
    """As `BlockPoint.of_columns`; None for a point that is told by rows."""
    if isinstance(start, BlockPoint):
        return start.of_columns(place, columns)
    if not isinstance(start, np.ndarray):
        return None
    kept = np.flatnonzero(place >= 0)
    out = np.zeros((columns + 1, start.shape[1]))
    out[place[kept]], out[-1] = start[kept], start[-1]
    return out


@dataclass(frozen=True)
class Quadratic:
    """The smooth penalties along a direction: value + step linear + step^2 square / 2."""

    value: float
    linear: float
    square: float


def line_search(
    o: Objective, logits: Array, along: Array, value: float, slope: float, penalty: Quadratic,
    whole: tuple[float, float] | None = None,
) -> float:  # fmt: skip
    """A step that lowers the objective and at which its slope has fallen to LINE_SLOPE of the first; 0 if none does.

    Works on the logits alone: safeguarded Newton, with the secant where Newton leaves the bracket, and the middle where
    two of these have not made it half as wide. whole: P and its slope at 1, if they are known.
    """
    low, high, step = 0.0, np.inf, 1.0
    slope_low, slope_high = slope, np.inf
    best, least = 0.0, np.inf
    if whole is not None and np.isfinite(whole).all():
        if whole[1] < 0:
            low, slope_low, step = 1.0, whole[1], min(max(slope / (slope - whole[1]), 1.1), 8.0)
        else:
            high, slope_high, step = 1.0, whole[1], _least_of_cubic(value, slope, *whole)
        if whole[0] <= value * (1 + 1e-12):
            best, least = 1.0, whole[0]
    widths = [np.inf, np.inf]
    for _ in range(40):
        loss, first, second = o.along(logits, along, step)
        penalised = loss + penalty.value + step * (penalty.linear + 0.5 * step * penalty.square)
        lower = penalised <= value * (1 + 1e-12)  # up to rounding
        first += penalty.linear + step * penalty.square
        second += penalty.square
        if lower and abs(first) <= LINE_SLOPE * abs(slope):
            return step
        if lower and penalised < least:
            best, least = step, penalised
        if first < 0:
            low, slope_low = step, first
        else:
            high, slope_high = step, first
        if best > 0.0 and high - low <= NARROW * high:
            break
        widths.append(high - low)
        newton = step - first / second if second > 0 else np.inf
        if widths[-1] > 0.5 * widths[-3] and widths[-3] < np.inf:
            step = 0.5 * (low + high) if low > 0 else 0.1 * high
        elif low < newton < min(high, 8 * step):
            step = newton
        elif high == np.inf:
            step *= 8
        else:
            secant = low - slope_low * (high - low) / (slope_high - slope_low)
            step = min(max(secant, low + 0.02 * (high - low)), high - 0.02 * (high - low))
    return best


def _least_of_cubic(value: float, slope: float, there: float, slope_there: float) -> float:
    """Where the cubic is least between 0 and 1 that has these values and slopes there, which fall and rise."""
    bend = slope + slope_there - 3 * (there - value)
    root = np.sqrt(max(bend * bend - slope * slope_there, 0.0))
    return float(np.clip(1 - (slope_there + root - bend) / (slope_there - slope + 2 * root), 0.02, 0.98))


class Bracket:
    """Steps along a direction, where each costs a pass: by the secant within what is known, else four times as far."""

    def __init__(self, value: float, slope: float) -> None:
        self.value = value
        self.low, self.slope_low = 0.0, slope
        self.high, self.slope_high = np.inf, np.inf

    def next(self, step: float, value: float, slope: float) -> float:
        """The step to try after one that will not do, P and its slope there."""
        if slope < 0 and value <= self.value:
            self.low, self.slope_low = step, slope
        else:
            self.high, self.slope_high = step, slope
        low, high = self.low, self.high
        if high == np.inf:
            return 4 * step
        if not self.slope_high > 0:  # P, not its slope, says that it is too far; or neither is a number
            return 0.5 * (low + high)
        secant = low - self.slope_low * (high - low) / (self.slope_high - self.slope_low)
        return float(min(max(secant, low + 0.1 * (high - low)), high - 0.1 * (high - low)))


class Method(Protocol):
    """A way to the minimum. value: P where it is; logits there; passes: how often X was read."""

    @property
    def value(self) -> float: ...

    @property
    def logits(self) -> Logits: ...

    @property
    def passes(self) -> int: ...

    def rough_gap(self) -> float:
        """The duality gap but for the intercepts, for free."""

    def intercept_slope(self) -> Array:
        """The gradient of the intercepts, (outputs,)."""

    def prove(self) -> Gap:
        """The duality gap, from logits worked afresh."""

    def advance(self) -> bool:
        """Goes on to a better point; False if rounding leaves none."""

    def point(self) -> Array: ...

    def resume(self) -> Start: ...
