"""A service from its start to its end: self-test, reload, overload, clients that leave, signals, what may fail beside
it (S21 to S26 of the fault cases)."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Run, luce, orders, refused
from long_serve import Load, request_of, response
from serving import JSON, Limits, Served, models, plain_rows, serving

from luce import Classifier, load
from luce.answers import TOO_MANY, Asked
from luce.container import read_container, write_container
from luce.door import Pressure, whole_question
from luce.hosting import Models, hosted, name_of

__all__ = ["luce", "models"]

ROWS = plain_rows(orders(20, seed=5).drop("label"))
PATH = "/v1/models/orders/predict"
BODY = json.dumps({"rows": ROWS[:1]})


@contextlib.contextmanager
def command(*arguments: object, **settings: Any) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`luce serve` as a process of its own, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "luce", "serve", *map(str, arguments), "--port", "0"], stderr=subprocess.PIPE, **settings
    )
    try:
        assert process.stderr is not None
        said = b""
        while b" serves " not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        port = int(re.findall(rb"http://[^/]*:(\d+)/", said)[-1])
        until(lambda: ask(port, "GET", "/v2/health/ready")[0] == 200)
        yield process, port
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        link.request(method, path, body, JSON)
        found = link.getresponse()
        return found.status, found.read()
    except OSError:
        return 0, b""
    finally:
        link.close()


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def load_of(port: int, *models: Classifier) -> Load:
    """Four connections that ask for the row; each answer must be that of one of the models."""
    return Load(port, [["application/json", BODY]], [[of(model)] for model in models], [0.0] * 4)


def of(model: Classifier) -> list[float]:
    """The probabilities of the row that is asked for."""
    return model.predict_proba({name: [cell] for name, cell in ROWS[0].items()})[0].tolist()


# --- the self-test ---------------------------------------------------------------------------------------------------


def test_s25_a_model_with_other_probabilities_than_at_its_fit_is_not_served(
    models: dict[str, Path], tmp_path: Path
) -> None:
    arrays, facts = read_container(models["orders"])
    weights = arrays["coef"].copy()
    weights[0, 0] += 1e-9  # of weights near 1: no person would see it
    write_container(tmp_path / "orders.luce", arrays | {"coef": weights}, facts)
    load(tmp_path / "orders.luce")
    with pytest.raises(ValueError, match="other probabilities than at its fit"):
        hosted(str(tmp_path / "orders.luce"))


def test_s25_an_older_file_is_served_with_a_note(models: dict[str, Path], tmp_path: Path) -> None:
    arrays, facts = read_container(models["orders"])
    old = {name: value for name, value in facts.items() if name != "check"}
    write_container(tmp_path / "old.luce", {name: a for name, a in arrays.items() if name != "check"}, old)
    assert "no example rows" in hosted(str(tmp_path / "old.luce")).note
    assert hosted(str(models["orders"])).note == ""


def test_s25_ready_comes_after_the_check_and_live_asks_no_model(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving([models["orders"]]) as served:
        monkeypatch.setattr(served.server.service, "models", None)
        assert served.get("/v2/health/live").json == {"live": True}
        assert served.get("/v2/health/ready").status == 200
        served.server.service.ready = False
        assert served.get("/v2/health/ready").status == 503
        assert served.get("/v2/health/live").status == 200


# --- reload ----------------------------------------------------------------------------------------------------------


def test_s23_files_that_change_under_load(models: dict[str, Path], tmp_path: Path) -> None:
    """Good, broken, half-written, of another schema, and good again: no request fails, and each answer is that of a
    model that was good."""
    path, good = tmp_path / "orders.luce", models["orders"].read_bytes()
    path.write_bytes(good)
    second = Classifier(l2=0.1, effects="linear").fit(orders(), "label")
    first = of(load(path))
    assert of(second) != first
    with serving([path], look_s=0.02) as served, load_of(served.port, load(path), second) as asking:

        def now() -> list[float]:
            found: list[float] = served.ask("POST", PATH, BODY, JSON).json["probabilities"][0]
            return found

        def replace_by(data: bytes) -> None:
            (tmp_path / "new").write_bytes(data)
            os.replace(tmp_path / "new", path)

        assert now() == first
        for bad in (b"", good[: len(good) // 2], b"PK" + good[2:], good[:-9] + b"\0" * 9):
            told = len(served.lines("reload refused"))
            replace_by(bad)
            until(lambda told=told: len(served.lines("reload refused")) > told)
            assert now() == first
        fewer = Classifier().fit(orders().drop("price"), "label")
        fewer.save(path)
        until(lambda: "other columns or classes" in served.lines("reload refused")[-1]["why"])
        assert now() == first
        second.save(path)
        until(lambda: bool(served.lines("reloaded")))
        assert now() == of(second)
        path.unlink()  # a file that is gone changes nothing
        time.sleep(0.1)
        assert now() == of(second)
        replace_by(good)
        until(lambda: len(served.lines("reloaded")) == 2)
        assert now() == first
    assert asking.failures == [] and asking.refused == asking.ended == 0
    assert set(asking.seen) == {0, 1}


# --- overload --------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes every CSV take a while; how many were worked on."""
    from luce import answers

    done: list[int] = []
    before = answers.probabilities

    def waits(one: Any, asked: Asked) -> Any:
        done.append(asked.rows)
        time.sleep(0.15)
        return before(one, asked)

    monkeypatch.setattr(answers, "probabilities", waits)
    return done


