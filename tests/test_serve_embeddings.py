"""Embeddings in the service: as lists of numbers in JSON, and as tensors; the bits of `predict`."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from serving import JSON, Limits, Served, serving

import luce
from luce.embeddings import Embeddings
from luce.hosting import hosted
from luce.table import Table

WIDTH = 300
RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, WIDTH)).astype(np.float16)
Y = np.array(["cat", "dog", "elk"])[np.arange(90) % 3]
BINARY = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of embeddings alone, and one that reads an age beside them."""
    folder = tmp_path_factory.mktemp("embeddings")
    luce.Classifier(l2=0.1).fit(X, Y).save(folder / "probe.luce")
    table = Table.of(Embeddings.of(X, labels=Y))
    table = replace(table, frame=table.frame.with_columns(pl.Series("age", np.linspace(20, 60, 90) ** 1.1)))
    luce.Classifier(l2=0.1).fit(table, "label").save(folder / "wider.luce")
    return {name: folder / f"{name}.luce" for name in ("probe", "wider")}


@pytest.fixture(scope="module")
def served(files: dict[str, Path]) -> Iterator[Served]:
    with serving(list(files.values()), Limits(rows=50)) as found:
        yield found


def rows_of(x: np.ndarray) -> list[dict[str, Any]]:
    return [{"embedding": row} for row in x.tolist()]


def test_rows_of_numbers_have_the_bits_of_predict(served: Served, files: dict[str, Path]) -> None:
    p = luce.load(files["probe"]).predict_proba(X)
    for part in (slice(0, 1), slice(3, 20)):
        reply = served.predict("probe", rows_of(X[part]), coverage=0.8, explain=True, flip=True)
        assert reply.status == 200, reply.body
        assert np.array(reply.json["probabilities"]).tobytes() == p[part].tobytes()
        first = reply.json["explanations"][0]["contributions"]
        assert [(c["column"], c["value"]) for c in first] == [("embedding", "300 numbers")]
    wide = RNG.standard_normal((4, WIDTH))  # in double precision as they come
    found = np.array(served.predict("probe", rows_of(wide)).json["probabilities"])
    assert found.tobytes() == luce.load(files["probe"]).predict_proba(wide).tobytes()


@pytest.mark.parametrize(("datatype", "dtype"), [("FP16", "<f2"), ("FP32", "<f4"), ("FP64", "<f8")])
def test_tensors_have_the_bits_of_predict(served: Served, files: dict[str, Path], datatype: str, dtype: str) -> None:
    x = X[:5].astype(dtype)
    wanted = luce.load(files["probe"]).predict_proba(x)
    tensor = {"name": "embedding", "shape": [5, WIDTH], "datatype": datatype}
    for data in (x.tolist(), x.reshape(-1).tolist()):
        reply = served.ask("POST", "/v2/models/probe/infer", json.dumps({"inputs": [tensor | {"data": data}]}), JSON)
        assert reply.status == 200, reply.body
        assert np.array(reply.json["outputs"][1]["data"]).tobytes() == wanted.tobytes()
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": x.nbytes}}]}).encode()
    extra = BINARY | {"Inference-Header-Content-Length": str(len(head))}
    reply = served.ask("POST", "/v2/models/probe/infer", head + x.tobytes(), extra)
    assert np.array(reply.json["outputs"][1]["data"]).tobytes() == wanted.tobytes()
    assert served.get("/v2/models/probe").json["inputs"] == [
        {"name": "embedding", "datatype": "FP32", "shape": [-1, WIDTH]}
    ]


def test_columns_beside_them(served: Served, files: dict[str, Path]) -> None:
    rows = [{"age": 30.0 + i} | row for i, row in enumerate(rows_of(X[:3]))]
    reply = served.predict("wider", rows)
    table = Table.of(Embeddings.of(X[:3]))
    table = replace(table, frame=table.frame.with_columns(pl.Series("age", [30.0, 31.0, 32.0])))
    wanted = luce.load(files["wider"]).predict_proba(table)
    assert np.array(reply.json["probabilities"]).tobytes() == wanted.tobytes()
    odd = [row | {"age": str(row["age"])} for row in rows]  # by the rules of tables
    assert np.array(served.predict("wider", odd).json["probabilities"]).tobytes() == wanted.tobytes()


