"""What every model must satisfy: one list of models, one list of claims, each a function that raises AssertionError.

Two fits of one convex objective that are not the same bits are compared by a bound that needs no guess. Let F be the
objective, both fits within their gap of its least value, and m the mean of their parameters. F(m) is no less than the
least value, so (F1 + F2) / 2 - F(m) <= (gap1 + gap2) / 2. On the left the penalty counts for something >= 0, and each
row for (lse(z1) + lse(z2)) / 2 - lse((z1 + z2) / 2) = -ln sum_k sqrt(p1_k p2_k), the Bhattacharyya distance of its two
predictions. So the mean of these distances over the training rows is at most the mean of the two gaps.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse

import luce
from luce.calibration import no_calibration
from luce.classifier import Classifier
from luce.features import dense_row
from luce.fitting import READ_TOLERANCE
from luce.heads import Linear, Network
from luce.linear import LinearFit, SoftmaxRegression
from luce.network import NetworkClassifier
from luce.objective import Objective
from luce.table import Table

Array = np.ndarray
Model = Any

ROUNDING = 1e-12
"""For sums over a row or means over thousands of rows of numbers near 1: thousands of roundings of 1e-16 at worst."""


# --- models --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A model and the rows that it is fitted on. `make` gives an unfitted model, `rows` what fit and predict take."""

    name: str
    make: Callable[..., Model]
    rows: Any
    labels: Array

    def __repr__(self) -> str:
        return self.name

    def fit(self, threads: int | None = None) -> Model:
        return self.make(threads=threads).fit(self.rows, self.labels)

    def fitted(self) -> Model:
        """A fit that is only looked at."""
        return self.fit()

    def part(self, chosen: Array) -> Any:
        """Some of the rows, in the order given, in the same kind of container."""
        if isinstance(self.rows, pd.DataFrame):
            return self.rows.iloc[chosen]
        if isinstance(self.rows, dict):
            return {name: [column[i] for i in chosen] for name, column in self.rows.items()}
        return self.rows[chosen]

    def codes(self, classes: Array) -> Array:
        return np.searchsorted(classes, self.labels)


class Once(Case):
    """A case whose fit all claims that only look at one share."""

    @cached_property
    def _fit(self) -> Model:
        return self.fit()

    def fitted(self) -> Model:
        return self._fit


@dataclass(frozen=True)
class Parts:
    """What a fit found, whichever model it is: z = x coef' + intercept, the mean objective, its gap, the penalty."""

    coef: Array
    intercept: Array
    objective: float
    gap: float
    l2: float


def parts(model: Model) -> Parts:
    if isinstance(model, NetworkClassifier):
        return layered(model.layers_, model.history_[-1].held_out)
    if isinstance(model, SoftmaxRegression):
        c = model.certificate_
        return Parts(model.coef_, model.intercept_, c.objective, c.gap, model.l2_)
    f = model.fitted
    if isinstance(f.head, Network):
        return layered(f.head.layers, f.facts["objective"])
    return Parts(f.head.coef, f.head.intercept, f.facts["objective"], f.facts["gap"], f.facts["l2"])


def layered(layers: Sequence[Any], loss: float) -> Parts:
    """All weights of a network in a row, and all biases."""
    weights, biases = (np.concatenate([np.ravel(layer[i]) for layer in layers]) for i in (0, 1))
    return Parts(weights, biases, loss, 0.0, 0.0)


def uncalibrated(model: Model) -> Model:
    """The same model with the logits of its linear part, which the certificate is about."""
    if isinstance(model, (SoftmaxRegression, NetworkClassifier)):
        return model
    other = Classifier(threads=model.threads)
    other._fitted = replace(model.fitted, calibration=no_calibration(model.fitted.head.outputs))
    return other


def with_intercept(model: Model, intercept: Array) -> Model:
    """The same model but for its intercepts."""
    if isinstance(model, SoftmaxRegression):
        other: Model = SoftmaxRegression(**model.get_params())
        point = np.vstack([model.coef_.T, intercept])
        other._keep(LinearFit(point, model.certificate_, model.l2_), model.classes_, None)
        return other
    other = Classifier(threads=model.threads)
    other._fitted = replace(model.fitted, head=replace(model.fitted.linear, intercept=intercept))
    return other


