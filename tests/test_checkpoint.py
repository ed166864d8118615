"""Checkpoints of a training: what a crash, a full disk, a damaged file and Ctrl-C leave; and going on from there."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from claims import same_bits
from disk import failing

import luce.checkpoint
import luce.network
import luce.training
from luce.container import read_container, write_container
from luce.errors import InputError, LuceWarning, ModelFileError
from luce.network import NetworkClassifier

Array = np.ndarray


class CrashError(Exception):
    """Ends a fit as a crash would: nothing of luce catches it."""


def rows(kind: str = "numbers") -> tuple[Any, Array]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6))
    y = np.where((x**2).sum(axis=1) > 5, "out", np.where(x[:, 0] > 0, "right", "left"))
    if kind == "sparse":
        return scipy.sparse.csr_array(np.where(x > 0, x, 0.0)), y
    return (np.clip(50 * x + 128, 0, 255).astype(np.uint8) if kind == "pixels" else x), y


def model(path: Path | None = None, **settings: Any) -> NetworkClassifier:
    return NetworkClassifier(**{"hidden": (9, 5), "epochs": 12, "checkpoint": path, **settings})


def ending_at(epoch: int, error: type[BaseException] = CrashError) -> Callable[[int, float], None]:
    def progress(number: int, loss: float) -> None:
        if number == epoch:
            raise error

    return progress


def crashed(path: Path, epoch: int, x: Any, y: Array, **settings: Any) -> None:
    with pytest.raises(CrashError):
        model(path, progress=ending_at(epoch), **settings).fit(x, y)


def same_fit(one: NetworkClassifier, other: NetworkClassifier, x: Any) -> None:
    for layer, own in zip(one.layers_, other.layers_, strict=True):
        assert same_bits(layer[0], own[0])
        assert same_bits(layer[1], own[1])
    assert repr(one.history_) == repr(other.history_)  # in which a loss may be no number
    assert one.note_ == other.note_
    assert one.calibration_.sentence() == other.calibration_.sentence()
    assert (one.calibration_.before, one.calibration_.after) == (other.calibration_.before, other.calibration_.after)
    assert same_bits(one.predict_proba(x), other.predict_proba(x))


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luce.training, "EVERY", 0.0)


@pytest.mark.parametrize("kind", ["numbers", "sparse", "pixels"])
@pytest.mark.parametrize("epoch", [1, 7, 12, 13, 20])
def test_l03_a_fit_that_goes_on_after_a_crash_is_the_unbroken_one(kind: str, epoch: int, tmp_path: Path) -> None:
    """Within the first network, at its end, and within the second; with another number of threads."""
    x, y = rows(kind)
    settings: dict[str, Any] = {"members": 2, "activation": "gelu"}
    whole = model(threads=1, **settings).fit(x, y)
    path = tmp_path / "state"
    crashed(path, epoch, x, y, threads=2, **settings)
    told: list[int] = []
    resumed = model(path, threads=3, progress=lambda number, loss: told.append(number), **settings).fit(x, y)
    assert told == list(range(epoch + 1, 25))
    same_fit(resumed, whole, x)
    assert os.listdir(tmp_path) == []


def test_l03_a_fit_that_was_taken_back_goes_on_too(tmp_path: Path) -> None:
    """From one that blows up, whose loss may be no number, to the end; a crash after each epoch."""
    x, y = rows()
    settings: dict[str, Any] = {"hidden": (40, 40), "learning_rate": 9.0, "epochs": 14}
    path = tmp_path / "state"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LuceWarning)
        whole = model(**settings).fit(x, y)
        for epoch in range(1, len(whole.history_) + 1):
            crashed(path, epoch, x, y, **settings)
        same_fit(model(path, **settings).fit(x, y), whole, x)
    assert any(epoch.taken_back for epoch in whole.history_)
    assert os.listdir(tmp_path) == []


def test_l03_a_fit_that_has_passed_its_best_point_keeps_it(tmp_path: Path) -> None:
    """A crash after the last epoch, which was no better and was not taken back: all that is left is to calibrate."""
    x, y = rows()
    settings: dict[str, Any] = {"learning_rate": 0.3, "epochs": 30}
    history = model(**settings).fit(x, y).history_
    best = np.minimum.accumulate([epoch.held_out for epoch in history])
    settings["epochs"] = 1 + max(n for n, e in enumerate(history) if e.held_out > best[n] and not e.taken_back)
    path = tmp_path / "state"
    crashed(path, settings["epochs"], x, y, **settings)
    same_fit(model(path, **settings).fit(x, y), model(**settings).fit(x, y), x)


def test_a_fit_that_blows_up_again_and_again_ends_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the ninth time, counted over a crash, at 0.3 to the eighth of the rate; and it leaves no checkpoint, as it
    would not do better."""
    x, y = rows()
    path, losses = tmp_path / "state", iter([1.0])
    monkeypatch.setattr(luce.training.Training, "loss", lambda training, z: next(losses, float("inf")))
    crashed(path, 4, x, y)
    with pytest.warns(LuceWarning, match="it blew up again and again"):
        found = model(path).fit(x, y)
    assert [epoch.taken_back for epoch in found.history_] == [True] * 9
    assert found.history_[-1].rate == pytest.approx(0.002 * 0.3**8)
    assert os.listdir(tmp_path) == []


