"""Wide fits, coordinate ascent on the dual (core/dual_ascent.h): the optimum of the dense rows, truly proven.

The dense path takes other steps (quasi-Newton on the weights) and another proof. Fits are compared as claims.py says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import reference

import luce.features
from luce.features import Features
from luce.objective import Objective
from luce.row_steps import DualSteps, RowSteps
from luce.solver import Pace, Solution, minimise
from luce.steps import RowPoint

Array = np.ndarray

ROUNDING = 1e-14
"""Of a mean over rows of losses and entropies, whose logits and logarithms of up to 40 have 40 u = 4e-15 each."""

TIGHT = 1e-11
"""The tolerance of the dense fits: far below the gaps looked at."""

every_k = pytest.mark.parametrize("classes", [2, 3, 7, 20])
every_weight = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
every_intercept = pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "none"])


@dataclass(frozen=True)
class Problem:
    """Rows whose zeros are not stored; l2 as in the mean objective."""

    x: Array
    codes: Array
    classes: int
    l2: float = 1e-3
    weights: Array | None = None
    intercept: bool = True

    @property
    def weight(self) -> Array:
        return np.ones(len(self.x)) if self.weights is None else self.weights

    def objective(self, features: Features, threads: int = 1) -> Objective:
        penalty = self.l2 * float(self.weight.sum())
        return Objective(features, self.codes, self.classes, penalty, self.weights, threads, intercept=self.intercept)

    def sparse(self, dtype: type | None = np.float64, threads: int = 1) -> Objective:
        """values: none where each is 1."""
        row, column = np.nonzero(self.x)
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(self.x)))]).astype(np.int64)
        values = None if dtype is None else self.x[row, column].astype(dtype)
        features = Features(len(self.x), None, starts, column.astype(np.int32), values, self.x.shape[1])
        assert features.tells_by_rows
        return self.objective(features, threads)

    def best(self) -> Solution:
        used = np.flatnonzero(self.x.any(axis=0))  # the weights of the other columns are 0
        used = np.arange(1) if len(used) == 0 else used
        found = minimise(self.objective(Features(len(self.x), dense=np.ascontiguousarray(self.x[:, used]))), TIGHT)
        point = np.zeros((self.x.shape[1] + 1, found.point.shape[1]))
        point[np.append(used, -1)] = found.point
        found.point = point
        return found

    def value(self, point: Array) -> float:
        """The mean objective, by NumPy."""
        weight = self.weight
        penalty = self.l2 * float(weight.sum())
        return reference.objective(self.x, self.codes, penalty, weight, point) / float(weight.sum())

    def distance(self, one: Array, other: Array) -> float:
        """The mean Bhattacharyya distance of the predictions of two points."""
        p, q = (reference.probabilities(self.x, point) for point in (one, other))
        return float(self.weight @ -np.log(np.sqrt(p * q).sum(axis=1)) / self.weight.sum())


def drawn(classes: int, weighted: bool = False, rows: int = 80, columns: int = 150, **how: object) -> Problem:
    """A tenth of the numbers is not 0; every class has a row; with weights from 0 to 2, every seventh 0."""
    rng = np.random.default_rng(classes + rows)
    x = np.where(rng.random((rows, columns)) < 0.1, rng.normal(size=(rows, columns)), 0.0)
    codes = np.append(np.arange(classes), rng.integers(0, classes, rows - classes)).astype(np.int32)
    x[:, 0] = np.where(rng.random(rows) < 0.7, codes / classes, 0.0)
    weights = np.where(np.arange(rows) % 7 == 3, 0.0, rng.uniform(0, 2, rows)) if weighted else None
    return Problem(x, codes, classes, weights=weights, **how)  # type: ignore[arg-type]


def same_optimum(problem: Problem, found: Solution, best: Solution | None = None) -> None:
    """The value told is that of the weights, and the other's lies within the gap; so do predictions and weights."""
    best = problem.best() if best is None else best
    assert found.certificate.converged
    truly_proven(problem, found, best)


