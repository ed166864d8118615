"""Labels: classes and codes of every type of label column, and what is no class."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsing import numbers_as_text, twins

from luce.errors import InputError
from luce.labels import encode_labels, labels, labels_of
from luce.table import Table


@pytest.mark.parametrize(
    ("values", "classes", "codes"),
    [
        ([3, 1, 3], (1, 3), [1, 0, 1]),
        ([-5, 10**12, -5], (-5, 10**12), [0, 1, 0]),
        ([2.0, 1.0], (1, 2), [1, 0]),
        ([True, False], (False, True), [1, 0]),
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        (["10", "9", "0"], (0, 9, 10), [2, 1, 0]),
        (["10", "09"], ("09", "10"), [1, 0]),
        (["-1", "1"], (-1, 1), [0, 1]),
        (["-1", "-0"], ("-0", "-1"), [1, 0]),
        (["1.5", "0.5"], ("0.5", "1.5"), [1, 0]),
        (["나", "가"], ("가", "나"), [1, 0]),
        (["none", "hate"], ("hate", "none"), [1, 0]),
        (np.array([200, 3], dtype=np.uint8), (3, 200), [1, 0]),
        (np.array([-100, 100], dtype=np.int8), (-100, 100), [0, 1]),
        (np.array([2**64 - 1, 2**64 - 2], dtype=np.uint64), (2**64 - 2, 2**64 - 1), [1, 0]),
        (np.array(["b", "a"]), ("a", "b"), [1, 0]),
        (np.array([[1], [0]]), (0, 1), [1, 0]),
        (pd.Series(["b", "a"], dtype="category"), ("a", "b"), [1, 0]),
        (pl.Series(["b", "a"], dtype=pl.Enum(["b", "a", "z"])), ("a", "b"), [1, 0]),
        (pl.Series([1, 2], dtype=pl.UInt64), (1, 2), [0, 1]),
    ],
)
def test_e09_labels_of_all_types(values: Any, classes: tuple[Any, ...], codes: list[int]) -> None:
    found = labels_of(values)
    assert found.classes == classes
    assert [type(c) for c in found.classes] == [type(c) for c in classes]
    assert found.codes.dtype == np.int64
    assert found.codes.tolist() == codes


def test_e09_mixed_types_and_missing_labels_name_the_first_row() -> None:
    with pytest.raises(InputError, match="label 'y': labels of several types; row 3 holds text, 'a', after a number"):
        labels(Table.of({"y": [1, 2, "a"]}), "y")
    with pytest.raises(InputError, match=r"^y: labels of several types; row 2 holds a truth value"):
        labels_of([1, True])
    with pytest.raises(InputError, match="row 2 holds a number, 1, after text"):
        labels_of(np.array(["a", 1], dtype=object))
    for values in (["a", "b", None, "b", " "], [1.0, 2.0, float("nan"), 1.0, None], [True, False, None, True, None]):
        with pytest.raises(InputError, match="2 rows have no label, the first is row 3; fill them in or drop"):
            labels(Table.of({"y": values}), "y")
    with pytest.raises(InputError, match="1 row has no label, the first is row 1"):
        labels_of(pd.array([None, 1, 2], dtype="Int64").to_numpy(dtype=object, na_value=None))


def test_d14_label_column_missing_names_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        labels(Table.of({"species": ["a"], "length": [1]}, "iris.csv"), "specie")
    assert str(error.value) == (
        "iris.csv: there is no column 'specie' (did you mean 'species'?); the columns are 'species', 'length'"
    )


def test_d14_all_missing_continuous_and_identifier_labels_are_refused() -> None:
    with pytest.raises(InputError, match="no row has a label"):
        labels_of([None, None])
    with pytest.raises(InputError, match="no row has a label"):
        labels_of(["", " "])
    numbers = np.random.default_rng(0).normal(size=100_000)
    with pytest.raises(InputError, match=r"y looks continuous: 100,000 different numbers, such as \S+ in row 1;"):
        labels_of(numbers)
    with pytest.raises(InputError, match=r"looks continuous: 30 different numbers, such as '?0.5"):
        labels_of(numbers_as_text())
    with pytest.raises(InputError, match=r"looks continuous: 2 different numbers, such as 0.5 in row 2"):
        labels_of([1.0, 0.5])
    with pytest.raises(InputError, match="50 different values in 50 rows, too many to be classes"):
        labels_of([f"id{value}" for value in range(50)])
    with pytest.raises(InputError, match="60 different values in 100 rows"):
        labels_of([f"id{value % 60}" for value in range(100)])
    with pytest.raises(InputError, match="holds values of type Date"):
        labels_of([datetime.date(2024, 1, 1)])
    with pytest.raises(InputError, match=r"infinite|continuous"):
        labels_of([1.0, float("inf")])


def test_d14_many_classes_pass_where_rows_are_few_or_repeat() -> None:
    assert len(labels_of([f"id{value}" for value in range(49)]).classes) == 49
    assert len(labels_of(np.arange(6000) % 3000).classes) == 3000
    assert "if they are a quantity" in labels_of(np.arange(6000) % 3000).notes[0]
    assert labels_of(np.arange(6000) % 300).notes == ()


def test_e02_one_class_is_refused() -> None:
    for values in ([1, 1], ["a", " a"], [True]):
        with pytest.raises(InputError, match=r"every row has the label .*; two classes or more"):
            labels_of(values)
    with pytest.raises(InputError, match="y has no labels"):
        labels_of([])


def test_d09_labels_in_two_spellings_are_one_class_with_a_note() -> None:
    found = labels_of([*twins("가"), "나 ", "나"])
    assert found.classes == ("가", "나")
    assert found.codes.tolist() == [0, 0, 1, 1]
    assert "taken as one class" in found.notes[0]
    assert labels_of(["Diabetes ", "Flu"]).notes == ()


def test_a_class_named_like_a_missing_cell_is_noted() -> None:
    assert "'NA' is taken as a class" in labels_of(["NA", "US"]).notes[0]
    assert labels_of(["none", "hate"]).notes == ()


@pytest.mark.parametrize(
    ("values", "classes", "codes"),
    [
        (pl.Series([3, 1, 7]), (1, 3), [1, 0, -1]),
        (pl.Series([3.0, 1.5]), (1, 3), [1, -1]),
        (pl.Series([" 3", "1", "x"]), (1, 3), [1, 0, -1]),
        (pl.Series([3, 1]), ("1", "3"), [1, 0]),
        (pl.Series(["a", twins("가")[1]]), ("a", "가"), [0, 1]),
        (pl.Series(["a", "b"], dtype=pl.Categorical()), ("b", "c"), [-1, 0]),
        (pl.Series([True, False]), (False, True), [1, 0]),
        (pl.Series(["TRUE", "False", "x"]), (False, True), [1, 0, -1]),
        (pl.Series([True, False]), ("False", "True"), [1, 0]),
        (pl.Series(["true", "false"]), ("False", "True"), [1, 0]),
        (pl.Series(["true", "False"]), ("False", "True", "maybe"), [-1, 0]),
        (pl.Series(["3.0", "1.00", "3.5"]), (1, 3), [1, 0, -1]),
        (pl.Series([3.0, 1.0]), ("1.0", "3.0"), [1, 0]),
        (pl.Series(["1", "1.0", "1.00"]), ("1", "1.0"), [0, 1, -1]),
        (pl.Series(["-1", "v1.0"]), (-1, 1), [0, -1]),
    ],
)
def test_labels_encode_by_what_they_say(values: pl.Series, classes: tuple[Any, ...], codes: list[int]) -> None:
    found = encode_labels(values, classes)
    assert found.dtype == np.int64
    assert found.tolist() == codes


def test_e09_encoding_refuses_missing_labels() -> None:
    for values in (pl.Series(["a", None]), pl.Series(["a", ""]), pl.Series([1.0, float("nan")])):
        with pytest.raises(InputError, match=r"test.csv: 1 row has no label, the first is row 2"):
            encode_labels(values, ("a", "b"), "test.csv")


@given(st.lists(st.text(max_size=3), min_size=2, max_size=30))
def test_codes_and_classes_give_the_labels_back(values: list[str]) -> None:
    try:
        found = labels_of(values)
    except InputError:
        return
    bare = [pl.Series([value]).str.strip_chars().str.normalize("NFC")[0] for value in values]
    assert [str(found.classes[code]) for code in found.codes] == bare
    assert encode_labels(pl.Series(values), found.classes).tolist() == found.codes.tolist()


def test_labels_that_differ_in_case_are_told() -> None:
    found = labels_of(["yes", "no", "Yes", "no"])
    assert found.classes == ("Yes", "no", "yes")
    (note,) = found.notes
    assert "differ only in case and are classes of their own; write them alike" in note
    assert "'yes'" in note and "'Yes'" in note
    assert labels_of(["yes", "no", "yes", "no"]).notes == ()
