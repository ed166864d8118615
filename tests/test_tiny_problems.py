"""The certificate against optima with 50 digits: on 40 tiny problems of many kinds the true error is within its bound.

The oracle is Newton's method on P(W, b) = mean_i s_i CE(y_i, z_i) + l2/2 |W|^2, from 0, in 50-digit arithmetic
throughout; it shares no line with luce. Every double (rows, weights, l2, coefficients) is taken as the exact number it
is. That the point where it ends is the optimum is checked by values of P alone.

Tolerances: Newton ends with a step below 1e-30, and what is left to the optimum is about the square of that, so P* has
all its digits but the last few; a fit may lie below it by 1e-40, which is nothing. The certificate is computed
in double precision, which knows P to some 1e-16: its gap gets 1e-15 max(1, P) on top. The objective that it reports is
within 1e-13 of P at the coefficients it goes with: a mean of at most 30 losses, each with the rounding of its logits,
whose terms are up to a thousand times their sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import mpmath
import numpy as np
import pytest
from mpmath import mpf

import luce
from luce.solver import Certificate

mpmath.mp.dps = 50

Array = np.ndarray
Point = list[list[mpf]]
"""A list for each output: its weights, then its intercept. Two classes have one output, that of the second class."""
Claim = Callable[["Fit"], None]

TOLERANCES = (1e-2, 1e-6, 1e-10)


@dataclass(frozen=True, eq=False)
class Problem:
    name: str
    x: Array
    y: Sequence[int]
    l2: float
    weights: Array | None = None

    def __repr__(self) -> str:
        return self.name

    @property
    def classes(self) -> int:
        return max(self.y) + 1


# --- forty problems ------------------------------------------------------------------------------------------------


def cloud(seed: int, rows: int, columns: int) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def labels(x: Array, classes: int, noise: float = 1.0) -> list[int]:
    """Classes of equal sizes along the sum of the columns, each over its scale, with noise."""
    score = (x / np.abs(x).max(axis=0)).sum(axis=1) + noise * np.random.default_rng(len(x)).normal(size=len(x))
    return [int(rank) * classes // len(x) for rank in np.argsort(np.argsort(score))]


def clusters(seed: int, sizes: Sequence[int], apart: float) -> tuple[Array, list[int]]:
    """A cluster of two columns for each class, on a line."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    return cloud(seed, len(y), 2) + apart * np.column_stack([y, -y]), y.tolist()


def swapped(y: Sequence[int], *rows: int) -> list[int]:
    """Some rows get the label of the next class, the last class that of the first."""
    return [(label + (i in rows)) % (max(y) + 1) for i, label in enumerate(y)]


def separation() -> Iterator[Problem]:
    x, y = clusters(1, (10, 10), 5)
    yield Problem("two clusters apart", x, y, 1e-2)
    yield Problem("two clusters apart, hardly a penalty", x, y, 1e-6)
    yield Problem("two clusters, three rows on the wrong side", x, swapped(y, 2, 7, 13), 1e-3)
    yield Problem("two clusters, one row on the wrong side", x, swapped(y, 4), 1e-4)
    x, y = clusters(5, (12, 12), 2)
    yield Problem("two clusters, nearly separable", x, y, 1e-6)
    yield Problem("two clusters, nearly separable, small penalty", x, y, 1e-4)
    x, y = clusters(3, (8, 8, 8), 6)
    yield Problem("three clusters apart", x, y, 1e-4)
    yield Problem("three clusters, one row in another's midst", x, swapped(y, 10), 1e-6)
    x, y = clusters(4, (6, 6, 6, 6, 6), 3)
    yield Problem("five clusters in a row", x, y, 1e-4)
    yield Problem(
        "a row far out on the wrong side", np.append(np.arange(-5.0, 6.0), -100.0)[:, None], [0] * 5 + [1] * 7, 1e-3
    )


def columns() -> Iterator[Problem]:
    x = cloud(5, 20, 2)
    ones = np.ones((20, 1))
    yield Problem("a constant column", np.hstack([x, ones]), labels(x, 2), 1e-2)
    yield Problem("a constant column of 1000", np.hstack([x, 1000 * ones]), labels(x, 3), 1e-2)
    yield Problem("a column of zeros", np.hstack([x, 0 * ones]), labels(x, 3), 1e-3)
    yield Problem("a column given twice", x[:, [0, 1, 0]], labels(x, 2), 1e-4)
    yield Problem("two columns given twice, four classes", x[:, [0, 1, 0, 1]], labels(x, 4), 1e-3)
    yield Problem("a column that is the sum of two", np.column_stack([x, x.sum(axis=1)]), labels(x, 3), 1e-6)
    level = (np.arange(20) % 5 == 0).astype(int)
    y = np.maximum(labels(x, 2), level).tolist()
    yield Problem("a level of one class only", np.column_stack([x[:, 0], level]), y, 1e-4)
    yield Problem(
        "levels, two of them of one class only",
        np.eye(4)[np.arange(20) % 4],
        [0, 1, 2, 2, 1, 1, 2, 0] * 2 + [0, 1, 2, 1],
        1e-2,
    )


