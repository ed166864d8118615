"""Runs that are broken off, by a crash, SIGKILL, Ctrl-C or a full disk, and go on to the same bits."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from claims import same_bits
from commands import Ran, Run, luce
from disk import failing
from test_many_classes import few_logits, titles
from test_vast import people, small

from luce import Classifier, NetworkClassifier, checkpoint, choice, objective, processes, run, wording
from luce import path as strengths
from luce import train as train_on
from luce.checkpoint import Checkpoint
from luce.container import read_container
from luce.errors import InputError, LuceWarning, ModelFileError
from luce.features import Features
from luce.lock import alone
from luce.objective import Objective
from luce.path import Path as Strengths
from luce.solver import Certificate, FarNewton, Solution, minimise
from luce.steps import RowPoint

__all__ = ["few_logits", "luce", "small"]

ROWS = 1_500
told = pytest.mark.filterwarnings("always::luce.errors.LuceWarning")  # as a command has it


class CrashError(Exception):
    """Ends a run as a crash would: nothing of luce catches it."""


@pytest.fixture(autouse=True)
def every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "EVERY", 0.0)
    monkeypatch.setattr(run, "SHARE", 0.0)


@contextmanager
def broken(after: int, error: type[BaseException] = CrashError) -> Iterator[list[Any]]:
    """After so many saves the run ends, and nothing more is saved; gives what was."""
    saved: list[Any] = []
    save = Checkpoint.save

    def counted(self: Checkpoint, arrays: Any, facts: Any) -> None:
        if len(saved) < after:
            save(self, arrays, facts)
            saved.append(facts)
        if len(saved) == after:
            raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", counted)
        yield saved


def fitted(path: Path, frame: Any, **settings: Any) -> bytes:
    train_on(frame, "label", classifier=Classifier(**settings)).classifier.save(path)
    return path.read_bytes()


def crashed(path: Path, frame: Any, after: int, **settings: Any) -> list[Any]:
    with broken(after) as saved, pytest.raises(CrashError):
        train_on(frame, "label", classifier=Classifier(checkpoint=path, **settings))
    return saved


def resumed(path: Path, frame: Any, **settings: Any) -> bytes:
    with pytest.warns(LuceWarning, match=f"a run that was broken off goes on from its checkpoint, {path}"):
        found = fitted(path.parent / "resumed.luce", frame, checkpoint=path, **settings)
    assert os.listdir(path.parent) == ["resumed.luce"]
    os.remove(path.parent / "resumed.luce")
    return found


def saved_by(path: Path, frame: Any, **settings: Any) -> list[Any]:
    """The facts of all that an unbroken run saves; and it leaves nothing."""
    with broken(1 << 30) as saved:
        train_on(frame, "label", classifier=Classifier(checkpoint=path, **settings))
    assert os.listdir(path.parent) == []
    return saved


def saves_of(path: Path, frame: Any, **settings: Any) -> int:
    return len(saved_by(path, frame, **settings))


def refused(ran: Ran) -> str:
    """What the command says last, which is one line."""
    assert ran.code == 1
    return ran.err.splitlines()[-1]


def quietly(work: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LuceWarning)
        return work()


# --- the same bits -------------------------------------------------------------------------------------------------


def test_l03_a_vast_fit_that_crashed_after_any_save_goes_on_to_the_same_file(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With another number of threads, and once by workers; the solves go on where they were."""
    frame, path = people(ROWS), tmp_path / "c"
    wanted = fitted(tmp_path_factory.mktemp("whole") / "m.luce", frame)
    count = saves_of(path, frame)
    places = set()
    for after in (*range(1, count, 2), count):
        places |= {facts["at"] for facts in crashed(path, frame, after, threads=1)}
        workers = processes(2) if after == count // 2 else None
        assert resumed(path, frame, threads=2, engine=workers) == wanted
    assert places == {None, "/0 held out/0 solve", "/1 fit/0 solve"}


