"""Tables larger than memory: how fast and in how much memory.

    python bench/scale.py predict [--rows 1e6 1e7 5e7] [--effects straight bent] [--format parquet csv]

predict: answers to rows of 20 float32 columns (seeded), a file to a Parquet file, by `luce.predict_file` in a process
of its own: rows a second (without the start of Python), the peak of its memory, and how much that grew after 100,000.
Files go to a temporary folder and are removed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

import luce
from luce.columnar import parquet_pieces

OUT = Path(__file__).parent / "out"
COLUMNS = [f"x{i}" for i in range(20)]
STEP = 1 << 18  # rows of a row group, and of what is made at once

RUN = """
import json, resource, sys, time, luce
model, few, many, out = sys.argv[1:]
classifier = luce.load(model)
luce.predict_file(classifier, few, out)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
rows = luce.predict_file(classifier, many, out).rows
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"rows": rows, "seconds": seconds, "MiB": peak >> 10, "grown MiB": (peak - before) >> 10}))
"""


def tables(rows: int, seed: int) -> Iterator[pl.DataFrame]:
    rng = np.random.default_rng(seed)
    for at in range(0, rows, STEP):
        values = rng.standard_normal((20, min(STEP, rows - at)), dtype=np.float32)
        yield pl.DataFrame(dict(zip(COLUMNS, values, strict=True)))


def write(path: Path, rows: int, seed: int) -> None:
    with path.open("wb") as file:
        if path.suffix == ".csv":
            for number, frame in enumerate(tables(rows, seed)):
                frame.write_csv(file, include_header=not number)
        else:
            for piece in parquet_pieces(tables(rows, seed)):
                file.write(piece)


def model(path: Path, bent: bool) -> None:
    """A model of two classes, which is linear in its columns, or bends them and joins two."""
    frame = next(tables(20_000, 7))
    x = frame.to_numpy()
    score = x[:, :5].sum(axis=1) + (2 * x[:, 5] ** 2 + x[:, 6] * x[:, 7] - 2 if bent else 0)
    label = np.where(score + np.random.default_rng(8).logistic(size=len(x)) > 0, "yes", "no")
    luce.Classifier().fit(frame.with_columns(pl.Series("y", label)), "y").save(path)


def predict(asked: argparse.Namespace) -> list[dict[str, object]]:
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for effects in asked.effects:
            model(folder / f"{effects}.luce", effects == "bent")
        for form in asked.format:
            few, many = folder / f"few.{form}", folder / f"many.{form}"
            write(few, 100_000, 1)
            for rows in map(int, asked.rows):
                write(many, rows, 2)
                for effects in asked.effects:
                    names = [folder / f"{effects}.luce", few, many, folder / "out.parquet"]
                    done = subprocess.run(
                        [sys.executable, "-c", RUN, *names], capture_output=True, text=True, check=True
                    )
                    one = {"form": form, "effects": effects, **json.loads(done.stdout)}
                    print(
                        f"{form:8} {effects:9} {rows:>12,} rows {rows / one['seconds']:>12,.0f} rows/s "
                        f"{one['MiB']:>6,} MiB, {one['grown MiB']:,} more than for 100,000 rows",
                        flush=True,
                    )
                    found.append(one)
                many.unlink()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("predict")
    command.add_argument("--rows", type=float, nargs="+", default=[1e6, 1e7, 5e7])
    command.add_argument("--effects", nargs="+", choices=["straight", "bent"], default=["straight", "bent"])
    command.add_argument("--format", nargs="+", choices=["parquet", "csv"], default=["parquet"])
    asked = parser.parse_args()
    found = {"predict": predict}[asked.command](asked)
    OUT.mkdir(exist_ok=True)
    (OUT / f"scale_{asked.command}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
