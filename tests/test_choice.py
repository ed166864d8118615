"""How the columns enter: what is there is found, noise finds nothing, and no row that is held out is in it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference

import luce
import luce.choice
import luce.interactions
from luce.choice import CLEAR, EFFECTS, PAIRS, Choice, choose_effects, in_words
from luce.encoder import Encoder
from luce.errors import InputError
from luce.features import Features
from luce.functional import sigmoid
from luce.path import FOLDS, LITTLE, folds_of
from luce.schema import infer_schema, parse
from luce.table import Table

Array = np.ndarray


def numbers(rows: int, columns: int = 4, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {f"x{j}": rng.normal(size=rows) for j in range(columns)}


def exclusive_or(columns: Mapping[str, Array]) -> Array:
    return ((columns["x0"] > 0) ^ (columns["x1"] > 0)).astype(np.int32)


def bump(columns: Mapping[str, Array], seed: int = 1) -> Array:
    """1 near 0, 0 far from it: nothing that a straight line could tell."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.random(len(columns["x0"])) < np.exp(-2 * columns["x0"] ** 2), dtype=np.int32)


def straight(columns: Mapping[str, Array], seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.logistic(size=len(columns["x0"])) < 1.5 * columns["x0"] - columns["x1"], dtype=np.int32)


def cells_of(columns: Mapping[str, Any]) -> tuple[Encoder, dict[str, Any]]:
    table = Table.of(columns)
    schema = infer_schema(table)
    cells = parse(table, schema)
    return Encoder.fit(schema, cells), cells


def chosen(columns: Mapping[str, Any], y: Array, effects: str = "auto", l2: Any = "auto", threads: int = 1) -> Choice:
    encoder, cells = cells_of(columns)
    return choose_effects(encoder, cells, y.astype(np.int32), int(y.max()) + 1, effects=effects, l2=l2, threads=threads)


def kind(choice: Choice) -> str:
    return "pairs" if choice.encoder.pairs else "curves" if choice.encoder.curves else "linear"


def names_of(choice: Choice) -> list[str]:
    """The effects that were tried, beside numbers that count in full."""
    return [tried.effects for tried in choice.tried if tried.effects != "uncompressed"]


def loss(choice: Choice) -> float:
    return float(np.nanmean(choice.losses))


# --- what is there is found ----------------------------------------------------------------------------------------


STRENGTH = 0.003
"""Of the penalty, where its choice is not what is at stake: near the best for labels without noise."""


def test_two_columns_that_only_tell_something_together_are_found() -> None:
    """By a linear model the label is a coin, 0.69 nats. An edge at 0 is a sum of smooth functions but for some rows."""
    columns = numbers(400)
    choice = chosen(columns, exclusive_or(columns), l2=STRENGTH)
    assert next(set(pair) for pair in choice.encoder.pairs) == {"x0", "x1"}
    assert names_of(choice) == list(EFFECTS)
    assert choice.tried[0].log_loss > 0.65
    assert loss(choice) < 0.2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_number_that_bends_is_found_and_no_pair_beside_it(seed: int) -> None:
    """Pairs of three numbers lose 0.001 to 0.009 here; of one table in eight they gain half an error by chance."""
    columns = numbers(600, seed=seed)
    choice = chosen(columns, bump(columns, seed + 1), l2=STRENGTH)
    assert kind(choice) == "curves" and choice.encoder.curves == tuple(columns)
    assert loss(choice) < choice.tried[0].log_loss - 0.15
    assert loss(choice) == pytest.approx(choice.tried[2].log_loss, rel=1e-12)  # a difference, and back


def test_they_are_found_with_a_strength_that_is_chosen_whatever_the_linear_model_made_of_the_table() -> None:
    for seed in range(2, 8):
        columns = numbers(300, seed=seed)
        assert loss(chosen(columns, exclusive_or(columns))) < 0.3
        assert loss(chosen(columns, bump(columns, seed))) < 0.55  # with the true probabilities it is 0.43


