"""The Open Inference Protocol and the OpenAPI document: by hand, by a real client where one is installed, by requests
that are made up from the document."""

from __future__ import annotations

import copy
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import orders
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import JSON, Reply, Served, drawn, models, plain_rows, png, served

import luce

__all__ = ["models", "served"]

FRAME = orders(25, seed=5).drop("label").with_columns(day=pl.col("day").cast(pl.String))
ROWS = plain_rows(FRAME)
MANY = 10_000 if os.environ.get("LUCE_LONG") else 60  # requests of each kind that are made up


@pytest.fixture(scope="module")
def wanted(models: dict[str, Path]) -> np.ndarray:
    return luce.load(models["orders"]).predict_proba(FRAME)


def inputs(rows: list[dict[str, Any]] = ROWS) -> list[dict[str, Any]]:
    types = {"price": "FP64", "count": "INT64", "member": "BOOL", "grade": "BYTES", "day": "BYTES"}
    return [
        {"name": name, "datatype": kind, "shape": [len(rows)], "data": [row[name] for row in rows]}
        for name, kind in types.items()
    ]


def infer(served: Served, request: Any, model: str = "orders") -> Reply:
    return served.ask("POST", f"/v2/models/{model}/infer", json.dumps(request), JSON)


def outputs(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply.body
    return {each["name"]: each for each in reply.json["outputs"]}


def test_the_server_and_its_models_tell_of_themselves(served: Served) -> None:
    assert served.get("/v2").json["name"] == "luce"
    assert served.get("/v2/models/orders/ready").json == {"name": "orders", "ready": True}
    found = served.get("/v2/models/orders").json
    assert [each["name"] for each in found["inputs"]] == ["price", "count", "member", "grade", "day"]
    assert [(each["name"], each["shape"]) for each in found["outputs"]] == [
        ("answer", [-1]),
        ("probabilities", [-1, 3]),
    ]
    assert served.get("/v2/models/none").json == {"error": "there is no such model"}


def test_tensors_are_answered_with_the_bits_of_predict(served: Served, wanted: np.ndarray) -> None:
    reply = infer(served, {"id": "42", "inputs": inputs()})
    found = outputs(reply)
    assert reply.json["id"] == "42" and reply.json["model_name"] == "orders"
    assert found["probabilities"]["shape"] == [25, 3]
    assert np.array(found["probabilities"]["data"]).tobytes() == wanted.tobytes()
    assert found["answer"]["data"] == [["gone", "stays", "unsure"][k] for k in wanted.argmax(axis=1)]
    column = [each | {"shape": [25, 1], "data": [[cell] for cell in each["data"]]} for each in inputs()]
    only = infer(served, {"inputs": column, "outputs": [{"name": "probabilities"}]})
    assert list(outputs(only)) == ["probabilities"]
    assert outputs(only)["probabilities"]["data"] == found["probabilities"]["data"]


def binary(request: dict[str, Any]) -> tuple[bytes, int]:
    """The request with its tensors in bytes, and where they begin."""
    request, parts = copy.deepcopy(request), b""
    for tensor in request["inputs"]:
        cells = tensor.pop("data")
        if tensor["datatype"] == "BYTES":
            data = b"".join(struct.pack("<I", len((cell or "").encode())) + (cell or "").encode() for cell in cells)
        else:
            dtype = {"FP64": "<f8", "INT64": "<i8", "BOOL": "?"}[tensor["datatype"]]
            data = np.array([np.nan if cell is None else cell for cell in cells], dtype=dtype).tobytes()
        tensor["parameters"] = {"binary_data_size": len(data)}
        parts += data
    head = json.dumps(request).encode()
    return head + parts, len(head)


def test_binary_tensors_say_the_same(served: Served, wanted: np.ndarray) -> None:
    body, head = binary({"inputs": inputs()})
    extra = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(head)}
    reply = served.ask("POST", "/v2/models/orders/infer", body, extra)
    assert np.array(outputs(reply)["probabilities"]["data"]).tobytes() == wanted.tobytes()
    for wrong in (head + 1, head - 1, 10**9, "x", -1):
        assert served.ask(
            "POST", "/v2/models/orders/infer", body, extra | {"Inference-Header-Content-Length": str(wrong)}
        ).status in (400, 422)
    assert served.ask("POST", "/v2/models/orders/infer", body + b"x", extra).status == 400
    assert served.ask("POST", "/v2/models/orders/infer", body[:-1], extra).status in (400, 422)


