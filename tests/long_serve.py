"""The long run of the service in ./dev check --long: hostile bodies, reloads and stops under load, and a soak. Prints
what it found; docs/serving.md holds the last figures.

python tests/long_serve.py [fuzz BODIES | reload TIMES | stop TIMES | soak MINUTES]; without a word all four.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
PATH = "/v1/models/orders/predict"
DEFAULTS = {"fuzz": 10_000, "reload": 1_000, "stop": 100, "soak": 60}
STALL_S = 10.0  # that no answer may take, on a machine that does other things as well
LOOK_S = 0.02  # between two looks at the files, so that a thousand reloads take a minute


# --- a service and a load, each in a process of its own --------------------------------------------------------------


def server(paths: list[str]) -> None:
    """Serves on a free port, which it prints, and looks at the files often."""
    import faulthandler

    from luce.answers import Limits
    from luce.hosting import Models
    from luce.journal import Journal
    from luce.server import listening, running

    faulthandler.register(signal.SIGUSR1)
    bound = listening(HOST, 0)
    # a thousand lines a second are of no use here; the soak counts on /metrics
    print(f"luce serves at http://{HOST}:{bound.getsockname()[1]}/", file=sys.stderr, flush=True)
    running(Models(paths), Limits(), Journal(lambda line: None), look_s=LOOK_S).run([bound])


@contextmanager
def process(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int, list[bytes]]]:
    """A service that is ready, its port, and what it writes to standard error."""
    child = subprocess.Popen([sys.executable, "-X", "faulthandler", *command], stderr=subprocess.PIPE)
    try:
        assert child.stderr is not None
        said = b""
        while b" serves " not in said:
            line = child.stderr.readline()
            if not line:
                sys.exit(f"the service did not start: {said!r}")
            said += line
        lines = [said]
        threading.Thread(target=lambda: lines.extend(child.stderr), daemon=True).start()
        port = int(re.findall(rb"http://[^/]*:(\d+)/", said)[-1])
        while ask(port, "/v2/health/ready")[0] != 200:
            time.sleep(0.01)
        yield child, port, lines
    finally:
        child.kill()
        child.wait()


def ask(port: int, path: str, body: bytes | None = None, kind: str = "application/json") -> tuple[int, bytes]:
    link = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        link.request("GET" if body is None else "POST", path, body, {"Content-Type": kind})
        found = link.getresponse()
        return found.status, found.read()
    except ConnectionRefusedError:
        return 0, b""
    finally:
        link.close()


class Load:
    """Connections that stay, each asking again after a pause; every request that was sent must be answered in full.

    A connection that the service ended before a request was sent is no failure, nor is one that it refused. bodies:
    (content type, body); allowed: the probabilities that an answer may have; pauses: at most, of each connection.
    """

    def __init__(self, port: int, bodies: list[list[str]], allowed: list[list[Any]], pauses: list[float]) -> None:
        self.port, self.bodies, self.allowed = port, bodies, allowed
        self.stop = False
        self.requests = self.refused = self.ended = 0
        self.seen: Counter[int] = Counter()
        self.failures: list[str] = []
        self.threads = [threading.Thread(target=self.run, args=(pause, i)) for i, pause in enumerate(pauses)]

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        while self.requests < 20 and not self.failures:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop = True
        for thread in self.threads:
            thread.join()

    def run(self, pause: float, seed: int) -> None:
        pick, link = random.Random(seed), None
        while not self.stop:
            if link is None:
                try:
                    link = socket.create_connection((HOST, self.port), timeout=30)
                except OSError:
                    self.refused += 1
                    time.sleep(0.01)
                    continue
            kind, body = pick.choice(self.bodies)
            try:
                if readable(link):
                    if link.recv(1):
                        self.failures.append("bytes that nobody asked for")
                    self.ended += 1
                    link = closed(link)
                    continue
                link.sendall(request_of(kind, body.encode()))
                head, answer = response(link)
                self.requests += 1
                self.judge(head, answer)
                if re.search(rb"(?i)\r\nconnection: close", head):
                    link = closed(link)
            except OSError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                link = closed(link)
            time.sleep(pause * pick.random())
        if link is not None:
            link.close()

    def judge(self, head: bytes, answer: bytes) -> None:
        try:
            if not head.startswith(b"HTTP/1.1 200 "):
                raise ValueError
            self.seen[self.allowed.index(json.loads(answer)["probabilities"])] += 1
        except ValueError:
            self.failures.append(f"{head[:40]!r} {answer[:200]!r}")


def request_of(kind: str, body: bytes) -> bytes:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def response(link: socket.socket) -> tuple[bytes, bytes]:
    """The head and the body of an answer; raises ConnectionError where it is not whole."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(link)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1])  # type: ignore[index]
    while len(body) < length:
        body += received(link)
    return head, body


