"""Images as a user has them: `luce train` from files to the saved model, beside a small CNN and regression on pixels.

    ./dev bench images [SET ...] [--rivals] [--limit 5] [--budget 30s] [--seed 0] [--threads 2]

MNIST and Fashion-MNIST are measured on their official test part; of the others 20 % of the images, stratified, are laid
aside as files before anything reads them, equal files together. The seconds and the memory are those of the command.
--rivals: on the official sets a CNN (image_rivals.py) is trained until it first is as right as luce on the test part,
looked at after each epoch, or for --limit times luce's seconds: its cycles are a quarter, a half and the whole of that
long, and the first that gets there counts. On the other sets it is given luce's seconds, images of 64 x 64 and the
choice, by its log loss on the measured images, whether it sees flipped and shifted copies. All of this favours it, and
so does that its seconds are of training alone. It needs pip install torch==2.13.0, regression scikit-learn.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from image_rivals import TORCH, Codes, Found, Split, available, cnn, epochs_within, regression
from numpy.typing import NDArray

import luce
from luce.decision import best_of, costs_of
from luce.functional import available_threads
from luce.images import Images, read_images
from luce.intervals import exact_ends
from luce.metrics import log_loss
from luce.splits import holdout_of_groups

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "images"
OUT = Path(__file__).resolve().parent / "out" / "images.json"
OFFICIAL = ("mnist", "fashion_mnist")
OTHERS = ("flowers", "brain_tumor_mri", "omniglot_small")
COSTS = {"brain_tumor_mri": {"no_tumor": 1.0, "glioma_tumor": 10.0, "meningioma_tumor": 10.0, "pituitary_tumor": 10.0}}
SIDE = 64  # of the CNN's images where they are not 28 x 28
CYCLES = (0.25, 0.5, 1.0)
MOST_EPOCHS = 200


def files_of(name: str, folder: Path, seed: int) -> tuple[Path, Path]:
    """What is trained on and what is measured on: IDX files, or folders with a folder of images for each class."""
    if name in OFFICIAL:
        return DATA / name / "train-images-idx3-ubyte.gz", DATA / name / "t10k-images-idx3-ubyte.gz"
    with tarfile.open(DATA / f"{name}.tar.gz") as tar:
        tar.extractall(folder / "all", filter="data")
    files = sorted(path for path in (folder / "all").rglob("*") if path.is_file())
    codes = np.unique([str(path.parent) for path in files], return_inverse=True)[1].astype(np.int32)
    same = np.unique([hashlib.sha256(path.read_bytes()).hexdigest() for path in files], return_inverse=True)[1]
    for part, rows in zip(("train", "test"), holdout_of_groups(codes, same, 0.2, seed), strict=True):
        for row in rows.tolist():
            path = files[row]
            place = folder / part / path.parent.name
            place.mkdir(parents=True, exist_ok=True)
            path.rename(place / path.name)
    return folder / "train", folder / "test"


def trained(source: Path, model: Path, budget: str | None, threads: int) -> tuple[float, float]:
    """Seconds and greatest memory, in MB, of the command."""
    command = [sys.executable, "-m", "luce", "train", str(source), "--holdout", "0", "--out", str(model)]
    command += ["--budget", budget] if budget else []
    began = time.perf_counter()
    with subprocess.Popen(
        command, env={**os.environ, "LUCE_NUM_THREADS": str(threads)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{said}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def measured(p: NDArray[np.float64], truth: Codes) -> dict[str, Any]:
    right = int((p.argmax(axis=1) == truth).sum())
    low, high = (float(end[0]) for end in exact_ends(np.array([right]), np.array([len(truth)])))
    loss = float(log_loss(truth, p, range(p.shape[1])))
    return {"accuracy": right / len(truth), "low": low, "high": high, "log_loss": loss}


def recalls(answers: Codes, truth: Codes, classes: Iterable[Any]) -> list[dict[str, Any]]:
    """For each class its rows, how many of them have it as their answer, and the exact 95 % interval of that share."""
    out = []
    for k, name in enumerate(classes):
        rows, found = int((truth == k).sum()), int(((truth == k) & (answers == k)).sum())
        low, high = (float(end[0]) for end in exact_ends(np.array([found]), np.array([rows])))
        answered = int((answers == k).sum())
        out.append({"class": str(name), "rows": rows, "found": found, "low": low, "high": high, "answers": answered})
    return out


def luce_on(name: str, train: Path, test: Path, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """How the command did."""
    seconds, memory = trained(train, folder / "m.luce", asked.budget, asked.threads)
    model = luce.load(folder / "m.luce")
    height, width, channels = next(iter(model.fitted.image_sizes.values()))
    images = read_images(test, size=(height, width), channels=channels)
    began = time.perf_counter()
    p = model.predict_proba(images)
    predicting = time.perf_counter() - began
    truth = codes_of(images, model.classes_)
    found = measured(p, truth) | {"set": name, "size": [height, width, channels], "seconds": seconds, "memory": memory}
    found |= {"rows": model.fitted.facts["rows"], "tested": len(truth), "columns": model.fitted.encoder.width}
    found |= {"certificate": model.fitted.facts["certificate"], "images_per_second": len(truth) / predicting}
    found |= {"notes": model.fitted.facts["notes"], "looks": model.fitted.encoder.images[0].plan.sentence()}
    if name in COSTS:
        by_costs = best_of(p, costs_of(COSTS[name], model.fitted.classes)).astype(np.int32)
        found["recall"] = recalls(p.argmax(axis=1).astype(np.int32), truth, model.classes_)
        found["recall_by_costs"] = recalls(by_costs, truth, model.classes_)
        found["costs"] = COSTS[name]
    return found


def codes_of(images: Images, classes: NDArray[Any]) -> Codes:
    place = {str(label): k for k, label in enumerate(classes.tolist())}
    assert images.labels is not None
    return np.array([place[str(label)] for label in images.labels], dtype=np.int32)


def rivals_on(
    name: str, train: Path, test: Path, mine: dict[str, Any], asked: argparse.Namespace
) -> list[dict[str, Any]]:
    size = None if name in OFFICIAL else (SIDE, SIDE)
    channels = mine["size"][2]
    images, new = (read_images(path, size=size, channels=channels) for path in (train, test))
    classes = np.unique(np.asarray(images.labels))
    split = Split(images.pixels, codes_of(images, classes), new.pixels, codes_of(new, classes))
    found: list[Found] = []
    if available("torch"):
        run = race_to if name in OFFICIAL else same_time
        found.append(run(split, mine, asked))
    else:
        print(f"the CNN is left out: {TORCH}", file=sys.stderr)
    if not available("sklearn"):
        print("regression on pixels is left out: pip install scikit-learn", file=sys.stderr)
    elif name not in OFFICIAL:
        found.append(regression(split, asked.threads))
    return [measured(f.p, split.truth) | {"set": name, "rival": f.name, "seconds": f.seconds} | f.facts for f in found]


def race_to(split: Split, mine: dict[str, Any], asked: argparse.Namespace) -> Found:
    """The CNN when it first was as right as luce, or else when it was most right."""
    limit = asked.limit * mine["seconds"]
    best, most = None, -1.0
    for share in CYCLES:
        epochs = epochs_within(split, share * limit, most=MOST_EPOCHS, threads=asked.threads)
        for found in cnn(
            split, epochs=epochs, seconds=share * limit, flips=False, shift=0, seed=asked.seed, threads=asked.threads
        ):
            right = measured(found.p, split.truth)["accuracy"]
            if right > most:
                best, most = found, right
            if right >= mine["accuracy"]:
                return found
    assert best is not None
    return best


def same_time(split: Split, mine: dict[str, Any], asked: argparse.Namespace) -> Found:
    """The CNN after luce's seconds, with copies or without, whichever loses less."""
    epochs = epochs_within(split, mine["seconds"], most=MOST_EPOCHS, threads=asked.threads)
    best, least = None, np.inf
    for flips, shift in ((False, 0), (False, 3), (True, 3)):
        *_, found = cnn(
            split, epochs=epochs, seconds=mine["seconds"], flips=flips, shift=shift, seed=asked.seed,
            threads=asked.threads,
        )  # fmt: skip
        loss = measured(found.p, split.truth)["log_loss"]
        if best is None or loss < least:
            best, least = found, loss
    assert best is not None
    return best