CHILD = """
import os, signal, sys
import numpy as np
import luce.training
luce.training.EVERY = 0.0
sys.path.insert(0, sys.argv[1])
from test_checkpoint import model, rows
def progress(epoch, loss):
    if epoch == 5:
        os.kill(os.getpid(), int(sys.argv[3]))
model(sys.argv[2], progress=progress).fit(*rows())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_l03_a_process_that_is_killed_leaves_what_another_goes_on_from(number: int, tmp_path: Path) -> None:
    x, y = rows()
    path = tmp_path / "state"
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(path), str(int(number))]
    assert subprocess.run(command, timeout=60).returncode == -number
    assert sorted(os.listdir(tmp_path)) == ["state", "state.1"]
    told: list[int] = []
    resumed = model(path, progress=lambda epoch, loss: told.append(epoch)).fit(x, y)
    assert told[0] == 6
    same_fit(resumed, model().fit(x, y), x)


def test_between_two_checkpoints_some_seconds_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One at the start, so that a path that cannot be written is known at once; and one at Ctrl-C."""
    x, y = rows()
    monkeypatch.setattr(luce.training, "EVERY", 1e9)
    path = tmp_path / "state"
    crashed(path, 7, x, y)
    assert os.listdir(tmp_path) == ["state"]
    with pytest.warns(LuceWarning, match="interrupted"):
        model(path, progress=ending_at(7, KeyboardInterrupt)).fit(x, y)
    assert sorted(os.listdir(tmp_path)) == ["state", "state.1"]
    told: list[int] = []
    same_fit(model(path, progress=lambda epoch, loss: told.append(epoch)).fit(x, y), model().fit(x, y), x)
    assert told[0] == 8
    with pytest.raises(ModelFileError, match="nowhere"):
        model(tmp_path / "nowhere" / "state", progress=ending_at(1)).fit(x, y)


# --- Ctrl-C --------------------------------------------------------------------------------------------------------


def alarmed(after: float) -> None:
    """Ctrl-C comes so many seconds from now."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, after)


@pytest.fixture
def no_alarm() -> Any:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("no_alarm")
@pytest.mark.parametrize("batch", [1, 1 << 40])
def test_l01_ctrl_c_is_heard_within_an_epoch(batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch of half a minute or so: it does not come to its end. What is left is the state before it."""
    real = luce.training.Training._epoch

    def epoch(training: Any, number: int, rate: float) -> float:
        alarmed(0.05)
        return float(real(training, number, rate))

    monkeypatch.setattr(luce.training.Training, "_epoch", epoch)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 40)).astype(np.float32)
    path = tmp_path / "state"
    big = NetworkClassifier((1024, 1024), batch_size=batch, threads=2, checkpoint=path)
    with pytest.warns(LuceWarning, match=r"stopped early \(interrupted\)"):
        big.fit(x, x[:, 0] > 0)
    assert big.n_iter_ == 0
    assert np.isfinite(big.predict_proba(x[:5])).all()
    assert os.listdir(tmp_path) == ["state"]
    assert read_container(path)[1]["training"]["epochs"] == 0  # type: ignore[index]


@pytest.mark.usefixtures("no_alarm")
def test_l01_ctrl_c_is_heard_while_it_predicts() -> None:
    x, y = rows()
    wide = model(hidden=(1024, 1024), epochs=1).fit(x, y)
    many = np.tile(x, (400, 1))  # some seconds
    alarmed(0.05)
    with pytest.raises(KeyboardInterrupt):
        wide.predict(many)


