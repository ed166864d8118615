"""Conformal sets: the promise against exact bounds, what too few rows mean, both scores against plain ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

import luce
import luce.conformal
from luce.conformal import METHODS, MOST, Conformal, with_means
from luce.errors import InputError, LuceWarning

Array = np.ndarray

ALARM = 1e-6
"""The chance of a false alarm of a random test, were its seed drawn anew."""

every_method = pytest.mark.parametrize("method", METHODS)


def drawn(rows: int, classes: int, seed: int) -> tuple[Array, Array]:
    """Probabilities of a model that is wrong (too sure), and labels."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, classes)) + np.linspace(0, 1, classes)
    y = np.argmax(z + rng.gumbel(size=z.shape), axis=1)
    powers = np.exp(2 * z)
    return powers / powers.sum(axis=1, keepdims=True), y


def bounds(n: int, fresh: int, coverage: float) -> tuple[int, int]:
    """How many of `fresh` rows a set of n scores covers, but for a chance of ALARM: the share that it covers is Beta
    (r, n + 1 - r), r = ceil((n + 1) coverage), if no two scores are equal."""
    r = math.ceil((n + 1) * coverage - 1e-9)
    found = scipy.stats.betabinom(fresh, r, n + 1 - r)
    return int(found.ppf(ALARM / 2)), int(found.isf(ALARM / 2))


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.95])
@every_method
def test_t02_each_class_is_covered_as_often_as_was_promised(method: str, coverage: float) -> None:
    """2,000 fresh rows and more of the larger classes, against the exact law of what is covered. The least error that
    shows: 0.03 or so. The most probable class is in every set, which covers more; and many aps scores are 1, those of
    the least probable class, so there the lower bound alone holds."""
    p, y = drawn(4_000, 4, 0)
    sets, fresh = Conformal.of(p, y), drawn(12_000, 4, 1)
    inside = sets.sets(fresh[0], coverage, method)
    for k in range(4):
        rows = fresh[1] == k
        assert rows.sum() >= 2_000 or k < 2
        least, most = bounds(int(sets.counts[k]), int(rows.sum()), coverage)
        assert inside[rows, k].sum() >= least
        below = int(np.searchsorted(_own(fresh, method, k), sets.thresholds(coverage, method)[k], side="right"))
        assert least <= below
        assert below <= most or method == "aps"


def _own(fresh: tuple[Array, Array], method: str, k: int) -> Array:
    """The scores of the rows of a class, plainly."""
    p = fresh[0][fresh[1] == k]
    if method == "lac":
        return np.sort(1 - p[:, k])
    return np.sort([row[row >= row[k]].sum() for row in p])


def test_a_threshold_one_rank_too_low_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand-made fault, with 19 rows a class: r = 19 promises 0.95 of them, r = 18 but 0.9. Over 4,000 sets of 19 rows
    and a fresh row each, the share that is covered is 0.95 +- 0.017 (5 standard errors)."""
    rng = np.random.default_rng(0)
    covered, missed = 0, 0
    for _ in range(4_000):
        p, y = rng.random((40, 2)), np.arange(40) % 2
        p[:, 1] = 1 - p[:, 0]
        sets = Conformal.of(p[:38], y[:38])
        threshold = sets.thresholds(0.95)[0]
        covered += bool(1 - p[38, 0] <= threshold)
        missed += bool(1 - p[38, 0] <= np.sort(1 - p[:38][y[:38] == 0, 0])[17])
    assert abs(covered / 4_000 - 0.95) <= 0.017
    assert abs(missed / 4_000 - 0.95) > 0.017


@pytest.mark.parametrize("n", [1, 18, 19, 20])
def test_t03_too_few_rows_promise_nothing_and_put_the_class_into_every_set(n: int) -> None:
    p = np.tile([0.7, 0.2, 0.1], (200, 1))
    y = np.r_[np.zeros(100, dtype=int), np.ones(100 - n, dtype=int), np.full(n, 2)]
    sets = Conformal.of(p, y)
    few = n < 19  # 0.95 / 0.05
    assert list(sets.too_few(0.95)) == ([2] if few else [])
    assert sets.sets(np.array([[0.98, 0.02, 0.0]]), 0.95)[0, 2] == few
    assert np.isinf(sets.thresholds(0.95)[2]) == few


@every_method
def test_equal_probabilities_have_equal_scores(method: str) -> None:
    """And the plain formula's: 1 - p, or the sum of all that are at least as large."""
    p = np.array([[0.4, 0.4, 0.2], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]])
    found = luce.conformal._scores(p, method)
    plain = 1 - p if method == "lac" else [[row[row >= v].sum() for v in row] for row in p]
    assert (found == np.array(plain)).all()


