"""Text columns: n-grams weighed by information, settled on rows held out, kept in a file of a given size."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import luce
from luce import _core
from luce.compact import bytes_of
from luce.container import read_container, write_container
from luce.errors import InputError, ModelFileError
from luce.labels import labels
from luce.path import Race
from luce.table import Table
from luce.text import JAMO, PIECES, SYLLABLES, WORDS, Grams, TextPlan, recipes_for
from luce.wording import Worded, _few

GOOD = ["재미있는", "감동적인", "wonderful", "lovely", "최고의", "warm"]
BAD = ["지루한", "실망스러운", "boring", "awful", "최악의", "cold"]
PLAIN = [
    "영화",
    "배우",
    "음악",
    "the film",
    "the plot",
    "그리고",
    "오늘",
    "a story of",
    "장면",
    "two people",
    "밤에",
    "ending",
]


def reviews(rows: int, seed: int = 0) -> dict[str, list[Any]]:
    """Texts of plain words and one or two of the kind of their class; every tenth label is wrong."""
    rng = np.random.default_rng(seed)
    out: dict[str, list[Any]] = {"review": [], "kind": []}
    for i in range(rows):
        words = rng.choice(PLAIN, 5).tolist() + rng.choice(GOOD if i % 2 else BAD, rng.integers(1, 3)).tolist()
        out["review"].append(" ".join(rng.permutation(words)))
        out["kind"].append("good" if (i % 2 == 1) != (rng.random() < 0.1) else "bad")
    return out


@pytest.fixture(scope="module")
def model() -> luce.Classifier:
    return luce.Classifier().fit(reviews(200), "kind")


def test_a_text_has_the_same_bits_alone_and_among_others(model: luce.Classifier, tmp_path: Path) -> None:
    texts = reviews(600, 1)["review"] + ["", "   ", "zzz qqq"]
    whole = model.predict_proba(texts)
    assert whole.tobytes() == model.predict_proba(pl.DataFrame({"review": texts})).tobytes()
    for i in (0, 255, 256, 599, 600, 602):
        assert model.predict_proba(texts[i : i + 1]).tobytes() == whole[i : i + 1].tobytes()
    for threads in (1, 2, 3, 8):
        assert model.fitted.scorer is not None
        assert model.fitted.scorer.probabilities(texts, threads).tobytes() == whole.tobytes()
    model.save(tmp_path / "m.luce")
    assert luce.load(tmp_path / "m.luce").predict_proba(texts).tobytes() == whole.tobytes()


def test_the_scorer_is_the_linear_model(model: luce.Classifier) -> None:
    """1e-12: some hundred products of numbers below 10, added in another order."""
    table = Table.of(reviews(300, 2)).without("kind")
    features = model.fitted.features(table)
    coef, bias = model.fitted.calibrated_weights()
    z = features.logits(np.ascontiguousarray(coef.T), bias, 1)[0]
    assert model.predict_proba(table)[:, 1] == pytest.approx(1 / (1 + np.exp(-z)), abs=1e-12)


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_any_number_of_threads_gives_the_same_model(threads: int, model: luce.Classifier) -> None:
    other = luce.Classifier(threads=threads).fit(reviews(200), "kind")
    assert (
        other.fitted.linear.coef.tobytes()
        == luce.Classifier(threads=1).fit(reviews(200), "kind").fitted.linear.coef.tobytes()
    )


def test_what_the_texts_tell_is_found(model: luce.Classifier) -> None:
    """One label in ten is wrong: 0.9 at best, and three standard errors of 500 rows below it."""
    new = reviews(500, 3)
    right = np.mean(model.predict(new["review"]) == np.array(new["kind"]))
    assert right > 0.9 - 3 * np.sqrt(0.09 / 500) - 0.02
    assert model.fitted.facts["certificate"].startswith("proven to lie within")
    assert [column.kind for column in model.fitted.schema.columns] == ["text"]


def information(has: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    """sqrt(sum_k p_k ln(p_k / q_k)) for a matrix rows x n-grams of 0 and 1."""
    q = np.bincount(codes, minlength=classes) / len(codes)
    counts = np.stack([has[codes == k].sum(axis=0) for k in range(classes)])
    p = (counts + q[:, None]) / (counts.sum(axis=0) + 1)
    return np.sqrt(np.maximum((p * np.log(p / q[:, None])).sum(axis=0), 0.0))


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_scales_are_the_information_without_the_fold(classes: int) -> None:
    """2e-4: near 0 the square root doubles the digits that float32 and the sum of both signs have lost."""
    texts = reviews(300)["review"]
    rng = np.random.default_rng(classes)
    codes = np.append(np.arange(classes), rng.integers(0, classes, 300 - classes)).astype(np.int32)
    fold = rng.integers(0, 3, 300).astype(np.int32)
    grams = Grams.of("review", texts, WORDS, 1)
    has = np.zeros((300, len(grams.buckets)))
    has[np.repeat(np.arange(300), np.diff(grams.starts)), grams.places] = 1.0
    found = grams.scales(codes, classes, fold, 1 << 20, 2)
    for f in range(3):
        assert found[f] == pytest.approx(information(has[fold != f], codes[fold != f], classes), abs=2e-4)
    assert found[3] == pytest.approx(information(has, codes, classes), abs=2e-4)


def held_out_loss(seed: int) -> tuple[float, float]:
    """Log loss of held-out rows where labels are drawn at random, and what the shares of the classes give."""
    data = reviews(300, seed)
    data["kind"] = np.random.default_rng(seed).choice(["bad", "good"], 300).tolist()
    held_out = luce.Classifier().fit(data, "kind").held_out
    assert held_out is not None
    p = held_out.probabilities[np.arange(300), held_out.codes]
    share = np.bincount(held_out.codes) / 300
    return float(-np.log(p).mean()), float(-np.sum(share * np.log(share)))


def test_held_out_rows_have_not_told_of_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be learnt from labels drawn at random: less than the entropy by 0.02 nats is a leak. Scales by all
    rows are one."""
    loss, entropy = held_out_loss(5)
    assert loss > entropy - 0.02
    monkeypatch.setattr(Worded, "without", lambda self, rows: _with_all(self))
    leaking, entropy = held_out_loss(5)
    assert leaking < entropy - 0.02


