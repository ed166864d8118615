"""The page in a browser without a service: its files under the policy that the service sends, and canned answers of
three small models: a table, a text, and images of digits."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import luce

FOLDER = Path(luce.__file__).parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

CLASSES = ["flu", "cold", "healthy"]
HOSTILE = "<img src=x onerror=alert(1)>"

PATIENTS: dict[str, Any] = {
    "name": "patients", "label": "diagnosis", "classes": CLASSES, "model": "linear", "rows": 1200,
    "certificate": "proven", "held_out": {"rows": 240, "accuracy": 0.83, "log_loss": 0.41}, "sets": True, "costs": None,
    "measured": True,
    "columns": [
        {
            "name": "age", "kind": "number", "missing": True, "low": 18, "high": 90, "typical": 44.0, "whole": True,
            "histogram": {"edges": [18, 30, 42, 54, 66, 78, 90], "shares": [0.1, 0.2, 0.3, 0.2, 0.15, 0.05]},
        },
        {
            "name": "temperature", "kind": "number", "missing": False, "low": 35.5, "high": 41.2, "typical": 37.1,
            "whole": False, "histogram": {"edges": [35.5, 36.5, 37.5, 38.5, 41.2], "shares": [0.2, 0.5, 0.2, 0.1]},
        },
        {"name": "cough", "kind": "boolean", "missing": False, "typical": False},
        {
            "name": HOSTILE, "kind": "category", "missing": True, "typical": "Oslo", "levels": [
                {"level": "Oslo", "share": 0.3}, {"level": "Bergen", "share": 0.5}, {"level": "부산", "share": 0.2},
            ],
        },
        {
            "name": "ward", "kind": "category", "missing": True, "typical": None,
            "levels": [{"level": f"ward {k}", "share": 0.1} for k in range(10)],
        },
        {
            "name": "since", "kind": "date", "low": "2015-01-01", "high": "2023-03-01", "typical": "2019-02-03",
            "missing": True,
        },
    ],
}  # fmt: skip
PLAIN: dict[str, Any] = {
    "model": "linear", "rows": 500, "certificate": "", "held_out": None, "sets": False, "measured": False,
}  # fmt: skip
REVIEWS: dict[str, Any] = PLAIN | {
    "name": "reviews", "label": "liked", "classes": [True, False], "costs": [[0, 1], [2, 0]],
    "columns": [{"name": "review", "kind": "text", "typical": ""}],
}  # fmt: skip
DIGITS: dict[str, Any] = PLAIN | {
    "name": "digits", "label": "digit", "classes": list(range(10)), "model": "network", "costs": None, "columns": [{
        "name": "image", "kind": "image", "height": 28, "width": 28, "channels": 1, "ink": "light on dark",
        "typical": None,
    }],
}  # fmt: skip
MODELS = {each["name"]: each for each in (PATIENTS, REVIEWS, DIGITS)}

HEAT = [[0.075 * (i - 1) * j for j in range(4)] for i in range(4)]  # 0.9 in all, most of it at the lower right

Said = tuple[int, str, bytes]


def measured() -> dict[str, Any]:
    """Rows held out: the higher the first probability, the more often it is the first class."""
    shares = [(k + 0.5) / 200 for k in range(200)]
    codes = [0 if (k * 7919) % 200 < 200 * p else 1 + k % 2 for k, p in enumerate(shares)]
    return {"classes": CLASSES, "codes": codes, "probabilities": [[p, (1 - p) * 0.6, (1 - p) * 0.4] for p in shares]}


def shares_of(name: str, row: dict[str, Any]) -> list[float]:
    """The probabilities of a row: softmax of a few logits that move with its cells."""
    z = [0.0] * 7 + [2.0, 0.0, 1.0]
    if name == "patients":
        age = 44 if row["age"] is None else row["age"]
        z = [1.5 * (row["temperature"] - 37.5), 1.4 if row["cough"] else 0.4, 0.8 - 0.02 * (age - 44)]
    elif name == "reviews":
        z = [0.3 * (row["review"].count("good") - row["review"].count("bad")), 0.0]
    powers = [math.exp(each - max(z)) for each in z]
    return [each / sum(powers) for each in powers]


class Canned:
    """What the service says, and what it was asked: `asked` holds (method, path, body, token)."""

    def __init__(self, models: list[str], facts: dict[str, Any], token: str = "") -> None:
        self.models, self.facts, self.token = models, facts, token
        self.asked: list[tuple[str, str, bytes, str]] = []

    def rows(self) -> list[dict[str, Any]]:
        """The rows that were to be predicted, in order."""
        bodies = [body for method, path, body, _ in self.asked if path.endswith("/predict") and body[:1] == b"{"]
        return [json.loads(body)["rows"][0] for body in bodies]

    def answer(self, method: str, path: str, body: bytes, token: str) -> Said:
        self.asked.append((method, path, body, token))
        if self.token and token != f"Bearer {self.token}":
            return _fault(401, "give the token that the service printed", None)
        if path == "/v1":
            return _json({"luce": "0.1.0", "models": self.models, "writable": True, "languages": ["en", "ko"]})
        if path == "/v1/train":
            return _json({"job": "j1"}, 202)
        if path == "/v1/train/j1":
            return 200, "text/event-stream", EVENTS.encode()
        return self._of_model(method, path.removeprefix("/v1/models/").split("/"), body)

    def _of_model(self, method: str, parts: list[str], body: bytes) -> Said:
        match parts:
            case [name] if name in MODELS:
                return _json(MODELS[name])
            case [_, "facts"]:
                return _json(self.facts)
            case [name, "measured"] if MODELS[name]["measured"]:
                return _json(measured())
            case [name, "predict"] if method == "POST":
                picture = body.startswith(b"\x89PNG")
                question = b'{"rows": [{}]}' if picture else body
                return _predicted(name, question) if question[:1] == b"{" else (200, "text/csv", _table(body).encode())
        return _fault(404, "there is no such thing", None)


EVENTS = (
    'event: schema\ndata: {"columns": 3}\n\nevent: progress\ndata: {"pass": 1, "gap": 0.5}\n\n'
    'event: progress\ndata: {"pass": 2, "gap": 0.001}\n\n'
    'event: done\ndata: {"model": "patients", "held_out": {"rows": 240, "accuracy": 0.83, "log_loss": 0.41}}\n\n'
)


def _json(value: Any, status: int = 200) -> Said:
    return status, "application/json", json.dumps(value).encode()


def _fault(status: int, what: str, where: str | None) -> Said:
    return _json({"error": {"status": status, "what": what, "where": where}}, status)


def _predicted(name: str, body: bytes) -> Said:
    question = json.loads(body)
    model, (row,) = MODELS[name], question["rows"]
    if name == "patients" and not 30 <= row["temperature"] <= 45:
        return _fault(422, f"{row['temperature']} is no temperature of a person", "rows[0].temperature")
    p, classes = shares_of(name, row), model["classes"]
    order = sorted(range(len(p)), key=lambda k: -p[k])
    out = {"model": name, "classes": classes, "answers": [classes[order[0]]], "probabilities": [p]}
    if "coverage" in question:
        out["sets"] = [[classes[k] for k in order[:2]]]
    if question.get("explain"):
        other = question.get("against", classes[order[1]])
        out["explanations"] = [_explanation(model, row, classes[order[0]], other, p[order[0]])]
    return _json(out)


def _explanation(model: dict[str, Any], row: dict[str, Any], answer: Any, other: Any, share: float) -> dict[str, Any]:
    names = [column["name"] for column in model["columns"]]
    words = str(row.get("review", "")).split()
    marks = [{"text": f"{word} ", "strength": {"good": 3, "bad": -3}.get(word, 0)} for word in words]
    move = {"column": "temperature", "before": row.get("temperature"), "after": 39.4}
    return {
        "answer": answer, "other": other, "probabilities": [share, 0.1], "difference": 1.25, "base": 0.31,
        "contributions": [{"column": c, "value": row[c], "amount": 0.9 - 0.5 * k} for k, c in enumerate(names)],
        "texts": [{"column": "review", "pieces": marks}] if words else [],
        "images": [{"column": "image", "cells": HEAT}] if "image" in row else [],
        "notes": [],
        "flip": {"sentence": "", "moves": [move], "answer": "flu"} if "temperature" in row else None,
    }  # fmt: skip


def _table(body: bytes) -> str:
    """Rows answered flu, cold, healthy in turn, with probability 0.8."""
    lines = ["prediction," + ",".join(f"p:{each}" for each in CLASSES)]
    for k in range(len(body.decode().strip().splitlines()) - 1):
        lines.append(CLASSES[k % 3] + "," + ",".join("0.8" if j == k % 3 else "0.1" for j in range(3)))
    return "\n".join(lines) + "\n"


@contextmanager
def served(canned: Canned, port: int = 0) -> Iterator[str]:
    """The address of the page, its files and the canned answers, while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.reply(b"")

        def do_POST(self) -> None:
            self.reply(self.rfile.read(int(self.headers["Content-Length"])))

        def reply(self, body: bytes) -> None:
            path = unquote(urlparse(self.path).path)
            file = FOLDER / ("index.html" if path == "/" else path.removeprefix("/static/"))
            if file.is_file() and (path == "/" or path.startswith("/static/")):
                status, kind, said = 200, TYPES[file.suffix], file.read_bytes()
            else:
                status, kind, said = canned.answer(self.command, path, body, self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, value in (
                ("Content-Type", kind),
                ("Content-Length", len(said)),
                ("Content-Security-Policy", POLICY),
            ):
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(said)

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
