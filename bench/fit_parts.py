"""The further parts of bench/fit.py: the L1 path, l2="auto", memory, scaling and prediction.

Each part measures into the store, unless --report is given, and prints its table.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import problems
import scipy.sparse as sp
from problems import Penalty, Problem, opened
from rivals import THREADS, Facts, Luce, ScikitLearnL1, level
from sweep import Sweep, fastest, gap
from workers import Request, Run, Worker, apart

if TYPE_CHECKING:
    from fit import Store

PAUSE = 0.3  # seconds before a timed run
L1_PROBLEMS = ("letter", "newsgroups20")
STRENGTHS = 50
PICKED = (10, 20, 30, 40, 49)  # places on the path where saga is measured; all of them where it is quick
L1_GOAL = 1e-6
LONG = 20.0  # seconds: what takes longer is not repeated
FLOOR = 1e-15  # a probability of 0 for what happened costs 34.5 nats


def timed(work: Callable[[], Any]) -> float:
    time.sleep(PAUSE)
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(*names: str) -> None:
    row(*names)
    print("|" + "---|" * len(names))


# L1: the path


def l1(asked: argparse.Namespace, store: Store) -> None:
    """50 strengths from the one at which W = 0 down to a hundredth of it, each fit started at the one before."""
    section = store.section("l1")
    for name in [n for n in L1_PROBLEMS if not asked.named or n in asked.only]:
        if not asked.report and not (asked.resume and "total" in section.get(name, {})):
            with tempfile.TemporaryDirectory(prefix="luce-bench-") as place:
                problem = problems.load(name)
                problems.save(problem, Path(place))
                section[name] = _l1_of(problem, Path(place), asked)
                store.save()
        if name in section:
            _print_l1(name, section[name])


def _l1_of(problem: Problem, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    top = problems.largest_l1(problem)
    strengths = np.geomspace(top, top / 100, STRENGTHS)
    try:
        paths = [apart(luce_path, str(folder), strengths, limit=10 * asked.limit) for _ in range(min(asked.repeat, 3))]
    except (RuntimeError, TimeoutError) as error:
        return {"skipped": f"luce: {error or 'over the limit'}"}
    totals = [float(sum(path["seconds"])) for path in paths]
    found: dict[str, Any] = {"total": statistics.median(totals), "spread": max(totals) / min(totals), "saga": []}
    found |= {"seconds": paths[0]["seconds"], "weights": paths[0]["weights"]}
    if "scikit-learn" in asked.rivals:
        found["saga"] = _saga(problem, folder, strengths, paths[0]["points"], asked.limit)
    return found


def luce_path(folder: str, strengths: np.ndarray) -> dict[str, Any]:
    """Seconds and weights other than 0 at each strength, and the point from which the next one starts."""
    import luce

    problem = opened(Path(folder))
    model = luce.SoftmaxRegression(l2=0, l1=1.0, tol=L1_GOAL, warm_start=True, threads=THREADS)
    seconds, weights, points = [], [], {}
    for place, strength in enumerate(strengths):
        model.set_params(l1=strength / problem.rows)
        began = time.perf_counter()
        model.fit(problem.X, problem.y)
        seconds.append(time.perf_counter() - began)
        weights.append(int(np.count_nonzero(model.coef_)))
        points[place + 1] = (sp.csr_matrix(model.coef_.T), model.intercept_.copy())
    return {"seconds": seconds, "weights": weights, "points": points}


def _saga(
    problem: Problem, folder: Path, strengths: np.ndarray, points: dict[int, Any], limit: float
) -> list[dict[str, Any]]:
    """saga at the picked strengths, and at the others too if all of these would take no longer than one limit."""
    luce, saga = Worker("luce", folder), Worker(ScikitLearnL1.name, folder)
    found = []
    try:
        for place in [*PICKED, *(p for p in range(1, STRENGTHS) if p not in PICKED)]:
            if len(found) == len(PICKED) and not all(f.get("seconds", limit) < limit / STRENGTHS for f in found):
                break
            penalty = Penalty(0.0, float(strengths[place]))
            found.append({"place": place} | _saga_at(problem, luce, saga, penalty, points[place], limit))
    finally:
        luce.close()
        saga.close()
    return found


def _saga_at(
    problem: Problem, luce: Worker, saga: Worker, penalty: Penalty, start: Any, limit: float
) -> dict[str, Any]:
    """saga's shortest fit to 1e-6 of luce's optimum, started at luce's point of the strength before."""
    facts, runs = Facts.of(problem), []
    best = luce.ask(Request(Luce().reference(facts), level(1e-9), penalty), 10 * limit)
    if best.value is None:
        return {"error": best.error or "no optimum within the limit"}
    dense = (start[0].toarray(), start[1])
    for setting in ScikitLearnL1().settings(facts):
        known = fastest(runs, best.value, L1_GOAL)
        cutoff = {L1_GOAL: 1.3 * known.seconds if known else math.inf}
        ask = _asking(saga, Request(setting, 0, penalty, start=dense, pause=0.1))
        runs += Sweep(ask, setting, best.value, cutoff, limit).go().runs
    nearest = min(runs, key=lambda run: gap(run, best.value))
    found = {"longest": max(run.seconds for run in runs), "proven": best.facts["gap"]}
    found |= {"nearest": gap(nearest, best.value), "nearest_seconds": nearest.seconds}
    reached = fastest(runs, best.value, L1_GOAL)
    return found | ({"seconds": reached.seconds} if reached else {})


