"""The report: its numbers, its JSON, and what a reader sees on terminals of several widths."""

from __future__ import annotations

import io
import json
import math
import re
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from luce.errors import InputError
from luce.report import INFINITE, Report, evaluate, render, to_json

pytestmark = pytest.mark.filterwarnings("error")

REL = 1e-12  # sums of n <= 2,000 terms of one sign: n * 2^-53 = 2.2e-13 relative at most

JSON_KEYS = {
    "rows", "classes", "accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_weighted", "log_loss",
    "per_class", "confusion", "baseline", "precision_weighted", "recall_weighted", "intervals",
}  # fmt: skip


def drawn(labels: list[Any], rows: int = 2000, seed: int = 0) -> tuple[list[Any], np.ndarray]:
    """Labels, and probabilities that lean towards them."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(len(labels), rows, p=rng.dirichlet(np.full(len(labels), 5.0)))
    scores = rng.normal(size=(rows, len(labels)))
    scores[np.arange(rows), codes] += 2.0
    weights = np.exp(scores)
    return [labels[code] for code in codes], weights / weights.sum(axis=1, keepdims=True)


def reported(labels: list[Any], rows: int = 2000, seed: int = 0) -> Report:
    truth, p = drawn(labels, rows, seed)
    return evaluate(truth, p, labels)


def certain(truth: list[Any], guess: list[Any], classes: list[Any]) -> Report:
    """The report of a model that gives its guess 0.9 and shares the rest."""
    p = np.full((len(truth), len(classes)), 0.1 / max(1, len(classes) - 1))
    p[np.arange(len(truth)), [classes.index(label) for label in guess]] = 0.9
    return evaluate(truth, p, classes)


def text_of(report: Report, width: int = 80, **options: Any) -> str:
    file = io.StringIO()
    render(report, Console(file=file, width=width, **options))
    return file.getvalue()


def line_with(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


# --- numbers -----------------------------------------------------------------


def test_the_numbers_equal_scikit_learn() -> None:
    labels = ["고양이", "강아지", "토끼", "새"]  # not sorted: the columns keep the order given
    truth, p = drawn(labels)
    report = evaluate(truth, p, labels)
    guess = [labels[code] for code in p.argmax(axis=1)]
    assert report.rows == 2000 and report.classes == tuple(labels)
    assert report.accuracy == pytest.approx(oracle.accuracy_score(truth, guess), rel=REL)
    for average in ("macro", "weighted"):
        want = oracle.precision_recall_fscore_support(truth, guess, labels=labels, average=average)[:3]
        got = [getattr(report, f"{score}_{average}") for score in ("precision", "recall", "f1")]
        assert got == pytest.approx(want, rel=REL)
    per_class = np.array(oracle.precision_recall_fscore_support(truth, guess, labels=labels)).T
    got_rows = [(row.precision, row.recall, row.f1, row.support) for row in report.per_class]
    np.testing.assert_allclose(got_rows, per_class, rtol=REL)
    assert [row.class_ for row in report.per_class] == labels
    np.testing.assert_array_equal(report.confusion, oracle.confusion_matrix(truth, guess, labels=labels))
    order = np.argsort(labels)  # scikit-learn wants sorted columns
    assert report.log_loss == pytest.approx(oracle.log_loss(truth, p[:, order], labels=sorted(labels)), rel=REL)


def test_the_first_of_equal_probabilities_is_predicted() -> None:
    report = evaluate([0, 1, 2], [[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [0.2, 0.4, 0.4]], [0, 1, 2])
    assert report.confusion == ((1, 0, 0), (1, 0, 0), (0, 1, 0))


def test_the_baseline_knows_the_training_shares_alone() -> None:
    base = evaluate(["a", "b", "b"], [[0.5, 0.5]] * 3, ["a", "b"], class_shares=[0.75, 0.25]).baseline
    assert (base.class_, base.accuracy) == ("a", 1 / 3)
    assert base.log_loss == pytest.approx(-(math.log(0.75) + 2 * math.log(0.25)) / 3, rel=REL)


def test_without_training_shares_the_baseline_uses_the_labels_given() -> None:
    base = evaluate(["a", "b", "b"], [[0.5, 0.5]] * 3, ["a", "b"]).baseline
    assert (base.class_, base.accuracy) == ("b", 2 / 3)
    assert base.log_loss == pytest.approx(-(math.log(1 / 3) + 2 * math.log(2 / 3)) / 3, rel=REL)


def test_a_class_that_neither_side_has_does_not_disturb_the_baseline() -> None:
    base = evaluate([0, 0], [[0.8, 0.2]] * 2, [0, 1], class_shares=[1.0, 0.0]).baseline
    assert (base.accuracy, base.log_loss) == (1.0, 0.0)  # 0 * inf would be NaN


def test_a_class_that_the_training_never_had_costs_the_baseline_infinity() -> None:
    report = evaluate([0, 1], [[0.5, 0.5]] * 2, [0, 1], class_shares=np.array([1.0, 0.0]))
    assert report.baseline.log_loss == math.inf and math.isfinite(report.log_loss)
    assert "class shares alone: infinite" in text_of(report) and INFINITE not in text_of(report)


@pytest.mark.parametrize("shares", [[0.5], [[0.5, 0.5]], [0.5, 0.6], [1.5, -0.5], [math.nan, 1.0], ["x", 1], [3, 1]])
def test_shares_that_are_no_shares_are_refused(shares: Any) -> None:
    with pytest.raises(InputError, match="class_shares"):
        evaluate([0, 1], [[0.5, 0.5]] * 2, [0, 1], class_shares=shares)


def test_labels_that_the_model_does_not_know_are_listed() -> None:
    with pytest.raises(InputError, match=r"2 labels .* 2 classes: 'x', 'y'; the first stands in row 1 ") as error:
        evaluate(["a", "x", "y", "x"], [[0.5, 0.5]] * 4, ["a", "b"])
    assert str(error.value).isprintable()


def test_labels_keep_their_python_type() -> None:
    for labels in ([False, True], [3, 1, 2], ["b", "a"], np.array(["b", "a"]), np.array([5, 4])):
        plain = np.asarray(labels).tolist()
        report = evaluate(labels, np.eye(len(plain)), labels)
        assert [type(label) for label in report.classes] == [type(label) for label in plain]
        assert list(report.classes) == plain and report.accuracy == 1.0


# --- JSON --------------------------------------------------------------------


def test_json_holds_the_agreed_keys_and_the_same_numbers() -> None:
    report = reported(["no", "yes"])
    made = to_json(report)
    assert set(made) == JSON_KEYS
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    for name, interval in made["intervals"].items():
        assert interval["low"] <= interval["value"] <= interval["high"]
        assert interval["value"] == made.get(name, interval["value"])
    for key in JSON_KEYS - {"classes", "per_class", "confusion", "baseline", "intervals"}:
        assert made[key] == getattr(report, key)
    assert made["classes"] == ["no", "yes"] and made["confusion"] == [list(row) for row in report.confusion]
    first = report.per_class[0]
    assert made["per_class"][0] == {
        "class": "no", "precision": first.precision, "recall": first.recall, "f1": first.f1, "support": first.support,
    }  # fmt: skip
    base = report.baseline
    assert made["baseline"] == {"class": base.class_, "accuracy": base.accuracy, "log_loss": base.log_loss}


@pytest.mark.parametrize("labels", [[False, True], [7, 8], ["참", "거짓"]])
def test_json_takes_every_kind_of_label(labels: list[Any]) -> None:
    made = json.loads(json.dumps(to_json(reported(labels)), allow_nan=False))
    assert made["classes"] == labels and [type(label) for label in made["classes"]] == [type(x) for x in labels]


def test_an_infinite_log_loss_is_null_in_json_and_a_line_on_the_terminal() -> None:
    report = evaluate([0, 1], [[1.0, 0.0], [1.0, 0.0]], [0, 1], class_shares=[1.0, 0.0])
    made = to_json(report)
    json.dumps(made, allow_nan=False)
    assert report.log_loss == math.inf and made["log_loss"] is None and made["baseline"]["log_loss"] is None
    text = text_of(report, 120)
    assert "infinite: a row's true class had probability 0" in text.splitlines()
    assert "log loss infinite (" in text


# --- the terminal ------------------------------------------------------------


def test_two_classes_at_80_columns() -> None:
    truth = ["no"] * 60 + ["yes"] * 40
    guess = ["no"] * 50 + ["yes"] * 10 + ["yes"] * 33 + ["no"] * 7
    text = text_of(certain(truth, guess, ["no", "yes"]))
    assert text.startswith("held out: 100 rows · accuracy 83.0 % (majority class 'no': 60.0 %)\nlog loss 0.479 (")
    assert "(class shares alone: 0.673)" in text  # -(0.6 ln 0.6 + 0.4 ln 0.4)
    assert line_with(text, "class ").split() == ["class", "precision", "recall", "F1", "support"]
    assert line_with(text, "no ").split() == "no 87.7 % 83.3 % 85.5 % 60".split()
    assert line_with(text, "macro mean").split() == "macro mean 82.2 % 82.9 % 82.5 % 100".split()
    assert line_with(text, "weighted mean").split() == "weighted mean 83.3 % 83.0 % 83.1 % 100".split()
    matrix = text[text.index("confusion matrix: a row is a true class, a column a predicted one") :].splitlines()
    assert [line.split() for line in matrix[1:2] + matrix[3:]] == [
        ["no", "yes"],
        ["no", "50", "10"],
        ["yes", "7", "33"],
    ]
    assert "not shown" not in text and "\x1b" not in text


def test_the_headline_is_one_line_where_it_fits() -> None:
    lines = text_of(reported(["no", "yes"], rows=1234), 120).splitlines()
    assert re.fullmatch(
        r"held out: 1,234 rows · accuracy \d\d\.\d % \(majority class '\w+': \d\d\.\d %\)"
        r" · log loss 0\.\d{3} \(class shares alone: 0\.\d{3}\)",
        lines[0],
    )


def test_korean_labels_align() -> None:
    text = text_of(reported(["고양이", "강아지", "cat"]))
    table = text[text.index("\nclass ") : text.index("confusion")].splitlines()
    rows = [line for line in table if line.strip() and "─" not in line]
    assert len(rows) == 6 and len({cell_len(line.rstrip()) for line in rows}) == 1
    assert len({len(line.rstrip()) for line in rows}) > 1, "by characters they would not align"


def test_many_classes_show_the_worst_and_the_commonest_confusions() -> None:
    report = reported([f"class {number:02d}" for number in range(41)])
    text = text_of(report)
    assert "the 10 worst of 41 classes by F1" in text and "confusion matrix" not in text
    table = text[text.index("\nclass ") : text.index("macro mean")]
    worst = sorted(report.per_class, key=lambda row: row.f1)
    assert len({row.f1 for row in worst[:11]}) == 11, "equal scores would leave the order open"
    assert [str(row.class_) for row in worst[:10]] == re.findall(r"^class \d\d", table, re.MULTILINE)
    counts = np.array(report.confusion)
    np.fill_diagonal(counts, 0)
    listed = [line for line in text.splitlines() if re.match(r"class \d\d →", line)]
    assert [int(line.split()[-1]) for line in listed] == sorted(counts.ravel().tolist())[::-1][:10]
    for line in listed:
        truth, guess, count = re.fullmatch(r"class (\d\d) → +class (\d\d) +(\d+)", line.rstrip()).groups()
        assert counts[int(truth), int(guess)] == int(count)
    rest = counts.sum() - sum(int(line.split()[-1]) for line in listed)
    kinds = np.count_nonzero(counts) - 10
    assert f"not shown: 31 classes and {kinds:,} confusions ({rest:,} rows)" in text.splitlines()


def test_a_matrix_too_wide_for_the_terminal_becomes_a_list() -> None:
    report = reported([f"class {number:02d}" for number in range(12)])
    assert "confusion matrix" in text_of(report, 160)
    narrow = text_of(report, 80)
    assert "confusion matrix" not in narrow and "the most frequent confusions" in narrow
    assert all(f"\nclass {number:02d} " in narrow for number in range(12)), "twelve classes still all have a row"


def test_cut_labels_that_look_alike_never_head_a_matrix() -> None:
    report = reported(["the same beginning " * 3 + end for end in "ab"])
    assert "confusion matrix" not in text_of(report) and "…" in text_of(report)


def test_no_mistakes_are_said_in_words() -> None:
    labels = list(range(13))
    text = text_of(certain(labels, labels, labels))
    assert "no confusions: every row was given its true class" in text
    assert "not shown: 3 classes" in text.splitlines()


def test_classes_without_a_row_are_said_and_not_called_the_worst() -> None:
    labels = [f"c{number}" for number in range(15)]
    text = text_of(certain(labels[:11], [*labels[:10], "c0"], labels))
    assert "4 classes have no row here and count as 0 in the macro mean" in text
    assert not any(f"\nc{number} " in text for number in range(11, 15))
    one = text_of(certain(["a"], ["a"], ["a", "b"]))
    assert "1 class has no row here and counts as 0 in the macro mean" in one


@pytest.mark.parametrize(
    ("hits", "shown"), [(2999, ">99.9 %"), (3000, "100.0 %"), (1, "<0.1 %"), (0, "0.0 %"), (1500, "50.0 %")]
)
def test_a_share_never_rounds_to_all_or_nothing(hits: int, shown: str) -> None:
    guess = ["a"] * hits + ["b"] * (3000 - hits)
    assert f"accuracy {shown} (" in text_of(certain(["a"] * 3000, guess, ["a", "b"]))


@pytest.mark.parametrize(
    ("p", "shown"), [(1.0, "0"), (0.5, "0.693"), (1e-3, "6.91"), (1e-300, "691"), (0.999, "0.00100")]
)
def test_log_loss_has_three_digits(p: float, shown: str) -> None:
    assert f"log loss {shown} (" in text_of(evaluate(["a"], [[p, 1.0 - p]], ["a", "b"]))


def test_colour_marks_the_diagonal_and_dims_zeros() -> None:
    report = certain(["a", "a", "b"], ["a", "a", "a"], ["a", "b"])
    coloured = text_of(report, force_terminal=True, color_system="standard", legacy_windows=False)
    assert "\x1b[1;32m2\x1b[0m" in coloured and "\x1b[2m0\x1b[0m" in coloured and "\x1b[1;32m0" not in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text_of(report)


def test_s19_labels_are_inert() -> None:
    hostile = ["[red]x[/red]", "\x1b[31mred\x07", "a\r\nb", "\u202egnp", ":smile:", "", " blank "]
    text = text_of(reported(hostile), 160)
    for shown in ("[red]x[/red]", r"\x1b[31mred\x07", r"a\r\nb", r"\u202egnp", ":smile:", "''", "' blank '"):
        assert text.count(f"\n{shown} ") == 2, shown  # a row of the scores and a row of the matrix
    heads = text[text.index("confusion matrix") :].splitlines()[1]
    assert re.split(r" {2,}", heads.strip()) == [
        "[red]x[/red]", r"\x1b[31mred\x07", r"a\r\nb", r"\u202egnp", ":smile:", "''", "' blank '",
    ]  # fmt: skip
    assert all(c.isprintable() or c == "\n" for c in text)
    coloured = text_of(reported(hostile), 160, force_terminal=True, color_system="standard", legacy_windows=False)
    assert "\x1b[31m" not in coloured and r"\x1b[31mred" in coloured


@pytest.mark.parametrize("encoding", ["ascii", "cp949", "latin-1", "utf-8"])
def test_a_terminal_without_unicode_is_served(encoding: str) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    labels = ["고양이", "é", *(f"c{number}" for number in range(12)), "x" * 90]
    render(reported(labels), Console(file=file, width=80))
    file.flush()
    text = file.buffer.getvalue().decode(encoding)
    assert (r"\uace0\uc591\uc774" in text) == (encoding in ("ascii", "latin-1"))
    assert ("→" in text) == (encoding in ("cp949", "utf-8")) and ("->" in text) == (encoding in ("ascii", "latin-1"))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=15, unique=True), st.integers(46, 130))
def test_any_labels_stay_inside_the_terminal(labels: list[str], width: int) -> None:
    text = text_of(reported(labels, rows=60), width)
    assert all(c.isprintable() or c == "\n" for c in text)
    assert max(map(cell_len, text.splitlines())) <= width


def test_long_labels_are_cut() -> None:
    text = text_of(reported(["x" * 200, "새" * 200]), 120)
    table = text[text.index("\nclass ") : text.index("confusion matrix")]
    assert "\n" + "x" * 39 + "… " in table and "\n" + "새" * 19 + "… " in table  # 40 cells; 새 takes two


def test_a_label_of_combining_marks_alone_cannot_flood_the_terminal() -> None:
    text = text_of(reported(["a", "e" + "\u0301" * 100_000]))
    assert len(text) < 10_000
