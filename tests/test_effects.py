"""What a model makes of its columns: how far each moves the classes, its curve, its bars, its map, all exact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import reference

import luce
import luce.effects
from luce.calibration import Calibration
from luce.classifier import Classifier
from luce.effects import POINTS, added_by, centred_weights, spread_of
from luce.encoder import TIMES
from luce.features import dense_row
from luce.fitted import Fitted
from luce.table import Table

Array = np.ndarray

ROUNDING = 1e-9
"""Sums of some 100 products of size 10 are off by 1e-13 of that; logits back from probabilities by some 1e-11."""


def table(rows: int = 400, seed: int = 0) -> pl.DataFrame:
    """Columns of every kind with missing cells, the numbers bending, pairs of them acting together."""
    rng = np.random.default_rng(seed)
    size, width = rng.normal(size=(2, rows))
    town = rng.choice(["Bonn", "Rom", "Ulm"], rows, p=[0.5, 0.3, 0.2])
    member, rooms = rng.random(rows) < 0.4, rng.integers(1, 6, rows)
    score = 2.5 * np.exp(-2 * size**2) + 2 * np.where(town == "Rom", -1, 1) * width + member + 0.5 * (rooms % 2)
    holes = rng.random((3, rows)) < 0.08
    return pl.DataFrame(
        {
            "size": [None if hole else x for hole, x in zip(holes[0], size.tolist(), strict=True)],
            "width": width,
            "town": [None if hole else x for hole, x in zip(holes[1], town.tolist(), strict=True)],
            "member": [None if hole else x for hole, x in zip(holes[2], member.tolist(), strict=True)],
            "rooms": rooms,
            "day": np.datetime64("2024-01-01") + rng.integers(0, 300, rows),
            "label": np.array(["low", "mid", "top"])[np.digitize(score + rng.logistic(size=rows), [0.5, 3.0])],
        }
    )


def calibrated(model: Classifier) -> Classifier:
    """With another map of the logits, which has to be in all that is told of it."""
    outputs, rng = len(model.fitted.linear.coef), np.random.default_rng(0)
    matrix, bias = np.diag(rng.uniform(0.5, 2, outputs)), rng.normal(size=outputs)
    if outputs > 1:
        matrix = matrix + 0.2 * rng.normal(size=(outputs, outputs))
    kind = "matrix" if outputs > 1 else "vector"
    fitted = replace(model.fitted, calibration=Calibration(kind, matrix, bias, 0.5, 0.4, 0.01, 100))
    out = Classifier()
    out._fitted = fitted
    features = fitted.features(Table.of(table()).without("label"))
    out._fitted = replace(fitted, spread=spread_of(fitted, features))
    return out


def made(classes: int) -> tuple[Classifier, pl.DataFrame]:
    data = table()
    label = data["label"] if classes == 3 else data["label"].replace("mid", "low")
    return luce.Classifier(effects="pairs").fit(data.with_columns(label=label), "label"), data.drop("label")


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[Classifier, pl.DataFrame]]:
    """Models with curves and pairs, of two and three classes, as they are and with another calibration."""
    out = {f"{classes}": made(classes) for classes in (2, 3)}
    return out | {f"{name}, calibrated": (calibrated(model), data) for name, (model, data) in out.items()}


every_model = pytest.mark.parametrize("name", ["2", "3", "2, calibrated", "3, calibrated"])
Models = dict[str, tuple[Classifier, pl.DataFrame]]


def features_of(fitted: Fitted, data: pl.DataFrame) -> Array:
    return reference.dense(fitted.features(Table.of(data)))


def contributions(model: Classifier, data: pl.DataFrame) -> dict[str, Array]:
    """What each column and pair adds to the calibrated logits, less the mean over the rows, (n, outputs), plainly: of
    more than two classes against the mean of the classes."""
    fitted, (coef, _) = model.fitted, model.fitted.calibrated_weights()
    x = features_of(fitted, data)
    coef = coef - coef.mean(axis=0) if len(coef) > 1 else coef
    owner = np.array(fitted.encoder.columns)
    parts = {name: x[:, owner == name] @ coef[:, owner == name].T for name in dict.fromkeys(owner.tolist())}
    return {name: part - part.mean(axis=0) for name, part in parts.items()}


# --- how far -------------------------------------------------------------------------------------------------------


def spread_is_the_standard_deviation(fitted: Fitted, wanted: dict[str, Array]) -> None:
    assert fitted.spread is not None
    assert fitted.encoder.sources == list(wanted)
    found = dict(zip(wanted, fitted.spread.T, strict=True))
    for column, part in wanted.items():
        assert found[column] == pytest.approx(part.std(axis=0), abs=ROUNDING)


@every_model
def test_the_spread_is_the_standard_deviation_of_what_a_column_adds(models: Models, name: str) -> None:
    model, data = models[name]
    assert model.fitted.encoder.pairs and model.fitted.encoder.curves, "else little is tested"
    assert {"size", "width", "town", "member", "rooms", "day"} < set(model.fitted.encoder.sources)
    spread_is_the_standard_deviation(model.fitted, contributions(model, data))


def test_a_spread_that_forgets_the_sparse_features_is_found_out(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = models["3"]
    monkeypatch.setattr(luce.effects, "_add_sparse", lambda *args: None)
    spread = spread_of(model.fitted, model.fitted.features(Table.of(data)))
    with pytest.raises(AssertionError):
        spread_is_the_standard_deviation(replace(model.fitted, spread=spread), contributions(model, data))


def test_of_many_rows_some_are_looked_at_spread_over_all(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luce.effects, "ROWS", 50)
    model, data = models["3"]
    spread = spread_of(model.fitted, model.fitted.features(Table.of(data)))
    some = data[np.linspace(0, len(data) - 1, 50).astype(int)]
    spread_is_the_standard_deviation(replace(model.fitted, spread=spread), contributions(model, some))


def test_strongest_is_the_spread_in_order(models: Models) -> None:
    model, _ = models["3"]
    assert model.fitted.spread is not None
    for k, label in enumerate(model.fitted.classes):
        pairs = sorted(zip(model.fitted.encoder.sources, model.fitted.spread[k], strict=True), key=lambda p: -p[1])
        assert model.strongest(4)[label] == [(column, float(size)) for column, size in pairs[:4]]


# --- what a column adds --------------------------------------------------------------------------------------------


def what_columns_add_is_0_in_the_mean(fitted: Fitted, data: pl.DataFrame) -> None:
    """Over the training rows. Means are of float32 features, by a sum in double: 1e-6 of numbers of size 5 is the
    rounding of a mean that was summed up in single."""
    cells = fitted.parsed(Table.of(data))
    for column in fitted.encoder.sources:
        assert np.abs(added_by(fitted, column, cells).mean(axis=0)).max() <= 1e-6


@every_model
def test_what_a_column_adds_is_its_weighted_features_less_their_mean(models: Models, name: str) -> None:
    model, data = models[name]
    cells = model.fitted.parsed(Table.of(data))
    for column, part in contributions(model, data).items():
        assert added_by(model.fitted, column, cells) == pytest.approx(part, abs=1e-6)  # the means, see above
    what_columns_add_is_0_in_the_mean(model.fitted, data)


def test_means_that_are_those_of_other_columns_are_found_out(models: Models) -> None:
    model, data = models["3"]
    with pytest.raises(AssertionError):
        what_columns_add_is_0_in_the_mean(replace(model.fitted, means=np.roll(model.fitted.means, 1)), data)


@every_model
def test_contributions_add_up_to_the_difference_with_curves_and_pairs(models: Models, name: str) -> None:
    """Of explain, exactly: to the logarithm of the ratio of the probabilities."""
    model, data = models[name]
    p = model.predict_proba(data)
    for row in range(0, 400, 17):
        found = model.explain(data, row)
        a, b = model.fitted.classes.index(found.answer), model.fitted.classes.index(found.other)
        wanted = np.log(p[row, a]) - np.log(p[row, b])
        assert found.base + sum(part.amount for part in found.contributions) == pytest.approx(wanted, abs=ROUNDING)
        assert {part.column for part in found.contributions} == set(model.fitted.encoder.sources)


# --- the overview --------------------------------------------------------------------------------------------------


def explained(model: Classifier, cells: pl.DataFrame, column: str) -> Array:
    """What `explain` says that a column adds for one row: to the logit of the second class of two, or to the logits of
    all classes, less the mean over the classes."""
    classes = model.fitted.classes
    answer = model.predict(cells)[0]
    amounts = []
    for label in classes:
        if label == answer:
            amounts.append(0.0)
            continue
        found = model.explain(cells, 0, label)
        amounts.append(-next(part.amount for part in found.contributions if part.column == column))
    if len(classes) == 2:
        return np.array([amounts[1] - amounts[0]])
    return np.asarray(np.array(amounts) - sum(amounts) / len(amounts))


def with_cells(data: pl.DataFrame, **cells: Any) -> pl.DataFrame:
    """The first row, with other cells, of the types that the columns have."""
    new = [pl.lit(value, dtype=data[name].dtype).alias(name) for name, value in cells.items()]
    return data[0].with_columns(new)


def the_overview_is_what_explain_says(model: Classifier, data: pl.DataFrame, step: int = 1) -> dict[str, int]:
    """Each point of each curve, bar and map; how many of each kind there were."""
    seen: dict[str, int] = {}
    for found in model.overview():
        column, points = found["column"], list[tuple[dict[str, Any], Any]]()
        if "curve" in found and data[column].dtype == pl.Float64:
            points = [({column: x}, y) for x, y in zip(found["curve"]["x"], found["curve"]["y"], strict=True)]
        elif "levels" in found:
            points = [({column: level["level"]}, level["y"]) for level in found["levels"]]
        elif "heat" in found:
            heat, (a, b) = found["heat"], found["columns"]
            assert TIMES.join((a, b)) == column
            points = [({a: x, b: y}, heat["z"][i][j]) for i, x in enumerate(heat["x"]) for j, y in enumerate(heat["y"])]
        for cells, y in points[:: step if len(points) > 6 else 1]:
            assert explained(model, with_cells(data, **cells), column) == pytest.approx(np.array(y), abs=ROUNDING)
        kind = next((kind for kind in ("curve", "levels", "heat") if kind in found), "")
        seen[kind] = seen.get(kind, 0) + bool(points)
    return seen


@every_model
def test_curves_bars_and_maps_are_what_explain_says_of_such_cells(models: Models, name: str) -> None:
    model, data = models[name]
    seen = the_overview_is_what_explain_says(model, data, step=13)
    assert seen["curve"] >= 2 and seen["levels"] >= 2 and seen["heat"] >= 2


def test_a_curve_with_a_wrong_weight_is_found_out(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand-made fault: weights before calibration."""
    model, data = models["3, calibrated"]
    fitted = model.fitted
    monkeypatch.setattr(
        luce.effects,
        "centred_weights",
        lambda f: (fitted.linear.coef - fitted.linear.coef.mean(axis=0), fitted.linear.intercept),
    )
    with pytest.raises(AssertionError):
        the_overview_is_what_explain_says(model, data, step=13)


