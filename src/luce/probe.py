"""Straight models of many numbers: the strength, and what a fit says of rows that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.choice import Choice, Tried
from luce.encoder import Encoder
from luce.features import Features
from luce.grouping import dealt_by
from luce.path import Problem, folds_of, row_losses
from luce.strength import choose_on_sample, hold_out, hold_some_out

MANY_ROWS = 20_000  # with more, one fold is held out, once
VERY_MANY = 1 << 20  # rows, of which HELD_OF_VERY_MANY are held out
HELD_OF_VERY_MANY = 100_000
HELD = 5_000  # rows, or HELD_EACH for each class, are held out where the logits of all would be too many
HELD_EACH = 20


def choose_embeddings(
    encoder: Encoder, parsed: Mapping[str, Any], codes: NDArray[np.int32], classes: int, *, l2: float | str | None,
    threads: int, groups: NDArray[np.int64] | None = None,
) -> Choice:  # fmt: skip
    """Columns of embeddings beside whatever else there is, all straight."""
    return choose_straight(encoder, encoder.transform(parsed, threads), codes, classes, l2, threads, groups)


def choose_straight(
    encoder: Encoder, features: Features, codes: NDArray[np.int32], classes: int, l2: float | str | None, threads: int,
    groups: NDArray[np.int64] | None = None,
) -> Choice:  # fmt: skip
    """All columns straight, and the strength, which is chosen on a sample of the rows."""
    strata, keys = dealt_by(codes, groups, features.hashes(0, threads), None)
    problem = Problem(features, codes, classes, None, threads=threads, keys=keys, strata=strata)
    strength, path, start = 1.0 / len(codes), None, None
    if isinstance(l2, float | int):
        strength = float(l2)
    elif l2 is not None and (found := choose_on_sample(problem, l2)) is not None:
        path, start = found
        strength = path.l2
        path = replace(path, rows=None) if len(path.scored) == len(codes) else None  # the sample is all rows
    if len(codes) > MANY_ROWS or problem.is_large:
        held = hold_some_out(problem, strength, _held(problem, keys), start)
        path, start = (None, start) if held is None else held
    elif path is None:
        path = hold_out(problem, strength)
    if path is None:
        return Choice(encoder, problem, strength, None, start)
    rows = slice(None) if path.rows is None else path.rows
    loss = float(row_losses(path.held_out, codes[rows])[path.scored].mean())
    return Choice(encoder, problem, strength, path, start, (Tried("linear", features.columns, loss, 0.0, 0.0),))


def _held(problem: Problem, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The rows of one fold, or, where these have too many logits, those of them with the least keys, so that equal rows
    stay together and each class keeps its share: a calibration on them is one for all. Of very many rows those with the
    least keys."""
    if len(keys) > VERY_MANY:
        return np.flatnonzero(keys < np.uint64(HELD_OF_VERY_MANY / len(keys) * 2.0**64))
    rows = np.flatnonzero(folds_of(problem, keys) == 0)
    wanted = max(HELD, HELD_EACH * problem.classes)
    if not problem.is_large or len(rows) <= wanted:
        return rows
    least = np.partition(keys[rows], wanted - 1)[wanted - 1]
    return np.asarray(rows[keys[rows] <= least])
