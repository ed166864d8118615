"""Predict in parts: the bits of one read, a file of answers for each of many, runs that go on where they broke off."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from commands import Run, good, orders, refused, reviews

import luce as luce_
from luce import prediction
from luce.blocks import frames
from luce.classifier import Classifier, load
from luce.columnar import parquet_pieces
from luce.engine import LocalProcesses
from luce.errors import EngineError, FileError, InputError
from luce.lock import alone
from luce.prediction import MANIFEST, Counts, answers, predict_file, predict_files
from luce.ray_engine import _below, _facts
from luce.strangers import Strangers
from luce.table import Table

pytest_plugins = ["commands"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "orders.luce"
    Classifier().fit(orders(), "label").save(path)
    return path


def rows_of(count: int, seed: int = 1) -> pl.DataFrame:
    return orders(count, seed).drop("label")


def folder_of(tmp_path: Path, sizes: dict[str, int]) -> Path:
    """A folder with a Parquet file of so many rows for each name."""
    folder = tmp_path / "data"
    folder.mkdir()
    for seed, (name, rows) in enumerate(sizes.items()):
        rows_of(rows, seed).write_parquet(folder / f"{name}.parquet")
    return folder


def expected(model: Path, frame: pl.DataFrame) -> pl.DataFrame:
    classifier = load(model)
    p = classifier.predict_proba(frame)
    shares = {f"p:{name}": p[:, k] for k, name in enumerate(classifier.classes_.tolist())}
    return pl.DataFrame({"prediction": classifier.decide(p)} | shares)


def told(call, *arguments, **options) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- one file


@pytest.mark.parametrize("name", ["t.csv", "t.tsv.gz", "t.jsonl", "t.parquet", "t.arrow"])
@pytest.mark.parametrize("out", ["a.parquet", "a.csv"])
def test_the_bits_of_one_read_in_any_parts(model, tmp_path, monkeypatch, name, out):
    frame, source = rows_of(700), tmp_path / name
    if name == "t.tsv.gz":
        source.write_bytes(gzip.compress(frame.write_csv(separator="\t").encode()))
    else:
        forms = {".csv": frame.write_csv, ".jsonl": frame.write_ndjson, ".parquet": frame.write_parquet}
        forms.get(source.suffix, frame.write_ipc)(source)
    want = expected(model, frame)
    for rows in (33, 1 << 16):
        monkeypatch.setattr(prediction, "ROWS", rows)
        monkeypatch.setattr(prediction, "GROUP_ROWS", 100)
        counts = predict_file(load(model), source, tmp_path / out)
        assert counts.rows == 700
        got = pl.read_parquet(tmp_path / out) if out == "a.parquet" else pl.read_csv(tmp_path / out)
        assert got.equals(want)


def test_frames_are_shorter_where_rows_are_wide(model, tmp_path, monkeypatch):
    rows_of(2000).write_parquet(tmp_path / "t.parquet")
    fitted = load(model).fitted
    dense = fitted.features(Table.of(rows_of(5))).dense
    assert dense is not None
    assert fitted.encoder.dense_width == dense.shape[1] > 3
    monkeypatch.setattr(prediction, "FEATURES_AT_ONCE", 400 * dense.shape[1])
    assert [frame.height for frame in answers(load(model), str(tmp_path / "t.parquet"))] == [400] * 5


@pytest.mark.parametrize("options", [{"coverage": 0.8}, {"coverage": 0.8, "top": 2}, {"top": 9}])
def test_sets_and_the_most_probable_classes(model, options):
    classifier, frame = load(model), rows_of(50)
    p = classifier.predict_proba(frame)
    got = pl.DataFrame(prediction.answer_columns(classifier, p, **options))
    assert got["prediction"].to_list() == classifier.predict(frame).tolist()
    names = classifier.classes_.tolist()
    if "coverage" in options:
        sets = classifier.predict_set(frame, 0.8)
        assert got["set"].to_list() == ["|".join(names[k] for k in np.flatnonzero(row)) for row in sets]
    if "top" in options:
        order = np.argsort(-p, axis=1, kind="stable")
        for rank in range(min(options["top"], 3)):
            assert got[f"class {rank + 1}"].to_list() == [names[k] for k in order[:, rank]]
            assert got[f"p {rank + 1}"].to_list() == [row[k] for row, k in zip(p.tolist(), order[:, rank], strict=True)]


def test_a_bad_cell_far_down_has_its_row_and_leaves_the_old_file(model, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "ROWS", 50)
    frame = rows_of(700).with_columns(pl.col("price").cast(pl.String))
    frame[432, "price"] = "dear"
    frame.write_csv(tmp_path / "t.csv")
    (tmp_path / "a.csv").write_text("as it was")
    line = told(predict_file, load(model), tmp_path / "t.csv", tmp_path / "a.csv")
    assert 't.csv, row 433, column "price": "dear" is not a number' in line.replace("'", '"')
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "t.csv"]
    assert (tmp_path / "a.csv").read_text() == "as it was"


def test_what_is_little_known_is_counted_over_all_parts(model, tmp_path, monkeypatch):
    frame = rows_of(300)
    frame[5, "grade"], frame[250, "grade"], frame[251, "grade"] = "다이아", "무쇠", "무쇠"
    frame.write_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(prediction, "ROWS", 40)
    met = predict_file(load(model), tmp_path / "t.parquet", tmp_path / "a.csv").strangers
    assert met["grade", "category"] == Strangers("grade", "category", 3, 300 - frame["grade"].null_count(), "다이아")
    texts = reviews(200)
    reader = Classifier(kinds={"review": "text"}).fit(texts, "label")
    few = pl.DataFrame({"review": ["qqqq", "", "wonderful battery", None, "zzzz"] * 20, "stars": 3.0})
    counts = Counts()
    few.write_parquet(tmp_path / "r.parquet")
    list(answers(reader, str(tmp_path / "r.parquet"), counts=counts))
    assert counts.strangers["review", "text"] == Strangers("review", "text", 40, 60)


def test_cells_that_a_spreadsheet_would_run_are_counted_once(tmp_path):
    found = [pl.DataFrame({"=x": ["+a", "a"]}), pl.DataFrame({"=x": ["-b", "b"]})]
    counts = Counts()
    text = b"".join(prediction.as_csv(iter(found), False, counts)).decode()
    assert text == "'=x\n'+a\na\n'-b\nb\n"
    assert counts.guarded == 3


def test_truth_values_are_named_alike_in_every_column_of_a_csv():
    rows = {"x": [float(i % 10) for i in range(60)]}
    model = Classifier().fit(rows, [i % 10 > 4 for i in range(60)])
    frame = pl.DataFrame(prediction.answer_columns(model, model.predict_proba(rows), 0.9, None))
    lines = b"".join(prediction.as_csv(iter([frame]), False, Counts())).decode().splitlines()
    names = lines[0].split(",")
    for line in lines[1:]:
        own = dict(zip(names, line.split(","), strict=True))
        assert "p:" + own["prediction"] in names and own["prediction"] in own["set"].split("|")


def test_row_groups_of_many_frames_make_one_parquet_file(tmp_path):
    rng = np.random.default_rng(0)
    pieces = [
        pl.DataFrame(
            {
                "s": rng.choice(["가", "b", None], rows).tolist(),
                "p": rng.random(rows),
                "i": rng.integers(-5, 5, rows),
                "b": rng.random(rows) < 0.5,
            },
            schema_overrides={"s": pl.String},
        )
        for rows in (1, 1000, 17, 3, *[2] * 20)
    ]
    path = tmp_path / "t.parquet"
    path.write_bytes(b"".join(parquet_pieces(iter(pieces))))
    whole = pl.concat(pieces)
    assert pl.read_parquet(path).equals(whole)
    assert pl.from_arrow(pq.read_table(path)).equals(whole)  # another reader
    assert pq.ParquetFile(path).metadata.num_row_groups == 24
    assert pl.scan_parquet(path).filter(pl.col("p") > 0.99).collect().equals(whole.filter(pl.col("p") > 0.99))
    assert pl.concat(list(frames(path))).equals(whole)


def test_a_reader_ahead_ends_with_its_user_and_hands_on_its_errors():
    def items() -> Iterator[int]:
        yield from (1, 2, 3)
        raise InputError("broken")

    threads = threading.active_count()
    with prediction._ahead(items()) as found:
        assert [next(found), next(found), next(found)] == [1, 2, 3]
        with pytest.raises(InputError, match="broken"):
            next(found)
    with prediction._ahead(iter(range(10**9))) as found:
        assert next(found) == 0
    assert threading.active_count() == threads


# ---- many files


def test_each_file_has_its_answers_and_is_done_once(model, tmp_path):
    folder, out = folder_of(tmp_path, {"b": 40, "a": 30}), tmp_path / "out"
    seen = []
    assert predict_files(model, folder, out, done=lambda *each: seen.append((each[0], each[2]))).rows == 70
    assert seen == [("a.parquet", False), ("b.parquet", False)]
    for name in ("a", "b"):
        want = expected(model, pl.read_parquet(folder / f"{name}.parquet"))
        assert pl.read_parquet(out / f"{name}.parquet").equals(want)
    first = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    rows_of(10).write_parquet(folder / "c.parquet")
    (out / "b.parquet").unlink()
    assert predict_files(model, f"{folder}/*.parquet", out).rows == 50
    assert (out / "a.parquet").stat().st_mtime_ns == first["a.parquet"]
    assert list(prediction.files_of(out)) == [str(out / f"{name}.parquet") for name in "abc"]  # a table, as it stands
    shares: list[float] = []
    predict_files(model, folder, out, again=True, told=lambda name, rows, share: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_another_run_is_refused_in_one_line(model, tmp_path):
    folder, out = folder_of(tmp_path, {"a": 30, "b": 30}), tmp_path / "out"
    predict_files(model, folder, out)
    kept = (out / "a.parquet").read_bytes()
    other = tmp_path / "other.luce"
    Classifier().fit(orders(200, 3), "label").save(other)
    assert "the model was another" in told(predict_files, other, folder, out)
    assert "coverage was None, is 0.9; top was None, is 2" in told(
        predict_files, model, folder, out, coverage=0.9, top=2
    )
    manifest = json.loads((out / MANIFEST).read_text())
    (out / MANIFEST).write_text(json.dumps(manifest | {"luce": "0.0.1"}))
    assert "luce was 0.0.1" in told(predict_files, model, folder, out)
    (out / MANIFEST).write_text(json.dumps(manifest))
    rows_of(31).write_parquet(folder / "b.parquet")
    assert "b.parquet: is not as it was when" in told(predict_files, model, folder, out)
    assert (out / "a.parquet").read_bytes() == kept
    assert predict_files(other, folder, out, again=True).rows == 61
    for broken in ("", "{", "[]", '{"kind": "else"}', '{"parts": {"../x": {}}}', "[" * 100_000):
        (out / MANIFEST).write_text(broken)
        assert "is not what luce writes there" in told(predict_files, model, folder, out)


def test_places_that_are_refused(model, tmp_path):
    folder = folder_of(tmp_path, {"a": 5})
    assert "a file that is being read" in told(predict_files, model, folder, folder)
    assert "need a name" in told(predict_files, model, "-", tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.parquet").write_text("mine")
    assert "is there already" in told(predict_files, model, folder, tmp_path / "out")
    (tmp_path / "file").write_text("")
    assert "is a file" in told(predict_files, model, folder, tmp_path / "file")
    with pytest.raises(FileError, match="cannot be made"):
        predict_files(model, folder, tmp_path / "no" / "out")
    twins = tmp_path / "twins"
    twins.mkdir()
    for name in ("a.csv", "a.csv.gz", "a.tsv"):
        (twins / name).write_text("x")
    assert "would both be answered in a.parquet" in told(predict_files, model, twins, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_l13_a_second_run_in_a_folder_is_told_the_first_ones_number(model, tmp_path):
    folder, out = folder_of(tmp_path, {"a": 5}), tmp_path / "out"
    out.mkdir()
    with alone(str(out / prediction.LOCK), str(out), "is writing answers there", stays=True):
        assert f"process {os.getpid()} is writing answers there" in told(predict_files, model, folder, out)
    assert predict_files(model, folder, out).rows == 5


KILLED = """
import os, signal, sys
from luce import prediction
true, calls = prediction.answer_columns, []
def answer_columns(*arguments):
    calls.append(1)
    if len(calls) == 4:  # of the rows of b
        os.kill(os.getpid(), signal.SIGKILL)
    return true(*arguments)