def test_l03_a_run_that_crashes_again_and_again_gets_to_its_end(tmp_path: Path) -> None:
    """After each save: what one run adds, the next begins with."""
    frame, path = people(ROWS), tmp_path / "c"
    wanted, crashes = fitted(tmp_path / "m.luce", frame), 0
    found = None
    while found is None:
        with broken(2), warnings.catch_warnings():
            warnings.simplefilter("ignore", LuceWarning)
            try:
                found = fitted(tmp_path / "n.luce", frame, checkpoint=path)
            except CrashError:
                crashes += 1
    assert crashes > 5
    assert found == wanted


def test_l03_a_run_of_two_vast_fits_goes_on_too(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The latest rows are held out of the first; in the midst of each."""
    frame, path = people(ROWS), tmp_path / "c"

    def trained(folder: Path, **settings: Any) -> bytes:
        train_on(frame, "label", time="day", classifier=Classifier(**settings)).classifier.save(folder / "m.luce")
        return (folder / "m.luce").read_bytes()

    whole = tmp_path_factory.mktemp("whole")
    wanted = trained(whole)
    for after in (8, 22):
        with broken(after) as saved, pytest.raises(CrashError):
            trained(whole, checkpoint=path)
        assert saved[-1]["at"] is not None
        assert quietly(partial(trained, whole, checkpoint=path)) == wanted
        assert os.listdir(tmp_path) == []


def wordy(rows: int = 240) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    words = np.array(["good", "bad", "fine", "poor", "so", "the", "and", "quite"])
    texts = [" ".join(words[rng.integers(0, 8, 6)]) for _ in range(rows)]
    label = np.where([t.count("good") + t.count("fine") > t.count("bad") + t.count("poor") for t in texts], "+", "-")
    return pl.DataFrame({"text": texts, "x": rng.normal(size=rows), "label": label})


def bent(rows: int = 900) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3))
    return pl.DataFrame(x, ["a", "b", "c"]).with_columns(label=pl.Series(np.abs(x[:, 0]) + 0.3 * x[:, 1] > 0.8))


NETWORK = NetworkClassifier((5,), epochs=3)


@pytest.mark.parametrize(
    ("frame", "settings", "saves"),
    [
        (bent(), {}, (0.15, 0.4, 0.95)),  # of all, of which those in the midst of the races are most
        (bent(300), {"l2": 1e-3, "model": NETWORK}, (0.3, 0.7)),
        (wordy(), {}, (0.2, 0.5, 0.8)),
    ],
    ids=["curves", "network", "texts"],
)
def test_l03_a_fit_in_memory_takes_its_pieces_over(
    frame: pl.DataFrame,
    settings: dict[str, Any],
    saves: tuple[float, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Both of the fits of `train`: on a part of the rows, and on all; and the fits of their races, one by one."""
    monkeypatch.setattr("luce.vast.MOST_CELLS", 1 << 25)
    for module, name, value in (
        (choice, "SAMPLE", 300), (wording, "FEW_READ", 100), (wording, "MANY_READ", 150), (choice, "MANY_ROWS", 100),
        (strengths, "LONG", 0.0),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    path = tmp_path / "c"
    wanted = quietly(lambda: fitted(tmp_path_factory.mktemp("whole") / "m.luce", frame, **settings))
    count = quietly(lambda: saves_of(path, frame, **settings))
    for share in saves:
        facts = quietly(partial(crashed, path, frame, int(share * count), threads=1, **settings))[-1]
        assert facts["pieces"]
        assert resumed(path, frame, threads=2, **settings) == wanted


@pytest.mark.usefixtures("few_logits")
def test_l03_a_fit_of_very_many_classes_goes_on_after_any_save(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also after the first of the last fit, with which the point where it started goes."""
    frame, path = titles().rename({"title": "text", "job": "label"}), tmp_path / "c"
    settings = {"kinds": {"text": "text"}}
    wanted = quietly(lambda: fitted(tmp_path_factory.mktemp("whole") / "m.luce", frame, **settings))
    places = [facts["at"] for facts in quietly(partial(saved_by, path, frame, **settings))]
    last = max(place for place in places if place is not None)
    assert last.endswith("fit/0 solve")
    first = places.index(last) + 1
    for after in (first // 2, first - 1, first, first + 1, len(places)):
        quietly(partial(crashed, path, frame, after, threads=1, **settings))
        assert resumed(path, frame, threads=2, **settings) == wanted


def of_kind(kind: str) -> Objective:
    """Problems whose steps have metrics of each kind, in float64 or, of many columns, in float32 at first."""
    rng = np.random.default_rng(0)
    rows, (columns, classes) = 1_500, {"of two classes": (80, 2), "in blocks": (80, 3)}.get(kind, (6, 4))
    x = (rng.normal(size=(rows, 3)) @ rng.normal(size=(3, columns)) + rng.normal(size=(rows, columns))) * 3.0
    score = x @ rng.normal(size=(columns, classes)) * columns**-0.5
    codes = (score + rng.gumbel(size=score.shape)).argmax(axis=1).astype(np.int32)
    dense = np.ascontiguousarray(x, dtype=np.float64 if columns == 6 else np.float32)
    features = Features(rows, dense)
    if kind == "in blocks":
        indices = np.sort((rng.random((rows, 3)) ** 2 * 40).astype(np.int32), axis=1).ravel()
        starts, values = np.arange(0, 3 * rows + 1, 3), rng.normal(size=3 * rows).astype(np.float32)
        features = Features(rows, dense, starts, indices, values, sparse_columns=40)
    return Objective(features, codes, classes, 0.05, threads=2)


@pytest.mark.parametrize(
    "kind", ["coupled", "coupled late", "of two classes", "in blocks", "cut short", "not yet proven"]
)
def test_l03_a_solve_goes_on_from_each_of_its_turns(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same point, and the same certificate by as many passes."""
    monkeypatch.setattr(objective, "MOST_LOGITS", 0)
    monkeypatch.setattr("luce.solver.LEAST_PART", 1 << 30)
    if kind == "in blocks":  # of some columns, the others with a diagonal
        monkeypatch.setattr("luce.metric.ALL_COLUMNS", 20)
        monkeypatch.setattr("luce.metric.BLOCK_COLUMNS", 90)
    if kind == "coupled late":
        monkeypatch.setattr("luce.metric.COUPLED_STEPS", 0)
        monkeypatch.setattr("luce.solver.COMMON_GAP", 1e-12)
    if kind == "cut short":
        monkeypatch.setattr("luce.solver.MOST_ITERATIONS", 8)
    if kind == "not yet proven":
        prove, rough = FarNewton.prove, FarNewton.rough_gap
        monkeypatch.setattr(
            FarNewton, "prove", lambda self: replace(prove(self), **{"gap": np.inf} if self.iteration < 8 else {})
        )
        monkeypatch.setattr(FarNewton, "rough_gap", lambda self: rough(self) ** 0.1)  # which falls slowly
    o = of_kind(kind)
    assert o.features.can_be_single == (kind in ("of two classes", "in blocks"))

    def solved() -> Solution:
        with run.keeping(tmp_path / "c") as kept:
            kept.of(dict)
            return minimise(o, 1e-2 if kind == "not yet proven" else 1e-9)

    with broken(1 << 30) as saved:
        whole = solved()
    assert len(saved) > 5
    assert kind != "coupled late" or whole._method.metric.coupled
    for after in range(1, len(saved) + 1, 1 + len(saved) // 12):
        with broken(after), pytest.raises(CrashError):
            solved()
        found = quietly(solved)
        assert same_bits(found.point, whole.point)
        assert replace(found.certificate, seconds=0.0) == replace(whole.certificate, seconds=0.0)
    assert os.listdir(tmp_path) == []


# --- killed, stopped -----------------------------------------------------------------------------------------------

CHILD = """
import os, sys
sys.path.insert(0, sys.argv.pop(1))
when, call, number = sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1))
import luce.run
from luce import strength, vast
from luce.cli import main
for module, name, value in (
    (vast, "MOST_CELLS", 1_000), (vast, "BLOCK", 257), (vast, "SAMPLE", 1_000),
    (strength, "MANY_TO_HOLD", 500), (strength, "HELD_OF_MANY", 400), (luce.run, "EVERY", 0.0),
    (luce.run, "SHARE", 0.0),
):
    setattr(module, name, value)
real, calls = getattr(os, call), 0
def killed(*given, **named):
    global calls
    calls += 1
    if calls == number and when == "before":
        os.kill(os.getpid(), 9)
    found = real(*given, **named)
    if calls == number:
        os.kill(os.getpid(), 9)
    return found
setattr(os, call, killed)
main()
"""


@told
def test_l03_a_command_that_is_killed_goes_on_to_the_same_file(luce: Run, tmp_path: Path) -> None:
    """By SIGKILL: before the first checkpoint has its name, after it, in the middle of writing, in the last solve, and
    before the model has its name. Some of them at once, each in a folder of its own."""
    people(ROWS).write_parquet(tmp_path / "people.parquet")
    wanted = fitted(tmp_path / "wanted.luce", people(ROWS))
    moments = [("before", "replace", 1), ("before", "write", 17), ("after", "replace", 12)]
    moments.append(("before", "replace", saves_of_command() + 1))
    begun = []
    for i, moment in enumerate(moments):
        (tmp_path / str(i)).mkdir()
        command = ["train", tmp_path / "people.parquet", "--label", "label", "--out", tmp_path / str(i) / "m.luce"]
        known = [sys.executable, "-c", CHILD, str(Path(__file__).parent), *map(str, moment), *map(str, command)]
        begun.append((command, subprocess.Popen(known, stdout=subprocess.PIPE, stderr=subprocess.PIPE)))
    for i, (command, process) in enumerate(begun):
        _, err = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, err
        left = os.listdir(tmp_path / str(i))
        assert "m.luce.checkpoint.lock" in left and "m.luce" not in left
        done = luce(*command)
        assert done.code == 0
        assert ("goes on from its checkpoint" in done.err) == (i > 0)
        assert os.listdir(tmp_path / str(i)) == ["m.luce"]
        assert (tmp_path / str(i) / "m.luce").read_bytes() == wanted


def saves_of_command() -> int:
    with broken(1 << 30) as saved, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "remove", lambda self: [os.remove(name) for name in self.names])
        train_on(people(ROWS), "label", classifier=Classifier(checkpoint="counted"))
    return len(saved)


def command_on(tmp_path: Path, frame: pl.DataFrame | None = None) -> list[object]:
    frame = people(ROWS) if frame is None else frame
    frame.write_parquet(tmp_path / "people.parquet")
    return ["train", "people.parquet", "--label", "label"]


@told
def test_l03_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on(luce: Run, tmp_path: Path) -> None:
    command = command_on(tmp_path)
    assert luce(*command, "--out", "wanted.luce").code == 0
    real, turns = Checkpoint.save, []

    def stopped(self: Checkpoint, arrays: Any, facts: Any) -> None:
        turns.append(facts["at"])
        if len(turns) == 12:
            raise KeyboardInterrupt
        real(self, arrays, facts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", stopped)
        done = luce(*command)
    assert done.code == 130
    assert "note: what is done stands in model.luce.checkpoint: the same again goes on from there" in done.err
    assert turns[11] == turns[12]  # what Ctrl-C kept from being saved was saved in the end
    assert "goes on from its checkpoint, model.luce.checkpoint" in luce(*command, "--threads", 1).err
    assert (tmp_path / "model.luce").read_bytes() == (tmp_path / "wanted.luce").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["model.luce", "people.parquet", "wanted.luce"]


def test_a_short_run_leaves_nothing(luce: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it ask for the hashes of its rows."""
    monkeypatch.setattr(run, "EVERY", 30.0)
    command, real = command_on(tmp_path), run.Run.keep
    monkeypatch.setattr("luce.fitting._data_of", None)
    assert luce(*command).code == 0
    count = 0

    def stopped(*given: Any) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        real(*given)

    monkeypatch.setattr(run.Run, "keep", stopped)
    assert luce(*command).code == 130
    assert sorted(os.listdir(tmp_path)) == ["model.luce", "people.parquet"]


# --- faults of the disk --------------------------------------------------------------------------------------------


@told
@pytest.mark.parametrize(("call", "number"), [("write", 30), ("fsync", 6), ("replace", 3)])
def test_l04_a_full_disk_is_told_now_and_the_checkpoint_before_is_whole(
    call: str, number: int, luce: Run, tmp_path: Path
) -> None:
    command = command_on(tmp_path)
    assert luce(*command, "--out", "wanted.luce").code == 0
    saves: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.Run, "leave", lambda self: None)
        real = run.Run._save
        patch.setattr(run.Run, "_save", lambda self: (saves.append(1), real(self)))
        failing(patch, call, errno.ENOSPC, number)
        said = refused(luce(*command))
    assert "not saved, nothing was changed: No space left on device" in said
    assert 2 <= len(saves) < 8  # of 17 or so: it does not go on to its end
    turns = [read_container(tmp_path / f"model.luce.checkpoint{more}")[1]["turn"] for more in ("", ".1")]
    assert max(turns) == len(saves) - 1  # type: ignore[type-var]
    assert luce(*command).code == 0
    assert (tmp_path / "model.luce").read_bytes() == (tmp_path / "wanted.luce").read_bytes()


def test_l05_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path: Path) -> None:
    frame, path = people(ROWS), tmp_path / "c"
    wanted = fitted(tmp_path / "m.luce", frame)
    os.remove(tmp_path / "m.luce")
    for damage in (lambda raw: raw[: len(raw) // 2], lambda raw: raw[:-9] + b"x" + raw[-8:]):
        crashed(path, frame, 12)
        newest = max((path, tmp_path / "c.1"), key=lambda name: int(read_container(name)[1]["turn"]))  # type: ignore[call-overload]
        newest.write_bytes(damage(newest.read_bytes()))
        with pytest.warns(LuceWarning, match=f"a checkpoint is damaged: .*{newest.name}: .* goes on from the other"):
            assert resumed(path, frame) == wanted


def test_l05_two_damaged_checkpoints_are_left_as_they_are(luce: Run, tmp_path: Path) -> None:
    command = command_on(tmp_path)
    crashed(tmp_path / "model.luce.checkpoint", people(ROWS), 12)
    for more in ("", ".1"):
        name = tmp_path / f"model.luce.checkpoint{more}"
        name.write_bytes(name.read_bytes()[:-5])
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    assert "no other checkpoint is whole: remove it" in refused(luce(*command))
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


# --- another run ---------------------------------------------------------------------------------------------------


def test_l06_another_run_is_refused_and_its_checkpoint_stays(
    luce: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, path = people(ROWS), tmp_path / "c"
    crashed(path, frame, 12)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    other = frame.with_columns(age=pl.when(pl.int_range(pl.len()) == 77).then(51.5).otherwise(pl.col("age")))
    numbers = "the data have other numbers, labels or weights"
    cases: list[tuple[pl.DataFrame, dict[str, Any], dict[str, Any], str]] = [
        (other.cast({"age": pl.Float32}), {}, {}, numbers),
        (frame.with_columns(label=pl.col("label").replace("c", "d")), {}, {}, numbers),
        (frame[:-1], {}, {}, "rows was 1500, is 1499"),
        (frame, {"l2": 0.1}, {}, "l2 was auto, is 0.1"),
        (frame, {"kinds": {"age": "category"}}, {}, "kinds was {}, is {'age': 'category'}"),
        (frame, {}, {"held_out": 0.1}, "held_out was 0.2, is 0.1"),
    ]
    for data, settings, more, said in cases:
        model = Classifier(checkpoint=path, **settings)
        with pytest.raises(InputError, match="is the checkpoint of another training") as refusal:
            train_on(data, "label", classifier=model, **more)
        assert said in str(refusal.value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("luce.fitting.computed_by", lambda: "luce 0.0.1, NumPy 2.9, another processor")
        with pytest.raises(InputError, match=r"computed by was luce .*, is luce 0\.0\.1"):
            train_on(frame, "label", classifier=Classifier(checkpoint=path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.metadata.version", lambda name: "0.0.1")
        with pytest.raises(InputError, match=r"luce was .*, is 0\.0\.1"):
            train_on(frame, "label", classifier=Classifier(checkpoint=path))
    said = refused(luce(*command_on(tmp_path, frame[:-1]), "--checkpoint", "c"))
    assert (
        " is the checkpoint of another training (rows was 1500, is 1499): fit as then" in said
        and "remove c and c.1, or give" in said
    )
    os.remove(tmp_path / "people.parquet")
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before
    assert resumed(path, frame) == fitted(tmp_path / "whole.luce", frame)


def test_l13_a_second_run_in_one_place_is_refused(luce: Run, tmp_path: Path) -> None:
    command = command_on(tmp_path)
    with run.keeping(tmp_path / "model.luce.checkpoint"):
        said = refused(luce(*command))
        with pytest.raises(InputError, match=f"process {os.getpid()} has a run there"):
            Classifier(checkpoint=tmp_path / "model.luce.checkpoint").fit(people(60), "label")
        assert luce(*command, "--out", "other.luce").code == 0
    assert said == (
        f"luce: model.luce.checkpoint: process {os.getpid()} has a run there; wait until it is done, or give another "
        "name"
    )
    assert luce(*command).code == 0
    assert sorted(os.listdir(tmp_path)) == ["model.luce", "other.luce", "people.parquet"]


def test_a_lock_goes_with_its_owner(tmp_path: Path) -> None:
    name = str(tmp_path / "lock")
    code = f"import os; from luce.lock import alone\nwith alone({name!r}, 'a', 'b'): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == ["lock"]
    with alone(name, "here", "waits", stays=True):
        assert Path(name).read_text() == f"{os.getpid()}\n"
        with pytest.raises(InputError, match=f"^here: process {os.getpid()} waits$"), alone(name, "here", "waits"):
            pass
    assert os.listdir(tmp_path) == ["lock"]
    with alone(name, "here", "waits"):
        pass
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_a_checkpoint_is_said(luce: Run, tmp_path: Path) -> None:
    frame = people(60)
    with pytest.raises(InputError, match="checkpoint is 3: give the path of a file"):
        Classifier(checkpoint=3).fit(frame, "label")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a fit with a budget depends on how fast it goes"):
        Classifier(checkpoint=tmp_path / "c", budget="30s").fit(frame, "label")
    command = command_on(tmp_path)
    assert "written at the end" in refused(luce(*command, "--out", "m.luce", "--checkpoint", "m.luce"))
    assert "does not exist" in refused(luce(*command, "--checkpoint", "no/c"))
    assert luce(*command, "--budget", "30s").code == 0
    assert sorted(os.listdir(tmp_path)) == ["model.luce", "people.parquet"]


def test_a_piece_comes_back_to_the_bit(tmp_path: Path) -> None:
    """Numbers that are none, arrays of no numbers, what is not there; and a type that was not named is refused."""
    path = Strengths(
        strengths=np.array([1.0, np.nan, -np.inf]), scores=np.empty((0, 3)), errors=np.array([-0.0]),
        difference_errors=np.ones(1, dtype=np.float32), folds=np.arange(3), chosen=np.int64(1), left_out=0,
        held_out=np.zeros((2, 2)), scored=np.array([True, False]), rows=None,
    )  # fmt: skip
    gap = Certificate(0.1, float("inf"), float("nan"), 1e-300, 3, 0.5, True)
    given = (path, [RowPoint(np.ones((1, 2)), np.ones(1), 0.1), None, "a", (1, True)], gap)

    def kept(*types: type) -> Any:
        with run.keeping(tmp_path / "c") as begun:
            begun.of(lambda: {"rows": 3})
            found = run.piece("it", lambda: given, *types)
            raise CrashError(found)

    with pytest.raises(CrashError):
        kept()
    with pytest.warns(LuceWarning, match="goes on"), pytest.raises(CrashError) as ended:
        kept(Strengths, RowPoint, Certificate)
    found = ended.value.args[0]
    assert found is not given
    for name in ("strengths", "scores", "errors", "difference_errors", "folds", "held_out", "scored"):
        assert same_bits(getattr(found[0], name), getattr(path, name))
    assert (found[0].chosen, found[0].left_out, found[0].rows) == (1, 0, None)
    assert same_bits(found[1][0].a, np.ones((1, 2))) and found[1][1:] == [None, "a", (1, True)]
    assert repr(found[2]) == repr(gap)
    with pytest.warns(LuceWarning, match="goes on"), pytest.raises(ModelFileError, match="no such piece of a run"):
        kept()
    assert read_container(tmp_path / "c")[1]["kind"] == checkpoint.KIND