def received(link: socket.socket) -> bytes:
    data = link.recv(1 << 16)
    if not data:
        raise ConnectionError("closed before the answer was whole")
    return data


def readable(link: socket.socket) -> bool:
    return bool(select.select([link], [], [], 0)[0])


def closed(link: socket.socket) -> None:
    link.close()


def client(port: str) -> None:
    """A load as standard input's first line has it, until that ends; prints what it saw as JSON."""
    with Load(int(port), **json.loads(sys.stdin.readline())) as load:
        print("begun", flush=True)
        sys.stdin.read()
    counts = {"requests": load.requests, "refused": load.refused, "ended": load.ended, "seen": load.seen}
    print(json.dumps(counts | {"failures": load.failures}), flush=True)


@contextmanager
def loaded(port: int, bodies: Any, allowed: Any, pauses: list[float], found: dict[str, Any]) -> Iterator[None]:
    """A load in a process of its own; what it saw is in `found` in the end."""
    command = [sys.executable, __file__, "client", str(port)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(json.dumps({"bodies": bodies, "allowed": allowed, "pauses": pauses}) + "\n")
    child.stdin.flush()
    assert child.stdout.readline() == "begun\n"
    yield
    said, _ = child.communicate(timeout=60)
    found |= json.loads(said)


# --- models ----------------------------------------------------------------------------------------------------------


def two_models(folder: Path) -> tuple[list[bytes], list[list[str]], list[list[Any]]]:
    """Two models of the same columns, bodies for them, and what each answers, bit for bit."""
    from commands import orders
    from serving import plain_rows

    import luce

    frame = orders(8, seed=5).drop("label")
    row = plain_rows(frame.head(1))[0]
    files, answers = [], []
    for i, l2 in enumerate((0.01, 1.0)):
        model = luce.Classifier(l2=l2, effects="linear").fit(orders(seed=i), "label")
        model.save(folder / f"{i}.luce")
        files.append((folder / f"{i}.luce").read_bytes())
        answers.append(model.predict_proba({name: [cell] for name, cell in row.items()}).tolist())
    assert answers[0] != answers[1]
    bodies = [["application/json", json.dumps({"rows": [row]})], ["text/csv", frame.head(1).write_csv()]]
    return files, bodies, answers


def put(path: Path, data: bytes) -> None:
    (path.parent / "new").write_bytes(data)
    os.replace(path.parent / "new", path)


def metric(port: int, name: str) -> float:
    text = ask(port, "/metrics")[1].decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(name, line))


def told(what: str, found: dict[str, Any]) -> None:
    """Says what a load saw, and ends the run where a request failed."""
    failures = found["failures"]
    print(f"{what}: {found['requests']:,} requests, {len(failures)} failed", flush=True)
    if failures:
        sys.exit("\n".join(failures[:10]))


# --- the runs --------------------------------------------------------------------------------------------------------


def reload(times: int) -> None:
    """Files replaced under load: each is taken up, and every answer is that of one of the two, bit for bit."""
    began = time.monotonic()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        files, bodies, answers = two_models(Path(folder))
        path = Path(folder) / "orders.luce"
        path.write_bytes(files[0])
        with process([__file__, "server", str(path)]) as (_, port, _), loaded(port, bodies, answers, [0.0] * 4, found):
            for i in range(1, times + 1):
                put(path, files[i % 2])
                while metric(port, r'luce_events_total\{event="reloaded"\}') < i:
                    time.sleep(0.005)
                status, body = ask(port, PATH, bodies[0][1].encode())
                if status != 200 or json.loads(body)["probabilities"] != answers[i % 2]:
                    sys.exit(f"reload {i} was not taken up: {status} {body[:300]!r}")
    told(f"{times:,} reloads in {time.monotonic() - began:.0f} s, seen {found['seen']}", found)
    if len(found["seen"]) < 2 or found["refused"] or found["ended"]:
        sys.exit(f"a model was never seen, or a connection ended: {found}")


