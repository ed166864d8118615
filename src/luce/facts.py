"""All that a page about a model shows, as one dictionary of plain numbers and texts: what `--json` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce import intervals, metrics
from luce.calibration import to_json as calibration_json
from luce.classifier import Classifier
from luce.decision import best_of
from luce.explain import Explanation, explain
from luce.fitted import Fitted
from luce.heads import Network
from luce.report import MATRIX_CLASSES, Report, confusions, interval_json, to_json, worst
from luce.table import Table

FEW_ROWS = 30  # rows of a class below which its scores are little more than a guess
TENTHS = 10  # of the probability scale, in a reliability diagram
DRAWN_CLASSES = 12  # that have pictures of their own: the worst first
CURVE_POINTS = 200
CONFUSIONS = 20
COVERAGE = 0.95  # of the sets whose promise is told
LISTED_COLUMNS = 20
DRAWN_COLUMNS = 12
DRAWN_PAIRS = 4
NUMBER_POINTS = 60  # of a column's curve
LEVELS = 12
HEAT_CELLS = 10  # a side
HEAT_CLASSES = 3
TEXTS = 4  # that are shown of rows answered right, and of rows answered wrong
TEXTS_TRIED = 40

Floats = NDArray[np.float64]


def facts(
    fitted: Fitted,
    report: Report | None,
    *,
    findings: Mapping[str, Any] | None = None,
    overview: Sequence[Mapping[str, Any]] | None = None,
    texts: Sequence[Mapping[str, Any]] | None = None,
    images: Mapping[str, Any] | None = None,
    source: str = "",
) -> dict[str, Any]:
    """What a model is and how it did, as a dictionary that `json.dumps(..., allow_nan=False)` takes.

    report: of rows that the model was scored on; None where nothing was measured, and then the keys of a report are
    absent and `rows` is 0. It must be of the same classes. findings: of the data, as plain lists and texts.
    overview: what each column adds, the list that `Classifier.overview` gives. texts: rows with their words marked, as
    `text_examples` gives them; images: the facts of `luce.gallery.gallery`; without any there are no such keys. source:
    the name of the data.
    Numbers that are not finite are None. The keys of `luce.report.to_json` keep their place.
    """
    out: dict[str, Any] = {"rows": 0, "classes": list(fitted.classes)}
    if report is not None:
        out |= to_json(report) | _scored(report)
    out |= {
        "measured": _measured(fitted, report, source),
        "by_costs": fitted.costs is not None,
        "overview": _overview(overview or [], len(fitted.classes)),
        "findings": dict(findings) if findings is not None else None,
        "certificate": _certificate(fitted),
        "calibration": calibration_json(fitted.calibration) | {"sentence": fitted.calibration.sentence()},
        "conformal": _conformal(fitted),
        "schema": _schema(fitted),
        "training": _training(fitted),
    }
    if texts:
        out["texts"] = texts
    if images:
        out["images"] = images
    cleaned = plain(out)
    assert isinstance(cleaned, dict)
    return cleaned


def plain(value: Any) -> Any:
    """The value with NumPy's numbers as Python's, tuples as lists, and None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- what was measured -------------------------------------------------------


def _scored(report: Report) -> dict[str, Any]:
    answers = _answers(report)
    found = list(_by_class(report, answers))
    order = sorted(range(len(found)), key=lambda k: _badness(found[k]))
    return {
        "headline": _headline(report, found),
        "class_intervals": found,
        "worst": worst(report)[:CONFUSIONS] if len(found) > MATRIX_CLASSES else [],
        "confusions": [
            {"rows": rows, "true": true, "answer": answer, "share": rows / report.per_class[true].support}
            for rows, true, answer in confusions(report)[:CONFUSIONS]
        ],
        "reliability": _reliability(report, order[:DRAWN_CLASSES]),
        "curves": _curves(report, order, found),
    }


def _answers(report: Report) -> list[Any]:
    """Answers (n,) that agree with the confusion matrix: intervals ask only how many rows of a class got which one."""
    out = np.empty(report.rows, dtype=np.int64)
    for k, counts in enumerate(report.confusion):
        out[report.codes == k] = np.repeat(np.arange(len(counts)), counts)
    return [report.classes[k] for k in out.tolist()]


def _by_class(report: Report, answers: list[Any]) -> Any:
    truth = [report.classes[k] for k in report.codes.tolist()]
    scores = metrics.measure_classes(
        truth, report.probabilities, report.classes, predicted=answers, effect=report.effect
    )
    for row, measured in zip(report.per_class, scores.values(), strict=True):
        each = {name: interval_json(interval) for name, interval in measured.items()}
        yield {"class": row.class_, "support": row.support, "few": row.support < FEW_ROWS, **each}


