"""Features and Objective against NumPy and against finite differences; the certificate against 50-digit optima."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import claims
import numpy as np
import pytest
import reference

from luce import metric, solver
from luce.features import Features
from luce.objective import Objective
from luce.solver import FarNewton, minimise

PENALTY = 0.7
REL = 1e-13
"""Against NumPy: either side sums at most 1000 x 11 products in some order, 11,000 u = 1e-12 at worst, about the square
root of that in fact. The largest measured is 8e-15, for Hessian products."""

every_k = pytest.mark.parametrize("classes", [2, 3, 7])
every_n = pytest.mark.parametrize("rows", [1, 63, 64, 65, 1000])  # a tile has 64 rows

STORED: dict[str, Callable[[int, np.random.Generator], Features]] = {}


def stored(build: Callable[[int, np.random.Generator], Features]) -> Callable[[int, np.random.Generator], Features]:
    STORED[build.__name__] = build
    return build


@stored
def float64(rows: int, rng: np.random.Generator) -> Features:
    return Features(rows, dense=rng.normal(size=(rows, 5)))


@stored
def float32(rows: int, rng: np.random.Generator) -> Features:
    return Features(rows, dense=rng.normal(size=(rows, 9)).astype(np.float32))


@stored
def fortran64(rows: int, rng: np.random.Generator) -> Features:
    return Features(rows, dense=np.asfortranarray(rng.normal(size=(rows, 5))))


@stored
def fortran32(rows: int, rng: np.random.Generator) -> Features:
    return Features(rows, dense=np.asfortranarray(rng.normal(size=(rows, 9)).astype(np.float32)))


@stored
def strided(rows: int, rng: np.random.Generator) -> Features:
    return Features(rows, dense=rng.normal(size=(2 * rows, 10))[::-2, 1::2])


@stored
def sparse_ones(rows: int, rng: np.random.Generator) -> Features:
    """One entry in each row, as a category has; column 5 stays empty."""
    starts = np.arange(rows + 1, dtype=np.int64)
    return Features(rows, starts=starts, indices=rng.integers(0, 5, rows).astype(np.int32), sparse_columns=6)


@stored
def sparse_values(rows: int, rng: np.random.Generator) -> Features:
    """Rows of 0 to 4 entries, some in one column twice."""
    counts = rng.integers(0, 5, rows)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    indices = rng.integers(0, 6, starts[-1]).astype(np.int32)
    values = rng.normal(size=starts[-1]).astype(np.float32)
    return Features(rows, starts=starts, indices=indices, values=values, sparse_columns=6)


@stored
def both_parts(rows: int, rng: np.random.Generator) -> Features:
    sparse = sparse_values(rows, rng)
    dense = rng.normal(size=(rows, 5)).astype(np.float32)
    return Features(rows, dense, sparse.starts, sparse.indices, sparse.values, sparse.sparse_columns)


every_storage = pytest.mark.parametrize("storage", STORED)


class Problem:
    """An objective at a random point, and the same as plain arrays."""

    def __init__(
        self, storage: str, rows: int, classes: int, weighted: bool = True, threads: int = 1, penalty: float = PENALTY
    ) -> None:
        rng = np.random.default_rng(rows + classes)
        self.features = STORED[storage](rows, rng)
        self.x = reference.dense(self.features)
        self.codes = rng.integers(0, classes, rows).astype(np.int32)
        self.weights = rng.uniform(0.0, 2.0, rows) if weighted else np.ones(rows)
        self.classes, self.penalty = classes, penalty
        given = self.weights if weighted else None
        self.objective = Objective(self.features, self.codes, classes, penalty, given, threads)
        shape = (self.x.shape[1] + 1, self.objective.outputs)
        self.point, self.direction = rng.normal(size=shape), rng.normal(size=shape)
        self.logits = self.objective.logits(self.point)

    @property
    def plain(self) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
        return self.x, self.codes, self.penalty, self.weights

    def best(self) -> np.ndarray:
        return reference.optimum(self.x, self.codes, self.classes, self.penalty, self.weights)

    def exactly(self, point: np.ndarray) -> reference.Exact:
        return reference.exact_objective(*self.plain, point)


def close(got: np.ndarray | float, wanted: np.ndarray | float, rel: float = REL) -> bool:
    """Equal within `rel` of the largest number: a sum that nearly cancels is as exact as its terms."""
    return bool(np.abs(np.asarray(got) - wanted).max() <= rel * (np.abs(np.asarray(wanted)).max() + 1e-300))


# --- against NumPy -------------------------------------------------------------------------------------------------


@every_storage
@every_n
@every_k
def test_value_gradient_and_products_equal_numpy(storage: str, rows: int, classes: int) -> None:
    p = Problem(storage, rows, classes)
    o = p.objective
    value, gradient = o.value_and_gradient(p.point)
    assert close(value, reference.objective(*p.plain, p.point))
    assert close(gradient, reference.gradient(*p.plain, p.point))
    assert close(p.logits, reference.logits(p.x, p.point)[:, -o.outputs :].T)
    from_logits = o.gradient_at(p.point, p.logits)
    assert close(from_logits[0], value)
    assert close(from_logits[1], gradient)
    hessian = reference.hessian(p.x, p.penalty, p.weights, p.point)
    assert close(o.hessian_product(p.logits, p.direction), (hessian @ p.direction.ravel()).reshape(p.point.shape))


@pytest.mark.parametrize("storage", ["float64", "both_parts"])
@every_k
def test_no_weights_are_weights_of_1(storage: str, classes: int) -> None:
    plain, ones = Problem(storage, 100, classes, weighted=False), Problem(storage, 100, classes, weighted=False)
    ones.objective = Objective(ones.features, ones.codes, classes, PENALTY, np.ones(100))
    a, b = plain.objective.value_and_gradient(plain.point), ones.objective.value_and_gradient(plain.point)
    assert a[0] == b[0]
    assert a[1].tobytes() == b[1].tobytes()


@every_k
def test_a_row_of_weight_0_counts_for_nothing(classes: int) -> None:
    p = Problem("float64", 65, classes)
    p.weights[10] = 0
    left = np.arange(65) != 10
    rest = Objective(Features(64, dense=p.x[left]), p.codes[left], classes, PENALTY, p.weights[left])
    without, with_it = rest.value_and_gradient(p.point), p.objective.value_and_gradient(p.point)
    assert close(with_it[0], without[0])
    assert close(with_it[1], without[1])


@every_n
@every_k
def test_along_a_direction(rows: int, classes: int) -> None:
    """Loss, slope and curvature at a step equal the value, the gradient and the Hessian product of the place there."""
    p = Problem("float64", rows, classes)
    o, step = p.objective, 0.3
    moved = p.point + step * p.direction
    loss, slope, curve = o.along(p.logits, o.logits(p.direction), step)
    gradient = reference.gradient(p.x, p.codes, 0.0, p.weights, moved)
    hessian = reference.hessian(p.x, 0.0, p.weights, moved)
    assert close(loss, reference.objective(p.x, p.codes, 0.0, p.weights, moved))
    assert abs(slope - np.sum(gradient * p.direction)) <= REL * np.abs(gradient * p.direction).sum()
    assert curve == pytest.approx(p.direction.ravel() @ hessian @ p.direction.ravel(), rel=1e-11, abs=1e-11)


@every_storage
@every_n
@every_k
def test_a_move_of_the_logits_is_a_move_of_the_point(storage: str, rows: int, classes: int) -> None:
    """gradient_at moves the logits in place first; then it is the gradient of the place moved to."""
    p = Problem(storage, rows, classes)
    o, step = p.objective, 0.3
    moved = p.point + step * p.direction
    value, gradient = o.gradient_at(moved, p.logits, (o.logits(p.direction), step))
    assert close(p.logits, o.logits(moved))
    assert close(value, reference.objective(*p.plain, moved))
    assert close(gradient, reference.gradient(*p.plain, moved))


@every_n
@every_k
def test_a_correction_moves_the_probabilities_by_the_curvature(rows: int, classes: int) -> None:
    """By a constant c on the logits, that is by H_b c in the gradient: the product with the direction (0, c)."""
    p = Problem("float64", rows, classes)
    o = p.objective
    constant = np.zeros_like(p.point)
    constant[-1] = p.direction[-1]
    _, plain = o.gradient_at(p.point, p.logits)
    _, moved = o.gradient_at(p.point, p.logits, correction=np.ascontiguousarray(constant[-1]))
    hessian = reference.hessian(p.x, 0.0, p.weights, p.point)
    wanted = plain - (hessian @ constant.ravel()).reshape(p.point.shape)
    assert np.abs(moved - wanted).max() <= REL * (np.abs(plain).max() + np.abs(wanted).max())


@every_k
def test_derivatives_are_those_of_the_value(classes: int) -> None:
    """Central differences with h = 1e-5: h^2 of truncation and u/h = 1e-11 of rounding, times values up to 300."""
    p = Problem("both_parts", 65, classes)
    o, h = p.objective, 1e-5
    up, down = o.value_and_gradient(p.point + h * p.direction), o.value_and_gradient(p.point - h * p.direction)
    _, gradient = o.value_and_gradient(p.point)
    assert (up[0] - down[0]) / (2 * h) == pytest.approx(np.sum(gradient * p.direction), rel=1e-7)
    assert close((up[1] - down[1]) / (2 * h), o.hessian_product(p.logits, p.direction), rel=1e-7)


@pytest.mark.parametrize("storage", ["sparse_ones", "sparse_values", "both_parts"])
@every_k
def test_sparse_equals_dense_of_the_same_matrix(storage: str, classes: int) -> None:
    p = Problem(storage, 1000, classes)
    dense = Objective(Features(1000, dense=p.x), p.codes, classes, PENALTY, p.weights)
    a, b = p.objective.value_and_gradient(p.point), dense.value_and_gradient(p.point)
    assert close(a[0], b[0])
    assert close(a[1], b[1])
    assert close(p.objective.hessian_product(p.logits, p.direction), dense.hessian_product(p.logits, p.direction))


@pytest.mark.parametrize(("one", "other"), [("float64", "fortran64"), ("float32", "fortran32")])
@every_k
def test_the_order_in_memory_changes_no_bit(one: str, other: str, classes: int) -> None:
    c, f = Problem(one, 200, classes), Problem(other, 200, classes)
    assert c.logits.tobytes() == f.logits.tobytes()
    assert c.objective.value_and_gradient(c.point)[1].tobytes() == f.objective.value_and_gradient(f.point)[1].tobytes()


@pytest.mark.parametrize("far", [50.0, 500.0, 5000.0])
@every_k
def test_n15_the_gradient_at_saturation_is_finite_and_exact(far: float, classes: int) -> None:
    """A row with the right class far ahead: 1 - p keeps its digits. 8 u, and far u for the rounding of the logits."""
    x = np.array([[1.0]])
    point = np.zeros((2, 1 if classes == 2 else classes))
    point[0, -1] = far
    codes = np.array([classes - 1], dtype=np.int32)
    o = Objective(Features(1, dense=x), codes, classes, 1e-300)
    loss, gradient = o.gradient_at(point, o.logits(point))
    wanted = -float(sum(reference.softmax([0.0] * (classes - 1) + [far])[:-1]))
    assert np.isfinite(gradient).all()
    if wanted > -1e-300:
        assert abs(gradient[-1, -1]) < 1e-300
    else:
        assert abs(gradient[-1, -1] - wanted) <= (8 + far) * 2.0**-53 * -wanted
        assert loss == pytest.approx(-wanted, rel=1e-13)  # -ln(1 - e) = e for e < 1e-21


def test_start_fits_the_class_shares() -> None:
    p = Problem("float64", 1000, 7)
    _, gradient = p.objective.value_and_gradient(p.objective.start())
    assert np.abs(gradient[-1]).max() <= 1e-12  # 1000 residuals below 2, each within a few u
    assert p.objective.start()[-1].mean() == pytest.approx(0, abs=1e-15)


def test_stored_counts_and_columns() -> None:
    features = both_parts(50, np.random.default_rng(0))
    assert features.columns == 11
    assert features.stored == 50 * 5 + len(features.indices)
    wide = reference.dense(features)
    rows = np.array([3, 0, 49, 3])
    wanted = np.zeros((4, 32))
    wanted[:, :5], wanted[:, 5:7], wanted[:, 7] = wide[rows, :5], wide[rows][:, [6, 9]], 1
    some = np.array([0, 1, 2, 3, 4, 6, 9])
    centre, spread = np.arange(5.0), np.arange(1.0, 12.0)
    wanted[:, :5] -= centre
    wanted[:, :7] /= spread[some]
    found = features.submatrix(rows, some, centre, spread, 1)  # float32, entries met twice are summed: two roundings
    assert np.abs(found - wanted).max() <= 2.0**-23 * np.abs(wanted).max()
    assert features.frequent_columns(11).tolist() == list(range(11))
    assert features.frequent_columns(3).tolist() == [0, 1, 2]
    stored = np.bincount(features.indices, minlength=6)
    assert 5 + stored.argmax() in features.frequent_columns(6)


def test_weighted_squares_are_those_of_the_dense_matrix() -> None:
    rng = np.random.default_rng(3)
    rows, weights = np.arange(1, 90, 2), rng.uniform(size=(3, 45))
    for features in (both_parts(100, rng), Features(100, dense=rng.normal(size=(100, 4)).astype(np.float32))):
        own = features.weighted_squares(rows, weights, 1)
        if features.sparse_columns:  # an entry met twice in a row counts as two entries, which the metric may get wrong
            own, wide = own[:, :5], reference.dense(features)[rows][:, :5]
        else:
            wide = reference.dense(features)[rows]
        assert np.abs(own - weights @ wide**2).max() <= 1e-12 * np.abs(wide).max() ** 2 * 45  # 45 terms, each within u


# --- the same bits -------------------------------------------------------------------------------------------------

LARGE = 20_011  # enough work that the core starts threads, and no whole number of tiles


@pytest.mark.parametrize("storage", ["float64", "float32", "sparse_values", "both_parts"])
@every_k
def test_e07_any_number_of_threads_gives_the_same_bits(storage: str, classes: int) -> None:
    results = []
    for threads in (1, 2, 3, 8):
        p = Problem(storage, LARGE, classes, threads=threads)
        o = p.objective
        value, gradient = o.value_and_gradient(p.point)
        along = o.logits(p.direction)
        product = o.hessian_product(p.logits, p.direction)
        gap = o.certify(p.point, p.logits)
        numbers = np.array([value, *o.along(p.logits, along, 0.5), gap.value, gap.gap])
        first = p.logits.tobytes()
        moved = o.gradient_at(p.point, p.logits, (along, 0.5))[1]
        results.append([first, *(a.tobytes() for a in (p.logits, gradient, moved, product, numbers))])
    assert all(r == results[0] for r in results)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")
def test_large_work_starts_threads() -> None:
    """Without this the test above could compare one thread with itself."""
    count = (
        "import os, numpy as np; from luce.features import Features\n"
        "tasks = lambda: len(os.listdir('/proc/self/task'))\n"
        f"before, f = tasks(), Features({LARGE}, dense=np.ones(({LARGE}, 9)))\n"
        "f.logits(np.ones((9, 7)), np.ones(7), 3); print(tasks() - before)"
    )
    done = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == 2


# --- the certificate -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 300.0])
@every_k
def test_e13_the_gap_is_at_least_what_is_left(classes: int, penalty: float) -> None:
    """At random points near and far, and on the way to the optimum; with and without a gradient of the intercepts."""
    p = Problem("float64", 60, classes, penalty=penalty)
    best = p.best()
    least = p.exactly(best)
    seen = []
    for size in (0.0, 1e-6, 1e-3, 0.03, 0.3, 3.0, 30.0):
        for intercepts in (0.0, 1.0):
            move = p.direction.copy()
            move[-1] *= intercepts
            point = best + size * move
            seen.append(claims.gap_covers_what_is_left(p.objective, point, p.exactly, least))
    assert min(left for left, _ in seen) < 1e-9, "no point was near the optimum"
    assert sum(np.isfinite(gap) for _, gap in seen) >= 6, "too little was proven"


@every_k
def test_e13_the_gap_where_the_weights_make_up_for_the_intercepts(classes: int) -> None:
    """Columns far from 0 can stand in for intercepts: at the best weights for wrong intercepts the gradient of the
    weights is 0, and only its part that moves with the intercepts shows what is left."""
    p = Problem("float64", 60, classes, weighted=False, penalty=1.0)
    x = p.x + 5
    codes, ones = p.codes, np.ones(60)
    best = reference.optimum(x, codes, classes, 1.0, ones)
    point, size = best.copy(), best[:-1].size
    point[-1] += 0.05 * p.direction[-1]
    for _ in range(20):
        slope = reference.gradient(x, codes, 1.0, ones, point)[:-1]
        inner = reference.hessian(x, 1.0, ones, point)[:size, :size]
        point[:-1] -= np.linalg.solve(inner, slope.ravel()).reshape(slope.shape)
    assert np.abs(slope).max() < 1e-9
    exactly = partial(reference.exact_objective, x, codes, 1.0, ones)
    objective = Objective(Features(60, dense=x), codes, classes, 1.0)
    left, gap = claims.gap_covers_what_is_left(objective, point, exactly, exactly(best))
    assert left > 1e-5
    assert np.isfinite(gap)


@every_k
def test_nothing_is_proven_outside_the_simplex(classes: int) -> None:
    """The proof needs p moved by the intercepts' Newton step c to be probabilities, which |c| <= 1/2 makes sure."""
    p = Problem("float64", 60, classes)
    sides = set()
    for size in (0.02, 0.1, 0.5, 1.0, 2.0, 4.0):
        point = p.best()
        point[-1] += size * p.direction[-1]
        slope = reference.gradient(*p.plain, point)[-1]
        curvature = reference.hessian(p.x, 0.0, p.weights, point)[-len(slope) :, -len(slope) :]
        step = np.abs(np.linalg.lstsq(curvature, slope, rcond=1e-13)[0]).max()
        proven = p.objective.certify(point, p.objective.logits(point))
        assert np.isfinite(proven.gap) == (step <= 0.5), f"a step of {step}"
        sides.add(bool(step <= 0.5))
    assert sides == {True, False}


