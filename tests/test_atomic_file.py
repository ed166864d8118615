"""Saving: whole or not at all, when the process is killed and when the disk or the folder refuses."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from disk import as_nobody, failing

from luce import atomic_file
from luce.atomic_file import replace_file
from luce.errors import FileError, LuceError

pytestmark = pytest.mark.usefixtures("no_hang")

OLD, NEW = b"the old content", [b"the ", memoryview(b"new"), b" content"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that a save shall replace."""
    path = tmp_path / "target.bin"
    path.write_bytes(OLD)
    return path


def refused(path: Path | str) -> str:
    """The line of the FileError that saving must raise; it is fit for a terminal."""
    with pytest.raises(FileError) as caught:
        replace_file(path, NEW)
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 1000
    return line


def assert_old(path: Path) -> None:
    assert path.read_bytes() == OLD
    assert os.listdir(path.parent) == [path.name]


def assert_new(path: Path) -> None:
    assert path.read_bytes() == b"the new content"
    assert os.listdir(path.parent) == [path.name]


def test_a_file_is_made_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        replace_file(tmp_path / "m", iter(NEW))
        assert_new(tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    replace_file("m", [])
    assert (tmp_path / "m").read_bytes() == b""


def test_chunks_count_in_bytes(path: Path) -> None:
    numbers = np.arange(6.0).reshape(2, 3)
    replace_file(path, [memoryview(numbers), memoryview(numbers)])
    assert path.read_bytes() == numbers.tobytes() * 2


def test_errors_are_lines_of_the_family(path: Path) -> None:
    line = refused(path.parent)
    assert line == f"{path.parent}: not saved: this is a folder, not a file"
    assert issubclass(FileError, LuceError)
    assert issubclass(FileError, OSError)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_m08_an_impossible_name(tmp_path: Path, name: str) -> None:
    assert "not a possible file name" in refused(name)
    assert "\\x1b\\n: not saved" in refused(tmp_path / "missing" / "x\x1b\n")


# --- killed ----------------------------------------------------------------------------------------------------------


def run_child(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50)


KILLER = """
import glob, json, os, random, signal, sys, time
from luce.atomic_file import replace_file

path, kills = sys.argv[1], 40
payloads = [bytes([k]) * (400_000 + k) for k in range(2)]
replace_file(path, [payloads[0]])
loaded, leftovers = [], 0
rng = random.Random(0)
for _ in range(kills):
    child = os.fork()
    if child == 0:
        turn = 0
        while True:
            turn += 1
            whole = payloads[turn % 2]
            replace_file(path, [whole[:100_000], whole[100_000:]])
    time.sleep(rng.uniform(0.002, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    leftovers += bool(glob.glob(os.path.join(os.path.dirname(path), ".*.tmp")))
    with open(path, "rb") as file:
        loaded.append(payloads.index(file.read()))
replace_file(path, [payloads[0]])
print(json.dumps({"loaded": loaded, "leftovers": leftovers, "files": os.listdir(os.path.dirname(path))}))
"""


def test_m14_kill_at_random_times_leaves_a_whole_file(tmp_path: Path) -> None:
    done = run_child(KILLER, tmp_path / "m")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["loaded"]) == 40
    assert set(found["loaded"]) == {0, 1}
    # Some of the kills did strike inside a save, else this test shows nothing; the last save has swept up after them.
    assert found["leftovers"] > 0
    assert found["files"] == ["m"]


def test_m19_saves_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    contents = [bytes([k]) * (100_000 + k) for k in range(4)]

    def save(content: bytes) -> None:
        for _ in range(20):
            replace_file(tmp_path / "m", [content])

    writers = [threading.Thread(target=save, args=[content]) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert (tmp_path / "m").read_bytes() in contents
    assert os.listdir(tmp_path) == ["m"]


# --- refused by the disk ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        *[("open", 0), ("open", 1), ("fchmod", 0), ("fchmod", 1), ("fsync", 0), ("close", 0), ("replace", 0)],
        *[("write", n) for n in range(3)],
    ],
)
def test_m16_a_failing_call_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int, number: int
) -> None:
    with monkeypatch.context() as patch:
        calls = failing(patch, name, number, call)
        line = refused(path)
    assert calls[0] > call
    assert line.startswith(f"{path}: not saved")
    assert os.strerror(number) in line
    assert_old(path)


def test_m16_folder_flush_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "fsync", errno.EIO, 1)
    with pytest.raises(FileError, match=r"in place.*could not be flushed.*save again"):
        replace_file(path, NEW)
    assert_new(path)


def test_m16_file_system_without_folder_flush(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "fsync", errno.EINVAL, 1)
    replace_file(path, NEW)
    assert_new(path)


def test_m16_interrupt_while_writing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, NEW)
    assert_old(path)


def test_m16_content_that_fails_half_way(path: Path) -> None:
    def half() -> Iterator[bytes]:
        yield b"the "
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        replace_file(path, half())
    assert_old(path)


