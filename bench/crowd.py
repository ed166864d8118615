"""Clients that ask one question again and again, each on a connection of its own, for bench/serve.py.

    python crowd.py PORT PATH BODY CLIENTS SECONDS HEED

A client that is refused waits as long as it was told, and up to half a second more, so that they do not all come back
at once; with HEED 0 it asks again at once. Prints JSON: what was taken and refused in the seconds after the first two.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

SETTLED = 2.0  # seconds


class Crowd:
    """All clients, and what they saw."""

    def __init__(self, path: str, body: bytes, seconds: float, heeds: bool) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self.question = (head + f"Content-Length: {len(body)}\r\n\r\n").encode() + body
        self.begins = time.perf_counter() + SETTLED
        self.ends = self.begins + seconds
        self.heeds = heeds
        self.taken: list[float] = []
        self.refused: list[float] = []
        self.broken = 0


class Client(asyncio.Protocol):
    def __init__(self, crowd: Crowd) -> None:
        self.crowd, self.got, self.asked = crowd, b"", 0.0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.asked = time.perf_counter()
        if self.asked < self.crowd.ends and not self.transport.is_closing():
            self.transport.write(self.crowd.question)

    def data_received(self, data: bytes) -> None:
        self.got += data
        head, _, body = self.got.partition(b"\r\n\r\n")
        length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        if not length or len(body) < int(length):
            return
        taken, self.got = head.startswith(b"HTTP/1.1 200 "), b""
        if self.asked > self.crowd.begins:
            (self.crowd.taken if taken else self.crowd.refused).append(time.perf_counter() - self.asked)
        if taken or not self.crowd.heeds:
            self.ask()
        else:
            asyncio.get_running_loop().call_later(1.0 + random.random() / 2, self.ask)

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd.broken += time.perf_counter() < self.crowd.ends


def at(seconds: list[float], share: float) -> float:
    """Milliseconds that this share took at most."""
    return 1000 * sorted(seconds)[int(share * (len(seconds) - 1))] if seconds else 0.0


async def main() -> None:
    port, path, body, clients, seconds, heeds = sys.argv[1:]
    crowd = Crowd(path, Path(body).read_bytes(), float(seconds), heeds == "1")
    loop, links = asyncio.get_running_loop(), []
    for _ in range(int(clients)):
        links.append((await loop.create_connection(lambda: Client(crowd), "127.0.0.1", int(port)))[0])
    await asyncio.sleep(max(crowd.ends - time.perf_counter(), 0.0) + 0.2)
    for link in links:
        link.close()
    found = {"accepted/s": len(crowd.taken) / float(seconds), "p50 ms": at(crowd.taken, 0.5)}
    found |= {"p99 ms": at(crowd.taken, 0.99), "refused/s": len(crowd.refused) / float(seconds)}
    found |= {"refused p50 ms": at(crowd.refused, 0.5), "refused p99 ms": at(crowd.refused, 0.99)}
    print(json.dumps(found | {"broken": crowd.broken}))


if __name__ == "__main__":
    uvloop.run(main())
