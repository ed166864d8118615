"""The strength of the L2 penalty, by a race on all rows or on a sample; the rows that one strength is measured on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from luce.features import Array
from luce.objective import MOST_LOGITS, logits_of_rows
from luce.path import (
    ABSENT,
    FOLD_SHARE,
    FeaturesOf,
    Path,
    Problem,
    Race,
    choose_by_race,
    folds_of,
    path_of,
    row_losses,
    stretch_of,
    with_absent,
)
from luce.run import piece
from luce.solver import Ended, approach
from luce.splits import holdout, row_keys
from luce.steps import BlockPoint, RowPoint, Start

SAMPLE = 5_000  # rows, or SAMPLE_EACH for each class: on so many the strength is chosen where the logits of all rows
SAMPLE_EACH = 8  # would not be kept
SOME_CLASSES = 100  # the classes that settle how very many are read
VERY_MANY = 1 << 22
HELD = 5_000  # rows, or HELD_EACH for each class, are held out where the logits of all would be too many
HELD_EACH = 20
MANY_TO_HOLD = 1 << 20  # of more rows HELD_OF_MANY are held out
HELD_OF_MANY = 100_000
SURELY = 16.0  # how much stronger than one thought near a search begins,
SEARCH = 4.0  # the factors that it goes by: a strength twice too large or small loses little,
MOST_TRIED = 8  # and how often at most
LOOSE = 2e-3  # how near its fits come, in place of FOLD_SHARE: the losses change by a tenth of their errors


def choose_l2(
    problem: Problem, rule: str = "auto", seed: int = 0, time_limit: float | None = None
) -> tuple[Path, Start | None] | None:
    """As `choose_by_race`; on a sample of the rows where the logits of all are too many to be kept."""
    if problem.is_large:
        return choose_on_sample(problem, rule, seed, time_limit)
    return piece("strength", partial(choose_by_race, problem, rule, seed, time_limit), Path, RowPoint)


def sample_rows(problem: Problem) -> NDArray[np.int64]:
    """Rows on which a strength is chosen that serves all: SAMPLE of them or SAMPLE_EACH for each class, those of every
    class in proportion."""
    wanted, rows = max(SAMPLE, SAMPLE_EACH * problem.classes), problem.features.rows
    if rows <= 1.5 * wanted:
        return np.arange(rows)
    every = max(rows // VERY_MANY, 1)  # of very many rows some are looked at, each so many-th
    return every * holdout(problem.codes[::every], wanted * every / rows, 0)[1]


def of_some_classes(codes: NDArray[np.int32], classes: int) -> NDArray[np.int64]:
    """All rows of some classes, which depend on their places alone: of SAMPLE rows or more, of SOME_CLASSES or more,
    as far as their logits are few."""
    order = np.argsort(row_keys(classes, 0), kind="stable")
    upto = np.cumsum(np.bincount(codes, minlength=classes)[order])
    count = np.arange(1, classes + 1)
    enough = (upto >= SAMPLE) & (count >= SOME_CLASSES) | (upto * count > MOST_LOGITS // 4)
    chosen = np.zeros(classes, dtype=np.bool_)
    chosen[order[: max(int(np.argmax(enough)), 1) + 1]] = True
    return np.flatnonzero(chosen[codes])


def some_of_each(problem: Problem, keys: NDArray[np.uint64], most: int) -> NDArray[np.int64]:
    """At most so many rows of one fold, those of the least keys, so that equal rows stay together; none of a class that
    has no row elsewhere."""
    fold = folds_of(problem, keys)
    elsewhere = np.bincount(problem.codes[fold != 0], minlength=problem.classes) > 0
    rows = np.flatnonzero((fold == 0) & elsewhere[problem.codes])
    if len(rows) <= most:
        return rows
    return np.asarray(rows[keys[rows] < np.partition(keys[rows], most)[most]])


def choose_on_sample(
    problem: Problem, rule: str = "auto", seed: int = 0, time_limit: float | None = None
) -> tuple[Path, Start | None] | None:
    """As `choose_l2`, on `sample_rows`. A penalty on the sum of the losses that is the best for some rows is so for
    all: what is known of a weight before any row does not change with their number."""
    rows = sample_rows(problem)
    weights = None if problem.weights is None else problem.weights[rows]
    if weights is not None:
        if not weights.any():
            return None
        weights = weights / weights.mean()
    part = replace(
        problem, features=problem.features.take(rows), codes=problem.codes[rows], weights=weights,
        keys=None if problem.keys is None else problem.keys[rows],
        strata=None if problem.strata is None else problem.strata[rows],
    )  # fmt: skip
    _, left = part.present()
    if len(left) < 2 or part.is_large:
        return None
    found = choose_l2(part, rule, seed, time_limit)
    if found is None:
        return None
    path, start = found
    whole = isinstance(start, np.ndarray) and len(left) == part.classes
    return replace(path, strengths=path.strengths * (len(rows) / problem.features.rows), rows=rows), (
        start if whole else None
    )


def hold_out(
    problem: Problem, l2: float, seed: int = 0, features_without: FeaturesOf | None = None,
    fold_of_row: NDArray[np.int64] | None = None,
) -> Path | None:  # fmt: skip
    """The path of one strength: its loss and its logits on rows held out. None if nothing can be held out, or a fit
    finds no end."""

    def scored() -> Path | None:
        search = Race(problem, seed, features_without=features_without, first=l2, fold_of_row=fold_of_row)
        search.best = 0
        score = search.score_together if problem.tells_by_rows else search.score_all
        return path_of(search, 0) if search.folds and score(0) else None

    return piece("held out", scored, Path)


def search_on_some(problem: Problem, near: float, rows: NDArray[np.int64]) -> tuple[Path, Start | None] | None:
    """The strength of least loss on these rows, each tried by one fit to all others that begins where the one before
    has ended, and where the last has. None if they hold no class that the others have.

    From SURELY times one that is thought near by steps of SEARCH to weaker ones, which take more passes: as long as the
    loss falls, and would fall if the logits were longer, as those of too strong a penalty are too short. If those of
    the first are too long, to stronger ones.
    """
    tried: list[Attempt] = []
    l2, factor, best = SURELY * near, 1.0, None
    for _ in range(MOST_TRIED):
        start = tried[-1].start if tried else None
        found = piece("tried", partial(_attempt, problem, l2, rows, start), Attempt, Path, RowPoint, BlockPoint)
        if found is None:
            break
        if isinstance(start, BlockPoint):
            start.let_go()
        tried.append(found)
        worse = best is not None and found.loss >= best.loss
        if not worse and best is not None:
            best.path = None
        best = best if worse else found
        towards = 1 / SEARCH if found.stretch > 1.0 else SEARCH
        if worse or factor not in (1.0, towards):
            break
        factor = towards
        l2 *= factor
    return None if best is None else (_path_of(tried, best), tried[-1].start)


@dataclass(eq=False)
class Attempt:
    """A strength of a search: the losses of the rows held out, what would make their logits best (`stretch_of`), the
    path of it alone as long as it is the best, and where its fit has ended as long as the next has not begun."""

    l2: float
    losses: Array
    stretch: float
    path: Path | None
    start: Start | None

    @property
    def loss(self) -> float:
        return float(self.losses.mean())


def _attempt(problem: Problem, l2: float, rows: NDArray[np.int64], start: Start | None) -> Attempt | None:
    found = hold_some_out(problem, l2, rows, start, LOOSE)
    if found is None:
        return None
    path, ended = found
    codes, z = problem.codes[rows][path.scored], path.held_out[path.scored]
    return Attempt(l2, row_losses(z, codes), stretch_of(z, codes), path, ended)


def _path_of(tried: list[Attempt], best: Attempt) -> Path:
    tried = sorted(tried, key=lambda each: -each.l2)
    losses = np.stack([each.losses for each in tried])
    root = np.sqrt(losses.shape[1])
    assert best.path is not None
    return replace(
        best.path, strengths=np.array([each.l2 for each in tried]), scores=losses.mean(axis=1),
        errors=losses.std(axis=1) / root, difference_errors=(losses - best.losses).std(axis=1) / root,
        folds=np.ones(len(tried), dtype=np.int64), chosen=tried.index(best),
    )  # fmt: skip


def held_rows(problem: Problem) -> NDArray[np.int64]:
    """The rows of one fold, or, where these have too many logits, those of them with the least keys, so that equal rows
    stay together and each class keeps its share: a calibration on them is one for all. Of very many rows those with the
    least keys."""
    keys = problem.keys
    assert keys is not None
    if len(keys) > MANY_TO_HOLD:
        return np.flatnonzero(keys < np.uint64(HELD_OF_MANY / len(keys) * 2.0**64))
    rows = np.flatnonzero(folds_of(problem, keys) == 0)
    wanted = max(HELD, HELD_EACH * problem.classes)
    if not problem.is_large or len(rows) <= wanted:
        return rows
    least = np.partition(keys[rows], wanted - 1)[wanted - 1]
    return np.asarray(rows[keys[rows] <= least])


def hold_some_out(
    problem: Problem, l2: float, rows: NDArray[np.int64], start: Start | None = None, share: float = FOLD_SHARE
) -> tuple[Path, Start | None] | None:
    """A path of one strength and of these rows alone, by one fit to all others, and where that has ended. None if they
    hold no class that the others have. start, share: as `approach` has them."""
    weights = np.ones(problem.features.rows) if problem.weights is None else problem.weights.copy()
    weights[rows] = 0.0
    rest, left = replace(problem, weights=weights).present()
    scored = np.isin(problem.codes[rows], left)
    if len(left) < 2 or not scored.any():
        return None
    near = None if start is None or len(left) < problem.classes else Ended(start)
    return piece(
        "held out", partial(_held_out, problem, rest, left, l2, rows, scored, near, share), Path, RowPoint, BlockPoint
    )


def _held_out(
    problem: Problem, rest: Problem, left: NDArray[np.int64], l2: float, rows: NDArray[np.int64],
    scored: NDArray[np.bool_], near: Ended | None, share: float,
) -> tuple[Path, Start | None] | None:  # fmt: skip
    """As `hold_some_out`, by a fit to the rest."""
    method, stopped = approach(rest.objective(l2), share, near)
    if stopped == "interrupted":
        raise KeyboardInterrupt
    if stopped:
        return None
    z = with_absent(np.ascontiguousarray(logits_of_rows(method.logits, rows).T), problem.classes, left, ABSENT)
    losses = row_losses(z, problem.codes[rows])[scored]
    score, error = float(losses.mean()), float(losses.std() / np.sqrt(len(losses)))
    path = Path(
        strengths=np.array([l2]), scores=np.array([score]), errors=np.array([error]),
        difference_errors=np.zeros(1), folds=np.ones(1, dtype=np.int64), chosen=0, held_out=z, scored=scored,
        left_out=int(np.sum(~scored)), rows=rows,
    )  # fmt: skip
    return path, method.resume() if len(left) == problem.classes else None
