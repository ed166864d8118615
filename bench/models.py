"""The models that bench/accuracy.py and bench/trust.py compare, on one half of a table against the other half.

Every model sees the same rows and runs on one thread. luce is told nothing but the label. The scikit-learn models have
the pipeline of bench/tables.py; LightGBM and InterpretML get numbers as they are, with their gaps, and other columns as
categories with the levels of the training rows. A class that the training half lacks (its only row lies in the other
half) is left out of the test rows, for all models alike.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tables import DATA, Pipeline, spelled

import luce
from luce.labels import labels
from luce.metrics import accuracy, classwise_ece, log_loss
from luce.splits import holdout
from luce.table import Table

FLOOR = 1e-15  # of a probability, for all models: one of 0 then costs 34.5 nats
DENSE_BYTES = 1 << 30
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LUCE_NUM_THREADS", "LOKY_MAX_CPU_COUNT")


class RefusedError(Exception):
    """A model that these rows do not allow, with the reason."""


def one_thread() -> None:
    """For this process and its children; before NumPy's first product."""
    os.environ.update(dict.fromkeys(THREADS, "1"))


@dataclass
class Half:
    """One half of a table to learn from and the other to be measured on. train, test: rows; classes: those learnt."""

    path: Path
    label: str
    frame: Any
    codes: np.ndarray
    classes: list
    train: np.ndarray
    test: np.ndarray
    dropped: int

    @staticmethod
    def of(name: str, label: str, seed: int, turned: bool) -> Half:
        """The halves that a seed settles, stratified; turned: the second half is learnt from."""
        path = DATA / "tables" / f"{name}.parquet"
        table = Table.of(luce.read_file(path))
        target = labels(table, label)
        train, test = holdout(target.codes, 0.5, seed)[:: -1 if turned else 1]
        seen = np.unique(target.codes[train])
        known = np.isin(target.codes[test], seen)
        codes = np.searchsorted(seen, target.codes)
        classes = [target.classes[k] for k in seen]
        return Half(path, label, table.frame, codes, classes, train, test[known], int((~known).sum()))

    @property
    def y(self) -> np.ndarray:
        return self.codes[self.train]

    @property
    def truth(self) -> np.ndarray:
        return self.codes[self.test]

    @property
    def least(self) -> int:
        """The training rows of the smallest class."""
        return int(np.bincount(self.y).min())

    @cached_property
    def kinds(self) -> list[tuple[str, bool]]:
        """The columns, and whether each is a number."""
        return [(c, self.frame[c].dtype.is_numeric()) for c in self.frame.columns if c != self.label]

    @cached_property
    def frames(self) -> tuple[Any, Any]:
        """Training and test rows for pandas: numbers as they are, the rest as categories of the training rows."""
        import pandas as pd

        parts: tuple[dict, dict] = {}, {}
        for j, (name, number) in enumerate(self.kinds):
            if number:
                cells = self.frame[name].cast(float).to_numpy()
            else:
                cells = np.array([None if v is None else str(v) for v in self.frame[name].to_list()], dtype=object)
            levels = None if number else sorted({v for v in cells[self.train] if v is not None})
            for part, rows in zip(parts, (self.train, self.test), strict=True):
                part[f"c{j}"] = cells[rows] if number else pd.Categorical(cells[rows], categories=levels)
        return pd.DataFrame(parts[0]), pd.DataFrame(parts[1])

    @cached_property
    def pipeline(self) -> Pipeline:
        """Of bench/tables.py, with its rows ready."""
        found = Pipeline()
        found.prepare(found.read(self.path), self.label, self.train, self.test)
        return found


# --- the models: each gives the probabilities of the test rows, (n, K), and facts ------------------------------------


def fit_luce(half: Half, **options: Any) -> luce.Classifier:
    return luce.Classifier(threads=1, **options).fit(half.frame[half.train], half.label)


