"""What the service answers: the bits of `predict`, in every form that rows come in; errors that name the place."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import orders, reviews
from serving import JSON, Limits, Served, drawn, models, plain_rows, png, served, serving

import luce
from luce.answers import Asked, RefusedError, answer
from luce.facts import facts
from luce.form import describe
from luce.hosting import Hosted, hosted
from luce.openapi import Description

__all__ = ["models", "served"]

CSV = {"Content-Type": "text/csv"}
ROWS = plain_rows(orders(90, seed=5).drop("label"))
TEXTS = reviews(40, seed=3)["review"].to_list()


@pytest.fixture(scope="module")
def offline(models: dict[str, Path]) -> dict[str, luce.Classifier]:
    return {name: luce.load(path) for name, path in models.items()}


def of(reply: Any) -> np.ndarray:
    assert reply.status == 200, reply.body
    return np.array(reply.json["probabilities"])


def probabilities(model: luce.Classifier, rows: list[dict[str, Any]]) -> np.ndarray:
    return model.predict_proba({name: [row.get(name) for row in rows] for name in rows[0]})


def test_s27_rows_have_the_bits_of_predict_alone_and_in_any_batch(
    served: Served, offline: dict[str, luce.Classifier]
) -> None:
    wanted = probabilities(offline["orders"], ROWS)
    reply = served.predict("orders", ROWS)
    assert of(reply).tobytes() == wanted.tobytes()
    assert reply.json["answers"] == offline["orders"].decide(wanted).tolist()
    assert reply.json["classes"] == offline["orders"].classes_.tolist()
    for i in (0, 7, 31):
        assert of(served.predict("orders", ROWS[i : i + 1])).tobytes() == wanted[i : i + 1].tobytes()
    for size in (2, 9, 64):
        assert of(served.predict("orders", ROWS[:size])).tobytes() == wanted[:size].tobytes()


def test_s27_requests_that_arrive_together_have_the_bits_that_they_have_alone(
    served: Served, offline: dict[str, luce.Classifier]
) -> None:
    wanted = probabilities(offline["orders"], ROWS)
    odd = [{**row, "count": str(row["count"])} for row in ROWS]  # read by the rules of tables
    found: dict[int, np.ndarray] = {}

    def ask(i: int) -> None:
        rows = (odd if i % 5 == 0 else ROWS)[i : i + 1 + i % 3]
        found[i] = of(served.predict("orders", rows))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, p in found.items():
        assert p.tobytes() == wanted[i : i + 1 + i % 3].tobytes()
    assert len(found) == 60


def test_s27_neither_the_locale_nor_the_threads_change_a_bit(
    models: dict[str, Path], offline: dict[str, luce.Classifier]
) -> None:
    wanted = probabilities(offline["orders"], ROWS[:20])
    for threads in (1, 3):
        one = hosted(str(models["orders"]), threads)
        cells = {name: [row[name] for row in ROWS[:20]] for name in ROWS[0]}
        assert one.probabilities(cells, 20).tobytes() == wanted.tobytes()
    code = (
        "import json, locale, sys; from luce.hosting import hosted\n"
        "try: locale.setlocale(locale.LC_ALL, 'de_DE.UTF-8')\nexcept locale.Error: pass\n"
        "cells = json.load(sys.stdin); print(json.dumps(hosted(sys.argv[1]).probabilities(cells, 20).tolist()))"
    )
    cells = json.dumps({name: [row[name] for row in ROWS[:20]] for name in ROWS[0]})
    for lang in ("tr_TR.UTF-8", "de_DE.UTF-8", "ko_KR.UTF-8"):
        env = {"LC_ALL": lang, "LANG": lang, "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code, models["orders"]],
            input=cells,
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        assert np.array(json.loads(done.stdout)).tobytes() == wanted.tobytes()
        break  # one that is there is as good as another: what matters is that Python and polars read no locale


def test_a_csv_is_answered_as_by_predict(
    served: Served, offline: dict[str, luce.Classifier], models: dict[str, Path], tmp_path: Path
) -> None:
    frame = orders(30, seed=5).drop("label")
    frame.write_csv(tmp_path / "new.csv")
    body = (tmp_path / "new.csv").read_bytes()
    wanted = offline["orders"].predict_proba(luce.read_file(tmp_path / "new.csv"))
    assert of(served.ask("POST", "/v1/models/orders/predict", body, CSV)).tobytes() == wanted.tobytes()
    done = subprocess.run(
        [sys.executable, "-m", "luce", "predict", models["orders"], tmp_path / "new.csv"],
        capture_output=True,
        check=True,
    )
    reply = served.ask("POST", "/v1/models/orders/predict", body, CSV | {"Accept": "text/csv"})
    assert reply.headers["content-type"].startswith("text/csv")
    assert reply.body == done.stdout
    rows = json.dumps({"rows": plain_rows(frame), "coverage": 0.8})
    reply = served.ask("POST", "/v1/models/orders/predict", rows, JSON | {"Accept": "text/csv"})
    assert reply.body.startswith(b"prediction,set,p:gone")


def test_lines_are_texts(served: Served, offline: dict[str, luce.Classifier]) -> None:
    wanted = offline["reviews"].predict_proba(TEXTS)
    body = "\n".join(TEXTS) + "\n"
    assert (
        of(
            served.ask("POST", "/v1/models/reviews/predict", body, {"Content-Type": "text/plain; charset=utf-8"})
        ).tobytes()
        == wanted.tobytes()
    )
    assert of(served.predict("reviews", [{"review": text} for text in TEXTS])).tobytes() == wanted.tobytes()
    assert (
        of(served.predict("reviews", [{"review": None}])).tobytes()
        == offline["reviews"].predict_proba({"review": [None]}).tobytes()
    )
    assert served.ask("POST", "/v1/models/orders/predict", body, {"Content-Type": "text/plain"}).status == 415


def test_images_come_alone_in_json_and_in_a_csv(served: Served, offline: dict[str, luce.Classifier]) -> None:
    images = drawn(4, seed=9)[0]
    wanted = offline["bars"].predict_proba(images)
    name = next(iter(offline["bars"].fitted.image_sizes))
    urls = ["data:image/png;base64," + base64.b64encode(png(image)).decode() for image in images]
    for image, p in zip(images, wanted, strict=True):
        reply = served.ask("POST", "/v1/models/bars/predict", png(image), {"Content-Type": "image/png"})
        assert of(reply).tobytes() == p.tobytes()
    assert of(served.predict("bars", [{name: url} for url in urls])).tobytes() == wanted.tobytes()
    table = f"{name}\n" + "".join(f'"{url}"\n' for url in urls)
    assert of(served.ask("POST", "/v1/models/bars/predict", table, CSV)).tobytes() == wanted.tobytes()
    assert served.ask("POST", "/v1/models/orders/predict", png(images[0]), {"Content-Type": "image/png"}).status == 415
    for bad in (b"", b"no image", png(images[0])[:40]):
        reply = served.ask("POST", "/v1/models/bars/predict", bad, {"Content-Type": "image/png"})
        assert reply.status == 422 and "error" in reply.json
    huge = (
        png(np.zeros((1, 1), np.uint8))[:16] + (200_000).to_bytes(4, "big") * 2 + png(np.zeros((1, 1), np.uint8))[24:]
    )
    assert served.ask("POST", "/v1/models/bars/predict", huge, {"Content-Type": "image/png"}).status == 422


def test_sets_are_those_of_predict_set(served: Served, offline: dict[str, luce.Classifier]) -> None:
    reply = served.predict("orders", ROWS[:20], coverage=0.8)
    p = probabilities(offline["orders"], ROWS[:20])
    sets = offline["orders"].sets_of(p, 0.8)
    names = offline["orders"].classes_.tolist()
    assert reply.json["sets"] == [[c for c, inside in zip(names, row, strict=True) if inside] for row in sets.tolist()]
    assert "sets" not in served.predict("orders", ROWS[:2]).json
    for coverage in (0, 1, 2, -0.5, "x"):
        assert served.predict("orders", ROWS[:1], coverage=coverage).status == 422


def test_explanations_are_those_of_explain(served: Served, offline: dict[str, luce.Classifier]) -> None:
    model = offline["orders"]
    reply = served.predict("orders", ROWS[:2], explain=True, flip=True)
    found = reply.json["explanations"]
    rows = {name: [row[name] for row in ROWS[:2]] for name in ROWS[0]}
    for i, each in enumerate(found):
        wanted = model.explain(rows, i)
        assert (each["answer"], each["other"], each["difference"]) == (wanted.answer, wanted.other, wanted.difference)
        assert [(c["column"], c["amount"]) for c in each["contributions"]] == [
            (c.column, c.amount) for c in wanted.contributions
        ]
        total = each["base"] + sum(c["amount"] for c in each["contributions"])
        assert total == pytest.approx(each["difference"], abs=1e-9)  # sums of some ten numbers near 10
        change = model.counterfactual(rows, i)
        assert (each["flip"] is None) == (change is None)
        if change is not None:
            assert each["flip"]["sentence"] == change.sentence() and each["flip"]["answer"] == change.answer
    last = min(set(model.classes_.tolist()) - {found[0]["answer"], found[0]["other"]})
    assert served.predict("orders", ROWS[:1], explain=True, against=last).json["explanations"][0]["other"] == last
    assert found[0]["notes"] == []
    strange = served.predict("orders", [ROWS[0] | {"count": 10**9}], explain=True).json["explanations"][0]["notes"]
    assert len(strange) == 1 and "1 of 1 number(s) are far from those of training (such as 1e+09" in strange[0]
    assert served.predict("orders", ROWS[:1], explain=True, against="nobody").json["error"]["where"] == "against"
    texts = served.predict("reviews", [{"review": "the screen is great, 최고"}], explain=True).json["explanations"][0][
        "texts"
    ]
    assert "".join(piece["text"] for piece in texts[0]["pieces"]) == "the screen is great, 최고"
    assert {piece["strength"] for piece in texts[0]["pieces"]} <= set(range(-3, 4))


@pytest.mark.parametrize(
    ("change", "where", "said"),
    [
        ({"count": "many"}, "rows[1].count", "is not a number"),
        ({"count": [1]}, "rows[1].count", "a cell is"),
        ({"count": {}}, "rows[1].count", "a cell is"),
        ({"count": None}, "rows[1].count", "was never missing"),
        ({"member": "perhaps"}, "rows[1].member", "neither true nor false"),
        ({"member": 2}, "rows[1].member", "neither true"),
        ({"day": "yesterday"}, "rows[1].day", "no date"),
        ({"cuont": 3}, "rows[1].cuont", "did you mean 'count'?"),
    ],
)
def test_s10_cells_that_do_not_fit_are_named(served: Served, change: dict[str, Any], where: str, said: str) -> None:
    error = served.predict("orders", [ROWS[0], ROWS[1] | change]).json["error"]
    assert (error["status"], error["where"]) == (422, where)
    assert said in error["what"]


def test_s10_a_column_that_is_left_out(served: Served, offline: dict[str, luce.Classifier]) -> None:
    without = {name: cell for name, cell in ROWS[0].items() if name != "count"}
    assert served.predict("orders", [without]).json["error"]["where"] == "rows[0].count"
    fewer = {name: cell for name, cell in ROWS[0].items() if name != "grade"}
    wanted = probabilities(offline["orders"], [ROWS[0] | {"grade": None}])
    assert of(served.predict("orders", [fewer])).tobytes() == wanted.tobytes()
    assert of(served.predict("orders", [ROWS[0] | {"label": "gone"}])).shape == (1, 3)


@pytest.mark.parametrize(
    "body",
    [
        '{"rows": []}',
        "{}",
        "[]",
        "3",
        '{"rows": 3}',
        '{"rows": [3]}',
        '{"rows": [[1]]}',
        '{"rows": null}',
        '{"rows": [{}], "x": 1}',
    ],
)
def test_s10_bodies_of_another_form_are_refused(served: Served, body: str) -> None:
    reply = served.ask("POST", "/v1/models/orders/predict", body, JSON)
    assert reply.status == 422 and reply.json["error"]["what"]


def test_s10_too_many_rows_are_refused(models: dict[str, Path]) -> None:
    with serving([models["orders"], models["reviews"]], Limits(rows=5)) as few:
        reply = few.predict("orders", ROWS[:6])
        assert reply.status == 422 and reply.json["error"]["where"] == "rows"
        assert few.predict("orders", ROWS[:5]).status == 200
        lines = {"Content-Type": "text/plain"}
        assert few.ask("POST", "/v1/models/reviews/predict", "a\n" * 6, lines).status == 422
        assert few.ask("POST", "/v1/models/orders/predict", pl.DataFrame(ROWS[:6]).write_csv(), CSV).status == 422
    assert Limits().rows < 1_000_000


def test_s09_no_probability_that_is_none_is_answered(models: dict[str, Path]) -> None:
    one = hosted(str(models["orders"]))
    for bad in (np.nan, np.inf):
        with pytest.raises(RefusedError) as error:
            answer(one, Asked(1), np.array([[0.5, bad, 0.5]]))
        assert error.value.status == 422


def test_s18_a_spreadsheet_runs_nothing(tmp_path: Path) -> None:
    classes = ["=1+1", "+cmd", "@x"]
    luce.Classifier().fit({"x": [1.0, 2, 3] * 4}, classes * 4).save(tmp_path / "odd.luce")
    with serving([tmp_path / "odd.luce"]) as odd:
        body = odd.ask("POST", "/v1/models/odd/predict", "x\n1\n2\n3\n", CSV | {"Accept": "text/csv"}).body.decode()
        assert all(line[0] not in "=+-@" for line in body.splitlines())
        assert odd.predict("odd", [{"x": 1}]).json["classes"] == sorted(classes)


def test_s17_names_that_would_be_code_are_only_texts(tmp_path: Path) -> None:
    names = ["<img src=x onerror=alert(1)>", "</script><b>", "a\u202eb", "{{7*7}}", "q\"'`", "rows[0].x: y"]
    rng = np.random.default_rng(0)
    data = {name: rng.normal(size=40) for name in names}
    luce.Classifier().fit(data, np.where(data[names[0]] > 0, names[0], names[1])).save(tmp_path / "odd.luce")
    with serving([tmp_path / "odd.luce"]) as odd:
        row = dict.fromkeys(names, 0.5)
        reply = odd.predict("odd", [row], explain=True)
        assert reply.status == 200 and reply.headers["content-type"] == "application/json"
        assert [c["name"] for c in odd.get("/v1/models/odd").json["columns"]] == names
        for name in names:
            error = odd.predict("odd", [row | {name: "x"}]).json["error"]
            assert error["where"].startswith("rows[0].") and error["what"].isprintable()


# --- what there is ---------------------------------------------------------------------------------------------------


def test_the_description_is_what_the_form_needs(served: Served, offline: dict[str, luce.Classifier]) -> None:
    assert served.get("/v1").json["models"] == ["orders", "reviews", "bars"]
    every = served.get("/v1/models").json["models"]
    assert every == [served.get(f"/v1/models/{name}").json for name in ("orders", "reviews", "bars")]
    found = every[0]
    assert (found["name"], found["label"], found["model"], found["rows"], found["sets"]) == (
        "orders",
        "label",
        "linear",
        240,
        True,
    )
    assert set(found["held_out"]) == {"rows", "accuracy", "log_loss"}
    columns = {column["name"]: column for column in found["columns"]}
    frame = orders()
    price, count, member, grade, day = (columns[name] for name in ("price", "count", "member", "grade", "day"))
    assert (price["kind"], price["missing"], price["whole"]) == ("number", True, False)
    assert (price["low"], price["high"]) == (frame["price"].min(), frame["price"].max())
    assert (count["missing"], count["whole"], count["low"], count["high"]) == (False, True, 1, 39)
    assert price["low"] <= price["typical"] <= price["high"]
    assert (
        sum(price["histogram"]["shares"]) == pytest.approx(1)
        and len(price["histogram"]["edges"]) == len(price["histogram"]["shares"]) + 1
    )
    assert member == {
        "name": "member",
        "kind": "boolean",
        "missing": False,
        "missing_share": 0.0,
        "typical": bool(frame["member"].mean() >= 0.5),
    }
    for name in ("price", "grade"):
        assert columns[name]["missing_share"] == pytest.approx(frame[name].null_count() / len(frame))
    assert [each["measured"] for each in every] == [True, False, False]
    assert set(found) == set(Description.__struct_fields__)
    shares = dict(frame["grade"].value_counts().rows())
    assert {each["level"]: round(240 * each["share"]) for each in grade["levels"]} == {
        k: n for k, n in shares.items() if k
    }
    assert grade["missing"] and [each["share"] for each in grade["levels"]] == sorted(
        (e["share"] for e in grade["levels"]), reverse=True
    )
    assert day["low"] <= day["typical"] <= day["high"] and not day["missing"]
    image = every[2]["columns"][0]
    assert (image["kind"], image["height"], image["width"], image["channels"], image["ink"]) == (
        "image",
        14,
        14,
        1,
        "light on dark",
    )
    assert every[1]["columns"] == [{"name": "review", "kind": "text", "typical": ""}]


def test_a_number_of_few_values_has_a_bar_a_value(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    row = np.arange(300)
    few, flag, wide = rng.choice([1, 2, 5, 9], 300, p=[0.5, 0.3, 0.15, 0.05]), row % 5 == 0, row % 15
    gone = np.where(row % 10 < 8, np.nan, few)
    data = {"few": few, "flag": flag * 3, "wide": wide, "gone": gone, "free": rng.normal(size=300)}
    luce.Classifier().fit(data, few > 1).save(tmp_path / "few.luce")
    found = {column["name"]: column for column in describe(hosted(str(tmp_path / "few.luce")))["columns"]}
    bars = {name: column["histogram"] for name, column in found.items()}
    for name, values in (("few", [1, 2, 5, 9]), ("flag", [0, 3]), ("wide", [*range(15)])):
        assert bars[name]["values"] == values
    counts = np.unique(few, return_counts=True)[1]
    assert np.allclose(bars["few"]["shares"], counts / 300, atol=1e-6)  # means are of float32 features
    assert np.allclose(bars["flag"]["shares"], [0.8, 0.2], atol=1e-6)
    assert np.allclose(bars["wide"]["shares"], 1 / 15)
    assert len(bars["free"]["edges"]) == len(bars["free"]["shares"]) + 1
    assert found["gone"]["missing_share"] == pytest.approx(0.8) and found["few"]["missing_share"] == 0


def test_an_explained_image_says_where(served: Served, offline: dict[str, luce.Classifier]) -> None:
    images = drawn(2)[0]
    rows = [{"image": "data:image/png;base64," + base64.b64encode(png(image)).decode()} for image in images]
    for row, found in enumerate(served.predict("bars", rows, explain=True).json["explanations"]):
        wanted = offline["bars"].explain(images, row)
        assert found["images"] == [{"column": "image", "cells": [list(line) for line in wanted.images[0].cells]}]
        assert "flip" not in found and found["texts"] == []
    assert served.predict("reviews", [{"review": "good"}], explain=True).json["explanations"][0]["images"] == []


def test_the_typical_row_is_answered(served: Served) -> None:
    """What the form holds at first can be sent as it is."""
    for name in ("orders", "reviews"):
        columns = served.get(f"/v1/models/{name}").json["columns"]
        assert served.predict(name, [{column["name"]: column["typical"] for column in columns}]).status == 200


def test_facts_and_measured_rows(served: Served, offline: dict[str, luce.Classifier]) -> None:
    model = offline["orders"]
    told = served.get("/v1/models/orders/facts").json
    plain = json.loads(json.dumps(facts(model.fitted, None, overview=model.overview())))
    assert {key: told[key] for key in ("overview", "certificate", "schema", "training")} == {
        key: plain[key] for key in ("overview", "certificate", "schema", "training")
    }
    held = model.fitted.facts["held_out"]
    assert (told["measured"]["on"], told["rows"], told["accuracy"]) == ("held out", held["rows"], held["accuracy"])
    assert told["log_loss"] == pytest.approx(held["log_loss"], rel=1e-6)  # probabilities are kept as float32
    assert {"reliability", "per_class", "confusion"} <= set(told)
    assert served.get("/v1/models/reviews/facts").json["rows"] == 0
    found = served.get("/v1/models/orders/measured").json
    measured = model.fitted.measured
    assert measured is not None and found["codes"] == measured.codes.tolist()
    assert np.array_equal(np.array(found["probabilities"], dtype=np.float32), measured.probabilities)
    assert served.get("/v1/models/reviews/measured").status == 404


def test_images_that_told_nothing_are_not_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (80, 8, 8), dtype=np.uint8)
    x = rng.normal(size=80)
    model = luce.Classifier().fit({"picture": noise, "x": x}, np.where(x > 0, "yes", "no"))
    assert not model.fitted.image_sizes
    model.save(tmp_path / "blind.luce")
    wanted = model.predict_proba({"picture": noise[:2], "x": x[:2]})
    with serving([tmp_path / "blind.luce"]) as blind:
        assert [c["name"] for c in blind.get("/v1/models/blind").json["columns"]] == ["x"]
        for extra in ({}, {"picture": "anything"}):
            assert of(blind.predict("blind", [{"x": v, **extra} for v in x[:2].tolist()])).tobytes() == wanted.tobytes()
        odd = blind.predict("blind", [{"x": str(v)} for v in x[:2].tolist()], explain=True)
        assert of(odd).tobytes() == wanted.tobytes()
        table = "x\n" + "".join(f"{v!r}\n" for v in x[:2].tolist())
        assert of(blind.ask("POST", "/v1/models/blind/predict", table, CSV)).tobytes() == wanted.tobytes()


def test_the_page_is_served_and_nothing_beside_it(served: Served) -> None:
    reply = served.get("/")
    assert reply.status == 200 and reply.headers["content-type"] == "text/html; charset=utf-8"
    assert served.get("/static/index.html").body == reply.body
    for name in ("server.py", "../server.py", "__init__.py", "nothing.js"):
        assert served.get(f"/static/{name}").status == 404


def test_a_service_without_a_model_has_the_page() -> None:
    with serving([]) as empty:
        assert empty.get("/").status == 200
        assert empty.get("/v1").json["models"] == [] and empty.get("/v1/models").json == {"models": []}
        assert empty.get("/openapi.json").status == 200


def test_describe_says_what_a_file_without_means_cannot(models: dict[str, Path]) -> None:
    from dataclasses import replace

    one = hosted(str(models["orders"]))
    bare = luce.Classifier()
    bare._fitted = replace(
        one.fitted, means=np.zeros_like(one.fitted.means), encoder=replace(one.fitted.encoder, bases=(), curves=())
    )
    found = describe(Hosted("x", "x.luce", one.stamp, bare))
    json.dumps(found, allow_nan=False)
    assert {c["name"]: c for c in found["columns"]}["price"]["histogram"] is None
