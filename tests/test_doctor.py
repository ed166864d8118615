"""The data doctor as its user meets it: what was planted is found, with its rows; what is sound is left alone; the
findings are the same for any number of threads, print safely, and come without a second fit where one was made."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import Run, answers, good, refused
from rich.console import Console

import luce
from luce import doctor, findings, grouping
from luce.classifier import Classifier
from luce.doctor import Findings, examine, examine_fitted, to_json
from luce.fitted import HeldOut
from luce.labels import labels
from luce.splits import holdout_by_time, holdout_of_groups
from luce.table import Table

pytest_plugins = ["commands"]

N = 900
FLIPPED = [11, 250, 333, 512, 600, 871]  # counted from 0
COPIES = [(0, 30), (1, 31)]  # the first with its label, the second with another


def spoilt(seed: int = 0) -> pl.DataFrame:
    """Three well separated classes, and one of each fault: six wrong labels, a column filled in for one class, equal
    and contradictory rows, a rare class, a constant, an identifier, missing cells."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, N)
    truth[[0, 30, 31]], truth[1] = 0, 1
    x = rng.normal(size=(N, 4)) + 4.0 * np.eye(4)[truth]
    level = np.array(["red", "green", "blue"])[rng.integers(0, 3, N)]
    for first, second in COPIES:
        x[second], level[second] = x[first], level[first]
    given = truth.copy()
    given[FLIPPED] = (given[FLIPPED] + 1) % 3
    y = np.array(["ant", "bee", "cow"])[given].astype(object)
    y[700:712] = "dog"
    x[700:712] -= 6.0
    after = [f"day {row % 7}" if y[row] == "cow" and row % 2 else None for row in range(N)]
    after[30], after[31] = after[0], after[1]
    gaps = np.where(rng.random(N) < 0.2, np.nan, rng.integers(0, 5, N))
    gaps[[30, 31]] = gaps[[0, 1]]
    return pl.DataFrame(
        {f"x{j}": x[:, j] for j in range(4)}
        | {"level": level, "gaps": gaps, "after": after, "same": ["one"] * N, "name": [f"row {k}" for k in range(N)]}
        | {"species": y.tolist()}
    )


@pytest.fixture(scope="module")
def found() -> Findings:
    return examine(spoilt(), "species")


def test_every_planted_fault_is_found(found: Findings) -> None:
    assert (found.rows, found.classes, found.label) == (N, ("ant", "bee", "cow", "dog"), "species")
    suspects = {suspect.row - 1: suspect for suspect in found.suspects}
    assert {*FLIPPED, 31} <= set(suspects)  # row 31 has the cells of row 1 and another label
    truth = np.array(["ant", "bee", "cow"])
    for row in FLIPPED:
        assert truth[(list(truth).index(suspects[row].suggested) + 1) % 3] == suspects[row].given
        assert suspects[row].p_given < 0.05 < suspects[row].p_suggested
    assert found.wrong is not None and found.wrong.rows is not None
    assert found.wrong.rows.low <= len(FLIPPED) + 2 <= found.wrong.rows.high
    assert [(leak.column, leak.how) for leak in found.leaks] == [("after", "filled in")]
    assert [group.rows for group in found.twins.listed] == [(2, 32), (1, 31)]
    assert (found.twins.rows, found.twins.contradictory_rows, found.twins.lost) == (4, 2, 1)
    assert [(note.class_, note.rows) for note in found.few] == [("dog", 12)]
    notes = {note.column: note for note in found.columns}
    assert notes["same"].left_out == "constant: always 'one'"
    assert notes["name"].left_out.startswith("identifier")
    gaps = spoilt()["gaps"].is_nan().sum()
    assert (notes["gaps"].missing, notes["gaps"].share) == (gaps, gaps / N)
    assert found.model is not None and found.model.accuracy.value > 0.95


def test_the_ranking_holds_every_row_once_and_the_frame_counts_from_1(found: Findings) -> None:
    assert found.ranking is not None
    assert sorted(found.ranking.order.tolist()) == list(range(N))
    frame = found.ranked()
    assert frame.columns == ["row", "given", "suggested", "score", "p(given)", "p(suggested)"]
    assert (frame["row"] - 1).to_list() == found.ranking.order.tolist()
    assert frame["given"].to_list() == spoilt()["species"].gather(found.ranking.order).to_list()
    assert frame["score"].is_sorted()
    top = frame.row(0, named=True)
    first = found.suspects[0]
    assert (top["row"], top["suggested"], top["p(given)"]) == (first.row, first.suggested, first.p_given)


