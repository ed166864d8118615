"""Time to a proven optimum: luce against every solver for softmax regression that installs.

    ./dev bench fit [--part fits,l1,auto,memory,scaling,predict] [--only NAME,NAME] [--C 0.01,1,100]
                    [--rival NAME,NAME] [--repeat 5] [--limit 120] [--check] [--quick] [--resume] [--report]

One objective: sum of cross-entropies of X W + b, plus |W|^2 / (2 C), intercepts free; two classes have one column of
weights. F* is luce's own optimum in float64 with a certificate of 1e-10; --check compares it with SciPy's Newton-CG on
the smaller problems. A fit has reached a target if its objective, computed in float64 outside the timed region, is
within that relative distance of F*.

Sweep: every setting of every rival (solver, float32 or float64, sparse or a dense copy) is fitted afresh with twice
the iterations, or a tenth of the tolerance, until the target is reached; then halving the ladder finds the least effort
that does, to about 10 %. luce goes through the same sweep ("luce"); "proven" is its fit with tol = target, where the
certificate vouches for it. A setting ends when it stalls, when it takes longer than its rival's best one already took,
or at --limit seconds for one fit: what is not reached then is printed so, and is not tried again at a larger C.

The headline: luce, the best setting of scikit-learn and of the fastest rival of any kind, interleaved, the median of
--repeat runs (3 of those over 20 s), each after a pause of 0.3 s in which the threads of the others go to sleep, after
one small fit as a warm-up. Spread is the longest run over the shortest. Every rival has a process of its own with two
threads; the conversion of X to its format is not timed. Rows go to bench/out/fit.json as they are measured; --resume
skips what is there, --report prints the tables from it and measures nothing. What each setting came to is told on the
standard error.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fit_parts
import problems
import rivals
from problems import Penalty, Problem
from rivals import FITTERS, RIVALS, Facts, Rival, Setting, level
from sweep import Sweep, fastest, gap
from workers import Request, Run, Worker

OUT = Path(__file__).resolve().parent / "out" / "fit.json"
GOALS = (1e-3, 1e-6)
REFERENCE = (1e-10, 1e-8)  # the certificate of F*, the second where the first takes too long
LONG = 20.0  # seconds: a run that takes longer is repeated three times only
PAUSE = 0.1  # seconds before a run of the sweep, where no other process works before it
LONG_PAUSE = 0.3  # seconds before a run of the headline
NEAR = 1.5  # rivals that took at most so many times the fastest one in the sweep come into the headline too
MARGIN = 1.3  # a setting is given up when it takes so many times its rival's best
CHECKED = 2e8  # --check: rows x columns x outputs squared, at most


class Store:
    """The JSON file of results; written after each measurement, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = json.loads(path.read_text(encoding="utf8")) if path.exists() else {}
        self.content["machine"] = machine()

    def section(self, name: str) -> dict[str, Any]:
        return self.content.setdefault(name, {})

    def save(self) -> None:
        self.path.parent.mkdir(exist_ok=True)
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(self.content, indent=1), encoding="utf8")
        os.replace(beside, self.path)


def machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    kinds = {name: RIVALS[name]() for name in ["luce", *FITTERS]}
    versions = {name: "missing" if kind.missing() else kind.version() for name, kind in kinds.items()}
    return {"processor": model, "cores": os.cpu_count(), "threads": rivals.THREADS, "versions": versions}


# One problem at one C: all settings of all rivals, then the headline


