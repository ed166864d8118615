"""Networks in a Classifier: the choice against a linear model, explanations, files, the page, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import luce
import luce.hidden
from luce.container import read_container, write_container
from luce.errors import InputError, ModelFileError
from luce.features import Features, dense_row
from luce.heads import Linear, Network
from luce.network import NetworkFit
from luce.table import Table

SMALL = luce.NetworkClassifier((24,), epochs=40)
Array = np.ndarray


def parity(rows: int, seed: int = 0) -> pl.DataFrame:
    """Three signs of three numbers: no sum of functions of one or two of them tells their product."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3)) + 0.4 * np.sign(rng.normal(size=(rows, 3)))
    label = np.where(np.prod(np.sign(x), axis=1) > 0, "even", "odd")
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "label": label})


def a_line(rows: int, classes: int = 3) -> pl.DataFrame:
    """Labels drawn by the softmax of straight logits: nothing is left for hidden layers."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, 2))
    z = x @ rng.normal(size=(2, classes))
    label = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "label": [f"k{k}" for k in label]})


@pytest.fixture(scope="module")
def odd() -> luce.Classifier:
    return luce.Classifier(model=SMALL).fit(parity(900), "label")


@pytest.fixture(scope="module")
def mixed() -> tuple[luce.Classifier, pl.DataFrame]:
    """Two hidden layers of gelu on numbers, missing cells, a category, a flag; three classes, calibrated."""
    rng = np.random.default_rng(2)
    size, town = rng.normal(size=700), rng.choice(["Oslo", "서울", "Lima"], 700)
    told = size * np.where(town == "Oslo", 1, -1) + 0.5 * rng.normal(size=700)
    cells = pl.Series("size", size).set(pl.Series(rng.random(700) < 0.1), None)
    label = np.array(["low", "mid", "top"])[np.digitize(told, [-0.5, 0.6])]
    data = pl.DataFrame({"size": cells, "town": town, "member": rng.random(700) < 0.5, "label": label})
    template = luce.NetworkClassifier((16, 8), "gelu", epochs=30)
    return luce.Classifier(model=template).fit(data, "label"), data


# --- the choice ----------------------------------------------------------------------------------------------------


def test_auto_takes_a_network_where_it_tells_more_and_says_what_it_gained() -> None:
    data = parity(1500)
    model = luce.Classifier(model="auto").fit(data[:1200], "label")
    assert isinstance(model.fitted.head, Network)
    note = next(note for note in model.fitted.facts["notes"] if note.startswith("model: network"))
    assert "the linear one loses 0." in note
    straight = luce.Classifier(effects="pairs").fit(data[:1200], "label").evaluate(data[1200:])
    assert straight.accuracy < 0.65 < 0.85 < model.evaluate(data[1200:]).accuracy


def test_auto_keeps_the_proof_where_a_network_tells_no_more() -> None:
    model = luce.Classifier(model="auto").fit(a_line(800), "label")
    assert isinstance(model.fitted.head, Linear)
    assert "proven" in model.fitted.facts["certificate"]
    assert any(note.startswith("model: linear") for note in model.fitted.facts["notes"])
    alone = luce.Classifier().fit(a_line(800), "label")
    assert np.array_equal(model.fitted.linear.coef, alone.fitted.linear.coef)


def test_what_is_kept_is_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part that is measured settles it: here it takes the network, and a choice on all rows would not."""
    answers = iter([True, False])
    monkeypatch.setattr(luce.hidden, "is_better", lambda _: next(answers))
    trained = luce.train(a_line(400), "label", classifier=luce.Classifier(model="auto"))
    assert isinstance(trained.classifier.fitted.head, Network)
    assert any(note.startswith("model: network") for note in trained.classifier.fitted.facts["notes"])


