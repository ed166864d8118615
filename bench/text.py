"""Texts: accuracy, log loss, calibration and time of luce's defaults against fastText, tf-idf and NB-SVM.

    ./dev bench text [TASK ...] [--times]

luce is told the label and nothing else: a Parquet file of raw texts is read, fitted, and saved; its figures are of the
test rows. The rivals' figures and settings, chosen on rows held out, are those of bench/text_rivals.py (run it first).
--times fits the rivals anew, with the settings found, right after luce's runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from text_rivals import load, retimed, saved, scores, tasks

import luce
from luce.intervals import exact_ends

OUT = Path(__file__).parent / "out" / "text.json"
RUNS, LONG = 3, 20.0  # one run where it takes longer, in seconds


def run(train: Path, model: Path) -> tuple[luce.Classifier, float]:
    """One fit from the file of texts to the file of the model, and its seconds."""
    began = time.perf_counter()
    classifier = luce.Classifier().fit(luce.read_file(train), "label")
    classifier.save(model)
    return classifier, time.perf_counter() - began


def of_luce(name: str) -> dict[str, Any]:
    texts, labels, new, truth = load(name)
    with tempfile.TemporaryDirectory() as folder:
        train, model = Path(folder) / "train.parquet", Path(folder) / "model.luce"
        pl.DataFrame({"text": texts, "label": labels}).write_parquet(train)
        seconds = []
        while len(seconds) < RUNS and (not seconds or seconds[0] < LONG):
            classifier, took = run(train, model)
            seconds.append(took)
        megabytes = os.path.getsize(model) / 1e6
    began = time.perf_counter()
    p = classifier.predict_proba(new)
    predicted = time.perf_counter() - began
    found = scores(truth, p, [str(c) for c in classifier.classes_.tolist()])
    fitted = classifier.fitted
    return {
        **found, "rows": len(truth), "fit_seconds": statistics.median(seconds), "runs": seconds,
        "predict_seconds": predicted, "megabytes": megabytes, "l2": fitted.facts["l2"], "gap": fitted.facts["gap"],
        "recipe": fitted.encoder.texts[0].recipe.name, "calibration": fitted.calibration.kind,
    }  # fmt: skip


def of_rivals(name: str, times: bool) -> dict[str, dict[str, Any]]:
    rows = {rival: row for rival, row in saved().get(name, {}).items() if "accuracy" in row}
    if not times:
        return rows
    fast = [r for r in rows if r == "fasttext_tuned"]
    others = [r for r in rows if not r.startswith("fasttext")]
    best = sorted(others, key=lambda r: -float(rows[r].get("held_out_accuracy", 0)))[:1]
    return {r: retimed(name, r, row) if r in fast + best else row for r, row in rows.items()}


def line(name: str, own: dict[str, Any], rivals: dict[str, dict[str, Any]]) -> str:
    ends = exact_ends(np.array([round(own["accuracy"] * own["rows"])]), np.array([own["rows"]]))
    low, high = (float(end[0]) for end in ends)
    said = f"| {name} | {100 * own['accuracy']:.2f} ({100 * low:.1f}-{100 * high:.1f}) | {own['log_loss']:.4f} "
    said += f"| {own['classwise_ece']:.4f} | {own['fit_seconds']:.2f} | {own['megabytes']:.1f} "
    if not rivals:
        return said + "| - | - | - | - |"
    best = max(rivals, key=lambda r: rivals[r]["accuracy"])
    losses = [min(row["log_loss"], row.get("calibrated", row)["log_loss"]) for row in rivals.values()]
    fast = rivals.get("fasttext_tuned", {}).get("fit_seconds", float("nan"))
    sklearn = [row["fit_seconds"] for r, row in rivals.items() if not r.startswith("fasttext")]
    said += f"| {100 * rivals[best]['accuracy']:.2f} {best} | {min(losses):.4f} | {fast:.2f} "
    return said + f"| {min(sklearn, default=float('nan')):.2f}-{max(sklearn, default=float('nan')):.2f} |"


HEAD = (
    "| set | luce % (95 %) | log loss | ECE | s | MB | best rival % | least log loss of a rival | fastText tuned s "
    "| tf-idf, NB-SVM s |\n|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="*")
    parser.add_argument("--times", action="store_true", help="time the rivals anew")
    asked = parser.parse_args()
    found = json.loads(OUT.read_text()) if OUT.exists() else {}
    print(HEAD)
    for name in asked.task or tasks():
        own, rivals = of_luce(name), of_rivals(name, asked.times)
        found[name] = {"luce": own, "rivals": rivals}
        OUT.write_text(json.dumps(found, indent=1, default=lambda value: np.asarray(value).tolist()))
        print(line(name, own, rivals), flush=True)


if __name__ == "__main__":
    main()
