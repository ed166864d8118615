"""Intervals: against SciPy, against figures worked by hand, and by how often they hold the truth.

A coverage check draws SAMPLES samples and counts misses. Where the true chance of a miss is at most `chance`, it fails
with probability at most FALSE_ALARM, by the binomial tail; exact intervals have chance 0.05, the others are granted
0.08 at these sizes. Each check must turn red for intervals of 0.4 times the width, which miss about 43 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from luce import facts, intervals, metrics
from luce.errors import InputError
from luce.intervals import Interval
from luce.report import evaluate

pytestmark = pytest.mark.filterwarnings("error")

FALSE_ALARM = 1e-6
SAMPLES = 100
CLASSES = [0, 1, 2]


def drawn(rows: int, seed: int, tilt: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from probabilities, and the probabilities moved towards 1/3 by `tilt`."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([0.8, 0.6, 0.4], rows)
    codes = np.minimum((p.cumsum(axis=1) <= rng.random((rows, 1))).sum(axis=1), 2)
    return codes, (1.0 - tilt) * p + tilt / 3.0


def misses(found: list[Interval], truth: float, shrink: float = 1.0) -> int:
    """Intervals that leave the truth outside, their ends first drawn towards the value."""
    low = np.array([i.value + shrink * (i.low - i.value) for i in found])
    high = np.array([i.value + shrink * (i.high - i.value) for i in found])
    return int(np.count_nonzero((truth < low) | (truth > high)))


def allowed(samples: int, chance: float) -> int:
    return int(stats.binom.isf(FALSE_ALARM, samples, chance))


# --- the beta distribution ---------------------------------------------------


@pytest.mark.parametrize("size", [1.0, 30.0, 1e3, 3e4])
def test_the_beta_distribution_equals_scipys(size: float) -> None:
    rng = np.random.default_rng(int(size))
    a, b = 0.3 + size * rng.random(30) ** 3, 0.3 + size * rng.random(30)
    x = stats.beta.ppf(rng.random(30), a, b)
    np.testing.assert_allclose(intervals.incomplete_beta(x, a, b), special.betainc(a, b, x), atol=1e-10, rtol=0)
    for q in (0.0005, 0.025, 0.5, 0.975):
        np.testing.assert_allclose(intervals.beta_quantile(q, a, b), stats.beta.ppf(q, a, b), atol=1e-10, rtol=0)


def test_the_beta_distribution_at_its_ends() -> None:
    ends, a, b = np.array([0.0, 1.0]), np.array([2.0, 2.0]), np.array([3.0, 3.0])
    assert intervals.incomplete_beta(ends, a, b).tolist() == [0.0, 1.0]


def test_exact_ends_equal_scipys() -> None:
    rows = np.array([1, 1, 7, 50, 50, 50, 10_000, 0])
    hits = np.array([0, 1, 3, 0, 50, 49, 1234, 0])
    low, high = intervals.exact_ends(hits, rows, 0.9)
    for k in range(len(rows) - 1):
        want = stats.binomtest(int(hits[k]), int(rows[k])).proportion_ci(0.9, "exact")
        assert (low[k], high[k]) == pytest.approx((want.low, want.high), abs=1e-10)
    assert (low[-1], high[-1]) == (0.0, 1.0)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_exact_coverage_is_never_below_the_level(share: float) -> None:
    hits = np.arange(41)
    low, high = intervals.exact_ends(hits, np.full(41, 40))
    chances = stats.binom.pmf(hits, 40, share)
    assert chances[(low <= share) & (share <= high)].sum() >= 0.95  # summed, not simulated: no false alarm
    wald = 1.96 * np.sqrt(hits / 40 * (1 - hits / 40) / 40)  # the fault: the normal interval of a share
    assert chances[np.abs(hits / 40 - share) <= wald].sum() < 0.95


# --- coverage by simulation --------------------------------------------------


def test_the_metrics_of_labels_cover_their_truth() -> None:
    far = metrics.measure(*drawn(200_000, 1), CLASSES)  # its own error is 1/30 of the intervals' width at 200 rows
    found = [metrics.measure(*drawn(200, 1000 + i), CLASSES, seed=i) for i in range(SAMPLES)]
    names = ["accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "f1_macro", "matthews", "kappa"]
    for name in [*names, "log_loss", "brier"]:
        each = [one[name] for one in found]
        assert misses(each, far[name].value) <= allowed(SAMPLES, 0.08), name
        assert misses(each, far[name].value, 0.4) > allowed(SAMPLES, 0.08), f"{name}: 0.4 times as wide must be seen"


def grouped(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and probabilities of 80 groups of 2 to 18 rows, whose rows are alike, and share how far they lie off."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(80), rng.integers(2, 19, 80))
    shift = rng.normal(0, 2, 80)[groups]
    z = rng.normal(size=80)[groups]
    codes = (rng.random(len(z)) < 1 / (1 + np.exp(-z - shift))).astype(int)
    p = 1 / (1 + np.exp(-z))
    return codes, np.stack([1 - p, p], axis=1), groups


@pytest.mark.parametrize("told", [True, False])
def test_rows_that_belong_together_cover_their_truth_if_it_is_told(told: bool) -> None:
    """The truth is that of 400 samples more. If it is not told they miss far more than one in six."""
    names, missed = ("accuracy", "log_loss", "brier"), dict.fromkeys(("accuracy", "log_loss", "brier"), 0)
    more = [metrics.measure(codes, p, [0, 1]) for codes, p, _ in map(grouped, range(1_000, 1_400))]
    truth = {name: float(np.mean([found[name].value for found in more])) for name in names}
    for seed in range(SAMPLES):
        codes, p, groups = grouped(seed)
        found = metrics.measure(codes, p, [0, 1], groups=groups if told else None)
        for name in names:
            missed[name] += not found[name].low <= truth[name] <= found[name].high
    most = stats.binom.isf(FALSE_ALARM, SAMPLES, 0.08)
    assert all((count <= most) == told for count in missed.values()), missed


def test_the_design_effect_by_hand() -> None:
    """Two groups of (1, 1) and (0, 0): sums off the mean 1 and -1, 2/1 * 2 = 4 over 4/3 * 1; alone, 1."""
    values, groups = np.array([1.0, 0.0, 1.0, 0.0]), np.array([5, 2, 5, 2])
    assert intervals.design_effect(values, groups) == pytest.approx(3.0, rel=1e-14)
    assert intervals.design_effect(values, np.arange(4)) == pytest.approx(1.0, rel=1e-14)
    assert intervals.design_effect(values, np.zeros(4)) == 4.0
    assert intervals.design_effect(np.ones(4), groups) == 1.0
    found = metrics.measure([1, 0, 1, 0], np.array([[0.2, 0.8], [0.4, 0.6]] * 2), [0, 1], groups=groups)
    assert found["accuracy"].how == intervals.WORTH and found["log_loss"].how == intervals.GROUPED


def test_the_metrics_of_classes_cover_their_truth() -> None:
    far = metrics.measure_classes(*drawn(200_000, 2), CLASSES)[2]
    found = [metrics.measure_classes(*drawn(200, 9000 + i), CLASSES, seed=i)[2] for i in range(SAMPLES)]
    for name, whole in far.items():
        each = [one[name] for one in found]
        assert misses(each, whole.value) <= allowed(SAMPLES, 0.08), name
        assert misses(each, whole.value, 0.4) > allowed(SAMPLES, 0.08), f"{name}: 0.4 times as wide must be seen"


@pytest.mark.parametrize("tilt", [0.0, 0.4])
def test_the_calibration_errors_cover_their_truth(tilt: float, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_fully = intervals.confusion_draws  # two draws, as no metric of the matrix is asked for here
    monkeypatch.setattr(intervals, "confusion_draws", lambda counts, seed, effect: drawn_fully(counts, seed, 2))
    codes, p = drawn(300_000, 3, tilt)
    far = {"ece": metrics.ece(codes, p, CLASSES), "classwise_ece": metrics.classwise_ece(codes, p, CLASSES)}
    if tilt == 0.0:
        far = dict.fromkeys(far, 0.0)
    found: dict[str, list[Interval]] = {name: [] for name in far}
    for i in range(SAMPLES):
        one = metrics.measure(*drawn(600, 5000 + i, tilt), CLASSES)
        for name in far:
            found[name].append(one[name])
    for name, truth in far.items():
        assert misses(found[name], truth) <= allowed(SAMPLES, 0.08), name
    if tilt:
        assert misses(found["ece"], far["ece"], 0.4) > allowed(SAMPLES, 0.08), "0.4 times as wide must be seen"


def test_differences_cover_their_truth_and_pairing_narrows_them() -> None:
    def both(rows: int, seed: int) -> dict[str, Interval]:
        codes, p = drawn(rows, seed)
        return metrics.difference(codes, 0.7 * p + 0.3 * np.array([0.1, 0.1, 0.8]), p, CLASSES)

    far = both(200_000, 4)
    found = [both(300, 7000 + i) for i in range(SAMPLES)]
    for name in far:
        each = [one[name] for one in found]
        assert misses(each, far[name].value) <= allowed(SAMPLES, 0.08), name
        assert misses(each, far[name].value, 0.4) > allowed(SAMPLES, 0.08), f"{name}: 0.4 times as wide must be seen"
    codes, p = drawn(300, 7000)
    alone = metrics.measure(codes, p, CLASSES)["log_loss"]
    assert found[0]["log_loss"].high - found[0]["log_loss"].low < alone.high - alone.low


# --- formulas ----------------------------------------------------------------


def test_delongs_variance_is_that_of_the_placement_values() -> None:
    rng = np.random.default_rng(6)
    scores, own = np.round(rng.random(150), 1), rng.random(150) < 0.3  # many ties
    up, down = scores[own], scores[~own]
    wins = (up[:, None] > down) + 0.5 * (up[:, None] == down)
    want = wins.mean(axis=1).var(ddof=1) / len(up) + wins.mean(axis=0).var(ddof=1) / len(down)
    _, positives, negatives = metrics._tally(scores, own)
    assert intervals.area(positives, negatives) == pytest.approx(wins.mean(), rel=1e-12)
    assert intervals.delong_variance(positives, negatives) == pytest.approx(want, rel=1e-12)


def test_a_perfect_ranking_still_has_an_interval() -> None:
    got = intervals.area_interval(np.array([0, 0, 5]), np.array([4, 4, 0]))
    assert got.value == got.high == 1.0 and got.low == pytest.approx(0.025 ** (1 / 5)) and got.how == intervals.PAIRS


def test_drawn_matrices_have_the_moments_of_resampled_rows() -> None:
    counts = np.array([[30, 10, 0], [5, 40, 5], [0, 0, 10]])
    hits, support, chosen = intervals.confusion_draws(counts, seed=3)
    assert (support.sum(axis=1) == 100).all() and (chosen.sum(axis=1) == 100).all() and (hits <= support).all()
    # A mean of 2,000 draws of at most sd 5 has sd 0.112; 6 sd happen with probability 2e-9 for each of 9 numbers.
    for got, want in ((hits, np.diagonal(counts)), (support, counts.sum(axis=1)), (chosen, counts.sum(axis=0))):
        np.testing.assert_allclose(got.mean(axis=0), want, atol=0.68)
    # The variance of a binomial's 2,000 draws is good to a factor 1 +- 0.2 (6 sd of sqrt(2 / 2000) each).
    share = counts.sum(axis=1) / 100
    np.testing.assert_allclose(support.var(axis=0), 100 * share * (1 - share), rtol=0.2)
    again = intervals.confusion_draws(counts, seed=3)[0]
    np.testing.assert_array_equal(hits, again)
    assert (intervals.confusion_draws(counts, seed=4)[0] != hits).any()


def test_blocks_of_draws_lose_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "_CELLS", 50)
    hits, _, _ = intervals.confusion_draws(np.array([[3, 1], [2, 4]]), draws=101)
    assert hits.shape == (101, 2)


def test_means_by_hand() -> None:
    got = intervals.mean_interval(np.array([1.0, 2.0, 3.0]), 0.95)
    assert got.value == 2.0 and got.high - 2.0 == pytest.approx(1.959963984540054 / math.sqrt(3), rel=1e-12)
    assert intervals.mean_interval(np.array([0.0, math.inf])).low == math.inf
    assert math.isnan(intervals.mean_interval(np.array([-math.inf, math.inf])).value)
    assert intervals.mean_interval(np.array([0.3]), 0.9, 0.0, 2.0) == Interval(0.3, 0.0, 2.0, intervals.ONE_ROW)


def test_a_model_without_a_mistake_is_not_called_certain() -> None:
    p = np.eye(2)[[0, 1] * 10]
    got = metrics.measure([0, 1] * 10, p, [0, 1])
    assert got["accuracy"].low == pytest.approx(0.025 ** (1 / 20))
    assert got["f1_macro"].how == intervals.DEGENERATE
    assert metrics.difference([0, 1] * 10, p, p, [0, 1])["accuracy"].high > 0.05


def test_a_class_without_rows_has_intervals_that_say_nothing() -> None:
    got = metrics.measure_classes([0, 1, 0], [[0.5, 0.5, 0.0]] * 3, CLASSES)[2]
    assert all((each.low, each.high, each.how) == (0.0, 1.0, intervals.NO_ROWS) for each in got.values())
    assert math.isnan(got["roc_auc"].value) and math.isnan(got["average_precision"].value)


# --- laws and refusals -------------------------------------------------------


def test_the_order_of_the_rows_changes_no_bit() -> None:
    codes, p = drawn(500, 11)
    p = np.round(p, 2) + 0.0
    p[:, 0] = 1.0 - p[:, 1] - p[:, 2]
    p = np.abs(p)
    order = np.random.default_rng(1).permutation(500)
    assert metrics.measure(codes, p, CLASSES) == metrics.measure(codes[order], p[order], CLASSES)
    assert metrics.measure_classes(codes, p, CLASSES) == metrics.measure_classes(codes[order], p[order], CLASSES)


def test_values_are_those_of_the_plain_functions() -> None:
    codes, p = drawn(300, 12)
    guess = p.argmax(axis=1)
    got = metrics.measure(codes, p, CLASSES)
    macro = metrics.precision_recall_f1(codes, guess).macro()
    assert got["f1_macro"].value == macro.f1 and got["precision_macro"].value == macro.precision
    for name in ("accuracy", "balanced_accuracy", "matthews", "kappa"):
        assert got[name].value == getattr(metrics, name)(codes, guess), name
    for name in ("log_loss", "brier", "ece", "classwise_ece"):
        assert got[name].value == getattr(metrics, name)(codes, p, CLASSES), name
    assert all(each.low <= each.value <= each.high for each in got.values())
    other = metrics.measure(codes, p, CLASSES, predicted=codes)
    assert other["accuracy"].value == 1.0 and other["log_loss"] == got["log_loss"]


@pytest.mark.parametrize("call", [metrics.measure, metrics.measure_classes])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"level": 1.0}, "level is 1.0: give a number between 0 and 1"),
        ({"level": math.nan}, "level is nan"),
        ({"level": True}, "level is True"),
        ({"seed": -1}, "seed is -1: give a whole number of at least 0"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"predicted": [0]}, "y_true has 2 rows but predicted has 1"),
        ({"predicted": [0, 7]}, "predicted holds a label that is not among the 2 classes: 7"),
    ],
)
def test_bad_options_are_refused(call: Callable[..., Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        call([0, 1], [[0.5, 0.5]] * 2, [0, 1], **options)
    assert said in str(error.value) and str(error.value).isprintable()


def covered(foreseen: bool) -> float:
    """How many of 400 intervals of the log loss of 30 rows, of which one in forty is wrong, hold the truth: a row of
    class +-1 has x ~ N(+-2, 1), and the probability 1 / (1 + exp(-4 x)) of +1 is right."""
    rng, held = np.random.default_rng(0), 0

    def losses(rows: int) -> tuple[Any, Any]:
        y = rng.choice([-1, 1], rows)
        x = 2 * y + rng.normal(size=rows)
        p = 1 / (1 + np.exp(-4 * np.stack([-x, x], axis=1)))
        return np.logaddexp(0, -4 * x * y), p

    truth = losses(1_000_000)[0].mean()
    for _ in range(400):
        values, p = losses(30)
        expected = (p * np.log(p) ** 2).sum(axis=1) - (p * np.log(p)).sum(axis=1) ** 2
        assert np.allclose(metrics._foreseen(p)[0], expected, atol=1e-12)
        found = intervals.mean_interval(values, 0.95, 0.0, math.inf, None, expected if foreseen else None)
        held += found.low <= truth <= found.high
    return held / 400


def test_losses_that_are_large_and_rare_are_foreseen() -> None:
    assert covered(True) >= 0.95
    assert covered(False) < 0.75  # what the rows alone show


def test_the_variance_of_the_squared_distance_is_foreseen() -> None:
    p = np.random.default_rng(1).dirichlet(np.ones(4), 50)
    distance = np.square(p[:, np.newaxis, :] - np.eye(4)).sum(axis=2)  # by row and class
    mean = (p * distance).sum(axis=1)
    assert np.allclose(metrics._foreseen(p)[1], (p * distance**2).sum(axis=1) - mean**2, atol=1e-12)
    assert metrics._foreseen(np.array([[1.0, 0.0]])) == ([0.0], [0.0])


def test_rows_given_five_times_are_worth_one() -> None:
    """A report that knows which rows belong together has the intervals, of classes too, of the rows given once."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 60)
    y = np.array([rng.choice(3, p=row) for row in p])
    once = facts._scored(evaluate(y, p, [0, 1, 2]))
    report = evaluate(np.repeat(y, 5), np.repeat(p, 5, axis=0), [0, 1, 2], groups=np.repeat(np.arange(60), 5))
    assert 5 <= report.effect <= 5.1  # 60 / 59 and 300 / 299 come in
    many, blind = facts._scored(report), facts._scored(replace(report, effect=1.0))

    def ends(found: dict[str, Any]) -> list[float]:
        of = [found["headline"]["gain"], *found["reliability"]["overall"]]
        of += [each[name] for each in found["class_intervals"] for name in METRICS]
        return [each[end] for each in of for end in ("low", "high")]

    assert ends(many) == pytest.approx(ends(once), abs=0.02)  # the bootstrap's draws differ
    assert np.abs(np.array(ends(blind)) - ends(once)).max() > 0.1


METRICS = ("precision", "recall", "f1", "roc_auc", "average_precision")


def test_draws_that_differ_by_their_rounding_are_alike() -> None:
    rounded = np.array([1.0, 1.0 - 2.0**-53, 1.0])
    assert intervals.percentile(1.0, rounded).how == intervals.DEGENERATE
    assert intervals.percentile(1.0, np.array([1.0, 0.99])).how == intervals.BOOTSTRAP


def test_ends_that_are_alike_have_no_width_and_say_so() -> None:
    """Though a draw or two is another: the page showed 100.00000000 to 100.0 %, or 100 to 100 without a word."""
    draws = np.append(np.full(999, 1.0 - 2.0**-53), 0.5)
    assert intervals.percentile(1.0, draws) == Interval(1.0, 1.0, 1.0, intervals.DEGENERATE)
