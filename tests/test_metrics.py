"""Metrics against scikit-learn, against figures worked by hand, and at their doors.

REL is the tolerance against scikit-learn. Both sides sum n <= 500 terms of one sign; a plain sum of n terms is off by
at most n * 2^-53 = 6e-14 relative, and ours is correctly rounded, so 1e-12 leaves a factor of 18 for the few further
roundings, and any error of method is far above it.
"""

from __future__ import annotations

import enum
import math
import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as oracle

from luce import metrics
from luce.errors import InputError

pytestmark = pytest.mark.filterwarnings("error")

REL = 1e-12

NAMED = {
    "text": ["no", "yes", "maybe", "never"],
    "korean": ["고양이", "강아지", "토끼", "새"],
    "integers": [7, -3, 0, 1000],
    "booleans": [False, True],
}


def drawn(kind: str, seed: int, rows: int = 500) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """Labels and predictions that agree about half of the time, and the sorted classes."""
    rng = np.random.default_rng(seed)
    classes = np.array(sorted(NAMED[kind]))
    truth = rng.choice(len(classes), rows, p=rng.dirichlet(np.full(len(classes), 3.0)))
    guess = np.where(rng.random(rows) < 0.5, truth, rng.integers(0, len(classes), rows))
    return classes[truth], classes[guess], classes.tolist()


def drawn_probabilities(rows: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(size, 0.7), rows)


every_kind = pytest.mark.parametrize("kind", NAMED)
every_seed = pytest.mark.parametrize("seed", range(3))


# --- against scikit-learn ----------------------------------------------------


@every_kind
@every_seed
def test_confusion_equals_scikit_learn(kind: str, seed: int) -> None:
    truth, guess, _ = drawn(kind, seed)
    want = oracle.confusion_matrix(truth, guess)
    assert not np.array_equal(want, want.T), "this draw could not tell rows from columns"
    got = metrics.confusion(truth, guess)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, want)


@every_kind
@every_seed
def test_scores_equal_scikit_learn(kind: str, seed: int) -> None:
    truth, guess, classes = drawn(kind, seed)
    got = metrics.precision_recall_f1(truth, guess)
    want = oracle.precision_recall_fscore_support(truth, guess, zero_division=0)
    assert list(got.classes) == classes
    assert not np.allclose(want[0], want[1]), "this draw could not tell precision from recall"
    for ours, theirs in zip((got.precision, got.recall, got.f1), want, strict=False):
        np.testing.assert_allclose(ours, theirs, rtol=REL)
    np.testing.assert_array_equal(got.support, want[3])


@pytest.mark.parametrize("average", ["macro", "weighted"])
@every_kind
def test_averages_equal_scikit_learn(kind: str, average: str) -> None:
    truth, guess, _ = drawn(kind, 5)
    got = getattr(metrics.precision_recall_f1(truth, guess), average)()
    want = oracle.precision_recall_fscore_support(truth, guess, average=average, zero_division=0)[:3]
    assert (got.precision, got.recall, got.f1) == pytest.approx(want, rel=REL)


@every_kind
@every_seed
def test_accuracies_equal_scikit_learn(kind: str, seed: int) -> None:
    truth, guess, _ = drawn(kind, seed)
    assert metrics.accuracy(truth, guess) == pytest.approx(oracle.accuracy_score(truth, guess), rel=REL)
    balanced = oracle.balanced_accuracy_score(truth, guess)
    assert metrics.balanced_accuracy(truth, guess) == pytest.approx(balanced, rel=REL)
    assert abs(balanced - metrics.accuracy(truth, guess)) > 1e-6, "this draw could not tell the two apart"


@every_kind
@every_seed
def test_log_loss_equals_scikit_learn(kind: str, seed: int) -> None:
    truth, _, classes = drawn(kind, seed)
    p = drawn_probabilities(len(truth), len(classes), seed)
    p = (p + 1e-9) / (p + 1e-9).sum(axis=1, keepdims=True)  # scikit-learn clips below 2e-16
    assert metrics.log_loss(truth, p, classes) == pytest.approx(oracle.log_loss(truth, p, labels=classes), rel=REL)


