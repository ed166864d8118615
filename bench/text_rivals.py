"""The rivals of bench/text.py: fastText, tf-idf with logistic regression, and NB-SVM, on ../shared/data/text.

    python bench/text_rivals.py [task ...] [--only RIVAL,RIVAL] [--again] [--retime]

Each rival learns from the same training rows and is measured on the same test rows, the official ones where a set has
them, else 20 % held out by luce.splits. It chooses its settings by accuracy on the set's development rows, or on 20 %
of the training rows held out, and is then fitted on all training rows; the test rows choose nothing. A temperature,
fitted to the held-out probabilities of the chosen setting, gives the figures "calibrated".

`fit` is from a file of raw text to the saved model, reading included: a Parquet file, or for fastText its own format,
the text prepared already. `predict` is from the texts in memory to the probabilities. fastText has two threads.
scikit-learn's solvers for sparse rows have one; more threads of the BLAS for their vectors only cost them time. A fit
that takes longer than 300 s is "not reached". Finished results in bench/out/text_rivals.json are kept (--again: done
anew; --retime: fitted once more with the settings found, for times of a quiet machine).

fastText is the official library, `pip install 'numpy<2' fasttext-wheel` into an environment of its own, as its Python
binding fails with NumPy 2: /tmp/fasttext-venv, or the one whose python LUCE_FASTTEXT_PYTHON names. Each of its fits is
a process there, with files between.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.metrics import accuracy, classwise_ece, log_loss
from luce.splits import holdout

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
OUT = Path(__file__).resolve().parent / "out" / "text_rivals.json"
FASTTEXT_PYTHON = os.environ.get("LUCE_FASTTEXT_PYTHON", "/tmp/fasttext-venv/bin/python")
FLOOR = 1e-15  # of a probability, for all: one of 0 then costs 34.5 nats
LIMIT = 300  # seconds of one fit
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
LARGE = 3_000_000  # characters of the training texts: from there on n-grams of fewer than three texts are left out

Floats = NDArray[np.float64]
Setting = dict[str, Any]


# --- the tasks -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A set of texts. test: the test rows' name in the column `split`, or None where 20 % are held out."""

    file: str
    label: str = "label"
    test: str | None = "test"
    dev: bool = False  # rows "dev" choose the settings
    spaceless: bool = False  # Korean, Hindi, many languages: characters across the bounds of words may tell more


TASKS = {
    "sst2": Task("sst2", dev=True),
    "rt_polarity": Task("rt_polarity", test=None),
    "subj": Task("subj", test=None),
    "trec_questions": Task("trec_questions"),
    "trec_questions_fine": Task("trec_questions", label="label_fine"),
    "sms_spam": Task("sms_spam", test=None),
    "korean_hate_speech": Task("korean_hate_speech", test="dev", spaceless=True),
    "banking77": Task("banking77"),
    "nsmc_sentiment": Task("nsmc_sentiment", spaceless=True),
    "sst5": Task("sst5", dev=True),
    "ohsumed23": Task("ohsumed23"),
    "newsgroups20": Task("newsgroups20"),
    "language_id": Task("language_id", test=None, spaceless=True),
    "trec_hindi": Task("trec_questions_hindi", spaceless=True),
    "trec_hindi_fine": Task("trec_questions_hindi", label="label_fine", spaceless=True),
}

Rows = tuple[list[str], list[str]]  # texts and labels


def tasks() -> list[str]:
    return list(TASKS)


def load(name: str) -> tuple[list[str], list[str], list[str], list[str]]:
    """The texts and labels to learn from, and those to be measured on."""
    task = TASKS[name]
    texts, labels, split = _columns(task)
    if task.test is None:
        train, test = holdout(_codes(labels), 0.2, 0)
    else:
        train, test = np.flatnonzero(split == "train"), np.flatnonzero(split == task.test)
    return *_rows(texts, labels, train), *_rows(texts, labels, test)


def development(name: str) -> Rows | None:
    """The rows that a set sets apart for choosing settings, if it does."""
    task = TASKS[name]
    if not task.dev:
        return None
    texts, labels, split = _columns(task)
    return _rows(texts, labels, np.flatnonzero(split == "dev"))


