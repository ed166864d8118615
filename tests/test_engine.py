"""Workers in other processes: the bits of one process, whatever happens to them, and never an endless wait."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import orders

from luce import Classifier, _core, objective, path, solver, strength
from luce.distributed import bounds_of, fit_parts, parted
from luce.engine import Engine, LocalParts, LocalProcesses
from luce.errors import EngineError, InputError
from luce.features import Features, added
from luce.objective import Objective
from luce.path import Problem
from luce.prediction import predict_files
from luce.ray_engine import RayWorkers, _below

Array = np.ndarray


def write(folder: Path, features: Features, codes: Array, weights: Array | None = None) -> Path:
    """A folder that holds these rows."""
    arrays = {
        "dense": features.dense, "starts": features.starts, "indices": features.indices, "values": features.values,
        "codes": codes.astype(np.int32), "weights": weights,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if array is not None:
            np.save(folder / f"{name}.npy", array)
    return folder


def dense(rows: int, columns: int, dtype: str, rng: np.random.Generator) -> Features:
    x = rng.normal(size=(rows, columns)) * rng.uniform(0.5, 2.0, columns)
    return Features(rows, (np.abs(x) * 60).clip(0, 255).astype(dtype) if dtype == "uint8" else x.astype(dtype))


def sparse(rows: int, columns: int, rng: np.random.Generator, *, wide: int = 0, valued: bool = True) -> Features:
    """Some entries a row, in ascending columns, the last of which one row has; beside `wide` dense columns."""
    each = rng.integers(0, 6, rows)
    each[-1] = 1
    starts = np.concatenate([[0], np.cumsum(each)])
    indices = np.concatenate([np.sort(rng.choice(columns, n, replace=False)) for n in each]).astype(np.int32)
    indices[-1] = columns - 1
    values = rng.uniform(0.1, 1.0, len(indices)).astype(np.float32) if valued else None
    beside = rng.normal(size=(rows, wide)).astype(np.float32) if wide else None
    return Features(rows, beside, starts, indices, values, columns)


def drawn(features: Features, classes: int, rng: np.random.Generator) -> Array:
    """Classes drawn from a model of these features."""
    point = rng.normal(size=(features.columns, classes)) * 0.5
    z = features.logits(point, np.zeros(classes), 1)
    return np.argmax(z + rng.gumbel(size=z.shape), axis=0).astype(np.int32)


def case(name: str) -> tuple[Features, Array, int, Array | None]:
    rng = np.random.default_rng(5)
    weights = None
    if name == "float32, 3 classes":
        features, classes = dense(3000, 12, "float32", rng), 3
    elif name == "float32 in single, 2 classes, weights":
        features, classes = dense(2500, 40, "float32", rng), 2
        weights = rng.uniform(0.0, 2.0, 2500)
        weights /= weights.mean()
    elif name == "uint8, 4 classes":
        features, classes = dense(1500, 33, "uint8", rng), 4
    elif name == "float16, 30 classes":
        features, classes = dense(2000, 9, "float16", rng), 30
    elif name == "sparse, 3 classes":
        features, classes = sparse(2200, 50, rng), 3
    elif name == "sparse ones beside dense, 2 classes":
        features, classes = sparse(1700, 40, rng, wide=5, valued=False), 2
    else:  # a point of 1300 columns has exact curvature for some of them, and chunks are few
        features, classes = sparse(6000, 1300, rng), 40
    return features, drawn(features, classes, rng), classes, weights


CASES = [
    "float32, 3 classes", "float32 in single, 2 classes, weights", "uint8, 4 classes", "float16, 30 classes",
    "sparse, 3 classes", "sparse ones beside dense, 2 classes", "sparse of many columns, 40 classes",
]  # fmt: skip


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process, too, no logits are kept; and the fit to all rows starts at one to some."""
    monkeypatch.setattr(objective, "MOST_LOGITS", 600)
    monkeypatch.setattr(path, "MOST_LOGITS", 600)
    monkeypatch.setattr(solver, "LEAST_PART", 200)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


def told(solution: solver.Solution) -> list[Any]:
    c = solution.certificate
    return [solution.point.tobytes(), c.objective, c.gap, c.relative_gap, c.passes, c.converged]


