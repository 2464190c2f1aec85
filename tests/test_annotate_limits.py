"""What a stranger may take of the annotation server: bytes, time, connections, guesses."""

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import time

import httpx
import pytest

from helpers.annotation import (
    Client,
    first_image,
    http_get,
    http_post,
    http_request,
    phantom_part,
    served,
    signed_in,
    small_network,
)
from pellucid.annotator import connections, guesses, limits
from pellucid.annotator.connections import BoundedProtocol, is_full
from pellucid.annotator.gate import Gate
from pellucid.annotator.guesses import FREE, LONGEST, Guesses
from pellucid.annotator.limits import MAX_BODY, MAX_HEADERS, NOTE_BODY, SMALL_BODY, TooSlowError, read_body
from pellucid.annotator.server import create_app
from pellucid.annotator.serving import TOKEN_VARIABLE, read_token
from pellucid.annotator.sessions import COOKIE, secret_in
from pellucid.annotator.setup import ServiceOptions, open_service
from pellucid.types import InputError

pytestmark = pytest.mark.slow

TOKEN = "a token of enough characters"
SECRET = "s" * 43
JSON = {"Content-Type": "application/json"}
UNFINISHED = (
    b"POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
)


@pytest.fixture(scope="module")
def dataset():
    return phantom_part()


@pytest.fixture
def service(dataset, tmp_path):
    opened = open_service(
        dataset, small_network(dataset), tmp_path / "annotations.db", options=ServiceOptions(rhos=(), order="random")
    )
    yield opened
    opened.close()


@pytest.fixture
def address(service):
    with served(create_app(service, Gate(TOKEN))) as found:
        yield found


def raw(address, content, answer=True):
    """What the server says to bytes; the connection, where no answer is waited for."""
    host, port = address.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(content)
    if not answer:
        return connection
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_the_sizes_that_requests_may_have(address):
    """At the limit a request is answered, one byte beyond it is not."""
    start = len("/api/about") + len("host") + len(address.removeprefix("http://")) + len("cookie") + len("connection")
    start += len("close")

    def ask(size):
        head = f"GET /api/about HTTP/1.1\r\nHost: {address.removeprefix('http://')}\r\nConnection: close\r\nCookie: "
        return int(raw(address, head.encode() + b"x" * (size - start) + b"\r\n\r\n").split()[1])

    assert [ask(MAX_HEADERS), ask(MAX_HEADERS + 1), ask(60_000)] == [401, 431, 431]
    with Client(base_url=address) as ann:
        ann.post("/api/session", json={"annotator": "Ann", "token": TOKEN}).raise_for_status()
        at = f"/api/images/{first_image(ann)['id']}"
        for method, path, limit in (
            ("POST", "/api/session", SMALL_BODY),
            ("PUT", f"{at}/state", SMALL_BODY),
            ("PUT", f"{at}/verdicts/0", SMALL_BODY),
            ("DELETE", f"{at}/marks/x", SMALL_BODY),
            ("GET", "/api/queue", SMALL_BODY),
            ("PUT", f"{at}/note", NOTE_BODY),
            ("PUT", f"{at}/marks/x", MAX_BODY),
        ):
            for size, refused in ((limit, False), (limit + 1, True)):
                body = b"[" + b" " * (size - 2) + b"]"
                for content in (body, iter([body])):  # that say how long they are, and that do not
                    status = ann.request(method, path, content=content, headers=JSON).status_code
                    assert (status == 413) is refused, (method, path, size)
        longest = json.dumps({"text": "𝒳" * 10_000})  # each as two escapes of six characters
        assert len(longest) > MAX_BODY // 10
        assert ann.put(f"{at}/note", content=longest, headers=JSON).status_code == 200


def test_who_is_not_let_in_is_refused_before_the_body_is_read(address):
    head = "PUT /api/images/0/marks/x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection = raw(address, (head + "Content-Length: 1000000\r\n\r\n").encode(), answer=False)  # and nothing of it
    with connection:
        assert connection.recv(13) == b"HTTP/1.1 401 "


