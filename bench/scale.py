"""Tables larger than memory: how fast and in how much memory.

    python bench/scale.py predict [--rows 1e6 1e7 5e7] [--effects straight bent] [--format parquet csv]
    python bench/scale.py fit [--rows 2e7] [--columns 50] [--classes 2] [--memory 1GB] [--place FOLDER]
    python bench/scale.py bent [--rows 1e5 3e5 1e6 3e6]
    python bench/scale.py same FILE:LABEL ... [--place FOLDER]

predict: answers to rows of 20 float32 columns (seeded), a file to a Parquet file, by `luce.predict_file` in a process
of its own: rows a second (without the start of Python), the peak of its memory, and how much that grew after 100,000.
fit: classes by `luce train` on 20 Parquet files, in memory and with --memory, each in a process: seconds, seconds a
pass of the last fit, the peak of what it holds (and apart the kernel's pages of mapped files, which it takes back when
they are wanted), whether the model files are the same; then scikit-learn's SGDClassifier in frames of 65,536 rows, and
Vowpal Wabbit (`pip install vowpalwabbit`) from its own text format, whose writing is timed apart: each one pass and
three, at the best of some rates, tried on the first file (its seconds apart). All are asked for the log loss of the
same rows, of a 21st file. bent: rows of 40 float32 columns, of which five bend or act together and the rest are
straight, by luce, by luce with straight effects, by scikit-learn's LogisticRegression and by LightGBM (`pip install
lightgbm`), each at its defaults and in a process of its own: seconds, peak of memory, and the log loss of 100,000 fresh
rows beside the least possible. same: whether memory, a store, local workers, Ray, and `luce train` with each on tables
that are made, one straight and one bent, give one file, all tables counted as vast.
Files go to a temporary folder (in --place) and are removed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
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


FIT = """
import json, sys, threading, time
import luce, luce.compact, luce.gather
pattern, memory, held, out = sys.argv[1:]
peak, ends, seen = {"RssAnon": 0, "RssFile": 0}, threading.Event(), []
def look():
    while not ends.wait(0.01):
        for line in open("/proc/self/status"):
            name, _, rest = line.partition(":")
            if name in peak: peak[name] = max(peak[name], int(rest.split()[0]) >> 10)
base = next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("RssAnon"))
threading.Thread(target=look, daemon=True).start()
start = time.perf_counter()
room = None if memory == "all" else luce.compact.bytes_of(memory)
table = luce.gather.gather(pattern, memory=room, parent=out.rpartition("/")[0], keep="y")
read = time.perf_counter() - start
trained = luce.train(table, "y", progress=lambda passes, gap: seen.append((passes, time.perf_counter())))
seconds = time.perf_counter() - start
trained.classifier.save(out)
ends.set()  # what follows is not the fit's
import numpy as np, polars as pl
rows = pl.read_parquet(held)
y = np.searchsorted(trained.classifier.classes_, rows["y"])
p = trained.classifier.predict_proba(rows.drop("y"))[np.arange(rows.height), y]
last = [b for a, b in zip(seen, seen[1:]) if b[0] > a[0]][-3:]
first = seen[len(seen) - len(last) - 1]
print(json.dumps({"read s": read, "s": seconds, "a pass, s": (last[-1][1] - first[1]) / (last[-1][0] - first[0]),
    "passes": trained.classifier.fitted.facts["passes"], "above base, MiB": peak["RssAnon"] - base,
    "mapped at most, MiB": peak["RssFile"], "log loss": float(-np.log(p).mean()),
    "log loss of rows it held out": trained.report.log_loss}))
"""

SGD = """
import glob, json, sys, time
import numpy as np, polars as pl
from sklearn.linear_model import SGDClassifier
from luce.blocks import frames
files, held, classes = sorted(glob.glob(sys.argv[1])), pl.read_parquet(sys.argv[2]), json.loads(sys.argv[3])
x, y = held.drop("y").to_numpy(), np.searchsorted(classes, held["y"])

