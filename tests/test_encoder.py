"""The encoder: from checked cells to the columns of a design matrix, and what stands in each."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import reference

import luce
import luce.encoder
from luce.curves import LevelBasis, NumberBasis, curve_sizes, pair_sizes
from luce.encoder import (
    FEW_VALUES,
    LEAST_COUNT,
    LINEAR_TO,
    MET_AGAIN,
    MOST_LEVELS,
    TIMES,
    VALUE_SIZE,
    CategoryPlan,
    DatePlan,
    Encoder,
    NumberPlan,
    ValuesPlan,
)
from luce.errors import ModelFileError
from luce.features import Features
from luce.schema import Column, Schema, infer_schema, parse
from luce.table import Table

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


def test_whole_numbers_of_several_rows_a_value_may_be_codes() -> None:
    x = np.repeat(np.arange(20.0) * 7 + 1e7, 3)
    plan = ValuesPlan.of_codes("zip", np.append(x, NAN))
    assert plan is not None and len(plan.values) == 20
    assert plan.names[:2] == ["zip = 10000000", "zip = 10000007"]
    assert plan.codes(np.array([1e7, 1e7 + 7, 1e7 + 1, NAN])).tolist() == [0, 1, 20, 20]
    assert ValuesPlan.of_codes("zip", x[::3]) is None, "one row a value"
    assert ValuesPlan.of_codes("zip", x + 0.5) is None
    assert ValuesPlan.of_codes("zip", x[: 3 * FEW_VALUES]) is None, "they have their columns already"
    assert ValuesPlan.of_codes("zip", np.array([NAN, NAN])) is None
    assert ValuesPlan.of_codes("zip", np.repeat(np.arange(MOST_LEVELS + 1.0), 3)) is None


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
    columns = both({"town": ["Oslo", "서울", None, "Bern", "서울", "Oslo", "서울", "Oslo"]})
    assert list(columns) == ["town = Oslo", "town = 서울", "town: rare or unseen", "town is missing"]
    assert columns["town = 서울"] == [0, 1, 0, 0, 1, 0, 1, 0]
    assert columns["town: rare or unseen"] == [0, 0, 0, 1, 0, 0, 0, 0]  # Bern occurs once
    assert columns["town is missing"] == [0, 0, 1, 0, 0, 0, 0, 0]


def test_d16_unseen_levels_share_the_column_of_rare_ones() -> None:
    encoder, schema = fitted({"town": ["Oslo", "서울", None, "Bern", "서울", "Oslo", "서울", "Oslo"]})
    later = {"town": ["Bern", "Graz", "서울", None, "oslo", "Wien"]}
    columns = encoded(encoder, schema, later)
    assert columns["town: rare or unseen"] == [1, 1, 0, 0, 1, 1]
    assert columns["town = Oslo"] == [0] * 6


def test_a_level_seen_once_is_rare_unless_others_are_seen_again() -> None:
    """By N1 <= 8 N2: shops of three rows or so keep a column each; identifiers, one row each but for a copy, do not."""
    shops = [f"s{i}" for i in range(40) for _ in range(1 + i % 4)]
    assert len(CategoryPlan.fit("c", pl.Series("c", shops)).levels) == 40
    some = ["a"] * 2 + [f"s{i}" for i in range(MET_AGAIN)]
    assert len(CategoryPlan.fit("c", pl.Series("c", some)).levels) == 1 + MET_AGAIN
    assert CategoryPlan.fit("c", pl.Series("c", [*some, "one more"])).levels == ("a",)
    assert CategoryPlan.fit("c", pl.Series("c", ["a"] * 3 + ["b"])).levels == ("a",)


def test_shops_of_few_rows_are_told_apart() -> None:
    """Each of 400 shops has its own answer and two rows in the mean; of fresh rows most are answered. When levels seen
    once shared a column, 0.83 were."""
    rng = np.random.default_rng(0)
    shop = rng.integers(400, size=4000)
    own = rng.integers(3, size=400)[shop]
    rows = {"shop": [f"s{i}" for i in shop], "answer": [("low", "mid", "top")[i] for i in own]}
    frame = pl.DataFrame(rows)
    known = frame[:800]
    model = luce.Classifier().fit(known, "answer")
    fresh = frame[800:].filter(pl.col("shop").is_in(known["shop"].unique().to_list()))
    right = (model.predict(fresh.drop("answer")) == fresh["answer"].to_numpy()).mean()
    assert right > 0.9


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


def test_hours_and_days_are_told_apart_where_rows_are_many() -> None:
    """Twenty rows for each hour are enough for hours, and too few for days of the month; those have 620."""
    for rows, hours, days in ((479, 0, 0), (480, 24, 0), (620, 24, 31)):
        moments = [datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=7 * k) for k in range(rows)]
        encoder, schema = fitted({"when": [*moments, None]})
        columns = encoded(encoder, schema, {"when": [*moments, None]})
        for mark, count, values in (
            ("hour", hours, [m.hour for m in moments]), ("day", days, [m.day for m in moments]),
        ):  # fmt: skip
            own = [name for name in columns if f": {mark} = " in name]
            assert len(own) == count
            for name in own:
                value = int(name.rpartition(" ")[2])
                assert columns[name] == [*(float(v == value) for v in values), 0.0]
        again = Encoder.from_json(encoder.to_json(), schema)
        assert again == encoder
        old = encoder.to_json()
        old["dates"] = [entry[:3] for entry in old["dates"]]  # as files of older versions have them
        assert not Encoder.from_json(old, schema).dates[0].hours


def test_an_effect_of_the_hour_and_of_the_day_is_found() -> None:
    """At night, and on the first days of a month, one class; the chance of either is that of 9 in 10."""
    rng = np.random.default_rng(0)
    moments = [datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=int(h)) for h in rng.integers(0, 8_760, 3_000)]
    for odd in (lambda m: m.hour < 6 or m.hour > 21, lambda m: m.day < 6):
        y = [bool(odd(m)) ^ (rng.random() < 0.1) for m in moments]
        report = luce.train({"when": moments, "y": y}, "y").report
        assert report is not None
        assert report.accuracy > 0.9 - 4 * (0.09 / report.rows) ** 0.5


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


# --- curves and pairs ----------------------------------------------------------------------------------------------

PAIRS = (("age", "income"), ("income", "town"), ("member", "town"), ("rooms", "age"))


def bent(columns: dict[str, Any] = MIXED) -> tuple[Encoder, Schema]:
    """Columns of every kind, with curves of two numbers and pairs of every two kinds."""
    encoder, schema = fitted(columns)
    return replace(encoder, curves=("age", "income"), pairs=PAIRS), schema


def features_of_curves_and_pairs_are_their_functions(encoder: Encoder, schema: Schema) -> None:
    """Products of numbers up to 2, in double precision and then in single."""
    columns, cells = encoded(encoder, schema, MIXED), parse(Table.of(MIXED), schema)
    basis: dict[str, Any] = {b.name: b for b in encoder.bases}
    for name in encoder.curves:
        f = basis[name].functions(cells[name], 99)
        for j, size in enumerate(curve_sizes(basis[name])):
            assert columns[f"{name}: bend {j + 1}"] == pytest.approx(size * f[j], abs=2 * FLOAT32)
    for a, b in encoder.pairs:
        f, g = (basis[name].functions(cells[name], 5) for name in (a, b))
        for k, (i, j, size) in enumerate(zip(*pair_sizes(basis[a], basis[b]), strict=True)):
            assert columns[f"{a} × {b}: {k + 1}"] == pytest.approx(size * f[i] * g[j], abs=2 * FLOAT32)


def test_curves_are_functions_of_their_number_and_pairs_products_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand-made fault: sizes that are those of the other factor."""
    encoder, schema = bent()
    features_of_curves_and_pairs_are_their_functions(encoder, schema)
    assert sum(TIMES in name for name in encoder.names) > 20
    for name in ("curve_sizes", "pair_sizes"):
        true: Callable[..., Any] = getattr(luce.encoder, name)

        def turned(*bases: Any, true: Callable[..., Any] = true) -> Any:
            found = true(*bases)
            return found[::-1] if isinstance(found, np.ndarray) else (*found[:2], found[2][::-1])

        with monkeypatch.context() as patch:
            patch.setattr(luce.encoder, name, turned)
            with pytest.raises(AssertionError):
                features_of_curves_and_pairs_are_their_functions(encoder, schema)