def _columns(task: Task) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    import pandas as pd

    path = DATA / "text" / f"{task.file}.parquet"
    if not path.is_file():
        sys.exit(f"the real data sets are not here: {path} is missing")
    frame = pd.read_parquet(path)
    split = frame["split"] if "split" in frame else frame[task.label]
    return frame["text"].to_numpy(object), frame[task.label].astype(str).to_numpy(object), split.to_numpy(object)


def _codes(labels: NDArray[Any] | list[str]) -> NDArray[np.intp]:
    return np.unique(np.asarray(labels, dtype=str), return_inverse=True)[1]


def _rows(texts: NDArray[Any], labels: NDArray[Any], rows: NDArray[Any]) -> Rows:
    return texts[rows].tolist(), labels[rows].tolist()


# --- one fit of a rival: from two files to probabilities -------------------------------------------------------------


@dataclass
class Fit:
    """The probabilities of the scored rows, the classes in sorted order, and seconds."""

    setting: Setting
    probabilities: Floats
    fit: float
    predict: float


@dataclass
class Question:
    """Rows to learn from, texts to score, and what is common to all settings. final: timed, the model saved."""

    train: Rows
    texts: list[str]
    seed: int
    final: bool = False
    classes: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.classes = sorted(set(self.train[1]))


Run = Callable[[Question, list[Setting]], list[Fit]]  # the fits that ended in time, in the order of the settings

# Runs in fastText's environment. Its probabilities come as they are given: 1e-5 is added to each.
FASTTEXT = """
import json, sys, time
import fasttext, numpy as np
with open("job.json") as file:
    job = json.load(file)
began = time.perf_counter()
model = fasttext.train_supervised("fit.txt", thread=2, seed=job["seed"], verbose=0, **job["setting"])
if job["final"]:
    model.save_model("model.bin")
seconds = [time.perf_counter() - began]
with open("score.txt", encoding="utf8", newline="\\n") as file:
    lines = file.read().split("\\n")[:-1]
began = time.perf_counter()
labels, values = model.predict(lines, k=-1)
seconds.append(time.perf_counter() - began)
p = np.zeros((len(lines), job["classes"]))
for row, (names, found) in enumerate(zip(labels, values)):
    p[row, [int(name[len("__label__"):]) for name in names]] = found
np.save("p.npy", p)
with open("seconds.json", "w") as file:
    json.dump(seconds, file)
"""


def prepared(text: str) -> str:
    """As fastText's tutorial has it: lower case, punctuation apart; on one line. `_fasttext` shuffles the lines."""
    return " ".join(re.sub(r"([.!?,'/()\"])", r" \1 ", text).lower().split())


def run_fasttext(question: Question, settings: list[Setting]) -> list[Fit]:
    fits = (_fasttext(question, setting) for setting in settings)
    return [f for f in fits if f is not None]