def _with_all(worded: Worded) -> Any:
    from luce.encoder import beside

    return beside(worded.plain, worded.rows(-1))


def test_one_text_in_any_form_is_one_text(model: luce.Classifier) -> None:
    text = "재미있는 영화 그리고 LOVELY café"
    wanted = model.predict_proba([text]).tobytes()
    for other in (unicodedata.normalize("NFD", text), text.upper(), f"  {text}\t", text.replace(" ", "  ")):
        assert model.predict_proba([other]).tobytes() == wanted


def test_missing_and_empty_texts_are_texts_of_nothing() -> None:
    data = reviews(100)
    data["review"][3], data["review"][5] = None, "  "
    model = luce.Classifier(kinds={"review": "text"}).fit(data, "kind")
    p = model.predict_proba({"review": [None, "", " ", "ψ ϡ"]})
    assert (p == p[0]).all()
    assert np.isfinite(p).all()


def test_a_text_stands_beside_numbers_and_categories() -> None:
    """Each tells of another class: with both columns all three can be told apart."""
    rng = np.random.default_rng(0)
    data = reviews(300)
    stars = rng.integers(1, 6, 300)
    data["stars"] = stars.tolist()
    data["city"] = rng.choice(["Seoul", "Busan"], 300).tolist()
    data["kind"] = ["odd" if s == 3 else kind for s, kind in zip(stars, data["kind"], strict=True)]
    model = luce.Classifier().fit(data, "kind")
    assert {c.name: c.kind for c in model.fitted.schema.columns} == {
        "review": "text", "stars": "number", "city": "category",
    }  # fmt: skip
    right = model.predict(data) == np.array(data["kind"])
    assert right[stars == 3].mean() > 0.9
    assert right[stars != 3].mean() > 0.85
    with pytest.raises(InputError, match="it reads other columns too"):
        model.predict(["a text"])


def test_texts_without_a_word_in_common_are_read_by_their_pieces() -> None:
    """Names of one word each, of which the last letter tells the class."""
    rng = np.random.default_rng(1)
    names = sorted({"".join(rng.choice(list("bdfgklmnprst"), 5)) for _ in range(90)})
    data = {
        "name": [name + "ao"[k % 2] for k, name in enumerate(names)],
        "sex": ["fm"[k % 2] for k in range(len(names))],
    }
    model = luce.Classifier(kinds={"name": "text"}).fit(data, "sex")
    assert model.predict({"name": ["zzzza", "zzzzo"]}).tolist() == ["f", "m"]


