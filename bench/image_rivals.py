"""What images.py compares with: a small convolutional network in PyTorch, and logistic regression on pixels."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Codes = NDArray[np.int32]
TORCH = "pip install torch==2.13.0"
RATE = 3e-3  # the highest of the one cycle
DECAY = 1e-4
BATCH = 128


@dataclass(frozen=True)
class Split:
    """Images (n, height, width, channels) and class codes to learn from, and those to measure on."""

    images: Images
    codes: Codes
    new: Images
    truth: Codes

    @property
    def classes(self) -> int:
        return int(self.codes.max()) + 1


@dataclass(frozen=True)
class Found:
    """How a rival did on the measured images: probabilities (n, K), seconds of training, and what else to tell."""

    name: str
    p: NDArray[np.float64]
    seconds: float
    facts: dict[str, Any]


def available(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def network(split: Split, channels_last: bool) -> Any:
    """conv 3x3 32, relu, pool; conv 3x3 64, relu, pool; dense 128, relu, dropout; softmax."""
    import torch
    from torch import nn

    height, width, channels = split.images.shape[1:]
    flat = 64 * (height // 4) * (width // 4)
    found = nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(flat, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, split.classes),
    )  # fmt: skip
    return found.to(memory_format=torch.channels_last) if channels_last else found


def cnn(split: Split, *, epochs: int, seconds: float, flips: bool, shift: int, seed: int, threads: int,
        channels_last: bool = True) -> Iterator[Found]:  # fmt: skip
    """Adam with decoupled decay, one cycle over so many epochs, ended after so many seconds; told after each epoch,
    the measuring of which is not counted. flips, shift: each batch mirrored by chance, moved by up to so many pixels.
    """
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    mean, spread = float(split.images.mean()), max(float(split.images.std()), 1.0)
    form = torch.channels_last if channels_last else torch.contiguous_format

    def tensor(images: Images) -> Any:
        planes = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        return ((planes.float() - mean) / spread).contiguous(memory_format=form)

    began, spent = time.perf_counter(), 0.0
    x, y, model = tensor(split.images), torch.from_numpy(split.codes.astype(np.int64)), network(split, channels_last)
    steps = -(-len(y) // BATCH)
    best = torch.optim.AdamW(model.parameters(), lr=RATE / 25, weight_decay=DECAY)
    cycle = torch.optim.lr_scheduler.OneCycleLR(best, max_lr=RATE, total_steps=steps * epochs)
    for epoch in range(1, epochs + 1):
        model.train()
        order = torch.from_numpy(rng.permutation(len(y)))
        for at in range(0, len(y), BATCH):
            rows = order[at : at + BATCH]
            part = x[rows]
            if flips:
                part = torch.where(
                    torch.from_numpy(rng.random(len(rows)) < 0.5)[:, None, None, None], part.flip(3), part
                )
            if shift:
                padded = functional.pad(part, (shift,) * 4, mode="replicate")
                down, across = rng.integers(0, 2 * shift + 1, 2)
                part = padded[:, :, down : down + x.shape[2], across : across + x.shape[3]].contiguous(
                    memory_format=form
                )
            best.zero_grad()
            functional.cross_entropy(model(part), y[rows]).backward()
            best.step()
            cycle.step()
        spent = time.perf_counter() - began
        over = spent + spent / epoch > seconds or epoch == epochs
        model.eval()
        with torch.inference_mode():
            parts = [model(tensor(split.new[i : i + 1000])).double() for i in range(0, len(split.new), 1000)]
        facts = {"epoch": epoch, "epochs": epochs, "flips": flips, "shift": shift}
        yield Found("CNN", torch.softmax(torch.cat(parts), 1).numpy(), spent, facts)
        if over:
            return
        began = time.perf_counter() - spent  # measuring is not counted


def epochs_within(split: Split, seconds: float, *, most: int, threads: int) -> int:
    """How many epochs fit into the time, by one of them, on a part of the images where they are many."""
    few = min(len(split.codes), 20 * BATCH)
    part = Split(split.images[:few], np.arange(few, dtype=np.int32) % split.classes, split.new[:1], split.truth[:1])
    for _ in range(2):  # the first one also warms up
        took = next(cnn(part, epochs=1, seconds=1e9, flips=False, shift=0, seed=0, threads=threads)).seconds
    return int(np.clip(seconds / (took * len(split.codes) / few), 1, most))


def regression(split: Split, threads: int, strengths: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)) -> Found:
    """scikit-learn's LogisticRegression on pixels from 0 to 1; of some C the one with the least log loss on the
    measured images, which favours it; the seconds are those of that fit alone."""
    from sklearn.linear_model import LogisticRegression

    x, new = (a.reshape(len(a), -1).astype(np.float32) / np.float32(255) for a in (split.images, split.new))
    best: Found | None = None
    least = np.inf
    for C in strengths:
        began = time.perf_counter()
        p = LogisticRegression(C=C, max_iter=300).fit(x, split.codes).predict_proba(new).astype(np.float64)
        loss = float(-np.log(np.maximum(p[np.arange(len(p)), split.truth], 1e-300)).mean())
        if loss < least:
            best, least = Found("pixels, logistic regression", p, time.perf_counter() - began, {"C": C}), loss
        elif best is not None:
            break
    assert best is not None
    return best
