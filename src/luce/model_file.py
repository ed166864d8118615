"""A fitted classifier as one file of arrays and JSON (docs/model-file.md); never pickle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from luce.container import read_container, write_container
from luce.encoder import Encoder
from luce.errors import ModelFileError, inert
from luce.fitted import Fitted, Label
from luce.table import Schema

KIND = "linear classifier"


def save_fitted(fitted: Fitted, path: str | os.PathLike[str]) -> None:
    """Writes the model beside `path` and renames it into place once it is safely on the disk.

    The same model gives the same bytes. Raises ModelFileError, with an older file left as it was.
    """
    facts = {
        "kind": KIND,
        "luce_version": version("luce"),
        "label": fitted.label,
        "classes": list(fitted.classes),
        "schema": fitted.schema.to_json(),
        "encoder": fitted.encoder.to_json(),
        "training": dict(fitted.facts),
    }
    write_container(path, {"coef": fitted.coef, "intercept": fitted.intercept}, facts)


def load_fitted(path: str | os.PathLike[str]) -> Fitted:
    """The model in a file; raises ModelFileError if that is not a luce model, is damaged, or of a newer format."""
    arrays, facts = read_container(path)
    try:
        return _fitted(arrays, facts)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        detail = str(error) if isinstance(error, ModelFileError) else f"a part is missing or wrong ({error})"
        raise ModelFileError(
            f"{inert(os.fspath(path), 4096)} is not a usable luce model: {inert(detail, 400)}"
        ) from None


def _fitted(arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> Fitted:
    if facts["kind"] != KIND:
        raise ModelFileError(f"it holds a {facts['kind']!r}, which this version of luce does not know")
    classes = _classes(facts["classes"])
    encoder = Encoder.from_json(facts["encoder"])
    coef, intercept = arrays["coef"], arrays["intercept"]
    outputs = 1 if len(classes) == 2 else len(classes)
    if coef.dtype != np.float64 or coef.shape != (outputs, len(encoder.names)):
        raise ModelFileError(
            f"its weights are {coef.dtype} {coef.shape}, its schema needs float64 ({outputs}, {len(encoder.names)})"
        )
    if intercept.dtype != np.float64 or intercept.shape != (outputs,):
        raise ModelFileError(f"its intercepts have shape {intercept.shape}, its classes need ({outputs},)")
    training = facts["training"]
    counts = training["class_counts"]
    if len(counts) != len(classes) or not all(isinstance(c, int) and c >= 0 for c in counts) or sum(counts) < 1:
        raise ModelFileError("its class counts do not belong to its classes")
    if not isinstance(facts["label"], str):
        raise ModelFileError("its label name is no text")
    return Fitted(Schema.from_json(facts["schema"]), encoder, coef, intercept, classes, facts["label"], training)


def _classes(values: Any) -> tuple[Label, ...]:
    if not isinstance(values, list) or len(values) < 2:
        raise ModelFileError("it names fewer than two classes")
    kind = type(values[0])
    if kind not in (str, int, bool) or any(type(v) is not kind for v in values) or len(set(values)) != len(values):
        raise ModelFileError("its classes are not different labels of one kind")
    return tuple(values)
