"""What a service with three small models would answer to the page: a table, a text, and images of digits."""

from __future__ import annotations

import json
import math
from typing import Any

CLASSES = ["flu", "cold", "healthy"]
HOSTILE = "<img src=x onerror=alert(1)>"

PATIENTS: dict[str, Any] = {
    "name": "patients",
    "label": "diagnosis",
    "classes": CLASSES,
    "model": "linear",
    "rows": 1200,
    "certificate": "proven to lie within 1e-09 of the best possible fit",
    "held_out": {"rows": 240, "accuracy": 0.83, "log_loss": 0.41},
    "sets": True,
    "costs": None,
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
            "name": HOSTILE, "kind": "category", "missing": True, "typical": "Oslo",
            "levels": [{"level": "Oslo", "share": 0.3}, {"level": "Bergen", "share": 0.5}, {"level": "부산", "share": 0.2}],
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
PLAIN: dict[str, Any] = {"model": "linear", "rows": 500, "certificate": "", "held_out": None, "sets": False}
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


def about(models: list[str], writable: bool = False) -> dict[str, Any]:
    return {"luce": "0.1.0", "models": models, "writable": writable, "languages": ["en", "ko"]}


def measured() -> dict[str, Any]:
    """Rows held out: the higher the first probability, the more often it is the first class."""
    rows = [(k + 0.5) / 200 for k in range(200)]
    codes = [0 if (k * 7919) % 200 < 200 * p else 1 + k % 2 for k, p in enumerate(rows)]
    return {"classes": CLASSES, "codes": codes, "probabilities": [[p, (1 - p) * 0.6, (1 - p) * 0.4] for p in rows]}


def _softmax(z: list[float]) -> list[float]:
    powers = [math.exp(each - max(z)) for each in z]
    return [each / sum(powers) for each in powers]


def _logits(name: str, row: dict[str, Any]) -> list[float]:
    if name == "patients":
        heat, age = row["temperature"] - 37.5, 44 if row["age"] is None else row["age"]
        return [1.5 * heat, 0.4 + (1.0 if row["cough"] else 0.0), 0.8 - 0.02 * (age - 44)]
    if name == "reviews":
        return [0.3 * (row["review"].count("good") - row["review"].count("bad")), 0.0]
    return [0.0] * 7 + [2.0, 0.0, 1.0]


def predict(name: str, question: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The status and the answer to POST /v1/models/NAME/predict."""
    model, (row,) = MODELS[name], question["rows"]
    if name == "patients" and not 30 <= row["temperature"] <= 45:
        where = {"status": 422, "what": "temperature: 99 is no temperature of a person", "where": "rows[0].temperature"}
        return 422, {"error": where}
    p = _softmax(_logits(name, row))
    order = sorted(range(len(p)), key=lambda k: -p[k])
    classes = model["classes"]
    out = {"model": name, "classes": classes, "answers": [classes[order[0]]], "probabilities": [p]}
    if "coverage" in question:
        out["sets"] = [[classes[k] for k in order[:2]]]
    if question.get("explain"):
        other = question.get("against", classes[order[1]])
        out["explanations"] = [_explanation(model, row, p, classes[order[0]], other, name)]
    return 200, out


def _explanation(
    model: dict[str, Any], row: dict[str, Any], p: list[float], answer: Any, other: Any, name: str
) -> dict[str, Any]:
    parts = [{"column": c["name"], "value": row[c["name"]], "amount": 0.9 - 0.5 * k} for k, c in enumerate(model["columns"])]
    words = [{"text": each + " ", "strength": {"good": 3, "bad": -3}.get(each, 0)} for each in str(row.get("review", "")).split()]
    move = {"column": "temperature", "before": row.get("temperature"), "after": 39.4}
    return {
        "answer": answer, "other": other, "probabilities": [max(p), 0.1], "difference": 1.25, "base": 0.31,
        "contributions": parts, "texts": [{"column": "review", "pieces": words}] if name == "reviews" else [],
        "flip": {"sentence": "flu if", "moves": [move], "answer": "flu"} if name == "patients" else None,
    }  # fmt: skip


def predicted(text: str) -> str:
    """The answer to rows as CSV: each third row is flu, cold, healthy."""
    lines = ["prediction," + ",".join(f"p:{each}" for each in CLASSES)]
    for k in range(len(text.strip().splitlines()) - 1):
        lines.append(CLASSES[k % 3] + "," + ",".join("0.8" if j == k % 3 else "0.1" for j in range(3)))
    return "\n".join(lines) + "\n"


def answer(method: str, path: str, body: bytes, facts: dict[str, Any] | None, models: list[str]) -> tuple[int, str, bytes]:
    """The status, the type and the body of what the service says to one question below /v1."""
    said: tuple[int, Any] = 404, {"error": {"status": 404, "what": f"nothing is at {path}", "where": None}}
    parts = path.strip("/").split("/")
    if path == "/v1":
        said = 200, about(models, writable=True)
    elif parts[:2] == ["v1", "models"] and len(parts) > 2 and parts[2] in MODELS:
        name, part = parts[2], "".join(parts[3:])
        if part == "":
            said = 200, MODELS[name]
        elif part == "facts" and facts is not None:
            said = 200, facts
        elif part == "measured" and name == "patients":
            said = 200, measured()
        elif part == "predict" and method == "POST" and body.startswith(b"{"):
            said = predict(name, json.loads(body))
        elif part == "predict" and method == "POST":
            return 200, "text/csv", predicted(body.decode()).encode()
    return said[0], "application/json", json.dumps(said[1]).encode()
