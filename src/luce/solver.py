"""The solvers: steps in a curvature metric, stopped by a proof. One loop, four ways to take a step.

QuasiNewton, without an L1 penalty: limited-memory BFGS whose initial matrix is a curvature metric (metric.py), taken
afresh where that pays; where the metric is the whole Hessian these are Newton's steps. (Nocedal and Wright, Numerical
Optimization, 2nd ed., section 7.2.) DualSteps, for sparse matrices of many columns: row_steps.py. BlockSteps, for very
many classes: block_steps.py. ProximalNewton, with an L1 penalty: the quadratic model of the objective plus the penalty,
minimised over the weights that may move by coordinate descent (Friedman, Hastie and Tibshirani, J. Stat. Softw. 33,
2010; here with all classes in the model at once). Step lengths are found on the logits alone. For the proof see
Objective.certify.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.block_steps import BlockSteps
from luce.errors import ModelFileError
from luce.features import Array
from luce.functional import sigmoid, softmax
from luce.metric import Frame, Metric, sample
from luce.objective import FarLogits, Gap, Objective, Others, dot, logits_of_rows, none_beside
from luce.row_steps import DualSteps, RowSteps
from luce.run import Solve, State, now, solve
from luce.steps import BlockPoint, Bracket, ColumnPoint, Method, Quadratic, RowPoint, Start, line_search

MOST_ITERATIONS = 3000
NO_STEP = "no further step"

PART = 8  # a fit to many rows starts where a fit to one in so many ends
LEAST_PART = 4_000  # if these are at least so many rows, and twice as many as there are weights
MOST_PART = 1 << 28  # numbers that these rows hold at most
PART_SHARE = 1e-3  # see approach
PART_PENALTY = 10.0  # at least, in the mean variance of its columns, lest it be sure of what other rows deny

COMMON_GAP = 1e-6  # relative, that most fits go on to
SINGLE_GAP = 1e-8  # rough relative gap down to which passes may calculate in float32
SINGLE_NOISE = 100.0  # and how many times the gap that float32 rounding alone would show
WHOLE_SLOPE = 0.7  # the same for a whole step, which costs half as much

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


class Solution:
    """Where a solver ended; the point is worked out when it is asked for."""

    def __init__(self, method: Method, certificate: Certificate) -> None:
        self._method = method
        self.certificate = certificate

    @cached_property
    def point(self) -> Array:
        """(columns + 1, outputs), the last row the intercepts."""
        return self._method.point()

    @property
    def logits(self) -> Array:
        """(outputs, rows)"""
        logits = self._method.logits
        return logits.objective.logits(logits.point) if isinstance(logits, FarLogits) else logits

    @property
    def resume(self) -> Start:
        """What a fit to a problem of the same rows and columns may start from."""
        return self._method.resume()


@dataclass(frozen=True)
class Ended:
    """Where a fit has ended, and the curvature that it had taken last, if it takes any."""

    start: Start
    metric: Metric | None = None


def minimise(
    objective: Objective,
    tolerance: float = 1e-6,
    start: Start | None = None,
    progress: Progress | None = None,
    time_limit: float | None = None,
    share: float = 0.0,
) -> Solution:
    """Minimises the objective until its proven relative gap is at most `tolerance`, or the gap at most `share` of what
    is lost when nothing is known but the shares of the classes; and reports the gap either way.

    Ctrl-C and time_limit (seconds) end it at the best point so far, which the certificate marks.
    """
    began, enough = time.monotonic(), share * objective.known_loss
    proven: Gap | None = None

    def near(method: Method, rough: float, pace: Pace) -> bool:
        nonlocal proven
        if not pace.due(rough, max(tolerance * method.value, enough)):
            return False
        proven = method.prove()
        return pace.ends(proven.gap <= max(tolerance * proven.value, enough), rough)

    end = None if time_limit is None else began + time_limit
    method, stopped = _go(objective, None if start is None else Ended(start), near, time_limit, end, progress)
    if proven is None or stopped:
        proven = method.prove()
    if stopped == NO_STEP and proven.gap <= max(tolerance * proven.value, enough):
        stopped = ""
    if isinstance(method, BlockSteps):
        method.let_go()
    seconds = time.monotonic() - began
    return Solution(method, _certificate(objective, proven, method.passes, seconds, stopped))


def approach(
    objective: Objective,
    share: float,
    near: Ended | None = None,
    time_limit: float | None = None,
) -> tuple[Method, str]:
    """Goes until the gap is about `share` of what is lost when nothing is known but the shares of the classes, without
    a proof; also why it stopped early, or "".

    near: where a fit to a near objective, of the same features and classes, has ended: it goes on from there.
    """
    end = None if time_limit is None else time.monotonic() + time_limit
    enough = share * objective.known_loss

    def close(method: Method, rough: float, pace: Pace) -> bool:
        if isinstance(method, FarNewton):  # to look at the intercepts takes a pass or two
            return pace.due(rough, enough) and pace.ends(method.prove().gap <= enough, rough)
        if not rough <= enough or not objective.intercept or isinstance(method, BlockSteps):
            return rough <= enough
        slope = method.intercept_slope()
        correction = objective.intercept_correction(method.logits, slope)
        return correction is not None and rough + float(np.sum(correction * slope)) <= enough

    method, stopped = _go(objective, near, close, time_limit, end)
    if isinstance(method, BlockSteps):
        method.let_go()
    return method, stopped


def ended(method: Method) -> Ended:
    """What a near fit may go on from; what else the method holds may go."""
    return Ended(method.resume(), method.metric if isinstance(method, QuasiNewton) else None)


@dataclass
class Pace:
    """How often a solve has looked where it is, and when a proof is tried again that has failed: once the rough gap is
    half of what it was, `below`, or at twice as many turns, `again`, as what is rough may not tell of that gap."""

    turn: int = 0
    below: float = np.inf
    again: int = 0

    def due(self, rough: float, enough: float) -> bool:
        return rough <= enough and (rough <= self.below or self.turn >= self.again)

    def ends(self, proven: bool, rough: float) -> bool:
        self.below, self.again = 0.5 * rough, 2 * self.turn
        return proven


def _go(
    objective: Objective, start: Ended | None, near: Callable[[Method, float, Pace], bool], time_limit: float | None,
    end: float | None, progress: Progress | None = None,
) -> tuple[Method, str]:  # fmt: skip
    """Steps until the gap, of which `near` is told roughly, is near enough; also says what stopped it before, or "".
    In a run it goes on from the state that it had in the checkpoint, and Ctrl-C ends the run."""
    with solve() as at:
        state = at.load()
        if state is None:
            pace = Pace()
            method, stopped = _begun(objective, start, time_limit)
        else:
            method, pace, stopped = *_resumed(objective, *state), ""
        return method, stopped or _steps(method, near, pace, end, progress, at)


def _steps(
    method: Method, near: Callable[[Method, float, Pace], bool], pace: Pace, end: float | None,
    progress: Progress | None, at: Solve,
) -> str:  # fmt: skip
    try:
        while pace.turn < MOST_ITERATIONS:
            if isinstance(method, BlockSteps):
                method.keep(at, partial(_state, method, pace))
            elif isinstance(method, FarNewton):
                at.keep(partial(_state, method, pace))
            pace.turn += 1
            rough = method.rough_gap()
            if progress is not None:
                progress(method.passes, rough / max(method.value, 1e-300))
            if near(method, rough, pace):
                return ""
            if end is not None and time.monotonic() > end:
                return "time limit"
            if not method.advance():
                break
    except KeyboardInterrupt:
        if now() is not None:
            raise
        return "interrupted"
    return NO_STEP


def _state(method: FarNewton | BlockSteps, pace: Pace) -> State:
    arrays, facts = method.state()
    return arrays, {**facts, **asdict(pace)}


def _resumed(
    objective: Objective, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
) -> tuple[FarNewton | BlockSteps, Pace]:
    """A solve where another of the same objective has been. Raises ModelFileError for another's state."""
    kind = BlockSteps if BlockSteps.fits(objective) else FarNewton
    try:
        pace = Pace(**{name: facts[name] for name in ("turn", "below", "again")})
        return kind.resumed(objective, arrays, facts), pace
    except (LookupError, TypeError, ValueError) as error:
        raise ModelFileError(f"the checkpoint has no state of this solve: {error}") from error


