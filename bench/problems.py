"""The problems of bench/fit.py: data sets as a matrix and class codes, and the objective in plain NumPy.

`<table>` is a table as luce.Classifier encodes it (float32; sparse if it has categories), `<table>-raw` its numeric
columns as they are (float64, rows with a missing cell dropped). Texts are tf-idf of words and word pairs, images are
pixels / 255, both in their official training part.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
IMAGES = ("mnist", "fashion_mnist")
TABLES = ("covertype_20k", "letter", "adult_census", "kddcup99_10percent", "dry_bean", "spambase")
TEXTS = ("newsgroups20", "nsmc_sentiment", "sst5", "ohsumed23")
BLOCK = 1 << 23  # numbers converted to float64 at a time

Matrix = np.ndarray | sp.csr_matrix


@dataclass(frozen=True)
class Problem:
    """X (n, d) and the class of each row, 0 to classes - 1."""

    name: str
    X: Matrix
    y: np.ndarray
    classes: int

    @property
    def rows(self) -> int:
        return self.X.shape[0]

    @property
    def columns(self) -> int:
        return self.X.shape[1]

    @property
    def outputs(self) -> int:
        """Columns of weights: one for two classes, else one a class."""
        return 1 if self.classes == 2 else self.classes

    @property
    def sparse(self) -> bool:
        return sp.issparse(self.X)

    @property
    def bytes(self) -> int:
        parts = (self.X.data, self.X.indices, self.X.indptr) if self.sparse else (self.X,)
        return sum(p.nbytes for p in parts)

    def __str__(self) -> str:
        kind = f"sparse, {self.X.nnz / self.rows:.0f} a row" if self.sparse else "dense"
        return f"{self.rows:,} x {self.columns:,}, {self.classes} classes, {self.X.dtype}, {kind}"

    def part(self, rows: np.ndarray) -> Problem:
        return Problem(self.name, self.X[rows], self.y[rows], self.classes)


@dataclass(frozen=True)
class Penalty:
    """l2/2 |W|^2 + l1 |W|_1, beside the sum of the cross-entropies; the intercepts are free."""

    l2: float
    l1: float = 0.0


def names() -> list[str]:
    return list(_makers())


def load(name: str) -> Problem:
    return _makers()[name]()


def save(problem: Problem, folder: Path) -> None:
    """Writes what `opened` reads, so that every process starts from the same bytes without making them again."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"y": problem.y}
    if problem.sparse:
        arrays |= {"data": problem.X.data, "indices": problem.X.indices, "indptr": problem.X.indptr}
    else:
        arrays["X"] = problem.X
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    facts = {"name": problem.name, "classes": problem.classes, "shape": problem.X.shape}
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf8")


def opened(folder: Path) -> Problem:
    facts = json.loads((folder / "facts.json").read_text(encoding="utf8"))
    if (folder / "X.npy").exists():
        x = np.load(folder / "X.npy")
    else:
        parts = [np.load(folder / f"{name}.npy") for name in ("data", "indices", "indptr")]
        x = sp.csr_matrix(tuple(parts), shape=tuple(facts["shape"]))
    return Problem(facts["name"], x, np.load(folder / "y.npy"), facts["classes"])


def value(problem: Problem, W: np.ndarray, b: np.ndarray, penalty: Penalty) -> float:
    """The objective in float64: sum of cross-entropies of X W + b, plus the penalty."""
    weights, bias = np.asarray(W, dtype=np.float64), np.asarray(b, dtype=np.float64)
    step = max(BLOCK // max(problem.columns if not problem.sparse else problem.classes, 1), 1)
    loss = 0.0
    for first in range(0, problem.rows, step):
        z, y = _float64(problem.X[first : first + step]) @ weights + bias, problem.y[first : first + step]
        if z.shape[1] == 1:
            loss += float(np.sum(np.logaddexp(0.0, z[:, 0]) - y * z[:, 0]))
        else:
            loss += float(np.sum(logsumexp(z, axis=1) - z[np.arange(len(y)), y]))
    return loss + penalty.l2 / 2 * float(np.sum(weights**2)) + penalty.l1 * float(np.sum(np.abs(weights)))


def largest_l1(problem: Problem) -> float:
    """The least l1 (of a sum of cross-entropies) at which the optimum has W = 0."""
    shares = np.bincount(problem.y, minlength=problem.classes) / problem.rows
    residual = np.broadcast_to(shares, (problem.rows, problem.classes)).copy()
    residual[np.arange(problem.rows), problem.y] -= 1
    return float(np.abs(problem.X.T @ residual[:, problem.classes - problem.outputs :]).max())


def newton(problem: Problem, l2: float) -> float:
    """The least objective that SciPy's Newton-CG finds, in standardised columns; for small problems, as a check."""
    x = problem.X.toarray() if problem.sparse else problem.X
    x = x.astype(np.float64)
    scale = x.std(axis=0)
    scale[scale == 0] = 1.0
    x = np.column_stack([(x - x.mean(axis=0)) / scale, np.ones(len(x))])
    outputs = problem.outputs
    strength = np.append(l2 / scale**2, 0.0)[:, None]
    target = problem.y[:, None] == (np.array([1]) if outputs == 1 else np.arange(outputs))

    def shares(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z)) if outputs == 1 else softmax(z, axis=1)

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        w = point.reshape(-1, outputs)
        z = x @ w
        total = np.logaddexp(0, z).sum() if outputs == 1 else logsumexp(z, axis=1).sum()
        gradient = x.T @ (shares(z) - target) + strength * w
        return total - z[target].sum() + (strength * w**2).sum() / 2, gradient.ravel()

    def product(point: np.ndarray, direction: np.ndarray) -> np.ndarray:
        p, moved = shares(x @ point.reshape(-1, outputs)), x @ direction.reshape(-1, outputs)
        curved = p * (1 - p) * moved if outputs == 1 else p * (moved - (p * moved).sum(axis=1, keepdims=True))
        return (x.T @ curved + strength * direction.reshape(-1, outputs)).ravel()

    start = np.zeros(x.shape[1] * outputs)
    options = {"xtol": 1e-12, "maxiter": 500}
    return float(minimize(objective, start, jac=True, hessp=product, method="Newton-CG", options=options).fun)


