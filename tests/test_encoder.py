"""The encoder: from checked cells to the columns of a design matrix, and what stands in each."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import polars as pl
import pytest
import reference

from luce.encoder import (
    FEW_VALUES,
    LEAST_COUNT,
    LINEAR_TO,
    MOST_LEVELS,
    VALUE_SIZE,
    CategoryPlan,
    DatePlan,
    Encoder,
    NumberPlan,
    ValuesPlan,
)
from luce.features import Features
from luce.table import Column, Schema, Table, infer_schema, parse

NAN = np.nan
FLOAT32 = 2.0**-23
"""Dense columns are float32: numbers near 1 are rounded by half of this at most."""


def fitted(columns: dict[str, Any], kinds: dict[str, str] | None = None) -> tuple[Encoder, Schema]:
    table = Table.of(columns)
    schema = infer_schema(table, kinds)
    return Encoder.fit(schema, parse(table, schema)), schema


def encoded(encoder: Encoder, schema: Schema, columns: dict[str, Any]) -> dict[str, list[float]]:
    """What stands in each column, by its name."""
    features = encoder.transform(parse(Table.of(columns), schema))
    wide = reference.dense(features)
    assert wide.shape[1] == features.columns == len(encoder.names)
    assert len(set(encoder.names)) == len(encoder.names)
    return dict(zip(encoder.names, wide.T.tolist(), strict=True))


def both(columns: dict[str, Any], kinds: dict[str, str] | None = None) -> dict[str, list[float]]:
    return encoded(*fitted(columns, kinds), columns)


MIXED: dict[str, Any] = {
    "age": [31.5, 47.25, None, 22.0, 68.5, 55.0, 31.5, 40.0] * 3,
    "income": [float(2**i) for i in range(24)],
    "rooms": [1, 2, 3, 3, 2, 1, None, 2] * 3,
    "member": [True, False, None, True, True, False, False, True] * 3,
    "town": ["서울", "Oslo", None, "서울", "Oslo", "서울", "Oslo", "서울"] * 2
    + ["서울", "Bern", None, "서울", "Oslo", "서울", "Oslo", "서울"],
    "since": ([datetime.datetime(2020, m, 3 * m, m, 30) for m in range(1, 8)] + [None]) * 3,
}


# --- numbers -------------------------------------------------------------------------------------------------------


def test_a_number_is_its_distance_from_the_mean_in_standard_deviations() -> None:
    x = np.random.default_rng(0).normal(40, 3, 1000)
    encoder, schema = fitted({"x": x})
    plan = encoder.numbers[0]
    assert (plan.mean, plan.scale) == pytest.approx((x.mean(), x.std()), rel=1e-12)  # sums of 1000 numbers
    z = (x - x.mean()) / x.std()
    near = np.abs(z) <= LINEAR_TO
    assert near.sum() > 500
    assert np.array(encoded(encoder, schema, {"x": x})["x"])[near] == pytest.approx(z[near], abs=LINEAR_TO * FLOAT32)


def test_outliers_count_by_their_logarithm() -> None:
    plan = NumberPlan("x", mean=2.0, scale=4.0, missing=False)
    z = np.array([-1e6, -LINEAR_TO - 1, -LINEAR_TO, -0.5, 0, 0.25, LINEAR_TO, LINEAR_TO + 1, 1e300])
    out = np.empty((len(z), 1), dtype=np.float32)
    plan.fill(z * 4 + 2, out)
    beyond = np.maximum(np.abs(z) - LINEAR_TO, 0)
    wanted = np.sign(z) * (np.minimum(np.abs(z), LINEAR_TO) + np.log1p(beyond))
    assert out[:, 0] == pytest.approx(wanted, rel=FLOAT32)
    assert np.all(np.diff(out[:, 0]) > 0), "the order of numbers must stay"
    assert np.isfinite(out).all()


def test_missing_numbers_are_0_and_have_a_column_that_says_so() -> None:
    columns = both({"x": [1.5, None, 2.5, NAN, 9.0]})
    assert columns["x is missing"] == [0, 1, 0, 1, 0]
    assert columns["x"][1] == columns["x"][3] == 0
    known = np.array(columns["x"])[[0, 2, 4]]
    assert np.sign(known).tolist() == [-1, -1, 1]


def test_no_missing_column_where_nothing_was_missing_and_a_later_gap_is_the_mean() -> None:
    encoder, schema = fitted({"x": [1.5, 2.5, 9.0, 7.25], "y": [1.0, 2.0, 1.5, NAN]})
    assert "x is missing" not in encoder.names
    later = encoded(encoder, schema, {"x": [NAN, (1.5 + 2.5 + 9.0 + 7.25) / 4], "y": [1.0, 1.0]})
    assert later["x"] == [0, 0]


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_two_valued_numbers_are_scaled_as_if_equally_frequent(share: float) -> None:
    """A rare flag by its own deviation would be 10 where it is set, and the penalty would hardly hold it back."""
    flag = np.arange(1000) < 1000 * share
    encoder, _ = fitted({"x": np.where(flag, 7.0, 5.0), "flag": flag})
    assert [(p.name, p.scale) for p in encoder.numbers] == [("x", 1.0), ("flag", 0.5)]
    assert encoder.values == (), "one column says all of two values"


@pytest.mark.parametrize("x", [[3.5] * 5 + [NAN], [1e16, 1e16 + 2, 1e16 + 4, 1e16], [1e308, -1e308, 1e308, 0.0]])
def test_numbers_without_usable_spread_are_0_and_break_nothing(x: list[float]) -> None:
    plan = NumberPlan.fit("x", np.array(x))
    out = np.empty((len(x), len(plan.names)), dtype=np.float32)
    plan.fill(np.array(x), out)
    assert np.isfinite(out).all()
    assert np.abs(out[:, 0]).max() <= LINEAR_TO


# --- few values ----------------------------------------------------------------------------------------------------


def test_a_number_with_few_values_also_has_a_column_for_each() -> None:
    columns = both({"x": [1, 2, 5, 2, 1, 5, 1, 2]})
    assert list(columns) == ["x", "x = 1", "x = 2", "x = 5", "x = another value"]
    assert columns["x = 2"] == [0, VALUE_SIZE, 0, VALUE_SIZE, 0, 0, 0, VALUE_SIZE]
    assert columns["x = another value"] == [0] * 8


def test_new_rare_and_missing_values_are_another_value() -> None:
    x = [1.0, 2.0, 5.0, 2.0, 1.0, 5.0, 8.0]  # 8 occurs once
    assert LEAST_COUNT == 2
    encoder, schema = fitted({"x": x, "y": [0.5, 1, 2, 3, 4, 5, 6]})
    columns = encoded(encoder, schema, {"x": [8, 0, 3, 9, NAN, 5], "y": [1.0] * 6})
    assert columns["x = another value"] == [VALUE_SIZE] * 5 + [0]
    assert columns["x = 5"] == [0] * 5 + [VALUE_SIZE]


@pytest.mark.parametrize(("different", "encoded_by_value"), [(2, False), (3, True), (FEW_VALUES, True)])
@pytest.mark.parametrize("rows", [200, 5000])
def test_how_many_values_are_few(different: int, encoded_by_value: bool, rows: int) -> None:
    assert (ValuesPlan.fit("x", np.arange(rows) % different + 0.5) is not None) == encoded_by_value
    assert ValuesPlan.fit("x", np.arange(rows) % (FEW_VALUES + 1) + 0.5) is None


def test_values_that_all_occur_once_make_no_plan() -> None:
    encoder, _ = fitted({"x": [1.5, 2.5, 4.0], "y": ["a", "a", "b"]})
    assert encoder.values == ()


# --- categories ----------------------------------------------------------------------------------------------------


def test_a_category_has_a_column_for_each_level_one_for_rare_and_one_for_missing() -> None:
    columns = both({"town": ["Oslo", "서울", None, "Bern", "서울", "Oslo"]})
    assert list(columns) == ["town = Oslo", "town = 서울", "town: rare or unseen", "town is missing"]
    assert columns["town = 서울"] == [0, 1, 0, 0, 1, 0]
    assert columns["town: rare or unseen"] == [0, 0, 0, 1, 0, 0]  # Bern occurs once
    assert columns["town is missing"] == [0, 0, 1, 0, 0, 0]


def test_d16_unseen_levels_share_the_column_of_rare_ones_and_are_told() -> None:
    encoder, schema = fitted({"town": ["Oslo", "서울", None, "Bern", "서울", "Oslo"]})
    later = {"town": ["Bern", "Graz", "서울", None, "oslo", "Wien"]}
    columns = encoded(encoder, schema, later)
    assert columns["town: rare or unseen"] == [1, 1, 0, 0, 1, 1]
    assert columns["town = Oslo"] == [0] * 6
    assert encoder.unseen(parse(Table.of(later), schema)) == [("town", 4, "Bern")]
    assert encoder.unseen(parse(Table.of({"town": ["Oslo", None]}), schema)) == []


def test_a_category_of_rare_levels_alone() -> None:
    plan = CategoryPlan.fit("c", pl.Series("c", ["a", "b", None]))
    assert plan.levels == ()
    assert pl.DataFrame({"c": ["a", None, "z"]}).select(plan.code).to_series().to_list() == [0, 1, 0]
    assert pl.DataFrame({"c": []}, {"c": pl.String}).select(plan.code).to_series().to_list() == []


def test_every_row_has_one_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when only the most frequent levels keep a column of their own; of equals the first by name."""
    assert MOST_LEVELS > 100
    monkeypatch.setattr("luce.encoder.MOST_LEVELS", 2)
    columns = both({"c": ["d", "d", "c", "c", "b", "b", "b", "a", None, "c", "d"]})
    assert list(columns) == ["c = b", "c = c", "c: rare or unseen", "c is missing"]
    assert np.sum(list(columns.values()), axis=0).tolist() == [1] * 11


