"""Rows from files and from standard input, as a raw frame: every row accounted for, or one line that says why not."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import re
import stat
import sys
import tempfile
import threading
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from luce.errors import InputError, LimitError

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

MAX_FIELD_BYTES = 16 << 20
MAX_LINE_BYTES = 64 << 20
MAX_COLUMNS = 100_000
MAX_INPUT_BYTES = 16 << 30
# The densest honest gzip of a table stays well under this; a gzip bomb is near 1,000.
MAX_GZIP_RATIO = 250
# Rows times columns that a Parquet file may claim, at all and for each of its bytes. A column of one repeated value
# takes a hundred bytes for some 100,000 rows, so only an invented count passes the second bound.
MAX_CELLS = 1 << 31
MAX_CELLS_PER_BYTE = 10_000
# JSON lines may leave keys out, so few bytes could ask for a huge table of nulls.
MAX_JSON_CELLS = 1 << 28

_PIECE = 4 << 20  # bytes for one read
_SCAN_CHUNK = 1 << 18  # bytes for one step of the scan: small enough for the cache, and below MAX_FIELD_BYTES
_BATCH_CELLS = 1 << 20  # cells of one batch in the exact reader
_SAMPLE = 1 << 16  # bytes looked at to find the delimiter
_DELIMITERS = ",\t;|"

_TEXT_KINDS = {".csv": "csv", ".txt": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_BINARY_KINDS = {".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow"}
_READABLE = f"{' '.join(_TEXT_KINDS)} (each also with .gz), {' '.join(_BINARY_KINDS)}"

# 0x15 opens the first structure of every Parquet file; a text may well begin with the word PAR1.
_PARQUET = b"PAR1\x15"
_ARROW = (b"ARROW1\0\0", b"\xff\xff\xff\xff")  # a file, a stream
_FOREIGN = {
    b"\x1f\x8b": "a gzip file",
    _PARQUET: "a Parquet file",
    _ARROW[0]: "an Arrow file",
    _ARROW[1]: "an Arrow stream",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word document",
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF87a": "a GIF image",
    b"GIF89a": "a GIF image",
    b"%PDF-": "a PDF document",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"BZh91AY&SY": "a bzip2 file",
    b"\xfd7zXZ\0": "an xz file",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"SQLite format 3\0": "an SQLite database",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x04\x95": "a Python pickle",
    b"\x80\x05\x95": "a Python pickle",
}
_BOMS = {  # UTF-32 first: its little-endian mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

_STDERR_LOCK = threading.Lock()


@dataclass(frozen=True)
class RawTable:
    """Rows as the file holds them, before any type is inferred from text.

    frame: for CSV and TSV every column is String, cells as in the file (outer white space kept), an empty cell is null;
        JSON lines, Parquet and Arrow keep their types.
    source: the path as given, or "standard input"; encoding: of a text format, else None; notes: lines for the user.
    """

    frame: pl.DataFrame
    source: str
    encoding: str | None
    notes: tuple[str, ...]


class _Text(NamedTuple):
    where: str
    data: bytes  # UTF-8 without a byte-order mark
    encoding: str
    notes: list[str]


def read_file(source: str | os.PathLike[str], *, encoding: str | None = None) -> RawTable:
    """Read a file, or standard input for "-", into a raw frame in which every row of the source is accounted for.

    source: .csv .txt .tsv .tab .jsonl .ndjson (each also .gz), .parquet .pq .arrow .feather .ipc.
    encoding: of a text format; without it a byte-order mark decides, then strict UTF-8, then strict cp949 with a note.
    Raises InputError (one line: file, line, what to do) and its child LimitError.
    """
    name = os.fspath(source)
    where = "standard input" if name == "-" else _show(name, 4096)
    notes: list[str] = []
    try:
        _check_encoding(encoding)
        data, kind = _read_stdin() if name == "-" else _read_path(name, where)
        if kind in ("parquet", "arrow"):
            frame, found = _read_columnar(where, data, kind), None
            if encoding is not None:
                notes.append(f"the encoding {encoding} does not apply to Parquet and Arrow files")
        else:
            text = _decode(where, data, encoding)
            frame, found, notes = _read_text(text, kind), text.encoding, text.notes
        frame.columns = _clean_names(where, frame.columns, notes)
    except MemoryError:
        raise InputError(f"{where}: does not fit in this machine's memory; split it") from None
    return RawTable(frame, "standard input" if name == "-" else name, found, tuple(notes))


def _show(value: str, width: int = 60) -> str:
    """Foreign text made safe for one line of a message."""
    short = value if len(value) <= width else value[: width - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in short)


def _mib(size: int) -> str:
    return f"{size >> 20:,} MiB" if size >= 1 << 20 else f"{size:,} bytes"


def _line_at(prefix: bytes) -> int:
    """The number of the line that follows a prefix of the file; CRLF, LF and CR each end a line."""
    return prefix.count(b"\n") + prefix.count(b"\r") - prefix.count(b"\r\n") + 1


# ---------------------------------------------------------------------------------------------------- bytes


def _read_path(name: str, where: str) -> tuple[bytes, str]:
    try:
        before = os.stat(name)
        if stat.S_ISDIR(before.st_mode):
            raise InputError(f"{where}: is a folder; name a file")
        if not stat.S_ISREG(before.st_mode):
            raise InputError(f"{where}: is a pipe or a device, not a file; pipe it in and say - for standard input")
        kind, zipped = _kind_of(name, where)
        with open(name, "rb", opener=_open_at_once) as stream:
            data = _take(stream, where, text=not zipped and kind in _TEXT_KINDS.values())
            after = os.fstat(stream.fileno())
    except InputError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{where or 'an empty name'}: cannot be read: {_show(reason)}") from None
    if _identity(before) != _identity(after) or len(data) != after.st_size:
        raise InputError(f"{where}: changed while it was being read; read it again when its writer is done")
    return (_gunzip(data, where) if zipped else data), kind


def _open_at_once(name: str, flags: int) -> int:
    # A file that turns into a pipe between the check and this call must not block.
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _kind_of(name: str, where: str) -> tuple[str, bool]:
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    last = suffixes[-1] if suffixes else ""
    if last == ".gz" and len(suffixes) > 1 and suffixes[-2] in _TEXT_KINDS:
        return _TEXT_KINDS[suffixes[-2]], True
    kind = _TEXT_KINDS.get(last) or _BINARY_KINDS.get(last)
    if kind is None:
        what = f'files named "{_show(last)}" cannot be read' if last else "the name has no suffix that says its format"
        raise InputError(f"{where}: {what}; readable: {_READABLE}")
    return kind, False


def _read_stdin() -> tuple[bytes, str]:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise InputError("standard input: is closed; pipe a table into it")
    try:
        data = _take(stream, "standard input", text=True)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"standard input: cannot be read: {_show(str(error))}") from None
    if data.startswith(_PARQUET):
        return data, "parquet"
    return data, "arrow" if data.startswith(_ARROW) else "unknown"


def _take(stream: IO[bytes] | io.BufferedIOBase, where: str, *, text: bool, most: int | None = None) -> bytes:
    """All bytes of a stream, stopping at the first limit so that an endless line or stream is never stored."""
    pieces: list[bytes] = []
    size = line = 0
    while piece := stream.read(_PIECE):
        if not pieces and piece.startswith((_PARQUET, *_ARROW)):
            text = False
        pieces.append(piece)
        size += len(piece)
        if most is not None and size > most:
            raise LimitError(f"{where}: grows more than MAX_GZIP_RATIO ({MAX_GZIP_RATIO}) times; decompress it first")
        if size > MAX_INPUT_BYTES:
            raise LimitError(f"{where}: is larger than MAX_INPUT_BYTES ({_mib(MAX_INPUT_BYTES)}); split it")
        end = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        line = line + len(piece) if end < 0 else len(piece) - end - 1
        if text and line > MAX_LINE_BYTES:
            number = sum(_line_at(piece) - 1 for piece in pieces) + 1
            raise LimitError(f"{where}, line {number}: is longer than MAX_LINE_BYTES ({_mib(MAX_LINE_BYTES)})")
    return b"".join(pieces)


def _gunzip(data: bytes, where: str) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        try:
            return _take(stream, where, text=True, most=max(MAX_GZIP_RATIO * len(data), 8 * _PIECE))
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{where}: is not a whole gzip file: {_show(str(error))}") from None


def _foreign(data: bytes) -> str | None:
    """What a file is by its first bytes, where that is no text."""
    if data.startswith(b"PK\x03\x04"):
        return "an Excel workbook" if b"xl/workbook" in data else "a zip archive"
    if data[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    return next((what for magic, what in _FOREIGN.items() if data.startswith(magic)), None)


# ---------------------------------------------------------------------------------------------------- characters


def _check_encoding(encoding: str | None) -> None:
    try:
        if encoding is not None:
            codecs.lookup(encoding)
            b"a".decode(encoding)
    except UnicodeError:
        pass  # a text encoding that wants more than one byte
    except (LookupError, ValueError):
        raise InputError(f'no encoding is called "{_show(str(encoding))}"; try utf-8, cp949 or latin-1') from None


def _decode(where: str, raw: bytes, encoding: str | None) -> _Text:
    if not raw:
        raise InputError(f"{where}: is empty; it needs column names and rows")
    if what := _foreign(raw):
        fix = "save its table as CSV or Parquet"
        if "gzip" in what:
            fix = "decompress it, or give it a name that ends in .csv.gz or .jsonl.gz"
        elif "Parquet" in what or "Arrow" in what:
            fix = "give it a name that ends in .parquet or .arrow"
        raise InputError(f"{where}: is {what}, not text; {fix}")
    codec = encoding or next((name for bom, name in _BOMS.items() if raw.startswith(bom)), None)
    text = _as_utf8(where, raw, codec) if codec else _guess(where, raw)
    data = text.data.removeprefix(codecs.BOM_UTF8)
    if not _stop(data):
        what = "blank lines" if data else "a byte-order mark"
        raise InputError(f"{where}: is empty but for {what}; it needs column names and rows")
    _refuse_nul(where, data)
    return text._replace(data=data)


def _as_utf8(where: str, raw: bytes, encoding: str) -> _Text:
    name = codecs.lookup(encoding).name.replace("_", "-")
    try:
        data = raw if name == "utf-8" and raw.isascii() else raw.decode(encoding).encode("utf-8")
    except UnicodeDecodeError as error:
        fault = _bad_byte(raw, error, encoding)
        raise InputError(f"{where}: is not valid {name}: {fault}; mend it or name another --encoding") from None
    except UnicodeError as error:
        raise InputError(f"{where}: cannot be read as {name}: {_show(str(error))}; name another --encoding") from None
    return _Text(where, data, name, [])


def _guess(where: str, raw: bytes) -> _Text:
    """Strict UTF-8, else strict cp949 (the superset of euc-kr that Windows writes), said in a note."""
    _refuse_nul(where, raw)
    try:
        if not raw.isascii():
            raw.decode("utf-8")
        return _Text(where, raw, "utf-8", [])
    except UnicodeDecodeError as error:
        start, fault = error.start, f"{where}: is not valid UTF-8: {_bad_byte(raw, error, 'utf-8')}"
    # Whole characters of three bytes before the fault are next to impossible in cp949: this is UTF-8 with damage.
    if re.search("[^\0-\u07ff\ufeff]", raw[:start].decode("utf-8")):
        raise InputError(f"{fault}, after text that is; mend it, or name the --encoding that it should be read as")
    try:
        text = raw.decode("cp949")
    except UnicodeDecodeError as error:
        other = _bad_byte(raw, error, "cp949")
        raise InputError(f"{fault}; nor cp949: {other}; name its --encoding, such as latin-1") from None
    sample = re.search("[^\0-\x7f]+", text)
    shown = _show(sample.group(), 20) if sample else ""
    note = f'read as cp949 (not valid UTF-8; its first such word is "{shown}"); say --encoding to choose another'
    return _Text(where, text.encode("utf-8"), "cp949", [note])


def _bad_byte(raw: bytes, error: UnicodeDecodeError, encoding: str) -> str:
    before = raw[: error.start].decode(encoding, "ignore").encode("utf-8", "ignore")
    return f"line {_line_at(before)}, byte offset {error.start} (0x{raw[error.start : error.start + 1].hex().upper()})"


def _refuse_nul(where: str, data: bytes) -> None:
    at = data.find(b"\0")
    if at < 0:
        return
    fix = "it is not a text file"
    head = data[:2000]
    if head.count(b"\0") * 3 > len(head):
        order = "le" if head[1::2].count(b"\0") > head[::2].count(b"\0") else "be"
        fix = f"it looks like UTF-16 without a byte-order mark: say --encoding utf-16-{order}"
    raise InputError(f"{where}, line {_line_at(data[:at])}: a NUL byte at offset {at}; {fix}")


# ---------------------------------------------------------------------------------------------------- names


def _clean_names(where: str, raw: Sequence[str], notes: list[str]) -> list[str]:
    """Names in NFC without outer white space; two that a reader could take for one another are refused."""
    if len(raw) > MAX_COLUMNS:
        raise _too_many_columns(where, len(raw))
    names = [unicodedata.normalize("NFC", name).strip() for name in raw]
    changed = [new for new, old in zip(names, raw, strict=True) if new and new != old]
    if changed:
        notes.append(f'trimmed or composed (NFC) {len(changed)} column name(s), the first is "{_show(changed[0])}"')
    empty = [i for i, name in enumerate(names) if not name]
    if len(empty) > 1:
        raise InputError(f"{where}: columns {empty[0] + 1} and {empty[1] + 1} have no name; name every column")
    if empty:
        names[empty[0]] = f"column {empty[0] + 1}"
        notes.append(f'column {empty[0] + 1} has no name and is called "{names[empty[0]]}"')
    _refuse_twins(where, names, raw)
    return names


def _refuse_twins(where: str, names: Sequence[str], raw: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        first = seen.setdefault(unicodedata.normalize("NFC", name.casefold()), i)
        if first == i:
            continue
        said = f'columns {first + 1} "{_show(raw[first])}" and {i + 1} "{_show(raw[i])}"'
        why = "have the same name"
        if raw[first] != raw[i]:
            why = "differ only in " + ("letter case" if name != names[first] else "outer blanks or Unicode form (NFC)")
        raise InputError(f"{where}: {said} {why}; rename one")


def _too_many_columns(where: str, count: int) -> LimitError:
    return LimitError(f"{where}: has {count:,} columns, more than MAX_COLUMNS ({MAX_COLUMNS:,})")


# ---------------------------------------------------------------------------------------------------- CSV and TSV


def _read_text(text: _Text, kind: str) -> pl.DataFrame:
    if kind == "jsonl" or (kind == "unknown" and text.data[:_SAMPLE].lstrip().startswith(b"{")):
        return _read_json_lines(text)
    return _read_csv(text, "\t" if kind == "tsv" else None)


def _read_csv(text: _Text, delimiter: str | None) -> pl.DataFrame:
    """The quick reader where a scan of the bytes proves that it is right, else the exact one."""
    text = text._replace(data=_plain_line_ends(text.data))
    delimiter = delimiter or _sniff_delimiter(text)
    _refuse_wide_header(text, delimiter)
    header, _, lines = next(record for record in _records(text, delimiter) if record[0])
    names = _clean_names(text.where, header, text.notes)
    body, stop = _after_lines(text.data, lines), _stop(text.data)
    if stop <= body:
        raise InputError(f"{text.where}: has a header but no rows below it")
    if all(re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", cell) for cell in header):
        text.notes.append("the first line looks like data, not column names")
    frame = _read_quick(text, delimiter, names, body, stop)
    return _read_exact(text, delimiter, names, stop) if frame is None else frame


def _plain_line_ends(data: bytes) -> bytes:
    """Lone CR line ends made LF; a file with quotes is left to the exact reader, which knows CR inside a cell."""
    if b'"' in data or not _has_lone_cr(data):
        return data
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _has_lone_cr(data: bytes) -> bool:
    return b"\r" in data and data.count(b"\r") != data.count(b"\r\n")


def _stop(data: bytes) -> int:
    """Where the last line that is not blank ends."""
    tail = data[-_SAMPLE:]
    if kept := tail.rstrip(b"\r\n"):
        return len(data) - len(tail) + len(kept)
    return len(data.rstrip(b"\r\n"))


def _after_lines(data: bytes, lines: int) -> int:
    ends = islice(re.finditer(rb"\r\n|\n|\r", data), lines - 1, lines)
    return next((end.end() for end in ends), len(data))


def _sniff_delimiter(text: _Text) -> str:
    """The delimiter that cuts the first lines into the header's number of fields; on equal terms, the earlier one."""
    sample = text.data[:_SAMPLE]
    if len(text.data) > _SAMPLE and (whole := max(sample.rfind(b"\n"), sample.rfind(b"\r"))) > 0:
        sample = sample[:whole]
    scores = {mark: _fit(sample.decode("utf-8", "ignore"), mark) for mark in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda mark: scores[mark])
    rivals = [mark for mark in _DELIMITERS if mark != best and scores[mark][0] == scores[best][0] == 1]
    if rivals:
        text.notes.append(f"cells are cut at {best!r}; {' and '.join(map(repr, rivals))} would fit as well")
    elif best != ",":
        text.notes.append(f"cells are cut at {best!r}")
    return best


