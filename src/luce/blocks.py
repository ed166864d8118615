"""Tables larger than memory: the rows of a file in frames, as `read_file` has them; the files of a folder."""

from __future__ import annotations

import codecs
import glob
import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO, TYPE_CHECKING

from luce.columnar import ARROW_STARTS, PARQUET_START, parquet_frames
from luce.delimited import delimited_frames
from luce.errors import InputError, inert
from luce.json_lines import json_forms, json_frames
from luce.labelled_lines import PREFIX, is_labelled, read_labelled_lines
from luce.reader import (
    BINARY_KINDS,
    BOMS,
    SURELY_UTF8,
    bad_byte,
    blank,
    cannot_read,
    check_encoding,
    check_start,
    damaged,
    has_changed,
    has_nul,
    identity,
    is_json,
    kind_of,
    most_unzipped,
    neither,
    not_valid,
    not_whole_gzip,
    open_at_once,
    pieces_of,
    read_as_cp949,
    read_file,
    refuse_foreign,
    standard_input,
    status_of,
    unknown_suffix,
)
from luce.text_source import SAMPLE, Text, clean_names, last_line_end, line_at

if TYPE_CHECKING:
    import polars as pl

ROWS = 1 << 16
TEXT_BYTES = 8 << 20  # of a text for a frame
CELL_BYTES = 64 << 20  # of the cells of a Parquet file at once

_FORMS = {"csv": "CSV", "tsv": "CSV", "txt": "CSV", "jsonl": "JSON lines", "parquet": "Parquet", "arrow": "Arrow"}


# ---------------------------------------------------------------------------------------------------- files


def files_of(source: str | os.PathLike[str]) -> list[str]:
    """The table files that a file, a folder or a glob such as data/*.parquet names, in the order of the bytes of their
    names.

    Of a folder and a glob, names that begin with . or _ and files that are no tables are passed over; all others are of
    one form: Parquet, Arrow, JSON lines, or CSV and TSV. Raises InputError if nothing is left, if forms mix, for a
    folder inside, and for a file that cannot be read.
    """
    name = os.fspath(source)
    if name == "-" or os.path.isfile(name) or not (os.path.isdir(name) or glob.has_magic(name)):
        if name != "-":
            status_of(name, inert(name, 4096))
        return [name]
    where, folder = inert(name, 4096), os.path.isdir(name)
    try:
        found = [os.path.join(name, each) for each in os.listdir(name)] if folder else glob.glob(name)
    except OSError as error:
        raise cannot_read(where, error) from None
    found = sorted((each for each in found if not os.path.basename(each).startswith((".", "_"))), key=os.fsencode)
    for each in found:
        if os.path.isdir(each):
            raise InputError(
                f"{where}: {inert(each, 4096)} is a folder; name the folder or the files that hold the rows"
            )
    files = [each for each in found if kind_of(each)[0] != "other"]
    forms = {_FORMS[kind_of(each)[0]]: each for each in reversed(files)}
    if not files:
        what = "holds no table file" if folder else "matches no table file"
        raise InputError(f"{where}: {what} (.csv, .tsv, .jsonl, .parquet)")
    if len(forms) > 1:
        (one, first), (other, second) = list(forms.items())[-1:-3:-1]
        names = f"{inert(first, 4096)} is {one}, {inert(second, 4096)} is {other}"
        raise InputError(f"{where}: files of one form at a time: {names}; name one form by a pattern such as '*.csv'")
    for each in files:
        status_of(each, inert(each, 4096))
        if not os.access(each, os.R_OK):
            raise InputError(f"{inert(each, 4096)}: cannot be read: Permission denied")
    return files


# ---------------------------------------------------------------------------------------------------- frames


def frames(
    path: str | os.PathLike[str],
    *,
    encoding: str | None = None,
    rows: int = ROWS,
    begun: bytes = b"",
    told: Callable[[float], None] = lambda share: None,
    notes: list[str] | None = None,
) -> Iterator[pl.DataFrame]:
    """The rows of a file, or of standard input for "-", in order, in frames of at most so many rows, in flat memory.

    One behind the other they are the frame of `read_file`, with its names and types, or its error is raised, at the
    latest behind the last of them. A file is read more than once where its encoding or the types of JSON lines hang on
    all of it. Standard input is read once: an error may come behind rows, a text that is no UTF-8 is taken as cp949 if
    all before its first such character was ASCII, and the first JSON lines settle columns and types, which later ones
    keep to, or InputError says which does not. Arrow files, and Parquet from standard input, are read whole.
    Of lines without a label, which are refused, those of one part are counted.
    begun: what was read of standard input already. told: is called with the share of a file that has been read. notes:
    gets what the user should know of names and of the encoding, as `read_file` says it.
    """
    name = os.fspath(path)
    where = "standard input" if name == "-" else inert(name, 4096)
    check_encoding(encoding)
    names: list[str] | None = None
    notes = [] if notes is None else notes
    try:
        for frame in _read(name, where, encoding, begun, told, notes):
            names = names or clean_names(where, frame.columns, notes)
            frame.columns = names
            yield from frame.iter_slices(rows)
    except MemoryError:
        raise InputError(f"{where}: does not fit in this machine's memory; split it") from None