def fitted(files, passes, alpha):
    start, model = time.perf_counter(), SGDClassifier(loss="log_loss", alpha=alpha, random_state=0)
    for _ in range(passes):
        for path in files:
            for frame in frames(path):
                model.partial_fit(frame.drop("y").to_numpy(), frame["y"].to_numpy(), classes=classes)
    seconds = time.perf_counter() - start
    p = model.predict_proba(x)[np.arange(len(y)), y]
    return {"s": seconds, "log loss": float(-np.log(np.maximum(p, 1e-300)).mean()), "alpha": alpha}

start = time.perf_counter()
alphas = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
best = min((fitted(files[:1], 1, alpha) for alpha in alphas), key=lambda f: f["log loss"])["alpha"]
tried = time.perf_counter() - start
print(json.dumps({"tried s": tried} | {f"{passes} passes": fitted(files, passes, best) for passes in (1, 3)}))
"""

VW = """
import glob, json, os, sys, time
import numpy as np, polars as pl
from vowpalwabbit import Workspace
from luce.blocks import frames
files, held, classes = sorted(glob.glob(sys.argv[1])), sys.argv[2], json.loads(sys.argv[3])
place = sys.argv[4]
names = ["-1", "1"] if len(classes) == 2 else [str(i + 1) for i in range(len(classes))]
how = " --link logistic" if len(classes) == 2 else f" --oaa {len(classes)} --probabilities"
how = f"--loss_function logistic{how}"

def written(paths, out):
    with open(out, "wb") as file:
        for path in paths:
            for frame in frames(path):
                x = [c for c in frame.columns if c != "y"]
                line = [pl.col("y").replace_strict(classes, names, return_dtype=pl.String), pl.lit(" |")]
                for i, name in enumerate(x):
                    line += [pl.lit(f" {i}:"), pl.col(name).cast(pl.String)]
                lines = frame.select(pl.concat_str(line))
                file.write(lines.write_csv(include_header=False, quote_style="never").encode())

def fitted(text, passes, rate):
    start = time.perf_counter()
    cache = f"--cache_file {place}/cache --kill_cache --holdout_off --passes {passes}" if passes > 1 else ""
    Workspace(f"{how} -d {text} -f {place}/model.vw -l {rate} {cache} --quiet").finish()
    seconds = time.perf_counter() - start
    Workspace(f"{how} -t -i {place}/model.vw -d {place}/held.txt -p {place}/p.txt --quiet").finish()
    lines = open(f"{place}/p.txt").read().split()
    if len(classes) == 2:
        yes = np.array(lines, float)
        p = np.where(y == 1, yes, 1 - yes)
    else:
        p = np.array([line.partition(":")[2] for line in lines], float).reshape(-1, len(classes))[np.arange(len(y)), y]
    return {"s": seconds, "log loss": float(-np.log(np.maximum(p, 1e-300)).mean()), "rate": rate}

y = np.searchsorted(classes, pl.read_parquet(held)["y"])
written([held], f"{place}/held.txt")
written(files[:1], f"{place}/first.txt")
start = time.perf_counter()
written(files, f"{place}/all.txt")
text = time.perf_counter() - start
start = time.perf_counter()
rates = (0.02, 0.1, 0.5, 2.0, 8.0)
best = min((fitted(f"{place}/first.txt", 1, rate) for rate in rates), key=lambda f: f["log loss"])["rate"]
found = {"tried s": time.perf_counter() - start, "text s": text, "text GB": os.path.getsize(f"{place}/all.txt") / 1e9}
print(json.dumps(found | {f"{passes} passes": fitted(f"{place}/all.txt", passes, best) for passes in (1, 3)}))
"""

BENT = """
import json, resource, sys, time
import numpy as np
rows, how = int(sys.argv[1]), sys.argv[2]
sys.path.insert(0, sys.argv[3])
from scale import bends
frame, _ = bends(rows, 0)
fresh, score = bends(100_000, 9)
yes = (fresh["y"] == "yes").to_numpy()
start = time.perf_counter()
if how.startswith("luce"):
    import luce
    model = luce.Classifier(effects="linear" if "straight" in how else "auto").fit(frame, "y")
    effects = [tried["features"] for tried in model.fitted.facts["effects"]]
    seconds, p, more = time.perf_counter() - start, model.predict_proba(fresh.drop("y"))[:, 1], {"features": effects}
