"""What a connection may send: sizes, headers, framing, time (S01 to S08 of the fault cases)."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import JSON, Limits, Served, models, received, served, serving

__all__ = ["models", "served"]

ROW = {"price": 10.5, "count": 3, "member": True, "grade": "골드", "day": "2024-03-01"}
BODY = json.dumps({"rows": [ROW]}, ensure_ascii=False)
SIZE = len(BODY.encode())
PATH = "/v1/models/orders/predict"


@pytest.fixture(scope="module")
def strict(models: dict[str, Path]) -> Iterator[Served]:
    """A server with small limits, so that they are reached at once."""
    limits = Limits(
        body=20_000, rows=50, header=4_000, headers=20, header_s=0.6, body_s=0.6, total_s=1.5, idle_s=1, connections=40
    )
    with serving([models["orders"]], limits) as found:
        yield found


def head(length: int | str, extra: str = "", method: str = "POST", path: str = PATH, host: str = "127.0.0.1") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    ]
    return ("\r\n".join(lines) + "\r\n" + extra + "\r\n").encode()


def chunked(parts: list[bytes], extra: str = "") -> bytes:
    first = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    start = f"{first}{extra}Transfer-Encoding: chunked\r\n\r\n"
    return start.encode() + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0


def closes(answer: bytes) -> bool:
    return b"connection: close" in answer.lower()


def memory() -> int:
    """Bytes that this process holds."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_s01_a_body_over_the_limit_is_refused_before_it_is_sent(strict: Served) -> None:
    for length in (20_001, 10**12, 10**17):
        answer = strict.raw(head(length))
        assert status(answer) == 413 and closes(answer)
    assert status(strict.raw(head(10**30))) == 400  # beyond what the parser counts
    assert status(strict.raw(head(SIZE) + BODY.encode(), 0.5)) == 200


def test_s01_chunks_without_end_are_refused_when_they_pass_the_limit(strict: Served) -> None:
    answer = strict.raw(chunked([b" " * 1000] * 30))
    assert status(answer) == 413 and closes(answer)


def test_s02_a_body_in_tiny_pieces_is_refused(strict: Served) -> None:
    pieces = [b" "] * 3_000
    answer = strict.raw(chunked(pieces))
    assert status(answer) in (400, 413) and closes(answer)
    for size, wanted in ((100, 415), (1_000_000, 431)):
        form = "multipart/form-data; boundary=" + "x" * size
        answer = strict.raw(head(3).replace(b"application/json", form.encode()) + b"--x")
        assert status(answer) == wanted and closes(answer)


def test_s03_compressed_bodies_are_refused(strict: Served) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    assert strict.ask("POST", PATH, bomb[:15_000], JSON | {"Content-Encoding": "gzip"}).status == 415
    assert strict.ask("POST", PATH, BODY, JSON | {"Content-Encoding": "identity"}).status == 200


@pytest.mark.parametrize(
    "body",
    [
        "[" * 250_000,
        '{"rows":' + "[" * 40 + "]" * 40 + "}",
        '{"rows":[{' + ",".join(f'"k{i}":1' for i in range(100_000)) + "}]}",
        BODY.replace('"count": 3', '"count": 3, "count": 4'),
        BODY.replace('"rows"', '"rows": [], "rows"'),
        BODY.replace("10.5", "1e999"),
        BODY.replace("10.5", "-1e999"),
        BODY.replace("10.5", "NaN"),
        BODY.replace("10.5", "Infinity"),
        BODY.replace("10.5", "1" * 10_000),
        BODY.replace("10.5", "01"),
        BODY.replace("골드", "\\ud800"),
        BODY[:-1],
        BODY + "}",
        "",
        "\ufeff" + BODY,
    ],
    ids=lambda body: body[:12] + "..." + body[-6:],
)
def test_s04_json_that_is_no_honest_json_is_refused(served: Served, body: str) -> None:
    reply = served.ask("POST", PATH, body, JSON)
    assert reply.status in (400, 422)
    error = reply.json["error"]
    assert error["status"] == reply.status and error["what"].isprintable()


def test_s04_invalid_utf8_is_refused(served: Served) -> None:
    for bad in (b"\xff", b"\xed\xa0\x80", b"\xc0\xaf"):
        body = BODY.encode().replace("골드".encode(), bad)
        assert bad in body
        assert served.ask("POST", PATH, body, JSON).status in (400, 422)


def test_s05_headers_too_large_or_too_many_are_refused(strict: Served) -> None:
    for extra in ("X: " + "a" * 100_000 + "\r\n", "".join(f"X{i}: a\r\n" for i in range(1_000)), "a" * 5_000):
        answer = strict.raw(head(SIZE, extra) + BODY.encode())
        assert status(answer) in (400, 431) and closes(answer)
    answer = strict.raw(head(2, path="/" + "a" * 100_000))
    assert status(answer) in (400, 414, 431) and closes(answer)