def begins_with_labels(path: str, encoding: str | None = None) -> bool:
    """Whether the lines of a file begin with labels, as fastText has them."""
    source = _File(path, inert(path, 4096), lambda share: None)
    if source.kind not in ("txt", "other"):
        return False
    first, _ = _with_sample(source.pieces())
    text = first.decode(_named(encoding, first) or "utf-8", "ignore").encode()
    return is_labelled(text.removeprefix(codecs.BOM_UTF8))


def _read(
    name: str, where: str, encoding: str | None, begun: bytes, told: Callable[[float], None], notes: list[str]
) -> Iterator[pl.DataFrame]:
    source = _Input(where, begun) if name == "-" else _File(name, where, told)
    if source.kind == "parquet" and isinstance(source, _File):
        return source.parquet(notes)
    if source.kind in BINARY_KINDS.values():
        whole = read_file(name, begun=source.begun)
        notes += whole.notes
        return iter([whole.frame])
    codec = _codec(source, encoding, notes) if isinstance(source, _File) else None
    return _text_frames(source, encoding, codec)


def _text_frames(source: _File | _Input, encoding: str | None, codec: str | None) -> Iterator[pl.DataFrame]:
    """codec: that of a file, whose bytes have been looked at."""
    where, kind = source.where, source.kind

    def pieces(last: bool = False) -> Iterator[bytes]:
        return _decoded(source, codec, last) if codec else _checked(source, encoding)

    first, data = _with_sample(pieces(True))
    if kind in ("txt", "unknown", "other") and is_labelled(first):
        returns = b"\n" not in first if codec is None else not any(b"\n" in piece for piece in pieces())
        for text in _lines(data, where, returns):
            frame = read_labelled_lines(text)
            if frame.height:
                yield frame
    elif kind == "other":
        raise unknown_suffix(source.name, where)
    elif is_json(kind, first):
        forms = json_forms(_lines(pieces(), where)) if codec else None
        yield from json_frames(_lines(data, where), forms)
    else:
        yield from delimited_frames(data, where, "\t" if kind == "tsv" else None, TEXT_BYTES)


def _with_sample(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """More than SAMPLE bytes of the pieces, or all, and the pieces."""
    first = b""
    while len(first) <= SAMPLE and (piece := next(pieces, b"")):
        first += piece

    def again() -> Iterator[bytes]:
        yield first
        yield from pieces

    return first, again()


def _lines(pieces: Iterable[bytes], where: str, returns: bool | None = None) -> Iterator[Text]:
    """Whole lines, about TEXT_BYTES at a time. returns: whether lines end with CR alone; None: a CR does too."""
    data, line = b"", 1
    for piece in pieces:
        data += piece
        while len(data) >= TEXT_BYTES:
            head = data[: max(TEXT_BYTES, len(data) - len(piece))]
            end = head.rfind(b"\n") + 1 if returns is False else last_line_end(head)
            if not end:
                break
            text = Text(where, data[:end], "utf-8", [], line)
            line += line_at(text.data) - 1
            yield text
            data = data[end:]
    if data:
        yield Text(where, data + b"\n" if returns is False else data, "utf-8", [], line)


# ---------------------------------------------------------------------------------------------------- bytes


class _Input:
    """Standard input; `begun` is what was read of it."""

    name = "-"

    def __init__(self, where: str, begun: bytes) -> None:
        self.where, self.begun = where, begun
        try:
            while len(self.begun) < 8 and (piece := standard_input().read(8 - len(self.begun))):
                self.begun += piece
        except (OSError, ValueError) as error:
            raise InputError(f"{where}: cannot be read: {inert(str(error))}") from None
        self.kind = "parquet" if self.begun.startswith(PARQUET_START) else "unknown"
        if self.begun.startswith(ARROW_STARTS):
            self.kind = "arrow"

    def pieces(self, last: bool = True) -> Iterator[bytes]:
        try:
            yield from pieces_of(standard_input(), self.where, text=True, begun=self.begun)
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.where}: cannot be read: {inert(str(error))}") from None


