"""What the steps of the solver are made of: eigenvectors, curvatures, L-BFGS directions; against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from luce import _core

EPS = 2.0**-52


def symmetric(n: int, rank: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(n)
    a = rng.normal(size=(n, n if rank is None else rank))
    return a + a.T if rank is None else a @ a.T


def special() -> list[np.ndarray]:
    ones = np.full((5, 5), 1.0)
    return [
        np.zeros((3, 3)),
        np.eye(4),
        ones,
        5 * np.eye(5) - ones,
        np.diag([1e-300, 1.0, 1e300]),
        symmetric(9, rank=4),
    ]


@pytest.mark.parametrize("a", [*map(symmetric, (1, 2, 3, 4, 17, 130)), *special()], ids=lambda a: f"{len(a)}x")
def test_eigenvectors_are_orthonormal_and_belong_to_their_values(a: np.ndarray) -> None:
    vectors, values = a.copy(), np.empty(len(a))
    assert _core.symmetric_eigen(vectors, values)
    # backward error of Householder and QL: a small multiple of n u (Golub and Van Loan, 8.3); seen are 1.1 n u
    bound = 4 * len(a) * EPS
    assert np.abs(vectors @ vectors.T - np.eye(len(a))).max() <= bound
    scale = np.abs(a).max() or 1.0
    assert np.abs(vectors @ (a / scale) - (values / scale)[:, None] * vectors).max() <= bound * len(a) ** 0.5


def test_eigenvectors_of_no_numbers_are_refused() -> None:
    assert not _core.symmetric_eigen(np.full((3, 3), np.nan), np.empty(3))


def test_a_singular_equation_has_its_shortest_solution() -> None:
    a = symmetric(12, rank=7)
    b = a @ np.random.default_rng(0).normal(size=12)
    x = np.empty(12)
    assert _core.solve_symmetric(a.copy(), b, 1e-13, x)
    wanted = np.linalg.lstsq(a, b, rcond=1e-13)[0]
    condition = np.linalg.svd(a)[1][0] / np.linalg.svd(a)[1][6]
    assert np.abs(x - wanted).max() <= 50 * EPS * condition * np.abs(wanted).max()  # either side: a few n u condition


@pytest.mark.parametrize("classes", [2, 3, 9, 40])
def test_curvatures_of_rows(classes: int) -> None:
    rng = np.random.default_rng(classes)
    outputs, rows = 1 if classes == 2 else classes, 333
    z, weights = rng.normal(scale=4, size=(outputs, rows)), rng.uniform(0.1, 2, size=rows)
    p = 1 / (1 + np.exp(-z)) if outputs == 1 else np.exp(z) / np.exp(z).sum(axis=0)
    labels = _core.Labels(rng.integers(0, classes, rows).astype(np.int32), weights, classes)
    found, along = np.empty(rows), np.empty(z.shape)
    _core.row_curvature(z, labels, found, 1)
    of_classes = p * (1 - p) if classes > 2 else 2 * p * (1 - p)
    assert np.abs(found - weights * of_classes.sum(axis=0)).max() <= 1e-13 * classes  # `classes` products below 2
    basis = np.linalg.qr(rng.normal(size=(outputs, outputs)))[0]
    _core.curvature_along(z, labels, basis, along, 1)
    wanted = (basis**2).T @ p - (basis.T @ p) ** 2 if classes > 2 else p * (1 - p)
    assert np.abs(along - weights * wanted).max() <= 1e-13 * classes


class Explicit:
    """BFGS with the inverse Hessian as a matrix: H <- (I - s y'/y's) H (I - y s'/y's) + s s'/y's."""

    def __init__(self, first: np.ndarray) -> None:
        self.inverse = first

    def remember(self, step: np.ndarray, change: np.ndarray) -> None:
        product = step @ change
        left = np.eye(len(step)) - np.outer(step, change) / product
        self.inverse = left @ self.inverse @ left.T + np.outer(step, step) / product


class Problem:
    """A metric of `columns` columns and `outputs` classes, `rest` of the columns with a diagonal alone."""

    def __init__(self, columns: int, outputs: int, rest: int, shared: bool, memory: int = 5) -> None:
        rng = np.random.default_rng(columns * outputs)
        order = rng.permutation(columns)
        self.exact, self.others = np.sort(order[rest:]), np.sort(order[:rest])
        self.columns, self.outputs = columns, outputs
        self.basis = np.ascontiguousarray(np.linalg.qr(rng.normal(size=(outputs, outputs)))[0])
        self.grams = [symmetric(len(self.exact), rank=columns) + np.eye(len(self.exact)) for _ in range(outputs)]
        if shared:
            self.grams = self.grams[:1]
        self.factors = np.ascontiguousarray([np.linalg.cholesky(g) for g in self.grams])
        self.diagonal = rng.uniform(1, 2, size=(outputs, rest))
        self.pairs = _core.QuasiNewton(self.exact, self.others, outputs, memory)
        self.pairs.take_metric(self.basis, self.factors, self.diagonal)
        self.rng = rng

    def point(self) -> np.ndarray:
        return self.rng.normal(size=(self.columns, self.outputs))

    def inverse(self) -> np.ndarray:
        """The metric's inverse as a matrix over points written row by row."""
        n, m = self.columns, self.outputs
        out = np.zeros((n * m, n * m))
        for k in range(m):
            block = np.zeros((n, n))
            gram = self.grams[0 if len(self.grams) == 1 else k]
            block[np.ix_(self.exact, self.exact)] = np.linalg.inv(gram)
            block[self.others, self.others] = 1 / self.diagonal[k]
            out += np.kron(block, np.outer(self.basis[:, k], self.basis[:, k]))
        return out

    def direction(self, gradient: np.ndarray, threads: int = 1) -> tuple[np.ndarray, float]:
        out = np.empty_like(gradient)
        slope = self.pairs.direction(gradient, out, threads)
        return out, slope


