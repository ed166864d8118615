"""Door: one connection of HTTP/1.1, with limits on what it may send and how long it may take (over uvicorn)."""

from __future__ import annotations

import asyncio
import re
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from luce.answers import TOO_MANY, Limits
from luce.journal import Journal

TINY = 64  # bytes: a body in more than MOST_TINY pieces smaller than this in the mean is refused
MOST_TINY = 1_000
PIPELINED = 64  # requests that may wait behind one another
COUNTED = 32  # requests between two readings of the clock
ASKS = (b"/v1/models/", b"/v2/models/")  # the paths of questions: what is refused under pressure, unlike all else
FIRST_S = 0.3  # for the first request of a connection to come, when the service stops

_WORDS = {
    400: "this is not HTTP as it is spoken here",
    408: "the request took too long to arrive",
    431: "the header is too large",
    503: "too many connections: try again soon",
}
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-type: application/json\r\n"
_BUSY += b"x-content-type-options: nosniff\r\ncontent-length: %d\r\n\r\n"
_SAID = b'"' + TOO_MANY.encode() + b'"'
_BUSY_FOR = {  # each protocol has its own form of errors
    b"1": b'{"error":{"status":503,"what":%s,"where":null}}' % _SAID,
    b"2": b'{"error":%s}' % _SAID,
}
_BUSY_FOR = {version: _BUSY % len(body) + body for version, body in _BUSY_FOR.items()}
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*(?=\r\n)", re.IGNORECASE)
_OTHER = re.compile(rb"\r\n(?:transfer-encoding|expect|connection|upgrade):(?![ \t]*keep-alive\r)", re.IGNORECASE)