def test_levels_named_like_other_columns_keep_the_columns_apart() -> None:
    """Names may look alike; places are what counts, and there is one for each."""
    encoder, schema = fitted(
        {"c": ["is missing", "rare", "is missing", "rare", "rare"], "c is missing": [1.5, 2, 3, 4, 5]}
    )
    features = encoder.transform(parse(Table.of({"c": ["rare", None, "x"], "c is missing": [1.0, 2.0, 3.0]}), schema))
    assert features.columns == len(encoder.names)
    assert reference.dense(features)[:, 1:].tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]


# --- dates ---------------------------------------------------------------------------------------------------------


def test_a_date_becomes_year_time_month_and_weekday() -> None:
    days = [datetime.datetime(2023, 1, 2, 6, 30), datetime.datetime(2024, 12, 29, 18, 0), None]  # Monday and Sunday
    columns = both({"when": days})
    assert columns["when: month = 1"] == [1, 0, 0]
    assert columns["when: month = 12"] == [0, 1, 0]
    assert columns["when: weekday = Mo"] == [1, 0, 0]
    assert columns["when: weekday = Su"] == [0, 1, 0]
    assert columns["when: year"] == [-1, 1, 0]
    assert columns["when: time of day"] == [-1, 1, 0]
    assert columns["when: year is missing"] == columns["when: time of day is missing"] == [0, 0, 1]


