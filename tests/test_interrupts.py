"""Fits that end early, by Ctrl-C or a time limit, and fits that have no end: a usable model, and true marks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import luce.linear
import luce.path
from luce.errors import LuceWarning
from luce.features import Features
from luce.linear import SMALLEST_L2, LinearFit, SoftmaxRegression, fit_linear
from luce.objective import Objective
from luce.row_steps import DualSteps
from luce.solver import Certificate

Array = np.ndarray


def drawn(classes: int = 3, rows: int = 200, columns: int = 5) -> tuple[Array, Array]:
    """Rows whose class depends on the first column, with so much noise that no plane parts the classes."""
    rng = np.random.default_rng(classes)
    x = rng.normal(size=(rows, columns)) * np.logspace(-1, 1, columns)
    return x, np.argsort(np.argsort(x[:, 0] * 10 + rng.normal(size=rows))) * classes // rows


def value(x: Any, y: Array, model: SoftmaxRegression, l1: float = 0.0) -> float:
    """The objective at the weights of a model."""
    z = np.asarray(x @ model.coef_.T) + model.intercept_
    z = np.column_stack([np.zeros(len(z)), z]) if z.shape[1] == 1 else z
    loss = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), y]
    return float(loss.mean() + model.l2_ / 2 * np.sum(model.coef_**2) + l1 * np.sum(np.abs(model.coef_)))


def marked(model: SoftmaxRegression, x: Any, y: Array, stopped: str, best: float, l1: float = 0.0) -> None:
    """A model that ended early is usable and says the truth. 1e-13: rounding in a mean of some hundred losses."""
    certificate = model.certificate_
    assert certificate.stopped == stopped
    assert not certificate.converged
    assert certificate.sentence().startswith(f"stopped early ({stopped})")
    assert certificate.objective == pytest.approx(value(x, y, model, l1), rel=1e-13, abs=0)
    assert certificate.gap >= certificate.objective - best - 1e-13
    assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()
    assert np.isfinite(model.predict_proba(x)).all()


SETTINGS: dict[str, dict[str, Any]] = {
    "l2": {"l2": 0.01},
    "no penalty": {"l2": 0.0},
    "no intercept": {"l2": 0.01, "fit_intercept": False},
    "elastic net": {"l2": 0.01, "l1": 0.005},
    "lasso": {"l2": 0.0, "l1": 0.005},
}


def best_of(x: Any, y: Array, settings: dict[str, Any]) -> float:
    """The objective of a tight fit: above the least one, so that what is left to it is within any true gap."""
    return SoftmaxRegression(**settings, tol=1e-12).fit(x, y).certificate_.objective


def pressed(model: SoftmaxRegression, x: Any, y: Array) -> SoftmaxRegression:
    """A fit that Ctrl-C comes into must end by itself: let through, it would end the whole run of the tests."""
    try:
        return model.fit(x, y)
    except KeyboardInterrupt as error:
        raise AssertionError("Ctrl-C went through the fit and left no model") from error


# --- Ctrl-C --------------------------------------------------------------------------------------------------------


def interrupted_at(
    call: int, patch: pytest.MonkeyPatch, owner: Any = Objective, names: Sequence[str] = ("gradient_at", "whole_step")
) -> list[int]:
    """Ctrl-C comes at the given call of these methods, once; gives a list whose length is how many calls there were."""
    calls: list[int] = []

    def counted(true: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **named: Any) -> Any:
            calls.append(len(calls) + 1)
            if len(calls) == call:
                raise KeyboardInterrupt
            return true(*args, **named)

        return count

    for name in names:
        patch.setattr(owner, name, counted(getattr(owner, name)))
    return calls


@pytest.mark.parametrize("settings", [name for name in SETTINGS if name != "no penalty"])
@pytest.mark.parametrize("classes", [2, 3])
def test_ctrl_c_leaves_the_best_point_so_far(classes: int, settings: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every reading of the gradient but the first, which is before there is a point."""
    x, y = drawn(classes)
    how = SETTINGS[settings]
    best, objectives = best_of(x, y, how), []
    with monkeypatch.context() as patch:
        calls = interrupted_at(0, patch)
        SoftmaxRegression(**how, tol=1e-6).fit(x, y)
    assert len(calls) >= 4
    for call in range(2, len(calls) + 1):
        model = SoftmaxRegression(**how, tol=1e-6)
        with monkeypatch.context() as patch:
            interrupted_at(call, patch)
            with pytest.warns(LuceWarning, match=r"stopped early \(interrupted\)"):
                assert pressed(model, x, y) is model
        marked(model, x, y, "interrupted", best, how.get("l1", 0.0))
        objectives.append(model.certificate_.objective)
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(objectives))  # rounding in either
    assert objectives[-1] < objectives[0]