def test_with_curves_and_pairs_a_row_alone_has_the_bits_that_it_has_in_any_batch() -> None:
    encoder, schema = bent()
    whole = reference.dense(encoder.transform(parse(Table.of(MIXED), schema)))
    for row in range(24):
        one = {name: column[row : row + 1] for name, column in MIXED.items()}
        alone = reference.dense(encoder.transform(parse(Table.of(one), schema)))
        assert alone[0].tobytes() == whole[row].tobytes()
    assert np.isfinite(whole).all()


def a_part_has_exactly_the_features_of_its_column(encoder: Encoder, schema: Schema) -> None:
    """In their order, and from the cells of the columns concerned alone."""
    cells = parse(Table.of(MIXED), schema)
    whole, owner = reference.dense(encoder.transform(cells)), np.array(encoder.columns)
    for column in encoder.sources:
        part = encoder.part(column)
        own = {name: cells[name] for name in ([column] if column in cells else column.split(TIMES))}
        assert (
            reference.dense(part.transform(own)).tobytes() == np.ascontiguousarray(whole[:, owner == column]).tobytes()
        )
        assert part.names == [name for name, of in zip(encoder.names, owner, strict=True) if of == column]
        assert set(part.columns) == {column}


def test_a_part_has_exactly_the_features_of_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, schema = bent()
    assert encoder.sources == [*dict.fromkeys(encoder.columns)]
    assert set(encoder.sources) == set(MIXED) | {TIMES.join(pair) for pair in PAIRS}
    assert encoder.width == len(encoder.names) == len(encoder.columns)
    a_part_has_exactly_the_features_of_its_column(encoder, schema)
    for forgotten in ("curves", "pairs", "values", "dates"):  # hand-made faults
        true = Encoder.part
        with monkeypatch.context() as patch:
            patch.setattr(Encoder, "part", lambda *args, f=forgotten, true=true: replace(true(*args), **{f: ()}))
            with pytest.raises((AssertionError, ValueError)):
                a_part_has_exactly_the_features_of_its_column(encoder, schema)


