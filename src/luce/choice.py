"""How the columns enter the logits: as they are, with curves, value by value, with pairs; settled by the log loss of
rows held out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.encoder import Encoder, ValuesPlan
from luce.errors import InputError
from luce.features import Array, Features
from luce.functional import sigmoid, softmax
from luce.grouping import dealt_by
from luce.interactions import strongest_alone, strongest_codes, strongest_pairs
from luce.linear import chosen_l2
from luce.path import (
    FOLDS,
    LITTLE,
    NO_LOSS,
    FeaturesOf,
    HeldOutLogits,
    Path,
    Problem,
    Race,
    finish,
    folds_of,
    path_of,
    race_from,
    row_losses,
)
from luce.run import piece
from luce.splits import holdout, row_keys
from luce.steps import RowPoint, Start
from luce.strength import held_rows, hold_out, hold_some_out

EFFECTS = ("linear", "curves", "pairs")
WIDER = ("uncompressed", "curves", "values", "pairs")  # in the order in which they are tried
BY_ROWS = ("uncompressed", "values")  # those that nobody asks for by name
KNOWN = (*EFFECTS, *BY_ROWS, "texts", "images", "network")
PAIRS = 25  # at most
SAMPLE = 10_000  # rows, or SAMPLE_SHARE of more, up to MOST_SAMPLED: on so many it is settled which columns bend and
SAMPLE_SHARE = 0.4  # act together
MOST_SAMPLED = 40_000
MOST_RESIDUALS = 400_000  # that are looked at for pairs: rows x classes
MOST_FEATURES = 2_500  # of a model with more effects
MOST_NUMBERS = 5e7  # of the features with pairs, which are kept for each fold
MOST_WORK = 3e8  # multiplications in a pass over the rows that folds are made of
MOST_WORK_ONCE = 1e10  # and over all rows, where a sample settles all and no folds are made of them:
MOST_STORED = 5e8  # numbers, or TIMES_STORED as many as the columns have straight; models of more are not tried
TIMES_STORED = 2.0
BENDS_SHARE = 0.5  # of what is left beside straight columns, for curves where not all numbers may bend
MANY_ROWS = 2_000  # with more, SOME_FOLDS are enough to settle it, and the strength of texts
SOME_FOLDS = 2
CLEAR = 0.5  # standard errors by which more effects must lower the log loss
FEW_READ = 5_000  # rows: on so many it is settled how texts and images are read, if there are half as many again
MANY_READ = 20_000  # with more, SOME_FOLDS of them are held out


@dataclass(frozen=True)
class Tried:
    """One way for the columns to enter: its name, how many features it makes, and how it did on rows held out, in nats:
    log loss, how much less that is than the best way before it has, by the rows that both were scored on, and the
    standard error of that."""

    effects: str
    features: int
    log_loss: float
    gain: float
    error: float


def in_words(encoder: Encoder) -> str:
    """What the columns may do, for a person."""
    parts = ["numbers far out count in full"] if encoder.is_uncompressed else []
    parts += [f"{len(encoder.curves)} number{'s' * (len(encoder.curves) > 1)} may bend"] if encoder.curves else []
    codes = sum(v.is_code for v in encoder.values)
    if codes:
        parts.append(f"{codes} number{'s are codes' if codes > 1 else ' is a code'}, told value by value")
    if encoder.pairs:
        parts.append(f"{len(encoder.pairs)} pair{'s' * (len(encoder.pairs) > 1)} of columns act together")
    return ", ".join(parts) or "each column adds its part, straight"


@dataclass(frozen=True)
class Choice:
    """What was settled on: the encoder and the problem with its features, the strength, how it did on rows held out
    (None where nothing can be held out), where a fit may start, and what was tried."""

    encoder: Encoder
    problem: Problem
    l2: float
    path: HeldOutLogits | None
    start: Start | None
    tried: tuple[Tried, ...] = ()
    race: Race | None = None  # that can be finished
    notes: tuple[str, ...] = ()
    without: FeaturesOf | None = None  # the features for a fit that leaves rows out, where labels choose them

    def finished(self) -> Choice:
        """The same, scored on all rows."""
        if self.race is None:
            return self
        path, start = finish(self.race)
        return replace(self, path=path, start=start, race=None)

    def lean(self) -> Choice:
        """The same without what it has of rows: their features, and their logits when they were held out."""
        start = self.start if self.race is None else self.race.start()
        bare = replace(self.problem, features=Features(self.problem.features.rows), keys=None, strata=None)
        return replace(self, problem=bare, path=None, start=start, race=None)

    @property
    def losses(self) -> Array:
        """Of each row when it was held out, in nats; NaN where it was not."""
        path, codes = self.path, self.problem.codes
        assert path is not None
        rows = np.arange(len(codes)) if path.rows is None else path.rows
        out = np.full(len(codes), np.nan)
        out[rows[path.scored]] = row_losses(path.held_out, codes[rows])[path.scored]
        return out


def choose_effects(
    encoder: Encoder, parsed: Mapping[str, Any], codes: NDArray[np.int32], classes: int, *, effects: str,
    l2: float | str | None, threads: int, groups: NDArray[np.int64] | None = None,
) -> Choice:  # fmt: skip
    """Linear effects, of numbers that are compressed far out and then of whole ones, then curves of the numbers, then a
    weight for each value of those that are codes, then the pairs that act together, each kept if it lowers the log loss
    of rows held out by half a standard error. A row that is held out is held out of the search for codes and pairs too.

    effects: "auto", or the one of EFFECTS that is wanted; BY_ROWS are kept by that rule alone. With more than
    10,000 rows all this is settled on a sample of them (see `on_all_rows`). groups: (n,) rows of equal ones are held
    out together.
    Raises InputError for an unknown name.
    """
    features = encoder.transform(parsed, threads)
    problem = problem_of(features, codes, classes, threads, groups, parsed)
    rows = sampled(codes, len(codes))
    if len(rows) == len(codes):
        return settle(encoder, parsed, problem, effects, l2, len(codes)).finished()
    cells = {name: column[rows] for name, column in parsed.items()}
    settled = settle(encoder, cells, sample_of(problem, rows), effects, l2, len(codes))
    if settled.encoder is not encoder:
        problem = replace(problem, features=settled.encoder.transform(parsed, threads))
    return on_all_rows(settled, problem, l2)


def problem_of(
    features: Features, codes: NDArray[np.int32], classes: int, threads: int, groups: NDArray[np.int64] | None,
    parsed: Mapping[str, Any] | None,
) -> Problem:  # fmt: skip
    """Features that an encoder has made, with what their rows are dealt to folds by (`dealt_by`)."""
    strata, keys = dealt_by(codes, groups, features.hashes(0, threads), parsed)
    return Problem(features, codes, classes, None, threads=threads, keys=keys, strata=strata, known_scale=True)


def sampled(codes: NDArray[np.int32], rows: int, most: int = MOST_SAMPLED) -> NDArray[np.int64]:
    """Of rows with these codes those, at most so many, on which it is settled how the columns of so many rows enter."""
    wanted = min(max(SAMPLE, int(SAMPLE_SHARE * rows)), MOST_SAMPLED, most)
    return np.arange(len(codes)) if len(codes) <= wanted else holdout(codes, wanted / len(codes), 0)[1]


def settle(
    encoder: Encoder, cells: Mapping[str, Any], problem: Problem, effects: str, l2: float | str | None, rows: int
) -> Choice:
    """As `choose_effects`, for a model of so many rows as cells and problem have, or of more; its race may go on."""
    if effects not in ("auto", *EFFECTS):
        raise InputError(f"effects is {effects!r}: give one of auto, {', '.join(EFFECTS)}")
    l2 = 1.0 / rows if l2 is None else l2
    best = first = _plain(encoder, problem, l2)
    tried = [Tried("linear", problem.features.columns, _mean(first), 0.0, 0.0)] if first.path is not None else []
    notes: list[str] = []
    for name in WIDER[: 1 if effects == "linear" else None] if tried and not _nothing_left(first, effects) else ():
        best = best.finished()
        named = _named(name, best, cells, rows)
        count = _affordable(named[-1], best, rows)
        if count:
            wider = named[-1].encoder_with(count)
            folds = None if len(named) == 1 else _features_by_fold(best, cells, named, count)
            found = _bent(wider, replace(problem, features=wider.transform(cells)), l2, best.l2, folds)
            if found is not None:
                tried.append(compared(name, found, best))
                if is_better(tried[-1]) or (effects != "auto" and name not in BY_ROWS):
                    best = found
        elif name == effects and named[-1].found:
            notes.append(f"effects: {name} would be too much work for so many rows and columns, and were left out")
        if name == effects:
            break
    return replace(best, tried=tuple(tried), notes=tuple(notes))


def on_all_rows(settled: Choice, problem: Problem, l2: float | str | None) -> Choice:
    """What was settled on by a sample, for all rows, which the problem has with their features.

    The strength is chosen anew, by folds, where a pass is no more than MOST_WORK. Elsewhere a penalty on the sum of the
    losses that is the best for some rows is taken for all, as what is known of a weight before any row does not change
    with their number; and one fit holds rows out.
    """
    rows, part = problem.features.rows, settled.problem
    if problem.features.at_hand and _allows_folds(settled.encoder, rows, problem.outputs):
        found = _by_folds(settled.encoder, problem, l2, settled.l2) if settled.path is not None else None
        found = _plain(settled.encoder, problem, l2) if found is None else found
        return replace(found, tried=settled.tried, notes=settled.notes)
    strength = settled.l2 * (part.features.rows / rows if isinstance(l2, str) else 1.0)
    start = settled.lean().start
    near = start if isinstance(start, np.ndarray) and part.classes == problem.classes else None
    path, start = hold_some_out(problem, strength, held_rows(problem), near) or (None, near)
    return replace(settled, problem=problem, l2=strength, path=path, start=start, race=None)


def sample_of(problem: Problem, rows: NDArray[np.int64]) -> Problem:
    """Some rows, with the classes that they have."""
    assert problem.keys is not None
    present, codes = np.unique(problem.codes[rows], return_inverse=True)
    strata = None if problem.strata is None else problem.strata[rows]
    taken, keys = problem.features.take(rows), problem.keys[rows]
    return replace(
        problem, features=taken, codes=codes.astype(np.int32), classes=len(present), keys=keys, strata=strata
    )


def _plain(encoder: Encoder, problem: Problem, l2: float | str | None) -> Choice:
    """Linear effects, with the strength that is wanted or the best one."""
    strength, path, start = chosen_l2(problem, l2, 0.0, 0)
    return Choice(encoder, problem, strength, hold_out(problem, strength) if path is None else path, start)


def _bent(
    encoder: Encoder, problem: Problem, l2: float | str | None, near: float, folds: FeaturesOf | None = None
) -> Choice | None:
    """More effects, with the strength that is wanted, or the best one near this; many rows are scored in part."""
    if not isinstance(l2, str):
        path = hold_out(problem, near, features_without=folds)
        return None if path is None else Choice(encoder, problem, near, path, None)
    race = race_from(problem, near, SOME_FOLDS if len(problem.codes) >= MANY_ROWS else FOLDS, folds)
    if race is None:
        return None
    path = path_of(race, race.best)
    return Choice(encoder, problem, path.l2, path, None, race=race)


def _by_folds(encoder: Encoder, problem: Problem, l2: float | str | None, near: float) -> Choice | None:
    """With the best strength for all rows, scored on all."""

    def scored() -> tuple[Path, Start | None] | None:
        found = _bent(encoder, problem, l2, near)
        if found is None:
            return None
        found = found.finished()
        assert isinstance(found.path, Path)
        return found.path, found.start

    found = piece("all rows", scored, Path, RowPoint)
    if found is None:
        return None
    path, start = found
    return Choice(encoder, problem, path.l2 if isinstance(l2, str) else near, path, start)


@dataclass(frozen=True)
class Effects:
    """Effects that may be added to an encoder, the strongest first: names of numbers that bend, plans of values, or
    pairs of columns; numbers that are not compressed the encoder has already."""

    encoder: Encoder
    name: str
    found: tuple[Any, ...]

    def encoder_with(self, count: int) -> Encoder:
        """The encoder with the first of them."""
        found = self.found[:count]
        if self.name == "uncompressed":
            return self.encoder
        if self.name == "values":
            return self.encoder.with_values(found)
        if self.name == "curves":
            own = set(found)
            found = tuple(name for name in self.encoder.can_bend if name in own)
        return replace(self.encoder, **{self.name: found})


def _named(name: str, best: Choice, cells: Mapping[str, Any], rows: int) -> list[Effects]:
    """What may be added to the best encoder, for a model of so many rows: for fits without each fold, by what the other
    rows say, and last by all rows; only the last, where labels have no say in it."""
    encoder = best.encoder
    if name == "uncompressed":
        whole = encoder.uncompressed(cells)
        return [Effects(whole, name, () if whole == encoder else (name,))]
    if name == "curves":
        every = Effects(encoder, "curves", encoder.can_bend)
        if not every.found or _affordable(every, best, rows) == len(every.found):
            return [every]
    codes = []
    if name == "values":
        codes = [v for p in encoder.numbers if (v := ValuesPlan.of_codes(p.name, cells[p.name])) is not None]
        if not codes:
            return [Effects(encoder, name, ())]
    some, residual, curvature, half, fold = _unexplained(best)
    part = {column: x[some] for column, x in cells.items()}
    if name == "values":
        return [Effects(encoder, name, tuple(f)) for f in strongest_codes(codes, part, residual, curvature, half, fold)]
    threads = best.problem.threads
    if name == "curves":
        can_bend = set(encoder.can_bend)
        bases = [basis for basis in encoder.bases if basis.name in can_bend]
        alone = strongest_alone(bases, part, residual, curvature, half, fold, threads)
        return [Effects(encoder, name, tuple(found)) for found in alone]
    named = strongest_pairs(encoder.bases, part, residual, curvature, half, fold, PAIRS, threads)
    return [Effects(encoder, name, tuple(found)) for found in named]


def _affordable(named: Effects, best: Choice, rows: int) -> int:
    """How many of these effects are not too much work for a model of so many rows."""
    part, outputs = best.problem.features.rows, best.problem.outputs
    plain = replace(named.encoder, curves=(), pairs=())
    straight = _stored(plain, rows)
    most = min(max(MOST_STORED, TIMES_STORED * straight), MOST_WORK_ONCE / outputs)

    def too_much(count: int, share: float) -> bool:
        wider, left = named.encoder_with(count), straight + share * (most - straight)
        once = part < rows and _stored(wider, rows) <= left and _allows_folds(wider, part, outputs)
        fits = wider.width <= plain.width + share * (MOST_FEATURES - plain.width)
        return not (fits and (once or _allows_folds(wider, rows, outputs)))

    every = len(named.found)
    if named.name != "curves" or every < len(named.encoder.can_bend):
        share = BENDS_SHARE if named.name == "curves" else 1.0
        return bisect_left(range(1, every + 1), True, key=partial(too_much, share=share))
    if not too_much(every, 1.0):
        return every
    return bisect_left(range(1, every), True, key=partial(too_much, share=BENDS_SHARE))


def _allows_folds(encoder: Encoder, rows: int, outputs: int) -> bool:
    """Whether many fits to so many rows are not too much work, each with features of its own where pairs are sought."""
    stored = _stored(encoder, rows)
    return stored * outputs <= MOST_WORK and (not encoder.pairs or stored <= MOST_NUMBERS)


def _stored(encoder: Encoder, rows: int) -> float:
    """How many numbers the features of so many rows have, those that tell value by value aside."""
    return float(rows) * (encoder.width - sum(len(v.values) for v in encoder.values))


def _unexplained(best: Choice) -> tuple[NDArray[np.int64], Array, Array, NDArray[np.bool_], NDArray[np.int64]]:
    """Rows held out, what the best so far leaves unexplained of them and its curvature, (rows, outputs) each; the half
    of a search that each is in, and its fold."""
    path, keys, codes = best.path, best.problem.keys, best.problem.codes
    assert path is not None and keys is not None
    rows = np.flatnonzero(path.scored)
    rows = rows[np.argsort(row_keys(len(rows), 1), kind="stable")[: max(MOST_RESIDUALS // best.problem.outputs, 1)]]
    z = path.held_out[rows]
    two = z.shape[1] == 1
    p = sigmoid(z) if two else softmax(z)
    residual = (codes[rows, np.newaxis] == np.arange(1 if two else 0, best.problem.classes)) - p
    half = (keys[rows] >> np.uint64(40)) & np.uint64(1) == 1
    return rows, residual, p * (1.0 - p), half, folds_of(best.problem, keys)[rows]


def _features_by_fold(best: Choice, cells: Mapping[str, Any], named: list[Effects], count: int) -> FeaturesOf:
    """The features for a fit that leaves a fold out: with the effects that the other rows name, at most `count`."""
    assert best.problem.keys is not None
    fold = folds_of(best.problem, best.problem.keys)

    def without(rows: NDArray[np.int64]) -> Features:
        return named[min(int(fold[rows[0]]), len(named) - 1)].encoder_with(count).transform(cells)

    return without


def _mean(choice: Choice) -> float:
    return float(np.nanmean(choice.losses))


def _nothing_left(first: Choice, effects: str) -> bool:
    """Whether the held-out rows lose so little that they say of no more effects whether they help."""
    return effects == "auto" and _mean(first) < max(NO_LOSS, 1.0 / len(first.problem.codes))


def beside_plain(name: str, found: Choice, plain: Choice | None) -> Choice:
    """The choice with texts or images, or the one without them if they do not lower its log loss; None: there is no
    other column."""
    if plain is None or plain.path is None or found.path is None:
        alone = (Tried(name, found.encoder.width, _mean(found), 0.0, 0.0),) if found.path is not None else ()
        return replace(found, tried=alone)
    told = compared(name, found, plain)
    return replace(found, tried=(*plain.tried, told)) if is_better(told) else plain


def compared(name: str, wider: Choice, best: Choice) -> Tried:
    gain = best.losses - wider.losses
    has = np.isfinite(gain)
    assert best.problem.keys is not None
    _, group = np.unique(best.problem.keys[has], return_inverse=True)
    mean = float(gain[has].mean())
    off = np.bincount(group, weights=gain[has] - mean)
    error = float(np.sqrt(np.sum(off**2)) / has.sum())
    return Tried(name, wider.problem.features.columns, _mean(best) - mean, mean, error)


def is_better(tried: Tried) -> bool:
    return tried.gain > max(CLEAR * tried.error, LITTLE * tried.log_loss)