def test_a_missing_date_has_no_month_and_no_weekday() -> None:
    columns = both({"when": [datetime.datetime(2023, 1, 2), datetime.datetime(2023, 5, 9), None]})
    months = [name for name in columns if "month" in name or "weekday" in name]
    assert len(months) == 19
    assert [columns[name][2] for name in months] == [0] * 19
    assert columns["when is missing"][:2] == [0, 0]
    assert columns["when is missing"][2] > 0


def test_dates_written_as_text_give_the_columns_of_typed_dates() -> None:
    days = [datetime.date(2023, 1, 2), datetime.date(2024, 7, 14), datetime.date(2020, 2, 29)]
    assert both({"d": [str(day) for day in days]}) == both({"d": days})


# --- the whole plan ------------------------------------------------------------------------------------------------


def same(a: Features, b: Features) -> bool:
    parts = ("dense", "starts", "indices", "values")
    pairs = [(getattr(a, name), getattr(b, name)) for name in parts]
    equal = all(
        (x is None and y is None) or (x.dtype == y.dtype and x.tobytes("A") == y.tobytes("A")) for x, y in pairs
    )
    return equal and (a.rows, a.columns) == (b.rows, b.columns)


def test_every_kind_of_column_has_its_place_and_name() -> None:
    encoder, schema = fitted(MIXED)
    columns = encoded(encoder, schema, MIXED)
    assert [p.name for p in encoder.numbers] == ["age", "income", "rooms", "member"]
    assert [d.name for d in encoder.dates] == ["since"]
    assert [c.name for c in encoder.categories] == ["town"]
    assert {v.name for v in encoder.values} <= {"age", "rooms"}
    assert all(np.isfinite(column).all() for column in columns.values())


