"""Parquet and Arrow: the claims of a file are checked before memory is taken, its types brought to a few."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from luce.errors import InputError, LimitError, inert
from luce.text_source import MAX_INPUT_BYTES, mib

if TYPE_CHECKING:
    import polars as pl

# Rows times columns that a Parquet file may claim, at all and for each of its bytes. A column of one repeated value
# takes a hundred bytes for some 100,000 rows, so only an invented count passes the second bound.
MAX_CELLS = 1 << 31
MAX_CELLS_PER_BYTE = 10_000
MAX_DEPTH = 64  # of the groups of columns in groups, which native code follows one call in another

# 0x15 opens the first structure of every Parquet file; a text may well begin with the word PAR1.
PARQUET_START = b"PAR1\x15"
ARROW_STARTS = (b"ARROW1\0\0", b"\xff\xff\xff\xff")  # a file, a stream

IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
MAX_DICTIONARY_RATIO = 1_000  # of the bytes of a dictionary, unpacked and packed; its values differ, so it is far below

_BAD = (LookupError, TypeError, ValueError, AttributeError, RecursionError)  # what a broken footer makes of its parser
_STDERR_LOCK = threading.Lock()


def read_columnar(where: str, data: bytes, kind: str, notes: list[str]) -> pl.DataFrame:
    """The table in the bytes of a "parquet" or "arrow" file; raises InputError for a broken one, LimitError.

    Columns of types that nothing can be made of, such as lists, are not read; notes: gets a line on each.
    """
    with _one_line(where, kind):
        frame = _parquet(where, data, notes) if kind == "parquet" else _arrow(where, data, notes)
    _refuse_empty(where, frame.width, frame.height)
    return _plain_types(where, frame)


def parquet_frames(
    where: str, path: str, file: IO[bytes], size: int, notes: list[str]
) -> Iterator[tuple[pl.DataFrame, float]]:
    """The rows of a Parquet file in frames of about `size` bytes, none of which asks for more of the file than its own,
    each with the share of the rows up to its end.

    file: the same, open, to check what it claims. notes: as in `read_columnar`. Raises InputError for a broken file,
    LimitError.
    """
    import polars as pl

    length = file.seek(0, os.SEEK_END)
    file.seek(max(length - 8, 0))
    _refuse_cut(where, tail := file.read())
    file.seek(max(length - 8 - int.from_bytes(tail[:4], "little"), 0))
    footer = _footer(where, file.read(), length)
    with _one_line(where, "parquet"):
        scan = pl.scan_parquet(os.path.abspath(path), glob=False, hive_partitioning=False)
        names = _readable(where, scan.collect_schema(), notes)
        rows, groups = _sound_claims(where, footer, length, names, whole=False)
        _check_dictionaries(where, footer, lambda at, size: file.read(size) if file.seek(at) == at else b"")
    _refuse_empty(where, len(names), rows)
    for start, count in _spans(groups, len(names), size):
        with _one_line(where, "parquet"):
            frame = scan.select(names).slice(start, count).collect()
        yield _plain_types(where, frame), (start + count) / rows


def _spans(groups: Sequence[tuple[int, int]], columns: int, size: int) -> Iterator[tuple[int, int]]:
    """The rows of row groups, (rows, bytes) each, as (start, count) of about `size` bytes: small groups go together, a
    large one is cut. A cell counts 8 bytes or its share of the group, whichever is more."""
    start = count = 0
    for rows, unpacked in groups:
        most = max(size // max(8 * columns, -(-unpacked // max(rows, 1))), 1)
        if count and count + rows > most:
            yield start, count
            start, count = start + count, 0
        count += rows
        while count > 2 * most:
            yield start, most
            start, count = start + most, count - most
    if count:
        yield start, count


@contextmanager
def _one_line(where: str, kind: str) -> Iterator[None]:
    """What goes wrong in native code as one line."""
    import polars as pl

    try:
        with _held_stderr():
            yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeError) as error:
        panic = isinstance(error, pl.exceptions.PanicException)
        reason = "" if panic else f" ({inert(str(error).partition(chr(10))[0], 100)})"
        raise InputError(f"{where}: is a broken {kind.capitalize()} file{reason}; write it again") from None


def _refuse_empty(where: str, columns: int, rows: int) -> None:
    if not columns or not rows:
        raise InputError(f"{where}: has no {'rows' if columns else 'columns'}")


def _refuse_cut(where: str, data: bytes) -> None:
    if not data.endswith(b"PAR1"):
        raise InputError(f"{where}: is cut short: a Parquet file ends with PAR1; copy it again")


def _parquet(where: str, data: bytes, notes: list[str]) -> pl.DataFrame:
    import polars as pl

    _refuse_cut(where, data)
    footer = _footer(where, data, len(data))
    names = _readable(where, pl.read_parquet_schema(data), notes)
    _sound_claims(where, footer, len(data), names)
    _check_dictionaries(where, footer, lambda at, size: data[at : at + size])
    return pl.read_parquet(data, columns=names)


def _footer(where: str, data: bytes, length: int) -> dict[int, Any]:
    """The fields of a Parquet footer. data: the end of a file of this length. Raises InputError for one that is broken,
    or whose columns lie too deep."""
    size = int.from_bytes(data[-8:-4], "little")
    try:
        if not 0 < size <= length - 12:
            raise ValueError("footer size")
        footer = _Thrift(data[-8 - size : -8]).struct()
        depth = _depth(footer[2])
    except _BAD:
        raise _contradicts(where) from None
    if depth > MAX_DEPTH:
        raise InputError(f"{where}: its columns lie {depth:,} groups deep; give each of the values a column")
    return footer


def _depth(elements: Sequence[dict[int, Any]]) -> int:
    """How deep the elements of a schema lie, which stand as they are met, each with the number of its children (5)."""
    deepest, open_groups = 0, list[int]()
    for element in elements:
        while open_groups and not open_groups[-1]:
            open_groups.pop()
        if open_groups:
            open_groups[-1] -= 1
        deepest = max(deepest, len(open_groups))
        if element.get(5):
            open_groups.append(element[5])
    return deepest


def _contradicts(where: str) -> InputError:
    return InputError(f"{where}: is a broken Parquet file: its counts contradict each other")


def _sound_claims(
    where: str, footer: dict[int, Any], length: int, names: Collection[str], whole: bool = True
) -> tuple[int, list[tuple[int, int]]]:
    """The number of rows that a Parquet file claims, and rows and bytes of each row group. names: of the columns that
    are to be read; whole: all of these at once."""
    try:
        rows, columns, groups = _claimed(footer, names)
    except _BAD:
        raise _contradicts(where) from None
    limits = {"MAX_CELLS_PER_BYTE": max(1 << 24, MAX_CELLS_PER_BYTE * length)}
    for name, limit in ({"MAX_CELLS": MAX_CELLS} | limits if whole else limits).items():
        if rows * columns > limit:
            raise LimitError(f"{where}: claims {rows:,} rows of {columns:,} columns in {mib(length)}, over {name}")
    return rows, groups


def _check_dictionaries(where: str, footer: dict[int, Any], read: Callable[[int, int], bytes]) -> None:
    """Refuses dictionaries that claim more values than bytes, or far more bytes than they are packed in. read: bytes of
    the file, from a place on.

    Fields are those of ColumnMetaData (9, 11: the places of its first pages) and of PageHeader (1 its type: 2 for a
    dictionary; 2, 3 its bytes unpacked and packed; 7 what it says of a dictionary: 1 its values).
    """
    try:
        for group in footer.get(4, []):
            for chunk in group[1]:
                places = [place for field in (9, 11) if (place := chunk[3].get(field, 0)) > 0]
                page: dict[int, Any] = _Thrift(read(min(places), 256)).struct() if places else {1: 0}
                if page[1] != 2:
                    continue
                unpacked, packed, values = page[2], page[3], page[7][1]
                if not 0 <= values <= unpacked or packed < 0:
                    raise ValueError("values")
                if unpacked > max(1 << 24, MAX_DICTIONARY_RATIO * packed):
                    what = f"claims a dictionary of {mib(unpacked)} in {packed:,} bytes"
                    raise LimitError(f"{where}: {what}, over MAX_DICTIONARY_RATIO")
    except LimitError:
        raise
    except _BAD:
        raise _contradicts(where) from None


def _arrow(where: str, data: bytes, notes: list[str]) -> pl.DataFrame:
    import polars as pl

    try:
        deep = _arrow_depth(data) > MAX_DEPTH
    except (LookupError, ValueError, struct.error):
        deep = False  # broken in another way, which is said by who reads it
    if deep:
        raise InputError(
            f"{where}: its columns lie more than {MAX_DEPTH} groups deep; give each of the values a column"
        )
    frame = pl.read_ipc(data) if data.startswith(ARROW_STARTS[0]) else pl.read_ipc_stream(data)
    return frame.select(_readable(where, frame.schema, notes))


def _arrow_depth(data: bytes) -> int:
    """How deep the columns of an Arrow file or stream lie, at most one more than MAX_DEPTH.

    Fields of its flatbuffers: Footer 1 and Message 2, the schema; Schema 1, its columns; Field 5, those inside.
    """

    def number(at: int, form: str = "<I") -> int:
        return int(struct.unpack_from(form, data, at)[0])

    def inside(table: int, field: int) -> int | None:
        """The place that a field of a table points to."""
        shape = table - number(table, "<i")
        offset = number(shape + 4 + 2 * field, "<H") if 4 + 2 * field < number(shape, "<H") else 0
        return table + offset + number(table + offset) if offset else None

    def children(table: int, field: int) -> list[int]:
        first = inside(table, field)
        places = [] if first is None else [first + 4 + 4 * i for i in range(min(number(first), len(data)))]
        return [place + number(place) for place in places]

    if data.startswith(ARROW_STARTS[0]):
        root = len(data) - 10 - number(len(data) - 10, "<i")
        schema = inside(root + number(root), 1)
    else:
        schema = inside(8 + number(8), 2)
    level, depth = [] if schema is None else children(schema, 1), 0
    while level and depth <= MAX_DEPTH:
        level, depth = list({child for table in level for child in children(table, 5)}), depth + 1
    return depth


def _readable(where: str, schema: Mapping[str, pl.DataType], notes: list[str]) -> list[str]:
    """The columns that something can be made of; a note on each other one, InputError if there are only such."""
    names, odd = [], []
    for name, dtype in schema.items():
        if _form(dtype) is not None:
            names.append(name)
            continue
        fix = "give each of its values a column" if dtype.is_nested() else "write it as numbers, text or dates"
        odd.append(f'column "{inert(name)}" is of the type {inert(str(dtype), 100)}, which is not read; {fix}')
    if odd and not names:
        raise InputError(f"{where}: {odd[0]}")
    notes += odd
    return names


def is_encoded(dtype: pl.DataType) -> bool:
    """Whether cells of this type may be image files: their bytes, or records of these and a path, as data sets have
    them."""
    import polars as pl

    if not isinstance(dtype, pl.Struct):
        return isinstance(dtype, pl.Binary)
    fields = {field.name: field.dtype for field in dtype.fields}
    return fields.get("bytes") == pl.Binary and set(fields) <= {"bytes", "path"}


def _form(dtype: pl.DataType) -> pl.DataType | type[pl.DataType] | None:
    """The type that a column of this one is brought to: numbers, text, booleans, dates or encoded images; None if there
    is none."""
    import polars as pl

    if isinstance(dtype, (pl.Decimal, pl.Float16)):
        return pl.Float64
    if isinstance(dtype, (pl.Categorical, pl.Enum, pl.Null)):
        return pl.String
    kept = (pl.Boolean, pl.String, pl.Date, pl.Datetime, pl.Float32, pl.Float64)
    integer = dtype.is_integer() and dtype not in (pl.Int128, pl.UInt128)
    return dtype if integer or isinstance(dtype, kept) or is_encoded(dtype) else None


def _plain_types(where: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Columns that are read in the few types that luce knows; bytes are images, or else text."""
    import polars as pl

    casts = {name: form for name, dtype in frame.schema.items() if (form := _form(dtype)) != dtype}
    for name, dtype in frame.schema.items():
        if dtype == pl.Binary and not _are_images(frame[name]):
            casts[name] = pl.String
    return frame.with_columns(_as(where, frame[name], form) for name, form in casts.items() if form is not None)