def luce_probabilities(half: Half, model: luce.Classifier) -> np.ndarray:
    """Of the test rows, the columns in the order of the half's classes."""
    p = model.predict_proba(half.frame[half.test].drop(half.label))
    names = [spelled(c) for c in model.classes_.tolist()]
    return p[:, [names.index(spelled(c)) for c in half.classes]]


def run_luce(half: Half) -> tuple[np.ndarray, dict]:
    model = fit_luce(half)
    return luce_probabilities(half, model), {"calibration": model.calibration.kind}


def sklearn_pipeline(half: Half, last: Any, dense: bool = False) -> Any:
    from sklearn.pipeline import make_pipeline

    return make_pipeline(half.pipeline.encoder(dense), last)


def _run_pipeline(half: Half, last: Any, dense: bool = False) -> tuple[np.ndarray, dict]:
    model = sklearn_pipeline(half, last, dense).fit(half.pipeline.train, half.y)
    return model.predict_proba(half.pipeline.test), {}


def run_logistic(half: Half) -> tuple[np.ndarray, dict]:
    from sklearn.linear_model import LogisticRegression

    return _run_pipeline(half, LogisticRegression(max_iter=1000))


def folds() -> Any:
    """Five, stratified and shuffled: of a table in some order, unshuffled ones would make a worse rival."""
    from sklearn.model_selection import StratifiedKFold

    return StratifiedKFold(5, shuffle=True, random_state=0)


def run_logistic_cv(half: Half) -> tuple[np.ndarray, dict]:
    from sklearn.linear_model import LogisticRegressionCV

    last = LogisticRegressionCV(
        Cs=10, cv=folds(), scoring="neg_log_loss", max_iter=1000, l1_ratios=(0.0,), use_legacy_attributes=False
    )
    return _run_pipeline(half, last)


def _run_calibrated(half: Half, method: str) -> tuple[np.ndarray, dict]:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LogisticRegression

    if half.least < 5:
        raise RefusedError("five folds need 5 rows of each class")
    if method == "isotonic" and len(half.y) < 1000:
        raise RefusedError("not for fewer than 1,000 rows, as scikit-learn advises")
    model = sklearn_pipeline(half, LogisticRegression(max_iter=1000))
    calibrated = CalibratedClassifierCV(model, method=method, cv=folds()).fit(half.pipeline.train, half.y)
    return calibrated.predict_proba(half.pipeline.test), {}


def run_sigmoid(half: Half) -> tuple[np.ndarray, dict]:
    return _run_calibrated(half, "sigmoid")


def run_temperature(half: Half) -> tuple[np.ndarray, dict]:
    return _run_calibrated(half, "temperature")


def run_isotonic(half: Half) -> tuple[np.ndarray, dict]:
    return _run_calibrated(half, "isotonic")


def run_mlp(half: Half) -> tuple[np.ndarray, dict]:
    from sklearn.neural_network import MLPClassifier

    return _run_pipeline(half, MLPClassifier(random_state=0))


def run_naive_bayes(half: Half) -> tuple[np.ndarray, dict]:
    from sklearn.naive_bayes import GaussianNB

    rows, pipe = half.pipeline.train, half.pipeline
    size = 8 * len(rows) * (len(pipe.numbers) + sum(rows[c].nunique() for c in pipe.others))
    if size > DENSE_BYTES:
        raise RefusedError(f"its dense matrix has {size / 2**30:.0f} GiB")
    return _run_pipeline(half, GaussianNB(), dense=True)


def run_ebm(half: Half) -> tuple[np.ndarray, dict]:
    from interpret.glassbox import ExplainableBoostingClassifier

    kinds = ["continuous" if number else "nominal" for _, number in half.kinds]
    model = ExplainableBoostingClassifier(feature_types=kinds, n_jobs=1, random_state=0)
    train, test = ({c: f[c].to_numpy() for c in f.columns} for f in half.frames)
    return model.fit(train, half.y).predict_proba(test), {}