HEAD = (
    "| set | | rows | features | accuracy % (95 %) | log loss | seconds | memory MB |\n"
    "|---|---|---|---|---|---|---|---|"
)


def percent(r: dict[str, Any]) -> str:
    return f"{100 * r['accuracy']:.2f} ({100 * r['low']:.1f}-{100 * r['high']:.1f})"


def line(r: dict[str, Any]) -> str:
    said = f"| {r['set']} | luce {'x'.join(map(str, r['size']))} | {r['rows']} | {r['columns']}: {r['looks']} "
    return said + f"| {percent(r)} | {r['log_loss']:.4f} | {r['seconds']:.1f} | {r['memory']:.0f} |"


def rival_line(r: dict[str, Any]) -> str:
    how = f", C = {r['C']:g}" if "C" in r else f", {r['epoch']} of {r['epochs']} epochs"
    how += ", flipped copies" * r.get("flips", False) + f", shifts of {r.get('shift')}" * bool(r.get("shift"))
    return f"| {r['set']} | {r['rival']}{how} | | | {percent(r)} | {r['log_loss']:.4f} | {r['seconds']:.1f} | |"


def recall_lines(r: dict[str, Any]) -> list[str]:
    said = [
        f"\n{r['set']}, recall % (95 %, exact) by class; by costs: missing a class costs {r['costs']}\n",
        "| class | rows | found | recall | found by costs | recall by costs |\n|---|---|---|---|---|---|",
    ]
    for plain, dear in zip(r["recall"], r["recall_by_costs"], strict=True):
        shares = [
            f"{each['found']} | {100 * each['found'] / each['rows']:.1f} "
            f"({100 * each['low']:.1f}-{100 * each['high']:.1f})"
            for each in (plain, dear)
        ]
        said.append(f"| {plain['class']} | {plain['rows']} | {shares[0]} | {shares[1]} |")
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", nargs="*", choices=[[], *OFFICIAL, *OTHERS])
    parser.add_argument("--rivals", action="store_true")
    parser.add_argument("--limit", type=float, default=5.0)
    parser.add_argument("--budget")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    asked.threads = available_threads(asked.threads)
    found: list[dict[str, Any]] = []
    print(HEAD)
    for name in asked.set or [*OFFICIAL, *OTHERS]:
        with tempfile.TemporaryDirectory() as held:
            folder = Path(held)
            train, test = files_of(name, folder, asked.seed)
            mine = luce_on(name, train, test, folder, asked)
            print(line(mine), flush=True)
            mine["rivals"] = rivals_on(name, train, test, mine, asked) if asked.rivals else []
            for rival in mine["rivals"]:
                print(rival_line(rival), flush=True)
            found.append(mine)
    for mine in found:
        if "recall" in mine:
            print("\n".join(recall_lines(mine)))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
