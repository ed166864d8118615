"""What an engine costs: one fit of 2,000,000 x 50 in one process, by local workers, and by Ray's; see docs/scale.md."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from luce import objective, path
from luce.distributed import parted
from luce.engine import Engine, LocalProcesses
from luce.features import Features
from luce.path import Problem
from luce.ray_engine import RayWorkers
from luce.shard import mapped

OUT = Path(__file__).parent / "out"
PASSES = 20


def write(folder: Path, rows: int, columns: int, classes: int) -> None:
    """Rows about a linear model, in blocks."""
    rng = np.random.default_rng(0)
    point = rng.normal(size=(columns, classes)) / np.sqrt(columns) * 2
    dense = np.lib.format.open_memmap(folder / "dense.npy", "w+", np.float32, (rows, columns))
    codes = np.lib.format.open_memmap(folder / "codes.npy", "w+", np.int32, (rows,))
    for first in range(0, rows, 100_000):
        x = rng.normal(size=(min(100_000, rows - first), columns)).astype(np.float32)
        dense[first : first + len(x)] = x
        z = x @ point
        codes[first : first + len(x)] = np.argmax(z + rng.gumbel(size=z.shape), axis=1)


@contextlib.contextmanager
def in_one_process(folder: Path, keep: bool) -> Iterator[Features]:
    """Read into memory; where the logits of all rows are not kept it takes the same way as an engine."""
    most = objective.MOST_LOGITS, path.MOST_LOGITS
    dense = mapped(folder).features.dense
    assert dense is not None
    if not keep:
        objective.MOST_LOGITS = path.MOST_LOGITS = len(dense) - 1
    yield Features(len(dense), np.array(dense))
    objective.MOST_LOGITS, path.MOST_LOGITS = most


@contextlib.contextmanager
def by_engine(folder: Path, engine: Engine) -> Iterator[Features]:
    with parted(folder, engine) as (features, _):
        features.column_sums(1)  # the workers are there when they answer
        yield features


def measured(folder: Path, classes: int, threads: int, how: Any) -> dict[str, Any]:
    begun = time.perf_counter()
    with how as features:
        started = time.perf_counter() - begun
        problem = Problem(features, np.array(mapped(folder).codes), classes, None, threads=threads)
        begun = time.perf_counter()
        solution = problem.solve(1e-4, 1e-6)
        seconds = time.perf_counter() - begun
        o, times = problem.objective(1e-4), []
        for _ in range(PASSES):
            begun = time.perf_counter()
            o.value_and_gradient(solution.point)
            times.append(time.perf_counter() - begun)
    c = solution.certificate
    return {
        "start": started, "seconds": seconds, "passes": c.passes, "pass_ms": 1e3 * median(times),
        "relative_gap": c.relative_gap, "point": solution.point.tobytes(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, given.rows, given.columns, given.classes)
        ways = {
            f"one process, {given.workers} threads": in_one_process(folder, keep=True),
            "the same, no logits kept": in_one_process(folder, keep=False),
            f"{given.workers} local workers": by_engine(folder, LocalProcesses(given.workers)),
            f"{given.workers} workers of Ray": by_engine(folder, RayWorkers(given.workers)),
        }
        found = {way: measured(folder, given.classes, given.workers, how) for way, how in ways.items()}
    known = found["the same, no logits kept"]
    print(f"{given.rows:,} x {given.columns}, {given.classes} classes, to a proven 1e-6")
    print("| | started in | seconds | times | passes | ms a pass | over one process | same bits |")
    print("|---|---|---|---|---|---|---|---|")
    for way, f in found.items():
        f["same"] = f["point"] == known["point"]
        print(
            f"| {way} | {f['start']:.2f} | {f['seconds']:.2f} | {f['seconds'] / known['seconds']:.2f} "
            f"| {f['passes']} | {f['pass_ms']:.1f} | {f['pass_ms'] - known['pass_ms']:+.1f} | {f['same']} |"
        )
    for f in found.values():
        del f["point"]
    OUT.mkdir(exist_ok=True)
    (OUT / "engine.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