@every_k
def test_the_gap_is_tight_under_a_strong_penalty(classes: int) -> None:
    """Then the Hessian is nearly the penalty, and the gap nearly what is left: half of it would be too little."""
    p = Problem("float64", 60, classes, penalty=3000.0)
    best = p.best()
    move = 1e-3 * p.direction
    move[-1] = 0
    point = best + move
    proven = p.objective.certify(point, p.objective.logits(point))
    left = float(p.exactly(point) - p.exactly(best))
    assert left <= proven.gap <= 1.3 * left


@every_k
def test_far_from_the_balance_of_classes_nothing_is_proven(classes: int) -> None:
    p = Problem("float64", 60, classes)
    p.point[-1, 0] += 50
    assert p.objective.certify(p.point, p.objective.logits(p.point)).gap == np.inf


@every_k
def test_the_optimum_of_the_solver_is_that_of_newton(classes: int) -> None:
    """Strong convexity: the weights are within sqrt(2 gap / penalty) of the optimum's."""
    p = Problem("both_parts", 200, classes)
    solution = minimise(p.objective, 1e-12)
    gap = solution.certificate.gap * p.objective.total
    best = p.best()
    assert solution.certificate.converged
    assert np.linalg.norm(solution.point[:-1] - best[:-1]) <= np.sqrt(2 * gap / PENALTY) + 1e-9  # Newton's own error
    assert p.exactly(solution.point) - p.exactly(best) <= gap


