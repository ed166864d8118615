"""Column names that can be told apart, whatever form the table has."""

from __future__ import annotations

import polars as pl
import pytest
from reading import error_of

from luce.reader import read_file


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("age,x,age", 'columns 1 "age" and 3 "age" have the same name'),
        ("Age,x,age", 'columns 1 "Age" and 3 "age" differ only in letter case'),
        ("age,x, age ", "columns 1 "),
        ("가,x,\u1100\u1161", "Unicode form"),
        ("straße,x,STRASSE", "letter case"),
        (",x,", "columns 1 and 3 have no name"),
        ("a, ,\u3000", "columns 2 and 3 have no name"),
        ("column 2,,c", 'columns 1 "column 2" and 2 ""'),
    ],
)
def test_d10_names_that_can_be_confused(write, header, said):
    assert said in error_of(write(f"{header}\n1,2,3\n"))


def test_d10_names_are_composed_and_trimmed_with_a_note(write):
    table = read_file(write("\u1100\u1161 ,b\n1,2\n"))
    assert table.frame.columns == ["가", "b"]
    assert "NFC" in table.notes[0]


def test_d10_one_empty_name_is_filled_with_a_note(write):
    table = read_file(write(",a\n0,x\n"))
    assert table.frame.columns == ["column 1", "a"]
    assert "column 1 has no name" in table.notes[0]


def test_d10_names_of_typed_files_are_checked_too(tmp_path, write):
    pl.DataFrame({"Age": [1], "age": [2]}).write_parquet(tmp_path / "t.parquet")
    assert "letter case" in error_of(tmp_path / "t.parquet")
    assert "letter case" in error_of(write('{"Age": 1, "age": 2}\n', "t.jsonl"))
    pl.DataFrame({" a": [1]}).write_ipc(tmp_path / "t.arrow")
    assert read_file(tmp_path / "t.arrow").frame.columns == ["a"]
