"""The contract of the service: requests made up from its own OpenAPI document, good and bad ones, over a socket of
loopback. No error of the service, and no answer whose status, content type or body the document does not have.

python tests/contract_run.py [REQUESTS] [SEED]; `./dev check` runs it.
"""

from __future__ import annotations

import base64
import copy
import datetime
import http.client
import json
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from commands import orders
from serving import Served, drawn, made, png, serving

import luce

REQUESTS = 10_000
TOKEN = "a-token-of-this-run"
JSON = "application/json"
REFUSED = {400, 401, 403, 404, 405, 408, 413, 415, 431}  # what no route has an own say in
WORDS = [
    "great",
    "awful",
    "정말 좋아요",
    "별로예요",
    "고장났어요",
    "=1+1",
    "<b>",
    "a: b",
    'say "hi"',
    "",
    "\\",
    "é",
    "\u202e",
]
ODD: list[Any] = [
    None, True, False, 0, -1, 1.5, 10**25, 10**350, 1e308, 5e-324, "", "x", "NaN", "nan", "1e999", "2024-02-30",
    "x" * 300, "\x00", "\u202e", "한국", "../../etc/passwd", [], {}, [[]], [1, "a"], {"a": 1}, [[[[1]]]],
]  # fmt: skip
METHODS = ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "POST", "GET"]
PATHS = [
    "/",
    "/static/app.js",
    "/static/none.js",
    "/v1/",
    "/v3",
    "/v1/models/../..",
    "/%2e%2e/x",
    "//",
    "/v1/models/%00",
    "/v2/x",
]
HEADERS: list[dict[str, str]] = [
    {"Host": "evil.example"}, {"Host": "127.0.0.1.evil"}, {"Origin": "http://evil.example"}, {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"}, {"Content-Encoding": "gzip"}, {"Content-Type": "multipart/form-data"},
    {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": ""}, {"Content-Type": "a/b"},
    {"Content-Type": "application/json; charset=latin-1"}, {"Content-Type": "IMAGE/PNG"}, {"Accept": "text/csv"},
    {"Accept": "x"}, {"Expect": "100-continue"}, {"X-Long": "x" * 40_000}, {"Inference-Header-Content-Length": "7"},
    {"Inference-Header-Content-Length": "-1"}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"},
    {"Upgrade": "websocket", "Connection": "Upgrade"}, {"Connection": "close"}, {"Range": "bytes=0-1"},
    {"Cookie": "token=x"}, {"X-Forwarded-For": "10.0.0.1"}, {f"X-{i}": "y" for i in range(120)},
    {"Transfer-Encoding": "x"},
]  # fmt: skip
TOKENS = [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"bearer  {TOKEN}"]


@dataclass
class Made:
    """A request: route is its path in the document, None where it has none; wanted: the status that it must have."""

    method: str
    route: str | None
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    wanted: int | None = None


class Maker:
    """Makes requests from the document and from what the models tell of their columns."""

    def __init__(self, get: Callable[[str], Any], seed: int) -> None:
        self.random = random.Random(seed)
        self.document = get("/openapi.json")
        self.parts = self.document["components"]["schemas"]
        self.models = get("/v1/models")["models"]
        self.tensors = {each["name"]: get(f"/v2/models/{each['name']}") for each in self.models}
        images, _ = drawn(20, seed=1)
        self.pictures = [png(image) for image in images]

    # --- values ---

    def value(self, schema: dict[str, Any], depth: int = 0) -> Any:
        """Some value of a schema, now and then one of another."""
        pick = self.random
        if pick.random() < 0.08 or depth > 6:
            return pick.choice(ODD)
        if "$ref" in schema:
            return self.value(self.parts[schema["$ref"].rsplit("/", 1)[1]], depth)
        if "anyOf" in schema:
            return self.value(pick.choice(schema["anyOf"]), depth)
        kind = schema.get("type")
        kind = pick.choice(kind) if isinstance(kind, list) else kind
        if kind == "object":
            out = {}
            for name, part in schema.get("properties", {}).items():
                if name in schema.get("required", ()) or pick.random() < 0.4:
                    out[name] = self.value(part, depth + 1)
            if schema.get("additionalProperties", True) is not False and pick.random() < 0.5:
                out[pick.choice(["price", "count", "review", "image", "x", ""])] = pick.choice(ODD)
            return out
        if kind == "array":
            return [self.value(schema.get("items", {}), depth + 1) for _ in range(pick.randrange(4))]
        plain: dict[Any, Callable[[], Any]] = {
            "string": lambda: pick.choice([*WORDS, "FP64", "BYTES", "price"]), "integer": lambda: pick.randrange(-3, 9),
            "number": lambda: pick.choice([0.5, 0.95, -1.0, 1e9]), "boolean": lambda: pick.random() < 0.5,
            "null": lambda: None,
        }  # fmt: skip
        return plain[kind]() if kind in plain else pick.choice(ODD)

    def cell(self, column: dict[str, Any]) -> Any:
        """A cell that fits."""
        pick, kind = self.random, column["kind"]
        if column.get("missing") and pick.random() < 0.15:
            return None
        if kind == "number":
            x = pick.uniform(column["low"] - 1, column["high"] + 1)
            return round(x) if column["whole"] else x
        if kind == "boolean":
            return pick.random() < 0.5
        if kind == "category":
            return pick.choice(column["levels"])["level"] if pick.random() < 0.9 else "a level unseen"
        if kind == "date":
            return (datetime.date(2015, 1, 1) + datetime.timedelta(days=pick.randrange(5000))).isoformat()
        if kind == "image":
            return "data:image/png;base64," + base64.b64encode(pick.choice(self.pictures)).decode()
        if kind == "embedding":
            return [pick.gauss(0, 1) for _ in range(column["width"])]
        return " ".join(pick.choices(WORDS, k=3))

    def rows(self, model: dict[str, Any], most: int = 4) -> list[dict[str, Any]]:
        """Rows that fit; a column that may be missing is left out now and then."""
        return [
            {
                c["name"]: cell
                for c in model["columns"]
                if (cell := self.cell(c)) is not None or self.random.random() < 0.8
            }
            for _ in range(self.random.randrange(1, most))
        ]

    def spoilt(self, value: Any) -> Any:
        """The value with one place of it changed."""
        pick, out = self.random, copy.deepcopy(value)
        at: Any = out
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                return out
            key = pick.choice(keys)
            if isinstance(at[key], (dict, list)) and at[key] and pick.random() < 0.75:
                at = at[key]
                continue
            way = pick.randrange(4)
            if way == 0:
                del at[key]
            elif way == 1 and isinstance(at, dict):
                at[pick.choice(["x", "Price", "", "price", "data", "rows"])] = at.pop(key)
            else:
                at[key] = pick.choice(ODD)
            return out

    def cut(self, data: bytes) -> bytes:
        """Bytes with a few of them changed, lost, doubled or cut off."""
        pick, out = self.random, bytearray(data)
        for _ in range(pick.randrange(1, 4)):
            at = pick.randrange(len(out) + 1)
            way = pick.randrange(5)
            if way == 0:
                del out[at:]
            elif way == 1:
                out[at:at] = pick.choice(
                    [b"\xff", b"\x00", b'"', b",", b"\n", b"[" * 40, b"{", b"}", b"1e999", b"NaN", b"\\u"]
                )
            elif way == 2:
                out[at:at] = out[at : at + 20]
            elif at < len(out):
                out[at] = pick.randrange(256)
        return bytes(out)

    # --- requests ---

    def predict(self, model: dict[str, Any], body: bytes, kind: str, wanted: int | None = None) -> Made:
        route = "/v1/models/{name}/predict"
        extra = {"Accept": "text/csv"} if self.random.random() < 0.1 else {}
        return Made("POST", route, f"/v1/models/{model['name']}/predict", body, {"Content-Type": kind} | extra, wanted)

    def query(self) -> Made:
        model = self.random.choice(self.models)
        query: dict[str, Any] = {"rows": self.rows(model)}
        if model["sets"] and self.random.random() < 0.3:
            query["coverage"] = self.random.uniform(0.05, 0.99)
        wanted: int | None = 200
        if self.random.random() < 0.1:
            query |= {"explain": True, "flip": self.random.random() < 0.5}
            if self.random.random() < 0.3:
                query["against"], wanted = model["classes"][0], None  # it may be the answer itself
        text = json.dumps(query, ensure_ascii=self.random.random() < 0.5)
        return self.predict(model, text.encode(), JSON, wanted)

    def bad_query(self) -> Made:
        model = self.random.choice(self.models)
        way = self.random.randrange(3)
        if way == 0:
            return self.predict(model, json.dumps(self.value({"$ref": "#/Query"})).encode(), JSON)
        body = json.dumps({"rows": self.rows(model), "coverage": 0.9}).encode()
        spoilt = json.dumps(self.spoilt(json.loads(body))).encode() if way == 1 else self.cut(body)
        return self.predict(model, spoilt, JSON)

    def table(self) -> Made:
        model = next(m for m in self.models if m["name"] == "orders")
        names = [c["name"] for c in model["columns"]]
        lines = [",".join(names)]
        for _ in range(self.random.randrange(1, 6)):
            row = self.rows(model)[0]
            lines.append(",".join("" if row.get(name) is None else str(row[name]) for name in names))
        body = "\n".join(lines).encode()
        if self.random.random() < 0.5:
            return self.predict(model, body, "text/csv", 200)
        return self.predict(self.random.choice(self.models), self.cut(body), "text/csv")

    def texts(self) -> Made:
        model = next(m for m in self.models if m["name"] == "reviews")
        body = "\n".join(" ".join(self.random.choices(WORDS[:6], k=4)) for _ in range(3)).encode()
        if self.random.random() < 0.5:
            return self.predict(model, body, "text/plain", 200)
        return self.predict(self.random.choice(self.models), self.cut(body), "text/plain; charset=utf-8")

    def picture(self) -> Made:
        model = next(m for m in self.models if m["name"] == "bars")
        body = self.random.choice(self.pictures)
        if self.random.random() < 0.5:
            return self.predict(model, body, "image/png", 200)
        kind = self.random.choice(["image/png", "image/jpeg", "image/x"])
        return self.predict(self.random.choice(self.models), self.cut(body), kind)

    def inference(self) -> tuple[str, dict[str, Any]]:
        """A model and the tensors of rows that fit."""
        model = self.random.choice(self.models)
        rows = [{c["name"]: self.cell({**c, "missing": False}) for c in model["columns"]} for _ in range(2)]
        inputs = []
        for tensor in self.tensors[model["name"]]["inputs"]:
            shape = [2, *tensor["shape"][1:]]
            cells = [row[tensor["name"]] for row in rows]
            inputs.append({"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": cells})
        return model["name"], {"inputs": inputs}

    def infer(self) -> Made:
        name, request = self.inference()
        wanted: int | None = 200
        if self.random.random() < 0.4:
            request, wanted = self.random.choice([self.spoilt(request), self.value({"$ref": "#/InferRequest"})]), None
        headers = {"Content-Type": JSON}
        if wanted and self.random.random() < 0.5:
            body, head = binary(request)
            headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(head)}
        else:
            body = json.dumps(request).encode()
        if self.random.random() < 0.2:
            body, wanted = self.cut(body), None
        return Made("POST", "/v2/models/{name}/infer", f"/v2/models/{name}/infer", body, headers, wanted)

    def get(self) -> Made:
        """Any route of the document, of a model that there is or of none."""
        route = self.random.choice([route for route, ways in self.document["paths"].items() if "get" in ways])
        name = self.random.choice([m["name"] for m in self.models] * 3 + ["none", "..%2f..", "%00", "x" * 300, "a;b"])
        path = route.replace("{name}", name).replace("{job}", self.random.choice(["1", "x", "%ff"]))
        return Made("GET", route, path + self.random.choice(["", "", "", "?x=1", "?token=x", "?%00"]))

    def odd(self) -> Made:
        """A good request with another method, header or path."""
        one = self.random.choice([self.query, self.get, self.infer, self.table])()
        one.wanted, way = None, self.random.randrange(3)
        if way == 0:
            one.method = self.random.choice(METHODS)
            if one.method not in ("POST", "PUT", "PATCH"):
                one.body = None
        elif way == 1:
            one.headers = one.headers | self.random.choice(HEADERS)
        else:
            one.route, one.path = None, self.random.choice(PATHS)
        return one

    def train(self) -> Made:
        table = orders(40).write_csv().encode()
        body = self.random.choice([b"", b"a,label\n1,x\n", self.cut(table), b"PK\x03\x04", self.cut(self.pictures[0])])
        query = self.random.choice(
            ["", "?label=label", "?name=m&label=label", "?name=orders&label=label", "?name=..&label=x"]
        )
        kind = self.random.choice(["text/csv", "application/zip", JSON])
        return Made("POST", "/v1/train", f"/v1/train{query}", body, {"Content-Type": kind})


def binary(request: dict[str, Any]) -> tuple[bytes, int]:
    """The request with its tensors as bytes, and where they begin."""
    request, tail = copy.deepcopy(request), b""
    for tensor in request["inputs"]:
        cells = tensor.pop("data")
        if tensor["datatype"] == "BYTES":
            data = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in cells)
        else:
            data = np.array(cells, dtype={"FP64": "<f8", "FP32": "<f4", "BOOL": "?"}[tensor["datatype"]]).tobytes()
        tensor["parameters"] = {"binary_data_size": len(data)}
        tail += data
    head = json.dumps(request).encode()
    return head + tail, len(head)