@pytest.mark.parametrize("header", ["pellucid_session=" + "\\" * 15_000, '"' * 15_000, "a=b;" * 3_700, "=" * 15_000])
def test_cookies_are_looked_at_once(address, header, monkeypatch):
    """A quadratic parser, as Python 3.11's, takes seconds for these; nothing of it is ever called."""
    import http.cookies

    def forbidden(*_):
        raise AssertionError("cookies are parsed by a parser that takes long")

    monkeypatch.setattr(http.cookies, "_unquote", forbidden)
    monkeypatch.setattr(http.cookies.BaseCookie, "load", forbidden)
    for method, path in (("GET", "/"), ("GET", "/api/about"), ("GET", "/enter/x"), ("POST", "/api/session")):
        answer = http_request(method, address + path, headers={"Cookie": header, **JSON}, content="{}")
        assert answer.status_code in (400, 401)


def test_the_one_cookie_that_counts():
    assert secret_in(f"{COOKIE}={SECRET}") == SECRET
    assert secret_in(f"a=b;{COOKIE} = {SECRET} ; c") == SECRET
    for header in ("", COOKIE, f"{COOKIE}=", f"{COOKIE}={SECRET}x", f"x{COOKIE}={SECRET}", f"{COOKIE}={'é' * 43}"):
        assert secret_in(header) is None


def test_a_body_that_never_ends_is_given_up(address, monkeypatch):
    async def slow():
        await asyncio.sleep(60)

    with pytest.raises(TooSlowError):
        asyncio.run(read_body(slow, 100, seconds=0.05))
    monkeypatch.setattr(limits.read_body, "__defaults__", (0.2,))
    assert raw(address, UNFINISHED).startswith(b"HTTP/1.1 408 ")  # and the connection is closed: it was read to the end


@pytest.mark.parametrize("sent", [b"", b"GET /api/about HTTP/1.1\r\nHost: local"])
def test_a_connection_that_says_no_more_is_closed(address, sent, monkeypatch):
    monkeypatch.setattr(BoundedProtocol, "header_seconds", 0.2)
    connection = raw(address, sent, answer=False)
    with connection:
        while True:
            try:
                if not connection.recv(65536):
                    break
            except ConnectionResetError:
                break
    assert http_get(f"{address}/").status_code == 401  # the server goes on


def test_half_a_second_request_on_a_connection_ends_it(address, monkeypatch):
    monkeypatch.setattr(BoundedProtocol, "header_seconds", 0.2)
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    connection.request("GET", "/static/dom.js")
    with connection.getresponse() as answer:
        assert answer.status == 200
        answer.read()  # all of it: what comes before its end waits for uvicorn's own time, which is longer
    connection.sock.sendall(b"G")
    while connection.sock.recv(65536):
        pass
    connection.close()


def test_a_request_whose_answer_nobody_takes_is_given_up(address, monkeypatch):
    monkeypatch.setattr(BoundedProtocol, "request_seconds", 0.2)
    assert raw(address, UNFINISHED) == b""  # its body comes too late for an answer


def test_one_connection_too_many_is_dropped(address, monkeypatch):
    monkeypatch.setattr(BoundedProtocol, "most", 5)
    held = [raw(address, b"", answer=False) for _ in range(5)]
    until = time.monotonic() + 30
    while time.monotonic() < until:  # the server takes them one after the other
        try:
            http_get(f"{address}/")
        except httpx.TransportError:
            break
    else:
        raise AssertionError("a sixth connection is taken")
    for connection in held:
        connection.close()
    while True:
        try:
            assert http_get(f"{address}/").status_code == 401
            break
        except httpx.TransportError:
            assert time.monotonic() < until


def test_one_other_machine_does_not_take_all_connections():
    far, near = "203.0.113.5", "127.0.0.1"
    assert not is_full([far] * 4, far, most=8, most_per_address=4)
    assert is_full([far] * 5, far, most=8, most_per_address=4)
    assert not is_full([*[far] * 4, "203.0.113.6"], "203.0.113.6", most=8, most_per_address=4)
    assert not is_full([near] * 8, near, most=8, most_per_address=4)  # a proxy here speaks for everybody
    assert is_full([near] * 9, near, most=8, most_per_address=4)
    assert connections.MAX_PER_ADDRESS < connections.MAX_CONNECTIONS < 1024  # files of a process