def labels_of(rng: np.random.Generator, score: Array, names: Sequence[Any]) -> Array:
    """Classes that depend on a score, with noise: the quantiles of the two together."""
    noisy = score + rng.normal(0, 0.7, len(score))
    edges = np.quantile(noisy, np.linspace(0, 1, len(names) + 1)[1:-1] ** 1.3)  # classes of different sizes
    return np.array(names)[np.digitize(noisy, edges)]


def numbers(rows: int, columns: int, names: Sequence[Any], dtype: type, order: str = "C") -> tuple[Array, Array]:
    rng = np.random.default_rng(rows + columns)
    x = rng.normal(size=(rows, columns))
    return np.asarray(x, dtype=dtype, order=order), labels_of(rng, x[:, 0] + x[:, -1] ** 2, names)


def table(rows: int, names: Sequence[Any]) -> tuple[pl.DataFrame, Array]:
    """Numbers, flags, a date, categories with rare levels, and cells missing in each."""
    rng = np.random.default_rng(rows + len(names))
    age, income = rng.normal(45, 12, rows), rng.lognormal(8, 1, rows)
    score = (age - 45) / 12 + np.log(income) - 8
    town = rng.choice(["서울", "Oslo", "Lima", "Rome"], rows, p=[0.5, 0.3, 0.15, 0.05]).astype(object)
    town[:3] = ["Bern", "Graz", "Wien"]  # each once: rare
    frame = pl.DataFrame(
        {
            "age": age,
            "income": income,
            "rooms": rng.integers(1, 6, rows),
            "member": rng.random(rows) < 0.3,
            "town": town.tolist(),
            "since": np.datetime64("2015-01-01") + rng.integers(0, 3000, rows).astype("timedelta64[D]"),
        }
    )
    here = np.arange(rows) < 3
    masks = {name: pl.Series(here | (rng.random(rows) > 0.08)) for name in frame.columns}
    frame = frame.with_columns(pl.when(mask).then(pl.col(name)).alias(name) for name, mask in masks.items())
    return frame, labels_of(rng, score + 0.5 * (town == "Oslo"), names)


NearCertain = partial(SoftmaxRegression, l2=1e-7)
"""On classes that a plane parts, the weights then grow until most rows have probabilities within 1e-6 of 0 and 1."""

LARGE = 24_000
"""Rows enough that the core starts threads also for two classes (tests/test_objective.py counts them)."""


def linear_cases() -> Iterator[Case]:
    yield Case("two classes, float64", SoftmaxRegression, *numbers(300, 6, [0, 1], np.float64))
    yield Case("two classes, float32, large", SoftmaxRegression, *numbers(LARGE, 9, ["no", "yes"], np.float32))
    yield Case("three classes, float32", SoftmaxRegression, *numbers(301, 5, ["a", "b", "c"], np.float32))
    yield Case("three classes, float16", SoftmaxRegression, *numbers(250, 40, ["a", "b", "c"], np.float16))
    yield Case("three classes, float64, Fortran order", SoftmaxRegression, *numbers(200, 5, [3, 1, 2], np.float64, "F"))
    yield Case("twelve classes, float64, large", SoftmaxRegression, *numbers(7000, 24, range(12), np.float64))
    near = numbers(300, 6, ["x", "y", "z"], np.float64)[0]
    yield Case(
        "near certain, 3 classes", NearCertain, near, np.array(["x", "y", "z"])[np.digitize(near[:, 0], [-0.5, 0.5])]
    )
    yield Case("near certain, 2 classes", NearCertain, near, near[:, 0] > 0)
    yield Case(
        "more columns than rows", partial(SoftmaxRegression, l2=None), *numbers(20, 30, [False, True], np.float64)
    )


def embedding_cases() -> Iterator[Case]:
    yield Case("embeddings, 3 classes", Classifier, *numbers(300, 260, ["a", "b", "c"], np.float16))


def table_cases() -> Iterator[Case]:
    for names in (["아니오", "예"], [10, 20, 30, 40]):
        frame, y = table(700, names)
        yield Case(f"table, polars, {len(names)} classes", Classifier, frame, y)
    frame, y = table(600, ["lo", "mid", "hi"])
    columns = {name: frame[name].to_list() for name in frame.columns}
    yield Case("table, dict, 3 classes", Classifier, columns, y)
    yield Case("table, pandas, 3 classes", Classifier, pd.DataFrame(columns), y)
    frame, y = table(12_000, [True, False])
    yield Case("table, polars, 2 classes, large", Classifier, frame, y)
    frame, y = table(6000, list("abcdef"))
    yield Case("table, polars, 6 classes, large", Classifier, frame, y)