def _as(where: str, series: pl.Series, form: pl.DataType | type[pl.DataType]) -> pl.Series:
    import polars as pl

    try:
        return series.cast(form)
    except pl.exceptions.ComputeError:
        what = f'column "{inert(series.name)}" holds bytes that are neither text in UTF-8 nor images'
        raise InputError(f"{where}: {what}; leave it out of the file") from None


def _are_images(series: pl.Series) -> bool:
    """Of a column of bytes: whether the first cell that is there begins as an image does."""
    first = series.drop_nulls().head(1).to_list()
    return bool(first) and bytes(first[0]).startswith(IMAGE_STARTS)


@contextmanager
def _held_stderr() -> Iterator[None]:
    """Hold back what native code writes to stderr, and drop it if the read fails: a panic there prints a trace."""
    with _STDERR_LOCK, tempfile.TemporaryFile() as held:
        try:
            saved = os.dup(2)
        except OSError:  # no stderr to protect
            yield
            return
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        held.seek(0)
        if kept := held.read():
            os.write(2, kept)


def _claimed(footer: dict[int, Any], names: Collection[str]) -> tuple[int, int, list[tuple[int, int]]]:
    """Rows and columns by a Parquet footer, and rows and bytes (unpacked) of each row group; raises where its row
    groups, or the chunks of the columns of these names, contradict it.

    A reader allocates by these numbers before it sees a value, and a failed allocation would end the process.
    Fields are those of the format's FileMetaData (3 rows, 4 row groups), RowGroup (1 chunks, 3 rows), ColumnChunk
    (3 metadata) and ColumnMetaData (5 values, 6 bytes when unpacked).
    """
    groups = footer.get(4, [])
    rows = footer[3]
    leaves = _leaves(footer[2])
    if rows != sum(group[3] for group in groups) or any(len(group[1]) != len(leaves) for group in groups):
        raise ValueError("rows")
    read = [i for i, leaf in enumerate(leaves) if leaf in names]
    metas = [(group[3], group[1][i][3]) for group in groups for i in read]
    if any(count < 0 or meta[5] != count or not 0 <= meta[6] <= MAX_INPUT_BYTES for count, meta in metas):
        raise ValueError("values")
    return rows, len(leaves), [(group[3], sum(group[1][i][3][6] for i in read)) for group in groups]