@every_model
def test_the_overview_lists_columns_by_how_far_they_move_the_classes(models: Models, name: str) -> None:
    model, _ = models[name]
    fitted, found = model.fitted, model.overview()
    assert fitted.spread is not None
    size = dict(zip(fitted.encoder.sources, np.sqrt(np.sum(fitted.spread**2, axis=0)), strict=True))
    assert [entry["column"] for entry in found] == sorted((c for c in size if size[c] > 0), key=lambda c: -size[c])
    for entry in found:
        assert entry["weight"] == pytest.approx(size[entry["column"]] / sum(size.values()), rel=1e-12)
    names = ["top"] if len(fitted.spread) == 1 else ["low", "mid", "top"]
    for entry in found:
        own = fitted.spread[:, fitted.encoder.sources.index(entry["column"])]
        assert entry["by_class"] == [{"class": c, "weight": w} for c, w in zip(names, own.tolist(), strict=True)]
    kinds = {"size": "number", "width": "number", "town": "category", "member": "boolean", "rooms": "number"}
    assert {entry["column"]: entry["kind"] for entry in found} == kinds | {"day": "date"} | {
        TIMES.join(pair): "pair" for pair in fitted.encoder.pairs
    }


def test_a_curve_runs_over_the_training_rows_and_the_levels_are_all_there(models: Models) -> None:
    model, data = models["3"]
    found = {entry["column"]: entry for entry in model.overview()}
    curve = found["width"]["curve"]
    assert (
        (curve["low"], curve["high"]) == (curve["x"][0], curve["x"][-1]) == (data["width"].min(), data["width"].max())
    )
    assert len(curve["x"]) == len(curve["y"]) == POINTS
    assert np.all(np.diff(curve["x"]) > 0)
    rows = {level["level"]: level["rows"] for level in found["town"]["levels"]}
    assert rows == dict(data["town"].value_counts().iter_rows())
    assert [level["level"] for level in found["member"]["levels"]] == [False, True, None]
    assert not {"curve", "levels", "heat"} & set(found["day"])


