"""Hand-made faults: each is put into the library for one test, and a claim must turn red. A claim that no fault can
break says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims
import numpy as np
import polars as pl
import pytest
import reference
from claims import CASES, CLAIMS, OF_CONVEX, Case

import luce.classifier
import luce.fitted
import luce.fitting
import luce.heads
import luce.linear
from luce.encoder import CategoryPlan, NumberPlan
from luce.features import Features
from luce.objective import Gap, Objective
from luce.table import Table

Fault = Callable[[pytest.MonkeyPatch], None]


def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


TWO, THREE = case_named("two classes, float64"), case_named("three classes, float32")
TABLE, TABLE_TWO = case_named("table, polars, 4 classes"), case_named("table, polars, 2 classes")
SURE_TWO, SURE_THREE = case_named("near certain, 2 classes"), case_named("near certain, 3 classes")
EACH = [TWO, THREE, TABLE, TABLE_TWO]

HOLD: set[tuple[str, str]] = set()
"""Claims and cases that were seen to hold without a fault."""


def turns_red(claim: Callable[[Case], None], case: Case, patch: pytest.MonkeyPatch, fault: Fault) -> None:
    """The claim holds, and fails once the fault is in: else the test would pass for another reason."""
    if (claim.__name__, case.name) not in HOLD:
        claim(case)
        HOLD.add((claim.__name__, case.name))
    fault(patch)
    with pytest.raises(AssertionError):
        claim(case)


def replaced(name: str, change: Callable[..., Any]) -> Fault:
    """A function of linear.py or estimator.py, wherever it was imported to, becomes `change(the true one, its
    arguments)`."""

    def put(patch: pytest.MonkeyPatch) -> None:
        true = getattr(luce.linear, name, None) or getattr(luce.estimator, name)
        for module in (luce.estimator, luce.linear, luce.heads, luce.fitted, luce.fitting, luce.classifier):
            if hasattr(module, name):
                patch.setattr(module, name, lambda *args, **named: change(true, *args, **named))

    return put


def method(owner: type, name: str, change: Callable[..., Any]) -> Fault:
    def put(patch: pytest.MonkeyPatch) -> None:
        true = getattr(owner, name)
        patch.setattr(owner, name, lambda *args, **named: change(true, *args, **named))

    return put


# --- probabilities -------------------------------------------------------------------------------------------------


def renormalised_clip(true: Callable[..., Any], z: np.ndarray) -> np.ndarray:
    p = np.clip(true(z), 0.05, 1)
    return p / p.sum(axis=1, keepdims=True)


PROBABILITY_FAULTS: dict[str, Callable[..., Any]] = {
    "twice the logit": lambda true, z: true(2 * z),
    "a temperature of 1.001": lambda true, z: true(z / 1.001),
    "float32 on the way": lambda true, z: true(z.astype(np.float32)).astype(np.float64),
    "clipped and normalised": renormalised_clip,
    "an epsilon before the logarithm": lambda true, z: true(z) + 1e-8,
    "the classes the other way round": lambda true, z: true(z)[:, ::-1],
}


@pytest.mark.parametrize("case", EACH, ids=repr)
@pytest.mark.parametrize("fault", PROBABILITY_FAULTS)
def test_another_formula_in_prediction(case: Case, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put = replaced("probabilities_of", PROBABILITY_FAULTS[fault])
    turns_red(claims.the_loss_of_its_probabilities_is_the_objective_it_reports, case, monkeypatch, put)


@pytest.mark.parametrize("case", [SURE_TWO, SURE_THREE], ids=repr)
def test_probabilities_clipped_at_1e_5(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """On both sides: two classes still sum to 1, but the loss is no longer that of the fit."""
    put = replaced("probabilities_of", lambda true, z: np.clip(true(z), 1e-5, 1 - 1e-5))
    turns_red(claims.the_loss_of_its_probabilities_is_the_objective_it_reports, case, monkeypatch, put)


@pytest.mark.parametrize("case", [SURE_TWO, SURE_THREE], ids=repr)
def test_probabilities_raised_to_1e_5(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    put = replaced("probabilities_of", lambda true, z: np.maximum(true(z), 1e-5))
    turns_red(claims.rows_sum_to_1, case, monkeypatch, put)


@pytest.mark.parametrize("case", EACH, ids=repr)
def test_a_sum_that_is_off_by_1e_10(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    put = replaced("probabilities_of", lambda true, z: true(z) * (1 + 1e-10))
    turns_red(claims.rows_sum_to_1, case, monkeypatch, put)


@pytest.mark.parametrize("case", [TWO, TABLE_TWO], ids=repr)
def test_the_second_probability_alone_is_scaled(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    put = replaced("probabilities_of", lambda true, z: true(z) * [1, 0.999])
    turns_red(claims.a_constant_on_all_intercepts_changes_nothing, case, monkeypatch, put)


@pytest.mark.parametrize("case", [THREE, TABLE], ids=repr)
def test_a_softmax_that_is_not_invariant(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    put = replaced("probabilities_of", lambda true, z: true(np.clip(z, -6, 6)))
    turns_red(claims.a_constant_on_all_intercepts_changes_nothing, case, monkeypatch, put)


@pytest.mark.parametrize("case", EACH, ids=repr)
def test_predict_takes_another_class(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model = type(case.make())
    put = method(model, "predict", lambda true, self, data: self.classes_[self.predict_proba(data).argmin(axis=1)])
    turns_red(claims.predict_is_the_most_probable_class, case, monkeypatch, put)


# --- the same bits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", EACH, ids=repr)
def test_sums_that_depend_on_the_number_of_threads(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another order of a sum is another last bit: here 2^-52 of each logit for every thread beyond the first."""

    def change(true: Callable[..., Any], features: Features, w: Any, bias: Any, threads: int, *rest: Any) -> np.ndarray:
        return np.asarray(true(features, w, bias, threads, *rest) * (1 + (threads - 1) * 2.0**-52))

    put = method(Features, "logits", change)
    turns_red(claims.any_number_of_threads_has_the_same_bits, case, monkeypatch, put)


