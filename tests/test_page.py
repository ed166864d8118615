"""The page: its numbers are the facts, what is foreign stays inert, both languages say everything, nothing loads."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import string
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Run, good, orders, refused, written
from pages import MEASURED, TITLES, Node, agrees, at, overview, tree

import luce as library
from luce.errors import InputError
from luce.facts import CURVE_POINTS, facts
from luce.markup import Markup, el, inert, name
from luce.markup import written as shown
from luce.page import page
from luce.phrases import PHRASES
from luce.report import evaluate, to_json
from luce.trial import Trained
from luce.words import language, say

pytest_plugins = ["commands"]

HOSTILE = [
    "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "\u202eevil\u2066", "{{7*7}} ${7*7}",
    "\"' onload='alert(1)", "x" * 5000, "a\x00b\x1b[31m", "]]>&lt;&amp;",
]  # fmt: skip
FINDINGS = {
    "label_errors": {
        "title": "Likely label errors <b>",
        "sentence": "Two rows look wrong.",
        "rows": [{"row": 3, "label": "</table>", "p": 0.01}, {"row": 7, "label": "b", "p": None}],
    },
    "copies": [{"rows": [1, 2], "note": "<script>"}] * 60,
    "empty": [],
}


@pytest.fixture(scope="module")
def trained() -> Trained:
    return library.train(orders(600), "label")


@pytest.fixture(scope="module")
def known(trained: Trained) -> dict[str, Any]:
    fitted = trained.classifier.fitted
    return facts(fitted, trained.report, overview=overview(fitted), findings=FINDINGS, source="orders.csv")


def drawn(labels: list[str], rows: int, columns: int) -> dict[str, Any]:
    """Rows whose first columns tell the classes apart."""
    rng = np.random.default_rng(0)
    codes = np.arange(rows) % len(labels)
    data = {f"column {j}": rng.normal(size=rows) + (codes == j % len(labels)) for j in range(columns)}
    return data | {"y": [labels[code] for code in codes]}


def numbers_of(root: Node) -> list[Node]:
    return [node for node in root.all() if "data-fact" in node.attributes]


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_every_number_is_a_fact(known: dict[str, Any], lang: str) -> None:
    loaded = json.loads(json.dumps(known, allow_nan=False))
    found = numbers_of(tree(page(known, lang)))
    assert len(found) > 200
    for node in found:
        value = at(loaded, node.attributes["data-fact"])
        if value is None:
            continue
        assert agrees(node.text(), value), (node.attributes, node.text())
        if node.tag == "data":
            assert json.loads(node.attributes["value"]) == value


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_no_number_goes_by_the_facts(known: dict[str, Any], lang: str) -> None:
    body = tree(page(known, lang)).all("body")[0]
    allowed = set(re.findall(r"\d+", " ".join(text for pair in PHRASES.values() for text in pair))) | {"8", "05"}

    def check(node: Node) -> None:
        for child in node.children:
            if isinstance(child, str):
                assert set(re.findall(r"\d+", child)) <= allowed, (node, child)
            elif not passes(child):
                check(child)

    def passes(node: Node) -> bool:
        names = node.attributes.get("class", "").split()
        foreign = "name" in names or "tick" in names or "label" in names
        return foreign or "data-fact" in node.attributes or node.tag in ("script", "code", "title", "desc")

    check(body.all("main")[0])


def test_the_checker_tells_a_wrong_number() -> None:
    assert agrees("83.1 %", 0.8305) and agrees("−0.13", -0.1274) and agrees("1,022", 1022) and agrees(">99.9 %", 0.9999)
    assert agrees("24,000,000", 24127711.2) and agrees("1.4e−08", 1.384e-8) and agrees("83", 0.83)
    assert not agrees("83.2 %", 0.8305) and not agrees("+0.13", -0.1274) and not agrees("1,023", 1022)


def test_the_facts_keep_the_report(trained: Trained, known: dict[str, Any]) -> None:
    assert trained.report is not None
    for key, value in to_json(trained.report).items():
        assert known[key] == json.loads(json.dumps(value)), key


def test_intervals_of_classes_agree_with_the_confusion_matrix_under_costs() -> None:
    dear = library.train(orders(600), "label", classifier=library.Classifier(recall={"gone": 0.95}))
    known = facts(dear.classifier.fitted, dear.report)
    assert known["by_costs"]
    for row, scores in zip(known["per_class"], known["class_intervals"], strict=True):
        for score in ("precision", "recall", "f1"):
            assert scores[score]["value"] == pytest.approx(row[score], rel=1e-12)


def test_bins_hold_every_row_once_and_curves_are_short(known: dict[str, Any]) -> None:
    assert sum(b["rows"] for b in known["reliability"]["overall"]) == known["rows"]
    for each in known["reliability"]["classes"]:
        assert sum(b["rows"] for b in each["bins"]) == known["rows"]
        for b in each["bins"]:
            assert b["from"] <= b["probability"] <= b["to"] and b["low"] <= b["observed"] <= b["high"]
    for each in known["curves"]:
        for kind in ("roc", "pr"):
            x, y = each[kind]["x"], each[kind]["y"]
            assert 2 <= len(x) == len(y) <= CURVE_POINTS and x == sorted(x) and x[-1] == 1.0


def test_a_thinned_curve_keeps_its_area() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 5000)
    p = 1 / (1 + np.exp(-(truth - 0.5 + rng.normal(size=5000))))
    model = library.Classifier().fit({"x": [0.0, 1.0] * 40, "y": ["a", "b"] * 40}, "y")
    report = evaluate([("a", "b")[k] for k in truth], np.stack([1 - p, p], axis=1), ["a", "b"])
    roc = facts(model.fitted, report)["curves"][0]["roc"]
    area = float(np.trapezoid(roc["y"], roc["x"])) if hasattr(np, "trapezoid") else float(np.trapz(roc["y"], roc["x"]))
    exact = library.metrics.roc_auc([("a", "b")[k] for k in truth], np.stack([1 - p, p], axis=1), ["a", "b"])[1]
    assert area == pytest.approx(exact, abs=0.002)  # chords of 200 points cut off that much at most


# --- structure -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_page_can_be_read_by_keyboard_and_screen_reader(known: dict[str, Any], lang: str) -> None:
    root = tree(page(known, lang))
    assert root.all("html")[0].attributes["lang"] == lang
    assert (
        len(root.all("h1"))
        == len(root.all("main"))
        == len(
            root.all(
                "title",
            )
        )
        - len(root.all("svg", role="img"))
        == 1
    )
    assert root.all("a", class_="skip")[0].attributes["href"] == "#main"
    assert {section.attributes["id"] for section in root.all("section")} == TITLES | MEASURED
    ids = [node.attributes["id"] for node in root.all() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for link in root.all("a"):
        assert link.attributes["href"].removeprefix("#") in ids
    for svg in root.all("svg"):
        told = [child.tag for child in svg.children[:2]] == ["title", "desc"] and svg.attributes.get("role") == "img"
        assert told or svg.attributes.get("aria-hidden") == "true"
    for table in root.all("table"):
        assert table.children[0].tag == "caption"
        assert all(head.attributes["scope"] in ("col", "row") for head in table.all("th"))
    for scrolled in root.all("div", class_="wide"):
        assert {"tabindex", "role", "aria-label"} <= set(scrolled.attributes)
    levels = [int(node.tag[1]) for node in root.all() if re.fullmatch(r"h[1-6]", node.tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_nothing_loads_and_the_policy_allows_only_what_is_there(known: dict[str, Any]) -> None:
    text = page(known, "en")
    root = tree(text)
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "url(" not in text and "@import" not in text
    for node in root.all():
        assert not {"src", "srcset", "action", "style", "srcdoc"} & set(node.attributes)
        assert not [attribute for attribute in node.attributes if attribute.startswith("on")]
    links = [node.attributes["href"] for node in root.all("link")]
    assert links == ["data:,"]
    policy = root.all("meta", http_equiv="Content-Security-Policy")[0].attributes["content"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("style", "script"):
        (node,) = root.all(tag)
        digest = base64.b64encode(hashlib.sha256(node.text().encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_same_facts_give_the_same_bytes(trained: Trained, known: dict[str, Any], tmp_path: Path) -> None:
    assert page(known, "ko") == page(known, "ko")
    for file in ("a.html", "b.html"):
        library.write_report(tmp_path / file, trained.classifier, trained.report, lang="ko", findings=FINDINGS)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    again = library.train(orders(600), "label")
    library.write_report(tmp_path / "c.html", again.classifier, again.report, lang="ko", findings=FINDINGS)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "c.html").read_bytes()


def test_a_hundred_classes_and_a_thousand_columns_stay_below_a_megabyte() -> None:
    labels = [f"class number {k}" for k in range(100)]
    data = drawn(labels, 1000, 1000)
    model = library.Classifier(l2=0.01, effects="linear").fit(data, "y")
    report = model.evaluate(data)
    known = facts(model.fitted, report, overview=overview(model.fitted))
    text = page(known, "ko")
    assert len(text.encode()) < 1_000_000
    root = tree(text)
    assert not root.all("table", class_="matrix")
    assert len(root.all("table", class_="scores sortable")[0].all("tr")) == 101
    assert len(known["curves"]) == len(known["reliability"]["classes"]) == 12
    for node in numbers_of(root):
        value = at(known, node.attributes["data-fact"])
        assert value is None or agrees(node.text(), value)


# --- words ---------------------------------------------------------------------------------------


def test_every_phrase_is_there_in_both_languages_with_the_same_parts() -> None:
    for key, (english, korean) in PHRASES.items():
        parts = [sorted(part for _, part, _, _ in string.Formatter().parse(text) if part) for text in (english, korean)]
        assert sorted(set(parts[0])) == sorted(set(parts[1])), key
        assert english.strip() and korean.strip()
        if key not in ("f1", "how.pairs"):
            assert english != korean or key in ("f1",), key


def test_the_korean_page_has_no_english_sentence(known: dict[str, Any]) -> None:
    main = tree(page(known | {"findings": None}, "ko")).all("main")[0]

    def foreign(node: Node) -> bool:
        named = "name" in node.attributes.get("class", "").split()
        return named or node.tag in ("code", "svg") or "data-fact" in node.attributes

    def said(node: Node) -> str:
        return "".join(c if isinstance(c, str) else "" if foreign(c) else said(c) for c in node.children)

    terms = {"ROC", "F", "nat", "Clopper", "Pearson", "DeLong", "Boyd", "Agresti", "Min", "luce"}
    assert set(re.findall(r"[A-Za-z]+", said(main))) <= terms


@pytest.mark.parametrize(
    ("set_to", "is_"),
    [
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({}, "en"),
        ({"LC_ALL": "C", "LANG": "ko_KR.UTF-8"}, "en"),
        ({"LC_ALL": "", "LC_MESSAGES": "ko", "LANG": "de_DE"}, "ko"),
    ],
)
def test_the_language_is_the_locales(monkeypatch: pytest.MonkeyPatch, set_to: dict[str, str], is_: str) -> None:
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in set_to.items():
        monkeypatch.setenv(variable, value)
    assert language(None) == is_
    with pytest.raises(InputError, match="give one of en, ko"):
        language("fr")


def test_a_phrase_takes_markup_alone() -> None:
    with pytest.raises(TypeError, match="not markup"):
        say("en", "title", label="<b>")  # type: ignore[arg-type]
    assert say("en", "title", label=name("<b>")) == 'Model report: <bdi class="name">&lt;b&gt;</bdi>'


# --- what is foreign -----------------------------------------------------------------------------


def test_hostile_names_are_inert() -> None:
    data = drawn(HOSTILE, 400, 3)
    for k, bad in enumerate(HOSTILE[:7]):
        data[bad.replace("\x00", "") + "!"] = np.random.default_rng(k).normal(size=400)
    data["kind <svg>"] = [HOSTILE[k % 3] for k in range(400)]
    data["<u>y</u>"] = data.pop("y")
    trained = library.train(data, "<u>y</u>")
    fitted = trained.classifier.fitted
    hostile = {bad: [{bad: bad}] for bad in HOSTILE}
    known = facts(fitted, trained.report, overview=overview(fitted), findings=hostile, source=HOSTILE[1])
    for lang in ("en", "ko"):
        text = page(known, lang)
        root = tree(text)
        assert not root.all("img") and not root.all("u") and not root.all("b", onload="alert(1)")
        assert len(root.all("script")) == 1
        assert all(c.isprintable() or c in "\n\u00a0" for c in text)
        for node in root.all():
            assert not [attribute for attribute in node.attributes if attribute.startswith("on")]
        assert "x" * 500 not in text
        assert len(text.encode()) < 1_000_000


def test_cut_names_keep_their_beginning_and_have_the_rest_in_a_title() -> None:
    assert inert("x" * 50, 10) == "x" * 9 + "…"
    assert inert("\u202eabc") == "\\u202eabc"
    assert inert("") == "''" and inert(" a") == "' a'"
    long = name("<" + "y" * 60)
    assert 'title="&lt;' + "y" * 60 in long and ">&lt;" + "y" * 26 + "…<" in long
    assert el("p", "<", Markup("<b>"), title='"') == '<p title="&quot;">&lt;<b></p>'


def test_numbers_are_never_rounded_to_all_or_nothing() -> None:
    assert shown(0.9999, "percent") == ">99.9\u00a0%" and shown(1.0, "percent") == "100.0\u00a0%"
    assert shown(0.998, "of100") == "99.8" and shown(0.83, "of100") == "83" and shown(1.0, "of100") == "100"
    assert shown(-0.1274, "signed") == "−0.13" and shown(1234567, "count") == "1,234,567"


def test_findings_are_shown_whatever_they_are(known: dict[str, Any]) -> None:
    section = tree(page(known, "en")).all("section", id="findings")[0]
    assert [head.text() for head in section.all("h3")] == ["Likely label errors <b>", "copies"]
    assert [len(table.all("tr")) for table in section.all("table")[1:]] == [11, 41]
    assert "first 50 rows" in section.text()
    assert "not examined" in tree(page(known | {"findings": None}, "en")).all("section", id="findings")[0].text()
    assert "Nothing" in tree(page(known | {"findings": {}}, "en")).all("section", id="findings")[0].text()


# --- the ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_where_nothing_was_measured_the_page_says_so(lang: str) -> None:
    trained = library.train(orders(200), "label", held_out=0)
    known = facts(trained.classifier.fitted, None)
    root = tree(page(known, lang))
    assert known["rows"] == 0
    assert {section.attributes["id"] for section in root.all("section")} == TITLES
    assert PHRASES["nothing"][("en", "ko").index(lang)] in root.all("section", id="answer")[0].text()


def test_an_infinite_loss_is_said_in_words(trained: Trained) -> None:
    fitted = trained.classifier.fitted
    p = np.tile([0.5, 0.5, 0.0], (9, 1))
    report = evaluate(list(fitted.classes) * 3, p, list(fitted.classes))
    known = facts(fitted, report)
    json.dumps(known, allow_nan=False)
    root = tree(page(known, "en"))
    assert "The log loss is infinite" in root.text()
    assert "infinite" in root.all("section", id="metrics")[0].text()


def test_one_class_missing_from_the_rows_has_no_curve(trained: Trained) -> None:
    fitted = trained.classifier.fitted
    p = np.tile([0.6, 0.3, 0.1], (9, 1))
    report = evaluate([fitted.classes[0]] * 9, p, list(fitted.classes))
    for lang in ("en", "ko"):
        text = page(facts(fitted, report), lang)
        assert PHRASES["curves.none"][("en", "ko").index(lang)] in text


# --- the commands --------------------------------------------------------------------------------


def test_train_and_evaluate_write_the_page_and_print_the_same_facts(luce: Run, tmp_path: Path) -> None:
    data = written(orders(), "csv", "orders")
    ran = good(luce("train", data, "--label", "label", "--report", "r.html", "--lang", "ko", "--json"))
    assert "saved r.html" in ran.err and ran.out.count("\n") == 1
    known = json.loads(ran.out)
    assert known["measured"]["on"] == "held out" and known["measured"]["source"] == data
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == page(known, "ko")
    ran = good(luce("evaluate", "model.luce", data, "--report", "e.html", "--lang", "en", "--json"))
    known = json.loads(ran.out)
    assert known["measured"]["on"] == "rows given" and known["rows"] == 240
    text = (tmp_path / "e.html").read_text(encoding="utf-8")
    assert text == page(known, "en")
    assert len(known["overview"]["columns"]) > 2
    for node in numbers_of(tree(text)):
        value = at(known, node.attributes["data-fact"])
        assert value is None or agrees(node.text(), value), node.attributes
    assert "accuracy" in good(luce("evaluate", "model.luce", data, "--report", "e.html")).out


def test_a_page_that_cannot_be_written_is_refused_before_the_work(luce: Run, tmp_path: Path) -> None:
    data = written(orders(), "csv", "orders")
    good(luce("train", data, "--label", "label"))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    train, evaluate = ("train", data, "--label", "label"), ("evaluate", "model.luce", data)
    for command in (train, evaluate):
        refused(luce(*command, "--report", "none/r.html"), "--report none/r.html: the folder none does not exist")
        refused(luce(*command, "--report", data), f"--report {data} is a file that is")
        refused(luce(*command, "--report", "."), "--report . is a folder")
        refused(luce(*command, "--report", ""), "--report is empty")
    refused(luce(*train, "--report", "new.luce", "--out", "new.luce"), "--report new.luce is a file that is")
    refused(luce(*evaluate, "--report", "model.luce"), "--report model.luce is a file that is")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