def test_m16_short_writes_are_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: true(fd, data[:2]))
    replace_file(path, NEW)
    assert_new(path)


def test_m16_disk_that_takes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda fd, data: 0)
    assert "no more bytes" in refused(path)
    assert_old(path)


LIMITED = """
import resource, signal, sys
from luce.atomic_file import replace_file
from luce.errors import FileError

if sys.argv[2] == "killed":
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    replace_file(sys.argv[1], [bytes(1_000_000)])
except FileError as error:
    print(error)
"""


def test_m17_file_size_limit(path: Path) -> None:
    done = run_child(LIMITED, path, "told")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{path}: not saved, nothing was changed: File too large\n"
    assert_old(path)


def test_m17_file_size_limit_that_kills(path: Path) -> None:
    core = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, core[1]))
    try:
        assert run_child(LIMITED, path, "killed").returncode == -signal.SIGXFSZ
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, core)
    assert path.read_bytes() == OLD


# --- refused by the folder, rights kept ------------------------------------------------------------------------------


def test_m18_read_only_file_is_not_replaced(path: Path) -> None:
    path.chmod(0o444)
    assert "read-only" in refused(path)
    assert_old(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_m18_folder_without_permission_or_missing(path: Path) -> None:
    path.parent.chmod(0o555)
    with as_nobody(path.parent):
        line = refused("new")
    assert line.startswith("new: not saved")
    assert "Permission denied" in line
    path.parent.chmod(0o700)
    assert "not saved: the folder cannot be used: No such file" in refused(path.parent / "missing" / "m")
    assert_old(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
@pytest.mark.parametrize(("mode", "word"), [(0o644, "read-only"), (0o666, "another user")])
def test_m18_file_of_another_user_is_not_taken_over(path: Path, mode: int, word: str) -> None:
    path.chmod(mode)
    path.parent.chmod(0o777)
    with as_nobody(path.parent):
        assert word in refused(path.name)
    assert_old(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
def test_m18_root_keeps_the_owner(path: Path) -> None:
    os.chown(path, 1234, 4321)
    replace_file(path, NEW)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


def test_m18_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link, second = tmp_path / "there" / "real", tmp_path / "link", tmp_path / "second"
    link.symlink_to("there/real")
    second.symlink_to("link")
    for content in [b"1", b"2"]:  # a dangling link first, then a link to a file
        replace_file(second, [content])
        assert [file.is_symlink() for file in (second, link, real)] == [True, True, False]
        assert real.read_bytes() == content
    assert sorted(os.listdir(tmp_path)) == ["link", "second", "there"]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_m18_modes(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    path, true = tmp_path / "m", os.write

    def write(fd: int, data: memoryview) -> int:
        seen.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return true(fd, data)

    monkeypatch.setattr(os, "write", write)
    before = os.umask(umask)
    try:
        replace_file(path, NEW)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
        path.chmod(0o620)
        replace_file(path, NEW)
        assert stat.S_IMODE(path.stat().st_mode) == 0o620
    finally:
        os.umask(before)
    assert set(seen) == {0o600}


def test_m18_planted_temporary_file_is_not_written_through(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_file, "remove_stale", lambda folder, name: None)
    monkeypatch.setattr(os, "urandom", bytes)
    victim = path.parent / "victim"
    victim.write_bytes(b"precious")
    (path.parent / f".{path.name}.{os.getpid()}.00000000.tmp").symlink_to("victim")
    assert "File exists" in refused(path)
    assert victim.read_bytes() == b"precious"
    assert path.read_bytes() == OLD


# --- leftovers of killed saves ---------------------------------------------------------------------------------------


def test_m20_temporary_files_of_dead_runs_are_removed(path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    living = subprocess.Popen(["sleep", "60"])
    stale = [f".target.bin.{pid}.0123abcd.tmp" for pid in (dead.pid, os.getpid(), 999_999_999)]
    kept = [
        f".target.bin.{living.pid}.0123abcd.tmp", f".other.bin.{dead.pid}.0123abcd.tmp",
        f".targetXbin.{dead.pid}.0123abcd.tmp", f"target.bin.{dead.pid}.0123abcd.tmp",
        f".target.bin.{dead.pid}.tmp", f".target.bin.{dead.pid}.0123abcd.tmp.bak", ".target.bin.x.0123abcd.tmp",
    ]  # fmt: skip
    try:
        for name in stale + kept:
            path.with_name(name).write_bytes(b"half a file")
        replace_file(path, NEW)
    finally:
        living.kill()
        living.wait()
    assert sorted(os.listdir(path.parent)) == sorted([*kept, path.name])


def test_m20_a_leftover_that_cannot_be_removed_does_not_stop_a_save(path: Path) -> None:
    path.with_name(".target.bin.999999999.0123abcd.tmp").mkdir()
    replace_file(path, NEW)
    assert path.read_bytes() == b"the new content"