def test_pixels_and_encoded_images(served: Served, models: dict[str, Path]) -> None:
    import base64

    images = drawn(3, seed=9)[0]
    name = served.get("/v2/models/bars").json["inputs"][0]["name"]
    p = luce.load(models["bars"]).predict_proba(images).reshape(-1).tolist()
    pixels = {"name": name, "datatype": "UINT8", "shape": [3, 14, 14], "data": images.reshape(-1).tolist()}
    assert outputs(infer(served, {"inputs": [pixels]}, "bars"))["probabilities"]["data"] == p
    urls = ["data:image/png;base64," + base64.b64encode(png(image)).decode() for image in images]
    encoded = {"name": name, "datatype": "BYTES", "shape": [3], "data": urls}
    assert outputs(infer(served, {"inputs": [encoded]}, "bars"))["probabilities"]["data"] == p
    assert infer(served, {"inputs": [pixels | {"shape": [3, 7, 28], "name": name}]}, "bars").status == 422


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"datatype": "BYTES"}, "takes"),
        ({"datatype": "FP128"}, "takes"),
        ({"shape": [24]}, "shape"),
        ({"shape": [25, 2]}, "shape"),
        ({"shape": []}, "rows"),
        ({"shape": [-1]}, "rows"),
        ({"shape": [0]}, "rows"),
        ({"shape": [10**9]}, "rows"),
        ({"shape": ["a"]}, "int"),
        ({"data": [1.0]}, "cells"),
        ({"data": ["a"] * 25}, "no str"),
        ({"data": [True] * 25}, "no bool"),
        ({"data": [[1.0], 2.0] * 12 + [1.0]}, "depths"),
        ({"name": "prize"}, "no column"),
        ({"name": "count"}, "no column"),
        ({"parameters": {"binary_data_size": 8}}, "beyond"),
    ],
)
def test_s10_tensors_that_do_not_fit_are_named(served: Served, change: dict[str, Any], said: str) -> None:
    first, *rest = inputs()
    reply = infer(served, {"inputs": [first | change, *rest]})
    assert 400 <= reply.status < 500
    assert said in reply.json["error"]


def test_requests_of_another_form_are_refused(served: Served) -> None:
    for request in (
        {},
        [],
        {"inputs": []},
        {"inputs": inputs(), "x": 1},
        {"inputs": inputs(), "outputs": [{"name": "logits"}]},
    ):
        reply = infer(served, request)
        assert reply.status in (400, 422) and isinstance(reply.json["error"], str)