def test_texts_without_a_letter_in_common_are_refused_in_one_line() -> None:
    data = {"sign": [chr(0x4E00 + k) for k in range(30)], "y": ["ab"[k % 2] for k in range(30)]}
    with pytest.raises(InputError, match="occurs in two texts of 'sign'"):
        luce.Classifier(kinds={"sign": "text"}).fit(data, "y")


def test_texts_that_tell_nothing_leave_the_table_as_it_was() -> None:
    data = reviews(300)
    data["size"] = [1.0 if kind == "good" else 0.0 for kind in data["kind"]]
    data["review"] = [f"{a} {b} {i} word" for i, (a, b) in enumerate(zip(data["review"], data["review"], strict=True))]
    data["kind"] = np.where(np.array(data["size"]) > 0, "big", "small").tolist()
    model = luce.Classifier().fit(data, "kind")
    assert model.predict(data).tolist() == data["kind"]


def test_few_texts_of_noise_are_nearly_told_to_be_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """24 texts say nothing of their classes. Fresh ones lose 0.708 nats in the mean of eight draws, where a coin loses
    0.693; with no belief about the penalty 0.734, and with two folds of the five held out 0.847."""

    def lost() -> float:
        words, losses = np.array([f"w{i}x" for i in range(80)]), []
        for seed in range(8):
            rng = np.random.default_rng(seed)
            texts = [" ".join(rng.choice(words, 8)) for _ in range(224)]
            told = luce.Classifier(threads=1).fit({"t": texts[:24], "y": ["a", "b"] * 12}, "y")
            losses.append(-np.log(told.predict_proba({"t": texts[24:]})).mean())
        return float(np.mean(losses))

    assert lost() < 0.72
    monkeypatch.setattr(Race, "unlikely", lambda race, place: 0.0)
    assert lost() > 0.725


def test_of_few_rows_columns_that_tell_nothing_do_not_drown_the_texts() -> None:
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}x" for i in range(60)])

    def rows(n: int) -> pl.DataFrame:
        y = rng.integers(0, 2, n)
        texts = [" ".join(rng.choice(words[20 * k : 20 * k + 40], 9)) for k in y]
        day = np.datetime64("2024-01-01") + rng.integers(0, 300, n)
        size = 4.0 * y + rng.normal(size=n)
        return pl.DataFrame({"t": texts, "day": day, "shop": rng.choice(["a", "b", "c"], n), "size": size, "y": y})

    data, fresh = rows(60), rows(300)
    noise = ["t", "day", "shop"]
    model, alone = (luce.Classifier().fit(data[columns], data["y"]) for columns in (noise, ["t"]))
    p = model.predict_proba(fresh[noise])
    assert p.tobytes() == alone.predict_proba(fresh[["t"]]).tobytes()
    assert {c.name for c in model.fitted.schema.columns if c.kind == "left out"} == {"day", "shop"}
    assert any("the texts tell more without: 'day', 'shop'" in note for note in model.fitted.facts["notes"])
    asked = luce.Classifier(kinds={"shop": "category"}).fit(data[noise], data["y"])
    assert {c.name for c in asked.fitted.schema.columns if c.kind == "left out"} <= {"day"}
    useful = luce.Classifier().fit(data[["t", "size"]], data["y"])
    assert all(c.kind != "left out" for c in useful.fitted.schema.columns)


def test_recipes_go_by_the_letters() -> None:
    assert recipes_for(["a film", None, "두 사람"]) == (SYLLABLES, JAMO)
    assert recipes_for(["a long film of two people", "한"]) == (WORDS, PIECES)
    assert recipes_for(["", None]) == (WORDS, PIECES)