def test_columns_whose_names_hold_the_sign_of_a_pair_have_their_parts() -> None:
    rng = np.random.default_rng(0)
    columns = {f"a{TIMES}b": rng.normal(size=40), "c": rng.normal(size=40)}
    encoder, schema = fitted(columns)
    encoder = replace(encoder, pairs=((f"a{TIMES}b", "c"),))
    cells = parse(Table.of(columns), schema)
    pair = encoder.part(f"a{TIMES}b{TIMES}c").transform(cells)
    assert np.array_equal(reference.dense(pair), reference.dense(encoder.transform(cells))[:, 2:])


def test_a_category_may_have_any_name() -> None:
    assert both({"count of cells": ["a", "b"] * 5})["count of cells = a"] == [1, 0] * 5


def test_which_numbers_can_bend() -> None:
    """Those with functions that are not encoded value by value, and with more than two of them."""
    encoder, _ = bent()
    few = {v.name for v in encoder.values}
    assert set(encoder.can_bend) == {"age", "income", "rooms"} - few
    assert "income" in encoder.can_bend and "rooms" in few
    assert {b.name: type(b) for b in encoder.bases} == {
        "age": NumberBasis, "income": NumberBasis, "rooms": NumberBasis, "member": NumberBasis, "town": LevelBasis,
    }  # fmt: skip


def test_curves_and_pairs_survive_json_to_the_bit() -> None:
    encoder, schema = bent()
    again = Encoder.from_json(json.loads(json.dumps(encoder.to_json(), allow_nan=False)), schema)
    assert again == encoder
    assert (again.names, again.columns) == (encoder.names, encoder.columns)
    cells = parse(Table.of(MIXED), schema)
    assert same(again.transform(cells), encoder.transform(cells))


def test_a_plan_of_an_earlier_version_has_no_functions() -> None:
    encoder, schema = fitted(MIXED)
    facts = {name: part for name, part in encoder.to_json().items() if name not in ("bases", "curves", "pairs")}
    again = Encoder.from_json(json.loads(json.dumps(facts)), schema)
    assert (again.bases, again.curves, again.pairs) == ((), (), ())
    assert again.names == encoder.names


