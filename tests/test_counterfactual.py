"""The change that flips an answer: it really does, none that was tried is nearer, and what is to stay stays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import luce
import luce.classifier
import luce.counterfactual
from luce.cells import in_notation_of, numbers
from luce.classifier import Classifier
from luce.counterfactual import LEVEL_STEP, Counterfactual, Move, _candidates
from luce.curves import NumberBasis
from luce.errors import InputError
from luce.table import Table

GOLDEN = Path(__file__).parent / "golden" / "model_0_1_0.luce"


def table(rows: int = 400, seed: int = 0) -> pl.DataFrame:
    """Columns of every kind with missing cells; three classes, of which the columns tell something together."""
    rng = np.random.default_rng(seed)
    size, width = rng.normal(size=(2, rows))
    visits = rng.poisson(30, rows)
    town = rng.choice(["Bonn", "Rom", "Ulm"], rows, p=[0.5, 0.3, 0.2])
    member = rng.random(rows) < 0.4
    score = 2 * size + 2 * np.where(town == "Rom", -1, 1) * width + member + 0.1 * (visits - 30)
    holes = rng.random((2, rows)) < 0.08
    return pl.DataFrame(
        {
            "size": [None if hole else x for hole, x in zip(holes[0], size.tolist(), strict=True)],
            "width": width,
            "visits": visits,
            "town": [None if hole else x for hole, x in zip(holes[1], town.tolist(), strict=True)],
            "member": member,
            "day": np.datetime64("2024-01-01") + rng.integers(0, 300, rows),
            "label": np.array(["low", "mid", "top"])[np.digitize(score + rng.logistic(size=rows), [-1.5, 1.5])],
        }
    )


@pytest.fixture(scope="module")
def model() -> Classifier:
    return luce.Classifier(effects="pairs").fit(table(), "label")


@pytest.fixture(scope="module")
def dear() -> Classifier:
    """A model that answers "mid" rarely: its answer is often not its most probable class."""
    costs = {"low": {"mid": 6}, "top": {"mid": 6}}
    return luce.Classifier(effects="linear", costs=costs).fit(table(), "label")


def changed(data: pl.DataFrame, row: int, moves: Collection[Move]) -> pl.DataFrame:
    """The row with its new cells, in a table of the same types."""
    cells = [pl.lit(move.after).cast(data[move.column].dtype).alias(move.column) for move in moves]
    return data[row].with_columns(cells)


def it_really_flips(model: Classifier, data: pl.DataFrame, row: int, found: Counterfactual, to: Any = None) -> None:
    """The row with the moves, put into the table, gets the answer that is named, with these very probabilities."""
    one = changed(data, row, found.moves)
    assert model.predict(one).tolist() == [found.answer]
    assert model.predict_proba(one)[0].tolist() == list(found.probabilities)
    own = model.predict(data[row])[0]
    assert found.answer != own and (to is None or found.answer == to)
    for move in found.moves:
        assert data[row][move.column][0] == move.before != move.after
    assert 1 <= len(found.moves) <= 2
    assert len({move.column for move in found.moves}) == len(found.moves)


def singles(
    model: Classifier, data: pl.DataFrame, row: int, keep: Collection[str] = ()
) -> list[tuple[float, str, Any]]:
    """All rows with one new cell that are tried, asked anew in one table: (distance, column, answer)."""
    parsed, rows, far = model.fitted.parsed(Table.of(data[row])), list[pl.DataFrame](), list[tuple[float, str]]()
    for basis in model.fitted.encoder.bases:
        tried = _candidates(basis, parsed[basis.name])
        if basis.name not in keep and tried is not None:
            cells = pl.Series(basis.name, tried.cells).cast(data[basis.name].dtype)
            rows.append(data[[row] * len(cells)].with_columns(cells))
            far += [(float(d), basis.name) for d in tried.distances]
    answers = model.predict(pl.concat(rows)).tolist() if rows else []
    return [(*known, answer) for known, answer in zip(far, answers, strict=True)]


def none_is_nearer(
    model: Classifier, data: pl.DataFrame, row: int, found: Counterfactual | None, to: Any = None,
    keep: Collection[str] = (),
) -> None:  # fmt: skip
    """Of all changes of one column, nor a smaller change of the same number; and two columns change only where none of
    one does it."""
    own = model.predict(data[row])[0]
    far = [d for d, _, answer in singles(model, data, row, keep) if (answer == to if to is not None else answer != own)]
    if far:
        assert found is not None and len(found.moves) == 1
        assert found.distance <= min(far) + 1e-12  # differences of numbers up to 1
        move = found.moves[0]
        if isinstance(move.after, (int, float)) and not isinstance(move.after, bool):
            basis = next(basis for basis in model.fitted.encoder.bases if basis.name == move.column)
            ends = basis.places_of(np.array([move.before, move.after], dtype=np.float64))
            assert found.distance == pytest.approx(abs(ends[1] - ends[0]), abs=1e-12)
            valued = {plan.name for plan in model.fitted.encoder.values}
            way = move.after - move.before
            less = move.after - np.sign(way) if isinstance(move.after, int) else move.before + 0.98 * way
            low, high = basis.at(np.array([0.01, 0.99]))
            if less != move.before and low <= less <= high and move.column not in valued:
                there = model.predict(changed(data, row, [replace(move, after=less)]))[0]
                assert there == own if to is None else there != to
    else:
        assert found is None or len(found.moves) == 2


def test_a_number_moves_beside_a_category() -> None:
    """Only both together flip the answer; the number goes no further than it must."""
    rng = np.random.default_rng(0)
    x, town = rng.uniform(0, 10, 2000), rng.choice(["Bonn", "Rom"], 2000)
    y = np.where((x > 6) & (town == "Rom"), "yes", "no")
    data = pl.DataFrame({"x": x, "town": town, "y": y})
    model = luce.Classifier(effects="pairs").fit(data, "y")
    one = pl.DataFrame({"x": [2.0], "town": ["Bonn"]})
    found = model.counterfactual(one)
    assert found is not None and {move.column for move in found.moves} == {"x", "town"}
    it_really_flips(model, one, 0, found)
    after = next(move.after for move in found.moves if move.column == "x")
    less = pl.DataFrame({"x": [2.0 + 0.97 * (after - 2.0)], "town": ["Rom"]})
    assert 5 < after < 7 and model.predict(less).tolist() == ["no"]


ROWS = range(0, 400, 16)


@pytest.mark.parametrize("kind", ["model", "dear"])
def test_it_really_flips_and_none_that_was_tried_is_nearer(kind: str, request: pytest.FixtureRequest) -> None:
    model, data = request.getfixturevalue(kind), table()
    seen = []
    for row in ROWS:
        found = model.counterfactual(data, row)
        none_is_nearer(model, data, row, found)
        if found is not None:
            it_really_flips(model, data, row, found)
            seen += [move.column for move in found.moves]
    assert {"size", "width"} <= set(seen), "else little is tested"


@pytest.mark.parametrize("to", ["low", "mid", "top"])
def test_the_answer_that_is_wanted_is_the_one_that_is_got(model: Classifier, to: str) -> None:
    data = table()
    for row in ROWS:
        if model.predict(data[row])[0] == to:
            with pytest.raises(InputError, match=f"the answer is '{to}' already"):
                model.counterfactual(data, row, to=to)
            continue
        found = model.counterfactual(data, row, to)
        none_is_nearer(model, data, row, found, to)
        if found is not None:
            it_really_flips(model, data, row, found, to)


def test_where_one_column_does_not_do_it_the_nearest_two_do() -> None:
    """Three numbers from 0 to 2 whose sum has to be 4: from 0, 0, 0 no one gets there, and 1 is nearer than 2."""
    rng = np.random.default_rng(0)
    data = pl.DataFrame({name: rng.integers(0, 3, 400, dtype=np.int64) for name in "uvw"})
    model = luce.Classifier().fit(data, np.where(sum(data[name].to_numpy() for name in "uvw") >= 4, "a", "b"))
    bases = [b for b in model.fitted.encoder.bases if isinstance(b, NumberBasis)]
    places = {b.name: dict(zip(b.knots, b.places, strict=True)) for b in bases}
    for cells in ((0, 0, 0), (0, 1, 0), (2, 0, 0), (0, 1, 1), (2, 2, 2)):
        one = pl.DataFrame([cells], schema=list("uvw"), orient="row")
        found, own = model.counterfactual(one), model.predict(one)[0]
        assert found is not None
        it_really_flips(model, one, 0, found)
        none_is_nearer(model, one, 0, found)
        far = []
        for new in np.ndindex(3, 3, 3):
            moved = [k for k in range(3) if new[k] != cells[k]]
            if (
                len(moved) == len(found.moves)
                and model.predict(pl.DataFrame([new], schema=list("uvw"), orient="row")) != own
            ):
                far.append(sum(abs(places["uvw"[k]][new[k]] - places["uvw"[k]][cells[k]]) for k in moved))
        assert found.distance == pytest.approx(min(far), abs=1e-12)
    none = model.counterfactual({name: [0] for name in "uvw"})
    assert none is not None and len(none.moves) == 2
    assert model.counterfactual({name: [0] for name in "uvw"}, keep=["u", "v"]) is None


@pytest.mark.parametrize("keep", [("size",), ("width", "town"), ("size", "width", "visits", "town")])
def test_columns_that_are_to_stay_stay(model: Classifier, keep: tuple[str, ...]) -> None:
    data, without = table(), 0
    for row in ROWS:
        found = model.counterfactual(data, row, keep=keep)
        none_is_nearer(model, data, row, found, keep=keep)
        if found is not None:
            it_really_flips(model, data, row, found)
            assert not {move.column for move in found.moves} & set(keep)
        without += found is None
    assert without > 0 or len(keep) < 4


def test_where_nothing_may_change_nothing_flips(model: Classifier) -> None:
    data = table()
    assert model.counterfactual(data, 3, keep=[name for name in data.columns if name not in ("day", "label")]) is None


def test_missing_numbers_and_dates_stay_and_missing_categories_may_become_known(model: Classifier) -> None:
    data = table()
    gaps = [row for row in range(400) if data["size"][row] is None]
    assert len(gaps) > 10
    moved = [move.column for row in gaps if (found := model.counterfactual(data, row)) for move in found.moves]
    assert moved and not {"size", "day"} & set(moved)
    open_ = [row for row in range(400) if data["town"][row] is None]
    keep = ("size", "width", "visits", "member")
    for found in (model.counterfactual(data, row, keep=keep) for row in open_):
        if found is not None:
            assert found.moves[0].before is None and found.moves[0].after in ("Bonn", "Rom", "Ulm")
            assert found.sentence().endswith(f"if town were {found.moves[0].after} instead of missing")


def test_whole_numbers_stay_whole_and_within_what_the_training_rows_had(model: Classifier) -> None:
    data, seen = table(), 0
    for row in ROWS:
        found = model.counterfactual(data, row, keep=["size", "width", "town", "member"])
        for move in found.moves if found else ():
            assert move.column == "visits" and type(move.after) is int
            assert min(data["visits"].to_list()) <= move.after <= max(data["visits"].to_list())
            seen += 1
    assert seen > 2
    for row in ROWS:
        found = model.counterfactual(data, row, keep=["visits", "town", "member"])
        for move in found.moves if found else ():
            basis = next(b for b in model.fitted.encoder.bases if b.name == move.column)
            low, high = basis.at(np.array([0.01, 0.99]))  # straight between knots, so a bit farther out than these rows
            off = 0.01 * abs(move.after - move.before)  # to which the new number is rounded
            assert low - off <= move.after <= high + off, "the outermost rows are no realistic aim"


@pytest.mark.parametrize("decimals", [0, 1, 3])
def test_a_new_number_has_the_decimals_of_its_column(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    heat = rng.normal(37.5, 1.0, 400).round(decimals)
    data = {"heat": heat, "ill": np.where(heat + rng.normal(0, 0.4, 400) > 38, "yes", "no")}
    fitted, seen = Classifier().fit(data, "ill"), 0
    for row in range(0, 400, 40):
        found = fitted.counterfactual(data, row)
        for move in found.moves if found else ():
            assert move.after == round(move.after, decimals) != move.before
            assert len(move.written.partition(".")[2]) <= decimals
            seen += 1
    assert seen > 5


def test_the_distance_is_the_part_of_the_training_rows_that_is_passed(model: Classifier) -> None:
    """A category is half of the way; of continuous columns each row is as wide as any other, but for the knots."""
    data = table()
    for row in ROWS:
        found = model.counterfactual(data, row)
        if found is None or len(found.moves) > 1:
            continue
        move = found.moves[0]
        if move.column in ("town", "member"):
            assert found.distance == LEVEL_STEP
        elif move.column in ("size", "width"):
            known = data[move.column].drop_nulls().to_numpy()
            passed = abs(np.mean(known < move.after) - np.mean(known < move.before))
            assert found.distance == pytest.approx(passed, abs=0.02)  # there are 64 knots


def test_costs_settle_what_an_answer_is(dear: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand-made fault: the most probable class is taken for the answer."""
    data = table()
    p = dear.predict_proba(data)
    rows = np.flatnonzero(dear.predict(data) != dear.classes_[p.argmax(axis=1)])[:10].tolist()
    assert len(rows) == 10

    def all_is_well() -> None:
        for row in rows:
            found = dear.counterfactual(data, row)
            none_is_nearer(dear, data, row, found)
            if found is not None:
                it_really_flips(dear, data, row, found)

    all_is_well()
    true = luce.counterfactual.counterfactual

    def by_probability(encoder: Any, parsed: Any, given: Any, answer: Any, *rest: Any) -> Any:
        def probable(cells: Mapping[str, Any]) -> Any:
            p = answer(cells)[1]
            return p.argmax(axis=1), p

        return true(encoder, parsed, given, probable, *rest)

    monkeypatch.setattr(luce.classifier, "counterfactual", by_probability)
    with pytest.raises(AssertionError):
        all_is_well()