def _leaves(elements: Sequence[dict[int, Any]]) -> list[str]:
    """The column that each chunk of a row group belongs to, in their order, by the elements of a schema (4 the name,
    5 the number of children), the first of which is the root."""
    out, open_groups, column = list[str](), list[int](), ""
    for element in elements[1:]:
        while open_groups and not open_groups[-1]:
            open_groups.pop()
        if open_groups:
            open_groups[-1] -= 1
        else:
            column = element[4].decode()
        if element.get(5):
            open_groups.append(element[5])
        else:
            out.append(column)
    return out


def parquet_pieces(frames: Iterable[pl.DataFrame]) -> Iterator[bytes]:
    """A Parquet file of the rows of frames of one schema, each a row group, in pieces as they come; one frame at least.

    Each frame is written as a file of its own, whose row group stands in the whole with its places moved.
    """
    yield b"PAR1"
    at, whole = 4, None
    for frame in frames:
        stream = io.BytesIO()
        frame.write_parquet(stream, row_group_size=max(frame.height, 1))
        data = stream.getvalue()
        end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        footer = _Typed(data[end:-8]).struct()
        for group in footer[4][1][1]:
            _move(group, at - 4)
        if whole is None:
            whole = footer
        else:
            whole[3] = (whole[3][0], whole[3][1] + footer[3][1])
            whole[4][1][1].extend(footer[4][1][1])
        yield data[4:end]
        at += end - 4
    assert whole is not None
    for number, group in enumerate(whole[4][1][1]):
        if 7 in group:  # its place among the groups, in 16 bits
            group[7] = (group[7][0], min(number, 0x7FFF))
    tail = _bytes_of(12, whole)
    yield tail + len(tail).to_bytes(4, "little") + b"PAR1"


