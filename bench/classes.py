"""Very many classes: texts of 1,016 and 5,026 classes, beside scikit-learn on what it can finish.

    python bench/classes.py [SET ...] [--rival] [--place FOLDER]

luce: `luce train` on the rows to train on, in a process of its own: seconds, what the certificate says, the peak of its
memory over that of the weights (8 bytes each), and accuracy and log loss on the rows to test. --rival: 100 classes,
drawn with a seed, by luce and by scikit-learn's LogisticRegression on tf-idf (of words and pairs of words, or of
character 1-3-grams; C the best of 1, 3, 10, 30 on a fifth of the rows held out): accuracy and seconds of the same rows.
nsmc_movies has a split of its own; of onet_job_titles a quarter of the rows, drawn with a seed, are to test.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

import luce

DATA = Path(__file__).parents[1].parent / "shared" / "data" / "text"
OUT = Path(__file__).parent / "out"
ANALYSERS = {
    "onet_job_titles": {"ngram_range": (1, 2)},
    "nsmc_movies": {"analyzer": "char", "ngram_range": (1, 3)},
}
SOME = 100  # classes that scikit-learn is given
ROWS_AT_ONCE = 2_000  # are answered


def split(name: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    frame = pl.read_parquet(DATA / f"{name}.parquet").with_columns(pl.col("label").cast(pl.String))
    if "split" in frame.columns:
        test = frame["split"] == "test"
        frame = frame.drop("split")
    else:
        test = pl.Series(np.random.default_rng(0).random(len(frame)) < 0.25)
    return frame.filter(~test), frame.filter(test)


def measured(model: luce.Classifier, test: pl.DataFrame) -> dict[str, float]:
    """Accuracy and log loss on rows of known classes; a row of another counts as a mistake."""
    classes = model.classes_.tolist()
    place = {str(label): k for k, label in enumerate(classes)}
    right, lost, known = 0, 0.0, 0
    for i in range(0, len(test), ROWS_AT_ONCE):
        part = test.slice(i, ROWS_AT_ONCE)
        p = model.predict_proba(part.drop("label"))
        for row, label in enumerate(part["label"].to_list()):
            k = place.get(label)
            if k is not None:
                known += 1
                right += int(p[row].argmax() == k)
                lost -= float(np.log(max(p[row, k], 1e-300)))
    return {"accuracy": right / len(test), "log loss": lost / max(known, 1)}


def whole(name: str, place: Path) -> dict[str, object]:
    train, test = split(name)
    file, out = place / f"{name}.parquet", place / f"{name}.luce"
    train.write_parquet(file)
    command = [sys.executable, "-m", "luce", "train", str(file), "--label", "label", "--out", str(out)]
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{name}: luce train ended with {os.waitstatus_to_exitcode(status)}")
    model = luce.load(out)
    facts = model.fitted.facts
    weights = 8 * model.fitted.encoder.width * len(model.classes_)
    return {
        "rows": len(train), "classes": len(model.classes_), "n-grams": model.fitted.encoder.width, "seconds": seconds,
        "passes": facts["passes"], "relative gap": facts["gap"] / facts["objective"],
        "peak GB": used.ru_maxrss * 1024 / 1e9, "weights GB": weights / 1e9, "file MB": out.stat().st_size / 1e6,
        **measured(model, test),
    }  # fmt: skip


def beside(name: str) -> dict[str, dict[str, float]]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
    from sklearn.pipeline import make_pipeline

    train, test = split(name)
    counts = train.group_by("label").len().sort("label").filter(pl.col("len") > 1)
    some = np.random.default_rng(0).choice(counts["label"].to_numpy(), SOME, replace=False).tolist()
    train, test = (part.filter(pl.col("label").is_in(some)) for part in (train, test))
    start = time.perf_counter()
    model = luce.Classifier().fit(train, "label")
    ours = {"seconds": time.perf_counter() - start, **measured(model, test)}
    rival = make_pipeline(TfidfVectorizer(sublinear_tf=True, **ANALYSERS[name]), LogisticRegression(max_iter=1000))
    grid = {"logisticregression__C": [1.0, 3.0, 10.0, 30.0]}
    search = GridSearchCV(rival, grid, scoring="accuracy", cv=StratifiedShuffleSplit(1, test_size=0.2, random_state=0))
    start = time.perf_counter()
    search.fit(train["text"].to_list(), train["label"].to_list())
    seconds = time.perf_counter() - start
    accuracy = float(search.score(test["text"].to_list(), test["label"].to_list()))
    return {"luce": ours, "scikit-learn": {"seconds": seconds, "one fit": search.refit_time_, "accuracy": accuracy}}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("sets", nargs="*", default=list(ANALYSERS))
    options.add_argument("--rival", action="store_true")
    options.add_argument("--place")
    asked = options.parse_args()
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory(dir=asked.place) as folder:
        for name in asked.sets:
            found[name] = beside(name) if asked.rival else whole(name, Path(folder))
            print(name, json.dumps(found[name], indent=1), flush=True)
    OUT.mkdir(exist_ok=True)
    (OUT / f"classes{'-rival' if asked.rival else ''}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