def stop(times: int) -> None:
    """Starts and SIGTERMs under load: not ready is said first, no request fails, status 0 within ten seconds."""
    began, worst = time.monotonic(), 0.0
    whole: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        files, bodies, answers = two_models(Path(folder))
        path = Path(folder) / "orders.luce"
        path.write_bytes(files[0])
        for i in range(times):
            found: dict[str, Any] = {}
            with process(["-m", "luce", "serve", str(path), "--port", "0"]) as (child, port, said):
                pauses = [0.0, 0.0, 0.0, 0.01, 0.05, 1.0]  # the last is often silent while the service says "not ready"
                with loaded(port, bodies, answers, pauses, found):
                    time.sleep(random.Random(i).uniform(0.1, 0.4))
                    child.send_signal(signal.SIGTERM)
                    at = time.monotonic()
                    with suppress(subprocess.TimeoutExpired):
                        child.wait(15)
                    if child.poll() != 0:
                        child.send_signal(signal.SIGABRT)  # where it hangs is said
                        time.sleep(1)
                        sys.exit(f"stop {i}: status {child.returncode}\n{b''.join(said)[-8000:].decode()}")
                    worst = max(worst, time.monotonic() - at)
            failures += [f"stop {i}: {each}" for each in found["failures"]]
            whole.update({key: found[key] for key in ("requests", "refused", "ended")})
    took = (
        f"{times:,} stops in {time.monotonic() - began:.0f} s, the slowest {worst:.1f} s, {whole['ended']} ended idle"
    )
    told(took, whole | {"failures": failures})
    if worst > 10:
        sys.exit("a stop took more than ten seconds")


def fuzz(count: int) -> None:
    """Mutated bodies, and mutated requests, over a socket: never an error of the service, which lives on."""
    from contract_run import Made, Maker
    from serving import made

    began, seen = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        paths = made(Path(folder))
        with process(["-m", "luce", "serve", *map(str, paths.values()), "--port", "0"]) as (child, port, _):
            maker = Maker(lambda path: json.loads(ask(port, path)[1]), 1)
            ways = [maker.query, maker.table, maker.texts, maker.picture, maker.infer]
            link = None
            for i in range(count):
                one: Made = ways[i % len(ways)]()
                body = one.body or b""
                for _ in range(maker.random.randrange(1, 4)):
                    body = maker.cut(body)
                extra = "".join(f"{name}: {value}\r\n" for name, value in one.headers.items())
                head = f"{one.method} {one.path} HTTP/1.1\r\nHost: localhost\r\n{extra}"
                data = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
                whole = i % 5 == 4  # of these the head is mutated too
                if whole:
                    data = maker.cut(data)
                link, status = sent(port, link, data, whole)
                seen[status] += 1
                if status.startswith("5"):
                    sys.exit(f"{status} after {data!r}")
            if ask(port, "/v2/health/live")[0] != 200 or child.poll() is not None:
                sys.exit("the service is dead")
            good = maker.query()
            if ask(port, good.path, good.body)[0] != 200:
                sys.exit("the service answers good requests no more")
            faults = metric(port, r'luce_events_total\{event="fault"\}')
    counts = ", ".join(f"{status}: {n:,}" for status, n in sorted(seen.items()))
    print(f"fuzz: {count:,} bodies in {time.monotonic() - began:.0f} s ({counts})", flush=True)
    if faults:
        sys.exit(f"{faults} errors of the service")


def sent(port: int, link: socket.socket | None, data: bytes, whole: bool) -> tuple[socket.socket | None, str]:
    """Sends a request, on the connection that is there, and the status of its answer; "none" where a head that was
    spoilt has none."""
    if whole:
        with socket.create_connection((HOST, port), timeout=30) as own, suppress(OSError):
            own.sendall(data)
            own.shutdown(socket.SHUT_WR)
            return link, (own.recv(1 << 16) or b"HTTP/1.1 none")[9:13].decode("latin-1").strip()
        return link, "none"
    link = link or socket.create_connection((HOST, port), timeout=30)
    link.sendall(data)
    head, _ = response(link)
    if re.search(rb"(?i)\r\nconnection: close", head):
        link = closed(link)
    return link, head[9:12].decode()