def test_where_blocks_are_slow_the_whole_hessian_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six classes that are all but told apart, of columns that say much the same: 11 steps instead of 43."""
    monkeypatch.setattr(metric, "COUPLED_STEPS", 0)
    random = np.random.default_rng(0)
    truth = random.normal(0, 1, (3_000, 12))
    x = truth @ random.normal(0, 1, (12, 24)) + random.normal(0, 0.3, (3_000, 24))
    codes = (2 * truth[:, :6] + random.gumbel(0, 0.3, (3_000, 6))).argmax(axis=1).astype(np.int32)
    features, taken = Features(len(x), x), {}
    for most in (0, 1 << 26):
        monkeypatch.setattr(metric, "MOST_COUPLED", most)
        ends = [minimise(Objective(features, codes, 6, 1e-3, threads=threads), 1e-8) for threads in (1, 3)]
        assert ends[0].certificate.converged
        assert np.array_equal(ends[0].point, ends[1].point)
        assert ends[0]._method.metric.coupled == bool(most)
        taken[most] = ends[0]._method.iteration
    assert taken[1 << 26] < 0.5 * taken[0], taken


def test_a_part_of_the_rows_is_not_sure_of_what_the_others_deny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rare levels, a rare class and next to no penalty: where the fit to an eighth of the rows ends, the other rows are
    at 0.094 nats, and at 0.37 if that fit was not held back."""
    random = np.random.default_rng(0)
    levels = np.minimum(random.geometric(0.35, (36_000, 10)) - 1, 7) + 8 * np.arange(10)
    weights = random.normal(0, 8, (80, 6))
    weights[:, -2:] -= 2
    codes = (weights[levels].sum(axis=1) + random.gumbel(size=(36_000, 6))).argmax(axis=1).astype(np.int32)
    indices = levels.astype(np.int32).ravel()
    features = Features(36_000, None, np.arange(0, 360_001, 10), indices, None, 80)
    reached = {}
    for held in (0.0, solver.PART_PENALTY):
        monkeypatch.setattr(solver, "PART_PENALTY", held)
        ends = [Objective(features, codes, 6, 1e-3, threads=threads) for threads in (1, 2)]
        starts = [solver._start_of_some_rows(end, None)[0] for end in ends]
        assert isinstance(starts[0], np.ndarray) and isinstance(starts[1], np.ndarray)
        assert np.array_equal(starts[0], starts[1])
        reached[held] = ends[0].value_and_gradient(starts[0])[0] / 36_000
    assert reached[solver.PART_PENALTY] < 0.5 * reached[0.0], reached