def truly_proven(problem: Problem, found: Solution, best: Solution) -> None:
    """The same for a fit that may have ended before its tolerance."""
    one, other = found.certificate, best.certificate
    assert other.converged
    assert abs(problem.value(found.point) - one.objective) <= ROUNDING * (1 + one.objective)
    rounding = ROUNDING * (1 + other.objective)
    assert -other.gap - rounding <= one.objective - other.objective <= one.gap + rounding
    assert problem.distance(found.point, best.point) <= (one.gap + other.gap) / 2 + rounding
    apart = float(np.linalg.norm(found.point[:-1] - best.point[:-1]))
    assert apart <= one.distance + other.distance + np.sqrt(2 * rounding / problem.l2)
    if not problem.intercept:
        assert not found.point[-1].any()


# --- the same optimum ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("l2", [1e-7, 1e-5, 1e-3, 0.1, 10.0])
@every_intercept
@every_weight
@every_k
def test_the_optimum_is_that_of_the_dense_rows(classes: int, weighted: bool, intercept: bool, l2: float) -> None:
    problem = drawn(classes, weighted, l2=l2, intercept=intercept)
    best = problem.best()
    for tolerance in (1e-3, 1e-7):
        found = minimise(problem.sparse(), tolerance)
        assert found.certificate.relative_gap <= tolerance
        same_optimum(problem, found, best)


@pytest.mark.parametrize("l2", [1e-9, 1e-7])
@every_weight
@pytest.mark.parametrize("classes", [2, 3])
def test_next_to_no_penalty_the_optimum_is_that_of_newton(classes: int, weighted: bool, l2: float) -> None:
    problem = drawn(classes, weighted, rows=16, columns=18, l2=l2)
    penalty = l2 * float(problem.weight.sum())
    best = problem.value(reference.optimum(problem.x, problem.codes, classes, penalty, problem.weight))
    for tolerance in (1e-3, 1e-6):
        found = minimise(problem.sparse(), tolerance)
        one = found.certificate
        assert one.converged
        assert abs(problem.value(found.point) - one.objective) <= ROUNDING
        assert -ROUNDING <= one.objective - best <= one.gap + ROUNDING


@pytest.mark.parametrize(("l2", "tolerance", "slow"), [(0.1, 1e-6, False), (1e-9, 1e-9, True)])
def test_where_the_ascent_is_slow_other_steps_go_on(l2: float, tolerance: float, slow: bool) -> None:
    """So both kinds are at work in the test above."""
    steps = DualSteps(drawn(7, l2=l2, intercept=False).sparse(), None, RowSteps)
    while steps.rest is None and steps.rough_gap() > tolerance * steps.value:
        assert steps.advance()
    assert (steps.rest is not None) == slow


@every_weight
@every_k
def test_more_than_4096_columns_and_still_more_rows(classes: int, weighted: bool) -> None:
    problem = drawn(classes, weighted, rows=4300, columns=20)
    wide = np.zeros((4300, 4200))
    wide[:, 17::210] = problem.x
    problem = replace(problem, x=wide)
    same_optimum(problem, minimise(problem.sparse()))


def with_alone(problem: Problem, each: int = 30) -> Problem:
    """The same with so many more columns for each row, in which no other stores anything; shuffled among the others."""
    rng = np.random.default_rng(each)
    rows, columns = problem.x.shape
    wide = np.zeros((rows, columns + each * rows))
    wide[:, :columns] = problem.x
    for i in range(rows):
        wide[i, columns + each * i : columns + each * (i + 1)] = rng.normal(size=each)
    return replace(problem, x=wide[:, rng.permutation(wide.shape[1])])


@pytest.mark.parametrize("dtype", [None, np.float32, np.float64])
def test_numbers_alone_in_their_columns_are_set_apart(dtype: type | None) -> None:
    """X X' is that of the other columns plus a diagonal; few such numbers stay where they are."""
    problem = with_alone(drawn(3))
    if dtype is None:
        problem = replace(problem, x=(problem.x != 0).astype(np.float64))
    if dtype is np.float32:
        problem = replace(problem, x=problem.x.astype(np.float32).astype(np.float64))
    features = problem.sparse(dtype).features
    shared = features.shared(2)
    assert shared is not None
    met = np.count_nonzero(problem.x, axis=0)
    assert np.allclose(shared.alone, np.square(problem.x[:, met == 1]).sum(axis=1), rtol=1e-14, atol=0)
    residual = np.random.default_rng(0).normal(size=(2, len(problem.x)))
    rest = shared.features.transposed_product(residual, 1)
    assert np.allclose(rest, problem.x[:, met > 1].T @ residual.T, rtol=1e-13, atol=1e-13)
    whole = np.full((problem.x.shape[1], 2), np.nan)
    shared.spread(features, rest, residual, whole, 2)
    assert np.allclose(whole, problem.x.T @ residual.T, rtol=1e-13, atol=1e-13)
    few = drawn(3)
    assert few.sparse().features.shared(1) is None
    assert replace(few, x=np.eye(80, 5000)).sparse().features.shared(1) is None


