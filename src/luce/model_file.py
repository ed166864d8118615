"""A fitted classifier as one file of arrays and JSON (docs/model-file.md); never pickle."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from luce import calibration, check
from luce.choice import KNOWN
from luce.conformal import arrays_of, from_arrays
from luce.container import read_container, write_container
from luce.encoder import Encoder
from luce.errors import ModelFileError, inert
from luce.fitted import Check, Fitted, Label, Measured
from luce.heads import Head, Linear, Network
from luce.schema import Schema

KINDS = {Linear: "linear classifier", Network: "network classifier"}
MIDDLE = 128  # the byte of a weight of 0
TRAINING = {
    "rows", "class_counts", "l2", "objective", "gap", "passes", "certificate", "notes", "held_out", "shares",
    "effects", "epochs", "ink",
}  # fmt: skip
MOST_LAYERS = 100
COLUMNS_AT_ONCE = 1024  # are made bytes


def save_fitted(fitted: Fitted, path: str | os.PathLike[str]) -> None:
    """Writes the model beside `path` and renames it into place once it is safely on the disk.

    The same model gives the same bytes. Raises ModelFileError, with an older file left as it was.
    """
    from importlib.metadata import version  # 20 ms that `import luce` need not wait for

    facts = {
        "kind": KINDS[type(fitted.head)],
        "luce_version": version("luce"),
        "label": fitted.label,
        "classes": list(fitted.classes),
        "schema": fitted.schema.to_json(),
        "encoder": fitted.encoder.to_json(),
        "training": dict(fitted.facts),
    }
    if fitted.calibration.rows:
        facts["calibration"] = calibration.to_json(fitted.calibration)
    if isinstance(fitted.head, Network):
        facts["network"] = {"layers": len(fitted.head.layers), "gelu": fitted.head.gelu}
    arrays: dict[str, Any] = _weights(fitted.head, fitted.encoder) | fitted.encoder.arrays()
    if fitted.means.any():
        arrays["means"] = fitted.means[: _table_columns(fitted.encoder)]
    if fitted.spread is not None:
        arrays["spread"] = fitted.spread
    arrays |= calibration.arrays_of(fitted.calibration)
    if fitted.conformal is not None:
        arrays |= arrays_of(fitted.conformal)
    if fitted.costs is not None:
        arrays["costs"] = fitted.costs
    if fitted.check is not None:
        facts["check"], arrays["check"] = check.to_json(fitted.check), fitted.check.probabilities
    if fitted.measured is not None:
        arrays |= {"measured": fitted.measured.probabilities, "measured_codes": fitted.measured.codes}
    write_container(path, arrays, facts)


def _table_columns(encoder: Encoder) -> int:
    """How many features are no n-grams; those come last."""
    return encoder.width - sum(len(t.buckets) for t in encoder.texts)


def _weights(head: Head, encoder: Encoder) -> dict[str, Any]:
    """Weights of n-grams are kept as float32, or in one byte where they are multiples of a step."""
    if isinstance(head, Network):
        layers = {f"layer_{i}": weights for i, (weights, _) in enumerate(head.layers)}
        biases = {f"bias_{i}": bias for i, (_, bias) in enumerate(head.layers)}
        return layers | biases | {"shift": head.shift, "scale": head.scale}
    found, table = {"intercept": head.intercept}, _table_columns(encoder)
    if not encoder.texts:
        return found | {"coef": head.coef}
    words = head.coef[:, table:]
    if table:
        found["coef"] = np.ascontiguousarray(head.coef[:, :table])
    if head.steps is None:
        return found | {"text_coef": words.astype(np.float32)}
    levels, steps = np.empty(words.shape, dtype=np.uint8), head.steps.astype(np.float64)
    for i in range(0, len(steps), COLUMNS_AT_ONCE):
        some = slice(i, i + COLUMNS_AT_ONCE)
        levels[:, some] = np.rint(words[:, some] / steps[some]) + MIDDLE
    return found | {"text_coef": levels, "text_steps": head.steps}


def _network(arrays: Mapping[str, Any], facts: Mapping[str, Any], columns: int, outputs: int) -> Network:
    if (
        not isinstance(facts["layers"], int)
        or not 1 <= facts["layers"] <= MOST_LAYERS
        or type(facts["gelu"]) is not bool
    ):
        raise ModelFileError("its network is broken")
    layers = tuple((arrays[f"layer_{i}"], arrays[f"bias_{i}"]) for i in range(facts["layers"]))
    units = [columns, *(len(bias) for _, bias in layers)]
    for i, (weights, bias) in enumerate(layers):
        if weights.dtype != np.float32 or bias.dtype != np.float32 or weights.shape != (units[i], *bias.shape):
            raise ModelFileError(f"layer {i} of its network does not belong to the one before it")
    if units[-1] != outputs:
        raise ModelFileError(f"its network has {units[-1]} outputs, its classes need {outputs}")
    shift, scale = arrays["shift"], arrays["scale"]
    if any(numbers.dtype != np.float64 or numbers.shape != (columns,) for numbers in (shift, scale)):
        raise ModelFileError("the scales of its network do not belong to its columns")
    return Network(layers, shift, scale, facts["gelu"])


def _linear(arrays: Mapping[str, Any], encoder: Encoder, outputs: int) -> Linear:
    intercept = arrays["intercept"]
    if intercept.dtype != np.float64 or intercept.shape != (outputs,):
        raise ModelFileError(f"its intercepts have shape {intercept.shape}, its classes need ({outputs},)")
    coef, steps = _weights_of(arrays, encoder, outputs)
    return Linear(coef, intercept, steps)


def _weights_of(arrays: Mapping[str, Any], encoder: Encoder, outputs: int) -> tuple[Any, Any]:
    """The weights that `_weights` wrote, float64 (outputs, features), and the steps of those of n-grams, if any."""
    grams = sum(len(t.buckets) for t in encoder.texts)
    coef = arrays["coef"] if encoder.width > grams else np.empty((outputs, 0))
    if coef.dtype != np.float64 or coef.shape != (outputs, encoder.width - grams):
        needed = f"float64 ({outputs}, {encoder.width - grams})"
        raise ModelFileError(f"its weights are {coef.dtype} {coef.shape}, its schema needs {needed}")
    if not encoder.texts:
        return coef, None
    words, steps = arrays["text_coef"], arrays.get("text_steps")
    if words.shape != (outputs, grams) or words.dtype != (np.float32 if steps is None else np.uint8):
        raise ModelFileError("the weights of its n-grams do not belong to them")
    if steps is None:
        return np.concatenate([coef, words.astype(np.float64)], axis=1), None
    if steps.dtype != np.float32 or steps.shape != (grams,) or not (steps > 0).all() or not np.isfinite(steps).all():
        raise ModelFileError("the steps of its weights are broken")
    weights = (words.astype(np.float64) - MIDDLE) * steps.astype(np.float64)
    return np.concatenate([coef, weights], axis=1), steps


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
    if facts["kind"] not in KINDS.values():
        raise ModelFileError(f"it holds a {facts['kind']!r}, which this version of luce does not know")
    classes = _classes(facts["classes"])
    schema = Schema.from_json(facts["schema"])
    encoder = Encoder.from_json(facts["encoder"], schema, arrays)
    outputs = 1 if len(classes) == 2 else len(classes)
    linear = facts["kind"] == KINDS[Linear]
    head = _linear(arrays, encoder, outputs) if linear else _network(arrays, facts["network"], encoder.width, outputs)
    if not isinstance(facts["label"], str):
        raise ModelFileError("its label name is no text")
    maps = calibration.no_calibration(outputs)
    if "calibration" in facts:
        maps = calibration.from_json(facts["calibration"], outputs, arrays)
    training = _training(facts["training"], classes, linear)
    sets = from_arrays(arrays, len(classes))
    costs = arrays.get("costs")
    if costs is not None:
        size = len(classes)
        if costs.dtype != np.float64 or costs.shape != (size, size) or not (costs >= 0).all():
            raise ModelFileError("its costs do not belong to its classes")
    table = _table_columns(encoder)
    means = arrays.get("means", np.zeros(table))
    if means.dtype != np.float64 or means.shape != (table,):
        raise ModelFileError("its means do not belong to its columns")
    means = np.concatenate([means, np.zeros(encoder.width - table)])
    spread = arrays.get("spread")
    if spread is not None and (spread.dtype != np.float64 or spread.shape != (outputs, len(encoder.sources))):
        raise ModelFileError("its spread does not belong to its columns")
    own = _check(arrays, facts, schema, len(classes)), _measured(arrays, len(classes))
    return Fitted(schema, encoder, head, means, spread, maps, sets, costs, classes, facts["label"], training, *own)


def _check(arrays: Mapping[str, Any], facts: Mapping[str, Any], schema: Schema, classes: int) -> Check | None:
    return check.from_json(facts["check"], schema, arrays["check"], classes) if "check" in facts else None


def _measured(arrays: Mapping[str, Any], classes: int) -> Measured | None:
    if "measured" not in arrays:
        return None
    p, codes = arrays["measured"], arrays["measured_codes"]
    sound = p.dtype == np.float32 and codes.dtype == np.int32 and codes.ndim == 1 and p.shape == (len(codes), classes)
    if not sound or not ((p >= 0) & (p <= 1)).all() or not ((codes >= 0) & (codes < classes)).all():
        raise ModelFileError("its measured rows do not belong to its classes")
    return Measured(p, codes)


def _training(facts: Any, classes: tuple[Label, ...], linear: bool) -> dict[str, Any]:
    """How the fit came about: nothing is computed from it but the class shares, but it is shown."""
    counts, held_out = facts["class_counts"], facts.get("held_out", {})
    if len(counts) != len(classes) or not all(_is_count(c) for c in counts) or sum(counts) != facts["rows"]:
        raise ModelFileError("its class counts do not belong to its classes and rows")
    numbers = [facts["passes"]] + [facts["gap"]] * (facts["gap"] is not None)
    losses = [] if linear else [facts["objective"], *(loss for epoch in facts["epochs"] for loss in epoch)]
    numbers += [facts["l2"], facts["objective"]] if linear else [loss for loss in losses if loss is not None]
    if held_out:
        loss = held_out["log_loss"]
        numbers += [held_out["accuracy"], held_out["rows"], held_out["share"], held_out["seed"]]
        numbers += [loss] * (loss is not None)
    if "shares" in facts:
        shares = facts["shares"]
        if len(shares) != len(classes) or not all(_is_number(s) and s > 0 for s in shares):
            raise ModelFileError("its shares do not belong to its classes")
    for tried in facts.get("effects", []):
        numbers += [tried[name] for name in ("features", "log_loss", "gain", "error")]
        if len(tried) != 5 or tried["effects"] not in KNOWN:
            raise ModelFileError("its effects are broken")
    texts = [facts["certificate"], *facts["notes"]] + [held_out[name] for name in ("by", "column") if name in held_out]
    if not all(_is_number(n) for n in numbers) or not all(isinstance(t, str) and t.isprintable() for t in texts):
        raise ModelFileError("its training facts are broken")
    if not all(ink in (None, "light on dark", "dark on light") for ink in dict(facts.get("ink", {})).values()):
        raise ModelFileError("what its images are drawn with is broken")
    if set(facts) - TRAINING or len(facts["certificate"]) > 1000:
        raise ModelFileError("its training facts hold what this version of luce does not know")
    return dict(facts)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _classes(values: Any) -> tuple[Label, ...]:
    if not isinstance(values, list) or len(values) < 2:
        raise ModelFileError("it names fewer than two classes")
    kind = type(values[0])
    if kind not in (str, int, bool) or any(type(v) is not kind for v in values) or len(set(values)) != len(values):
        raise ModelFileError("its classes are not different labels of one kind")
    if kind is int and not all(-(1 << 63) <= v < 1 << 63 for v in values):
        raise ModelFileError("its classes are beyond 64-bit numbers")
    return tuple(values)
