"""Helpers for the tests of the service: models to serve, a server on a free port, requests by hand."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from commands import orders, reviews

import luce
from luce.answers import Limits
from luce.hosting import Models
from luce.journal import Journal
from luce.server import Running, listening, running

JSON = {"Content-Type": "application/json"}


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body, parse_constant=pytest.fail)


class Served:
    """A server that runs in a thread of this process, on a free port of loopback."""

    def __init__(self, server: Running, bound: socket.socket, log: list[dict[str, Any]]) -> None:
        self.server, self.bound, self.log = server, bound, log
        self.port: int = bound.getsockname()[1]
        self.thread = threading.Thread(target=lambda: server.run([bound]), daemon=True)

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = body.encode() if isinstance(body, str) else body
            connection.request(method, path, data, headers or {})
            found = connection.getresponse()
            return Reply(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, None, {name.replace("_", "-"): value for name, value in headers.items()})

    def predict(self, model: str, rows: Any, **options: Any) -> Reply:
        return self.ask("POST", f"/v1/models/{model}/predict", json.dumps({"rows": rows} | options), JSON)

    def raw(self, data: bytes, seconds: float = 10.0, parts: int = 0) -> bytes:
        """Sends bytes as they are and reads until the server closes, or nothing comes for a moment."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as link:
            try:
                if parts:
                    for i in range(0, len(data), parts):
                        link.sendall(data[i : i + parts])
                else:
                    link.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            return received(link)

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == event]


def received(link: socket.socket) -> bytes:
    out = b""
    try:
        while data := link.recv(1 << 16):
            out += data
    except (TimeoutError, ConnectionResetError):
        pass
    return out


@contextmanager
def serving(paths: list[Path] | list[str], limits: Limits | None = None, **settings: Any) -> Iterator[Served]:
    log: list[dict[str, Any]] = []
    journal = Journal(lambda data: log.append(json.loads(data)))
    limits = limits or Limits()
    server = running(Models(list(map(str, paths))), limits, journal, **settings)
    server.still = 0.0
    served = Served(server, listening("127.0.0.1", 0), log)
    served.thread.start()
    while not server.service.ready:
        assert served.thread.is_alive()
        time.sleep(0.005)
    try:
        yield served
    finally:
        server.should_exit = True
        served.thread.join(15)
        assert not served.thread.is_alive()


def plain_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them."""
    found: list[dict[str, Any]] = json.loads(json.dumps(frame.to_dicts(), default=str))
    return found


def drawn(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Small images of two kinds, light on dark: upright and lying bars."""
    rng = np.random.default_rng(seed)
    images, kinds = np.zeros((n, 14, 14), dtype=np.uint8), np.arange(n) % 2
    for image, kind, place in zip(images, kinds, rng.integers(3, 9, n), strict=True):
        image[(slice(2, 12), slice(place, place + 2)) if kind else (slice(place, place + 2), slice(2, 12))] = 255
    return images, np.array(["lying", "upright"])[kinds]


def png(image: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def made(folder: Path) -> dict[str, Path]:
    """Files of a table with every kind of column, of texts alone, and of images alone."""
    found = {
        "orders": luce.train(orders(), "label").classifier,
        "reviews": luce.Classifier().fit(reviews().drop("stars"), "label"),
    }
    images, kinds = drawn()
    found["bars"] = luce.Classifier().fit(images, kinds)
    for name, model in found.items():
        model.save(folder / f"{name}.luce")
    return {name: folder / f"{name}.luce" for name in found}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return made(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def served(models: dict[str, Path]) -> Iterator[Served]:
    """All of them, without a token."""
    with serving(list(models.values())) as found:
        yield found


__all__ = [
    "JSON",
    "Limits",
    "Reply",
    "Served",
    "asyncio",
    "drawn",
    "made",
    "models",
    "plain_rows",
    "png",
    "replace",
    "served",
    "serving",
]