@pytest.mark.parametrize("l2", [1e-5, 1e-3, 0.1])
@every_intercept
@every_weight
@every_k
def test_columns_of_one_row_have_the_weights_of_the_dense_rows(
    classes: int, weighted: bool, intercept: bool, l2: float
) -> None:
    problem = with_alone(drawn(classes, weighted, l2=l2, intercept=intercept))
    best = problem.best()
    for tolerance in (1e-3, 1e-7):
        found = minimise(problem.sparse(), tolerance)
        assert found.certificate.relative_gap <= tolerance
        same_optimum(problem, found, best)
    stronger = minimise(replace(problem, l2=3 * l2).sparse(), 1e-7).resume
    same_optimum(problem, minimise(problem.sparse(), 1e-7, start=stronger), best)


def test_what_forgets_the_numbers_alone_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = with_alone(drawn(3))
    best = problem.best()
    part = Features._part

    def half(features: Features, threads: int) -> luce.features.Shared:
        found = part(features, threads)
        assert found is not None
        return replace(found, alone=0.5 * found.alone)

    monkeypatch.setattr(Features, "_part", half)
    found = minimise(problem.sparse())
    with pytest.raises(AssertionError):
        truly_proven(problem, found, best)


def divergence(steps: DualSteps) -> float:
    """sum_i s_i KL(a_i || p_i), by NumPy."""
    o = steps.objective
    weight = np.ones(len(o.codes)) if o.weights is None else o.weights
    own = np.zeros((o.classes, len(o.codes)))
    own[o.codes, np.arange(len(o.codes))] = 1.0
    away = steps._residual() / np.where(weight > 0, weight, 1.0)
    if o.outputs == 1:
        away, z = np.vstack([-away, away]), np.vstack([np.zeros_like(steps.logits), steps.logits])
    else:
        z = steps.logits
    a = np.maximum(own + away, 0.0)
    log_p = z - np.logaddexp.reduce(z, axis=0)
    return float(weight @ (a * (np.log(np.where(a > 0, a, 1.0)) - log_p)).sum(axis=0))


@pytest.mark.parametrize("rows", [80, 1500])
@every_weight
@every_k
def test_a_run_tells_how_far_it_has_come(classes: int, weighted: bool, rows: int) -> None:
    """Up to 512 rows to what float32 leaves of logarithms, 1e-6 of each; of more by a sample of 512, whose error is
    some tenths where few rows have most of it."""
    problem = with_alone(drawn(classes, weighted, rows=rows), 1)
    steps = DualSteps(problem.sparse(), None, RowSteps)
    for _ in range(4):
        assert steps.advance()
        wanted = divergence(steps)
        near = 1e-5 * wanted + 1e-6 * rows if rows == 80 else 0.5 * wanted
        assert abs(steps.rough_gap() - wanted) <= near


@pytest.mark.parametrize("intercept", [True, False])
def test_of_next_to_nothing_a_run_tells_a_number(intercept: bool) -> None:
    """Of a few rows the runs come to where float32 tells nothing apart: 0 of what was met, and of what is looked at."""
    for classes in (2, 3, 5):
        for rows in range(classes, classes + 4):
            steps = DualSteps(drawn(classes, rows=rows, l2=1e-2, intercept=intercept).sparse(), None, RowSteps)
            while steps.runs < 40 and steps.rest is None:
                assert steps.advance()
                assert 0.0 <= steps.rough[-1] < np.inf


@every_k
def test_rows_without_an_entry_come_to_their_best_by_runs_alone(classes: int) -> None:
    """Without intercepts such a row moves nothing; its best are equal shares, which six runs must not miss."""
    problem = drawn(classes, intercept=False, l2=1e-2)
    problem.x[::3] = 0.0
    steps = DualSteps(problem.sparse(), None, RowSteps)
    for _ in range(10):
        assert steps.advance()
    assert steps.rest is None
    away = (np.arange(max(classes, 2))[:, np.newaxis] == problem.codes[::3]) - 1 / classes
    residual = steps._residual()[:, ::3]
    assert np.abs(residual + (away if classes > 2 else away[1:])).max() <= 1e-6  # which are float32


