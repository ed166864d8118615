"""Who may ask, and what the service tells whom (S11 to S16, S19, S20 of the fault cases)."""

from __future__ import annotations

import builtins
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import JSON, Served, models, served, serving

from luce.guard import HEADERS, Guard
from luce.journal import Journal
from luce.server import is_loopback
from luce.words import language

__all__ = ["models", "served"]

TOKEN = "a-token-of-this-test-0123456789"
EVERYWHERE = [
    "/",
    "/static/index.html",
    "/v1",
    "/v1/models",
    "/v1/models/orders",
    "/metrics",
    "/openapi.json",
    "/v2",
    "/nothing",
]
ROW = {"price": 10.5, "count": 3, "member": True, "grade": "골드", "day": "2024-03-01"}


@pytest.fixture(scope="module")
def closed(models: dict[str, Path]) -> Iterator[Served]:
    """A server that was given a token."""
    with serving([models["orders"]], token=TOKEN) as found:
        yield found


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LocalHost:8000", "127.0.0.1:1", "[::1]:8000"])
def test_s13_its_own_names_are_answered(served: Served, host: str) -> None:
    assert served.get("/v1", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil", "127.0.0.1.evil.example:8000", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]",
     "[::1%25eth0]", "localhost.", "localhost:", "localhost:x", "localhost:123456", "a@localhost", "localhost/",
     "127.1", "2130706433", "0x7f.1", "192.168.0.7", "", "luce", "localhost localhost", "localhost,evil", "::1"],
)  # fmt: skip
def test_s13_other_names_are_refused(served: Served, host: str) -> None:
    for path in ("/", "/v1", "/v2/health/live"):
        assert served.get(path, Host=host).status == 403


def test_s13_an_open_address_goes_by_any_address_and_by_names_that_were_given() -> None:
    def allowed(guard: Guard, host: str) -> bool:
        try:
            guard._check_host([host.encode()])
        except Exception:
            return False
        return True

    guard = Guard(None, None, Journal(), hosts=["luce.example"], any_address=True)  # type: ignore[arg-type]
    for host in ("luce.example", "LUCE.example:443", "192.168.0.7:8000", "[2001:db8::1]:8000"):
        assert allowed(guard, host)
    for host in ("evil.example", "0.0.0.0", "[::]", "224.0.0.1"):
        assert not allowed(guard, host)
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "192.168.0.7")] == [
        True
    ] * 3 + [False] * 3


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "file://", "http://127.0.0.1.evil", "*", ""]
)
def test_s14_other_origins_are_refused_on_every_method(served: Served, method: str, origin: str) -> None:
    for path in ("/", "/v1", "/v1/models/orders/predict", "/v2/health/live", "/v2/models/orders/infer"):
        reply = served.ask(method, path, None, {"Origin": origin, "Host": "localhost:8000", **JSON})
        assert reply.status == 403
        assert not [name for name in reply.headers if name.startswith("access-control")]


def test_s14_its_own_page_is_answered_and_other_sites_only_lead_to_the_page(served: Served) -> None:
    own = {"Host": "localhost:8000", "Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}
    assert served.ask("GET", "/v1", None, own).status == 200
    for site in ("cross-site", "same-site", "odd"):
        assert served.ask("GET", "/", None, {"Sec-Fetch-Site": site}).status == 200
        assert served.ask("GET", "/v1", None, {"Sec-Fetch-Site": site}).status == 403
        assert (
            served.ask(
                "POST", "/v1/models/orders/predict", json.dumps({"rows": [ROW]}), JSON | {"Sec-Fetch-Site": site}
            ).status
            == 403
        )


def test_s14_no_web_socket_is_opened(served: Served) -> None:
    asked = (
        "GET /v1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    for origin in ("", "Origin: https://evil.example\r\n"):
        answer = served.raw(f"{asked}{origin}\r\n".encode(), 3.0)
        assert b" 101 " not in answer.split(b"\r\n")[0]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_methods_that_nothing_has_are_refused(served: Served, method: str) -> None:
    assert served.ask(method, "/v1", None).status == 405
    assert served.ask("GET", "/v1/models/orders/predict").status == 405
    assert served.ask("POST", "/v1", "", JSON).status == 405


@pytest.mark.parametrize("given", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), f"{TOKEN} {TOKEN}"])
def test_s15_without_the_token_nothing_is_told(closed: Served, given: str | None) -> None:
    headers = {} if given is None else bearer(given)
    for path in EVERYWHERE[2:]:
        reply = closed.ask("GET", path, None, headers)
        assert reply.status == 401
        assert reply.headers["www-authenticate"] == "Bearer"
    assert closed.ask("POST", "/v1/models/orders/predict", json.dumps({"rows": [ROW]}), headers | JSON).status == 401
    assert closed.ask("POST", "/v2/models/orders/infer", "{}", headers | JSON).status == 401


