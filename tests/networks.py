"""Helpers for the tests of networks: a plain one in float64, layers of one, rows that no line tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

Array = np.ndarray
Layers = list[tuple[Array, Array]]


def drawn_layers(columns: int, hidden: Sequence[int], classes: int) -> Layers:
    rng = np.random.default_rng(columns + classes)
    sizes = [columns, *hidden, 1 if classes == 2 else classes]
    return [
        ((rng.normal(size=(i, o)) / np.sqrt(i)).astype(np.float32), rng.normal(size=o).astype(np.float32))
        for i, o in pairwise(sizes)
    ]


def activation(z: Array, gelu: bool) -> Array:
    return z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))) / 2 if gelu else np.maximum(z, 0)


def plain_logits(layers: Layers, x: Array, gelu: bool) -> Array:
    for w, b in layers[:-1]:
        x = activation(x @ w.astype(np.float64) + b, gelu)
    return x @ layers[-1][0].astype(np.float64) + layers[-1][1]


def flat(layers: Layers) -> Array:
    return np.concatenate([part.ravel() for layer in layers for part in layer])


def rings(rows: int, seed: int = 0) -> tuple[Array, Array]:
    """A class within another: no line tells them apart."""
    x = np.random.default_rng(seed).normal(size=(rows, 2))
    return x, np.where((x**2).sum(axis=1) > 1.4, "out", "in")