def test_a_sound_table_is_left_alone() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 800)
    data = {"u": rng.normal(size=800) + 1.5 * y, "v": rng.normal(size=800) - y, "y": np.array(["no", "yes"])[y]}
    healthy = examine(data, "y")
    assert (healthy.leaks, healthy.hints, healthy.few, healthy.separations) == ((), (), (), ())
    assert healthy.twins.rows == healthy.near.rows == 0
    assert {section.key for section in findings.sections(healthy)} == {"mislabelled"}


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_findings_are_the_same_for_any_number_of_threads(found: Findings, threads: int) -> None:
    again = examine(spoilt(), "species", classifier=Classifier(threads=threads))
    assert json.dumps(to_json(again)) == json.dumps(to_json(found))
    assert again.ranking is not None and found.ranking is not None
    assert np.array_equal(again.ranking.score, found.ranking.score)


def test_labels_may_be_given_beside_the_rows(found: Findings) -> None:
    frame = spoilt()
    apart = examine(frame.drop("species"), frame["species"].to_list())
    assert apart.label == ""
    assert to_json(apart)["mislabelled"] == to_json(found)["mislabelled"]
    with pytest.raises(luce.InputError, match="there are 2 labels for 900 rows"):
        examine(frame.drop("species"), ["a", "b"])


def test_the_settings_of_a_classifier_are_used_and_it_stays_unfitted() -> None:
    settings = Classifier(kinds={"after": "ignore"}, l2=1e-3)
    told = examine(spoilt(), "species", classifier=settings)
    assert told.leaks == ()
    assert [note.left_out for note in told.columns if note.column == "after"] == ["left out as asked"]
    with pytest.raises(luce.NotFittedError):
        _ = settings.fitted


# --- without a second fit


def test_of_so_many_rows_that_one_fold_is_held_out_its_labels_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are named by their places in the table; of the others no label is called wrong, and it is said how many."""
    monkeypatch.setattr(luce.choice, "SAMPLE", 300)
    monkeypatch.setattr(luce.choice, "MOST_WORK", 300 * 3.0)
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 2_000)
    x = rng.normal(size=(2_000, 3)) + 3.0 * truth[:, np.newaxis]
    wrong = np.sort(rng.choice(2_000, 100, replace=False))
    given = truth.copy()
    given[wrong] = 1 - given[wrong]
    found = examine({f"x{j}": x[:, j] for j in range(3)}, given)
    assert found.ranking is not None and found.wrong is not None and found.wrong.rows is not None
    checked = found.ranking.suggested >= 0
    assert 330 < checked.sum() < 470 and f"labels of {checked.sum():,} of 2,000 rows were checked" in str(found.notes)
    assert found.wrong.rows.low <= checked[wrong].sum() <= found.wrong.rows.high
    first = found.ranking.order[: checked[wrong].sum()]
    assert np.isin(first, wrong).mean() > 0.9 and checked[first].all()
    assert f"of {checked.sum():,}" in to_json(found)["mislabelled"]["sentence"]


def test_the_parts_of_a_fitted_classifier_give_the_same_findings(
    found: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table.of(spoilt())
    model = Classifier().fit(table, "species")

    def no_fit(*_: Any, **__: Any) -> None:
        raise AssertionError("a second fit")

    monkeypatch.setattr(Classifier, "fit", no_fit)
    target = labels(table, "species")
    rows = table.without("species")
    again = examine_fitted(rows, target, model.fitted.schema, model.held_out, label="species")
    assert json.dumps(to_json(again)) == json.dumps(to_json(found))
    blind = examine_fitted(rows, target, model.fitted.schema, None)
    assert blind.ranking is blind.wrong is blind.model is None and blind.suspects == ()
    assert blind.leaks == found.leaks and any("labels were not checked" in note for note in blind.notes)
    held = model.held_out
    assert held is not None
    with pytest.raises(luce.InputError, match="held_out is of 3 rows"):
        examine_fitted(
            rows, target, model.fitted.schema, HeldOut(held.probabilities[:3], held.codes[:3], held.scored[:3])
        )


def test_a_class_of_one_row_does_not_stop_the_others_from_being_checked() -> None:
    frame = spoilt().with_columns(species=pl.Series(["elk", *spoilt()["species"][1:]]))
    told = examine(frame, "species")
    assert told.ranking is not None
    assert told.ranking.order[-1] == 0 and np.isnan(told.ranking.score[0])
    assert set(FLIPPED) <= {suspect.row - 1 for suspect in told.suspects}
    assert told.ranked().row(-1)[:3] == (1, "elk", None)
    section = to_json(told)["classes"]
    assert "A class with a single row" in section["sentence"] and {"class": "elk", "rows": 1} in section["found"]


def test_where_no_class_has_two_rows_the_rest_is_still_examined() -> None:
    told = examine({"a": [1.0, 2.0, 2.0], "y": ["u", "v", "w"]}, "y")
    assert told.ranking is None and told.twins.contradictory_rows == 2 and told.ranked().height == 0


# --- groups and time


def patients(seed: int = 3) -> pl.DataFrame:
    """120 patients of ten rows each: the rows tell who the patient is, and little of what the patient has."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(120), 10)
    ill = rng.random(120) < 0.4
    x = rng.normal(size=(120, 6))[patient] + 0.2 * rng.normal(size=(1200, 6))
    x[:, 0] += 0.7 * ill[patient]
    day = np.datetime64("2023-01-01") + rng.integers(0, 500, 1200)
    return pl.DataFrame(
        {f"x{j}": x[:, j] for j in range(6)}
        | {"patient_id": [f"P{k:03d}" for k in patient], "visit": day.astype("datetime64[D]")}
        | {"diagnosis": np.array(["well", "ill"])[ill[patient].astype(int)]}
    )


