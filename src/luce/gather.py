"""Gather: the rows of many files as one table, in memory or, beyond what that may take, in a store."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from luce.blocks import begins_with_labels, files_of, frames
from luce.cells import says_date, shown
from luce.columnar import is_encoded
from luce.errors import InputError, inert
from luce.image_files import IMAGE_NAMES
from luce.labelled_lines import TEXT
from luce.reader import kind_of
from luce.store import Store, StoredFrame
from luce.table import Table

if TYPE_CHECKING:
    import polars as pl

SHARE = 4  # of the memory that is allowed, rows take at most one part of so many, before they are stored
PART = 1 << 18  # rows, or
PART_BYTES = 64 << 20  # bytes, that are stored together; or an eighth of the memory that is allowed
ALLOCATOR = "_RJEM_MALLOC_CONF"  # of polars
LATER = "dirty_decay_ms:500,muzzy_decay_ms:1000"  # what it sets it to, also for the processes that it starts
MANY_NUMBERS = 1_000  # different ones in the first rows: such a column of texts holds measurements, not names
NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def gather(
    source: str, *, encoding: str | None = None, memory: float | None = None,
    parent: str | os.PathLike[str] | None = None, keep: str | None = None,
) -> Table:  # fmt: skip
    """The rows of a file, of all files that a pattern such as 'data/*.parquet' names, or of a folder of table files, in
    the order of their names.

    memory: bytes that the process may take; where rows would take more than a quarter of it they go to a folder on the
    disk (in `parent`), which is removed with the table. keep: a column of texts whose cells stay as they are even if
    all are numbers: the label. Raises InputError where files do not have the same columns, or cannot be read.
    """
    if memory is not None:
        be_lean()
    import polars as pl

    files = files_of(source)
    most = PART_BYTES if memory is None else min(PART_BYTES, memory / 8)
    columns, kept, size = _Columns(keep), [], 0
    store: Store | None = None
    parts: list[tuple[Path, int]] = []
    said: dict[str, list[str]] = {}  # each note, and the files that it is on
    for path in files:
        own: list[str] = []
        for frame in frames(path, encoding=encoding, notes=own):
            kept.append(columns.take(frame, path))
            size += int(kept[-1].estimated_size())
            if store is None and memory is not None and size > memory / SHARE:
                columns.refuse_images(source)
                store = Store(parent)
            if store is not None and (size >= most or sum(each.height for each in kept) >= PART):
                parts.append(_stored(store, kept, columns))
                kept, size = [], 0
        for note in own:
            said.setdefault(note, []).append(inert(path, 4096))
    notes = [note if len(paths) == len(files) else _of_some(note, paths) for note, paths in said.items()]
    where = source if len(files) > 1 else files[0]
    kinds = {TEXT: "text"} if begins_with_labels(files[0], encoding) else {}
    if store is None:
        whole = Table.of(pl.concat([_cast(frame, columns.types) for frame in kept]), where)
        return replace(whole, notes=(*whole.notes, *notes), kinds=kinds)
    if kept:
        parts.append(_stored(store, kept, columns))
    paths, heights = zip(*parts, strict=True)
    stored = StoredFrame(store, paths, heights, columns.stored_types())
    return Table(stored, where, tuple(notes), kinds=kinds)  # type: ignore[arg-type]


def _of_some(note: str, paths: list[str]) -> str:
    others = len(paths) - 1
    return f"{paths[0]}: {note}" + (f"; so in {others:,} other file{'s' * (others > 1)}" if others else "")


def be_lean() -> None:
    """Has polars, if it is not loaded yet, give back what it no longer needs at once, and not some time later: by its
    allocator's variable, unless that is set to something else than what polars sets it to."""
    if "polars" not in sys.modules and os.environ.get(ALLOCATOR, LATER) == LATER:
        os.environ[ALLOCATOR] = "dirty_decay_ms:0,muzzy_decay_ms:0"