@every_kind
def test_brier_equals_scikit_learn(kind: str) -> None:
    truth, _, classes = drawn(kind, 4)
    p = drawn_probabilities(len(truth), len(classes), 4)
    given = p[:, 1] if len(classes) == 2 else p
    want = oracle.brier_score_loss(truth, given, labels=classes, pos_label=None, scale_by_half=False)
    assert metrics.brier(truth, p, classes) == pytest.approx(want, rel=REL)


@pytest.mark.parametrize("classes", [["a", "b", "c", "d"], ["d", "b", "a", "c"]])
def test_a_class_never_true_and_one_never_predicted(classes: list[str]) -> None:
    truth, guess = ["a", "a", "b", "c", "c", "c"], ["a", "d", "a", "c", "d", "c"]  # no d true, no b predicted
    got = metrics.precision_recall_f1(truth, guess, classes)
    want = oracle.precision_recall_fscore_support(truth, guess, labels=classes, zero_division=0)
    for ours, theirs in zip((got.precision, got.recall, got.f1, got.support), want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=REL)
    assert got.precision[classes.index("b")] == 0.0 == got.recall[classes.index("d")]
    np.testing.assert_array_equal(
        metrics.confusion(truth, guess, classes), oracle.confusion_matrix(truth, guess, labels=classes)
    )
    macro = oracle.precision_recall_fscore_support(truth, guess, labels=classes, average="macro", zero_division=0)
    assert got.macro().f1 == pytest.approx(macro[2], rel=REL)


