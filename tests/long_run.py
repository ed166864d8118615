"""The long run of ./dev check --long: all differences of two float32 logits, and 1e8 values of every function. The test
suite takes a sample of both. Prints the largest errors; docs/numerics.md holds the last ones."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from numpy.typing import NDArray

import luce

CHUNK = 1 << 22
WIDTHS = [*range(1, 258), *(2**k + i for k in range(9, 13) for i in (-1, 0, 1))]
BOUNDS = {
    ("float32", "softmax"): 0.51, ("float32", "log_softmax"): 0.51, ("float32", "logsumexp"): 0.51,
    ("float64", "softmax"): 3.0, ("float64", "log_softmax"): 2.5, ("float64", "logsumexp"): 2.5,
}  # fmt: skip


def ulps(got: NDArray[np.floating], exact: NDArray[np.floating], least: NDArray[np.floating] | float = 0.0) -> float:
    """The largest error in units of the last place of the exact value, or of `least` where that is larger."""
    info = np.finfo(got.dtype)
    size = np.maximum(np.maximum(np.abs(exact), least), info.smallest_normal)
    unit = np.exp2(np.floor(np.log2(size.astype(np.float64))) - info.nmant)
    return float((np.abs(got - exact) / unit).max(initial=0.0))


def two_classes(bits: NDArray[np.uint32]) -> float:
    """The largest error of softmax and log_softmax of (d, 0) for the float32 numbers d of these bits."""
    d = bits.view(np.float32)
    d = d[np.isfinite(d)]
    z = np.stack([d, np.zeros_like(d)], axis=1)
    # float64 knows these to 2^-51, a hundred-millionth of a float32 ulp
    small = np.exp(-np.abs(d.astype(np.float64)))
    less, more = small / (1.0 + small), 1.0 / (1.0 + small)
    above = d >= 0
    p = np.stack([np.where(above, more, less), np.where(above, less, more)], axis=1)
    near = -np.log1p(small)
    far = near - np.abs(d.astype(np.float64))
    logs = np.stack([np.where(above, near, far), np.where(above, far, near)], axis=1)
    return max(ulps(luce.softmax(z), p), ulps(luce.log_softmax(z), logs))


def all_rows(seed: int, numbers: int) -> dict[tuple[str, str], float]:
    """The largest errors over about so many random values, against long double (needs more than 53 bits of it)."""
    rng, worst = np.random.default_rng(seed), dict.fromkeys(BOUNDS, 0.0)
    done = 0
    while done < numbers:
        width = int(rng.choice(WIDTHS))
        rows = max(1, 20_000 // width)
        spread = 10.0 ** rng.uniform(-3, 3)
        for dtype in (np.float32, np.float64):
            z = (rng.normal(0, spread, (rows, width)) + rng.normal(0, spread)).astype(dtype)
            if rng.random() < 0.3:
                z[:, -1] = z[:, 0]  # ties
            p, logs, total = exact(z)
            name, top = np.dtype(dtype).name, np.abs(z).max(axis=1).astype(np.longdouble)
            found = {
                "softmax": ulps(luce.softmax(z), p),
                "log_softmax": ulps(luce.log_softmax(z), logs),
                "logsumexp": ulps(luce.logsumexp(z), total, top),
            }
            for function, error in found.items():
                worst[name, function] = max(worst[name, function], error)
            done += z.size
    return worst


def exact(z: NDArray[np.floating]) -> tuple[NDArray[np.longdouble], NDArray[np.longdouble], NDArray[np.longdouble]]:
    """Probabilities, their logarithms and logsumexp, with the differences to the top exact in two parts."""
    wide = z.astype(np.longdouble)
    top = wide.max(axis=1, keepdims=True)
    d = wide - top
    back = d - wide
    low = (wide - (d - back)) - (top + back)
    e = np.exp(d) * (1 + low)
    first = (wide == top) & (np.cumsum(wide == top, axis=1) == 1)
    log_sum = np.log1p(np.where(first, 0, e).sum(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True), d + (low - log_sum), (top + log_sum)[:, 0]


def main() -> None:
    began = time.monotonic()
    with ProcessPoolExecutor(2) as pool:
        starts = range(0, 1 << 32, CHUNK)
        worst = max(pool.map(_two_from, starts, chunksize=8))
        print(f"two classes, all 2^32 differences: {worst:.5f} ulp ({time.monotonic() - began:.0f} s)", flush=True)
        if np.finfo(np.longdouble).nmant <= np.finfo(np.float64).nmant:
            sys.exit("this machine has no long double beyond float64: the other values were not checked")
        parts = list(pool.map(all_rows, range(50), [2_000_000] * 50))
    failed = worst > BOUNDS["float32", "softmax"]
    for key, bound in BOUNDS.items():
        error = max(part[key] for part in parts)
        failed |= error > bound
        print(f"{key[0]} {key[1]}, 1e8 values: {error:.4f} ulp (bound {bound})")
    sys.exit("an error is above its bound" if failed else 0)


def _two_from(start: int) -> float:
    return two_classes(np.arange(start, start + CHUNK, dtype=np.uint64).astype(np.uint32))


if __name__ == "__main__":
    main()
