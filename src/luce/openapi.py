"""The description of the service for programs: OpenAPI 3.1, its bodies from the types that read and write them."""

from __future__ import annotations

from typing import Any

import msgspec

from luce.answers import Answer, Error, Query
from luce.oip import InferRequest, InferResponse

_NAME, _FLAG, _COUNT, _NUMBER = ({"type": kind} for kind in ("string", "boolean", "integer", "number"))
_LABEL = {"type": ["string", "integer", "boolean"]}
DESCRIPTION: dict[str, Any] = {
    "name": _NAME, "label": _NAME, "classes": {"type": "array", "items": _LABEL},
    "model": {"enum": ["linear", "network"]}, "rows": _COUNT, "certificate": _NAME,
    "held_out": {
        "type": ["object", "null"],
        "properties": {"rows": _COUNT, "accuracy": _NUMBER, "log_loss": {"type": ["number", "null"]}},
    },
    "sets": _FLAG | {"description": "whether coverage can be asked"},
    "costs": {"type": ["array", "null"], "items": {"type": "array", "items": _NUMBER}},
    "measured": _FLAG | {"description": "whether /v1/models/{name}/measured has rows"},
    "columns": {
        "type": "array",
        "items": {
            "type": "object", "required": ["name", "kind", "typical"],
            "properties": {
                "name": _NAME, "kind": {"enum": ["number", "boolean", "category", "date", "text", "image"]},
                "typical": {}, "missing": _FLAG | {"description": "whether a cell may be missing"},
                "missing_share": {"type": ["number", "null"]},
            },
        },
    },
}  # fmt: skip
_TYPES = [Query, Answer, Error, InferRequest, InferResponse]


def openapi(version: str, models: list[str]) -> dict[str, Any]:
    """The document, with the names of the models in service."""
    refs, parts = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    query, answer, error, infer, inferred = refs
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": models or ["none"]}}
    faults = {
        code: {"description": told, "content": _json(error)}
        for code, told in (
            ("400", "not HTTP or JSON as it is read here"), ("401", "no token, or a wrong one"),
            ("403", "another Host or Origin"), ("404", "no such model"), ("405", "another method"),
            ("413", "too large"), ("415", "another kind of body"), ("422", "the rows do not fit the model"),
            ("431", "a header too large"), ("500", "an error of the service"), ("503", "too much to do, or stopping"),
        )
    }  # fmt: skip
    other = {"4XX": _told("refused", {"type": "object"}), "5XX": _told("failed", {"type": "object"})}
    kinds = _json(query)
    kinds |= {kind: {"schema": {"type": "string"}} for kind in ("text/csv", "text/plain")}
    kinds |= {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/png", "image/jpeg")}
    predicted = {
        "description": "classes and probabilities",
        "content": _json(answer) | {"text/csv": {"schema": {"type": "string"}}},
    }
    files = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("text/csv", "application/zip")}
    file = {"description": "a file", "content": {"application/octet-stream": {}}}
    anything: dict[str, Any] = {"type": "object"}

    def get(told: str, *parameters: Any, schema: dict[str, Any] = anything, also: Any = faults) -> dict[str, Any]:
        return {
            "get": {"summary": told, "parameters": list(parameters), "responses": {"200": _told(told, schema)} | also}
        }

    return {
        "openapi": "3.1.0",
        "info": {
            "title": "luce",
            "version": version,
            "description": "Class probabilities of tables, texts and images.",
        },
        "paths": {
            "/v1": get("what is served"),
            "/v1/models": get("the models"),
            "/v1/models/{name}": get("a model: its classes and columns", name, schema=_all_of(DESCRIPTION)),
            "/v1/models/{name}/facts": get("all that the report shows", name),
            "/v1/models/{name}/measured": get("probabilities of rows held out", name),
            "/v1/models/{name}/predict": {
                "post": {
                    "summary": "classes and probabilities of rows",
                    "parameters": [name],
                    "requestBody": {"required": True, "content": kinds},
                    "responses": {"200": predicted} | faults,
                }
            },
            "/v2": get("the server", also=other),
            "/v2/health/live": get("whether the process lives", also=other),
            "/v2/health/ready": get("whether it answers", also=other),
            "/v2/models/{name}": get("a model's tensors", name, also=other),
            "/v2/models/{name}/ready": get("whether a model answers", name, also=other),
            "/v2/models/{name}/infer": {
                "post": {
                    "summary": "answers by the Open Inference Protocol",
                    "parameters": [name],
                    "requestBody": {"required": True, "content": _json(infer)},
                    "responses": {"200": {"description": "tensors", "content": _json(inferred)}} | other,
                }
            },
            "/v1/train": {
                "post": {
                    "summary": "trains a model on a table or on images",
                    "parameters": [_asked("label"), _asked("name")],
                    "requestBody": {"required": True, "content": files},
                    "responses": {"202": _told("begun", anything)} | faults | {"409": faults["404"]},
                    "security": [{"token": []}],
                }
            },
            "/v1/train/{job}": {
                "get": {
                    "summary": "events of a training as they come",
                    "parameters": [_asked("job", "path")],
                    "responses": {"200": {"description": "events", "content": {"text/event-stream": {}}}} | faults,
                    "security": [{"token": []}],
                }
            },
            "/v1/models/{name}/file": {
                "get": {
                    "summary": "a model that was trained here",
                    "parameters": [name],
                    "responses": {"200": file} | faults,
                    "security": [{"token": []}],
                }
            },
            "/metrics": {
                "get": {
                    "summary": "counters for Prometheus",
                    "responses": {
                        "200": {"description": "counters", "content": {"text/plain": {"schema": {"type": "string"}}}}
                    }
                    | faults,
                }
            },
        },
        "components": {
            "schemas": parts,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _asked(name: str, place: str = "query") -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path" or name == "name", "schema": {"type": "string"}}


def _all_of(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _told(told: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": told, "content": _json(schema)}