def csv_request(served: Served) -> bytes:
    body = orders(5, seed=5).drop("label").write_csv().encode()
    lines = [f"POST {PATH} HTTP/1.1", "Host: localhost", "Content-Type: text/csv", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def test_s21_what_is_too_much_is_refused_at_once_and_soon_over(models: dict[str, Path], slow: list[int]) -> None:
    with serving([models["orders"]], Limits(waiting=4)) as served:
        links = [socket.create_connection(("127.0.0.1", served.port), timeout=20) for _ in range(24)]
        data = csv_request(served)
        began = time.monotonic()
        for link in links:
            link.sendall(data)
        answers = [link.recv(1 << 16) for link in links]
        took = time.monotonic() - began
        for link in links:
            link.close()
        refused_ones = [a for a in answers if a.startswith(b"HTTP/1.1 503")]
        assert all(b"retry-after: 1" in a for a in refused_ones)
        assert len(refused_ones) + sum(a.startswith(b"HTTP/1.1 200") for a in answers) == 24
        assert len(refused_ones) >= 12
        assert took < 0.15 * (24 - len(refused_ones)) + 5
        assert served.ask("POST", PATH, BODY, JSON).status == 200
        assert served.server.service.batcher.bytes == 0


def test_s21_the_time_of_those_inside_is_bounded() -> None:
    seconds = [0.0]
    pressure = Pressure(Limits(at_once=2, wait_s=0.01), lambda: seconds[0])
    for _ in range(100):
        pressure.enter()
    assert not pressure.full  # nothing is known of how long one takes
    for _ in range(90):
        seconds[0] += 0.004
        pressure.leave()
    assert pressure.inside == 10 and pressure.seconds == pytest.approx(0.004)
    assert pressure.full  # 40 ms
    for _ in range(8):
        pressure.leave()
    assert pressure.inside == 2 and not pressure.full  # 8 ms
    for _ in range(64):  # they take longer now
        pressure.enter()
        seconds[0] += 0.5
        pressure.leave()
    assert pressure.full
    pressure.leave()
    assert not pressure.full  # alone one is taken however long it takes


def test_s21_under_pressure_questions_are_refused_where_they_come_in(models: dict[str, Path], slow: list[int]) -> None:
    question = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(BODY)}\r\n\r\n{BODY}"
    ).encode()
    with serving([models["orders"]], Limits(at_once=1, wait_s=-1.0)) as served:
        first, other = (socket.create_connection(("127.0.0.1", served.port), timeout=20) for _ in range(2))
        with first, other:
            first.sendall(csv_request(served))
            until(lambda: len(slow) == 1)
            for path, wanted in (
                ("v1", {"error": {"status": 503, "what": TOO_MANY, "where": None}}),
                ("v2", {"error": TOO_MANY}),
            ):
                other.sendall(question.replace(b"/v1/", f"/{path}/".encode()))
                head, _, body = other.recv(1 << 16).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: 1\r\n" in head
                assert json.loads(body) == wanted and b"content-length: %d" % len(body) in head
            other.sendall(question[:-5])  # in pieces: it is read, and then refused
            time.sleep(0.01)
            other.sendall(question[-5:])
            assert other.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
            other.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert other.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            assert len(slow) == 1 and first.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            other.sendall(question)
            assert other.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        assert served.server.service.journal.shed == 2
        assert "luce_inside 0" in served.ask("GET", "/metrics").body.decode()


