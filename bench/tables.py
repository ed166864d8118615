"""Every table under ../shared/data/tables: luce against a scikit-learn pipeline on the same rows.

    ./dev bench tables [--only NAME,NAME] [--repeat 5] [--skip-rival]

Both read the Parquet file and are told nothing but the label. Like for like: luce.Classifier(l2=None, effects="linear")
has the same strength of penalty, 1/n, and the same columns; bench/accuracy.py compares the defaults. The pipeline is
median imputation + standardisation for numbers, one-hot for the rest, LogisticRegression at its defaults with
max_iter=1000. Held out: 20 % of the rows, stratified, the same rows for both. `fit` is everything from the frame in
memory to the fitted model; reading is apart.
Times are medians of --repeat interleaved runs (fewer where a run takes long); both use all processors. A pause before
each run lets the other's threads go to sleep: those of OpenBLAS spin for some 100 ms after their work is done.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np

import luce
from luce.labels import labels
from luce.metrics import accuracy, log_loss
from luce.splits import holdout
from luce.table import Table

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
OUT = Path(__file__).resolve().parent / "out"
LONG = 10.0  # seconds: a run that takes longer is not repeated
PAUSE = 0.3  # seconds


def tables(only: str | None) -> dict[str, str]:
    with open(DATA / "manifest.json", encoding="utf8") as file:
        manifest = json.load(file)
    found = {k: v["label"] for k, v in manifest.items() if k.startswith("tables/")}
    wanted = set(only.split(",")) if only else None
    return {k: v for k, v in found.items() if wanted is None or Path(k).stem in wanted}


class Luce:
    name = "luce"

    def read(self, path: Path) -> Table:
        return Table.of(luce.read_file(path))

    def prepare(self, table: Table, label: str, train: np.ndarray, test: np.ndarray) -> None:
        self.train, self.test, self.label = table.frame[train], table.frame[test].drop(label), label

    def fit(self) -> None:
        self.model = luce.Classifier(l2=None, effects="linear").fit(self.train, self.label)

    def probabilities(self) -> tuple[np.ndarray, list]:
        return self.model.predict_proba(self.test), self.model.classes_.tolist()

    def facts(self) -> dict:
        f = self.model.fitted.facts
        return {
            "gap": f["gap"] / f["objective"],
            "passes": f["passes"],
            "features": len(self.model.fitted.encoder.names),
        }


class Pipeline:
    name = "scikit-learn"

    def read(self, path: Path):
        import pandas as pd

        return pd.read_parquet(path)

    def prepare(self, frame, label: str, train: np.ndarray, test: np.ndarray) -> None:
        y = frame[label].to_numpy()
        x = frame.drop(columns=label)
        self.numbers = [c for c in x.columns if x[c].dtype.kind in "biuf" and x[c].notna().any()]
        self.others = [c for c in x.columns if x[c].dtype.kind not in "biuf"]
        x = x.astype(dict.fromkeys(self.others, object))
        self.train, self.test, self.y = x.iloc[train], x.iloc[test], y[train]

    def encoder(self, dense: bool = False):
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        return ColumnTransformer(
            [
                ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), self.numbers),
                ("others", OneHotEncoder(handle_unknown="ignore", sparse_output=not dense), self.others),
            ],
            sparse_threshold=0.0 if dense else 0.3,
        )

    def fit(self) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        self.model = make_pipeline(self.encoder(), LogisticRegression(max_iter=1000))
        self.model.fit(self.train, self.y)

    def probabilities(self) -> tuple[np.ndarray, list]:
        return self.model.predict_proba(self.test), self.model.classes_.tolist()

    def facts(self) -> dict:
        return {"iterations": int(self.model[-1].n_iter_.max())}


def timed(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def spelled(label: object) -> str:
    """One spelling for a label that one side read as 1 and the other as 1.0 or "1 "."""
    return str(int(label)) if isinstance(label, float) else str(label).strip()


def measure(path: Path, label: str, rivals: list, repeat: int) -> dict:
    first = Luce().read(path)
    target = labels(first, label)
    train, test = holdout(target.codes, 0.2, 0)
    truth = np.array(target.classes)[target.codes[test]].tolist()
    times: dict[str, list[float]] = {r.name: [] for r in rivals}
    row: dict = {"table": path.stem, "rows": first.rows, "classes": len(target.classes)}
    for rival in rivals:
        data = None

        def load(rival=rival) -> None:
            nonlocal data
            data = rival.read(path)

        row[rival.name] = {"read": timed(load)}
        rival.prepare(data, label, train, test)
    for _ in range(repeat):
        for rival in rivals:
            if not times[rival.name] or times[rival.name][-1] < LONG:
                time.sleep(PAUSE)
                times[rival.name].append(timed(rival.fit))
    for rival in rivals:
        p, classes = rival.probabilities()
        names, own = [spelled(c) for c in classes], [spelled(t) for t in truth]
        predicted = [names[k] for k in p.argmax(axis=1)]
        floor = np.maximum(p, 1e-15)  # a class with probability 0 costs 34.5 nats here, for both
        floor /= floor.sum(axis=1, keepdims=True)
        row[rival.name] |= {
            "fit": statistics.median(times[rival.name]), "runs": len(times[rival.name]),
            "spread": max(times[rival.name]) / min(times[rival.name]),
            "accuracy": accuracy(own, predicted), "log_loss": log_loss(own, floor, names), **rival.facts(),
        }  # fmt: skip
    return row


def line(row: dict) -> str:
    a, b = row["luce"], row.get("scikit-learn")
    text = f"{row['table']:26s} {row['rows']:>7,} {row['classes']:>3}"
    text += f"  {a['accuracy']:.4f} {a['log_loss']:.4f} {a['fit']:8.3f}s"
    if b is None:
        return text
    return text + f"   {b['accuracy']:.4f} {b['log_loss']:.4f} {b['fit']:8.3f}s   {b['fit'] / a['fit']:7.1f}x"


def summary(rows: list[dict]) -> dict:
    both = [r for r in rows if "scikit-learn" in r]
    if not both:
        return {"mean log loss, luce": statistics.fmean(r["luce"]["log_loss"] for r in rows)}
    ratio = [r["scikit-learn"]["fit"] / r["luce"]["fit"] for r in both]
    near = [r["luce"]["accuracy"] >= r["scikit-learn"]["accuracy"] - 0.01 for r in both]
    return {
        "tables": len(both),
        "mean log loss, luce": statistics.fmean(r["luce"]["log_loss"] for r in both),
        "mean log loss, scikit-learn": statistics.fmean(r["scikit-learn"]["log_loss"] for r in both),
        "accuracy within 1 point or better": sum(near) / len(near),
        "fit, times faster (geometric mean)": statistics.geometric_mean(ratio),
        "fit, times faster (least)": min(ratio),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of tables, separated by commas")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--skip-rival", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if not DATA.is_dir():
        sys.exit(f"the real data sets are not here: {DATA}")
    rows = []
    print(f"{'table':26s} {'rows':>7} {'K':>3}  {'luce: accuracy, loss, fit':25s}   {'scikit-learn':25s}  faster")
    for key, label in tables(asked.only).items():
        rivals = [Luce()] if asked.skip_rival else [Luce(), Pipeline()]
        rows.append(measure(DATA / key, label, rivals, asked.repeat))
        print(line(rows[-1]), flush=True)
    result = summary(rows)
    for name, value in result.items():
        print(f"{name}: {value:.4g}")
    OUT.mkdir(exist_ok=True)
    with open(OUT / "tables.json", "w", encoding="utf8") as file:
        json.dump({"summary": result, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
