"""Vast tables: from memory, from a store and from any cut into files they give the same model, byte for byte."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import Run, luce, refused
from long_table import MIB, peaks, write

from luce import Classifier, gather, processes, store, strength, vast
from luce import train as train_on
from luce.errors import FileError, InputError
from luce.schema import infer_schema
from luce.store import Store, StoredFrame
from luce.table import Table

__all__ = ["luce"]

ROWS = 3_000


def people(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """Numbers, one of few values and one with missing cells, a truth value, categories, a date, and three classes of
    which one is rare."""
    rng = np.random.default_rng(seed)
    age, weight = rng.normal(50, 12, rows).astype(np.float32), rng.normal(70, 9, rows)
    weight[rng.random(rows) < 0.1] = np.nan
    town = rng.choice(["Oslo", "서울", "Łódź", "Pécs"], rows, p=[0.5, 0.3, 0.15, 0.05])
    score = np.stack([age / 12, np.nan_to_num(weight) / 9 + (town == "서울"), np.full(rows, 4.5)], axis=1)
    label = np.array(["a", "b", "c"])[(score + rng.gumbel(size=score.shape)).argmax(axis=1)]
    days = np.datetime64("2020-01-01") + rng.integers(0, 900, rows).astype("timedelta64[D]")
    frame = pl.DataFrame({"age": age, "weight": weight, "town": town, "children": rng.integers(0, 4, rows)})
    member, codes = rng.random(rows) < 0.4, rng.integers(0, 30, rows).astype(str)
    return frame.with_columns(member=member, day=days, code=codes, label=label).with_columns(
        pl.col("weight").fill_nan(None)
    )


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of some thousand rows count as vast, and are cut into many blocks and parts."""
    for module, name, value in (
        (vast, "MOST_CELLS", 1_000), (vast, "BLOCK", 257), (vast, "SAMPLE", 1_000), (gather, "PART", 700),
        (strength, "MANY_TO_HOLD", 500), (strength, "HELD_OF_MANY", 400),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


def cut(frame: pl.DataFrame, folder: Path, *at: int, suffix: str = "parquet") -> str:
    """Files of the rows between these places; the pattern that names them."""
    folder.mkdir()
    for i, (first, end) in enumerate(zip((0, *at), (*at, frame.height), strict=True)):
        part = frame[first:end]
        path = folder / f"part-{i:02d}.{suffix}"
        part.write_parquet(path, row_group_size=300) if suffix == "parquet" else part.write_csv(path)
    return f"{folder}/*.{suffix}"


def saved(data: Any, path: Path, label: str = "label") -> bytes:
    train_on(data, label).classifier.save(path)
    return path.read_bytes()


def test_memory_store_and_any_cut_into_files_give_the_same_file(tmp_path: Path) -> None:
    frame = people().sort("label")  # so that no file has all classes
    wanted = saved(frame, tmp_path / "memory.luce")
    for i, at in enumerate([(), (1_000,), (1, 2, 2_999), (350, 900, 901, 2_000)]):
        pattern = cut(frame, tmp_path / str(i), *at)
        stored = gather.gather(pattern, memory=1, parent=tmp_path)
        assert isinstance(stored.frame, StoredFrame)
        assert saved(stored, tmp_path / "store.luce") == wanted
        assert saved(gather.gather(pattern), tmp_path / "files.luce") == wanted


def test_workers_give_the_same_file(tmp_path: Path) -> None:
    """Of one machine, with and without a store; Ray's are in tests/test_engine.py."""
    frame, model = people(), Classifier(engine=processes(3))
    wanted = saved(frame, tmp_path / "memory.luce")
    stored = gather.gather(cut(frame, tmp_path / "files", 1_000), memory=1, parent=tmp_path)
    for data in (frame, stored):
        train_on(data, "label", classifier=model).classifier.save(tmp_path / "workers.luce")
        assert (tmp_path / "workers.luce").read_bytes() == wanted


def test_vast_tables_bend_and_pair_to_the_same_file(tmp_path: Path) -> None:
    """A truth that no straight line tells, from memory, from a store, and by workers; straight it would lose 0.69."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(ROWS, 4))
    told = (x[:, 0] > 0) ^ (x[:, 1] > 0) ^ (np.abs(x[:, 2]) < 0.5) & (rng.random(ROWS) < 0.5)
    frame = pl.DataFrame(x, schema=list("abcd")).with_columns(label=pl.Series(np.where(told, "yes", "no")))
    trained = train_on(frame, "label")
    encoder, report = trained.classifier.fitted.encoder, trained.report
    assert encoder.pairs and report is not None and report.log_loss < 0.55
    wanted = saved(frame, tmp_path / "memory.luce")
    stored = gather.gather(cut(frame, tmp_path / "files", 1_000), memory=1, parent=tmp_path)
    assert saved(stored, tmp_path / "store.luce") == wanted
    for data in (frame, stored):
        model = train_on(data, "label", classifier=Classifier(engine=processes(2))).classifier
        model.save(tmp_path / "workers.luce")
        assert (tmp_path / "workers.luce").read_bytes() == wanted
    straight = train_on(frame, "label", classifier=Classifier(effects="linear")).report
    assert straight is not None and straight.log_loss > 0.65


def test_a_row_that_differs_makes_another_file(tmp_path: Path) -> None:
    """The comparison above can fail."""
    frame = people()
    other = frame.with_columns(age=pl.when(pl.int_range(pl.len()) == 2_999).then(51.5).otherwise(pl.col("age")))
    assert saved(frame, tmp_path / "a.luce") != saved(other.cast({"age": pl.Float32}), tmp_path / "b.luce")


def test_texts_of_numbers_in_a_csv_give_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store holds them as numbers, memory as the texts that they are in the file."""
    monkeypatch.setattr(gather, "MANY_NUMBERS", 50)
    frame = people().with_columns(
        year=pl.Series(np.arange(ROWS) % 97 + 1900), zip=pl.Series([f"{i % 77:05d}" for i in range(ROWS)])
    )
    pattern = cut(frame, tmp_path / "csv", 1_200, suffix="csv")
    stored = gather.gather(pattern, memory=1, parent=tmp_path, keep="label")
    assert stored.frame.schema["weight"] == stored.frame.schema["year"] == pl.Float64
    assert stored.frame.schema["zip"] == stored.frame.schema["code"] == pl.String
    assert saved(stored, tmp_path / "store.luce") == saved(gather.gather(pattern), tmp_path / "memory.luce")


def test_a_vast_table_is_learnt_as_well_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the fit that reads all at once; the classes' shares alone lose a third more."""
    frame, fresh = people(), people(seed=1)
    blockwise = Classifier(effects="linear").fit(frame, "label")
    assert np.array_equal(blockwise.predict_proba(fresh)[:5], blockwise.predict_proba(fresh[:5]))
    monkeypatch.setattr(vast, "MOST_CELLS", 1 << 25)
    at_once = Classifier(effects="linear").fit(frame, "label")
    difference = np.abs(blockwise.predict_proba(fresh) - at_once.predict_proba(fresh))
    assert difference.mean() < 0.01  # the strengths were chosen on other rows, and so was the calibration
    assert blockwise.evaluate(fresh).log_loss < at_once.evaluate(fresh).log_loss + 0.005


def test_what_is_measured_was_held_out() -> None:
    trained = train_on(people(), "label")
    assert trained.report is not None
    assert 300 < trained.report.rows < 500
    fresh = trained.classifier.evaluate(people(seed=1))
    assert abs(trained.report.log_loss - fresh.log_loss) < 4 * 0.6 / trained.report.rows**0.5  # its standard error
    assert train_on(people(), "label", held_out=0).report is None


def test_rows_held_out_have_the_classes_by_their_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of tables that are vast by their columns; else a calibration on these rows would shift all answers: the mean
    probability of each class is then its share, within four of its standard errors, sqrt(p (1 - p) / held)."""
    monkeypatch.setattr(strength, "MANY_TO_HOLD", 1 << 20)
    monkeypatch.setattr(strength, "HELD", 300)
    frame = people()
    share = frame["label"].value_counts(normalize=True).sort("label")["proportion"].to_numpy()
    done = train_on(frame, "label")
    held = done.classifier.held_out
    assert held is not None and held.rows is not None and len(held.codes) == 300
    assert share.min() < 0.1  # balanced rows would have a third
    error = 4 * (share * (1 - share) / 300) ** 0.5
    assert (np.abs(np.bincount(held.codes) / 300 - share) < error).all()
    assert (np.abs(done.classifier.predict_proba(people(seed=1)).mean(axis=0) - share) < error).all()


def test_a_stored_frame_is_the_frame(tmp_path: Path) -> None:
    frame = people()
    stored = Store(tmp_path)
    paths = [stored.part(frame[i : i + 1_000]) for i in range(0, ROWS, 1_000)]
    found = StoredFrame(stored, paths, [1_000] * 3, frame.schema)
    assert (found.height, found.width, found.columns) == (ROWS, frame.width, frame.columns)
    for name in frame.columns:
        assert found.get_column(name).equals(frame[name], check_names=True, null_equal=True)
    rows = np.array([0, 5, 999, 1_000, 2_500, 2_999])
    assert found[rows].equals(frame[rows])
    assert found.drop("age")[rows].equals(frame.drop("age")[rows])
    assert infer_schema(Table(found)) == infer_schema(Table.of(frame))  # type: ignore[arg-type]


def test_arrays_of_a_store_are_let_go_of_and_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BREATH_S", 0.001)
    stored = Store(tmp_path)
    array = stored.array("a", (1_000, 1_000), np.float32)
    array[:] = np.arange(1_000, dtype=np.float32)
    with stored.trimmed():
        for _ in range(50):
            assert array.sum(dtype=np.float64) == 1_000 * 999 * 500
    stored.close()
    assert array[3, 7] == 7 and list(tmp_path.iterdir()) == []


def test_a_stored_table_can_be_fitted_again(tmp_path: Path) -> None:
    stored = gather.gather(cut(people(), tmp_path / "a"), memory=1, parent=tmp_path)
    first = saved(stored, tmp_path / "m.luce")
    assert saved(stored, tmp_path / "m.luce") == first
    own = Store(tmp_path)
    old = own.array("x", (3,), np.float32)
    old[:] = 1
    own.array("x", (3,), np.float32)[:] = 2
    assert (old == 1).all()


def test_a_store_goes_with_its_owner_and_one_of_a_killed_owner_with_the_next(tmp_path: Path) -> None:
    code = "import sys; from luce.store import Store; s = Store(sys.argv[1]); s.array('a', (9,), 'f4'); "
    for end, left in (("pass", 0), ("import os; os.kill(os.getpid(), 9)", 1)):
        subprocess.run([sys.executable, "-c", code + end, tmp_path], capture_output=True, check=False)
        assert len(list(tmp_path.iterdir())) == left
    mine = Store(tmp_path)
    assert list(tmp_path.iterdir()) == [mine.folder]
    Store(tmp_path).close()
    assert list(tmp_path.iterdir()) == [mine.folder]  # one that is in use stays


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    stored = Store(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(FileError, match="1,600,000 bytes could not be stored"):
            stored.array("a", (400_000,), np.float32)
        with pytest.raises(FileError, match="could not be stored"):
            stored.part(pl.DataFrame({"x": np.zeros(400_000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def flip(path: Path) -> None:
    """Changes one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    with open(path, "r+b") as file:  # the same file, which is mapped
        file.write(data)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("harm", [flip, cut_short, Path.unlink])
@pytest.mark.parametrize("name", ["dense.npy", "indices.npy", "codes.npy", "000002.arrow"])
def test_a_store_that_was_damaged_ends_the_run(
    name: str, harm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a line that names the file: before the first pass over its arrays, and where its rows are read."""
    stored = gather.gather(cut(people(), tmp_path / "a", 1_000), memory=1, parent=tmp_path)
    assert isinstance(stored.frame, StoredFrame)
    folder, plain = stored.frame.store.folder, Store.check

    def check(self: Store) -> None:
        harm(folder / name)
        plain(self)

    if name.endswith("npy"):
        monkeypatch.setattr(Store, "check", check)
    else:
        harm(folder / name)
    with pytest.raises(FileError, match=rf"/{name}: (is not as it was written|cannot be read any more)") as caught:
        Classifier(engine=processes(1)).fit(stored, "label")
    assert "\n" not in str(caught.value)


def test_a_store_that_is_cut_short_later_on_ends_the_run(tmp_path: Path) -> None:
    stored = gather.gather(cut(people(), tmp_path / "a"), memory=1, parent=tmp_path)
    assert isinstance(stored.frame, StoredFrame)
    stored.frame.get_column("age")
    cut_short(stored.frame.paths[-1])
    with pytest.raises(FileError, match="is not as it was written"):
        Classifier().fit(stored, "label")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_d19_a_table_larger_than_its_memory_is_never_in_memory(tmp_path: Path) -> None:
    """32 MiB of rows under 16 MB; what is beside rows takes some 20 MiB. Read whole they take more than the bound, so a
    reader of all would be seen. The 2 GiB are in tests/long_table.py."""
    pattern = write(tmp_path / "data", 1 << 17, 64, 8)
    few = {
        "luce.vast.MOST_CELLS": 1_000, "luce.vast.SAMPLE_CELLS": 1 << 19, "luce.vast.BLOCK_CELLS": 1 << 18,
        "luce.gather.PART": 1 << 14, "luce.blocks.CELL_BYTES": 4 * MIB, "luce.choice.MOST_SAMPLED": 1_000,
        "luce.interactions.BLOCK": 1 << 18,
        "luce.strength.MANY_TO_HOLD": 500, "luce.strength.HELD_OF_MANY": 2_000,
    }  # fmt: skip
    found = {memory: peaks(pattern, memory, tmp_path, few)["all"] / MIB for memory in (16 * MIB, 1 << 40)}
    assert found[16 * MIB] < 70 < found[1 << 40]


def test_files_of_other_columns_are_named(tmp_path: Path) -> None:
    frame = people(60)
    pattern = cut(frame, tmp_path / "a", 30)
    frame[30:].rename({"age": "years"}).write_parquet(tmp_path / "a" / "part-01.parquet")
    with pytest.raises(
        InputError,
        match=r"part-01.parquet: its columns are not those of .*part-00.parquet; missing: 'age'; not known: 'years'",
    ):
        gather.gather(pattern)
    frame[30:].with_columns(age=pl.lit("old")).write_parquet(tmp_path / "a" / "part-01.parquet")
    with pytest.raises(InputError, match=r"part-01.parquet: column 'age' is String here and Float32 in .*part-00"):
        gather.gather(pattern)


def test_types_that_mean_the_same_are_joined(tmp_path: Path) -> None:
    """Whole numbers beside fractions, a part whose cells are all missing, columns in another order."""
    frame = people(90).with_columns(age=pl.col("age").round(0))
    pattern = cut(frame, tmp_path / "a", 30, 60)
    frame[:30].with_columns(age=pl.col("age").cast(pl.Int16), town=pl.lit(None, pl.String)).write_parquet(
        tmp_path / "a" / "part-00.parquet"
    )
    frame[60:].with_columns(children=pl.lit(None)).select(sorted(frame.columns)).write_parquet(
        tmp_path / "a" / "part-02.parquet"
    )
    wanted = frame.with_columns(
        age=pl.col("age").cast(pl.Float64), town=pl.when(pl.int_range(90) >= 30).then(pl.col("town")),
        children=pl.when(pl.int_range(90) < 60).then(pl.col("children")),
    )  # fmt: skip
    for memory in (None, 1):
        found = gather.gather(pattern, memory=memory, parent=tmp_path).frame
        for name in frame.columns:
            assert found.get_column(name).equals(wanted[name], null_equal=True), name


def test_what_cannot_be_done_block_by_block_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = gather.gather(cut(people(), tmp_path / "a"), memory=1, parent=tmp_path)
    with pytest.raises(InputError, match="too many cells for a network"):
        Classifier(model="network").fit(stored, "label")
    with pytest.raises(InputError, match="allow more memory"):
        train_on(stored, "label", time="day")
    monkeypatch.setattr(vast, "MOST_CELLS", 1 << 25)
    with pytest.raises(InputError, match="allow more memory"):
        train_on(stored, "label")


def test_the_command_trains_on_a_pattern_and_on_a_folder(luce: Run, tmp_path: Path) -> None:
    frame = people()
    pattern, model = cut(frame, tmp_path / "data", 1_000, 2_000), tmp_path / "m.luce"
    wanted = saved(frame, tmp_path / "wanted.luce")
    workers = ["--engine", "local", "--workers", "2"]
    for data, more in ((pattern, []), (tmp_path / "data", ["--memory", "100kB"]), (pattern, workers)):
        done = luce("train", data, "--label", "label", "--out", model, *more)
        assert done.code == 0 and model.read_bytes() == wanted
    assert sorted(os.listdir(tmp_path)) == ["data", "m.luce", "wanted.luce"]  # the store is gone
    done = luce(
        "train",
        pattern,
        "--label",
        "label",
        "--out",
        model,
        "--memory",
        "100kB",
        "--report",
        tmp_path / "r.html",
        "--json",
    )
    assert done.code == 0 and (tmp_path / "r.html").stat().st_size > 10_000
    unsaid = luce("train", pattern, "--out", model)
    assert unsaid.code == 2 and "--label COLUMN; the columns are age, weight" in unsaid.err
    for wrong in (["--workers", "2"], ["--address", "auto"], ["--engine", "local", "--address", "auto"]):
        assert luce("train", pattern, "--label", "label", "--out", model, *wrong).code == 2
    assert "--memory" in refused(luce("train", pattern, "--label", "label", "--memory", "much"))