def test_a_proof_that_failed_is_tried_again() -> None:
    """Once the rough gap is half of what it was, or at twice as many turns: a rough gap of 0 has no half."""
    pace = Pace(turn=3)
    assert not pace.ends(False, 1e-3)
    assert pace.due(5e-4, 1e-2) and not pace.due(6e-4, 1e-2) and not pace.due(5e-4, 1e-4)
    assert not pace.ends(False, 0.0)
    for pace.turn in (4, 5):
        assert not pace.due(1e-9, 1e-2)
    pace.turn = 6
    assert pace.due(1e-9, 1e-2) and not pace.due(1e-1, 1e-2)


def test_a_proof_leaves_the_runs_where_they_are() -> None:
    problem = with_alone(drawn(3))
    one, other = (DualSteps(problem.sparse(), None, RowSteps) for _ in range(2))
    for _ in range(3):
        assert one.advance() and other.advance()
        assert np.isfinite(one.prove().gap)
    assert one.advance() and other.advance()
    assert one.logits.tobytes() == other.logits.tobytes()
    assert one.point().tobytes() == other.point().tobytes()


@pytest.mark.parametrize("outputs", [1, 4])
def test_the_transposed_product_has_the_bits_of_one_thread(outputs: int) -> None:
    """Most numbers in the first columns, some columns empty, more threads than columns."""
    rng = np.random.default_rng(0)
    for columns in (2, 300):
        x = np.where(rng.random((3000, columns)) < 1 / (1 + np.arange(columns)), rng.normal(size=(3000, columns)), 0.0)
        x[:, columns // 2] = 0.0
        row, column = np.nonzero(x)
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=3000))])
        features = Features(3000, None, starts, column.astype(np.int32), x[row, column], columns)
        residual = rng.normal(size=(outputs, 3000))
        found = [features.transposed_product(residual, threads) for threads in (1, 2, 3, 8)]
        assert len({f.tobytes() for f in found}) == 1
        # 3,000 products, summed in order: n u of their absolute sum
        assert np.all(np.abs(found[0] - x.T @ residual.T) <= 3e3 * 2.3e-16 * (np.abs(x).T @ np.abs(residual.T)))


@every_intercept
@every_k
def test_values_of_either_width_or_none_have_one_optimum(classes: int, intercept: bool) -> None:
    """Ones are the same bits however they are stored; other numbers of float64 are not rounded in the proof."""
    problem = drawn(classes, True, intercept=intercept)
    ones = replace(problem, x=(problem.x != 0).astype(np.float64))
    found = [minimise(ones.sparse(dtype)) for dtype in (None, np.float32, np.float64)]
    assert len({solution.point.tobytes() for solution in found}) == 1
    same_optimum(ones, found[0])
    rounded = replace(problem, x=problem.x.astype(np.float32).astype(np.float64))
    best = rounded.best()
    for dtype in (np.float32, np.float64):
        same_optimum(rounded, minimise(rounded.sparse(dtype), 1e-8), best)


@every_k
def test_a_row_of_weight_0_counts_for_nothing_and_one_of_weight_3_for_three(classes: int) -> None:
    problem = drawn(classes)
    times = np.resize([1, 0, 3], 80)
    times[:classes] = 1
    weighted = replace(problem, weights=times.astype(np.float64))
    repeated = replace(problem, x=np.repeat(problem.x, times, axis=0), codes=np.repeat(problem.codes, times))
    same_optimum(weighted, minimise(weighted.sparse()), repeated.best())


@pytest.mark.parametrize("start_l2", [1e-9, 1e-2, 10.0])
@every_intercept
@every_k
def test_a_start_at_the_optimum_of_another_strength_has_the_same_optimum(
    classes: int, intercept: bool, start_l2: float
) -> None:
    problem = drawn(classes, True, intercept=intercept)
    start = minimise(replace(problem, l2=start_l2).sparse()).resume
    assert isinstance(start, RowPoint)
    before = start.a.tobytes(), start.b.tobytes()
    same_optimum(problem, minimise(problem.sparse(), start=start))
    assert before == (start.a.tobytes(), start.b.tobytes())