prediction.answer_columns = answer_columns
prediction.GROUP_ROWS = 1
prediction.predict_files(*sys.argv[1:])
"""


def test_l03_a_killed_run_goes_on_to_the_same_bytes(model, tmp_path, monkeypatch):
    folder, out = folder_of(tmp_path, {"a": 20, "b": 300_000, "c": 30}), tmp_path / "out"
    assert subprocess.run([sys.executable, "-c", KILLED, model, folder, out]).returncode == -signal.SIGKILL
    assert [path.name for path in out.glob("[!._]*")] == ["a.parquet"]
    assert len(list(out.glob(".b.parquet.*.tmp"))) == 1
    monkeypatch.setattr(prediction, "GROUP_ROWS", 1)
    first = (out / "a.parquet").stat().st_mtime_ns
    assert predict_files(model, folder, out).rows == 300_030
    assert (out / "a.parquet").stat().st_mtime_ns == first
    predict_files(model, folder, tmp_path / "whole")
    for name in ("a", "b", "c"):
        assert (out / f"{name}.parquet").read_bytes() == (tmp_path / "whole" / f"{name}.parquet").read_bytes()
    assert not list(out.glob(".*.tmp"))


FULL = """
import resource, sys, luce
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    luce.predict_files(*sys.argv[1:])
except luce.FileError as error:
    print(error)
