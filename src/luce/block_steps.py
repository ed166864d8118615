"""A solver for sparse matrices and very many classes, whose logits are never there for all rows (core/class_blocks.h).

Memoryless BFGS: the pair of the last step corrects the diagonal of the curvature, which is taken anew now and then.
(Nocedal and Wright, Numerical Optimization, 2nd ed., section 7.2.) It holds five arrays of the size of the weights,
three in float32, and the inverse of the curvature and the direction in bfloat16 (the upper half of a float32).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.features import Array
from luce.objective import FarLogits, Gap, Objective
from luce.run import Solve, State
from luce.steps import BlockPoint, Bracket, Start, in_lines

FRESH, OFTEN = 12, 1.5  # passes with the first curvature; with each later one, to the passes before it
MOST_TRIALS = 20
NOISE = 1e-7  # of P: what float32 leaves of it
FLATTER = 0.9  # how much of the slope may be left
MOST_BIAS_STEPS, BIAS_MEMORY = 40, 8
BALANCED = 1e-8  # of the weight of all rows: so much may be in classes that it does not belong to, in a proof


class BlockLogits(FarLogits):
    """The logits of a point in blocks, which are worked out each time that they are needed."""

    def __init__(self, objective: Objective, at: BlockPoint) -> None:
        self.objective, self.at = objective, at

    @property
    def point(self) -> Array:  # type: ignore[override]
        return self.at.whole()

    def of_rows(self, rows: np.ndarray) -> Array:
        o = self.objective
        part, out = o.features.take(rows), np.empty((o.classes, len(rows)))
        labels = _core.Labels(np.ascontiguousarray(o.codes[rows]), None, o.classes)
        _core.ClassBlocks(part.design, labels).logits(self.at.numbers, self.at.bias, out, o.threads)
        return out


class BlockSteps:
    """Steps for an objective of which `fits` is true."""

    COUNTS = ("value", "steep", "passes", "length", "due")
    ARRAYS = ("gradient", "before", "inverse", "direction", "slope")

    @staticmethod
    def fits(o: Objective) -> bool:
        """Whether the columns are all sparse, the classes many blocks, and the penalty L2 alone."""
        many = o.classes > _core.BLOCK and o.features.dense is None and o.features.at_hand
        return many and o.prior is None and o.penalty > 0 and not o.l1

    def __init__(self, objective: Objective, start: Start | None) -> None:
        if start is not None and not isinstance(start, BlockPoint | np.ndarray):
            raise TypeError("weights told by rows or by some columns start a fit of the same kind alone")
        if start is None:
            start = objective.start()
        self.start = start if isinstance(start, BlockPoint) else None
        self._take(objective, start.copy() if isinstance(start, BlockPoint) else BlockPoint.of(start))
        self._settle()
        self._take_curvature()
        self.due = FRESH

    def _take(self, objective: Objective, at: BlockPoint) -> None:
        """Room for what the steps hold; what smaller fits before have left is given back for it."""
        _core.release_memory()
        self.objective, self.at = objective, at
        o = objective
        self.core = _core.ClassBlocks(o.features.design, o.labels)
        self.gradient, self.before = (in_lines(at.numbers.shape) for _ in range(2))
        self.inverse, self.direction = (in_lines(at.numbers.shape, np.uint16) for _ in range(2))
        self.slope, self.counts = np.zeros(len(at.bias)), np.zeros(len(at.bias))
        self.counts[: o.classes] = np.bincount(o.codes, weights=o.weights, minlength=o.classes)
        self.value = self.steep = np.inf  # P, and the square of its gradient in the weights
        self.length = 0.0  # of the last step along the direction; 0: there is none that counts
        self.sums = (0.0, 0.0, 0.0, 0.0)  # what BlockKernels::products says of it
        self.passes = self.due = 0  # due: when the curvature is taken anew

    def _settle(self) -> None:
        """P and its gradient."""
        o = self.objective
        self.value, self.steep = self.core.gradient(self.at.numbers, o.penalty, self.gradient, self.slope, o.threads)
        if not o.intercept:
            self.gradient[:, -1] = self.slope[:] = 0.0
        self.passes += 1

    def _take_curvature(self) -> None:
        o = self.objective
        self.core.take_curvature(self.at.numbers, o.penalty, self.inverse, o.threads)
        if not o.intercept:
            self.inverse[:, -1] = 0.0
        self.passes += 1

    def keep(self, at: Solve, state: Callable[[], State]) -> None:
        """A checkpoint now and then, and one at the beginning, with which the point where it started may go."""
        at.keep(state, at_once=self.start is not None)
        if self.start is not None:
            self.start.let_go()
            self.start = None

    def rough_gap(self) -> float:
        """With what the intercepts may gain, each for itself."""
        pulled = float(np.sum(self.slope**2 * _wide(self.inverse[:, -1]).ravel()))
        return self.steep / (2 * self.objective.penalty) + 0.5 * pulled

    def advance(self) -> bool:
        if self.passes >= self.due:
            self._take_curvature()
            self.due = int(OFTEN * self.passes)
            if self.length:
                self.sums = self._products(self.length)
        slope = self._direct()
        if not slope < 0:
            self.length = 0.0
            slope = self._direct()
        if not slope < 0:
            return False
        o, value, bracket = self.objective, self.value, Bracket(self.value, slope)
        self.gradient, self.before = self.before, self.gradient
        step, moved = 1.0, 0.0
        for _ in range(MOST_TRIALS):
            self.core.add_scaled(self.at.numbers, self.direction, step - moved, o.threads)
            self.at.move_bias((step - moved) * _wide(self.direction[:, -1]).ravel()[: o.classes])
            moved = step
            self._settle()
            self.sums = self._products(step)
            there = self.sums[0] / step
            if self.value <= value + NOISE * abs(value) and abs(there) <= FLATTER * abs(slope):
                self.length = step
                return True
            step = bracket.next(step, self.value, there)
        self.length = 0.0
        return bool(self.value < value)

    def _products(self, length: float) -> tuple[float, float, float, float]:
        o = self.objective
        return self.core.products(self.gradient, self.before, self.inverse, self.direction, length, o.threads)

    def _direct(self) -> float:
        """The direction, in place of the last one, and its product with the gradient."""
        o, factors = self.objective, (1.0, 0.0, 0.0)
        if self.length > 0:
            along, change, curved, mixed = self.sums
            if change > 0:
                scale, first = change / curved, along / change
                second = scale * (mixed - first * curved) / change
                factors = scale, scale * first, (first - second) * self.length
        return self.core.direct(self.gradient, self.before, self.inverse, self.direction, *factors, o.threads)

    def state(self) -> State:
        """All that what comes next depends on, beside the objective; to be saved at once, as steps are in place."""
        facts = {name: getattr(self, name) for name in self.COUNTS} | {"sums": list(self.sums)}
        arrays = {name: _kept(getattr(self, name)) for name in self.ARRAYS}
        return {**arrays, "numbers": self.at.numbers, "bias": self.at.bias}, facts

    @classmethod
    def resumed(cls, objective: Objective, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        """A fit of the same objective that is where another has been. Raises LookupError or ValueError for another's
        state."""
        method = cls.__new__(cls)
        method.start = None
        method._take(objective, BlockPoint(arrays["numbers"], arrays["bias"], objective.classes).copy())
        for name in cls.ARRAYS:
            own = _kept(getattr(method, name))
            if arrays[name].shape != own.shape:
                raise ValueError(f"{name} of shape {arrays[name].shape}")
            own[...] = arrays[name]
        for name in cls.COUNTS:
            setattr(method, name, facts[name])
        method.sums = tuple(facts["sums"])
        return method

    def intercept_slope(self) -> Array:
        return self.slope[: self.objective.classes].copy()

    def prove(self) -> Gap:
        """A duality gap, after steps of the intercepts alone until the classes have the weight of their rows, nearly.

        What is left is given from classes with too much, each row's share by a factor keep_k, to those with too little,
        gain_k of what a row gives (core/class_blocks.h): sum_i s_i (a_i - y_i) = 0 then holds.
        """
        o = self.objective
        keep, gain = np.ones(len(self.counts)), np.zeros(len(self.counts))
        if o.intercept:
            share = self._balance()
            keep[: o.classes] = np.minimum(1.0, self.counts[: o.classes] / share[: o.classes])
            lack = np.maximum(self.counts - share, 0.0)
            gain = lack / lack.sum() if lack.any() else np.where(self.counts > 0, 1.0, 0.0) / (self.counts > 0).sum()
            gain[o.classes :] = 0.0
        loss, square, divergence = self.core.bound(self.at.numbers, self.at.bias, o.penalty, keep, gain, o.threads)
        self.passes += 2
        value = loss + 0.5 * o.penalty * self.at.square()
        return Gap(value, square / (2 * o.penalty) + max(divergence, 0.0))

    def _balance(self) -> Array:
        """sum_i s_i p_i, after steps of limited-memory BFGS for the intercepts."""
        o, classes = self.objective, self.objective.classes
        share, curve = np.empty(len(self.counts)), np.empty(len(self.counts))
        pairs: list[tuple[Array, Array]] = []
        last: tuple[float, Array, Array] | None = None  # loss, slope, step before
        for _ in range(MOST_BIAS_STEPS):
            loss = self.core.masses(self.at.numbers, self.at.bias, share, curve, o.threads)
            self.passes += 1
            slope = share[:classes] - self.counts[:classes]
            if np.abs(slope).sum() <= 2 * BALANCED * o.total:
                break
            if last is not None and not loss <= last[0] * (1 + 1e-12):  # half the way back
                back = -0.5 * last[2]
                last, pairs = (last[0], last[1], last[2] + back), []
                self.at.move_bias(back)
                continue
            if last is not None:
                pairs = [*pairs[1 - BIAS_MEMORY :], (last[2], slope - last[1])]
            step = _two_loops(slope, pairs, curve[:classes])
            step /= max(1.0, float(np.abs(step).max()))
            last = loss, slope, step
            self.at.move_bias(step)
        else:
            self.core.masses(self.at.numbers, self.at.bias, share, curve, o.threads)
        if last is not None:  # the gradient is one of before
            self.length = 0.0
            self._settle()
        return share

    def let_go(self) -> None:
        """Of what steps alone need, when there are to be no more."""
        self.gradient = self.before = self.inverse = self.direction = in_lines((0, 0, 0))

    @property
    def logits(self) -> BlockLogits:
        return BlockLogits(self.objective, self.at)

    def point(self) -> Array:
        return self.at.whole()

    def resume(self) -> Start:
        return self.at


def _kept(numbers: NDArray[Any]) -> NDArray[Any]:
    """The same memory in a kind of number that a checkpoint holds."""
    return numbers.view(np.uint8) if numbers.dtype == np.uint16 else numbers


def _wide(halves: NDArray[np.uint16]) -> Array:
    """Numbers of which the upper half is there."""
    return (halves.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def _two_loops(slope: Array, pairs: list[tuple[Array, Array]], curve: Array) -> Array:
    """Minus the inverse Hessian estimate of limited-memory BFGS times the slope; curve: its diagonal at first."""
    q, along = slope.copy(), []
    for step, change in reversed(pairs):
        along.append(float(np.sum(step * q) / np.sum(step * change)))
        q -= along[-1] * change
    q /= np.maximum(curve, 1e-300)
    for (step, change), a in zip(pairs, reversed(along), strict=True):
        q += (a - float(np.sum(change * q) / np.sum(step * change))) * step
    return -q