@pytest.mark.parametrize("rows", [500, 3_000])
def test_numbers_that_act_straight_to_their_ends_count_in_full(rows: int) -> None:
    """Rare classes far out, where a number that counts by its logarithm says too little; of numbers that act by their
    logarithm, none does. Of 3,000 rows fresh ones lose at most 6 % more than the truth, compressed ones 40 %."""
    rng = np.random.default_rng(4)
    columns = {f"x{j}": rng.exponential(size=20_000 + rows) for j in range(4)}
    y = (rng.logistic(size=20_000 + rows) < 2.0 * sum(columns.values()) - 16.0).astype(np.int32)
    old = {name: x[:rows] for name, x in columns.items()}
    choice = chosen(old, y[:rows], "linear")
    assert choice.encoder.is_uncompressed and names_of(choice) == ["linear"]
    assert in_words(choice.encoder) == "numbers far out count in full"
    plans = choice.encoder.numbers
    assert [p.linear_to for p in plans] == [float(np.abs((old[p.name] - p.mean) / p.scale).max()) for p in plans]
    model = luce.Classifier().fit(old, y[:rows])
    fresh = {name: x[rows:] for name, x in columns.items()}
    p = sigmoid(2.0 * sum(fresh.values()) - 16.0)
    least = float(np.mean(-p * np.log(p) - (1 - p) * np.log1p(-p)))
    assert model.evaluate(fresh, y[rows:]).log_loss < (1.06 if rows > 1_000 else 1.3) * least
    by_logs = {name: np.exp(2.0 * x) for name, x in numbers(rows).items()}
    assert not chosen(by_logs, straight(numbers(rows))).encoder.is_uncompressed


@pytest.mark.parametrize("seed", range(4))
def test_a_straight_truth_stays_so_or_gains_nothing_that_counts(seed: int) -> None:
    """What is kept for half a standard error may be chance: no more than 4 of them, a chance of 3e-5 each, and then
    1 % of the loss."""
    columns = numbers(500, seed=seed)
    choice = chosen(columns, straight(columns, seed))
    for tried in choice.tried[1:]:
        assert tried.gain <= 4 * tried.error
    assert loss(choice) >= 0.99 * choice.tried[0].log_loss


@pytest.mark.parametrize("wanted", EFFECTS)
def test_effects_that_are_asked_for_are_taken(wanted: str) -> None:
    """Whether they help or not: a straight truth, and one that needs pairs."""
    columns = numbers(300)
    for y in (straight(columns), exclusive_or(columns)):
        choice = chosen(columns, y, wanted)
        assert bool(choice.encoder.curves) == (wanted != "linear")
        assert bool(choice.encoder.pairs) == (wanted == "pairs")
        assert names_of(choice) == list(EFFECTS[: EFFECTS.index(wanted) + 1])
        assert len(choice.encoder.pairs) <= PAIRS


@pytest.mark.parametrize("effects", ["curve", "", "Auto", None])
def test_unknown_effects_are_refused(effects: Any) -> None:
    columns = numbers(60)
    with pytest.raises(InputError, match=r"give one of auto, linear, curves, pairs"):
        chosen(columns, straight(columns), effects)
    with pytest.raises(InputError, match="effects is"):
        luce.Classifier(effects=effects).fit(columns, straight(columns))


def coded(rows: int = 1500, seed: int = 0, spread: float = 2.0) -> tuple[dict[str, Any], Array]:
    """Postcodes that each have a share of their own, beside an age that says nothing."""
    rng = np.random.default_rng(seed)
    codes, own = np.sort(rng.choice(90_000, 80, replace=False)) + 10_000.0, spread * rng.normal(size=80)
    place = rng.integers(80, size=rows)
    columns = {"postcode": codes[place], "age": rng.integers(18, 90, size=rows).astype(float)}
    return columns, (rng.logistic(size=rows) < own[place]).astype(np.int32)


def test_a_number_that_is_a_code_is_told_value_by_value() -> None:
    """With the true shares the loss is about 0.45; a curve through 80 shares at random has that of their mean."""
    columns, y = coded()
    choice = chosen(columns, y)
    assert [v.name for v in choice.encoder.values] == ["postcode"]
    assert len(choice.encoder.values[0].values) == 80
    assert in_words(choice.encoder).endswith("1 number is a code, told value by value")
    assert loss(choice) < choice.tried[0].log_loss - 0.1
    assert chosen(columns, y, threads=3).encoder == choice.encoder