def is_many(source: str) -> bool:
    """Whether this is a pattern, or a folder of table files and of none with images."""
    if os.path.isdir(source):
        inside = [os.path.join(source, name) for name in os.listdir(source)]
        tables = any(kind_of(name)[0] not in ("other", "txt") for name in inside)
        return tables and not any(os.path.isdir(name) and _holds_images(name) for name in inside)
    return has_magic(source) and not os.path.exists(source)


def _holds_images(folder: str) -> bool:
    try:
        return any(name.lower().endswith(IMAGE_NAMES) for name in os.listdir(folder))
    except OSError:  # which is said by who reads it
        return False


def _stored(store: Store, kept: list[pl.DataFrame], columns: _Columns) -> tuple[Path, int]:
    import polars as pl

    frame = pl.concat([_cast(each, columns.types) for each in kept])
    return store.part(frame), frame.height


def _cast(frame: pl.DataFrame, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    changed = {name: dtype for name, dtype in types.items() if frame.schema[name] != dtype}
    return frame.cast(changed) if changed else frame  # type: ignore[arg-type]


class _Columns:
    """The columns of the first file, and the type of each that holds the cells of all files so far."""

    def __init__(self, keep: str | None) -> None:
        self.keep, self.first = keep, ""
        self.types: dict[str, pl.DataType] = {}
        self.empty: set[str] = set()  # all cells so far are missing
        self.texts_of_numbers: set[str] = set()

    def take(self, frame: pl.DataFrame, path: str) -> pl.DataFrame:
        """The frame with its columns in the order of the first; raises InputError if they are others."""
        import polars as pl

        frame = Table.of(frame, path).frame
        if not self.types:
            self.first, self.types, self.empty = path, dict(frame.schema), set(frame.columns)
            texts = [s for s in frame.get_columns() if s.dtype == pl.String and s.name != self.keep]
            self.texts_of_numbers = {s.name for s in texts if s.n_unique() > MANY_NUMBERS and not says_date(s.name)}
        missing = [name for name in self.types if name not in frame.schema]
        new = [name for name in frame.columns if name not in self.types]
        if missing or new:
            told = [f"{what}: {', '.join(map(shown, names[:10]))}" for what, names in
                    (("missing", missing), ("not known", new)) if names]  # fmt: skip
            raise InputError(
                f"{inert(path, 4096)}: its columns are not those of {inert(self.first, 4096)}; {'; '.join(told)}"
            )
        for name, known in self.types.items():
            series = frame.get_column(name)
            if series.null_count() == len(series):
                continue
            joined = series.dtype if name in self.empty else _joined(known, series.dtype)
            if joined is None:
                what = f"column {shown(name)} is {series.dtype} here and {known} in {inert(self.first, 4096)}"
                raise InputError(f"{inert(path, 4096)}: {what}: write it alike in all files")
            self.types[name] = joined
            self.empty.discard(name)
        for name in list(self.texts_of_numbers):
            cells = frame.get_column(name)
            if cells.dtype != pl.String or not cells.str.contains(NUMBER).all(ignore_nulls=True):
                self.texts_of_numbers.discard(name)
        return frame.select(list(self.types))

    def refuse_images(self, source: str) -> None:
        for name, dtype in self.types.items():
            if is_encoded(dtype):
                what = f"the images in column {shown(name)} take more than a quarter of the memory that is allowed"
                raise InputError(f"{inert(source, 4096)}: {what}; allow more, or give fewer rows")

    def stored_types(self) -> dict[str, pl.DataType]:
        """With numbers for texts that are all plain numbers: a column of so many different ones would be read as such,
        and its texts take more room."""
        import polars as pl

        return {name: pl.Float64() if name in self.texts_of_numbers else dtype for name, dtype in self.types.items()}


def _joined(first: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """A type that holds the values of both; None if there is none that means the same."""
    import polars as pl

    if first == other:
        return first
    if first.is_numeric() and other.is_numeric() and pl.UInt64() not in (first, other):
        return pl.Int64() if first.is_integer() and other.is_integer() else pl.Float64()
    dates = all(isinstance(each, pl.Date | pl.Datetime) for each in (first, other))
    return pl.Datetime("us") if dates else None