@contextmanager
def ctrl_c_while_it_calibrates() -> Iterator[None]:
    def stop(*given: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(luce.network, "choose", stop)
        yield


def test_l02_a_second_ctrl_c_goes_on_to_the_caller(tmp_path: Path) -> None:
    x, y = rows()
    path = tmp_path / "state"
    with ctrl_c_while_it_calibrates(), pytest.raises(KeyboardInterrupt):
        model(path, progress=ending_at(4, KeyboardInterrupt)).fit(x, y)
    same_fit(model(path).fit(x, y), model().fit(x, y), x)


def test_l01_ctrl_c_while_it_calibrates_leaves_the_network(tmp_path: Path) -> None:
    """The first one, of a training that was at its end."""
    x, y = rows()
    path = tmp_path / "state"
    with ctrl_c_while_it_calibrates(), pytest.warns(LuceWarning, match="interrupted"):
        found = model(path).fit(x, y)
    whole = model().fit(x, y)
    assert same_bits(found.layers_[0][0], whole.layers_[0][0])
    assert found.calibration_.kind == "none"
    same_fit(model(path).fit(x, y), whole, x)


@pytest.mark.parametrize(("call", "number"), [("write", 100), ("fsync", 7), ("fsync", 8), ("replace", 4)])
def test_l01_ctrl_c_while_it_saves_leaves_whole_files(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the fourth or so: of the data, before the file has its name, and after."""
    x, y = rows()
    path, real, calls = tmp_path / "state", getattr(os, call), [0]

    def interrupted(*given: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            raise KeyboardInterrupt
        return real(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, interrupted)
        with pytest.warns(LuceWarning, match="interrupted"):
            model(path).fit(x, y)
    assert sorted(os.listdir(tmp_path)) == ["state", "state.1"]
    same_fit(model(path).fit(x, y), model().fit(x, y), x)


# --- faults of the disk --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "number"), [("write", 100), ("fsync", 6), ("replace", 3)])
def test_l04_a_full_disk_is_told_now_and_the_checkpoint_before_is_whole(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the fourth or so. The fit does not go on to its end."""
    x, y = rows()
    path, told = tmp_path / "state", list[int]()
    with monkeypatch.context() as patch:
        failing(patch, call, errno.ENOSPC, number)
        with pytest.raises(ModelFileError, match=rf"state(\.1)?: not saved, nothing was changed: {os.strerror(28)}"):
            model(path, progress=lambda epoch, loss: told.append(epoch)).fit(x, y)
    assert len(told) < 8
    saved = [read_container(name)[1]["training"] for name in (path, f"{path}.1")]
    assert max(facts["epochs"] for facts in saved) == len(told)  # type: ignore[call-overload,index]
    resumed: list[int] = []
    same_fit(model(path, progress=lambda epoch, loss: resumed.append(epoch)).fit(x, y), model().fit(x, y), x)
    assert resumed[0] == len(told) + 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
def test_l05_of_a_damaged_checkpoint_the_one_before_is_used_and_it_is_said(damage: str, tmp_path: Path) -> None:
    x, y = rows()
    path = tmp_path / "state"
    crashed(path, 6, x, y)
    turn = [read_container(name)[1]["turn"] for name in (path, f"{path}.1")]
    newest = path if turn[0] > turn[1] else tmp_path / "state.1"  # type: ignore[operator]
    raw = newest.read_bytes()
    half = len(raw) // 2
    other = raw[:half] + bytes([raw[half] ^ 1]) + raw[half + 1 :]
    newest.write_bytes({"cut": raw[:-3], "flipped": other, "empty": b"", "foreign": b"a,b\n1,2\n"}[damage])
    told: list[int] = []
    with pytest.warns(LuceWarning, match=f"a checkpoint is damaged: .*{newest.name}: .*goes on from the other"):
        resumed = model(path, progress=lambda epoch, loss: told.append(epoch)).fit(x, y)
    assert told[0] == 6
    same_fit(resumed, model().fit(x, y), x)
    assert os.listdir(tmp_path) == []


def test_l05_damaged_checkpoints_and_files_that_are_none_are_left_as_they_are(tmp_path: Path) -> None:
    x, y = rows()
    path = tmp_path / "state"
    crashed(path, 6, x, y)
    for name in (path, tmp_path / "state.1"):
        name.write_bytes(name.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match="no other checkpoint is whole: remove it"):
        model(path).fit(x, y)
    text = tmp_path / "rows.csv"
    text.write_text("a,b\n")
    with pytest.raises(ModelFileError, match=r"rows\.csv"):
        model(text).fit(x, y)
    assert text.read_text() == "a,b\n"
    write_container(tmp_path / "m.luce", {"a": np.ones(1)}, {"luce_version": "0.1.0", "kind": "linear classifier"})
    with pytest.raises(InputError, match=r"m\.luce is no checkpoint: give checkpoint another name"):
        model(tmp_path / "m.luce").fit(x, y)
    assert sorted(os.listdir(tmp_path)) == ["m.luce", "rows.csv", "state", "state.1"]


def test_a_checkpoint_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    """Whole by its digest: one that somebody made."""
    x, y = rows()
    path = tmp_path / "state"
    crashed(path, 2, x, y)
    arrays, facts = read_container(path)
    training: Any = facts["training"]
    os.remove(f"{path}.1")
    made: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({name: array for name, array in arrays.items() if name != "best, layer 1, bias"}, training),
        ({**arrays, "now, layer 0, weights": np.ones((3, 3), dtype=np.int32)}, training),
        (dict(arrays), {**training, "steps": -1}),
        (dict(arrays), {**training, "history": [[1, 2]] * 9 + [[]]}),
        (dict(arrays), {name: value for name, value in training.items() if name != "rate"}),
        (dict(arrays), {**training, "rate": {"float": "two"}}),
    ]
    for given, told in made:
        write_container(path, given, {**facts, "training": told})
        with pytest.raises(ModelFileError, match="state: no such training"):
            model(path).fit(x, y)


# --- L06: what a checkpoint is of ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"hidden": (9, 6)}, r"hidden was \[9, 5\], is \[9, 6\]"),
        ({"seed": 1}, "seed was 0, is 1"),
        ({"dropout": 0.1, "activation": "gelu"}, "activation was relu, is gelu; dropout was None, is 0.1"),
        ({"epochs": 13}, "epochs was 12, is 13"),
        ({"members": 2}, "members was 1, is 2"),
        ({"learning_rate": 0.003}, "learning_rate was 0.002, is 0.003"),
        ({"weight_decay": 0.02}, "weight_decay was 0.01, is 0.02"),
        ({"batch_size": 7}, "batch_size was None, is 7"),
    ],
)
def test_l06_other_settings_are_refused_by_name(settings: dict[str, Any], says: str, tmp_path: Path) -> None:
    x, y = rows()
    path = tmp_path / "state"
    crashed(path, 3, x, y)
    before = path.read_bytes()
    with pytest.raises(InputError, match=rf"is the checkpoint of another training \({says}\): fit as then, or remove"):
        model(path, **settings).fit(x, y)
    assert path.read_bytes() == before