def test_held_out_rows_are_not_seen_by_the_networks_that_score_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are rows equal to them, of which each has four here."""
    data = pl.concat([a_line(60)] * 5)
    taught: list[set[int]] = []
    scored: list[set[int]] = []
    fit, logits = luce.hidden.fit_network, luce.hidden.network_logits

    def fit_seen(features: Features, *how: Any) -> Any:
        taught.append(set(features.hashes(0, 1).tolist()))
        return fit(features, *how)

    def logits_seen(features: Features, *how: Any) -> Any:
        scored.append(set(features.hashes(0, 1).tolist()))
        return logits(features, *how)

    monkeypatch.setattr(luce.hidden, "fit_network", fit_seen)
    monkeypatch.setattr(luce.hidden, "network_logits", logits_seen)
    model = luce.Classifier(model=SMALL).fit(data, "label")
    assert model.held_out is not None
    assert model.held_out.scored.all()
    assert len(scored) == 5
    assert all(not a & b and len(a | b) == 60 for a, b in zip(taught, scored, strict=False))
    assert len(taught) == 6  # and last all
    assert len(taught[5]) == 60


def test_a_network_has_the_same_file_for_any_number_of_threads(tmp_path: Path) -> None:
    for threads in (1, 2):
        luce.Classifier(model=SMALL, threads=threads).fit(parity(400), "label").save(tmp_path / f"{threads}.luce")
    assert (tmp_path / "1.luce").read_bytes() == (tmp_path / "2.luce").read_bytes()


def test_ctrl_c_leaves_the_model_before(odd: luce.Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    before = odd.fitted

    def interrupted(*how: Any) -> NetworkFit:
        return replace(whole(*how), stopped="interrupted")

    whole = luce.hidden.fit_network
    monkeypatch.setattr(luce.hidden, "fit_network", interrupted)
    with pytest.raises(KeyboardInterrupt):
        odd.fit(parity(300, 5), "label")
    assert odd.fitted is before


def test_held_out_rows_may_be_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of embeddings are: both models are compared on the rows that both held out."""
    monkeypatch.setattr("luce.probe.MANY_ROWS", 200)
    rng = np.random.default_rng(13)
    codes = rng.integers(0, 2, 400)
    rows = (rng.standard_normal((400, 300)) + 0.2 * codes[:, np.newaxis]).astype(np.float16)
    model = luce.Classifier(model=luce.NetworkClassifier((4,), epochs=2), l2=0.1).fit(rows, codes)
    assert [tried["effects"] for tried in model.fitted.facts["effects"]] == ["linear", "network"]
    assert all(np.isfinite(tried["gain"]) for tried in model.fitted.facts["effects"])


def test_epochs_that_blew_up_can_be_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = luce.hidden.fit_network

    def blown_up(*how: Any) -> NetworkFit:
        fit = whole(*how)
        return replace(fit, history=[*fit.history, replace(fit.history[-1], loss=np.nan, held_out=np.inf)])

    monkeypatch.setattr(luce.hidden, "fit_network", blown_up)
    model = luce.Classifier(model=SMALL).fit(parity(300), "label")
    model.save(tmp_path / "m.luce")
    facts = luce.load(tmp_path / "m.luce").fitted.facts
    assert facts["epochs"][-1] == [None, None]
    taught, held_out = zip(*facts["epochs"][:-1], strict=True)
    assert facts["objective"] == taught[held_out.index(min(held_out))]


# --- explanations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("hidden", [(), (5,), (7, 4, 3)])
def test_weights_between_two_rows_give_the_logits_of_both(hidden: tuple[int, ...], gelu: bool) -> None:
    rng = np.random.default_rng(4)
    units = [6, *hidden, 3]
    layers = tuple(
        (rng.normal(size=(a, b)).astype(np.float32), rng.normal(size=b).astype(np.float32)) for a, b in pairwise(units)
    )
    head = Network(layers, rng.normal(size=6), rng.uniform(0.5, 2, 6), gelu)
    base, row = rng.normal(size=(2, 6))
    row[2] = base[2]
    coef, intercept = head.weights_between(base, row)
    for x in (base, row):  # 1e-9: sums of some ten products of numbers near 10
        assert coef @ x + intercept == pytest.approx(head.at(x[np.newaxis])[0], abs=1e-9)
    assert (coef[:, 2] == 0).all()  # a column that does not move
    fast = head.logits(Features(2, dense=np.stack([base, row])), 1)
    assert fast == pytest.approx(head.at(np.stack([base, row])), rel=1e-4, abs=1e-4)  # float32, in some ten sums
    coef, intercept = head.weights_between(base, base)
    assert coef @ base + intercept == pytest.approx(head.at(base[np.newaxis])[0], abs=1e-9)