@pytest.mark.parametrize("case", EACH, ids=repr)
def test_a_start_that_is_drawn_anew_each_time(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng()

    def change(true: Callable[..., Any], self: Objective) -> np.ndarray:
        start = np.asarray(true(self)).copy()
        start[:, 0] += 1e-3 * random.normal()  # of one class: the same for all would be no other model
        return start

    put = method(Objective, "start", change)
    turns_red(claims.a_second_fit_has_the_same_bits, case, monkeypatch, put)


@pytest.mark.parametrize("case", EACH, ids=repr)
def test_a_batch_that_is_centred_as_a_whole(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    put = replaced("linear_logits", lambda true, *args: true(*args) + 1e-14 * np.abs(true(*args)).max())
    turns_red(claims.a_row_has_the_same_bits_in_any_batch, case, monkeypatch, put)


@pytest.mark.parametrize("case", [TABLE, TABLE_TWO], ids=repr)
def test_a_file_that_keeps_weights_in_float32(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    import luce.model_file

    true = luce.model_file.write_container

    def rounded(path: Any, arrays: dict[str, np.ndarray], facts: Any) -> None:
        weights = {name: a.astype(np.float32).astype(a.dtype) for name, a in arrays.items() if a.dtype == np.float64}
        true(path, arrays | weights, facts)

    turns_red(
        claims.a_saved_model_has_the_same_bits,
        case,
        monkeypatch,
        lambda patch: patch.setattr(luce.model_file, "write_container", rounded),
    )


# --- the fit -------------------------------------------------------------------------------------------------------


def without_intercept(true: Callable[..., Any], *args: Any, **named: Any) -> Any:
    fit = true(*args, **named)
    fit.point[-1] = 0
    return fit


@pytest.mark.parametrize("case", EACH, ids=repr)
@pytest.mark.parametrize(
    "claim",
    [
        claims.t01_mean_probabilities_are_the_shares_of_the_classes,
        claims.the_loss_of_its_probabilities_is_the_objective_it_reports,
    ],
)
def test_the_intercept_is_dropped(case: Case, claim: Callable[[Case], None], monkeypatch: pytest.MonkeyPatch) -> None:
    turns_red(claim, case, monkeypatch, replaced("fit_linear", without_intercept))


@pytest.mark.parametrize("case", EACH, ids=repr)
def test_a_fit_that_forgets_what_it_learnt(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(true: Callable[..., Any], *args: Any, **named: Any) -> Any:
        fit = true(*args, **named)
        fit.point[:-1] = 0
        return fit

    turns_red(claims.it_has_learnt, case, monkeypatch, replaced("fit_linear", change))


@pytest.mark.parametrize("case", EACH, ids=repr)
def test_a_fit_that_stops_too_early(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a warning that names the gap, which is not what is at stake here."""

    def change(true: Callable[..., Any], *args: Any, **named: Any) -> Any:
        return true(*args, **{**named, "tol": 1e-2})

    turns_red(claims.the_gap_is_within_the_tolerance, case, monkeypatch, replaced("fit_linear", change))


@pytest.mark.parametrize("case", [THREE, TABLE], ids=repr)
def test_a_class_that_is_penalised_more(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first class in the order of names: then the names matter."""

    def change(true: Callable[..., Any], *args: Any, **named: Any) -> Any:
        fit = true(*args, **named)
        fit.point[:-1, 0] *= 0.9
        return fit

    turns_red(claims.renamed_classes_permute_the_columns, case, monkeypatch, replaced("fit_linear", change))


@pytest.mark.parametrize("case", [TWO, THREE], ids=repr)
def test_the_callers_array_is_centred_in_place(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case = replace(case, rows=case.rows.copy())

    def change(true: Callable[..., Any], X: np.ndarray, **how: Any) -> Any:
        X -= X.mean(axis=0)
        return true(X, **how)

    turns_red(claims.the_callers_data_are_unchanged, case, monkeypatch, replaced_in_linear("features_of", change))


def replaced_in_linear(name: str, change: Callable[..., Any]) -> Fault:
    def put(patch: pytest.MonkeyPatch) -> None:
        true = getattr(luce.linear, name)
        patch.setattr(luce.linear, name, lambda *args, **named: change(true, *args, **named))

    return put


# --- the certificate -----------------------------------------------------------------------------------------------


def certified(classes: int) -> Iterator[None]:
    """The claim of the certificate on a problem whose Hessian is nearly the penalty, where the gap is tight."""
    rng = np.random.default_rng(classes)
    x, codes = rng.normal(size=(60, 4)), rng.integers(0, classes, 60).astype(np.int32)
    plain = (x, codes, 3000.0, np.ones(60))
    best = reference.optimum(x, codes, classes, 3000.0, np.ones(60))
    least = reference.exact_objective(*plain, best)
    move = rng.normal(size=best.shape)
    move[-1] = 0
    for size in (1e-5, 1e-3, 1e-2):
        objective = Objective(Features(60, dense=x), codes, classes, 3000.0)
        claims.gap_covers_what_is_left(
            objective, best + size * move, lambda point: reference.exact_objective(*plain, point), least
        )
        yield


def scaled_gap(factor: float) -> Fault:
    def change(true: Callable[..., Gap], self: Objective, point: Any, logits: Any) -> Gap:
        proven = true(self, point, logits)
        return Gap(proven.value, factor * proven.gap)

    return method(Objective, "certify", change)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("factor", [0.5, 0.7])
def test_a_gap_that_is_too_small(classes: int, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(list(certified(classes))) == 3
    scaled_gap(factor)(monkeypatch)
    with pytest.raises(AssertionError):
        next(certified(classes))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_value_that_is_too_small(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that leaves out one row would prove too much as well: here 1e-9 of it."""

    def change(true: Callable[..., Gap], self: Objective, point: Any, logits: Any) -> Gap:
        proven = true(self, point, logits)
        return Gap(proven.value * (1 + 1e-9), proven.gap)

    method(Objective, "certify", change)(monkeypatch)
    with pytest.raises(AssertionError):
        next(certified(classes))


# --- the encoder ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [TABLE, TABLE_TWO], ids=repr)
def test_unseen_levels_become_the_first_level(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    true = CategoryPlan.code.fget

    def first(plan: CategoryPlan) -> pl.Expr:
        code = true(plan)
        return pl.when(code == len(plan.levels)).then(0).otherwise(code).cast(pl.Int32)

    def put(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(CategoryPlan, "code", property(first))

    turns_red(claims.unseen_levels_use_their_own_slot, case, monkeypatch, put)


@pytest.mark.parametrize("case", [TABLE, TABLE_TWO], ids=repr)
def test_numbers_are_scaled_anew_in_prediction(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The means of the rows at hand instead of those of the fit: a row then depends on its batch."""

    def change(true: Callable[..., None], plan: NumberPlan, x: np.ndarray, out: np.ndarray) -> None:
        known = x[~np.isnan(x)]
        mean = float(known.mean()) if len(known) else 0.0
        true(replace(plan, mean=mean), x, out)

    put = method(NumberPlan, "fill", change)
    turns_red(claims.a_row_has_the_same_bits_in_any_batch, case, monkeypatch, put)


@pytest.mark.parametrize("case", [TABLE, TABLE_TWO], ids=repr)
def test_columns_are_matched_by_place_in_prediction(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    claims.the_order_of_columns_means_nothing(case)

    def change(true: Callable[..., Any], data: object, source: str = "the data") -> Table:
        table = true(data, source)
        frame = table.frame
        return replace(table, frame=frame.rename(dict(zip(frame.columns, sorted(frame.columns), strict=True))))

    monkeypatch.setattr(Table, "of", staticmethod(lambda *args: change(TRUE_OF, *args)))
    with pytest.raises((AssertionError, luce.InputError)):
        claims.the_order_of_columns_means_nothing(case)


TRUE_OF = Table.of


def test_every_claim_is_broken_by_some_fault() -> None:
    """A claim that is not named in this file has never been seen to fail."""
    here = Path(__file__).read_text(encoding="utf-8")
    assert [claim.__name__ for claim in [*CLAIMS, *OF_CONVEX] if f"claims.{claim.__name__}" not in here] == []