def scales() -> Iterator[Problem]:
    x = cloud(6, 24, 2)
    yield Problem("columns of scales 1e-3 and 1e3", x * [1e-3, 1e3], labels(x, 2), 1e-2)
    yield Problem("columns of scales 1e-3 and 1e3, three classes", x * [1e-3, 1e3], labels(x, 3), 1e-4)
    yield Problem("negative scales", x * [-1, -1e3], labels(x, 3), 1e-3)
    yield Problem("columns far from 0", x + 100, labels(x, 2), 1e-2)
    yield Problem("columns far below 0, four classes", x - [50, 1000], labels(x, 4), 1e-3)
    yield Problem("numbers near 1e-3", x * 1e-3, labels(x, 2), 1e-7)


def weights() -> Iterator[Problem]:
    rng = np.random.default_rng(7)
    x = cloud(7, 24, 3)
    yield Problem("weighted rows", x, labels(x, 2), 1e-2, rng.uniform(size=24))
    yield Problem("weights of 0", x, labels(x, 3), 1e-3, np.arange(24) % 3.0)
    yield Problem("weights of 1e-4 to 1e4", x, labels(x, 4), 1e-2, 10.0 ** rng.integers(-4, 5, 24))


def shapes() -> Iterator[Problem]:
    yield Problem("more columns than rows", cloud(8, 3, 4), [0, 1, 0], 1e-2)
    yield Problem("more columns than rows, a class each", cloud(9, 3, 4), [2, 0, 1], 1e-4)
    yield Problem("two rows", np.array([[1.0], [-1.0]]), [1, 0], 1e-2)
    x = cloud(10, 30, 1)
    yield Problem("one column", x, labels(x, 2), 1e-4)
    yield Problem("one column, five classes", x, labels(x, 5), 1e-3)
    x = cloud(11, 30, 4)
    yield Problem("five classes of four columns", x, labels(x, 5, 2.0), 1e-2)
    yield Problem("a large penalty", x, labels(x, 2), 10.0)
    yield Problem("a large penalty, five classes", x, labels(x, 5), 10.0)


def rows() -> Iterator[Problem]:
    x = cloud(12, 30, 2)
    yield Problem("one row against 29", x, [int(i == 17) for i in range(30)], 1e-3)
    yield Problem("a class of one row among three", x, [2 if i == 4 else i % 2 for i in range(30)], 1e-4)
    yield Problem("one row many times, of all classes", np.full((20, 2), [3.0, -1.0]), [0, 1, 1, 2] * 5, 1e-2)
    whole = np.random.default_rng(13).integers(-3, 4, (30, 3))
    yield Problem("integers", whole, labels(whole + 0.0, 4), 1e-3)
    yield Problem("float32", x.astype(np.float32), labels(x, 3), 1e-6)


PROBLEMS = [*separation(), *columns(), *scales(), *weights(), *shapes(), *rows()]


# --- the oracle ----------------------------------------------------------------------------------------------------