def in_one_process(name: str, tolerance: float = 1e-6) -> list[Any]:
    features, codes, classes, weights = case(name)
    return told(Problem(features, codes, classes, weights, threads=2).solve(1e-3, tolerance))


def by_workers(folder: Path, name: str, engine: Engine, tolerance: float = 1e-6) -> list[Any]:
    features, codes, classes, weights = case(name)
    if not folder.exists():
        write(folder, features, codes, weights)
    return told(
        fit_parts(folder, 1e-3, engine, classes=classes, sparse_columns=features.sparse_columns, tolerance=tolerance)
    )


@pytest.mark.parametrize("name", CASES)
def test_workers_give_the_bits_of_one_process(name: str, far: None, tmp_path: Path) -> None:
    known = in_one_process(name)
    assert known[-1] and known[3] <= 1e-6
    assert by_workers(tmp_path / "rows", name, LocalProcesses(2)) == known


@pytest.mark.parametrize("workers", [1, 3, 1000])
def test_bits_do_not_depend_on_the_number_of_workers(workers: int, far: None, tmp_path: Path) -> None:
    """More workers than there are chunks are not started; here a chunk has 256 rows."""
    rng = np.random.default_rng(3)
    features = dense(1000, 5, "float64", rng)
    codes = drawn(features, 3, rng)
    write(tmp_path, features, codes)
    known = told(Problem(features, codes, 3, None).solve(1e-3, 1e-6))
    started = []

    class Counted(LocalProcesses):
        def start(self, pieces: Any) -> LocalParts:
            started.append(len(pieces))
            return super().start(pieces)

    assert told(fit_parts(tmp_path, 1e-3, Counted(workers))) == known
    assert started == [min(workers, 4)]


@pytest.mark.parametrize("name", [CASES[1], CASES[4]])
def test_ray_gives_the_bits_of_one_process(name: str, far: None, ray_cluster: None, tmp_path: Path) -> None:
    assert by_workers(tmp_path / "rows", name, RayWorkers(2, patience=60)) == in_one_process(name)