else:
    if how == "LightGBM":
        from lightgbm import LGBMClassifier
        model = LGBMClassifier(n_jobs=2, verbose=-1)
    else:
        from sklearn.linear_model import LogisticRegression
        model = LogisticRegression()
    model.fit(frame.drop("y").to_numpy(), frame["y"].to_numpy() == "yes")
    seconds, p, more = time.perf_counter() - start, model.predict_proba(fresh.drop("y").to_numpy())[:, 1], {}
loss = -np.log(np.where(yes, p, 1 - p)).mean()
least = np.log1p(np.exp(np.where(yes, -score, score))).mean()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
found = {"rows": rows, "how": how, "s": seconds, "log loss": float(loss), "least": float(least), "MiB": peak}
print(json.dumps(found | more))
"""


def bends(rows: int, seed: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Two classes by 40 columns: a wave, a corner, a hill, a product of two, and straight parts; and their logit."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 40), dtype=np.float32)
    score = 1.5 * np.sin(2 * x[:, 0]) + 1.2 * np.abs(x[:, 1]) + x[:, 2] * x[:, 3] + 0.6 * x[:, 4] - 0.5 * x[:, 5] ** 2
    score = (score + 0.1 * x[:, 6:].sum(axis=1) - 0.5).astype(np.float64)
    label = np.where(rng.logistic(size=rows) < score, "yes", "no")
    return pl.DataFrame(x, schema=[f"x{i}" for i in range(40)]).with_columns(y=pl.Series(label)), score


def bent(asked: argparse.Namespace) -> list[dict[str, object]]:
    found = []
    for rows in map(int, asked.rows):
        for how in ("luce", "luce, straight", "LogisticRegression", "LightGBM"):
            if how == "LightGBM" and find_spec("lightgbm") is None:
                print("LightGBM is not installed: pip install lightgbm")
                continue
            found.append(told(BENT, rows, how, Path(__file__).parent))
            print(found[-1], flush=True)
    return found


def told(code: str, *arguments: object) -> dict[str, object]:
    """What a process of its own says."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def made(folder: Path, rows: int, columns: int, classes: list[str], files: int = 20) -> tuple[str, Path]:
    """So many rows in Parquet files, and a twentieth of them once more in a file of its own: the pattern, and that."""
    folder.mkdir()
    weights = np.random.default_rng(0).normal(size=(columns, len(classes) - 1)) * 2 / columns**0.5
    for k in range(files + 1):
        rng = np.random.default_rng([1, k])
        x = rng.standard_normal((rows // files, columns), dtype=np.float32)
        if len(classes) == 2:
            label = (rng.random(len(x)) < 1 / (1 + np.exp(0.5 - x @ weights[:, 0]))).astype(int)
        else:
            z = np.concatenate([np.full((len(x), 1), 0.5), x @ weights], axis=1)
            label = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
        frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(columns)})
        frame = frame.with_columns(y=pl.Series(np.array(classes)[label]))
        path = folder / f"{k:02d}.parquet" if k < files else folder.parent / "held.parquet"
        frame.write_parquet(path, compression="uncompressed", row_group_size=1 << 17)
    return f"{folder}/*.parquet", folder.parent / "held.parquet"