class _File:
    """A file that stays as it is while it is read, or InputError is raised."""

    begun = b""

    def __init__(self, name: str, where: str, told: Callable[[float], None]) -> None:
        self.name, self.where, self.told = name, where, told
        self.status = status_of(name, where)
        self.kind, self.zipped = kind_of(name)

    def pieces(self, last: bool = False) -> Iterator[bytes]:
        """The bytes, from the start, without compression; for the last time."""
        most = most_unzipped(self.status.st_size) if self.zipped else None
        try:
            with open(self.name, "rb", opener=open_at_once) as file:
                if self.kind == "other" and PREFIX.encode() not in file.peek().replace(b"\0", b""):  # of UTF-16
                    raise unknown_suffix(self.name, self.where)
                stream: IO[bytes] = gzip.GzipFile(fileobj=file) if self.zipped else file  # type: ignore[assignment]
                for piece in pieces_of(stream, self.where, text=True, most=most):
                    if last:
                        self.told(file.tell() / max(self.status.st_size, 1))
                    yield piece
                self.check(file)
        except InputError:
            raise
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.check()
            raise not_whole_gzip(self.where, error) from None
        except (OSError, ValueError) as error:
            raise cannot_read(self.where, error) from None

    def parquet(self, notes: list[str]) -> Iterator[pl.DataFrame]:
        try:
            with open(self.name, "rb", opener=open_at_once) as file:
                check_start(self.where, file.read(SAMPLE), self.kind)
                for frame, share in parquet_frames(self.where, self.name, file, CELL_BYTES, notes):
                    self.check()
                    self.told(share)
                    yield frame
                self.check()
        except InputError:
            self.check()  # first, as it explains the rest
            raise
        except (OSError, ValueError) as error:
            raise cannot_read(self.where, error) from None

    def check(self, file: IO[bytes] | None = None) -> None:
        """Raises InputError unless the file is as it was, and read to its end if it is given."""
        try:
            now = os.stat(self.name) if file is None else os.fstat(file.fileno())
        except OSError:
            raise has_changed(self.where) from None
        if identity(now) != identity(self.status) or (file is not None and file.tell() != now.st_size):
            raise has_changed(self.where)


# ---------------------------------------------------------------------------------------------------- characters


class _FaultError(Exception):
    """A byte that is no text: where and which; `at` is its offset, `kept` what was read before the piece it is in and
    not yet decoded."""

    def __init__(self, said: str, at: int, kept: bytes) -> None:
        super().__init__(said)
        self.at, self.kept = at, kept


class _Strict:
    """Bytes to UTF-8 without a byte-order mark, in pieces of whole characters."""

    def __init__(self, where: str, codec: str) -> None:
        self.where, self.codec, self.name = where, codec, codecs.lookup(codec).name.replace("_", "-")
        try:
            self.decoder = codecs.getincrementaldecoder(codec)("strict")
        except LookupError:
            what = f"the encoding {self.name} goes by the whole of a text"
            raise InputError(f"{where}: {what}; convert the file to UTF-8") from None
        self.offset = 0  # of the next byte
        self.line = _Line()
        self.begun = False
        self.mark = b""  # what may begin a byte-order mark

    def feed(self, piece: bytes) -> bytes:
        """The UTF-8 of a piece, or of the end for b""; raises _FaultError."""
        kept, state = self.decoder.getstate()
        if self.name == "utf-8" and not kept and piece.isascii():
            data = piece
        else:
            try:
                text = self.decoder.decode(piece, not piece)
            except UnicodeDecodeError as error:
                raise self._fault(error, kept, state) from None
            except UnicodeError as error:
                what = f"cannot be read as {self.name}: {inert(str(error))}; name another --encoding"
                raise InputError(f"{self.where}: {what}") from None
            if self.name == "utf-8":
                data = kept + piece[: len(piece) - len(self.decoder.getstate()[0])]
            else:
                data = text.encode("utf-8")
        self.offset += len(piece)
        self.line.pass_over(data)
        return data if self.begun else self._unmarked(data, not piece)

    def turned(self, codec: str, back: int) -> _Strict:
        """Another codec from here on, or from so many bytes before."""
        other = _Strict(self.where, codec)
        other.offset, other.line, other.begun, other.mark = self.offset - back, self.line, self.begun, self.mark
        return other

    def _unmarked(self, data: bytes, last: bool) -> bytes:
        data = self.mark + data
        if len(data) < 3 and not last:
            self.mark = data
            return b""
        self.begun = True
        return data.removeprefix(codecs.BOM_UTF8)

    def _fault(self, error: UnicodeDecodeError, kept: bytes, state: int) -> _FaultError:
        decoder = codecs.getincrementaldecoder(self.codec)("ignore")
        decoder.setstate((b"", state))
        before = decoder.decode(error.object[: error.start]).encode("utf-8", "ignore")
        at = self.offset - len(kept) + error.start
        said = bad_byte(self.line.behind(before), at, error.object[error.start : error.start + 1])
        return _FaultError(said, at, kept)


