"""Training in the service: events, the model that comes of it, who may do it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import orders
from serving import JSON, Reply, Served, drawn, models, plain_rows, png, serving

import luce

__all__ = ["models"]

TOKEN = {"Authorization": "Bearer a-token-of-this-test"}
CSV = {"Content-Type": "text/csv"} | TOKEN


@pytest.fixture(scope="module")
def shop() -> Iterator[Served]:
    with serving([], token="a-token-of-this-test") as found:
        yield found


def events(served: Served, reply: Reply) -> list[tuple[str, Any]]:
    """All that a job says, to its end."""
    assert reply.status == 202, reply.body
    stream = served.ask("GET", f"/v1/train/{reply.json['job']}", None, TOKEN)
    assert stream.headers["content-type"].startswith("text/event-stream")
    parts = [part for part in stream.body.decode().split("\n\n") if part and not part.startswith(":")]
    pairs = [part.split("\n") for part in parts]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


def test_a_table_becomes_a_model_that_is_served_and_can_be_taken_home(shop: Served, tmp_path: Path) -> None:
    table = orders(200).write_csv().encode()
    assert shop.ask("GET", "/v1", None, TOKEN).json["writable"] is True
    found = events(shop, shop.ask("POST", "/v1/train?label=label&name=mine", table, CSV))
    assert [name for name, _ in found][:1] == ["schema"] and found[-1][0] == "done"
    assert {name for name, _ in found} <= {"schema", "progress", "done"}
    assert [c["name"] for c in found[0][1]["columns"]] == ["price", "count", "member", "grade", "day"]
    (tmp_path / "orders.csv").write_bytes(table)
    trained = luce.train(luce.read_file(tmp_path / "orders.csv"), "label")
    trained.classifier.save(tmp_path / "same.luce")
    assert trained.report is not None
    assert found[-1][1]["model"] == "mine" and found[-1][1]["held_out"]["accuracy"] == trained.report.accuracy
    assert shop.ask("GET", "/v1/models/mine/file", None, TOKEN).body == (tmp_path / "same.luce").read_bytes()
    rows = plain_rows(orders(5, seed=5).drop("label"))
    reply = shop.ask("POST", "/v1/models/mine/predict", json.dumps({"rows": rows}), JSON | TOKEN)
    wanted = trained.classifier.predict_proba({name: [row[name] for row in rows] for name in rows[0]})
    assert np.array(reply.json["probabilities"]).tobytes() == wanted.tobytes()
    assert shop.ask("POST", "/v1/train?label=label&name=mine", table, CSV).status == 409
    again = shop.ask("GET", "/v1/models/mine/measured", None, TOKEN)
    assert len(again.json["codes"]) == trained.report.rows


def test_an_archive_of_images_becomes_a_model(shop: Served) -> None:
    images, kinds = drawn(40)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for i, (image, kind) in enumerate(zip(images, kinds, strict=True)):
            archive.writestr(f"{kind}/{i}.png", png(image))
    zipped = {"Content-Type": "application/zip"} | TOKEN
    assert events(shop, shop.ask("POST", "/v1/train?name=bars", data.getvalue(), zipped))[-1][0] == "done"
    found = shop.ask("GET", "/v1/models/bars", None, TOKEN).json
    assert found["classes"] == ["lying", "upright"] and found["columns"][0]["ink"] == "light on dark"


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"a,b\n1,2\n3\n", "text/csv", "field"),
        (b"a,label\n1,x\n2,x\n", "text/csv", "label"),
        (b"a,b\n1,2\n", "text/csv", "no column"),
        (b"no archive", "application/zip", ""),
        (b"\x89PNG\r\n\x1a\n", "text/csv", "PNG"),
    ],
)
def test_what_cannot_be_learnt_from_is_told_in_one_line(shop: Served, body: bytes, kind: str, said: str) -> None:
    reply = shop.ask("POST", "/v1/train?label=label&name=bad", body, {"Content-Type": kind} | TOKEN)
    name, facts = events(shop, reply)[-1]
    assert name == "failed" and said in facts["what"] and facts["what"].isprintable()
    assert "/tmp" not in facts["what"] and "Traceback" not in facts["what"]
    assert "bad" not in shop.ask("GET", "/v1", None, TOKEN).json["models"]


ODD = ["", "?label=x", "?name=..&label=x", "?name=UP&label=x", "?name=a%2fb&label=x", "?name=ok"]


@pytest.mark.parametrize("query", ODD)
def test_names_and_labels_are_needed(shop: Served, query: str) -> None:
    assert shop.ask("POST", f"/v1/train{query}", b"a,b\n1,2\n", CSV).status == 422


def test_only_with_the_token_and_on_this_machine(shop: Served, models: dict[str, Path]) -> None:
    ways = [("POST", "/v1/train?label=label&name=x"), ("GET", "/v1/train/1"), ("GET", "/v1/models/orders/file")]
    for method, path in ways:
        body = b"a,label\n1,2\n" if method == "POST" else None
        assert shop.ask(method, path, body, {"Content-Type": "text/csv"}).status == 401
    assert shop.ask("GET", "/v1/train/1", None, TOKEN).status == 404
    assert shop.ask("GET", "/v1/models/none/file", None, TOKEN).status == 404
    assert shop.ask("POST", "/v1/train?label=a&name=x", b"{}", JSON | TOKEN).status == 415
    with serving([models["orders"]]) as closed:
        assert closed.get("/v1").json["writable"] is False
        assert closed.ask("POST", "/v1/train?label=label&name=x", b"a,label\n", CSV).status == 403
        assert closed.ask("GET", "/v1/models/orders/file", None, TOKEN).status == 403
    with serving([models["orders"]], host="0.0.0.0", token="t") as open_:  # as if open; it is bound to loopback
        headers = {"Authorization": "Bearer t", "Content-Type": "text/csv"}
        assert open_.ask("GET", "/v1", None, headers).json["writable"] is False
        assert open_.ask("POST", "/v1/train?label=label&name=x", b"a,label\n1,2\n", headers).status == 403