@pytest.mark.parametrize("seed", range(4))
def test_whole_numbers_that_say_nothing_are_no_codes(seed: int) -> None:
    """Nor, among 80 of them, does the search find what only the rows held out say: a gain on them is no chance."""
    columns, y = coded(seed=seed, spread=0.0)
    choice = chosen(columns, y)
    for tried in choice.tried[1:]:
        assert tried.gain <= 4 * tried.error
    assert loss(choice) >= 0.99 * choice.tried[0].log_loss


@pytest.mark.parametrize("wanted", EFFECTS)
def test_codes_are_kept_by_the_rule_alone(wanted: str) -> None:
    columns, y = coded()
    assert bool(chosen(columns, y, wanted).encoder.values) == (wanted == "pairs")  # tried before pairs
    columns, y = coded(spread=0.0)
    assert not chosen(columns, y, wanted).encoder.values


def test_codes_that_are_too_much_work_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luce.choice.MOST_FEATURES", 60)
    columns, y = coded()
    assert not chosen(columns, y).encoder.values


# --- what is told of it --------------------------------------------------------------------------------------------


def test_what_was_tried_tells_true_means_gains_and_errors() -> None:
    """Some rows are given twice, and count as one in the error. Log losses by plain NumPy: 1e-9 for 360 of them."""
    columns = {name: np.concatenate([x, x[:60]]) for name, x in numbers(300).items()}
    y = exclusive_or(columns)
    ways = [chosen(columns, y, effects, l2=STRENGTH) for effects in EFFECTS]
    assert not ways[-1].encoder.is_uncompressed, "else the ways are not these"
    told, losses = [tried for tried in ways[-1].tried if tried.effects != "uncompressed"], []
    for way, tried in zip(ways, told, strict=True):
        z = way.path.held_out[:, 0] if way.path is not None else np.nan
        losses.append(np.log1p(np.exp(np.where(y == 1, -z, z))))
        assert tried.log_loss == pytest.approx(losses[-1].mean(), rel=1e-9)
        assert tried.features == way.problem.features.columns == way.encoder.width
    for before, after, tried in zip(losses, losses[1:], told[1:], strict=False):
        off = (before - after) - (before - after).mean()
        together = np.append(off[:60] + off[300:], off[60:300])
        assert tried.gain == pytest.approx((before - after).mean(), abs=1e-9)
        assert tried.error == pytest.approx(np.sqrt(np.sum(together**2)) / 360, rel=1e-6)


@pytest.mark.parametrize("truth", [exclusive_or, bump, straight])
def test_by_themselves_more_effects_are_kept_if_they_gain_by_the_rule(truth: Any) -> None:
    columns = numbers(400)
    choice = chosen(columns, truth(columns))
    kept = [t.effects for t in choice.tried[1:] if t.gain > max(CLEAR * t.error, LITTLE * t.log_loss)]
    assert bool(choice.encoder.curves) == ("curves" in kept)
    assert bool(choice.encoder.pairs) == ("pairs" in kept)


def test_they_are_told_in_words() -> None:
    encoder = cells_of(numbers(50))[0]
    assert in_words(encoder) == "each column adds its part, straight"
    assert in_words(replace(encoder, curves=("x0",))) == "1 number may bend"
    many = replace(encoder, curves=("x0", "x1"), pairs=(("x0", "x1"), ("x2", "x1")))
    assert in_words(many) == "2 numbers may bend, 2 pairs of columns act together"


# --- rows held out -------------------------------------------------------------------------------------------------

TABLES = 4


def noise(seed: int) -> tuple[dict[str, Array], Array]:
    """100 rows of 40 yes/no columns and a coin: 780 pairs, of which some fit any labels."""
    rng = np.random.default_rng(seed)
    return {f"x{j}": rng.random(100) < 0.5 for j in range(40)}, rng.integers(0, 2, 100).astype(np.int32)