def test_a_number_of_few_values_is_shown_at_its_values(models: Models) -> None:
    """Between them there is nothing to show: the weight of "another value" is that of no training row."""
    model, _ = models["3"]
    shape = next(entry for entry in model.overview() if entry["column"] == "rooms")
    shown = shape["curve"]["x"] if "curve" in shape else [float(level["level"]) for level in shape["levels"]]
    assert shown == [1, 2, 3, 4, 5]


def test_a_column_that_moves_nothing_is_not_listed(models: Models) -> None:
    model, _ = models["3"]
    spread = model.fitted.spread.copy() if model.fitted.spread is not None else np.zeros((0, 0))
    spread[:, 0] = 0
    other = Classifier()
    other._fitted = replace(model.fitted, spread=spread)
    assert model.fitted.encoder.sources[0] not in [entry["column"] for entry in other.overview()]
    other._fitted = replace(model.fitted, spread=0 * spread)
    assert other.overview() == []


def test_a_model_whose_file_does_not_tell_the_spread_goes_by_its_weights(models: Models) -> None:
    model, _ = models["3"]
    other = Classifier()
    other._fitted = replace(model.fitted, spread=None)
    coef, owner = centred_weights(model.fitted)[0], np.array(model.fitted.encoder.columns)
    size = {c: np.sqrt(np.sum(coef[:, owner == c] ** 2)) for c in model.fitted.encoder.sources}
    found = other.overview()
    assert [entry["column"] for entry in found] == sorted(size, key=lambda c: -size[c])
    assert sum(entry["weight"] for entry in found) == pytest.approx(1, abs=1e-12)