def network_cases() -> Iterator[Case]:
    """With and without rows held out, dropout, two hidden layers, no hidden layer, sparse rows, pixels, two members."""
    few = partial(NetworkClassifier, epochs=40)
    yield Case("network, 2 classes", partial(few, (17, 5), "gelu", 0.1), *numbers(400, 6, ["no", "yes"], np.float64))
    yield Case("network, 3 classes, few rows", few, *numbers(150, 5, ["a", "b", "c"], np.float32))
    yield Case("network, no hidden layer", partial(few, ()), *numbers(500, 5, [3, 1, 2], np.float64, "F"))
    two = partial(NetworkClassifier, (12,), epochs=15, members=2)
    yield Case("network, two members", two, *numbers(300, 5, ["a", "b", "c"], np.float64))
    x, y = numbers(900, 30, range(7), np.float64)
    yield Case("network, sparse rows", partial(few, (20,)), scipy.sparse.csr_array(np.where(x > 0.7, x, 0.0)), y)
    x, y = numbers(600, 40, list("abcde"), np.float64)
    yield Case("network, pixels", partial(few, (33,)), np.clip(40 * x + 128, 0, 255).astype(np.uint8), y)


def layered_table_cases() -> Iterator[Case]:
    """A Classifier whose model is a network, or the better of both."""
    for model, names in ((NetworkClassifier((20,), epochs=30), ["lo", "mid", "hi"]), ("auto", ["아니오", "예"])):
        frame, y = table(500, names)
        yield Case(f"network in a table, {len(names)} classes", partial(Classifier, model=model), frame, y)


CASES = [*linear_cases(), *embedding_cases(), *table_cases(), *network_cases(), *layered_table_cases()]


# --- claims --------------------------------------------------------------------------------------------------------

CLAIMS: list[Callable[[Case], None]] = []
OF_CONVEX: list[Callable[[Case], None]] = []
"""Claims on the one minimum that a convex objective has: a network has none, and its first weights are drawn class by
class."""


def claim(function: Callable[[Case], None]) -> Callable[[Case], None]:
    CLAIMS.append(function)
    return function


def claim_of_convex(function: Callable[[Case], None]) -> Callable[[Case], None]:
    OF_CONVEX.append(function)
    return function


def claims_of(case: Case) -> list[Callable[[Case], None]]:
    return [*CLAIMS, *([] if case.name.startswith("network") else OF_CONVEX)]


def same_bits(a: Array, b: Array) -> bool:
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
    )


def log_loss(case: Case, model: Model) -> float:
    p = model.predict_proba(case.rows)
    return float(-np.log(p[np.arange(len(p)), case.codes(model.classes_)]).mean())


def distance(p: Array, q: Array) -> float:
    """The mean Bhattacharyya distance of two predictions, row by row; see the top of this file."""
    return float(-np.log(np.sqrt(p * q).sum(axis=1)).mean())


@claim
def rows_sum_to_1(case: Case) -> None:
    p = case.fitted().predict_proba(case.rows)
    assert p.dtype == np.float64
    assert p.shape == (len(case.labels), len(set(case.labels.tolist())))
    assert p.min() >= 0
    assert p.max() <= 1
    assert np.abs(p.sum(axis=1) - 1).max() <= ROUNDING


@claim
def predict_is_the_most_probable_class(case: Case) -> None:
    model = case.fitted()
    p, predicted = model.predict_proba(case.rows), model.predict(case.rows)
    assert np.all(np.diff(np.argsort(model.classes_, kind="stable")) == 1), "classes_ must be sorted"
    assert np.array_equal(predicted, model.classes_[p.argmax(axis=1)])


@claim
def it_has_learnt(case: Case) -> None:
    """The labels depend on the columns, so the fit beats the shares of the classes."""
    model = uncalibrated(case.fitted())
    shares = np.bincount(case.codes(model.classes_)) / len(case.labels)
    assert log_loss(case, model) < 0.97 * -np.sum(shares * np.log(shares))


