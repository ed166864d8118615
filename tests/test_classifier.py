"""Classifier and train: any table gives the same model, a failed fit changes nothing, the held-out rows stay out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import luce
from luce.classifier import Classifier
from luce.errors import InputError, NotFittedError
from luce.features import dense_row
from luce.grouping import split_of
from luce.plain import Plain
from luce.schema import infer_schema
from luce.splits import holdout
from luce.table import Table

SUM = 1e-12  # the promise for rows of float64 probabilities


def numbers(rows: int = 120, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and labels a, b, c, ... that depend on them; the classes overlap."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3)).round(3)
    score = x @ rng.normal(size=(3, classes)) * 1.5 + rng.gumbel(size=(rows, classes))
    return x, np.array(list("abcdefgh"))[score.argmax(axis=1)]


def mixed(rows: int = 120, seed: int = 0) -> dict[str, list[Any]]:
    """Columns of every kind with missing cells, and a label."""
    rng = np.random.default_rng(seed)
    x, y = numbers(rows, seed=seed)
    return {
        "size": [None if rng.random() < 0.1 else value for value in x[:, 0].tolist()],
        "rooms": rng.integers(1, 5, rows).tolist(),
        "new": (x[:, 1] > 0).tolist(),
        "town": [None if rng.random() < 0.1 else town for town in rng.choice(["서울", "Bonn", "Rom"], rows).tolist()],
        "y": y.tolist(),
    }


def fitted(data: object = None, label: object = "y", **options: Any) -> Classifier:
    return Classifier(**options).fit(mixed() if data is None else data, label)  # type: ignore[arg-type]  # any source


def bits(model: Classifier) -> tuple[bytes, bytes, tuple[object, ...]]:
    return model.fitted.linear.coef.tobytes(), model.fitted.linear.intercept.tobytes(), model.fitted.classes


def alike(one: Classifier, other: Classifier) -> None:
    assert bits(one) == bits(other)
    assert one.fitted.schema.columns == other.fitted.schema.columns


# ---- any source gives the same model


def records(data: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]


SOURCES: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "dict": dict,
    "dict_of_arrays": lambda data: {name: np.array(cells, dtype=object) for name, cells in data.items()},
    "records": records,
    "polars": pl.DataFrame,
    "polars_lazy": lambda data: pl.DataFrame(data).lazy(),
    "pandas": pd.DataFrame,
    "pandas_nullable": lambda data: pd.DataFrame(data).convert_dtypes(),
    "pandas_categorical": lambda data: pd.DataFrame(data).astype({"town": "category"}),
    "pandas_odd_index": lambda data: pd.DataFrame(data, index=range(len(data["y"]), 0, -1)),
    "arrow": pa.table,
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_gives_the_same_model_and_probabilities(name: str) -> None:
    data, new = mixed(), mixed(40, seed=5)
    expected = fitted(data)
    model = fitted(SOURCES[name](data))
    alike(model, expected)
    unlabelled = {column: cells for column, cells in new.items() if column != "y"}
    shares = model.predict_proba(SOURCES[name](unlabelled) if name != "pandas_odd_index" else unlabelled)
    assert shares.tobytes() == expected.predict_proba(unlabelled).tobytes()


LABELS: dict[str, Callable[[list[str]], Any]] = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "array_of_objects": lambda y: np.array(y, dtype=object),
    "one_column": lambda y: np.array(y).reshape(-1, 1),
    "polars": lambda y: pl.Series("y", y),
    "pandas": lambda y: pd.Series(y, index=range(len(y), 0, -1)),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_beside_the_rows_give_the_model_of_a_label_column(name: str) -> None:
    data = mixed()
    rest = {column: cells for column, cells in data.items() if column != "y"}
    model = fitted(rest, LABELS[name](data["y"]))
    alike(model, fitted(data))
    assert model.fitted.label == ""


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_a_table_with_the_columns_x0_x1(dtype: type, order: Any) -> None:
    x, y = numbers()
    x = np.array(x, dtype=dtype, order=order)
    model = fitted(x, y)
    alike(model, fitted({f"x{j}": x[:, j] for j in range(3)}, y))
    assert model.predict_proba(x).tobytes() == model.predict_proba({f"x{j}": x[:, j] for j in range(3)}).tobytes()


def test_e07_threads_and_batches_leave_the_bits_alone() -> None:
    data = mixed(5000)
    rest = {column: cells for column, cells in data.items() if column != "y"}
    models = [fitted(data, threads=threads) for threads in (1, 2, 7)]
    assert len({bits(model) for model in models}) == 1
    whole = models[0].predict_proba(rest)
    assert models[1].predict_proba(rest).tobytes() == whole.tobytes()
    for start, stop in ((0, 1), (1, 1000), (1000, 4097), (4097, 5000)):
        part = {column: cells[start:stop] for column, cells in rest.items()}
        assert models[2].predict_proba(part).tobytes() == whole[start:stop].tobytes()


def test_e10_what_was_given_is_not_changed() -> None:
    frame, arrow, array = pd.DataFrame(mixed()), pa.table(mixed()), numbers()[0]
    before = frame.copy(deep=True), arrow.to_pydict(), array.copy()
    for data in (frame, arrow):
        model = fitted(data)
        model.predict(data)
        model.evaluate(data)
        luce.train(data, "y")
    fitted(array, numbers()[1]).predict(array)
    pd.testing.assert_frame_equal(frame, before[0])
    assert arrow.to_pydict() == before[1]
    np.testing.assert_array_equal(array, before[2])


# ---- what comes out


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_probabilities_are_probabilities_and_predict_is_their_best(classes: int) -> None:
    x, y = numbers(400, classes)
    model = fitted(x, y)
    assert model.classes_.tolist() == list("abcdefgh"[:classes])
    outputs = 1 if classes == 2 else classes
    assert model.fitted.linear.coef.shape == (outputs, 3)
    assert model.fitted.linear.intercept.shape == (outputs,)
    shares = model.predict_proba(x)
    assert shares.shape == (400, classes)
    assert shares.dtype == np.float64
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=0, atol=SUM)
    assert (model.predict(x) == model.classes_[shares.argmax(axis=1)]).all()
    assert (model.predict(x) == y).mean() > 1.5 / classes, "it has learnt something"


def test_two_classes_of_one_logit_are_the_sigmoid_of_either_sign() -> None:
    x, y = numbers(200, 2)
    model = fitted(x, y)
    logits = model.fitted.logits(model.fitted.features(Table.of(x)), 1)[:, 0]
    shares = model.predict_proba(x)
    assert shares[:, 1].tobytes() == luce.sigmoid(logits).tobytes()
    assert shares[:, 0].tobytes() == luce.sigmoid(-logits).tobytes()


@pytest.mark.parametrize(
    ("labels", "classes", "kind"),
    [([10, 9] * 20, [9, 10], "i"), ([True, False] * 20, [False, True], "b"), (["나", "가"] * 20, ["가", "나"], "U"),
     (["10", "9"] * 20, [9, 10], "i"), ([1.0, 2.0] * 20, [1, 2], "i")],
)  # fmt: skip
def test_e09_classes_keep_their_type_and_order(labels: list[Any], classes: list[Any], kind: str) -> None:
    x = np.arange(40.0).reshape(-1, 1) % 7
    model = fitted(x, labels)
    assert model.classes_.tolist() == classes
    assert model.classes_.dtype.kind == kind
    assert model.predict(x).dtype.kind == kind
    assert [type(label) for label in model.strongest()] == [type(label) for label in classes]


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        (["a", 1] * 20, "types"),
        (["a", None] * 20, "row 2"),
        ([1.0, float("nan")] * 20, "row 2"),
        (["a"] * 40, "two classes"),
        (["a", "b"] * 19, "38 labels for 40 rows"),
        ([0.5, 1.5] * 20, "continuous"),
    ],
)
def test_e09_e02_bad_labels_are_refused(labels: list[Any], part: str) -> None:
    with pytest.raises(InputError, match=part) as caught:
        fitted(np.arange(40.0).reshape(-1, 1) % 7, labels)
    assert len(str(caught.value).splitlines()) == 1


def test_e03_one_column_and_more_columns_than_rows() -> None:
    rng = np.random.default_rng(0)
    narrow = fitted(np.arange(10.0).reshape(-1, 1) % 7, ["a", "b"] * 5)
    assert narrow.predict_proba(np.ones((1, 1))).shape == (1, 2)
    wide = fitted(rng.normal(size=(10, 200)), ["a", "b"] * 5)
    assert np.isfinite(wide.predict_proba(rng.normal(size=(3, 200)))).all()
    with pytest.raises(InputError):
        fitted(np.ones((1, 1)), ["a"])


# ---- what was not there in training


def test_d16_an_unseen_level_is_as_a_rare_one_and_a_missing_cell_has_its_place() -> None:
    data = mixed()
    data["town"][7] = "Ulm"  # once: rare
    data["town"][8] = None
    model = fitted(data)
    row = {"size": [0.1] * 4, "rooms": [2] * 4, "new": [True] * 4}
    shares = model.predict_proba(row | {"town": ["Ulm", "never seen", None, "Bonn"]})
    assert shares[0].tobytes() == shares[1].tobytes()
    assert len({share.tobytes() for share in shares}) == 3
    assert np.isfinite(shares).all()


@pytest.mark.parametrize("effects", ["linear", "pairs"])
def test_levels_that_are_whole_numbers_are_known_by_either_spelling(effects: str) -> None:
    """As pandas writes a column of them without a gap, and with one. Where both are levels, each is itself."""
    rng = np.random.default_rng(0)
    ward = rng.choice(["1", "2", "3.0", "-4", "b", "5", "5.0"], 400)
    y = np.where((ward == "2") | (ward == "5") ^ (rng.random(400) < 0.1), "ill", "well")
    data = {"ward": ward.tolist(), "size": rng.normal(size=400).tolist(), "y": y.tolist()}
    model = Classifier(kinds={"ward": "category"}, effects=effects).fit(data, "y")
    cells = ["1", "2", "3.0", "-4", "b", "5", "5.0"]
    others = ["1.0", "2.0", "3", "-4.0", "b", "5", "5.0"]
    table = {"ward": cells, "size": [0.1] * 7}
    shares = model.predict_proba(table)
    assert model.predict_proba(table | {"ward": others}).tobytes() == shares.tobytes()
    assert abs(shares[5, 0] - shares[6, 0]) > 0.1
    plain = Plain(model.fitted)
    ours = [plain.features(table | {"ward": spelled}, 7) for spelled in (cells, others)]
    theirs = model.fitted.features(Table.of(table))
    assert all(part.indices is not None and theirs.indices is not None for part in ours)
    assert {part.indices.tobytes() for part in ours} == {theirs.indices.tobytes()}  # type: ignore[union-attr]


def test_missing_cells_and_whole_missing_columns_are_predicted() -> None:
    model = fitted()
    gone: dict[str, list[Any]] = {"size": [None] * 3, "rooms": [None] * 3, "new": [None] * 3, "town": [None] * 3}
    shares = model.predict_proba(gone)
    assert np.isfinite(shares).all()
    assert len({share.tobytes() for share in shares}) == 1
    for source in (pl.DataFrame(gone), pd.DataFrame(gone), pl.DataFrame(gone).cast(pl.String)):
        assert model.predict_proba(source).tobytes() == shares.tobytes()
    text = {name: ["", "NA", "?"] for name in gone}
    assert model.predict_proba(text).tobytes() == shares.tobytes()


def test_cells_as_text_are_the_cells_of_a_typed_table() -> None:
    data = mixed(40, seed=3)
    text = {name: [None if cell is None else str(cell) for cell in cells] for name, cells in data.items()}
    assert fitted().predict_proba(text).tobytes() == fitted().predict_proba(data).tobytes()


def test_e11_columns_go_by_name_and_the_difference_is_listed() -> None:
    data = mixed()
    model = fitted(data)
    turned = dict(reversed(data.items()))
    assert model.predict_proba(turned).tobytes() == model.predict_proba(data).tobytes()
    fewer = {name: cells for name, cells in data.items() if name != "rooms"}
    with pytest.raises(InputError, match="missing: 'rooms'; not known: 'room'"):
        model.predict(fewer | {"room": data["rooms"]})


def test_e11_a_column_without_a_name_goes_by_name_or_is_refused() -> None:
    x, y = numbers(classes=2)
    try:
        model = fitted({"up": x[:, 0], "": x[:, 1]}, y)
    except InputError:
        return
    expected = model.predict_proba({"up": x[:, 0], "": x[:, 1]})
    assert model.predict_proba({"": x[:, 1], "up": x[:, 0]}).tobytes() == expected.tobytes()


def test_a_label_that_was_given_beside_the_rows_is_no_column_of_the_table() -> None:
    data = mixed()
    rest = {column: cells for column, cells in data.items() if column != "y"}
    with pytest.raises(InputError, match="not known: 'y'"):
        fitted(rest, data["y"]).predict(data)


# ---- kinds


def test_kinds_settle_what_a_column_is() -> None:
    data = mixed() | {"zip": [10115 + k % 3 for k in range(120)], "id": [f"c{k}" for k in range(120)]}
    kinds = {"zip": "category", "id": "ignore", "new": "category"}
    found = {c.name: c.kind for c in fitted(data, kinds=kinds).fitted.schema.columns}
    assert found == {
        "size": "number", "rooms": "number", "new": "category", "town": "category", "zip": "category",
        "id": "left out",
    }  # fmt: skip
    names = fitted(data, kinds=kinds).fitted.encoder.names
    assert {"zip = 10115", "zip = 10116", "zip = 10117"} <= set(names)
    assert not any(name.startswith("id") for name in names)
    assert fitted(data).fitted.schema.columns[4].kind == "number"


@pytest.mark.parametrize(
    ("kinds", "part"),
    [
        ({"rooms": "integer"}, "no kind"),
        ({"room": "number"}, "did you mean 'rooms'"),
        ({"y": "category"}, "'y' cannot be settled: it is the label"),
    ],
)
def test_kinds_that_make_no_sense_are_refused(kinds: dict[str, str], part: str) -> None:
    with pytest.raises(InputError, match=part):
        fitted(kinds=kinds)


# ---- before a fit, after a failed one, and again


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.predict({"x": [1]}),
        lambda model: model.predict_proba({"x": [1]}),
        lambda model: model.evaluate({"x": [1], "y": ["a"]}, "y"),
        lambda model: model.strongest(),
        lambda model: model.classes_,
        lambda model: model.fitted,
        lambda model: model.save("nowhere.luce"),
    ],
)
def test_before_a_fit_there_is_nothing_to_use(use: Callable[[Classifier], object]) -> None:
    with pytest.raises(NotFittedError, match="not fitted"):
        use(Classifier())


BAD_FITS: dict[str, tuple[Any, Any]] = {
    "no_label_column": (mixed(), "z"),
    "one_class": ({"x": [1.5, 2.5, 3.5], "y": ["a"] * 3}, "y"),
    "label_missing": ({"x": [1.5, 2.5, 3.5], "y": ["a", "b", None]}, "y"),
    "infinite_number": ({"x": [1.5, np.inf, 3.5], "y": ["a", "b", "a"]}, "y"),
    "lengths_differ": ({"x": [1.5, 2.5]}, ["a", "b", "a"]),
    "nothing_to_learn_from": ({"x": [1, 1, 1], "y": ["a", "b", "a"]}, "y"),
    "no_rows": ({"x": [], "y": []}, "y"),
    "no_table": (17, "y"),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_e08_a_failed_fit_leaves_the_earlier_one(case: str) -> None:
    model = fitted()
    before, parts = bits(model), model.fitted
    for attempt in (
        lambda: model.fit(*BAD_FITS[case]),
        lambda: luce.train(BAD_FITS[case][0], BAD_FITS[case][1], classifier=model),
    ):
        with pytest.raises(InputError):
            attempt()
        assert model.fitted is parts
        assert bits(model) == before
    assert len(model.predict(mixed())) == 120


def test_e08_an_interrupted_fit_leaves_the_earlier_one() -> None:
    model = fitted()
    parts = model.fitted

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(mixed(seed=2), "y", progress=stop)
    assert model.fitted is parts


def test_e08_a_second_fit_is_that_of_a_new_object() -> None:
    model = fitted()
    x, y = numbers(classes=2)
    alike(model.fit(x, y), fitted(x, y))
    assert repr(Classifier()) == "Classifier(), not fitted"
    assert repr(model) == "Classifier of 2 classes, fitted on 120 rows"
    assert copy.copy(model).predict(x).tolist() == model.predict(x).tolist()


# ---- evaluate


def test_evaluate_takes_the_column_of_the_fit_another_one_or_labels() -> None:
    data = mixed(80, seed=4)
    model = fitted()
    report = model.evaluate(data)
    assert report.rows == 80
    assert report.accuracy == (model.predict(data) == np.array(data["y"])).mean()
    rest = {name: cells for name, cells in data.items() if name != "y"}
    assert model.evaluate(rest, data["y"]) == report
    assert model.evaluate(rest | {"truth": data["y"]}, "truth") == report
    nameless = fitted({name: cells for name, cells in mixed().items() if name != "y"}, mixed()["y"])
    assert nameless.evaluate(rest, data["y"]) == report
    with pytest.raises(InputError, match="say which column"):
        nameless.evaluate(rest)
    with pytest.raises(InputError, match="79 labels for 80 rows"):
        model.evaluate(rest, data["y"][:79])
    with pytest.raises(InputError, match=r"'q' \(first in row 80\) is no class"):
        model.evaluate(rest, [*data["y"][:79], "q"])


def test_the_baseline_of_evaluate_is_what_training_knew() -> None:
    x, y = numbers(300)
    model = fitted(x, y)
    shares = model.fitted.class_shares
    names, counts = np.unique(y, return_counts=True)
    assert shares.tolist() == (counts / counts.sum()).tolist()
    report = model.evaluate(x[:50], y[:50])
    majority = names[counts.argmax()]
    assert report.baseline.class_ == majority
    assert report.baseline.accuracy == (y[:50] == majority).mean()
    loss = -np.log(shares[np.searchsorted(names, y[:50])]).mean()
    assert report.baseline.log_loss == pytest.approx(loss, rel=1e-13)  # two sums of 50 terms of one sign


# ---- train: the rows that are held out


def test_held_out_rows_are_measured_by_a_model_that_never_saw_them() -> None:
    data = mixed(200)
    trained = luce.train(data, "y", held_out=0.3, seed=5)
    codes = np.searchsorted(np.unique(data["y"]), data["y"])
    frame = pl.DataFrame(data)
    table = Table.of(frame).without("y")
    rows, rest = split_of(codes, 0.3, 5, luce.trial.copies(table, infer_schema(table), codes), None)
    part = fitted(frame[rows])
    assert part.fitted.schema.columns == trained.classifier.fitted.schema.columns, "else the comparison is not fair"
    assert trained.report is not None
    told = part.evaluate(frame[rest])
    assert replace(trained.report, intervals=told.intervals) == told  # some rows are equal, as the intervals know
    assert trained.report.rows == len(rest)
    assert abs(len(rest) - 60) <= 2  # some rows are equal
    alike(trained.classifier, fitted(data))
    held = trained.classifier.fitted.facts["held_out"]
    assert held["accuracy"] == trained.report.accuracy
    assert held["log_loss"] == trained.report.log_loss
    assert (held["share"], held["seed"], held["rows"]) == (0.3, 5, len(rest))


def test_means_and_levels_are_those_of_the_rows_fitted_on() -> None:
    data: dict[str, list[Any]] = {"x": [0.5 + k for k in range(40)], "y": ["a", "b"] * 20}
    _, rest = holdout(np.arange(40) % 2, 0.2, 0)
    for row in rest:
        data["x"][row] = 1e6 + row  # an outlier in every held-out row would move the mean and the scale
    trained = luce.train(data, "y")
    tame = {name: [cells[k] for k in range(40) if k not in set(rest.tolist())] for name, cells in data.items()}
    wanted = fitted(tame).evaluate({"x": [1e6 + k for k in rest]}, [data["y"][k] for k in rest])
    assert repr(trained.report) == repr(wanted)  # some intervals are NaN


def no_equal_rows_lie_on_both_sides() -> None:
    data = {"x": [k % 20 for k in range(100)], "z": [k % 20 // 3 for k in range(100)], "y": list("abbab" * 20)}
    table = Table.of(data).without("y")
    codes = np.array([label == "b" for label in data["y"]]).astype(int)
    split = split_of(codes, 0.3, 0, luce.trial.copies(table, infer_schema(table), codes), None)
    known, held = ({data["x"][k] for k in rows} for rows in split)
    assert held
    assert not known & held
    report = luce.train(data, "y").report
    assert report is not None
    assert report.rows % 5 == 0, "each row is there five times"


def test_t06_no_equal_rows_lie_on_both_sides() -> None:
    no_equal_rows_lie_on_both_sides()


def test_a_split_row_by_row_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luce.trial, "copies", lambda *_: None)
    with pytest.raises(AssertionError):
        no_equal_rows_lie_on_both_sides()


def test_t05_permuted_labels_are_predicted_by_chance_alone() -> None:
    """No leak: 300 numbers and 200 training rows let the model learn its own rows by heart, and nothing else.

    The 200 held-out rows hold 100 of each class, and the labels are independent of the numbers. Given the predictions,
    of which m <= 100 are of the rarer kind, the right ones differ from 100 by s or more with a chance of at most
    2 exp(-s^2 / (2 m)) <= 2 exp(-s^2 / 200) (Hoeffding, drawing without replacement). s = 54 makes that 9.3e-7: the
    chance of a false alarm, were the seed drawn anew. A leak of the held-out rows gives an accuracy near 1, as the
    rows that were fitted on show.
    """
    rng = np.random.default_rng(11)
    x, y = rng.normal(size=(400, 300)), rng.permutation(["a", "b"] * 200)
    model = Classifier(l2=1e-4)
    columns = {f"x{j}": x[:, j] for j in range(300)}
    report = luce.train(columns | {"y": y}, "y", classifier=model, held_out=0.5).report
    assert report is not None
    assert report.rows == 200
    assert {row.support for row in report.per_class} == {100}
    assert 2 * math.exp(-(54**2) / 200) < 1e-6
    assert abs(report.accuracy * 200 - 100) < 54
    assert report.log_loss > 0.8 * report.baseline.log_loss, "what learnt noise is calibrated to the shares, no better"
    rows, _ = holdout((y == "b").astype(int), 0.5, 0)
    seen = fitted(x[rows], y[rows], l2=1e-4)
    assert (seen.predict(x[rows]) == y[rows]).mean() > 0.95, "else a leak would not show"


def test_the_share_held_out_may_be_nothing_and_the_schema_comes_first() -> None:
    seen: list[Any] = []
    trained = luce.train(mixed(), "y", held_out=0, on_schema=lambda schema: seen.append(schema))
    assert trained.report is None
    assert "held_out" not in trained.classifier.fitted.facts
    assert [schema.columns for schema in seen] == [trained.classifier.fitted.schema.columns]
    with pytest.raises(InputError):
        luce.train(mixed(), "y", held_out=1.5)


def test_d15_a_single_row_of_a_class_is_kept_in_training_and_said() -> None:
    data = mixed(80)
    data["y"][5] = "lone"
    trained = luce.train(data, "y", held_out=0.5)
    assert trained.report is not None
    support = {row.class_: row.support for row in trained.report.per_class}
    assert support["lone"] == 0
    assert sum(support.values()) == 40
    notes = trained.classifier.fitted.facts["notes"]
    assert [note for note in notes if "single row" in note] == [
        "classes with a single row: 'lone'; learnt from, but never held out to be measured"
    ]
    assert not any("single row" in note for note in fitted().fitted.facts["notes"])


def test_the_facts_of_a_fit_are_plain_and_true() -> None:
    facts = fitted(l2=None).fitted.facts
    assert facts["rows"] == 120
    assert facts["class_counts"] == np.unique(mixed()["y"], return_counts=True)[1].tolist()
    assert facts["l2"] == pytest.approx(1 / 120, rel=1e-15)
    assert 0 <= facts["gap"] <= 1e-6 * facts["objective"]  # the tolerance of the fit
    assert fitted(l2=0.5).fitted.facts["l2"] == 0.5


# ---- the strongest columns


def test_strongest_names_the_columns_that_move_a_class_most() -> None:
    data = mixed(400)
    model = fitted(data)
    x, coef = rows_of(model, data), model.fitted.linear.coef - model.fitted.linear.coef.mean(axis=0)
    owner = np.array(model.fitted.encoder.columns)
    found = model.strongest(3)
    assert list(found) == ["a", "b", "c"]
    for k, pairs in enumerate(found.values()):
        spread = {c: float((x[:, owner == c] @ coef[k, owner == c]).std()) for c in dict.fromkeys(owner.tolist())}
        wanted = sorted(spread.items(), key=lambda pair: -pair[1])[:3]
        assert [name for name, _ in pairs] == [name for name, _ in wanted]
        # sums of up to some 50 numbers of size 1, in another order
        assert [size for _, size in pairs] == pytest.approx([size for _, size in wanted], rel=1e-12)


def rows_of(model: Classifier, data: dict[str, list[Any]]) -> np.ndarray:
    """The features of some rows, (n, columns)."""
    tables = [{name: [cell] for name, cell in record.items()} for record in records(data)]
    return np.stack([dense_row(model.fitted.features(Table.of(table))) for table in tables])


def test_strongest_of_two_classes_is_the_same_for_both() -> None:
    x, y = numbers(200, 2)
    model = fitted({"up": x[:, 0], "side": x[:, 1], "same": np.ones(200)}, y)
    found = model.strongest()
    assert set(dict(found["a"])) == {"up", "side"}, "a column that was left out moves nothing"
    assert found["a"] == found["b"]


@pytest.mark.parametrize(
    ("kinds", "cells"),
    [
        ({}, [10115.0, 20095.0, 0.25, 1e-7, "unknown"]),
        ({}, [True, False, "unknown"]),
        ({"x": "category"}, [10115.0, 20095.0, 1e15]),
        ({"x": "category"}, [7, 8, 9]),
    ],
    ids=str,
)
def test_a_cell_means_the_same_whatever_stands_in_other_rows(kinds: dict[str, Any], cells: list[Any]) -> None:
    """A column of numbers or truth values with a text among them is a category; one of its numbers alone, or beside
    other texts, is the same level."""
    column = cells * 12
    labels = ["yes" if value == cells[0] else "no" for value in column]
    model = luce.Classifier(kinds=kinds, effects="linear").fit({"x": column}, labels)
    assert model.fitted.schema.columns[0].kind == "category"
    whole = model.predict_proba({"x": column})
    assert whole[0, 1] > whole[1, 1] + 0.3
    for other in ([], ["new"], [3.5], [None], [True]):
        for k, cell in enumerate(cells):
            assert (model.predict_proba({"x": [cell, *other]})[0] == whole[k]).all()


def test_a_series_is_texts_or_no_table_and_a_number_names_no_column() -> None:
    texts, y = ["good film", "bad film", "good show", "bad show"] * 6, ["p", "n"] * 12
    reader = luce.Classifier(kinds={"t": "text"}).fit({"t": texts}, y)
    assert reader.predict(pd.Series(texts[:4])).tolist() == reader.predict(texts[:4]).tolist() == y[:4]
    frame = pd.DataFrame({"a": np.arange(24.0) % 5, "b": np.arange(24) % 2 + 0.5})
    model = luce.Classifier().fit(frame, y)
    with pytest.raises(InputError, match=r"one row of a frame: give a frame, such as df\.iloc\[\[0\]\]"):
        model.predict(frame.iloc[0])
    with pytest.raises(InputError, match="label is 2: give the name of a column as text, '2'"):
        luce.Classifier().fit(frame, 2)  # type: ignore[arg-type]