def _badness(scores: Mapping[str, Any]) -> tuple[bool, float]:
    """Classes by the area under their ROC curve, the smallest first; those that have none come last."""
    value = scores["roc_auc"]["value"]
    return value is None, 0.0 if value is None else value


def _headline(report: Report, by_class: list[dict[str, Any]]) -> dict[str, Any]:
    """How many more rows are right than by always answering the commonest class, and which classes are never found."""
    counts = np.array(report.confusion)
    k = report.classes.index(report.baseline.class_)
    gained = int(np.trace(counts) - counts[k, k])
    lost = int(counts[k].sum() - counts[k, k])
    gain = intervals.matched_difference(gained, lost, report.rows, effect=report.effect)
    verdict = "better" if gain.low > 0 else "worse" if gain.high < 0 else "unsure"
    never = [j for j, row in enumerate(by_class) if row["support"] and not counts[j, j]]
    loss = report.intervals["log_loss"]
    informed = "better" if loss.high < report.baseline.log_loss else "unsure"
    return {"gain": interval_json(gain), "verdict": verdict, "never_found": never, "log_loss_verdict": informed}


def _reliability(report: Report, order: list[int]) -> dict[str, Any]:
    p, effect = report.probabilities, report.effect
    shown = order if p.shape[1] > 2 else [1]
    classes = [{"class": report.classes[k], "bins": _bins(p[:, k], report.codes == k, effect)} for k in shown]
    return {"overall": _bins(p.max(axis=1), p.argmax(axis=1) == report.codes, effect), "classes": classes}


def _bins(p: Floats, hit: NDArray[np.bool_], effect: float) -> list[dict[str, Any]]:
    """The rows by tenths of their probability: how often it came true, the exact interval of that, and the verdict."""
    tenth = np.minimum((p * TENTHS).astype(np.int64), TENTHS - 1)
    rows, hits = np.bincount(tenth, minlength=TENTHS), np.bincount(tenth[hit], minlength=TENTHS)
    low, high = intervals.exact_ends(hits / effect, rows / effect)
    out = []
    for b in np.flatnonzero(rows).tolist():
        mean = math.fsum(p[tenth == b].tolist()) / int(rows[b])
        verdict = "too sure" if mean > high[b] else "too unsure" if mean < low[b] else "fits"
        sizes = {"from": b / TENTHS, "to": (b + 1) / TENTHS, "rows": rows[b], "probability": mean}
        out.append(sizes | {"observed": hits[b] / rows[b], "low": low[b], "high": high[b], "verdict": verdict})
    return out