def a_random_split_of_groups_is_told_to_flatter() -> None:
    told = examine(patients(), "diagnosis", group="patient_id", time="visit")
    by = {comparison.by: comparison for comparison in told.comparisons}
    assert by["group"].flatters and by["group"].groups == 120
    assert by["group"].random.accuracy.value > 0.98 > 0.8 > by["group"].split.accuracy.value
    assert not by["time"].flatters
    assert "holdout_of_groups" in to_json(told)["comparisons"]["found"][0]["said"]


def test_t09_a_random_split_of_groups_is_told_to_flatter() -> None:
    a_random_split_of_groups_is_told_to_flatter()


def test_a_comparison_with_another_random_split_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "holdout_of_groups", lambda codes, groups, *how: luce.splits.holdout(codes, *how))
    with pytest.raises(AssertionError):
        a_random_split_of_groups_is_told_to_flatter()


def test_t09_without_being_asked_groups_and_dates_are_named_with_the_option() -> None:
    told = examine(patients(), "diagnosis")
    assert [(hint.column, hint.kind) for hint in told.hints] == [("patient_id", "group"), ("visit", "time")]
    said = [each["said"] for each in to_json(told)["splits"]["found"]]
    assert said[0].endswith("ask with --group 'patient_id'") and said[1].endswith("ask with --time 'visit'")


def plain_score(frame: pl.DataFrame, train: np.ndarray, held: np.ndarray) -> float:
    model = Classifier().fit(frame[train], "diagnosis")
    return float((model.predict(frame[held].drop("diagnosis")) == frame[held]["diagnosis"].to_numpy()).mean())


def test_the_scores_are_those_of_a_classifier_fitted_on_the_training_rows() -> None:
    frame = patients()
    codes = (frame["diagnosis"] == "well").to_numpy().astype(int)
    told = examine(frame, "diagnosis", group="patient_id", time="visit").comparisons
    group = holdout_of_groups(codes, frame["patient_id"].to_numpy(), 0.2, 0)
    time = holdout_by_time(frame["visit"].to_numpy(), 0.2)
    assert [each.split.accuracy.value for each in told] == [plain_score(frame, *group), plain_score(frame, *time)]