def soak(minutes: int) -> None:
    """Good, bad, slow and cut requests, and files that change: memory, descriptors and threads stay as they are."""
    found: dict[str, Any] = {}
    samples: list[tuple[float, int, int, int]] = []
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        files, bodies, answers = two_models(Path(folder))
        path = Path(folder) / "orders.luce"
        path.write_bytes(files[0])
        with process([__file__, "server", str(path)]) as (child, port, said):
            others = Others(port, bodies)
            with loaded(port, bodies, answers, [0.01, 0.02, 0.05], found), others:
                began = time.monotonic()
                warm = min(60.0, 60.0 * minutes / 5)
                turn = 0
                while (now := time.monotonic() - began) < 60.0 * minutes:
                    time.sleep(2)
                    asked = time.monotonic()
                    watch = threading.Timer(STALL_S, child.send_signal, [signal.SIGUSR1])  # says where it is
                    watch.start()
                    ask(port, PATH, bodies[1][1].encode(), "text/csv")
                    watch.cancel()
                    worst = max(worst, time.monotonic() - asked)
                    if worst > STALL_S:
                        print(f"an answer took {worst:.0f} s\n{b''.join(said)[-8000:].decode()}", flush=True)
                        break
                    put(path, files[turn % 2] if turn % 5 else files[0][: len(files[0]) // 2])
                    turn += 1
                    if now > warm and turn % 5 == 0:
                        samples.append((now, *of_process(child.pid)))
            time.sleep(20)  # what is idle ends
            last = of_process(child.pid)
            bad = metric(port, r'luce_requests_total\{[^}]*status="5')
            reloads = metric(port, r'luce_events_total\{event="reloaded"\}')
    if worst > STALL_S:
        sys.exit(1)
    tenth = max(len(samples) // 10, 1)
    rss, opened, threads = (max(sample[i] for sample in samples[:tenth]) for i in (1, 2, 3))
    rss_end = max(sample[1] for sample in samples[-tenth:])
    memory = f"memory {rss >> 10} MiB after the first minute, {rss_end >> 10} MiB at the end"
    counts = f"descriptors {opened}, and {last[1]} when all had left; threads {threads} and {last[2]}"
    done = f"{others.done:,} odd requests, {reloads:.0f} reloads, {worst:.1f} s at most"
    print(f"soak: {minutes} minutes, {done}; {memory}; {counts}", flush=True)
    told("soak", found)
    if rss_end > 1.1 * rss or last[1] > opened or last[2] > threads + 2 or bad:
        sys.exit(f"something grows, or there were errors of the service ({bad:.0f})")


def of_process(pid: int) -> tuple[int, int, int]:
    """KiB of memory, open descriptors, threads."""
    text = Path(f"/proc/{pid}/status").read_text()
    rss, threads = (int(re.search(rf"{name}:\s+(\d+)", text)[1]) for name in ("VmRSS", "Threads"))  # type: ignore[index]
    return rss, len(os.listdir(f"/proc/{pid}/fd")), threads


class Others:
    """Requests that are bad, slow, or cut off, from a thread each."""

    def __init__(self, port: int, bodies: list[list[str]]) -> None:
        self.port, self.bodies, self.done, self.stop = port, bodies, 0, False
        self.threads = [
            threading.Thread(target=self.run, args=(way,)) for way in (self.bad, self.slow, self.cut, self.get)
        ]

    def __enter__(self) -> None:
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop = True
        for thread in self.threads:
            thread.join()

    def run(self, way: Any) -> None:
        pick = random.Random(way.__name__)
        while not self.stop:
            with suppress(OSError):
                way(pick)
            self.done += 1
            time.sleep(0.02)

    def bad(self, pick: random.Random) -> None:
        kind, body = pick.choice(self.bodies)
        data = bytearray(body.encode())
        data[pick.randrange(len(data))] = pick.randrange(256)
        ask(self.port, PATH, bytes(data), kind)

    def get(self, pick: random.Random) -> None:
        ask(self.port, pick.choice(["/v1", "/v1/models/orders", "/v1/models/orders/facts", "/metrics", "/", "/none"]))

    def slow(self, pick: random.Random) -> None:
        kind, body = pick.choice(self.bodies)
        data = request_of(kind, body.encode())
        with socket.create_connection((HOST, self.port), timeout=30) as link:
            for at in range(0, len(data), 40):
                link.sendall(data[at : at + 40])
                time.sleep(0.05)
            response(link)

    def cut(self, pick: random.Random) -> None:
        kind, body = pick.choice(self.bodies)
        data = request_of(kind, body.encode())
        with socket.create_connection((HOST, self.port), timeout=30) as link:
            link.sendall(data[: pick.randrange(len(data) + 1)])
            if pick.random() < 0.5:
                time.sleep(0.01)


def main(words: list[str]) -> None:
    runs = {"fuzz": fuzz, "reload": reload, "stop": stop, "soak": soak}
    for name in [words[0]] if words else runs:
        runs[name](int(words[1]) if len(words) > 1 else DEFAULTS[name])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["server", *paths]:
            server(paths)
        case ["client", port]:
            client(port)
        case words:
            main(words)
