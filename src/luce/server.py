"""Server: the HTTP service and the page; `serve` runs until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import msgspec
import numpy as np
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, Router

from luce import answers
from luce.answers import Asked, Limits, RefusedError
from luce.batching import Batcher, Job
from luce.decision import best_of
from luce.door import make_door, watch
from luce.errors import InputError, LuceError, inert
from luce.facts import facts
from luce.form import describe
from luce.guard import LOOPBACK, Guard
from luce.hosting import Hosted, Models
from luce.journal import Journal
from luce.oip import Inference, header_length, metadata
from luce.openapi import openapi
from luce.report import evaluate
from luce.workshop import Workshop

SWITCH_S = 0.001  # after which the worker's thread gives way to the event loop
LOOK_S = 1.0  # seconds between two looks at the files of the models
STILL_S = 0.5  # of answering as not ready, before connections are refused
HANDSHAKE_S = 0.02  # for connections to be made that have begun
ATTACH_FILTER = 26  # of Linux: a program of classic BPF that sees each packet from its TCP header on
LEAVE_S = 0.5  # at most, in which connections without a request end
TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".json": "application/json",
}  # fmt: skip

_FILE = re.compile("/v1/models/[^/]+/file")
_encode = msgspec.json.Encoder().encode

Handler = Callable[[Request], Awaitable[Response]]


def reply(value: Any, status: int = 200) -> Response:
    return Response(value if isinstance(value, bytes) else _encode(value), status, None, "application/json")


class Endpoint:
    """A handler and the methods that it answers."""

    def __init__(self, route: str, handler: Handler, methods: tuple[str, ...]) -> None:
        self.route, self.handler, self.methods = route, handler, methods

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["luce_route"] = self.route
        if scope["method"] not in self.methods:
            raise RefusedError(405, f"here {' and '.join(self.methods)} are answered")
        response = await self.handler(Request(scope, receive))
        await response(scope, receive, send)


async def nowhere(scope: Any, receive: Any, send: Any) -> None:
    raise RefusedError(404, "there is nothing here")


class Service:
    """The routes over some models."""

    def __init__(
        self, models: Models, limits: Limits, journal: Journal, workshop: Workshop | None = None,
        look_s: float = LOOK_S,
    ) -> None:  # fmt: skip
        self.models, self.limits, self.journal, self.workshop = models, limits, journal, workshop
        self.look_s = look_s
        self.batcher = Batcher(limits)
        self.ready = self.stopping = False
        self.version = version("luce")

    @cached_property
    def router(self) -> Router:
        get, post = ("GET", "HEAD"), ("POST",)
        table: list[tuple[str, Handler, tuple[str, ...]]] = [
            ("/v1/models/{name}/predict", self.predict, post),
            ("/v2/health/live", self.live, get),
            ("/v2/health/ready", self.is_ready, get),
            ("/v1", self.about, get),
            ("/v1/models", self.all, get),
            ("/v1/models/{name}", self.one, get),
            ("/v1/models/{name}/facts", self.facts, get),
            ("/", self.page, get),
            ("/static/{name}", self.static, get),
            ("/v1/models/{name}/measured", self.measured, get),
            ("/v2/models/{name}/infer", self.infer, post),
            ("/v2", self.about_v2, get),
            ("/v2/models/{name}", self.one_v2, get),
            ("/v2/models/{name}/ready", self.one_is_ready, get),
            ("/v1/train", self.train, post),
            ("/v1/train/{job}", self.job, get),
            ("/v1/models/{name}/file", self.file, get),
            ("/metrics", self.metrics, get),
            ("/openapi.json", self.openapi, get),
        ]
        routes = [Route(path, Endpoint(path, handler, methods)) for path, handler, methods in table]
        return Router(routes, redirect_slashes=False, default=nowhere)

    def model(self, request: Request) -> Hosted:
        found = self.models.get(request.path_params["name"])
        if found is None:
            raise RefusedError(404, "there is no such model")
        return found

    # --- the page ---

    @cached_property
    def pages(self) -> dict[str, tuple[bytes, str]]:
        """The files of the page: read once, so that no name in a request ever leads to the disk."""
        found = {}
        for each in (files("luce") / "static").iterdir():
            suffix = os.path.splitext(each.name)[1]
            if each.is_file() and suffix in TYPES:
                found[each.name] = each.read_bytes(), TYPES[suffix]
        return found

    async def page(self, request: Request) -> Response:
        return self._file("index.html")

    async def static(self, request: Request) -> Response:
        return self._file(request.path_params["name"])

    def _file(self, name: str) -> Response:
        if name not in self.pages:
            raise RefusedError(404, "there is nothing here")
        data, kind = self.pages[name]
        return Response(data, 200, None, kind)

    # --- what there is ---

    async def live(self, request: Request) -> Response:
        return reply({"live": True})

    async def is_ready(self, request: Request) -> Response:
        return reply({"ready": self.ready}, 200 if self.ready else 503)

    async def about(self, request: Request) -> Response:
        names = [hosted.name for hosted in self.models.all()]
        writable = self.workshop is not None
        return reply({"luce": self.version, "models": names, "writable": writable, "languages": ["en", "ko"]})

    async def all(self, request: Request) -> Response:
        told = [msgspec.Raw(await self._kept(hosted, "description", describe)) for hosted in self.models.all()]
        return reply({"models": told})

    async def one(self, request: Request) -> Response:
        return reply(await self._kept(self.model(request), "description", describe))

    async def facts(self, request: Request) -> Response:
        return reply(await self._kept(self.model(request), "facts", _facts))

    async def _kept(self, hosted: Hosted, key: str, make: Callable[[Hosted], Any]) -> bytes:
        """Made once for a model, away from the event loop."""
        if key not in hosted.cache:
            hosted.cache[key] = await asyncio.to_thread(lambda: _encode(make(hosted)))
        found: bytes = hosted.cache[key]
        return found

    async def measured(self, request: Request) -> Response:
        hosted = self.model(request)
        if hosted.fitted.measured is None:
            raise RefusedError(404, "the file of this model holds no measured rows: train it with rows held out")
        return reply(await self._kept(hosted, "measured", _measured))

    async def about_v2(self, request: Request) -> Response:
        return reply({"name": "luce", "version": self.version, "extensions": ["binary_tensor_data"]})

    async def one_v2(self, request: Request) -> Response:
        return reply(metadata(self.model(request)))

    async def one_is_ready(self, request: Request) -> Response:
        return reply({"name": self.model(request).name, "ready": self.ready}, 200 if self.ready else 503)

    async def openapi(self, request: Request) -> Response:
        return reply(openapi(self.version, [hosted.name for hosted in self.models.all()]))

    async def metrics(self, request: Request) -> Response:
        return Response(self.journal.metrics(), 200, None, "text/plain; version=0.0.4; charset=utf-8")

    # --- prediction ---

    async def predict(self, request: Request) -> Response:
        hosted = self.model(request)
        kind = _kind(request)
        if kind not in READERS and not kind.startswith("image/"):
            raise RefusedError(415, "send application/json, text/csv, text/plain or an image")
        as_csv = "text/csv" in request.headers.get("accept", "")
        body = await self._body(request)
        read = partial(_read, hosted, kind, body, self.limits, as_csv)
        write = partial(answers.answer, hosted)
        done = await self._run(request, hosted, len(body), read, write, kind != "application/json" or as_csv)
        return Response(done, 200, None, "text/csv; charset=utf-8" if as_csv else "application/json")

    async def infer(self, request: Request) -> Response:
        hosted = self.model(request)
        if _kind(request) not in ("", "application/json", "application/octet-stream"):  # Triton's client names none
            raise RefusedError(415, "send application/json, or with binary tensors application/octet-stream")
        header = header_length(request.headers.getlist("inference-header-content-length"))
        body = await self._body(request)
        one = Inference(hosted, answers.reader_of(hosted), header)
        done = await self._run(request, hosted, len(body), partial(one.read, body, self.limits), one.write, False)
        return reply(done)

    async def _body(self, request: Request) -> bytes:
        try:
            return await request.body()
        except ClientDisconnect:
            raise RefusedError(499, "the client has left") from None

    async def _run(
        self, request: Request, hosted: Hosted, size: int, read: Callable[[], Asked],
        write: Callable[[Asked, Any], bytes], heavy: bool,
    ) -> bytes:  # fmt: skip
        if request.scope.get("luce_full"):
            raise RefusedError(503, answers.TOO_MANY)
        job = Job(hosted, size, read, write, asyncio.get_running_loop().create_future(), heavy=heavy)
        job.leaving = lambda: asyncio.get_running_loop().create_task(_left(request, job))
        done = await self.batcher.run(job)
        if job.asked is not None:
            self.journal.rows[hosted.name] += job.asked.rows
        return done

    # --- training ---

    @property
    def _workshop(self) -> Workshop:
        if self.workshop is None:
            raise RefusedError(403, "models are trained by a service on this machine's own address, with a token")
        return self.workshop

    async def train(self, request: Request) -> Response:
        workshop, query = self._workshop, request.query_params
        body = await self._body(request)
        number = workshop.start(body, _kind(request), query.get("label", ""), query.get("name", ""))
        return reply({"job": number}, 202)

    async def job(self, request: Request) -> Response:
        """The events of a job, as they come."""
        work = self._workshop.job(request.path_params["job"])
        request.scope["luce_long"] = True

        async def events() -> AsyncIterator[bytes]:
            async for each in work.listen():
                yield b":\n\n" if each is None else b"event: %s\ndata: %s\n\n" % (each[0].encode(), _encode(each[1]))

        return StreamingResponse(events(), 200, None, "text/event-stream")

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        data = await asyncio.to_thread(self._workshop.file, name)
        headers = {"content-disposition": f'attachment; filename="{name}.luce"'}
        return Response(data, 200, headers, "application/octet-stream")

    # --- life ---

    async def look(self) -> None:
        """Takes up changed files, now and then."""
        while True:
            await asyncio.sleep(self.look_s)
            for told in await asyncio.to_thread(self.models.refresh):
                self.journal.count(told.pop("event"), **told)


async def _left(request: Request, job: Job) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.left = True


def _facts(hosted: Hosted) -> dict[str, Any]:
    """What the report page shows, of the rows held out that the file holds."""
    fitted, report = hosted.fitted, None
    if fitted.measured is not None:
        p = fitted.measured.probabilities.astype(np.float64)
        p /= p.sum(axis=1, keepdims=True)  # float32 is not exactly 1
        said = [fitted.classes[k] for k in best_of(p, fitted.costs).tolist()]
        truth = [fitted.classes[k] for k in fitted.measured.codes.tolist()]
        shares = fitted.class_shares
        report = evaluate(truth, p, fitted.classes, predicted=said, class_shares=shares)
    found = facts(fitted, report, overview=hosted.classifier.overview())
    if report is not None:
        found["measured"]["on"] = "held out"
    return found


def _measured(hosted: Hosted) -> dict[str, Any]:
    found = hosted.fitted.measured
    assert found is not None
    rows = {"codes": found.codes.tolist(), "probabilities": found.probabilities.tolist()}
    return {"classes": list(hosted.classes), **rows}


def _kind(request: Request) -> str:
    """The type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