def run_lightgbm(half: Half) -> tuple[np.ndarray, dict]:
    from lightgbm import LGBMClassifier

    train, test = half.frames
    return LGBMClassifier(verbose=-1, n_jobs=1).fit(train, half.y).predict_proba(test), {}


def run_lightgbm_early(half: Half) -> tuple[np.ndarray, dict]:
    """0.05, 15 leaves, up to 2,000 rounds until 50 bring no gain on 15 % of the training rows, held out."""
    from lightgbm import LGBMClassifier, early_stopping

    train, test = half.frames
    model = LGBMClassifier(learning_rate=0.05, num_leaves=15, n_estimators=2000, verbose=-1, n_jobs=1)
    rows, rest = holdout(half.y, 0.15, 0)
    model.fit(
        train.iloc[rows], half.y[rows], eval_set=[(train.iloc[rest], half.y[rest])],
        eval_metric="binary_logloss" if len(half.classes) == 2 else "multi_logloss",
        callbacks=[early_stopping(50, verbose=False)],
    )  # fmt: skip
    return model.predict_proba(test), {"rounds": int(model.best_iteration_)}


@dataclass(frozen=True)
class Model:
    title: str
    module: str
    run: Callable[[Half], tuple[np.ndarray, dict]]


MODELS = {
    "luce": Model("luce.Classifier", "luce", run_luce),
    "logistic": Model("LogisticRegression", "sklearn.linear_model", run_logistic),
    "logistic_cv": Model("LogisticRegressionCV", "sklearn.linear_model", run_logistic_cv),
    "sigmoid": Model("CalibratedClassifierCV, sigmoid", "sklearn.calibration", run_sigmoid),
    "temperature": Model("CalibratedClassifierCV, temperature", "sklearn.calibration", run_temperature),
    "isotonic": Model("CalibratedClassifierCV, isotonic", "sklearn.calibration", run_isotonic),
    "naive_bayes": Model("GaussianNB", "sklearn.naive_bayes", run_naive_bayes),
    "lightgbm": Model("LightGBM", "lightgbm", run_lightgbm),
    "lightgbm_early": Model("LightGBM, early stopping", "lightgbm", run_lightgbm_early),
    "mlp": Model("MLPClassifier", "sklearn.neural_network", run_mlp),
    "ebm": Model("ExplainableBoostingClassifier", "interpret.glassbox", run_ebm),
}


def missing(names: list[str]) -> list[str]:
    """The models whose package is not installed."""
    return [name for name in names if importlib.util.find_spec(package(name)) is None]


def package(name: str) -> str:
    return MODELS[name].module.split(".")[0]


def prepare(name: str, half: Half) -> None:
    """What a model needs and no one shall time: its package, and the rows in its form."""
    importlib.import_module(MODELS[name].module)
    if package(name) == "sklearn":
        half.pipeline.encoder()
    elif name != "luce":
        _ = half.frames


def floored(p: np.ndarray) -> np.ndarray:
    """Probabilities of at least FLOOR that sum to 1."""
    p = np.maximum(np.asarray(p, dtype=np.float64), FLOOR)
    return p / p.sum(axis=1, keepdims=True)


def measure(name: str, half: Half) -> dict[str, Any]:
    """One model on one half that is prepared: its losses on the other half, and the seconds of the fit and these
    probabilities."""
    warnings.simplefilter("ignore")
    began = time.perf_counter()
    p, facts = MODELS[name].run(half)
    seconds = time.perf_counter() - began
    known, truth = list(range(len(half.classes))), half.truth
    zero = int((p[np.arange(len(truth)), truth] < FLOOR).sum())
    p, answers = floored(p), p.argmax(axis=1)
    own = truth.tolist()
    return {
        "log_loss": log_loss(own, p, known), "ece": classwise_ece(own, p, known),
        "accuracy": accuracy(own, answers.tolist()), "seconds": seconds, "floored": zero, **facts,
    }  # fmt: skip
