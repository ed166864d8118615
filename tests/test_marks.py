"""Marks: what the words of a text add is what its column adds, and the words that tell stand out."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import BAD, GOOD, Run, good, orders, reviews, written
from pages import MEASURED, TITLES, agrees, at, tree

import luce as library
from luce import _core, calibration
from luce.classifier import Classifier
from luce.doctor import to_json
from luce.explain import Explanation
from luce.facts import facts, text_examples
from luce.marks import LONG, MOST_WORDS, Mark, MarkedText, marks, pieces, strength
from luce.page import page
from luce.schema import infer_schema
from luce.table import Table
from luce.text import RECIPES, Grams, Recipe, TextPlan
from luce.trial import copies

pytest_plugins = ["commands"]

NEAR = 1e-11
"""Sums of a few thousand numbers of size 1 to 10, in double."""

TEXTS = [
    "again and again and again, and AGAIN", "soooooo goooood!!!!!", "Don't PANIC, it's fine... really",
    unicodedata.normalize("NFD", "배송이 너무 늦어요ㅠㅠㅠㅠ 왜이래 한글은정말로길게붙여쓸수있는글자입니다"),
    unicodedata.normalize("NFD", "naïve café Ångström"), "한글English섞어쓰기 제3회 ㅋㅋㅋㅋㅋ",
    "see http://Example.com/a/b?c and (www.luce.org) or HTTPS://WWW.x.de#y end",
    "我喜欢吃苹果。很好！今天天气非常不错我们去公园",
    "สวัสดีครับ ยินดีต้อนรับสู่ประเทศไทย", "👩\u200d👧\u200d👦👍🏽👍🏽👍🏽 ❤\ufe0f❤\ufe0f ok", "ＦＵＬＬ　ｗｉｄｔｈ １２３",
    "tab\tnew\nline\r\n\x00end\x07bell", "  outer   blanks  ",
    "q\u0301\u0323\u0334 marks that change places \u0301\u0323x",
    "x " * 300, "year 2024, phone 01012345678, 3.14159265", "Straße STRASSE ﬁne ẞ", "\u200b\ufeffzero\u200dwidth", "a",
]  # fmt: skip


def plan_of(texts: list[str], recipe: Recipe, seed: int = 0) -> tuple[TextPlan, np.ndarray]:
    """A plan of n-grams of the texts, some of them left out, with invented scales, and invented weights."""
    rng = np.random.default_rng(seed)
    grams = Grams.of("text", texts * 2, recipe, 1)
    scale = rng.uniform(0.1, 2.0, len(grams.buckets)).astype(np.float32) * (rng.random(len(grams.buckets)) < 0.8)
    plan = grams.plan(scale.astype(np.float32))
    return plan, rng.normal(size=len(plan.buckets))


def added(text: str, plan: TextPlan, weights: np.ndarray) -> float:
    row = plan.rows([text], 1)
    return float(weights[row.indices] @ row.values.astype(np.float64))


def shares(text: str, plan: TextPlan, weights: np.ndarray) -> list[float]:
    """What each character is given, by the plainest of loops."""
    row = plan.rows([text], 1)
    worth = {int(plan.buckets[i]): weights[i] * float(v) for i, v in zip(row.indices, row.values, strict=True)}
    found = [o for o in _core.occurrences(text, plan.recipe.core) if o[0] in worth]
    times = {bucket: sum(other == bucket for other, _, _ in found) for bucket in worth}
    place = [len(text[:i].encode()) for i in range(len(text) + 1)]
    out = [0.0] * len(text)
    for bucket, begin, end in found:
        own = [i for i in range(place.index(begin), place.index(end)) if not (text[i].isspace() or text[i] < " ")]
        for i in own:
            out[i] += worth[bucket] / times[bucket] / len(own)
    return out


# --- the sum -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_marks_add_up_to_what_the_text_adds(recipe: Recipe) -> None:
    plan, weights = plan_of(TEXTS, recipe)
    for text in [*TEXTS, " ".join(TEXTS), "".join(TEXTS), "again", "", " \n"]:
        found = marks(text, plan, weights)
        assert sum(mark.amount for mark in found) == pytest.approx(added(text, plan, weights), abs=NEAR), ascii(text)
        ends = [0, *(end for mark in found for end in (mark.begin, mark.end)), len(text)]
        assert ends == sorted(ends) and {(m.begin, m.end) for m in found} <= set(pieces(text))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_each_character_has_its_share_of_each_occurrence(recipe: Recipe) -> None:
    plan, weights = plan_of(TEXTS, recipe, 1)
    for text in TEXTS:
        if "change places" in text:
            continue
        each = shares(text, plan, weights)
        found = {(m.begin, m.end): m.amount for m in marks(text, plan, weights)}
        for begin, end in pieces(text):
            assert found.get((begin, end), 0.0) == pytest.approx(sum(each[begin:end]), abs=NEAR), ascii(text)


def test_what_no_n_gram_has_gets_nothing() -> None:
    grams = Grams.of("text", ["only these words"] * 2, RECIPES["words and pairs of words"], 1)
    plan, weights = grams.plan(np.ones(len(grams.buckets), dtype=np.float32)), np.ones(len(grams.buckets))
    assert marks("none is known", plan, weights) == ()
    assert [(m.begin, m.end) for m in marks("of  these\tall", plan, weights)] == [(4, 9)]


# --- pieces ------------------------------------------------------------------------------------------


def cut(text: str) -> list[str]:
    return [text[begin:end] for begin, end in pieces(text)]


def test_pieces_are_words_and_little_pieces_where_there_are_no_blanks() -> None:
    assert cut(" two  words\n") == ["two", "words"] and cut("") == [] and cut(" \t") == []
    whole = "http://www.example.com/a-long-address", "incomprehensibilities,", "01012345678901"
    assert [cut(word) for word in whole] == [[word] for word in whole]
    assert cut("我喜欢吃苹果今天天气非常不错") == ["我喜欢", "吃苹果", "今天天", "气非常", "不错"]
    assert cut("iPhone은정말좋은제품입니다그려") == ["iPhone", "은정말", "좋은제", "품입니", "다그려"]
    assert cut("한글은정말로길게붙인다") == ["한글은정말로길게붙인다"]  # 11 letters


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_hold_every_letter_once_and_part_no_syllable(text: str) -> None:
    assert "".join(cut(text)) == "".join(text.split())
    for begin, end in pieces(text):
        assert unicodedata.category(text[begin])[0] != "M" or begin == 0 or text[begin - 1].isspace()
        assert not "\u1160" <= text[begin] <= "\u11ff"
        if text[begin:end].isalpha() and "\u0e00" <= text[begin] <= "\u9fff" and end - begin > LONG:
            pytest.fail(ascii(text[begin:end]))


def test_decomposed_syllables_are_counted_as_letters() -> None:
    text = "한글은정말로길게붙여쓸수있는글자"
    parts = cut(unicodedata.normalize("NFD", text))
    assert [unicodedata.normalize("NFC", part) for part in parts] == cut(text)


# --- which words are shown ---------------------------------------------------------------------------


def marked(words: list[str], amounts: dict[int, float]) -> MarkedText:
    text = " ".join(words)
    spans = pieces(text)
    return MarkedText("text", text, tuple(Mark(*spans[i], amount) for i, amount in sorted(amounts.items())))


def test_a_short_text_is_shown_whole_and_a_long_one_around_its_marks() -> None:
    short = marked(["a", "b", "c"], {1: 2.0, 2: -1.0})
    assert "".join(p.before + p.text for p in short.shown()) == "a b c"
    assert [p.strength for p in short.shown()] == [0, 3, -2]
    words = [f"w{i}" for i in range(500)]
    long = marked(words, {0: 0.2, 100: 3.0, 101: -2.0, 300: 1.0, 499: 0.3})
    shown = long.shown()
    text = "".join(p.before + p.text for p in shown)
    assert len(shown) <= MOST_WORDS + 1
    assert "w99 w100 w101 w102 … w299 w300 w301 … w498 w499" in text and text.startswith("w0 w1 ")
    middle = marked(words, {250: 1.0}).shown(3)
    assert "".join(p.before + p.text for p in middle) == "… w249 w250 w251 …"


def test_pieces_without_blanks_are_shown_without() -> None:
    text = "我喜欢吃苹果今天天气非常不错 好"
    assert "".join(p.before + p.text for p in MarkedText("t", text, ()).shown()) == text


def test_strength_has_three_steps_each_way() -> None:
    assert [strength(a, 1.0) for a in (1, 0.7, 0.5, 0.2, 0.05, 0, -0.2, -0.5, -0.9)] == [3, 3, 2, 1, 0, 0, -1, -2, -3]
    assert strength(0.0, 0.0) == 0


# --- explanations ------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[False, True], ids=["English", "Korean"])
def model(request: pytest.FixtureRequest) -> tuple[Classifier, pl.DataFrame, bool]:
    data = reviews(korean=request.param)
    return library.Classifier().fit(data, "label"), data, request.param


def holds(found: Explanation) -> None:
    for text in found.texts:
        amount = next(c.amount for c in found.contributions if c.column == text.column)
        assert sum(mark.amount for mark in text.marks) == pytest.approx(amount, abs=NEAR)
        assert {(mark.begin, mark.end) for mark in text.marks} <= set(pieces(text.text))


def test_marks_add_up_to_the_contribution_of_the_column(model: tuple[Classifier, pl.DataFrame, bool]) -> None:
    classifier, data, _ = model
    for row in range(0, 160, 7):
        found = classifier.explain(data, row)
        assert [text.column for text in found.texts] == ["review"] and found.texts[0].text == data["review"][row]
        holds(found)
    for odd in [*TEXTS, None, "", " GREAT  \n great "]:
        found = classifier.explain({"review": [odd], "stars": [3.0]})
        holds(found)
        assert found.texts[0].text == (odd or "")


def test_the_words_that_tell_are_the_strongest(model: tuple[Classifier, pl.DataFrame, bool]) -> None:
    classifier, data, korean = model
    telling = {word for group in (GOOD[korean], BAD[korean]) for phrase in group for word in phrase.split()}
    strongest = [classifier.explain(data, row).texts[0].strongest(1)[0] for row in range(60)]
    assert np.mean([word in telling for word in strongest]) > 0.9


def test_marks_change_their_sign_with_the_answer(model: tuple[Classifier, pl.DataFrame, bool]) -> None:
    classifier, data, _ = model
    fit = classifier.fitted
    dear = Classifier()
    for row in range(5):
        found = classifier.explain(data, row)
        away = 1e9 * (np.array(fit.classes)[:, np.newaxis] == found.other) * (1 - np.eye(2))
        dear._fitted = replace(fit, costs=away + 1 - np.eye(2))
        turned = dear.explain(data, row)
        assert turned.answer == found.other
        assert [m.amount for m in turned.texts[0].marks] == pytest.approx([-m.amount for m in found.texts[0].marks])


def test_three_classes_and_a_calibration() -> None:
    data = reviews(korean=True).with_columns(pl.Series("other", reviews(seed=1)["review"]))
    third = pl.when(pl.col("other").str.contains("great")).then(pl.lit("mixed")).otherwise(pl.col("label"))
    data = data.with_columns(third.alias("label"))
    classifier = library.Classifier().fit(data, "label")
    matrix = np.diag([0.5, 2.0, 1.5])
    maps = calibration.Calibration("matrix", matrix + 0.2, np.zeros(3), 0.5, 0.4, 0.01, 100)
    for kind in (classifier.calibration, maps):
        classifier._fitted = replace(classifier.fitted, calibration=kind)
        for row in range(6):
            found = classifier.explain(data, row)
            assert {text.column for text in found.texts} == {"review", "other"}
            holds(found)
    p = classifier.predict_proba(data)
    wrong = text_examples(classifier, Table.of(data), p, p.argmin(axis=1))
    assert len(wrong) == 4 and not any(each["right"] for each in wrong)
    for each in wrong:
        assert each["other"] == classifier.classes_[p[each["row"] - 1].argmin()]


def test_a_sentence_names_the_strongest_words_and_not_the_text(model: tuple[Classifier, pl.DataFrame, bool]) -> None:
    classifier, data, _ = model
    found = classifier.explain(data, 3)
    said = found.sentence()
    assert data["review"][3] not in said
    assert ", ".join(f"'{word}'" for word in found.texts[0].strongest(3)) in said
    assert library.Classifier().fit(orders(100), "label").explain(orders(100), 0).texts == ()


def test_a_change_leaves_texts_as_they_are(model: tuple[Classifier, pl.DataFrame, bool]) -> None:
    classifier, data, _ = model
    flips = [classifier.counterfactual(data, row) for row in range(40)]
    assert any(flips)
    for row, flip in enumerate(flips):
        if flip is None:
            continue
        assert {move.column for move in flip.moves} == {"stars"}
        changed = data[row].with_columns(pl.lit(flip.moves[0].after).cast(float).alias("stars"))
        assert classifier.predict_proba(changed)[0] == pytest.approx(flip.probabilities, abs=1e-12)
    alone = library.Classifier().fit(data.drop("stars"), "label")
    assert alone.counterfactual(data.drop("stars"), 0) is None


# --- the terminal ------------------------------------------------------------------------------------

HOSTILE = "great <b>wonderful</b> [red]happy[/red] \x1b[31mterrible \u202eevil </p><script>alert(1)</script> broken"


def test_the_command_marks_the_words(luce: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(reviews(), "csv", "reviews")
    good(luce("train", data, "--label", "label"))
    text = good(luce("explain", "model.luce", data, "--row", 2)).out
    found = json.loads(good(luce("explain", "model.luce", data, "--row", 2, "--json")).out)
    (each,) = found["texts"]
    assert each["column"] == "review" and each["text"] == reviews()["review"][1]
    amount = next(c["amount"] for c in found["contributions"] if c["column"] == "review")
    assert sum(mark["amount"] for mark in each["marks"]) == pytest.approx(amount, abs=NEAR)
    best = max(each["marks"], key=lambda mark: abs(mark["amount"]))
    word = each["text"][best["begin"] : best["end"]]
    assert f"[{'+' if best['amount'] > 0 else '-'}{word}]" in text and "\x1b" not in text
    monkeypatch.setenv("FORCE_COLOR", "1")
    colour = good(luce("explain", "model.luce", data, "--row", 2)).out
    assert re.search(rf"\x1b\[1;(32|4;31)m{word}\x1b\[0m", colour) and f"{word}]" not in colour
    monkeypatch.setenv("NO_COLOR", "1")
    assert f"{word}]" in good(luce("explain", "model.luce", data, "--row", 2)).out
    monkeypatch.delenv("FORCE_COLOR")
    both = written(
        pl.DataFrame({"review": ["my great wonderful terrible broken battery"], "stars": [3.0]}), "csv", "both"
    )
    said = good(luce("explain", "model.luce", both)).out
    with_sign = {sign: set(re.findall(rf"\[{re.escape(sign)}(\w+)\]", said)) for sign in "+-"}
    bad, good_words = sorted(with_sign.values(), key=min)
    assert "broken" in bad and bad <= {"broken", "terrible"}  # how many of them are strong enough is the fit's affair
    assert good_words and good_words <= {"great", "wonderful"}
    hostile = written(pl.DataFrame({"review": [HOSTILE], "stars": [3.0]}), "jsonl", "hostile")
    said = good(luce("explain", "model.luce", hostile)).out
    assert all(c.isprintable() or c == "\n" for c in said) and "[red]" in said
    assert "nearest change" in said


def test_nothing_is_said_of_changes_where_nothing_can_change(luce: Run) -> None:
    data = written(reviews().drop("stars"), "csv", "texts")
    good(luce("train", data, "--label", "label"))
    assert "nearest change" not in good(luce("explain", "model.luce", data)).out
    assert json.loads(good(luce("explain", "model.luce", data, "--json")).out)["change"] is None
    assert "review: text" in good(luce("inspect", "model.luce")).out


# --- the page ----------------------------------------------------------------------------------------


def pages_of(data: pl.DataFrame) -> tuple[Classifier, dict[str, Any]]:
    trained = library.train(data, "label")
    held = trained.classifier.held_out
    assert held is not None
    table = Table.of(data)
    shown = text_examples(trained.classifier, table, held.probabilities, held.codes, held.scored)
    overview = trained.classifier.overview()
    return trained.classifier, facts(trained.classifier.fitted, trained.report, overview=overview, texts=shown)


@pytest.fixture(scope="module")
def shown() -> tuple[Classifier, dict[str, Any], pl.DataFrame]:
    bad = [HOSTILE if i % 2 else text for i, text in enumerate(reviews(40)["review"].to_list())]
    data = pl.concat([reviews(200), reviews(40).with_columns(pl.Series("review", bad))])
    return *pages_of(data), data


def test_rows_that_are_shown_are_what_they_are_said_to_be(
    shown: tuple[Classifier, dict[str, Any], pl.DataFrame],
) -> None:
    classifier, known, data = shown
    held, names = classifier.held_out, list(classifier.fitted.classes)
    assert held is not None
    assert 0 < sum(each["right"] for each in known["texts"]) <= 4 < len(known["texts"]) <= 8
    for each in known["texts"]:
        row = each["row"] - 1
        answer, other = names.index(each["answer"]), names.index(each["other"])
        assert each["probability"] == held.probabilities[row, answer] == held.probabilities[row].max()
        assert each["right"] == (data["label"][row] == each["answer"])
        assert data["label"][row] == each["answer" if each["right"] else "other"] and other != answer
        assert "".join(w["before"] + w["text"] for w in each["texts"][0]["words"]) == data["review"][row]


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_page_shows_texts_and_keeps_them_inert(
    lang: str, shown: tuple[Classifier, dict[str, Any], pl.DataFrame]
) -> None:
    known = json.loads(json.dumps(shown[1], allow_nan=False))
    root = tree(page(known, lang))
    (section,) = root.all("section", id="texts")
    assert {each.attributes["id"] for each in root.all("section")} == TITLES | MEASURED | {"texts"}
    assert len(section.all("figure", class_="text")) == len(known["texts"])
    for figure, each in zip(section.all("figure", class_="text"), known["texts"], strict=True):
        strong = {w["text"] for w in each["texts"][0]["words"] if w["strength"] == 3}
        assert strong <= {mark.text() for mark in figure.all("mark", class_="m3")} | {HOSTILE.split()[3]}
        for node in figure.all("data"):
            assert agrees(node.text(), at(known, node.attributes["data-fact"]))
    text = page(known | {"texts": [_hostile(known["texts"][0])]}, lang)
    root = tree(text)
    assert len(root.all("script")) == 1 and "alert(1)" in root.all("section", id="texts")[0].text()
    assert all(c.isprintable() or c in "\n\u00a0" for c in text)
    assert [b.text() for b in root.all("section", id="texts")[0].all("b")] == ["<i>", "b"]


def _hostile(each: dict[str, Any]) -> dict[str, Any]:
    words = [{"before": " ", "text": word, "strength": k % 7 - 3} for k, word in enumerate(HOSTILE.split(" "))]
    return each | {"texts": [{"column": "<i>", "words": words}, {"column": "b", "words": words}]}


def test_the_shown_are_different_texts_and_few() -> None:
    data = pl.concat([reviews(80)] * 2)
    classifier = library.Classifier(kinds={"review": "text"}).fit(data, "label")
    codes = (data["label"] == "good").to_numpy().astype(np.int64)
    found = text_examples(classifier, Table.of(data), classifier.predict_proba(data), codes)
    for right in (True, False):
        own = [json.dumps(each["texts"]) for each in found if each["right"] == right]
        assert 0 < len(own) == len(set(own)) <= 4


def test_without_text_columns_nothing_is_said_of_texts() -> None:
    data = orders(200)
    classifier, known = pages_of(data)
    assert "texts" not in known and "mark" not in {node.tag for node in tree(page(known, "en")).all()}
    assert text_examples(classifier, Table.of(data), np.eye(3)[:0], np.zeros(0, dtype=np.int64)) == []


def test_the_commands_put_texts_on_the_page(luce: Run) -> None:
    frame = reviews(korean=True)
    data = written(frame.rename({"label": "class"}), "csv", "reviews")
    known = json.loads(good(luce("train", data, "--label", "class", "--json", "--report", "a.html")).out)
    assert known["texts"] and known["measured"]["on"] == "held out"
    evaluated = json.loads(good(luce("evaluate", "model.luce", data, "--json", "--report", "b.html")).out)
    p = library.load("model.luce").predict_proba(frame.drop("label"))
    for each in evaluated["texts"]:
        assert each["probability"] == pytest.approx(p[each["row"] - 1].max(), abs=1e-12)
    other = written(frame.rename({"label": "truth"}), "csv", "other")
    again = json.loads(good(luce("evaluate", "model.luce", other, "--label", "truth", "--json")).out)
    assert again["texts"] == evaluated["texts"]


# --- what else a text column must not break ----------------------------------------------------------


def test_rows_with_different_texts_are_not_alike() -> None:
    data = reviews().with_columns((pl.col("stars") > 3).alias("stars"))
    codes, data = data["label"].rank("dense").to_numpy().astype(np.int64) - 1, data.drop("label")
    table = Table.of(data)
    assert copies(table, infer_schema(table), codes) is None
    twice = Table.of(pl.concat([data, data[:5]]))
    group = copies(twice, infer_schema(twice), np.concatenate((codes, codes[:5])))
    assert group is not None and (group[:5] == group[160:]).all() and len(np.unique(group)) == len(data.unique())


def test_an_overview_names_the_text_and_its_weight(model: tuple[Classifier, pl.DataFrame, bool]) -> None:
    classifier, _, _ = model
    text = next(c for c in classifier.overview() if c["column"] == "review")
    assert (
        text["kind"] == "text" and 0.5 < text["weight"] <= 1 and set(text) == {"column", "kind", "weight", "by_class"}
    )
    assert next(c for c in facts(classifier.fitted, None)["schema"]["columns"] if c["name"] == "review").keys() == {
        "name", "kind", "why",
    }  # fmt: skip


@pytest.mark.parametrize("columns", [["review"], ["review", "stars"], ["review", "stars", "patient"]], ids=str)
def test_the_doctor_takes_texts(columns: list[str]) -> None:
    data = reviews(100, korean=True)
    gaps = [None if i % 11 == 5 else text for i, text in enumerate(data["review"].to_list())]
    data = data.with_columns(pl.Series("review", gaps), pl.Series("patient", np.arange(100) % 20))
    found = library.examine(
        data.select([*columns, "label"]), "label", group="patient" if "patient" in columns else None
    )
    json.dumps(to_json(found))
    assert found.model is not None and found.model.accuracy.value > 0.7 and not found.leaks
    assert next(c for c in found.columns if c.column == "review").missing == sum(text is None for text in gaps)
    assert [c.by for c in found.comparisons] == ["group"] * ("patient" in columns)
