"""Which n-grams of the text columns are features, settled by the log loss of rows held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce import _core
from luce.cells import shown
from luce.choice import FEW_READ, MANY_READ, MANY_ROWS, SOME_FOLDS, Choice, beside_plain, sample_of
from luce.compact import DEFAULT, room_for, room_of_many
from luce.encoder import MOST_BESIDE, Encoder, beside
from luce.errors import InputError
from luce.features import Features
from luce.grouping import dealt_by
from luce.objective import MOST_LOGITS
from luce.path import (
    FOLDS,
    Path,
    Problem,
    Race,
    folds_of,
    path_of,
    race_side_by_side,
)
from luce.run import piece
from luce.splits import holdout
from luce.steps import BlockPoint, RowPoint, Start, of_columns
from luce.strength import hold_out, hold_some_out, of_some_classes, search_on_some, some_of_each
from luce.text import MOST_GRAMS, MOST_WEIGHTS, Grams, Recipe, SparseRows, Texts, recipes_for

RICHER = 0.01  # of the log loss: by less, more n-grams are not worth their time
CANDIDATES = 8  # n-grams, the most frequent, for each one that many classes have room for
GROWTH = 0.5  # the best strength falls with some such power of the rows
FEW_LETTERS = 3_000_000  # of the texts on which recipes are compared
LEAST_READ, LEAST_OF_EACH = 1_000, 20  # their rows
NEAR = 1e-5  # where the strength is looked for


@dataclass(frozen=True)
class Worded:
    """Rows with the n-grams of their texts: the columns that are no texts as features, the n-grams of each text column,
    and their scales without each fold and by all rows."""

    encoder: Encoder
    plain: Features
    grams: tuple[Grams, ...]
    scales: tuple[NDArray[np.float32], ...]
    fold: NDArray[np.int64]
    threads: int

    def rows(self, place: int) -> list[SparseRows]:
        return [g.rows(s[place], self.threads) for g, s in zip(self.grams, self.scales, strict=True)]

    def without(self, rows: NDArray[np.int64]) -> Features:
        return beside(self.plain, self.rows(int(self.fold[rows[0]])))

    def kept(self, place: int = -1) -> tuple[Encoder, Features]:
        """The encoder with the n-grams that have a scale without a fold, or by all rows, and its features."""
        texts, parts = [], []
        for g, scales in zip(self.grams, self.scales, strict=True):
            s = scales[place]
            plan = g.plan(s)
            found = g.rows(s, self.threads)
            among = (np.cumsum(s > 0) - 1).astype(np.int32)
            texts.append(plan)
            parts.append(SparseRows(found.starts, among[found.indices], found.values, len(plan.buckets)))
        return replace(self.encoder, texts=tuple(texts)), beside(self.plain, parts)

    @property
    def columns(self) -> int:
        """Of the features by all rows."""
        return self.plain.columns + sum(int((s[-1] > 0).sum()) for s in self.scales)

    def places(self, place: int) -> NDArray[np.int64]:
        """Where the columns of `kept(place)` are among those of `kept()`; -1 for those that are not."""
        plain = self.plain.columns
        out, ends = [np.arange(plain)], plain
        for s in self.scales:
            among = np.where(s[-1] > 0, ends + np.cumsum(s[-1] > 0) - 1, -1)
            out.append(among[s[place] > 0])
            ends += int((s[-1] > 0).sum())
        return np.concatenate(out)


def choose_texts(
    encoder: Encoder, parsed: Mapping[str, Any], names: Sequence[str], codes: NDArray[np.int32], classes: int, *,
    plain: Choice | None, l2: float | str | None, size: float, threads: int, groups: NDArray[np.int64] | None = None,
    units: int = 0,
) -> Choice:  # fmt: skip
    """The n-grams of the text columns `names` beside the other columns, by the recipe of least log loss on rows held
    out; on 5,000 rows where there are many more, fewer of long texts, and the strength then on all.

    plain: the choice without the texts, None where there is no other column; it stays if the texts do not lower the log
    loss. units: of the hidden layer that is to read the n-grams, 0 for a linear model. Where the logits of all rows are
    too many to be kept, the texts are not set against the other columns: those stand beside, as they are.
    """
    if len(codes) * classes > MOST_LOGITS:
        return _of_many_classes(
            encoder, parsed, names, codes, classes, l2=l2, size=size, threads=threads, groups=groups
        )  # fmt: skip
    texts = {name: parsed[name].to_list() for name in names}
    if plain is not None and plain.problem.features.dense_columns <= MOST_BESIDE:
        encoder = plain.encoder
    problem = _without_texts(encoder, parsed, texts, codes, classes, threads, groups)
    assert problem.keys is not None
    few = _few(texts, len(codes), classes)
    many = len(codes) > 1.5 * few
    rows = holdout(codes, few / len(codes), 0)[1] if many else np.arange(len(codes))
    near = float(l2) if isinstance(l2, float | int) else NEAR * max(1.0, FEW_READ / len(rows))
    most = room_for(size, encoder.width, np.bincount(codes, minlength=classes), units) // len(names)
    recipes: list[Recipe] = []
    tried: list[Choice] = []
    for recipe in recipes_for(next(iter(texts.values()))):
        part, cells = sample_of(problem, rows) if many else problem, _taken(texts, rows, many)
        found = _tried(encoder, part, cells, recipe, l2, near, SOME_FOLDS if many else FOLDS, most)
        if found.problem.features.columns:
            tried.append(found)
            recipes.append(recipe)
            near = found.l2
    if not tried and plain is not None:
        return plain
    if not tried:
        raise InputError(
            f"no word and no piece of one occurs in two texts of {', '.join(map(shown, names))}, so that there is "
            "nothing to learn from: give more rows, or longer texts"
        )
    losses = [float(np.nanmean(found.losses)) if found.path is not None else np.inf for found in tried]
    place = int(len(losses) > 1 and losses[1] < (1 - RICHER) * losses[0])
    folds = SOME_FOLDS if len(codes) > MANY_READ else FOLDS
    if many:
        near = tried[place].l2 * (len(rows) / len(codes)) ** GROWTH
        best = _tried(encoder, problem, texts, recipes[place], l2, near, folds, most)
    else:
        best = tried[place]
    best = replace(best, race=None) if len(codes) > MANY_READ else best.finished()
    if size < DEFAULT and best.path is not None:
        whole = _tried(encoder, problem, texts, recipes[place], best.l2, near, folds, MOST_GRAMS)
        best = replace(best, notes=_what_it_costs(best, whole))
    return beside_plain("texts", best, plain)


def _few(texts: Mapping[str, Texts], rows: int, classes: int) -> int:
    """Rows on which the recipes are compared: at most FEW_READ, of long texts so many as have FEW_LETTERS, if these are
    LEAST_READ and LEAST_OF_EACH of a class in the mean."""
    letters = sum(len(text) for column in texts.values() for text in column if text)
    return min(FEW_READ, max(LEAST_READ, LEAST_OF_EACH * classes, FEW_LETTERS * rows // max(letters, 1)))


def _without_texts(
    encoder: Encoder, parsed: Mapping[str, Any], texts: Mapping[str, Texts], codes: NDArray[np.int32], classes: int,
    threads: int, groups: NDArray[np.int64] | None,
) -> Problem:  # fmt: skip
    """The problem of the other columns, whose keys know the texts."""
    features = encoder.transform(parsed, threads, [])
    strata, keys = dealt_by(codes, groups, keys_of(features, texts, threads), parsed, texts)
    return Problem(features, codes, classes, None, threads=threads, keys=keys, strata=strata, known_scale=True)


def _of_many_classes(
    encoder: Encoder, parsed: Mapping[str, Any], names: Sequence[str], codes: NDArray[np.int32], classes: int, *,
    l2: float | str | None, size: float, threads: int, groups: NDArray[np.int64] | None,
) -> Choice:  # fmt: skip
    """The recipe is that of all rows of some classes; their strength is where the search for that of all begins, on
    rows held out once."""
    rows = of_some_classes(codes, classes)
    present, known = np.unique(codes[rows], return_inverse=True)
    small = choose_texts(
        encoder, {name: cells[rows] for name, cells in parsed.items()}, names, known.astype(np.int32), len(present),
        plain=None, l2=l2, size=size, threads=threads, groups=None if groups is None else groups[rows],
    )  # fmt: skip
    strength = float(l2) if isinstance(l2, float | int) else small.l2 * len(rows) / len(codes)
    recipe = small.encoder.texts[0].recipe
    del small  # which holds the features and the logits of all its folds
    texts = {name: parsed[name].to_list() for name in names}
    problem = _without_texts(encoder, parsed, texts, codes, classes, threads, groups)
    assert problem.keys is not None
    held = some_of_each(problem, problem.keys, MOST_LOGITS // classes)
    part = np.ones(len(codes), dtype=np.int32)
    part[held] = 0
    most = room_of_many(size, encoder.width, np.bincount(codes, minlength=classes)) // len(names)
    grams = tuple(Grams.of(name, column, recipe, threads, CANDIDATES * most) for name, column in texts.items())
    scales = tuple(g.scales(codes, classes, part, most, threads, np.inf) for g in grams)
    worded = Worded(encoder, problem.features, grams, scales, part.astype(np.int64), threads)

    def held_out() -> tuple[Path, Start | None] | None:
        rest = replace(problem, features=worded.kept(0)[1])
        fixed = isinstance(l2, float | int)
        found = hold_some_out(rest, strength, held) if fixed else search_on_some(rest, strength, held)
        return None if found is None else (found[0], of_columns(found[1], worded.places(0), worded.columns))

    found = piece("texts held out", held_out, Path, RowPoint, BlockPoint)
    wider, features = worded.kept()  # after the fits to some of the rows, each of which has features of its own
    choice = Choice(wider, replace(problem, features=features), strength, None, None)
    if found is None:
        return choice
    path, start = found
    return beside_plain("texts", replace(choice, l2=path.l2, path=path, start=start), None)


def _what_it_costs(small: Choice, whole: Choice) -> tuple[str, ...]:
    """A note on how right the model is on rows held out with all its n-grams, and with those that it has room for."""
    if whole.path is None or small.path is None or small.encoder.width == whole.encoder.width:
        return ()
    kept, grams = (sum(len(t.buckets) for t in found.encoder.texts) for found in (small, whole))
    right = []
    for found in (whole, small):
        assert found.path is not None
        scored, z = found.path.scored, found.path.held_out
        said = (z[:, 0] > 0).astype(np.int32) if z.shape[1] == 1 else z.argmax(axis=1)
        right.append(100 * float((said == found.problem.codes)[scored].mean()))
    told = f"the model keeps {kept:,} of {grams:,} n-grams, with weights of 8 bits"
    return (f"{told}: accuracy on rows held out {right[0]:.2f} %, then {right[1]:.2f} %",)


def keys_of(features: Features, others: Mapping[str, Texts | NDArray[np.uint8]], threads: int) -> NDArray[np.uint64]:
    """Equal for equal rows; others: columns of texts, and of images (n, height, width, channels)."""
    keys = features.hashes(0, threads) if features.columns else np.zeros(features.rows, dtype=np.uint64)
    for column in others.values():
        if isinstance(column, np.ndarray):
            own = Features(len(column), dense=column.reshape(len(column), -1)).hashes(0, threads)
        else:
            own = _core.text_keys(column, threads)
        keys = keys * np.uint64(0x9E3779B97F4A7C15) ^ own
    return keys


def _taken(texts: Mapping[str, Texts], rows: NDArray[np.int64], many: bool) -> Mapping[str, Texts]:
    return {name: [column[i] for i in rows.tolist()] for name, column in texts.items()} if many else texts


def _tried(
    encoder: Encoder, problem: Problem, texts: Mapping[str, Texts], recipe: Recipe, l2: float | str | None, near: float,
    folds: int, most: int,
) -> Choice:  # fmt: skip
    """One recipe, with the best strength near one, or the one that is wanted; folds: that may be held out; most:
    n-grams of a text column."""
    assert problem.keys is not None
    threads, fold = problem.threads, folds_of(problem, problem.keys)
    fold[fold >= folds] = -1
    part = np.where(fold < 0, folds, fold).astype(np.int32)
    room = min(MOST_GRAMS, MOST_WEIGHTS // problem.classes)
    grams = tuple(Grams.of(name, column, recipe, threads, room) for name, column in texts.items())
    scales = tuple(g.scales(problem.codes, problem.classes, part, most, threads) for g in grams)
    worded = Worded(encoder, problem.features, grams, scales, fold, threads)
    wider, features = worded.kept()
    whole = replace(problem, features=features)
    if not features.columns:
        return Choice(wider, whole, near, None, None)
    if l2 is not None and not isinstance(l2, str):
        path = hold_out(whole, float(l2), features_without=worded.without, fold_of_row=fold)
        return Choice(wider, whole, float(l2), path, None, without=worded.without)
    race: Race | None = None

    def scored() -> tuple[Path, Start | None] | None:
        nonlocal race
        race = race_side_by_side(whole, near, some, fold, worded.without)
        return None if race is None else (path_of(race, race.best), race.start())

    some = FOLDS if len(problem.codes) <= MANY_ROWS else SOME_FOLDS
    few = len(problem.codes) <= MANY_READ  # whose race may be finished later
    found = scored() if few else piece("texts", scored, Path, RowPoint)
    if found is None:
        return Choice(wider, whole, near, None, None, without=worded.without)
    path, start = found
    return Choice(wider, whole, path.l2, path, start, race=race, without=worded.without)
