"""Journal: one line of JSON for each event, and the counters of the service as Prometheus reads them."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import msgspec

from luce.errors import inert

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds
MOST_LINES = 10_000  # that wait to be written
BREATH_S = 0.02  # between two writes, so that many lines are one
LONGEST = 200  # characters of a foreign text in a line

_encode = msgspec.json.Encoder().encode


class Journal:
    """Writes to standard error, in a thread of its own: who does not read it delays no request. Lines that cannot be
    written, or for which there is no room, are counted, and nothing else happens.

    write: takes each line instead, at once.
    """

    def __init__(self, write: Callable[[bytes], Any] | None = None) -> None:
        self._write = write
        self._lines: deque[bytes] = deque()
        self._more = threading.Event()
        self._ends = False
        self._thread: threading.Thread | None = None
        self.began = time.time()
        self.requests: dict[tuple[str, int], int] = defaultdict(int)
        self.seconds = [0] * (len(BOUNDS) + 1)
        self.total_seconds = 0.0
        self.rows: dict[str, int] = defaultdict(int)
        self.events: dict[str, int] = defaultdict(int)
        self.lost = 0
        self.shed = 0  # requests refused at once, too many for a line each
        self.gauges: dict[str, Callable[[], float]] = {}

    def line(self, event: str, **facts: Any) -> None:
        """Texts in it are foreign: control characters, also those that turn writing round, are escaped."""
        said = {"time": round(time.time(), 3), "event": event}
        said |= {name: inert(value, LONGEST) if isinstance(value, str) else value for name, value in facts.items()}
        data = _encode(said) + b"\n"
        if self._write is not None:
            try:
                self._write(data)
            except OSError:
                self.lost += 1
        elif len(self._lines) >= MOST_LINES:
            self.lost += 1
        else:
            self._lines.append(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="luce log")
                self._thread.start()
            self._more.set()

    def _run(self) -> None:
        while not (self._ends and not self._lines):
            self._more.wait()
            self._more.clear()
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            try:
                data = memoryview(b"".join(lines))
                while data:
                    data = data[os.write(2, data) :]
            except OSError:  # a full disk, a closed pipe, no standard error
                self.lost += len(lines)
            if not self._ends:
                time.sleep(BREATH_S)

    def close(self) -> None:
        """Writes what is left, unless nobody takes it."""
        self._ends = True
        self._more.set()
        if self._thread is not None:
            self._thread.join(0.5)

    def answered(self, route: str, method: str, path: str, status: int, seconds: float, number: str, sent: int) -> None:
        self.requests[route, status] += 1
        self.total_seconds += seconds
        self.seconds[next((i for i, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))] += 1
        ms = round(1000 * seconds, 3)
        self.line("request", id=number, method=method, path=path, status=status, ms=ms, bytes=sent)

    def refused(self, status: int, client: Any) -> None:
        """A connection that was closed before a request of it was understood."""
        self.requests["none", status] += 1
        self.line("refused", status=status, client=client[0] if client else None)

    def count(self, event: str, **facts: Any) -> None:
        self.events[event] += 1
        self.line(event, **facts)

    def metrics(self) -> str:
        """All counters in Prometheus' text format."""
        out = ["# HELP luce_requests_total Requests answered.", "# TYPE luce_requests_total counter"]
        out += [
            f'luce_requests_total{{route="{route}",status="{status}"}} {n}'
            for (route, status), n in sorted(self.requests.items())
        ]
        out += ["# HELP luce_rows_total Rows predicted.", "# TYPE luce_rows_total counter"]
        out += [f'luce_rows_total{{model="{model}"}} {n}' for model, n in sorted(self.rows.items())]
        out += ["# HELP luce_events_total Reloads and refusals.", "# TYPE luce_events_total counter"]
        out += [f'luce_events_total{{event="{event}"}} {n}' for event, n in sorted(self.events.items())]
        out += ["# HELP luce_request_seconds Time to answer.", "# TYPE luce_request_seconds histogram"]
        below = 0
        for bound, n in zip([*map(str, BOUNDS), "+Inf"], self.seconds, strict=True):
            below += n
            out.append(f'luce_request_seconds_bucket{{le="{bound}"}} {below}')
        out += [f"luce_request_seconds_sum {self.total_seconds:.6f}", f"luce_request_seconds_count {below}"]
        out += ["# HELP luce_shed_total Requests refused at once, being too many.", "# TYPE luce_shed_total counter"]
        out += [f"luce_shed_total {self.shed}"]
        out += ["# HELP luce_log_lines_lost_total Lines of the log that could not be written."]
        out += ["# TYPE luce_log_lines_lost_total counter", f"luce_log_lines_lost_total {self.lost}"]
        out += ["# HELP luce_start_seconds When the service began.", "# TYPE luce_start_seconds gauge"]
        out.append(f"luce_start_seconds {self.began:.3f}")
        for name, value in self.gauges.items():
            out += [f"# HELP luce_{name} Now.", f"# TYPE luce_{name} gauge", f"luce_{name} {value():g}"]
        return "\n".join(out) + "\n"