def test_guesses_are_few():
    """What one address can try in a day, by the clock alone."""
    now = [0.0]
    guessed = Guesses(lambda: now[0])
    tried = 0
    while now[0] < 24 * 3600:
        wait = guessed.wait("203.0.113.5", right=False)
        tried += wait == 0
        now[0] += wait
    assert FREE < tried <= 24 * 3600 / LONGEST + 12
    guessed.wait("203.0.113.5", right=False)
    assert guessed.wait("203.0.113.5", right=False) > 0
    assert guessed.wait("203.0.113.5", right=True) > 0  # a guess that is right is not looked at meanwhile
    assert guessed.wait("203.0.113.6", right=True) == 0  # others are let in
    now[0] += LONGEST
    assert guessed.wait("203.0.113.5", right=True) == 0
    assert [guessed.wait("203.0.113.5", right=False) for _ in range(FREE)] == [0.0] * FREE  # it begins anew


def test_a_network_of_addresses_is_one_and_memory_is_bounded():
    guessed = Guesses(lambda: 0.0, most=100)
    for number in range(20):
        guessed.wait(f"2001:db8:1:2::{number:x}", right=False)
    assert len(guessed) == 1
    assert guessed.waiting("2001:db8:1:2:ffff::1") > 0
    assert guessed.waiting("2001:db8:1:3::1") == 0
    for number in range(1000):
        guessed.wait(f"10.0.{number // 250}.{number % 250}", right=False)
    assert len(guessed) == 100
    assert guesses.MOST * 200 < 10 << 20  # bytes, about


def test_a_guesser_waits_and_those_inside_go_on(service):
    gate = Gate(TOKEN)
    gate.guesses = Guesses(lambda: 0.0)  # no time passes, however slow the machine is
    with served(create_app(service, gate)) as address:
        ann = Client(base_url=address)
        ann.post("/api/session", json={"annotator": "Ann", "token": TOKEN}).raise_for_status()

        def guess(number):
            if number % 3 == 0:
                return http_post(f"{address}/api/session", json={"annotator": "Eve", "token": f"guess {number}"})
            if number % 3 == 1:
                return http_get(f"{address}/api/about", headers={"Authorization": f"Bearer guess {number}"})
            return http_get(f"{address}/enter/{number}")

        answers = [guess(number).status_code for number in range(60)]
        assert answers == [401] * FREE + [429] * (60 - FREE)
        late = http_post(f"{address}/api/session", json={"annotator": "Eve", "token": TOKEN})
        assert late.status_code == 429  # not even the right one is looked at
        assert int(late.headers["retry-after"]) >= 1
        assert "wait" in late.json()["error"]
        code = gate.make_code()
        assert http_get(f"{address}/enter/{code}").status_code == 429  # which does not use it up
        assert gate.use_code(code, SECRET)
        assert ann.get("/api/queue").status_code == 200
        ann.close()


def test_no_token_asked_is_none_guessed(service):
    gate = Gate(None)
    with served(create_app(service, gate)) as address:
        for number in range(30):
            headers = {"Authorization": f"Bearer {number}"}
            assert http_get(f"{address}/api/about", headers=headers).status_code == 200
        with signed_in(address):
            assert len(gate.guesses) == 0


def test_where_the_token_comes_from(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text(f"\n {TOKEN} \n")
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert read_token(None) is None
    assert read_token(file) == TOKEN
    monkeypatch.setenv(TOKEN_VARIABLE, "of the environment")
    assert read_token(None) == "of the environment"
    with pytest.raises(InputError, match="not in both"):
        read_token(file)
    monkeypatch.delenv(TOKEN_VARIABLE)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="no text"):
        read_token(file)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_token_is_not_in_the_list_of_processes(tmp_path):
    from helpers.annotate import Server, token_file

    server = Server(tmp_path, "--token-file", token_file(tmp_path, TOKEN)).start(forked=False)
    try:
        shown = subprocess.run(["ps", "-ef", "-ww"], capture_output=True, text=True, check=True).stdout
        assert str(server.folder / "annotations.db") in shown
        assert TOKEN not in shown
        assert TOKEN not in server.told
    finally:
        server.kill()