def test_balanced_accuracy_leaves_out_classes_that_are_never_true() -> None:
    truth, guess = ["a", "a", "b"], ["a", "c", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of the class "c" and leaves it out too
        want = oracle.balanced_accuracy_score(truth, guess)
    assert metrics.balanced_accuracy(truth, guess) == want == 0.75


def test_a_class_beyond_the_data_lowers_the_macro_mean_alone() -> None:
    narrow = metrics.precision_recall_f1([0, 1], [0, 1])
    wide = metrics.precision_recall_f1([0, 1], [0, 1], [0, 1, 2, 3])
    assert (narrow.macro().f1, wide.macro().f1, wide.weighted().f1) == (1.0, 0.5, 1.0)


# --- worked by hand ----------------------------------------------------------


def test_log_loss_is_the_mean_of_minus_ln_p() -> None:
    got = metrics.log_loss(["b", "a"], [[0.75, 0.25], [0.5, 0.5]], ["a", "b"])
    assert got == pytest.approx(1.5 * math.log(2.0), rel=1e-15)  # two logarithms and one sum, each within an ulp


def test_a_true_class_with_probability_zero_costs_infinity_without_a_warning() -> None:
    assert metrics.log_loss([0, 1], [[0.0, 1.0], [0.0, 1.0]], [0, 1]) == math.inf


def test_a_tiny_probability_is_not_clipped() -> None:
    tiny = 5e-324  # the smallest double; scikit-learn's clip at 2e-16 would give 36 instead of 744
    assert metrics.log_loss([0], [[tiny, 1.0]], [0, 1]) == pytest.approx(-math.log(tiny), rel=1e-15)


def test_certainty_that_is_right_costs_a_positive_zero() -> None:
    got = metrics.log_loss(["a"], [[1.0, 0.0]], ["a", "b"])
    assert got == 0.0 and math.copysign(1.0, got) == 1.0


def test_brier_of_certain_answers() -> None:
    assert metrics.brier([True, False], [[0.0, 1.0], [0.0, 1.0]], [False, True]) == 1.0  # right: 0, wrong: 2


def test_the_order_of_the_rows_changes_no_bit() -> None:
    truth, guess, classes = drawn("korean", 8)
    p = drawn_probabilities(len(truth), len(classes), 8)
    order = np.random.default_rng(1).permutation(len(truth))
    assert metrics.log_loss(truth, p, classes) == metrics.log_loss(truth[order], p[order], classes)
    assert metrics.brier(truth, p, classes) == metrics.brier(truth[order], p[order], classes)
    assert (
        metrics.precision_recall_f1(truth, guess).macro()
        == metrics.precision_recall_f1(truth[order], guess[order]).macro()
    )


def test_float32_probabilities_are_scored_in_float64() -> None:
    p = drawn_probabilities(200, 3, 2).astype(np.float32)
    truth = np.random.default_rng(2).integers(0, 3, 200)
    assert metrics.log_loss(truth, p, [0, 1, 2]) == metrics.log_loss(truth, p.astype(np.float64), [0, 1, 2])


# --- ranks, agreement and calibration ----------------------------------------


def problem(size: int, seed: int, decimals: int | None = None, absent: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from probabilities, these rounded to make ties; `absent` leaves the last class without a row."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(size, 0.8), 400)
    codes = np.minimum((p.cumsum(axis=1) <= rng.random((400, 1))).sum(axis=1), size - 1 - absent)
    if decimals is not None:
        p = np.floor(p * 10**decimals) / 10**decimals
        p[:, 0] = np.abs(1.0 - p[:, 1:].sum(axis=1))
    return codes, p


every_problem = pytest.mark.parametrize(
    ("size", "decimals", "absent"), [(2, None, False), (2, 1, False), (5, None, False), (5, 1, False), (5, 2, True)]
)


@every_kind
@every_seed
def test_agreement_equals_scikit_learn(kind: str, seed: int) -> None:
    truth, guess, _ = drawn(kind, seed)
    assert metrics.matthews(truth, guess) == pytest.approx(oracle.matthews_corrcoef(truth, guess), rel=1e-11)
    assert metrics.kappa(truth, guess) == pytest.approx(oracle.cohen_kappa_score(truth, guess), rel=1e-11)
    assert metrics.kappa(truth, guess) != pytest.approx(metrics.matthews(truth, guess), rel=1e-9)
    micro = metrics.precision_recall_f1(truth, guess).micro()
    want = oracle.precision_recall_fscore_support(truth, guess, average="micro")[:3]
    assert (micro.precision, micro.recall, micro.f1) == pytest.approx(want, rel=REL)
    assert micro.f1 == metrics.accuracy(truth, guess)


def test_agreement_where_it_is_undefined() -> None:
    assert metrics.matthews([1, 1], [1, 1]) == 0.0 == metrics.matthews([0, 1], [1, 1])
    assert math.isnan(metrics.kappa([1, 1], [1, 1])) and metrics.kappa([0, 1], [1, 1]) == 0.0
    assert metrics.matthews([0, 1], [1, 0]) == -1.0 == metrics.kappa([0, 1], [1, 0])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_accuracy_equals_scikit_learn(k: int) -> None:
    codes, p = problem(5, 1)
    want = oracle.top_k_accuracy_score(codes, p, k=k, labels=range(5))
    assert metrics.top_k_accuracy(codes, p, range(5), k) == pytest.approx(want, rel=REL)


def test_top_k_accuracy_counts_ties_against_the_row() -> None:
    p = [[0.4, 0.4, 0.2]]
    assert [metrics.top_k_accuracy([0], p, [0, 1, 2], k) for k in (1, 2, 3)] == [0.0, 1.0, 1.0]


@every_problem
@every_seed
def test_curves_and_areas_equal_scikit_learn(size: int, decimals: int | None, absent: bool, seed: int) -> None:
    codes, p = problem(size, seed, decimals, absent)
    areas, precise = (f(codes, p, range(size)) for f in (metrics.roc_auc, metrics.average_precision))
    if absent:
        assert np.isnan([areas[-1], precise[-1]]).all()
    for k in range(size - absent):
        own = codes == k
        roc, curve = (f(codes, p, range(size), k) for f in (metrics.roc_curve, metrics.precision_recall_curve))
        ours = (roc.false_positive_rate, roc.true_positive_rate, roc.thresholds)
        for got, want in zip(ours, oracle.roc_curve(own, p[:, k], drop_intermediate=False), strict=True):
            np.testing.assert_allclose(got, want, rtol=REL)
        theirs = oracle.precision_recall_curve(own, p[:, k])
        for got, want in zip((curve.precision, curve.recall, curve.thresholds), theirs, strict=True):
            np.testing.assert_allclose(got, want, rtol=REL)
        assert areas[k] == pytest.approx(oracle.roc_auc_score(own, p[:, k]), rel=REL)
        assert precise[k] == pytest.approx(oracle.average_precision_score(own, p[:, k]), rel=REL)


def test_an_area_needs_both_sides_and_ties_count_half() -> None:
    assert np.isnan(metrics.roc_auc([0, 0], [[0.5, 0.5]] * 2, [0, 1])).all()
    assert metrics.roc_auc([0, 1], [[0.5, 0.5]] * 2, [0, 1]).tolist() == [0.5, 0.5]
    assert metrics.average_precision([0, 0], [[0.5, 0.5]] * 2, [0, 1])[0] == 1.0


def binned(codes: np.ndarray, p: np.ndarray, bins: int) -> np.ndarray:
    """The forecasts with each replaced by the mean of its bin, the bins read from `reliability`."""
    out = np.empty_like(p)
    for k in range(p.shape[1]):
        bars = metrics.reliability(codes, p, range(p.shape[1]), k, bins=bins)
        out[:, k] = bars.probability[np.searchsorted(bars.most, p[:, k])]
    return out


@every_problem
def test_the_parts_of_the_brier_score(size: int, decimals: int | None, absent: bool) -> None:
    codes, p = problem(size, 3, decimals, absent)
    got = metrics.brier_split(codes, p, range(size), bins=10)
    want = np.square(binned(codes, p, 10) - np.eye(size)[codes]).sum(axis=1).mean()
    assert got.calibration + got.refinement == pytest.approx(want, rel=REL)
    assert got.calibration + got.refinement + got.within == pytest.approx(metrics.brier(codes, p, range(size)), rel=REL)
    tilted = metrics.brier_split(codes, 0.5 * p + 0.5 / size, range(size), bins=10)
    assert tilted.refinement == pytest.approx(got.refinement, rel=REL)  # the bins are the same, so are the shares
    if decimals is None:  # rounding down spoils the calibration itself
        assert tilted.calibration > 3 * got.calibration


def test_reliability_bins_by_hand() -> None:
    p = np.array([0.1, 0.1, 0.1, 0.3, 0.8, 0.9])
    got = metrics.reliability([0, 0, 1, 0, 1, 1], np.column_stack([1 - p, p]), [0, 1], 1, bins=3)
    # Ranks 2 and 4 would cut; rank 2 lies among equal probabilities, so that cut falls below all of them.
    assert got.count.tolist() == [4, 2] and got.class_ == 1
    assert got.observed.tolist() == [0.25, 1.0] and got.probability == pytest.approx([0.15, 0.85])
    assert (got.least.tolist(), got.most.tolist()) == ([0.1, 0.8], [0.3, 0.9])
    assert got.low[1] == pytest.approx(0.025**0.5) and got.high[1] == 1.0
    top = metrics.reliability([0, 0, 1, 0, 1, 1], np.column_stack([1 - p, p]), [0, 1], bins=1)
    assert top.class_ is None and top.observed.tolist() == [5 / 6]


def test_equal_mass_bins_hold_equal_counts() -> None:
    codes, p = problem(5, 9)
    assert set(metrics.reliability(codes, p, range(5), bins=15).count.tolist()) == {26, 27}


def test_ece_by_hand() -> None:
    rows = [[0.2, 0.8]] * 10
    truth = [1] * 6 + [0] * 4
    assert metrics.ece(truth, rows, [0, 1], debiased=False) == pytest.approx(0.2, rel=1e-12)
    assert metrics.ece(truth, rows, [0, 1]) == pytest.approx(math.sqrt(0.04 - 0.24 / 9), rel=1e-12)
    assert metrics.classwise_ece(truth, rows, [0, 1]) == pytest.approx(math.sqrt(0.04 - 0.24 / 9), rel=1e-12)
    assert math.isnan(metrics.ece([1], [[0.2, 0.8]], [0, 1]))


@pytest.mark.parametrize("chosen", [metrics.ece, metrics.classwise_ece])
def test_the_debiased_error_of_calibrated_forecasts_is_near_zero(chosen: Any) -> None:
    plain, debiased, tilted = [], [], []
    for seed in range(60):
        codes, p = problem(5, 100 + seed)
        plain.append(chosen(codes, p, range(5), debiased=False))
        debiased.append(chosen(codes, p, range(5)))
        tilted.append(chosen(codes, 0.5 * p + 0.1, range(5)))
    # Chance alone gives the plain error about sqrt(o (1 - o) bins / n) = 0.07; the debiased one has half its mass at 0.
    assert np.median(debiased) < 0.02 < 0.05 < np.median(plain), "the plain error is the fault that this must see"
    assert np.median(tilted) > 0.05


def test_the_order_of_the_rows_changes_no_bit_of_ranks_and_bins() -> None:
    codes, p = problem(5, 8, 1)
    order = np.random.default_rng(2).permutation(len(codes))
    for metric in (metrics.roc_auc, metrics.average_precision, metrics.ece, metrics.classwise_ece, metrics.brier_split):
        assert np.array_equal(metric(codes, p, range(5)), metric(codes[order], p[order], range(5))), metric


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda y, p: metrics.top_k_accuracy(y, p, [0, 1, 2], 0), "k is 0: give a whole number of at least 1"),
        (lambda y, p: metrics.top_k_accuracy(y, p, [0, 1, 2], 4), "k is 4, but there are 3 classes"),
        (lambda y, p: metrics.roc_curve(y, p, [0, 1, 2], 3), "class_ 3 is not among the 3 classes"),
        (lambda y, p: metrics.roc_curve(y, p, [0, 1, 2], True), "class_ True is not among the 3 classes"),
        (lambda y, p: metrics.roc_curve(y, p, [0, 1, 2], 2), "class 2 has 0 of 2 rows"),
        (lambda y, p: metrics.precision_recall_curve(y, p, [0, 1, 2], 2), "class 2 has no row"),
        (lambda y, p: metrics.ece(y, p, [0, 1, 2], bins=0), "bins is 0: give a whole number of at least 1"),
        (lambda y, p: metrics.reliability(y, p, [0, 1, 2], level=0), "level is 0: give a number between 0 and 1"),
        (lambda y, p: metrics.difference(y, p, p[:, :2], [0, 1, 2]), "probabilities have the shape (2, 2)"),
    ],
)
def test_bad_arguments_of_ranks_and_bins_are_refused(call: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        call([0, 1], np.full((2, 3), 1 / 3))
    assert said in one_line(error)


# --- labels ------------------------------------------------------------------


@pytest.mark.parametrize(
    "holder",
    [list, tuple, np.array, pl.Series, lambda y: np.array(y, dtype=object)],
    ids=["list", "tuple", "array", "polars", "object"],
)
@every_kind
def test_labels_may_come_in_any_holder(kind: str, holder: Any) -> None:
    truth, guess, classes = (np.asarray(part).tolist() for part in drawn(kind, 3, 60))
    got = metrics.precision_recall_f1(holder(truth), holder(guess))
    assert list(got.classes) == classes
    assert [type(label) for label in got.classes] == [type(label) for label in classes]
    np.testing.assert_array_equal(metrics.confusion(holder(truth), guess), metrics.confusion(truth, guess))


def test_labels_that_numpy_would_merge_stay_apart() -> None:
    labels = ["a", "a\0"]  # a NumPy text array drops a final NUL
    assert metrics.accuracy(labels, ["a", "a"]) == 0.5
    assert metrics.confusion([2**70, 2**70 + 1], [2**70, 2**70]).tolist() == [[1, 0], [1, 0]]


def test_labels_of_derived_types_become_plain() -> None:
    pet = enum.StrEnum("pet", ["cat", "dog"])
    got = metrics.precision_recall_f1([pet.cat, np.str_("dog")], ["cat", "cat"])
    assert got.classes == ("cat", "dog") and {type(label) for label in got.classes} == {str}
    assert metrics.accuracy([np.int8(1), 2], [1, np.uint64(2)]) == 1.0
    assert metrics.accuracy([np.bool_(True)], [True]) == 1.0


# --- refusals ----------------------------------------------------------------


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    text = str(error.value)
    assert text.isprintable() and len(text) < 500, text
    return text


@pytest.mark.parametrize(
    ("truth", "guess", "said"),
    [
        ([0, 1], [0], "y_true has 2 rows but y_pred has 1"),
        ([], [], "y_true is empty"),
        ([0], [], "y_pred is empty"),
        ([0, None], [0, 1], "row 1 of y_true (counting from 0) is None"),
        ([0, 1], np.array([1.0, np.nan]), "row 0 of y_pred (counting from 0) is 1.0"),
        (["a", "b", 1], ["a", "a", "a"], "y_true mixes text and integers (row 2"),
        ([True, 1], [1, 1], "y_true mixes booleans and integers (row 1"),
        ([1, 0], [True, False], "y_pred holds booleans but y_true holds integers"),
        (["1"], [1], "y_pred holds integers but y_true holds text"),
        ([[0], [1]], [0, 1], "row 0 of y_true (counting from 0) is [0]"),
        (np.zeros((2, 1), dtype=int), [0, 1], "y_true must be one-dimensional"),
        ("ab", ["a", "b"], "y_true must be one-dimensional"),
        ([b"a"], ["a"], "row 0 of y_true (counting from 0) is b'a'"),
        (np.array(["2020-01-01"], dtype="M8[ns]"), [0], "row 0 of y_true"),
        (np.array([3], dtype="m8[ns]"), [3], "row 0 of y_true"),
    ],
)
def test_labels_that_cannot_be_compared_are_refused(truth: Any, guess: Any, said: str) -> None:
    for metric in (metrics.confusion, metrics.accuracy, metrics.balanced_accuracy, metrics.precision_recall_f1):
        with pytest.raises(InputError) as error:
            metric(truth, guess)
        assert said in one_line(error)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["a", "b", "a"], "classes holds 'a' twice"),
        ([], "classes is empty"),
        ([0, 1], "y_true holds text but classes holds integers"),
        (["a"], "y_true holds a label that is not among the 1 classes: 'b'; the first stands in row 1"),
    ],
)
def test_classes_that_do_not_fit_are_refused(classes: list[Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        metrics.confusion(["a", "b"], ["a", "a"], classes)
    assert said in one_line(error)


def test_a_predicted_label_outside_the_classes_is_refused() -> None:
    with pytest.raises(InputError) as error:
        metrics.precision_recall_f1(["a", "a"], ["a", "x"], ["a", "b"])
    assert "y_pred holds a label that is not among the 2 classes: 'x'; the first stands in row 1" in one_line(error)


def test_many_unknown_labels_are_listed_in_part() -> None:
    labels = ["a", *(f"new{number}" for number in range(9)), "new0"]
    with pytest.raises(InputError) as error:
        metrics.log_loss(labels, np.full((11, 2), 0.5), ["a", "b"])
    line = one_line(error)
    assert "y_true holds 9 labels that are not among the 2 classes: 'new0'" in line
    assert "'new4' and 4 more; the first stands in row 1 " in line and "new5" not in line


def test_s19_a_hostile_label_is_inert_in_an_error() -> None:
    with pytest.raises(InputError) as error:
        metrics.log_loss(["\x1b[31m\r\n\u202e" + "x" * 10_000], [[1.0]], ["a"])
    assert r"'\x1b[31m\r\n\u202exxx" in one_line(error)


@pytest.mark.parametrize("metric", [metrics.log_loss, metrics.brier])
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([0.5, math.nan], "row 2 of probabilities (counting from 0) has nan for class 'no'"),
        ([math.inf, 0.0], "has inf for class 'yes'"),
        ([1.5, -0.5], "has 1.5 for class 'yes'"),
        ([1.0, -1e-300], "has -1e-300 for class 'no'"),
        ([0.5, 0.50002], "row 2 of probabilities (counting from 0) sums to 1.00002, not 1"),
        ([0.0, 0.0], "sums to 0, not 1"),
    ],
)
def test_rows_that_are_no_probabilities_are_refused(metric: Any, bad: list[float], said: str) -> None:
    rows = np.full((4, 2), 0.5)
    rows[2] = bad
    with pytest.raises(InputError) as error:
        metric(["yes", "no", "no", "no"], rows, ["yes", "no"])
    assert said in one_line(error)


def test_a_row_that_sums_to_1_within_1e_5_is_taken() -> None:
    assert metrics.log_loss(["a"], [[0.5, 0.500009]], ["a", "b"]) == pytest.approx(math.log(2.0), rel=1e-15)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[0.5, 0.5]], "probabilities have the shape (1, 2); 2 rows of y_true and 2 classes need (2, 2)"),
        ([0.5, 0.5], "probabilities have the shape (2,)"),
        ([[0.2, 0.3, 0.5]] * 2, "need (2, 2)"),
        ([[0.5, 0.5], [1.0]], "probabilities must be a rectangle of 2 numbers a row"),
        ([["0.5", "0.5"]] * 2, "probabilities must be real numbers, not <U3"),
        ([[0.5, 0.5j]] * 2, "probabilities must be real numbers, not complex128"),
        ([[0.5, None]] * 2, "probabilities must be real numbers, not object"),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(rows: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        metrics.log_loss(["a", "b"], rows, ["a", "b"])
    assert said in one_line(error)