"""


def test_l04_a_full_disk_stops_the_run_and_leaves_what_is_done(model, tmp_path):
    folder, out = folder_of(tmp_path, {"a": 20, "b": 20_000, "c": 20}), tmp_path / "out"
    got = subprocess.run([sys.executable, "-c", FULL, model, folder, out], capture_output=True, text=True, check=True)
    assert "b.parquet: not saved, nothing was changed: File too large" in got.stdout
    assert got.stdout.count("\n") == 1
    assert sorted(path.name for path in out.iterdir()) == [prediction.LOCK, MANIFEST, "a.parquet"]
    assert list(json.loads((out / MANIFEST).read_text())["parts"]) == ["a.parquet"]
    assert predict_files(model, folder, out).rows == 20_020


# ---- many files by workers


def last_worker() -> int:
    """The process that was started last below this one; not the one of the highest number, as these begin anew."""
    return max(_below(os.getpid()), key=lambda process: int(_facts(process)[19]))


class Killing(LocalProcesses):
    """Ends a worker at the first that is told of each of the first `times` items."""

    times = 1

    def spread(self, make, items, told):
        def told_and_killed(place: int, message: object) -> None:
            if self.times:
                self.times -= 1
                os.kill(last_worker(), signal.SIGKILL)
            told(place, message)

        return super().spread(make, items, told_and_killed)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != prediction.LOCK}


def test_workers_give_the_same_folder(model, tmp_path):
    """Answers, manifest, counts, and in the order of the names what is told of each; a worker is killed meanwhile.
    Ray's are in tests/test_engine.py."""
    folder = folder_of(tmp_path, {"b": 40, "a": 200_000, "c": 3, "d": 100})
    frame = rows_of(50, 9)
    frame[5, "grade"] = "다이아"
    frame.write_parquet(folder / "aa.parquet")
    engine, told, found = Killing(3), [], []
    for each in (None, engine):
        out, seen = tmp_path / str(len(told)), []
        shares: list[float] = []
        counts = predict_files(
            model, folder, out, engine=each, coverage=0.9, done=lambda *each, seen=seen: seen.append(each),
            told=lambda name, rows, share, shares=shares: shares.append(share),
        )  # fmt: skip
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1)
        told.append((counts, seen))
        found.append(files_in(out))
    assert told[0] == told[1]
    assert found[0] == found[1]
    assert engine.times == 0
    assert predict_files(model, folder, tmp_path / "1", engine=engine, coverage=0.9).rows == 0  # all were done