class Task:
    def __init__(
        self, problem: Problem, C: float, entry: dict[str, Any], workers: dict[str, Worker], asked: argparse.Namespace
    ) -> None:
        self.facts, self.penalty, self.rows = Facts.of(problem), Penalty(1 / C), problem.rows
        self.entry, self.workers, self.limit = entry, workers, asked.limit
        self.repeat = asked.repeat
        entry |= {"problem": problem.name, "C": C, "shape": str(problem)}
        entry.setdefault("sweeps", {})

    @property
    def best(self) -> float:
        return self.entry["reference"]["value"]

    def run(self, rival: str, setting: Setting, effort: int, limit: float, pause: float = PAUSE) -> Run:
        return self.workers[rival].ask(Request(setting, effort, self.penalty, pause=pause), limit)

    def refer(self) -> str:
        """Finds F*; what is wrong if there is none."""
        for tol in REFERENCE:
            run = self.run("luce", rivals.Luce().reference(self.facts), level(tol), 5 * self.limit)
            if run.value is not None:
                self.entry["reference"] = run.to_json()
                return ""
            if run.error:
                return run.error
        return f"no optimum proven to {REFERENCE[-1]:g} within {5 * self.limit:g} s"

    def sweep(self, rival: Rival, save: Callable[[], None], hopeless: set[tuple[str, str]]) -> None:
        done = self.entry["sweeps"].setdefault(rival.name, {})
        settings = rival.settings(self.facts)
        if not settings:
            self.entry["sweeps"][rival.name] = {"none": {"runs": [], "end": rival.refusal(self.facts)}}
        for setting in settings:
            if setting.name in done:
                continue
            if (rival.name, setting.name) in hopeless:
                done[setting.name] = {"runs": [], "end": "not reached at a smaller C"}
                continue
            ask = partial(self.run, rival.name, setting)
            swept = Sweep(ask, setting, self.best, self.cutoffs(rival.name), self.limit).go()
            done[setting.name] = {"runs": [run.to_json() for run in swept.runs], "end": swept.end}
            text = (
                f"{self.entry['problem']}, C={self.entry['C']:g}: {rival.name} {setting.name}, {len(swept.runs)} runs"
            )
            print(f"{text}, {swept.end}", file=sys.stderr, flush=True)
            save()

    def cutoffs(self, rival: str) -> dict[float, float]:
        found = {goal: self.choice(rival, goal) for goal in GOALS}
        return {goal: MARGIN * best[1].seconds if best else math.inf for goal, best in found.items()}

    def choice(self, rival: str, goal: float) -> tuple[Setting, Run] | None:
        """Of a rival's settings the one that was fastest to the goal in the sweep."""
        settings = RIVALS[rival]().settings(self.facts)
        found = [(setting, fastest(self.runs(rival, setting.name), self.best, goal)) for setting in settings]
        return min(((s, run) for s, run in found if run), key=lambda f: f[1].seconds, default=None)

    def runs(self, rival: str, setting: str) -> list[Run]:
        return runs_of(self.entry["sweeps"].get(rival, {}).get(setting, {}))

    def headline(self, goal: float) -> dict[str, Any]:
        """luce, luce with tol = goal, scikit-learn, and the fastest other rivals, interleaved."""
        sides = {"luce": self.choice("luce", goal)}
        if sides["luce"] is not None:
            sides["proven"] = (sides["luce"][0], Run(level(goal), 0.0))
        others = {name: self.choice(name, goal) for name in self.workers if name != "luce"}
        least = min((found[1].seconds for found in others.values() if found), default=math.inf)
        sides |= {k: v for k, v in others.items() if v and (k == "scikit-learn" or v[1].seconds <= NEAR * least)}
        return self.interleaved({side: found for side, found in sides.items() if found})

    def interleaved(self, sides: dict[str, tuple[Setting, Run]]) -> dict[str, Any]:
        times: dict[str, list[Run]] = {side: [] for side in sides}
        for turn in range(self.repeat):
            for side, (setting, run) in sides.items():
                rival = "luce" if side == "proven" else side
                if turn < 3 or times[side][-1].seconds < LONG:
                    times[side].append(self.run(rival, setting, run.effort, 2 * self.limit, LONG_PAUSE))
        return {side: self.side(sides[side][0], runs) for side, runs in times.items()}

    def side(self, setting: Setting, runs: list[Run]) -> dict[str, Any]:
        seconds = [run.seconds for run in runs]
        return {
            "setting": setting.name, "effort": runs[0].effort, "runs": len(runs),
            "seconds": statistics.median(seconds), "spread": max(seconds) / min(seconds),
            "gap": max(gap(run, self.best) for run in runs), "facts": runs[-1].facts,
        }  # fmt: skip