# Fields that are places in the file, of RowGroup, ColumnChunk and ColumnMetaData.
_PLACES = ((5,), (2, 4, 6), (9, 10, 11, 14))


def _move(group: dict[int, Any], by: int) -> None:
    chunks = group[1][1][1]
    for structs, places in zip(([group], chunks, [chunk[3][1] for chunk in chunks]), _PLACES, strict=True):
        for one in structs:
            one.update({n: (one[n][0], one[n][1] + by) for n in places if n in one and one[n][1] > 0})


class _Thrift:
    """The part of Thrift's compact protocol that a Parquet footer uses, as dicts by field number."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value = shift = 0
        while (byte := self.byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError("varint")
        return value | byte << shift

    def integer(self) -> int:
        value = self.varint()
        return value >> 1 ^ -(value & 1)

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.integer()
            fields[number] = head & 15 == 1 if head & 15 in (1, 2) else self.value(head & 15)
        return fields

    def sequence(self) -> list[Any]:
        head = self.byte()
        count = self.varint() if head >> 4 == 15 else head >> 4
        return [self.value(head & 15) for _ in range(count)]

    def value(self, kind: int) -> Any:
        if kind in (1, 2, 3):  # one byte each in a list
            return self.byte()
        if kind in (4, 5, 6):
            return self.integer()
        if kind in (9, 10):
            return self.sequence()
        if kind == 12:
            return self.struct()
        if kind not in (7, 8):
            raise ValueError("kind")
        size = 8 if kind == 7 else self.varint()
        self.at += size
        if self.at > len(self.data):
            raise ValueError("length")
        return self.data[self.at - size : self.at]


class _Typed(_Thrift):
    """The same with the kind of each value before it, so that it can be written again."""

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.integer()
            fields[number] = (head & 15, None if head & 15 in (1, 2) else self.value(head & 15))
        return fields

    def sequence(self) -> Any:
        head = self.byte()
        count = self.varint() if head >> 4 == 15 else head >> 4
        return head & 15, [self.value(head & 15) for _ in range(count)]


def _bytes_of(kind: int, value: Any) -> bytes:
    """A value of `_Typed` in Thrift's compact protocol."""
    if kind == 12:
        out, last = b"", 0
        for number, (own, inner) in sorted(value.items()):
            near = 0 < number - last < 16
            out += bytes([(number - last) << 4 | own]) if near else bytes([own]) + _bytes_of(5, number)
            out += b"" if own in (1, 2) else _bytes_of(own, inner)
            last = number
        return out + b"\0"
    if kind in (9, 10):
        own, items = value
        head = bytes([len(items) << 4 | own]) if len(items) < 15 else bytes([0xF0 | own]) + _varint(len(items))
        return head + b"".join(_bytes_of(own, item) for item in items)
    if kind in (4, 5, 6):
        return _varint(value << 1 ^ value >> 63)
    if kind == 8:
        return _varint(len(value)) + bytes(value)
    return bytes([value]) if kind in (1, 2, 3) else bytes(value)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