class _Line:
    """The number of the line that data in pieces has come to."""

    def __init__(self) -> None:
        self.number, self.after_return = 1, False

    def behind(self, data: bytes) -> int:
        return self.number + line_at(data) - 1 - (self.after_return and data.startswith(b"\n"))

    def pass_over(self, data: bytes) -> None:
        if data:
            self.number, self.after_return = self.behind(data), data.endswith(b"\r")


class _Nul:
    """The first NUL byte of data that comes in pieces."""

    def __init__(self, where: str) -> None:
        self.where, self.head, self.size, self.line = where, b"", 0, _Line()
        self.error: InputError | None = None

    def feed(self, data: bytes) -> None:
        if self.error is not None:
            return
        if len(self.head) < 2000:
            self.head += data[:2000]
        at = data.find(b"\0")
        if at >= 0:
            self.error = has_nul(self.where, self.head, self.size + at, self.line.behind(data[:at]))
        self.line.pass_over(data)
        self.size += len(data)


def _named(encoding: str | None, first: bytes) -> str | None:
    """The codec that was asked for, or that a byte-order mark says."""
    return encoding or next((name for bom, name in BOMS.items() if first.startswith(bom)), None)


def _codec(source: _File, encoding: str | None, notes: list[str]) -> str:
    """The codec of a file, all bytes of which have been looked at; raises InputError as `read_file` does."""
    first, data = _with_sample(source.pieces())
    refuse_foreign(source.where, first)
    named = _named(encoding, first)
    strict, raw, decoded = _Strict(source.where, named or "utf-8"), _Nul(source.where), _Nul(source.where)
    fault: _FaultError | None = None
    lines = filled = False
    for piece in _and_end(data):
        if named is None:
            raw.feed(piece)
        if fault is None:
            try:
                text = strict.feed(piece)
            except _FaultError as found:
                fault = found
                continue
            if named is not None:
                decoded.feed(text)
            filled = filled or bool(text.strip(b"\r\n"))
            lines = lines or bool(text)
    if raw.error is not None:
        raise raw.error
    if fault is not None and named is not None:
        raise not_valid(source.where, strict.name, str(fault))
    if fault is not None:
        return _as_cp949(source, fault, notes)
    if not filled:
        raise blank(source.where, lines)
    if decoded.error is not None:
        raise decoded.error
    return named or "utf-8"


def _as_cp949(source: _File, fault: _FaultError, notes: list[str]) -> str:
    """Of a text that is no UTF-8."""
    strict, whole, left = _Strict(source.where, "cp949"), codecs.getincrementaldecoder("utf-8")(), fault.at
    other: _FaultError | None = None
    sample = ""
    for piece in _and_end(source.pieces()):
        if left > 0:
            before, left = piece[:left], left - len(piece)
            if SURELY_UTF8.search(whole.decode(before)):
                raise damaged(source.where, str(fault))
        if other is None:
            try:
                text = strict.feed(piece)
                sample = sample or ("" if text.isascii() else text.decode())
            except _FaultError as found:
                other = found
        if left <= 0 and other is not None:
            raise neither(source.where, str(fault), str(other))
    notes.append(read_as_cp949(sample))
    return "cp949"


def _and_end(pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield from pieces
    yield b""


def _decoded(source: _File | _Input, codec: str, last: bool = False) -> Iterator[bytes]:
    """UTF-8 of bytes that have been looked at before; for the last time."""
    strict = _Strict(source.where, codec)
    for piece in _and_end(source.pieces(last)):
        try:
            data = strict.feed(piece)
        except _FaultError:
            raise has_changed(source.where) from None
        if data:
            yield data


def _checked(source: _File | _Input, encoding: str | None) -> Iterator[bytes]:
    """UTF-8 of bytes as they come, up to the first fault."""
    where = source.where
    first, pieces = _with_sample(source.pieces())
    refuse_foreign(where, first)
    named = _named(encoding, first)
    strict, nul = _Strict(where, named or "utf-8"), _Nul(where)
    plain = named is None and not first.startswith(codecs.BOM_UTF8)  # nothing but ASCII so far
    fault: _FaultError | None = None
    lines = filled = False
    for piece in _and_end(pieces):
        try:
            data = strict.feed(piece)
        except _FaultError as found:
            if named is not None:
                raise not_valid(where, strict.name, str(found)) from None
            if fault is not None:
                raise neither(where, str(fault), str(found)) from None
            if not plain or not (found.kept + piece)[: found.at - strict.offset + len(found.kept)].isascii():
                raise damaged(where, str(found)) from None
            fault, strict = found, strict.turned("cp949", len(found.kept))
            try:
                data = strict.feed(found.kept + piece)
            except _FaultError as other:
                raise neither(where, str(fault), str(other)) from None
        nul.feed(data)
        if nul.error is not None:
            raise nul.error
        filled, lines, plain = filled or bool(data.strip(b"\r\n")), lines or bool(data), plain and data.isascii()
        if data:
            yield data
    if not filled:
        raise blank(where, lines)