def _asking(worker: Worker, request: Request) -> Callable[[int, float], Run]:
    return lambda effort, limit: worker.ask(replace(request, effort=effort), limit)


def _print_l1(name: str, found: dict[str, Any]) -> None:
    if "skipped" in found:
        print(f"{name}: skipped, {found['skipped']}")
        return
    print(f"{name}: luce, {STRENGTHS} strengths to {L1_GOAL:g}: {found['total']:.3g} s (spread {found['spread']:.2f});")
    print(f"  weights other than 0 from {found['weights'][0]:,} to {found['weights'][-1]:,}")
    for saga in found["saga"]:
        if saga["place"] in PICKED:
            print(
                f"  strength {saga['place'] + 1}: luce {found['seconds'][saga['place']]:.3g} s, saga {_saga_text(saga)}"
            )
    if measured := [saga for saga in found["saga"] if "error" not in saga]:
        least = sum(saga.get("seconds", saga["longest"]) for saga in measured)
        own = sum(found["seconds"][saga["place"]] for saga in measured)
        sign = "" if all("seconds" in saga for saga in measured) else "at least "
        print(
            f"  these {len(measured)} strengths: saga {sign}{least:.3g} s, luce {own:.3g} s, {sign}{least / own:.3g}x"
        )
        print(
            f"  (the whole path takes saga no less than {least:.3g} s; what it did not reach counts as its longest run)"
        )


def _saga_text(saga: dict[str, Any]) -> str:
    """saga starts where luce was one strength before, the best start there is."""
    if "error" in saga:
        return saga["error"]
    if "seconds" in saga:
        return f"{saga['seconds']:.3g} s"
    return f"not reached (best {saga['nearest']:.0e} at {saga['nearest_seconds']:.3g} s)"


# auto: the strength chosen by the data


def auto(asked: argparse.Namespace, store: Store) -> None:
    """luce's l2="auto" against LogisticRegressionCV: held-out log loss and time; and one plain LogisticRegression."""
    section = store.section("auto")
    head("problem", "luce", "log loss", "LogisticRegressionCV", "log loss", "x", "one LogisticRegression", "log loss")
    for name in asked.only:
        if not asked.report and not (asked.resume and name in section):
            with tempfile.TemporaryDirectory(prefix="luce-bench-") as folder:
                problems.save(problems.load(name), Path(folder))
                limit = 5 * asked.limit
                section[name] = {who: _repeated(who, folder, asked.repeat, limit) for who in AUTO}
                store.save()
        if name in section:
            _print_auto(name, section[name])