@pytest.mark.parametrize(
    ("columns", "outputs", "rest", "shared"), [(1, 1, 0, False), (7, 3, 0, False), (11, 4, 5, True)]
)
def test_directions_are_those_of_bfgs_with_an_explicit_matrix(
    columns: int, outputs: int, rest: int, shared: bool
) -> None:
    p = Problem(columns, outputs, rest, shared)
    explicit = Explicit(p.inverse())
    for _ in range(5):
        gradient = p.point()
        found, slope = p.direction(gradient)
        wanted = -(explicit.inverse @ gradient.reshape(-1)).reshape(gradient.shape)
        # five updates, each with quotients of products of some 40 terms; the largest seen is 2e-14
        assert np.abs(found - wanted).max() <= 1e-11 * np.abs(wanted).max()
        assert slope == pytest.approx(float((gradient * found).sum()), rel=1e-12, abs=1e-12)
        step = p.point()
        change = step + 0.3 * p.point()
        p.pairs.remember(step, change, 1)
        if (step * change).sum() > 0:
            explicit.remember(step.reshape(-1), change.reshape(-1))


def test_only_the_last_pairs_count_and_bad_ones_do_not() -> None:
    p, q = Problem(6, 2, 0, False, memory=2), Problem(6, 2, 0, False, memory=2)
    steps = [p.point() for _ in range(4)]
    p.pairs.remember(steps[0], 2 * steps[0], 1)
    p.pairs.remember(steps[1], -steps[1], 1)  # the gradient falls along it: no minimum has that
    p.pairs.remember(steps[2], 2 * steps[2], 1)
    p.pairs.remember(steps[3], 3 * steps[3], 1)
    q.pairs.remember(steps[2], 2 * steps[2], 1)
    q.pairs.remember(steps[3], 3 * steps[3], 1)
    gradient = p.point()
    assert (p.direction(gradient)[0] == q.direction(gradient)[0]).all()
    p.pairs.forget()
    assert (p.direction(gradient)[0] != q.direction(gradient)[0]).any()


def test_directions_have_the_same_bits_for_any_number_of_threads() -> None:
    found = []
    for threads in (1, 2, 3, 8):
        p = Problem(2000, 40, 1950, False)
        for _ in range(3):
            step = p.point()
            p.pairs.remember(step, step * p.rng.uniform(0.5, 2, size=step.shape), threads)
        found.append(p.direction(p.point(), threads)[0].tobytes())
    assert len(set(found)) == 1


def test_a_metric_of_another_shape_is_refused() -> None:
    p = Problem(5, 2, 1, False)
    with pytest.raises(ValueError, match="basis"):
        p.pairs.take_metric(np.eye(3), p.factors, p.diagonal)
    with pytest.raises(ValueError, match="factors"):
        p.pairs.take_metric(p.basis, p.factors[:, :2, :2].copy(), p.diagonal)
    with pytest.raises(ValueError, match="diagonal"):
        p.pairs.take_metric(p.basis, p.factors, np.ones((2, 2)))
    with pytest.raises(ValueError, match="points"):
        p.direction(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="every column once"):
        _core.QuasiNewton(np.array([0, 1, 1]), np.array([2]), 2, 5)
    with pytest.raises(ValueError, match="range"):
        _core.QuasiNewton(np.array([0, 7]), np.array([1]), 2, 5)
    with pytest.raises(ValueError, match="not there yet"):
        _core.QuasiNewton(np.array([0, 1]), np.zeros(0, dtype=np.int64), 1, 5).direction(
            np.ones((2, 1)), np.ones((2, 1)), 1
        )