def test_workers_stop_at_the_first_file_that_fails(model, tmp_path):
    """By its line, with all before it done, whatever fails earlier; the next run goes on."""
    folder, out = folder_of(tmp_path, {"a": 50_000, "c": 20}), tmp_path / "out"
    whole = (folder / "a.parquet").read_bytes()
    for name in ("b", "d"):
        rows_of(5).drop("price").write_parquet(folder / f"{name}.parquet")
    line = told(predict_files, model, folder, tmp_path / "plain")
    assert "b.parquet" in line
    assert told(predict_files, model, folder, out, engine=LocalProcesses(2)) == line
    assert "a.parquet" in files_in(out)
    assert not {"b.parquet", "d.parquet"} & set(files_in(out))
    for name in ("b", "d"):
        (folder / f"{name}.parquet").write_bytes(whole)
    predict_files(model, folder, out, engine=LocalProcesses(2))
    assert sorted(files_in(out)) == [MANIFEST, *(f"{name}.parquet" for name in "abcd")]


KILLED_BY_WORKERS = """
import os, signal, sys, luce
def told(name, rows, share):
    if name.endswith("b.parquet"):
        os.kill(os.getpid(), signal.SIGKILL)
luce.predict_files(*sys.argv[1:], engine=luce.processes(2), told=told)
"""


