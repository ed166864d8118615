"""Helpers for the tests of the readers: the error of a read, its rows, a table on standard input."""

from __future__ import annotations

import io
import sys

import pytest

from luce.errors import InputError
from luce.reader import RawTable, read_file


def error_of(path: object, kind: type[InputError] = InputError, **options: str) -> str:
    """The one line of the error that a read must raise."""
    with pytest.raises(kind) as caught:
        read_file(path, **options)  # type: ignore[arg-type]  # some tests hand over what is no path
    assert type(caught.value) is kind
    line = str(caught.value)
    assert "\n" not in line
    assert "\ufffd" not in line
    return line


def rows(table: RawTable) -> list[tuple[object, ...]]:
    return table.frame.rows()


def feed_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
