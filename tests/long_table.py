"""The long run of ./dev check --long for tables: 2 GiB of rows are fitted under --memory 256MB, by the anonymous memory
of the process, which no disk takes back. Prints the peak; docs/scale.md says what it is made of."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

MIB = 1 << 20
CAP = 256 * MIB

TRAIN = """
import json, sys, threading, time
import luce, luce.gather
luce.gather.be_lean()
import polars
settings = json.loads(sys.argv[4])
for name, value in settings.items():
    module, _, name = name.rpartition(".")
    setattr(sys.modules[module], name, value)
def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10
peak, ends = 0, threading.Event()
def look():
    global peak
    while not ends.wait(0.002):
        peak = max(peak, anonymous())
base = anonymous()
threading.Thread(target=look, daemon=True).start()
table = luce.gather.gather(sys.argv[1], memory=int(sys.argv[2]), parent=sys.argv[3], keep="y")
read = max(peak, anonymous()) - base
luce.train(table, "y").classifier.save(sys.argv[3] + "/m.luce")
ends.set()
print(json.dumps({"read": read, "all": max(peak, anonymous()) - base, "stored": type(table.frame).__name__}))
"""


def write(folder: Path, rows: int, columns: int, files: int) -> str:
    """Parquet files of float32 numbers and two classes; the pattern that names them."""
    folder.mkdir()
    weights = np.random.default_rng(0).normal(size=columns) * 2 / columns**0.5
    names = [f"x{i}" for i in range(columns)]
    for k in range(files):
        rng = np.random.default_rng([1, k])
        x = rng.standard_normal((rows // files, columns), dtype=np.float32)
        yes = rng.random(len(x)) < 1 / (1 + np.exp(-x @ weights))
        frame = pl.DataFrame(x, schema=names).with_columns(y=pl.Series(np.where(yes, "yes", "no")))
        frame.write_parquet(folder / f"{k:02d}.parquet", compression="uncompressed", row_group_size=1 << 14)
    return f"{folder}/*.parquet"


def peaks(pattern: str, memory: int, place: Path, settings: dict[str, int] | None = None) -> dict[str, int]:
    """The most anonymous memory, in bytes, above what the imports take: while the files are read, and at all."""
    words = [pattern, str(memory), str(place), json.dumps(settings or {})]
    done = subprocess.run([sys.executable, "-c", TRAIN, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(rows: int = 1 << 20, columns: int = 512) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        pattern = write(place / "data", rows, columns, 16)
        found = peaks(pattern, CAP, place)
    size = rows * columns * 4
    print(f"{size / MIB:,.0f} MiB of rows: {found['read'] / MIB:,.0f} MiB read, {found['all'] / MIB:,.0f} MiB at most")
    if found["all"] > CAP:
        sys.exit(f"more than {CAP / MIB:,.0f} MiB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
