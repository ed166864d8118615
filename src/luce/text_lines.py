"""A file or standard input whose every line is a text: in blocks, as they come, never the whole."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import select
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

from luce.errors import InputError, LimitError, inert
from luce.labelled_lines import PREFIX, without_labels
from luce.reader import (
    BOMS,
    MAX_LINE_BYTES,
    cannot_read,
    check_encoding,
    foreign,
    open_at_once,
    standard_input,
    status_of,
)
from luce.text_source import SAMPLE, mib

BLOCK_LINES = 10_000
BLOCK_BYTES = 4 << 20

_PIECE = 1 << 18  # bytes for one read: above the buffer of the stream, so that a read leaves nothing in it


class Source(NamedTuple):
    """Where lines come from; `begun` is what was read of them already."""

    where: str
    stream: IO[bytes] | io.BufferedIOBase
    begun: bytes = b""


@contextmanager
def opened(name: str) -> Iterator[Source]:
    """A file (.gz is unpacked as it is read), or standard input for "-"; raises InputError for what is no file."""
    if name == "-":
        yield Source("standard input", standard_input())
        return
    where = inert(name, 4096)
    status_of(name, where)
    try:
        file = io.BufferedReader(io.FileIO(name, opener=open_at_once))
    except OSError as error:
        raise cannot_read(where, error) from None
    with file:
        yield Source(where, gzip.GzipFile(fileobj=file) if name.lower().endswith(".gz") else file)


def with_first_line(source: Source) -> Source:
    """The source with its first line read, or a sample of a longer one."""
    begun = source.begun
    while b"\n" not in begun and len(begun) < SAMPLE and (piece := _read(source)):
        begun += piece
    return source._replace(begun=begun)


def is_table(begun: bytes, column: str, encoding: str | None = None) -> bool:
    """Whether a source that begins so is no lines of text: a header or a record that names the column, a line with a
    label, or another kind of file."""
    check_encoding(encoding)
    if foreign(begun):
        return True
    codec = encoding or next((name for bom, name in BOMS.items() if begun.startswith(bom)), "utf-8-sig")
    line = begun.decode(codec, "ignore").partition("\n")[0].strip()
    if line.startswith(PREFIX) or (line.startswith("{") and f'"{column}"' in line):
        return True
    return _alike(column) in map(_alike, [line, *re.split("[,\t;|]", line)])


def _alike(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip(' "').casefold()


def blocks(source: Source, encoding: str | None = None) -> Iterator[list[str]]:
    """The texts in order, each without its line end and without the labels (__label__NAME) it may begin with: all that
    can be read at once, but at most BLOCK_LINES of them and about BLOCK_BYTES.

    encoding: by default that of a byte-order mark, else UTF-8. Raises InputError with the line for bytes that are no
    text, after the lines before it, and LimitError for an endless line.
    """
    check_encoding(encoding)
    waiting: list[str] = []
    size = 0
    try:
        for lines in _lines(source, encoding):
            waiting += map(without_labels, lines)
            size += sum(map(len, lines))
            while len(waiting) >= BLOCK_LINES or (waiting and (size >= BLOCK_BYTES or _is_quiet(source))):
                yield waiting[:BLOCK_LINES]
                del waiting[:BLOCK_LINES]
                size = 0
    except InputError:
        if waiting:
            yield waiting
        raise
    if waiting:
        yield waiting


def _is_quiet(source: Source) -> bool:
    """Whether the next read would have to wait for someone to write."""
    try:
        return not select.select([source.stream.fileno()], [], [], 0)[0]
    except (OSError, ValueError):  # bytes in memory
        return False


def _lines(source: Source, encoding: str | None) -> Iterator[list[str]]:
    """The lines that each read has ended, and last the one that no line end follows."""
    begun, number, decoder = source.begun, 1, None
    parts: list[str] = []
    while True:
        piece, begun = begun or _read(source), b""
        decoder = decoder or _decoder(piece, encoding)
        text, fault = _characters(decoder, piece)
        first, *more = text.split("\n")
        parts.append(first)
        if more:
            ended = ["".join(parts), *more[:-1]]
            parts = [more[-1]]
            yield [line.removesuffix("\r") for line in ended]
        number += len(more)
        if fault:
            raise InputError(f"{source.where}, line {number:,}: {fault}")
        if sum(map(len, parts)) > MAX_LINE_BYTES:
            what = f"is longer than MAX_LINE_BYTES ({mib(MAX_LINE_BYTES)})"
            raise LimitError(f"{source.where}, line {number:,}: {what}")
        if not piece:
            break
    if last := "".join(parts):
        yield [last.removesuffix("\r")]


def _read(source: Source) -> bytes:
    """What can be read at once, or after a wait; nothing at the end. Raises InputError."""
    try:
        return source.stream.read1(_PIECE)  # type: ignore[union-attr]  # all streams of bytes with a buffer have it
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{source.where}: is not a whole gzip file: {inert(str(error))}") from None
    except (OSError, ValueError) as error:
        raise cannot_read(source.where, error) from None


def _decoder(piece: bytes, encoding: str | None) -> codecs.IncrementalDecoder:
    found = next((name for bom, name in BOMS.items() if piece.startswith(bom)), "utf-8-sig")
    return codecs.getincrementaldecoder(encoding or found)("strict")


def _characters(decoder: codecs.IncrementalDecoder, piece: bytes) -> tuple[str, str]:
    """The next characters, up to the first fault, and what that is; an empty piece is the end."""
    state = decoder.getstate()
    fault = ""
    try:
        text = decoder.decode(piece, final=not piece)
    except UnicodeDecodeError as error:
        decoder.setstate((b"", state[1]))
        text = decoder.decode(error.object[: error.start])
        name = error.encoding.replace("utf8", "utf-8")
        fault = f"is not valid {name} (byte 0x{error.object[error.start]:02X}); mend it or name another --encoding"
    except UnicodeError as error:
        text, fault = "", f"cannot be read: {inert(str(error))}; name another --encoding"
    at = text.find("\0")
    if at >= 0:
        text, fault = text[:at], "a NUL byte; it is no text, or say --encoding utf-16-le"
    return text, fault