def drawn(rows: int, columns: int, classes: int, seed: int = 0) -> Problem:
    """Normal columns, half of each shared with its left neighbour, scaled by 1 to 1/10 and mixed by 10 common factors;
    logits of a normal W plus Gumbel noise, so that the classes are a softmax of the columns. float32."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns), dtype=np.float32)
    x[:, 1:] += x[:, :-1].copy()
    x *= np.geomspace(1, 0.1, columns, dtype=np.float32)
    factors = min(10, columns)
    x += rng.standard_normal((rows, factors), dtype=np.float32) @ rng.standard_normal((factors, columns), dtype="f4")
    w = rng.standard_normal((columns, classes), dtype=np.float32) / np.float32(np.sqrt(columns))
    y = np.empty(rows, dtype=np.int32)
    step = max(BLOCK // classes, 1)
    for first in range(0, rows, step):
        z = x[first : first + step] @ w
        y[first : first + step] = np.argmax(z + rng.gumbel(size=z.shape), axis=1)
    return Problem("synthetic", x, y, classes)


def _makers() -> dict[str, Callable[[], Problem]]:
    makers: dict[str, Callable[[], Problem]] = {name: partial(_images, name) for name in IMAGES}
    makers |= {name: partial(_encoded, name) for name in TABLES}
    makers |= {f"{name}-raw": partial(_raw, name) for name in TABLES}
    makers |= {name: partial(_text, name) for name in TEXTS}
    return makers | {"synthetic": partial(drawn, 2_000_000, 50, 3)}


def _float64(x: Matrix) -> Matrix:
    return x if sp.issparse(x) else x.astype(np.float64)


def _codes(labels: np.ndarray) -> tuple[np.ndarray, int]:
    classes, codes = np.unique(labels, return_inverse=True)
    return codes.astype(np.int32), len(classes)


def _label(name: str) -> str:
    with open(DATA / "manifest.json", encoding="utf8") as file:
        return json.load(file)[f"tables/{name}.parquet"]["label"]


def _encoded(name: str) -> Problem:
    import luce
    from luce.encoder import Encoder
    from luce.labels import labels
    from luce.schema import infer_schema, parse
    from luce.table import Table

    table = Table.of(luce.read_file(DATA / "tables" / f"{name}.parquet"))
    target = labels(table, _label(name))
    table = table.without(_label(name))
    if "split" in table.frame.columns:
        table = table.without("split")
    schema = infer_schema(table)
    parsed = parse(table, schema)
    features = Encoder.fit(schema, parsed).transform(parsed)
    return Problem(name, _matrix(features), target.codes.astype(np.int32), len(target.classes))


def _matrix(features: object) -> Matrix:
    """luce's Features [dense | sparse] as one matrix."""
    dense = np.ascontiguousarray(features.dense)
    if features.indices is None:
        return dense
    ones = np.ones(len(features.indices), dtype=np.float32)
    values = ones if features.values is None else features.values
    shape = (features.rows, features.sparse_columns)
    rest = sp.csr_matrix((values, features.indices, features.starts), shape=shape)
    return sp.csr_matrix(sp.hstack([sp.csr_matrix(dense), rest], format="csr", dtype=np.float32))


def _raw(name: str) -> Problem:
    import pandas as pd

    frame = pd.read_parquet(DATA / "tables" / f"{name}.parquet")
    label = _label(name)
    numbers = [c for c in frame.columns if c != label and frame[c].dtype.kind in "biuf"]
    frame = frame[[*numbers, label]].dropna()
    codes, classes = _codes(frame[label].astype(str).to_numpy(dtype=object))
    return Problem(f"{name}-raw", np.ascontiguousarray(frame[numbers].to_numpy(dtype=np.float64)), codes, classes)


def _text(name: str) -> Problem:
    import pandas as pd
    from sklearn.feature_extraction.text import TfidfVectorizer

    frame = pd.read_parquet(DATA / "text" / f"{name}.parquet")
    frame = frame[frame["split"] == "train"]
    x = TfidfVectorizer(ngram_range=(1, 2), dtype=np.float32).fit_transform(frame["text"].fillna(""))
    return Problem(name, sp.csr_matrix(x), *_codes(frame["label"].astype(str).to_numpy(dtype=object)))


def _images(name: str) -> Problem:
    x = pixels(name).astype(np.float32)
    x /= 255
    with gzip.open(DATA / "images" / name / "train-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(), dtype=np.uint8, offset=8)
    return Problem(name, x, *_codes(y))


def pixels(name: str) -> np.ndarray:
    """The training images of an IDX file, one a row, uint8."""
    with gzip.open(DATA / "images" / name / "train-images-idx3-ubyte.gz") as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(-1, 28 * 28)
