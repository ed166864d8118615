"""Softmax of many rows: luce against PyTorch, SciPy and NumPy, beside a two-thread copy of the same bytes.

    ./dev bench softmax [--megabytes 400] [--repeat 5] [--only softmax,log_softmax,...] [--classes 2,3,...] [--small]

Working set: input and output of together --megabytes, the output reused; two threads for all that take a number of
threads. All run interleaved with the copy; a rival whose call takes over two seconds is run three times. A rival that
is not installed is named. --small measures one call on 8 numbers instead, and the import.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

os.environ["LUCE_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "2"

import numpy as np

import luce

OUT = Path(__file__).resolve().parent / "out"
CLASSES = (2, 3, 4, 8, 10, 16, 32, 100, 1_000, 32_000, 320_000)
SLOW = 2.0  # seconds: a rival's call that takes longer is run three times
PAUSE = 0.02  # seconds before a call, for the threads of the one before

try:
    import torch

    torch.set_num_threads(2)
except ImportError:
    torch = None
try:
    import scipy.special as scipy_special
except ImportError:
    scipy_special = None

Call = Callable[[], object]


def copy_by_two(source: np.ndarray, target: np.ndarray) -> Call:
    a, b, half = source.reshape(-1), target.reshape(-1), source.size // 2

    def back() -> None:
        b[half:] = a[half:]

    def copy() -> None:
        thread = threading.Thread(target=back)
        thread.start()
        b[:half] = a[:half]
        thread.join()

    return copy


def by_numpy(z: np.ndarray, out: np.ndarray) -> None:
    np.subtract(z, z.max(axis=1, keepdims=True), out=out)
    np.exp(out, out=out)
    out /= out.sum(axis=1, keepdims=True)


def calls(what: str, z: np.ndarray, out: np.ndarray) -> dict[str, Call]:
    """The same work by each: luce first, then the rivals that are there, each by its fastest way."""
    total = np.empty(len(z), dtype=z.dtype)
    labels = np.arange(len(z)) % z.shape[1]
    found: dict[str, Call] = {
        "softmax": lambda: luce.softmax(z, out=out),
        "log_softmax": lambda: luce.log_softmax(z, out=out),
        "logsumexp": lambda: luce.logsumexp(z, out=total),
        "axis0": lambda: luce.softmax(z.reshape(z.shape[::-1]), axis=0, out=out.reshape(z.shape[::-1])),
        "gradient": lambda: luce.cross_entropy_with_gradient(z, labels, out=out),
    }
    result = {"luce": found[what]}
    if torch is not None:
        t, o, s, y = (torch.from_numpy(a) for a in (z, out, total, labels))

        def gradient() -> None:
            leaf = t.detach().requires_grad_()
            torch.nn.functional.cross_entropy(leaf, y).backward()

        result["PyTorch"] = {
            "softmax": lambda: torch.softmax(t, 1, out=o),
            "log_softmax": lambda: torch.log_softmax(t, 1, out=o),
            "logsumexp": lambda: torch.logsumexp(t, 1, out=s),
            "axis0": lambda: torch.softmax(t.view(z.shape[::-1]), 0, out=o.view(z.shape[::-1])),
            "gradient": gradient,
        }[what]
    if scipy_special is not None and what in ("softmax", "log_softmax", "logsumexp"):
        result["SciPy"] = lambda: getattr(scipy_special, what)(z, axis=1)
    if what == "softmax":
        result["NumPy"] = lambda: by_numpy(z, out)
    return result


def brain_calls(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, Call]]:
    """Softmax of bfloat16 tensors of PyTorch: the bits in and out, and the calls."""
    t = torch.from_numpy(z).to(torch.bfloat16)
    o = torch.zeros_like(t)
    ways = {"luce": lambda: luce.softmax(t, out=o), "PyTorch": lambda: torch.softmax(t, 1, out=o)}
    return t.view(torch.int16).numpy(), o.view(torch.int16).numpy(), ways


def timed(call: Call) -> float:
    time.sleep(PAUSE)
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(what: str, dtype: type, classes: int, megabytes: int, repeat: int) -> dict:
    rows = max(megabytes * 500_000 // (np.dtype(dtype).itemsize * classes), 2)
    rng = np.random.default_rng(0)
    z, out = rng.standard_normal((rows, classes), dtype=dtype), np.zeros((rows, classes), dtype=dtype)
    if what == "bfloat16":
        z, out, ways = brain_calls(z)
    else:
        ways = calls(what, z, out)
    all_calls = {"copy": copy_by_two(z, out), **ways}
    times: dict[str, list[float]] = {name: [] for name in all_calls}
    first = {name: timed(call) for name, call in all_calls.items()}
    for _ in range(repeat):
        for name, call in all_calls.items():
            if first[name] < SLOW or len(times[name]) < 3:
                times[name].append(timed(call))
    medians = {name: statistics.median(t) for name, t in times.items()}
    spread = {name: max(t) / min(t) for name, t in times.items()}
    # the copy's time by the bytes that must move: logsumexp only reads, a gradient reads labels too
    bytes_a_row = 2 * z.itemsize * classes
    must_move = {"logsumexp": bytes_a_row / 2, "gradient": bytes_a_row + 8}.get(what, bytes_a_row)
    bound = medians["copy"] * must_move / bytes_a_row
    return {
        "what": what,
        "dtype": what if what == "bfloat16" else np.dtype(dtype).name,
        "classes": classes, "rows": rows, "seconds": medians,
        "spread": spread, "of the copy": bound / medians["luce"],
        "times faster": {k: v / medians["luce"] for k, v in medians.items() if k not in ("copy", "luce")},
    }  # fmt: skip


def line(row: dict) -> str:
    rivals = "  ".join(f"{k} {v:6.1f}x" for k, v in row["times faster"].items())
    ms = row["seconds"]
    return (
        f"{row['what']:12s} {row['dtype']} {row['rows']:>11,} x {row['classes']:<7,} copy {1e3 * ms['copy']:7.1f} ms  "
        f"luce {1e3 * ms['luce']:7.1f} ms ({row['of the copy']:4.0%} of the copy)  {rivals}"
    )


def one_call() -> dict:
    """Microseconds of one call on 8 float32 logits, and milliseconds of the import in a fresh process."""
    z = np.random.default_rng(0).standard_normal(8, dtype=np.float32)
    ways: dict[str, Call] = {"luce": lambda: luce.softmax(z)}
    if torch is not None:
        t = torch.from_numpy(z)
        ways["PyTorch"] = lambda: torch.softmax(t, 0)
    if scipy_special is not None:
        ways["SciPy"] = lambda: scipy_special.softmax(z)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(21):
        for name, call in ways.items():
            began = time.perf_counter()
            for _ in range(2000):
                call()
            times[name].append((time.perf_counter() - began) / 2000 * 1e6)
    imports = []
    for module in ("numpy", "luce") * 7:
        code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        imports.append((module, float(subprocess.run([sys.executable, "-c", code], capture_output=True).stdout)))
    return {
        "microseconds, one call on 8 float32 logits": {k: statistics.median(v) for k, v in times.items()},
        "milliseconds, import": {
            m: 1e3 * statistics.median(t for n, t in imports if n == m) for m in ("numpy", "luce")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", default="softmax,log_softmax,logsumexp,axis0,gradient,bfloat16")
    parser.add_argument("--classes", default="", help="only these numbers of classes")
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    for name, module in (("PyTorch", torch), ("SciPy", scipy_special)):
        if module is None:
            print(f"{name} is not installed: not measured")
    print("instruction set:", luce.show_config()["instruction_set"])
    OUT.mkdir(exist_ok=True)
    small = one_call()
    print(json.dumps(small, indent=1))
    rows = []
    for what in () if asked.small else asked.only.split(","):
        for dtype in (np.float32, np.float64) if what != "bfloat16" else (np.float32,) if torch else ():
            wanted = [int(c) for c in asked.classes.split(",") if c] or list(CLASSES)
            for classes in wanted if what in ("softmax", "axis0") else [c for c in wanted if c <= 1_000]:
                rows.append(measure(what, dtype, classes, asked.megabytes, asked.repeat))
                print(line(rows[-1]), flush=True)
    if rows:
        with open(OUT / "softmax.json", "w", encoding="utf8") as file:
            json.dump({"small": small, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