@claim_of_convex
def a_constant_on_all_intercepts_changes_nothing(case: Case) -> None:
    """Two classes have one logit, the second over the first: there it is the softmax of (c, z + c)."""
    model = case.fitted()
    found, p = parts(model), model.predict_proba(case.rows)
    if len(found.intercept) > 1:
        moved = with_intercept(model, found.intercept + 7.3).predict_proba(case.rows)
    else:
        z = np.log(p[:, 1]) - np.log(p[:, 0])
        moved = luce.softmax(np.stack([np.full_like(z, 7.3), z + 7.3], axis=1))
    assert np.abs(moved - p).max() <= ROUNDING


@claim_of_convex
def renamed_classes_permute_the_columns(case: Case) -> None:
    """Names in the opposite order: the same objective but for the order of the classes. 1e-5: a calibration is fitted
    to 1e-14 or so, and its numbers to the root of that, times the steepness of a probability."""
    model = case.fitted()
    names = np.array([f"class {len(model.classes_) - k:03d}" for k in range(len(model.classes_))])
    other = replace(case, labels=names[case.codes(model.classes_)]).fit()
    assert np.abs(model.predict_proba(case.rows) - other.predict_proba(case.rows)[:, ::-1]).max() <= 1e-5
    model, other = uncalibrated(model), uncalibrated(other)
    p, q = model.predict_proba(case.rows), other.predict_proba(case.rows)[:, ::-1]
    assert distance(p, q) <= (parts(model).gap + parts(other).gap) / 2 + ROUNDING
    assert abs(parts(model).objective - parts(other).objective) <= max(parts(model).gap, parts(other).gap) + ROUNDING


@claim
def a_second_fit_has_the_same_bits(case: Case) -> None:
    same_model(case.fitted(), case.fit(), case)


@claim
def any_number_of_threads_has_the_same_bits(case: Case) -> None:
    one = case.fit(threads=1)
    for threads in (2, 3, 8):
        same_model(one, case.fit(threads=threads), case)


def same_model(one: Model, other: Model, case: Case) -> None:
    a, b = parts(one), parts(other)
    assert same_bits(a.coef, b.coef)
    assert same_bits(a.intercept, b.intercept)
    assert (a.objective, a.gap, a.l2) == (b.objective, b.gap, b.l2)
    assert same_bits(one.predict_proba(case.rows), other.predict_proba(case.rows))