class Exact:
    """The objective of a problem with 50 digits: its value, its gradient, its Hessian."""

    def __init__(self, problem: Problem) -> None:
        self.y, self.l2, self.classes = problem.y, mpf(problem.l2), problem.classes
        self.outputs = [1] if self.classes == 2 else list(range(self.classes))
        self.columns = [numbers(column) for column in problem.x.T] + [[mpf(1)] * len(problem.y)]
        self.rows = list(zip(*self.columns, strict=True))
        self.products = [[[a * b for a, b in zip(c, d, strict=True)] for d in self.columns] for c in self.columns]
        weights = numbers(np.ones(len(problem.y)) if problem.weights is None else problem.weights)
        self.shares = [w / mpmath.fsum(weights) for w in weights]
        """s_i / n"""

    def logits(self, point: Point) -> list[list[mpf]]:
        first = [mpf(0)] if self.classes == 2 else []
        return [first + [mpmath.fdot(row, output) for output in point] for row in self.rows]

    def value(self, point: Point) -> mpf:
        rows = zip(self.logits(point), self.y, strict=True)
        losses = [mpmath.log(mpmath.fsum(map(mpmath.exp, z))) - z[y] for z, y in rows]
        return mpmath.fdot(self.shares, losses) + self.l2 / 2 * square(point)

    def probabilities(self, point: Point) -> list[tuple[mpf, ...]]:
        """Those of each class over the rows."""
        powers = [[mpmath.exp(v) for v in z] for z in self.logits(point)]
        return list(zip(*[[e / mpmath.fsum(row) for e in row] for row in powers], strict=True))

    def gradient(self, point: Point, p: list[tuple[mpf, ...]]) -> list[mpf]:
        slopes = []
        for k, output in zip(self.outputs, point, strict=True):
            off = [s * (q - (y == k)) for s, q, y in zip(self.shares, p[k], self.y, strict=True)]
            penalties = [self.l2 * w for w in output[:-1]] + [mpf(0)]
            slopes += [mpmath.fdot(off, x) + g for x, g in zip(self.columns, penalties, strict=True)]
        return slopes

    def hessian(self, p: list[tuple[mpf, ...]]) -> mpmath.matrix:
        """Its lower half, all that Cholesky reads. Of the sum of several intercepts P says nothing: (sum b)^2 / 2 more
        holds it at 0, where the steps start, and changes no other part of them."""
        size = len(self.columns)
        out = mpmath.matrix(size * len(self.outputs))
        for a, k in enumerate(self.outputs):
            for b, m in enumerate(self.outputs[: a + 1]):
                curvature = [s * q * ((k == m) - r) for s, q, r in zip(self.shares, p[k], p[m], strict=True)]
                for i, j in itertools.product(range(size), repeat=2):
                    out[a * size + i, b * size + j] = mpmath.fdot(curvature, self.products[i][j])
                    if i == j == size - 1:
                        out[a * size + i, b * size + j] += len(self.outputs) > 1
                    elif i == j and k == m:
                        out[a * size + i, b * size + j] += self.l2
        return out

    def newton_step(self, point: Point) -> Point:
        p, size = self.probabilities(point), len(self.columns)
        step = mpmath.cholesky_solve(self.hessian(p), -mpmath.matrix(self.gradient(point, p)))
        return [list(step)[a : a + size] for a in range(0, len(step), size)]

    def optimum(self) -> Point:
        point = [[mpf(0)] * len(self.columns) for _ in self.outputs]
        for _ in range(60):
            step = self.newton_step(point)
            point = moved(point, step)
            if max(abs(s) for output in step for s in output) < mpf(10) ** -30:
                return point
        raise AssertionError("Newton's method has not converged")


def numbers(values: Iterable[float]) -> list[mpf]:
    return [mpf(float(v)) for v in values]


def square(point: Point) -> mpf:
    """|W|^2, without the intercepts."""
    return mpmath.fsum(w * w for output in point for w in output[:-1])


def moved(point: Point, step: Point, size: int | mpf = 1) -> Point:
    return [[v + size * s for v, s in zip(a, b, strict=True)] for a, b in zip(point, step, strict=True)]


@cache
def solved(problem: Problem) -> tuple[Exact, Point]:
    exact = Exact(problem)
    return exact, exact.optimum()


# --- the fits and what must hold for them --------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """A certificate, with what is true of its fit: P there, what P is above the least, how far the weights are off."""

    tol: float
    l2: float
    certificate: Certificate
    value: mpf
    left: mpf
    square_distance: mpf

    @property
    def rounding(self) -> mpf:
        return mpf(10) ** -15 * max(1, self.value)


@cache
def fitted(problem: Problem, tol: float) -> Fit:
    model = luce.SoftmaxRegression(l2=problem.l2, tol=tol).fit(problem.x, problem.y, sample_weight=problem.weights)
    exact, best = solved(problem)
    point = [numbers([*w, b]) for w, b in zip(model.coef_, model.intercept_, strict=True)]
    value = exact.value(point)
    return Fit(tol, problem.l2, model.certificate_, value, value - exact.value(best), square(moved(point, best, -1)))


def what_is_left_is_within_the_gap(fit: Fit) -> None:
    assert fit.left >= -(mpf(10) ** -40)
    assert fit.left <= fit.certificate.gap + fit.rounding


def the_objective_is_the_value(fit: Fit) -> None:
    assert abs(fit.certificate.objective - fit.value) <= mpf(10) ** -13 * fit.value


