"""Heads: what turns features into logits, the weights of a linear fit or the layers of a network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from luce.features import Array, Features
from luce.linear import linear_logits
from luce.network import network_logits
from luce.training import Layer

EQUAL = 1e-6  # of its size: a unit that moves by less has its slope there


@dataclass(frozen=True)
class Linear:
    """z = x W + b. coef: (outputs, columns) float64, one output for two classes; intercept: (outputs,).

    steps: (n-grams,) whose whole multiples their weights are; None: any float32.
    """

    coef: Array
    intercept: Array
    steps: NDArray[np.float32] | None = None

    @property
    def outputs(self) -> int:
        return len(self.coef)

    @cached_property
    def weights(self) -> Array:
        """(columns, outputs), as the passes read them."""
        return np.ascontiguousarray(self.coef.T)

    def logits(self, features: Features, threads: int) -> Array:
        return linear_logits(features, self.weights.T, self.intercept, threads)

    def weights_between(self, base: Array, row: Array) -> tuple[Array, Array]:
        """The same for all rows: (outputs, columns), (outputs,)."""
        return self.coef, self.intercept


@dataclass(frozen=True)
class Network:
    """The layers of a network (network.py), first to last, and what its columns become before: (x - shift) scale."""

    layers: tuple[Layer, ...]
    shift: Array
    scale: Array
    gelu: bool

    @property
    def outputs(self) -> int:
        return len(self.layers[-1][1])

    @property
    def units(self) -> list[int]:
        """Of the columns, of each hidden layer, and the outputs."""
        return [len(self.shift), *(len(bias) for _, bias in self.layers)]

    @property
    def parameters(self) -> int:
        return sum(weights.size + bias.size for weights, bias in self.layers)

    def logits(self, features: Features, threads: int) -> Array:
        return network_logits(features, self.layers, self.shift, self.scale, max(self.outputs, 2), self.gelu, threads)

    def weights_between(self, base: Array, row: Array) -> tuple[Array, Array]:
        """Weights (outputs, columns) and intercepts (outputs,) whose logits x W + b are those of the network at both
        rows, (columns,) each: units move in proportion to what moves them.

        w = (x - base)-slopes chained from layer to layer (DeepLIFT's rescale rule, Shrikumar et al., ICML 2017, section
        3.5.1). A column that does not move has weight 0.
        """
        moved = np.flatnonzero(row != base)
        pair = np.stack([base, row])
        first, bias = self.layers[0]
        used = np.flatnonzero((pair - self.shift).any(axis=0) & (self.scale != 0))
        u = _product((pair[:, used] - self.shift[used]) * self.scale[used], first[used]) + bias
        slopes: list[Array] = []
        for weights, bias in self.layers[1:]:
            a, steepness = _activated(u, self.gelu)
            apart = u[1] - u[0]
            near = np.abs(apart) <= EQUAL * np.maximum(np.abs(u[0]), np.abs(u[1]))
            slopes.append(np.where(near, steepness[1], (a[1] - a[0]) / np.where(near, 1.0, apart)))
            u = _product(a, weights) + bias
        chain = np.eye(self.outputs)
        for (weights, _), slope in zip(self.layers[:0:-1], slopes[::-1], strict=True):
            chain = _product(chain, weights.T) * slope
        coef = np.zeros((self.outputs, len(row)))
        coef[:, moved] = _product(chain, first[moved].T) * self.scale[moved]
        return coef, u[1] - np.sum(coef * row, axis=1)

    def at(self, rows: Array) -> Array:
        """Logits (n, outputs) of rows of numbers (n, columns), dense and sparse ones alike."""
        u = _product((rows - self.shift) * self.scale, self.layers[0][0]) + self.layers[0][1]
        for weights, bias in self.layers[1:]:
            u = _product(_activated(u, self.gelu)[0], weights) + bias
        return u


Head = Linear | Network


def _product(a: Array, weights: NDArray[np.floating]) -> Array:
    """a W by the core, whose sums have one order on every machine; a BLAS has not."""
    coef = np.ascontiguousarray(weights.T, dtype=np.float64)
    return linear_logits(Features(len(a), dense=np.ascontiguousarray(a)), coef, np.zeros(len(coef)), 1)


def _activated(u: Array, gelu: bool) -> tuple[Array, Array]:
    """max(u, 0), or GELU by tanh (Hendrycks and Gimpel, 2016, section 2), and its slope."""
    if not gelu:
        return np.maximum(u, 0.0), (u > 0).astype(np.float64)
    root = np.sqrt(2.0 / np.pi)
    t = np.tanh(root * (u + 0.044715 * u**3))
    return 0.5 * u * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * u * (1.0 - t**2) * root * (1.0 + 3 * 0.044715 * u**2)