def test_an_explanation_adds_up_to_the_difference_of_the_logits(mixed: tuple[luce.Classifier, pl.DataFrame]) -> None:
    model, data = mixed
    p = model.predict_proba(data[:40].drop("label"))
    for i in range(40):
        found = model.explain(data, i)
        whole = found.base + sum(c.amount for c in found.contributions)
        assert found.difference == pytest.approx(whole, abs=1e-9)
        order = [model.fitted.classes.index(k) for k in (found.answer, found.other)]
        told = np.log(p[i, order[0]]) - np.log(p[i, order[1]])
        assert found.difference == pytest.approx(told, abs=1e-3)  # the network's own passes are float32


def test_the_overview_tells_how_a_column_moves_the_mean_row(mixed: tuple[luce.Classifier, pl.DataFrame]) -> None:
    model, _ = mixed
    fitted = model.fitted
    found = {entry["column"]: entry for entry in model.overview()}
    assert {"size", "town"} <= set(found)
    curve = found["size"]["curve"]
    names = fitted.encoder.names
    rows = np.tile(fitted.means, (2, 1))
    for i, size in enumerate(curve["x"][:2]):
        cells = pl.DataFrame({"size": [size], "town": ["Oslo"], "member": [True]})
        x = dense_row(fitted.features(Table.of(cells)))
        own = [k for k, name in enumerate(names) if name.startswith("size")]
        rows[i, own] = x[own]
    z = fitted.calibration.apply(fitted.head.at(np.vstack([rows, fitted.means])), 1)  # type: ignore[union-attr]
    z = z - z.mean(axis=1, keepdims=True)
    assert np.array(curve["y"][:2]) == pytest.approx(z[:2] - z[2], abs=1e-9)


def test_a_counterfactual_changes_the_answer(odd: luce.Classifier) -> None:
    data = parity(20, 7)
    found = odd.counterfactual(data, 3)
    assert found is not None
    changed = data[3:4].with_columns(pl.lit(move.after).alias(move.column) for move in found.moves)
    assert odd.predict(changed)[0] != odd.predict(data[3:4])[0]


# --- texts and images ----------------------------------------------------------------------------------------------