def test_to_json_and_back_gives_the_same_features() -> None:
    """Through text, as in a model file."""
    encoder, schema = fitted(MIXED)
    again = Encoder.from_json(json.loads(json.dumps(encoder.to_json(), allow_nan=False)), schema)
    assert again == encoder
    assert again.names == encoder.names
    cells = parse(Table.of(MIXED), schema)
    assert same(again.transform(cells), encoder.transform(cells))


def test_a_scale_without_end_survives_json() -> None:
    plan = NumberPlan.fit("x", np.array([1e16, 1e16 + 2, 1e16, 1e16]))
    assert plan.scale == np.inf
    facts = json.loads(json.dumps(Encoder((plan,), (), (), ()).to_json(), allow_nan=False))
    again = Encoder.from_json(facts, Schema((Column("x", "number"),)))
    assert again.numbers == (plan,)


def test_a_row_is_encoded_alike_alone_and_in_any_batch() -> None:
    encoder, schema = fitted(MIXED)
    whole = reference.dense(encoder.transform(parse(Table.of(MIXED), schema)))
    for row in range(24):
        one = {name: column[row : row + 1] for name, column in MIXED.items()}
        assert np.array_equal(reference.dense(encoder.transform(parse(Table.of(one), schema)))[0], whole[row])


def test_the_same_table_gives_the_same_plan() -> None:
    assert fitted(MIXED)[0] == fitted(MIXED)[0]
    reordered = {name: column[::-1] for name, column in MIXED.items()}
    a, b = fitted(MIXED)[0], fitted(reordered)[0]
    assert a.categories == b.categories
    assert a.values == b.values


def test_only_numbers_have_no_sparse_part_and_only_categories_no_dense_one() -> None:
    encoder, schema = fitted({"x": np.linspace(0, 1, 30), "y": np.linspace(0, 1, 30) ** 2})
    numbers = encoder.transform(parse(Table.of({"x": [0.5], "y": [0.5]}), schema))
    assert numbers.starts is None
    assert numbers.dense is not None
    assert numbers.dense.dtype == np.float32
    encoder, schema = fitted({"c": ["a", "b"] * 5})
    kinds = {column.kind for column in schema.columns}
    categories = encoder.transform(parse(Table.of({"c": ["a"]}), schema))
    assert kinds == {"category"}
    assert categories.dense is None
    assert categories.values is None


def test_a_frozen_plan_does_not_follow_later_rows() -> None:
    """The mean of the rows at hand must not enter: the same cell has the same column in any company."""
    encoder, schema = fitted({"x": [1.5, 2.5, 3.5, 10.0]})
    alone = encoded(encoder, schema, {"x": [2.5]})["x"][0]
    assert encoded(encoder, schema, {"x": [2.5, 1e6, -1e6]})["x"][0] == alone


def test_date_plans_are_frozen_too() -> None:
    days = pl.Series("d", [datetime.datetime(2020, 1, 1), datetime.datetime(2022, 1, 1)])
    plan = DatePlan.fit("d", days)
    assert (plan.year.mean, plan.year.scale) == (2021, 1)
    assert plan.time.scale == np.inf  # midnight throughout: no information
