"""Helpers for the tests of the commands: run one in this process, judge its end, tables to give it."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from luce.cli import main

PATIENTS = Path(__file__).parent / "golden" / "patients.csv"

NEW = """age,temperature,cough,blood pressure,visit,ward,visits before
36,"38,7",yes,124,2024-02-01,north,1
58,"36,7",no,,2024-02-02,,2
"""


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]

TRAINED: list[bytes] = []
"""patients.luce, once the first test that wants it has trained it."""


@pytest.fixture
def luce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in an empty folder of its own, 80 columns wide, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main() sets it; this puts it back

    def run(*arguments: object, stdin: bytes | None = None) -> Ran:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["luce", *map(str, arguments)])
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as stop:
            main()
        return Ran(stop.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def patients(luce: Run, tmp_path: Path) -> Path:
    """A folder, the working one, with patients.csv, and with patients.luce trained on it."""
    shutil.copy(PATIENTS, tmp_path)
    model = tmp_path / "patients.luce"
    if not TRAINED:
        good(luce("train", "patients.csv", "--label", "diagnosis", "--holdout", 0.33, "--out", model.name))
        TRAINED.append(model.read_bytes())
    model.write_bytes(TRAINED[0])
    return tmp_path


def good(ran: Ran) -> Ran:
    assert ran.code == 0, ran.err
    return ran


def refused(ran: Ran, *parts: str) -> str:
    """The one line on standard error that a mistake in the data or in an argument must give, with nothing else."""
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("luce: ")
    assert ran.err.count("\n") == 1
    assert ran.err.endswith("\n")
    assert ran.err[:-1].isprintable()
    for part in parts:
        assert part in ran.err
    return ran.err


def answers(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def kinds_of(luce: Run, model: object) -> dict[str, str]:
    columns = json.loads(good(luce("inspect", model, "--json")).out)["schema"]["columns"]
    return {column["name"]: column["kind"] for column in columns}


def orders(rows: int = 240, seed: int = 0) -> pl.DataFrame:
    """Typed columns of every kind, with missing cells, and three classes that depend on them."""
    rng = np.random.default_rng(seed)
    price, count, member = rng.lognormal(3, 1, rows), rng.integers(1, 40, rows), rng.random(rows) < 0.5
    grade = rng.choice(["골드", "실버", "브론즈"], rows)
    score = np.stack([np.log(price), 0.1 * count + member, 2.0 * (grade == "골드") + 2], axis=1)
    label = np.array(["gone", "stays", "unsure"])[(score + rng.gumbel(size=(rows, 3))).argmax(axis=1)]
    holes = rng.random(rows) < 0.1
    days = np.datetime64("2024-01-01") + rng.integers(0, 300, rows)
    return pl.DataFrame(
        {
            "price": [None if hole else p for hole, p in zip(holes, price.tolist(), strict=True)],
            "count": count,
            "member": member,
            "grade": [None if hole else g for hole, g in zip(holes[::-1], grade.tolist(), strict=True)],
            "day": days.astype("datetime64[D]"),
            "label": label,
        }
    )


GOOD = ("great", "love it", "wonderful", "works well", "happy"), ("정말 좋아요", "최고예요", "만족합니다", "예뻐요")
BAD = (
    ("terrible", "broken", "waste of money", "awful", "slow"),
    ("별로예요", "고장났어요", "너무 느려요", "실망했습니다"),
)
NEITHER = (
    ("the phone", "my order", "this product", "battery", "for my kid", "after a week", "in the box", "screen"),
    ("이 제품은", "배송이", "화면이", "어제 산 건데", "아이가 쓰는데", "포장 상태는", "색깔이", "전화기"),
)


def reviews(rows: int = 160, korean: bool = False, seed: int = 0) -> pl.DataFrame:
    """Short texts and a number, and a label that mostly follows the two telling words of each text."""
    rng = np.random.default_rng(seed)
    good, texts = rng.random(rows) < 0.5, []
    for each in good:
        telling = GOOD[korean] if each ^ (rng.random() < 0.07) else BAD[korean]
        texts.append(
            " ".join(rng.permutation([*rng.choice(NEITHER[korean], 4, False), *rng.choice(telling, 2, False)]))
        )
    stars = np.round(3 + good + rng.normal(size=rows), 1)
    return pl.DataFrame({"review": texts, "stars": stars, "label": np.where(good, "good", "bad")})


def written(frame: pl.DataFrame, form: str, stem: str) -> str:
    """The frame as a file of the form in the working folder; its name."""
    name = f"{stem}.{form}"
    if form in ("csv", "tsv"):
        frame.write_csv(name, separator="\t" if form == "tsv" else ",")
    else:
        {"jsonl": frame.write_ndjson, "parquet": frame.write_parquet, "arrow": frame.write_ipc}[form](name)
    return name