FEW = X[:2].tolist()


@pytest.mark.parametrize(
    ("cells", "where", "said"),
    [
        ([FEW[0], FEW[1][:-1]], "rows[1].embedding", "a list of 300 numbers"),
        ([FEW[0], "cat"], "rows[1].embedding", "a list of 300 numbers"),
        ([None, FEW[0]], "rows[0].embedding", ""),
        ([[None, *FEW[0][1:]]], "rows[0].embedding", "a list of 300 numbers"),
        ([[True, *FEW[0][1:]]], "rows[0].embedding", "a list of 300 numbers"),
        ([[10**350, *FEW[0][1:]]], "rows[0].embedding", "not finite"),
        ([[1e308, *FEW[0][1:]]], "rows[0].embedding", "beyond"),
        ([[[1.0], *FEW[0][1:]]], "rows[0].embedding", "a list of 300 numbers"),
        ([FEW[0]] * 51, "rows", "more than 50"),
    ],
)
def test_s10_cells_that_are_no_embedding_are_named(served: Served, cells: Any, where: str, said: str) -> None:
    reply = served.predict("probe", [{"embedding": cell} for cell in cells])
    assert reply.status == 422, reply.body
    assert reply.json["error"]["where"] == where and said in reply.json["error"]["what"]
    assert served.predict("probe", [{}]).status == 422


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": [2, WIDTH - 1]}, "300 numbers each"),
        ({"shape": [2]}, "300 numbers each"),
        ({"datatype": "INT32"}, "FP16, FP32, FP64"),
        ({"data": [[None] * WIDTH] * 2}, "no missing cells"),
        ({"data": [[1e30] * WIDTH] * 2, "datatype": "FP16"}, "not finite"),
        ({"data": [[10**350] * WIDTH] * 2}, "not finite"),
        ({"data": [[1e308] * WIDTH] * 2, "datatype": "FP64"}, "beyond"),
        ({"name": "other"}, "no column"),
    ],
)
def test_s10_tensors_that_are_no_embeddings_are_named(served: Served, change: dict[str, Any], said: str) -> None:
    tensor = {"name": "embedding", "shape": [2, WIDTH], "datatype": "FP32", "data": FEW}
    reply = served.ask("POST", "/v2/models/probe/infer", json.dumps({"inputs": [tensor | change]}), JSON)
    assert reply.status == 422 and said in reply.json["error"]
    age = {"name": "age", "shape": [1], "datatype": "FP64", "data": [30]}
    reply = served.ask("POST", "/v2/models/wider/infer", json.dumps({"inputs": [age]}), JSON)
    assert reply.status == 422 and "no tensor" in reply.json["error"]
    nan = struct.pack("<e", float("nan")) * WIDTH
    tensor = {"name": "embedding", "shape": [1, WIDTH], "datatype": "FP16"}
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(nan)}}]}).encode()
    extra = BINARY | {"Inference-Header-Content-Length": str(len(head))}
    assert "not finite" in served.ask("POST", "/v2/models/probe/infer", head + nan, extra).json["error"]


def test_other_bodies_are_refused_and_the_model_is_described(served: Served) -> None:
    path = "/v1/models/probe/predict"
    assert served.ask("POST", path, "embedding\n1.0\n", {"Content-Type": "text/csv"}).status == 422
    assert served.ask("POST", path, "1.0 2.0\n", {"Content-Type": "text/plain"}).status == 415
    described = served.get("/v1/models/probe").json["columns"]
    assert described == [{"name": "embedding", "kind": "embedding", "width": WIDTH, "typical": None}]
    assert served.get("/v1/models/probe/facts").status == 200


def test_s25_their_example_rows_are_checked_too(files: dict[str, Path], tmp_path: Path) -> None:
    from luce.container import read_container, write_container

    assert hosted(str(files["probe"])).note == ""
    arrays, facts = read_container(files["probe"])
    weights = arrays["coef"].copy()
    weights[0, 0] += 1e-9  # of weights near 0.1
    write_container(tmp_path / "probe.luce", arrays | {"coef": weights}, facts)
    with pytest.raises(ValueError, match="other probabilities than at its fit"):
        hosted(str(tmp_path / "probe.luce"))