class Judge:
    """Holds answers against the document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.known: dict[str, Any] = {}

    def fault(self, made: Made, status: int, kind: str, body: bytes) -> str | None:
        """What the document does not have, or None."""
        if status >= 500 and status != 503:
            return "an error of the service"
        if made.wanted is not None and status != made.wanted:
            return f"{made.wanted} was wanted"
        method = "get" if made.method == "HEAD" else made.method.lower()
        operation = None if made.route is None else self.document["paths"][made.route].get(method)
        if made.method == "get" or (operation is None and status in (200, 404) and made.route is None):
            return None  # the page; and what is no HTTP
        if operation is None:
            if status not in REFUSED:
                return "a way that the document does not have is answered"
            schema: Any = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Error", "InferError")]}
        else:
            found = operation["responses"].get(str(status))
            if found is None:
                return "the status is not in the document"
            if kind not in found["content"]:
                return f"the type {kind!r} is not in the document"
            schema = found["content"][kind].get("schema", {})
        if made.method == "HEAD" or kind != JSON:
            return f"a HEAD has a body of {len(body)} bytes" if made.method == "HEAD" and body else None
        try:
            value = json.loads(body, parse_constant=lambda text: 1 / 0)
        except (ValueError, ZeroDivisionError):
            return "the body is no JSON"
        return next((error.message for error in self.validator(schema).iter_errors(value)), None)

    def validator(self, schema: Any) -> Any:
        key = json.dumps(schema, sort_keys=True)
        if key not in self.known:
            whole = {"components": self.document["components"], "allOf": [schema]}
            jsonschema.Draft202012Validator.check_schema(whole)
            self.known[key] = jsonschema.Draft202012Validator(whole)
        return self.known[key]


class Client:
    """One connection that stays where it can."""

    def __init__(self, served: Served) -> None:
        self.link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)

    def ask(self, made: Made) -> tuple[int, str, bytes]:
        for again in (True, False):
            fresh = self.link.sock is None
            try:
                self.link.request(made.method, made.path, made.body, made.headers)
                found = self.link.getresponse()
                body = found.read()
                return found.status, found.headers.get("Content-Type", "").partition(";")[0], body
            except (http.client.RemoteDisconnected, ConnectionError):
                self.link.close()
                if fresh and not again:
                    raise
        raise AssertionError("a connection that was just made was closed without an answer")


def all_of(maker: Maker, count: int) -> Iterator[tuple[str, Made]]:
    """(service, request): of ten about nine to the open one, the others to the one with a token."""
    pick = maker.random
    ways: list[tuple[Callable[[], Made], int]] = [
        (maker.query, 26), (maker.bad_query, 20), (maker.table, 8), (maker.texts, 6), (maker.picture, 6),
        (maker.infer, 18), (maker.get, 10), (maker.odd, 14),
    ]  # fmt: skip
    makers, weights = [make for make, _ in ways], [weight for _, weight in ways]
    for i in range(count):
        if i % 12:
            yield "open", pick.choices(makers, weights)[0]()
            continue
        one = maker.train() if i % 600 == 0 else pick.choices(makers, weights)[0]()
        token = pick.choice([f"Bearer {TOKEN}", f"Bearer {TOKEN}", *TOKENS])
        if token != f"Bearer {TOKEN}":
            one.wanted = None
        if token is not None and "Authorization" not in one.headers:
            one.headers = one.headers | {"Authorization": token}
        yield "closed", one


def main(count: int = REQUESTS, seed: int = 0) -> None:
    began = time.monotonic()
    seen: Counter[int] = Counter()
    good: set[tuple[str, str]] = set()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        paths = list(made(Path(folder)).values())
        rng = np.random.default_rng(0)
        luce.Classifier(l2=0.1).fit(rng.standard_normal((60, 300)).astype(np.float32), np.arange(60) % 2).save(
            Path(folder) / "probe.luce"
        )
        paths.append(Path(folder) / "probe.luce")
        services = {
            "open": stack.enter_context(serving(paths)),
            "closed": stack.enter_context(serving(paths, token=TOKEN)),
        }
        maker = Maker(lambda path: services["open"].get(path).json, seed)
        judge, clients = Judge(maker.document), {name: Client(served) for name, served in services.items()}
        for name, one in all_of(maker, count):
            status, kind, body = clients[name].ask(one)
            seen[status] += 1
            if status < 300 and one.route is not None:
                good.add((one.method, one.route))
            if (what := judge.fault(one, status, kind, body)) is not None:
                faults.append(f"{what}: {one} -> {status} {kind} {body[:300]!r}")
        faults += [f"in the log: {line}" for served in services.values() for line in served.lines("fault")]
        wanted = {("GET", route) for route, ways in maker.document["paths"].items() if "get" in ways}
        wanted |= {("POST", f"/v{v}/models/{{name}}/{way}") for v, way in ((1, "predict"), (2, "infer"))}
        wanted -= {("GET", "/v1/train/{job}"), ("GET", "/v1/models/{name}/file")}  # of a training that ended well
        for client in clients.values():
            client.link.close()
    for line in faults[:10]:
        print(line[:2000], file=sys.stderr)
    told = ", ".join(f"{status}: {n:,}" for status, n in sorted(seen.items()))
    print(
        f"contract: {count:,} requests in {time.monotonic() - began:.0f} s ({told}), {len(faults)} faults", flush=True
    )
    if count >= REQUESTS and (seen[200] < count / 3 or wanted - good):
        sys.exit(f"too few requests were good: {seen[200]:,}, none of {sorted(wanted - good)}")
    if faults:
        sys.exit("the service does not keep its contract")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
