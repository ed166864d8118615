"""predict, evaluate and inspect: rows, columns and numbers of the answer, and what is no model or no fitting table."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as oracle
from commands import NEW, PATIENTS, Run, answers, good, orders, refused, written

from luce.classifier import load
from luce.container import read_container

pytest_plugins = ["commands"]

REL = 1e-12  # two correct means of n <= 1,000 terms of one sign differ by n * 2^-53 = 1.1e-13 of their size at most


# ---- predict


def test_predictions_come_row_by_row_with_a_column_for_each_class(luce: Run, patients: Path) -> None:
    (patients / "new.csv").write_text(NEW)
    ran = good(luce("predict", "patients.luce", "new.csv"))
    assert ran.out.splitlines()[0] == "prediction,p:cold,p:flu,p:healthy"
    assert ran.err == ""
    found = answers(ran.out)
    assert [row["prediction"] for row in found] == ["flu", "healthy"]
    for row in found:
        shares = {name: float(row[f"p:{name}"]) for name in ("cold", "flu", "healthy")}
        assert max(shares, key=lambda name: shares[name]) == row["prediction"]
        assert sum(shares.values()) == pytest.approx(1, abs=1e-12)  # the promise for float64 rows


def test_row_order_is_kept_and_a_row_does_not_depend_on_its_company(luce: Run, patients: Path) -> None:
    head, *rows = PATIENTS.read_text(encoding="utf-8").splitlines()
    whole = good(luce("predict", "patients.luce", "patients.csv")).out.splitlines()
    order = np.random.default_rng(0).permutation(len(rows))
    (patients / "mixed.csv").write_text("\n".join([head, *(rows[k] for k in order)]), encoding="utf-8")
    mixed = good(luce("predict", "patients.luce", "mixed.csv")).out.splitlines()
    assert mixed[1:] == [whole[k + 1] for k in order]
    (patients / "alone.csv").write_text("\n".join([head, rows[3]]), encoding="utf-8")
    assert good(luce("predict", "patients.luce", "alone.csv", "--threads", 2)).out.splitlines()[1:] == [whole[4]]


def test_the_suffix_of_out_is_the_form_of_the_answer(luce: Run, patients: Path) -> None:
    (patients / "new.csv").write_text(NEW)
    shown = good(luce("predict", "patients.luce", "new.csv")).out
    for name in ("a.csv", "a.tsv", "a.parquet", "A.PQ"):
        ran = good(luce("predict", "patients.luce", "new.csv", "--out", name))
        assert ran.out == ""
        assert ran.err == f"saved {name}: 2 rows\n"
    assert Path("a.csv").read_text() == shown
    assert Path("a.tsv").read_text() == shown.replace(",", "\t")
    for name in ("a.parquet", "A.PQ"):
        frame = pl.read_parquet(name)
        assert frame.columns == ["prediction", "p:cold", "p:flu", "p:healthy"]
        assert frame.write_csv() == shown
    refused(luce("predict", "patients.luce", "new.csv", "--out", "a.xlsx"), "a.xlsx", ".parquet")
    refused(luce("predict", "patients.luce", "new.csv", "--out", "nowhere/a.csv"), "nowhere/a.csv")


def test_predicted_whole_numbers_and_truth_values_keep_their_type(luce: Run, write: Callable[..., Path]) -> None:
    for labels, kind in ((("0", "10"), pl.Int64), (("true", "false"), None)):
        rows = [f"{k}.5,{labels[k > 9]}" for k in range(20)]
        data = write("x,y\n" + "\n".join(rows))
        good(luce("train", data, "--label", "y", "--out", "m.luce"))
        good(luce("predict", "m.luce", data, "--out", "a.parquet"))
        frame = pl.read_parquet("a.parquet")
        assert set(frame.columns[1:]) == {f"p:{label}" for label in labels}
        assert kind is None or frame["prediction"].dtype == kind
        assert set(map(str, frame["prediction"])) == set(labels)


def test_d16_unseen_categories_are_counted_in_a_note(luce: Run, patients: Path) -> None:
    text = NEW + '40,"37,0",yes,120,2024-02-03,cellar,1\n41,"37,0",yes,120,2024-02-03,cellar,1\n'
    (patients / "new.csv").write_text(text)
    ran = good(luce("predict", "patients.luce", "new.csv"))
    assert re.fullmatch(r"note: column ward: 2 cell\(s\) rare or unseen in training, such as 'cellar'\n", ran.err)
    assert len(answers(ran.out)) == 4


def test_e11_columns_match_by_name_in_any_order(luce: Run, patients: Path) -> None:
    frame = pl.read_csv("patients.csv", infer_schema=False)
    expected = good(luce("predict", "patients.luce", "patients.csv")).out
    frame.select(frame.columns[::-1]).write_csv("turned.csv")
    assert good(luce("predict", "patients.luce", "turned.csv")).out == expected
    frame.drop("diagnosis").write_csv("unlabelled.csv")
    assert good(luce("predict", "patients.luce", "unlabelled.csv")).out == expected


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_e11_missing_extra_and_renamed_columns_are_listed(luce: Run, patients: Path, command: str) -> None:
    frame = pl.read_csv("patients.csv", infer_schema=False)
    frame.drop("age", "ward").write_csv("missing.csv")
    refused(luce(command, "patients.luce", "missing.csv"), "missing.csv", "missing: 'age', 'ward'")
    frame.with_columns(pl.lit("1").alias("extra")).write_csv("extra.csv")
    refused(luce(command, "patients.luce", "extra.csv"), "extra.csv", "not known: 'extra'")
    frame.rename({"cough": "coughs"}).write_csv("renamed.csv")
    line = refused(luce(command, "patients.luce", "renamed.csv"), "missing: 'cough'", "not known: 'coughs'")
    assert "did you mean 'cough'" in line


def test_columns_that_were_left_out_may_be_there_or_not(luce: Run, write: Callable[..., Path]) -> None:
    data = write("id,x,y\n" + "\n".join(f"id{k},{k}.5,{'ab'[k > 9]}" for k in range(20)))
    good(luce("train", data, "--label", "y", "--out", "m.luce"))
    expected = good(luce("predict", "m.luce", data)).out
    pl.read_csv(data).select("x").write_csv("x.csv")
    assert good(luce("predict", "m.luce", "x.csv")).out == expected


def test_d11_a_cell_that_does_not_fit_is_named(luce: Run, patients: Path) -> None:
    (patients / "new.csv").write_text(NEW.replace("58", "fifty"))
    line = refused(luce("predict", "patients.luce", "new.csv"), "new.csv, row 2, column 'age'", "'fifty'")
    assert "not a number" in line


def test_a_failed_prediction_leaves_the_old_answer(luce: Run, patients: Path) -> None:
    good(luce("predict", "patients.luce", "patients.csv", "--out", "a.csv"))
    before = Path("a.csv").read_bytes()
    (patients / "new.csv").write_text(NEW + "1,2\n")
    refused(luce("predict", "patients.luce", "new.csv", "--out", "a.csv"), "line 4")
    assert Path("a.csv").read_bytes() == before


@pytest.mark.parametrize("command", ["train", "predict"])
def test_out_never_replaces_what_is_being_read(luce: Run, patients: Path, command: str) -> None:
    if command == "train":
        ran = luce("train", "patients.csv", "--label", "diagnosis", "--holdout", 0, "--out", "./patients.csv")
    else:
        ran = luce("predict", "patients.luce", "patients.csv", "--out", "./patients.csv")
    assert Path("patients.csv").read_bytes() == PATIENTS.read_bytes()
    refused(ran, "--out ./patients.csv")


# ---- evaluate


PROMISED = {
    "rows", "classes", "accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_weighted", "log_loss",
    "per_class", "confusion",
}  # fmt: skip
ALSO_THERE = {"baseline", "precision_weighted", "recall_weighted", "intervals"}
OF_THE_PAGE = {
    "headline", "class_intervals", "worst", "confusions", "reliability", "curves", "measured", "by_costs", "overview",
    "findings", "certificate", "calibration", "conformal", "schema", "training",
}  # fmt: skip


@pytest.fixture
def measured(luce: Run) -> tuple[dict[str, Any], list[str], pl.DataFrame]:
    """The JSON of `evaluate` on rows not trained on, their true classes, and the answers of `predict` for them."""
    good(luce("train", written(orders(), "csv", "orders"), "--label", "label", "--out", "m.luce"))
    fresh = orders(300, seed=7)
    name = written(fresh, "parquet", "fresh")
    report = json.loads(good(luce("evaluate", "m.luce", name, "--json")).out)
    good(luce("predict", "m.luce", name, "--out", "a.parquet"))
    return report, fresh["label"].to_list(), pl.read_parquet("a.parquet")


def test_the_json_report_has_the_promised_keys(measured: tuple[dict[str, Any], list[str], pl.DataFrame]) -> None:
    report = measured[0]
    assert set(report) >= PROMISED
    assert set(report) <= PROMISED | ALSO_THERE | OF_THE_PAGE, "a new key is a new promise: add it here"
    assert report["rows"] == 300
    assert report["classes"] == ["gone", "stays", "unsure"]
    assert all(set(row) == {"class", "precision", "recall", "f1", "support"} for row in report["per_class"])


def test_the_json_report_agrees_with_scikit_learn(measured: tuple[dict[str, Any], list[str], pl.DataFrame]) -> None:
    report, truth, frame = measured
    names, guess = report["classes"], frame["prediction"].to_list()
    shares = frame.select(f"p:{name}" for name in names).to_numpy()
    assert report["accuracy"] == pytest.approx(oracle.accuracy_score(truth, guess), rel=REL)
    assert report["log_loss"] == pytest.approx(oracle.log_loss(truth, shares, labels=names), rel=REL)
    assert report["confusion"] == oracle.confusion_matrix(truth, guess, labels=names).tolist()
    for mean in ("macro", "weighted"):
        values = oracle.precision_recall_fscore_support(truth, guess, labels=names, average=mean)
        for name, value in zip(("precision", "recall", "f1"), values, strict=False):
            assert report[f"{name}_{mean}"] == pytest.approx(value, rel=REL), f"{name}_{mean}"
    each = np.array(oracle.precision_recall_fscore_support(truth, guess, labels=names))
    found = [[row[key] for key in ("precision", "recall", "f1", "support")] for row in report["per_class"]]
    np.testing.assert_allclose(np.array(found).T, each, rtol=REL)
    assert 0.4 < report["accuracy"] < 0.99, "a report that is all right or all wrong would test little"


def test_the_report_for_people_shows_the_same_numbers(
    luce: Run, measured: tuple[dict[str, Any], list[str], pl.DataFrame]
) -> None:
    text = good(luce("evaluate", "m.luce", "fresh.parquet")).out
    assert f"accuracy {measured[0]['accuracy']:.1%}".replace("%", " %") in text
    assert "300 rows" in text
    assert "confusion matrix" in text


def test_evaluate_refuses_labels_that_are_no_class_and_takes_another_column(luce: Run, patients: Path) -> None:
    frame = pl.read_csv("patients.csv", infer_schema=False)
    frame.with_columns(pl.Series("diagnosis", ["flu"] * 9 + ["plague"] * 6)).write_csv("new.csv")
    refused(luce("evaluate", "patients.luce", "new.csv"), "new.csv", "'plague'", "row 10", "no class of the model")
    frame.rename({"diagnosis": "truth"}).write_csv("renamed.csv")
    refused(luce("evaluate", "patients.luce", "renamed.csv"), "no column 'diagnosis'")
    ran = good(luce("evaluate", "patients.luce", "renamed.csv", "--label", "truth", "--json"))
    same, named = json.loads(good(luce("evaluate", "patients.luce", "patients.csv", "--json")).out), json.loads(ran.out)
    assert named["measured"].pop("source") == "renamed.csv"
    assert same["measured"].pop("source") == "patients.csv"
    told = [found["measured"].pop("command").removeprefix("luce evaluate patients.luce ") for found in (named, same)]
    assert told == ["renamed.csv --label truth", "patients.csv"]
    assert named == same
    frame.with_columns(pl.Series("diagnosis", ["flu"] * 14 + [None])).write_csv("gap.csv")
    refused(luce("evaluate", "patients.luce", "gap.csv"), "row 15")


# ---- inspect


def test_inspect_shows_what_the_model_holds(luce: Run, patients: Path) -> None:
    text = good(luce("inspect", "patients.luce")).out
    assert "3 classes of diagnosis, 15 training rows" in text
    for line in ("  flu: 5 rows", "  age: number", "  cough: boolean", "  visit: date", "  ward: category"):
        assert line in text.splitlines()
    assert "held out 5 rows: accuracy" in text
    assert re.search(r"  flu:\n    █+ +\d+\.\d\d  temperature\n", text)


def test_inspect_speaks_json(luce: Run, patients: Path) -> None:
    found = json.loads(good(luce("inspect", "patients.luce", "--json")).out)
    assert set(found) == {"label", "classes", "schema", "training", "calibration", "features", "strongest"}
    assert found["label"] == "diagnosis"
    assert found["classes"] == ["cold", "flu", "healthy"]
    assert found["training"]["class_counts"] == [5, 5, 5]
    assert found["features"] == read_container("patients.luce")[0]["coef"].shape[1]
    assert found["strongest"][1]["class"] == "flu"
    assert found["strongest"][1]["columns"][0]["column"] == "temperature"


def test_m08_hostile_names_reach_the_terminal_as_harmless_text(luce: Run, write: Callable[..., Path]) -> None:
    names = ["\x1b[31mred\x1b[0m", "[bold]x[/bold]", "../../etc/passwd", "\u202eevil", "c" * 300]
    classes = ["\x1b]0;title\x07", "[red]a[/red]", "../b"]
    frame = pl.DataFrame({name: np.arange(30) * (k + 1.5) % 7 for k, name in enumerate(names)})
    frame = frame.with_columns(pl.Series("y\x1b[1m", [classes[k % 3] for k in range(30)]))
    frame.write_parquet("t.parquet")
    texts = [luce("train", "t.parquet", "--label", "y\x1b[1m", "--out", "m.luce"), luce("inspect", "m.luce")]
    texts.append(luce("evaluate", "m.luce", "t.parquet"))
    for ran in texts:
        good(ran)
        for line in (ran.out + ran.err).splitlines():
            assert line.isprintable(), line
        assert "[red]a[/red]" in ran.out, "markup is shown, not obeyed"
    assert "\\x1b[31mred" in texts[1].out
    assert "[bold]x[/bold]" in texts[1].out


# ---- explain


@pytest.fixture
def explained(luce: Run) -> str:
    """The name of a table; a model of it is in m.luce."""
    name = written(orders(300), "csv", "orders")
    good(luce("train", name, "--label", "label", "--holdout", 0, "--out", "m.luce"))
    return name


def test_explain_names_the_change_that_flips_the_answer_and_it_does(luce: Run, explained: str) -> None:
    rows, seen = pl.read_csv(explained, infer_schema=False), 0
    for row in (1, 5, 9, 14):
        found = json.loads(good(luce("explain", "m.luce", explained, "--row", row, "--json")).out)
        change, text = found["change"], good(luce("explain", "m.luce", explained, "--row", row)).out
        last = " ".join(text[text.index("nearest change:") :].split())
        if change is None:
            assert last == "nearest change: no change of one or two columns flips the answer"
            continue
        new = {move["column"]: str(move["after"]) for move in change["moves"]}
        rows[row - 1].with_columns(**{name: pl.lit(cell) for name, cell in new.items()}).write_csv("new.csv")
        answer = answers(good(luce("predict", "m.luce", "new.csv")).out)[0]
        assert answer["prediction"] == change["answer"] != found["answer"]
        assert float(answer[f"p:{change['answer']}"]) == max(change["probabilities"])
        assert last.startswith(f"nearest change: {change['answer']} if {change['moves'][0]['column']} were ")
        seen += 1
    assert seen > 0


def test_explain_keeps_what_cannot_change(luce: Run, explained: str) -> None:
    """The same answer as in Python; a column that is not there is refused, and nothing is said."""
    model, rows = load("m.luce"), pl.read_csv(explained, infer_schema=False)
    moved = json.loads(good(luce("explain", "m.luce", explained, "--json")).out)["change"]["moves"]
    keep = [move["column"] for move in moved]
    arguments = [part for name in keep for part in ("--keep", name)]
    change = json.loads(good(luce("explain", "m.luce", explained, *arguments, "--json")).out)["change"]
    found = model.counterfactual(rows, 0, keep=keep)
    assert (change is None) == (found is None)
    if found is not None:
        assert not {move["column"] for move in change["moves"]} & set(keep)
        assert [(move["column"], move["after"]) for move in change["moves"]] == [
            (m.column, m.after) for m in found.moves
        ]
    every = [part for name in rows.columns if name != "label" for part in ("--keep", name)]
    assert "no change of one or two columns" in good(luce("explain", "m.luce", explained, *every)).out
    refused(luce("explain", "m.luce", explained, "--keep", "prices"), "no column 'prices'")


def test_explain_against_a_class_names_the_change_to_it(luce: Run, explained: str) -> None:
    for other in ("gone", "stays", "unsure"):
        ran = luce("explain", "m.luce", explained, "--against", other, "--json")
        if ran.code:
            refused(ran, "name another class")
            continue
        found = json.loads(ran.out)
        assert found["other"] == other
        assert found["change"] is None or found["change"]["answer"] == other


# ---- the model argument


@pytest.fixture
def models(luce: Run, patients: Path) -> dict[str, str]:
    """Names that are no model, by what they are."""
    whole = Path("patients.luce").read_bytes()
    Path("cut.luce").write_bytes(whole[:-1])
    Path("short.luce").write_bytes(whole[:5])
    Path("empty.luce").write_bytes(b"")
    Path("flipped.luce").write_bytes(whole[:900] + bytes([whole[900] ^ 1]) + whole[901:])
    Path("pickle.luce").write_bytes(b"\x80\x04\x95" + b"\0" * 60)
    Path("zip.luce").write_bytes(b"PK\x03\x04" + b"\0" * 60)
    Path("json.luce").write_text('{"classes": ["a", "b"]}')
    Path("folder.luce").mkdir()
    Path("loop.luce").symlink_to("loop.luce")
    os.mkfifo("pipe.luce")
    named = {name: f"{name}.luce" for name in ("cut", "short", "empty", "flipped", "pickle", "zip", "json", "folder")}
    return named | {
        "loop": "loop.luce", "pipe": "pipe.luce", "nothing": "no.luce", "table": "patients.csv", "device": "/dev/zero",
    }  # fmt: skip


@pytest.mark.usefixtures("no_hang")
@pytest.mark.parametrize("command", ["predict", "evaluate", "inspect"])
def test_m01_m06_m10_what_is_no_model_is_refused_in_one_line(luce: Run, models: dict[str, str], command: str) -> None:
    data = [] if command == "inspect" else ["patients.csv"]
    for what, name in models.items():
        line = refused(luce(command, name, *data), name)
        assert {"pickle": "pickle", "zip": "ZIP", "folder": "irectory", "pipe": "pipe"}.get(what, "") in line