def test_a_killed_run_of_workers_goes_on_to_the_same_bytes(model, tmp_path):
    folder, out = folder_of(tmp_path, {"a": 20, "b": 300_000, "c": 30}), tmp_path / "out"
    ran = subprocess.run([sys.executable, "-c", KILLED_BY_WORKERS, model, folder, out], check=False)
    assert ran.returncode == -signal.SIGKILL
    assert "b.parquet" not in files_in(out)
    for engine, name in ((LocalProcesses(2), "out"), (None, "whole")):
        predict_files(model, folder, tmp_path / name, engine=engine)
    assert files_in(out) == files_in(tmp_path / "whole")


def test_a_file_that_ends_every_worker_ends_the_run(model, tmp_path, monkeypatch):
    monkeypatch.setattr("luce.engine.REPEATS", 1)
    folder, engine = folder_of(tmp_path, {"a": 200_000}), Killing(1)
    engine.times = 9
    with pytest.raises(EngineError, match=r"a worker has ended 2 times in one piece of work \(signal 9\)"):
        predict_files(model, folder, tmp_path / "out", engine=engine)
    assert list(files_in(tmp_path / "out")) == [MANIFEST]  # and nothing half written


def test_a_stopped_worker_is_named_within_the_patience(model, tmp_path):
    folder, stopped, engine = folder_of(tmp_path, {"a": 300_000}), [], LocalProcesses(1)

    def stop(name: str, rows: int, share: float) -> None:
        stopped.append(last_worker())
        os.kill(stopped[-1], signal.SIGSTOP)
        engine.patience = 0.5

    with pytest.raises(EngineError, match=r"a worker \(process \d+\) did not answer within 0.5 s") as caught:
        predict_files(model, folder, tmp_path / "out", engine=engine, told=stop)
    assert f"process {stopped[0]}" in str(caught.value)