def test_l06_other_rows_are_refused(tmp_path: Path) -> None:
    x, y = rows()
    path = tmp_path / "state"
    weight = np.linspace(0.5, 2, 300)
    with pytest.raises(CrashError):
        model(path, progress=ending_at(3)).fit(x, y, sample_weight=weight)
    moved, named = x.copy(), y.copy()
    moved[7, 2] += 1e-12
    named[9] = y[y != y[9]][0]
    own = r"\(the data have other numbers, labels or weights\)"
    for given, labels, weights, says in (
        (moved, y, weight, own),
        (x, named, weight, own),
        (x, y, weight[::-1], own),
        (x, y, None, own),
        (x[1:], y[1:], weight[1:], r"\(rows was 300, is 299\)"),
        (x[:, 1:], y, weight, r"\(columns was 6, is 5\)"),
        (scipy.sparse.csr_array(x), y, weight, r"\(sparse columns was 0, is 6\)"),
        (x, np.where(y == "left", "right", y), weight, r"\(classes was 3, is 2\)"),
    ):
        with pytest.raises(InputError, match=f"is the checkpoint of another training {says}"):
            model(path).fit(given, labels, sample_weight=weights)
    order = np.random.default_rng(0).permutation(300)  # and double weights: the same training
    other = model(path).fit(x[order], y[order], sample_weight=2 * weight[order])
    same_fit(other, model().fit(x, y, sample_weight=weight), x)


def test_l06_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows()
    path = tmp_path / "state"
    with monkeypatch.context() as patch:
        patch.setattr("importlib.metadata.version", lambda name: "0.0.9")
        crashed(path, 3, x, y)
    with pytest.raises(InputError, match=r"another training \(luce was 0\.0\.9, is "):
        model(path).fit(x, y)


def test_a_time_limit_leaves_a_checkpoint_that_goes_on_without_it(tmp_path: Path) -> None:
    x, y = rows()
    path = tmp_path / "state"
    with pytest.warns(LuceWarning, match="time limit"):
        assert model(path, time_limit=1e-9).fit(x, y).n_iter_ == 1
    same_fit(model(path).fit(x, y), model().fit(x, y), x)


def test_a_checkpoint_that_is_no_path_is_refused() -> None:
    for path in ("", 7, b"x"):
        with pytest.raises(InputError, match=r"checkpoint is .*: give the path of a file"):
            NetworkClassifier(checkpoint=path).fit(*rows())  # type: ignore[arg-type]