def test_s15_with_it_all_is_and_the_page_and_health_are_always(closed: Served) -> None:
    for path in EVERYWHERE[:-1]:
        assert closed.ask("GET", path, None, bearer(TOKEN)).status == 200
    assert closed.ask("GET", "/v1", None, {"Authorization": f"bearer {TOKEN}"}).status == 200
    assert closed.ask("GET", "/v1", None, {"Authorization": f"Basic {TOKEN}"}).status == 401
    for path in ("/", "/static/index.html", "/v2/health/live", "/v2/health/ready"):
        assert closed.get(path).status == 200


def test_s15_a_token_in_an_address_is_refused_and_in_no_log(closed: Served) -> None:
    assert closed.get(f"/v1?token={TOKEN}").status == 401
    assert closed.ask("GET", f"/?Token={TOKEN}", None, bearer(TOKEN)).status == 401
    closed.get("/v1?secret=hidden", Referer=f"http://localhost/?{TOKEN}")
    said = json.dumps(closed.log)
    assert TOKEN not in said and "hidden" not in said
    assert closed.lines("request")


def test_s15_no_referrer_and_no_frame_and_no_foreign_code(served: Served) -> None:
    """On every answer, errors among them."""
    replies = [served.get(path) for path in EVERYWHERE] + [served.get("/v1", Host="evil"), served.ask("PUT", "/v1")]
    replies.append(served.predict("orders", []))
    for reply in replies:
        for name, value in HEADERS:
            assert reply.headers[name.decode()] == value.decode()
        policy = reply.headers["content-security-policy"]
        assert "unsafe" not in policy and policy.startswith("default-src 'none'")


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "text/html",
        "application/jsonx",
    ],
)
def test_s16_forms_of_other_sites_are_refused(served: Served, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    for path in ("/v1/models/orders/predict", *(["/v2/models/orders/infer"] if kind else [])):
        assert served.ask("POST", path, json.dumps({"rows": [ROW]}), headers).status == 415


NAMES = ["..", "%2e%2e", "%252e%252e", "..%5c", "orders;x", "orders%00", "a" * 300, "orders.luce", "%2fetc%2fpasswd",
         "Orders", "%ff", "{name}", "orders%0d%0aX: y", "ｏrders", "%E2%80%AEorders"]  # fmt: skip

NAMED = (b"/v1/models/%s", b"/v1/models/%s/facts", b"/v2/models/%s", b"/static/%s", b"/static/../%s")


def asking_for(path: bytes, name: str) -> bytes:
    raw = name.encode().replace(b" ", b"%20")
    return b"GET " + path % raw + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("name", NAMES)
def test_s11_names_are_looked_up_and_never_a_path(served: Served, name: str) -> None:
    for path in NAMED:
        answer = served.raw(asking_for(path, name))
        assert answer.split(b" ")[1] in (b"404", b"400")


def test_s11_no_file_is_opened(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served.get("/").status == 200  # the page is read once
    opened: list[Any] = []
    for place, name in ((builtins, "open"), (io, "open"), (os, "open")):
        before = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, before=before, **k: (opened.append(a), before(*a, **k))[1])
    for name in NAMES:
        for path in NAMED:
            served.raw(asking_for(path, name))
    assert opened == []
    open(os.devnull).close()
    assert len(opened) == 1


def test_s12_what_a_request_cannot_name(served: Served) -> None:
    for extra in ("path", "url", "file", "model"):
        body = json.dumps({"rows": [ROW], extra: "/etc/passwd"})
        assert served.ask("POST", "/v1/models/orders/predict", body, JSON).status == 422
    assert served.predict("orders", [ROW | {"path": "/etc/passwd"}]).status == 422
    for image in (
        "/etc/passwd",
        "file:///etc/passwd",
        "http://evil/a.png",
        "data:text/html;base64,aaaa",
        "digits/1.png",
    ):
        reply = served.predict("bars", [{"image": image}])
        assert reply.status == 422 and reply.json["error"]["where"] == "rows[0].image"
        csv = f"image\n{image}\n"
        assert served.ask("POST", "/v1/models/bars/predict", csv, {"Content-Type": "text/csv"}).status == 422


def test_s19_what_others_wrote_cannot_write_into_the_log(served: Served) -> None:
    served.raw(b"GET /v1/%0d%0a%1b[31m%7f%e2%80%ae%c2%85{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    path = served.lines("request")[-1]["path"]
    assert path.isprintable() and path.startswith("/v1/\\r\\n\\x1b[31m\\x7f\\u202e\\x85")
    written: list[bytes] = []
    Journal(written.append).line("request", path="a\nb\x1b[0m\u2028\u202e")
    assert written[0].count(b"\n") == 1
    assert re.fullmatch(rb"[\x20-\x7e]+\n", written[0])


def test_s26_a_log_that_cannot_be_written_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("luce.journal.os.write", full)
    by_thread = Journal()
    by_thread.line("request")
    by_thread.close()
    assert by_thread.lost == 1
    monkeypatch.undo()
    journal = Journal(full)
    journal.line("request")
    assert journal.lost == 1
    assert "luce_log_lines_lost_total 1" in journal.metrics()


def test_s20_errors_tell_the_user_and_no_attacker(
    served: Served, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosted = served.server.service.models.get("orders")
    assert hosted is not None
    secret = "secret of the inside /home/somebody"

    def fails(*_: object) -> None:
        raise RuntimeError(secret)

    monkeypatch.setattr(type(hosted), "probabilities", fails)
    reply = served.predict("orders", [ROW])
    monkeypatch.undo()
    assert reply.status == 500
    assert secret.encode() not in reply.body and b"Traceback" not in reply.body
    fault = served.lines("fault")[-1]
    assert fault["what"] == secret and fault["id"] in reply.json["error"]["what"]
    folder = str(models["orders"].parent).encode()
    replies = [served.get(path) for path in EVERYWHERE] + [
        served.predict("orders", [ROW | {"count": "x"}]),
        served.predict("no", []),
    ]
    for reply in replies:
        assert folder not in reply.body and b"Traceback" not in reply.body and b".py" not in reply.body


def test_requests_have_numbers_and_are_counted(served: Served) -> None:
    first, second = served.get("/v1"), served.get("/v1")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert served.predict("orders", [ROW]).status == 200
    text = served.get("/metrics").body.decode()
    for line in (
        'luce_requests_total{route="/v1",status="200"} ',
        'luce_rows_total{model="orders"} ',
        'luce_request_seconds_bucket{le="+Inf"} ',
    ):
        assert re.search(rf"^{re.escape(line)}[1-9]", text, re.MULTILINE)
    assert all(re.fullmatch(r"# (HELP|TYPE) .+|luce_\w+(\{.*\})? [0-9.e+-]+", line) for line in text.splitlines())


def test_languages_of_the_page_are_those_of_the_report(served: Served) -> None:
    assert [language(each) for each in served.get("/v1").json["languages"]] == ["en", "ko"]