def test_a_saved_model_tells_the_same(models: Models, tmp_path: Any) -> None:
    model, data = models["3"]
    model.save(tmp_path / "m.luce")
    again = luce.load(tmp_path / "m.luce")
    assert again.overview() == model.overview()
    assert again.explain(data, 5) == model.explain(data, 5)


def test_the_cell_of_a_pair_names_what_is_missing(models: Models) -> None:
    model, data = models["3"]
    pair = next(pair for pair in model.fitted.encoder.pairs if "town" in pair)
    cells = with_cells(data, town=None)
    found = next(part for part in model.explain(cells).contributions if part.column == TIMES.join(pair))
    assert "missing" in found.value and "None" not in found.value


def test_features_of_one_row_are_those_that_are_explained(models: Models) -> None:
    model, data = models["3"]
    whole = features_of(model.fitted, data)
    for row in (0, 7, 399):
        assert np.array_equal(dense_row(model.fitted.features(Table.of(data[row]))), whole[row])


def test_a_code_is_shown_value_by_value() -> None:
    """The 40 values that move the classes most, of a number that rows held out say is a code; what each adds is what
    `explain` says of a row that has it."""
    rng = np.random.default_rng(0)
    codes, own = np.sort(rng.choice(90_000, 60, replace=False)) + 10_000, 2.0 * rng.normal(size=60)
    place = rng.integers(60, size=1_500)
    y = np.where(rng.logistic(size=1_500) < own[place], "yes", "no")
    model = luce.Classifier().fit({"postcode": codes[place], "age": rng.integers(18, 90, size=1_500)}, y)
    found = next(part for part in model.overview() if part["column"] == "postcode")
    levels = {int(level["level"]): level["y"][0] for level in found["levels"]}
    assert found["more"] == 20
    assert len(levels) == 40 and set(levels) <= set(codes.tolist()) and list(levels) == sorted(levels)
    truth = {int(code): effect for code, effect in zip(codes, own, strict=True)}
    seen, wanted = (np.array(list(part)) for part in (levels.values(), (truth[code] for code in levels)))
    assert np.corrcoef(seen, wanted)[0, 1] > 0.9
    some = list(levels)[7]
    z = [np.log(p[1] / p[0]) for p in model.predict_proba({"postcode": [some, list(levels)[8]], "age": [50, 50]})]
    scale = (z[0] - z[1]) / (levels[some] - levels[list(levels)[8]])
    assert scale == pytest.approx(1.0, rel=1e-9)
