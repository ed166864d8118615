"""Texts of so many classes that logits of all rows are not kept: chosen on some classes, measured once, in blocks."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import luce
from luce import fitting, objective, path, strength, trial, wording
from luce.features import Features
from luce.path import Problem, stretch_of
from luce.strength import hold_some_out, of_some_classes, search_on_some, some_of_each

CLASSES, EACH, MOST = 90, 14, 40_000


@pytest.fixture
def few_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fitting, objective, path, strength, trial, wording):
        monkeypatch.setattr(module, "MOST_LOGITS", MOST)


def titles(seed: int = 0, each: int = EACH, classes: int = CLASSES) -> pl.DataFrame:
    """Texts of four words, two of them of the class more often than not; one class has one row, and two texts are
    there twice."""
    rng = np.random.default_rng(seed)
    words = [f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(300)]
    own = np.random.default_rng(99).integers(0, 300, size=(CLASSES, 3))
    rows = []
    for k in range(classes):
        for _ in range(each):
            mine = [words[i] for i in rng.choice(own[k], 2)] if rng.random() < 0.9 else []
            rows.append((" ".join([*mine, *(words[i] for i in rng.integers(0, 300, 4 - len(mine)))]), f"job {k:02d}"))
    rows += [("a single title of its own", "job alone"), rows[0], rows[1]]
    return pl.DataFrame(rows, schema=["title", "job"], orient="row")


def test_a_model_is_chosen_measured_and_proven(few_logits: None, tmp_path: Path) -> None:
    model = luce.Classifier(kinds={"title": "text"})
    trained = luce.train(titles(), "job", classifier=model)
    assert trained.report is not None
    facts = model.fitted.facts
    assert len(model.classes_) == CLASSES + 1 and facts["gap"] <= fitting.LARGE_TOLERANCE * facts["objective"]
    # a fit to 1,263 rows of 91 classes: chance is 1.1 %, and a tenth of the rows tell nothing
    assert trained.report.accuracy > 0.5
    assert trained.report.rows <= MOST // CLASSES
    new = titles(5, 4)
    right = np.mean(model.predict(new.drop("job")) == new["job"].to_numpy())
    error = np.sqrt(0.25 / len(new) + 0.25 / trained.report.rows)
    assert abs(right - trained.report.accuracy) < 4 * error  # what was measured holds of new rows
    model.save(tmp_path / "jobs.luce")
    again = luce.load(tmp_path / "jobs.luce")
    np.testing.assert_array_equal(again.predict_proba(new.drop("job")), model.predict_proba(new.drop("job")))


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_few_classes_of_very_many_rows_are_fitted_likewise(few_logits: None, monkeypatch, classes) -> None:
    """Whose weights are no blocks of classes."""
    for module in (fitting, objective, path, strength, trial, wording):
        monkeypatch.setattr(module, "MOST_LOGITS", 4_000)
    each = 1260 // classes
    model = luce.Classifier(kinds={"title": "text"})
    trained = luce.train(titles(each=each, classes=classes), "job", classifier=model)
    facts = model.fitted.facts
    assert facts["gap"] <= fitting.LARGE_TOLERANCE * facts["objective"]
    assert trained.report is not None and trained.report.accuracy > 0.5  # a tenth of the rows tell nothing
    new = titles(5, 20, classes)
    right = np.mean(model.predict(new.drop("job")) == new["job"].to_numpy())
    error = np.sqrt(0.25 / len(new) + 0.25 / trained.report.rows)
    assert abs(right - trained.report.accuracy) < 4 * error


@pytest.mark.parametrize("off", [1 / 64, 1.0, 64.0])
def test_the_strength_is_near_the_best_wherever_the_search_begins(off: float) -> None:
    """By the losses of a grid of strengths, each fitted anew; the search may be twice too strong or too weak, and its
    fits are loose."""
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 12, 1200).astype(np.int32)
    own = rng.normal(size=(12, 40))
    x = (rng.normal(size=(1200, 40)) + 0.3 * own[codes]).astype(np.float32)
    problem, rows = Problem(Features(1200, dense=x), codes, 12, None, threads=2), np.arange(0, 1200, 3)
    grid = [(found[0].scores[0], l2) for l2 in 2.0 ** np.arange(-14, 4) if (found := hold_some_out(problem, l2, rows))]
    least, best = min(grid)
    found = search_on_some(problem, best * off, rows)
    assert found is not None
    path = found[0]
    assert (np.diff(path.strengths) < 0).all() and path.scores[path.chosen] == path.scores.min()
    assert path.scores[path.chosen] < least + 0.15 * path.errors[path.chosen]
    single = hold_some_out(problem, path.l2, rows)
    assert single is not None
    off_by = np.abs(path.held_out - single[0].held_out).mean()  # the logits are those of the chosen strength
    assert off_by < 0.15 and all(
        off_by < 0.7 * np.abs(path.held_out - other[0].held_out).mean()
        for l2 in path.strengths
        if l2 != path.l2 and (other := hold_some_out(problem, l2, rows))
    )


def test_the_stretch_of_logits_is_what_they_lack() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20_000, 4))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    codes = (p.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1).astype(np.int32)
    assert abs(stretch_of(z, codes) - 1.0) < 0.05  # four standard errors, by the curvature of 0.74 a row
    assert stretch_of(0.8 * z, codes) > 1.1 and stretch_of(1.2 * z, codes) < 0.95
    two = codes < 2
    assert stretch_of(0.8 * (z[two, 1:2] - z[two, :1]), codes[two]) > 1.1


def test_threads_change_no_byte(few_logits: None, tmp_path: Path) -> None:
    files = []
    for threads in (1, 3):
        model = luce.Classifier(kinds={"title": "text"}, threads=threads)
        luce.train(titles(), "job", classifier=model)
        model.save(tmp_path / f"{threads}.luce")
        files.append((tmp_path / f"{threads}.luce").read_bytes())
    assert files[0] == files[1]


def test_other_columns_stand_beside_the_texts(few_logits: None) -> None:
    frame = titles()
    rng = np.random.default_rng(3)
    city = [f"city {(int(job[-2:]) if job[-2:].isdigit() else 0) % 7}" for job in frame["job"]]
    frame = frame.with_columns(city=pl.Series(city), age=pl.Series(rng.normal(2000.0, 10.0, len(frame))))
    model = luce.Classifier(kinds={"title": "text"}).fit(frame, "job")
    plain = luce.Classifier(kinds={"title": "text"}).fit(titles(), "job")
    new = titles(5, 4)
    place = pl.Series([f"city {int(job[-2:]) % 7 if job[-2:].isdigit() else 0}" for job in new["job"]])
    wide = new.with_columns(city=place, age=pl.Series(rng.normal(2000.0, 10.0, len(new))))
    right = [
        float(np.mean(m.predict(rows.drop("job")) == rows["job"].to_numpy()))
        for m, rows in ((model, wide), (plain, new))
    ]
    assert right[0] > right[1] + 0.05  # the city tells a seventh of the classes from the others


def test_some_classes_come_with_all_their_rows() -> None:
    codes = np.repeat(np.arange(400, dtype=np.int32), 30)
    rows = of_some_classes(codes, 400)
    counts = np.bincount(codes[rows], minlength=400)
    assert set(counts.tolist()) == {0, 30}
    assert (counts > 0).sum() >= strength.SOME_CLASSES and len(rows) >= strength.SAMPLE
    assert (counts > 0).sum() < 400


def test_rows_held_out_leave_each_class_a_row() -> None:
    rng = np.random.default_rng(0)
    codes = np.append(rng.integers(0, 50, 3000), [50, 51, 51]).astype(np.int32)
    keys = rng.integers(0, 2**63, len(codes)).astype(np.uint64)
    keys[10], codes[10] = keys[11], codes[11]
    from luce.features import Features

    problem = Problem(Features(len(codes), np.zeros((len(codes), 1))), codes, 52, None, keys=keys)
    held = some_of_each(problem, keys, 200)
    assert 0 < len(held) <= 200
    rest = np.setdiff1d(np.arange(len(codes)), held)
    assert set(codes[held].tolist()) <= set(codes[rest].tolist())
    assert (10 in held) == (11 in held)
