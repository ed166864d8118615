"""Rows from files and from standard input, as a raw frame: every row accounted for, or one line that says why not."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import stat
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from luce.columnar import ARROW_STARTS, PARQUET_START, read_columnar
from luce.delimited import read_delimited
from luce.errors import InputError, LimitError, inert
from luce.json_lines import read_json_lines
from luce.labelled_lines import LABEL, PREFIX, is_labelled, read_labelled_lines
from luce.text_source import MAX_INPUT_BYTES, SAMPLE, Text, clean_names, end_of_rows, line_at, mib

if TYPE_CHECKING:
    import polars as pl

MAX_LINE_BYTES = 64 << 20
# The densest honest gzip of a table stays well under this; a gzip bomb is near 1,000.
MAX_GZIP_RATIO = 250

_PIECE = 4 << 20  # bytes for one read

_TEXT_KINDS = {".csv": "csv", ".txt": "txt", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
BINARY_KINDS = {".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow"}
_READABLE = f"{' '.join(_TEXT_KINDS)} (each also with .gz), {' '.join(BINARY_KINDS)}"

_FOREIGN = {
    b"\x1f\x8b": "a gzip file",
    PARQUET_START: "a Parquet file",
    ARROW_STARTS[0]: "an Arrow file",
    ARROW_STARTS[1]: "an Arrow stream",
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
BOMS = {  # UTF-32 first: its little-endian mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class RawTable:
    """Rows as the file holds them, before any type is inferred from text.

    frame: for CSV and TSV every column is String, cells as in the file (outer white space kept), an empty cell is null;
        JSON lines, Parquet and Arrow keep their types.
    source: the path as given, or "standard input"; encoding: of a text format, else None; notes: lines for the user.
    label: the name of the label column where the form of the file says it (fastText's lines), else None.
    """

    frame: pl.DataFrame
    source: str
    encoding: str | None
    notes: tuple[str, ...]
    label: str | None = None


def read_file(source: str | os.PathLike[str], *, encoding: str | None = None, begun: bytes = b"") -> RawTable:
    """Read a file, or standard input for "-", into a raw frame in which every row of the source is accounted for.

    source: .csv .txt .tsv .tab .jsonl .ndjson (each also .gz), .parquet .pq .arrow .feather .ipc. Lines that begin with
    __label__NAME, as fastText has them, are columns `label` and `text`, under .txt, an unknown suffix or none.
    encoding: of a text format; without it a byte-order mark decides, then strict UTF-8, then strict cp949 with a note.
    begun: what was read of standard input already.
    Raises InputError (one line: file, line, what to do) and its child LimitError.
    """
    name = os.fspath(source)
    where = "standard input" if name == "-" else inert(name, 4096)
    notes: list[str] = []
    label = None
    try:
        check_encoding(encoding)
        data, kind = _read_stdin(begun) if name == "-" else _read_path(name, where)
        if kind in ("parquet", "arrow"):
            check_start(where, data, kind)
            frame, found = read_columnar(where, data, kind, notes), None
            if encoding is not None:
                notes.append(f"the encoding {encoding} does not apply to Parquet and Arrow files")
        else:
            text = _decode(where, data, encoding)
            label = LABEL if kind in ("txt", "unknown", "other") and is_labelled(text.data) else None
            if kind == "other" and label is None:
                raise unknown_suffix(name, where)
            frame = read_labelled_lines(text) if label else _read_text(text, kind)
            found, notes = text.encoding, text.notes
        frame.columns = clean_names(where, frame.columns, notes)
    except MemoryError:
        raise InputError(f"{where}: does not fit in this machine's memory; split it") from None
    return RawTable(frame, "standard input" if name == "-" else name, found, tuple(notes), label)


def read_csv(data: bytes, where: str) -> RawTable:
    """The same of a CSV in memory; `where` is what messages call it."""
    text = _decode(where, data, None)
    frame, notes = read_delimited(text, None), text.notes
    frame.columns = clean_names(where, frame.columns, notes)
    return RawTable(frame, where, text.encoding, tuple(notes), None)


def _read_text(text: Text, kind: str) -> pl.DataFrame:
    if is_json(kind, text.data):
        return read_json_lines(text)
    return read_delimited(text, "\t" if kind == "tsv" else None)


def is_json(kind: str, data: bytes) -> bool:
    """Whether a text that begins so is JSON lines."""
    return kind == "jsonl" or (kind == "unknown" and data[:SAMPLE].lstrip().startswith(b"{"))


def check_start(where: str, data: bytes, kind: str) -> None:
    """Refuse what is no Parquet or Arrow file by its first bytes."""
    what = "a Parquet" if kind == "parquet" else "an Arrow"
    if not data:
        raise InputError(f"{where}: is empty; it should be {what} file")
    if not data.startswith(PARQUET_START if kind == "parquet" else ARROW_STARTS):
        found = foreign(data) or "something else"
        raise InputError(f"{where}: is not {what} file but {found}; give it the name or the form of its kind")


# ---------------------------------------------------------------------------------------------------- bytes


def status_of(name: str, where: str) -> os.stat_result:
    """The status of a regular file; raises InputError for anything else."""
    try:
        status = os.stat(name)
    except (OSError, ValueError) as error:
        raise cannot_read(where, error) from None
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{where}: is a folder; name a file")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{where}: is a pipe or a device, not a file; pipe it in and say - for standard input")
    return status


def cannot_read(where: str, error: Exception) -> InputError:
    """What stopped a read, in one line."""
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"{where or 'an empty name'}: cannot be read: {inert(reason)}")


def _read_path(name: str, where: str) -> tuple[bytes, str]:
    before = status_of(name, where)
    kind, zipped = kind_of(name)
    try:
        with open(name, "rb", opener=open_at_once) as stream:
            if kind == "other" and PREFIX.encode() not in stream.peek().replace(b"\0", b""):  # of UTF-16
                raise unknown_suffix(name, where)
            data = _take(stream, where, text=not zipped and kind not in BINARY_KINDS.values())
            after = os.fstat(stream.fileno())
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise cannot_read(where, error) from None
    if identity(before) != identity(after) or len(data) != after.st_size:
        raise has_changed(where)
    return (_gunzip(data, where) if zipped else data), kind


def open_at_once(name: str, flags: int) -> int:
    """An opener for a file that may have turned into a pipe since it was checked: it does not block."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def has_changed(where: str) -> InputError:
    return InputError(f"{where}: changed while it was being read; read it again when its writer is done")


def identity(status: os.stat_result) -> tuple[int, ...]:
    """What tells whether a file is the same, with the same content."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def kind_of(name: str) -> tuple[str, bool]:
    """The kind of a file by its name, "other" where that is unknown, and whether it is compressed."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    last = suffixes[-1] if suffixes else ""
    if last == ".gz" and len(suffixes) > 1 and suffixes[-2] in _TEXT_KINDS:
        return _TEXT_KINDS[suffixes[-2]], True
    return _TEXT_KINDS.get(last) or BINARY_KINDS.get(last) or "other", False


def may_be_lines(name: str) -> bool:
    """Whether the name of a file leaves open that its lines are texts, or begin with labels."""
    return name == "-" or kind_of(name)[0] in ("txt", "other")


def unknown_suffix(name: str, where: str) -> InputError:
    last = Path(name).suffix.lower()
    what = f'files named "{inert(last)}" cannot be read' if last else "the name has no suffix that says its format"
    return InputError(f"{where}: {what}; readable: {_READABLE}")


def standard_input() -> io.BufferedIOBase:
    """The bytes of standard input; raises InputError where it is closed."""
    stream: io.BufferedIOBase | None = getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise InputError("standard input: is closed; pipe a table into it")
    return stream


def _read_stdin(begun: bytes) -> tuple[bytes, str]:
    stream = standard_input()
    try:
        data = _take(stream, "standard input", text=True, begun=begun)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"standard input: cannot be read: {inert(str(error))}") from None
    if data.startswith(PARQUET_START):
        return data, "parquet"
    return data, "arrow" if data.startswith(ARROW_STARTS) else "unknown"


