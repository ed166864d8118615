"""Softmax over blocks of classes: values and bounds against NumPy in double, fits against another solver."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import logsumexp

from luce import _core, block_steps, objective, solver
from luce.block_steps import BlockSteps
from luce.features import Features
from luce.objective import Objective
from luce.steps import BlockPoint

ROWS, COLUMNS, CLASSES = 600, 50, 150


def problem(seed: int = 0, values=np.float32, weights: bool = True):
    """X sparse (one row empty), codes of many classes, some of one row, and weights, some of them 0."""
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(ROWS, COLUMNS)) * (rng.random((ROWS, COLUMNS)) < 0.2)
    dense[3] = 0.0
    x = sp.csr_matrix(dense.astype(values))
    signal = dense @ rng.normal(size=(COLUMNS, CLASSES)) + rng.gumbel(size=(ROWS, CLASSES))
    codes = signal.argmax(axis=1).astype(np.int32)
    codes[: CLASSES // 2] = np.arange(CLASSES // 2)
    _, codes = np.unique(codes, return_inverse=True)
    s = rng.random(ROWS) * (rng.random(ROWS) < 0.9) if weights else np.ones(ROWS)
    s[:CLASSES] += 0.1
    return x, codes.astype(np.int32), int(codes.max()) + 1, s * ROWS / s.sum()


def objective_of(x, codes, classes, weights, penalty: float = 0.5, threads: int = 1, **more) -> Objective:
    values = None if (x.data == 1).all() else x.data
    features = Features(x.shape[0], None, x.indptr.astype(np.int64), x.indices.astype(np.int32), values, x.shape[1])
    return Objective(features, codes, classes, penalty, weights, threads, **more)


def worked(x, codes, weights, point, penalty):
    """P, its gradient and the probabilities, by NumPy."""
    z = np.asarray(x @ point[:-1]) + point[-1]
    total = logsumexp(z, axis=1)
    p = np.exp(z - total[:, None])
    value = np.sum(weights * (total - z[np.arange(len(codes)), codes])) + penalty / 2 * np.sum(point[:-1] ** 2)
    residual = p.copy()
    residual[np.arange(len(codes)), codes] -= 1
    residual *= weights[:, None]
    return value, np.vstack([x.T @ residual + penalty * point[:-1], residual.sum(axis=0)]), p


def some_point(classes: int, seed: int = 1):
    return np.random.default_rng(seed).normal(size=(COLUMNS + 1, classes)).astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("values", [np.float32, np.float64])
def test_value_gradient_and_masses_are_those_of_numpy(values) -> None:
    x, codes, classes, s = problem(values=values)
    point = some_point(classes)
    value, gradient, p = worked(x.astype(np.float64), codes, s, point, 0.5)
    o, at = objective_of(x, codes, classes, s), BlockPoint.of(point)
    core = _core.ClassBlocks(o.features.design, o.labels)
    g, slope = np.empty_like(at.numbers), np.empty(len(at.bias))
    found, square = core.gradient(at.numbers, 0.5, g, slope, 2)
    # float32 sums of some hundred numbers of size 1: 1e-5 of the largest
    assert found == pytest.approx(value, rel=1e-6)
    mine = BlockPoint(g, slope, classes).whole()
    np.testing.assert_allclose(mine, gradient, atol=1e-5 * np.abs(gradient).max())
    assert square == pytest.approx(np.sum(gradient[:-1] ** 2), rel=1e-4)
    share, curve = np.empty(len(at.bias)), np.empty(len(at.bias))
    loss = core.masses(at.numbers, at.bias, share, curve, 2)
    assert loss == pytest.approx(value - 0.25 * np.sum(point[:-1] ** 2), rel=1e-12)  # double
    np.testing.assert_allclose(share[:classes], s @ p, rtol=1e-11)
    np.testing.assert_allclose(curve[:classes], s @ (p - p * p), rtol=1e-9, atol=1e-12)
    logits = np.empty((classes, ROWS))
    core.logits(at.numbers, at.bias, logits, 2)
    np.testing.assert_allclose(logits.T, x.astype(np.float64) @ point[:-1] + point[-1], atol=1e-12)


@pytest.mark.parametrize("values", [np.float32, np.float64])
def test_the_curvature_is_the_diagonal_of_the_hessian(values) -> None:
    x, codes, classes, s = problem(values=values)
    point = some_point(classes)
    _, _, p = worked(x.astype(np.float64), codes, s, point, 0.5)
    o, at = objective_of(x, codes, classes, s), BlockPoint.of(point)
    inverse = np.empty(at.numbers.shape, dtype=np.uint16)
    _core.ClassBlocks(o.features.design, o.labels).take_curvature(at.numbers, 0.5, inverse, 2)
    wide = (inverse.astype(np.uint32) << 16).view(np.float32)
    found = BlockPoint(wide, wide[:, -1].ravel().astype(np.float64), classes).whole()
    spread = s[:, None] * (p - p * p)
    # bfloat16 keeps eight bits: half a unit of the last is 2^-8 at most, and of the reciprocal a little more
    np.testing.assert_allclose(1 / found[:-1], x.astype(np.float64).power(2).T @ spread + 0.5, rtol=1.01 * 2.0**-8)
    np.testing.assert_allclose(1 / found[-1], spread.sum(axis=0), rtol=1.01 * 2.0**-8)
    assert not inverse[-1, -1, classes % _core.BLOCK :].any()


def test_the_bound_is_that_of_the_distributions() -> None:
    """|X'S(a - y) + penalty W|^2 as NumPy has it, and no less than sum s KL(a || p); a meets the intercepts' demand."""
    x, codes, classes, s = problem()
    point = 0.3 * some_point(classes)
    _, _, p = worked(x.astype(np.float64), codes, s, np.asarray(BlockPoint.of(point).whole()), 0.5)
    o, at = objective_of(x, codes, classes, s), BlockPoint.of(point)
    counts, share = np.bincount(codes, weights=s, minlength=classes), s @ p
    keep, lack = np.minimum(1.0, counts / share), np.maximum(counts - share, 0.0)
    gain = lack / lack.sum()
    a = p * keep + gain * (p @ (1 - keep))[:, None]
    y = np.eye(classes)[codes]
    np.testing.assert_allclose(s @ (a - y), 0.0, atol=1e-9)
    pads = len(at.bias) - classes
    core = _core.ClassBlocks(o.features.design, o.labels)
    _, square, divergence = core.bound(
        at.numbers, at.bias, 0.5, np.append(keep, np.ones(pads)), np.append(gain, np.zeros(pads)), 2
    )
    weights = at.whole()[:-1]
    pulled = x.astype(np.float64).T @ (s[:, None] * (a - y)) + 0.5 * weights
    assert square == pytest.approx(np.sum(pulled**2), rel=1e-10)
    kl = np.sum(s[:, None] * a * np.log(np.where(a > 0, a / p, 1.0)))
    assert kl <= divergence <= 5 * kl + 1e-9  # not only a bound, but near enough to be of use


@pytest.mark.parametrize("intercept", [True, False])
def test_a_fit_is_that_of_another_solver_and_its_gap_holds(monkeypatch, intercept) -> None:
    x, codes, classes, s = problem()
    exact = solver.minimise(objective_of(x, codes, classes, s, intercept=intercept), 1e-10)
    monkeypatch.setattr(objective, "MOST_LOGITS", 1000)
    o = objective_of(x, codes, classes, s, intercept=intercept)
    assert isinstance(solver._method(o, None), BlockSteps)
    for tolerance in (1e-2, 1e-4, 1e-6):
        found = solver.minimise(o, tolerance)
        c = found.certificate
        assert c.converged and c.relative_gap <= tolerance
        left = c.objective - exact.certificate.objective
        assert -1e-10 <= left <= c.gap * (1 + 1e-9) + exact.certificate.gap
        assert np.linalg.norm(found.point[:-1] - exact.point[:-1]) <= c.distance * 1.001 + exact.certificate.distance
        if not intercept:
            assert not found.point[-1].any()


def test_the_bits_are_those_of_any_number_of_threads(monkeypatch) -> None:
    monkeypatch.setattr(objective, "MOST_LOGITS", 1000)
    x, codes, classes, s = problem()
    points = [solver.minimise(objective_of(x, codes, classes, s, threads=t), 1e-4).point for t in (1, 2, 5)]
    assert all(np.array_equal(points[0], point) for point in points[1:])


def test_rows_without_weight_change_nothing(monkeypatch) -> None:
    monkeypatch.setattr(objective, "MOST_LOGITS", 1000)
    x, codes, classes, s = problem()
    kept = s > 0
    whole = solver.minimise(objective_of(x, codes, classes, s), 1e-4).point
    some = solver.minimise(objective_of(x[kept], codes[kept], classes, s[kept]), 1e-4).point
    assert (~kept).any() and np.array_equal(whole, some)


def test_a_fit_goes_on_from_its_state_to_the_same_bits(monkeypatch) -> None:
    monkeypatch.setattr(objective, "MOST_LOGITS", 1000)
    x, codes, classes, s = problem()
    o = objective_of(x, codes, classes, s)
    whole = BlockSteps(o, None)
    for _ in range(7):
        whole.advance()
    assert whole.passes < whole.due  # so that the curvature is taken anew beyond the state, too
    arrays, facts = whole.state()
    other = BlockSteps.resumed(o, {name: array.copy() for name, array in arrays.items()}, dict(facts))
    for _ in range(9):
        assert whole.advance() and other.advance()
    assert whole.passes > block_steps.FRESH
    assert whole.value == other.value and np.array_equal(whole.at.numbers, other.at.numbers)
    assert np.array_equal(whole.at.bias, other.at.bias) and whole.passes == other.passes


def test_the_point_of_a_start_goes_when_the_fit_has_its_own(monkeypatch) -> None:
    monkeypatch.setattr(objective, "MOST_LOGITS", 1000)
    x, codes, classes, s = problem()
    o = objective_of(x, codes, classes, s)
    start = BlockPoint.of(some_point(classes)[: o.features.columns + 1])
    there = start.numbers.copy()
    steps, saved = BlockSteps(o, start), []
    assert np.array_equal(steps.at.numbers, there) and np.array_equal(start.numbers, there)
    steps.advance()
    assert np.array_equal(start.numbers, there)

    class Kept:
        def keep(self, state, at_once):
            saved.append((at_once, start.numbers.size))

    for _ in range(2):
        steps.keep(Kept(), lambda: ({}, {}))
    assert saved == [(True, there.size), (False, 0)]


def test_points_move_to_other_columns() -> None:
    point = BlockPoint.of(some_point(70))
    place = np.full(COLUMNS, -1)
    place[[4, 7]] = 2, 0
    moved = point.of_columns(place, 3).whole()
    np.testing.assert_array_equal(moved, point.whole()[[7, -1, 4, -1]] * np.array([[1], [0], [1], [1]]))
