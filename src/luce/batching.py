"""Batching: requests that arrive together are answered as one batch; what takes longer goes to one worker thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from luce import answers
from luce.answers import Asked, Limits, RefusedError
from luce.errors import LuceError
from luce.hosting import Hosted

SMALL = 32 << 10  # bytes of bodies that are answered at once, within about a millisecond
AT_ONCE = 64  # requests in one batch of the thread, so that none waits for too many


@dataclass(eq=False)
class Job:
    """A request that waits: `read` makes of its body what is asked, `write` of the probabilities its answer."""

    hosted: Hosted
    size: int
    read: Callable[[], Asked]
    write: Callable[[Asked, Any], bytes]
    future: asyncio.Future[bytes]
    asked: Asked | None = None
    result: bytes | Exception | None = None
    left: bool = False
    heavy: bool = False
    leaving: Callable[[], asyncio.Task[None]] | None = None
    watcher: asyncio.Task[None] | None = field(default=None, repr=False)


class Batcher:
    """All jobs of a service. Small ones are done where they arrive, together with those that came in the same turn of
    the event loop; others wait, at most so many and so large, for the thread."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.fresh: list[Job] = []
        self.waiting: deque[Job] = deque()
        self.bytes = 0
        self.busy = False
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="luce")

    @property
    def count(self) -> int:
        return len(self.fresh) + len(self.waiting)

    async def run(self, job: Job) -> bytes:
        """The answer; raises RefusedError, status 503 where too much waits already."""
        if self.count >= self.limits.waiting or (self.bytes and self.bytes + job.size > self.limits.waiting_bytes):
            raise RefusedError(503, answers.TOO_MANY)
        self.bytes += job.size
        if not self.fresh:
            asyncio.get_running_loop().call_soon(self._gather)
        self.fresh.append(job)
        try:
            return await job.future
        finally:
            self.bytes -= job.size
            if job.watcher is not None:
                job.watcher.cancel()

    def _gather(self) -> None:
        """Answers a batch of small jobs; others wait. What is left over has its turn after what else there is to do."""
        batch: list[Job] = []
        taken = size = 0
        for job in self.fresh[:AT_ONCE]:
            if job.heavy or job.size > SMALL:
                self._wait(job)
            elif batch and size + job.size > SMALL:
                break
            else:
                batch.append(job)
                size += job.size
            taken += 1
        del self.fresh[:taken]
        if self.fresh:
            asyncio.get_running_loop().call_soon(self._gather)
        work(batch, small=True)
        for job in [job for job in batch if job.result is None]:
            self._wait(job)
        settle(batch)
        self._next()

    def _wait(self, job: Job) -> None:
        self.waiting.append(job)
        if job.leaving is not None:
            job.watcher = job.leaving()

    def _next(self) -> None:
        if self.busy or not self.waiting:
            return
        jobs: list[Job] = []
        while self.waiting and len(jobs) < AT_ONCE:
            job = self.waiting.popleft()
            if job.left:
                job.result = RefusedError(499, "the client has left")
                settle([job])
            else:
                jobs.append(job)
        if not jobs:
            return
        self.busy = True
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self.thread, work, jobs)
        done.add_done_callback(lambda _: self._finished(jobs))

    def _finished(self, jobs: list[Job]) -> None:
        self.busy = False
        settle(jobs)
        self._next()

    def close(self) -> None:
        self.thread.shutdown(wait=False, cancel_futures=True)


def settle(jobs: list[Job]) -> None:
    """Hands the results out."""
    for job in jobs:
        if job.result is None or job.future.done():
            continue
        if isinstance(job.result, Exception):
            job.future.set_exception(job.result)
        else:
            job.future.set_result(job.result)


def work(jobs: list[Job], small: bool = False) -> None:
    """Gives each job its result. small: those that take longer than a moment are left for the thread."""
    groups: dict[tuple[int, bool], list[Job]] = {}
    for job in jobs:
        if job.left:
            job.result = RefusedError(499, "the client has left")
            continue
        if job.asked is None:
            job.asked = _tried(job, job.read)
        if job.asked is None or (small and job.asked.heavy):
            continue
        groups.setdefault((id(job.hosted), job.asked.coded is not None), []).append(job)
    for group in groups.values():
        hosted = group[0].hosted
        plain = [job for job in group if job.asked is not None and job.asked.table is None]
        found = _together(hosted, [job.asked for job in plain if job.asked is not None])
        for job, p in zip(plain, found, strict=True):
            _write(job, p)
        for job in group:
            if job not in plain:
                _write(job, None)


def _write(job: Job, p: Any) -> None:
    asked = job.asked
    assert asked is not None
    made = _tried(job, lambda: job.write(asked, answers.probabilities(job.hosted, asked) if p is None else p))
    if made is not None:
        job.result = made


def _tried(job: Job, do: Callable[[], Any]) -> Any:
    """What is made, or None with the error as the job's result."""
    try:
        return do()
    except LuceError as error:
        job.result = answers.refused(error)
    except Exception as error:
        job.result = error
    return None


def _together(hosted: Hosted, many: list[Asked]) -> list[Any]:
    """The probabilities of all as a batch; None of each where it fails, so that only those with a fault bear it."""
    if not many:
        return []
    try:
        return list(answers.together(hosted, many))
    except Exception:
        return [None] * len(many)