def test_s05_one_host_header_is_needed(strict: Served) -> None:
    assert status(strict.raw(b"GET /v1 HTTP/1.1\r\nConnection: close\r\n\r\n")) == 400
    assert status(strict.raw(b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")) == 400


SMUGGLED = [
    head(5, "Transfer-Encoding: chunked\r\n") + b"0\r\n\r\nG",
    head(5, "Transfer-Encoding: xchunked\r\n") + b"0\r\n\r\n",
    head(5, "Content-Length: 6\r\n") + b"12345",
    head("5, 5") + b"12345",
    head("+5") + b"12345",
    head("0x5") + b"12345",
    head("-1"),
    chunked([b"{}"], "Transfer-Encoding: identity\r\n"),
    chunked([b"{}"]).replace(b"2\r\n{}\r\n", b"2\r\n{}X\n"),
    chunked([b"{}"]).replace(b"2\r\n{}\r\n", b"0x2\r\n{}\r\n"),
    chunked([b"{}"]).replace(b"2\r\n{}\r\n", b"fffffffffffffffff\r\n{}\r\n"),
    b"GET /v1 HTTP/1.1\nHost: localhost\n\n",
    b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    b"GET /v1 HTTP/1.1\r\nHost : localhost\r\n\r\n",
    b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n",
    b"GET /v1 HTTP/1.1\r\nHost: local\x00host\r\n\r\n",
    b"GET /v1 HTTP/1.1 x\r\nHost: localhost\r\n\r\n",
    b"GET /v1 HTTP/2.5\r\nHost: localhost\r\n\r\n",
    b"NONSENSE /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://localhost/v1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT evil:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12345",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("data", SMUGGLED, ids=lambda data: repr(data[:20] + data[-24:]))
def test_s06_what_is_framed_in_two_ways_is_refused_and_the_connection_closed(strict: Served, data: bytes) -> None:
    """Were anything left on the connection, the GET behind it would be answered."""
    answer = strict.raw(data + b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 3.0)
    assert 400 <= status(answer) < 500
    assert answer.count(b"HTTP/1.1 ") == 1


def test_s07_a_slow_header_and_a_slow_body_end(strict: Served) -> None:
    for sent in (b"GET /v1 HTTP/1.1\r\nHost: lo", head(SIZE) + b'{"rows'):
        began = time.monotonic()
        answer = strict.raw(sent)
        assert status(answer) == 408
        assert time.monotonic() - began < 8  # the limit is 0.6, looked at once a second


def test_s07_one_byte_now_and_then_does_not_keep_a_connection(strict: Served) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=5) as link:
        link.sendall(b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nX: ")
        for _ in range(40):
            time.sleep(0.1)
            try:
                link.sendall(b"a")
            except (BrokenPipeError, ConnectionResetError):
                break
        else:
            pytest.fail("still open after seconds of drops")


def test_s07_who_does_not_read_is_cut_off(models: dict[str, Path]) -> None:
    limits = Limits(total_s=1.0)
    with serving([models["orders"]], limits) as found, socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.connect(("127.0.0.1", found.port))
        body = json.dumps({"rows": [ROW] * 60_000}).encode()
        link.sendall(head(len(body)) + body)
        deadline = time.monotonic() + 20
        connections = found.server.server_state.connections
        while time.monotonic() < deadline and not connections:
            time.sleep(0.01)
        while time.monotonic() < deadline and connections:
            time.sleep(0.05)
        assert not connections


def test_s07_idle_connections_end_and_others_are_answered_meanwhile(strict: Served) -> None:
    links = [socket.create_connection(("127.0.0.1", strict.port), timeout=10) for _ in range(30)]
    try:
        assert strict.get("/v1").status == 200
        assert all(received(link) == b"" for link in links)
    finally:
        for link in links:
            link.close()


def test_s07_connections_beyond_the_limit_are_told(strict: Served) -> None:
    links = [socket.create_connection(("127.0.0.1", strict.port), timeout=10) for _ in range(45)]
    try:
        said = [received(link) for link in links[41:]]
        assert all(status(each) == 503 and b"retry-after" in each for each in said)
    finally:
        for link in links:
            link.close()
    deadline = time.monotonic() + 5
    while strict.get("/v1").status != 200:
        assert time.monotonic() < deadline


def test_s08_requests_one_behind_another_are_answered_in_order(strict: Served) -> None:
    first = head(SIZE) + BODY.encode()
    last = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = strict.raw(first * 5 + last)
    assert answer.count(b"HTTP/1.1 200") == 6
    assert answer.endswith(b'{"live":true}')


@pytest.mark.parametrize(
    "data", [b"GET /\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 300, b"\x00" * 100, b"\r\n" * 5_000]
)
def test_s08_what_is_not_http_gets_no_answer_but_400(strict: Served, data: bytes) -> None:
    assert status(strict.raw(data, 3.0)) in (0, 400, 408, 431)
    assert strict.get("/v1").status == 200


def test_c13_hostile_requests_leave_no_memory_behind(strict: Served) -> None:
    """Less than 1 MiB for 100 of them, after a first round that fills caches."""
    hostile = [chunked([b" "] * 2_000), head(10**12), head(5, "X: " + "a" * 50_000 + "\r\n"), *SMUGGLED[:6]]

    def round_of_them() -> None:
        for data in hostile:
            strict.raw(data, 2.0)

    round_of_them()
    before = memory()
    for _ in range(12):
        round_of_them()
    assert memory() - before < 1.2 * (1 << 20)


def test_a_head_request_has_no_body(strict: Served) -> None:
    reply = strict.ask("HEAD", "/v1")
    assert reply.status == 200 and reply.body == b""
