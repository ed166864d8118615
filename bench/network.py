"""NetworkClassifier beside PyTorch and scikit-learn's MLPClassifier, with two threads.

    ./dev bench network [speed] [mnist] [tables] [--rows N] [--runs 5] [--seeds 3] [--only TABLE,TABLE]

speed: rows a second of one run over MNIST by 784-256-10, AdamW, no dropout, for each size of batch. luce reads the
pixels as bytes and scales them as it goes, as NetworkClassifier does; PyTorch has them as one float32 tensor, scaled,
indexed by a permutation; its AdamW is fused and foreach, eager and compiled, and the fastest counts. Interleaved;
medians.
mnist: the defaults of NetworkClassifier; the same network in PyTorch (AdamW, the rate that is best on the held-out
tenth after 5 epochs), for as many epochs, back to its best held-out point; MLPClassifier(early_stopping=True). All with
batches of the size that luce takes.
tables: 30 % of the rows held out, seed by seed; NetworkClassifier(), and with four members, against
MLPClassifier((256,)) on standardised columns, its rate chosen by a held-out tenth and its logits calibrated on it by
luce.calibrate. Paired differences.
--rows cuts MNIST, to see that all runs.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = 2
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(THREADS)  # read when NumPy and PyTorch are imported

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

import luce  # noqa: E402
from luce import _core  # noqa: E402
from luce.features import Features  # noqa: E402
from luce.metrics import accuracy, log_loss  # noqa: E402
from luce.network import NetworkClassifier  # noqa: E402
from luce.splits import holdout  # noqa: E402
from luce.training import batch_of  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
OUT = Path(__file__).parent / "out" / "network.json"
TABLES = ("coil20", "letter", "optdigits", "segment", "waveform5000")
BATCHES = (64, 128, 256, 512, 1024)
TORCH_RATES = (5e-4, 1e-3, 2e-3)
MEMBERS = 4
RATES = (1e-3, 3e-3, 1e-2)
LUCE, SEVERAL, RIVAL = "luce", f"luce, {MEMBERS} members", "MLPClassifier, three rates"
UNITS, CLASSES, RATE, DECAY = 256, 10, 1e-3, 0.01
PAUSE = 0.3  # seconds: the threads of the other side go to sleep
Array = np.ndarray


def idx(name: str) -> Array:
    """The numbers of a gzipped IDX file, each row flat."""
    with gzip.open(DATA / "images" / "mnist" / name) as file:
        raw = file.read()
    dimensions = raw[3]
    sizes = np.frombuffer(raw, ">u4", dimensions, 4)
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * dimensions)
    return values.reshape(int(sizes[0]), -1) if dimensions > 1 else values


def mnist(part: str, rows: int | None) -> tuple[Array, Array]:
    return idx(f"{part}-images-idx3-ubyte.gz")[:rows], idx(f"{part}-labels-idx1-ubyte.gz")[:rows].astype(np.int32)


def timed(work: Callable[[], Any]) -> float:
    time.sleep(PAUSE)
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


# --- speed -----------------------------------------------------------------------------------------------------------


def luce_epoch(x: Array, y: Array, batch: int) -> Callable[[], None]:
    features, labels = Features(len(x), dense=x), _core.Labels(y, None, CLASSES)
    network = _core.Network([UNITS], x.shape[1], 0, CLASSES, False)
    rng = np.random.default_rng(0)
    for place, (inputs, outputs) in enumerate([(x.shape[1], UNITS), (UNITS, CLASSES)]):
        weights = rng.standard_normal((inputs, outputs)) * (2 / inputs) ** 0.5
        network.set(place, weights.astype(np.float32), np.zeros(outputs, dtype=np.float32))
    shift, scale = np.zeros(x.shape[1]), np.full(x.shape[1], 1 / 255)

    def run() -> None:
        order = rng.permutation(len(x))
        network.epoch(features.design, shift, scale, labels, order, RATE, DECAY, 0.0, batch, 0, THREADS)

    return run


def torch_network(dropout: float = 0.0) -> Any:
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    parts = [torch.nn.Linear(784, UNITS), torch.nn.ReLU(), torch.nn.Linear(UNITS, CLASSES)]
    return torch.nn.Sequential(*parts[:2], *([torch.nn.Dropout(dropout)] if dropout else []), parts[2])


def torch_epoch(x: Array, y: Array, batch: int, compiled: bool, how: str) -> Callable[[], None]:
    import torch

    network = torch_network()
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY, **{how: True})
    inputs, labels = torch.from_numpy(x.astype(np.float32) / 255), torch.from_numpy(y.astype(np.int64))
    loss_of = torch.nn.CrossEntropyLoss()
    forward = torch.compile(network) if compiled else network

    def run() -> None:
        order = torch.randperm(len(inputs))
        for first in range(0, len(inputs), batch):
            rows = order[first : first + batch]
            optimiser.zero_grad(set_to_none=True)
            loss_of(forward(inputs[rows]), labels[rows]).backward()
            optimiser.step()

    return run


def sklearn_epoch(x: Array, y: Array, batch: int) -> Callable[[], None]:
    from sklearn.neural_network import MLPClassifier

    rows = x.astype(np.float32) / 255
    model = MLPClassifier((UNITS,), batch_size=min(batch, len(x)), max_iter=1, alpha=0.0, random_state=0)
    return lambda: model.fit(rows, y)


def rivals_of(x: Array, y: Array, batch: int) -> tuple[dict[str, Callable[[], None]], dict[str, str]]:
    """One epoch of each, warmed up, and what is missing or failed, with its reason."""
    makers: dict[str, Callable[[], Callable[[], None]]] = {"luce": lambda: luce_epoch(x, y, batch)}
    for name, compiled in (("PyTorch", False), ("PyTorch, compiled", True)):
        for how in ("fused", "foreach"):
            makers[f"{name}, {how}"] = lambda c=compiled, h=how: torch_epoch(x, y, batch, c, h)
    makers["MLPClassifier"] = lambda: sklearn_epoch(x, y, batch)
    ready, lacking = {}, {}
    for name, make in makers.items():
        package = "torch" if name.startswith("PyTorch") else "sklearn" if name == "MLPClassifier" else "luce"
        if not has(package):
            lacking[name] = f"{package} is not installed"
            continue
        try:
            run = make()
            run()
            ready[name] = run
        except Exception as error:  # torch.compile needs a compiler that it likes
            lacking[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"
    return ready, lacking


def speed(asked: argparse.Namespace) -> dict[str, Any]:
    x, y = mnist("train", asked.rows)
    rows: list[dict[str, Any]] = []
    told: dict[str, str] = {}
    print("\n| batch | luce, rows a second | PyTorch | PyTorch, compiled | MLPClassifier | times PyTorch's best |")
    print("|---|---|---|---|---|---|")
    for batch in BATCHES:
        ready, lacking = rivals_of(x, y, batch)
        told |= lacking
        seconds: dict[str, list[float]] = {name: [] for name in ready}
        for _ in range(asked.runs):
            for name, run in ready.items():
                seconds[name].append(timed(run))
        rate = {name: len(x) / statistics.median(each) for name, each in seconds.items()}
        best = {
            kind: max((v for name, v in rate.items() if name.rpartition(", ")[0] == kind), default=float("nan"))
            for kind in ("PyTorch", "PyTorch, compiled")
        }
        least = max((v for v in best.values() if v == v), default=float("nan"))
        rows.append({"batch": batch, "rows_a_second": rate, "seconds": seconds, "ratio": rate["luce"] / least})
        cells = [rate["luce"], *best.values(), rate.get("MLPClassifier", float("nan"))]
        said = " | ".join("-" if v != v else f"{v:,.0f}" for v in cells)
        print(f"| {batch} | {said} | {rate['luce'] / least:.2f} |", flush=True)
    for name, why in told.items():
        print(f"{name}: not run, {why}")
    spreads = [max(s) / min(s) for row in rows for s in row["seconds"].values()]
    print(f"slowest over fastest run: {statistics.median(spreads):.2f} in the middle, at most {max(spreads):.2f}")
    return {"rows": len(x), "threads": THREADS, "batches": rows, "not_run": told}


# --- mnist -----------------------------------------------------------------------------------------------------------


def softmax_scores(y: Array, z: Array) -> dict[str, float]:
    p = luce.softmax(z.astype(np.float64))
    names = list(range(z.shape[1]))
    return {"accuracy": accuracy(y, p.argmax(axis=1)), "log_loss": log_loss(y, p, names)}


def luce_on_mnist(train: tuple[Array, Array], test: tuple[Array, Array]) -> dict[str, Any]:
    began = time.perf_counter()
    model = NetworkClassifier(threads=THREADS).fit(*train)
    seconds = time.perf_counter() - began
    found = softmax_scores(test[1], model.decision_function(test[0]))
    return {**found, "seconds": seconds, "epochs": model.n_iter_, "said": model.note_}


def torch_training(
    parts: list[tuple[Array, Array]], batch: int, rate: float, epochs: int, dropout: float
) -> tuple[float, list[Array], float]:
    """Trains on the first part to the best point on the second; its loss there, logits of the second and the third
    there, and the seconds."""
    import torch

    network = torch_network(dropout)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=DECAY, fused=True)
    (x, y), (held, held_y), (test, _) = (
        (torch.from_numpy(a.astype(np.float32) / 255), torch.from_numpy(b.astype(np.int64))) for a, b in parts
    )
    loss_of = torch.nn.CrossEntropyLoss()
    best, state, began = float("inf"), {}, time.perf_counter()
    for _ in range(epochs):
        network.train()
        order = torch.randperm(len(x))
        for first in range(0, len(x), batch):
            rows = order[first : first + batch]
            optimiser.zero_grad(set_to_none=True)
            loss_of(network(x[rows]), y[rows]).backward()
            optimiser.step()
        network.eval()
        with torch.no_grad():
            found = float(loss_of(network(held), held_y))
        if found < best:
            best, state = found, {name: value.clone() for name, value in network.state_dict().items()}
    seconds = time.perf_counter() - began
    network.load_state_dict(state)
    network.eval()
    with torch.no_grad():
        return best, [network(held).numpy(), network(test).numpy()], seconds


def torch_on_mnist(train: tuple[Array, Array], test: tuple[Array, Array], batch: int, epochs: int) -> dict[str, Any]:
    rows, held = holdout(train[1], 0.1, 0)
    parts = [(train[0][rows], train[1][rows]), (train[0][held], train[1][held]), test]
    tried = {rate: torch_training(parts, batch, rate, min(5, epochs), 0.2)[0] for rate in TORCH_RATES}
    rate = min(tried, key=lambda each: tried[each])
    _, (held_z, z), seconds = torch_training(parts, batch, rate, epochs, 0.2)
    map_of = luce.calibrate(held_z, parts[1][1], list(range(CLASSES)), threads=THREADS)
    calibrated = softmax_scores(test[1], map_of.apply(z.astype(np.float64), THREADS))
    return {
        **softmax_scores(test[1], z),
        "seconds": seconds,
        "batch": batch,
        "rate": rate,
        "epochs": epochs,
        "calibrated": calibrated,
    }


def sklearn_on_mnist(train: tuple[Array, Array], test: tuple[Array, Array], batch: int) -> dict[str, Any]:
    from sklearn.neural_network import MLPClassifier

    began = time.perf_counter()
    model = MLPClassifier((UNITS,), batch_size=batch, early_stopping=True, random_state=0)
    model.fit(train[0].astype(np.float32) / 255, train[1])
    seconds = time.perf_counter() - began
    found = softmax_scores(test[1], mlp_logits(model, test[0].astype(np.float32) / 255))
    return {**found, "seconds": seconds, "batch": batch, "epochs": model.n_iter_}


def mlp_logits(model: Any, x: Array) -> Array:
    """Of an MLPClassifier with rectified units and more than two classes: its probabilities may have rounded to 0."""
    for place, (w, b) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        x = x @ w + b
        if place + 1 < len(model.coefs_):
            x = np.maximum(x, 0)
    return x


def on_mnist(asked: argparse.Namespace) -> dict[str, Any]:
    train, test = mnist("train", asked.rows), mnist("t10k", asked.rows)
    batch = batch_of(len(holdout(train[1], 0.1, 0)[0]), None)
    print(f"batches of {batch}")
    print("\n| | accuracy % | log loss | seconds | epochs |\n|---|---|---|---|---|")
    found: dict[str, Any] = {}

    def show(name: str, own: dict[str, Any]) -> None:
        found[name] = own
        said = f"{100 * own['accuracy']:.2f} | {own['log_loss']:.4f}"
        if "calibrated" in own:
            said += f" ({own['calibrated']['log_loss']:.4f} calibrated)"
        print(f"| {name} | {said} | {own['seconds']:.1f} | {own['epochs']} |", flush=True)

    show("luce.NetworkClassifier()", luce_on_mnist(train, test))
    if has("torch"):
        show("PyTorch", torch_on_mnist(train, test, batch, found["luce.NetworkClassifier()"]["epochs"]))
    else:
        print("PyTorch: not run, torch is not installed")
    if has("sklearn"):
        show("MLPClassifier, early stopping", sklearn_on_mnist(train, test, batch))
    else:
        print("MLPClassifier: not run, scikit-learn is not installed")
    return found


# --- tables ----------------------------------------------------------------------------------------------------------


def table(name: str) -> tuple[Array, Array] | None:
    """The numeric columns and the codes of the labels."""
    manifest = json.loads((DATA / "manifest.json").read_text(encoding="utf8"))
    key = f"tables/{name}.parquet"
    if key not in manifest or not (DATA / key).exists():
        return None
    frame, label = pl.read_parquet(DATA / key), manifest[key]["label"]
    codes = np.unique(frame[label].to_numpy(), return_inverse=True)[1].astype(np.int32)
    return frame.drop(label).cast(pl.Float64).to_numpy(), codes


def best_mlp(x: Array, y: Array, seed: int) -> tuple[Any, luce.Calibration, float, float]:
    """The MLPClassifier whose rate is best on a held-out tenth, its calibration there, the rate, the seconds of all."""
    from sklearn.neural_network import MLPClassifier

    rows, held = holdout(y, 0.1, seed)
    names, best = list(range(int(y.max()) + 1)), float("inf")
    began = time.perf_counter()
    for rate in RATES:
        model = MLPClassifier((UNITS,), learning_rate_init=rate, random_state=seed).fit(x[rows], y[rows])
        z = mlp_logits(model, x[held])
        found = log_loss(y[held], luce.softmax(z), names)
        if found < best:
            best, kept = found, (model, luce.calibrate(z, y[held], names, threads=THREADS), rate)
    return *kept, time.perf_counter() - began


def on_split(x: Array, y: Array, seed: int) -> dict[str, dict[str, float]]:
    train, test = holdout(y, 0.3, seed)
    out: dict[str, dict[str, float]] = {}
    for name, members in ((LUCE, 1), (SEVERAL, MEMBERS)):
        began = time.perf_counter()
        model = NetworkClassifier(seed=seed, members=members, threads=THREADS).fit(x[train], y[train])
        seconds = time.perf_counter() - began
        scores = softmax_scores(y[test], model.decision_function(x[test]))
        out[name] = {**scores, "seconds": seconds, "epochs": model.n_iter_}
    mean, spread = x[train].mean(axis=0), x[train].std(axis=0)
    scaled = (x - mean) / np.where(spread > 0, spread, 1.0)
    mlp, calibration, rate, seconds = best_mlp(scaled[train], y[train], seed)
    rival = softmax_scores(y[test], calibration.apply(mlp_logits(mlp, scaled[test]), THREADS))
    return {**out, RIVAL: {**rival, "seconds": seconds, "rate": rate}}


def paired(each: list[dict[str, Any]], who: str, field: str) -> str:
    """The mean difference, luce's less the rival's, and its standard error over the splits."""
    differences = [found[who][field] - found[RIVAL][field] for found in each]
    error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else float("nan")
    return f"{statistics.fmean(differences):+.4f} ({error:.4f})"


def on_tables(asked: argparse.Namespace) -> dict[str, Any]:
    if not has("sklearn"):
        print("tables: not run, scikit-learn is not installed")
        return {}
    print("\n| table | | log loss | accuracy | s | log loss, less the rival's (its error) | accuracy, less |")
    print("|---|---|---|---|---|---|---|")
    out: dict[str, Any] = {}
    for name in asked.only.split(",") if asked.only else TABLES:
        data = table(name)
        if data is None:
            print(f"{name}: skipped, its file is not here", flush=True)
            continue
        each = [on_split(*data, seed) for seed in range(asked.seeds)]
        out[name] = each
        for who in (LUCE, SEVERAL, RIVAL):
            loss, right, seconds = (
                statistics.fmean(found[who][f] for found in each) for f in ("log_loss", "accuracy", "seconds")
            )
            less = "| |" if who == RIVAL else f"| {paired(each, who, 'log_loss')} | {paired(each, who, 'accuracy')} |"
            print(f"| {name} | {who} | {loss:.4f} | {right:.4f} | {seconds:.1f} {less}", flush=True)
    return out


PARTS = {"speed": speed, "mnist": on_mnist, "tables": on_tables}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--rows", type=int, help="of MNIST, to see that all runs")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="names of tables, separated by commas")
    asked = parser.parse_args()
    unknown = [part for part in asked.part if part not in PARTS]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}: there are {', '.join(PARTS)}")
    warnings.simplefilter("ignore")
    for part in asked.part or PARTS:
        own = PARTS[part](asked)
        found = json.loads(OUT.read_text(encoding="utf8")) if OUT.exists() else {}
        found[part] = own
        OUT.parent.mkdir(exist_ok=True)
        OUT.write_text(json.dumps(found, indent=1, default=lambda value: np.asarray(value).tolist()), encoding="utf8")


if __name__ == "__main__":
    main()
