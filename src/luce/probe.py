"""Models of embeddings: the strength, and what a fit says of rows that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.choice import Choice, Tried
from luce.encoder import Encoder
from luce.grouping import dealt_by
from luce.path import Problem, row_losses
from luce.strength import choose_on_sample, held_rows, hold_out, hold_some_out

MANY_ROWS = 20_000  # with more, one fold is held out, once


def choose_embeddings(
    encoder: Encoder, parsed: Mapping[str, Any], codes: NDArray[np.int32], classes: int, *, l2: float | str | None,
    threads: int, groups: NDArray[np.int64] | None = None,
) -> Choice:  # fmt: skip
    """Columns of embeddings beside whatever else there is, all straight; the strength is chosen on a sample."""
    features = encoder.transform(parsed, threads)
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
        held = hold_some_out(problem, strength, held_rows(problem), start)
        path, start = (None, start) if held is None else held
    elif path is None:
        path = hold_out(problem, strength)
    if path is None:
        return Choice(encoder, problem, strength, None, start)
    rows = slice(None) if path.rows is None else path.rows
    loss = float(row_losses(path.held_out, codes[rows])[path.scored].mean())
    return Choice(encoder, problem, strength, path, start, (Tried("linear", features.columns, loss, 0.0, 0.0),))