def _curves(report: Report, order: list[int], by_class: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """ROC and precision-recall curves of the classes that are told apart worst; of two classes those of the second."""
    truth = [report.classes[k] for k in report.codes.tolist()]
    shown = order if len(order) > 2 else [1]
    some = [k for k in shown if 0 < by_class[k]["support"] < report.rows][:DRAWN_CLASSES]
    out = []
    for k in some:
        label = report.classes[k]
        roc = metrics.roc_curve(truth, report.probabilities, report.classes, label)
        pr = metrics.precision_recall_curve(truth, report.probabilities, report.classes, label)
        out.append(
            {
                "class": label,
                "code": k,
                "share": by_class[k]["support"] / report.rows,
                "roc": _thinned(roc.false_positive_rate, roc.true_positive_rate),
                "pr": _precision_recall(pr.recall[::-1], pr.precision[::-1]),
            }
        )
    return out


def _precision_recall(recall: Floats, precision: Floats) -> dict[str, list[float]]:
    """The curve whose steps have the average precision as their area: at each recall the first precision."""
    _, first = np.unique(recall, return_index=True)
    return _thinned(recall[first], precision[first])


def _thinned(x: Floats, y: Floats) -> dict[str, list[float]]:
    """At most CURVE_POINTS points of a curve, evenly along its length, its ends among them."""
    if len(x) > CURVE_POINTS:
        along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        wanted = np.linspace(0.0, along[-1], CURVE_POINTS)
        keep = np.unique(np.minimum(np.searchsorted(along, wanted), len(x) - 1))
        keep[-1] = len(x) - 1
        x, y = x[keep], y[keep]
    return {"x": x.tolist(), "y": y.tolist()}


def _measured(fitted: Fitted, report: Report | None, source: str) -> dict[str, Any]:
    """Where the scored rows come from: held out of the training rows, or given."""
    held = fitted.facts.get("held_out")
    if report is None:
        return {"on": "nothing", "source": source, "command": "", "held_out": held}
    loss = report.log_loss if math.isfinite(report.log_loss) else None
    same = held is not None and (held["rows"], held["accuracy"], held["log_loss"]) == (
        report.rows, report.accuracy, loss,
    )  # fmt: skip
    return {"on": "held out" if same else "rows given", "source": source, "command": "", "held_out": held}


# --- what the model is -------------------------------------------------------


def _certificate(fitted: Fitted) -> dict[str, Any]:
    known = fitted.facts
    gap, objective = known["gap"], known["objective"]
    relative = None if gap is None or not objective else gap / objective
    return {
        "sentence": known["certificate"],
        "objective": objective,
        "gap": gap,
        "relative_gap": relative,
        "parts": 1.0 / relative if relative else None,
        "l2": known["l2"],
        "passes": known["passes"],
        "network": _network(fitted.head, known["epochs"]) if isinstance(fitted.head, Network) else None,
    }


def _network(head: Network, epochs: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    """Its layers, and what the epochs lost: on the rows that taught, as they went, and on those held out."""
    taught, held_out = ([epoch[i] for epoch in epochs] for i in (0, 1))
    return {"units": head.units, "parameters": head.parameters, "taught": taught, "held_out": held_out}


def _conformal(fitted: Fitted) -> dict[str, Any] | None:
    """The promise of the sets at COVERAGE: how many rows it rests on, and the classes that have too few for it."""
    conformal = fitted.conformal
    if conformal is None:
        return None
    return {
        "coverage": COVERAGE,
        "least": math.ceil(COVERAGE / (1.0 - COVERAGE) - 1e-9),
        "rows": int(conformal.counts.sum()),
        "too_few": [{"class": fitted.classes[k], "rows": conformal.counts[k]} for k in conformal.too_few(COVERAGE)],
    }


def _schema(fitted: Fitted) -> dict[str, Any]:
    shares = fitted.missing_shares
    rows = int(fitted.facts["rows"])
    columns = []
    for column in fitted.schema.columns:
        share = shares.get(column.name, 0.0)
        gone = (
            {}
            if column.kind in ("text", "image", "embedding", "left out")
            else {"missing": round(share * rows), "missing_share": share}
        )
        columns.append({"name": column.name, "kind": column.kind, "why": column.why, **gone})
    kinds = [c["kind"] for c in columns]
    return {"columns": columns, "used": len(kinds) - kinds.count("left out"), "left_out": kinds.count("left out")}


def _training(fitted: Fitted) -> dict[str, Any]:
    counts = [int(n) for n in fitted.facts["class_counts"]]
    return {
        "label": fitted.label,
        "rows": fitted.facts["rows"],
        "features": fitted.encoder.width,
        "class_count": len(counts),
        "classes": [
            {"class": label, "rows": n, "share": share, "few": n < FEW_ROWS}
            for label, n, share in zip(fitted.classes, counts, fitted.class_shares.tolist(), strict=True)
        ],
        "other_shares": "shares" in fitted.facts,
        "notes": list(fitted.facts["notes"]),
        "version": _version(),
    }


def _version() -> str:
    from importlib.metadata import version

    return version("luce")


# --- what the columns add ----------------------------------------------------


def _overview(found: Sequence[Mapping[str, Any]], classes: int) -> dict[str, Any]:
    """The strongest columns, the pictures of the first of them, and of each picture the classes that vary most."""
    ranked = sorted(found, key=lambda column: -column["weight"])
    single = [c for c in ranked if c["kind"] != "pair"][:DRAWN_COLUMNS]
    pairs = [c for c in ranked if c["kind"] == "pair"][:DRAWN_PAIRS]
    return {
        "columns": [_entry(c) for c in ranked[:LISTED_COLUMNS]],
        "more": max(0, len(ranked) - LISTED_COLUMNS),
        "numbers": [_curve(c, classes) for c in single if "curve" in c],
        "levels": [_levels(c, classes) for c in single if "levels" in c],
        "pairs": [_heat(c, classes) for c in pairs if "heat" in c],
    }


def _entry(column: Mapping[str, Any]) -> dict[str, Any]:
    entry = {"column": column["column"], "kind": column["kind"], "weight": column["weight"]}
    by_class = sorted(column["by_class"], key=lambda each: -each["weight"])
    return entry | {"by_class": [dict(each) for each in by_class[:HEAT_CLASSES]]}


def _codes(classes: int) -> NDArray[np.int64]:
    """The classes that a column's numbers are of: of two the second alone."""
    return np.array([1]) if classes == 2 else np.arange(classes)


def _widest(y: Floats, most: int) -> NDArray[np.int64]:
    """The places on the last axis of (..., outputs) whose numbers vary most, the widest first."""
    flat = y.reshape(-1, y.shape[-1])
    return np.argsort(-(flat.max(axis=0) - flat.min(axis=0)), kind="stable")[:most]


def _some(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` places among `count`, evenly, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _curve(column: Mapping[str, Any], classes: int) -> dict[str, Any]:
    curve = column["curve"]
    keep = _some(len(curve["x"]), NUMBER_POINTS)
    y = np.asarray(curve["y"], dtype=np.float64)[keep]
    places = _widest(y, DRAWN_CLASSES)
    series = [{"code": int(_codes(classes)[j]), "y": y[:, j].tolist()} for j in places.tolist()]
    x = [curve["x"][i] for i in keep.tolist()]
    return {"column": column["column"], "x": x, "series": series, "least": float(y.min()), "most": float(y.max())}


def _levels(column: Mapping[str, Any], classes: int) -> dict[str, Any]:
    levels = column["levels"]
    y = np.asarray([level["y"] for level in levels], dtype=np.float64).reshape(len(levels), -1)
    rows = np.argsort(-np.abs(y).max(axis=1), kind="stable")[:LEVELS]
    places = _widest(y, DRAWN_CLASSES)
    shown = [
        {"level": levels[i]["level"], "rows": levels[i]["rows"], "y": y[i, places].tolist()} for i in rows.tolist()
    ]
    codes = _codes(classes)[places].tolist()
    more = len(levels) - len(shown) + column.get("more", 0)
    return {"column": column["column"], "codes": codes, "levels": shown, "more": more, "most": float(np.abs(y).max())}


def _heat(column: Mapping[str, Any], classes: int) -> dict[str, Any]:
    heat = column["heat"]
    across, down = _some(len(heat["x"]), HEAT_CELLS), _some(len(heat["y"]), HEAT_CELLS)
    z = np.asarray(heat["z"], dtype=np.float64)[across][:, down]
    maps = [
        {"code": int(_codes(classes)[j]), "z": z[:, :, j].tolist(), "least": z[:, :, j].min(), "most": z[:, :, j].max()}
        for j in _widest(z, HEAT_CLASSES).tolist()
    ]
    ticks = {"x": [heat["x"][i] for i in across.tolist()], "y": [heat["y"][i] for i in down.tolist()]}
    return {"columns": list(column["columns"]), "weight": column["weight"], **ticks, "maps": maps}


# --- texts -------------------------------------------------------------------


def text_examples(
    classifier: Classifier, table: Table, probabilities: Floats, codes: NDArray[np.integer],
    scored: NDArray[np.bool_] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Up to four rows answered right and four answered wrong, the surest of each answer first, with what each word of
    their texts does for the answer, or for the class that it is set against; none for a model without texts.

    probabilities: (n, K) of the rows of the table; codes: (n,) of their labels; scored: (n,) the rows that count.
    """
    fitted = classifier.fitted
    if not fitted.encoder.texts:
        return []
    answers = best_of(probabilities, fitted.costs)
    sure = probabilities[np.arange(len(codes)), answers]
    counted = np.ones(len(codes), dtype=np.bool_) if scored is None else scored
    out: list[dict[str, Any]] = []
    for right in (True, False):
        rows = np.flatnonzero(counted & ((answers == codes) == right))
        found: list[dict[str, Any]] = []
        for row in _in_turn(rows, answers, sure)[:TEXTS_TRIED]:
            each = _text_example(fitted, table, row, probabilities[row], int(answers[row]), int(codes[row]))
            known = [other["texts"] for other in found]
            if each["texts"] and each["texts"] not in known:
                found.append(each)
            if len(found) == TEXTS:
                break
        out += found
    return out


def _in_turn(rows: NDArray[np.int64], answers: NDArray[np.int64], sure: Floats) -> list[int]:
    """The surest row of each answer, then the second of each, and so on."""
    rows = rows[np.argsort(-sure[rows], kind="stable")]
    turn = np.zeros(len(rows), dtype=np.int64)
    for answer in np.unique(answers[rows]):
        own = answers[rows] == answer
        turn[own] = np.arange(int(own.sum()))
    return [int(row) for row in rows[np.argsort(turn, kind="stable")]]


def _text_example(fitted: Fitted, table: Table, row: int, p: Floats, answer: int, true: int) -> dict[str, Any]:
    one = table.take(np.array([row]))
    parsed = fitted.parsed(one)
    other = None if answer == true else true
    found = explain(fitted, one, parsed, fitted.encoder.transform(parsed), p[np.newaxis], answer, other)
    shown = {"row": row + 1, "answer": found.answer, "other": found.other, "right": answer == true}
    return shown | {"probability": found.probabilities[0], "texts": _shown_texts(found)}


def _shown_texts(found: Explanation) -> list[dict[str, Any]]:
    return [
        {"column": text.column, "words": [asdict(piece) for piece in text.shown()]}
        for text in found.texts
        if text.marks
    ]