def fit(asked: argparse.Namespace) -> dict[str, dict[str, object]]:
    classes = ["no", "yes"] if asked.classes == 2 else [f"class {k:02d}" for k in range(asked.classes)]
    found = {}
    with tempfile.TemporaryDirectory(dir=asked.place) as folder:
        pattern, held = made(Path(folder, "rows"), int(asked.rows), asked.columns, classes)
        for name, memory in (("memory", "all"), ("store", asked.memory)):
            found[name] = told(FIT, pattern, memory, held, f"{folder}/{name}.luce")
            print(name, found[name], flush=True)
        same = Path(folder, "memory.luce").read_bytes() == Path(folder, "store.luce").read_bytes()
        print("the same file" if same else "THE FILES DIFFER")
        found["same"] = {"same": same}
        for name, code in (("SGDClassifier", SGD), ("Vowpal Wabbit", VW)):
            if name == "Vowpal Wabbit" and find_spec("vowpalwabbit") is None:
                print("Vowpal Wabbit is not installed: pip install vowpalwabbit")
                continue
            found[name] = told(code, pattern, held, json.dumps(classes), folder)
            print(name, found[name], flush=True)
    return found


def same(asked: argparse.Namespace) -> dict[str, bool]:
    from luce import gather, vast

    vast.MOST_CELLS = 0
    found = {}
    with tempfile.TemporaryDirectory(dir=asked.place) as folder:
        for each in asked.tables:
            path, _, label = each.rpartition(":")
            files = set()
            for engine, memory in ((None, None), (None, 1), (luce.processes(2), None), (luce.ray(2), 1)):
                table = gather.gather(path, memory=memory, parent=folder, keep=label)
                model = luce.train(table, label, classifier=luce.Classifier(engine=engine)).classifier
                model.save(f"{folder}/m.luce")
                files.add(Path(folder, "m.luce").read_bytes())
            found[path] = len(files) == 1
            print(path, model.fitted.facts["certificate"], "the same file" if found[path] else "THE FILES DIFFER")
        vast.MOST_CELLS = 1 << 25  # as the command has it: the table that is made has more
        Path(folder, "bent").mkdir()
        for k in range(4):
            bends(250_000, k)[0].write_parquet(Path(folder, "bent", f"{k}.parquet"))
        straight, _ = made(Path(folder, "made"), 1_000_000, 40, ["a", "b", "c"])
        for name, path in (("straight", straight), ("bent", f"{folder}/bent/*.parquet")):
            table = gather.gather(path, keep="y")
            luce.train(table, "y").classifier.save(f"{folder}/m.luce")
            files = {Path(folder, "m.luce").read_bytes()}
            for more in ([], ["--memory", "200MB"], *(["--engine", how, "--workers", "2"] for how in ("local", "ray"))):
                command = [sys.executable, "-m", "luce", "train", path, "--label", "y", "--out", f"{folder}/c.luce"]
                subprocess.run(command + more, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                files.add(Path(folder, "c.luce").read_bytes())
            found[f"luce train, {name}"] = len(files) == 1
            print("luce train, a made table,", name, "the same file" if len(files) == 1 else "THE FILES DIFFER")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("predict")
    command.add_argument("--rows", type=float, nargs="+", default=[1e6, 1e7, 5e7])
    command.add_argument("--effects", nargs="+", choices=["straight", "bent"], default=["straight", "bent"])
    command.add_argument("--format", nargs="+", choices=["parquet", "csv"], default=["parquet"])
    command = commands.add_parser("fit")
    command.add_argument("--rows", type=float, default=2e7)
    command.add_argument("--columns", type=int, default=50)
    command.add_argument("--classes", type=int, default=2)
    command.add_argument("--memory", default="1GB")
    command.add_argument("--place")
    command = commands.add_parser("bent")
    command.add_argument("--rows", type=float, nargs="+", default=[1e5, 3e5, 1e6, 3e6])
    command = commands.add_parser("same")
    command.add_argument("tables", nargs="*")
    command.add_argument("--place")
    asked = parser.parse_args()
    found = {"predict": predict, "fit": fit, "bent": bent, "same": same}[asked.command](asked)
    OUT.mkdir(exist_ok=True)
    (OUT / f"scale_{asked.command}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