@pytest.mark.parametrize("part", [0.8, 0.6])
def test_a_model_fits_the_size_that_is_asked_for(part: float, tmp_path: Path) -> None:
    """Part of the file is enough for most answers: n-grams that move little go first."""
    data = reviews(900)
    data["review"] = [f"{text} {i % 50}번 {i % 77}th" for i, text in enumerate(data["review"])]
    whole = luce.Classifier().fit(data, "kind")
    whole.save(tmp_path / "whole.luce")
    size = part * (tmp_path / "whole.luce").stat().st_size
    small = luce.Classifier(size=size).fit(data, "kind")
    small.save(tmp_path / "small.luce")
    assert (tmp_path / "small.luce").stat().st_size <= size
    assert luce.load(tmp_path / "small.luce").predict_proba(data["review"]).tobytes() == (
        small.predict_proba(data["review"]).tobytes()
    )
    assert np.mean(small.predict(data["review"]) == whole.predict(data["review"])) >= 0.9
    held_out = small.held_out
    right = 100 * np.mean(held_out.probabilities.argmax(axis=1) == held_out.codes)
    said = small.fitted.facts["notes"][-1]
    assert "of 8 bits: accuracy on rows held out" in said
    assert abs(float(said.split("then ")[1].split(" ")[0]) - right) <= 1.0  # calibration may move an answer or two
    assert len(small.fitted.encoder.texts[0].buckets) < len(whole.fitted.encoder.texts[0].buckets)


def test_sizes_are_read_and_nonsense_is_refused() -> None:
    assert [bytes_of(size) for size in ("2MB", "500 kB", "1.5m", 1000, "20")] == [2e6, 5e5, 1.5e6, 1000.0, 20.0]
    for size in ("", "MB", "-2MB", "2 XB", "0"):
        with pytest.raises(InputError, match="give bytes, such as 2MB"):
            bytes_of(size)
    with pytest.raises(InputError, match="no n-gram fits"):
        luce.Classifier(size=1000).fit(reviews(100), "kind")


@pytest.mark.parametrize("part", ["buckets", "scale", "text_coef", "recipe"])
def test_a_file_with_broken_ngrams_is_refused(part: str, model: luce.Classifier, tmp_path: Path) -> None:
    model.save(tmp_path / "m.luce")
    read, facts = read_container(tmp_path / "m.luce")
    arrays = dict(read)
    if part == "buckets":
        arrays["text0_buckets"] = np.zeros_like(arrays["text0_buckets"])
    elif part == "scale":
        arrays["text0_scale"] = -arrays["text0_scale"]
    elif part == "text_coef":
        arrays["text_coef"] = np.ascontiguousarray(arrays["text_coef"][:, 1:])
    else:
        facts["encoder"]["texts"][0][1] = "another"
    write_container(tmp_path / "broken.luce", arrays, facts)
    with pytest.raises(ModelFileError, match="not a usable luce model"):
        luce.load(tmp_path / "broken.luce")


def test_the_plan_of_a_fit_makes_its_own_features_again() -> None:
    """Bit by bit: what was learnt from is what will be asked."""
    texts = reviews(120)["review"]
    codes = labels(Table.of(reviews(120)), "kind").codes.astype(np.int32)
    grams = Grams.of("review", texts, PIECES, 2)
    scale = grams.scales(codes, 2, np.zeros(120, dtype=np.int32), 1 << 20, 2)[-1]
    plan, own = grams.plan(scale), grams.rows(scale, 2)
    new = plan.rows(texts, 1)
    assert new.values.tobytes() == own.values.tobytes()
    assert plan.buckets[new.indices].tobytes() == grams.buckets[own.indices].tobytes()
    empty = TextPlan("review", PIECES, plan.buckets[:1], plan.scale[:1]).rows(["", None], 1)
    assert empty.starts.tolist() == [0, 0, 0]


def test_equal_texts_are_equal_keys() -> None:
    one = ["Film  gut", "film gut", unicodedata.normalize("NFD", "영화"), "영화", "film"]
    keys = _core.text_keys(one, 1)
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert len(set(keys.tolist())) == 3


def test_recipes_are_compared_on_fewer_rows_of_long_texts() -> None:
    """As many as have 3,000,000 letters, but 1,000, or 20 for each class; of short ones 5,000."""
    short, long = ["good film"] * 20_000, ["word " * 400, None] * 10_000
    assert _few({"t": short}, 20_000, 2) == 5_000
    assert _few({"t": long}, 20_000, 2) == 3_000
    assert _few({"t": long, "u": long}, 20_000, 2) == 1_500
    assert _few({"t": ["word " * 4_000] * 20_000}, 20_000, 2) == 1_000
    assert _few({"t": ["word " * 4_000] * 20_000}, 20_000, 90) == 1_800
    assert _few({"t": [None, ""]}, 2, 2) == 5_000
