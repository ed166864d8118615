"""Guard: who may ask, and what an answer says to a browser; an ASGI layer before everything else."""

from __future__ import annotations

import hmac
import ipaddress
import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from luce.answers import Error, Fault, Limits, RefusedError
from luce.errors import LuceError
from luce.journal import Journal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
OPEN = ("/", "/v2/health/live", "/v2/health/ready")  # that tell nothing of a model: no token
METHODS = ("GET", "HEAD", "POST")
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_LENGTH = re.compile(rb"[0-9]{1,18}")

_encode = msgspec.json.Encoder().encode


class Guard:
    """Checks Host, Origin, method, token, content encoding and length, in this order, before the app sees a request;
    counts the body while it comes; adds the security headers; turns every error into one line of JSON.

    hosts: names by which the service may be called; any_address: also by its IP address, which no foreign page can
    make a name of its own point to. token: None where there is none; whole: it is needed for every answer, else only
    where `writes` says so.
    """

    def __init__(
        self, app: App, limits: Limits, journal: Journal, *, hosts: Iterable[str] = LOOPBACK, any_address: bool = False,
        token: str | None = None, whole: bool = False, writes: Callable[[str, str], bool] = lambda method, path: False,
    ) -> None:  # fmt: skip
        self.app, self.limits, self.journal = app, limits, journal
        self.hosts, self.any_address = {host.lower() for host in hosts}, any_address
        self.token, self.whole, self.writes = None if token is None else token.encode(), whole, writes
        self._numbers = itertools.count(1)
        self._run = secrets.token_hex(4)
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        began, number = time.perf_counter(), f"{self._run}-{next(self._numbers):x}"
        told = _Told(send, number, scope["path"].startswith("/v2"))
        self.in_flight += 1
        status = 500
        try:
            self._check(scope)
            await self.app(scope, _Counted(receive, self.limits.body), told)
            status = told.status
        except RefusedError as refused:
            status = refused.status
            await _say(told, refused)
        except LuceError as error:
            status = 422
            await _say(told, RefusedError(422, " ".join(str(error).split())))
        except Exception as error:
            self.journal.count("fault", id=number, kind=type(error).__name__, what=str(error))
            await _say(told, RefusedError(500, f"an error of the service; its log has more under {number}"))
        finally:
            self.in_flight -= 1
            route = scope.get("luce_route", "other")
            self.journal.answered(
                route, scope["method"], scope["path"], status, time.perf_counter() - began, number, told.sent
            )

    def _check(self, scope: Scope) -> None:
        hosts, origins, sites, lengths, tokens, others = [], [], [], [], [], 0
        chunked = False
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value)
            elif name == b"origin":
                origins.append(value)
            elif name == b"sec-fetch-site":
                sites.append(value)
            elif name == b"content-length":
                lengths.append(value)
            elif name == b"authorization":
                tokens.append(value)
            elif name == b"transfer-encoding":
                if chunked or value.strip().lower() != b"chunked":
                    raise RefusedError(400, "the body comes in a form that is not read here (Transfer-Encoding)")
                chunked = True
            elif name == b"content-encoding" and value.strip().lower() != b"identity":
                raise RefusedError(415, "a compressed body is not read: send it as it is")
            else:
                others += 1
        method, path = scope["method"], scope["path"]
        self._check_host(hosts)
        self._check_origin(hosts[0], origins, sites, method, path)
        if method not in METHODS:
            raise RefusedError(405, "only GET, HEAD and POST are answered")
        self._check_token(tokens, method, path, scope["query_string"])
        if lengths and (len(lengths) > 1 or chunked or not _LENGTH.fullmatch(lengths[0])):
            raise RefusedError(400, "the length of the body is said in more than one way, or not well")
        if lengths and int(lengths[0]) > self.limits.body:
            raise RefusedError(413, f"the body is larger than {self.limits.body:,} bytes: send it in parts")
        if method != "POST" and (chunked or (lengths and int(lengths[0]))):
            raise RefusedError(400, f"a {method} has no body")

    def _check_host(self, given: list[bytes]) -> None:
        if len(given) != 1:
            raise RefusedError(400, "a request has one Host header")
        found = _HOST.fullmatch(given[0].decode("latin-1"))
        if found is not None:
            name = found[1].lower()
            if name in self.hosts or (self.any_address and _is_address(name)):
                return
        raise RefusedError(403, "this service does not go by that name (Host)")

    def _check_origin(self, host: bytes, origins: list[bytes], sites: list[bytes], method: str, path: str) -> None:
        """Pages of other origins are refused, on every method; a link or a typed address leads to the page alone."""
        own = host.lower()
        if len(origins) > 1 or any(each.lower() not in (b"http://" + own, b"https://" + own) for each in origins):
            raise RefusedError(403, "pages of another origin are not answered (Origin)")
        if any(site.lower() not in (b"same-origin", b"none") for site in sites) and not (
            method == "GET" and path == "/"
        ):
            raise RefusedError(403, "pages of another site are not answered (Sec-Fetch-Site)")

    def _check_token(self, given: list[bytes], method: str, path: str, query: bytes) -> None:
        if b"token=" in query.lower():
            raise RefusedError(
                401, "a token in an address can be read by others: send it as a header and make a new one"
            )
        needed = self.writes(method, path) or (self.whole and path not in OPEN and not path.startswith("/static/"))
        if not needed:
            return
        if self.token is None:
            raise RefusedError(403, "this is done only by a service that was started with a token")
        kind, _, value = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        if kind.lower() != b"bearer" or not hmac.compare_digest(value.strip(), self.token):
            raise RefusedError(401, "give the token of the service: Authorization: Bearer TOKEN")


def _is_address(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return not address.is_unspecified and not address.is_multicast


class _Counted:
    """The body as it comes, up to its limit."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self.receive, self.left, self.limit = receive, limit, limit

    async def __call__(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.request":
            self.left -= len(message.get("body", b""))
            if self.left < 0:
                raise RefusedError(413, f"the body is larger than {self.limit:,} bytes: send it in parts")
        return message


class _Told:
    """The answer as it goes, with the headers that every answer has."""

    def __init__(self, send: Send, number: str, bare: bool) -> None:
        self.send, self.number, self.bare = send, number, bare
        self.status, self.sent, self.began = 0, 0, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.began, self.status = True, message["status"]
            own = (b"x-request-id", self.number.encode())
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS, own]}
        else:
            self.sent += len(message.get("body", b""))
        await self.send(message)


async def _say(told: _Told, refused: RefusedError) -> None:
    """The error as an answer, unless one has begun; the connection ends where the body was not read."""
    if told.began:
        raise refused
    bare = f"{refused.where}: {refused.what}" if refused.where else refused.what  # as the inference protocol has it
    body = _encode({"error": bare} if told.bare else Error(Fault(refused.status, refused.what, refused.where)))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if refused.status in (400, 408, 411, 413, 415):
        headers.append((b"connection", b"close"))
    if refused.status == 503:
        headers.append((b"retry-after", b"1"))
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refused.status == 405:
        headers.append((b"allow", ", ".join(METHODS).encode()))
    await told({"type": "http.response.start", "status": refused.status, "headers": headers})
    await told({"type": "http.response.body", "body": body})
