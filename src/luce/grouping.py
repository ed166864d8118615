"""Rows that belong together, and when they were made: columns that make a random split a lie."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from luce import cells
from luce.errors import InputError
from luce.features import Array
from luce.schema import Parsed, infer_schema, parse
from luce.splits import (
    Split,
    dealt_as_copies,
    holdout,
    holdout_by_time,
    holdout_of_groups,
    strata_of_groups,
)
from luce.table import Table


def groups_of(table: Table, name: str) -> NDArray[np.int64]:
    """The number of each row's group by a column of text or numbers, (n,); a row without one is a group of its own.

    Raises InputError for a column that is not there, or of another kind.
    """
    series = table.column(name)
    if cells.family(series.dtype) in ("other", "image", "embedding"):
        raise InputError(
            f"{table.source}: column {cells.shown(name)} holds {series.dtype}, and groups are text or numbers"
        )
    ranks = cells.clean(cells.as_text(series)).rank("dense").fill_null(0).to_numpy().astype(np.int64)
    alone = ranks == 0
    ranks[alone] = int(ranks.max()) + 1 + np.arange(int(alone.sum()))
    return ranks


def times_of(table: Table, name: str) -> Array:
    """The times of the rows by a column of dates, or of numbers of any unit, (n,) float64, NaN for missing.

    Raises InputError for a column that is not there, or holds neither.
    """
    part = Table(table.column(name).to_frame(), table.source)
    for kind in (None, "number", "date"):
        try:
            schema = infer_schema(part, None if kind is None else {name: kind})
            if schema.columns[0].kind in ("number", "date"):
                return as_numbers(parse(part, schema)[schema.columns[0].name])
        except InputError:
            continue
    place = f"{table.source}: column {cells.shown(name)}"
    raise InputError(f"{place} holds neither dates nor numbers, so it puts the rows in no order; name another column")


def as_numbers(column: Parsed) -> Array:
    """A number column, or dates as microseconds, float64 with NaN for missing."""
    if isinstance(column, np.ndarray):
        return column.astype(np.float64, copy=False)
    return np.asarray(column.dt.epoch("us").cast(float).to_numpy())


def dealt_by(
    codes: NDArray[np.integer], groups: NDArray[np.int64] | None, keys: NDArray[np.uint64],
    parsed: Mapping[str, Parsed] | None, texts: Collection[str] = (),
) -> tuple[NDArray[np.int64] | None, NDArray[np.uint64]]:  # fmt: skip
    """What rows are dealt to folds by (`Problem`): their groups, or the keys of copies. keys: hashes of the rows.
    parsed: the columns that tell the rows apart, None where they are not at hand; texts: which of them are texts."""
    if groups is not None:
        return strata_of_groups(codes, groups, 0)
    return dealt_as_copies(codes, keys, None if parsed is None else _different(parsed, texts))


def _different(parsed: Mapping[str, Parsed], texts: Collection[str]) -> Iterator[int]:
    """How many different cells each column has; more than rows, if they are texts, images or embeddings."""
    for name, column in parsed.items():
        if name in texts or (isinstance(column, np.ndarray) and column.ndim > 1):
            yield len(column) + 1
        else:
            yield len(np.unique(column)) if isinstance(column, np.ndarray) else column.n_unique()


def split_of(
    codes: NDArray[np.integer], share: float, seed: int, groups: NDArray[np.int64] | None, times: Array | None
) -> Split:
    """Training and held-out rows: whole groups, the latest rows, or, without either, rows of each class at random."""
    if groups is not None:
        return holdout_of_groups(codes, groups, share, seed)
    return holdout(codes, share, seed) if times is None else holdout_by_time(times, share)