def test_rows_of_classes_that_come_later_count_as_wrong() -> None:
    rng = np.random.default_rng(4)
    y = np.array(["old", "older"])[rng.integers(0, 2, 300)]
    y[290:] = "new"
    told = examine({"t": np.arange(300.0), "u": rng.normal(size=300), "y": y}, "y", time="t").comparisons[0]
    assert told.unknown == 10
    assert told.split.accuracy.value <= 50 / 60


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": "nobody"}, "there is no column 'nobody'"),
        ({"time": "nobody"}, "there is no column 'nobody'"),
        ({"time": "patient_id"}, "'patient_id' holds neither dates nor numbers"),
        ({"group": "diagnosis"}, "there is no column 'diagnosis'"),
    ],
)
def test_columns_that_cannot_split_are_refused_before_the_fit(
    options: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "fit", lambda *_, **__: pytest.fail("fitted"))
    with pytest.raises(luce.InputError, match=re.escape(words)) as caught:
        examine(patients(), "diagnosis", **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [["1", "2", "3"], ["2024-01-03", "2024-01-04", "2024-01-05"], [1.5, 2.5, 9.0]])
def test_times_are_read_from_text_dates_and_numbers(values: list[Any]) -> None:
    found = grouping.times_of(Table.of({"t": [*values, None]}), "t")
    assert np.isnan(found[3]) and np.all(np.diff(found[:3]) > 0)


def test_a_counter_of_rows_is_no_column_to_learn_from_but_a_time() -> None:
    assert grouping.times_of(Table.of({"t": [str(k) for k in range(40)]}), "t").tolist() == list(range(40))


def test_rows_without_a_group_are_groups_of_their_own() -> None:
    codes = grouping.groups_of(Table.of({"g": ["a", None, " a", "", "b", None]}), "g").tolist()
    assert codes[0] == codes[2] and len(set(codes)) == 5


# --- D14: a label that cannot be used


LABELS = {
    "missing": ("nothing", "there is no column 'nothing'"),
    "all missing": ("empty", "no row has a label"),
    "some missing": ("holes", "rows have no label"),
    "continuous": ("quantity", "looks continuous"),
    "too many": ("ids", "too many to be classes"),
    "one class": ("same", "every row has the label"),
}


@pytest.mark.parametrize("case", LABELS)
def test_d14_a_label_that_cannot_be_used_is_refused_in_one_line(case: str, luce: Run) -> None:
    rng = np.random.default_rng(0)
    pl.DataFrame(
        {
            "x": rng.normal(size=200),
            "empty": [""] * 200,
            "holes": [None, None, "a", "b"] * 50,
            "quantity": rng.normal(size=200),
            "ids": [f"no {k}" for k in range(200)],
            "same": ["a"] * 200,
        }
    ).write_csv("t.csv")
    label, words = LABELS[case]
    refused(luce("doctor", "t.csv", "--label", label), words)


# --- JSON and terminal


def test_the_json_is_flat_lists_of_findings_under_titles(found: Findings) -> None:
    told = json.loads(json.dumps(to_json(found), allow_nan=False))
    kinds = {key: value for key, value in told.items() if isinstance(value, dict)}
    assert list(kinds) == ["leaks", "mislabelled", "contradictions", "duplicates", "classes", "separations", "columns"]
    for section in kinds.values():
        assert section["title"] and section["weight"] in ("fault", "ask", "fact")
        assert all(not isinstance(value, dict) for each in section["found"] for value in each.values())
    assert all(not isinstance(value, list) for value in told.values())
    assert told["mislabelled"]["found"][0]["row"] == found.suspects[0].row


def printed(told: Findings, width: int, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="strict", write_through=True)
    findings.render(told, Console(file=file, width=width, highlight=False))
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_terminal_shows_every_section_within_its_width(found: Findings, width: int) -> None:
    text = printed(found, width)
    assert max(map(len, text.splitlines())) <= width
    for section in findings.sections(found):
        assert section.title in " ".join(text.split())
    assert "looked for and not found: nearly equal rows, groups or time" in " ".join(text.split())


def test_a_terminal_of_ascii_gets_ascii_signs(found: Findings) -> None:
    plain = replace(found, suspects=(), twins=replace(found.twins, listed=()))
    assert "x Equal rows with different labels" in printed(plain, 80, "ascii")


