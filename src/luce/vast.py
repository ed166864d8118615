"""Vast tables: those of so many cells that they are read block by block, from memory or from a store, to one and the
same model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luce.distributed import parted
from luce.encoder import Encoder
from luce.engine import Engine
from luce.features import Features, joined
from luce.schema import Parsed, Schema, parse
from luce.splits import row_keys
from luce.store import Store, StoredFrame
from luce.table import Table

if TYPE_CHECKING:
    import polars as pl

MOST_CELLS = 1 << 25  # of a table that is read at once
BLOCK = 1 << 16  # rows that are read together, or
BLOCK_CELLS = 1 << 22  # of fewer rows, where they are wide
TAKEN = 1 << 13  # rows that are copied together
SAMPLE = 1 << 18  # rows that say where the knots of numbers lie, or
SAMPLE_CELLS = 1 << 24  # of fewer rows, where they are wide
KINDS = {"number", "boolean", "category", "date"}  # of columns whose features do not depend on labels


def is_vast(table: Table, schema: Schema) -> bool:
    """Whether a table is read block by block: it has many cells, and no texts, images or embeddings."""
    kept = [column for column in schema.columns if column.kind != "left out"]
    return table.rows * len(kept) > MOST_CELLS and {column.kind for column in kept} <= KINDS


def trimmed(table: Table) -> AbstractContextManager[None]:
    """While a stored table is worked on, what was read of its store need not stay in memory."""
    return table.frame.store.trimmed() if isinstance(table.frame, StoredFrame) else nullcontext()


class ParsedLater(Mapping[str, Parsed]):
    """The cells of a table, as `parse` gives them, a column at a time: each is read anew when it is asked for."""

    def __init__(self, table: Table, schema: Schema) -> None:
        self.table = table
        self.columns = {column.name: column for column in schema.columns if column.kind != "left out"}

    def __getitem__(self, name: str) -> Parsed:
        import polars as pl

        column = self.columns[name]
        one = replace(self.table, frame=pl.DataFrame([self.table.column(name)]), levels={})
        return parse(one, Schema((column,)))[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)


def rows_of_some(table: Table) -> NDArray[np.int64]:
    """All rows, or about SAMPLE of them, in their order, where there are more than twice as many; or fewer of them,
    where these have more than SAMPLE_CELLS."""
    wanted = min(SAMPLE, max(SAMPLE_CELLS // max(len(table.names), 1), 1))
    if table.rows <= 2 * wanted:
        return np.arange(table.rows)
    return np.flatnonzero(row_keys(table.rows, 0) < np.uint64(wanted / table.rows * 2.0**64))


def some_of(table: Table) -> Table:
    """The table, or its `rows_of_some`."""
    chosen = rows_of_some(table)
    return table if len(chosen) == table.rows else with_rows(table, chosen)


def with_rows(table: Table, rows: NDArray[np.int64]) -> Table:
    """Some rows, in memory."""
    return replace(table, frame=table.frame[rows], levels={})


def encoder_of(table: Table, schema: Schema) -> Encoder:
    """The plan of a vast table: means, scales and levels by all rows, knots and few values by some."""
    return Encoder.fit(schema, ParsedLater(table, schema), ParsedLater(some_of(table), schema))


def blocks_of(table: Table) -> Iterator[Table]:
    """The rows of a table in their order, at most BLOCK at a time, and about BLOCK_CELLS."""
    rows = min(BLOCK, max(BLOCK_CELLS // max(len(table.names), 1), 1))
    frame: pl.DataFrame | StoredFrame = table.frame
    for part in frame.parts() if isinstance(frame, StoredFrame) else [frame]:
        for first in range(0, part.height, rows):
            yield replace(table, frame=part.slice(first, rows), levels={})


@dataclass(frozen=True)
class VastFeatures(Features):
    """Features of a vast table: no fit keeps the logits of all rows, wherever the passes over them are made."""

    at_hand: ClassVar[bool] = False

    def take(self, rows: NDArray[np.int64]) -> Features:
        """Some rows, copied; TAKEN at a time, so that what is read of a store can be let go of meanwhile."""
        parts = [super(VastFeatures, self).take(rows[i : i + TAKEN]) for i in range(0, max(len(rows), 1), TAKEN)]
        return joined(parts)


def features_of(encoder: Encoder, table: Table, schema: Schema, threads: int, store: Store | None = None) -> Features:
    """What `encoder.transform` gives of all rows, made block by block, in memory or in a store."""
    dense: NDArray[Any] | None = None
    indices: NDArray[Any] | None = None
    first, found = 0, Features(0)
    for block in blocks_of(table):
        found = encoder.transform(parse(block, schema), threads)
        end = first + block.rows
        if found.dense is not None:
            if dense is None:
                dense = _array(store, "dense", (table.rows, found.dense_columns), found.dense.dtype)
            _write(store, "dense", dense, first, found.dense)
        if found.indices is not None:
            each = len(found.indices) // block.rows
            if indices is None:
                indices = _array(store, "indices", (table.rows * each,), np.int32)
            _write(store, "indices", indices, first * each, found.indices)
        first = end
    if indices is None:
        return VastFeatures(table.rows, dense)
    each = len(indices) // table.rows
    starts = _array(store, "starts", (table.rows + 1,), np.int64)
    _write(store, "starts", starts, 0, np.arange(0, len(indices) + 1, each))
    values = None
    if found.values is not None:  # the same in every row
        values = _array(store, "values", (len(indices),), found.values.dtype)
        for first in range(0, table.rows, BLOCK):
            _write(store, "values", values, first * each, np.tile(found.values[:each], min(BLOCK, table.rows - first)))
    return VastFeatures(table.rows, dense, starts, indices, values, found.sparse_columns)


def _array(store: Store | None, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    return np.empty(shape, dtype) if store is None else store.array(name, shape, dtype)


def _write(store: Store | None, name: str, array: NDArray[Any], first: int, rows: NDArray[Any]) -> None:
    if store is None:
        array[first : first + len(rows)] = rows
    else:
        store.write(name, first, rows)


@contextmanager
def features_for(
    engine: Engine | None, encoder: Encoder, table: Table, schema: Schema, codes: NDArray[np.int32], classes: int,
    threads: int,
) -> Iterator[Features]:  # fmt: skip
    """The features of a vast table, and meanwhile an engine's workers, which make the passes over them."""
    store = table.frame.store if isinstance(table.frame, StoredFrame) else None
    if engine is None:
        made = features_of(encoder, table, schema, threads, store)
        if store is not None:
            store.check()
        yield made
        return
    own = Store() if store is None else store
    try:
        columns = features_of(encoder, table, schema, threads, own).sparse_columns
        own.array("codes", codes.shape, np.int32)
        own.write("codes", 0, codes)
        own.check()
        with parted(own.folder, engine, classes, columns) as (features, _):
            yield features
    finally:
        if store is None:
            own.close()
