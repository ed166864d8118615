"""Images: accuracy and seconds of a certified linear fit on pixels and on patch features, from archive to model.

    ./dev bench image_stages [SET ...] [--level 0 1 2] [--l2 auto] [--share 0.001] [--seed 0] [--threads N]

MNIST and Fashion-MNIST are tested on their official test part; of the others (every image brought to one size, which
needs pip install pillow) 20 % of the rows are held out, stratified. `read` is from the .gz to arrays, `learn` the
filters from the training images, `features` those of all training images, `fit` the softmax regression on them, whose
proven gap is at most `share` of the entropy of the classes. --l2 auto: the strength is n l2 in STRENGTHS with the least
log loss on rows held out of a few thousand (`choose`); else it is 1/n.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import math
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.estimator import probabilities_of
from luce.features import Features
from luce.functional import available_threads
from luce.intervals import exact_ends
from luce.linear import LinearFit, fit_linear, linear_logits
from luce.metrics import log_loss
from luce.patches import fit_patches
from luce.splits import holdout

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "images"
OUT = Path(__file__).resolve().parent / "out" / "image_stages.json"
OFFICIAL = ("mnist", "fashion_mnist")
SIZES = {"flowers": (64, 64, "RGB"), "brain_tumor_mri": (64, 64, "L"), "omniglot_small": (48, 48, "L")}
STRENGTHS = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0)  # n l2
FEW = 3_000  # rows that they are tried on, at a looser
LOOSE = 1e-2  # share

Set = tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.uint8], NDArray[np.int32]]


def idx(path: Path) -> NDArray[np.uint8]:
    """The array in a .gz of IDX format: the number of axes in byte 3, their lengths, the bytes."""
    data = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def official(name: str) -> Set:
    parts = [
        idx(DATA / name / f"{part}-{kind}-ubyte.gz")
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    return parts[0][..., None], parts[1].astype(np.int32), parts[2][..., None], parts[3].astype(np.int32)


def archive(name: str, seed: int) -> Set:
    from PIL import Image

    height, width, mode = SIZES[name]
    images, labels = [], []
    with tarfile.open(DATA / f"{name}.tar.gz") as tar:
        for member in sorted((m for m in tar if m.isfile()), key=lambda m: m.name):
            path, held = Path(member.name), tar.extractfile(member)
            if held is None or path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
                continue
            image = Image.open(io.BytesIO(held.read())).convert(mode).resize((width, height), Image.Resampling.BOX)
            images.append(np.asarray(image).reshape(height, width, -1))
            labels.append(str(path.parent))
    codes = np.unique(labels, return_inverse=True)[1].astype(np.int32)
    train, test = holdout(codes, 0.2, seed)
    whole = np.stack(images)
    return whole[train], codes[train], whole[test], codes[test]


def fitted(
    x: NDArray[np.float32], y: NDArray[np.int32], classes: int, strength: float, share: float, threads: int
) -> LinearFit:
    return fit_linear(Features(len(x), x), y, classes, strength / len(x), threads=threads, share=share)


def measured(fit: LinearFit, x: NDArray[np.float32], y: NDArray[np.int32], threads: int) -> tuple[int, float]:
    """How many rows are right, and the log loss."""
    z = linear_logits(Features(len(x), x), np.ascontiguousarray(fit.point[:-1].T), fit.point[-1], threads)
    z = z[:, 0] if z.shape[1] == 1 else z
    p = probabilities_of(z)
    return int((p.argmax(axis=1) == y).sum()), float(log_loss(y, p, range(p.shape[1])))


def strength_for(x: NDArray[np.float32], y: NDArray[np.int32], classes: int, seed: int, threads: int) -> float:
    """The n l2 with the least log loss on a third of a few rows, from the strongest on until it rises."""
    step = max(1, math.ceil(len(x) / FEW))
    x, y = x[::step], y[::step]
    train, test = holdout(y, 1 / 3, seed)
    best, least = STRENGTHS[0], math.inf
    for strength in STRENGTHS:
        loss = measured(fitted(x[train], y[train], classes, strength, LOOSE, threads), x[test], y[test], threads)[1]
        if loss > least:
            break
        best, least = strength, loss
    return best


def run(name: str, level: int, asked: argparse.Namespace) -> dict[str, Any]:
    threads, began = available_threads(asked.threads), time.perf_counter()
    seconds: dict[str, float] = {}

    def lap(stage: str) -> None:
        seconds[stage] = round(time.perf_counter() - began - sum(seconds.values()), 2)

    images, y, new, truth = official(name) if name in OFFICIAL else archive(name, asked.seed)
    classes = int(y.max()) + 1
    lap("read")
    plan = fit_patches(images, level, asked.seed, threads)
    lap("learn")
    x = plan.features(images, threads)
    lap("features")
    strength = strength_for(x, y, classes, asked.seed, threads) if asked.l2 == "auto" else 1.0
    lap("choose")
    fit = fitted(x, y, classes, strength, asked.share, threads)
    lap("fit")
    total = round(sum(seconds.values()), 2)
    right, loss = measured(fit, plan.features(new, threads), truth, threads)
    low, high = (100 * float(end[0]) for end in exact_ends(np.array([right]), np.array([len(truth)])))
    lap("predict")
    return {
        "set": name, "level": level, "rows": len(y), "columns": plan.columns, "tested": len(truth),
        "accuracy": 100 * right / len(truth), "low": low, "high": high, "log_loss": loss, "n_l2": strength,
        "objective": fit.certificate.objective, "gap": fit.certificate.gap, "passes": fit.certificate.passes,
        "total": total, "seconds": seconds,
    }  # fmt: skip


HEAD = (
    "| set | level | rows x columns | accuracy % (95 %) | log loss | gap | n l2 | read | learn | features | choose "
    "| fit | total s |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def line(r: dict[str, Any]) -> str:
    said = f"| {r['set']} | {r['level']} | {r['rows']} x {r['columns']} | {r['accuracy']:.2f} "
    said += f"({r['low']:.1f}-{r['high']:.1f}) | {r['log_loss']:.4f} | {r['gap']:.1g} | {r['n_l2']:g} "
    stages = [f"| {r['seconds'][stage]:.2f} " for stage in ("read", "learn", "features", "choose", "fit")]
    return said + "".join(stages) + f"| {r['total']:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", nargs="*")
    parser.add_argument("--level", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--l2", choices=["auto", "1/n"], default="auto")
    parser.add_argument("--share", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    found = []
    print(HEAD)
    for name in asked.set or [*OFFICIAL, *SIZES]:
        for level in asked.level:
            found.append(run(name, level, asked))
            print(line(found[-1]), flush=True)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
