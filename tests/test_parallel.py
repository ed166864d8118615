"""The core's threads: they survive fork and multiprocessing, keep to their number, and work in plain arithmetic."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import luce

LINUX = sys.platform == "linux"
Z = np.random.default_rng(0).normal(0, 20, (60_000, 3)).astype(np.float32)  # enough numbers to wake the threads
P = luce.softmax(Z)


def right() -> bool:
    return bool((luce.softmax(Z) == P).all())


def in_fork(work: object) -> int:
    """The exit status of a forked child that does the work; killed after a minute."""
    child = os.fork()
    if child == 0:
        import signal

        signal.alarm(60)
        os._exit(0 if work() else 1)  # type: ignore[operator]
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUCE_NUM_THREADS", "2")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_l08_a_forked_child_works_after_the_threads_were_used() -> None:
    assert right()
    assert in_fork(lambda: right() and in_fork(right) == 0) == 0
    assert right()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_l08_a_fork_while_other_threads_are_at_work() -> None:
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            luce.softmax(Z)

    workers = [threading.Thread(target=busy) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        assert [in_fork(right) for _ in range(5)] == [0] * 5
    finally:
        stop.set()
        for worker in workers:
            worker.join()


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_l08_multiprocessing(method: str) -> None:
    assert right()
    with multiprocessing.get_context(method).Pool(2) as pool:
        for result in pool.map_async(luce.softmax, [Z[:30_000]] * 4).get(timeout=60):
            assert (result == P[:30_000]).all()


def test_callers_in_many_threads_get_their_own_results() -> None:
    failures = []

    def call(seed: int) -> None:
        z = np.random.default_rng(seed).normal(0, 9, (40_000, 3))
        expected = [luce.softmax(row) for row in z[:5]]
        for _ in range(10):
            if not (luce.softmax(z)[:5] == expected).all():
                failures.append(seed)

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not failures


@pytest.mark.skipif(not LINUX, reason="affinity and /proc are Linux's")
def test_l12_the_processors_that_are_allowed_are_the_default_and_more_threads_do_no_harm() -> None:
    code = """
import os, numpy as np
first = min(os.sched_getaffinity(0))
os.sched_setaffinity(0, {first})
import luce
from luce.functional import available_threads
assert available_threads() == 1
z = np.random.default_rng(0).normal(0, 20, (60_000, 3)).astype(np.float32)
alone = luce.softmax(z)
def threads():
    return len(os.listdir("/proc/self/task"))
before = threads()
os.environ["LUCE_NUM_THREADS"] = "8"
assert (luce.softmax(z) == alone).all()
assert before < threads() <= before + 7
"""
    environment = {k: v for k, v in os.environ.items() if k != "LUCE_NUM_THREADS"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)


@pytest.mark.skipif(not LINUX, reason="/proc is Linux's")
def test_small_inputs_wake_no_thread() -> None:
    code = """
import os, numpy as np, luce
before = len(os.listdir("/proc/self/task"))
luce.softmax(np.zeros((1000, 60)))
luce.sigmoid(np.zeros(60_000))
luce.cross_entropy(np.zeros((1000, 60)), np.zeros(1000, dtype=int))
assert len(os.listdir("/proc/self/task")) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.skipif(not LINUX, reason="the limit of address space is Linux's")
def test_l07_memory_that_runs_out_is_an_error_and_luce_goes_on() -> None:
    code = """
import resource, numpy as np, luce
z = np.zeros((60_000, 64))  # across the rows the core keeps the exponentials of a block: 60,000 x 64 numbers
out, small = np.empty_like(z), np.array([0.25, 1.23, -0.8])
expected = luce.softmax(small)
luce.softmax(z, axis=0, out=out)  # which imports what it needs
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
failed = 0
for room in range(0, 400_000_000, 20_000_000):
    resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))
    try:
        luce.softmax(z, axis=0, out=out)
    except MemoryError:
        failed += 1
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert (luce.softmax(small) == expected).all()
assert failed > 0 and (out == 1 / 60_000).all(), failed
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# glibc on x86-64: fenv_t has the control word of the SSE unit at byte 28
GLIBC_X86 = LINUX and platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"
FLUSH_TO_ZERO, DENORMALS_ARE_ZERO, UPWARD = 0x8000, 0x0040, 0x4000


@contextmanager
def arithmetic(bits: int) -> Iterator[None]:
    """The SSE unit with these bits set in its control word."""
    libm = ctypes.CDLL("libm.so.6")
    before = ctypes.create_string_buffer(32)
    libm.fegetenv(before)
    (word,) = struct.unpack_from("<I", before, 28)
    changed = ctypes.create_string_buffer(before.raw, 32)
    struct.pack_into("<I", changed, 28, word | bits)
    libm.fesetenv(changed)
    try:
        yield
        after = ctypes.create_string_buffer(32)
        libm.fegetenv(after)
        assert struct.unpack_from("<I", after, 28)[0] & bits == bits  # the caller's own mode is back
    finally:
        libm.fesetenv(before)


@pytest.mark.skipif(not GLIBC_X86, reason="the control word is set by glibc's fenv on x86-64")
@pytest.mark.parametrize("bits", [FLUSH_TO_ZERO, DENORMALS_ARE_ZERO, FLUSH_TO_ZERO | DENORMALS_ARE_ZERO, UPWARD])
@pytest.mark.parametrize("rows", [5, 60_000])
def test_n09_n22_the_callers_arithmetic_changes_no_bit(bits: int, rows: int) -> None:
    z = np.zeros((rows, 3), dtype=np.float32)
    z[:, 1], z[:, 2] = -90.0, np.linspace(-100, -0.1, rows)
    labels = np.zeros(rows, dtype=np.int64)
    functions = [luce.softmax, luce.log_softmax, luce.logsumexp, luce.sigmoid, luce.log_sigmoid]
    plain = [f(z) for f in functions] + [luce.cross_entropy_with_gradient(z, labels)[1]]
    assert ((plain[0] > 0) & (plain[0] < np.finfo(np.float32).tiny)).any()  # there are subnormal results to lose
    with arithmetic(bits):
        found = [f(z) for f in functions] + [luce.cross_entropy_with_gradient(z, labels)[1]]
    for a, b in zip(plain, found, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs the affinities of Linux")
def test_where_threads_run_is_left_to_the_caller() -> None:
    """A thread of ours that would share a processor with its caller moves, within what the process may use; the
    caller's own affinity is left alone."""
    code = """
import os, time
import numpy as np
import luce

z = np.random.default_rng(0).normal(size=(300_000, 3))
may = os.sched_getaffinity(0)
before = set(os.listdir("/proc/self/task"))
for cpu in [*sorted(may)[:2], None]:
    os.sched_setaffinity(0, may if cpu is None else {cpu})
    for _ in range(20):
        luce.softmax(z)
        time.sleep(0.002)
own = {int(task) for task in set(os.listdir("/proc/self/task")) - before}
assert os.sched_getaffinity(0) == may
assert all(os.sched_getaffinity(task) <= may for task in own)
print(len(own))
"""
    environment = {**os.environ, "LUCE_NUM_THREADS": "2"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == "1\n"
