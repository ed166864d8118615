"""Decisions: the cheapest answer by a plain loop, wanted recalls, and shares of the classes that change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import luce
from luce.decision import cheapest, costs_for_recall, costs_of, estimated_shares, shares_of, shifts
from luce.errors import InputError

Array = np.ndarray

CLASSES = ("cold", "flu", "well")


def drawn(rows: int, seed: int = 0, classes: int = 3) -> tuple[Array, Array]:
    """Probabilities that are true, and labels drawn by them."""
    rng = np.random.default_rng(seed)
    z = 1.5 * rng.normal(size=(rows, classes))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return p, np.argmax(z + rng.gumbel(size=z.shape), axis=1)


# --- costs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_the_answer_is_the_cheapest(classes: int) -> None:
    p, _ = drawn(500, classes=classes)
    costs = np.random.default_rng(1).uniform(0, 5, (classes, classes))
    wanted = [min(range(classes), key=lambda k: sum(row[j] * costs[j, k] for j in range(classes))) for row in p]
    assert cheapest(p, costs).tolist() == wanted
    assert cheapest(p, 1 - np.eye(classes)).tolist() == p.argmax(axis=1).tolist()


COSTS: dict[str, tuple[Any, list[list[float]]]] = {
    "one class": ({"flu": 5}, [[0, 1, 1], [5, 0, 5], [1, 1, 0]]),
    "one mistake": ({"flu": {"well": 9}}, [[0, 1, 1], [1, 0, 9], [1, 1, 0]]),
    "both": ({"flu": {"well": 9, "flu": 0.5}, "well": 0}, [[0, 1, 1], [1, 0.5, 9], [0, 0, 0]]),
    "a matrix": ([[0, 1, 2], [3, 0, 4], [5, 6, 0]], [[0, 1, 2], [3, 0, 4], [5, 6, 0]]),
    "nothing": ({}, [[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
}


@pytest.mark.parametrize("given", COSTS)
def test_costs_are_given_in_three_ways(given: str) -> None:
    costs, wanted = COSTS[given]
    assert costs_of(costs, CLASSES).tolist() == wanted


def test_true_probabilities_and_costs_cost_least() -> None:
    """No other costs lead to answers that cost less on 50,000 rows drawn by the probabilities."""
    p, y = drawn(50_000)
    costs = costs_of({"flu": {"well": 9}, "cold": 2}, CLASSES)
    least = costs[y, cheapest(p, costs)].mean()
    rng = np.random.default_rng(1)
    for other in [1 - np.eye(3), *(rng.uniform(0, 9, (3, 3)) * (1 - np.eye(3)) for _ in range(20))]:
        assert costs[y, cheapest(p, other)].mean() >= least


# --- recall --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [{"flu": 0.95}, {"flu": 0.6}, {"cold": 0.9, "flu": 0.8}])
def test_a_wanted_recall_is_reached_and_not_by_far(wanted: dict[str, float]) -> None:
    """Of the last class named exactly, to a row: the cost is the least that does. The classes before it may lose some
    to it, as they are settled before."""
    p, y = drawn(3_000)
    found = cheapest(p, costs_for_recall(wanted, p, y, CLASSES))
    k = CLASSES.index(list(wanted)[-1])
    rows = y == k
    reached = int((found[rows] == k).sum())
    needed = int(np.ceil(wanted[CLASSES[k]] * rows.sum() - 1e-9))
    plain = int((p.argmax(axis=1)[rows] == k).sum())
    assert reached == max(needed, plain) or (len(wanted) > 1 and reached >= needed)


def test_it_holds_on_fresh_rows() -> None:
    """0.9 of 5,000 held-out rows of the class: another 5,000 have 0.9 to within 0.03, five standard errors of each."""
    p, y = drawn(15_000)
    costs = costs_for_recall({"flu": 0.9}, p, y, CLASSES)
    q, truth = drawn(15_000, seed=1)
    assert abs((cheapest(q, costs)[truth == 1] == 1).mean() - 0.9) <= 0.03


# --- shares --------------------------------------------------------------------------------------------------------


def test_shares_that_changed_are_estimated_and_adjusted_to() -> None:
    """Rows of the classes in other shares: the estimate is within 0.03 (some 5 / sqrt(20,000), as classes overlap), and
    probabilities adjusted to the true shares are calibrated: their means are the shares, to 0.02."""
    p, y = drawn(60_000)
    old = np.bincount(y) / len(y)
    rng = np.random.default_rng(2)
    new = np.array([0.1, 0.2, 0.7])
    chosen = np.concatenate([rng.choice(np.flatnonzero(y == k), int(20_000 * s)) for k, s in enumerate(new)])
    assert np.abs(estimated_shares(p[chosen], old) - new).max() <= 0.03
    moved = np.log(p[chosen]) + shifts(old, new)
    q = np.exp(moved) / np.exp(moved).sum(axis=1, keepdims=True)
    assert np.abs(q.mean(axis=0) - new).max() <= 0.02
    assert np.abs(p[chosen].mean(axis=0) - new).max() > 0.1  # before


def test_two_classes_shift_one_logit() -> None:
    z = np.array([-1.0, 0.3, 2.0])
    old, new = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    odds = np.exp(z) * (0.1 / 0.9)
    assert 1 / (1 + np.exp(-(z + shifts(old, new)))) == pytest.approx(odds / (1 + odds), rel=1e-14)


# --- a classifier's own --------------------------------------------------------------------------------------------


def table(rows: int, seed: int, shares: Array | None = None) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    y = rng.choice(3, rows, p=shares)
    x = rng.normal(size=(rows, 3)) + 1.2 * np.eye(3)[y]
    return {f"x{j}": x[:, j] for j in range(3)} | {"y": np.array(CLASSES)[y]}


def test_costs_change_the_answers_and_leave_the_probabilities(tmp_path: Any) -> None:
    data, fresh = table(2_000, 0), table(2_000, 1)
    plain, dear = luce.Classifier().fit(data, "y"), luce.Classifier(costs={"flu": 10}).fit(data, "y")
    assert dear.predict_proba(fresh).tobytes() == plain.predict_proba(fresh).tobytes()
    flu = np.asarray(fresh["y"]) == "flu"
    assert (dear.predict(fresh)[flu] == "flu").mean() > (plain.predict(fresh)[flu] == "flu").mean() + 0.1
    dear.save(tmp_path / "m.luce")
    assert (luce.load(tmp_path / "m.luce").predict(fresh) == dear.predict(fresh)).all()
    report = dear.evaluate(fresh)
    assert report.accuracy == (dear.predict(fresh) == fresh["y"]).mean()
    assert report.log_loss == plain.evaluate(fresh).log_loss


def test_a_wanted_recall_is_found_on_fresh_rows() -> None:
    model = luce.Classifier(recall={"flu": 0.95}).fit(table(6_000, 0), "y")
    fresh = table(6_000, 1)
    flu = np.asarray(fresh["y"]) == "flu"
    assert abs((model.predict(fresh)[flu] == "flu").mean() - 0.95) <= 0.03  # 2,000 rows each: 5 standard errors


def test_another_population_has_other_probabilities() -> None:
    shares = {"cold": 0.1, "flu": 0.1, "well": 0.8}
    model = luce.Classifier().fit(table(3_000, 0), "y")
    fresh = table(20_000, 1, np.array(list(shares.values())))
    found = model.estimate_shares(fresh)
    assert all(abs(found[name] - shares[name]) <= 0.03 for name in CLASSES)
    moved = model.adjust_prior(shares)
    assert moved.evaluate(fresh).log_loss < model.evaluate(fresh).log_loss - 0.05
    assert np.abs(moved.predict_proba(fresh).mean(axis=0) - list(shares.values())).max() <= 0.02
    back = moved.adjust_prior(model.fitted.class_shares)  # there and back again
    assert np.abs(back.predict_proba(fresh) - model.predict_proba(fresh)).max() <= 1e-12
    with pytest.raises(InputError, match="no row"):
        moved.predict_set(fresh)


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "a class that is none": (lambda: costs_of({"plague": 3}, CLASSES), "'plague', which is no class"),
    "an answer that is none": (lambda: costs_of({"flu": {"plague": 3}}, CLASSES), "'plague'"),
    "a cost below 0": (lambda: costs_of({"flu": -1}, CLASSES), "-1"),
    "a cost that is no number": (lambda: costs_of({"flu": "much"}, CLASSES), "'much'"),
    "two rows of costs": (lambda: costs_of([[0, 1, 1], [1, 0, 1]], CLASSES), "3 x 3"),
    "a cost of nan": (lambda: costs_of(np.full((3, 3), np.nan), CLASSES), "nan"),
    "a recall of 1": (lambda: costs_for_recall({"flu": 1.0}, *drawn(50), CLASSES), "between 0 and 1"),
    "a recall of no class": (lambda: costs_for_recall({"no": 0.9}, *drawn(50), CLASSES), "'no'"),
    "a share of 0": (lambda: shares_of([0.5, 0.5, 0.0], CLASSES), "above 0"),
    "two shares": (lambda: shares_of([0.5, 0.5], CLASSES), "3 numbers"),
    "a share that is missing": (lambda: shares_of({"cold": 1, "flu": 1}, CLASSES), "'well'"),
    "costs and recall": (
        lambda: luce.Classifier(costs={"flu": 2}, recall={"flu": 0.9}).fit(table(200, 0), "y"),
        "give one of them",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str) -> None:
    call, says = MISTAKES[mistake]
    with pytest.raises(InputError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