def facts_of_bases(facts: dict[str, Any]) -> dict[str, Any]:
    """The entry of each column, [name, knots or levels, places or shares]."""
    return {entry[0]: entry for entry in facts["bases"]}


def changed(column: str, part: int, change: Callable[[list[Any]], Any]) -> Callable[[dict[str, Any]], None]:
    def put(facts: dict[str, Any]) -> None:
        entry = facts_of_bases(facts)[column]
        entry[part] = change(entry[part])

    return put


DAMAGED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "knots out of order": changed("age", 1, lambda knots: [knots[1], knots[0], *knots[2:]]),
    "a knot twice": changed("age", 1, lambda knots: [knots[0], knots[0], *knots[2:]]),
    "places out of order": changed("age", 2, lambda places: [places[0], places[2], places[1], *places[3:]]),
    "places from 0.1": changed("age", 2, lambda places: [0.1, *places[1:]]),
    "places below 0": changed("age", 2, lambda places: [-0.1, *places[1:]]),
    "places beyond 1": changed("age", 2, lambda places: [*places[:-1], 1.5]),
    "places up to 0.999": changed("age", 2, lambda places: [*places[:-1], 0.999]),
    "a place too few": changed("age", 2, lambda places: places[:-1]),
    "one knot": lambda facts: facts_of_bases(facts)["age"].__setitem__(slice(1, 3), [[1.5], [0.0]]),
    "no knots": lambda facts: facts_of_bases(facts)["age"].__setitem__(slice(1, 3), [[], []]),
    "knots too far apart": changed("age", 1, lambda knots: [-1.7e308, *knots[1:-1], 1.7e308]),
    "a knot that is a flag": changed("age", 1, lambda knots: [*knots[:-1], True]),
    "a knot that is text": changed("age", 1, lambda knots: [*knots[:-1], "99"]),
    "a knot beyond double": changed("age", 1, lambda knots: [*knots[:-1], 10**400]),
    "a place that is missing": changed("age", 2, lambda places: [places[0], None, *places[2:]]),
    "a level twice": changed("town", 1, lambda levels: [levels[0]] * len(levels)),
    "a level that is a number": changed("town", 1, lambda levels: [levels[0], *[7] * (len(levels) - 1)]),
    "a share above 1": changed("town", 2, lambda shares: [1.5, *shares[1:]]),
    "a share below 0": changed("town", 2, lambda shares: [-0.5, *shares[1:]]),
    "a share that is text": changed("town", 2, lambda shares: ["0.5", *shares[1:]]),
    "a share too few": changed("town", 2, lambda shares: shares[:-1]),
    "a category with the functions of a number": changed("age", 0, lambda name: "town"),
    "a number with the functions of a category": changed("town", 0, lambda name: "age"),
    "functions of a date": changed("age", 0, lambda name: "since"),
    "functions of no column": changed("age", 0, lambda name: "ages"),
    "functions of a column twice": lambda facts: facts["bases"].append(facts["bases"][0]),
    "a name that is a number": changed("age", 0, lambda name: 7),
    "a curve of a category": lambda facts: facts["curves"].append("town"),
    "a curve of a date": lambda facts: facts["curves"].append("since"),
    "a curve of no column": lambda facts: facts["curves"].append("ages"),
    "a curve twice": lambda facts: facts["curves"].append("age"),
    "a curve that is a number": lambda facts: facts["curves"].append(7),
    "a pair of unknown columns": lambda facts: facts["pairs"].append(["age", "ages"]),
    "a pair with a date": lambda facts: facts["pairs"].append(["age", "since"]),
    "a pair of one column": lambda facts: facts["pairs"].append(["age", "age"]),
    "a pair twice": lambda facts: facts["pairs"].append(facts["pairs"][0]),
    "a pair that holds a number": lambda facts: facts["pairs"].append(["age", 7]),
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_functions_that_are_broken_or_belong_to_no_column_are_refused(fault: str) -> None:
    encoder, schema = bent()
    facts = json.loads(json.dumps(encoder.to_json()))
    assert Encoder.from_json(facts, schema) == encoder
    DAMAGED[fault](facts)
    with pytest.raises(ModelFileError):
        Encoder.from_json(facts, schema)