def _take(
    stream: IO[bytes] | io.BufferedIOBase, where: str, *, text: bool, most: int | None = None, begun: bytes = b""
) -> bytes:
    """All bytes of a stream, stopping at the first limit so that an endless line or stream is never stored."""
    pieces: list[bytes] = []
    size = 0
    for piece in pieces_of(stream, where, text=text, most=most, begun=begun):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_INPUT_BYTES:
            raise LimitError(f"{where}: is larger than MAX_INPUT_BYTES ({mib(MAX_INPUT_BYTES)}); split it")
    return b"".join(pieces)


def pieces_of(
    stream: IO[bytes] | io.BufferedIOBase, where: str, *, text: bool, most: int | None = None, begun: bytes = b""
) -> Iterator[bytes]:
    """The bytes of a stream as they are read; raises LimitError for an endless line and for more than `most` bytes of
    what was compressed."""
    size, line, number = 0, 0, 1
    while piece := begun or stream.read(_PIECE):
        begun = b""
        if not size and piece.startswith((PARQUET_START, *ARROW_STARTS)):
            text = False
        size += len(piece)
        if most is not None and size > most:
            raise LimitError(f"{where}: grows more than MAX_GZIP_RATIO ({MAX_GZIP_RATIO}) times; decompress it first")
        if text:
            end = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
            line = line + len(piece) if end < 0 else len(piece) - end - 1
            number += line_at(piece) - 1
            if line > MAX_LINE_BYTES:
                raise LimitError(f"{where}, line {number}: is longer than MAX_LINE_BYTES ({mib(MAX_LINE_BYTES)})")
        yield piece


