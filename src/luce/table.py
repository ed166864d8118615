"""Table: rows from any source under unique column names."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from luce import cells
from luce.cells import nfc, shown
from luce.embeddings import Embeddings
from luce.errors import InputError
from luce.images import Images
from luce.labelled_lines import TEXT

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray


IMAGE, LABEL = "image", "label"  # the columns of a table of images
EMBEDDING = "embedding"  # the column of one of embeddings


# ---------------------------------------------------------------------------------------------------------------------
# rows from any source


@dataclass(frozen=True, eq=False)
class Table:
    """Rows under unique column names (NFC), and where they came from; nothing changes the caller's object.

    `mixed` says, for a column of Python cells of several types, where the types first differ. `files`: the name of each
    row's image, where it is a file. `vectors`: the arrays of columns of embeddings, which lie beside the frame: their
    cells are numbers of rows, so that some rows of a table copy none of them. `levels` remembers what was read of the
    text columns, so that it is read once. `first`: how many rows of the source come before these. `kinds`: what the
    form of the source says that columns are, as fastText's lines do.
    """

    frame: pl.DataFrame
    source: str = "the data"
    notes: tuple[str, ...] = ()
    mixed: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = field(default=(), repr=False)
    vectors: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    levels: dict[str, cells.Cleaned] = field(default_factory=dict, repr=False)
    first: int = 0
    kinds: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return self.frame.height

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.frame.columns)

    @staticmethod
    def of(data: object, source: str = "the data") -> Table:
        """A table from a file's rows, a polars, pandas or Arrow frame, a dict of columns, records, or a 2-D array.

        The columns of an array or of a list of lists are named x0, x1, ... Raises InputError for anything else, for
        no rows or no columns, and for column names that are doubled or not text.
        """
        import polars as pl

        if isinstance(data, Table):
            return data
        if isinstance(data, Images):
            return _of_images(data, source)
        if isinstance(data, Embeddings):
            return _of_embeddings(data, source)
        inner = getattr(data, "frame", None)
        if isinstance(inner, pl.DataFrame):
            table = _table(inner, getattr(data, "source", source), tuple(getattr(data, "notes", ())))
            return table if getattr(data, "label", None) is None else replace(table, kinds={TEXT: "text"})
        if isinstance(data, pl.LazyFrame):
            data = data.collect()
        if isinstance(data, pl.DataFrame):
            return _table(data, source)
        return _convert(data, source)

    def without(self, name: str) -> Table:
        """The table without one column; a name that is not there raises InputError."""
        self.column(name)
        return replace(self, frame=self.frame.drop(nfc(name)), levels={})

    def column(self, name: str) -> pl.Series:
        """One column by its name; a name that is not there raises InputError with the nearest name."""
        if nfc(name) not in self.frame.columns:
            known = ", ".join(map(shown, self.names[:10])) + (", ..." if len(self.names) > 10 else "")
            hint = did_you_mean(name, self.names)
            raise InputError(f"{self.source}: there is no column {shown(name)}{hint}; the columns are {known}")
        return self.frame.get_column(nfc(name))

    def take(self, rows: NDArray[np.int64]) -> Table:
        """Some rows, in the order given."""
        return replace(self, frame=self.frame[rows], files=(), levels={}, first=0)


def _of_images(images: Images, source: str) -> Table:
    """A column of images, and one of their labels where they have some."""
    import polars as pl

    columns = [pl.Series(IMAGE, images.pixels)]
    if images.labels is not None:
        columns.append(pl.Series(LABEL, images.labels.tolist()))
    table = _table(pl.DataFrame(columns), source, images.notes)
    numbered = str(images.names[0]).endswith(f"[{images.rows[0]}]")  # of one array: the row says it
    return table if numbered else replace(table, files=tuple(map(str, images.names)))


def of_cells(columns: Mapping[str, Any], source: str = "the data") -> Table:
    """Columns of cells as `Table.of` takes them, and embeddings, each an array (rows, width) that lies beside."""
    vectors = {nfc(name): own for name, own in columns.items() if isinstance(own, np.ndarray) and own.ndim == 2}
    frame = {name: _numbers(name, len(vectors[name])) if name in vectors else own for name, own in columns.items()}
    return replace(Table.of(frame, source), vectors=vectors)


def _numbers(name: str, rows: int) -> pl.Series:
    """The numbers of rows, which stand for rows of embeddings."""
    import polars as pl

    return pl.Series(name, np.arange(rows, dtype=np.uint32)[:, np.newaxis], dtype=pl.Array(pl.UInt32, 1))


def _of_embeddings(embeddings: Embeddings, source: str) -> Table:
    """A column of row numbers, with the rows beside the frame, and one of the labels where there are some."""
    import polars as pl

    columns = [_numbers(EMBEDDING, len(embeddings.vectors))]
    if embeddings.labels is not None:
        columns.append(pl.Series(LABEL, embeddings.labels.tolist()))
    table = _table(pl.DataFrame(columns), source, embeddings.notes)
    return replace(table, vectors={EMBEDDING: embeddings.vectors})


def did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known)[:1000], n=1)
    return f" (did you mean {shown(near[0])}?)" if near else ""


def _table(
    frame: pl.DataFrame, source: str, notes: tuple[str, ...] = (), mixed: Mapping[str, str] | None = None
) -> Table:
    """A checked table: at least one row and column, names in NFC, Python cells read."""
    import polars as pl

    names = _names(frame.columns, source)
    if not names:
        raise InputError(f"{source} has no columns")
    if not frame.height:
        raise InputError(f"{source} has no rows")
    if names != frame.columns:
        frame = frame.rename(dict(zip(frame.columns, names, strict=True)))
    mixtures = dict(mixed or {})
    for name, dtype in frame.schema.items():
        if isinstance(dtype, pl.Object):
            series, mixtures[name] = cells.from_values(name, frame.get_column(name).to_list(), source)
            frame = frame.with_columns(series)
    return Table(frame, source, notes, {name: text for name, text in mixtures.items() if text})


def _names(columns: Iterable[Any], source: str) -> list[str]:
    """Column names as unique NFC text; whole numbers are written out, other objects are refused."""
    names: dict[str, int] = {}
    for place, column in enumerate(columns, 1):
        if not isinstance(column, (str, int, np.integer)) or isinstance(column, bool):
            kind = type(column).__name__
            raise InputError(f"{source}: the name of column {place} is a {kind}, {shown(column)}; rename it to text")
        name = nfc(str(column))
        if not name:
            raise InputError(f"{source}: column {place} has no name; give it one")
        if name in names:
            raise InputError(f"{source}: columns {names[name]} and {place} are both named {shown(name)}; rename one")
        names[name] = place
    return list(names)


def _convert(data: Any, source: str) -> Table:
    import polars as pl

    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        columns = (column for _, column in data.items())
        return _from_columns(_names(data.columns, source), columns, source)
    if isinstance(data, Mapping):
        return _from_columns(_names(data, source), data.values(), source)
    if isinstance(data, np.ndarray):
        return _from_array(data, source)
    if type(data).__name__ == "Series":
        raise InputError(f"{source}: a Series is one column, or one row of a frame: give a frame, such as df.iloc[[0]]")
    if hasattr(data, "__arrow_c_stream__"):
        _names(getattr(data, "column_names", ()), source)
        return _table(pl.DataFrame(data), source)
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _from_rows(data, source)
    kind = type(data).__name__
    raise InputError(f"{source}: a {kind} is no table; give a data frame, a dict of columns, records, or a 2-D array")


def _from_columns(names: list[str], columns: Iterable[Any], source: str) -> Table:
    import polars as pl

    read = [cells.series_of(name, column, source) for name, column in zip(names, columns, strict=True)]
    for series, _ in read:
        if len(series) != len(read[0][0]):
            first, here = f"{shown(names[0])} has {len(read[0][0]):,}", f"{shown(series.name)} has {len(series):,}"
            raise InputError(f"{source}: columns differ in length: {first} rows, {here}")
    mixed = {series.name: mixture for series, mixture in read if mixture}
    return _table(pl.DataFrame([series for series, _ in read]), source, mixed=mixed)


def _from_array(data: NDArray[Any], source: str) -> Table:
    import polars as pl

    if data.ndim in (3, 4):
        return _from_columns([IMAGE], [data], source)
    if data.ndim != 2:
        hint = "; use a.reshape(-1, 1) for one column" if data.ndim == 1 else ""
        raise InputError(f"{source}: an array needs two dimensions, rows and columns, and has {data.ndim}{hint}")
    names = [f"x{place}" for place in range(data.shape[1])]
    if data.dtype.kind not in "iuf" or isinstance(data, np.ma.MaskedArray):
        return _from_columns(names, data.T, source)
    columns = np.empty(data.shape[::-1], dtype=data.dtype)
    for start in range(0, len(data), 1024):  # block by block, so that each block is transposed within the cache
        columns[:, start : start + 1024] = data[start : start + 1024].T
    series = [cells.numpy_series(name, column, source)[0] for name, column in zip(names, columns, strict=True)]
    return _table(pl.DataFrame(series), source)


def _from_rows(data: Sequence[Any], source: str) -> Table:
    """Records become columns in the order of first appearance; a key that a record lacks is a missing cell."""
    width = len(data[0]) if data and isinstance(data[0], (list, tuple, np.ndarray)) else None
    names: dict[Any, None] = {}
    for row, record in enumerate(data, 1):
        if width is None and isinstance(record, Mapping):
            names.update(dict.fromkeys(record))
        elif width is None or not isinstance(record, (list, tuple, np.ndarray)):
            raise InputError(f"{source}, row {row}: a {type(record).__name__} where a record (a dict) is expected")
        elif len(record) != width:
            raise InputError(f"{source}, row {row}: {len(record)} cells where row 1 has {width}")
    if width is not None:
        return _from_columns([f"x{place}" for place in range(width)], map(list, zip(*data, strict=True)), source)
    return _from_columns(_names(names, source), ([record.get(key) for record in data] for key in names), source)