class Pressure:
    """How many questions are being answered, and how much of the processor's time one takes: so how long another would
    wait. `clock` gives the time that this process has computed."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.process_time) -> None:
        self.limits, self.clock = limits, clock
        self.inside = 0
        self.seconds = 0.0  # of a question, in the mean of late
        self._since, self._answered = clock(), 0

    @property
    def full(self) -> bool:
        return self.inside >= self.limits.at_once and self.inside * self.seconds > self.limits.wait_s

    def enter(self) -> None:
        self.inside += 1

    def leave(self) -> None:
        self.inside -= 1
        self._answered += 1
        if self._answered == COUNTED:
            now = self.clock()
            late = (now - self._since) / COUNTED
            self.seconds = (self.seconds + late) / 2 if self.seconds else late
            self._since, self._answered = now, 0


def whole_question(data: bytes) -> bool:
    """Whether this is one question to a model, from its first byte to its last, with nothing special about it."""
    if data[:5] != b"POST " or not data.startswith(ASKS, 5):
        return False
    end = data.find(b"\r\n\r\n")
    head = data[: end + 2]
    lengths = _LENGTH.findall(head)
    return end > 0 and len(lengths) == 1 and len(data) == end + 4 + int(lengths[0]) and not _OTHER.search(head)


def make_door(
    limits: Limits, journal: Journal, stopping: Callable[[], bool] = lambda: False
) -> type[HttpToolsProtocol]:
    """The protocol of a server with these limits; while it is stopping, each answer says that it is the last. Under
    pressure questions are refused where they come in: a refusal must cost next to nothing, or those who are refused
    would take the time of those who are answered."""
    pressure = Pressure(limits)
    journal.gauges["inside"] = lambda: pressure.inside

    class Door(HttpToolsProtocol):
        """States: waiting for a header (since its first byte), for a body, for its answer to be made and read, idle."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.since = time.monotonic()
            self.header_bytes = self.body_bytes = self.pieces = 0
            self.in_header, self.in_body = True, False
            self.asked: deque[bool] = (
                deque()
            )  # of each request that is not answered: whether it is a question, and whole
            if len(self.connections) > limits.connections:
                self.refuse(503)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self.in_header:
                if not self.header_bytes:
                    if pressure.full and not self.asked and not stopping() and whole_question(data):
                        self.since = time.monotonic()
                        self._unset_keepalive_if_required()
                        journal.shed += 1
                        self.transport.write(_BUSY_FOR[data[7:8]])
                        return
                    self.since = time.monotonic()
                self.header_bytes += len(data)
            self._unset_keepalive_if_required()
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                self.refuse(400)
                return
            except (httptools.HttpParserError, httptools.HttpParserCallbackError, UnicodeDecodeError):
                self.refuse(400)
                return
            if (self.in_header and self.header_bytes > limits.header) or len(self.pipeline) > PIPELINED:
                self.refuse(431 if self.in_header else 503)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.in_header = True

        def on_header(self, name: bytes, value: bytes) -> None:
            super().on_header(name, value)
            if len(self.headers) > limits.headers or len(name) + len(value) > limits.header:
                raise ValueError("too many headers")

        def on_headers_complete(self) -> None:
            if not self.url.startswith(b"/"):
                raise ValueError("a target is a path")
            self.in_header, self.in_body = False, True
            self.header_bytes = self.body_bytes = self.pieces = 0
            self.since = time.monotonic()
            super().on_headers_complete()
            self.asked.append(False)
            if stopping():
                self.cycle.keep_alive = False

        def on_body(self, body: bytes) -> None:
            self.pieces += 1
            self.body_bytes += len(body)
            if self.pieces > MOST_TINY + self.body_bytes / TINY:
                raise ValueError("too many pieces")
            super().on_body(body)

        def on_message_complete(self) -> None:
            self.in_body = False
            self.since = time.monotonic()
            if self.asked and self.scope["method"] == "POST" and self.url.startswith(ASKS):
                self.scope["luce_full"] = pressure.full  # type: ignore[typeddict-unknown-key]
                pressure.enter()
                self.asked[-1] = True
            super().on_message_complete()
            self.in_header = True

        def on_response_complete(self) -> None:
            self._leave()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            while self.asked:
                self._leave()
            super().connection_lost(exc)

        def _leave(self) -> None:
            if self.asked and self.asked.popleft():
                pressure.leave()

        def refuse(self, status: int) -> None:
            """Says why, and closes; what is being answered on this connection is given up."""
            journal.refused(status, self.client)
            if not self.transport.is_closing() and (
                self.cycle is None or self.cycle.response_complete or not self.cycle.response_started
            ):
                words = b'{"error":{"status":%d,"what":"%s","where":null}}' % (status, _WORDS[status].encode())
                again = b"retry-after: 1\r\n" if status == 503 else b""
                head = b"content-type: application/json\r\nx-content-type-options: nosniff\r\nconnection: close\r\n"
                length = b"content-length: %d\r\n\r\n" % len(words)
                self.transport.write(STATUS_LINE[status] + head + again + length + words)
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self.transport.close()

        def leave(self) -> None:
            """Closes, where no request has begun, waits unread, or is still to come on a connection just made."""
            if self.cycle is None and time.monotonic() - self.since < FIRST_S:
                return
            answered = self.cycle is None or self.cycle.response_complete
            if answered and not self.header_bytes and not self.transport.is_closing() and not _unread(self.transport):
                self.transport.close()

        def timeout_keep_alive_handler(self) -> None:
            self.leave()

        def check(self, now: float) -> None:
            """Ends what takes too long; called about once a second."""
            if self.transport is None:
                return
            waited = now - self.since
            answered = self.cycle is None or self.cycle.response_complete
            if self.transport.is_closing() or self.transport.get_write_buffer_size():
                if waited > limits.total_s:  # nobody reads
                    self.transport.abort()
            elif self.in_body and not answered:
                if waited > limits.body_s:
                    self.refuse(408)
            elif not answered:
                if waited > limits.total_s and "luce_long" not in self.cycle.scope:
                    self.transport.abort()
            elif self.header_bytes and waited > limits.header_s:
                self.refuse(408)
            elif waited > max(limits.header_s, limits.idle_s) + 1:
                self.leave()

    return Door


def _unread(transport: Any) -> bool:
    """Whether bytes have come that were not read yet; closing would throw them away and tell the client so."""
    found = select.poll()
    found.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(found.poll(0))


async def watch(connections: set[Any], journal: Journal, every: float = 1.0) -> None:
    """Looks at all connections now and then, and says how many requests were refused at once."""
    told = 0
    while True:
        await asyncio.sleep(every)
        now = time.monotonic()
        if journal.shed > told:
            journal.line("shed", requests=journal.shed - told)
            told = journal.shed
        for connection in list(connections):
            connection.check(now)
