"""Embeddings: a certified linear probe on a memory-mapped file of float16 rows, its seconds and its memory.

    ./dev bench embeddings [--rows 200000] [--columns 768] [--classes 1000] [--l2 1e-5] [--tol 1e-3] [--threads N]
                           [--keep] [--rival] [--train]

The set is made up: class means in 64 directions, noise there that no fit can tell from a class (a fit with the true
means is right on about 94 % of 1,000 classes), and a little in all columns; 20,000 rows of its like are the test. Each
way is a process of its own: `anonymous` is the peak of RssAnon (not the pages of the file, which the system may drop)
above what it was once luce was imported; `file` is the size of the file.

What a fit holds that grows with the rows: 8 bytes a row for the energy of the metric, 4 for its class. It keeps no
logits where there are more than 2^25; with --keep it keeps them all the same (rows x classes float64, and twice as much
again while a step is taken), as it does on smaller sets. What it holds that grows with the weights (columns x classes
float64): 12 pairs of steps and changes of the gradient, 8 partial sums of a pass, and some ten more while a step is
taken.

--rival: scikit-learn's LogisticRegression(lbfgs) on a fifth of the rows, as float32, its objective the same, for at
most 30 iterations; seconds of one iteration are set against those of one of our passes on the same rows.
--train: `luce train` on the file as a user runs it: strength, held-out rows, calibration, conformal sets, report.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

OUT = Path(__file__).resolve().parent / "out" / "embeddings.json"
DIRECTIONS, NOISE, AMBIENT = 64, 1.5, 0.25
TESTED = 20_000
BLOCK = 10_000


class Watch:
    """The peak of a process's anonymous memory, in MiB, looked at every 10 ms."""

    def __init__(self) -> None:
        self.peak, self.done = anonymous(), threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self) -> None:
        while not self.done.wait(0.01):
            self.peak = max(self.peak, anonymous())

    def stop(self) -> float:
        self.done.set()
        self.thread.join()
        return self.peak


def anonymous(pid: str = "self") -> float:
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))


def make(folder: Path, rows: int, columns: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    inner = min(DIRECTIONS, columns)
    means = rng.standard_normal((classes, inner)).astype(np.float32)
    basis = np.linalg.qr(rng.standard_normal((columns, inner)))[0].T.astype(np.float32)
    for name, n in (("train", rows), ("test", TESTED)):
        y = rng.integers(0, classes, n)
        x = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float16, (n, columns))
        for i in range(0, n, BLOCK):
            own = y[i : i + BLOCK]
            seen = means[own] + NOISE * rng.standard_normal((len(own), inner), dtype=np.float32)
            x[i : i + BLOCK] = seen @ basis + AMBIENT * rng.standard_normal((len(own), columns), dtype=np.float32)
        x.flush()
        np.save(folder / f"{name}_labels.npy", y)


def loaded(folder: Path, part: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    return np.load(folder / f"{part}.npy", mmap_mode="r"), np.load(folder / f"{part}_labels.npy")


def accuracy(folder: Path, coef: NDArray[Any], bias: NDArray[Any]) -> float:
    x, y = loaded(folder, "test")
    return float((np.argmax(x.astype(np.float32) @ coef.T.astype(np.float32) + bias, axis=1) == y).mean())


def ours(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    import luce
    from luce import objective, path

    if asked.keep:
        objective.MOST_LOGITS = path.MOST_LOGITS = 1 << 62
    (x, y), before = loaded(folder, "train"), anonymous()
    watch, began = Watch(), time.perf_counter()
    fit = luce.SoftmaxRegression(l2=asked.l2, tol=asked.tol, threads=asked.threads).fit(x, y)
    seconds, peak = time.perf_counter() - began, watch.stop()
    found = fit.certificate_
    return {
        "seconds": seconds, "passes": found.passes, "gap": found.relative_gap, "objective": found.objective,
        "anonymous": peak - before, "file": os.path.getsize(folder / "train.npy") / 2**20,
        "accuracy": accuracy(folder, fit.coef_, fit.intercept_),
    }  # fmt: skip


def one_pass(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """The loss and its gradient on a fifth of the rows, the fastest of three."""
    from luce.functional import available_threads
    from luce.inputs import features_of
    from luce.path import Problem

    x, y = loaded(folder, "train")
    n = len(y) // 5
    threads = available_threads(asked.threads)
    o = Problem(features_of(x[:n]), y[:n].astype(np.int32), asked.classes, None, threads=threads).objective(asked.l2)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        o.value_and_gradient(o.start(), single=True)
        times.append(time.perf_counter() - began)
    return {"rows": n, "seconds": min(times)}


def rival(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    import warnings

    from sklearn.linear_model import LogisticRegression

    x, y = loaded(folder, "train")
    n, before = len(y) // 5, anonymous()
    watch, began = Watch(), time.perf_counter()
    model = LogisticRegression(C=1 / (n * asked.l2), max_iter=30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x[:n].astype(np.float32), y[:n])
    seconds, peak = time.perf_counter() - began, watch.stop()
    steps = int(np.max(model.n_iter_))
    return {"rows": n, "seconds": seconds, "iterations": steps, "each": seconds / steps, "anonymous": peak - before}


def trained(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    model = folder / "probe.luce"
    command = [sys.executable, "-m", "luce", "train", "train.npy", "--labels", "train_labels.npy", "--out", str(model)]
    if asked.threads:
        command += ["--threads", str(asked.threads)]
    began, peak = time.perf_counter(), 0.0
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        assert run.stdout is not None
        told: list[str] = []
        reader = threading.Thread(target=lambda: told.extend(run.stdout or ()))
        reader.start()
        while run.poll() is None:
            try:
                peak = max(peak, anonymous(str(run.pid)))
            except (FileNotFoundError, StopIteration):  # it has just ended
                break
            time.sleep(0.02)
        reader.join()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "anonymous": peak, "told": [line for line in told if line.strip()][:2] + told[-2:]}


WAYS = {"fit": ours, "pass": one_pass, "rival": rival, "train": trained}


def measured(way: str, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """A way in a process of its own."""
    given = json.dumps(vars(asked))
    done = subprocess.run(
        [sys.executable, __file__, "--way", way, str(folder), given], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{way}: " + ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items()))
    return found


def main() -> None:
    if sys.argv[1:2] == ["--way"]:
        way, folder, given = sys.argv[2:5]
        print(json.dumps(WAYS[way](Path(folder), argparse.Namespace(**json.loads(given)))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--columns", type=int, default=768)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--l2", type=float, default=1e-5)
    parser.add_argument("--tol", type=float, default=1e-3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--rival", action="store_true")
    parser.add_argument("--train", action="store_true")
    asked = parser.parse_args()
    found: dict[str, Any] = {"asked": vars(asked)}
    with tempfile.TemporaryDirectory(prefix="luce-embeddings-") as name:
        folder = Path(name)
        make(folder, asked.rows, asked.columns, asked.classes)
        for way in ["fit", *(["pass", "rival"] if asked.rival else []), *(["train"] if asked.train else [])]:
            found[way] = measured(way, folder, asked)
        if asked.rival:
            print(
                f"an iteration of scikit-learn's takes {found['rival']['each'] / found['pass']['seconds']:.2f} passes"
            )
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