@every_method
def test_a_larger_coverage_has_larger_sets(method: str) -> None:
    p, y = drawn(3_000, 5, 0)
    sets = Conformal.of(p, y)
    before = np.zeros((3_000, 5), dtype=bool)
    for coverage in (0.1, 0.5, 0.8, 0.95, 0.999):
        now = sets.sets(p, coverage, method)
        assert (now >= before).all()
        before = now


@every_method
def test_many_rows_are_kept_as_some_ranks_that_promise_no_less(method: str) -> None:
    p, y = drawn(20 * MOST, 2, 0)
    sets = Conformal.of(p, y)
    assert len(sets.scores[method]) == 2 * MOST
    for k in range(2):
        own = _own((p, y), method, k)
        for coverage in (0.3, 0.9, 0.99):
            exact = own[math.ceil((len(own) + 1) * coverage - 1e-9) - 1]
            kept = sets.thresholds(coverage, method)[k]
            assert exact <= kept <= own[min(len(own) - 1, np.searchsorted(own, exact) + len(own) // MOST + 1)]


@pytest.mark.parametrize("coverage", [0, 1, 1.5, -0.1, np.nan, "0.9", True, None])
def test_a_coverage_that_is_none_is_refused(coverage: Any) -> None:
    p, y = drawn(100, 2, 0)
    with pytest.raises(InputError, match="coverage"):
        Conformal.of(p, y).sets(p, coverage)


# --- the shares of the classes -------------------------------------------------------------------------------------


def shares_of(codes: Array, classes: int) -> Array:
    return np.bincount(codes, minlength=classes) / len(codes)


def off_by_fold(rows: int, classes: int, seed: int, sharp: float = 1.0) -> tuple[Array, Array]:
    """Probabilities that are off by a factor for each class, and labels."""
    rng = np.random.default_rng(seed)
    z = sharp * rng.normal(size=(rows, classes))
    y = np.argmax(z + rng.gumbel(size=z.shape), axis=1)
    powers = np.exp(z + np.linspace(-1, 1, classes))
    return powers / powers.sum(axis=1, keepdims=True), y


def with_shares(p: Array, y: Array) -> Array:
    """By the shares that the rows have, as the means of a model on its own rows are these."""
    return with_means(p, shares_of(y, p.shape[1]))


@pytest.mark.parametrize("sharp", [0.0, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("classes", [2, 3, 6])
def test_each_class_has_its_share_in_the_mean_and_only_factors_of_classes_have_changed(
    classes: int, sharp: float
) -> None:
    """1e-6 is the promise: the rounds come nearer by the overlap of the classes, the less the surer the rows are."""
    p, y = off_by_fold(500, classes, classes, sharp)
    q = with_shares(p, y)
    assert np.abs(p.mean(axis=0) - shares_of(y, classes)).max() > 0.05, "else little is tested"
    assert np.abs(q.mean(axis=0) - shares_of(y, classes)).max() <= 1e-6
    assert np.abs(q.sum(axis=1) - 1).max() <= 1e-12
    odds = np.log(q) - np.log(p)
    odds -= odds[:, :1]
    assert np.abs(odds - odds[0]).max() <= 1e-9  # 50 products at most, each rounded by 2^-53
    assert ((q > 0) & (q < 1)).all()


def test_shares_that_are_right_are_left_as_they_are() -> None:
    """1e-9 is where the rounds end, and one of them is always done."""
    p, y = off_by_fold(500, 3, 0)
    q = with_shares(p, y)
    assert np.abs(with_shares(q, y) - q).max() <= 1e-8
    even = np.tile([[0.7, 0.3], [0.3, 0.7]], (50, 1))
    assert np.abs(with_shares(even, np.arange(100) % 2) - even).max() <= 1e-15


def test_the_rows_that_were_given_are_not_changed() -> None:
    p, y = off_by_fold(100, 3, 0)
    before = p.copy()
    with_shares(p, y)
    assert (p == before).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_means_that_cannot_be_reached_are_no_harm(classes: int) -> None:
    p = np.tile(np.eye(classes)[0], (20, 1))
    assert (with_means(p, np.eye(classes)[0]) == p).all()
    assert np.isfinite(with_shares(p, np.arange(20) % classes)).all()


def nearly_constant(rows: int, shares: Array, seed: int) -> tuple[Array, Array]:
    """Where nothing can be told: the shares, but for a hundred thousandth; and labels."""
    rng = np.random.default_rng(seed)
    p = shares * np.exp(1e-5 * rng.normal(size=(rows, len(shares))))
    return p / p.sum(axis=1, keepdims=True), rng.choice(len(shares), rows, p=shares)


def classes_that_cannot_be_told_are_covered_as_was_promised(balanced: Any) -> None:
    """The held-out rows' probabilities of the rare class are too high by a part in ten thousand, far more than they
    differ from row to row. As held-out and fresh rows are alike but for that, what is covered has the exact law."""
    shares = np.array([0.7, 0.2, 0.1])
    p, y = nearly_constant(2_000, shares, 0)
    p = p * [1, 1, 1.0001]
    p /= p.sum(axis=1, keepdims=True)
    found = shares * np.exp(1e-5 * np.random.default_rng(1).normal(size=(6_000, 3)))
    found /= found.sum(axis=1, keepdims=True)
    fitted = with_shares(found, y)  # the model's own mean is the share of its rows
    sets = Conformal.of(balanced(p, y), y)
    below = 1 - fitted <= sets.thresholds(0.9)
    for k in (1, 2):
        least, most = bounds(int(sets.counts[k]), 6_000, 0.9)
        assert least <= below[:, k].sum() <= most


def test_classes_that_cannot_be_told_are_covered_as_was_promised() -> None:
    """And not at all if the shares of the held-out rows are left as they are: a hand-made fault."""
    classes_that_cannot_be_told_are_covered_as_was_promised(with_shares)
    with pytest.raises(AssertionError):
        classes_that_cannot_be_told_are_covered_as_was_promised(lambda p, y: p)


def least_covered(seed: int, single: bool) -> float:
    """Of a classifier of noise, the share of fresh rows that is covered of the class that is covered least; single:
    there is a class of one row, too."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(1_500, 3)), rng.choice(["common", "mid", "rare"], 1_500, p=[0.5, 0.3, 0.2]).astype("U6")
    if single:
        y[7] = "single"
    model = luce.Classifier(effects="linear").fit(x[:500], y[:500])
    sets, names = model.sets_of(model.predict_proba(x[500:]), 0.9), list(model.classes_)
    return min(float(sets[y[500:] == name, names.index(name)].mean()) for name in ("common", "mid", "rare"))


@pytest.mark.filterwarnings("ignore:too few rows")
@pytest.mark.parametrize("single", [False, True])
def test_no_class_of_a_table_of_noise_is_left_out_of_all_sets(single: bool) -> None:
    """Of 80 rows and more of a class the share that is covered is Beta (73, 8) or so: less than 0.5 with a chance of
    1e-13 for each of 6 tables and 3 classes. Where the probabilities are off by more than they differ from row to row
    it is 0."""
    assert min(least_covered(seed, single) for seed in (3, 6, 36, 49, 69, 109)) >= 0.5


# --- a classifier's own --------------------------------------------------------------------------------------------


def table(rows: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    y = np.argmax(np.stack([x[:, 0], x[:, 1], x[:, 2] - 1], axis=1) * 1.5 + rng.gumbel(size=(rows, 3)), axis=1)
    return {f"x{j}": x[:, j] for j in range(3)} | {"y": np.array(["low", "mid", "top"])[y]}


@every_method
def test_a_classifier_covers_fresh_rows_of_each_class(method: str) -> None:
    """The scores come from fits to four fifths of the rows, and are no exact draws for the fit to all: 0.02 beside the
    exact bounds."""
    model, fresh = luce.Classifier().fit(table(3_000, 0), "y"), table(9_000, 1)
    inside = model.predict_set(fresh, 0.9, method)
    assert inside.shape == (9_000, 3)
    for k, name in enumerate(model.classes_):
        rows = np.asarray(fresh["y"]) == name
        least, _ = bounds(int(model.fitted.conformal.counts[k]), int(rows.sum()), 0.9)
        assert inside[rows, k].sum() >= least - 0.02 * rows.sum()


def test_rows_of_several_classes_are_left_open() -> None:
    model, fresh = luce.Classifier().fit(table(3_000, 0), "y"), table(2_000, 1)
    answers, sets = model.predict(fresh, abstain=0.9), model.predict_set(fresh, 0.9)
    open_ = np.array([a is None for a in answers])
    assert (open_ == (sets.sum(axis=1) > 1)).all()
    assert 0 < open_.sum() < 2_000
    right = np.asarray(fresh["y"]) == model.predict(fresh)
    assert right[~open_].mean() > right.mean() + 0.05  # what is answered is surer
    assert (answers[~open_] == model.predict(fresh)[~open_]).all()


def test_a_rare_class_is_named(tmp_path: Any) -> None:
    data = table(400, 0)
    data["y"] = np.where(np.arange(400) < 8, "rare", data["y"])
    model = luce.Classifier().fit(data, "y")
    with pytest.warns(LuceWarning, match=r"too few rows to promise 95 % for class 'rare' \(8\): at least 19"):
        sets = model.predict_set(data)
    assert sets[:, list(model.classes_).index("rare")].all()
    model.save(tmp_path / "m.luce")
    with pytest.warns(LuceWarning, match="rare"):
        assert (luce.load(tmp_path / "m.luce").predict_set(data) == sets).all()


def test_a_model_without_held_out_rows_says_so() -> None:
    model = luce.Classifier().fit({"x": [1.0, 2.0, 3.0], "y": ["a", "b", "c"]}, "y")
    with pytest.raises(InputError, match="no row could be held out"):
        model.predict_set({"x": [1.0]})