def _gunzip(data: bytes, where: str) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        try:
            return _take(stream, where, text=True, most=most_unzipped(len(data)))
        except (OSError, EOFError, zlib.error) as error:
            raise not_whole_gzip(where, error) from None


def most_unzipped(size: int) -> int:
    """How many bytes a gzip file of this size may become."""
    return max(MAX_GZIP_RATIO * size, 8 * _PIECE)


def not_whole_gzip(where: str, error: Exception) -> InputError:
    return InputError(f"{where}: is not a whole gzip file: {inert(str(error))}")


def foreign(data: bytes) -> str | None:
    """What a file is by its first bytes, where that is no text."""
    if data.startswith(b"PK\x03\x04"):
        return "an Excel workbook" if b"xl/workbook" in data else "a zip archive"
    if data[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    return next((what for magic, what in _FOREIGN.items() if data.startswith(magic)), None)


# ---------------------------------------------------------------------------------------------------- characters


def check_encoding(encoding: str | None) -> None:
    """Raises InputError for a name that is no encoding of text."""
    try:
        if encoding is not None:
            codecs.lookup(encoding)
            b"a".decode(encoding)
    except UnicodeError:
        pass  # a text encoding that wants more than one byte
    except (LookupError, ValueError):
        raise InputError(f'no encoding is called "{inert(str(encoding))}"; try utf-8, cp949 or latin-1') from None


def _decode(where: str, raw: bytes, encoding: str | None) -> Text:
    refuse_foreign(where, raw)
    codec = encoding or next((name for bom, name in BOMS.items() if raw.startswith(bom)), None)
    text = _as_utf8(where, raw, codec) if codec else _guess(where, raw)
    data = text.data.removeprefix(codecs.BOM_UTF8)
    if not end_of_rows(data):
        raise blank(where, bool(data))
    _refuse_nul(where, data)
    return text._replace(data=data)


def refuse_foreign(where: str, raw: bytes) -> None:
    """Refuse what is no text by its first bytes, or has none."""
    if not raw:
        raise InputError(f"{where}: is empty; it needs column names and rows")
    if what := foreign(raw):
        fix = "save its table as CSV or Parquet"
        if "gzip" in what:
            fix = "decompress it, or give it a name that ends in .csv.gz or .jsonl.gz"
        elif "Parquet" in what or "Arrow" in what:
            fix = "give it a name that ends in .parquet or .arrow"
        raise InputError(f"{where}: is {what}, not text; {fix}")


def blank(where: str, lines: bool) -> InputError:
    what = "blank lines" if lines else "a byte-order mark"
    return InputError(f"{where}: is empty but for {what}; it needs column names and rows")


def _as_utf8(where: str, raw: bytes, encoding: str) -> Text:
    name = codecs.lookup(encoding).name.replace("_", "-")
    try:
        data = raw if name == "utf-8" and raw.isascii() else raw.decode(encoding).encode("utf-8")
    except UnicodeDecodeError as error:
        raise not_valid(where, name, _bad_byte(raw, error, encoding)) from None
    except UnicodeError as error:
        raise InputError(f"{where}: cannot be read as {name}: {inert(str(error))}; name another --encoding") from None
    return Text(where, data, name, [])


def not_valid(where: str, name: str, fault: str) -> InputError:
    return InputError(f"{where}: is not valid {name}: {fault}; mend it or name another --encoding")


def neither(where: str, fault: str, other: str) -> InputError:
    """The faults that a text has as UTF-8 and as cp949."""
    return InputError(f"{where}: is not valid UTF-8: {fault}; nor cp949: {other}; name its --encoding, such as latin-1")


def damaged(where: str, fault: str) -> InputError:
    """A fault in what is UTF-8 without a doubt."""
    fix = "mend it, or name the --encoding that it should be read as"
    return InputError(f"{where}: is not valid UTF-8: {fault}, after text that is; {fix}")


# Whole characters of three bytes are next to impossible in cp949: with a fault behind them it is UTF-8 with damage.
SURELY_UTF8 = re.compile("[^\0-\u07ff\ufeff]")


def _guess(where: str, raw: bytes) -> Text:
    """Strict UTF-8, else strict cp949 (the superset of euc-kr that Windows writes), said in a note."""
    _refuse_nul(where, raw)
    try:
        if not raw.isascii():
            raw.decode("utf-8")
        return Text(where, raw, "utf-8", [])
    except UnicodeDecodeError as error:
        start, fault = error.start, _bad_byte(raw, error, "utf-8")
    if SURELY_UTF8.search(raw[:start].decode("utf-8")):
        raise damaged(where, fault)
    try:
        text = raw.decode("cp949")
    except UnicodeDecodeError as error:
        raise neither(where, fault, _bad_byte(raw, error, "cp949")) from None
    return Text(where, text.encode("utf-8"), "cp949", [read_as_cp949(text)])


def read_as_cp949(text: str) -> str:
    """The note on a text that is no UTF-8, with its first word of other letters than ASCII."""
    sample = re.search("[^\0-\x7f]+", text)
    shown = inert(sample.group(), 20) if sample else ""
    return f'read as cp949 (not valid UTF-8; its first such word is "{shown}"); say --encoding to choose another'


def _bad_byte(raw: bytes, error: UnicodeDecodeError, encoding: str) -> str:
    before = raw[: error.start].decode(encoding, "ignore").encode("utf-8", "ignore")
    return bad_byte(line_at(before), error.start, raw[error.start : error.start + 1])


def bad_byte(line: int, offset: int, byte: bytes) -> str:
    return f"line {line}, byte offset {offset} (0x{byte.hex().upper()})"


def _refuse_nul(where: str, data: bytes) -> None:
    at = data.find(b"\0")
    if at >= 0:
        raise has_nul(where, data, at, line_at(data[:at]))


def has_nul(where: str, data: bytes, at: int, line: int) -> InputError:
    """A NUL byte at an offset, in data that begins so."""
    fix = "it is not a text file"
    head = data[:2000]
    if head.count(b"\0") * 3 > len(head):
        order = "le" if head[1::2].count(b"\0") > head[::2].count(b"\0") else "be"
        fix = f"it looks like UTF-16 without a byte-order mark: say --encoding utf-16-{order}"
    return InputError(f"{where}, line {line}: a NUL byte at offset {at}; {fix}")
