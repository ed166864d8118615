"""What the readers of all forms share: a text as UTF-8 with its origin, the limits on size, and sound column names."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from luce.errors import InputError, LimitError, inert

MAX_COLUMNS = 100_000
MAX_INPUT_BYTES = 16 << 30

SAMPLE = 1 << 16  # bytes looked at to tell forms and delimiters


class Text(NamedTuple):
    """A text source, decoded: `data` is UTF-8 without a byte-order mark; `notes` for the user may be added to.

    Of a part of a source, `line` is the number of the line that the data begins in.
    """

    where: str
    data: bytes
    encoding: str
    notes: list[str]
    line: int = 1


def mib(size: int) -> str:
    """A number of bytes for a message."""
    return f"{size >> 20:,} MiB" if size >= 1 << 20 else f"{size:,} bytes"


def line_at(prefix: bytes) -> int:
    """The number of the line that follows a prefix of the file; CRLF, LF and CR each end a line."""
    returns = prefix.count(b"\r") - prefix.count(b"\r\n") if b"\r" in prefix else 0
    return int(np.count_nonzero(np.frombuffer(prefix, np.uint8) == 10)) + returns + 1  # much faster than to count bytes


def last_line_end(data: bytes) -> int:
    """Behind the last line end of data that may go on; 0 without one. A CR ends a line where no LF does."""
    return data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, -1) + 1


def end_of_rows(data: bytes) -> int:
    """Where the last line that is not blank ends."""
    tail = data[-SAMPLE:]
    if kept := tail.rstrip(b"\r\n"):
        return len(data) - len(tail) + len(kept)
    return len(data.rstrip(b"\r\n"))


def clean_names(where: str, raw: Sequence[str], notes: list[str]) -> list[str]:
    """Names in NFC without outer white space; two that a reader could take for one another are refused."""
    check_width(where, len(raw))
    names = [unicodedata.normalize("NFC", name).strip() for name in raw]
    changed = [new for new, old in zip(names, raw, strict=True) if new and new != old]
    if changed:
        notes.append(f'trimmed or composed (NFC) {len(changed)} column name(s), the first is "{inert(changed[0])}"')
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
        said = f'columns {first + 1} "{inert(raw[first])}" and {i + 1} "{inert(raw[i])}"'
        why = "have the same name"
        if raw[first] != raw[i]:
            why = "differ only in " + ("letter case" if name != names[first] else "outer blanks or Unicode form (NFC)")
        raise InputError(f"{where}: {said} {why}; rename one")


def check_width(where: str, count: int) -> None:
    """Raise LimitError for more columns than a table may have."""
    if count > MAX_COLUMNS:
        raise LimitError(f"{where}: has {count:,} columns, more than MAX_COLUMNS ({MAX_COLUMNS:,})")
