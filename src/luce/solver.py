"""The solvers: steps in a curvature metric, stopped by a proof. One loop, two ways to take a step.

QuasiNewton, without an L1 penalty: limited-memory BFGS whose initial matrix is a curvature metric (metric.py), taken
afresh where that pays; where the metric is the whole Hessian these are Newton's steps. (Nocedal and Wright, Numerical
Optimization, 2nd ed., section 7.2.) ProximalNewton, with one: the quadratic model of the objective plus the penalty,
minimised over the weights that may move by coordinate descent (Friedman, Hastie and Tibshirani, J. Stat. Softw. 33,
2010; here with all classes in the model at once). Step lengths are found on the logits alone. For the proof see
Objective.certify.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.features import Array
from luce.functional import sigmoid, softmax
from luce.metric import Metric, sample
from luce.objective import Gap, Objective

MOST_ITERATIONS = 3000
LINE_SLOPE = 0.3  # how exact the step along a direction is

Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Certificate:
    """How far a fit is from the best possible one.

    objective: mean cross-entropy plus penalty, in nats; gap: a proven bound on objective - minimum, same unit;
    relative_gap = gap / objective; distance: a bound on the Euclidean distance of the weights W from the best ones,
    sqrt(2 gap / l2), as the objective is l2-strongly convex in them (infinite without L2); passes: reads of the data;
    seconds; converged: gap reached the tolerance; stopped: why it ended before that ("interrupted", "time limit",
    "no further step"), else empty; separable: the data let the classes be told apart without error, so that only the
    penalty keeps the weights finite.
    """

    objective: float
    gap: float
    relative_gap: float
    distance: float
    passes: int
    seconds: float
    converged: bool
    stopped: str = ""
    separable: bool = False

    def sentence(self) -> str:
        early = f"stopped early ({self.stopped}), " if self.stopped else ""
        if not np.isfinite(self.gap):
            return f"{early}no bound on the distance to the best possible fit was proven"
        return (
            f"{early + 'but ' if early else ''}proven to lie within {self.relative_gap:.1g} of the best possible fit "
            f"(at most {self.gap:.2g} of {self.objective:.6g} nats left; {self.passes} passes)"
        )


@dataclass(frozen=True)
class Solution:
    point: Array
    logits: Array
    certificate: Certificate


@dataclass
class State:
    """Where the solver is: a point, its logits, P there and the gradient of its smooth part."""

    point: Array
    logits: Array
    value: float
    gradient: Array
    passes: int = 0

    def rough_gap(self, o: Objective) -> float:
        """The duality gap but for the intercepts, for free."""
        return o.penalty_gap(self.point, self.gradient, self.value - o.penalty_of(self.point))


class Method(Protocol):
    def advance(self, state: State) -> bool:
        """Moves the state to a better point; False if rounding leaves none."""


def minimise(
    objective: Objective,
    tolerance: float = 1e-6,
    start: Array | None = None,
    progress: Progress | None = None,
    time_limit: float | None = None,
) -> Solution:
    """Minimises the objective until its proven relative gap is at most `tolerance`, and reports the gap either way.

    Ctrl-C and time_limit (seconds) end it at the best point so far, which the certificate marks.
    """
    o, began = objective, time.monotonic()
    point = o.start() if start is None else start.copy()
    logits = o.logits(point)
    state = State(point, logits, *o.gradient_at(point, logits), passes=2)
    method: Method = ProximalNewton(o, tolerance) if o.l1 else QuasiNewton(o)
    stopped, proven = "no further step", None
    try:
        for _ in range(MOST_ITERATIONS):
            rough = state.rough_gap(o)
            if progress is not None:
                progress(state.passes, rough / max(state.value, 1e-300))
            if rough <= tolerance * state.value:
                proven = _proven(o, state)
                if proven.gap <= tolerance * proven.value:
                    stopped = ""
                    break
            if time_limit is not None and time.monotonic() - began > time_limit:
                stopped = "time limit"
                break
            proven = None
            if not method.advance(state):
                break
    except KeyboardInterrupt:
        stopped, proven = "interrupted", None
    if proven is None:
        proven = _proven(o, state)
    return Solution(state.point, state.logits, _certificate(o, proven, state.passes, time.monotonic() - began, stopped))


def _proven(o: Objective, state: State) -> Gap:
    state.logits = o.logits(state.point)  # afresh: moving them step by step has left its rounding
    state.passes += 3
    return o.certify(state.point, state.logits)


def _certificate(o: Objective, final: Gap, passes: int, seconds: float, stopped: str) -> Certificate:
    held = float(o.stiffness()[:-1].min())
    return Certificate(
        objective=final.value / o.total,
        gap=final.gap / o.total,
        relative_gap=final.gap / final.value if final.value > 0 else float("inf"),
        distance=float(np.sqrt(2 * final.gap / held)) if held > 0 else float("inf"),
        passes=passes,
        seconds=seconds,
        converged=not stopped,
        stopped=stopped,
    )


class QuasiNewton:
    """Steps of limited-memory BFGS in a curvature metric, exact along each direction."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.metric = Metric(objective)
        self.iteration, self.refresh_at = 0, 0  # of the metric in blocks
        self.spent, self.before = np.inf, 0.0  # work since the coupled metric was taken; the gap before the last step

    def _refresh_if_due(self, state: State) -> None:
        """The coupled metric is taken again when the steps since have cost as much as it does and gain too little;
        that in blocks at iterations 0, 6, 18, 54, ..."""
        metric, rough = self.metric, state.rough_gap(self.objective)
        due = self.iteration >= self.refresh_at
        if metric.coupled:
            due = self.spent >= metric.work and rough > 0.01 * self.before
        self.before = rough
        if due:
            metric.refresh(state.logits)
            self.refresh_at = max(6, 3 * self.iteration)
            self.spent = 0.0

    def advance(self, state: State) -> bool:
        o, metric = self.objective, self.metric
        self._refresh_if_due(state)
        direction, slope = metric.direction(state.gradient)
        if not slope < 0:
            metric.pairs.forget()
            self.refresh_at = self.iteration
            direction, slope = metric.direction(state.gradient)
        along = o.logits(direction)
        step = _line_search(o, state, direction, along, slope)
        moved = state.point + step * direction
        if np.array_equal(moved, state.point):
            return False
        value, fresh = o.gradient_at(moved, state.logits, (along, step))
        metric.remember(moved - state.point, fresh - state.gradient)
        state.point, state.value, state.gradient = moved, value, fresh
        state.passes += 2
        self.spent += metric.step_work
        self.iteration += 1
        return True