def test_a_class_that_one_part_alone_has(far: None, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    features = dense(1500, 6, "float32", rng)
    codes = rng.integers(0, 3, 1500).astype(np.int32)
    codes[-40:] = 3
    write(tmp_path, features, codes)
    known = told(Problem(features, codes, 4, None).solve(1e-3, 1e-6))
    assert told(fit_parts(tmp_path, 1e-3, LocalProcesses(3))) == known


@pytest.mark.parametrize("name", [CASES[1], CASES[5]])
def test_parted_features_answer_as_whole_ones(name: str, tmp_path: Path) -> None:
    """Also with other classes and weights than the folder has, as where rows are held out."""
    features, codes, classes, weights = case(name)
    write(tmp_path, features, codes, weights)
    rng = np.random.default_rng(1)
    weights, codes = rng.uniform(0, 1, features.rows), codes[::-1].copy()
    point, rows = rng.normal(size=(features.columns + 1, 1)), rng.permutation(features.rows)[:100]
    with parted(tmp_path, LocalProcesses(2), classes, features.sparse_columns) as (parts, _):
        assert len(parts.bounds) == 3
        found = []
        for f in (features, parts):
            o = Objective(f, codes, classes, 0.1, weights)
            far = objective.FarLogits(o, point)
            some = f.take(rows)
            found.append([
                *o.value_and_gradient(point, single=True), *o.value_and_gradient(point, correction=np.array([0.2])),
                o.row_curvature(far), o.intercept_step(far, np.array([0.3])), o.logits(point), *f.energy(1),
                f.hashes(3, 1), f.frequent_columns(20), some.logits(point[:-1], point[-1], 1), f.can_be_single,
                f.submatrix(rows, np.arange(f.columns), np.zeros(f.dense_columns), np.ones(f.columns), 1),
                f.weighted_squares(rows, np.ones((1, 100)), 1),
            ])  # fmt: skip
        assert [np.asarray(part).tobytes() for part in found[0]] == [np.asarray(part).tobytes() for part in found[1]]


def test_a_strength_is_chosen_and_rows_are_held_out_over_parts(
    far: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a training asks of a problem, over parts and in one process."""
    monkeypatch.setattr(strength, "SAMPLE", 140)
    features, codes, classes, _ = case(CASES[0])
    write(tmp_path, features, codes)
    rows = np.arange(0, features.rows, 9)
    with parted(tmp_path, LocalProcesses(2)) as (parts, _):
        found = []
        for f in (features, parts):
            problem = Problem(f, codes, classes, None)
            assert problem.is_large
            held, chosen = strength.hold_some_out(problem, 1e-3, rows), strength.choose_l2(problem)
            assert held is not None and chosen is not None
            found.append([held[0].held_out.tobytes(), chosen[0].l2, chosen[0].held_out.tobytes()])
        assert found[0] == found[1]


def test_chunks_lie_in_chunks_and_parts_begin_at_them() -> None:
    for rows in (1, 63, 64, 65, 257, 5000, 130_001, 10_000_000):
        sizes = [_core.chunks(rows, width, rows)[0] for width in (1, 40_000, 70_000, 10**5, 10**6)]
        assert all(b % a == 0 for a, b in itertools.pairwise(sizes))
        for columns, outputs in [(5, 1), (3, 300), (2000, 40), (10**5, 30)]:
            for workers in (1, 2, 7, 100):
                bounds = bounds_of(rows, columns, outputs, workers)
                assert bounds[0] == 0 and bounds[-1] == rows and len(bounds) <= workers + 1
                assert all(a < b for a, b in itertools.pairwise(bounds))
                for width in ((columns + 1) * outputs + 1, outputs**2, columns):
                    each, chunks = _core.chunks(rows, width, rows)
                    assert all(first % each == 0 for first in bounds[:-1])
                    some = [_core.chunks(b - a, width, rows)[1] for a, b in itertools.pairwise(bounds)]
                    assert sum(some) == chunks


def test_sums_of_chunks_are_added_in_order() -> None:
    parts = np.random.default_rng(2).normal(size=(9, 5000)) * 10.0 ** np.arange(9)[:, np.newaxis]
    known = parts[0].copy()
    for part in parts[1:]:
        known += part
    assert added(parts, 2).tobytes() == known.tobytes()


def test_a_killed_worker_is_replaced_and_no_bit_changes(far: None, tmp_path: Path) -> None:
    """At each second call one worker is killed: before it gets the call, or while it works on it."""
    name = CASES[0]
    write(tmp_path / "rows", *case(name)[:2])

    class Murderous(LocalProcesses):
        killed = 0

        def start(self, pieces: Any) -> LocalParts:
            parts, outer = super().start(pieces), self
            plain = parts._each

            def each(method: str, arguments: Any) -> Any:
                if parts._number % 2 == 0:
                    return plain(method, arguments)
                turn = parts._number // 2
                victim = parts.processes[turn % 2]
                kill = threading.Timer(0.002 * (turn % 4), os.kill, (victim, signal.SIGKILL))
                kill.start()
                outer.killed += 1
                try:
                    return plain(method, arguments)
                finally:
                    kill.join()  # it may come late, and meets a worker that has answered

            parts._each = each  # type: ignore[method-assign]
            return parts

    engine = Murderous(2, patience=60)
    found = by_workers(tmp_path / "rows", name, engine)
    assert engine.killed >= 5
    assert found == in_one_process(name)


def test_a_worker_that_dies_of_every_call_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features, codes, _, _ = case(CASES[0])
    write(tmp_path, features, codes)
    monkeypatch.setattr("luce.engine.REPEATS", 1)
    with parted(tmp_path, LocalProcesses(2)) as (parts, _):
        assert isinstance(parts.workers, LocalParts)
        plain = parts.workers._send

        def send(part: int, blob: bytes, own: Any, worker: Any) -> None:
            if part == 1:
                worker.process.kill()
                worker.process.wait()
            plain(part, blob, own, worker)

        monkeypatch.setattr(parts.workers, "_send", send)
        with pytest.raises(EngineError, match=r"worker 2 of 2 .*has ended 2 times in one call \(signal 9\)"):
            parts.column_sums(1)
        with pytest.raises(EngineError, match="the workers have ended"):
            parts.column_sums(1)


@pytest.mark.parametrize("large", [False, True])
def test_a_stopped_worker_ends_the_run_within_the_patience(large: bool, tmp_path: Path) -> None:
    """A large message fills the pipe, so that the driver waits already where it sends."""
    features, codes, _, _ = case(CASES[0])
    write(tmp_path, features, codes)
    with parted(tmp_path, LocalProcesses(2, patience=60)) as (parts, _):
        assert isinstance(parts.workers, LocalParts)
        parts.column_sums(1)
        processes = parts.workers.processes
        parts.workers.limit(1.0)
        os.kill(processes[1], signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(EngineError, match=f"worker 2 of 2 .process {processes[1]}. did not answer within 1 s"):
            parts.workers.each("logits", np.zeros((12, 40_000 if large else 1)), np.zeros(40_000 if large else 1), 1)
        assert time.monotonic() - begun < 30  # bounded; on a quiet machine one second
        assert parts.workers.processes == []
    assert not any(alive(process) for process in processes)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def gone(processes: list[int], within: float = 30.0) -> bool:
    end = time.monotonic() + within
    while any(alive(process) for process in processes) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(alive(process) for process in processes)


DRIVER = """
import sys, time
from luce.engine import LocalProcesses
from luce.distributed import parted
with parted(sys.argv[1], LocalProcesses(2)) as (parts, _):
    parts.column_sums(1)
    print(*parts.workers.processes, flush=True)
    if sys.argv[2] == "exit":
        keep = parts
        sys.exit(3)
    while True:
        parts.column_sums(1)
"""


@pytest.mark.parametrize("end", ["kill", "exit"])
def test_no_worker_outlives_its_driver(end: str, tmp_path: Path) -> None:
    features, codes, _, _ = case(CASES[0])
    write(tmp_path, features, codes)
    command = [sys.executable, "-c", DRIVER, str(tmp_path), end]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        processes = [int(word) for word in driver.stdout.readline().split()]
        assert len(processes) == 2
        if end == "kill":
            driver.kill()
        assert driver.wait(30) == (-9 if end == "kill" else 3)
        assert gone(processes)


def test_after_ctrl_c_the_next_call_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features, codes, _, _ = case(CASES[0])
    write(tmp_path, features, codes)
    with parted(tmp_path, LocalProcesses(2)) as (parts, _):
        known = parts.column_sums(1).tobytes()
        with monkeypatch.context() as m:

            def interrupted(*_: Any) -> None:
                raise KeyboardInterrupt

            m.setattr("luce.engine.connection.wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                parts.hashes(0, 1)
        assert parts.column_sums(1).tobytes() == known


INTERRUPTED = """
import sys, time
from luce.engine import LocalProcesses
from luce.distributed import fit_parts

def progress(passes, rough):
    print(passes, flush=True)
    if passes > 4:
        time.sleep(60)

fit = fit_parts(sys.argv[1], 1e-3, LocalProcesses(2), tolerance=1e-300, progress=progress)
print(fit.certificate.stopped, 0 <= fit.certificate.relative_gap < 1, flush=True)
"""


def test_ctrl_c_ends_a_fit_at_a_point_with_its_certificate(tmp_path: Path) -> None:
    """A terminal interrupts the workers as well: they are needed for the proof."""
    features, codes, _, _ = case(CASES[0])
    write(tmp_path, features, codes)
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as driver:
        assert driver.stdout is not None
        while int(driver.stdout.readline()) <= 4:
            pass
        os.killpg(driver.pid, signal.SIGINT)
        told, _ = driver.communicate(timeout=60)
    assert driver.returncode == 0
    assert told.splitlines()[-1] == "interrupted True"


def test_what_a_worker_cannot_do_is_one_line_that_names_it(tmp_path: Path) -> None:
    features, codes, _, _ = case(CASES[0])
    write(tmp_path, features, codes)
    with (
        parted(tmp_path, LocalProcesses(2)) as (parts, _),
        pytest.raises(EngineError, match=r"worker [12] of 2 .*: ValueError: a centre for each dense column$"),
    ):
        parts.column_squares(np.zeros(3), 1)
    with parted(tmp_path, LocalProcesses(2)) as (parts, _):
        assert isinstance(parts.workers, LocalParts)
        parts.column_sums(1)
        (tmp_path / "dense.npy").unlink()
        for process in parts.workers.processes:
            os.kill(process, signal.SIGKILL)
        with pytest.raises(EngineError, match=r"worker [12] of 2 .*dense.npy or starts.npy, must lie there$"):
            parts.column_sums(1)


@pytest.mark.parametrize(
    ("name", "array", "line"),
    [
        ("codes", None, "codes.npy, and dense.npy or starts.npy"),
        ("codes", np.zeros(3000), "must hold int32"),
        ("codes", np.zeros(3000, np.int32), "codes.npy holds 0 to 0"),
        ("codes", np.arange(7, dtype=np.int32), "dense.npy has 3,000 rows; 7 belong there"),
        ("dense", np.zeros((3000, 4), np.float32, order="F"), "row by row"),
        ("weights", np.ones(12), "weights.npy has 12 rows"),
        ("indices", np.ones(12, np.int32), "belong together"),
    ],
)
def test_a_folder_that_does_not_hold_what_it_should(name: str, array: Array | None, line: str, tmp_path: Path) -> None:
    write(tmp_path, *case(CASES[0])[:2])
    if array is None:
        (tmp_path / f"{name}.npy").unlink()
    else:
        np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(InputError, match=line):
        fit_parts(tmp_path, 1e-3, LocalProcesses(2))


def test_settings_that_make_no_sense() -> None:
    for engine in (LocalProcesses, RayWorkers):
        for how in ({"workers": 0}, {"patience": 0.0}, {"patience": float("nan")}, {"patience": float("inf")}):
            with pytest.raises(InputError, match="above 0"):
                engine(**how)


def test_a_killed_ray_worker_is_replaced_and_no_bit_changes(far: None, ray_cluster: None, tmp_path: Path) -> None:
    import ray

    name = CASES[1]

    class Murderous(RayWorkers):
        def start(self, pieces: Any) -> Any:
            parts = super().start(pieces)
            plain, calls = parts._each, iter(range(1000))

            def each(method: str, arguments: Any) -> Any:
                if next(calls) == 9:
                    os.kill(plain("process", ())[1], signal.SIGKILL)
                return plain(method, arguments)

            parts._each = each
            return parts

    monkeyed = Murderous(2, patience=120)
    assert by_workers(tmp_path / "rows", name, monkeyed) == in_one_process(name)
    assert ray.is_initialized()


def test_a_stopped_ray_worker_ends_the_run_within_the_patience(ray_cluster: None, tmp_path: Path) -> None:
    features, codes, _, _ = case(CASES[0])
    write(tmp_path, features, codes)
    with parted(tmp_path, RayWorkers(2, patience=60)) as (parts, _):
        workers: Any = parts.workers
        process = workers.each("process")[1]
        workers.patience = 1.0
        os.kill(process, signal.SIGSTOP)
        try:
            with pytest.raises(EngineError, match=r"worker 2 of 2 .Ray's. did not answer within 1 s"):
                parts.column_sums(1)
        finally:
            os.kill(process, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:.*deprecated")  # Ray's, of itself
def test_ray_data_gives_the_same_folder_of_answers(ray_cluster: None, tmp_path: Path) -> None:
    """And the same line for a file that fails."""
    model, data = tmp_path / "m.luce", tmp_path / "data"
    Classifier().fit(orders(), "label").save(model)
    data.mkdir()
    for seed, rows in enumerate([3000, 50, 900]):
        orders(rows, seed).drop("label").write_parquet(data / f"{seed}.parquet")
    orders(5).select("grade").write_parquet(data / "3.parquet")
    lines, folders = [], []
    for name, engine in (("plain", None), ("ray", RayWorkers(2, patience=60))):
        with pytest.raises(InputError) as caught:
            predict_files(model, data, tmp_path / name, engine=engine)
        lines.append(str(caught.value))
        folders.append({path.name: path.read_bytes() for path in (tmp_path / name).glob("[!.]*")})
    assert lines[0] == lines[1] and "3.parquet" in lines[0]
    assert folders[0] == folders[1] and len(folders[0]) == 4


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_items_of_ray_data_outlive_a_killed_worker_and_not_a_stopped_one(ray_cluster: None, tmp_path: Path) -> None:
    tried = tmp_path / "tried"

    def make() -> Any:
        def work(item: str, tell: Any) -> str:
            tell(os.getpid())
            first = item == "killed" and not tried.exists()
            if first:
                tried.touch()
            if first or item == "stopped":
                time.sleep(500.0)
            return item

        return work

    engine, hands, found = RayWorkers(2, patience=60), dict[int, list[int]](), list[int]()

    def told(place: int, process: int) -> None:
        hands.setdefault(place, []).append(process)
        if place > 0 and len(hands[place]) == 1:
            os.kill(process, signal.SIGKILL if place == 1 else signal.SIGSTOP)
        hurry()

    def hurry() -> None:
        """No longer patient when all that is left is the stopped worker; before, one may be starting."""
        if 1 in found and 2 in hands:
            engine.patience = 1.0

    def run() -> None:
        for place, _ in engine.spread(make, ["short", "killed", "stopped"], told):
            found.append(place)
            hurry()

    with pytest.raises(EngineError, match=r"a worker \(Ray's, process \d+\) did not answer within 1 s") as caught:
        run()
    assert sorted(found) == [0, 1]  # by a second worker, which may have ended before it was looked at
    assert f"process {hands[2][0]}" in str(caught.value)
    assert gone([process for each in hands.values() for process in each])


def line_of(program: subprocess.Popen[str]) -> list[str]:
    """The next line that a program says, in words."""
    assert program.stdout is not None
    return program.stdout.readline().split()


def end(program: subprocess.Popen[str], *processes: int) -> None:
    """Ends a program that a test has started, and what that has started."""
    for process in (program.pid, *processes):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    program.wait(30)


RAY_DRIVER = """
import sys
import luce, ray
from luce.distributed import fit_parts, parted
engine = luce.ray(2, patience=60, address=sys.argv[2] if len(sys.argv) > 2 else None)
if engine.address:
    fit = fit_parts(sys.argv[1], 1e-3, engine)
    print(fit.point.tobytes().hex(), fit.certificate.gap, ray.is_initialized(), flush=True)
with parted(sys.argv[1], engine) as (parts, _):
    print(*parts.workers.each("process"), flush=True)
    while True:
        parts.column_sums(1)
"""

HEAD = """
import ray, sys
found = ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
print(found.address_info["address"], flush=True)
sys.stdin.read()
"""

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@needs_ray
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's list of processes")
def test_l10_nothing_of_ray_outlives_a_killed_driver(tmp_path: Path) -> None:
    """Neither the workers, nor what Ray itself has started for the driver."""
    write(tmp_path, *case(CASES[0])[:2])
    command = [sys.executable, "-c", RAY_DRIVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        started: list[int] = []
        try:
            workers = list(map(int, line_of(driver)))
            started = _below(driver.pid)
            assert len(workers) == 2 and set(workers) < set(started)  # and Ray's own
            driver.kill()
            assert driver.wait(30) == -signal.SIGKILL
            assert gone(started)
        finally:
            end(driver, *started)


@needs_ray
def test_an_address_is_that_of_a_cluster_which_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its workers give the bits of one process; they end with their driver, also a killed one, and Ray does not."""
    monkeypatch.setattr(objective, "MOST_LOGITS", 600)
    features, codes, _, _ = case(CASES[0])
    write(tmp_path, features, codes)
    known = Problem(features, codes, 3, None).solve(1e-3, 1e-6)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with subprocess.Popen(
        [sys.executable, "-c", HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as head:
        started: list[int] = []
        try:
            [address] = line_of(head)
            started = _below(head.pid)
            command = [sys.executable, "-c", RAY_DRIVER, str(tmp_path), address]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
                try:
                    point, gap, still = line_of(driver)
                    assert (point, float(gap)) == (known.point.tobytes().hex(), known.certificate.gap)
                    assert still == "False"  # luce has let go of the cluster
                    workers = list(map(int, line_of(driver)))
                    driver.kill()
                    assert gone(workers)
                finally:
                    end(driver)
            assert head.poll() is None
            assert head.stdin is not None
            head.stdin.close()
            assert head.wait(30) == 0
        finally:
            end(head, *started)