READERS: dict[str, Callable[[Hosted, bytes, Limits], Asked]] = {
    "application/json": lambda hosted, body, limits: answers.reader_of(hosted).read(body, limits),
    "text/csv": answers.read_table,
    "text/plain": answers.read_lines,
}


def _read(hosted: Hosted, kind: str, body: bytes, limits: Limits, as_csv: bool) -> Asked:
    asked = READERS.get(kind, answers.read_image)(hosted, body, limits)
    asked.as_csv = as_csv
    return asked


class Running(uvicorn.Server):
    """uvicorn's server, which says "not ready" for a moment before it stops, and ends with status 0."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service, self.still = service, STILL_S
        self.tasks: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        self.tasks = [
            loop.create_task(self.service.look()),
            loop.create_task(watch(self.server_state.connections, self.service.journal)),
        ]
        gauges = self.service.journal.gauges
        gauges["connections"] = lambda: len(self.server_state.connections)
        gauges["waiting"] = lambda: self.service.batcher.count
        self.service.ready = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.service.ready, self.service.stopping = False, True
        self.service.journal.line("stopping")
        await asyncio.sleep(self.still)
        await self._leave(sockets or [])
        await super().shutdown()
        for task in self.tasks:
            task.cancel()
        self.service.batcher.close()
        if self.service.workshop is not None:
            self.service.workshop.close()
        self.service.journal.line("stopped")
        self.service.journal.close()

    async def _leave(self, sockets: list[socket.socket]) -> None:
        """Takes the connections that wait, refuses others, and ends those without a request, so that none is lost."""
        loop, doors = asyncio.get_running_loop(), self.server_state.connections
        copies = [each.dup() for each in sockets]
        for server in self.servers:
            server.close()
        for each in copies:
            each.setblocking(False)
            _begin_no_more(each)
        await asyncio.sleep(HANDSHAKE_S)
        for each in copies:
            with contextlib.suppress(OSError):  # there is no more
                while True:
                    link, _ = each.accept()
                    await loop.connect_accepted_socket(self._door, link)
            each.close()
        deadline = loop.time() + LEAVE_S
        while doors and loop.time() < deadline and not self.force_exit:
            for door in list(doors):
                door.leave()  # type: ignore[union-attr]
            await asyncio.sleep(0.01)

    def _door(self) -> asyncio.Protocol:
        state = self.server_state
        door: Any = self.config.http_protocol_class
        made: asyncio.Protocol = door(config=self.config, server_state=state, app_state=self.lifespan.state)
        return made

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.service.ready, self.service.stopping = False, True
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {each: signal.signal(each, self.handle_exit) for each in signals}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def _begin_no_more(listener: socket.socket) -> None:
    """Where the system is Linux: it drops the packets that would begin a connection (SYN), so that none is made between
    the last one that is taken and the end of the listener, which would reset it."""
    load, test, drop, take = (0x30, 0, 0, 13), (0x45, 0, 1, 2), (0x06, 0, 0, 0), (0x06, 0, 0, 1 << 18)
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in (load, test, drop, take)))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HP", 4, ctypes.addressof(program)))


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; raises InputError where it cannot."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError, OverflowError):
        raise InputError(f"--host {inert(host)}: there is no such address here") from None
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(address)
        found.listen(1024)
    except OSError as error:
        found.close()
        raise InputError(
            f"port {port} of {inert(host)} cannot be used ({error.strerror}): give another --port"
        ) from None
    return found


def writes(method: str, path: str) -> bool:
    """What always needs a token: training, and what comes of it."""
    return path == "/v1/train" or path.startswith("/v1/train/") or _FILE.fullmatch(path) is not None


def running(
    models: Models, limits: Limits, journal: Journal, host: str = "127.0.0.1", token: str | None = None,
    names: Iterable[str] = (), alone: bool = True, look_s: float = LOOK_S,
) -> Running:  # fmt: skip
    """A server for an address, behind its guard; `run([socket])` runs it. alone: no other process serves the same;
    look_s: seconds between two looks at the files of the models."""
    local = is_loopback(host)
    trains = local and alone and token is not None
    service = Service(models, limits, journal, Workshop(models, journal) if trains else None, look_s)
    known = {*LOOPBACK, *names} if local else {*LOOPBACK, *names, host, socket.gethostname(), socket.getfqdn()}
    guard = Guard(
        service.router, limits, journal, hosts=known, any_address=not local, token=token, whole=token is not None,
        writes=writes,
    )  # fmt: skip
    config = uvicorn.Config(
        guard, http=make_door(limits, journal, lambda: service.stopping), ws="none", lifespan="off",
        log_config=None, access_log=False, server_header=False, proxy_headers=False,
        timeout_keep_alive=int(limits.idle_s), timeout_graceful_shutdown=int(limits.stop_s),
    )  # fmt: skip
    return Running(config, service)


def serve(
    paths: Sequence[str], host: str = "127.0.0.1", port: int = 8000, token: str | None = None,
    names: Sequence[str] = (), threads: int | None = None, say: Callable[[str], None] = lambda line: None,
    workers: int = 1, fd: int | None = None,
) -> None:  # fmt: skip
    """Serves models until SIGTERM or Ctrl-C; `say` is told where.

    workers: processes that share the address, each with the models; fd: this is one of them, and that its socket.
    Raises InputError for a model that cannot be read, two of one name, and an address that cannot be used. An address
    that others can reach has a token, made where none is given.
    """
    models = Models(paths, threads)
    if fd is not None:
        server = running(models, Limits(), Journal(), host, token, names, alone=False)
        sys.setswitchinterval(SWITCH_S)
        server.run([socket.socket(fileno=fd)])
        return
    bound = listening(host, port)
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(32)
        say(f"others can reach this address; they need the token {token}")
    for hosted in models.all():
        if hosted.note:
            say(f"note: {hosted.name}: {hosted.note}")
    where = f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}/"
    say(f"luce serves {', '.join(hosted.name for hosted in models.all()) or 'no model yet'} at {where}")
    if workers > 1:
        arguments = ["--host", host, "--port", str(port), *(word for name in names for word in ("--name", name))]
        arguments += [] if threads is None else ["--threads", str(threads)]
        _share(bound, [*paths, *arguments], token, workers)
        return
    server = running(models, Limits(), Journal(), host, token, names)
    sys.setswitchinterval(SWITCH_S)
    server.run([bound])


def _share(bound: socket.socket, arguments: Sequence[str], token: str | None, workers: int) -> None:
    """Runs processes that serve one socket, until a signal, which they all get, or until one of them fails."""
    command = [sys.executable, "-m", "luce", "serve", *arguments, "--fd", str(bound.fileno())]
    given = os.environ if token is None else {**os.environ, "LUCE_TOKEN": token}
    processes = [subprocess.Popen(command, pass_fds=(bound.fileno(),), env=given) for _ in range(workers)]
    bound.close()

    def tell(sig: int, frame: Any = None) -> None:
        stopped.set()
        for process in processes:
            if process.poll() is None:
                process.send_signal(sig)

    stopped = threading.Event()
    before = {each: signal.signal(each, tell) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not stopped.wait(0.2):
            if any(process.poll() is not None for process in processes):
                tell(signal.SIGTERM)
                raise LuceError("one of the processes that serve has ended; the others were told to")
    finally:
        for process in processes:
            process.wait()
        for each, handler in before.items():
            signal.signal(each, handler)