def test_a_start_at_its_own_optimum_is_nearly_there() -> None:
    objective = drawn(7, True).sparse()
    cold = minimise(objective)
    warm = minimise(objective, start=cold.resume)
    assert warm.certificate.passes < cold.certificate.passes / 2


@pytest.mark.parametrize("l2", [1e-3, 1e-8])
@pytest.mark.parametrize("classes", [2, 7])
def test_any_number_of_threads_has_the_same_bits(classes: int, l2: float) -> None:
    """On a matrix large enough that the core starts threads."""
    rng = np.random.default_rng(0)
    rows, stored = 3000, 12
    indices = np.sort(rng.integers(0, 20_000, (rows, stored)), axis=1).astype(np.int32).ravel()
    values = rng.normal(size=rows * stored)
    features = Features(rows, None, np.arange(0, rows * stored + 1, stored), indices, values, 20_000)
    problem = Problem(np.empty((rows, 0)), rng.integers(0, classes, rows).astype(np.int32), classes, l2)
    one, *others = (minimise(problem.objective(features, threads), 1e-4) for threads in (1, 2, 3, 8))
    for other in others:
        assert one.point.tobytes() == other.point.tobytes()
        assert one.logits.tobytes() == other.logits.tobytes()
        assert replace(one.certificate, seconds=0.0) == replace(other.certificate, seconds=0.0)