@pytest.mark.parametrize(
    ("change", "whole"),
    [
        (("", ""), True), (("Content-Length", "CONTENT-length"), True), (("X: 1", "Connection: keep-alive"), True),
        (("POST", "GET"), False), (("/v1/models", "/v1/train"), False),
        (("Content-Length: 2", "Content-Length: 3"), False), (("Content-Length: 2", "Y: 2"), False),
        (("Content-Length: 2", "Content-Length: 1"), False), (("X: 1", "Content-Length: 2"), False),
        (("X: 1", "Transfer-Encoding: chunked"), False), (("X: 1", "connection: close"), False),
        (("X: 1", "Expect: 100-continue"), False), (("\r\n\r\n", "\r\n"), False),
    ],
)  # fmt: skip
def test_s21_only_a_whole_and_plain_question_is_refused_unread(change: tuple[str, str], whole: bool) -> None:
    data = "POST /v1/models/a/predict HTTP/1.1\r\nHost: a\r\nX: 1\r\nContent-Length: 2\r\n\r\n{}"
    assert whole_question(data.replace(*change).encode()) is whole


def test_s22_who_has_left_is_not_worked_for(models: dict[str, Path], slow: list[int]) -> None:
    with serving([models["orders"]]) as served:
        data = csv_request(served)
        links = [socket.create_connection(("127.0.0.1", served.port), timeout=20) for _ in range(6)]
        links[0].sendall(data)
        until(lambda: len(slow) == 1)
        for link in links[1:]:
            link.sendall(data)
        until(lambda: served.server.service.batcher.count == 5 or len(slow) > 1)
        for link in links[2:]:
            link.close()
        assert all(link.recv(1 << 16).startswith(b"HTTP/1.1 200") for link in links[:2])
        links[0].close()
        links[1].close()
        until(lambda: served.server.service.batcher.bytes == 0)
        assert len(slow) <= 3  # the first, the one that stayed, and at most one that left too late to be known


# --- the process -----------------------------------------------------------------------------------------------------


def test_s24_a_signal_under_load_loses_no_answer(models: dict[str, Path]) -> None:
    with command(models["orders"]) as (process, port):
        with load_of(port, load(models["orders"])) as asking:
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            unready = False
            while process.poll() is None:
                unready |= ask(port, "GET", "/v2/health/ready")[0] == 503
                assert time.monotonic() - began < 10
        assert process.returncode == 0
        assert unready
        assert asking.failures == []


def test_s24_what_is_sent_while_it_stops_is_answered_for_the_last_time(models: dict[str, Path]) -> None:
    request = request_of("application/json", BODY.encode())
    with serving([models["orders"]]) as served:
        served.server.still = 1.0
        old = socket.create_connection(("127.0.0.1", served.port), timeout=10)
        old.sendall(request)
        head, _ = response(old)
        assert head.startswith(b"HTTP/1.1 200") and b"connection: close" not in head
        served.server.should_exit = True
        until(lambda: served.server.service.stopping)
        new = socket.create_connection(("127.0.0.1", served.port), timeout=10)
        for link in (old, new):
            link.sendall(request)
            head, _ = response(link)
            assert head.startswith(b"HTTP/1.1 200") and b"connection: close" in head
            assert link.recv(1) == b""
            link.close()