def _repeated(who: str, folder: str, repeat: int, limit: float) -> dict[str, Any]:
    runs: list[dict[str, Any]] = []
    while len(runs) < repeat and (not runs or runs[-1]["seconds"] < LONG):
        try:
            runs.append(apart(auto_fit, who, folder, limit=limit))
        except TimeoutError:
            return {"over": limit}
        except RuntimeError as error:
            return {"error": str(error)}
    return {"seconds": statistics.median(r["seconds"] for r in runs), "loss": runs[0]["loss"], "runs": len(runs)}


def auto_fit(who: str, folder: str) -> dict[str, float]:
    from luce.splits import holdout

    problem = opened(Path(folder))
    kept, held = holdout(problem.y, 0.2, 0)
    train, test = problem.part(kept), problem.part(held)
    model = AUTO[who]()
    seconds = timed(lambda: model.fit(train.X, train.y))
    p = np.asarray(model.predict_proba(test.X), dtype=np.float64)
    place = np.searchsorted(model.classes_, test.y)
    return {"seconds": seconds, "loss": -float(np.log(np.maximum(p[np.arange(len(p)), place], FLOOR)).mean())}


def _luce_auto() -> Any:
    import luce

    return luce.SoftmaxRegression(l2="auto", threads=THREADS)


def _sklearn_cv() -> Any:
    from sklearn.linear_model import LogisticRegressionCV

    return LogisticRegressionCV(Cs=10, cv=5, scoring="neg_log_loss", max_iter=1000, n_jobs=THREADS)


def _sklearn_plain() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


AUTO: dict[str, Callable[[], Any]] = {"luce": _luce_auto, "cv": _sklearn_cv, "plain": _sklearn_plain}


def _print_auto(name: str, found: dict[str, Any]) -> None:
    cells = [name]
    for who in AUTO:
        cells += _result(found[who])
        if who == "cv":
            both = "seconds" in found["cv"] and "seconds" in found["luce"]
            cells.append(f"{found['cv']['seconds'] / found['luce']['seconds']:.3g}x" if both else "")
    row(*cells)


def _result(found: dict[str, Any]) -> list[str]:
    if "over" in found:
        return [f"over {found['over']:g} s", ""]
    return [found["error"], ""] if "error" in found else [f"{found['seconds']:.3g} s", f"{found['loss']:.4f}"]


# Memory


def memory(asked: argparse.Namespace, store: Store) -> None:
    """By how much the largest resident size grows in a fit, against the bytes of the data."""
    section = store.section("memory")
    head("problem", "data", "luce", "of the data", "scikit-learn", "of the data")
    for name in ("mnist", "mnist uint8", "newsgroups20", "synthetic"):
        if asked.named and name.split()[0] not in asked.only:
            continue
        if not asked.report and not (asked.resume and name in section):
            section[name] = _memory_of(name, asked)
            store.save()
        if name in section:
            _print_memory(name, section[name])


def _memory_of(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="luce-bench-") as folder:
        problem = problems.load(name.split()[0])
        if name.endswith("uint8"):
            problem = replace(problem, X=problems.pixels("mnist"))
        problems.save(problem, Path(folder))
        found: dict[str, Any] = {"bytes": problem.bytes}
        for who in ("luce", "scikit-learn"):
            try:
                found[who] = apart(fit_memory, who, folder, limit=2 * asked.limit)
            except (TimeoutError, RuntimeError) as error:
                found[who] = str(error) or f"over {2 * asked.limit:g} s"
    return found