@claim
def a_row_has_the_same_bits_in_any_batch(case: Case) -> None:
    """Alone, in parts of odd sizes, and among the rows in another order."""
    model = case.fitted()
    whole, n = model.predict_proba(case.rows), len(case.labels)
    cuts = sorted({0, 1, 2, 65, n // 3, n - 7, n} & set(range(n + 1)))
    split = [model.predict_proba(case.part(np.arange(a, b))) for a, b in pairwise(cuts)]
    assert same_bits(np.concatenate(split), whole)
    order = np.random.default_rng(0).permutation(n)
    assert same_bits(model.predict_proba(case.part(order)), whole[order])


@claim
def a_saved_model_has_the_same_bits(case: Case) -> None:
    model = case.fitted()
    if not hasattr(model, "save"):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.luce"
        model.save(path)
        loaded = luce.load(path)
    assert loaded.classes_.tolist() == model.classes_.tolist()
    same_model(model, loaded, case)


@claim
def the_callers_data_are_unchanged(case: Case) -> None:
    """E10: after fit, predict_proba and predict."""
    before = fingerprint(case.rows), fingerprint(case.labels)
    model = case.fit()
    model.predict_proba(case.rows)
    model.predict(case.rows)
    assert (fingerprint(case.rows), fingerprint(case.labels)) == before


def fingerprint(data: Any) -> str:
    if isinstance(data, pl.DataFrame):
        facts: Any = (data.schema, data.rows())
    elif isinstance(data, pd.DataFrame):
        facts = (data.dtypes.to_dict(), data.index.tolist(), data.to_dict("list"))
    elif scipy.sparse.issparse(data):
        facts = (data.shape, data.data.tobytes(), data.indices.tobytes(), data.indptr.tobytes())
    elif isinstance(data, np.ndarray):
        facts = (data.dtype, data.shape, data.strides, data.tobytes())
    else:
        facts = data
    return hashlib.sha256(repr(facts).encode()).hexdigest()


@claim_of_convex
def the_loss_of_its_probabilities_is_the_objective_it_reports(case: Case) -> None:
    """One formula in training and in prediction. 1e-12: means of losses that are each within some hundred roundings of
    2^-53 (the logits' own); the largest difference measured is 2e-15."""
    model = uncalibrated(case.fitted())
    found = parts(model)
    penalty = found.l2 / 2 * float(np.sum(found.coef**2))
    assert abs(log_loss(case, model) + penalty - found.objective) <= 1e-12 * found.objective


@claim_of_convex
def t01_mean_probabilities_are_the_shares_of_the_classes(case: Case) -> None:
    """A free intercept demands it at the optimum. Where the means are off by g, one step -g / L of the intercepts gains
    |g|^2 / (2 L) at least, L = 1/2 the largest curvature of log-sum-exp, and no more than the gap is left to gain; so
    |g|^2 <= gap. (Two classes: L = 1/4 for the one logit, and g counts in either column, which gives the same.)"""
    model = uncalibrated(case.fitted())
    shares = np.bincount(case.codes(model.classes_)) / len(case.labels)
    off = model.predict_proba(case.rows).mean(axis=0) - shares
    assert np.linalg.norm(off) <= np.sqrt(parts(model).gap) + ROUNDING


@claim_of_convex
def the_gap_is_within_the_tolerance(case: Case) -> None:
    model = case.fitted()
    found = parts(model)
    many = isinstance(model, Classifier) and model.fitted.encoder.embeddings
    assert 0 <= found.gap <= (READ_TOLERANCE if many else 1e-6) * found.objective


@claim
def unseen_levels_use_their_own_slot(case: Case) -> None:
    """D16: not the column of some level, so an unseen town counts as a rare one does."""
    model = uncalibrated(case.fitted())
    if not isinstance(model, Classifier) or model.fitted.encoder.embeddings:
        return
    rare = one_row(case, {"town": "Bern"})
    new = one_row(case, {"town": "nowhere"})
    known = one_row(case, {"town": "Oslo"})
    p = [model.predict_proba(row) for row in (rare, new, known)]
    assert same_bits(p[0], p[1]), "an unseen level differs from a rare one"
    if not isinstance(model.fitted.head, Linear):
        return
    names, coef = model.fitted.encoder.names, parts(model).coef
    x = [dense_row(model.fitted.features(Table.of(row))) for row in (new, known)]
    moved = dict(zip(names, x[1] - x[0], strict=True))
    assert (moved["town: rare or unseen"], moved["town = Oslo"]) == (-1, 1)
    effect = coef @ (x[1] - x[0])
    z = [np.log(q[0, 1:]) - np.log(q[0, :1]) for q in p]
    wanted = effect if len(coef) == 1 else effect[1:] - effect[:1]
    assert np.abs((z[2] - z[1]) - wanted).max() <= 1e-9  # logits of two rows, back from their probabilities


@claim
def the_order_of_columns_means_nothing(case: Case) -> None:
    """E11: columns of a table are matched by name."""
    model = case.fitted()
    if not isinstance(model, Classifier) or model.fitted.encoder.embeddings:
        return
    if isinstance(case.rows, dict):
        other: Any = dict(reversed(case.rows.items()))
    else:
        other = case.rows[list(case.rows.columns)[::-1]]
    assert same_bits(model.predict_proba(other), model.predict_proba(case.rows))


def one_row(case: Case, cells: dict[str, Any]) -> pl.DataFrame:
    """Row 5 of the table with some cells replaced."""
    row = case.part(np.arange(5, 6))
    frame = (
        row if isinstance(row, pl.DataFrame) else pl.DataFrame(row if isinstance(row, dict) else row.to_dict("list"))
    )
    return frame.with_columns(pl.lit(value).alias(name) for name, value in cells.items())


def gap_covers_what_is_left(
    objective: Objective, point: Array, exactly: Callable[[Array], Any], least: Any
) -> tuple[float, float]:
    """What is left to the least value, in exact arithmetic, is at most the gap; gives both.

    The gap's own rounding (1e-6 of it, and 1e-25 of a value) is all that is allowed; the lower bound that it makes may
    lie above the least value by the rounding of the value, 1e-13 of it.
    """
    proven = objective.certify(point, objective.logits(point))
    left = float(exactly(point) - least)
    assert left <= proven.gap * (1 + 1e-6) + 1e-25 * proven.value
    assert proven.value - proven.gap <= float(least) + 1e-13 * proven.value
    return left, proven.gap