def test_s26_a_closed_log_and_a_limit_of_files_are_survived(models: dict[str, Path]) -> None:
    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

    with command(models["orders"], preexec_fn=few_files) as (process, port):
        assert process.stderr is not None
        process.stderr.close()
        assert ask(port, "POST", PATH, BODY)[0] == 200
        links = []
        with contextlib.suppress(OSError):
            for _ in range(80):
                links.append(socket.create_connection(("127.0.0.1", port), timeout=1))
        for link in links:
            link.close()
        until(lambda: ask(port, "POST", PATH, BODY)[0] == 200)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_several_processes_share_an_address_and_end_together(models: dict[str, Path]) -> None:
    with command(models["orders"], "--workers", 2) as (process, port):
        with load_of(port, load(models["orders"])) as asking:
            numbers: set[str] = set()
            until(lambda: bool(numbers.add(ask_number(port))) or len(numbers) == 2)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        assert asking.failures == []
    assert ask(port, "GET", "/v2/health/live")[0] == 0


def ask_number(port: int) -> str:
    """What the numbers of a process begin with."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        link.request("GET", "/v2/health/live")
        return link.getresponse().headers["X-Request-Id"].split("-")[0]
    finally:
        link.close()


def test_an_address_that_others_reach_has_a_token(models: dict[str, Path]) -> None:
    with command(models["orders"], "--host", "0.0.0.0", "--token", "given") as (_, port):
        assert ask(port, "GET", "/v1")[0] == 401
        assert ask(port, "GET", "/v2/health/live")[0] == 200
    process = subprocess.Popen(
        [sys.executable, "-m", "luce", "serve", models["orders"], "--host", "0.0.0.0", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert re.fullmatch(r"others can reach this address; they need the token [\w-]{43}\n", first)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()  # type: ignore[union-attr]


# --- one line for each mistake ---------------------------------------------------------------------------------------


def test_mistakes_at_the_start_are_one_line(
    luce: Run, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(luce("serve", "nothing.luce"), "nothing.luce", "no such model")
    (tmp_path / "text.luce").write_text("no model")
    refused(luce("serve", "text.luce"), "text.luce")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(models["orders"], tmp_path / folder / "orders.luce")
    refused(luce("serve", "a/orders.luce", "b/orders.luce"), "both named orders", "rename")
    shutil.copy(models["orders"], tmp_path / "_odd.luce")
    refused(luce("serve", "_odd.luce"), "rename it")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused(luce("serve", models["orders"], "--port", taken.getsockname()[1]), "--port")
    refused(luce("playground", "--host", "no.such.host.invalid"), "--host")
    for name in [name for name in sys.modules if name == "luce.server" or name == "uvicorn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    refused(luce("serve", models["orders"]), "pip install 'luce[serve]'")


def test_names_of_models() -> None:
    assert [name_of(path) for path in ("a/Orders 2.luce", "x.y.LUCE", "plain")] == ["orders-2", "x.y", "plain"]
    for path in ("é.luce", "-a.luce", "a" * 65 + ".luce", ".luce", "a/b\x1b.luce"):
        with pytest.raises(ValueError, match="rename it") as error:
            name_of(path)
        assert str(error.value).isprintable()


def test_models_are_those_that_were_named(models: dict[str, Path]) -> None:
    both = Models([str(models["orders"]), str(models["bars"])])
    assert [one.name for one in both.all()] == ["orders", "bars"]
    assert both.get("reviews") is None
    assert both.refresh() == []
    assert np.isfinite(of(load(models["orders"]))).all()