def the_weights_are_within_the_distance(fit: Fit) -> None:
    """P is at least its minimum + l2/2 |W - W*|^2; the gap's rounding becomes one of the square."""
    assert fit.square_distance <= mpf(fit.certificate.distance) ** 2 + 2 * fit.rounding / fit.l2


def it_has_reached_its_tolerance(fit: Fit) -> None:
    c = fit.certificate
    assert c.converged
    assert c.relative_gap <= fit.tol
    assert c.relative_gap == pytest.approx(c.gap / c.objective, rel=1e-14, abs=0)  # a few roundings apart


CLAIMS = [
    what_is_left_is_within_the_gap,
    the_objective_is_the_value,
    the_weights_are_within_the_distance,
    it_has_reached_its_tolerance,
]


@pytest.mark.parametrize("tol", TOLERANCES)
@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
@pytest.mark.parametrize("claim", CLAIMS)
def test_the_certificate_is_true(claim: Claim, problem: Problem, tol: float) -> None:
    claim(fitted(problem, tol))


# --- the problems and the oracle -----------------------------------------------------------------------------------


def test_there_are_forty_tiny_problems_of_two_to_five_classes() -> None:
    assert len({problem.name for problem in PROBLEMS}) == len(PROBLEMS) == 40
    for problem in PROBLEMS:
        assert len(problem.x) == len(problem.y) <= 30
        assert problem.x.shape[1] <= 4
        assert set(problem.y) == set(range(problem.classes))
    assert {problem.classes for problem in PROBLEMS} == {2, 3, 4, 5}


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_values_alone_say_that_the_oracle_is_at_the_optimum(problem: Problem) -> None:
    """P is convex, so a point where it is level is an optimum. Here the slope along a random direction by a central
    difference, h = 1e-20: its truncation is some h^2, its rounding 1e-50 / h. A point 1e-9 away has a slope that shows.
    """
    exact, best = solved(problem)
    rng = np.random.default_rng(0)
    direction, h = [numbers(rng.normal(size=len(output))) for output in best], mpf(10) ** -20

    def slope(point: Point) -> mpf:
        return (exact.value(moved(point, direction, h)) - exact.value(moved(point, direction, -h))) / (2 * h)

    assert abs(slope(best)) < mpf(10) ** -25
    assert slope(moved(best, direction, mpf(10) ** -9)) > mpf(10) ** -17


def test_the_oracle_where_the_optimum_is_known() -> None:
    """Rows that are all the same leave the entropy of the classes. The two rows 1 and -1 of one class each have b = 0
    and, as the derivative says, l2 w = 1 / (1 + e^w)."""
    exact, best = solved(named("one row many times, of all classes"))
    assert abs(exact.value(best) + mpmath.log(mpf(1) / 4) / 2 + mpmath.log(mpf(1) / 2) / 2) < mpf(10) ** -45
    exact, [[w, b]] = solved(named("two rows"))
    assert abs(exact.l2 * w - 1 / (1 + mpmath.exp(w))) < mpf(10) ** -45
    assert abs(b) < mpf(10) ** -45


def named(name: str) -> Problem:
    return next(problem for problem in PROBLEMS if problem.name == name)


# --- hand-made faults ----------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[Claim, Callable[[Certificate], Certificate]]] = {
    "a tenth of the gap": (what_is_left_is_within_the_gap, lambda c: replace(c, gap=c.gap / 10)),
    "a tenth of the distance": (the_weights_are_within_the_distance, lambda c: replace(c, distance=c.distance / 10)),
    "an objective 1e-12 too small": (
        the_objective_is_the_value,
        lambda c: replace(c, objective=c.objective * (1 - 1e-12)),
    ),
    "a gap above the tolerance": (it_has_reached_its_tolerance, lambda c: replace(c, relative_gap=0.011)),
    "a relative gap of another objective": (it_has_reached_its_tolerance, lambda c: replace(c, relative_gap=c.gap)),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["a large penalty", "a large penalty, five classes"])
def test_a_certificate_that_claims_too_much_is_found_out(name: str, fault: str) -> None:
    """Where the curvature is nearly that of the penalty, nearly all of the gap is left: a tenth is too little."""
    fit = fitted(named(name), 1e-2)
    assert fit.left > fit.certificate.gap / 10 + fit.rounding
    claim, change = FAULTS[fault]
    claim(fit)
    with pytest.raises(AssertionError):
        claim(replace(fit, certificate=change(fit.certificate)))