def fit_memory(who: str, folder: str) -> dict[str, int]:
    """Bytes resident before a fit and at most during it."""
    problem = opened(Path(folder))
    fit = MEMORY[who]()
    fit(problems.drawn(100, 3, 3))  # the libraries come in before
    with contextlib.suppress(OSError):  # Linux: the peak so far is forgotten
        Path("/proc/self/clear_refs").write_text("5")
    before, peak = _resident(), _peak()
    fit(problem)
    return {"before": before, "peak_before": peak, "peak": _peak()}


def _luce_fit() -> Callable[[Problem], Any]:
    import luce

    def fit(problem: Problem) -> None:
        luce.SoftmaxRegression(l2=_plain_l2(problem), tol=1e-2, threads=THREADS).fit(problem.X, problem.y)

    return fit


def _sklearn_fit() -> Callable[[Problem], Any]:
    from sklearn.linear_model import LogisticRegression

    def fit(problem: Problem) -> None:
        LogisticRegression(C=1 / (problem.rows * _plain_l2(problem)), max_iter=10).fit(problem.X, problem.y)

    return fit


def _plain_l2(problem: Problem) -> float:
    """C = 1 for numbers up to 1, and the same model for the same numbers in another unit, such as pixels to 255."""
    return float(problem.X.max()) ** 2 / problem.rows


MEMORY: dict[str, Callable[[], Callable[[Problem], Any]]] = {"luce": _luce_fit, "scikit-learn": _sklearn_fit}


def _peak() -> int:
    """The most bytes resident so far; on Linux not from ru_maxrss, which begins at the parent's size."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(x.split()[1]) * 1024 for x in status.read_text().splitlines() if x.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _resident() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return _peak()
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _print_memory(name: str, found: dict[str, Any]) -> None:
    cells: list[object] = [name, f"{found['bytes'] / 1e6:,.0f} MB"]
    for who in MEMORY:
        if isinstance(found[who], str):
            cells += [found[who], ""]
            continue
        growth = found[who]["peak"] - found[who]["before"]
        hidden = found[who]["peak"] <= found[who]["peak_before"]  # loading took more: the growth is at most this
        sign = "at most " if hidden else ""
        cells += [f"{sign}{growth / 1e6:,.0f} MB", f"{sign}{growth / found['bytes']:.2f}x"]
    row(*cells)


# Scaling

SCALES: dict[str, list[tuple[int, int, int]]] = {
    "rows": [(n, 50, 3) for n in (10_000, 100_000, 1_000_000, 2_000_000)],
    "columns": [(20_000, d, 3) for d in (10, 30, 100, 300, 1000)],
    "classes": [(50_000, 50, k) for k in (2, 10, 100, 1000)],
}


def scaling(asked: argparse.Namespace, store: Store) -> None:
    """luce's time to 1e-6 at C = 1 against rows, columns and classes of the synthetic data."""
    section = store.section("scaling")
    head("along", "rows", "columns", "classes", "seconds", "spread", "passes", "ms a pass")
    for along, sizes in SCALES.items():
        for size in sizes:
            key = f"{along} {size}"
            if not asked.report and not (asked.resume and key in section):
                try:
                    section[key] = apart(scale_fit, size, min(asked.repeat, 3), limit=10 * asked.limit)
                except (TimeoutError, RuntimeError) as error:
                    section[key] = {"error": str(error) or "over the limit"}
                store.save()
            if key in section:
                _print_scale(along, size, section[key])
        known = [(size, section.get(f"{along} {size}", {})) for size in sizes]
        points = [(size, found) for size, found in known if "seconds" in found]
        if len(points) > 1:
            print(f"| {along}: time grows as the power {_slope(along, points):.2f} |")


def scale_fit(size: tuple[int, int, int], repeat: int) -> dict[str, Any]:
    import luce

    problem = problems.drawn(*size)
    model = luce.SoftmaxRegression(l2=None, threads=THREADS)
    model.fit(problem.X[:1000], np.arange(1000) % 3)
    seconds: list[float] = []
    while len(seconds) < repeat and (not seconds or seconds[-1] < LONG):
        seconds.append(timed(lambda: model.fit(problem.X, problem.y)))
    found = {"seconds": statistics.median(seconds), "spread": max(seconds) / min(seconds)}
    return found | {"passes": model.certificate_.passes, "gap": model.certificate_.relative_gap}


