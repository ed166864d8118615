"""Helpers for the tests of tables: what a column is, its cells as Python values, spellings that look alike."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np

from luce.errors import InputError
from luce.schema import Column, infer_schema, parse
from luce.table import Table


def column(cells: list[Any], name: str = "x", **kinds: str) -> Column:
    return infer_schema(Table.of({name: cells}), kinds).columns[0]


def parsed(cells: list[Any], kind: str | None = None) -> list[Any]:
    """The cells as Python values with None for missing, under the kind found or under the kind asked for."""
    table = Table.of({"x": cells})
    found = parse(table, infer_schema(table, {"x": kind} if kind else {}))["x"]
    if isinstance(found, np.ndarray):
        assert found.dtype == np.float64
        return [None if value != value else value for value in found.tolist()]
    return found.to_list()


def twins(text: str) -> tuple[str, str]:
    """The composed and the decomposed form, which look alike."""
    nfc, nfd = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
    assert nfc != nfd
    return nfc, nfd


def numbers_as_text(count: int = 30) -> list[Any]:
    return [f"{value + 0.5}" for value in range(count)]


def same_parsed(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert list(one) == list(other)
    for name, values in one.items():
        if isinstance(values, np.ndarray):
            np.testing.assert_array_equal(values, other[name])
        else:
            assert values.to_list() == other[name].to_list(), name


def check_one_line(error: InputError) -> None:
    assert len(str(error).splitlines()) == 1