def runs_of(found: dict[str, Any]) -> list[Run]:
    return [Run(**run) for run in found.get("runs", [])]


def hopeless(entries: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """(rival, setting) that came to the limit without reaching any goal, in the entries of smaller C."""
    found = set()
    for entry in entries:
        best = entry["reference"]["value"]
        for rival, settings in entry["sweeps"].items():
            for setting, result in settings.items():
                beaten = not any(gap(run, best) <= max(GOALS) for run in runs_of(result))
                if result["end"] == "not reached at a smaller C" or (result["end"] == "limit" and beaten):
                    found.add((rival, setting))
    return found


def fits(asked: argparse.Namespace, store: Store) -> None:
    """The part `fits`: every problem at every C."""
    present = [RIVALS[name]() for name in ["luce", *asked.rivals] if not RIVALS[name]().missing()]
    print(HEAD, flush=True)
    for problem, folder in each_problem(asked):
        workers = {rival.name: Worker(rival.name, folder) for rival in present}
        try:
            measure(problem, workers, present, asked, store)
        finally:
            for worker in workers.values():
                worker.close()


def each_problem(asked: argparse.Namespace) -> Iterator[tuple[Problem, Path]]:
    for name in asked.only:
        with tempfile.TemporaryDirectory(prefix="luce-bench-") as folder:
            problem = problems.load(name)
            problems.save(problem, Path(folder))
            yield problem, Path(folder)


def measure(
    problem: Problem, workers: dict[str, Worker], present: list[Rival], asked: argparse.Namespace, store: Store
) -> None:
    section, before = store.section("fits"), []
    for C in sorted(asked.C):
        key = f"{problem.name}, C={C:g}"
        if not asked.resume:
            section.pop(key, None)
        entry = section.setdefault(key, {})
        task = Task(problem, C, entry, workers, asked)
        if "reference" not in entry and (wrong := task.refer()):
            entry["skipped"] = f"luce: {wrong}"
            print(f"| {problem.name} | {C:g} | skipped, luce: {wrong}", flush=True)
            store.save()
            continue
        entry.pop("skipped", None)
        store.save()
        if asked.check and problem.rows * problem.columns * problem.outputs**2 <= CHECKED:
            entry["newton"] = problems.newton(problem, 1 / C)
            print(f"  check: Newton-CG is {entry['newton'] / task.best - 1:.1e} above F*", flush=True)
        for rival in present:
            task.sweep(rival, store.save, hopeless(before))
        entry["started"] = entry.get("started", {}) | {k: w.started for k, w in workers.items() if w.started}
        before.append(entry)
        for goal in GOALS:
            if f"{goal:g}" not in entry.setdefault("headline", {}):
                entry["headline"][f"{goal:g}"] = task.headline(goal)
                store.save()
            print(line(entry, goal), flush=True)


# Tables for people

HEAD = (
    "| problem | C | to | luce | proven | scikit-learn | | fastest rival | | spread |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def short(seconds: float) -> str:
    if seconds < 0.1:
        return f"{1e3 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 99.95 else f"{seconds:.0f} s"


def line(entry: dict[str, Any], goal: float) -> str:
    """A row of the headline table; the ratios are times of the rival over luce's."""
    found = entry["headline"][f"{goal:g}"]
    cells = [entry["problem"], f"{entry['C']:g}", f"{goal:g}"]
    cells += [short(found[side]["seconds"]) if side in found else "not reached" for side in ("luce", "proven")]
    own, first = "scikit-learn", fastest_rival(found)
    cells += against(found, own, found[own]["setting"]) if own in found else [missed(entry, own), ""]
    if first is None:
        cells += [missed(entry, ""), ""]
    else:
        cells += [first, ""] if first == own else against(found, first, f"{first} {found[first]['setting']}")
    shown = [side for side in ("luce", own, first) if side in found]
    cells.append(" / ".join(f"{found[side]['spread']:.2f}" for side in dict.fromkeys(shown)))
    wrong = [side for side in found if found[side]["gap"] > goal]
    return "| " + " | ".join(cells) + " |" + "".join(f" ({side} missed the target in a repeat)" for side in wrong)


def against(found: dict[str, Any], side: str, name: str) -> list[str]:
    return [f"{short(found[side]['seconds'])} ({name})", f"{ratio(found, side):.3g}x"]


def fastest_rival(found: dict[str, Any]) -> str | None:
    names = [side for side in found if side not in ("luce", "proven")]
    return min(names, key=lambda side: found[side]["seconds"], default=None)


def ratio(found: dict[str, Any], side: str) -> float:
    return found[side]["seconds"] / found["luce"]["seconds"] if "luce" in found else math.nan


def missed(entry: dict[str, Any], rival: str) -> str:
    """How near the best of a rival's settings came; of all rivals if none is named."""
    names = [rival] if rival else [name for name in entry["sweeps"] if name != "luce"]
    results = [result for name in names for result in entry["sweeps"].get(name, {}).values()]
    best = entry["reference"]["value"]
    runs = [run for result in results for run in runs_of(result) if run.value is not None]
    if not runs:
        ends = {error_of(result) or result["end"] for result in results}
        return "; ".join(sorted(ends)) or "not tried"
    nearest = min(runs, key=lambda run: (gap(run, best), run.seconds))
    return f"not reached (best {gap(nearest, best):.0e} at {short(nearest.seconds)})"


def error_of(result: dict[str, Any]) -> str:
    return next((run.error for run in runs_of(result) if run.error), "")


def rivals_table(entries: list[dict[str, Any]]) -> list[str]:
    """The best setting of every rival, single runs of the sweep."""
    names = ["luce", *FITTERS]
    rows = ["| problem | C | to | " + " | ".join(names) + " |", "|---|---|---|" + "---|" * len(names)]
    for entry in entries:
        for goal in GOALS:
            cells = [entry["problem"], f"{entry['C']:g}", f"{goal:g}"]
            cells += [best_of(entry, name, goal) for name in names]
            rows.append("| " + " | ".join(cells) + " |")
    return rows


def best_of(entry: dict[str, Any], rival: str, goal: float) -> str:
    if rival not in entry["sweeps"]:
        return "missing" if RIVALS[rival]().missing() else "not asked for"
    best, settings = entry["reference"]["value"], entry["sweeps"][rival]
    found = [(run, name) for name, result in settings.items() if (run := fastest(runs_of(result), best, goal))]
    if not found:
        return missed(entry, rival)
    run, name = min(found, key=lambda f: f[0].seconds)
    return f"{short(run.seconds)} ({name})" if rival != "luce" else short(run.seconds)


def started_table(entries: list[dict[str, Any]]) -> list[str]:
    """The import of each rival, median over the problems."""
    times: dict[str, list[float]] = {}
    for entry in entries:
        for rival, started in entry.get("started", {}).items():
            times.setdefault(rival, []).append(started["import"])
    return [f"import: {name} {short(statistics.median(t))}" for name, t in times.items()]


def summary(entries: list[dict[str, Any]]) -> dict[str, Any]:
    heads = [(entry, found) for entry in entries for found in entry.get("headline", {}).values() if "luce" in found]
    own = [ratio(found, "scikit-learn") for _, found in heads if "scikit-learn" in found]
    any_kind = [least for _, found in heads if (least := least_ratio(found))]
    slower = {entry["problem"] for entry, found in heads if (least := least_ratio(found)) and least < 1}
    tried = sum("scikit-learn" in entry["sweeps"] for entry, _ in heads)
    result: dict[str, Any] = {"problems x C x target": len(heads)}
    for name, ratios, all_cases in (("scikit-learn's best", own, tried), ("the fastest rival", any_kind, len(heads))):
        if ratios:
            result[f"times faster than {name}, geometric mean of {len(ratios)}"] = statistics.geometric_mean(ratios)
            result[f"times faster than {name}, least"] = min(ratios)
        result[f"not reached by {name}"] = all_cases - len(ratios)
    result["cases where a rival is faster"] = sum(r < 1 for r in any_kind)
    result["problems where a rival is faster"] = len(slower)
    apart = [e["newton"] / e["reference"]["value"] - 1 for e in entries if "newton" in e]
    if apart:
        result["check: Newton-CG below F* by at most"] = max(0.0, -min(apart))
    result["largest certificate of F*"] = max((e["reference"]["facts"]["gap"] for e in entries), default=0.0)
    return result


def least_ratio(found: dict[str, Any]) -> float | None:
    first = fastest_rival(found)
    return ratio(found, first) if first else None


def report_fits(store: Store, asked: argparse.Namespace) -> None:
    known = [e for e in store.section("fits").values() if "headline" in e]
    entries = [e for e in known if e["problem"] in asked.only]
    print(HEAD)
    for entry in entries:
        for goal in GOALS:
            if f"{goal:g}" in entry["headline"]:
                print(line(entry, goal))
    print("\nThe best setting of each rival, single runs of the sweep:\n")
    print("\n".join([*rivals_table(entries), "", *started_table(entries)]))
    for entry in store.section("fits").values():
        if "skipped" in entry:
            print(f"skipped: {entry['problem']}, C={entry['C']:g}: {entry['skipped']}")
    store.content["summary"] = summary(entries)
    for name, number in store.content["summary"].items():
        print(f"{name}: {number:.4g}")
    store.save()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default="fits", help="fits, l1, auto, memory, scaling, predict or all; by commas")
    parser.add_argument("--only", help="names of problems, separated by commas: " + ", ".join(problems.names()))
    parser.add_argument("--C", default="0.01,1,100")
    parser.add_argument("--rival", help="names of rivals, separated by commas: " + ", ".join(FITTERS))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--limit", type=float, help="seconds for one fit (120; 20 with --quick)")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one run each, a limit of 20 s")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    asked.named = asked.only is not None
    asked.only = chosen(asked.only, problems.names(), parser)
    asked.rivals = chosen(asked.rival, FITTERS, parser)
    asked.C = [float(c) for c in asked.C.split(",")]
    asked.limit = asked.limit or (20.0 if asked.quick else 120.0)
    asked.repeat = 1 if asked.quick else asked.repeat
    parts = ["fits", *fit_parts.PARTS]
    asked.parts = parts if asked.part == "all" else chosen(asked.part, parts, parser)
    return asked


def chosen(text: str | None, known: list[str], parser: argparse.ArgumentParser) -> list[str]:
    if text is None:
        return known
    wanted = text.split(",")
    unknown = [name for name in wanted if name not in known]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return [name for name in known if name in wanted]


def main() -> None:
    asked = arguments()
    if not problems.DATA.is_dir():
        sys.exit(f"the real data sets are not here: {problems.DATA}")
    for library in ("OMP", "MKL", "OPENBLAS", "NUMBA", "LUCE"):  # for the processes that do the work
        os.environ[f"{library}_NUM_THREADS"] = str(rivals.THREADS)
    store = Store(OUT)
    for name, version in store.content["machine"]["versions"].items():
        print(f"{name} {version}" + (": named here, not measured" if version == "missing" else ""))
    for part in asked.parts:
        print(f"\n## {part}\n")
        if part == "fits":
            if not asked.report:
                fits(asked, store)
                print()
            report_fits(store, asked)
        else:
            fit_parts.PARTS[part](asked, store)


if __name__ == "__main__":
    main()