def _print_scale(along: str, size: tuple[int, int, int], found: dict[str, Any]) -> None:
    sizes = [f"{n:,}" for n in size]
    if "error" in found:
        row(along, *sizes, found["error"], "", "", "")
        return
    each = 1e3 * found["seconds"] / found["passes"]
    row(along, *sizes, f"{found['seconds']:.3g}", f"{found['spread']:.2f}", found["passes"], f"{each:.3g}")


def _slope(along: str, points: list[tuple[tuple[int, int, int], dict[str, Any]]]) -> float:
    place = list(SCALES).index(along)
    x, y = [math.log(size[place]) for size, _ in points], [math.log(found["seconds"]) for _, found in points]
    return float(np.polyfit(x, y, 1)[0])


# Prediction


def predict(asked: argparse.Namespace, store: Store) -> None:
    """predict_proba of one row of 100 numbers, 10 classes; and of a million rows of 50 numbers, 3 classes."""
    section = store.section("predict")
    if not asked.report and not (asked.resume and section):
        calls = 200 if asked.quick else 5_000
        section["one row"] = apart(one_row, calls, limit=5 * asked.limit)
        for dtype in ("float32", "float64"):
            section[f"1e6 rows, {dtype}"] = apart(many_rows, dtype, max(asked.repeat, 3), limit=5 * asked.limit)
        store.save()
    head("what", "luce", "scikit-learn", "x", "spread")
    for what, found in section.items():
        a, b = found["luce"], found["scikit-learn"]
        unit, scale = ("us", 1e6) if what == "one row" else ("ms", 1e3)
        cells = [f"{scale * x['seconds']:.4g} {unit}" for x in (a, b)]
        row(what, *cells, f"{b['seconds'] / a['seconds']:.3g}x", f"{a['spread']:.2f} / {b['spread']:.2f}")


def _models(problem: Problem) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    import luce

    some = problem.part(np.arange(min(problem.rows, 5_000)))
    return {
        "luce": luce.SoftmaxRegression(l2=None, threads=THREADS).fit(some.X, some.y),
        "scikit-learn": LogisticRegression(max_iter=1000).fit(some.X, some.y),
    }


def one_row(calls: int) -> dict[str, Any]:
    """Medians over blocks of calls, the sides taking turns; spread is the slowest block over the fastest."""
    problem = problems.drawn(2_000, 100, 10)
    x = problem.X[:1].astype(np.float64)
    medians: dict[str, list[float]] = {}
    models = _models(problem)
    for turn in range(6):
        for name, model in models.items():
            seconds = [_call(model, x) for _ in range(calls // 5)]
            if turn:  # the first is the warm-up
                medians.setdefault(name, []).append(statistics.median(seconds))
    return {name: _middle(t) for name, t in medians.items()}


def _call(model: Any, x: np.ndarray) -> float:
    began = time.perf_counter()
    model.predict_proba(x)
    return time.perf_counter() - began


def many_rows(dtype: str, repeat: int) -> dict[str, Any]:
    problem = problems.drawn(1_000_000, 50, 3)
    models, x = _models(problem), problem.X.astype(dtype)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(repeat + 1):
        for name, model in models.items():
            taken = timed(lambda model=model: model.predict_proba(x))
            if turn:
                seconds[name].append(taken)
    return {name: _middle(t) for name, t in seconds.items()}


def _middle(seconds: list[float]) -> dict[str, float]:
    return {"seconds": statistics.median(seconds), "spread": max(seconds) / min(seconds)}


PARTS: dict[str, Callable[[argparse.Namespace, Any], None]] = {
    "l1": l1, "auto": auto, "memory": memory, "scaling": scaling, "predict": predict
}  # fmt: skip
