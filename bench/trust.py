"""Whether luce keeps what it promises: sets, wrong labels, calibrated probabilities, and what all that costs in time.

    ./dev bench trust [--part coverage,labels,calibration,time] [--splits 1] [--only TABLE,TABLE] [--repeat 5]

The tables of ../shared/data/tables of at most 50,000 rows. A split halves a table, stratified; each half is learnt from
and measured on the other. One thread, but for the times.

coverage: Classifier.predict_set at 90 and 95 %. How many of a class's m rows are covered has an exact law, if n scores
of rows alike settled the threshold: beta-binomial, m draws of a share that is Beta(r, n + 1 - r), r = ceil((n + 1) c).
A class is below, inside or above its central 99 %; above is no fault, as the most probable class is in every set and
aps has equal scores. Beside it MAPIE's CrossConformalClassifier of a LogisticRegression (five folds; aps of more than
two classes only), whose promise is for all rows together and not for each class, and whose sets may be empty.
labels: 5 % of the labels of ten tables are changed at random. Of the rows in the order of suspicion, how many of the
changed are among the first 10 %: by luce's doctor; by cleanlab's scores of the same probabilities (Classifier.held_out;
its default is the probability of the given label); by its CleanLearning at its defaults, with probabilities of its own.
calibration: luce.metrics.classwise_ece, debiased, of luce, luce uncalibrated, LightGBM and GaussianNB. The error of a
difference is the standard deviation over 100 draws of the test rows, the same rows for both.
time: `luce train` on adult_census as a whole and in parts, beside the plain certified fit.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from accuracy import by_size, listed
from models import MODELS, Half, fit_luce, floored, folds, luce_probabilities
from tables import DATA, OUT, Pipeline, spelled, timed

import luce
from luce.calibration import no_calibration
from luce.encoder import Encoder
from luce.labels import labels
from luce.linear import fit_linear
from luce.metrics import classwise_ece, difference
from luce.schema import infer_schema, parse
from luce.splits import holdout
from luce.table import Table

COVERAGES = (0.9, 0.95)
METHODS = ("lac", "aps")
CHANCE = 0.01  # outside the interval of a coverage, both sides
ENOUGH = 50  # test rows of a class whose share is worth telling
FLIPPED = 0.05
READ = 0.1  # of the list of suspects
MISTAKEN = (
    "breast_cancer_wisconsin", "cardiotocography", "congress_vote", "dermatology", "dry_bean", "kr_vs_kp", "mushroom",
    "optdigits", "segment", "spambase",
)  # fmt: skip
DRAWS = 100
FILE = OUT / "trust.json"


def halves(names: dict[str, str], splits: int) -> list[tuple[str, str, int, bool]]:
    return [(n, names[n], seed, turned) for n in names for seed in range(splits) for turned in (False, True)]


def mean(values: Any) -> float:
    return statistics.fmean(values) if len(values := list(values)) else math.nan


# --- coverage --------------------------------------------------------------------------------------------------------


def bounds(n: int, rows: int, coverage: float) -> tuple[int, int] | None:
    """How many of a class's rows are covered, but for CHANCE, by n scores; None where n promise nothing. Of over 1,000
    scores every few are kept, and the next larger one counts."""
    r = math.ceil((n + 1) * coverage - 1e-9)
    if r > n:
        return None
    later = min(n, r + (math.ceil((n - 1) / 999) if n > 1000 else 0))
    least = scipy.stats.betabinom(rows, r, n + 1 - r).ppf(CHANCE / 2)
    return int(least), int(scipy.stats.betabinom(rows, later, n + 1 - later).isf(CHANCE / 2))


def of_classes(sets: np.ndarray, half: Half) -> list[tuple[int, int]]:
    """For each class its rows and how many of them are covered."""
    own = sets[np.arange(len(half.truth)), half.truth]
    return [(int((half.truth == k).sum()), int(own[half.truth == k].sum())) for k in range(len(half.classes))]


def facts_of(sets: np.ndarray, half: Half) -> dict[str, Any]:
    counted = of_classes(sets, half)
    shares = [hit / rows for rows, hit in counted if rows >= ENOUGH]
    return {
        "size": float(sets.sum(axis=1).mean()),
        "covered": sum(hit for _, hit in counted) / len(half.truth),
        "least": min(shares, default=math.nan),
    }


def luce_sets(half: Half) -> dict[str, dict]:
    model, out = fit_luce(half), {}
    if model.fitted.conformal is None:
        return {}
    p = luce_probabilities(half, model)
    names = [spelled(c) for c in model.classes_.tolist()]
    order = [names.index(spelled(c)) for c in half.classes]
    counts, q = model.fitted.conformal.counts, np.empty_like(p)
    q[:, order] = p
    for coverage in COVERAGES:
        for method in METHODS:
            sets = model.sets_of(q, coverage, method)[:, order]
            where: dict[str, list[str]] = {"below": [], "inside": [], "above": [], "too few": []}
            for k, (rows, hit) in enumerate(of_classes(sets, half)):
                least_most = bounds(int(counts[order[k]]), rows, coverage) if rows else None
                if least_most is None:
                    place = "too few"
                else:
                    place = "below" if hit < least_most[0] else "above" if hit > least_most[1] else "inside"
                where[place].append(f"{half.classes[k]} {hit}/{rows}")
            out[f"{method} {coverage:g}"] = facts_of(sets, half) | {"where": where}
    return out


def mapie_sets(half: Half) -> dict[str, dict]:
    from mapie.classification import CrossConformalClassifier
    from sklearn.linear_model import LogisticRegression

    encoder, out = half.pipeline.encoder(dense=True), {}
    x = encoder.fit_transform(half.pipeline.train)
    for method in METHODS[: 1 if len(half.classes) == 2 else 2]:
        last = LogisticRegression(max_iter=1000)
        model = CrossConformalClassifier(last, COVERAGES, conformity_score=method, cv=folds(), random_state=0)
        model.fit_conformalize(x, half.y)
        sets = model.predict_set(encoder.transform(half.pipeline.test))[1]
        for place, coverage in enumerate(COVERAGES):
            out[f"{method} {coverage:g}"] = facts_of(sets[:, :, place], half)
    return out


def coverage(names: dict[str, str], splits: int) -> dict[str, Any]:
    rows: list[dict] = []
    print(f"{'table':26s} {'':3s} {'lac 90 %: classes below/inside/above/too few':46s} size   MAPIE: size, least class")
    for name, label, seed, turned in halves(names, splits):
        half = Half.of(name, label, seed, turned)
        row: dict[str, Any] = {"table": name, "half": f"{seed}{'ab'[turned]}", "luce": luce_sets(half)}
        try:
            row["MAPIE"] = mapie_sets(half)
        except Exception as error:
            row |= {"MAPIE": {}, "MAPIE failed": f"{type(error).__name__}: {error}".splitlines()[0][:120]}
        rows.append(row)
        text = f"{name:26s} {row['half']:3s} "
        if one := row["luce"].get("lac 0.9"):
            placed = "/".join(str(len(v)) for v in one["where"].values())
            text += f"{placed:14s} least class {one['least']:.3f}  all {one['covered']:.3f}  {one['size']:6.2f}"
        else:
            text += "no sets: a class has no row to hold out"
        other = row["MAPIE"].get("lac 0.9")
        text += f"   {other['size']:6.2f} {other['least']:.3f}" if other else f"   {row['MAPIE failed']}"
        print(text, flush=True)
    return {"summary": summary_of_sets(rows), "rows": rows}


def summary_of_sets(rows: list[dict]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    print(
        f"\nclasses of all halves; sizes and the least class (of {ENOUGH} test rows or more) as means over the halves"
    )
    print("where both have sets and no class of luce's has too few rows\n")
    head = f"{'':10s}{'below':>7s}{'inside':>8s}{'above':>7s}{'too few':>9s}{'halves':>8s}"
    print(head + f"{'size':>8s}{'MAPIE':>8s}{'covered':>9s}{'MAPIE':>8s}{'least':>8s}{'MAPIE':>8s}")
    for key in [f"{m} {c:g}" for m in METHODS for c in COVERAGES]:
        each = [row["luce"][key]["where"] for row in rows if key in row["luce"]]
        counted = {place: sum(len(w[place]) for w in each) for place in ("below", "inside", "above", "too few")}
        both = [
            (row["luce"][key], row["MAPIE"][key])
            for row in rows
            if key in row["luce"] and key in row["MAPIE"] and not row["luce"][key]["where"]["too few"]
        ]
        line: dict[str, Any] = counted | {"halves": len(both)}
        for field in ("size", "covered", "least"):
            kept = [(a[field], b[field]) for a, b in both if not math.isnan(a[field] + b[field])]
            line |= {field: mean(a for a, _ in kept), f"MAPIE {field}": mean(b for _, b in kept)}
        out[key] = line
        text = f"{key:10s}{line['below']:7}{line['inside']:8}{line['above']:7}{line['too few']:9}{line['halves']:8}"
        text += f"{line['size']:8.3f}{line['MAPIE size']:8.3f}{line['covered']:9.4f}{line['MAPIE covered']:8.4f}"
        print(text + f"{line['least']:8.3f}{line['MAPIE least']:8.3f}")
        for row in rows:
            if below := row["luce"].get(key, {}).get("where", {}).get("below"):
                print(f"           below: {row['table']} {row['half']}: {', '.join(below)}")
    return out


# --- wrong labels ----------------------------------------------------------------------------------------------------


def flipped(codes: np.ndarray, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of which FLIPPED are another class, drawn evenly; and which rows these are."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(codes), round(FLIPPED * len(codes)), replace=False)
    out, wrong = codes.copy(), np.zeros(len(codes), dtype=bool)
    out[rows] = (codes[rows] + rng.integers(1, classes, len(rows))) % classes
    wrong[rows] = True
    return out, wrong


def found(ranking: np.ndarray, wrong: np.ndarray) -> float:
    """The share of the wrong rows among the first of the list."""
    return float(wrong[ranking[: round(READ * len(wrong))]].sum() / wrong.sum())


def by_doctor(frame: Any, label: str) -> np.ndarray:
    """The rows in the order of suspicion."""
    from luce.doctor import examine

    ranking = examine(frame, label, classifier=luce.Classifier(threads=1)).ranking
    assert ranking is not None
    return ranking.order


def by_clean_learning(path: Path, label: str, codes: np.ndarray) -> np.ndarray:
    from cleanlab.classification import CleanLearning

    pipeline, rows = Pipeline(), np.arange(len(codes))
    pipeline.prepare(pipeline.read(path), label, rows, rows)
    x = pipeline.encoder(dense=True).fit_transform(pipeline.train)
    issues = CleanLearning(seed=0, find_label_issues_kwargs={"n_jobs": 1}).find_label_issues(x, codes)
    return np.argsort(issues["label_quality"].to_numpy(), kind="stable")


def one_list(path: Path, label: str, seed: int) -> dict[str, Any]:
    import polars as pl
    from cleanlab.rank import get_label_quality_scores as scores

    table = Table.of(luce.read_file(path))
    target = labels(table, label)
    codes, wrong = flipped(target.codes, len(target.classes), seed)
    frame = table.frame.with_columns(pl.Series(label, [target.classes[k] for k in codes]))
    held = luce.Classifier(threads=1).fit(frame, label).held_out
    if held is None or not held.scored.all():
        return {"refused": "a row could not be held out"}
    p = held.probabilities / held.probabilities.sum(axis=1, keepdims=True)
    lists = {
        "luce": by_doctor(frame, label),
        "cleanlab": np.argsort(scores(held.codes, p), kind="stable"),
        "normalized margin": np.argsort(scores(held.codes, p, method="normalized_margin"), kind="stable"),
        "adjusted": np.argsort(scores(held.codes, p, adjust_pred_probs=True), kind="stable"),
        "CleanLearning": by_clean_learning(path, label, codes),
    }
    right = float((p.argmax(axis=1) == held.codes)[~wrong].mean())
    return {"accuracy": right} | {name: found(ranking, wrong) for name, ranking in lists.items()}


def wrong_labels(names: dict[str, str], splits: int) -> dict[str, Any]:
    lists = ("luce", "cleanlab", "normalized margin", "adjusted", "CleanLearning")
    print(f"share of the {FLIPPED:.0%} changed labels among the first {READ:.0%} of the list; accuracy: of the others")
    print("cleanlab (its default), normalized margin, adjusted: its scores of luce's probabilities\n")
    print(f"{'table':26s}{'accuracy':>10s}" + "".join(f"{n:>19s}" for n in lists))
    rows = []
    for name in [n for n in MISTAKEN if n in names]:
        each = [one_list(DATA / "tables" / f"{name}.parquet", names[name], seed) for seed in range(splits)]
        if "refused" in each[0]:
            print(f"{name:26s} {each[0]['refused']}")
            continue
        rows.append({"table": name} | {field: mean(e[field] for e in each) for field in ("accuracy", *lists)})
        line = f"{name:26s}{rows[-1]['accuracy']:10.4f}" + "".join(f"{rows[-1][n]:19.4f}" for n in lists)
        print(line, flush=True)
    summary = {n: mean(r[n] for r in rows) for n in ("accuracy", *lists)}
    print(f"{'mean':26s}{summary['accuracy']:10.4f}" + "".join(f"{summary[n]:19.4f}" for n in lists))
    return {"summary": summary, "rows": rows}


# --- calibration -----------------------------------------------------------------------------------------------------

OTHERS = ("uncalibrated", "lightgbm", "naive_bayes")


def errors_of(half: Half, seed: int) -> dict[str, Any]:
    model = fit_luce(half)
    plain = luce.Classifier(threads=1)
    plain._fitted = replace(model.fitted, calibration=no_calibration(model.fitted.head.outputs))
    p = {"luce": luce_probabilities(half, model), "uncalibrated": luce_probabilities(half, plain)}
    for name in OTHERS[1:]:
        p[name] = floored(MODELS[name].run(half)[0])
    known, truth = list(range(len(half.classes))), half.truth
    ece = {name: classwise_ece(truth.tolist(), rows, known) for name, rows in p.items()}
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in p}
    for _ in range(DRAWS):
        rows = rng.integers(0, len(truth), len(truth))
        own = truth[rows].tolist()
        for name in p:
            drawn[name].append(classwise_ece(own, p[name][rows], known))
    errors = {name: float(np.std(np.subtract(drawn["luce"], drawn[name]), ddof=1)) for name in OTHERS}
    gained = difference(truth.tolist(), floored(p["luce"]), floored(p["uncalibrated"]), known)["log_loss"]
    width = (gained.high - gained.low) / 2 / 1.96
    return {"kind": model.calibration.kind, "ece": ece, "error": errors, "log_loss": gained.value, "width": width}


def calibration(names: dict[str, str], splits: int) -> dict[str, Any]:
    rows = []
    print("classwise ECE, debiased; in brackets luce's less that, and the standard error of the difference")
    print("log loss: calibrated less uncalibrated, and its standard error\n")
    print(f"{'table':26s}{'map':>12s}{'luce':>8s}" + "".join(f"{n:>26s}" for n in OTHERS) + f"{'log loss':>20s}")
    for name, label in names.items():
        each = [
            errors_of(Half.of(*at), at[2]) | {"half": f"{at[2]}{'ab'[at[3]]}"} for at in halves({name: label}, splits)
        ]
        row: dict[str, Any] = {"table": name, "halves": each, "luce": mean(e["ece"]["luce"] for e in each)}
        text = f"{name:26s}{'/'.join(dict.fromkeys(e['kind'][:6] for e in each))[:12]:>12s}{row['luce']:8.4f}"
        for other in OTHERS:
            value = mean(e["ece"][other] for e in each)
            # the halves' test rows are different ones: their errors add as squares
            error = math.sqrt(sum(e["error"][other] ** 2 for e in each)) / len(each)
            row[other] = {"ece": value, "difference": row["luce"] - value, "error": error}
            text += f"{value:9.4f} ({row[other]['difference']:+.4f} {error:.4f})".rjust(26)
        row["log_loss"] = mean(e["log_loss"] for e in each)
        row["width"] = math.sqrt(sum(e["width"] ** 2 for e in each)) / len(each)
        rows.append(row)
        print(f"{text}{row['log_loss']:+12.4f} {row['width']:.4f}", flush=True)
    return {"summary": summary_of_errors(rows), "rows": rows}


def summary_of_errors(rows: list[dict]) -> dict[str, Any]:
    summary: dict[str, Any] = {"luce": mean(r["luce"] for r in rows)}
    print(f"\nmean over {len(rows)} tables: luce {summary['luce']:.4f}")
    for other in OTHERS:
        apart = [r[other] for r in rows]
        line = {
            "ece": mean(a["ece"] for a in apart),
            "difference": mean(a["difference"] for a in apart),
            "error": math.sqrt(sum(a["error"] ** 2 for a in apart)) / len(apart),
            "better": sum(a["difference"] < -2 * a["error"] for a in apart),
            "worse": sum(a["difference"] > 2 * a["error"] for a in apart),
        }
        summary[other] = line
        print(
            f"{other:14s} {line['ece']:.4f}: luce's less that {line['difference']:+.4f} (error {line['error']:.4f}); "
            f"luce better by over two errors on {line['better']} tables, worse on {line['worse']}"
        )
    worse = [r["table"] for r in rows if r["log_loss"] > 2 * r["width"]]
    better = [r["table"] for r in rows if r["log_loss"] < -2 * r["width"]]
    summary["log_loss"] = {"better": better, "worse": worse}
    print(f"calibration lowers the log loss by over two errors on {len(better)} tables, raises it on {len(worse)}")
    return summary


# --- time ------------------------------------------------------------------------------------------------------------


def silently(work: Callable[[], Any]) -> Callable[[], Any]:
    def quiet() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work()

    return quiet


def times(repeat: int) -> dict[str, Any]:
    """Medians of interleaved runs; all processors."""
    path, label = DATA / "tables" / "adult_census.parquet", "income"
    table = Table.of(luce.read_file(path))
    frame, target = table.frame, labels(table, label)
    rest = frame[holdout(target.codes, 0.2, 0)[1]]
    model = luce.Classifier().fit(frame, label)
    l2, bare = model.fitted.facts["l2"], table.without(label)
    codes, size = target.codes.astype(np.int32), len(target.classes)

    def encoded() -> Any:
        schema = infer_schema(bare, None)
        parsed = parse(bare, schema)
        return Encoder.fit(schema, parsed).transform(parsed)

    features = encoded()
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "model.luce")
        command = [sys.executable, "-m", "luce", "train", str(path), "--label", label, "--out", out]
        parts: dict[str, Callable[[], Any]] = {
            "luce train, the command": lambda: subprocess.run(command, capture_output=True, check=True),
            "  python -c 'import luce'": lambda: subprocess.run([sys.executable, "-c", "import luce"], check=True),
            "  reading the file": lambda: luce.read_file(path),
            "  luce.train: fit, report on 20 %, fit on all": lambda: luce.train(frame, label),
            "    Classifier().fit on all rows": lambda: luce.Classifier().fit(frame, label),
            "    Classifier.evaluate on 20 %": lambda: model.evaluate(rest, label),
            "  saving": lambda: model.save(out),
            "plain certified fit: encoding and the fit": lambda: fit_linear(encoded(), codes, size, l2),
            "  the fit alone, l2 given": lambda: fit_linear(features, codes, size, l2),
        }
        taken: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(repeat + 1):  # the first warms up
            for name, work in parts.items():
                taken[name].append(timed(silently(work)))
    rows = {n: {"seconds": statistics.median(t[1:]), "least": min(t[1:]), "most": max(t[1:])} for n, t in taken.items()}
    plain = rows["plain certified fit: encoding and the fit"]["seconds"]
    print(f"adult_census, {table.rows:,} rows; medians of {repeat}, and how often the plain certified fit\n")
    for name, row in rows.items():
        spread = f"({row['least']:.3f} to {row['most']:.3f})"
        print(f"{name:46s}{row['seconds']:9.3f} s {spread:20s}{row['seconds'] / plain:8.1f}")
    return {"rows": rows}


# --- all of it -------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default="coverage,labels,calibration,time", help="separated by commas")
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--only", help="names of tables, separated by commas")
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if not DATA.is_dir():
        sys.exit(f"the real data sets are not here: {DATA}")
    names = by_size(asked.only, large=False)
    parts: dict[str, Callable[[], dict]] = {
        "coverage": lambda: coverage(names, asked.splits),
        "labels": lambda: wrong_labels(names, asked.splits),
        "calibration": lambda: calibration(names, asked.splits),
        "time": lambda: times(asked.repeat),
    }
    if unknown := [p for p in listed(asked.part) if p not in parts]:
        sys.exit(f"no such part: {', '.join(unknown)}; there are {', '.join(parts)}")
    for part in listed(asked.part):
        print(f"\n--- {part}\n")
        if part == "time":
            result = parts[part]()
        else:
            from threadpoolctl import threadpool_limits

            with threadpool_limits(1):
                result = parts[part]()
        OUT.mkdir(exist_ok=True)
        known = json.loads(FILE.read_text(encoding="utf8")) if FILE.exists() else {}
        FILE.write_text(json.dumps(known | {part: {"splits": asked.splits, **result}}, indent=1), encoding="utf8")


if __name__ == "__main__":
    main()