def _fit(sample: str, delimiter: str) -> tuple[float, int]:
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
    widths = [len(row) for row in islice(reader, 50) if row]
    if not widths or widths[0] < 2:
        return 0.0, 0
    return widths.count(widths[0]) / len(widths), widths[0]


def _refuse_wide_header(text: _Text, delimiter: str) -> None:
    """The limit taken on the bytes, before a cell is made of each field; names in quotes are counted when cut."""
    end = _after_lines(text.data, 1)
    count = text.data.count(delimiter.encode(), 0, end) + 1
    if count > MAX_COLUMNS and text.data.find(b'"', 0, end) < 0:
        raise _too_many_columns(text.where, count)


def _read_quick(text: _Text, delimiter: str, names: list[str], body: int, stop: int) -> pl.DataFrame | None:
    """What polars reads, if its rows and bytes are those that the scan counted; else None."""
    import polars as pl

    scan = _Scan(text, delimiter, len(names))
    if _has_lone_cr(text.data) or not scan.run(body, stop):
        return None
    quoted = text.data.find(b'"', body, stop) >= 0
    try:
        frame = pl.read_csv(
            # From the header's own line end: polars takes some first letters of a bare body for compression.
            text.data[body - 1 : stop],
            has_header=False,
            skip_lines=1,
            separator=delimiter,
            quote_char='"' if quoted else None,
            schema=dict.fromkeys(names, pl.String),
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return None
    if frame.shape != (scan.rows, len(names)) or (quoted and _cell_bytes(frame) != stop - body - scan.overhead):
        return None
    return _empty_to_null(frame) if quoted else frame


def _cell_bytes(frame: pl.DataFrame) -> int:
    import polars as pl

    return sum(frame.select(pl.all().str.len_bytes().cast(pl.Int64).sum()).row(0))


def _empty_to_null(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return frame.select(pl.when(pl.all() != "").then(pl.all()))


class _Scan:
    """The structure of the rows by the bytes alone: quotes by parity, then delimiters and line ends outside them."""

    def __init__(self, text: _Text, delimiter: str, columns: int) -> None:
        self.text, self.delimiter, self.columns = text, ord(delimiter), columns
        self.bytes = np.frombuffer(text.data, np.uint8)
        self.has_quotes, self.has_cr = b'"' in text.data, b"\r" in text.data
        self.inside = False  # a quoted cell
        self.cuts = 0  # delimiters and line ends so far
        self.overhead = 0  # bytes that belong to no cell
        self.field = 0  # where the current field starts

    @property
    def rows(self) -> int:
        return (self.cuts + 1) // self.columns

    def run(self, body: int, stop: int) -> bool:
        """Whether every row of data[body:stop] has the header's number of fields, beyond doubt."""
        self.field = body
        if not all(self._step(at, min(at + _SCAN_CHUNK, stop)) for at in range(body, stop, _SCAN_CHUNK)):
            return False
        # The last line end lies beyond `stop`, so the last row lacks exactly one cut.
        return not self.inside and (self.cuts + 1) % self.columns == 0

    def _step(self, start: int, stop: int) -> bool:
        chunk = self.bytes[start:stop]
        mask = chunk == self.delimiter
        mask |= chunk == 10
        if self.has_quotes:
            mask |= chunk == 34
        at = np.flatnonzero(mask)
        kinds = chunk[at]
        at += start
        quotes = kinds == 34
        if self.has_quotes and (self.inside or quotes.any()):
            if not self._well_quoted(at[quotes]):
                return False
            covered = ((np.cumsum(quotes, dtype=np.uint8) + np.uint8(self.inside)) & 1).astype(np.bool_)
            self.inside = bool(covered[-1]) if covered.size else self.inside
            outside = ~(covered | quotes)
            at, kinds = at[outside], kinds[outside]
        self._check_field(int(at[0]) if at.size else stop)
        return self._rectangular(at, kinds == 10)

    def _well_quoted(self, at: NDArray[np.intp]) -> bool:
        """An opening quote follows a cut or a quote, a closing one precedes them: then parity is the CSV grammar."""
        opening, closing = at[int(self.inside) :: 2], at[1 - int(self.inside) :: 2]
        before = self.bytes[opening - 1]
        after = self.bytes[closing[closing + 1 < self.bytes.size] + 1]
        doubled = after == 34
        opened = (before == self.delimiter) | (before == 10) | (before == 34)
        closed = (after == self.delimiter) | (after == 10) | (after == 13) | doubled
        self.overhead += at.size - int(np.count_nonzero(doubled))  # of a doubled quote one byte is the cell's
        return bool(opened.all() and closed.all())

    def _check_field(self, end: int) -> None:
        # A chunk is shorter than the limit, so only the field that a chunk begins with can be beyond it.
        if end - self.field > MAX_FIELD_BYTES:
            raise _long_field(self.text.where, _line_at(self.text.data[: self.field]))

    def _rectangular(self, at: NDArray[np.intp], newline: NDArray[np.bool_]) -> bool:
        if not at.size:
            return True
        expected = newline[self.columns - 1 - self.cuts % self.columns :: self.columns]
        self.field = int(at[-1]) + 1
        self.cuts += at.size
        self.overhead += at.size
        if self.has_cr:
            self.overhead += int(np.count_nonzero(self.bytes[at[newline] - 1] == 13))
        return bool(expected.all()) and np.count_nonzero(newline) == expected.size


def _long_field(where: str, line: int) -> LimitError:
    what = f"a cell that starts here is longer than MAX_FIELD_BYTES ({_mib(MAX_FIELD_BYTES)})"
    return LimitError(f"{where}, line {line}: {what}; is a closing quote missing?")


def _records(text: _Text, delimiter: str) -> Iterator[tuple[list[str], int, int]]:
    """Records with the numbers of their first and last line, by Python's strict csv reader; a blank line is []."""
    lines = io.TextIOWrapper(io.BytesIO(text.data), "utf-8", newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        first = reader.line_num + 1
        allowed = csv.field_size_limit(MAX_FIELD_BYTES)  # it belongs to the whole process: set for one record at a time
        try:
            row = next(reader, None)
        except csv.Error as error:
            if "field limit" in str(error):
                raise _long_field(text.where, first) from None
            raise _quote_error(text, delimiter, first) from None
        finally:
            csv.field_size_limit(allowed)
        if row is None:
            return
        yield row, first, reader.line_num


def _read_exact(text: _Text, delimiter: str, names: list[str], stop: int) -> pl.DataFrame:
    """Every record by Python's csv reader, one at a time: the arbiter where the scan is in doubt."""
    import polars as pl

    records = _records(text._replace(data=text.data[:stop]), delimiter)
    next(record for record in records if record[0])  # the header
    batch: list[list[str]] = []
    frames = []
    for row, line, _ in records:
        if not row and len(names) > 1:
            continue
        if len(row) != len(names) and row:
            raise InputError(
                f"{text.where}, line {line}: has {len(row)} field(s), but the header has {len(names)}; "
                f"mend the line, or quote a cell that holds {delimiter!r}"
            )
        batch.append(row or [""])
        if len(batch) * len(names) >= _BATCH_CELLS:
            frames.append(_frame_of(batch, names))
            batch = []
    if batch:
        frames.append(_frame_of(batch, names))
    return _empty_to_null(pl.concat(frames))


def _frame_of(batch: list[list[str]], names: list[str]) -> pl.DataFrame:
    import polars as pl

    columns = zip(names, zip(*batch, strict=True), strict=True)
    return pl.DataFrame([pl.Series(name, column, dtype=pl.String) for name, column in columns])


def _quote_error(text: _Text, delimiter: str, line: int) -> InputError:
    """Name the line where the quote opens that breaks the record which starts at a line."""
    record = text.data[_after_lines(text.data, line - 1) if line > 1 else 0 :]
    mark, quoted = re.escape(delimiter), '"[^"]*+(?:""[^"]*+)*+"'
    whole = re.match(f'(?:(?:{quoted}|[^"{mark}\r\n][^{mark}\r\n]*+)?+{mark})*+'.encode(), record)
    at = whole.end() if whole else 0
    opened = f"{text.where}, line {line + _line_at(record[:at]) - 1}: a quote opens here"
    close = re.compile(quoted.encode()).match(record, at)
    if close is None:
        return InputError(f'{opened} and never closes; close it, or write a quote that is text as ""')
    last = line + _line_at(record[: close.end()]) - 1
    return InputError(f'{opened} and closes before other text on line {last}; write a quote that is text as ""')


# ---------------------------------------------------------------------------------------------------- JSON lines


class _Number(str):
    """A JSON number as it was spelled."""

    __slots__ = ()


def _read_json_lines(text: _Text) -> pl.DataFrame:
    import polars as pl

    decoder = json.JSONDecoder(
        object_pairs_hook=_json_object, parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant
    )
    columns: dict[str, list[Any]] = {}
    rows = 0
    for number, line in enumerate(io.TextIOWrapper(io.BytesIO(text.data), "utf-8"), 1):
        if line.isspace():
            continue
        for key, value in _json_row(f"{text.where}, line {number}", line, decoder).items():
            column = columns.setdefault(key, [])
            column.extend([None] * (rows - len(column)))
            column.append(value)
        rows += 1
        if len(columns) > MAX_COLUMNS:
            raise _too_many_columns(text.where, len(columns))
        if rows * len(columns) > MAX_JSON_CELLS:
            what = f"{len(columns):,} different keys by line {number:,}"
            raise LimitError(f"{text.where}: {what} make more than MAX_JSON_CELLS ({MAX_JSON_CELLS:,}) cells")
    if not columns:
        raise InputError(f"{text.where}: its objects have no keys; it needs rows with columns")
    for column in columns.values():
        column.extend([None] * (rows - len(column)))
    return pl.DataFrame([_typed(name, column) for name, column in columns.items()])


def _json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'the key "{_show(next(name for name in names if names.count(name) > 1))}" comes twice')
    return row


def _refuse_constant(token: str) -> None:
    raise ValueError(f"{token} is not JSON; write null for a missing number")


def _json_row(where: str, line: str, decoder: json.JSONDecoder) -> dict[str, Any]:
    try:
        row = decoder.decode(line)
        if "\\u" in line and isinstance(row, dict):
            "".join(f"{key}{value}" for key, value in row.items()).encode("utf-8")
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: is not one JSON object: {error.msg} at character {error.colno}") from None
    except UnicodeEncodeError:
        raise InputError(f"{where}: an escape such as \\ud800 is half a character; write the whole pair") from None
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply; write one flat object") from None
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if not isinstance(row, dict):
        raise InputError(f'{where}: is not an object; write each row as {{"column": value, ...}} on one line')
    for key, value in row.items():
        if isinstance(value, (dict, list)):
            what = "an object" if isinstance(value, dict) else "a list"
            raise InputError(f'{where}: column "{_show(key)}" holds {what}; give each of its values a column')
    return row


def _typed(name: str, values: list[Any]) -> pl.Series:
    """A column of one JSON type; where types mix, text with every number and boolean as it was spelled."""
    import polars as pl

    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if bool in kinds:
        values = [str(value).lower() if isinstance(value, bool) else value for value in values]
    text = pl.Series(name, values, dtype=pl.String)
    if kinds != {_Number}:
        return text
    whole = not text.str.contains("[.eE]").any()
    if not whole and text.str.contains(r"^-?\d{16,}$").any():
        return text  # the whole numbers would lose digits
    numbers = text.cast(pl.Int64 if whole else pl.Float64, strict=False)
    return numbers if numbers.null_count() == text.null_count() and numbers.is_finite().all() else text


# ---------------------------------------------------------------------------------------------------- Parquet and Arrow


def _read_columnar(where: str, data: bytes, kind: str) -> pl.DataFrame:
    import polars as pl

    what = "a Parquet" if kind == "parquet" else "an Arrow"
    if not data:
        raise InputError(f"{where}: is empty; it should be {what} file")
    if not data.startswith(_PARQUET if kind == "parquet" else _ARROW):
        found = _foreign(data) or "something else"
        raise InputError(f"{where}: is not {what} file but {found}; give it the name or the form of its kind")
    try:
        with _held_stderr():
            frame = _parquet(where, data) if kind == "parquet" else _arrow(data)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeError) as error:
        panic = isinstance(error, pl.exceptions.PanicException)
        reason = "" if panic else f" ({_show(str(error).partition(chr(10))[0], 100)})"
        raise InputError(f"{where}: is a broken {what.split()[1]} file{reason}; write it again") from None
    if not frame.width or not frame.height:
        raise InputError(f"{where}: has no {'rows' if frame.width else 'columns'}")
    return _plain_types(where, frame)


def _parquet(where: str, data: bytes) -> pl.DataFrame:
    import polars as pl

    if not data.endswith(b"PAR1"):
        raise InputError(f"{where}: is cut short: a Parquet file ends with PAR1; copy it again")
    _plain_types(where, pl.DataFrame(schema=pl.read_parquet_schema(data)))
    try:
        rows, columns = _claimed(data)
    except (LookupError, TypeError, ValueError, RecursionError):
        raise InputError(f"{where}: is a broken Parquet file: its counts contradict each other") from None
    for name, limit in (("MAX_CELLS", MAX_CELLS), ("MAX_CELLS_PER_BYTE", max(1 << 24, MAX_CELLS_PER_BYTE * len(data)))):
        if rows * columns > limit:
            raise LimitError(f"{where}: claims {rows:,} rows of {columns:,} columns in {_mib(len(data))}, over {name}")
    return pl.read_parquet(data)


def _arrow(data: bytes) -> pl.DataFrame:
    import polars as pl

    return pl.read_ipc(data) if data.startswith(_ARROW[0]) else pl.read_ipc_stream(data)


def _plain_types(where: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Numbers, text, booleans and dates; other types are cast where nothing is lost that counts, else refused."""
    import polars as pl

    kept = (pl.Boolean, pl.String, pl.Date, pl.Datetime, pl.Float32, pl.Float64)
    casts: dict[str, type[pl.DataType]] = {}
    for name, dtype in frame.schema.items():
        if isinstance(dtype, kept) or (dtype.is_integer() and dtype not in (pl.Int128, pl.UInt128)):
            continue
        if isinstance(dtype, (pl.Decimal, pl.Float16)):
            casts[name] = pl.Float64
        elif isinstance(dtype, (pl.Categorical, pl.Enum, pl.Null)):
            casts[name] = pl.String
        else:
            fix = "give each of its values a column" if dtype.is_nested() else "write it as numbers, text or dates"
            raise InputError(f'{where}: column "{_show(name)}" is of the type {_show(str(dtype))}; {fix}')
    return frame.with_columns(frame[name].cast(dtype) for name, dtype in casts.items())


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


def _claimed(data: bytes) -> tuple[int, int]:
    """Rows and columns by a Parquet footer; raises where its row groups or column chunks contradict it.

    A reader allocates by these numbers before it sees a value, and a failed allocation would end the process.
    Fields are those of the format's FileMetaData (3 rows, 4 row groups), RowGroup (1 chunks, 3 rows), ColumnChunk
    (3 metadata) and ColumnMetaData (5 values, 6 bytes when unpacked).
    """
    size = int.from_bytes(data[-8:-4], "little")
    if not 0 < size <= len(data) - 12:
        raise ValueError("footer size")
    footer = _Thrift(data[-8 - size : -8]).struct()
    groups = footer.get(4, [])
    rows = footer[3]
    columns = {len(group[1]) for group in groups}
    metas = [(group[3], chunk[3]) for group in groups for chunk in group[1]]
    if rows != sum(group[3] for group in groups) or len(columns) > 1:
        raise ValueError("rows")
    if any(count < 0 or meta[5] != count or not 0 <= meta[6] <= MAX_INPUT_BYTES for count, meta in metas):
        raise ValueError("values")
    return rows, max(columns, default=0)


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