def test_a_network_reads_texts_and_marks_their_words(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    good, bad = ["lovely", "great", "fine"], ["awful", "dull", "broken"]
    label = rng.integers(0, 2, 300)
    texts = [
        " ".join([*rng.choice(good if k else bad, 2), *rng.choice(["plot", "cast", "film", "screen", "end"], 3)])
        for k in label
    ]
    data = pl.DataFrame({"text": texts, "mood": np.array(["bad", "good"])[label]})
    model = luce.Classifier(model=luce.NetworkClassifier((8,), epochs=20)).fit(data, "mood")
    assert isinstance(model.fitted.head, Network)
    assert model.predict(["a lovely film, great cast", "dull plot and a broken end"]).tolist() == ["good", "bad"]
    found = model.explain(pl.DataFrame({"text": ["a lovely film, great cast"]}))
    assert {"lovely", "great"} <= set(found.texts[0].strongest())
    column = next(c.amount for c in found.contributions if c.column == "text")
    assert sum(mark.amount for mark in found.texts[0].marks) == pytest.approx(column, abs=1e-6)
    model.save(tmp_path / "m.luce")
    again = luce.load(tmp_path / "m.luce")
    assert np.array_equal(again.predict_proba(data.drop("mood")), model.predict_proba(data.drop("mood")))


def test_a_network_reads_images() -> None:
    rng = np.random.default_rng(9)
    label = rng.integers(0, 2, 120)
    images = rng.integers(0, 60, (120, 8, 8)).astype(np.uint8)
    for image, k in zip(images, label, strict=True):
        at = rng.integers(0, 7)
        image[(at, slice(None)) if k else (slice(None), at)] = 220  # a line across, or down
    model = luce.Classifier(model=luce.NetworkClassifier((32,), epochs=60)).fit(images[:90], label[:90])
    assert (model.predict(images[90:]) == label[90:]).mean() > 0.7


# --- files, page, refusals -----------------------------------------------------------------------------------------

FAULTS: list[tuple[str, Callable[[dict[str, Array], dict[str, Any]], Any], str]] = [
    ("a layer of other units", lambda a, _: a.update(layer_1=a["layer_1"][1:].copy()), "does not belong"),
    ("a bias of other units", lambda a, _: a.update(bias_0=a["bias_0"][1:].copy()), "does not belong"),
    ("float64 weights", lambda a, _: a.update(layer_0=a["layer_0"].astype(np.float64)), "does not belong"),
    ("a layer too few", lambda _, f: f["network"].update(layers=1), "outputs"),
    ("no layer", lambda _, f: f["network"].update(layers=0), "network is broken"),
    ("layers without end", lambda _, f: f["network"].update(layers=10**9), "network is broken"),
    ("gelu is a number", lambda _, f: f["network"].update(gelu=1), "network is broken"),
    ("scales of other columns", lambda a, _: a.update(scale=a["scale"][1:].copy()), "scales"),
    ("no shift", lambda a, _: a.pop("shift"), "missing or wrong"),
    ("epochs of texts", lambda _, f: f["training"].update(epochs=[["x", 1.0]]), "training facts"),
    ("a linear kind", lambda _, f: f.update(kind="linear classifier"), "missing or wrong"),
]


@pytest.mark.parametrize(("change", "said"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_a_broken_network_in_a_file_is_refused(
    odd: luce.Classifier, tmp_path: Path, change: Callable[[Any, Any], Any], said: str
) -> None:
    path = tmp_path / "m.luce"
    odd.save(path)
    arrays, facts = read_container(path)
    whole = dict(arrays)
    change(whole, facts)
    write_container(path, whole, facts)
    with pytest.raises(ModelFileError, match=said):
        luce.load(path)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("deep", "give one of linear, network, auto"),
        (3, "give one of"),
        (luce.NetworkClassifier((0,)), "hidden"),
        (luce.NetworkClassifier(class_weight="balanced"), "costs or recall"),
        (luce.NetworkClassifier(checkpoint="c"), "which fits several"),
    ],
)
def test_models_that_there_are_not_are_refused(model: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        luce.Classifier(model=model).fit(a_line(60), "label")


def test_a_text_model_without_room_for_a_network_says_so() -> None:
    rng = np.random.default_rng(10)
    words = [f"word{i:04d}" for i in range(400)]
    data = pl.DataFrame({"text": [" ".join(rng.choice(words, 8)) for _ in range(200)], "k": rng.integers(0, 2, 200)})
    model = luce.Classifier(model="auto", size="60kB").fit(data, "k")
    assert any("no network was tried" in note for note in model.fitted.facts["notes"])


def test_the_page_shows_how_the_network_was_trained(odd: luce.Classifier, tmp_path: Path) -> None:
    report = odd.evaluate(parity(200, 11))
    for lang, said in (("en", "This model is a network"), ("ko", "이 모델은 신경망입니다")):
        luce.write_report(tmp_path / "page.html", odd, report, lang=lang)
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert said in page
        assert f"{odd.fitted.head.parameters:,}" in page  # type: ignore[union-attr]