def _begun(objective: Objective, near: Ended | None, time_limit: float | None) -> tuple[Method, str]:
    """The method at its start; and whether a fit to some rows was stopped on the way there, which ends the whole."""
    stopped, start, metric = "", None if near is None else near.start, None if near is None else near.metric
    if start is None:
        start, stopped = _start_of_some_rows(objective, time_limit)
    method = _method(objective, start, metric)
    if stopped:  # it may not have come far
        method = min(method, _method(objective, None), key=lambda m: m.value)
    return method, stopped


def _start_of_some_rows(o: Objective, time_limit: float | None) -> tuple[Start | None, str]:
    """Where the fit to an eighth of the rows ends, if that is still many rows for the weights; and whether it was
    interrupted or out of time, which ends the whole."""
    numbers = (o.features.columns + 1) * max(o.outputs - 1, 1)
    wanted = min(o.features.rows // PART, o.features.rows * MOST_PART // max(o.features.stored, 1))
    if o.l1 or o.prior is not None or o.features.tells_by_rows or wanted < max(LEAST_PART, 2 * numbers):
        return None, ""
    some = o.of_some_rows(wanted)
    _, spread, _ = some.features.energy(o.threads)
    some.penalty = max(some.penalty, PART_PENALTY * min(float(np.mean(spread**2)), 1.0))
    part, early = approach(some, PART_SHARE, time_limit=time_limit)
    if early in ("interrupted", "time limit"):
        return part.point(), early
    return (None if early else part.point()), ""


def _method(o: Objective, start: Start | None, metric: Metric | None = None) -> Method:
    if o.l1 and o.features.dense is None and (o.features.columns + 1) * o.outputs > ProximalNewton.MATRIX:
        return WorkingColumns(o, start)
    if o.l1:
        return ProximalNewton(o, start)
    if not o.keeps_logits:
        return BlockSteps(o, start) if BlockSteps.fits(o) else FarNewton(o, start, metric)
    if o.features.tells_by_rows and o.prior is None and o.penalty > 0:
        return DualSteps(o, start, RowSteps if o.features.dense is None else QuasiNewton)
    return QuasiNewton(o, start, metric)


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


class WeightSteps:
    """What the methods share that keep weights: a point, its logits, P there and the gradient of its smooth part.

    Where X is no more exact than float32, so are the first passes (`single`).
    """

    def __init__(self, objective: Objective, start: Start | None) -> None:
        self.objective = o = objective
        self.single = o.features.can_be_single
        if isinstance(start, RowPoint | ColumnPoint | BlockPoint):
            raise TypeError("weights told by rows, by some columns or in blocks start a fit of the same kind alone")
        self.weights = o.start() if start is None else start.copy()
        self.passes = 0
        self.settle()

    def settle(self, single: bool | None = None) -> None:
        """Logits, value and gradient, without what rounding has left in logits moved step by step."""
        single = self.single if single is None else single
        self.logits = self.objective.logits(self.weights, single)
        self.value, self.gradient = self.objective.gradient_at(self.weights, self.logits, single=single)
        self.passes += 2

    def afresh(self) -> None:
        """The same in double."""
        self.settle(single=False)

    def rough_gap(self) -> float:
        o = self.objective
        return o.penalty_gap(self.weights, self.gradient, self.value - o.penalty_of(self.weights))

    def intercept_slope(self) -> Array:
        return np.ascontiguousarray(self.gradient[-1])

    def prove(self, others: Callable[[Array | None], Others] = none_beside) -> Gap:
        self.logits = self.objective.logits(self.weights)  # afresh: moving them step by step has left its rounding
        self.passes += 3
        return self.objective.certify(self.weights, self.logits, others)

    def point(self) -> Array:
        return self.weights

    def resume(self) -> Start:
        return self.weights


class QuasiNewton(WeightSteps):
    """Steps of limited-memory BFGS in a curvature metric, exact along each direction.

    Passes are in float32 at first, where they may be: until the gap is small, or near what rounding alone would show,
    which is measured now and then.
    """

    def __init__(self, objective: Objective, start: Start | None, metric: Metric | None = None) -> None:
        if isinstance(start, np.ndarray) and objective.outputs > 1 and objective.prior is None:
            start = start.copy()  # what all classes share changes no probability: the best weights have none of it
            start[:-1] -= start[:-1].mean(axis=1, keepdims=True)
        super().__init__(objective, start)
        self.metric = Metric(objective) if metric is None else metric.moved_to(objective)
        self.iteration, self.refresh_at = 0, 6 if self.metric.parts else 0  # of the metric in blocks
        self.spent = 0.0 if self.metric.parts else np.inf  # work since the coupled metric was taken
        self.gaps: tuple[float, ...] = ()  # before each step
        self.before = np.inf  # the gap before the last step
        self.noise = 0.0  # the gap that rounding to float32 would show at the optimum, measured at some refreshes:
        self.measure_at = 6  # at the first one from this iteration on

    def _refresh_if_due(self) -> None:
        """The coupled metric is taken again when the steps since have cost as much as it does and gain too little;
        that in blocks at iterations 0, 6, 18, 54, ..., of a wide matrix 0, 6, 60, ..., until the coupled one is worth
        what it costs."""
        metric, rough = self.metric, self.rough_gap()
        due = self.iteration >= self.refresh_at
        self.gaps = (*self.gaps, rough)
        if metric.may_couple and self._worth(metric.coupled_work / metric.step_work):
            metric.couple()
            due = True
        elif metric.coupled:
            due = self.spent >= metric.work and (not metric.parts or rough > 0.01 * self.before)
        self.before = rough
        if not due:
            return
        if self.single and self.iteration >= self.measure_at:
            self.measure_at = max(6, 3 * self.iteration)
            rounded = self.gradient
            self.afresh()
            off = (rounded - self.gradient)[:-1]
            self.noise = dot(off, off) / (2 * self.objective.penalty)
        metric.refresh(self.logits)
        self.refresh_at = max(6, (10 if metric.wide else 3) * self.iteration)
        self.spent = 0.0

    def _worth(self, steps: float) -> bool:
        """Whether what costs so many steps is to be tried: so many have been made, and as the gap has fallen in the
        later half of them it takes more than that until it is COMMON_GAP."""
        made = len(self.gaps) - 1
        half, last = self.gaps[made // 2], self.gaps[-1]
        if made < max(steps, 1) or not (half > 0 and 0 < last < np.inf):
            return False
        fall = math.log(half / last) / (made - made // 2)
        return math.log(last / (COMMON_GAP * self.value)) > steps * max(fall, 0.0)

    def advance(self) -> bool:
        metric = self.metric
        if self.single and not self.rough_gap() > max(SINGLE_GAP * self.value, SINGLE_NOISE * self.noise):
            self.single = False  # also if it is NaN
            self.afresh()
        self._refresh_if_due()
        direction, slope = metric.direction(self.gradient)
        if not slope < 0:
            metric.pairs.forget()
            self.refresh_at = self.iteration
            direction, slope = metric.direction(self.gradient)
        moved, value, fresh = self._moved(direction, slope)
        if not np.isfinite(moved).all() or np.array_equal(moved, self.weights):
            self.noise = np.inf  # too much for float32
            return self.single
        metric.remember(moved - self.weights, fresh - self.gradient)
        self.weights, self.value, self.gradient = moved, value, fresh
        self.spent += metric.step_work
        self.iteration += 1
        return True

    @cached_property
    def along(self) -> Array:
        """Room for the logits of a direction: fresh memory for each step would take longer than what is put there."""
        return np.empty_like(self.logits)

    def _moved(self, direction: Array, slope: float) -> tuple[Array, float, Array]:
        """A point along the direction, P and its gradient there; the logits are those of the point."""
        o, moved, along = self.objective, self.weights + direction, self.along
        value, fresh = o.whole_step(moved, self.logits, direction, along, self.single)
        self.passes += 1
        there = dot(fresh, direction)
        if self._will_do(value, there, slope):
            self.logits += along
        else:
            quadratic = Quadratic(
                o.penalty_of(self.weights),
                dot(o.pull(self.weights), direction),
                dot(o.stiffness() * direction, direction),
            )
            step = line_search(o, self.logits, along, self.value, slope, quadratic, (value, there))
            moved = self.weights + step * direction
            if np.isfinite(step):
                value, fresh = o.gradient_at(moved, self.logits, (along, step), single=self.single)
                self.passes += 1
        return moved, value, fresh

    def _will_do(self, value: float, slope: float, first: float) -> bool:
        """Whether P is no larger than where the step began, and its slope has fallen."""
        return value <= self.value * (1 + 1e-12) and abs(slope) <= WHOLE_SLOPE * abs(first)


class FarNewton(QuasiNewton):
    """QuasiNewton where the logits of all rows would take more room than the rows: it keeps none, and tries a step by a
    pass of its own. Most steps are whole ones, which cost one pass either way; after a shorter one the next is tried at
    four times its length."""

    MOST_TRIALS = 20
    length = 1.0  # of the last step
    NEAR_BIAS = 0.05  # a step of the intercepts that a proof does without
    MOST_BIAS_STEPS = 4
    COUNTS = ("value", "single", "passes", "iteration", "refresh_at", "spent", "gaps", "before", "noise",
              "measure_at", "length")  # fmt: skip

    def state(self) -> State:
        """All that what comes next depends on, beside the objective; the arrays are not written to later."""
        arrays = {"weights": self.weights, "gradient": self.gradient, **self.metric.arrays()}
        return arrays, {name: getattr(self, name) for name in self.COUNTS} | {"metric": self.metric.facts()}

    @classmethod
    def resumed(cls, objective: Objective, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> Self:
        """A fit of the same objective that is where another has been. Raises LookupError, TypeError or ValueError for
        another's state."""
        method = cls.__new__(cls)
        for name in cls.COUNTS:
            setattr(method, name, facts[name])
        method.objective, method.metric = objective, Metric(objective)
        method.weights, method.gradient = arrays["weights"], arrays["gradient"]
        if not method.weights.shape == method.gradient.shape == objective.start().shape:
            raise ValueError(f"weights of shape {method.weights.shape}")
        method.metric.restore(arrays, facts["metric"])
        method.logits = FarLogits(objective, method.weights)  # type: ignore[assignment]
        return method

    def settle(self, single: bool | None = None) -> None:
        single = self.single if single is None else single
        self.value, self.gradient = self.objective.value_and_gradient(self.weights, single)
        self.logits = FarLogits(self.objective, self.weights)  # type: ignore[assignment]
        self.passes += 1

    def prove(self, others: Callable[[Array | None], Others] = none_beside) -> Gap:
        """As Objective.certify, after steps of Newton's method for the intercepts alone, where their gradient would
        leave a gap that is no fault of the weights: of many classes the metric brings them in late."""
        o = self.objective
        self.settle(single=False)
        if not o.intercept or o.prior is not None:
            self.passes += 2
            return o.certify(self.weights, self.logits, others)
        self.passes += 1
        step = o.intercept_step(self.logits, self.intercept_slope())
        for _ in range(self.MOST_BIAS_STEPS):
            if step is None or np.abs(step).max() <= self.NEAR_BIAS:
                break
            moved = self.weights.copy()
            moved[-1] -= step / max(1.0, float(np.abs(step).max()))
            value, fresh = o.value_and_gradient(moved)
            if not value < self.value:
                break
            self.metric.remember(moved - self.weights, fresh - self.gradient)
            self.weights, self.value, self.gradient = moved, value, fresh
            self.logits = FarLogits(o, moved)  # type: ignore[assignment]
            step = o.intercept_step(self.logits, self.intercept_slope())
            self.passes += 2
        self.passes += 1
        return o.certify_by(step, self.weights, self.logits, self.value, self.intercept_slope(), others)

    def _moved(self, direction: Array, slope: float) -> tuple[Array, float, Array]:
        step, bracket = min(1.0, 4 * self.length), Bracket(self.value, slope)
        for _ in range(self.MOST_TRIALS):
            moved = self.weights + step * direction
            value, fresh = self.objective.value_and_gradient(moved, self.single)
            self.passes += 1
            there = dot(fresh, direction)
            if self._will_do(value, there, slope):
                self.length = step
                self.logits = FarLogits(self.objective, moved)  # type: ignore[assignment]
                return moved, value, fresh
            step = bracket.next(step, value, there)
        return self.weights, self.value, self.gradient


class ProximalNewton(WeightSteps):
    """Steps to the minimum of a quadratic model plus the L1 penalty.

    Of few weights the model is a matrix, the curvature of some rows, which every step corrects (BFGS); of many it is
    taken afresh for each step, over the columns whose weights may move.
    """

    MATRIX = 2048  # weights that are few
    FIRST_COLUMNS = 100  # columns that may start to move in one step, or twice as many as have weights already

    def __init__(self, objective: Objective, start: Start | None) -> None:
        super().__init__(objective, start)
        if self.single:
            self.single = False
            self.afresh()
        self.frame = Frame(objective)
        self.few = self.weights.size <= self.MATRIX
        self.wanted = max(4096, 4 * self.weights.size if self.few else 16 * objective.features.columns)
        self.iteration, self.refresh_at = 0, 0

    def advance(self) -> bool:
        o = self.objective
        direction = self._matrix_step() if self.few else self._columns_step()
        moved = self.weights + direction
        along = np.empty_like(self.logits)
        value, fresh = o.whole_step(moved, self.logits, direction, along)
        self.passes += 1
        if value <= self._bound(direction, 1.0):
            self.logits += along
        else:
            moved, step = self._backtrack(direction, along)
            if step == 0.0:
                return False
            value, fresh = o.gradient_at(moved, self.logits, (along, step))
            self.passes += 1
        if not np.isfinite(moved).all() or np.array_equal(moved, self.weights):
            return False
        if self.few:
            seen, change = self.frame.step(moved - self.weights), self.frame.gradient(fresh - self.gradient)
            _core.update_curvature(self.curvature, seen.ravel(), change.ravel())
        self.weights, self.value, self.gradient = moved, value, fresh
        self.iteration += 1
        return True

    @property
    def _enough(self) -> float:
        """How exactly the model is minimised."""
        return 0.02 * min(self.rough_gap(), 0.1 * self.value)

    def _matrix_step(self) -> Array:
        o = self.objective
        if self.iteration >= self.refresh_at:
            self.curvature = self._curvature()
            self.refresh_at = max(8, 3 * self.iteration)
        seen, found = self.frame.gradient(self.gradient), np.empty_like(self.weights)
        _core.descend(self.curvature, self.weights[:-1], seen, o.l1, o.intercept, self._enough, 200, found)
        return self.frame.back(found)

    def _curvature(self) -> Array:
        """The Hessian of the smooth part, from some rows, over all numbers of a point as the frame sees them."""
        o, frame, columns = self.objective, self.frame, np.arange(self.objective.features.columns)
        rows, scale = sample(o, self.logits, frame.energy, self.wanted)
        x = o.features.submatrix(rows, columns, frame.centre, frame.spread, o.threads)
        out: Array = np.empty((self.weights.size, self.weights.size))
        _core.whole_curvature(x, len(self.weights), self._shares(rows), scale, out, o.threads)
        units = np.repeat(np.append(frame.spread, 1.0), o.outputs)
        out *= units
        out *= units[:, np.newaxis]
        diagonal = out.reshape(-1)[:: len(out) + 1]
        diagonal *= 1.0 + 1e-6  # what sums in float say of a direction is noise below about that much
        diagonal += np.broadcast_to(o.stiffness(), self.weights.shape).ravel()
        return np.asarray(out)

    def _shares(self, rows: NDArray[np.int64]) -> Array:
        """The probabilities of some rows, (outputs, rows)."""
        z = logits_of_rows(self.logits, rows)
        return np.asarray(sigmoid(z) if self.objective.outputs == 1 else softmax(z, axis=0))

    def _columns_step(self) -> Array:
        o, columns = self.objective, self._columns()
        chosen = np.append(columns, o.features.columns)
        rows, scale = sample(o, self.logits, self.frame.energy, self.wanted)
        lists = _core.Columns(o.features.design, rows, columns)
        found, gradient = np.empty((len(chosen), o.outputs)), np.ascontiguousarray(self.gradient[chosen])
        weights, shares = self.weights[columns], self._shares(rows)
        lists.descend(shares, scale, weights, gradient, o.l1, o.penalty, o.intercept, self._enough, 200, found)
        direction = np.zeros_like(self.weights)
        direction[chosen] = found
        return direction

    def _columns(self) -> NDArray[np.int64]:
        """The columns with a weight, and those without whose gradient exceeds the penalty most, ascending."""
        o = self.objective
        has = np.any(self.weights[:-1] != 0, axis=1)
        beyond = np.abs(self.gradient[:-1]).max(axis=1) - o.l1
        beyond[has] = -np.inf
        wanted = np.flatnonzero(beyond > 0)
        most = max(self.FIRST_COLUMNS, 2 * int(has.sum()))
        if len(wanted) > most:
            wanted = wanted[np.argsort(-beyond[wanted], kind="stable")[:most]]
        return np.sort(np.concatenate([np.flatnonzero(has), wanted]))

    def _bound(self, direction: Array, step: float) -> float:
        """What P must not exceed after the step: lower by a tenth of what the model's slope promises."""
        weights = self.weights[:-1]
        promised = dot(self.gradient, direction) + self.objective.l1 * float(
            np.sum(np.abs(weights + direction[:-1])) - np.sum(np.abs(weights))
        )
        return self.value * (1 + 1e-15) + 0.1 * step * min(promised, 0.0)

    def _backtrack(self, direction: Array, along: Array) -> tuple[Array, float]:
        """The longest of the steps 1/2, 1/4, ... that lowers P enough."""
        o, step = self.objective, 0.5
        for _ in range(40):
            moved = self.weights + step * direction
            loss, _, _ = o.along(self.logits, along, step)
            if loss + o.penalty_of(moved) <= self._bound(direction, step):
                return moved, step
            step /= 2
        return self.weights, 0.0


class WorkingColumns:
    """ProximalNewton on the few columns of a sparse matrix that may have weights, until the others are proven to have
    none: those whose gradient at the optimum is below the penalty.

    It begins with the columns that the sequential strong rule names (Tibshirani et al., J. R. Stat. Soc. B 74, 2012,
    section 7), as far as they are not too many; proofs look at all columns, and those that break the rule join.
    """

    FIRST = 100  # columns that may join at a time, or twice as many as have weights

    def __init__(self, objective: Objective, start: Start | None) -> None:
        self.objective = o = objective
        if isinstance(start, RowPoint | BlockPoint):
            raise TypeError("weights told by rows or in blocks start a fit of the same kind alone")
        if start is None:
            start = o.start()
        if isinstance(start, np.ndarray):
            has = np.any(start[:-1] != 0, axis=1)
            has[0] |= not has.any()  # a matrix has at least one column
            columns = np.flatnonzero(has)
            start = ColumnPoint(columns, start[np.append(columns, -1)])
        self.passes_before = 0
        self._work_on(start)
        peak, _ = self._peaks(None)
        self._join(peak, max(2 * o.l1 - float(peak.max(initial=0.0)), 0.5 * o.l1))

    def _work_on(self, at: ColumnPoint) -> None:
        self.columns = at.columns
        self.inner = ProximalNewton(self.objective.of_some_columns(at.columns), at.weights)
        self.outside: Array | None = None  # the peaks of the columns not at work, if they have just been looked at

    def _peaks(self, correction: Array | None) -> tuple[Array, Array]:
        """The largest gradient of each column, and its excess over the penalty."""
        o = self.objective
        residual = np.empty(self.logits.shape)
        _core.residuals(self.logits, o.labels, correction, residual, o.threads)
        peak, excess = np.empty(o.features.columns), np.empty(o.features.columns)
        o.features.row_space.peaks(residual, o.l1, peak, excess, o.threads)
        self.passes_before += 1
        return peak, excess

    def _join(self, peak: Array, least: float) -> None:
        """Columns whose gradient exceeds `least` join those at work, the steepest first."""
        peak[self.columns] = 0.0
        wanted = np.flatnonzero(peak > least)
        most = max(self.FIRST, 2 * len(self.columns))
        if len(wanted) > most:
            wanted = wanted[np.argsort(-peak[wanted], kind="stable")[:most]]
        if not len(wanted):
            return
        columns = np.sort(np.concatenate([self.columns, wanted]))
        weights = np.zeros((len(columns) + 1, self.objective.outputs))
        weights[np.append(np.searchsorted(columns, self.columns), -1)] = self.inner.weights
        self.passes_before += self.inner.passes
        self._work_on(ColumnPoint(columns, weights))

    @property
    def value(self) -> float:
        return self.inner.value

    @property
    def logits(self) -> Array:
        return self.inner.logits

    @property
    def passes(self) -> int:
        return self.passes_before + self.inner.passes

    def rough_gap(self) -> float:
        return self.inner.rough_gap()

    def intercept_slope(self) -> Array:
        return self.inner.intercept_slope()

    def advance(self) -> bool:
        if self.outside is not None:
            self._join(self.outside, self.objective.l1)
            self.outside = None
        return self.inner.advance()

    def prove(self) -> Gap:
        def others(correction: Array | None) -> Others:
            self.outside, excess = self._peaks(correction)
            self.outside[self.columns], excess[self.columns] = 0.0, 0.0
            return Others(float(self.outside.max(initial=0.0)), float(excess.sum()))

        return self.inner.prove(others)

    def point(self) -> Array:
        out = np.zeros((self.objective.features.columns + 1, self.objective.outputs))
        out[np.append(self.columns, -1)] = self.inner.weights
        return out

    def resume(self) -> Start:
        return ColumnPoint(self.columns, self.inner.weights.copy())