# --- dense rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("l2", [1e-5, 1e-2])
@every_intercept
@every_weight
@every_k
def test_wide_dense_rows_have_the_same_optimum(
    classes: int, weighted: bool, intercept: bool, l2: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one piece, and as a part of longer rows; at 1e-5 L-BFGS takes over."""
    monkeypatch.setattr(luce.features, "MANY_DENSE", 100)
    x = drawn(classes).x.astype(np.float32)
    problem = replace(drawn(classes, weighted, l2=l2, intercept=intercept), x=x.astype(np.float64))
    longer = np.full((len(x), 170), np.float32(np.nan))
    longer[:, :150] = x
    found = []
    for dense in (x, longer[:, :150]):
        features = Features(len(x), dense=dense)
        assert features.tells_by_rows
        found.append(minimise(problem.objective(features, 2)))
        same_optimum(problem, found[-1])
    assert np.array_equal(found[0].point, found[1].point)


# --- the proof -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("l2", [1e-6, 1e-3, 1.0])
@every_intercept
@every_weight
@every_k
def test_what_is_proven_on_the_way_holds(classes: int, weighted: bool, intercept: bool, l2: float) -> None:
    """After every run over the rows, and before the first: the value is that of the weights, the best lies within the
    gap; and the ascent goes on from what a proof leaves."""
    problem = drawn(classes, weighted, l2=l2, intercept=intercept)
    best = problem.best()
    total = float(problem.weight.sum())
    steps = DualSteps(problem.sparse(), None, RowSteps)
    proven, gaps = 0, []
    for _ in range(25):
        gap = steps.prove()
        value = gap.value / total
        assert abs(problem.value(steps.point()) - value) <= ROUNDING * (1 + value)
        assert value - gap.gap / total <= best.certificate.objective + ROUNDING * (1 + value)
        gaps.append(gap.gap / total)
        proven += bool(np.isfinite(gap.gap))
        if not steps.advance():
            break
    assert proven >= 5
    assert min(gaps) <= 0.01 * gaps[0]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_gap_covers_what_is_left_with_50_digits(classes: int) -> None:
    """Of sums of 30 rows; 50 u for what the gap itself is rounded by."""
    problem = drawn(classes, True, rows=30, columns=35, l2=0.01)
    penalty = problem.l2 * float(problem.weight.sum())
    plain = problem.x, problem.codes, penalty, problem.weight
    least = reference.exact_objective(*plain, reference.optimum(problem.x, problem.codes, classes, *plain[2:]))
    steps = DualSteps(problem.sparse(), None, RowSteps)
    seen = []
    for _ in range(16):
        gap = steps.prove().gap
        left = float(reference.exact_objective(*plain, steps.point()) - least)
        assert left <= gap + 50 * 2.0**-52
        seen.append((left, gap))
        assert steps.advance() and steps.advance() and steps.advance()
    assert min(gap for _, gap in seen) < 1e-5
    assert sum(gap < 20 * left for left, gap in seen) >= 5, "the gap is far from what is left"


@every_k
def test_a_matrix_that_lost_an_entry_is_found_out(classes: int) -> None:
    """A hand-made fault: one number of hundreds is missing in the fit."""
    problem = drawn(classes, l2=1e-4)
    lost = problem.x.copy()
    lost[np.unravel_index(np.abs(lost).argmax(), lost.shape)] = 0.0
    with pytest.raises(AssertionError):
        same_optimum(problem, minimise(replace(problem, x=lost).sparse()))


# --- odd problems --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("near", [0.0, 1e-6, 1e-2])
@pytest.mark.parametrize("l2", [1e-5, 1e-4, 1e-2])
@pytest.mark.parametrize("classes", [2, 3])
def test_near_duplicates_of_other_classes(classes: int, l2: float, near: float) -> None:
    problem = drawn(classes, rows=40)
    twin = problem.x * (1 + near * np.random.default_rng(5).normal(size=problem.x.shape))
    codes = np.append(problem.codes, (problem.codes + 1) % classes).astype(np.int32)
    problem = replace(problem, x=np.vstack([problem.x, twin]), codes=codes, l2=l2)
    same_optimum(problem, minimise(problem.sparse()))


@pytest.mark.parametrize("l2", [1e-9, 1e-3, 10.0])
@pytest.mark.parametrize(("classes", "intercept"), [(2, True), (2, False), (3, False)])
def test_two_rows(intercept: bool, classes: int, l2: float) -> None:
    x = np.array([[1.0, 0.0, 2.0], [0.0, -3.0, 1.0]])
    problem = Problem(x, np.array([0, classes - 1], np.int32), classes, l2, intercept=intercept)
    same_optimum(problem, minimise(problem.sparse()))


@every_intercept
@every_k
def test_a_class_of_one_row(classes: int, intercept: bool) -> None:
    """Of 80, and that one without a number; and a class whose one row has no weight, if others are left."""
    problem = drawn(classes, intercept=intercept)
    codes = np.append(0, np.resize(np.arange(1, classes), 79)).astype(np.int32)
    for empty in (False, True):
        x = problem.x.copy()
        x[0] *= not empty
        rare = replace(problem, x=x, codes=codes)
        same_optimum(rare, minimise(rare.sparse()))


@every_intercept
@every_k
def test_rows_without_an_entry_have_what_the_intercepts_say(classes: int, intercept: bool) -> None:
    problem = drawn(classes, True, intercept=intercept)
    problem.x[::3] = 0.0
    found = minimise(problem.sparse())
    same_optimum(problem, found)
    assert np.abs(found.logits[:, ::3] - found.point[-1][:, np.newaxis]).max() <= 1e-15 * (
        1 + np.abs(found.point[-1]).max()
    )
    problem.x[:] = 0.0
    found = minimise(problem.sparse())
    same_optimum(problem, found)
    assert not found.point[:-1].any()


@pytest.mark.parametrize("scale", [1e-30, 1e-5, 0.1, 10.0, 1e5, 1e15, 1e30])
@pytest.mark.parametrize("classes", [2, 3])
def test_numbers_of_any_size_are_truly_proven(classes: int, scale: float) -> None:
    """Numbers times c under a penalty times c^2 have weights divided by c: the same losses. Beyond float32, too."""
    problem = drawn(classes, l2=0.1)
    scaled = replace(problem, x=problem.x * scale, l2=problem.l2 * scale**2)
    found, best = minimise(scaled.sparse()), problem.best().certificate.objective
    one = found.certificate
    rounding = ROUNDING * (1 + np.abs(found.logits).max())
    assert abs(scaled.value(found.point) - one.objective) <= rounding
    assert -rounding <= one.objective - best <= one.gap + rounding
    assert one.converged or not 0.1 <= scale <= 10


@pytest.mark.parametrize("classes", [2, 3])
def test_columns_of_very_different_sizes_are_truly_proven(classes: int) -> None:
    problem = drawn(classes, l2=1e-2)
    problem.x[:, ::2] *= 1e3
    problem.x[:, ::5] *= 1e-3
    truly_proven(problem, minimise(problem.sparse()), problem.best())