def test_a_client_of_triton_is_answered(served: Served, wanted: np.ndarray) -> None:
    """tritonclient[http] as it comes, with binary tensors."""
    from tritonclient import http as client

    with client.InferenceServerClient(f"127.0.0.1:{served.port}") as triton:
        assert triton.is_server_live() and triton.is_server_ready() and triton.is_model_ready("orders")
        assert [each["name"] for each in triton.get_model_metadata("orders")["inputs"]] == FRAME.columns
        for as_bytes in (True, False):
            given = []
            for tensor in inputs():
                kinds = {"FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_, "BYTES": np.object_}
                empty = "" if tensor["datatype"] == "BYTES" else np.nan
                cells = np.array(
                    [empty if cell is None else cell for cell in tensor["data"]], dtype=kinds[tensor["datatype"]]
                )
                if not as_bytes and tensor["datatype"] == "FP64":
                    continue  # its JSON would hold NaN; the column may be missing
                one = client.InferInput(tensor["name"], [len(cells)], tensor["datatype"])
                one.set_data_from_numpy(cells, binary_data=as_bytes)
                given.append(one)
            asked = [
                client.InferRequestedOutput("probabilities"),
                client.InferRequestedOutput("answer", binary_data=False),
            ]
            p = triton.infer("orders", given, outputs=asked).as_numpy("probabilities")
            if as_bytes:
                assert p.tobytes() == wanted.tobytes()
        with pytest.raises(Exception, match="no such model"):
            triton.infer("none", given)


# --- the document ----------------------------------------------------------------------------------------------------


def test_the_document_names_every_route_and_holds_together(served: Served) -> None:
    document = served.get("/openapi.json").json
    routes = {route.path for route in served.server.service.router.routes}
    assert set(document["paths"]) == routes - {"/", "/static/{name}", "/openapi.json"}
    for path in document["paths"]:
        assert document["paths"][path].keys() <= {"get", "post"}
    text = json.dumps(document)
    refs = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert refs == set(document["components"]["schemas"])
    for path, ways in document["paths"].items():
        for method in ways:
            reply = served.ask(
                method.upper(), path.replace("{name}", "orders"), "{}" if method == "post" else None, JSON
            )
            codes = set(ways[method]["responses"])
            assert {str(reply.status), f"{reply.status // 100}XX"} & codes


CELLS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.dates().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
COLUMN_NAMES = st.sampled_from(["price", "count", "member", "grade", "day", "label", "Price", "x", ""]) | st.text(
    max_size=6
)
LIKELY = st.fixed_dictionaries(
    {
        "price": CELLS,
        "count": st.integers(-5, 50) | CELLS,
        "member": st.booleans() | CELLS,
        "grade": CELLS,
        "day": CELLS,
    }
)
QUERIES = st.fixed_dictionaries(
    {"rows": st.lists(LIKELY | st.dictionaries(COLUMN_NAMES, CELLS, max_size=7), max_size=4) | CELLS},
    optional={
        "coverage": CELLS,
        "explain": st.booleans() | CELLS,
        "against": st.sampled_from(["gone", "stays"]) | CELLS,
        "flip": st.booleans() | CELLS,
    },
)
TENSORS = st.fixed_dictionaries(
    {
        "name": COLUMN_NAMES,
        "shape": st.lists(st.integers(-2, 5), max_size=3) | CELLS,
        "datatype": st.sampled_from(["FP64", "BYTES", "BOOL", "INT64", "UINT8", "FP16", "BF16"]) | CELLS,
    },
    optional={
        "data": CELLS | st.lists(CELLS, max_size=5),
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "x"]), CELLS),
    },
)
INFERS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=5) | CELLS}, optional={"id": CELLS, "parameters": CELLS, "outputs": CELLS}
)
some = settings(max_examples=MANY, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def sound(reply: Reply) -> None:
    """An answer as the document has it: JSON without NaN, no error of the service."""
    assert reply.status in (200, 400, 413, 415, 422), reply.body
    found = reply.json
    if reply.status == 200:
        p = found.get("probabilities") or next(o["data"] for o in found["outputs"] if o["name"] == "probabilities")
        assert np.isfinite(np.array(p, dtype=np.float64)).all()
    else:
        assert "error" in found


@some
@given(query=QUERIES)
def test_made_up_queries_are_answered_or_refused(served: Served, query: Any) -> None:
    sound(served.ask("POST", "/v1/models/orders/predict", json.dumps(query), JSON))


@some
@given(request=INFERS, likely=st.booleans(), place=st.integers(0, 4))
def test_made_up_tensors_are_answered_or_refused(served: Served, request: Any, likely: bool, place: int) -> None:
    if likely and isinstance(request["inputs"], list):
        known = inputs(ROWS[:2])
        request["inputs"] = known[:place] + request["inputs"][:1] + known[place + 1 :]
    sound(infer(served, request))


@some
@given(
    text=st.text(max_size=60),
    rows=st.integers(0, 3),
    kind=st.sampled_from(["text/csv", "text/plain", "image/png", "application/json", "a/b"]),
)
def test_made_up_bodies_are_answered_or_refused(served: Served, text: str, rows: int, kind: str) -> None:
    body = FRAME.head(rows).write_csv() + text if rows else text
    data = body.encode("utf-8", "surrogatepass")
    for model in ("orders", "reviews", "bars"):
        sound(served.ask("POST", f"/v1/models/{model}/predict", data, {"Content-Type": kind}))