# ---- the command


def test_the_command_for_a_folder_and_a_pattern(model, tmp_path, luce: Run):
    folder_of(tmp_path, {"a": 20, "b": 30})
    ran = good(luce("predict", model, "data", "--out", "out/", "--format", "csv", "--top", 1))
    assert ran.err == "saved out/a.csv: 20 rows\nsaved out/b.csv: 30 rows\n"
    assert Path("out/a.csv").read_text() == good(luce("predict", model, "data/a.parquet", "--top", 1)).out
    ran = good(luce("predict", model, "data/*.parquet", "--out", "out", "--format", "csv", "--top", 1))
    assert ran.err == "2 file(s) were done before\n"
    refused(luce("predict", model, "data", "--out", "out"), "form was csv, is parquet; top was 1, is None", "--again")
    good(luce("predict", model, "data", "--out", "out", "--again"))
    assert sorted(os.listdir("out")) == [prediction.LOCK, MANIFEST, "a.parquet", "b.parquet"]
    for source in ("data", "data/*.parquet"):
        refused(luce("predict", model, source), "are several files: say --out FOLDER/")
        refused(luce("predict", model, source, "--out", "one.csv"), "are several files")
    refused(luce("predict", model, "data/a.parquet", "--format", "csv"), "go with a folder of answers")
    refused(luce("predict", model, "none*", "--out", "out/"), "matches no table file")
    refused(luce("predict", model, "data/a.parquet", "--engine", "local"), "go with a folder of answers")
    ran = good(luce("predict", model, "data", "--out", "by/", "--engine", "local", "--workers", 2))
    assert ran.err == "saved by/a.parquet: 20 rows\nsaved by/b.parquet: 30 rows\n"
    assert Path("by/b.parquet").read_bytes() == Path("out/b.parquet").read_bytes()


def test_the_command_streams_standard_input(model, tmp_path, luce: Run, monkeypatch):
    monkeypatch.setattr(prediction, "ROWS", 10)
    rows_of(100).write_csv("t.csv")
    want = good(luce("predict", model, "t.csv")).out
    assert good(luce("predict", model, "-", stdin=Path("t.csv").read_bytes())).out == want
    good(luce("predict", model, "-", "--out", "a.csv", stdin=Path("t.csv").read_bytes()))
    assert Path("a.csv").read_text() == want


MEASURE = """
import resource, sys, luce
model = luce.load(sys.argv[1])
model.threads = 2
luce.predict_file(model, sys.argv[3], sys.argv[4])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
luce.predict_file(model, sys.argv[2], sys.argv[4])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_d19_memory_stays_flat(tmp_path):
    rng = np.random.default_rng(0)
    few = pl.DataFrame(rng.random((300_000, 4), dtype=np.float32), schema=list("abcd"))
    label = (few["a"] > few["b"]).head(2000).alias("y")
    Classifier().fit(few.head(2000).with_columns(label), "y").save(tmp_path / "m.luce")
    few.write_parquet(tmp_path / "few.parquet")
    pl.concat([few] * 8).write_parquet(tmp_path / "many.parquet", compression="uncompressed")
    names = [tmp_path / name for name in ("m.luce", "many.parquet", "few.parquet", "a.parquet")]
    got = subprocess.run([sys.executable, "-c", MEASURE, *names], capture_output=True, text=True, check=True)
    # The cells of all rows are 38 MB, and the answers 58 MB.
    assert int(got.stdout) < 40 << 10
    assert luce_.read_file(names[3]).frame.height == 2_400_000