def _fasttext(question: Question, setting: Setting) -> Fit | None:
    if not Path(FASTTEXT_PYTHON).exists():
        raise FileNotFoundError(f"fastText's environment is not here: {FASTTEXT_PYTHON}")
    code = {c: k for k, c in enumerate(question.classes)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [f"__label__{code[y]} {prepared(x)}\n" for x, y in zip(*question.train, strict=True)]
        order = np.random.default_rng(question.seed).permutation(len(lines))  # it learns in the order of the lines
        (folder / "fit.txt").write_text("".join(lines[i] for i in order), encoding="utf8")
        (folder / "score.txt").write_text("".join(prepared(x) + "\n" for x in question.texts), encoding="utf8")
        job = {"setting": setting, "seed": question.seed, "classes": len(code), "final": question.final}
        (folder / "job.json").write_text(json.dumps(job))
        try:
            done = subprocess.run([FASTTEXT_PYTHON, "-c", FASTTEXT], cwd=folder, timeout=LIMIT, stderr=subprocess.PIPE)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode and b"NaN" in done.stderr:  # the rate is too high for it
            return None
        if done.returncode:
            raise ChildProcessError(done.stderr.decode())
        p = np.load(folder / "p.npy")
        fit, predict = json.loads((folder / "seconds.json").read_text())
    p[p.sum(axis=1) == 0] = 1 / p.shape[1]  # a line without a known word
    return Fit(setting, _shares(p), fit, predict)


def run_sklearn(question: Question, settings: list[Setting]) -> list[Fit]:
    """In a process of its own, which `worker` ends when a fit takes too long; all settings have one vectoriser."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pd.DataFrame({"text": question.train[0], "label": question.train[1]}).to_parquet(folder / "fit.parquet")
        pd.DataFrame({"text": question.texts}).to_parquet(folder / "score.parquet")
        (folder / "job.json").write_text(json.dumps({"settings": settings, "seed": question.seed}))
        done = subprocess.run([sys.executable, __file__, "--worker", name], check=False, env=os.environ | ONE_THREAD)
        if done.returncode not in (0, -signal.SIGALRM):
            raise ChildProcessError(f"the fits of {settings} ended with {done.returncode}")
        found = [(s, folder / f"{i}.npz") for i, s in enumerate(settings)]
        saved = [(s, np.load(path)) for s, path in found if path.exists()]
        return [Fit(s, z["p"], float(z["seconds"][0]), float(z["seconds"][1])) for s, z in saved]


def worker(folder: Path) -> None:
    """The fits of a job, one after another; the alarm ends the process."""
    import warnings

    import pandas as pd

    warnings.simplefilter("ignore")
    job = json.loads((folder / "job.json").read_text())
    score = pd.read_parquet(folder / "score.parquet")["text"].tolist()
    signal.alarm(LIMIT)
    began = time.perf_counter()
    frame = pd.read_parquet(folder / "fit.parquet")
    texts, labels = frame["text"].tolist(), frame["label"].to_numpy(str)
    vectoriser = vectorised(job["settings"][0], sum(map(len, texts)) > LARGE)
    rows = vectoriser.fit_transform(texts)
    model, fitted = None, None
    for i, setting in enumerate(job["settings"]):
        if model is None or setting["C"] != fitted:
            signal.alarm(LIMIT)
            model, fitted = classifier(setting, job["seed"]).fit(rows, labels), setting["C"]
        if "beta" in setting:
            model.beta = setting["beta"]
        with open(folder / "model.pickle", "wb") as file:
            pickle.dump((vectoriser, model), file)
        fit = time.perf_counter() - began
        signal.alarm(0)
        began = time.perf_counter()
        p = model.predict_proba(vectoriser.transform(score))
        predict = time.perf_counter() - began
        np.savez(folder / "part.npz", p=p, seconds=[fit, predict])
        (folder / "part.npz").rename(folder / f"{i}.npz")
        began = time.perf_counter()


# --- scikit-learn's vectorisers, and NB-SVM --------------------------------------------------------------------------

# Words of one letter too, Devanagari with its vowel signs, and each mark of punctuation.
ALL_WORDS = r"[\w\u0900-\u0963]+|[^\w\s\u0900-\u0963]"
PATTERNS = {"default": r"(?u)\b\w\w+\b", "all": ALL_WORDS}
CHARACTERS: dict[str, Setting] = {
    "char_wb 2-5": {"analyzer": "char_wb", "ngram_range": (2, 5)},
    "char 1-4": {"analyzer": "char", "ngram_range": (1, 4)},
}


def vectorised(setting: Setting, large: bool) -> Any:
    """The vectoriser of a setting: tf-idf of words, of characters or both; counts of 0 and 1 for NB-SVM."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.pipeline import make_union

    least = {"min_df": 3} if large else {}
    parts: list[Setting] = []
    if "words" in setting:
        parts.append({"token_pattern": PATTERNS[setting["words"]], "ngram_range": (1, 2)})
    if "characters" in setting:
        parts.append(CHARACTERS[setting["characters"]])
    if "beta" in setting:
        return CountVectorizer(binary=True, dtype=np.float64, **parts[0], **least)
    dtype = np.float32 if large else np.float64
    made = [TfidfVectorizer(sublinear_tf=True, dtype=dtype, **part, **least) for part in parts]
    return made[0] if len(made) == 1 else make_union(*made)


def classifier(setting: Setting, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return NBSVM(setting["C"], setting["beta"]) if "beta" in setting else LogisticRegression(
        C=setting["C"], max_iter=1000, random_state=seed
    )  # fmt: skip


class NBSVM:
    """Wang and Manning, Baselines and bigrams, ACL 2012: features times their log-count ratios, one class against the
    rest, logistic regression for the probabilities. The weights are drawn to their mean size: beta 1 leaves them."""

    def __init__(self, C: float, beta: float) -> None:
        self.C, self.beta = C, beta

    def fit(self, X: Any, y: NDArray[Any]) -> NBSVM:
        from sklearn.linear_model import LogisticRegression

        self.classes = np.unique(y)
        self.parts = []
        for c in self.classes[1:] if len(self.classes) == 2 else self.classes:
            ratio = _log_count_ratio(X, y == c)
            scaled = X.copy()
            scaled.data *= ratio[X.indices]
            model = LogisticRegression(C=self.C, solver="liblinear").fit(scaled, y == c)
            self.parts.append((ratio, model.coef_[0], model.intercept_[0]))
        return self

    def predict_proba(self, X: Any) -> Floats:
        z = np.empty((X.shape[0], len(self.parts)))
        for k, (ratio, w, b) in enumerate(self.parts):
            z[:, k] = X @ (ratio * ((1 - self.beta) * np.abs(w).mean() + self.beta * w)) + b
        p = np.maximum(0.5 * (1 + np.tanh(z / 2)), FLOOR)
        if len(self.classes) == 2:
            return np.hstack([1 - p, p])
        return _shares(p)


def _shares(p: Floats) -> Floats:
    """The rows divided by their sums."""
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _log_count_ratio(X: Any, inside: NDArray[np.bool_]) -> Floats:
    """log of the shares, smoothed by 1, that each feature has of the counts in the class and outside it."""
    p, q = (1 + np.asarray(X[rows].sum(axis=0)).ravel() for rows in (inside, ~inside))
    return np.asarray(np.log(p / p.sum()) - np.log(q / q.sum()))


# --- the settings, and the search among them -------------------------------------------------------------------------

C = (1.0, 10.0, 100.0)
DEFAULT: Setting = {"wordNgrams": 2}
START: Setting = {"epoch": 10, "lr": 0.5, "wordNgrams": 2, "minn": 0, "maxn": 0, "dim": 50}
EPOCHS: list[Setting] = [{"epoch": e} for e in (25, 5, 10)]
RATES: list[Setting] = [{"lr": r} for r in (0.1, 0.5, 1.0)]
# One coordinate after another; with subwords, epochs and rate again. At most 16 settings.
COORDINATES: list[list[Setting]] = [
    EPOCHS,
    RATES,
    [{"wordNgrams": n} for n in (1, 3)],
    [{"minn": 2, "maxn": 4}, {"minn": 3, "maxn": 6}],
    EPOCHS,
    RATES,
    [{"dim": d} for d in (10, 100)],
]


@dataclass
class Held:
    """The rows that choose: learnt from, and held out."""

    question: Question
    truth: list[str]

    @staticmethod
    def of(train: Rows, dev: Rows | None, seed: int) -> Held:
        if dev is not None:
            return Held(Question(train, dev[0], seed), dev[1])
        texts, labels = (np.array(part, dtype=object) for part in train)
        kept, out = holdout(_codes(train[1]), 0.2, 0)
        return Held(Question(_rows(texts, labels, kept), texts[out].tolist(), seed), labels[out].tolist())

    def right(self, fit: Fit) -> float:
        classes = np.array(self.question.classes)
        return float(accuracy(self.truth, classes[fit.probabilities.argmax(axis=1)].tolist()))


@dataclass
class Found:
    """The best fit on the held-out rows, every setting tried with its accuracy, and those that took too long."""

    best: Fit | None = None
    accuracy: float = 0.0
    tried: list[tuple[Setting, float]] = field(default_factory=list)
    late: list[Setting] = field(default_factory=list)

    def add(self, held: Held, run: Run, settings: list[Setting]) -> None:
        fits = run(held.question, settings)
        self.late += [s for s in settings if all(f.setting is not s for f in fits)]
        for fit in fits:
            right = held.right(fit)
            self.tried.append((fit.setting, right))
            if self.best is None or right > self.accuracy:
                self.best, self.accuracy = fit, right


def by_grid(groups: list[list[Setting]]) -> Callable[[Held, Run], Found]:
    """All settings of all groups; those of a group share a vectoriser."""

    def search(held: Held, run: Run) -> Found:
        found = Found()
        for settings in groups:
            found.add(held, run, settings)
        return found

    return search


def by_coordinates(held: Held, run: Run) -> Found:
    """fastText's settings, each coordinate at the best of the others so far."""
    found = Found()
    found.add(held, run, [START])
    for choices in COORDINATES:
        base = found.best.setting if found.best is not None else START
        known = [s for s, _ in found.tried] + found.late
        found.add(held, run, [s for s in (base | c for c in choices) if s not in known])
    return found


# --- the rivals ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rival:
    run: Run
    search: Callable[[Held, Run], Found]


WORD_GROUPS: list[list[Setting]] = [[{"words": w, "C": c} for c in C] for w in PATTERNS]
CHARACTER_GROUPS: list[list[Setting]] = [[{"characters": k, "C": c} for c in C] for k in CHARACTERS]
NB: list[Setting] = [{"C": c, "beta": beta} for c in (0.1, 1.0, 10.0) for beta in (1.0, 0.25)]
RIVALS = {
    "fasttext_default": Rival(run_fasttext, by_grid([[DEFAULT]])),
    "fasttext_tuned": Rival(run_fasttext, by_coordinates),
    "tfidf_word": Rival(run_sklearn, by_grid(WORD_GROUPS)),
    "tfidf_char": Rival(run_sklearn, by_grid(CHARACTER_GROUPS)),
    "tfidf_both": Rival(run_sklearn, by_grid([[{"words": "all", "characters": "char_wb 2-5", "C": c} for c in C]])),
    "tfidf_both_1-4": Rival(run_sklearn, by_grid([[{"words": "all", "characters": "char 1-4", "C": c} for c in C]])),
    "nbsvm_word": Rival(run_sklearn, by_grid([[{"words": "all"} | s for s in NB]])),
    "nbsvm_char": Rival(run_sklearn, by_grid([[{"characters": "char 1-4"} | s for s in NB]])),
}
ONLY_SPACELESS = {"nbsvm_char", "tfidf_both_1-4"}


def rivals(task: str) -> Iterator[str]:
    return (name for name in RIVALS if TASKS[task].spaceless or name not in ONLY_SPACELESS)


def temperature(p: Floats, codes: NDArray[np.intp]) -> float:
    """The one that makes the held-out rows most probable."""
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        q = tempered(p, float(np.exp(log_t)))
        return float(-np.log(np.maximum(q[np.arange(len(q)), codes], FLOOR)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded").x))


def tempered(p: Floats, t: float) -> Floats:
    z = np.log(np.maximum(p, FLOOR)) / t
    return _shares(np.exp(z - z.max(axis=1, keepdims=True)))


def scores(truth: list[str], p: Floats, classes: list[str]) -> dict[str, float]:
    floored = _shares(np.maximum(p, FLOOR))
    predicted = np.array(classes)[p.argmax(axis=1)].tolist()
    return {
        "accuracy": accuracy(truth, predicted),
        "log_loss": log_loss(truth, floored, classes),
        "classwise_ece": classwise_ece(truth, floored, classes),
    }


@dataclass
class Answer:
    """What a rival gives: the probabilities of the test texts, without and with a temperature, and facts."""

    probabilities: Floats | None
    calibrated: Floats | None
    facts: dict[str, Any]


def answer(name: str, train: Rows, texts: list[str], seed: int, dev: Rows | None = None) -> Answer:
    """A rival's probabilities of the texts, classes in sorted order: settings chosen, then fitted on all of train."""
    rival = RIVALS[name]
    began = time.perf_counter()
    held = Held.of(train, dev, seed)
    found = rival.search(held, rival.run)
    facts: dict[str, Any] = {"search_seconds": time.perf_counter() - began, "tried": found.tried}
    facts |= {"not_reached": [f"{s}: not reached in {LIMIT} s, or diverged" for s in found.late]}
    if found.best is None:
        return Answer(None, None, facts)
    fits = rival.run(Question(train, texts, seed, final=True), [found.best.setting])
    facts |= {"settings": found.best.setting, "held_out_accuracy": found.accuracy}
    if not fits:
        facts["not_reached"].append(f"the fit on all rows: not reached in {LIMIT} s")
        return Answer(None, None, facts)
    code = {c: k for k, c in enumerate(held.question.classes)}
    t = temperature(found.best.probabilities, np.array([code[y] for y in held.truth]))
    facts |= {"fit_seconds": fits[0].fit, "predict_seconds": fits[0].predict, "temperature": t}
    return Answer(fits[0].probabilities, tempered(fits[0].probabilities, t), facts)


def measured(task: str, name: str, seed: int = 0) -> dict[str, Any]:
    """The line of a rival on a task, for the file."""
    train_texts, train_labels, test_texts, test_labels = load(task)
    found = answer(name, (train_texts, train_labels), test_texts, seed, development(task))
    row: dict[str, Any] = {"times": "on a busy machine", **found.facts}
    if found.probabilities is not None and found.calibrated is not None:
        classes = sorted(set(train_labels))
        row |= scores(test_labels, found.probabilities, classes)
        row["calibrated"] = scores(test_labels, found.calibrated, classes)
    return row


def retimed(task: str, name: str, row: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """The line with the seconds of one more fit with the settings found."""
    if "settings" not in row:
        return row
    train_texts, train_labels, test_texts, _ = load(task)
    fits = RIVALS[name].run(Question((train_texts, train_labels), test_texts, seed, final=True), [row["settings"]])
    times = {"times": "measured anew", "fit_seconds": fits[0].fit, "predict_seconds": fits[0].predict} if fits else {}
    return row | times


def line(task: str, name: str, row: dict[str, Any]) -> str:
    if "accuracy" not in row:
        return f"{task:20s} {name:17s} not reached in {LIMIT} s"
    own, after = (f"{r['log_loss']:.4f} {r['classwise_ece']:.4f}" for r in (row, row["calibrated"]))
    seconds = f"{row['fit_seconds']:7.2f}s {row['predict_seconds']:6.2f}s, search {row['search_seconds']:.0f}s"
    return f"{task:20s} {name:17s} {row['accuracy']:.4f}  {own}  {after}  {seconds}  {row['settings']}"


def saved() -> dict[str, dict[str, Any]]:
    """The file's rows: of each task, of each rival."""
    rows: dict[str, dict[str, Any]] = json.loads(OUT.read_text(encoding="utf8")) if OUT.exists() else {}
    return rows


def with_row(task: str, name: str, row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    rows = saved()
    return rows | {task: rows.get(task, {}) | {name: row}}


def save(rows: dict[str, dict[str, Any]]) -> None:
    OUT.parent.mkdir(exist_ok=True)
    part = OUT.with_suffix(".part")
    part.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf8")
    part.rename(OUT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="*", help=", ".join(TASKS))
    parser.add_argument("--only", help="rivals, separated by commas")
    parser.add_argument("--again", action="store_true", help="do anew what is in the file already")
    parser.add_argument("--retime", action="store_true", help="measure the times anew, with the settings found")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        worker(asked.worker)
        return
    if unknown := set(asked.task) - set(TASKS):
        parser.error(f"no such task: {', '.join(sorted(unknown))}")
    wanted = asked.only.split(",") if asked.only else list(RIVALS)
    for task in asked.task or tasks():
        for name in (n for n in rivals(task) if n in wanted):
            old = saved().get(task, {}).get(name)
            row: dict[str, Any] = old if old is not None and not asked.again else measured(task, name)
            row = retimed(task, name, row) if asked.retime else row
            if row is not old:
                save(with_row(task, name, row))
            print(line(task, name, row), flush=True)


if __name__ == "__main__":
    main()