def t05_a_coin_is_not_predicted(effects: str, ways: int) -> None:
    """Of a coin every prediction q that has not seen it has E[2 q(y)] = 1. So over the rows of a fold R, the product of
    2 q, has mean 1, and so has A, the mean of R over the five folds of a table, whatever the fits have in common. The
    product of A over tables exceeds 1e6 with a chance of 1e-6 at most (Markov). The better of `ways` predictions may
    have as many times that for each table. (The residuals of other rows, by which pairs are found, come from fits that
    saw the labels of the fold; what that tells lies far within: ln of the product is -3 here.)

    A search for pairs that sees the rows of the fold gives ln A = 4 to 7 for each table; see the fault.
    """
    total = 0.0
    for seed in range(TABLES):
        columns, y = noise(seed)
        choice = chosen(columns, y, effects, l2=0.3)
        assert choice.problem.keys is not None and choice.path is not None
        gain, fold = np.log(2) - choice.losses, folds_of(choice.problem, choice.problem.keys)
        total += np.log(np.mean([np.exp(gain[fold == f].sum()) for f in range(FOLDS)]))
    assert total <= np.log(1e6) + TABLES * np.log(ways)


@pytest.mark.parametrize(("effects", "ways"), [("pairs", 1), ("auto", 2)])
def test_t05_labels_that_are_a_coin_are_not_predicted(effects: str, ways: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways, as yes/no columns do not bend. A hand-made fault: the pairs of a fold are those that all rows name."""
    t05_a_coin_is_not_predicted(effects, ways)
    true = luce.choice._features_by_fold
    monkeypatch.setattr(
        luce.choice, "_features_by_fold", lambda best, cells, named, n: true(best, cells, [named[-1]] * len(named), n)
    )
    with pytest.raises(AssertionError):
        t05_a_coin_is_not_predicted(effects, ways)


def held_out_linear() -> tuple[Choice, dict[str, Any], Array]:
    """A linear model of noise and two columns that tell something, its cells, and the folds of its rows."""
    columns = numbers(200, 8)
    best = chosen(columns, straight(columns), "linear", l2=0.1)
    assert best.problem.keys is not None
    return best, cells_of(columns)[1], folds_of(best.problem, best.problem.keys)


def the_pairs_without_a_fold_do_not_hang_on_its_rows() -> None:
    """Nor on what was said of them when they were held out: all of it turned round changes the other pairs alone."""
    best, cells, fold = held_out_linear()
    assert best.path is not None
    held = fold == 3
    path = replace(best.path, held_out=np.where(held[:, None], 1 - 3 * best.path.held_out, best.path.held_out))
    problem = replace(best.problem, codes=np.where(held, 1 - best.problem.codes, best.problem.codes))
    before = luce.choice._named("pairs", best, cells, len(best.problem.codes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(luce.choice, "folds_of", lambda problem, keys: fold)  # by the turned labels they are others
        after = luce.choice._named("pairs", replace(best, problem=problem, path=path), cells, len(best.problem.codes))
    assert len(before) == len(after) == FOLDS + 1
    assert [one.found == other.found for one, other in zip(before, after, strict=True)] == [
        f == 3 for f in range(FOLDS + 1)
    ]


def test_the_pairs_without_a_fold_do_not_hang_on_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    the_pairs_without_a_fold_do_not_hang_on_its_rows()
    true = luce.interactions.strongest_pairs
    monkeypatch.setattr(luce.choice, "strongest_pairs", lambda *args: [true(*args)[-1]] * (FOLDS + 1))
    with pytest.raises(AssertionError):
        the_pairs_without_a_fold_do_not_hang_on_its_rows()


def test_a_fit_that_leaves_a_fold_out_has_the_pairs_that_were_named_without_it() -> None:
    best, cells, fold = held_out_linear()
    named = luce.choice._named("pairs", best, cells, len(best.problem.codes))
    without = luce.choice._features_by_fold(best, cells, named, 2)
    for f in range(FOLDS):
        own = replace(best.encoder, pairs=named[f].found[:2]).transform(cells)
        assert reference.dense(without(np.flatnonzero(fold == f))).tobytes() == reference.dense(own).tobytes()


# --- many rows, much work ------------------------------------------------------------------------------------------


def test_of_many_rows_some_settle_the_effects_and_all_the_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luce.choice, "SAMPLE", 400)
    columns = numbers(900)
    looked_at: list[int] = []
    true = luce.choice._named

    def seen(name: str, best: Choice, cells: Mapping[str, Any], rows: int) -> Any:
        looked_at.append(len(best.problem.codes))
        return true(name, best, cells, rows)

    monkeypatch.setattr(luce.choice, "_named", seen)
    choice = chosen(columns, exclusive_or(columns), l2=STRENGTH)
    assert looked_at == [400] * 4
    assert kind(choice) == "pairs"
    assert choice.problem.features.rows == len(choice.problem.codes) == 900
    assert choice.path is not None and choice.path.scored.all()
    assert loss(choice) < 0.2
    assert chosen(columns, straight(columns), "linear").problem.features.rows == 900


def test_a_class_that_has_no_row_in_the_sample_is_there_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luce.choice, "SAMPLE", 200)
    columns = numbers(700)
    y = exclusive_or(columns)
    y[3] = 2
    y[4] = 3
    choice = chosen(columns, y)
    assert choice.problem.classes == 4
    assert choice.path is not None and choice.path.held_out.shape == (700, 4)
    model = luce.Classifier().fit(columns, y)
    assert model.predict_proba(columns).shape == (700, 4)


@pytest.mark.parametrize("l2", [0.01, 1.0])
def test_a_strength_that_is_given_is_that_of_all_rows_too(l2: float, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = numbers(500)
    y = exclusive_or(columns)
    assert chosen(columns, y, l2=l2).l2 == l2
    monkeypatch.setattr(luce.choice, "SAMPLE", 250)
    assert chosen(columns, y, l2=l2).l2 == l2


def test_the_strength_none_is_one_over_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luce.choice, "SAMPLE", 200)
    columns = numbers(600)
    choice = chosen(columns, exclusive_or(columns), "pairs", l2=None)
    assert choice.l2 == pytest.approx(1 / 600, rel=1e-12)


def test_of_many_rows_in_groups_some_settle_the_effects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luce.choice, "SAMPLE", 200)
    columns = numbers(600)
    encoder, cells = cells_of(columns)
    choice = choose_effects(
        encoder, cells, exclusive_or(columns), 2, effects="pairs", l2=0.01, threads=1, groups=np.arange(600) // 3
    )
    assert choice.problem.features.rows == 600


def test_if_more_effects_find_no_end_on_all_rows_there_is_a_model_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luce.choice, "SAMPLE", 300)
    true = luce.choice.race_from
    monkeypatch.setattr(
        luce.choice, "race_from", lambda problem, *rest: None if problem.features.rows > 300 else true(problem, *rest)
    )
    columns = numbers(600, 2)
    y = bump(columns) | straight(columns)
    assert luce.Classifier().fit(columns, y).predict_proba(columns).shape == (600, 2)


def test_a_model_that_is_too_much_work_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = numbers(300)
    y = exclusive_or(columns)
    monkeypatch.setattr(luce.choice, "MOST_WORK", 300 * 4.0)
    found = chosen(columns, y, "pairs")
    assert names_of(found) == ["linear"]
    assert found.notes == ("effects: pairs would be too much work for so many rows and columns, and were left out",)
    assert chosen(columns, y).notes == ()  # it was not asked for
    monkeypatch.setattr(luce.choice, "MOST_WORK", 300 * 20.0)  # 4 features, and 15 of a pair; 32 of curves
    choice = chosen(columns, y, l2=STRENGTH)
    assert [tried.features for tried in choice.tried[2:]] in ([19], [13, 19])  # at most a curve
    assert [set(pair) for pair in choice.encoder.pairs] == [{"x0", "x1"}]


def test_of_very_many_numbers_those_bend_that_have_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 30 numbers there is room for 11 to bend beside pairs, as rows tell that are not scored.
    With curves of the first ones alone, x29 would stay straight."""
    rng = np.random.default_rng(0)
    columns = {f"x{i}": rng.normal(size=1_000) for i in range(30)}
    y = (2.0 * np.abs(columns["x29"]) - 1.6 + rng.logistic(size=1_000) * 0.5 > 0).astype(np.int32)
    monkeypatch.setattr(luce.choice, "MOST_FEATURES", 30 + 9 * 22)
    choice = chosen(columns, y)
    assert kind(choice) == "curves" and "x29" in choice.encoder.curves and 1 <= len(choice.encoder.curves) <= 11
    assert choice.tried[2].gain > 10 * choice.tried[2].error
    monkeypatch.setattr(luce.choice, "strongest_alone", lambda *how: [[f"x{i}" for i in range(30)]] * 6)
    assert chosen(columns, y).tried[2].gain < 0.01


def test_more_rows_do_not_make_a_worse_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What folds of all rows would be too much work for is settled by a sample, whose strength serves all rows, and one
    fit holds a fifth of them out: within a tenth of what folds find, where a straight model loses ten times as much."""
    columns, fresh = numbers(3_000, 3), numbers(2_000, 3, seed=7)
    y, truth = exclusive_or(columns), exclusive_or(fresh)
    by_folds = luce.Classifier().fit(columns, y).evaluate(fresh, truth).log_loss
    monkeypatch.setattr(luce.choice, "SAMPLE", 600)
    monkeypatch.setattr(luce.choice, "MOST_WORK", 600 * 60.0)
    choice = chosen(columns, y)
    assert kind(choice) == "pairs" and choice.problem.features.rows == 3_000
    assert choice.path is not None and choice.path.rows is not None
    assert 500 < len(choice.path.rows) < 700 and choice.path.scored.all()
    assert choice.problem.features.stored > luce.choice.MOST_WORK
    found = luce.Classifier().fit(columns, y).evaluate(fresh, truth).log_loss
    assert (
        found
        < 1.1 * by_folds + 0.01
        < 0.1 * luce.Classifier(effects="linear").fit(columns, y).evaluate(fresh, truth).log_loss
    )


@pytest.mark.parametrize("name", ["MOST_WORK_ONCE", "MOST_STORED"])
def test_more_effects_are_not_tried_where_one_fit_to_all_rows_is_too_much(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting, value in (("SAMPLE", 600), ("MOST_WORK", 600 * 60.0), ("TIMES_STORED", 1.0), (name, 3_000 * 3.0)):
        monkeypatch.setattr(luce.choice, setting, value)
    columns = numbers(3_000, 3)
    choice = chosen(columns, exclusive_or(columns))
    assert names_of(choice) == ["linear"] and choice.problem.features.columns == 3


def test_where_not_all_numbers_may_bend_the_strongest_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for 6 + 2 x 9 features beside a pair: the two of six numbers that tell something bend, in their order, and
    what a fit without a fold bends is named by the other rows."""
    columns = numbers(3_000, 6)
    rng = np.random.default_rng(4)
    score = 4.0 * (np.abs(columns["x4"]) < 0.7) + 3.0 * (np.abs(columns["x1"]) < 0.7) - 3.5
    y = (rng.logistic(size=3_000) < score).astype(np.int32)
    for setting, value in (("SAMPLE", 900), ("MOST_WORK", 900 * 60.0), ("MOST_STORED", 3_000 * (6 + 2 * 19.0))):
        monkeypatch.setattr(luce.choice, setting, value)
    true, asked = luce.choice.strongest_alone, list[Any]()
    monkeypatch.setattr(luce.choice, "strongest_alone", lambda *how: asked.append(true(*how)) or asked[-1])
    choice = chosen(columns, y)
    assert choice.encoder.curves == ("x1", "x4")
    assert [set(names[:2]) for names in asked[0]] == [{"x1", "x4"}] * (FOLDS + 1)
    monkeypatch.setattr(luce.choice, "strongest_alone", lambda *how: [names[::-1] for names in true(*how)])
    assert chosen(columns, y).encoder.curves != ("x1", "x4")  # it hangs on that order


def test_the_fits_that_leave_a_fold_out_have_no_more_pairs_than_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = numbers(300)
    true, widths = luce.choice._features_by_fold, set[int]()

    def seen(*args: Any) -> Any:
        def without(rows: Array) -> Features:
            features = true(*args)(rows)
            widths.add(features.columns)
            return features

        return without

    monkeypatch.setattr(luce.choice, "_features_by_fold", seen)
    monkeypatch.setattr(luce.choice, "MOST_WORK", 300 * 20.0)
    monkeypatch.setattr(luce.choice, "strongest_alone", lambda *how: [[]])
    choice = chosen(columns, exclusive_or(columns), l2=0.01)
    assert len(choice.encoder.pairs) == 1
    assert widths == {choice.encoder.width}


# --- the classifier ------------------------------------------------------------------------------------------------


def mixed(rows: int = 500, seed: int = 0) -> tuple[dict[str, Any], Array]:
    """Numbers, a category with missing cells, a yes/no; a label that needs curves and pairs."""
    rng, columns = np.random.default_rng(seed), numbers(rows, 3, seed)
    town = rng.choice(["Bonn", "Rom", "Ulm"], rows)
    member = rng.random(rows) < 0.4
    score = 3 * np.exp(-2 * columns["x0"] ** 2) + 3 * np.where(town == "Rom", -1, 1) * columns["x1"] + member
    y = np.array(["a", "b", "c"])[np.digitize(score + rng.logistic(size=rows), [0.0, 3.0])]
    cells = [None if rng.random() < 0.1 else name for name in town.tolist()]
    return {**columns, "town": cells, "member": member}, y


def models() -> Iterator[tuple[luce.Classifier, dict[str, Any], Array]]:
    for (columns, y), l2 in ((mixed(), "auto"), ((numbers(400), exclusive_or(numbers(400))), STRENGTH)):
        yield luce.Classifier(l2=l2, threads=1).fit(columns, y), columns, y


def test_e07_threads_leave_the_bits_alone() -> None:
    for model, columns, y in models():
        assert model.fitted.encoder.pairs, "else little is tested"
        two = luce.Classifier(l2=model.l2, threads=2).fit(columns, y)
        assert two.fitted.encoder == model.fitted.encoder
        assert two.fitted.facts["effects"] == model.fitted.facts["effects"]
        for one, other in (
            (model.fitted.linear.coef, two.fitted.linear.coef),
            (model.fitted.linear.intercept, two.fitted.linear.intercept),
        ):
            assert one.tobytes() == other.tobytes()
        assert two.predict_proba(columns).tobytes() == model.predict_proba(columns).tobytes()


def test_e11_the_order_of_columns_and_the_batch_mean_nothing_at_prediction() -> None:
    for model, columns, _ in models():
        whole = model.predict_proba(columns)
        assert model.predict_proba(dict(reversed(columns.items()))).tobytes() == whole.tobytes()
        for row in range(0, len(whole), 37):
            one = {name: column[row : row + 1] for name, column in columns.items()}
            assert model.predict_proba(one)[0].tobytes() == whole[row].tobytes()


def test_with_curves_and_pairs_the_fit_is_one_convex_problem_and_proven() -> None:
    """The objective, plainly, over the features: 1e-6 of it is the promise of the gap."""
    for model, columns, y in models():
        fitted = model.fitted
        x = reference.dense(fitted.encoder.transform(fitted.parsed(Table.of(columns))))
        z = x @ fitted.linear.coef.T + fitted.linear.intercept
        z = z if z.shape[1] > 1 else np.column_stack([np.zeros(len(z)), z])
        codes = np.searchsorted(model.classes_, y)
        losses = np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)) + z.max(axis=1)
        value = np.mean(losses - z[np.arange(len(z)), codes]) + fitted.facts["l2"] / 2 * np.sum(fitted.linear.coef**2)
        assert value == pytest.approx(fitted.facts["objective"], rel=1e-9)  # sums of 500 terms
        assert 0 <= fitted.facts["gap"] <= 1e-6 * fitted.facts["objective"]


def test_the_facts_tell_what_was_tried() -> None:
    columns = numbers(400)
    facts = luce.Classifier().fit(columns, exclusive_or(columns)).fitted.facts["effects"]
    choice = chosen(columns, exclusive_or(columns))
    assert facts == [vars(tried) for tried in choice.tried]


def test_where_no_row_can_be_held_out_nothing_is_tried() -> None:
    choice = chosen({"x": np.array([1.0, 2.5, 4.0])}, np.arange(3))
    assert choice.path is None and choice.tried == ()
    assert kind(choice) == "linear"


def test_a_table_of_dates_alone_has_neither_curves_nor_pairs() -> None:
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(k * 37 % 365) for k in range(120)]
    y = np.array([day.month > 6 for day in days])
    assert luce.Classifier().fit({"day": days}, y).fitted.encoder.pairs == ()
    assert luce.Classifier(effects="pairs").fit({"day": days}, np.arange(120) % 2).fitted.encoder.pairs == ()