@pytest.mark.parametrize("classes", [2, 3])
def test_ctrl_c_without_a_penalty(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a second fit follows, which tells whether the classes are separable. Ctrl-C in it leaves the first, which
    had reached its end."""
    x, y = drawn(classes)
    best = best_of(x, y, {"l2": 0.0})
    with monkeypatch.context() as patch:
        calls = interrupted_at(0, patch)
        SoftmaxRegression(l2=0).fit(x, y)
    ended = []
    for call in range(2, len(calls) + 1):
        model = SoftmaxRegression(l2=0)
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", LuceWarning)
            interrupted_at(call, patch)
            pressed(model, x, y)
        if model.certificate_.converged:
            assert model.certificate_.objective - best <= 1e-6 * best
            assert not model.certificate_.separable
        else:
            marked(model, x, y, "interrupted", best)
        ended.append(model.certificate_.converged)
    assert not ended[0]


@pytest.mark.parametrize("method", ["whole_step", "logits", "certify", "penalty_of"])
def test_ctrl_c_at_any_other_place(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a step, between its parts, in a proof. Before the first point there is nothing to keep: then Ctrl-C
    goes on to the caller, and an earlier fit stays."""
    if not hasattr(Objective, method):
        pytest.fail(f"Objective has no {method}: name its methods anew")
    x, y = drawn(3)
    best = best_of(x, y, SETTINGS["l2"])
    kept = SoftmaxRegression(l2=0.5).fit(x, y)
    ended = 0
    for call in range(1, 12):
        model = SoftmaxRegression(l2=0.01)
        vars(model).update({name: what for name, what in vars(kept).items() if name.endswith("_")})
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", LuceWarning)
            calls = interrupted_at(call, patch, names=[method])
            try:
                model.fit(x, y)
            except KeyboardInterrupt:
                assert model.coef_ is kept.coef_
                continue
        if len(calls) >= call:
            marked(model, x, y, "interrupted", best)
            ended += 1
    assert ended > 0


@pytest.mark.parametrize("method", ["advance", "rough_gap", "prove"])
def test_ctrl_c_on_a_wide_sparse_matrix(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is fitted by another method."""
    rng = np.random.default_rng(0)
    x = scipy.sparse.random_array((150, 3000), density=0.01, rng=rng, format="csr")
    y = rng.integers(0, 3, 150)
    best, ended = best_of(x, y, {"l2": 0.01}), 0
    for call in range(1, 9):
        model = SoftmaxRegression(l2=0.01, tol=1e-12)
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", LuceWarning)
            calls = interrupted_at(call, patch, DualSteps, [method])
            try:
                model.fit(x, y)
            except KeyboardInterrupt:  # before the first point there is nothing to keep
                assert call == 1
                continue
        if len(calls) >= call:
            marked(model, x, y, "interrupted", best)
            ended += 1
    assert ended > 0


def test_ctrl_c_before_the_first_point_keeps_an_earlier_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = drawn(3)
    model = SoftmaxRegression(l2=0.01).fit(x, y)
    before = model.coef_.tobytes()
    interrupted_at(1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(l2=1.0).fit(x, y)
    assert model.coef_.tobytes() == before
    assert model.l2_ == 0.01


def test_ctrl_c_while_l2_is_chosen_leaves_an_earlier_fit_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no model yet to be kept, as the strength is not known: Ctrl-C goes on to the caller."""
    x, y = drawn(3)
    model = SoftmaxRegression(l2=0.01).fit(x, y)
    before = model.coef_.tobytes()
    interrupted_at(40, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(l2="auto").fit(x, y)
    assert model.coef_.tobytes() == before
    assert not hasattr(model, "path_")


def test_the_fit_after_an_interrupted_one_equals_a_fresh_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = drawn(3)
    model = SoftmaxRegression(l2=0.01)
    with monkeypatch.context() as patch:
        interrupted_at(4, patch)
        with pytest.warns(LuceWarning, match="interrupted"):
            pressed(model, x, y)
    assert model.fit(x, y).coef_.tobytes() == SoftmaxRegression(l2=0.01).fit(x, y).coef_.tobytes()
    assert model.certificate_.stopped == ""


@pytest.mark.parametrize(
    "fault",
    [
        lambda c: replace(c, stopped=""),
        lambda c: replace(c, converged=True),
        lambda c: replace(c, gap=c.gap / 1e6),
        lambda c: replace(c, objective=c.objective * (1 - 1e-11)),
    ],
)
def test_marks_that_are_not_true_are_found_out(
    fault: Callable[[Certificate], Certificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = drawn(3)
    interrupted_at(2, monkeypatch)
    with pytest.warns(LuceWarning, match="interrupted"):
        model = pressed(SoftmaxRegression(l2=0.01), x, y)
    monkeypatch.undo()
    best = best_of(x, y, {"l2": 0.01})
    marked(model, x, y, "interrupted", best)
    model.certificate_ = fault(model.certificate_)
    with pytest.raises(AssertionError):
        marked(model, x, y, "interrupted", best)


CHILD = """
import json, signal, sys, time, warnings
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored in the background
import numpy as np
import luce
from luce.objective import Objective

rng = np.random.default_rng(0)
x = rng.normal(size=(40_000, 40)) * np.logspace(-2, 2, 40)
y = np.argmax(x[:, :8] * np.logspace(2, 0, 8) + 3 * rng.gumbel(size=(40_000, 8)), axis=1)
def slowed(true):
    def slow(*args, **named):
        out = true(*args, **named)
        print("read", flush=True)
        time.sleep(0.1)  # so that Ctrl-C comes before the end on any machine; it may come in here or in the core
        return out
    return slow
Objective.gradient_at, Objective.whole_step = slowed(Objective.gradient_at), slowed(Objective.whole_step)
warnings.simplefilter("ignore")
model = luce.SoftmaxRegression(l2=1e-6, tol=1e-13, threads=2)
try:
    model.fit(x, y)
except KeyboardInterrupt:
    print(json.dumps("raised"))
    sys.exit()
c = model.certificate_
print(json.dumps([c.stopped, c.converged, c.gap, c.objective, bool(np.isfinite(model.predict_proba(x)).all())]))
"""


def test_a_real_ctrl_c_ends_a_real_fit() -> None:
    """The process ends by itself, with a model; were the signal lost, the time out would end it and the test."""
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            for _ in range(3):
                assert child.stdout.readline() == "read\n"
            child.send_signal(signal.SIGINT)
            out, _ = child.communicate(timeout=60)
        except BaseException:
            child.kill()
            raise
    assert child.returncode == 0
    stopped, converged, gap, objective, finite = json.loads(out.splitlines()[-1])
    assert (stopped, converged, finite) == ("interrupted", False, True)
    assert gap > 0
    assert 0 < objective < np.log(8)


# --- a time limit --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_tiny_time_limit_leaves_the_first_point(classes: int, settings: str) -> None:
    x, y = drawn(classes)
    how = SETTINGS[settings]
    with pytest.warns(LuceWarning, match=r"stopped early \(time limit\)"):
        model = SoftmaxRegression(**how, time_limit=1e-9).fit(x, y)
    marked(model, x, y, "time limit", best_of(x, y, how), how.get("l1", 0.0))


def test_a_time_limit_counts_the_clock_of_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second whenever it is read: the longer the limit, the better the point."""
    x, y = drawn(3)
    best, objectives = best_of(x, y, {"l2": 0.01}), []
    for limit in (2.5, 3.5, 4.5):  # the clock is read once before the limit's own start, and at each step
        ticks = iter(range(1000))
        model = SoftmaxRegression(l2=0.01, time_limit=limit, tol=1e-12)
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda ticks=ticks: float(next(ticks)))
            with pytest.warns(LuceWarning, match="time limit"):
                model.fit(x, y)
        marked(model, x, y, "time limit", best)
        objectives.append(model.certificate_.objective)
    assert objectives[0] > objectives[1] > objectives[2]


def test_a_time_limit_that_is_not_reached_changes_nothing() -> None:
    x, y = drawn(3)
    one, other = SoftmaxRegression(l2=0.01).fit(x, y), SoftmaxRegression(l2=0.01, time_limit=1e6).fit(x, y)
    assert one.coef_.tobytes() == other.coef_.tobytes()
    assert other.certificate_.stopped == ""


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("limit", [0, -1.0, np.nan, np.inf, "1", True])
def test_time_limits_that_are_none_are_refused(limit: Any, method: str) -> None:
    with pytest.raises(luce.InputError, match="time_limit"):
        getattr(SoftmaxRegression(l2=0.01, time_limit=limit), method)(*drawn(3))


def test_a_time_limit_also_ends_the_choice_of_l2(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the time of the whole fit: with l2 still to be chosen, far fewer readings than without a limit."""
    x, y = drawn(3)
    counts = []
    for limit in (None, 1e-9):
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", LuceWarning)
            calls = interrupted_at(0, patch)
            SoftmaxRegression(time_limit=limit).fit(x, y)
            counts.append(len(calls))
    assert counts[1] < counts[0] / 3


def test_a_time_limit_ends_a_batch() -> None:
    x, y = drawn(3)
    model = SoftmaxRegression(l2=0.01, time_limit=1e-9)
    with pytest.warns(LuceWarning, match="time limit"):
        model.partial_fit(x, y)
    marked(model, x, y, "time limit", best_of(x, y, {"l2": 0.01}))


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_a_clock_on_the_wall_that_jumps_changes_nothing(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is set by hand, or back at the end of summer time."""
    x, y = drawn(3)
    wanted = SoftmaxRegression(l2=0.01, time_limit=1e4).fit(x, y)
    true, reads = time.time, []

    def jumping() -> float:
        reads.append(1)
        return true() + jump * len(reads)

    monkeypatch.setattr(time, "time", jumping)
    model = SoftmaxRegression(l2=0.01, time_limit=1e4).fit(x, y)
    assert model.coef_.tobytes() == wanted.coef_.tobytes()
    assert model.certificate_.stopped == ""
    assert model.certificate_.seconds >= 0


def test_progress_is_told_with_a_falling_distance() -> None:
    """What an interrupted fit may count on: passes grow, and the callback is called before every step."""
    x, y = drawn(3)
    told: list[tuple[int, float]] = []
    fit = fit_linear(
        Features(len(x), dense=x), y.astype(np.int32), 3, 0.01, progress=lambda passes, gap: told.append((passes, gap))
    )
    assert isinstance(fit, LinearFit)
    passes, gaps = zip(*told, strict=True)
    assert list(passes) == sorted(set(passes))
    assert gaps[-1] <= 1e-6 < gaps[0]


# --- classes that a plane parts ------------------------------------------------------------------------------------


def fitted_without_penalty(x: Array, y: Any) -> tuple[SoftmaxRegression, list[str]]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = SoftmaxRegression(l2=0).fit(x, y)
    assert all(issubclass(w.category, LuceWarning) for w in told)
    return model, [str(w.message) for w in told]


def parted(classes: int, rows: int = 60) -> tuple[Array, Array]:
    """The second of three columns tells the class without error."""
    rng = np.random.default_rng(classes)
    y = np.arange(rows) % classes
    x = rng.normal(size=(rows, 3))
    x[:, 1] = 3 * y + rng.uniform(-1, 1, rows)
    return x, y


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_separable_classes_are_named_with_a_column(classes: int) -> None:
    x, y = parted(classes)
    model, said = fitted_without_penalty(x, y)
    assert model.certificate_.separable
    assert len(said) == 1
    assert "the classes are separable" in said[0]
    assert "by column number 1" in said[0]
    largest = 1 if classes == 2 else int(np.abs(model.coef_[:, 1]).argmax())
    assert f"class {largest} above all" in said[0]
    assert np.isfinite(model.coef_).all()
    assert model.score(x, y) == 1.0
    assert model.l2_ == SMALLEST_L2


def test_the_column_is_named_by_its_name_and_the_class_by_its_label() -> None:
    import pandas as pd

    x, y = parted(2)
    frame = pd.DataFrame(x, columns=["age", "dose", "height"])
    model, said = fitted_without_penalty(frame, np.array(["ill", "well"])[y])
    assert model.certificate_.separable
    assert "class 'well' above all by column 'dose'" in said[0]


@pytest.mark.parametrize("classes", [2, 3])
def test_quasi_separable_classes_are_found(classes: int) -> None:
    """Rows of two classes lie on the plane itself, so some rows never become sure (Albert and Anderson, 1984)."""
    rng = np.random.default_rng(0)
    y = np.arange(80) % classes
    x = np.column_stack([y - 0.5 + rng.uniform(-0.4, 0.4, 80), rng.normal(size=80)])
    x[:12, 0] = 0.0
    y[:12] = np.arange(12) % 2
    model, said = fitted_without_penalty(x, y)
    assert model.certificate_.separable
    assert "separable" in said[0]
    assert np.isfinite(model.coef_).all()
    assert model.predict_proba(x)[:12, 0].min() > 0.1  # those on the plane


def test_a_level_that_only_one_class_has_is_quasi_separable() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 100)
    level = np.where(y == 1, rng.random(100) < 0.3, False)
    model, said = fitted_without_penalty(np.column_stack([level, rng.normal(size=100)]), y)
    assert model.certificate_.separable
    assert "class 1 above all by column number 0" in said[0]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_classes_that_overlap_are_not_called_separable(classes: int, scale: float) -> None:
    x, y = drawn(classes)
    model, said = fitted_without_penalty(scale * x, y)
    assert not model.certificate_.separable
    assert not any("separable" in text for text in said)


def one_row_astray(apart: float) -> tuple[Array, Array]:
    x, y = parted(2)
    x[:, 1] += apart * y
    return np.vstack([x, x[y == 0].mean(axis=0)]), np.append(y, 1)


@pytest.mark.parametrize("apart", [0.0, 3.0, 10.0])
def test_one_row_in_the_midst_of_the_other_class_is_enough_to_overlap(apart: float) -> None:
    model, said = fitted_without_penalty(*one_row_astray(apart))
    assert not model.certificate_.separable
    assert said == []


@pytest.mark.parametrize("how", [{"l2": 0.01}, {"l2": None}, {"l2": "auto"}, {"l2": 0.0, "l1": 0.001}], ids=repr)
def test_with_a_penalty_separable_classes_are_no_matter(how: dict[str, Any]) -> None:
    model = SoftmaxRegression(**how).fit(*parted(3))  # a warning is an error here
    assert not model.certificate_.separable


def test_a_margin_test_that_always_says_yes_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand-made fault, and its opposite."""
    monkeypatch.setattr(luce.linear, "_separates", lambda *_: True)
    with pytest.raises(AssertionError):
        test_classes_that_overlap_are_not_called_separable(3, 1.0)
    monkeypatch.setattr(luce.linear, "_separates", lambda *_: False)
    with pytest.raises(AssertionError):
        test_separable_classes_are_named_with_a_column(3)
