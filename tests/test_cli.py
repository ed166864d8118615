"""The commands as a user meets them: what they print, where, with which exit code, and what they leave on the disk.

Most run inside this process, through the function that the `luce` script calls; a few, where the process itself
matters (pipes, exit codes, a terminal), run as `python -m luce`.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import NEW, PATIENTS, Run, answers, good, kinds_of, orders, refused, written

from luce.cli import cli
from luce.container import read_container

pytest_plugins = ["commands"]

ROWS = [f"{k}.5,{'red' if k % 3 else 'blue'},{'rose' if k > 9 else 'lily'}\n" for k in range(20)]
FLOWERS = "".join(["size,colour,kind\n", *ROWS])


# ---- train: any file gives the same model


FORMS = ["csv", "tsv", "jsonl", "parquet", "arrow"]


@pytest.fixture
def reference(luce: Run) -> str:
    """The predictions of a model trained on orders.csv, as the text of their CSV."""
    data, new = written(orders(), "csv", "orders"), written(orders(40, seed=1).drop("label"), "csv", "new")
    good(luce("train", data, "--label", "label", "--out", "csv.luce"))
    return good(luce("predict", "csv.luce", new)).out


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_rows_gives_the_same_predictions(luce: Run, reference: str, form: str) -> None:
    data = written(orders(), form, "same")
    ran = good(luce("train", data, "--label", "label", "--out", "m.luce"))
    assert ran.err.startswith(f"{data}: 240 rows\n  numbers (2): price, count\n  yes/no (1): member\n")
    new = written(orders(40, seed=1).drop("label"), form, "new")
    assert good(luce("predict", "m.luce", new)).out == reference
    assert len(answers(reference)) == 40


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_standard_input_is_a_file_like_any_other(luce: Run, reference: str, form: str) -> None:
    data = Path(written(orders(), form, "same")).read_bytes()
    ran = good(luce("train", "-", "--label", "label", "--out", "m.luce", stdin=data))
    assert ran.err.startswith("standard input: 240 rows\n")
    new = Path(written(orders(40, seed=1).drop("label"), form, "new")).read_bytes()
    assert good(luce("predict", "m.luce", "-", stdin=new)).out == reference
    report = good(luce("evaluate", "m.luce", "-", "--json", stdin=data)).out
    assert json.loads(report)["rows"] == 240


# ---- train: what it says, what it saves


def test_training_shows_the_schema_then_the_held_out_rows_then_the_proof(luce: Run, patients: Path) -> None:
    ran = good(luce("train", "patients.csv", "--label", "diagnosis", "--holdout", 0.33, "--out", "again.luce"))
    assert ran.err.splitlines() == [
        "patients.csv: 15 rows",
        "  numbers (4): age, temperature, blood pressure, visits before",
        "  yes/no (1): cough",
        "  dates (1): visit",
        "  categories (1): ward",
        "note: column 'temperature': the comma is a decimal comma, so '36,5' is 36.5",
    ]
    assert "held out: 5 rows" in ran.out
    assert re.search(r"log loss \d", ran.out)
    scores = {line.split()[0]: line.split()[-1] for line in ran.out.splitlines() if "%" in line}
    assert int(scores["cold"]) + int(scores["flu"]) + int(scores["healthy"]) == int(scores["macro"]) == 5
    assert "fitted on all 15 rows: proven to lie within " in ran.out
    assert ran.out.endswith("saved again.luce\n")
    assert max(map(len, ran.out.split("fitted on")[0].splitlines())) <= 80


def test_left_out_columns_are_shown_with_the_reason(luce: Run, write: Callable[..., Path]) -> None:
    lines = [f"id{k},,same,{k % 7}.5,{'ab'[k % 2]}" for k in range(30)]
    data = write("name,empty,constant,x,y\n" + "\n".join(lines))
    err = good(luce("train", data, "--label", "y")).err
    assert "  numbers (1): x\n" in err
    assert "left out: name (identifier: 30 different values in 30 rows)" in err
    assert "left out: empty (all cells are missing)" in err
    assert "left out: constant (constant: always 'same')" in err


def test_without_held_out_rows_nothing_is_measured(luce: Run, write: Callable[..., Path], tmp_path: Path) -> None:
    ran = good(luce("train", write(FLOWERS), "--label", "kind", "--holdout", 0))
    assert "held out:" not in ran.out
    assert "accuracy" not in ran.out
    assert "fitted on all 20 rows" in ran.out
    assert (tmp_path / "model.luce").is_file(), "the default name of --out"
    assert "held_out" not in json.loads(good(luce("inspect", "model.luce", "--json")).out)["training"]


def test_costs_and_a_wanted_recall_change_the_answers_and_sets_are_a_column(luce: Run) -> None:
    data = written(orders(400), "csv", "orders")
    answers = {}
    for name, options in {"plain": [], "dear": ["--cost", "gone=20"], "found": ["--recall", "gone=0.9"]}.items():
        told = good(luce("train", data, "--label", "label", "--out", f"{name}.luce", *options)).out
        assert ("least expected cost" in told) == bool(options)
        rows = list(csv.DictReader(good(luce("predict", f"{name}.luce", data, "--coverage", 0.9)).out.splitlines()))
        answers[name] = [row["prediction"] for row in rows]
        assert all(max(classes_of(row), key=lambda c: float(row[f"p:{c}"])) in row["set"].split("|") for row in rows)
        assert {len(row["set"].split("|")) for row in rows} > {1}
    for name in ("dear", "found"):
        assert answers[name].count("gone") > answers["plain"].count("gone")


def classes_of(row: dict[str, str]) -> list[str]:
    return [name.removeprefix("p:") for name in row if name.startswith("p:")]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cost", "gone"], "write CLASS=NUMBER"),
        (["--cost", "gone=much"], "write CLASS=NUMBER"),
        (["--cost", "plague=3"], "'plague', which is no class"),
        (["--recall", "gone=2"], "between 0 and 1"),
    ],
)
def test_costs_that_are_none_are_refused_in_one_line(luce: Run, options: list[str], says: str) -> None:
    ran = luce("train", written(orders(), "csv", "orders"), "--label", "label", *options)
    assert says in ran.err
    assert ran.code == 1
    assert sum(line.startswith("luce: ") for line in ran.err.splitlines()) == 1


def test_the_seed_chooses_the_held_out_rows_and_leaves_the_final_fit_alone(luce: Run) -> None:
    data = written(orders(), "csv", "orders")
    held, weights = [], []
    for seed in (0, 1, 0):
        good(luce("train", data, "--label", "label", "--seed", seed, "--out", "m.luce"))
        arrays, facts = read_container("m.luce")
        held.append(facts["training"]["held_out"])  # type: ignore[index]
        weights.append(arrays["coef"].tobytes())
    assert held[0] == held[2] == held[0] | {"share": 0.2, "seed": 0, "rows": 48}
    assert held[1]["seed"] == 1
    assert held[1]["log_loss"] != held[0]["log_loss"], "other rows"
    assert len(set(weights)) == 1, "the model that is saved is fitted on all rows"


def test_the_model_file_has_the_same_bytes_on_any_number_of_threads_and_in_any_run(luce: Run, tmp_path: Path) -> None:
    data = written(orders(6000), "parquet", "orders")  # more rows than one block of the core
    for name, threads in (("one", 1), ("two", 2), ("five", 5), ("again", 1)):
        good(luce("train", data, "--label", "label", "--threads", threads, "--out", f"{name}.luce"))
    models = {path.name: path.read_bytes() for path in tmp_path.glob("*.luce")}
    assert len(models) == 4
    assert len(set(models.values())) == 1


def test_kinds_that_are_given_win(luce: Run, write: Callable[..., Path]) -> None:
    rows = [f"{k % 5},{k * 1.5},{'ab'[k % 2]}" for k in range(30)]
    data = write("zip,a=b,y\n" + "\n".join(rows))
    good(luce("train", data, "--label", "y", "--as", "zip=category", "--as", "a=b=ignore", "--out", "m.luce"))
    assert kinds_of(luce, "m.luce") == {"zip": "category", "a=b": "left out"}


def test_d13_numbers_with_leading_zeros_stay_text(luce: Run, write: Callable[..., Path]) -> None:
    rows = [f"0{k % 4}12,{k},{'ab'[k % 4 // 2]}" for k in range(40)]
    data = write("postcode,x,y\n" + "\n".join([*rows[::-1], "0012,1.5,a"]))
    good(luce("train", data, "--label", "y", "--out", "m.luce"))
    assert kinds_of(luce, "m.luce")["postcode"] == "category"
    strongest = json.loads(good(luce("inspect", "m.luce", "--json")).out)["strongest"][0]["columns"]
    assert strongest[0]["column"] == "postcode"


def test_d15_a_class_with_one_row_is_kept_out_of_the_split_and_said(luce: Run, write: Callable[..., Path]) -> None:
    ran = good(luce("train", write(FLOWERS + "3.5,red,orchid\n"), "--label", "kind"))
    assert "note: classes with a single row: 'orchid'" in ran.err
    assert re.search(r"^orchid .* 0$", ran.out, re.MULTILINE), "no held-out row of it"
    held = json.loads(good(luce("inspect", "model.luce", "--json")).out)["training"]["held_out"]
    assert held["rows"] == 4


def test_d08_a_korean_encoding_is_recognised_and_said(luce: Run, write: Callable[..., Path]) -> None:
    data = write("값,색,종류\n" + "".join(f"{k}.5,빨강,{'장미' if k > 9 else '백합'}\n" for k in range(20)), "u.csv")
    korean = write(data.read_text(encoding="utf-8").encode("cp949"), "k.csv")
    assert "cp949" not in good(luce("train", data, "--label", "종류", "--out", "u.luce")).err
    assert "note: read as cp949" in good(luce("train", korean, "--label", "종류", "--out", "k.luce")).err
    assert read_container("u.luce")[0]["coef"].tobytes() == read_container("k.luce")[0]["coef"].tobytes()
    wrong = luce("train", korean, "--label", "종류", "--encoding", "utf-8")
    refused(wrong, "not valid utf-8: line 1, byte offset 0 (0xB0)", "--encoding")
    assert "cp949" not in good(luce("train", korean, "--label", "종류", "--encoding", "cp949")).err


# ---- train: mistakes

GOOD = FLOWERS.splitlines(keepends=True)
MANY = "".join(f"{k * 1.37:.2f},{'ab'[k % 2]}\n" for k in range(60))

# the table (None: there is no file), what is added to the command, what the one line has to say
BAD_TABLES: dict[str, tuple[bytes | str | None, list[str], list[str]]] = {
    "d01_empty_file": ("", [], ["t.csv", "empty"]),
    "d01_header_only": (GOOD[0], [], ["t.csv", "header", "no row"]),
    "d01_byte_order_mark_only": (b"\xef\xbb\xbf", [], ["t.csv", "byte-order mark"]),
    "d03_ragged_row": ("".join([*GOOD[:5], "1,2\n", *GOOD[5:]]), [], ["t.csv, line 6", "2 field(s)"]),
    "d04_unclosed_quote": (FLOWERS + '1,"red,rose\n2,red,rose\n', [], ["t.csv, line 22", "quote"]),
    "d07_nul_bytes": (FLOWERS.replace("red", "r\0d", 1), [], ["t.csv", "NUL"]),
    "d07_gzip_without_its_suffix": (b"\x1f\x8b\x08\x00" + b"\0" * 30, [], ["t.csv", "gzip"]),
    "d07_picture": (b"\x89PNG\r\n\x1a\n" + b"\0" * 30, [], ["t.csv", "PNG"]),
    "d08_bad_byte": (FLOWERS.encode() + b"1.5,\xff\xfe\xff,rose\n", [], ["t.csv", "line 22"]),
    "d08_unknown_encoding": (FLOWERS, ["--encoding", "klingon"], ["klingon", "utf-8"]),
    "d10_doubled_column": (FLOWERS.replace("colour", "size"), [], ["t.csv", "size", "rename"]),
    "d11_text_among_numbers": ("x,kind\n" + MANY + "n.a.,a\n" + MANY, [], ["row 61, column 'x'", "'n.a.'", "--as"]),
    "d14_no_such_label_column": (FLOWERS.replace("kind", "kinds"), [], ["no column 'kind'", "did you mean 'kinds'"]),
    "d14_no_label_in_any_row": ("x,kind\n1,\n2,\n", [], ["'kind'", "no row has a label"]),
    "d14_continuous_label": ("kind,x\n" + MANY, [], ["'kind'", "classes"]),
    "e02_one_class": (FLOWERS.replace("lily", "rose"), [], ["'kind'", "every row has the label 'rose'"]),
    "e09_missing_label": (FLOWERS + "1.5,red,\n", [], ["'kind'", "row 21"]),
    "only_the_label": ("kind\na\nb\n", [], ["t.csv", "no columns"]),
    "no_such_file": (None, [], ["t.csv", "No such file"]),
    "unknown_kind": (FLOWERS, ["--as", "size=numbr"], ["'size'", "'numbr' is no kind", "category"]),
    "kind_of_no_column": (FLOWERS, ["--as", "sise=number"], ["no column 'sise'", "did you mean 'size'"]),
    "kind_without_equals": (FLOWERS, ["--as", "size"], ["--as size", "COLUMN=KIND"]),
    "share_above_one": (FLOWERS, ["--holdout", "1.5"], ["--holdout", "1.5"]),
    "share_that_is_no_number": (FLOWERS, ["--holdout", "nan"], ["--holdout", "nan"]),
    "out_in_no_folder": (FLOWERS, ["--out", "nowhere/m.luce"], ["nowhere/m.luce", "does not exist"]),
    "out_is_a_folder": (FLOWERS, ["--out", "."], ["--out .", "folder"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_mistake_is_one_line_and_an_old_model_stays(
    luce: Run, write: Callable[..., Path], tmp_path: Path, case: str
) -> None:
    write(FLOWERS, "old.csv")
    good(luce("train", "old.csv", "--label", "kind", "--out", "m.luce"))
    before, stamp = (tmp_path / "m.luce").read_bytes(), (tmp_path / "m.luce").stat().st_mtime_ns
    table, added, parts = BAD_TABLES[case]
    if table is not None:
        write(table)
    refused(luce("train", "t.csv", "--label", "kind", "--out", "m.luce", *added), *parts)
    assert (tmp_path / "m.luce").read_bytes() == before
    assert (tmp_path / "m.luce").stat().st_mtime_ns == stamp
    assert {path.name for path in tmp_path.iterdir()} <= {"old.csv", "t.csv", "m.luce"}, "nothing is left lying about"


@pytest.mark.parametrize(
    ("table", "added", "parts"),
    [
        (FLOWERS, ["--seed", 2**64], ["seed must be from 0 to"]),
        (FLOWERS, ["--as", "colour=number"], ["row 1, column 'colour'", "'blue' is not a number"]),
        ("size,kind\n1,a\n1,b\n1,a\n", [], ["no column is left to learn from", "constant", "--as"]),
        ("size,kind\n1,a\n2,b\n", [], ["no row can be held out"]),
    ],
)
def test_a_mistake_found_after_the_schema_is_the_last_line(
    luce: Run, write: Callable[..., Path], tmp_path: Path, table: str, added: list[object], parts: list[str]
) -> None:
    ran = luce("train", write(table), "--label", "kind", *added)
    assert (ran.code, ran.out) == (1, "")
    last = ran.err.splitlines()[-1]
    assert ran.err.count("luce: ") == 1
    assert last.startswith("luce: ")
    assert all(part in last for part in parts)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("second", "parts"),
    [("null", ["1 row has no label", "row 2"]), ("1.5", ["looks continuous", "row 2"]), ('["b"]', ["line 2", "y"])],
)
def test_e09_labels_that_are_missing_or_no_labels_name_the_row(
    luce: Run, write: Callable[..., Path], second: str, parts: list[str]
) -> None:
    rows = [f'{{"x": {k}.5, "y": {"12"[k % 2]}}}' for k in range(6)]
    rows[1] = f'{{"x": 9.5, "y": {second}}}'
    refused(luce("train", write("\n".join(rows), "t.jsonl"), "--label", "y"), "t.jsonl", *parts)


def test_d09_a_label_in_either_unicode_form_is_one_class(luce: Run, write: Callable[..., Path]) -> None:
    composed, decomposed = "\uac00", "\u1100\u1161"
    rows = [f"{k}.5,{(composed if k % 4 else decomposed) if k % 2 == 0 else '나'}" for k in range(20)]
    ran = good(luce("train", write("x,y\n" + "\n".join(rows)), "--label", "y"))
    assert "are taken as one class" in ran.err
    assert json.loads(good(luce("inspect", "model.luce", "--json")).out)["classes"] == [composed, "나"]


# ---- softmax


def steps(text: str) -> dict[str, list[str]]:
    """The rows of the table of steps: class -> its cells, without the bar."""
    return {line.split()[0]: re.sub("[█▏…]+", "", line).split()[1:] for line in text.splitlines() if line.strip()}


def test_softmax_shows_the_steps(luce: Run) -> None:
    out = good(luce("softmax", 0.25, 1.23, -0.8, "--classes", "물개,판다,오리")).out
    rows = steps(out)
    assert rows["물개"] == ["0.25", "1.2840", "0.2491", "0"]
    assert rows["판다"] == ["1.23", "3.4212", "0.6637", "1"]
    assert rows["오리"] == ["-0.8", "0.4493", "0.0872", "0"]
    assert rows["sum"] == ["5.1546", "1"]
    assert re.search(r"^answer: 판다 at 66\.4 ?%$", out, re.MULTILINE)
    assert "sigmoid" not in out, "that is for two classes"


def test_softmax_speaks_json(luce: Run) -> None:
    found = json.loads(good(luce("softmax", 0.25, 1.23, -0.8, "--classes", "물개,판다,오리", "--json")).out)
    assert np.round(found["probabilities"], 3).tolist() == [0.249, 0.664, 0.087]
    assert found["logits"] == [0.25, 1.23, -0.8]
    assert (found["answer"], found["one_hot"]) == ("판다", [0, 1, 0])
    assert sum(found["probabilities"]) == pytest.approx(1, abs=1e-12)


def test_two_logits_are_also_the_sigmoid_of_their_difference(luce: Run) -> None:
    out = good(luce("softmax", 2, 0.5, "--classes", "yes,no")).out
    share = 1 / (1 + np.exp(1.5))
    assert steps(out)["no"][2] == f"{share:.4f}"
    sentence = " ".join(out.split("sigmoid")[1].split())
    assert f"1 / (1 + exp(-(0.5 - 2))) = {share:.4f}, the share of no" in sentence


def test_temperature_divides_the_logits(luce: Run) -> None:
    warm = json.loads(good(luce("softmax", 3, -1, 0, "--temperature", 2, "--json")).out)
    plain = json.loads(good(luce("softmax", 1.5, -0.5, 0, "--json")).out)
    assert warm["probabilities"] == plain["probabilities"]
    assert warm["temperature"] == 2.0
    out = good(luce("softmax", 3, -1, 0, "--temperature", 2, "--classes", "a,b,c")).out
    assert "exp(z / 2)" in out
    assert [steps(out)[name][1] for name in "abc"] == [f"{np.exp(z):.4f}" for z in (1.5, -0.5, 0)]


def test_softmax_of_logits_far_from_zero_shows_the_shift(luce: Run) -> None:
    out = good(luce("softmax", 1000, 1001, 999)).out
    assert "exp(z - 1001)" in out
    rows = [line for line in out.splitlines() if line.startswith("class ")]
    assert [line.split()[4] for line in rows[1:]] == ["0.2447", "0.6652", "0.0900"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["1"], ["one logit"]),
        (["a", "1"], ["'a' is not a number"]),
        (["1,2,3"], ["'1,2,3' is not a number"]),
        (["nan", "1"], ["'nan' is not a finite number"]),
        (["inf", "1"], ["'inf' is not a finite number"]),
        (["--", "-inf", "1"], ["'-inf' is not a finite number"]),
        (["1e999", "1"], ["'1e999' is not a finite number"]),
        (["1", "2", "--temperature", "0"], ["temperature", "0"]),
        (["1", "2", "--temperature", "-1"], ["temperature", "-1"]),
        (["1", "2", "--temperature", "nan"], ["temperature", "nan"]),
        (["1", "2", "--temperature", "inf"], ["temperature", "inf"]),
        (["1", "2", "--classes", "a"], ["--classes", "for 2 logits"]),
        (["1", "2", "--classes", "a,b,c"], ["--classes", "3 classes for 2 logits"]),
        (["1", "2", "--clases", "a,b"], ["--clases"]),
    ],
)
def test_n21_bad_logits_and_temperatures_are_refused(luce: Run, arguments: list[str], parts: list[str]) -> None:
    refused(luce("softmax", *arguments), *parts)


@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.parametrize(("logits", "temperature"), [(["1e308", "-1e308"], 0.001), (["1", "2"], 1e-320)])
def test_logits_that_overflow_once_divided_are_refused(
    luce: Run, logits: list[str], temperature: float, flags: list[str]
) -> None:
    refused(luce("softmax", *logits, "--temperature", temperature, *flags), "temperature")


# ---- help, demo


COMMANDS = sorted(cli.commands)


def test_the_commands_are_the_promised_ones() -> None:
    first = ["audit", "demo", "doctor", "evaluate", "explain", "inspect", "playground", "predict", "serve"]
    assert [*first, "softmax", "train"] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_shows_an_example(luce: Run, command: str, flag: str) -> None:
    ran = good(luce(command, flag))
    assert f"Example: luce {command}" in " ".join(ran.out.split())
    assert ran.err == ""
    assert max(map(len, ran.out.splitlines())) <= 80


def test_the_examples_of_the_help_run(luce: Run, tmp_path: Path) -> None:
    shutil.copy(PATIENTS, tmp_path / "patients.csv")
    shutil.copy(PATIENTS, tmp_path / "next-year.csv")
    (tmp_path / "new.csv").write_text(NEW)
    for name in ("train", "predict", "evaluate", "inspect", "softmax"):
        example = re.search(r"Example: luce (.*)", cli.commands[name].help or "")
        assert example is not None, name
        good(luce(*shlex.split(example[1])))


def test_the_bare_command_and_its_version(luce: Run) -> None:
    text = good(luce("--help")).out
    assert all(re.search(rf"^  {name} ", text, re.MULTILINE) for name in COMMANDS)
    assert re.fullmatch(r"luce \d+\.\d+\.\d+\n", good(luce("--version")).out)


@pytest.mark.parametrize(
    "arguments", [["train", "t.csv"], ["frobnicate"], ["predict"], ["train", "t.csv", "--label", "y", "--seed", "x"],
                  ["train", "t.csv", "--label", "y", "--threads", "0"], ["inspect", "m", "--jsn"]],
)  # fmt: skip
def test_misuse_is_exit_code_two(luce: Run, arguments: list[str]) -> None:
    ran = luce(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Traceback" not in ran.err
    assert "Error: " in ran.err


def test_the_demo_gives_four_results(luce: Run) -> None:
    out = good(luce("demo")).out
    accuracies = [float(share) for share in re.findall(r"accuracy (\d+\.\d) % \(", out)]
    assert len(accuracies) == 3
    assert min(accuracies[:2]) > 90  # both are easy; a majority guess has 63 % and 10 %
    assert accuracies[2] > 50  # reviews: a toy; a majority guess has 32 %
    assert "answer: 판다 (panda) at 66.4" in out
    assert [line.split(".")[0] for line in out.splitlines() if re.match(r"\d\. \w", line)] == ["1", "2", "3", "4"]
    assert max(map(len, out.splitlines())) <= 80


# ---- stopped from outside


@pytest.mark.parametrize(
    ("error", "code", "part"), [(KeyboardInterrupt(), 130, "stopped"), (MemoryError(), 1, "not enough memory")]
)
def test_an_interrupt_and_exhausted_memory_end_in_one_line(
    luce: Run, patients: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, part: str
) -> None:
    before = Path("patients.luce").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("luce.train", fail)
    ran = luce("train", "patients.csv", "--label", "diagnosis", "--out", "patients.luce")
    assert ran.code == code
    assert ran.err.strip().startswith("luce: ")
    assert part in ran.err
    assert Path("patients.luce").read_bytes() == before


def test_a_warning_of_the_library_is_a_note(luce: Run, patients: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import luce as package

    true = package.train

    def warned(*arguments: Any, **keywords: Any) -> Any:
        warnings.warn(package.LuceWarning("something to know"), stacklevel=2)
        return true(*arguments, **keywords)

    monkeypatch.setattr("luce.train", warned)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        ran = good(luce("train", "patients.csv", "--label", "diagnosis"))
    assert "note: something to know\n" in ran.err


# ---- as a process


def in_process_of_its_own(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "luce", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, **options)


def test_exit_codes_of_the_process(patients: Path) -> None:
    fine = in_process_of_its_own("inspect", "patients.luce")
    assert (fine.returncode, fine.stderr) == (0, b"")
    wrong = in_process_of_its_own("train", "patients.csv", "--label", "nothing")
    assert (wrong.returncode, wrong.stdout) == (1, b"")
    assert re.fullmatch(rb"luce: .*'nothing'.*\n", wrong.stderr)
    misuse = in_process_of_its_own("train")
    assert misuse.returncode == 2
    assert b"Traceback" not in misuse.stderr


def test_a_table_through_a_pipe(patients: Path) -> None:
    data = Path("patients.csv").read_bytes()
    through = in_process_of_its_own("predict", "patients.luce", "-", input=data)
    assert through.returncode == 0
    assert through.stdout == in_process_of_its_own("predict", "patients.luce", "patients.csv").stdout
    assert through.stdout.count(b"\n") == 16


def test_d18_a_closed_standard_input_is_said(patients: Path) -> None:
    def close() -> None:
        os.close(0)

    ran = in_process_of_its_own("train", "-", "--label", "y", preexec_fn=close)
    assert ran.returncode == 1
    assert re.fullmatch(rb"luce: standard input: is closed.*\n", ran.stderr)
    empty = in_process_of_its_own("train", "-", "--label", "y", stdin=subprocess.DEVNULL)
    assert empty.returncode == 1
    assert re.fullmatch(rb"luce: standard input.* empty.*\n", empty.stderr)


@pytest.mark.parametrize("command", ["predict", "inspect", "evaluate"])
def test_a_reader_that_leaves_early_is_no_error(patients: Path, command: str) -> None:
    head, *rows = PATIENTS.read_text(encoding="utf-8").splitlines()
    Path("long.csv").write_text("\n".join([head, *rows * 400]), encoding="utf-8")  # answers of more than a pipe holds
    arguments = ["patients.luce"] if command == "inspect" else ["patients.luce", "long.csv"]
    line = shlex.join([sys.executable, "-m", "luce", command, *arguments])
    ran = subprocess.run(
        ["sh", "-c", f"{{ {line}; echo $? > code; }} | true"], capture_output=True, timeout=60, check=False
    )
    assert ran.stderr == b""
    assert Path("code").read_text().strip() == "0"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["predict", "inspect", "evaluate"])
def test_a_full_disk_behind_standard_output_is_one_line(patients: Path, command: str) -> None:
    arguments = ["patients.luce"] if command == "inspect" else ["patients.luce", "patients.csv"]
    with open("/dev/full", "wb") as full:
        command_line = [sys.executable, "-m", "luce", command, *arguments]
        ran = subprocess.run(command_line, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert ran.returncode == 1
    assert re.fullmatch(rb"luce: .*No space left.*\n", ran.stderr)


def test_a_closed_standard_output_is_one_line(patients: Path) -> None:
    def close() -> None:
        os.close(1)

    command_line = [sys.executable, "-m", "luce", "predict", "patients.luce", "patients.csv"]
    ran = subprocess.run(command_line, stderr=subprocess.PIPE, preexec_fn=close, timeout=60, check=False)
    assert ran.returncode == 1
    assert re.fullmatch(rb"luce: .*standard output.*\n", ran.stderr)


def test_a_terminal_gets_a_bar_on_standard_error_alone(patients: Path) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command_line = [sys.executable, "-m", "luce", "train", "patients.csv", "--label", "diagnosis", "--out", "t.luce"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    ran = subprocess.run(command_line, stdout=subprocess.PIPE, stderr=theirs, env=environment, timeout=60, check=False)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert ran.returncode == 0
    assert b"\x1b" not in ran.stdout
    assert "patients.csv: 15 rows" in shown
    assert "fitting" in shown
    assert Path("t.luce").read_bytes() != b""


def test_inspect_cpu_says_what_does_the_work(luce: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUCE_NUM_THREADS", "3")
    config = json.loads(good(luce("inspect", "--cpu", "--json")).out)
    assert config["threads"] == 3 and config["instruction_set"] in ("portable", "x86_64_v3", "x86_64_v4")
    assert good(luce("inspect", "--cpu")).out == f"instruction set {config['instruction_set']}, threads 3\n"
    refused(luce("inspect"), "--cpu")
    refused(luce("inspect", "model.luce", "--cpu"), "without one")


def test_the_rows_of_many_files_are_measured_and_examined_as_those_of_one(patients: Path, luce: Run) -> None:
    header, *rows = (patients / "patients.csv").read_text().splitlines(keepends=True)
    (patients / "parts").mkdir()
    for name, some in (("a", rows[:7]), ("b", rows[7:])):
        (patients / "parts" / f"{name}.csv").write_text(header + "".join(some))

    def told(*arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(good(luce(*arguments, "--json")).out)
        return {name: fact for name, fact in found.items() if name not in ("source", "measured")}  # the file's name

    whole = told("evaluate", "patients.luce", "patients.csv"), told("doctor", "patients.csv", "--label", "diagnosis")
    for data in ("parts", "parts/*.csv"):
        assert (told("evaluate", "patients.luce", data), told("doctor", data, "--label", "diagnosis")) == whole
    refused(luce("evaluate", "patients.luce", "parts/*.parquet"), "matches no table file")
    (patients / "parts" / "old").mkdir()
    said = refused(
        luce("train", "parts", "--label", "diagnosis"), "parts/old is a folder; name the folder or the files"
    )
    assert "image" not in said
    (patients / "parts" / "old" / "1.png").write_bytes(b"")
    assert "image" in refused(luce("train", "parts", "--label", "diagnosis"))
