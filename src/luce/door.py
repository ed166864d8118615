"""Door: one connection of HTTP/1.1, with limits on what it may send and how long it may take (over uvicorn)."""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from luce.answers import Limits
from luce.journal import Journal

TINY = 64  # bytes: a body in more than MOST_TINY pieces smaller than this in the mean is refused
MOST_TINY = 1_000
PIPELINED = 64  # requests that may wait behind one another
FIRST_S = 0.3  # for the first request of a connection to come, when the service stops

_WORDS = {
    400: "this is not HTTP as it is spoken here",
    408: "the request took too long to arrive",
    431: "the header is too large",
    503: "too many connections: try again soon",
}


def make_door(
    limits: Limits, journal: Journal, stopping: Callable[[], bool] = lambda: False
) -> type[HttpToolsProtocol]:
    """The protocol of a server with these limits; while it is stopping, each answer says that it is the last."""

    class Door(HttpToolsProtocol):
        """States: waiting for a header (since its first byte), for a body, for its answer to be made and read, idle."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.since = time.monotonic()
            self.header_bytes = self.body_bytes = self.pieces = 0
            self.in_header, self.in_body = True, False
            if len(self.connections) > limits.connections:
                self.refuse(503)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self.in_header:
                if not self.header_bytes:
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
            super().on_message_complete()
            self.in_header = True

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


async def watch(connections: set[Any], every: float = 1.0) -> None:
    """Looks at all connections now and then."""
    while True:
        await asyncio.sleep(every)
        now = time.monotonic()
        for connection in list(connections):
            connection.check(now)