def names_are_shown_and_not_obeyed(show: Callable[[Findings, int], str]) -> None:
    rng = np.random.default_rng(5)
    evil = "[bold]\x1b[31m\u202e\n"
    y = np.array([evil, "[/]", "\x9b2J"])[rng.integers(0, 3, 300)]
    told = examine({evil: y, "[red]gap\x07": np.where(y == "[/]", None, rng.normal(size=300)), "label": y}, "label")
    text = show(replace(told, notes=(evil,)), 80)
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "[bold]" in text and "[red]gap" in text


def test_names_are_shown_and_not_obeyed() -> None:
    names_are_shown_and_not_obeyed(printed)


@pytest.mark.parametrize("name", ["shown", "inert"])
def test_names_that_are_printed_as_they_are_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, name, lambda text, width=0: str(text))
    with pytest.raises(AssertionError):
        names_are_shown_and_not_obeyed(printed)


# --- the command


def test_the_command_prints_saves_and_speaks_json(luce: Run, found: Findings) -> None:
    spoilt().write_csv("t.csv")
    ran = good(luce("doctor", "t.csv", "--label", "species", "--out", "ranked.csv"))
    assert ran.err == "saved ranked.csv: 900 rows\n"
    assert "t.csv: 900 rows, 4 classes of 'species'" in ran.out
    rows = answers(Path("ranked.csv").read_text(encoding="utf-8"))
    assert len(rows) == N and {int(row["row"]) - 1 for row in rows[:20]} >= set(FLIPPED)
    told = json.loads(good(luce("doctor", "t.csv", "--label", "species", "--json", "--as", "after=ignore")).out)
    assert "leaks" not in told and told["rows"] == N
    good(luce("doctor", "t.csv", "--label", "species", "--out", "ranked.parquet"))
    assert pl.read_parquet("ranked.parquet")["row"].sort().to_list() == list(range(1, N + 1))


def test_the_command_compares_splits(luce: Run) -> None:
    patients().write_csv("t.csv")
    out = good(luce("doctor", "t.csv", "--label", "diagnosis", "--group", "patient_id")).out
    assert "A random split looks too good here." in out
    assert "holdout_of_groups" in " ".join(out.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "t.csv"], "is a file that is being read"),
        (["--out", "no/such.csv"], "the folder no does not exist"),
        (["--group", "x"], "there is no column 'x'"),
        (["--as", "diagnosis=ignore"], "there is no column 'diagnosis'"),
        (["--as", "visit"], "write COLUMN=KIND"),
    ],
)
def test_a_mistake_in_the_options_is_told_in_one_line(options: list[str], words: str, luce: Run) -> None:
    patients().write_csv("t.csv")
    refused(luce("doctor", "t.csv", "--label", "diagnosis", *options), words)


def formulas() -> pl.DataFrame:
    rng = np.random.default_rng(6)
    code = rng.integers(0, 3, 90)
    y = np.array(["=cmd|' /C calc'!A0", "plain", "＝x"])[code]
    return pl.DataFrame({"x": code + 0.3 * rng.normal(size=90), "y": y})


@pytest.mark.parametrize("command", ["doctor", "predict"])
def test_s18_cells_that_a_spreadsheet_would_run_are_guarded_unless_raw(command: str, luce: Run) -> None:
    frame = formulas()
    frame.write_csv("t.csv")
    good(luce("train", "t.csv", "--label", "y", "--out", "m.luce"))
    call = ("doctor", "t.csv", "--label", "y") if command == "doctor" else ("predict", "m.luce", "t.csv")
    column = "given" if command == "doctor" else "prediction"
    ran = good(luce(*call, "--out", "safe.csv"))
    assert "got an apostrophe; --raw leaves it out" in ran.err
    good(luce(*call, "--out", "raw.csv", "--raw"))
    good(luce(*call, "--out", "raw.parquet"))
    safe, raw = (pl.read_csv(name, infer_schema=False)[column].to_list() for name in ("safe.csv", "raw.csv"))
    assert raw == pl.read_parquet("raw.parquet")[column].to_list()
    assert set(raw) <= set(frame["y"]) and any(cell[0] in "=＝" for cell in raw)
    assert safe == ["'" + cell if cell[0] in "=＝" else cell for cell in raw]
