"""JSON lines: the values as they were spelled, or the line that is wrong."""

from __future__ import annotations

import json

import polars as pl
import pytest
from reading import error_of, rows

from luce import json_lines, text_source
from luce.errors import LimitError
from luce.reader import read_file


def test_types(write):
    lines = [
        {"i": 1, "f": 1, "s": "x", "b": True, "n": None},
        {"i": None, "f": 2.5, "s": "", "b": False, "late": "가"},
    ]
    text = "\n".join(map(json.dumps, lines)).replace("\n", "\r\n\n  \n")
    table = read_file(write("\ufeff" + text, "t.jsonl"))
    want = {"i": pl.Int64, "f": pl.Float64, "s": pl.String, "b": pl.Boolean, "n": pl.String, "late": pl.String}
    assert dict(table.frame.schema) == want
    assert rows(table) == [(1, 1.0, "x", True, None, None), (None, 2.5, "", False, None, "가")]


@pytest.mark.parametrize(
    ("values", "want"),
    [
        (["1", '"x"', "1.50", "true", "null"], ["1", "x", "1.50", "true", None]),
        (["true", "1"], ["true", "1"]),
        (["1", "99999999999999999999"], ["1", "99999999999999999999"]),
        (["0.5", "9007199254740993"], ["0.5", "9007199254740993"]),
        (["1.5", "1e400"], ["1.5", "1e400"]),
        (["9223372036854775807"], [2**63 - 1]),
        (["0.1", "-2E-3", "0.30000000000000004"], [0.1, -0.002, 0.30000000000000004]),
    ],
)
def test_numbers_keep_their_digits(write, values, want):
    text = "".join(f'{{"a": {value}}}\n' for value in values)
    assert read_file(write(text, "t.ndjson")).frame["a"].to_list() == want


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a": 1', "is not one JSON object"),
        ('{"a": 1} {"a": 2}', "is not one JSON object"),
        ("[1, 2]", "is not an object"),
        ("3", "is not an object"),
        ('{"a": [1]}', 'column "a" holds a list'),
        ('{"b": {"c": 1}}', 'column "b" holds an object'),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ('{"a": 1, "b": 2, "a": 1}', 'the key "a" comes twice'),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"a": 01}', "is not one JSON object"),
        ('{"a": "x\ty"}', "is not one JSON object"),
    ],
)
def test_errors_name_the_line(write, line, said):
    message = error_of(write(f'{{"a": 1}}\n\n{line}\n', "t.jsonl"))
    assert "line 3: " in message
    assert said in message


def test_whole_surrogate_pairs_are_text(write):
    assert rows(read_file(write('{"a": "\\ud83d\\ude00"}\n', "t.jsonl"))) == [("😀",)]


def test_d06_ever_new_keys(write, monkeypatch):
    monkeypatch.setattr(json_lines, "MAX_JSON_CELLS", 10_000)
    text = "".join(f'{{"k{i}": 1}}\n' for i in range(200))
    assert "MAX_JSON_CELLS" in error_of(write(text, "t.jsonl"), LimitError)
    monkeypatch.setattr(text_source, "MAX_COLUMNS", 20)
    assert "MAX_COLUMNS" in error_of(write(text, "t.jsonl"), LimitError)


def test_without_keys(write):
    assert "no keys" in error_of(write("{}\n{}\n", "t.jsonl"))