def test_steps_that_were_short_are_tried_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 classes, some of a row or two, whose curvature is next to none: 166 passes instead of 255."""
    monkeypatch.setattr("luce.objective.MOST_LOGITS", 0)
    random = np.random.default_rng(0)
    x = random.normal(size=(5_000, 20))
    x[:, 1:] += x[:, :-1]
    codes = (x @ random.normal(0, 1.5, (20, 300)) + random.gumbel(size=(5_000, 300))).argmax(axis=1).astype(np.int32)
    problem, taken = Objective(Features(5_000, x), codes, 300, 1.0, threads=2), {}
    for length in (1.0, property(lambda step: 1.0, lambda step, new: None)):
        monkeypatch.setattr(FarNewton, "length", length)
        found = minimise(problem, 1e-6)
        assert found.certificate.converged
        taken[length] = found.certificate.passes
    tried, whole = taken.values()
    assert tried < 0.8 * whole, taken


@pytest.mark.parametrize("passes", [0, 10_000])
def test_a_wide_dense_matrix_has_curvature_of_every_column(passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,250 columns that say much the same, as 30 numbers are behind them: about 43 passes by one block for all
    directions or by a block for each, where it takes 534 with the curvature of 512 columns."""
    monkeypatch.setattr(metric, "WIDE_PASSES", passes)
    random = np.random.default_rng(0)
    truth = random.normal(0, 1, (5_100, 30))
    x = np.maximum(truth @ random.normal(0, 0.2, (30, 1_250)) + 0.3, 0).astype(np.float32)
    codes = (truth[:, :5] + random.gumbel(0, 0.3, (5_100, 5))).argmax(axis=1).astype(np.int32)
    ends = []
    for threads in (1, 2):
        problem = Objective(Features(len(x), x), codes, 5, 0.3, threads=threads)
        found = metric.Metric(problem)
        assert found.wide and not found.coupled and not len(found.rest)
        assert found._affordable(4_096) == bool(passes)
        ends.append(minimise(problem, share=1e-2))
    assert ends[0].certificate.converged and ends[0].certificate.passes < 150
    assert np.array_equal(ends[0].point, ends[1].point)
