"""How good the probabilities of held-out rows are: luce beside other models, over the tables of ../shared/data/tables.

    ./dev bench accuracy [--splits 5] [--only TABLE,TABLE] [--models NAME,NAME] [--all] [--limit 120] [--jobs 1]
                         [--resume] [--fresh NAME,NAME]

A split halves a table, stratified, and each half is learnt from once and measured on the other: two results a split
(Dietterich's 5 x 2). Log loss is in nats, with probabilities of at least 1e-15; ECE is luce.metrics.classwise_ece,
debiased. bench/models.py has the models and what they see; all run on one thread. Tables of over 50,000 rows only with
--all. --jobs: so many measurements at a time.

Each measurement is kept in bench/out/accuracy.json as soon as it stands. --resume continues there; without it an
earlier file is kept as accuracy.old.json. --fresh measures these models anew and resumes the others. A model that takes
over --limit seconds on a table (fit and prediction) is stopped, stands as "not reached", and is not tried on the
table's other halves. A rival's figures are means over the tables where it and luce stand on every half, and its line
says on how many; the tables that it lacks are named below.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import statistics
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from models import MODELS, Half, RefusedError, measure, missing, one_thread, package, prepare
from tables import DATA, OUT, tables

FLOOR = 1e-3  # nats: a mean log loss below counts as this in a ratio
MOST_ROWS = 50_000  # of a table, without --all
START = 120.0  # seconds for a process to start and read its table
STANDS = 0.8  # share of the tables that a model must stand on to be ranked
SPAWN = multiprocessing.get_context("spawn")
FILE = OUT / "accuracy.json"


# --- one measurement, in a process that can be stopped ---------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    table: str
    label: str
    seed: int
    turned: bool
    model: str

    @property
    def half(self) -> str:
        return f"{self.seed}{'b' if self.turned else 'a'}"


class Child:
    """A process that measures models on halves, one at a time; started when it is asked, and again after a stop."""

    def __init__(self) -> None:
        self.process: Any = None

    def answer(self, ask: Ask, limit: float) -> dict[str, Any]:
        if self.process is None:
            self.connection, theirs = SPAWN.Pipe()
            self.process = SPAWN.Process(target=_serve, args=(theirs,), daemon=True)
            self.process.start()
            theirs.close()
        try:
            self.connection.send(ask)
            for seconds in (START, limit):  # the table is there; the result is
                if not self.connection.poll(seconds):
                    self.close()
                    return {"not_reached": limit}
                found = self.connection.recv()
        except (EOFError, OSError):
            self.close()
            return {"failed": "the process died"}
        return found

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process = None


def _serve(connection: Connection) -> None:
    warnings.simplefilter("ignore")
    at, half = None, None
    with contextlib.suppress(EOFError):
        while True:
            ask = connection.recv()
            if at != (ask.table, ask.half):
                at, half = (ask.table, ask.half), Half.of(ask.table, ask.label, ask.seed, ask.turned)
            prepare(ask.model, half)
            connection.send({})
            try:
                found = measure(ask.model, half)
            except RefusedError as reason:
                found = {"impossible": str(reason)}
            except Exception as error:
                found = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:120]}
            connection.send(found | {"dropped": half.dropped})


# --- all of them -----------------------------------------------------------------------------------------------------


class Results:
    """By table, half and model; written whole after each measurement."""

    def __init__(self, path: Path, resume: bool) -> None:
        self.path, self.lock = path, threading.Lock()
        self.known: dict[str, dict[str, dict[str, dict]]] = {}
        if path.exists():
            if resume:
                self.known = json.loads(path.read_text(encoding="utf8"))["results"]
            else:
                path.replace(path.with_suffix(".old.json"))

    def get(self, table: str, half: str, model: str) -> dict | None:
        return self.known.get(table, {}).get(half, {}).get(model)

    def put(self, table: str, half: str, model: str, found: dict) -> None:
        with self.lock:
            self.known.setdefault(table, {}).setdefault(half, {})[model] = found
            self.write({})

    def forget(self, asks: list[Ask]) -> None:
        for ask in asks:
            self.known.get(ask.table, {}).get(ask.half, {}).pop(ask.model, None)

    def write(self, more: dict[str, Any]) -> None:
        self.path.parent.mkdir(exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({**more, "results": self.known}, indent=1), encoding="utf8")
        part.replace(self.path)

    def over(self, table: str, model: str, limit: float) -> bool:
        """Whether the model was stopped on a half of this table, after so much time or more."""
        halves = self.known.get(table, {}).values()
        return any(half.get(model, {}).get("not_reached", 0) >= limit for half in halves)

    def wanted(self, ask: Ask, limit: float) -> bool:
        found = self.get(ask.table, ask.half, ask.model)
        return found is None or "failed" in found or found.get("not_reached", limit) < limit


def run(asks: list[Ask], results: Results, limit: float, jobs: int) -> None:
    local, children, done = threading.local(), [], 0

    def work(ask: Ask) -> None:
        nonlocal done
        if not hasattr(local, "child"):
            local.child = Child()
            children.append(local.child)
        over = results.over(ask.table, ask.model, limit)
        found = {"not_reached": limit} if over else local.child.answer(ask, limit)
        results.put(ask.table, ask.half, ask.model, found)
        done += 1
        print(f"{done:5}/{len(asks)}  {ask.table:26s} {ask.half:3s} {ask.model:15s} {told(found)}", flush=True)

    try:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(work, asks))
    finally:
        for child in children:
            child.close()


def told(found: dict) -> str:
    if "log_loss" not in found:
        return "  ".join(f"{k.replace('_', ' ')}: {v}" for k, v in found.items() if k != "dropped")
    return f"{found['log_loss']:.4f}  ece {found['ece']:.4f}  {found['accuracy']:.4f}  {found['seconds']:.2f} s"


# --- what they come to -----------------------------------------------------------------------------------------------

Means = dict[str, dict[str, dict[str, float]]]


def means(results: Results, names: list[str], halves: list[str], models: list[str]) -> Means:
    """By table and model: the mean over the halves, where the model stands on all of them."""
    out: Means = {}
    for table in names:
        for model in models:
            found = [results.get(table, half, model) or {} for half in halves]
            if all("log_loss" in f for f in found):
                fields = ("log_loss", "ece", "accuracy", "seconds")
                out.setdefault(table, {})[model] = {k: statistics.fmean(f[k] for f in found) for k in fields}
                out[table][model]["floored"] = sum(f["floored"] for f in found)
    return out


def ranks(found: Means, models: list[str]) -> tuple[dict[str, float], int]:
    """Mean ranks by log loss, 1 the best, of the models that stand on most tables, where all of them stand."""
    ranked = [m for m in models if sum(m in t for t in found.values()) >= STANDS * len(found)]
    common = [t for t in found.values() if all(m in t for m in ranked)]
    places: dict[str, list[float]] = {m: [] for m in ranked}
    for table in common:
        losses = [table[m]["log_loss"] for m in ranked]
        for m in ranked:
            own = table[m]["log_loss"]
            places[m].append(1 + sum(v < own for v in losses) + (losses.count(own) - 1) / 2)
    return {m: statistics.fmean(p) for m, p in places.items() if p}, len(common)


def against(found: Means, model: str) -> dict[str, Any]:
    """luce beside a model on the tables where both stand."""
    both = [t for t in found.values() if model in t and "luce" in t]
    if not both:
        return {"tables": 0}

    def mean(who: str, field: str) -> float:
        return statistics.fmean(t[who][field] for t in both)

    logs = [math.log(max(t["luce"]["log_loss"], FLOOR) / max(t[model]["log_loss"], FLOOR)) for t in both]
    return {
        "tables": len(both), "ratio": math.exp(statistics.fmean(logs)), "better": sum(v < 0 for v in logs),
        "error": statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.nan,
        "log_loss": mean(model, "log_loss"), "log_loss_luce": mean("luce", "log_loss"),
        "ece": mean(model, "ece"), "ece_luce": mean("luce", "ece"),
        "accuracy": mean(model, "accuracy"), "accuracy_luce": mean("luce", "accuracy"),
        "seconds": sum(t[model]["seconds"] for t in both), "seconds_luce": sum(t["luce"]["seconds"] for t in both),
        "floored": sum(t[model]["floored"] for t in both),
    }  # fmt: skip


def lacking(results: Results, found: Means, names: list[str], halves: list[str], model: str) -> dict[str, str]:
    """Why a model does not stand on a table."""
    out = {}
    for table in names:
        if model not in found.get(table, {}):
            each = [results.get(table, half, model) for half in halves]
            reason = next((told(f) for f in each if f is not None and "log_loss" not in f), "not measured yet")
            out[table] = reason
    return out


def show(found: Means, names: list[str], models: list[str], lacks: dict[str, dict[str, str]]) -> dict[str, Any]:
    print(f"\nmean log loss by table (- does not stand)\n{'':26s}" + "".join(f"{m[:14]:>15s}" for m in models))
    for table in names:
        row = found.get(table, {})
        cells = [f"{row[m]['log_loss']:15.4f}" if m in row else f"{'-':>15s}" for m in models]
        print(f"{table:26s}" + "".join(cells))
    places, common = ranks(found, models)
    print(
        f"\nratio: geometric mean of luce's log loss over the model's, both at least {FLOOR:g} nats (below 1: luce is"
    )
    print("better), and over so many tables the standard error of its logarithm. In brackets: luce on the same tables.")
    print("seconds: of all these tables, one half each. floored: test rows whose class got less than 1e-15")
    print(f"rank: mean by log loss over the {common} tables where all ranked models stand\n")
    head = f"{'':36s}{'rank':>6s}{'tables':>8s}{'ratio':>15s}{'better':>8s}"
    print(head + f"{'log loss':>17s}{'ECE':>17s}{'accuracy':>17s}{'seconds':>17s}{'floored':>9s}")
    lines = {}
    for model in models:
        lines[model] = line = against(found, model) | {"rank": places.get(model)}
        rank = f"{places[model]:6.2f}" if model in places else f"{'-':>6s}"
        text = f"{MODELS[model].title:36s}{rank}{line['tables']:>8}"
        if line["tables"]:
            text += f"{line['ratio']:8.3f} ({line['error']:.2f}){line['better']:8}"
            for field, digits in (("log_loss", 4), ("ece", 4), ("accuracy", 4), ("seconds", 0)):
                text += f"{line[field]:9.{digits}f} ({line[field + '_luce']:.{digits}f})".rjust(17)
            text += f"{line['floored']:9}"
        print(text)
    for model in models:
        for reason in dict.fromkeys(lacks[model].values()):
            where = [table for table in lacks[model] if lacks[model][table] == reason]
            print(f"{MODELS[model].title} does not stand on {', '.join(where)}: {reason}")
    return {"common": common, "models": lines, "lacking": lacks}


def listed(text: str | None) -> list[str]:
    return [t for t in (text or "").split(",") if t]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--only", help="names of tables, separated by commas")
    parser.add_argument("--models", help=f"of {', '.join(MODELS)}; separated by commas")
    parser.add_argument("--all", action="store_true", help=f"tables of over {MOST_ROWS:,} rows too")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for one fit with its predictions")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--fresh", help="models to measure anew, separated by commas")
    asked = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"the real data sets are not here: {DATA}")
    models, fresh = listed(asked.models) or list(MODELS), listed(asked.fresh)
    models = list(dict.fromkeys(["luce", *models]))
    if unknown := [m for m in [*models, *fresh] if m not in MODELS]:
        sys.exit(f"no such model: {', '.join(unknown)}; there are {', '.join(MODELS)}")
    for name in (absent := missing(models)):
        print(f"missing: {MODELS[name].title} ({package(name)} is not installed)")
    models = [m for m in models if m not in absent]
    one_thread()
    chosen = by_size(asked.only, asked.all)
    asks = [
        Ask(table, label, seed, turned, model)
        for seed in range(asked.splits)
        for table, label in chosen.items()
        for turned in (False, True)
        for model in models
    ]
    results = Results(FILE, asked.resume or bool(fresh))
    results.forget([ask for ask in asks if ask.model in fresh])
    began = time.perf_counter()
    try:
        run([ask for ask in asks if results.wanted(ask, asked.limit)], results, asked.limit, asked.jobs)
    except KeyboardInterrupt:
        print("interrupted: --resume continues")
    halves = list(dict.fromkeys(ask.half for ask in asks))
    names = list(chosen)
    found = means(results, names, halves, models)
    lacks = {m: lacking(results, found, names, halves, m) for m in models}
    summary = show(found, names, models, lacks)
    print(f"\n{len(halves)} halves a table, {time.perf_counter() - began:.0f} s, {os.cpu_count()} processors")
    results.write({"halves": halves, "summary": summary, "tables": found})


def by_size(only: str | None, large: bool) -> dict[str, str]:
    """The tables and their labels, small ones first."""
    import pyarrow.parquet as pq

    sizes = {}
    for key, label in tables(only).items():
        facts = pq.read_metadata(DATA / key)
        if large or only or facts.num_rows <= MOST_ROWS:
            sizes[Path(key).stem] = (facts.num_rows * facts.num_columns, label)
    return {name: sizes[name][1] for name in sorted(sizes, key=lambda name: sizes[name][0])}


if __name__ == "__main__":
    main()