def _dot(a: Array, b: Array) -> float:
    return float(np.einsum("ij,ij->", a, b))  # one thread, one order; BLAS would choose its own


def _line_search(o: Objective, state: State, direction: Array, along: Array, slope: float) -> float:
    """A step that lowers the objective and at which its slope has fallen to LINE_SLOPE of the first.

    Works on the logits alone: safeguarded Newton, with the secant where Newton leaves the bracket.
    """
    point, logits, value = state.point, state.logits, state.value
    linear = _dot(o.pull(point), direction)
    square = _dot(o.stiffness() * direction, direction)
    penalty = o.penalty_of(point)
    low, high, step = 0.0, np.inf, 1.0
    slope_low, slope_high = slope, np.inf
    for _ in range(40):
        loss, first, second = o.along(logits, along, step)
        lower = loss + penalty + step * (linear + 0.5 * step * square) <= value * (1 + 1e-12)  # up to rounding
        first += linear + step * square
        second += square
        if lower and abs(first) <= LINE_SLOPE * abs(slope):
            break
        if first < 0:
            low, slope_low = step, first
        else:
            high, slope_high = step, first
        newton = step - first / second if second > 0 else np.inf
        if low < newton < min(high, 8 * step):
            step = newton
        elif high == np.inf:
            step *= 8
        else:
            secant = low - slope_low * (high - low) / (slope_high - slope_low)
            step = min(max(secant, low + 0.02 * (high - low)), high - 0.02 * (high - low))
    return step


class ProximalNewton:
    """Steps to the minimum of the quadratic model plus the L1 penalty, over the columns whose weights may move."""

    FIRST_COLUMNS = 100  # columns that may start to move in one step, or twice as many as have weights already

    def __init__(self, objective: Objective, tolerance: float) -> None:
        self.objective = objective
        self.tolerance = tolerance
        _, self.energy = objective.features.energy(objective.threads)
        self.wanted = max(4096, 16 * objective.features.columns if objective.features.columns < 1000 else 0)

    def _columns(self, state: State) -> NDArray[np.int64]:
        """The columns with a weight, and those without whose gradient exceeds the penalty most, ascending."""
        o = self.objective
        has = np.any(state.point[:-1] != 0, axis=1)
        beyond = np.abs(state.gradient[:-1]).max(axis=1) - o.l1
        beyond[has] = -np.inf
        wanted = np.flatnonzero(beyond > 0)
        most = max(self.FIRST_COLUMNS, 2 * int(has.sum()))
        if len(wanted) > most:
            wanted = wanted[np.argsort(-beyond[wanted], kind="stable")[:most]]
        return np.sort(np.concatenate([np.flatnonzero(has), wanted]))

    def advance(self, state: State) -> bool:
        o = self.objective
        columns = self._columns(state)
        chosen = np.append(columns, o.features.columns)
        direction = np.zeros_like(state.point)
        direction[chosen] = self._model_step(state, columns, chosen)
        along = o.logits(direction)
        moved, step = self._backtrack(state, direction, along)
        if step == 0.0 or np.array_equal(moved, state.point):
            return False
        state.value, state.gradient = o.gradient_at(moved, state.logits, (along, step))
        state.point = moved
        state.passes += 2
        return True

    def _model_step(self, state: State, columns: NDArray[np.int64], chosen: NDArray[np.int64]) -> Array:
        o = self.objective
        rows, scale = sample(o, state.logits, self.energy, self.wanted)
        z = np.ascontiguousarray(state.logits[:, rows])
        shares = sigmoid(z) if o.outputs == 1 else softmax(z, axis=0)
        lists = _core.Columns(o.features.design, rows, columns)
        enough = 0.02 * min(state.rough_gap(o), 0.1 * state.value)
        found = np.empty((len(chosen), o.outputs))
        weights, gradient = state.point[columns], np.ascontiguousarray(state.gradient[chosen])
        lists.descend(shares, scale, weights, gradient, o.l1, o.penalty, o.intercept, enough, 200, found)
        return found

    def _backtrack(self, state: State, direction: Array, along: Array) -> tuple[Array, float]:
        """The longest of the steps 1, 1/2, 1/4, ... that lowers P by a tenth of what the model's slope promises."""
        o, point, weights = self.objective, state.point, state.point[:-1]
        promised = _dot(state.gradient, direction) + o.l1 * float(
            np.sum(np.abs(weights + direction[:-1])) - np.sum(np.abs(weights))
        )
        step = 1.0
        for _ in range(40):
            moved = point + step * direction
            loss, _, _ = o.along(state.logits, along, step)
            if loss + o.penalty_of(moved) <= state.value * (1 + 1e-15) + 0.1 * step * min(promised, 0.0):
                return moved, step
            step /= 2
        return point, 0.0