def test_a_change_that_is_not_the_nearest_is_found_out(model: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand-made faults: distances turned round; a new cell that is not the one that was asked about."""
    data, true, plain = table(), luce.counterfactual._candidates, luce.counterfactual._plain

    def turned(basis: Any, cells: Any) -> Any:
        found = true(basis, cells)
        return found and replace(found, distances=1 - found.distances)

    with monkeypatch.context() as patch:
        patch.setattr(luce.counterfactual, "_candidates", turned)
        wrong = [model.counterfactual(data, row) for row in ROWS]

    def nearest() -> None:
        for row, found in zip(ROWS, wrong, strict=True):
            none_is_nearer(model, data, row, found)

    def flips() -> None:
        for row in ROWS:
            if (found := model.counterfactual(data, row, keep=["town"])) is not None:
                it_really_flips(model, data, row, found)

    with pytest.raises(AssertionError):
        nearest()
    flips()
    monkeypatch.setattr(luce.counterfactual, "_plain", lambda cell: plain(cell) + 1e-3 if cell != cell // 1 else cell)
    with pytest.raises(AssertionError):
        flips()


def test_a_row_in_a_table_is_the_row_alone_and_the_table_stays_as_it_is(model: Classifier) -> None:
    data = table()
    before = data.clone()
    for row in (0, 30, 399):
        assert model.counterfactual(data, row) == model.counterfactual(data[row]) == model.counterfactual(data, row)
    assert data.equals(before)


@pytest.mark.parametrize("classes", [(3, 7), (False, True)])
def test_the_answer_is_a_label_of_its_kind(classes: tuple[Any, Any]) -> None:
    x = np.random.default_rng(0).normal(size=200)
    model = luce.Classifier().fit({"x": x}, [classes[int(v > 0.3)] for v in x])
    found = model.counterfactual({"x": [0.5]})
    assert found is not None and type(found.answer) is type(classes[0]) and found.answer == classes[0]
    assert found.probabilities[0] > 0.5
    assert model.counterfactual({"x": [0.5]}, to=classes[0]) == found


def test_a_change_in_words() -> None:
    moves = (Move("age", 40, 31.25, "31.25"), Move("ward", None, "north", "north"))
    found = Counterfactual(moves, "well", (0.7, 0.3), 0.6)
    assert found.sentence() == "well if age were 31.25 instead of 40 and ward were north instead of missing"


@pytest.mark.parametrize(
    ("cell", "value", "comma", "written"),
    [
        ("38,7", 38.114, True, "38,114"), ("38.7", 38.114, False, "38.114"), ("62.3%", 0.479, False, "47.9%"),
        ("62,3 %", 0.479, True, "47,9%"), ("$24.45", 19.3, False, "$19.3"), ("₩1,000", 2000.0, False, "₩2000"),
        ("24,45 €", 19.3, True, "19,3€"), ("5", 1234567.0, False, "1.23457e+06"), (None, 0.5, True, "0.5"),
        (38.7, 38.114, True, "38.114"),
    ],
)  # fmt: skip
def test_a_new_number_is_written_as_its_column_is(cell: object, value: float, comma: bool, written: str) -> None:
    """What is read as written in that column is the number, to six digits."""
    assert in_notation_of(cell, value, comma) == written
    if isinstance(cell, str):
        assert numbers(pl.Series([written]), comma).value[0] == pytest.approx(value, rel=1e-5)


def test_a_row_a_class_or_a_column_that_is_not_there_is_refused(model: Classifier) -> None:
    data = table()
    with pytest.raises(InputError, match="no row 400"):
        model.counterfactual(data, 400)
    with pytest.raises(InputError, match="'plague' is no class"):
        model.counterfactual(data, 0, to="plague")
    with pytest.raises(InputError, match="no column 'ages'"):
        model.counterfactual(data, 0, keep=["ages"])
    with pytest.raises(luce.errors.NotFittedError):
        luce.Classifier().counterfactual(data)


def test_a_model_of_an_earlier_version_knows_no_changes() -> None:
    cells = {"age": [50], "temperature": [37.5], "cough": ["yes"], "blood pressure": [120], "visit": ["2024-01-01"]}
    assert luce.load(GOLDEN).counterfactual(cells | {"ward": ["north"], "visits before": [1]}) is None


def test_of_two_levels_each_may_become_the_other() -> None:
    rng = np.random.default_rng(0)
    town = rng.choice(["Bonn", "Bonn", "Rom"], 300)
    model = luce.Classifier().fit({"town": town, "x": rng.normal(size=300)}, np.where(town == "Rom", "a", "b"))
    for before, after in (("Bonn", "Rom"), ("Rom", "Bonn")):
        found = model.counterfactual({"town": [before], "x": [0.0]})
        assert found is not None and [(m.before, m.after) for m in found.moves] == [(before, after)]


@pytest.mark.parametrize("words", [(False, True), ("no", "yes")])
def test_a_yes_or_no_is_told_as_it_was_given(words: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(0)
    member = rng.random(300) < 0.5
    cells = [words[int(m)] for m in member]
    model = luce.Classifier().fit({"member": cells, "x": rng.normal(size=300)}, np.where(member, "a", "b"))
    found = model.counterfactual({"member": [words[0]], "x": [0.0]})
    assert found is not None and found.moves[0].after in (words[1], True)
    assert "were 1" not in found.sentence()


def test_other_columns_change_beside_an_image_or_an_embedding() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 80)
    photo = np.clip(rng.normal(100, 10, (80, 12, 12)), 0, 255).astype(np.uint8)
    for column, kind, cells in (("photo", "image", photo), ("town", "category", np.array(["Bern", "Oslo"])[y])):
        data = {"photo": photo, column: cells, "x": rng.normal(size=80) + 2 * y}
        model = Classifier(kinds={"photo": "image", column: kind}, effects="linear").fit(data, y)
        found = [model.counterfactual(data, row) for row in range(6)]
        assert any(found)
        for row, flip in enumerate(found):
            if flip is not None:
                moved = {name: np.array(cells[row : row + 1]) for name, cells in data.items()}
                moved |= {move.column: np.array([move.after]) for move in flip.moves}
                assert model.predict(moved)[0] == flip.answer != model.predict(data)[row]
