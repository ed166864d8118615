"""The description of the service for programs: OpenAPI 3.1, its bodies from the types that read and write them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from luce.answers import Answer, Error, Query
from luce.oip import InferRequest, InferResponse

Label = str | int | bool
Kind = Literal["number", "boolean", "category", "date", "text", "image", "embedding"]


class About(msgspec.Struct):
    """writable: models can be trained here."""

    luce: str
    models: list[str]
    writable: bool
    languages: list[str]


class Column(msgspec.Struct):
    """By its kind also missing (whether a cell may be), missing_share, low, high, histogram, whole, levels, height,
    width, channels, ink."""

    name: str
    kind: Kind
    typical: Any


class HeldOut(msgspec.Struct):
    rows: int
    accuracy: float
    log_loss: float | None


class Description(msgspec.Struct):
    """sets: a coverage can be asked for; measured: /v1/models/{name}/measured has rows."""

    name: str
    label: str
    classes: list[Label]
    model: Literal["linear", "network"]
    rows: int
    certificate: str
    held_out: HeldOut | None
    sets: bool
    costs: list[list[float]] | None
    measured: bool
    columns: list[Column]


class Descriptions(msgspec.Struct):
    models: list[Description]


class Rows(msgspec.Struct):
    """codes: the place of each row's class among the classes."""

    classes: list[Label]
    codes: list[int]
    probabilities: list[list[float]]


class Begun(msgspec.Struct):
    job: str


class Live(msgspec.Struct):
    live: bool


class Ready(msgspec.Struct):
    ready: bool


class ModelReady(msgspec.Struct):
    name: str
    ready: bool


class ServerMetadata(msgspec.Struct):
    name: str
    version: str
    extensions: list[str]


class TensorMetadata(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class InferError(msgspec.Struct):
    error: str


_FAULTS = {
    "400": "not HTTP or JSON as it is read here", "401": "no token, or a wrong one", "403": "another Host or Origin",
    "404": "no such model", "405": "another method", "408": "it took too long to arrive", "413": "too large",
    "415": "another kind of body", "422": "the rows do not fit the model", "431": "a header too large",
    "500": "an error of the service", "503": "too much to do, or stopping",
}  # fmt: skip
_TYPES: list[Any] = [
    Query, Answer, Error, InferRequest, InferResponse, InferError, About, Description, Descriptions, Rows, Begun, Live,
    Ready, ModelReady, ServerMetadata, ModelMetadata,
]  # fmt: skip


def openapi(version: str, models: list[str]) -> dict[str, Any]:
    """The document, with the names of the models in service."""
    refs, parts = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    at = {of.__name__: ref for of, ref in zip(_TYPES, refs, strict=True)}
    error = at["Error"]
    either = {"anyOf": [at["InferError"], error]}  # a connection that is refused has no path yet
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": models or ["none"]}}
    faults = {code: {"description": told, "content": _json(error)} for code, told in _FAULTS.items()}
    other = {code: {"description": told, "content": _json(either)} for code, told in _FAULTS.items()}
    kinds = _json(at["Query"])
    kinds |= {kind: {"schema": {"type": "string"}} for kind in ("text/csv", "text/plain")}
    kinds |= {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/png", "image/jpeg")}
    predicted = {
        "description": "classes and probabilities",
        "content": _json(at["Answer"]) | {"text/csv": {"schema": {"type": "string"}}},
    }
    files = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("text/csv", "application/zip")}
    file = {"description": "a file", "content": {"application/octet-stream": {}}}
    anything: dict[str, Any] = {"type": "object"}

    def get(told: str, *parameters: Any, schema: dict[str, Any] = anything, also: Any = faults) -> dict[str, Any]:
        return {
            "get": {"summary": told, "parameters": list(parameters), "responses": {"200": _told(told, schema)} | also}
        }

    def unready(schema: dict[str, Any]) -> dict[str, Any]:
        return other | {"503": _told("not ready, or too much to do", {"anyOf": [schema, either]})}

    return {
        "openapi": "3.1.0",
        "info": {
            "title": "luce",
            "version": version,
            "description": "Class probabilities of tables, texts and images.",
        },
        "paths": {
            "/v1": get("what is served", schema=at["About"]),
            "/v1/models": get("the models", schema=at["Descriptions"]),
            "/v1/models/{name}": get("a model: its classes and columns", name, schema=at["Description"]),
            "/v1/models/{name}/facts": get("all that the report shows", name),
            "/v1/models/{name}/measured": get("probabilities of rows held out", name, schema=at["Rows"]),
            "/v1/models/{name}/predict": {
                "post": {
                    "summary": "classes and probabilities of rows",
                    "description": "A cell is a number, a text, true, false or null; an image a text that begins with "
                    "data:image/png;base64, and an embedding a list of numbers.",
                    "parameters": [name],
                    "requestBody": {"required": True, "content": kinds},
                    "responses": {"200": predicted} | faults,
                }
            },
            "/v2": get("the server", schema=at["ServerMetadata"], also=other),
            "/v2/health/live": get("whether the process lives", schema=at["Live"], also=other),
            "/v2/health/ready": get("whether it answers", schema=at["Ready"], also=unready(at["Ready"])),
            "/v2/models/{name}": get("a model's tensors", name, schema=at["ModelMetadata"], also=other),
            "/v2/models/{name}/ready": get(
                "whether a model answers", name, schema=at["ModelReady"], also=unready(at["ModelReady"])
            ),
            "/v2/models/{name}/infer": {
                "post": {
                    "summary": "answers by the Open Inference Protocol",
                    "parameters": [name],
                    "requestBody": {"required": True, "content": _json(at["InferRequest"])},
                    "responses": {"200": {"description": "tensors", "content": _json(at["InferResponse"])}} | other,
                }
            },
            "/v1/train": {
                "post": {
                    "summary": "trains a model on a table or on images",
                    "parameters": [_asked("label"), _asked("name")],
                    "requestBody": {"required": True, "content": files},
                    "responses": {"202": _told("begun", at["Begun"])}
                    | faults
                    | {"409": _told("the name is taken", error)},
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


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _told(told: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": told, "content": _json(schema)}
